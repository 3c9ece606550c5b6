"""Numerical faults: the horizon recedes all the same, within its limits, and says what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from planner_systems import LinearSystem, random_linear
from torch import Tensor

from planners import GoalCost, Plan, QuadraticCost, RecedingHorizon, RecedingOptions, Status
from planners.rollouts import finite_cost
from planners.warm import shift

F64 = torch.float64
LOW, HIGH = torch.tensor([-0.2, -0.5], dtype=F64), torch.tensor([0.3, 0.1], dtype=F64)
B, T = 4, 7
GOAL = GoalCost(torch.ones(3, dtype=F64), torch.ones(3), torch.full((2,), 0.1))
SYSTEM = random_linear(3, 2, seed=3)


def starts() -> Tensor:
    g = torch.Generator().manual_seed(1)
    return 0.3 * torch.randn(B, 3, generator=g, dtype=F64)


@dataclass
class Faulty(LinearSystem):
    """A linear system that can be spoilt, and that counts the problems it is linearised for."""

    fault: str = ""
    batches: list[int] = field(default_factory=list)

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        spoilt = {"step is NaN": torch.nan, "step is inf": torch.inf}.get(self.fault, 0.0)
        return super().step(x, u) + spoilt

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        self.batches.append(len(x))
        fx, fu = super().linearize(x, u)
        if self.fault == "fx is NaN":
            fx = fx * torch.nan
        if self.fault == "fu is inf":
            fu = fu / 0
        if self.fault == "Jacobians are zero":
            fx, fu = 0 * fx, 0 * fu
        if self.fault == "Jacobians are huge":
            fx, fu = 1e200 * fx, 1e200 * fu
        if self.fault == "Jacobians are wrong":
            fx, fu = fx, -fu
        return fx, fu


class FaultyCost(GoalCost):
    """A cost that can be spoilt."""

    fault = ""

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        spoilt = {"cost is inf": torch.inf, "cost is NaN": torch.nan}.get(self.fault, 0.0)
        return super().total(X, U) + spoilt

    def quadratize(self, X: Tensor, U: Tensor) -> QuadraticCost:
        exact = super().quadratize(X, U)
        hessians = {
            "cuu is NaN": torch.nan * exact.cuu,
            "cuu is negative": exact.cuu - 1e12 * torch.eye(2, dtype=F64),
            "cuu is singular": 0 * exact.cuu,
        }
        return exact._replace(cuu=hessians.get(self.fault, exact.cuu))

    def select(self, rows: Tensor) -> FaultyCost:
        return self


DYNAMICS = {
    "step is NaN": Status.NOT_FINITE,
    "step is inf": Status.NOT_FINITE,
    "fx is NaN": Status.NOT_FINITE,
    "fu is inf": Status.NOT_FINITE,
    "Jacobians are zero": None,
    "Jacobians are huge": None,
    "Jacobians are wrong": None,
}
COSTS = {
    "cost is inf": Status.NOT_FINITE,
    "cost is NaN": Status.NOT_FINITE,
    "cuu is NaN": Status.NOT_FINITE,
    "cuu is negative": Status.NOT_POSITIVE_DEFINITE,
    "cuu is singular": None,
}
FAULTS = DYNAMICS | COSTS
"""Each fault, and the status that tells of it; None where planning may go on."""


def controller() -> tuple[RecedingHorizon, Faulty, FaultyCost]:
    system = Faulty(SYSTEM.A, SYSTEM.B, SYSTEM.c)
    options = RecedingOptions(horizon=T, restarts=3, knots=3, first_iterations=12)
    generator = torch.Generator().manual_seed(0)
    cost = FaultyCost(GOAL.goal, GOAL.Q, GOAL.R)
    return RecedingHorizon(system, LOW, HIGH, options, generator=generator), system, cost


def assert_sound(plan: Plan) -> None:
    assert plan.states.shape == (B, T + 1, 3)
    for value in (plan.states, plan.controls, plan.gains):
        assert bool(value.isfinite().all())
    assert bool(((plan.controls >= LOW) & (plan.controls <= HIGH)).all())
    assert not bool(plan.cost.isnan().any())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [0, 3])
def test_every_plan_is_sound_and_its_status_tells_of_the_fault(fault: str, first: int) -> None:
    """From the first call on or from a later one, for five calls; soon after all is well again."""
    control, system, cost = controller()
    x = starts()
    for call in range(first + 10):
        broken = first <= call < first + 5
        system.fault = cost.fault = fault if broken else ""
        plan = control.plan(x, cost)
        assert_sound(plan)
        if broken and FAULTS[fault] is not None:
            assert plan.status.tolist() == [FAULTS[fault]] * B
        x = SYSTEM.step(x, plan.controls[:, 0])
    assert bool(plan.cost.isfinite().all())
    assert bool((plan.status < Status.NO_IMPROVEMENT).all())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_a_state_that_is_not_finite_leaves_the_plan_before_and_its_neighbours(value: float) -> None:
    control, _, cost = controller()
    healthy, *_ = controller()
    x = starts()
    for _ in range(3):
        before = control.plan(x, cost)
        healthy.plan(x, cost)
        x = SYSTEM.step(x, before.controls[:, 0])
    spoilt = x.clone()
    spoilt[2, 1] = value
    plan, undisturbed = control.plan(spoilt, cost), healthy.plan(x, cost)
    assert_sound(plan)
    U, X = shift(SYSTEM, before)
    assert plan.status[2] == Status.NOT_FINITE
    torch.testing.assert_close(plan.controls[2], U[2], rtol=0, atol=0)
    torch.testing.assert_close(plan.states[2], X[2], rtol=0, atol=0)
    others = torch.tensor([0, 1, 3])
    assert torch.equal(plan.controls[others], undisturbed.controls[others])
    x = SYSTEM.step(x, plan.controls[:, 0])
    after = control.plan(x, cost)
    assert bool(after.cost.isfinite().all())
    assert after.iterations.tolist() == [1] * B, "it goes on from the plan that was kept"


def test_what_was_never_known_rests_and_starts_from_scratch_when_it_is() -> None:
    control, system, cost = controller()
    x = starts()
    unknown = x.clone()
    unknown[1] = torch.nan
    for _ in range(6):
        plan = control.plan(unknown, cost)
        assert_sound(plan)
        assert plan.status[1] == Status.NOT_FINITE
        assert plan.controls[1].eq(0).all()
        assert plan.states[1].eq(0).all()
    system.batches.clear()
    plan = control.plan(x, cost)
    assert bool(plan.cost.isfinite().all())
    assert set(system.batches) == {B, 1}, "the others are not started again"


def test_where_rest_is_not_allowed_the_nearest_control_is_taken() -> None:
    low = torch.tensor([0.1, -0.5], dtype=F64)
    control = RecedingHorizon(SYSTEM, low, HIGH, RecedingOptions(horizon=T))
    plan = control.plan(starts() * torch.nan, GOAL)
    torch.testing.assert_close(plan.controls[2, 3], torch.tensor([0.1, 0.0], dtype=F64))


def test_a_problem_lost_for_ever_starts_from_scratch_ever_more_rarely() -> None:
    """Its own goal is spoilt: its neighbours do not pay, and it soon costs next to nothing."""
    control, system, _ = controller()
    goals = GOAL.goal.expand(B, 3).clone()
    control.plan(starts(), GoalCost(goals, GOAL.Q, GOAL.R))
    goals[3] = torch.nan
    started = []
    for _ in range(40):
        system.batches.clear()
        plan = control.plan(starts(), GoalCost(goals, GOAL.Q, GOAL.R))
        assert_sound(plan)
        started.append(1 in system.batches)
        assert plan.status[3] == Status.NOT_FINITE
        assert bool((plan.status[:3] < Status.NOT_FINITE).all())
    assert [i + 1 for i, again in enumerate(started) if again] == [1, 2, 4, 8, 16, 32]
    assert control.lost.tolist() == [0, 0, 0, 40]
    control.reset()
    assert control.lost.tolist() == []


def test_a_plan_kept_meanwhile_moves_on_and_repeats_its_last_control() -> None:
    control, _, cost = controller()
    x = starts()
    good = control.plan(x, cost)
    cost.fault = "cost is inf"
    for passed in range(1, T + 3):
        plan = control.plan(x, cost)
        kept = max(0, T - passed)
        torch.testing.assert_close(plan.controls[:, :kept], good.controls[:, passed:])
        last = good.controls[:, -1:].expand(B, T - kept, 2)
        torch.testing.assert_close(plan.controls[:, kept:], last)
        assert bool(plan.cost.isinf().all())


def test_dynamics_that_fail_once_cost_one_plan() -> None:
    control, system, cost = controller()
    x = starts()
    control.plan(x, cost)
    system.fault = "step is NaN"
    control.plan(x, cost)
    system.fault = ""
    for _ in range(T + 2):
        assert bool(control.plan(x, cost).cost.isfinite().all())
    assert control.lost.tolist() == [1] * B


def test_a_roll_out_that_is_not_finite_costs_infinitely_much_whatever_its_cost_says() -> None:
    class OfControls(GoalCost):
        def total(self, X: Tensor, U: Tensor) -> Tensor:
            return U.sum((-2, -1))

    X, U = torch.zeros(4, T + 1, 3), torch.zeros(4, T, 2)
    X[1, 3, 2], U[2, 4, 1], X[3, 0, 0] = torch.nan, torch.inf, -torch.inf
    found = finite_cost(OfControls(GOAL.goal, GOAL.Q, GOAL.R), X, U)
    assert found.tolist() == [0.0, torch.inf, torch.inf, torch.inf]


def test_a_cost_of_some_problems_is_theirs() -> None:
    g = torch.Generator().manual_seed(5)
    goal, reference = torch.randn(B, 3, generator=g), torch.randn(B, 2, generator=g)
    X, U = torch.randn(B, 5, T + 1, 3, generator=g), torch.randn(B, 5, T, 2, generator=g)
    rows = torch.tensor([3, 1])
    for common in (True, False):
        own = reference[0] if common else reference
        cost = GoalCost(goal[0] if common else goal, torch.ones(3), torch.ones(2), None, own)
        chosen = cost.select(rows)
        torch.testing.assert_close(chosen.total(X[rows], U[rows]), cost.total(X, U)[rows])
        expected = cost.quadratize(X, U).cx[rows]
        torch.testing.assert_close(chosen.quadratize(X[rows], U[rows]).cx, expected)
