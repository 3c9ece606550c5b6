"""The command lines: each turns its arguments into one call; the outermost layer."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TextIO, TypeVar

import torch
import tyro

from e2c.config import Config, Recipe, check_recipe, with_method, world_options
from e2c.control.goals import given_goal
from e2c.control.novelty import novelty
from e2c.control.simple import Noise
from e2c.data import episodes as recorded
from e2c.data.formats import ImportOptions, import_recording
from e2c.data.minari import export
from e2c.door import collect, load_agent, named
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import Outputs, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.scores import told
from e2c.files import runs
from e2c.files.own_modules import OwnParts, import_asked
from e2c.files.tracking import WandbMode
from e2c.files.untrusted import one_line
from e2c.learning.collect import without_environment
from e2c.learning.own import episodes_of
from e2c.learning.run import train_side_by_side
from e2c.options import SEEDS, check_ranges, flag, grouped_flag, option
from e2c.presets import HEADLINE, PRESETS
from e2c.report import write_report
from envs import Camera

T = TypeVar("T")


@dataclass(frozen=True)
class Collect(OwnParts):
    """Record episodes, under random controls or a trained agent.

    Example: e2c-collect --out data/random.npz --transitions 10000 --seed 3
    """

    out: Path
    """File of episodes to write (.npz)."""
    env: str | None = None
    """Gymnasium id of the world: a task of ours, or any environment that renders. Left out, the
    agent's world, or E2C/PendulumSwingUp-v0."""
    env_args: str = "{}"
    """Options of the environment, as JSON: '{"mass": 2}'."""
    camera: Camera = field(default_factory=Camera)
    transitions: int = option(5000, 1, 1e7)
    """Transitions to record, rounded up to whole episodes."""
    restarts: bool = True
    """Whether episodes begin at random states, where states can be set. By default, those of
    train.py do not."""
    noise: Noise = "auto"
    """Kind of random controls, see train.py's --data.noise. auto: uniform from random restarts,
    else telegraph."""
    episode_length: int | None = option(None, 1, 1e5)
    """Steps of each episode; left out, 25 from random restarts, else as long as the world's."""
    seed: int = option(0, *SEEDS)
    """Seed of starts and controls."""
    agent: Path | None = None
    """Run folder of a trained agent that is to act; left out, controls are random."""
    exploration: float = option(0.15, 0, 1000)
    """Standard deviation of the noise on the agent's controls, as a share of the limits."""

    def __call__(self) -> None:
        """Record, write and tell."""
        check_ranges(self, grouped_flag)
        _ends_in(".npz", out=self.out)
        agent = None if self.agent is None else load_agent(self.agent)
        asked = (self.env, self.transitions, self.episode_length, self.seed, agent)
        options = world_options(self.env_args, self.camera)
        data = collect(*asked, self.exploration, self.noise, self.restarts, **options)
        data.save(self.out)
        _tell(f"{self.out}: {data.transitions} transitions, sha256 {data.content_hash[:16]}")


@dataclass(frozen=True)
class Import:
    """Make a file of episodes of a recording: videos with tables of actions, arrays, or Minari.

    Example: e2c-import recordings/ --out data/own.npz --camera.size 64 64 --control-low -2
    """

    source: tyro.conf.Positional[Path]
    """Folder of videos, each with a table of actions of the same name (.csv, .npy); arrays in a
    file (.npz), or in a folder (frames.npy, actions.npy, lengths.npy or ends.npy); minari:NAME."""
    out: Path
    """File of episodes to write (.npz)."""
    options: Annotated[ImportOptions, tyro.conf.arg(name="")] = field(default_factory=ImportOptions)

    def __call__(self) -> None:
        """Read, write and tell."""
        check_ranges(self, flag)
        _ends_in(".npz", out=self.out)
        data = import_recording(self.source, self.options)
        data.save(self.out)
        shape = "x".join(map(str, data.layout.shape))
        _tell(f"{self.out}: {len(data)} episodes, {data.transitions} transitions of {shape} pixels")


@dataclass(frozen=True)
class Export:
    """Make a Minari data set of a file of episodes; needs ``e2c[minari]``.

    Example: e2c-export data/own.npz mine/pendulum-v0
    """

    data: tyro.conf.Positional[Path]
    """File of episodes (.npz)."""
    name: tyro.conf.Positional[str]
    """Name of the data set."""

    def __call__(self) -> None:
        """Read, write and tell."""
        export(recorded.load(self.data), self.name)
        _tell(f"made: the Minari data set {self.name}")


