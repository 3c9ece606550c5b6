"""What the task of every registered environment must do: its mechanics, pictures and goals."""

import re
from typing import Any

import numpy as np
import pytest
from tiny import random_actions, task_of

from envs.planar import PlanarNavigation
from envs.task import Floats, Task


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def outside(env: Task) -> Floats:
    """A state that is not in the goal region; some restarts are all drawn from within."""
    states = 1.7 * env.sample_states(np.random.default_rng(0), 50)
    return states[~env.is_goal(states)][0]


def test_an_observation_is_a_pure_function_of_the_state(
    env: Task, rng: np.random.Generator
) -> None:
    states = env.sample_states(rng, 5)
    kept, expected = states.copy(), env.observe(states)
    env.advance(states, random_actions(env, rng, 5))
    np.testing.assert_array_equal(env.observe(states), expected)
    np.testing.assert_array_equal(states, kept)
    np.testing.assert_array_equal(
        env.observe(states[::-1]), expected[::-1], "it depends on its neighbours"
    )


def test_the_goal_image_shows_the_goal_at_rest(env: Task) -> None:
    goal = env.goal_observation()
    assert (goal == goal[0]).all()
    np.testing.assert_array_equal(goal[-1], env.draw(env.goal_state()[None])[0])
    assert goal.any()
    assert bool(env.is_goal(env.goal_state()))
    assert not env.is_goal(outside(env))


def test_each_episode_has_a_goal_that_it_can_reach(env: Task, rng: np.random.Generator) -> None:
    goals = env.goal_states(env.sample_starts(rng, 7))
    assert goals.shape == (7, env.state_dim)
    assert env.is_goal(goals).all()
    np.testing.assert_array_equal(goals, env.goal_states(goals))
    np.testing.assert_array_equal(env.goal_states(env.goal_state()[None])[0], env.goal_state())
    images = env.observe(goals)
    assert (images == images[:, :1]).all(), "at rest"


def test_the_goal_is_an_equilibrium(env: Task) -> None:
    goal = env.goal_state()[None]
    after = env.advance(goal, np.zeros((1, env.control_dim)))
    np.testing.assert_allclose(after, goal, atol=1e-12)


def test_a_step_is_the_same_alone_and_in_a_batch(env: Task, rng: np.random.Generator) -> None:
    states, actions = env.sample_states(rng, 131), random_actions(env, rng, 131) * 2
    external = rng.normal(size=actions.shape)
    together = env.advance(states, actions, external)
    frames = env.draw(states)
    for i in (0, 64, 130):
        one = slice(i, i + 1)
        np.testing.assert_array_equal(
            env.advance(states[one], actions[one], external[one]), together[one]
        )
        np.testing.assert_array_equal(env.draw(states[one]), frames[one])


def test_no_episodes_are_a_batch_too(env: Task, rng: np.random.Generator) -> None:
    none = env.sample_starts(rng, 0)
    assert env.advance(none, np.zeros((0, env.control_dim))).shape == (0, env.state_dim)
    assert env.observe(none).shape == (0, *env.observation_space.shape)


def test_start_i_does_not_depend_on_how_many_are_drawn(env: Task) -> None:
    def draw(n: int) -> Floats:
        return env.sample_starts(np.random.default_rng(11), n)

    many = draw(20)
    for n in (1, 7):
        np.testing.assert_array_equal(draw(n), many[:n])
    assert len(np.unique(many, axis=0)) in (1, 20), "each is drawn, or all are the same"


def test_previous_states_lead_here(env: Task, rng: np.random.Generator) -> None:
    states = env.sample_states(rng, 40)
    zero = np.zeros((40, env.control_dim))
    np.testing.assert_allclose(env.advance(env.previous(states), zero), states, atol=1e-12)


def test_a_start_at_rest_shows_no_motion(env: Task) -> None:
    frames = env.observe(env.sample_starts(np.random.default_rng(0), 5))
    assert (frames == frames[:, :1]).all()


def test_a_restart_is_seen_on_the_way(env: Task, rng: np.random.Generator) -> None:
    observations, states = env.restart(rng, 60)
    assert observations.shape == (60, *env.observation_space.shape)
    np.testing.assert_array_equal(observations[:, -1], env.draw(states))
    if env.frames_per_observation > 1:
        moved = (observations[:, -1] != observations[:, -2]).any(axis=(1, 2))
        assert moved.mean() > 0.9
        steps = np.abs(np.diff(observations.astype(float), axis=1)).sum(axis=(1, 2, 3))
        recalled = np.abs(observations[:, -2].astype(float) - env.observe(states)[:, -2])
        assert recalled.sum() < steps.sum(), "nearer to where it came from than to where it is"


