"""Weights, configuration and task in one file whose format cannot run code (safetensors)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from e2c.config import Config, check, from_dict, to_dict
from e2c.errors import E2CError, write_whole
from e2c.model import E2C, ProblemSpec, build_model

SCHEMA = "e2c-checkpoint-1"
NAME = "checkpoint.safetensors"


def save(path: Path, model: E2C, config: Config, spec: ProblemSpec) -> None:
    """Write a checkpoint to ``path``, whole or not at all."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    text = json.dumps({"config": to_dict(config), "spec": vars(spec)}, sort_keys=True)
    metadata = {"schema": SCHEMA, "about": text, "sha256": _digest(tensors, text)}
    content = _sorted(serialise(tensors, metadata))
    write_whole(path, lambda aside: aside.write_bytes(content))


def load(run: Path, device: str = "cpu") -> tuple[E2C, Config, ProblemSpec]:
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
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _refused(path, f"it cannot be read ({error})") from None
    if metadata.get("schema") != SCHEMA:
        found = metadata.get("schema")
        raise _refused(path, f"its schema is {found!r} and this version reads {SCHEMA!r}")
    if _digest(tensors, metadata.get("about", "")) != metadata.get("sha256"):
        raise _refused(path, "its contents do not match its hash, so it was damaged or edited")
    try:
        model, config, spec = _rebuild(tensors, json.loads(metadata["about"]))
    except (E2CError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise _refused(path, f"its description is not that of its weights ({reason})") from None
    return model.to(find_device(device)).eval(), config, spec


def _rebuild(tensors: dict[str, Tensor], about: Any) -> tuple[E2C, Config, ProblemSpec]:
    """Build the model that is described, and give it its weights."""
    given: dict[str, Any] = {k: _tuple(v) for k, v in about["spec"].items()}
    spec, config = ProblemSpec(**given), check(from_dict(about["config"]))
    model = build_model(config.model, spec, np.zeros(spec.observation_shape, np.uint8), seed=0)
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in model.state_dict().items()}
    found = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name} is {found.get(name)}, not {wanted.get(name)}")
    model.load_state_dict(tensors)
    return model, config, spec


def find_device(name: str) -> torch.device:
    """Return the device called ``name``.

    Raises:
        E2CError: when there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise E2CError(
            f"There is no device {name!r} here; available: {', '.join(available)}."
        ) from None
    return device


def _sorted(content: bytes) -> bytes:
    """Sort the header of a safetensors file, so that equal checkpoints are equal files."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _refused(path: Path, reason: str) -> E2CError:
    return E2CError(f"{path} was refused: {reason}; train again or copy the file again.")
