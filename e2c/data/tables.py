"""Tables of actions that others wrote, checked."""

from __future__ import annotations

import csv
import io
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
    by semicolons, and then a comma may be the decimal sign.

    Raises:
        E2CError: when it cannot be read, or holds anything but finite numbers.
    """
    try:
        if path.suffix == ".npy":
            table = npy.read_array(io.BytesIO(read_bytes(path, MAX_TABLE)), allow_pickle=False)
        else:
            table = _parse_csv(read_bytes(path, MAX_TABLE).decode("utf-8-sig"))
    except (OSError, ValueError, EOFError) as error:
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


def _parse_csv(text: str) -> NDArray[np.float64]:
    """Return the numbers ``[N, m]`` of a table as text."""
    separator = next((sign for sign in ";\t" if sign in text), ",")
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(row)]
    if separator == ";":
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    header = rows[0] if rows and any(_number(cell) is None for cell in rows[0]) else None
    rows = rows[1:] if header else rows
    if not rows:
        raise ValueError("it has no rows of numbers")
    widths = {len(row) for row in (rows if header is None else [header, *rows])}
    if len(widths) > 1:
        raise ValueError(
            f"its rows have {min(widths)} to {max(widths)} columns: is a comma the decimal sign? "
            "Then separate the columns by semicolons"
        )
    numbers = np.array([[_checked(cell, row) for cell in cells] for row, cells in enumerate(rows)])
    if all(_WHOLE.fullmatch(cell) for row in rows for cell in row):
        raise ValueError(
            "its numbers are all whole, as indices are: write 1.0; where a comma is the decimal "
            "sign, separate the columns by semicolons"
        )
    return numbers


_WHOLE = re.compile(r"\s*[+-]?\d+\s*")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _checked(cell: str, row: int) -> float:
    number = _number(cell)
    if number is None:
        raise ValueError(f"row {row} holds {shown(repr(cell))}, which is not a number")
    return number
