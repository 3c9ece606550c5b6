"""Thousands of broken inputs to the commands: each ends well, or in one sentence and status 2.

python -m benchmarks.mutations --count 10000

Never a traceback, another status, a hang, a file beside the working folder, code that is run from a
file, or memory without bound. Commands run in this process, as a shell would run them; some of the
refusals are repeated in processes of their own and must say the same there. What is accepted is
stopped where training or a long collection would begin.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import gymnasium
import numpy as np
import torch
import tyro
import yaml

import envs
from benchmarks.mutants import CANARY, MUTATIONS, WHOLE
from benchmarks.store import ROOT, Benchmark
from e2c import commands, door
from e2c.config import Config, DataConfig, EvaluationConfig, Recipe
from e2c.control.agent import PlannerConfig
from e2c.control.base import rollout
from e2c.errors import E2CError, run_command
from e2c.evaluation import evaluate
from e2c.learning import begin, run
from e2c.learning.collect import collect_transitions
from e2c.learning.schedule import OptimiserConfig
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.options import to_dict

SECONDS = 10.0
"""A command that takes longer hangs."""
MEMORY = 2**31
"""Bytes of address space that a command may take beyond what the process has."""
APART = 40
"""Refusals that are repeated in processes of their own."""
STEPS = 4
"""Steps of an episode here."""
COMMANDS: dict[str, Callable[[], NoReturn]] = {
    "collect": commands.collect_command,
    "train": commands.train_command,
    "evaluate": commands.evaluate_command,
    "report": commands.report_command,
}
DOOR = "import sys; from e2c import commands; sys.argv[0] = {0!r}; commands.{0}_command()"
"""A program that runs a command under its name."""
RECIPE = Recipe(
    Config(
        model=ModelConfig(
            latent_dim=3,
            view="plain",
            encoder_hidden=(8, 7),
            decoder_hidden=(6,),
            transition_hidden=(5,),
        ),
        objective=ObjectiveConfig(horizon=3, targets=2),
        optimiser=OptimiserConfig(
            steps=4, steps_per_round=3, batch_size=5, blur=0.0, dynamics_steps=0, sight_steps=0
        ),
        data=DataConfig(20, noise="uniform", episode_length=5, rounds=1, episodes_per_round=2),
        planner=PlannerConfig(horizon=3, first_iterations=2, restarts=2),
        evaluation=EvaluationConfig(episodes=2),
    )
)
"""Of a run of a second."""


class Accepted(BaseException):
    """Raised where a command that found nothing wrong would begin its long work."""


class Hang(BaseException):
    """Raised in a command that takes too long."""


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        verdict: ``done``, ``accepted``, ``sentence`` or ``usage`` (told by the parser of the
            command line) as it should be; anything else says what should not have been.
        told: the last lines of what it told, or of its traceback.
        seconds: wall-clock.
    """

    verdict: str
    told: str
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether that is how a command may end."""
        return self.verdict in ("done", "accepted", "sentence", "usage")


# ---------------------------------------------------------------------------------------- material


def make_material(folder: Path) -> None:
    """Make the whole inputs that mutations break; see `benchmarks.mutants.Material`."""
    text = yaml.safe_dump(to_dict(RECIPE))
    (folder / WHOLE.recipe).write_text(text)
    data = RECIPE.config.data
    made = collect_transitions(RECIPE.config.env, data.transitions, data.episode_length, 0)
    made.save(folder / WHOLE.data)
    with short_episodes(), contextlib.redirect_stderr(io.StringIO()):
        run.train(RECIPE, folder / WHOLE.run)
        with mock.patch.object(run, "_finish", _accept), contextlib.suppress(Accepted):
            run.train(RECIPE, folder / WHOLE.begun)


@contextlib.contextmanager
def short_episodes() -> Iterator[None]:
    """Let the tasks' episodes end after `STEPS` steps."""
    with contextlib.ExitStack() as patches:
        for name in envs.ENVIRONMENTS:
            spec = gymnasium.spec(name)
            patches.enter_context(mock.patch.object(spec, "max_episode_steps", STEPS))
        yield


