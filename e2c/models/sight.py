"""How the observations of a camera that may be faulty are read, and how far they are trusted."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from e2c.models.encoders import Encoder
from e2c.models.gaussians import DiagonalGaussian

DARK = 0.01
"""The least contrast that an observation is taken to have: a standard deviation of brightness."""
PLACES = 500
"""Encodings at which the directions of motion are known."""
TRUST = 0.6
"""Share of an unforeseen motion that is believed at once."""


class Sight(nn.Module):
    """A second encoder, which has learned to see through the faults of a camera.

    It returns a Gaussian over the encoding of the clean frames. Like an eye it adapts to the light:
    it gives observations the mean brightness and the contrast of the data. It also holds the
    figures that a belief needs. `e2c.learning.sight` learns all of this.

    Attributes:
        light: mean brightness and contrast of the data, ``[2]``; the contrast is the standard
            deviation over the pixels of an observation.
        process: ``[n, n]``, the covariance of the model's error in a step, at rest.
        speed: the covariance in a step dz is ``(1 + speed |dz|^2) process``.
        errors: ``[n, n]``, the covariance of w, the new part of an observation's error
            ``e_t = w_t + shared w_{t-1}``, in units of the sight's standard deviations.
        shared: ``[n, n]``, the part of w that comes again in the next error, since successive
            observations share frames.
        mean: ``[n]``, of the encodings of the data.
        variance: ``[n]``, of the encodings of the data.
        places: ``[P, n]``, encodings of the data.
        motion: ``[P, n, n]``, for each place: projects a difference of encodings on the directions
            that encode how fast things move. Older frames alone can change these.

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
        """Return encodings that contain only a share, `TRUST`, of the unforeseen motion.

        A thing at an unforeseen place was displaced, or moves faster. An encoding always says that
        it moves faster: 0.03 rad of noise between two frames, 0.05 s apart, look like 0.6 rad/s. If
        it does move faster, the next observations say so again, and the belief follows after a few.
        Compiled code computes this on a CPU, without a gradient.

        Args:
            z: encodings of the observations, ``[B, n]``.
            expected: the model's prediction, ``[B, n]``; where it is not finite, z is not changed.

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
