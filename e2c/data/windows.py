"""Windows: random pieces of episodes, which is all that training sees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.data.episodes import Episodes, mean_of, pieces
from e2c.errors import E2CError
from envs.images import channels_first


@dataclass(frozen=True, eq=False)
class Starts:
    """Where windows begin: the first frame and the first action of each.

    Attributes:
        all: ``[N, 2]``.
        own: those in the agent's own episodes, ``[M, 2]``.
        own_share: see `Windows`.
    """

    all: Tensor
    own: Tensor
    own_share: float

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw ``batch_size`` windows, ``[B, 2]``."""
        own = int(batch_size * self.own_share) if len(self.own) else 0
        pools = ((self.all, batch_size - own), (self.own, own))
        return torch.cat(
            [
                pool[torch.randint(len(pool), (count,), generator=generator)]
                for pool, count in pools
                if count
            ]
        )


class Windows:
    """Draws windows of consecutive transitions.

    Args:
        data: where the windows come from; the first holds the first data, later ones are the
            agent's own episodes.
        horizon: T, transitions in a window.
        own_share: share of each batch that is drawn from the own episodes, once there are any.
        device: where batches are put.
        see: makes of uint8 frames ``[..., K, H, W]`` what is learned from.

    Raises:
        E2CError: when no episode is as long as a window.
    """

    def __init__(
        self,
        data: Sequence[Episodes],
        horizon: int,
        own_share: float,
        device: torch.device,
        see: Callable[[Tensor], Tensor] = lambda frames: frames,
    ) -> None:
        self.horizon, self.device = horizon, device
        self.frames_per_observation = data[0].frames_per_observation
        self.see = see
        self._is_colour, self._parts = data[0].layout.is_colour, [data[0].frames]
        if len(data) > 1:  # own episodes are few and short; as one part they are read faster
            self._parts.append(np.concatenate([part.frames for part in data[1:]]))
        self.actions = torch.from_numpy(np.concatenate([part.actions for part in data]))
        starts, frame, action = [], 0, 0
        for part in data:
            starts.append(_window_starts(part, horizon) + torch.tensor([frame, action]))
            frame, action = frame + len(part.frames), action + len(part.actions)
        own = torch.cat([starts[0][:0], *starts[1:]])
        self.starts = Starts(torch.cat(starts), own, own_share)
        if len(self) == 0:
            longest = max(int(part.lengths.max(initial=0)) for part in data)
            raise E2CError(
                f"No episode is as long as a training window: the longest has {longest} steps and "
                f"objective.horizon is {horizon}; collect longer episodes or lower the horizon."
            )

    @functools.cached_property
    def mean_observation(self) -> Tensor:
        """The mean of all frames, in the place of each: ``[C, H, W]`` in [0, 1]."""
        read = (np.array(piece) for part in self._parts for piece in pieces(part))
        frame = torch.from_numpy(mean_of(self._seen(frames).numpy() for frames in read)) / 255
        return frame.tile(self.frames_per_observation, 1, 1).to(self.device)

    @functools.cached_property
    def frames(self) -> Tensor:
        """All frames in memory, ``[N, K, H, W]``: K = 1 for grey ones and 3 for coloured ones.

        `sample` does without it, and reads no more than a batch; a GPU keeps all.
        """
        return self._seen(np.concatenate(self._parts))

    def _seen(self, frames: NDArray[np.uint8]) -> Tensor:
        """Return recorded frames ``[..., K, H, W]`` as they are seen."""
        return self.see(torch.from_numpy(channels_first(frames, self._is_colour)))

    def __len__(self) -> int:
        """Number of different windows."""
        return len(self.starts.all)

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
        frames, actions = self.rows(self.starts.draw(batch_size, generator), times)
        return self._observed(frames).to(self.device).float().div_(255), self.actions[actions].to(
            self.device
        )

    def observed(self, rows: Tensor) -> Tensor:
        """Return the observations ``[..., C, H, W]`` in [0, 1] whose ``rows [..., F]`` are told.

        They are on the device of the rows. A GPU reads them from `frames`, of which it keeps all.
        """
        on_cpu = rows.device.type == "cpu"
        seen = self._observed(rows) if on_cpu else observations(self._there, rows)
        return seen.float().div_(255)

    @functools.cached_property
    def _there(self) -> Tensor:
        """All frames on the device."""
        return self.frames.to(self.device)

    def _observed(self, rows: Tensor) -> Tensor:
        """Return the observations ``[..., C, H, W]`` whose ``rows [..., F]`` of frames are told."""
        wanted, begin = rows.numpy(), 0
        chosen = np.empty((*wanted.shape, *self._parts[0].shape[1:]), np.uint8)
        for part in self._parts:
            here = (begin <= wanted) & (wanted < begin + len(part))
            chosen[here] = part[wanted[here] - begin]
            begin += len(part)
        return self._seen(chosen).flatten(-4, -3)

    def rows(self, windows: Tensor, times: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return where the contents of ``windows [..., 2]`` lie.

        Returns:
            The rows of `frames` at the S times, ``[..., S, F]``, and of `actions`, ``[..., T]``.
        """
        offsets = torch.tensor(times)[:, None] + torch.arange(self.frames_per_observation)
        frame, action = windows.unbind(-1)
        return frame[..., None, None] + offsets, action[..., None] + torch.arange(self.horizon)


def observations(frames: Tensor, rows: Tensor) -> Tensor:
    """Return the observations ``[..., C, H, W]`` whose ``rows [..., F]`` of ``frames`` are told."""
    chosen = frames.index_select(0, rows.flatten()).unflatten(0, rows.shape)
    return chosen.flatten(-4, -3)


def _window_starts(data: Episodes, horizon: int) -> Tensor:
    """Return ``[N, 2]``: the first frame and the first action of every window."""
    episode = np.repeat(np.arange(len(data)), data.lengths)
    action = np.arange(len(episode))
    fits = action + horizon <= np.cumsum(data.lengths)[episode]
    frame = action + data.frames_per_observation * episode
    return torch.from_numpy(np.stack((frame, action), 1)[fits])
