"""``q(z|x)``: from an observation to a Gaussian over the latent state.

An own encoder is a subclass of `Encoder` with one method, `Encoder.features`, and one line in
`ENCODERS`; ``examples/own_encoder.py`` shows both.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e2c.errors import E2CError
from e2c.models.gaussians import LOG_VARIANCE_RANGE, DiagonalGaussian
from e2c.models.layers import ACTIVATIONS, check_divides, mlp, orthogonal
from e2c.models.options import ModelConfig
from e2c.models.parts import check_learns, check_tensor
from planners.names import Names


class Encoder(nn.Module, ABC):
    """A network, before which blocks of pixels are averaged; its log variances are bounded.

    Attributes:
        image_shape: ``(C, H, W)`` of the images that the network gets, after averaging.
        outputs: 2n, how many numbers the network must return for an image.

    Args:
        observation_shape: ``(C, H, W)``.
        config: the networks' options.

    Raises:
        E2CError: when ``model.pool`` does not divide H and W.
    """

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__()
        C, H, W = observation_shape
        check_divides("model.pool", config.pool, H, W)
        self.pool, self.outputs = config.pool, 2 * config.latent_dim
        self.image_shape = (C, H // config.pool, W // config.pool)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return mean and log variance, in one tensor.

        Args:
            images: ``[N, *image_shape]`` in [0, 1].

        Returns:
            ``[N, 2n]``.
        """

    def check(self, x: Tensor) -> None:
        """Raise an E2CError unless `features` returns what it must for ``x [N, C, H, W]``.

        It is called with all N at once, then with the first alone.
        """
        for images in (x, x[:1]):
            y = self.features(block_mean(images, self.pool))
            check_tensor(self, "features()", y, (len(images), self.outputs))
            check_learns(self, "features()", y)

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """Encode observations ``x [..., C, H, W]`` in [0, 1] to ``[..., n]``."""
        images = x.reshape(-1, *x.shape[-3:])
        y = self.features(block_mean(images, self.pool)).reshape(*x.shape[:-3], -1)
        mean, log_variance = y.chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))


def block_mean(images: Tensor, size: int) -> Tensor:
    """Average blocks of ``size x size`` pixels: ``[..., H, W]`` to ``[..., H/size, W/size]``.

    Rows are added first, since numbers that lie side by side are added fastest. torch's average
    pooling takes nine times as long on a CPU.
    """
    rows = functools.reduce(torch.add, (images[..., i::size, :] for i in range(size)))
    return functools.reduce(torch.add, (rows[..., j::size] for j in range(size))) / size**2


class MLPEncoder(Encoder):
    """Fully connected layers on all pixels (Watter et al. 2015, supplement 2.6.2)."""

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__(observation_shape, config)
        sizes = [math.prod(self.image_shape), *config.encoder_hidden, self.outputs]
        self.net = mlp(sizes, config.activation)

    def features(self, images: Tensor) -> Tensor:
        """See `Encoder.features`."""
        y: Tensor = self.net(images.flatten(1))
        return y


class SiameseEncoder(Encoder):
    """One fully connected network sees each plane alone; a second combines what it found.

    The planes are the frames of an observation (in colour, three of each), and all go through the
    same weights (Bromley et al. 1993). So every frame teaches the first network where things are.
    The second learns from several frames how fast they move. This needs far fewer observations
    than `MLPEncoder`, which has to see every velocity at every place.

    The last of ``model.encoder_hidden`` is the width of the second network; the widths before it
    are those of the first. A single width is that of both.

    Raises:
        E2CError: when ``model.encoder_hidden`` is empty.
    """

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__(observation_shape, config)
        if not config.encoder_hidden:
            raise E2CError("model.encoder_hidden is empty; it must hold at least one width.")
        C, H, W = self.image_shape
        together = config.encoder_hidden[-1]
        each = config.encoder_hidden[:-1] or (together,)
        activation = config.activation
        self.plane = nn.Sequential(mlp([H * W, *each], activation), ACTIVATIONS[activation]())
        self.planes = mlp([C * each[-1], together, self.outputs], activation)

    def features(self, images: Tensor) -> Tensor:
        """See `Encoder.features`."""
        y: Tensor = self.planes(self.plane(images.flatten(2)).flatten(1))
        return y


class ConvEncoder(Encoder):
    """Three convolutions, each of which halves the image, then fully connected layers.

    A side of odd length is rounded up, so that images of any size are encoded.
    """

    channels = (16, 32, 64)
    """Channels after each convolution."""

    def __init__(self, observation_shape: Sequence[int], config: ModelConfig) -> None:
        super().__init__(observation_shape, config)
        C, *sides = self.image_shape
        layers: list[nn.Module] = []
        for C_in, C_out in zip((C, *self.channels), self.channels, strict=False):
            layers += [
                orthogonal(nn.Conv2d(C_in, C_out, kernel_size=3, stride=2, padding=1)),
                ACTIVATIONS[config.activation](),
            ]
            sides = [-(-side // 2) for side in sides]
        self.convolutions = nn.Sequential(*layers)
        sizes = [self.channels[-1] * math.prod(sides), *config.encoder_hidden, self.outputs]
        self.net = mlp(sizes, config.activation)

    def features(self, images: Tensor) -> Tensor:
        """See `Encoder.features`."""
        y: Tensor = self.net(self.convolutions(images).flatten(1))
        return y


ENCODERS: dict[str, type[Encoder]] = Names(
    "encoder", {"mlp": MLPEncoder, "siamese": SiameseEncoder, "conv": ConvEncoder}
)
"""What ``model.encoder`` may be."""
