"""Planning by sampling: CEM and MPPI, batched. They roll out and need no derivatives.

One iteration draws controls around a mean, rolls them out, and fits the mean to the good ones. CEM
and MPPI differ in the fit alone. Both plan in a receding horizon: every call starts from the last
plan, shifted by one step (`planners.warm`). The mean itself is always one of the samples, so
a call never returns a worse plan than the warm start it was given. A roll-out that is not finite
has an infinite cost and no weight.

Of the system they use ``step``, and of the cost ``total`` and ``select``.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planners import checks
from planners.base import Cost, Plan, Status, System, choose
from planners.draws import deviation, noise_scale, rest, smooth_noise
from planners.rollouts import Trials, price
from planners.warm import WarmStarted


@dataclass(frozen=True)
class SamplingOptions:
    """The options that CEM and MPPI share."""

    horizon: int = 50
    """Number ``T`` of controls planned ahead; at least 1."""
    samples: int = 256
    """Number ``S`` of control sequences rolled out in an iteration; at least 1."""
    first_iterations: int = 20
    """Iterations of a start from scratch; at least 1."""
    iterations: int = 3
    """Iterations of every later call; at least 1."""
    noise: float = 0.7
    """Standard deviation of the first samples, as a share of half the range of the limits."""
    knots: int = 8
    """Noise is drawn at this many points in time, at least 1; it is linear in between."""

    def __post_init__(self) -> None:
        checks.whole(self, "horizon", "samples", "first_iterations", "iterations", "knots")
        checks.finite(self, "noise")


class Samples(NamedTuple):
    """Controls and their costs."""

    U: Tensor
    """``[B, S, T, m]``: controls, within the limits."""
    J: Tensor
    """``[B, S]``: costs; infinite where something is not finite."""


class SamplingPlanner(WarmStarted):
    """The base of CEM and MPPI; a subclass fits a normal distribution to the samples.

    Args:
        dynamics: System to control; only its ``step`` is used.
        low: ``[m]``: lower limits of the controls.
        high: ``[m]``: upper limits.
        options: Horizon, samples and iterations.
        generator: Source of the noise, on the CPU; left out, torch's global one. A seed is drawn
            from it once, here. The noise of a call depends on this seed and on the number of calls
            since the reset, and all problems share the noise. So a problem's actions do not depend
            on the problems solved beside it, and after a reset they repeat.

    Raises:
        ValueError: for an argument of another type, or limits that do not fit the system or each
            other.
    """

    def __init__(
        self,
        dynamics: System,
        low: Tensor,
        high: Tensor,
        options: SamplingOptions,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dynamics, low, high)
        checks.generator(generator)
        self.options = options
        self._std = noise_scale(self.low, self.high, options.noise)
        self._seed = int(torch.randint(2**62, (), generator=generator))

    @abstractmethod
    def _fit(self, samples: Samples, std: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation ``[B, T, m]`` of the next samples, given the last.

        The result is not used for a problem without a finite sample. ``iterations`` is the number
        of iterations of the call.
        """

    def _from_scratch(self, x0: Tensor, cost: Cost) -> Plan:
        """Search around rest."""
        T, m, n = self.options.horizon, self.dynamics.control_dim, self.dynamics.state_dim
        U = rest(self.low, self.high).to(x0).expand(len(x0), T, m)
        X = x0.new_full((len(x0), T + 1, n), torch.nan)
        return self._search(U, X, x0, cost, self.options.first_iterations)

    def _improve(self, U: Tensor, X: Tensor, x0: Tensor, cost: Cost) -> Plan:
        """Search around the warm start."""
        return self._search(U, X, x0, cost, self.options.iterations)

    def _search(self, U: Tensor, X: Tensor, x0: Tensor, cost: Cost, iterations: int) -> Plan:
        """Return a plan, without feedback: the cheapest of the samples and the last mean.

        Where nothing is finite, ``U`` and ``X`` are returned.
        """
        generator = torch.Generator().manual_seed(self._seed + self._calls)
        best = Samples(U[:, None], x0.new_full((len(x0), 1), torch.inf))
        mean, std = U, self._std.to(x0).expand_as(U)
        for noise in self._noise(iterations, generator).to(x0):
            trials = self._price(mean[:, None] + std[:, None] * noise, x0, cost)
            samples = Samples(trials.U[:, 0], trials.J[:, 0])
            found = _cheapest(samples)
            best = Samples(
                *(choose(found.J < best.J, a, b) for a, b in zip(found, best, strict=True))
            )
            known = found.J[:, 0].isfinite()
            fitted = self._fit(samples, std, iterations)
            mean, std = (choose(known, a, b) for a, b in zip(fitted, (mean, std), strict=True))
        ends = self._price(torch.stack((best.U[:, 0], mean), 1), x0, cost, keep=True)
        J, index = ends.J[:, 0].min(1)
        rows, finite = torch.arange(len(J), device=J.device), J.isfinite()
        U = ends.U[rows, 0, index]
        return Plan(
            states=choose(finite, ends.X[rows, 0, index], X),
            controls=U,
            gains=U.new_zeros(*U.shape, X.shape[-1]),
            cost=J,
            status=torch.where(finite, int(Status.ITERATION_LIMIT), int(Status.NOT_FINITE)),
            iterations=torch.full_like(J, iterations, dtype=torch.int64),
        )

    def _noise(self, iterations: int, generator: torch.Generator) -> Tensor:
        """Draw ``[iterations, S, T, m]``, standard normal at every time, also between the knots.

        The first sample of each iteration is zero, so that the mean is one of them.
        """
        o, m = self.options, self.dynamics.control_dim
        noise = smooth_noise(iterations * o.samples, o.horizon, m, o.knots, generator)
        noise = noise / deviation(o.horizon, o.knots)[:, None]
        noise = noise.unflatten(0, (iterations, o.samples))
        noise[:, 0] = 0
        return noise

    def _price(self, U: Tensor, x0: Tensor, cost: Cost, keep: bool = False) -> Trials:
        """Roll the clamped controls ``U [B, S, T, m]`` out."""
        low, high = self.low.to(x0), self.high.to(x0)
        return price(self.dynamics, cost, x0, U[:, None], low, high, keep)


