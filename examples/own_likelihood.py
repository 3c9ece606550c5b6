"""An own likelihood on the headline task: pixels differ by a Laplace distribution from the drawing.

It forgives a few pixels that are far off more than a Gaussian does. This trains for a few seconds.
"""

import math

from torch import Tensor

import e2c
from e2c.models.likelihoods import LIKELIHOODS, Likelihood


class Laplace(Likelihood):
    """``exp(-|x - y| / b) / 2b``, counted for each of the 255 grey levels of a camera."""

    b = 0.05
    """The mean distance of a pixel from its drawing, where white is 1."""

    def negative_log(self, y: Tensor, x: Tensor) -> Tensor:
        """Return nats for each pixel."""
        return (x - y).abs() / self.b + math.log(2 * self.b * 255)

    def mean(self, y: Tensor) -> Tensor:
        """Return ``y``, cut to [0, 1]."""
        return y.clamp(0, 1)

    def inverse(self, mean: Tensor) -> Tensor:
        """Return ``mean`` itself."""
        return mean


LIKELIHOODS["laplace"] = Laplace

if __name__ == "__main__":
    e2c.train(
        "runs/own_likelihood",
        model={"likelihood": "laplace"},
        optimiser={"steps": 40, "dynamics_steps": 20, "sight_steps": 20},
        data={"transitions": 500, "rounds": 0},
        evaluation={"episodes": 0},
    )
