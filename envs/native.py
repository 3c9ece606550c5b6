"""Gymnasium environments of a `Task`: many episodes in one batch, and one alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.arrays import as_array, brief, form_of, is_truth
from envs.camera import Camera
from envs.task import Actions, Bools, Floats, Frames, Task, rows
from envs.world import Simulated, as_seed

RENDER_MODES = ("rgb_array",)


class TaskWorld(VectorEnv[Any, Any, Any], Simulated):
    """B episodes of one task, stepped together: a world that is scored and simulated.

    Episode b depends on its own start, controls and state noise only, bit for bit. No episode
    begins anew by itself (``AutoresetMode.DISABLED``). An episode that is truncated may be stepped
    on.

    Args:
        task: ``module:Class`` of a `Task`.
        num_envs: B.
        max_episode_steps: steps after which an episode is truncated; None for never.
        render_mode: ``"rgb_array"`` for `render`, or None.
        camera: MuJoCo's, in place of the frames that the task draws.
        options: of the task.

    Raises:
        ValueError: for an unknown render mode, or an option that the task does not allow; and as
            `envs.mujoco_camera.film`.
    """

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        camera: Camera | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(
                f"No render mode is called {render_mode!r}; valid are: {', '.join(RENDER_MODES)}."
            )
        made = _task(task, options)
        if camera is not None:
            from envs.mujoco_camera import film  # it needs MuJoCo, which not every task needs

            film(made, camera)
        self.task = made
        """The mechanics, picture and score."""
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.dt = made.dt
        """The control step [s]."""
        self.settle_steps = made.settle_steps
        """An episode succeeds if it is in the goal region in each of this many last steps."""
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": round(1 / made.dt),
            "autoreset_mode": AutoresetMode.DISABLED,
        }
        self.single_observation_space = made.observation_space
        self.single_action_space = made.action_space
        self.observation_space = batch_space(made.observation_space, num_envs)
        self.action_space = batch_space(made.action_space, num_envs)
        self.push: Floats | None = None
        """Added to the controls of the coming steps, ``[B, m]``; see `Task.advance`."""
        self._states: Floats | None = None
        self._observations: Frames
        self._actions: Actions
        self._elapsed: NDArray[np.int64]
        self._generators: list[np.random.Generator]

    @property
    def states(self) -> Floats:
        """A copy of the present states, ``[B, n]``."""
        if self._states is None:
            raise RuntimeError("The world has no states yet: call reset() first.")
        return self._states.copy()

    @property
    def goal(self) -> Frames:
        """The observation of the task's goal; an episode may have another one."""
        return self.task.goal_observation()

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Frames, dict[str, Any]]:
        """Begin an episode in every environment.

        Args:
            seed: one whole number, for the starts and the state noise.
            options: ``states [B, n]`` to begin at these; ``restart`` (True) to begin at random
                restarts instead of the task's starts; ``reset_mask [B]``, truth values, to begin
                episodes where it is True and leave the others as they are.

        Returns:
            Observations ``[B, F, H, W]`` and infos: ``state [B, n]``, ``is_goal [B]`` and ``goal``,
            the observations that the episodes are to reach.

        Raises:
            ValueError: for a seed that is not a whole number from 0 on, an unknown option, states
                that are not finite or of another shape, a restart that is not a truth value, or a
                mask that is not a truth value for each episode. The world then stays as it was.
        """
        if isinstance(seed, list):
            raise ValueError("The episodes of this world share one seed; give a whole number.")
        number, given = as_seed(seed), _options(options)
        states, restart = given.pop("states", None), given.pop("restart", False)
        mask = self._mask(given.pop("reset_mask", None))
        if given:
            raise ValueError(
                f"Unknown reset options {sorted(map(str, given))}; known are states, restart, "
                "reset_mask."
            )
        if not is_truth(restart):
            raise ValueError(f"The reset option restart is True or False; got {brief(restart)}.")
        chosen = None if states is None else self._checked(states)
        super().reset(seed=number)
        self._begin(*self._starts(chosen, restart), mask)
        goals = self.task.observe(self.task.goal_states(self.states))
        return self._observations.copy(), self._infos(goal=goals)

    def _starts(self, states: Floats | None, restart: bool) -> tuple[Frames, Floats]:
        """Return the observations and the states at which the episodes begin."""
        if restart:
            return self.task.restart(self.np_random, self.num_envs)
        if states is None:
            states = self._checked(self.task.sample_starts(self.np_random, self.num_envs))
        return self.task.observe(states), states

    def _checked(self, states: ArrayLike) -> Floats:
        """Return a copy of ``states`` if they are finite numbers ``[B, n]``."""
        found = rows("states", states, self.task.state_dim).astype(np.float64)
        finite = np.isfinite(found).all(axis=1)
        if len(found) != self.num_envs or not finite.all():
            told = f"{len(found)} rows"
            if not finite.all():
                row = int(np.argmin(finite))
                told = f"{found[row].tolist()} as row {row}"
            raise ValueError(
                f"The states of {self.num_envs} episodes are {self.num_envs} rows of "
                f"{self.task.state_dim} finite numbers; got {told}."
            )
        return found

    def _mask(self, mask: ArrayLike | None) -> Bools:
        """Return which episodes begin, ``[B]``: all, without a mask and at the first reset."""
        found = np.ones(self.num_envs, np.bool_) if mask is None else as_array(mask)
        if found.shape != (self.num_envs,) or found.dtype != np.bool_:
            raise ValueError(
                f"The reset_mask of {self.num_envs} episodes is {self.num_envs} truth values; got "
                f"{form_of(found)}."
            )
        return found if self._states is not None else np.ones(self.num_envs, np.bool_)

    def _begin(self, observations: Frames, states: Floats, mask: Bools) -> None:
        """Put the episodes in which ``mask [B]`` is True at their starts, and leave the others."""
        actions = np.zeros((self.num_envs, self.task.control_dim), np.float32)
        elapsed = np.zeros(self.num_envs, np.int64)
        generators = self.np_random.spawn(self.num_envs)
        if mask.all():
            self.push = None
        else:
            images = mask.reshape(-1, *[1] * (observations.ndim - 1))
            observations = np.where(images, observations, self._observations)
            states = np.where(mask[:, None], states, self.states)
            actions = np.where(mask[:, None], actions, self._actions)
            elapsed = np.where(mask, elapsed, self._elapsed)
            pairs = zip(mask, generators, self._generators, strict=True)
            generators = [new if begun else old for begun, new, old in pairs]
        self._observations, self._states = observations, states
        self._actions, self._elapsed, self._generators = actions, elapsed, generators

    def step(self, actions: ArrayLike) -> tuple[Frames, Floats, Bools, Bools, dict[str, Any]]:
        """Apply ``actions [B, m]``, clipped to the limits, for one control step.

        Raises:
            ValueError: for actions of another shape, or that are not finite.
        """
        before, applied = self.states, self.task.applied(actions)
        if len(applied) != self.num_envs:
            raise ValueError(f"{self.num_envs} episodes were given {len(applied)} actions.")
        rewards = self.task.reward(before, applied)
        self._observations, self._states = self.task.transition(
            self._observations, before, applied, self.push, self._generators
        )
        self._actions = applied
        self._elapsed = self._elapsed + 1
        ended = np.zeros(self.num_envs, np.bool_)
        limit = self.max_episode_steps
        cut = ended if limit is None else self._elapsed >= limit
        return self._observations.copy(), rewards, ended, cut, self._infos()

    def render(self) -> tuple[Frames, ...] | None:
        """Return an RGB picture of each state and last action; None without a render mode."""
        if self.render_mode is None:
            return None
        goals = self.task.goal_states(self.states)
        shown = zip(self.states, self._actions, goals, strict=True)
        return tuple(self.task.picture(*each) for each in shown)

    def _infos(self, **more: NDArray[Any]) -> dict[str, Any]:
        """Return infos in Gymnasium's form: each array with its mask."""
        states = self.states
        infos = {"state": states, "is_goal": self.task.is_goal(states), **more}
        return infos | {f"_{name}": np.ones(self.num_envs, np.bool_) for name in infos}