@dataclass(frozen=True)
class Train(OwnParts):
    """Train an agent from pixels: collect, learn embedding and dynamics jointly, act, learn on.

    The same command goes on with a run that was interrupted.

    Example: python train.py --seed 0 --out runs/pendulum
    """

    out: Path
    """Run folder to make, or to go on with."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """The configuration; it starts from the preset, or from the run that is repeated."""
    preset: Literal[*PRESETS] = "default"  # type: ignore[valid-type]
    """Named configuration to start from, for the task; other options change it."""
    repeat: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """config.yaml of a run to repeat; other options change it."""
    seed: int = option(0, *SEEDS)
    """Seed of data, weights, batches and exploration."""
    seeds: tuple[int, ...] = ()
    """Seeds to train side by side in place of one, each in a folder of its own: OUT/seed_0, ... On
    a GPU they share every training step."""
    goal: str = ""
    """What to reach, in place of the world's own goals: a picture (.png, .jpg), an array (.npy) or
    a moment of a recording (FILE.npz:EPISODE:STEP)."""
    goal_state: tuple[float, ...] = ()
    """What to reach in a simulated world: a state, at rest."""
    goal_sha256: tyro.conf.Suppress[str] = ""
    """Hash of the goal of the run that is repeated."""
    data: tuple[Path, ...] = ()
    """Files of episodes to start from, in place of random transitions."""
    data_sha256: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Hashes of the files of the run that is repeated."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = option(1, 1, 256)
    """Threads that torch uses; small networks gain nothing from more. Bitwise repeats need the
    same number."""
    wandb: WandbMode = "off"
    """Report to wandb too: offline keeps it in the run folder, online sends it."""

    def __call__(self) -> None:
        """Train and tell."""
        recipe = without_environment(check_recipe(self.recipe()))
        if recipe.config.env == recorded.RECORDING:
            _tell("The data are a recording without an environment: no own rounds, no evaluation.")
        recipes = [check_recipe(replace(recipe, seed=seed)) for seed in self.seeds]
        asked = {self.out / f"seed_{mine.seed}": mine for mine in recipes} or {self.out: recipe}
        for out, mine in list(asked.items()):
            if runs.finished(out) and not runs.differences(out, mine):
                _tell(f"{out}: this run has ended; next: {self._next(out, mine)}")
                del asked[out]
        for run in train_side_by_side(list(asked.values()), list(asked), self.wandb):
            _tell(f"{run.outcome}; next: {self._next(run.folder, run.recipe)}")
            _tell(run.novelty.warning if run.novelty else None, sys.stderr)

    def recipe(self) -> Recipe:
        """Return the recipe that was asked for; goal and data of a repeated run keep its hashes."""
        data = tuple(os.path.abspath(path) for path in self.data)
        goal = os.path.abspath(self.goal) if self.goal else ""
        before = Recipe() if self.repeat is None else runs.read_recipe(self.repeat)
        same_goal = (goal, self.goal_state) == (before.goal, before.goal_state)
        return Recipe(
            self.config,
            seed=self.seed,
            goal=goal,
            goal_state=self.goal_state,
            goal_sha256=self.goal_sha256 if same_goal else "",
            data=data,
            data_sha256=self.data_sha256 if data == before.data else (),
            device=self.device,
            threads=self.threads,
        )

    def _next(self, folder: Path, recipe: Recipe) -> str:
        """Return the command that evaluates a run, as the user types commands, or else a call."""
        if recipe.config.env == recorded.RECORDING:
            return f"e2c.LiveAgent(e2c.load_agent({str(folder)!r})) acts on your camera's pictures."
        script = Path(sys.argv[0]).with_name("evaluate.py")
        there = "evaluate.py" if script.parent.resolve() == Path.cwd() else str(script)
        door = ["python", there] if Path(sys.argv[0]).name == "train.py" else ["e2c-evaluate"]
        environment = recipe.config.env.rpartition(":")[:1]  # evaluate.py has no --env to name it
        modules = dict.fromkeys(name for name in (*self.modules, *environment) if name)
        again = [word for name in modules for word in ("--import", name)]
        return shlex.join([*door, str(folder), *again])


@dataclass(frozen=True)
class Evaluate(OwnParts):
    """Run a trained agent from images alone, and the oracle on the same starts.

    Example: python evaluate.py runs/pendulum --episodes 100 --video episode.mp4
    """

    run: tyro.conf.Positional[Path]
    """Run folder that training wrote."""
    episodes: int = option(10, 1, 1e4)
    """Episodes, side by side in one batch."""
    seed: int = option(1000, *SEEDS)
    """Seed of the starts."""
    planner: str | None = None
    """Planner, if another than in training: ilqg, cem, mppi, or one that a module of yours
    registers (--import)."""
    belief: bool | None = None
    """Whether to plan from a belief; None for as trained."""
    goal: str = ""
    """What to reach, in place of the world's own goals; as for train."""
    goal_state: tuple[float, ...] = ()
    """What to reach in a simulated world: a state, at rest."""
    outputs: Annotated[Outputs, tyro.conf.arg(name="")] = field(default_factory=Outputs)
    """Files to write."""
    oracle: bool = True
    """Run the oracle too: the same planner on the true state and dynamics."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = option(1, 1, 256)
    """Threads that torch uses; small networks gain nothing from more."""
    disturbance: Annotated[Disturbance, tyro.conf.arg(name="")] = field(default_factory=Disturbance)
    """Disturbances of the world and of the camera."""

    def __call__(self) -> None:
        """Evaluate, write and tell."""
        check_ranges(self, flag)
        _ends_in(".json", json=self.outputs.json)
        _ends_in(".mp4", video=self.outputs.video)
        _ends_in(".png", picture=self.outputs.picture)
        _ends_in(".npz", trajectories=self.outputs.trajectories)
        torch.set_num_threads(self.threads)
        agent = load_agent(self.run, self.device).with_planner(self.planner, self.belief)
        goal = given_goal(self.goal, self.goal_state, agent.spec)
        self.outputs.check(agent.spec, goal)
        if goal is not None and (data := episodes_of(self.run)):
            found = novelty(agent.model, agent.spec.layout.to_planes(goal), data)
            _tell(found.warning, sys.stderr)
        asked = (self.episodes, self.seed, self.disturbance, self.oracle, self.outputs, goal)
        results = assess_and_film(agent, *asked, goal_state=self.goal_state)
        for line in told(results):
            _tell(line)
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
    seed: int = option(1000, *SEEDS)
    """Seed of the start."""

    def __call__(self) -> None:
        """Run one episode, write and tell."""
        check_ranges(self, flag)
        _ends_in(".mp4", out=self.out)
        torch.set_num_threads(1)
        agent, outputs = load_agent(runs.TRAINED), Outputs(video=self.out)
        results = assess_and_film(agent, 1, self.seed, Disturbance(), False, outputs)
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


def import_command() -> NoReturn:
    """``e2c-import``: make a dataset of a recording."""
    run_command(lambda: _parse(Import)())


def export_command() -> NoReturn:
    """``e2c-export``: make a Minari data set."""
    run_command(lambda: _parse(Export)())


def train_command() -> NoReturn:
    """``e2c-train`` and ``train.py``: train an agent."""
    stopped = "Stopped; the same command goes on from here."
    run_command(lambda: _parse(Train, lambda: starting_point(sys.argv[1:]))(), stopped)


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
    """Parse the command line; for a mistake in it, name the nearest option and exit with 2."""
    import_asked(sys.argv[1:])
    options = {} if default is None else {"default": default()}
    return tyro.cli(kind, config=(tyro.conf.FlagConversionOff,), **options)


def starting_point(arguments: Sequence[str]) -> Train:
    """Find first the options that decide the defaults of others: preset and task, or a file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    parser.add_argument("--env", nargs="?")
    parser.add_argument("--config", nargs="?", type=Path)
    parser.add_argument("--model.method", nargs="?", dest="method")
    found: Any = parser.parse_known_args(arguments)[0]
    if found.config is None:
        name: Any = found.preset or "default"
        config = named(name, found.env or HEADLINE)
        return Train(tyro.MISSING, _with(config, found.method), name)
    if found.preset is not None:
        raise E2CError("--preset and --config were both given; give one of them.")
    recipe = runs.read_recipe(found.config)
    config, data = _with(recipe.config, found.method), tuple(map(Path, recipe.data))
    values = vars(recipe) | {"config": config, "data": data}
    return Train(tyro.MISSING, repeat=found.config, **values)


def _with(config: Config, method: str | None) -> Config:
    """Return a configuration with the method that was asked for, and with its options."""
    return config if method is None else with_method(config, method)


def _tell(text: str | None, stream: TextIO | None = None) -> None:
    """Print one line, if there is one; names of files in it may hold any character."""
    if text is not None:
        print(one_line(text), file=stream)


def _ends_in(suffix: str, **paths: Path | None) -> None:
    """Raise an E2CError for the first path that is given and does not end in ``suffix``."""
    for name, path in paths.items():
        if path is not None and path.suffix != suffix:
            raise E2CError(f"--{name} is {path}; its name must end in {suffix}.")
