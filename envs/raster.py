"""The camera: from positions to grey frames, by pure functions on the processor.

A pixel's brightness falls from 255 to 0 over one pixel of distance across an outline, so that any
move, however small, changes brightness. A frame is the same in any batch, bit for bit. A thing
whose position is not finite is not drawn.
"""

import math

import numpy as np
from numpy.typing import NDArray

_CHUNK = 64  # frames drawn together: few enough for their temporaries to stay in the cache


def rods(
    angles: NDArray[np.float64], *, length: float, radius: float, size: int
) -> NDArray[np.uint8]:
    """Draw one white rod on black for every angle.

    The rod is a capsule: every point within ``radius`` of the segment from the frame's centre to
    ``length`` away from it.

    A rod from the centre stays within one quadrant and a margin of its radius. So each rod is drawn
    in the first quadrant, a third of the pixels, and then flipped into its own quadrant. Mirrored
    angles give mirrored frames, bit for bit.

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


def capsules(
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    *,
    radius: float,
    shape: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw, in each of N frames, the union of S white capsules on black.

    A capsule is every point within ``radius`` [px] of a segment. What lies outside is cut off.

    Args:
        starts: of the segments, ``[N, S, 2]``: (row, column) [px] from the upper left corner.
        ends: of the segments, likewise.
        radius: half the thickness [px].
        shape: height and width of a frame [px].

    Returns:
        ``uint8 [N, *shape]``.
    """
    frames = np.zeros((len(starts), *shape), np.uint8)
    starts, ends = _findable(starts), _findable(ends)
    for first in range(0, len(starts), _CHUNK):
        part = slice(first, first + _CHUNK)
        for s in range(starts.shape[1]):
            _add_capsule(frames[part], starts[part, s], ends[part, s], radius)
    return frames


def _findable(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move positions [px] that are not finite far outside of every frame."""
    far = -1e6
    return np.where(np.abs(positions) < -far, positions, far)


def _add_capsule(
    frames: NDArray[np.uint8],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
) -> None:
    """Lay a capsule from ``start [N, 2]`` to ``end [N, 2]`` over each of ``frames [N, H, W]``."""
    reach = radius + 0.5
    low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
    corner, rows, columns = _window(low, (high - low).max(axis=0), frames.shape[1:])
    brightness = _capsule_brightness(rows, columns, start, end - start, reach)
    _overlay(frames, corner, brightness)


def _window(
    low: NDArray[np.float64], extent: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return patches that hold all pixels of a frame from ``low [N, 2]`` to ``low + extent [2]``.

    All have the same size and are inside frames of ``shape``. Returned are their upper left corners
    ``[N, 2]``, rows ``[N, P]`` and columns ``[N, Q]``.
    """
    size = np.minimum(np.ceil(extent).astype(int) + 1, shape)
    corner = np.clip(np.floor(low).astype(int), 0, shape - size)
    return corner, corner[:, :1] + np.arange(size[0]), corner[:, 1:] + np.arange(size[1])


def _overlay(
    frames: NDArray[np.uint8], corner: NDArray[np.int64], patches: NDArray[np.uint8]
) -> None:
    """Lay ``patches [N, P, Q]`` over ``frames [N, H, W]``; the brighter of both is seen."""
    height, width = patches.shape[1:]
    for frame, (top, left), patch in zip(frames, corner, patches, strict=True):
        under = frame[top : top + height, left : left + width]
        np.maximum(under, patch, out=under)


def _capsule_brightness(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    start: NDArray[np.float64],
    along: NDArray[np.float64],
    reach: float,
) -> NDArray[np.uint8]:
    """Return the brightness ``[N, P, Q]`` of pixels ``rows [N, P]`` and ``columns [N, Q]``.

    The squared distance of a point p to the segment ``along`` is ``|p|² - 2 t p·d + t²``, with d
    the unit vector and t the projection ``p·d`` held within the segment.
    """
    down = (rows + 0.5 - start[:, :1]).astype(np.float32)
    right = (columns + 0.5 - start[:, 1:]).astype(np.float32)
    length = np.sqrt((along**2).sum(axis=1))
    unit = (along / np.maximum(length, 1e-9)[:, None]).astype(np.float32)
    distance = (down * unit[:, :1])[:, :, None] + (right * unit[:, 1:])[:, None, :]
    t = np.clip(distance, 0.0, length.astype(np.float32)[:, None, None])
    distance *= -2.0
    distance += t
    distance *= t
    distance += (down**2)[:, :, None]
    distance += (right**2)[:, None, :]
    np.sqrt(np.maximum(distance, 0.0, out=distance), out=distance)
    brightness = np.subtract(np.float32(reach), distance, out=distance)
    np.clip(brightness, 0.0, 1.0, out=brightness)
    brightness *= 255.0
    brightness += 0.5
    return brightness.astype(np.uint8)


def boxes(
    centres: NDArray[np.float64], *, half: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw a white upright rectangle on black in each of N frames.

    A pixel is as bright as the share of it that the rectangle covers.

    Args:
        centres: ``[N, 2]``: (row, column) [px] from the upper left corner.
        half: half the rectangle's height and width [px].
        shape: height and width of a frame [px].

    Returns:
        ``uint8 [N, *shape]``.
    """
    frames = np.zeros((len(centres), *shape), np.uint8)
    centres = _findable(centres)
    corner, *pixels = _window(centres - half, 2 * np.array(half), shape)
    rows, columns = (_overlap(centres[:, axis, None], half[axis], pixels[axis]) for axis in (0, 1))
    covered = 255.0 * rows[:, :, None] * columns[:, None, :] + 0.5
    _overlay(frames, corner, covered.astype(np.uint8))
    return frames


def _overlap(
    centre: NDArray[np.float64], half: float, pixel: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the share of each ``pixel [N, P]`` that is within ``half`` of ``centre [N, 1]``."""
    inside = np.minimum(centre + half, pixel + 1) - np.maximum(centre - half, pixel)
    return np.clip(inside, 0.0, 1.0)
