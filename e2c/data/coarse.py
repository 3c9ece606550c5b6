"""From coarse to fine: training first sees blurred observations, then ever sharper ones.

Where what moves is small, two different observations share no pixel, so nothing tells the embedding
which of them lie near one another, and it comes out folded. Blurred ones overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from e2c.config import OptimiserConfig

SHARP = 0.3
"""A blur of fewer pixels than this is none."""


@dataclass(frozen=True)
class Lens:
    """Blurs what differs from the mean frame, and raises its contrast to what it was.

    Attributes:
        mean: the mean frame, ``[H, W]`` in [0, 1].
        sigma: standard deviation of the Gaussian blur [px]; below `SHARP` nothing is changed.
    """

    mean: Tensor
    sigma: float

    @property
    def is_sharp(self) -> bool:
        """Whether it changes nothing."""
        return self.sigma < SHARP

    def __call__(self, x: Tensor) -> Tensor:
        """Look at observations ``x [..., C, H, W]`` in [0, 1]; what is seen is in [0, 1] too."""
        if self.is_sharp:
            return x
        H, W = self.mean.shape
        moving = x - self.mean
        blurred = self._kernel(H) @ moving @ self._kernel(W)
        gain = _largest(moving) / _largest(blurred).clamp(min=1e-6)
        return blurred.mul_(gain).add_(self.mean).clamp_(0, 1)

    def _kernel(self, size: int) -> Tensor:
        """The blur along one side, ``[size, size]``."""
        pixels = torch.arange(size, device=self.mean.device, dtype=self.mean.dtype)
        return torch.exp(-0.5 * ((pixels[:, None] - pixels) / self.sigma).square())


def _largest(x: Tensor) -> Tensor:
    """The largest magnitude, without a copy of ``x``."""
    low, high = x.aminmax()
    return torch.maximum(-low, high)


def blur(options: OptimiserConfig, progress: float) -> float:
    """Standard deviation of the blur [px], ``progress`` from 0 to 1 through the first phase."""
    share = progress / options.blur_until if options.blur_until else 1.0
    return options.blur * max(0.0, 1.0 - share)
