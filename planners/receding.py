"""iLQG in a receding horizon.

The first call optimises several starting points for a while, and the best of them at length. Every
later call starts from the last plan, shifted by one step. The optimiser linearises around that plan
**as it was predicted** and rolls it out from the measured state under the new feedback, which
absorbs the difference; one or two iterations then suffice (the real-time iteration of Diehl et al.
2005). Rolled out without feedback, the plan of an unstable system would fall apart. A warm start is
kept even if it cannot be improved.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from planners.base import Cost, Dynamics, Plan
from planners.draws import noise_scale, rest, smooth_noise, within
from planners.ilqg import ILQG, ILQGOptions
from planners.warm import WarmStarted, require_positive


@dataclass(frozen=True)
class RecedingOptions:
    """How to start, and how to go on."""

    horizon: int = 50
    """Number ``T`` of controls planned ahead; at least 1."""
    first_iterations: int = 50
    """Iterations of a start from scratch."""
    scout_iterations: int = 10
    """How many of them every starting point gets; the best goes on alone."""
    iterations: int = 1
    """Iterations of every later call."""
    restarts: int = 8
    """Starting points ``K`` of a start from scratch, at least 1: rest, and random controls."""
    noise: float = 0.5
    """Standard deviation of random controls, as a share of half the range of the limits."""
    knots: int = 8
    """Random controls are drawn at this many points in time, at least 1; linear in between."""
    optimiser: ILQGOptions = field(default_factory=ILQGOptions)
    """Options of iLQG; its ``max_iterations`` is set by the planner, call by call."""

    def __post_init__(self) -> None:
        require_positive(self, "horizon", "restarts", "knots")


class RecedingHorizon(WarmStarted):
    """A planner that runs iLQG at every step; it remembers only its last plan.

    Args:
        dynamics: System to control.
        low: ``[m]``: lower limits of the controls.
        high: ``[m]``: upper limits.
        options: Horizon, iterations and restarts.
        generator: Source of the random starting points, on the CPU; left out, torch's global one.
            They are drawn once, now, and shared by all problems, so that a problem's actions do not
            depend on those solved beside it.

    Raises:
        ValueError: when the limits do not fit the system or each other.
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
        self.options = options or RecedingOptions()
        ilqg, first = self.options.optimiser, self.options.first_iterations
        scout = min(self.options.scout_iterations, first)
        self._scout = ILQG(replace(ilqg, max_iterations=scout))
        self._polish = ILQG(replace(ilqg, max_iterations=first - scout))
        self._next = ILQG(replace(ilqg, max_iterations=self.options.iterations))
        self._candidates = smooth_controls(self.options, low, high, generator)

    def _from_scratch(self, x0: Tensor, cost: Cost) -> Plan:
        """Optimise every starting point for a while, and then the best at length."""
        U = self._candidates.to(x0).expand(len(x0), -1, -1, -1)
        best = self._scout.solve(self.dynamics, cost, x0, U, self.low, self.high)
        if self._polish.options.max_iterations == 0:
            return best
        U, X = best.controls, best.states[:, None]
        plan = self._polish.solve(self.dynamics, cost, x0, U, self.low, self.high, X)
        return replace(plan, iterations=best.iterations + plan.iterations)

    def _improve(self, U: Tensor, X: Tensor, x0: Tensor, cost: Cost) -> Plan:
        """Iterate from the warm start."""
        return self._next.solve(self.dynamics, cost, x0, U, self.low, self.high, X[:, None])


def smooth_controls(
    options: RecedingOptions, low: Tensor, high: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw starting controls ``[restarts, T, m]`` within the limits, the first of them at rest."""
    o = options
    noise = smooth_noise(o.restarts, o.horizon, len(low), o.knots, generator)
    controls = rest(low, high) + noise_scale(low, high, o.noise) * noise
    return within(controls, low, high)
