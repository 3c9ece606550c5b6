"""One episode as a film: what happened, what the agent saw, what it imagined, and the numbers.

`film_frames` composes the pictures. Parts that stay the same from picture to picture are drawn
once; the lines of a chart grow by one piece per control step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from e2c.report.film_charts import (
    GAP,
    MARGIN,
    Chart,
    control_chart,
    magnitude_chart,
    state_chart,
)
from e2c.report.film_map import BeliefMap, Beliefs
from e2c.report.pens import (
    PAD,
    Box,
    Picture,
    blend,
    caption,
    card,
    head,
    overlay,
    place_frame,
    resized,
    write,
)
from e2c.report.style import BLUE, GREEN, INK, MUTED, PAGE, VIOLET, rgb
from envs.quantity import Quantity

HOLD = 1.0
"""How long the last picture of a film stays [s], so that it can be looked at."""


@dataclass(frozen=True, eq=False)
class Film:
    """Everything that the film of one episode of T control steps shows.

    Row t of every array belongs to the moment at which the agent chose control t.
    """

    scenes: Sequence[Picture] | Callable[[int], Picture]
    """Picture t, RGB ``uint8 [h, w, 3]``, of the system for people; drawn when it is needed."""
    observations: NDArray[np.uint8]
    """The agent's observations, ``[T + 1, F, H, W]``, or with 3 channels; the newest frame last."""
    imagined: NDArray[np.uint8]
    """The plan of step t, decoded at S moments: ``[T, S, H, W]``, or with 3 channels."""
    imagined_steps: Sequence[int]
    """How many control steps ahead those S moments lie."""
    goal: NDArray[np.uint8]
    """The goal's observation, ``[F, H, W]``, or with 3 channels."""
    control: Quantity
    """The quantity of the controls."""
    controls: NDArray[np.floating]
    """``[T, m]``."""
    control_limit: float
    """Largest magnitude of a control."""
    costs: NDArray[np.floating]
    """Cost ``[T]`` of the plan made at each step; NaN where there was none."""
    distances: NDArray[np.floating]
    """``[T]``, squared latent distance from the goal, in units of the spread of the encodings."""
    dt: float
    """Control step [s]."""
    title: str
    """Heading of every picture, up to about 60 characters."""
    plotted: Quantity | None = None
    """The component of the state that is plotted; None where the world reports no state."""
    values: NDArray[np.float64] | None = None
    """Values of this component, ``[T + 1]``; angles within ±pi."""
    goal_value: float | None = None
    """Its value at the goal; None where the goal is not known."""
    in_goal: NDArray[np.bool_] | None = None
    """``[T + 1]``, whether the system was in the goal region; None where the world does not say."""
    beliefs: Beliefs | None = None
    """The agent's beliefs; None where it acts without a belief."""

    def __post_init__(self) -> None:
        """Refuse images that are not uint8, and lengths that do not belong together."""
        T, S = len(self.controls), len(self.imagined_steps)
        lengths: dict[str, tuple[object, object]] = {
            "observations": (len(self.observations), T + 1),
            "costs": (len(self.costs), T),
            "distances": (len(self.distances), T),
            "imagined": (self.imagined.shape[:2], (T, S)),
        }
        optional = {"values": self.values, "in_goal": self.in_goal}
        lengths |= {name: (len(x), T + 1) for name, x in optional.items() if x is not None}
        if self.beliefs is not None:
            lengths["beliefs"] = (len(self.beliefs.means), T)
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


def film_frames(film: Film) -> Iterator[Picture]:
    """Compose one picture per control step, to be played at ``1 / film.dt`` per second.

    Yields:
        T pictures and repetitions of the last, RGB ``uint8 [720, 1280, 3]``, each its own array.
        With the agent's beliefs they are wider, ``[720, 1696, 3]``.
    """
    page = _page(film)
    charts: list[Chart | BeliefMap] = list(_charts(film))
    if film.beliefs is not None:
        charts.append(BeliefMap(film.beliefs, _BELIEFS))
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
    for _ in range(round(HOLD / film.dt)):
        yield picture.copy()


def _charts(film: Film) -> Iterator[Chart]:
    """Make the charts: the controls, the state or the way to the goal, and the planned cost."""
    controls = film.controls.astype(np.float64)
    yield control_chart(film.control, controls, film.control_limit, film.dt)
    if film.plotted is not None and film.values is not None:
        yield state_chart(film.plotted, film.values[:-1], film.goal_value, film.dt)
    else:
        distances = film.distances.astype(np.float64)
        yield magnitude_chart(1, "Latent distance to the goal", distances, BLUE, film.dt)
    yield magnitude_chart(2, "Planned cost", film.costs.astype(np.float64), VIOLET, film.dt)


