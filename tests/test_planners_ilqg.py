"""The optimiser: limits, failures that are statuses, candidates, and the receding horizon."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from planner_systems import Cliff, LinearSystem, Pendulum, hanging, random_linear
from torch import Tensor

from planners import (
    ILQG,
    Cost,
    Dynamics,
    FunctionDynamics,
    GoalCost,
    ILQGOptions,
    Plan,
    QuadraticCost,
    RecedingHorizon,
    RecedingOptions,
    Status,
)
from planners.receding import AWAY, NOWHERE, smooth_controls
from planners.rollouts import roll_out
from planners.warm import shift

F64 = torch.float64


def swing_up_cost(dtype: torch.dtype = F64) -> GoalCost:
    return GoalCost(
        torch.tensor([1, 0, 0], dtype=dtype),
        torch.tensor([1, 1, 0.1], dtype=dtype),
        torch.tensor([0.01], dtype=dtype),
    )


def controller(dtype: torch.dtype = F64, **options: Any) -> RecedingHorizon:
    high = torch.tensor([2], dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    chosen = RecedingOptions(**{"horizon": 40, "restarts": 4, "first_iterations": 30, **options})
    return RecedingHorizon(Pendulum(), -high, high, chosen, generator=generator)


def close_the_loop(control: RecedingHorizon, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return states ``[steps, B, 3]`` and actions ``[steps, B, 1]``."""
    states, actions = [], []
    for _ in range(steps):
        actions.append(control.plan(x, swing_up_cost(x.dtype)).controls[:, 0])
        x = Pendulum().step(x, actions[-1])
        states.append(x)
    return torch.stack(states), torch.stack(actions)


def test_pendulum_swings_up_and_stays_and_a_batch_is_its_problems_one_by_one() -> None:
    x0 = hanging(8)
    states, actions = close_the_loop(controller(), x0, 110)
    assert bool((states[-20:, :, 0] > 0.99).all())
    assert bool((actions.abs() <= 2).all())
    assert bool((actions.abs() == 2).any())
    for b in (0, 5):
        _, alone = close_the_loop(controller(), x0[b : b + 1], 60)
        torch.testing.assert_close(alone[:, 0], actions[:60, b], atol=1e-6, rtol=0)


def test_the_best_scout_is_hardly_worse_than_all_at_length() -> None:
    x0 = hanging(8)
    scouted = controller().plan(x0, swing_up_cost())
    at_length = controller(scout_iterations=30).plan(x0, swing_up_cost())
    assert bool((scouted.cost <= 1.05 * at_length.cost).all())
    assert bool((scouted.iterations <= 30).all())
    assert bool((scouted.iterations > 10).any())


def test_float32_swings_up() -> None:
    states, actions = close_the_loop(controller(torch.float32), hanging(2, torch.float32), 100)
    assert actions.dtype == torch.float32
    assert bool((states[-10:, :, 0] > 0.99).all())


def test_limits_are_never_violated_and_cost_never_rises() -> None:
    system = random_linear(3, 2, seed=3)
    cost = GoalCost(torch.ones(3, dtype=F64), torch.ones(3), torch.full((2,), 0.1))
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(5, 3, generator=g, dtype=F64)
    low, high = torch.tensor([-0.2, -0.5], dtype=F64), torch.tensor([0.3, 0.1], dtype=F64)
    U = 3 * torch.randn(5, 4, 7, 2, generator=g, dtype=F64)
    Xs, Us = roll_out(system, x0, U[:, :, None], low, high)
    first = cost.total(Xs, Us)[:, :, 0].min(1).values
    last = first
    for iterations in (1, 2, 5, 50):
        plan = ILQG(ILQGOptions(max_iterations=iterations)).solve(system, cost, x0, U, low, high)
        assert bool(((plan.controls >= low) & (plan.controls <= high)).all())
        assert bool((plan.cost <= last + 1e-9).all())
        torch.testing.assert_close(plan.cost, cost.total(plan.states, plan.controls))
        last = plan.cost
    assert bool((last < 0.99 * first).all())
    rolled, _ = roll_out(system, x0, plan.controls[:, None, None], low, high)
    torch.testing.assert_close(plan.states, rolled[:, 0, 0])


