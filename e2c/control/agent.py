"""From an observation to an action: encode, plan in the latent space, act.

The only place where the model's types meet the planner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from e2c.control.belief import Belief, Figures
from e2c.control.goals import as_observations
from e2c.control.latent import LatentDynamics
from e2c.control.own_planner import Sizes, check_first_plan, check_plan, check_planner
from e2c.errors import E2CError
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.parts import call
from e2c.options import checked, look_up, option
from envs.arrays import as_array, form_of
from planners import (
    PLANNERS,
    Builder,
    Dynamics,
    GoalCost,
    Plan,
    Planner,
    RecedingOptions,
    Status,
    holding_control,
)

NEAR = 0.05
"""A goal is near that is at most this far, in the unit of `Agent.distance_to_goal`."""
DRIFT = 5e-4
"""The most that a model may move in a step where it should stay at its goal, in the same unit, for
that to be put right. A model that moves further does not know its goal yet."""
INTEGRAL_RATE = 0.015
"""Share of the control beyond the holding one that is added for good at each step near a goal."""

TROUBLES = (Status.NO_IMPROVEMENT, Status.NOT_FINITE, Status.NOT_POSITIVE_DEFINITE)
"""Ends of an optimisation that are counted."""


@dataclass(frozen=True)
class PlannerConfig:
    """The planner over the latent dynamics, in a receding horizon."""

    name: Annotated[str, tyro.conf.arg(name="planner", prefix_name=False)] = "ilqg"
    """Which planner: ilqg, cem, mppi, or one that a module of yours registers (--import)."""
    horizon: int = option(60, 1, 1000)
    """Steps planned ahead."""
    iterations: int = option(2, 1, 1000)
    """iLQG iterations at each control step; the plan before is the start."""
    catch: bool = True
    """Whether iLQG has a second start at each control step: to stay at the goal from now on."""
    first_iterations: int = option(50, 1, 10_000)
    """iLQG iterations at the first step of an episode."""
    restarts: int = option(8, 1, 1000)
    """Starting points of iLQG at the first step of an episode; the best is kept."""
    tries: int = option(1, 1, 10_000)
    """Random controls rolled out for each of them, of which the cheapest are taken. Many find
    better plans where the model is exact."""
    control_weight: float = option(0.5, 1e-6)
    """Cost of full control, per step, in units of the state cost of one standard deviation."""
    terminal_weight: float = option(1.0)
    """Weight of the last state's distance from the goal, against 1 for the others. A large one
    makes plans arrive within the horizon, and asks more of the model."""
    jacobian: Literal["true", "A"] = "true"
    """Derivative of the dynamics by the state in iLQG: that of A(z)z + B(z)u + o(z), or A(z)."""
    belief: bool = False
    """Whether the agent plans from its belief, which the model predicts and each observation
    corrects, where the model has learned a sight; else from each observation alone."""


def build_planner(dynamics: Dynamics, spec: ProblemSpec, options: PlannerConfig) -> Planner:
    """Build the planner that the options name; its random numbers are the same every time.

    Raises:
        E2CError: when there is no such planner, it is built otherwise, or lacks a method.
    """
    own = RecedingOptions(
        first_iterations=options.first_iterations,
        iterations=options.iterations,
        restarts=options.restarts,
        tries=options.tries,
        catch=options.catch,
    )
    planner = call(
        find_planner(options.name),
        "planners.Builder",
        dynamics,
        torch.tensor(spec.control_low),
        torch.tensor(spec.control_high),
        horizon=options.horizon,
        options=own if options.name == "ilqg" else None,
        generator=torch.Generator().manual_seed(0),
    )
    check_planner(planner, options.name)
    return planner


def find_planner(name: str) -> Builder:
    """Return what builds the planner called ``name``.

    Raises:
        E2CError: when there is none, with the nearest name.
    """
    return look_up(PLANNERS, name, "planner")


def goal_cost(
    goal: Tensor, variance: Tensor, spec: ProblemSpec, options: PlannerConfig, holding: Tensor
) -> GoalCost:
    """Build the cost of being away from a goal, in a unit that does not depend on the space.

    ``goal`` is ``[n]``, or ``[B, n]`` with one for each problem; ``holding``, the control that
    holds it, is ``[m]`` or ``[B, m]``. A state as far from the goal as the data spread
    (``variance``: their summed variance) costs 1 a step, and a control as far from the holding one
    as full control is from none costs ``options.control_weight`` a step.
    """
    Q = goal.new_ones(goal.shape[-1:]) / variance
    R = options.control_weight / spec.control_scale.to(goal).square()
    return GoalCost(goal, Q, R, options.terminal_weight * Q, holding)


def blank(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell ``[B]`` which observations ``[B, C, H, W]`` have a plane of one value alone.

    A camera that fails returns black; whatever it returns, such a frame shows nothing.
    """
    from e2c.models import read_kernels  # and with it numba, only where it is needed

    found: NDArray[np.bool_] = read_kernels.blank(images)
    return found


