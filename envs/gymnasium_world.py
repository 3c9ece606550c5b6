"""Any Gymnasium environment that renders, as a world."""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.camera import Camera, Env, look
from envs.mujoco_graphics import choose_graphics, is_drawn_by_mujoco, own_step_limit
from envs.world import World


def gymnasium_world(
    spec: EnvSpec, num_envs: int, camera: Camera | None = None, **options: Any
) -> World:
    """Make ``num_envs`` environments, seen by a camera that looks at their pictures.

    Args:
        spec: the environment's entry in Gymnasium's registry.
        num_envs: episodes side by side.
        camera: how pictures become observations.
        options: of the environment.

    Raises:
        ValueError: when it does not render pictures.
    """
    if options.pop("render_mode", None) not in (None, "rgb_array"):
        raise ValueError(f"The camera looks at what {spec.id} renders; leave render_mode out.")
    if is_drawn_by_mujoco(spec):
        choose_graphics()
    used = camera or Camera()
    build = functools.partial(_build, spec, used, options)
    world = SyncVectorEnv([build] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    steps = spec.max_episode_steps or own_step_limit(world.envs[0])
    held = None if steps is None else -(-steps // used.repeat)
    world.spec = replace(spec, max_episode_steps=held, kwargs={**spec.kwargs, **options})
    return world


def _build(spec: EnvSpec, camera: Camera, options: Mapping[str, Any]) -> Env:
    """Make one environment, seen by the camera."""
    return look(gymnasium.make(spec, render_mode="rgb_array", **options), camera)


@contextmanager
def explained(spec: EnvSpec, options: Mapping[str, Any]) -> Iterator[None]:
    """Say in one sentence why an environment cannot be made here.

    Args:
        spec: the environment's entry in Gymnasium's registry.
        options: of the environment.

    Raises:
        ValueError: in place of the errors of a missing package, a wrong entry point, an unknown
            option or MuJoCo's graphics. The environment's own errors stay as they are.
    """
    try:
        yield
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"{spec.id} needs another package: {error}") from None
    except ModuleNotFoundError as error:
        raise ValueError(_missing(spec, error.name)) from None
    except Exception as error:
        if told := _refusal(spec, error, options) or _fault_of_mujoco():
            raise ValueError(told) from error
        raise


def _refusal(spec: EnvSpec, error: Exception, options: Mapping[str, Any]) -> str | None:
    """Return the sentence for an unknown option or entry point; None for another error."""
    module, _, name = str(spec.entry_point).partition(":")
    if isinstance(error, AttributeError) and str(error).startswith(f"module {module!r}"):
        return f"{spec.id} is registered as {module}:{name}, which has no {name}: correct that."
    if not isinstance(error, TypeError):
        return None
    if "argument 'render_mode'" in str(error):
        return (
            f"{spec.id} takes no render_mode: let its __init__ take one, and its render() return a "
            "picture for 'rgb_array'."
        )
    unknown = [name for name in options if f"argument {name!r}" in str(error)]
    return f"{spec.id} takes no parameter {unknown[0]}; leave it out." if unknown else None


def _missing(spec: EnvSpec, package: str | None) -> str:
    """Return the sentence for a module that an environment misses."""
    if package == str(spec.entry_point).partition(":")[0]:
        return (
            f"{spec.id} is registered as {spec.entry_point}, and there is no module {package}: "
            "correct that, add its folder to PYTHONPATH, or install it."
        )
    family = re.match(r"gymnasium\.envs\.(\w+)", str(spec.entry_point))
    extra = family and family[1].replace("_", "-")
    command = f'pip install "gymnasium[{extra}]"' if extra else f"pip install {package}"
    return f"{spec.id} needs the package {package}, which is not installed: {command}."


def _fault_of_mujoco() -> str | None:
    """Return why MuJoCo cannot be imported with the chosen MUJOCO_GL; None if it can, or unset."""
    chosen = os.environ.get("MUJOCO_GL")
    if not chosen:
        return None
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        return (
            f"MuJoCo does not load with MUJOCO_GL={chosen} ({error}); unset the environment "
            "variable MUJOCO_GL, or choose a graphics library that is installed: our own tasks "
            "need none."
        )
    return None
