"""The oracle: exact derivatives of the true system, and that it can do the task."""

import numpy as np
import pytest
import torch
from planner_systems import Pendulum
from tiny import ENV, generator

import envs
from e2c.config import PlannerConfig
from e2c.control.oracle import Oracle, TrueDynamics
from e2c.evaluation.scores import score
from e2c.learning.experiment import problem_spec
from envs.collect import BatchEnv, record

ANALYTIC = Pendulum()


@pytest.fixture(scope="module")
def dynamics() -> TrueDynamics:
    return TrueDynamics(envs.make(ENV), 1)


def on_the_cylinder(*lead: int) -> torch.Tensor:
    angle = 6.3 * torch.rand(*lead, generator=generator(), dtype=torch.float64)
    speed = 5 * torch.randn(*lead, generator=generator(1), dtype=torch.float64)
    return torch.stack((angle.cos(), angle.sin(), speed), -1)


@pytest.mark.parametrize("lead", [(5,), (5, 2, 3), (1,)])
def test_steps_are_those_of_the_pendulums_equation(
    dynamics: TrueDynamics, lead: tuple[int, ...]
) -> None:
    x, scale = on_the_cylinder(*lead), torch.from_numpy(dynamics.scale)
    u = 1.9 * (2 * torch.rand(*lead, 1, generator=generator(2)).double() - 1)
    expected = ANALYTIC.step(x, u) / scale
    torch.testing.assert_close(dynamics.step(x / scale, u), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("lead", [(5,), (5, 2, 3), (1,)])
def test_derivatives_are_those_of_the_pendulums_equation(
    dynamics: TrueDynamics, lead: tuple[int, ...]
) -> None:
    """In whitened coordinates; along the cylinder, since off it the simulator projects back."""
    x, scale = on_the_cylinder(*lead), torch.from_numpy(dynamics.scale)
    u = 1.9 * (2 * torch.rand(*lead, 1, generator=generator(2)).double() - 1)
    fx, fu = dynamics.linearize(x / scale, u)
    assert fx.shape == (*lead, 3, 3)
    assert fu.shape == (*lead, 3, 1)
    exact_x, exact_u = ANALYTIC.linearize(x, u)
    torch.testing.assert_close(fu, exact_u / scale[:, None], rtol=0, atol=1e-6)
    c, s = x[..., 0], x[..., 1]
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    tangents = torch.stack((torch.stack((-s, c, zero), -1), torch.stack((zero, zero, one), -1)), -1)
    found = fx @ (tangents / scale[:, None])
    exact = (exact_x @ tangents) / scale[:, None]
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_what_is_not_finite_leads_to_nan_and_its_neighbour_is_not_touched(
    dynamics: TrueDynamics,
) -> None:
    x, u = on_the_cylinder(5), torch.zeros(5, 1, dtype=torch.float64)
    expected = dynamics.step(x, u)
    x[1, 2], u[3, 0], u[4, 0] = torch.inf, torch.nan, torch.inf
    found = dynamics.step(x, u)
    assert bool(found[[1, 3, 4]].isnan().all())
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_coordinates_are_divided_by_their_spread(dynamics: TrueDynamics) -> None:
    states = envs.make(ENV).sample_states(np.random.default_rng(1), 5000)
    spread = dynamics.whiten(states).std(0)
    torch.testing.assert_close(spread, torch.ones(3).double(), rtol=0.03, atol=0)


def test_the_oracle_goes_where_each_episode_asks_for() -> None:
    name = "E2C/Planar-v0"
    env = envs.make(name)
    starts = env.sample_starts(np.random.default_rng(0), 9)
    starts = starts[np.unique(starts[:, 2:], axis=0, return_index=True)[1]]
    assert len(starts) == 3
    batch = BatchEnv(env, starts)
    oracle = Oracle(env, problem_spec(name, env), PlannerConfig(horizon=20), starts)
    rollouts = record(batch, lambda _: oracle.act(batch.states), 25)
    assert env.is_goal(rollouts.states[:, -1]).all()


def test_the_oracle_swings_up_and_holds() -> None:
    env = envs.make(ENV)
    spec, starts = problem_spec(ENV, env), env.sample_starts(np.random.default_rng(0), 3)
    batch, oracle = BatchEnv(env, starts), Oracle(env, spec, PlannerConfig(), starts)
    rollouts = record(batch, lambda _: oracle.act(batch.states), 120)
    scores = score(env, rollouts.states, rollouts.actions)
    assert scores.success.all()
    assert (scores.steps_to_goal < 65).all()
    assert np.abs(rollouts.actions).max() <= 2


def test_an_episode_costs_what_the_planning_cost_says_of_it() -> None:
    """Whoever played it; at rest in the goal without control it costs nothing."""
    env = envs.make(ENV)
    spec, options = problem_spec(ENV, env), PlannerConfig(control_weight=0.3, terminal_weight=7.0)
    rng, T = np.random.default_rng(0), 4
    states, actions = np.zeros((3, T + 1, 2)), np.zeros((3, T, 1), np.float32)
    states[1], actions[2] = rng.standard_normal((T + 1, 2)), rng.uniform(-1, 1, (T, 1))
    oracle = Oracle(env, spec, options, states[:, 0])
    cost = oracle.price(states, actions)
    x = env.coordinates(states[1]) / oracle.dynamics.scale
    away = np.square(x - env.coordinates(np.zeros(2)) / oracle.dynamics.scale).mean(-1)
    effort = 0.3 * np.square(actions[2] / env.action_space.high).sum()
    expected = [0.0, away[:-1].sum() + 7 * away[-1], effort]
    np.testing.assert_allclose(cost, expected, atol=1e-9)
