"""What every method owes, over the registry; and that a wrong name is told."""

import copy
import dataclasses
import pickle
import threading
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, MODEL, SPEC, batch_of, generator, images, noise_data, tiny_model
from torch import Tensor, nn

from e2c.config import with_method
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.learning.schedule import OptimiserConfig, Phase
from e2c.learning.trainer import Trainer
from e2c.models import checkpoint
from e2c.models.base import LatentModel
from e2c.models.draws import Generators, seeded
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.methods import METHODS
from e2c.models.objectives import ObjectiveConfig
from e2c.presets import PRESETS, preset

B = 6


def objective_of(method: str) -> ObjectiveConfig:
    return METHODS[method].objective(horizon=1, targets=1)


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
    terms = model.terms(batch_of(x, u, [0, 1]), Generators(4), objective_of(method))
    weights = model.weights(objective_of(method), 0.25)
    assert weights.keys() <= terms.keys()
    assert all(value.shape == () and value.isfinite() for value in terms.values())
    assert model.term_titles.keys() == terms.keys(), "every term has a title"
    assert model.tracked
    assert sum(terms[name].item() for name in model.tracked) > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_trains_every_weight_of_the_encoder_and_the_transition(method: str) -> None:
    model, (x, u) = model_of(method), pairs()
    terms = model.terms(batch_of(x, u, [0, 1]), Generators(4), objective_of(method))
    weights = model.weights(objective_of(method), 0.25)
    torch.stack([share * terms[name] for name, share in weights.items()]).sum().backward()
    for part in (model.encoder, model.transition):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("method", METHODS)
def test_the_generator_decides_the_loss(method: str) -> None:
    model, (x, u) = model_of(method), pairs()
    once, again = (
        model.terms(batch_of(x, u, [0, 1]), Generators(3), objective_of(method)) for _ in range(2)
    )
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
    config = with_method(dataclasses.replace(CONFIG, model=MODEL), method)
    checkpoint.save(tmp_path / checkpoint.NAME, model, config, SPEC)
    loaded, *_ = checkpoint.load(tmp_path)
    assert type(loaded) is METHODS[method]
    z = torch.randn(3, MODEL.latent_dim, generator=generator())
    assert (loaded.decode(z) == model.decode(z)).all()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize("method", METHODS)
def test_a_state_of_training_holds_all_of_it(method: str) -> None:
    trainer = Trainer(model_of(method), objective_of(method), OptimiserConfig(), 0)
    kept = trainer.state()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1)
    trainer.restore(kept)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(kept.tensors[f"model/{name}"], value)


@pytest.mark.parametrize("method", METHODS)
def test_one_pair_is_a_batch(method: str) -> None:
    model, (x, u) = model_of(method), pairs()
    terms = model.terms(batch_of(x[:1], u[:1], [0, 1]), Generators(4), objective_of(method))
    assert all(value.isfinite() for value in terms.values())


@pytest.mark.parametrize("lead", [(), (1,), (5,), (3, 2)])
@pytest.mark.parametrize("method", METHODS)
def test_a_roll_out_is_one_step_after_the_other(method: str, lead: tuple[int, ...]) -> None:
    model, (n, m, T) = model_of(method), (MODEL.latent_dim, 2, 7)
    z, u = (torch.randn(*lead, *size, generator=generator(1)) for size in ((n,), (T, m)))
    path = model.roll_out(z, u)
    assert path.shape == (*lead, T + 1, n)
    assert torch.equal(path[..., 0, :], z)
    for t in range(T):
        following = model.transition.step(path[..., t, :], u[..., t, :])
        torch.testing.assert_close(path[..., t + 1, :], following)
    assert torch.equal(model.roll_out(z, u[..., :0, :]), z.unsqueeze(-2))


@pytest.mark.parametrize("method", METHODS)
def test_models_can_be_copied_and_pickled(method: str) -> None:
    model = model_of(method)
    x = images(3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.encode(x).mean, model.encode(x).mean)
        assert (other.decode(other.encode(x).mean) == model.decode(model.encode(x).mean)).all()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_its_method(name: str) -> None:
    """Its options are those of its method, which takes roll-outs of that length."""
    config = preset(name)
    model = tiny_model(dataclasses.replace(MODEL, method=config.model.method))
    trainer = Trainer(model, config.objective, config.optimiser, 0)
    windows = Windows([noise_data((9, 11))], config.objective.horizon, 0.0, model.goal.device)
    (row,) = trainer.run(windows, Phase(1, 1e-3, ramp=True))
    assert trainer.titles.keys() <= row.keys()


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(E2CError, match=r"no method 'slowvae' \(model.method\); did you mean slow_"):
        model_of("slowvae")


def test_only_one_thread_at_a_time_has_the_global_generator() -> None:
    before, drawn = torch.random.get_rng_state(), list[float]()

    def draw() -> None:
        with seeded(1):
            drawn.append(float(torch.rand(())))

    other = threading.Thread(target=draw)
    with seeded(0):
        other.start()
        other.join(0.05)
        assert not drawn
        assert float(torch.rand(())) == float(torch.rand((), generator=generator(0)))
    other.join()
    assert drawn == [float(torch.rand((), generator=generator(1)))]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_model_reads_what_a_world_shows_and_nothing_else() -> None:
    model, seen = tiny_model(), images(3)
    right = model.encode(seen).mean
    locked = seen.copy()
    locked.flags.writeable = False
    for same in (torch.from_numpy(seen), locked, seen[::-1].copy()[::-1]):
        torch.testing.assert_close(model.encode(same).mean, right)
    for wrong in (seen / 255, torch.from_numpy(seen) / 255, seen > 0, seen[..., :-1], 3, [None]):
        with pytest.raises(E2CError, match=r"^A model reads uint8 observations of shape \[..., 3"):
            model.encode(wrong)  # type: ignore[arg-type]


class Nearly(nn.Module):
    """Encodes observations near 1, as far apart as ``spread`` says."""

    spread = 0.0

    def forward(self, x: torch.Tensor) -> DiagonalGaussian:
        mean = 1 + self.spread * x.flatten(-3)[..., :4]
        return DiagonalGaussian(mean, torch.zeros_like(mean))


@pytest.mark.parametrize(("spread", "told"), [(1e-4, True), (1e-8, False), (0.0, False)])
def test_what_differs_by_rounding_alone_is_encoded_alike(spread: float, told: bool) -> None:
    """Encodings that lie near one another, far from 0, are told apart all the same."""
    model = tiny_model()
    model.encoder = Nearly()  # type: ignore[assignment]
    model.encoder.spread = spread  # type: ignore[assignment]
    if told:
        model.measure(images(50))
        assert model.latent_variance.item() == pytest.approx(4 * spread**2 / 12, rel=0.5)
    else:
        with pytest.raises(E2CError, match=r"^Nearly encodes all 50 observations alike"):
            model.measure(images(50))
