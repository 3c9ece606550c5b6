"""Receding horizon: plan, act once, shift, plan again. The only place where plans are warm-started.

The first call optimises several starting points for a while, and the best of them at length. Every
later call starts from the plan before, moved on by one step: the optimiser linearises around it
**as it was predicted** and rolls it out from the measured state under the new feedback, which
absorbs the difference; one or two iterations then suffice (the real-time iteration of Diehl et al.
2005). Rolled out without feedback, the plan of an unstable system would fall apart. A warm start is
kept even if it cannot be improved.

It is lost where nothing finite comes of it. Such a problem, and no other, starts from scratch; but
only at its first, second, fourth, eighth ... loss, so that one which is lost for ever costs next to
nothing. Meanwhile, and where a state that is not finite leaves nothing to start from, the plan
before goes on, moved by one step: a loop gets finite controls within the limits at every call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planners.base import Cost, Dynamics, Plan, choose
from planners.ilqg import ILQG, ILQGOptions, roll_out


@dataclass(frozen=True)
class RecedingOptions:
    """How to start, and how to go on."""

    horizon: int = 50
    """Number ``T`` of controls planned ahead."""
    first_iterations: int = 50
    """Iterations of a start from scratch."""
    scout_iterations: int = 10
    """How many of them every starting point gets; the best goes on alone."""
    iterations: int = 1
    """Iterations of every later call."""
    restarts: int = 8
    """Starting points ``K`` of a start from scratch: no control at all, and random ones."""
    fresh: int = 0
    """Random starting points beside each warm start, so that a stuck plan can be escaped."""
    noise: float = 0.5
    """Standard deviation of random controls, as a share of half the range of the limits."""
    knots: int = 8
    """Random controls are drawn at this many points in time and are linear in between."""


class RecedingHorizon:
    """A controller that optimises at every step; it remembers only its last plan.

    Args:
        dynamics: System to control.
        low: ``[m]``: lower limits of the controls.
        high: ``[m]``: upper limits.
        options: Horizon, iterations and restarts.
        ilqg: Options of the optimiser; its ``max_iterations`` is set here, call by call.
        generator: Source of the random starting points. They are drawn once, now, and shared by all
            problems, so that a problem's actions do not depend on those solved beside it.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        low: Tensor,
        high: Tensor,
        options: RecedingOptions | None = None,
        ilqg: ILQGOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dynamics, self.low, self.high = dynamics, low, high
        self.options = options or RecedingOptions()
        ilqg = ilqg or ILQGOptions()
        first = self.options.first_iterations
        scout = min(self.options.scout_iterations, first)
        self._scout = ILQG(replace(ilqg, max_iterations=scout))
        self._polish = ILQG(replace(ilqg, max_iterations=first - scout))
        self._next = ILQG(replace(ilqg, max_iterations=self.options.iterations))
        self._candidates = smooth_controls(self.options, low, high, generator)
        self.reset()

    def reset(self) -> None:
        """Forget the last plan: the next call starts from scratch."""
        self._plan: Plan | None = None
        self._calls = 0
        self.lost = torch.zeros(0, dtype=torch.int64)
        """``[B]``: warm starts of each problem since the reset of which nothing finite came."""

    def plan(self, x0: Tensor, cost: Cost) -> Plan:
        """Plan from the states ``x0 [B, n]``; the action to take is ``plan.controls[:, 0]``.

        Nothing is raised, whatever is not finite. Where the cost is infinite, the plan is the one
        before, moved on by one step; or rest, in a state that stays, if there is none.
        """
        if self._plan is None or len(self._plan.states) != len(x0):
            self.lost = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
            plan = self._from_scratch(x0, cost)
        else:
            plan = self._continue(self._plan, x0, cost)
        self._plan = plan
        self._calls += 1
        return _finite(plan, x0)

    def _from_scratch(self, x0: Tensor, cost: Cost) -> Plan:
        """Optimise every starting point for a while, and then the best at length."""
        U = self._candidates.to(x0).expand(len(x0), -1, -1, -1)
        best = self._scout.solve(self.dynamics, cost, x0, U, self.low, self.high)
        if self._polish.options.max_iterations == 0:
            return best
        U, X = best.controls, best.states[:, None]
        plan = self._polish.solve(self.dynamics, cost, x0, U, self.low, self.high, X)
        return replace(plan, iterations=best.iterations + plan.iterations)

    def _continue(self, last: Plan, x0: Tensor, cost: Cost) -> Plan:
        """Continue the last plan; what is lost on the way stays the plan before until it is found.

        States that were never known are NaN in the plan that is kept, so that they are lost again.
        """
        U, X = self._warm_start(last, x0)
        plan = self._next.solve(self.dynamics, cost, x0, U, self.low, self.high, X)
        lost = ~plan.cost.isfinite()
        return self._recover(plan, lost, x0, cost) if bool(lost.any()) else plan

    def _recover(self, plan: Plan, lost: Tensor, x0: Tensor, cost: Cost) -> Plan:
        """Start from scratch what is ``lost [B] bool``, if its state is known and its turn came."""
        lost = lost & x0.isfinite().all(-1)
        self.lost = self.lost + lost
        power_of_two = (self.lost & (self.lost - 1)) == 0
        rows = (lost & power_of_two).nonzero()[:, 0]
        if len(rows) == 0:
            return plan
        return plan.with_found(rows, self._from_scratch(x0[rows], cost.select(rows)))

    @torch.no_grad()
    def _warm_start(self, last: Plan, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Return controls ``[B, 1+fresh, T, m]`` and states: the shifted plan, and fresh starts."""
        U, X = (part[:, None] for part in shift(self.dynamics, last))
        if self.options.fresh == 0:
            return U, X
        chosen = torch.arange(self.options.fresh) + self._calls * self.options.fresh
        fresh = self._candidates[chosen % len(self._candidates)].to(U)
        fresh = fresh.expand(len(U), -1, -1, -1)
        low, high = self.low.to(U), self.high.to(U)
        states, _ = roll_out(self.dynamics, x0, fresh[:, :, None], low, high)
        return torch.cat((U, fresh), 1), torch.cat((X, states[:, :, 0]), 1)


def shift(dynamics: Dynamics, plan: Plan) -> tuple[Tensor, Tensor]:
    """Move a plan on by one step: controls ``[B, T, m]`` and states ``[B, T+1, n]``.

    The last control is repeated, not zeroed: near a goal that must be held against a force it is
    the holding control. Where it leads to nothing finite, the last state is repeated too.
    """
    u, x = plan.controls[:, -1], plan.states[:, -1]
    following = dynamics.step(x, u)
    following = following.where(following.isfinite(), x)
    controls = torch.cat((plan.controls[:, 1:], u[:, None]), 1)
    return controls, torch.cat((plan.states[:, 1:], following[:, None]), 1)


def _finite(plan: Plan, x0: Tensor) -> Plan:
    """Let the state stay where it is, or at zero, where ``plan`` knows of no finite states."""
    if bool(plan.cost.isfinite().all()):
        return plan
    known = plan.states.isfinite().all(-1).all(-1)
    held = x0.where(x0.isfinite(), 0.0)[:, None].expand_as(plan.states)
    return replace(plan, states=choose(known, plan.states, held))


def smooth_controls(
    options: RecedingOptions, low: Tensor, high: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw starting controls ``[restarts, T, m]`` within the limits, the first of them at rest."""
    shape = (options.restarts, len(low), options.knots)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    drawn[0] = 0
    smooth = torch.nn.functional.interpolate(
        drawn, options.horizon, mode="linear", align_corners=True
    ).mT
    low, high = low.to(smooth), high.to(smooth)
    half = (high - low) / 2
    scale = options.noise * torch.where(half.isfinite(), half, 1.0)
    rest = torch.zeros_like(low).clamp(low, high)
    return (rest + scale * smooth).clamp(low, high)
