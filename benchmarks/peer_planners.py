"""What users would plan with instead of ours: other people's planners, on the same problem.

All roll the same step function out, for the same cost, over the same horizon, from the same states.
Peers take a model in torch; one of them can also be lent our compiled roll-outs. Those that sample
draw as many samples as ours, and iterate as often where nothing else is said. Every planner goes on
from its own last plan, shifted by one step. A peer's temperature and its standard deviation are in
the units of the cost and of the controls, so its user has to choose them: of those tried, they gave
the plans of lowest cost with the model that comes with the project.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from e2c.control.latent import LatentDynamics
from planners import PLANNERS, CEMOptions, GoalCost, MPPIOptions, RecedingOptions
from planners.rollouts import finite_cost, roll_out

Plans = Callable[[Tensor], Tensor]
"""Gives controls ``[T, m]`` for a state ``[n]``; it starts from those of the call before."""


@dataclass(frozen=True)
class Problem:
    """What is planned: a latent model, the cost of being away from a goal, and the limits.

    Attributes:
        dynamics: the latent model.
        cost: its terminal weight must be that of the other states, as no peer has one of its own.
        low: ``[m]``, lower limits of the controls.
        high: ``[m]``, upper limits.
        horizon: T.
    """

    dynamics: LatentDynamics
    cost: GoalCost
    low: Tensor
    high: Tensor
    horizon: int

    def price(self, x: Tensor, U: Tensor) -> Tensor:
        """Return the cost ``[S]`` of the controls ``U [S, T, m]`` from the state ``x [n]``."""
        X, U = roll_out(self.dynamics, x[None], U[None, None], self.low, self.high)
        return finite_cost(self.cost, X, U)[0, 0]

    def price_in_torch(self, x: Tensor, U: Tensor) -> Tensor:
        """Return the same cost, with the model called in torch, step by step."""
        U = U.clamp(self.low, self.high)
        X = [x.expand(len(U), -1)]
        for u in U.unbind(1):
            X.append(self.dynamics.step(X[-1], u))
        return finite_cost(self.cost, torch.stack(X, 1)[None], U[None])[0]

    def stage(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the cost ``[S]`` of the states ``x [S, n]`` and the controls ``u [S, m]``."""
        return self.cost.total(torch.stack((x, self.cost.goal.expand_as(x)), -2), u[:, None])


def ours(name: str) -> Callable[[Problem], Plans]:
    """Return what builds a planner of ours, with its own options.

    But iLQG goes on from its last plan alone, as its peers do.

    Args:
        name: of the planner, in `PLANNERS`.
    """
    options = RecedingOptions(catch=False) if name == "ilqg" else None

    def build(problem: Problem) -> Plans:
        p, generator = problem, torch.Generator().manual_seed(0)
        planner = PLANNERS[name](
            p.dynamics, p.low, p.high, horizon=p.horizon, options=options, generator=generator
        )
        return lambda x: planner.plan(x[None], p.cost).controls[0]

    return build


