"""The methods by their names, and the one place where a model is built."""

from __future__ import annotations

import difflib

import numpy as np
import torch
from numpy.typing import NDArray

from e2c.config import ModelConfig
from e2c.errors import E2CError
from e2c.models import baselines
from e2c.models.base import E2C, LatentModel, ProblemSpec
from e2c.models.successors import PC3, PCC, RCE, AmortisedPCC

METHODS: dict[str, type[LatentModel]] = {
    "e2c": E2C,
    "ae": baselines.AE,
    "vae": baselines.VAE,
    "slow_vae": baselines.SlowVAE,
    "no_latent_kl": baselines.E2CWithoutLatentKL,
    "nonlinear": baselines.NonLinearE2C,
    "global": baselines.GlobalE2C,
    "rce": RCE,
    "pcc": PCC,
    "pcc_amortised": AmortisedPCC,
    "pc3": PC3,
}
"""What ``model.method`` may be."""


def build_model(
    config: ModelConfig, spec: ProblemSpec, goal: NDArray[np.uint8], seed: int
) -> LatentModel:
    """Build a model with weights drawn from ``seed``; the global generator stays as it was.

    Raises:
        E2CError: when there is no such method, or ``pool`` or ``lattices`` does not divide the
            image.
    """
    if config.method not in METHODS:
        near = difflib.get_close_matches(config.method, METHODS, 1)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(METHODS)}."
        raise E2CError(f"There is no method {config.method!r} (model.method); {known}")
    shape = spec.observation_shape
    for name, divisor in (("model.pool", config.pool), ("model.lattices", config.lattices)):
        if shape[1] % divisor or shape[2] % divisor:
            raise E2CError(
                f"{name} is {divisor}; it must divide the image of {shape[1]}x{shape[2]} pixels."
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return METHODS[config.method](config, spec, torch.from_numpy(goal.copy()))
