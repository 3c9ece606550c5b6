"""Local models against the global model, by the number of own episodes: SOLAR's way on swing-up.

python -m benchmarks.local                # seeds 0 to 4
python -m benchmarks.local --committed    # print the table of the repository

All begin with the same global model, trained on 600 transitions of random controls. From there

* *global*: it is trained on, as in every run: one own episode, 250 steps, and so on; the agent
  plans in it at every step.
* *policy, global model*: the time-varying policy that this model imagines, without local models.
* *policy, local models*: that policy, refined by local models, two own episodes in a round. The
  encoder and the global model stay as they are. Once it begins before the first own episode, and
  once after four episodes of *global*.

Own episodes have 120 steps, and so have the episodes that are scored. Errors of a step are measured
in own episodes that nothing was fitted to yet. Each seed is a cell.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
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
from e2c.control.refine import Refinement, RefineOptions
from e2c.data.episodes import Episodes
from e2c.data.windows import Windows
from e2c.errors import run_command
from e2c.evaluation.evaluate import evaluate
from e2c.evaluation.intervals import interval
from e2c.learning import own, run
from e2c.learning.begin import Run
from e2c.learning.collect import collect_transitions
from e2c.learning.schedule import Phase
from e2c.options import to_dict
from e2c.presets import preset

START_SEED, EPISODES, STEPS = 1000, 50, 120
BEGINNINGS, REFINED, TOGETHER = (0, 4), 10, 2
"""Own episodes before local models begin, how many more they get, and how many in a round."""
COUNTS = tuple(range(0, BEGINNINGS[-1] + REFINED + 1, TOGETHER))
"""Own episodes after which the global model is scored."""
MISSED = ("missed_global", "missed_local")


def _config() -> Config:
    """The default preset, with own episodes of `STEPS` steps, and no rounds of its own."""
    base = preset("default")
    return replace(
        base,
        data=replace(base.data, rounds=0, own_length=STEPS),
        optimiser=replace(base.optimiser, dynamics_steps=0, sight_steps=0),
        evaluation=EvaluationConfig(0),
    )


@dataclass(frozen=True)
class Local(Seeds):
    """Compare local models with the global model on as many own episodes."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        options = {
            "config": to_dict(_config()),
            "refine": to_dict(RefineOptions()),
            "counts": (START_SEED, EPISODES, STEPS, BEGINNINGS, REFINED, TOGETHER),
        }
        self.measure_and_tell("benchmarks.local", (), options, _measure, table)


def _measure(seed: str) -> Result:
    """Train the global model round by round, and refine policies beside it."""
    number = int(seed)
    found: dict[str, dict[str, dict[str, float]]] = {"global": {}, "plan": {}}
    with tempfile.TemporaryDirectory() as folder:
        trained = _begin(number, Path(folder))
        for count in range(COUNTS[-1] + 1):
            if count > 0:
                _train_on(trained, number, count)
            if count in COUNTS:
                agent = trained.agent
                found["global"][str(count)] = _scored(agent, agent)
                refined = Refinement(agent, trained.data[0], STEPS)
                found["plan"][str(count)] = _scored(agent, refined.controller)
                if count in BEGINNINGS:
                    found[f"local_{count}"] = _refined(refined, number, count)
    return {"seed": number, "first_transitions": trained.data[0].transitions, "scores": found}


def _begin(seed: int, folder: Path) -> Run:
    """Train on the first data, which go on until they show the goal, as in a run with rounds."""
    config, data = _config(), folder / "first.npz"
    world = make_world(config.env)
    goal: Any = world.reset(seed=0)[1]["goal"]
    options, rounds = config.data, preset("default").data.rounds
    collect_transitions(
        config.env,
        options.transitions,
        options.episode_length,
        seed,
        restarts=options.restarts,
        goal=goal[0],
        most=options.transitions + rounds // 2 * STEPS,
    ).save(data)
    return run.train(Recipe(config, seed=seed, data=(str(data),)), folder / "run")


