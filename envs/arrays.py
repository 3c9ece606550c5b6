"""Arrays, numbers and truth values that a caller gives, and words for them in a sentence."""

from __future__ import annotations

import numbers
import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(given: Any) -> NDArray[Any]:
    """Return ``given`` as an array; an array of objects if it cannot be one, like a ragged list."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError):
        return np.array(None, object)


def form_of(array: NDArray[Any]) -> str:
    """Describe an array in a few words: ``float64 of shape [2, 3]``; objects are no array."""
    return "no array" if array.dtype == object else f"{array.dtype} of shape {list(array.shape)}"


def brief(value: Any) -> str:
    """Return the `repr` of a value in one line, shortened to fit a sentence."""
    return " ".join(reprlib.repr(value).split())


def is_number(value: Any) -> bool:
    """Say whether ``value`` is one finite number; truth values and texts are not."""
    found = as_array(value)
    return found.shape == () and found.dtype.kind in "fiu" and bool(np.isfinite(found))


def is_whole(value: Any) -> bool:
    """Say whether ``value`` is a whole number; a truth value is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_truth(value: Any) -> bool:
    """Say whether ``value`` is a truth value, Python's or NumPy's."""
    return isinstance(value, bool | np.bool_)