@dataclass
class PytorchMPPI:
    """MPPI of pytorch-mppi: white noise, one iteration for each call of its ``command``."""

    problem: Problem

    def __post_init__(self) -> None:
        from pytorch_mppi import MPPI

        p, o = self.problem, MPPIOptions()
        std = 0.125 * (p.high - p.low) / 2  # tried: 0.125, 0.25, 0.5 and 1
        self.first, self.options = True, o
        self.planner = MPPI(
            p.dynamics.step,
            p.stage,
            p.dynamics.state_dim,
            torch.diag(std.square()),
            num_samples=o.samples,
            horizon=p.horizon,
            lambda_=0.01,  # tried: 0.001 to 3
            u_min=p.low,
            u_max=p.high,
            U_init=torch.zeros(p.horizon, p.dynamics.control_dim),
        )

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Iterate from the last controls, shifted; at first as often as ours does."""
        for i in range(self.options.first_iterations if self.first else self.options.iterations):
            self.planner.command(x, shift_nominal_trajectory=i == 0 and not self.first)
        self.first = False
        return self.planner.U.clone()


class MPCStep(nn.Module):
    """A latent model as mpc.pytorch wants it, with its exact derivatives."""

    def __init__(self, dynamics: LatentDynamics) -> None:
        super().__init__()
        self.dynamics = dynamics

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next states ``[B, n]`` of ``x [B, n]`` under ``u [B, m]``."""
        return self.dynamics.step(x, u)

    def grad_input(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives ``[B, n, n]`` and ``[B, n, m]``."""
        return self.dynamics.linearize(x, u)


@dataclass
class MPCPytorch:
    """The box-constrained iLQR of mpc.pytorch (locuslab): one iteration after the first call.

    It is given our derivatives; those that it finds itself, by autograd, take longer. Its cost has
    a control at the last time too, which ours has not: the best is none, and it is left out.
    """

    problem: Problem

    def __post_init__(self) -> None:
        from mpc.mpc import QuadCost

        p = self.problem
        goal, reference = p.cost.goal, p.cost.reference
        C = 2 * torch.block_diag(p.cost.Q, p.cost.R)
        c = -2 * torch.cat((p.cost.Q @ goal, p.cost.R @ reference))
        steps = p.horizon + 1
        self.cost = QuadCost(C.expand(steps, 1, *C.shape), c.expand(steps, 1, *c.shape))
        self.step = MPCStep(p.dynamics)
        self.limits = [limit.expand(steps, 1, len(limit)) for limit in (p.low, p.high)]
        self.last: Tensor | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Iterate from the last controls, shifted; at first as often as ours does."""
        from mpc.mpc import MPC, GradMethods

        p, options = self.problem, RecedingOptions()
        solver = MPC(
            p.dynamics.state_dim,
            p.dynamics.control_dim,
            p.horizon + 1,
            *self.limits,
            u_init=self.last,
            lqr_iter=options.first_iterations if self.last is None else options.iterations,
            grad_method=GradMethods.ANALYTIC,
            exit_unconverged=False,
            detach_unconverged=False,
            backprop=False,
            verbose=-1,
            n_batch=1,
        )
        U = solver(x[None], self.cost, self.step)[1][:-1]
        self.last = torch.cat((U[1:], U[-1:], torch.zeros_like(U[:1])))
        return U[:, 0]


@dataclass
class WorldModelSolver:
    """CEM or MPPI of stable-worldmodel: the mean of the last iteration is the plan.

    Attributes:
        problem: what is planned; its controls have the same range.
        name: of the solver.
        std: of the first samples, as a share of half the range.
        lent: whether it rolls out by our compiled code, and not in torch.
        settings: of the solver, beside its samples and iterations.
    """

    problem: Problem
    name: str
    std: float
    lent: bool
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        p, o = self.problem, CEMOptions()
        scale = self.std * float((p.high - p.low)[0] / 2)
        solver = getattr(_solvers_of_stable_worldmodel(), self.name)
        self.solver = solver(self, num_samples=o.samples, var_scale=scale, **self.settings)
        self.solver.configure(
            action_space=Box(-1, 1, (1, p.dynamics.control_dim)),
            n_envs=1,
            config=SimpleNamespace(horizon=p.horizon, action_block=1),
        )
        self.options = o
        self.last: Tensor | None = None

    def get_cost(self, info: Mapping[str, Tensor], candidates: Tensor) -> Tensor:
        """Return costs ``[1, S]`` of ``candidates [1, S, T, m]``: what the solver asks a model."""
        price = self.problem.price if self.lent else self.problem.price_in_torch
        return price(info["x"][0, 0], candidates[0])[None]

    def __call__(self, x: Tensor) -> Tensor:
        """Iterate from the last controls, shifted; at first as often as ours does."""
        o = self.options
        self.solver.n_steps = o.first_iterations if self.last is None else o.iterations
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
            U: Tensor = self.solver.solve({"x": x[None]}, self.last)["actions"]
        self.last = U[:, 1:]
        return U[0]


def stable_worldmodel(
    name: str, std: float, lent: bool, **settings: Any
) -> Callable[[Problem], Plans]:
    """Return what builds the solver of stable-worldmodel called ``name``; see its attributes."""
    return lambda problem: WorldModelSolver(problem, name, std, lent, settings)


def _solvers_of_stable_worldmodel() -> ModuleType:
    """Import the solvers alone.

    The package as a whole imports torchvision, lance and pyarrow, which no solver uses; and the
    torchvision of PyPI, which is built for CUDA, cannot be imported beside a torch for the CPU.
    """
    package = "stable_worldmodel"
    spec = importlib.util.find_spec(package)
    assert spec is not None, "the benchmark leaves out what is not installed"
    sys.modules.setdefault(package, importlib.util.module_from_spec(spec))
    return importlib.import_module(f"{package}.solver")
