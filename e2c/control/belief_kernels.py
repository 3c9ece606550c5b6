"""The arithmetic of a belief in compiled code; `e2c.control.belief` says what is computed.

The belief about B episodes is a Gaussian of the latent state and, below it, of the last w: means
``[B, 2n]`` and covariances ``[B, 2n, 2n]``. All is float64 but what a system computes. Every
function returns new arrays. Of a covariance one triangle is computed and written twice, since an
antisymmetric part, which is rounding, would grow under an unstable A.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from planners.compiled import HOW, INNER, LANES, cached
from planners.kernels_system import derivatives, step, system_of

LEAST = 0.3
"""An observation that says less of a latent component than this share of what is known without it
is taken to say nothing of it."""
NOTHING = 1e-6
"""Of such a component, it is taken to say this share, and what was predicted."""
MEMORY = 0.85
"""Share of the scale that is kept at each observation."""
LEAST_SCALE = 1e-3
"""The scale is at least this: where all stands still, innovations vanish."""

compiled = njit(**INNER)
Array = Any
"""An array or a number in compiled code."""


@cached(njit, **HOW)
def foresee(code: Array, mean: Array, u: Array) -> Array:
    """Compute the next states and the derivatives by the state, `LANES` episodes at a time.

    Args:
        code: see `planners.compiled.numbers`.
        mean: ``[B, 2n]``.
        u: ``[B, m]``: controls.

    Returns:
        ``[B, n]`` and ``[B, n, n]``.
    """
    (B, m), n, system = u.shape, mean.shape[1] // 2, system_of(code)
    after, A = np.empty((B, n)), np.empty((B, n, n))
    w = np.zeros((n + m, LANES), system.parameters.dtype)
    following, J = np.zeros_like(w[:n]), np.zeros((n, n + m, LANES), w.dtype)
    for first in range(0, B, LANES):
        used = min(LANES, B - first)
        for lane in range(LANES):
            b = first + min(lane, used - 1)
            for i in range(n + m):
                w[i, lane] = mean[b, i] if i < n else u[b, i - n]
        step(system, w, following)
        derivatives(system, w, J)
        for lane in range(used):
            for i in range(n):
                after[first + lane, i] = following[i, lane]
                for j in range(n):
                    A[first + lane, i, j] = J[i, j, lane]
    return after, A


@cached(njit, **HOW)
def predict(known: Array, after: Array, A: Array, mean: Array, covariance: Array) -> Array:
    """Move a belief on by a step.

    Args:
        known: `e2c.control.belief.Figures`.
        after: ``[B, n]``: the states that follow the means.
        A: ``[B, n, n]``: the derivatives there.
        mean: ``[B, 2n]``.
        covariance: ``[B, 2n, 2n]``.

    Returns:
        Means and covariances.
    """
    B, n = after.shape
    mean, before, covariance = mean.copy(), covariance, covariance.copy()
    moved = np.empty((n, 2 * n))
    for b in range(B):
        far = 0.0
        for i in range(n):
            far += (after[b, i] - mean[b, i]) ** 2
            mean[b, i] = after[b, i]
        for i in range(n):
            for j in range(2 * n):
                moved[i, j] = 0.0
                for k in range(n):
                    moved[i, j] += A[b, i, k] * before[b, k, j]
            for j in range(n, 2 * n):
                covariance[b, i, j] = covariance[b, j, i] = moved[i, j]
            for j in range(i + 1):
                total = known.process[i, j] * (1 + known.speed * far)
                for k in range(n):
                    total += moved[i, k] * A[b, j, k]
                covariance[b, i, j] = covariance[b, j, i] = total
    return mean, covariance


@cached(njit, **HOW)
def observe(
    known: Array, told: Array, seen: Array, limit: Array, counts: Array, belief: Array
) -> Array:
    """Correct a belief.

    An observation of which nothing finite follows corrects nothing, as if it had not been seen.

    Args:
        known: `e2c.control.belief.Figures`.
        told: ``[B, n]`` twice: means and variances of what the sight tells.
        seen: ``[B]``: which of them show anything.
        limit: ``[n + 1]``: the NIS beyond which an observation is a surprise that says something of
            k components; and whether there was a prediction that can be surprised.
        counts: ``[B]`` each: sums of NIS over k, observations, surprises and the logarithms of the
            scales, which are added to; and the scales, which follow the NIS. An observation that
            says nothing, k = 0, does not count.
        belief: means ``[B, 2n]`` and covariances ``[B, 2n, 2n]``.

    Returns:
        Means and covariances.
    """
    (mean, covariance), (limits, begun) = belief, limit
    nis, number, surprises, logarithms, scale = counts
    (B, n2), (corrected, spread) = mean.shape, (np.zeros_like(mean), np.zeros_like(covariance))
    n = n2 // 2
    C, V = np.zeros((3 * n + 1, n)), np.zeros((3 * n + 1, n))
    room = np.empty(n), np.empty((n, 2 * n))
    for b in range(B):
        good, wide = seen[b], 0.0
        if good:
            k = _compare(known, told[0][b], told[1][b], mean[b], covariance[b], room, C)
            good, square = _whiten(C, V)
            if good and begun and k > 0:
                square /= scale[b]
                nis[b] += square / k
                number[b] += 1
                logarithms[b] += math.log(scale[b])
                if square > limits[k]:
                    surprises[b] += 1
                    wide = 1 / scale[b]
                scale[b] *= MEMORY + (1 - MEMORY) * min(square, limits[k]) / k
                scale[b] = max(scale[b], LEAST_SCALE)
            if wide > 0:
                _widen(C, wide)
                good, _ = _whiten(C, V)
        _correct(known, C, V, good, wide, mean[b], covariance[b], corrected[b], spread[b])
    return corrected, spread


@compiled
def _compare(
    known: Array, told: Array, variance: Array, mean: Array, P: Array, room: Array, C: Array
) -> int:
    """Compare what the sight tells of an observation, now called y, with what was predicted.

    Written are, row by row, the covariance S of y, ``[n, n]``, of which the lower triangle is
    enough; the covariances of the state and of the new w with y, ``[2n, n]``; and the innovation.

    Returns:
        k, the number of components of which y says something.
    """
    n, (D, HP), k = len(told), room, 0
    for i in range(n):
        share = known.variance[i] / variance[i] - 1
        says_nothing = share <= LEAST  # a NaN says what cannot be used
        D[i] = math.sqrt(known.variance[i] / (NOTHING if says_nothing else share))
        C[3 * n, i] = 0.0
        if not says_nothing:
            k += 1
            away = (told[i] - known.mean[i]) * (1 + share) / share
            C[3 * n, i] = known.mean[i] + away - mean[i]
            for j in range(n):
                C[3 * n, i] -= D[i] * known.shared[i, j] * mean[n + j]
        for j in range(2 * n):
            HP[i, j] = P[i, j]
            for h in range(n):
                HP[i, j] += D[i] * known.shared[i, h] * P[n + h, j]
    for i in range(n):
        for j in range(n):
            C[n + i, j] = HP[j, i]
            C[2 * n + i, j] = D[j] * known.errors[i, j]
            C[i, j] = HP[i, j] + D[i] * known.errors[i, j] * D[j]
            for h in range(n):
                C[i, j] += HP[i, n + h] * D[j] * known.shared[j, h]
    return k


@compiled
def _whiten(C: Array, V: Array) -> Array:
    """Write ``C L^-T``, where ``L L^T = S`` are the first n rows of C, and those of the result L.

    Returns:
        Whether S is positive definite and the last row finite; and the square of the last row,
        which is the NIS of an innovation.
    """
    square = 0.0
    for i in range(len(C)):
        for j in range(min(i + 1, C.shape[1])):
            rest = C[i, j]
            for k in range(j):
                rest -= V[i, k] * V[j, k]
            if i != j:
                V[i, j] = rest / V[j, j]
            elif 0 < rest < math.inf:
                V[i, i] = math.sqrt(rest)
            else:
                return False, square
    for x in V[len(C) - 1]:
        square += x * x
    return math.isfinite(square), square


@compiled
def _widen(C: Array, wide: float) -> None:
    """Add ``wide r r^T`` to the covariance of the state, and so to S and to the state's with y."""
    n = C.shape[1]
    r = C[3 * n]
    for i in range(n):
        for j in range(n):
            C[i, j] += wide * r[i] * r[j]
            C[n + i, j] += wide * r[i] * r[j]


@compiled
def _correct(
    known: Array,
    C: Array,
    V: Array,
    good: bool,
    wide: float,
    mean: Array,
    P: Array,
    corrected: Array,
    spread: Array,
) -> None:
    """Write the belief about the state and the new w, which was ``N(0, errors)`` before.

    With ``G`` the covariances with y, the gain is ``G S^-1``, so that the mean grows by ``(G L^-T)
    (L^-1 r)`` and the covariance shrinks by ``(G L^-T) (G L^-T)^T``. An observation that is not
    good changes nothing.
    """
    n = C.shape[1]
    r, e = C[3 * n], V[3 * n]
    for i in range(2 * n):
        if i < n:
            corrected[i] = mean[i]
        for k in range(n if good else 0):
            corrected[i] += V[n + i, k] * e[k]
        for j in range(i + 1):
            total = 0.0
            if i < n:
                total = P[i, j] + wide * r[i] * r[j] if wide > 0 else P[i, j]
            elif j >= n:
                total = known.errors[i - n, j - n]
            for k in range(n if good else 0):
                total -= V[n + i, k] * V[n + j, k]
            spread[i, j] = spread[j, i] = total
