"""What every registered environment must do: a new one is tested by being registered."""

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from processes import python
from tiny import random_actions

import envs
from envs.native import TaskEnv, TaskWorld
from envs.task import Frames, Task
from envs.world import check_world, episode_steps, name_of, settle_steps, time_step


@pytest.fixture
def alone(name: str) -> TaskEnv:
    """One episode, as Gymnasium makes it."""
    made: Any = gymnasium.make(name, render_mode="rgb_array").unwrapped
    assert isinstance(made, TaskEnv)
    return made


def world_of(name: str, count: int, **options: Any) -> TaskWorld:
    made: Any = envs.make(name, count, **options)
    assert isinstance(made, TaskWorld)
    return made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_gymnasium_finds_nothing_wrong(alone: TaskEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The limits are physical torques; the method never sees them normalised.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        check_env(alone)


@pytest.mark.parametrize("entry", envs.ENVIRONMENTS.values(), ids=lambda entry: entry.id)
def test_an_episode_is_truncated_and_never_terminates(entry: envs.EnvEntry) -> None:
    env = gymnasium.make(entry.id)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(entry.max_episode_steps)]
    assert ends == [(False, False)] * (entry.max_episode_steps - 1) + [(False, True)]


def test_an_unknown_id_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'E2C/Pendulum' .*; valid are: E2C/PendulumReach-v0, "):
        envs.make("E2C/Pendulum")


def test_spaces_are_those_of_the_arrays(env: Task, alone: TaskEnv) -> None:
    observation, info = alone.reset(seed=3)
    assert alone.observation_space.contains(observation)
    assert alone.observation_space.shape == (env.frames_per_observation, *env.frame_shape)
    assert alone.action_space.shape == (env.control_dim,)
    assert info["state"].shape == (env.state_dim,)
    assert info["state"].dtype == np.float64
    assert info["goal"].shape == observation.shape
    assert env.goal_observation().dtype == np.uint8
    assert env.dt > 0


def test_every_task_is_a_world(name: str, env: Task) -> None:
    world = world_of(name, 3, render_mode="rgb_array")
    check_world(world)
    assert name_of(world) == name
    assert time_step(world) == env.dt
    assert episode_steps(world) == envs.ENVIRONMENTS[name].max_episode_steps
    assert settle_steps(world) == env.settle_steps
    observations, infos = world.reset(seed=1)
    assert world.observation_space.contains(observations)
    assert infos["state"].shape == (3, env.state_dim)
    np.testing.assert_array_equal(infos["is_goal"], env.is_goal(infos["state"]))
    np.testing.assert_array_equal(infos["goal"], env.observe(env.goal_states(infos["state"])))
    np.testing.assert_array_equal(world.goal, env.goal_observation())
    rendered = world.render()
    assert rendered is not None
    assert [picture.shape for picture in rendered] == [(480, 480, 3)] * 3
    actions = world.action_space.sample()
    before = world.states
    _, rewards, ended, cut, _ = world.step(actions)
    np.testing.assert_array_equal(rewards, env.reward(before, env.applied(actions)))
    assert not ended.any()
    assert not cut.any()


def test_a_world_is_cut_off_and_begins_anew_where_it_is_told(name: str) -> None:
    world = world_of(name, 3)
    world.reset(seed=1)
    still = np.zeros(world.action_space.shape or ())
    for _ in range(episode_steps(world) - 1):
        assert not world.step(still)[3].any()
    assert world.step(still)[3].all()
    mask = np.array([False, True, False])
    before = world.states.copy()
    world.push = np.full(world.action_space.shape or (), 0.01)
    observations, infos = world.reset(options={"reset_mask": mask})
    assert world.push is not None, "it goes on for the others"
    np.testing.assert_array_equal(world.states[~mask], before[~mask])
    np.testing.assert_array_equal(infos["state"], world.states)
    np.testing.assert_array_equal(observations[1], world.task.observe(world.states[1:2])[0])
    assert world.step(still)[3].tolist() == [True, False, True]


