"""A conditional VAE, ``p(y|x) = int p(y|x, z) p(z) dz``: one x, several kinds of y.

Source: Sohn, Lee & Yan 2015 (conditional VAE), with a decoder ``p(y|x, z) = N(y; f(x, z), s^2)``
whose variance is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from e2c.models.draws import Draws, Generators, seeded
from e2c.models.gaussians import LOG_VARIANCE_RANGE, DiagonalGaussian, kl_to_standard_normal
from e2c.models.layers import mlp


class ConditionalVAE(nn.Module):
    """What y may be, given x.

    With ``latent_dim = 0`` it is Gaussian regression by the same network: it has one mean for every
    x, and its bound is ``log p(y|x)`` itself.

    Where y is of separate kinds, so are the codes of what was learned from, and a part of the prior
    lies between them, where the decoder has learned nothing. So `choose` does not draw z from the
    prior but from the aggregated posterior, the mean of all ``q(z|x, y)`` (Tomczak & Welling 2018;
    Ghosh et al. 2020, section 4, who fit a density to the codes after training).

    Args:
        inputs: dimension of x.
        outputs: dimension of y.
        latent_dim: n, dimension of z.
        hidden: widths of the hidden layers of encoder and decoder.
        seed: of the weights; torch's global generator stays as it was.
    """

    def __init__(
        self, inputs: int, outputs: int, latent_dim: int, hidden: Sequence[int], seed: int
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        with seeded(seed):
            self.encoder = mlp([inputs + outputs, *hidden, max(2 * latent_dim, 1)], "silu")
            self.decoder = mlp([inputs + latent_dim, *hidden, outputs], "silu")
        self.log_variance = nn.Parameter(torch.zeros(outputs))
        none = torch.zeros(1, latent_dim)
        self.codes = DiagonalGaussian(none, none)
        """The ``q(z|x, y)`` of what was learned from, over ``[N, n]``; the prior before that.

        They belong to the data, and are no part of the state dict.
        """

    def posterior(self, x: Tensor, y: Tensor) -> DiagonalGaussian:
        """``q(z|x, y)`` over ``[..., n]`` of ``x [..., inputs]`` and ``y [..., outputs]``."""
        found, n = self.encoder(torch.cat((x, y), -1)), self.latent_dim
        log_variance = found[..., n : 2 * n].clamp(*LOG_VARIANCE_RANGE)
        return DiagonalGaussian(found[..., :n], log_variance)

    def predict(self, x: Tensor, z: Tensor) -> DiagonalGaussian:
        """``p(y|x, z)`` over ``[..., outputs]`` of ``x [..., inputs]`` and ``z [..., n]``."""
        mean: Tensor = self.decoder(torch.cat((x, z), -1))
        return DiagonalGaussian(mean, self.log_variance.clamp(*LOG_VARIANCE_RANGE).expand_as(mean))

    def elbo(self, x: Tensor, y: Tensor, draws: Draws) -> Tensor:
        """``log p(y|x, z) - KL(q(z|x, y) || N(0, I))`` with one z from q, ``[...]`` in nats."""
        q = self.posterior(x, y)
        return self.predict(x, q.sample(draws)).log_density(y) - kl_to_standard_normal(q)

    @torch.no_grad()
    def choose(self, x: Tensor, draws: Draws) -> Tensor:
        """Draw z from the aggregated posterior; return the mean of ``p(y|x, z)``, ``[B, outputs]``.

        Args:
            x: ``[B, inputs]``.
            draws: one normal number for each x says which q, and n more which z of it.
        """
        share = torch.special.ndtr(draws.normal(x[:, 0]))
        rows = (share * len(self.codes.mean)).long().clamp_max(len(self.codes.mean) - 1)
        return self.predict(x, self.codes[rows].sample(draws)).mean

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        steps: int,
        learning_rate: float = 2e-3,
        seed: int = 0,
        batch: int | None = None,
    ) -> list[float]:
        """Climb the mean ELBO of ``x [N, inputs]``, ``y [N, outputs]`` by Adam.

        Args:
            x: what is given.
            y: what there was with each x.
            steps: how many.
            learning_rate: of the first step; it falls to 0 as a half cosine.
            seed: of all draws.
            batch: how many pairs are drawn for a step; None for all N in each.

        Returns:
            The mean ELBO of the pairs of each step, before it, in nats.
        """
        draws, bounds = Generators(seed), list[float]()
        adam = torch.optim.Adam(self.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(steps):
            rows: Any = ...
            if batch is not None:
                rows = torch.randint(len(x), (batch,), generator=draws.batches)
            bound = self.elbo(x[rows], y[rows], draws).mean()
            adam.zero_grad()
            (-bound).backward()
            adam.step()
            schedule.step()
            bounds.append(bound.item())
        with torch.no_grad():
            self.codes = self.posterior(x, y)
        return bounds
