"""CEM and MPPI: their fits against formulae, what they share, and what they refuse."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from planner_systems import Cliff, random_linear
from torch import Tensor

from planners import CEM, MPPI, CEMOptions, GoalCost, MPPIOptions, RecedingOptions, Status, sampling
from planners.draws import noise_scale, rest, smooth_noise
from planners.sampling import Samples, SamplingPlanner
from planners.warm import shift

F64 = torch.float64
HIGH = torch.tensor([0.3, 0.1], dtype=F64)
LOW = torch.tensor([-0.2, -0.5], dtype=F64)
SYSTEM = random_linear(3, 2, seed=3)
COST = GoalCost(torch.ones(3, dtype=F64), torch.ones(3), torch.full((2,), 0.1))
BOTH = pytest.mark.parametrize("make", [CEM, MPPI])
Make = Callable[..., SamplingPlanner]


def planner(make: Make, **fields: Any) -> SamplingPlanner:
    options = CEMOptions if make is CEM else MPPIOptions
    chosen = options(**{"horizon": 7, "samples": 64, **fields})
    return make(SYSTEM, LOW, HIGH, chosen, torch.Generator().manual_seed(0))


def starts(B: int = 5) -> Tensor:
    return 0.3 * torch.randn(B, 3, generator=torch.Generator().manual_seed(1), dtype=F64)


def samples(J: Tensor) -> Samples:
    """Random controls with the given costs ``[B, S]``."""
    g = torch.Generator().manual_seed(2)
    U = torch.randn(*J.shape, 7, 2, generator=g, dtype=F64)
    return Samples(U, J)


def test_cem_fits_mean_and_deviation_of_the_elites() -> None:
    J = torch.randn(4, 20, generator=torch.Generator().manual_seed(3), dtype=F64)
    J[1, J[1].argsort()[3:]] = torch.inf
    drawn = samples(J)
    mean, std = planner(CEM, samples=20, elites=0.25)._fit(drawn, torch.ones(4, 7, 2, dtype=F64), 3)
    for b, count in enumerate((5, 3, 5, 5)):
        elite = drawn.U[b, J[b].argsort()[:count]]
        torch.testing.assert_close(mean[b], elite.mean(0))
        torch.testing.assert_close(std[b], elite.std(0, correction=0))


def test_mppi_weighs_by_the_exponential_of_the_cost() -> None:
    J = torch.randn(4, 21, generator=torch.Generator().manual_seed(3), dtype=F64)
    J[1, 5:] = torch.inf
    drawn, std = samples(J), torch.ones(4, 7, 2, dtype=F64)
    fit = planner(MPPI, samples=21, temperature=0.3, last_noise=0.25)._fit
    mean, smaller = fit(drawn, std, 3)
    torch.testing.assert_close(smaller, 0.5 * std)
    torch.testing.assert_close(fit(drawn, smaller, 3)[1], 0.25 * std)
    for b in range(4):
        finite = [float(value) for value in J[b] if value.isfinite()]
        lam = 0.3 * (sorted(finite)[(len(finite) - 1) // 2] - min(finite))
        w = [math.exp(-(value - min(finite)) / lam) for value in finite]
        expected = sum(w[s] * drawn.U[b, s] for s in range(len(w))) / sum(w)
        torch.testing.assert_close(mean[b], expected)


@pytest.mark.parametrize("make", [CEM, MPPI])
@pytest.mark.parametrize("value", [0.0, 1e300, -1e300])
def test_samples_of_equal_cost_are_averaged(make: Make, value: float) -> None:
    drawn = samples(torch.full((2, 64), value, dtype=F64))
    mean, _ = planner(make)._fit(drawn, torch.ones(2, 7, 2, dtype=F64), 1)
    torch.testing.assert_close(mean, drawn.U.mean(1))


@BOTH
def test_a_call_never_returns_a_worse_plan_than_its_warm_start(make: Make) -> None:
    control, x = planner(make, samples=4, iterations=1), starts()
    for _ in range(6):
        plan = control.plan(x, COST)
        x = SYSTEM.step(x, plan.controls[:, 0])
        U, _ = shift(SYSTEM, plan)
        following = control.plan(x, COST)
        X = [x]
        for u in U.unbind(1):
            X.append(SYSTEM.step(X[-1], u))
        assert bool((following.cost <= COST.total(torch.stack(X, 1), U) + 1e-12).all())


@BOTH
def test_more_samples_and_iterations_come_close_to_the_optimum(make: Make) -> None:
    """Of a quadratic programme that brute force solves: one control, one step."""
    x = torch.tensor([[0.3, -0.2, 0.4]], dtype=F64)
    grid = torch.linspace(-0.2, 0.3, 501, dtype=F64), torch.linspace(-0.5, 0.1, 601, dtype=F64)
    U = torch.cartesian_prod(*grid)[None, :, None]
    X = torch.stack((x[:, None].expand(-1, U.shape[1], -1), SYSTEM.step(x, U[:, :, 0])), 2)
    best = COST.total(X, U).min()
    plan = planner(make, horizon=1, samples=500, first_iterations=20).plan(x, COST)
    assert float(plan.cost) < float(best) + 1e-3


@dataclass
class OnlyStep:
    """A system without Jacobians."""

    state_dim: int = 3
    control_dim: int = 2

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        return SYSTEM.step(x, u)


@BOTH
def test_no_jacobians_are_needed_and_nothing_is_fed_back(make: Make) -> None:
    options = CEMOptions(horizon=7) if make is CEM else MPPIOptions(horizon=7)
    plan = make(OnlyStep(), LOW, HIGH, options).plan(starts(), COST)
    assert bool(plan.gains.eq(0).all())
    assert plan.iterations.tolist() == [options.first_iterations] * 5


@BOTH
def test_controls_without_limits_are_sampled_in_their_own_unit(make: Make) -> None:
    control = make(SYSTEM, LOW - torch.inf, HIGH + torch.inf)
    plan = control.plan(starts(), COST)
    assert bool(plan.cost.isfinite().all())
    assert bool(((plan.controls < LOW) | (plan.controls > HIGH)).any())


@BOTH
def test_a_lost_warm_start_restarts_ever_more_rarely_and_its_neighbour_goes_on(make: Make) -> None:
    """Problem 1 is put beyond the cliff, where nothing is finite, and comes back at the end."""
    options: dict[str, Any] = {"horizon": 6, "samples": 32, "iterations": 2}
    cost = GoalCost(torch.tensor([0.5], dtype=F64), torch.ones(1), torch.ones(1))
    one, x = torch.ones(1, dtype=F64), torch.tensor([[0.0], [0.0]], dtype=F64)
    chosen = CEMOptions(**options) if make is CEM else MPPIOptions(**options)
    control, alone = (
        make(Cliff(edge=1.0), -one, one, chosen, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    before = control.plan(x, cost)
    alone.plan(x[:1], cost)
    beyond = torch.tensor([[0.0], [9.0]], dtype=F64)
    for call in range(1, 11):
        plan = control.plan(beyond, cost)
        assert plan.status.tolist() == [Status.ITERATION_LIMIT, Status.NOT_FINITE]
        assert control.lost.tolist() == [0, call]
        torch.testing.assert_close(plan.controls[0], alone.plan(x[:1], cost).controls[0])
        kept = max(0, 6 - call)
        assert torch.equal(plan.controls[1, :kept], before.controls[1, call:])
    assert bool(control.plan(x, cost).cost.isfinite().all())
    assert control.lost.tolist() == [0, 10]


def test_noise_is_standard_normal_at_the_knots_and_linear_in_between() -> None:
    noise = smooth_noise(4000, 9, 2, 3, torch.Generator().manual_seed(0))
    assert noise.shape == (4000, 9, 2)
    assert bool(noise[0].eq(0).all())
    at_knots = noise[:, [0, 4, 8]]
    torch.testing.assert_close(at_knots.mean(0), torch.zeros(3, 2, dtype=F64), atol=0.05, rtol=0)
    torch.testing.assert_close(at_knots.std(0), torch.ones(3, 2, dtype=F64), atol=0.05, rtol=0)
    torch.testing.assert_close(noise[:, 2], (noise[:, 0] + noise[:, 4]) / 2)


@BOTH
def test_samples_are_normal_between_the_knots_too(make: Make) -> None:
    drawn = planner(make, samples=3000, knots=3)._noise(2, torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 3000, 7, 2)
    assert bool(drawn[:, 0].eq(0).all()), "the mean is one of them"
    ones = torch.ones(2, 7, 2, dtype=F64)
    torch.testing.assert_close(drawn.std(1), ones, atol=0.06, rtol=0)


def test_a_fit_to_all_samples_keeps_their_distribution() -> None:
    """Without a choice there is nothing to learn: cross-entropy may not shrink by itself."""
    control = planner(CEM, samples=2000, knots=3, elites=1.0)
    U, std = torch.zeros(1, 7, 2, dtype=F64), torch.ones(1, 7, 2, dtype=F64)
    for noise in control._noise(10, torch.Generator().manual_seed(0)):
        drawn = Samples((U[:, None] + std[:, None] * noise), torch.zeros(1, 2000, dtype=F64))
        U, std = control._fit(drawn, std, 10)
    torch.testing.assert_close(std, torch.ones_like(std), atol=0.15, rtol=0)


def test_the_scale_of_noise_is_half_the_range_and_one_without_limits() -> None:
    low, high = torch.tensor([-1.0, 0.5, -torch.inf]), torch.tensor([3.0, 0.7, 4.0])
    expected = torch.tensor([1.0, 0.05, 0.5], dtype=F64)
    torch.testing.assert_close(noise_scale(low, high, 0.5), expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(rest(low, high), torch.tensor([0.0, 0.5, 0.0], dtype=F64))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (lambda: CEMOptions(samples=0), "samples"),
        (lambda: CEMOptions(elites=0.0), "elites"),
        (lambda: CEMOptions(elites=1.5), "elites"),
        (lambda: MPPIOptions(horizon=0), "horizon"),
        (lambda: MPPIOptions(temperature=0.0), "temperature"),
        (lambda: MPPIOptions(temperature=math.nan), "temperature"),
        (lambda: RecedingOptions(restarts=0), "restarts"),
        (lambda: RecedingOptions(tries=0), "tries"),
    ],
)
def test_options_out_of_range_are_refused_by_name(
    options: Callable[[], object], field: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{field} of \w+Options must be .*; got"):
        options()


@pytest.mark.parametrize("options", [CEMOptions(), MPPIOptions(), RecedingOptions()])
def test_options_can_be_pickled(options: object) -> None:
    assert pickle.loads(pickle.dumps(options)) == options


@BOTH
def test_every_call_since_the_reset_has_noise_of_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = list[Tensor]()

    def noted(*given: Any) -> Tensor:
        drawn.append(smooth_noise(*given))
        return drawn[-1].clone()

    monkeypatch.setattr(sampling, "smooth_noise", noted)
    control = planner(make, first_iterations=2, iterations=2)
    for _ in range(2):
        for _ in range(3):
            control.plan(starts(), COST)
        control.reset()
    assert not any(torch.equal(drawn[a], drawn[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert all(torch.equal(drawn[a], drawn[a + 3]) for a in range(3))
