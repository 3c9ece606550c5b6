"""Recorded episodes: that x_t, u_t and x_{t+1} are those of one step, and of one episode."""

import time

import numpy as np
import pytest

from envs.collect import (
    BatchEnv,
    Rollouts,
    collect_restarts,
    random_controller,
    record,
    restart,
)
from envs.core import Actions, Bools, Floats, Frames, PixelEnv
from envs.pendulum import PendulumSwingUp
from envs.quantity import Quantity
from envs.strong_pendulum import PendulumReach

E, T = 5, 7


class Counting(PixelEnv):
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

    def picture(self, state: Floats, action: Actions) -> Frames:
        return np.zeros((2, 2, 3), np.uint8)


def counting_controller(observations: Frames) -> Floats:
    """Write into the control what the controller saw: the newest frame's (episode, t)."""
    return observations[:, -1, [0, 1], [0, 3]].astype(float) * [1.0, 0.5]


def test_frames_and_actions_are_aligned() -> None:
    batch = restart(Counting(), E, np.random.default_rng(0))
    rollouts = record(batch, counting_controller, T)
    episode, clock = np.arange(E)[:, None], np.arange(T + 1)
    assert rollouts.frames.shape == (E, T + 3, 2, 4)
    assert rollouts.frames_per_observation == 3
    np.testing.assert_array_equal(rollouts.frames[:, :, 0, 0], np.broadcast_to(episode, (E, T + 3)))
    for t in range(T + 1):
        seen = rollouts.observations(t)[:, :, 1, 3]
        np.testing.assert_array_equal(seen, np.tile([t + 8, t + 9, t + 10], (E, 1)))
    np.testing.assert_array_equal(rollouts.actions[:, :, 0], np.broadcast_to(episode, (E, T)))
    asked = (10 + clock[:T]) * 0.5
    np.testing.assert_array_equal(rollouts.actions[:, :, 1], np.tile(np.minimum(asked, 9), (E, 1)))
    np.testing.assert_array_equal(rollouts.states[:, :, 1], np.tile(10 + clock, (E, 1)))
    np.testing.assert_array_equal(rollouts.states[:, 1:, 2], rollouts.actions[:, :, 0])


def test_a_recorded_step_can_be_simulated_and_drawn_again() -> None:
    env = PendulumSwingUp()
    rollouts = collect_restarts(env, E, T, np.random.default_rng(0))
    assert rollouts.frames.dtype == np.uint8
    assert rollouts.actions.dtype == np.float32
    assert rollouts.states.dtype == np.float64
    np.testing.assert_array_equal(rollouts.observations(0), env.observe(rollouts.states[:, 0]))
    for t in range(T):
        after = env.advance(rollouts.states[:, t], rollouts.actions[:, t])
        np.testing.assert_array_equal(after, rollouts.states[:, t + 1])
        np.testing.assert_array_equal(env.draw(after), rollouts.observations(t + 1)[:, -1])


def test_the_earlier_frame_of_a_record_is_the_one_that_a_set_state_shows() -> None:
    env = PendulumSwingUp()
    rollouts = collect_restarts(env, 50, T, np.random.default_rng(4))
    recorded = np.stack([rollouts.observations(t) for t in range(T + 1)], axis=1).astype(int)
    recalled = env.observe(rollouts.states.reshape(-1, 2)).reshape(recorded.shape)
    assert np.abs(recorded - recalled).max() <= 1
    assert (recorded != recalled).any(axis=(2, 3, 4)).mean() <= 0.01


