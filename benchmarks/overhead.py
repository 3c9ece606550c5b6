"""What it costs that a run can go on, tells how it goes and reports: seconds of one real run.

python -m benchmarks.overhead

A whole run is trained with the default preset, and the time is taken inside of it: of keeping and
writing states, of metrics and progress, of the report; so that the shares do not depend on what
else the machine does. Evaluating and filming are no overhead: they were asked for.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tyro

from benchmarks.store import Benchmark, Result
from e2c.config import Recipe
from e2c.errors import run_command
from e2c.files import runs, tracking
from e2c.learning import run
from e2c.learning.begin import Run
from e2c.learning.trainer import Trainer

PARTS: dict[str, list[tuple[Any, str]]] = {
    "resume": [(Run, "save_state"), (Trainer, "keep")],
    "tell": [(tracking.Tracker, "log"), (tracking.Progress, "__call__"), (run, "_progress_text")],
    "report": [(run, "write_report")],
}


@dataclass(frozen=True)
class Overhead(Benchmark):
    """Train one run with the default preset and tell what its trustworthiness cost."""

    seed: int = 0
    """Of the run."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        found = self.result("overhead", self.measured)
        print(json.dumps(found, indent=1))

    def measured(self) -> Result:
        """Train, and return the seconds of the parts."""
        with tempfile.TemporaryDirectory() as name, parts_timed() as seconds:
            trained = run.train(Recipe(seed=self.seed), Path(name) / "run")
            report = (Path(name) / "run" / runs.REPORT).stat().st_size
        training = sum(trained.seconds[part] for part in ("train", "own", "collect"))
        bare = training - seconds["resume"] - seconds["tell"]
        return {
            "seconds": dict(seconds),
            "bare_training_seconds": bare,
            "share": sum(seconds.values()) / bare,
            "report_bytes": report,
            "run_seconds": trained.seconds,
            "seed": self.seed,
        }


@contextlib.contextmanager
def parts_timed() -> Iterator[dict[str, float]]:
    """Sum up the seconds that the parts take meanwhile."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[part] += time.perf_counter() - started

        return call

    with contextlib.ExitStack() as stack:
        for part, functions in PARTS.items():
            for owner, name in functions:
                replaced = timed(part, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, replaced))
        yield seconds


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Overhead)())
