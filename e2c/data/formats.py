"""Recordings that others made, as episodes: what is made of them, and what they must be.

A recording has N frames and, beside them, N - 1 actions, each of which acts between a frame and the
next, or N, of which the last is left out. An observation is F frames, so that of a recording come
T = N - F transitions: the actions before the first whole observation are left out too.

Frames go through `envs.Camera.frame`, as those of a live environment do.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated

import numpy as np
from numpy.typing import NDArray

from e2c.data.episodes import RECORDING, Episodes, pieces
from e2c.data.minari import is_minari, minari_takes
from e2c.data.tables import Floats
from e2c.data.takes import Take, takes_of
from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.options import check_ranges, checked, option, to_dict
from envs import Camera
from envs.camera import resized
from envs.images import PICTURE_SIZE

STEP = 1 / 30
"""The control step [s] where nothing tells it."""
UNEVEN = 0.4
"""Share of a control step by which frames may come too early or too late, as recorders have it."""
UNALIKE = 0.02
"""Share by which the control steps of two takes, or of a take's parts, may differ: films of one
camera do by less."""
ROWS = 8
"""Where so many actions or more only rise in a column, it is no control."""
STRAIGHT = 0.1
"""Share of what it rises by up to which a column of times may be away from a straight line."""
NOISE = 12
"""Grey levels by which equal pictures may differ in a compressed video."""


@dataclass(frozen=True)
class ImportOptions:
    """What is made of a recording."""

    camera: Camera = field(default_factory=Camera)
    env: str = RECORDING
    """Gymnasium id of the environment that was recorded, if training is to go on in it."""
    control_low: tuple[float, ...] = ()
    """Lowest value of each control; left out, what a Minari data set says, or the lowest there."""
    control_high: tuple[float, ...] = ()
    """Highest value of each control; left out, what a Minari data set says, or the highest."""
    dt: float | None = option(None, 1e-6, 1e6)
    """Control step [s], whatever videos tell; left out, that of their frames, or 1/30 s."""


@checked
def import_recording(
    source: Annotated[str | Path, "the path of a recording, or minari:NAME"],
    options: ImportOptions | None = None,
) -> Episodes:
    """Make episodes of a recording, which may be larger than memory: its frames stay on disk.

    Args:
        source: a folder of videos, each with a table of its actions (``a.mp4`` and ``a.csv`` or
            ``a.npy``); or arrays, in an .npz file or as .npy files of a folder: ``frames``,
            uint8 ``[N, h, w]`` or ``[N, h, w, 3]``, ``actions [N, m]``, and ``lengths [E]``,
            frames of each episode, or ``ends``: the index after each episode's last frame, or
            ``[N] bool``, true at each last frame; or a Minari data set, by its folder or as
            ``minari:NAME``.
        options: the camera, the limits of the controls and the control step.

    Raises:
        E2CError: for whatever is missing, cannot be read or does not fit, in one sentence.
    """
    source, options = Path(source), options or ImportOptions()
    camera, kept, size = _checked(options.camera), list[Take](), tuple[int, ...]()
    check_ranges(options)
    with tempfile.TemporaryFile() as file:
        for take in minari_takes(source) if is_minari(source) else takes_of(source):
            N, size = _film(take, camera, size, file)
            _check(take, N, kept[0] if kept else take, options)
            if options.dt is None:
                _check_rate(take, kept[0] if kept else take)
            acted = take.actions[camera.frames - 1 : N - 1]
            kept.append(replace(take, pictures=(), actions=acted, gaps=()))
        frames = np.memmap(file, np.uint8, "r").reshape(-1, *camera.frame_shape)
    _check_motion(frames, camera, source)
    _check_controls(kept, source)
    actions = np.concatenate([take.actions for take in kept]).astype(np.float32)
    low, high = _limits(actions, kept[0].limits, options, source)
    dt, lengths = options.dt or float(kept[0].dt or STEP), [len(take.actions) for take in kept]
    return Episodes(
        frames=frames,
        actions=actions,
        lengths=np.array(lengths, np.int64),
        provenance={
            "env": options.env,
            "parameters": {"dt": dt, "control_low": low, "control_high": high},
            "camera": to_dict(camera),
            PICTURE_SIZE: list(size),
            "episode_steps": max(lengths),
        },
    )


def _checked(camera: Camera) -> Camera:
    """Return a camera that can look at a recording."""
    try:
        camera.check()
    except ValueError as error:
        raise E2CError(str(error)) from None
    if camera.repeat != 1:
        raise E2CError("A recording has its own steps: leave the camera's repeat at 1.")
    if camera.renderer != "own":
        raise E2CError("A recording has its own pictures: leave the camera's renderer out.")
    return camera


def _film(
    take: Take, camera: Camera, size: tuple[int, ...], file: IO[bytes]
) -> tuple[int, tuple[int, ...]]:
    """Append the frames that the camera makes of a take to a file.

    Args:
        take: what was recorded.
        camera: makes frames of its pictures.
        size: height and width of the pictures before, ``()`` if there are none.
        file: to append to.

    Returns:
        The number of frames, and the height and width of all pictures.
    """
    N, low, high = 0, 255, 0
    for picture in take.pictures:
        size = size or picture.shape[:2]
        try:
            frame = camera.frame(resized(picture, size))
        except ValueError as error:
            raise E2CError(f"{take.name} does not fit the camera: {shown(error)}.") from None
        N, low, high = N + 1, min(low, frame.min()), max(high, frame.max())
        file.write(frame.tobytes())
    if low == high:
        raise E2CError(
            f"{take.name} shows nothing at {_pixels(camera)}: every pixel of its {N} frames is "
            f"{low}; leave it out, or take larger frames or another crop."
        )
    return N, size


def _pixels(camera: Camera) -> str:
    return f"{'x'.join(map(str, camera.size))} pixels"


def _check_motion(frames: NDArray[np.uint8], camera: Camera, source: Path) -> None:
    """Raise an E2CError where all frames are alike."""
    first = frames[0].astype(np.int16)
    if all((abs(piece - first) <= NOISE).all() for piece in pieces(frames)):
        raise E2CError(
            f"All frames of {source} are equal at {_pixels(camera)}, up to {NOISE} grey levels; "
            "there is nothing to learn: name a recording in which something moves, a crop that it "
            "is larger in, or larger frames."
        )


def _check(take: Take, N: int, first: Take, options: ImportOptions) -> None:
    """Raise an E2CError unless N frames and the actions of a take fit together and the first."""
    F, rows, m = options.camera.frames, *take.actions.shape
    if rows not in (N - 1, N):
        raise E2CError(
            f"{take.name} has {N} frames and {rows} actions; give one for each frame, or one for "
            "each but the last."
        )
    if N <= F:
        raise E2CError(
            f"{take.name} has {N} frames; an observation has {F}, and at least one more is needed."
        )
    if m != first.actions.shape[1]:
        raise E2CError(
            f"{take.name} has {m} controls and the episodes before it {first.actions.shape[1]}; "
            "give all the same (a table's decimal sign is a point, or a comma where semicolons "
            "separate the columns)."
        )


def _check_rate(take: Take, first: Take) -> None:
    """Raise an E2CError unless a take's frames come at an even rate, like that of the first."""
    step, usual = (float(each.dt or STEP) for each in (take, first))
    if abs(step - usual) > UNALIKE * usual:
        raise E2CError(
            f"{take.name} shows a frame every {_seconds(take)}, and {first.name} every "
            f"{_seconds(first)}; record all at one rate{_TRIGGERED}"
        )
    if take.gaps and not _is_even(np.array(take.gaps, np.float64) / step):
        least, most = (f"{float(gap):.4g} s" for gap in (min(take.gaps), max(take.gaps)))
        raise E2CError(
            f"{take.name} tells of a frame every {_seconds(take)}, and between two of them lie "
            f"from {least} to {most}: it lost frames, or slowed down; record at an even "
            f"rate{_TRIGGERED}"
        )