def test_goals_reach_as_far_as_is_said(env: Task) -> None:
    start = env.sample_starts(np.random.default_rng(0), 1)
    for i, component in enumerate(env.components):
        if component.goal_half_width is not None:
            for share, inside in ((0.99, True), (-0.99, True), (1.01, False), (-1.01, False)):
                states = env.goal_states(start)
                states[:, i] += share * component.goal_half_width
                assert env.is_goal(states).all() == inside, (component, share)
    assert env.components[env.plotted].goal_half_width
    assert env.control.name
    assert env.control.unit


def test_the_components_are_those_of_the_state(env: Task, rng: np.random.Generator) -> None:
    names = [component.name for component in env.components]
    assert len(set(names)) == env.state_dim
    assert all(component.unit for component in env.components)
    assert 10 < len(env.goal_sentence) < 80
    states = env.sample_states(rng, 9)
    for i, component in enumerate(env.components):
        if component.is_angle:
            turned = env.draw(states + 2 * np.pi * np.eye(env.state_dim)[i])
            assert np.abs(turned.astype(int) - env.draw(states)).max() <= 1, component.name


def test_coordinates_lead_back_to_the_state(env: Task, rng: np.random.Generator) -> None:
    coordinates = env.coordinates(env.sample_states(rng, 12).reshape(3, 4, -1))
    again = env.coordinates(env.from_coordinates(coordinates))
    np.testing.assert_allclose(again, coordinates, atol=1e-12)


def test_the_coordinates_derivative_is_theirs(env: Task, rng: np.random.Generator) -> None:
    states = env.sample_states(rng, 5)
    found = env.coordinates_jacobian(states)
    for i, shift in enumerate(1e-5 * np.eye(env.state_dim)):
        change = env.coordinates(states + shift) - env.coordinates(states - shift)
        np.testing.assert_allclose(found[..., i], change / 2e-5, rtol=0, atol=1e-9)
    moved = found[:, :, found.any(axis=(0, 1))]
    identity = np.eye(moved.shape[2])
    np.testing.assert_allclose(moved.mT @ moved, [identity] * 5, rtol=0, atol=1e-15)


def test_what_is_predicted_is_what_the_world_does(env: Task, rng: np.random.Generator) -> None:
    states, actions = env.sample_states(rng, 300), random_actions(env, rng, 300)
    found = env.predict(states, actions)
    np.testing.assert_allclose(found, env.advance(states, actions), rtol=0, atol=1e-11)


def test_only_what_is_not_finite_is_predicted_as_nan(env: Task) -> None:
    states, actions = np.tile(env.goal_state(), (5, 1)), np.zeros((5, env.control_dim))
    expected = env.predict(states, actions)
    states[0, -1], states[1], actions[2, 0], actions[3] = np.inf, np.nan, np.nan, np.inf
    found = env.predict(states, actions)
    assert np.isnan(found[:4]).all()
    np.testing.assert_array_equal(found[4:], expected[4:])


