"""Scores of recorded episodes, and their summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.data.episodes import Episodes

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """One row for each of E episodes; what the world does not tell is None.

    Attributes:
        starts: ``[E, n]``, the first states.
        success: ``[E]``, whether the episode ended settled in the goal region.
        time_in_goal: ``[E]``, share of the steps that end in the goal region.
        steps_to_goal: ``[E]``, the first step that ends in the goal region; infinite if none does.
        returns: ``[E]``, sum of rewards, for comparison with other agents only.
        lengths: ``[E]``, steps.
    """

    starts: Floats | None
    success: NDArray[np.bool_] | None
    time_in_goal: Floats | None
    steps_to_goal: Floats | None
    returns: Floats | None
    lengths: NDArray[np.int64]

    def summary(self) -> dict[str, Any]:
        """Average over the episodes; JSON has no infinity, so a median that is none is None."""
        found: dict[str, Any] = {}
        if self.success is not None:
            found["success_rate"] = float(self.success.mean())
        if self.time_in_goal is not None:
            found["time_in_goal"] = float(self.time_in_goal.mean())
        if self.steps_to_goal is not None:
            median = float(np.median(self.steps_to_goal))
            found["steps_to_goal_median"] = median if np.isfinite(median) else None
        if self.returns is not None:
            found["return_mean"] = float(self.returns.mean())
        return found

    def rows(self, **faults: NDArray[np.int64]) -> list[dict[str, Any]]:
        """One dictionary for each episode, with those of its counts ``[E]`` of faults above 0."""
        return [self._row(e, faults) for e in range(len(self.lengths))]

    def _row(self, e: int, faults: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
        row: dict[str, Any] = {"steps": int(self.lengths[e])}
        if self.starts is not None:
            row["start"] = self.starts[e].tolist()
        if self.success is not None and self.time_in_goal is not None:
            row["success"] = bool(self.success[e])
            row["time_in_goal"] = float(self.time_in_goal[e])
        row["faults"] = {kind: int(count[e]) for kind, count in faults.items() if count[e]}
        return row


def score(episodes: Episodes, settle_steps: int) -> Scores:
    """Score episodes by what the world told of them.

    Args:
        episodes: as recorded.
        settle_steps: a success is in the goal region in each of this many last steps. The start is
            not a step, and an episode with fewer steps is no success.
    """
    E = range(len(episodes))
    inside, rewards, states = episodes.in_goal, episodes.rewards, episodes.states
    found: dict[str, Any] = {"starts": None, "returns": None}
    if states is not None:
        found["starts"] = states[[episodes.moment_rows(e).start for e in E]]
    if rewards is not None:
        found["returns"] = np.array([rewards[episodes.action_rows(e)].sum() for e in E])
    reached = [] if inside is None else [inside[episodes.moment_rows(e)][1:] for e in E]
    ends = {
        "success": [settled(r, settle_steps) for r in reached],
        "time_in_goal": [r.mean() for r in reached],
        "steps_to_goal": [_first(r) for r in reached],
    }
    found |= {name: np.array(rows) if reached else None for name, rows in ends.items()}
    return Scores(lengths=episodes.lengths, **found)


def settled(reached: NDArray[np.bool_], settle_steps: int) -> bool:
    """Say whether an episode ended settled, given whether each step ``[T]`` ended in the goal."""
    return len(reached) >= settle_steps and bool(reached[-settle_steps:].all())


def _first(reached: NDArray[np.bool_]) -> float:
    """Return the first step that ended in the goal, from 1; infinite if none did."""
    return reached.argmax() + 1.0 if reached.any() else np.inf


_TOLD = {
    "success_rate": ("success", "{:.1%}"),
    "time_in_goal": ("time in goal", "{:.1%}"),
    "oracle_success_rate": ("success of the oracle", "{:.1%}"),
    "oracle_time_in_goal": ("time in goal of the oracle", "{:.1%}"),
    "steps_to_goal_median": ("steps to the goal, median", "{:g}"),
    "distance_at_start": ("distance at the start", "{:.3g} (1 is as far as the data spread)"),
    "distance_at_end": ("distance at the end", "{:.3g} (1 is as far as the data spread)"),
    "plan_ms_median": ("control step, median", "{:.1f} ms"),
    "plan_ms_p99": ("control step, 99% within", "{:.1f} ms"),
}
"""Figure of an evaluation -> what it is called, and how it is written."""


def told(results: Mapping[str, Any]) -> list[str]:
    """Tell the figures of an evaluation that it has, each in a line; what never was is so told."""
    return [
        f"{name:<26} {'never' if results[key] is None else form.format(results[key])}"
        for key, (name, form) in _TOLD.items()
        if key in results
    ]


LOST = 1e6
"""An open-loop error is cut to this: where a roll-out leaves every scale, no number says more."""


def open_loop_error(latents: Floats, predictions: Floats) -> Floats:
    """Error of open-loop prediction against the horizon, relative to the spread of the encodings.

    Args:
        latents: ``[E, T+1, n]``, encodings of what was seen.
        predictions: ``[E, T+1, n]``, roll-outs of the dynamics from ``latents[:, 0]``.

    Returns:
        ``[T]``: mean squared distance after 1 .. T steps over the summed variance; 1 is as bad as
        predicting the mean; nothing above `LOST` is told apart.
    """
    variance = latents.reshape(-1, latents.shape[-1]).var(0).sum()
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.square(predictions - latents).sum(-1).mean(0)[1:] / variance
    bounded: Floats = np.nan_to_num(error, nan=LOST, posinf=LOST).clip(max=LOST)
    return bounded
