"""Any environment that renders is a world: its pictures, its copies, and what it is told."""

import copy
import importlib.util
import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.spaces import Box, Discrete
from processes import Script, python
from tiny import ROOT

import envs
from envs.camera import Camera, look
from envs.world import check_world, episode_steps, name_of, settle_steps, simulated, time_step

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
LIMITED = Box(-1, 1, (1,))
ID = "Test/Slider-v0"
STEPS = 7


class Slider(gymnasium.Env[Any, Any]):
    """A bright bar that slides along a picture; it tells the goal region and the goal.

    Args:
        picture: what is drawn in the place of the bar, by a function of the place.
        action_space: of one number.
        ends: after how many steps an episode terminates; 0 for never.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = Box(-1, 1, (1,))
    settle_steps = 5

    def __init__(
        self,
        render_mode: str | None = None,
        picture: Any = None,
        action_space: Any = LIMITED,
        ends: int = 0,
    ) -> None:
        self.render_mode, self.picture, self.action_space = render_mode, picture, action_space
        self.ends, self.place, self.t, self.drawn = ends, 0.0, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.t = float(self.np_random.uniform(-1, 1)), 0
        return np.array([self.place], np.float32), {
            "is_goal": self.place > 0,
            "goal": np.full((2, 12, 16), 9, np.uint8),
        }

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = float(
            np.clip(self.place + 0.4 * action[0] + 0.01 * self.np_random.normal(), -1, 1)
        )
        self.t += 1
        told = {"is_goal": self.place > 0}
        return np.array([self.place], np.float32), float(self.t), self.t == self.ends, False, told

    def render(self) -> Any:
        self.drawn += 1
        if self.picture is not None:
            return self.picture(self)
        picture = np.full((30, 40, 3), (10, 40, 90), np.uint8)
        middle = round(20 + 15 * self.place)
        picture[8:22, middle - 3 : middle + 3] = (250, 200, 150)
        return picture


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register(ID, Slider, max_episode_steps=STEPS)  # type: ignore[arg-type]
    yield
    del gymnasium.registry[ID]


CAMERA = Camera(size=(12, 16))


def slider(count: int = 2, camera: Camera = CAMERA, **options: Any) -> Any:
    return envs.make(ID, count, camera, **options)


def actions(count: int, t: int = 0) -> Any:
    return np.random.default_rng(t).uniform(-1, 1, (50, 1))[:count]


def episode(world: Any, seed: int | None) -> list[Any]:
    """All that a world shows and tells in three steps; of an episode begun by ``seed``, if any."""
    found: list[Any] = [] if seed is None else [world.reset(seed=seed)[0]]
    for t in range(3):
        found += world.step(actions(world.num_envs, t))[:4]
    return found


def assert_same(one: list[Any], other: list[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------------- it is a world


def test_an_environment_that_renders_is_a_world() -> None:
    world = slider(3)
    check_world(world)
    observations, _ = world.reset(seed=1)
    assert world.observation_space.contains(observations)
    assert observations.shape == (3, 2, 12, 16)
    np.testing.assert_array_equal(observations[:, 0], observations[:, 1])
    assert name_of(world) == ID
    assert (time_step(world), episode_steps(world), settle_steps(world)) == (0.1, STEPS, 5)
    assert [picture.shape for picture in world.render()] == [(30, 40, 3)] * 3
    with pytest.raises(ValueError, match=f"The oracle needs a world whose .* {ID} is known by its"):
        simulated(world, "The oracle")


def test_what_an_environment_tells_of_its_goal_is_passed_on() -> None:
    world = slider(5)
    _, infos = world.reset(seed=1)
    places = [env.unwrapped.place for env in world.envs]
    assert infos["is_goal"].tolist() == [place > 0 for place in places]
    assert infos["is_goal"].dtype == np.bool_
    assert (infos["goal"] == np.full((5, 2, 12, 16), 9)).all()
    assert "is_goal" in world.step(actions(5))[4]


def test_a_seed_repeats_the_episodes_and_no_seed_does_not() -> None:
    world = slider(2)
    assert_same(episode(world, 5), episode(world, 5))
    assert (world.reset(seed=5)[0] != world.reset(seed=7)[0]).any()
    fresh = slider(9).reset()[0]  # two of them look alike once in 31 times
    assert len(np.unique(fresh, axis=0)) > 2, "episodes differ from one another"


def test_an_episode_does_not_depend_on_how_many_there_are() -> None:
    many, few = episode(slider(4), 5), episode(slider(2), 5)
    assert_same([array[:2] for array in many], few)


def test_an_observation_holds_the_frames_of_the_last_steps() -> None:
    world = slider(2, Camera(size=(12, 16), frames=3))
    seen = [world.reset(seed=0)[0]] + [world.step(actions(2, t))[0] for t in range(3)]
    for before, after in itertools.pairwise(seen):
        np.testing.assert_array_equal(after[:, :-1], before[:, 1:])
    assert (seen[-1][:, 0] != seen[-1][:, 2]).any()


def test_episodes_are_cut_off_and_begin_anew() -> None:
    world = slider(2)
    world.reset(seed=0)
    cut = [world.step(actions(2, t))[3].tolist() for t in range(STEPS)]
    assert cut == [[False, False]] * (STEPS - 1) + [[True, True]]
    assert not world.step(actions(2))[3].any()


def test_one_episode_may_begin_anew_alone() -> None:
    world = slider(3)
    before = world.reset(seed=0)[0]
    after, _ = world.reset(options={"reset_mask": np.array([False, True, False])})
    assert [bool((before[b] == after[b]).all()) for b in range(3)] == [True, False, True]


@pytest.mark.parametrize("when", ["new", "reset", "stepped"])
@pytest.mark.parametrize("camera", [CAMERA, Camera((12, 16), True, 1, (2, 28, 5, 35), 2)])
def test_copies_and_pickles_go_on_as_the_original(when: str, camera: Camera) -> None:
    """And look at their own pictures: while one goes on, its copies stay where they are."""
    original = slider(2, camera)
    if when != "new":
        original.reset(seed=3)
    if when == "stepped":
        original.step(actions(2))
    others = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]
    seed = 4 if when == "new" else None
    expected = episode(original, seed)
    for other in others:
        assert_same(episode(other, seed), expected)


def test_a_module_may_be_imported_first(tmp_path: Path) -> None:
    (tmp_path / "sliding.py").write_text(
        "import gymnasium\n"
        "from test_envs_camera import Slider\n"
        "gymnasium.register('Sliding-v0', Slider, max_episode_steps=9)\n",
        encoding="utf-8",
    )
    (tmp_path / "script.py").write_text(
        "import envs\n"
        "from envs.world import name_of\n"
        "world = envs.make('sliding:Sliding-v0', 2)\n"
        "world.reset(seed=0)\n"
        "print(name_of(world))\n"
    )
    done = Script(str(tmp_path / "script.py")).wait()
    assert done.stdout == "sliding:Sliding-v0\n", done.stderr
    with pytest.raises(
        ValueError, match=r"module of 'nowhere:Slider-v0' .*No module named 'nowher"
    ):
        envs.make("nowhere:Slider-v0")


def test_the_example_of_an_own_environment_is_a_world() -> None:
    place = ROOT / "examples" / "own_environment.py"
    spec = importlib.util.spec_from_file_location("own_environment", place)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    gymnasium.register("Test/Example-v0", example.Rail, max_episode_steps=40)
    try:
        world = envs.make("Test/Example-v0", 3)
    finally:
        del gymnasium.registry["Test/Example-v0"]
    assert_same(episode(world, 1), episode(copy.deepcopy(world), 1))
    assert len(np.unique(world.reset(seed=0)[0], axis=0)) == 3


# ---------------------------------------------------------------------------- the camera


def gymnasiums_own(picture: Any, camera: Camera) -> Any:
    """What Gymnasium's wrappers make of a picture, ``[F, H, W]`` or with channels."""
    env: Any = Slider("rgb_array", lambda _: picture)
    env = wrappers.AddRenderObservation(env, render_only=True)
    if camera.crop is not None:
        top, bottom, left, right = camera.crop
        space = Box(0, 255, (bottom - top, right - left, 3), np.uint8)
        env = wrappers.TransformObservation(env, lambda x: x[top:bottom, left:right], space)
    env = wrappers.ResizeObservation(env, camera.size)
    if not camera.colour:
        env = wrappers.GrayscaleObservation(env)
    return wrappers.FrameStackObservation(env, camera.frames).reset()[0]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("crop", [None, (2, 28, 5, 35)])
