"""The trained model that comes with the project: small, as documented, and it swings up."""

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from tiny import ROOT

import e2c
from benchmarks import model_card
from e2c import commands
from e2c.config import Recipe
from e2c.evaluation.assessment import assess
from e2c.files import runs
from e2c.presets import preset


def test_it_swings_up_from_images_alone() -> None:
    results = assess(e2c.load_agent(e2c.TRAINED), 3, 5, oracle=False).results
    assert results["success_rate"] == 1
    assert results["time_in_goal"] > 0.6


def test_it_is_small_and_made_by_the_command_that_is_documented() -> None:
    assert sum(path.stat().st_size for path in e2c.TRAINED.iterdir()) < 3_000_000
    recipe = runs.read_recipe(e2c.TRAINED / runs.CONFIG)
    evaluation = recipe.config.evaluation
    typed = " ".join((ROOT / "Makefile").read_text().split())
    assert (
        f"train.py --seed {recipe.seed} --out runs/model "
        f"--evaluation.episodes {evaluation.episodes} mkdir"
    ) in typed
    default = replace(preset("default"), evaluation=evaluation)
    assert runs.differences(e2c.TRAINED, Recipe(default, seed=recipe.seed)) == []


def test_its_card_tells_the_figures_of_its_files() -> None:
    """`python -m benchmarks.model_card` writes them; `make model` does it too."""
    assert model_card.figures() in model_card.CARD.read_text("utf-8")


def test_the_demo_films_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["e2c-demo"])
    with pytest.raises(SystemExit) as ended:
        commands.demo_command()
    assert ended.value.code == 0
    assert "swung up and stayed" in capsys.readouterr().out
    reader = cv2.VideoCapture("swing_up.mp4")
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) >= 200
    assert [path.name for path in tmp_path.iterdir()] == ["swing_up.mp4"]
