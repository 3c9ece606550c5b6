"""How long from nothing to the evaluated agent, and how much memory: what `make demo` runs, timed.

python -m benchmarks.demo --out runs/demo

``seconds`` is the wall-clock of the whole, and ``phases`` that of its parts, one after another.
What a second process does meanwhile is under ``beside``: it is a part of the whole only as far as
the last phase waits for it. ``peak_memory_GiB`` is of all processes together. On Linux memory that
they share, such as the code of libraries, is counted once; elsewhere in each.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.store import ROOT, Benchmark, Result
from e2c.errors import E2CError, run_command
from e2c.files import runs
from e2c.files.meanwhile import cores

SAMPLE_SECONDS = 0.5
"""Memory is looked at this often."""


@dataclass(frozen=True)
class Demo(Benchmark):
    """Train and evaluate from nothing, in a process of its own, and tell what it took."""

    seed: int = 0
    """Of the run."""
    device: str = "cpu"
    """cpu or cuda."""
    out: Path | None = None
    """Run folder to keep; left out, the run is thrown away."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        found = self.result("demo" if self.device == "cpu" else "demo/cuda", self.measured)
        print(json.dumps(found, indent=1))

    def measured(self) -> Result:
        """Run from nothing, and return what it took."""
        with tempfile.TemporaryDirectory() as name:
            run = self.out or Path(name) / "run"
            seconds, peak = _measured(
                *("train.py", "--seed", str(self.seed), "--out", str(run)),
                *("--evaluation.episodes", "100", "--device", self.device),
            )
            scores = json.loads((run / runs.EVALUATION).read_text())
            phases = json.loads((run / runs.SUMMARY).read_text())["seconds"]
        keys = ("success_rate", "time_in_goal", "oracle_time_in_goal", "seconds")
        return {
            "seconds": seconds,
            "cores": cores(),
            "phases": phases,
            "beside": {"oracle": scores["oracle_seconds"]} if cores() > 1 else {},
            "peak_memory_GiB": peak,
            "evaluation": {key: scores[key] for key in keys},
        }


def _measured(*command: str) -> tuple[float, float]:
    """Run a root script; return its wall-clock [s] and the most memory that it had [GiB]."""
    started, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, str(ROOT / command[0]), *command[1:]])
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_SECONDS)
    if process.returncode:
        told = f"{command[0]} ended with status {process.returncode}"
        raise E2CError(f"{told}; see its message above.")
    return time.perf_counter() - started, peak


def _memory(root: int) -> float:
    """Return the memory of a process and of all that come from it [GiB]."""
    told = subprocess.run(
        ["ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "rss="], capture_output=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in told.stdout.splitlines()]
    family = {root}
    while more := {pid for pid, parent, _ in rows if parent in family} - family:
        family |= more
    sizes = [_proportional(pid) or size for pid, _, size in rows if pid in family]
    return sum(sizes) / 2**20


def _proportional(pid: int) -> int | None:
    """Return the memory of a process, and its part of what it shares [KiB]; None if not known."""
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = re.search(r"^Pss: +([0-9]+) kB", told, re.MULTILINE)
    return int(found[1]) if found else None


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Demo)())
