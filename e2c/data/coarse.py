"""From coarse to fine: training first sees blurred observations, then ever sharper ones.

Two images of a small moving thing share no pixel. The loss then does not say which images are near
one another, and the latent space comes out folded: distant states lie on top of one another.
Blurred images of near states overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHARP = 0.3
"""A blur of fewer pixels than this is none."""
NEGLIGIBLE = 1e-15
"""Weights of the blur below this, relative to a pixel's own, count as none. Products of smaller
ones are denormal, and with these a processor multiplies ten to thirty times slower."""


@dataclass(frozen=True, eq=False)
class Lens:
    """Blurs what differs from the mean frame, and raises its contrast to what it was.

    Attributes:
        mean: the mean observation, ``[C, H, W]`` in [0, 1].
        sigma: standard deviation of the Gaussian blur [px]; below `SHARP` nothing is changed.
    """

    mean: Tensor
    sigma: float | Tensor

    @property
    def is_sharp(self) -> bool:
        """Whether it changes nothing."""
        return bool(self.sigma < SHARP)

    def __call__(self, x: Tensor) -> Tensor:
        """Return observations ``x [..., C, H, W]`` in [0, 1] as they are seen through the lens."""
        return x if self.is_sharp else self.blur(x)

    def blur(self, x: Tensor) -> Tensor:
        """Blur ``x [..., C, H, W]`` in [0, 1], however little; the result is in [0, 1] too."""
        H, W = self.mean.shape[-2:]
        moving = x - self.mean
        blurred = self._kernel(H) @ moving @ self._kernel(W)
        gain = _largest(moving) / _largest(blurred).clamp(min=1e-6)
        return blurred.mul_(gain).add_(self.mean).clamp_(0, 1)

    def _kernel(self, size: int) -> Tensor:
        """Return the matrix ``[size, size]`` that blurs along one side."""
        pixels = torch.arange(size, device=self.mean.device, dtype=self.mean.dtype)
        weights = torch.exp(-0.5 * ((pixels[:, None] - pixels) / self.sigma).square())
        return weights * (weights > NEGLIGIBLE)


def _largest(x: Tensor) -> Tensor:
    """Return the largest magnitude, without a copy of ``x``."""
    low, high = x.aminmax()
    return torch.maximum(-low, high)


def falling_blur(start: float, until: float, progress: float) -> float:
    """Return the standard deviation of the blur [px] as it falls linearly.

    Args:
        start: at the start [px].
        until: where it reaches 0, as a share of the first phase; 0 for no blur at all.
        progress: where training is, from 0 to 1 through the first phase.
    """
    return start * max(0.0, 1.0 - (progress / until if until else 1.0))
