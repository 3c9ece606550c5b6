"""Recordings that others made, as episodes: videos with tables of actions, and arrays.

A recording has N frames and, beside them, N - 1 actions, each of which acts between a frame and the
next, or N, of which the last is left out. An observation is F frames, so that of a recording come
T = N - F transitions: the actions before the first whole observation are left out too.

Frames go through `envs.Camera.frame`, as those of a live environment do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from e2c.data.episodes import RECORDING, Episodes
from e2c.data.tables import Floats, check_actions, read_actions
from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.options import option, to_dict
from envs import Camera

VIDEOS = {".mp4": "mp4", ".mov": "mov", ".avi": "avi", ".mkv": "matroska", ".webm": "matroska"}
"""Suffixes of videos, and the containers that they are read as; no other is tried."""
TABLES = (".csv", ".npy")
ARRAYS = ("frames", "actions", "lengths", "ends")
"""Names of the arrays of a recording, in an .npz file or as .npy files of a folder."""
STEP = 1 / 30
"""The control step [s] where nothing tells it."""


@dataclass(frozen=True)
class ImportOptions:
    """What is made of a recording."""

    camera: Camera = field(default_factory=Camera)
    env: str = RECORDING
    """Gymnasium id of the environment that was recorded, if training is to go on in it."""
    control_low: tuple[float, ...] = ()
    """Lowest value of each control; left out, the lowest in the recording."""
    control_high: tuple[float, ...] = ()
    """Highest value of each control; left out, the highest in the recording."""
    dt: float | None = option(None, 1e-6, 1e6)
    """Control step [s]; left out, that of the videos' frames, or a thirtieth of a second."""


@dataclass(frozen=True)
class _Take:
    """One recorded episode: its name, pictures ``[h, w, 3]`` or ``[h, w]``, actions ``[N, m]``."""

    name: str
    pictures: Iterable[NDArray[np.uint8]]
    actions: Floats


def import_recording(source: Path, options: ImportOptions | None = None) -> Episodes:
    """Make episodes of a recording.

    Args:
        source: a folder of videos, each with a table of its actions (``a.mp4`` and ``a.csv`` or
            ``a.npy``); or arrays, in an .npz file or as .npy files of a folder: ``frames``,
            uint8 ``[N, h, w]`` or ``[N, h, w, 3]``, ``actions [N, m]``, and ``lengths [E]``,
            frames of each episode, or ``ends``: the index after each episode's last frame, or
            ``[N] bool``, true at each last frame.
        options: the camera, the limits of the controls and the control step.

    Raises:
        E2CError: for whatever is missing, cannot be read or does not fit, in one sentence.
    """
    options = options or ImportOptions()
    if options.camera.repeat != 1:
        raise E2CError("A recording has its own steps: leave the camera's repeat at 1.")
    if source.is_dir() and not (source / "frames.npy").exists():
        pairs = _pairs(source)
        takes: Iterator[_Take] = map(_video_take, pairs)
        dt = options.dt or _frame_time(pairs[0][0])
    else:
        takes, dt = _array_takes(source), options.dt or STEP
    return _episodes(takes, options, dt, source)


def _episodes(takes: Iterable[_Take], options: ImportOptions, dt: float, source: Path) -> Episodes:
    """Join recorded episodes, and check them together."""
    F, frames, actions = options.camera.frames, list[NDArray[np.uint8]](), list[Floats]()
    for take in takes:
        seen = _seen(take, options.camera)
        N, rows = len(seen), len(take.actions)
        if rows not in (N - 1, N):
            raise E2CError(
                f"{take.name} has {N} frames and {rows} actions; give one for each frame, or one "
                "for each but the last."
            )
        if N <= F:
            raise E2CError(
                f"{take.name} has {N} frames; an observation has {F}, and at least one more is "
                "needed."
            )
        if actions and take.actions.shape[1] != actions[0].shape[1]:
            raise E2CError(
                f"{take.name} has {take.actions.shape[1]} controls and the episodes before it "
                f"{actions[0].shape[1]}; give all the same (a table's decimal sign is a point, or "
                "a comma where semicolons separate the columns)."
            )
        frames.append(seen)
        actions.append(take.actions[F - 1 : N - 1])
    if all((part == frames[0][0]).all() for part in frames):
        raise E2CError(f"All frames of {source} are equal, so that there is nothing to learn.")
    joined = np.concatenate(actions)
    low, high = _limits(joined, options, source)
    parameters = {"dt": dt, "control_low": low, "control_high": high}
    return Episodes(
        frames=np.concatenate(frames),
        actions=joined,
        lengths=np.array([len(part) for part in actions], np.int64),
        provenance={
            "env": options.env,
            "parameters": parameters,
            "camera": to_dict(options.camera),
        },
    )


def _seen(take: _Take, camera: Camera) -> NDArray[np.uint8]:
    """Return the frames ``[N, H, W]`` or ``[N, H, W, 3]`` that the camera makes of pictures."""
    try:
        camera.check()
        frames = [_frame(picture, camera) for picture in take.pictures]
    except ValueError as error:
        raise E2CError(f"{take.name} does not fit the camera: {shown(error)}.") from None
    if not frames:
        raise E2CError(f"{take.name} has no frames.")
    seen = np.stack(frames)
    if seen.min() == seen.max():
        raise E2CError(
            f"{take.name} shows nothing: every pixel of its {len(seen)} frames is {seen.min()}."
        )
    return seen


