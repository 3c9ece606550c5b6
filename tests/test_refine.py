"""The bounded step of a time-varying linear policy, what acts by it, and how it is refined."""

import numpy as np
import pytest
import torch
from tiny import CONFIG, ENV, SPEC, generator, images, tiny_model
from torch import Tensor

from e2c.control.agent import Agent
from e2c.control.base import make_world, problem_spec
from e2c.data.episodes import Episodes
from e2c.door import collect
from e2c.errors import E2CError
from e2c.lecture.local_models import LocalDynamics, LocalPrior, fit_local
from e2c.lecture.local_policy import Controls, Improvement, LinearPolicy, LocalController, improve
from e2c.lecture.refine import Refinement, RefineOptions, demonstrations, following, linearised
from e2c.models.transitions import LocalLinearisation
from planners import GoalCost

T, n, m = 7, 3, 2
FREE = Controls(*(torch.full((m,), x, dtype=torch.float64) for x in (-1e9, 1e9, 0.2)))
COST = GoalCost(torch.ones(n).double(), torch.ones(n), torch.full((m,), 0.1), 5 * torch.ones(n))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def truth(seed: int = 0) -> LocalDynamics:
    """A system that is neither time-invariant nor without noise."""
    A = 0.8 * torch.eye(n) + 0.1 * normal(T, n, n, seed=seed)
    mean = LocalLinearisation(A, normal(T, n, m, seed=seed + 1), 0.1 * normal(T, n, seed=seed + 2))
    return LocalDynamics(mean, 1e-3 * torch.eye(n).double().expand(T, n, n))


def policy() -> LinearPolicy:
    K = -0.1 * normal(T, m, n, seed=9)
    return LinearPolicy(normal(T + 1, n, seed=7), 0.1 * normal(T, m, seed=8), K)


STARTS = 0.1 * normal(5, n, seed=6)


def step(bound: float, controls: Controls = FREE, old: LinearPolicy | None = None) -> Improvement:
    return improve(old or policy(), truth(), COST, STARTS, controls, bound)


def best_cost(dynamics: LocalDynamics) -> float:
    """The least cost of a trajectory from the mean start: one least-squares problem in all U."""

    def path(U: Tensor) -> Tensor:
        x = [STARTS.mean(0)]
        for t in range(T):
            local = dynamics.mean
            x.append(local.A[t] @ x[-1] + local.B[t] @ U[t] + local.o[t])
        return torch.stack(x)

    def total(flat: Tensor) -> Tensor:
        U = flat.reshape(T, m)
        return COST.total(path(U)[None], U[None])[0]

    zero = torch.zeros(T * m, dtype=torch.float64)
    gradient = torch.func.grad(total)(zero)
    best = torch.linalg.solve(torch.func.hessian(total)(zero), -gradient)
    return float(total(best))


