"""The content of the templates, apart from episodes: figures, charts and settings of runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2c.config import Config, with_method
from e2c.errors import E2CError
from e2c.files.runs import CHOSEN
from e2c.options import to_dict
from e2c.report.charts import SHARES, Chart, Line, chart, own_rounds
from e2c.report.folder import Run

OWN = {
    "own_success_rate": "Success in own episodes",
    "own_time_in_goal": "Time in goal in own episodes",
}
"""Metrics of the rounds of own episodes that are shown, and their titles."""
_NOT_TERMS = {"step", "loss", "gradient_norm"}
"""Columns in the metrics of a step that are not terms of the loss."""
PHASES = {
    "collect": "random rollouts",
    "train": "training",
    "own": "own episodes",
    "evaluate": "evaluation and film",
}
"""Titles of the phases of a run."""


@dataclass(frozen=True)
class Setting:
    """One value of a configuration.

    Attributes:
        name: its dotted name.
        value: its value in the run.
        default: its value by default.
        changed: whether the user changed it. A setting that is not known here counts as changed.
        chosen: whether the run chose the value from its data, as it does by default.
    """

    name: str
    value: Any
    default: Any
    changed: bool
    chosen: bool


@dataclass(frozen=True)
class Comparison:
    """A figure or a setting of several runs.

    Attributes:
        name: its name.
        values: one for each run; None where a run has none.
    """

    name: str
    values: Sequence[Any]

    @property
    def differ(self) -> bool:
        """Whether its values differ."""
        return any(value != self.values[0] for value in self.values)


def settings(run: Run) -> list[Setting]:
    """List the settings of a run, each with its default."""
    defaults = dict(_leaves(to_dict(_default(run))))
    return [
        _setting(name, value, defaults.get(name), name in defaults)
        for name, value in _leaves(run.summary["config"])
    ]


def _setting(name: str, value: Any, default: Any, known: bool) -> Setting:
    differs = not known or value != default
    chosen = f"config.{name}" in CHOSEN and default in ("auto", None)
    return Setting(name, value, default, differs and not chosen, differs and chosen)


def _default(run: Run) -> Config:
    """Return the default configuration of the run's method, where it is known here."""
    model = run.summary["config"].get("model")
    method = model.get("method") if isinstance(model, Mapping) else None
    try:
        return with_method(Config(), str(method))
    except E2CError:
        return Config()


def compare_settings(runs: Sequence[Run]) -> list[Comparison]:
    """List the settings, data, versions and so on in which the runs differ."""
    found = [_everything(run) for run in runs]
    names = dict.fromkeys(name for values in found for name in values)
    rows = [Comparison(name, [values.get(name) for values in found]) for name in names]
    return [row for row in rows if row.differ]


