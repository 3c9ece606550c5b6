"""Is a run that is killed anywhere, and started again, the run that nobody killed? Compared.

python -m benchmarks.kills                  # 50 runs, each killed once or twice, two at a time

A short run is trained from nothing as a reference; then again and again, killed with SIGKILL at
random moments, started again with the same command until it ends, and compared file by file, byte
by byte, but for wall-clock times. Every case leaves one JSON file in ``kills``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.store import ROOT, Benchmark, Cell, missing
from e2c.errors import E2CError, run_command
from e2c.files import runs

SHORT = [
    *("--seed", "0", "--model.encoder-hidden", "128", "128", "--model.decoder-hidden", "64", "64"),
    *("--data.transitions", "1000", "--optimiser.steps", "1000", "--data.rounds", "2"),
    *("--optimiser.steps-per-round", "200", "--data.episodes-per-round", "2"),
    *("--evaluation.episodes", "4"),
]
"""A run of half a minute that goes through everything a run goes through."""
OF_ITS_TIME = {
    *("seconds", "oracle_seconds", "plan_ms_median", "plan_ms_p99"),
    *("sessions", "resumed", "commit"),
}
"""What may differ between two runs of one recipe in their JSON files."""


@dataclass(frozen=True)
class Kills(Benchmark):
    """Kill runs, let them go on, compare; then tell how many were identical."""

    count: int = 50
    """Cases."""
    jobs: int = 2
    """Cases at once."""
    seed: int = 0
    """Of the moments."""

    def __call__(self) -> None:
        """Work through the cases that are missing, and tell."""
        asked = {str(case): self._cell(case) for case in range(self.count)}
        if not self.committed and (names := missing(asked)):
            self._work_through([*map(int, names)])
        cases = self.found(asked).values()
        kills = sum(kill["status"] == -signal.SIGKILL for case in cases for kill in case["kills"])
        identical = sum(case["identical"] for case in cases)
        print(f"{identical} of {len(cases)} runs identical, after {kills} kills")
        if identical < len(cases):
            raise E2CError("A run that was killed ended otherwise; see its file in the results.")

    def _cell(self, case: int) -> Cell:
        """Return the cell of a case."""
        path = self.folder / "kills" / f"case_{case:02}.json"
        return Cell(path, {"case": case, "seed": self.seed, "command": SHORT})

    def _work_through(self, cases: list[int]) -> None:
        with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(self.jobs) as pool:
            processes, folder = Processes(), Path(name)
            try:
                started = time.perf_counter()
                if code := processes.start(folder / "reference").wait():
                    typed = " ".join(("python train.py --out runs/short", *SHORT))
                    raise E2CError(f"The reference ended with status {code}; to see why: {typed}")
                seconds = time.perf_counter() - started
                expected = untimed(folder / "reference")

                def work(case: int) -> None:
                    outcome = self._case(case, folder / str(case), seconds, expected, processes)
                    if not processes.stopped.is_set():
                        print(_told(outcome), flush=True)
                        self._cell(case).keep(outcome)

                list(pool.map(work, cases))
            except BaseException:
                processes.stop()
                raise

    def _case(
        self,
        number: int,
        folder: Path,
        seconds: float,
        expected: dict[str, Any],
        processes: Processes,
    ) -> dict[str, Any]:
        """Kill a run once or twice, let it end, compare."""
        rng = np.random.default_rng([self.seed, number])
        moments = rng.uniform(0, seconds, rng.integers(1, 3))
        kills = [_kill(processes.start(folder), folder, moment) for moment in moments.tolist()]
        status = processes.start(folder).wait()
        found = untimed(folder) if status == 0 else {}
        differ = sorted(
            name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)
        )
        return {
            **{"case": number, "seed": self.seed, "kills": kills, "status": status},
            **{"identical": not differ, "differ": differ, "reference_seconds": seconds},
        }


class Processes:
    """The runs that are going on: whoever stops the benchmark stops them, and none begins then.

    Attributes:
        stopped: whether they were.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._started = list[subprocess.Popen[bytes]]()

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start a run, in a session of its own: where Ctrl-C reached it, it would seem killed."""
        process = subprocess.Popen(
            [sys.executable, "train.py", "--out", str(folder), *SHORT],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started.append(process)
        if self.stopped.is_set():  # it began while the others were stopped
            process.kill()
        return process

    def stop(self) -> None:
        """Stop them all."""
        self.stopped.set()
        for process in tuple(self._started):
            process.kill()


def _told(outcome: dict[str, Any]) -> str:
    kills = (f"{kill['after_seconds']:.1f} s ({kill['last']})" for kill in outcome["kills"])
    ended = outcome["differ"] or "identical"
    return f"case {outcome['case']}: killed after {', '.join(kills)}: {ended}"


def untimed(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves behind, by its name, but for what tells of time."""
    left_out = {runs.REPORT, runs.LOCK}
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in left_out]
    return {path.relative_to(folder).as_posix(): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in OF_ITS_TIME}


def _kill(process: subprocess.Popen[bytes], folder: Path, moment: float) -> dict[str, Any]:
    """Kill a run after ``moment`` seconds, and name the last file that was there."""
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    last = [name for name in _MILESTONES if (folder / name).exists()]
    return {
        "after_seconds": moment,
        "status": process.returncode,
        "last": (last or ["nothing"])[-1],
    }


_MILESTONES = (
    *(runs.CONFIG, "data/first.npz", runs.STATE, "metrics.jsonl", "data/round_1.npz"),
    *("data/round_2.npz", "checkpoint.safetensors", runs.EVALUATION, runs.VIDEO, runs.EPISODES),
    *(runs.PICTURES, runs.SUMMARY, runs.REPORT),
)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Kills)())
