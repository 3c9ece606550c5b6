"""What objectives share: their options, the windows that they see, and open-loop roll-outs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from e2c.models.draws import Draws
from e2c.models.gaussians import DiagonalGaussian, FactoredGaussian, kl_to_diagonal
from e2c.models.transitions import Transition
from e2c.options import option


@dataclass(frozen=True)
class ObjectiveConfig:
    """What every method's loss has; a method with more knobs has a subclass of its own."""

    horizon: int = option(8, 1, 1000)
    """Steps of the open-loop roll-outs trained on; 1 is the published loss."""
    targets: int = option(3, 1, 1000)
    """Times of each roll-out at which the prediction is compared, one drawn in each equal part."""
    latent_weight: float = option(50.0, 1e-6)
    """lambda, the weight of the latent KL, at the end of its ramp."""
    latent_weight_start: float = option(1.0, 1e-6)
    """lambda at the start: small while the latent space unfolds."""
    ramp: float = option(0.5, 0, 1)
    """Share of the first phase over which lambda grows, geometrically."""
    start_noise: float = option(1.0, 0, 1)
    """Noise on the states that roll-outs begin at, as a share of the encoder's standard deviation;
    with 1 they begin at samples, as published. In the first phase it helps to unfold."""
    start_noise_own: float = option(0.0, 0, 1)
    """The same after own rounds. Noise makes learned dynamics less steep than the true ones."""


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


def sample_path(
    transition: Transition,
    q: DiagonalGaussian,
    u: Tensor,
    times: Tensor,
    draws: Draws,
    start_noise: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Sample a latent path and carry the belief along it, open loop.

    Args:
        transition: the latent dynamics.
        q: the encodings at the S ``times``, ``[B, S, n]``; the first is where the path begins.
        u: ``[B, T, m]``, the controls.
        times: ``[S] int64``: 0 first, ascending, at most T.
        draws: draws ``z_t``.
        start_noise: the states after it follow from ``mu_t + start_noise (z_t - mu_t)``.

    Returns:
        The path at ``times``, ``[B, S, n]``, whose first state is ``z_t``, and the latent KL at
        all but the first, ``[B, S - 1]``.
    """
    z, belief = q[:, 0].sample(draws), FactoredGaussian.from_diagonal(q[:, 0])
    path, beliefs = transition.carry(torch.lerp(q[:, 0].mean, z, start_noise), belief, u)
    path, beliefs = path.index_select(1, times), beliefs.index_select(1, times[1:])
    if start_noise < 1:
        path = torch.cat((z[:, None], path[:, 1:]), 1)
    return path, kl_to_diagonal(beliefs, q[:, 1:])
