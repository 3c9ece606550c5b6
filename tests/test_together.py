"""Several seeds together: each is trained as it would be alone; counts, divergence and blur too."""

import dataclasses
from typing import Any

import pytest
import torch
from tiny import CONFIG, leave_undrawn, noise_data, shorten_runs, tiny_model

from e2c.config import Recipe, with_method
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.learning import together
from e2c.learning.run import train, train_side_by_side
from e2c.learning.schedule import OptimiserConfig, Phase
from e2c.learning.together import train_together
from e2c.learning.trainer import Trainer
from e2c.models.draws import Ahead, Asked, Generators
from e2c.models.encoders import ENCODERS, Encoder, MLPEncoder
from e2c.models.methods import METHODS, find_method
from e2c.models.objectives import ObjectiveConfig

CHUNK = 10
PHASE = Phase(CHUNK + 7, 1e-2, ramp=True)
SEEDS = (3, 0, 5)


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "CHUNK", CHUNK)


def pair(
    seed: int, method: str = "e2c", length: int = 7, encoder: str = "mlp", **options: Any
) -> tuple[Trainer, Windows]:
    """A trainer, and data whose amount depends on the seed."""
    one_step = find_method(method).one_step
    config = dataclasses.replace(CONFIG, objective=ObjectiveConfig(horizon=4, targets=2))
    if one_step:
        config = dataclasses.replace(config, objective=ObjectiveConfig(horizon=1, targets=1))
    config = with_method(config, method)
    networks = dataclasses.replace(tiny_config(), method=method, encoder=encoder)
    model = tiny_model(networks, seed=seed)
    trainer = Trainer(model, config.objective, OptimiserConfig(batch_size=5, **options), seed)
    data = noise_data((length, 9 + seed), seed=seed)
    return trainer, Windows([data], config.objective.horizon, 0.0, torch.device("cpu"))


def tiny_config() -> Any:
    return dataclasses.replace(CONFIG.model, latent_dim=4, pool=3)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("blur", [0.0, 4.0])
@pytest.mark.parametrize("method", METHODS)
def test_each_seed_is_trained_as_it_would_be_alone(method: str, blur: float) -> None:
    if blur and method != "e2c":
        return
    alone = [pair(seed, method, blur=blur) for seed in SEEDS]
    rows_alone = [list(trainer.run(windows, PHASE)) for trainer, windows in alone]
    trainers, windows = zip(*(pair(seed, method, blur=blur) for seed in SEEDS), strict=True)
    rows = list(train_together(trainers, windows, PHASE))
    for e, trainer in enumerate(trainers):
        found, expected_weights = weights(trainer), weights(alone[e][0])
        alike = torch.isclose(found, expected_weights, rtol=1e-3, atol=1e-4)
        # Adam's first steps have the sign of the gradient alone: where that is nothing but
        # rounding, which differs by processor, a weight goes the other way by part of a step.
        assert (~alike).sum() <= 2
        torch.testing.assert_close(found, expected_weights, rtol=0, atol=PHASE.learning_rate)
        for told, expected in zip(rows, rows_alone[e], strict=True):
            assert told[e] == pytest.approx(expected, rel=1e-2, abs=1e-3)
        assert (trainer.step, trainer.done, trainer.skipped) == (PHASE.steps, 0, 0)
        for name, at in trainer.generators.states().items():
            assert torch.equal(at, alone[e][0].generators.states()[name])


def test_at_the_end_of_a_chunk_the_state_is_that_of_training_alone() -> None:
    (alone, own), (trainer, windows), (other, others) = pair(3), pair(3), pair(1)
    states = {}
    for name, rows in (
        ("alone", alone.run(own, PHASE)),
        ("together", train_together([trainer, other], [windows, others], PHASE)),
    ):
        for _ in range(CHUNK):
            next(iter(rows))
        states[name] = (alone if name == "alone" else trainer).state()
    found, expected = states["together"], states["alone"]
    assert (found.step, found.done) == (expected.step, expected.done) == (CHUNK, CHUNK)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], value, rtol=1e-3, atol=1e-4)


