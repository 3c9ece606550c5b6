"""All methods on all tasks, measured alike: the tables and the figures of the comparison.

python -m benchmarks.tables                                         # everything, ten seeds
python -m benchmarks.tables --tasks planar --methods e2c pcc --seeds 0 1 2 --jobs 2
python -m benchmarks.tables --committed                             # what the repository holds

A cell (task, method, seed) is a training run from nothing under the preset of that name, evaluated
from images alone on the same ten starts for every model. It leaves one JSON file in ``tables``.
Cells are taken seed by seed, so a benchmark that is stopped has measured every method alike;
stopped at any moment, the same command goes on where it was, in the middle of a training too.
Where a preset is the default on a task, as `ordinary` on swing-up, it has the default's cells.
`local` and `cvae` are policies that are made of the default's model (`benchmarks.policies`). Random
and zero controls and the oracle, which is the default's planner on the true dynamics, are rows of
one cell on each task.

The noise on the state comes from children of the generator that draws the starts, so every model
meets the same noise. Cells of the commits before `envs.world` drew it with the seed ``[1000, 2]``.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks import causes, figures, policies, store
from benchmarks.cells import complain, compute, train
from benchmarks.policies import POLICIES
from benchmarks.published import (
    SOURCES,
    SUCCESS,
    TIME_IN_GOAL,
    TRIALS,
    TRUE_MODEL,
    Share,
    success,
    trial,
)
from benchmarks.store import ROOT, Benchmark, missing
from e2c.config import Config, EvaluationConfig, Recipe, with_method
from e2c.control.agent import Agent
from e2c.control.base import Controller, make_world, problem_spec, rollout
from e2c.control.oracle import Oracle
from e2c.control.simple import Random, Zero
from e2c.data.episodes import join
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import assess
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.scores import Scores, score
from e2c.files import runs
from e2c.options import leaves, to_dict
from e2c.presets import PRESETS, preset
from e2c.report.plots import save_figure
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

SCORED: dict[str, tuple[str, tuple[str, ...]]] = {
    "swing_up": ("swing_up", ()),
    "planar": ("planar", ()),
    "balance": ("balance", ()),
    "balance, perturbed": ("balance", ("perturbed",)),
    "reach": ("reach", ()),
    "cart_pole": ("cart_pole", ()),
    "arm": ("arm", ()),
}
"""Column of scores: its task, and where in a cell's file the score stands."""
UNTRAINED = {"random": 10, "zero": 1, "oracle": 1}
"""Rows without training: how often each start is repeated, with other random numbers."""
LEARNED = (*PRESETS, *POLICIES)
METHODS = (*UNTRAINED, *LEARNED)
"""The rows: these, a model under each preset, and the policies made of the default's."""

Play = Callable[[Disturbance, int], dict[str, Any]]
"""Runs that many episodes from the starts of `START_SEED` in a disturbed world: their scores."""
Finished = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Task, method -> the files of its cells, by seed."""
T = TypeVar("T")


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
        _check_known("task", (task,), TASKS)
        _check_known("method", (method,), METHODS)
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


@dataclass(frozen=True)
class Tables(Benchmark):
    """Measure methods on tasks over seeds, cell by cell; write the tables and draw the figures."""

    tasks: tuple[str, ...] = ("all",)
    """Tasks to measure: names, or all."""
    methods: tuple[str, ...] = ("all",)
    """Rows to measure: presets, local, cvae, random, zero, oracle, or all."""
    seeds: tuple[int, ...] = tuple(range(10))
    """Of the models of each method on each task."""
    jobs: int = 2
    """Cells computed at the same time, each on its share of the cores."""
    keep_runs: bool = False
    """Keep the run folders, under runs/tables; then `local` and `cvae` take the default's run."""
    cell: str = ""
    """Compute this one cell here, TASK:METHOD:SEED, and nothing else."""

    def __call__(self) -> None:
        """Compute what is missing, then draw."""
        if self.cell:
            self._compute(Cell.named(self.cell))
            return
        failed = list[str]()
        if not self.committed:
            stored = {cell.name: cell.stored(self.folder) for cell in self.asked()}
            options = ("--keep-runs",) if self.keep_runs else ()
            place = ("--results", str(self.folder))
            failed = compute("benchmarks.tables", missing(stored), self.jobs, *place, *options)
        finished = self.finished()
        self.tell("tables", tables(finished))
        for name, figure in draw(finished).items():
            save_figure(figure, self.pictures / f"{name}.png")
        complain(failed)

    def asked(self) -> list[Cell]:
        """List the cells asked for, seed by seed.

        Raises:
            E2CError: for a task or a method that there is not, or no seeds.
        """
        if not self.seeds:
            raise E2CError("--seeds names none; give at least one.")
        tasks = tuple(TASKS) if self.tasks == ("all",) else self.tasks
        methods = METHODS if self.methods == ("all",) else self.methods
        _check_known("task", tasks, TASKS)
        _check_known("method", methods, METHODS)
        cells = (
            Cell.of(task, method, 0 if method in UNTRAINED else seed)
            for seed in self.seeds
            for task in tasks
            for method in methods
            if seed == self.seeds[0] or method not in UNTRAINED
        )
        return list(dict.fromkeys(cells))

    def finished(self) -> Finished:
        """Read the finished cells of all known tasks and methods."""
        found = {}
        for task, method in itertools.product(TASKS, METHODS):
            row = Cell.of(task, method, 0)
            paths = row.stored(self.folder).path.parent.glob("seed*.json")
            seeds = sorted(int(path.stem.removeprefix("seed")) for path in paths)
            cells = {str(seed): replace(row, seed=seed).stored(self.folder) for seed in seeds}
            if results := list(self.found(cells).values()):
                found[task, method] = results
        return found

    def _compute(self, cell: Cell) -> None:
        """Measure a cell and write its file; then its run folder has done its work."""
        torch.set_num_threads(1)
        if cell.method in UNTRAINED:
            measured = _measure_untrained(cell)
        elif cell.method in PRESETS:
            measured = _measure_model(cell)
        else:
            measured = _measure_policy(cell, self.keep_runs)
        about = {"env": TASKS[cell.task], "start_seed": START_SEED}
        cell.stored(self.folder).keep({**vars(cell), **about, **measured})
        if not self.keep_runs:
            shutil.rmtree(cell.folder, ignore_errors=True)