_WIDTH, _HEIGHT = 1280, 720
_TOP = 72  # of the first row of cards
_SCENE: Box = (MARGIN, _TOP, 440, 440)
_RIGHT = MARGIN + 440 + GAP  # left edge of the panels beside the scene
_FRAME, _SMALL = 168, 104  # largest side of a frame that is seen, and of an imagined frame
_CAPTION = 24  # height of the line under a frame
_HEADING = 28  # height of the line over a frame
_ROW = 2 * PAD + _HEADING + _CAPTION - 8  # height of a card without its frames
_SEES: Box = (_RIGHT, _TOP, 3 * _FRAME + 2 * 12 + 2 * PAD, _ROW + _FRAME)
_GOAL: Box = (_SEES[0] + _SEES[2] + GAP, _TOP, _FRAME + 2 * PAD, _ROW + _FRAME)
_IMAGINES: Box = (_RIGHT, 512 - _ROW - _SMALL, _WIDTH - MARGIN - _RIGHT, _ROW + _SMALL)
_BELIEFS: tuple[Box, Box] = (
    (_WIDTH - MARGIN + GAP, _TOP, 400, _SEES[3]),
    (_WIDTH - MARGIN + GAP, _IMAGINES[1], 400, _HEIGHT - MARGIN - _IMAGINES[1]),
)


def _page(film: Film) -> Picture:
    """Draw the parts that never change, without the charts: ``[720, 1280, 3]``, or wider."""
    width = _WIDTH if film.beliefs is None else _WIDTH + GAP + _BELIEFS[0][2]
    page = np.full((_HEIGHT, width, 3), rgb(PAGE), np.uint8)
    write(page, film.title, (MARGIN, 47), 25, INK, weight=600)
    card(page, _SCENE)
    pixels = " × ".join(str(length) for length in film.goal.shape)
    for box, heading, remark in (
        (_SEES, "What the agent sees", f"{pixels} pixels, nothing else"),
        (_GOAL, "Its goal", "an image"),
        (_IMAGINES, "What it imagines", "its plan, drawn from the latent space"),
    ):
        card(page, box)
        head(page, box, heading)
        write(page, remark, (box[0] + box[2] - PAD, box[1] + 29), 15, MUTED, align="right")
    names = _frame_names(film)
    for name, box in zip(names, _tiles(_SEES, len(names), film.goal.shape), strict=True):
        caption(page, box, name)
    for box in _tiles(_GOAL, 1, film.goal.shape):
        place_frame(page, film.goal[-1], box)
        caption(page, box, "at rest")
    moments = _tiles(_IMAGINES, len(film.imagined_steps), film.goal.shape)
    for step, box in zip(film.imagined_steps, moments, strict=True):
        caption(page, box, f"+{step * film.dt:.2f} s" if step else "now")
    return page


def _frame_names(film: Film) -> list[str]:
    """Name the tiles of one observation: its F frames, and the overlay of two grey frames."""
    F = len(film.goal)
    names = [f"{age * film.dt:.2f} s ago" for age in range(F - 1, 0, -1)] + ["now"]
    return [*names, "one over the other"] if film.goal.ndim == 3 and F == 2 else names


def _show_moment(picture: Picture, film: Film, t: int) -> None:
    """Draw everything of step ``t`` outside of the charts onto ``picture``, in place."""
    _place_scene(picture, film.scene(t))
    head(picture, _SCENE, "What happens")
    width = picture.shape[1]
    write(picture, f"{t * film.dt:.2f} s", (width - MARGIN, 47), 25, INK, align="right")
    if film.in_goal is not None and film.in_goal[t]:
        write(picture, "in the goal region", (width - 132, 46), 18, GREEN, 600, "right")
    frames = list(film.observations[t])
    if len(frames) == 2 and frames[0].ndim == 2:
        frames.append(overlay(*frames))
    for frame, box in zip(frames, _tiles(_SEES, len(frames), film.goal.shape), strict=True):
        place_frame(picture, frame, box)
    moments = _tiles(_IMAGINES, len(film.imagined_steps), film.goal.shape)
    for frame, box in zip(film.imagined[t], moments, strict=True):
        place_frame(picture, frame, box)


def _tiles(box: Box, count: int, shape: tuple[int, ...]) -> list[Box]:
    """Spread ``count`` of the frames ``[F, H, W, ...]`` evenly over a card, under its heading."""
    left, top, width, height = box
    H, W = shape[1:3]
    inner, gap = width - 2 * PAD, 12
    scale = min((height - _ROW) / max(H, W), (inner - gap * (count - 1)) / count / W)
    w, h = round(scale * W), round(scale * H)
    pitch = (inner - w) / (count - 1) if count > 1 else 0.0
    y = top + PAD + _HEADING + (height - _ROW - h) // 2
    return [(left + PAD + round(k * pitch), y, w, h) for k in range(count)]


def _place_scene(picture: Picture, scene: Picture) -> None:
    """Put the system's picture ``[h, w, 3]`` on its card, as large as possible."""
    left, top, width, height = _SCENE
    h, w = scene.shape[:2]
    scale = min((width - 2) / w, (height - 2) / h)
    across, down = round(scale * w), round(scale * h)
    inner = (left + (width - across) // 2, top + (height - down) // 2, across, down)
    blend(picture, inner, resized(scene, inner, cv2.INTER_AREA), 9)
