"""A control task: its mechanics, its picture, its score and its starts.

Notation: N states at once, n state dimensions, m controls, F frames to an observation, each frame
H x W. States are ``float64 [N, n]``, controls ``float64 or float32 [N, m]``, frames ``uint8``.

A task holds no state of a system. All its functions take states as arguments, and all chance comes
from generators that are arguments too. `envs.native` makes Gymnasium environments of a task, so a
dataset, a goal image and a closed loop see the same pictures of the same dynamics.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.arrays import as_array, brief, form_of, is_number
from envs.quantity import Quantity

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Frames = NDArray[np.uint8]
Actions = NDArray[np.float32]
Look = Callable[[Floats], Frames]
"""A function that makes one frame of each of N states."""

DIFFERENCE = 1e-7
"""Width of a forward difference, in the unit of each component; half of the digits are kept."""


class Task(ABC):
    """A control task whose observation is the last F frames of one real motion.

    A task states its mechanics (`_step`, `previous`, `noise_unit`), its picture (`draw`,
    `picture`), its score (`is_goal`, `reward`) and where it starts (`sample_states`,
    `sample_starts`).

    Args:
        dt: the control step [s].
        control_range: lowest and highest value of each control, ``[m, 2]``, in the task's unit.
        state_noise: standard deviation of the noise that the world adds to the state after each
            step, in multiples of `noise_unit`.

    Raises:
        ValueError: for a step that is not a positive number, limits that are not finite numbers
            with the lowest below the highest, or a noise that is not a number from 0 on.
    """

    components: ClassVar[tuple[Quantity, ...]]
    """The quantities of the n numbers of a state. At least one has a goal; the first of these is
    plotted over time."""
    control: ClassVar[Quantity]
    """The quantity of the m controls."""
    goal_sentence: ClassVar[str]
    """The aim of the task in a short sentence, for titles and captions."""
    frames_per_observation: int = 2
    """F: two where the velocity matters, since one frame does not show it."""
    frame_shape: ClassVar[tuple[int, int]] = (48, 48)
    """H, W [px]."""
    settle_steps: ClassVar[int] = 50
    """An episode succeeds if it is in the goal region in each of this many last steps."""

    observation_space: "gymnasium.spaces.Box[np.uint8]"
    action_space: "gymnasium.spaces.Box[np.float32]"

    def __init__(
        self,
        dt: float,
        control_range: Floats,
        state_noise: float = 0.0,
    ):
        if not (is_number(dt) and dt > 0):
            raise ValueError(f"The control step dt must be a positive number; got {brief(dt)}.")
        if not (is_number(state_noise) and state_noise >= 0):
            raise ValueError(
                f"The state noise must be a number from 0 on; got {brief(state_noise)}."
            )
        self.dt = dt
        self.state_noise = state_noise
        self.state_dim = len(self.components)
        low, high = _limits(control_range)
        self.control_dim = len(low)
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.look_with(self.draw, self.frames_per_observation, self.frame_shape)

    def look_with(self, look: Look, frames: int, shape: tuple[int, ...]) -> None:
        """Let the task be seen by ``look`` from now on.

        Args:
            look: makes frames ``uint8 [N, *shape]`` of states ``[N, n]``.
            frames: F, to an observation.
            shape: of a frame, ``(H, W)`` or ``(H, W, 3)``.
        """
        self.look, self.frames_per_observation = look, frames
        self.observation_space = gymnasium.spaces.Box(0, 255, (frames, *shape), np.uint8)

    # ------------------------------------------------------------- what a task must define

    @abstractmethod
    def _step(self, states: Floats, controls: Floats) -> Floats:
        """Advance ``states [N, n]`` by one control step under ``controls [N, m]``, unlimited."""

    @abstractmethod
    def previous(self, states: Floats) -> Floats:
        """Return the states ``[N, n]`` from which one unforced control step leads to ``states``.

        A state at rest is its own predecessor.
        """

    @abstractmethod
    def noise_unit(self) -> Floats:
        """Return the standard deviation of a `state_noise` of 1 in each component, ``[n]``."""

    @abstractmethod
    def draw(self, states: Floats) -> Frames:
        """Return the frames ``[N, H, W]`` of ``states [N, n]``; a pure function of them."""

    @abstractmethod
    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        """Return a large RGB picture of one state, of the last action and of the goal.

        Args:
            state: ``[n]``.
            action: ``[m]``, the last.
            goal: the state ``[n]`` to reach, whose region is shaded; None where it is not known.
        """

    @abstractmethod
    def goal_state(self) -> Floats:
        """Return the state ``[n]`` at rest that the task is to reach."""

    @abstractmethod
    def is_goal(self, states: Floats) -> Bools:
        """Say of each of ``states [..., n]`` whether it is in the goal region, as ``[...]``."""

    @abstractmethod
    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` random restarts ``[n, state_dim]`` that cover what the task can meet."""

    @abstractmethod
    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` starts of an episode ``[n, state_dim]``; start i is the same for any n > i."""

    # ------------------------------------------------------------- what most tasks share

    def visible(self) -> Any:
        """Return the MuJoCo model to draw, a `mujoco.MjSpec`.

        Raises:
            ValueError: for a task that MuJoCo does not simulate.
        """
        raise ValueError(
            f"MuJoCo does not simulate {type(self).__name__}, so it cannot draw it: leave the "
            "camera's renderer out."
        )

    def goal_states(self, states: Floats) -> Floats:
        """Return the state at rest that each of the episodes at ``states [N, n]`` is to reach.

        It is the same for all, unless the task draws a goal with the start.
        """
        return np.tile(self.goal_state(), (len(states), 1))

    def reward(self, states: Floats, actions: NDArray[np.floating]) -> Floats:
        """Return the reward ``[...]`` of ``actions [..., m]`` in ``states [..., n]``.

        It is 1 in the goal region and 0 elsewhere, unless the task has its own. No method sees it.
        """
        return self.is_goal(states).astype(np.float64)

    @property
    def plotted(self) -> int:
        """Index of the first component that has a goal."""
        return [c.goal_half_width is not None for c in self.components].index(True)

    def restart(self, rng: np.random.Generator, n: int) -> tuple[Frames, Floats]:
        """Draw ``n`` random restarts: observations ``[n, F, H, W]``, and states."""
        states = self.sample_states(rng, n)
        return self.observe(states), states

    def predict(self, states: Floats, controls: Floats) -> Floats:
        """Return the states ``[N, n]`` after a control step under ``controls [N, m]``, unlimited.

        This is the step of the simulator, unless the task states its equation, which gives the same
        step up to rounding, but faster. The oracle plans with it; the world does not step with it.
        Inputs that are not finite give NaN.
        """
        return self._step(states, controls)

    def linearize(self, states: Floats, controls: Floats) -> tuple[Floats, Floats]:
        """Return the derivatives ``[N, n, n]`` and ``[N, n, m]`` of a step by states and controls.

        They are forward differences of `predict`, unless the task has them in closed form. The
        limits of controls are left to the planner.
        """
        n, N = self.state_dim, len(states)
        width = DIFFERENCE * np.eye(n + self.control_dim)
        around = np.concatenate([np.hstack([states, controls]) + row for row in width])
        after = self.predict(around[:, :n], around[:, n:]).reshape(-1, N, n)
        changes = after - self.predict(states, controls)
        changes[..., self._angles] = wrap(changes[..., self._angles])
        jacobian = changes.transpose(1, 2, 0) / DIFFERENCE
        return jacobian[..., :n], jacobian[..., n:]

    def coordinates(self, states: Floats) -> Floats:
        """Map ``states [..., n]`` to coordinates ``[..., k]`` that are smooth all around.

        These are the cosines of all angles, then their sines, then all other components.
        """
        angles, others = states[..., self._angles], states[..., ~self._angles]
        return np.concatenate([np.cos(angles), np.sin(angles), others], axis=-1)

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """Map ``coordinates [..., k]`` back to states ``[..., n]``, angles within ±pi."""
        count = int(self._angles.sum())
        cosines, sines = coordinates[..., :count], coordinates[..., count : 2 * count]
        states = np.empty((*coordinates.shape[:-1], self.state_dim))
        states[..., self._angles] = np.arctan2(sines, cosines)
        states[..., ~self._angles] = coordinates[..., 2 * count :]
        return states

    def coordinates_jacobian(self, states: Floats) -> Floats:
        """Return the derivative ``[N, k, n]`` of `coordinates` at ``states [N, n]``.

        Its columns are orthonormal, so its transpose is the derivative of `from_coordinates`.
        """
        unit = np.eye(self.state_dim)
        turning, others = unit[self._angles], unit[~self._angles]
        angles = states[:, self._angles, None]
        still = np.broadcast_to(others, (len(states), *others.shape))
        return np.concatenate([-np.sin(angles) * turning, np.cos(angles) * turning, still], axis=1)

    @cached_property
    def _angles(self) -> Bools:
        return np.array([component.is_angle for component in self.components])

    # ------------------------------------------------------------- N states at once

    def limit(self, actions: ArrayLike) -> NDArray[np.floating]:
        """Clip ``actions [N, m]`` to the control range.

        Raises:
            ValueError: where an action is not a finite number, or the shape is not ``[N, m]``.
        """
        actions = rows("actions", actions, self.control_dim)
        if not np.isfinite(actions).all():
            row = int(np.argmin(np.isfinite(actions).all(axis=1)))
            raise ValueError(
                f"Action {row} is {actions[row].tolist()}: every control must be a finite number. "
                "Look for NaN in the controller's output."
            )
        return np.clip(actions, self.action_space.low, self.action_space.high)

    def advance(
        self, states: ArrayLike, actions: ArrayLike, external: ArrayLike | None = None
    ) -> Floats:
        """Simulate one control step of N independent systems.

        Args:
            states: ``[N, n]``.
            actions: ``[N, m]``, clipped to the control range.
            external: ``[N, m]``: pushes that the world adds to the clipped actions; they are not
                limited. None by default.

        Returns:
            The next states ``[N, n]``. A row depends on its own inputs only, bit for bit; a state
            that is not finite gives NaN.
        """
        states = rows("states", states, self.state_dim).astype(np.float64)
        controls = self.limit(actions).astype(np.float64)
        if len(states) != len(controls):
            raise ValueError(f"{len(states)} states were given {len(controls)} actions.")
        if external is not None:
            push = rows("external", external, self.control_dim)
            if len(push) != len(controls):
                raise ValueError(f"{len(controls)} actions were given {len(push)} external pushes.")
            controls += push
        return self._step(states, controls)

    def observe(self, states: ArrayLike) -> Frames:
        """Return the observations ``[N, F, H, W]`` of systems that have come to ``states [N, n]``.

        The frames run from the oldest to the newest and belong to one motion: the earlier ones
        show the states before (`previous`). For a state at rest all frames are equal.
        """
        states = rows("states", states, self.state_dim).astype(np.float64)
        frames = [self.look(states)]
        for _ in range(self.frames_per_observation - 1):
            states = self.previous(states)
            frames.append(self.look(states))
        return np.stack(frames[::-1], axis=1)

    def transition(
        self,
        observations: Frames,
        states: Floats,
        actions: ArrayLike,
        external: ArrayLike | None = None,
        generators: Sequence[np.random.Generator] = (),
    ) -> tuple[Frames, Floats]:
        """Step and look: the next ``observations [N, F, H, W]`` and ``states [N, n]``.

        The oldest frame is dropped and the newest is drawn, so an observation holds frames of the
        real motion. Actions are rounded to float32 first, as they are recorded. The state noise of
        row i is drawn from ``generators[i]``.
        """
        states = self.disturb(self.advance(states, self.applied(actions), external), generators)
        newest = self.look(states)[:, None]
        return np.concatenate([observations[:, 1:], newest], axis=1), states

    def applied(self, actions: ArrayLike) -> Actions:
        """Return the actions ``float32 [N, m]`` that are applied for ``actions [N, m]``."""
        return self.limit(actions).astype(np.float32)

    def disturb(self, states: Floats, generators: Sequence[np.random.Generator]) -> Floats:
        """Add the state noise to ``states [N, n]``; the noise of row i is from ``generators[i]``.

        Raises:
            ValueError: where there is noise, but not a generator for each row.
        """
        if self.state_noise == 0:
            return states
        if len(generators) != len(states):
            raise ValueError(
                f"State noise needs a generator for each episode; {len(states)} episodes were "
                f"given {len(generators)}: pass as many, e.g. numpy's Generator.spawn."
            )
        drawn = [generator.standard_normal(self.state_dim) for generator in generators]
        return states + self.state_noise * self.noise_unit() * np.array(drawn)

    def goal_observation(self) -> Frames:
        """Return the goal's observation ``[F, H, W]``: all frames show `goal_state`."""
        return self.observe(self.goal_state()[None])[0]


def wrap(angles: Floats, half_range: float | Floats = math.pi) -> Floats:
    """Wrap ``angles`` into ±``half_range``; angles inside already keep every bit."""
    return angles - 2 * half_range * np.round(angles / (2 * half_range))


def rows(name: str, array: ArrayLike, width: int) -> NDArray[Any]:
    """Return ``array`` if it is numeric ``[N, width]``; otherwise raise a ValueError."""
    rows = as_array(array)
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers of shape [N, {width}]; got {form_of(rows)}.")
    return rows


def _limits(control_range: ArrayLike) -> tuple[Actions, Actions]:
    """Return the lowest and the highest value of each control, ``[m]`` each."""
    found = as_array(control_range)
    if found.ndim == 2 and found.shape[1] == 2 and found.dtype.kind in "fiu":
        with np.errstate(over="ignore"):  # numbers too large for float32 are found below
            low, high = found.astype(np.float32).T
        if np.isfinite([low, high]).all() and (low < high).all():
            return low, high
    raise ValueError(
        "The control range must hold finite numbers of shape [m, 2], the lowest value of each "
        f"control and a higher one; got {brief(control_range)}."
    )
