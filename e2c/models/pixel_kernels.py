"""The cross-entropy of pixels and its derivative, compiled: one pass in place of eight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from e2c.models import kernels
from e2c.models.kernels import sigmoid
from planners.compiled import HOW, cached

Array = Any
"""An array in compiled code."""


def minus_log(s: Any) -> Any:
    """``-log s`` of s in [1/2, 1]; in float32 within 1e-7, by operations that exist for vectors."""


@overload(minus_log)
def _minus_log_of(s: Any) -> Any:
    """Choose by dtype; the series is that of ``2 artanh((1 - s) / (1 + s))``."""

    def vector(s: Any) -> Any:
        w = (np.float32(1) - s) / (np.float32(1) + s)
        square, series = w * w, np.float32(2 / 13)
        for power in (11, 9, 7, 5, 3, 1):
            series = series * square + np.float32(2 / power)
        return series * w

    def exact(s: Any) -> Any:
        return -math.log(s)

    return vector if s == types.float32 else exact


@cached(njit, parts=(kernels,), **HOW)
def cross_entropy(y: Array, x: Array, entropy: Array, slope: Array) -> None:
    """Write the cross-entropy of x and ``sigmoid(y)``, and its derivative by y; all ``[N]``."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(len(y)):
        s = sigmoid(abs(y[i]))
        entropy[i] = max(y[i], zero) - x[i] * y[i] + minus_log(s)
        slope[i] = (s if y[i] > zero else one - s) - x[i]