def test_derivatives_are_those_of_a_step(env: Task, rng: np.random.Generator) -> None:
    """Also where a control is at a limit."""
    states, actions = env.sample_states(rng, 60), random_actions(env, rng, 60)
    actions[:20], actions[20:40] = env.action_space.low, env.action_space.high
    fx, fu = env.linearize(states, actions)
    assert fx.shape == (60, env.state_dim, env.state_dim)
    assert fu.shape == (60, env.state_dim, env.control_dim)
    differences = Task.linearize(env, states, actions)
    np.testing.assert_allclose(fx, differences[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(fu, differences[1], rtol=0, atol=2e-6)
    width = 1e-4
    for i, shift in enumerate(width * np.eye(env.control_dim)):
        change = env.predict(states, actions + shift) - env.predict(states, actions - shift)
        usual = fu[..., i]
        smooth = np.abs(change).max(axis=1) < 1e-3  # neither wrapped nor clipped on the way
        np.testing.assert_allclose(usual[smooth], change[smooth] / 2 / width, rtol=0, atol=1e-4)
        assert smooth.sum() > 40


def test_actions_are_limited_and_the_world_is_not(env: Task, rng: np.random.Generator) -> None:
    states, high = env.sample_states(rng, 4), np.tile(env.action_space.high, (4, 1))
    full = env.advance(states, high)
    np.testing.assert_array_equal(env.advance(states, 5 * high), full)
    pushed = env.advance(states, 5 * high, high)
    np.testing.assert_allclose(pushed, env.advance(states, 0 * high, 2 * high), atol=1e-12)
    assert (np.abs(pushed - full) > 1e-3).any(axis=1).all()


def test_noise_is_of_the_stated_size_and_none_is_the_default(name: str, env: Task) -> None:
    noisy = task_of(name, state_noise=1.5)
    states, still = np.tile(env.goal_state(), (5000, 1)), np.zeros((5000, env.control_dim))
    seen, generators = env.observe(states[:1]), np.random.default_rng(1).spawn(5000)
    _, calm = env.transition(seen, states[:1], still[:1])
    np.testing.assert_array_equal(calm, env.advance(states[:1], still[:1]))
    np.testing.assert_array_equal(noisy.advance(states, still), np.tile(calm, (5000, 1)))
    added = noisy.disturb(env.advance(states, still), generators) - calm
    inside = np.abs(added) < 1.0 * env.noise_unit()  # not where a task keeps its state in bounds
    np.testing.assert_allclose(inside.mean(axis=0)[env.noise_unit() > 0], 0.495, atol=0.04)
    assert not added[:, env.noise_unit() == 0].any()


def test_noise_without_a_generator_for_each_episode_is_refused(name: str) -> None:
    noisy = task_of(name, state_noise=1.0)
    states = noisy.sample_starts(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match="3 episodes were given 0: pass as many"):
        noisy.transition(noisy.observe(states), states, np.zeros((3, noisy.control_dim)))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"state noise must be a number from 0 on; got {bad}"):
            task_of(name, state_noise=bad)


class Own(PlanarNavigation):
    """A task that is told its step and its limits."""

    def __init__(self, dt: Any = 0.1, control_range: Any = ((-3.0, 3.0), (-3.0, 3.0))) -> None:
        Task.__init__(self, dt, control_range)


@pytest.mark.parametrize("bad", ["0.1", None, np.nan, np.inf, 0.0, -1, True, [0.1]])
def test_a_wrong_control_step_is_one_sentence(bad: Any) -> None:
    told = f"The control step dt must be a positive number; got {bad!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        Own(dt=bad)


@pytest.mark.parametrize(
    "bad",
    [
        "wide",
        None,
        3.0,
        [-3.0, 3.0],
        [[-3.0, 3.0], [-3.0]],
        [["a", "b"]],
        [[-3.0, np.nan]],
        [[-np.inf, np.inf]],
        [[3.0, -3.0]],
        [[0.0, 0.0]],
        np.tile([[-1e300, 1e300]], (9, 1)),
    ],
)
def test_wrong_control_limits_are_one_sentence(bad: Any) -> None:
    told = r"The control range must hold finite numbers of shape \[m, 2\], .* higher one; got .*\."
    with pytest.raises(ValueError, match=f"^{told}$"):
        Own(control_range=bad)


def test_a_task_may_be_told_its_step_and_its_limits() -> None:
    found = Own(np.float32(0.25), [[-1, 2], [-4, 3]])
    assert found.dt == 0.25
    np.testing.assert_array_equal(found.action_space.low, [-1, -4])
    np.testing.assert_array_equal(found.action_space.high, [2, 3])


def test_ragged_arrays_are_one_sentence(env: Task) -> None:
    ragged: Any = [[1.0, 2.0], [3.0]]
    state, action = env.goal_state()[None], np.zeros((1, env.control_dim))
    for name, ask in (
        ("states", lambda: env.advance(ragged, action)),
        ("states", lambda: env.observe(ragged)),
        ("actions", lambda: env.advance(state, ragged)),
        ("external", lambda: env.advance(state, action, ragged)),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must be numbers of .*; got no array\.$"):
            ask()


def test_a_diverged_state_is_nan_and_leaves_its_neighbours_alone(env: Task) -> None:
    states = np.tile(env.goal_state(), (3, 1))
    states[1] = np.inf
    after = env.advance(states, np.zeros((3, env.control_dim)))
    assert np.isnan(after[1]).all()
    assert np.isfinite(after[[0, 2]]).all()
    with np.errstate(invalid="ignore"):
        frames = env.observe(after)
    np.testing.assert_array_equal(frames[[0, 2]], env.observe(after[[0, 2]]))
