"""How the observations of a camera that may be faulty are read, and how far they are trusted."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from e2c.models.encoders import Encoder
from e2c.models.gaussians import DiagonalGaussian

DARK = 0.01
"""Contrasts are raised as if they were at least this, a standard deviation of the brightness."""
PLACES = 500
"""Encodings at which it is known what tells of motion."""
TRUST = 0.6
"""Share of an unforeseen motion that is believed at once."""


class Sight(nn.Module):
    """A second encoder, which has learned to see through the faults of a camera.

    It tells a Gaussian of what the encoder would return for the clean frames. Like an eye it adapts
    to the light: observations are given the mean brightness and the contrast of the data. With it
    are kept the figures that a belief is built on; `e2c.learning.sight` learns all of this.

    Attributes:
        light: the mean brightness and its standard deviation, ``[2]``, over the pixels of an
            observation in the data.
        process: ``[n, n]``, the covariance of what the model does not foresee in a step, at rest.
        speed: how much larger that is for each unit of the squared latent length of the step.
        errors: ``[n, n]``, the covariance of what is new in the error of an observation, in units
            of the standard deviations that are told.
        shared: ``[n, n]``, how that comes again in the error of the next observation, in the same
            units: successive observations share frames.
        mean: ``[n]``, of the encodings of the data.
        variance: ``[n]``, of the same.
        places: ``[P, n]``, encodings of the data.
        motion: ``[P, n, n]``, projects a difference of encodings there on what tells how fast
            things move: what older frames alone can change.

    Args:
        encoder: of the model; it is copied.
        n: latent dimension.
    """

    light: Tensor
    process: Tensor
    speed: Tensor
    errors: Tensor
    shared: Tensor
    mean: Tensor
    variance: Tensor
    places: Tensor
    motion: Tensor

    def __init__(self, encoder: Encoder, n: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.register_buffer("light", torch.tensor([0.0, 1.0]))
        for name in ("process", "errors", "shared"):
            self.register_buffer(name, torch.zeros(n, n))
        self.register_buffer("speed", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("variance", torch.ones(n))
        self.register_buffer("places", torch.zeros(PLACES, n))
        self.register_buffer("motion", torch.zeros(PLACES, n, n))

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """Read observations ``x [..., C, H, W]`` in [0, 1]."""
        pixels = x.flatten(-3)
        apart = pixels - pixels.mean(-1, keepdim=True)
        freedom = max(pixels.shape[-1] - 1, 1)
        std = torch.linalg.vector_norm(apart, dim=-1, keepdim=True) / freedom**0.5
        adapted = torch.addcmul(self.light[0], apart, self.light[1] / std.clamp(min=DARK))
        q: DiagonalGaussian = self.encoder(adapted.view(x.shape))
        return q

    def steadied(self, z: Tensor, expected: Tensor) -> Tensor:
        """Return encodings that believe a share of the motion that was not foreseen.

        A thing that stands where the model did not foresee it was displaced, or moves faster. An
        observation takes it for the latter: 0.03 rad of noise between two frames, 0.05 s apart,
        look like 0.6 rad/s. If it does move faster, the next observations tell so again, and the
        belief has followed after a few. Compiled code computes it on a CPU, without a gradient.

        Args:
            z: what the observations tell, ``[B, n]``.
            expected: what the model foresaw, ``[B, n]``; what is not finite foresaw nothing.

        Returns:
            ``[B, n]``. Source: ours.
        """
        if z.device.type == "cpu" and not z.requires_grad:
            from e2c.models import read_kernels  # and with it numba, only where it is needed

            parts = (z, expected, self.places, self.motion)
            arrays = (part.contiguous().numpy() for part in parts)
            return torch.from_numpy(read_kernels.steady(*arrays, 1 - TRUST))
        nearest = torch.cdist(z, self.places).argmin(-1)
        unforeseen = (self.motion[nearest] @ (z - expected).unsqueeze(-1)).squeeze(-1)
        return z - (1 - TRUST) * unforeseen.where(unforeseen.isfinite(), 0.0)
