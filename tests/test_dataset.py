"""Datasets: that windows are aligned, and that no damaged file is ever taken for a whole one."""

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import generator, noise_data

from e2c.data import episodes as dataset
from e2c.data.episodes import Dataset, Windows
from e2c.errors import E2CError

CPU = torch.device("cpu")
H, W = 2, 3


def counting(lengths: tuple[int, ...], C: int, first_episode: int = 0) -> Dataset:
    """Episodes whose frames, controls and states carry (episode, t); frame t + C - 1 shows t."""
    frames, actions, states = [], [], []
    for e, T in enumerate(lengths, first_episode):
        frame = np.zeros((T + C, H, W), np.uint8)
        frame[:, 0, 0], frame[:, 1, 2] = e, np.arange(T + C)
        frames.append(frame)
        actions.append(np.stack([np.full(T, e), np.arange(T)], 1).astype(np.float32))
        states.append(np.stack([np.full(T + 1, e), np.arange(T + 1)], 1).astype(np.float64))
    return Dataset(
        np.concatenate(frames),
        np.concatenate(actions),
        np.concatenate(states),
        np.array(lengths, np.int64),
        {"env": "Test/Counting"},
    )


# ------------------------------------------------------------------------------------- windows


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


@pytest.mark.parametrize(("fresh", "own"), [(0.0, 0), (0.5, 50), (0.25, 25), (1.0, 100)])
def test_the_fresh_share_comes_from_later_datasets(fresh: float, own: int) -> None:
    first, later = counting((50,), 2), counting((5, 6), 2, first_episode=1)
    windows = Windows([first, later], 4, fresh, CPU)
    x, u = windows.sample(101, [0], generator())
    assert u.shape[0] == 101
    episodes = (x[:, 0, 0, 0, 0] * 255).round()
    assert (episodes[101 - int(101 * fresh) :] > 0).all()
    if fresh < 1:
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


# ------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("C", [1, 2, 3])
def test_observations_are_in_the_order_of_states(C: int) -> None:
    data = counting((4, 7, 1), C, first_episode=5)
    x = data.observations()
    assert data.frames_per_observation == C
    assert data.transitions == 12
    assert x.shape == (15, C, H, W)
    np.testing.assert_array_equal(x[:, :, 0, 0], data.states[:, :1].repeat(C, 1))
    np.testing.assert_array_equal(x[:, :, 1, 2], data.states[:, 1:] + np.arange(C))


def test_from_arrays_lays_equal_episodes_one_after_another() -> None:
    parts = [counting((7,), 3, e) for e in range(5)]
    made = Dataset.from_arrays(
        np.stack([data.frames for data in parts]),
        np.stack([data.actions for data in parts]),
        np.stack([data.states for data in parts]),
        {"env": "Test/Counting"},
    )
    assert made.content_hash == counting((7,) * 5, 3).content_hash


@pytest.mark.parametrize("name", ["frames", "actions", "states", "lengths"])
def test_the_hash_sees_every_array(name: str) -> None:
    data = noise_data((4, 7))
    array = getattr(data, name).copy()
    array.reshape(-1)[-1] += 1
    assert dataclasses.replace(data, **{name: array}).content_hash != data.content_hash


def test_the_hash_sees_shape_type_and_provenance() -> None:
    data = noise_data((4, 7))
    others = [
        dataclasses.replace(data, frames=data.frames.reshape(-1, 6, 12)),
        dataclasses.replace(data, actions=data.actions.view(np.int32)),
        dataclasses.replace(data, provenance={**data.provenance, "seed": 1}),
    ]
    assert len({d.content_hash for d in [data, *others]}) == 4
    reordered = dict(reversed(data.provenance.items()))
    assert dataclasses.replace(data, provenance=reordered).content_hash == data.content_hash


