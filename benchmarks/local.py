"""Local models against the global model, by the number of own episodes: SOLAR's way.

python -m benchmarks.local                # swing-up, seeds 0 to 4
python -m benchmarks.local --tasks arm --seeds 0 1 2
python -m benchmarks.local --committed    # print the table of the repository

All begin with the same global model, trained on first data of random controls: 600 transitions for
the swing-up, 10,000 for the arm. From there

* *global*: it is trained on, as in every run: a round of own episodes, some steps, and so on. At
  each score its dynamics learn on, as at the end of a run; the agent plans in it at every step.
* *local*: this agent plays two own episodes, and a time-varying policy that follows one of them is
  refined along local models, two own episodes in a round. The encoder and the global model stay
  as they are. This begins twice, after an earlier and a later round of *global*.

Errors of a step are measured in own episodes that nothing was fitted to yet. Each seed is a cell.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.cells import Seeds
from benchmarks.store import Result
from e2c.config import Config, EvaluationConfig, Recipe
from e2c.control.agent import Agent
from e2c.control.base import Controller, make_world, make_world_of
from e2c.data.episodes import Episodes
from e2c.data.windows import Windows
from e2c.errors import E2CError, run_command
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.intervals import interval
from e2c.learning import own, run
from e2c.learning.begin import Run
from e2c.learning.collect import collect_transitions
from e2c.learning.dynamics import learn_dynamics
from e2c.learning.encodings import Encodings
from e2c.learning.schedule import Phase
from e2c.lecture.refine import Refinement, RefineOptions, demonstrations
from e2c.options import to_dict
from e2c.presets import preset

START_SEED, TOGETHER = 1000, 2
"""Of the starts that are scored; own episodes in a round of local models."""
MISSED = ("missed_global", "missed_local")


@dataclass(frozen=True)
class Course:
    """What is compared on a task, in own episodes; those that are scored are as long as they are.

    Attributes:
        config: of the global model, without rounds of its own.
        learn_on: steps for which its dynamics learn on.
        steps: of an episode.
        starts: of the episodes that are scored.
        beginnings: own episodes before local models begin.
        refined: own episodes that local models get.
        every: own episodes between two scores of the global model.
        late: transitions that first data may grow by, until they show the goal.
    """

    config: Config
    learn_on: int
    steps: int
    starts: int
    beginnings: tuple[int, int]
    refined: int
    every: int
    late: int

    @property
    def counts(self) -> range:
        """Own episodes after which the global model is scored."""
        return range(0, self.beginnings[-1] + self.refined + 1, self.every)

    @property
    def options(self) -> dict[str, Any]:
        """What decides the figures."""
        course = (START_SEED, self.starts, self.steps, self.beginnings, self.refined, TOGETHER)
        refine = to_dict(RefineOptions())
        config = {"config": to_dict(self.config), "learn_on": self.learn_on}
        return {**config, "refine": refine, "counts": course}


def _course(env: str, steps: int, starts: int, beginnings: tuple[int, int], refined: int) -> Course:
    """The default preset with own episodes of ``steps`` steps, and no rounds of its own."""
    base = preset("default", env)
    data = replace(base.data, rounds=0, own_length=steps)
    optimiser = replace(base.optimiser, dynamics_steps=0, sight_steps=0)
    config = replace(base, data=data, optimiser=optimiser, evaluation=EvaluationConfig(0))
    every = max(TOGETHER, 2 * data.episodes_per_round)
    late = base.data.rounds // 2 * steps
    learn_on = base.optimiser.dynamics_steps
    return Course(config, learn_on, steps, starts, beginnings, refined, every, late)


TASKS = {
    "swing_up": _course("E2C/PendulumSwingUp-v0", 120, 50, (0, 4), 10),
    "arm": _course("E2C/ThreeLinkArm-v0", 200, 10, (10, 30), 20),
}
"""The arm's first data begin at random states, so its local models begin after own episodes."""


@dataclass(frozen=True)
class Local(Seeds):
    """Compare local models with the global model on as many own episodes."""

    tasks: tuple[str, ...] = ("swing_up",)
    """Tasks: swing_up, arm, or all."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: for another task.
        """
        for task in (tasks := tuple(TASKS) if self.tasks == ("all",) else self.tasks):
            if task not in TASKS:
                raise E2CError(f"--tasks is {task!r}; choose among: {', '.join(TASKS)}, all.")
        for task in tasks:
            course, passed = TASKS[task], ("--tasks", task)
            measure, tell = partial(_measure, course), partial(table, task)
            self.measure_and_tell(
                "benchmarks.local", (), course.options, measure, tell, passed, task
            )


