"""Learning the dynamics on: what it changes, what it learns, and what lies off a surface."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tiny import generator, noise_data, tiny_model

from e2c.data.windows import Windows
from e2c.learning import dynamics
from e2c.learning import encodings as encodings_module
from e2c.learning.dynamics import AMONG, BATCH, RATE, learn_dynamics, off_surface
from e2c.learning.encodings import Encodings
from e2c.models.base import LatentModel
from e2c.models.gaussians import DiagonalGaussian

CPU = torch.device("cpu")
HORIZON = 4


def trained() -> tuple[LatentModel, Windows]:
    """A model whose encodings differ, as those of a trained one do."""
    model, windows = (
        tiny_model(),
        Windows([noise_data((9, 4)), noise_data((7,))], HORIZON, 0.5, CPU),
    )
    with torch.no_grad():
        list(model.encoder.parameters())[-2].mul_(20)
    return model, windows


def error(model: LatentModel, windows: Windows) -> float:
    """The mean squared error of roll-outs from means."""
    times = range(HORIZON + 1)
    x, u = windows.sample(200, times, generator(3))
    with torch.no_grad():
        z = model.encoder(x).mean
        return (model.roll_out(z[:, 0], u) - z).square().mean().item()


def test_the_loss_is_the_one_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roll-out by roll-out, from the same draws; the noise has the encoder's own deviations."""
    model, windows = trained()
    encodings, n = Encodings(model, windows), model.transition.n
    mean = encodings.q.mean
    q = encodings.q = DiagonalGaussian(mean, torch.randn(mean.shape, generator=generator(1)))
    told = list[float]()

    def once(
        title: str, parameters: Any, loss: Callable[[], Any], draw: Callable[[], None], *_: Any
    ) -> None:
        draw()
        told.append(loss().item())

    monkeypatch.setattr(dynamics, "descend", once)
    learn_dynamics(model.transition, encodings, 9, seed=3)
    draws = generator(3)
    off = off_surface(mean, mean[torch.randperm(len(mean), generator=draws)[:AMONG]])
    starts, wanted = encodings.starts.draw(BATCH, draws).tolist(), []
    noise = torch.randn(BATCH, n, generator=draws)
    for (frame, action), e in zip(starts, noise, strict=True):
        at = encodings.at(frame + torch.arange(HORIZON + 1))
        u = encodings.actions[action : action + HORIZON]
        path = model.roll_out(mean[at[0]], u)
        missed = ((path - mean[at]).square() / q.variance[at])[1:].sum() / HORIZON
        aside = mean[at[0]] + off[at[0]] @ (q.std[at[0]] * e)
        astray = (model.transition.step(aside, u[0]) - path[1]).square() / q.variance[at[1]]
        wanted.append((missed + astray.sum()).item())
    constant = q.log_variance.neg().exp().mean().item()
    assert told == [pytest.approx(sum(wanted) / BATCH / constant, rel=1e-4)]


def test_the_step_size_falls_to_none_along_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Sequence[float]] = []
    monkeypatch.setattr(dynamics, "descend", lambda *given: found.append(given[4]))
    model, windows = trained()
    learn_dynamics(model.transition, Encodings(model, windows), 100, seed=0)
    (rates,) = found
    assert len(rates) == 100
    assert rates[0] == RATE
    assert rates[50] == pytest.approx(0.5 * RATE)
    assert 0 < rates[99] < 1e-3 * RATE


def test_only_the_transition_learns_and_it_learns_to_follow_the_means() -> None:
    model, windows = trained()
    before, started = copy.deepcopy(model.state_dict()), error(model, windows)
    model.transition = learn_dynamics(model.transition, Encodings(model, windows), 300, seed=0)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {f"transition.{name}" for name, _ in model.transition.named_parameters()}
    assert error(model, windows) < 0.3 * started


def test_what_leads_off_the_surface_does_not_lead_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encodings on a circle in a space of four dimensions; two of these lead off its plane."""
    monkeypatch.setattr(encodings_module, "FLAT", 0.3)
    model, windows = tiny_model(), Windows([noise_data((60,))], HORIZON, 0.0, CPU)
    encodings = Encodings(model, windows)
    angle = 0.3 * torch.arange(len(encodings.q.mean))
    none = torch.zeros_like(angle)
    z = 2 * torch.stack((angle.cos(), none, angle.sin(), none), -1)
    encodings.q = DiagonalGaussian(z, torch.full_like(z, -1.0))

    def led_on() -> tuple[float, float]:
        with torch.no_grad():
            J, _ = model.transition.jacobian(z, torch.zeros(len(z), 2))
        along = torch.stack((-angle.sin(), none, angle.cos(), none), -1)
        return (J @ along[..., None]).norm(dim=1).mean().item(), J[:, :, [1, 3]].norm().item()

    _, before = led_on()
    model.transition = learn_dynamics(model.transition, encodings, 1000, seed=0)
    along, off = led_on()
    assert off < 0.6 * before
    assert along == pytest.approx(1.0, abs=0.1)


def test_the_same_seed_gives_the_same_dynamics() -> None:
    found = []
    for seed in (1, 1, 2):
        model, windows = trained()
        learned = learn_dynamics(model.transition, Encodings(model, windows), 3, seed)
        found.append(torch.cat([p.flatten() for p in learned.parameters()]))
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_every_observation_of_the_windows_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings_module, "PIECE", 3)
    data = [noise_data((9, 4)), noise_data((7,))]
    model, _ = trained()
    windows = Windows(data, HORIZON, 0.5, CPU)
    encodings = Encodings(model, windows)
    whole = torch.cat([model.encode(part.planes()).mean for part in data])
    torch.testing.assert_close(encodings.q.mean, whole)
    x, _ = windows.sample(20, (0, 3), generator(1))
    first = windows.rows(windows.starts.draw(20, generator(1)), (0, 3))[0][..., 0]
    torch.testing.assert_close(encodings.q[encodings.at(first)].mean, model.encoder(x).mean)


def test_off_a_plane_noise_stays_and_in_it_it_dies() -> None:
    plane = torch.linalg.qr(torch.randn(5, 5, generator=generator()))[0]
    points = torch.randn(400, 2, generator=generator()) @ plane[:, :2].T
    scale = off_surface(points[:50], points)
    assert torch.allclose(scale @ plane[:, 2:], plane[:, 2:].expand(50, 5, 3), atol=1e-3)
    assert (scale @ plane[:, :2]).norm(dim=1).median() < 0.15


def test_where_there_is_no_surface_little_noise_is_left() -> None:
    points = torch.randn(400, 5, generator=generator())
    assert torch.linalg.matrix_norm(off_surface(points, points), 2).median() < 0.6
    assert torch.allclose(off_surface(torch.ones(3, 5), torch.ones(3, 5)), torch.eye(5))