@dataclass(frozen=True)
class CEMOptions(SamplingOptions):
    """How CEM samples."""

    elites: float = 0.1
    """Share ``rho`` of the samples that the next distribution is fitted to; in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.finite(self, "elites", above=0)
        if self.elites > 1:
            raise ValueError(f"elites of CEMOptions must be in (0, 1]; got {self.elites}.")


class CEM(SamplingPlanner):
    """The cross-entropy method: fit mean and standard deviation to the best samples.

    With ``gamma`` the ``rho``-quantile of the costs ``J``, the next normal distribution is the
    maximum-likelihood fit to the samples with ``J <= gamma``, the elites: their mean and standard
    deviation, for each time and each control. Every call begins with the full standard deviation.

    Source: Rubinstein 1999, "The cross-entropy method for combinatorial and continuous
    optimization"; de Boer, Kroese, Mannor & Rubinstein 2005, "A tutorial on the cross-entropy
    method".
    """

    options: CEMOptions

    def __init__(
        self,
        dynamics: System,
        low: Tensor,
        high: Tensor,
        options: CEMOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dynamics, low, high, checks.options(options, CEMOptions), generator)

    def _fit(self, samples: Samples, std: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the elites that are finite."""
        J, U = samples.J, samples.U
        count = max(1, round(self.options.elites * self.options.samples))
        gamma = J.kthvalue(count, 1, keepdim=True).values
        elite = (J.le(gamma) & J.isfinite()).to(J)
        weights = elite / elite.sum(1, keepdim=True)
        mean = _average(weights, U)
        return mean, _average(weights, (U - mean[:, None]).square()).sqrt()


@dataclass(frozen=True)
class MPPIOptions(SamplingOptions):
    """How MPPI samples."""

    noise: float = 0.35
    """As for CEM, but less, since MPPI averages the samples and CEM chooses among them."""
    temperature: float = 0.1
    """``lambda``, as a share of the median minus the least of the sampled costs; above 0."""
    last_noise: float = 0.25
    """Standard deviation in the last iteration of a call, as a share of that in the first; above 0.
    An unstable system falls in nearly all roll-outs of large noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.finite(self, "temperature", "last_noise", above=0)


class MPPI(SamplingPlanner):
    """Model predictive path integral control: average the samples, weighted by their costs.

    The next mean is ``sum_s w_s U_s`` with ``w_s`` proportional to ``exp(-(J_s - min J)/lambda)``;
    the standard deviation of the noise falls from iteration to iteration, geometrically.

    Source: Williams, Wagener, Goldfain, Drews, Rehg, Boots & Theodorou 2017, "Information theoretic
    MPC for model-based reinforcement learning". Three things differ from the publication. The cost
    has its own control term, so theirs, ``lambda uᵀ Sigma^-1 eps``, is left out. ``lambda`` is
    relative to the spread of the costs, so it has no unit. A call may iterate more than once, with
    less and less noise; with one iteration, or a ``last_noise`` of 1, the noise is theirs.
    """

    options: MPPIOptions

    def __init__(
        self,
        dynamics: System,
        low: Tensor,
        high: Tensor,
        options: MPPIOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dynamics, low, high, checks.options(options, MPPIOptions), generator)

    def _fit(self, samples: Samples, std: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Return the weighted mean, and the standard deviation of the next iteration."""
        above = samples.J - samples.J.amin(1, keepdim=True)
        spread = above.where(above.isfinite(), torch.nan).nanmedian(1, keepdim=True).values
        lam = self.options.temperature * spread
        weights = (-above / lam.clamp(min=torch.finfo(lam.dtype).tiny)).softmax(1)
        shrink = self.options.last_noise ** (1 / max(1, iterations - 1))
        return _average(weights, samples.U), shrink * std


def _cheapest(samples: Samples) -> Samples:
    """Return the cheapest sample of each problem, ``S = 1``; of equal samples, the first."""
    J, index = samples.J.min(1, keepdim=True)
    return Samples(samples.U.take_along_dim(index[..., None, None], 1), J)


def _average(weights: Tensor, values: Tensor) -> Tensor:
    """Average ``values [B, S, T, m]`` with ``weights [B, S]``."""
    return (weights[..., None, None] * values).sum(1)
