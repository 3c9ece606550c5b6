"""Where models are: on the CPU or on a GPU."""

from __future__ import annotations

import torch

from e2c.errors import E2CError


def check_precision() -> None:
    """Raise an E2CError unless torch's default type is float32, the type of models."""
    if (kind := torch.get_default_dtype()) != torch.float32:
        raise E2CError(
            f"torch's default type is {kind}; models are made and loaded in float32: call "
            "torch.set_default_dtype(torch.float32) first."
        )


def find_device(name: str) -> torch.device:
    """Return the device called ``name``.

    Raises:
        E2CError: when there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise E2CError(f"There is no device {name!r} here; available: {', '.join(available)}.")
    return device
