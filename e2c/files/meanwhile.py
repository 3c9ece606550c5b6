"""Calls that a second process makes, one after another, while this one goes on.

The second process runs this file as a script. It shows nothing, Ctrl-C is not for it, and it ends
when the first one does, however that ends: its standard input closes then.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import IO, Any, Generic, TypeVar

T = TypeVar("T")
LENGTH = 8
"""Bytes that tell how long a message between the processes is."""


class Answer(Generic[T]):
    """The result of a call that was asked for: call this object for it.

    Args:
        call: is made here, where the second process gives no result.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._told: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def tell(self, message: bytes) -> None:
        """Take the pickled result; nothing says that there is none."""
        self._told.put(message)

    def __call__(self) -> T:
        """Return the result; wait for it, or make the call here."""
        message = self._told.get()
        self.tell(message)
        if not message:
            return self._call()
        result: T = pickle.loads(message)
        return result


class Meanwhile:
    """A second process, which starts with the first call; it ends where a ``with`` of this ends.

    It makes calls one after another, if there is a core for it. Where there is none, where it ends,
    and where a call fails, that call is made here when its result is wanted.

    Args:
        threads: cores that this process uses itself, and that the second one may use.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()
        self._asked: list[Answer[Any]] | None = None
        """What has no result yet; None where no process makes calls."""

    def __enter__(self) -> Meanwhile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, function: Callable[..., T], *arguments: object) -> Answer[T]:
        """Begin a call.

        Args:
            function: of a module, so that the second process finds it.
            arguments: can be pickled, as the result can.
        """
        call = partial(function, *arguments)
        answer = Answer(call)
        if self._process is None and cores() >= 2 * self._threads:
            with contextlib.suppress(OSError):
                self._start()
        with self._lock:
            if self._asked is None:
                answer.tell(b"")
                return answer
            self._asked.append(answer)
        self._send(pickle.dumps(call))
        return answer

    def _start(self) -> None:
        """Start the second process, which first learns where modules are."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
            start_new_session=True,
        )
        self._asked = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._send(pickle.dumps(sys.path))

    def _send(self, message: bytes) -> None:
        """Send a message; the reader notices where nobody takes it."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            write(self._process.stdin, message)

    def _read(self) -> None:
        """Take what the process answers; once it has ended, no call has an answer."""
        assert self._process is not None
        assert self._process.stdout is not None
        while (message := read(self._process.stdout)) is not None:
            with self._lock:
                assert self._asked is not None
                answer = self._asked.pop(0)
            answer.tell(message)
        with self._lock:
            asked, self._asked = self._asked, None
        for answer in asked or []:
            answer.tell(b"")

    def close(self) -> None:
        """End the second process, whether or not it has answered; another call starts it anew."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # what was not flushed to a process that is gone
                    assert stream is not None
                    stream.close()
            self._process = None


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write(stream: IO[bytes], message: bytes) -> None:
    """Write a message after its length."""
    stream.write(len(message).to_bytes(LENGTH, "big") + message)
    stream.flush()


def read(stream: IO[bytes]) -> bytes | None:
    """Read a message; None where no whole one comes any more."""
    head = stream.read(LENGTH)
    length = int.from_bytes(head, "big")
    message = stream.read(length) if len(head) == LENGTH else b""
    return message if len(head) == LENGTH and len(message) == length else None


def listen(calls: queue.SimpleQueue[bytes]) -> None:
    """Take calls until the first process closes its end, or is gone; then end at once."""
    while (message := read(sys.stdin.buffer)) is not None:
        calls.put(message)
    end_with_the_first()


def end_with_the_first() -> None:
    """Wait until the first process closes its end, or is gone; then end at once."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGKILL)


def answered(message: bytes) -> bytes:
    """Make a call, and return its result as a message; an empty one where it fails."""
    try:
        return pickle.dumps(pickle.loads(message)())
    except Exception:
        return b""


def main() -> None:
    """Make the calls that standard input tells, and write their results to standard output."""
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        threading.Thread(target=listen, args=(calls,), daemon=True).start()
        sys.path[:] = pickle.loads(calls.get())
        while True:
            write(answers, answered(calls.get()))


if __name__ == "__main__":
    main()
