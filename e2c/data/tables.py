"""Tables of actions that others wrote, checked."""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from e2c.errors import E2CError
from e2c.files.untrusted import read_bytes, shown

Floats = NDArray[np.float64]
MAX_TABLE = 100_000_000
"""Bytes of the longest table."""
LARGEST = float(np.finfo(np.float32).max)
"""A control is kept as float32."""


def read_actions(path: Path) -> Floats:
    """Read a table of actions ``[N, m]``.

    A .csv may have a header and a byte-order mark. Its columns are separated by commas or tabs, or
    by semicolons, and then a comma may be the decimal sign. It may end in empty rows.

    Raises:
        E2CError: when it cannot be read, holds anything but finite numbers, or a column of times;
            for a row that may be a lost action: one that is empty, or a first one that is neither
            numbers nor names.
    """
    try:
        content = read_bytes(path, MAX_TABLE)
        if path.suffix.lower() == ".npy":
            table = npy.read_array(io.BytesIO(content), allow_pickle=False)
        else:
            table = _parse_csv(_text(content))
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise E2CError(f"The actions in {path} cannot be read ({shown(error)}).") from None
    return check_actions(table, str(path))


def check_actions(table: NDArray[Any], name: str) -> Floats:
    """Return actions ``[N, m]``; one dimension is one control.

    Raises:
        E2CError: for another type or shape, or a number that is not finite.
    """
    if table.dtype.kind != "f" or table.ndim not in (1, 2) or table.size == 0:
        hint = " (whole numbers may be indices: actions.astype('float32') if they are not)"
        raise E2CError(
            f"The actions in {name} are {table.dtype} of shape {list(table.shape)}; they must be "
            f"real numbers [N, m]{hint if table.dtype.kind in 'iub' else ''}."
        )
    actions = table.reshape(len(table), -1).astype(np.float64)
    for row in np.flatnonzero(~(abs(actions) <= LARGEST).all(1)):
        raise E2CError(
            f"Action {row} in {name} is {actions[row].tolist()}; every control must be a finite "
            "number."
        )
    return actions


def _text(content: bytes) -> str:
    """Decode a table."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("it is no text in UTF-8: save it as UTF-8, which Excel calls CSV UTF-8")
    return text


def _parse_csv(text: str) -> Floats:
    """Return the numbers ``[N, m]`` of a table as text."""
    separator = next((sign for sign in ";\t" if sign in text), ",")
    lines = _lines(text, separator)
    header = _header(*next(iter(lines.items()), (0, [])))
    rows = dict(itertools.islice(lines.items(), bool(header), None))
    if not rows:
        raise ValueError("it has no rows of numbers")
    widths = {len(cells) for cells in lines.values()}
    if len(widths) > 1:
        raise ValueError(
            f"its rows have {min(widths)} to {max(widths)} columns: is a comma the decimal sign? "
            "Then separate the columns by semicolons"
        )
    numbers = np.array([[_checked(cell, line) for cell in row] for line, row in rows.items()])
    if all(_WHOLE.fullmatch(cell) for row in rows.values() for cell in row):
        raise ValueError(
            "its numbers are all whole, as indices are: write 1.0; where a comma is the decimal "
            "sign, separate the columns by semicolons"
        )
    _check_names(header, numbers)
    return numbers


def _lines(text: str, separator: str) -> dict[int, list[str]]:
    """Return the rows of cells by their line, counted from 1; without the empty ones at the end."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    lines = dict[int, list[str]]()
    for row in reader:
        lines[reader.line_num] = [cell.strip() for cell in row]
    last = max((line for line, row in lines.items() if any(row)), default=0)
    lines = {line: row for line, row in lines.items() if line <= last}
    for empty in (line for line, row in lines.items() if not any(row)):
        raise ValueError(
            f"line {empty} is empty and others follow: write the action there, or delete the line "
            "if none is missing"
        )
    if separator == ";":
        return {line: [cell.replace(",", ".") for cell in row] for line, row in lines.items()}
    return lines


def _header(line: int, cells: list[str]) -> list[str]:
    """Return the names of the columns, given the first row; none where it is of numbers.

    Raises:
        ValueError: when it is neither, as a row of numbers that was damaged.
    """
    numbers = [_number(cell) is not None for cell in cells]
    if all(numbers):
        return []
    for cell in cells:
        if cell and not _NAME.match(cell):
            raise ValueError(
                f"line {line} holds {shown(cells)}, which are neither numbers alone nor names "
                f"alone: correct it; a name begins with a letter, and {_SEPARATED}"
            )
    return cells


def _check_names(names: list[str], numbers: Floats) -> None:
    """Raise a ValueError for a column that is called time and never falls."""
    for name, column in zip(names, numbers.T, strict=False):
        rises = (np.diff(column) >= 0).all() and column[-1] > column[0]
        if rises and _TIME.fullmatch(name):
            raise ValueError(
                f"its column {shown(repr(name))} holds times: leave it out, and keep the controls"
            )


_SEPARATED = "columns are separated by commas, tabs or semicolons"
_WHOLE = re.compile(r"[+-]?\d+")
_NAME = re.compile(r"(?!#?<?n/?a>?$|null$|none$|nil$)[^\w]*[^\W\d]", re.IGNORECASE)
"""A word that does not begin with a digit, and does not stand for a missing number."""
_TIME = re.compile(
    r"\W*(t|times?|time_?stamps?|clock|seconds|frames?|index)(_[mun]?s(ec)?|\W.*)?", re.I
)
"""What columns of times are called, with a unit or without: ``t``, ``Time [s]``, ``time_ms``."""


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _checked(cell: str, line: int) -> float:
    number = _number(cell)
    if number is None or not abs(number) <= LARGEST:
        raise ValueError(
            f"line {line} holds {shown(repr(cell))}, which is no finite number: correct it; "
            f"{_SEPARATED}"
        )
    return number
