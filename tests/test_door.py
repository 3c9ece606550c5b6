"""What Python callers write: changes of a preset, goals that are given, what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import ENV, noise_data

import e2c
from e2c import door
from e2c.config import Recipe
from e2c.data.episodes import RECORDING
from e2c.errors import E2CError


def test_changes_reach_every_level_of_a_configuration() -> None:
    config = door.named("default", ENV)
    found = door.changed(config, {"optimiser": {"steps": 7}, "env_args": '{"mass": 2}'})
    assert (found.optimiser.steps, found.env_args) == (7, '{"mass": 2}')
    assert found.model == config.model
    assert found.optimiser.batch_size == config.optimiser.batch_size


def test_another_method_brings_its_objective() -> None:
    config = door.named("default", ENV)
    found = door.changed(config, {"model": {"method": "pcc"}})
    assert found.model.method == "pcc"
    assert type(found.objective) is not type(config.objective)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "e2c"}, "model"),
        ({"model": {"method": "none"}}, "method"),
        ({"optimiser": 3}, "optimiser"),
        ({"optimizer": {"steps": 3}}, "optimizer"),
        ({"optimiser": {"step": 3}}, "step"),
        ({"env_args": {"mass": 2}}, "env_args"),
    ],
)
def test_changes_that_do_not_fit_are_one_sentence(changes: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(E2CError, match=told) as caught:
        e2c.train(tmp_path / "run", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_every_goal_that_is_given_has_its_own_file(tmp_path: Path) -> None:
    """So that a run goes on with the goal that it began with, and no other is taken for it."""
    goals = [np.full((2, 48, 48), shade, np.uint8) for shade in (0, 9)]
    recipe = Recipe(door.named("default", ENV))
    paths = [door._goal_file(tmp_path, goal, recipe) for goal in goals]
    for path, goal in zip(paths, goals, strict=True):
        np.testing.assert_array_equal(np.load(path), goal)
    assert door._goal_file(tmp_path, goals[0], recipe) == paths[0] != paths[1]
    assert door._goal_file(tmp_path, Path("goal.png"), recipe) == "goal.png"


def test_a_goal_that_is_an_array_is_like_the_frames_of_a_recording(tmp_path: Path) -> None:
    made: dict[str, Any] = {
        "parameters": {"dt": 0.1, "control_low": [-2.0, -0.5], "control_high": [2.0, 0.25]},
        "camera": {"size": [12, 6], "frames": 3},
        "env": RECORDING,
        "episode_steps": 4,
    }
    dataclasses.replace(noise_data((4,)), provenance=made).save(tmp_path / "data.npz")
    recipe = Recipe(door.named("default", ENV), data=(str(tmp_path / "data.npz"),))
    goal = np.full((3, 12, 6), 9, np.uint8)
    np.testing.assert_array_equal(np.load(door._goal_file(tmp_path, goal, recipe)), goal)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"goal": [[0, 1]]}, r"goal is \[\[0, 1\]\]; give the path of a file, or an array"),
        ({"goal": None}, "goal is None; give the path"),
        ({"goal": np.array([None])}, "got object of"),
        ({"goal": np.zeros((2, 48, 48))}, "got float64 of"),
        ({"goal": np.zeros((4, 48, 48), np.uint8)}, "got uint8 of"),
        ({"goal": np.zeros((2, 48, 48), np.uint8), "seed": -1}, "seed is -1"),
        ({"recordings": "a.npz"}, "give a list of files"),
        ({"recordings": [3]}, "There is no file"),
    ],
)
def test_what_is_given_wrongly_is_one_sentence_and_leaves_no_folder(
    arguments: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(E2CError, match=told) as caught:
        e2c.train(tmp_path / "run", **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_world_of_a_collection_takes_options() -> None:
    plain = e2c.collect(ENV, 4, 4)
    heavy = e2c.collect(ENV, 4, 4, mass=2.0)
    assert plain.states is not None
    assert heavy.states is not None
    np.testing.assert_array_equal(plain.states[0], heavy.states[0])
    assert (plain.states[-1] != heavy.states[-1]).any()
