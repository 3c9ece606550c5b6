"""A call in a second process has the result of a call here, whatever happens to the process."""

import contextlib
import operator
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from tiny import ENV, python

from e2c.control.agent import PlannerConfig
from e2c.control.base import make_world, problem_spec
from e2c.evaluation.assessment import MANY, oracle_meanwhile, play_oracle
from e2c.evaluation.disturbances import Disturbance
from e2c.files import meanwhile
from e2c.files.meanwhile import Meanwhile


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanwhile, "cores", lambda: 2)


def running(process: int) -> bool:
    """Whether a process is there and not only remembered."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return told.stdout.strip() not in ("", "Z", "Z+", "Zs")


def test_another_process_makes_the_call() -> None:
    with contextlib.closing(Meanwhile(1, os.getpid)) as call:
        assert call() != os.getpid()
        assert call() == call()


def test_where_there_is_no_core_for_it_the_call_is_made_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.closing(Meanwhile(2, os.getpid)) as call:
        assert call() == os.getpid()
    monkeypatch.setattr(meanwhile, "cores", lambda: 1)
    with contextlib.closing(Meanwhile(1, os.getpid)) as call:
        assert call() == os.getpid()


def test_where_no_process_starts_the_call_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with contextlib.closing(Meanwhile(1, os.getpid)) as call:
        assert call() == os.getpid()


def test_where_the_process_dies_the_call_is_made_here() -> None:
    with contextlib.closing(Meanwhile(1, os.getpid)) as call:
        assert call._process is not None
        call._process.kill()
        assert call() == os.getpid()


def test_a_call_that_fails_fails_here() -> None:
    with (
        contextlib.closing(Meanwhile(1, operator.truediv, 1, 0)) as call,
        pytest.raises(ZeroDivisionError),
    ):
        call()


def test_a_long_answer_is_not_waited_for_by_the_process() -> None:
    """It is longer than a pipe holds."""
    with contextlib.closing(Meanwhile(1, operator.mul, b"ab", 300_000)) as call:
        assert call._process is not None
        assert call._process.wait(60) == 0
        assert call() == b"ab" * 300_000


def test_closing_ends_the_process() -> None:
    call = Meanwhile(1, time.sleep, 600)
    assert call._process is not None
    call.close()
    assert call._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(0)"])
def test_the_process_ends_with_the_one_that_started_it(end: str) -> None:
    program = f"""
import os, signal, sys, time
from e2c.files import meanwhile
meanwhile.cores = lambda: 2
call = meanwhile.Meanwhile(1, time.sleep, 600)
print(call._process.pid, flush=True)
{end}
"""
    process, began = int(python("-c", program).stdout), time.monotonic()
    while running(process) and time.monotonic() - began < 60:
        time.sleep(0.05)
    assert not running(process)


def test_the_oracle_does_the_same_there_as_here() -> None:
    options = {"max_episode_steps": 4, "state_noise": 1.0}
    world = make_world(ENV, 1, **options)
    asked = (problem_spec(world, options), PlannerConfig(horizon=6, restarts=2), MANY, 7)
    here = play_oracle(*asked, Disturbance())
    with oracle_meanwhile(world, *asked, 1) as ideal:
        assert ideal is not None
        there = ideal()
    np.testing.assert_array_equal(there.states, here.states)
    assert there.scores.rows() == here.scores.rows()
    assert there.cost == here.cost
    with oracle_meanwhile(world, *asked[:2], MANY - 1, 7, 1) as none:
        assert none is None
