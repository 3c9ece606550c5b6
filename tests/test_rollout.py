"""The one loop: x_t, u_t and x_{t+1} are those of one step, of one episode."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from dots import Dot, dots
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import AddRenderObservation
from gymnasium.wrappers.vector import DictInfoToList
from numpy.typing import NDArray
from tiny import ENV

from e2c.control import record
from e2c.control.base import make_world, rollout
from e2c.control.simple import Zero
from e2c.data.episodes import load
from e2c.errors import E2CError
from e2c.evaluation.scores import score
from envs.world import World, layout_of


class Clock:
    """Acts by counting its calls: action t of dot b is (b / 10, -t / 10)."""

    def reset(self, goals: Any, /) -> None:
        self.t = 0

    def act(self, frames: NDArray[np.uint8], /) -> NDArray[np.float64]:
        self.t += 1
        return np.stack([np.arange(len(frames)) / 10, np.full(len(frames), -(self.t - 1) / 10)], 1)


MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("cut", [False, True])
def test_episodes_end_when_the_world_ends_them(mode: AutoresetMode, frames: int, cut: bool) -> None:
    """And nothing of the episode that follows is taken for a part of it."""
    world = dots(4, (3, 7, 1, 0), mode, frames, cut=cut)
    episodes = rollout(world, Clock(), 9, np.random.default_rng(0))
    assert episodes.lengths.tolist() == [3, 7, 1, 9]
    assert episodes.terminated is not None
    assert episodes.terminated.tolist() == [not cut, not cut, not cut, False]
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


class Turncoat(Dot):
    """Its first episode is cut off; those that follow terminate."""

    def step(self, action: Any) -> Any:
        found = super().step(action)
        self.cut = self.cut and not found[3]
        return found


def test_how_an_episode_ended_is_not_told_of_the_one_that_follows() -> None:
    pair = (Turncoat(0, ends=2, cut=True), Dot(1, ends=7))
    world = SyncVectorEnv([partial(AddRenderObservation, dot, render_only=True) for dot in pair])
    episodes = rollout(world, Clock(), 9, np.random.default_rng(0))
    assert episodes.lengths.tolist() == [2, 7]
    assert episodes.terminated is not None
    assert episodes.terminated.tolist() == [False, True]


def test_a_world_that_begins_anew_by_itself_is_reset_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a reset of some of its episodes leaves the others alone, it need not know."""
    world = dots(3, (2, 3, 0))
    reset = MagicMock(wraps=world.reset)
    monkeypatch.setattr(world, "reset", reset)
    rollout(world, Clock(), 6, np.random.default_rng(0))
    assert reset.call_count == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_foreign_world_may_tell_states_goals_and_the_goal_region(mode: AutoresetMode) -> None:
    """Of every episode up to its end, and nothing of the episode that follows."""
    world = dots(4, (3, 7, 1, 0), mode, frames=1, tells=True)
    episodes = rollout(world, Clock(), 9, np.random.default_rng(0))
    assert episodes.states is not None
    assert episodes.in_goal is not None
    assert episodes.goals is not None
    assert (episodes.goals == [255, 0, 0]).all()
    assert episodes.goals.shape == (4, 1, 6, 8, 3)
    first = episodes.states[0, 1]
    for b, T in enumerate(episodes.lengths):
        clock, rows = np.arange(T + 1), episodes.moment_rows(b)
        told = np.stack([np.full(T + 1, b), np.full(T + 1, first), clock], 1)
        np.testing.assert_array_equal(episodes.states[rows], told)
        np.testing.assert_array_equal(episodes.in_goal[rows], clock >= 2)


def test_the_loop_ends_with_the_last_episode() -> None:
    """And says so step by step: 0 when the episodes have begun, then after each step."""
    told: list[int] = []
    world = dots(2, (3, 2))
    episodes = rollout(world, Clock(), 100, np.random.default_rng(0), watch=told.append)
    assert told == [0, 1, 2, 3]
    assert len(episodes.frames) == 3 + 2 + 2 * 2


