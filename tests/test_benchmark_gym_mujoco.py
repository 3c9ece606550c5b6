"""Gymnasium's MuJoCo tasks as they are measured: where the goal is, and how the tables read."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import gym_mujoco
from benchmarks.gym_mujoco import (
    PENDULUM,
    REACHER,
    TARGET,
    TASKS,
    GymMujoco,
    fingertip,
    reaching,
    table,
)
from e2c.errors import E2CError


def episode(*positions: tuple[float, float]) -> Any:
    return SimpleNamespace(
        states=np.array([(9.0, 9.0, 0.0, 0.0), *((*p, 1.0, 1.0) for p in positions)])
    )


def test_the_goal_is_where_the_fingertip_is_on_the_target() -> None:
    for point in (TARGET, np.array([-0.1, 0.05]), np.array([0.0, -0.19])):
        np.testing.assert_allclose(fingertip(reaching(point)), point, atol=1e-12)
    np.testing.assert_allclose(fingertip(np.array([[0.0, 0.0], [np.pi, 0.0]]))[:, 0], [0.21, -0.21])


def test_the_figures_are_of_the_states_after_each_step() -> None:
    pendulum, reacher = TASKS[PENDULUM].error, TASKS[REACHER].error
    assert pendulum(episode((0.1, -0.05), (0.0, 0.06), (-0.11, 0.0)), 4) == 0.25
    away = [(0.0, 0.0)] * 5 + [tuple(reaching(TARGET))] * 10
    assert reacher(episode(*away), 50) == pytest.approx(0.0, abs=1e-12)
    assert reacher(episode((0.0, 0.0)), 50) == pytest.approx(np.hypot(0.16, 0.15))


@pytest.mark.parametrize("env", TASKS)
def test_the_configuration_keeps_to_the_budget(env: str) -> None:
    data = gym_mujoco.config(env).data
    own = data.own_length or TASKS[env].steps
    # While the goal was not seen, first data take the place of half of the rounds.
    assert data.transitions + data.rounds * data.episodes_per_round * own <= 5000


@pytest.mark.parametrize("env", TASKS)
def test_the_expert_reaches_the_goal_of_the_scored_environment(env: str) -> None:
    pytest.importorskip("imageio")
    gymnasium = pytest.importorskip("gymnasium")
    gym_mujoco.register()
    task, alone = TASKS[env], gymnasium.make(gym_mujoco.scored(env))
    goal = np.r_[task.goal, 0.0, 0.0]
    gain = gym_mujoco.regulator(alone, goal, task.weights)
    limit = alone.action_space.high
    np.testing.assert_array_equal(limit, np.full(limit.shape, task.limit, np.float32))
    _, info = alone.reset(seed=3)
    for _ in range(50):
        control = np.clip(gain @ (goal - info["state"]), -limit, limit)
        *_, terminated, _, info = alone.step(control.astype(np.float32))
        assert not terminated
    np.testing.assert_allclose(info["state"][:2], task.goal, atol=0.05)
    if env == REACHER:
        away = alone.unwrapped.get_body_com("fingertip")[:2] - TARGET
        assert np.linalg.norm(away) < 0.01
        tip = fingertip(info["state"][:2])
        np.testing.assert_allclose(tip, alone.unwrapped.get_body_com("fingertip")[:2], atol=1e-6)


def cell(value: float, transitions: int | None = None) -> dict[str, Any]:
    found = {"returns": [value, 3 * value], "lengths": [50, 50], "scores": [0.01, 0.03]}
    return found if transitions is None else {**found, "transitions": transitions}


def test_the_table_tells_every_seed_and_their_mean() -> None:
    found = table(REACHER, {"0": cell(-2.0, 1400), "1": cell(-4.0, 1600), "zero": cell(-10.0)})
    assert found.splitlines()[4:] == [
        "| seed 0 | 1,400 | -4.0 | -6.0 | 50 | 20 mm | 30 mm |",
        "| seed 1 | 1,600 | -8.0 | -12.0 | 50 | 20 mm | 30 mm |",
        "| zero | - | -20.0 | -30.0 | 50 | 20 mm | 30 mm |",
        "| mean of 2 seeds | 1,500 | -6.0 | -12.0 | 50 | 20 mm | 30 mm |",
    ]
    assert "| 2.0% | 1.0% |" in table(PENDULUM, {"zero": cell(1.0)})


def test_another_environment_is_refused(tmp_path: Any) -> None:
    with pytest.raises(E2CError, match=r"--env is 'Ant-v5'; choose among: InvertedPendulum-v5, "):
        GymMujoco(env="Ant-v5", results=tmp_path)()
