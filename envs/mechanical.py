"""The common base of the mechanical tasks of the locally-linear-control suite.

They are the tasks of PCC (Levine et al., ICLR 2020) and PC3 (Shu et al., ICML 2020), after the
public code of PCC. That code integrates to a tolerance, and MuJoCo takes Runge-Kutta steps of a
fixed length; both solve the same differential equation. That code counts angles clockwise, and
torques counter-clockwise. Here both are counter-clockwise, so under the same torques a state here
looks like the mirror image of the same numbers there.
"""

from collections.abc import Callable
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.physics import Simulator, load_asset, unseen
from envs.task import Floats, Frames, Task, wrap

_CORRECTIONS = 3  # each adds two correct digits or more; see `MechanicalTask._rewind`


class MechanicalTask(Task):
    """Joints without friction, moved by MuJoCo, then brought back into their ranges.

    A state is the joints' positions, then their velocities. After each step, angles are wrapped
    into the range of their joint and velocities are clipped to their limits; the asset states both.
    State noise is added after that. It may leave the ranges until the next step. Its unit is a
    choice of this project: 1% of each half range.

    Args:
        state_noise: standard deviation of the state noise, in units of 1% of each half range.
    """

    asset: ClassVar[str]
    """The MJCF model's file."""

    def __init__(self, state_noise: float = 0.0):
        simulator = Simulator(unseen(self.visible()))
        self._simulator = simulator
        self._steps = simulator.number("steps").astype(np.int64)
        self._velocity_limit = simulator.number("velocity_limit")
        self.reach: Floats = np.concatenate([simulator.joint_range, self._velocity_limit])
        """Half the range of each state component, ``[n]``: values lie in ± this."""
        dt = int(self._steps[0]) * simulator.timestep
        super().__init__(dt, simulator.control_range, state_noise)

    def visible(self) -> mujoco.MjSpec:
        """Return the asset."""
        return load_asset(self.asset)

    def _step(self, states: Floats, controls: Floats) -> Floats:
        after = self._simulator.step(states, controls, self._duration(states))
        return self._confine(after)

    def _integrate(self, flow: Callable[[Floats], Floats], states: Floats) -> Floats:
        """Integrate ``flow`` from ``states [N, n]`` over a control step, as the engine does."""
        h = self._simulator.timestep
        with np.errstate(invalid="ignore"):  # states that are not finite become NaN at the end
            for _ in range(int(self._steps[0])):
                a = flow(states)
                b = flow(states + h / 2 * a)
                c = flow(states + h / 2 * b)
                d = flow(states + h * c)
                states = states + h / 6 * (a + 2 * b + 2 * c + d)
        return np.where(np.isfinite(states).all(axis=1, keepdims=True), states, np.nan)

    def _duration(self, states: Floats) -> NDArray[np.int64]:
        """Return how many of the engine's steps a control step from ``states [N, n]`` takes."""
        return np.full(len(states), self._steps[0])

    def _confine(self, states: Floats) -> Floats:
        """Wrap the angles and clip the velocities of ``states [N, n]``."""
        positions, velocities = np.split(states, 2, axis=1)
        hinges = self._simulator.hinges
        positions[:, hinges] = wrap(positions[:, hinges], self._simulator.joint_range[hinges])
        limit = self._velocity_limit
        return np.concatenate([positions, np.clip(velocities, -limit, limit)], axis=1)

    def previous(self, states: Floats) -> Floats:
        """Return the states ``[N, n]`` from which one unforced control step leads to ``states``.

        A state at rest is its own predecessor. A predecessor may be faster than the limit, or
        beyond the range of an angle: then the step from it is clipped, or wrapped.
        """
        return self._rewind(states, self._duration(states))

    def _rewind(self, states: Floats, steps: NDArray[np.int64]) -> Floats:
        """Return where ``states [N, n]`` were ``steps [N]`` of the engine before; see `previous`.

        Without friction, a motion with reversed velocities runs backward, up to the integrator's
        error. To correct this error, the aim is moved by the amount that the last try missed.
        """
        still = np.zeros((len(states), self.control_dim))
        turned = np.where(np.arange(self.state_dim) < self.state_dim // 2, 1.0, -1.0)
        aim = states
        for _ in range(_CORRECTIONS):
            earlier = self._simulator.step(aim * turned, still, steps) * turned
            aim = aim + (states - self._simulator.step(earlier, still, steps))
        moving = (states[:, turned < 0] != 0).any(axis=1, keepdims=True)
        return np.where(moving, earlier, states)

    def restart(self, rng: np.random.Generator, n: int) -> tuple[Frames, Floats]:
        """Draw ``n`` random restarts: observations ``[n, F, H, W]``, and states.

        As published, a restart is the state after one step under random controls from a drawn
        state. So its frames show a step like any other.
        """
        before = self.sample_states(rng, n)
        low, high = self.action_space.low, self.action_space.high
        actions = rng.uniform(low, high, (n, self.control_dim))
        earlier = np.stack([self.look(before)] * self.frames_per_observation, axis=1)
        return self.transition(earlier, before, actions, generators=rng.spawn(n))

    def noise_unit(self) -> Floats:
        """Return 1% of half the range of each state component, ``[n]``."""
        return 0.01 * self.reach

    def goal_state(self) -> Floats:
        """Return upright at rest, all zeros ``[n]``."""
        return np.zeros(self.state_dim)

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` states ``[n, state_dim]``, uniform in their ranges; see `restart`."""
        return rng.uniform(-1.0, 1.0, (n, self.state_dim)) * self.reach
