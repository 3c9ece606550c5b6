"""What every method owes, over the registry; and that a wrong name is told."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, MODEL, SPEC, generator, images, tiny_model
from torch import Tensor

from e2c.config import ObjectiveConfig, OptimiserConfig
from e2c.errors import E2CError
from e2c.learning.trainer import Trainer
from e2c.models import checkpoint
from e2c.models.base import LatentModel
from e2c.models.methods import METHODS
from e2c.models.objectives import Batch

B = 6
OBJECTIVE = ObjectiveConfig(horizon=1, targets=1)


def model_of(method: str) -> LatentModel:
    model = tiny_model(dataclasses.replace(MODEL, method=method))
    model.measure(images(300, seed=5))
    return model


def pairs() -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(images(2 * B, SPEC, seed=2)).float() / 255
    u = torch.rand(B, 1, len(SPEC.control_low), generator=generator(1))
    return x.unflatten(0, (B, 2)), u


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_made_of_named_finite_terms(method: str) -> None:
    model, (x, u) = model_of(method), pairs()
    terms = model.terms(Batch(x, u, [0, 1]), generator(4), OBJECTIVE)
    weights = model.weights(OBJECTIVE, 0.25)
    assert weights.keys() <= terms.keys()
    assert all(value.shape == () and value.isfinite() for value in terms.values())
    assert model.tracked
    assert sum(terms[name].item() for name in model.tracked) > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_trains_every_weight_of_the_encoder_and_the_transition(method: str) -> None:
    model, (x, u) = model_of(method), pairs()
    terms = model.terms(Batch(x, u, [0, 1]), generator(4), OBJECTIVE)
    weights = model.weights(OBJECTIVE, 0.25)
    torch.stack([share * terms[name] for name, share in weights.items()]).sum().backward()
    for part in (model.encoder, model.transition):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("method", METHODS)
def test_the_generator_decides_the_loss(method: str) -> None:
    model, (x, u) = model_of(method), pairs()
    once, again = (model.terms(Batch(x, u, [0, 1]), generator(3), OBJECTIVE) for _ in range(2))
    assert all(torch.equal(once[name], again[name]) for name in once)


@pytest.mark.parametrize("method", METHODS)
def test_it_draws_observations(method: str) -> None:
    model = model_of(method)
    drawn = model.decode(torch.randn(3, 2, MODEL.latent_dim, generator=generator()))
    assert drawn.shape == (3, 2, *SPEC.observation_shape)
    assert drawn.dtype == "uint8"


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_brings_it_back(method: str, tmp_path: Path) -> None:
    model = model_of(method)
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, method=method))
    checkpoint.save(tmp_path / checkpoint.NAME, model, config, SPEC)
    loaded, *_ = checkpoint.load(tmp_path)
    assert type(loaded) is METHODS[method]
    z = torch.randn(3, MODEL.latent_dim, generator=generator())
    assert (loaded.decode(z) == model.decode(z)).all()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize("method", METHODS)
def test_a_state_of_training_holds_all_of_it(method: str) -> None:
    trainer = Trainer(model_of(method), OBJECTIVE, OptimiserConfig(), 0)
    kept = trainer.state()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1)
    trainer.restore(kept)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(kept.tensors[f"model/{name}"], value)


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(E2CError, match=r"no method 'slowvae' \(model.method\); did you mean slow_"):
        model_of("slowvae")
