"""Frames that nobody here drew: who scores them, and how the table reads."""

from typing import Any

import numpy as np
import pytest

from benchmarks import any_pixels
from benchmarks.any_pixels import GOAL_REGION, STEPS, goal_picture, scored, table
from envs import Camera


def test_the_state_is_told_with_a_wrapped_angle() -> None:
    env = scored()
    pendulum: Any = env.unwrapped
    _, info = env.reset(seed=3)
    np.testing.assert_allclose(info["state"], pendulum.state)
    for angle, inside in ((0.0, True), (2 * np.pi - 0.1, True), (-0.3, False), (3 * np.pi, False)):
        pendulum.state = np.array([angle, 0.0])
        *_, info = env.step(np.zeros(1, np.float32))
        wrapped = np.arctan2(np.sin(pendulum.state[0]), np.cos(pendulum.state[0]))
        assert abs(abs(info["state"][0]) - abs(wrapped)) < 1e-9
        assert info["is_goal"] is inside
        assert inside == (abs(wrapped) <= GOAL_REGION)


def test_the_configuration_keeps_to_the_budget() -> None:
    data = any_pixels._config().data
    assert data.transitions + data.rounds * data.episodes_per_round * STEPS <= 5000


def cell(success: float, transitions: int | None = None) -> dict[str, Any]:
    found = {"success_rate": success, "time_in_goal": success / 2, "return_mean": -100.0}
    return found if transitions is None else {**found, "transitions": transitions}


def test_the_table_tells_every_seed_the_mean_and_the_worst() -> None:
    found = table({"0": cell(1.0, 4400), "1": cell(0.8, 4200), "oracle": cell(1.0)})
    assert found.splitlines()[2:] == [
        "| seed 0 | 4,400 | 100% | 0.500 | -100 |",
        "| seed 1 | 4,200 | 80% | 0.400 | -100 |",
        "| oracle | - | 100% | 0.500 | -100 |",
        "| mean of 2 seeds (worst 80%) | 4,300 | 90% | 0.450 | -100 |",
    ]
    assert len(table({}).splitlines()) == 2


def test_the_goal_is_a_picture_of_the_upright_rod() -> None:
    pytest.importorskip("pygame")
    seen = Camera(crop=(110, 390, 110, 390)).look_at(goal_picture())
    assert seen.shape == (2, 48, 48)
    assert (seen[0] == seen[1]).all()
    dark = np.argwhere(seen[0] < 180)
    assert dark[:, 0].max() <= 27, "the rod stands above its pivot"
    assert abs(dark[:, 1].mean() - 23.5) < 1
