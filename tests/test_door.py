"""What Python callers write: changes of a preset, goals that are given, what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONFIG, ENV, noise_data, tiny_model

import e2c
from e2c import door
from e2c.config import Recipe
from e2c.control.agent import Agent
from e2c.control.base import problem_spec
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
        ({"model": {"method": 5}}, "There is no method 5"),
        ({"optimiser": 3}, "optimiser"),
        ({"optimizer": {"steps": 3}}, "optimizer"),
        ({"optimiser": {"step": 3}}, "step"),
        ({"env_args": {"mass": 2}}, r"env_args is {'mass': 2}; .* JSON .* \(json.dumps makes one"),
        ({"env_args": "mass=2"}, "env_args is mass=2; it must be a text, a JSON mapping such as"),
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
    for goal in goals:
        goal[:, 3] = 5
    recipe = Recipe(door.named("default", ENV))
    paths = [door._goal_file(tmp_path, goal, recipe) for goal in goals]
    for path, goal in zip(paths, goals, strict=True):
        np.testing.assert_array_equal(np.load(path), goal)
    assert door._goal_file(tmp_path, goals[0], recipe) == paths[0] != paths[1]
    assert door._goal_file(tmp_path, torch.from_numpy(goals[1]), recipe) == paths[1]
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
    goal = np.arange(216, dtype=np.uint8).reshape(3, 12, 6)
    np.testing.assert_array_equal(np.load(door._goal_file(tmp_path, goal, recipe)), goal)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"goal": [[0, 1]]}, r"goal is \[\[0, 1\]\]; give the path of a file, or an array"),
        ({"goal": None}, "goal is None; give the path"),
        ({"goal": np.array([None])}, "got no array"),
        ({"goal": np.zeros((2, 48, 48))}, "got float64 of"),
        ({"goal": torch.zeros(2, 48, 48)}, "got float32 of"),
        ({"goal": np.zeros((4, 48, 48), np.uint8)}, "got uint8 of"),
        ({"goal": np.zeros((2, 48, 48), np.uint8)}, "The goal shows nothing"),
        ({"goal": np.zeros((2, 48, 48), np.uint8), "seed": -1}, "seed is -1"),
        ({"recordings": "a.npz"}, "recordings is 'a.npz'; it must be a list of files"),
        ({"recordings": None}, "recordings is None; it must be a list of files"),
        ({"recordings": [noise_data((4,))]}, r"recordings\[0\] is Episodes.* the path of a file"),
        ({"recordings": ["none.npz"]}, "There is no file"),
        ({"seed": "1"}, "seed is '1'; it must be a whole number"),
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"threads": "2"}, "threads is '2'"),
        ({"device": None}, "device is None"),
        ({"preset": ["default"]}, r"preset is \['default'\]"),
        ({"wandb": "yes"}, "wandb is 'yes'; it must be 'off' or 'offline' or 'online'"),
        ({"env": None}, "env is None"),
    ],
)
def test_what_is_given_wrongly_is_one_sentence_and_leaves_no_folder(
    arguments: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(E2CError, match=told) as caught:
        e2c.train(tmp_path / "run", **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("goal", ["", np.arange(2 * 48 * 48, dtype=np.uint8).reshape(2, 48, 48)])
def test_a_run_is_not_written_where_a_file_is(goal: Any, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("kept")
    for out in (taken, taken / "run"):
        with pytest.raises(E2CError, match="is no folder, or lies in none; choose another"):
            e2c.train(out, goal=goal)
    assert taken.read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"transitions": "5"}, "transitions is '5'"),
        ({"transitions": 0}, "transitions is 0"),
        ({"transitions": 5.5}, "transitions is 5.5"),
        ({"length": 0}, "length is 0"),
        ({"exploration": -1}, "exploration is -1"),
        ({"noise": "blue"}, "noise is 'blue'; it must be 'auto' or"),
        ({"seed": -1}, "seed is -1"),
        ({"agent": "runs/a"}, "agent is 'runs/a'; it must be an agent, as e2c.load_agent"),
        ({"goal": "a.png"}, "e2c.collect has no argument goal; it takes options of the world"),
        ({"camera": 5}, "camera must be a mapping; got 5"),
        ({"camera": {"sizes": 1}}, "key camera.sizes; did you mean camera.size"),
        ({"num_envs": 5}, "e2c.collect has no argument num_envs; it takes"),
    ],
)
def test_what_a_collection_cannot_be_asked_for_is_one_sentence(arguments: Any, told: str) -> None:
    with pytest.raises(E2CError, match=told):
        e2c.collect(**{"transitions": 5, **arguments})


@pytest.mark.parametrize("arguments", [(None,), ("run", None), ("run", 0)])
def test_an_agent_is_loaded_of_a_folder_to_a_device(arguments: Any) -> None:
    with pytest.raises(E2CError, match=r"(folder|device) is (None|0); it must be a text"):
        e2c.load_agent(*arguments)


def test_the_world_of_a_collection_takes_options() -> None:
    plain = e2c.collect(ENV, 4, 4)
    heavy = e2c.collect(ENV, 4, 4, mass=2.0)
    assert plain.states is not None
    assert heavy.states is not None
    np.testing.assert_array_equal(plain.states[0], heavy.states[0])
    assert (plain.states[-1] != heavy.states[-1]).any()


def test_the_seeds_of_a_loop_over_an_array_are_those_of_a_range() -> None:
    for seed in np.arange(2):
        numpys: Any = seed
        found, same = e2c.collect(ENV, 4, 4, numpys), e2c.collect(ENV, 4, 4, int(seed))
        assert found.content_hash == same.content_hash


def test_an_agent_that_collects_is_in_its_own_world_if_none_is_named() -> None:
    world = "E2C/Planar-v0"
    spec = problem_spec(e2c.make_world(world, state_noise=0.1), {"state_noise": 0.1})
    agent = Agent(tiny_model(CONFIG.model, spec), spec, CONFIG.planner)
    found = e2c.collect(transitions=4, length=4, agent=agent)
    assert found.provenance["env"] == world
    assert found.states is not None
    clean = e2c.collect(world, 4, 4).states
    assert clean is not None
    assert (found.states[-1] != clean[-1]).any(), "its world was made with noise"
    with pytest.raises(E2CError, match=f"trained where env was '{world}', and here it is '{ENV}'"):
        e2c.collect(ENV, 4, 4, agent=agent)
