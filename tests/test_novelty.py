"""Novelty: the distances by brute force, and when a goal is said to be new."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, MODEL, images, noise_data, shorten_runs, tiny_model

from e2c.config import Recipe
from e2c.control import novelty as compared
from e2c.control.goals import from_state
from e2c.control.novelty import Novelty, novelty
from e2c.learning import drawings, own
from e2c.learning.run import train
from e2c.models import checkpoint
from e2c.models.sight import Sight


@pytest.mark.parametrize("seeing", [False, True])
def test_distances_are_those_of_brute_force(seeing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By loops, over every second observation of two parts of three and one episodes."""
    model, data = tiny_model(), [noise_data((4, 7, 5)), noise_data((9,), seed=1)]
    model.measure(images(20))
    if seeing:
        model.sight = Sight(tiny_model(seed=1).encoder, MODEL.latent_dim)
    monkeypatch.setattr(compared, "COMPARED", 14)
    found = novelty(model, images(1, seed=3)[0], data)
    with torch.no_grad():
        look = model.sight if model.sight is not None else model.encoder
        seen = [model.see(torch.as_tensor(part.planes())).float() / 255 for part in data]
        z = [look(planes).mean[::2] for planes in seen]
        goal = look(model.see(torch.as_tensor(images(1, seed=3)[0])).float() / 255).mean
    episode = [*np.repeat([0, 1, 2], [5, 8, 6])[::2], *[3] * len(z[1])]
    every = torch.cat(z)
    nearest = [
        min(float((a - b).square().sum()) for b, f in zip(every, episode, strict=True) if f != e)
        for a, e in zip(every, episode, strict=True)
    ]
    unit = float(model.latent_variance)
    away = min(float((a - goal).square().sum()) for a in every)
    assert found.distance == pytest.approx(away / unit, rel=1e-3)
    assert found.typical == pytest.approx(np.median(nearest) / unit, rel=1e-3)
    assert found.usual == pytest.approx(np.quantile(nearest, 0.99) / unit, rel=1e-3)


def test_what_was_seen_is_not_new_and_a_single_episode_is_enough() -> None:
    model, data = tiny_model(), noise_data((6,))
    found = novelty(model, data.planes()[3], [data])
    assert found.distance == pytest.approx(0, abs=1e-6)
    assert found.usual >= found.typical > 0
    assert found.warning is None


def test_the_warning_has_the_figures() -> None:
    told = Novelty(0.4251, 0.00125, 0.0551).warning
    assert told is not None
    assert "is 0.43 away, where the data are 0.0013 apart, and 99% of them at most 0.055" in told
    assert told.endswith("give a picture that is like the data.")


def test_a_run_tells_how_new_its_goal_is_and_trains_towards_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "draw", lambda *_: np.zeros(3))
    config = dataclasses.replace(
        CONFIG, evaluation=dataclasses.replace(CONFIG.evaluation, episodes=0)
    )
    with pytest.MonkeyPatch.context() as patch:
        shorten_runs(patch, 12)
        run = train(Recipe(config, goal_state=(0.5, 0.0)), tmp_path / "run")
    model, _, spec = checkpoint.load(tmp_path / "run")
    wanted = from_state((0.5, 0.0), spec)
    np.testing.assert_array_equal(spec.layout.from_planes(model.goal.numpy()), wanted)
    assert run.given_goal is not None
    np.testing.assert_array_equal(run.given_goal, wanted)
    data = own.episodes_of(tmp_path / "run")
    assert [part.content_hash for part in data] == [part.content_hash for part in run.data]
    assert run.novelty == novelty(model, model.goal.numpy(), data)
    assert own.episodes_of(tmp_path) == []
