"""iLQG with control limits: many problems, many starting points, many step sizes at once.

Source: Tassa, Erez & Todorov 2012 ("Synthesis and stabilization of complex behaviors through
online trajectory optimization") and Tassa, Mansard & Todorov 2014 (control limits). The parallel
line search follows MuJoCo MPC (Howell et al. 2022). The noise of "iLQG" is additive and does not
depend on state or control, so it leaves the control law unchanged (Todorov & Li 2005).

One iteration linearises around the trajectory, passes backward, rolls every step size out under
the new control law and keeps the best. Step size zero is one of them, so a warm start whose initial
state has moved needs no roll-out of its own. Each of the ``B x K`` candidates has its own
regularisation, acceptance and end. A candidate that has ended does not change while others go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planners import checks
from planners.base import Cost, Dynamics, Plan, Status, choose
from planners.compiled import Memory, Options, code_of
from planners.constants import ACCEPTANCE, FULL_STEP, GROWTH, LEAST_LAMBDA, SMALLEST_STEP
from planners.costs import has_numbers
from planners.riccati import ControlLaw, LocalModel, backward_pass, local_model
from planners.rollouts import finite_cost, roll_out


@dataclass(frozen=True)
class ILQGOptions:
    """How to optimise; `planners.constants` has the numbers that no problem changes.

    The defaults are Tassa's, except for the starting regularisation and the step sizes. Tassa's
    eleven step sizes down to 1e-3 lead to the same plans in twice the time.
    """

    max_iterations: int = 100
    """Iterations per call; one or two are enough when each call continues the one before."""
    step_sizes: int = 6
    """Number ``S`` of step sizes tried in parallel, spaced evenly in logarithm from 1 down to
    `planners.constants.SMALLEST_STEP`."""
    tolerance: float = 1e-7
    """Converged when the (expected or actual) reduction falls below this times ``1 + |cost|``."""
    real_time: bool = False
    """Whether a warm start may end with its first iteration, though this linearises around states
    that began elsewhere: in a control loop the next call comes soon."""
    regularisation: float = 0.0
    """Starting value of lambda, added to the diagonal of Quu; 0 is the full Newton step."""
    regularisation_max: float = 1e10
    """Largest lambda; a candidate that needs a larger one ends, and its status says so."""
    reuse: float = 0.0
    """Compiled code uses a derivative again where no entry of state and control differs by more
    than this times ``1 + |entry|`` from where it was taken."""

    def __post_init__(self) -> None:
        checks.whole(self, "max_iterations", least=0)
        checks.whole(self, "step_sizes")
        checks.finite(self, "regularisation_max", above=0)
        checks.finite(self, "tolerance", "regularisation", "reuse")
        checks.truth(self, "real_time")


class _Problem(NamedTuple):
    """``B`` problems to solve, from ``x0 [B, n]`` with limits ``low, high [m]``."""

    dynamics: Dynamics
    cost: Cost
    x0: Tensor
    low: Tensor
    high: Tensor

    def local_model(self, X: Tensor, U: Tensor) -> LocalModel:
        """Linearise and quadratise around ``X [B, K, T+1, n]``, ``U [B, K, T, m]``."""
        return local_model(*self.dynamics.linearize(X[:, :, :-1], U), self.cost.quadratize(X, U))

    def roll_out(
        self, U: Tensor, X: Tensor | None = None, gains: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Roll ``U [B, K, S, T, m]`` out: states, controls applied and costs ``[B, K, S]``."""
        Xs, Us = roll_out(self.dynamics, self.x0, U, self.low, self.high, X, gains)
        return Xs, Us, finite_cost(self.cost, Xs, Us)


class _Search(NamedTuple):
    """The state of the optimisation of ``B x K`` candidates."""

    X: Tensor  # [B, K, T+1, n]
    U: Tensor  # [B, K, T, m], within the limits
    gains: Tensor  # [B, K, T, m, n]
    cost: Tensor  # [B, K], infinite where no finite roll-out is known
    lam: Tensor  # [B, K], regularisation
    rate: Tensor  # [B, K], its factor of change
    moved: Tensor  # [B, K] bool: the last iteration took a step, so lambda may fall
    stuck: Tensor  # [B, K] bool: the last iteration found no step to take, so lambda must grow
    status: Tensor  # [B, K] int64: how the search would end now
    done: Tensor  # [B, K] bool
    iterations: Tensor  # [B, K] int64

    def end(self, mask: Tensor, status: Status) -> _Search:
        """End the candidates in ``mask [B, K]`` with ``status``, unless they have ended before."""
        ending = mask & ~self.done
        return self._replace(
            status=self.status.masked_fill(ending, int(status)),
            done=self.done | ending,
        )


