"""The stories of collect, train and evaluate, told once: here everything meets.

Imported by the commands, by ``benchmarks/`` and by the tests; by no other module of the package.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

import envs
from e2c.config import Config, Recipe, check_recipe
from e2c.control.agent import Agent
from e2c.control.oracle import Oracle
from e2c.data import episodes as dataset
from e2c.data.episodes import Dataset, Windows
from e2c.errors import E2CError
from e2c.evaluation import scores as evaluation
from e2c.evaluation.scores import Scores, score
from e2c.files import arrays, runs
from e2c.files.provenance import provenance, versions
from e2c.files.runs import RunState
from e2c.files.tracking import Progress, Tracker, WandbMode
from e2c.files.untrusted import shown
from e2c.files.whole import write_json
from e2c.learning.trainer import Phase, Trainer, TrainingState
from e2c.models import checkpoint
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.devices import find_device
from e2c.models.methods import build_model
from e2c.options import to_dict
from e2c.report import pictures, write_report
from e2c.report.film import Film, film_frames, write_video
from envs.collect import (
    BatchEnv,
    Controller,
    Rollouts,
    collect_restarts,
    random_controller,
    record,
    restart,
)
from envs.core import PixelEnv

LOG_EVERY = 100
"""Optimiser steps averaged into one row of metrics."""
KEEP_EVERY = 200
"""Optimiser steps between states that training can go back to, or on from."""
SAVE_SECONDS = 5.0
"""Such a state is written at most this often, and at the end of each phase."""


# ---------------------------------------------------------------------------------------- builders


def make_env(env_id: str, **kwargs: Any) -> PixelEnv:
    """Build an environment; keyword arguments that are None are left out.

    Raises:
        E2CError: for an unknown id or a parameter that the task does not take or allow.
    """
    given = {name: value for name, value in kwargs.items() if value is not None}
    try:
        return envs.make(env_id, **given)
    except ValueError as error:
        raise E2CError(str(error)) from None
    except TypeError as error:
        unknown = [name for name in given if f"argument {name!r}" in str(error)]
        raise E2CError(
            f"{env_id} takes no parameter {', '.join(unknown or given)}; leave it out."
        ) from None


def problem_spec(env_id: str, env: PixelEnv) -> ProblemSpec:
    """Read from an environment what a model has to know of it."""
    C, (H, W) = env.frames_per_observation, env.frame_shape
    return ProblemSpec(
        env=env_id,
        observation_shape=(C, H, W),
        control_low=tuple(env.action_space.low.tolist()),
        control_high=tuple(env.action_space.high.tolist()),
        dt=env.dt,
        episode_steps=envs.ENVIRONMENTS[env_id].max_episode_steps,
    )


def check_task(agent: Agent, env_id: str, env: PixelEnv) -> None:
    """Raise an E2CError unless ``env`` is, but for its duration, what ``agent`` was trained on."""
    here = replace(problem_spec(env_id, env), episode_steps=agent.spec.episode_steps)
    differ = [name for name, value in vars(here).items() if value != vars(agent.spec)[name]]
    if differ:
        name = differ[0]
        raise E2CError(
            f"The agent was trained where {name} was {vars(agent.spec)[name]!r}, and here it is "
            f"{vars(here)[name]!r}; choose an agent of this task, or train one."
        )


def as_dataset(rollouts: Rollouts, spec: ProblemSpec, source: Mapping[str, Any]) -> Dataset:
    """Turn recorded rollouts into a dataset with its provenance."""
    parameters = {
        "dt": spec.dt,
        "control_low": list(spec.control_low),
        "control_high": list(spec.control_high),
    }
    made = {"env": spec.env, "parameters": parameters, **source, "versions": versions()}
    return Dataset.from_arrays(rollouts.frames, rollouts.actions, rollouts.states, made)


def load_datasets(paths: Sequence[Path], spec: ProblemSpec) -> Dataset:
    """Read dataset files of one task and join them.

    Raises:
        E2CError: when one is damaged or of another task.
    """
    loaded = [dataset.load(path) for path in paths]
    for path, found in zip(paths, loaded, strict=True):
        env_id, shape = found.provenance.get("env"), found.frames.shape[1:]
        C, m = found.frames_per_observation, found.actions.shape[1]
        same = (C, *shape) == spec.observation_shape and m == len(spec.control_low)
        if env_id != spec.env or not same:
            raise E2CError(
                f"{path} holds {env_id} with observations of shape {[C, *shape]} and {m} controls; "
                f"this run is on {spec.env} with {list(spec.observation_shape)} and "
                f"{len(spec.control_low)}: choose a dataset of that task."
            )
    return dataset.join(loaded)


def noisy(agent: Agent, batch: BatchEnv, std: float, rng: np.random.Generator) -> Controller:
    """Let ``agent`` begin a batch, with Gaussian noise of ``std``, a share of each limit."""
    agent.reset(goal=batch.goals())
    scale = std * agent.spec.control_scale.numpy()

    def act(observations: NDArray[np.uint8]) -> ArrayLike:
        actions = agent.act(observations)
        return actions + scale * rng.standard_normal(actions.shape)

    return act


# ----------------------------------------------------------------------------------------- collect


def collect(
    env_id: str, transitions: int, length: int, seed: int, agent: Agent | None, exploration: float
) -> Dataset:
    """Record episodes of ``length`` steps from random restarts.

    Args:
        env_id: the task.
        transitions: how many to record, rounded up to whole episodes.
        length: steps of an episode.
        seed: of restarts and controls.
        agent: acts, with noise; without one, controls are uniform within the limits.
        exploration: the noise on the agent's actions, as a share of the limits.
    """
    env, rng = make_env(env_id), np.random.default_rng(seed)
    if agent is not None:
        check_task(agent, env_id, env)
    episodes = -(-transitions // length)
    batch = restart(env, episodes, rng)
    random = random_controller(env, rng)
    controller = random if agent is None else noisy(agent, batch, exploration, rng)
    frames = (length + env.frames_per_observation) / length
    with Progress("collect", int(episodes * length * frames), "frames") as progress:
        rollouts = record(batch, controller, length, lambda done, _: progress(int(done * frames)))
    source = {"seed": seed, "controller": "random" if agent is None else "agent"}
    return as_dataset(
        rollouts, problem_spec(env_id, env), {**source, "restarts": True, "length": length}
    )


# ------------------------------------------------------------------------------------------- train


@dataclass
class Run:
    """A training run: what it is made of, how far it is, and where it writes."""

    recipe: Recipe
    folder: Path
    env: PixelEnv
    spec: ProblemSpec
    model: LatentModel
    trainer: Trainer
    tracker: Tracker
    data: list[Dataset]
    seconds: dict[str, float]
    sessions: list[Mapping[str, Any]]
    phase: int = 0
    """0 while training on the first data, k in round k, and one more once training is over."""
    kept: dict[str, Any] = field(default_factory=dict)
    """After which round the model was kept, and the distances to the goal that decided."""
    resumed_at: float = field(default_factory=time.perf_counter)
    saved_at: float = field(default_factory=time.perf_counter)

    @property
    def config(self) -> Config:
        """What is learned."""
        return self.recipe.config

    @property
    def transitions(self) -> int:
        """Transitions used so far, own episodes included."""
        return sum(d.transitions for d in self.data)

    @property
    def agent(self) -> Agent:
        """The agent as it is now."""
        return Agent(self.model, self.spec, self.config.planner)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the wall-clock of what is done inside to that of a part of the run [s]."""
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started

    def save_state(self, state: TrainingState) -> None:
        """Write where the run stands, so that it can go on from there."""
        self.saved_at = time.perf_counter()
        self.seconds["total"] = self.seconds.get("total", 0.0) + self.saved_at - self.resumed_at
        self.resumed_at = self.saved_at
        hashes = [d.content_hash for d in self.data]
        rows = self.tracker.rows
        stands = RunState(state, self.phase, rows, self.seconds, hashes, self.sessions)
        runs.save_state(self.folder, stands)


