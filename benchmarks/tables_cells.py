"""Cells of the comparison: one model on one task, or a row without training on it.

A cell (task, method, seed) is a training run from nothing under the preset of that name, evaluated
from images alone on the same ten starts for every model. Where a preset is the default on a task,
as `ordinary` on swing-up, it has the default's cells. `local` and `cvae` are policies that are made
of the default's model (`benchmarks.policies`). Random and zero controls and the oracle, which is
the default's planner on the true dynamics, are rows of one cell on each task.

The noise on the state comes from children of the generator that draws the starts, so every model
meets the same noise. Cells of the commits before `envs.world` drew it with the seed ``[1000, 2]``.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import causes, policies, store
from benchmarks.cells import train
from benchmarks.policies import POLICIES
from benchmarks.store import ROOT
from e2c.config import Config, EvaluationConfig, Recipe, with_method
from e2c.control.agent import Agent
from e2c.control.base import Controller, make_world, problem_spec, rollout
from e2c.control.oracle import Oracle
from e2c.control.simple import Random, Zero
from e2c.data.episodes import join
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation.assessment import assess
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.scores import Scores, score
from e2c.files import runs
from e2c.options import leaves, to_dict
from e2c.presets import PRESETS, preset
from envs.task import Task
from envs.world import World, episode_steps, settle_steps, simulated

RUNS = ROOT / "runs" / "tables"

TASKS = {
    "swing_up": "E2C/PendulumSwingUp-v0",
    "planar": "E2C/Planar-v0",
    "balance": "E2C/PendulumBalance-v0",
    "reach": "E2C/PendulumReach-v0",
    "cart_pole": "E2C/CartPole-v0",
    "arm": "E2C/ThreeLinkArm-v0",
}
"""What the tasks are called here."""
START_SEED, EPISODES, NOISY_EPISODES, MAP_POINTS = 1000, 10, 20, 400
MAP_EVERY = 5
"""Models whose seed is a multiple of it have a map of their latent states."""
NOISE = {"planar": (1, 2, 5), "swing_up": (1, 2), "cart_pole": (1, 2)}
"""Standard deviations of the noise on the state, in the task's unit, under which a task is run."""
UNTRAINED = {"random": 10, "zero": 1, "oracle": 1}
"""Rows without training: how often each start is repeated, with other random numbers."""
LEARNED = (*PRESETS, *POLICIES)
METHODS = (*UNTRAINED, *LEARNED)
"""The rows: these, a model under each preset, and the policies made of the default's."""

Play = Callable[[Disturbance, int], dict[str, Any]]
"""Runs that many episodes from the starts of `START_SEED` in a disturbed world: their scores."""


@dataclass(frozen=True)
class Cell:
    """One model on one task, or a row without training on it."""

    task: str
    method: str
    seed: int

    @classmethod
    def named(cls, name: str) -> Cell:
        """Return the cell called ``task:method:seed``.

        Raises:
            E2CError: for a name of another form, or a task or a method that there is not.
        """
        parts = re.fullmatch(r"([^:]*):([^:]*):([0-9]{1,9})", name)
        if parts is None:
            raise E2CError(
                f"--cell is {name!r}; it must be TASK:METHOD:SEED, like planar:default:0."
            )
        task, method, seed = parts.groups()
        check_known("task", (task,), TASKS)
        check_known("method", (method,), METHODS)
        return cls.of(task, method, int(seed))

    @classmethod
    def of(cls, task: str, method: str, seed: int) -> Cell:
        """Return a row's cell: that of the default, where a preset is the same on a task."""
        same = method in PRESETS and preset(method, TASKS[task]) == preset("default", TASKS[task])
        return cls(task, "default" if same else method, seed)

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return f"{self.task}:{self.method}:{self.seed}"

    def stored(self, results: Path) -> store.Cell:
        """Return its result in a folder of results."""
        config = self.config()
        asked = {
            "config": to_dict(config),
            "seed": self.seed,
            "start_seed": START_SEED,
            "episodes": EPISODES,
            "noisy_episodes": NOISY_EPISODES,
            "noise": NOISE.get(self.task, ()),
            **({"policy": POLICIES[self.method]} if self.method in POLICIES else {}),
        }
        path = results / "tables" / self.task / self.method / f"seed{self.seed}.json"
        return store.Cell(path, asked)

    def config(self) -> Config:
        """Return its configuration: of a policy, the model's; untrained, the oracle's planner's."""
        return preset(self.method if self.method in PRESETS else "default", TASKS[self.task])

    @property
    def folder(self) -> Path:
        """Its run folder while it is computed."""
        return RUNS / self.task / self.method / f"seed{self.seed}"


