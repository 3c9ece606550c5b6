"""An own method on the headline task: its objective, one knob of its own, its terms' titles.

The encoder, the decoder and the dynamics are trained together, without any noise. The image decoded
from a predicted latent state must look like the camera's image, and the predicted state must be the
encoding of that image. In the run's ``config.yaml`` the knob is ``objective.norm_weight``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import e2c
from e2c.models.base import LatentModel, Weight
from e2c.models.decoders import Decoder
from e2c.models.draws import Draws
from e2c.models.methods import METHODS
from e2c.models.objectives import Batch, ObjectiveConfig
from e2c.options import option


@dataclass(frozen=True)
class JointObjective(ObjectiveConfig):
    """The options of every objective, and one more."""

    norm_weight: float = option(0.1, 0, 100)
    """Weight of the squared norm of encodings, which keeps the latent space from growing."""


class JointAutoencoder(LatentModel[JointObjective]):
    """An autoencoder whose encodings are to be predictable, over open-loop roll-outs."""

    decoder: Decoder
    objective: ClassVar[type[ObjectiveConfig]] = JointObjective
    term_titles: ClassVar[Mapping[str, str]] = {
        "reconstruction": "Reconstruction [nats]",
        "prediction": "Prediction [nats]",
        "consistency": "Squared distance of prediction and encoding",
        "norm": "Squared norm of the encodings",
    }

    def terms(self, batch: Batch, draws: Draws, objective: JointObjective) -> dict[str, Tensor]:
        """Evaluate the four terms on a batch of windows."""
        x, u, times = batch
        z = self.encoder(x).mean
        predicted = self.roll_out(z[:, 0], u).index_select(1, times)
        nll = self.decoder.negative_log_likelihood(predicted, x, draws)
        return {
            "reconstruction": nll[:, 0].mean(),
            "prediction": nll[:, 1:].mean(),
            "consistency": (predicted - z)[:, 1:].square().sum(-1).mean(),
            "norm": z.square().sum(-1).mean(),
        }

    def weights(self, objective: JointObjective, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return lambda for the consistency, and the own knob for the norm."""
        others = {"consistency": latent_weight, "norm": objective.norm_weight}
        return {"reconstruction": 1, "prediction": 1, **others}


METHODS["joint"] = JointAutoencoder

if __name__ == "__main__":
    e2c.train(
        "runs/own_objective",
        model={"method": "joint"},
        objective={"norm_weight": 0.05},
        optimiser={"steps": 40, "dynamics_steps": 20, "sight_steps": 20},
        data={"transitions": 500, "rounds": 0},
        evaluation={"episodes": 0},
    )
