"""Learning to see through a faulty camera, at the end of a run: the rest of a model stays as it is.

A copy of the encoder learns to tell, from what a faulty camera shows, what the encoder says of the
clean frames, and how far it errs. The data then tell how far the model errs in a step, and how the
errors of successive observations hang together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from e2c.data.camera import NOISE, FaultyCamera
from e2c.data.windows import Windows
from e2c.learning.descent import descend
from e2c.learning.encodings import Encodings, beside
from e2c.models.base import LatentModel
from e2c.models.sight import PLACES, Sight

BATCH = 96
"""Observations in a batch."""
CLEAN = 0.2
"""Share of them that are clean: they are to be read as the encoder reads them."""
RATE, WARM, HELD, DECAY = 3e-3, 50, 0.3, 0.01
"""Adam's step size, the steps in which it rises, the share of the steps before it falls, and the
factor by which it has fallen in the end."""
CLIP = 10.0
"""The norm of the gradient is cut to this."""
LOOKED_AT, PIECE = 2000, 100
"""Windows from which the figures of a belief are taken, and how many are read at a time."""
NEIGHBOURS = 16
"""Nearest encodings from which it is found what tells of motion."""
LEAST = 1e-3
"""A model errs at rest with at least this share of the mean squared error."""
ITERATIONS = 30
"""Of the two fits below, which converge within ten."""


def learn_sight(model: LatentModel, windows: Windows, steps: int, seed: int) -> Sight:
    """Return how observations of a model's world are best read.

    Args:
        model: trained.
        windows: from its data.
        steps: of Adam.
        seed: of batches and faults.
    """
    sight = Sight(model.encoder, model.transition.n).to(model.goal.device)
    generator, x = find_process(sight, model, windows, seed)
    with torch.no_grad():
        _take_light(sight, model, x)
    _see_through_faults(sight, model, windows, steps, generator)
    with torch.no_grad():
        _take_motion(sight, model, x, windows.frames_per_observation)
        _take_errors(sight.eval(), x, windows.frames_per_observation, generator)
    return sight


@torch.no_grad()
def find_process(
    sight: Sight, model: LatentModel, windows: Windows, seed: int
) -> tuple[torch.Generator, Tensor]:
    """Find how far a model errs in a step: at first, and once its dynamics have learned on.

    Args:
        sight: is told it.
        model: trained.
        windows: from its data.
        seed: of the windows that are looked at.

    Returns:
        The generator that has drawn them, and their observations, uint8 ``[N, 2, C, H, W]``, since
        these are kept while the sight is learned.
    """
    generator = torch.Generator().manual_seed(seed)
    x, u = windows.sample(LOOKED_AT, (0, 1), generator)
    z = model.encoder(x).mean
    process, speed = foreseen(z[:, 0], model.transition.step(z[:, 0], u[:, 0]), z[:, 1])
    sight.process.copy_(process)
    sight.speed.copy_(speed)
    return generator, (255 * x).round_().to(torch.uint8)


def _bright(x: Tensor) -> Tensor:
    """Return uint8 ``x`` in [0, 1]."""
    return x.float().div_(255)


def _take_light(sight: Sight, model: LatentModel, x: Tensor) -> None:
    """Find how bright uint8 ``x [N, 2, C, H, W]`` are, and how their encodings spread."""
    bright = _bright(x)
    z = model.encoder(bright).mean
    std, level = torch.std_mean(bright.flatten(2), -1)
    sight.light.copy_(torch.stack((level.mean(), std.mean())))
    sight.mean.copy_(z.mean((0, 1)))
    sight.variance.copy_(z.flatten(0, 1).var(0))


def foreseen(z: Tensor, expected: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Find how far a model errs in a step.

    The variance of an error grows with the length of the step, ``a + b |dz|^2``. a and b are fitted
    by iterated least squares, with weights that are one over the squared variances.

    Args:
        z: encodings before it, ``[N, n]``.
        expected: what the model predicts, ``[N, n]``.
        found: encodings after it, ``[N, n]``.

    Returns:
        The covariance at rest, ``[n, n]``, and ``b / a``.
    """
    error = (found - expected).double()
    size, far = error.square().mean(-1), (expected - z).double().square().sum(-1)
    terms, least = torch.stack((torch.ones_like(far), far), 1), LEAST * size.mean()
    variance = size.mean().expand_as(size)
    for _ in range(ITERATIONS):
        weighed = terms / variance.square()[:, None]
        a, b = (torch.linalg.pinv(weighed.T @ terms) @ (weighed.T @ size)).clamp(min=0)
        a = torch.maximum(a, least)
        variance = a + b * far
    even = error * (a / variance).sqrt()[:, None]
    return even.T @ even / len(even), b / a


