"""Checks of a model's parts, which may be the user's own; they run once, when it is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from e2c.errors import E2CError
from e2c.files.untrusted import brief, shown

T = TypeVar("T")


def build(kind: Callable[..., T], base: type, *arguments: Any) -> T:
    """Build a part of a model.

    Args:
        kind: its class.
        base: what it has to be a subclass of.
        arguments: of the class.

    Raises:
        E2CError: when ``kind`` is no such class, lacks a method, takes other arguments or does not
            call ``super().__init__`` first.
    """
    wanted = check_kind(kind, base)
    if lacking := sorted(getattr(kind, "__abstractmethods__", ())):
        raise E2CError(f"{kind.__name__} lacks {', '.join(lacking)}; write what {wanted} asks for.")
    part: T | None = None
    try:
        part = call(kind, wanted, *arguments)
    except AttributeError as error:
        if "before Module.__init__() call" not in str(error):
            raise
    if part is None or "_modules" not in vars(part):
        raise E2CError(
            f"{kind.__name__} is not built whole; call super().__init__ first in its own."
        )
    return part


def check_kind(kind: object, base: type) -> str:
    """Return the name of ``base``, or raise an E2CError unless ``kind`` is a subclass of it."""
    wanted = f"{base.__module__}.{base.__name__}"
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise E2CError(f"{brief(kind)} is no part of a model; register a subclass of {wanted}.")
    return wanted


def call(builder: Callable[..., T], like: str, *arguments: Any, **named: Any) -> T:
    """Return what ``builder`` builds, or raise an E2CError where it takes other arguments.

    Args:
        builder: a class, or a function.
        like: the name of a class or function that takes these arguments.
        arguments: by their places.
        named: by their names.
    """
    try:
        inspect.signature(builder).bind(*arguments, **named)
    except TypeError as error:
        name = getattr(builder, "__name__", brief(builder))
        raise E2CError(
            f"{name} cannot be built ({shown(error)}); let it take the arguments of {like}."
        ) from None
    return builder(*arguments, **named)


def check_tensor(part: object, method: str, found: object, wanted: Sequence[int]) -> None:
    """Raise an E2CError unless a method returned a finite float32 tensor of the wanted shape.

    Args:
        part: whose method it is.
        method: its name and brackets.
        found: what it returned.
        wanted: the shape.
    """
    told = type(found).__name__
    if isinstance(found, Tensor):
        is_finite = bool(found.isfinite().all())
        if found.shape == tuple(wanted) and found.dtype == torch.float32 and is_finite:
            return
        told = f"a {str(found.dtype).removeprefix('torch.')} tensor of shape {list(found.shape)}"
        told = told if is_finite else "numbers that are not finite"
    raise E2CError(
        f"{type(part).__name__}.{method} returned {told}; let it return a finite float32 tensor "
        f"of shape {list(wanted)} here, as its base class says."
    )


def check_learns(part: nn.Module, method: str, found: Tensor) -> None:
    """Raise an E2CError if a part has weights to train, and its result has no gradient.

    Args:
        part: whose method it is.
        method: its name and brackets.
        found: the result; not checked in inference mode, where nothing has a gradient.
    """
    if found.requires_grad or torch.is_inference_mode_enabled():
        return
    if any(weight.requires_grad for weight in part.parameters()):
        raise E2CError(
            f"{type(part).__name__}.{method} returned a tensor without a gradient, so that its "
            "weights cannot be trained; leave out detach() and no_grad(), or call "
            "requires_grad_(False) on weights that shall stay as they are."
        )
