"""What the environments need that MuJoCo draws: Gymnasium's, and those of dm_control by shimmy."""

from __future__ import annotations

import atexit
import functools
import importlib
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

DM_CONTROL = "dm_control/"
"""What the ids of dm_control's environments begin with."""
BACKENDS = ("egl", "osmesa")
"""Graphics libraries that need no display, the fastest first."""
MOST = 8
"""Environments side by side: each holds about 50 MB for OpenGL, and none is faster for others."""
LIBRARIES = "on Debian: apt install libegl1 libgl1, or libosmesa6"
_TRIAL = "import mujoco; mujoco.GLContext(8, 8).make_current()"


def is_drawn_by_mujoco(spec: EnvSpec) -> bool:
    """Tell whether MuJoCo draws an environment, by what Gymnasium knows of it."""
    of_gymnasium = str(spec.entry_point).startswith("gymnasium.envs.mujoco")
    return of_gymnasium or spec.id.startswith(DM_CONTROL)


@functools.cache
def choose_graphics() -> None:
    """Let MuJoCo draw without a display: set MUJOCO_GL to the first of `BACKENDS` that works.

    What the user has set stays. Each is tried in a process of its own: a process decides once.
    """
    if "MUJOCO_GL" in os.environ or sys.platform != "linux":
        return
    for backend in BACKENDS:
        surroundings = {**os.environ, "MUJOCO_GL": backend}
        command = [sys.executable, "-c", _TRIAL]
        if subprocess.run(command, env=surroundings, capture_output=True).returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return


def new_context(width: int, height: int) -> Any:
    """Return an OpenGL context of MuJoCo that draws without a display, by what was chosen.

    MuJoCo itself keeps to the library that was chosen when it was imported.
    """
    chosen = os.environ.get("MUJOCO_GL")
    module = importlib.import_module(f"mujoco.{chosen}" if chosen in BACKENDS else "mujoco")
    return module.GLContext(width, height)


def register_dm_control(env_id: str) -> None:
    """Let Gymnasium know the environments of dm_control.

    Raises:
        ValueError: when dm_control or shimmy cannot be imported.
    """
    choose_graphics()
    try:
        for package in ("dm_control.suite", "shimmy"):
            importlib.import_module(package)
    except Exception as error:  # an attribute that another version of MuJoCo does not have, too
        raise ValueError(
            f"{env_id} needs dm_control, shimmy and a MuJoCo that they work with "
            f'({type(error).__name__}: {error}): pip install "e2c[dmc]"'
        ) from error


def own_step_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return after how many steps an environment of dm_control's suite ends an episode."""
    limit = getattr(getattr(env.unwrapped, "_env", None), "_step_limit", math.inf)
    return int(limit) if math.isfinite(limit) else None


def make_current(env: gymnasium.Env[Any, Any]) -> None:
    """Let OpenGL draw in the context of this environment from now on.

    Each of Gymnasium's environments has a context of its own and leaves this out: where another one
    was closed meanwhile, its pictures would be black.
    """
    if viewer := _viewer(env):
        viewer.make_context_current()


def free_with(owner: object, env: gymnasium.Env[Any, Any]) -> Callable[[], object]:
    """Free what an environment holds in its OpenGL context when its owner is no longer used.

    Gymnasium leaves this out too: what is freed later, by its number, is that of another context.

    Returns:
        What frees it at once.
    """
    viewer = _viewer(env)
    if viewer is None:
        return free_when_unused(owner)
    return free_when_unused(owner, viewer.make_context_current, viewer.con.free, viewer.free)


def free_when_unused(owner: object, *steps: Callable[[], object]) -> Callable[[], object]:
    """Call ``steps`` once, one after the other, when their owner is no longer used.

    Returns:
        What calls them at once.
    """
    free = weakref.finalize(owner, _call_all, steps)
    free.atexit = False  # its turn might come after that of MuJoCo, which ends EGL
    if steps:
        atexit.register(free)
    return free


def _call_all(steps: Iterable[Callable[[], object]]) -> None:
    for step in steps:
        step()


def _viewer(env: gymnasium.Env[Any, Any]) -> Any:
    """Return what draws one of Gymnasium's MuJoCo environments, once it has drawn; else None."""
    if not env.has_wrapper_attr("mujoco_renderer"):
        return None
    return getattr(env.get_wrapper_attr("mujoco_renderer"), "viewer", None)