@pytest.mark.parametrize("size", [(12, 16), (30, 40), (64, 50)])
def test_a_goal_picture_goes_the_way_of_the_frames(colour: bool, crop: Any, size: Any) -> None:
    """To the bit; and Gymnasium's own wrappers make the same of it."""
    camera = Camera(size=size, colour=colour, frames=3, crop=crop)
    observations, _ = slider(2, camera, picture=lambda _: PICTURE).reset(seed=0)
    assert observations.shape == (2, 3, *size, *([3] if colour else []))
    np.testing.assert_array_equal(camera.look_at(PICTURE), observations[0])
    np.testing.assert_array_equal(camera.look_at(PICTURE), gymnasiums_own(PICTURE, camera))


def test_one_frame_is_an_observation_by_itself() -> None:
    camera = Camera(size=(12, 16), frames=1)
    assert slider(2, camera).reset(seed=0)[0].shape == (2, 12, 16)
    assert camera.look_at(PICTURE).shape == (12, 16)


def test_a_crop_keeps_the_rows_and_columns_that_it_says() -> None:
    camera = Camera(size=(26, 30), colour=True, frames=1, crop=(2, 28, 5, 35))
    np.testing.assert_array_equal(camera.look_at(PICTURE), PICTURE[2:28, 5:35])


