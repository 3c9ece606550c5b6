"""Data larger than memory: what is not packed stays on disk, and trains the same model."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import python
from test_arrays import ARRAYS, HEADER, KINDS, WRONG_MEMBERS, member
from test_episodes import coloured
from tiny import CONFIG, noise_data

from e2c.config import Recipe
from e2c.data import episodes as recorded
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.files import arrays
from e2c.learning import drawings
from e2c.learning.run import train

REMEDY = "make it again"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is written while everything is large."""
    monkeypatch.setattr(arrays, "LARGE", 0)
    arrays.write(tmp_path / "file.npz", ARRAYS, HEADER)
    return tmp_path / "file.npz"


def test_large_arrays_are_mapped_and_equal_to_what_was_written(path: Path) -> None:
    header, found = arrays.read(path, KINDS, REMEDY)
    assert header == HEADER == arrays.read_header(path, REMEDY)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert isinstance(found[name], np.memmap) == (array.size > 0)
        assert (found[name].dtype, found[name].flags.writeable) == (array.dtype, False)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["states"], ARRAYS["states"])


def test_small_arrays_are_packed_and_in_memory(tmp_path: Path) -> None:
    arrays.write(tmp_path / "file.npz", ARRAYS, HEADER)
    found = arrays.read(tmp_path / "file.npz", KINDS, REMEDY)[1]
    assert not any(isinstance(array, np.memmap) for array in found.values())


def test_a_flipped_bit_in_an_array_on_disk_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for name in ARRAYS.keys() - {"nothing"}:
        damaged = bytearray(whole)
        damaged[whole.index(np.ascontiguousarray(ARRAYS[name]).tobytes())] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(E2CError, match=rf"was refused: .*{name}.*; make it again\.$"):
            arrays.read(path, KINDS, REMEDY)


@pytest.mark.parametrize("case", WRONG_MEMBERS)
def test_a_member_on_disk_that_is_no_plain_array_is_refused(path: Path, case: str) -> None:
    content, reason = WRONG_MEMBERS[case]
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, whole in {**members, "frames.npy": content}.items():
            archive.writestr(name, whole)
    with pytest.raises(E2CError, match=rf"was refused: .*({reason})"):
        arrays.read(path, KINDS, REMEDY)


def test_a_member_that_would_go_beyond_the_file_is_refused(path: Path) -> None:
    """Its length is a lie in the list of members, and in the array's own description."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"frames.npy", content.index(b"PK\x01\x02")) - 46
    for place in (entry + 20, entry + 24):
        length = int.from_bytes(content[place : place + 4], "little") + 6_000_000
        content[place : place + 4] = length.to_bytes(4, "little")
    at = content.index(b"(5, 3, 2), }          ")
    content[at : at + 22] = b"(1000005, 3, 2), }    "
    path.write_bytes(content)
    with pytest.raises(E2CError, match=r"file.npz was refused: .*; make it again\.$"):
        arrays.read(path, KINDS, REMEDY)


def test_any_archive_of_plain_arrays_is_read(tmp_path: Path) -> None:
    """As others write them: in columns, of other types, not packed."""
    told: dict[str, Any] = {"a": np.asfortranarray(ARRAYS["frames"]), "b": np.arange(3) > 1}
    np.savez(tmp_path / "own.npz", **told)
    with zipfile.ZipFile(tmp_path / "own.npz") as archive:
        for name, array in told.items():
            np.testing.assert_array_equal(arrays.member(archive, name), array)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("a.npy", member(np.array([{}])))
    with (
        zipfile.ZipFile(tmp_path / "bad.npz") as archive,
        pytest.raises(ValueError, match="a is not a plain array"),
    ):
        arrays.member(archive, "a")


def test_batches_from_disk_are_those_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(recorded, "PIECE", 3)
    data = [coloured((4, 7)), coloured((5,))]
    for number, part in enumerate(data):
        part.save(tmp_path / f"{number}.npz")
    mapped = [recorded.load(tmp_path / f"{number}.npz") for number in range(2)]
    assert all(isinstance(part.frames, np.memmap) for part in mapped)
    ours, theirs = (Windows(some, 3, 0.5, torch.device("cpu")) for some in (mapped, data))
    found, wanted = (
        w.sample(40, [0, 2, 3], torch.Generator().manual_seed(0)) for w in (ours, theirs)
    )
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert torch.equal(ours.frames, theirs.frames)
    frames = np.concatenate([part.frames for part in data])
    mean = np.tile(np.moveaxis(frames, -1, 1).mean(0, dtype=np.float32) / 255, (2, 1, 1))
    assert torch.equal(ours.mean_observation, torch.from_numpy(mean))
    np.testing.assert_array_equal(np.concatenate(list(mapped[0].plane_pieces())), data[0].planes())


def test_training_from_disk_gives_the_same_weights_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "draw", lambda *_: np.zeros(3))
    made: dict[str, Any] = {
        "parameters": {"dt": 0.1, "control_low": [-2.0, -0.5], "control_high": [2.0, 0.25]},
        "camera": {"size": [12, 6], "frames": 3},
        "env": recorded.RECORDING,
        "episode_steps": 7,
    }
    data = dataclasses.replace(noise_data((4, 7, 5)), provenance=made)
    weights = []
    for large in (arrays.LARGE, 0):
        monkeypatch.setattr(arrays, "LARGE", large)
        folder = tmp_path / str(large)
        data.save(folder / "data.npz")
        assert isinstance(recorded.load(folder / "data.npz").frames, np.memmap) == (large == 0)
        np.save(folder / "goal.npy", data.frames[:3])
        recipe = Recipe(CONFIG, goal=str(folder / "goal.npy"), data=(str(folder / "data.npz"),))
        weights.append(train(recipe, folder / "run").model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_memory_need_not_hold_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a limit of half of the file more than the imports take, batches and means are had."""
    monkeypatch.setattr(arrays, "LARGE", 0)
    lengths, path = np.full(16, 148, np.int64), tmp_path / "data.npz"
    frames = np.zeros((16 * 150, 200, 200), np.uint8)
    actions = np.zeros((16 * 148, 1), np.float32)
    recorded.Episodes(frames, actions, lengths, provenance={"env": "Test/Large"}).save(path)
    program = f"""
import resource, sys
from pathlib import Path
import torch
from e2c.data import episodes
from e2c.data.windows import Windows
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
most = used + {path.stat().st_size // 2}
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
data = episodes.load(Path({str(path)!r}))
windows = Windows([data], 10, 0.5, torch.device("cpu"))
x, u = windows.sample(8, [0, 10], torch.Generator().manual_seed(0))
print(x.shape, windows.mean_observation.shape, sum(map(len, data.plane_pieces())))
try:
    data.planes()
except MemoryError:
    print("all at once is too much")
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all at once is too much"
