"""What decides an episode of a registered world: its own start, controls and noise, and no more."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import envs
from envs.native import TaskEnv, TaskWorld
from envs.task import Floats, Frames

B, T = 5, 7
Step = tuple[Frames, Floats]
"""Observations and states after a step, or a reset."""


@pytest.fixture(params=sorted(envs.ENVIRONMENTS))
def env_id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(env_id: str, num_envs: int = B, **options: Any) -> TaskWorld:
    world = envs.make(env_id, num_envs, **options)
    assert isinstance(world, TaskWorld)
    return world


def alone(env_id: str, **options: Any) -> TaskEnv:
    env = gymnasium.make(env_id, **options).unwrapped
    assert isinstance(env, TaskEnv)
    return env


def actions(world: TaskWorld | TaskEnv, *lead: int) -> Floats:
    """Actions ``[*lead, m]``, up to half as much again as the limits."""
    high = world.task.action_space.high
    return np.random.default_rng(8).uniform(-1.5, 1.5, (*lead, *high.shape)) * high


def play(world: TaskWorld, given: Floats) -> list[Step]:
    """Step through ``given [T, B, m]``."""
    return [(world.step(action)[0], world.states) for action in given]


def same(one: list[Step], other: list[Step], rows: slice = slice(None)) -> None:
    """Check that what happened in the ``rows`` of one is all that happened in the other."""
    assert len(one) == len(other)
    for (images, states), (other_images, other_states) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images[rows], other_images)
        np.testing.assert_array_equal(states[rows], other_states)


def test_a_seed_repeats_the_episodes(env_id: str) -> None:
    def episodes(seed: int) -> list[Step]:
        world = make(env_id, state_noise=1.0)
        first, _ = world.reset(seed=seed)
        return [(first, world.states), *play(world, actions(world, T, B))]

    same(episodes(5), episodes(5))
    assert (episodes(5)[-1][1] != episodes(6)[-1][1]).any(axis=1).all()


def test_a_world_that_is_not_given_a_seed_again_goes_on_to_other_noise(env_id: str) -> None:
    world = make(env_id, state_noise=1.0)
    world.reset(seed=5)
    starts = world.states
    before = play(world, actions(world, T, B))
    world.reset(options={"states": starts})
    after = play(world, actions(world, T, B))
    assert (before[-1][1] != after[-1][1]).any(axis=1).all()


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_an_episode_is_the_same_in_any_world_and_alone(env_id: str, noise: float) -> None:
    many, few = make(env_id, state_noise=noise), make(env_id, 2, state_noise=noise)
    env = alone(env_id, state_noise=noise)
    given = actions(many, T, B)
    first = many.reset(seed=11)[0]
    np.testing.assert_array_equal(few.reset(seed=11)[0], first[:2])
    np.testing.assert_array_equal(few.states, many.states[:2])
    np.testing.assert_array_equal(env.reset(seed=11)[0], first[0])
    all_of_them = play(many, given)
    same(all_of_them, play(few, given[:, :2]), slice(0, 2))
    for (images, states), action in zip(all_of_them, given[:, 0], strict=True):
        observation, _, _, _, info = env.step(action)
        np.testing.assert_array_equal(observation, images[0])
        np.testing.assert_array_equal(info["state"], states[0])


def test_an_episode_does_not_depend_on_its_neighbours(env_id: str) -> None:
    world = make(env_id, state_noise=1.0)
    given = actions(world, T, B)
    world.reset(seed=3)
    one = play(world, given)
    world.reset(seed=3)
    others = given.copy()
    others[:, [0, 1, 3, 4]] *= -0.5
    another = play(world, others)
    for (images, states), (other_images, other_states) in zip(one, another, strict=True):
        np.testing.assert_array_equal(images[2], other_images[2])
        np.testing.assert_array_equal(states[2], other_states[2])
    assert (one[-1][1] != another[-1][1]).any(axis=1).tolist() == [True, True, False, True, True]


def test_a_restart_is_drawn_by_the_seed(env_id: str) -> None:
    world = make(env_id)
    observations, infos = world.reset(options={"restart": True}, seed=4)
    seen, states = world.task.restart(np.random.default_rng(4), B)
    np.testing.assert_array_equal(observations, seen)
    np.testing.assert_array_equal(infos["state"], states)


def test_only_the_episodes_of_the_mask_begin_again(env_id: str) -> None:
    mask = np.array([True, False, False, True, False])
    world, other = make(env_id, state_noise=1.0), make(env_id, state_noise=1.0)
    given = actions(world, T, B)
    for one in (world, other):
        one.reset(seed=6)
    play(world, given[:3])
    whole = play(other, given)
    before = whole[2]
    starts = world.task.sample_starts(np.random.default_rng(1), B)
    observations, _ = world.reset(options={"reset_mask": mask, "states": starts})
    np.testing.assert_array_equal(world.states[mask], starts[mask])
    np.testing.assert_array_equal(observations[mask], world.task.observe(starts)[mask])
    np.testing.assert_array_equal(world.states[~mask], before[1][~mask])
    np.testing.assert_array_equal(observations[~mask], before[0][~mask])
    for (images, states), (expected, there) in zip(play(world, given[3:]), whole[3:], strict=True):
        np.testing.assert_array_equal(images[~mask], expected[~mask])
        np.testing.assert_array_equal(states[~mask], there[~mask])
        assert (states[mask] != there[mask]).any(axis=1).all()


def test_each_episode_is_cut_off_by_its_own_clock() -> None:
    world = TaskWorld("envs.pendulum:PendulumSwingUp", 2, max_episode_steps=3)
    world.reset(seed=0)
    still = np.zeros((2, 1))
    world.step(still)
    world.reset(options={"reset_mask": np.array([False, True])})
    cut = [world.step(still)[3].tolist() for _ in range(3)]
    assert cut == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize("mask", [np.array([True, False]), np.ones(B), np.array(True)])
def test_a_mask_that_is_not_of_each_episode_is_refused(mask: np.ndarray[Any, Any]) -> None:
    world = make("E2C/Planar-v0")
    with pytest.raises(ValueError, match=r"The reset_mask of 5 episodes is 5 truth values; got "):
        world.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
@pytest.mark.parametrize("when", ["before reset", "after reset", "in the middle"])
def test_a_copy_goes_on_identically(
    env_id: str, when: str, duplicate: Callable[[Any], Any]
) -> None:
    world, env = make(env_id, state_noise=1.0), gymnasium.make(env_id, state_noise=1.0)
    given = actions(make(env_id), T, B)
    if when != "before reset":
        world.reset(seed=1)
        env.reset(seed=1)
    if when == "in the middle":
        play(world, given[:3])
        env.step(given[0, 0])
    twin, env_twin = duplicate(world), duplicate(env)
    if when == "before reset":
        for one in (world, twin, env, env_twin):
            one.reset(seed=1)
    same(play(world, given), play(twin, given))
    for action in given[:, 0]:
        one, other = env.step(action), env_twin.step(action)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[4]["state"], other[4]["state"])
    np.testing.assert_array_equal(world.reset()[0], twin.reset()[0], "the next episodes too")
    np.testing.assert_array_equal(env.reset()[0], env_twin.reset()[0], "the next episode too")
    same(play(world, given), play(twin, given))


def test_pictures_show_each_state_and_last_action(env_id: str) -> None:
    world, env = make(env_id, 2, render_mode="rgb_array"), alone(env_id, render_mode="rgb_array")
    world.reset(seed=0)
    env.reset(seed=0)
    given = actions(world, 2)
    world.step(given)
    env.step(given[0])
    pictures, picture_alone = world.render(), env.render()
    assert pictures is not None
    assert picture_alone is not None
    assert len(pictures) == 2
    goals = world.task.goal_states(world.states)
    for state, action, goal, picture in zip(world.states, given, goals, pictures, strict=True):
        expected = world.task.picture(state, world.task.applied(action[None])[0], goal)
        np.testing.assert_array_equal(picture, expected)
    np.testing.assert_array_equal(picture_alone, pictures[0])
