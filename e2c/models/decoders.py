"""``p(x|z)``: from a latent state to what the camera would see.

An own decoder is a subclass of `Decoder` and one line in `DECODERS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from e2c.errors import E2CError
from e2c.models.draws import Draws
from e2c.models.layers import ACTIVATIONS, check_divides, mlp, orthogonal
from e2c.models.likelihoods import LIKELIHOODS, Likelihood
from e2c.models.options import ModelConfig
from e2c.models.parts import build, check_learns, check_tensor
from e2c.options import look_up
from planners.names import Names

ROUNDING = 1e-3
"""A negative log likelihood may be this much below 0 [nats]."""


class Drawer(nn.Module, ABC):
    """Draws a latent state for people to look at; every method has a drawer."""

    @abstractmethod
    def draw(self, z: Tensor) -> Tensor:
        """Draw ``z [..., n]``, uint8 ``[..., C, H, W]``."""

    def start_at(self, mean_observation: Tensor) -> None:
        """Begin training from the mean image ``[C, H, W]`` in [0, 1]; by default, do nothing."""

    def remember(self, observations: Tensor, latents: Tensor) -> None:
        """Take observations at the end of a phase of training; by default, do nothing.

        Args:
            observations: uint8 ``[N, C, H, W]``.
            latents: their encodings, ``[N, n]``.
        """


class Gallery(Drawer):
    """Draws the nearest of the observations that it remembers, where a method learns no decoder.

    Args:
        observation_shape: ``(C, H, W)``.
        n: latent dimension.
    """

    size = 256
    """How many observations it remembers."""
    observations: Tensor
    latents: Tensor

    def __init__(self, observation_shape: Sequence[int], n: int) -> None:
        super().__init__()
        held = torch.zeros(self.size, *observation_shape, dtype=torch.uint8)
        self.register_buffer("observations", held)
        self.register_buffer("latents", torch.zeros(self.size, n))

    def remember(self, observations: Tensor, latents: Tensor) -> None:
        """Remember `size` of the observations, evenly spread; see `Drawer.remember`."""
        chosen = torch.arange(self.size) * len(observations) // self.size
        self.observations.copy_(observations[chosen])
        self.latents.copy_(latents[chosen])

    def draw(self, z: Tensor) -> Tensor:
        """Return the observation encoded nearest to ``z [..., n]``, uint8 ``[..., C, H, W]``."""
        flat = z.reshape(-1, z.shape[-1])
        nearest = torch.cdist(flat, self.latents).argmin(-1)
        return self.observations[nearest].unflatten(0, z.shape[:-1])


class Decoder(Drawer):
    """``p(x|z)``: a network returns a number y for every pixel, a likelihood gives ``p(x|y)``.

    Attributes:
        observation_shape: ``(C, H, W)``.
        likelihood: ``p(x|y)`` of a pixel.

    Args:
        observation_shape: ``(C, H, W)``.
        config: the networks' options.

    Raises:
        E2CError: when ``model.likelihood`` is unknown or no likelihood.
    """

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__()
        self.observation_shape = tuple(observation_shape)
        kind = look_up(LIKELIHOODS, config.likelihood, "model.likelihood")
        self.likelihood = build(kind, Likelihood)

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Return y of all pixels, ``[..., C, H, W]``, for ``z [..., n]``."""

    @abstractmethod
    def start_at(self, mean_observation: Tensor) -> None:
        """Let the untrained decoder draw the mean image at ``z = 0``.

        Args:
            mean_observation: ``[C, H, W]`` in [0, 1].
        """

    def check(self, z: Tensor, x: Tensor) -> None:
        """Raise an E2CError unless all methods return what they must.

        Args:
            z: ``[N, n]``; the first is drawn alone too, and all as ``[N, 1, n]``.
            x: ``[N, C, H, W]`` in [0, 1].
        """
        p = self.likelihood
        for latents, images in ((z, x), (z[0], x[0]), (z.unsqueeze(1), x.unsqueeze(1))):
            y = self(latents)
            check_tensor(self, "forward()", y, images.shape)
            check_learns(self, "forward()", y)
        y, right = self(z), p.inverse(x)
        check_tensor(p, "inverse()", right, x.shape)
        check_tensor(p, "mean()", p.mean(y), x.shape)
        check_tensor(p, "negative_log()", p.negative_log(y, x), x.shape)
        least = p.negative_log(right, x).min().item()
        if least < -ROUNDING:
            raise E2CError(
                f"{type(p).__name__}.negative_log() returned {least:.3g} where the drawing is "
                "right; let it return nothing below 0, such as by a constant that is added (a "
                "density becomes the probability of one grey level in 255 by adding log 255)."
            )

    def negative_log_likelihood(self, z: Tensor, x: Tensor, draws: Draws) -> Tensor:
        """``-log p(x|z)`` ``[...]`` in nats, or an estimate without bias.

        Args:
            z: ``[..., n]``.
            x: ``[..., C, H, W]`` in [0, 1].
            draws: source of an estimate's random numbers.
        """
        return self.likelihood.negative_log(self(z), x).sum((-3, -2, -1))

    def draw(self, z: Tensor) -> Tensor:
        """Draw the mean of ``p(x|z)``, uint8 ``[..., C, H, W]``, for ``z [..., n]``."""
        return (self.likelihood.mean(self(z)) * 255).round().to(torch.uint8)


