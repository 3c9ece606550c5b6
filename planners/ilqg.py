"""iLQG with control limits: many problems, many starting points, many step sizes at once.

Source: Tassa, Erez & Todorov 2012 ("Synthesis and stabilization of complex behaviors through
online trajectory optimization") and Tassa, Mansard & Todorov 2014 (control limits); the line search
in parallel follows MuJoCo MPC (Howell et al. 2022). The noise of "iLQG" is additive and independent
of state and control, which leaves the control law unchanged (Todorov & Li 2005).

One iteration is: linearise around the trajectory, pass backward, roll out every step size under the
new control law, keep the best. Each of the ``B x K`` candidates has its own regularisation,
acceptance and end; one that has ended does not change while others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planners.base import Cost, Dynamics, Guide, Plan, Status, choose
from planners.riccati import ControlLaw, LocalModel, backward_pass, local_model


@dataclass(frozen=True)
class ILQGOptions:
    """How to optimise; the defaults are Tassa's but for the starting regularisation."""

    max_iterations: int = 100
    """Iterations per call; one or two are enough when each call continues the one before."""
    step_sizes: int = 11
    """Number ``S`` of step sizes tried in parallel, spaced evenly in logarithm from 1 down."""
    smallest_step: float = 1e-3
    """The last of the step sizes."""
    acceptance: float = 1e-4
    """A step is taken if the cost falls by more than this share of the expected reduction."""
    tolerance: float = 1e-7
    """Converged when the (expected or actual) reduction falls below this times ``1 + |cost|``."""
    regularisation: float = 0.0
    """Starting value of lambda, added to the diagonal of Quu; 0 is the full Newton step."""
    regularisation_min: float = 1e-6
    """Below this lambda is zero; it is also the first value tried when lambda must grow."""
    regularisation_max: float = 1e10
    """Above this the optimisation of an item is given up, with a status."""
    regularisation_factor: float = 1.6
    """Growth of lambda's own rate of change, so that lambda moves faster and faster."""


@dataclass(frozen=True)
class _Search:
    """The state of the optimisation of ``B x K`` candidates."""

    X: Tensor  # [B, K, T+1, n]
    U: Tensor  # [B, K, T, m], within the limits
    gains: Tensor  # [B, K, T, m, n]
    cost: Tensor  # [B, K], infinite where the roll-out is not finite
    lam: Tensor  # [B, K], regularisation
    rate: Tensor  # [B, K], its factor of change
    status: Tensor  # [B, K] int64
    done: Tensor  # [B, K] bool
    iterations: Tensor  # [B, K] int64

    def end(self, mask: Tensor, status: Status) -> _Search:
        """End with ``status`` what ``mask`` holds, unless it has ended before."""
        ending = mask & ~self.done
        return replace(
            self,
            status=self.status.masked_fill(ending, int(status)),
            done=self.done | ending,
        )


