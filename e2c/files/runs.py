"""A run's folder: the names of its files, its recipe, and the lock of who works on it.

``config.yaml`` appears first and ``run.json`` last. In between, ``state.safetensors`` says where
the run stands, and ``candidates/`` holds the models that a run will choose from, if it does; the
same recipe goes on from there, and a run that ended no longer has them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from e2c.config import Recipe, check_recipe
from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.files.whole import sweep, write_whole
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

FOUND_OUT = ("data_sha256", "goal_sha256")
"""What a recipe need not say when it is given, and says when it was begun."""
CHOSEN = (
    "config.camera.crop",
    "config.data.noise",
    "config.data.episode_length",
    "config.model.view",
    "config.optimiser.blur",
)
"""What a recipe may leave to be chosen, by "auto" or None, and says when it was begun."""
MAX_CONFIG_BYTES = 50_000
"""A configuration file larger than this is refused unread."""
MAX_DEPTH = 20
"""A configuration file nested more deeply than this is refused: readers of YAML call themselves."""
_NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError)
"""What its reader raises for a file that is none."""
# In C where PyYAML has it, as its wheels do: fifteen times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


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
        return check_recipe(from_dict(_read_yaml(path.read_text("utf-8")), Recipe))
    except _NO_YAML as error:
        raise E2CError(f"{path} is not readable as YAML ({shown(error)}); correct it.") from None
    except E2CError as error:
        told = f"{path}: {error}"
        if "Unknown configuration key" in told:
            remedy = "if an older version wrote the file, remove or rename that line"
            told = f"{told.rstrip('.')}; {remedy}."
        raise E2CError(told) from None


def _read_yaml(text: str) -> Any:
    """Return what a text in YAML holds; raises one of `_NO_YAML` when it is none."""
    depth = 0
    for event in yaml.parse(text, _Loader):  # in a loop, which no depth stops
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
    return yaml.load(text, _Loader)


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there.

    Raises:
        E2CError: when a file is in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise E2CError(
            f"{folder} is no folder, or lies in none; choose another --out, which is made."
        ) from None


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[Path]:
    """Make a folder, and keep every other process off it meanwhile; yields the lock's file.

    Args:
        folder: to be worked on.
        wait: whether to wait until no other process works on it.

    Raises:
        E2CError: as `make_folder`; when another process works on it, and nobody is to wait.
    """
    make_folder(folder)
    lock_file = folder / LOCK
    with lock_file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise E2CError(
                f"Another process is working on {folder} (number {lock.read(20).strip()}); wait "
                "for it, or choose another --out."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock_file


@contextlib.contextmanager
def claimed(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Make a run folder, or take it up again, and keep every other process off it meanwhile.

    Raises:
        E2CError: when another process works on it, it holds the run of another recipe, or the run
            in it has ended.
    """
    with locked(folder) as lock_file:
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
    text = yaml.dump(to_dict(recipe), Dumper=_Dumper, sort_keys=False)
    write_whole(folder / CONFIG, lambda aside: aside.write_text(text, "utf-8"))


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
    if told := differences(folder, recipe):
        raise E2CError(
            f"{folder} holds the run of another recipe ({', '.join(told[:3])}); choose another "
            "--out, give the options it was begun with, or remove it."
        )


def differences(folder: Path, recipe: Recipe) -> list[str]:
    """Tell in what ``recipe`` differs from that of the run in a folder, one phrase for each."""
    there = dict(leaves(read_recipe(folder / CONFIG)))
    return [
        f"{name} is {there.get(name)!r}, not {value!r}"
        for name, value in leaves(recipe)
        if value != there.get(name) and not _is_left_open(name, value)
    ]


def _is_left_open(name: str, value: Any) -> bool:
    """Say whether a recipe leaves to the run what it says under ``name``."""
    return (name in FOUND_OUT and not value) or (name in CHOSEN and value in ("auto", None))