def test_goals_that_are_given_replace_the_worlds_own() -> None:
    goals = np.random.default_rng(0).integers(0, 256, (3, 2, 6, 8, 3), np.uint8)
    given: list[Any] = []

    class Asked(Clock):
        def reset(self, goals: Any, /) -> None:
            given.append(goals)
            super().reset(goals)

    episodes = rollout(dots(3), Asked(), 2, np.random.default_rng(0), goals)
    np.testing.assert_array_equal(episodes.goals, goals)
    np.testing.assert_array_equal(given[0], goals)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 2, 6, 8, 3), np.uint8),
        np.zeros((2, 6, 8, 3), np.uint8),
        np.zeros((3, 2, 6, 8, 3), np.float32),
        "north",
    ],
)
def test_what_is_no_goal_of_each_episode_is_one_sentence(wrong: Any) -> None:
    """Before anything is played; `Clock` itself looks at no goal."""
    told = r"^The goals of 3 episodes are uint8 of shape \[3, 2, 6, 8, 3\]; got .*: give .*\.$"
    with pytest.raises(E2CError, match=told):
        rollout(dots(3), Clock(), 2, np.random.default_rng(0), wrong)


def test_a_goal_that_the_world_tells_must_be_an_observation() -> None:
    """The dots tell one frame of it, and show two."""
    with pytest.raises(E2CError, match=r"^The goals of 3 episodes are uint8 of shape \[3, 2, 6, 8"):
        rollout(dots(3, tells=True), Clock(), 2, np.random.default_rng(0))


class Teller(Dot):
    """A dot whose infos hold ``infos[t]``."""

    def __init__(self, infos: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.infos, self.metadata = infos, {**Dot.metadata, "render_fps": 20}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed)[0], self.infos[0]

    def info(self) -> dict[str, Any]:
        return self.infos[self.t]


def telling(infos: Sequence[dict[str, Any]]) -> World:
    return SyncVectorEnv([lambda: AddRenderObservation(Teller(infos), render_only=True)] * 2)


