"""Windows: random pieces of episodes, which is all that training sees."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from envs.images import channels_first


class Windows:
    """Draws windows of consecutive transitions.

    Args:
        data: where the windows come from; the first holds the first data, later ones are the
            agent's own episodes.
        horizon: T, transitions in a window.
        own_share: share of each batch that is drawn from the own episodes, once there are any.
        device: where batches are put.

    Raises:
        E2CError: when no episode is as long as a window.
    """

    def __init__(
        self, data: Sequence[Episodes], horizon: int, own_share: float, device: torch.device
    ) -> None:
        self.horizon, self.own_share, self.device = horizon, own_share, device
        self.frames_per_observation = data[0].frames_per_observation
        frames = np.concatenate([part.frames for part in data])
        self.frames = torch.from_numpy(channels_first(frames, data[0].layout.is_colour))
        """``[N, K, H, W]``, with K = 1 for grey frames and 3 for coloured ones."""
        self.actions = torch.from_numpy(np.concatenate([part.actions for part in data]))
        starts, frame, action = [], 0, 0
        for part in data:
            starts.append(_window_starts(part, horizon) + torch.tensor([frame, action]))
            frame, action = frame + len(part.frames), action + len(part.actions)
        self.all, self.own = torch.cat(starts), torch.cat([starts[0][:0], *starts[1:]])
        if len(self.all) == 0:
            longest = max(int(part.lengths.max(initial=0)) for part in data)
            raise E2CError(
                f"No episode is as long as a training window: the longest has {longest} steps and "
                f"objective.horizon is {horizon}; collect longer episodes or lower the horizon."
            )

    @functools.cached_property
    def mean_observation(self) -> Tensor:
        """The mean of all frames, in the place of each: ``[C, H, W]`` in [0, 1]."""
        mean = self.frames.numpy().mean(0, dtype=np.float32) / 255
        return torch.from_numpy(np.tile(mean, (self.frames_per_observation, 1, 1))).to(self.device)

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
        own = int(batch_size * self.own_share) if len(self.own) else 0
        index = torch.cat(
            [
                pool[torch.randint(len(pool), (count,), generator=generator)]
                for pool, count in ((self.all, batch_size - own), (self.own, own))
                if count
            ]
        )
        offsets = torch.tensor(times)[:, None] + torch.arange(self.frames_per_observation)
        wanted = index[:, :1, None] + offsets
        x = self.frames.index_select(0, wanted.flatten()).unflatten(0, wanted.shape).flatten(2, 3)
        u = self.actions[index[:, 1:] + torch.arange(self.horizon)]
        return x.to(self.device).float().div_(255), u.to(self.device)


def _window_starts(data: Episodes, horizon: int) -> Tensor:
    """Return ``[N, 2]``: the first frame and the first action of every window."""
    starts = [np.empty((0, 2), np.int64)]
    for e, T in enumerate(data.lengths):
        steps: NDArray[np.int64] = np.arange(T - horizon + 1)
        if len(steps):
            first = (data.frame_rows(e).start, data.action_rows(e).start)
            starts.append(steps[:, None] + np.array(first))
    return torch.from_numpy(np.concatenate(starts))
