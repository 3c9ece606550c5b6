"""Episodes: the one class for what was recorded.

`Episodes` holds E episodes of any lengths, one after another. Episode ``e`` with ``T_e``
transitions has ``T_e + F`` frames, ``T_e`` actions and ``T_e + 1`` of whatever belongs to a moment.
F frames make an observation: ``x_t`` is ``frames[t : t + F]``, and ``u_t`` leads from it to
``x_{t+1}``. Frames and actions are all that training sees. States, rewards and the goal region are
there only where the world tells them, and only for pictures and scores.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from e2c.errors import E2CError
from e2c.files import arrays
from e2c.files.untrusted import brief, parse_json, shown
from envs.images import CHANNELS, ImageLayout

T = TypeVar("T", bound=np.generic)
SCHEMA = "e2c-episodes-2"
"""Name and version of the file format."""
OLDER = "e2c-dataset-1"
"""The format before: grey frames and states, nothing else. It is still read."""
RECORDING = "recording"
"""Stands for the environment where there is none: episodes that others recorded."""
PIECE = 128
"""Rows of an array that are looked at together, where it may be more than memory holds."""
_ALWAYS: dict[str, arrays.Kind] = {
    "frames": ("uint8", (3, 4)),
    "actions": ("float32", 2),
    "lengths": ("int64", 1),
}
_OPTIONAL: dict[str, arrays.Kind] = {
    "states": ("float64", 2),
    "rewards": ("float64", 1),
    "in_goal": ("bool", 1),
    "goals": ("uint8", (4, 5)),
    "terminated": ("bool", 1),
}
_HASHED = ("frames", "actions", "states", "lengths", "rewards", "in_goal", "goals", "terminated")
"""The order in which arrays enter the hash; an older file has the first four."""
_REMEDY = "make it anew with e2c-collect, or of your own videos or arrays with e2c-import"


@dataclass(frozen=True, eq=False)
class Episodes:
    """Recorded episodes and where they came from.

    Attributes:
        frames: uint8 ``[sum(T_e + F), H, W]`` or, in colour, ``[sum(T_e + F), H, W, 3]``.
        actions: float32 ``[sum(T_e), m]``, as they acted: within the limits, in the world's unit.
        lengths: int64 ``[E]``, the ``T_e``.
        states: float64 ``[sum(T_e + 1), n]``, the true states; or None.
        rewards: float64 ``[sum(T_e)]``; or None.
        in_goal: bool ``[sum(T_e + 1)]``, whether the system was in the goal region; or None.
        goals: uint8 ``[E, F, H, W]`` or ``[E, F, H, W, 3]``, the observation that each episode was
            to reach; or None.
        terminated: bool ``[E]``, whether the world ended the episode; or None.
        provenance: what made it: environment id and parameters, seed, controller, versions.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    lengths: NDArray[np.int64]
    states: NDArray[np.float64] | None = None
    rewards: NDArray[np.float64] | None = None
    in_goal: NDArray[np.bool_] | None = None
    goals: NDArray[np.uint8] | None = None
    terminated: NDArray[np.bool_] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """E, the number of episodes."""
        return len(self.lengths)

    @property
    def transitions(self) -> int:
        """Number of transitions ``(x_t, u_t, x_{t+1})``."""
        return int(self.lengths.sum())

    @property
    def frames_per_observation(self) -> int:
        """F."""
        return (len(self.frames) - self.transitions) // max(len(self), 1)

    @property
    def layout(self) -> ImageLayout:
        """How the images of a stacked observation ``[F, H, W]`` or ``[F, H, W, 3]`` lie."""
        return ImageLayout((self.frames_per_observation, *self.frames.shape[1:]))

    def frame_rows(self, e: int) -> slice:
        """Return which of the `frames` are those of episode ``e``."""
        return self._rows(e, self.frames_per_observation)

    def action_rows(self, e: int) -> slice:
        """Return which of the `actions` (and `rewards`) are those of episode ``e``."""
        return self._rows(e, 0)

    def moment_rows(self, e: int) -> slice:
        """Return which of the moments (`states`, `in_goal`, observations) are of episode ``e``."""
        return self._rows(e, 1)

    def _rows(self, e: int, more: int) -> slice:
        """Return the rows of episode ``e`` where each has ``more`` rows than transitions."""
        T = int(self.lengths[e])
        start = int(self._ends[e]) - T + more * e
        return slice(start, start + T + more)

    @functools.cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths)

    @functools.cached_property
    def first_frames(self) -> NDArray[np.int64]:
        """Of every observation, which of the `frames` is the oldest: ``[sum(T_e + 1)]``."""
        episode = np.repeat(np.arange(len(self)), self.lengths + 1)
        return np.arange(len(episode)) + (self.frames_per_observation - 1) * episode

    def observations(self, which: slice = slice(None)) -> NDArray[np.uint8]:
        """Return observations, of all ``sum(T_e + 1)``: ``[N, F, H, W]``, or with 3 channels."""
        rows = self.first_frames[which, None] + np.arange(self.frames_per_observation)
        return self.frames[rows]

    def planes(self, which: slice = slice(None)) -> NDArray[np.uint8]:
        """Return observations as networks see them: ``[N, C, H, W]``."""
        return self.layout.to_planes(self.observations(which))

    def plane_pieces(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all observations as networks see them, ``[N, C, H, W]``, a piece at a time."""
        for first in range(0, len(self.first_frames), PIECE):
            yield self.planes(slice(first, first + PIECE))

    def goal_planes(self) -> NDArray[np.uint8] | None:
        """Return `goals` as networks see them, ``[E, C, H, W]``."""
        return None if self.goals is None else self.layout.to_planes(self.goals)

    def split(self) -> Iterator[Episodes]:
        """Yield the episodes one by one."""
        for e in range(len(self)):
            moments, steps = self.moment_rows(e), self.action_rows(e)
            yield Episodes(
                frames=self.frames[self.frame_rows(e)],
                actions=self.actions[steps],
                lengths=self.lengths[e : e + 1],
                states=_part(self.states, moments),
                rewards=_part(self.rewards, steps),
                in_goal=_part(self.in_goal, moments),
                goals=_part(self.goals, slice(e, e + 1)),
                terminated=_part(self.terminated, slice(e, e + 1)),
                provenance=self.provenance,
            )

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 over the shapes, the contents and the provenance, as they are at first or saved.

        Whoever changes the arrays in place gets the hash of the changed ones from the next `save`.
        """
        digest = hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode())
        for name, array in self._arrays().items():
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the episodes to ``path``, whole or not at all; its folder is made if need be.

        Raises:
            E2CError: when its name does not end in .npz, or `load` would refuse the file: an array
                is of another type or shape than it is to be, holds numbers that are not finite or
                contradicts the lengths, or the provenance names no ``env`` or is not plain JSON.
            OSError: when it cannot be written.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise E2CError(f"Episodes cannot be saved as {path}; its name must end in .npz.")
        if fault := _provenance_fault(self.provenance) or _contradiction(self):
            raise E2CError(
                f"{path} was not written, since it would be refused when it is read: {fault}; "
                "correct this first (help(e2c.Episodes) says what episodes hold)."
            )
        vars(self).pop("content_hash", None)  # since the arrays may have been changed in place
        header = {"schema": SCHEMA, "sha256": self.content_hash, "provenance": self.provenance}
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays.write(path, self._arrays(), header)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are there, by their names."""
        found = {name: getattr(self, name) for name in _HASHED}
        return {name: array for name, array in found.items() if array is not None}


def pieces(array: NDArray[T]) -> Iterator[NDArray[T]]:
    """Cut an array along its first axis, for what may be more than memory holds."""
    return (array[begin : begin + PIECE] for begin in range(0, len(array), PIECE))


def mean_of(parts: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the mean ``[...]`` of all rows of the ``parts [N, ...]``, none of which is kept."""
    total, count = np.zeros((), np.int64), 0
    for part in parts:
        total, count = total + part.sum(0, dtype=np.int64), count + len(part)
    return (total / count).astype(np.float32)


