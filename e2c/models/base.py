"""What every method has: encoder, decoder, transition, goal, and an objective to minimise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2c.errors import E2CError
from e2c.models import reading
from e2c.models.decoders import DECODERS, Decoder, Drawer
from e2c.models.draws import Draws
from e2c.models.encoders import ENCODERS, Encoder
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.objectives import Batch, ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.models.parts import build
from e2c.models.sight import Sight
from e2c.models.silhouette import Silhouette
from e2c.models.transitions import LocallyLinear, Transition
from e2c.options import look_up
from envs.images import ImageLayout

Options = TypeVar("Options", bound=ObjectiveConfig)
"""The options of a method's objective."""
Weight = float | Tensor
"""The weight of a term in the loss."""

_BYTES = (torch.uint8, np.dtype(np.uint8))
"""The type of observations, in torch and in NumPy."""
SAME = 1e-6
"""Encodings whose spread is no more than this share of their size differ by rounding alone."""


@dataclass(frozen=True)
class ProblemSpec:
    """The description of a task; read once from the environment, kept with the weights.

    Attributes:
        env: Gymnasium id.
        observation_shape: the shape of an observation, see `envs.images.ImageLayout`.
        control_low: lowest value of each control, m numbers, in the task's unit.
        control_high: highest value of each control.
        dt: control step [s].
        episode_steps: control steps of an episode.
        options: the options that the world was made with, as JSON can hold them: those of the
            environment, and ``camera``; of a recording, ``camera`` alone.
        picture_size: height and width [px] of the pictures before the camera crops them; None where
            they are unknown, such as for a world without a camera.
    """

    env: str
    observation_shape: tuple[int, ...]
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    dt: float
    episode_steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    picture_size: tuple[int, ...] | None = None

    @property
    def layout(self) -> ImageLayout:
        """How the images of an observation lie in its array."""
        return ImageLayout(self.observation_shape)

    @property
    def planes(self) -> tuple[int, int, int]:
        """``(C, H, W)``, the shape of an observation as networks see it."""
        return self.layout.planes

    @property
    def control_scale(self) -> Tensor:
        """The largest magnitude of each control, ``[m]``."""
        limits = zip(self.control_low, self.control_high, strict=True)
        return torch.tensor([max(abs(low), abs(high)) for low, high in limits])


ACTED_IN = ("observation_shape", "control_low", "control_high")
"""Fields of a `ProblemSpec` that must be equal where an agent acts and where it was trained."""
TASK = ("env", *ACTED_IN, "dt", "options")
"""Fields that define a task; its duration is not one of them."""


def check_task(learned: ProblemSpec, here: ProblemSpec, facts: Sequence[str] = TASK) -> None:
    """Raise an E2CError unless the fields ``facts`` of the two tasks are equal."""
    for name in facts:
        there, found = getattr(learned, name), getattr(here, name)
        if there != found:
            raise E2CError(
                f"The agent was trained where {name} was {there!r}, and here it is {found!r}; "
                "choose an agent of this task, or train one."
            )


