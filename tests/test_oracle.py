"""The oracle: exact derivatives of the true system, and that it can do the task."""

import numpy as np
import pytest
import torch
from dots import dots
from planner_systems import Pendulum
from tiny import ENV, generator

from e2c.control.agent import PlannerConfig
from e2c.control.base import make_world, rollout
from e2c.control.oracle import Oracle, TrueDynamics
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.scores import score
from envs.pendulum import PendulumSwingUp
from envs.world import settle_steps, simulated

ANALYTIC = Pendulum()


@pytest.fixture(scope="module")
def dynamics() -> TrueDynamics:
    return TrueDynamics(PendulumSwingUp(), 1)


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
    torch.testing.assert_close(dynamics.step(x / scale, u), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lead", [(5,), (5, 2, 3), (1,)])
def test_derivatives_are_those_of_the_pendulums_equation(
    dynamics: TrueDynamics, lead: tuple[int, ...]
) -> None:
    """In whitened coordinates; along the cylinder, since off it a step projects back."""
    x, scale = on_the_cylinder(*lead), torch.from_numpy(dynamics.scale)
    u = 1.9 * (2 * torch.rand(*lead, 1, generator=generator(2)).double() - 1)
    fx, fu = dynamics.linearize(x / scale, u)
    assert fx.shape == (*lead, 3, 3)
    assert fu.shape == (*lead, 3, 1)
    exact_x, exact_u = ANALYTIC.linearize(x, u)
    torch.testing.assert_close(fu, exact_u / scale[:, None], rtol=0, atol=1e-12)
    c, s = x[..., 0], x[..., 1]
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    tangents = torch.stack((torch.stack((-s, c, zero), -1), torch.stack((zero, zero, one), -1)), -1)
    found = fx @ (tangents / scale[:, None])
    exact = (exact_x @ tangents) / scale[:, None]
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


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
    states = PendulumSwingUp().sample_states(np.random.default_rng(1), 5000)
    spread = dynamics.whiten(states).std(0)
    torch.testing.assert_close(spread, torch.ones(3).double(), rtol=0.03, atol=0)


def test_the_oracle_goes_where_each_episode_asks_for() -> None:
    world = make_world("E2C/Planar-v0", 3)
    starts = simulated(world, "The test").task.sample_starts(np.random.default_rng(0), 9)
    starts = starts[np.unique(starts[:, 2:], axis=0, return_index=True)[1]]
    assert len(starts) == 3
    oracle, rng = Oracle(world, PlannerConfig(horizon=20)), np.random.default_rng(0)
    episodes = rollout(world, oracle, 25, rng, states=starts)
    assert episodes.in_goal is not None
    assert episodes.in_goal.reshape(3, -1)[:, -1].all()


def test_the_oracle_swings_up_and_holds() -> None:
    world = make_world(ENV, 3)
    options = PlannerConfig(tries=64, terminal_weight=100.0)  # with 1 it may pay to arrive later
    episodes = rollout(world, Oracle(world, options), 120, np.random.default_rng(0))
    scores = score(episodes, settle_steps(world))
    assert scores.success is not None
    assert scores.success.all()
    assert scores.steps_to_goal is not None
    assert (scores.steps_to_goal < 65).all()
    assert np.abs(episodes.actions).max() <= 2


def test_a_world_without_states_has_no_oracle() -> None:
    with pytest.raises(E2CError, match="The oracle needs a world whose states can be read and set"):
        Oracle(dots(2), PlannerConfig())


def test_an_episode_costs_what_the_planning_cost_says_of_it() -> None:
    """Whoever played it; at rest in the goal without control it costs nothing."""
    env, options = PendulumSwingUp(), PlannerConfig(control_weight=0.3, terminal_weight=7.0)
    rng, T = np.random.default_rng(0), 4
    states, actions = np.zeros((3, T + 1, 2)), np.zeros((3, T, 1), np.float32)
    states[1], actions[2] = rng.standard_normal((T + 1, 2)), rng.uniform(-1, 1, (T, 1))
    oracle = Oracle(make_world(ENV, 3), options)
    played = Episodes(
        frames=np.zeros((3 * (T + 2), 4, 5), np.uint8),
        actions=actions.reshape(-1, 1),
        lengths=np.full(3, T),
        states=states.reshape(-1, 2),
    )
    cost = oracle.price(played)
    x = env.coordinates(states[1]) / oracle.dynamics.scale
    away = np.square(x - env.coordinates(np.zeros(2)) / oracle.dynamics.scale).mean(-1)
    effort = 0.3 * np.square(actions[2] / env.action_space.high).sum()
    expected = [0.0, away[:-1].sum() + 7 * away[-1], effort]
    np.testing.assert_allclose(cost, expected, atol=1e-9)
