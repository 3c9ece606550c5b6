"""Long lists of numbers taken out of a result as arrays, and put back.

What is left of the result holds a reference in place of such a list:

* ``{"npz": "latent_map.points float64 400x3"}`` stands for a list of numbers, or of such lists.
  The reference says the array's name, which is where it stood, its type and its shape.
* ``{"npz": {"start": ..., "faults": ...}}`` stands for a list of tables that have the same keys, in
  this order. Each value is the column of that key: a list, or a reference again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.files.arrays import Kind

WORD = "npz"
"""The key of a reference; no table of a result may have it."""
SHORT = 32
"""Lists of up to this many numbers stay where they are."""
TYPES = ("float64", "int64", "bool")
RESERVED = ("header", "file", "allow_pickle")
"""Names that no array can have in a file."""

Arrays = dict[str, NDArray[Any]]


def apart(result: Any) -> tuple[Any, Arrays]:
    """Take the long lists of numbers out of a result.

    Args:
        result: as `json.loads` returns it.

    Returns:
        What is left of it, and the arrays by their names.

    Raises:
        ValueError: when a table has the key "npz".
    """
    arrays: Arrays = {}
    return _apart(result, (), arrays), arrays


def together(rest: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the result of which `apart` left ``rest`` and ``arrays``."""
    if isinstance(rest, list):
        return [together(each, arrays) for each in rest]
    if not isinstance(rest, dict):
        return rest
    reference = rest.get(WORD)
    if isinstance(reference, str):
        return arrays[_parsed(reference)[0]].tolist()
    if isinstance(reference, dict):
        columns = [together(column, arrays) for column in reference.values()]
        return [dict(zip(reference, row, strict=True)) for row in zip(*columns, strict=True)]
    return {key: together(value, arrays) for key, value in rest.items()}


def kinds(rest: Any) -> dict[str, Kind]:
    """Return type and number of dimensions of the arrays to which ``rest`` refers."""
    return {name: kind for name, kind in map(_parsed, _references(rest))}


def _apart(value: Any, place: tuple[str, ...], arrays: Arrays) -> Any:
    """Take lists out of a value and add them to ``arrays``."""
    if isinstance(value, dict):
        if WORD in value:
            raise ValueError(f"{'.'.join(place) or 'The result'} has the key {WORD!r}")
        return {key: _apart(each, (*place, key), arrays) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    array = _array(value)
    if array is not None:
        return value if array.size <= SHORT else {WORD: _added(array, place, arrays)}
    if columns := _columns(value):
        before = len(arrays)
        rest = _apart(columns, place, arrays)
        if len(arrays) > before:
            return {WORD: rest}
    return [_apart(each, (*place, str(number)), arrays) for number, each in enumerate(value)]


def _array(values: list[Any]) -> NDArray[Any] | None:
    """Return the array of which exactly this list can be made again, if there is one."""
    try:
        array = np.array(values)
    except ValueError:
        return None
    same = array.dtype in TYPES and json.dumps(array.tolist()) == json.dumps(values)
    return array if same else None


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    """Return the columns of tables that have the same keys in the same order; else none."""
    if not all(isinstance(row, dict) and list(row) == list(rows[0]) for row in rows):
        return {}
    return {key: [row[key] for row in rows] for key in rows[0]}


def _added(array: NDArray[Any], place: tuple[str, ...], arrays: Arrays) -> str:
    """Add an array under a name of its own, and return what refers to it."""
    name = ".".join(place)
    while name in arrays or name in RESERVED:
        name += "_"
    arrays[name] = array
    return f"{name} {array.dtype} {'x'.join(map(str, array.shape))}"


def _parsed(reference: str) -> tuple[str, Kind]:
    name, dtype, shape = reference.rsplit(" ", 2)
    return name, (dtype, shape.count("x") + 1)


def _references(rest: Any) -> Iterator[str]:
    """Yield the references in what is left of a result."""
    if isinstance(rest, dict):
        if isinstance(rest.get(WORD), str):
            yield rest[WORD]
        for value in rest.values():
            yield from _references(value)
    elif isinstance(rest, list):
        for value in rest:
            yield from _references(value)
