"""An arm of three links, to be raised from a hanging coil and held upright."""

import math

import numpy as np
from numpy.typing import NDArray

from envs import raster, scenes
from envs.mechanical import MechanicalTask
from envs.quantity import Quantity
from envs.task import Actions, Bools, Floats, Frames


class ThreeLinkArm(MechanicalTask):
    """Raise an arm and hold it upright; the locally-linear-control suite's three-link arm.

    Mechanics
        Three uniform rods of 0.1 kg and 0.5 m with a motor in each joint, g = 9.81 m/s². A control
        step takes 0.02 s in the goal region and 0.05 s outside of it: 2 or 5 Runge-Kutta steps of
        MuJoCo. After it the velocities are clipped to ±pi/2 and each angle is wrapped into its
        joint's range, ±pi, ±2 pi/3 and ±pi/3: a joint that leaves its range at one end enters it at
        the other, as published.
    State ``[6]``
        ``shoulder`` [rad] from upright, ``elbow`` and ``wrist`` [rad] from the link before, all
        positive counter-clockwise in every picture; then their velocities [rad/s].
    Action ``[3]``
        The torques in the joints [N m], positive counter-clockwise, each clipped to ±1. Gravity's
        torque about the shoulder is 2.2 at most.
    Observation ``uint8 [2, 80, 80]``
        The frames before and after the last control step: white links of 12 px on black, the
        shoulder in the centre.
    Start
        Always (0.95, 0.65, 0.33) pi, at rest.
    Random restarts
        The state after one step under random torques, from a state uniform in the ranges.
    Goal
        Every link within pi/6 of upright; its image shows the arm upright and at rest. The score is
        the share of 200 steps that end in that region. An episode succeeds if its last 50 steps all
        do.
    Reward
        1 in the goal region before the step, 0 elsewhere; for comparison only.

    Args:
        state_noise: see `MechanicalTask`; a unit is 0.031, 0.021 and 0.010 rad, and 0.016 rad/s.
    """

    asset = "three_link_arm.xml"
    goal_half_width = math.pi / 6
    """The goal region's half width [rad], of each link."""
    components = (
        Quantity("shoulder", "rad", goal_half_width),
        *(Quantity(joint, "rad") for joint in ("elbow", "wrist")),
        *(Quantity(f"{joint} velocity", "rad/s") for joint in ("shoulder", "elbow", "wrist")),
    )
    control = Quantity("torque", "N m")
    goal_sentence = "Raise the arm and keep it within 30 degrees of upright"
    frame_shape = (80, 80)
    start = (0.95 * math.pi, 0.65 * math.pi, 0.33 * math.pi, 0.0, 0.0, 0.0)
    """The state in which every episode starts."""
    link_length = 12.0
    """A drawn link's length [px]."""
    link_radius = 2.5
    """Half a drawn link's thickness [px]."""

    def _duration(self, states: Floats) -> NDArray[np.int64]:
        inside, outside = self._steps
        return np.where(self.is_goal(states), inside, outside)

    def previous(self, states: Floats) -> Floats:
        """Return the states ``[N, 6]`` from which one unforced control step leads to ``states``.

        If a long step back ends outside of the goal region, the step was long; otherwise it was
        short. (Some states just outside the region have no exact predecessor: a short step back
        ends outside, and a long one inside. They get the state of the short step.) See
        `MechanicalTask.previous`.
        """
        inside, outside = (
            self._rewind(states, np.full(len(states), steps)) for steps in self._steps
        )
        return np.where(self.is_goal(outside)[:, None], inside, outside)

    def draw(self, states: Floats) -> Frames:
        """Return the frames ``[N, 80, 80]`` of ``states [N, 6]``."""
        angles = _from_upright(states)
        links = -self.link_length * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        ends = np.array(self.frame_shape) / 2 + np.cumsum(links, axis=1)
        return raster.capsules(ends - links, ends, radius=self.link_radius, shape=self.frame_shape)

    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        """Return the RGB picture ``[480, 480, 3]`` of ``state [6]``, ``action [3]`` last."""
        return scenes.arm(
            _from_upright(state),
            np.asarray(action, np.float64) / self.action_space.high,
            goal=None if goal is None else _from_upright(goal),
            goal_half_width=self.goal_half_width,
        )

    def is_goal(self, states: Floats) -> Bools:
        """Say whether every link is within pi/6 of upright, for each of ``states [..., 6]``."""
        return np.abs(_from_upright(states)).max(axis=-1) <= self.goal_half_width

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Return the start ``n`` times, ``[n, 6]``; nothing is drawn."""
        return np.tile(self.start, (n, 1))


def _from_upright(states: Floats) -> Floats:
    """Return the links' angles from upright ``[..., 3]`` of ``states [..., 6]``, not wrapped."""
    return np.cumsum(np.asarray(states)[..., :3], axis=-1)
