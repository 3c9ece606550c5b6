"""Novelty: whether a goal looks like anything in the data that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from e2c.data.episodes import Episodes, pieces
from e2c.models.base import LatentModel

COMPARED = 2500
"""About how many observations a goal is compared with; they are evenly spread over the data."""
USUAL = 0.99
"""A goal is new if it is further from the data than this share of the data are from one another."""


@dataclass(frozen=True)
class Novelty:
    """How far a goal is from what was seen, in the unit of `Agent.distance_to_goal`.

    Attributes:
        distance: from the goal to the nearest observation, as the agent reads both.
        typical: the median distance from an observation to the nearest one of another episode.
        usual: 99 of 100 observations are no further from that.
    """

    distance: float
    typical: float
    usual: float

    @property
    def warning(self) -> str | None:
        """The sentence for a goal that looks like nothing in the data; None for another one."""
        if self.distance <= self.usual:
            return None
        return (
            "Warning: the goal looks like nothing in the data: the nearest observation is "
            f"{self.distance:.2g} away, where the data are {self.typical:.2g} apart, and 99% of "
            f"them at most {self.usual:.2g} (1 is as far as they spread); record data near the "
            "goal, or give a picture that is like the data."
        )


@torch.inference_mode()
def novelty(model: LatentModel, goal: NDArray[np.uint8], data: Sequence[Episodes]) -> Novelty:
    """Compare a goal with the data.

    Args:
        model: trained on them.
        goal: the observation to reach, as networks see it: ``[C, H, W]``.
        data: at least one episode.
    """
    every = max(1, sum(len(part.first_frames) for part in data) // COMPARED)
    planes = [part.planes(slice(None, None, every)) for part in data]
    z = torch.cat([model.read(piece).mean for part in planes for piece in pieces(part)])
    episode = np.concatenate([_episodes(part)[::every] for part in enumerate(data)])
    same = torch.from_numpy(episode[:, None] == episode).to(z.device)
    if same.all():
        same = torch.eye(len(z), dtype=torch.bool, device=z.device)
    apart = torch.cdist(z, z).square().masked_fill(same, torch.inf).amin(1)
    away = (z - model.read(goal).mean).square().sum(-1).amin()
    near = apart.quantile(apart.new_tensor([0.5, USUAL]))
    distances = (torch.cat((away[None], near)) / model.latent_variance).tolist()
    return Novelty(*distances)


def _episodes(numbered: tuple[int, Episodes]) -> NDArray[np.float64]:
    """Return a number for each observation, which is that of its episode and of its part."""
    number, part = numbered
    return np.repeat(number + np.arange(len(part)) / len(part), part.lengths + 1)
