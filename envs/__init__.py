"""Control tasks seen through a camera, registered with Gymnasium.

``import envs`` registers every task of `ENVIRONMENTS`. `make` makes a world of one of them, or of
any other Gymnasium environment that renders: B episodes side by side (see `envs.world`).

    >>> import envs
    >>> world = envs.make("E2C/PendulumSwingUp-v0", num_envs=3)
    >>> observations, infos = world.reset(seed=0)
    >>> observations.shape, observations.dtype
    ((3, 2, 48, 48), dtype('uint8'))

``gymnasium.make("E2C/PendulumSwingUp-v0")`` makes one episode alone, as any Gymnasium environment.
"""

import difflib
import importlib
from dataclasses import dataclass
from typing import Any

import gymnasium

from envs.gymnasium_world import Camera, gymnasium_world
from envs.native import TaskWorld
from envs.world import World

__all__ = ["ENVIRONMENTS", "Camera", "EnvEntry", "TaskWorld", "World", "make"]


@dataclass(frozen=True)
class EnvEntry:
    """What Gymnasium is told about one task."""

    id: str
    """The name given to :func:`make`."""
    task: str
    """``module:Class`` of the :class:`~envs.task.Task`, imported when it is first made."""
    max_episode_steps: int
    """Control steps after which an episode is truncated, and over which it is scored."""


ENVIRONMENTS = {
    entry.id: entry
    for entry in (
        EnvEntry("E2C/PendulumSwingUp-v0", "envs.pendulum:PendulumSwingUp", 200),
        EnvEntry("E2C/Planar-v0", "envs.planar:PlanarNavigation", 40),
        EnvEntry("E2C/PendulumBalance-v0", "envs.strong_pendulum:PendulumBalance", 100),
        EnvEntry("E2C/PendulumReach-v0", "envs.strong_pendulum:PendulumReach", 100),
        EnvEntry("E2C/CartPole-v0", "envs.cart_pole:CartPole", 50),
        EnvEntry("E2C/ThreeLinkArm-v0", "envs.three_link_arm:ThreeLinkArm", 200),
    )
}


def make(env_id: str, num_envs: int = 1, camera: Camera | None = None, **options: Any) -> World:
    """Make a world: ``num_envs`` episodes of an environment, side by side.

    Args:
        env_id: an id of Gymnasium's registry: one of :data:`ENVIRONMENTS`, or any other whose
            environment renders pictures (``Id-v0``, or ``module:Id-v0`` to import a module first).
        num_envs: B.
        camera: what is made of the pictures of an environment that is not a world itself.
        options: of the environment, e.g. ``state_noise`` and ``render_mode``.

    Raises:
        ValueError: for an unknown id (the message names the nearest of ours), or an environment
            that does not make a world, or an option that the environment does not take.
    """
    try:
        spec = gymnasium.spec(env_id)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        nearest = sorted(ENVIRONMENTS, key=lambda known: -_similarity(env_id, known))
        raise ValueError(
            f"No environment is called {env_id!r} ({error}); valid are: {', '.join(nearest)}, and "
            "every id that Gymnasium knows."
        ) from None
    if spec.vector_entry_point is not None:
        if camera is not None:
            raise ValueError(f"{env_id} shows frames of its own; leave the camera's options out.")
        return _native(env_id, num_envs, options)
    return gymnasium_world(env_id, num_envs, camera, **options)


def _native(env_id: str, num_envs: int, options: dict[str, Any]) -> World:
    """Make a world that is one by itself.

    Raises:
        ValueError: for an option that its task does not take, or when the engine does not load.
    """
    task: str = gymnasium.spec(env_id).kwargs.get("task", __name__)
    try:
        importlib.import_module(task.partition(":")[0])
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise ValueError(
            f"MuJoCo does not load ({error}); our tasks need no graphics library: unset the "
            "environment variable MUJOCO_GL."
        ) from None
    try:
        return gymnasium.make_vec(env_id, num_envs, **options)
    except TypeError as error:
        unknown = [name for name in options if f"argument {name!r}" in str(error)]
        raise ValueError(
            f"{env_id} takes no parameter {', '.join(unknown or options)}; leave it out."
        ) from None


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()


for _entry in ENVIRONMENTS.values():
    gymnasium.register(
        _entry.id,
        "envs.native:TaskEnv",
        vector_entry_point="envs.native:TaskWorld",
        max_episode_steps=_entry.max_episode_steps,
        kwargs={"task": _entry.task},
    )
