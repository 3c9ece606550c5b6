"""Beginning a training run, or resuming an interrupted one."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from e2c.config import Config, Recipe
from e2c.control.agent import Agent
from e2c.control.base import Frames
from e2c.control.goals import content_hash, given_goal
from e2c.control.novelty import Novelty
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes, mean_of
from e2c.data.looks import Looks, look_at
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.files import runs
from e2c.files.provenance import provenance
from e2c.files.tracking import Tracker, WandbMode, tell
from e2c.files.untrusted import shown
from e2c.learning import own
from e2c.learning.collect import chosen, collect_transitions, has_restarts, load_data
from e2c.learning.looks import choose
from e2c.learning.state import RunState, load_state, save_state
from e2c.learning.trainer import Trainer, TrainingState
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.methods import build_model
from e2c.models.trial import try_out
from e2c.options import to_dict
from envs.world import World

PATIENCE = 5
"""A model plays at least this many own rounds to show the goal before training begins anew."""


@dataclass
class Run:
    """A training run: its parts, its progress, and its folder."""

    recipe: Recipe
    folder: Path
    spec: ProblemSpec
    model: LatentModel
    trainer: Trainer
    tracker: Tracker
    data: list[Episodes]
    seconds: dict[str, float]
    sessions: list[Mapping[str, Any]]
    phase: int = 0
    """0 while training on the first data, k in round k, `rounds` + 1 once training is over."""
    kept: dict[str, Any] = field(default_factory=dict)
    """``after_round``, the last round that the kept model was trained on, and
    ``distances_to_goal`` of all candidates; empty where none was chosen."""
    collapsed: dict[str, Any] | None = None
    """Figures of a collapse of the posterior, if the last logged row shows one."""
    novelty: Novelty | None = None
    """How far the goal is from the data; set at the end of the run."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """Results of the evaluation; empty before it."""
    resumed_at: float = field(default_factory=time.perf_counter)
    """Clock time up to which ``seconds["total"]`` counts [s]."""
    saved_at: float = field(default_factory=time.perf_counter)
    """Clock time at which the state was last saved [s]."""

    @property
    def config(self) -> Config:
        """The configuration in the recipe."""
        return self.recipe.config

    @property
    def transitions(self) -> int:
        """Transitions used so far, own episodes included."""
        return sum(d.transitions for d in self.data)

    @property
    def rounds(self) -> int:
        """Number of own rounds; extra first data replace at most half of those in the options."""
        options, first = self.config.data, self.data[0]
        if self.recipe.data:
            return options.rounds
        replaced = (first.transitions - options.transitions) // own.round_steps(options, self.spec)
        return options.rounds - min(max(0, replaced), options.rounds // 2)

    @property
    def anew_round(self) -> int | None:
        """The round in which training begins anew; None if there is none, or none is known yet.

        It is the middle round, if half of the own rounds, at least `PATIENCE`, have not shown the
        goal. The model then knows no way to the goal, and more of its episodes do not teach it
        one. Other weights may learn one.
        """
        half = self.rounds // 2
        if self.config.data.restarts or not PATIENCE <= half < len(self.data):
            return None
        goal = self.model.goal.cpu().numpy()
        return half if own.missed(self.data[1 : half + 1], goal) else None

    @property
    def outcome(self) -> str:
        """The result of a run that has ended, in one line."""
        found, came = self.results, ""
        if "success_rate" in found:
            came = f", success {found['success_rate']:.0%} of {len(found['episodes'])} episodes"
        elif "distance_at_end" in found:
            start, end = found["distance_at_start"], found["distance_at_end"]
            came = f", distance to the goal {start:.2g} at the start and {end:.2g} at the end"
        return (
            f"{self.folder}: trained on {self.transitions} transitions in "
            f"{self.seconds['total']:.0f} s{came}, told in {self.folder / runs.REPORT}"
        )

    def see(self, frames: Tensor) -> Tensor:
        """Return recorded frames as the networks see them; on the CPU, where data are kept."""
        silhouette = self.model.silhouette
        if silhouette is None:
            return frames
        seen: Tensor = copy.deepcopy(silhouette).cpu()(frames)
        return seen

    @property
    def given_goal(self) -> Frames | None:
        """The observation that the user wants to reach, in place of the world's own goals."""
        if not (self.recipe.goal or self.recipe.goal_state):
            return None
        return self.spec.layout.from_planes(self.model.goal.cpu().numpy())

    @property
    def agent(self) -> Agent:
        """The agent as it is now; see `agent_of`."""
        return self.agent_of(self.model)

    def agent_of(self, model: LatentModel) -> Agent:
        """Return an agent with ``model`` on the CPU, which plays a few episodes faster than a GPU.

        The model is copied if it is on another device.
        """
        if model.goal.device.type != "cpu":
            model = copy.deepcopy(model).cpu()
        return Agent(model, self.spec, self.config.planner)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the wall-clock time of the ``with`` block to ``seconds[part]`` [s]."""
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started

    def save_state(self, state: TrainingState) -> None:
        """Write the state of the run, from which it can be resumed."""
        self.saved_at = time.perf_counter()
        self.seconds["total"] = self.seconds.get("total", 0.0) + self.saved_at - self.resumed_at
        self.resumed_at = self.saved_at
        hashes = [d.content_hash for d in self.data]
        rows = self.tracker.rows
        stands = RunState(state, self.phase, rows, self.seconds, hashes, self.sessions)
        save_state(self.folder, stands)


def begin(
    recipe: Recipe,
    folder: Path,
    world: World | None,
    spec: ProblemSpec,
    place: torch.device,
    wandb_mode: WandbMode,
) -> Run:
    """Resume the run in ``folder``, or begin it with its first data and an untrained model."""
    started, state = time.perf_counter(), load_state(folder)
    goal = np.zeros(spec.layout.shape, np.uint8)  # a resumed run reads its goal from its state
    if state is None:
        goal, recipe = _goal(recipe, world, spec)
        untrained = _untrained(recipe, spec, goal, place).model
        try_out(untrained, recipe.config, spec)  # report mistakes before data are recorded
        data, recipe = _first_data(recipe, world, spec, goal)
    else:
        data, recipe = _data_so_far(folder, state), runs.read_recipe(folder / runs.CONFIG)
    looks = look_at(data[0])
    config, why = choose(recipe.config, looks)
    recipe = replace(recipe, config=config)
    Windows(data[:1], config.objective.horizon, 0.0, place)  # data too short are refused here
    trainer = _untrained(recipe, spec, goal, place)
    _take(trainer.model, data[0], looks)
    if state is None:
        runs.write_recipe(folder, recipe)
        data[0].save(own.data_file(folder, 0))
    tracker = Tracker(folder, wandb_mode, to_dict(recipe), state.rows if state else 0)
    run = Run(recipe, folder, spec, trainer.model, trainer, tracker, data, {}, [provenance()])
    run.resumed_at = started
    if state is None:
        run.seconds["collect"] = time.perf_counter() - started
    else:
        _restore(trainer, state.training, folder)
        run.phase, run.seconds = state.phase, dict(state.seconds)
        run.sessions = [*state.sessions, *run.sessions]
    run.save_state(trainer.state())
    if why:
        tell(f"the first data look like this: {why}.")
    return run


def begin_anew(run: Run) -> None:
    """Begin training anew in the middle of a run, with weights drawn from seed and round."""
    goal, config = run.model.goal.cpu().numpy(), run.config.model
    seed = int(np.random.default_rng([run.recipe.seed, run.phase]).integers(2**32))
    fresh = build_model(config, run.spec, goal, seed).to(run.trainer.device)
    _take(fresh, run.data[0], look_at(run.data[0]))
    run.trainer.begin_anew(fresh)


def _untrained(recipe: Recipe, spec: ProblemSpec, goal: Frames, place: torch.device) -> Trainer:
    """Return a trainer with an untrained model.

    The model is in evaluation mode; only training changes that. So a run that is resumed where it
    plays or evaluates uses no dropout.
    """
    config, planes = recipe.config, spec.layout.to_planes(goal)
    model = build_model(config.model, spec, planes, recipe.seed).to(place).eval()
    return Trainer(model, config.objective, config.optimiser, recipe.seed)


def _take(model: LatentModel, data: Episodes, looks: Looks) -> None:
    """Set silhouettes, and the mean image that the decoder starts at, from the first data."""
    place = model.goal.device
    if model.silhouette is not None:
        model.silhouette.take(looks)
    pieces = (torch.from_numpy(piece).to(place) for piece in data.plane_pieces())
    mean = mean_of(model.see(piece).cpu().numpy() for piece in pieces)
    model.decoder.start_at(torch.from_numpy(mean / 255).to(place))


def _goal(recipe: Recipe, world: World | None, spec: ProblemSpec) -> tuple[Frames, Recipe]:
    """Return the goal, given or the world's own, and the recipe with the hash of a given goal.

    Raises:
        E2CError: when there is no goal, or the recipe has another hash than the given goal.
    """
    given = given_goal(recipe.goal, recipe.goal_state, spec)
    if given is not None:
        found = content_hash(given)
        if recipe.goal_sha256 not in ("", found):
            name = recipe.goal or f"The goal {list(recipe.goal_state)}"
            raise _changed(name, recipe.goal_sha256, found, "--goal")
        return given, replace(recipe, goal_sha256=found)
    goal: Any = None if world is None else getattr(world.unwrapped, "goal", None)
    if goal is None and world is not None:
        told = world.reset(seed=0)[1].get("goal")
        goal = None if told is None else told[0]
    if goal is None:
        raise E2CError(
            f"{spec.env} does not tell its goal; give a picture of it: --goal goal.png (or an info "
            "'goal' at the reset of the environment, which is the observation to reach)."
        )
    return np.asarray(goal), recipe


def _changed(path: str, known: str, found: str, option: str) -> E2CError:
    """Return the error for a file that has changed since a configuration was trained on it."""
    return E2CError(
        f"{path} is not what this configuration was trained on: its hash is {found[:16]}, not "
        f"{known[:16]}; put the file back, or give this one under another name with {option}."
    )


def _restore(trainer: Trainer, state: TrainingState, folder: Path) -> None:
    """Let training go on from ``state``, or raise an E2CError if it is of another run."""
    try:
        trainer.restore(state)
    except (ValueError, RuntimeError) as error:
        raise E2CError(
            f"{folder / runs.STATE} is not the state of this run ({shown(error)}); remove {folder} "
            "and train again."
        ) from None


def _first_data(
    recipe: Recipe, world: World | None, spec: ProblemSpec, goal: Frames
) -> tuple[list[Episodes], Recipe]:
    """Return the given data, or recorded ones; and the recipe with their hashes or options.

    Without random restarts, recording goes on until an episode shows the goal. The extra episodes
    replace at most half of the own rounds.

    Raises:
        E2CError: when a file has another hash than the recipe: it was changed since.
    """
    if not recipe.data:
        assert world is not None
        options = chosen(recipe.config.data, world)
        if options.noise != "uniform":
            tell(f"the first data: {options.noise} noise on the controls, from ordinary resets.")
        instead = options.rounds // 2 * own.round_steps(options, spec)
        drawn = collect_transitions(
            spec.env,
            options.transitions,
            options.episode_length,
            recipe.seed,
            noise=options.noise,
            restarts=options.restarts,
            goal=None if has_restarts(world, options.restarts) else goal,
            most=options.transitions + instead,
            options=spec.options,
        )
        return [drawn], replace(recipe, config=replace(recipe.config, data=options))
    parts = load_data([Path(path) for path in recipe.data], spec)
    hashes = tuple(part.content_hash for part in parts)
    for path, known, found in zip(recipe.data, recipe.data_sha256, hashes, strict=False):
        if known != found:
            raise _changed(path, known, found, "--data")
    return [recorded.join(parts)], replace(recipe, data_sha256=hashes)


def _data_so_far(folder: Path, state: RunState) -> list[Episodes]:
    """Read the data that an interrupted run has used."""
    paths = [own.data_file(folder, number) for number in range(len(state.data))]
    data = [recorded.load(path) for path in paths]
    for path, found, known in zip(paths, data, state.data, strict=True):
        if found.content_hash != known:
            raise E2CError(
                f"{path} is not what this run was trained on; remove {folder} and train again."
            )
    return data
