"""The methods by their names, and the one place where a model is built."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from e2c.models import baselines
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.draws import seeded
from e2c.models.e2c import E2C
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.models.parts import build, check_kind
from e2c.models.successors import PC3, PCC, RCE, AmortisedPCC
from e2c.options import check_declared, look_up
from planners.names import Names

METHODS: dict[str, type[LatentModel[Any]]] = Names(
    "method",
    {
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
    },
)
"""What ``model.method`` may be."""


def find_method(name: str) -> type[LatentModel[Any]]:
    """Return the method called ``name``.

    Raises:
        E2CError: when there is none (the message names the nearest), when it is no method, or when
            its options are not declared as they must be.
    """
    method = look_up(METHODS, name, "model.method")
    check_kind(method, LatentModel)
    check_declared(method.objective, ObjectiveConfig, f"the method {name!r}")
    return method


def build_model(
    config: ModelConfig, spec: ProblemSpec, goal: NDArray[np.uint8], seed: int
) -> LatentModel[Any]:
    """Build a model with weights drawn from ``seed``; the global generator stays as it was.

    Raises:
        E2CError: when the method or a network is unknown or not what its base class asks for, or a
            network cannot be built for the observation's shape.
    """
    method = find_method(config.method)
    with seeded(seed):
        model = build(method, LatentModel, config, spec, torch.from_numpy(goal.copy()))
        if not torch.empty(0).is_meta:  # on the meta device, tensors have no contents
            model.check(spec.planes)
        return model
