"""How a system hands over compiled code, and how that is compiled.

Planning on a CPU costs calls more than arithmetic. So a system may give its step and its
derivatives as functions that [numba](https://numba.pydata.org) can compile; `planners.fused` then
plans without leaving compiled code. Whatever a system gives here, its ``step`` and ``linearize`` in
torch say the same, to rounding.

Both functions work on `LANES` states at once, which lie side by side: a state is ``[n, LANES]``.
They write no lane that another lane's state influences. Their arguments are pointers to numbers
of the dtype of ``parameters``, but for ``sizes``, to int64:

``parameters, sizes, scratch, x, u, out``

with ``x [n, LANES]`` and ``u [m, LANES]``. ``out`` is the next state ``[n, LANES]``, or the
derivatives ``[n, n + m, LANES]`` by state and control. ``numba.carray(x, (n, LANES))`` makes an
array of a pointer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planners.base import System

LANES = 8
"""States that are computed side by side: the float32 numbers in a register of 256 bits."""

HOW: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""How numba compiles: other threads go on, divisions by zero are not raised, and products are
added without being rounded."""
INNER: dict[str, Any] = HOW | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""The same for functions that only compiled code calls: Python's way in takes long to compile."""
WITHIN: dict[str, Any] = INNER | {"inline": "always"}
"""The same for a large function that is called in one place. It becomes a part of its caller, and
is optimised with it; alone it would be optimised before that too."""
DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


@dataclass(frozen=True, eq=False)
class Compiled:
    """Code and numbers of a system; see the module's docstring.

    The numbers do not change: a system that changes hands another object over, by which planners
    know that derivatives which they remember are of the past.
    """

    step: Callable[..., None]
    """Writes the next states; a function of a module, not a closure, so that it can be cached."""
    derivatives: Callable[..., None]
    """Writes the derivatives."""
    parameters: NDArray[Any]
    """``[P]``, float32 or float64; its dtype is that of all arithmetic."""
    sizes: NDArray[np.int64]
    """``[I]``: integers, such as shapes."""
    scratch: int
    """How many numbers a call may use besides."""


class Options(NamedTuple):
    """The numbers of `planners.ilqg.ILQGOptions` that an optimisation needs."""

    max_iterations: int
    tolerance: float
    real_time: bool
    regularisation: float
    regularisation_max: float
    reuse: float


@dataclass(eq=False)
class Memory:
    """Derivatives along the plans of B problems, for the call a step later.

    They need not be those of the last plans: where each was taken is known.
    """

    code: Compiled
    """Of the system whose derivatives these are."""
    at: NDArray[Any]
    """``[B, T, n + m]``: states and controls at which they were taken; NaN where there are none."""
    F: NDArray[Any]
    """``[B, T, n, n + m]``: the derivatives."""

    @classmethod
    def empty(cls, code: Compiled, B: int, T: int, n: int, m: int) -> Memory:
        """Return a memory of nothing."""
        real = code.parameters.dtype
        return cls(code, np.full((B, T, n + m), np.nan, real), np.zeros((B, T, n, n + m), real))


@cache
def address(function: Callable[..., None], dtype: np.dtype[Any]) -> int:
    """Compile a function of `Compiled` for a dtype, once, and return where its code lies."""
    from numba import cfunc, from_dtype, types

    real, integer = types.CPointer(from_dtype(dtype)), types.CPointer(types.int64)
    compiled = cached(cfunc, types.void(real, integer, real, real, real, real))(function)
    return int(compiled.address)


def numbers(code: Compiled) -> tuple[Any, ...]:
    """Return what compiled code takes of a system: addresses, parameters, sizes and scratch."""
    real = code.parameters.dtype
    addresses = address(code.step, real), address(code.derivatives, real)
    return *addresses, code.parameters, code.sizes, code.scratch


def cached(
    compiler: Callable[..., Any],
    *arguments: Any,
    parts: Sequence[ModuleType] = (),
    **options: Any,
) -> Callable[..., Any]:
    """Return numba's decorator ``compiler(*arguments, **options)``, with a cache on disk.

    It is for functions of a module, which have neither defaults nor a closure. They stay as they
    are; a twin is compiled.

    It is beside the source, or else in the user's cache folder, or nowhere if none can be written.
    What is in it is found by the function's name, to which the sum of the sources is added: those
    of its own module, and of ``parts``, the others whose code it calls. So a cache of other sources
    is never read; numba would stop at a class that they had and these have not.
    """

    def decorate(function: Any) -> Any:
        named = (function.__code__.co_filename, *(str(part.__file__) for part in parts))
        files = (path for path in map(Path, named) if path.is_file())  # not so in a notebook
        sources = b"".join(path.read_bytes() for path in files)
        twin = FunctionType(function.__code__, function.__globals__, function.__name__)
        twin.__qualname__ = f"{function.__qualname__}_{zlib.crc32(sources):x}"
        twin.__doc__, twin.__annotations__ = function.__doc__, function.__annotations__
        try:
            return compiler(*arguments, **options, cache=True)(twin)
        except RuntimeError:  # numba's, where neither folder can be written
            return compiler(*arguments, **options)(twin)

    return decorate


def code_of(system: System, x: Tensor) -> Compiled | None:
    """Return the code of a system for states like ``x [..., n]``; None if it has none for them.

    A system that can be compiled has a method ``compiled()``, which returns a `Compiled`, or None
    where there is no code, such as on a GPU.
    """
    compiled = getattr(system, "compiled", None)
    if compiled is None or x.device.type != "cpu":
        return None
    code: Compiled | None = compiled()
    return code if code is not None and DTYPES.get(x.dtype) == code.parameters.dtype else None
