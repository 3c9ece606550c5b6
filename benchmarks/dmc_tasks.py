"""The tasks of dm_control that are measured: their pictures, goals, and what is read to score."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from benchmarks.scored import Env, Told
from e2c.config import Config, EvaluationConfig
from e2c.control.base import Frames
from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.presets import preset
from envs.mujoco_graphics import DM_CONTROL, register_dm_control

Floats = NDArray[np.float64]

FRAMES = 20_000
"""Frames of the simulator that a run sees at most, unless others are asked for."""
SIMULATED = 1000
"""Frames of the simulator in an episode."""
LINK = 0.12
"""Length of each link of the reacher [m]."""


@dataclass(frozen=True)
class Task:
    """One of the tasks.

    Attributes:
        rounds: of own episodes, by the frames of the simulator that a run sees at most.
        place: returns the positions at the goal, given the environment after a reset.
        own_goals: whether each episode has a goal of its own.
        told: whether it is measured what the encodings tell of the state.
    """

    rounds: dict[int, int]
    place: Callable[[Env], Floats]
    own_goals: bool = False
    told: bool = False


def _still(env: Env) -> Floats:
    """Return the positions of whatever stands upright in the middle."""
    return np.zeros_like(env.get_wrapper_attr("physics").data.qpos)


def _reaching(env: Env) -> Floats:
    """Return angles that bring the reacher's finger to its target, the elbow bent as it is."""
    physics = env.get_wrapper_attr("physics")
    x, y = physics.named.model.geom_pos["target", :2]
    elbow = np.arccos(np.clip((x * x + y * y) / (2 * LINK**2) - 1, -1, 1))
    elbow = np.copysign(elbow, physics.data.qpos[1])
    return np.array([np.arctan2(y, x) - elbow / 2, elbow])


TASKS = {
    "pendulum-swingup": Task({10_000: 10, FRAMES: 30, 40_000: 70}, _still, told=True),
    "cartpole-balance": Task({FRAMES: 10}, _still),
    "cartpole-swingup": Task({FRAMES: 21}, _still),
    "reacher-easy": Task({FRAMES: 12}, _reaching, own_goals=True),
}


def config(task: str, frames: int = FRAMES) -> Config:
    """Return the default of a task, in the world that is scored."""
    base = preset("default", env_of(task))
    data = replace(base.data, rounds=TASKS[task].rounds[frames])
    return replace(
        base,
        env=scored(task),
        data=data,
        evaluation=EvaluationConfig(0),
    )


def env_of(task: str) -> str:
    """Return the id of a task's environment."""
    return f"{DM_CONTROL}{task}-v0"


def scored(task: str) -> str:
    """Return the id of the environment that tells its states."""
    return f"{DM_CONTROL}scored-{task}-v0"


def state_of(env: Env) -> Floats:
    """Return the positions and velocities of an environment."""
    data = env.get_wrapper_attr("physics").data
    return np.concatenate([data.qpos, data.qvel])


def register() -> None:
    """Let Gymnasium know the environments that are scored.

    Raises:
        E2CError: when what they need is not installed.
    """
    for task in TASKS:
        try:
            register_dm_control(scored(task))
        except ValueError as error:
            raise E2CError(f"{shown(error)}.") from None
        if scored(task) not in gymnasium.registry:
            gymnasium.register(scored(task), lambda task=task, **given: _scored(task, **given))


def _scored(task: str, render_mode: str | None = None, **options: Any) -> Told:
    """Make one environment that is scored, with its goal where each episode has its own."""
    env = gymnasium.make(env_of(task), render_mode=render_mode, **options)
    return Scored(env, task)


class Scored(Told):
    """Tells its state; and at a reset its goal, where each episode has its own."""

    def __init__(self, env: Env, task: str) -> None:
        super().__init__(env, lambda env: {"state": state_of(env)})
        self.task = task

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and tell."""
        observation, info = super().reset(seed=seed, options=options)
        if TASKS[self.task].own_goals:
            camera = config(self.task).camera
            info["goal"] = camera.look_at(picture_at_goal(self.env, self.task))
        return observation, info


def picture_at_goal(env: Env, task: str) -> Frames:
    """Return the picture ``[h, w, 3]`` of an environment at its goal, and leave it as it was."""
    physics = env.get_wrapper_attr("physics")
    before, place = physics.get_state(), TASKS[task].place(env)
    _put(physics, np.concatenate([place, np.zeros_like(place)]))
    picture = np.asarray(env.render(), np.uint8)
    _put(physics, before)
    return picture


def _put(physics: Any, state: Floats) -> None:
    with physics.reset_context():
        physics.set_state(state)


def goal_picture(task: str) -> Frames:
    """Return the picture ``[h, w, 3]`` of the goal; of one, where each episode has its own."""
    register()
    env = gymnasium.make(scored(task), render_mode="rgb_array", **json.loads(config(task).env_args))
    env.reset(seed=0)
    picture = picture_at_goal(env, task)
    env.close()
    return picture