class Agent:
    """Sees frames only, and answers with actions within the limits, which are always finite.

    Where an observation shows nothing, being blank or without a finite encoding, the agent goes on
    from where its last plan expects to be by now. A blank one at the first step of an episode,
    before any plan, is encoded all the same.

    A goal may take a force to hold, and the learned dynamics are not exact. So three things keep
    the agent from standing beside its goal:

    * Control costs from the *holding control*, under which the model best stays at the goal.
    * What the model still moves there is taken from it, and nearly as much from its steps nearby
      (`LatentDynamics.stay`). This is left out where the limits cut the holding control off, since
      the goal can then only be passed; where the episodes of a batch have different goals, since
      they share one model; and where it is large, since the model then does not know its goal yet
      (`DRIFT`).
    * Near the goal, the control beyond the holding one is summed, and the sum added to the actions
      (integral action): a holding control that was learned wrongly is put right.

    Source: offset-free model predictive control (Muske & Badgwell 2002; Pannocchia & Rawlings
    2003), whose disturbance is the second of these in the states and the third in the controls.

    Args:
        model: a trained model.
        spec: its task.
        options: its planner.
    """

    def __init__(self, model: LatentModel, spec: ProblemSpec, options: PlannerConfig) -> None:
        self.model, self.spec, self.options = model, spec, options
        self.dynamics = LatentDynamics(model.transition, options.jacobian)
        self.planner = build_planner(self.dynamics, spec, options)
        self._low, self._high = np.array(spec.control_low), np.array(spec.control_high)
        believing = options.belief and model.sight is not None
        self._figures = Figures.of(model.sight) if believing and model.sight else None
        self.belief: Belief | None = None
        """What is believed of every episode in the batch; None without a sight."""
        self.plan: Plan | None = None
        """The last plan, of every episode in the batch."""
        self.reset()

    @checked
    def with_planner(self, name: str | None = None, belief: bool | None = None) -> Agent:
        """Return an agent with the same model that plans in another way.

        A goal that was set is not kept; give it to the new agent's `reset`.

        Args:
            name: of the planner, in `PLANNERS`; None for the same.
            belief: whether it plans from a belief; None for as before.

        Raises:
            E2CError: when there is no such planner, or for a belief of a model without a sight.
        """
        if belief and self.model.sight is None:
            raise E2CError(
                "There is no belief, since the model has learned no sight; train one with "
                "optimiser.sight_steps above 0."
            )
        asked: dict[str, Any] = {"name": name, "belief": belief}
        changes = {key: value for key, value in asked.items() if value is not None}
        return Agent(self.model, self.spec, replace(self.options, **changes))

    @torch.inference_mode()
    def reset(self, goal: NDArray[np.uint8] | str | Path | None = None) -> None:
        """Begin an episode, or a batch of them.

        Args:
            goal: what to reach: an observation, or a batch of them, one for each episode; a
                picture, uint8 ``[h, w, 3]``; or a file, as `e2c.control.goals` reads them. The goal
                that the model was trained with by default.

        Raises:
            E2CError: when the goal is none of these, or one alone shows nothing.
        """
        given = None if goal is None else as_observations(goal, self.spec)
        images = self.model.goal if given is None else self._images("A goal", given)
        alone = images.reshape(-1, *images.shape[-3:])  # so that no goal depends on its neighbours
        z = torch.stack([self.model.read(image).mean for image in alone])
        self._goals = None if images.ndim == 3 else len(z)
        holding = self._hold(z)
        if images.ndim == 3:
            z, holding = z[0], holding[0]
        self.cost = goal_cost(z, self.model.latent_variance, self.spec, self.options, holding)
        self._goal, self._holding = z.cpu().numpy(), holding.cpu().numpy()
        self._variance = float(self.model.latent_variance)
        self.planner.reset()
        self._begin(0)

    def _hold(self, z: Tensor) -> Tensor:
        """Return the controls ``[G, m]`` that hold the goals ``z [G, n]``.

        Where these are one goal, the limits do not cut its control off, and the dynamics nearly
        stay there under it, they stay there exactly from now on.
        """
        self.dynamics.forget()
        low, high = (torch.from_numpy(limit).to(z) for limit in (self._low, self._high))
        holding = holding_control(self.dynamics, z, low, high)
        inside = (low < holding) & (holding < high)
        drift = z - self.dynamics.step(z, holding)
        small = drift.square().sum(-1) < DRIFT * self.model.latent_variance
        if bool((z == z[0]).all() & inside.all() & small.all()):
            self.dynamics.stay(z[0], holding[0])
        return holding

    @property
    def faults(self) -> dict[str, NDArray[np.int64]]:
        """Steps since the reset at which something went wrong, by kind: counts ``[B]``.

        ``blind``: the observation showed nothing. ``lost``: nothing finite came of continuing the
        plan; it was begun again, or the one before went on. The others say how optimisations
        ended, by the names of :class:`planners.Status`; some without improvement are no fault.
        """
        ended = {status.name.lower(): self._ended[:, status].copy() for status in TROUBLES}
        return {"blind": self._blind.copy(), "lost": self.planner.lost.cpu().numpy(), **ended}

    def distance_to_goal(self) -> NDArray[np.float64]:
        """Return how far from the goal each episode is by the last plan, ``[B]``.

        It is the squared latent distance over the summed variance of the encodings, which the
        planner minimises: 1 is as far as the data spread.

        Raises:
            E2CError: before the first call of `act`.
        """
        if self.plan is None:
            raise E2CError("There is no plan yet; call act(observation) first.")
        return self._distance(self.plan)

    def _distance(self, plan: Plan) -> NDArray[np.float64]:
        """Return `distance_to_goal` of the states that ``plan`` begins with, ``[B]``."""
        away = (plan.states[:, 0].cpu().numpy() - self._goal).astype(np.float64)
        distance: NDArray[np.float64] = (away * away).sum(-1) / self._variance
        return distance

    def _begin(self, batch: int) -> None:
        """Forget the last plan, and count anew for ``batch`` episodes."""
        self.plan = None
        self._blind = np.zeros(batch, np.int64)
        self._ended = np.zeros((batch, len(Status)), np.int64)
        self._integral = np.zeros((batch, len(self._low)))
        if self._figures is not None:
            self.belief = Belief(self.dynamics, self._figures, batch)

    @torch.inference_mode()
    def act(self, observation: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Choose the next action.

        Args:
            observation: uint8 of the shape of an observation of the agent's world, such as
                ``[F, H, W]``, or a batch of them.

        Returns:
            float32 ``[m]`` or ``[B, m]``, in the world's unit.

        Raises:
            E2CError: when the observation has another shape or type, there are not as many as
                goals, or an own planner does not return a plan as `planners.Plan` is.
        """
        images = self._images("An observation", observation)
        single = images.ndim == 3
        z = self._latent_states(images[None] if single else images)
        sizes = Sizes(len(z), self.options.horizon, len(self._low), z.shape[1])
        plan = check_plan(self.planner.plan(z, self.cost), self.options.name, sizes)
        if self.plan is None:
            check_first_plan(self.planner, plan, self.options.name, sizes)
        self.plan = plan
        self._ended[np.arange(len(z)), self.plan.status.cpu().numpy()] += 1
        action = self._control(self.plan).astype(np.float32)
        return action[0] if single else action

    def _control(self, plan: Plan) -> NDArray[np.float64]:
        """Return the controls ``[B, m]`` to give now: the plan's, and the integral.

        Only what acts, which is within the limits, is integrated.
        """
        wanted = plan.controls[:, 0].cpu().numpy() + self._integral
        control: NDArray[np.float64] = np.minimum(np.maximum(wanted, self._low), self._high)
        if self.belief is not None:  # what the integral cancels does not move the state
            self.belief.predict(control - self._integral)
        near = self._distance(plan)[:, None] < NEAR
        self._integral += INTEGRAL_RATE * near * (control - self._integral - self._holding)
        return control

    @torch.inference_mode()
    @checked
    def imagine(self, steps: Sequence[int]) -> NDArray[np.uint8]:
        """Draw the last plan: the newest frame at each of S ``steps`` ahead.

        Args:
            steps: from 0, now, to the horizon of the plan.

        Returns:
            ``[B, S, H, W]``, or ``[B, S, H, W, 3]`` of a world in colour.

        Raises:
            E2CError: before the first call of `act`, or for a step beyond the plan's horizon.
        """
        if self.plan is None:
            raise E2CError("There is no plan to imagine yet; call act(observation) first.")
        horizon = self.plan.controls.shape[1]
        if beyond := [step for step in steps if not 0 <= step <= horizon]:
            raise E2CError(
                f"The plan reaches {horizon} steps ahead, and step {beyond[0]} was asked for; "
                f"choose steps from 0 to {horizon}."
            )
        drawn = self.model.decode(self.plan.states[:, steps])
        return self.spec.layout.frames_of(drawn)[:, :, -1]

    def _latent_states(self, images: NDArray[np.uint8]) -> Tensor:
        """Return latent states ``[B, n]``: the encodings, or else what was predicted for now."""
        if self._goals not in (None, len(images)):
            raise E2CError(
                f"The agent was given goals of {self._goals} episodes and observations of "
                f"{len(images)}; give as many of both, or one goal for all."
            )
        if len(images) != len(self._blind):
            self._begin(len(images))
        q = self.model.read(images)
        blind = blank(images) | ~np.isfinite(q.mean.cpu().numpy()).all(-1)
        self._blind += blind
        if self.belief is not None:
            self.belief.observe(q, ~blind)
            return torch.from_numpy(self.belief.mean).to(q.mean)
        if self.plan is None:
            return q.mean
        expected, z = self.plan.states[:, 1].to(q.mean), q.mean
        if self.model.sight is not None:
            z = self.model.sight.steadied(z, expected)
        if blind.any():
            z[blind] = expected[blind]
        return z

    def _images(self, what: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Check images of the shape of observations and return a copy of their planes."""
        wanted = self.spec.observation_shape
        array = as_array(images)
        known = array.ndim - len(wanted) in (0, 1) and array.shape[-len(wanted) :] == wanted
        if array.dtype != np.uint8 or not known or array.size == 0:
            hint = " (reset() returns an observation and an info)" if array.dtype == object else ""
            raise E2CError(
                f"{what} is uint8 of shape {list(wanted)}, or a batch of them; got "
                f"{form_of(array)}; give what the world shows{hint}."
            )
        return self.spec.layout.to_planes(array).copy()
