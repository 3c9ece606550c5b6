"""LQR against the textbook recursion, and box QPs against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from planner_systems import LinearSystem, Pendulum, random_linear
from torch import Tensor

from planners import ILQG, GoalCost, ILQGOptions, Status, boxqp
from planners.boxqp import box_qp, limited_law
from planners.riccati import backward_pass, local_model

F64 = torch.float64
SIZES = [(3, 2, 5, 7), (3, 1, 1, 9), (2, 3, 4, 6)]  # n, m, B, T


def goal_cost(n: int, m: int, reference: bool = True) -> GoalCost:
    g = torch.Generator().manual_seed(n * 10 + m)
    S = torch.randn(n, n, generator=g, dtype=F64)
    return GoalCost(
        goal=torch.randn(n, generator=g, dtype=F64),
        Q=S @ S.T + torch.eye(n, dtype=F64),
        R=0.5 + torch.rand(m, generator=g, dtype=F64),
        Qf=5 * torch.ones(n, dtype=F64),
        reference=torch.randn(m, generator=g, dtype=F64) if reference else None,
    )


def textbook_lqr(
    system: LinearSystem, cost: GoalCost, x0: Tensor, T: int
) -> tuple[np.ndarray, np.ndarray]:
    """The affine Riccati recursion for one problem, in numpy; returns controls and gains."""
    A, B, c = (v.numpy() for v in (system.A, system.B, system.c))
    g, Q, R, Qf = (v.numpy() for v in (cost.goal, cost.Q, cost.R, cost.Qf))
    r = cost.reference.numpy()
    P, p = Qf, -Qf @ g
    laws = []
    for _ in range(T):
        S = R + B.T @ P @ B
        K = -np.linalg.solve(S, B.T @ P @ A)
        k = -np.linalg.solve(S, B.T @ (P @ c + p) - R @ r)
        laws.append((K, k))
        p = -Q @ g + A.T @ (P @ (B @ k + c) + p)
        P = Q + A.T @ P @ (A + B @ K)
    x, U = x0.numpy(), []
    for K, k in reversed(laws):
        U.append(K @ x + k)
        x = A @ x + B @ U[-1] + c
    return np.array(U), np.array([K for K, _ in reversed(laws)])


@pytest.mark.parametrize(("n", "m", "B", "T"), SIZES)
def test_one_iteration_is_the_textbook_lqr(n: int, m: int, B: int, T: int) -> None:
    system, cost = random_linear(n, m), goal_cost(n, m)
    x0 = torch.randn(B, n, dtype=F64, generator=torch.Generator().manual_seed(1))
    plan = ILQG(ILQGOptions(max_iterations=1)).solve(system, cost, x0, torch.zeros(B, T, m))
    for b in range(B):
        U, K = textbook_lqr(system, cost, x0[b], T)
        np.testing.assert_allclose(plan.controls[b], U, atol=1e-8)
        np.testing.assert_allclose(plan.gains[b], K, atol=1e-8)
    again = ILQG(ILQGOptions(max_iterations=5)).solve(system, cost, x0, plan.controls)
    assert again.status.tolist() == [Status.CONVERGED] * B
    assert again.iterations.tolist() == [1] * B


def test_regularisation_is_lowered_until_the_lqr_is_reached() -> None:
    system, cost = random_linear(3, 2), goal_cost(3, 2)
    x0 = torch.ones(1, 3, dtype=F64)
    options = ILQGOptions(regularisation=1e4)
    plan = ILQG(options).solve(system, cost, x0, torch.zeros(1, 7, 2))
    assert plan.iterations[0] < 30
    U, K = textbook_lqr(system, cost, x0[0], 7)
    np.testing.assert_allclose(plan.controls[0], U, atol=1e-5)
    np.testing.assert_allclose(plan.gains[0], K, atol=1e-3)


@pytest.mark.parametrize(("lam", "status"), [(0.5, "CONVERGED"), (0.6, "NO_IMPROVEMENT")])
def test_only_a_small_lambda_tells_that_nothing_is_left_to_improve(
    lam: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one makes every step short; here no step at all is taken."""
    system, cost, x0 = random_linear(3, 2), goal_cost(3, 2), torch.ones(1, 3, dtype=F64)
    best = ILQG().solve(system, cost, x0, torch.zeros(1, 7, 2)).controls
    monkeypatch.setattr("planners.ilqg.LEAST_LAMBDA", 0.5)
    monkeypatch.setattr("planners.ilqg.ACCEPTANCE", 1e9)
    options = ILQGOptions(max_iterations=1, regularisation=lam)
    assert ILQG(options).solve(system, cost, x0, best).status.tolist() == [Status[status]]


