"""The terms of the Embed to Control objective, over open-loop roll-outs of any length.

With one step this is the published loss (Watter et al. 2015, section 2.4)::

    - log p(x_t|z_t) - log p(x_{t+1}|zhat_{t+1}) + KL(q(z_t|x_t) || N(0, I))
    + lambda KL(N(A mu + B u + o, A Sigma A^T) || q(z_{t+1}|x_{t+1}))

With more, the sample and the belief of ``z_t`` are carried on through ``A(zbar)``, ``B(zbar)``,
``o(zbar)`` along the sampled path, without looking at the observations in between, and prediction
and latent KL are averages over the times compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from e2c.models.gaussians import (
    DiagonalGaussian,
    FactoredGaussian,
    kl_to_diagonal,
    kl_to_standard_normal,
)
from e2c.models.networks import Decoder
from e2c.models.transitions import Transition

if TYPE_CHECKING:
    from e2c.models.base import LatentModel


def draw_times(horizon: int, targets: int, generator: torch.Generator) -> list[int]:
    """Draw the times to compare at: 0, and one in each of ``targets`` parts of 1 .. horizon."""
    edges = [round(i * horizon / targets) for i in range(targets + 1)]
    parts = itertools.pairwise(edges)
    return [0] + [int(torch.randint(a, b, (1,), generator=generator)) + 1 for a, b in parts]


class Batch(NamedTuple):
    """Windows of recorded roll-outs, as an objective sees them."""

    x: Tensor
    """``[B, S, C, H, W]`` in [0, 1]: the observations at ``times``."""
    u: Tensor
    """``[B, T, m]``: the controls."""
    times: Sequence[int]
    """The S times: 0 first, ascending, at most T."""


def e2c_terms(model: LatentModel, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """Evaluate the objective's four terms on a batch of windows.

    Returns:
        ``reconstruction``, ``-log p(x_t | z_t)``; ``prediction``, ``-log p(x_{t+k} | zhat_{t+k})``;
        ``prior_kl``, ``KL(q(z_t | x_t) || N(0, I))``; ``latent_kl``,
        ``KL(prediction of z_{t+k} || q(z_{t+k} | x_{t+k}))``.
    """
    x, u, times = batch
    q = model.encoder(x)
    path, latent_kl = roll_out(model.transition, q, u, times, generator)
    nll = negative_log_likelihood(model, path, x, generator)
    return {
        "reconstruction": nll[:, 0].mean(),
        "prediction": nll[:, 1:].mean(),
        "prior_kl": kl_to_standard_normal(q[:, 0]).mean(),
        "latent_kl": latent_kl.mean(),
    }


def roll_out(
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


def negative_log_likelihood(
    model: LatentModel, z: Tensor, x: Tensor, generator: torch.Generator
) -> Tensor:
    """``-log p(x|z)`` ``[B, S]`` in nats, estimated without bias from one lattice of pixels.

    Args:
        model: its decoder draws.
        z: ``[B, S, n]``.
        x: ``[B, S, C, H, W]`` in [0, 1].
        generator: draws the lattice.
    """
    decoder = model.decoder
    assert isinstance(decoder, Decoder)
    count = decoder.lattices**2
    lattice = int(torch.randint(count, (1,), generator=generator, device=generator.device))
    logits = decoder.draw_lattice(z, lattice)
    pixels = decoder.take_lattice(x, lattice)
    return count * binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(-1)
