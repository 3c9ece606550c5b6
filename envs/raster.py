"""From a state to its pictures: pure functions, on the processor, without any graphics context."""

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

_CHUNK = 64  # frames drawn together: few enough for their temporaries to stay in the cache


def rods(
    angles: NDArray[np.float64], *, length: float, radius: float, size: int
) -> NDArray[np.uint8]:
    """Draw one white rod on black for every angle.

    The rod is a capsule: every point within ``radius`` of the segment from the frame's centre to
    ``length`` away from it. A pixel's brightness falls from 255 to 0 over one pixel of distance
    across that outline, so any move of the rod, however small, moves brightness.

    A rod from the centre stays within one quadrant and a margin of its radius. So each is drawn as
    its mirror image in the first quadrant, a third of the pixels, and then flipped into its own;
    mirrored angles give mirrored frames bit for bit.

    Args:
        angles: ``[N]`` [rad] from upright, counter-clockwise.
        length: pivot to tip [px].
        radius: half the rod's thickness [px].
        size: the frame's height and width [px], even.

    Returns:
        ``uint8 [N, size, size]``, row 0 at the top.
    """
    right, up = -np.sin(angles), np.cos(angles)
    frames = np.zeros((len(angles), size, size), np.uint8)
    margin = math.ceil(radius + 0.5)
    for start in range(0, len(angles), _CHUNK):
        part = slice(start, start + _CHUNK)
        patches = _quadrants(np.abs(right[part]), np.abs(up[part]), length, radius, margin, size)
        _place(patches, right[part] < 0, up[part] < 0, frames[part])
    return frames


