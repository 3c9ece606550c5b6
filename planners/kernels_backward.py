"""The backward pass of iLQG in compiled code, a part of `planners.kernels`.

The mathematics are those of `planners.riccati` and `planners.boxqp`, which name the
sources; all is float64. As there, one matrix holds the affine terms too: ``y = [1; x]`` is a state
and ``w = [1; x; u]`` a state and a control. Rows over ``w`` are filled up with zeros to the length
P, a multiple of `LANES`, so that they are computed in whole registers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from planners.compiled import INNER, LANES
from planners.kernels_system import fuse, spread

compiled = njit(**INNER)
Array = Any
"""An array or a number in compiled code."""

NEWTON_STEPS, FRACTIONS = 20, 8
"""Most Newton steps of the box QP, and how many fractions of each are tried; see
`planners.boxqp`."""
NOISE = 32 * float(np.finfo(np.float64).eps)
"""A slope below this share of its terms is zero up to rounding."""


class BoxQP(NamedTuple):
    """Minimise ``1/2 uᵀ H u + gᵀ u`` within ``low <= u <= high``."""

    H: Array  # [m, m]
    g: Array  # [m]
    low: Array  # [m]
    high: Array  # [m]
    u: Array  # [m]: the minimiser
    free: Array  # [m] bool: False where a limit is active
    L: Array  # [m, m]: Cholesky factor in the free subspace
    slope: Array  # [m]
    step: Array  # [m]


class Local(NamedTuple):
    """Working memory of a backward pass."""

    C: Array  # [1+n+m, P]: cost
    Q: Array  # [1+n+m, P]: value of a state and a control
    V: Array  # [1+n, P]: value of a state, in the first 1+n columns
    VF: Array  # [1+n, P]
    H: Array  # [m, P]: ``Qu + Quu [k K]``
    error: Array  # [n+m]
    one: Array  # [1]
    zero: Array  # [1, P]
    qp: Array  # BoxQP


@compiled
def clamp(x: float, low: float, high: float) -> float:
    """Clamp ``x``; NaN stays."""
    x = low if x < low else x
    return high if x > high else x


@compiled
def padded(n: int, m: int) -> int:
    """Return the length P of rows."""
    return (n + m + LANES) // LANES * LANES


@compiled
def local_of(n: int, m: int) -> Array:
    """Make the working memory for ``n`` states and ``m`` controls."""
    P = padded(n, m)
    qp = BoxQP(
        np.zeros((m, m)),
        np.zeros(m),
        np.zeros(m),
        np.zeros(m),
        np.zeros(m),
        np.zeros(m, np.bool_),
        np.zeros((m, m)),
        np.zeros(m),
        np.zeros(m),
    )
    return Local(
        np.zeros((1 + n + m, P)),
        np.zeros((1 + n + m, P)),
        np.zeros((1 + n, P)),
        np.zeros((1 + n, P)),
        np.zeros((m, P)),
        np.zeros(n + m),
        np.ones(1),
        np.zeros((1, P)),
        qp,
    )


@intrinsic
def _add_rows(
    _: Any, y: Any, i: Any, c: Any, j: Any, count: Any, p: Any, at: Any, every: Any, h: Any, k: Any
) -> Any:
    """``y[i] = c[j] + p.flat[at::every][:count] @ h[k : k + count]``.

    Rows are those of C-contiguous arrays of float64, whose last axis has P numbers. The sum stays
    in registers; numba's own code would write it to memory after every addition.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y, c, p, h = (
            target.make_array(signature.args[n])(target, builder, arguments[n])
            for n in (0, 2, 5, 8)
        )
        i, j, count, at, every, k = (arguments[n] for n in (1, 3, 4, 6, 7, 9))
        vector, index = ir.VectorType(ir.DoubleType(), LANES), at.type
        width = cgutils.unpack_tuple(builder, y.shape)[-1]

        def place(array: Any, row: Any, column: Any) -> Any:
            number = builder.add(builder.mul(row, width), column)
            return builder.bitcast(builder.gep(array.data, [number]), vector.as_pointer())

        total = cgutils.alloca_once(builder, vector)
        with cgutils.for_range(builder, builder.sdiv(width, index(LANES))) as block:
            column = builder.mul(block.index, index(LANES))
            builder.store(builder.load(place(c, j, column), align=8), total)
            with cgutils.for_range(builder, count) as loop:
                number = builder.add(at, builder.mul(loop.index, every))
                factor = spread(builder, builder.load(builder.gep(p.data, [number])))
                terms = builder.load(place(h, builder.add(k, loop.index), column), align=8)
                builder.store(fuse(builder, factor, terms, builder.load(total)), total)
            builder.store(builder.load(total), place(y, i, column), align=8)
        return target.get_dummy_value()

    n = types.intp
    return types.void(y, n, c, n, n, p, n, n, h, n), generate


