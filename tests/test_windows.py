"""Windows: that they are aligned, within one episode, and drawn as asked for."""

import numpy as np
import pytest
import torch
from test_episodes import H, W, counting
from tiny import generator

from e2c.data.episodes import Episodes
from e2c.data.windows import Windows
from e2c.errors import E2CError

CPU = torch.device("cpu")


@pytest.mark.parametrize("C", [1, 2, 3])
@pytest.mark.parametrize(("horizon", "times"), [(1, [0, 1]), (4, [0, 1, 4]), (7, [0, 3])])
def test_windows_are_aligned_and_within_one_episode(C: int, horizon: int, times: list[int]) -> None:
    lengths = [(7, 9, 2), (12,), (8, 7)]
    firsts = (0, 3, 4)
    datasets = [counting(part, C, e) for part, e in zip(lengths, firsts, strict=True)]
    windows = Windows(datasets, horizon, 0.5, CPU)
    x, u = windows.sample(600, times, generator())
    assert x.shape == (600, len(times), C, H, W)
    assert u.shape == (600, horizon, 2)
    assert x.dtype == u.dtype == torch.float32
    grey = (x * 255).round().long()
    episode, start = grey[:, 0, 0, 0, 0], grey[:, 0, 0, 1, 2]
    assert (grey[..., 0, 0] == episode[:, None, None]).all(), "one episode"
    clock = start[:, None, None] + torch.tensor(times)[:, None] + torch.arange(C)
    assert torch.equal(grey[..., 1, 2], clock), "the times asked for"
    assert (u[..., 0] == episode[:, None]).all(), "the controls of that episode"
    assert torch.equal(u[..., 1].long(), start[:, None] + torch.arange(horizon)), "at those times"
    possible = {(e, t) for e, T in enumerate(sum(lengths, ())) for t in range(T - horizon + 1)}
    assert set(zip(episode.tolist(), start.tolist(), strict=True)) == possible
    assert len(windows) == len(possible)


def test_a_single_step_of_a_single_episode() -> None:
    windows = Windows([counting((1,), 1)], 1, 0.5, CPU)
    x, u = windows.sample(1, [0, 1], generator())
    assert (x[0, :, 0, 1, 2] * 255).round().tolist() == [0, 1]
    assert u.tolist() == [[[0, 0]]]


@pytest.mark.parametrize(("own_share", "own"), [(0.0, 0), (0.5, 50), (0.25, 25), (1.0, 100)])
def test_the_own_share_comes_from_later_datasets(own_share: float, own: int) -> None:
    first, later = counting((50,), 2), counting((5, 6), 2, first_episode=1)
    windows = Windows([first, later], 4, own_share, CPU)
    x, u = windows.sample(101, [0], generator())
    assert u.shape[0] == 101
    episodes = (x[:, 0, 0, 0, 0] * 255).round()
    assert (episodes[101 - int(101 * own_share) :] > 0).all()
    if own_share < 1:
        assert (episodes == 0).any()
    assert int((episodes > 0).sum()) >= own


def test_without_later_datasets_everything_comes_from_the_first() -> None:
    _, u = Windows([counting((50,), 2)], 4, 1.0, CPU).sample(7, [0], generator())
    assert (u[..., 0] == 0).all()


def test_windows_are_drawn_by_the_generator() -> None:
    windows = Windows([counting((50,), 2)], 4, 0.5, CPU)
    one, again, other = (windows.sample(9, [0], generator(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_horizon_longer_than_every_episode_is_refused() -> None:
    with pytest.raises(E2CError, match=r"longest has 5 steps and objective\.horizon is 6"):
        Windows([counting((3, 5), 2)], 6, 0.5, CPU)


def test_coloured_frames_are_planes_in_their_order() -> None:
    """Frame 0's red, green and blue, then frame 1's."""
    grey = counting((7,), 2)
    shift = np.array([0, 50, 100], np.uint8)
    coloured = Episodes(
        frames=grey.frames[..., None] + shift, actions=grey.actions, lengths=grey.lengths
    )
    x, _ = Windows([coloured], 3, 0.5, CPU).sample(4, [0, 2], generator(3))
    y, _ = Windows([grey], 3, 0.5, CPU).sample(4, [0, 2], generator(3))
    assert x.shape == (4, 2, 6, H, W)
    for plane in range(6):
        expected = y[:, :, plane // 3] + 50 * (plane % 3) / 255
        torch.testing.assert_close(x[:, :, plane], expected)
    mean = Windows([coloured], 3, 0.5, CPU).mean_observation
    np.testing.assert_allclose(mean[:3], mean[3:])
    np.testing.assert_allclose(mean[1], mean[0] + 50 / 255, rtol=1e-5)
