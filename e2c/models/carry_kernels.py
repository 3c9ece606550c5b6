"""`e2c.models.carry` in compiled code: the same steps and sweep back, of `LANES` roll-outs at once.

The n + 2 columns of a roll-out are those of a belief's factor, its mean, and the state.

A network's ``numbers`` are its weights ``[J, I]`` and biases ``[J]``, layer by layer, as one
vector; ``widths`` are those of its layers, input first. All other arrays consist of *rows*,
``[R, T, N]``. A row holds one number of all roll-outs at all times. So roll-outs that are computed
together lie side by side, and the derivative by a layer's weights is a product of two matrices.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from e2c.models import kernels
from e2c.models.kernels import TILE, activate, bound, dense, padded
from planners import kernels_system
from planners.compiled import HOW, INNER, LANES, cached

PARTS = (kernels, kernels_system)
compiled = njit(**INNER)
Array = Any
"""An array or a number in compiled code."""


class Steps(NamedTuple):
    """T steps of N roll-outs of c = n + 2 columns: their inputs and their results."""

    numbers: Array  # of the network, see above
    widths: Array
    gain: Array  # of A
    is_bounded: Array  # whether v and r are bounded
    is_smooth: Array  # whether the activation is SiLU
    u: Array  # [m, T, N]: controls, in the network's unit
    X: Array  # [n c, T + 1, N], written: columns
    Y: Array  # [3n + nm, T, N], written: v, r, o and B
    kept: Array  # [K, T, N], written: the inputs of each layer
    slopes: Array  # [K, T, N], written: the derivatives of the activations that gave these inputs


class Compared(NamedTuple):
    """Encodings at S times: roll-outs begin at the first, and are compared with the others."""

    mean: Array  # [n, S, N]
    log_variance: Array  # [n, S, N]
    eps: Array  # [n, N]: the first state is mean + std eps
    times: Array  # [S]: 0 first, ascending; the last is T


@compiled
def _packed(numbers: Array, widths: Array, is_backward: bool) -> Array:
    """Lay the layers out for `dense`; those of the sweep back are transposed, without biases."""
    room, at, begin = 0, 0, 0
    for layer in range(len(widths) - 1):
        inputs, outputs = widths[layer], widths[layer + 1]
        room += (inputs + outputs + 1) * (padded(inputs) + padded(outputs))
    packed = np.zeros(room, numbers.dtype)
    for layer in range(len(widths) - 1):
        inputs, outputs = widths[layer], widths[layer + 1]
        end = at + inputs * outputs
        weights, biases = numbers[at:end].reshape(outputs, inputs), numbers[end : end + outputs]
        if is_backward:
            begin = _pack(packed, begin, weights.T, biases[:0])
        else:
            begin = _pack(packed, begin, weights, biases)
        at = end + outputs
    return packed[:begin]


@compiled
def _pack(packed: Array, begin: int, weights: Array, biases: Array) -> int:
    """Write a layer as `dense` reads it; return where it ends."""
    outputs, inputs = weights.shape
    for row in range(outputs):
        tile = begin + row // TILE * TILE * inputs + row % TILE
        for i in range(inputs):
            packed[tile + i * TILE] = weights[row, i]
    end = begin + inputs * padded(outputs)
    for row in range(len(biases)):
        packed[end + row] = biases[row]
    return end + padded(outputs)


@compiled
def _load(rows: Array, t: int, start: int, lanes: Array) -> None:
    """Copy the roll-outs from ``start`` on, at time ``t``, to ``lanes [R, LANES]``."""
    count = rows.shape[2] - start
    for r in range(rows.shape[0]):
        if count >= LANES:  # a loop of a constant length is compiled to one copy
            for lane in range(LANES):
                lanes[r, lane] = rows[r, t, start + lane]
        else:
            for lane in range(count):
                lanes[r, lane] = rows[r, t, start + lane]


@compiled
def _store(rows: Array, t: int, start: int, lanes: Array) -> None:
    """Copy ``lanes [R, LANES]`` to the roll-outs from ``start`` on, at time ``t``."""
    count = rows.shape[2] - start
    for r in range(rows.shape[0]):
        if count >= LANES:
            for lane in range(LANES):
                rows[r, t, start + lane] = lanes[r, lane]
        else:
            for lane in range(count):
                rows[r, t, start + lane] = lanes[r, lane]


@compiled
def _apply(
    packed: Array,
    widths: Array,
    smooth: bool,
    buffers: Array,
    kept: Array,
    slopes: Array,
    t: int,
    start: int,
) -> Array:
    """Apply the network to the numbers in the first of the ``buffers [3, 1, J, LANES]``.

    ``kept`` gets the inputs of each layer, ``slopes`` the derivatives of the activations before it.
    """
    h, y, slope, at, row = buffers[0], buffers[1], buffers[2, 0], 0, 0
    for layer in range(len(widths) - 1):
        inputs, outputs = widths[layer], widths[layer + 1]
        _store(kept[row : row + inputs], t, start, h[0])
        if layer > 0:
            _store(slopes[row : row + inputs], t, start, slope)
        row += inputs
        at = dense(packed, at, h, inputs, y, outputs)
        if layer < len(widths) - 2:
            activate(smooth, y[0, : padded(outputs)].reshape(-1), slope.reshape(-1))
        h, y = y, h
    return h[0]


@compiled
def _products(a: Array, X: Array, gain: Array, out: Array) -> None:
    """Write ``gain a^T X`` for ``a [n, LANES]`` and ``X [n, c, LANES]`` to ``out [c, LANES]``."""
    out[:] = 0
    for i in range(len(a)):
        for k in range(len(out)):
            for lane in range(LANES):
                out[k, lane] += gain * a[i, lane] * X[i, k, lane]


@compiled
def _move(X: Array, y: Array, u: Array, gain: Array, rx: Array) -> None:
    """Add ``gain v r^T X`` to X, and ``B u + o`` to mean and state; ``y`` holds v, r, o and B."""
    n, m = len(X), len(u)
    _products(y[n : 2 * n], X, gain, rx)
    for i in range(n):
        shift = y[2 * n + i]
        for j in range(m):
            for lane in range(LANES):
                shift[lane] += y[3 * n + i * m + j, lane] * u[j, lane]
        for k in range(n + 2):
            for lane in range(LANES):
                X[i, k, lane] += y[i, lane] * rx[k, lane]
        for k in range(n, n + 2):
            for lane in range(LANES):
                X[i, k, lane] += shift[lane]


@compiled
def _begin(q: Array, X: Array) -> None:
    """Write the columns at time 0."""
    n, N = q.eps.shape
    X[:, 0] = 0
    for i in range(n):
        row = i * (n + 2)
        for at in range(N):
            std = math.exp(0.5 * q.log_variance[i, 0, at])
            X[row + i, 0, at] = std
            X[row + n, 0, at] = q.mean[i, 0, at]
            X[row + n + 1, 0, at] = q.mean[i, 0, at] + std * q.eps[i, at]


@compiled
def _growth(s: Array, n: int, t: int, at: int) -> Array:
    """Return ``det A = 1 + gain v^T r`` of a step of a roll-out."""
    vr = s.gain * 0
    for i in range(n):
        vr += s.Y[i, t, at] * s.Y[n + i, t, at]
    return 1 + s.gain * vr


@compiled
def _compare(s: Array, q: Array, path: Array, kl: Array) -> None:
    """Write the states and the latent KL, `e2c.models.gaussians.kl_to_diagonal`, at the times."""
    (n, S, N), t = q.mean.shape, 0
    log_det = np.zeros(N)
    for i in range(n):
        for at in range(N):
            path[i, 0, at] = s.X[i * (n + 2) + n + 1, 0, at]
            log_det[at] += 0.5 * q.log_variance[i, 0, at]
    for k in range(1, S):
        while t < q.times[k]:
            for at in range(N):
                log_det[at] += math.log(abs(_growth(s, n, t, at)))
            t += 1
        for at in range(N):
            total = -2 * log_det[at]
            for i in range(n):
                row = i * (n + 2)
                miss = q.mean[i, k, at] - s.X[row + n, t, at]
                square = miss * miss
                for j in range(n):
                    square += s.X[row + j, t, at] ** 2
                log_variance = q.log_variance[i, k, at]
                total += square * math.exp(-log_variance) - 1 + log_variance
                path[i, k, at] = s.X[row + n + 1, t, at]
            kl[k - 1, at] = 0.5 * total


@cached(njit, parts=PARTS, **HOW)
def forward(s: Array, q: Array, path: Array, kl: Array) -> None:
    """Take the steps, and compare with the encodings.

    Args:
        s: a `Steps`.
        q: a `Compared`.
        path: ``[n, S, N]``, to be written: the states at the times.
        kl: ``[S - 1, N]``, to be written: the latent KL at all but the first.
    """
    _begin(q, s.X)
    (m, T, N), X, widths, n = s.u.shape, s.X, s.widths, len(q.mean)
    gain, packed = X.dtype.type(s.gain), _packed(s.numbers, widths, False)
    buffers = np.zeros((3, 1, padded(widths.max()), LANES), X.dtype)
    lanes, control = np.zeros((len(X), LANES), X.dtype), np.zeros((m, LANES), X.dtype)
    columns, rx = lanes.reshape(n, n + 2, LANES), np.zeros((n + 2, LANES), X.dtype)
    for start in range(0, N, LANES):
        _load(X, 0, start, lanes)
        for t in range(T):
            _load(s.u, t, start, control)
            for i in range(n):
                for lane in range(LANES):
                    buffers[0, 0, i, lane] = columns[i, n + 1, lane]
            y = _apply(packed, widths, s.is_smooth, buffers, s.kept, s.slopes, t, start)
            bound(s.is_bounded, y, n)
            _store(s.Y, t, start, y)
            _move(columns, y, control, gain, rx)
            _store(X, t + 1, start, lanes)
    _compare(s, q, path, kl)


@compiled
def _by_outputs(G: Array, X: Array, y: Array, u: Array, gain: Array, rx: Array, d: Array) -> None:
    """Add to ``d`` the derivative by v, r, o and B, and pass ``G`` through A."""
    n, m = len(X), len(u)
    vG = np.zeros_like(rx)
    _products(y[n : 2 * n], X, gain, rx)
    _products(y[:n], G, gain, vG)
    for i in range(n):
        for lane in range(LANES):
            shift = G[i, n, lane] + G[i, n + 1, lane]
            d[2 * n + i, lane] += shift
            for j in range(m):
                d[3 * n + i * m + j, lane] += shift * u[j, lane]
        for k in range(n + 2):
            for lane in range(LANES):
                d[i, lane] += G[i, k, lane] * rx[k, lane]
                d[n + i, lane] += X[i, k, lane] * vG[k, lane]
                G[i, k, lane] += y[n + i, lane] * vG[k, lane]


@compiled
def _by_layers(
    packed: Array,
    widths: Array,
    d: Array,
    other: Array,
    slopes: Array,
    deltas: Array,
    t: int,
    start: int,
) -> Array:
    """Pass ``d``, the derivative by the network's outputs, back to its inputs, and return that.

    ``deltas`` gets the derivative by each layer's output before its activation. ``slopes`` has rows
    for the network's inputs too; ``deltas`` does not.
    """
    row, end = len(deltas), len(packed)
    for layer in range(len(widths) - 2, -1, -1):
        inputs, outputs = widths[layer], widths[layer + 1]
        row -= outputs
        _store(deltas[row : row + outputs], t, start, d[0])
        end -= (outputs + 1) * padded(inputs)
        dense(packed, end, d, outputs, other, inputs)
        d, other = other, d
        if layer > 0:
            slope = other[0]
            _load(slopes[row - inputs + widths[0] : row + widths[0]], t, start, slope)
            for i in range(inputs):
                for lane in range(LANES):
                    d[0, i, lane] *= slope[i, lane]
    return d[0]


@compiled
def _by_comparison(
    s: Array, q: Array, by_path: Array, by_kl: Array, by_q: Array, by_X: Array, by_Y: Array
) -> Array:
    """Write the derivatives by X, by Y and by the encodings compared with.

    Return the derivative by the log determinant of the first factor, ``[N]``.
    """
    n, S, N = q.mean.shape
    by_log_det = np.zeros(N)
    for i in range(n):
        for at in range(N):
            by_X[i * (n + 2) + n + 1, 0, at] += by_path[i, 0, at]
    for k in range(S - 1, 0, -1):
        t = q.times[k]
        for at in range(N):
            g = by_kl[k - 1, at]
            for i in range(n):
                row, precision = i * (n + 2), math.exp(-q.log_variance[i, k, at])
                miss = q.mean[i, k, at] - s.X[row + n, t, at]
                square = miss * miss
                for j in range(n):
                    factor = s.X[row + j, t, at]
                    square += factor * factor
                    by_X[row + j, t, at] += g * precision * factor
                by_X[row + n, t, at] -= g * precision * miss
                by_X[row + n + 1, t, at] += by_path[i, k, at]
                by_q[0, i, k, at] = g * precision * miss
                by_q[1, i, k, at] = 0.5 * g * (1 - square * precision)
            by_log_det[at] -= g
        while t > q.times[k - 1]:
            t -= 1
            for at in range(N):
                factor = by_log_det[at] * s.gain / _growth(s, n, t, at)
                for i in range(n):
                    by_Y[i, t, at] = factor * s.Y[n + i, t, at]
                    by_Y[n + i, t, at] = factor * s.Y[i, t, at]
    return by_log_det


@compiled
def _by_first(q: Array, X: Array, by_X: Array, by_log_det: Array, by_q: Array) -> None:
    """Write the derivative by the encoding that roll-outs begin at."""
    n, N = q.eps.shape
    for i in range(n):
        row = i * (n + 2)
        for at in range(N):
            by_z = by_X[row + n + 1, 0, at]
            by_std = by_X[row + i, 0, at] + q.eps[i, at] * by_z
            by_q[0, i, 0, at] = by_X[row + n, 0, at] + by_z
            by_q[1, i, 0, at] = 0.5 * (by_std * X[row + i, 0, at] + by_log_det[at])


@cached(njit, parts=PARTS, **HOW)
def backward(s: Array, q: Array, by_path: Array, by_kl: Array, by_q: Array, deltas: Array) -> None:
    """Sweep back: from the derivatives of the loss by the outputs to those by the inputs.

    Args:
        s: a `Steps`, as `forward` left it.
        q: a `Compared`.
        by_path: ``[n, S, N]``, the derivative by the states.
        by_kl: ``[S - 1, N]``, by the latent KL.
        by_q: ``[2, n, S, N]``, to be written: by the encodings' mean and log variance.
        deltas: ``[K', T, N]``, to be written: by each layer's output before its activation.
    """
    (m, T, N), X, widths, n = s.u.shape, s.X, s.widths, len(q.mean)
    by_X, by_Y = np.zeros_like(X), np.zeros_like(s.Y)
    by_log_det = _by_comparison(s, q, by_path, by_kl, by_q, by_X, by_Y)
    gain, packed = X.dtype.type(s.gain), _packed(s.numbers, widths, True)
    d = np.zeros((2, 1, padded(widths.max()), LANES), X.dtype)
    G, lanes = np.zeros((len(X), LANES), X.dtype), np.zeros((len(X), LANES), X.dtype)
    by_columns, columns = G.reshape(n, n + 2, LANES), lanes.reshape(n, n + 2, LANES)
    control, y = np.zeros((m, LANES), X.dtype), np.zeros((len(s.Y), LANES), X.dtype)
    one, rx = X.dtype.type(1), np.zeros((n + 2, LANES), X.dtype)
    for start in range(0, N, LANES):
        _load(by_X, T, start, G)
        for t in range(T - 1, -1, -1):
            _load(s.u, t, start, control)
            _load(X, t, start, lanes)
            _load(s.Y, t, start, y)
            _load(by_Y, t, start, d[0, 0])
            _by_outputs(by_columns, columns, y, control, gain, rx, d[0, 0])
            for i in range(2 * n if s.is_bounded else 0):
                for lane in range(LANES):
                    d[0, 0, i, lane] *= one - y[i, lane] * y[i, lane]
            by_z = _by_layers(packed, widths, d[0], d[1], s.slopes, deltas, t, start)
            _load(by_X, t, start, lanes)
            for r in range(len(G)):
                for lane in range(LANES):
                    G[r, lane] += lanes[r, lane]
            for i in range(n):
                for lane in range(LANES):
                    by_columns[i, n + 1, lane] += by_z[i, lane]
        _store(by_X, 0, start, G)
    _by_first(q, X, by_X, by_log_det, by_q)
