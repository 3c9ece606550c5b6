"""Two of Gymnasium's MuJoCo tasks from their own frames: InvertedPendulum-v5 and Reacher-v5.

python -m benchmarks.gym_mujoco                     # both, seeds 0 to 2
python -m benchmarks.gym_mujoco --env Reacher-v5    # one of them
python -m benchmarks.gym_mujoco --seeds 100         # another seed
python -m benchmarks.gym_mujoco --committed         # print the tables of the repository

Every seed is a training run from nothing, from ordinary resets and a picture of the goal. It is
scored on 20 starts and leaves one JSON file in a folder of the environment's name, in
``gym_mujoco``. States are read to score, and by the expert: a linear regulator (LQR) of the
mechanics at the goal. Reacher draws another target at each reset, and a picture shows one: so the
target stays in one place here. Controls are kept to a part of what the environments allow, for all
that act. Needs ``e2c[mujoco-envs]`` and EGL or OSMesa.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.envs.registration import WrapperSpec
from gymnasium.spaces import Box
from numpy.typing import NDArray

from benchmarks.cells import Seeds
from benchmarks.scored import EPISODES, Env, Told, played, total, trained_towards
from e2c.config import Config, DataConfig, EvaluationConfig, Recipe
from e2c.control.base import Controller, Frames, make_world
from e2c.control.simple import Random, Zero
from e2c.data.episodes import Episodes
from e2c.errors import E2CError, run_command
from e2c.options import to_dict
from e2c.presets import preset
from envs import Camera
from envs.world import World, control_space

Floats = NDArray[np.float64]

START_SEED = 1000
PENDULUM, REACHER = "InvertedPendulum-v5", "Reacher-v5"
OTHERS = ("random", "zero", "expert")
SIZE = 160
"""Height and width of the pictures that are rendered [px]."""
CENTRED = (0.1, 0.05)
"""A pole stands in the middle up to this distance [m] of the cart and this angle [rad]."""
TARGET = np.array([0.05, 0.15])
"""Where Reacher's target is [m]."""
LINKS = (0.1, 0.11)
"""Lengths of Reacher's links [m]."""
LAST = 10
"""The distance to the target is that of so many last steps."""


def fingertip(angles: Floats) -> Floats:
    """Return where Reacher's fingertip is [m], ``[..., 2]``, by the angles of its joints [rad]."""
    first, second = angles[..., 0], angles.sum(-1)
    x, y = (LINKS[0] * f(first) + LINKS[1] * f(second) for f in (np.cos, np.sin))
    return np.stack([x, y], -1)


def reaching(point: Floats) -> Floats:
    """Return angles ``[2]`` of Reacher's joints that bring its fingertip to a point [m]."""
    a, b = LINKS
    elbow = np.arccos((point @ point - a**2 - b**2) / (2 * a * b))
    inner = np.arctan2(b * np.sin(elbow), a + b * np.cos(elbow))
    return np.array([np.arctan2(point[1], point[0]) - inner, elbow])


def _centred(episode: Episodes, steps: int) -> float:
    """Return the share of all ``steps`` in which the pole stands in the middle."""
    return float((np.abs(_moving(episode)[:, :2]) <= CENTRED).all(1).sum() / steps)


def _distance(episode: Episodes, steps: int) -> float:
    """Return the mean distance of the fingertip to the target in the last steps [m]."""
    away = fingertip(_moving(episode)[-LAST:, :2]) - TARGET
    return float(np.linalg.norm(away, axis=1).mean())


def _moving(episode: Episodes) -> Floats:
    """Return the states after each step: two positions, then their velocities, ``[T, 4]``."""
    assert episode.states is not None
    return episode.states[1:]


@dataclass(frozen=True)
class Task:
    """One of the environments.

    Attributes:
        steps: after which an episode is cut off.
        limit: that controls are kept to. The environment allows more, which throws things about.
        goal: the two positions at the goal.
        error: the figure of an episode that is read from its states, given the steps.
        title: what this figure is called in the table.
        told: writes it.
        worst: returns the worst of several.
        weights: of the positions, the velocities and the control in the expert's cost.
    """

    steps: int
    limit: float
    goal: Floats
    error: Callable[[Episodes, int], float]
    title: str
    told: Callable[[float], str]
    worst: Callable[[Floats], float]
    weights: tuple[float, float, float]


TASKS = {
    PENDULUM: Task(
        1000,
        1.0,
        np.zeros(2),
        _centred,
        "upright in the middle",
        "{:.1%}".format,
        np.min,
        (1.0, 0.1, 0.1),
    ),
    REACHER: Task(
        50,
        0.2,
        reaching(TARGET),
        _distance,
        "distance at the end",
        lambda metres: f"{1000 * metres:.0f} mm",
        np.max,
        (1.0, 0.01, 10.0),
    ),
}


