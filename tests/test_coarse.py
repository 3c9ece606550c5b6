"""The blur that training starts from."""

import numpy as np
import pytest
import torch
from tiny import generator

from e2c.data.coarse import SHARP, Lens, falling_blur

H, W = 20, 30


def dot(row: int, column: int) -> torch.Tensor:
    """One observation ``[1, H, W]`` with one white pixel."""
    x = torch.zeros(1, H, W)
    x[0, row, column] = 1
    return x


def test_a_sharp_lens_changes_nothing() -> None:
    x = torch.rand(2, 3, 1, H, W, generator=generator())
    assert Lens(torch.rand(H, W, generator=generator(1)), 0.99 * SHARP)(x) is x


def test_a_pixel_becomes_a_gaussian_of_the_same_brightness() -> None:
    seen = Lens(torch.zeros(H, W), 2.0)(dot(9, 14)[None])[0, 0].numpy()
    rows, columns = np.mgrid[:H, :W]
    expected = np.exp(-((rows - 9) ** 2 + (columns - 14) ** 2) / (2 * 2.0**2))
    np.testing.assert_allclose(seen, expected, atol=1e-6)


@pytest.mark.parametrize("brightness", [0.6, -0.6])
def test_what_is_large_keeps_its_contrast(brightness: float) -> None:
    """A block of pixels, brighter or darker than the mean frame by so much, in the middle too."""
    mean = torch.full((H, W), 0.2 if brightness > 0 else 0.8)
    x = mean.clone()[None, None]
    x[..., 6:13, 10:20] += brightness
    away = Lens(mean, 2.0)(x) - mean
    assert away.abs().max().item() == pytest.approx(abs(brightness), abs=1e-5)
    assert away[0, 0, 9, 14].item() == pytest.approx(brightness, abs=0.02)
    assert away[0, 0, 9, 22].item() == pytest.approx(0.1 * brightness, abs=0.08 * abs(brightness))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_no_denormal_number_slows_it_down(sigma: float) -> None:
    """A far pixel's share is none: as a denormal number it would cost ten times the time."""
    size = 96
    x = torch.zeros(1, size, size)
    x[0, 0, 0] = 1 / 255
    seen = Lens(torch.zeros(size, size), sigma).blur(x[None])
    assert seen[seen > 0].min() > torch.finfo(torch.float32).tiny
    rows, columns = np.mgrid[:size, :size]
    expected = np.exp(-(rows**2 + columns**2) / (2 * sigma**2)) / 255
    np.testing.assert_allclose(seen[0, 0], expected, atol=1e-9)


def test_what_does_not_move_stays_sharp() -> None:
    background = (torch.rand(H, W, generator=generator()) > 0.5).float()
    seen = Lens(background, 2.0)(torch.stack([background, (background + 0.5).clamp(0, 1)])[:, None])
    torch.testing.assert_close(seen[0, 0], background)
    assert (seen[1, 0] - background).abs().max() > 0.4


def test_near_observations_become_more_alike_than_far_ones() -> None:
    x = torch.stack([dot(9, 9), dot(9, 13), dot(9, 25)])
    apart = [(x[0] - x[k]).abs().sum().item() for k in (1, 2)]
    assert apart[0] == apart[1]
    seen = Lens(torch.zeros(H, W), 4.0)(x)
    apart = [(seen[0] - seen[k]).abs().sum().item() for k in (1, 2)]
    assert 2 * apart[0] < apart[1]


def test_images_without_any_motion_are_no_error() -> None:
    mean = torch.full((H, W), 0.5)
    assert torch.equal(Lens(mean, 3.0)(mean.expand(2, 1, H, W)), mean.expand(2, 1, H, W))


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 6.0), (0.2, 3.0), (0.4, 0.0), (1.0, 0.0)])
def test_the_blur_falls_linearly(progress: float, expected: float) -> None:
    assert falling_blur(6.0, 0.4, progress) == pytest.approx(expected)
    assert falling_blur(0.0, 0.4, progress) == 0
    assert falling_blur(6.0, 0.0, progress) == 0
