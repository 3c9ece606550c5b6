"""Recorded rollouts: kept as uint8 frames in memory, written to one checked file, cut into windows.

A `Dataset` holds episodes of any length one after another. Episode ``e`` with ``T_e`` transitions
owns ``T_e + C`` frames, ``T_e`` controls and ``T_e + 1`` states. C frames make an observation:
``x_t`` is ``frames[t : t + C]``, and ``u_t`` leads from it to ``x_{t+1}``. States are there for
pictures and scores; `Windows`, which is all that training sees, does not have them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.errors import E2CError
from e2c.files import arrays
from e2c.files.untrusted import brief

SCHEMA = "e2c-dataset-1"
_ARRAYS = {"frames": ("uint8", 3), "actions": ("float32", 2), "states": ("float64", 2)}
_ARRAYS |= {"lengths": ("int64", 1)}
_REMEDY = "collect it again with e2c-collect"


@dataclass(frozen=True)
class Dataset:
    """Episodes and where they came from.

    Attributes:
        frames: uint8 ``[sum(T_e + C), H, W]``.
        actions: float32 ``[sum(T_e), m]``, in the task's unit.
        states: float64 ``[sum(T_e + 1), n]``.
        lengths: int64 ``[E]``, the ``T_e``.
        provenance: what made it: environment id and parameters, seed, controller, versions.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    states: NDArray[np.float64]
    lengths: NDArray[np.int64]
    provenance: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_arrays(
        frames: NDArray[np.uint8],
        actions: NDArray[np.float32],
        states: NDArray[np.float64],
        provenance: dict[str, Any],
    ) -> Dataset:
        """Take E episodes of equal length: ``[E, T+C, H, W]``, ``[E, T, m]``, ``[E, T+1, n]``."""
        E, T = actions.shape[:2]
        return Dataset(
            frames.reshape(-1, *frames.shape[2:]),
            actions.reshape(E * T, -1),
            states.reshape(E * (T + 1), -1),
            np.full(E, T, np.int64),
            provenance,
        )

    @property
    def transitions(self) -> int:
        """Number of transitions ``(x_t, u_t, x_{t+1})``."""
        return int(self.lengths.sum())

    @property
    def frames_per_observation(self) -> int:
        """C."""
        return (len(self.frames) - self.transitions) // max(len(self.lengths), 1)

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 over the shapes, the contents and the provenance; a dataset does not change."""
        digest = hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode())
        for name in _ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def observations(self) -> NDArray[np.uint8]:
        """Every observation, ``[sum(T_e + 1), C, H, W]``, in the order of `states`."""
        C = self.frames_per_observation
        episodes = zip(self.lengths, self.frame_offsets, strict=True)
        firsts = [np.arange(T + 1) + offset for T, offset in episodes]
        return self.frames[np.concatenate(firsts)[:, None] + np.arange(C)]

    @property
    def frame_offsets(self) -> NDArray[np.int64]:
        """Index of the first frame of each episode, ``[E]``."""
        return _starts(self.lengths + self.frames_per_observation)

    def save(self, path: Path) -> None:
        """Write the dataset to ``path`` (.npz), whole or not at all."""
        header = {"schema": SCHEMA, "sha256": self.content_hash, "provenance": self.provenance}
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays.write(path, {name: getattr(self, name) for name in _ARRAYS}, header)


def load(path: Path) -> Dataset:
    """Read and verify a dataset file; nothing in it is ever executed.

    Raises:
        E2CError: when the file is missing, truncated, edited or not a dataset, with the reason.
    """
    if not path.exists():
        raise E2CError(f"There is no dataset file {path}; e2c-collect --out {path} makes one.")
    header, found = arrays.read(path, _ARRAYS, _REMEDY)
    if header.get("schema") != SCHEMA:
        schema = brief(header.get("schema"))
        raise _refused(path, f"its schema is {schema} and this version reads {SCHEMA!r}")
    provenance = header.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(provenance.get("env"), str):
        raise _refused(path, f"its provenance is {brief(provenance)}")
    dataset = Dataset(**found, provenance=provenance)
    if dataset.content_hash != header.get("sha256"):
        raise _refused(path, "its contents do not match its hash, so it was damaged or edited")
    if contradiction := _contradiction(dataset):
        raise _refused(path, contradiction)
    return dataset


def _contradiction(dataset: Dataset) -> str | None:
    """Say how the arrays of a dataset contradict one another, or None."""
    lengths, episodes = dataset.lengths, len(dataset.lengths)
    if episodes == 0 or lengths.min() < 1 or lengths.max() > len(dataset.actions):
        return "it has no episodes, or their lengths are not possible"
    steps, C = dataset.transitions, dataset.frames_per_observation
    wanted = {"actions": steps, "states": steps + episodes, "frames": steps + C * episodes}
    for name, count in wanted.items():
        if (found := len(getattr(dataset, name))) != count:
            return f"{name} has {found} rows where the lengths of its episodes ask for {count}"
    return None if C >= 1 else "it has less than one frame for an observation"


def join(datasets: Sequence[Dataset]) -> Dataset:
    """Join datasets of one task; the provenance lists theirs.

    A single one is returned as it is.
    """
    if len(datasets) == 1:
        return datasets[0]
    joined = {name: np.concatenate([getattr(d, name) for d in datasets]) for name in _ARRAYS}
    sources = [{**d.provenance, "sha256": d.content_hash} for d in datasets]
    return Dataset(**joined, provenance={"env": datasets[0].provenance.get("env"), "from": sources})


class Windows:
    """Random windows of roll-outs, which is all that training sees.

    Args:
        datasets: where the windows come from; the first holds the first data, later ones are the
            agent's own episodes.
        horizon: T, transitions in a window.
        fresh: share of each batch that is drawn from the later datasets, once there are any.
        device: where batches are put.

    Raises:
        E2CError: when no episode is as long as a window.
    """

    def __init__(
        self, datasets: Sequence[Dataset], horizon: int, fresh: float, device: torch.device
    ) -> None:
        self.horizon, self.fresh, self.device = horizon, fresh, device
        self.frames_per_observation = datasets[0].frames_per_observation
        self.frames = torch.from_numpy(np.concatenate([d.frames for d in datasets]))
        self.actions = torch.from_numpy(np.concatenate([d.actions for d in datasets]))
        starts, frame, action = [], 0, 0
        for dataset in datasets:
            starts.append(_window_starts(dataset, horizon) + torch.tensor([frame, action]))
            frame, action = frame + len(dataset.frames), action + len(dataset.actions)
        self.all, self.own = torch.cat(starts), torch.cat([starts[0][:0], *starts[1:]])
        if len(self.all) == 0:
            longest = max(int(d.lengths.max(initial=0)) for d in datasets)
            raise E2CError(
                f"No episode is as long as a training window: the longest has {longest} steps and "
                f"objective.horizon is {horizon}; collect longer episodes or lower the horizon."
            )

    @functools.cached_property
    def mean_frame(self) -> Tensor:
        """The mean of all frames, ``[H, W]`` in [0, 1]."""
        mean = self.frames.numpy().mean(0, dtype=np.float32) / 255
        return torch.from_numpy(mean).to(self.device)

    def __len__(self) -> int:
        """Number of different windows."""
        return len(self.all)

    def sample(
        self, batch_size: int, times: Sequence[int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw a batch.

        Args:
            batch_size: B.
            times: the S times, 0 .. T, at which observations are wanted.
            generator: draws the windows.

        Returns:
            Observations ``[B, S, C, H, W]`` in [0, 1] and controls ``[B, T, m]``.
        """
        own = int(batch_size * self.fresh) if len(self.own) else 0
        index = torch.cat(
            [
                pool[torch.randint(len(pool), (count,), generator=generator)]
                for pool, count in ((self.all, batch_size - own), (self.own, own))
                if count
            ]
        )
        offsets = torch.tensor(times)[:, None] + torch.arange(self.frames_per_observation)
        wanted = index[:, :1, None] + offsets
        x = self.frames.index_select(0, wanted.flatten()).unflatten(0, wanted.shape)
        u = self.actions[index[:, 1:] + torch.arange(self.horizon)]
        return x.to(self.device).float().div_(255), u.to(self.device)


def _window_starts(dataset: Dataset, horizon: int) -> Tensor:
    """Return ``[N, 2]``: the first frame and the first action of every window of a dataset."""
    starts = [
        np.stack([np.arange(T - horizon + 1) + frame, np.arange(T - horizon + 1) + action], 1)
        for T, frame, action in zip(
            dataset.lengths, dataset.frame_offsets, _starts(dataset.lengths), strict=True
        )
        if horizon <= T
    ]
    return torch.from_numpy(np.concatenate([np.empty((0, 2), np.int64), *starts]))


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(lengths) - lengths


def _refused(path: Path, reason: str) -> E2CError:
    return E2CError(f"{path} was refused: {reason}; {_REMEDY}.")
