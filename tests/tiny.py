"""Small problems, models and runs, whose sizes differ from one another."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import envs
from e2c.config import Config, DataConfig, EvaluationConfig
from e2c.control.agent import PlannerConfig
from e2c.data.episodes import Episodes
from e2c.evaluation import assessment
from e2c.learning import drawings, sight
from e2c.learning.schedule import OptimiserConfig
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.methods import build_model
from e2c.models.objectives import Batch, ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.report import plots
from e2c.report.pens import Picture
from envs.task import Task
from envs.world import World, simulated

ROOT = Path(__file__).parents[1]
ENV = "E2C/PendulumSwingUp-v0"

SPEC = ProblemSpec("Test/Tiny-v0", (3, 12, 6), (-2.0, -0.5), (2.0, 0.25), 0.1, 7)
"""C = 3 frames of 12 x 6 pixels, m = 2 controls with limits that differ and are not symmetric."""
ONE_CONTROL = dataclasses.replace(SPEC, control_low=(-2.0,), control_high=(2.0,))

MODEL = ModelConfig(
    latent_dim=4,
    encoder="mlp",
    encoder_hidden=(16, 15),
    decoder_hidden=(14, 16),
    transition_hidden=(13,),
    pool=3,
    lattices=2,
)
CONFIG = Config(
    model=dataclasses.replace(MODEL, latent_dim=3, pool=2, view="plain"),
    objective=ObjectiveConfig(horizon=3, targets=2),
    optimiser=OptimiserConfig(
        steps=6,
        steps_per_round=4,
        batch_size=5,
        learning_rate=3e-3,
        learning_rate_own=1e-3,
        blur=0.0,
        dynamics_steps=3,
        dynamics_steps_per_round=2,
        sight_steps=3,
    ),
    data=DataConfig(
        48,
        restarts=True,
        noise="uniform",
        episode_length=5,
        rounds=1,
        episodes_per_round=2,
        own_length=None,
    ),
    planner=PlannerConfig(horizon=5, first_iterations=2, restarts=2),
    evaluation=EvaluationConfig(episodes=2),
)
"""A run of a second or two."""
TYPED = [
    *("--model.view", "plain", "--model.encoder", "mlp", "--optimiser.blur", "0"),
    *("--model.latent-dim", "3", "--model.encoder-hidden", "16", "15"),
    *("--model.decoder-hidden", "14", "16", "--model.transition-hidden", "13"),
    *("--objective.horizon", "3", "--objective.targets", "2", "--optimiser.steps", "6"),
    *("--optimiser.steps-per-round", "4", "--optimiser.batch-size", "5"),
    *("--optimiser.learning-rate", "3e-3", "--optimiser.learning-rate-own", "1e-3"),
    *("--optimiser.sight-steps", "3", "--data.transitions", "48", "--data.restarts", "True"),
    *("--data.noise", "uniform", "--data.own-length", "None"),
    *("--data.episode-length", "5", "--data.rounds", "1", "--optimiser.dynamics-steps", "3"),
    *("--optimiser.dynamics-steps-per-round", "2"),
    *("--data.episodes-per-round", "2", "--planner.horizon", "5"),
    *("--planner.first-iterations", "2", "--planner.restarts", "2"),
    *("--evaluation.episodes", "0", "--seed", "3"),
]
"""`CONFIG` without evaluation, as it is typed, with seed 3."""


def tiny_model(config: ModelConfig = MODEL, spec: ProblemSpec = SPEC, seed: int = 0) -> LatentModel:
    goal = spec.layout.to_planes(images(1, spec, seed=9)[0])
    return build_model(config, spec, goal, seed).eval()


def images(count: int, spec: ProblemSpec = SPEC, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, ``[count, C, H, W]``."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *spec.observation_shape), np.uint8)


def noise_data(lengths: tuple[int, ...], spec: ProblemSpec = SPEC, seed: int = 0) -> Episodes:
    """Episodes of noise, of any lengths."""
    rng, steps = np.random.default_rng(seed), sum(lengths)
    F, H, W = spec.observation_shape
    return Episodes(
        frames=rng.integers(0, 256, (steps + F * len(lengths), H, W), np.uint8),
        actions=rng.uniform(
            spec.control_low, spec.control_high, (steps, len(spec.control_low))
        ).astype(np.float32),
        lengths=np.array(lengths, np.int64),
        states=rng.standard_normal((steps + len(lengths), 2)),
        provenance={"env": spec.env, "seed": seed},
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(x: Tensor, u: Tensor, times: Sequence[int]) -> Batch:
    """A batch whose times are a list."""
    return Batch(x, u, torch.tensor(times))


def shorten_runs(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Cut every episode of our tasks to ``steps``, as long as ``patch`` lasts.

    A sight then looks at few windows too, and pictures at few episodes.
    """
    patch.setattr(sight, "LOOKED_AT", 50)
    patch.setattr(drawings, "EPISODES", 8)
    for name in envs.ENVIRONMENTS:
        patch.setattr(gymnasium.spec(name), "max_episode_steps", steps)


def leave_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Save hashes of what figures and a film's first pictures show, as long as ``patch`` lasts.

    To draw and encode them all takes longer than all the rest of a small run.
    """

    def digest_of(*shown: Any) -> bytes:
        content = hashlib.sha256()
        _tell(content.update, shown)
        return content.digest()

    def save_figure(figure: bytes, path: Path) -> None:
        assert cv2.imwrite(str(path), np.frombuffer(figure, np.uint8))

    def write_video(path: Path, frames: Iterable[Picture], fps: float) -> None:
        digest = digest_of(fps, *itertools.islice(frames, 3))
        path.write_bytes(b"\0\0\0\x18ftyp" + digest)

    for name in FIGURES:
        patch.setattr(plots, name, digest_of)
    patch.setattr(plots, "save_figure", save_figure)
    patch.setattr(assessment, "write_video", write_video)


FIGURES = (
    "episodes",
    "latent_space",
    "loss_curves",
    "open_loop_error",
    "reconstructions",
    "rollout_strip",
)


def _tell(update: Callable[[bytes], None], shown: Any) -> None:
    """Give ``update`` all that is shown, arrays to the last bit."""
    if isinstance(shown, (np.ndarray, Tensor)):
        update(np.ascontiguousarray(shown).tobytes())
    elif isinstance(shown, dict):
        _tell(update, list(shown.items()))
    elif isinstance(shown, (list, tuple)):
        for part in shown:
            _tell(update, part)
    else:
        update(repr(shown).encode())


def worlds_made(patch: pytest.MonkeyPatch) -> list[World]:
    """The worlds that are made from now on, as long as ``patch`` lasts."""
    made, make = list[World](), envs.make

    def kept(*given: Any, **options: Any) -> World:
        made.append(make(*given, **options))
        return made[-1]

    patch.setattr(envs, "make", kept)
    return made


def still_open(made: Sequence[World]) -> int:
    return sum(not world.unwrapped.closed for world in made)


def task_of(env_id: str, **options: Any) -> Task:
    """The mechanics, picture and score of a task of ours."""
    return simulated(envs.make(env_id, 1, **options), "The test").task


def random_actions(task: Task, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Actions within the task's limits, ``[count, m]``."""
    limits = task.action_space
    return rng.uniform(limits.low, limits.high, (count, task.control_dim))
