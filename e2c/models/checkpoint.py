"""Weights, configuration and task in one file whose format cannot run code (safetensors).

A file is a header (JSON: name, type, shape and place of every tensor, and the metadata) and the
bytes of the tensors. The metadata are the schema, a JSON text about the tensors, and the SHA-256 of
everything but itself. Reading believes nothing: sizes are compared with the file's before they are
used, and what is described is compared with what is there before anything is built.
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

from e2c.config import Config, check, from_dict, to_dict
from e2c.errors import E2CError
from e2c.files.untrusted import brief, parse_json, read_bytes, shown
from e2c.files.whole import write_whole
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.methods import build_model

SCHEMA = "e2c-checkpoint-1"
NAME = "checkpoint.safetensors"
MAX_BYTES = 2 * 2**30
"""Larger files are refused unread."""
MAX_HEADER = 2**20
"""Longer headers are refused unparsed; that of the default model has 4 thousand bytes."""
MAX_STEPS = 10_000
"""Episodes described as longer are refused."""
_REMEDY = "train again or copy the file again"
_TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.uint8: "U8"}
"""What tensors are kept in, by its name in a file."""


def save(path: Path, model: LatentModel, config: Config, spec: ProblemSpec) -> None:
    """Write a checkpoint to ``path``, whole or not at all."""
    about = {"config": to_dict(config), "spec": vars(spec)}
    write_tensors(path, model.state_dict(), about, SCHEMA)


def load(run: Path, device: str = "cpu") -> tuple[LatentModel, Config, ProblemSpec]:
    """Read and verify the checkpoint of a run folder.

    Raises:
        E2CError: when there is none, or it is of another schema, damaged or edited.
    """
    path = run / NAME
    if not path.is_file():
        what = "holds no checkpoint" if run.is_dir() else "does not exist"
        raise E2CError(
            f"The run folder {run} {what} ({NAME}); train one with: python train.py --out {run}"
        )
    tensors, about = read_tensors(path, SCHEMA, _REMEDY)
    try:
        model, config, spec = _rebuild(tensors, about)
    except (E2CError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"its description is not that of its weights ({shown(error)})"
        raise _refused(path, reason, _REMEDY) from None
    return model.to(find_device(device)).eval(), config, spec


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], schema: str
) -> None:
    """Write tensors and a JSON description of them, whole or not at all.

    Equal contents are equal files.

    Args:
        path: where the file is to appear; its folder must exist.
        tensors: of float32, float64, int64 or uint8, on any device.
        about: whatever JSON can hold.
        schema: name and version of what the file means, to be asked for again by `read_tensors`.
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
        raise _refused(path, shown(error), remedy) from None


def _read(path: Path, schema: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    content = read_bytes(path, MAX_BYTES)
    header, data = _split(content)
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


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
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


def _rebuild(
    tensors: dict[str, Tensor], about: dict[str, Any]
) -> tuple[LatentModel, Config, ProblemSpec]:
    """Build the model that is described around its weights.

    It is built on torch's meta device, where tensors have shapes and no contents: nothing of the
    described size is allocated before it is known to be that of the weights.
    """
    spec, config = _spec(about.get("spec")), check(from_dict(about.get("config")))
    goal = tensors["goal"]
    if goal.dtype != torch.uint8 or goal.shape != spec.observation_shape:
        raise ValueError(f"the goal is {_kind(goal)}, not an observation")
    with torch.device("meta"):
        model = build_model(config.model, spec, goal.numpy(), seed=0)
    compare(tensors, model.state_dict())
    if not torch.equal(tensors["transition.control_scale"], spec.control_scale):
        raise ValueError("the unit of its controls is not their limit")
    model.load_state_dict(tensors, assign=True)
    return model, config, spec


def compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless tensors have the names, types and shapes of those wanted."""
    for name in sorted(wanted.keys() | found.keys()):
        there, right = _kind(found.get(name)), _kind(wanted.get(name))
        if there != right:
            raise ValueError(f"{name!r} is {there}, not {right}")


def _kind(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _spec(values: Any) -> ProblemSpec:
    """Build the description of a task from JSON, each value in its range."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    spec = ProblemSpec(**given)
    limits = list(zip(spec.control_low, spec.control_high, strict=True))
    right = {
        "env": isinstance(spec.env, str),
        "observation_shape": len(spec.observation_shape) == 3
        and all(type(size) is int and 1 <= size <= MAX_BYTES for size in spec.observation_shape),
        "control_low and control_high": len(limits) >= 1
        and all(_is_number(low) and _is_number(high) and low < high for low, high in limits),
        "dt": _is_number(spec.dt) and spec.dt > 0,
        "episode_steps": type(spec.episode_steps) is int and 1 <= spec.episode_steps <= MAX_STEPS,
    }
    for name, is_right in right.items():
        if not is_right:
            raise ValueError(f"spec.{name} is not possible")
    return spec


def _is_number(value: Any) -> bool:
    """Say whether ``value`` is a number that a physical quantity can have."""
    return type(value) in (int, float) and abs(value) < 1e9


def find_device(name: str) -> torch.device:
    """Return the device called ``name``.

    Raises:
        E2CError: when there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise E2CError(f"There is no device {name!r} here; available: {', '.join(available)}.")
    return device


def _refused(path: Path, reason: str, remedy: str) -> E2CError:
    return E2CError(f"{path} was refused: {reason}; {remedy}.")