def test_best_of_the_candidates_is_returned() -> None:
    x0, cost, high = hanging(3), swing_up_cost(), torch.tensor([2.0])
    U = smooth_controls(RecedingOptions(horizon=30, restarts=5, tries=1), -high, high, seeded(2))
    ilqg = ILQG(ILQGOptions(max_iterations=15))
    together = ilqg.solve(Pendulum(), cost, x0, U.expand(3, -1, -1, -1), -high, high)
    alone = [ilqg.solve(Pendulum(), cost, x0, u.expand(3, -1, -1), -high, high) for u in U]
    costs = torch.stack([plan.cost for plan in alone], 1)
    assert bool((costs.max(1).values > 1.01 * costs.min(1).values).any())
    torch.testing.assert_close(together.cost, costs.min(1).values, rtol=1e-6, atol=0)
    for b, winner in enumerate(costs.argmin(1).tolist()):
        torch.testing.assert_close(together.gains[b], alone[winner].gains[b], rtol=1e-4, atol=1e-4)
        assert together.iterations[b] == alone[winner].iterations[b]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_items_that_are_done_do_not_change() -> None:
    """An optimal problem beside one that needs many iterations stays to the bit as it was."""
    x0, cost, high = hanging(2), swing_up_cost(), torch.tensor([2.0])
    U = torch.zeros(2, 30, 1, dtype=F64)
    U[0] = ILQG().solve(Pendulum(), cost, x0[:1], U[:1] + 0.3, -high, high).controls
    plans = [
        ILQG(ILQGOptions(max_iterations=i)).solve(Pendulum(), cost, x0, U, -high, high)
        for i in (3, 12)
    ]
    assert plans[1].status[0] == Status.CONVERGED
    assert plans[0].iterations[0] == plans[1].iterations[0] < 3
    assert plans[1].iterations[1] > 3
    for name in ("states", "controls", "gains", "cost", "status"):
        assert torch.equal(getattr(plans[0], name)[0], getattr(plans[1], name)[0])
    assert not torch.equal(plans[0].controls[1], plans[1].controls[1])


def test_a_region_without_dynamics_is_avoided() -> None:
    """The goal lies beyond the cliff: the full step falls off it, a smaller one must win."""
    cost = GoalCost(torch.tensor([4.0], dtype=F64), torch.tensor([1.0]), torch.tensor([0.1]))
    x0 = torch.tensor([[0.0], [0.5], [-9.0]], dtype=F64)
    U = torch.zeros(3, 6, 1)
    plan = ILQG(ILQGOptions(max_iterations=30)).solve(Cliff(edge=1.0), cost, x0, U)
    assert bool(plan.states.isfinite().all())
    assert bool(plan.controls.isfinite().all())
    assert bool(plan.gains.isfinite().all())
    assert bool((plan.states <= 1).all())
    assert bool((plan.states[:, -1] > 0.5).all())
    assert Status.NOT_FINITE not in plan.status.tolist()


def test_nothing_finite_is_a_status_and_its_neighbour_is_not_touched() -> None:
    cost = GoalCost(torch.zeros(1, dtype=F64), torch.ones(1), torch.ones(1))
    x0, high = torch.tensor([[5.0], [0.5]], dtype=F64), torch.tensor([0.4])
    U = torch.full((2, 6, 1), torch.nan, dtype=F64)
    plan = ILQG().solve(Cliff(edge=1.0), cost, x0, U, -high, high)
    assert plan.status.tolist() == [Status.NOT_FINITE, Status.CONVERGED]
    assert plan.cost[0] == math.inf
    assert bool((plan.controls.abs() <= 0.4).all())
    assert bool(plan.gains.isfinite().all())
    assert "not finite" in plan.sentences()[0]


def test_a_warm_start_that_cannot_be_rolled_out_is_a_status() -> None:
    """Problem 0 was moved beyond the cliff, problem 1 was not."""
    cost = GoalCost(torch.zeros(1, dtype=F64), torch.ones(1), torch.ones(1))
    start = torch.full((2, 1), 0.5, dtype=F64)
    old = ILQG().solve(Cliff(edge=1.0), cost, start, torch.zeros(2, 6, 1))
    moved = start + torch.tensor([[9.0], [0.1]])
    plan = ILQG().solve(Cliff(edge=1.0), cost, moved, old.controls, X=old.states[:, None])
    assert plan.status.tolist() == [Status.NOT_FINITE, Status.CONVERGED]
    assert plan.cost.isfinite().tolist() == [False, True]
    assert bool(plan.controls.isfinite().all())


