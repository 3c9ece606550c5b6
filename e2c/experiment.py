"""The stories of collect, train and evaluate, told once: here everything meets.

Imported by the commands, by ``benchmarks/`` and by the tests; by no other module of the package.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import ArrayLike, NDArray

import envs
from e2c import checkpoint, dataset, evaluation, pictures
from e2c.agent import Agent
from e2c.config import Config, check, to_dict
from e2c.dataset import Dataset, Windows
from e2c.errors import E2CError, write_whole
from e2c.evaluation import Scores, score
from e2c.model import E2C, ProblemSpec, build_model
from e2c.oracle import Oracle
from e2c.provenance import provenance, versions
from e2c.tracking import Progress, Tracker, WandbMode
from e2c.training import Phase, Trainer
from e2c.video import Film, swing_up_frames, write_video
from envs.collect import BatchEnv, Controller, Rollouts, collect_restarts, record
from envs.core import PixelEnv

LOG_EVERY = 100
"""Optimiser steps averaged into one row of metrics."""


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
    except TypeError:
        raise E2CError(f"{env_id} takes no parameter {', '.join(given)}; leave it out.") from None


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


def wrapped(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wrap angles [rad] into -pi .. pi."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def noisy(agent: Agent, std: float, rng: np.random.Generator) -> Controller:
    """Let ``agent`` begin episodes, with Gaussian noise of ``std``, a share of each limit."""
    agent.reset()
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
    episodes = -(-transitions // length)
    controller = None if agent is None else noisy(agent, exploration, rng)
    frames = (length + env.frames_per_observation) / length
    progress = Progress("collect", int(episodes * length * frames), "frames")
    rollouts = collect_restarts(
        env, episodes, length, rng, controller, lambda done, _: progress(int(done * frames))
    )
    source = {"seed": seed, "controller": "random" if agent is None else "agent"}
    return as_dataset(
        rollouts, problem_spec(env_id, env), {**source, "restarts": True, "length": length}
    )


# ------------------------------------------------------------------------------------------- train


@dataclass
class Run:
    """A training run: what it is made of, and where it writes."""

    config: Config
    seed: int
    folder: Path
    env: PixelEnv
    spec: ProblemSpec
    model: E2C
    tracker: Tracker
    data: list[Dataset]
    seconds: dict[str, float]

    @property
    def transitions(self) -> int:
        """Transitions used so far, own episodes included."""
        return sum(d.transitions for d in self.data)

    @property
    def agent(self) -> Agent:
        """The agent as it is now."""
        return Agent(self.model, self.spec, self.config.planner)


def train(
    config: Config,
    seed: int,
    folder: Path,
    data: Sequence[Path] = (),
    device: str = "cpu",
    wandb_mode: WandbMode = "off",
) -> Run:
    """Collect, train embedding and dynamics jointly, add own episodes, write the run folder.

    The same seed, data and number of threads give the same weights, bit for bit, on a CPU.

    Args:
        config: everything that decides the run.
        seed: of data, weights, batches and exploration.
        folder: run folder, made here; it must not hold a run yet.
        data: dataset files to start from, in place of random transitions.
        device: where to train.
        wandb_mode: whether to report to wandb too.

    Raises:
        E2CError: for anything that the user can put right.
    """
    started = time.perf_counter()
    run = _begin(check(config), seed, folder, data, device, wandb_mode)
    trainer = Trainer(run.model, config.objective, config.optimiser, seed)
    _fit(run, trainer, Phase(config.optimiser.steps, config.optimiser.learning_rate, True), "train")
    for number in range(1, config.data.rounds + 1):
        figure = _own_round(run, number)
        phase = Phase(config.optimiser.steps_per_round, config.optimiser.learning_rate_own, False)
        _fit(run, trainer, phase, f"train, round {number}", figure)
    checkpoint.save(folder / checkpoint.NAME, run.model, config, run.spec)
    _draw_pictures(run)
    run.seconds["total"] = time.perf_counter() - started
    summary = {
        "transitions": run.transitions,
        "steps": trainer.step,
        "skipped_steps": trainer.skipped,
        "seconds": run.seconds,
    }
    _write_json(folder / "run.json", {**_about(run), **summary})
    run.tracker.close(summary)
    return run


def _begin(
    config: Config,
    seed: int,
    folder: Path,
    data: Sequence[Path],
    device: str,
    wandb_mode: WandbMode,
) -> Run:
    """Make the run folder, the first data and the untrained model."""
    if (folder / checkpoint.NAME).exists():
        raise E2CError(f"{folder} already holds a run; choose another --out or remove it first.")
    place = checkpoint.find_device(device)
    env = make_env(config.env)
    spec = problem_spec(config.env, env)
    started = time.perf_counter()
    if data:
        first = load_datasets(data, spec)
    else:
        options = config.data
        first = collect(config.env, options.transitions, options.episode_length, seed, None, 0.0)
    Windows([first], config.objective.horizon, 0.0, place)  # data too short are refused here
    model = build_model(config.model, spec, env.goal_observation(), seed).to(place)
    mean = torch.from_numpy(first.observations().mean(0, dtype=np.float32) / 255)
    model.decoder.start_at(mean.to(place))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    first.save(folder / "data" / "first.npz")
    text = yaml.safe_dump(to_dict(config), sort_keys=False)
    write_whole(folder / "config.yaml", lambda aside: aside.write_text(text))
    tracker = Tracker(folder, wandb_mode, {**to_dict(config), "seed": seed})
    seconds = {"collect": time.perf_counter() - started}
    return Run(config, seed, folder, env, spec, model, tracker, [first], seconds)


def _fit(run: Run, trainer: Trainer, phase: Phase, name: str, figure: str = "") -> None:
    """Optimise for one phase, telling and keeping its metrics; then measure the latent space."""
    config, started, before = run.config, time.perf_counter(), trainer.step
    windows = Windows(run.data, config.objective.horizon, config.data.fresh, run.model.goal.device)
    progress, rows = Progress(name, phase.steps, "steps"), []
    run.model.train()
    for row in trainer.run(windows, phase):
        rows.append(row)
        told = f"loss {row['loss']:.1f}  latent KL {row['latent_kl']:.2f}  {figure}"
        progress(trainer.step - before, told)
        if len(rows) == LOG_EVERY:
            run.tracker.log(_mean(rows))
            rows.clear()
    if rows:
        run.tracker.log(_mean(rows))
    run.model.eval()
    seen = run.data[0].observations()
    run.model.measure(seen[:: min(7, len(seen) // 2)])
    run.seconds["train"] = run.seconds.get("train", 0.0) + time.perf_counter() - started


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _own_round(run: Run, number: int) -> str:
    """Let the agent act in its task, keep what it saw, and say how well it did."""
    started, options = time.perf_counter(), run.config.data
    rng = np.random.default_rng([run.seed, number])
    starts = run.env.sample_starts(rng, options.episodes_per_round)
    controller = noisy(run.agent, options.exploration, rng)
    rollouts = record(BatchEnv(run.env, starts), controller, run.spec.episode_steps)
    own = as_dataset(
        rollouts,
        run.spec,
        {"seed": run.seed, "round": number, "controller": "agent", "restarts": False},
    )
    own.save(run.folder / "data" / f"round_{number}.npz")
    run.data.append(own)
    scores = score(run.env, rollouts.states, rollouts.actions)
    run.tracker.log({"round": number, "transitions": run.transitions, **_shown(scores)})
    run.seconds["own"] = run.seconds.get("own", 0.0) + time.perf_counter() - started
    return f"success with exploration {scores.success.mean():.0%}"


def _shown(scores: Scores) -> dict[str, float]:
    """Scores that are shown and logged; nothing is learned or chosen from them."""
    return {
        "own_success_rate": float(scores.success.mean()),
        "own_time_in_goal": float(scores.time_in_goal.mean()),
    }


def _about(run: Run) -> dict[str, Any]:
    """Everything that made a run."""
    return {
        "seed": run.seed,
        "config": to_dict(run.config),
        "data": [{"sha256": d.content_hash, "transitions": d.transitions} for d in run.data],
        **provenance(),
    }


# ---------------------------------------------------------------------------------------- pictures


def _draw_pictures(run: Run) -> None:
    """Write the pictures of a run into its folder, from rollouts that it was not trained on."""
    started = time.perf_counter()
    rng = np.random.default_rng([run.seed, 0, 1])
    fresh = collect_restarts(run.env, 100, min(40, run.spec.episode_steps), rng)
    figures = {"losses": pictures.loss_curves(run.tracker.history)}
    figures |= _model_figures(run, fresh)
    (run.folder / "pictures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = run.folder / "pictures" / f"{name}.png"
        pictures.save_figure(figure, path)
        run.tracker.image(name, path)
    run.seconds["pictures"] = time.perf_counter() - started


@torch.inference_mode()
def _model_figures(run: Run, fresh: Rollouts) -> dict[str, Any]:
    """Draw open-loop error, latent space, reconstructions and roll-out strips."""
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
    truth = seen[picked][:, steps, -1]
    goal = model.encode(model.goal).mean.cpu().numpy()
    flat = latents.flatten(0, 1).cpu().numpy()
    states = fresh.states.reshape(-1, fresh.states.shape[-1])
    lived = model.encode(run.data[-1].observations()[: run.data[-1].lengths[0] + 1]).mean
    path = lived.cpu().numpy() if len(run.data) > 1 else None
    return {
        "open_loop_error": pictures.open_loop_error(error, None, run.spec.dt),
        "latent_space": pictures.latent_space(
            flat, wrapped(states[:, 0]), states[:, 1], goal, path
        ),
        "reconstructions": pictures.reconstructions(seen[:8, 0], model.decode(latents[:8, 0])),
        "rollouts": pictures.rollout_strip(
            truth, model.decode(rolled[picked][:, steps])[:, :, -1], steps, run.spec.dt
        ),
    }


# ---------------------------------------------------------------------------------------- evaluate


@dataclass(frozen=True)
class Disturbance:
    """What the world does to the closed loop in a test of robustness."""

    mass: float | None = None
    """Mass of the real system [kg]; the model has learned the task's own."""
    length: float | None = None
    """Length of the real system [m]; the model has learned the task's own."""
    kick: float = 0.0
    """External push [N m] for 0.25 s, 6 s into the episode."""
    frame_noise: float = 0.0
    """Standard deviation of Gaussian noise on the frames [grey levels of 255]."""

    def push(self, dt: float, shape: tuple[int, int]) -> Callable[[int], ArrayLike | None]:
        """Return the external force at each step: the kick, or none."""
        first, last = round(6.0 / dt), round(6.25 / dt)
        return lambda t: np.full(shape, self.kick) if self.kick and first <= t < last else None

    def look(self, frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the frames as the agent gets them."""
        if not self.frame_noise:
            return frames
        noise = self.frame_noise * rng.standard_normal(frames.shape)
        return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def evaluate(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance | None = None,
    oracle: bool = True,
) -> tuple[dict[str, Any], Rollouts]:
    """Run the closed loop, and the oracle on the same starts, all episodes in one batch.

    Args:
        agent: acts on frames alone.
        episodes: E.
        seed: of the starts.
        disturbance: what the world does besides; nothing by default.
        oracle: whether to run the oracle.

    Returns:
        The results, ready for JSON, and the agent's episodes.
    """
    disturbance, spec = disturbance or Disturbance(), agent.spec
    env = make_env(spec.env, mass=disturbance.mass, length=disturbance.length)
    starts = env.sample_starts(np.random.default_rng(seed), episodes)
    noise, push = (
        np.random.default_rng([seed, 1]),
        disturbance.push(env.dt, (episodes, len(spec.control_low))),
    )

    def closed_loop(name: str, controller: Controller, batch: BatchEnv) -> Rollouts:
        progress = Progress(name, episodes * spec.episode_steps, "steps")
        return record(batch, controller, spec.episode_steps, lambda n, _: progress(n), push)

    started = time.perf_counter()
    agent.reset()
    batch = BatchEnv(env, starts)
    rollouts = closed_loop("evaluate", lambda x: agent.act(disturbance.look(x, noise)), batch)
    seconds = time.perf_counter() - started
    scores = score(env, rollouts.states, rollouts.actions)
    results = {**scores.summary(), "episodes": scores.rows(), "seconds": seconds}
    results |= {"troubled_plans": agent.troubles}
    if oracle:
        batch = BatchEnv(env, starts)
        expert = Oracle(env, spec, agent.options)
        ideal = closed_loop("oracle", lambda _: expert.act(batch.states), batch)
        best = score(env, ideal.states, ideal.actions).summary()
        results |= {f"oracle_{key}": best[key] for key in ("success_rate", "time_in_goal")}
    return results, rollouts


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

    agent.reset()
    rollouts = record(BatchEnv(env, start[None]), act, spec.episode_steps)
    states, torques = rollouts.states[0], rollouts.actions[0]
    film = Film(
        scenes=lambda t: env.picture(states[t], torques[t]),
        observations=np.stack([rollouts.observations(t)[0] for t in range(spec.episode_steps + 1)]),
        imagined=np.stack(imagined),
        imagined_steps=steps,
        goal=agent.model.goal.cpu().numpy(),
        torques=torques[:, 0],
        torque_limit=float(spec.control_scale[0]),
        angles=wrapped(states[:, 0]),
        goal_band=0.2,
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
    """File to draw the angles of all episodes to (.png)."""


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
    results, rollouts = evaluate(agent, episodes, seed, disturbance, oracle)
    rate = f"{results['success_rate']:.0%} of {episodes} swing up and stay"
    film, milliseconds = film_episode(agent, rollouts.states[0, 0], rate)
    results |= {
        "plan_ms_median": float(np.median(milliseconds)),
        "plan_ms_p99": float(np.percentile(milliseconds, 99)),
        "env": agent.spec.env,
        "start_seed": seed,
        "disturbance": vars(disturbance),
        **provenance(),
    }
    if outputs.json is not None:
        _write_json(outputs.json, results)
    if outputs.picture is not None:
        outputs.picture.parent.mkdir(parents=True, exist_ok=True)
        success = np.array([row["success"] for row in results["episodes"]])
        angles = wrapped(rollouts.states[..., 0])
        pictures.save_figure(
            pictures.episodes(angles, success, agent.spec.dt, film.goal_band), outputs.picture
        )
    if outputs.video is not None:
        outputs.video.parent.mkdir(parents=True, exist_ok=True)
        write_video(outputs.video, swing_up_frames(film), fps=1 / agent.spec.dt)
    return results


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda aside: aside.write_text(text))
