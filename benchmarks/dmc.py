"""Tasks of dm_control from their own frames: what the encodings tell of the state, and the return.

python -m benchmarks.dmc                             # pendulum-swingup, seeds 0 to 9
python -m benchmarks.dmc --tasks all --seeds 0 1 2   # every task
python -m benchmarks.dmc --frames 10000              # from half as many frames, or from several
python -m benchmarks.dmc --committed                 # print what the repository holds

Every seed is a training run from nothing, from ordinary resets and a picture of the goal, and
leaves one JSON file in a folder of its task, in ``dmc``; or in a folder there that is named by the
frames of the simulator that a run sees at most, where these are not 20,000. States are read to
score, in episodes that were not trained on. Needs ``e2c[dmc]`` and EGL or OSMesa. Without a GPU,
most of the time goes into drawing frames.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from benchmarks.cells import Seeds
from benchmarks.dmc_tasks import FRAMES, SIMULATED, TASKS, config, env_of, goal_picture, register
from benchmarks.published import DM_CONTROL_RETURN
from benchmarks.scored import EPISODES, played, total, trained_towards
from e2c.config import Config, Recipe
from e2c.control.base import Controller, Frames, make_world, rollout
from e2c.control.simple import Random, Zero, random_controls
from e2c.data.episodes import Episodes
from e2c.errors import E2CError, run_command
from e2c.evaluation.scores import open_loop_error
from e2c.learning.begin import Run
from e2c.learning.probe import TRANSITIONS as PROBED
from e2c.models.base import LatentModel
from e2c.options import to_dict
from envs.world import World

START_SEED = 1000
UNSEEN, AHEAD = 2, 25
"""Episodes under pink noise that the encodings are looked at on, and how far ahead."""
OTHERS = ("random", "zero")
SMALL = '{"height": 8, "width": 8}'
"""What is drawn for who does not look."""


@dataclass(frozen=True)
class Dmc(Seeds):
    """Measure over tasks and seeds, cell by cell, and tell."""

    seeds: tuple[int, ...] = tuple(range(10))
    """Seeds to measure."""
    tasks: tuple[str, ...] = ("pendulum-swingup",)
    """Tasks: pendulum-swingup, cartpole-balance, cartpole-swingup, reacher-easy, or all."""
    frames: tuple[int, ...] = (FRAMES,)
    """Frames of the simulator that a run sees at most: 20000, of the pendulum 10000 and 40000 too;
    one or several."""
    device: str = "cpu"
    """Where the networks are trained: cpu or cuda."""

    def __call__(self) -> None:
        """Compute what is missing, then tell.

        Raises:
            E2CError: for another task, or another number of frames.
        """
        tasks = tuple(TASKS) if self.tasks == ("all",) else self.tasks
        for task in tasks:
            if task not in TASKS:
                raise E2CError(f"--tasks is {task!r}; choose among: {', '.join(TASKS)}, all.")
        known = sorted({frames for task in tasks for frames in TASKS[task].rounds})
        for frames in self.frames:
            if frames not in known:
                told = ", ".join(map(str, known))
                raise E2CError(f"--frames is {frames}; choose among: {told}.")
        for task, frames in itertools.product(tasks, self.frames):
            if frames in TASKS[task].rounds:
                self._measure_and_tell(task, frames)

    def _measure_and_tell(self, task: str, frames: int) -> None:
        """Compute what is missing of runs that see so many frames, then tell."""
        options = {
            "config": to_dict(config(task, frames)),
            "start_seed": START_SEED,
            "episodes": EPISODES,
        }
        measure = functools.partial(_measure, task=task, device=self.device, frames=frames)
        passed = ("--device", self.device, "--tasks", task, "--frames", str(frames))
        others, within = (OTHERS, task) if frames == FRAMES else ((), f"{task}/{frames}")
        tell = functools.partial(table, task, published=frames == FRAMES)
        self.measure_and_tell("benchmarks.dmc", others, options, measure, tell, passed, within)


def _measure(cell: str, task: str, device: str, frames: int) -> dict[str, Any]:
    """Return the figures of a cell, with the start seed that all share."""
    seed = int(cell) if cell.isdecimal() else None
    found = _other(task, cell) if seed is None else _trained(task, seed, device, frames)
    return {"cell": cell, "env": env_of(task), "start_seed": START_SEED, **found}


def _trained(task: str, seed: int, device: str, frames: int) -> dict[str, Any]:
    """Train with one seed, and look at what was learned."""
    started = time.perf_counter()
    register()
    picture = None if TASKS[task].own_goals else goal_picture(task)
    trained = trained_towards(picture, Recipe(config(task, frames), seed=seed, device=device))
    nats = [row["prior_kl"] for row in trained.tracker.history if "prior_kl" in row][-1]
    used, agent = trained.config, trained.agent
    goal = None if picture is None else used.camera.look_at(picture)
    probed = 0 if picture is None or config(task, frames).camera.crop else PROBED
    return {
        "seed": seed,
        "simulator_frames": used.camera.repeat * (trained.transitions + probed),
        "collapsed": trained.collapsed is not None,
        "prior_kl": nats,
        **(_told(trained) if TASKS[task].told else {}),
        "own_returns": [total(own) for own in trained.data[1:]],
        "returns": _returns(used, lambda world: agent, goal),
        "run_seconds": {**trained.seconds, "total": time.perf_counter() - started},
        "config": to_dict(used),
    }


def _told(trained: Run) -> dict[str, Any]:
    """Return what the encodings tell of the state, and how far ahead the dynamics tell them."""
    used, model = trained.config, trained.agent.model
    steps = SIMULATED // used.camera.repeat
    world = make_world(used.env, UNSEEN, **used.world_options())
    draws = np.random.default_rng(START_SEED)
    unseen = rollout(world, random_controls(world, draws, steps, "pink"), steps, draws)
    world.close()
    return {"r2": read_out(model, trained.data, unseen), "open_loop_error": _ahead(model, unseen)}


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
    """Return cosine and sine of the pendulum's angle, and its velocity, ``[N, 3]``."""
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


