"""Recordings of others: what is made of them, and one sentence for whatever does not fit."""

import dataclasses
import os
import re
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import CONFIG

import e2c
from e2c.config import Recipe
from e2c.data import episodes as recorded
from e2c.data.episodes import RECORDING, Episodes
from e2c.data.formats import ImportOptions, _is_even, import_recording
from e2c.data.tables import read_actions
from e2c.data.takes import _step
from e2c.errors import E2CError
from e2c.learning.collect import spec_of
from e2c.learning.run import train
from e2c.report.video import write_video
from envs import Camera

SMALL = Camera(size=(12, 6), frames=3)
OPTIONS = ImportOptions(SMALL, control_low=(-2.0, -1.0), control_high=(2.0, 1.0))
LENGTHS = (9, 5)
RECORDED = dataclasses.replace(CONFIG, env=RECORDING)


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (24, 18)) -> NDArray[np.uint8]:
    """Coarse noise in colour, which survives the compression of videos: ``[count, h, w, 3]``."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, size[0] // 6, size[1] // 6, 3))
    return coarse.repeat(6, 1).repeat(6, 2).astype(np.uint8)


def controls(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)


def arrays(**changes: Any) -> dict[str, Any]:
    """Two episodes of 9 and 5 frames with an action for each frame."""
    N = sum(LENGTHS)
    whole = {"frames": pictures(N), "actions": controls(N), "lengths": np.array(LENGTHS)}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def saved(folder: Path, **changes: Any) -> Path:
    np.savez(folder / "own.npz", **arrays(**changes))
    return folder / "own.npz"


def check(found: Episodes, frames: NDArray[np.uint8], actions: NDArray[np.float32]) -> None:
    """Compare what was imported with frames and actions of `LENGTHS`, one action for each frame."""
    assert found.lengths.tolist() == [6, 2]
    assert found.frames_per_observation == 3
    np.testing.assert_array_equal(found.frames, [SMALL.frame(picture) for picture in frames])
    np.testing.assert_array_equal(found.actions, np.concatenate([actions[2:8], actions[11:13]]))


def test_arrays_become_episodes(tmp_path: Path) -> None:
    found, whole = import_recording(saved(tmp_path), OPTIONS), arrays()
    check(found, whole["frames"], whole["actions"])
    assert found.provenance["env"] == RECORDING
    assert found.provenance["parameters"] == {
        "dt": 1 / 30,
        "control_low": [-2.0, -1.0],
        "control_high": [2.0, 1.0],
    }
    found.save(tmp_path / "data.npz")
    again = recorded.load(tmp_path / "data.npz")
    assert again.content_hash == found.content_hash


@pytest.mark.parametrize(
    "ends",
    [{"ends": np.array([9, 14])}, {"ends": np.isin(np.arange(14), [8, 13])}],
    ids=["index", "truth"],
)
def test_ends_are_as_good_as_lengths(tmp_path: Path, ends: dict[str, Any]) -> None:
    found = import_recording(saved(tmp_path, lengths=None, **ends), OPTIONS)
    check(found, arrays()["frames"], arrays()["actions"])


def test_actions_between_frames_are_as_good_as_one_for_each(tmp_path: Path) -> None:
    actions = arrays()["actions"]
    between = np.delete(actions, [8, 13], axis=0)
    found = import_recording(saved(tmp_path, actions=between), OPTIONS)
    check(found, arrays()["frames"], actions)


def test_arrays_in_a_folder_and_a_single_episode(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", pictures(14))
    np.save(tmp_path / "actions.npy", controls(14)[:, 0])
    found = import_recording(tmp_path, ImportOptions(SMALL))
    assert found.lengths.tolist() == [11]
    assert found.actions.shape == (11, 1)
    assert found.provenance["parameters"]["control_low"] == [float(found.actions.min())]


def test_grey_frames_of_the_cameras_size_stay_as_they_are(tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (14, 12, 6)).astype(np.uint8)
    for frames in (grey, grey[..., None]):
        found = import_recording(saved(tmp_path, frames=frames), OPTIONS)
        assert np.abs(found.frames.astype(int) - grey).max() <= (frames.ndim == 4)


def test_pictures_of_another_resolution_are_cropped_at_the_same_place(tmp_path: Path) -> None:
    camera = dataclasses.replace(SMALL, crop=(0, 12, 6, 18))
    options = dataclasses.replace(OPTIONS, camera=camera)
    once = import_recording(videos(tmp_path), options)
    assert once.provenance["picture_size"] == [24, 18]
    larger = pictures(14)[9:].repeat(2, 1).repeat(2, 2)
    write_video(tmp_path / "b.mp4", larger, fps=20)
    twice = import_recording(tmp_path, options)
    assert np.abs(once.frames - twice.frames.astype(int)).mean() < 6, "videos lose a little"


def test_colour_stays_colour(tmp_path: Path) -> None:
    camera = dataclasses.replace(SMALL, colour=True, frames=1, crop=(0, 12, 6, 18))
    found = import_recording(saved(tmp_path), dataclasses.replace(OPTIONS, camera=camera))
    assert found.layout.shape == (1, 12, 6, 3)
    np.testing.assert_array_equal(found.frames[4], camera.frame(arrays()["frames"][4]))


def videos(folder: Path, table: str = "csv") -> Path:
    """Two videos with their tables; the numbers of a .csv are those of the .npy."""
    first = 0
    for name, N in zip("ab", LENGTHS, strict=True):
        write_video(folder / f"{name}.mp4", pictures(14)[first : first + N], fps=20)
        part = controls(14)[first : first + N]
        if table == "npy":
            np.save(folder / f"{name}.npy", part)
        else:
            np.savetxt(folder / f"{name}.csv", part, delimiter=",", fmt="%.9g")
        first += N
    return folder


@pytest.mark.parametrize("table", ["csv", "npy"])
def test_a_suffix_may_be_written_in_capitals(tmp_path: Path, table: str) -> None:
    for path in list(videos(tmp_path, table).iterdir()):
        path.rename(path.with_suffix(path.suffix.upper()))
    assert import_recording(str(tmp_path), OPTIONS).lengths.tolist() == [6, 2]


def test_hidden_files_are_no_videos(tmp_path: Path) -> None:
    """A Mac leaves them on the sticks of others."""
    (videos(tmp_path) / "._a.mp4").write_bytes(b"Mac OS X")
    assert import_recording(tmp_path, OPTIONS).lengths.tolist() == [6, 2]


@pytest.mark.parametrize("table", ["csv", "npy"])
def test_videos_become_episodes(tmp_path: Path, table: str) -> None:
    found, whole = import_recording(videos(tmp_path, table), OPTIONS), pictures(14)
    assert found.lengths.tolist() == [6, 2]
    np.testing.assert_array_equal(found.actions[:6], controls(14)[2:8])
    expected = np.stack([SMALL.frame(picture) for picture in whole]).astype(int)
    assert np.abs(found.frames - expected).mean() < 6, "videos lose a little"
    assert found.provenance["parameters"]["dt"] == 0.05


def turn(video: Path, matrix: tuple[int, int, int, int]) -> None:
    """Let players turn a video: its file says so in the matrix of its track's header."""
    content = bytearray(video.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (number << 16 for number in matrix)
    assert content[start : start + 36] == struct.pack(
        ">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30
    )
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    video.write_bytes(content)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_videos_are_turned_as_players_turn_them(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    """Phones record so; a goal that was taken from a player is turned."""
    write_video(tmp_path / "a.mp4", pictures(9), fps=20)
    np.save(tmp_path / "a.npy", controls(9))
    turn(tmp_path / "a.mp4", matrix)
    player = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    shown = [SMALL.frame(player.read()[1][..., ::-1].astype(np.uint8)) for _ in range(9)]
    found = import_recording(tmp_path, OPTIONS)
    assert np.abs(found.frames - np.stack(shown).astype(int)).mean() < 2


def write_unevenly(path: Path, times: Sequence[int]) -> None:
    """Write a video whose pictures are shown at times that are counted in 1/20 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 18, 24, "yuv420p"
        for time, picture in zip(times, pictures(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_that_lost_frames_is_refused_unless_the_control_step_is_given(
    tmp_path: Path, suffix: str
) -> None:
    np.save(tmp_path / "a.npy", controls(9))
    write_unevenly(tmp_path / f"a.{suffix}", range(9))
    assert import_recording(tmp_path, OPTIONS).provenance["parameters"]["dt"] == 0.05
    write_unevenly(tmp_path / f"a.{suffix}", [*range(5), *range(6, 10)])
    told = r"between two of them lie from 0.05 s to 0.1 s: it lost frames, .* as --dt 0.05\.$"
    with pytest.raises(E2CError, match=told):
        import_recording(tmp_path, OPTIONS)
    found = import_recording(tmp_path, dataclasses.replace(OPTIONS, dt=0.05))
    assert found.lengths.tolist() == [6]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_the_times_of_pictures_count_where_a_header_tells_another_rate(
    tmp_path: Path, suffix: str
) -> None:
    """As players go by them; 24 pictures a second is what the header gets where none is given."""
    np.save(tmp_path / "a.npy", controls(9))
    milliseconds, path = Fraction(1, 1000), str(tmp_path / f"a.{suffix}")
    with av.open(path, "w") as container:
        stream = container.add_stream("libvpx" if suffix == "webm" else "libx264")
        stream.width, stream.height, stream.pix_fmt = 18, 24, "yuv420p"
        stream.time_base = stream.codec_context.time_base = milliseconds
        for i, picture in enumerate(pictures(9)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 50 * i, milliseconds
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert import_recording(tmp_path, OPTIONS).provenance["parameters"]["dt"] == 0.05


def test_a_video_without_a_rate_has_the_mean_time_between_its_pictures() -> None:
    gaps = [Fraction(33, 1000), Fraction(34, 1000), Fraction(33, 1000)]
    assert _step(None, gaps) == Fraction(1, 30)
    assert _step(Fraction(2997, 100), gaps) == Fraction(100, 2997)
    assert _step(Fraction(24), gaps) == Fraction(1, 30)
    assert _step(Fraction(24), []) == Fraction(1, 24)
    assert _step(None, []) is None
    assert _step(None, [Fraction()]) is None


def unevenness() -> dict[str, tuple[NDArray[np.float64], bool]]:
    """Times of frames, about 1 step apart, and whether they are even."""
    i = np.arange(600)
    jitter = np.random.default_rng(0).uniform(-0.15, 0.15, 600)
    return {
        "even": (i, True),
        "30 fps in milliseconds": (np.round(i * 1000 / 30) * 0.03, True),
        "240 fps in milliseconds": (np.round(i * 1000 / 240) * 0.24, True),
        "jitter": (i + jitter, True),
        "a clock of its own": (i * 1.01, True),
        "one lost": (i + (i > 300), False),
        "every second lost in the second half": (np.where(i < 300, i, 2 * i - 300), False),
        "slower and slower": (np.cumsum(1 + 0.4 * i / 600), False),
        "darker in the middle": (np.cumsum(np.where(abs(i - 300) < 50, 1.2, 1)), False),
        "faster at the end": (np.cumsum(np.where(i > 550, 0.9, 1)), False),
        "a pair that came together": (i - 0.6 * (i == 300), False),
    }


@pytest.mark.parametrize("case", unevenness())
def test_frames_come_at_an_even_rate_from_begin_to_end(case: str) -> None:
    times, even = unevenness()[case]
    gaps = np.diff(times)
    assert _is_even(gaps / gaps.mean()) == even


def test_a_column_of_times_is_no_control(tmp_path: Path) -> None:
    for begin in (0.0, 1.8e9):  # a clock counts from the start, or from 1970
        times = begin + np.concatenate([0.05 * np.arange(N) for N in LENGTHS])
        timed = np.column_stack([controls(14)[:, 0], times])
        with pytest.raises(E2CError, match=r"^Column 1 of .* only rises, as times or indices do;"):
            import_recording(saved(tmp_path, actions=timed), ImportOptions(SMALL))
    timed[3, 1] += 0.2
    found = import_recording(saved(tmp_path, actions=timed - [0, begin]), ImportOptions(SMALL))
    assert found.actions.shape == (8, 2)


def test_times_that_were_rounded_are_no_control_and_a_step_is(tmp_path: Path) -> None:
    def import_beside_a_control(column: NDArray[np.float64]) -> Episodes:
        actions = np.column_stack([controls(40)[:, 0], column])
        source = saved(tmp_path, frames=pictures(40), actions=actions, lengths=None)
        return import_recording(source, ImportOptions(SMALL))

    for decimals in (1, 2):
        with pytest.raises(E2CError, match=r"^Column 1 of .* only rises"):
            import_beside_a_control(np.round(0.05 * np.arange(40), decimals))
    for control in (np.arange(40) > 20, np.clip(np.arange(40) / 20, 0, 1), -np.arange(40) // 2):
        assert import_beside_a_control(control.astype(float)).actions.shape == (37, 2)


@pytest.mark.parametrize("name", ["t", "Time", "time [s]", "timestamp_ms", "# Time"])
def test_what_is_called_time_and_never_falls_is_no_control(tmp_path: Path, name: str) -> None:
    table = tmp_path / "a.csv"
    table.write_text(f"{name},force\n0.0,1\n0.0,2\n1.0,1\n")
    with pytest.raises(E2CError, match=r"its column '.*[Tt].*' holds times: leave it out"):
        read_actions(table)
    table.write_text("torque,t,time_constant\n0.5,2,1\n1.5,1,2\n")
    assert read_actions(table).shape == (2, 3)


def test_frame_rates_may_differ_as_those_of_one_camera_do(tmp_path: Path) -> None:
    write_video(videos(tmp_path) / "b.mp4", pictures(5), fps=20.2)
    assert import_recording(tmp_path, OPTIONS).provenance["parameters"]["dt"] == 0.05
    write_video(tmp_path / "b.mp4", pictures(5), fps=20.6)
    with pytest.raises(E2CError, match=r"b.mp4 shows a frame every 0.04854 s, and .* every 0.05 s"):
        import_recording(tmp_path, OPTIONS)


def test_frame_rates_may_differ_where_the_control_step_is_given(tmp_path: Path) -> None:
    slower(videos(tmp_path))
    found = import_recording(tmp_path, dataclasses.replace(OPTIONS, dt=0.25))
    assert found.provenance["parameters"]["dt"] == 0.25


@pytest.mark.parametrize(
    "text",
    [
        "1.5,-2\n0.25,3\n",
        "\ufeff1.5,-2\n0.25,3",
        "push,turn\n1.5,-2\n0.25,3\n\n",
        "\ufeffpush;turn\n1,5;-2\n0,25;3\n",
        "1.5\t-2\r\n0.25\t3\r\n",
    ],
    ids=["plain", "BOM", "header", "BOM, header and decimal commas", "tabs"],
)
def test_a_csv_may_have_a_header_a_mark_and_decimal_commas(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    np.testing.assert_array_equal(read_actions(tmp_path / "a.csv"), [[1.5, -2], [0.25, 3]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("push\n0,5\n1,5\n", "its rows have 1 to 2 columns: is a comma the decimal sign"),
        ("1,2\n3,four\n", "line 2 holds 'four', which is no finite number: correct it"),
        ('a,b\n1,2\n"3\n",x\n', "line 4 holds 'x', which is no finite number"),
        ("1,2\n3,\n", "line 2 holds '', which is no finite number"),
        ("0.5 2\n1.5 3\n", r"line 1 holds \['0.5 2'\], .* separated by commas, tabs or"),
        ("0,25\n-1,5\n", "its numbers are all whole, .* where a comma is the decimal sign"),
        ("turn\n0\n1\n", "its numbers are all whole, as indices are: write 1.0"),
        ("1,nan\n", "line 1 holds 'nan', which is no finite number"),
        ("x\n1\n2e39\n", "line 3 holds '2e39', which is no finite number"),
        ("a\rb\r", "cannot be read"),
        ("push,turn\n", "it has no rows of numbers"),
        ("", "it has no rows of numbers"),
    ],
)
def test_a_csv_that_is_no_table_of_numbers(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    with pytest.raises(E2CError, match=told):
        read_actions(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('push\n0.5\n""\n1.5\n', 3),
        ("push\n0.5\n\n1.5\n", 3),
        ("push,turn\n0.5,1\n , \n1.5,2\n,\n", 3),
        ("\n0.5\n1.5\n", 1),
    ],
    ids=["pandas", "blank", "spaces", "first"],
)
def test_an_empty_row_is_not_skipped_since_all_later_actions_would_shift(
    tmp_path: Path, text: str, line: int
) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    with pytest.raises(E2CError, match=f"line {line} is empty and others follow"):
        read_actions(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "first", ["-0.5.1,2", "0.5x,1y", "NA,0.5", "0.5,", "#N/A,null", "left,0.5", "time,torque 3,3"]
)
def test_a_first_row_that_was_damaged_is_no_header(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.csv").write_text(f"{first}\n0.25,3\n", "utf-8")
    with pytest.raises(E2CError, match=r"line 1 holds .* neither numbers alone nor names alone"):
        read_actions(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "first", ["push,turn 2", "# push (N),-turn", ",force", "µ,_1", "narrow,nullify"]
)
def test_words_are_a_header(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.csv").write_text(f"{first}\n0.25,3\n,\n\n", "utf-8")
    np.testing.assert_array_equal(read_actions(tmp_path / "a.csv"), [[0.25, 3]])


def test_a_table_in_another_code_is_refused(tmp_path: Path) -> None:
    for code in ("utf-16", "utf-16-le", "latin-1"):
        (tmp_path / "a.csv").write_text("Kraft µ\n0.5\n", code)
        with pytest.raises(E2CError, match=r"is no text in UTF-8: save it as UTF-8, which Excel"):
            read_actions(tmp_path / "a.csv")


def test_a_table_that_is_no_text_or_no_array(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.npy").write_bytes(b"no array")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    for name in ("a.csv", "a.npy", "o.npy", "missing.npy"):
        with pytest.raises(E2CError, match=f"The actions in .*{name} cannot be read"):
            read_actions(tmp_path / name)


NAN = controls(14)
NAN[3, 1] = np.nan
BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "integers": ({"actions": np.ones((14, 2), np.int64)}, "are int64 .*if they are not"),
    "NaN": ({"actions": NAN}, r"Action 3 in .* is \[.*nan\]; every control"),
    "beyond": ({"actions": 3 * controls(14)}, r"is \[.*\], outside the limits"),
    "more": ({"actions": controls(15)}, "14 frames in 2 episodes and 15 actions"),
    "fewer": ({"actions": controls(11)}, "14 frames in 2 episodes and 11 actions"),
    "three": ({"actions": np.zeros((14, 2, 2), np.float32)}, r"float32 of shape \[14, 2, 2\]"),
    "another m": ({"actions": controls(14)[:, :1]}, "control_low has 2 numbers and .* 1 controls"),
    "black": (
        {"frames": 0 * pictures(14)},
        "shows nothing at 12x6 pixels: every pixel of its 9 frames is 0",
    ),
    "equal": ({"frames": np.repeat(pictures(1), 14, 0)}, "All frames of .* are equal"),
    "floats": ({"frames": pictures(14) / 255}, r"are float64 of .*they must be uint8 \[N, h, w\]"),
    "planes first": ({"frames": pictures(14).transpose(0, 3, 1, 2)}, "they must be uint8"),
    "no frames": ({"frames": None}, "has no array 'frames'"),
    "no actions": ({"actions": None}, "has no array 'actions'"),
    "lengths": ({"lengths": np.array([9, 6])}, r"do not add up: it has 14 frames, .* \[9, 6\]"),
    "an empty one": ({"lengths": np.array([14, 0])}, "do not add up"),
    "short": ({"lengths": np.array([11, 3])}, "Episode 1 .* has 3 frames; an observation has 3"),
    "words": (
        {"lengths": None, "ends": np.array(["a"])},
        r"<U1 of shape \[1\]; .* \[E\].*, or bool \[N\]",
    ),
    "one number": ({"lengths": np.array(14)}, r"int64 of shape \[\]; they must be whole numbers"),
    "fraction": (
        {"lengths": np.array([9.0, 5.0])},
        "lengths in .* are float64 of .* whole numbers",
    ),
    "flags": ({"lengths": np.ones(14, bool)}, r"are bool of .* for each episode\.$"),
    "no ends": ({"lengths": None, "ends": np.zeros(14, bool)}, r"do not add up: .* tell of \[\]"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit(tmp_path: Path, case: str) -> None:
    changes, told = BAD_ARRAYS[case]
    with pytest.raises(E2CError, match=told) as raised:
        import_recording(saved(tmp_path, **changes), OPTIONS)
    assert re.fullmatch(r"[^\n]+\.", str(raised.value))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"control_low": (2.0, -1.0)}, "Control 0 of .* would go from 2 to 2; give control_low"),
        ({"camera": Camera(crop=(0, 30, 0, 9))}, "does not fit the camera: The crop"),
        ({"camera": Camera(size=(0, 9))}, r"^The camera's size is \(0, 9\); it is 2 whole"),
        ({"dt": 0.0}, "dt is 0.0; it must be at least 1e-06"),
        ({"control_low": (np.nan, -1.0)}, "control_low is nan; it must be a finite number"),
        ({"camera": Camera(repeat=2)}, "A recording has its own steps"),
        ({"camera": Camera(renderer="mujoco")}, "A recording has its own pictures"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(E2CError, match=told):
        import_recording(saved(tmp_path), dataclasses.replace(OPTIONS, **changes))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((5,), "source is 5; it must be the path of a recording, or minari:NAME"),
        ((None,), "source is None; it must be the path"),
        (("own.npz", "small"), "options is 'small'; it must be ImportOptions"),
        (("own.npz", {"dt": 0.1}), "options is {'dt': 0.1}; it must be ImportOptions"),
    ],
)
def test_arguments_of_another_type(arguments: Any, told: str) -> None:
    with pytest.raises(E2CError, match=told):
        import_recording(*arguments)


def cut(folder: Path) -> None:
    content = (folder / "b.mp4").read_bytes()
    (folder / "b.mp4").write_bytes(content[: len(content) // 2])


def longer(folder: Path) -> None:
    (folder / "b.csv").write_text((folder / "b.csv").read_text() * 2)


def slower(folder: Path) -> None:
    write_video(folder / "b.mp4", pictures(5), fps=10)


def wider(folder: Path) -> None:
    np.savetxt(folder / "b.csv", np.ones((5, 3)), delimiter=",")


def black(folder: Path) -> None:
    write_video(folder / "b.mp4", 0 * pictures(5), fps=20)


def still(folder: Path) -> None:
    for name, N in zip("ab", LENGTHS, strict=True):
        write_video(folder / f"{name}.mp4", pictures(1).repeat(N, 0), fps=20)


def upright(folder: Path) -> None:
    write_video(folder / "b.mp4", pictures(5).transpose(0, 2, 1, 3), fps=20)


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "b.mp4 cannot be decoded .*; copy or convert it again"),
    "text": (lambda f: (f / "b.mp4").write_text("text"), "b.mp4 cannot be decoded"),
    "empty": (lambda f: (f / "a.mp4").write_bytes(b""), "a.mp4 cannot be decoded"),
    "no table": (lambda f: (f / "b.csv").unlink(), "b.mp4 has no table of actions; .* b.csv or"),
    "two tables": (lambda f: np.save(f / "b.npy", controls(5)), "has two tables of actions"),
    "longer": (longer, "b.mp4 has 5 frames and 10 actions; give one for each frame"),
    "wider": (wider, "b.mp4 has 3 controls and the episodes before it 2"),
    "slower": (slower, r"b.mp4 shows a frame every 0.1 s, and .*a.mp4 every 0.05 s; .* --dt 0.05"),
    "still": (still, "All frames of .* are equal at 12x6 pixels, up to 12 grey levels; there is"),
    "black": (black, "b.mp4 shows nothing at 12x6 pixels: every pixel of its 5 frames is 0; leave"),
    "upright": (upright, r"b.mp4 .*: The picture of 18x24 pixels .* another shape than .* 24x18;"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_videos_that_do_not_fit(tmp_path: Path, case: str) -> None:
    spoil, told = BAD_FOLDERS[case]
    spoil(videos(tmp_path))
    with pytest.raises(E2CError, match=told) as raised:
        import_recording(tmp_path, OPTIONS)
    assert re.fullmatch(r"[^\n]+\.", str(raised.value))


@pytest.mark.parametrize("name", ["a.mp4", "a.npy", "frames.npy", "actions.npy"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / "a.mp4", pictures(9), fps=20)
    np.save(tmp_path / "a.npy", controls(9))
    if name in ("frames.npy", "actions.npy"):
        np.save(tmp_path / "frames.npy", pictures(9))
        np.save(tmp_path / "actions.npy", controls(9))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(E2CError, match=r"\(it is not an ordinary file\)"):
        import_recording(tmp_path, OPTIONS)


def test_a_place_without_a_recording(tmp_path: Path) -> None:
    with pytest.raises(E2CError, match=r"holds no videos \(.mp4, .mov, .*\) and no frames.npy"):
        import_recording(tmp_path, OPTIONS)
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "video.mp4").write_text("text")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(E2CError, match=r"video.mp4 is a single file; name the folder"):
        import_recording(tmp_path / "video.mp4", OPTIONS)
    for missing in ("missing.npz", "missing"):
        with pytest.raises(E2CError, match=f"^There is no .*{missing}; name the folder of a reco"):
            import_recording(tmp_path / missing, OPTIONS)
    for name in ("text.npz", "pipe.npz"):
        with pytest.raises(E2CError, match=f"{name} cannot be read as arrays"):
            import_recording(tmp_path / name, OPTIONS)


def test_training_needs_no_environment_and_the_agent_acts_on_frames(tmp_path: Path) -> None:
    import_recording(saved(tmp_path), OPTIONS).save(tmp_path / "data.npz")
    np.save(tmp_path / "goal.npy", pictures(1)[0])
    objective = dataclasses.replace(CONFIG.objective, horizon=2)
    recipe = Recipe(
        dataclasses.replace(CONFIG, objective=objective),
        goal=str(tmp_path / "goal.npy"),
        data=(str(tmp_path / "data.npz"),),
    )
    run = train(recipe, tmp_path / "run")
    assert (run.config.env, run.config.data.rounds, run.config.evaluation.episodes) == (
        RECORDING,
        0,
        0,
    )
    agent = e2c.load_agent(tmp_path / "run")
    assert agent.spec.observation_shape == (3, 12, 6)
    assert agent.spec.options["camera"]["size"] == [12, 6]
    observation = np.stack([SMALL.frame(picture) for picture in pictures(3)])
    action = agent.act(observation)
    assert (np.abs(action) <= [2, 1]).all()
    with pytest.raises(E2CError, match="A recording has no environment to act in"):
        e2c.make_world(agent.spec.env)
    with pytest.raises(E2CError, match="recording does not tell its goal; give a picture"):
        train(dataclasses.replace(recipe, goal=""), tmp_path / "other")


def test_the_size_of_the_pictures_goes_with_the_model(tmp_path: Path) -> None:
    found = import_recording(saved(tmp_path), OPTIONS)
    sizes: list[Any] = [[24, 18], None]
    for size in sizes:
        told = {**found.provenance, "picture_size": size}
        if size is None:
            del told["picture_size"]
        dataclasses.replace(found, provenance=told).save(tmp_path / "data.npz")
        spec = spec_of(Recipe(RECORDED, data=(str(tmp_path / "data.npz"),)))
        assert spec.picture_size == (size and (24, 18))
    for wrong in ([24], [24, 0], [24.0, 18], "24", [1, 10**9], None):
        told = {**found.provenance, "picture_size": wrong}
        dataclasses.replace(found, provenance=told).save(tmp_path / "data.npz")
        with pytest.raises(E2CError, match="import it again with e2c-import"):
            spec_of(Recipe(RECORDED, data=(str(tmp_path / "data.npz"),)))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"env": "Nope-v0"}, "env is Nope-v0"),
        ({"env_args": '{"mass": 2}'}, 'env_args is {"mass": 2}'),
        ({"camera": {"size": (20, 20)}}, r"camera.size is \(20, 20\)"),
        ({"camera": {"colour": True}}, "camera.colour is True"),
    ],
)
def test_a_recording_has_no_environment_and_no_camera_to_choose(
    asked: Any, told: str, tmp_path: Path
) -> None:
    import_recording(saved(tmp_path), OPTIONS).save(tmp_path / "data.npz")
    asked |= {"recordings": [tmp_path / "data.npz"], "goal": pictures(1)[0]}
    with pytest.raises(E2CError, match=f"data.npz is a recording: .* {told}; leave that out, or"):
        e2c.train(tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_a_recording_that_does_not_tell_its_limits_is_refused(tmp_path: Path) -> None:
    found = import_recording(saved(tmp_path), OPTIONS)
    for missing in ("parameters", "camera"):
        about = {key: value for key, value in found.provenance.items() if key != missing}
        dataclasses.replace(found, provenance=about).save(tmp_path / "data.npz")
        with pytest.raises(E2CError, match="import it again with e2c-import"):
            train(Recipe(CONFIG, data=(str(tmp_path / "data.npz"),)), tmp_path / "run")
