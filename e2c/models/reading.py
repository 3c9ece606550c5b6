"""Reading observations on a CPU in compiled code, which needs fewer calls than torch.

`e2c.models.sight.Sight` and `e2c.models.encoders.Encoder` do the same in torch, to rounding.
Weights are read in every call, so they may change at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2c.models.encoders import Encoder, MLPEncoder, SiameseEncoder
from e2c.models.gaussians import LOG_VARIANCE_RANGE, DiagonalGaussian
from e2c.models.sight import DARK, Sight

FEW = 4
"""Up to this many observations, compiled layers are faster than torch's."""
Rows = NDArray[np.float32]


def read(reader: nn.Module, observations: Tensor) -> DiagonalGaussian | None:
    """Return what a sight or an encoder returns, or None where torch has to compute it.

    Torch has to on a GPU, where gradients are wanted, and for an encoder with another ``forward``.

    Args:
        reader: a sight or an encoder.
        observations: uint8 ``[..., C, H, W]``, as the networks see them.

    Returns:
        ``q(z|x)`` over ``[..., n]``.
    """
    encoder: Any = reader.encoder if type(reader) is Sight else reader
    if (
        torch.is_grad_enabled()
        or observations.device.type != "cpu"
        or type(encoder).forward is not Encoder.forward
    ):
        return None
    from e2c.models import read_kernels  # and with it numba, only where it is needed

    *lead, C, H, W = observations.shape
    light = np.empty(0, np.float32) if encoder is reader else _array(reader.light)
    frames = observations.reshape(-1, C, H, W).contiguous().numpy()
    images = read_kernels.look(frames, encoder.pool, light, DARK)
    features = COMPILED.get(type(encoder)) if len(images) <= FEW else None
    if features is None:
        given = torch.from_numpy(images).reshape(-1, *encoder.image_shape)
        y = encoder.features(given).numpy()
    else:
        y = features(encoder, images)
    n, (low, high) = y.shape[1] // 2, LOG_VARIANCE_RANGE
    parts = y[:, :n], np.minimum(np.maximum(y[:, n:], low), high)
    return DiagonalGaussian(*(torch.from_numpy(part.reshape(*lead, n)) for part in parts))


def _mlp(encoder: MLPEncoder, images: Rows) -> Rows:
    """Compute `MLPEncoder.features` of ``images [N, C, P]`` with P pixels."""
    return _apply(encoder.net, images.reshape(len(images), -1))


def _siamese(encoder: SiameseEncoder, images: Rows) -> Rows:
    """Compute `SiameseEncoder.features` of ``images [N, C, P]``."""
    planes = _apply(encoder.plane, images.reshape(-1, images.shape[-1]))
    return _apply(encoder.planes, planes.reshape(len(images), -1))


COMPILED: dict[type[Encoder], Callable[[Any, Rows], Rows]] = {
    MLPEncoder: _mlp,
    SiameseEncoder: _siamese,
}
"""Functions that compute the features of each encoder for few observations."""


def _apply(net: nn.Sequential, h: Rows) -> Rows:
    """Apply linear layers and activations to ``h [N, I]``."""
    from e2c.models import read_kernels

    for layer in net:
        if type(layer) is nn.Sequential:
            h = _apply(layer, h)
        elif type(layer) is nn.Linear:
            h = read_kernels.linear(h, _array(layer.weight), _array(layer.bias))
        elif type(layer) in (nn.SiLU, nn.ReLU):
            read_kernels.activate(h, type(layer) is nn.SiLU)
        else:
            h = layer(torch.from_numpy(h)).numpy()
    return h


def _array(tensor: Any) -> Rows:
    """Return a tensor as an array, without a copy."""
    array: Rows = tensor.numpy(force=True)
    return array
