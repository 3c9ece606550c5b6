"""Own parts of a model: whether they fit is looked at once, when the model is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

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
            build its base.
    """
    wanted = f"{base.__module__}.{base.__name__}"
    fits = isinstance(kind, type) and issubclass(kind, base)
    if not fits:
        raise E2CError(f"{brief(kind)} is no part of a model; register a subclass of {wanted}.")
    if lacking := sorted(getattr(kind, "__abstractmethods__", ())):
        raise E2CError(f"{kind.__name__} lacks {', '.join(lacking)}; write what {wanted} asks for.")
    part = call(kind, wanted, *arguments)
    if "_modules" not in vars(part):
        raise E2CError(f"{kind.__name__} is not built whole; call super().__init__ in its own.")
    return part


def call(builder: Callable[..., T], like: str, *arguments: Any, **named: Any) -> T:
    """Return what ``builder`` builds, or raise an E2CError where it takes other arguments.

    Args:
        builder: a class, or a function.
        like: the name of what takes the arguments as they are given.
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
    """Raise an E2CError unless a method returned a finite tensor of the shape that it must.

    Args:
        part: whose method it is.
        method: its name.
        found: what it returned.
        wanted: the shape.
    """
    told = type(found).__name__
    if isinstance(found, Tensor):
        if found.shape == tuple(wanted) and found.isfinite().all():
            return
        told = f"a tensor of shape {list(found.shape)}"
        told = told if found.isfinite().all() else "numbers that are not finite"
    raise E2CError(
        f"{type(part).__name__}.{method}() returned {told}; let it return a finite tensor of shape "
        f"{list(wanted)} here, as its base class says."
    )