def check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names of tasks or methods that there are not.

    Raises:
        E2CError: for the first of them; it names a similar one, or all.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            told = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}, all."
            raise E2CError(f"There is no {kind} {name!r}; {told}")


def measure(cell: Cell, keep_runs: bool) -> dict[str, Any]:
    """Measure a cell, on one core.

    Args:
        cell: what to measure.
        keep_runs: whether finished runs are kept; then a policy takes the default's, if there is
            one.

    Returns:
        The figures of its file: scores are shares of steps or episodes, times are in seconds.
    """
    torch.set_num_threads(1)
    if cell.method in UNTRAINED:
        measured = _measure_untrained(cell)
    elif cell.method in PRESETS:
        measured = _measure_model(cell)
    else:
        measured = _measure_policy(cell, keep_runs)
    return {**vars(cell), "env": TASKS[cell.task], "start_seed": START_SEED, **measured}


def _measure_model(cell: Cell) -> dict[str, Any]:
    """Train a model, going on where its run stands, and evaluate it."""
    told, agent = _trained(cell, cell.folder)
    read = causes.read(agent, mechanics(agent.spec.env), START_SEED)
    started = time.perf_counter()
    scores = _scores(cell.task, partial(_played_by_agent, agent))
    taken = time.perf_counter() - started
    total = told["seconds"]["total"] + taken
    return {
        "config": _changed(cell.config()),
        "seconds": {**told["seconds"], "evaluate": taken, "total": total},
        **{key: told[key] for key in ("transitions", "steps", "open_loop_error")},
        **scores,
        "horizon": agent.options.horizon,
        "read": read._asdict(),
        **({"latent_map": _latent_map(agent)} if cell.seed % MAP_EVERY == 0 else {}),
    }


def _measure_policy(cell: Cell, shared: bool) -> dict[str, Any]:
    """Train the default's model, make a policy of it, and evaluate that.

    Args:
        cell: of a row of `POLICIES`.
        shared: whether the finished run of the default's cell is taken, where there is one.
    """
    folder, kept = cell.folder, replace(cell, method="default").folder
    if shared and runs.finished(kept) and not runs.differences(kept, _recipe(cell)):
        folder = kept
    told, agent = _trained(cell, folder)
    started = time.perf_counter()
    made = policies.make(cell.method, agent, cell.seed)
    ready = time.perf_counter()
    scores = _scores(cell.task, partial(_played_by_policy, made.controller, agent))
    ended = time.perf_counter()
    taken = {"policy": ready - started, "evaluate": ended - ready}
    total = told["seconds"]["total"] + ended - started
    return {
        "config": _changed(cell.config()),
        "seconds": {**told["seconds"], **taken, "total": total},
        "transitions": told["transitions"] + made.transitions,
        "steps": told["steps"] + made.steps,
        **scores,
    }


def _trained(cell: Cell, folder: Path) -> tuple[dict[str, Any], Agent]:
    """Train a cell's model in a folder; return what its run tells, and its agent."""
    train(_recipe(cell), folder)
    return json.loads((folder / runs.SUMMARY).read_text()), load_agent(folder)


def _recipe(cell: Cell) -> Recipe:
    """Return the recipe of a cell's model."""
    return Recipe(replace(cell.config(), evaluation=EvaluationConfig(0)), seed=cell.seed)


