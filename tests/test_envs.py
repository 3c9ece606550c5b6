"""What every registered environment must do; a new one is tested by being registered."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.collect import BatchEnv
from envs.core import Floats, PixelEnv

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=sorted(envs.ENVIRONMENTS))
def env(request: pytest.FixtureRequest) -> Iterator[PixelEnv]:
    env = envs.make(request.param, render_mode="rgb_array")
    yield env
    env.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def outside(env: PixelEnv) -> Floats:
    """A state that is not in the goal region; some restarts are all drawn from within."""
    states = 1.7 * env.sample_states(np.random.default_rng(0), 50)
    return states[~env.is_goal(states)][0]


def random_actions(env: PixelEnv, rng: np.random.Generator, n: int) -> Floats:
    return rng.uniform(env.action_space.low, env.action_space.high, (n, env.control_dim))


def test_gymnasium_finds_nothing_wrong(env: PixelEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The limits are physical torques; the method never sees them normalised.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        check_env(env)


@pytest.mark.parametrize("entry", envs.ENVIRONMENTS.values(), ids=lambda entry: entry.id)
def test_an_episode_is_truncated_and_never_terminates(entry: envs.EnvEntry) -> None:
    env = gymnasium.make(entry.id)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(entry.max_episode_steps)]
    assert ends == [(False, False)] * (entry.max_episode_steps - 1) + [(False, True)]


def test_an_unknown_id_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'E2C/Pendulum'; valid are: E2C/PendulumReach-v0, "):
        envs.make("E2C/Pendulum")


def test_spaces_are_those_of_the_arrays(env: PixelEnv) -> None:
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert env.observation_space.shape == (env.frames_per_observation, *env.frame_shape)
    assert env.action_space.shape == (env.control_dim,)
    assert info["state"].shape == (env.state_dim,)
    assert info["state"].dtype == np.float64
    assert env.goal_observation().dtype == np.uint8
    assert env.dt > 0


def test_a_seed_repeats_an_episode(env: PixelEnv) -> None:
    def episode(seed: int) -> tuple[list[bytes], list[list[float]]]:
        observation, info = env.reset(seed=seed)
        images, states = [observation.tobytes()], [info["state"].tolist()]
        rng = np.random.default_rng(seed)
        for action in random_actions(env, rng, 9):
            observation, _, _, _, info = env.step(action)
            images.append(observation.tobytes())
            states.append(info["state"].tolist())
        return images, states

    assert episode(5) == episode(5)
    assert episode(5) != episode(6)


def test_an_observation_is_a_pure_function_of_the_state(
    env: PixelEnv, rng: np.random.Generator
) -> None:
    states = env.sample_states(rng, 5)
    kept, expected = states.copy(), env.observe(states)
    env.advance(states, random_actions(env, rng, 5))
    env.reset(seed=1)
    np.testing.assert_array_equal(env.observe(states), expected)
    np.testing.assert_array_equal(states, kept)
    np.testing.assert_array_equal(
        env.observe(states[::-1]), expected[::-1], "it depends on its neighbours"
    )


def test_the_goal_image_shows_the_goal_at_rest(env: PixelEnv) -> None:
    goal = env.goal_observation()
    assert (goal == goal[0]).all()
    np.testing.assert_array_equal(goal[-1], env.draw(env.goal_state()[None])[0])
    assert goal.any()
    assert bool(env.is_goal(env.goal_state()))
    assert not env.is_goal(outside(env))


def test_each_episode_has_a_goal_that_it_can_reach(env: PixelEnv, rng: np.random.Generator) -> None:
    goals = env.goal_states(env.sample_starts(rng, 7))
    assert goals.shape == (7, env.state_dim)
    assert env.is_goal(goals).all()
    np.testing.assert_array_equal(goals, env.goal_states(goals))
    np.testing.assert_array_equal(env.goal_states(env.goal_state()[None])[0], env.goal_state())
    images = env.observe(goals)
    assert (images == images[:, :1]).all(), "at rest"


def test_the_goal_is_an_equilibrium(env: PixelEnv) -> None:
    goal = env.goal_state()[None]
    after = env.advance(goal, np.zeros((1, env.control_dim)))
    np.testing.assert_allclose(after, goal, atol=1e-12)


def test_a_state_can_be_set_and_read_back(env: PixelEnv, rng: np.random.Generator) -> None:
    for state in env.sample_states(rng, 3):
        observation, info = env.reset(options={"state": state})
        np.testing.assert_array_equal(info["state"], state)
        np.testing.assert_array_equal(observation, env.observe(state[None])[0])
        np.testing.assert_array_equal(env.set_state(state), observation)


def test_what_a_caller_does_to_its_arrays_changes_nothing(env: PixelEnv) -> None:
    observation, info = env.reset(seed=2)
    for _ in range(2):
        newest = observation[-1].copy()
        observation[:], info["state"][:] = 77, np.nan
        observation, _, _, _, info = env.step(np.zeros(env.control_dim))
        assert np.isfinite(info["state"]).all()
        if env.frames_per_observation > 1:
            np.testing.assert_array_equal(observation[-2], newest)


def test_a_step_is_the_same_alone_and_in_a_batch(env: PixelEnv, rng: np.random.Generator) -> None:
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


def test_no_episodes_are_a_batch_too(env: PixelEnv, rng: np.random.Generator) -> None:
    none = env.sample_starts(rng, 0)
    assert env.advance(none, np.zeros((0, env.control_dim))).shape == (0, env.state_dim)
    assert env.observe(none).shape == (0, *env.observation_space.shape)


def test_the_batch_and_the_gym_interface_agree(env: PixelEnv, rng: np.random.Generator) -> None:
    starts, steps = env.sample_starts(rng, 3), 12
    actions = rng.uniform(-3, 3, (steps, 3, env.control_dim))
    batch = BatchEnv(env, starts)
    states, images = [batch.states], [batch.observations]
    for t in range(steps):
        images.append(batch.step(actions[t]))
        states.append(batch.states)
    for b in range(3):
        observation, info = env.reset(options={"state": starts[b]})
        for t in range(steps):
            np.testing.assert_array_equal(observation, images[t][b])
            np.testing.assert_array_equal(info["state"], states[t][b])
            observation, _, _, _, info = env.step(actions[t, b])


def test_start_i_does_not_depend_on_how_many_are_drawn(env: PixelEnv) -> None:
    def draw(n: int) -> Floats:
        return env.sample_starts(np.random.default_rng(11), n)

    many = draw(20)
    for n in (1, 7):
        np.testing.assert_array_equal(draw(n), many[:n])
    assert len(np.unique(many, axis=0)) in (1, 20), "each is drawn, or all are the same"


def test_previous_states_lead_here(env: PixelEnv, rng: np.random.Generator) -> None:
    states = env.sample_states(rng, 40)
    zero = np.zeros((40, env.control_dim))
    np.testing.assert_allclose(env.advance(env.previous(states), zero), states, atol=1e-12)


def test_a_start_at_rest_shows_no_motion(env: PixelEnv) -> None:
    frames = env.observe(env.sample_starts(np.random.default_rng(0), 5))
    assert (frames == frames[:, :1]).all()


def test_a_restart_is_seen_on_the_way(env: PixelEnv, rng: np.random.Generator) -> None:
    observations, states = env.restart(rng, 60)
    assert observations.shape == (60, *env.observation_space.shape)
    np.testing.assert_array_equal(observations[:, -1], env.draw(states))
    if env.frames_per_observation > 1:
        moved = (observations[:, -1] != observations[:, -2]).any(axis=(1, 2))
        assert moved.mean() > 0.9
        steps = np.abs(np.diff(observations.astype(float), axis=1)).sum(axis=(1, 2, 3))
        recalled = np.abs(observations[:, -2].astype(float) - env.observe(states)[:, -2])
        assert recalled.sum() < steps.sum(), "nearer to where it came from than to where it is"


def test_goals_reach_as_far_as_is_said(env: PixelEnv) -> None:
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


def test_the_components_are_those_of_the_state(env: PixelEnv, rng: np.random.Generator) -> None:
    names = [component.name for component in env.components]
    assert len(set(names)) == env.state_dim
    assert all(component.unit for component in env.components)
    assert 10 < len(env.goal_sentence) < 80
    states = env.sample_states(rng, 9)
    for i, component in enumerate(env.components):
        if component.is_angle:
            turned = env.draw(states + 2 * np.pi * np.eye(env.state_dim)[i])
            assert np.abs(turned.astype(int) - env.draw(states)).max() <= 1, component.name


def test_coordinates_lead_back_to_the_state(env: PixelEnv, rng: np.random.Generator) -> None:
    coordinates = env.coordinates(env.sample_states(rng, 12).reshape(3, 4, -1))
    again = env.coordinates(env.from_coordinates(coordinates))
    np.testing.assert_allclose(again, coordinates, atol=1e-12)


def test_actions_are_limited_and_the_world_is_not(env: PixelEnv, rng: np.random.Generator) -> None:
    states, high = env.sample_states(rng, 4), np.tile(env.action_space.high, (4, 1))
    full = env.advance(states, high)
    np.testing.assert_array_equal(env.advance(states, 5 * high), full)
    pushed = env.advance(states, 5 * high, high)
    np.testing.assert_allclose(pushed, env.advance(states, 0 * high, 2 * high), atol=1e-12)
    assert (np.abs(pushed - full) > 1e-3).any(axis=1).all()


def test_noise_is_of_the_stated_size_and_none_is_the_default(env: PixelEnv) -> None:
    noisy = envs.make(env.spec.id, state_noise=1.5)  # type: ignore[union-attr]
    states, still = np.tile(env.goal_state(), (5000, 1)), np.zeros((5000, env.control_dim))
    seen, generators = env.observe(states[:1]), np.random.default_rng(1).spawn(5000)
    _, calm = env.transition(seen, states[:1], still[:1])
    np.testing.assert_array_equal(calm, env.advance(states[:1], still[:1]))
    np.testing.assert_array_equal(noisy.advance(states, still), np.tile(calm, (5000, 1)))
    added = noisy.disturb(env.advance(states, still), generators) - calm
    inside = np.abs(added) < 1.0 * env.noise_unit()  # not where a task keeps its state in bounds
    np.testing.assert_allclose(inside.mean(axis=0)[env.noise_unit() > 0], 0.495, atol=0.04)
    assert not added[:, env.noise_unit() == 0].any()


def test_a_noisy_episode_is_the_same_alone_and_in_a_batch(env: PixelEnv) -> None:
    noisy = envs.make(env.spec.id, state_noise=2.0)  # type: ignore[union-attr]
    starts, actions = (
        noisy.sample_starts(np.random.default_rng(4), 3),
        random_actions(noisy, np.random.default_rng(5), 6),
    )
    batch = BatchEnv(noisy, starts, generators=np.random.default_rng(6).spawn(3))
    images = [batch.step(np.tile(action, (3, 1))) for action in actions]
    alone = BatchEnv(noisy, starts[1:2], generators=np.random.default_rng(6).spawn(2)[1:])
    noisy.reset(options={"state": starts[1]})
    noisy.np_random = np.random.default_rng(6).spawn(2)[1]
    for t, action in enumerate(actions):
        np.testing.assert_array_equal(alone.step(action[None])[0], images[t][1])
        np.testing.assert_array_equal(noisy.step(action)[0], images[t][1])
    assert len(np.unique(batch.states, axis=0)) == 3


def test_noise_without_a_generator_for_each_episode_is_refused(env: PixelEnv) -> None:
    noisy = envs.make(env.spec.id, state_noise=1.0)  # type: ignore[union-attr]
    batch = BatchEnv(noisy, noisy.sample_starts(np.random.default_rng(0), 3))
    with pytest.raises(ValueError, match="3 episodes were given 0: pass as many"):
        batch.step(np.zeros((3, noisy.control_dim)))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"state noise must be a number from 0 on; got {bad}"):
            envs.make(env.spec.id, state_noise=bad)  # type: ignore[union-attr]


def test_a_diverged_state_is_nan_and_leaves_its_neighbours_alone(env: PixelEnv) -> None:
    states = np.tile(env.goal_state(), (3, 1))
    states[1] = np.inf
    after = env.advance(states, np.zeros((3, env.control_dim)))
    assert np.isnan(after[1]).all()
    assert np.isfinite(after[[0, 2]]).all()
    with np.errstate(invalid="ignore"):
        frames = env.observe(after)
    np.testing.assert_array_equal(frames[[0, 2]], env.observe(after[[0, 2]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_must_be_finite(env: PixelEnv, bad: float) -> None:
    env.reset(seed=0)
    with pytest.raises(ValueError, match="every control must be a finite number"):
        env.step(np.full(env.control_dim, bad))


def test_wrong_inputs_are_told_in_a_sentence(env: PixelEnv) -> None:
    state, action = env.goal_state()[None], np.zeros((1, env.control_dim))
    with pytest.raises(ValueError, match=r"actions must be numbers of shape \[N, "):
        env.advance(state, action[0])
    with pytest.raises(ValueError, match=r"states must be numbers of shape \[N, "):
        env.advance(state[:, :-1], action)
    with pytest.raises(ValueError, match="1 states were given 2 actions"):
        env.advance(state, np.tile(action, (2, 1)))
    with pytest.raises(ValueError, match="1 actions were given 2 external"):
        env.advance(state, action, np.tile(action, (2, 1)))
    with pytest.raises(ValueError, match="finite numbers"):
        env.set_state(np.full(env.state_dim, np.nan))
    with pytest.raises(ValueError, match=r"Unknown reset options \['angle'\]"):
        env.reset(options={"angle": 0.0})


def test_a_step_before_a_state_says_what_to_do(env: PixelEnv) -> None:
    with pytest.raises(RuntimeError, match=r"call reset\(\) or set_state\(\) first"):
        env.step(np.zeros(env.control_dim))


def test_success_needs_every_one_of_the_last_steps(env: PixelEnv) -> None:
    episode = np.tile(env.goal_state(), (env.settle_steps + 1, 1))
    episode[0] = outside(env)
    assert bool(env.is_success(episode)), "the start is not a step"
    batch = np.stack([episode, episode])
    batch[1, -1] = outside(env)
    assert env.is_success(batch).tolist() == [True, False]
    assert not env.is_success(episode[1:])


def test_render_is_a_picture_that_follows_state_and_action(env: PixelEnv) -> None:
    env.reset(seed=0)
    first = env.render()
    assert first is not None
    assert first.shape == (480, 480, 3)
    assert first.dtype == np.uint8
    state = outside(env)
    still, pushed = (env.picture(state, a * env.action_space.high) for a in (0, 1))
    assert (still != pushed).any()
    assert (env.picture(env.goal_state(), 0 * env.action_space.high) != still).any()


def test_without_a_render_mode_there_is_no_picture() -> None:
    env = envs.make(next(iter(envs.ENVIRONMENTS)))
    env.reset(seed=0)
    assert env.render() is None


def test_environments_need_no_torch_no_graphics_and_print_nothing() -> None:
    program = (
        "import sys, numpy, envs\n"
        "from envs.collect import collect_restarts\n"
        "state = numpy.random.get_state()[1].copy()\n"
        "for name in envs.ENVIRONMENTS:\n"
        "    collect_restarts(envs.make(name), 2, 3, numpy.random.default_rng(0))\n"
        "assert (numpy.random.get_state()[1] == state).all(), 'global seed'\n"
        "banned = {'torch', 'e2c', 'planners', 'wandb', 'OpenGL', 'mujoco.egl', 'mujoco.osmesa'}\n"
        "assert not banned & set(sys.modules), banned & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
