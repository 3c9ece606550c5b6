"""Minari data sets, in and out; nothing is downloaded."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from tiny import noise_data

from e2c.commands import export_command
from e2c.data.formats import ImportOptions, import_recording
from e2c.data.minari import export
from e2c.errors import E2CError
from envs import Camera

needs_minari = pytest.mark.skipif(
    importlib.util.find_spec("minari") is None, reason='pip install "e2c[minari]" brings it'
)
LIMITS = {"control_low": [-2.0, -0.5], "control_high": [2.0, 0.25]}
NAME = "mine/noise-v0"
LENGTHS = (9, 5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def made(observation_space: Any, **changes: Any) -> None:
    """Make a data set with Minari itself, whose observations are drawn from their space."""
    import minari
    from minari.data_collector import EpisodeBuffer

    space = changes.pop("action_space", Box(-2, 2, (2,), np.float32))
    observation_space.seed(0)
    space.seed(0)
    buffers = []
    for T in LENGTHS:
        seen = [observation_space.sample() for _ in range(T + 1)]
        keys = isinstance(observation_space, Dict)
        observations = {key: np.stack([s[key] for s in seen]) for key in seen[0]} if keys else seen
        buffers.append(
            EpisodeBuffer(
                observations=observations if keys else np.stack(seen),
                actions=np.stack([space.sample() for _ in range(T)]),
                rewards=np.zeros(T),
                terminations=np.zeros(T, bool),
                truncations=np.arange(T) == T - 1,
            )
        )
    minari.create_dataset_from_buffers(
        NAME,
        buffers,
        observation_space=observation_space,
        action_space=space,
        data_format="hdf5",
        jpeg_encoding=False,
    )


PICTURE = Box(0, 255, (24, 18, 3), np.uint8)
CAMERA = Camera(size=(12, 6), frames=3)


@needs_minari
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("keyed", [False, True])
def test_a_data_set_becomes_episodes(folder: Path, keyed: bool) -> None:
    import minari

    made(Dict({"pixels": PICTURE, "state": Box(-1, 1, (4,))}) if keyed else PICTURE)
    found = import_recording(Path(f"minari:{NAME}"), ImportOptions(CAMERA))
    assert found.lengths.tolist() == [T + 1 - 3 for T in LENGTHS]
    assert found.provenance["parameters"]["control_low"] == [-2, -2]
    for e, episode in enumerate(minari.load_dataset(NAME).iterate_episodes()):
        pictures = episode.observations["pixels"] if keyed else episode.observations
        seen = [CAMERA.frame(picture) for picture in pictures]
        np.testing.assert_array_equal(found.frames[found.frame_rows(e)], seen)
        np.testing.assert_array_equal(found.actions[found.action_rows(e)], episode.actions[2:])
    again = import_recording(folder / "mine" / "noise-v0", ImportOptions(CAMERA))
    assert again.content_hash == found.content_hash


@needs_minari
@pytest.mark.parametrize("frames", [1, 3])
def test_what_is_exported_comes_back(frames: int) -> None:
    data = dataclasses.replace(noise_data((7, 4)), provenance={"parameters": LIMITS})
    export(data, NAME)
    camera = Camera(size=(12, 6), frames=frames)
    found = import_recording(Path(f"minari:{NAME}"), ImportOptions(camera))
    assert {key: found.provenance["parameters"][key] for key in LIMITS} == LIMITS
    for e in range(2):
        frames_then = data.frames[data.frame_rows(e)][2:]
        np.testing.assert_array_equal(found.frames[found.frame_rows(e)], frames_then)
        actions = data.actions[data.action_rows(e)][frames - 1 :]
        np.testing.assert_array_equal(found.actions[found.action_rows(e)], actions)
    with pytest.raises(E2CError, match=r"Minari does not make 'mine/noise-v0' \(.*not taken yet"):
        export(data, NAME)
    with pytest.raises(E2CError, match=r"Minari does not make 'no name' .*like mine/pendulum-v0"):
        export(data, "no name")


@needs_minari
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("space", "changes", "told"),
    [
        (Box(-1, 1, (4,)), {}, r"observation of minari:mine/noise-v0 holds no images: it is Box\("),
        (Dict({"a": PICTURE, "b": PICTURE}), {}, r"holds several images \(a, b\)"),
        (PICTURE, {"action_space": Discrete(3)}, r"actions of .* are Discrete\(3\); they must be"),
    ],
)
def test_a_data_set_that_does_not_fit(space: Any, changes: dict[str, Any], told: str) -> None:
    made(space, **changes)
    with pytest.raises(E2CError, match=told):
        import_recording(Path(f"minari:{NAME}"), ImportOptions(CAMERA))


@needs_minari
def test_a_data_set_that_is_missing_or_damaged(folder: Path) -> None:
    with pytest.raises(E2CError, match=r"minari:no/such-v0 cannot be read by Minari \(.*not found"):
        import_recording(Path("minari:no/such-v0"))
    (folder / "data").mkdir()
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(E2CError, match="cannot be read by Minari"):
        import_recording(folder)


def test_without_minari_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    for call in (
        lambda: import_recording(Path("minari:mine/noise-v0")),
        lambda: export(noise_data((4,)), NAME),
    ):
        with pytest.raises(E2CError, match=r'install it with: pip install "e2c\[minari\]"'):
            call()


@pytest.mark.skipif(importlib.util.find_spec("minari") is not None, reason="Minari is installed")
def test_a_folder_of_that_name_is_not_taken_for_minari(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minari").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "minari", raising=False)
    with pytest.raises(E2CError, match="Minari is not installed"):
        import_recording(Path("minari:mine/noise-v0"))
    monkeypatch.delitem(sys.modules, "minari", raising=False)


def test_the_command_tells_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise_data((4,)).save(tmp_path / "data.npz")
    monkeypatch.setitem(sys.modules, "minari", None)
    monkeypatch.setattr(sys, "argv", ["e2c-export", str(tmp_path / "data.npz"), NAME])
    with pytest.raises(SystemExit) as ended:
        export_command()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert told.err.startswith("e2c: Minari is not installed")
    assert told.err.count("\n") == 1
