"""Steps and derivatives of the transitions, compiled; see `planners.compiled` for the contract.

A network's numbers lie in two arrays, which `_pack` fills:

* ``sizes``: ``n``, ``m``, whether the activation is SiLU (else ReLU), whether the derivative is
  exact (else that of frozen A, B and o), the number of layers, and the widths, input first.
* ``parameters``: the gain of A (see `locally_linear_step`), then for each layer the weights
  ``[ceil(J / TILE), I, TILE]`` of its J outputs and I inputs and the biases ``[ceil(J / TILE) *
  TILE]``. Numbers beyond J are zero.

Layers work on blocks ``[C, width, LANES]``. The first block holds values. Each further block, if
there are any, holds the derivatives by one input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable
from numpy.typing import NDArray

from planners.compiled import INNER, LANES, Compiled
from planners.kernels_system import fuse, spread

TILE = 10
"""Outputs of a layer computed together: they and one input fit into the registers of a CPU."""
WIDTHS = 5
"""Where the widths begin in ``sizes``."""
LOG2_E, LN_2 = 1.44269504, 0.693147181
EXP = (0.00829765496, 0.041915382, 0.166675747, 0.499988949, 0.999999692, 1.00000007)
"""Polynomial, highest power first, equal to ``exp`` within 8e-8 from -ln(2)/2 to ln(2)/2."""
ROUND = 12582912.0
"""``1.5 * 2**23``: in float32, adding a small number to this rounds that number to an integer."""

compiled = njit(**INNER)
"""Decorates the parts of the four functions that are handed over to a planner."""


@register_jitable
def padded(width: int) -> int:
    """Return the multiple of `TILE` that a width needs."""
    return -(-width // TILE) * TILE


def _add_products(
    builder: Any,
    weights: Callable[[Any, int], Any],
    inputs: Callable[[Any], list[Any]],
    count: Any,
    sums: list[list[Any]],
) -> None:
    """Add to ``sums``, a row for each output, the products of weights and ``count`` inputs."""
    with cgutils.for_range(builder, count) as loop:
        lanes = inputs(loop.index)
        for j, totals in enumerate(sums):
            weight = spread(builder, weights(loop.index, j))
            for total, x in zip(totals, lanes, strict=True):
                builder.store(fuse(builder, weight, x, builder.load(total)), total)


def _multiplier(rows: int, blocks: int) -> Any:
    """Build the multiplication of ``rows`` outputs with ``blocks`` blocks; see `dense`."""

    @intrinsic
    def multiply(
        _: Any, p: Any, at: Any, bias: Any, count: Any, h: Any, block: Any, y: Any, row: Any
    ) -> Any:
        """``y[block + b, row + j] = sum_i p[at + i TILE + j] h[block + b, i] + p[bias + j]``.

        i counts the inputs, and an element of h or y is a vector of `LANES` numbers. Only the first
        block gets a bias; a negative ``bias`` means none. The sums stay in registers.
        """

        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            p, h, y = (
                target.make_array(signature.args[n])(target, builder, arguments[n])
                for n in (0, 4, 6)
            )
            at, bias, count, block, row = (arguments[n] for n in (1, 2, 3, 5, 7))
            real, index = p.data.type.pointee, at.type
            vector, align = ir.VectorType(real, LANES), target.get_abi_sizeof(real)
            width = cgutils.unpack_tuple(builder, h.shape)[1]

            def number(at: Any, j: int) -> Any:
                return builder.load(builder.gep(p.data, [builder.add(at, index(j))]))

            def place(array: Any, b: int, i: Any) -> Any:
                first = builder.mul(builder.add(block, index(b)), width)
                lanes = builder.bitcast(array.data, vector.as_pointer())
                return builder.gep(lanes, [builder.add(first, i)])

            def weight(i: Any, j: int) -> Any:
                return number(builder.add(at, builder.mul(i, index(TILE))), j)

            def lanes(i: Any) -> list[Any]:
                return [builder.load(place(h, b, i), align=align) for b in range(blocks)]

            zeros = [[ir.Constant(vector, None)] * blocks] * rows
            sums = [[cgutils.alloca_once_value(builder, zero) for zero in some] for some in zeros]
            with builder.if_then(builder.icmp_signed(">=", bias, index(0))):
                for j, totals in enumerate(sums):
                    builder.store(spread(builder, number(bias, j)), totals[0])
            _add_products(builder, weight, lanes, count, sums)
            for j, totals in enumerate(sums):
                for b, total in enumerate(totals):
                    end = place(y, b, builder.add(row, index(j)))
                    builder.store(builder.load(total), end, align=align)
            return target.get_dummy_value()

        n = types.intp
        return types.void(p, n, n, n, h, n, y, n), generate

    return multiply


_multiply_one = _multiplier(TILE, 1)
_multiply_two = _multiplier(TILE // 2, 2)
"""Loads each weight once for two blocks; half a tile of both fits into the registers."""


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``; in float32 within 3e-7, by operations that exist for vectors."""