def _check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            told = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}, all."
            raise E2CError(f"There is no {kind} {name!r}; {told}")


# ---------------------------------------------------------------------------------------- measure


def _measure_model(cell: Cell) -> dict[str, Any]:
    """Train a model, going on where its run stands, and evaluate it."""
    told, agent = _trained(cell, cell.folder)
    read = causes.read(agent, _mechanics(agent.spec.env), START_SEED)
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
    task = _mechanics(agent.spec.env)
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


def _mechanics(env_id: str) -> Task:
    """Return the task that a world simulates."""
    return simulated(make_world(env_id), "The map of latent states").task


# ------------------------------------------------------------------------------------------- tell


def tables(finished: Finished) -> str:
    """Return scores, robustness and costs as Markdown."""
    return "\n".join(
        (
            "# Steps in the goal [%]\n",
            *_table(tuple(SCORED), partial(_score_text, finished), (*METHODS, "solar")),
            f"\n{_SCORES_CAPTION}\n",
            "# Episodes that reach the goal, under noise [%]\n",
            *_table(_noise_columns(), partial(_reached_text, finished), METHODS),
            f"\n{_NOISE_CAPTION}\n",
            "# Episodes that end settled in the goal, under noise [%]\n",
            *_table(_noise_columns(), partial(_settled_text, finished), METHODS),
            f"\n{_SETTLED_CAPTION}\n",
            "# Cost of the way and success, beside those of E2C's paper [%]\n",
            *_table(_trial_columns(), partial(_trial_text, finished), METHODS),
            f"\n{_TRIAL_CAPTION}\n",
            "# Models that failed, and why\n",
            *_table(tuple(TASKS), partial(_cause_text, finished), tuple(PRESETS)),
            f"\n{_CAUSE_CAPTION}\n",
            "# Costs\n",
            *_table(tuple(TASKS), partial(_cost_text, finished), LEARNED),
            f"\n{_COST_CAPTION}\n",
            "Published: " + "; ".join(f"{name}: {what}" for name, what in SOURCES.items()) + ".\n",
        )
    )