def load(path: str | Path) -> Episodes:
    """Read and verify a file of episodes; nothing in it is ever executed.

    Where the file is not packed, as a large one is not, the frames stay on disk (`numpy.memmap`).

    Raises:
        E2CError: when the file is missing, cut off, edited or of another kind, with the reason.
    """
    path = Path(path)
    _check_there(path)
    header, found = arrays.read(path, _ALWAYS, _REMEDY, optional=_OPTIONAL)
    episodes = Episodes(**found, provenance=_provenance(path, header))
    if episodes.content_hash != header.get("sha256"):
        raise _refused(path, "its contents do not match its hash, so it was damaged or edited")
    if contradiction := _contradiction(episodes):
        raise _refused(path, contradiction)
    return episodes


def read_provenance(path: Path) -> dict[str, Any]:
    """Read what made a file of episodes; they stay unread.

    Raises:
        E2CError: as `load`.
    """
    _check_there(path)
    return _provenance(path, arrays.read_header(path, _REMEDY))


def _check_there(path: Path) -> None:
    if not path.exists():
        raise E2CError(
            f"There is no file {path}; e2c-collect --out {path} records one, and e2c-import makes "
            "one of your own videos or arrays."
        )
    if path.is_dir():
        raise E2CError(
            f"{path} is a folder, not a file of episodes (.npz); e2c-import {path} --out own.npz "
            "makes one of the videos or arrays in it."
        )


