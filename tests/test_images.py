"""How images lie in an observation: every shape that a world may show, and back again."""

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.images import ImageLayout, channels_first

H, W, F = 5, 7, 4
SHAPES = [(H, W), (H, W, 3), (F, H, W), (F, H, W, 3), (1, H, W), (1, H, W, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "is_colour", "frames", "planes"),
    [
        ((H, W), False, 1, (1, H, W)),
        ((H, W, 3), True, 1, (3, H, W)),
        ((F, H, W), False, F, (F, H, W)),
        ((F, H, W, 3), True, F, (3 * F, H, W)),
        ((1, H, W), False, 1, (1, H, W)),
        ((1, H, W, 3), True, 1, (3, H, W)),
    ],
    ids=str,
)
def test_shapes_are_told_apart(
    shape: tuple[int, ...], is_colour: bool, frames: int, planes: tuple[int, int, int]
) -> None:
    layout = ImageLayout(shape)
    assert layout.is_colour == is_colour
    assert layout.frame_shape == ((H, W, 3) if is_colour else (H, W))
    assert layout.frames == frames
    assert layout.planes == planes


@pytest.mark.parametrize("shape", [(), (6,), (F, H, W, 4), (F, H, W, 1), (2, F, H, W, 3)], ids=str)
def test_other_shapes_are_told_in_a_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"has the shape \[H, W\].*got \[.*AddRenderObservation"):
        ImageLayout(shape)


@every_shape
@pytest.mark.parametrize("lead", [(), (2,), (2, 6), (0,)], ids=str)
def test_planes_lead_back_to_the_observation(shape: tuple[int, ...], lead: tuple[int, ...]) -> None:
    layout, observations = ImageLayout(shape), noise(*lead, *shape)
    planes = layout.to_planes(observations)
    assert planes.shape == (*lead, *layout.planes)
    assert planes.dtype == np.uint8
    np.testing.assert_array_equal(layout.from_planes(planes), observations)
    np.testing.assert_array_equal(layout.frames_of(planes), layout.split(observations))


@every_shape
def test_frames_are_split_from_the_oldest_to_the_newest(shape: tuple[int, ...]) -> None:
    layout, observations = ImageLayout(shape), noise(2, *shape)
    frames = layout.split(observations)
    assert frames.shape == (2, layout.frames, *layout.frame_shape)
    stacked = observations if shape != layout.frame_shape else observations[:, None]
    np.testing.assert_array_equal(frames, stacked)


def test_the_planes_of_a_colour_frame_are_its_channels_frame_by_frame() -> None:
    observation = noise(F, H, W, 3)
    planes = ImageLayout((F, H, W, 3)).to_planes(observation)
    for f in range(F):
        for k in range(3):
            np.testing.assert_array_equal(planes[3 * f + k], observation[f, :, :, k])


@pytest.mark.parametrize(("is_colour", "channels"), [(False, 1), (True, 3)])
def test_channels_come_first(is_colour: bool, channels: int) -> None:
    frames = noise(2, F, H, W, 3) if is_colour else noise(2, F, H, W)
    first = channels_first(frames, is_colour)
    assert first.shape == (2, F, channels, H, W)
    np.testing.assert_array_equal(first[..., -1, :, :], frames[..., -1] if is_colour else frames)


@every_shape
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    layout = ImageLayout(shape)
    wider = (*shape[:-2], W + 1, 3) if layout.is_colour else (*shape[:-1], W + 1)
    with pytest.raises(ValueError, match="reshape"):
        layout.to_planes(noise(2, *wider))