def test_an_optimal_warm_start_that_was_moved_goes_on_after_one_iteration() -> None:
    """Around the old plan there is nothing to gain; around the new trajectory there is."""
    x0, cost, high = hanging(2), swing_up_cost(), torch.tensor([2.0])
    U = torch.full((2, 30, 1), 0.3, dtype=F64)
    old = ILQG().solve(Pendulum(), cost, x0, U, -high, high)
    assert old.status.tolist() == [Status.CONVERGED] * 2
    moved = x0 + torch.tensor([0.0, 0.0, 1.0])
    plans = [
        ILQG(ILQGOptions(max_iterations=i)).solve(
            Pendulum(), cost, moved, old.controls, -high, high, old.states[:, None]
        )
        for i in (1, 10)
    ]
    assert bool((plans[1].iterations > 1).all())
    assert bool((plans[1].cost < plans[0].cost).all())
    at_once = ILQG(ILQGOptions(max_iterations=10, tolerance=0.1, real_time=True)).solve(
        Pendulum(), cost, x0 + 1e-6, old.controls, -high, high, old.states[:, None]
    )
    assert at_once.iterations.tolist() == [1, 1]
    assert at_once.status.tolist() == [Status.CONVERGED] * 2


def test_from_an_infinite_cost_nothing_has_converged() -> None:
    """Where the warm start explodes and a step does not, the step is no end, however little
    the model around the old states expected."""
    explosive = FunctionDynamics(lambda x, u: 3 * x**3 + u, 1, 1)
    cost = GoalCost(*torch.ones(3, 1, dtype=F64) * torch.tensor([[0.0], [1.0], [1.0]]))
    generator = torch.Generator().manual_seed(0)
    x0, U, X = (
        torch.randn(300, *shape, generator=generator, dtype=F64)
        for shape in ((1,), (1, 8, 1), (1, 9, 1))
    )
    plan = ILQG(ILQGOptions(max_iterations=1, real_time=True)).solve(explosive, cost, x0, U, X=X)
    assert (plan.status == Status.ITERATION_LIMIT).sum() > 0


def test_a_candidate_that_is_not_finite_never_wins() -> None:
    cost = GoalCost(torch.zeros(1, dtype=F64), torch.ones(1), torch.ones(1))
    U = torch.zeros(2, 3, 6, 1, dtype=F64)
    U[0, 0], U[1, 1] = 9, 9
    plan = ILQG().solve(Cliff(edge=1.0), cost, torch.full((2, 1), 0.5, dtype=F64), U)
    assert plan.status.tolist() == [Status.CONVERGED] * 2


class NoJacobian(Cliff):
    """Its steps are finite and its derivatives are not."""

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., None] * torch.nan, torch.ones_like(u)[..., None]


def test_derivatives_that_are_not_finite_are_a_status_with_a_finite_plan() -> None:
    cost = GoalCost(torch.zeros(1, dtype=F64), torch.ones(1), torch.ones(1))
    x0 = torch.full((2, 1), 0.5, dtype=F64)
    plan = ILQG().solve(NoJacobian(edge=1.0), cost, x0, torch.zeros(2, 6, 1))
    assert plan.status.tolist() == [Status.NOT_FINITE] * 2
    for value in (plan.states, plan.controls, plan.gains, plan.cost):
        assert bool(value.isfinite().all())


class DoubleWell:
    """``(u² - 1)² + u²/10 + x²``, summed: concave in the control at zero."""

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        well = (U**2 - 1) ** 2 + 0.1 * U**2
        return well.sum((-2, -1)) + (X**2).sum((-2, -1))

    def select(self, rows: Tensor) -> DoubleWell:
        return self

    def quadratize(self, X: Tensor, U: Tensor) -> QuadraticCost:
        n, m = X.shape[-1], U.shape[-1]
        return QuadraticCost(
            cx=2 * X,
            cu=4 * U * (U**2 - 1) + 0.2 * U,
            cxx=(2 * torch.eye(n, dtype=X.dtype)).expand(*X.shape, n),
            cuu=torch.diag_embed(12 * U**2 - 4 + 0.2),
            cux=X.new_zeros(*U.shape[:-1], m, n),
        )


