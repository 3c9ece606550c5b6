"""Scores of hand-made episodes, whose answers are known."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import ENV, ONE_CONTROL, SPEC, noise_data, tiny_model

from e2c.control.agent import Agent, PlannerConfig
from e2c.control.base import make_world
from e2c.control.simple import Zero
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.scores import LOST, Scores, open_loop_error, score, settled, told
from envs.pendulum import PendulumSwingUp

T = 60
SWAPPED = dataclasses.replace(ONE_CONTROL, observation_shape=(2, 48, 48), control_low=(-1.0,))


def scored(states: NDArray[np.float64]) -> Scores:
    """Score episodes of the headline task without control, as its world tells of them."""
    task, (E, moments, n) = PendulumSwingUp(), states.shape
    still = np.zeros((E, moments - 1, 1), np.float32)
    recorded = Episodes(
        frames=np.zeros((E * (moments + 1), 4, 5), np.uint8),
        actions=still.reshape(-1, 1),
        lengths=np.full(E, moments - 1),
        states=states.reshape(-1, n),
        rewards=task.reward(states[:, :-1], still).reshape(-1),
        in_goal=task.is_goal(states).reshape(-1),
    )
    return score(recorded, task.settle_steps)


def known(name: str) -> NDArray[Any]:
    """A column of the scores of `episodes`."""
    column: NDArray[Any] = getattr(episodes(), name)
    return column


def episodes() -> Scores:
    """Up after 7 steps and there to the end; there at step 3 alone; never; lost at the very end."""
    states = np.full((4, T + 1, 2), [np.pi, 0.0])
    states[0, 7:, 0] = 0.1
    states[1, 3, 0] = 2 * np.pi - 0.15  # the same angle, wrapped
    states[3, :T, 0] = 0.0
    states[3, T, 0] = 0.3
    return scored(states)


def test_success_is_to_end_settled() -> None:
    assert known("success").tolist() == [True, False, False, False]


def test_time_in_goal_is_a_share_of_the_steps() -> None:
    expected = [(T - 6) / T, 1 / T, 0, (T - 1) / T]
    np.testing.assert_allclose(known("time_in_goal"), expected)


def test_steps_to_goal_is_the_first_step_that_ends_there() -> None:
    assert known("steps_to_goal").tolist() == [7, 3, np.inf, 1]


def test_returns_are_the_sums_of_rewards() -> None:
    hanging = -(np.pi**2)
    returns = known("returns")
    assert returns[2] == pytest.approx(T * hanging)
    assert returns[0] == pytest.approx(7 * hanging - 53 * 0.1**2)
    assert returns[1] == pytest.approx((T - 1) * hanging - 0.15**2)


def test_the_summary_averages() -> None:
    summary = episodes().summary()
    assert summary["success_rate"] == 0.25
    assert summary["time_in_goal"] == pytest.approx((54 + 1 + 0 + 59) / 4 / T)
    assert summary["steps_to_goal_median"] == 5
    assert summary["return_mean"] == pytest.approx(known("returns").mean())


def test_a_median_that_is_never_is_none() -> None:
    states = np.full((3, T + 1, 2), [np.pi, 0.0])
    states[0, 5, 0] = 0
    scores = scored(states)
    assert scores.summary()["steps_to_goal_median"] is None
    states[1, 5, 0] = 0
    scores = scored(states[:2])
    assert scores.summary()["steps_to_goal_median"] == 5
    states[:] = [np.pi, 0.0]
    half = np.concatenate([states[:1], np.zeros_like(states[:1])])
    scores = scored(half)
    assert scores.summary()["steps_to_goal_median"] is None, "half of them never get there"


def test_rows_and_summary_are_plain_json() -> None:
    scores = episodes()
    text = json.dumps({**scores.summary(), "episodes": scores.rows()}, allow_nan=False)
    rows = json.loads(text)["episodes"]
    assert len(rows) == 4
    assert set(rows[0]) >= {"start", "success", "time_in_goal"}
    assert rows[0]["success"] is True
    assert rows[0]["start"] == [np.pi, 0.0]


def test_rows_name_the_faults_that_happened() -> None:
    counts = {"blind": np.array([0, 2, 0, 1]), "lost": np.array([0, 3, 0, 0])}
    rows = episodes().rows(**counts)
    assert [row["faults"] for row in rows] == [{}, {"blind": 2, "lost": 3}, {}, {"blind": 1}]
    json.dumps(rows)


def test_an_episode_that_is_too_short_is_no_success() -> None:
    inside = np.ones(50, bool)
    assert settled(inside, 50)
    assert not settled(inside[1:], 50)
    assert not settled(np.append(inside, False), 50)
    assert not settled(np.append(False, inside[1:]), 50)


def test_a_world_that_tells_nothing_is_not_scored() -> None:
    told = noise_data((4, 7))
    untold = dataclasses.replace(told, states=None)
    scores = score(untold, 5)
    assert scores.summary() == {}
    assert [row["steps"] for row in scores.rows()] == [4, 7]
    assert all(row.keys() == {"steps", "faults"} for row in scores.rows())


def test_episodes_of_different_lengths_are_scored_each_by_itself() -> None:
    lengths = (4, 7)
    told = dataclasses.replace(
        noise_data(lengths),
        rewards=np.arange(11.0),
        in_goal=np.array([False] * 2 + [True] * 3 + [True] + [False] * 6 + [True]),
    )
    scores = score(told, 3)
    summary = scores.summary()
    assert summary["success_rate"] == 0.5
    assert summary["time_in_goal"] == pytest.approx((3 / 4 + 1 / 7) / 2)
    assert summary["steps_to_goal_median"] == pytest.approx((2 + 7) / 2)
    assert summary["return_mean"] == pytest.approx((0 + 1 + 2 + 3 + sum(range(4, 11))) / 2)


def test_open_loop_error_is_relative_to_the_spread() -> None:
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((500, 8, 3)) * [1.0, 2.0, 3.0] + 5
    np.testing.assert_allclose(open_loop_error(latents, latents), np.zeros(7))
    mean = np.broadcast_to(latents.mean((0, 1)), latents.shape)
    np.testing.assert_allclose(open_loop_error(latents, mean), np.ones(7), rtol=0.2)
    off = latents.copy()
    off[:, 2:] += [3.0, 0, 0]
    variance = latents.reshape(-1, 3).var(0).sum()
    np.testing.assert_allclose(open_loop_error(latents, off), [0] + [9 / variance] * 6, atol=1e-12)
    np.testing.assert_allclose(
        open_loop_error(10 * latents, 10 * off), open_loop_error(latents, off)
    )


def test_a_roll_out_that_leaves_every_scale_has_a_finite_error() -> None:
    latents = np.random.default_rng(0).standard_normal((3, 4, 2))
    predictions = latents.copy()
    predictions[0, 2], predictions[:, 3] = 1e300, np.nan
    error = open_loop_error(latents, predictions)
    np.testing.assert_array_equal(error, [0, LOST, LOST])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"controller": None}, "controller is None; it must be a controller: an agent, as"),
        ({"controller": "runs/a"}, "controller is 'runs/a'; it must be a controller"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": 3.5}, "steps is 3.5; it must be a whole number"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        (
            {"controller": Agent(tiny_model(), SPEC, PlannerConfig(horizon=3))},
            r"trained where observation_shape was \(3, 12, 6\), and here it is \(2, 48, 48\)",
        ),
        (
            {"controller": Agent(tiny_model(spec=SWAPPED), SWAPPED, PlannerConfig(horizon=3))},
            r"control_low was \(-1.0,\), and here it is \(-2.0,\)",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(given: Any, told: str) -> None:
    world = make_world(ENV, 2)
    with pytest.raises(E2CError, match=told):
        evaluate(world, **{"controller": Zero(world), **given})


def test_whatever_acts_is_evaluated_for_as_many_steps_as_asked() -> None:
    world, numpys = make_world(ENV, 2), {"seed": np.int64(3), "steps": np.int64(4)}
    found = evaluate(world, Zero(world), **numpys)  # type: ignore[arg-type]
    assert found.episodes.lengths.tolist() == [4, 4]


def test_figures_are_told_with_their_units() -> None:
    results = {"time_in_goal": 7 / 12, "steps_to_goal_median": None, "distance_at_end": 2.35e-6}
    assert told({**results, "env": "not shown"}) == [
        "time in goal               58.3%",
        "steps to the goal, median  never",
        "distance at the end        2.35e-06 (1 is as far as the data spread)",
    ]
