"""Our own tasks as MuJoCo draws them: the same worlds, seen by another camera."""

import copy
import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from processes import python
from tiny import CONFIG, leave_undrawn, shorten_runs

import envs
from e2c.config import Recipe
from e2c.control.base import make_world
from e2c.control.goals import from_state
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.learning.run import train
from e2c.options import to_dict
from envs import Camera
from envs.mujoco_camera import MujocoCamera, staged
from envs.mujoco_graphics import choose_graphics
from envs.physics import load_asset, unseen
from envs.world import simulated

ENV = "E2C/PendulumSwingUp-v0"
SIMULATED = [name for name in envs.ENVIRONMENTS if name != "E2C/Planar-v0"]
CAMERA = Camera(size=(16, 20), colour=True, renderer="mujoco")


@pytest.fixture(scope="module", autouse=True)
def _graphics() -> None:
    choose_graphics()
    if "MUJOCO_GL" not in os.environ:
        pytest.skip("no graphics library that needs no display; on Debian: apt install libosmesa6")


def world(name: str = ENV, count: int = 3, camera: Camera | None = CAMERA, **options: Any) -> Any:
    return envs.make(name, count, camera, **options)


@pytest.mark.parametrize("name", SIMULATED)
@pytest.mark.parametrize(("colour", "frames"), [(True, 2), (False, 3), (False, 1)])
def test_every_task_that_mujoco_simulates_is_seen(name: str, colour: bool, frames: int) -> None:
    made = world(name, camera=Camera((16, 20), colour, frames, renderer="mujoco"))
    m = made.single_action_space.shape[0]
    shape = (frames, 16, 20, 3) if colour else (frames, 16, 20)
    first, infos = made.reset(seed=3, options={"restart": True})
    assert first.shape == infos["goal"].shape == (3, *shape)
    assert made.single_observation_space.shape == shape
    assert first.std() > 5
    after = made.step(np.full((3, m), 0.1))[0]
    assert (after[:, :-1] == first[:, 1:]).all(), "frames move up by one"
    assert (infos["goal"] == infos["goal"][:, -1:]).all(), "nothing moves at the goal"


def test_the_mechanics_are_those_of_the_task() -> None:
    """Only the frames differ, and each episode's are its own, in any batch."""
    seen, plain = world(), world(camera=None)
    for made in (seen, plain):
        made.reset(seed=3)
    actions = np.array([[2.0], [-1.0], [0.5]])
    for _ in range(5):
        frames = seen.step(actions)[0]
        plain.step(actions)
    np.testing.assert_array_equal(seen.states, plain.states)
    alone = world(count=1)
    alone.reset(options={"states": seen.states[1:2]})
    np.testing.assert_array_equal(alone.task.look(seen.states[1:2])[0], frames[1, 1])


def test_a_rod_is_seen_where_it_is_with_its_shadow_below() -> None:
    task = simulated(world(camera=Camera((64, 64), True, renderer="mujoco")), "the test").task
    for angle, row, column in ((0.0, 12, 32), (np.pi / 2, 30, 12), (-np.pi / 2, 30, 52)):
        red, _, blue = np.moveaxis(task.look(np.array([[angle, 0.0]]))[0].astype(int), -1, 0)
        orange = np.argwhere(red - blue > 60)
        assert [row, column] in orange.tolist(), angle
        assert len(orange) < 300
    swept = np.array([[0.0, 0.0], [0.6, 0.0]])
    changed = np.argwhere(np.ptp(task.look(swept).astype(int), axis=0).max(-1) > 15)
    assert (changed[:, 0] > 36).any(), "the shadow on the floor moves too"


def test_a_small_move_is_seen() -> None:
    look = simulated(world(camera=Camera((48, 48), renderer="mujoco")), "the test").task.look
    angles = np.linspace(-3, 3, 40)
    still = [look(np.array([[a, 0.0], [a + 0.02, 0.0]])) for a in angles]
    assert all((one != other).any() for one, other in still)


def test_a_longer_rod_looks_longer() -> None:
    rods = [world(length=length).task.visible().geom("seen").fromto[-1] for length in (1.0, 1.25)]
    assert rods == pytest.approx([1.0, 1.25])


def test_copies_see_the_same_and_draw_for_themselves() -> None:
    made = world()
    expected = made.reset(seed=3)[0]
    copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    states = made.states
    del made
    for each in copies:
        np.testing.assert_array_equal(each.task.observe(states), expected)


