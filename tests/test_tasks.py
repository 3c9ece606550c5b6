"""Every task of the registry goes the whole way: train, act, evaluate, film, collect, report."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import CONFIG, shorten_runs, task_of

import envs
from e2c.config import Recipe
from e2c.control.base import make_world, rollout
from e2c.control.simple import Random
from e2c.data import episodes as dataset
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation.assessment import Outputs, assess, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.watch import watch
from e2c.files import runs
from e2c.learning.collect import collect_transitions
from e2c.learning.run import train
from e2c.report import plots
from e2c.report.folder import read_run
from envs.task import Task

STEPS = 6
BLANK = np.zeros((4, 4), np.uint8)
"""The picture in place of a figure: all is drawn but for its pixels, and every film is real."""


@pytest.fixture(scope="module", params=sorted(envs.ENVIRONMENTS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each task with an own round, short episodes, and the oracle at its end."""
    folder = tmp_path_factory.mktemp("runs") / request.param.split("/")[1]
    with pytest.MonkeyPatch.context() as patch:
        shorten_runs(patch, STEPS)
        patch.setattr(plots, "save_figure", lambda _, path: cv2.imwrite(str(path), BLANK))
        train(Recipe(dataclasses.replace(CONFIG, env=request.param), seed=3), folder)
    return folder


def env_of(run: Path) -> Task:
    return task_of(runs.read_recipe(run / runs.CONFIG).config.env)


def test_a_run_ends_with_everything_and_its_report_names_the_task(run: Path) -> None:
    env, told = env_of(run), read_run(run)
    assert told.film
    assert cv2.VideoCapture(str(run / runs.VIDEO)).get(cv2.CAP_PROP_FRAME_COUNT) >= STEPS
    assert told.episodes
    assert len(told.pictures) == 3
    assert told.episodes.task.sentence == env.goal_sentence
    assert told.episodes.oracle_states.shape == told.episodes.states.shape
    page = (run / runs.REPORT).read_text()
    assert env.goal_sentence in page
    for component in env.components[:2]:
        assert f"{component.name} [{component.unit}]" in page


def test_every_episode_is_asked_for_its_own_goal(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, agent = env_of(run), load_agent(run)
    asked, begin = [], agent.reset

    def reset(goal: NDArray[np.uint8]) -> None:
        asked.append(goal)
        begin(goal)

    monkeypatch.setattr(agent, "reset", reset)
    played = assess(agent, 5, 7, oracle=False).agent.episodes
    assert played.states is not None
    film = watch(agent, make_world(agent.spec.env, 1), 7, "the first", None).film
    goals = env.observe(env.goal_states(played.states.reshape(5, STEPS + 1, -1)[:, 0]))
    np.testing.assert_array_equal(asked[0], goals)
    np.testing.assert_array_equal(asked[1], goals[:1])
    np.testing.assert_array_equal(film.goal, goals[0])
    assert film.goal_value == env.goal_states(played.states[:1])[0, env.plotted]
    collect_transitions(agent.spec.env, 15, 3, 5, agent, 0.1)
    _, states = env.restart(np.random.default_rng(5), 5)
    np.testing.assert_array_equal(asked[2], env.observe(env.goal_states(states)))


def test_an_agent_may_collect_and_be_drawn(run: Path, tmp_path: Path) -> None:
    agent = load_agent(run)
    collect_transitions(agent.spec.env, 10, 5, 3, agent, 0.1).save(tmp_path / "own.npz")
    assert dataset.load(tmp_path / "own.npz").lengths.tolist() == [5, 5]
    outputs = Outputs(picture=tmp_path / "episodes.png")
    assess_and_film(agent, 3, 7, Disturbance(), False, outputs)
    picture = cv2.imread(str(outputs.picture))
    assert picture is not None
    assert picture.std() > 5


def test_episodes_are_drawn_by_how_far_they_are_from_their_own_goals(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, agent, figures = env_of(run), load_agent(run), list[Any]()
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    outputs = Outputs(picture=tmp_path / "episodes.png")
    assess_and_film(agent, 5, 1, Disturbance(), False, outputs)
    starts = env.sample_starts(np.random.default_rng(1), 5)
    away = (starts - env.goal_states(starts))[:, env.plotted]
    away = np.abs(env.components[env.plotted].wrapped(away))
    lines = figures[0].axes[0].lines
    drawn = [np.asarray(line.get_ydata())[0] for line in lines if len(line.get_xdata())]
    np.testing.assert_allclose(sorted(drawn), sorted(away), atol=1e-9)


def test_one_loop_serves_random_controls_and_the_evaluation(run: Path) -> None:
    env_id = runs.read_recipe(run / runs.CONFIG).config.env
    found = evaluate(world := make_world(env_id, 3), Random(world, np.random.default_rng(0)), 7)
    again = rollout(world, Random(world, np.random.default_rng(0)), 10**6, np.random.default_rng(7))
    assert found.episodes.content_hash == again.content_hash
    assert found.scores.lengths.tolist() == [envs.ENVIRONMENTS[env_id].max_episode_steps] * 3


def test_a_disturbance_that_a_task_does_not_know_is_named(run: Path) -> None:
    agent = load_agent(run)
    if agent.spec.env != "E2C/PendulumSwingUp-v0":
        with pytest.raises(E2CError, match=r"takes no parameter mass; leave it out"):
            assess(agent, 2, 7, Disturbance(mass=1.1, state_noise=1.0))
