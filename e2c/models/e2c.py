"""Embed to Control (Watter et al. 2015): a VAE with locally linear latent dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from e2c.models.base import LatentModel, Weight
from e2c.models.decoders import Decoder
from e2c.models.draws import Draws
from e2c.models.gaussians import kl_to_standard_normal
from e2c.models.objectives import Batch, ObjectiveConfig


class E2C(LatentModel[ObjectiveConfig]):
    """Embed to Control, over open-loop roll-outs of any length.

    With one step this is the published loss (Watter et al. 2015, section 2.4)::

        - log p(x_t|z_t) - log p(x_{t+1}|zhat_{t+1}) + KL(q(z_t|x_t) || N(0, I))
        + lambda KL(N(A mu + B u + o, A Sigma A^T) || q(z_{t+1}|x_{t+1}))

    With more steps, the sample and the belief of ``z_t`` are carried on through ``A(zbar)``,
    ``B(zbar)``, ``o(zbar)``, where zbar is the present state of the sampled path. The observations
    in between are not used. Prediction and latent KL are averages over the times compared.
    """

    decoder: Decoder
    term_titles: ClassVar[Mapping[str, str]] = {
        "reconstruction": "Reconstruction [nats]",
        "prediction": "Prediction [nats]",
        "prior_kl": "KL to the prior [nats]",
        "latent_kl": "KL of prediction to encoding [nats]",
    }

    def terms(self, batch: Batch, draws: Draws, objective: ObjectiveConfig) -> dict[str, Tensor]:
        """Evaluate the objective's four terms on a batch of windows.

        Returns:
            ``reconstruction``, ``-log p(x_t | z_t)``; ``prediction``,
            ``-log p(x_{t+k} | zhat_{t+k})``; ``prior_kl``, ``KL(q(z_t | x_t) || N(0, I))``;
            ``latent_kl``, ``KL(prediction of z_{t+k} || q(z_{t+k} | x_{t+k}))``.
        """
        x, u, times = batch
        q = self.encoder(x)
        path, latent_kl = self.transition.follow(q, draws.normal(q.mean[:, 0]), u, times)
        nll = self.decoder.negative_log_likelihood(path, x, draws)
        return {
            "reconstruction": nll[:, 0].mean(),
            "prediction": nll[:, 1:].mean(),
            "prior_kl": kl_to_standard_normal(q[:, 0]).mean(),
            "latent_kl": latent_kl.mean(),
        }

    def weights(self, objective: ObjectiveConfig, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return 1 for all but the latent KL (Watter et al. 2015, section 2.4)."""
        return {"reconstruction": 1, "prediction": 1, "prior_kl": 1, "latent_kl": latent_weight}
