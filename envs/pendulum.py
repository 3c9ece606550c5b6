"""The headline task: swing a pendulum up that is too heavy to lift."""

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs import raster, scenes
from envs.arrays import brief, is_number
from envs.physics import Simulator, load_asset, unseen
from envs.quantity import Quantity
from envs.task import Actions, Bools, Floats, Frames, Task, wrap


class PendulumSwingUp(Task):
    """Swing a hanging rod up and hold it upright; Gymnasium's ``Pendulum-v1`` seen by a camera.

    Mechanics
        A uniform rod of mass m = 1 kg and length l = 1 m on a frictionless pivot (inertia m l²/3
        about it), g = 10 m/s², simulated by MuJoCo with one semi-implicit Euler step per control
        step of 0.05 s::

            velocity' = velocity + dt (3 g / (2 l) sin(angle) + 3 / (m l²) torque)
            angle'    = angle + dt velocity'

        This equals ``Pendulum-v1`` to 1e-9 while the speed is below that environment's limit of
        8 rad/s; here there is no such limit.
    State ``[2]``
        ``angle`` [rad] from upright, positive counter-clockwise in every picture, not wrapped;
        ``velocity`` [rad/s], likewise.
    Action ``[1]``
        The torque about the pivot [N m], positive counter-clockwise, clipped to ±2. Gravity's
        torque reaches 5, so the rod cannot be lifted: it must swing.
    Observation ``uint8 [2, 48, 48]``
        The frames before and after the last control step: a white rod on black, 19 px to the metre,
        its pivot in the centre. A longer rod looks longer.
    Start
        Hanging: angle uniform in pi ± 0.1, velocity 0.
    Random restarts
        Angle uniform in ±pi, velocity uniform in ±8; a swing from rest at the bottom that just
        reaches the top passes the bottom at 7.7 rad/s.
    Goal
        ``|angle|`` ≤ 0.2, wrapped; its image shows the rod upright and at rest. An episode succeeds
        if it is in that region in each of its last 50 steps.
    Reward
        ``-(angle² + 0.1 velocity² + 0.001 torque²)``, angle wrapped, before the step: the reward of
        ``Pendulum-v1``, for comparison only.
    Episode
        Never terminates; Gymnasium truncates it after 200 steps (10 s).

    Args:
        mass: m [kg]; that of the asset by default.
        length: l [m]; that of the asset by default.
        state_noise: see `Task`; a unit is 1% of pi, and of 8 rad/s.

    Raises:
        ValueError: where mass or length is not a positive number.
    """

    goal_half_width = 0.2
    """The goal region's half width [rad]."""
    components = (Quantity("angle", "rad", goal_half_width), Quantity("velocity", "rad/s"))
    control = Quantity("torque", "N m")
    goal_sentence = "Swing up and stay within 0.2 rad of upright"
    max_start_offset = 0.1
    """An episode starts at most this far from hanging [rad]."""
    max_restart_velocity = 8.0
    """A random restart is at most this fast [rad/s]."""
    pixels_per_metre = 19.0
    """The camera's scale; a rod 10% longer than the asset's is still inside the frame."""
    rod_radius = 2.75
    """Half the drawn rod's thickness [px]."""

    gravity = 10.0
    """g [m/s²], as in the asset."""

    def __init__(
        self,
        mass: float | None = None,
        length: float | None = None,
        state_noise: float = 0.0,
    ):
        spec = load_asset("pendulum.xml")
        self.mass, self.length = _alter_rod(spec, mass, length)
        self._simulator = Simulator(unseen(spec))
        simulator = self._simulator
        super().__init__(simulator.timestep, simulator.control_range, state_noise)

    def visible(self) -> mujoco.MjSpec:
        """Return the asset, with this rod."""
        spec = load_asset("pendulum.xml")
        _alter_rod(spec, self.mass, self.length)
        return spec

    def _step(self, states: Floats, controls: Floats) -> Floats:
        return self._simulator.step(states, controls)

    @property
    def _gains(self) -> tuple[float, float]:
        """The velocity that a control step adds, per ``sin(angle)`` and per N m of torque."""
        weight, inertia = self.mass * self.gravity * self.length / 2, self.mass * self.length**2 / 3
        return self.dt * weight / inertia, self.dt / inertia

    def predict(self, states: Floats, controls: Floats) -> Floats:
        """Return the states ``[N, 2]`` after a step, by the equation of the mechanics."""
        weight, torque = self._gains
        after = np.empty_like(states)
        after[:, 1] = states[:, 1] + weight * np.sin(states[:, 0]) + torque * controls[:, 0]
        after[:, 0] = states[:, 0] + self.dt * after[:, 1]
        after[~np.isfinite(after).all(axis=1)] = np.nan
        return after

    def linearize(self, states: Floats, controls: Floats) -> tuple[Floats, Floats]:
        """Return the derivatives ``[N, 2, 2]`` and ``[N, 2, 1]`` of the equation; see `Task`."""
        weight, torque = self._gains
        fx, fu = np.empty((len(states), 2, 2)), np.empty((len(states), 2, 1))
        fx[:, 1, 0], fx[:, 1, 1] = weight * np.cos(states[:, 0]), 1.0
        fx[:, 0] = [1.0, 0.0] + self.dt * fx[:, 1]
        fu[:, 1] = torque
        fu[:, 0] = self.dt * fu[:, 1]
        return fx, fu

    def previous(self, states: Floats) -> Floats:
        """Return the states ``[N, 2]`` from which one unforced control step leads to ``states``.

        Semi-implicit Euler moves the angle by the new velocity, ``angle' = angle + dt velocity'``.
        So the angle one step earlier is ``angle' - dt velocity'`` whatever the torque was, and the
        earlier frame is known exactly. The earlier velocity depends on the torque, which is assumed
        to be zero: the simulator says how much velocity such a step adds.
        """
        earlier = np.zeros_like(states)
        earlier[:, 0] = states[:, 0] - self.dt * states[:, 1]
        gained = self._step(earlier, np.zeros((len(states), self.control_dim)))[:, 1]
        earlier[:, 1] = states[:, 1] - gained
        return earlier

    def noise_unit(self) -> Floats:
        """Return 1% of the largest angle and velocity of a random restart, ``[2]``."""
        return 0.01 * np.array([math.pi, self.max_restart_velocity])

    def draw(self, states: Floats) -> Frames:
        """Return the frames ``[N, 48, 48]`` of ``states [N, 2]``."""
        return raster.rods(
            states[:, 0],
            length=self.pixels_per_metre * self.length,
            radius=self.rod_radius,
            size=self.frame_shape[0],
        )

    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        """Return the RGB picture ``[480, 480, 3]`` of ``state [2]``, torque ``action [1]`` last."""
        return scenes.pendulum(
            float(state[0]),
            float(action[0]) / float(self.action_space.high[0]),
            goal=None if goal is None else float(goal[0]),
            goal_half_width=self.goal_half_width,
            length=self.length,
        )

    def goal_state(self) -> Floats:
        """Return upright at rest, ``[0, 0]``."""
        return np.zeros(2)

    def is_goal(self, states: Floats) -> Bools:
        """Say whether ``|angle|`` ≤ 0.2 rad, wrapped, for each of ``states [..., 2]``."""
        return np.abs(wrap(np.asarray(states)[..., 0])) <= self.goal_half_width

    def reward(self, states: Floats, actions: NDArray[np.floating]) -> Floats:
        """``Pendulum-v1``'s reward ``[...]`` of ``actions [..., 1]`` in ``states [..., 2]``."""
        angle, velocity = wrap(states[..., 0]), states[..., 1]
        torque = np.clip(actions, self.action_space.low, self.action_space.high)[..., 0]
        return -(angle**2 + 0.1 * velocity**2 + 0.001 * torque.astype(np.float64) ** 2)

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` random restarts ``[n, 2]``: any angle, up to ±8 rad/s."""
        scale = np.array([math.pi, self.max_restart_velocity])
        return rng.uniform(-1.0, 1.0, (n, 2)) * scale

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` hanging starts ``[n, 2]`` at rest; start i is the same for any n > i."""
        offsets = rng.uniform(-self.max_start_offset, self.max_start_offset, n)
        return np.stack([math.pi + offsets, np.zeros(n)], axis=1)


def _alter_rod(
    spec: mujoco.MjSpec, mass: float | None, length: float | None
) -> tuple[float, float]:
    """Scale the asset's rod to ``mass`` [kg] and ``length`` [m], if given; return its values."""
    rod, tip, seen = spec.body("rod"), spec.site("tip"), spec.geom("seen")
    mass = _positive("mass", rod.mass if mass is None else mass)
    length = _positive("length", tip.pos[2] if length is None else length)
    stretch = length / tip.pos[2]
    rod.inertia *= mass / rod.mass * stretch**2
    rod.ipos *= stretch
    tip.pos *= stretch
    seen.fromto *= stretch
    rod.mass = mass
    return mass, length


def _positive(name: str, value: float) -> float:
    if not (is_number(value) and value > 0):
        raise ValueError(f"The rod's {name} must be a positive number; got {brief(value)}.")
    return float(value)
