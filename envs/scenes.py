"""Large pictures in colour, for people: a scene with a state and the last action.

World coordinates run to the right and up [m]; a picture shows ±1.45 m.
"""

import functools
import itertools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

_WHITE, _MIST, _STEEL = (255, 255, 255), (203, 213, 225), (148, 163, 184)
_SLATE, _NIGHT = (51, 65, 85), (15, 23, 42)
_GREEN, _RED, _AMBER = (16, 185, 129), (244, 63, 94), (245, 158, 11)
_SKY, _GROUND = (250, 251, 253), (219, 227, 238)  # the background, top and bottom
_RING = 1.25  # radius of the dial [m]
_HALF_VIEW = 1.45  # from the pivot to the picture's edge [m]
_SUPERSAMPLING = 4
_SIZE = 480  # height and width of a picture [px], about as large as a film shows it
_FALL, _LIGHT = (
    np.array([0.02, -0.05]),
    np.array([-0.012, 0.016]),
)  # of shadows and of highlights [m]

Colour = tuple[int, int, int]
Polygon = NDArray[np.float64]
"""Corners ``[P, 2]`` [m], to the right of the pivot and up."""


def pendulum(
    angle: float,
    effort: float,
    *,
    goal: float | None,
    goal_half_width: float,
    length: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw a pendulum for people: dial, goal region, rod, and an arrow for the torque.

    Args:
        angle: of the rod [rad] from upright, counter-clockwise.
        effort: the torque as a share of its limit, -1 .. 1; the arrow starts at the rod and turns
            with the torque, over 110 degrees at the limit.
        goal: the rod's angle at the goal [rad], or None where it is not known.
        goal_half_width: of the shaded region about the goal [rad]; in it the rod's tip is green.
        length: of the rod [m].

    Returns:
        RGB ``uint8 [480, 480, 3]``.
    """
    canvas = _dial(goal, goal_half_width).copy()
    reached = _within(angle, goal, goal_half_width)
    if goal is not None and reached:
        _paint(canvas, _sector(0.0, _RING, *_about(goal, goal_half_width)), _GREEN, 0.16)
    _paint_torque(canvas, np.zeros(2), angle, effort, 0.5)
    tip = length * _heading(angle)
    _paint_bar(canvas, np.zeros(2), tip, 0.075)
    _paint_tip(canvas, tip, reached)
    _paint_pivot(canvas, np.zeros(2), 0.12)
    return np.rint(canvas).astype(np.uint8)


def arm(
    angles: NDArray[np.float64],
    efforts: NDArray[np.float64],
    *,
    goal: NDArray[np.float64] | None,
    goal_half_width: float,
) -> NDArray[np.uint8]:
    """Draw an arm of L equal links for people, with an arrow for the torque in each joint.

    Args:
        angles: of the links ``[L]`` [rad], each from upright, counter-clockwise.
        efforts: the torques ``[L]`` as shares of their limits, -1 .. 1.
        goal: the links' angles at the goal ``[L]`` [rad], or None where they are not known.
        goal_half_width: of the region about the goal [rad]; the tip is green when all links are in
            it. If the goal is a straight arm, the region is shaded; a bent arm is drawn instead.

    Returns:
        RGB ``uint8 [480, 480, 3]``.
    """
    straight = None if goal is None or (goal != goal[0]).any() else float(goal[0])
    canvas = _dial(straight, goal_half_width).copy()
    if goal is not None and straight is None:
        for start, end in itertools.pairwise(_joints(goal)):
            _paint(canvas, _capsule(start, end, 0.055), _GREEN, 0.3)
    joints = _joints(angles)
    for start, end in itertools.pairwise(joints):
        _paint_bar(canvas, start, end, 0.055)
    for joint, angle, effort in zip(joints[:-1], angles, efforts, strict=True):
        _paint_pivot(canvas, joint, 0.08)
        _paint_torque(canvas, joint, float(angle), float(effort), 0.22)
    _paint_tip(canvas, joints[-1], _within(angles, goal, goal_half_width))
    return np.rint(canvas).astype(np.uint8)


def cart_pole(
    position: float,
    angle: float,
    effort: float,
    *,
    track: float,
    goal: float | None,
    goal_half_width: float,
) -> NDArray[np.uint8]:
    """Draw a pole on a cart for people, with an arrow for the force; the pole is not to scale.

    Args:
        position: of the cart [m], to the right.
        angle: of the pole [rad] from upright, counter-clockwise.
        effort: the force as a share of its limit, -1 .. 1.
        track: half the length of the track [m].
        goal: the pole's angle at the goal [rad], or None where it is not known.
        goal_half_width: of the shaded region about the goal [rad]; in it the pole's tip is green.

    Returns:
        RGB ``uint8 [480, 480, 3]``.
    """
    canvas = _sky()
    height, reach = -0.72, 1.25
    _paint(canvas, _capsule(np.array([-reach, height]), np.array([reach, height]), 0.02), _STEEL)
    hinge = np.array([position / track * reach, height + 0.1])
    reached = _within(angle, goal, goal_half_width)
    if goal is not None:
        region = hinge + _sector(0.0, 1.2, *_about(goal, goal_half_width))
        _paint(canvas, region, _GREEN, 0.3 if reached else 0.14)
    _paint(canvas, hinge + _FALL + _box(0.22, 0.11), _NIGHT, 0.3, blur=0.035)
    _paint(canvas, hinge + _box(0.22, 0.11), _SLATE)
    _paint_arrow(canvas, hinge, np.array([0.6 * effort, 0.0]))
    tip = hinge + 1.1 * _heading(angle)
    _paint_bar(canvas, hinge, tip, 0.055)
    _paint_tip(canvas, tip, reached)
    _paint_pivot(canvas, hinge, 0.08)
    return np.rint(canvas).astype(np.uint8)


def plane(
    agent: NDArray[np.float64],
    move: NDArray[np.float64],
    goal: NDArray[np.float64] | None,
    *,
    obstacles: NDArray[np.float64],
    radii: tuple[float, float, float],
    side: float,
) -> NDArray[np.uint8]:
    """Draw a square agent among round obstacles for people, its goal, and its last move.

    Args:
        agent: its centre, (row, column) [px] from the upper left corner.
        move: the last action, (rows, columns) [px].
        goal: the centre of the goal region, as ``agent``, or None where it is not known.
        obstacles: their centres ``[K, 2]``, as ``agent``.
        radii: the agent's half width, and the radii of the obstacles and of the goal region [px].
        side: of the square world [px].

    Returns:
        RGB ``uint8 [480, 480, 3]``.
    """
    half, obstacle, region = (2 * 1.3 / side * np.array(radii)).tolist()
    here = _on_plane(agent, side)
    canvas = _sky()
    _paint(canvas, _box(1.3, 1.3), _SLATE, 0.22, blur=0.05)
    _paint(canvas, _box(1.3, 1.3), _WHITE)
    for centre in _on_plane(obstacles, side):
        _paint(canvas, _disc(centre, obstacle), _STEEL)
    reached = goal is not None and float(np.linalg.norm(agent - goal)) <= radii[2]
    if goal is not None:
        _paint(canvas, _disc(_on_plane(goal, side), region), _GREEN, 0.6 if reached else 0.3)
    _paint(canvas, here + _FALL + _box(half, half), _NIGHT, 0.3, blur=0.03)
    _paint(canvas, here + _box(half, half), _GREEN if reached else _SLATE)
    _paint_arrow(canvas, here, _on_plane(agent + 2 * move, side) - here)
    return np.rint(canvas).astype(np.uint8)


def _on_plane(position: NDArray[np.float64], side: float) -> Polygon:
    """Map (row, column) ``[..., 2]`` [px] to world coordinates, right and up."""
    return (position[..., ::-1] / side - 0.5) * [2 * 1.3, -2 * 1.3]


def _sky() -> NDArray[np.float32]:
    """Paint the background, ``float32 [480, 480, 3]``."""
    shade = np.linspace(0.0, 1.0, _SIZE, dtype=np.float32)[:, None, None]
    sky, ground = np.array(_SKY, np.float32), np.array(_GROUND, np.float32)
    return np.repeat(sky * (1 - shade) + ground * shade, _SIZE, axis=1)


@functools.lru_cache(maxsize=8)
def _dial(goal: float | None, half_width: float) -> NDArray[np.float32]:
    """Paint the parts about a pivot that never move, ``float32 [480, 480, 3]``."""
    canvas = _sky()
    _paint(canvas, _disc((0.0, -0.05), _RING), _SLATE, 0.22, blur=0.05)
    _paint(canvas, _disc((0.0, 0.0), _RING), _WHITE, 0.92)
    _paint(canvas, _sector(_RING - 0.012, _RING, 0.0, 2 * math.pi), _MIST)
    for k in range(24):
        inner = _RING - (0.13 if k % 6 == 0 else 0.085 if k % 3 == 0 else 0.06)
        turn = _heading(k * math.pi / 12)
        tick = _capsule(inner * turn, (_RING - 0.04) * turn, 0.008 if k % 3 else 0.011)
        _paint(canvas, tick, _STEEL if k % 3 == 0 else _MIST)
    if goal is not None:
        _paint(canvas, _sector(0.0, _RING, *_about(goal, half_width)), _GREEN, 0.14)
        _paint(canvas, _sector(_RING - 0.022, _RING, *_about(goal, half_width)), _GREEN, 0.9)
    canvas.flags.writeable = False
    return canvas


def _about(goal: float, half_width: float) -> tuple[float, float]:
    """Return both ends of the region about an angle [rad]."""
    return goal - half_width, goal + half_width


def _within(
    angles: float | NDArray[np.float64],
    goal: float | NDArray[np.float64] | None,
    half_width: float,
) -> bool:
    """Say whether all ``angles`` are in the goal region; no where the goal is not known."""
    return goal is not None and bool(np.all(np.cos(angles - goal) >= math.cos(half_width)))


def _joints(angles: NDArray[np.float64]) -> Polygon:
    """Return the ends ``[L + 1, 2]`` of an arm's links at ``angles [L]``, from the pivot on."""
    ends = np.cumsum(1.15 / len(angles) * _heading(angles), axis=0)
    return np.concatenate([np.zeros((1, 2)), ends])


def _paint_bar(canvas: NDArray[np.float32], start: Polygon, end: Polygon, radius: float) -> None:
    """Paint a round bar and its shadow."""
    _paint(canvas, _capsule(start + _FALL, end + _FALL, radius), _NIGHT, 0.30, blur=0.035)
    _paint(canvas, _capsule(start, end, radius), _SLATE)
    light = _capsule(start + _LIGHT, end + _LIGHT, 0.48 * radius)
    _paint(canvas, light, _STEEL, 0.45, blur=0.012)


def _paint_tip(canvas: NDArray[np.float32], tip: Polygon, reached: bool) -> None:
    """Paint the end of the last bar."""
    _paint(canvas, _disc(tip, 0.052), _GREEN if reached else _RED)
    _paint(canvas, _disc(tip + _LIGHT, 0.02), _WHITE, 0.55, blur=0.008)


def _paint_pivot(canvas: NDArray[np.float32], centre: Polygon, radius: float) -> None:
    """Paint a joint."""
    _paint(canvas, _disc(centre, radius), _NIGHT)
    _paint(canvas, _disc(centre, 0.375 * radius), _MIST)


def _paint_torque(
    canvas: NDArray[np.float32], pivot: Polygon, angle: float, effort: float, radius: float
) -> None:
    """Paint a torque: an arc about the pivot that begins at the rod and widens to its head."""
    sweep = math.radians(110) * effort
    if abs(sweep) < 1e-3:
        return
    start = angle + math.copysign(0.2, sweep)  # beside the rod, so that a small torque shows too
    head = math.copysign(min(0.28, 0.6 * abs(sweep)), sweep)
    bend = start + np.linspace(0.0, sweep - head, 48)
    width = np.linspace(0.3, 1.0, 48)[:, None] * 0.16 * abs(head)
    outer, inner = _heading(bend) * (radius + width), _heading(bend) * (radius - width)
    _paint(canvas, pivot + np.concatenate([outer, inner[::-1]]), _AMBER)
    base, point = _heading(bend[-1]), _heading(start + sweep)
    half = 0.42 * abs(head)
    corners = [base * (radius - half), base * (radius + half), point * radius]
    _paint(canvas, pivot + np.array(corners), _AMBER)


def _paint_arrow(canvas: NDArray[np.float32], start: Polygon, along: Polygon) -> None:
    """Paint a straight arrow; none where it has no length."""
    length = float(np.hypot(*along))
    if length < 1e-3:
        return
    unit = along / length
    side = np.array([-unit[1], unit[0]])
    head = min(0.16, 0.6 * length)
    neck, point = start + (length - head) * unit, start + along
    _paint(canvas, _capsule(start, neck, 0.16 * head), _AMBER)
    _paint(canvas, np.array([neck + 0.5 * head * side, neck - 0.5 * head * side, point]), _AMBER)


def _paint(
    canvas: NDArray[np.float32],
    polygon: Polygon,
    colour: Colour,
    opacity: float = 1.0,
    blur: float = 0.0,
) -> None:
    """Lay ``polygon`` in one colour over ``canvas [480, 480, 3]``, its edge blurred [m]."""
    scale = _SIZE / (2 * _HALF_VIEW)
    corners = polygon * [scale, -scale] + _SIZE / 2
    spread = 3 * blur * scale + 2
    left, top = np.clip(np.floor(corners.min(axis=0) - spread), 0, _SIZE).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0) + spread), 0, _SIZE).astype(int)
    if left == right or top == bottom:  # outside the picture
        return
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


def _box(half_width: float, half_height: float) -> Polygon:
    """Return the corners of an upright rectangle about the origin."""
    return np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * [half_width, half_height]


def _disc(centre: Polygon | tuple[float, float], radius: float) -> Polygon:
    """Return a circle's outline."""
    return np.asarray(centre) + radius * _heading(np.linspace(0.0, 2 * math.pi, 160))


def _sector(inner: float, outer: float, start: float, end: float) -> Polygon:
    """Return the outline of the ring between two radii, from one angle to another."""
    turn = _heading(np.linspace(start, end, 200))
    return np.concatenate([outer * turn, inner * turn[::-1]])