def test_warm_start_from_a_moved_state_is_the_lqr_of_the_moved_state() -> None:
    n, m, B, T = 3, 2, 5, 7
    system, cost = random_linear(n, m), goal_cost(n, m)
    x0 = torch.randn(B, n, dtype=F64, generator=torch.Generator().manual_seed(1))
    ilqg = ILQG(ILQGOptions(max_iterations=1))
    old = ilqg.solve(system, cost, x0, torch.zeros(B, T, m))
    new = ilqg.solve(system, cost, x0 + 1, old.controls[:, None], X=old.states[:, None])
    U = [textbook_lqr(system, cost, x, T)[0] for x in x0 + 1]
    np.testing.assert_allclose(new.controls, np.array(U), atol=1e-8)
    assert torch.equal(new.states[:, 0], x0 + 1)


def projected_gradient(H: np.ndarray, g: np.ndarray, limit: float) -> np.ndarray:
    """Minimise 1/2 uᵀHu + gᵀu in a box by accelerated projected gradients, to convergence."""
    L, u = np.linalg.eigvalsh(H)[-1], np.zeros_like(g)
    y, t = u, 1.0
    for _ in range(20000):
        new = np.clip(y - (H @ y + g) / L, -limit, limit)
        faster = (1 + np.sqrt(1 + 4 * t * t)) / 2
        if (y - new) @ (new - u) > 0:
            faster = 1.0
        y, u, t = new + (t - 1) / faster * (new - u) * (faster > 1), new, faster
    return u


@pytest.mark.parametrize(("n", "m", "T", "limit"), [(3, 2, 7, 0.3), (2, 1, 9, 1.5)])
def test_limited_lq_is_the_condensed_quadratic_programme(
    n: int, m: int, T: int, limit: float
) -> None:
    system, cost = random_linear(n, m), goal_cost(n, m)
    x0 = torch.randn(1, n, dtype=F64, generator=torch.Generator().manual_seed(4))

    def total(u: Tensor) -> Tensor:
        x, X = x0[0], [x0[0]]
        for v in u.reshape(T, m):
            x = system.step(x, v)
            X.append(x)
        return cost.total(torch.stack(X)[None], u.reshape(1, T, m))[0]

    zero = torch.zeros(T * m, dtype=F64)
    H = torch.autograd.functional.hessian(total, zero).numpy()
    g = torch.autograd.functional.jacobian(total, zero).numpy()
    expected = projected_gradient(H, g, limit)
    low = torch.full((m,), -limit, dtype=F64)
    options = ILQGOptions(max_iterations=500, tolerance=1e-15)
    plan = ILQG(options).solve(system, cost, x0, torch.zeros(1, T, m), low, -low)
    clamped = np.isclose(np.abs(expected), limit)
    assert 0 < clamped.sum() < T * m
    np.testing.assert_allclose(plan.controls.reshape(-1), expected, atol=1e-5)
    assert plan.status.tolist() == [Status.CONVERGED]
    rows = plan.gains[0].reshape(T * m, n)
    assert bool((rows[torch.as_tensor(clamped)] == 0).all())
    assert bool((rows[torch.as_tensor(~clamped)] != 0).any(-1).all())


