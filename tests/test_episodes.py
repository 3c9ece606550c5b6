"""Datasets: that windows are aligned, and that no damaged file is ever taken for a whole one."""

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import noise_data

from e2c.data import episodes as dataset
from e2c.data.episodes import Episodes
from e2c.errors import E2CError

H, W = 2, 5


def counting(lengths: tuple[int, ...], C: int, first_episode: int = 0) -> Episodes:
    """Episodes whose frames, controls and states carry (episode, t); frame t + C - 1 shows t."""
    frames, actions, states = [], [], []
    for e, T in enumerate(lengths, first_episode):
        frame = np.zeros((T + C, H, W), np.uint8)
        frame[:, 0, 0], frame[:, 1, 2] = e, np.arange(T + C)
        frames.append(frame)
        actions.append(np.stack([np.full(T, e), np.arange(T)], 1).astype(np.float32))
        states.append(np.stack([np.full(T + 1, e), np.arange(T + 1)], 1).astype(np.float64))
    return Episodes(
        frames=np.concatenate(frames),
        actions=np.concatenate(actions),
        lengths=np.array(lengths, np.int64),
        states=np.concatenate(states),
        provenance={"env": "Test/Counting"},
    )


# ------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("C", [1, 2, 3])
def test_observations_are_in_the_order_of_states(C: int) -> None:
    data = counting((4, 7, 1), C, first_episode=5)
    x = data.planes()
    assert data.frames_per_observation == C
    assert data.states is not None
    assert data.transitions == 12
    assert x.shape == (15, C, H, W)
    np.testing.assert_array_equal(x[:, :, 0, 0], data.states[:, :1].repeat(C, 1))
    np.testing.assert_array_equal(x[:, :, 1, 2], data.states[:, 1:] + np.arange(C))


def test_episodes_come_apart_and_together_again() -> None:
    data = counting((4, 7, 1), 3, first_episode=5)
    parts = list(data.split())
    assert [len(part) for part in parts] == [1, 1, 1]
    for e, part in enumerate(parts):
        assert (part.frames[:, 0, 0] == 5 + e).all()
        assert (part.actions[:, 0] == 5 + e).all()
        np.testing.assert_array_equal(part.actions[:, 1], np.arange(data.lengths[e]))
    joined = dataset.join(parts)
    for name in ("frames", "actions", "states", "lengths"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(data, name))


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
    changed = Episodes(**arrays, provenance=changes.get("provenance", data.provenance))
    header: dict[str, Any] = {"schema": dataset.SCHEMA, "sha256": changed.content_hash}
    header |= {"provenance": changed.provenance, **changes.get("header", {})}
    np.savez(path, allow_pickle=True, header=np.array(json.dumps(header)), **arrays)


def test_a_file_gives_back_what_was_saved(path: Path) -> None:
    found, saved = dataset.load(path), noise_data((4, 7))
    for name in ("frames", "actions", "states", "lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))
        assert getattr(found, name).dtype == getattr(saved, name).dtype
    assert found.provenance == saved.provenance


def without(episodes: Episodes, name: str) -> Episodes:
    nothing: dict[str, Any] = {name: None}
    return dataclasses.replace(episodes, **nothing)


def test_what_a_world_tells_besides_is_kept(path: Path) -> None:
    """Colour, rewards, the goal region, goals and terminations; and each may be missing."""
    rng = np.random.default_rng(0)
    full = Episodes(
        frames=rng.integers(0, 256, (15, 2, 5, 3), np.uint8),
        actions=rng.standard_normal((11, 2)).astype(np.float32),
        lengths=np.array([4, 7]),
        states=rng.standard_normal((13, 3)),
        rewards=rng.standard_normal(11),
        in_goal=rng.random(13) < 0.5,
        goals=rng.integers(0, 256, (2, 2, 2, 5, 3), np.uint8),
        terminated=np.array([True, False]),
        provenance={"env": "Test/Tiny-v0"},
    )
    names = [item.name for item in dataclasses.fields(Episodes)]
    optional = ("states", "rewards", "in_goal", "goals", "terminated")
    for missing in (None, *optional):
        saved = without(full, missing) if missing else full
        saved.save(path)
        found = dataset.load(path)
        for name in names:
            np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))
    hashes = {without(full, name).content_hash for name in optional}
    assert len(hashes | {full.content_hash}) == 6


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rewards", np.zeros(10)),
        ("in_goal", np.zeros(11, bool)),
        ("goals", np.zeros((1, 3, 12, 6), np.uint8)),
        ("goals", np.zeros((2, 3, 12, 5), np.uint8)),
        ("terminated", np.zeros(3, bool)),
    ],
)
def test_optional_arrays_that_do_not_fit_are_refused(path: Path, name: str, wrong: Any) -> None:
    dataclasses.replace(noise_data((4, 7)), **{name: wrong}).save(path)
    assert name in refusal(path)


def test_a_file_of_the_older_format_is_read(path: Path) -> None:
    """Its hash is computed here as it was then, over four arrays in this order."""
    saved = noise_data((4, 7))
    arrays = {name: getattr(saved, name) for name in ("frames", "actions", "states", "lengths")}
    digest = hashlib.sha256(json.dumps(saved.provenance, sort_keys=True).encode())
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    about = {"schema": "e2c-dataset-1", "sha256": digest.hexdigest()}
    header = np.array(json.dumps({**about, "provenance": saved.provenance}))
    np.savez_compressed(path, allow_pickle=False, header=header, **arrays)
    found = dataset.load(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(found, name), array)
    assert found.rewards is found.in_goal is found.goals is found.terminated is None


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
    assert "its schema is 'e2c-dataset-0' and this version reads 'e2c-episodes-2'" in refusal(path)


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
        ({"frames": np.zeros((17, 2, 3, 2), np.uint8)}, "not [N, H, W, 3]"),
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
    assert "There is no file" in refusal(tmp_path / "none.npz")
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