def _measure(course: Course, seed: str) -> Result:
    """Train the global model round by round, and refine policies beside it."""
    number, together = int(seed), course.config.data.episodes_per_round
    found: dict[str, dict[str, dict[str, float]]] = {"global": {}}
    with tempfile.TemporaryDirectory() as folder:
        trained = _begin(course, number, Path(folder))
        for count in range(0, course.counts[-1] + 1, together):
            if count > 0:
                _train_on(trained, number, count // together)
            if count in course.counts:
                agent = _agent(course, trained, number)
                found["global"][str(count)] = _scored(course, agent, agent)
                if count in course.beginnings:
                    found[f"local_{count}"] = _refined(course, agent, number, count)
    return {"seed": number, "first_transitions": trained.data[0].transitions, "scores": found}


def _begin(course: Course, seed: int, folder: Path) -> Run:
    """Train on the first data, which go on until they show the goal, as in a run with rounds."""
    config, data = course.config, folder / "first.npz"
    world = make_world(config.env)
    goal: Any = world.reset(seed=0)[1]["goal"]
    options = config.data
    collect_transitions(
        config.env,
        options.transitions,
        options.episode_length,
        seed,
        restarts=options.restarts,
        goal=goal[0],
        most=options.transitions + course.late,
    ).save(data)
    return run.train(Recipe(config, seed=seed, data=(str(data),)), folder / "run")


def _train_on(trained: Run, seed: int, number: int) -> None:
    """Play one own episode and train on, as a round of a run does."""
    config, model = trained.config, trained.model
    explore = number > 1 and own.stayed(model, trained.data[-1])
    trained.data.append(own.play(trained.agent, config.data, seed, number, None, explore))
    windows = _windows(trained)
    phase = Phase(config.optimiser.steps_per_round, config.optimiser.learning_rate_own, False)
    model.train()
    for _ in trained.trainer.run(windows, phase):
        pass
    model.eval()
    model.measure(trained.data[0].planes(slice(None, None, run.MEASURED_EVERY)))


def _windows(trained: Run) -> Windows:
    """Return windows of all data."""
    horizon, share = trained.config.objective.horizon, trained.config.data.own_share
    return Windows(trained.data, horizon, share, trained.trainer.device, trained.see)


def _agent(course: Course, trained: Run, seed: int) -> Agent:
    """Return the agent in whose model the dynamics have learned on."""
    model = copy.deepcopy(trained.model)
    if course.learn_on:
        encodings = Encodings(model, _windows(trained))
        model.transition = learn_dynamics(model.transition, encodings, course.learn_on, seed)
    return trained.agent_of(model)


def _refined(course: Course, agent: Agent, seed: int, begun: int) -> dict[str, dict[str, float]]:
    """Score a policy after each round of own episodes and local models."""
    rng = np.random.default_rng([seed, begun])
    refined = Refinement(agent, demonstrations(agent, TOGETHER, course.steps, rng))
    scores = {str(begun + TOGETHER): _scored(course, agent, refined.controller)}
    for count in range(begun + 2 * TOGETHER, begun + course.refined + 1, TOGETHER):
        played = refined.play(TOGETHER, rng)
        missed = _missed(refined, played) if refined.local else {}
        refined.learn(played)
        scores[str(count)] = _scored(course, agent, refined.controller) | missed
    return scores


def _missed(refined: Refinement, played: Episodes) -> dict[str, float]:
    """Return the root mean square of errors of a step, over that of the codes around their mean."""
    errors, unit = refined.step_errors(played), float(refined.agent.model.latent_variance) ** 0.5
    both = (float(e.square().sum(-1).mean().sqrt()) for e in (errors.of_global, errors.of_local))
    return {name: error / unit for name, error in zip(MISSED, both, strict=True)}


def _scored(course: Course, agent: Agent, controller: Controller) -> dict[str, float]:
    """Return success, the share of steps in the goal and the return of a controller."""
    with closing(make_world_of(agent.spec, course.starts)) as world:
        summary = evaluate(world, controller, START_SEED, steps=course.steps).scores.summary()
    return {key: summary[key] for key in ("success_rate", "time_in_goal", "return_mean")}


def table(task: str, cells: Mapping[str, Result]) -> str:
    """Return the means over seeds as Markdown: success with 95% interval, and share in goal."""
    course = TASKS[task]
    rows = {"global": "global"}
    rows |= {f"local_{count}": f"local from {count}" for count in course.beginnings}
    lines = [f"| {task}, own episodes | " + " | ".join(rows.values()) + " |", "|---" * 4 + "|"]
    for count in course.counts:
        texts = [_text([c["scores"][row].get(str(count)) for c in cells.values()]) for row in rows]
        lines.append(f"| {count} | " + " | ".join(texts) + " |")
    lines += [
        "",
        f"| {task}, seed | local from | success | error of global, local |",
        "|---" * 4 + "|",
    ]
    for seed, begun in ((seed, begun) for seed in cells for begun in course.beginnings):
        scores = list(cells[seed]["scores"][f"local_{begun}"].values())
        success = ", ".join(f"{score['success_rate']:.0%}" for score in scores)
        missed = (np.mean([score[name] for score in scores[2:]]) for name in MISSED)
        lines.append(f"| {seed} | {begun} | {success} | {', '.join(f'{x:.3f}' for x in missed)} |")
    return "\n".join(lines)


def _text(scores: list[Any]) -> str:
    """Return the means of some seeds' scores as text; a dash where there are none."""
    if not scores or None in scores:
        return "-"
    success, share = ([s[key] for s in scores] for key in ("success_rate", "time_in_goal"))
    low, high = interval({"": success}, lambda runs: float(np.mean(runs)))
    return f"{np.mean(success):.0%} [{low:.0%}, {high:.0%}], {np.mean(share):.2f}"


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(Local)())