def _accept(*_: Any, **__: Any) -> NoReturn:
    raise Accepted


def _small(function: Callable[..., Any], size: Callable[..., int]) -> Callable[..., Any]:
    """Let ``function`` do small work only."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return _accept() if size(*args, **kwargs) > 100 else function(*args, **kwargs)

    return stand_in


@contextlib.contextmanager
def nothing_long() -> Iterator[None]:
    """Stop commands where long work would begin.

    The recipe of the material is so short that it is trained on.
    """
    collect = _small(collect_transitions, lambda env_id, transitions, *_, **__: transitions)
    act = _small(rollout, lambda world, *_: world.num_envs)
    learn = _small(run._learn, lambda begun: 0 if begun[0].config == RECIPE.config else 101)
    with (
        short_episodes(),
        mock.patch.object(door, "collect_transitions", collect),
        mock.patch.object(begin, "collect_transitions", collect),
        mock.patch.object(evaluate, "rollout", act),
        mock.patch.object(run, "_learn", learn),
        mock.patch.object(run, "_finish", _accept),
    ):
        yield


# ----------------------------------------------------------------------------------------- running


def run_here(line: Sequence[str], folder: Path) -> Outcome:
    """Run a command line in this process, in a working folder that nothing may leave."""
    out, err = _stream("strict"), _stream("backslashreplace")
    around, started = set(os.listdir(folder.parent)), time.perf_counter()
    with (
        mock.patch.object(sys, "argv", list(line)),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        verdict, trace = _end_of(COMMANDS[line[0]])
    told = err.buffer.getvalue().decode() if isinstance(err.buffer, io.BytesIO) else ""
    seconds = time.perf_counter() - started
    if (folder.parent / CANARY).exists():
        verdict = "code was run"
    elif set(os.listdir(folder.parent)) != around:
        verdict = "a file beside the folder"
    elif verdict == "status 2":
        verdict = _kind_of_message(told)
    return Outcome(verdict, trace or told[-2000:], seconds)


def _stream(errors: str) -> io.TextIOWrapper:
    """What a terminal is to a process."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True)


