"""What Watter et al. 2015 compare Embed to Control with (section 4.1 and supplement 2.6).

In the first three the dynamics do not shape the embedding: they are fitted to the encodings as
these are, through which no gradient passes. In one run that comes to what fitting them afterwards
does, since the embedding hardly moves towards the end of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from e2c.config import ModelConfig, ObjectiveConfig
from e2c.models.base import E2C, LatentModel, ProblemSpec
from e2c.models.gaussians import (
    DiagonalGaussian,
    FactoredGaussian,
    kl_to_diagonal,
    kl_to_standard_normal,
)
from e2c.models.objectives import Batch, negative_log_likelihood, roll_out
from e2c.models.transitions import GlobalLinear, NonLinear, Transition


class AE(LatentModel):
    """An autoencoder, and locally linear dynamics fitted to its encodings.

    Terms: ``reconstruction``, ``-log p(x | mu(x))``; ``fit``, the squared error of open-loop
    prediction against the encodings, as a share of their variance.
    """

    tracked: ClassVar[tuple[str, ...]] = ("reconstruction",)

    def terms(
        self, batch: Batch, generator: torch.Generator, objective: ObjectiveConfig
    ) -> dict[str, Tensor]:
        """Evaluate the objective; see `LatentModel.terms`."""
        x, u, times = batch
        mu = self.encoder(x).mean
        seen = mu.detach()
        z, path = seen[:, 0], [seen[:, 0]]
        for t in range(times[-1]):
            z = self.transition.step(z, u[:, t])
            path += [z] if t + 1 in times else []
        error = (torch.stack(path, 1) - seen).square().sum(-1)[:, 1:].mean()
        return {
            "reconstruction": negative_log_likelihood(self, mu, x, generator).mean(),
            "fit": error / seen.flatten(0, -2).var(0).sum(),
        }

    def weights(self, objective: ObjectiveConfig, latent_weight: float) -> Mapping[str, float]:
        """Return 1 for both: they train different weights."""
        return {"reconstruction": 1, "fit": 1}


class VAE(LatentModel):
    """A variational autoencoder, and locally linear dynamics fitted to its encodings.

    Terms: ``reconstruction`` and ``prior_kl``, the negative ELBO; ``fit``, the latent KL of E2C,
    which here trains the transition alone.
    """

    tracked: ClassVar[tuple[str, ...]] = ("reconstruction",)

    def terms(
        self, batch: Batch, generator: torch.Generator, objective: ObjectiveConfig
    ) -> dict[str, Tensor]:
        """Evaluate the objective; see `LatentModel.terms`."""
        x, u, times = batch
        q = self.encoder(x)
        z = q.sample(generator)
        seen = DiagonalGaussian(q.mean.detach(), q.log_variance.detach())
        _, latent_kl = roll_out(self.transition, seen, u, times, generator)
        return {
            "reconstruction": negative_log_likelihood(self, z, x, generator).mean(),
            "prior_kl": kl_to_standard_normal(q).mean(),
            "fit": latent_kl.mean(),
            **self._more_terms(q),
        }

    def weights(self, objective: ObjectiveConfig, latent_weight: float) -> Mapping[str, float]:
        """Return 1 for all: the fit trains other weights than the ELBO."""
        return {"reconstruction": 1, "prior_kl": 1, "fit": 1}

    def _more_terms(self, q: DiagonalGaussian) -> dict[str, Tensor]:
        """Terms on the encodings ``[B, S, n]`` besides."""
        return {}


class SlowVAE(VAE):
    """The VAE with slowness: ``slowness``, ``KL(q(z_{t+1}|x_{t+1}) || q(z_t|x_t))``."""

    def weights(self, objective: ObjectiveConfig, latent_weight: float) -> Mapping[str, float]:
        """Weigh slowness as E2C weighs its latent KL."""
        return {**super().weights(objective, latent_weight), "slowness": latent_weight}

    def _more_terms(self, q: DiagonalGaussian) -> dict[str, Tensor]:
        following = FactoredGaussian.from_diagonal(q[:, 1:])
        return {"slowness": kl_to_diagonal(following, q[:, :-1]).mean()}


class E2CWithoutLatentKL(E2C):
    """E2C of which only the prediction of images ties the dynamics to the embedding."""

    def weights(self, objective: ObjectiveConfig, latent_weight: float) -> Mapping[str, float]:
        """Leave the latent KL out; it is evaluated all the same, to be looked at."""
        weights = dict(super().weights(objective, latent_weight))
        del weights["latent_kl"]
        return weights


class NonLinearE2C(E2C):
    """E2C with ``z' = f(z, u)`` from one network; beliefs pass through its Jacobian."""

    def _build_transition(self, config: ModelConfig, spec: ProblemSpec) -> Transition:
        return NonLinear(
            config.latent_dim,
            len(spec.control_low),
            config.transition_hidden,
            config.activation,
            spec.control_scale,
        )


class GlobalE2C(E2C):
    """E2C with one linear model of the whole latent space."""

    def _build_transition(self, config: ModelConfig, spec: ProblemSpec) -> Transition:
        return GlobalLinear(config.latent_dim, len(spec.control_low), spec.control_scale)
