"""The map of a film: where in the latent space an agent believes it is, and how sure it is.

The map shows the two directions along which the believed states of an episode differ most. The
ellipse of a belief is small on it, so a lens below enlarges the surroundings of the present place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.report.pens import PAD, Box, Picture, area, card, dot, head, polyline, rectangle, write
from e2c.report.style import BLUE, EDGE, GREEN, MUTED, PAPER, ROSE, TRAIL

Floats = NDArray[np.floating[Any]]

DEVIATIONS = 2.0
"""Half axes of the ellipse of a belief, in standard deviations."""
_CORNERS = np.linspace(0, 2 * np.pi, 97)
"""Angles of the corners of the polygon that stands for an ellipse; the first is the last again."""
_DASH = 4
"""Sides of that polygon in a dash, and in the gap after it."""
_FAR = 1e5
"""No point is drawn further away than this [px]: OpenCV counts in 32 bits."""


@dataclass(frozen=True, eq=False)
class Beliefs:
    """The beliefs of an agent at T steps: Gaussians of the n numbers of the latent state."""

    means: Floats
    """``[T, n]``."""
    covariances: Floats
    """``[T, n, n]``."""
    surprises: NDArray[np.bool_]
    """``[T]``, whether the observation was a surprise, so that the prediction was not believed."""
    goal: Floats
    """``[n]``, the encoding of the goal."""

    def finite(self) -> tuple[Floats, Floats]:
        """Return the means and covariances of all steps before the first that is not finite."""
        good = np.isfinite(self.means).all(-1) & np.isfinite(self.covariances).all((-2, -1))
        steps = int(np.cumprod(good).sum())
        return self.means[:steps], self.covariances[:steps]


def principal_axes(points: Floats) -> Floats:
    """Return the two directions ``[n, 2]`` along which ``points [T, n]`` differ most.

    Where n is 1, the second is zero.
    """
    away = points - points.mean(0)
    directions = np.linalg.eigh(away.T @ away)[1][:, ::-1]
    return np.hstack((directions, np.zeros_like(directions)))[:, [0, 1]]


def half_axes(covariances: Floats, axes: Floats) -> Floats:
    """Return the half axes of the ellipses of Gaussians on the plane of two directions.

    Args:
        covariances: ``[T, n, n]``.
        axes: ``[n, 2]``, of length 1 and at right angles.

    Returns:
        ``[T, 2, 2]``, each half axis a column, the shorter one first.
    """
    variances, directions = np.linalg.eigh(axes.T @ covariances @ axes)
    halves: Floats = DEVIATIONS * directions * np.sqrt(variances.clip(0))[:, None]
    return halves


@dataclass(frozen=True)
class View:
    """A window of the picture, which shows a part of a plane."""

    box: Box
    """Where it is [px]."""
    scale: float
    """How long a unit of the plane is [px]."""

    def of(self, picture: Picture) -> Picture:
        """Return the window alone; drawing on it ends at its edges."""
        left, top, width, height = self.box
        return picture[top : top + height, left : left + width]

    def at(self, points: Floats, centre: Floats) -> Floats:
        """Return where ``points [..., 2]`` stand in the window around ``centre [2]`` [px]."""
        away = self.scale * (points - centre) * (1, -1)
        return np.array(self.box[2:]) / 2 + away.clip(-_FAR, _FAR)


class BeliefMap:
    """Two cards that show the beliefs of an episode: the map, and the lens under it.

    Args:
        beliefs: of all T steps.
        cards: where the two are [px].
    """

    def __init__(self, beliefs: Beliefs, cards: tuple[Box, Box]) -> None:
        self.cards, self.surprises = cards, beliefs.surprises
        means, covariances = beliefs.finite()
        axes = principal_axes(means)
        self.places, self.goal = means @ axes, beliefs.goal @ axes
        halves = half_axes(covariances, axes)
        circle = np.stack((np.cos(_CORNERS), np.sin(_CORNERS)))
        self.outlines = self.places[:, None] + (halves @ circle).swapaxes(1, 2)
        shown = np.vstack((self.places, self.goal))
        self.centre = (shown.min(0) + shown.max(0)) / 2
        longest = np.linalg.norm(halves, axis=1).max(-1)
        self.map = _view(cards[0], np.ptp(shown, axis=0) / 2, PAD)
        self.lens = _view(cards[1], np.full(2, min(longest.max(), 4 * np.median(longest))), 36)

    def draw_static(self, page: Picture) -> None:
        """Draw the cards, the goal on the map, and the cross of the lens."""
        for box, heading in zip(self.cards, ("What it believes", "How sure it is"), strict=True):
            card(page, box)
            head(page, box, heading)
        _remark(page, self.cards[0], "latent space, its goal green", MUTED)
        _ring(self.map.of(page), self.map.at(self.goal, self.centre))
        left, top, width, height = self.lens.box
        x, y = left + width / 2, top + height / 2
        rectangle(page, (left, y - 0.5), (left + width, y + 0.5), EDGE, 1.0)
        rectangle(page, (x - 0.5, top), (x + 0.5, top + height), EDGE, 1.0)
        times = float(f"{self.lens.scale / self.map.scale:.2g}")
        told = f"two standard deviations, enlarged {times:g} times"
        write(page, told, (round(x), top + height + 22), 15, MUTED, align="center")

    def extend(self, page: Picture, t: int) -> None:
        """Draw the path from the step before on the map; a surprise leaves a dot."""
        if t < len(self.places):
            way = self.map.at(self.places[max(t - 1, 0) : t + 1], self.centre)
            polyline(self.map.of(page), way, BLUE)
            if self.surprises[t]:
                dot(self.map.of(page), way[-1], 3.5, ROSE)

    def show_moment(self, picture: Picture, t: int) -> None:
        """Draw the ellipse at step ``t`` on the map and in the lens; a surprise is dashed."""
        if t >= len(self.places):
            _remark(picture, self.cards[1], "not finite", ROSE, 18, 600)
            return
        surprise, place, outline = self.surprises[t], self.places[t], self.outlines[t]
        if surprise:
            _remark(picture, self.cards[1], "surprise", ROSE, 18, 600)
        colour = ROSE if surprise else BLUE
        window, here = self.map.of(picture), self.map.at(place, self.centre)
        area(window, self.map.at(outline, self.centre), colour, 0.3)
        dot(window, here, 7, PAPER)
        dot(window, here, 5, colour)
        window, around = self.lens.of(picture), self.lens.at(outline, place)
        area(window, around, colour, 0.15)
        polyline(window, self.lens.at(self.places[: t + 1], place), TRAIL)
        _ring(window, self.lens.at(self.goal, place))
        for dash in _dashes(around) if surprise else [around]:
            polyline(window, dash, colour)
        dot(window, self.lens.at(place, place), 5, colour)


def _view(card: Box, reach: Floats, foot: int) -> View:
    """Return the view on a card that shows ``reach [2]`` each way, above ``foot`` pixels."""
    left, top, width, height = card
    box = left + PAD, top + 44, width - 2 * PAD, height - 44 - foot
    return View(box, float((0.45 * np.array(box[2:]) / reach.clip(1e-9)).min()))


def _remark(
    picture: Picture, card: Box, text: str, colour: str, size: int = 15, weight: int = 400
) -> None:
    """Write at the right of a card's heading."""
    left, top, width, _ = card
    write(picture, text, (left + width - PAD, top + 29), size, colour, weight, "right")


def _ring(window: Picture, centre: Floats) -> None:
    """Mark the goal."""
    dot(window, centre, 9, GREEN)
    dot(window, centre, 6, PAPER)


def _dashes(outline: Floats) -> Iterator[Floats]:
    """Cut an outline into dashes."""
    for side in range(0, len(outline) - 1, 2 * _DASH):
        yield outline[side : side + _DASH + 1]
