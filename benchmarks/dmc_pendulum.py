"""dm_control's pendulum from its own frames: what the encodings tell of the state, and the return.

python -m benchmarks.dmc_pendulum                    # seeds 0 to 9
python -m benchmarks.dmc_pendulum --seeds 100        # another
python -m benchmarks.dmc_pendulum --frames 10000     # from half as many frames, or from several
python -m benchmarks.dmc_pendulum --committed        # print what the repository holds

Every seed is a training run from nothing, from ordinary resets and a picture of the goal, and
leaves one JSON file in ``dmc_pendulum``, or in a folder there that is named by the frames of the
simulator that a run sees at most, where these are not 20,000. States are read to score, in episodes
that were not trained on. Needs ``e2c[dmc]`` and EGL or OSMesa. Without a GPU, most of the time goes
into drawing frames.
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
from numpy.typing import NDArray

from benchmarks.cells import Seeds
from benchmarks.published import PENDULUM_RETURN
from benchmarks.scored import EPISODES, Env, Told, played, total, trained_towards
from e2c.config import Config, EvaluationConfig, Recipe
from e2c.control.base import Controller, Frames, make_world, rollout
from e2c.control.simple import Random, Zero, random_controls
from e2c.data.episodes import Episodes
from e2c.errors import E2CError, run_command
from e2c.evaluation.scores import open_loop_error
from e2c.learning.probe import TRANSITIONS as PROBED
from e2c.models.base import LatentModel
from e2c.options import to_dict
from e2c.presets import preset
from envs import Camera
from envs.mujoco_graphics import register_dm_control
from envs.world import World

ENV, SCORED = "dm_control/pendulum-swingup-v0", "dm_control/scored-pendulum-swingup-v0"
START_SEED, STEPS = 1000, 500
"""Steps of an episode, of 0.04 s each."""
UNSEEN, AHEAD = 2, 25
"""Episodes under pink noise that the encodings are looked at on, and how far ahead."""
OTHERS = ("random", "zero")
FRAMES = 20_000
ROUNDS = {10_000: 10, FRAMES: 30, 40_000: 70}
"""Frames of the simulator that a run sees at most, and its rounds of own episodes."""


def config(frames: int = FRAMES) -> Config:
    """Return the default of this task, in the world that is scored."""
    base = preset("default", ENV)
    data = replace(base.data, rounds=ROUNDS[frames])
    return replace(base, env=SCORED, data=data, evaluation=EvaluationConfig(0))


def state_of(env: Env) -> NDArray[np.float64]:
    """Return angle from upright [rad] and velocity [rad/s] of dm_control's pendulum."""
    data = env.get_wrapper_attr("physics").data
    return np.array([data.qpos[0], data.qvel[0]])


def scored(render_mode: str | None = None, **_: Any) -> Told:
    """Make one pendulum that is scored."""
    env = gymnasium.make(ENV, render_mode=render_mode)
    return Told(env, lambda env: {"state": state_of(env)})


def register() -> None:
    """Let Gymnasium know the pendulum that is scored."""
    register_dm_control(SCORED)
    if SCORED not in gymnasium.registry:
        gymnasium.register(SCORED, scored)


def goal_picture() -> Frames:
    """Return the picture ``[h, w, 3]`` of the pendulum upright and at rest."""
    env = gymnasium.make(ENV, render_mode="rgb_array")
    env.reset(seed=0)
    physics = env.get_wrapper_attr("physics")
    with physics.reset_context():
        physics.data.qpos[0] = physics.data.qvel[0] = 0.0
    picture = np.asarray(env.render(), np.uint8)
    env.close()
    return picture


@dataclass(frozen=True)
class DmcPendulum(Seeds):
    """Measure over seeds, cell by cell, and tell."""

    seeds: tuple[int, ...] = tuple(range(10))
    """Seeds to measure."""
    frames: tuple[int, ...] = (FRAMES,)
    """Frames of the simulator that a run sees at most: 10000, 20000 or 40000, one or several."""
    device: str = "cpu"
    """Where the networks are trained: cpu or cuda."""

    def __call__(self) -> None:
        """Compute what is missing, then tell.

        Raises:
            E2CError: for another number of frames.
        """
        for frames in self.frames:
            if frames not in ROUNDS:
                known = ", ".join(map(str, ROUNDS))
                raise E2CError(f"--frames is {frames}; choose among: {known}.")
        for frames in self.frames:
            self._measure_and_tell(frames)

    def _measure_and_tell(self, frames: int) -> None:
        """Compute what is missing of runs that see so many frames, then tell."""
        options = {
            "config": to_dict(config(frames)),
            "start_seed": START_SEED,
            "episodes": EPISODES,
        }
        measure = functools.partial(_measure, device=self.device, frames=frames)
        passed = ("--device", self.device, "--frames", str(frames))
        others, within = (OTHERS, "") if frames == FRAMES else ((), str(frames))
        tell = functools.partial(table, published=frames == FRAMES)
        self.measure_and_tell(
            "benchmarks.dmc_pendulum", others, options, measure, tell, passed, within
        )


