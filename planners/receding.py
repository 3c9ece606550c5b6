"""iLQG in a receding horizon.

The first call rolls random tries out, optimises the cheapest of them for a while, and then the best
of these at length. A roll-out costs a small part of an iteration, and iLQG finds only the nearest
local minimum. So the random tries find which swings lead to the goal, and iLQG makes them exact.
Where the plan leads nowhere, planning starts again, from many more and wilder tries. Not every
start has so many: learned dynamics have errors, and the cheapest of many tries often exploits one.

Every later call starts from the last plan, shifted by one step. The optimiser linearises around
that plan **as it was predicted** and rolls it out from the measured state under the new feedback,
which absorbs the difference; one or two iterations then suffice (the real-time iteration of Diehl
et al. 2005). Rolled out without feedback, the plan of an unstable system would fall apart. A warm
start is kept even if it cannot be improved. Where a plan has hardly moved, derivatives of earlier
calls are used again. The idea is that of Chen, Bruschetta, Cuccato & Beghi 2018 ("An adaptive
partial sensitivity updating scheme for fast nonlinear model predictive control"). They update the
derivatives that change most by a measure of curvature; here the distance moved decides.

iLQG does not leave a local minimum. Where the system departs from the plan, the plan can end up
with one more swing, though the system could be caught at its goal. So where a plan leads away
from the goal, there is a second starting point: to stay at the goal from now on. The feedback
around it is that of the linear-quadratic regulator at the goal, and its roll-out from the measured
state says whether that regulator catches the system. The cheaper of both plans is returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from planners import checks
from planners.base import Cost, Dynamics, Plan
from planners.compiled import Memory, code_of
from planners.costs import GoalCost
from planners.draws import noise_scale, rest, smooth_noise, within
from planners.ilqg import ILQG, ILQGOptions
from planners.rollouts import price
from planners.warm import WarmStarted

NOWHERE = 0.5
"""A plan leads nowhere if its distance from the goal (`GoalCost.distances`) at the end is more than
this times the distance at the start."""
AWAY = 2.0
"""A plan leads away from the goal if its distance from it is at any time more than this times the
distance at the start."""


@dataclass(frozen=True)
class RecedingOptions:
    """How to start, and how to go on."""

    horizon: int = 50
    """Number ``T`` of controls planned ahead; at least 1."""
    first_iterations: int = 50
    """Iterations of a start from scratch."""
    scout_iterations: int = 10
    """How many of the first iterations every starting point gets; the best gets the rest alone."""
    iterations: int = 1
    """Iterations of every later call, at most; at least 1."""
    tolerance: float = 1e-4
    """A later call of several iterations ends when one lowers the cost by less than this times
    ``1 + |cost|``. Where the system follows the plan, one iteration is enough."""
    restarts: int = 8
    """Starting points ``K`` that a start from scratch optimises, at least 1."""
    tries: int = 1
    """Random controls rolled out per starting point, at least 1; the cheapest of all are taken."""
    more_tries: int = 32
    """The same for a second start, where the first plan leads nowhere and the cost has a goal."""
    noise: tuple[float, float] = (0.5, 5.0)
    """Standard deviations of random controls, as shares of half the range of the limits: of the
    gentlest and of the wildest try. The wildest, cut off at the limits, is nearly bang-bang. Where
    there is one try for each starting point, all are gentle."""
    reuse: float = 1e-3
    """Later calls use a derivative again that was taken nearby; see `planners.ILQGOptions.reuse`.
    Where the system follows the plan, few are taken anew."""
    catch: bool = True
    """Whether later calls start from staying at the goal too, where the cost has one and the plan
    leads further from it than `AWAY`."""
    knots: int = 8
    """Random controls are drawn at this many points in time, at least 1; linear in between."""
    optimiser: ILQGOptions = field(default_factory=ILQGOptions)
    """Options of iLQG; iterations, tolerance and reuse of later calls are set by the planner."""

    def __post_init__(self) -> None:
        checks.whole(self, "horizon", "iterations", "restarts", "tries", "more_tries", "knots")
        checks.whole(self, "first_iterations", "scout_iterations", least=0)
        checks.finite(self, "tolerance", "reuse")
        checks.pair(self, "noise")
        checks.truth(self, "catch")
        checks.held(self, "optimiser", ILQGOptions)


class RecedingHorizon(WarmStarted):
    """A planner that runs iLQG at every step; it remembers its last plan and derivatives along it.

    Args:
        dynamics: System to control.
        low: ``[m]``: lower limits of the controls.
        high: ``[m]``: upper limits.
        options: Horizon, iterations and restarts.
        generator: Source of the random starting points, on the CPU; left out, torch's global one.
            All problems share these points, and they are drawn once, here. So a problem's actions
            do not depend on the problems solved beside it.

    Raises:
        ValueError: for an argument of another type, or limits that do not fit the system or each
            other.
    """

    dynamics: Dynamics

    def __init__(
        self,
        dynamics: Dynamics,
        low: Tensor,
        high: Tensor,
        options: RecedingOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dynamics, low, high)
        checks.system(dynamics, "step", "linearize")
        checks.generator(generator)
        self.options = checks.options(options, RecedingOptions)
        ilqg, first = self.options.optimiser, self.options.first_iterations
        scout = min(self.options.scout_iterations, first)
        self._scout = ILQG(replace(ilqg, max_iterations=scout))
        self._polish = ILQG(replace(ilqg, max_iterations=first - scout))
        later = replace(ilqg, max_iterations=self.options.iterations, reuse=self.options.reuse)
        if self.options.iterations > 1:
            later = replace(later, tolerance=self.options.tolerance, real_time=True)
        self._next = ILQG(later)
        more = replace(self.options, tries=self.options.more_tries)
        self._tries, self._more_tries = (
            smooth_controls(options, self.low, self.high, generator)
            for options in (self.options, more)
        )

    def reset(self) -> None:
        """Forget the last plan and its derivatives: the next call plans from scratch."""
        super().reset()
        self._memory: Memory | None = None

    def _from_scratch(self, x0: Tensor, cost: Cost) -> Plan:
        """Start from random tries; where the plan leads nowhere, start from more of them too."""
        plan = self._start(self._tries, x0, cost)
        if not isinstance(cost, GoalCost):
            return plan
        distances = cost.distances(plan.states)
        rows = (distances[:, -1] > NOWHERE * distances[:, 0]).nonzero()[:, 0]
        if len(rows) == 0:
            return plan
        return plan.with_cheaper(rows, self._start(self._more_tries, x0[rows], cost.select(rows)))

    def _start(self, tries: Tensor, x0: Tensor, cost: Cost) -> Plan:
        """Optimise the cheapest tries for a while, and then the best at length."""
        tries = tries.to(x0)
        U = torch.stack([self._cheapest(tries, x0, cost, row) for row in range(len(x0))])
        best = self._scout.optimise(self.dynamics, cost, x0, U, self.low, self.high)
        if self._polish.options.max_iterations == 0:
            return best
        U, X = best.controls[:, None], best.states[:, None]
        plan = self._polish.optimise(self.dynamics, cost, x0, U, self.low, self.high, X)
        return replace(plan, iterations=best.iterations + plan.iterations)

    def _cheapest(self, tries: Tensor, x0: Tensor, cost: Cost, row: int) -> Tensor:
        """Return the cheapest of the tries ``[S, T, m]`` of one problem, ``[K, T, m]``.

        Where none is finite, the first of them is to stay at rest. Problems take turns, since the
        states of all tries of all problems need much memory.
        """
        rows = torch.tensor([row], device=x0.device)
        low, high = self.low.to(x0), self.high.to(x0)
        found = price(self.dynamics, cost.select(rows), x0[rows], tries[None, None], low, high)
        return tries[found.J[0, 0].sort(stable=True).indices[: self.options.restarts]]

    def _improve(self, U: Tensor, X: Tensor, x0: Tensor, cost: Cost) -> Plan:
        """Iterate from the warm start; where the plan leads away, also from staying at the goal."""
        plan = self._solve_on(x0, cost, U, X, self._recall(U, X))
        if not (self.options.catch and isinstance(cost, GoalCost)):
            return plan
        distances = cost.distances(plan.states)
        farthest = distances.amax(-1)
        is_lost = plan.cost.isinf() & farthest.isfinite()
        rows = (is_lost | (farthest > AWAY * distances[:, 0])).nonzero()[:, 0]
        if len(rows) == 0:
            return plan
        asked = cost.select(rows)
        goal, reference = asked.targets(len(rows))
        stay = (reference[:, None].expand_as(U[rows]), goal[:, None].expand_as(X[rows]))
        return plan.with_cheaper(rows, self._solve_on(x0[rows], asked, *stay))

    def _solve_on(
        self, x0: Tensor, cost: Cost, U: Tensor, X: Tensor, memory: Memory | None = None
    ) -> Plan:
        """Iterate from a warm start of each problem."""
        U, X = U[:, None], X[:, None]
        return self._next.optimise(self.dynamics, cost, x0, U, self.low, self.high, X, memory)

    def _recall(self, U: Tensor, X: Tensor) -> Memory | None:
        """Return the memory of the last call, or an empty one if that call had another system.

        Without compiled code there is none.
        """
        code = code_of(self.dynamics, X)
        if code is None:
            return None
        if self._memory is None or self._memory.code is not code:
            (B, T, m), n = U.shape, X.shape[2]
            self._memory = Memory.empty(code, B, T, n, m)
        return self._memory


def smooth_controls(
    options: RecedingOptions, low: Tensor, high: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw tries ``[K tries, T, m]`` within the limits: rest first, then wilder and wilder ones."""
    o, (gentle, wild) = options, options.noise
    wild = gentle if o.tries == 1 else wild
    count = o.restarts * o.tries
    noise = smooth_noise(count, o.horizon, len(low), o.knots, generator)
    scale = gentle * (wild / gentle) ** torch.linspace(0, 1, count, dtype=torch.float64)
    controls = rest(low, high) + noise_scale(low, high, 1.0) * scale[:, None, None] * noise
    return within(controls, low, high)
