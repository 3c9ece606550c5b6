"""Named tensors and a JSON description in one file whose format cannot run code (safetensors).

A file is a header (JSON: name, type, shape and place of every tensor, and the metadata) and the
bytes of the tensors. The metadata are the schema, a JSON text about the tensors, and the SHA-256 of
everything but itself. Nothing in a file is trusted: a size is compared with the file's before it is
used, and the hash before anything is returned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from torch import Tensor

from e2c.errors import E2CError
from e2c.files.untrusted import brief, parse_json, read_bytes, shown
from e2c.files.whole import write_whole

MAX_BYTES = 2 * 2**30
"""Larger files are refused unread."""
MAX_HEADER = 2**20
"""Longer headers are refused unparsed; that of the default model has 4 thousand bytes."""
_TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.uint8: "U8"}
"""What tensors are kept in, by its name in a file."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], schema: str
) -> None:
    """Write tensors and a JSON description of them, whole or not at all.

    Equal contents are equal files.

    Args:
        path: where the file is to appear; its folder must exist.
        tensors: of float32, float64, int64 or uint8, on any device.
        about: whatever JSON can hold.
        schema: name and version of what the file means; `read_tensors` asks for it again.
    """
    header, parts, end = dict[str, Any](), list[memoryview](), 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        parts.append(flat.view(torch.uint8).numpy().data)
        place = [end, end := end + flat.nbytes]
        kind, shape = _TYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": place}
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    metadata = header["__metadata__"] = {"about": text, "schema": schema}
    metadata["sha256"] = digest(header, parts)
    start = _canonical(header)
    start += b" " * (-len(start) % 8)
    content = b"".join([len(start).to_bytes(8, "little"), start, *parts])
    write_whole(path, lambda aside: aside.write_bytes(content))


def read_tensors(path: Path, schema: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify what `write_tensors` wrote.

    Args:
        path: the file.
        schema: what it must have been written with.
        remedy: what the user can do about a file that is refused; ends the sentence.

    Returns:
        The tensors, on the CPU and all finite, and their description.

    Raises:
        E2CError: when it is of another schema, damaged, edited, or larger than `MAX_BYTES`.
    """
    try:
        return _read(path, schema)
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise refused(path, shown(error), remedy) from None


def _read(path: Path, schema: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    content = read_bytes(path, MAX_BYTES)
    header, data = split(content)
    metadata = header["__metadata__"]
    if metadata.get("schema") != schema:
        found = brief(metadata.get("schema"))
        raise ValueError(f"its schema is {found} and this version reads {schema!r}")
    if metadata.pop("sha256", None) != digest(header, [data]):
        raise ValueError("its contents do not match its hash, so it was damaged or edited")
    about = parse_json(metadata["about"])
    if not isinstance(about, dict):
        raise ValueError(f"its description is {brief(about)}")
    tensors = deserialise(content)
    for name, tensor in tensors.items():
        if wrong := int((~tensor.isfinite()).sum()):
            raise ValueError(f"{name!r} holds {wrong} numbers that are not finite")
    return tensors, about


def split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Cut a file into its header, parsed, and the bytes of its tensors."""
    size = int.from_bytes(content[:8], "little")
    if not 2 <= size <= min(len(content) - 8, MAX_HEADER):
        raise ValueError("it cannot be read (it is cut off, or not a safetensors file)")
    header = parse_json(content[8 : 8 + size])
    if not isinstance(header, dict) or not isinstance(header.setdefault("__metadata__", {}), dict):
        raise ValueError("it cannot be read (its header is no table)")
    return header, memoryview(content)[8 + size :]


def digest(header: dict[str, Any], parts: Iterable[memoryview]) -> str:
    """SHA-256 of a header without its hash, and of the bytes of the tensors."""
    digest = hashlib.sha256(_canonical(header))
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _canonical(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless tensors have the names, types and shapes of those wanted."""
    for name in sorted(wanted.keys() | found.keys()):
        there, right = kind_of(found.get(name)), kind_of(wanted.get(name))
        if there != right:
            raise ValueError(f"{name!r} is {there}, not {right}")


def kind_of(tensor: Tensor | None) -> str:
    """Tell type and shape of a tensor."""
    return "missing" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def refused(path: Path, reason: str, remedy: str) -> E2CError:
    """Return the error that says why a file was refused and what to do about it."""
    return E2CError(f"{path} was refused: {reason}; {remedy}.")
