"""Reading what anybody may have written: with a bound, as plain data, and told in one line."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

MAX_NUMBER = 1e100
"""Nothing measured is larger, and drawings can calculate with it."""
Shape = type | Sequence[Any] | Mapping[Any, Any]
"""What a JSON value must be: a type; ``[shape]``, a list of such; ``{name: shape}``, a mapping with
these names at least, where a name that ends in ``?`` may be missing or null, and every value is of
the shape at ``str``, if there is one."""


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes.

    Raises:
        ValueError: when it is longer, or no ordinary file.
    """
    size = ordinary_size(path)
    if size > limit:
        raise ValueError(f"it has {size:,} bytes, more than {limit:,}")
    with path.open("rb") as file:
        return file.read(size)


def ordinary_size(path: Path) -> int:
    """Return the bytes of a file that is none of the system's, such as a pipe or a device.

    Raises:
        ValueError: when it is one, or a folder: reading might never end; or where nothing is.
    """
    if not path.exists():
        raise ValueError("there is no such file")
    if not path.is_file():
        raise ValueError("it is not an ordinary file")
    return path.stat().st_size


def parse_json(text: str | bytes) -> Any:
    """Parse JSON, of which every number is finite.

    Raises:
        ValueError: for anything else, however it was meant.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def conform(value: Any, shape: Shape) -> Any:
    """Return ``value``, parsed JSON, if it is of ``shape``.

    Raises:
        ValueError: where it is not, or a number is beyond `MAX_NUMBER`.
    """
    _check(value, shape, "its content")
    return value


def one_line(text: str) -> str:
    """Return ``text`` as one line, without what a terminal cannot or should not be told."""
    spaced = (" " if c.isspace() else c for c in text)
    return "".join(c if c.isprintable() else "?" for c in spaced)


def shown(thing: object) -> str:
    """Return what a sentence tells of a thing: one line, and not for ever."""
    text = " ".join(str(thing).split()).rstrip(".") or repr(thing)
    return one_line(text if len(text) <= 300 else text[:300] + "...")


def brief(value: object) -> str:
    """Return the `repr` of a value, cut to what a sentence can hold."""
    return shown(_BRIEF.repr(value))


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{shown(text)} is not a finite number")


def _check(value: Any, shape: Shape, where: str) -> None:
    """Raise a ValueError that says where ``value`` is not of ``shape``."""
    if isinstance(shape, type):
        _check_type(value, shape, where)
    elif isinstance(shape, Mapping):
        _check_type(value, dict, where)
        _check_mapping(value, shape, where)
    else:
        _check_type(value, list, where)
        for number, item in enumerate(value):
            _check(item, shape[0], f"{where} / {number}")


def _check_mapping(value: Mapping[str, Any], shape: Mapping[Any, Any], where: str) -> None:
    for name, wanted in shape.items():
        if name is str:
            for key, item in value.items():
                _check(item, wanted, f"{where} / {key}")
        elif value.get(key := name.removesuffix("?")) is not None:
            _check(value[key], wanted, f"{where} / {key}")
        elif key == name:
            raise ValueError(f"{where} has no {name!r}")


def _check_type(value: Any, kind: type, where: str) -> None:
    allowed = (int, float) if kind is float else kind
    boolean = isinstance(value, bool) and kind in (int, float)
    if boolean or not isinstance(value, allowed):
        raise ValueError(f"{where} is {shown(value)}, not of type {kind.__name__}")
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise ValueError(f"{where} is a number above {MAX_NUMBER}")
