"""What the benchmark of failures does to a sweep, done to one of a moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks import failures, sweeps
from benchmarks.cluster import members
from benchmarks.failures import KINDS, Failures, Struck, full, small_disk, workers
from benchmarks.sweeps import Small
from e2c.errors import E2CError

CELL = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / ".lock").write_text(str(os.getpid()))
time.sleep(0.2)
(folder / "config.yaml").write_text("seed")
(folder / "run.json").write_text("{}")
"""
SWEEP = """
import pathlib, subprocess, sys
cell, out, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
failed = 0
for number in range(count):
    folder = out / "default" / f"seed_{number}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.json").exists():
        failed += subprocess.run([sys.executable, "-S", "-c", cell, str(folder)]).returncode != 0
sys.exit(2 * (failed > 0))
"""


@dataclass(frozen=True)
class Brief(Small):
    """A sweep whose cells take a fifth of a second, one after the other."""

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-S", "-c", SWEEP, CELL, str(out), str(self.cells)]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL)


def struck(sweep: Small, out: Path) -> Struck:
    return Struck(sweep, out, np.random.default_rng(5), 0.3)


def test_a_sweep_is_disturbed_until_it_ends_and_compared(tmp_path: Path) -> None:
    sweep = Brief(6, 1, None)
    sweep.compute(tmp_path / "calm")
    expected = sweep.found(tmp_path / "calm")
    left = ["driver", "worker", "driver", "worker"]
    disturbed = struck(sweep, tmp_path / "out")
    end = disturbed.end(left)
    assert [each["kind"] for each in end["failures"]] == ["worker", "driver", "worker", "driver"]
    assert left == []
    assert end["status"] == 0
    assert 3 <= end["commands"] <= 5
    assert disturbed.compared(expected) == {"lost": 0, "otherwise": 0}
    (tmp_path / "out" / "default" / "seed_1" / "config.yaml").write_text("other")
    (tmp_path / "out" / "default" / "seed_2" / "run.json").unlink()
    assert disturbed.compared(expected) == {"lost": 1, "otherwise": 1}


def test_a_sweep_that_fails_undisturbed_is_not_tried_for_ever(tmp_path: Path) -> None:
    (tmp_path / "default").write_text("no folder")
    left = ["driver", "worker"]
    end = struck(Brief(1, 1, None), tmp_path).end(left)
    assert (end["commands"], end["status"] == 0) == (1, False)


def test_a_full_disk_ends_a_sweep_which_goes_on_once_it_is_freed(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk") as disk:
            with full(disk), pytest.raises(OSError, match="No space"):
                (disk / "file").write_text("text")
            sweep, left = Brief(4, 1, None), ["disk"]
            end = struck(sweep, disk / "out").end(left)
            assert (left, end["commands"], end["status"]) == ([], 2, 0)
            assert len(sweep.found(disk / "out")) == 4
    except E2CError as refused:
        pytest.skip(str(refused))


def test_what_works_on_a_cell_is_found_by_its_lock(tmp_path: Path) -> None:
    driver = Brief(1, 1, None).start(tmp_path)
    found: list[int] = []
    while not found and driver.poll() is None:
        time.sleep(0.01)
        found = workers(tmp_path)
    assert [failures.parent(process) for process in found] == [driver.pid]
    assert driver.wait() == 0
    assert workers(tmp_path) == []


def test_the_processes_of_a_node_are_those_of_a_session() -> None:
    line = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", line], stdin=subprocess.PIPE, start_new_session=True
    ) as leader:
        found: list[int] = []
        while len(found) < 2:
            time.sleep(0.01)
            found = members(leader.pid)
        assert leader.pid in found
        assert os.getpid() not in found


def test_a_node_is_lost_only_where_there_is_another(tmp_path: Path) -> None:
    with pytest.raises(E2CError, match="A node can be lost where there is another; give --jobs 2"):
        Failures(results=tmp_path, engines=("ray",), node=1, jobs=1)()


def test_tables_tell_each_engine() -> None:
    counts = {kind: number for number, kind in enumerate(KINDS, 1)}
    found = {"sweeps": [{}, {}], "cells": 8, "failures": counts, "lost": 0, "otherwise": 1}
    assert (
        failures.table({"ray": found}).splitlines()[-1] == "| ray | 2 | 8 | 1 | 2 | 3 | 4 | 0 | 1 |"
    )
    timed = {
        **{"cells": 20, "sweep": {"seconds": 100.0}, "alone": {"seconds": 80.0}, "otherwise": 0},
        **{"overhead": 0.25, "cpu_overhead": 0.125},
    }
    ray = {**timed, "cpu_overhead": None, "one_node": {}, "against_one_node": 1.75}
    assert sweeps.table({"processes": timed, "ray": ray}).splitlines()[2:] == [
        "| processes | 20 | 100 s | 80 s | 25.0% | 12.5% | 0 | 720 |  |",
        "| ray | 20 | 100 s | 80 s | 25.0% |  | 0 | 720 | 1.75 |",
    ]
