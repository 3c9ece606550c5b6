"""Arrays and a JSON header in one file (.npz) whose reading costs no more than the file is worth.

A file is a zip archive of ``header.npy``, a JSON text, and of one plain ``.npy`` member for each
array: the same archive that `numpy.load` reads. `read` takes nothing else: no pickled objects, no
other members, no sizes that the file could not hold. More than `LARGE` bytes are not packed.
So they need not be read into memory: the system reads what is used of them (a memory map).
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
LARGE = 2**28
"""Bytes of the arrays, together, up to which they are packed."""
MAX_BYTES = 16 * 2**30
"""A file that declares more than this, unpacked, is refused before memory is taken for it."""
MAX_RATIO = 300
"""So is one that declares more than this times its own size (and a million bytes): frames of a
pendulum are packed to a 23rd."""
MAX_HEADER = 2**22
"""Bytes of the longest JSON header, four for each character."""
_HEADER: dict[str, Kind] = {"header": ("U", 0)}
_PIECE = 2**20
"""Most bytes that are asked for at once, by the archive's list of members too."""
MISHAPS = (
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
    """Write arrays and a header, whole or not at all. Equal contents are equal files.

    Args:
        path: where the file is to appear (.npz); its folder must exist.
        arrays: of numbers, under any names but ``header``.
        header: whatever JSON can hold.
    """
    text = np.array(json.dumps(header, sort_keys=True, allow_nan=False))
    members = {"header": text} | {name: np.asarray(a, order="C") for name, a in arrays.items()}
    size = sum(array.nbytes for array in members.values())
    save = np.savez_compressed if size <= LARGE else np.savez
    write_whole(path, lambda aside: save(aside, allow_pickle=False, **members))


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
    with _refusing(path, remedy):
        return _read(path, {**_HEADER, **kinds}, optional or {})


def read_header(path: Path, remedy: str) -> dict[str, Any]:
    """Read the header of what `write` wrote, alone.

    Raises:
        E2CError: as `read`.
    """
    with _refusing(path, remedy), _Pieces(path) as file, zipfile.ZipFile(file) as archive:
        return _header(archive)


@contextmanager
def _refusing(path: Path, remedy: str) -> Iterator[None]:
    """Say in one sentence what goes wrong while a file is read."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as error:
        reason = shown(error)
    except MISHAPS as error:
        reason = f"it cannot be read ({shown(error)})"
    else:
        return
    raise E2CError(f"{path} was refused: {reason}; {remedy}.")


class _Pieces(io.FileIO):
    """A file that is never read but by the piece, whatever an archive says of its own sizes.

    Raises:
        ValueError: where the path is of no ordinary file, as in `ordinary_size`.
    """

    def __init__(self, path: Path) -> None:
        ordinary_size(path)
        super().__init__(path)

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
        header = _header(archive)
        arrays = {name: member(archive, name) for name in kinds if name != "header"}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and (wrong := int((~np.isfinite(array)).sum())):
            raise ValueError(f"{name} holds {wrong} numbers that are not finite")
    return header, arrays


def _header(archive: zipfile.ZipFile) -> dict[str, Any]:
    _check_array(archive, "header", *_HEADER["header"])
    header = parse_json(str(member(archive, "header")[()]))
    if not isinstance(header, dict):
        raise ValueError(f"its header is {shown(header)}, not a table")
    return header


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
    packed = (item for item in items if item.compress_type != zipfile.ZIP_STORED)
    if (declared := sum(item.file_size for item in packed)) > limit:
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


def member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array of an archive on disk; one that is not packed stays there, mapped, read-only.

    Raises:
        ValueError: when it is not a plain array, or is damaged.
    """
    item = archive.getinfo(f"{name}.npy")
    with archive.open(item) as file:
        version = npy.read_magic(file)
        if item.compress_type != zipfile.ZIP_STORED or version != (1, 0):
            file.seek(0)
            packed: NDArray[Any] = npy.read_array(file, allow_pickle=False)
            return packed
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
        begin = file.tell()
    content = _mapped(Path(str(archive.filename)), item)
    if dtype.hasobject or zlib.crc32(content.data) != item.CRC:
        raise ValueError(f"{name} is not a plain array, or damaged")
    array: NDArray[Any] = content[begin:].view(dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _mapped(path: Path, item: zipfile.ZipInfo) -> NDArray[np.uint8]:
    """Return the bytes of a member that is not packed, which stay on disk."""
    with path.open("rb") as file:
        file.seek(item.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    begin = item.header_offset + 30 + name + extra
    return np.memmap(path, np.uint8, "r", begin, (item.file_size,))
