"""What the encoder of a model says of all observations of its data, where it changes no more.

Encodings lie on a surface that has fewer dimensions than the space. With C the covariance of
differences along it, ``c (C + c I)^-1`` keeps what leads beside them, where c is a small share of
C's trace.
"""

from __future__ import annotations

import torch
from torch import Tensor

from e2c.data.windows import Windows
from e2c.models.base import LatentModel
from e2c.models.gaussians import DiagonalGaussian

PIECE = 1000
"""Observations that are encoded at a time."""
FLAT = 0.03
"""What lies beside differences, as a share of their variance."""
LEAST = 1e-12
"""The summed variance of differences is taken to be at least this."""


class Encodings:
    """The encodings of all observations that windows may show, and what else these hold.

    Attributes:
        q: ``[N, n]``, in the order of the data.
        starts: of the windows.
        actions: of the data, ``[M, m]``.
        horizon: of the windows.

    Args:
        model: whose encoder.
        windows: of its data.
    """

    @torch.no_grad()
    def __init__(self, model: LatentModel, windows: Windows) -> None:
        place = windows.device
        self.starts, self.actions = windows.starts, windows.actions
        self.horizon = windows.horizon
        first = (self.starts.all[:, :1] + torch.arange(self.horizon + 1)).unique()
        frames = first[:, None] + torch.arange(windows.frames_per_observation)
        found = [model.encoder(windows.observed(rows.to(place))) for rows in frames.split(PIECE)]
        means, log_variances = zip(*((q.mean, q.log_variance) for q in found), strict=True)
        self.q = DiagonalGaussian(torch.cat(means), torch.cat(log_variances))
        self._places = torch.zeros(int(first[-1]) + 1, dtype=torch.int64, device=place)
        self._places[first.to(place)] = torch.arange(len(first), device=place)

    def at(self, rows: Tensor) -> Tensor:
        """Return where in ``q`` the observations are whose first frames have these ``rows``."""
        return self._places[rows]


def beside(differences: Tensor) -> Tensor:
    """Return what keeps of a difference what leads beside the given ones.

    Args:
        differences: M of them at each of N places, ``[N, M, n]``.

    Returns:
        ``c (C + c I)^-1``, ``[N, n, n]``.
    """
    C = differences.mT @ differences / differences.shape[1]
    c = FLAT * C.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=LEAST)[:, None, None]
    return c * torch.linalg.inv(C + c * torch.eye(C.shape[-1]).to(C))
