"""What others published on these tasks, in the form that measured shares take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """A share over models, in percent.

    Attributes:
        mean: over the models.
        error: its standard error; None where there is none to tell.
        models: how many; None where that is not known.
        best: the best model's.
        source: the publication, or nothing for what was measured here.
    """

    mean: float
    error: float | None = None
    models: int | None = None
    best: float | None = None
    source: str = ""

    @classmethod
    def of(cls, shares: Sequence[float], best: Callable[..., float] = max) -> Share:
        """Summarise the shares, where 1 is all, of several models, the ``best`` of which is told.

        The standard error is that of the mean over models: their standard deviation (of a sample)
        over the root of their number. One model has none.
        """
        percent = 100 * np.asarray(shares, np.float64)
        count = len(percent)
        error = float(percent.std(ddof=1) / np.sqrt(count)) if count > 1 else None
        return cls(float(percent.mean()), error, count, float(best(percent)))


_SUITE, _RCE, _E2C = "PCC/PC3", "RCE", "E2C"

SOURCES = {
    _SUITE: "Levine et al., ICLR 2020, and Shu et al., ICML 2020 (10 models x 10 starts)",
    _RCE: "Banijamali et al., AISTATS 2018, tables 1 to 4 (20 runs)",
    _E2C: "Watter et al., NIPS 2015, supplement, table 1 (30 starts)",
}
"""The publications, by what they are called in the tables."""

DM_CONTROL_RETURN: dict[str, dict[tuple[str, int], float]] = {
    "pendulum-swingup": {
        ("EfficientZero V2", 20_000): 20,
        ("EfficientZero V2", 100_000): 680,
        ("DreamerV3", 20_000): 1,
        ("DreamerV3", 100_000): 306,
        ("DreamerV3", 1_000_000): 747,
        ("DrQ-v2", 20_000): 8,
        ("DrQ-v2", 100_000): 235,
        ("DrQ-v2", 500_000): 840,
    },
    "cartpole-balance": {("DreamerV3", 20_000): 239, ("DrQ-v2", 20_000): 375},
    "cartpole-swingup": {("DreamerV3", 20_000): 150, ("DrQ-v2", 20_000): 102},
    "reacher-easy": {("DreamerV3", 20_000): 229, ("DrQ-v2", 20_000): 102},
}
"""Task of dm_control -> agent, frames of the simulator -> mean return, from pixels and reward. Read
from the projects' score files; EfficientZero V2 from its figure, to 20."""

TIME_IN_GOAL: dict[tuple[str, str], Share] = {
    ("planar", "pc3"): Share(74.35, 0.76, 10, 75.5, _SUITE),
    ("planar", "pcc"): Share(56.6, 3.15, 10, 75.5, _SUITE),
    ("planar", "solar"): Share(68.0, 3.8, 10, None, _SUITE),
    ("balance", "pc3"): Share(99.12, 0.66, 10, 100.0, _SUITE),
    ("balance", "pcc"): Share(91.9, 1.72, 10, 100.0, _SUITE),
    ("balance", "solar"): Share(67.0, 2.6, 10, None, _SUITE),
    ("reach", "pc3"): Share(58.4, 3.53, 10, 84.0, _SUITE),
    ("reach", "pcc"): Share(26.41, 2.64, 10, 66.9, _SUITE),
    ("reach", "solar"): Share(35.4, 1.9, 10, None, _SUITE),
    ("cart_pole", "pc3"): Share(96.26, 0.95, 10, 97.8, _SUITE),
    ("cart_pole", "pcc"): Share(94.44, 1.34, 10, 97.8, _SUITE),
    ("cart_pole", "solar"): Share(91.2, 5.4, 10, None, _SUITE),
    ("arm", "pc3"): Share(42.4, 3.23, 10, 78.0, _SUITE),
    ("arm", "pcc"): Share(14.17, 2.2, 10, 45.8, _SUITE),
    ("arm", "solar"): Share(0.0, None, 10, None, _SUITE),
}
"""Share of the steps in the goal region, by task and method; `reach` is what they call swing-up."""

SUCCESS: tuple[tuple[str, str, str, dict[int, float]], ...] = (
    (_RCE, "planar", "rce", {0: 100, 1: 100, 2: 95, 5: 85}),
    (_RCE, "planar", "e2c", {0: 100, 1: 95, 2: 75, 5: 45}),
    (_RCE, "swing_up", "rce", {0: 95, 1: 85, 2: 70}),
    (_RCE, "swing_up", "e2c", {0: 90, 1: 60, 2: 40}),
    (_RCE, "cart_pole", "rce", {0: 90}),
    (_RCE, "cart_pole", "e2c", {0: 85}),
    (_RCE, "arm", "rce", {0: 90}),
    (_RCE, "arm", "e2c", {0: 90}),
)
"""Percent of the episodes that succeed: publication, task, method, and by the standard deviation of
the noise on each component of the state. Their pendulum stands beside `swing_up`."""

TRUE_MODEL = "oracle"
"""The row that planned on the true model."""

TRIALS: dict[tuple[str, str], tuple[float, float]] = {
    ("cart_pole", TRUE_MODEL): (15.33, 100),
    ("cart_pole", "slow_vae"): (49.12, 0),
    ("cart_pole", "no_latent_kl"): (48.90, 0),
    ("cart_pole", "nonlinear"): (31.96, 63),
    ("cart_pole", "e2c"): (22.23, 93),
    ("arm", TRUE_MODEL): (59.46, 100),
    ("arm", "slow_vae"): (1275.5, 0),
    ("arm", "no_latent_kl"): (1246.7, 0),
    ("arm", "nonlinear"): (460.4, 40),
    ("arm", "e2c"): (90.23, 90),
}
"""Cost of the way and percent of success in E2C's table, by task and method."""


def trial(task: str, method: str) -> dict[str, Share]:
    """Return E2C's cost, in percent of its true model's, and its success, by their names."""
    if (task, method) not in TRIALS:
        return {}
    cost, percent = TRIALS[task, method]
    relative = round(100 * cost / TRIALS[task, TRUE_MODEL][0])
    return {"cost": Share(relative, source=_E2C), "success": Share(percent, source=_E2C)}


def success(task: str, method: str) -> dict[int, list[Share]]:
    """Return what was published of a method's success on a task, by noise."""
    found: dict[int, list[Share]] = {}
    for source, of_task, of_method, by_noise in SUCCESS:
        if (of_task, of_method) == (task, method):
            for std, percent in by_noise.items():
                found.setdefault(std, []).append(Share(percent, source=source))
    return found
