"""What networks are built of: fully connected and convolutional layers, and exact derivatives."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from e2c.errors import E2CError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}
"""What ``model.activation`` may be."""
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer) -> Layer:
    """Return ``layer`` with orthogonal weights and biases of 0.

    Watter et al. 2015 call orthogonal initialisation fundamentally important. The weights are drawn
    from torch's global generator: fork and seed it to reproduce them.
    """
    nn.init.orthogonal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def mlp(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """Fully connected layers, ``sizes[0] -> ... -> sizes[-1]``, initialised by `orthogonal`.

    Args:
        sizes: widths, input first, output last.
        activation: a key of `ACTIVATIONS`, between the layers (none after the last).
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [orthogonal(nn.Linear(fan_in, fan_out)), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def check_divides(name: str, divisor: int, height: int, width: int) -> None:
    """Raise an E2CError unless an option divides both sides of the image.

    Args:
        name: dotted name of the option, for the message.
        divisor: its value.
        height: H [px].
        width: W [px].
    """
    if height % divisor or width % divisor:
        raise E2CError(f"{name} is {divisor}; it must divide the image of {height}x{width} pixels.")


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
