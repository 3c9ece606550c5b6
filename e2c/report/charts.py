"""Line charts as numbers: the places of lines, ticks and marks on a small drawing.

The templates turn them into SVG, whose colours follow the reader's theme. Lengths are in units of
the drawing; `WIDTH` units are about the width of a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.ticker import Locator

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 340, 190
"""Size of the drawing."""
LEFT, RIGHT, TOP, BOTTOM = 44, 332, 10, 152
"""Edges of the plot within the drawing."""
FINEST = 10
"""Parts of a unit: lines are drawn in whole parts, which keeps the page small."""
MOST_RATIO = 1e12
"""Largest ratio of the ends of a log axis."""
MOST_POINTS = 1000
"""Most points of a line; a longer line is thinned."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """Maps values onto lengths of the drawing.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: a length.
        end: a length.
        kind: ``linear``, ``whole`` with ticks at whole numbers only, ``log``, or ``turns`` for
            angles [rad] with ticks at multiples of pi.
    """

    low: float
    high: float
    start: float
    end: float
    kind: str = "linear"

    def place(self, values: ArrayLike) -> Floats:
        """Return the lengths at which ``values`` stand; NaN for a value without a place."""
        low, high, at = (self._scaled(v) for v in (self.low, self.high, values))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def _scaled(self, values: ArrayLike) -> Floats:
        values = np.asarray(values, np.float64)
        if self.kind != "log":
            return values
        return np.log10(values, out=np.full(values.shape, np.nan), where=values > 0)

    def ticks(self) -> list[Tick]:
        """Return ticks at a few round values."""
        values = np.asarray(self._locator().tick_values(self.low, self.high))
        slack = 1e-9 * (self.high - self.low)
        seen = values[(self.low - slack <= values) & (values <= self.high + slack)]
        return [Tick(float(self.place(v)), self._label(float(v))) for v in seen]

    def _locator(self) -> Locator:
        """Return matplotlib's locator; a log axis of few decades gets ticks between them too."""
        from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator  # see `style`

        if self.kind == "turns":
            return MultipleLocator(math.pi)
        if self.kind == "log":
            few = self.high < 100 * self.low
            return LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=5)
        return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=self.kind == "whole")

    def _label(self, value: float) -> str:
        if self.kind != "turns":
            return label(value, is_log=self.kind == "log")
        turns = round(value / math.pi)
        return {0: "0", 1: "π", -1: "−π"}.get(turns, f"{turns}π".replace("-", "−"))


def label(value: float, is_log: bool) -> str:
    """Write a round value; on a log axis it is short, however small: ``1e−4``."""
    short = is_log and value < 1e-3
    text = f"{value:.0e}".replace("e-0", "e-") if short else f"{value:g}"
    return text.replace("-", "−")


def axis(values: ArrayLike, start: float, end: float, kind: str = "linear") -> Axis:
    """Return an axis that holds all ``values`` that are finite, with a little room around them."""
    shown = np.asarray(values, np.float64)
    shown = shown[np.isfinite(shown) & ((shown > 0) | (kind != "log"))]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (1.0, 1.0)
    if kind == "log":
        low = max(low, high / MOST_RATIO)
        room = max((high / low) ** 0.04, 1.05)
        return Axis(low / room, high * room, start, end, kind)
    room = 0.04 * (high - low) or max(abs(high), 1.0) / 20
    return Axis(low - room, high + room, start, end, kind)


SHARES = Axis(-0.04, 1.04, BOTTOM, TOP)
"""The vertical axis of a chart of shares."""


def trace(x: Floats, y: Floats) -> Markup:
    """Return an SVG path through points, interrupted where a point is not finite.

    The path is in whole numbers, `FINEST` times as large as the drawing; the template scales it.
    """
    points = np.rint(FINEST * np.stack([x, y], -1))
    kept = np.ma.masked_invalid(points.sum(-1))
    return Markup("").join(_piece(points[piece]) for piece in np.ma.clump_unmasked(kept))


def _piece(points: Floats) -> Markup:
    """Draw an uninterrupted line; a single point becomes a dot."""
    steps = np.diff(points, axis=0, append=points[-1:] if len(points) == 1 else points[:0])
    moves = " ".join(f"{int(dx)} {int(dy)}" for dx, dy in steps)
    return Markup(f"M{int(points[0, 0])} {int(points[0, 1])}l{moves}".replace(" -", "-"))


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: its name in the legend.
        x: ``[N]``; where it goes back, the line begins anew.
        y: ``[N]``.
        number: decides its colour.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    number: int


@dataclass(frozen=True)
class DrawnLine:
    """A line in its place.

    Attributes:
        name: its name in the legend.
        path: an SVG path, `FINEST` times as large as the drawing.
        number: decides its colour.
    """

    name: str
    path: Markup
    number: int


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
        title: its heading.
        below: name of the horizontal axis.
        told: the chart in words, for readers who cannot see it.
        lines: at least one.
        x_ticks: along the bottom.
        y_ticks: along the left.
        mark: an event on the horizontal axis, or None.
    """

    title: str
    below: str
    told: str
    lines: Sequence[DrawnLine]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    mark: Tick | None


def own_rounds(metrics: Sequence[Mapping[str, float]]) -> float | None:
    """Return the step at which a run began to learn from its own episodes; None if it never did."""
    rounds = [k for k, row in enumerate(metrics) if "round" in row]
    before = [row["step"] for row in metrics[: rounds[0]] if "step" in row] if rounds else []
    after = [row["step"] for row in metrics[rounds[0] :] if "step" in row] if rounds else []
    return (before[-1] + after[0]) / 2 if before and after else None


def chart(
    title: str,
    below: str,
    lines: Sequence[Line],
    y: Axis | None = None,
    mark: tuple[float, str] | None = None,
) -> Chart:
    """Lay out a chart.

    Args:
        title: its heading.
        below: name of the horizontal axis.
        lines: at least one.
        y: the vertical axis; by default it holds all values, on a log scale where they span more
            than a decade.
        mark: an event: its place on the horizontal axis, and its name.
    """
    lines = [_thinned(line) for line in lines]
    x = axis(np.concatenate([line.x for line in lines]), LEFT, RIGHT, "whole")
    y = y or _upright(np.concatenate([np.asarray(line.y, np.float64) for line in lines]))
    return Chart(
        title,
        below,
        f"{title} over {below}. " + " ".join(_told(line) for line in lines),
        [DrawnLine(line.name, _path(line, x, y), line.number) for line in lines],
        x.ticks(),
        y.ticks(),
        None if mark is None else Tick(float(x.place(mark[0])), mark[1]),
    )


def _upright(values: Floats) -> Axis:
    positive = values[values > 0]
    log = positive.size > 1 and not (values < 0).any() and 10 * positive.min() < positive.max()
    return axis(values, BOTTOM, TOP, "log" if log else "linear")


def _thinned(line: Line) -> Line:
    every = -(-len(line.x) // MOST_POINTS)
    return replace(line, x=line.x[::every], y=line.y[::every])


def _told(line: Line) -> str:
    return (
        f"{line.name}: from {line.y[0]:.3g} at {line.x[0]:g} to {line.y[-1]:.3g} at {line.x[-1]:g}."
    )


def _path(line: Line, x: Axis, y: Axis) -> Markup:
    back = np.flatnonzero(np.diff(line.x) < 0) + 1
    return trace(*(np.insert(a, back, np.nan) for a in (x.place(line.x), y.place(line.y))))
