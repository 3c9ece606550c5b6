"""Encoders and decoders built from an observation shape.

Both work on any number of leading dimensions. Decoders return logits: the Bernoulli likelihood
is taken on them directly, which is what keeps the loss finite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle

from e2c.models.gaussians import DiagonalGaussian

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}

LOG_VARIANCE_RANGE = (-12.0, 4.0)
"""Encoded log variances are clamped to this range, far outside of what a healthy model uses."""


def mlp(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """Fully connected layers, ``sizes[0] -> ... -> sizes[-1]``, orthogonally initialised.

    Watter et al. 2015 call orthogonal initialisation fundamentally important; biases start at 0.
    The weights are drawn from torch's global generator: fork and seed it to reproduce them.

    Args:
        sizes: widths, input first, output last.
        activation: a key of `ACTIVATIONS`, between the layers (none after the last).
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.orthogonal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def value_and_jacobian(net: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate an `mlp` and its derivative, carrying all tangents forward at once.

    Args:
        net: linear layers and activations.
        x: ``[..., n]``.

    Returns:
        ``net(x) [..., k]``, and the transposed Jacobian ``[..., n, k]``: row i is the derivative by
        ``x_i``.
    """
    tangents = torch.eye(x.shape[-1], device=x.device, dtype=x.dtype)
    for layer in net:
        if isinstance(layer, nn.Linear):
            x, tangents = layer(x), tangents @ layer.weight.mT
        else:
            x, slope = _activate(layer, x)
            tangents = tangents * slope.unsqueeze(-2)
    return x, tangents.expand(*x.shape[:-1], -1, -1)


def _activate(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return an activation and its derivative at ``x``."""
    if isinstance(layer, nn.ReLU):
        return x.relu(), (x > 0).to(x.dtype)
    gate = x.sigmoid()
    return x * gate, gate * (1 + x * (1 - gate))


class Encoder(nn.Module):
    """``q(z|x)``: observation to a diagonal Gaussian over the latent state.

    Args:
        observation_shape: ``(C, H, W)``.
        n: latent dimension.
        hidden: widths of the hidden layers.
        activation: a key of `ACTIVATIONS`.
        pool: blocks of ``pool x pool`` pixels are averaged first; it divides H and W.
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        n: int,
        hidden: Sequence[int],
        activation: str,
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.net = mlp([math.prod(observation_shape) // pool**2, *hidden, 2 * n], activation)

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """Encode observations ``x [..., C, H, W]`` in [0, 1] to ``[..., n]``."""
        images = x.reshape(-1, *x.shape[-3:])
        pooled = avg_pool2d(images, self.pool) if self.pool > 1 else images
        y = self.net(pooled.flatten(1)).reshape(*x.shape[:-3], -1)
        mean, log_variance = y.chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))


class Gallery(nn.Module):
    """Shows the nearest of the observations that it holds, where a method learns no decoder.

    Args:
        observation_shape: ``(C, H, W)``.
        n: latent dimension.
    """

    size = 256
    """How many observations it holds."""
    observations: Tensor
    latents: Tensor

    def __init__(self, observation_shape: Sequence[int], n: int) -> None:
        super().__init__()
        held = torch.zeros(self.size, *observation_shape, dtype=torch.uint8)
        self.register_buffer("observations", held)
        self.register_buffer("latents", torch.zeros(self.size, n))

    def hang(self, observations: Tensor, latents: Tensor) -> None:
        """Hold some, evenly spread, of ``observations`` uint8 ``[N, C, H, W]`` at ``[N, n]``."""
        chosen = torch.arange(self.size) * len(observations) // self.size
        self.observations.copy_(observations[chosen])
        self.latents.copy_(latents[chosen])

    def draw(self, z: Tensor) -> Tensor:
        """Return what was seen nearest to ``z [..., n]``, uint8 ``[..., C, H, W]``."""
        flat = z.reshape(-1, z.shape[-1])
        nearest = torch.cdist(flat, self.latents).argmin(-1)
        return self.observations[nearest].unflatten(0, z.shape[:-1])


class Decoder(nn.Module):
    """``p(x|z)``: latent state to Bernoulli logits of the observation.

    The last layer is cut into ``lattices ** 2`` heads. Head ``(i, j)`` draws the pixels at rows
    ``i, i + lattices, ...`` and columns ``j, j + lattices, ...``, so that a training step may draw
    one interleaved lattice instead of the whole picture, at a fraction of the cost.

    Args:
        observation_shape: ``(C, H, W)``.
        n: latent dimension.
        hidden: widths of the hidden layers.
        activation: a key of `ACTIVATIONS`.
        lattices: it divides H and W.
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        n: int,
        hidden: Sequence[int],
        activation: str,
        lattices: int = 1,
    ) -> None:
        super().__init__()
        self.observation_shape, self.lattices = tuple(observation_shape), lattices
        self.trunk = nn.Sequential(mlp([n, *hidden], activation), ACTIVATIONS[activation]())
        pixels = math.prod(observation_shape) // lattices**2
        heads = [mlp([hidden[-1], pixels], activation) for _ in range(lattices**2)]
        self.heads = nn.ModuleList(heads)

    def forward(self, z: Tensor) -> Tensor:
        """Decode ``z [..., n]`` to logits ``[..., C, H, W]``."""
        C, H, W = self.observation_shape
        r, h = self.lattices, self.trunk(z)
        drawn = [head(h).reshape(-1, C, H // r, W // r) for head in self.heads]
        return pixel_shuffle(torch.stack(drawn, 2).flatten(1, 2), r).reshape(*z.shape[:-1], C, H, W)

    def draw(self, z: Tensor) -> Tensor:
        """Draw ``z [..., n]``: the mean of ``p(x|z)``, uint8 ``[..., C, H, W]``."""
        return (self(z).sigmoid() * 255).round().to(torch.uint8)

    def draw_lattice(self, z: Tensor, lattice: int) -> Tensor:
        """Decode ``z [..., n]`` to the logits of one lattice, ``[..., pixels / lattices**2]``."""
        return self.heads[lattice](self.trunk(z))

    def take_lattice(self, x: Tensor, lattice: int) -> Tensor:
        """Take one lattice of ``x [..., C, H, W]``, its pixels in the order of `draw_lattice`."""
        i, j = divmod(lattice, self.lattices)
        return x[..., i :: self.lattices, j :: self.lattices].flatten(-3)

    @torch.no_grad()
    def start_at(self, mean_observation: Tensor) -> None:
        """Let the untrained decoder draw the average image: its last bias becomes that logit.

        Args:
            mean_observation: ``[C, H, W]`` in [0, 1].
        """
        logits = mean_observation.clamp(1e-3, 1 - 1e-3).logit()
        for lattice, head in enumerate(self.heads):
            head.get_parameter("0.bias").copy_(self.take_lattice(logits, lattice))
