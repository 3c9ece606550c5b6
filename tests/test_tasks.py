"""Every task of the registry goes the whole way: train, act, evaluate, film, collect, report."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import CONFIG, shorten_episodes

import envs
from e2c.config import Recipe
from e2c.control.agent import load_agent
from e2c.data import episodes as dataset
from e2c.errors import E2CError
from e2c.files import runs
from e2c.learning import experiment
from e2c.learning.experiment import Disturbance, Outputs
from e2c.report.folder import read_run
from envs.collect import BatchEnv, random_controller, record

STEPS = 6


@pytest.fixture(scope="module", params=sorted(envs.ENVIRONMENTS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each task with an own round, short episodes, and the oracle at its end."""
    folder = tmp_path_factory.mktemp("runs") / request.param.split("/")[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envs, "ENVIRONMENTS", shorten_episodes(STEPS))
        experiment.train(Recipe(dataclasses.replace(CONFIG, env=request.param), 3), folder)
    return folder


def env_of(run: Path) -> envs.PixelEnv:
    return envs.make(runs.read_recipe(run / runs.CONFIG).config.env)


def test_a_run_ends_with_everything_and_its_report_names_the_task(run: Path) -> None:
    env, told = env_of(run), read_run(run)
    assert told.film
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
    _, rollouts, _ = experiment.evaluate(agent, 5, 7, oracle=False)
    film, _ = experiment.film_episode(agent, rollouts.states[1, 0], "the second")
    goals = env.observe(env.goal_states(rollouts.states[:, 0]))
    np.testing.assert_array_equal(asked[0], goals)
    np.testing.assert_array_equal(asked[1], goals[1:2])
    np.testing.assert_array_equal(film.goal, goals[1])
    assert film.goal_value == env.goal_states(rollouts.states[1:2, 0])[0, env.plotted]
    experiment.collect(agent.spec.env, 15, 3, 5, agent, 0.1)
    _, states = env.restart(np.random.default_rng(5), 5)
    np.testing.assert_array_equal(asked[2], env.observe(env.goal_states(states)))


def test_an_agent_may_collect_and_be_filmed_and_drawn(run: Path, tmp_path: Path) -> None:
    agent = load_agent(run)
    experiment.collect(agent.spec.env, 10, 5, 3, agent, 0.1).save(tmp_path / "own.npz")
    assert dataset.load(tmp_path / "own.npz").lengths.tolist() == [5, 5]
    outputs = Outputs(video=tmp_path / "film.mp4", picture=tmp_path / "episodes.png")
    experiment.evaluate_and_film(agent, 3, 7, Disturbance(), False, outputs)
    reader = cv2.VideoCapture(str(outputs.video))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) >= STEPS
    picture = cv2.imread(str(outputs.picture))
    assert picture is not None
    assert picture.std() > 5


def test_episodes_are_drawn_by_how_far_they_are_from_their_own_goals(run: Path) -> None:
    env, rng = env_of(run), np.random.default_rng(1)
    starts = env.sample_starts(rng, 5)
    rollouts = record(BatchEnv(env, starts), random_controller(env, rng), 3)
    away = (starts - env.goal_states(starts))[:, env.plotted]
    away = np.abs(env.components[env.plotted].wrapped(away))
    lines = experiment._draw_episodes(env, rollouts).axes[0].lines
    drawn = [np.asarray(line.get_ydata())[0] for line in lines if len(line.get_xdata())]  # type: ignore[arg-type]
    np.testing.assert_allclose(sorted(drawn), sorted(away), atol=1e-9)


def test_state_noise_moves_the_world_the_same_way_every_time(run: Path) -> None:
    agent, noise = load_agent(run), Disturbance(state_noise=2.0)
    calm, noisy, again = (
        experiment.evaluate(agent, 3, 7, world, oracle=True) for world in (None, noise, noise)
    )
    np.testing.assert_array_equal(noisy[1].states, again[1].states)
    np.testing.assert_array_equal(noisy[1].states[:, 0], calm[1].states[:, 0])
    assert noisy[2] is not None
    assert again[2] is not None
    assert (noisy[1].states[:, 1] != calm[1].states[:, 1]).any(1).all()
    np.testing.assert_array_equal(noisy[2].states, again[2].states)
    json.dumps(noisy[0], allow_nan=False)


def test_a_disturbance_that_a_task_does_not_know_is_named(run: Path) -> None:
    agent = load_agent(run)
    if agent.spec.env != "E2C/PendulumSwingUp-v0":
        with pytest.raises(E2CError, match=r"takes no parameter mass; leave it out"):
            experiment.evaluate(agent, 2, 7, Disturbance(mass=1.1, state_noise=1.0))