@pytest.mark.parametrize("when", ["new", "reset", "stepped"])
def test_copies_and_pickles_go_on_as_the_original(name: str, when: str) -> None:
    originals: list[Any] = [world_of(name, 2, state_noise=0.5), gymnasium.make(name)]
    for original in originals:
        action = original.action_space.sample()
        if when != "new":
            original.reset(seed=3)
        if when == "stepped":
            original.step(action)
        others = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]
        found = []
        for env in (original, *others):
            first = env.reset(seed=4)[0] if when == "new" else action
            found.append((first, *env.step(action)[:2]))
        for other in found[1:]:
            for one, same in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, same)


def test_the_state_noise_of_the_others_goes_on_where_one_begins_anew(name: str) -> None:
    one, other = world_of(name, 3, state_noise=0.5), world_of(name, 3, state_noise=0.5)
    action = np.zeros(one.action_space.shape or ())
    for world in (one, other):
        world.reset(seed=3)
        world.step(action)
    one.reset(options={"reset_mask": np.array([False, True, False])})
    for world in (one, other):
        world.step(action)
    np.testing.assert_array_equal(one.states[[0, 2]], other.states[[0, 2]])
    assert (one.states[1] != other.states[1]).any()


def test_options_of_a_reset_are_checked(name: str) -> None:
    world = world_of(name, 3)
    with pytest.raises(ValueError, match=r"Unknown reset options \['angle'\]; known are states, r"):
        world.reset(options={"angle": 0})
    with pytest.raises(ValueError, match="The states of 3 episodes are 3 rows of"):
        world.reset(options={"states": world.task.sample_states(np.random.default_rng(0), 2)})
    with pytest.raises(ValueError, match="share one seed"):
        world.reset(seed=[1, 2, 3])
    for bad in (np.ones(2, np.bool_), np.ones(3)):
        with pytest.raises(ValueError, match="The reset_mask of 3 episodes is 3 truth values"):
            world.reset(options={"reset_mask": bad})
    world.reset(seed=0)
    with pytest.raises(ValueError, match="3 episodes were given 2 actions"):
        world.step(np.zeros((2, world.task.control_dim)))
    with pytest.raises(ValueError, match="No render mode is called 'human'"):
        envs.make(name, render_mode="human")
    with pytest.raises(ValueError, match="leave the camera's options out"):
        envs.make(name, camera=envs.Camera())
    with pytest.raises(
        ValueError, match=r"takes no parameter gust; leave it out \(it takes .*noise"
    ):
        envs.make(name, gust=1.0)
    with pytest.raises(ValueError, match="num_envs is 0; it must be a whole number from 1 on"):
        envs.make(name, 0)
    with pytest.raises(ValueError, match="max_episode_steps is -1; it must be a whole number from"):
        envs.make(name, max_episode_steps=-1)


def refusal(ask: Callable[[], object]) -> str:
    """The one sentence of what is refused."""
    with pytest.raises(ValueError, match=r"^[^\n]*\.$") as caught:
        ask()
    return str(caught.value)


