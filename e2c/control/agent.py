"""From an observation to an action: encode, plan in the latent space, act.

The only place where the model's types meet the planner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from e2c.config import PlannerConfig
from e2c.errors import E2CError
from e2c.models import checkpoint
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.transitions import Transition
from planners import Dynamics, GoalCost, Plan, RecedingHorizon, RecedingOptions, Status

CHUNK = 20
"""Problems linearised at once: with horizon 50, their tangents just fit into a core's cache."""

TROUBLES = (Status.NO_IMPROVEMENT, Status.NOT_FINITE, Status.NOT_POSITIVE_DEFINITE)
"""Ends of an optimisation that are counted."""


class LatentDynamics:
    """The transition as the planner wants it.

    Args:
        transition: of the model, whose training is over: a part of its weights is copied.
        jacobian: ``"true"`` for the derivative of ``A(z)z + B(z)u + o(z)``; ``"A"`` for ``A(z)``,
            which leaves out how A, B and o change with z.
    """

    def __init__(self, transition: Transition, jacobian: str = "true") -> None:
        self.transition, self.jacobian = transition, jacobian
        self.step = transition.stepper()
        """The next latent state ``[..., n]`` of ``x [..., n]`` under ``u [..., m]``."""
        self.state_dim, self.control_dim = transition.n, transition.m

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``[..., n, n]`` and ``[..., n, m]``, the derivatives by state and control."""
        if self.jacobian == "true":
            parts = zip(x.split(CHUNK), u.split(CHUNK), strict=True)
            fx, fu = zip(*(self.transition.jacobian(*part) for part in parts), strict=True)
            return torch.cat(fx), torch.cat(fu)
        local = self.transition(x, u)
        return local.A, local.B


def receding_horizon(
    dynamics: Dynamics, spec: ProblemSpec, options: PlannerConfig
) -> RecedingHorizon:
    """Build the planner; its random starting points are the same every time."""
    return RecedingHorizon(
        dynamics,
        torch.tensor(spec.control_low),
        torch.tensor(spec.control_high),
        RecedingOptions(
            horizon=options.horizon,
            first_iterations=options.first_iterations,
            iterations=options.iterations,
            restarts=options.restarts,
        ),
        generator=torch.Generator().manual_seed(0),
    )


def goal_cost(
    goal: Tensor, variance: Tensor, spec: ProblemSpec, options: PlannerConfig
) -> GoalCost:
    """Build the cost of being away from a goal, in a unit that does not depend on the space.

    ``goal`` is ``[n]``, or ``[B, n]`` with one for each problem.
    A state as far from the goal as the data spread (``variance``: their summed variance) costs 1 a
    step, and full control costs ``options.control_weight`` a step.
    """
    Q = goal.new_ones(goal.shape[-1:]) / variance
    R = options.control_weight / spec.control_scale.to(goal).square()
    return GoalCost(goal, Q, R, options.terminal_weight * Q)


def blank(images: Tensor) -> Tensor:
    """Tell ``[B] bool`` which observations ``[B, C, H, W]`` hold a frame of one grey alone.

    A camera that fails returns black; whatever it returns, such a frame shows nothing.
    """
    return (images.amax((-2, -1)) == images.amin((-2, -1))).any(-1)


class Agent:
    """Sees frames only, and answers with actions within the limits, which are always finite.

    Where an observation shows nothing, being blank or without a finite encoding, the agent goes on
    from where its last plan expects to be by now. A blank one at the first step of an episode,
    before any plan, is encoded all the same.

    Args:
        model: a trained model.
        spec: its task.
        options: its planner.
    """

    def __init__(self, model: LatentModel, spec: ProblemSpec, options: PlannerConfig) -> None:
        self.model, self.spec, self.options = model, spec, options
        dynamics = LatentDynamics(model.transition, options.jacobian)
        self.planner = receding_horizon(dynamics, spec, options)
        self.plan: Plan | None = None
        """The last plan, of every episode in the batch."""
        self.reset()

    @torch.inference_mode()
    def reset(self, goal: NDArray[np.uint8] | None = None) -> None:
        """Begin an episode, or a batch of them.

        Args:
            goal: image to reach, uint8 ``[C, H, W]``, or ``[B, C, H, W]``, one for each episode;
                the task's own goal image by default.

        Raises:
            E2CError: when the goal has another shape or type than an observation.
        """
        images = self.model.goal if goal is None else self._observations(goal)
        alone = images.reshape(-1, *images.shape[-3:])  # so that no goal depends on its neighbours
        z = torch.stack([self.model.encode(image).mean for image in alone])
        z = z[0] if images.dim() == 3 else z
        self.cost = goal_cost(z, self.model.latent_variance, self.spec, self.options)
        self.planner.reset()
        self._begin(0)

    @property
    def faults(self) -> dict[str, NDArray[np.int64]]:
        """Steps since the reset at which something went wrong, by kind: counts ``[B]``.

        ``blind``: the observation showed nothing. ``lost``: nothing finite came of continuing the
        plan; it was begun again, or the one before went on. The others say how optimisations
        ended, by the names of :class:`planners.Status`; some without improvement are no fault.
        """
        ended = {status.name.lower(): self._ended[:, status] for status in TROUBLES}
        counts = {"blind": self._blind, "lost": self.planner.lost, **ended}
        return {kind: count.cpu().numpy() for kind, count in counts.items()}

    def _begin(self, batch: int) -> None:
        """Forget the last plan, and count anew for ``batch`` episodes."""
        self.plan = None
        self._blind = torch.zeros(batch, dtype=torch.int64, device=self.model.goal.device)
        self._ended = self._blind.new_zeros(batch, len(Status))

    @torch.inference_mode()
    def act(self, observation: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Choose the next action.

        Args:
            observation: uint8 ``[C, H, W]``, or a batch of them, ``[B, C, H, W]``.

        Returns:
            float32 ``[m]`` or ``[B, m]``, in the task's unit.

        Raises:
            E2CError: when the observation has another shape or type.
        """
        images = self._observations(observation)
        single = images.dim() == 3
        z = self._locate(images[None] if single else images)
        self.plan = self.planner.plan(z, self.cost)
        self._ended = self._ended + one_hot(self.plan.status, len(Status))
        action: NDArray[np.float32] = self.plan.controls[:, 0].float().cpu().numpy()
        return action[0] if single else action

    @torch.inference_mode()
    def imagine(self, steps: Sequence[int]) -> NDArray[np.uint8]:
        """Draw the last plan: the newest frame at each of ``steps`` ahead, ``[B, S, H, W]``.

        Raises:
            E2CError: before the first call of `act`.
        """
        if self.plan is None:
            raise E2CError("There is no plan to imagine yet; call act(observation) first.")
        return self.model.decode(self.plan.states[:, list(steps)])[:, :, -1]

    def _locate(self, images: Tensor) -> Tensor:
        """Return latent states ``[B, n]``: the encodings, or else what was predicted for now."""
        if len(images) != len(self._blind):
            self._begin(len(images))
        z = self.model.encode(images).mean
        blind = blank(images.to(z.device)) | ~z.isfinite().all(-1)
        self._blind = self._blind + blind
        return z if self.plan is None else torch.where(blind[:, None], self.plan.states[:, 1], z)

    def _observations(self, images: NDArray[np.uint8]) -> Tensor:
        """Check images and return them as a tensor."""
        array: NDArray[Any] = np.asarray(images)
        wanted = self.spec.observation_shape
        known = array.ndim in (3, 4) and array.shape[-3:] == wanted and array.size > 0
        if array.dtype != np.uint8 or not known:
            raise E2CError(
                f"An observation is uint8 of shape {list(wanted)}, or a batch of them; got "
                f"{array.dtype} of shape {list(array.shape)}."
            )
        return torch.from_numpy(array.copy())


def load_agent(run: str | Path, device: str = "cpu") -> Agent:
    """Load the agent of a run folder.

    Args:
        run: the folder that training wrote.
        device: where the networks and the planner run.

    Raises:
        E2CError: when the folder or its checkpoint is missing, damaged or of another version, or
            there is no such device.
    """
    model, config, spec = checkpoint.load(Path(run), device)
    return Agent(model, spec, config.planner)
