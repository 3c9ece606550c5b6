"""What the encoder of a model says of all observations of its data, where it changes no more."""

from __future__ import annotations

import torch
from torch import Tensor

from e2c.data.windows import Windows
from e2c.models.base import LatentModel
from e2c.models.gaussians import DiagonalGaussian

PIECE = 1000
"""Observations that are encoded at a time."""


class Encodings:
    """The encodings of all observations that windows may show.

    Attributes:
        q: ``[N, n]``, in the order of the data.

    Args:
        model: whose encoder.
        windows: of its data.
    """

    @torch.no_grad()
    def __init__(self, model: LatentModel, windows: Windows) -> None:
        place = windows.device
        first = (windows.all[:, :1] + torch.arange(windows.horizon + 1)).unique()
        frames = first[:, None] + torch.arange(windows.frames_per_observation)
        found = [model.encoder(windows.observed(rows.to(place))) for rows in frames.split(PIECE)]
        means, log_variances = zip(*((q.mean, q.log_variance) for q in found), strict=True)
        self.q = DiagonalGaussian(torch.cat(means), torch.cat(log_variances))
        self._places = torch.zeros(int(first[-1]) + 1, dtype=torch.int64, device=place)
        self._places[first.to(place)] = torch.arange(len(first), device=place)

    def at(self, rows: Tensor) -> Tensor:
        """Return where in ``q`` the observations are whose first frames have these ``rows``."""
        return self._places[rows]
