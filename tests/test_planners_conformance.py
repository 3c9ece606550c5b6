"""What every planner in the registry must do; a new entry is tested without being named here."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from planner_systems import Cliff, LinearSystem, Pendulum, hanging, random_linear
from torch import Tensor

from planners import PLANNERS, Dynamics, GoalCost, Plan, Planner, Status

F64 = torch.float64
SIZES = pytest.mark.parametrize("sizes", [(5, 3, 2, 7), (1, 2, 1, 1)], ids=["many", "few"])
"""Problems, state, control and horizon."""
EVERY = pytest.mark.parametrize("name", PLANNERS)
NOT_TROUBLED = (Status.CONVERGED, Status.ITERATION_LIMIT, Status.NO_IMPROVEMENT)


def limits(m: int, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    """Limits that differ from control to control and are not symmetric."""
    return -torch.linspace(0.3, 0.6, m, dtype=dtype), torch.linspace(0.5, 0.2, m, dtype=dtype)


def build(name: str, dynamics: Dynamics, low: Tensor, high: Tensor, T: int) -> Planner:
    generator = torch.Generator().manual_seed(0)
    return PLANNERS[name](dynamics, low, high, horizon=T, generator=generator)


def starts(B: int, n: int, dtype: torch.dtype = F64) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return 0.3 * torch.randn(B, n, generator=g, dtype=F64).to(dtype)


def goal(n: int, m: int, dtype: torch.dtype = F64) -> GoalCost:
    return GoalCost(torch.ones(n, dtype=dtype), torch.ones(n), torch.full((m,), 0.1))


def linear_problem(
    name: str, sizes: tuple[int, int, int, int], dtype: torch.dtype = F64
) -> tuple[Planner, LinearSystem, Tensor, GoalCost]:
    """A planner of an unstable linear system, the system, its states and a cost."""
    B, n, m, T = sizes
    system = random_linear(n, m, seed=3, dtype=dtype)
    planner = build(name, system, *limits(m, dtype), T)
    return planner, system, starts(B, n, dtype), goal(n, m, dtype)


def loop(planner: Planner, system: LinearSystem, x: Tensor, cost: GoalCost) -> list[Plan]:
    """Plan and act five times."""
    plans = []
    for _ in range(5):
        plans.append(planner.plan(x, cost))
        x = system.step(x, plans[-1].controls[:, 0])
    return plans


def assert_same(one: Plan, other: Plan) -> None:
    for field, value in vars(one).items():
        assert torch.equal(value, getattr(other, field)), field


def assert_sound(plan: Plan, low: Tensor, high: Tensor) -> None:
    for value in (plan.states, plan.controls, plan.gains):
        assert bool(value.isfinite().all())
    assert bool(((plan.controls >= low) & (plan.controls <= high)).all())
    assert not bool(plan.cost.isnan().any())
    unknown = plan.cost.isinf()
    assert bool((plan.status[unknown] == Status.NOT_FINITE).all())


@EVERY
@SIZES
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_plan_has_the_shapes_and_the_dtype_of_its_states(
    name: str, sizes: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    planner, system, x, cost = linear_problem(name, sizes, dtype)
    B, n, m, T = sizes
    assert planner.lost.tolist() == []
    for plan in loop(planner, system, x, cost):
        assert plan.states.shape == (B, T + 1, n)
        assert plan.controls.shape == (B, T, m)
        assert plan.gains.shape == (B, T, m, n)
        for value in (plan.cost, plan.status, plan.iterations, planner.lost):
            assert value.shape == (B,)
        for value in (plan.states, plan.controls, plan.gains, plan.cost):
            assert value.dtype == dtype
            assert not value.requires_grad
        for value in (plan.status, plan.iterations, planner.lost):
            assert value.dtype == torch.int64
        assert_sound(plan, *limits(m, dtype))
        assert all(Status(code) in NOT_TROUBLED for code in plan.status.tolist())
    assert planner.lost.tolist() == [0] * B


@EVERY
@SIZES
def test_a_plan_is_a_roll_out_and_its_cost_is_that_of_the_roll_out(
    name: str, sizes: tuple[int, int, int, int]
) -> None:
    planner, system, x, cost = linear_problem(name, sizes)
    for plan in loop(planner, system, x, cost):
        torch.testing.assert_close(plan.states[:, 0], x)
        following = system.step(plan.states[:, :-1], plan.controls)
        torch.testing.assert_close(plan.states[:, 1:], following)
        torch.testing.assert_close(plan.cost, cost.total(plan.states, plan.controls))
        x = system.step(x, plan.controls[:, 0])


@EVERY
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
@pytest.mark.parametrize("spoilt_from", [0, 2])
def test_a_state_that_is_not_finite_leaves_a_sound_plan_and_its_neighbours(
    name: str, value: float, spoilt_from: int
) -> None:
    planner, system, x, cost = linear_problem(name, (5, 3, 2, 7))
    healthy, *_ = linear_problem(name, (5, 3, 2, 7))
    others = torch.tensor([0, 1, 3, 4])
    for step in range(5):
        seen = x.clone()
        if step >= spoilt_from:
            seen[2, 1] = value
        plan, undisturbed = planner.plan(seen, cost), healthy.plan(x, cost)
        assert_sound(plan, *limits(2))
        assert plan.cost.isfinite().tolist() == [b != 2 or step < spoilt_from for b in range(5)]
        assert torch.equal(plan.controls[others], undisturbed.controls[others])
        x = system.step(x, undisturbed.controls[:, 0])
    assert planner.lost[others].tolist() == [0] * 4
    assert bool(planner.plan(x, cost).cost.isfinite().all()), "it recovers"


class Spoilt(LinearSystem):
    """A linear system that can be spoilt."""

    offset = 0.0

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        return super().step(x, u) + self.offset


@EVERY
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("spoilt_from", [0, 2])
def test_dynamics_that_are_not_finite_leave_a_sound_plan(
    name: str, value: float, spoilt_from: int
) -> None:
    linear = random_linear(3, 2, seed=3)
    system = Spoilt(linear.A, linear.B, linear.c)
    planner, x = build(name, system, *limits(2), 7), starts(5, 3)
    for step in range(12):
        system.offset = value if spoilt_from <= step < 5 else 0.0
        plan = planner.plan(x, goal(3, 2))
        assert_sound(plan, *limits(2))
        if system.offset != 0:
            assert bool(plan.cost.isinf().all())
    assert bool(plan.cost.isfinite().all())


@EVERY
def test_a_roll_out_that_is_not_finite_never_wins(name: str) -> None:
    """The goal lies beyond the cliff."""
    cost = GoalCost(torch.tensor([4.0], dtype=F64), torch.ones(1), torch.full((1,), 0.1))
    one, x = torch.ones(1, dtype=F64), torch.tensor([[0.0], [0.5], [-3.0], [0.9]], dtype=F64)
    planner = build(name, Cliff(edge=1.0), -one, one, 6)
    plan = planner.plan(x, cost)
    assert_sound(plan, -one, one)
    assert bool(plan.cost.isfinite().all())
    assert bool((plan.states <= 1).all())
    assert bool((plan.states[:, -1] > 0.5).all())
    for _ in range(12):
        x = Cliff(edge=1.0).step(x, plan.controls[:, 0])
        plan = planner.plan(x, cost)
        assert_sound(plan, -one, one)
        assert bool((plan.states <= 1).all())


@EVERY
@SIZES
def test_a_reset_and_a_second_planner_repeat_the_plans(
    name: str, sizes: tuple[int, int, int, int]
) -> None:
    before = torch.get_rng_state()
    planner, system, x, cost = linear_problem(name, sizes)
    first = loop(planner, system, x, cost)
    planner.reset()
    assert planner.lost.tolist() == []
    again = loop(planner, system, x, cost)
    other = loop(linear_problem(name, sizes)[0], system, x, cost)
    for one, two, three in zip(first, again, other, strict=True):
        assert_same(one, two)
        assert_same(one, three)
    assert torch.equal(before, torch.get_rng_state()), "the generator is the only source"


@EVERY
def test_a_plan_does_not_depend_on_its_neighbours(name: str) -> None:
    planner, system, x, cost = linear_problem(name, (5, 3, 2, 7))
    together = loop(planner, system, x, cost)
    changed = x.clone()
    changed[[0, 2]] = torch.tensor([7.0, torch.nan], dtype=F64)[:, None]
    planner.reset()
    beside_others = loop(planner, system, changed, cost)
    for b in (1, 3):
        planner.reset()
        alone = loop(planner, system, x[b : b + 1], cost)
        for one, two, three in zip(together, beside_others, alone, strict=True):
            assert torch.equal(one.controls[b], two.controls[b])
            torch.testing.assert_close(one.controls[b], three.controls[0], atol=1e-6, rtol=0)


@EVERY
def test_another_number_of_problems_begins_anew(name: str) -> None:
    planner, _, x, cost = linear_problem(name, (5, 3, 2, 7))
    planner.plan(x, cost)
    planner.plan(x, cost)
    plan = planner.plan(x[:2], cost)
    assert plan.controls.shape == (2, 7, 2)
    assert planner.lost.tolist() == [0, 0]
    planner.reset()
    assert_same(plan, planner.plan(x[:2], cost))


@EVERY
def test_a_linear_system_reaches_its_goal(name: str) -> None:
    """A mass in a plane with a force in each direction, 0.1 s."""
    eye, zero = torch.eye(2, dtype=F64), torch.zeros(2, 2, dtype=F64)
    A = torch.cat((torch.cat((eye, 0.1 * eye), 1), torch.cat((zero, eye), 1)))
    system = LinearSystem(A, torch.cat((zero, 0.1 * eye)), torch.zeros(4, dtype=F64))
    cost = GoalCost(torch.zeros(4, dtype=F64), torch.ones(4), torch.full((2,), 0.1))
    high = torch.tensor([1.0, 0.8], dtype=F64)
    planner = build(name, system, -high, high, 15)
    x = torch.tensor([[2.0, -1.0, 0.0, 0.0], [-1.0, 0.5, 0.5, 0.0]], dtype=F64)
    for _ in range(70):
        x = system.step(x, planner.plan(x, cost).controls[:, 0])
    assert bool((x.norm(dim=1) < 0.1).all())


@EVERY
def test_a_pendulum_swings_up(name: str) -> None:
    """Its torque is too weak to lift it at once."""
    cost = GoalCost(
        torch.tensor([1, 0, 0], dtype=F64),
        torch.tensor([1, 1, 0.1], dtype=F64),
        torch.tensor([0.01], dtype=F64),
    )
    high, x = torch.tensor([2.0], dtype=F64), hanging(2)
    planner, heights = build(name, Pendulum(), -high, high, 40), []
    for _ in range(100):
        x = Pendulum().step(x, planner.plan(x, cost).controls[:, 0])
        heights.append(x[:, 0])
    assert bool((torch.stack(heights[-15:]) > 0.9).all())


@EVERY
def test_planners_and_plans_can_be_pickled_and_copied(name: str) -> None:
    """In the middle of a loop; the copy goes on as the original does, and does not disturb it."""
    planner, system, x, cost = linear_problem(name, (5, 3, 2, 7))
    plan = loop(planner, system, x, cost)[-1]
    for same in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert_same(plan, same)
    copies: list[Planner] = [pickle.loads(pickle.dumps(planner)), copy.deepcopy(planner)]
    following = [each.plan(x, cost) for each in (*copies, planner)]
    assert_same(following[0], following[2])
    assert_same(following[1], following[2])


@EVERY
def test_it_works_in_inference_mode(name: str) -> None:
    planner, _, x, cost = linear_problem(name, (5, 3, 2, 7))
    expected = planner.plan(x, cost)
    planner.reset()
    with torch.inference_mode():
        assert_same(expected, planner.plan(x, cost))


@EVERY
def test_limits_that_do_not_fit_are_refused(name: str) -> None:
    system = random_linear(3, 2)
    low, high = limits(2)
    for wrong in ((low[:1], high), (low, high[:1]), (high, low), (low * torch.nan, high)):
        with pytest.raises(ValueError, match=r"low and high .* shape \[2\].* got"):
            build(name, system, *wrong, 7)


@EVERY
def test_states_of_another_shape_are_refused(name: str) -> None:
    planner, *_, cost = linear_problem(name, (5, 3, 2, 7))
    for x in (torch.zeros(3), torch.zeros(5, 2), torch.zeros(1, 5, 3)):
        with pytest.raises(ValueError, match=r"shape \[B, 3\].* got shape"):
            planner.plan(x.double(), cost)


@EVERY
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"goal": torch.zeros(3).double(), "Q": torch.ones(3)},
            "is of 3 states and 1 controls; the system",
        ),
        ({"R": torch.ones(2)}, "is of 2 states and 2 controls; the system has 2 and 1"),
        (
            {"goal": torch.zeros(2, 2).double()},
            r"has goals \[2, 2\] and references \[1\] for 3 problems",
        ),
        (
            {"goal": torch.zeros(2)},
            "goal is torch.float32, and the states are torch.float64",
        ),
    ],
)
def test_a_cost_of_another_system_is_refused(
    name: str, given: dict[str, Tensor], told: str
) -> None:
    goal = torch.zeros(2).double()
    cost = GoalCost(**{"goal": goal, "Q": torch.ones(2), "R": torch.ones(1), **given})
    planner = build(name, random_linear(2, 1), *limits(1), 7)
    with pytest.raises(ValueError, match=told):
        planner.plan(torch.zeros(3, 2).double(), cost)


@EVERY
def test_one_goal_may_be_given_as_a_row(name: str) -> None:
    plans = []
    x0 = torch.tensor([[3.0, 0.0], [torch.inf, 0.0], [1.0, 0.0]]).double()
    for goal in (torch.zeros(2).double(), torch.zeros(1, 2).double()):
        planner = build(name, random_linear(2, 1), *limits(1), 7)
        cost = GoalCost(goal, torch.ones(2), torch.ones(1))
        plans.append(planner.plan(x0, cost))
    torch.testing.assert_close(plans[0].controls, plans[1].controls)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"goal": torch.tensor(0.0)}, r"^goal is of shape \[n\] or \[B, n\]; got \[\]\.$"),
        ({"Q": torch.ones(3)}, r"^Q is of shape \[2\] or \[2, 2\]; got \[3\]\.$"),
        ({"Qf": torch.ones(2, 3)}, r"^Qf is of shape \[2\] or \[2, 2\]; got \[2, 3\]\.$"),
        ({"R": torch.ones(2, 1)}, r"^R is of shape \[2\] or \[2, 2\]; got \[2, 1\]\.$"),
        ({"reference": torch.ones(2)}, r"^reference is of shape \[1\] or \[B, 1\]; got \[2\]\.$"),
    ],
)
def test_weights_that_do_not_fit_their_goal_are_refused(
    given: dict[str, Tensor], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        GoalCost(**{"goal": torch.zeros(2), "Q": torch.ones(2), "R": torch.ones(1), **given})
