"""The first data: as many transitions as asked for, and none of another world."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from dots import Dot
from tiny import ENV, noise_data

from e2c.config import Config, DataConfig, Recipe
from e2c.control.base import make_world, make_world_of, problem_spec, rollout
from e2c.control.simple import Zero
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.learning import begin
from e2c.learning.collect import collect_transitions, load_data

SPEC = problem_spec(make_world(ENV, 1))
OTHERS = [
    ("dt", 0.1, "the control step was 0.1"),
    ("control_high", [1.0], r"the highest control was \[1.0\]"),
    ("control_low", [-1.0], r"the lowest control was \[-1.0\]"),
]
"""Parameters of a world that is not the task's own, and how they are told."""


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    world = make_world(ENV, 2)
    return rollout(world, Zero(world), 4, np.random.default_rng(0))


def of_another_world(episodes: Episodes, name: str, value: Any) -> Episodes:
    parameters = {**episodes.provenance["parameters"], name: value}
    return dataclasses.replace(
        episodes, provenance={**episodes.provenance, "parameters": parameters}
    )


def refusal(*paths: Path) -> str:
    with pytest.raises(E2CError) as caught:
        load_data(paths, SPEC)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("or make them anew with e2c-collect or e2c-import.")
    return message


def test_data_of_the_task_are_read_in_the_order_of_their_files(
    episodes: Episodes, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    found = [episodes, collect_transitions(ENV, 10, 5, 1)]
    for path, part in zip(paths, found, strict=True):
        part.save(path)
    read = load_data(paths, SPEC)
    assert [part.content_hash for part in read] == [part.content_hash for part in found]


def test_the_same_episodes_do_not_count_twice(episodes: Episodes, tmp_path: Path) -> None:
    paths = [tmp_path / "a.npz", tmp_path / "copy.npz"]
    for path in paths:
        episodes.save(path)
    for given in (paths, [paths[0], paths[0]]):
        with pytest.raises(E2CError, match=r"holds the same episodes as .*a.npz, which would") as e:
            load_data(given, SPEC)
        assert str(e.value).startswith(str(given[1]))


@pytest.mark.parametrize(("name", "value", "told"), OTHERS)
def test_another_time_step_or_other_limits_are_refused(
    name: str, value: Any, told: str, episodes: Episodes, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    of_another_world(episodes, name, value).save(path)
    with pytest.raises(E2CError, match=f"{told}, and this run is on {ENV} where it is"):
        load_data([path], SPEC)


@pytest.mark.parametrize(("name", "value", "told"), OTHERS)
@pytest.mark.parametrize("depth", [1, 2])
def test_and_so_are_they_in_files_that_were_joined(
    name: str, value: Any, told: str, depth: int, episodes: Episodes, tmp_path: Path
) -> None:
    """A run's own first data are such a file, where it was given several."""
    joined = recorded.join([episodes, of_another_world(episodes, name, value)])
    for _ in range(1, depth):
        joined = recorded.join([joined, episodes])
    path, right = tmp_path / "data.npz", tmp_path / "right.npz"
    recorded.join([episodes, episodes]).save(right)
    joined.save(path)
    assert load_data([right], SPEC)[0].transitions == 16
    with pytest.raises(E2CError, match=f"{path} was recorded where {told}"):
        load_data([right, path], SPEC)


def test_another_environment_or_other_observations_are_refused(
    episodes: Episodes, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    noise_data((9,)).save(path)
    assert "where the environment was Test/Tiny-v0, and this run is on" in refusal(path)
    made = episodes.provenance
    smaller = Episodes(
        frames=episodes.frames[:, :46], actions=episodes.actions, lengths=episodes.lengths
    )
    dataclasses.replace(smaller, provenance=made).save(path)
    assert "the shape of an observation was [2, 46, 48], and" in refusal(path)
    coloured = np.zeros((len(episodes.frames), 4, 5, 3), np.uint8)
    six_grey = dataclasses.replace(SPEC, observation_shape=(6, 4, 5))
    dataclasses.replace(episodes, frames=coloured, goals=None).save(path)
    with pytest.raises(E2CError, match=r"observation was \[2, 4, 5, 3\], .* it is \[6, 4, 5\]"):
        load_data([path], six_grey)
    two = np.repeat(episodes.actions, 2, 1)
    dataclasses.replace(episodes, actions=two).save(path)
    assert "the number of controls was 2, and" in refusal(path)


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"parameters": None},
        {"parameters": [1]},
        {"parameters": {}},
        {"from": None},
        {"from": [None, 3, {"parameters": "x"}, {"from": 7}]},
    ],
)
def test_data_that_do_not_tell_their_world_are_taken_by_its_name(
    provenance: dict[str, Any], episodes: Episodes, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    dataclasses.replace(episodes, provenance={"env": ENV, **provenance}).save(path)
    assert len(load_data([path], SPEC)) == 1


def test_whatever_a_file_says_is_told_in_one_line(episodes: Episodes, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    hostile: list[Any] = ["0.05\n\x1b[2J", "x" * 10_000, [[[]]]]
    for value in hostile:
        of_another_world(episodes, "dt", value).save(path)
        message = refusal(path)
        assert message.isprintable()
        assert len(message) < 700


class Named(Dot):
    """Its parameters are called as what collecting is asked for."""

    def __init__(self, goal: str, noise: float, seed: int, most: str, **rendered: Any) -> None:
        super().__init__(**rendered)
        assert (goal, noise, seed, most) == ("north", 0.5, 7, "much")


def test_a_world_may_have_parameters_of_any_name() -> None:
    gymnasium.register("Test/Named-v0", f"{__name__}:Named", max_episode_steps=4)
    named: dict[str, Any] = {"goal": "north", "noise": 0.5, "seed": 7, "most": "much"}
    options: dict[str, Any] = {**named, "camera": {"size": [6, 8]}}
    try:
        found = collect_transitions("Test/Named-v0", 8, 4, 0, noise="white", options=options)
        spec = problem_spec(make_world("Test/Named-v0", **options), options)
        recipe = Recipe(Config(env="Test/Named-v0", data=DataConfig(transitions=8)))
        blank = np.zeros((2, 6, 8), np.uint8)
        first, _ = begin._first_data(recipe, make_world_of(spec), spec, blank)
    finally:
        del gymnasium.registry["Test/Named-v0"]
    assert found.transitions == 8
    assert first[0].transitions >= 8
    assert found.provenance["controller"] == "white noise"


def test_a_world_without_a_length_is_not_collected_from() -> None:
    gymnasium.register("Test/Endless-v0", "dots:Dot")
    try:
        with pytest.raises(E2CError, match="Test/Endless-v0 does not say how long an episode is"):
            collect_transitions("Test/Endless-v0", 10, 5, 0)
    finally:
        del gymnasium.registry["Test/Endless-v0"]