def _take_motion(sight: Sight, model: LatentModel, x: Tensor, frames: int) -> None:
    """Find what of an encoding tells of motion, from two successive observations, uint8 ``x``.

    The second observation is encoded once more, with the older frames of the first: it then shows
    the same thing in the same place, which seems to have come from further away. Where no frame is
    older, nothing tells of motion.
    """
    newest = x.shape[2] // frames
    z = model.encoder(_bright(x[:, 1])).mean
    farther = model.encoder(_bright(torch.cat((x[:, 0, :-newest], x[:, 1, -newest:]), 1))).mean
    chosen = torch.arange(PLACES, device=z.device) % len(z)
    nearest = torch.cdist(z[chosen], z).topk(min(NEIGHBOURS, len(z)), largest=False).indices
    sight.places.copy_(z[chosen])
    still = beside((farther - z)[nearest])
    sight.motion.copy_(torch.eye(z.shape[1]).to(z) - still)


def _see_through_faults(
    sight: Sight, model: LatentModel, windows: Windows, steps: int, generator: torch.Generator
) -> None:
    """Let the sight tell what the encoder says of clean frames, whatever the camera does to them.

    It minimises ``- log N(mu(x); mean, variance + h)`` where h is what the model does not foresee
    at rest: to read more exactly than that is of no use.
    """
    place, frames = windows.device, windows.frames_per_observation
    camera = FaultyCamera(windows.mean_observation.numel(), place)
    allowed, clean = sight.process.diagonal(), int(CLEAN * BATCH)
    encodings = Encodings(model, windows)
    rows = torch.zeros(BATCH, frames, dtype=torch.int64, device=place)
    faults = camera.draw(BATCH - clean, frames, torch.Generator()).to(place)

    def draw() -> None:
        rows.copy_(windows.rows(windows.starts.draw(BATCH, generator), (0,))[0][:, 0])
        faults.copy_(camera.draw(BATCH - clean, frames, generator))

    def loss() -> Tensor:
        x = windows.observed(rows)
        wanted = encodings.q.mean[encodings.at(rows[:, 0])]
        q = sight(torch.cat((x[:clean], camera(x[clean:], faults))))
        variance = q.variance + allowed
        return ((q.mean - wanted).square() / variance + variance.log()).sum(-1).mean()

    rates = [_rate(step, steps) for step in range(steps)]
    descend("see through faults", sight.encoder.parameters(), loss, draw, rates, CLIP, place)


def _rate(step: int, steps: int) -> float:
    """Return Adam's step size."""
    falling = max(0.0, (step / steps - HELD) / (1 - HELD))
    return float(RATE * min(1.0, (step + 1) / WARM) * DECAY**falling)


def _take_errors(sight: Sight, x: Tensor, frames: int, generator: torch.Generator) -> None:
    """Find how the errors of successive observations hang together, uint8 ``x [N, 2, C, H, W]``.

    Noise is added to the frames, each of which looks the same in both. What two draws of the noise
    have in common is no error that changes from frame to frame, so their difference is taken. With
    ``e_t = w_t + shared w_{t-1}``, the covariance of e and that of successive ones give ``shared``
    and the covariance of w (the fit repeats ``W = Cov(e_t) - Cov(e_{t+1}, e_t) W^-1 Cov(...)^T``).
    """
    C = x.shape[2]
    planes = torch.cat((x[:, 0], x[:, 1, -(C // frames) :]), 1)
    level = NOISE / 255 * torch.rand(len(x), 1, 1, 1, generator=generator).to(x.device)

    def read() -> tuple[Tensor, Tensor]:
        found = []
        for some, strength in zip(planes.split(PIECE), level.split(PIECE), strict=True):
            noise = torch.randn(some.shape, generator=generator).to(x.device)
            seen = (_bright(some) + strength * noise).clamp_(0, 1)
            found.append(sight(torch.stack((seen[:, :C], seen[:, -C:]), 1)))
        return torch.cat([q.mean for q in found]), torch.cat([q.std for q in found])

    (one, std), (other, also) = read(), read()
    error = ((one - other) / (std.square() + also.square()).sqrt()).double()
    now, following = error[:, 0], error[:, 1]
    covariance = (now.T @ now + following.T @ following) / (2 * len(error))
    common = following.T @ now / len(error)
    new, shared = covariance, torch.zeros_like(covariance)
    for _ in range(ITERATIONS):
        new = covariance - common @ torch.linalg.solve_ex(new, common.T).result
    found = torch.linalg.solve_ex(new.mT, common.T).result.mT
    if bool(found.isfinite().all()) and bool(torch.linalg.eigvalsh(new).min() > 0):
        shared = found
    else:  # such as where latent dimensions always agree
        new = covariance
    sight.errors.copy_(new)
    sight.shared.copy_(shared)