_SCORES_CAPTION = (
    "Mean over the models ± its standard error: the standard deviation of the models' means over "
    "the root of their number. It is the honest one to compare methods by; the protocol's own, "
    f"which the published ± is, takes the {EPISODES} starts of each model for so many independent "
    "runs and is smaller. In brackets the number of models and the best one; without, it is one. "
    "Random controls are drawn 10 times on each start; the oracle is the default's planner on the "
    "true state and dynamics. What the publications call swing-up is `reach` here. "
) + policies.CAPTION
_NOISE_CAPTION = (
    "Columns: task and standard deviation of the noise on the state, in the task's unit; mean over "
    f"the models ± its standard error, {NOISY_EPISODES} starts each ({EPISODES} without noise). "
    "What RCE counts as a success, and in which unit it scales its noise, could not be found; "
    "its figures stand beside the episodes that reach the goal, because under such noise even the "
    "oracle does not stay there. Their pendulum stands beside `swing_up`."
)
_SETTLED_CAPTION = (
    "An episode is settled when all of its last steps are in the goal: 10 of 40 (`planar`), 50 of "
    "200 (`swing_up`), 25 of 50 (`cart_pole`). See the oracle for what the noise leaves possible."
)
_TRIAL_CAPTION = (
    "Cost: what the oracle minimises, added up over an episode (squared distance from the goal in "
    "whitened true coordinates, and weighted squared controls), in percent of the oracle's own; "
    "success: the last 25 steps of 50 (cart-pole) or 50 of 200 (arm) are in the goal. The "
    "publication has one model, lambda 1 (0.25 here on cart-pole), v and r free (v^T r bounded "
    "here on the arm), convolutional networks of 80x80 and 128x128 images, 30 starts, costs "
    "weighted I / I (cart-pole) and I / 0.001 I (arm) in coordinates that it does not tell, and "
    "its own arm; how it counts a success is not told either. So its costs are set against those "
    "of its own true model, and what compares is the order of the methods."
)
_CAUSE_CAPTION = (
    "A model has failed that ends settled in fewer than half of its episodes. *Folded*: distant "
    "states lie on top of one another: places cannot be read from encodings, or distances from the "
    "goal are out of order. *Blind*: velocities cannot be read. *Runaway*: half a plan ahead the "
    "open-loop error is as large as the variance of the encodings. *Stuck*: none of these; what "
    "was learned is as good as in models that succeed, and yet plans do not arrive. The first that "
    "holds is counted. Models that were measured before this was told are left out."
)
_COST_CAPTION = (
    "Medians over the models: seconds on one core to collect, play own episodes, train and make a "
    "policy; transitions; optimiser steps."
)


def _table(
    columns: Sequence[str], text: Callable[[str, str], str], rows: Sequence[str]
) -> list[str]:
    """Return the lines of a table; a row with nothing in it is left out."""
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        texts = [text(row, column) for column in columns]
        if any(texts):
            lines.append(f"| {row} | {' | '.join(texts)} |")
    return lines


def _score_text(finished: Finished, method: str, column: str) -> str:
    published = TIME_IN_GOAL.get((column, method))
    return _side_by_side(_scored(finished, method, column), [published] if published else [])


def _scored(finished: Finished, method: str, column: str) -> Share | None:
    return _share(finished, method, *SCORED[column], "time_in_goal")


def _noise_columns() -> tuple[str, ...]:
    """Task and noise, for tasks that are run under noise or whose successes were published."""
    told = set(NOISE) | {task for _, task, _, _ in SUCCESS}
    return tuple(f"{task}, {std}" for task in TASKS if task in told for std in _noise_levels(task))


def _noise_levels(task: str) -> tuple[int, ...]:
    return (0, *NOISE.get(task, ()))


def _reached_text(finished: Finished, method: str, column: str) -> str:
    task, std = column.split(", ")
    published = success(task, method).get(int(std), [])
    return _side_by_side(_reached(finished, method, task, int(std)), published)


def _settled_text(finished: Finished, method: str, column: str) -> str:
    task, std = column.split(", ")
    return _side_by_side(_share(finished, method, task, _part(int(std)), "success_rate"), [])


def _reached(finished: Finished, method: str, task: str, std: int) -> Share | None:
    """Summarise the share of episodes with any step in the goal."""
    parts = _parts(finished, method, task, _part(std))
    return Share.of([float(np.mean(np.array(p["episodes"]) > 0)) for p in parts]) if parts else None


def _trial_columns() -> tuple[str, ...]:
    tasks = [task for task in TASKS if (task, TRUE_MODEL) in TRIALS]
    return tuple(f"{task}, {what}" for task in tasks for what in ("cost", "success"))


def _trial_text(finished: Finished, method: str, column: str) -> str:
    task, what = column.split(", ")
    published = trial(task, method).get(what)
    return _side_by_side(_tried(finished, method, task, what), [published] if published else [])


def _tried(finished: Finished, method: str, task: str, what: str) -> Share | None:
    """Summarise the success, or the cost against the oracle's, where that was measured."""
    if what == "success":
        return _share(finished, method, task, (), "success_rate")
    costs = [cell["cost"] for cell in finished.get((task, method), []) if "cost" in cell]
    ideal = [cell["cost"] for cell in finished.get((task, TRUE_MODEL), []) if "cost" in cell]
    return Share.of(np.array(costs) / ideal[0], best=min) if costs and ideal else None


def _part(std: int) -> tuple[str, ...]:
    """Where in a cell the scores under this noise stand."""
    return ("noise", str(std)) if std else ()


def _share(
    finished: Finished, method: str, task: str, part: Sequence[str], score: str
) -> Share | None:
    """Summarise a score over the models; None where nothing was measured."""
    parts = _parts(finished, method, task, part)
    return Share.of([scores[score] for scores in parts]) if parts else None


