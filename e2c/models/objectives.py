"""What objectives share: their options, and the windows that they see."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from e2c.models.draws import Draws
from e2c.options import option


@dataclass(frozen=True)
class ObjectiveConfig:
    """The options of every method's loss; a method with more options has a subclass of its own."""

    horizon: int = option(8, 1, 1000)
    """Steps of the open-loop roll-outs trained on; 1 is the published loss."""
    targets: int = option(1, 1, 1000)
    """Times of each roll-out at which the prediction is compared, one drawn in each equal part."""
    latent_weight: float = option(50.0, 1e-6)
    """lambda, the weight of the latent KL, at the end of its ramp."""
    latent_weight_start: float = option(1.0, 1e-6)
    """lambda at the start: small while the latent space unfolds."""
    ramp: float = option(0.5, 0, 1)
    """Share of the first phase over which lambda grows, geometrically."""


class Batch(NamedTuple):
    """Windows of recorded roll-outs, as an objective sees them."""

    x: Tensor
    """``[B, S, C, H, W]`` in [0, 1]: the observations at ``times``."""
    u: Tensor
    """``[B, T, m]``: the controls, to the last of ``times`` or beyond."""
    times: Tensor
    """``[S] int64``, on the device: 0 first, ascending, at most T."""


def draw_times(horizon: int, targets: int, draws: Draws) -> list[int]:
    """Choose the times to compare at: 0, and one in each of ``targets`` parts of 1 .. horizon."""
    edges = [round(i * horizon / targets) for i in range(targets + 1)]
    parts = itertools.pairwise(edges)
    return [0] + [a + 1 + draws.choice(b - a) for a, b in parts]
