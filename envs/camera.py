"""Camera: from the pictures that an environment renders to observations.

`look` puts a camera in front of any Gymnasium environment that renders. Gymnasium's own wrappers
for pictures hold functions that are bound to their first environment: a deep copy of them shows the
original's pictures, and they cannot be pickled. So one wrapper here does their work and gives the
same numbers. A goal's picture becomes an observation in the same way as a rendered one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, SupportsFloat

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import FrameStackObservation
from numpy.typing import NDArray

from envs.arrays import as_array, form_of
from envs.images import CHANNELS, LONGEST
from envs.mujoco_graphics import LIBRARIES, free_with, make_current

Env = gymnasium.Env[Any, Any]
Frames = NDArray[np.uint8]
RENDERERS = ("own", "mujoco")
ALIKE = 0.02
"""Largest relative difference of two aspect ratios that count as the same."""
GREY = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in a grey level, as in Gymnasium's `GrayscaleObservation`."""


@dataclass(frozen=True)
class Camera:
    """How the pictures that an environment renders become observations."""

    size: tuple[int, int] = field(default=(48, 48), metadata={"range": (1, 1024)})
    """Height and width of a frame [px]."""
    colour: bool = False
    """Whether frames keep their three channels."""
    frames: int = field(default=2, metadata={"range": (1, 64)})
    """Frames in an observation; one alone does not show a velocity."""
    crop: tuple[int, int, int, int] | None = field(default=None, metadata={"range": (0, LONGEST)})
    """Rows and columns of the picture that are seen: top, bottom, left, right [px]. Left out, the
    whole picture is seen; training then chooses the part in which something moves."""
    repeat: int = field(default=1, metadata={"range": (1, 1000)})
    """Steps of the environment for which an action is held."""
    renderer: Literal["own", "mujoco"] = "own"
    """What draws the pictures: the environment itself or, of our own tasks, MuJoCo, on a chequered
    floor with light and shadow."""

    def __post_init__(self) -> None:
        """Turn lists into tuples, since files hold lists."""
        for name in ("size", "crop"):
            if isinstance(given := getattr(self, name), list):
                object.__setattr__(self, name, tuple(given))

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """``(H, W)``, or in colour ``(H, W, 3)``."""
        return (*self.size, CHANNELS) if self.colour else self.size

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an observation."""
        return self.frame_shape if self.frames == 1 else (self.frames, *self.frame_shape)

    def look_at(self, picture: Frames) -> Frames:
        """Return the observation in which every frame shows ``picture``, uint8 ``[h, w, 3]``.

        It is made as of a picture that an environment renders.

        Raises:
            ValueError: for an array of another kind, or when `crop` is not inside the picture.
        """
        self.check()
        frame = self.frame(check_picture(picture, "The picture is"))
        return frame if self.frames == 1 else np.stack([frame] * self.frames)

    def frame(self, picture: Frames) -> Frames:
        """Return the frame, ``[H, W]`` or in colour ``[H, W, 3]``, of a picture.

        Args:
            picture: uint8 ``[h, w, 3]``, or grey ``[h, w]``.

        Raises:
            ValueError: when `crop` is not inside the picture.
        """
        height, width = picture.shape[:2]
        top, bottom, left, right = self.crop or (0, height, 0, width)
        if not (top < bottom <= height and left < right <= width):
            raise ValueError(
                f"The crop {[top, bottom, left, right]} (top, bottom, left, right) is not inside "
                f"the picture of {height}x{width} pixels; choose numbers inside it."
            )
        H, W = self.size
        inside = picture[top:bottom, left:right]
        seen = cv2.resize(inside, (W, H), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if seen.ndim == 2:
            return np.repeat(seen[..., None], CHANNELS, -1) if self.colour else seen
        return seen if self.colour else (seen * GREY).sum(axis=-1).astype(np.uint8)

    def check(self) -> None:
        """Raise a ValueError, one sentence, for a value that is not allowed."""
        for item in fields(self):
            value, bounds = getattr(self, item.name), item.metadata.get("range")
            if bounds is None or value is None:
                continue
            numbers = value if isinstance(value, tuple) else (value,)
            wanted = {"size": 2, "crop": 4}.get(item.name, 1)
            whole = all(isinstance(n, int) and bounds[0] <= n <= bounds[1] for n in numbers)
            if len(numbers) != wanted or not whole:
                what = "a whole number" if wanted == 1 else f"{wanted} whole numbers"
                raise ValueError(
                    f"The camera's {item.name} is {value}; it is {what} from {bounds[0]} to "
                    f"{bounds[1]}."
                )
        if self.renderer not in RENDERERS:
            raise ValueError(
                f"The camera's renderer is {self.renderer!r}; it is one of: {', '.join(RENDERERS)}."
            )


def resized(picture: Frames, size: Sequence[int]) -> Frames:
    """Return a picture in the resolution of others, so that a crop shows the same part of it.

    Args:
        picture: uint8 ``[h, w, 3]``, or grey ``[h, w]``.
        size: height and width of the others [px].

    Raises:
        ValueError: when its aspect ratio differs, such as portrait in place of landscape.
    """
    (height, width), (H, W) = picture.shape[:2], size
    if (height, width) == (H, W):
        return picture
    if abs(height * W - width * H) >= ALIKE * height * W:
        raise ValueError(
            f"The picture of {height}x{width} pixels (height x width) has another shape than "
            f"those before, of {H}x{W}; take one with the same camera, held the same way."
        )
    return cv2.resize(picture, (W, H), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def look(env: Env, camera: Camera) -> Env:
    """Replace an environment's observations by those that ``camera`` makes of its pictures.

    Raises:
        ValueError: when it does not render pictures, or the crop is not inside them.
    """
    camera.check()
    held = _Repeated(env, camera.repeat) if camera.repeat > 1 else env
    seen: Env = _Seen(held, camera)
    return FrameStackObservation(seen, camera.frames) if camera.frames > 1 else seen


class _Seen(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows one frame, which the camera makes of the rendered picture."""

    def __init__(self, env: Env, camera: Camera) -> None:
        super().__init__(env)
        self.camera = camera
        env.reset()
        picture = _rendered(env)
        self._free = free_with(self, env)
        self.picture_size = picture.shape[:2]
        self.observation_space = Box(0, 255, camera.frame(picture).shape, np.uint8)

    def observation(self, observation: Any) -> Frames:
        """Return the present frame; the environment's own observation is not used."""
        picture = _rendered(self.env)
        if picture.shape[:2] != self.picture_size:
            sizes = ["x".join(map(str, size)) for size in (self.picture_size, picture.shape[:2])]
            raise ValueError(
                f"{_name(self.env)} rendered pictures of {sizes[0]} pixels before and of "
                f"{sizes[1]} now: let its render() keep to one size."
            )
        return self.camera.frame(picture)

    def close(self) -> None:
        """Close the environment, and free its OpenGL objects."""
        self._free()
        super().close()


