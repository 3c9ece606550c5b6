"""Silhouettes: what stands out from a still background, drawn white on black."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e2c.data.looks import Looks


class Silhouette(nn.Module):
    """Turns frames of any background into frames like those that the default was made for.

    A pixel becomes as bright as it differs from the background, and white from the median
    difference of the pixels that stand out. Larger differences count no more. On such frames the
    Bernoulli likelihood counts what moves, however faint it was, and the encoder's inputs are 0
    where there is nothing to see.

    Attributes:
        background: uint8 ``[C, H, W]``.
        away: float32 ``[C, H, W]``, how much brighter than the background each pixel is when it
            stands out [grey levels].
        contrast: the difference in grey levels that becomes white, a scalar.

    Args:
        planes: ``(C, H, W)`` of an observation.
    """

    background: Tensor
    away: Tensor
    contrast: Tensor

    def __init__(self, planes: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("background", torch.zeros(*planes, dtype=torch.uint8))
        self.register_buffer("away", torch.zeros(*planes))
        self.register_buffer("contrast", torch.tensor(255.0))

    def take(self, looks: Looks) -> None:
        """Set all buffers from what was found in frames."""
        frames = len(self.background) // len(looks.background)
        for name in ("background", "away"):
            found = torch.from_numpy(getattr(looks, name)).repeat(frames, 1, 1)
            getattr(self, name).copy_(found)
        self.contrast.fill_(max(255 * looks.contrast, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return uint8 ``x [..., C, H, W]``, or the planes of one frame, as silhouettes."""
        background = self.background[: x.shape[-3]]
        away = torch.maximum(x, background) - torch.minimum(x, background)
        return (away * (255 / self.contrast)).clamp_(max=255).round_().to(torch.uint8)

    def inverse(self, y: Tensor) -> Tensor:
        """Return the frames of uint8 silhouettes ``y [..., C, H, W]``, as uint8."""
        return (self.background + y / 255 * self.away).clamp_(0, 255).round_().to(torch.uint8)
