"""Embed to Control: a VAE whose latent dynamics are locally linear, learned jointly with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2c.config import ModelConfig
from e2c.errors import E2CError
from e2c.gaussians import DiagonalGaussian
from e2c.networks import Decoder, Encoder
from e2c.transitions import LocallyLinear


@dataclass(frozen=True)
class ProblemSpec:
    """What a model has to know of its task; read once from the environment, kept with the weights.

    Attributes:
        env: Gymnasium id.
        observation_shape: ``(C, H, W)``.
        control_low: lowest value of each control, m numbers, in the task's unit.
        control_high: highest value of each control.
        dt: control step [s].
        episode_steps: control steps of an episode.
    """

    env: str
    observation_shape: tuple[int, int, int]
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    dt: float
    episode_steps: int

    @property
    def control_scale(self) -> Tensor:
        """The largest magnitude of each control, ``[m]``."""
        limits = zip(self.control_low, self.control_high, strict=True)
        return torch.tensor([max(abs(low), abs(high)) for low, high in limits])


class E2C(nn.Module):
    """Encoder, decoder and transition, and the goal that they are to reach.

    Buffers ``goal`` (uint8 ``[C, H, W]``, the goal image) and ``latent_variance`` (the summed
    variance of the encodings of the data, the unit of latent distances) travel with the weights.
    """

    goal: Tensor
    latent_variance: Tensor

    def __init__(
        self, encoder: Encoder, decoder: Decoder, transition: LocallyLinear, goal: Tensor
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.transition = encoder, decoder, transition
        self.register_buffer("goal", goal)
        self.register_buffer("latent_variance", torch.ones(()))

    def encode(self, observations: NDArray[np.uint8] | Tensor) -> DiagonalGaussian:
        """Encode uint8 observations ``[..., C, H, W]`` to ``q(z|x)`` over ``[..., n]``."""
        x = torch.as_tensor(observations).to(self.goal.device).float() / 255
        q: DiagonalGaussian = self.encoder(x)
        return q

    def decode(self, z: Tensor) -> NDArray[np.uint8]:
        """Draw what ``z [..., n]`` looks like: the mean of ``p(x|z)``, uint8 ``[..., C, H, W]``."""
        drawn: NDArray[np.uint8] = (
            (self.decoder(z).sigmoid() * 255).round().to(torch.uint8).cpu().numpy()
        )
        return drawn

    @torch.no_grad()
    def measure(self, observations: NDArray[np.uint8]) -> None:
        """Set `latent_variance` from ``observations [N, C, H, W]``."""
        self.latent_variance.copy_(self.encode(observations).mean.var(0).sum())


def build_model(config: ModelConfig, spec: ProblemSpec, goal: NDArray[np.uint8], seed: int) -> E2C:
    """Build a model with weights drawn from ``seed``; the global generator stays as it was.

    Raises:
        E2CError: when ``pool`` or ``lattices`` does not divide the image.
    """
    shape = spec.observation_shape
    for name, divisor in (("model.pool", config.pool), ("model.lattices", config.lattices)):
        if shape[1] % divisor or shape[2] % divisor:
            raise E2CError(
                f"{name} is {divisor}; it must divide the image of {shape[1]}x{shape[2]} pixels."
            )
    n, m, kind = config.latent_dim, len(spec.control_low), config.activation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return E2C(
            Encoder(shape, n, config.encoder_hidden, kind, config.pool),
            Decoder(shape, n, config.decoder_hidden, kind, config.lattices),
            LocallyLinear(
                n,
                m,
                config.transition_hidden,
                kind,
                config.transition_bound,
                spec.control_scale,
            ),
            torch.from_numpy(goal.copy()),
        )
