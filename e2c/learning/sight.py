"""Learning to see through a faulty camera, at the end of a run: the rest of a model stays as it is.

A copy of the encoder sees faulty frames. It learns to return the encoding of the clean frames, and
how large its own error is. Then the error of the model in a step, and the correlation of the errors
of successive observations, are measured on the data.
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
"""Share of a batch that is clean: clean frames must be read as the encoder reads them."""
RATE = 3e-3
"""Adam's largest step size."""
WARM = 50
"""Steps in which the step size rises."""
HELD = 0.3
"""Share of the steps before the step size falls."""
DECAY = 0.01
"""Factor by which the step size has fallen in the end."""
CLIP = 10.0
"""The norm of the gradient is cut to this."""
LOOKED_AT = 2000
"""Windows from which the figures of a belief are taken."""
PIECE = 100
"""Windows that are read at a time."""
NEIGHBOURS = 16
"""Nearest encodings from which the directions of motion around an encoding are found."""
LEAST = 1e-3
"""The variance of a model's error at rest is at least this share of its mean squared error."""
ITERATIONS = 30
"""Iterations of each of the two fits below; both converge within ten."""


def learn_sight(model: LatentModel, windows: Windows, steps: int, seed: int) -> Sight:
    """Return a sight for a model, learned from the model's data.

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
    """Find the error of a model in a step: at first, and once its dynamics have learned on.

    Args:
        sight: gets ``process`` and ``speed``.
        model: trained.
        windows: from its data.
        seed: of the windows that are looked at.

    Returns:
        The generator that drew the windows, and their observations ``[N, 2, C, H, W]``, as uint8,
        since these are kept while the sight is learned.
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
    """Find brightness and contrast of uint8 ``x [N, 2, C, H, W]``, and the spread of encodings."""
    bright = _bright(x)
    z = model.encoder(bright).mean
    std, level = torch.std_mean(bright.flatten(2), -1)
    sight.light.copy_(torch.stack((level.mean(), std.mean())))
    sight.mean.copy_(z.mean((0, 1)))
    sight.variance.copy_(z.flatten(0, 1).var(0))


def foreseen(z: Tensor, expected: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Find the covariance of a model's error in a step.

    Its variance grows with the length of the step, ``a + b |dz|^2``. a and b are fitted by iterated
    least squares, weighted by the inverse squares of the variances.

    Args:
        z: encodings before the step, ``[N, n]``.
        expected: the model's prediction, ``[N, n]``.
        found: encodings after the step, ``[N, n]``.

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
    """Find the directions that encode motion, from uint8 ``x [N, 2, C, H, W]``.

    The second observation is encoded once more, with the older frames of the first in place of its
    own. It then shows things in the same place that seem to move faster. The difference of the two
    encodings is a direction of motion. With one frame per observation there is no such direction.
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
    """Train the sight to return, for faulty frames, the encoding mu(x) of the clean frames.

    It minimises ``- log N(mu(x); mean, variance + h)``. h is the variance of the model's error in a
    step at rest: to read more exactly than the model predicts is of no use.
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
    """Find how errors of successive observations are correlated, from uint8 ``x [N, 2, C, H, W]``.

    Noise is added to the frames; a frame that both observations share has the same noise in both.
    An error that does not change from frame to frame is the same for every draw of the noise. So e
    is the difference of two draws. With ``e_t = w_t + shared w_{t-1}``, the covariances of e_t and
    of e_{t+1} with e_t give ``shared`` and the covariance W of w. The fit repeats
    ``W = Cov(e_t) - Cov(e_{t+1}, e_t) W^-1 Cov(e_{t+1}, e_t)^T``.
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
    else:  # such as where two latent dimensions are always equal
        new = covariance
    sight.errors.copy_(new)
    sight.shared.copy_(shared)
