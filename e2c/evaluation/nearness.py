"""How near episodes came to their goals, where no world tells it: as the agent sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.control.agent import Agent
from e2c.data.episodes import Episodes, pieces
from e2c.models.base import LatentModel


@dataclass(frozen=True, eq=False)
class Nearness:
    """Distances from the goal in the unit of `Agent.distance_to_goal`: 1 is as far as data spread.

    Attributes:
        start: ``[E]``, of the first observation.
        end: ``[E]``, the mean over the last steps.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def summary(self) -> dict[str, float]:
        """Average over the episodes."""
        return {
            "distance_at_start": float(self.start.mean()),
            "distance_at_end": float(self.end.mean()),
        }

    def rows(self) -> list[dict[str, float]]:
        """One dictionary for each episode."""
        both = zip(self.start.tolist(), self.end.tolist(), strict=True)
        return [{"distance_at_start": start, "distance_at_end": end} for start, end in both]


def nearness(agent: Agent, episodes: Episodes, last: int) -> Nearness:
    """Encode what was seen and compare it with the goals.

    Args:
        agent: whose encodings and spread of the data are the measure.
        episodes: that it played.
        last: over how many of its last steps an episode's end is averaged.
    """
    away = squared_distances(agent.model, episodes) / agent.model.latent_variance
    found = away.cpu().numpy().astype(np.float64)
    rows = [found[episodes.moment_rows(e)] for e in range(len(episodes))]
    return Nearness(
        np.array([row[0] for row in rows]), np.array([row[-last:].mean() for row in rows])
    )


@torch.inference_mode()
def squared_distances(model: LatentModel, episodes: Episodes) -> Tensor:
    """Return how far each observation was from its episode's goal, squared: ``[M]`` latent units.

    Args:
        model: reads what was seen, and the goals: its own goal, where the episodes were told none.
        episodes: of M moments in all, one more than steps in each.
    """
    goals = episodes.goal_planes()
    if goals is None:
        goals = np.repeat(model.goal.cpu().numpy()[None], len(episodes), 0)
    z = torch.cat([model.read(piece).mean for piece in pieces(episodes.planes())])
    lengths = torch.from_numpy(episodes.lengths + 1).to(z.device)
    away = z - model.read(goals).mean.repeat_interleave(lengths, 0)
    return away.square().sum(-1)
