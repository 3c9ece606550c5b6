"""All Gaussian mathematics of the package.

Two forms of Gaussian over a latent state of dimension ``n`` appear in Embed to Control:

* `DiagonalGaussian`, the encoder's output for an observation: ``q(z|x) = N(mu, diag sigma^2)``;
* `FactoredGaussian`, the prediction from it after k locally linear steps: ``N(m, L L^T)`` with
  ``L = A_k ... A_1 diag(sigma)``. This is the paper's ``A Sigma A^T`` over any number of steps. The
  factor L is carried along, so no covariance has to be factorised.

Log variances are natural logarithms of variances (never of standard deviations).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from e2c.models.draws import Draws

LOG_VARIANCE_RANGE = (-12.0, 4.0)
"""Networks' log variances are clamped to this range; those of a healthy model are far inside."""


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """``N(mean, diag exp(log_variance))`` over the last dimension.

    Attributes:
        mean: ``[..., n]``.
        log_variance: ``[..., n]``, ``log sigma^2``.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def variance(self) -> Tensor:
        """``sigma^2``, shape ``[..., n]``."""
        return self.log_variance.exp()

    @property
    def std(self) -> Tensor:
        """``sigma``, shape ``[..., n]``."""
        return (0.5 * self.log_variance).exp()

    def sample(self, draws: Draws) -> Tensor:
        """Draw ``mean + std * eps`` with ``eps ~ N(0, I)`` (reparameterised), ``[..., n]``."""
        return self.mean + self.std * draws.normal(self.mean)

    def log_density(self, z: Tensor) -> Tensor:
        """``log N(z; mean, diag sigma^2)`` in nats, ``[...]``, for ``z [..., n]``."""
        distance = (z - self.mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (distance + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """``-E[log N(z)]`` in nats, ``[...]``; negative for a narrow Gaussian."""
        return 0.5 * (self.log_variance + math.log(2 * math.pi * math.e)).sum(-1)

    def __getitem__(self, index: object) -> DiagonalGaussian:
        """Index the leading dimensions of both parameters."""
        return DiagonalGaussian(self.mean[index], self.log_variance[index])  # type: ignore[index]


@dataclass(frozen=True, eq=False)
class FactoredGaussian:
    """``N(mean, L L^T)`` with an invertible factor ``L`` whose log-determinant is known.

    Attributes:
        mean: ``[..., n]``.
        factor: ``L``, ``[..., n, n]``.
        log_det: ``log |det L|``, ``[...]``.
    """

    mean: Tensor
    factor: Tensor
    log_det: Tensor

    @staticmethod
    def from_diagonal(q: DiagonalGaussian) -> FactoredGaussian:
        """Write a diagonal Gaussian with ``L = diag(sigma)``."""
        return FactoredGaussian(q.mean, torch.diag_embed(q.std), 0.5 * q.log_variance.sum(-1))

    @property
    def covariance(self) -> Tensor:
        """``L L^T``, shape ``[..., n, n]``."""
        return self.factor @ self.factor.mT

    def index_select(self, dim: int, index: Tensor) -> FactoredGaussian:
        """Select ``index [S] int64`` along a leading dimension, counted from the front."""
        parts = (self.mean, self.factor, self.log_det)
        return FactoredGaussian(*(part.index_select(dim, index) for part in parts))


def kl_to_standard_normal(q: DiagonalGaussian) -> Tensor:
    """``KL(q || N(0, I))``, the prior term of the ELBO (Watter et al. 2015, section 2.4).

    Returns:
        ``[...]`` in nats, non-negative.
    """
    return 0.5 * (q.variance + q.mean.square() - 1.0 - q.log_variance).sum(-1)


def kl_to_diagonal(p: FactoredGaussian, q: DiagonalGaussian) -> Tensor:
    """``KL(p || q)`` of a propagated belief to an encoding: the latent KL of E2C.

    The exact form ``1/2 (tr(Sigma_q^-1 L L^T) + (mu_q - m)^T Sigma_q^-1 (mu_q - m) - n
    + log det Sigma_q - 2 log |det L|)``. The closed form printed in the supplement of Watter et
    al. 2015 has a misprint in its log-determinant and can go negative; this one cannot.

    Args:
        p: the prediction, ``[..., n]``.
        q: the encoding, ``[..., n]``.

    Returns:
        ``[...]`` in nats, non-negative.
    """
    precision = torch.exp(-q.log_variance)
    trace = (p.factor.square().sum(-1) * precision).sum(-1)
    mahalanobis = ((q.mean - p.mean).square() * precision).sum(-1)
    n = q.mean.shape[-1]
    return 0.5 * (trace + mahalanobis - n + q.log_variance.sum(-1)) - p.log_det