class ILQG:
    """Iterative linear-quadratic control with limits; see the module's docstring."""

    def __init__(self, options: ILQGOptions | None = None) -> None:
        self.options = options or ILQGOptions()

    @torch.no_grad()
    def solve(
        self,
        dynamics: Dynamics,
        cost: Cost,
        x0: Tensor,
        U: Tensor,
        low: Tensor | None = None,
        high: Tensor | None = None,
        guide: Guide | None = None,
    ) -> Plan:
        """Optimise the controls of ``B`` problems from ``K`` starting points each.

        Args:
            dynamics: System to control.
            cost: Cost to minimise.
            x0: ``[B, n]``: initial states; they set dtype and device.
            U: ``[B, K, T, m]`` or ``[B, T, m]``: starting controls; they set the horizon.
            low: ``[m]``: lower limits of the controls; left out, there are none.
            high: ``[m]``: upper limits.
            guide: Feedback under which the starting controls are first rolled out.

        Returns:
            The best candidate of each problem. Its cost is never above that of the best first
            roll-out, and failures are statuses: nothing is raised.
        """
        U = (U[:, None] if U.dim() == 3 else U).to(x0)
        low = U.new_full((U.shape[-1],), -torch.inf) if low is None else low.to(U)
        high = U.new_full((U.shape[-1],), torch.inf) if high is None else high.to(U)
        search = self._begin(dynamics, cost, x0, U, low, high, guide)
        for _ in range(self.options.max_iterations):
            search = self._iterate(dynamics, cost, search, low, high)
            if self.options.max_iterations > 1 and bool(search.done.all()):
                break
        return _best(search)

    def _begin(
        self,
        dynamics: Dynamics,
        cost: Cost,
        x0: Tensor,
        U: Tensor,
        low: Tensor,
        high: Tensor,
        guide: Guide | None,
    ) -> _Search:
        """Roll the starting controls out; candidates that are not finite have ended."""
        if guide is None:
            B, K, T, m = U.shape
            n = x0.shape[-1]
            guide = Guide(U.new_zeros(B, K, T + 1, n), U.new_zeros(B, K, T, m, n))
        Xs, Us = roll_out(dynamics, x0, U[:, :, None], guide, low, high)
        J = total_cost(cost, Xs, Us)[:, :, 0]
        finite = J.isfinite()
        safe = U.nan_to_num().clamp(low, high)
        return _Search(
            X=Xs[:, :, 0],
            U=choose(finite, Us[:, :, 0], safe),
            gains=choose(finite, guide.gains, torch.zeros_like(guide.gains)),
            cost=J,
            lam=torch.full_like(J, self.options.regularisation),
            rate=torch.ones_like(J),
            status=torch.where(finite, int(Status.ITERATION_LIMIT), int(Status.NOT_FINITE)),
            done=~finite,
            iterations=torch.zeros_like(J, dtype=torch.int64),
        )

    def _iterate(
        self, dynamics: Dynamics, cost: Cost, search: _Search, low: Tensor, high: Tensor
    ) -> _Search:
        """Improve every candidate that has not ended."""
        X, U = search.X, search.U
        model = local_model(*dynamics.linearize(X[:, :, :-1], U), cost.quadratize(X, U))
        search = replace(search, iterations=search.iterations + ~search.done)
        search, law = self._control_law(search, model, low - U, high - U)
        alpha = self._step_sizes(X)
        trials = U[:, :, None] + alpha[:, None, None] * law.k[:, :, None]
        Xs, Us = roll_out(dynamics, X[:, 0, 0], trials, Guide(X, law.K), low, high)
        return self._line_search(search, law, alpha, Xs, Us, total_cost(cost, Xs, Us))

    def _control_law(
        self, search: _Search, model: LocalModel, low: Tensor, high: Tensor
    ) -> tuple[_Search, ControlLaw]:
        """Pass backward, raising lambda until positive definite; end what is optimal already."""
        search = search.end(~model.is_finite(), Status.NOT_FINITE)
        while True:
            law = backward_pass(model, search.lam, low, high)
            retry = ~(law.positive_definite | search.done)
            if not bool(retry.any()):
                break
            search = self._raise(search, retry, Status.NOT_POSITIVE_DEFINITE)
        search = replace(search, gains=choose(search.done, search.gains, law.K))
        small = -(law.slope + law.curvature) <= self._tolerance(search.cost)
        stationary = small & (search.lam <= self.options.regularisation_min)
        return search.end(stationary, Status.CONVERGED), law

    def _line_search(
        self, search: _Search, law: ControlLaw, alpha: Tensor, Xs: Tensor, Us: Tensor, J: Tensor
    ) -> _Search:
        """Take the cheapest acceptable of the trials ``Xs, Us`` of costs ``J [B, K, S]``."""
        reduction = search.cost[..., None] - J
        expected = -alpha * (law.slope[..., None] + alpha * law.curvature[..., None])
        accepted = (expected > 0) & (reduction > self.options.acceptance * expected)
        J, best = J.where(accepted, torch.inf).min(-1)
        improved, rejected = J.isfinite() & ~search.done, ~(J.isfinite() | search.done)
        settled = improved & (search.cost - J <= self._tolerance(search.cost))
        search = replace(
            self._lower(search, improved),
            X=choose(improved, _take(Xs, best), search.X),
            U=choose(improved, _take(Us, best), search.U),
            cost=torch.where(improved, J, search.cost),
            status=search.status.masked_fill(improved, int(Status.ITERATION_LIMIT)).masked_fill(
                rejected, int(Status.NO_IMPROVEMENT)
            ),
        )
        search = search.end(settled, Status.CONVERGED)
        return self._raise(search, rejected, Status.NO_IMPROVEMENT)

    def _raise(self, search: _Search, mask: Tensor, exhausted: Status) -> _Search:
        """Raise lambda where ``mask`` holds; what exceeds the maximum ends with ``exhausted``."""
        o = self.options
        faster = (search.rate * o.regularisation_factor).clamp(min=o.regularisation_factor)
        raised = (search.lam * faster).clamp(min=o.regularisation_min)
        search = replace(
            search,
            lam=torch.where(mask, raised, search.lam),
            rate=torch.where(mask, faster, search.rate),
        )
        return search.end(mask & (search.lam > o.regularisation_max), exhausted)

    def _lower(self, search: _Search, mask: Tensor) -> _Search:
        """Lower lambda where ``mask`` holds; below the minimum it becomes zero."""
        o = self.options
        slower = (search.rate / o.regularisation_factor).clamp(max=1 / o.regularisation_factor)
        lowered = search.lam * slower
        lowered = lowered * (lowered >= o.regularisation_min)
        return replace(
            search,
            lam=torch.where(mask, lowered, search.lam),
            rate=torch.where(mask, slower, search.rate),
        )

    def _tolerance(self, cost: Tensor) -> Tensor:
        """Return the reduction ``[B, K]`` that is too small to go on, or to be told from noise."""
        relative = max(self.options.tolerance, 8 * torch.finfo(cost.dtype).eps)
        return relative * (1 + cost.abs())

    def _step_sizes(self, like: Tensor) -> Tensor:
        """Return the step sizes ``[S]``, from 1 down."""
        exponents = torch.linspace(0, 1, self.options.step_sizes, dtype=torch.float64)
        return (self.options.smallest_step**exponents).to(like)


