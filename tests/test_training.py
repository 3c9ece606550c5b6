"""Training: repeatable bit for bit, loud when it fails, and on the schedules that are stated."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny import MODEL, SPEC, images, noise_data, tiny_model

from e2c.data.coarse import Lens
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.learning import trainer as training
from e2c.learning.schedule import OptimiserConfig, Phase, Schedule
from e2c.learning.trainer import RECOVERY, WORST, Trainer
from e2c.models.base import LatentModel
from e2c.models.e2c import E2C
from e2c.models.methods import build_model
from e2c.models.objectives import ObjectiveConfig

OBJECTIVE = ObjectiveConfig(horizon=4, targets=2, latent_weight=50.0, latent_weight_start=2.0)
OPTIMISER = OptimiserConfig(batch_size=5)
CPU = torch.device("cpu")
FIRST = Phase(steps=10, learning_rate=1e-2, ramp=True)


def windows(horizon: int = 4) -> Windows:
    return Windows([noise_data((7, 9))], horizon, 0.0, CPU)


def trained(seed: int = 0, phase: Phase = FIRST) -> tuple[LatentModel, list[dict[str, float]]]:
    model = tiny_model(seed=seed)
    trainer = Trainer(model, OBJECTIVE, OPTIMISER, seed)
    return model, list(trainer.run(windows(), phase))


def weights(model: LatentModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_seed_repeats_training_bit_for_bit() -> None:
    torch.manual_seed(1)
    one, rows = trained()
    torch.manual_seed(2)
    np.random.seed(3)
    again, rows_again = trained()
    assert torch.equal(weights(one), weights(again))
    assert rows == rows_again


def test_another_seed_trains_another_model() -> None:
    assert not torch.equal(weights(trained(0)[0]), weights(trained(1)[0]))
    model, other = tiny_model(), tiny_model()
    for trainer in (
        Trainer(model, OBJECTIVE, OPTIMISER, 0),
        Trainer(other, OBJECTIVE, OPTIMISER, 1),
    ):
        list(trainer.run(windows(), FIRST))
    assert not torch.equal(weights(model), weights(other)), "by its batches and samples alone"


def test_batches_and_samples_are_both_drawn_by_the_seed() -> None:
    first: dict[int, tuple[torch.Tensor, float]] = {}
    for seed in (0, 1):
        trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, seed)
        u = windows().sample(5, [0], trainer.generators.batches)[1]
        first[seed] = u, torch.rand(1, generator=trainer.generators.normals).item()
    assert not torch.equal(first[0][0], first[1][0])
    assert first[0][1] != first[1][1]


def test_training_and_building_leave_the_global_generators() -> None:
    torch.manual_seed(12_345)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    trained()
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]


def test_building_is_decided_by_its_seed() -> None:
    one, again, other = (build_model(MODEL, SPEC, images(1)[0], seed) for seed in (1, 1, 2))
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))


@pytest.mark.parametrize(("name", "value"), [("pool", 5), ("lattices", 4)])
def test_blocks_must_divide_the_picture(name: str, value: int) -> None:
    config = dataclasses.replace(MODEL, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(E2CError, match=rf"^model\.{name} is {value}; .* 12x6 pixels"):
        build_model(config, SPEC, images(1)[0], 0)


def test_training_lowers_the_loss() -> None:
    noise = noise_data((7, 9))
    dark = Windows([dataclasses.replace(noise, frames=noise.frames // 8)], 4, 0.0, CPU)
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    rows = list(trainer.run(dark, Phase(30, 0.1, ramp=False)))
    for name in ("reconstruction", "prediction"):
        assert rows[-1][name] < 0.7 * rows[0][name]


def trainer_titles() -> dict[str, str]:
    return Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0).titles


def test_rows_tell_what_was_done() -> None:
    rows = trained()[1]
    assert [row["step"] for row in rows] == list(range(1, 11))
    for row in rows:
        assert trainer_titles().keys() == row.keys() - {"step", "loss", "gradient_norm"}
        total = row["reconstruction"] + row["prediction"] + row["prior_kl"]
        assert row["loss"] == pytest.approx(total + row["lambda"] * row["latent_kl"], rel=1e-5)
        assert row["gradient_norm"] > 0


@pytest.mark.parametrize("ramp", [0.0, 0.5, 1.0])
def test_lambda_grows_geometrically_over_its_ramp(ramp: float) -> None:
    objective = dataclasses.replace(OBJECTIVE, ramp=ramp)
    trainer = Trainer(tiny_model(), objective, OPTIMISER, 0)
    found = [row["lambda"] for row in trainer.run(windows(), FIRST)]
    shares = [min(1.0, i / 10 / ramp) if ramp else 1.0 for i in range(10)]
    assert found == pytest.approx([2.0 * 25.0**share for share in shares])
    later = trainer.run(windows(), Phase(3, 1e-3, ramp=False))
    assert [row["lambda"] for row in later] == [50.0] * 3


def test_the_learning_rate_warms_up_holds_and_falls() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OptimiserConfig(batch_size=1, decay=0.1), 0)
    rates = [row["lr"] for row in trainer.run(windows(), Phase(100, 1e-3, ramp=True))]
    assert rates[:2] == pytest.approx([0.5e-3, 1e-3])
    assert rates[2:51] == pytest.approx([1e-3] * 49)
    assert rates[75] == pytest.approx(1e-3 * 10**-0.5)
    assert rates[99] == pytest.approx(1e-4, rel=0.05)
    later = [row["lr"] for row in trainer.run(windows(), Phase(10, 5e-4, ramp=False))]
    assert later == pytest.approx([5e-4 * 0.1 ** (i / 10) for i in range(10)])


def test_without_decay_the_rate_is_kept() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OptimiserConfig(batch_size=1, decay=1.0), 0)
    rates = [row["lr"] for row in trainer.run(windows(), FIRST)]
    assert rates == pytest.approx([1e-2] * 10)


def test_adam_takes_the_rate_that_is_told() -> None:
    """The first step of Adam moves every weight with a gradient by the rate, nearly."""
    model = tiny_model()
    before = weights(model)
    (row,) = Trainer(model, OBJECTIVE, OPTIMISER, 0).run(windows(), Phase(1, 1e-3, ramp=False))
    moved = (weights(model) - before).abs()
    assert moved.max() == pytest.approx(row["lr"], rel=1e-3)


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_the_gradient_is_cut_to_clip(clip: float) -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OptimiserConfig(batch_size=5, clip=clip), 0)
    (row,) = trainer.run(windows(), Phase(1, 1e-3, ramp=False))
    norms = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
    norm = torch.stack(norms).norm().item()
    assert norm == pytest.approx(clip or row["gradient_norm"], rel=1e-3)
    assert row["gradient_norm"] > 1


class Poisoned(Windows):
    """Windows of which some batches are not finite."""

    poison: frozenset[int] = frozenset()
    drawn = 0

    def sample(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        x, u = super().sample(*args, **kwargs)
        self.drawn += 1
        return x, u * (math.nan if self.drawn in self.poison else 1.0)


def poisoned(*batches: int) -> Poisoned:
    found = Poisoned([noise_data((7, 9))], 4, 0.0, CPU)
    found.poison = frozenset(batches)
    return found


def test_a_batch_that_is_not_finite_is_left_out_and_counted() -> None:
    model = tiny_model()
    trainer = Trainer(model, OBJECTIVE, OPTIMISER, 0)
    steps = []
    for row in trainer.run(poisoned(3, 4, 7), FIRST):
        assert weights(model).isfinite().all()
        assert all(math.isfinite(value) for value in row.values())
        steps.append(row["step"])
    assert steps == [1, 2, 5, 6, 8, 9, 10]
    assert (trainer.step, trainer.skipped) == (10, 3)


def test_a_skipped_batch_leaves_the_weights_as_they_were() -> None:
    model = tiny_model()
    before = weights(model).clone()
    assert list(Trainer(model, OBJECTIVE, OPTIMISER, 0).run(poisoned(1), Phase(1, 1.0, True))) == []
    assert torch.equal(weights(model), before)


@pytest.fixture
def three_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MAX_SKIPPED_IN_A_ROW", 3)


@pytest.mark.usefixtures("three_in_a_row")
def test_a_divergence_goes_back_to_the_kept_state_with_a_smaller_step() -> None:
    model = tiny_model()
    trainer = Trainer(model, OBJECTIVE, OPTIMISER, 0)
    rows = trainer.run(poisoned(5, 6, 7), Phase(8, 1e-2, ramp=False))
    seen = [next(rows) for _ in range(2)]
    assert trainer.keep(windows())
    kept = weights(model).clone()
    seen += [next(rows) for _ in range(2)]
    assert not torch.equal(weights(model), kept)
    again = next(rows)
    assert [row["step"] for row in seen] == [1, 2, 3, 4]
    assert again["step"] == 3
    assert again["loss"] == seen[2]["loss"], "the same weights, batch and samples"
    assert again["lr"] == pytest.approx(RECOVERY * seen[2]["lr"])
    assert [row["step"] for row in rows] == [4, 5, 6, 7, 8]
    assert (trainer.step, trainer.skipped) == (8, 3)
    (told,) = trainer.recoveries
    assert told["step"] == 7
    assert told["learning_rate"] == pytest.approx(RECOVERY * 1e-2)
    assert "no finite loss or gradient" in told["reason"]


def test_a_model_that_draws_worse_than_the_mean_image_has_diverged() -> None:
    """A hundred times too large a step: finite, but the weights leave every scale."""
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    list(trainer.run(windows(), Phase(20, 1e-3, ramp=False)))
    list(trainer.run(windows(), Phase(100, 1.0, ramp=False)))
    assert trainer.skipped == 0
    assert trainer.recoveries
    assert all("as bad as the mean image" in told["reason"] for told in trainer.recoveries)
    assert trainer.level < 1.1 * trainer.first


SPOILT = {"NaN weights": math.nan, "infinite weights": math.inf, "huge weights": 1e6}


@pytest.mark.parametrize("value", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_state_is_not_kept(value: float) -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    list(trainer.run(windows(), Phase(3, 1e-3, ramp=False)))
    before = trainer.kept
    with torch.no_grad():
        next(trainer.model.decoder.parameters()).fill_(value)
    assert not trainer.keep(windows())
    assert trainer.kept is before


def test_moments_that_are_not_finite_are_not_kept() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    list(trainer.run(windows(), Phase(3, 1e-3, ramp=False)))
    trainer.adam.state[next(trainer.model.parameters())]["exp_avg_sq"].fill_(math.inf)
    assert not trainer.keep(windows())


@pytest.mark.parametrize("value", SPOILT.values(), ids=SPOILT)
def test_a_last_step_that_spoils_the_model_is_taken_back(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    step, calls = trainer.adam.step, itertools.count(1)

    def spoil(*_: Any) -> None:
        step()
        if next(calls) == 5:
            with torch.no_grad():
                next(trainer.model.decoder.parameters()).fill_(value)

    monkeypatch.setattr(trainer.adam, "step", spoil)
    rows = list(trainer.run(windows(), Phase(5, 1e-3, ramp=False)))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert weights(trainer.model).abs().max() < 10
    (told,) = trainer.recoveries
    assert "last step" in told["reason"]


def test_divergence_without_end_ends_training_with_the_remedy() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    with pytest.raises(E2CError, match=r"diverged at step 20 .* lower optimiser.learning_rate"):
        list(trainer.run(poisoned(*range(1, 1000)), Phase(100, 1e-3, ramp=True)))
    assert len(trainer.recoveries) == training.MAX_RECOVERIES


def test_a_step_without_a_gradient_is_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = itertools.count(1)

    honest = E2C.terms

    def terms(*arguments: Any) -> dict[str, torch.Tensor]:
        share = 0.0 if next(calls) == 2 else 1.0
        return {name: share * value for name, value in honest(*arguments).items()}

    monkeypatch.setattr(E2C, "terms", terms)
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    assert [row["step"] for row in trainer.run(windows(), Phase(3, 1e-3, ramp=False))] == [1, 3]
    assert trainer.skipped == 1


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_a_restored_state_goes_on_bit_for_bit(stop: int) -> None:
    """In another trainer, around another model, also in the middle of a phase."""
    whole, expected = trained()
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    rows = list(itertools.islice(trainer.run(windows(), FIRST), stop))
    state = trainer.state()
    trainer.model.load_state_dict(tiny_model(seed=5).state_dict())  # the state holds copies
    other = Trainer(tiny_model(seed=9), OBJECTIVE, OPTIMISER, 8)
    other.restore(state)
    rows += list(other.run(windows(), FIRST))
    assert rows == expected
    assert torch.equal(weights(other.model), weights(whole))
    following = [list(t.run(windows(), Phase(2, 1e-3, False))) for t in (other, _run_whole())]
    assert following[0] == following[1], "moments and generators, too"


def _run_whole() -> Trainer:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    list(trainer.run(windows(), FIRST))
    return trainer


@pytest.mark.usefixtures("three_in_a_row")
def test_what_was_recovered_from_is_part_of_the_state() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    list(trainer.run(poisoned(2, 3, 4), Phase(5, 1e-3, ramp=False)))
    other = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    other.restore(trainer.state())
    assert (other.skipped, other.scale) == (3, RECOVERY)
    assert other.recoveries == trainer.recoveries
    assert (other.first, other.level) == (trainer.first, trainer.level)


@pytest.mark.usefixtures("three_in_a_row")
def test_one_less_in_a_row_goes_on() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    steps = [row["step"] for row in trainer.run(poisoned(1, 2, 4, 5, 7, 8), FIRST)]
    assert steps == [3, 6, 9, 10]


def test_moments_and_steps_are_kept_from_phase_to_phase() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    list(trainer.run(windows(), Phase(3, 1e-3, ramp=True)))
    assert [row["step"] for row in trainer.run(windows(), Phase(2, 1e-3, ramp=False))] == [4, 5]
    state = trainer.adam.state[next(trainer.model.parameters())]
    assert state["step"] == 5


def test_images_are_blurred_in_the_first_phase_alone() -> None:
    options = OptimiserConfig(blur=6.0, blur_until=0.5)
    first, later = (Schedule(Phase(10, 1e-3, ramp), options, OBJECTIVE) for ramp in (True, False))
    assert [first.blur(done) for done in (0, 1, 5, 9)] == pytest.approx([6.0, 4.8, 0.0, 0.0])
    assert [later.blur(done) for done in range(10)] == [0.0] * 10


def test_a_phase_that_begins_with_unlike_data_measures_divergence_from_there() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    trainer.focus(windows(), 6.0)
    begun = trainer.first
    assert begun > 0
    for first, wanted in ((0.9 * begun / WORST, begun), (1.1 * begun / WORST, None), (9e9, None)):
        trainer.first = first
        trainer.focus(windows(), 0.0)
        assert trainer.first == (wanted or first)


def test_drawings_of_blurred_images_are_not_compared_with_the_mean_image() -> None:
    trainer = Trainer(tiny_model(), OBJECTIVE, OPTIMISER, 0)
    trainer.first, mean = 1e-9, windows().mean_observation
    for sigma, kept in ((4.0, True), (0.0, False)):
        trainer.lens = Lens(mean, sigma)
        assert trainer.keep(windows()) == kept
