"""What a caller hands to a planner by mistake ends in one sentence, where it comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from planner_systems import random_linear
from torch import Tensor

from planners import (
    CEM,
    ILQG,
    MPPI,
    PLANNERS,
    CEMOptions,
    FunctionDynamics,
    GoalCost,
    ILQGOptions,
    MPPIOptions,
    RecedingHorizon,
    RecedingOptions,
    holding_control,
)

F64 = torch.float64
EVERY = pytest.mark.parametrize("name", PLANNERS)
SYSTEM = random_linear(3, 2, seed=3)
HIGH = torch.ones(2, dtype=F64)
X0 = torch.zeros(4, 3, dtype=F64)
COST = GoalCost(torch.ones(3, dtype=F64), torch.ones(3), torch.ones(2))


def build(name: str, **changes: Any) -> Any:
    """A planner, of which some arguments are others."""
    given = {"dynamics": SYSTEM, "low": -HIGH, "high": HIGH, "horizon": 5, **changes}
    return PLANNERS[name](**given)


def solve(**changes: Any) -> Any:
    """A call of iLQG, of which some arguments are others."""
    given = {"dynamics": SYSTEM, "cost": COST, "x0": X0, "U": torch.zeros(4, 5, 2), **changes}
    return ILQG(ILQGOptions(max_iterations=2)).solve(**given)


STATES: dict[str, tuple[Any, str]] = {
    "a list": ([[0.0, 0.0, 0.0]], "type list"),
    "an array": (X0.numpy(), "type ndarray"),
    "whole numbers": (X0.long(), r"shape \[4, 3\], torch.int64"),
    "half precision": (X0.half(), r"shape \[4, 3\], torch.float16"),
    "one state": (X0[0], r"shape \[3\]"),
    "another width": (X0[:, :2], r"shape \[4, 2\]"),
    "no problem": (X0[:0], r"shape \[0, 3\]"),
}


@EVERY
@pytest.mark.parametrize("case", STATES)
def test_states_that_are_none_are_refused(name: str, case: str) -> None:
    given, told = STATES[case]
    planner = build(name)
    for call in (planner.plan, lambda x, cost: solve(x0=x, cost=cost)):
        with pytest.raises(ValueError, match=rf"^x0 is a float.* got {told}"):
            call(given, COST)


@EVERY
def test_states_of_another_dtype_than_the_last_plan_are_refused(name: str) -> None:
    planner, cost = build(name), GoalCost(torch.ones(3), torch.ones(3), torch.ones(2))
    system = random_linear(3, 2, seed=3, dtype=torch.float32)
    planner.plan(X0, COST)
    planner.dynamics = system
    with pytest.raises(ValueError, match=r"^x0 is torch.float32 on cpu, .* torch.float64 on cpu"):
        planner.plan(X0.float(), cost)
    planner.reset()
    assert planner.plan(X0.float(), cost).states.dtype == torch.float32


@EVERY
@pytest.mark.parametrize("cost", [None, 1.0, torch.ones(3)])
def test_what_is_no_cost_is_refused(name: str, cost: Any) -> None:
    for call in (build(name).plan, lambda x, cost: solve(x0=x, cost=cost)):
        with pytest.raises(ValueError, match=r"^cost is a planners.GoalCost, or .*; got "):
            call(X0, cost)


LIMITS: dict[str, tuple[Any, Any, str]] = {
    "lists": ([-1.0, -1.0], [1.0, 1.0], "low of type list"),
    "a number": (-HIGH, 1.0, "high of type float"),
    "another size": (-HIGH[:1], HIGH, r"low of shape \[1\]"),
    "a row": (-HIGH, HIGH[None], r"high of shape \[1, 2\]"),
    "truth values": (-HIGH, HIGH.bool(), "torch.bool"),
    "the wrong way round": (HIGH, -HIGH, r"low \[1.0, 1.0\] and high \[-1.0, -1.0\]"),
    "not a number": (-HIGH, HIGH * torch.nan, "nan"),
    "infinite, both": (HIGH * torch.inf, HIGH * torch.inf, "inf"),
    "minus infinite, both": (-HIGH * torch.inf, -HIGH * torch.inf, "inf"),
}


@EVERY
@pytest.mark.parametrize("case", LIMITS)
def test_limits_that_are_none_are_refused(name: str, case: str) -> None:
    low, high, told = LIMITS[case]
    for call in (
        lambda: build(name, low=low, high=high),
        lambda: solve(low=low, high=high),
        lambda: holding_control(SYSTEM, X0, low, high),
    ):
        with pytest.raises(ValueError, match=rf"^low and high are tensors .* got .*{told}"):
            call()


@EVERY
def test_limits_are_copied(name: str) -> None:
    """A caller's tensor is the caller's: what is done to it later changes no plan."""
    low, high = -HIGH.clone(), HIGH.clone()
    planner, cost = build(name, low=low, high=high), GoalCost(100 * COST.goal, COST.Q, 0 * COST.R)
    low *= 0
    high *= 0
    assert bool((planner.plan(X0, cost).controls.abs() > 0.5).any())


@EVERY
@pytest.mark.parametrize("horizon", [0, -1, True, 2.0, "7", None, torch.tensor(7)])
def test_a_horizon_that_is_no_count_is_refused(name: str, horizon: Any) -> None:
    with pytest.raises(ValueError, match=r"^horizon of \w+Options must be a whole .*; got "):
        build(name, horizon=horizon)


@EVERY
@pytest.mark.parametrize("given", [0, "", 5, {"noise": 1.0}, ILQGOptions()])
def test_options_of_another_class_are_refused(name: str, given: Any) -> None:
    with pytest.raises(ValueError, match=r"^options are \w+Options, or None; got type "):
        build(name, options=given)


@pytest.mark.parametrize("planner", [RecedingHorizon, CEM, MPPI])
def test_options_of_another_class_are_refused_by_the_class_too(planner: Any) -> None:
    with pytest.raises(ValueError, match=r"^options are \w+Options, or None; got type int"):
        planner(SYSTEM, -HIGH, HIGH, 0)
    with pytest.raises(ValueError, match=r"^options are ILQGOptions, or None; got type int"):
        ILQG(0)  # type: ignore[arg-type]


WHOLE, FINITE, TRUTH = (0.5, "1", True, -1), ("1", True, -1.0, torch.inf, torch.nan), (0, 1, "no")
FIELDS: dict[Callable[..., Any], dict[str, tuple[Any, ...]]] = {
    ILQGOptions: {
        "max_iterations": WHOLE,
        "step_sizes": (*WHOLE, 0),
        "tolerance": FINITE,
        "real_time": TRUTH,
        "regularisation": FINITE,
        "regularisation_max": (*FINITE, 0),
        "reuse": FINITE,
    },
    RecedingOptions: {
        "first_iterations": WHOLE,
        "scout_iterations": WHOLE,
        "iterations": (*WHOLE, 0),
        "tolerance": FINITE,
        "restarts": (*WHOLE, 0),
        "tries": (*WHOLE, 0),
        "more_tries": (*WHOLE, 0),
        "noise": (0.5, (1.0,), (0.0, 1.0), (1.0, torch.nan), ("a", "b"), "ab"),
        "reuse": FINITE,
        "catch": TRUTH,
        "knots": (*WHOLE, 0),
        "optimiser": (None, RecedingOptions, {}),
    },
    CEMOptions: {
        "samples": (*WHOLE, 0),
        "first_iterations": (*WHOLE, 0),
        "iterations": (*WHOLE, 0),
        "noise": FINITE,
        "knots": (*WHOLE, 0),
        "elites": (*FINITE, 0),
    },
    MPPIOptions: {"noise": FINITE, "temperature": (*FINITE, 0), "last_noise": (*FINITE, 0)},
}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (kind, field, value)
        for kind, fields in FIELDS.items()
        for field, values in fields.items()
        for value in values
    ],
)
def test_options_of_another_type_are_refused_by_name(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field} of {kind.__name__} must be .*; got "):
        kind(**{field: value})


class NoSystem:
    """It has dimensions, and no step."""

    state_dim, control_dim = 3, 2


class NoSize(NoSystem):
    """It steps, and its dimension is a text."""

    state_dim: Any = "three"

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        return x

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@EVERY
@pytest.mark.parametrize("system", [None, lambda x, u: x, NoSystem(), NoSize()])
def test_what_is_no_system_is_refused(name: str, system: Any) -> None:
    for call in (
        lambda: build(name, dynamics=system),
        lambda: solve(dynamics=system),
        lambda: holding_control(system, X0, -HIGH, HIGH),
    ):
        with pytest.raises(ValueError, match=r"^dynamics is an object with step.* got type "):
            call()


def test_a_system_without_derivatives_is_refused_where_they_are_needed() -> None:
    class Steps(NoSize):
        state_dim = 3

    Steps.linearize = None  # type: ignore[assignment, method-assign]
    with pytest.raises(ValueError, match=r"^dynamics is an object with step and linearize"):
        build("ilqg", dynamics=Steps())
    build("cem", dynamics=Steps())


@EVERY
@pytest.mark.parametrize("generator", [0, "cpu", torch.Generator])
def test_what_is_no_generator_is_refused(name: str, generator: Any) -> None:
    with pytest.raises(ValueError, match=r"^generator is a torch.Generator on the CPU.* got type"):
        build(name, generator=generator)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"U": [[0.0]]}, r"^U is .*, shape \[4, T, 2\], .* got type list"),
        ({"U": torch.zeros(5, 2)}, r"^U is .* got shape \[5, 2\]"),
        ({"U": torch.zeros(3, 5, 2)}, r"^U is .* got shape \[3, 5, 2\]"),
        ({"U": torch.zeros(4, 5, 1)}, r"^U is .* got shape \[4, 5, 1\]"),
        ({"U": torch.zeros(4, 0, 2)}, r"^U is .* got shape \[4, 0, 2\]"),
        ({"X": [0.0]}, r"^X is a torch.float64 tensor .* \[4, 1, 6, 3\]; got type list"),
        ({"X": torch.zeros(4, 1, 5, 3).double()}, r"^X is .* got shape \[4, 1, 5, 3\]"),
        ({"X": torch.zeros(4, 1, 6, 3)}, r"^X is .* got shape \[4, 1, 6, 3\], torch.float32"),
    ],
)
def test_starting_points_that_do_not_fit_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        solve(**changes)


@pytest.mark.parametrize("sizes", [("2", 1), (2, 0), (True, 1), (2.0, 1)])
def test_a_function_with_dimensions_that_are_none_is_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"_dim of FunctionDynamics must be a whole number"):
        FunctionDynamics(lambda x, u: x, *sizes)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^f is a function of x and u; got type str"):
        FunctionDynamics("x + u", 2, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["goal", "Q", "R", "Qf", "reference"])
def test_a_cost_of_lists_is_refused(name: str) -> None:
    given = {"goal": torch.zeros(3), "Q": torch.ones(3), "R": torch.ones(2), name: [1.0, 1.0, 1.0]}
    with pytest.raises(ValueError, match=rf"^{name} is a tensor; got type list"):
        GoalCost(**given)  # type: ignore[arg-type]
