"""How long from nothing to the evaluated agent, and how much memory: what `make demo` runs, timed.

python -m benchmarks.demo --out runs/demo --json benchmarks/results/demo.json
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from e2c.errors import E2CError, run_command
from e2c.files import runs
from e2c.files.provenance import provenance
from e2c.files.whole import write_json

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Demo:
    """Train and evaluate from nothing, in a process of its own, and tell what it took."""

    seed: int = 0
    """Of the run."""
    out: Path | None = None
    """Run folder to keep; left out, the run is thrown away."""
    json: Path | None = None
    """File to write the figures to."""

    def __call__(self) -> None:
        """Run, measure, tell."""
        with tempfile.TemporaryDirectory() as name:
            run = self.out or Path(name) / "run"
            seconds = _timed(
                *("train.py", "--seed", str(self.seed), "--out", str(run)),
                *("--evaluation.episodes", "100"),
            )
            scores = json.loads((run / runs.EVALUATION).read_text())
            phases = json.loads((run / runs.SUMMARY).read_text())["seconds"]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        keys = ("success_rate", "time_in_goal", "oracle_time_in_goal", "seconds")
        figures = {
            "seconds": seconds,
            "phases": phases,
            "peak_memory_GiB": peak,
            "evaluation": {key: scores[key] for key in keys},
        }
        print(json.dumps(figures, indent=1))
        if self.json is not None:
            write_json(self.json, {**figures, **provenance()})


def _timed(*command: str) -> float:
    """Run a root script and return its wall-clock seconds."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, str(ROOT / command[0]), *command[1:]], check=False)
    if done.returncode:
        raise E2CError(f"{command[0]} ended with status {done.returncode}; see its message above.")
    return time.perf_counter() - started


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Demo)())
