"""Compiled plans are those of the version in torch, whatever the system, the limits, the fate."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numba import carray
from numba.core.dispatcher import Dispatcher
from planner_systems import LinearSystem, random_linear
from tiny import generator
from torch import Tensor

from e2c.control import belief_kernels
from e2c.control.latent import COMPILED, LatentDynamics
from e2c.data import camera_kernels
from e2c.models import carry_kernels, pixel_kernels, read_kernels
from e2c.models.layers import ACTIVATIONS
from e2c.models.options import ModelConfig
from e2c.models.transitions import LocallyLinear, Transition
from planners import (
    ILQG,
    PLANNERS,
    Dynamics,
    GoalCost,
    ILQGOptions,
    Plan,
    RecedingHorizon,
    RecedingOptions,
    Status,
    fused,
    kernels,
    kernels_system,
)
from planners.boxqp import box_qp
from planners.compiled import LANES, Compiled, Memory, cached, code_of
from planners.rollouts import finite_cost, price, roll_out

F32, F64 = torch.float32, torch.float64
B, T = 5, 11
"""Problems, and a horizon that does not fill the lanes."""


@dataclass
class Plain:
    """Hides that dynamics can be compiled."""

    dynamics: Dynamics

    def __post_init__(self) -> None:
        self.state_dim, self.control_dim = self.dynamics.state_dim, self.dynamics.control_dim
        self.step, self.linearize = self.dynamics.step, self.dynamics.linearize


def linear_step(parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any) -> None:
    """``f [x; u] + c``, with ``f [n, n + m]``, ``c [n]`` and another ``f`` as parameters."""
    n, m = carray(sizes, 2)
    f = carray(parameters, (n, n + m + 1))
    x, u = carray(x, (n, LANES)), carray(u, (m, LANES))
    following = carray(out, (n, LANES))
    for i in range(n):
        for lane in range(LANES):
            total = f[i, n + m]
            for j in range(n):
                total += f[i, j] * x[j, lane]
            for j in range(m):
                total += f[i, n + j] * u[j, lane]
            following[i, lane] = total


def linear_derivatives(parameters: Any, sizes: Any, scratch: Any, x: Any, u: Any, out: Any) -> None:
    """The other ``f``, which may be wrong."""
    n, m = carray(sizes, 2)
    f = carray(parameters, (2, n, n + m + 1))[1]
    J = carray(out, (n, n + m, LANES))
    for i in range(n):
        for j in range(n + m):
            for lane in range(LANES):
                J[i, j, lane] = f[i, j]


@dataclass
class CompiledLinear(LinearSystem):
    """A linear system that hands its code over, whose derivatives are ``error`` times its own."""

    error: float = 1.0

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        fx, fu = super().linearize(x, u)
        return fx * self.error, fu * self.error

    def compiled(self) -> Compiled:
        right = torch.cat((self.A, self.B, self.c[:, None]), 1)
        numbers = torch.stack((right, right * self.error)).numpy().ravel()
        sizes = np.array(self.B.shape, np.int64)
        return Compiled(linear_step, linear_derivatives, numbers, sizes, 0)


def linear(n: int, m: int, error: float = 1.0, dtype: torch.dtype = F64) -> CompiledLinear:
    return CompiledLinear(**vars(random_linear(n, m, seed=3, dtype=dtype)), error=error)


def latent(
    kind: type[Transition],
    n: int,
    m: int,
    dtype: torch.dtype = F64,
    jacobian: str = "true",
    **changes: Any,
) -> LatentDynamics:
    """Latent dynamics whose weights are large, so that nothing in them is nearly linear."""
    torch.manual_seed(0)
    config = ModelConfig(**{"latent_dim": n, "transition_hidden": (11, 17), **changes})
    transition = kind(config, torch.linspace(2.0, 0.5, m)).to(dtype)
    for name, parameter in transition.named_parameters():
        torch.nn.init.normal_(parameter, std=0.4)
        if name == "A":
            torch.nn.init.eye_(parameter)
    return LatentDynamics(transition.requires_grad_(False), jacobian)


def goal(n: int, m: int, dtype: torch.dtype = F64, batch: bool = True) -> GoalCost:
    lead = (B,) if batch else ()
    return GoalCost(
        torch.randn(*lead, n, generator=generator(7), dtype=F64).to(dtype),
        torch.linspace(0.5, 2, n),
        torch.linspace(0.3, 0.2, m),
        Qf=torch.eye(n, dtype=dtype) + 0.2,
        reference=torch.full((*lead, m), 0.1, dtype=dtype),
    )


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=F64).to(dtype)


def both(
    dynamics: Dynamics, cost: GoalCost, x0: Tensor, U: Tensor, *limits: Tensor, **how: Any
) -> Plan:
    """Solve compiled and in torch, compare, and return the compiled plan.

    Candidates that have converged to the same plan differ by rounding, and so does which one wins
    and how it ended. So few iterations are compared.
    """
    assert code_of(dynamics, x0) is not None
    low, high = limits or (None, None)
    X, rtol = how.pop("X", None), 1e-5
    ilqg = ILQG(ILQGOptions(**{"max_iterations": 1, **how}))
    plan = ilqg.solve(dynamics, cost, x0, U, low, high, X)
    expected = ilqg.solve(Plain(dynamics), cost, x0, U, low, high, X)
    assert plan.status.tolist() == expected.status.tolist()
    assert plan.iterations.tolist() == expected.iterations.tolist()
    for name in ("states", "controls", "gains", "cost"):
        value, other = getattr(plan, name), getattr(expected, name)
        assert value.dtype == x0.dtype
        known = other.isfinite()
        assert torch.equal(known, value.isfinite())
        scale = max(1.0, float(other[known].abs().max())) if bool(known.any()) else 1.0
        torch.testing.assert_close(value[known], other[known], rtol=rtol, atol=rtol * scale)
    return plan


SIZES = pytest.mark.parametrize(("n", "m"), [(3, 2), (4, 1), (1, 1)])
ACTIVE = torch.tensor([0.3, 0.1], dtype=F64)


@pytest.mark.parametrize("kind", COMPILED)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (11, 17)], ids=str)
@SIZES
def test_every_transition_is_planned_with_as_in_torch(
    kind: type[Transition], activation: str, hidden: tuple[int, ...], n: int, m: int
) -> None:
    dynamics = latent(kind, n, m, activation=activation, transition_hidden=hidden)
    low, high = -2 * ACTIVE[:m], ACTIVE[:m]
    plan = both(dynamics, goal(n, m), draw(B, n, seed=1), draw(B, T, m), low, high)
    assert bool(((plan.controls == high) | (plan.controls == low)).any()), "a limit is active"
    both(dynamics, goal(n, m), draw(B, n, seed=1), 0.1 * draw(B, T, m), max_iterations=2)
    both(dynamics, goal(n, m, batch=False), draw(1, n), draw(1, 3, 9, m), low, high)


@pytest.mark.parametrize("bound", [0.0, 0.5])
@pytest.mark.parametrize("jacobian", ["true", "A"])
def test_bounds_and_both_jacobians_are_those_of_torch(bound: float, jacobian: str) -> None:
    dynamics = latent(LocallyLinear, 3, 2, jacobian=jacobian, transition_bound=bound)
    both(
        dynamics,
        goal(3, 2),
        draw(B, 3, seed=1),
        draw(B, 2, T, 2),
        -ACTIVE,
        ACTIVE,
        max_iterations=8,
    )


@pytest.mark.parametrize("kind", COMPILED)
@SIZES
def test_float32_agrees_with_torch(kind: type[Transition], n: int, m: int) -> None:
    dynamics, cost = latent(kind, n, m, F32), goal(n, m, F32)
    x, high = draw(B, n, seed=1, dtype=F32), ACTIVE[:m].float()
    U = 0.1 * draw(B, 1, T, m, dtype=F32)
    plan = both(dynamics, cost, x, U, -high, high)
    both(dynamics, cost, x + 0.1, plan.controls[:, None], -high, high,
         X=plan.states[:, None])  # fmt: skip


@SIZES
def test_a_warm_start_from_a_moved_state_is_that_of_torch(n: int, m: int) -> None:
    dynamics, cost, high = latent(LocallyLinear, n, m), goal(n, m), ACTIVE[:m]
    x = draw(B, n, seed=1)
    plan = both(dynamics, cost, x, draw(B, 3, T, m), -high, high, max_iterations=4)
    for iterations in (0, 1, 4):
        both(dynamics, cost, x + 0.2, plan.controls[:, None], -high, high,
             X=plan.states[:, None], max_iterations=iterations)  # fmt: skip
    at_once = both(dynamics, cost, x + 0.01, plan.controls[:, None], -high, high,
                   X=plan.states[:, None], tolerance=1e-2, real_time=True)  # fmt: skip
    assert at_once.iterations.tolist().count(1) > 0


@pytest.mark.parametrize("step_sizes", [1, 6, 7, 8, 20])
def test_any_number_of_step_sizes_fills_the_lanes(step_sizes: int) -> None:
    dynamics = latent(LocallyLinear, 3, 2)
    both(
        dynamics, goal(3, 2), draw(B, 3), draw(B, 2, T, 2), step_sizes=step_sizes, max_iterations=8
    )


@pytest.mark.parametrize("m", [1, 2])
def test_where_the_limits_leave_no_choice_nothing_is_fed_back(m: int) -> None:
    dynamics, high = latent(LocallyLinear, 3, m), torch.full((m,), 0.4, dtype=F64)
    low = -high
    low[0] = high[0] = 0.2
    plan = both(dynamics, goal(3, m), draw(B, 3), draw(B, 1, T, m), low, high)
    assert bool((plan.controls[..., 0] == 0.2).all())
    assert bool((plan.gains[..., 0, :] == 0).all())


def test_what_is_too_small_to_go_on_for_is_measured_from_1_where_the_cost_is_small() -> None:
    """Near a goal: the next steps lower the cost by far more than the tolerance times itself."""
    dynamics, free = latent(LocallyLinear, 3, 2), goal(3, 2)
    cost = GoalCost(1e-3 * free.goal, free.Q, free.R)
    x0, U = 1e-3 * draw(B, 3), torch.zeros(B, 1, T, 2, dtype=F64)
    plan = both(dynamics, cost, x0, U, max_iterations=30, tolerance=1e-2)
    assert bool((plan.iterations < 30).all())


def test_many_iterations_end_alike() -> None:
    dynamics, cost, x, U = linear(3, 2), goal(3, 2), draw(B, 3), draw(B, 4, T, 2)
    ilqg = ILQG(ILQGOptions(regularisation=1e3))
    plans = [ilqg.solve(d, cost, x, U, -ACTIVE, ACTIVE) for d in (dynamics, Plain(dynamics))]
    for plan in plans:
        assert plan.status.tolist() == [Status.CONVERGED] * B
    torch.testing.assert_close(plans[0].controls, plans[1].controls, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(plans[0].cost, plans[1].cost)
    both(dynamics, cost, x, U, regularisation=1e3, max_iterations=8)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda s, c: (replace(s, c=s.c * torch.nan), c), Status.NOT_FINITE),
        (lambda s, c: (replace(s, A=s.A * 1e300), c), Status.NOT_FINITE),
        (lambda s, c: (replace(s, error=torch.nan), c), Status.NOT_FINITE),
        (lambda s, c: (replace(s, error=-1.0), c), Status.NO_IMPROVEMENT),
        (lambda s, c: (s, GoalCost(c.goal, c.Q, -1e12 * c.R)), Status.NOT_POSITIVE_DEFINITE),
        (lambda s, c: (s, GoalCost(c.goal, c.Q * torch.nan, c.R)), Status.NOT_FINITE),
    ],
    ids=["step is NaN", "step is inf", "derivatives are NaN", "derivatives are wrong",
         "R is negative", "Q is NaN"],
)  # fmt: skip
@pytest.mark.parametrize("m", [1, 2])
def test_a_fault_ends_with_the_status_of_torch(
    change: Callable[..., Any], status: Status, m: int
) -> None:
    dynamics, cost = change(linear(3, m), goal(3, m))
    plan = both(dynamics, cost, draw(B, 3), 0.1 * draw(B, 3, T, m), max_iterations=200)
    assert status in plan.status.tolist()


def test_where_limits_are_not_solved_lambda_rises_as_in_torch() -> None:
    """One step whose Hessian by four controls has a condition number of 1e6."""
    m, many = 4, 300
    Q = torch.linalg.qr(draw(m, m)).Q
    B1 = torch.diag(torch.logspace(0, -3, m, dtype=F64)) @ Q
    zero = torch.zeros(m, dtype=F64)
    dynamics = CompiledLinear(torch.zeros(m, m, dtype=F64), B1, zero)
    goals = torch.linalg.solve(B1.mT, 0.02 * draw(m, many, seed=1)).mT.contiguous()
    cost = GoalCost(goals, zero + 1e-9, zero + 1e-9, Qf=torch.eye(m, dtype=F64))
    limit, x0 = zero + 0.5, torch.zeros(many, m, dtype=F64)
    H = (B1.mT @ B1 + 1e-9 * torch.eye(m, dtype=F64)).expand(many, m, m)
    qp = box_qp(H, -(goals @ B1), -limit.expand(many, m), limit.expand(many, m))
    assert 0 < (qp.status == Status.ITERATION_LIMIT).sum() < 0.5 * many
    U = torch.zeros(many, 1, m, dtype=F64)
    start = goals.square().sum(-1)
    plan = both(dynamics, cost, x0, U, -limit, limit, max_iterations=1)
    assert bool((plan.cost < start).all())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e300])
def test_one_problem_that_is_lost_leaves_its_neighbours_as_they_are(value: float) -> None:
    dynamics, cost, x = latent(LocallyLinear, 3, 2), goal(3, 2), draw(B, 3)
    U = draw(B, 1, T, 2)
    healthy = both(dynamics, cost, x, U, -ACTIVE, ACTIVE)
    x[2, 1], U[3, 0, 4, 0] = value, torch.nan
    plan = both(dynamics, cost, x, U, -ACTIVE, ACTIVE)
    assert plan.cost.isinf().tolist() == [False, False, True, False, False]
    assert bool(plan.controls.isfinite().all())
    for b in (0, 1, 4):
        for name, field in vars(plan).items():
            assert torch.equal(field[b], getattr(healthy, name)[b])


@pytest.mark.parametrize("threads", [1, 3])
def test_a_plan_is_to_the_bit_that_of_the_problem_alone(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamics, cost = latent(LocallyLinear, 3, 2, F32), goal(3, 2, F32, batch=False)
    x, U = draw(B, 3, dtype=F32), draw(B, 3, T, 2, dtype=F32)
    monkeypatch.setattr(fused, "EACH", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    together = ILQG().solve(dynamics, cost, x, U)
    for b in range(B):
        alone = ILQG().solve(dynamics, cost, x[b : b + 1], U[b : b + 1])
        for name, field in vars(alone).items():
            assert torch.equal(field[0], getattr(together, name)[b])


def test_as_many_threads_plan_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert fused.workers() == 3
    for nothing in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert 1 <= fused.workers() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_acts_as_in_torch(name: str) -> None:
    dynamics, cost, high = latent(LocallyLinear, 3, 2), goal(3, 2), ACTIVE
    options = RecedingOptions(reuse=0.0) if name == "ilqg" else None
    planners = [
        PLANNERS[name](one, -high, high, horizon=T, options=options, generator=generator())
        for one in (dynamics, Plain(dynamics))
    ]
    x = draw(B, 3)
    for _ in range(4):
        plan, expected = (planner.plan(x, cost) for planner in planners)
        torch.testing.assert_close(plan.controls, expected.controls, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(plan.states, expected.states, rtol=1e-5, atol=1e-6)
        x = dynamics.step(x, plan.controls[:, 0])


def remembered(dynamics: LatentDynamics, X: Tensor, U: Tensor) -> Memory:
    """A memory of the derivatives along ``X [B, T+1, n], U [B, T, m]``, taken a step earlier."""
    code = code_of(dynamics, X)
    assert code is not None
    memory = Memory.empty(code, len(U), U.shape[1], X.shape[2], U.shape[2])
    memory.at[:, 1:] = torch.cat((X[:, :-1], U), -1)[:, :-1]
    memory.F[:, 1:] = torch.cat(dynamics.linearize(X[:, :-1], U), -1)[:, :-1]
    return memory


@pytest.mark.parametrize(("n", "m"), [(3, 2), (3, 1)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_derivatives_that_were_taken_at_the_same_place_change_nothing(
    n: int, m: int, iterations: int
) -> None:
    dynamics, cost, x, U = latent(LocallyLinear, n, m), goal(n, m), draw(B, n), draw(B, T, m)
    X = roll_out(dynamics, x, U[:, None, None], -ACTIVE[:m], ACTIVE[:m])[0][:, 0, 0]
    U = U.clamp(-ACTIVE[:m], ACTIVE[:m])
    ilqg, memory = ILQG(ILQGOptions(max_iterations=iterations)), remembered(dynamics, X, U)
    plans = [
        ilqg.solve(dynamics, cost, x, U, -ACTIVE[:m], ACTIVE[:m], X[:, None], one)
        for one in (None, memory)
    ]
    for name, field in vars(plans[0]).items():
        torch.testing.assert_close(getattr(plans[1], name), field, rtol=1e-6, atol=1e-7)
    at = torch.from_numpy(memory.at)
    assert bool(at.isfinite().all())
    fx, fu = dynamics.linearize(at[..., :n], at[..., n:])
    torch.testing.assert_close(
        torch.from_numpy(memory.F), torch.cat((fx, fu), -1), rtol=1e-5, atol=1e-6
    )


def test_derivatives_are_used_again_where_they_are_near_and_only_there() -> None:
    dynamics, cost, x, U = latent(LocallyLinear, 3, 2), goal(3, 2), draw(B, 3), draw(B, T, 2)
    U = U.clamp(-ACTIVE, ACTIVE)
    X = roll_out(dynamics, x, U[:, None, None], -ACTIVE, ACTIVE)[0][:, 0, 0]
    ilqg = ILQG(ILQGOptions(max_iterations=1, reuse=1e-3))

    def planned(memory: Memory | None) -> Tensor:
        return ilqg.solve(dynamics, cost, x, U, -ACTIVE, ACTIVE, X[:, None], memory).controls

    expected = planned(None)
    for moved, near in ((0.9e-3, True), (1.1e-3, False)):
        wrong = remembered(dynamics, X, U)
        wrong.at += moved * (1 + abs(wrong.at))
        before, wrong.F[:] = wrong.at.copy(), 0
        assert torch.equal(planned(wrong), expected) != near
        kept = before[:, 1:] if near else torch.cat((X[:, :-1], U), -1)[:, :-1].numpy()
        np.testing.assert_array_equal(wrong.at[:, :-1], kept)


def test_a_memory_of_something_else_is_refused() -> None:
    dynamics, cost, x, U = latent(LocallyLinear, 3, 2), goal(3, 2), draw(B, 3), draw(B, T, 2)
    X = roll_out(dynamics, x, U[:, None, None], -ACTIVE, ACTIVE)[0][:, 0, 0]
    other = remembered(latent(LocallyLinear, 3, 2), X, U)
    for memory in (
        other,
        remembered(dynamics, X[:2], U[:2]),
        remembered(dynamics, X[:, 1:], U[:, 1:]),
    ):
        with pytest.raises(ValueError, match=r"this one needs \(5, 11, 5\): make one with"):
            ILQG().solve(dynamics, cost, x, U, -ACTIVE, ACTIVE, X[:, None], memory)


def test_derivatives_of_another_system_are_forgotten() -> None:
    dynamics, cost, x = latent(LocallyLinear, 3, 2), goal(3, 2), draw(B, 3)
    planner = RecedingHorizon(dynamics, -ACTIVE, ACTIVE, RecedingOptions(horizon=T, catch=False))
    found = []
    for change in (False, True):
        planner.reset()
        for _ in range(2):
            x = dynamics.step(x, planner.plan(x, cost).controls[:, 0])
        assert planner._memory is not None
        planner._memory.F[:] = torch.nan
        if change:
            dynamics.forget()
        planner.plan(x, cost)
        found.append(not planner.lost.any())
    assert found == [False, True]


@pytest.mark.parametrize("lead", [(1, 1, 1), (2, 3, 5)], ids=str)
def test_a_roll_out_is_that_of_torch(lead: tuple[int, int, int]) -> None:
    dynamics, x = latent(LocallyLinear, 3, 2), draw(lead[0], 3)
    U = draw(*lead, T, 2)
    for value, expected in zip(
        roll_out(dynamics, x, U, -ACTIVE, ACTIVE),
        roll_out(Plain(dynamics), x, U, -ACTIVE, ACTIVE),
        strict=True,
    ):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("lead", [(1, 1, 1), (2, 3, 5), (3, 1, 40)], ids=str)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_what_roll_outs_cost_is_that_of_torch(lead: tuple[int, int, int], dtype: Any) -> None:
    dynamics, x = latent(LocallyLinear, 3, 2, dtype), draw(lead[0], 3).to(dtype)
    target, Q, R, Qf = draw(lead[0], 3), draw(3, 3), draw(2, 2), draw(3, 3)
    reference = draw(lead[0], 2).to(dtype)
    cost = GoalCost(target.to(dtype), Q + Q.mT, R + R.mT, Qf + Qf.mT, reference)
    U = draw(*lead, T, 2).to(dtype)
    U[-1, -1, -1, 4, 1], limit = torch.nan, ACTIVE.to(dtype)
    X, expected = roll_out(Plain(dynamics), x, U, -limit, limit)
    for keep in (False, True):
        found = price(dynamics, cost, x, U, -limit, limit, keep)
        assert torch.equal(found.U.nan_to_num(), expected.nan_to_num())
        torch.testing.assert_close(found.J, finite_cost(cost, X, expected), rtol=1e-5, atol=1e-5)
        assert found.J.isinf().flatten().tolist() == [False] * (found.J.numel() - 1) + [True]
        if keep:
            torch.testing.assert_close(found.X, X, rtol=1e-5, atol=1e-5, equal_nan=True)
        else:
            assert found.X.numel() == 0


class Reweighted(GoalCost):
    """Another cost, which has no compiled version."""

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        return 2 * super().total(X, U)


def test_another_cost_is_planned_with_in_torch() -> None:
    dynamics, cost = linear(3, 2), goal(3, 2)
    other = Reweighted(cost.goal, cost.Q, cost.R, cost.Qf, cost.reference)
    x, U = draw(B, 3), draw(B, T, 2)
    plans = [ILQG().solve(d, other, x, U) for d in (dynamics, Plain(dynamics))]
    torch.testing.assert_close(plans[0].controls, plans[1].controls)


class Halved(LocallyLinear):
    """A transition that steps in another way than its class."""

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        return 0.5 * super().step(z, u)


def test_what_steps_in_another_way_or_another_dtype_is_not_compiled() -> None:
    assert code_of(latent(Halved, 3, 2), draw(B, 3)) is None
    assert code_of(latent(LocallyLinear, 3, 2), draw(B, 3, dtype=F32)) is None
    assert code_of(linear(3, 2), draw(B, 3)) is not None


def test_a_lost_problem_begins_again() -> None:
    dynamics, cost, high = latent(LocallyLinear, 3, 2), goal(3, 2), ACTIVE
    options = RecedingOptions(horizon=T, first_iterations=4, restarts=3)
    control = RecedingHorizon(dynamics, -high, high, options, generator())
    first = control.plan(draw(B, 3), cost)
    first.states[1] = torch.nan
    second = control.plan(draw(B, 3), cost)
    assert control.lost.tolist() == [0, 1, 0, 0, 0]
    assert bool(second.states.isfinite().all())
    assert second.iterations[1] > second.iterations[0] == 1


def test_without_a_folder_for_the_cache_it_is_compiled_all_the_same() -> None:
    def compiler(*, cache: bool = False) -> Callable[[object], str]:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda _: "compiled"

    assert cached(compiler)(lambda: None) == "compiled"


def test_compiled_again_where_its_file_changes_or_a_part_in_another(tmp_path: Path) -> None:
    """A function without a file, as in a notebook, is compiled too."""
    part = ModuleType("part")
    part.__file__ = str(tmp_path / "part.py")

    def name(source: str, own: str) -> str:
        """Of the function in the cache."""
        (tmp_path / "part.py").write_text(source)
        (tmp_path / "own.py").write_text(own)
        exec(compile(own, tmp_path / "own.py", "exec"), scope := dict[str, Any]())
        compiled = cached(lambda cache: lambda function: function, parts=[part])
        return str(compiled(scope["f"]).__qualname__)

    f = "def f(): pass"
    assert name("x = 1", f) == name("x = 1", f) != name("x = 2", f) != name("x = 2", f + "\n")
    exec(compile(f, "<a cell>", "exec"), scope := dict[str, Any]())
    twin = cached(lambda cache: lambda function: function)(scope["f"])
    assert twin.__code__ is scope["f"].__code__
    assert twin.__qualname__ != scope["f"].__qualname__ == "f", "it can still be pickled"


@pytest.mark.parametrize(
    "module",
    [
        kernels,
        kernels_system,
        belief_kernels,
        camera_kernels,
        carry_kernels,
        pixel_kernels,
        read_kernels,
    ],
)
def test_no_compiled_function_has_a_default(module: ModuleType) -> None:
    """Of two such functions, numba calls the second one slowly, by way of Python."""
    found = [part for part in vars(module).values() if isinstance(part, Dispatcher)]
    assert found
    assert not any(part.py_func.__defaults__ for part in found)
