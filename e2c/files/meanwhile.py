"""A call that a second process makes while this one goes on.

The second process runs this file as a script. It shows nothing, Ctrl-C is not for it, and it ends
when the first one does, however that ends: its standard input closes then.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """A call whose result is wanted later: call this object for the result, then close it.

    A second process makes the call, if there is a core for it. If there is none, or the process
    ends without a result, the call is made here when its result is wanted.

    Args:
        threads: cores that this process uses itself, and that the second one may use.
        function: of a module, so that the second process finds it.
        arguments: can be pickled, as the result can.
    """

    def __init__(self, threads: int, function: Callable[..., T], *arguments: object) -> None:
        self._call = partial(function, *arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._answer = b""
        if cores() >= 2 * threads:
            with contextlib.suppress(OSError):
                self._start(threads)

    def _start(self, threads: int) -> None:
        """Start the second process, which first learns where modules are, and then its call."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        for part in (sys.path, self._call):
            pickle.dump(part, self._process.stdin)
        self._process.stdin.flush()

    def _read(self) -> None:
        """Take what the process answers, so that it need not wait."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._answer = self._process.stdout.read()

    def __call__(self) -> T:
        """Return the result; wait for it, or make the call here."""
        if self._process is not None:
            self._reader.join()
            if self._process.wait() == 0:
                result: T = pickle.loads(self._answer)
                return result
        return self._call()

    def close(self) -> None:
        """End the second process, whether or not it has answered."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # what was not flushed to a process that is gone
                    assert stream is not None
                    stream.close()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_the_first() -> None:
    """Wait until the first process closes its end, or is gone; then end at once."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Make the call that standard input tells, and write the result to standard output."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answer:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.path[:] = pickle.load(sys.stdin.buffer)
        call = pickle.load(sys.stdin.buffer)
        threading.Thread(target=end_with_the_first, daemon=True).start()
        pickle.dump(call(), answer)


if __name__ == "__main__":
    main()
