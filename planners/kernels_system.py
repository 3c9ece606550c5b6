"""Calls of a compiled system: roll-outs and derivatives, a part of `planners.kernels`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from planners.compiled import HOW, INNER, LANES, cached

compiled = njit(**INNER)
Array = Any
"""An array or a number in compiled code."""


def spread(builder: Any, number: Any) -> Any:
    """Fill a vector of `LANES` with a number, in the code that ``builder`` writes."""
    undefined = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, everywhere)


def fuse(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return the vectors' ``a b + c``, rounded once where the processor can."""
    size = {ir.FloatType(): 32, ir.DoubleType(): 64}[a.type.element]
    kind = ir.FunctionType(a.type, [a.type] * 3)
    name = f"llvm.fmuladd.v{LANES}f{size}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


class System(NamedTuple):
    """A `planners.compiled.Compiled` with the scratch of one thread."""

    step: Array  # address
    derivatives: Array
    parameters: Array
    sizes: Array
    scratch: Array


@compiled
def system_of(code: Array) -> Array:
    """Return a system with scratch of its own."""
    step, derivatives, parameters, sizes, scratch = code
    return System(step, derivatives, parameters, sizes, np.zeros(scratch, parameters.dtype))


@intrinsic
def _call(
    _: Any, address: Any, parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any
) -> Any:
    """Call a function of a system with its arrays."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = zip(signature.args[1:], arguments[1:], strict=True)
        data = [target.make_array(kind)(target, builder, value).data for kind, value in arrays]
        kind = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in data])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), data)
        return target.get_dummy_value()

    return types.void(types.intp, parameters, sizes, scratch, x, u, out), generate


@compiled
def step(system: Array, w: Array, following: Array) -> None:
    """Write the states ``[n, LANES]`` that follow states and controls ``w [n + m, LANES]``."""
    n, s = len(following), system
    _call(s.step, s.parameters, s.sizes, s.scratch, w[:n], w[n:], following)


@compiled
def derivatives(system: Array, w: Array, out: Array) -> None:
    """Write the derivatives ``[n, n + m, LANES]`` at ``w [n + m, LANES]``."""
    n, s = len(out), system
    _call(s.derivatives, s.parameters, s.sizes, s.scratch, w[:n], w[n:], out)


@cached(njit, **HOW)
def roll_out(code: Array, x0: Array, U: Array, X: Array) -> None:
    """Roll ``U [N, T, m]`` out, `LANES` rows at a time.

    Args:
        code: addresses, parameters, sizes and scratch of `planners.compiled.Compiled`.
        x0: ``[B, n]``; the first ``N / B`` rows of ``U`` begin at the first of them, and so on.
        U: controls, applied as they are.
        X: ``[N, T+1, n]``: states, to be written.
    """
    (N, T, m), n, each = U.shape, x0.shape[1], len(U) // max(len(x0), 1)
    system = system_of(code)
    w, following = np.zeros((n + m, LANES), X.dtype), np.zeros((n, LANES), X.dtype)
    for first in range(0, N, LANES):
        used = min(LANES, N - first)
        for lane in range(LANES):
            for i in range(n):
                following[i, lane] = x0[(first + min(lane, used - 1)) // each, i]
        for t in range(T + 1):
            for lane in range(used):
                for i in range(n):
                    X[first + lane, t, i] = w[i, lane] = following[i, lane]
                for j in range(m):
                    w[n + j, lane] = U[first + lane, min(t, T - 1), j]
            if t < T:
                step(system, w, following)


@cached(njit, **HOW)
def shift(code: Array, X: Array, U: Array, later_X: Array, later_U: Array) -> None:
    """Move plans ``X [B, T+1, n], U [B, T, m]`` on by one step; see `planners.warm.shift`."""
    (B, T, m), n, system = U.shape, X.shape[2], system_of(code)
    w, following = np.zeros((n + m, LANES), X.dtype), np.zeros((n, LANES), X.dtype)
    for b in range(B):
        for t in range(T):
            for i in range(n):
                later_X[b, t, i] = X[b, t + 1, i]
            for j in range(m):
                later_U[b, t, j] = U[b, min(t + 1, T - 1), j]
    for first in range(0, B, LANES):
        used = min(LANES, B - first)
        for lane in range(LANES):
            b = first + min(lane, used - 1)
            for i in range(n + m):
                w[i, lane] = X[b, T, i] if i < n else U[b, T - 1, i - n]
        step(system, w, following)
        for lane in range(used):
            for i in range(n):
                known = np.isfinite(following[i, lane])
                later_X[first + lane, T, i] = following[i, lane] if known else w[i, lane]