def config(env: str) -> Config:
    """Return the configuration of one of the environments, in the world that is scored.

    A crop is written down, since episodes of a falling pole are too short for a probe. Where these
    are so short, the objective looks fewer steps ahead, and its latent KL weighs less.
    """
    base = preset("default", env)
    reacher = env == REACHER
    crop = (52, 112, 40, 120) if reacher else (19, 94, 30, 130)
    compared = {"targets": 3} if reacher else {"horizon": 6, "targets": 2, "latent_weight": 10.0}
    transitions, rounds, own_length = (1500, 10, None) if reacher else (1000, 6, 100)
    optimiser = {
        "steps": 1800 if reacher else 2000,
        "steps_per_round": 150,
        "dynamics_steps": 800,
        "dynamics_steps_per_round": 200,
        "sight_steps": 0,
    }
    return replace(
        base,
        env=scored(env),
        env_args=f'{{"width": {SIZE}, "height": {SIZE}}}',
        camera=Camera(size=(48, 64), frames=2 if reacher else 3, crop=crop),
        objective=replace(base.objective, **compared),
        optimiser=replace(base.optimiser, **optimiser),
        data=DataConfig(
            transitions,
            noise="uniform",
            episode_length=50,
            rounds=rounds,
            episodes_per_round=2,
            own_length=own_length,
            own_horizon=None,
            own_iterations=None,
        ),
        planner=replace(base.planner, horizon=20),
        evaluation=EvaluationConfig(0),
    )


def scored(env: str) -> str:
    """Return the id of the environment that is scored."""
    return f"Scored/{env}"


