"""Dynamics from a function alone: Jacobians against closed forms and finite differences."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from planner_systems import Pendulum, hanging, random_linear
from torch import Tensor

from planners import PLANNERS, FunctionDynamics, GoalCost

F64 = torch.float64
LINEAR = random_linear(3, 2)
LEADS = pytest.mark.parametrize("lead", [(), (5,), (1,), (4, 2), (2, 1, 3, 7)], ids=str)


def twisted(x: Tensor, u: Tensor) -> Tensor:
    """A function of three states and two controls that is linear in nothing."""
    a, b, c = x.unbind(-1)
    v, w = u.unbind(-1)
    return torch.stack((a * torch.sin(b) + v * w, b * c * torch.tanh(v), torch.exp(-c * w) + a), -1)


def draw(lead: tuple[int, ...], n: int, seed: int, dtype: torch.dtype = F64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, n, generator=g, dtype=F64).to(dtype)


@LEADS
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_jacobians_of_known_systems_are_their_closed_forms(
    lead: tuple[int, ...], dtype: torch.dtype
) -> None:
    for system in (random_linear(3, 2, dtype=dtype), Pendulum()):
        n, m = system.state_dim, system.control_dim
        dynamics = FunctionDynamics(system.step, n, m)
        x, u = draw(lead, n, 1, dtype), draw(lead, m, 2, dtype)
        assert torch.equal(dynamics.step(x, u), system.step(x, u))
        for ours, exact in zip(dynamics.linearize(x, u), system.linearize(x, u), strict=True):
            assert ours.dtype == dtype
            torch.testing.assert_close(ours, exact)
        fx, fu = dynamics.linearize(x, u)
        assert fx.shape == (*lead, n, n)
        assert fu.shape == (*lead, n, m)


@LEADS
def test_jacobians_are_finite_differences(lead: tuple[int, ...]) -> None:
    dynamics = FunctionDynamics(twisted, 3, 2)
    x, u, h = draw(lead, 3, 1), draw(lead, 2, 2), 1e-6
    fx, fu = dynamics.linearize(x, u)
    for i, e in enumerate(h * torch.eye(3, dtype=F64)):
        slope = (twisted(x + e, u) - twisted(x - e, u)) / (2 * h)
        torch.testing.assert_close(fx[..., i], slope, atol=1e-7, rtol=1e-6)
    for j, e in enumerate(h * torch.eye(2, dtype=F64)):
        slope = (twisted(x, u + e) - twisted(x, u - e)) / (2 * h)
        torch.testing.assert_close(fu[..., j], slope, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_jacobians_are_the_same_where_gradients_are_off(
    mode: type[torch.no_grad] | type[torch.inference_mode],
) -> None:
    dynamics = FunctionDynamics(twisted, 3, 2)
    x, u = draw((5,), 3, 1), draw((5,), 2, 2)
    expected = dynamics.linearize(x, u)
    with mode():
        for ours, exact in zip(dynamics.linearize(1 * x, 1 * u), expected, strict=True):
            assert torch.equal(ours, exact)
            assert not ours.requires_grad


def test_a_network_with_trainable_weights_is_no_obstacle() -> None:
    network = torch.nn.Linear(5, 3, dtype=F64)
    dynamics = FunctionDynamics(lambda x, u: torch.tanh(network(torch.cat((x, u), -1))), 3, 2)
    x, u = draw((4,), 3, 1), draw((4,), 2, 2)
    fx, _ = dynamics.linearize(x, u)
    slope = 1 - torch.tanh(network(torch.cat((x, u), -1))).square()
    torch.testing.assert_close(fx, slope.detach()[..., None] * network.weight.detach()[:, :3])
    assert not fx.requires_grad


def test_planning_on_a_function_is_planning_on_its_jacobians() -> None:
    cost = GoalCost(
        torch.tensor([1, 0, 0], dtype=F64),
        torch.tensor([1, 1, 0.1], dtype=F64),
        torch.tensor([0.01], dtype=F64),
    )
    high, plans = torch.tensor([2.0], dtype=F64), []
    for dynamics in (Pendulum(), FunctionDynamics(Pendulum().step, 3, 1)):
        generator = torch.Generator().manual_seed(0)
        planner = PLANNERS["ilqg"](dynamics, -high, high, horizon=15, generator=generator)
        plans.append(planner.plan(hanging(2), cost))
    torch.testing.assert_close(plans[0].cost, plans[1].cost)
    torch.testing.assert_close(plans[0].controls, plans[1].controls, atol=1e-5, rtol=1e-5)


def test_a_function_that_returns_another_shape_is_refused() -> None:
    dynamics = FunctionDynamics(lambda x, u: torch.stack((x[1], u[0])), 2, 1)
    assert dynamics.step(torch.zeros(2), torch.zeros(1)).shape == (2,)
    with pytest.raises(ValueError, match=r"shape \[5, 2\].* got \[2, 2\].* last dimension"):
        dynamics.step(torch.zeros(5, 2), torch.zeros(5, 2))


def test_it_can_be_pickled_and_copied() -> None:
    dynamics = FunctionDynamics(twisted, 3, 2)
    x, u = draw((5,), 3, 1), draw((5,), 2, 2)
    for other in (pickle.loads(pickle.dumps(dynamics)), copy.deepcopy(dynamics)):
        assert torch.equal(other.linearize(x, u)[0], dynamics.linearize(x, u)[0])
