"""Ordinary episodes: more follow until the goal was seen; noise plays where the agent stayed."""

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import CONFIG, ENV, SPEC, leave_undrawn, shorten_runs, tiny_model

from e2c.config import DataConfig, Recipe
from e2c.control.base import make_world
from e2c.data.episodes import Episodes
from e2c.data.looks import SEEN, unlikeness
from e2c.learning import own
from e2c.learning.begin import Run
from e2c.learning.collect import collect_transitions
from e2c.learning.run import train

DATA = DataConfig(20, noise="white", rounds=4, own_length=10)
"""Two hanging episodes of ten steps, under noise that does not show the goal."""


def goal() -> np.ndarray:
    """The goal image of the pendulum, a stacked observation."""
    (found,) = make_world(ENV, 1).reset(seed=0)[1]["goal"]
    return np.asarray(found)


def recipe(data: DataConfig = DATA) -> Recipe:
    """Without dynamics that learn on: after a handful of steps their episodes may be anything."""
    optimiser = dataclasses.replace(CONFIG.optimiser, dynamics_steps_per_round=0)
    return Recipe(dataclasses.replace(CONFIG, data=data, optimiser=optimiser), seed=3)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_runs(monkeypatch, 10)
    leave_undrawn(monkeypatch)


def test_episodes_follow_until_one_shows_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_runs(monkeypatch, 60)
    made = functools.partial(collect_transitions, ENV, 60, 60, 8, restarts=False, most=6000)
    seen = made(goal=goal())
    planes = seen.layout.to_planes(goal())
    likeness = [unlikeness(part, planes) for part in seen.split()]
    assert len(likeness) > 2, "choose a seed"
    assert likeness[-1] <= SEEN < min(likeness[:-1])
    known = seen.observations(slice(3, 4))[0]
    assert len(made(goal=known)) == 1


def test_but_no_more_than_was_allowed() -> None:
    found = collect_transitions(ENV, 20, 10, 3, noise="white", goal=goal(), most=45)
    assert found.transitions == 50
    assert collect_transitions(ENV, 20, 10, 3, noise="white").transitions == 20


def test_nor_where_episodes_have_goals_of_their_own() -> None:
    far = np.zeros((1, 40, 40), np.uint8)
    made = functools.partial(collect_transitions, "E2C/Planar-v0", 40, 10, 3, restarts=False)
    assert made(goal=far, most=80).transitions == 40


@pytest.mark.usefixtures("quick")
def test_they_replace_own_rounds_of_which_half_remain(tmp_path: Path) -> None:
    run = train(recipe(), tmp_path / "run")
    assert [part.transitions for part in run.data] == [40, 10, 10]
    assert run.rounds == 2
    assert run.transitions == 20 + 4 * 10
    again = train(recipe(dataclasses.replace(DATA, keep="best")), tmp_path / "best")
    assert [part.transitions for part in again.data] == [40, 10, 10, 10]


@pytest.mark.parametrize(("transitions", "rounds"), [(20, 4), (29, 4), (30, 3), (40, 2), (70, 2)])
def test_long_first_data_never_replace_more_than_half(transitions: int, rounds: int) -> None:
    """An episode of the first data may be much longer than a round of own ones."""
    options = dataclasses.replace(DATA, episodes_per_round=1)
    told: Any = SimpleNamespace(
        config=recipe(options).config,
        data=[SimpleNamespace(transitions=transitions)],
        recipe=recipe(options),
        spec=dataclasses.replace(SPEC, episode_steps=10),
    )
    assert Run.rounds.fget(told) == rounds  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick")
def test_data_that_were_given_replace_none(tmp_path: Path) -> None:
    collect_transitions(ENV, 80, 10, 3).save(tmp_path / "long.npz")
    given = dataclasses.replace(recipe(), data=(str(tmp_path / "long.npz"),))
    assert train(given, tmp_path / "run").rounds == 4


def test_an_episode_that_neither_moved_nor_showed_the_goal_stayed() -> None:
    model = tiny_model(spec=dataclasses.replace(SPEC, observation_shape=(2, 12, 6)))
    F, H, W = 2, 12, 6
    still = np.zeros((9 + F, H, W), np.uint8)
    still[:, 2:5, 1:4] = 255
    moving = np.random.default_rng(0).integers(0, 256, still.shape, np.uint8)
    actions, lengths = np.zeros((9, 2), np.float32), np.array([9])
    model.measure(Episodes(moving, actions, lengths).planes())
    assert own.stayed(model, Episodes(still, actions, lengths))
    assert not own.stayed(model, Episodes(moving, actions, lengths))
    variance = model.latent_variance.clone()
    for share, stayed in ((5.0, False), (20.0, True)):  # it is 1.9 times as far as data spread
        model.latent_variance.copy_(share * variance)
        assert own.stayed(model, Episodes(moving, actions, lengths)) == stayed
    model.goal.copy_(model.goal.new_tensor(Episodes(still, actions, lengths).planes()[0]))
    assert not own.stayed(model, Episodes(still, actions, lengths)), "it stayed at the goal"


@pytest.mark.usefixtures("quick")
def test_noise_plays_where_the_agent_stayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent that is stuck plays every other round, so that it can show what it has learned."""
    asked = []

    def stayed(model: object, episodes: Episodes) -> bool:
        asked.append(episodes.provenance["controller"])
        return asked[-1] == "agent"

    monkeypatch.setattr(own, "stayed", stayed)
    run = train(recipe(dataclasses.replace(DATA, transitions=40, rounds=3)), tmp_path / "run")
    played = [part.provenance["controller"] for part in run.data[1:]]
    assert played == (["agent", "noise", "agent"])[: len(played)]
    assert asked == played[:-1]


@pytest.mark.usefixtures("quick")
def test_where_states_are_set_nothing_follows(tmp_path: Path) -> None:
    run = train(recipe(dataclasses.replace(DATA, restarts=True)), tmp_path / "run")
    assert [part.transitions for part in run.data] == [20, 10, 10, 10, 10]
