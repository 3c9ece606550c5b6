"""Arrays in files: what was written comes back, and no file costs more than it is worth."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import python

from e2c.errors import E2CError
from e2c.files import arrays

ARRAYS: dict[str, Any] = {
    "frames": np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2),
    "actions": np.linspace(-1, 1, 4, dtype=np.float32)[:, None],
    "states": np.linspace(0, 1, 14).reshape(7, 2),
    "nothing": np.zeros((0, 3), np.int64),
}
KINDS = {"frames": ("uint8", 3), "actions": ("float32", 2), "states": ("float64", 2)}
KINDS |= {"nothing": ("int64", 2)}
HEADER = {"schema": "test-1", "dt": 0.05, "from": [{"é": None}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    arrays.write(tmp_path / "file.npz", ARRAYS, HEADER)
    return tmp_path / "file.npz"


def refusal(path: Path) -> str:
    with pytest.raises(E2CError) as caught:
        arrays.read(path, KINDS, "make it again")
    message = str(caught.value)
    assert message.startswith(f"{path} was refused: ")
    assert message.endswith("; make it again.")
    assert message.isprintable()
    assert len(message) < 700
    return message


def member(array: Any) -> bytes:
    """The bytes of an array as a member of an archive."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def described(text: str, data: bytes = b"") -> bytes:
    """A member whose description is ``text``."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + data


def rewrite(path: Path, *more: tuple[str, bytes], **members: bytes | None) -> None:
    """Write the file again with other members; None leaves one out, ``more`` come last."""
    whole = {"header": member(json.dumps(HEADER))}
    whole |= {name: member(array) for name, array in ARRAYS.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**whole, **members}.items():
            if content is not None:
                archive.writestr(f"{name}.npy", content)
        for name, content in more:
            archive.writestr(name, content)


def test_arrays_and_header_come_back(path: Path) -> None:
    header, found = arrays.read(path, KINDS, "make it again")
    assert header == HEADER
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_the_file_is_an_archive_that_numpy_reads(path: Path) -> None:
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["states"], ARRAYS["states"])
        assert json.loads(str(archive["header"])) == HEADER


def test_equal_arrays_are_equal_files_however_they_lie_in_memory(path: Path) -> None:
    again = path.with_name("again.npz")
    turned = {name: np.asfortranarray(array) for name, array in ARRAYS.items()}
    arrays.write(again, turned, dict(reversed(HEADER.items())))
    assert again.read_bytes() == path.read_bytes()


def test_rewriting_alone_changes_nothing(path: Path) -> None:
    rewrite(path)
    assert arrays.read(path, KINDS, "make it again")[0] == HEADER


@pytest.mark.parametrize("name", ["header", "frames", "nothing"])
def test_a_missing_member_is_refused(path: Path, name: str) -> None:
    rewrite(path, **{name: None})
    assert "it holds [" in refusal(path)


@pytest.mark.parametrize("name", ["more.npy", "../up.npy", "/root.npy", "frames.npy", "a.txt"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_surplus_member_is_refused(path: Path, name: str) -> None:
    rewrite(path, (name, member(ARRAYS["frames"])))
    assert "it holds [" in refusal(path)
    assert os.listdir(path.parent) == [path.name]


WRONG_MEMBERS = {
    "of other type": (member(np.zeros((5, 3, 2), np.int8)), "int8 with 3 dim"),
    "of other size": (member(np.zeros((5, 6), np.uint8)), "uint8 with 2 dimensions"),
    "of objects": (member(np.array([[[{}]]], object)), "not a plain array|object"),
    "of records": (member(np.zeros(3, [("a", "u1")])), "not a plain array"),
    "of columns": (member(np.asfortranarray(np.zeros((5, 3, 2), np.uint8))), "not a plain array"),
    "too short": (member(ARRAYS["frames"])[:-1], "not as long as it says"),
    "too long": (member(ARRAYS["frames"]) + b"\0", "not as long as it says"),
    "empty": (b"", "not a plain array"),
    "a pickle": (b"\x80\x04K\x01.", "not a plain array"),
    "of a negative size": (
        described("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3, 2), }"),
        "not a plain array",
    ),
    "of a huge size": (
        described("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 3, 2), }"),
        "not as long as it says",
    ),
    "of a program": (
        described("{'descr': __import__('os'), 'fortran_order': False, 'shape': (1, 3, 2), }"),
        "not a plain array",
    ),
    "of a nested description": (described("(" * 9999), "not a plain array"),
}


@pytest.mark.parametrize("case", WRONG_MEMBERS)
def test_a_member_that_is_no_plain_array_is_refused(path: Path, case: str) -> None:
    content, reason = WRONG_MEMBERS[case]
    rewrite(path, frames=content)
    assert any(part in refusal(path) for part in reason.split("|"))


@pytest.mark.parametrize("header", ["", "{", "[1]", "[" * 99_999, "NaN", '{"a": 1e999}', "3"])
def test_a_header_that_is_no_table_is_refused(path: Path, header: str) -> None:
    rewrite(path, header=member(header))
    refusal(path)


def test_a_header_that_is_no_text_is_refused(path: Path) -> None:
    rewrite(path, header=member(np.zeros(3)))
    assert "header is float64 with 1 dimensions" in refusal(path)


def test_a_long_header_is_refused(path: Path) -> None:
    noise = np.random.default_rng(0).integers(33, 127, arrays.MAX_HEADER // 4 + 1, np.uint8)
    rewrite(path, header=member(noise.tobytes().decode()))
    assert "its header has more than 4,194,304 bytes" in refusal(path)


@pytest.mark.parametrize("name", ["actions", "states"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_counted_and_refused(
    path: Path, name: str, wrong: float
) -> None:
    array = ARRAYS[name].copy()
    array[1:3, 0] = wrong
    rewrite(path, **{name: member(array)})
    assert f"{name} holds 2 numbers that are not finite" in refusal(path)


def test_another_packing_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "header.npy is encrypted or packed in another way" in refusal(path)


def test_an_encrypted_member_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "header.npy is encrypted" in refusal(path)


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    assert "it is not an ordinary file" in refusal(path)
    with pytest.raises(E2CError, match="it is not an ordinary file; "):
        arrays.read_header(path, "record it again")


@pytest.mark.parametrize("other", ["/dev/zero", "/dev/null", "/"])
def test_what_the_system_calls_files_is_refused(other: str) -> None:
    assert "it is not an ordinary file" in refusal(Path(other))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "none.npz")


# --------------------------------------------------------------------------- bounded memory


def test_a_bomb_is_refused_by_its_declared_size(path: Path) -> None:
    rewrite(path, frames=member(np.zeros((400_000, 30, 10), np.uint8)))
    assert path.stat().st_size < 200_000
    assert "it declares 120,0" in refusal(path)


def test_frames_that_hardly_change_are_read(path: Path) -> None:
    """A real dataset is packed to a 23rd; half a million black pixels are no bomb."""
    rewrite(path, frames=member(np.zeros((50, 100, 100), np.uint8)))
    assert arrays.read(path, KINDS, "make it again")[1]["frames"].shape == (50, 100, 100)


def test_no_more_memory_is_taken_than_declared(path: Path) -> None:
    """Under a limit of 32 MiB more than the imports take, every hostile file is still a sentence.

    The files: 120 MB of zeros that claim to be short, and a list of a million members.
    """
    rewrite(path, frames=member(np.zeros((400_000, 30, 10), np.uint8)))
    bomb = bytearray(path.read_bytes())
    short = len(member(ARRAYS["frames"])).to_bytes(4, "little")
    place = bomb.index(b"frames.npy", bomb.index(b"PK\x01\x02")) - 46
    bomb[place + 24 : place + 28] = short
    path.write_bytes(bomb)
    many = path.with_name("many.npz")
    entry = b"PK\x01\x02" + bytes(24) + (1).to_bytes(2, "little") + bytes(16) + b"a"
    end = b"PK\x05\x06" + bytes(4) + b"\xff\xff\xff\xff"
    listed = entry * 1_000_000
    end += len(listed).to_bytes(4, "little") + bytes(6)
    many.write_bytes(listed + end)
    program = f"""
import resource, sys
from pathlib import Path
from e2c.files import arrays
from e2c.errors import E2CError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, used + 2**25))
for path in sys.argv[1:]:
    try:
        arrays.read(Path(path), {KINDS!r}, "make it again")
    except E2CError as error:
        print(error)
"""
    done = python("-c", program, str(path), str(many), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2, done.stdout
    assert "many.npz was refused: its list of members is too long" in done.stdout