def _changed(config: Config) -> dict[str, Any]:
    """Return what differs from the default configuration, by dotted name."""
    default = dict(leaves(with_method(Config(), config.model.method)))
    default["model.method"] = Config().model.method
    return {name: value for name, value in leaves(config) if value != default[name]}


def _scores(task: str, play: Play) -> dict[str, Any]:
    """Score the task itself, and under its noise or from its perturbed starts."""
    scores = play(Disturbance(), EPISODES)
    if task == "balance":
        scores["perturbed"] = play(Disturbance(perturbed=True), EPISODES)
    if task in NOISE:
        scores["noise"] = {
            str(std): play(Disturbance(state_noise=std), NOISY_EPISODES) for std in NOISE[task]
        }
    return scores


def _played_by_agent(agent: Agent, disturbance: Disturbance, count: int) -> dict[str, Any]:
    found = assess(agent, count, START_SEED, disturbance, oracle=False)
    return _told(found.agent.scores, found.results["cost_mean"])


def _played_by_policy(
    policy: Controller, agent: Agent, disturbance: Disturbance, count: int
) -> dict[str, Any]:
    world = disturbance.world(agent.spec, count, START_SEED)
    found = evaluate(world, policy, START_SEED)
    return _told(found.scores, float(Oracle(world, agent.options).price(found.episodes).mean()))


def _told(scores: Scores, cost: float) -> dict[str, Any]:
    """Return what a cell's file tells of scored episodes and their mean cost."""
    summary = scores.summary()
    return {
        **{name: summary[name] for name in ("success_rate", "time_in_goal")},
        "cost": cost,
        "episodes": [row["time_in_goal"] for row in scores.rows()],
    }


@torch.inference_mode()
def _latent_map(agent: Agent) -> dict[str, Any]:
    """Encode random restarts, the same for every model of a task.

    Returns:
        ``points``, in up to 3 principal components, in units of the spread of the encodings (the
        root of their summed variance); and the first two components of their ``states``.
    """
    task = mechanics(agent.spec.env)
    observations, states = task.restart(np.random.default_rng(START_SEED), MAP_POINTS)
    latents = agent.model.encode(observations).mean.double().numpy()
    centred = latents - latents.mean(0)
    *_, components = np.linalg.svd(centred, full_matrices=False)
    points = centred @ components[:3].T / np.sqrt(centred.var(0).sum())
    return {"points": points.round(3).tolist(), "states": states[:, :2].round(3).tolist()}


def _measure_untrained(cell: Cell) -> dict[str, Any]:
    """Score who acts without having learned anything."""
    started = time.perf_counter()
    scores = _scores(cell.task, partial(_played_untrained, cell))
    return {"seconds": {"total": time.perf_counter() - started}, **scores}


def _played_untrained(cell: Cell, disturbance: Disturbance, count: int) -> dict[str, Any]:
    """Play the models' starts: first under the models' noise, then under other noise."""
    env_id = TASKS[cell.task]
    world = disturbance.world(problem_spec(make_world(env_id)), count, START_SEED)
    expert = Oracle(world, preset("default", env_id).planner)
    starts = expert.world.task.sample_starts(np.random.default_rng(START_SEED), count)
    noise = np.random.default_rng(START_SEED)
    played = join(
        [
            rollout(world, controller, episode_steps(world), noise, states=starts)
            for controller in _controllers(cell.method, expert, world)
        ]
    )
    return _told(score(played, settle_steps(world)), float(expert.price(played).mean()))


def _controllers(method: str, expert: Oracle, world: World) -> Iterator[Controller]:
    """Yield what acts in each repeat of a row of `UNTRAINED`."""
    for seed in range(UNTRAINED[method]):
        if method == "random":
            yield Random(world, np.random.default_rng(seed))
        else:
            yield Zero(world) if method == "zero" else expert


def mechanics(env_id: str) -> Task:
    """Return the task that a world simulates."""
    return simulated(make_world(env_id), "The map of latent states").task
