"""The one loop: x_t, u_t and x_{t+1} are those of one step, of one episode."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from dots import Dot, dots
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import AddRenderObservation
from numpy.typing import NDArray
from tiny import ENV

from e2c.control.agent import PlannerConfig
from e2c.control.base import make_world, problem_spec, rollout
from e2c.control.oracle import Oracle
from e2c.control.simple import Noisy, Random, Replay, Zero
from e2c.errors import E2CError
from e2c.evaluation.evaluate import evaluate
from e2c.learning.collect import load_data
from envs.world import World, layout_of


class Clock:
    """Acts by counting its calls: action t of dot b is (b / 10, -t / 10)."""

    def reset(self, goals: Any, /) -> None:
        self.t = 0

    def act(self, frames: NDArray[np.uint8], /) -> NDArray[np.float64]:
        self.t += 1
        return np.stack([np.arange(len(frames)) / 10, np.full(len(frames), -(self.t - 1) / 10)], 1)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("frames", [1, 3])
def test_episodes_end_when_the_world_ends_them(mode: AutoresetMode, frames: int) -> None:
    """And nothing of the episode that follows is taken for a part of it."""
    episodes = rollout(dots(4, (3, 7, 1, 0), mode, frames), Clock(), 9, np.random.default_rng(0))
    assert episodes.lengths.tolist() == [3, 7, 1, 9]
    assert episodes.terminated is not None
    assert episodes.terminated.tolist() == [True, True, True, False]
    assert episodes.frames_per_observation == frames
    assert (episodes.states, episodes.in_goal, episodes.goals) == (None, None, None)
    first = episodes.frames[0, 0, 0, 1]
    for b, episode in enumerate(episodes.split()):
        T = int(episode.lengths[0])
        assert (episode.frames[..., 0] == 10 * b).all(), "of one environment"
        assert (episode.frames[..., 1] == first).all(), "of one episode"
        shown = episode.frames[:, 0, 0, 2] // 10
        np.testing.assert_array_equal(shown, [0] * frames + list(range(1, T + 1)))
        np.testing.assert_allclose(episode.actions[:, 0], b / 10, rtol=1e-6)
        np.testing.assert_allclose(episode.actions[:, 1], -np.arange(T) / 10, rtol=1e-6)
        assert episode.rewards is not None
        np.testing.assert_array_equal(episode.rewards, np.arange(1, T + 1))


def test_observations_are_those_that_were_acted_on() -> None:
    """The stack that the world shows at step t is `planes` t."""
    seen: list[NDArray[np.uint8]] = []

    class Witness(Clock):
        def act(self, frames: NDArray[np.uint8], /) -> NDArray[np.float64]:
            seen.append(frames.copy())
            return super().act(frames)

    for world in (dots(3), make_world(ENV, 3)):
        seen.clear()
        witness: Any = Witness() if world.single_action_space.shape == (2,) else OneWitness(seen)
        episodes = rollout(world, witness, 6, np.random.default_rng(0))
        layout = layout_of(world)
        planes = episodes.planes().reshape(3, 7, *layout.planes)
        np.testing.assert_array_equal(planes[:, :6], layout.to_planes(np.stack(seen, 1)))


class OneWitness:
    def __init__(self, seen: list[NDArray[np.uint8]]) -> None:
        self.seen = seen

    def reset(self, goals: Any, /) -> None:
        """Nothing."""

    def act(self, frames: NDArray[np.uint8], /) -> NDArray[np.float64]:
        self.seen.append(frames.copy())
        return np.full((len(frames), 1), 0.5)


def test_a_world_of_ours_tells_states_goals_and_the_goal_region() -> None:
    world = make_world("E2C/Planar-v0", 5)
    episodes = rollout(world, Zero(world), 4, np.random.default_rng(3))
    assert episodes.states is not None
    assert episodes.goals is not None
    assert episodes.in_goal is not None
    states = episodes.states.reshape(5, 5, -1)
    task = world.unwrapped.task  # type: ignore[attr-defined]
    np.testing.assert_array_equal(episodes.in_goal.reshape(5, 5), task.is_goal(states))
    np.testing.assert_array_equal(episodes.goals, task.observe(task.goal_states(states[:, 0])))
    starts = task.sample_starts(np.random.default_rng(3), 5)
    np.testing.assert_array_equal(states[:, 0], starts)
    np.testing.assert_array_equal(
        episodes.frames[episodes.frame_rows(2)][1:], task.draw(states[2])[1:]
    )


def test_actions_are_recorded_as_they_acted() -> None:
    class Wild(Clock):
        def act(self, frames: NDArray[np.uint8], /) -> NDArray[np.float64]:
            return np.tile([-9.0, 9.0], (len(frames), 1))

    episodes = rollout(dots(2), Wild(), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(episodes.actions, np.tile(np.array([-2, 1], np.float32), (6, 1)))


@pytest.mark.parametrize(
    "wrong", [np.zeros(2), np.zeros((3, 2)), np.full((2, 2), np.nan), np.full((2, 2), "up"), None]
)
def test_what_is_no_action_is_one_sentence(wrong: Any) -> None:
    class Broken(Clock):
        def act(self, frames: NDArray[np.uint8], /) -> Any:
            return wrong

    with pytest.raises(
        E2CError, match=r"takes finite numbers of shape \[2, 2\]: correct the contr"
    ):
        rollout(dots(2), Broken(), 3, np.random.default_rng(0))


def controllers(world: World) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    recorded = rollout(world, Random(world, rng), 5, np.random.default_rng(2))
    found = {
        "random": lambda: Random(world, np.random.default_rng(1)),
        "zero": lambda: Zero(world),
        "replay": lambda: Replay(recorded),
        "noisy": lambda: Noisy(Zero(world), np.ones(1), np.random.default_rng(1)),
    }
    options = PlannerConfig(horizon=5, first_iterations=2, restarts=2)
    return found | {"oracle": lambda: Oracle(world, options)}


@pytest.mark.parametrize("name", ["random", "zero", "replay", "noisy", "oracle"])
@pytest.mark.parametrize("B", [5, 1])
def test_every_controller_acts_and_repeats_itself(name: str, B: int) -> None:
    world = make_world(ENV, B)
    build = controllers(world)[name]
    one, again = (rollout(world, build(), 5, np.random.default_rng(2)) for _ in range(2))
    assert one.content_hash == again.content_hash
    assert one.actions.shape == (5 * B, 1)
    assert (np.abs(one.actions) <= 2).all()
    if name == "replay":
        recorded = build().episodes
        np.testing.assert_array_equal(one.states, recorded.states)


def test_one_evaluation_serves_every_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world("E2C/PendulumBalance-v0", 3)
    for build in controllers(world).values():
        found = evaluate(world, build(), 7)
        assert found.scores.success is not None
        assert found.scores.summary().keys() >= {"success_rate", "time_in_goal", "return_mean"}


def test_data_of_another_time_step_or_other_limits_are_refused(tmp_path: Any) -> None:
    world = make_world(ENV, 2)
    spec = problem_spec(world)
    episodes = rollout(world, Zero(world), 4, np.random.default_rng(0))
    path = tmp_path / "data.npz"
    episodes.save(path)
    assert load_data([path], spec)[0].content_hash == episodes.content_hash
    for name, value, told in (
        ("dt", 0.1, "the control step was 0.1"),
        ("control_high", [1.0], r"the highest control was \[1.0\]"),
        ("control_low", [-1.0], r"the lowest control was \[-1.0\]"),
    ):
        parameters = {**episodes.provenance["parameters"], name: value}
        other = {**episodes.provenance, "parameters": parameters}
        dataclasses.replace(episodes, provenance=other).save(path)
        with pytest.raises(E2CError, match=f"{told}, and this run is on {ENV} where it is"):
            load_data([path], spec)


def test_a_world_that_hides_the_last_image_is_refused() -> None:
    world = dots(2, (3, 3), AutoresetMode.SAME_STEP)
    with pytest.raises(E2CError, match="which hides the last image: make it with AutoresetMode"):
        rollout(world, Zero(world), 5, np.random.default_rng(0))


def test_the_loop_needs_nothing_but_images() -> None:
    """A vector environment that nobody registered, with one frame and no spec."""
    world = SyncVectorEnv([lambda: AddRenderObservation(Dot(), render_only=True)])
    episodes = rollout(world, Zero(world), 3, np.random.default_rng(0))
    assert episodes.frames.shape == (4, 6, 8, 3)
    assert episodes.provenance["env"] == "SyncVectorEnv"