class _Repeated(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Holds each action for several steps, or until the episode ends."""

    def __init__(self, env: Env, repeat: int) -> None:
        super().__init__(env)
        self.repeat = repeat
        told = env.get_wrapper_attr("dt") if env.has_wrapper_attr("dt") else None
        self.dt = repeat * (told or 1 / float(env.metadata.get("render_fps") or 30))
        if env.has_wrapper_attr("settle_steps"):
            self.settle_steps = -(-env.get_wrapper_attr("settle_steps") // repeat)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step ``repeat`` times; rewards are added, other results are those of the last step."""
        total = 0.0
        for _ in range(self.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def check_picture(picture: Any, told: str) -> Frames:
    """Return ``picture`` if it is a picture, uint8 ``[h, w, 3]``.

    Args:
        picture: anything.
        told: how the message for anything else begins: ``"Dot-v0 renders"``.

    Raises:
        ValueError: when it is not a picture.
    """
    found = as_array(picture)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or found.size == 0:
        what = "nothing" if picture is None else form_of(found)
        raise ValueError(
            f"{told} {what}; a camera needs a picture, uint8 of [height, width, 3], such as "
            "render() returns for render_mode='rgb_array'."
        )
    return found


def _rendered(env: Env) -> Frames:
    """Return the picture ``[h, w, 3]`` that an environment renders.

    Raises:
        ValueError: when it renders none, or MuJoCo cannot draw it with OpenGL.
    """
    try:
        make_current(env)
        picture: Any = env.render()
    except NotImplementedError:
        picture = None
    except Exception as error:
        if not any(env.has_wrapper_attr(name) for name in ("mujoco_renderer", "physics")):
            raise
        raise ValueError(
            f"{_name(env)} is drawn by OpenGL, which does not work here "
            f"({type(error).__name__}: {error}): set the environment variable MUJOCO_GL to egl or "
            f"osmesa, and install that library ({LIBRARIES})."
        ) from error
    return check_picture(picture, f"{_name(env)} renders")


def _name(env: Env) -> str:
    """Return the id that an environment was made by, or the name of its class."""
    spec = env.unwrapped.spec
    return spec.id if spec is not None else type(env.unwrapped).__name__
