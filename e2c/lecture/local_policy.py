"""A time-varying linear policy, and its improvement along local models by a bounded step.

The policy is ``u_t = U_t + K_t (z_t - X_t)``; when it explores, it adds noise of covariance N. It
is improved as in guided policy search: the cost along the local models is minimised subject to
``KL(p_new(trajectory) || p_old(trajectory)) <= bound``, since local models hold only near the
trajectories that they were fitted to. Both policies explore with the same noise, so the divergence
is ``1/2 sum_t E[d_t^T N^-1 d_t]``, with the difference ``d_t`` of their controls in the states that
the new one leads to. With a multiplier eta, ``cost + eta KL`` is a linear-quadratic problem again.

Source: Levine & Abbeel 2014, section 3.1. There, eta is found by dual gradient descent, and N is
part of the policy; here, many eta are tried in parallel, and N stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.control.agent import blank
from e2c.control.base import Frames
from e2c.lecture.local_models import LocalDynamics
from e2c.models.base import LatentModel, ProblemSpec
from planners import Cost
from planners.riccati import LocalModel, backward_pass, local_model

LEAST, MOST, TRIED = 1e-6, 1e6, 61
"""The eta that are tried, in cost per nat: least, most, and how many, evenly in logarithm."""


@dataclass(frozen=True, eq=False)
class LinearPolicy:
    """``u_t = U_t + K_t (z_t - X_t)`` for t = 0 .. T-1.

    Attributes:
        X: ``[T+1, n]``, the states around which it acts.
        U: ``[T, m]``, the controls there, in the world's unit.
        K: ``[T, m, n]``, feedback.
    """

    X: Tensor
    U: Tensor
    K: Tensor

    def act(self, t: int, z: Tensor) -> Tensor:
        """Return controls ``[..., m]`` of step t for ``z [..., n]``; it does not know limits."""
        return self.U[t] + (z - self.X[t]) @ self.K[t].mT


@dataclass(frozen=True, eq=False)
class Controls:
    """How controls are limited, and explored.

    Attributes:
        low: ``[m]``, lower limits.
        high: ``[m]``, upper limits.
        noise: ``[m]``, above 0: standard deviation of the noise on each control, in its unit.
    """

    low: Tensor
    high: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Improvement:
    """A policy after a bounded step, and what the local models expect of it.

    Attributes:
        policy: the new one; the old one, where no step lowers the cost within the bound.
        kl: from the new to the old distribution of trajectories [nats].
        eta: multiplier of the bound, in cost per nat; infinite without a step.
        cost_before: of the mean trajectory that the old policy leads to.
        cost_after: of the mean trajectory that the new policy leads to.
    """

    policy: LinearPolicy
    kl: float
    eta: float
    cost_before: float
    cost_after: float


def improve(
    policy: LinearPolicy,
    dynamics: LocalDynamics,
    cost: Cost,
    starts: Tensor,
    controls: Controls,
    bound: float,
) -> Improvement:
    """Minimise a cost along local models by a policy whose trajectories stay near the old one's.

    The cost is quadratised around the mean trajectory of the old policy in the local models.
    `planners.riccati.backward_pass` minimises it, plus eta times the divergence, within the limits.
    Of the eta that keep the bound and lower the cost, the least is taken.

    Args:
        policy: the old one, of T steps.
        dynamics: of T steps.
        cost: of one problem.
        starts: ``[R, n]``, first states that were seen.
        controls: limits and noise, of both policies.
        bound: of the divergence, summed over the T steps [nats].
    """
    mean = starts.mean(0)
    start = (mean, (starts - mean).mT @ (starts - mean) / len(starts))
    old = _follow(
        LinearPolicy(policy.X[None], policy.U[None], policy.K[None]), dynamics, start, controls
    )
    eta = torch.logspace(math.log10(LEAST), math.log10(MOST), TRIED).to(mean)
    model = local_model(dynamics.mean.A[None], dynamics.mean.B[None], cost.quadratize(old.X, old.U))
    C = model.C + eta[:, None, None, None] * _divergence(old.K[0], controls.noise)
    F, V = (part.expand(TRIED, *part.shape[1:]) for part in (model.F, model.V))
    room = ((limit - old.U).expand(TRIED, -1, -1) for limit in (controls.low, controls.high))
    law = backward_pass(LocalModel(F, C, V), 0 * eta, *room)
    tried = LinearPolicy(old.X.expand(TRIED, -1, -1), old.U + law.k, law.K)
    new = _follow(tried, dynamics, start, controls)
    kl, after = _kl(new, old, controls.noise), cost.total(new.X[None], new.U[None])[0]
    before = float(cost.total(old.X, old.U))
    good = ((kl <= bound) & law.usable & (after < before)).nonzero()[:, 0].tolist()
    if not good:
        return Improvement(policy, 0.0, math.inf, before, before)
    i = good[0]
    improved = LinearPolicy(new.X[i], new.U[i], law.K[i])
    return Improvement(improved, float(kl[i]), float(eta[i]), before, float(after[i]))


class _Path(NamedTuple):
    """Where E policies lead."""

    X: Tensor  # [E, T+1, n], mean states
    U: Tensor  # [E, T, m], controls there, within the limits
    K: Tensor  # [E, T, m, n], feedback; zero in rows of controls at a limit
    P: Tensor  # [E, T, n, n], covariances of the first T states


def _follow(
    policies: LinearPolicy,
    dynamics: LocalDynamics,
    start: tuple[Tensor, Tensor],
    controls: Controls,
) -> _Path:
    """Follow policies ``[E, T, ...]`` from a Gaussian of mean ``[n]`` and covariance ``[n, n]``."""
    x, P = (part.expand(len(policies.U), *part.shape) for part in start)
    N, local = torch.diag(controls.noise.square()), dynamics.mean
    X, Us, Ks, Ps = [x], list[Tensor](), list[Tensor](), list[Tensor]()
    for t, (U, K) in enumerate(zip(policies.U.unbind(1), policies.K.unbind(1), strict=True)):
        A, B = local.A[t], local.B[t]
        u = U + (K @ (x - policies.X[:, t])[..., None])[..., 0]
        u = torch.clamp(u, controls.low, controls.high)
        K = K * ((controls.low < u) & (u < controls.high))[..., None]
        for kept, value in ((Us, u), (Ks, K), (Ps, P)):
            kept.append(value)
        closed = A + B @ K
        P = closed @ P @ closed.mT + B @ N @ B.mT + dynamics.covariance[t]
        x = x @ A.mT + u @ B.mT + local.o[t]
        X.append(x)
    return _Path(*(torch.stack(parts, 1) for parts in (X, Us, Ks, Ps)))


def _divergence(K: Tensor, noise: Tensor) -> Tensor:
    """Return ``1/2 d^T N^-1 d`` with ``d = u - K x`` as costs ``[T, n+1+m, n+1+m]``.

    x and u are deviations from the old trajectory, on which the old policy asks for u = K x.
    """
    T, m, _ = K.shape
    d = torch.cat((K.new_zeros(T, m, 1), -K, torch.eye(m).to(K).expand(T, m, m)), -1)
    return d.mT @ (d / noise.square()[:, None])


def _kl(new: _Path, old: _Path, noise: Tensor) -> Tensor:
    """Return the divergences ``[E]`` of E new policies from one old policy; see the module."""
    d = new.U - old.U - (old.K @ (new.X - old.X)[:, :-1, :, None])[..., 0]
    dK = new.K - old.K
    variance = (dK @ new.P * dK).sum(-1)
    return 0.5 * ((d.square() + variance) / noise.square()).sum((-2, -1))


class LocalController:
    """Acts by a time-varying linear policy on the codes of observations, within the limits.

    After its T steps it goes on with its last law. Where an observation shows nothing, the policy's
    own state stands in for the code.

    Args:
        model: encodes.
        spec: the task.
        policy: acts.
    """

    def __init__(self, model: LatentModel, spec: ProblemSpec, policy: LinearPolicy) -> None:
        self.model, self.spec, self.policy, self.t = model, spec, policy, 0

    def reset(self, goals: Frames | None, /) -> None:
        """Begin at the first step; the policy has its own goal, so ``goals`` change nothing."""
        self.t = 0

    @torch.no_grad()
    def act(self, frames: Frames, /) -> NDArray[np.float64]:
        """Return controls ``[B, m]`` for ``frames [B, *observation]``."""
        images = self.spec.layout.to_planes(np.asarray(frames))
        t = min(self.t, len(self.policy.U) - 1)
        self.t += 1
        z = self.model.read(images).mean.to(self.policy.X)
        shown = ~torch.from_numpy(blank(images)).to(z.device) & z.isfinite().all(-1)
        asked = self.policy.act(t, z.where(shown[:, None], self.policy.X[t])).cpu().numpy()
        within: NDArray[np.float64] = asked.clip(self.spec.control_low, self.spec.control_high)
        return within
