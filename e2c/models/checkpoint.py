"""A model in a file: its weights, its configuration and its task.

What a file describes is compared with the tensors that are there before anything is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e2c.config import Config, check
from e2c.errors import E2CError
from e2c.files.tensors import MAX_BYTES, compare, kind_of, read_tensors, refused, write_tensors
from e2c.files.untrusted import shown
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.devices import check_precision, find_device
from e2c.models.methods import build_model
from e2c.models.sight import Sight
from e2c.options import UnknownNameError, from_dict, to_dict
from envs.images import is_size

SCHEMA = "e2c-checkpoint-2"
"""Written with every checkpoint; one of another version is refused, since its options differ."""
NAME = "checkpoint.safetensors"
MAX_STEPS = 10_000
"""Most steps of an episode that a file may describe."""
_REMEDY = "train again (python train.py --out NEW_FOLDER), or copy the file again"


def save(path: Path, model: LatentModel, config: Config, spec: ProblemSpec) -> None:
    """Write a checkpoint to ``path``, whole or not at all."""
    write_tensors(path, model.state_dict(), _about(config, spec), SCHEMA)


def reloaded(model: LatentModel, config: Config, spec: ProblemSpec) -> LatentModel:
    """Return the model, on the CPU, that `save` and `load` would give, without a file.

    Raises:
        Exception: whatever a part raises if it cannot be built on torch's meta device.
    """
    tensors = {name: value.cpu().clone() for name, value in model.state_dict().items()}
    return _rebuild(tensors, _about(config, spec))[0].eval()


def _about(config: Config, spec: ProblemSpec) -> dict[str, Any]:
    """Describe a model, as JSON can hold it."""
    return {"config": to_dict(config), "spec": vars(spec)}


def _why_none(run: Path) -> str:
    """Say why a folder has no checkpoint, and what to do."""
    if run.is_dir():
        return (
            f"The run folder {run} holds no checkpoint ({NAME}); if its run was interrupted, give "
            "that command again, which goes on; else name the folder of a run."
        )
    if run.exists():
        return f"{run} is a file; name the folder of a run, which train.py was given as --out."
    return (
        f"The run folder {run} does not exist ({NAME}); train one with: python train.py --out {run}"
    )


def load(run: Path, device: str = "cpu") -> tuple[LatentModel, Config, ProblemSpec]:
    """Read and verify the checkpoint of a run folder.

    Raises:
        E2CError: when there is no checkpoint; when it is of another schema, damaged or edited, or
            needs an own part that is not registered; when torch's default type is not float32.
    """
    check_precision()
    path = run / NAME
    if not path.is_file():
        raise E2CError(_why_none(run))
    tensors, about = read_tensors(path, SCHEMA, _REMEDY)
    try:
        model, config, spec = _rebuild(tensors, about)
    except UnknownNameError as error:
        raise E2CError(
            f"{path} needs a part that is not known here ({shown(error).partition(';')[0]}); first "
            f"import the module that registers it (--import in a command), or {_REMEDY}."
        ) from None
    except (E2CError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"its description is not that of its weights ({shown(error)})"
        raise refused(path, reason, _REMEDY) from None
    return model.to(find_device(device)).eval(), config, spec


def _rebuild(
    tensors: dict[str, Tensor], about: dict[str, Any]
) -> tuple[LatentModel, Config, ProblemSpec]:
    """Build the model that is described around its weights.

    It is built on torch's meta device, where tensors have shapes and no contents. So no memory is
    allocated before the described shapes are known to be those of the weights.
    """
    spec, config = _spec(about.get("spec")), check(from_dict(about.get("config"), Config))
    goal = tensors["goal"]
    if goal.dtype != torch.uint8 or goal.shape != spec.planes:
        raise ValueError(f"the goal is {kind_of(goal)}, not an observation")
    if (darker := tensors.pop("silhouette.darker", None)) is not None:  # an older file
        tensors["silhouette.away"] = tensors["silhouette.contrast"] * (1 - 2 * darker.float())
    with torch.device("meta"):
        model = build_model(config.model, spec, goal.numpy(), seed=0)
        if any(name.startswith("sight.") for name in tensors):
            model.sight = Sight(model.encoder, config.model.latent_dim)
    compare(tensors, model.state_dict())
    if not torch.equal(tensors["transition.control_scale"], spec.control_scale):
        raise ValueError("the unit of its controls is not their limit")
    model.load_state_dict(tensors, assign=True)
    return model, config, spec


def _spec(values: Any) -> ProblemSpec:
    """Build the description of a task from JSON, each value in its range."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    spec = ProblemSpec(**given)
    limits = list(zip(spec.control_low, spec.control_high, strict=True))
    right = {
        "env": isinstance(spec.env, str),
        "options": isinstance(spec.options, dict),
        "picture_size": spec.picture_size is None or is_size(spec.picture_size),
        "observation_shape": 2 <= len(spec.observation_shape) <= 4
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
