"""Reading observations in compiled code; see `e2c.models.reading`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from planners.compiled import HOW, INNER, cached

SUMS = HOW | {"fastmath": {"contract", "reassoc"}}
"""How to compile sums of many terms: in any order, so that a register holds several of them."""
compiled = njit(**INNER)
Array = Any
"""An array or a number in compiled code."""


@cached(njit, **HOW)
def blank(images: Array) -> Array:
    """Return ``[N]`` bool: which ``images [N, C, H, W]`` have a plane of equal pixels."""
    found = np.zeros(len(images), np.bool_)
    for k in range(len(images)):
        for plane in images[k]:
            found[k] |= _is_even(plane)
    return found


@compiled
def _is_even(plane: Array) -> bool:
    """Return whether all pixels of a plane ``[H, W]`` are equal."""
    for row in plane:
        for pixel in row:
            if pixel != plane[0, 0]:
                return False
    return True


@cached(njit, **HOW)
def look(frames: Array, pool: int, light: Array, dark: float) -> Array:
    """Average blocks of pixels, and adapt to the light as `e2c.models.sight.Sight` does.

    Sums of pixels are whole numbers, so that mean and contrast are exact.

    Args:
        frames: uint8 ``[N, C, H, W]``.
        pool: height and width of the blocks [px]; divides H and W.
        light: mean brightness and contrast to adapt to, ``[2]``; empty for no adaptation.
        dark: the least contrast that an observation is taken to have.

    Returns:
        float32 ``[N, C, H W / pool^2]``.
    """
    N, C, H, W = frames.shape
    pixels, rows = C * H * W, np.empty(W, np.int32)
    y = np.empty((N, C, H // pool * (W // pool)), np.float32)
    for k in range(N):
        total, squares = np.int64(0), np.int64(0)
        for c in range(C):
            for i in range(H // pool):
                rows[:] = 0
                for row in frames[k, c, i * pool : (i + 1) * pool]:
                    for w in range(W):
                        pixel = np.int64(row[w])
                        rows[w] += pixel
                        squares += pixel * pixel
                for j in range(W // pool):
                    block = rows[j * pool : (j + 1) * pool].sum()
                    total += block
                    y[k, c, i * (W // pool) + j] = block
        shift, gain = 0.0, 1 / 255
        if len(light):
            variance = (squares - total * (total / pixels)) / max(pixels - 1, 1)
            gain = light[1] / 255 / max(math.sqrt(variance) / 255, dark)
            shift = light[0] - gain * total / pixels
        for c in range(C):
            for i in range(y.shape[2]):
                y[k, c, i] = shift + gain / pool**2 * y[k, c, i]
    return y


@cached(njit, **SUMS)
def linear(h: Array, weight: Array, bias: Array) -> Array:
    """Return ``h weight^T + bias [N, J]`` of ``h [N, I]``, ``weight [J, I]`` and ``bias [J]``."""
    y = np.empty((len(h), len(weight)), h.dtype)
    for j in range(len(weight)):
        row = weight[j]
        for k in range(len(h)):
            x, total = h[k], h.dtype.type(0)
            for i in range(len(x)):
                total += row[i] * x[i]
            y[k, j] = total + bias[j]
    return y


@cached(njit, **HOW)
def activate(h: Array, is_smooth: bool) -> None:
    """Apply SiLU or ReLU to ``h [N, J]``, in place."""
    values, one = h.reshape(-1), h.dtype.type(1)
    for i in range(len(values)):
        if is_smooth:
            values[i] /= one + math.exp(-values[i])
        elif values[i] < 0:
            values[i] = 0


@cached(njit, **HOW)
def steady(z: Array, expected: Array, places: Array, motion: Array, doubt: float) -> Array:
    """See `e2c.models.sight.Sight.steadied`, whose ``1 - TRUST`` is the ``doubt``."""
    (B, n), after, beside = z.shape, z.copy(), places.T.copy()
    far = np.empty(len(places), z.dtype)
    for b in range(B):
        far[:] = 0
        for i in range(n):
            for p in range(len(far)):
                far[p] += (z[b, i] - beside[i, p]) ** 2
        nearest = far.argmin()
        for i in range(n):
            unforeseen = 0.0
            for j in range(n):
                unforeseen += motion[nearest, i, j] * (z[b, j] - expected[b, j])
            if math.isfinite(unforeseen):
                after[b, i] -= doubt * unforeseen
    return after
