"""Receding horizon: plan, act once, shift the plan by one step, plan again from there.

All planners that start from their last plan do the following, however they improve it:

* The first call plans from scratch. Every later call starts from the last plan, shifted by one step
  (a *warm start*), and improves it a little.
* A warm start that gives no finite plan is *lost*. It restarts from scratch on losses 1, 2, 4, 8,
  ...; in between, the last plan is shifted and used. So a problem that is lost at every call costs
  little.
* A state that is not finite cannot be planned from. It is no loss: the last plan is shifted and
  used until the state is known again.

A control loop thus gets finite controls within the limits at every call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from planners import checks
from planners.base import Cost, Plan, System, choose
from planners.compiled import code_of


class WarmStarted(ABC):
    """A `planners.base.Planner` that starts from its last plan; see the module's docstring.

    A subclass says how to plan from scratch and how to improve a plan.

    Args:
        dynamics: System to control.
        low: ``[m]``: lower limits of the controls, may be minus infinity; they are copied.
        high: ``[m]``: upper limits; they are copied.

    Raises:
        ValueError: when ``dynamics`` is no system, or the limits do not fit it or each other.
    """

    def __init__(self, dynamics: System, low: Tensor, high: Tensor) -> None:
        checks.system(dynamics, "step")
        self.dynamics = dynamics
        self.low, self.high = checks.limits(low, high, dynamics.control_dim)
        self.reset()

    def reset(self) -> None:
        """Forget the last plan: the next call plans from scratch."""
        self._plan: Plan | None = None
        self._calls = 0
        self.lost = torch.zeros(0, dtype=torch.int64)
        """``[B]``: how often the warm start of each problem was lost since the reset."""

    @torch.no_grad()
    def plan(self, x0: Tensor, cost: Cost) -> Plan:
        """Plan from the states ``x0 [B, n]``; the action to take is ``plan.controls[:, 0]``.

        Numerical failures are not raised. Where no finite plan is found, the cost is infinite and
        the plan is the last one, shifted by one step. Where there is no last plan, the controls are
        those nearest to zero and the state stays where it is.

        If the number of problems differs from that of the last call, planning begins anew, as after
        `reset`.

        Raises:
            ValueError: when ``x0`` is no tensor of states, or not of the dtype of the last plan, or
                ``cost`` is not of this system.
        """
        checks.states(x0, self.dynamics.state_dim)
        checks.goals(cost, x0, self.dynamics.control_dim)
        if self._plan is not None and len(self._plan.states) != len(x0):
            self.reset()
        last = self._plan
        if last is None:
            self.lost = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
            plan = self._from_scratch(x0, cost)
        else:
            checks.alike(x0, last.states)
            plan = self._improve(*shift(self.dynamics, last), x0, cost)
        found = bool(np.isfinite(plan.cost.cpu().numpy()).all())
        if last is not None and not found:
            plan = self._restart(plan, x0, cost)
        self._plan = plan
        self._calls += 1
        return plan if found else _with_finite_states(plan, x0)

    @abstractmethod
    def _from_scratch(self, x0: Tensor, cost: Cost) -> Plan:
        """Plan without a warm start; the cost is infinite where no finite plan is found."""

    @abstractmethod
    def _improve(self, U: Tensor, X: Tensor, x0: Tensor, cost: Cost) -> Plan:
        """Improve the warm start ``U [B, T, m]``, ``X [B, T+1, n]`` from the states ``x0``.

        ``X[:, 0]`` was predicted and is only near ``x0``. Where no finite plan is found, return
        ``U`` and ``X`` unchanged, with an infinite cost.
        """

    def _restart(self, plan: Plan, x0: Tensor, cost: Cost) -> Plan:
        """Count the lost problems whose state is finite; restart them on losses 1, 2, 4, 8, ...

        Problems without a finite plan keep their last plan, shifted by one step, until a restart
        succeeds. The states of that plan are not finite if there never was a finite plan.
        """
        lost = ~plan.cost.isfinite() & x0.isfinite().all(-1)
        self.lost = self.lost + lost
        power_of_two = (self.lost & (self.lost - 1)) == 0
        rows = (lost & power_of_two).nonzero()[:, 0]
        if len(rows) == 0:
            return plan
        return plan.with_found(rows, self._from_scratch(x0[rows], cost.select(rows)))


def shift(system: System, plan: Plan) -> tuple[Tensor, Tensor]:
    """Move a plan on by one step: controls ``[B, T, m]`` and states ``[B, T+1, n]``.

    The last control is repeated, not zeroed: near a goal that must be held against a force, it is
    the control that holds it. If it leads to no finite state, the last state is repeated too.
    """
    code = code_of(system, plan.states)
    if code is not None:
        from planners import fused

        return fused.shift(code, plan)
    u, x = plan.controls[:, -1], plan.states[:, -1]
    following = system.step(x, u)
    following = following.where(following.isfinite(), x)
    controls = torch.cat((plan.controls[:, 1:], u[:, None]), 1)
    return controls, torch.cat((plan.states[:, 1:], following[:, None]), 1)


def _with_finite_states(plan: Plan, x0: Tensor) -> Plan:
    """Replace states that are not finite by ``x0``, with zero for entries that are not finite.

    Only a problem that never had a finite plan has such states.
    """
    known = plan.states.isfinite().all(-1).all(-1)
    held = x0.where(x0.isfinite(), 0.0)[:, None].expand_as(plan.states)
    return replace(plan, states=choose(known, plan.states, held))
