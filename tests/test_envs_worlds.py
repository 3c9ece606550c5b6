"""Worlds of tasks: that x_t, u_t and x_{t+1} are those of one step, and of one episode."""

import time
from typing import Any

import numpy as np
import pytest

from e2c.control.base import rollout
from e2c.control.simple import Random, Zero
from e2c.data.episodes import Episodes
from envs.native import TaskWorld
from envs.pendulum import PendulumSwingUp
from envs.quantity import Quantity
from envs.strong_pendulum import PendulumReach
from envs.task import Actions, Bools, Floats, Frames, Task

E, T = 5, 7
SWING_UP, REACH = "envs.pendulum:PendulumSwingUp", "envs.strong_pendulum:PendulumReach"


class Counting(Task):
    """A world that counts: the state is (episode, t, the last control); frames carry the first two.

    Three frames to an observation, and two controls, so that no size is mistaken for another.
    """

    components = tuple(Quantity(name, "1") for name in ("episode", "step", "control"))
    goal_sentence = "Count beyond 15"
    frames_per_observation = 3
    frame_shape = (2, 4)

    def __init__(self) -> None:
        super().__init__(1.0, np.array([[-100.0, 100.0], [-9.0, 9.0]]))

    def _step(self, states: Floats, controls: Floats) -> Floats:
        return np.stack([states[:, 0], states[:, 1] + 1, controls[:, 0]], axis=1)

    def previous(self, states: Floats) -> Floats:
        return states - [0, 1, 0]

    def noise_unit(self) -> Floats:
        return np.ones(3)

    def draw(self, states: Floats) -> Frames:
        frames = np.zeros((len(states), 2, 4), np.uint8)
        frames[:, 0, 0], frames[:, 1, 3] = states[:, 0], states[:, 1]
        return frames

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        return np.stack([np.arange(n), np.full(n, 10), np.zeros(n)], axis=1).astype(float)

    sample_starts = sample_states

    def goal_state(self) -> Floats:
        return np.zeros(3)

    def is_goal(self, states: Floats) -> Bools:
        return states[..., 1] > 15

    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        return np.zeros((2, 2, 3), np.uint8)


class Teller:
    """Writes into the control what it saw: the newest frame's (episode, t)."""

    def reset(self, goals: Any, /) -> None:
        """Nothing."""

    def act(self, frames: Frames, /) -> Floats:
        return frames[:, -1, [0, 1], [0, 3]].astype(float) * [1.0, 0.5]


class Constant(Teller):
    def act(self, frames: Frames, /) -> Floats:
        return np.full((len(frames), 1), 50.0)


def restarts(task: str, seed: int, count: int = E, length: int = T, **options: Any) -> Episodes:
    """Record random controls from random restarts."""
    world, rng = TaskWorld(task, count, **options), np.random.default_rng(seed)
    return rollout(world, Random(world, rng), length, rng, restart=True)


def states_of(episodes: Episodes) -> Floats:
    assert episodes.states is not None
    return episodes.states.reshape(len(episodes), -1, episodes.states.shape[1])


def actions_of(episodes: Episodes) -> Actions:
    return episodes.actions.reshape(len(episodes), -1, episodes.actions.shape[1])


def frames_of(episodes: Episodes) -> Frames:
    return episodes.frames.reshape(len(episodes), -1, *episodes.frames.shape[1:])


def test_frames_and_actions_are_aligned() -> None:
    world = TaskWorld(f"{__name__}:Counting", E)
    found = rollout(world, Teller(), T, np.random.default_rng(0), restart=True)
    frames, actions, states = frames_of(found), actions_of(found), states_of(found)
    episode, clock = np.arange(E)[:, None], np.arange(T + 1)
    assert frames.shape == (E, T + 3, 2, 4)
    assert found.frames_per_observation == 3
    np.testing.assert_array_equal(frames[:, :, 0, 0], np.broadcast_to(episode, (E, T + 3)))
    seen = found.planes().reshape(E, T + 1, 3, 2, 4)[..., 1, 3]
    for t in range(T + 1):
        np.testing.assert_array_equal(seen[:, t], np.tile([t + 8, t + 9, t + 10], (E, 1)))
    np.testing.assert_array_equal(actions[:, :, 0], np.broadcast_to(episode, (E, T)))
    asked = (10 + clock[:T]) * 0.5
    np.testing.assert_array_equal(actions[:, :, 1], np.tile(np.minimum(asked, 9), (E, 1)))
    np.testing.assert_array_equal(states[:, :, 1], np.tile(10 + clock, (E, 1)))
    np.testing.assert_array_equal(states[:, 1:, 2], actions[:, :, 0])
    assert found.in_goal is not None
    np.testing.assert_array_equal(found.in_goal.reshape(E, -1), states[..., 1] > 15)