def train(recipe: Recipe, folder: Path, wandb_mode: WandbMode = "off") -> Run:
    """Collect, train embedding and dynamics jointly, add own episodes, evaluate, report.

    The same recipe gives the same weights, bit for bit, on a CPU, however often the run is
    interrupted: where ``folder`` holds the unfinished run of this recipe, it goes on.

    Args:
        recipe: everything that decides the run.
        folder: run folder, made here; see `e2c.files.runs`.
        wandb_mode: whether to report to wandb too.

    Raises:
        E2CError: for anything that the user can put right.
    """
    recipe = replace(check_recipe(recipe), data=tuple(map(os.path.abspath, recipe.data)))
    env, place = make_env(recipe.config.env), find_device(recipe.device)
    torch.set_num_threads(recipe.threads)
    with runs.claimed(folder, recipe):
        run = _begin(recipe, folder, env, place, wandb_mode)
        try:
            _learn(run)
            _finish(run)
        except BaseException:
            run.tracker.abandon()
            raise
    return run


def _begin(
    recipe: Recipe, folder: Path, env: PixelEnv, place: torch.device, wandb_mode: WandbMode
) -> Run:
    """Take the run up where it stands, or begin it: the first data, the untrained model."""
    started, config, state = time.perf_counter(), recipe.config, runs.load_state(folder)
    spec = problem_spec(config.env, env)
    model = build_model(config.model, spec, env.goal_observation(), recipe.seed).to(place)
    trainer = Trainer(model, config.objective, config.optimiser, recipe.seed)
    data = _first_data(recipe, spec) if state is None else _data_so_far(folder, state)
    Windows(data[:1], config.objective.horizon, 0.0, place)  # data too short are refused here
    mean = torch.from_numpy(data[0].observations().mean(0, dtype=np.float32) / 255)
    model.decoder.start_at(mean.to(place))
    if state is None:
        runs.write_recipe(folder, recipe)
        data[0].save(_data_file(folder, 0))
    tracker = Tracker(folder, wandb_mode, to_dict(recipe), state.rows if state else 0)
    run = Run(recipe, folder, env, spec, model, trainer, tracker, data, {}, [provenance()])
    run.resumed_at = started
    if state is None:
        run.seconds["collect"] = time.perf_counter() - started
    else:
        _restore(trainer, state.training, folder)
        run.phase, run.seconds = state.phase, dict(state.seconds)
        run.sessions = [*state.sessions, *run.sessions]
    run.save_state(trainer.state())
    return run


