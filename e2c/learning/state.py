"""Where an interrupted run stands, in one file."""

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
