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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from e2c.gaussians import (
    FactoredGaussian,
    kl_to_diagonal,
    kl_to_standard_normal,
)

if TYPE_CHECKING:
    from e2c.model import E2C


@dataclass(frozen=True)
class LossTerms:
    """Batch means in nats per observation, each a scalar tensor."""

    reconstruction: Tensor
    """``-log p(x_t | z_t)``."""
    prediction: Tensor
    """``-log p(x_{t+k} | zhat_{t+k})``."""
    prior_kl: Tensor
    """``KL(q(z_t | x_t) || N(0, I))``."""
    latent_kl: Tensor
    """``KL(prediction of z_{t+k} || q(z_{t+k} | x_{t+k}))``."""

    def total(self, latent_weight: float) -> Tensor:
        """The loss with ``lambda = latent_weight``."""
        return (
            self.reconstruction + self.prediction + self.prior_kl + latent_weight * self.latent_kl
        )


def draw_times(horizon: int, targets: int, generator: torch.Generator) -> list[int]:
    """Draw the times to compare at: 0, and one in each of ``targets`` parts of 1 .. horizon."""
    edges = [round(i * horizon / targets) for i in range(targets + 1)]
    parts = itertools.pairwise(edges)
    return [0] + [int(torch.randint(a, b, (1,), generator=generator)) + 1 for a, b in parts]


def e2c_terms(
    model: E2C, x: Tensor, u: Tensor, times: Sequence[int], generator: torch.Generator
) -> LossTerms:
    """Evaluate the objective on a batch of windows.

    Args:
        model: the model.
        x: ``[B, S, C, H, W]`` in [0, 1], the observations at ``times``.
        u: ``[B, T, m]``, the controls.
        times: the S times, 0 first, ascending, at most T.
        generator: draws ``z_t`` and the lattice of pixels; on the device of ``x``.
    """
    q = model.encoder(x)
    z = q[:, 0].sample(generator)
    belief = FactoredGaussian.from_diagonal(q[:, 0])
    path, latent_kl = [z], []
    for t in range(times[-1]):
        local = model.transition(z)
        belief = belief.propagate(local.A, local.offset(u[:, t]), local.log_det_A)
        z = local.step(z, u[:, t])
        if t + 1 in times:
            latent_kl.append(kl_to_diagonal(belief, q[:, len(path)]))
            path.append(z)
    nll = _negative_log_likelihood(model, torch.stack(path, 1), x, generator)
    return LossTerms(
        reconstruction=nll[:, 0].mean(),
        prediction=nll[:, 1:].mean(),
        prior_kl=kl_to_standard_normal(q[:, 0]).mean(),
        latent_kl=torch.stack(latent_kl).mean(),
    )


def _negative_log_likelihood(
    model: E2C, z: Tensor, x: Tensor, generator: torch.Generator
) -> Tensor:
    """``-log p(x|z)`` ``[B, S]`` in nats, estimated without bias from one lattice of pixels."""
    count = model.decoder.lattices**2
    lattice = int(torch.randint(count, (1,), generator=generator, device=generator.device))
    logits = model.decoder.draw_lattice(z, lattice)
    pixels = model.decoder.take_lattice(x, lattice)
    return count * binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(-1)