@pytest.mark.parametrize("m", [1, 2])
def test_an_indefinite_cost_is_met_by_regularisation(m: int) -> None:
    system = LinearSystem(*(0.1 * torch.ones(s, dtype=F64) for s in ((3, 3), (3, m), (3,))))
    x0, U = torch.zeros(5, 3, dtype=F64), torch.full((5, 7, m), 0.05)
    plan = ILQG(ILQGOptions(max_iterations=200)).solve(system, DoubleWell(), x0, U)
    assert plan.status.tolist() == [Status.CONVERGED] * 5
    torch.testing.assert_close(
        plan.controls.abs(), torch.ones(5, 7, m, dtype=F64), atol=0.2, rtol=0
    )


def test_exhausted_regularisation_is_a_status() -> None:
    system = LinearSystem(*(0.1 * torch.ones(s, dtype=F64) for s in ((3, 3), (3, 2), (3,))))
    options = ILQGOptions(regularisation_max=1e-3)
    x0, U = torch.zeros(5, 3, dtype=F64), torch.full((5, 7, 2), 0.05, dtype=F64)
    plan = ILQG(options).solve(system, DoubleWell(), x0, U)
    assert plan.status.tolist() == [Status.NOT_POSITIVE_DEFINITE] * 5
    assert torch.equal(plan.controls, U)
    assert bool(plan.states.isfinite().all())


class Backwards(LinearSystem):
    """Its Jacobians have the wrong sign: no step along them can help."""

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        fx, fu = super().linearize(x, u)
        return fx, -fu


def test_wrong_jacobians_are_no_improvement_and_the_plan_is_kept() -> None:
    system = random_linear(3, 2)
    wrong = Backwards(system.A, system.B, system.c)
    cost = GoalCost(torch.ones(3, dtype=F64), torch.ones(3), torch.full((2,), 1e-6))
    x0, U = torch.zeros(5, 3, dtype=F64), torch.zeros(5, 7, 2, dtype=F64)
    plan = ILQG().solve(wrong, cost, x0, U)
    assert plan.status.tolist() == [Status.NO_IMPROVEMENT] * 5
    rolled, _ = roll_out(system, x0, U[:, None, None], *torch.tensor([[-9.0], [9.0]], dtype=F64))
    assert bool((plan.cost <= cost.total(rolled[:, 0, 0], U)).all())


def test_feedback_holds_what_the_open_loop_loses() -> None:
    system = random_linear(3, 2)
    cost = GoalCost(torch.zeros(3, dtype=F64), torch.ones(3), torch.full((2,), 0.1))
    x0 = torch.ones(5, 3, dtype=F64)
    plan = ILQG().solve(system, cost, x0, torch.zeros(5, 20, 2))
    no = torch.full((2,), torch.inf, dtype=F64)
    U, X, moved = plan.controls[:, None, None], plan.states[:, None], x0 + 0.1
    opened, _ = roll_out(system, moved, U, -no, no)
    closed, _ = roll_out(system, moved, U, -no, no, X, plan.gains[:, None])
    error = [(Y[:, 0, 0, -1] - plan.states[:, -1]).norm(dim=-1) for Y in (opened, closed)]
    assert bool((error[1] < 0.01).all())
    assert bool((error[0] > 10 * error[1]).all())


def test_results_are_deterministic_and_free_of_global_randomness() -> None:
    before = torch.get_rng_state()
    first = controller()
    second = controller()
    x = hanging(2)
    for _ in range(3):
        a, b = first.plan(x, swing_up_cost()), second.plan(x, swing_up_cost())
        assert torch.equal(a.controls, b.controls)
    first.reset()
    second = controller()
    assert torch.equal(
        first.plan(x, swing_up_cost()).controls, second.plan(x, swing_up_cost()).controls
    )
    assert torch.equal(before, torch.get_rng_state())