def test_lists_will_do_for_a_camera() -> None:
    listed: Any = {"size": [12, 16], "crop": [2, 28, 5, 35]}
    assert Camera(**listed) == Camera(size=(12, 16), crop=(2, 28, 5, 35))


def test_actions_are_repeated_and_end_with_the_episode() -> None:
    world = slider(2, Camera(size=(4, 5), repeat=3), ends=5)
    world.reset(seed=0)
    drawn = world.envs[0].unwrapped.drawn
    rewards, ends = [], []
    for _ in range(2):
        _, reward, ended, _, _ = world.step(np.zeros((2, 1)))
        rewards.append(reward.tolist())
        ends.append(ended.tolist())
    assert rewards == [[1 + 2 + 3] * 2, [4 + 5] * 2]
    assert ends == [[False, False], [True, True]]
    assert world.envs[0].unwrapped.drawn == drawn + 2, "what is not seen is not drawn"
    assert time_step(world) == pytest.approx(0.3)
    assert (episode_steps(world), settle_steps(world)) == (3, 2)


def test_an_episode_may_be_of_another_length() -> None:
    world = slider(2, Camera(size=(4, 5), repeat=2), max_episode_steps=3)
    world.reset(seed=0)
    assert episode_steps(world) == 2
    assert [world.step(np.zeros((2, 1)))[3].tolist() for _ in range(2)] == [[False] * 2, [True] * 2]


def test_an_environment_by_itself_may_be_looked_at() -> None:
    env = look(Slider("rgb_array"), CAMERA)
    np.testing.assert_array_equal(env.reset(seed=3)[0], slider(1).reset(seed=3)[0][0])


# ---------------------------------------------------------------------------- what is no world


def shrinking(env: Slider) -> Any:
    return PICTURE[: 30 - env.t]


def undrawable(env: Slider) -> Any:
    env.mujoco_renderer = "as MuJoCo's environments have it"  # type: ignore[attr-defined]
    raise RuntimeError("no display")


def not_implemented(env: Slider) -> Any:
    raise NotImplementedError


