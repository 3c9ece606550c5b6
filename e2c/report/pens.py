"""The pens that a film is drawn with: text, cards, frames and lines on a picture, by OpenCV."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from e2c.report.style import EDGE, INK, MUTED, PAPER, TRAIL, rgb

Picture = NDArray[np.uint8]
"""RGB ``uint8 [H, W, 3]``, or one of the camera's grey frames ``uint8 [H, W]``."""
Point = tuple[float, float]
Points = Sequence[Point] | NDArray[np.floating]
"""K points, or an array of them ``[K, 2]`` [px]."""
Box = tuple[int, int, int, int]
"""Left, top, width, height [px]."""

PAD = 16
"""Space between the edge of a card and its content [px]."""
FONT = cv2.FontFace("sans")

_SHIFT = 4  # binary places of OpenCV's fixed-point coordinates


def write(
    picture: Picture,
    text: str,
    place: tuple[int, int],
    size: int,
    colour: str,
    weight: int = 400,
    align: str = "left",
) -> int:
    """Write ``text``, its base line at ``place`` (x, y), ``size`` [px] high; return its width."""
    (_, _, width, _) = cv2.getTextSize((0, 0), text, (0, 0), FONT, size, weight)
    x = place[0] - round(width * {"left": 0.0, "center": 0.5, "right": 1.0}[align])
    cv2.putText(picture, text, (x, place[1]), rgb(colour), FONT, size, weight)
    return width


def head(picture: Picture, card: Box, text: str) -> None:
    """Write the heading of a card."""
    write(picture, text, (card[0] + PAD, card[1] + 29), 18, INK, weight=600)


def caption(picture: Picture, box: Box, text: str) -> None:
    """Write ``text`` under ``box``, centred."""
    left, top, width, height = box
    write(picture, text, (left + width // 2, top + height + 20), 16, MUTED, align="center")


def card(picture: Picture, box: Box) -> None:
    """Draw a white panel with a hairline around it."""
    blend(picture, box, np.full((box[3], box[2], 3), rgb(EDGE), np.uint8), 10)
    left, top, width, height = box
    inner = (left + 1, top + 1, width - 2, height - 2)
    blend(picture, inner, np.full((inner[3], inner[2], 3), rgb(PAPER), np.uint8), 9)


def place_frame(picture: Picture, frame: Picture, box: Box) -> None:
    """Put one of the camera's frames, grey ``[H, W]`` or ``[H, W, 3]``, enlarged into ``box``."""
    large = resized(frame, box, cv2.INTER_CUBIC)
    if large.ndim == 2:
        large = np.repeat(large[..., None], 3, axis=2)
    blend(picture, box, large, 6)


def resized(content: Picture, box: Box, interpolation: int) -> Picture:
    """Return ``content`` in the size of ``box``."""
    size = (box[2], box[3])
    return cv2.resize(content, size, interpolation=interpolation).astype(np.uint8, copy=False)


def overlay(earlier: Picture, latest: Picture) -> Picture:
    """Lay a frame ``[H, W]`` in white over an earlier frame, which shows as a coloured trail."""
    left_over = earlier * (1 - latest / 255.0)
    mixed = latest[..., None] + left_over[..., None] * (np.array(rgb(TRAIL)) / 255)
    return np.rint(mixed).astype(np.uint8)


def blend(picture: Picture, box: Box, content: Picture, radius: int) -> None:
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


def polyline(picture: Picture, points: Points, colour: str) -> None:
    """Draw a line of 2 px through ``points``."""
    cv2.polylines(picture, [_fixed(points)], False, rgb(colour), 2, cv2.LINE_AA, _SHIFT)


def area(picture: Picture, corners: Points, colour: str, opacity: float) -> None:
    """Lay a polygon over ``picture``."""
    filled = picture.copy()
    cv2.fillPoly(filled, [_fixed(corners)], rgb(colour), cv2.LINE_AA, _SHIFT)
    picture[:] = cv2.addWeighted(filled, opacity, picture, 1 - opacity, 0)


def _fixed(points: Points) -> NDArray[np.int32]:
    """Return ``points`` as OpenCV takes them."""
    return np.rint(np.array(points) * 2**_SHIFT).astype(np.int32)


def dot(picture: Picture, centre: Point | NDArray[np.floating], radius: float, colour: str) -> None:
    """Draw a disc."""
    x, y = (round(coordinate * 2**_SHIFT) for coordinate in centre)
    cv2.circle(picture, (x, y), round(radius * 2**_SHIFT), rgb(colour), -1, cv2.LINE_AA, _SHIFT)


def rectangle(picture: Picture, start: Point, end: Point, colour: str, opacity: float) -> None:
    """Lay a rectangle over ``picture``, its edges rounded to whole pixels."""
    (left, top), (right, bottom) = np.rint([start, end]).astype(int)
    window = picture[top : max(bottom, top + 1), left : max(right, left + 1)]
    mixed = (1 - opacity) * window + opacity * np.array(rgb(colour))
    window[:] = np.rint(mixed).astype(np.uint8)
