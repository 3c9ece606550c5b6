"""One episode as a film: what happened, what the agent saw, what it imagined, and the numbers.

`film_frames` composes the pictures, `write_video` makes a file of them. Whatever stays the same
from picture to picture is drawn once; a chart gains one line per control step.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from e2c.files.whole import write_whole
from envs.quantity import Quantity

Picture = NDArray[np.uint8]
"""RGB ``uint8 [H, W, 3]``, or one of the camera's grey frames ``uint8 [H, W]``."""
Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[int, int, int, int]
"""Left, top, width, height [px]."""


# ----------------------------------------------------------------------------- the file


def write_video(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """Encode pictures as H.264 in an .mp4 file, which every browser plays; whole or not at all.

    Args:
        path: ends in ``.mp4``; its folder must exist. A file that is there is replaced.
        frames: RGB ``uint8 [H, W, 3]``, at least one, all of one size, H and W even. They are
            encoded as they come, so a generator is never held in memory.
        fps: pictures per second.

    Raises:
        ValueError: for another suffix, no pictures, or one of a wrong type or size.
        OSError: where the file cannot be written.
    """
    if path.suffix != ".mp4":
        raise ValueError(f"A video's name must end in .mp4; got {path.name!r}.")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number of pictures per second; got {fps}.")
    write_whole(path, lambda aside: _encode(aside, frames, fps))


def _encode(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """Write the video at ``path``, in place."""
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("A video needs at least one picture; got none.")
    width, height = _video_size(first)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, picture in enumerate(itertools.chain([first], pictures), start=1):
            if picture.dtype != np.uint8 or picture.shape != first.shape:
                raise ValueError(
                    f"Every picture of a video must be uint8 of shape {list(first.shape)} like "
                    f"the first; number {number} is {picture.dtype} of shape {list(picture.shape)}."
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _video_size(frame: Picture) -> tuple[int, int]:
    """Return (width, height) of a video whose first picture is ``frame``."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] % 2 or frame.shape[1] % 2:
        raise ValueError(
            "A video's pictures must have shape [H, W, 3] with even H and W; "
            f"got {list(frame.shape)}."
        )
    return frame.shape[1], frame.shape[0]


# ----------------------------------------------------------------------------- the episode


@dataclass(frozen=True)
class Film:
    """Everything that the film of one episode of T control steps shows.

    Row t of every array belongs to the moment at which the agent chose control t.
    """

    scenes: Sequence[Picture] | Callable[[int], Picture]
    """Picture t, RGB ``uint8 [S, S, 3]``, of the system for people; drawn when it is needed."""
    observations: NDArray[np.uint8]
    """What the agent got, ``[T + 1, C, H, W]``, the newest frame last."""
    imagined: NDArray[np.uint8]
    """What its plan at step t decodes to at each of S moments, ``[T, S, H, W]``."""
    imagined_steps: Sequence[int]
    """How many control steps ahead those S moments lie."""
    goal: NDArray[np.uint8]
    """The goal's observation, ``[C, H, W]``."""
    control: Quantity
    """What the controls are."""
    controls: NDArray[np.floating]
    """``[T, m]``."""
    control_limit: float
    """Largest magnitude of a control."""
    plotted: Quantity
    """What is plotted of the state."""
    values: NDArray[np.floating]
    """Its values, ``[T + 1]``; angles within ±pi."""
    goal_value: float
    """Its value at the goal."""
    in_goal: NDArray[np.bool_]
    """``[T + 1]``, whether the system was in the goal region."""
    costs: NDArray[np.floating]
    """Cost ``[T]`` of the plan made at each step; NaN where there was none."""
    dt: float
    """Control step [s]."""
    title: str
    """Heading of every picture, up to about 60 characters."""

    def __post_init__(self) -> None:
        """Refuse images that are not uint8, and lengths that do not belong together."""
        T, S = len(self.controls), len(self.imagined_steps)
        lengths = {
            "observations": (len(self.observations), T + 1),
            "values": (len(self.values), T + 1),
            "in_goal": (len(self.in_goal), T + 1),
            "costs": (len(self.costs), T),
            "imagined": (self.imagined.shape[:2], (T, S)),
        }
        for name, (got, wanted) in lengths.items():
            if got != wanted:
                raise ValueError(f"A film of {T} controls needs {name} of {wanted}; got {got}.")
        for name in ("observations", "imagined", "goal"):
            if (got_type := getattr(self, name).dtype) != np.uint8:
                raise ValueError(f"A film's {name} must be uint8 from 0 to 255; got {got_type}.")
        if not T or not S:
            raise ValueError("A film needs at least one control and one imagined moment.")

    def scene(self, t: int) -> Picture:
        """Return the picture of the system at step ``t``."""
        return self.scenes(t) if callable(self.scenes) else self.scenes[t]


def film_frames(film: Film, hold: float = 1.0) -> Iterator[Picture]:
    """Compose one picture per control step, to be played at ``1 / film.dt`` per second.

    Args:
        film: the episode.
        hold: how long the last picture stays [s].

    Yields:
        T pictures and the last one's repetitions, RGB ``uint8 [720, 1280, 3]``, each its own array.
    """
    page = _page(film)
    charts = _charts(film)
    for chart in charts:
        chart.draw_static(page)
    for t in range(len(film.controls)):
        for chart in charts:
            chart.extend(page, t)
        picture = page.copy()
        _show_moment(picture, film, t)
        for chart in charts:
            chart.show_moment(picture, t)
        yield picture
    for _ in range(round(hold / film.dt)):
        yield picture.copy()


# ----------------------------------------------------------------------------- the layout [px]

_WIDTH, _HEIGHT = 1280, 720
_MARGIN, _GAP, _PAD = 24, 16, 16
_TOP = 72  # of the first row of cards
_SCENE: Box = (_MARGIN, _TOP, 440, 440)
_RIGHT = _MARGIN + 440 + _GAP  # left edge of the panels beside the scene
_FRAME, _SMALL = 168, 104  # largest side of a frame seen, of one imagined
_CAPTION = 24  # height of the line under a frame
_HEADING = 28  # height of the line over it
_ROW = 2 * _PAD + _HEADING + _CAPTION - 8  # height of a card without its frames
_SEES: Box = (_RIGHT, _TOP, 3 * _FRAME + 2 * 12 + 2 * _PAD, _ROW + _FRAME)
_GOAL: Box = (_SEES[0] + _SEES[2] + _GAP, _TOP, _FRAME + 2 * _PAD, _ROW + _FRAME)
_IMAGINES: Box = (_RIGHT, 512 - _ROW - _SMALL, _WIDTH - _MARGIN - _RIGHT, _ROW + _SMALL)
_CHART_TOP, _CHART_WIDTH, _CHART_HEIGHT = 528, 400, 168

_WHITE, _PAGE, _LINE = (255, 255, 255), (238, 242, 247), (218, 225, 234)
_INK, _MUTED = (15, 23, 42), (84, 99, 122)
_GREEN, _AMBER, _BLUE, _VIOLET = (16, 185, 129), (234, 138, 4), (37, 99, 235), (124, 58, 237)
_TRAIL = (56, 160, 248)  # of the earlier of two frames that are laid over one another

_FONT = cv2.FontFace("sans")


def _page(film: Film) -> Picture:
    """Draw what never changes, except for the charts: ``[720, 1280, 3]``."""
    page = np.full((_HEIGHT, _WIDTH, 3), _PAGE, np.uint8)
    _write(page, film.title, (_MARGIN, 47), 25, _INK, weight=600)
    C, H, W = film.goal.shape
    for box, heading, remark in (
        (_SEES, "What the agent sees", f"{C} × {H} × {W} pixels, nothing else"),
        (_GOAL, "Its goal", "an image"),
        (_IMAGINES, "What it imagines", "its plan, drawn from the latent space"),
    ):
        _card(page, box)
        _head(page, box, heading)
        _write(page, remark, (box[0] + box[2] - _PAD, box[1] + 29), 15, _MUTED, align="right")
    names = _frame_names(film)
    for name, box in zip(names, _tiles(_SEES, len(names), film.goal.shape), strict=True):
        _caption(page, box, name)
    for box in _tiles(_GOAL, 1, film.goal.shape):
        _place_frame(page, film.goal[-1], box)
        _caption(page, box, "at rest")
    moments = _tiles(_IMAGINES, len(film.imagined_steps), film.goal.shape)
    for step, box in zip(film.imagined_steps, moments, strict=True):
        _caption(page, box, f"+{step * film.dt:.2f} s" if step else "now")
    return page


def _frame_names(film: Film) -> list[str]:
    """Name the tiles that show one observation: its C frames and, of two, their overlay."""
    C = film.goal.shape[0]
    names = [f"{age * film.dt:.2f} s ago" for age in range(C - 1, 0, -1)] + ["now"]
    return [*names, "one over the other"] if C == 2 else names


def _show_moment(picture: Picture, film: Film, t: int) -> None:
    """Draw everything of step ``t`` outside of the charts onto ``picture``, in place."""
    _place_scene(picture, film.scene(t))
    _head(picture, _SCENE, "What happens")
    _write(picture, f"{t * film.dt:.2f} s", (_WIDTH - _MARGIN, 47), 25, _INK, align="right")
    if film.in_goal[t]:
        _write(picture, "in the goal region", (_WIDTH - 132, 46), 18, _GREEN, 600, "right")
    frames = list(film.observations[t])
    if len(frames) == 2:
        frames.append(_overlay(*frames))
    for frame, box in zip(frames, _tiles(_SEES, len(frames), film.goal.shape), strict=True):
        _place_frame(picture, frame, box)
    moments = _tiles(_IMAGINES, len(film.imagined_steps), film.goal.shape)
    for frame, box in zip(film.imagined[t], moments, strict=True):
        _place_frame(picture, frame, box)


def _tiles(card: Box, count: int, shape: tuple[int, ...]) -> list[Box]:
    """Spread ``count`` frames of ``shape [..., H, W]`` evenly over a card, under its heading."""
    left, top, width, height = card
    H, W = shape[-2:]
    inner, gap = width - 2 * _PAD, 12
    scale = min((height - _ROW) / max(H, W), (inner - gap * (count - 1)) / count / W)
    w, h = round(scale * W), round(scale * H)
    pitch = (inner - w) / (count - 1) if count > 1 else 0.0
    y = top + _PAD + _HEADING + (height - _ROW - h) // 2
    return [(left + _PAD + round(k * pitch), y, w, h) for k in range(count)]


# ----------------------------------------------------------------------------- the charts


@dataclass(frozen=True)
class _Chart:
    """One quantity, or L of a kind, over time: a card, its axes, and lines that grow."""

    column: int
    """Its place in the row of charts, from the left."""
    heading: str
    readings: Sequence[Sequence[str]]
    """The L quantities as text at each of T steps."""
    values: NDArray[np.float64]
    """``[T, L]``, on the vertical axis; a line is broken where one is not finite."""
    limits: tuple[float, float]
    """Lowest and highest value on the axis."""
    ticks: dict[float, str]
    """Value and label of the horizontal lines."""
    colours: Sequence[Colour]
    """Of the lines, which have them in turn."""
    dt: float
    """Control step [s]."""
    band: tuple[float, float] | None = None
    """A range to shade."""
    held: bool = False
    """Whether a value lasts until the next, as a control does."""
    period: float = math.inf
    """The line is also broken where it moves by more than half of this."""

    @property
    def card(self) -> Box:
        """The whole chart [px]."""
        left = _MARGIN + self.column * (_CHART_WIDTH + _GAP)
        return left, _CHART_TOP, _CHART_WIDTH, _CHART_HEIGHT

    @property
    def plot(self) -> Box:
        """What lies between its axes [px]."""
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
        _card(page, self.card)
        _head(page, self.card, self.heading)
        if self.band is not None:
            (_, low), (_, high) = self.at(0, self.band[0]), self.at(0, self.band[1])
            _rectangle(page, (left, high), (left + width, low), _GREEN, 0.2)
        for value, label in self.ticks.items():
            _, y = self.at(0, value)
            _rectangle(page, (left, y - 0.5), (left + width, y + 0.5), _LINE, 1.0)
            _write(page, label, (left - 10, round(y) + 5), 15, _MUTED, align="right")
        duration = len(self.values) * self.dt
        for second in _round_ticks(0.0, duration, 6):
            x = round(left + width * second / duration)
            _write(page, f"{second:g} s", (x, top + height + 22), 15, _MUTED, align="center")

    def extend(self, page: Picture, t: int) -> None:
        """Draw the next piece of each line, up to step ``t``."""
        for line, colour in zip(self.values.T, itertools.cycle(self.colours), strict=False):
            if t and np.isfinite(line[t - 1 : t + 1]).all():
                before, now = self.at(t - 1, line[t - 1]), self.at(t, line[t])
                if self.held:
                    _polyline(page, [before, (now[0], before[1]), now], colour)
                elif abs(line[t] - line[t - 1]) <= self.period / 2:
                    _polyline(page, [before, now], colour)

    def show_moment(self, picture: Picture, t: int) -> None:
        """Draw the cursor at step ``t`` and the readings there, from right to left."""
        _, top, _, height = self.plot
        left, above, width, _ = self.card
        x, _ = self.at(t, 0.0)
        _rectangle(picture, (x - 0.75, top - 4), (x + 0.75, top + height + 4), _MUTED, 0.6)
        end, colours = left + width - _PAD, itertools.cycle(self.colours)
        lines = list(zip(self.values[t], self.readings[t], colours, strict=False))
        for value, reading, colour in reversed(lines):
            if np.isfinite(value):
                _dot(picture, self.at(t, value), 7, _WHITE)
                _dot(picture, self.at(t, value), 5, colour)
            end -= _write(picture, reading, (end, above + 29), 18, colour, 600, "right") + 10


def _charts(film: Film) -> list[_Chart]:
    """Return the charts of the controls, of what is plotted of the state, and of planned cost."""
    return [_control_chart(film), _state_chart(film), _cost_chart(film)]


def _control_chart(film: Film) -> _Chart:
    """Return the chart of the controls; a single one has its unit with it."""
    limit, controls = film.control_limit, film.controls.astype(np.float64)
    single = controls.shape[1] == 1
    unit = f" {film.control.unit}" if single else ""
    return _Chart(
        0,
        film.control.title if single else f"{film.control.title} [{film.control.unit}]",
        [[_signed(control) + unit for control in row] for row in controls],
        controls,
        (-1.2 * limit, 1.2 * limit),
        {-limit: _minus(f"{-limit:g}"), 0.0: "0", limit: f"{limit:g}"},
        (_AMBER, _BLUE, _VIOLET),
        film.dt,
        held=True,
    )


def _state_chart(film: Film) -> _Chart:
    """Return the chart of what is plotted of the state, the goal region shaded."""
    plotted, values = film.plotted, film.values[: len(film.controls)].astype(np.float64)
    width = plotted.goal_half_width or 0.0
    band = (film.goal_value - width, film.goal_value + width)
    if plotted.is_angle:
        limits, period = (-1.1 * math.pi, 1.1 * math.pi), 2 * math.pi
        ticks = {-math.pi: _minus("-π"), 0.0: "0", math.pi: "π"}
    else:
        low, high = min(values.min(), band[0]), max(values.max(), band[1])
        limits, period = (low - 0.1 * (high - low), high + 0.1 * (high - low)), math.inf
        ticks = {tick: _minus(f"{tick:g}") for tick in _round_ticks(*limits, 4)}
    readings = [[f"{_signed(value)} {plotted.unit}"] for value in values]
    return _Chart(
        1,
        plotted.title,
        readings,
        values[:, None],
        limits,
        ticks,
        (_BLUE,),
        film.dt,
        band=band,
        period=period,
    )


def _cost_chart(film: Film) -> _Chart:
    """Return the chart of the planned cost, logarithmic where costs span more than a decade."""
    costs = film.costs.astype(np.float64)
    readings = [[f"{cost:.3g}" if math.isfinite(cost) else "none"] for cost in costs]
    finite = costs[np.isfinite(costs)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if logarithmic := 0 < 10 * low < high:
        costs, low, high = np.log10(costs), math.log10(low), math.log10(high)
    room = 0.1 * (high - low) or 1.0
    limits = (low - room, high + room)
    ticks = _round_ticks(*limits, 3)
    if logarithmic:
        ticks = [tick for tick in ticks if tick == round(tick)]
    labels = {tick: _minus(f"{10**tick if logarithmic else tick:g}") for tick in ticks}
    heading = "Planned cost"
    return _Chart(2, heading, readings, costs[:, None], limits, labels, (_VIOLET,), film.dt)


def _round_ticks(low: float, high: float, most: int) -> list[float]:
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
    """Write a number's hyphen as the minus sign it stands for."""
    return number.replace("-", "\N{MINUS SIGN}")


# ----------------------------------------------------------------------------- the pens

_SHIFT = 4  # binary places of OpenCV's fixed-point coordinates


def _write(
    picture: Picture,
    text: str,
    place: tuple[int, int],
    size: int,
    colour: Colour,
    weight: int = 400,
    align: str = "left",
) -> int:
    """Write ``text`` at its base line's ``place`` (x, y), ``size`` [px] high; return its width."""
    (_, _, width, _) = cv2.getTextSize((0, 0), text, (0, 0), _FONT, size, weight)
    x = place[0] - round(width * {"left": 0.0, "center": 0.5, "right": 1.0}[align])
    cv2.putText(picture, text, (x, place[1]), colour, _FONT, size, weight)
    return width


def _head(picture: Picture, card: Box, text: str) -> None:
    """Write the heading of a card."""
    _write(picture, text, (card[0] + _PAD, card[1] + 29), 18, _INK, weight=600)


def _caption(picture: Picture, box: Box, text: str) -> None:
    """Write ``text`` under ``box``, centred."""
    left, top, width, height = box
    _write(picture, text, (left + width // 2, top + height + 20), 16, _MUTED, align="center")


def _card(picture: Picture, box: Box) -> None:
    """Draw a white panel with a hairline around it."""
    _blend(picture, box, np.full((box[3], box[2], 3), _LINE, np.uint8), 10)
    left, top, width, height = box
    inner = (left + 1, top + 1, width - 2, height - 2)
    _blend(picture, inner, np.full((inner[3], inner[2], 3), _WHITE, np.uint8), 9)


def _place_scene(picture: Picture, scene: Picture) -> None:
    """Put the system's picture on its card."""
    left, top, width, height = _SCENE
    _blend(picture, _SCENE, np.full((height, width, 3), _LINE, np.uint8), 10)
    inner = (left + 1, top + 1, width - 2, height - 2)
    _blend(picture, inner, _resized(scene, inner, cv2.INTER_AREA), 9)


def _place_frame(picture: Picture, frame: Picture, box: Box) -> None:
    """Put one of the camera's frames, grey ``[H, W]`` or ``[H, W, 3]``, enlarged into ``box``."""
    large = _resized(frame, box, cv2.INTER_CUBIC)
    if large.ndim == 2:
        large = np.repeat(large[..., None], 3, axis=2)
    _blend(picture, box, large, 6)


def _resized(content: Picture, box: Box, interpolation: int) -> Picture:
    """Return ``content`` in the size of ``box``."""
    size = (box[2], box[3])
    return cv2.resize(content, size, interpolation=interpolation).astype(np.uint8, copy=False)


def _overlay(earlier: Picture, latest: Picture) -> Picture:
    """Lay a frame ``[H, W]`` in white over an earlier one, of which a coloured trail is left."""
    left_over = earlier * (1 - latest / 255.0)
    mixed = latest[..., None] + left_over[..., None] * (np.array(_TRAIL) / 255)
    return np.rint(mixed).astype(np.uint8)


def _blend(picture: Picture, box: Box, content: Picture, radius: int) -> None:
    """Lay ``content [h, w, 3]`` over ``box`` with rounded corners of ``radius`` [px]."""
    left, top, width, height = box
    window = picture[top : top + height, left : left + width]
    cover = _corner(radius)
    views = [
        (slice(0, radius), slice(0, radius), cover),
        (slice(0, radius), slice(width - radius, width), cover[:, ::-1]),
        (slice(height - radius, height), slice(0, radius), cover[::-1]),
        (slice(height - radius, height), slice(width - radius, width), cover[::-1, ::-1]),
    ]
    kept = [window[rows, columns].copy() for rows, columns, _ in views]
    window[:] = content
    for (rows, columns, share), old in zip(views, kept, strict=True):
        mixed = share * content[rows, columns] + (1 - share) * old
        window[rows, columns] = np.rint(mixed).astype(np.uint8)


@functools.lru_cache
def _corner(radius: int) -> NDArray[np.float64]:
    """Return each pixel's share ``[radius, radius, 1]`` inside a rounded top left corner."""
    offset = radius - 0.5 - np.arange(radius)
    distance = np.hypot(offset[:, None], offset)
    return np.clip(radius - distance + 0.5, 0.0, 1.0)[..., None]


def _polyline(picture: Picture, points: Sequence[Point], colour: Colour) -> None:
    """Draw a line of 2 px through ``points``."""
    fixed = np.rint(np.array(points) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(picture, [fixed], False, colour, 2, cv2.LINE_AA, _SHIFT)


def _dot(picture: Picture, centre: Point, radius: float, colour: Colour) -> None:
    """Draw a disc."""
    x, y = (round(coordinate * 2**_SHIFT) for coordinate in centre)
    cv2.circle(picture, (x, y), round(radius * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)


def _rectangle(picture: Picture, start: Point, end: Point, colour: Colour, opacity: float) -> None:
    """Lay a rectangle over ``picture``, its edges rounded to whole pixels."""
    (left, top), (right, bottom) = np.rint([start, end]).astype(int)
    window = picture[top : max(bottom, top + 1), left : max(right, left + 1)]
    mixed = (1 - opacity) * window + opacity * np.array(colour)
    window[:] = np.rint(mixed).astype(np.uint8)