def _provenance(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """Return what made the episodes of a file, by its header."""
    if header.get("schema") not in (SCHEMA, OLDER):
        schema = brief(header.get("schema"))
        raise _refused(path, f"its schema is {schema} and this version reads {SCHEMA!r}")
    provenance: Any = header.get("provenance")
    if fault := _provenance_fault(provenance):
        raise _refused(path, fault)
    return dict(provenance)


def _provenance_fault(provenance: Any) -> str | None:
    """Say why a file cannot keep a provenance as it is, or None."""
    if not isinstance(provenance, dict) or not isinstance(provenance.get("env"), str):
        return f"its provenance is {brief(provenance)}, which needs the id of an environment: 'env'"
    try:
        text = json.dumps(provenance, sort_keys=True)
        kept = json.dumps(parse_json(text), sort_keys=True) == text
        reason = "a key is no text"
    except (TypeError, ValueError, RecursionError) as error:
        kept, reason = False, shown(error)
    return None if kept else f"its provenance is not plain JSON whose keys are texts ({reason})"


def _array_fault(episodes: Episodes) -> str | None:
    """Say which array is not what a file of episodes holds, or None."""
    for name, (kind, dimensions) in (_ALWAYS | _OPTIONAL).items():
        array: Any = getattr(episodes, name)
        if array is None and name in _OPTIONAL:
            continue
        if not isinstance(array, np.ndarray):
            return f"{name} is {brief(array)}, which is no NumPy array"
        allowed = (dimensions,) if isinstance(dimensions, int) else dimensions
        if array.dtype != kind or array.ndim not in allowed:
            wanted = f"{kind} with {' or '.join(map(str, allowed))}"
            return f"{name} is {array.dtype} with {array.ndim} dimensions, and must be {wanted}"
        if array.dtype.kind == "f" and (wrong := int((~np.isfinite(array)).sum())):
            return f"{name} holds {wrong} numbers that are not finite"
    return None


def _contradiction(episodes: Episodes) -> str | None:
    """Say which array is of a wrong kind, or how the arrays contradict one another, or None."""
    if fault := _array_fault(episodes):
        return fault
    lengths, E = episodes.lengths, len(episodes)
    if E == 0 or lengths.min() < 1 or lengths.max() > len(episodes.actions):
        return "it has no episodes, or their lengths are not possible"
    steps, F = episodes.transitions, episodes.frames_per_observation
    wanted = {"actions": steps, "frames": steps + F * E, "states": steps + E, "rewards": steps}
    wanted |= {"in_goal": steps + E, "goals": E, "terminated": E}
    for name, count in wanted.items():
        array = getattr(episodes, name)
        if array is not None and len(array) != count:
            return f"{name} has {len(array)} rows where the lengths of its episodes ask for {count}"
    if F < 1:
        return "it has less than one frame for an observation"
    if episodes.frames.ndim == 4 and episodes.frames.shape[-1] != CHANNELS:
        return f"its frames are of shape {list(episodes.frames.shape)}, not [N, H, W, 3]"
    if episodes.goals is not None and episodes.goals.shape[1:] != episodes.layout.shape:
        return f"its goals are of shape {list(episodes.goals.shape)}, not those of observations"
    return None


def join(parts: Sequence[Episodes]) -> Episodes:
    """Join episodes of one world; the provenance lists theirs.

    Optional arrays are kept where all parts have them. A single part is returned as it is.
    """
    if len(parts) == 1:
        return parts[0]
    found = {name: [getattr(part, name) for part in parts] for name in _HASHED}
    joined = {
        name: np.concatenate(pieces)
        for name, pieces in found.items()
        if all(piece is not None for piece in pieces)
    }
    sources = [{**part.provenance, "sha256": part.content_hash} for part in parts]
    return Episodes(**joined, provenance={"env": parts[0].provenance.get("env"), "from": sources})


def _part(array: NDArray[Any] | None, rows: slice) -> Any:
    return None if array is None else array[rows]


def _refused(path: Path, reason: str) -> E2CError:
    return E2CError(f"{path} was refused: {reason}; {_REMEDY}.")