@pytest.mark.parametrize(
    ("infos", "told"),
    [
        ([{"is_goal": True}, {"is_goal": True}, {}], "nothing of its 2 episodes as 'is_goal'"),
        ([{"state": np.zeros(3)}, {}], "nothing of its 2 episodes as 'state'"),
        (
            [{"state": np.zeros(3)}, {"state": np.zeros(1)}],
            r"float64 of shape \[2, 1\] .* as 'state'",
        ),
        ([{"state": 1.0}] * 3, r"float64 of shape \[2\] of its 2 episodes as 'state'"),
        ([{"state": {"x": 1.0}}] * 3, "nothing of its 2 episodes as 'state'"),
        ([{"state": "north"}] * 3, r"<U5 of shape \[2\] of its 2 episodes as 'state'"),
        ([{"is_goal": np.zeros(2, bool)}] * 3, r"bool of shape \[2, 2\] .* as 'is_goal'"),
        ([{"is_goal": 0.5}] * 3, r"float64 of shape \[2\] of its 2 episodes as 'is_goal'"),
        ([{}, {}, {"is_goal": True}], "nothing of its 2 episodes as 'is_goal'"),
    ],
)
def test_what_a_world_tells_in_another_form_is_one_sentence(
    infos: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(E2CError, match=f"^SyncVectorEnv tells {told}: let the info of its reset"):
        rollout(telling(infos), Clock(), 2, np.random.default_rng(0))


def test_the_goal_region_need_not_be_told_at_a_reset() -> None:
    """No start is scored; an environment often tells its success in its steps alone."""
    infos = [{}, {"is_goal": True}, {"is_goal": False}]
    found = rollout(telling(infos), Clock(), 2, np.random.default_rng(0))
    assert found.in_goal is not None
    assert found.in_goal.tolist() == [False, True, False] * 2
    assert score(found, 1).time_in_goal == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_reward_or_a_state_that_is_not_finite_is_none_and_told_once(
    number: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Nothing that acts or learns needs them, and what is recorded can be read again."""
    stepped = Teller.step
    ill = lambda *asked: (stepped(*asked)[0], number, *stepped(*asked)[2:])  # noqa: E731
    monkeypatch.setattr(Teller, "step", ill)
    record._tell_once.cache_clear()
    infos = [{"state": np.array([1.0, number])}] * 9
    for _ in range(2):
        found = rollout(telling(infos), Clock(), 2, np.random.default_rng(0))
        assert (found.rewards, found.states) == (None, None)
    told = capsys.readouterr().err.splitlines()
    kinds = ("state", "reward")
    assert told == [
        f"e2c: SyncVectorEnv told a {kind} that is not finite; none is kept of these episodes."
        for kind in kinds
    ]
    found.save(tmp_path / "episodes.npz")
    assert load(tmp_path / "episodes.npz").content_hash == found.content_hash


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rng": 5}, "rng is 5; it must be a generator, as numpy.random.default_rng"),
        ({"rng": None}, "rng is None; it must be a generator"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": "3"}, "steps is '3'; it must be a whole number"),
        ({"controller": None}, "controller is None; it must be a controller: an agent"),
        ({"controller": Clock}, "controller is <class .*Clock'>; it must be a controller"),
    ],
)
def test_the_loop_is_asked_rightly_or_touches_no_world(given: Any, told: str) -> None:
    world: Any = dots(2)
    asked = {"controller": Clock(), "steps": 3, "rng": np.random.default_rng(0)}
    with pytest.raises(E2CError, match=told):
        rollout(world, **{**asked, **given})
    assert [dot.unwrapped.episode for dot in world.envs] == [1, 1], "what the camera looked at"


def test_options_and_infos_of_another_form_are_one_sentence() -> None:
    world, rng = make_world("E2C/Planar-v0", 2), np.random.default_rng(0)
    with pytest.raises(E2CError, match=r"states must be numbers of shape \[N, 4\]; got"):
        rollout(world, Clock(), 3, rng, states=[[1.0, 2.0]])
    with pytest.raises(E2CError, match="PendulumSwingUp-v0 gives infos as a list, not as a dict"):
        rollout(DictInfoToList(make_world("E2C/PendulumSwingUp-v0", 2)), Clock(), 3, rng)


def test_what_only_some_episodes_tell_is_refused() -> None:
    """Gymnasium fills the others with zeros, which are no states."""

    def build(tells: bool) -> Any:
        return lambda: AddRenderObservation(Dot(tells=tells), render_only=True)

    silent = SyncVectorEnv([build(False), build(True)])
    with pytest.raises(E2CError, match="of its 2 episodes as 'state': let the info of its reset"):
        rollout(silent, Clock(), 2, np.random.default_rng(0))


def test_a_state_may_be_a_list_of_numbers() -> None:
    found = rollout(telling([{"state": [1, 2.5]}] * 3), Clock(), 2, np.random.default_rng(0))
    assert found.states is not None
    np.testing.assert_array_equal(found.states, [[1, 2.5]] * 6)


@pytest.mark.parametrize("inside", [True, np.True_, 1, np.int8(1)])
def test_whether_it_is_in_the_goal_may_be_any_truth_value(inside: Any) -> None:
    found = rollout(telling([{"is_goal": inside}] * 3), Clock(), 2, np.random.default_rng(0))
    assert found.in_goal is not None
    assert found.in_goal.dtype == np.bool_
    assert found.in_goal.all()


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
    "wrong",
    [
        np.zeros(2),
        np.zeros((3, 2)),
        np.zeros((2, 2, 1)),
        np.full((2, 2), np.nan),
        np.full((2, 2), -np.inf),
        np.full((2, 2), 1j),
        np.full((2, 2), "up"),
        [[0.1, 0.2], [0.3]],
        torch.zeros(2, 2, requires_grad=True),
        None,
    ],
)
def test_what_is_no_action_is_one_sentence(wrong: Any) -> None:
    class Broken(Clock):
        def act(self, frames: NDArray[np.uint8], /) -> Any:
            return wrong

    with pytest.raises(
        E2CError, match=r"takes finite numbers of shape \[2, 2\]: correct the contr"
    ):
        rollout(dots(2), Broken(), 3, np.random.default_rng(0))


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