def _parts(
    finished: Finished, method: str, task: str, part: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Return that part of the cells of a method, as far as it was measured."""
    cells = finished.get((task, method), [])
    return [reduce(getitem, part, cell) for cell in cells if not part or part[0] in cell]


def _side_by_side(measured: Share | None, published: Sequence[Share]) -> str:
    """Write what was measured, then what was published."""
    texts = [f"**{measured.mean:.1f}**{_details(measured, '.1f')}"] if measured else []
    texts += [f"{share.source}: {share.mean:g}{_details(share, 'g')}" for share in published]
    return "<br>".join(texts)


def _details(share: Share, digits: str) -> str:
    """Write what is known of the models behind a mean."""
    error = "" if share.error is None else f" ± {share.error:{digits}}"
    several = share.best is not None and share.models != 1
    return error + (f" ({share.models}, best {share.best:{digits}})" if several else "")


def _cause_text(finished: Finished, method: str, task: str) -> str:
    return causes.told(finished.get((task, method), []), finished.get((task, "default"), []))


_COSTLY = ("collect", "own", "train", "policy")
"""Parts of the time that a cell took which are told as its cost."""


def _cost_text(finished: Finished, method: str, task: str) -> str:
    cells = finished.get((task, method), [])
    if not cells:
        return ""
    seconds, transitions, steps = np.median(
        [
            (
                sum(cell["seconds"].get(part, 0.0) for part in _COSTLY),
                cell["transitions"],
                cell["steps"],
            )
            for cell in cells
        ],
        axis=0,
    )
    return f"{seconds:.0f} s, {transitions:,.0f}, {steps:,.0f}"


# ------------------------------------------------------------------------------------------- draw


def draw(finished: Finished) -> dict[str, Figure]:
    """Draw all that was measured, by the figures' names; without anything to show there is none."""
    found: dict[str, Figure] = {}
    if shares := _by_method(SCORED, lambda column, method: _scored(finished, method, column)):
        found["tables_scores"] = figures.scores(shares, _published_scores())
    models = {key: cells for key, cells in finished.items() if key[1] in PRESETS}
    learned = {key: cells for key, cells in finished.items() if key[1] in LEARNED}
    if curves := _by_method(NOISE, partial(_reached_by_noise, learned)):
        found["tables_noise"] = figures.noise(curves, _by_method(NOISE, _published_success))
    if errors := _by_method(TASKS, partial(_median_error, models)):
        found["tables_open_loop"] = figures.open_loop(errors)
    if points := _by_method(TASKS, partial(_map_points, models)):
        maps = {task: _latent_maps(models, task, points[task]) for task in points}
        found["tables_latents"] = figures.latent_maps(maps)
    return found


def _by_method(
    keys: Iterable[str], look_up: Callable[[str, str], T | None]
) -> dict[str, dict[str, T]]:
    """Return key -> method -> what there is of them; without the keys that have nothing."""
    table = {
        key: {name: there for name in METHODS if (there := look_up(key, name)) is not None}
        for key in keys
    }
    return {key: row for key, row in table.items() if row}


def _published_scores() -> dict[str, dict[str, Share]]:
    found: dict[str, dict[str, Share]] = {}
    for (task, method), share in TIME_IN_GOAL.items():
        found.setdefault(task, {})[method] = share
    return found


def _published_success(task: str, method: str) -> dict[int, Share] | None:
    known = method in PRESETS
    return {std: shares[0] for std, shares in success(task, method).items() if known} or None


def _reached_by_noise(finished: Finished, task: str, method: str) -> dict[int, Share] | None:
    """Return the shares by the noise; None where nothing was measured under any."""
    found = {std: _reached(finished, method, task, std) for std in _noise_levels(task)}
    known = {std: share for std, share in found.items() if share is not None}
    return known if any(std > 0 for std in known) else None


def _median_error(finished: Finished, task: str, method: str) -> NDArray[np.float64] | None:
    cells = finished.get((task, method))
    return None if cells is None else np.median([cell["open_loop_error"] for cell in cells], 0)


def _map_points(finished: Finished, task: str, method: str) -> NDArray[np.float64] | None:
    maps = _mapped(finished, task, method)
    return np.array(maps[0]["points"]) if maps else None


def _mapped(finished: Finished, task: str, method: str) -> list[Mapping[str, Any]]:
    return [cell["latent_map"] for cell in finished.get((task, method), []) if "latent_map" in cell]


def _latent_maps(
    finished: Finished, task: str, points: Mapping[str, NDArray[np.float64]]
) -> figures.LatentMaps:
    """Return a task's maps, coloured by what is plotted of its state."""
    mechanics = _mechanics(TASKS[task])
    states = np.array(_mapped(finished, task, next(iter(points)))[0]["states"])
    quantity = mechanics.components[mechanics.plotted]
    return figures.LatentMaps(quantity, states[:, mechanics.plotted], points)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Tables)(), "Stopped; the same command goes on from here.")
