"""What test files share. One thread: the tensors are too small for two to help.

The process that hands out the tests reads this too, and imports no torch for it.
"""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import envs

if TYPE_CHECKING:
    from envs.task import Task


def pytest_collection_finish() -> None:
    """Let each process of tests compute with one thread."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _look_for_garbage_in_what_is_new() -> None:
    """Search no more for garbage in what is there when a file begins: a tenth of the time."""
    gc.freeze()


@pytest.fixture(params=sorted(envs.ENVIRONMENTS))
def name(request: pytest.FixtureRequest) -> str:
    """The id of each of our environments."""
    return str(request.param)


@pytest.fixture
def press_ctrl_c() -> Iterator[Callable[[], None]]:
    """Presses Ctrl-C in this process, which is deaf to it where it runs in the background."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    signal.signal(signal.SIGINT, earlier)


@pytest.fixture
def env(name: str) -> Task:
    """The task itself, of which all else is made."""
    from tiny import task_of

    return task_of(name)
