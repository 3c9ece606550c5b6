"""Adam (Kingma & Ba 2015), by torch's own function.

``torch.optim.Adam`` calls the same function. But it imports torch's compiler, which nothing here
uses: the import takes a second and 70 MB in every process that learns.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Adam:
    """Adam without weight decay; parameters that have no gradient stay as they are.

    Args:
        parameters: what is changed, in place.
        device: where they are. On a GPU the step size is a tensor there, for CUDA graphs to read.
        beta2: decay of squared gradients.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], device: torch.device, beta2: float = 0.999
    ) -> None:
        self.parameters, self.beta2 = list(parameters), beta2
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        """``exp_avg``, ``exp_avg_sq`` and ``step`` of each parameter that has had a gradient."""
        self._rate = torch.zeros((), device=device) if device.type == "cuda" else 0.0

    def clear_gradients(self) -> None:
        """Set the gradient of every parameter to None."""
        for parameter in self.parameters:
            parameter.grad = None

    def set_rate(self, rate: Tensor | float) -> None:
        """Set the step size, without waiting for the device that holds it."""
        if not isinstance(self._rate, Tensor):
            self._rate = float(rate)
        elif isinstance(rate, Tensor):
            self._rate.copy_(rate)
        else:
            self._rate.fill_(rate)

    @torch.no_grad()
    def step(self, sound: Tensor | None = None) -> None:
        """Take a step, unless ``sound`` is false: a bool scalar, which is read on the device."""
        moved = [(p, p.grad) for p in self.parameters if p.grad is not None]
        states = [self.state.get(p) or self._begin(p) for p, _ in moved]
        adam(
            [p for p, _ in moved],
            [gradient for _, gradient in moved],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            found_inf=None if sound is None else 1.0 - sound.float(),
            amsgrad=False,
            beta1=0.9,
            beta2=self.beta2,
            lr=self._rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def _begin(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return the state of a parameter before its first step, and keep it."""
        state = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        self.state[parameter] = state
        return state