def test_one_that_diverges_goes_back_and_the_others_are_not_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last seed's data are spoilt until it has gone back; all reach the end of the phase."""
    monkeypatch.setattr(together, "CHUNK", 50)
    phase = dataclasses.replace(PHASE, steps=57)
    trainers, windows = map(list, zip(*(pair(seed) for seed in SEEDS), strict=True))
    expected = [pair(seed) for seed in SEEDS]
    for trainer, own in expected[:2]:
        list(trainer.run(own, phase))
    actions = windows[2].actions.clone()
    windows[2].actions.fill_(torch.nan)
    told = []
    for rows in train_together(trainers, windows, phase):
        told.append(rows)
        if trainers[2].recoveries:
            windows[2].actions.copy_(actions)
    assert [len(trainer.recoveries) for trainer in trainers] == [0, 0, 2], "one after the mending"
    assert [len([row for row in column if row]) for column in zip(*told, strict=True)] == [
        phase.steps
    ] * 3
    for trainer, (alone, _) in zip(trainers[:2], expected[:2], strict=True):
        torch.testing.assert_close(weights(trainer), weights(alone), rtol=1e-3, atol=1e-4)


def test_a_step_without_a_gradient_is_skipped_by_its_seed_alone() -> None:
    """One seed's data hold a step that gives no finite loss; Adam does not take it."""
    pairs = (pair(seed, length=200) for seed in SEEDS)
    trainers, windows = map(list, zip(*pairs, strict=True))
    windows[1].actions[2] = torch.nan
    alone, own = pair(SEEDS[1], length=200)
    own.actions[2] = torch.nan
    list(alone.run(own, PHASE))
    list(train_together(trainers, windows, PHASE))
    assert alone.skipped > 0
    assert [trainer.skipped for trainer in trainers] == [0, alone.skipped, 0]
    torch.testing.assert_close(weights(trainers[1]), weights(alone), rtol=1e-3, atol=1e-4)


class Normed(MLPEncoder):
    """An encoder with a layer that keeps statistics of what it sees."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.norm = torch.nn.BatchNorm2d(self.image_shape[0])

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return super().features(self.norm(images))


class Dropping(MLPEncoder):
    """An encoder that draws random numbers by itself."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().features(images))


def own_pair(seed: int, encoder: type[Encoder], patch: pytest.MonkeyPatch) -> Any:
    """The same with an own encoder."""
    patch.setitem(ENCODERS, "own", encoder)
    trainer, windows = pair(seed, encoder="own")
    trainer.model.train()
    return trainer, windows


def test_what_layers_learn_beside_their_weights_is_learned_together_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = [own_pair(seed, Normed, monkeypatch) for seed in SEEDS]
    for trainer, windows in alone:
        list(trainer.run(windows, PHASE))
    trainers, windows = zip(*(own_pair(seed, Normed, monkeypatch) for seed in SEEDS), strict=True)
    list(train_together(trainers, windows, PHASE))
    for trainer, (expected, _) in zip(trainers, alone, strict=True):
        found, norm = trainer.model.encoder.norm, expected.model.encoder.norm
        assert found.num_batches_tracked == norm.num_batches_tracked > PHASE.steps
        torch.testing.assert_close(found.running_mean, norm.running_mean, rtol=1e-3, atol=1e-4)
        assert not found.running_mean._is_view()


def test_a_part_that_cannot_be_trained_together_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, windows = own_pair(0, Dropping, monkeypatch)
    with pytest.raises(E2CError, match=r"^A part of the model cannot be trained on a GPU.*vmap"):
        list(train_together([trainer], [windows], PHASE))


def test_runs_side_by_side_are_the_runs_alone(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_runs(monkeypatch, 12)
    leave_undrawn(monkeypatch)
    recipes = [Recipe(CONFIG, seed=seed) for seed in (1, 2)]
    folders = [tmp_path / f"{recipe.seed}" for recipe in recipes]
    together = train_side_by_side(recipes, folders)
    for run, recipe in zip(together, recipes, strict=True):
        alone = train(recipe, tmp_path / f"alone_{recipe.seed}")
        assert torch.equal(weights(run.trainer), weights(alone.trainer))
        assert (run.folder / "report.html").exists()


def test_what_is_drawn_ahead_is_what_would_be_drawn() -> None:
    like = [torch.empty(2, 3), torch.empty(()), torch.empty(4)]

    def take(draws: Any) -> list[Any]:
        normals = [draws.normal(like[0]), draws.normal(like[1])]
        return [*normals, draws.choice(7), draws.normal(like[2]), draws.choice(3)]

    asked = Asked()
    take(asked)
    normals, choices = asked.drawn(Generators(2))
    found, expected = take(Ahead(asked.shapes, normals, choices)), take(Generators(2))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
