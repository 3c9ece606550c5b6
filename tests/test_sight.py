"""Sight: what a faulty camera does, that it is seen through, and that a checkpoint holds it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CONFIG, MODEL, SPEC, generator, images, noise_data, tiny_model
from torch import nn

from e2c.data import camera
from e2c.data.camera import BLACK, FaultyCamera
from e2c.data.windows import Windows
from e2c.learning import sight as learning
from e2c.learning.sight import learn_sight
from e2c.models import checkpoint
from e2c.models.base import LatentModel
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.sight import TRUST, Sight

CPU = torch.device("cpu")
SHAPE = (3, 12, 6)


def faulty(x: torch.Tensor, frames: int = 3, seed: int = 0) -> torch.Tensor:
    camera = FaultyCamera(x[0].numel(), CPU)
    return camera(x, camera.draw(len(x), frames, generator(seed)))


def test_a_faulty_camera_loses_frames_hides_a_part_of_the_others_and_changes_most() -> None:
    x = torch.full((4000, *SHAPE), 0.5)
    seen = faulty(x)
    assert seen.shape == x.shape
    assert 0 <= float(seen.min()) < float(seen.max()) <= 1
    black = (seen == 0).flatten(2).all(-1)
    assert black.float().mean().item() == pytest.approx(BLACK, abs=0.01)
    shown = ~black
    untouched = (seen == x).flatten(2).all(-1)[shown].float().mean()
    assert untouched < 0.06, "all have a patch, which may be at the edge"
    merely = (seen == x).flatten(2).float().mean(-1)[shown] > 0.5
    assert 0.2 < merely.float().mean() < 0.35, "neither noise nor another light"
    assert (x == 0.5).all(), "what is clean stays clean"


def without_noise(x: torch.Tensor) -> torch.Tensor:
    camera = FaultyCamera(x[0].numel(), CPU)
    camera._tape = torch.zeros_like(camera._tape)
    return camera(x, camera.draw(len(x), 3, generator()))


def test_frames_of_an_observation_share_their_light_and_their_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there is no noise and the patch rests, equal frames look equal unless one is lost."""
    monkeypatch.setattr(camera, "SPEED", 0.0)
    first, *others = without_noise(torch.full((500, *SHAPE), 0.5)).unbind(1)
    lit = (first != 0).flatten(1).any(1)
    for other in others:
        both = lit & (other != 0).flatten(1).any(1)
        assert torch.equal(first[both], other[both])
    assert len(first.flatten(1).unique(dim=0)) > 200


def test_the_patch_moves_evenly_from_frame_to_frame() -> None:
    """Black frames of one row of pixels, with nothing but a patch that is 250 pixels wide."""
    x = torch.zeros(300, 3, 1, 1000)
    faulty = FaultyCamera(x[0].numel(), CPU)
    faults = faulty.draw(len(x), 3, generator())
    noise, _, brightness, contrast, row, column, grey, down, across = range(9)
    faults[:, [noise, brightness, contrast, 10, 11, 12]] = 1.0
    faults[:, row], faults[:, [grey, down]] = 0.0, 0.5
    faults[:, column] = 0.2 + 0.6 * faults[:, column]
    lit = faulty(x, faults)[:, :, 0] > 0
    assert torch.allclose(lit.sum(-1).float(), torch.tensor(250.0), atol=1)
    step = (lit * torch.arange(1000.0)).sum(-1).div(lit.sum(-1)).diff(dim=1)
    told = 1000 * camera.SPEED * (2 * faults[:, across] - 1)
    assert torch.allclose(step, told[:, None].expand(-1, 2), atol=1.01)


