"""Arrays and a JSON header in one file (.npz) whose reading costs no more than the file is worth.

A file is a zip archive of ``header.npy``, a JSON text, and of one plain ``.npy`` member for each
array: the same archive that `numpy.load` reads. `read` takes nothing else: no pickled objects, no
other members, no sizes that the file could not hold.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from e2c.errors import E2CError
from e2c.files.untrusted import ordinary_size, parse_json, shown
from e2c.files.whole import write_whole

Kind = tuple[str, int | tuple[int, ...]]
"""Type of an array, and its number of dimensions or the numbers that it may have."""
MAX_BYTES = 16 * 2**30
"""A file that declares more than this, unpacked, is refused before memory is taken for it."""
MAX_RATIO = 300
"""So is one that declares more than this times its own size (and a million bytes): frames of a
pendulum are packed to a 23rd."""
MAX_HEADER = 2**22
"""Bytes of the longest JSON header, four for each character."""
_PIECE = 2**20
"""Most bytes that are asked for at once, by the archive's list of members too."""
_MISHAPS = (
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What the standard library meets in a damaged archive."""
_DESCRIPTION = re.compile(
    rb"\{'descr': '([<|]\w+)', 'fortran_order': False, 'shape': \(([\d, ]{0,99})\), \} *\n"
)


def write(path: Path, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
    """Write arrays and a header, compressed; whole or not at all. Equal contents are equal files.

    Args:
        path: where the file is to appear (.npz); its folder must exist.
        arrays: of numbers, under any names but ``header``.
        header: whatever JSON can hold.
    """
    text = np.array(json.dumps(header, sort_keys=True, allow_nan=False))
    members = {"header": text} | {name: np.asarray(a, order="C") for name, a in arrays.items()}
    write_whole(path, lambda aside: np.savez_compressed(aside, allow_pickle=False, **members))


def read(
    path: Path, kinds: Mapping[str, Kind], remedy: str, optional: Mapping[str, Kind] | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read and verify what `write` wrote.

    Args:
        path: the file.
        kinds: type and number of dimensions of each array that it must hold.
        remedy: what the user can do about a file that is refused; ends the sentence.
        optional: the same of arrays that it may hold; no others are allowed.

    Returns:
        The header and the arrays, all of them finite.

    Raises:
        E2CError: when the file is not of this form, is damaged, or declares absurd sizes.
    """
    try:
        return _read(path, {"header": ("U", 0), **kinds}, optional or {})
    except (ValueError, LookupError, TypeError) as error:
        reason = shown(error)
    except _MISHAPS as error:
        reason = f"it cannot be read ({shown(error)})"
    raise E2CError(f"{path} was refused: {reason}; {remedy}.")


class _Pieces(io.FileIO):
    """A file that is never read but by the piece, whatever an archive says of its own sizes."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _PIECE:
            raise ValueError("its list of members is too long")
        return super().read(size)


def _read(
    path: Path, always: Mapping[str, Kind], optional: Mapping[str, Kind]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    limit = min(MAX_BYTES, MAX_RATIO * ordinary_size(path) + 1_000_000)
    with _Pieces(path) as file, zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        there = {name: kind for name, kind in optional.items() if f"{name}.npy" in names}
        kinds = {**always, **there}
        _check_members(archive, [f"{name}.npy" for name in kinds], limit)
        for name, (kind, dimensions) in kinds.items():
            _check_array(archive, name, kind, dimensions)
        header = parse_json(str(_array(archive, "header")[()]))
        arrays = {name: _array(archive, name) for name in kinds if name != "header"}
    if not isinstance(header, dict):
        raise ValueError(f"its header is {shown(header)}, not a table")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and (wrong := int((~np.isfinite(array)).sum())):
            raise ValueError(f"{name} holds {wrong} numbers that are not finite")
    return header, arrays


def _check_members(archive: zipfile.ZipFile, names: list[str], limit: int) -> None:
    """Raise a ValueError unless an archive lists these members once each, of a possible size."""
    found, items = archive.namelist(), archive.infolist()
    if sorted(found) != sorted(names):
        raise ValueError(f"it holds {shown(found)}, not {names}")
    for item in items:
        if item.flag_bits & 1 or item.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError(f"{item.filename} is encrypted or packed in another way")
    if (declared := sum(item.file_size for item in items)) > limit:
        raise ValueError(f"it declares {declared:,} bytes, more than {limit:,} for its size")


def _check_array(
    archive: zipfile.ZipFile, name: str, kind: str, dimensions: int | tuple[int, ...]
) -> None:
    """Raise a ValueError unless a member is a plain array of this kind, as long as it says."""
    item = archive.getinfo(f"{name}.npy")
    with archive.open(item) as file:
        magic, size = file.read(8), int.from_bytes(file.read(2), "little")
        described = _DESCRIPTION.fullmatch(file.read(min(size, 1000)))
    if magic != b"\x93NUMPY\x01\x00" or described is None:
        raise ValueError(f"{name} is not a plain array")
    dtype = np.dtype(described[1].decode())
    shape = [int(length) for length in re.findall(rb"\d+", described[2])]
    allowed = (dimensions,) if isinstance(dimensions, int) else dimensions
    if dtype.hasobject or (dtype != kind and dtype.kind != kind) or len(shape) not in allowed:
        raise ValueError(f"{name} is {dtype} with {len(shape)} dimensions")
    if 10 + size + math.prod(shape) * dtype.itemsize != item.file_size:
        raise ValueError(f"{name} is not as long as it says")
    if kind == "U" and dtype.itemsize > MAX_HEADER:
        raise ValueError(f"its {name} has more than {MAX_HEADER:,} bytes")


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read a member that `_check_array` found to be plain."""
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array
