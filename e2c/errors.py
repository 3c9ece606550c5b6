"""Errors that a user can put right, told in one sentence; and how a command ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from e2c.files.untrusted import one_line


class E2CError(Exception):
    """A mistake or a mishap outside of the program, whose message is for the user.

    The message is one sentence that says what was wrong, what was got, what is allowed and what to
    do next. Commands print it alone and exit with status 2.
    """


HOME = Path(__file__).resolve().parents[1]
DOORS = (HOME / "train.py", HOME / "evaluate.py")
"""Scripts that a user of the repository runs."""
COMMANDS = "e2c-"
"""The installed package's commands have names that begin with this."""


def check_surroundings() -> None:
    """Check that needed packages exist and that ours are not hidden, before they are imported.

    If not, a command prints the sentence and exits. From here on Ctrl-C ends a command at once,
    until everything is imported: some packages take it for a fault of their own.

    Raises:
        E2CError: when a package is missing, or a folder of the user's hides one of ours.
    """
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "").resolve()
    is_command = main in DOORS or main.name.startswith(COMMANDS)
    if is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        _check_packages()
        _check_neighbours()
    except E2CError as error:
        if is_command:
            _exit(str(error), 2)
        raise


def _check_packages() -> None:
    """Raise an E2CError if this Python lacks a package that every module needs."""
    for name in ("numpy", "torch"):
        if importlib.util.find_spec(name) is None:
            raise E2CError(
                f"{sys.executable} has no package {name}: activate the environment that `make "
                "demo` made (. .venv/bin/activate), or install e2c for this Python."
            )


def _check_neighbours() -> None:
    """Raise an E2CError when a folder of the user's comes before a package of ours."""
    for name in ("envs", "planners"):
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not any(Path(place).resolve() == HOME / name for place in places):
            found = places[0] if places else (spec.origin if spec else "nothing")
            raise E2CError(
                f"{found} hides the package {name} that comes with e2c; rename it, or run from "
                "another folder."
            )


AGAIN = 0.1
"""Time after which a stop that Python ignored is sent again [s]."""


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM, as Ctrl-C raises its base."""


def run_command(
    command: Callable[[], None], stopped: str = "Stopped; files already written are whole."
) -> NoReturn:
    """Run a command line and exit: 0 when done, 2 for an error that the user can put right.

    Ctrl-C ends with 130 and SIGTERM with 143, as a shell reports them. If the reader of the output
    has gone, the status is 141 and nothing is printed. Python ignores a stop that comes while a
    library calls back, as numba does when it compiles; so the stop is sent again.

    Args:
        command: parses ``sys.argv`` and does the work.
        stopped: the sentence that is printed after a stop.
    """
    earlier = signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by check_surroundings
        signal.signal(signal.SIGINT, signal.default_int_handler)
    told, sys.unraisablehook = sys.unraisablehook, _stop_again
    try:
        command()
        sys.stdout.flush()
    except E2CError as error:
        _exit(str(error), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = error.strerror or str(error) or type(error).__name__
        _exit(f"The system said '{reason}'{where}: free space or choose another path.", 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        _exit("Memory does not suffice for this: choose smaller numbers, or free memory.", 2)
    except KeyboardInterrupt as stop:
        _exit(stopped, 143 if isinstance(stop, Terminated) else 130)
    finally:
        signal.signal(signal.SIGTERM, earlier)
        sys.unraisablehook = told
    sys.exit(0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _stop_again(ignored: sys.UnraisableHookArgs) -> None:
    """Send a stop again if Python ignored it; report anything else as Python does."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return
    number = signal.SIGTERM if issubclass(ignored.exc_type, Terminated) else signal.SIGINT
    main = threading.main_thread().ident  # it may wait, and only signals sent to it wake it
    later = threading.Timer(AGAIN, signal.pthread_kill, (main, number))
    later.daemon = True
    later.start()


def _is_out_of_memory(error: Exception) -> bool:
    """Say whether an error is a lack of memory, which torch reports as a RuntimeError."""
    return isinstance(error, MemoryError) or "allocate" in str(error)


def _exit(sentence: str, status: int) -> NoReturn:
    print(f"e2c: {one_line(sentence)}", file=sys.stderr)
    sys.exit(status)