def _train_on(trained: Run, seed: int, number: int) -> None:
    """Play one own episode and train on, as a round of a run does."""
    config, model = trained.config, trained.model
    explore = number > 1 and own.stayed(model, trained.data[-1])
    trained.data.append(own.play(trained.agent, config.data, seed, number, None, explore))
    horizon, share = config.objective.horizon, config.data.own_share
    windows = Windows(trained.data, horizon, share, trained.trainer.device, trained.see)
    phase = Phase(config.optimiser.steps_per_round, config.optimiser.learning_rate_own, False)
    model.train()
    for _ in trained.trainer.run(windows, phase):
        pass
    model.eval()
    model.measure(trained.data[0].planes(slice(None, None, run.MEASURED_EVERY)))


def _refined(refined: Refinement, seed: int, begun: int) -> dict[str, dict[str, float]]:
    """Score a policy after each round of own episodes and local models."""
    rng = np.random.default_rng([seed, begun])
    scores = {str(begun): _scored(refined.agent, refined.controller)}
    for count in range(begun + TOGETHER, begun + REFINED + 1, TOGETHER):
        played = refined.play(TOGETHER, rng)
        missed = _missed(refined, played) if refined.local else {}
        refined.learn(played)
        scores[str(count)] = _scored(refined.agent, refined.controller) | missed
    return scores


def _missed(refined: Refinement, played: Episodes) -> dict[str, float]:
    """Return the root mean square of errors of a step, over that of the codes around their mean."""
    errors, unit = refined.step_errors(played), float(refined.agent.model.latent_variance) ** 0.5
    both = (float(e.square().sum(-1).mean().sqrt()) for e in (errors.of_global, errors.of_local))
    return {name: error / unit for name, error in zip(MISSED, both, strict=True)}


def _scored(agent: Agent, controller: Controller) -> dict[str, float]:
    """Return success, the share of steps in the goal and the return of a controller."""
    with closing(make_world_of(agent.spec, EPISODES)) as world:
        summary = evaluate(world, controller, START_SEED, steps=STEPS).scores.summary()
    return {key: summary[key] for key in ("success_rate", "time_in_goal", "return_mean")}


ROWS = {
    "global": "global",
    "plan": "policy, global model",
    **{f"local_{count}": f"policy, local models from {count}" for count in BEGINNINGS},
}


def table(cells: Mapping[str, Result]) -> str:
    """Return the means over seeds as Markdown: success with 95% interval, and share in goal."""
    lines = ["| own episodes | " + " | ".join(ROWS.values()) + " |", "|---" * 5 + "|"]
    for count in COUNTS:
        texts = [_text([c["scores"][row].get(str(count)) for c in cells.values()]) for row in ROWS]
        lines.append(f"| {count} | " + " | ".join(texts) + " |")
    lines += [
        "",
        "| seed | local models from | success | error of global, local |",
        "|---" * 4 + "|",
    ]
    for seed, begun in ((seed, begun) for seed in cells for begun in BEGINNINGS):
        scores = list(cells[seed]["scores"][f"local_{begun}"].values())
        success = ", ".join(f"{score['success_rate']:.0%}" for score in scores)
        missed = (np.mean([score[name] for score in scores[2:]]) for name in MISSED)
        lines.append(f"| {seed} | {begun} | {success} | {', '.join(f'{x:.3f}' for x in missed)} |")
    return "\n".join(lines)


def _text(scores: list[Any]) -> str:
    """Return the means of some seeds' scores as text; a dash where there are none."""
    if None in scores:
        return "-"
    success, share = ([s[key] for s in scores] for key in ("success_rate", "time_in_goal"))
    low, high = interval({"": success}, lambda runs: float(np.mean(runs)))
    return f"{np.mean(success):.0%} [{low:.0%}, {high:.0%}], {np.mean(share):.2f}"


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(Local)())
