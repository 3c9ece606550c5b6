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
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from envs.arrays import brief, is_whole
from envs.camera import Camera
from envs.faults import failure
from envs.gymnasium_world import explained, gymnasium_world
from envs.mujoco_graphics import (
    DM_CONTROL,
    MOST,
    choose_graphics,
    is_drawn_by_mujoco,
    register_dm_control,
)
from envs.native import TaskWorld
from envs.world import World, check_world, shows_images

__all__ = ["ENVIRONMENTS", "Camera", "EnvEntry", "TaskWorld", "World", "make", "most_side_by_side"]


@dataclass(frozen=True)
class EnvEntry:
    """One task's entry in Gymnasium's registry."""

    id: str
    """The name given to `make`."""
    task: str
    """``module:Class`` of the `envs.task.Task`; it is imported when a world of it is first made."""
    max_episode_steps: int
    """Control steps of an episode: it is then truncated, and scored over all of them."""


TASK_WORLD = "envs.native:TaskWorld"
"""``module:Class`` of the world of each of our tasks."""

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
        env_id: an id of Gymnasium's registry: one of `ENVIRONMENTS`, or any other whose
            environment renders pictures (``Id-v0``, or ``module:Id-v0`` to import a module first).
        num_envs: B.
        camera: how pictures become observations, for an environment that is not a world itself, and
            for one of our tasks if MuJoCo draws it.
        options: of the environment, e.g. ``state_noise`` and ``render_mode``. Also
            ``max_episode_steps``, in place of the number in the registry; None for episodes without
            an end.

    Raises:
        ValueError: for an unknown id (the message names our tasks, the nearest first), for an
            environment that makes no world or misses a package, or for an option that it does not
            take.
    """
    spec = _spec_of(env_id)
    if "max_episode_steps" in options:
        spec = replace(spec, max_episode_steps=options.pop("max_episode_steps"))
    counts: dict[str, Any] = {"num_envs": num_envs}
    if spec.max_episode_steps is not None:
        counts["max_episode_steps"] = spec.max_episode_steps
    for what, number in counts.items():
        if not (is_whole(number) and number >= 1):
            raise ValueError(f"{what} is {brief(number)}; it must be a whole number from 1 on.")
    if camera is not None:
        camera.check()
    with explained(spec, options):
        if camera is not None and camera.renderer == "mujoco":
            world = _drawn_by_mujoco(spec, num_envs, camera, options)
        else:
            world = _of_own_frames(spec, num_envs, camera, options)
    check_world(world)
    return world


def most_side_by_side(env_id: str) -> int:
    """Return the largest sensible number of episodes in one world of an environment.

    Raises:
        ValueError: for an unknown id.
    """
    return MOST if is_drawn_by_mujoco(_spec_of(env_id)) else sys.maxsize


def _drawn_by_mujoco(
    spec: EnvSpec, num_envs: int, camera: Camera, options: dict[str, Any]
) -> World:
    """Make a world of one of our tasks, seen by MuJoCo's camera."""
    if spec.vector_entry_point != TASK_WORLD:
        raise ValueError(
            f"MuJoCo draws our own tasks only, and {spec.id} draws itself; leave the camera's "
            "renderer out."
        )
    choose_graphics()
    return gymnasium.make_vec(spec, num_envs, camera=camera, **options)


def _of_own_frames(
    spec: EnvSpec, num_envs: int, camera: Camera | None, options: dict[str, Any]
) -> World:
    """Make a world that shows images, or a world of an environment that renders."""
    world = _native(spec, num_envs, options)
    if world is None:
        return gymnasium_world(spec, num_envs, camera, **options)
    if camera is not None:
        raise ValueError(
            f"{spec.id} shows frames of its own; leave the camera's options out, or let MuJoCo "
            "draw it with the camera's renderer."
        )
    return world


def _native(spec: EnvSpec, num_envs: int, options: dict[str, Any]) -> World | None:
    """Make the vector environment that is registered; None if there is none that shows images."""
    if spec.vector_entry_point is None:
        return None
    world = gymnasium.make_vec(spec, num_envs, **options)
    if shows_images(world):
        return world
    world.close()
    return None


def _spec_of(env_id: str) -> EnvSpec:
    """Return the registry's entry of ``Id-v0``, or of ``module:Id-v0`` after the module's import.

    Raises:
        ValueError: when there is no such module or id, or dm_control is not installed.
    """
    module, _, name = env_id.rpartition(":")
    if name.startswith(DM_CONTROL):
        register_dm_control(name)
    if module:
        _import(module, name)
    try:
        return replace(gymnasium.spec(name), id=env_id)
    except gymnasium.error.Error as error:
        raise ValueError(_unknown(module, name, error)) from None


def _import(module: str, name: str) -> None:
    """Import the module that registers an environment.

    Raises:
        ValueError: when it cannot be imported; the message says what to do.
    """
    path, env_id = Path(module), f"{module}:{name}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if path.suffix == ".py":
            raise ValueError(
                f"{env_id!r} names a file; write {path.stem}:{name}, and add the folder of "
                f"{path.name} to PYTHONPATH."
            ) from None
        raise ValueError(
            f"The module of {env_id!r} cannot be imported ({error}): add its folder to PYTHONPATH, "
            f"let a command find it in the current folder (--import {module}), or install what is "
            "missing."
        ) from None
    except Exception as error:
        raise ValueError(failure(module, error)) from error


def _unknown(module: str, name: str, error: gymnasium.error.Error) -> str:
    """Return the sentence for an id that is not registered; it names ids that are."""
    if not module:
        nearest = sorted(ENVIRONMENTS, key=lambda known: -_similarity(name, known))
        return (
            f"No environment is called {name!r} ({error}); valid are: {', '.join(nearest)}, every "
            f"id that Gymnasium knows, and one of yours with its module: module:{name}."
        )
    nearest = sorted(_registered_by(module), key=lambda known: -_similarity(name, known))[:5]
    if nearest:
        told = ", ".join(f"{module}:{known}" for known in nearest)
        return f"{module} registers no {name!r}; valid are: {told}."
    return (
        f"{module} was imported and registers no {name!r}; add to it: "
        f'gymnasium.register("{name}", "{module}:CLASS", max_episode_steps=STEPS).'
    )


def _registered_by(module: str) -> list[str]:
    """Return the ids of environments whose class is in a module, or in a package."""
    found = []
    for known, spec in gymnasium.registry.items():
        entry = spec.entry_point
        place = entry.partition(":")[0] if isinstance(entry, str) else entry.__module__
        if f"{place}.".startswith(f"{module}."):
            found.append(known)
    return found


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()


for _entry in ENVIRONMENTS.values():
    gymnasium.register(
        _entry.id,
        "envs.native:TaskEnv",
        vector_entry_point=TASK_WORLD,
        max_episode_steps=_entry.max_episode_steps,
        kwargs={"task": _entry.task},
    )
