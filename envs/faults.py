"""What goes wrong in code that is not ours, and where: an environment's faults in one sentence."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
OURS = tuple(f"{HOME / package}{os.sep}" for package in ("e2c", "envs", "planners"))
LIBRARIES = (*(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")), "<")
"""How the names of files begin that are Python's, of an installed package, or of no file."""

CONTRACT = (
    "reset(seed, options) must return an observation and an info, step(action) an observation, a "
    "reward, terminated, truncated and an info, and render() a picture"
)


def failure(name: str, error: Exception) -> str:
    """Tell in one sentence how somebody's environment failed.

    Args:
        name: of the environment.
        error: what it raised, or Gymnasium on its behalf. What a camera or a world of ours raised
            is such a sentence already, and is returned as it is.
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
    """Return the last place of the user's own code that an error came through, if any.

    What is in this project, in an installed package or in Python's library is nobody's own.
    """
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith((*OURS, *LIBRARIES))]
    return theirs[-1] if theirs else None