def _end_of(command: Callable[[], NoReturn]) -> tuple[str, str]:
    """Run a command; say how it ended, and with what traceback."""
    signal.signal(signal.SIGALRM, _hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        command()
    except SystemExit as end:
        return ("done" if end.code == 0 else f"status {end.code}"), ""
    except Accepted:
        return "accepted", ""
    except Hang:
        return "hang", traceback.format_exc()
    except BaseException as error:
        return f"traceback: {type(error).__name__}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _hang(*_: Any) -> NoReturn:
    raise Hang


def _kind_of_message(told: str) -> str:
    """Say whether a refusal was one sentence, or the command line's parser's."""
    lines = told.splitlines()
    own = [line for line in lines if line.startswith("e2c: ")]
    if "Traceback" in told or "Warning:" in told:
        return "a refusal that shows its insides"
    if not own:
        return "usage" if "─" in told else "an unexplained refusal"
    return "sentence" if len(own) == 1 and lines[-1] == own[0] else "a refusal of several lines"


def run_apart(line: Sequence[str], folder: Path) -> Outcome:
    """Run a command line in a process of its own, as a shell does."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", DOOR.format(line[0]), *line[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=60,
    )
    told = done.stderr.decode()
    verdict = _kind_of_message(told) if done.returncode == 2 else f"status {done.returncode}"
    return Outcome(verdict, told[-2000:], time.perf_counter() - started)


# --------------------------------------------------------------------------------------- mutations


@dataclass(frozen=True)
class Case:
    """A mutation and what became of it.

    Attributes:
        number: makes it again, with the seed.
        kind: a key of `benchmarks.mutants.MUTATIONS`.
        line: the command line.
    """

    number: int
    kind: str
    line: list[str]
    outcome: Outcome


def mutate(seed: int, number: int, material: Path, folder: Path) -> tuple[str, list[str]]:
    """Make the broken input of a number in ``folder``; return its kind and command line."""
    rng = np.random.default_rng([seed, number])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(material, folder)
    kind = list(MUTATIONS)[number % len(MUTATIONS)]
    return kind, MUTATIONS[kind](rng, folder)


def cases(material: Path, seed: int, numbers: Sequence[int], apart: int = 0) -> Iterator[Case]:
    """Run mutations, in a working folder beside the material.

    Args:
        material: what `make_material` made.
        seed: of all of them.
        numbers: of those that are run.
        apart: how many refusals, spread evenly, are repeated in processes of their own, and yielded
            a second time.
    """
    folder, repeated = material.with_name("case"), 0
    for place, number in enumerate(numbers):
        kind, line = mutate(seed, number, material, folder)
        with nothing_long():
            outcome = run_here(line, folder)
        yield Case(number, kind, line, outcome)
        due = 1 + place * apart // len(numbers) if apart else 0
        if repeated < due and outcome.verdict in ("sentence", "usage"):
            repeated += 1
            mutate(seed, number, material, folder)
            yield Case(number, f"{kind}, apart", line, _compared(run_apart(line, folder), outcome))


def _compared(again: Outcome, outcome: Outcome) -> Outcome:
    """Return an outcome whose verdict says if it differs from the one before."""
    same = (again.verdict, again.told[-60:]) == (outcome.verdict, outcome.told[-60:])
    return again if same else dataclasses.replace(again, verdict=f"otherwise: {again.verdict}")


def table(outcomes: Mapping[str, int]) -> str:
    """Lay out how often each kind of input ended how; keys are ``KIND: HOW``."""
    kinds, columns = (sorted({key.split(": ", 1)[k] for key in outcomes}) for k in (0, 1))
    counts = [[str(outcomes.get(f"{kind}: {how}", 0)) for how in columns] for kind in kinds]
    rows = [["", *columns], *([k, *count] for k, count in zip(kinds, counts, strict=True))]
    return "\n".join("  ".join(f"{cell:>24}" for cell in row) for row in rows)


@dataclass(frozen=True)
class Mutations(Benchmark):
    """Break inputs, run the commands on them, tell how they ended."""

    count: int = 10_000
    """Broken inputs."""
    seed: int = 0
    """Of all of them."""
    first: int = 0
    """Number of the first, to repeat some alone."""

    def __call__(self) -> None:
        """Run or read, tell."""
        torch.set_num_threads(1)
        found = self.result("mutations", self.measured)
        print(table(found["outcomes"]))
        if found["faults"]:
            raise E2CError(f"{len(found['faults'])} inputs ended as none may; see above.")

    def measured(self) -> dict[str, Any]:
        """Make material, break it, and count how commands end."""
        with tempfile.TemporaryDirectory() as name:
            material = Path(name, "material")
            material.mkdir()
            make_material(material)
            limit = _used_bytes() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            return self._count(material)

    def _count(self, material: Path) -> dict[str, Any]:
        """Run all, telling of faults as they are found; return the figures."""
        started, before, slowest = time.perf_counter(), _peak_bytes(), 0.0
        verdicts, faults = collections.Counter[tuple[str, str]](), []
        numbers = range(self.first, self.first + self.count)
        for case in cases(material, self.seed, numbers, APART):
            verdicts[case.kind, case.outcome.verdict] += 1
            slowest = max(slowest, case.outcome.seconds)
            if not case.outcome.sound:
                faults.append(asdict(case))
                print(f"{case.number} {case.kind}: {case.line}\n{case.outcome}", file=sys.stderr)
        return {
            "count": self.count,
            "seed": self.seed,
            "outcomes": {f"{kind}: {how}": n for (kind, how), n in sorted(verdicts.items())},
            "faults": faults,
            "seconds": time.perf_counter() - started,
            "slowest_seconds": slowest,
            "memory_growth_MiB": (_peak_bytes() - before) / 2**20,
        }


def _used_bytes() -> int:
    """Address space of this process."""
    return (
        int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        * resource.getpagesize()
    )


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Mutations)())
