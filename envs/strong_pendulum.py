"""Two tasks on one pendulum whose motor is stronger than gravity: to balance, and to reach up."""

import math

import numpy as np

from envs import raster, scenes
from envs.arrays import brief, is_truth
from envs.mechanical import MechanicalTask
from envs.quantity import Quantity
from envs.task import Actions, Bools, Floats, Frames, wrap


class StrongPendulum(MechanicalTask):
    """The pendulum of the locally-linear-control suite; a subclass adds the starts.

    Mechanics
        m = 0.1 kg, l = 0.5 m, g = 9.81 m/s², with the published equation. Its inertia is that of a
        rod, and its gravity acts as on a mass at the tip::

            m l²/3 acceleration = m g l sin(angle) + torque

        A control step of 0.02 s is two Runge-Kutta steps of MuJoCo. After it the angle is wrapped
        into ±pi and the velocity is clipped to ±3 pi.
    State ``[2]``
        ``angle`` [rad] from upright and ``velocity`` [rad/s], positive counter-clockwise in every
        picture.
    Action ``[1]``
        The torque about the pivot [N m], positive counter-clockwise, clipped to ±0.65. Gravity's
        torque is 0.4905 at most: the rod can be lifted from anywhere.
    Observation ``uint8 [2, 48, 48]``
        The frames before and after the last control step: a white rod on black, 21 px long, its
        pivot in the centre.
    Random restarts
        The state after one step under a random torque, from a state uniform in ±pi and ±3 pi rad/s.
    Goal
        ``|angle|`` ≤ pi/6; its image shows the rod upright and at rest. The score is the share of
        100 steps (2 s) that end in that region. An episode succeeds if its last 50 steps all do.
    Reward
        1 in the goal region before the step, 0 elsewhere; for comparison only.
    """

    asset = "strong_pendulum.xml"
    goal_half_width = math.pi / 6
    """The goal region's half width [rad]."""
    components = (Quantity("angle", "rad", goal_half_width), Quantity("velocity", "rad/s"))
    control = Quantity("torque", "N m")
    rod_length = 21.0
    """The drawn rod's length [px]."""
    rod_radius = 2.25
    """Half the drawn rod's thickness [px]."""

    mass, length, gravity = 0.1, 0.5, 9.81
    """m [kg], l [m] and g [m/s²], as the asset has them."""

    def predict(self, states: Floats, controls: Floats) -> Floats:
        """Return the states ``[N, 2]`` after a step, by the published equation."""
        inertia = self.mass * self.length**2 / 3
        weight, torque = self.mass * self.gravity * self.length, controls[:, 0]

        def flow(states: Floats) -> Floats:
            acceleration = (weight * np.sin(states[:, 0]) + torque) / inertia
            return np.stack([states[:, 1], acceleration], axis=1)

        return self._confine(self._integrate(flow, states))

    def draw(self, states: Floats) -> Frames:
        """Return the frames ``[N, 48, 48]`` of ``states [N, 2]``."""
        return raster.rods(
            states[:, 0], length=self.rod_length, radius=self.rod_radius, size=self.frame_shape[0]
        )

    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        """Return the RGB picture ``[480, 480, 3]`` of ``state [2]``, torque ``action [1]`` last."""
        return scenes.pendulum(
            float(state[0]),
            float(action[0]) / float(self.action_space.high[0]),
            goal=None if goal is None else float(goal[0]),
            goal_half_width=self.goal_half_width,
        )

    def is_goal(self, states: Floats) -> Bools:
        """Say whether ``|angle|`` ≤ pi/6, wrapped, for each of ``states [..., 2]``."""
        return np.abs(wrap(np.asarray(states)[..., 0])) <= self.goal_half_width


class PendulumBalance(StrongPendulum):
    """Keep the pendulum upright.

    `StrongPendulum` describes all but the start.

    Start
        Upright and at rest, as published; from there, no control at all scores 100%. Perturbed:
        angle uniform in ±0.3 and velocity in ±1; the earlier frame shows this motion, unforced.

    Args:
        perturbed: whether episodes start perturbed.
        state_noise: see `MechanicalTask`; a unit is 0.031 rad and 0.094 rad/s.

    Raises:
        ValueError: where ``perturbed`` is not a truth value.
    """

    goal_sentence = "Stay within 30 degrees of upright"
    max_perturbation = (0.3, 1.0)
    """A perturbed start is at most this far from upright [rad], and this fast [rad/s]."""

    def __init__(self, perturbed: bool = False, state_noise: float = 0.0):
        if not is_truth(perturbed):
            raise ValueError(f"perturbed must be True or False; got {brief(perturbed)}.")
        self.perturbed = perturbed
        super().__init__(state_noise)

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` starts ``[n, 2]``; start i is the same for any n > i."""
        drawn = rng.uniform(-1.0, 1.0, (n, 2)) * self.max_perturbation
        return drawn if self.perturbed else np.zeros((n, 2))


class PendulumReach(StrongPendulum):
    """Lift the pendulum from nearly hanging; the suite calls this task swing-up.

    `StrongPendulum` describes all but the start.

    Start
        Angle uniform in [0.9, 0.95] pi, velocity 0. The quickest lift takes 17 steps, so no score
        exceeds 84%.

    Args:
        state_noise: see `MechanicalTask`; a unit is 0.031 rad and 0.094 rad/s.
    """

    goal_sentence = "Lift the rod and stay within 30 degrees of upright"
    start_angles = (0.9 * math.pi, 0.95 * math.pi)
    """An episode starts at an angle between these [rad]."""

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` starts ``[n, 2]`` at rest; start i is the same for any n > i."""
        return np.stack([rng.uniform(*self.start_angles, n), np.zeros(n)], axis=1)
