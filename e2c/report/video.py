"""A film as a file: H.264 in an .mp4, which every browser plays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from e2c.files.whole import write_whole
from e2c.report.pens import Picture

PRESET = "veryfast"
"""Preset of x264: slower presets make flat drawings no smaller, and take twice the time."""


def write_video(path: str | Path, frames: Iterable[Picture], fps: float) -> None:
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
    path = Path(path)
    if path.suffix != ".mp4":
        raise ValueError(f"A video's name must end in .mp4; got {path.name!r}.")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number of pictures per second; got {fps}.")
    write_whole(path, lambda aside: _encode(aside, frames, fps))


def _encode(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """Write the video at ``path``, in place."""
    import av  # see `e2c.report.style`

    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("A video needs at least one picture; got none.")
    width, height = _video_size(first)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": PRESET}
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