def _restore(trainer: Trainer, state: TrainingState, folder: Path) -> None:
    """Let training go on from ``state``, or say that it is not of this run."""
    try:
        trainer.restore(state)
    except (ValueError, RuntimeError) as error:
        raise E2CError(
            f"{folder / runs.STATE} is not the state of this run ({shown(error)}); remove {folder} "
            "and train again."
        ) from None


def _first_data(recipe: Recipe, spec: ProblemSpec) -> list[Dataset]:
    """The data given, or random transitions."""
    if recipe.data:
        return [load_datasets([Path(p) for p in recipe.data], spec)]
    options = recipe.config.data
    count, length = options.transitions, options.episode_length
    return [collect(spec.env, count, length, recipe.seed, None, 0.0)]


def _data_so_far(folder: Path, state: RunState) -> list[Dataset]:
    """The data that an interrupted run has used."""
    paths = [_data_file(folder, number) for number in range(len(state.data))]
    data = [dataset.load(path) for path in paths]
    for path, found, known in zip(paths, data, state.data, strict=True):
        if found.content_hash != known:
            raise E2CError(
                f"{path} is not what this run was trained on; remove {folder} and train again."
            )
    return data


def _data_file(folder: Path, number: int) -> Path:
    return folder / "data" / (f"round_{number}.npz" if number else "first.npz")


