"""Any Gymnasium environment that renders, as a world: made of Gymnasium's own wrappers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import wrappers
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from envs.world import World, check_world

Env = gymnasium.Env[Any, Any]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """How the pictures that an environment renders become observations."""

    size: tuple[int, int] = field(default=(48, 48), metadata={"range": (1, 1024)})
    """Height and width of a frame [px]."""
    colour: bool = False
    """Whether frames keep their three channels."""
    frames: int = field(default=2, metadata={"range": (1, 64)})
    """Frames in an observation; one alone does not show a velocity."""
    crop: tuple[int, int, int, int] | None = field(default=None, metadata={"range": (0, 100_000)})
    """Rows and columns of the picture that are seen: top, bottom, left, right [px]."""
    repeat: int = field(default=1, metadata={"range": (1, 1000)})
    """Steps of the environment for which an action is held."""

    def look_at(self, picture: Frames) -> Frames:
        """Return the observation in which every frame shows ``picture``, uint8 ``[h, w, 3]``.

        It goes the way of the pictures that an environment renders.

        Raises:
            ValueError: when there is nothing of it inside `crop`.
        """
        observation: Frames = np.asarray(look(_Still(picture), self).reset()[0])
        return observation


def gymnasium_world(
    env_id: str, num_envs: int, camera: Camera | None = None, **options: Any
) -> World:
    """Make ``num_envs`` environments of Gymnasium's registry and look at what they render.

    Args:
        env_id: of the registry, ``Id-v0`` or ``module:Id-v0``.
        num_envs: episodes side by side.
        camera: what is made of the pictures.
        options: of the environment.

    Raises:
        ValueError: when it does not render pictures, or its actions are not numbers in limits.
    """
    used = camera or Camera()

    def build() -> Env:
        return look(_rendering(env_id, options), used)

    world = SyncVectorEnv([build] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    spec = gymnasium.spec(env_id)
    if spec.max_episode_steps is not None:
        spec = replace(spec, max_episode_steps=-(-spec.max_episode_steps // used.repeat))
    world.spec = spec
    check_world(world)
    return world


def look(env: Env, camera: Camera) -> Env:
    """Replace an environment's observations by what ``camera`` makes of its pictures.

    Raises:
        ValueError: when there is nothing of the pictures inside the crop.
    """
    seen: Env = wrappers.AddRenderObservation(env, render_only=True)
    if camera.crop is not None:
        seen = _cropped(seen, camera.crop)
    seen = wrappers.ResizeObservation(seen, camera.size)
    if not camera.colour:
        seen = wrappers.GrayscaleObservation(seen)
    if camera.repeat > 1:
        seen = _Repeated(seen, camera.repeat)
    if camera.frames > 1:
        seen = wrappers.FrameStackObservation(seen, camera.frames)
    return seen


def _cropped(env: Env, crop: tuple[int, int, int, int]) -> Env:
    """Keep the rows and columns of ``crop`` alone."""
    top, bottom, left, right = crop
    height, width = env.observation_space.shape[:2]  # type: ignore[index]
    if not (top < bottom <= height and left < right <= width):
        raise ValueError(
            f"The crop {list(crop)} (top, bottom, left, right) is not inside the picture of "
            f"{height}x{width} pixels; choose numbers inside it."
        )
    space = Box(0, 255, (bottom - top, right - left, 3), np.uint8)
    return wrappers.TransformObservation(env, lambda x: x[top:bottom, left:right], space)


class _Repeated(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Holds each action for several steps; an episode that ends meanwhile ends."""

    def __init__(self, env: Env, repeat: int) -> None:
        super().__init__(env)
        self.repeat = repeat
        self.dt = repeat * _step_of(env)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step ``repeat`` times; rewards are added."""
        total = 0.0
        for _ in range(self.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def _step_of(env: Env) -> float:
    """Return the time of one step [s]: the environment's ``dt``, or one frame's time."""
    dt = getattr(env.unwrapped, "dt", None)
    return float(dt) if dt else 1 / float(env.unwrapped.metadata.get("render_fps") or 30)


class _Still(gymnasium.Env[Any, Any]):
    """Shows one picture for ever, ``[h, w, 3]``."""

    render_mode = "rgb_array"

    def __init__(self, picture: Frames) -> None:
        self.picture = picture
        self.observation_space = self.action_space = Box(0, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin; nothing changes."""
        return np.zeros(1), {}

    def render(self) -> Any:
        """Return the picture."""
        return self.picture


def _rendering(env_id: str, options: dict[str, Any]) -> Env:
    """Make an environment and see that it renders uint8 pictures.

    Raises:
        ValueError: when it does not, with the remedy.
    """
    try:
        env = gymnasium.make(env_id, render_mode="rgb_array", **options)
        env.reset(seed=0)
        picture: Any = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"{env_id} needs another package: {error}") from None
    except (ImportError, ModuleNotFoundError) as error:
        raise ValueError(
            f"{env_id} needs a package that is not installed ({error}): install it, for "
            "Gymnasium's own environments with pip install 'gymnasium[classic-control]' or "
            "'gymnasium[mujoco]'."
        ) from None
    except TypeError as error:
        raise ValueError(f"{env_id} does not take these options ({error}).") from None
    found = np.asarray(picture)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3:
        shown = "nothing" if picture is None else f"{found.dtype} of shape {list(found.shape)}"
        raise ValueError(
            f"{env_id} renders {shown}; a world needs pictures, uint8 of [height, width, 3]: let "
            "its render() return them for render_mode='rgb_array'."
        )
    return env
