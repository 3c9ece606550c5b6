"""`e2c.data.camera` in compiled code: one pass over the pixels in place of ten."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from planners import compiled
from planners.compiled import HOW, INNER, cached

Array = Any
"""An array or a number in compiled code."""


class Plane(NamedTuple):
    """What happens to a plane of an observation."""

    size: Array  # at which it is seen, a factor
    row: Array  # middle of the patch [px], down
    column: Array  # and across
    half: Array  # half the patch's height and width [px]
    across: Array
    grey: Array  # of the patch
    gain: Array  # factor on the brightness
    light: Array  # what is added to it
    level: Array  # factor on the noise


@njit(**INNER)
def _resize(x: Array, size: Any, between: Array, out: Array) -> None:
    """Write ``x [H, W]`` larger by a factor about its middle, first down and then across.

    A pixel lies at or behind another one, by a share of the way to the next.
    """
    H, W = x.shape
    one, side = np.float32(1), max(H, W)
    pixel, share = np.empty((2, side), np.int64), np.empty((2, side), x.dtype)
    for way in range(2):
        last = x.shape[way] - 1
        middle = np.float32(0.5 * last)
        for i in range(last + 1):
            at = middle + (np.float32(i) - middle) / size
            at = min(max(at, np.float32(0)), np.float32(last))
            pixel[way, i] = max(min(int(at), last - 1), 0)
            share[way, i] = at - np.float32(pixel[way, i])
    for i in range(H):
        k, s = pixel[0, i], share[0, i]
        before, behind = x[k], x[min(k + 1, H - 1)]
        for j in range(W):
            between[i, j] = (one - s) * before[j] + s * behind[j]
    for i in range(H):
        for j in range(W):
            k, s = pixel[1, j], share[1, j]
            out[i, j] = (one - s) * between[i, k] + s * between[i, min(k + 1, W - 1)]


@njit(**INNER)
def _show(p: Array, x: Array, noise: Array, hidden: Array, out: Array) -> None:
    """Write what the camera shows of ``x [H, W]``; ``hidden [W]`` is written on the way."""
    H, W = x.shape
    for j in range(W):
        hidden[j] = abs(np.float32(j) - p.column) < p.across
    for i in range(H):
        row = np.float32(abs(np.float32(i) - p.row) < p.half)
        for j in range(W):
            shown = x[i, j] + row * hidden[j] * (p.grey - x[i, j])
            shown = shown * p.gain + p.light + noise[i * W + j] * p.level
            out[i, j] = min(max(shown, np.float32(0)), np.float32(1))


@cached(njit, parts=(compiled,), **HOW)
def show(x: Array, planes: Array, tape: Array, begin: Array, near: int, out: Array) -> None:
    """Write what a faulty camera shows.

    Args:
        x: clean observations ``[B, C, H, W]``, float32.
        planes: the numbers of a `Plane` for each plane, ``[B, C, R]``.
        tape: of noise.
        begin: where an observation's noise begins on it, ``[B]``.
        near: how many observations are resized, the first ones.
        out: as ``x``, to be written.
    """
    B, C, H, W = x.shape
    between, resized = np.empty((H, W), x.dtype), np.empty((H, W), x.dtype)
    hidden = np.empty(W, x.dtype)
    for b in range(B):
        for c in range(C):
            v = planes[b, c]
            p = Plane(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8])
            noise = tape[begin[b] + c * H * W : begin[b] + (c + 1) * H * W]
            if b < near:
                _resize(x[b, c], p.size, between, resized)
                _show(p, resized, noise, hidden, out[b, c])
            else:
                _show(p, x[b, c], noise, hidden, out[b, c])