class LatentModel(nn.Module, ABC, Generic[Options]):
    """A method: its networks, and the terms of its objective.

    A method is a subclass that defines `terms` and `weights`, and overrides what differs in it. One
    line in `METHODS` gives it a name; ``examples/own_objective.py`` shows a whole one. The buffers
    ``goal`` (uint8 ``[C, H, W]``, the goal image) and ``latent_variance`` (the summed variance of
    the encodings of the data, the unit of latent distances) are kept with the weights.

    Args:
        config: the networks.
        spec: the task.
        goal: the goal image.

    Raises:
        E2CError: when a network is unknown or cannot be built for the observation's shape.
    """

    goal: Tensor
    latent_variance: Tensor
    silhouette: Silhouette | None
    sight: Sight | None
    """Reads observations of a camera that may be faulty; None before it is learned."""
    objective: ClassVar[type[ObjectiveConfig]] = ObjectiveConfig
    """The class of the objective's options."""
    term_titles: ClassVar[Mapping[str, str]]
    """Title of each term in pictures, with its unit; in the order of the pictures."""
    tracked: ClassVar[tuple[str, ...]] = ("reconstruction", "prediction")
    """Terms whose sum is positive, and grows to a multiple when training diverges."""
    one_step: ClassVar[bool] = False
    """Whether its objective is defined on roll-outs of one step only."""
    dynamics: ClassVar[type[Transition]] = LocallyLinear
    """The class of the transition."""

    def __init__(self, config: ModelConfig, spec: ProblemSpec, goal: Tensor) -> None:
        super().__init__()
        encoder = look_up(ENCODERS, config.encoder, "model.encoder")
        self.encoder = build(encoder, Encoder, spec.planes, config)
        self.decoder = self.build_decoder(config, spec)
        self.transition = build(self.dynamics, Transition, config, spec.control_scale)
        self.silhouette = Silhouette(spec.planes) if config.view == "silhouette" else None
        self.sight = None
        self.register_buffer("goal", goal)
        self.register_buffer("latent_variance", torch.ones(()))

    def build_decoder(self, config: ModelConfig, spec: ProblemSpec) -> Drawer:
        """Build what draws images: the decoder that ``config`` names; a method may override it."""
        decoder = look_up(DECODERS, config.decoder, "model.decoder")
        return build(decoder, Decoder, spec.planes, config)

    def check(self, planes: tuple[int, ...]) -> None:
        """Raise an E2CError unless encoder, decoder, likelihood return what they must for images.

        The images are a ramp from black to white, of shape ``planes [C, H, W]``. No layer learns
        from them.
        """
        x = torch.linspace(0, 1, 2 * math.prod(planes)).view(2, *planes)
        learning = self.training
        self.eval()
        with torch.enable_grad():
            self.encoder.check(x)
            if isinstance(self.decoder, Decoder):
                self.decoder.check(self.encoder(x).mean.detach(), x)
        self.train(learning)

    @abstractmethod
    def terms(self, batch: Batch, draws: Draws, objective: Options) -> dict[str, Tensor]:
        """Evaluate the named terms of the objective on a batch of windows.

        Args:
            batch: the windows.
            draws: source of every random number.
            objective: its options.

        Returns:
            Batch means, each a scalar; log likelihoods and divergences in nats per observation.
        """

    @abstractmethod
    def weights(self, objective: Options, latent_weight: Weight) -> Mapping[str, Weight]:
        """Return the weights of the terms in the loss; ``latent_weight`` is lambda, on its ramp."""

    def forward(
        self, batch: Batch, draws: Draws, objective: Options, latent_weight: Weight
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, a weighted sum of terms, and these terms; see `terms`."""
        terms = self.terms(batch, draws, objective)
        weights = self.weights(objective, latent_weight)
        loss = torch.stack([share * terms[name] for name, share in weights.items()]).sum()
        return loss, terms

    def see(self, frames: Tensor) -> Tensor:
        """Return uint8 ``frames [..., C, H, W]`` as the networks see them, of the same shape."""
        seen: Tensor = frames if self.silhouette is None else self.silhouette(frames)
        return seen

    def encode(self, observations: NDArray[np.uint8] | Tensor) -> DiagonalGaussian:
        """Encode uint8 observations ``[..., C, H, W]`` to ``q(z|x)`` over ``[..., n]``.

        Raises:
            E2CError: for another type or shape.
        """
        return self._read_by(self.encoder, observations)

    def read(self, observations: NDArray[np.uint8] | Tensor) -> DiagonalGaussian:
        """Read uint8 observations ``[..., C, H, W]`` of a camera that may be faulty.

        Returns:
            The sight's estimate of the clean encoding, over ``[..., n]``; the encoding itself where
            there is no sight.

        Raises:
            E2CError: for another type or shape.
        """
        if self.sight is None:
            return self.encode(observations)
        return self._read_by(self.sight, observations)

    def _read_by(
        self, reader: nn.Module, observations: NDArray[np.uint8] | Tensor
    ) -> DiagonalGaussian:
        """Let the encoder or the sight read, in compiled code where there is some."""
        seen = self.see(self._planes(observations).to(self.goal.device))
        q: DiagonalGaussian | None = reading.read(reader, seen)
        return reader(seen.float() / 255) if q is None else q

    def _planes(self, observations: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return observations as a tensor, or raise an E2CError for another type or shape."""
        given: Any = observations
        if not isinstance(given, Tensor):
            given = np.asarray(given)
            if not (given.flags.c_contiguous and given.flags.writeable):  # as torch wants arrays
                given = given.copy()
        wanted = tuple(self.goal.shape)
        if given.dtype not in _BYTES or given.shape[-len(wanted) :] != wanted:
            raise E2CError(
                f"A model reads uint8 observations of shape [..., {', '.join(map(str, wanted))}]; "
                f"got {given.dtype} of {list(given.shape)}; give what the world shows, channels "
                "first."
            )
        return torch.as_tensor(given)

    def roll_out(self, z: Tensor, u: Tensor) -> Tensor:
        """Predict open loop, without noise.

        Args:
            z: the first latent states, ``[..., n]``.
            u: the controls, ``[..., T, m]``.

        Returns:
            The path, ``[..., T + 1, n]``; it begins with ``z``.
        """
        path = [z]
        for control in u.unbind(-2):
            path.append(self.transition.step(path[-1], control))
        return torch.stack(path, -2)

    def decode(self, z: Tensor) -> NDArray[np.uint8]:
        """Draw what ``z [..., n]`` looks like, uint8 ``[..., C, H, W]``."""
        drawn = self.decoder.draw(z)
        if self.silhouette is not None:
            drawn = self.silhouette.inverse(drawn)
        shown: NDArray[np.uint8] = drawn.cpu().numpy()
        return shown

    @torch.no_grad()
    def measure(self, observations: NDArray[np.uint8]) -> None:
        """Set `latent_variance` from ``observations [N, C, H, W]``, and let the decoder remember.

        It is called when a phase of training ends.

        Raises:
            E2CError: when all are encoded alike, so that there is no unit of latent distances.
        """
        latents = self.encode(observations).mean
        variance, size = latents.var(0).sum(), latents.square().sum(-1).mean()
        if not variance > SAME**2 * size:
            raise E2CError(
                f"{type(self.encoder).__name__} encodes all {len(observations)} observations "
                "alike, so nothing can be told apart; see that its features depend on its images "
                "(a ReLU that is never active passes nothing on), and that something moves in the "
                "data."
            )
        self.latent_variance.copy_(variance)
        seen = self.see(torch.from_numpy(observations).to(latents.device))
        self.decoder.remember(seen, latents)
