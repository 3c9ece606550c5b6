"""A faulty camera: what the encoder learns to see through; see `LatentModel.camera_kl`."""

from __future__ import annotations

import torch
from torch import Tensor

NOISE = 30.0
"""The largest standard deviation of the noise [grey levels of 255]."""
BRIGHTNESS, CONTRAST = 25.0, 0.25
"""The largest change of brightness [grey levels of 255], and of contrast, a share; either way."""
PATCH = 0.25
"""Side of the patch that hides what is behind it, as a share of a frame's height and width."""
BLACK = 0.1
"""Share of the frames that are black, of those that can be faulty."""

_NUMBERS = 8
"""Random numbers of an observation, and one more for each of its frames."""
_TAPE = 2**20
"""Numbers on the tape of noise."""


class FaultyCamera:
    """Changes brightness and contrast, hides a patch, adds noise, and loses frames.

    All frames of an observation share their brightness, contrast and patch; noise is drawn for
    each pixel, and a frame is lost alone. Noise is cut out of one long tape at random places, which
    is cheaper than drawing it. Where silhouettes are learned from, it is them that are changed.

    Args:
        share: of the observations that have each of these faults; 0 for a camera without any.
        device: where observations are.
    """

    def __init__(self, share: float, device: torch.device) -> None:
        self.share = share
        drawn = torch.randn(_TAPE, generator=torch.Generator().manual_seed(0)) if share else None
        self._tape = None if drawn is None else (drawn / 255).to(device)

    def draw(self, count: int, frames: int, generator: torch.Generator) -> Tensor:
        """Draw ``[count, J]``, all random numbers of observations of so many frames."""
        numbers = _NUMBERS + frames if self.share else 0
        return torch.rand(count, numbers, generator=generator)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor | None:
        """Return observations ``x [..., C, H, W]`` in [0, 1] as the faulty camera shows them.

        Args:
            x: clean observations.
            drawn: ``[..., J]``, as `draw` returns it.

        Returns:
            The same shape; None where the camera has no faults.
        """
        if self._tape is None:
            return None
        C, H, W = x.shape[-3:]
        numbers = drawn[..., None, None, None]
        noise, tape, brightness, contrast, patch, row, column, grey = numbers.unbind(-4)[:_NUMBERS]
        lost = drawn[..., _NUMBERS:] < self.share * BLACK
        kept = (~lost).repeat_interleave(C // lost.shape[-1], -1)[..., None, None]
        light, gain = (
            largest * torch.where(u < self.share, 2 * u / self.share - 1, 0)
            for largest, u in ((BRIGHTNESS / 255, brightness), (CONTRAST, contrast))
        )
        level = NOISE * torch.where(noise < self.share, noise / self.share, 0)
        hidden = (patch < self.share) * _near(row, H, -2) * _near(column, W, -1)
        rows = self._tape.unfold(0, C * H * W, 1)
        grain = rows.index_select(0, (tape.flatten() * len(rows)).long()).view(x.shape)
        shown = torch.lerp(x, grey, hidden).mul_(kept * (1 + gain)).add_(kept * light)
        return shown.addcmul_(grain, kept * level).clamp_(0, 1)


def _near(place: Tensor, size: int, dim: int) -> Tensor:
    """Return 1 for the pixels along a side that are within half a patch of ``place`` in [0, 1]."""
    pixels = torch.arange(size, device=place.device, dtype=place.dtype)
    pixels = pixels.unsqueeze(-1) if dim == -2 else pixels
    return ((pixels - place * size).abs() < PATCH / 2 * size).to(place)