def _other(task: str, name: str) -> dict[str, Any]:
    """Let a controller that learns nothing act from the same starts."""
    register()

    def controller(world: World) -> Controller:
        return Random(world, np.random.default_rng(0)) if name == "random" else Zero(world)

    used = config(task)
    if not TASKS[task].own_goals:  # which are as large as the task's own camera shows them
        camera = replace(used.camera, size=(8, 8), frames=1, crop=None)
        used = replace(used, camera=camera, env_args=f'{{"render_kwargs": {SMALL}}}')
    return {"returns": _returns(used, controller, None)}


def _returns(
    used: Config, controller: Callable[[World], Controller], goal: Frames | None
) -> list[float]:
    """Return what each episode collected in a thousand of dm_control's steps."""

    def make(count: int) -> World:
        return make_world(used.env, count, **used.world_options())

    steps = SIMULATED // used.camera.repeat
    return [total(each) for each in played(make, controller, steps, START_SEED, goal)]


def table(task: str, cells: Mapping[str, Mapping[str, Any]], published: bool = True) -> str:
    """Return the figures of the finished cells of a task as Markdown, by their names.

    Args:
        task: whose cells they are.
        cells: by their names.
        published: whether published agents are shown beside them.
    """
    told = TASKS[task].told
    columns = ["", "simulator frames", "prior KL"]
    columns += ["R² cos, sin, velocity", f"error after {AHEAD} steps"] if told else []
    columns += ["return: mean", "worst"]
    rows = [columns]
    for name, cell in cells.items():
        found = ["-"] * (4 if told else 2)
        if "seed" in cell:
            found = [f"{cell['simulator_frames']:,}", f"{cell['prior_kl']:.1f} nats"]
        if "r2" in cell:
            r2 = ", ".join(f"{value:.3f}" for value in cell["r2"].values())
            found += [r2, f"{cell['open_loop_error']:.3f}"]
        returns = [f"{np.mean(cell['returns']):.0f}", f"{min(cell['returns']):.0f}"]
        rows.append([f"seed {name}" if "seed" in cell else name, *found, *returns])
    seeds = [cell for cell in cells.values() if "seed" in cell]
    rows += [_mean_row(seeds, columns)] if seeds else []
    for (agent, frames), mean in DM_CONTROL_RETURN[task].items() if published else ():
        unknown = ["-"] * (3 if told else 1)
        rows.append([f"{agent}, published", f"{frames:,}", *unknown, f"{mean:.0f}", "-"])
    header, *lines = (f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)
    return "\n".join([f"{task}:\n", header, "|" + "---|" * len(columns), *lines])


def _mean_row(seeds: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Return the row of the mean over seeds; the worst return is that of all their episodes."""
    returns = np.concatenate([cell["returns"] for cell in seeds])
    frames = np.mean([cell["simulator_frames"] for cell in seeds])
    unknown = ["-"] * (len(columns) - 4)
    scores = [f"{returns.mean():.0f}", f"{returns.min():.0f}"]
    return [f"mean of {len(seeds)} seeds", f"{frames:,.0f}", *unknown, *scores]


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(Dmc)())