def roll_out(
    dynamics: Dynamics, x0: Tensor, U: Tensor, guide: Guide, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Roll ``u = clamp(U + K (x - X), low, high)`` out, all trials at once.

    Args:
        dynamics: System to roll out.
        x0: ``[B, n]``: initial states.
        U: ``[B, K, S, T, m]``: controls, ``S`` trials for each candidate.
        guide: Trajectory ``X`` and feedback ``K`` of each candidate, common to its trials.
        low: ``[m]``: lower limits.
        high: ``[m]``: upper limits.

    Returns:
        States ``[B, K, S, T+1, n]`` and the controls applied, ``[B, K, S, T, m]``.
    """
    x = x0[:, None, None].expand(*U.shape[:3], -1)
    states, controls = [x], []
    steps = zip(
        U.unbind(-2),
        guide.states[:, :, None, :-1].unbind(-2),
        guide.gains.mT.unbind(-3),
        strict=True,
    )
    for v, X, Kt in steps:
        u = torch.clamp(v + (x - X) @ Kt, low, high)
        x = dynamics.step(x, u)
        controls.append(u)
        states.append(x)
    return torch.stack(states, -2), torch.stack(controls, -2)


def total_cost(cost: Cost, X: Tensor, U: Tensor) -> Tensor:
    """Return the total cost ``[B, ...]``, infinite wherever anything is not finite."""
    J = cost.total(X, U)
    return J.where((J + 0 * X.sum((-2, -1)) + 0 * U.sum((-2, -1))).isfinite(), torch.inf)


def _take(trials: Tensor, best: Tensor) -> Tensor:
    """Return the entry ``best [B, K]`` of ``trials [B, K, S, ...]``."""
    index = best.reshape(*best.shape, *(1,) * (trials.dim() - 2))
    return trials.take_along_dim(index, 2)[:, :, 0]


def _best(search: _Search) -> Plan:
    """Return the cheapest candidate of each problem."""
    best = search.cost.argmin(1)
    item = torch.arange(len(best), device=best.device), best
    return Plan(
        states=search.X[item],
        controls=search.U[item],
        gains=search.gains[item],
        cost=search.cost[item],
        status=search.status[item],
        iterations=search.iterations[item],
    )
