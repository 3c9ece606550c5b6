"""A run's folder: its files' names, who works on it, and where an interrupted run stands.

``config.yaml`` appears first and ``run.json`` last. In between, ``state.safetensors`` says where
the run stands, and ``candidates/`` holds the models that a run will choose from, if it does; the
same recipe goes on from there, and a run that ended no longer has them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2c.config import Recipe, check_recipe
from e2c.errors import E2CError
from e2c.files import tensors
from e2c.files.untrusted import Shape, conform, shown
from e2c.files.whole import sweep, write_whole
from e2c.learning.trainer import TrainingState
from e2c.models import checkpoint
from e2c.options import from_dict, leaves, to_dict

CONFIG = "config.yaml"
SUMMARY = "run.json"
STATE = "state.safetensors"
EVALUATION = "evaluation.json"
EPISODES = "episodes.npz"
VIDEO = "episode.mp4"
REPORT = "report.html"
PICTURES = "pictures"
LOCK = ".lock"
CANDIDATES = "candidates"
"""Folder of the models that played the rounds, while the run goes on."""

TRAINED = Path(__file__).parents[1] / "trained" / "pendulum"
"""Run folder of the trained model that comes with the project."""

SCHEMA = "e2c-state-1"
MAX_CONFIG_BYTES = 50_000
"""A configuration file larger than this is refused unread: YAML is slow to read."""
_NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What its reader raises for a file that is none."""


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        training: what decides the steps to come.
        phase: 0 while training on the first data, k in round k; one more than the rounds once
            training is over.
        rows: of ``metrics.jsonl`` that belong to it.
        seconds: wall-clock of each part so far.
        data: hashes of the datasets so far.
        sessions: what made each session of the run: versions, commit, machine.
    """

    training: TrainingState
    phase: int
    rows: int
    seconds: Mapping[str, float]
    data: Sequence[str]
    sessions: Sequence[Mapping[str, Any]]


def finished(folder: Path) -> bool:
    """Whether the run in ``folder`` has ended."""
    return (folder / SUMMARY).exists() and not (folder / STATE).exists()


def read_recipe(path: Path) -> Recipe:
    """Read ``config.yaml`` of a run.

    Raises:
        E2CError: when it is missing, too large, not YAML, or not a recipe.
    """
    if not path.is_file():
        raise E2CError(f"There is no configuration file {path}; a run folder has one: {CONFIG}.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise E2CError(f"{path} has {path.stat().st_size:,} bytes; a configuration has fewer.")
    try:
        values = yaml.safe_load(path.read_text())
        return check_recipe(from_dict(values, Recipe))
    except _NO_YAML as error:
        raise E2CError(f"{path} is not readable as YAML ({shown(error)}); correct it.") from None
    except E2CError as error:
        raise E2CError(f"{path}: {error}") from None


@contextlib.contextmanager
def claimed(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Make a run folder, or take it up again, and keep every other process off it meanwhile.

    Raises:
        E2CError: when another process works on it, it holds the run of another recipe, or the run
            in it has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock_file = folder / LOCK
    with lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise E2CError(
                f"Another process is working on {folder} (number {lock.read(20).strip()}); wait "
                "for it, or choose another --out."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        _check_recipe_of(folder, recipe)
        sweep(folder)
        if finished(folder):
            raise E2CError(f"The run in {folder} has ended; choose another --out or remove it.")
        try:
            yield
        finally:
            if [path.name for path in folder.iterdir()] == [LOCK]:
                lock_file.unlink()
                folder.rmdir()


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write what decides the run, which begins it."""
    text = yaml.safe_dump(to_dict(recipe), sort_keys=False)
    write_whole(folder / CONFIG, lambda aside: aside.write_text(text))


def end(folder: Path) -> None:
    """End a run: what it needed to go on is removed."""
    (folder / STATE).unlink()
    shutil.rmtree(folder / CANDIDATES, ignore_errors=True)


def _check_recipe_of(folder: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds the run of another recipe."""
    if not (folder / CONFIG).exists():
        if (folder / checkpoint.NAME).exists():
            raise E2CError(f"{folder} holds a model without {CONFIG}; choose another --out.")
        return
    there = dict(leaves(read_recipe(folder / CONFIG)))
    differ = [name for name, value in leaves(recipe) if value != there.get(name)]
    if differ:
        here = dict(leaves(recipe))
        pairs = [(name, there.get(name), here[name]) for name in differ[:3]]
        told = ", ".join(f"{name} is {old!r}, not {new!r}" for name, old, new in pairs)
        raise E2CError(
            f"{folder} holds the run of another recipe ({told}); choose another --out, give the "
            "options it was begun with, or remove it."
        )


def save_state(folder: Path, state: RunState) -> None:
    """Write where the run stands, whole or not at all."""
    about = dataclasses.asdict(dataclasses.replace(state, training=_without_tensors(state)))
    tensors.write_tensors(folder / STATE, state.training.tensors, about, SCHEMA)


def _without_tensors(state: RunState) -> TrainingState:
    return dataclasses.replace(state.training, tensors={})


def load_state(folder: Path) -> RunState | None:
    """Read where the run stands; None when it has not got far enough to stand anywhere.

    Raises:
        E2CError: when the file is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    remedy = f"remove {folder} and train again"
    found, about = tensors.read_tensors(path, SCHEMA, remedy)
    try:
        conform(about, _STANDS)
        training = TrainingState(**{**about["training"], "tensors": found})
        return _possible(RunState(**{**about, "training": training}))
    except (TypeError, ValueError) as error:
        raise E2CError(
            f"{path} does not say where its run stands ({shown(error)}); {remedy}."
        ) from None


_STANDS: Shape = {
    "training": {
        "step": int,
        "done": int,
        "first": float,
        "level": float,
        "skipped": int,
        "scale": float,
        "recoveries": [{"step": int, "learning_rate": float, "reason": str}],
    },
    "phase": int,
    "rows": int,
    "seconds": {str: float},
    "data": [str],
    "sessions": [{}],
}
"""What a state's file says beside its tensors."""


def _possible(state: RunState) -> RunState:
    """Return ``state`` if a run can stand there, or raise a ValueError."""
    training = state.training
    counts = (state.phase, state.rows, training.step, training.done, training.skipped)
    if min(counts) < 0 or not state.data or not 0 < training.scale <= 1:
        raise ValueError("no run can stand there")
    return state
