"""The holding control: closed forms, brute force within the limits, and what is not finite."""

import math

import pytest
import torch
from planner_systems import LinearSystem, Pendulum, random_linear

from planners import FunctionDynamics, holding_control

INF = torch.full((2,), torch.inf)


def test_of_a_linear_system_it_is_least_squares() -> None:
    system = random_linear(n=3, m=2)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = x - system.step(x, torch.zeros(5, 2, dtype=torch.float64))
    expected = torch.linalg.lstsq(system.B, moved.mT).solution.mT
    found = holding_control(system, x, -INF, INF)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_within_limits_it_is_the_best_of_all_controls() -> None:
    system, low, high = random_linear(n=3, m=2), torch.tensor([-0.3, 0.1]), torch.tensor([0.4, 0.6])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    axes = [torch.linspace(float(a), float(b), 201) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes).double()
    for state, found in zip(x, holding_control(system, x, low, high), strict=True):
        misses = (system.step(state.expand(len(grid), 3), grid) - state).norm(dim=1)
        mine = (system.step(state, found) - state).norm()
        assert mine <= misses.min() + 1e-5
        assert (low - 1e-6 <= found).all()
        assert (found <= high + 1e-6).all()


@pytest.mark.parametrize("angle", [0.15, -0.3, math.pi, 0.6])
def test_a_pendulum_is_held_against_gravity_as_far_as_its_motor_can(angle: float) -> None:
    x = torch.tensor([[math.cos(angle), math.sin(angle), 0.0]], dtype=torch.float64)
    found = holding_control(Pendulum(), x, torch.tensor([-2.0]), torch.tensor([2.0]))
    gravity = -5 * math.sin(angle)
    assert float(found) == pytest.approx(max(-2.0, min(2.0, gravity)), abs=1e-4)


def test_a_control_that_enters_nonlinearly_is_found_in_a_few_steps() -> None:
    dynamics = FunctionDynamics(lambda x, u: x - 1 + (0.5 * u).exp(), 1, 1)
    limit = torch.tensor([3.0], dtype=torch.float64)
    found = holding_control(dynamics, torch.zeros(2, 1, dtype=torch.float64), -limit, limit)
    torch.testing.assert_close(found, torch.zeros(2, 1, dtype=torch.float64), rtol=0, atol=1e-4)
    raised = FunctionDynamics(lambda x, u: x - 2 + (0.5 * u).exp(), 1, 1)
    found = holding_control(raised, torch.zeros(1, 1, dtype=torch.float64), -limit, limit)
    assert float(found) == pytest.approx(2 * math.log(2), abs=1e-3)


def test_where_nothing_is_finite_or_the_control_does_nothing_it_is_rest() -> None:
    low, high = torch.tensor([-1.0, 0.25]), torch.tensor([1.0, 0.5])
    rest = torch.tensor([[0.0, 0.25]])
    system = LinearSystem(torch.eye(3), torch.ones(3, 2), torch.zeros(3))
    torch.testing.assert_close(
        holding_control(system, torch.full((1, 3), torch.nan), low, high), rest
    )
    idle = LinearSystem(torch.eye(3), torch.zeros(3, 2), torch.ones(3))
    torch.testing.assert_close(holding_control(idle, torch.zeros(1, 3), low, high), rest)
