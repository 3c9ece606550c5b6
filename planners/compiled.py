"""How a system provides functions for compiled code, and how they are compiled.

On a CPU, planning spends more time on calls than on arithmetic. So a system may provide its step
and its derivatives as functions that [numba](https://numba.pydata.org) can compile; then
`planners.fused` plans without leaving compiled code. They compute the same as the system's ``step``
and ``linearize`` in torch, up to rounding.

Both functions work on `LANES` states side by side, an array ``[n, LANES]``. The result of a lane
must not depend on the other lanes. The arguments are

``parameters, sizes, scratch, x, u, out``

with ``x [n, LANES]`` and ``u [m, LANES]``. ``out`` is the next state ``[n, LANES]``, or the
derivatives ``[n, n + m, LANES]`` by state and control. All are pointers: ``sizes`` to int64, the
others to the dtype of ``parameters``. ``numba.carray(x, (n, LANES))`` makes an array of a pointer.
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
"""Options of numba: other threads go on, a division by zero raises nothing, and a product may be
added without being rounded first."""
INNER: dict[str, Any] = HOW | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""`HOW` for functions that only compiled code calls: an entry for Python takes long to compile."""
WITHIN: dict[str, Any] = INNER | {"inline": "always"}
"""`INNER` for a large function that is called in one place. It becomes a part of its caller and is
optimised once, with it; otherwise it would be optimised alone as well."""
DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


@dataclass(frozen=True, eq=False)
class Compiled:
    """Code and numbers of a system; see the module's docstring.

    The numbers must not change. A system that changes returns another object; planners then discard
    the derivatives that they remember.
    """

    step: Callable[..., None]
    """Writes the next states. It is a function of a module, not a closure, so that numba can cache
    its code."""
    derivatives: Callable[..., None]
    """Writes the derivatives."""
    parameters: NDArray[Any]
    """``[P]``: numbers of the system, float32 or float64; all arithmetic is in this dtype."""
    sizes: NDArray[np.int64]
    """``[I]``: integers, such as shapes."""
    scratch: int
    """How many numbers of working memory a call needs."""


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

    Each is stored with the state and the control at which it was taken, since these may lie off the
    last plans.
    """

    code: Compiled
    """The system whose derivatives these are."""
    at: NDArray[Any]
    """``[B, T, n + m]``: states and controls at which they were taken; NaN where there are none."""
    F: NDArray[Any]
    """``[B, T, n, n + m]``: the derivatives."""

    @classmethod
    def empty(cls, code: Compiled, B: int, T: int, n: int, m: int) -> Memory:
        """Return a memory that holds no derivatives yet."""
        real = code.parameters.dtype
        return cls(code, np.full((B, T, n + m), np.nan, real), np.zeros((B, T, n, n + m), real))


@cache
def address(function: Callable[..., None], dtype: np.dtype[Any]) -> int:
    """Compile a function of `Compiled` for a dtype, once, and return the address of its code."""
    from numba import cfunc, from_dtype, types

    real, integer = types.CPointer(from_dtype(dtype)), types.CPointer(types.int64)
    compiled = cached(cfunc, types.void(real, integer, real, real, real, real))(function)
    return int(compiled.address)


def numbers(code: Compiled) -> tuple[Any, ...]:
    """Return a system as compiled code takes it: addresses, parameters, sizes and scratch."""
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

    It is for functions of a module that have neither defaults nor a closure. The function itself
    stays as it is; a twin is compiled.

    The cache is beside the source, or else in the user's cache folder; where neither can be
    written, there is none. An entry is found by the function's name and a checksum of the sources:
    its own module, and ``parts``, the other modules whose code it calls. So an entry of older
    sources is never read; numba would fail where it names a class that no longer exists.
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
