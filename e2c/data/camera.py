"""A faulty camera, through which a model learns to see; see `e2c.learning.sight`."""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 0.35
"""Share of the observations whose brightness is changed; of those whose contrast is; of those that
have noise; of those that are nearer or further away. All have a patch: it takes longest to learn
what a patch hides."""
NOISE = 30.0
"""The largest standard deviation of the noise [grey levels of 255]."""
BRIGHTNESS, CONTRAST = 25.0, 0.25
"""The largest change of brightness [grey levels of 255], and of contrast, a share; either way."""
SIZE = 0.12
"""The largest change of the size at which things are seen, a share; either way."""
PATCH = 0.25
"""Side of the patch that hides what is behind it, as a share of a frame's height and width."""
SPEED = 0.04
"""How far that patch moves from frame to frame at most, down and across, as a share of a side."""
BLACK = 0.05
"""Share of the frames that are black."""

_NUMBERS = 10
"""Random numbers of an observation, and one more for each of its frames."""
_TAPE = 2**20
"""Numbers on the tape of noise."""


class FaultyCamera:
    """Comes nearer, changes brightness and contrast, hides a patch, adds noise, and loses frames.

    All frames of an observation share their size, their brightness, their contrast and a patch,
    which moves; noise is drawn for each pixel, and a frame is lost alone. The first observations of
    a batch are those of another size. Noise is cut out of one long tape at
    random places, which is cheaper than drawing it. Where silhouettes are learned from, it is them
    that are changed.

    Args:
        planes: numbers of an observation, ``C H W``.
        device: where observations are.
    """

    def __init__(self, planes: int, device: torch.device) -> None:
        drawn = torch.randn(_TAPE + planes, generator=torch.Generator().manual_seed(0))
        self._tape = (drawn / 255).to(device).unfold(0, planes, 1)

    def draw(self, B: int, frames: int, generator: torch.Generator) -> Tensor:
        """Draw the faults of B observations of so many frames each: ``[B, R]``, on the CPU."""
        return torch.rand(B, _NUMBERS + frames, generator=generator)

    def __call__(self, x: Tensor, faults: Tensor) -> Tensor:
        """Return observations ``x [B, C, H, W]`` in [0, 1] as the faulty camera shows them.

        Args:
            x: clean observations.
            faults: drawn for them, ``[B, R]``, on their device.
        """
        _, C, H, W = x.shape
        frames = faults.shape[1] - _NUMBERS
        black = faults[:, _NUMBERS:] < BLACK
        kept = (~black).repeat_interleave(C // frames, 1)[..., None, None]
        numbers = faults[:, :_NUMBERS, None, None, None].unbind(1)
        noise, tape, brightness, contrast, row, column, grey, down, across, size = numbers
        light, gain = (
            largest * torch.where(u < SHARE, 2 * u / SHARE - 1, 0)
            for largest, u in ((BRIGHTNESS / 255, brightness), (CONTRAST, contrast))
        )
        level = NOISE * torch.where(noise < SHARE, noise / SHARE, 0)
        age = torch.arange(frames, device=x.device).repeat_interleave(C // frames)[:, None, None]
        rows, columns = (
            at + SPEED * (2 * u - 1) * age for at, u in ((row, down), (column, across))
        )
        hidden = _near(rows, H).mT * _near(columns, W)
        grain = self._tape[(tape.flatten() * len(self._tape)).long()].view(x.shape)
        near = int(SHARE * len(x))
        x = torch.cat((_resized(x[:near], 1 + SIZE * (2 * size[:near] - 1)), x[near:]))
        shown = torch.lerp(x, grey, hidden).mul_(kept * (1 + gain)).add_(kept * light)
        return shown.addcmul_(grain, kept * level).clamp_(0, 1)


def _resized(x: Tensor, size: Tensor) -> Tensor:
    """Return images ``x [B, C, H, W]`` larger by factors ``size [B, 1, 1, 1]`` about their middle.

    Pixels are interpolated linearly, first down and then across; beyond an edge is what is there.
    """
    down, across = (_interpolation(side, size[:, :, 0]).unsqueeze(1) for side in x.shape[-2:])
    return down @ x @ across.mT


def _interpolation(side: int, size: Tensor) -> Tensor:
    """Return the weights ``[B, side, side]`` of old pixels in new ones, for ``size [B, 1, 1]``."""
    pixels = torch.arange(side, device=size.device, dtype=size.dtype)
    middle = (side - 1) / 2
    place = (middle + (pixels[:, None] - middle) / size).clamp(0, side - 1)
    return (1 - (place - pixels).abs()).clamp(min=0)


def _near(place: Tensor, size: int) -> Tensor:
    """Return 1 for the pixels of a side that a patch at ``place [B, C, 1, 1]`` hides.

    The result is ``[B, C, 1, size]``.
    """
    pixels = torch.arange(size, device=place.device, dtype=place.dtype)
    return ((pixels - place * size).abs() < PATCH / 2 * size).to(place)
