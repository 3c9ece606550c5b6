"""The published successors of Embed to Control: RCE, PCC and PC3.

Notation, for one step: observations ``x`` and ``x'`` with the control ``u`` between them;
``p(z|x)``, the encoder; ``zhat'``, the latent successor, from which ``x'`` is predicted;
``f(z, u)``, the mean of ``p(zhat'|z, u)``, with which the planner steps. All three methods are
defined on one step: their windows have the times 0 and 1, and the trainer refuses others.

RCE and PCC bound ``log p(x'|x, u)`` from below, with one encoder for both ``p(z|x)`` and
``q(zhat'|x')``::

    E[log p(x'|zhat')] - E[log q(zhat'|x') - log p(zhat'|z, u)] - E[KL(q(z|x, u, zhat') || p(z|x))]

The first expectation is the ``prediction``. The two others together are the ``consistency``: how
far the inference from both observations diverges from the prediction from the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from e2c.models.base import LatentModel, ProblemSpec, Weight
from e2c.models.decoders import Decoder, Gallery
from e2c.models.draws import Draws
from e2c.models.gaussians import (
    LOG_VARIANCE_RANGE,
    DiagonalGaussian,
    FactoredGaussian,
    kl_to_diagonal,
    kl_to_standard_normal,
)
from e2c.models.layers import mlp
from e2c.models.objectives import Batch, ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.models.transitions import LocalLinearisation, NonLinear, Transition
from e2c.options import option


class BackwardEncoder(nn.Module):
    """``q(z|x, u, zhat')``: the distribution of a latent state once its successor is known too.

    The exact posterior is proportional to ``p(z|x) p(zhat'|z, u)``, so x matters only through the
    parameters of ``p(z|x)``. This network sees those parameters; the published ones see the image.
    Its outputs are changes of the parameters: an output of 0 leaves ``p(z|x)`` as it is.

    Args:
        config: the networks' options.
        m: control dimension.
    """

    def __init__(self, config: ModelConfig, m: int) -> None:
        super().__init__()
        n = config.latent_dim
        self.net = mlp([3 * n + m, *config.transition_hidden, 2 * n], config.activation)

    def forward(self, prior: DiagonalGaussian, u: Tensor, successor: Tensor) -> DiagonalGaussian:
        """Infer the state, ``[..., n]``.

        Args:
            prior: ``p(z|x)``, ``[..., n]``.
            u: ``[..., m]``, in units of the limits.
            successor: ``zhat'``, ``[..., n]``.
        """
        y = self.net(torch.cat((prior.mean, prior.log_variance, successor, u), -1))
        shift, growth = y.chunk(2, -1)
        log_variance = (prior.log_variance + growth).clamp(*LOG_VARIANCE_RANGE)
        return DiagonalGaussian(prior.mean + prior.std * shift, log_variance)


@dataclass(frozen=True)
class RCEObjective(ObjectiveConfig):
    """The options of RCE's loss."""

    prior_weight: float = option(0.1)
    """Weight of the KL from a standard normal, which the published bound does not have."""


class RCE(LatentModel[RCEObjective]):
    """Robust controllable embedding (Banijamali et al., AISTATS 2018).

    ``z`` and the point of linearisation ``zbar`` are two draws from ``p(z|x)``, so that the
    dynamics must hold in a neighbourhood of a state. The step is deterministic::

        zhat' = A(zbar) z + B(zbar) u + o(zbar)

    Inference runs backward: ``zhat'`` is drawn from ``q(zhat'|x')``, ``zbar`` from
    ``q(zbar|x, u, zhat')``, and ``z`` follows by inverting the step. The density of ``zhat'`` is
    that of ``z`` divided by ``|det A|``, so the bound is::

        E[log p(x'|zhat')] + H(q(zhat'|x')) + E[log p(z|x) - log |det A|]
        - E[KL(q(zbar|x, u, zhat') || p(zbar|x))],    z = A^-1 (zhat' - B u - o)

    The planner takes ``zbar = z``. ``transition_bound`` keeps A invertible.

    The bound has the same value at every scale of the latent space. In training the space then
    grows a hundredfold, out of the range in which its dynamics are learned well. We add a third
    term, which is not published: ``prior_kl``, the divergence of ``p(z|x)`` from a standard normal,
    with a small weight (``prior_weight``).
    """

    decoder: Decoder
    objective: ClassVar[type[ObjectiveConfig]] = RCEObjective
    term_titles: ClassVar[Mapping[str, str]] = {
        "prediction": "Prediction [nats]",
        "prior_kl": "KL to the prior [nats]",
        "consistency": "Inconsistency of prediction [nats]",
    }
    tracked: ClassVar[tuple[str, ...]] = ("prediction",)
    one_step: ClassVar[bool] = True

    def __init__(self, config: ModelConfig, spec: ProblemSpec, goal: Tensor) -> None:
        super().__init__(config, spec, goal)
        self.backward_encoder = BackwardEncoder(config, len(spec.control_low))

    def terms(self, batch: Batch, draws: Draws, objective: RCEObjective) -> dict[str, Tensor]:
        """Evaluate the bound in its parts, ``prediction`` and ``consistency``, and ``prior_kl``."""
        x, u, _ = batch
        q, u = self.encoder(x), u[:, 0]
        now, following = q[:, 0], q[:, 1]
        successor = following.sample(draws)
        posterior = self.backward_encoder(now, u / self.transition.control_scale, successor)
        local = self.transition(posterior.sample(draws), u)
        z = torch.linalg.solve_ex(local.A, successor - local.offset(u)).result
        log_density = now.log_density(z) - self.transition.log_det(local.A)
        consistency = _kl(posterior, now) - following.entropy() - log_density
        nll = self.decoder.negative_log_likelihood(successor.unsqueeze(1), x[:, 1:], draws)
        return {
            "prediction": nll.mean(),
            "consistency": consistency.mean(),
            "prior_kl": kl_to_standard_normal(now).mean(),
        }

    def weights(self, objective: RCEObjective, latent_weight: Weight) -> Mapping[str, Weight]:
        """With ``latent_weight = 1``, prediction and consistency are the published bound."""
        return {
            "prediction": 1,
            "consistency": latent_weight,
            "prior_kl": objective.prior_weight,
        }


@dataclass(frozen=True)
class CurvatureObjective(ObjectiveConfig):
    """The options of the losses of PCC and PC3."""

    curvature_weight: float = option(8.0)
    """Weight of the curvature of the dynamics."""
    curvature_noise: float = option(0.1)
    """Standard deviation of the step away from a state over which curvature is measured."""


class LowCurvature(LatentModel[CurvatureObjective]):
    """What PCC and PC3 share: ``p(zhat'|z, u) = N(f(z, u), diag s^2(z, u))`` with f nearly linear.

    Curvature is the squared error of the first-order expansion of f over a random step::

        E ||f(z + dz, u + du) - f(z, u) - A dz - B du||^2,    dz, du ~ N(0, curvature_noise^2)

    Public code has ``A^T dz`` in place of ``A dz``, which is no Taylor expansion. ``du`` is in
    units of the limits. As in public code, the gradient of the curvature does not reach the
    encoder: it would shrink the latent space.
    """

    objective: ClassVar[type[ObjectiveConfig]] = CurvatureObjective
    dynamics: ClassVar[type[Transition]] = NonLinear
    one_step: ClassVar[bool] = True

    def __init__(self, config: ModelConfig, spec: ProblemSpec, goal: Tensor) -> None:
        super().__init__(config, spec, goal)
        n, m = config.latent_dim, len(spec.control_low)
        self.noise = mlp([n + m, *config.transition_hidden, n], config.activation)

    def predict(self, z: Tensor, u: Tensor) -> DiagonalGaussian:
        """Return ``p(zhat'|z, u)``, ``[..., n]``, for ``z [..., n]`` and ``u [..., m]``."""
        inputs = torch.cat((z, u / self.transition.control_scale), -1)
        log_variance = self.noise(inputs).clamp(*LOG_VARIANCE_RANGE)
        return DiagonalGaussian(self.transition.step(z, u), log_variance)

    def curvature(self, z: Tensor, u: Tensor, std: float, draws: Draws) -> Tensor:
        """Return the squared error of the expansion, ``[...]``, over a step drawn with ``std``."""
        z, scale = z.detach(), self.transition.control_scale
        dz, du = (std * draws.normal(v) for v in (z, u))
        return taylor_remainder(self.transition, z, u, dz, scale * du).square().sum(-1)


class PCC(LowCurvature):
    """Prediction, consistency, curvature (Levine et al., ICLR 2020).

    The loss is ``prediction + lambda consistency + curvature_weight curvature``. The published
    lambda is 9: 1 from the bound above, and 8 from the divergence between latent and observed
    dynamics, which has the same bound. Two more terms have small weights.
    """

    decoder: Decoder
    term_titles: ClassVar[Mapping[str, str]] = {
        "prediction": "Prediction [nats]",
        "consistency": "Inconsistency of prediction [nats]",
        "curvature": "Curvature of the dynamics",
        "deterministic": "Prediction without noise [nats]",
        "vae": "Negative ELBO of one image [nats]",
    }
    tracked: ClassVar[tuple[str, ...]] = ("prediction", "deterministic")
    deterministic_weight: ClassVar[float] = 0.3
    """Weight of ``-log p(x'|f(mu(x), u))``, the prediction without any noise; as published."""
    vae_weight: ClassVar[float] = 0.01
    """Weight of the negative ELBO of ``x`` alone under a standard normal prior; as published."""

    def __init__(self, config: ModelConfig, spec: ProblemSpec, goal: Tensor) -> None:
        super().__init__(config, spec, goal)
        self.backward_encoder = BackwardEncoder(config, len(spec.control_low))

    def terms(self, batch: Batch, draws: Draws, objective: CurvatureObjective) -> dict[str, Tensor]:
        """Evaluate ``prediction``, ``consistency``, ``curvature``, ``deterministic``, ``vae``."""
        x, u, _ = batch
        q, u = self.encoder(x), u[:, 0]
        now, following = q[:, 0], q[:, 1]
        z, successor = now.sample(draws), following.sample(draws)
        posterior = self.backward_encoder(now, u / self.transition.control_scale, successor)
        log_density = self.predict(posterior.sample(draws), u).log_density(successor)
        consistency = _kl(posterior, now) - following.entropy() - log_density
        nll = self.decoder.negative_log_likelihood(torch.stack((z, successor), 1), x, draws)
        expected = self.transition.step(now.mean, u).unsqueeze(1)
        return {
            "prediction": nll[:, 1].mean(),
            "consistency": consistency.mean(),
            "curvature": self.curvature(z, u, objective.curvature_noise, draws).mean(),
            "deterministic": self.decoder.negative_log_likelihood(expected, x[:, 1:], draws).mean(),
            "vae": (nll[:, 0] + kl_to_standard_normal(now)).mean(),
        }

    def weights(self, objective: CurvatureObjective, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return 1 for the likelihood and lambda for all of the consistency (9 as published)."""
        return {
            "prediction": 1,
            "consistency": latent_weight,
            "curvature": objective.curvature_weight,
            "deterministic": self.deterministic_weight,
            "vae": self.vae_weight,
        }


class AmortisedJacobian(NonLinear):
    """``f(z, u)`` with ``A(z, u)`` and ``B(z, u)`` from a network of their own.

    Training on the curvature makes them approximate the derivatives of f. As published, the planner
    uses them in place of the derivatives.
    """

    exact: ClassVar[bool] = False

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__(config, control_scale)
        inputs = self.n + self.m
        sizes = [inputs, *config.transition_hidden, self.n * inputs]
        self.slopes = mlp(sizes, config.activation)

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return the learned expansion at ``z [..., n]``, ``u [..., m]``."""
        A, B = self.jacobian(z, u)
        return LocalLinearisation.through(self.step(z, u), A, B, z, u)

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``A [..., n, n]`` and ``B [..., n, m]``, as learned."""
        slopes = self.slopes(self._inputs(z, u)).unflatten(-1, (self.n, self.n + self.m))
        return self._derivatives(slopes)


class AmortisedPCC(PCC):
    """PCC whose A and B come from a network of their own, which the curvature trains."""

    dynamics: ClassVar[type[Transition]] = AmortisedJacobian


class PC3(LowCurvature):
    """Predictive coding, consistency, curvature (Shu et al., ICML 2020): no image is ever drawn.

    Only the encoder's mean is used. The likelihood of ``x'`` is replaced by a lower bound of the
    mutual information of ``x'`` and ``(z, u)``. Each of the K pairs of a batch is compared with
    the others::

        I(x'; z, u) >= log K - E[log sum_j p(z'_i|z_j, u_j) - log p(z'_i|z_i, u_i)]

    Noise of a fixed size on ``z'`` keeps the space from shrinking. The term ``centre``, the squared
    norm of the mean of z, keeps it from drifting away.
    """

    term_titles: ClassVar[Mapping[str, str]] = {
        "prediction": "Prediction (InfoNCE) [nats]",
        "consistency": "Inconsistency of prediction [nats]",
        "curvature": "Curvature of the dynamics",
        "centre": "Distance of the centre from 0, squared",
    }
    tracked: ClassVar[tuple[str, ...]] = ("prediction",)
    latent_noise: ClassVar[float] = 0.1
    """Standard deviation of the noise on ``z'``; as published."""
    centre_weight: ClassVar[float] = 0.1
    """Weight of the term ``centre``; as in the published code."""

    def build_decoder(self, config: ModelConfig, spec: ProblemSpec) -> Gallery:
        """Build a gallery, which learns nothing and only draws."""
        return Gallery(spec.planes, config.latent_dim)

    def terms(self, batch: Batch, draws: Draws, objective: CurvatureObjective) -> dict[str, Tensor]:
        """Evaluate ``prediction`` (InfoNCE), ``consistency``, ``curvature`` and ``centre``."""
        x, u, _ = batch
        z, following = self.encoder(x).mean.unbind(1)
        u = u[:, 0]
        noise = torch.full_like(following, 2 * math.log(self.latent_noise))
        successor = DiagonalGaussian(following, noise).sample(draws)
        log_densities = self.predict(z, u)[None].log_density(successor.unsqueeze(1))
        return {
            "prediction": info_nce(log_densities),
            "consistency": -log_densities.diagonal().mean(),
            "curvature": self.curvature(z, u, objective.curvature_noise, draws).mean(),
            "centre": z.mean(0).square().sum(),
        }

    def weights(self, objective: CurvatureObjective, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return lambda for the consistency (1 as published)."""
        return {
            "prediction": 1,
            "consistency": latent_weight,
            "curvature": objective.curvature_weight,
            "centre": self.centre_weight,
        }


def taylor_remainder(
    transition: Transition, z: Tensor, u: Tensor, dz: Tensor, du: Tensor
) -> Tensor:
    """``f(z + dz, u + du) - f(z, u) - A dz - B du``, shape ``[..., n]``, with A, B at ``(z, u)``.

    Args:
        transition: f, and its own A and B.
        z: ``[..., n]``.
        u: ``[..., m]``.
        dz: ``[..., n]``.
        du: ``[..., m]``.
    """
    return transition.step(z + dz, u + du) - transition(z, u).step(z + dz, u + du)


def info_nce(scores: Tensor) -> Tensor:
    """Cross-entropy of choosing, for each of K items, the one of K candidates that belongs to it.

    Args:
        scores: ``[K, K]``, log odds up to a constant in each row; candidate i belongs to item i.

    Returns:
        A scalar in nats, not negative, ``log K`` at chance. ``log K`` minus this is a lower bound
        of the mutual information (van den Oord et al. 2018).
    """
    return (scores.logsumexp(1) - scores.diagonal()).mean()


def _kl(p: DiagonalGaussian, q: DiagonalGaussian) -> Tensor:
    return kl_to_diagonal(FactoredGaussian.from_diagonal(p), q)