def test_joined_datasets_keep_their_episodes_and_sources() -> None:
    one, two = counting((4, 7), 2), counting((5,), 2, first_episode=2)
    joined, whole = dataset.join([one, two]), counting((4, 7, 5), 2)
    for name in ("frames", "actions", "states", "lengths"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.provenance["env"] == "Test/Counting"
    sources = [source["sha256"] for source in joined.provenance["from"]]
    assert sources == [one.content_hash, two.content_hash]
    assert dataset.join([one]) is one


# ------------------------------------------------------------------------------------- files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole dataset file."""
    noise_data((4, 7)).save(tmp_path / "data.npz")
    return tmp_path / "data.npz"


def refusal(path: Path) -> str:
    with pytest.raises(E2CError) as caught:
        dataset.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def rewrite(path: Path, **changes: Any) -> None:
    """Write a dataset file again with other arrays, provenance or header, and the hash of those."""
    data = dataset.load(path)
    arrays = {name: getattr(data, name) for name in ("frames", "actions", "states", "lengths")}
    arrays |= {name: value for name, value in changes.items() if name in arrays}
    changed = Dataset(**arrays, provenance=changes.get("provenance", data.provenance))
    header: dict[str, Any] = {"schema": dataset.SCHEMA, "sha256": changed.content_hash}
    header |= {"provenance": changed.provenance, **changes.get("header", {})}
    np.savez(path, allow_pickle=True, header=np.array(json.dumps(header)), **arrays)


def test_a_file_gives_back_what_was_saved(path: Path) -> None:
    found, saved = dataset.load(path), noise_data((4, 7))
    for name in ("frames", "actions", "states", "lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))
        assert getattr(found, name).dtype == getattr(saved, name).dtype
    assert found.provenance == saved.provenance


def test_saving_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "data.npz"
    noise_data((4,)).save(path)
    noise_data((5,)).save(path)
    assert dataset.load(path).transitions == 5
    assert os.listdir(path.parent) == ["data.npz"]


def test_the_same_dataset_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        noise_data((4, 7)).save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_rewriting_alone_changes_nothing(path: Path) -> None:
    rewrite(path)
    assert dataset.load(path).content_hash == noise_data((4, 7)).content_hash


def test_a_flipped_bit_is_never_taken(path: Path) -> None:
    """Refused, or in one of the archive's own fields that do not matter: then all is as saved."""
    whole, wanted = path.read_bytes(), noise_data((4, 7)).content_hash
    rng, refused = np.random.default_rng(0), 0
    places = np.r_[: len(whole) : 101, 0:80, len(whole) - 340 : len(whole) : 2]
    for place in np.unique(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert dataset.load(path).content_hash == wanted
        except E2CError:
            refused += 1
    assert refused > 0.5 * len(np.unique(places))


def test_a_truncated_file_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in [0, 1, 3, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "was refused: it cannot be read" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"", b"Dear reader", b"\x93NUMPY", b"PK\x03\x04", b"\x80\x04."]
)
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refusal(path)


def test_a_bare_array_is_refused(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    refusal(path)


def test_a_foreign_archive_is_refused(path: Path) -> None:
    np.savez(path, frames=np.zeros(3))
    assert "it holds ['frames.npy'], not ['header.npy', 'frames.npy'" in refusal(path)


@pytest.mark.parametrize("header", ["", "{", "null", "[1]", "7", '{"schema": 1}', "[" * 10_000])
def test_a_malformed_header_is_refused(path: Path, header: str) -> None:
    data = dataset.load(path)
    arrays = {name: getattr(data, name) for name in ("frames", "actions", "states", "lengths")}
    np.savez(path, allow_pickle=False, header=np.array(header), **arrays)
    refusal(path)


def test_another_schema_is_named(path: Path) -> None:
    rewrite(path, header={"schema": "e2c-dataset-0"})
    assert "its schema is 'e2c-dataset-0' and this version reads 'e2c-dataset-1'" in refusal(path)


class Trap:
    """What would run if a pickle were ever read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["frames", "header"])
def test_a_pickled_object_is_refused_and_not_run(path: Path, name: str) -> None:
    data = dataset.load(path)
    arrays = {key: getattr(data, key) for key in ("frames", "actions", "states", "lengths")}
    arrays |= {"header": np.array("{}"), name: np.array([Trap(path.with_name("trap"))], object)}
    np.savez(path, allow_pickle=True, **arrays)
    refusal(path)
    assert not path.with_name("trap").exists()


def test_edited_provenance_is_refused(path: Path) -> None:
    rewrite(path, header={"provenance": {"env": "Test/Tiny-v0", "seed": 1}})
    assert "damaged or edited" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lengths": np.array([4, 6])}, "rows where the lengths"),
        ({"lengths": np.array([4, 8])}, "rows where the lengths"),
        ({"lengths": np.array([12, -1])}, "lengths are not possible"),
        ({"lengths": np.array([11, 0])}, "lengths are not possible"),
        ({"lengths": np.array([2**62] * 4)}, "lengths are not possible"),
        ({"lengths": np.zeros(0, np.int64)}, "no episodes"),
        ({"actions": np.zeros((12, 2), np.float32)}, "actions has 12 rows"),
        ({"states": np.zeros((14, 2))}, "states has 14 rows"),
        ({"frames": np.zeros((16, 2, 3), np.uint8)}, "frames has 16 rows"),
        ({"frames": np.zeros((11, 2, 3), np.uint8)}, "less than one frame"),
        ({"frames": np.zeros((17, 2, 3), np.float32)}, "frames is float32"),
        ({"actions": np.zeros(11, np.float32)}, "actions is float32 with 1 dimensions"),
        ({"provenance": ["env"]}, "its provenance is"),
        ({"provenance": {"env": ["Test/Tiny-v0"]}}, "its provenance is"),
    ],
)
def test_contradictions_are_refused_though_the_hash_is_right(
    path: Path, changes: dict[str, Any], reason: str
) -> None:
    rewrite(path, **changes)
    assert reason in refusal(path)


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    assert "e2c-collect --out" in refusal(tmp_path / "none.npz")
    assert "There is no dataset file" in refusal(tmp_path / "none.npz")
    assert "it is not an ordinary file" in refusal(tmp_path)


def half_written(path: Path, **_: Any) -> None:
    path.write_bytes(b"PK")
    raise OSError(errno.ENOSPC, "No space left on device")


def not_replaced(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("function", "failing"),
    [("numpy.savez_compressed", half_written), ("os.replace", not_replaced)],
)
def test_a_failing_write_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch, function: str, failing: Any
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(function, failing)
    for target in (path, path.with_name("new.npz")):
        with pytest.raises(OSError, match="No space left"):
            noise_data((5,)).save(target)
    assert os.listdir(path.parent) == ["data.npz"]
    assert path.read_bytes() == before
