"""Random controls that are smooth in time, and their scale.

White noise hardly moves a system that integrates its controls. So noise is drawn at a few points in
time, the *knots*, and is linear in between. It is drawn on the CPU in float64, so it is the same
for every device and dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_noise(
    count: int, T: int, m: int, knots: int, generator: torch.Generator | None
) -> Tensor:
    """Draw noise ``[count, T, m]``, standard normal at each of the ``knots``.

    The first of the ``count`` draws is zero.
    """
    drawn = torch.randn((count, m, knots), generator=generator, dtype=torch.float64)
    drawn[0] = 0
    return _between(drawn, T).mT


def deviation(T: int, knots: int) -> Tensor:
    """Return the standard deviation of `smooth_noise` at each time, ``[T] float64``.

    Draws at knots are independent, so at a fraction f of the way between two of them it is
    ``sqrt((1 - f)^2 + f^2)``.
    """
    shares = _between(torch.eye(knots, dtype=torch.float64)[:, None], T)[:, 0]
    return shares.square().sum(0).sqrt()


def _between(drawn: Tensor, T: int) -> Tensor:
    """Interpolate draws at knots ``[..., m, knots]`` linearly to ``T`` points in time."""
    return torch.nn.functional.interpolate(drawn, T, mode="linear", align_corners=True)


def noise_scale(low: Tensor, high: Tensor, share: float) -> Tensor:
    """Return ``share`` of half the range of each control, ``[m] float64``; without limits, of 1."""
    half = (_exact(high) - _exact(low)) / 2
    return share * torch.where(half.isfinite(), half, 1.0)


def rest(low: Tensor, high: Tensor) -> Tensor:
    """Return the control nearest to zero within the limits, ``[m] float64``."""
    return within(torch.zeros(low.shape, dtype=torch.float64), low, high)


def within(U: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Clamp controls that were drawn, ``[..., m] float64``, to the limits ``[m]``."""
    return U.clamp(_exact(low), _exact(high))


def _exact(limit: Tensor) -> Tensor:
    """Return a limit on the CPU in float64, like the noise."""
    return limit.to("cpu", torch.float64)