def test_the_first_observations_are_seen_nearer_or_further_away() -> None:
    """As torch's own sampling of images sees them; nothing but a patch of a few pixels is added."""
    x, side = torch.rand(40, *SHAPE, generator=generator()), camera.SIZE
    faulty = FaultyCamera(x[0].numel(), CPU)
    faults = faulty.draw(len(x), 3, generator(1))
    noise, _, brightness, contrast, *_, size, first = range(11)
    faults[:, [noise, brightness, contrast, first, first + 1, first + 2]] = 1.0
    seen, factor = faulty(x, faults), 1 + side * (2 * faults[:, size] - 1)
    factor[int(camera.SHARE * len(x)) :] = 1.0
    theta = torch.eye(2, 3) / factor[:, None, None]
    grid = torch.nn.functional.affine_grid(theta, [*x.shape], align_corners=True)
    wanted = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=True)
    same = (seen - wanted).abs() < 1e-5
    assert same.flatten(1).float().mean(1).min() > 0.85, "but for the patch"
    assert factor.std() > 0.02


@pytest.mark.parametrize(("frames", "shape"), [(3, SHAPE), (2, (2, 1, 9)), (2, (6, 5, 1))])
def test_the_compiled_camera_shows_what_the_plain_one_shows(
    frames: int, shape: tuple[int, ...]
) -> None:
    x, near = torch.rand(50, *shape, generator=generator()), int(camera.SHARE * 50)
    faulty = FaultyCamera(x[0].numel(), CPU)
    faults = faulty.draw(len(x), frames, generator(1))
    plain = faulty._shown(x, faulty._planes(faults, *shape), faulty._begin(faults), near)
    torch.testing.assert_close(faulty(x, faults), plain, rtol=0, atol=1e-6)


def test_faults_are_drawn_by_the_generator() -> None:
    x = torch.from_numpy(images(9)).float() / 255
    assert torch.equal(faulty(x), faulty(x))
    assert not torch.equal(faulty(x), faulty(x, seed=1))


def test_brightness_and_contrast_change_either_way_by_as_much_as_is_stated() -> None:
    """What is drawn from 0 to the share of them goes evenly from the least to the most."""
    x, faulty = torch.full((5, 3, 1, 9), 0.4), FaultyCamera(27, CPU)
    faults = torch.ones(5, 13)
    faults[:, 4:6] = -9.0  # no patch in sight
    drawn = camera.SHARE * torch.tensor([0.0, 0.25, 0.5, 1 - 1e-6, 1.0])
    shares = torch.tensor([-1.0, -0.5, 0.0, 1.0, 0.0])
    changes = {2: camera.BRIGHTNESS / 255 * shares, 3: 0.4 * camera.CONTRAST * shares}
    for column, change in changes.items():
        faults[:, 2:4] = 1.0
        faults[:, column] = drawn
        seen = faulty(x, faults) - 0.4
        wanted = change[:, None, None, None].expand_as(x)
        torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-5)


def trained() -> tuple[LatentModel, Windows]:
    return tiny_model(), Windows([noise_data((9, 7))], 1, 0.0, CPU)


