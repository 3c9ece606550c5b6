"""The layout of the images of an observation in its array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)
CHANNELS = 3
"""Channels of a colour image; they are the last axis of its shape."""
LONGEST = 100_000
"""Largest height or width of a picture [px]."""
PICTURE_SIZE = "picture_size"
"""Key under which files keep the height and width [px] of a recording's pictures."""


@dataclass(frozen=True)
class ImageLayout:
    """The layout of an observation of images, found from its shape in Gymnasium.

    An observation is one frame, ``[H, W]`` or ``[H, W, 3]``, or a stack of F frames from the oldest
    to the newest, ``[F, H, W]`` or ``[F, H, W, 3]``. Networks see it as C planes ``[C, H, W]``,
    where C is F for grey frames and 3 F for coloured ones.

    Attributes:
        shape: the shape of an observation.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a shape that is not that of images."""
        if len(self.shape) not in (2, 3, 4) or (len(self.shape) == 4 and not self.is_colour):
            raise ValueError(
                "An observation of images has the shape [H, W], [H, W, 3], [F, H, W] or "
                f"[F, H, W, 3]; got {list(self.shape)}: add Gymnasium's AddRenderObservation."
            )

    @property
    def is_colour(self) -> bool:
        """Whether a frame has three channels."""
        return len(self.shape) > 2 and self.shape[-1] == CHANNELS

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(H, W, 3)``."""
        return self.shape[-3:] if self.is_colour else self.shape[-2:]

    @property
    def frames(self) -> int:
        """F, the number of frames."""
        return 1 if self.shape == self.frame_shape else self.shape[0]

    @property
    def planes(self) -> tuple[int, int, int]:
        """``(C, H, W)``, the shape that networks see."""
        H, W = self.frame_shape[:2]
        return self.frames * (CHANNELS if self.is_colour else 1), H, W

    def split(self, observations: NDArray[T]) -> NDArray[T]:
        """Return the frames ``[..., F, H, W]`` or ``[..., F, H, W, 3]`` of ``[..., *shape]``."""
        lead = observations.shape[: observations.ndim - len(self.shape)]
        return observations.reshape(*lead, self.frames, *self.frame_shape)

    def to_planes(self, observations: NDArray[T]) -> NDArray[T]:
        """Return ``observations [..., *shape]`` as planes ``[..., C, H, W]``."""
        lead = observations.shape[: observations.ndim - len(self.shape)]
        frames = channels_first(self.split(observations), self.is_colour)
        return frames.reshape(*lead, *self.planes)

    def from_planes(self, planes: NDArray[T]) -> NDArray[T]:
        """Return planes ``[..., C, H, W]`` as observations ``[..., *shape]``."""
        lead = planes.shape[:-3]
        if not self.is_colour:
            return planes.reshape(*lead, *self.shape)
        frames = planes.reshape(*lead, self.frames, CHANNELS, *self.frame_shape[:2])
        return np.moveaxis(frames, -3, -1).reshape(*lead, *self.shape)

    def frames_of(self, planes: NDArray[T]) -> NDArray[T]:
        """Return planes ``[..., C, H, W]`` as frames ``[..., F, H, W]``, or with 3 channels."""
        return self.split(self.from_planes(planes))


def is_size(value: object) -> bool:
    """Say whether a value that was read from a file is a height and a width [px]."""
    numbers = value if isinstance(value, list | tuple) else ()
    return len(numbers) == 2 and all(type(n) is int and 1 <= n <= LONGEST for n in numbers)


def channels_first(frames: NDArray[T], is_colour: bool) -> NDArray[T]:
    """Return frames ``[..., H, W]`` or ``[..., H, W, 3]`` as ``[..., K, H, W]``, K = 1 or 3."""
    return np.moveaxis(frames, -1, -3) if is_colour else frames[..., None, :, :]