def _everything(run: Run) -> dict[str, Any]:
    """Return seed, configuration, data, versions, machine and commit of a run, by dotted names."""
    summary = run.summary
    made = {"seed": summary["seed"], **dict(_leaves(summary["config"]))}
    parts = " ".join(part["sha256"] for part in summary["data"])
    made["data, hash of all"] = hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:8]
    for part in ("versions", "machine"):
        made |= {f"{part}.{name}": value for name, value in summary[part].items()}
    return {**made, "commit": summary["commit"]}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``(dotted name, value)`` of a mapping and of the mappings in it."""
    for name, value in values.items():
        if isinstance(value, Mapping) and not prefix:
            yield from _leaves(value, f"{name}.")
        else:
            yield prefix + name, value


def compare_figures(runs: Sequence[Run]) -> list[Comparison]:
    """List the results of the runs, and their costs."""
    columns = [_figures(run) for run in runs]
    return [Comparison(name, [column[name] for column in columns]) for name in columns[0]]


def _figures(run: Run) -> dict[str, Any]:
    summary, evaluation = run.summary, run.evaluation or {}
    error = summary.get("open_loop_error") or [None]
    return {
        "Success": _percent(evaluation.get("success_rate")),
        "Success of the oracle": _percent(evaluation.get("oracle_success_rate")),
        "Time in goal": _percent(evaluation.get("time_in_goal")),
        "Time in goal of the oracle": _percent(evaluation.get("oracle_time_in_goal")),
        "Distance to the goal at the end": evaluation.get("distance_at_end"),
        "Evaluated episodes": len(evaluation.get("episodes", [])),
        "Transitions": f"{summary['transitions']:,}",
        "Optimiser steps": f"{summary['steps']:,}",
        "Steps skipped": summary["skipped_steps"],
        "Divergences recovered from": len(summary.get("recoveries") or []),
        "Open-loop error at the end of the horizon": error[-1],
        "Training [s]": summary["seconds"].get("train"),
        "Everything [s]": summary["seconds"].get("total"),
        "One control step, median [ms]": evaluation.get("plan_ms_median"),
    }


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def loss_charts(runs: Sequence[Run], names: Sequence[str]) -> list[Chart]:
    """Draw every loss term that was recorded, over the optimiser's steps.

    A mark shows where own episodes begin, if they begin at the same step in all runs.
    """
    begun = {own_rounds(run.metrics) for run in runs}
    (own,) = begun if len(begun) == 1 else (None,)
    mark = None if own is None else (own, "own rounds")
    return [
        chart(title, "optimiser step", lines, mark=mark)
        for term, title in _titles(runs).items()
        if (lines := _lines(runs, names, "step", term))
    ]


def _titles(runs: Sequence[Run]) -> dict[str, str]:
    """Return the titles of the runs' loss terms; in an older run they are the terms' names."""
    found: dict[str, str] = {}
    for run in runs:
        named = run.summary.get("terms") or {}
        terms = {term for row in run.metrics if "step" in row for term in row} - _NOT_TERMS
        found |= named or {t: t.replace("_", " ").replace("kl", "KL") for t in sorted(terms)}
    return found


def own_charts(runs: Sequence[Run], names: Sequence[str]) -> list[Chart]:
    """Draw success and time in goal in the rounds of own episodes."""
    return [
        chart(title, "round", lines, SHARES)
        for figure, title in OWN.items()
        if (lines := _lines(runs, names, "round", figure))
    ]


def own_told(run: Run) -> str:
    """Say why the shares of own episodes are lower than those of the evaluation."""
    data = run.summary["config"].get("data")
    length = data.get("own_length") if isinstance(data, Mapping) else None
    rows = (run.evaluation or {}).get("episodes") or [{}]
    whole = rows[0].get("steps")
    if not isinstance(length, int):
        return (
            "Own episodes are played with noise on the controls, those of the evaluation without."
        )
    of_whole = f", where those of the evaluation have {whole}" if whole else ""
    return (
        f"Own episodes have {length} steps{of_whole}, and noise on the controls. The way to the "
        "goal takes more of a short episode: the best possible share is lower than in the "
        "evaluation."
    )


def _lines(runs: Sequence[Run], names: Sequence[str], x: str, y: str) -> list[Line]:
    """Collect the metric ``y`` over ``x`` of the runs that recorded it; a name has one colour."""
    lines, numbers = [], {name: number for number, name in enumerate(dict.fromkeys(names))}
    for run, name in zip(runs, names, strict=True):
        rows, number = [row for row in run.metrics if x in row and y in row], numbers[name]
        if rows:
            lines.append(Line(name, [row[x] for row in rows], [row[y] for row in rows], number))
    return lines


def error_charts(runs: Sequence[Run], names: Sequence[str]) -> list[Chart]:
    """Draw how the error of open-loop predictions grows with the horizon."""
    errors = [run.summary.get("open_loop_error") or [] for run in runs]
    lines = [
        Line(name, range(1, len(error) + 1), error, number)
        for number, (error, name) in enumerate(zip(errors, names, strict=True))
        if error
    ]
    title = "Open-loop prediction error, relative to the variance"
    return [chart(title, "steps ahead", lines)] if lines else []


def faults(run: Run) -> dict[str, int]:
    """Count the control steps of the evaluation at which something went wrong, by kind."""
    found: dict[str, int] = (run.evaluation or {}).get("faults") or {}
    return {kind.replace("_", " "): count for kind, count in found.items() if count}


def disturbances(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the disturbances of the evaluation."""
    done = evaluation.get("disturbance") or {}
    return {name: value for name, value in done.items() if value}


def extra_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the values that some episodes have besides their starts and results."""
    known = {"start", "success", "time_in_goal"}
    told = (key for row in rows for key, value in row.items() if value)
    return [key for key in dict.fromkeys(told) if key not in known]


def phases(run: Run) -> list[tuple[str, float, float]]:
    """Return name, wall-clock [s] and share of the longest [%] of each phase of a run."""
    seconds = {name: s for name, s in run.summary["seconds"].items() if name != "total"}
    longest = max([*seconds.values(), 1e-9])
    return [(PHASES.get(name, name), s, 100 * s / longest) for name, s in seconds.items()]
