"""Checks of a caller's arguments: done once, where they come in, so that inner loops need none.

Every function here raises a ValueError of one sentence: what is allowed, and what was got. NaN and
infinity are allowed in states: the status of the plan reports them.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, TypeVar

import torch
from torch import Tensor

from planners.base import Cost
from planners.costs import GoalCost

T = TypeVar("T")

FLOATS = (torch.float32, torch.float64)
"""The dtypes that planners compute in."""


def states(x0: Tensor, n: int) -> None:
    """Refuse anything but a tensor of states ``[B, n]``. Planners call it at every control step.

    Raises:
        ValueError: when it is something else, empty, or of another shape or dtype.
    """
    known = isinstance(x0, Tensor) and x0.dtype in FLOATS
    if not (known and x0.dim() == 2 and x0.shape[1] == n and x0.shape[0] > 0):
        raise ValueError(
            f"x0 is a float32 or float64 tensor of states, shape [B, {n}], a row for each of at "
            f"least one problem; got {_told(x0)}."
        )


def alike(x0: Tensor, last: Tensor) -> None:
    """Refuse states ``x0`` that cannot follow those of the ``last`` plan.

    Raises:
        ValueError: when the dtype or the device differs.
    """
    if x0.dtype != last.dtype or x0.device != last.device:
        raise ValueError(
            f"x0 is {x0.dtype} on {x0.device}, and the last plan, from which planning goes on, is "
            f"{last.dtype} on {last.device}; give the same, or call reset() first."
        )


def goals(cost: Cost, x0: Tensor, m: int) -> None:
    """Refuse anything but a cost of the states ``x0 [B, n]`` and of ``m`` controls.

    Raises:
        ValueError: when it has no ``total``, or is a `GoalCost` of other dimensions or dtype.
    """
    if isinstance(cost, GoalCost):
        cost.check(x0, m)
    elif not callable(getattr(cost, "total", None)):
        raise ValueError(
            f"cost is a planners.GoalCost, or an object with total, quadratize and select; "
            f"got {_told(cost)}."
        )


def limits(low: Tensor, high: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Check the limits of ``m`` controls, and return copies that the caller cannot change.

    Raises:
        ValueError: when they are no real tensors ``[m]``, or leave no finite control.
    """
    for name, limit in (("low", low), ("high", high)):
        real = isinstance(limit, Tensor) and not (limit.is_complex() or limit.dtype == torch.bool)
        if not (real and limit.shape == (m,)):
            raise ValueError(f"{_limits(m)}; got {name} of {_told(limit)}.")
    low, high = low.detach().clone(), high.detach().clone()
    if low.device != high.device:
        raise ValueError(f"{_limits(m)}, on one device; got {low.device} and {high.device}.")
    if not bool(((low <= high) & (low < torch.inf) & (high > -torch.inf)).all()):
        raise ValueError(f"{_limits(m)}; got low {low.tolist()} and high {high.tolist()}.")
    return low, high


def starting_controls(U: Tensor, x0: Tensor, m: int) -> None:
    """Refuse anything but controls ``[B, T, m]`` or ``[B, K, T, m]`` from ``x0 [B, n]``.

    Raises:
        ValueError: when it is something else, of another shape, or has no time or no candidate.
    """
    B = len(x0)
    known = isinstance(U, Tensor) and not U.is_complex() and U.dim() in (3, 4)
    if not (known and len(U) == B and U.shape[-1] == m and U.numel() > 0):
        raise ValueError(
            f"U is a tensor of starting controls, shape [{B}, T, {m}], or [{B}, K, T, {m}] with K "
            f"candidates; got {_told(U)}."
        )


def predicted(X: Tensor, U: Tensor, x0: Tensor) -> None:
    """Refuse anything but the states ``[B, K, T+1, n]`` that ``U [B, K, T, m]`` led to.

    Raises:
        ValueError: when it is something else, of another shape, or of another dtype than ``x0``.
    """
    B, K, T, _ = U.shape
    wanted = (B, K, T + 1, x0.shape[1])
    if not isinstance(X, Tensor) or X.shape != wanted or X.dtype != x0.dtype:
        raise ValueError(
            f"X is a {x0.dtype} tensor of the states that U led to, shape {list(wanted)}; "
            f"got {_told(X)}."
        )