def _candidate(folder: Path, number: int) -> Path:
    """Where the model that plays this round is kept, as in a run folder."""
    return folder / runs.CANDIDATES / f"round_{number}"


def _learn(run: Run) -> None:
    """Train on the first data, then in rounds: act, keep what was seen, train on."""
    options = run.config.optimiser
    while run.phase <= run.config.data.rounds:
        if run.phase == 0:
            _fit(run, Phase(options.steps, options.learning_rate, True), "train")
        else:
            if run.trainer.done == 0:
                _own_round(run)
            phase = Phase(options.steps_per_round, options.learning_rate_own, False)
            _fit(run, phase, f"train, round {run.phase}")
        run.phase += 1
        run.save_state(run.trainer.state())
    if run.config.data.keep == "best" and run.config.data.rounds:
        _keep_best(run)


def _keep_best(run: Run) -> None:
    """Go back to the model whose own episodes were nearest to the goal, as the last sees them.

    Models a round apart differ more than they improve, so the last is a draw among them. The judge
    is the last model in every session of a run, also where its weights have been replaced already.
    """
    last = run.config.data.rounds + 1
    if len(run.data) == last:
        _own_round(run)
    models = [_load_candidate(run.folder, number) for number in range(1, last + 1)]
    distances = [distance_to_goal(models[-1], run.env, own) for own in run.data[1:]]
    best = int(np.argmin(distances))
    run.model.load_state_dict(models[best].state_dict())
    run.kept = {"after_round": best, "distances_to_goal": distances}


def _load_candidate(folder: Path, number: int) -> LatentModel:
    """Read the model that played a round of this run."""
    path = _candidate(folder, number)
    try:
        return checkpoint.load(path)[0]
    except E2CError:
        raise E2CError(
            f"{path}, one of the models that this run was to choose from, is missing or damaged; "
            f"remove {folder} and train again."
        ) from None


@torch.inference_mode()
def distance_to_goal(model: LatentModel, env: PixelEnv, episodes: Dataset) -> float:
    """Return how far from their goals episodes were, as ``model`` encodes what was seen.

    It is the mean over the steps of the squared latent distance to the encoding of the episode's
    goal image, over the summed variance of the encodings: what the planner minimises.
    """
    first = np.cumsum(episodes.lengths + 1) - episodes.lengths - 1
    goals = model.encode(env.observe(env.goal_states(episodes.states[first]))).mean
    z = model.encode(episodes.observations()).mean
    away = z - goals.repeat_interleave(torch.from_numpy(episodes.lengths + 1), 0)
    return float(away.square().sum(-1).mean() / model.latent_variance)


