"""Calls of a compiled system: roll-outs, costs and derivatives; a part of `planners.kernels`."""

from __future__ import annotations

import math
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
    """Return ``a b + c`` of vectors, rounded only once where the processor can do so."""
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


@compiled
def _fill(rows: Array, first: int, used: int, each: int, lanes: Array) -> None:
    """Write to ``lanes [I, LANES]`` the numbers of ``rows [B, I]`` of items from ``first`` on.

    ``each`` items in a row share a row of ``rows``. Unused lanes repeat the last used lane.
    """
    for lane in range(LANES):
        b = (first + min(lane, used - 1)) // each
        for i in range(len(lanes)):
            lanes[i, lane] = rows[b, i]


@compiled
def _place(following: Array, U: Array, first: int, used: int, t: int, w: Array) -> None:
    """Write states and their controls in ``U [N, T, m]`` to ``w``; at time T, the last control."""
    n, last = len(following), U.shape[1] - 1
    for i in range(n):
        for lane in range(LANES):
            w[i, lane] = following[i, lane]
    for lane in range(LANES):
        for j in range(U.shape[2]):
            w[n + j, lane] = U[first + min(lane, used - 1), min(t, last), j]


@compiled
def weights(cost: Array, width: int) -> Array:
    """Return the weights of a step and of the end, ``C [1 + N, width]`` each.

    A cost ``goal [B, n], reference [B, m], Q, R, Qf`` is ``1/2 [1; w]ᵀ C [1; w]`` around the target
    ``[goal; reference]``. Columns from ``1 + N`` on are zero.
    """
    _, _, Q, R, Qf = cost
    n, m = len(Q), len(R)
    stage, terminal = np.zeros((1 + n + m, width)), np.zeros((1 + n + m, width))
    for i in range(n):
        for j in range(n):
            stage[1 + i, 1 + j], terminal[1 + i, 1 + j] = 2 * Q[i, j], 2 * Qf[i, j]
    for i in range(m):
        for j in range(m):
            stage[1 + n + i, 1 + n + j] = 2 * R[i, j]
    return stage, terminal


@compiled
def add_cost(C: Array, w: Array, aim: Array, error: Array, total: Array) -> None:
    """Add the cost of all lanes to ``total [LANES]``; NaN where w is not finite.

    Args:
        C: one of the `weights`.
        w: ``[N, LANES]``.
        aim: ``[N, LANES]``, the targets.
        error: ``[N, LANES]``, to be written: ``w - aim``.
        total: the costs.
    """
    for i in range(len(w)):
        for lane in range(LANES):
            error[i, lane] = w[i, lane] - aim[i, lane]
            total[lane] += 0 * error[i, lane]
    for i in range(len(w)):
        for j in range(len(w)):
            weight = 0.5 * C[1 + i, 1 + j]
            if weight != 0:
                for lane in range(LANES):
                    total[lane] += weight * error[i, lane] * error[j, lane]


@cached(njit, **HOW)
def roll_out(
    part: Array, code: Array, cost: Array, x0: Array, U: Array, X: Array, J: Array
) -> None:
    """Roll controls out, from the first to the last of a part, `LANES` at a time.

    Args:
        part: begin and end of the range of the N to roll out.
        code: addresses, parameters, sizes and scratch of `planners.compiled.Compiled`.
        cost: see `weights`.
        x0: ``[B, n]``; the first ``N / B`` rows of ``U`` begin at the first state, and so on.
        U: ``[N, T, m]``: controls, applied without limits.
        X: ``[N, T+1, n]``: states, to be written; ``[0, T+1, n]`` if they are not needed.
        J: ``[N]``: costs, to be written, infinite where something is not finite; ``[0]`` if they
            are not needed.
    """
    (begin, end), (N, T, m), n = part, U.shape, x0.shape[1]
    each, system = N // max(len(x0), 1), system_of(code)
    stage, terminal = weights(cost, 1 + n + m)
    w, following = np.zeros((n + m, LANES), U.dtype), np.zeros((n, LANES), U.dtype)
    aim, error, total = np.zeros((n + m, LANES)), np.zeros((n + m, LANES)), np.zeros(LANES)
    for first in range(begin, end, LANES):
        used, total[:] = min(LANES, end - first), 0
        _fill(x0, first, used, each, following)
        _fill(cost[0], first, used, each, aim[:n])
        _fill(cost[1], first, used, each, aim[n:])
        for t in range(T + 1):
            _place(following, U, first, used, t, w)
            if len(J) > 0:
                add_cost(stage if t < T else terminal, w, aim, error, total)
            if len(X) > 0:
                for lane in range(used):
                    for i in range(n):
                        X[first + lane, t, i] = following[i, lane]
            if t < T:
                step(system, w, following)
        for lane in range(min(used, len(J))):
            J[first + lane] = total[lane] if math.isfinite(total[lane]) else math.inf


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
