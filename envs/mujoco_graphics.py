"""Graphics for the environments that MuJoCo draws: Gymnasium's, and dm_control's through shimmy."""

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
"""The ids of dm_control's environments begin with this."""
BACKENDS = ("egl", "osmesa")
"""Graphics libraries that need no display, the fastest first."""
MOST = 8
"""Most environments side by side: each holds about 50 MB for OpenGL, and more are not faster."""
LIBRARIES = "on Debian: apt install libegl1 libgl1, or libosmesa6"
_TRIAL = "import mujoco; mujoco.GLContext(8, 8).make_current()"


def is_drawn_by_mujoco(spec: EnvSpec) -> bool:
    """Tell whether MuJoCo draws an environment, from its entry in Gymnasium's registry."""
    of_gymnasium = str(spec.entry_point).startswith("gymnasium.envs.mujoco")
    return of_gymnasium or spec.id.startswith(DM_CONTROL)


@functools.cache
def choose_graphics() -> None:
    """Let MuJoCo draw without a display: set MUJOCO_GL to the first of `BACKENDS` that works.

    A value that the user has set stays. Each library is tried in a process of its own, since MuJoCo
    chooses only once in a process.
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
    """Return a context of MuJoCo for OpenGL without a display, by the library that is chosen now.

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
    except Exception as error:  # with another version of MuJoCo this may be an AttributeError
        raise ValueError(
            f"{env_id} needs dm_control, shimmy and a MuJoCo that they work with "
            f'({type(error).__name__}: {error}): pip install "e2c[dmc]"'
        ) from error


def own_step_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return the steps of an episode of dm_control's suite; None for other environments."""
    limit = getattr(getattr(env.unwrapped, "_env", None), "_step_limit", math.inf)
    return int(limit) if math.isfinite(limit) else None


def make_current(env: gymnasium.Env[Any, Any]) -> None:
    """Let OpenGL draw in the context of this environment from now on.

    Each of Gymnasium's environments has a context of its own, but never makes it current again.
    After another environment was closed, its pictures would be black.
    """
    if viewer := _viewer(env):
        viewer.make_context_current()


def free_with(owner: object, env: gymnasium.Env[Any, Any]) -> Callable[[], object]:
    """Free the objects in an environment's OpenGL context when their owner is no longer used.

    Gymnasium does not make the context current for this either. OpenGL knows objects by numbers, so
    it would free the objects with these numbers in another context.

    Returns:
        A function that frees them at once.
    """
    viewer = _viewer(env)
    if viewer is None:
        return free_when_unused(owner)
    return free_when_unused(owner, viewer.make_context_current, viewer.con.free, viewer.free)


def free_when_unused(owner: object, *steps: Callable[[], object]) -> Callable[[], object]:
    """Call ``steps`` once, one after the other, when their owner is no longer used.

    Returns:
        A function that calls them at once.
    """
    free = weakref.finalize(owner, _call_all, steps)
    free.atexit = False  # it might run after MuJoCo's own exit function, which ends EGL
    if steps:
        atexit.register(free)
    return free


def _call_all(steps: Iterable[Callable[[], object]]) -> None:
    for step in steps:
        step()


def _viewer(env: gymnasium.Env[Any, Any]) -> Any:
    """Return the viewer of one of Gymnasium's MuJoCo environments; None before it has drawn."""
    if not env.has_wrapper_attr("mujoco_renderer"):
        return None
    return getattr(env.get_wrapper_attr("mujoco_renderer"), "viewer", None)
