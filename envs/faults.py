"""Faults of a user's environment in one sentence: what failed, and where."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
OURS = tuple(f"{HOME / package}{os.sep}" for package in ("e2c", "envs", "planners"))
LIBRARIES = (*(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")), "<")
"""Beginnings of the file names of Python's library, of installed packages and of ``<string>``."""

CONTRACT = (
    "reset(seed, options) must return an observation and an info, step(action) an observation, a "
    "reward, terminated, truncated and an info, and render() a picture"
)


def failure(name: str, error: Exception) -> str:
    """Say in one sentence how a user's environment failed.

    Args:
        name: of the environment.
        error: the exception that the environment raised, or Gymnasium about it. If code of ours
            raised it, its message is such a sentence already, and is returned as it is.
    """
    said = " ".join(str(error).split()).rstrip(".")
    frames = traceback.extract_tb(error.__traceback__)
    if (
        isinstance(error, ValueError | TypeError)
        and frames
        and frames[-1].filename.startswith(OURS)
    ):
        return f"{said}."
    told = type(error).__name__ + (f": {said}" if said else "")
    last = own_frame(error)
    if isinstance(error, SyntaxError):  # its message names the file and the line
        return f"{name} fails with {told}; correct the environment."
    if last is None:
        return f"{name} fails with {told}; {CONTRACT}."
    where = f"{Path(last.filename).name}, line {last.lineno}"
    place = where if last.name == "<module>" else f"{last.name}() of {where}"
    return f"{name} fails in {place}, with {told}; correct the environment."


def own_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return the last place in the user's own code that an error came through, if any.

    Code of this project, of installed packages and of Python's library is not the user's own.
    """
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith((*OURS, *LIBRARIES))]
    return theirs[-1] if theirs else None
