"""The command lines: what is typed becomes one call; the outermost layer."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import torch
import tyro

from e2c.config import Config, Recipe, check_recipe
from e2c.control.agent import load_agent
from e2c.errors import E2CError, run_command
from e2c.files import runs
from e2c.files.tracking import WandbMode
from e2c.files.untrusted import one_line
from e2c.learning import experiment
from e2c.presets import HEADLINE, PRESETS, preset
from e2c.report import write_report

T = TypeVar("T")


@dataclass(frozen=True)
class Collect:
    """Record a dataset: episodes from random restarts, under random controls or a trained agent.

    Example: e2c-collect --out data/random.npz --transitions 10000 --seed 3
    """

    out: Path
    """Dataset file to write (.npz)."""
    env: str = "E2C/PendulumSwingUp-v0"
    """Gymnasium id of the task."""
    transitions: int = 5000
    """Transitions to record, rounded up to whole episodes."""
    episode_length: int = 25
    """Steps of each episode."""
    seed: int = 0
    """Of restarts and controls."""
    agent: Path | None = None
    """Run folder of a trained agent that is to act; left out, controls are random."""
    exploration: float = 0.15
    """Standard deviation of the noise on the agent's controls, as a share of the limits."""

    def __call__(self) -> None:
        """Record, write and tell."""
        _within(1, 1e7, transitions=self.transitions)
        _within(1, 1e5, episode_length=self.episode_length)
        _within(0, 1000, exploration=self.exploration)
        _within(0, 2**63 - 1, seed=self.seed)
        _ends_in(".npz", out=self.out)
        agent = None if self.agent is None else load_agent(self.agent)
        data = experiment.collect(
            self.env, self.transitions, self.episode_length, self.seed, agent, self.exploration
        )
        data.save(self.out)
        _tell(f"{self.out}: {data.transitions} transitions, sha256 {data.content_hash[:16]}")


@dataclass(frozen=True)
class Train:
    """Train an agent from pixels: collect, learn embedding and dynamics jointly, act, learn on.

    The same command goes on with a run that was interrupted.

    Example: python train.py --seed 0 --out runs/pendulum
    """

    out: Path
    """Run folder to make, or to go on with."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """What is learned; starts from the preset, or from the run that is repeated."""
    preset: Literal[*PRESETS] = "default"  # type: ignore[valid-type]
    """Named configuration to start from, as it is for the task; other options change it."""
    repeat: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """config.yaml of a run to repeat; other options change it."""
    seed: int = 0
    """Of data, weights, batches and exploration."""
    data: tuple[Path, ...] = ()
    """Dataset files to start from, in place of random transitions."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Threads that torch uses; small networks gain nothing from more. Bitwise repeats need the
    same number."""
    wandb: WandbMode = "off"
    """Report to wandb too: offline keeps it in the run folder, online sends it."""

    def __call__(self) -> None:
        """Train and tell."""
        data = tuple(os.path.abspath(path) for path in self.data)
        recipe = check_recipe(Recipe(self.config, self.seed, data, self.device, self.threads))
        if runs.finished(self.out) and runs.read_recipe(self.out / runs.CONFIG) == recipe:
            _tell(f"{self.out}: this run has ended; next: python evaluate.py {self.out}")
            return
        run = experiment.train(recipe, self.out, self.wandb)
        _tell(
            f"{self.out}: trained on {run.transitions} transitions in "
            f"{run.seconds['total']:.0f} s, told in {self.out / runs.REPORT}; "
            f"next: python evaluate.py {self.out}"
        )


@dataclass(frozen=True)
class Evaluate:
    """Run a trained agent from images alone, and the oracle on the same starts.

    Example: python evaluate.py runs/pendulum --episodes 100 --video episode.mp4
    """

    run: tyro.conf.Positional[Path]
    """Run folder that training wrote."""
    episodes: int = 10
    """Episodes, side by side in one batch."""
    seed: int = 1000
    """Of the starts."""
    outputs: Annotated[experiment.Outputs, tyro.conf.arg(name="")] = field(
        default_factory=experiment.Outputs
    )
    """Files to write."""
    oracle: bool = True
    """Run the oracle too: the same planner on the true state and dynamics."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Threads that torch uses; small networks gain nothing from more."""
    disturbance: Annotated[experiment.Disturbance, tyro.conf.arg(name="")] = field(
        default_factory=experiment.Disturbance
    )
    """What the world does besides."""

    def __call__(self) -> None:
        """Evaluate, write and tell."""
        _within(1, 1e4, episodes=self.episodes)
        _within(1, 256, threads=self.threads)
        _within(0, 2**63 - 1, seed=self.seed)
        _within(0, 1e4, frame_noise=self.disturbance.frame_noise)
        _within(0, 1, black_frames=self.disturbance.black_frames)
        _within(0, 1e4, state_noise=self.disturbance.state_noise)
        _within(-1e4, 1e4, kick=self.disturbance.kick)
        _ends_in(".json", json=self.outputs.json)
        _ends_in(".mp4", video=self.outputs.video)
        _ends_in(".png", picture=self.outputs.picture)
        _ends_in(".npz", trajectories=self.outputs.trajectories)
        torch.set_num_threads(self.threads)
        agent = load_agent(self.run, self.device)
        results = experiment.evaluate_and_film(
            agent, self.episodes, self.seed, self.disturbance, self.oracle, self.outputs
        )
        shown = ("success_rate", "time_in_goal", "oracle_success_rate", "oracle_time_in_goal")
        for key in (*shown, "steps_to_goal_median", "plan_ms_median", "plan_ms_p99"):
            if key in results:
                _tell(f"{key:<22} {results[key]}")
        for path in vars(self.outputs).values():
            if path is not None:
                _tell(f"written: {path}")


