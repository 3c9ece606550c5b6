"""The encodings of all observations of the data, once the encoder no longer changes.

Encodings lie on a surface that has fewer dimensions than the space. Let C be the covariance of
differences along this surface, and c a small share of C's trace. Then ``c (C + c I)^-1`` keeps the
part of a vector that leads off the surface.
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
"""c, as a share of C's trace."""
LEAST = 1e-12
"""C's trace is taken to be at least this."""


class Encodings:
    """The encodings of all observations that windows may show, with the windows' actions.

    Attributes:
        q: ``[N, n]``, in the order of the data.
        starts: of the windows.
        actions: of the data, ``[M, m]``.
        horizon: of the windows.

    Args:
        model: its encoder is used.
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
        """Return the indices in ``q`` of the observations whose first frames are ``rows``."""
        return self._places[rows]


def beside(differences: Tensor) -> Tensor:
    """Return the matrices that keep the part of a vector beside the given differences.

    Args:
        differences: M at each of N places, ``[N, M, n]``.

    Returns:
        ``c (C + c I)^-1``, ``[N, n, n]``.
    """
    C = differences.mT @ differences / differences.shape[1]
    c = FLAT * C.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=LEAST)[:, None, None]
    return c * torch.linalg.inv(C + c * torch.eye(C.shape[-1]).to(C))