def test_smooth_controls_begin_with_none_and_stay_within_limits() -> None:
    options = RecedingOptions(horizon=30, restarts=3, tries=2, noise=(1.0, 3.0))
    low = torch.tensor([-1.0, 0.5], dtype=F64)
    high = torch.tensor([3.0, 0.7], dtype=F64)
    U = smooth_controls(options, low, high, seeded(0))
    assert U.shape == (6, 30, 2)
    torch.testing.assert_close(U[0, 4], torch.tensor([0.0, 0.5], dtype=F64))
    assert torch.equal(U, U.clamp(low, high))
    assert bool((U[1:].std(1) > 0).all())
    free = smooth_controls(options, low - torch.inf, high + torch.inf, seeded(0))
    assert bool(free.isfinite().all())


def test_a_start_from_scratch_has_no_more_iterations_than_it_may_have() -> None:
    """Those that sort the starting points out are among them."""
    plan = controller(first_iterations=14, scout_iterations=10).plan(hanging(3), swing_up_cost())
    assert plan.iterations.max() == 14


def test_the_cheapest_of_all_tries_are_the_starting_points() -> None:
    """Without iterations the plan is the cheapest roll-out, whatever is planned beside it."""
    x0, high = hanging(3), torch.tensor([2.0])
    cost = GoalCost(
        torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=F64),
        torch.ones(3),
        torch.tensor([1e-3]),
    )
    options = RecedingOptions(horizon=20, restarts=2, tries=5, first_iterations=0)
    U = smooth_controls(options, -high, high, seeded(0))
    X, _ = roll_out(Pendulum(), x0, U[None, None].expand(3, 1, -1, -1, -1), -high, high)
    costs = cost.total(X, U.expand(3, 1, -1, -1, -1))[:, 0]
    assert len(set(costs.argmin(1).tolist())) > 1, "problems differ in what is cheapest"
    plan = RecedingHorizon(Pendulum(), -high, high, options, seeded(0)).plan(x0, cost)
    torch.testing.assert_close(plan.cost, costs.amin(1))
    torch.testing.assert_close(plan.controls, U[costs.argmin(1)])


def test_a_first_plan_that_leads_nowhere_is_tried_again_with_wilder_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gentle tries leave a pendulum hanging; one that stands beside it has no second start."""
    x0, cost = hanging(2), swing_up_cost()
    x0[1] = cost.goal

    def ends(**options: Any) -> Tensor:
        chosen = {"horizon": 60, "noise": (0.01, 5.0), "first_iterations": 10, **options}
        plan = controller(**chosen).plan(x0, cost)
        return cost.distances(plan.states)[:, -1]

    far = float(cost.distances(x0[:, None])[0, 0])
    assert ends(more_tries=1)[0] > NOWHERE * far, "the test needs a plan that leads nowhere"
    begun, start = list[int](), RecedingHorizon._start

    def counted(self: RecedingHorizon, tries: Tensor, x: Tensor, asked: Cost) -> Plan:
        begun.append(len(x))
        return start(self, tries, x, asked)

    monkeypatch.setattr(RecedingHorizon, "_start", counted)
    found = ends(more_tries=32)
    assert begun == [2, 1]
    assert found[0] < 0.1 * far
    assert found[1] < 1e-9


def test_shift_moves_by_one_and_repeats_the_last_control() -> None:
    x0, high = hanging(3), torch.tensor([2.0])
    plan = ILQG().solve(Pendulum(), swing_up_cost(), x0, torch.zeros(3, 20, 1), -high, high)
    U, X = shift(Pendulum(), plan)
    assert torch.equal(U[:, :-1], plan.controls[:, 1:])
    assert torch.equal(U[:, -1], plan.controls[:, -1])
    assert torch.equal(X[:, :-1], plan.states[:, 1:])
    torch.testing.assert_close(X[:, 1:], Pendulum().step(X[:, :-1], U))


def test_a_warm_start_that_cannot_be_improved_is_kept() -> None:
    """Wrong Jacobians forbid improvement: the plan must be the shifted one, not a new one."""
    system = random_linear(3, 2)
    cost = GoalCost(torch.ones(3, dtype=F64), torch.ones(3), torch.full((2,), 1e-3))
    high = torch.ones(2, dtype=F64)
    control = RecedingHorizon(system, -high, high, RecedingOptions(horizon=7), generator=seeded(0))
    first = control.plan(torch.zeros(5, 3, dtype=F64), cost)
    control.dynamics = Backwards(system.A, system.B, system.c)
    second = control.plan(first.states[:, 1], cost)
    stuck = second.status == Status.NO_IMPROVEMENT
    assert bool(stuck.any())
    expected, _ = shift(system, first)
    torch.testing.assert_close(second.controls[stuck], expected[stuck])
    assert control.lost.tolist() == [0] * 5


def test_what_is_moved_to_its_goal_is_caught_though_another_swing_was_planned() -> None:
    x0, cost = hanging(1), swing_up_cost()
    control = controller()
    swing = control.plan(x0, cost)
    moved = torch.tensor([[0.1]], dtype=F64)
    x = torch.cat((moved.cos(), moved.sin(), 0 * moved), 1)
    U, X = shift(Pendulum(), swing)
    once = ILQG(ILQGOptions(max_iterations=1))
    high = torch.tensor([2], dtype=F64)
    swung = once.solve(Pendulum(), cost, x, U[:, None], -high, high, X[:, None])
    caught = control.plan(x, cost)
    assert caught.cost < 0.1 * swung.cost
    torch.testing.assert_close(caught.states[:, -1], cost.goal[None], atol=0.02, rtol=0)
    assert bool((cost.distances(swung.states).max() > AWAY * cost.distances(x)).all())


def test_a_plan_that_leads_to_its_goal_is_not_given_a_second_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three problems, the one alone is tried again that was moved to where it leads away."""
    control, cost = controller(), swing_up_cost()
    x = control.plan(hanging(3), cost).states[:, 1].clone()
    x[1] = torch.tensor([math.cos(0.1), math.sin(0.1), 0], dtype=F64)
    solved = list[int]()
    optimise = ILQG.optimise

    def counted(self: ILQG, dynamics: Dynamics, cost: Cost, x0: Tensor, *rest: Any) -> Plan:
        solved.append(len(x0))
        return optimise(self, dynamics, cost, x0, *rest)

    monkeypatch.setattr(ILQG, "optimise", counted)
    plan = control.plan(x, cost)
    assert solved == [3, 1]
    torch.testing.assert_close(plan.states[1, -1], cost.goal, atol=0.02, rtol=0)
    torch.testing.assert_close(plan.states[:, 0], x)


