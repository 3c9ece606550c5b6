"""What objectives share: their options, the windows that they see, and open-loop roll-outs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

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


class Batch(NamedTuple):
    """Windows of recorded roll-outs, as an objective sees them."""

    x: Tensor
    """``[B, S, C, H, W]`` in [0, 1]: the observations at ``times``."""
    u: Tensor
    """``[B, T, m]``: the controls."""
    times: Sequence[int]
    """The S times: 0 first, ascending, at most T."""


def draw_times(horizon: int, targets: int, generator: torch.Generator) -> list[int]:
    """Draw the times to compare at: 0, and one in each of ``targets`` parts of 1 .. horizon."""
    edges = [round(i * horizon / targets) for i in range(targets + 1)]
    parts = itertools.pairwise(edges)
    return [0] + [int(torch.randint(a, b, (1,), generator=generator)) + 1 for a, b in parts]


def sample_path(
    transition: Transition,
    q: DiagonalGaussian,
    u: Tensor,
    times: Sequence[int],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Sample a latent path and carry the belief along it, open loop.

    Args:
        transition: the latent dynamics.
        q: the encodings at the S ``times``, ``[B, S, n]``; the first is where the path begins.
        u: ``[B, T, m]``, the controls.
        times: 0 first, ascending, at most T.
        generator: draws ``z_t``.

    Returns:
        The path at ``times``, ``[B, S, n]``, and the latent KL at all but the first,
        ``[S - 1, B]``.
    """
    z = q[:, 0].sample(generator)
    belief = FactoredGaussian.from_diagonal(q[:, 0])
    path, latent_kl = [z], []
    for t in range(times[-1]):
        local = transition(z, u[:, t])
        belief = belief.propagate(local.A, local.offset(u[:, t]), local.log_det_A)
        z = local.step(z, u[:, t])
        if t + 1 in times:
            latent_kl.append(kl_to_diagonal(belief, q[:, len(path)]))
            path.append(z)
    return torch.stack(path, 1), torch.stack(latent_kl)
