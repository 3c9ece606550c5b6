"""Layout of evaluated episodes: a map of their starts, and their paths in the phase plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from e2c.report.charts import Axis, Floats, Tick, axis, trace
from e2c.report.folder import Episodes, Task
from envs.quantity import Quantity

LEFT, RIGHT, TOP, BOTTOM = 40, 412, 10, 262
"""The plot within the phase plane's drawing of 420 x 300."""
MAP_LEFT, MAP_RIGHT, MAP_TOP, MAP_BOTTOM = 46, 292, 10, 182
"""The plot within the map's drawing of 300 x 220."""
MOST_EPISODES = 200
"""Most episodes that are shown one by one."""
MOST_TURNS = 3
"""Most turns of an angle on the phase plane, around hanging; lines beyond leave the drawing."""


@dataclass(frozen=True)
class Start:
    """The start of an episode on the map."""

    x: float
    y: float
    success: bool


@dataclass(frozen=True)
class StartMap:
    """The starts of episodes, and the time in goal from each.

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
    """The paths of the episodes through two components of the state.

    Attributes:
        title: names of both components, such as ``Velocity against angle``.
        axes: names of the two axes.
        agent: one SVG path for each episode.
        oracle: the oracle's paths from the same starts.
        goals: left, top, width and height of the rectangles around the goal regions.
        x_ticks: along the bottom.
        y_ticks: along the left.
    """

    title: str
    axes: tuple[str, str]
    agent: Sequence[Markup]
    oracle: Sequence[Markup]
    goals: Sequence[tuple[float, float, float, float]]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def start_map(evaluation: Mapping[str, Any], task: Task) -> StartMap | None:
    """Lay out the starts by the plotted component and the time in goal; None if not known."""
    rows = evaluation["episodes"][:MOST_EPISODES]
    if not all(len(row.get("start") or []) > task.plotted for row in rows):
        return None
    plotted = task.components[task.plotted]
    places = np.array([row["start"][task.plotted] for row in rows], np.float64)
    places = places[0] + plotted.wrapped(places - places[0])
    oracle = evaluation.get("oracle_time_in_goal")
    shares = np.array([row["time_in_goal"] for row in rows], np.float64)
    x = axis(places, MAP_LEFT, MAP_RIGHT)
    y = Axis(-0.04, 1.04, MAP_BOTTOM, MAP_TOP)
    return StartMap(
        plotted.label,
        [
            Start(float(left), float(top), row["success"])
            for left, top, row in zip(x.place(places), y.place(shares), rows, strict=True)
        ],
        None if oracle is None else float(y.place(oracle)),
        x.ticks(),
        y.ticks(),
    )


def phase_plane(episodes: Episodes) -> PhasePlane | None:
    """Lay out the paths of the episodes in the first two components; None if states have only one.

    The first component runs to the right and the second up. If the two are row and column, columns
    run to the right and rows down, as in an image.
    """
    if episodes.states.shape[2] < 2:
        return None
    counted = [component.name for component in episodes.task.components[:2]] == ["row", "column"]
    order = [1, 0] if counted else [0, 1]
    first, second = shown = [episodes.task.components[k] for k in order]
    agent = _turned(episodes.states[:MOST_EPISODES, :, order], first)
    oracle = _turned(episodes.oracle_states[:MOST_EPISODES, :, order], first)
    both = np.concatenate([agent, oracle])
    x = _horizontal(both[..., 0], first)
    y = axis(both[..., 1], *((TOP, BOTTOM) if counted else (BOTTOM, TOP)))
    return PhasePlane(
        f"{second.title} against {first.name}",
        (first.label, second.label),
        _traces(agent, x, y, shown),
        _traces(oracle, x, y, shown),
        _goals(x, y, shown, [[goal[k] for k in order] for goal in episodes.task.goals]),
        x.ticks(),
        y.ticks(),
    )


def _turned(states: Floats, first: Quantity) -> Floats:
    """Shift whole episodes by full turns, so that all of them begin in the same turn."""
    if not first.is_angle:
        return states
    turns = np.floor(states[:, :1, :1] / (2 * math.pi))
    return states - 2 * math.pi * turns * [1, 0]


def _horizontal(values: Floats, first: Quantity) -> Axis:
    """Return the axis of the first component; of an angle, at most `MOST_TURNS` turns."""
    if not first.is_angle:
        return axis(values, LEFT, RIGHT)
    most = MOST_TURNS * math.pi
    return axis(np.clip(values, math.pi - most, math.pi + most), LEFT, RIGHT, "turns")


def _traces(states: Floats, x: Axis, y: Axis, shown: Sequence[Quantity]) -> list[Markup]:
    """Draw episodes ``[E, T+1, 2]``, interrupted where an angle is wrapped."""
    angles = np.array([quantity.is_angle for quantity in shown])
    jumps = (np.abs(np.diff(states, axis=1)) > math.pi) & angles
    rows = [np.flatnonzero(jumped) + 1 for jumped in jumps.any(2)]
    broken = [np.insert(s, row, np.nan, axis=0) for s, row in zip(states, rows, strict=True)]
    return [trace(x.place(s[:, 0]), y.place(s[:, 1])) for s in broken]


def _goals(
    x: Axis, y: Axis, shown: Sequence[Quantity], goals: Sequence[Sequence[float]]
) -> list[tuple[float, float, float, float]]:
    """Return left, top, width and height of the rectangle around each goal region in sight."""
    first, second = shown
    if first.goal_half_width is None and second.goal_half_width is None:
        return []
    centres = dict.fromkeys((a, b) for goal in goals for a, b in _repeated(x, first, goal))
    regions = []
    for across, up in centres:
        left, right = _span(x, first, across)
        top, bottom = sorted(_span(y, second, up))
        regions.append((left, top, right - left, bottom - top))
    return regions


def _repeated(x: Axis, first: Quantity, goal: Sequence[float]) -> list[tuple[float, float]]:
    """Return the places of a goal in the plane; of an angle, one place in each turn in sight."""
    if not first.is_angle:
        return [(goal[0], goal[1])]
    turn = 2 * math.pi
    turns = range(math.ceil((x.low - goal[0]) / turn), math.floor((x.high - goal[0]) / turn) + 1)
    return [(goal[0] + turn * k, goal[1]) for k in turns]


def _span(axis: Axis, quantity: Quantity, centre: float) -> tuple[float, float]:
    """Return both ends, on an axis, of the goal region around ``centre``."""
    if quantity.goal_half_width is None:
        return axis.start, axis.end
    low, high = axis.place([centre - quantity.goal_half_width, centre + quantity.goal_half_width])
    return float(low), float(high)
