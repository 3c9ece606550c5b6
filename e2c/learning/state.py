"""The state of an interrupted run, in one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2c.errors import E2CError
from e2c.files import tensors
from e2c.files.runs import STATE
from e2c.files.untrusted import Shape, conform, shown
from e2c.learning.trainer import TrainingState

SCHEMA = "e2c-state-1"


@dataclass(frozen=True)
class RunState:
    """The state of a run, from which it is resumed.

    Attributes:
        training: the state of its trainer.
        phase: 0 while training on the first data, k in round k; one more than the rounds once
            training is over.
        rows: number of rows of ``metrics.jsonl`` written before this state.
        seconds: wall-clock time of each part so far [s].
        data: hashes of the datasets so far.
        sessions: versions, commit and machine of each session of the run.
    """

    training: TrainingState
    phase: int
    rows: int
    seconds: Mapping[str, float]
    data: Sequence[str]
    sessions: Sequence[Mapping[str, Any]]


def save_state(folder: Path, state: RunState) -> None:
    """Write the state of a run, whole or not at all."""
    about = dataclasses.asdict(dataclasses.replace(state, training=_without_tensors(state)))
    tensors.write_tensors(folder / STATE, state.training.tensors, about, SCHEMA)


def _without_tensors(state: RunState) -> TrainingState:
    return dataclasses.replace(state.training, tensors={})


def load_state(folder: Path) -> RunState | None:
    """Read the state of a run; None when none was written yet.

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
"""The form of what a state's file holds beside its tensors."""


def _possible(state: RunState) -> RunState:
    """Return ``state`` if a run can be in it, or raise a ValueError."""
    training = state.training
    counts = (state.phase, state.rows, training.step, training.done, training.skipped)
    if min(counts) < 0 or not state.data or not 0 < training.scale <= 1:
        raise ValueError("no run can stand there")
    return state
