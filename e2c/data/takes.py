"""Takes: what others recorded, one episode after another, as it is read from their files."""

from __future__ import annotations

import glob
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from e2c.data.tables import Floats, check_actions, read_actions
from e2c.errors import E2CError
from e2c.files.arrays import MISHAPS, member
from e2c.files.untrusted import ordinary_size, shown

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEOS = {".mp4": "mp4", ".mov": "mov", ".avi": "avi", ".mkv": "matroska", ".webm": "matroska"}
"""Suffixes of videos, and the containers that they are read as; no other is tried."""
TABLES = (".csv", ".npy")
ROUNDED = Fraction(1, 1000)
"""Seconds to which many videos round the times of their pictures."""
ARRAYS = ("frames", "actions", "lengths", "ends")
"""Names of the arrays of a recording, in an .npz file or as .npy files of a folder."""


@dataclass(frozen=True, eq=False)
class Take:
    """One recorded episode.

    Attributes:
        name: what messages call it.
        pictures: uint8 ``[h, w, 3]``, or grey ``[h, w]``; each is read when it is asked for.
        actions: ``[N, m]``, one for each picture or for each but the last.
        dt: seconds between two pictures on average, where they tell it.
        gaps: the times between each picture and the next [s], where they tell them.
        limits: lowest and highest value of each control, ``[m]`` both, where they tell them.
    """

    name: str
    pictures: Iterable[NDArray[np.uint8]]
    actions: Floats
    dt: Fraction | None = None
    gaps: Sequence[Fraction] = ()
    limits: tuple[Floats, Floats] | None = None


def takes_of(source: Path) -> Iterator[Take]:
    """Yield the episodes of a recording; see `e2c.data.formats.import_recording`.

    Raises:
        E2CError: for what is missing, cannot be read or does not fit.
    """
    if not source.exists():
        raise E2CError(
            f"There is no {source}; name the folder of a recording, arrays in an .npz file, or "
            "minari:NAME."
        )
    if source.is_file() and source.suffix.lower() != ".npz":
        raise E2CError(
            f"{source} is a single file; name the folder of a recording, or arrays in an .npz file."
        )
    if source.is_dir() and not (source / "frames.npy").exists():
        names = (path for path in source.iterdir() if not path.name.startswith("."))
        videos = sorted(path for path in names if path.suffix.lower() in VIDEOS)
        if not videos:
            raise E2CError(
                f"{source} holds no videos ({', '.join(VIDEOS)}) and no frames.npy; name a folder "
                "that does."
            )
        return (_video_take(video) for video in videos)
    return _array_takes(source)


# ------------------------------------------------------------- videos


def _video_take(video: Path) -> Take:
    """Return the episode that a video shows and the table beside it tells."""
    beside = video.parent.glob(f"{glob.escape(video.stem)}.*")
    tables = [path for path in beside if path.stem == video.stem and path.suffix.lower() in TABLES]
    if len(tables) != 1:
        raise E2CError(
            f"{video} has {'two tables' if tables else 'no table'} of actions; put one beside it: "
            f"{video.stem}.csv or {video.stem}.npy."
        )
    actions = read_actions(tables[0])
    with _opened(video) as film:
        rate = film.streams.video[0].average_rate
        gaps = _gaps(film)
    return Take(str(video), _pictures(video), actions, _step(rate, gaps), gaps)


def _step(rate: Fraction | None, gaps: Sequence[Fraction]) -> Fraction | None:
    """Return a take's ``dt``, given a header's frame rate and its ``gaps``.

    Some recorders write no rate, or always the same; players go by the times of the pictures. The
    header's is exact where the times are rounded, so it is taken where this alone parts them.
    """
    told = 1 / rate if rate else None
    mean = sum(gaps, Fraction()) / max(len(gaps), 1)
    if mean and (told is None or abs(told - mean) * len(gaps) > ROUNDED):
        told = mean
    return told