class ILQG:
    """Iterative linear-quadratic control with limits; see the module's docstring."""

    def __init__(self, options: ILQGOptions | None = None) -> None:
        self.options = o = checks.options(options, ILQGOptions)
        exponents = torch.linspace(0, 1, o.step_sizes, dtype=torch.float64)
        steps = SMALLEST_STEP**exponents
        self._alpha = torch.cat((steps.new_zeros(1), steps))
        self._numbers = Options(*(getattr(o, name) for name in Options._fields))

    def solve(
        self,
        dynamics: Dynamics,
        cost: Cost,
        x0: Tensor,
        U: Tensor,
        low: Tensor | None = None,
        high: Tensor | None = None,
        X: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Plan:
        """Optimise the controls of ``B`` problems from ``K`` starting points each.

        Args:
            dynamics: System to control.
            cost: Cost to minimise.
            x0: ``[B, n]``: initial states; they set dtype and device.
            U: ``[B, K, T, m]`` or ``[B, T, m]``: starting controls; they set the horizon.
            low: ``[m]``: lower limits of the controls; left out, there are none.
            high: ``[m]``: upper limits.
            X: ``[B, K, T+1, n]``: the states that ``U`` led to from a start near ``x0``. The first
                iteration linearises around ``X``, and its feedback corrects ``x0 - X[:, :, 0]``.
                Left out, ``U`` is rolled out from ``x0`` first.
            memory: Derivatives of the call a step earlier, of this system and ``K = 1``; this call
                replaces them by its own. Only compiled code uses it.

        Returns:
            The best candidate of each problem. Without ``X`` its cost is never above that of the
            best starting point. Numerical failures are statuses and are not raised. An infinite
            cost says that no roll-out from ``x0`` was finite; its states are not a prediction.

        Raises:
            ValueError: when an argument has another type, shape or dtype, the limits do not fit the
                system or each other, or ``memory`` is of another system, batch or horizon.
        """
        checks.system(dynamics, "step", "linearize")
        m = dynamics.control_dim
        checks.states(x0, dynamics.state_dim)
        checks.goals(cost, x0, m)
        checks.starting_controls(U, x0, m)
        U = (U[:, None] if U.dim() == 3 else U).to(x0)
        if X is not None:
            checks.predicted(X, U, x0)
        low = U.new_full((m,), -torch.inf) if low is None else low
        high = U.new_full((m,), torch.inf) if high is None else high
        return self.optimise(dynamics, cost, x0, U, *checks.limits(low, high, m), X, memory)

    @torch.no_grad()
    def optimise(
        self,
        dynamics: Dynamics,
        cost: Cost,
        x0: Tensor,
        U: Tensor,
        low: Tensor,
        high: Tensor,
        X: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Plan:
        """Do as `solve`, with checked arguments and ``U [B, K, T, m]`` of the dtype of ``x0``.

        A planner calls it at every step of a control loop.
        """
        low, high = low.to(U), high.to(U)
        code = code_of(dynamics, x0)
        if code is not None and has_numbers(cost, x0):
            from planners import fused  # and with it numba, only where it is needed

            return fused.solve(code, cost, self._numbers, self._alpha, x0, U, low, high, X, memory)
        problem = _Problem(dynamics, cost, x0, low, high)
        search = _begin(problem, U.nan_to_num().clamp(low, high), X, self.options.regularisation)
        for iteration in range(self.options.max_iterations):
            if iteration > 0:
                search = self._regularise(search)
                if bool(search.done.all()):
                    break
            search = self._iterate(problem, search)
        return _best(search)

    def _iterate(self, problem: _Problem, search: _Search) -> _Search:
        """Improve every candidate that has not ended."""
        X, U = search.X, search.U
        model = problem.local_model(X, U)
        search = search._replace(iterations=search.iterations + ~search.done)
        search = search.end(~model.is_finite(), Status.NOT_FINITE)
        search, law = self._control_law(search, model, problem.low - U, problem.high - U)
        trials = U[:, :, None] + self._alpha.to(U)[:, None, None] * law.k[:, :, None]
        return self._line_search(search, law, *problem.roll_out(trials, X, law.K))

    def _control_law(
        self, search: _Search, model: LocalModel, low: Tensor, high: Tensor
    ) -> tuple[_Search, ControlLaw]:
        """Pass backward, raising lambda where needed until the law is usable or given up."""
        while True:
            law = backward_pass(model, search.lam, low, high)
            retry = ~(law.usable | search.done)
            if not bool(retry.any()):
                break
            search = self._raise(search, retry, Status.NOT_POSITIVE_DEFINITE)
        return search, law

    def _line_search(
        self, search: _Search, law: ControlLaw, Xs: Tensor, Us: Tensor, Js: Tensor
    ) -> _Search:
        """Take the cheapest acceptable trial of ``Xs, Us, Js [B, K, 1+S, ...]``, or else the first.

        Smaller steps are not taken if the full step is good (`planners.constants.FULL_STEP`), or if
        the expected reduction is small.

        The first trial has step size zero. It is the trajectory before; if that did not start at
        ``x0``, it is rolled out from ``x0`` under the new feedback.

        A candidate has converged when the expected or the actual reduction is small. Without
        ``real_time`` it then ends only if its trajectory was rolled out from ``x0`` before (its
        cost is known). Otherwise the next iteration linearises around the new trajectory with the
        same lambda.
        """
        may_end = search.cost.isfinite() | self.options.real_time
        alpha, J = self._alpha.to(Js), Js[..., 0]
        expected = -alpha * (law.slope[..., None] + alpha * law.curvature[..., None])
        accepted = (expected > 0) & (J[..., None] - Js > ACCEPTANCE * expected)
        tolerance = self._tolerance(J)
        stationary = (expected[..., 1] <= tolerance) & (search.lam <= LEAST_LAMBDA)
        good = (expected > 0) & (J[..., None] - Js >= FULL_STEP * expected)
        alone = good[..., 1] | stationary
        accepted[..., 2:] &= ~alone[..., None]
        lowest, best = Js.where(accepted, torch.inf).min(-1)
        improved = lowest.isfinite()
        search = search.end(~(improved | J.isfinite()), Status.NOT_FINITE)
        search = _take(search, best * improved, law.K, Xs, Us, Js)
        converged = stationary | (improved & (J - lowest <= tolerance))
        ended = search.end(converged, Status.CONVERGED)
        return ended._replace(
            moved=improved & ~converged,
            stuck=~improved & ~converged,
            done=search.done | (converged & may_end),
        )

    def _regularise(self, search: _Search) -> _Search:
        """Lower lambda of the candidates that moved; raise lambda of the stuck candidates."""
        search = self._lower(search, search.moved & ~search.done)
        return self._raise(search, search.stuck & ~search.done, Status.NO_IMPROVEMENT)

    def _raise(self, search: _Search, mask: Tensor, exhausted: Status) -> _Search:
        """Raise lambda where ``mask`` holds; candidates above the limit end with ``exhausted``."""
        faster = (search.rate * GROWTH).clamp(min=GROWTH)
        raised = (search.lam * faster).clamp(min=LEAST_LAMBDA)
        search = search._replace(
            lam=torch.where(mask, raised, search.lam),
            rate=torch.where(mask, faster, search.rate),
        )
        return search.end(mask & (search.lam > self.options.regularisation_max), exhausted)

    def _lower(self, search: _Search, mask: Tensor) -> _Search:
        """Lower lambda where ``mask`` holds; below the minimum it becomes zero."""
        slower = (search.rate / GROWTH).clamp(max=1 / GROWTH)
        lowered = search.lam * slower
        lowered = lowered * (lowered >= LEAST_LAMBDA)
        return search._replace(
            lam=torch.where(mask, lowered, search.lam),
            rate=torch.where(mask, slower, search.rate),
        )

    def _tolerance(self, cost: Tensor) -> Tensor:
        """Return the largest reduction ``[B, K]`` that is too small to go on, or may be rounding.

        Where the cost is infinite, it is minus infinity: no reduction is too small.
        """
        relative = max(self.options.tolerance, 8 * torch.finfo(cost.dtype).eps)
        return (relative * (1 + cost.abs())).where(cost.isfinite(), -torch.inf)


def _begin(problem: _Problem, U: Tensor, X: Tensor | None, lam: float) -> _Search:
    """Start at ``U [B, K, T, m]``, rolled out unless ``X`` is given; end those not finite."""
    if X is None:
        Xs, _, Js = problem.roll_out(U[:, :, None])
        X, J, finite = Xs[:, :, 0], Js[..., 0], Js[..., 0].isfinite()
    else:
        J = X.new_full(X.shape[:2], torch.inf)
        finite = torch.ones_like(J, dtype=torch.bool)
    return _Search(
        X=X,
        U=U,
        gains=U.new_zeros(*U.shape, X.shape[-1]),
        cost=J,
        lam=torch.full_like(J, lam),
        rate=torch.ones_like(J),
        moved=torch.zeros_like(finite),
        stuck=torch.zeros_like(finite),
        status=torch.where(finite, int(Status.ITERATION_LIMIT), int(Status.NOT_FINITE)),
        done=~finite,
        iterations=torch.zeros_like(J, dtype=torch.int64),
    )


def _take(
    search: _Search, best: Tensor, gains: Tensor, Xs: Tensor, Us: Tensor, Js: Tensor
) -> _Search:
    """Move each candidate that has not ended to its trial ``best [B, K]``; 0: no improvement."""
    item = best[..., None, None, None]
    status = torch.where(best > 0, int(Status.ITERATION_LIMIT), int(Status.NO_IMPROVEMENT))
    return search._replace(
        X=choose(search.done, search.X, Xs.take_along_dim(item, 2)[:, :, 0]),
        U=choose(search.done, search.U, Us.take_along_dim(item, 2)[:, :, 0]),
        gains=choose(search.done, search.gains, gains),
        cost=torch.where(search.done, search.cost, Js.take_along_dim(best[..., None], 2)[..., 0]),
        status=torch.where(search.done, search.status, status),
    )


def _best(search: _Search) -> Plan:
    """Return the cheapest candidate of each problem."""
    if search.cost.shape[1] == 1:
        chosen = _Search(*(field[:, 0] for field in search))
    else:
        best = search.cost.argmin(1)
        rows = torch.arange(len(best), device=best.device)
        chosen = _Search(*(field[rows, best] for field in search))
    return Plan(
        states=chosen.X,
        controls=chosen.U,
        gains=chosen.gains,
        cost=chosen.cost,
        status=chosen.status,
        iterations=chosen.iterations,
    )
