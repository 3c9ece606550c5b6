"""Why models fail: what their encodings tell of the state, and how far their dynamics hold.

A model has failed that ends settled in fewer than half of its episodes. The first of these that
holds of it is called the cause:

* *folded*: distant states lie on top of one another: a place cannot be read from the encodings, or
  their distances from the goal's are not in the order of the true distances;
* *blind*: velocities cannot be read;
* *runaway*: half a plan ahead the open-loop error is as large as the variance of the encodings;
* *stuck*: none of them. What was learned is as good as in models that succeed, and yet plans from
  it do not arrive.

A place can be read if its R² is at least `PLACES` of that of the default's median model, and
velocities if their mean R² is at least `VELOCITIES` of it. Distances are in order if their rank
correlation is at least `ORDER` of it. On the arm no model reads all joints.

States are read from encodings of random restarts by a linear fit to the nearest of others. They are
used for this table only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from e2c.control.agent import Agent
from envs.task import Task

KNOWN, ASKED = 4000, 400
"""Restarts whose states are known, and restarts whose states are asked for."""
NEAREST, RIDGE = 40, 0.01
"""So many of the known are fitted; the ridge is a share of the mean variance of their encodings."""
FAILED = 0.5
"""A model that succeeds in a smaller share of its episodes has failed."""
PLACES, VELOCITIES, ORDER = 0.9, 0.5, 0.8
"""See the module's docstring."""
CAUSES = ("folded", "blind", "runaway", "stuck")


class Read(NamedTuple):
    """How well states are read from encodings."""

    places: float
    """The least R² of a place."""
    velocities: float | None
    """The mean R² of the velocities; None for a task that has none."""
    order: float
    """Spearman's rank correlation of the distances from the goal: by the cost that is planned with,
    and of the true coordinates, each in units of its standard deviation."""


@torch.inference_mode()
def read(agent: Agent, task: Task, seed: int) -> Read:
    """Return how well states are read from the encodings of a model.

    Args:
        agent: of the model; it has not played yet, so its goal is the task's.
        task: whose restarts are drawn.
        seed: of the restarts.
    """
    observations, states = task.restart(np.random.default_rng(seed), KNOWN + ASKED)
    pieces = torch.from_numpy(observations).split(ASKED)
    z = torch.cat([agent.model.encode(piece).mean for piece in pieces])
    y = torch.from_numpy(task.coordinates(states))
    found = fitted(z[ASKED:].double(), y[ASKED:], z[:ASKED].double())
    error, spread = (found - y[:ASKED]).square().mean(0), y[:ASKED].var(0, correction=0)
    places, velocities = _quantities(task, y.shape[1])

    def r2(quantities: list[list[int]]) -> list[float]:
        return [float(1 - error[q].sum() / spread[q].sum()) for q in quantities]

    seen = float(np.mean(r2(velocities))) if velocities else None
    far = y - torch.from_numpy(task.coordinates(task.goal_state()[None]))
    order = rank_correlation(agent.cost.distances(z), (far / y.std(0)).square().sum(1))
    return Read(min(r2(places)), seen, order)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Return Spearman's rank correlation of two lists ``[N]`` without equal numbers."""
    ranks = torch.stack([x.argsort().argsort() for x in (a, b)])
    return float(torch.corrcoef(ranks.double())[0, 1])


def fitted(z: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    """Read ``y [M, k]`` at encodings ``asked [M, n]`` by local linear regression.

    Args:
        z: encodings, ``[N, n]``.
        y: what is known of them, ``[N, k]``.
        asked: other encodings.

    Source: Cleveland 1979, "Robust locally weighted regression", without weights.
    """
    nearest = torch.cdist(asked, z).topk(NEAREST, largest=False).indices
    Z, Y = z[nearest] - asked[:, None], y[nearest]
    Z_mean, Y_mean = Z.mean(1, keepdim=True), Y.mean(1, keepdim=True)
    Z, Y = Z - Z_mean, Y - Y_mean
    C = Z.mT @ Z
    ridge = RIDGE * C.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=torch.finfo(C.dtype).tiny)
    W = torch.linalg.solve(C + ridge[:, None, None] * torch.eye(C.shape[-1]).to(C), Z.mT @ Y)
    return (Y_mean - Z_mean @ W)[:, 0]


def _quantities(task: Task, coordinates: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return which coordinates belong to each place and to each velocity; see `Task.coordinates`.

    Coordinates that are not those of all components, as on planar, are places.
    """
    angles = [c for c in task.components if c.is_angle]
    others = [c for c in task.components if not c.is_angle]
    if coordinates != 2 * len(angles) + len(others):
        return [[i] for i in range(coordinates)], []
    moving = [c.unit.endswith("/s") for c in others]
    at = [[2 * len(angles) + i] for i in range(len(others))]
    places = [[i, len(angles) + i] for i in range(len(angles))]
    places += [q for q, moves in zip(at, moving, strict=True) if not moves]
    return places, [q for q, moves in zip(at, moving, strict=True) if moves]


def cause(cell: Mapping[str, Any], good: Read) -> str | None:
    """Return why the model of a cell failed, one of `CAUSES`; None if it did not.

    Args:
        cell: its file.
        good: what is read from the encodings of models that succeed.
    """
    if cell["success_rate"] >= FAILED:
        return None
    own, error = Read(**cell["read"]), cell["open_loop_error"]
    if own.places < PLACES * good.places or own.order < ORDER * good.order:
        return "folded"
    if own.velocities is not None and own.velocities < VELOCITIES * (good.velocities or 0.0):
        return "blind"
    return "runaway" if error[min(cell["horizon"] // 2, len(error)) - 1] >= 1 else "stuck"


def told(cells: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]]) -> str:
    """Write how many models failed, and why; nothing if no file tells what is read from them.

    Args:
        cells: the files of models on a task.
        good: those of the default's models on it.
    """
    known, measure = ([cell for cell in some if "read" in cell] for some in (cells, good))
    if not known or not measure:
        return ""
    found = [cause(cell, _median(measure)) for cell in known]
    counts = [f"{found.count(name)} {name}" for name in CAUSES if name in found]
    failed = f"{len(known) - found.count(None)} of {len(known)}"
    return f"{failed}: {', '.join(counts)}" if counts else failed


def _median(cells: Sequence[Mapping[str, Any]]) -> Read:
    """Return what is read from the median of models."""
    places, velocities, order = zip(*(Read(**cell["read"]) for cell in cells), strict=True)
    seen = None if None in velocities else float(np.median(velocities))
    return Read(float(np.median(places)), seen, float(np.median(order)))