@dataclass(frozen=True)
class Demo:
    """Let the trained model that comes with the project swing up, and film it; takes seconds.

    Example: e2c-demo --out swing_up.mp4
    """

    out: Path = Path("swing_up.mp4")
    """Video to write (.mp4)."""
    seed: int = 1000
    """Of the start."""

    def __call__(self) -> None:
        """Run one episode, write and tell."""
        _within(0, 2**63 - 1, seed=self.seed)
        _ends_in(".mp4", out=self.out)
        torch.set_num_threads(1)
        outputs = experiment.Outputs(video=self.out)
        results = experiment.evaluate_and_film(
            load_agent(runs.TRAINED), 1, self.seed, experiment.Disturbance(), False, outputs
        )
        ended = "swung up and stayed" if results["success_rate"] else "did not stay upright"
        _tell(
            f"From images alone it {ended}: {results['time_in_goal']:.0%} of the time in the goal, "
            f"{results['plan_ms_median']:.1f} ms for a control step; written: {self.out}"
        )


@dataclass(frozen=True)
class Report:
    """Write the report of a run, or of several side by side, as one self-contained HTML file.

    Example: python -m e2c.report runs/a runs/b --out comparison.html
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders that training wrote."""
    out: Path | None = None
    """File to write (.html); RUN/report.html or comparison.html when left out."""

    def __call__(self) -> None:
        """Write and tell."""
        if not self.runs:
            raise E2CError("No run was named; name at least one run folder that training wrote.")
        _ends_in(".html", out=self.out)
        single = len(self.runs) == 1
        out = self.out or (self.runs[0] / runs.REPORT if single else Path("comparison.html"))
        write_report(self.runs, out)
        _tell(f"written: {out}")


def collect_command() -> NoReturn:
    """``e2c-collect``: record a dataset."""
    run_command(lambda: _parse(Collect)())


def train_command() -> NoReturn:
    """``e2c-train`` and ``train.py``: train an agent."""
    run_command(
        lambda: _parse(Train, _starting_point)(), "Stopped; the same command goes on from here."
    )


def evaluate_command() -> NoReturn:
    """``e2c-evaluate`` and ``evaluate.py``: run a trained agent."""
    run_command(lambda: _parse(Evaluate)())


def demo_command() -> NoReturn:
    """``e2c-demo``: watch the trained model that comes with the project."""
    run_command(lambda: _parse(Demo)())


def report_command() -> NoReturn:
    """``e2c-report`` and ``python -m e2c.report``: write a report."""
    run_command(lambda: _parse(Report)())


def _parse(kind: Callable[..., T], default: Callable[[], Any] | None = None) -> T:
    """Parse the command line; a mistake in it ends with status 2 and names the nearest option."""
    options = {} if default is None else {"default": default()}
    return tyro.cli(kind, config=(tyro.conf.FlagConversionOff,), **options)


def _starting_point() -> Train:
    """Look for what decides the other options' defaults first: the preset and task, or a file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    parser.add_argument("--env", nargs="?")
    parser.add_argument("--config", nargs="?", type=Path)
    found: Any = parser.parse_known_args(sys.argv[1:])[0]
    if found.config is None:
        name: Any = found.preset or "default"
        if name not in PRESETS:
            raise E2CError(f"There is no preset {name!r}; choose one of: {', '.join(PRESETS)}.")
        return Train(tyro.MISSING, preset(name, found.env or HEADLINE), name)
    if found.preset is not None:
        raise E2CError("--preset and --config were both given; give one of them.")
    recipe = runs.read_recipe(found.config)
    values = vars(recipe) | {"data": tuple(Path(path) for path in recipe.data)}
    return Train(tyro.MISSING, repeat=found.config, **values)


def _tell(text: str) -> None:
    """Print one line, whatever the names of files are made of."""
    print(one_line(text))


def _ends_in(suffix: str, **paths: Path | None) -> None:
    """Raise an E2CError for the first path that is given and ends otherwise."""
    for name, path in paths.items():
        if path is not None and path.suffix != suffix:
            raise E2CError(f"--{name} is {path}; its name must end in {suffix}.")


def _within(low: float, high: float, **values: float) -> None:
    """Raise an E2CError for the first value that is not finite, below ``low`` or above ``high``."""
    for name, value in values.items():
        option = f"--{name.replace('_', '-')} is {value}"
        if not math.isfinite(value):
            raise E2CError(f"{option}; it must be a finite number.")
        if value < low:
            raise E2CError(f"{option}; it must be at least {low:g}.")
        if value > high:
            raise E2CError(f"{option}; it must be at most {high:g}.")
