"""What MuJoCo draws: which library draws it, whose context is current, and what is missing."""

import gc
import importlib
import importlib.util
import os
import subprocess
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from test_envs_camera import CAMERA, Slider

import envs
from e2c.control import base
from e2c.learning import collect
from envs import mujoco_graphics
from envs.camera import look
from envs.mujoco_graphics import choose_graphics, is_drawn_by_mujoco
from envs.world import episode_steps


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How a trial of each library ends; none has been made yet."""
    statuses = {"egl": 1, "osmesa": 1}

    def run(command: Any, env: Any, **_: Any) -> Any:
        return SimpleNamespace(returncode=statuses[env["MUJOCO_GL"]])

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return statuses


@pytest.mark.parametrize(
    ("works", "chosen"),
    [(("egl", "osmesa"), "egl"), (("egl",), "egl"), (("osmesa",), "osmesa"), ((), None)],
)
def test_the_first_library_that_works_is_chosen(
    tried: dict[str, int], works: tuple[str, ...], chosen: str | None
) -> None:
    tried.update(dict.fromkeys(works, 0))
    choose_graphics.__wrapped__()
    assert os.environ.get("MUJOCO_GL") == chosen


def test_what_the_user_has_set_stays(
    tried: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried["egl"] = 0
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    choose_graphics.__wrapped__()
    assert os.environ["MUJOCO_GL"] == "glfw"


def test_the_environments_that_mujoco_draws_are_known() -> None:
    assert is_drawn_by_mujoco(gymnasium.spec("Reacher-v5"))
    assert is_drawn_by_mujoco(SimpleNamespace(id="dm_control/a-b-v0", entry_point=None))  # type: ignore[arg-type]
    assert not is_drawn_by_mujoco(gymnasium.spec("Pendulum-v1"))
    assert envs.most_side_by_side("Reacher-v5") == 8
    assert envs.most_side_by_side("E2C/Planar-v0") > 10_000


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'dm_control'"), "ModuleNotFoundError: No module"),
        (AttributeError("MuJoCo 4 has no such thing"), "AttributeError: MuJoCo 4 has no such"),
    ],
)
def test_dm_control_that_does_not_load_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def absent(name: str) -> Any:
        raise error

    monkeypatch.setattr(importlib, "import_module", absent)
    monkeypatch.setattr(mujoco_graphics, "choose_graphics", lambda: None)
    with pytest.raises(ValueError, match=rf'pendulum-.*\({told}.*: pip install "e2c\[dmc\]"$'):
        envs.make("dm_control/pendulum-swingup-v0")


def test_data_are_collected_from_few_environments_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gymnasium.register("Test/Slider-v0", Slider, max_episode_steps=4)  # type: ignore[arg-type]
    monkeypatch.setattr(collect, "most_side_by_side", lambda _: 3)
    sizes: list[int] = []
    made = base.make_world

    def make_world(name: str, count: int, **options: Any) -> Any:
        sizes.append(count)
        return made(name, count, **options)

    monkeypatch.setattr(collect, "make_world", make_world)
    try:
        data = collect.collect_transitions(
            "Test/Slider-v0", 26, 4, seed=0, options={"camera": {"size": [12, 16]}}
        )
    finally:
        del gymnasium.registry["Test/Slider-v0"]
    assert sizes == [1, 3, 3, 1]
    assert data.lengths.tolist() == [4] * 7


class Viewer:
    """Notes what is asked of it, as Gymnasium's viewers are."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.con = SimpleNamespace(free=lambda: self.asked.append("con.free"))

    def make_context_current(self) -> None:
        self.asked.append("current")

    def free(self) -> None:
        self.asked.append("free")


def viewed() -> tuple[Any, Viewer]:
    env, viewer = Slider("rgb_array"), Viewer()
    env.mujoco_renderer = SimpleNamespace(viewer=viewer)  # type: ignore[attr-defined]
    return look(env, CAMERA), viewer


def test_every_picture_is_drawn_in_its_own_context() -> None:
    env, viewer = viewed()
    env.reset(seed=0)
    drawn = env.unwrapped.drawn
    assert viewer.asked == ["current"] * drawn
    env.step(np.zeros(1))
    assert viewer.asked == ["current"] * (drawn + 1)


@pytest.mark.parametrize("closed", [True, False])
def test_what_draws_is_freed_once_in_its_own_context(closed: bool) -> None:
    """Whether the environment is closed, or forgotten."""
    env, viewer = viewed()
    viewer.asked.clear()
    if closed:
        env.close()
        assert viewer.asked == ["current", "con.free", "free"]
    del env
    gc.collect()
    assert viewer.asked == ["current", "con.free", "free"]


def test_dm_controls_own_end_of_an_episode_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Suite(Slider):
        _env = SimpleNamespace(_step_limit=250.0)

    gymnasium.register("Test/Suite-v0", Suite)  # type: ignore[arg-type]
    try:
        assert episode_steps(envs.make("Test/Suite-v0", 1, CAMERA)) == 250
        Suite._env = SimpleNamespace(_step_limit=float("inf"))
        with pytest.raises(ValueError, match="does not say how long an episode is"):
            episode_steps(envs.make("Test/Suite-v0", 1, CAMERA))
    finally:
        del gymnasium.registry["Test/Suite-v0"]


@pytest.mark.skipif(
    importlib.util.find_spec("imageio") is None,
    reason='pip install "e2c[mujoco-envs]" brings what Gymnasium draws them with',
)
def test_no_world_turns_black_where_another_is_closed() -> None:
    choose_graphics()
    if "MUJOCO_GL" not in os.environ:
        pytest.skip("no graphics library that needs no display; on Debian: apt install libosmesa6")
    kept, other = (envs.make("Reacher-v5", 2, CAMERA) for _ in range(2))
    before = kept.reset(seed=0)[0]
    other.close()
    seen = [kept.reset(seed=0)[0]]
    del other
    gc.collect()
    seen += [kept.reset(seed=0)[0], envs.make("Reacher-v5", 2, CAMERA).reset(seed=0)[0]]
    for frames in (before, *seen):
        assert frames.std((1, 2, 3)).min() > 1
        np.testing.assert_allclose(frames.mean((1, 2, 3)), before.mean((1, 2, 3)), atol=1)


@pytest.mark.skipif(
    importlib.util.find_spec("dm_control") is None, reason='pip install "e2c[dmc]" brings it'
)
def test_dm_controls_pendulum_is_a_world() -> None:
    world = envs.make("dm_control/pendulum-swingup-v0", 2, CAMERA)
    assert episode_steps(world) == 1000
    first = world.reset(seed=0)[0]
    assert first.std() > 1
    assert (world.step(world.action_space.sample())[0] != first).any()
