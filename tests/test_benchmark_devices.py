"""What a device does side by side is measured, told and written."""

import json
from pathlib import Path

import pytest

from benchmarks import devices
from benchmarks.devices import Devices
from benchmarks.store import read
from e2c.errors import E2CError


def test_every_figure_is_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "CHUNK", 2)
    Devices(seeds=(1, 3), plans=(1, 4), chunks=2, results=tmp_path)()
    told = json.loads(capsys.readouterr().out)
    found = read(tmp_path / "devices.json")
    assert found == told
    assert found["commit"]
    assert found["training_step_ms"].keys() == {"1", "3"}
    assert found["against_one"]["1"] == 1
    assert found["against_one"]["3"] == pytest.approx(
        found["training_step_ms"]["3"] / found["training_step_ms"]["1"]
    )
    assert found["iterations_per_second"]["4"] > 0


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(E2CError, match="no device 'abacus' here"):
        Devices(device="abacus")()
