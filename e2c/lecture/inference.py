"""Variational inference of ``p(z|x)``: bounds of ``log p(x)``, one datapoint's q, and gradients.

A model says ``log p(x, z)``; an approximate posterior ``q(z)`` is a `DiagonalGaussian`. For any q

``log p(x) = E_q[log p(x, z) - log q(z)] + KL(q || p(z|x))``,

so the first term, the evidence lower bound (ELBO), is a bound that is exact where q is the
posterior (Jordan et al. 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from e2c.models.decoders import Decoder
from e2c.models.draws import Draws, Generators
from e2c.models.gaussians import DiagonalGaussian

LogJoint = Callable[[Tensor], Tensor]
"""``log p(x, z)`` in nats, ``[S, ...]``, of latent states ``z [S, ..., n]``; x is known to it."""


def log_joint_of(decoder: Decoder, x: Tensor) -> LogJoint:
    """Return ``log p(x|z) + log N(z; 0, I)`` of observations, by all of their pixels.

    Args:
        decoder: draws them.
        x: ``[..., C, H, W]`` in [0, 1].
    """

    def log_joint(z: Tensor) -> Tensor:
        prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
        y = decoder(z)
        misfit = decoder.likelihood.negative_log(y, x.expand_as(y))
        return prior.log_density(z) - misfit.sum((-3, -2, -1))

    return log_joint


def log_weights(q: DiagonalGaussian, log_joint: LogJoint, draws: Draws, samples: int) -> Tensor:
    """Return ``log p(x, z) - log q(z)`` of draws from q, ``[S, ...]`` in nats.

    The mean over S estimates the ELBO, and its gradient is the reparameterised (pathwise) gradient:
    ``z = mu + sigma eps`` (Kingma & Welling 2014; Rezende et al. 2014).

    Args:
        q: over ``[..., n]``.
        log_joint: of the datapoints that q belongs to.
        draws: draws eps.
        samples: S.
    """
    z = _repeat(q, samples).sample(draws)
    return log_joint(z) - q.log_density(z)


def importance_weighted_bound(weights: Tensor) -> Tensor:
    """``log 1/S sum_s p(x, z_s) / q(z_s)``, a bound of ``log p(x)`` (Burda et al. 2016, eq. 8).

    Args:
        weights: ``[S, ...]``, as `log_weights` returns them.

    Returns:
        ``[...]`` in nats. Its expectation is the ELBO for S = 1, does not fall with S, and
        approaches ``log p(x)``.
    """
    return weights.logsumexp(0) - math.log(len(weights))


def score_function_elbo(
    q: DiagonalGaussian, log_joint: LogJoint, draws: Draws, samples: int, baseline: bool
) -> Tensor:
    """Estimate the ELBO so that its gradient by q is that of the score function, ``[...]``.

    ``grad E_q[f] = E_q[(f - b) grad log q(z)]`` with ``f = log p(x, z) - log q(z)`` (REINFORCE,
    Williams 1992). It needs no derivative of ``log p(x, z)`` by z; parameters of the model itself
    get their ordinary gradient.

    Args:
        q: over ``[..., n]``.
        log_joint: of the datapoints that q belongs to.
        draws: draws z.
        samples: S, at least 2 with a baseline.
        baseline: whether b is the mean of f over the *other* samples, which leaves the gradient
            unbiased (Mnih & Rezende 2016, section 2.2); else b is 0.
    """
    z = _repeat(q, samples).sample(draws).detach()
    log_q, log_p = q.log_density(z), log_joint(z)
    f = (log_p - log_q).detach()
    b = (f.sum(0) - f) / (samples - 1) if baseline else torch.zeros_like(f)
    return (log_p - log_q.detach() + (f - b) * (log_q - log_q.detach())).mean(0)


@dataclass(frozen=True, eq=False)
class Fit:
    """What fitting one q for each datapoint led to.

    Attributes:
        q: the posteriors, over ``[..., n]``.
        bounds: the estimated ELBO of every datapoint before each step, ``[steps, ...]`` in nats.
    """

    q: DiagonalGaussian
    bounds: Tensor


def fit_posteriors(
    start: DiagonalGaussian,
    log_joint: LogJoint,
    draws: Draws,
    steps: int,
    samples: int = 4,
    learning_rate: float = 0.05,
) -> Fit:
    """Climb the ELBO of every datapoint by the mean and variance of its own q.

    Adam on the reparameterised gradient. The learning rate falls to 0 as a half cosine, so that the
    noise of the gradient fades.

    Args:
        start: where to begin, over ``[..., n]``.
        log_joint: of the datapoints that it belongs to.
        draws: draws z.
        steps: of Adam, at least 1.
        samples: S, of z for each gradient.
        learning_rate: at the first step.
    """
    mean, log_variance = (
        part.detach().clone().requires_grad_() for part in (start.mean, start.log_variance)
    )
    q, bounds = DiagonalGaussian(mean, log_variance), list[Tensor]()
    optimiser = torch.optim.Adam([mean, log_variance], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        bound = log_weights(q, log_joint, draws, samples).mean(0)
        mean.grad, log_variance.grad = torch.autograd.grad(-bound.sum(), (mean, log_variance))
        optimiser.step()
        schedule.step()
        bounds.append(bound.detach())
    return Fit(DiagonalGaussian(mean.detach(), log_variance.detach()), torch.stack(bounds))


class PerDatapoint(nn.Module):
    """Stands in an encoder's place, and fits q to each observation anew, from the prior.

    Args:
        decoder: of the model.
        n: latent dimension.
        steps: of `fit_posteriors`.
        learning_rate: at the first step.
    """

    def __init__(self, decoder: Decoder, n: int, steps: int, learning_rate: float = 0.2) -> None:
        super().__init__()
        self.decoder, self.n = decoder, n
        self.steps, self.learning_rate = steps, learning_rate

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """Fit q to observations ``x [..., C, H, W]`` in [0, 1], over ``[..., n]``."""
        with torch.inference_mode(False), torch.enable_grad():
            start = x.new_zeros(*x.shape[:-3], self.n)
            log_joint = log_joint_of(self.decoder, x.clone())
            prior = DiagonalGaussian(start, start)
            draws = Generators(0)
            return fit_posteriors(prior, log_joint, draws, self.steps, 1, self.learning_rate).q


def _repeat(q: DiagonalGaussian, samples: int) -> DiagonalGaussian:
    """Return q over ``[S, ..., n]``."""
    return DiagonalGaussian(
        q.mean.expand(samples, *q.mean.shape),
        q.log_variance.expand(samples, *q.log_variance.shape),
    )
