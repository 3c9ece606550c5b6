"""Observations that compiled code reads say what they say in torch, which gradients ask for."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import MODEL, SPEC, generator, images, tiny_model
from torch import Tensor, nn

from e2c.models import reading
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.encoders import MLPEncoder
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.sight import PLACES, Sight

COLOUR = dataclasses.replace(SPEC, observation_shape=(2, 6, 12, 3))
"""Six planes of 6 x 12 pixels."""
N = MODEL.latent_dim
Light = tuple[float, float] | None


def model_of(
    encoder: str = "siamese", spec: ProblemSpec = SPEC, light: Light = (0.3, 0.2), **more: Any
) -> LatentModel:
    """A model with a sight, unless there is no light, whose biases are not zero."""
    model = tiny_model(dataclasses.replace(MODEL, encoder=encoder, **more), spec)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(1)))
    if light is not None:
        model.sight = Sight(model.encoder, N)
        model.sight.light.copy_(torch.tensor(light))
    return model


def reader_of(model: LatentModel) -> nn.Module:
    """The network that reads observations."""
    return model.encoder if model.sight is None else model.sight.encoder


def planes(count: int, spec: ProblemSpec = SPEC) -> NDArray[np.uint8]:
    return spec.layout.to_planes(images(count, spec, seed=4))


def in_torch(model: LatentModel, x: NDArray[np.uint8]) -> DiagonalGaussian:
    with torch.enable_grad():
        q = model.read(x)
    assert q.mean.requires_grad
    return q


def assert_same(model: LatentModel, x: NDArray[np.uint8]) -> Tensor:
    """Read in both ways, compare, and return the mean."""
    with torch.no_grad():
        q, wanted = model.read(x), in_torch(model, x)
        reader = model.encoder if model.sight is None else model.sight
        assert reading.read(reader, torch.from_numpy(x)) is not None, "compiled"
    assert q.mean.shape == (*x.shape[:-3], N)
    for name in ("mean", "log_variance"):
        pair = getattr(q, name), getattr(wanted, name).detach()
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5, equal_nan=True)
    return q.mean


@pytest.mark.parametrize("encoder", ["mlp", "siamese", "conv"])
@pytest.mark.parametrize("light", [None, (0.3, 0.2)], ids=["encoder", "sight"])
@pytest.mark.parametrize("spec", [SPEC, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_read_as_in_torch(encoder: str, light: Light, spec: ProblemSpec, activation: str) -> None:
    model = model_of(encoder, spec, light, activation=activation)
    for batch in (1, reading.FEW, reading.FEW + 1):
        z = assert_same(model, planes(batch, spec))
        assert z.std() > 0.01
    assert_same(model, planes(1, spec)[0])
    assert_same(model, planes(6, spec).reshape(2, 3, *spec.planes))
    assert_same(model, planes(6, spec)[::2])


@pytest.mark.parametrize("pool", [1, 2, 6])
@pytest.mark.parametrize("hidden", [(5,), (5, 7), (9, 6, 5, 8)])
def test_blocks_and_layers_of_any_number(pool: int, hidden: tuple[int, ...]) -> None:
    assert_same(model_of(pool=pool, encoder_hidden=hidden), planes(2))


@pytest.mark.parametrize("grey", [0, 31, 255])
def test_frames_without_contrast(grey: int) -> None:
    x = planes(2)
    x[0] = grey
    x[1, 1] = grey
    assert bool(assert_same(model_of(), x).isfinite().all())
    x[0, 0, 0, 0] ^= 1
    assert_same(model_of(), x)


def test_what_is_not_finite_stays_so() -> None:
    model, other = model_of(), model_of(light=(torch.nan, 1.0))
    first, *_, last = reader_of(model).parameters()
    with torch.no_grad():
        first[2, 3], last[0] = torch.nan, torch.inf
    assert bool(assert_same(model, planes(2)).isnan().any())
    assert bool(assert_same(other, planes(2)).isnan().all())


def test_weights_may_change_in_place_or_be_replaced() -> None:
    model = model_of()
    before = assert_same(model, planes(2))
    with torch.no_grad():
        next(reader_of(model).parameters()).mul_(2)
    changed = assert_same(model, planes(2))
    model.load_state_dict({k: v.clone() for k, v in model_of().state_dict().items()}, assign=True)
    assert not torch.equal(changed, before)
    assert torch.equal(assert_same(model, planes(2)), before)


class Doubled(MLPEncoder):
    """Computes something else than its class."""

    def forward(self, x: Tensor) -> DiagonalGaussian:
        q = super().forward(x)
        return DiagonalGaussian(2 * q.mean, q.log_variance)


class Tripled(MLPEncoder):
    """Has other features."""

    def features(self, images: Tensor) -> Tensor:
        return 3 * super().features(images)


def test_what_computes_something_else_is_read_so() -> None:
    model, x = model_of("mlp", light=None), planes(2)
    mean = assert_same(model, x)
    model.encoder.__class__ = Tripled
    torch.testing.assert_close(assert_same(model, x), 3 * mean)
    model.encoder.__class__ = Doubled
    with torch.no_grad():
        assert reading.read(model.encoder, torch.from_numpy(x)) is None
        torch.testing.assert_close(model.read(x).mean, 2 * mean)


def test_layers_without_compiled_code_are_applied_by_torch() -> None:
    model = model_of("mlp")
    encoder = reader_of(model)
    assert isinstance(encoder, MLPEncoder)
    encoder.net[1] = nn.Tanh()
    assert_same(model, planes(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 5])
def test_motion_is_doubted_as_in_torch(dtype: torch.dtype, batch: int) -> None:
    sight = Sight(tiny_model().encoder, N).to(dtype)
    for name, shape in (("places", (PLACES, N)), ("motion", (PLACES, N, N))):
        getattr(sight, name).copy_(torch.randn(shape, generator=generator(1)))
    z, expected = (torch.randn(batch, N, generator=generator(s), dtype=dtype) for s in (2, 3))
    expected[-1, 1], z[0, 2] = torch.inf, z[0, 2] if batch == 1 else torch.nan
    given = z.clone()
    found = sight.steadied(z, expected)
    wanted = sight.steadied(z.clone().requires_grad_(), expected)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted.detach(), equal_nan=True)
    assert torch.equal(found[-1], z[-1])
    assert batch == 1 or not torch.equal(found[1:-1], z[1:-1])
    torch.testing.assert_close(z, given, equal_nan=True, msg="what is given stays")