def test_what_is_only_seen_does_not_move_differently() -> None:
    for name in ("pendulum", "strong_pendulum", "cart_pole", "three_link_arm"):
        spec = load_asset(f"{name}.xml")
        whole, bare = spec.compile(), unseen(spec)
        assert bare.ngeom == 0 < whole.ngeom
        for item in ("body_mass", "body_inertia", "body_ipos", "dof_armature"):
            np.testing.assert_array_equal(getattr(whole, item), getattr(bare, item))


def test_a_state_that_is_not_finite_is_drawn_all_the_same() -> None:
    task = world().task
    odd, zero = task.look(np.array([[np.nan, np.inf], [0.0, 0.0]]))
    np.testing.assert_array_equal(odd, zero)


def test_a_crop_is_of_the_picture() -> None:
    whole = world(camera=Camera((64, 64), renderer="mujoco")).reset(seed=3)[0]
    part = world(camera=Camera((32, 32), crop=(0, 32, 0, 32), renderer="mujoco")).reset(seed=3)[0]
    assert part.shape == (3, 2, 32, 32)
    assert whole[..., :16, :16].mean() == pytest.approx(part[..., :16, :16].mean(), abs=8)


def test_what_it_cannot_draw_is_one_sentence() -> None:
    for name, camera, told in (
        ("E2C/Planar-v0", CAMERA, "MuJoCo does not simulate PlanarNavigation"),
        ("Reacher-v5", CAMERA, "draws our own tasks only, and Reacher-v5 draws itself"),
        (ENV, Camera(repeat=2, renderer="mujoco"), "leave the camera's repeat out"),
        (ENV, Camera(size=(0, 3), renderer="mujoco"), "camera's size"),
        (ENV, Camera(crop=(0, 900, 0, 9), renderer="mujoco"), "is not inside the picture"),
        (ENV, Camera(renderer="pen"), "renderer is 'pen'; it must be 'own' or 'mujoco'"),  # type: ignore[arg-type]
        (ENV, Camera(size=(9, 9)), "leave the camera's options out, or let MuJoCo draw it"),
    ):
        with pytest.raises(E2CError, match=told):
            make_world(name, 1, camera=to_dict(camera))


def test_no_graphics_library_is_one_sentence() -> None:
    program = (
        "import envs\n"
        "try:\n"
        f"    envs.make({ENV!r}, 1, envs.Camera(renderer='mujoco'))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    told = python("-c", program, MUJOCO_GL="glfw", DISPLAY="", WAYLAND_DISPLAY="").stdout
    assert len(told.splitlines()) == 1
    assert "MuJoCo's camera needs OpenGL, which does not work here" in told
    assert "libosmesa6" in told


def test_nothing_is_said_when_a_program_ends() -> None:
    program = f"import envs; w = envs.make({ENV!r}, 2, envs.Camera(renderer='mujoco')); w.reset()"
    for library in ("egl", "osmesa"):
        done = python("-c", f"import mujoco; {program}", MUJOCO_GL=library)
        if not done.returncode:
            assert done.stderr == ""


def test_a_run_learns_from_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The goal, the film and the agent's frames are all of this camera."""
    shorten_runs(monkeypatch, 5)
    leave_undrawn(monkeypatch)
    few = dataclasses.replace(CONFIG.data, transitions=20)
    config = dataclasses.replace(CONFIG, camera=CAMERA, data=few)
    run = train(Recipe(config, seed=3), tmp_path / "run")
    agent = load_agent(tmp_path / "run")
    assert agent.spec.observation_shape == (2, 16, 20, 3)
    frames, infos = world().reset(seed=3)
    np.testing.assert_array_equal(
        agent.spec.layout.from_planes(run.model.goal.numpy()), infos["goal"][0]
    )
    np.testing.assert_array_equal(from_state((0.0, 0.0), agent.spec), infos["goal"][0])
    assert agent.act(frames).shape == (3, 1)


def test_a_picture_keeps_its_upper_side_up() -> None:
    spec = load_asset("pendulum.xml")
    look = MujocoCamera(staged(spec), Camera((64, 64), True, renderer="mujoco"))
    frame = look(np.zeros((1, 2)))[0]
    assert cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[:20].mean() > frame[40:].mean(), "sky above"
