"""The pictures of a run, drawn from episodes that its model was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from e2c.control.base import Frames, make_world_of, rollout
from e2c.control.simple import Random
from e2c.data.episodes import RECORDING, Episodes
from e2c.evaluation.scores import open_loop_error
from e2c.files import runs
from e2c.files.tracking import Tracker
from e2c.models.base import LatentModel, ProblemSpec
from e2c.report import plots
from envs import most_side_by_side
from envs.quantity import Quantity
from envs.world import Simulated

EPISODES = 100
"""Most episodes that are used."""
LONGEST = 40
"""Most steps that are used of each."""
AHEAD = (0, 2, 5, 10, 15, 20, 30)
"""Steps of a prediction that are shown as images, besides the last."""


@dataclass(frozen=True, eq=False)
class Unseen:
    """Episodes that a model was not trained on, with their encodings and its predictions.

    Attributes:
        episodes: E of T steps.
        images: the observations, ``[E, T + 1, C, H, W]``.
        latents: their encodings, ``[E, T + 1, n]``.
        predicted: open-loop predictions from each episode's first encoding, ``[E, T + 1, n]``.
        truth: the first two components of the state, and their values ``[E (T + 1)]``; the step in
            the episode where states are unknown.
    """

    episodes: Episodes
    images: Frames
    latents: Tensor
    predicted: Tensor
    truth: Sequence[tuple[Quantity, NDArray[np.float64]]]


def draw(
    folder: Path,
    model: LatentModel,
    spec: ProblemSpec,
    data: Sequence[Episodes],
    seed: int,
    tracker: Tracker,
    titles: Mapping[str, str],
) -> NDArray[np.float64]:
    """Draw a run into its folder, and return the open-loop error ``[T]``.

    Args:
        folder: of the run.
        model: trained.
        spec: its task.
        data: what it was trained on; the first episode of the last round is drawn as a way to the
            goal.
        seed: of the run.
        tracker: gets the pictures too; its history is drawn.
        titles: of the terms in the history.
    """
    unseen = look(model, spec, np.random.default_rng([seed, 0, 1]), data[0])
    error = open_loop_error(_numbers(unseen.latents), _numbers(unseen.predicted))
    figures = _figures(model, spec, data, unseen, error)
    figures |= {"losses": plots.loss_curves(tracker.history, titles)}
    (folder / runs.PICTURES).mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = folder / runs.PICTURES / f"{name}.png"
        plots.save_figure(figure, path)
        tracker.image(name, path)
    return error


@torch.inference_mode()
def look(model: LatentModel, spec: ProblemSpec, rng: np.random.Generator, data: Episodes) -> Unseen:
    """Record episodes under random controls, then encode and predict them.

    Where there is no world to record in, the episodes are those of ``data``, although the model was
    trained on them.
    """
    if spec.env == RECORDING:
        return _look(model, spec, whole(data), [])
    with closing(make_world_of(spec, min(EPISODES, most_side_by_side(spec.env)))) as world:
        system: Any = world.unwrapped
        known = isinstance(system, Simulated)
        options: dict[str, Any] = {"restart": True} if known else {}
        steps = min(LONGEST, spec.episode_steps)
        episodes = whole(rollout(world, Random(world, rng), steps, rng, **options))
    return _look(model, spec, episodes, system.task.components[:2] if known else [])


def _look(
    model: LatentModel, spec: ProblemSpec, episodes: Episodes, components: Sequence[Quantity]
) -> Unseen:
    """Encode and predict episodes; ``components`` name the first of their states, if known."""
    E, T = len(episodes), int(episodes.lengths[0])
    images = episodes.planes().reshape(E, T + 1, *spec.planes)
    latents = model.encode(images).mean
    actions = torch.from_numpy(episodes.actions.reshape(E, T, -1)).to(latents.device)
    truth = [(Quantity("step", ""), np.tile(np.arange(T + 1.0), E))]
    if episodes.states is not None:
        named = components or [Quantity(f"state component {k}", "") for k in (1, 2)]
        truth = list(zip(named, episodes.states.T, strict=False))
    return Unseen(episodes, images, latents, model.roll_out(latents[:, 0], actions), truth)


def whole(episodes: Episodes) -> Episodes:
    """Cut the first `EPISODES` to the same length, at most `LONGEST`, to stack them as arrays."""
    T = min(LONGEST, int(episodes.lengths.min()))
    F, E = episodes.frames_per_observation, range(min(EPISODES, len(episodes)))

    def cut(array: NDArray[Any] | None, rows: Any, more: int) -> Any:
        if array is None:
            return None
        return np.concatenate([array[rows(e)][: T + more] for e in E])

    return Episodes(
        frames=cut(episodes.frames, episodes.frame_rows, F),
        actions=cut(episodes.actions, episodes.action_rows, 0),
        lengths=np.full(len(E), T, np.int64),
        states=cut(episodes.states, episodes.moment_rows, 1),
        provenance=episodes.provenance,
    )


@torch.inference_mode()
def _figures(
    model: LatentModel,
    spec: ProblemSpec,
    data: Sequence[Episodes],
    unseen: Unseen,
    error: NDArray[np.float64],
) -> dict[str, Figure]:
    """Draw the open-loop error, the latent space, reconstructions and roll-outs."""
    T = len(error)
    picked, steps = slice(0, 3), [k for k in AHEAD if k < T] + [T]
    happened = unseen.images[picked][:, steps]
    imagined = model.decode(unseen.predicted[picked][:, steps])
    flat = unseen.latents.flatten(0, 1).cpu().numpy()
    goal, path = _way(model, data)
    return {
        "open_loop_error": plots.open_loop_error(error, None, spec.dt),
        "latent_space": plots.latent_space(flat, unseen.truth, goal, path),
        "reconstructions": plots.reconstructions(
            spec.layout.frames_of(unseen.images[:8, 0]),
            spec.layout.frames_of(model.decode(unseen.latents[:8, 0])),
        ),
        "rollouts": plots.rollout_strip(
            _newest(spec, happened), _newest(spec, imagined), steps, spec.dt
        ),
    }


def _newest(spec: ProblemSpec, planes: Frames) -> Frames:
    """Return the newest frames of ``[..., C, H, W]``: ``[..., H, W]``, or with 3 channels."""
    return np.take(spec.layout.frames_of(planes), -1, axis=planes.ndim - 3)


def _way(
    model: LatentModel, data: Sequence[Episodes]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Encode the goal, and the first episode of the last round if there is one, ``[T + 1, n]``."""
    if len(data) == 1:
        return model.encode(model.goal).mean.cpu().numpy(), None
    first = next(data[-1].split())
    goals = first.goal_planes()
    goal = model.goal if goals is None else goals[0]
    encoded = [model.encode(images).mean.cpu().numpy() for images in (goal, first.planes())]
    return encoded[0], encoded[1]


def _numbers(z: Tensor) -> NDArray[np.float64]:
    return z.cpu().double().numpy()