def test_a_sight_reads_what_the_encoder_says_of_clean_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a handful of images the error falls below that of the encoder's copy, and is told."""
    monkeypatch.setattr(learning, "LOOKED_AT", 200)
    monkeypatch.setattr(learning, "BATCH", 24)
    model, windows = trained()
    with torch.no_grad():
        list(model.encoder.parameters())[-2].mul_(20)
        list(model.transition.parameters())[-2].mul_(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = windows.sample(400, (0,), generator(5))[0][:, 0]
    seen, wanted = faulty(x, seed=3), model.encoder(x).mean
    errors = []
    for steps in (1, 300):
        sight = learn_sight(model, windows, steps, seed=1)
        q = sight(seen)
        errors.append((q.mean - wanted).square())
        told = (errors[-1] / (q.variance + sight.process.diagonal())).mean().item()
    assert errors[1].mean() < 0.5 * errors[0].mean()
    assert 0.05 < told < 2
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LOOKED_AT", 100)
    one, again, other = (learn_sight(*trained(), 3, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())
    assert all(value.isfinite().all() for value in one.values())


def test_errors_that_always_agree_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all latent dimensions say the same, the covariance of their errors is singular."""
    monkeypatch.setattr(learning, "LOOKED_AT", 100)
    model, windows = trained()
    with torch.no_grad():
        for value in list(model.encoder.parameters())[-2:]:
            value[:] = value[:1]
    sight = learn_sight(model, windows, 1, seed=0)
    assert not sight.shared.any()
    assert sight.errors.isfinite().all()


def test_a_sight_adapts_to_the_light() -> None:
    sight = Sight(tiny_model().encoder, MODEL.latent_dim)
    sight.light.copy_(torch.tensor([0.4, 0.2]))
    x = torch.from_numpy(images(4)).float() / 255
    torch.testing.assert_close(sight(0.6 * x + 0.2).mean, sight(x).mean, rtol=1e-4, atol=1e-5)
    assert sight(torch.zeros(2, 5, *SHAPE)).mean.isfinite().all(), "a black frame has no contrast"


class Reader(nn.Module):
    """Tells how bright parts of the newest frame are, and how much brighter it is than before."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> DiagonalGaussian:
        older, newest = x[..., -2:, :, :].unbind(-3)
        parts = (newest[..., :5, :], newest - older, newest[..., 5:, :], newest[..., :4])
        mean = self.unit * torch.stack([part.mean((-2, -1)) for part in parts], -1)
        return DiagonalGaussian(mean, torch.zeros_like(mean))


def test_what_tells_of_motion_is_what_older_frames_alone_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learning, "LOOKED_AT", 300)
    model, windows = trained()
    model.encoder = Reader()  # type: ignore[assignment]
    sight = learn_sight(model, windows, 1, seed=0)
    motion = torch.zeros(4, 4)
    motion[1, 1] = 1
    torch.testing.assert_close(sight.motion, motion.expand_as(sight.motion), atol=0.05, rtol=0)
    assert len(sight.places.unique(dim=0)) > 10


def test_motion_that_was_not_foreseen_is_believed_by_and_by() -> None:
    sight = Sight(tiny_model().encoder, MODEL.latent_dim)
    sight.places[1:] = 10.0
    sight.motion[0, 1, 1] = 1.0
    expected = torch.tensor([[0.0, 1.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]])
    z = expected + 1
    found = sight.steadied(z, expected)
    assert torch.equal(found[1], z[1]), "there nothing tells of motion"
    torch.testing.assert_close(found[0], torch.tensor([1.0, 1 + TRUST, 1.0, 1.0]))
    assert torch.equal(sight.steadied(z, expected * torch.nan), z), "a plan that failed"
    for _ in range(6):
        found = sight.steadied(z, found)
    torch.testing.assert_close(found, z, atol=1e-2, rtol=0)


def test_what_the_model_does_not_foresee_grows_with_the_step() -> None:
    """Errors are drawn with a known growth and covariance, and both are found."""
    draws, n, count = generator(), MODEL.latent_dim, 20_000
    z, length = torch.randn(count, n, generator=draws), torch.rand(count, 1, generator=draws)
    expected = z + length * torch.randn(count, n, generator=draws)
    far = (expected - z).square().sum(-1, keepdim=True)
    deviation = torch.tensor([0.1, 0.2, 0.05, 0.1])
    error = deviation * (1 + 3 * far).sqrt() * torch.randn(count, n, generator=draws)
    process, speed = learning.foreseen(z, expected, expected + error)
    assert speed.item() == pytest.approx(3, rel=0.1)
    found = process.diagonal().sqrt().float()
    torch.testing.assert_close(found, deviation, rtol=0.06, atol=0)


@pytest.mark.parametrize("sighted", [True, False])
def test_a_checkpoint_holds_the_sight_where_there_is_one(tmp_path: Path, sighted: bool) -> None:
    config = dataclasses.replace(CONFIG, model=MODEL)
    model = tiny_model(MODEL, SPEC)
    if sighted:
        model.sight = Sight(model.encoder, MODEL.latent_dim)
        model.sight.speed.fill_(3.0)
    checkpoint.save(tmp_path / checkpoint.NAME, model, config, SPEC)
    found = checkpoint.load(tmp_path)[0]
    assert (found.sight is not None) == sighted
    x = images(2)
    assert torch.equal(found.read(x).mean, model.read(x).mean)
    assert found.sight is None or found.sight.speed == 3


def test_what_the_model_does_not_foresee_is_found_anew_once_its_dynamics_have_learned_on() -> None:
    model, windows = trained()
    sight = learn_sight(model, windows, 1, seed=0)
    before = sight.process.clone()
    learning.find_process(sight, model, windows, seed=0)
    assert torch.equal(sight.process, before), "the same windows are looked at"
    with torch.no_grad():
        for parameter in model.transition.parameters():
            parameter.add_(0.3)
    learning.find_process(sight, model, windows, seed=0)
    assert not torch.equal(sight.process, before)


def test_the_step_size_rises_is_held_and_falls() -> None:
    steps, held = 1000, int(learning.HELD * 1000)
    rates = [learning._rate(step, steps) / learning.RATE for step in range(steps + 1)]
    assert rates[: learning.WARM] == pytest.approx([(i + 1) / 50 for i in range(learning.WARM)])
    assert rates[learning.WARM : held + 1] == [1.0] * (held + 1 - learning.WARM)
    assert rates[(held + steps) // 2] == pytest.approx(learning.DECAY**0.5)
    assert rates[steps] == pytest.approx(learning.DECAY)


def test_the_loss_is_the_one_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of clean observations, and what is not foreseen is added to what is told."""
    monkeypatch.setattr(learning, "BATCH", 30)
    told = list[float]()

    def once(
        title: str, parameters: Any, loss: Callable[[], Any], draw: Callable[[], None], *_: Any
    ) -> None:
        draw()
        told.append(loss().item())

    monkeypatch.setattr(learning, "descend", once)
    model, windows = trained()
    sight = Sight(model.encoder, MODEL.latent_dim)
    sight.process.copy_(torch.diag(torch.tensor([0.5, 1.0, 2.0, 4.0])))
    learning._see_through_faults(sight, model, windows, 1, generator(4))
    draws, total = generator(4), 0.0
    rows = windows.rows(windows.starts.draw(30, draws), (0,))[0][:, 0]
    x = windows.observed(rows)
    clean, frames = int(learning.CLEAN * 30), windows.frames_per_observation
    shown = FaultyCamera(x[0].numel(), CPU)
    seen = torch.cat((x[:clean], shown(x[clean:], shown.draw(30 - clean, frames, draws))))
    for mean, faulty in zip(model.encoder(x).mean, seen, strict=True):
        q = sight(faulty)
        variance = q.variance + sight.process.diagonal()
        total += ((mean - q.mean).square() / variance + variance.log()).sum().item()
    assert told == [pytest.approx(total / 30, rel=1e-4)]


P = torch.tensor([[1.0, 0.3, 0, 0], [0, 0.5, 0, 0], [0.2, 0, 1, 0], [0, 0, 0, 1]])
"""How the errors of a `Smear` hang together within an observation."""
SHARED = torch.tensor([[0.5, 0.4, 0, 0], [-0.2, 0.3, 0, 0], [0, 0, 0.6, 0.1], [0, 0, 0, -0.5]])
"""How they come again in the next one."""


class Smear(Sight):
    """Its errors are those of the newest frame, and again a part of those of the frame before."""

    def forward(self, x: torch.Tensor) -> DiagonalGaussian:
        quarters = x.flatten(-2).unflatten(-1, (4, -1)).mean(-1)
        older, newest = (quarters @ P.T).unbind(-2)
        mean = newest + older @ SHARED.T
        return DiagonalGaussian(mean, torch.full_like(mean, -5.0))


def test_how_errors_come_again_is_found() -> None:
    """Of frames of 24 grey pixels; the noise has a level from 0 to the camera's largest."""
    sight = Smear(tiny_model().encoder, 4)
    x = torch.full((20_000, 2, 2, 4, 6), 128, dtype=torch.uint8)
    learning._take_errors(sight, x, 2, generator(2))
    torch.testing.assert_close(sight.shared, SHARED, rtol=0, atol=0.06)
    variance = (camera.NOISE / 255) ** 2 / 3 / 6
    wanted = P @ P.T * variance / torch.tensor(-5.0).exp()
    torch.testing.assert_close(sight.errors, wanted, rtol=0, atol=0.05 * float(wanted.max()))