def system(dynamics: Any, *methods: str) -> None:
    """Refuse an object without the ``methods`` of `planners.System` or `planners.Dynamics`.

    Raises:
        ValueError: when a method is missing, or a dimension is not a whole number of at least 1.
    """
    sizes: list[Any] = [getattr(dynamics, name, None) for name in ("state_dim", "control_dim")]
    has_methods = all(callable(getattr(dynamics, name, None)) for name in methods)
    if not (has_methods and all(_is_whole(size) and size >= 1 for size in sizes)):
        raise ValueError(
            f"dynamics is an object with {' and '.join(methods)}, and with state_dim and "
            f"control_dim, which are at least 1, such as planners.FunctionDynamics; got "
            f"{_told(dynamics)}, with the dimensions {sizes[0]!r:.40} and {sizes[1]!r:.40}."
        )


def generator(given: torch.Generator | None) -> None:
    """Refuse anything but a generator on the CPU, or None.

    Raises:
        ValueError: when it is something else.
    """
    known = isinstance(given, torch.Generator) and given.device.type == "cpu"
    if given is not None and not known:
        where = f" on {given.device}" if isinstance(given, torch.Generator) else ""
        raise ValueError(
            f"generator is a torch.Generator on the CPU, or None; got {_told(given)}{where}."
        )


def options(given: T | None, kind: type[T]) -> T:
    """Return the options that were given; for None, the defaults.

    Raises:
        ValueError: when they are of another class than ``kind``.
    """
    if given is not None and not isinstance(given, kind):
        raise ValueError(f"options are {kind.__name__}, or None; got {_told(given)}.")
    return kind() if given is None else given


def whole(options: Any, *names: str, least: int = 1) -> None:
    """Refuse options with a named field that is not a whole number of at least ``least``.

    Raises:
        ValueError: naming the first such field.
    """
    for name in names:
        value = getattr(options, name)
        if not _is_whole(value) or value < least:
            _refuse(options, name, f"a whole number, at least {least}")


def finite(options: Any, *names: str, above: float | None = None) -> None:
    """Refuse options with a named field that is not a finite number >= 0, or > ``above`` if given.

    Raises:
        ValueError: naming the first such field.
    """
    for name in names:
        value = getattr(options, name)
        if not _is_finite(value) or value < 0 or (above is not None and value <= above):
            least = "at least 0" if above is None else f"above {above:g}"
            _refuse(options, name, f"a finite number, {least}")


def truth(options: Any, *names: str) -> None:
    """Refuse options with a named field that is neither True nor False.

    Raises:
        ValueError: naming the first such field.
    """
    for name in names:
        if not isinstance(getattr(options, name), bool):
            _refuse(options, name, "True or False")


def pair(options: Any, name: str) -> None:
    """Refuse options with a field that is not a pair of finite numbers above 0.

    Raises:
        ValueError: naming the field.
    """
    value = getattr(options, name)
    two = isinstance(value, tuple | list) and len(value) == 2
    if not (two and all(_is_finite(number) and number > 0 for number in value)):
        _refuse(options, name, "two finite numbers above 0")


def held(options: Any, name: str, kind: type) -> None:
    """Refuse options with a field that holds anything but a ``kind``.

    Raises:
        ValueError: naming the field.
    """
    if not isinstance(getattr(options, name), kind):
        _refuse(options, name, f"a {kind.__name__}")


def _refuse(options: Any, name: str, wanted: str) -> None:
    """Raise the ValueError about a field of options."""
    value = getattr(options, name)
    raise ValueError(f"{name} of {type(options).__name__} must be {wanted}; got {value!r:.40}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _limits(m: int) -> str:
    return (
        f"low and high are tensors of shape [{m}], one limit for each control, with low <= high "
        "and a finite control between them"
    )


def _told(value: Any) -> str:
    """Describe a value in a few words."""
    if isinstance(value, Tensor):
        return f"shape {list(value.shape)}, {value.dtype}"
    return f"type {type(value).__name__}"