@overload(sigmoid)
def _sigmoid_of(x: Any) -> Any:
    """Choose by dtype."""

    def vector(x: Any) -> Any:
        y = np.float32(87) if np.float32(87) < -x else -x
        y = np.float32(-87) if np.float32(-87) > y else y
        shifted = y * np.float32(LOG2_E) + np.float32(ROUND)
        y = y - (shifted - np.float32(ROUND)) * np.float32(LN_2)
        series = np.float32(0)
        for factor in EXP:
            series = series * y + np.float32(factor)
        power = (np.float32(shifted).view(np.int32) + np.int32(127)) << np.int32(23)
        return np.float32(1) / (np.float32(1) + series * np.int32(power).view(np.float32))

    def exact(x: Any) -> Any:
        return 1 / (1 + math.exp(-x))

    return vector if x == types.float32 else exact


def tanh(x: Any) -> Any:
    """``tanh(x)``; in float32 within 2e-7."""


@overload(tanh)
def _tanh_of(x: Any) -> Any:
    """Choose by dtype."""

    def vector(x: Any) -> Any:
        return np.float32(2) * sigmoid(np.float32(2) * x) - np.float32(1)

    def exact(x: Any) -> Any:
        return math.tanh(x)

    return vector if x == types.float32 else exact


@compiled
def dense(parameters: Any, at: int, h: Any, inputs: int, y: Any, outputs: int) -> int:
    """Apply the layer at ``at`` to blocks ``h``, the bias to the first alone; return its end."""
    bias, paired = at + inputs * padded(outputs), len(h) // 2 * 2
    for row in range(0, outputs, TILE):
        tile = at + row * inputs
        for block in range(0, paired, 2):
            for half in range(0, TILE, TILE // 2):
                start = bias + row + half if block == 0 else -1
                _multiply_two(parameters, tile + half, start, inputs, h, block, y, row + half)
        if paired < len(h):
            start = bias + row if paired == 0 else -1
            _multiply_one(parameters, tile, start, inputs, h, paired, y, row)
    return bias + padded(outputs)


@compiled
def activate(smooth: int, values: Any, slopes: Any) -> None:
    """Apply SiLU or ReLU to ``values``, and write its derivative; both are vectors."""
    zero = values.dtype.type(0)
    if smooth:
        for i in range(len(values)):
            x, gate = values[i], sigmoid(values[i])
            values[i] = x * gate
            slopes[i] = gate + x * gate - x * gate * gate
    else:
        for i in range(len(values)):
            slopes[i] = values[i] > zero
            values[i] = zero if values[i] < zero else values[i]


@compiled
def _activate_blocks(smooth: int, y: Any, slopes: Any, count: int) -> None:
    """Apply the activation to ``count`` numbers of block 0; multiply other blocks by its slopes."""
    values = y[0].reshape(-1)[:count]
    if smooth and len(y) == 1:
        for i in range(count):
            values[i] *= sigmoid(values[i])
    else:
        activate(smooth, values, slopes)
    for block in range(1, len(y)):
        others = y[block].reshape(-1)
        for i in range(count):
            others[i] *= slopes[i]


@compiled
def _network(parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, blocks: int) -> Any:
    """Apply the network to ``[x; u]``, or to x if it has n inputs; return ``[C, J, LANES]``."""
    layers, widths = sizes[WIDTHS - 1], sizes[WIDTHS:]
    widest = padded(widths.max())
    room = blocks * widest * LANES
    h = scratch[:room].reshape(blocks, widest, LANES)
    y = scratch[room : 2 * room].reshape(blocks, widest, LANES)
    slope = scratch[2 * room : 2 * room + widest * LANES]
    for i in range(widths[0]):
        for lane in range(LANES):  # assigning a row would first look whether the arrays overlap
            h[0, i, lane] = x[i, lane] if i < len(x) else u[i - len(x), lane]
        for block in range(1, blocks):
            for lane in range(LANES):
                h[block, i, lane] = 1 if i == block - 1 else 0
    at = 1
    for layer in range(layers):
        at = dense(parameters, at, h, widths[layer], y, widths[layer + 1])
        if layer < layers - 1:
            _activate_blocks(sizes[2], y, slope, padded(widths[layer + 1]) * LANES)
        h, y = y, h
    return h


@compiled
def _arrays(parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any) -> Any:
    """Make arrays of the pointers that a function is given."""
    layers = carray(sizes, WIDTHS)[WIDTHS - 1]
    numbers = carray(sizes, WIDTHS + layers + 1)
    at = 1
    for layer in range(layers):
        outputs = padded(numbers[WIDTHS + layer + 1])
        at += (numbers[WIDTHS + layer] + 1) * outputs
    room = (2 * (1 + numbers[WIDTHS]) + 1) * padded(numbers[WIDTHS:].max()) * LANES
    x, u = carray(x, (numbers[0], LANES)), carray(u, (numbers[1], LANES))
    return carray(parameters, at), numbers, carray(scratch, room), x, u


@compiled
def bound(gain: Any, y: Any, n: int) -> Any:
    """Bound v and r, the first 2n rows of the locally linear network, where there is a bound."""
    if gain > 0:
        values = y[: 2 * n].reshape(-1)  # one long loop, which is computed in vectors
        for i in range(len(values)):
            values[i] = tanh(values[i])


def locally_linear_step(
    parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any
) -> None:
    """``x + gain tanh(v) tanh(r)^T x + B u + o``; a gain of 0 means ``x + v r^T x + B u + o``.

    A network returns ``v, r, o`` and the columns of ``B`` at the states ``x``.
    """
    parameters, sizes, scratch, x, u = _arrays(parameters, sizes, scratch, x, u)
    n, m, gain = sizes[0], sizes[1], parameters[0]
    y, out = _network(parameters, sizes, scratch, x, u, 1)[0], carray(out, (n, LANES))
    bound(gain, y, n)
    rx = scratch[-LANES:]
    _inner(y[n : 2 * n], x, gain, rx)
    for i in range(n):
        for lane in range(LANES):
            out[i, lane] = x[i, lane] + y[2 * n + i, lane] + y[i, lane] * rx[lane]
        for j in range(m):
            for lane in range(LANES):
                out[i, lane] += y[(3 + j) * n + i, lane] * u[j, lane]


@compiled
def _inner(r: Any, x: Any, gain: Any, rx: Any) -> None:
    """Write ``gain r^T x``; a gain of 0 means 1."""
    for lane in range(LANES):
        rx[lane] = 0
    for i in range(len(x)):
        for lane in range(LANES):
            rx[lane] += r[i, lane] * x[i, lane]
    if gain > 0:
        for lane in range(LANES):
            rx[lane] *= gain


def locally_linear_derivatives(
    parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any
) -> None:
    """Write the derivatives of `locally_linear_step`; or A and B, if ``sizes`` says so."""
    parameters, sizes, scratch, x, u = _arrays(parameters, sizes, scratch, x, u)
    n, m, exact, gain = sizes[0], sizes[1], sizes[3], parameters[0]
    blocks = _network(parameters, sizes, scratch, x, u, 1 + n if exact else 1)
    y, out = blocks[0], carray(out, (n, n + m, LANES))
    bound(gain, y, n)
    factor = gain if gain > 0 else gain + 1
    for i in range(n):
        for k in range(n + m):
            for lane in range(LANES):
                if k < n:
                    A = factor * y[i, lane] * y[n + k, lane]
                    out[i, k, lane] = A + 1 if i == k else A
                else:
                    out[i, k, lane] = y[(3 + k - n) * n + i, lane]
    if exact:
        rx = scratch[-LANES:]
        _inner(y[n : 2 * n], x, gain, rx)
        for k in range(n):
            _add_curvature(out, y, blocks[1 + k], x, u, rx, k, gain)


@compiled
def _add_curvature(out: Any, y: Any, dy: Any, x: Any, u: Any, rx: Any, k: int, gain: Any) -> None:
    """Add ``v' (r^T x) + v (r'^T x) + o' + B' u`` to column ``k`` of the derivatives."""
    n, m = x.shape[0], u.shape[0]
    if gain > 0:
        for i in range(2 * n):
            for lane in range(LANES):
                dy[i, lane] -= dy[i, lane] * y[i, lane] * y[i, lane]
    factor = gain if gain > 0 else gain + 1
    for i in range(n):
        for lane in range(LANES):
            out[i, k, lane] += dy[i, lane] * rx[lane] + dy[2 * n + i, lane]
        for j in range(n):
            for lane in range(LANES):
                out[i, k, lane] += factor * y[i, lane] * dy[n + j, lane] * x[j, lane]
        for j in range(m):
            for lane in range(LANES):
                out[i, k, lane] += dy[(3 + j) * n + i, lane] * u[j, lane]


def residual_step(parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any) -> None:
    """``x + g(x, u)``, where g is the network."""
    parameters, sizes, scratch, x, u = _arrays(parameters, sizes, scratch, x, u)
    y, out = _network(parameters, sizes, scratch, x, u, 1)[0], carray(out, (sizes[0], LANES))
    for i in range(sizes[0]):
        for lane in range(LANES):
            out[i, lane] = x[i, lane] + y[i, lane]


def residual_derivatives(
    parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any
) -> None:
    """Differentiate `residual_step`."""
    parameters, sizes, scratch, x, u = _arrays(parameters, sizes, scratch, x, u)
    n, N = sizes[0], sizes[0] + sizes[1]
    blocks = _network(parameters, sizes, scratch, x, u, 1 + N)
    out = carray(out, (n, N, LANES))
    for i in range(n):
        for k in range(N):
            for lane in range(LANES):
                out[i, k, lane] = blocks[1 + k, i, lane] + (1 if i == k else 0)


def locally_linear(
    n: int, m: int, layers: Sequence[NDArray[Any]], smooth: bool, exact: bool, gain: float
) -> Compiled:
    """Hand a locally linear transition over; see the module's docstring for the arguments.

    Args:
        n: dimension of the state.
        m: dimension of the control.
        layers: weights and biases, ``[J, I + 1]``.
        smooth: whether the activation is SiLU, not ReLU.
        exact: whether the derivative is that of the step, not A and B.
        gain: of A; 0 for free v and r, without tanh.
    """
    parameters, sizes, scratch = _pack(n, m, layers, smooth, exact, gain)
    return Compiled(locally_linear_step, locally_linear_derivatives, parameters, sizes, scratch)


def residual(n: int, m: int, layers: Sequence[NDArray[Any]], smooth: bool) -> Compiled:
    """Hand ``x + g(x, u)`` over; arguments as those of `locally_linear`."""
    parameters, sizes, scratch = _pack(n, m, layers, smooth, True, 0.0)
    return Compiled(residual_step, residual_derivatives, parameters, sizes, scratch)


def _pack(
    n: int, m: int, layers: Sequence[NDArray[Any]], smooth: bool, exact: bool, gain: float
) -> tuple[NDArray[Any], NDArray[np.int64], int]:
    """Lay a network out as the module's docstring says; return also the scratch that it needs."""
    numbers = [np.array([gain], layers[0].dtype)]
    for layer in layers:
        rows = np.zeros((padded(len(layer)), layer.shape[1]), layer.dtype)
        rows[: len(layer)] = layer
        tiles = rows[:, :-1].reshape(-1, TILE, layer.shape[1] - 1)
        numbers += [tiles.transpose(0, 2, 1).ravel(), rows[:, -1]]
    widths = [layers[0].shape[1] - 1, *map(len, layers)]
    sizes = np.array([n, m, smooth, exact, len(layers), *widths], np.int64)
    scratch = (2 * (1 + widths[0]) + 1) * padded(max(widths)) * LANES
    return np.concatenate(numbers), sizes, scratch