def _fit(run: Run, phase: Phase, name: str) -> None:
    """Optimise to the end of a phase, telling and keeping its metrics; then measure the space."""
    config, trainer = run.config, run.trainer
    place = run.model.goal.device
    rows: list[dict[str, float]] = []
    with run.timed("train"):
        windows = Windows(run.data, config.objective.horizon, config.data.own_share, place)
        run.model.train()
        with Progress(name, phase.steps, "steps", begun=trainer.done) as progress:
            for row in trainer.run(windows, phase):
                if rows and row["step"] <= rows[-1]["step"]:
                    rows.clear()  # training went back
                rows.append(row)
                progress(trainer.done, _figure(run, row))
                if trainer.done % LOG_EVERY == 0:
                    run.tracker.log(_mean(rows))
                    rows.clear()
                due = trainer.done % KEEP_EVERY == 0 and trainer.keep(windows)
                if due and time.perf_counter() - run.saved_at > SAVE_SECONDS:
                    run.save_state(trainer.kept)
        if rows:
            run.tracker.log(_mean(rows))
        run.model.eval()
        seen = run.data[0].observations()
        run.model.measure(seen[:: min(7, len(seen) // 2)])


def _figure(run: Run, row: Mapping[str, float]) -> str:
    """What is told beside the progress of training."""
    terms = run.model.weights(run.config.objective, 1.0)
    told = "  ".join(f"{name.replace('_', ' ')} {row[name]:.3g}" for name in ("loss", *terms))
    own = [past["own_success_rate"] for past in run.tracker.history if "round" in past]
    told += f"  success with exploration {own[-1]:.0%}" if own else ""
    back = len(run.trainer.recoveries)
    return told + (f"  went back {back}x" if back else "")


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _own_round(run: Run) -> None:
    """Let the agent act in its task, and keep what it saw."""
    options, number = run.config.data, run.phase
    if options.keep == "best":
        place = _candidate(run.folder, number)
        place.mkdir(parents=True, exist_ok=True)
        checkpoint.save(place / checkpoint.NAME, run.model, run.config, run.spec)
    with run.timed("own"):
        rng = np.random.default_rng([run.recipe.seed, number])
        batch = BatchEnv(run.env, run.env.sample_starts(rng, options.episodes_per_round))
        controller = noisy(run.agent, batch, options.exploration, rng)
        rollouts = record(batch, controller, run.spec.episode_steps)
        source = {"seed": run.recipe.seed, "round": number, "controller": "agent"}
        own = as_dataset(rollouts, run.spec, {**source, "restarts": False})
        own.save(_data_file(run.folder, number))
        run.data.append(own)
        scores = score(run.env, rollouts.states, rollouts.actions)
        run.tracker.log({"round": number, "transitions": run.transitions, **_shown(scores)})


def _shown(scores: Scores) -> dict[str, float]:
    """Scores that are shown and logged; nothing is learned or chosen from them."""
    return {
        "own_success_rate": float(scores.success.mean()),
        "own_time_in_goal": float(scores.time_in_goal.mean()),
    }


def _finish(run: Run) -> None:
    """Write the model, evaluate it, and tell of everything; then the run has ended."""
    checkpoint.save(run.folder / checkpoint.NAME, run.model, run.config, run.spec)
    if run.config.evaluation.episodes:
        _evaluate_run(run)
    with run.timed("pictures"):
        error = _draw_pictures(run)
    run.save_state(run.trainer.state())
    summary = _summary(run)
    write_json(run.folder / runs.SUMMARY, {**summary, "open_loop_error": error.tolist()})
    write_report([run.folder], run.folder / runs.REPORT)
    runs.end(run.folder)
    run.tracker.close({key: summary[key] for key in ("transitions", "steps", "seconds")})


def _evaluate_run(run: Run) -> None:
    """Evaluate and film the agent into the run folder."""
    options, folder = run.config.evaluation, run.folder
    outputs = Outputs(folder / runs.EVALUATION, folder / runs.VIDEO, None, folder / runs.EPISODES)
    with run.timed("evaluate"):
        results = evaluate_and_film(
            run.agent, options.episodes, options.seed, Disturbance(), True, outputs
        )
    run.tracker.video("episode", folder / runs.VIDEO)
    run.tracker.table("episodes", results["episodes"])


def _summary(run: Run) -> dict[str, Any]:
    """Everything that made a run, and what became of it."""
    return {
        **to_dict(run.recipe),
        "data": [{"sha256": d.content_hash, "transitions": d.transitions} for d in run.data],
        "transitions": run.transitions,
        "steps": run.trainer.step,
        "skipped_steps": run.trainer.skipped,
        "recoveries": run.trainer.recoveries,
        **({"kept": run.kept} if run.kept else {}),
        "resumed": len(run.sessions) - 1,
        "seconds": run.seconds,
        **run.sessions[-1],
        "sessions": run.sessions,
    }


# ---------------------------------------------------------------------------------------- pictures


def _draw_pictures(run: Run) -> NDArray[np.float64]:
    """Draw a run from rollouts that it was not trained on, and return the open-loop error."""
    rng = np.random.default_rng([run.recipe.seed, 0, 1])
    fresh = collect_restarts(run.env, 100, min(40, run.spec.episode_steps), rng)
    error, figures = _model_figures(run, fresh)
    figures |= {"losses": pictures.loss_curves(run.tracker.history)}
    (run.folder / runs.PICTURES).mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = run.folder / runs.PICTURES / f"{name}.png"
        pictures.save_figure(figure, path)
        run.tracker.image(name, path)
    return error


@torch.inference_mode()
def _model_figures(run: Run, fresh: Rollouts) -> tuple[NDArray[np.float64], dict[str, Figure]]:
    """Measure the open-loop error; draw it, the latent space, reconstructions and roll-outs."""
    model, T = run.model, fresh.actions.shape[1]
    seen = np.stack([fresh.observations(t) for t in range(T + 1)], 1)
    latents = model.encode(seen).mean
    predicted = [latents[:, 0]]
    for u in torch.from_numpy(fresh.actions).to(latents.device).unbind(1):
        predicted.append(model.transition.step(predicted[-1], u))
    rolled = torch.stack(predicted, 1)
    error = evaluation.open_loop_error(
        latents.cpu().double().numpy(), rolled.cpu().double().numpy()
    )
    picked, steps = slice(0, 3), [k for k in (0, 2, 5, 10, 15, 20, 30) if k < T] + [T]
    happened = seen[picked][:, steps, -1]
    flat = latents.flatten(0, 1).cpu().numpy()
    states = fresh.states.reshape(-1, fresh.states.shape[-1])
    truth = list(zip(run.env.components[:2], states.T, strict=False))
    goal, path = _way(run)
    return error, {
        "open_loop_error": pictures.open_loop_error(error, None, run.spec.dt),
        "latent_space": pictures.latent_space(flat, truth, goal, path),
        "reconstructions": pictures.reconstructions(seen[:8, 0], model.decode(latents[:8, 0])),
        "rollouts": pictures.rollout_strip(
            happened, model.decode(rolled[picked][:, steps])[:, :, -1], steps, run.spec.dt
        ),
    }


def _way(run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Encode the goal and the way ``[T + 1, n]`` of the last round's first episode, if any."""
    model, last = run.model, run.data[-1]
    if len(run.data) == 1:
        return model.encode(model.goal).mean.cpu().numpy(), None
    goal = run.env.observe(run.env.goal_states(last.states[:1]))[0]
    seen = last.observations()[: last.lengths[0] + 1]
    encoded = [model.encode(images).mean.cpu().numpy() for images in (goal, seen)]
    return encoded[0], encoded[1]


# ---------------------------------------------------------------------------------------- evaluate


@dataclass(frozen=True)
class Disturbance:
    """What the world does to the closed loop in a test of robustness."""

    mass: float | None = None
    """Mass of the real system [kg]; the model has learned the task's own."""
    length: float | None = None
    """Length of the real system [m]; the model has learned the task's own."""
    kick: float = 0.0
    """External push for 0.25 s, 6 s into the episode; in the unit of the controls."""
    frame_noise: float = 0.0
    """Standard deviation of Gaussian noise on the frames [grey levels of 255]."""
    black_frames: float = 0.0
    """Share of the frames that the camera returns black."""
    state_noise: float = 0.0
    """Standard deviation of the noise added to the state after each step, in the task's unit."""
    perturbed: bool = False
    """Start off the usual start, in a task that has such starts (balance)."""

    def world(self, spec: ProblemSpec) -> PixelEnv:
        """Build the task as it is disturbed.

        Raises:
            E2CError: for a disturbance that it does not know, or that would not come.
        """
        if self.kick and (lasts := spec.episode_steps * spec.dt) <= 6.0:
            raise E2CError(
                f"--kick comes 6 s into an episode, and one of {spec.env} lasts {lasts:g} s; "
                "leave it out."
            )
        options = {"state_noise": self.state_noise or None, "perturbed": self.perturbed or None}
        return make_env(spec.env, mass=self.mass, length=self.length, **options)

    def push(self, dt: float, shape: tuple[int, int]) -> Callable[[int], ArrayLike | None]:
        """Return the external force at each step: the kick, or none."""
        first, last = round(6.0 / dt), round(6.25 / dt)
        return lambda t: np.full(shape, self.kick) if self.kick and first <= t < last else None

    def look(self, frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return observations ``[B, C, H, W]`` as the agent gets them."""
        if self.frame_noise:
            noise = self.frame_noise * rng.standard_normal(frames.shape)
            frames = np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)
        if self.black_frames:
            seen = rng.random(frames.shape[:2]) >= self.black_frames
            frames = frames * seen[..., None, None]
        return frames


def evaluate(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance | None = None,
    oracle: bool = True,
) -> tuple[dict[str, Any], Rollouts, Rollouts | None]:
    """Run the closed loop, and the oracle on the same starts, all episodes in one batch.

    Args:
        agent: acts on frames alone.
        episodes: E.
        seed: of the starts.
        disturbance: what the world does besides; nothing by default.
        oracle: whether to run the oracle.

    Returns:
        The results, ready for JSON; the agent's episodes; and the oracle's, if it ran.
    """
    disturbance, spec = disturbance or Disturbance(), agent.spec
    check_task(agent, spec.env, make_env(spec.env))
    env = disturbance.world(spec)
    starts = env.sample_starts(np.random.default_rng(seed), episodes)
    noise, push = (
        np.random.default_rng([seed, 1]),
        disturbance.push(env.dt, (episodes, len(spec.control_low))),
    )

    def begin() -> BatchEnv:
        return BatchEnv(env, starts, generators=np.random.default_rng([seed, 2]).spawn(episodes))

    def closed_loop(name: str, controller: Controller, batch: BatchEnv) -> Rollouts:
        with Progress(name, episodes * spec.episode_steps, "steps") as progress:
            return record(batch, controller, spec.episode_steps, lambda n, _: progress(n), push)

    started = time.perf_counter()
    batch = begin()
    agent.reset(goal=batch.goals())
    rollouts = closed_loop("evaluate", lambda x: agent.act(disturbance.look(x, noise)), batch)
    seconds = time.perf_counter() - started
    scores = score(env, rollouts.states, rollouts.actions)
    expert = Oracle(env, spec, agent.options, starts)
    results = {
        **scores.summary(),
        "cost_mean": float(expert.price(rollouts.states, rollouts.actions).mean()),
        "faults": {kind: int(counts.sum()) for kind, counts in agent.faults.items()},
        "episodes": scores.rows(**agent.faults),
        "seconds": seconds,
    }
    ideal = None
    if oracle:
        batch = begin()
        ideal = closed_loop("oracle", lambda _: expert.act(batch.states), batch)
        best = score(env, ideal.states, ideal.actions).summary()
        results |= {f"oracle_{key}": best[key] for key in ("success_rate", "time_in_goal")}
        results["oracle_cost_mean"] = float(expert.price(ideal.states, ideal.actions).mean())
    return results, rollouts, ideal


def film_episode(agent: Agent, start: NDArray[np.float64], title: str) -> tuple[Film, list[float]]:
    """Run one episode alone, keeping what the agent saw, planned and imagined.

    Returns:
        The film, and the wall-clock milliseconds of every control step: encode and plan.
    """
    env, spec = make_env(agent.spec.env), agent.spec
    steps = [s for s in (2, 5, 10, 20, 30, 40) if s <= agent.options.horizon] or [1]
    milliseconds: list[float] = []
    imagined: list[NDArray[np.uint8]] = []
    costs: list[float] = []

    def act(observations: NDArray[np.uint8]) -> ArrayLike:
        started = time.perf_counter()
        actions = agent.act(observations)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        assert agent.plan is not None
        imagined.append(agent.imagine(steps)[0])
        costs.append(float(agent.plan.cost[0]))
        return actions

    batch = BatchEnv(env, start[None])
    goals, goal_value = batch.goals(), float(env.goal_states(batch.states)[0, env.plotted])
    agent.reset(goal=goals)
    rollouts = record(batch, act, spec.episode_steps)
    states, controls = rollouts.states[0], rollouts.actions[0]
    plotted = env.components[env.plotted]
    film = Film(
        scenes=lambda t: env.picture(states[t], controls[t]),
        observations=np.stack([rollouts.observations(t)[0] for t in range(spec.episode_steps + 1)]),
        imagined=np.stack(imagined),
        imagined_steps=steps,
        goal=goals[0],
        control=env.control,
        controls=controls,
        control_limit=float(spec.control_scale.max()),
        plotted=plotted,
        values=plotted.wrapped(states[:, env.plotted]),
        goal_value=goal_value,
        in_goal=env.is_goal(states),
        costs=np.array(costs),
        dt=spec.dt,
        title=title,
    )
    return film, milliseconds


@dataclass(frozen=True)
class Outputs:
    """Files that an evaluation writes, each only where asked for."""

    json: Path | None = None
    """File to write the results to."""
    video: Path | None = None
    """File to film the first episode to (.mp4)."""
    picture: Path | None = None
    """File to draw all episodes to, by their distance from the goal (.png)."""
    trajectories: Path | None = None
    """File to keep the states and controls of all episodes in, and the oracle's (.npz)."""


def evaluate_and_film(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance,
    oracle: bool,
    outputs: Outputs,
) -> dict[str, Any]:
    """Evaluate; time and film the first start alone; write what is asked for; return the results.

    Raises:
        E2CError: when there is no such disturbance of this task.
    """
    results, rollouts, ideal = evaluate(agent, episodes, seed, disturbance, oracle)
    env = make_env(agent.spec.env)
    title = f"{env.goal_sentence}: {results['success_rate']:.0%} succeed"
    film, milliseconds = film_episode(agent, rollouts.states[0, 0], title)
    results |= {
        "plan_ms_median": float(np.median(milliseconds)),
        "plan_ms_p99": float(np.percentile(milliseconds, 99)),
        "env": agent.spec.env,
        "start_seed": seed,
        "disturbance": vars(disturbance),
        **provenance(),
    }
    if outputs.json is not None:
        write_json(outputs.json, results)
    if outputs.picture is not None:
        outputs.picture.parent.mkdir(parents=True, exist_ok=True)
        pictures.save_figure(_draw_episodes(env, rollouts), outputs.picture)
    if outputs.video is not None:
        outputs.video.parent.mkdir(parents=True, exist_ok=True)
        write_video(outputs.video, film_frames(film), fps=1 / agent.spec.dt)
    if outputs.trajectories is not None:
        _write_trajectories(outputs.trajectories, agent.spec, env, rollouts, ideal)
    return results


def _draw_episodes(env: PixelEnv, rollouts: Rollouts) -> Figure:
    """Draw how far from their goals the episodes were."""
    goals = env.goal_states(rollouts.states[:, 0])
    away = (rollouts.states - goals[:, None])[..., env.plotted]
    plotted = env.components[env.plotted]
    return pictures.episodes(plotted, away, env.is_success(rollouts.states), env.dt)


def _write_trajectories(
    path: Path, spec: ProblemSpec, env: PixelEnv, rollouts: Rollouts, ideal: Rollouts | None
) -> None:
    """Keep what the agent and the oracle did from the same starts."""
    kept: dict[str, NDArray[Any]] = {
        "states": rollouts.states,
        "actions": rollouts.actions,
        "oracle_states": rollouts.states[:0] if ideal is None else ideal.states,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "schema": "e2c-episodes-1",
        "env": spec.env,
        "dt": spec.dt,
        "task": env.goal_sentence,
        "components": [vars(component) for component in env.components],
        "plotted": env.plotted,
        "goals": np.unique(env.goal_states(rollouts.states[:, 0]), axis=0).tolist(),
    }
    arrays.write(path, kept, header)
