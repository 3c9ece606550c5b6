"""What every method has, and Embed to Control itself: a VAE with locally linear latent dynamics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2c.config import ModelConfig, ObjectiveConfig
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.networks import Decoder, Encoder, Gallery
from e2c.models.objectives import Batch, e2c_terms
from e2c.models.transitions import LocallyLinear, Transition


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


class LatentModel(nn.Module, ABC):
    """Encoder, decoder and transition, the goal that they are to reach, and what is minimised.

    A method is a subclass with its objective and, where they differ, its networks; all else is
    shared. Buffers ``goal`` (uint8 ``[C, H, W]``, the goal image) and ``latent_variance`` (the
    summed variance of the encodings of the data, the unit of latent distances) travel with the
    weights.

    Args:
        config: the networks.
        spec: the task.
        goal: the goal image.
    """

    goal: Tensor
    latent_variance: Tensor
    tracked: ClassVar[tuple[str, ...]] = ("reconstruction", "prediction")
    """Terms whose positive sum tells a training that has diverged from one that has not."""
    one_step: ClassVar[bool] = False
    """Whether its objective is one of roll-outs of one step alone."""

    def __init__(self, config: ModelConfig, spec: ProblemSpec, goal: Tensor) -> None:
        super().__init__()
        self.encoder = Encoder(
            spec.observation_shape,
            config.latent_dim,
            config.encoder_hidden,
            config.activation,
            config.pool,
        )
        self.decoder = self._build_decoder(config, spec)
        self.transition = self._build_transition(config, spec)
        self.register_buffer("goal", goal)
        self.register_buffer("latent_variance", torch.ones(()))

    def _build_decoder(self, config: ModelConfig, spec: ProblemSpec) -> Decoder | Gallery:
        return Decoder(
            spec.observation_shape,
            config.latent_dim,
            config.decoder_hidden,
            config.activation,
            config.lattices,
        )

    def _build_transition(self, config: ModelConfig, spec: ProblemSpec) -> Transition:
        return LocallyLinear(
            config.latent_dim,
            len(spec.control_low),
            config.transition_hidden,
            config.activation,
            config.transition_bound,
            spec.control_scale,
        )

    @abstractmethod
    def terms(
        self, batch: Batch, generator: torch.Generator, objective: ObjectiveConfig
    ) -> dict[str, Tensor]:
        """Evaluate the named terms of the objective on a batch of windows.

        Args:
            batch: the windows.
            generator: of every random number; on the device of the windows.
            objective: its options.

        Returns:
            Batch means, each a scalar; log likelihoods and divergences in nats per observation.
        """

    @abstractmethod
    def weights(self, objective: ObjectiveConfig, latent_weight: float) -> Mapping[str, float]:
        """Tell the weights of the terms in the loss; ``latent_weight`` is lambda, on its ramp."""

    def encode(self, observations: NDArray[np.uint8] | Tensor) -> DiagonalGaussian:
        """Encode uint8 observations ``[..., C, H, W]`` to ``q(z|x)`` over ``[..., n]``."""
        x = torch.as_tensor(observations).to(self.goal.device).float() / 255
        q: DiagonalGaussian = self.encoder(x)
        return q

    def decode(self, z: Tensor) -> NDArray[np.uint8]:
        """Draw what ``z [..., n]`` looks like, uint8 ``[..., C, H, W]``."""
        drawn: NDArray[np.uint8] = self.decoder.draw(z).cpu().numpy()
        return drawn

    @torch.no_grad()
    def measure(self, observations: NDArray[np.uint8]) -> None:
        """Set `latent_variance`, and the pictures of a gallery, from ``observations [N, C, H, W]``.

        It is called when a phase of training ends.
        """
        latents = self.encode(observations).mean
        self.latent_variance.copy_(latents.var(0).sum())
        if isinstance(self.decoder, Gallery):
            self.decoder.hang(torch.from_numpy(observations), latents)


class E2C(LatentModel):
    """Embed to Control (Watter et al. 2015), over roll-outs of any length; see `objectives`."""

    def terms(
        self, batch: Batch, generator: torch.Generator, objective: ObjectiveConfig
    ) -> dict[str, Tensor]:
        """Evaluate the objective; see `LatentModel.terms` and `objectives.e2c_terms`."""
        return e2c_terms(self, batch, generator)

    def weights(self, objective: ObjectiveConfig, latent_weight: float) -> Mapping[str, float]:
        """Return 1 for all but the latent KL (Watter et al. 2015, section 2.4)."""
        return {"reconstruction": 1, "prediction": 1, "prior_kl": 1, "latent_kl": latent_weight}
