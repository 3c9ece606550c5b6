"""Latent variable models whose ``p(x)`` and ``p(z|x)`` are known: a mixture, and a linear one.

They are the oracles of variational inference: what a bound misses can be told exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from e2c.models.gaussians import DiagonalGaussian, kl_to_standard_normal


@dataclass(frozen=True, eq=False)
class Mixture:
    """``p(z = k) = share_k`` and ``p(x|z = k) = N(x; mean_k, diag sigma_k^2)``.

    Attributes:
        log_shares: ``log p(z)``, ``[K]``.
        components: over ``[K, d]``.
    """

    log_shares: Tensor
    components: DiagonalGaussian

    def log_joint(self, x: Tensor) -> Tensor:
        """``log p(x, z = k)`` of ``x [..., d]`` for every k, ``[..., K]`` in nats."""
        return self.log_shares + self.components.log_density(x.unsqueeze(-2))

    def log_density(self, x: Tensor) -> Tensor:
        """``log p(x)``, ``[...]`` in nats."""
        return self.log_joint(x).logsumexp(-1)

    def log_posterior(self, x: Tensor) -> Tensor:
        """``log p(z|x)``, ``[..., K]``."""
        return self.log_joint(x).log_softmax(-1)

    def elbo(self, x: Tensor, log_q: Tensor) -> Tensor:
        """``E_q[log p(x, z) - log q(z)]``, ``[...]`` in nats, of ``log_q [..., K]``."""
        return (log_q.exp() * (self.log_joint(x) - log_q)).sum(-1)

    def improved(self, x: Tensor) -> Mixture:
        """Return the mixture after one step of expectation maximisation on ``x [N, d]``.

        The posterior is taken as q, which makes the bound exact; then the mean ELBO over the data
        is maximised by the parameters (Neal & Hinton 1998). So ``log p(x)`` never falls.
        """
        q = self.log_posterior(x).exp()
        counts = q.sum(0)
        mean = (q.mT @ x) / counts[:, None]
        spread = (q.mT @ x.square()) / counts[:, None] - mean.square()
        components = DiagonalGaussian(mean, spread.clamp_min(1e-6).log())
        return Mixture((counts / len(x)).log(), components)


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """``p(z) = N(0, I)`` and ``p(x|z) = N(x; W z + b, sigma^2 I)``: probabilistic PCA.

    Source: Tipping & Bishop 1999.

    Attributes:
        W: ``[d, n]``.
        b: ``[d]``.
        log_variance: ``log sigma^2``, a scalar.
    """

    W: Tensor
    b: Tensor
    log_variance: Tensor

    @classmethod
    def fit(cls, x: Tensor, n: int) -> LinearGaussian:
        """Return the model of greatest likelihood of ``x [N, d]``, N > d > n; their eq. 3.7, 3.8.

        ``W = U (L - sigma^2 I)^(1/2)`` with the n greatest eigenvalues L of the data's covariance
        and their vectors U; ``sigma^2`` is the mean of the other eigenvalues.
        """
        b = x.mean(0)
        values, vectors = torch.linalg.eigh((x - b).mT @ (x - b) / len(x))
        variance = values[:-n].mean()
        W = vectors[:, -n:] * (values[-n:] - variance).sqrt()
        return cls(W, b, variance.log())

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """``log p(x, z)`` of ``x [..., d]`` and ``z [..., n]``, ``[...]`` in nats."""
        prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
        mean = z @ self.W.mT + self.b
        likelihood = DiagonalGaussian(mean, self.log_variance.expand_as(mean))
        return prior.log_density(z) + likelihood.log_density(x)

    def log_density(self, x: Tensor) -> Tensor:
        """``log p(x) = log N(x; b, W W^T + sigma^2 I)``, ``[...]`` in nats."""
        variance = self.log_variance.exp() * torch.eye(len(self.b)).to(self.W)
        p = torch.distributions.MultivariateNormal(self.b, self.W @ self.W.mT + variance)
        return p.log_prob(x)

    def posterior(self, x: Tensor) -> torch.distributions.MultivariateNormal:
        """``p(z|x)`` of ``x [..., d]``, over ``[..., n]``.

        Its precision ``I + W^T W / sigma^2`` does not depend on x.
        """
        precision = torch.eye(self.W.shape[1]).to(self.W) + self._weighted.mT @ self.W
        mean = torch.linalg.solve(precision, ((x - self.b) @ self._weighted)[..., None])[..., 0]
        return torch.distributions.MultivariateNormal(mean, precision_matrix=precision)

    def elbo(self, x: Tensor, q: DiagonalGaussian) -> Tensor:
        """``E_q[log p(x|z)] - KL(q || N(0, I))`` of ``x [..., d]``, ``[...]`` in nats, exactly."""
        distance = (x - q.mean @ self.W.mT - self.b).square().sum(-1)
        spread = q.variance @ self.W.square().sum(0)
        d = len(self.b)
        constant = d * (self.log_variance + math.log(2 * math.pi))
        expected = -0.5 * (constant + (distance + spread) * torch.exp(-self.log_variance))
        return expected - kl_to_standard_normal(q)

    @property
    def _weighted(self) -> Tensor:
        """``W / sigma^2``, ``[d, n]``."""
        return self.W * torch.exp(-self.log_variance)
