"""What somebody gives as an array, a number or a truth value, and how a sentence tells of it."""

from __future__ import annotations

import numbers
import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(given: Any) -> NDArray[Any]:
    """Return ``given`` as an array: of objects, where it cannot be one, such as a ragged list."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError):
        return np.array(None, object)


def form_of(array: NDArray[Any]) -> str:
    """Return a few words for a sentence: ``float64 of shape [2, 3]``; objects are no array."""
    return "no array" if array.dtype == object else f"{array.dtype} of shape {list(array.shape)}"


def brief(value: Any) -> str:
    """Return the `repr` of a value in one line, cut to what a sentence can hold."""
    return " ".join(reprlib.repr(value).split())


def is_number(value: Any) -> bool:
    """Say whether ``value`` is one finite number; a truth value and a text are none."""
    found = as_array(value)
    return found.shape == () and found.dtype.kind in "fiu" and bool(np.isfinite(found))


def is_whole(value: Any) -> bool:
    """Say whether ``value`` is a whole number; a truth value is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_truth(value: Any) -> bool:
    """Say whether ``value`` is a truth value, Python's or NumPy's."""
    return isinstance(value, bool | np.bool_)