def _quadrants(
    right: NDArray[np.float64],
    up: NDArray[np.float64],
    length: float,
    radius: float,
    margin: int,
    size: int,
) -> NDArray[np.uint8]:
    """Draw rods along the unit vectors ``(right, up) [N]``, both ≥ 0: ``[N, P, P]``.

    The patch's first row and column lie ``margin`` pixels beyond the pivot; it grows to the right
    and up. The squared distance of a point p to the segment is ``|p|² - 2 a p·d + a²`` with ``a``
    the projection ``p·d`` held within the segment.
    """
    p = np.arange(-margin, size // 2, dtype=np.float32) + 0.5
    projection = np.multiply.outer(up.astype(np.float32), p)[:, :, None]
    projection = projection + np.multiply.outer(right.astype(np.float32), p)[:, None, :]
    along = np.clip(projection, 0.0, length)
    projection *= 2.0
    projection -= along
    projection *= along
    distance = np.subtract(p[:, None] ** 2 + p**2, projection, out=projection)
    np.sqrt(np.maximum(distance, 0.0, out=distance), out=distance)
    brightness = np.subtract(radius + 0.5, distance, out=distance)
    np.clip(brightness, 0.0, 1.0, out=brightness)
    brightness *= 255.0
    brightness += 0.5
    return brightness.astype(np.uint8)


def _place(
    patches: NDArray[np.uint8],
    leftward: NDArray[np.bool_],
    downward: NDArray[np.bool_],
    frames: NDArray[np.uint8],
) -> None:
    """Flip each of ``patches [N, P, P]`` into its quadrant of the black ``frames [N, H, W]``."""
    reach = patches.shape[1]
    for left in (False, True):
        for down in (False, True):
            chosen = (leftward == left) & (downward == down)
            mirrored = frames[:, :: 1 if down else -1, :: -1 if left else 1]
            mirrored[chosen, -reach:, -reach:] = patches[chosen]


def scene(
    angle: float, effort: float, *, goal_half_width: float, length: float = 1.0, size: int = 480
) -> NDArray[np.uint8]:
    """Draw a pendulum for people: dial, goal region, rod, and an arrow for the torque.

    Args:
        angle: of the rod [rad] from upright, counter-clockwise.
        effort: the torque as a share of its limit, -1 .. 1; the arrow starts at the rod and turns
            with the torque, over 110 degrees at the limit.
        goal_half_width: of the shaded region about upright [rad]; in it the rod's tip turns green.
        length: of the rod [m].
        size: height and width [px].

    Returns:
        RGB ``uint8 [size, size, 3]``.
    """
    canvas = _dial(goal_half_width, size).copy()
    reached = math.cos(angle) >= math.cos(goal_half_width)
    if reached:
        _paint(canvas, _sector(0.0, _RING, -goal_half_width, goal_half_width), _GREEN, 0.16)
    _paint_effort(canvas, angle, effort)
    _paint_rod(canvas, length * _heading(angle), _GREEN if reached else _RED)
    return np.rint(canvas).astype(np.uint8)


_WHITE, _MIST, _STEEL = (255, 255, 255), (203, 213, 225), (148, 163, 184)
_SLATE, _NIGHT = (51, 65, 85), (15, 23, 42)
_GREEN, _RED, _AMBER = (16, 185, 129), (244, 63, 94), (245, 158, 11)
_SKY, _GROUND = (250, 251, 253), (219, 227, 238)  # the background, top and bottom
_RING = 1.25  # radius of the dial [m]
_HALF_VIEW = 1.45  # from the pivot to the picture's edge [m]
_SUPERSAMPLING = 4

Colour = tuple[int, int, int]
Polygon = NDArray[np.float64]
"""Corners ``[P, 2]`` [m], to the right of the pivot and up."""


@functools.lru_cache(maxsize=8)
def _dial(goal_half_width: float, size: int) -> NDArray[np.float32]:
    """Paint what never moves, ``float32 [size, size, 3]``."""
    shade = np.linspace(0.0, 1.0, size, dtype=np.float32)[:, None, None]
    sky, ground = np.array(_SKY, np.float32), np.array(_GROUND, np.float32)
    rows = sky * (1 - shade) + ground * shade
    canvas = np.repeat(rows, size, axis=1)
    _paint(canvas, _disc((0.0, -0.05), _RING), _SLATE, 0.22, blur=0.05)
    _paint(canvas, _disc((0.0, 0.0), _RING), _WHITE, 0.92)
    _paint(canvas, _sector(_RING - 0.012, _RING, 0.0, 2 * math.pi), _MIST)
    for k in range(24):
        inner = _RING - (0.13 if k % 6 == 0 else 0.085 if k % 3 == 0 else 0.06)
        turn = _heading(k * math.pi / 12)
        tick = _capsule(inner * turn, (_RING - 0.04) * turn, 0.008 if k % 3 else 0.011)
        _paint(canvas, tick, _STEEL if k % 3 == 0 else _MIST)
    _paint(canvas, _sector(0.0, _RING, -goal_half_width, goal_half_width), _GREEN, 0.14)
    _paint(canvas, _sector(_RING - 0.022, _RING, -goal_half_width, goal_half_width), _GREEN, 0.9)
    canvas.flags.writeable = False
    return canvas


def _paint_rod(canvas: NDArray[np.float32], tip: Polygon, accent: Colour) -> None:
    """Paint the rod from the pivot to ``tip [2]`` [m], its shadow, its tip and the pivot."""
    pivot = np.zeros(2)
    fall, light = np.array([0.02, -0.05]), np.array([-0.012, 0.016])
    _paint(canvas, _capsule(pivot + fall, tip + fall, 0.075), _NIGHT, 0.30, blur=0.035)
    _paint(canvas, _capsule(pivot, tip, 0.075), _SLATE)
    _paint(canvas, _capsule(light, tip + light, 0.036), _STEEL, 0.45, blur=0.012)
    _paint(canvas, _disc(tip, 0.052), accent)
    _paint(canvas, _disc(tip + light, 0.02), _WHITE, 0.55, blur=0.008)
    _paint(canvas, _disc(pivot, 0.12), _NIGHT)
    _paint(canvas, _disc(pivot, 0.045), _MIST)


def _paint_effort(canvas: NDArray[np.float32], angle: float, effort: float) -> None:
    """Paint the torque: an arc about the pivot from the rod on, growing to its arrow head."""
    sweep = math.radians(110) * effort
    if abs(sweep) < 1e-3:
        return
    radius = 0.5
    start = angle + math.copysign(0.2, sweep)  # clear of the rod, so that a small one shows too
    head = math.copysign(min(0.28, 0.6 * abs(sweep)), sweep)
    bend = start + np.linspace(0.0, sweep - head, 48)
    width = np.linspace(0.3, 1.0, 48)[:, None] * 0.16 * abs(head)
    outer, inner = _heading(bend) * (radius + width), _heading(bend) * (radius - width)
    _paint(canvas, np.concatenate([outer, inner[::-1]]), _AMBER)
    base, point = _heading(bend[-1]), _heading(start + sweep)
    half = 0.42 * abs(head)
    corners = [base * (radius - half), base * (radius + half), point * radius]
    _paint(canvas, np.array(corners), _AMBER)


def _paint(
    canvas: NDArray[np.float32],
    polygon: Polygon,
    colour: Colour,
    opacity: float = 1.0,
    blur: float = 0.0,
) -> None:
    """Lay ``polygon`` in one colour over ``canvas [S, S, 3]``, its edge blurred by ``blur`` [m]."""
    size = len(canvas)
    scale = size / (2 * _HALF_VIEW)
    corners = polygon * [scale, -scale] + size / 2
    spread = 3 * blur * scale + 2
    left, top = np.clip(np.floor(corners.min(axis=0) - spread), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0) + spread), 0, size).astype(int)
    cover = _coverage(corners - [left, top], bottom - top, right - left)
    if blur:
        cover[:] = cv2.GaussianBlur(cover, (0, 0), blur * scale)
    window = canvas[top:bottom, left:right]
    window += (np.array(colour, np.float32) - window) * (opacity * cover[:, :, None])


def _coverage(corners: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """Return the share of each pixel ``[height, width]`` inside the polygon ``corners [P, 2]``."""
    fine = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)
    shift = 6  # binary places of OpenCV's fixed-point coordinates
    points = np.rint((corners * _SUPERSAMPLING - 0.5) * 2**shift).astype(np.int32)
    cv2.fillPoly(fine, [points], 255, cv2.LINE_AA, shift)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)


def _heading(angle: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors ``[..., 2]`` (right, up) at ``angle`` [rad] from upright."""
    return np.stack([-np.sin(angle), np.cos(angle)], axis=-1)


def _capsule(start: Polygon, end: Polygon, radius: float) -> Polygon:
    """Return the outline of all points within ``radius`` of a segment."""
    along = end - start
    turn = math.atan2(-along[0], along[1]) + np.linspace(-math.pi / 2, math.pi / 2, 24)
    return np.concatenate([end + radius * _heading(turn), start - radius * _heading(turn)])


def _disc(centre: Polygon | tuple[float, float], radius: float) -> Polygon:
    """Return a circle's outline."""
    return np.asarray(centre) + radius * _heading(np.linspace(0.0, 2 * math.pi, 160))


def _sector(inner: float, outer: float, start: float, end: float) -> Polygon:
    """Return the outline of the ring between two radii, from one angle to another."""
    turn = _heading(np.linspace(start, end, 200))
    return np.concatenate([outer * turn, inner * turn[::-1]])
