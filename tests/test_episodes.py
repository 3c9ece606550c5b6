"""Datasets: that windows are aligned, and that no damaged file is ever taken for a whole one."""

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from tiny import noise_data, task_of

from e2c.control.base import make_world, problem_spec
from e2c.data import episodes as dataset
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.learning.collect import load_data

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
    np.testing.assert_array_equal(data.observations(), x)
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


OPTIONAL = ("states", "rewards", "in_goal", "goals", "terminated")
ARRAYS = ("frames", "actions", "lengths", *OPTIONAL)


def coloured(lengths: tuple[int, ...], seed: int = 0) -> Episodes:
    """Episodes of noise in colour, of a world that tells everything: F = 2, m = 2, n = 3."""
    rng, E, steps = np.random.default_rng(seed), len(lengths), sum(lengths)
    return Episodes(
        frames=rng.integers(0, 256, (steps + 2 * E, H, W, 3), np.uint8),
        actions=rng.standard_normal((steps, 2)).astype(np.float32),
        lengths=np.array(lengths, np.int64),
        states=rng.standard_normal((steps + E, 3)),
        rewards=rng.standard_normal(steps),
        in_goal=rng.random(steps + E) < 0.5,
        goals=rng.integers(0, 256, (E, 2, H, W, 3), np.uint8),
        terminated=rng.random(E) < 0.5,
        provenance={"env": "Test/Tiny-v0", "seed": seed},
    )


def without(episodes: Episodes, name: str) -> Episodes:
    nothing: dict[str, Any] = {name: None}
    return dataclasses.replace(episodes, **nothing)


def assert_equal(found: Episodes, wanted: Episodes) -> None:
    for name in ARRAYS:
        one, other = getattr(found, name), getattr(wanted, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, name)


def test_all_that_a_world_tells_comes_apart_and_together_again() -> None:
    data = coloured((4, 7, 1))
    parts = list(data.split())
    for e, (part, T) in enumerate(zip(parts, (4, 7, 1), strict=True)):
        counts = (T + 2, T, 1, T + 1, T, T + 1, 1, 1)
        assert tuple(len(getattr(part, name)) for name in ARRAYS) == counts
        assert part.provenance == data.provenance
        assert part.frames_per_observation == 2
        np.testing.assert_array_equal(part.planes(), data.planes()[data.moment_rows(e)])
        assert data.goals is not None
        assert part.goals is not None
        np.testing.assert_array_equal(part.goals[0], data.goals[e])
    assert_equal(dataset.join(parts), data)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_only_some_parts_tell_is_not_kept(name: str) -> None:
    one, two = coloured((4, 7)), coloured((5,), seed=1)
    whole = dataset.join([one, two])
    for parts in ([without(one, name), two], [one, without(two, name)]):
        assert_equal(dataset.join(parts), without(whole, name))


@pytest.mark.parametrize("F", [1, 2, 3])
def test_the_rows_of_episodes_lie_one_after_another(F: int) -> None:
    data = counting((4, 7, 1), F)
    for rows, total in (
        (data.frame_rows, len(data.frames)),
        (data.action_rows, len(data.actions)),
        (data.moment_rows, 12 + 3),
    ):
        found = np.concatenate([np.arange(rows(e).start, rows(e).stop) for e in range(3)])
        np.testing.assert_array_equal(found, np.arange(total))
    assert [len(part.frames) for part in data.split()] == [4 + F, 7 + F, 1 + F]


def test_planes_of_colour_are_frames_in_order_each_with_its_channels() -> None:
    data = coloured((4, 7))
    planes, goals = data.planes(), data.goal_planes()
    assert planes.shape == (13, 6, H, W)
    assert goals is not None
    assert data.goals is not None
    for frame in range(2):
        for channel in range(3):
            plane = 3 * frame + channel
            for e, T in enumerate((4, 7)):
                first = data.frame_rows(e).start + frame
                np.testing.assert_array_equal(
                    planes[data.moment_rows(e), plane],
                    data.frames[first : first + T + 1, ..., channel],
                )
            np.testing.assert_array_equal(goals[:, plane], data.goals[:, frame, ..., channel])
    assert without(data, "goals").goal_planes() is None


@pytest.mark.parametrize("name", ARRAYS)
def test_the_hash_sees_every_array(name: str) -> None:
    data = coloured((4, 7))
    array = getattr(data, name).copy()
    last = array.reshape(-1)
    last[-1] = not last[-1] if array.dtype == bool else last[-1] + 1
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
    arrays |= {name: value for name, value in changes.items() if name in ARRAYS}
    changed = Episodes(**arrays, provenance=changes.get("provenance", data.provenance))
    header: dict[str, Any] = {"schema": dataset.SCHEMA, "sha256": changed.content_hash}
    header |= {"provenance": changed.provenance, **changes.get("header", {})}
    np.savez(path, allow_pickle=True, header=np.array(json.dumps(header)), **arrays)


def test_a_file_gives_back_what_was_saved(path: Path) -> None:
    found, saved = dataset.load(path), noise_data((4, 7))
    assert_equal(found, saved)
    assert found.provenance == saved.provenance


