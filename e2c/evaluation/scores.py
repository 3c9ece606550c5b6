"""Scores of recorded episodes, and their summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scored(Protocol):
    """What scoring needs of an environment."""

    def is_goal(self, states: Floats) -> NDArray[np.bool_]:
        """Say of each of ``states [..., n]`` whether it is in the goal region."""

    def is_success(self, states: Floats) -> NDArray[np.bool_]:
        """Say of each episode ``[..., T+1, n]`` whether it ended settled in the goal region."""

    def reward(self, states: Floats, actions: NDArray[np.float32]) -> Floats:
        """Reward of ``actions [..., m]`` in ``states [..., n]``."""


@dataclass(frozen=True)
class Scores:
    """One row for each of E episodes of T steps.

    Attributes:
        starts: ``[E, n]``, the first states.
        success: ``[E]``.
        time_in_goal: ``[E]``, share of the T steps that end in the goal region.
        steps_to_goal: ``[E]``, the first step that ends in the goal region; infinite if none does.
        returns: ``[E]``, sum of rewards, for comparison with other agents only.
    """

    starts: Floats
    success: NDArray[np.bool_]
    time_in_goal: Floats
    steps_to_goal: Floats
    returns: Floats

    def summary(self) -> dict[str, Any]:
        """Average over the episodes; JSON has no infinity, so a median that is none is None."""
        median = float(np.median(self.steps_to_goal))
        return {
            "success_rate": float(self.success.mean()),
            "time_in_goal": float(self.time_in_goal.mean()),
            "steps_to_goal_median": median if np.isfinite(median) else None,
            "return_mean": float(self.returns.mean()),
        }

    def rows(self, **faults: NDArray[np.int64]) -> list[dict[str, Any]]:
        """One dictionary for each episode, with those of its counts ``[E]`` of faults above 0."""
        return [
            {
                "start": self.starts[i].tolist(),
                "success": bool(self.success[i]),
                "time_in_goal": float(self.time_in_goal[i]),
                "faults": {kind: int(count[i]) for kind, count in faults.items() if count[i]},
            }
            for i in range(len(self.starts))
        ]


def score(task: Scored, states: Floats, actions: NDArray[np.float32]) -> Scores:
    """Score episodes by their true states ``[E, T+1, n]`` and actions ``[E, T, m]``."""
    reached = task.is_goal(states[:, 1:])
    first = np.where(reached.any(1), reached.argmax(1) + 1.0, np.inf)
    return Scores(
        starts=states[:, 0],
        success=task.is_success(states),
        time_in_goal=reached.mean(1),
        steps_to_goal=first,
        returns=task.reward(states[:, :-1], actions).sum(1),
    )


LOST = 1e6
"""An open-loop error is cut to this: where a roll-out leaves every scale, no number says more."""


def open_loop_error(latents: Floats, predictions: Floats) -> Floats:
    """Error of open-loop prediction against the horizon, relative to the spread of the encodings.

    Args:
        latents: ``[E, T+1, n]``, encodings of what was seen.
        predictions: ``[E, T+1, n]``, roll-outs of the dynamics from ``latents[:, 0]``.

    Returns:
        ``[T]``: mean squared distance after 1 .. T steps over the summed variance; 1 is as bad as
        predicting the mean, and `LOST` is as bad as it is told.
    """
    variance = latents.reshape(-1, latents.shape[-1]).var(0).sum()
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.square(predictions - latents).sum(-1).mean(0)[1:] / variance
    bounded: Floats = np.nan_to_num(error, nan=LOST, posinf=LOST).clip(max=LOST)
    return bounded