def played(acting: LinearPolicy, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Episodes of the system in which a policy explores, from the mean start."""
    dynamics = truth()
    u, z = [], [STARTS.mean(0) + 0.1 * normal(count, n, seed=seed)]
    for t in range(T):
        u.append(acting.act(t, z[-1]) + FREE.noise * normal(count, m, seed=seed + 1 + t))
        local = dynamics.mean
        mean = z[-1] @ local.A[t].mT + u[-1] @ local.B[t].mT + local.o[t]
        z.append(mean + 1e-3**0.5 * normal(count, n, seed=seed + 100 + t))
    return torch.stack(z, 1), torch.stack(u, 1)


def test_without_a_bound_the_step_leads_to_the_optimum() -> None:
    found = step(np.inf)
    assert found.cost_after == pytest.approx(best_cost(truth()), rel=1e-5)
    assert found.cost_after < found.cost_before


def test_a_larger_bound_allows_a_larger_step() -> None:
    found = [step(bound) for bound in (0.01, 1.0, 100.0)]
    for one, bound in zip(found, (0.01, 1.0, 100.0), strict=True):
        assert 0 < one.kl <= bound
    costs = [found[0].cost_before, *(one.cost_after for one in found)]
    assert costs == sorted(costs, reverse=True)
    assert found[0].eta > found[1].eta > found[2].eta


def test_without_room_the_policy_stays() -> None:
    old = policy()
    found = step(0.0, old=old)
    assert found.policy is old
    assert (found.kl, found.eta) == (0.0, np.inf)
    assert found.cost_after == found.cost_before


def test_the_divergence_is_that_of_the_trajectories() -> None:
    """The mean of log p_new(u|z) - log p_old(u|z) over episodes of the new policy."""
    old = policy()
    z0 = 0.1 * normal(5, n, seed=6)
    found = improve(old, truth(), COST, z0, FREE, 3.0)
    spread = (z0 - z0.mean(0)).mT @ (z0 - z0.mean(0)) / len(z0)
    count, new, sums = 40_000, found.policy, torch.zeros(40_000).double()
    z = z0.mean(0) + normal(count, n, seed=20) @ torch.linalg.cholesky(spread).mT
    for t in range(T):
        u = new.act(t, z) + FREE.noise * normal(count, m, seed=30 + t)
        for sign, law in ((-0.5, new), (0.5, old)):
            sums += sign * ((u - law.act(t, z)) / FREE.noise).square().sum(-1)
        local = truth().mean
        z = z @ local.A[t].mT + u @ local.B[t].mT + local.o[t]
        z = z + 1e-3**0.5 * normal(count, n, seed=50 + t)
    assert found.kl == pytest.approx(float(sums.mean()), rel=0.02)


@pytest.mark.parametrize("bound", [0.5, np.inf])
def test_limits_hold_and_controls_there_get_no_feedback(bound: float) -> None:
    low, high = torch.tensor([-0.1, -0.3]).double(), torch.tensor([0.2, 0.1]).double()
    found = step(bound, Controls(low, high, FREE.noise)).policy
    assert torch.equal(found.U.clamp(low, high), found.U)
    if bound == np.inf:
        at_limit = (found.U - low) * (found.U - high) == 0
        assert at_limit.any()
        assert not found.K[at_limit].any()
        assert found.K.any()


def test_rounds_of_fits_and_steps_approach_the_optimum_in_spite_of_a_wrong_prior() -> None:
    wrong = truth(60).mean
    prior = LocalPrior(wrong, 0.1 * torch.eye(n).double(), torch.ones(n + m).double(), 0.1)
    acting, costs = policy(), []
    for number in range(6):
        z, u = played(acting, 12, 1000 * number)
        costs.append(float(COST.total(z, u).mean()))
        acting = improve(acting, fit_local(z, u, prior), COST, z[:, 0], FREE, 10.0).policy
    best = best_cost(truth())
    assert costs[0] > 2 * costs[-1]
    assert costs[-1] < best + 0.2 * (costs[0] - best)


@pytest.mark.parametrize("B", [5, 1])
def test_the_controller_acts_by_the_law_of_its_step_within_the_limits(B: int) -> None:
    model, steps = tiny_model(), 3
    frames, N = images(B), model.transition.n
    law = LinearPolicy(
        normal(steps + 1, N, seed=1), normal(steps, m, seed=2), 3 * normal(steps, m, N, seed=3)
    )
    acting = LocalController(model, SPEC, law)
    z = model.encode(frames).mean.detach().double()
    low, high = np.array(SPEC.control_low), np.array(SPEC.control_high)
    for _ in range(2):
        acting.reset(None)
        for t in (0, 1, 2, 2):
            wanted = np.clip((law.U[t] + (z - law.X[t]) @ law.K[t].mT).numpy(), low, high)
            np.testing.assert_allclose(acting.act(frames), wanted)


def test_where_nothing_is_seen_the_policy_s_own_state_stands_in() -> None:
    model = tiny_model()
    N = model.transition.n
    law = LinearPolicy(
        normal(2, N, seed=1), torch.tensor([[0.5, -0.2]]).double(), normal(1, m, N, seed=3)
    )
    frames = images(3)
    seen = LocalController(model, SPEC, law).act(frames)
    frames[1] = 0
    found = LocalController(model, SPEC, law).act(frames)
    np.testing.assert_array_equal(found[1], law.U[0].numpy())
    np.testing.assert_array_equal(found[[0, 2]], seen[[0, 2]])


@pytest.fixture(scope="module")
def shown() -> Episodes:
    return collect(ENV, 18, 6, seed=1)


@pytest.fixture
def refinement(shown: Episodes) -> Refinement:
    spec = problem_spec(make_world(ENV))
    agent = Agent(tiny_model(CONFIG.model, spec), spec, CONFIG.planner)
    return Refinement(agent, shown, RefineOptions(memory=3))


def cost_of(refinement: Refinement, episodes: Episodes) -> float:
    return float(refinement.cost.total(*refinement._seen(episodes)).mean())


def test_a_policy_follows_an_episode_and_leads_back_to_it(
    refinement: Refinement, shown: Episodes
) -> None:
    z, u = refinement._seen(shown)
    law = refinement.kept
    assert refinement.policy is law
    assert any(torch.equal(law.X, X) and torch.equal(law.U, U) for X, U in zip(z, u, strict=True))
    along = linearised(refinement.global_model, law.X[:-1], law.U)
    off = {gain: 0.01 * torch.ones_like(law.X[0]) for gain in (0.0, 1.0)}
    cost = dict.fromkeys(off, 0.0)
    for t in range(6):
        for gain, x in off.items():
            du = gain * law.K[t] @ x
            cost[gain] += float(x @ refinement.cost.Q @ x + du @ refinement.cost.R @ du)
            off[gain] = along.A[t] @ x + along.B[t] @ du
    for gain, x in off.items():
        cost[gain] += float(x @ refinement.cost.Qf @ x)
    assert cost[1.0] < cost[0.0]


def test_the_episode_that_is_followed_is_expected_to_cost_least_from_all_starts(
    refinement: Refinement, shown: Episodes
) -> None:
    z, u = refinement._seen(shown)
    laws = [
        following(refinement.global_model, refinement.cost, *each)
        for each in zip(z, u, strict=True)
    ]
    expected = torch.stack([refinement._expected(law, z[:, 0]) for law in laws])
    torch.testing.assert_close(
        expected.diagonal(), refinement.cost.total(z, u), msg="its own start leads along it"
    )
    best = laws[int(expected.mean(1).argmin())]
    torch.testing.assert_close(refinement.kept.X, best.X)
    assert not torch.allclose(expected, expected.diagonal()[:, None])


def test_a_policy_is_refined_on_its_own_episodes(refinement: Refinement) -> None:
    rng = np.random.default_rng(0)
    assert refinement.policy.U.abs().max() <= 2.0
    for number in (1, 2):
        episodes = refinement.play(2, rng)
        assert episodes.lengths.tolist() == [6, 6]
        refinement.least = np.inf
        found = refinement.learn(episodes)
        assert found.kl <= 2.0 * 6
        assert len(refinement.z) == min(3, 2 * number)
    assert refinement.policy is found.policy
    assert refinement.local is not None
    assert refinement.local.mean.A.shape == (6, *refinement.noise.shape)


def test_a_step_that_costs_more_is_taken_back_and_a_shorter_one_tried(
    refinement: Refinement,
) -> None:
    rng = np.random.default_rng(0)
    first = refinement.play(2, rng)
    begun, step = refinement.kept, refinement.learn(first)
    assert refinement.least == cost_of(refinement, first)
    assert step.policy is not begun, "the test needs a step"
    refinement.least = 0.0
    shorter = refinement.learn(refinement.play(2, rng))
    assert refinement.kept is begun
    assert refinement.bound == 2.0 / 4
    assert shorter.kl <= 6 * 2.0 / 4
    assert len(refinement.z) == 2, "what a policy that is not kept played is not fitted"
    refinement.least = np.inf
    refinement.learn(refinement.play(2, rng))
    assert refinement.kept is shorter.policy
    assert refinement.bound == 2.0 / 2
    assert len(refinement.z) == 3


def test_what_acts_is_the_policy_whose_own_episodes_cost_least(
    refinement: Refinement, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, play = list[tuple[float, LinearPolicy]](), refinement.play

    def keep(count: int, rng: np.random.Generator) -> Episodes:
        episodes = play(count, rng)
        played.append((cost_of(refinement, episodes), refinement.policy))
        return episodes

    monkeypatch.setattr(refinement, "play", keep)
    found = refinement.refined(3, 2, np.random.default_rng(0))
    assert len({cost for cost, _ in played}) == 3
    assert found.policy is min(played, key=lambda each: each[0])[1]


def test_a_policy_leads_to_its_own_goal(refinement: Refinement, shown: Episodes) -> None:
    agent = refinement.agent
    other = agent.spec.layout.from_planes(shown.planes(slice(3, 4)))[0]
    theirs = Refinement(agent, shown, goal=other)
    wanted = agent.model.read(shown.planes(slice(3, 4))[0]).mean.detach().double()
    torch.testing.assert_close(theirs.cost.goal, wanted)
    torch.testing.assert_close(agent.cost.goal.double(), wanted, msg="the agent has it from now on")
    assert not torch.equal(refinement.cost.goal, wanted)


def test_demonstrations_are_episodes_of_the_agent_towards_the_goal(
    refinement: Refinement, shown: Episodes
) -> None:
    agent = refinement.agent
    wanted = shown.planes(slice(3, 4))
    goal = agent.spec.layout.from_planes(wanted)[0]
    found = demonstrations(agent, 2, 4, np.random.default_rng(0), goal)
    assert found.lengths.tolist() == [4, 4]
    goals = found.goal_planes()
    assert goals is not None
    for each in goals:
        np.testing.assert_array_equal(each, wanted[0])
    assert not np.array_equal(wanted[0], agent.model.goal.numpy()), "the world's own goal"


def test_the_error_of_the_global_model_is_what_it_misses(
    refinement: Refinement, shown: Episodes
) -> None:
    model, n = refinement.agent.model, refinement.agent.model.transition.n
    missed = torch.zeros(n, n).double()
    with torch.no_grad():
        for episode in shown.split():
            z, u = model.encode(episode.planes()).mean, torch.from_numpy(episode.actions)
            error = (z[1:] - refinement.global_model.step(z[:-1], u)).double()
            missed += error.mT @ error
    torch.testing.assert_close(refinement.noise, missed / shown.transitions)


def test_errors_of_both_models_in_an_episode(refinement: Refinement) -> None:
    rng = np.random.default_rng(0)
    episodes = refinement.play(2, rng)
    with pytest.raises(E2CError, match="no local models yet"):
        refinement.step_errors(episodes)
    refinement.learn(episodes)
    assert refinement.local is not None
    found, mean = refinement.step_errors(episodes), refinement.local.mean
    agent = refinement.agent
    for row, episode in enumerate(episodes.split()):
        z = agent.model.encode(episode.planes()).mean.detach()
        u = torch.from_numpy(episode.actions)
        for t in range(6):
            with torch.no_grad():
                told = refinement.global_model.step(z[t : t + 1], u[t : t + 1])[0]
            torch.testing.assert_close(found.of_global[row, t].float(), z[t + 1] - told)
            local = mean.A[t] @ z[t].double() + mean.B[t] @ u[t].double() + mean.o[t]
            torch.testing.assert_close(found.of_local[row, t], z[t + 1].double() - local)


def test_episodes_of_another_length_are_refused(refinement: Refinement) -> None:
    with pytest.raises(E2CError, match=r"6 steps .* \[10, 10\]"):
        refinement.learn(collect(ENV, 20, 10, seed=1))