def test_what_a_world_tells_besides_is_kept(path: Path) -> None:
    """Colour, rewards, the goal region, goals and terminations; and each may be missing."""
    full = coloured((4, 7))
    for missing in (None, *OPTIONAL):
        saved = without(full, missing) if missing else full
        saved.save(path)
        assert_equal(dataset.load(path), saved)
    hashes = {without(full, name).content_hash for name in OPTIONAL}
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
    rewrite(path, **{name: wrong})
    assert name in refusal(path)


OLDER = Path(__file__).parent / "older.npz"
"""Two episodes of 2 steps, recorded with e2c-collect of version 0.1.0:
``--env E2C/Planar-v0 --transitions 4 --episode-length 2 --seed 7``."""


def test_a_file_of_the_older_format_is_read_and_has_the_same_hash() -> None:
    """Written when frames were grey and states always there; a run may have kept its hash."""
    with np.load(OLDER) as archive:
        header = json.loads(str(archive["header"]))
        wanted = {name: archive[name] for name in archive.files if name != "header"}
    assert header["schema"] == "e2c-dataset-1"
    found = dataset.load(OLDER)
    assert_equal(found, Episodes(**wanted))
    assert found.content_hash == header["sha256"]
    assert found.lengths.tolist() == [2, 2]
    assert found.states is not None
    task = task_of("E2C/Planar-v0")
    np.testing.assert_array_equal(found.planes(), task.observe(found.states))
    spec = problem_spec(make_world("E2C/Planar-v0"))
    assert load_data([OLDER], spec)[0].content_hash == header["sha256"]


def test_an_older_file_that_is_saved_again_is_one_of_today(path: Path) -> None:
    found = dataset.load(OLDER)
    found.save(path)
    again = dataset.load(path)
    assert_equal(again, found)
    assert again.content_hash == found.content_hash


def test_the_hash_of_what_older_files_hold_never_changes() -> None:
    """The numbers of a file of today; were they others, finished runs would not know their data."""
    assert noise_data((4, 7)).content_hash[:16] == "017451c492d9dfbb"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provenance": {}}, "its provenance is {}, which needs the id of an environment: 'env'"),
        ({"provenance": None}, "its provenance is None"),
        ({"provenance": {"env": "a", "seed": np.int64(3)}}, "int64 is not JSON serializable"),
        ({"provenance": {"env": "a", "dt": np.nan}}, "(NaN is not a finite number)"),
        ({"provenance": {"env": "a", "x": {2: 0, 10: 0}}}, "(a key is no text)"),
        ({"provenance": {"env": "a", 2: 0}}, "is not plain JSON whose keys are texts"),
        ({"actions": np.zeros((11, 2))}, "float64 with 2 dimensions, and must be float32 with 2"),
        ({"lengths": np.array([4, 7], np.int32)}, "lengths is int32 with 1 dimensions"),
        ({"frames": np.zeros(17, np.uint8)}, "must be uint8 with 3 or 4"),
        ({"lengths": np.array([4, 8])}, "rows where the lengths"),
        ({"actions": np.full((11, 2), np.nan, np.float32)}, "actions holds 22 numbers that are"),
        ({"states": np.full((13, 2), np.inf)}, "states holds 26 numbers that are not finite"),
        ({"rewards": np.zeros(10)}, "rewards has 10 rows"),
        ({"lengths": [4, 7]}, "lengths is [4, 7], which is no NumPy array"),
        ({"actions": None}, "actions is None, which is no NumPy array"),
    ],
)
def test_what_would_be_refused_is_not_written(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "new" / "data.npz"
    with pytest.raises(E2CError) as caught:
        dataclasses.replace(noise_data((4, 7)), **changes).save(path)
    message = str(caught.value)
    assert reason in message
    assert message.startswith(f"{path} was not written")
    assert "\n" not in message
    assert not path.parent.exists()


def test_arrays_that_were_changed_in_place_are_saved_with_their_own_hash(path: Path) -> None:
    data = noise_data((4, 7))
    before = data.content_hash
    data.actions[:] = 0
    data.save(path)
    assert dataset.load(path).content_hash == data.content_hash != before


def test_a_save_hashes_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the hash is known afterwards: the arrays may be larger than memory."""
    data, hashing = noise_data((4, 7)), mock.Mock(wraps=hashlib.sha256)
    monkeypatch.setattr(hashlib, "sha256", hashing)
    data.save(path)
    assert data.content_hash
    assert hashing.call_count == 1


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
    assert "e2c-import makes one of your own videos" in refusal(tmp_path / "none.npz")
    assert f"is a folder, not a file of episodes (.npz); e2c-import {tmp_path}" in refusal(tmp_path)
    np.savez(tmp_path / "raw.npz", frames=np.zeros(1), actions=np.zeros(1))
    assert "or of your own videos or arrays with e2c-import." in refusal(tmp_path / "raw.npz")


def test_a_path_may_be_text_and_its_name_ends_in_npz(tmp_path: Path) -> None:
    noise_data((5,)).save(f"{tmp_path}/new/data.npz")
    assert dataset.load(f"{tmp_path}/new/data.npz").transitions == 5
    for name in ("data", "data.NPZ", "data.csv"):
        with pytest.raises(E2CError, match=r"its name must end in \.npz\.$"):
            noise_data((5,)).save(tmp_path / name)


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
