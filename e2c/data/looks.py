"""What frames look like: how bright the background is, and how much stands out from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2c.data.episodes import Episodes, mean_of
from envs.images import channels_first

MOST_FRAMES = 500
"""So many frames are looked at, evenly spread."""
STANDS_OUT = 0.2
"""A pixel stands out that differs from the background by more than this share of `Looks.peak`."""
SEEN = 0.5
"""A picture was seen if `unlikeness` is below this: most of what it shows stood in its place."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What was found in frames of K planes of H x W pixels; brightness is in [0, 1].

    Attributes:
        background: uint8 ``[K, H, W]``, the median of every pixel over the frames.
        away: float32 ``[K, H, W]``, how much brighter than the background what stands out there is,
            by the median [grey levels]; where nothing does, the median of all that stands out.
        level: the median brightness of the background.
        peak: how far a pixel in a thousand differs from the background at least.
        contrast: the median difference of the pixels that stand out; 0 where none does.
        moving: the mean share of a frame's pixels that stand out.
    """

    background: NDArray[np.uint8]
    away: NDArray[np.float32]
    level: float
    peak: float
    contrast: float
    moving: float


def look_at(episodes: Episodes) -> Looks:
    """Look at the frames of recorded episodes."""
    chosen = np.linspace(0, len(episodes.frames) - 1, MOST_FRAMES).astype(int)
    frames = channels_first(episodes.frames[np.unique(chosen)], episodes.layout.is_colour)
    background = np.median(frames, 0).astype(np.uint8)
    away = frames.astype(np.int16) - background
    distance = np.abs(away)
    peak = float(np.quantile(distance, 0.999))
    stands_out = distance > _least(peak)
    return Looks(
        background=background,
        away=_median_where(away, stands_out),
        level=float(np.median(background)) / 255,
        peak=peak / 255,
        contrast=float(np.median(distance[stands_out])) / 255 if stands_out.any() else 0.0,
        moving=float(stands_out.mean()),
    )


def box_of(frames: NDArray[np.uint8], looks: Looks) -> tuple[int, int, int, int] | None:
    """Return the smallest box around all that stands out: top, bottom, left, right [px].

    Args:
        frames: ``[N, K, H, W]``, like those that were looked at.
        looks: of these.

    Returns:
        The first row and column, and those after the last; None where nothing stands out.
    """
    distance = np.abs(frames.astype(np.int16) - looks.background)
    where = (distance > _least(255 * looks.peak)).any((0, 1))
    if not where.any():
        return None
    rows, columns = (np.flatnonzero(where.any(axis)).tolist() for axis in (1, 0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def unlikeness(episodes: Episodes, picture: NDArray[np.uint8]) -> float:
    """Return how unlike a picture the observation is that is most like it; see `unlikenesses`."""
    return float(unlikenesses(episodes, picture).min())


def unlikenesses(episodes: Episodes, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how unlike a picture each observation is, ``[sum(T_e + 1)]``.

    It is their squared distance over that of an observation from the mean one, on average: 0 where
    they are the same, about 2 where what moves is nowhere in the same place.

    Args:
        episodes: recorded.
        picture: ``[C, H, W]``, like one of their observations, as networks see them.
    """
    mean, away, spread = mean_of(episodes.plane_pieces()), list[NDArray[np.float32]](), 0.0
    for piece in episodes.plane_pieces():
        seen = piece.astype(np.float32)
        away.append(np.square(seen - picture).sum((1, 2, 3)))
        spread += float(np.square(seen - mean).sum())
    return np.concatenate(away).astype(np.float64) / max(spread / len(episodes.first_frames), 1.0)


def _median_where(away: NDArray[np.int16], stands_out: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the median of each pixel over the frames where it stands out, ``[K, H, W]``."""
    of_all = np.median(away[stands_out]) if stands_out.any() else 0
    seen = np.where(stands_out, away, np.nan).astype(np.float32)
    seen[:, ~stands_out.any(0)] = of_all
    return np.nanmedian(seen, 0)


def _least(peak: float) -> float:
    """Return what a pixel that stands out differs by at least, for a `Looks.peak` [grey levels]."""
    return max(STANDS_OUT * peak, 1.0)