RAGGED = [[1.0, 2.0], [3.0], [4.0]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (5, "The options of a reset are a dictionary, such as {'restart': True}; got 5."),
        ("restart", "The options of a reset are a dictionary, such as"),
        ([("restart", True)], "The options of a reset are a dictionary, such as"),
        ({"angle": 0, 1: 2}, "Unknown reset options ['1', 'angle']; known are states, restart"),
        ({"states": RAGGED}, "states must be numbers of shape [N, 4]; got no array."),
        ({"states": "east"}, "states must be numbers of shape [N, 4]; got <U4 of shape []."),
        ({"states": [["a"] * 4] * 3}, "states must be numbers of shape [N, 4]; got <U1 of shape"),
        ({"states": np.ones((3, 4), bool)}, "states must be numbers of shape [N, 4]; got bool"),
        ({"states": np.zeros((3, 2))}, "got float64 of shape [3, 2]."),
        ({"states": np.zeros((90, 4))}, "are 3 rows of 4 finite numbers; got 90 rows."),
        ({"states": np.diag([1, 1, np.nan, 1])[:3]}, "got [0.0, 0.0, nan, 0.0] as row 2."),
        ({"restart": "yes"}, "The reset option restart is True or False; got 'yes'."),
        ({"restart": 1}, "The reset option restart is True or False; got 1."),
        ({"restart": None}, "The reset option restart is True or False; got None."),
        ({"reset_mask": [[True], [True, False], [True]]}, "is 3 truth values; got no array."),
        ({"reset_mask": "all"}, "is 3 truth values; got <U3 of shape []."),
        ({"reset_mask": [1, 0, 1]}, "is 3 truth values; got int64 of shape [3]."),
    ],
)
def test_a_wrong_option_of_a_reset_is_one_sentence_and_leaves_the_world(
    options: Any, told: str
) -> None:
    """Also where a seed is given with it."""
    world, other = world_of("E2C/Planar-v0", 3), world_of("E2C/Planar-v0", 3)
    for one in (world, other):
        one.reset(seed=1)
    assert told in refusal(lambda: world.reset(seed=9, options=options))
    np.testing.assert_array_equal(world.states, other.states)
    np.testing.assert_array_equal(world.reset()[0], other.reset()[0])


@pytest.mark.parametrize(
    "seed", [True, 0.5, 3.0, "3", -1, np.float64(3), (1, 2), np.array([[1], [2]]), b"x" * 999]
)
def test_a_seed_is_a_whole_number_from_0_on(name: str, seed: Any) -> None:
    resets = [
        world_of(name, 2).reset,
        gymnasium.make(name).reset,
        gymnasium.make(name).unwrapped.reset,
    ]
    for reset in resets:
        message = refusal(lambda reset=reset: reset(seed=seed))  # type: ignore[misc]
        assert message.startswith("A seed is a whole number from 0 on; got ")
        assert len(message) < 200


def test_a_whole_number_of_numpy_is_a_seed_too(name: str) -> None:
    made: list[Any] = [world_of(name, 2), gymnasium.make(name)]
    for env in made:
        one, same = (env.reset(seed=seed)[0] for seed in (3, np.int64(3)))
        np.testing.assert_array_equal(one, same)
        env.reset(seed=2**70)


@pytest.mark.parametrize(
    "bad", ["0.1", None, np.nan, np.inf, -0.5, True, [0.1, 0.2], [[1], [1, 2]]]
)
def test_a_wrong_state_noise_is_one_sentence(name: str, bad: Any) -> None:
    for make in (gymnasium.make, envs.make):
        message = refusal(lambda make=make: make(name, state_noise=bad))  # type: ignore[misc]
        assert message == f"The state noise must be a number from 0 on; got {bad!r}."


@pytest.mark.parametrize(
    ("env_id", "option", "told"),
    [
        ("E2C/PendulumSwingUp-v0", {"mass": "1"}, "The rod's mass must be a positive number; got "),
        ("E2C/PendulumSwingUp-v0", {"length": np.nan}, "The rod's length must be a positive numb"),
        ("E2C/PendulumSwingUp-v0", {"dt": 0.1}, "takes no parameter dt; leave it out"),
        (
            "E2C/PendulumBalance-v0",
            {"perturbed": "no"},
            "perturbed must be True or False; got 'no'",
        ),
        (
            "E2C/PendulumBalance-v0",
            {"perturbed": None},
            "perturbed must be True or False; got None",
        ),
    ],
)
def test_another_wrong_option_of_a_task_is_one_sentence(
    env_id: str, option: dict[str, Any], told: str
) -> None:
    assert told in refusal(lambda: gymnasium.make(env_id, **option))
    assert told in refusal(lambda: envs.make(env_id, **option))


@pytest.mark.parametrize("bad", ["3", 2.5, True, [1]])
def test_how_many_episodes_and_steps_are_whole_numbers(bad: Any) -> None:
    for what in ("num_envs", "max_episode_steps"):
        message = refusal(lambda what=what: envs.make("E2C/Planar-v0", **{what: bad}))  # type: ignore[misc]
        assert message == f"{what} is {bad!r}; it must be a whole number from 1 on."
    assert refusal(lambda: envs.make("E2C/Planar-v0", None)).startswith("num_envs is None")  # type: ignore[arg-type]