def _measure(cell: str, device: str, frames: int) -> dict[str, Any]:
    """Return the figures of a cell, with the start seed that all share."""
    found = _trained(int(cell), device, frames) if cell.isdecimal() else _other(cell)
    return {"cell": cell, "env": ENV, "start_seed": START_SEED, **found}


def _trained(seed: int, device: str, frames: int) -> dict[str, Any]:
    """Train with one seed, and look at what was learned."""
    started = time.perf_counter()
    register()
    recipe = Recipe(config(frames), seed=seed, device=device)
    trained = trained_towards(goal_picture(), recipe)
    nats = [row["prior_kl"] for row in trained.tracker.history if "prior_kl" in row][-1]
    camera, agent = trained.config.camera, trained.agent
    world = make_world(SCORED, UNSEEN, camera=to_dict(camera))
    draws = np.random.default_rng(START_SEED)
    unseen = rollout(world, random_controls(world, draws, STEPS, "pink"), STEPS, draws)
    world.close()
    return {
        "seed": seed,
        "simulator_frames": camera.repeat * (trained.transitions + PROBED),
        "collapsed": trained.collapsed is not None,
        "prior_kl": nats,
        "r2": read_out(agent.model, trained.data, unseen),
        "open_loop_error": _ahead(agent.model, unseen),
        "own_returns": [total(own) for own in trained.data[1:]],
        "returns": _returns(camera, lambda world: agent, camera.look_at(goal_picture())),
        "run_seconds": {**trained.seconds, "total": time.perf_counter() - started},
        "config": to_dict(trained.config),
    }


@torch.inference_mode()
def read_out(model: LatentModel, data: Sequence[Episodes], unseen: Episodes) -> dict[str, float]:
    """Return R² of the state, read from the observation of the data with the nearest encoding.

    Args:
        model: trained.
        data: what it was trained on.
        unseen: episodes that it was not trained on.
    """
    known = np.concatenate([_values(part) for part in data])
    z = torch.cat([model.encode(part.planes()).mean for part in data])
    nearest = torch.cdist(model.encode(unseen.planes()).mean, z).argmin(1).numpy()
    true = _values(unseen)
    r2 = 1 - np.square(known[nearest] - true).mean(0) / true.var(0)
    return dict(zip(("cos", "sin", "velocity"), r2.tolist(), strict=True))


def _values(episodes: Episodes) -> NDArray[np.float64]:
    """Return cosine and sine of the angle, and the velocity, ``[N, 3]``."""
    assert episodes.states is not None
    angle, velocity = episodes.states.T
    return np.stack([np.cos(angle), np.sin(angle), velocity], 1)


@torch.inference_mode()
def _ahead(model: LatentModel, episodes: Episodes) -> float:
    """Return the open-loop error after `AHEAD` steps, over the variance of the encodings."""
    pieces = []
    for episode in episodes.split():
        z, u = model.encode(episode.planes()).mean, torch.from_numpy(episode.actions)
        for start in range(0, len(u) - AHEAD + 1, AHEAD):
            pieces.append((z[start : start + AHEAD + 1], u[start : start + AHEAD]))
    latents = torch.stack([z for z, _ in pieces])
    predicted = model.roll_out(latents[:, 0], torch.stack([u for _, u in pieces]))
    return float(open_loop_error(latents.double().numpy(), predicted.double().numpy())[-1])


def _other(name: str) -> dict[str, Any]:
    """Let a controller that learns nothing act from the same starts."""
    register()

    def controller(world: World) -> Controller:
        return Random(world, np.random.default_rng(0)) if name == "random" else Zero(world)

    return {"returns": _returns(Camera(size=(8, 8), repeat=2), controller, None)}


def _returns(
    camera: Camera, controller: Callable[[World], Controller], goal: Frames | None
) -> list[float]:
    """Return what each episode collected in a thousand of dm_control's steps."""

    def make(count: int) -> World:
        return make_world(SCORED, count, camera=to_dict(camera))

    return [total(each) for each in played(make, controller, STEPS, START_SEED, goal)]


def table(cells: Mapping[str, Mapping[str, Any]], published: bool = True) -> str:
    """Return the figures of the finished cells as Markdown, by their names.

    Args:
        cells: by their names.
        published: whether published agents are shown beside them.
    """
    lines = [
        "| | simulator frames | prior KL | R² cos, sin, velocity | error after 25 steps "
        "| return: mean | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cell in cells.items():
        total = f"{np.mean(cell['returns']):.0f} | {min(cell['returns']):.0f}"
        if "seed" not in cell:
            lines.append(f"| {name} | - | - | - | - | {total} |")
            continue
        r2 = ", ".join(f"{value:.3f}" for value in cell["r2"].values())
        lines.append(
            f"| seed {name} | {cell['simulator_frames']:,} | {cell['prior_kl']:.1f} nats | "
            f"{r2} | {cell['open_loop_error']:.3f} | {total} |"
        )
    for (agent, frames), mean in PENDULUM_RETURN.items() if published else ():
        lines.append(f"| {agent}, published | {frames:,} | - | - | - | {mean:.0f} | - |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(DmcPendulum)())