@pytest.mark.filterwarnings("ignore:.*RGB-array rendering", "ignore:.*values are equal")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"picture": lambda _: [PICTURE, PICTURE]}, r"renders uint8 of shape \[2, 30, 40, 3\]; a"),
        ({"picture": lambda _: np.zeros((4, 5, 3))}, "renders float64 of shape"),
        ({"picture": lambda _: np.zeros((4, 5), np.uint8)}, r"renders uint8 of shape \[4, 5\]"),
        ({"picture": lambda _: np.zeros((0, 5, 3), np.uint8)}, r"renders uint8 of shape \[0, 5"),
        ({"picture": not_implemented}, "renders nothing; a camera needs a picture, uint8 of"),
        ({"picture": undrawable}, r"drawn by OpenGL, which .*RuntimeError: no display.*MUJOCO_GL"),
        ({"action_space": Discrete(3)}, "takes actions of Discrete"),
        ({"action_space": Box(-1, 1, (1,), np.int64)}, "takes actions of Box.*int64"),
        ({"action_space": Box(-1, 1, (2, 2))}, "takes a vector of real numbers within"),
        ({"action_space": Box(-np.inf, np.inf, (1,))}, "has actions without limits"),
        ({"action_space": Box(0, 0, (1,))}, "has a control whose lowest value is not below its"),
        ({"camera": Camera(crop=(0, 31, 0, 9))}, "is not inside the picture of 30x40"),
        ({"camera": Camera(crop=(9, 9, 0, 9))}, "is not inside the picture of 30x40"),
        ({"camera": Camera(size=9)}, "camera's size is 9; it is 2 whole"),  # type: ignore[arg-type]
        ({"camera": Camera(size=(0, 9))}, "camera's size is .0, 9.; it is 2 whole numbers from 1"),
        ({"camera": Camera(frames=65)}, "camera's frames is 65; it is a whole number from 1 to 64"),
        ({"camera": Camera(repeat=0)}, "camera's repeat is 0; it is a whole number from 1"),
        ({"camera": Camera(crop=(-1, 4, 0, 4))}, "camera's crop is .* 4 whole numbers from 0 to"),
        ({"gust": 2}, f"{ID} takes no parameter gust; leave it out"),
        ({"render_mode": "human"}, "The camera looks at what .* renders; leave render_mode out"),
        ({"count": 0}, "num_envs is 0; it must be a whole number from 1 on"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0; it must be a whole number from 1"),
    ],
)
def test_what_is_no_world_is_told_with_the_remedy(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        slider(**options)


def test_pictures_that_change_their_size_are_refused() -> None:
    world = slider(2, picture=shrinking)
    world.reset(seed=0)
    with pytest.raises(ValueError, match="of 30x40 pixels before and of 29x40 now: let its render"):
        world.step(actions(2))


def test_an_environment_that_takes_no_render_mode_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gymnasium.spec(ID), "entry_point", lambda: Slider("rgb_array"))
    with pytest.raises(ValueError, match=f"{ID} takes no render_mode: let its __init__ take one"):
        slider()


def test_a_fault_of_the_environment_itself_stays_as_it_is() -> None:
    def faulty(env: Slider) -> Any:
        raise TypeError("a fault")

    with pytest.raises(TypeError, match="a fault"):
        slider(picture=faulty)


@pytest.mark.parametrize(
    ("picture", "told"),
    [(PICTURE[..., 0], r"The picture is uint8 of shape \[30, 40\]"), (None, "picture is nothing")],
)
def test_a_goal_that_is_no_picture_is_refused(picture: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CAMERA.look_at(picture)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("pygame") is None:
        with pytest.raises(ValueError, match="Pendulum-v1 needs another package: pygame is not"):
            envs.make("Pendulum-v1")
    monkeypatch.setattr(gymnasium.spec(ID), "entry_point", "absent_package:Slider")
    with pytest.raises(
        ValueError, match=r"there is no module absent_package: correct that, add its folder"
    ):
        slider()
    monkeypatch.setattr(gymnasium.spec("Ant-v5"), "entry_point", "gymnasium.envs.mujoco.absent:X")
    with pytest.raises(ValueError, match=r'pip install "gymnasium\[mujoco\]"'):
        envs.make("Ant-v5")


def test_graphics_that_do_not_load_are_one_sentence_and_only_where_they_are_needed() -> None:
    program = (
        "import envs\n"
        "for name in ('E2C/Planar-v0', 'E2C/CartPole-v0', 'Ant-v5'):\n"
        "    try:\n"
        "        envs.make(name)\n"
        "        print('made')\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
    )
    done = python("-c", program, MUJOCO_GL="foo")
    planar, pole, ant = done.stdout.splitlines()
    assert planar == "made"
    assert pole.startswith("MuJoCo does not load with MUJOCO_GL=foo (invalid value")
    assert "unset the environment variable MUJOCO_GL" in pole
    assert ant == pole
