"""How near an agent comes to a goal that no world scores: by brute force, and where it is told."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_agent import make_agent
from tiny import images, noise_data

from e2c.config import Config
from e2c.control.agent import Agent
from e2c.control.base import make_world_of
from e2c.control.goals import from_state
from e2c.data.episodes import Episodes
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation.assessment import Outputs, _title, assess, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.nearness import nearness
from e2c.evaluation.watch import watch
from e2c.files.runs import TRAINED
from e2c.learning import own
from e2c.report.film import Film
from e2c.report.folder import _episodes


def played(goals: bool) -> Episodes:
    """Two episodes of noise, of 5 and 3 steps."""
    data = noise_data((5, 3))
    return dataclasses.replace(data, goals=images(2, seed=9)) if goals else data


@pytest.mark.parametrize("goals", [False, True])
def test_it_is_that_of_brute_force(goals: bool) -> None:
    agent, episodes = make_agent(), played(goals)
    found, all_away = nearness(agent, episodes, 2), list[float]()
    for e, T in enumerate((5, 3)):
        seen = episodes.planes()[episodes.moment_rows(e)]
        assert len(seen) == T + 1
        goal = images(2, seed=9)[e] if goals else agent.model.goal.numpy()
        away = [distance(agent, x, goal) for x in seen]
        np.testing.assert_allclose(found.start[e], away[0], rtol=1e-4)
        np.testing.assert_allclose(found.end[e], np.mean(away[-2:]), rtol=1e-4)
        all_away += away
    mean = own.distance_to_goal(agent.model, episodes)
    np.testing.assert_allclose(mean, np.mean(all_away), rtol=1e-4)
    told = found.summary()
    np.testing.assert_allclose(told["distance_at_end"], found.end.mean())
    assert [row["distance_at_start"] for row in found.rows()] == found.start.tolist()


def distance(agent: Agent, image: Any, goal: Any) -> float:
    """What the agent itself tells: `Agent.distance_to_goal` at its first step."""
    agent.reset(goal=goal)
    agent.act(image)
    return float(agent.distance_to_goal()[0])


def test_another_goal_is_not_scored_by_the_worlds_own() -> None:
    agent = load_agent(TRAINED)
    spec = dataclasses.replace(agent.spec, episode_steps=60)
    agent = Agent(agent.model, spec, agent.options)
    hanging = agent.spec.layout.from_planes(agent.model.goal.numpy())[:, ::-1]
    results = assess(agent, 2, 3, goal=np.ascontiguousarray(hanging)).results
    scores = {"success_rate", "time_in_goal", "steps_to_goal_median", "cost_mean"}
    assert not [key for key in results if key in scores or key.startswith("oracle")]
    assert results["distance_at_end"] < 0.05, "it hangs, and is to hang"
    assert [set(row) & {"success", "distance_at_end"} for row in results["episodes"]] == [
        {"distance_at_end"}
    ] * 2
    own_goal = assess(agent, 2, 3, oracle=False).results
    assert "success_rate" in own_goal
    assert "distance_at_end" not in own_goal


@pytest.mark.parametrize(
    ("outputs", "given", "told"),
    [
        (Outputs(picture=Path("a.png")), True, "--picture draws how far .* give --video in its"),
        (Outputs(trajectories=Path("a.npz")), True, None),
        (Outputs(picture=Path("a.png")), False, None),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_played(
    outputs: Outputs, given: bool, told: str | None
) -> None:
    spec = load_agent(TRAINED).spec
    goal = np.zeros(spec.observation_shape, np.uint8) if given else None
    if told is None:
        outputs.check(spec, goal)
        return
    with pytest.raises(E2CError, match=told):
        outputs.check(spec, goal)


def test_success_is_told_of_whole_own_episodes_alone() -> None:
    """A swing-up takes as long as half an own episode: its end cannot tell success."""
    agent = load_agent(TRAINED)
    options = Config().data
    episodes = Episodes(
        frames=np.zeros((6 + 2, 48, 48), np.uint8),
        actions=np.zeros((6, 1), np.float32),
        lengths=np.array([6]),
        in_goal=np.ones(7, np.bool_),
    )
    short = dataclasses.replace(options, own_length=6)
    whole = dataclasses.replace(options, own_length=None)
    assert own.scores(episodes, short, agent.spec) == {"own_time_in_goal": 1.0}
    assert set(own.scores(episodes, whole, agent.spec)) == {
        "own_success_rate",
        "own_time_in_goal",
    }


def test_files_are_written_for_another_goal_too(tmp_path: Path) -> None:
    agent = load_agent(TRAINED)
    agent = Agent(agent.model, dataclasses.replace(agent.spec, episode_steps=5), agent.options)
    goal = agent.spec.layout.from_planes(agent.model.goal.numpy())
    outputs = Outputs(trajectories=tmp_path / "a.npz")
    assess_and_film(agent, 2, 3, Disturbance(), True, outputs, goal)
    kept = _episodes(tmp_path / "a.npz")
    assert kept.task.sentence == ""
    assert list(kept.task.goals) == []
    assert len(kept.oracle_states) == 0


def test_a_film_shows_the_goal_that_was_given() -> None:
    """Of a state its region, of a picture none; of neither the world's own."""
    agent = load_agent(TRAINED)
    agent = Agent(agent.model, dataclasses.replace(agent.spec, episode_steps=2), agent.options)
    goals = from_state((0.3, 0.0), agent.spec)[None]

    def film(*given: Any) -> Film:
        return watch(agent, make_world_of(agent.spec), 3, "a film", *given).film

    own, of_picture, of_state = film(None), film(goals), film(goals, (0.3, 0.0))
    assert (own.goal_value, of_picture.goal_value, of_state.goal_value) == (0.0, None, 0.3)
    assert own.in_goal is not None
    assert of_picture.in_goal is of_state.in_goal is None
    scenes = [shown.scene(0) for shown in (own, of_picture, of_state)]
    assert all((a != b).any() for a, b in itertools.combinations(scenes, 2))
    found = assess(agent, 1, 3, goal=goals[0])
    assert _title(found, goals[0], (0.3, 0.0)) == "Reach the state (0.3, 0)"
    assert "given" in _title(found, goals[0], ())