def test_a_recorded_step_can_be_simulated_and_drawn_again() -> None:
    task, found = PendulumSwingUp(), restarts(SWING_UP, 0)
    states, actions = states_of(found), actions_of(found)
    seen = found.planes().reshape(E, T + 1, 2, 48, 48)
    assert (found.frames.dtype, found.actions.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(seen[:, 0], task.observe(states[:, 0]))
    for t in range(T):
        after = task.advance(states[:, t], actions[:, t])
        np.testing.assert_array_equal(after, states[:, t + 1])
        np.testing.assert_array_equal(task.draw(after), seen[:, t + 1, -1])


def test_the_earlier_frame_of_a_record_is_the_one_that_a_set_state_shows() -> None:
    found = restarts(SWING_UP, 4, count=50)
    assert found.states is not None
    recorded = found.planes().astype(int)
    recalled = PendulumSwingUp().observe(found.states)
    assert np.abs(recorded - recalled).max() <= 1
    assert (recorded != recalled).any(axis=(1, 2, 3)).mean() <= 0.01


def test_the_generator_decides_everything() -> None:
    one, again, other = (restarts(SWING_UP, seed) for seed in (1, 1, 2))
    assert one.content_hash == again.content_hash
    assert (one.actions != other.actions).any()


def step_noise(task: Task, found: Episodes) -> Floats:
    """What was added after each recorded step, in units ``[E T, n]``."""
    states = states_of(found)
    before, after = states[:, :-1].reshape(E * T, -1), states[:, 1:].reshape(E * T, -1)
    return (after - task.advance(before, found.actions)) / task.noise_unit()


def test_noise_comes_from_the_generator_and_a_restart_is_a_step_like_any_other() -> None:
    task = PendulumReach(state_noise=1.0)
    one, again, other = (restarts(REACH, seed, state_noise=1.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.states, again.states)
    noise, another = (step_noise(task, found) for found in (one, other))
    assert 0.7 < noise.std() < 1.3
    assert len(np.unique(np.concatenate([noise, another]).round(6))) == 2 * E * T * 2
    drawn = np.random.default_rng(1)
    before, actions = task.sample_states(drawn, E), drawn.uniform(-0.65, 0.65, (E, 1))
    np.testing.assert_array_equal(frames_of(one)[:, 0], task.draw(before))
    off = (states_of(one)[:, 0] - task.advance(before, actions)) / task.noise_unit()
    assert 0.1 < np.abs(off).mean() < 3


def test_random_torques_fill_the_limits() -> None:
    world = TaskWorld(SWING_UP, 2000)
    actions = Random(world, np.random.default_rng(0)).act(np.zeros((2000, 2, 48, 48), np.uint8))
    assert actions.shape == (2000, 1)
    assert -2 <= actions.min() < -1.98
    assert 1.98 < actions.max() <= 2
    assert abs(actions.mean()) < 0.1


def test_what_is_recorded_is_what_acted() -> None:
    world = TaskWorld(SWING_UP, E)
    found = rollout(world, Constant(), T, np.random.default_rng(0))
    assert (found.actions == 2.0).all()
    np.testing.assert_array_equal(states_of(found)[:, -1], world.states)


def test_what_a_caller_changes_in_states_and_infos_does_not_change_the_world() -> None:
    """Neither what was got nor what was given, be it before a step or after."""
    world, other = (TaskWorld(SWING_UP, E) for _ in range(2))
    starts = world.task.sample_states(np.random.default_rng(0), E)
    given = starts.copy()
    infos = world.reset(options={"states": given})[1]
    other.reset(options={"states": starts})
    for _ in range(3):
        expected = other.states
        for array in (given, world.states, infos["state"], infos["_state"], infos["is_goal"]):
            array[:] = 0
        np.testing.assert_array_equal(world.states, expected)
        assert infos["_is_goal"].all(), "it is another array"
        observations, _, _, _, infos = world.step(np.ones((E, 1)))
        np.testing.assert_array_equal(observations, other.step(np.ones((E, 1)))[0])


def test_the_worlds_push_moves_the_batch() -> None:
    calm, pushed = (TaskWorld(SWING_UP, E) for _ in range(2))
    for world in (calm, pushed):
        world.reset(seed=0)
    pushed.push = np.full((E, 1), 0.7)
    for world in (calm, pushed):
        world.step(np.zeros((E, 1)))
    np.testing.assert_allclose(pushed.states - calm.states, np.tile([0.00525, 0.105], (E, 1)))
    pushed.reset(seed=0)
    assert pushed.push is None, "a push does not outlast its episode"


def test_twenty_thousand_frames_are_simulated_and_drawn_in_a_second() -> None:
    world = TaskWorld(SWING_UP, 200)
    rollout(world, Zero(world), 2, np.random.default_rng(0))
    began = time.process_time()  # of this process alone, whatever else the machine does
    restarts(SWING_UP, 0, count=200, length=20)
    assert 200 * 20 / (time.process_time() - began) > 20_000


def test_a_controller_that_returns_nan_is_stopped() -> None:
    world = TaskWorld(SWING_UP, E)
    world.reset(seed=0)
    with pytest.raises(ValueError, match="Look for NaN in the controller's output"):
        world.step(np.full((E, 1), np.nan))
