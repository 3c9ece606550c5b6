"""Reading what anybody may have written: with a bound, as plain data, and told in one line."""

from __future__ import annotations

import json
import math
import reprlib
from pathlib import Path
from typing import Any, NoReturn


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
        ValueError: when it is one, or a folder: reading might never end.
    """
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
