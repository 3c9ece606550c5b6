"""Why a model failed is told from its encodings, its dynamics and its score."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import generator
from torch import Tensor

from benchmarks import causes
from benchmarks.causes import Read
from benchmarks.tables_cells import TASKS
from e2c.control.base import make_world
from envs.task import Task
from envs.world import simulated
from planners import GoalCost

GOOD = {"success_rate": 1.0, "open_loop_error": [0.1] * 10, "horizon": 8}


def mechanics(name: str) -> Task:
    return simulated(make_world(TASKS[name]), "The test").task


def reader(task: Task, seen: Callable[[Tensor], Tensor]) -> Any:
    """An agent whose model sees something of the true coordinates of the restarts of seed 3."""
    states = task.restart(np.random.default_rng(3), causes.KNOWN + causes.ASKED)[1]
    goal, z = (
        seen(torch.from_numpy(task.coordinates(some))).float()
        for some in (task.goal_state()[None], states)
    )
    rows, cost = iter(z.split(causes.ASKED)), GoalCost(goal[0], 1 / z.var(0), torch.ones(1))
    model = SimpleNamespace(encode=lambda _: SimpleNamespace(mean=next(rows)))
    return SimpleNamespace(model=model, cost=cost)


@pytest.mark.parametrize(
    ("name", "seen", "places", "velocities", "order"),
    [
        ("swing_up", lambda y: y, 0.99, 0.99, 0.99),
        ("swing_up", lambda y: torch.cat((y, 3 * y.square()), 1), 0.99, 0.99, 0.4),
        ("swing_up", lambda y: y[:, :2], 0.99, -0.2, 0.9),
        ("swing_up", lambda y: torch.stack((y[:, 0], y[:, 1].abs(), y[:, 2]), 1), 0.3, 0.9, 0.5),
        ("cart_pole", lambda y: y, 0.99, 0.99, 0.99),
        ("planar", lambda y: y, 0.99, None, 0.99),
        ("planar", lambda y: (y - 20).abs(), -0.2, None, -0.3),
    ],
)
def test_states_are_read_from_what_is_seen(
    name: str,
    seen: Callable[[Tensor], Tensor],
    places: float,
    velocities: float | None,
    order: float,
) -> None:
    task = mechanics(name)
    found = causes.read(reader(task, seen), task, 3)
    assert places <= found.places <= max(places + 0.3, 0.0)
    assert order <= found.order <= order + 0.3
    assert (found.velocities is None) == (velocities is None)
    if found.velocities is not None and velocities is not None:
        assert velocities <= found.velocities <= max(velocities + 0.3, 0.0)


def test_what_is_linear_nearby_is_read_exactly() -> None:
    z = torch.randn(500, 3, generator=generator(0), dtype=torch.float64)
    y = torch.stack((z.sum(1), 2 - z[:, 0]), 1)
    torch.testing.assert_close(
        causes.fitted(z, y, z[:50] * 0.9),
        y[:50] * 0.9 + torch.tensor([0, 0.2]),
        rtol=0.05,
        atol=0.05,
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"success_rate": 0.5}, None),
        ({"success_rate": 0.4}, "stuck"),
        ({"success_rate": 0.0, "read": Read(0.8, 0.0, 1.0)._asdict()}, "folded"),
        ({"success_rate": 0.0, "read": Read(1.0, 0.0, 0.7)._asdict()}, "folded"),
        ({"success_rate": 0.0, "read": Read(0.95, 0.3, 0.8)._asdict()}, "blind"),
        ({"success_rate": 0.0, "read": Read(0.95, None, 0.8)._asdict()}, "stuck"),
        ({"success_rate": 0.0, "open_loop_error": [0.1, 0.1, 0.1, 1.0]}, "runaway"),
        ({"success_rate": 0.0, "open_loop_error": [0.1, 0.1, 0.1, 0.1, 9.0]}, "stuck"),
        ({"success_rate": 0.0, "open_loop_error": [0.1, 9.0]}, "runaway"),
    ],
)
def test_the_first_cause_that_holds_is_told(changes: dict[str, Any], expected: str | None) -> None:
    cell = {**GOOD, "read": Read(1.0, 1.0, 1.0)._asdict(), **changes}
    assert causes.cause(cell, Read(0.99, 0.9, 0.9)) == expected


def test_models_are_compared_with_those_of_the_default() -> None:
    default = [
        {**GOOD, "read": Read(p, v, p)._asdict()} for p, v in ((0.5, 0.2), (0.6, 0.3), (1, 1))
    ]
    failed = {**GOOD, "success_rate": 0.0}
    cells = [
        {**failed, "read": Read(0.55, 0.2, 0.6)._asdict()},
        {**failed, "read": Read(0.53, 0.2, 0.6)._asdict()},
        {**failed, "read": Read(0.9, 0.1, 0.6)._asdict()},
        {**failed, "read": Read(0.5, 0.2, 0.6)._asdict()},
        default[0],
        GOOD,
    ]
    assert causes.told(cells, default) == "4 of 5: 2 folded, 1 blind, 1 stuck"
    assert causes.told(default, default) == "0 of 3"
    assert causes.told([GOOD], default) == "" == causes.told(cells, [GOOD])
