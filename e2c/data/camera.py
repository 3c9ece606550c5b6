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
    a batch are those of another size. Noise is cut out of one long tape at random places, which is
    cheaper than drawing it. Where silhouettes are learned from, it is them that are changed. On a
    CPU all of this is compiled code.

    Args:
        planes: numbers of an observation, ``C H W``.
        device: where observations are.
    """

    def __init__(self, planes: int, device: torch.device) -> None:
        drawn = torch.randn(_TAPE + planes, generator=torch.Generator().manual_seed(0))
        self._tape = (drawn / 255).to(device)

    def draw(self, B: int, frames: int, generator: torch.Generator) -> Tensor:
        """Draw the faults of B observations of so many frames each: ``[B, R]``, on the CPU."""
        return torch.rand(B, _NUMBERS + frames, generator=generator)

    def __call__(self, x: Tensor, faults: Tensor) -> Tensor:
        """Return observations ``x [B, C, H, W]`` in [0, 1] as the faulty camera shows them.

        Args:
            x: clean observations.
            faults: drawn for them, ``[B, R]``, on their device.
        """
        planes, begin = self._planes(faults, *x.shape[1:]), self._begin(faults)
        near = int(SHARE * len(x))
        if x.device.type != "cpu":
            return self._shown(x, planes, begin, near)
        from e2c.data import camera_kernels  # and with it numba, only where it is needed

        out = torch.empty_like(x)
        given = (x.contiguous().numpy(), planes.numpy(), self._tape.numpy(), begin.numpy())
        camera_kernels.show(*given, near, out.numpy())
        return out

    def _planes(self, faults: Tensor, C: int, H: int, W: int) -> Tensor:
        """Return what happens to each plane, ``[B, C, R]``; see `e2c.data.camera_kernels.Plane`."""
        frames = faults.shape[1] - _NUMBERS
        age = torch.arange(frames, device=faults.device).repeat_interleave(C // frames)
        kept = (faults[:, _NUMBERS:] >= BLACK).to(faults).repeat_interleave(C // frames, 1)
        numbers = faults[:, :_NUMBERS, None].expand(-1, -1, C).unbind(1)
        noise, _, brightness, contrast, row, column, grey, down, across, size = numbers
        light, gain = (
            largest * torch.where(u < SHARE, 2 * u / SHARE - 1, 0)
            for largest, u in ((BRIGHTNESS / 255, brightness), (CONTRAST, contrast))
        )
        level = NOISE * torch.where(noise < SHARE, noise / SHARE, 0)
        rows, columns = (
            side * (at + SPEED * (2 * u - 1) * age)
            for side, at, u in ((H, row, down), (W, column, across))
        )
        half = [torch.full_like(rows, PATCH / 2 * side) for side in (H, W)]
        larger = 1 + SIZE * (2 * size - 1)
        faded = (kept * (1 + gain), kept * light, kept * level)
        return torch.stack((larger, rows, columns, *half, grey, *faded), -1)

    def _begin(self, faults: Tensor) -> Tensor:
        """Return where the noise of each observation begins on the tape, ``[B]``."""
        tape = faults[:, 1]
        return (tape * _TAPE).long()

    def _shown(self, x: Tensor, planes: Tensor, begin: Tensor, near: int) -> Tensor:
        """Return what `e2c.data.camera_kernels.show` writes."""
        numbers = planes[..., None, None].unbind(2)
        size, row, column, half, across, grey, gain, light, level = numbers
        hidden = _near(row, half, x.shape[-2]).mT * _near(column, across, x.shape[-1])
        grain = self._tape.unfold(0, x[0].numel(), 1)[begin].view(x.shape)
        x = torch.cat((_resized(x[:near], size[:near, :1]), x[near:]))
        shown = torch.lerp(x, grey, hidden).mul_(gain).add_(light)
        return shown.addcmul_(grain, level).clamp_(0, 1)


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


def _near(middle: Tensor, half: Tensor, side: int) -> Tensor:
    """Return 1 for the pixels of a side that a patch about ``middle [B, C, 1, 1]`` hides.

    The result is ``[B, C, 1, side]``.
    """
    pixels = torch.arange(side, device=middle.device, dtype=middle.dtype)
    return ((pixels - middle).abs() < half).to(middle)