@compiled
def backward_pass(
    r: Array, p: Array, target: Array, F: Array, W: Array, lam: float, laws: Array
) -> Array:
    """Write the control laws ``[k K] [T, m, P]``; return whether usable, slope and curvature.

    Args:
        r: `Local`.
        p: see `planners.kernels.Problem`.
        target: ``[n+m]``: target of the cost.
        F: ``[T, n, P]``: derivatives ``[0 fx fu]``.
        W: ``[T+1, n+m]``: states and controls.
        lam: regularisation.
        laws: the control laws, to be written.
    """
    (T, m, _), n, slope, curvature = laws.shape, F.shape[1], 0.0, 0.0
    _expand(r, p.terminal, W[T], target)
    for i in range(1 + n):
        _add_rows(r.V, i, r.C, i, 0, p.terminal, 0, 1, r.C, 0)
    for t in range(T - 1, -1, -1):
        law = laws[t]
        _expand(r, p.stage, W[t], target)
        _add_value(r, F[t])
        if not _minimise_value(r, n, W[t], p.limits, lam, law):
            return False, slope, curvature
        for i in range(m):
            slope += law[i, 0] * r.Q[1 + n + i, 0]
            for j in range(m):
                curvature += 0.5 * law[i, 0] * r.Q[1 + n + i, 1 + n + j] * law[j, 0]
        _add_feedback(r, law)
    return True, slope, curvature


@compiled
def _expand(r: Array, C: Array, w: Array, target: Array) -> None:
    """Write the cost ``1/2 [1; w]ᵀ C [1; w]`` around ``w``, with the gradient, which C lacks."""
    for i in range(len(w)):
        r.error[i] = w[i] - target[i]
    _add_rows(r.C, 0, C, 0, len(w), r.error, 0, 1, C, 1)
    for i in range(1, len(C)):
        _add_rows(r.C, i, C, i, 0, C, 0, 1, C, 0)
        r.C[i, 0] = r.C[0, i]


@compiled
def _add_value(r: Array, F: Array) -> None:
    """Write ``Q = C + Fᵀ V F`` with V of the next state; F comes without its row ``[1 0 0]``."""
    n, P = F.shape
    for i in range(1 + n):
        _add_rows(r.VF, i, r.zero, 0, n, r.V, i * P + 1, 1, F, 0)
        r.VF[i, 0] = r.V[i, 0]
    _add_rows(r.Q, 0, r.C, 0, 1, r.one, 0, 1, r.VF, 0)
    for i in range(1, len(r.Q)):
        _add_rows(r.Q, i, r.C, i, n, F, i, P, r.VF, 1)


@compiled
def _minimise_value(r: Array, n: int, w: Array, limits: Array, lam: float, law: Array) -> bool:
    """Write the control law; tell whether it is usable, see `planners.riccati.ControlLaw`."""
    Qu, qp, u, m = r.Q[1 + n :], r.qp, w[n:], len(law)
    if m == 1:
        return _minimise_alone(Qu[0], n, limits[0, 0] - u[0], limits[1, 0] - u[0], lam, law[0])
    for i in range(m):
        qp.low[i], qp.high[i], qp.g[i] = limits[0, i] - u[i], limits[1, i] - u[i], Qu[i, 0]
        for j in range(m):
            qp.H[i, j] = Qu[i, 1 + n + j] + (lam if i == j else 0.0)
    usable = _minimise(qp)
    for i in range(m):
        law[i, 0] = qp.u[i]
    for j in range(1, 1 + n):
        for i in range(m):
            qp.step[i] = -Qu[i, j]
        _solve(qp)
        for i in range(m):
            law[i, j] = qp.step[i]
    return usable