class MLPDecoder(Decoder):
    """Fully connected layers to all pixels.

    The last layer is cut into ``lattices ** 2`` heads. Head ``(i, j)`` draws the pixels at rows
    ``i, i + lattices, ...`` and columns ``j, j + lattices, ...``. The likelihood is estimated from
    one such lattice, drawn at random, at a fraction of the cost of the whole image.

    Raises:
        E2CError: when ``model.lattices`` does not divide H and W, ``model.decoder_hidden`` is empty
            or ``model.likelihood`` is unknown.
    """

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__(observation_shape, config)
        check_divides("model.lattices", config.lattices, *self.observation_shape[1:])
        hidden, activation = config.decoder_hidden, config.activation
        if not hidden:
            raise E2CError("model.decoder_hidden is empty; it must hold at least one width.")
        self.lattices = config.lattices
        trunk = mlp([config.latent_dim, *hidden], activation)
        self.trunk = nn.Sequential(trunk, ACTIVATIONS[activation]())
        pixels = math.prod(observation_shape) // self.lattices**2
        heads = [mlp([hidden[-1], pixels], activation) for _ in range(self.lattices**2)]
        self.heads = nn.ModuleList(heads)

    def forward(self, z: Tensor) -> Tensor:
        """See `Decoder.forward`."""
        C, H, W = self.observation_shape
        r, h = self.lattices, self.trunk(z)
        drawn = [head(h).reshape(-1, C, H // r, W // r) for head in self.heads]
        return pixel_shuffle(torch.stack(drawn, 2).flatten(1, 2), r).reshape(*z.shape[:-1], C, H, W)

    def negative_log_likelihood(self, z: Tensor, x: Tensor, draws: Draws) -> Tensor:
        """Return an estimate from one lattice; see `Decoder.negative_log_likelihood`."""
        count = self.lattices**2
        lattice = draws.choice(count)
        y, pixels = self.draw_lattice(z, lattice), self.take_lattice(x, lattice)
        return count * self.likelihood.negative_log(y, pixels).sum(-1)

    def draw_lattice(self, z: Tensor, lattice: int) -> Tensor:
        """Return y of one lattice, ``[..., pixels / lattices**2]``, for ``z [..., n]``."""
        y: Tensor = self.heads[lattice](self.trunk(z))
        return y

    def take_lattice(self, x: Tensor, lattice: int) -> Tensor:
        """Take one lattice of ``x [..., C, H, W]``, its pixels in the order of `draw_lattice`."""
        i, j = divmod(lattice, self.lattices)
        return x[..., i :: self.lattices, j :: self.lattices].flatten(-3)

    @torch.no_grad()
    def start_at(self, mean_observation: Tensor) -> None:
        """Set the bias of every head; see `Decoder.start_at`."""
        y = self.likelihood.inverse(mean_observation)
        for lattice, head in enumerate(self.heads):
            head.get_parameter("0.bias").copy_(self.take_lattice(y, lattice))


class ConvDecoder(Decoder):
    """Fully connected layers to a small image, then three convolutions that each double its sides.

    A convolution returns the four pixels that replace a pixel as four channels (sub-pixel
    convolution, Shi et al. 2016). This takes a third of the time of convolving the larger image.
    The sides of the small image are an eighth of the observation's, rounded up, and pixels beyond
    the observation are cut off. So images of any size are drawn. Every pixel has its own bias.
    """

    channels = (32, 16, 8)
    """Channels of the small image, and after each convolution but the last."""

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__(observation_shape, config)
        C, H, W = self.observation_shape
        self.small = (self.channels[0], -(-H // 8), -(-W // 8))
        sizes = [config.latent_dim, *config.decoder_hidden, math.prod(self.small)]
        self.net = mlp(sizes, config.activation)
        layers: list[nn.Module] = []
        for C_in, C_out in zip(self.channels, (*self.channels[1:], C), strict=True):
            layers += [
                ACTIVATIONS[config.activation](),
                orthogonal(nn.Conv2d(C_in, 4 * C_out, kernel_size=3, padding=1)),
                nn.PixelShuffle(2),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.bias = nn.Parameter(torch.zeros(C, H, W))

    def forward(self, z: Tensor) -> Tensor:
        """See `Decoder.forward`."""
        _, H, W = self.observation_shape
        small = self.net(z).reshape(-1, *self.small)
        drawn = self.convolutions(small)[..., :H, :W] + self.bias
        return drawn.reshape(*z.shape[:-1], *self.observation_shape)

    @torch.no_grad()
    def start_at(self, mean_observation: Tensor) -> None:
        """Set the bias of every pixel; see `Decoder.start_at`."""
        self.bias.copy_(self.likelihood.inverse(mean_observation))


DECODERS: dict[str, type[Decoder]] = Names("decoder", {"mlp": MLPDecoder, "conv": ConvDecoder})
"""What ``model.decoder`` may be."""