def _gaps(film: InputContainer) -> list[Fraction]:
    """Return the times between two pictures and the next [s]; none if a video tells none."""
    packets = [packet for packet in film.demux(video=0) if packet.size]
    times = sorted(p.pts * p.time_base for p in packets if p.pts is not None and p.time_base)
    if len(times) < len(packets):
        return []
    return [after - before for before, after in itertools.pairwise(times)]


@contextmanager
def _opened(video: Path) -> Iterator[InputContainer]:
    """Open a video to decode it.

    Raises:
        E2CError: when that, or what is done meanwhile, fails.
    """
    import av  # see `e2c.report.style`

    try:
        container = VIDEOS[video.suffix.lower()]
        ordinary_size(video)
        with video.open("rb") as file, av.open(file, "r", format=container) as film:
            yield film
    except (av.error.FFmpegError, OSError, IndexError, TypeError, ValueError) as error:
        raise E2CError(
            f"{video} cannot be decoded ({shown(error)}); copy or convert it again."
        ) from None


def _pictures(video: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures ``[h, w, 3]`` of a video, one by one, turned as players turn them."""
    with _opened(video) as film:
        for frame in film.decode(video=0):
            picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            yield np.rot90(picture, frame.rotation // 90)


# ------------------------------------------------------------- arrays


def _array_takes(source: Path) -> Iterator[Take]:
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
    pictures = frames[..., 0] if frames.shape[3:] == (1,) else frames
    lengths = _lengths(found, len(frames), source)
    between = len(actions) == len(frames) - len(lengths)
    if not between and len(actions) != len(frames):
        raise E2CError(
            f"{source} has {len(frames)} frames in {len(lengths)} episodes and {len(actions)} "
            "actions; give one for each frame, or one for each but an episode's last."
        )
    first = action = 0
    for e, N in enumerate(lengths):
        rows = N - between
        yield Take(
            f"Episode {e} of {source}", pictures[first : first + N], actions[action : action + rows]
        )
        first, action = first + N, action + rows


def _arrays(source: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file or of a folder; what is not packed stays on disk."""
    found: dict[str, NDArray[Any]]
    try:
        if source.is_dir():
            paths = {name: source / f"{name}.npy" for name in ARRAYS}
            paths = {name: path for name, path in paths.items() if path.exists()}
            for path in paths.values():
                ordinary_size(path)
            found = {name: npy.open_memmap(path, mode="r") for name, path in paths.items()}
        else:
            ordinary_size(source)
            with zipfile.ZipFile(source) as archive:
                there = archive.namelist()
                found = {name: member(archive, name) for name in ARRAYS if f"{name}.npy" in there}
    except (*MISHAPS, ValueError) as error:
        raise E2CError(f"{source} cannot be read as arrays ({shown(error)}).") from None
    for missing in [name for name in ("frames", "actions") if name not in found]:
        raise E2CError(
            f"{source} has no array {missing!r}; it needs frames and actions, and lengths or ends "
            "of the episodes."
        )
    return found


def _lengths(found: dict[str, NDArray[Any]], N: int, source: Path) -> list[int]:
    """Return how many frames each episode has."""
    name = "lengths" if "lengths" in found else "ends"
    told = found.get(name, np.array([N]))
    kinds, wanted = ("iu", "") if name == "lengths" else ("iub", ", or bool [N]")
    if told.ndim != 1 or told.dtype.kind not in kinds:
        raise E2CError(
            f"The {name} in {source} are {told.dtype} of shape {list(told.shape)}; they must be "
            f"whole numbers [E], one for each episode{wanted}."
        )
    lengths = told
    if name == "ends":
        lengths = np.diff(np.flatnonzero(told) + 1 if told.dtype == bool else told, prepend=0)
    if lengths.size == 0 or lengths.min() < 1 or lengths.sum() != N:
        raise E2CError(
            f"The episodes of {source} do not add up: it has {N} frames, and its lengths or ends "
            f"tell of {shown(lengths.tolist())}."
        )
    return [int(length) for length in lengths]