def test_the_generator_decides_everything() -> None:
    env = PendulumSwingUp()
    one, again, other = (collect_restarts(env, E, T, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.frames, again.frames)
    np.testing.assert_array_equal(one.actions, again.actions)
    assert (one.actions != other.actions).any()


def step_noise(env: PixelEnv, rollouts: Rollouts) -> Floats:
    """What was added after each recorded step, in units ``[E T, n]``."""
    before, after = rollouts.states[:, :-1], rollouts.states[:, 1:]
    moved = env.advance(before.reshape(E * T, -1), rollouts.actions.reshape(E * T, -1))
    return (after.reshape(E * T, -1) - moved) / env.noise_unit()


def test_noise_comes_from_the_generator_and_a_restart_is_a_step_like_any_other() -> None:
    env = PendulumReach(state_noise=1.0)
    one, again, other = (collect_restarts(env, E, T, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.states, again.states)
    noise, another = (step_noise(env, rollouts) for rollouts in (one, other))
    assert 0.7 < noise.std() < 1.3
    assert len(np.unique(np.concatenate([noise, another]).round(6))) == 2 * E * T * 2
    drawn = np.random.default_rng(1)
    before, actions = env.sample_states(drawn, E), drawn.uniform(-0.65, 0.65, (E, 1))
    np.testing.assert_array_equal(one.frames[:, 0], env.draw(before))
    off = (one.states[:, 0] - env.advance(before, actions)) / env.noise_unit()
    assert 0.1 < np.abs(off).mean() < 3


def test_random_torques_fill_the_limits() -> None:
    env = PendulumSwingUp()
    act = random_controller(env, np.random.default_rng(0))
    actions = np.asarray(act(np.zeros((2000, 2, 48, 48), np.uint8)))
    assert actions.shape == (2000, 1)
    assert -2 <= actions.min() < -1.98
    assert 1.98 < actions.max() <= 2
    assert abs(actions.mean()) < 0.1


def test_what_is_recorded_is_what_acted() -> None:
    env = PendulumSwingUp()
    batch = BatchEnv(env, env.sample_starts(np.random.default_rng(0), E))
    rollouts = record(batch, lambda observations: np.full((len(observations), 1), 50.0), T)
    assert (rollouts.actions == 2.0).all()
    np.testing.assert_array_equal(rollouts.states[:, -1], batch.states)


def test_recording_goes_on_from_where_the_batch_stands() -> None:
    env = PendulumSwingUp()
    starts = env.sample_starts(np.random.default_rng(0), E)

    def act(observations: Frames) -> Floats:
        return observations.mean(axis=(1, 2, 3))[:, None] / 20 - 1

    whole = record(BatchEnv(env, starts), act, T)
    batch = BatchEnv(env, starts)
    record(batch, act, 3)
    rest = record(batch, act, T - 3)
    np.testing.assert_array_equal(rest.frames, whole.frames[:, 3:])
    np.testing.assert_array_equal(rest.states, whole.states[:, 3:])


def test_the_worlds_push_moves_the_batch() -> None:
    env = PendulumSwingUp()
    starts = env.sample_starts(np.random.default_rng(0), E)
    calm, pushed = BatchEnv(env, starts), BatchEnv(env, starts)
    calm.step(np.zeros((E, 1)))
    pushed.step(np.zeros((E, 1)), external=np.full((E, 1), 0.7))
    np.testing.assert_allclose(pushed.states - calm.states, np.tile([0.00525, 0.105], (E, 1)))


def test_progress_counts_transitions() -> None:
    told: list[tuple[int, int]] = []
    env, rng = PendulumSwingUp(), np.random.default_rng(0)
    controller = random_controller(env, rng)
    record(restart(env, E, rng), controller, 3, lambda done, total: told.append((done, total)))
    assert told == [(5, 15), (10, 15), (15, 15)]


def test_twenty_thousand_frames_are_simulated_and_drawn_in_a_second() -> None:
    env, rng = PendulumSwingUp(), np.random.default_rng(0)
    collect_restarts(env, 50, 2, rng)
    began = time.process_time()  # of this process alone, whatever else the machine does
    collect_restarts(env, 200, 20, rng)
    assert 200 * 20 / (time.process_time() - began) > 20_000


def test_a_controller_that_returns_nan_is_stopped() -> None:
    batch = restart(PendulumSwingUp(), E, np.random.default_rng(0))
    with pytest.raises(ValueError, match="Look for NaN in the controller's output"):
        record(batch, lambda x: np.full((len(x), 1), np.nan), T)
