"""The report's reader of run folders. Anybody may have written one, so all of it is checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from e2c.errors import E2CError
from e2c.files import arrays, runs
from e2c.files.untrusted import MAX_NUMBER, Shape, conform, parse_json, read_bytes, shown
from envs.quantity import Quantity

T = TypeVar("T")
SUMMARY: Shape = {
    "seed": int,
    "config": {"env": str},
    "data": [{"sha256": str, "transitions": int}],
    "versions": {},
    "commit": str,
    "machine": {},
    "terms?": {str: str},
    "transitions": int,
    "steps": int,
    "skipped_steps": int,
    "recoveries?": [{"step": float, "learning_rate": float, "reason": str}],
    "collapsed?": str,
    "resumed?": int,
    "began_anew_in_round?": int,
    "seconds": {"total": float, str: float},
    "open_loop_error?": [float],
}
ROW: Shape = {str: float}
EVALUATION: Shape = {
    "success_rate?": float,
    "time_in_goal?": float,
    "return_mean?": float,
    "distance_at_start?": float,
    "distance_at_end?": float,
    "oracle_success_rate?": float,
    "oracle_time_in_goal?": float,
    "plan_ms_median?": float,
    "plan_ms_p99?": float,
    "faults?": {str: int},
    "start_seed?": int,
    "disturbance?": {},
    "episodes": [
        {
            "start?": [float],
            "success?": bool,
            "time_in_goal?": float,
            "steps?": int,
            "distance_at_start?": float,
            "distance_at_end?": float,
            "faults?": {str: int},
        }
    ],
}
TASK: Shape = {
    "task?": str,
    "components?": [{"name": str, "unit": str, "goal_half_width?": float}],
    "plotted?": int,
    "goals?": [[float]],
}
METRICS = "metrics.jsonl"
STATES = ("float64", 3)
EPISODES = {"states": STATES, "actions": ("float32", 3), "oracle_states": STATES}

MAX_JSON_BYTES = 20_000_000
MAX_MEDIA_BYTES = 100_000_000
"""Files larger than these are refused."""
PICTURES = ("latent_space", "rollouts", "reconstructions")
"""The pictures of a run that the page cannot draw again from numbers."""


@dataclass(frozen=True)
class Task:
    """The task as a file of episodes describes it; missing values are neutral or empty.

    Attributes:
        sentence: the aim of the task.
        components: quantities of the n numbers of a state.
        plotted: index of the component that says most about success.
        goals: the states that episodes were to reach.
    """

    sentence: str
    components: Sequence[Quantity]
    plotted: int
    goals: Sequence[Sequence[float]]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Evaluated episodes.

    Attributes:
        states: ``[E, T+1, n]``, under the agent.
        oracle_states: ``[E, T+1, n]``, under the oracle from the same starts; or ``[0, T+1, n]``.
        task: their task.
    """

    states: NDArray[np.float64]
    oracle_states: NDArray[np.float64]
    task: Task

    def begin_at(self, starts: Sequence[Sequence[float] | None]) -> bool:
        """Whether these are the episodes that begin at ``starts [E, n]``."""
        return starts == self.states[:, 0].tolist()


@dataclass(frozen=True)
class Run:
    """A training run that has ended, read from its folder; missing files are empty or None.

    Attributes:
        folder: where it is.
        summary: ``run.json``.
        metrics: rows of ``metrics.jsonl``.
        evaluation: ``evaluation.json``.
        episodes: ``episodes.npz``.
        film: the bytes of an H.264 film in an MP4 file.
        pictures: the bytes of PNG files, by their names.
    """

    folder: Path
    summary: Mapping[str, Any]
    metrics: Sequence[Mapping[str, float]]
    evaluation: Mapping[str, Any] | None
    episodes: Episodes | None
    film: bytes | None
    pictures: Mapping[str, bytes]


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        E2CError: when there is no run in it that has ended, or one of its files is damaged.
    """
    if not (folder / runs.SUMMARY).exists():
        raise E2CError(
            f"{folder} holds no run that has ended, for it has no {runs.SUMMARY}; name a folder "
            f"that training wrote, or train one: python train.py --out {folder}."
        )
    pictures = [folder / runs.PICTURES / f"{name}.png" for name in PICTURES]
    return Run(
        folder=folder,
        summary=_read(folder / runs.SUMMARY, lambda path: _json(path, SUMMARY)),
        metrics=_optional(folder / METRICS, _metrics) or [],
        evaluation=_optional(folder / runs.EVALUATION, lambda path: _json(path, EVALUATION)),
        episodes=_optional(folder / runs.EPISODES, _episodes),
        film=_optional(folder / runs.VIDEO, lambda path: _media(path, 4, b"ftyp")),
        pictures={path.stem: _read(path, _picture) for path in pictures if path.exists()},
    )


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    """Read a file, or say what is wrong with it."""
    try:
        return reader(path)
    except ValueError as error:
        raise E2CError(
            f"{path} cannot be shown: {shown(error)}; copy it again, or remove it and make it "
            "again with train.py or evaluate.py."
        ) from None


def _optional(path: Path, reader: Callable[[Path], T]) -> T | None:
    return _read(path, reader) if path.exists() else None


def _bytes(path: Path) -> bytes:
    return read_bytes(path, MAX_JSON_BYTES)


def _json(path: Path, shape: Shape) -> Any:
    return conform(parse_json(_bytes(path)), shape)


def _metrics(path: Path) -> list[Mapping[str, float]]:
    """Read rows of metrics, where null stands for a number that was not finite."""
    rows = [conform(parse_json(line), {}) for line in _bytes(path).splitlines()]
    filled = [{name: math.nan if x is None else x for name, x in row.items()} for row in rows]
    return [conform(row, ROW) for row in filled]


def _episodes(path: Path) -> Episodes:
    header, found = arrays.read(path, EPISODES, "evaluate again")
    states, oracle_states = found["states"], found["oracle_states"]
    E, *shape = states.shape
    if oracle_states.shape not in ((E, *shape), (0, *shape)) or 0 in shape:
        shapes = f"{states.shape} and {oracle_states.shape}"
        raise ValueError(f"the states of agent and oracle are of shapes {shapes}")
    if max(np.abs(s).max(initial=0) for s in (states, oracle_states)) > MAX_NUMBER:
        raise ValueError(f"some of its states are above {MAX_NUMBER}")
    return Episodes(states, oracle_states, task(conform(header, TASK), states.shape[2]))


def task(header: Mapping[str, Any], n: int) -> Task:
    """Return the task that a header of the shape `TASK` describes, with states of ``n`` numbers.

    Raises:
        ValueError: when the header describes states of another size.
    """
    neutral: list[dict[str, Any]] = [
        {"name": f"state component {k}", "unit": ""} for k in range(1, n + 1)
    ]
    told = header.get("components") or neutral
    goals, plotted = header.get("goals") or [], header.get("plotted") or 0
    if {len(told), *map(len, goals)} != {n} or not 0 <= plotted < n:
        raise ValueError(f"its header is not of states of {n} numbers")
    components = [Quantity(c["name"], c["unit"], c.get("goal_half_width")) for c in told]
    return Task(header.get("task") or "", components, plotted, goals)


def _picture(path: Path) -> bytes:
    return _media(path, 0, b"\x89PNG\r\n")


def _media(path: Path, offset: int, mark: bytes) -> bytes:
    """Read a file, and check its format by the ``mark`` at ``offset``."""
    content = read_bytes(path, MAX_MEDIA_BYTES)
    if not content.startswith(mark, offset):
        raise ValueError(f"it is no {path.suffix} file")
    return content
