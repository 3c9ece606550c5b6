"""A call in a second process has the result of a call here, whatever happens to the process."""

import operator
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from processes import LIGHT, python
from tiny import ENV

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


def test_another_process_makes_the_calls() -> None:
    with Meanwhile(1) as second:
        calls = [second.ask(os.getpid), second.ask(operator.add, 3, 4), second.ask(os.getpid)]
        assert calls[2]() == calls[0]() == calls[0]() != os.getpid()
        assert calls[1]() == 7


def test_where_there_is_no_core_for_it_the_call_is_made_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Meanwhile(2) as second:
        assert second.ask(os.getpid)() == os.getpid()
    monkeypatch.setattr(meanwhile, "cores", lambda: 1)
    with Meanwhile(1) as second:
        assert second.ask(os.getpid)() == os.getpid()


def test_where_no_process_starts_the_call_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with Meanwhile(1) as second:
        assert second.ask(os.getpid)() == os.getpid()


def test_where_the_process_dies_the_calls_are_made_here() -> None:
    with Meanwhile(1) as second:
        answered, calls = second.ask(os.getpid), [second.ask(time.sleep, 600)]
        before = answered()
        assert second._process is not None
        calls.append(second.ask(operator.add, 1, 1))
        second._process.kill()
        assert calls[1]() == 2
        assert second.ask(os.getpid)() == os.getpid()
        assert answered() == before != os.getpid()


def test_a_call_that_fails_fails_here_and_the_next_one_is_made() -> None:
    with Meanwhile(1) as second:
        call, following = second.ask(operator.truediv, 1, 0), second.ask(os.getpid)
        with pytest.raises(ZeroDivisionError):
            call()
        assert following() != os.getpid()


def test_long_messages_are_not_waited_for() -> None:
    """They are longer than a pipe holds, and nobody takes them at once."""
    with Meanwhile(1) as second:
        calls = [second.ask(operator.mul, b"ab" * 300_000, 2) for _ in range(3)]
        assert {call() for call in calls} == {b"ab" * 600_000}


def test_closing_ends_the_process_and_another_call_starts_it_anew() -> None:
    with Meanwhile(1) as second:
        second.ask(time.sleep, 600)
        process = second._process
        assert process is not None
        second.close()
        assert process.returncode == -signal.SIGKILL
        assert second.ask(os.getpid)() not in (os.getpid(), process.pid)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(0)"])
def test_the_process_ends_with_the_one_that_started_it(end: str) -> None:
    program = f"""{LIGHT}
import os, signal, time
from e2c.files import meanwhile
meanwhile.cores = lambda: 2
second = meanwhile.Meanwhile(1)
second.ask(time.sleep, 600)
print(second._process.pid, flush=True)
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
    with Meanwhile(1) as second:
        ideal = oracle_meanwhile(second, world, *asked)
        assert ideal is not None
        there = ideal()
        assert oracle_meanwhile(second, world, *asked[:2], MANY - 1, 7) is None
    np.testing.assert_array_equal(there.states, here.states)
    assert there.scores.rows() == here.scores.rows()
    assert there.cost == here.cost
