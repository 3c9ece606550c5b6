"""From a state to its pictures: pure functions, on the processor, without any graphics context."""

import math

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


def scene(angle, torque, *, goal_half_width, length=1.0, size=480):
    raise NotImplementedError
