"""Training a part of a model while the rest stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from e2c.files.tracking import Progress
from e2c.learning.adam import Adam
from e2c.learning.graphs import Graphs


def descend(
    title: str,
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    draw: Callable[[], None],
    rates: Sequence[float],
    clip: float,
    place: torch.device,
) -> None:
    """Minimise a loss by Adam; a step whose loss is not finite is skipped.

    Args:
        title: of its progress.
        parameters: what is changed, in place.
        loss: returns the loss of a batch, a scalar. On a GPU it becomes a CUDA graph, so it must
            read the same tensors every time.
        draw: draws a batch into these tensors.
        rates: Adam's step size in each step.
        clip: the norm of the gradient is cut to this.
        place: the device.
    """
    adam = Adam(parameters, place)
    graphs = Graphs(place)

    def learn() -> None:
        value = loss()
        adam.clear_gradients()
        value.backward()
        torch.nn.utils.clip_grad_norm_(adam.parameters, clip)
        adam.step(value.detach().isfinite())

    with Progress(title, len(rates), "steps") as progress:
        for step, rate in enumerate(rates):
            draw()
            adam.set_rate(rate)
            graphs.play("learn", learn)
            progress(step + 1)
