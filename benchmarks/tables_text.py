"""Tables of the comparison: what was measured, beside what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import getitem
from typing import Any

import numpy as np

from benchmarks import causes, policies
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
from benchmarks.tables_cells import EPISODES, LEARNED, METHODS, NOISE, NOISY_EPISODES, TASKS
from e2c.presets import PRESETS

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
Finished = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Task, method -> the files of its cells, by seed."""


def markdown(finished: Finished) -> str:
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
    return _side_by_side(scored(finished, method, column), [published] if published else [])


def scored(finished: Finished, method: str, column: str) -> Share | None:
    """Summarise the share of steps in the goal, for a column of `SCORED`."""
    return _share(finished, method, *SCORED[column], "time_in_goal")


def _noise_columns() -> tuple[str, ...]:
    """Task and noise, for tasks that are run under noise or whose successes were published."""
    told = set(NOISE) | {task for _, task, _, _ in SUCCESS}
    return tuple(f"{task}, {std}" for task in TASKS if task in told for std in noise_levels(task))


def noise_levels(task: str) -> tuple[int, ...]:
    """List the standard deviations of the noise under which a task is run, 0 included."""
    return (0, *NOISE.get(task, ()))


def _reached_text(finished: Finished, method: str, column: str) -> str:
    task, std = column.split(", ")
    published = success(task, method).get(int(std), [])
    return _side_by_side(reached(finished, method, task, int(std)), published)


def _settled_text(finished: Finished, method: str, column: str) -> str:
    task, std = column.split(", ")
    return _side_by_side(_share(finished, method, task, _part(int(std)), "success_rate"), [])


def reached(finished: Finished, method: str, task: str, std: int) -> Share | None:
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