def _frame(picture: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Return the frame of a picture; one that is a frame already stays as it is."""
    if camera.crop is None and not camera.colour and picture.shape == camera.size:
        return picture
    flat = picture[..., None] if picture.ndim == 2 else picture
    return camera.frame(np.repeat(flat, 3, 2) if flat.shape[2] == 1 else np.ascontiguousarray(flat))


def _limits(
    actions: Floats, options: ImportOptions, source: Path
) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest value of each control: those given, or those recorded."""
    m, bounds = actions.shape[1], list[Floats]()
    for name, given in (("low", options.control_low), ("high", options.control_high)):
        if len(given) not in (0, m):
            raise E2CError(
                f"control_{name} has {len(given)} numbers and {source} has {m} controls; give one "
                "for each."
            )
        recorded = actions.min(0) if name == "low" else actions.max(0)
        bounds.append(np.array(given, np.float32) if given else recorded)
    low, high = bounds
    for wrong in np.flatnonzero(low >= high):
        raise E2CError(
            f"Control {wrong} of {source} would go from {low[wrong]:g} to {high[wrong]:g}; give "
            "control_low below control_high."
        )
    outside = np.flatnonzero(((actions < low) | (actions > high)).any(1))
    if len(outside):
        raise E2CError(
            f"An action of {source} is {actions[outside[0]].tolist()}, outside the limits "
            f"{low.tolist()} to {high.tolist()}; correct the limits or the recording."
        )
    return low.tolist(), high.tolist()


# ------------------------------------------------------------- videos


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return the videos of a folder with their tables, by name."""
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)
    if not videos:
        raise E2CError(
            f"{folder} holds no videos ({', '.join(VIDEOS)}) and no frames.npy; name a folder that "
            "does."
        )
    return [(video, _table_of(video)) for video in videos]


def _table_of(video: Path) -> Path:
    """Return the table of a video's actions."""
    found = [video.with_suffix(suffix) for suffix in TABLES if video.with_suffix(suffix).exists()]
    if len(found) != 1:
        what = "no table of actions" if not found else "two tables of actions"
        raise E2CError(
            f"{video} has {what}; put one beside it: {video.stem}.csv or {video.stem}.npy."
        )
    return found[0]


def _video_take(pair: tuple[Path, Path]) -> _Take:
    video, table = pair
    return _Take(str(video), _pictures(video), read_actions(table))


@contextmanager
def _opened(video: Path) -> Iterator[InputContainer]:
    """Open a video to decode it.

    Raises:
        E2CError: when that, or what is done meanwhile, fails.
    """
    try:
        container = VIDEOS[video.suffix.lower()]
        with video.open("rb") as file, av.open(file, "r", format=container) as film:
            yield film
    except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
        raise E2CError(
            f"{video} cannot be decoded ({shown(error)}); copy or convert it again."
        ) from None


def _pictures(video: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures ``[h, w, 3]`` of a video, one by one."""
    with _opened(video) as film:
        for frame in film.decode(video=0):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _frame_time(video: Path) -> float:
    """Return the time of a video's frame [s]."""
    with _opened(video) as film:
        rate = film.streams.video[0].average_rate
    return float(1 / rate) if rate else STEP


# ------------------------------------------------------------- arrays


def _array_takes(source: Path) -> Iterator[_Take]:
    """Yield the episodes of arrays."""
    found = _arrays(source)
    frames, actions = found["frames"], check_actions(found["actions"], str(source))
    if frames.dtype != np.uint8 or not (
        frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] in (1, 3))
    ):
        raise E2CError(
            f"The frames in {source} are {frames.dtype} of shape {list(frames.shape)}; they must "
            "be uint8 [N, h, w], or [N, h, w, 3] in colour."
        )
    lengths = _lengths(found, len(frames), source)
    between = len(actions) == len(frames) - len(lengths)
    if not between and len(actions) != len(frames):
        raise E2CError(
            f"{source} has {len(frames)} frames in {len(lengths)} episodes and {len(actions)} "
            "actions; give one for each frame, or one for each but an episode's last."
        )
    first = 0
    for e, N in enumerate(lengths):
        begin, count = (first - e, N - 1) if between else (first, N)
        yield _Take(
            f"Episode {e} of {source}",
            frames[first : first + N],
            actions[begin : begin + count],
        )
        first += N


def _arrays(source: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file, or of a folder of .npy files, where they stay on disk."""
    try:
        if source.is_dir():
            paths = {name: source / f"{name}.npy" for name in ARRAYS}
            found = {
                name: np.load(path, mmap_mode="r", allow_pickle=False)
                for name, path in paths.items()
                if path.exists()
            }
        else:
            with np.load(source, allow_pickle=False) as archive:
                found = {name: archive[name] for name in ARRAYS if name in archive}
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise E2CError(f"{source} cannot be read as arrays ({shown(error)}).") from None
    if missing := [name for name in ARRAYS[:2] if name not in found]:
        raise E2CError(
            f"{source} has no array {missing[0]!r}; it needs frames and actions, and lengths or "
            "ends of the episodes."
        )
    return found


def _lengths(found: dict[str, NDArray[Any]], N: int, source: Path) -> Sequence[int]:
    """Return the frames of each episode."""
    if "lengths" in found:
        lengths = found["lengths"]
    elif "ends" in found:
        ends = found["ends"]
        lengths = np.diff(np.flatnonzero(ends) + 1 if ends.dtype == bool else ends, prepend=0)
    else:
        lengths = np.array([N])
    if (
        lengths.ndim != 1
        or lengths.dtype.kind not in "iu"
        or lengths.sum() != N
        or min(lengths) < 1
    ):
        raise E2CError(
            f"The episodes of {source} do not add up: it has {N} frames, and its lengths or ends "
            f"tell of {shown(lengths.tolist())}."
        )
    return [int(length) for length in lengths]