def test_ragged_actions_are_one_sentence(name: str) -> None:
    world, single = world_of(name, 3), gymnasium.make(name)
    for env, asked in ((world, RAGGED), (single, [[1.0], [1.0, 2.0]]), (single, None)):
        env.reset(seed=0)
        message = refusal(lambda env=env, asked=asked: env.step(asked))  # type: ignore[misc]
        assert re.fullmatch(r"actions must be numbers of shape \[N, \d\]; got no array\.", message)


def test_an_episode_may_be_of_another_length(name: str) -> None:
    world, endless = (
        world_of(name, 2, max_episode_steps=3),
        world_of(name, 1, max_episode_steps=None),
    )
    assert episode_steps(world) == 3
    world.reset(seed=0)
    actions = np.zeros(world.action_space.shape or ())
    assert [world.step(actions)[3].tolist() for _ in range(3)] == [[False] * 2] * 2 + [[True] * 2]
    with pytest.raises(ValueError, match="does not say how long an episode is"):
        episode_steps(endless)


def test_a_seed_repeats_an_episode(env: Task, alone: TaskEnv) -> None:
    def episode(seed: int) -> tuple[list[bytes], list[list[float]]]:
        observation, info = alone.reset(seed=seed)
        images, states = [observation.tobytes()], [info["state"].tolist()]
        rng = np.random.default_rng(seed)
        for action in random_actions(env, rng, 9):
            observation, _, _, _, info = alone.step(action)
            images.append(observation.tobytes())
            states.append(info["state"].tolist())
        return images, states

    assert episode(5) == episode(5)
    assert episode(5) != episode(6)


def test_a_state_can_be_set_and_read_back(
    env: Task, alone: TaskEnv, rng: np.random.Generator
) -> None:
    for state in env.sample_states(rng, 3):
        observation, info = alone.reset(options={"state": state})
        np.testing.assert_array_equal(info["state"], state)
        np.testing.assert_array_equal(observation, env.observe(state[None])[0])


def test_what_a_caller_does_to_its_arrays_changes_nothing(env: Task, alone: TaskEnv) -> None:
    observation, info = alone.reset(seed=2)
    for _ in range(2):
        newest = observation[-1].copy()
        observation[:], info["state"][:] = 77, np.nan
        observation, _, _, _, info = alone.step(np.zeros(env.control_dim))
        assert np.isfinite(info["state"]).all()
        if env.frames_per_observation > 1:
            np.testing.assert_array_equal(observation[-2], newest)


def test_the_world_and_the_single_environment_agree(
    name: str, env: Task, alone: TaskEnv, rng: np.random.Generator
) -> None:
    starts, steps = env.sample_starts(rng, 3), 12
    actions = rng.uniform(-3, 3, (steps, 3, env.control_dim))
    world = world_of(name, 3)
    images, states = [world.reset(options={"states": starts})[0]], [starts]
    for t in range(steps):
        images.append(world.step(actions[t])[0])
        states.append(world.states)
    for b in range(3):
        observation, info = alone.reset(options={"state": starts[b]})
        for t in range(steps):
            np.testing.assert_array_equal(observation, images[t][b])
            np.testing.assert_array_equal(info["state"], states[t][b])
            observation, _, _, _, info = alone.step(actions[t, b])


def test_an_episode_does_not_depend_on_how_many_there_are(name: str) -> None:
    """Nor does its start; its state noise is drawn from a child of the world's generator."""
    many, few = world_of(name, 7, state_noise=1.0), world_of(name, 3, state_noise=1.0)
    for world in (many, few):
        world.reset(seed=5)
    np.testing.assert_array_equal(many.states[:3], few.states)
    actions = random_actions(few.task, np.random.default_rng(0), 7)
    for _ in range(3):
        seen = many.step(actions)[0], few.step(actions[:3])[0]
    np.testing.assert_array_equal(seen[0][:3], seen[1])
    np.testing.assert_array_equal(many.states[:3], few.states)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_must_be_finite(env: Task, alone: TaskEnv, bad: float) -> None:
    alone.reset(seed=0)
    with pytest.raises(ValueError, match="every control must be a finite number"):
        alone.step(np.full(env.control_dim, bad))


