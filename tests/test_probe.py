"""The probe: at what the camera looks in a world that nobody knows, and when it looks at all."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from test_envs_camera import Slider
from tiny import CONFIG, still_open, worlds_made

from e2c.config import Config, Recipe
from e2c.control.goals import from_picture
from e2c.errors import E2CError
from e2c.files import runs
from e2c.learning import probe
from e2c.learning.collect import spec_of
from e2c.learning.probe import aimed
from envs import Camera

ID = "Test/Corner-v0"
H, W = 60, 90


class Corner(Slider):
    """A bar of 8 x 4 px that slides about rows 10 to 18 and columns 40 to 60."""

    def __init__(self, render_mode: str | None = None, tells: bool = False) -> None:
        super().__init__(render_mode)
        self.tells = tells

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        observation, _ = super().reset(**given)
        return observation, {"goal": np.zeros((2, 12, 16), np.uint8)} if self.tells else {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return *super().step(action)[:4], {}

    def render(self) -> Any:
        return drawn(self.place)


def drawn(place: float, low: int = 18) -> Any:
    picture = np.full((H, W, 3), 230, np.uint8)
    middle = round(50 + 8 * place)
    picture[10:low, middle - 2 : middle + 2] = 40
    return picture


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(probe, "TRANSITIONS", 20)
    monkeypatch.setattr(probe, "LONGEST", 10)
    gymnasium.register(ID, Corner, max_episode_steps=12)  # type: ignore[arg-type]
    yield
    del gymnasium.registry[ID]


def recipe(goal: Any, folder: Path, **camera: Any) -> Recipe:
    np.save(folder / "goal.npy", goal)
    config = dataclasses.replace(Config(), env=ID, camera=Camera(**{"size": (12, 16), **camera}))
    return Recipe(config, goal=str(folder / "goal.npy"))


def crop_of(asked: Recipe, folder: Path) -> Any:
    return aimed(asked, folder / "run").config.camera.crop


def test_the_camera_is_aimed_at_what_moves_and_at_the_goal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top, bottom, left, right = crop_of(recipe(drawn(0.0), tmp_path), tmp_path)
    told = f"the camera sees rows {top} to {bottom} and columns {left} to {right} of the picture"
    assert told in capsys.readouterr().err
    assert top <= 10
    assert 18 <= bottom < 30
    assert 25 < left <= 43
    assert 57 <= right < 75
    assert crop_of(recipe(drawn(0.0, low=50), tmp_path), tmp_path)[1] >= 50


@pytest.mark.parametrize(
    "goal",
    [
        np.arange(2 * 12 * 16, dtype=np.uint8).reshape(2, 12, 16),
        np.arange(12 * 16, dtype=np.uint8).reshape(12, 16),
        np.zeros((H + 1, W, 3), np.uint8),
    ],
)
def test_a_goal_that_the_camera_must_agree_with_leaves_it_as_it_is(
    goal: Any, tmp_path: Path
) -> None:
    assert crop_of(recipe(goal, tmp_path), tmp_path) is None


def test_a_world_that_tells_its_goal_is_seen_as_it_is(tmp_path: Path) -> None:
    asked = recipe(drawn(0.0), tmp_path)
    telling = dataclasses.replace(asked.config, env_args='{"tells": true}')
    assert crop_of(dataclasses.replace(asked, config=telling), tmp_path) is None


def test_what_is_said_or_was_chosen_stays(tmp_path: Path) -> None:
    said = recipe(drawn(0.0), tmp_path, crop=(0, 60, 0, 90))
    assert crop_of(said, tmp_path) == (0, 60, 0, 90)
    asked = recipe(drawn(0.0), tmp_path)
    (tmp_path / "run").mkdir()
    begun = recipe(drawn(0.0), tmp_path, crop=(1, 50, 2, 80))
    runs.write_recipe(tmp_path / "run", begun)
    assert crop_of(asked, tmp_path) == (1, 50, 2, 80)
    assert runs.differences(tmp_path / "run", asked) == []
    given = dataclasses.replace(asked, data=("first.npz",))
    assert crop_of(given, tmp_path / "other") is None


def test_a_probe_leaves_no_world_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = worlds_made(monkeypatch)
    assert crop_of(recipe(drawn(0.0), tmp_path), tmp_path)
    assert len(made) == 3
    assert still_open(made) == 0


def test_our_own_tasks_have_no_camera_to_be_aimed(tmp_path: Path) -> None:
    assert crop_of(Recipe(CONFIG), tmp_path) is None


def test_a_goal_of_another_resolution_is_cropped_at_the_same_place(tmp_path: Path) -> None:
    spec = spec_of(recipe(drawn(0.0), tmp_path, crop=(5, 35, 30, 75)))
    goal = from_picture(drawn(0.4), spec)
    np.testing.assert_array_equal(from_picture(drawn(0.4).repeat(2, 0).repeat(2, 1), spec), goal)
    with pytest.raises(E2CError, match=r"of 90x60 pixels .* has another shape than .* 60x90"):
        from_picture(drawn(0.4).transpose(1, 0, 2), spec)