class Scored(Told):
    """Tells positions and velocities, and keeps controls and Reacher's target to what is said here.

    Args:
        env: one of the environments.
        limit: of the controls.
    """

    def __init__(self, env: Env, limit: float) -> None:
        super().__init__(env, lambda env: {"state": state_of(env)})
        self.action_space = Box(-limit, limit, env.action_space.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Reset, put the target where it always is, and tell."""
        found = super().reset(seed=seed, options=options)
        put(self.env, state_of(self.env))
        return found


def state_of(env: Env) -> Floats:
    """Return the two positions of what moves, and their velocities."""
    data = env.get_wrapper_attr("data")
    return np.concatenate([data.qpos[:2], data.qvel[:2]])


def put(env: Env, state: Floats) -> None:
    """Bring an environment to a state, with Reacher's target in its place."""
    positions, velocities = state[:2], state[2:]
    if env.get_wrapper_attr("model").nq > 2:
        positions, velocities = np.r_[positions, TARGET], np.r_[velocities, 0.0, 0.0]
    env.get_wrapper_attr("set_state")(positions, velocities)


def register() -> None:
    """Let Gymnasium know the environments that are scored."""
    for env, task in TASKS.items():
        if scored(env) not in gymnasium.registry:
            known = gymnasium.spec(env)
            wrapper = WrapperSpec("Scored", "benchmarks.gym_mujoco:Scored", {"limit": task.limit})
            gymnasium.register(
                scored(env),
                known.entry_point,
                reward_threshold=known.reward_threshold,
                max_episode_steps=task.steps,
                additional_wrappers=(wrapper,),
            )


def goal_picture(env: str) -> Frames:
    """Return the picture ``[h, w, 3]`` of an environment at its goal and at rest."""
    world = make_world(scored(env), 1, width=SIZE, height=SIZE)
    inner: Any = world.unwrapped
    put(inner.envs[0], np.r_[TASKS[env].goal, 0.0, 0.0])
    picture = np.asarray(inner.envs[0].render(), np.uint8)
    world.close()
    return picture


class Expert:
    """Gives the controls of a linear regulator that sees the states: ``u = K (goal - state)``."""

    def __init__(self, world: World, task: Task) -> None:
        inner: Any = world.unwrapped
        self.envs, self.space = inner.envs, control_space(world)
        self.goal = np.r_[task.goal, 0.0, 0.0]
        self.gain = regulator(self.envs[0], self.goal, task.weights)

    def reset(self, goals: Frames | None, /) -> None:
        """Do nothing: the goal is always the same."""

    def act(self, frames: Frames, /) -> Floats:
        """Return controls ``[B, m]``."""
        away = self.goal - np.stack([state_of(env) for env in self.envs])
        return np.clip(away @ self.gain.T, self.space.low, self.space.high)


def regulator(env: Env, goal: Floats, weights: tuple[float, float, float]) -> Floats:
    """Return the gain K ``[m, 4]`` of the linear regulator at a goal, by Riccati's recursion.

    The mechanics are differentiated by central differences, since MuJoCo does it for other
    integrators than these environments have.
    """

    def after(x: Floats, u: Floats) -> Floats:
        put(env, x)
        env.get_wrapper_attr("do_simulation")(u, env.get_wrapper_attr("frame_skip"))
        return state_of(env)

    m, h = env.action_space.shape[0], 1e-5  # type: ignore[index]
    still = np.zeros(m)
    A = np.stack([after(goal + e, still) - after(goal - e, still) for e in h * np.eye(4)], 1)
    B = np.stack([after(goal, e) - after(goal, -e) for e in h * np.eye(m)], 1)
    A, B = A / (2 * h), B / (2 * h)
    Q, R = np.diag(np.repeat(weights[:2], 2)), weights[2] * np.eye(m)
    P, K = Q, np.zeros((m, 4))
    for _ in range(1000):
        K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
    return K


@dataclass(frozen=True)
class GymMujoco(Seeds):
    """Measure over seeds, cell by cell, and draw a table for each environment."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds to measure."""
    env: str = ""
    """One of the environments; left out, both."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the tables.

        Raises:
            E2CError: for another environment.
        """
        if self.env not in ("", *TASKS):
            raise E2CError(f"--env is {self.env!r}; choose among: {', '.join(TASKS)}.")
        register()
        for env in [self.env] if self.env else TASKS:
            decides = {"start_seed": START_SEED, "episodes": EPISODES}
            options = {"config": to_dict(config(env)), **decides}
            measure, draw = functools.partial(_measure, env), functools.partial(table, env)
            module, passed = "benchmarks.gym_mujoco", ("--env", env)
            self.measure_and_tell(module, OTHERS, options, measure, draw, passed, env)


def _measure(env: str, cell: str) -> dict[str, Any]:
    """Return the figures of a cell, with the start seed that all share."""
    found = _trained(env, int(cell)) if cell.isdecimal() else _other(env, cell)
    return {"cell": cell, "env": env, "start_seed": START_SEED, **found}


def _trained(env: str, seed: int) -> dict[str, Any]:
    """Train with one seed, and let the agent act."""
    started, picture = time.perf_counter(), goal_picture(env)
    trained = trained_towards(picture, Recipe(config(env), seed=seed))
    used, agent = trained.config, trained.agent
    goal = used.camera.look_at(picture)
    found = figures(env, used.world_options(), lambda world: agent, goal)
    return {
        "seed": seed,
        "transitions": trained.transitions,
        **found,
        "run_seconds": {**trained.seconds, "total": time.perf_counter() - started},
        "config": to_dict(used),
    }


def _other(env: str, name: str) -> dict[str, Any]:
    """Let a controller that learns nothing, and looks at nothing, act from the same starts."""

    def controller(world: World) -> Controller:
        if name == "expert":
            return Expert(world, TASKS[env])
        return Random(world, np.random.default_rng(0)) if name == "random" else Zero(world)

    camera = to_dict(Camera(size=(8, 8)))
    return figures(env, {"camera": camera, "width": 8, "height": 8}, controller, None)


def figures(
    env: str,
    options: Mapping[str, Any],
    controller: Callable[[World], Controller],
    goal: Frames | None,
) -> dict[str, Any]:
    """Return what a cell keeps of the episodes that a controller plays."""
    task = TASKS[env]

    def make(count: int) -> World:
        return make_world(scored(env), count, **options)

    episodes = played(make, controller, task.steps, START_SEED, goal)
    return {
        "returns": [total(episode) for episode in episodes],
        "lengths": [int(episode.transitions) for episode in episodes],
        "scores": [task.error(episode, task.steps) for episode in episodes],
    }


def table(env: str, cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of the finished cells of an environment as Markdown, by their names."""
    task = TASKS[env]
    lines = [
        f"{env}:\n",
        f"| | transitions | return: mean | worst | steps: mean | {task.title}: mean | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    seeds = [cell for name, cell in cells.items() if name.isdecimal()]
    for name, cell in cells.items():
        lines.append(_line(task, f"seed {name}" if name.isdecimal() else name, [cell]))
    if seeds:
        lines.append(_line(task, f"mean of {len(seeds)} seeds", seeds))
    return "\n".join(lines)


def _line(task: Task, title: str, cells: Sequence[Mapping[str, Any]]) -> str:
    returns, lengths, scores = (
        np.concatenate([cell[key] for cell in cells]) for key in ("returns", "lengths", "scores")
    )
    used = [cell["transitions"] for cell in cells if "transitions" in cell]
    told = f"{np.mean(used):,.0f}" if used else "-"
    return (
        f"| {title} | {told} | {returns.mean():.1f} | {returns.min():.1f} | {lengths.mean():.0f} "
        f"| {task.told(scores.mean())} | {task.told(task.worst(scores))} |"
    )


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(GymMujoco)())
