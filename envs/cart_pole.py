"""A pole on a cart, to be kept upright by pushing the cart."""

import math

import numpy as np

from envs import raster, scenes
from envs.mechanical import MechanicalTask
from envs.quantity import Quantity
from envs.task import Actions, Bools, Floats, Frames, wrap


class CartPole(MechanicalTask):
    """Right a tilted pole and keep it upright; the locally-linear-control suite's cart-pole.

    Mechanics
        The classic cart-pole (Barto, Sutton & Anderson 1983, without friction): a cart of 1 kg, and
        on it a uniform pole of 0.1 kg whose half length is 0.5 m; g = 9.81 m/s². A control step of
        0.02 s is two Runge-Kutta steps of MuJoCo. After it the angle is wrapped into ±pi and the
        velocities are clipped to ±6 m/s and ±2 pi rad/s. Nothing stops the cart at the ends of its
        track.
    State ``[4]``
        ``position`` [m] of the cart, to the right of the middle of its track; ``angle`` [rad] of
        the pole from upright, positive counter-clockwise in every picture; their ``velocity`` [m/s]
        and ``angular velocity`` [rad/s].
    Action ``[1]``
        The force on the cart [N], to the right, clipped to ±10.
    Observation ``uint8 [2, 80, 80]``
        The frames before and after the last control step: white on black, the cart as a box whose
        middle moves 32 px to either end of the track, the pole 52 px long.
    Start
        Angle uniform in ±pi/8, all else 0.
    Random restarts
        The state after one step under a random force, from a state uniform in ±2.4 m, ±pi/10,
        ±6 m/s and ±2 pi rad/s. The angle's range is that narrow in the published sampler too.
    Goal
        ``|angle|`` ≤ pi/10 with the cart on its track, ``|position|`` ≤ 2.4. (The published task
        calls leaving the track a failure, though its score depends on the angle alone.) Its image
        shows the pole upright and at rest in the middle. The score is the share of 50 steps (1 s)
        that end in that region. An episode succeeds if its last 25 steps all do.
    Reward
        1 in the goal region before the step, 0 elsewhere; for comparison only.

    Args:
        state_noise: see `MechanicalTask`; a unit is 0.024 m, 0.031 rad, 0.06 m/s and 0.063 rad/s.
    """

    asset = "cart_pole.xml"
    goal_half_width = math.pi / 10
    """The goal region's half width [rad]."""
    components = (
        Quantity("position", "m"),
        Quantity("angle", "rad", goal_half_width),
        Quantity("velocity", "m/s"),
        Quantity("angular velocity", "rad/s"),
    )
    control = Quantity("force", "N")
    goal_sentence = "Right the pole and stay within 18 degrees of upright"
    frame_shape = (80, 80)
    settle_steps = 25
    max_start_angle = math.pi / 8
    """An episode starts at most this far from upright [rad]."""
    max_restart_angle = math.pi / 10
    """A random restart begins at most this far from upright [rad]."""
    middle = (70.0, 40.0)
    """Place of the hinge in the image when the cart is in the middle: row, column [px]."""
    track_pixels = 32.0
    """Distance in the image from the middle to either end of the track [px]."""
    cart_half_size = (4.0, 8.0)
    """Half the drawn cart's height and width [px]."""
    pole_length = 52.0
    """The drawn pole's length [px]."""
    pole_radius = 3.0
    """Half the drawn pole's thickness [px]."""

    def draw(self, states: Floats) -> Frames:
        """Return the frames ``[N, 80, 80]`` of ``states [N, 4]``."""
        position, angle = states[:, 0] / self.reach[0], states[:, 1]
        hinge = self.middle + np.multiply.outer(position, [0.0, self.track_pixels])
        tip = hinge - self.pole_length * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        pole = raster.capsules(
            hinge[:, None], tip[:, None], radius=self.pole_radius, shape=self.frame_shape
        )
        cart = raster.boxes(hinge, half=self.cart_half_size, shape=self.frame_shape)
        return np.maximum(pole, cart, out=pole)

    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        """Return the RGB picture ``[480, 480, 3]`` of ``state [4]``, force ``action [1]`` last."""
        return scenes.cart_pole(
            float(state[0]),
            float(state[1]),
            float(action[0]) / float(self.action_space.high[0]),
            track=float(self.reach[0]),
            goal=None if goal is None else float(goal[1]),
            goal_half_width=self.goal_half_width,
        )

    def is_goal(self, states: Floats) -> Bools:
        """Say whether ``|angle|`` ≤ pi/10 and ``|position|`` ≤ 2.4, for ``states [..., 4]``."""
        position, angle = np.asarray(states)[..., 0], np.asarray(states)[..., 1]
        return (np.abs(wrap(angle)) <= self.goal_half_width) & (np.abs(position) <= self.reach[0])

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` states ``[n, 4]``, near upright and otherwise uniform in their ranges."""
        states = super().sample_states(rng, n)
        states[:, 1] *= self.max_restart_angle / self.reach[1]
        return states

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` tilted starts ``[n, 4]`` at rest; start i is the same for any n > i."""
        starts = np.zeros((n, 4))
        starts[:, 1] = rng.uniform(-self.max_start_angle, self.max_start_angle, n)
        return starts