def test_a_warm_start_that_leads_nowhere_finite_starts_from_staying_at_the_goal() -> None:
    """The controls of problem 1 lead over the edge; it need not begin again from scratch."""
    cost = GoalCost(torch.tensor([0.9], dtype=F64), torch.ones(1), torch.full((1,), 10.0))
    high, options = torch.ones(1, dtype=F64), RecedingOptions(horizon=6, knots=3)
    control = RecedingHorizon(Cliff(edge=1.0), -high, high, options, generator=seeded(0))
    first = control.plan(torch.full((2, 1), 0.5, dtype=F64), cost)
    x1 = first.states[:, 1].clone()
    first.controls[1], first.gains[1] = 1.0, 0.0
    second = control.plan(x1, cost)
    assert (control.lost.tolist(), second.iterations.tolist()) == ([0, 0], [1, 1])
    torch.testing.assert_close(second.cost[1], second.cost[0])


def test_a_lost_warm_start_begins_again_and_is_counted() -> None:
    """The plan of problem 1 is spoilt between two calls; that of problem 0 goes on."""
    cost = GoalCost(torch.tensor([0.9], dtype=F64), torch.ones(1), torch.full((1,), 10.0))
    high = torch.ones(1, dtype=F64)
    control = RecedingHorizon(
        Cliff(edge=1.0), -high, high, RecedingOptions(horizon=6, knots=3), generator=seeded(0)
    )
    first = control.plan(torch.tensor([[-3.0], [-3.0]], dtype=F64), cost)
    x1 = first.states[:, 1].clone()
    first.states[1] = torch.nan
    second = control.plan(x1, cost)
    assert control.lost.tolist() == [0, 1]
    assert bool(second.states.isfinite().all())
    assert second.iterations[0] == 1
    assert second.iterations[1] > 1


@pytest.mark.parametrize("status", list(Status))
def test_every_status_says_what_happened_and_the_remedy(status: Status) -> None:
    assert status.sentence.endswith(".")
    assert len(status.sentence.split()) > 10


def test_restarting_with_another_batch_size_starts_from_scratch() -> None:
    control = controller()
    control.plan(hanging(3), swing_up_cost())
    assert control.plan(hanging(2), swing_up_cost()).controls.shape == (2, 40, 1)
