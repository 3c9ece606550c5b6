"""An own encoder on the headline task: it looks for the places of things in the image.

Spatial softmax (Finn et al. 2016): each of a few learned filters says at which pixels it finds
something. The next layers get only its mean place, two numbers for each filter. This trains for a
few seconds; with the default numbers of steps and transitions it takes minutes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import e2c
from e2c.models.encoders import ENCODERS, Encoder
from e2c.models.layers import mlp
from e2c.models.options import ModelConfig

FILTERS = 16


class SpatialSoftmax(Encoder):
    """The mean place at which each filter finds something, then fully connected layers."""

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__(observation_shape, config)
        self.find = nn.Conv2d(self.image_shape[0], FILTERS, kernel_size=7, padding=3)
        self.net = mlp([2 * FILTERS, *config.encoder_hidden, self.outputs], config.activation)

    def features(self, images: Tensor) -> Tensor:
        """Return mean and log variance ``[N, 2n]`` of ``images [N, C, H, W]``."""
        y: Tensor = self.find(images)
        share = y.flatten(2).softmax(-1).view_as(y)
        places = [
            (share.sum(other) * torch.linspace(-1, 1, size, device=y.device)).sum(-1)
            for other, size in ((3, y.shape[2]), (2, y.shape[3]))
        ]
        return self.net(torch.cat(places, 1))


ENCODERS["spatial_softmax"] = SpatialSoftmax

if __name__ == "__main__":
    e2c.train(
        "runs/own_encoder",
        model={"encoder": "spatial_softmax"},
        optimiser={"steps": 40, "dynamics_steps": 20, "sight_steps": 20},
        data={"transitions": 500, "rounds": 0},
        evaluation={"episodes": 0},
    )