class TaskEnv(gymnasium.Env[Frames, Actions]):
    """One episode of a task: a `TaskWorld` of one.

    Args:
        task: ``module:Class`` of a `Task`.
        render_mode: ``"rgb_array"`` for `render`, or None.
        options: of the task.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES)}  # noqa: RUF012

    def __init__(self, task: str, render_mode: str | None = None, **options: Any) -> None:
        self._world = TaskWorld(task, 1, None, render_mode, **options)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self._world.metadata["render_fps"]}
        self.dt, self.settle_steps = self._world.dt, self._world.settle_steps
        self.observation_space = self._world.single_observation_space
        self.action_space = self._world.single_action_space

    @property
    def task(self) -> Task:
        """The task."""
        return self._world.task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frames, dict[str, Any]]:
        """Begin an episode, at a start drawn with ``seed`` or at ``options["state"] [n]``.

        Returns:
            The observation ``[F, H, W]``, and an info with ``state [n]``, ``is_goal`` and ``goal``.

        Raises:
            ValueError: as `TaskWorld.reset`.
        """
        super().reset(seed=as_seed(seed))
        given = _options(options)
        if "state" in given:
            given["states"] = as_array(given.pop("state"))[None]
        self._world.np_random = self.np_random
        observations, infos = self._world.reset(options=given)
        return observations[0], _first(infos)

    def step(self, action: ArrayLike) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        """Apply ``action [m]`` for one control step; the episode itself never terminates."""
        observations, rewards, _, _, infos = self._world.step(as_array(action)[None])
        return observations[0], float(rewards[0]), False, False, _first(infos)

    def render(self) -> Frames | None:
        """Return an RGB picture of the present state and last action; None without render mode."""
        pictures = self._world.render()
        return None if pictures is None else pictures[0]


def _task(path: str, options: dict[str, Any]) -> Task:
    """Make the task ``module:Class``.

    Raises:
        ValueError: for an option that it does not take.
    """
    kind: Any = load_env_creator(path)
    known = inspect.signature(kind).parameters
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ValueError(
            f"{kind.__name__} takes no parameter {', '.join(unknown)}; leave it out (it takes "
            f"{', '.join(known)})."
        )
    task: Task = kind(**options)
    return task


def _options(options: Any) -> dict[str, Any]:
    """Return the options of a reset, which may be None.

    Raises:
        ValueError: where they are no dictionary.
    """
    if not isinstance(options, Mapping | None):
        raise ValueError(
            "The options of a reset are a dictionary, such as {'restart': True}; got "
            f"{brief(options)}."
        )
    return dict(options or {})


def _first(infos: dict[str, Any]) -> dict[str, Any]:
    """Return the info of the first episode."""
    found = {name: values[0] for name, values in infos.items() if not name.startswith("_")}
    return found | {"is_goal": bool(found["is_goal"])}
