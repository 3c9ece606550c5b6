"""What Watter et al. 2015 compare Embed to Control with (experiments and supplement 2.6).

In the first three the dynamics do not shape the embedding. They are fitted to the encodings, and no
gradient passes from them into the encoder. Watter et al. fit them after the embedding. Here both
are trained in one run, with much the same result: the embedding hardly moves towards the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from e2c.models.base import LatentModel, Weight
from e2c.models.decoders import Decoder
from e2c.models.draws import Draws
from e2c.models.e2c import E2C
from e2c.models.gaussians import (
    DiagonalGaussian,
    FactoredGaussian,
    kl_to_diagonal,
    kl_to_standard_normal,
)
from e2c.models.objectives import Batch, ObjectiveConfig
from e2c.models.transitions import GlobalLinear, NonLinear, Transition


class AE(LatentModel[ObjectiveConfig]):
    """An autoencoder, and locally linear dynamics fitted to its encodings.

    Terms: ``reconstruction``, ``-log p(x | mu(x))``; ``fit``, the squared error of open-loop
    prediction against the encodings, as a share of their variance.
    """

    decoder: Decoder
    term_titles: ClassVar[Mapping[str, str]] = {
        "reconstruction": "Reconstruction [nats]",
        "fit": "Misfit of the dynamics",
    }
    tracked: ClassVar[tuple[str, ...]] = ("reconstruction",)

    def terms(self, batch: Batch, draws: Draws, objective: ObjectiveConfig) -> dict[str, Tensor]:
        """Evaluate the objective; see `LatentModel.terms`."""
        x, u, times = batch
        mu = self.encoder(x).mean
        seen = mu.detach()
        path = self.roll_out(seen[:, 0], u).index_select(1, times)
        error = (path - seen).square().sum(-1)[:, 1:].mean()
        return {
            "reconstruction": self.decoder.negative_log_likelihood(mu, x, draws).mean(),
            "fit": error / seen.flatten(0, -2).var(0).sum(),
        }

    def weights(self, objective: ObjectiveConfig, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return 1 for both: they train different weights."""
        return {"reconstruction": 1, "fit": 1}


class VAE(LatentModel[ObjectiveConfig]):
    """A variational autoencoder, and locally linear dynamics fitted to its encodings.

    Terms: ``reconstruction`` and ``prior_kl``, the negative ELBO; ``fit``, the latent KL of E2C,
    which here trains the transition alone.
    """

    decoder: Decoder
    term_titles: ClassVar[Mapping[str, str]] = {
        "reconstruction": "Reconstruction [nats]",
        "prior_kl": "KL to the prior [nats]",
        "fit": "KL of prediction to encoding [nats]",
    }
    tracked: ClassVar[tuple[str, ...]] = ("reconstruction",)

    def terms(self, batch: Batch, draws: Draws, objective: ObjectiveConfig) -> dict[str, Tensor]:
        """Evaluate the objective; see `LatentModel.terms`."""
        x, u, times = batch
        q = self.encoder(x)
        z = q.sample(draws)
        seen = DiagonalGaussian(q.mean.detach(), q.log_variance.detach())
        _, latent_kl = self.transition.follow(seen, draws.normal(q.mean[:, 0]), u, times)
        return {
            "reconstruction": self.decoder.negative_log_likelihood(z, x, draws).mean(),
            "prior_kl": kl_to_standard_normal(q).mean(),
            "fit": latent_kl.mean(),
            **self.more_terms(q),
        }

    def weights(self, objective: ObjectiveConfig, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return 1 for all: the fit trains other weights than the ELBO."""
        return {"reconstruction": 1, "prior_kl": 1, "fit": 1}

    def more_terms(self, q: DiagonalGaussian) -> dict[str, Tensor]:
        """Evaluate the terms that a subclass adds, from the encodings ``[B, S, n]``."""
        return {}


class SlowVAE(VAE):
    """The VAE with one more term, ``slowness``: ``KL(q(z_{t+1}|x_{t+1}) || q(z_t|x_t))``.

    t counts the times of a window at which predictions are compared. With a horizon of 1, as in the
    preset, they are successive steps.
    """

    term_titles: ClassVar[Mapping[str, str]] = {
        **VAE.term_titles,
        "slowness": "KL of the next encoding to this [nats]",
    }

    def weights(self, objective: ObjectiveConfig, latent_weight: Weight) -> Mapping[str, Weight]:
        """Weigh slowness as E2C weighs its latent KL."""
        return {**super().weights(objective, latent_weight), "slowness": latent_weight}

    def more_terms(self, q: DiagonalGaussian) -> dict[str, Tensor]:
        """Evaluate ``slowness``."""
        following = FactoredGaussian.from_diagonal(q[:, 1:])
        return {"slowness": kl_to_diagonal(following, q[:, :-1]).mean()}


class E2CWithoutLatentKL(E2C):
    """E2C without its latent KL: only the predicted images tie the dynamics to the embedding."""

    def weights(self, objective: ObjectiveConfig, latent_weight: Weight) -> Mapping[str, Weight]:
        """Leave the latent KL out of the loss; it is evaluated all the same, for the pictures."""
        weights = dict(super().weights(objective, latent_weight))
        del weights["latent_kl"]
        return weights


class NonLinearE2C(E2C):
    """E2C with ``z' = f(z, u)`` from one network; beliefs pass through its Jacobian."""

    dynamics: ClassVar[type[Transition]] = NonLinear


class GlobalE2C(E2C):
    """E2C with one linear model of the whole latent space."""

    dynamics: ClassVar[type[Transition]] = GlobalLinear
