"""Own planners: whether one keeps its contract is looked at once, apart from its controls."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from torch import Tensor

from e2c.errors import E2CError
from e2c.files.untrusted import brief, shown
from planners import Plan, Planner, Status


class Sizes(NamedTuple):
    """Of a plan: of how many problems, over how many steps, with controls and states of what size.

    Attributes:
        B: problems.
        T: controls planned ahead.
        m: dimension of the control.
        n: dimension of the state.
    """

    B: int
    T: int
    m: int
    n: int


def check_planner(planner: Planner, name: str) -> None:
    """Raise an E2CError unless ``planner``, called ``name``, has the methods of a planner."""
    for method, arguments in (("plan", ("x0", "cost")), ("reset", ())):
        try:
            inspect.signature(getattr(planner, method)).bind(*arguments)
        except (AttributeError, TypeError) as error:
            raise E2CError(
                f"The planner {name!r} cannot be asked to {method} ({shown(error)}); let it have "
                f"{method}({', '.join(arguments)}), as planners.Planner says."
            ) from None


def check_first_plan(planner: Planner, plan: Plan, name: str, sizes: Sizes) -> None:
    """Look at all that an agent uses of its first plan, but for what `check_plan` looks at.

    Args:
        planner: that gave it.
        plan: after `check_plan`.
        name: of the planner.
        sizes: that it must have.

    Raises:
        E2CError: when a part has another shape, is no tensor, or no status is one of `Status`.
    """
    B, T, _, n = sizes
    told = (
        _wrong("states", plan.states, (B, T + 1, n), finite=True)
        or _wrong("costs", plan.cost, (B,))
        or _wrong("statuses", plan.status, (B,))
    )
    if not told and not _are_statuses(plan.status):
        told = f"the statuses {brief(plan.status.tolist())}"
    if told:
        raise E2CError(
            f"The planner {name!r} gave {told}; let its plan() return a planners.Plan with finite "
            f"states of shape {[B, T + 1, n]}, and a cost and a planners.Status for each of {B} "
            "problems, all tensors."
        )
    if told := _wrong("counts", getattr(planner, "lost", None), (B,)):
        raise E2CError(
            f"The planner {name!r} has {told} as its lost; let it hold a count for each of {B} "
            "problems: zeros if it does not start from its last plan."
        )


def check_plan(plan: object, name: str, sizes: Sizes) -> Plan:
    """Return what the planner ``name`` gave, if it is a plan whose controls can be given.

    Raises:
        E2CError: when it is none.
    """
    told, wanted = type(plan).__name__, sizes[:3]
    if isinstance(plan, Plan):
        told = _wrong("controls", plan.controls, wanted, finite=True)
        if not told:
            return plan
    raise E2CError(
        f"The planner {name!r} gave {told}; let its plan() return a planners.Plan with finite "
        f"controls of shape {list(wanted)}, a tensor."
    )


def _are_statuses(codes: Tensor) -> bool:
    return codes.dtype == torch.int64 and set(codes.tolist()) <= set(Status)


def _wrong(what: str, found: object, wanted: tuple[int, ...], finite: bool = False) -> str:
    """Say what is wrong with a part of a plan; nothing if it is as it must be."""
    if not isinstance(found, Tensor):
        return f"{what} of type {type(found).__name__}"
    if found.shape != wanted:
        return f"{what} of shape {list(found.shape)}"
    if finite and not found.isfinite().all():
        return f"{what} that are not finite"
    return ""
