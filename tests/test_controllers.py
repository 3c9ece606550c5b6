"""What every controller owes: shapes, limits, repeatability; and one evaluation for all of them."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dots import Dot, dots
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import AddRenderObservation
from tiny import ENV, MODEL

from e2c.control.agent import Agent, PlannerConfig
from e2c.control.base import Controller, make_world, rollout
from e2c.control.oracle import Oracle
from e2c.control.simple import ByGoal, Coloured, Noisy, Random, Replay, Zero
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.evaluate import evaluate
from e2c.lecture.exploration import Explorer, ExplorerOptions, know
from e2c.lecture.imitation import ImitationOptions, PlanPolicy, imitate
from e2c.models.base import ProblemSpec
from e2c.models.methods import build_model
from envs.world import World, begin, control_space, layout_of, time_step

T = 6
OPTIONS = PlannerConfig(horizon=5, first_iterations=2, restarts=2, control_weight=1e-3)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def untrained_agent(world: World) -> Agent:
    """An agent that has learned nothing, and plans all the same."""
    limits, layout = control_space(world), layout_of(world)
    low, high = tuple(limits.low.tolist()), tuple(limits.high.tolist())
    spec = ProblemSpec("Test/World", layout.shape, low, high, time_step(world), T)
    noise = rng(0).integers(0, 256, (20, *layout.planes), np.uint8)
    config = dataclasses.replace(MODEL, pool=2, lattices=2)
    model = build_model(config, spec, noise[0], 0).eval()
    model.measure(noise)
    return Agent(model, spec, OPTIONS)


def untrained_explorer(world: World) -> Explorer:
    """An explorer whose model has learned nothing."""
    agent = untrained_agent(world)
    layer = know(agent.model, [recorded(world)])
    return Explorer(agent.model, agent.spec, layer, ExplorerOptions(horizon=5, samples=7))


def imitating(world: World) -> PlanPolicy:
    """What imitates noise."""
    agent, options = untrained_agent(world), ImitationOptions(2, hidden=(7,), steps=2, batch=3)
    return imitate(agent.model, agent.spec, recorded(world), options)


def recorded(world: World) -> Episodes:
    return rollout(world, Random(world, rng(1)), T, rng(2))


CONTROLLERS: dict[str, Callable[[World], Controller]] = {
    "random": lambda world: Random(world, rng(1)),
    "coloured": lambda world: Coloured(world, rng(1), T, "pink"),
    "zero": Zero,
    "replay": lambda world: Replay(recorded(world)),
    "noisy": lambda world: Noisy(Zero(world), np.full(control_space(world).shape, 9.0), rng(1)),
    "agent": untrained_agent,
    "explorer": untrained_explorer,
    "imitating": imitating,
    "oracle": lambda world: Oracle(world, OPTIONS),
}
CHANGING = {"random", "coloured", "noisy", "explorer"}
"""Those that act in another way in the next episode: they go on drawing, or have learned."""
WORLDS: dict[str, Callable[[int], World]] = {"ours": lambda B: make_world(ENV, B), "foreign": dots}
"""One control of a world that tells everything; two, with limits that differ, of one in colour."""
CASES = [(name, world) for world in WORLDS for name in CONTROLLERS]
CASES.remove(("oracle", "foreign"))


@pytest.mark.parametrize("B", [5, 1])
@pytest.mark.parametrize(("name", "where"), CASES)
def test_every_controller_gives_an_action_for_each_observation(
    name: str, where: str, B: int
) -> None:
    world = WORLDS[where](B)
    controller = CONTROLLERS[name](world)
    observations, infos = begin(world, rng(3))
    controller.reset(infos.get("goal"))
    before = observations.copy()
    for _ in range(2):
        actions = np.asarray(controller.act(observations))
        assert actions.shape == (B, *control_space(world).shape)
        assert actions.dtype.kind == "f"
        assert np.isfinite(actions).all()
    np.testing.assert_array_equal(observations, before, "what is seen is only looked at")


@pytest.mark.parametrize("B", [5, 1])
@pytest.mark.parametrize(("name", "where"), CASES)
def test_every_controller_repeats_itself_within_the_limits(name: str, where: str, B: int) -> None:
    one, again = (
        rollout(world, CONTROLLERS[name](world), T, rng(2))
        for world in (WORLDS[where](B) for _ in range(2))
    )
    assert one.content_hash == again.content_hash
    assert one.lengths.tolist() == [T] * B
    limits = control_space(WORLDS[where](1))
    assert (one.actions >= limits.low).all()
    assert (one.actions <= limits.high).all()


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_reset_begins_anew_whatever_came_before(name: str) -> None:
    world = make_world(ENV, 3)
    controller = CONTROLLERS[name](world)
    one, again = (rollout(world, controller, T, rng(2)).actions for _ in range(2))
    assert np.array_equal(one, again) == (name not in CHANGING)


@pytest.mark.parametrize(("name", "where"), CASES)
@pytest.mark.parametrize("how", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_and_pickles_go_on_as_the_original(
    name: str, where: str, how: Callable[[Any], Any]
) -> None:
    world = WORLDS[where](2)
    controller = CONTROLLERS[name](world)
    observations, infos = begin(world, rng(3))
    controller.reset(infos.get("goal"))
    controller.act(observations)
    other = how(controller)
    np.testing.assert_array_equal(other.act(observations), controller.act(observations))


@pytest.mark.parametrize("name", CONTROLLERS)
def test_one_evaluation_serves_every_controller(name: str) -> None:
    world = make_world("E2C/PendulumBalance-v0", 3)
    found = evaluate(world, CONTROLLERS[name](world), 7, steps=T)
    assert found.scores.success is not None
    assert found.scores.summary().keys() >= {"success_rate", "time_in_goal", "return_mean"}
    assert found.episodes.lengths.tolist() == [T] * 3
    assert found.seconds > 0


def test_a_world_without_a_length_is_evaluated_in_no_way() -> None:
    """Neither an episode nor what settled means is known; said before anything is played."""
    world = dots(2)
    for steps in (None, 3):
        with pytest.raises(E2CError, match="does not say how long an episode is: register it"):
            evaluate(world, Zero(world), 7, steps=steps)


# ------------------------------------------------------------------------------- one by one


def test_random_controls_fill_limits_that_are_not_symmetric() -> None:
    world = dots(1)
    drawn = Random(world, rng(0)).act(np.zeros((2000, 2, 6, 8, 3), np.uint8))
    np.testing.assert_allclose(drawn.min(0), [-2, -2], atol=0.02)
    np.testing.assert_allclose(drawn.max(0), [1, 1], atol=0.02)
    np.testing.assert_allclose(drawn.mean(0), [-0.5, -0.5], atol=0.1)


class Driven(Dot):
    """A dot that can only be pushed forwards, and pulled backwards."""

    action_space = Box(np.array([0.5, -2], np.float32), np.array([1, -0.25], np.float32))


def test_no_control_is_the_least_that_the_limits_allow() -> None:
    world = SyncVectorEnv([lambda: AddRenderObservation(Driven(), render_only=True)] * 2)
    episodes = rollout(world, Zero(world), 3, rng(0))
    np.testing.assert_array_equal(episodes.actions, [[0.5, -0.25]] * 6)


def test_a_replay_leads_to_the_same_states_and_then_gives_none() -> None:
    world = make_world(ENV, 3)
    found = recorded(world)
    again = rollout(world, Replay(found), T + 2, rng(2))
    assert found.states is not None
    assert again.states is not None
    states = again.states.reshape(3, T + 3, -1)
    np.testing.assert_array_equal(states[:, : T + 1], found.states.reshape(3, T + 1, -1))
    actions = again.actions.reshape(3, T + 2)
    np.testing.assert_array_equal(actions[:, :T], found.actions.reshape(3, T))
    assert not actions[:, T:].any()


def test_episodes_of_any_length_are_replayed_side_by_side() -> None:
    world = dots(3, (2, 5, 0))
    found = recorded(world)
    assert found.lengths.tolist() == [2, 5, T]
    replay = Replay(found)
    replay.reset(None)
    frames = np.zeros((3, 2, 6, 8, 3), np.uint8)
    given = np.stack([replay.act(frames) for _ in range(T)], 1)
    for e, length in enumerate(found.lengths):
        np.testing.assert_array_equal(given[e, :length], found.actions[found.action_rows(e)])
        assert not given[e, length:].any()


def test_a_replay_of_other_episodes_than_the_world_has_is_refused() -> None:
    with pytest.raises(E2CError, match=r"takes finite numbers of shape \[2, 2\]: correct"):
        rollout(dots(2), Replay(recorded(dots(3))), T, rng(0))


def test_noise_is_added_to_each_control_by_its_own_scale() -> None:
    world = dots(1)
    scale = np.array([0.5, 3.0])
    noisy = Noisy(Zero(world), scale, rng(0))
    drawn = np.asarray(noisy.act(np.zeros((4000, 2, 6, 8, 3), np.uint8)))
    np.testing.assert_allclose(drawn.std(0), scale, rtol=0.05)
    np.testing.assert_allclose(drawn.mean(0), [0, 0], atol=0.2)
    still = Noisy(Random(world, rng(4)), 0 * scale, rng(0)).act(np.zeros((7, 2, 6, 8, 3), np.uint8))
    alone = Random(world, rng(4)).act(np.zeros((7, 2, 6, 8, 3), np.uint8))
    np.testing.assert_array_equal(still, alone)


def test_noise_lets_the_other_controller_begin_with_the_goals() -> None:
    told: list[Any] = []

    class Asked(Zero):
        def reset(self, goals: Any, /) -> None:
            told.append(goals)

    goals = rng(0).integers(0, 256, (2, 2, 6, 8, 3), np.uint8)
    world = dots(2)
    rollout(world, Noisy(Asked(world), np.ones(2), rng(0)), 1, rng(0), goals)
    assert told[0] is goals


class Fixed(Zero):
    """Gives one number for all controls."""

    def __init__(self, world: World, number: float) -> None:
        super().__init__(world)
        self.number = number
        self.told: Any = None

    def reset(self, goals: Any, /) -> None:
        self.told = goals

    def act(self, frames: Any, /) -> Any:
        return super().act(frames) + self.number


def test_each_episode_is_led_by_the_controller_of_its_goal() -> None:
    world, goals = dots(3), rng(0).integers(0, 256, (2, 2, 6, 8, 3), np.uint8)
    each = [Fixed(world, 0.25), Fixed(world, -0.5)]
    leading, told = ByGoal(goals, each), goals[[1, 0, 1]]
    frames = np.zeros((3, 2, 6, 8, 3), np.uint8)
    leading.reset(told)
    np.testing.assert_array_equal(leading.act(frames), [2 * [-0.5], 2 * [0.25], 2 * [-0.5]])
    assert all(controller.told is told for controller in each)


def test_a_goal_without_a_controller_is_refused() -> None:
    world, goals = dots(2), rng(0).integers(0, 256, (3, 2, 6, 8, 3), np.uint8)
    leading = ByGoal(goals[:2], [Zero(world), Zero(world)])
    for told in (None, goals[[0, 2]]):
        with pytest.raises(E2CError, match=r"each of 2 goals, and .* has none of these; give it"):
            leading.reset(told)