_TRIGGERED = (
    "; or, where each frame was taken one control step after the last whatever the files say, "
    "give that step in seconds, such as --dt 0.05."
)


def _is_even(gaps: Floats) -> bool:
    """Say whether frames come at an even rate, given the times ``[N - 1]`` between them [dt].

    Of n gaps in a row, every sum must be n, up to `UNEVEN` and a share `UNALIKE` of it. So one lost
    frame is noticed, and a rate that changes; rounded times and a recorder's jitter are allowed.
    """
    late, n = np.concatenate([[0], np.cumsum(gaps - 1)]), np.arange(len(gaps) + 1)
    slow, fast = late - UNALIKE * n, late + UNALIKE * n
    behind = slow - np.minimum.accumulate(slow)
    ahead = np.maximum.accumulate(fast) - fast
    return bool(max(behind.max(), ahead.max()) <= UNEVEN)


def _seconds(take: Take) -> str:
    return f"{float(take.dt or STEP):.4g} s"


def _check_controls(takes: list[Take], source: Path) -> None:
    """Raise an E2CError for a column that holds times, no control.

    Such a column rises with every row of all takes; or, where it is rounded, it never falls and is
    about a straight line in the longest.
    """
    if sum(len(take.actions) for take in takes) < ROWS:
        return
    rises = np.min([np.diff(take.actions, axis=0).min(0, initial=np.inf) for take in takes], 0)
    longest = max((take.actions for take in takes), key=len)
    line = np.linspace(longest[0], longest[-1], len(longest))
    away, span = abs(longest - line).max(0), longest[-1] - longest[0]
    for column in np.flatnonzero((rises > 0) | ((rises == 0) & (away < STRAIGHT * span))):
        raise E2CError(
            f"Column {column} of the actions of {source} only rises, as times or indices do; leave "
            "it out, and keep the controls."
        )


def _limits(
    actions: NDArray[np.float32],
    told: tuple[Floats, Floats] | None,
    options: ImportOptions,
    source: Path,
) -> tuple[list[float], list[float]]:
    """Return the limits of each control: those given, or else told if finite, or else recorded."""
    low, high = actions.min(0), actions.max(0)
    if told is not None and np.isfinite(told).all():
        low, high = told
    for name, given in (("low", options.control_low), ("high", options.control_high)):
        if len(given) not in (0, len(low)):
            raise E2CError(
                f"control_{name} has {len(given)} numbers and {source} has {len(low)} controls; "
                "give one for each."
            )
    low = np.array(options.control_low or low, np.float32)
    high = np.array(options.control_high or high, np.float32)
    for wrong in np.flatnonzero(low >= high):
        raise E2CError(
            f"Control {wrong} of {source} would go from {low[wrong]:g} to {high[wrong]:g}; give "
            "control_low below control_high."
        )
    for outside in np.flatnonzero(((actions < low) | (actions > high)).any(1)):
        raise E2CError(
            f"An action of {source} is {actions[outside].tolist()}, outside the limits "
            f"{low.tolist()} to {high.tolist()}; correct the limits or the recording."
        )
    return low.tolist(), high.tolist()
