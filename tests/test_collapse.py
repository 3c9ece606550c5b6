"""Posterior collapse is found early, told once with its remedy, and kept with the run."""

import dataclasses
import json
from pathlib import Path

import pytest
from test_training import OBJECTIVE
from tiny import CONFIG, leave_undrawn, shorten_runs, tiny_model

from e2c.config import Recipe
from e2c.learning import collapse as rules
from e2c.learning import run as running
from e2c.learning.collapse import AFTER_STEPS, FEW_NATS, NO_BETTER, collapse, sentence
from e2c.learning.run import train
from e2c.learning.schedule import OptimiserConfig
from e2c.learning.trainer import Trainer


def trainer_at(step: int, drawn: float) -> Trainer:
    trainer = Trainer(tiny_model(), OBJECTIVE, OptimiserConfig(), 0)
    trainer.step, trainer.first, trainer.level = step, 800.0, 800.0 * drawn
    return trainer


@pytest.mark.parametrize(
    ("step", "nats", "drawn", "collapsed"),
    [
        (AFTER_STEPS, FEW_NATS / 100, 1.0, True),
        (AFTER_STEPS - 1, FEW_NATS / 100, 1.0, False),
        (AFTER_STEPS, FEW_NATS * 2, 1.0, False),
        (AFTER_STEPS, FEW_NATS / 100, NO_BETTER - 0.1, False),
        (9 * AFTER_STEPS, 0.0, 1.2, True),
    ],
)
def test_both_signs_are_needed(step: int, nats: float, drawn: float, collapsed: bool) -> None:
    found = collapse({"prior_kl": nats, "loss": 3.0}, trainer_at(step, drawn))
    assert (found is not None) == collapsed
    if found:
        told = sentence(found)
        assert f"after {step} steps" in told
        assert "--camera.crop" in told
        assert "\n" not in told


def test_a_method_without_a_prior_has_no_such_sign() -> None:
    assert collapse({"loss": 3.0}, trainer_at(AFTER_STEPS, 1.0)) is None


def test_blurred_images_are_no_sign() -> None:
    """Their loss cannot be compared with that of the mean image."""
    trainer = trainer_at(AFTER_STEPS, 1.0)
    trainer.lens = dataclasses.replace(trainer.lens, sigma=2.0)
    assert collapse({"prior_kl": 0.0}, trainer) is None


def test_before_any_step_there_is_none() -> None:
    trainer = trainer_at(AFTER_STEPS, 1.0)
    trainer.first = 0.0
    assert collapse({"prior_kl": 0.0}, trainer) is None


def test_a_run_tells_it_once_and_its_report_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps too small to learn anything, and signs that are looked for after two of them."""
    shorten_runs(monkeypatch, 9)
    leave_undrawn(monkeypatch)
    monkeypatch.setattr(running, "LOG_EVERY", 2)
    monkeypatch.setattr(rules, "AFTER_STEPS", 2)
    still = dataclasses.replace(CONFIG.optimiser, learning_rate=1e-8, learning_rate_own=1e-8)
    evaluation = dataclasses.replace(CONFIG.evaluation, episodes=0)
    recipe = Recipe(dataclasses.replace(CONFIG, optimiser=still, evaluation=evaluation))
    run = train(recipe, tmp_path / "run")
    told = capsys.readouterr().err
    assert told.count("the posterior has collapsed: after 2 steps") == 1
    assert run.collapsed is not None
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "collapsed: after 10 steps" in about["collapsed"]
    assert "collapsed: after 10 steps" in (tmp_path / "run" / "report.html").read_text()