def brute_force(H: np.ndarray, g: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Try every active set and return the best feasible stationary point."""
    m = len(g)
    best, value = np.clip(np.zeros(m), low, high), np.inf
    for sides in product((0, -1, 1), repeat=m):
        side = np.array(sides)
        u = np.where(side < 0, low, np.where(side > 0, high, 0.0))
        free = side == 0
        if free.any():
            rhs = g[free] + H[np.ix_(free, ~free)] @ u[~free]
            u[free] = -np.linalg.solve(H[np.ix_(free, free)], rhs)
        if (u >= low - 1e-12).all() and (u <= high + 1e-12).all():
            candidate = 0.5 * u @ H @ u + g @ u
            if candidate < value:
                best, value = u, candidate
    return best


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_box_qp_is_brute_force(m: int) -> None:
    rng = np.random.default_rng(m)
    S = rng.normal(size=(6, 5, m, m))
    H = S @ S.swapaxes(-1, -2) + 0.1 * np.eye(m)
    g = 3 * rng.normal(size=(6, 5, m))
    low, high = -rng.random((6, 5, m)), rng.random((6, 5, m))
    tH, tg, tlow, thigh = (torch.as_tensor(value) for value in (H, g, low, high))
    solution = box_qp(tH, tg, tlow, thigh)
    for i, j in np.ndindex(6, 5):
        expected = brute_force(H[i, j], g[i, j], low[i, j], high[i, j])
        np.testing.assert_allclose(solution.u[i, j], expected, atol=1e-9)
    inside = (solution.u > tlow) & (solution.u < thigh)
    assert torch.equal(solution.free, inside)
    assert set(solution.status.flatten().tolist()) == {Status.CONVERGED}


def test_box_qp_names_what_is_not_positive_definite() -> None:
    H = torch.stack((torch.eye(2, dtype=F64), -torch.eye(2, dtype=F64)))
    one = torch.ones(2, 2, dtype=F64)
    solution = box_qp(H, one, -one, one)
    assert solution.status.tolist() == [Status.CONVERGED, Status.NOT_POSITIVE_DEFINITE]


def test_box_qp_takes_no_steps_on_what_is_not_positive_definite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boxqp, "_newton_step", lambda *_: pytest.fail("a step was taken"))
    H = torch.tensor([[[1.0, 3.0], [3.0, 1.0]], [[torch.nan, 0.0], [0.0, 1.0]]])
    one = torch.ones(2, 2)
    solution = box_qp(H, 0.5 * one, -one, one)
    assert solution.status.tolist() == [Status.NOT_POSITIVE_DEFINITE] * 2


def test_a_law_is_told_to_be_unsolved_where_steps_lead_nowhere() -> None:
    rng, m = np.random.default_rng(4), 4
    Q = np.linalg.qr(rng.normal(size=(100, m, m)))[0]
    H = Q @ np.diag(np.geomspace(1, 1e-6, m)) @ Q.swapaxes(-1, -2)
    g, low, high = 0.01 * rng.normal(size=(100, m)), -rng.random((100, m)), rng.random((100, m))
    tH, tg, tlow, thigh = (torch.as_tensor(value) for value in (H, g, low, high))
    law, solved = limited_law(tH, tg[..., None], tlow[..., None], thigh[..., None])
    assert 0.5 < solved.double().mean() < 1
    for i in np.flatnonzero(solved.numpy()):
        u, expected = law[i, :, 0].numpy(), brute_force(H[i], g[i], low[i], high[i])
        value, least = (0.5 * v @ H[i] @ v + g[i] @ v for v in (u, expected))
        assert value - least <= 1e-6 * abs(least)


def test_scalar_law_is_the_general_law() -> None:
    g = torch.Generator().manual_seed(0)
    H = torch.rand(20, 1, 1, generator=g, dtype=F64) + 0.1
    rhs = torch.randn(20, 1, 4, generator=g, dtype=F64)
    limit = torch.full((20, 1, 1), 0.8, dtype=F64)
    law, solved = limited_law(H, rhs, -limit, limit)
    # Beside it a second control that is at rest and coupled to nothing: the general code.
    padded, all_solved = limited_law(
        torch.diag_embed(torch.cat((H[:, 0], torch.ones(20, 1, dtype=F64)), 1)),
        torch.cat((rhs, torch.zeros_like(rhs)), 1),
        -limit.expand(-1, 2, -1),
        limit.expand(-1, 2, -1),
    )
    torch.testing.assert_close(law, padded[:, :1])
    assert bool((solved & all_solved).all())
    assert 0 < int((law[:, :, 0].abs() == 0.8).sum()) < 20


def test_regularisation_shrinks_the_step_and_indefinite_is_told() -> None:
    system, cost = random_linear(3, 2), goal_cost(3, 2)
    X, U = torch.zeros(2, 8, 3, dtype=F64), torch.zeros(2, 7, 2, dtype=F64)
    quadratic = cost.quadratize(X, U)
    free = torch.full_like(U, torch.inf)
    model = local_model(*system.linearize(X[:, :-1], U), quadratic)
    law = backward_pass(model, torch.tensor([0.0, 100.0], dtype=F64), -free, free)
    assert law.k[1].norm() < 0.5 * law.k[0].norm()
    assert law.usable.tolist() == [True, True]
    concave = quadratic._replace(cxx=-quadratic.cxx)
    model = local_model(*system.linearize(X[:, :-1], U), concave)
    law = backward_pass(model, torch.tensor([0.0, 1e12], dtype=F64), -free, free)
    assert law.usable.tolist() == [False, True]


def test_goal_cost_derivatives_are_those_of_autograd() -> None:
    n, m, B, T = 3, 2, 5, 7
    g = torch.Generator().manual_seed(0)
    cost = goal_cost(n, m)
    cost.goal = torch.randn(B, n, generator=g, dtype=F64)
    X = torch.randn(B, 4, T + 1, n, generator=g, dtype=F64, requires_grad=True)
    U = torch.randn(B, 4, T, m, generator=g, dtype=F64, requires_grad=True)
    J = cost.total(X, U)
    assert J.shape == (B, 4)
    dX, dU = torch.autograd.grad(J.sum(), (X, U))
    q = cost.quadratize(X.detach(), U.detach())
    torch.testing.assert_close(q.cx, dX)
    torch.testing.assert_close(q.cu, dU)
    assert q.cux.shape == (B, 4, T, m, n)
    step = torch.randn(X.shape, generator=g, dtype=F64)
    second = (step[..., None, :] @ q.cxx @ step[..., None])[..., 0, 0].sum(-1) / 2
    moved = cost.total(X + step, U) - J - (dX * step).sum((-1, -2))
    torch.testing.assert_close(moved, second)


def test_goal_cost_has_no_half() -> None:
    cost = GoalCost(torch.zeros(1), torch.tensor([3.0]), torch.tensor([5.0]), torch.tensor([7.0]))
    X, U = torch.tensor([[[2.0], [1.0]]]), torch.tensor([[[2.0]]])
    assert cost.total(X, U).item() == 3 * 4 + 7 * 1 + 5 * 4


def test_pendulum_jacobians_of_the_tests_are_right() -> None:
    x = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    u = torch.randn(4, 1, dtype=F64, generator=torch.Generator().manual_seed(1))
    fx, fu = Pendulum().linearize(x, u)
    for b in range(4):
        jx, ju = torch.autograd.functional.jacobian(Pendulum().step, (x[b], u[b]))
        torch.testing.assert_close(fx[b], jx)
        torch.testing.assert_close(fu[b], ju)
