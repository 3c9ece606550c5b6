"""Coloured noise: its spectrum, its limits, its independence; and where it is the default."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from dots import dots
from tiny import CONFIG, ENV

from e2c.config import DataConfig, Recipe
from e2c.control.base import make_world, rollout
from e2c.control.simple import COLOURS, Coloured, Random, coloured_noise, random_controls, telegraph
from e2c.files import runs
from e2c.learning.collect import chosen, collect_transitions
from envs.world import control_space


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("steps", [200, 201])
@pytest.mark.parametrize("colour", COLOURS)
def test_power_falls_with_the_frequency(colour: str, steps: int) -> None:
    """Each frequency's mean power over many series lies on the line that the colour names."""
    series = coloured_noise((3000,), steps, COLOURS[colour], rng(0))
    power = (np.abs(np.fft.rfft(series)) ** 2).mean(0)
    frequencies = np.arange(len(power))
    inner = slice(1, (steps + 1) // 2)  # those that have two coefficients
    slope, _ = np.polyfit(np.log(frequencies[inner]), np.log(power[inner]), 1)
    assert slope == pytest.approx(-COLOURS[colour], abs=0.02)
    assert power[0] == pytest.approx(power[1], rel=0.1), "the mean is random too"
    assert series.var() == pytest.approx(1, rel=0.05)


def test_white_noise_is_independent_from_step_to_step() -> None:
    """Against the plain way to draw it: as many independent normal numbers."""
    series = coloured_noise((20_000,), 5, 0.0, rng(0))
    np.testing.assert_allclose(np.cov(series.T), np.eye(5), atol=0.05)
    assert np.abs(series).max() > 3.5


@pytest.mark.parametrize(("shape", "steps"), [((4, 3), 7), ((1, 1), 1), ((2,), 2)])
def test_series_of_any_shape_are_finite(shape: tuple[int, ...], steps: int) -> None:
    series = coloured_noise(shape, steps, 2.0, rng(1))
    assert series.shape == (*shape, steps)
    assert np.isfinite(series).all()
    assert np.unique(series).size == series.size


def test_most_of_it_lies_at_the_limits_and_none_beyond() -> None:
    """A share of ``P(|N(0, 5^2)| > 1) = 0.841``, whatever the limits: here -2 to 1."""
    world = dots(400)
    low, high = control_space(world).low, control_space(world).high
    controller = Coloured(world, rng(0), 50, "pink")
    frames = np.zeros((400, 1), np.uint8)
    actions = np.stack([np.asarray(controller.act(frames)) for _ in range(50)], 1)
    assert actions.shape == (400, 50, 2)
    assert (actions >= low).all()
    assert (actions <= high).all()
    at_limits = (actions == low) | (actions == high)
    assert at_limits.mean() == pytest.approx(0.841, abs=0.02)
    assert (actions == low).mean() == pytest.approx((actions == high).mean(), abs=0.05)


def test_episodes_and_controls_know_nothing_of_one_another() -> None:
    series = coloured_noise((2000, 2), 40, 1.0, rng(3))
    found = np.corrcoef(series[:, 0].ravel(), series[:, 1].ravel())[0, 1]
    between = np.corrcoef(series[:-1].ravel(), series[1:].ravel())[0, 1]
    assert abs(found) < 0.02
    assert abs(between) < 0.02


def test_a_telegraph_changes_its_sign_as_often_as_was_drawn() -> None:
    """Mean distances between changes are log-uniform from T/40 to T/4, here 10 to 100 steps."""
    series = telegraph((4000, 2), 400, rng(0))
    assert set(np.unique(series)) == {-1.0, 1.0}
    assert abs(series[..., 0].mean()) < 0.05
    changes = (np.diff(series) != 0).mean()
    least, most = 1 / 100, 1 / 10  # the mean of a log-uniform rate
    assert changes == pytest.approx((most - least) / np.log(most / least), rel=0.03)
    assert abs(np.corrcoef(series[:, 0].ravel(), series[:, 1].ravel())[0, 1]) < 0.02


def test_a_short_telegraph_may_change_at_every_step() -> None:
    assert telegraph((3,), 1, rng(0)).shape == (3, 1)
    assert (telegraph((5,), 3, rng(0))[:, 1:] == -telegraph((5,), 3, rng(0))[:, :-1]).all()


def test_an_episode_that_follows_has_other_noise() -> None:
    world, frames = make_world(ENV, 3), np.zeros((3, 1), np.uint8)
    controller = Coloured(world, rng(0), 4, "red")
    episodes = []
    for _ in range(2):
        controller.reset(None)
        episodes.append(np.stack([controller.act(frames) for _ in range(4)]))
    assert not np.array_equal(episodes[0], episodes[1])
    again = np.stack([controller.act(frames) for _ in range(4)])
    np.testing.assert_array_equal(again, episodes[1], "longer episodes repeat the series")


def test_what_moves_a_hanging_pendulum() -> None:
    """White noise leaves it at the bottom; what pushes one way for a while pumps it."""
    world, swung = make_world(ENV, 60), {}
    for colour in ("white", "pink", "telegraph"):
        found = rollout(world, Coloured(world, rng(0), 200, colour), 200, rng(1))
        assert found.states is not None
        swung[colour] = float((np.cos(found.states[:, 0]) > np.cos(2)).mean())
    assert swung["white"] < 0.1
    assert swung["pink"] > 0.15
    assert swung["telegraph"] > 1.3 * swung["pink"]


def test_the_noise_is_known_by_its_name() -> None:
    world = make_world(ENV, 1)
    assert isinstance(random_controls(world, rng(0), 5), Random)
    for name in (*COLOURS, "telegraph"):
        found = random_controls(world, rng(0), 5, name)
        assert isinstance(found, Coloured)
        assert (found.colour, found.steps) == (name, 5)


def test_what_is_chosen_depends_on_whether_there_are_restarts() -> None:
    ours, foreign = make_world(ENV), dots(1)
    foreign.spec = dataclasses.replace(make_world(ENV).spec, max_episode_steps=70)  # type: ignore[type-var]
    found = chosen(DataConfig(restarts=True), ours)
    assert (found.noise, found.episode_length) == ("uniform", 25)
    ordinary = chosen(DataConfig(), ours)
    assert (ordinary.noise, ordinary.episode_length) == ("telegraph", 200)
    there = chosen(DataConfig(restarts=True), foreign)
    assert (there.noise, there.episode_length) == ("telegraph", 70)
    own = DataConfig(noise="white", episode_length=9)
    assert chosen(own, ours) == chosen(own, foreign) == own


def test_ordinary_resets_begin_where_the_world_does() -> None:
    """The strict form of the task: hanging at rest, and never set."""
    data = collect_transitions(ENV, 90, 30, 3, restarts=False)
    assert data.states is not None
    starts = data.states[[data.moment_rows(e).start for e in range(len(data))]]
    assert (np.abs(np.abs(starts[:, 0]) - np.pi) <= 0.1 + 1e-9).all()
    assert (starts[:, 1] == 0).all()
    assert data.provenance["controller"] == "telegraph noise"
    assert data.provenance["restarts"] is False
    one, again = (collect_transitions(ENV, 20, 5, s, noise="red") for s in (3, 4))
    assert one.provenance["controller"] == "red noise"
    assert one.content_hash != again.content_hash
    assert collect_transitions(ENV, 20, 5, 3, noise="red").content_hash == one.content_hash


def test_a_run_says_what_was_chosen_and_goes_on_with_it(tmp_path: Path) -> None:
    asked = Recipe(dataclasses.replace(CONFIG, data=DataConfig()))
    found = chosen(asked.config.data, make_world(ENV))
    runs.write_recipe(tmp_path, Recipe(dataclasses.replace(CONFIG, data=found)))
    assert runs.differences(tmp_path, asked) == []
    other = dataclasses.replace(asked.config, data=DataConfig(noise="red"))
    told = runs.differences(tmp_path, Recipe(other))
    assert told == ["config.data.noise is 'telegraph', not 'red'"]