@compiled
def _minimise_alone(Qu: Array, n: int, low: float, high: float, lam: float, law: Array) -> bool:
    """Do as `_minimise_value` with one control: clamping is exact, and faster."""
    Quu = Qu[1 + n] + lam
    gain = -1 / Quu
    best = gain * Qu[0]
    law[0] = clamp(best, low, high)
    for j in range(1, 1 + n):
        law[j] = gain * Qu[j] if law[0] == best else 0.0
    return 0 < Quu < math.inf


@compiled
def _add_feedback(r: Array, law: Array) -> None:
    """Write ``V = Gᵀ Q G`` with ``G = [I; k K]``: the value of a state under the law."""
    (m, P), n1 = law.shape, len(r.V)
    for a in range(m):
        _add_rows(r.H, a, r.Q, n1 + a, m, r.Q, (n1 + a) * P + n1, 1, law, 0)
    for i in range(n1):
        _add_rows(r.V, i, r.Q, i, m, r.Q, i * P + n1, 1, law, 0)
        _add_rows(r.V, i, r.V, i, m, law, i, P, r.H, 0)


@compiled
def _minimise(p: Array) -> bool:
    """Write ``u, free`` and ``L``; tell whether H is positive definite and u the minimiser."""
    for i in range(len(p.u)):
        p.free[i], p.step[i] = True, -p.g[i]
    if not _factorise(p):
        return False
    _solve(p)
    for i in range(len(p.u)):
        p.u[i] = clamp(p.step[i], p.low[i], p.high[i])
    for _ in range(NEWTON_STEPS):
        if _find_active_set(p):
            break
        _newton_step(p)
    solved = _find_active_set(p)
    return _factorise(p) and solved


@compiled
def _find_active_set(p: Array) -> bool:
    """Write ``slope`` and ``free`` at ``u``; tell whether it is the minimiser."""
    solved = True
    for i in range(len(p.u)):
        slope, size = p.g[i], abs(p.g[i])
        for j in range(len(p.u)):
            slope += p.H[i, j] * p.u[j]
            size += abs(p.H[i, j] * p.u[j])
        held = (p.u[i] <= p.low[i] and slope > 0) or (p.u[i] >= p.high[i] and slope < 0)
        p.slope[i], p.free[i] = slope, not held
        solved = solved and (held or abs(slope) <= NOISE * size)
    return solved


@compiled
def _newton_step(p: Array) -> None:
    """Move ``u`` to the best of several projected fractions of the Newton step."""
    m, best, lowest = len(p.u), 1.0, math.inf
    _factorise(p)
    for i in range(m):
        p.step[i] = -p.slope[i]
    _solve(p)
    for halvings in range(FRACTIONS):
        fraction, value = 0.5**halvings, 0.0
        for i in range(m):
            change = p.slope[i]
            for j in range(m):
                change += 0.5 * p.H[i, j] * _change(p, fraction, j)
            value += change * _change(p, fraction, i)
        if value < lowest:
            best, lowest = fraction, value
    for i in range(m):
        p.slope[i] = _change(p, best, i)
    for i in range(m):
        p.u[i] = clamp(p.u[i] + p.slope[i], p.low[i], p.high[i])


@compiled
def _change(p: Array, fraction: float, i: int) -> float:
    """Return by how much a fraction of the step changes ``u[i]``."""
    return clamp(p.u[i] + fraction * p.step[i], p.low[i], p.high[i]) - p.u[i]


@compiled
def _factorise(p: Array) -> bool:
    """Write the Cholesky factor in the free subspace; tell whether H is positive definite there."""
    for i in range(len(p.H)):
        for j in range(i + 1):
            coupled = p.free[i] and p.free[j]
            rest = p.H[i, j] if coupled else (1.0 if i == j else 0.0)
            for k in range(j):
                rest -= p.L[i, k] * p.L[j, k]
            if i != j:
                p.L[i, j] = rest / p.L[j, j]
            elif 0 < rest < math.inf:
                p.L[i, i] = math.sqrt(rest)
            else:
                return False
    return True


@compiled
def _solve(p: Array) -> None:
    """Solve ``H y = step`` in the free subspace, in place."""
    m = len(p.step)
    for i in range(m):
        p.step[i] = p.step[i] if p.free[i] else 0.0
        for j in range(i):
            p.step[i] -= p.L[i, j] * p.step[j]
        p.step[i] /= p.L[i, i]
    for i in range(m - 1, -1, -1):
        for j in range(i + 1, m):
            p.step[i] -= p.L[j, i] * p.step[j]
        p.step[i] /= p.L[i, i]
