"""Evaluated episodes, laid out: a map of their starts, their ways through the phase plane, rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from e2c.report.charts import Axis, Floats, Tick, axis, trace
from e2c.report.folder import Episodes, Run

LEFT, RIGHT, TOP, BOTTOM = 40, 412, 10, 262
"""The plot within the phase plane's drawing of 420 x 300."""
MAP_LEFT, MAP_RIGHT, MAP_TOP, MAP_BOTTOM = 46, 292, 10, 182
"""The plot within the map's drawing of 300 x 220."""
MOST_EPISODES = 200
"""That are shown one by one."""
MOST_TURNS = 3
"""Of the phase plane around the first start; what goes further leaves the drawing."""


@dataclass(frozen=True)
class Task:
    """How the states of a task are shown.

    Attributes:
        axes: names of the first two components, with their units.
        success: what an episode that succeeds does.
        turn: whether the first component is an angle [rad].
        goal: half width of the goal region around 0 and every full turn, in the first component.
    """

    axes: tuple[str, str]
    success: str
    turn: bool = False
    goal: float = 0.0


TASKS = {
    "E2C/PendulumSwingUp-v0": Task(
        ("angle from upright [rad]", "angular velocity [rad/s]"), "swing up and stay", True, 0.2
    )
}
"""Tasks whose states have names."""
ANY_TASK = Task(("first state component", "second state component"), "succeed")


@dataclass(frozen=True)
class Start:
    """Where an episode begins, on the map."""

    x: float
    y: float
    success: bool


@dataclass(frozen=True)
class StartMap:
    """The starts against what came of them.

    Attributes:
        below: the name of the horizontal axis.
        starts: one for each episode.
        oracle: height of the oracle's mean, or None.
        x_ticks: along the bottom.
        y_ticks: along the left.
    """

    below: str
    starts: Sequence[Start]
    oracle: float | None
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True)
class PhasePlane:
    """What the episodes went through.

    Attributes:
        axes: names of the two axes.
        agent: one SVG path for each episode.
        oracle: the oracle's, from the same starts.
        goals: left edge and width of each goal region.
        x_ticks: along the bottom.
        y_ticks: along the left.
    """

    axes: tuple[str, str]
    agent: Sequence[Markup]
    oracle: Sequence[Markup]
    goals: Sequence[tuple[float, float]]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def task_of(run: Run) -> Task:
    """Return how a run's states are shown."""
    return TASKS.get(run.summary["config"]["env"], ANY_TASK)


def start_map(evaluation: Mapping[str, Any], task: Task) -> StartMap | None:
    """Lay out the starts by their first component and the time in goal; None if they have none."""
    rows = evaluation["episodes"][:MOST_EPISODES]
    if not all(row["start"] for row in rows):
        return None
    firsts = np.array([row["start"][0] for row in rows], np.float64)
    firsts = firsts % (2 * math.pi) if task.turn else firsts
    oracle = evaluation.get("oracle_time_in_goal")
    shares = np.array([row["time_in_goal"] for row in rows], np.float64)
    x = axis(firsts, MAP_LEFT, MAP_RIGHT)
    y = Axis(-0.04, 1.04, MAP_BOTTOM, MAP_TOP)
    return StartMap(
        task.axes[0],
        [
            Start(float(left), float(top), row["success"])
            for left, top, row in zip(x.place(firsts), y.place(shares), rows, strict=True)
        ],
        None if oracle is None else float(y.place(oracle)),
        x.ticks(),
        y.ticks(),
    )


def phase_plane(episodes: Episodes, task: Task) -> PhasePlane | None:
    """Lay out what the episodes went through; None for states of a single component."""
    if episodes.states.shape[2] < 2:
        return None
    task = task if episodes.states.shape[2] == 2 else ANY_TASK
    agent = _turned(episodes.states[:MOST_EPISODES], task)
    oracle = _turned(episodes.oracle_states[:MOST_EPISODES], task)
    both = np.concatenate([agent, oracle])
    x = _horizontal(both[..., 0], task)
    y = axis(both[..., 1], BOTTOM, TOP)
    return PhasePlane(
        task.axes,
        _traces(agent, x, y),
        _traces(oracle, x, y),
        _goals(x, task),
        x.ticks(),
        y.ticks(),
    )


def _turned(states: Floats, task: Task) -> Floats:
    """Shift whole episodes by full turns, so that all of them begin in the same one."""
    if not task.turn:
        return states
    turns = np.floor(states[:, :1, :1] / (2 * math.pi))
    return states - 2 * math.pi * turns * [1, 0]


def _horizontal(values: Floats, task: Task) -> Axis:
    """Return the axis of the first component; of angles, `MOST_TURNS` turns around hanging."""
    if not task.turn:
        return axis(values, LEFT, RIGHT)
    most = MOST_TURNS * math.pi
    return axis(np.clip(values, math.pi - most, math.pi + most), LEFT, RIGHT, "turns")


def _traces(states: Floats, x: Axis, y: Axis) -> list[Markup]:
    return [trace(x.place(s[:, 0]), y.place(s[:, 1])) for s in states]


def _goals(x: Axis, task: Task) -> list[tuple[float, float]]:
    """Return the left edge and the width of each goal region that is in sight."""
    if not task.goal:
        return []
    turn = 2 * math.pi
    centres = turn * np.arange(math.ceil(x.low / turn), math.floor(x.high / turn) + 1)
    lefts, rights = x.place(centres - task.goal), x.place(centres + task.goal)
    return [(float(a), float(b - a)) for a, b in zip(lefts, rights, strict=True)]