def test_wrong_inputs_are_told_in_a_sentence(env: Task, alone: TaskEnv) -> None:
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
        alone.reset(options={"state": np.full(env.state_dim, np.nan)})
    with pytest.raises(ValueError, match=r"Unknown reset options \['angle'\]"):
        alone.reset(options={"angle": 0.0})


def test_a_step_before_a_state_says_what_to_do(env: Task, alone: TaskEnv) -> None:
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        alone.step(np.zeros(env.control_dim))


def test_render_is_a_picture_that_follows_state_and_action(env: Task, alone: TaskEnv) -> None:
    alone.reset(seed=0)
    first = alone.render()
    assert first is not None
    assert first.shape == (480, 480, 3)
    assert first.dtype == np.uint8
    state = env.sample_states(np.random.default_rng(0), 1)[0]
    goal, limit = env.goal_state(), env.action_space.high
    still, pushed = (env.picture(state, a * limit, goal) for a in (0, 1))
    assert (still != pushed).any()
    assert (env.picture(goal, 0 * limit, goal) != still).any()


def test_the_goal_that_is_given_is_drawn_and_none_where_it_is_not_known(env: Task) -> None:
    """A tip at its goal is not red; nothing is green where there is no goal."""
    still, rng = 0 * env.action_space.high, np.random.default_rng(1)
    drawn = np.concatenate([env.sample_starts(rng, 9), env.sample_states(rng, 9)])
    other = drawn[~env.is_goal(drawn)][0]
    goals = (other, env.goal_state(), None)
    at_goal, missed, unknown = (env.picture(other, still, goal) for goal in goals)
    assert (at_goal != missed).any()
    assert pixels(at_goal, 1) > pixels(unknown, 1) == 0
    assert pixels(at_goal, 0) == 0
    assert pixels(missed, 0) == pixels(unknown, 0)


def pixels(picture: Frames, channel: int) -> int:
    """Count the pixels that have most of one of red, green and blue."""
    others = np.delete(picture.astype(int), channel, axis=-1).max(axis=-1)
    return int((picture[..., channel] > others + 6).sum())


def test_without_a_render_mode_there_is_no_picture() -> None:
    world = envs.make(next(iter(envs.ENVIRONMENTS)), 2)
    world.reset(seed=0)
    assert world.render() is None


def test_environments_need_no_torch_no_graphics_and_print_nothing() -> None:
    """Nor a locale: what they read is read as what it was written in."""
    program = (
        "import sys, numpy, envs\n"
        "state = numpy.random.get_state()[1].copy()\n"
        "for name in envs.ENVIRONMENTS:\n"
        "    world = envs.make(name, 2)\n"
        "    world.reset(seed=0, options={'restart': True})\n"
        "    world.step(world.action_space.sample())\n"
        "assert (numpy.random.get_state()[1] == state).all(), 'global seed'\n"
        "banned = {'torch', 'e2c', 'planners', 'wandb', 'OpenGL', 'mujoco.egl', 'mujoco.osmesa'}\n"
        "assert not banned & set(sys.modules), banned & set(sys.modules)\n"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = python("-c", program, **ascii_only)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_batch_that_shows_no_images_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gymnasium's own batch of CartPole tells states."""
    batch, closed = gymnasium.make_vec("CartPole-v1", 2, "vector_entry_point"), list[str]()
    monkeypatch.setattr(batch, "close", lambda: closed.append("CartPole-v1"))
    monkeypatch.setattr(gymnasium, "make_vec", lambda *_: batch)
    assert envs._native(gymnasium.spec("CartPole-v1"), 2, {}) is None
    assert closed == ["CartPole-v1"]
