"""Frames that nobody here drew: Gymnasium's Pendulum-v1, from its own pictures and a goal image.

python -m benchmarks.any_pixels                    # seeds 0 to 4
python -m benchmarks.any_pixels --seeds 100 101    # others
python -m benchmarks.any_pixels --committed        # print the table of the repository

Every seed is a training run from nothing with the default configuration. Where the rod is in the
picture is found out in a probe of 200 steps more. It is evaluated on 20 starts and leaves one JSON
file in ``any_pixels``. States are read to score, and by the oracle, which acts from the same starts
in our own simulation of the same mechanics. Needs pygame.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from benchmarks.cells import Seeds
from benchmarks.scored import Env, Told, trained_towards
from e2c.config import Config, EvaluationConfig, Recipe
from e2c.control.base import Frames, make_world, rollout
from e2c.control.oracle import Oracle
from e2c.control.simple import Random, Zero
from e2c.errors import run_command
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.scores import Scores, score
from e2c.options import to_dict
from e2c.presets import preset
from envs import Camera
from envs.world import World, begin, settle_steps

ENV, SCORED, OURS = "Pendulum-v1", "Scored/Pendulum-v1", "E2C/PendulumSwingUp-v0"
START_SEED, STARTS, STEPS = 1000, 20, 200
GOAL_REGION = 0.2
"""A pendulum is in the goal region up to this angle from upright [rad]."""
OTHERS = ("oracle", "random", "zero")


def _config() -> Config:
    """Return the default; the starts are played afterwards."""
    return replace(preset("default", ENV), evaluation=EvaluationConfig(0))


def _told(env: Env) -> dict[str, Any]:
    """Return state and goal region of a pendulum."""
    pendulum: Any = env.unwrapped
    angle, velocity = pendulum.state
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    return {"state": np.array([angle, velocity]), "is_goal": bool(abs(angle) <= GOAL_REGION)}


def scored(render_mode: str | None = None, **_: Any) -> Told:
    """Make one pendulum that is scored."""
    return Told(PendulumEnv(render_mode), _told)


def scored_world(count: int, camera: Camera) -> World:
    """Make ``count`` pendulums that are scored, seen by a camera."""
    if SCORED not in gymnasium.registry:
        gymnasium.register(SCORED, scored, max_episode_steps=STEPS)
    return make_world(SCORED, count, camera=to_dict(camera))


def goal_picture() -> Frames:
    """Return the picture ``[h, w, 3]`` of the pendulum upright and at rest."""
    env = PendulumEnv("rgb_array")
    env.reset()
    env.state = np.zeros(2)
    picture = np.asarray(env.render(), np.uint8)
    env.close()
    return picture


@dataclass(frozen=True)
class AnyPixels(Seeds):
    """Measure over seeds, cell by cell, and draw the table."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the table."""
        options = {"config": to_dict(_config()), "start_seed": START_SEED, "starts": STARTS}
        self.measure_and_tell("benchmarks.any_pixels", OTHERS, options, _measure, table)


def _measure(cell: str) -> dict[str, Any]:
    """Return the figures of a cell, with the start seed that all share."""
    found = _trained(int(cell)) if cell.isdecimal() else _other(cell)
    return {"cell": cell, "env": ENV, "start_seed": START_SEED, **found}


def _trained(seed: int) -> dict[str, Any]:
    """Train with one seed, and evaluate."""
    started = time.perf_counter()
    trained = trained_towards(goal_picture(), Recipe(_config(), seed=seed))
    camera = trained.config.camera
    goals = np.repeat(camera.look_at(goal_picture())[None], STARTS, 0)
    played = evaluate(scored_world(STARTS, camera), trained.agent, START_SEED, goals)
    seconds = {**trained.seconds, "total": time.perf_counter() - started}
    return {
        "seed": seed,
        "transitions": trained.transitions,
        **figures(played.scores),
        "run_seconds": seconds,
        "config": to_dict(trained.config),
    }


def _other(name: str) -> dict[str, Any]:
    """Let a controller that learns nothing act from the same starts."""
    world = scored_world(STARTS, Camera())
    if name == "oracle":
        return figures(_ideal(world))
    draws = np.random.default_rng(START_SEED)
    controller = Random(world, draws) if name == "random" else Zero(world)
    return figures(evaluate(world, controller, START_SEED).scores)


def _ideal(world: World) -> Scores:
    """Let the oracle act in our own simulation, from the starts of ``world``."""
    _, infos = begin(world, np.random.default_rng(START_SEED))
    ours = make_world(OURS, STARTS)
    expert, draws = Oracle(ours, _config().planner), np.random.default_rng(START_SEED)
    starts = np.stack(infos["state"])
    return score(rollout(ours, expert, STEPS, draws, states=starts), settle_steps(world))


def figures(scores: Scores) -> dict[str, Any]:
    """Return what a cell keeps of the scores."""
    return {**scores.summary(), "episodes": scores.rows()}


def table(cells: dict[str, dict[str, Any]]) -> str:
    """Return the figures of the finished cells as Markdown.

    Args:
        cells: what each cell measured, by its name: a seed or the name of a controller.
    """
    lines = ["| | transitions | success | time in goal | return |", "|---|---|---|---|---|"]
    seeds = [cell for name, cell in cells.items() if name.isdecimal()]
    for name, cell in cells.items():
        title = f"seed {name}" if name.isdecimal() else name
        lines.append(_line(title, cell.get("transitions"), [cell]))
    if seeds:
        worst = min(cell["success_rate"] for cell in seeds)
        title = f"mean of {len(seeds)} seeds (worst {worst:.0%})"
        used = round(float(np.mean([cell["transitions"] for cell in seeds])))
        lines.append(_line(title, used, seeds))
    return "\n".join(lines)


def _line(title: str, transitions: int | None, cells: list[dict[str, Any]]) -> str:
    keys = ("success_rate", "time_in_goal", "return_mean")
    success, share, total = (float(np.mean([cell[key] for cell in cells])) for key in keys)
    used = "-" if transitions is None else f"{transitions:,}"
    return f"| {title} | {used} | {success:.0%} | {share:.3f} | {total:.0f} |"


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(AnyPixels)())
