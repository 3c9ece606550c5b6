"""The charts of a film: quantities over time, whose lines grow with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2c.report.charts import label
from e2c.report.pens import PAD, Box, Picture, Point, card, dot, head, polyline, rectangle, write
from e2c.report.style import AMBER, BLUE, EDGE, GREEN, MUTED, PAPER, VIOLET
from envs.quantity import Quantity

MARGIN = 24
"""Space around the picture [px]."""
GAP = 16
"""Space between cards [px]."""
TOP = 528
"""Top edge of the row of charts [px]."""
WIDTH, HEIGHT = 400, 168
"""Size of each chart [px]."""


@dataclass(frozen=True, eq=False)
class Chart:
    """One quantity, or L of the same kind, over time: a card, its axes, and lines that grow."""

    column: int
    """Its place in the row of charts, from the left."""
    heading: str
    readings: Sequence[Sequence[str]]
    """The L quantities as text at each of T steps."""
    values: NDArray[np.float64]
    """``[T, L]``, on the vertical axis; a line is broken where its value is not finite."""
    limits: tuple[float, float]
    """Lowest and highest value on the axis."""
    ticks: dict[float, str]
    """Value and label of the horizontal lines."""
    colours: Sequence[str]
    """Colours of the lines, used in turn."""
    dt: float
    """Control step [s]."""
    band: tuple[float, float] | None = None
    """A range to shade."""
    held: bool = False
    """Whether a value lasts until the next, as a control does."""
    period: float = math.inf
    """A line is also broken where its value changes by more than half of this."""

    @property
    def card(self) -> Box:
        """The whole chart [px]."""
        left = MARGIN + self.column * (WIDTH + GAP)
        return left, TOP, WIDTH, HEIGHT

    @property
    def plot(self) -> Box:
        """The area between its axes [px]."""
        left, top, width, height = self.card
        return left + 60, top + 46, width - 60 - 24, height - 46 - 34

    def at(self, t: float, value: float) -> Point:
        """Return where ``value`` at control step ``t`` stands [px]."""
        left, top, width, height = self.plot
        low, high = self.limits
        share = (high - min(max(value, low), high)) / (high - low)
        return left + width * t / len(self.values), top + height * share

    def draw_static(self, page: Picture) -> None:
        """Draw card, shading, axes and labels."""
        left, top, width, height = self.plot
        card(page, self.card)
        head(page, self.card, self.heading)
        if self.band is not None:
            (_, low), (_, high) = self.at(0, self.band[0]), self.at(0, self.band[1])
            rectangle(page, (left, high), (left + width, low), GREEN, 0.2)
        for value, text in self.ticks.items():
            _, y = self.at(0, value)
            rectangle(page, (left, y - 0.5), (left + width, y + 0.5), EDGE, 1.0)
            write(page, text, (left - 10, round(y) + 5), 15, MUTED, align="right")
        duration = len(self.values) * self.dt
        for second in round_ticks(0.0, duration, 6):
            x = round(left + width * second / duration)
            write(page, f"{second:g} s", (x, top + height + 22), 15, MUTED, align="center")

    def extend(self, page: Picture, t: int) -> None:
        """Draw the next piece of each line, up to step ``t``."""
        for line, colour in zip(self.values.T, itertools.cycle(self.colours), strict=False):
            if t and np.isfinite(line[t - 1 : t + 1]).all():
                before, now = self.at(t - 1, line[t - 1]), self.at(t, line[t])
                if self.held:
                    polyline(page, [before, (now[0], before[1]), now], colour)
                elif abs(line[t] - line[t - 1]) <= self.period / 2:
                    polyline(page, [before, now], colour)

    def show_moment(self, picture: Picture, t: int) -> None:
        """Draw the cursor at step ``t`` and the readings there, from right to left."""
        _, top, _, height = self.plot
        left, above, width, _ = self.card
        x, _ = self.at(t, 0.0)
        rectangle(picture, (x - 0.75, top - 4), (x + 0.75, top + height + 4), MUTED, 0.6)
        end, colours = left + width - PAD, itertools.cycle(self.colours)
        lines = list(zip(self.values[t], self.readings[t], colours, strict=False))
        for value, reading, colour in reversed(lines):
            if np.isfinite(value):
                dot(picture, self.at(t, value), 7, PAPER)
                dot(picture, self.at(t, value), 5, colour)
            end -= write(picture, reading, (end, above + 29), 18, colour, 600, "right") + 10


def control_chart(
    control: Quantity, controls: NDArray[np.float64], limit: float, dt: float
) -> Chart:
    """Return the chart of ``controls [T, m]``; the unit of a single control is at its readings."""
    single = controls.shape[1] == 1
    unit = f" {control.unit}" if single else ""
    return Chart(
        0,
        control.title if single else control.label[:1].upper() + control.label[1:],
        [[_signed(value) + unit for value in row] for row in controls],
        controls,
        (-1.2 * limit, 1.2 * limit),
        {-limit: _minus(f"{-limit:g}"), 0.0: "0", limit: f"{limit:g}"},
        (AMBER, BLUE, VIOLET),
        dt,
        held=True,
    )


def state_chart(
    plotted: Quantity, values: NDArray[np.float64], goal: float | None, dt: float
) -> Chart:
    """Return the chart of one number of the state ``[T]``, the goal region shaded if known."""
    width = plotted.goal_half_width or 0.0
    band = None if goal is None else (goal - width, goal + width)
    if plotted.is_angle:
        limits, period = (-1.1 * math.pi, 1.1 * math.pi), 2 * math.pi
        ticks = {-math.pi: _minus("-π"), 0.0: "0", math.pi: "π"}
    else:
        held = np.append(values, band or ())
        low, high = float(held.min()), float(held.max())
        limits, period = (low - 0.1 * (high - low), high + 0.1 * (high - low)), math.inf
        ticks = {tick: _minus(f"{tick:g}") for tick in round_ticks(*limits, 4)}
    readings = [[f"{_signed(value)} {plotted.unit}"] for value in values]
    return Chart(
        1,
        plotted.title,
        readings,
        values[:, None],
        limits,
        ticks,
        (BLUE,),
        dt,
        band=band,
        period=period,
    )


def magnitude_chart(
    column: int, heading: str, values: NDArray[np.float64], colour: str, dt: float
) -> Chart:
    """Return the chart of ``values [T]``, at least 0; logarithmic where they span a decade."""
    readings = [[f"{value:.3g}" if math.isfinite(value) else "none"] for value in values]
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if logarithmic := 0 < 10 * low < high:
        values, low, high = np.log10(values), math.log10(low), math.log10(high)
    room = 0.1 * (high - low) or 1.0
    limits = (low - room, high + room)
    ticks = round_ticks(*limits, 3)
    if logarithmic:
        ticks = [tick for tick in ticks if tick == round(tick)]
    labels = {tick: label(10**tick if logarithmic else tick, logarithmic) for tick in ticks}
    return Chart(column, heading, readings, values[:, None], limits, labels, (colour,), dt)


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return up to ``most`` round numbers, evenly spaced, between ``low`` and ``high``."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(k * step, 12) for k in range(first, last + 1)]


def _signed(value: float) -> str:
    return _minus(f"{round(value, 2) + 0.0:+.2f}")


def _minus(number: str) -> str:
    """Replace the hyphen of a number by a minus sign."""
    return number.replace("-", "\N{MINUS SIGN}")
