"""What frames look like, what is chosen for it, and silhouettes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import (
    CONFIG,
    ENV,
    MODEL,
    SPEC,
    generator,
    images,
    leave_undrawn,
    shorten_runs,
)

import envs
from e2c.config import Config, Recipe
from e2c.control.agent import Agent
from e2c.data.episodes import Episodes
from e2c.data.looks import SEEN, Looks, box_of, look_at, unlikeness
from e2c.data.windows import Windows
from e2c.files import runs
from e2c.files.tensors import read_tensors, write_tensors
from e2c.learning import looks as rules
from e2c.learning.collect import collect_transitions
from e2c.learning.looks import Crop, aim, choose
from e2c.learning.run import train
from e2c.models import checkpoint
from e2c.models.methods import build_model
from e2c.models.silhouette import Silhouette
from e2c.presets import PRESETS, preset

H, W, COUNT = 12, 20, 40


def square(background: int, brightness: int, side: int, colour: bool = False) -> Episodes:
    """One episode of two-frame observations, in which a square goes round."""
    shape = (COUNT, H, W, 3) if colour else (COUNT, H, W)
    frames = np.full(shape, background, np.uint8)
    rng = np.random.default_rng(0)
    for frame in frames:
        row, column = rng.integers(0, (H - side + 1, W - side + 1))
        frame[row : row + side, column : column + side] = brightness
    steps = COUNT - 2
    return Episodes(frames, np.zeros((steps, 1), np.float32), np.array([steps]))


@pytest.mark.parametrize("colour", [False, True])
def test_what_stands_out_is_told_from_the_background(colour: bool) -> None:
    found = look_at(square(200, 80, 3, colour))
    assert found.background.shape == ((3 if colour else 1), H, W)
    assert (found.background == 200).all()
    assert found.level == pytest.approx(200 / 255)
    assert found.peak == found.contrast == pytest.approx(120 / 255)
    assert found.moving == pytest.approx(9 / (H * W))
    assert (found.away == -120).all()
    bright = look_at(square(20, 80, 3, colour))
    assert (bright.away == 60).all()
    assert bright.contrast == pytest.approx(60 / 255)


def test_frames_that_are_all_equal_show_nothing() -> None:
    found = look_at(square(90, 90, 3))
    assert (found.peak, found.contrast, found.moving) == (0, 0, 0)
    assert choose(Config(), found)[0].model.view == "plain"


@pytest.mark.parametrize("env", envs.ENVIRONMENTS)
@pytest.mark.parametrize("name", ["default", "pcc"])
def test_our_own_tasks_are_learned_as_they_were(name: str, env: str) -> None:
    """The rules choose what was the default before there were rules: plain frames, no blur."""
    asked = preset(name, env)
    found, why = choose(asked, look_at(collect_transitions(env, 75, 25, 0)))
    assert found.model == dataclasses.replace(asked.model, view="plain")
    wanted = PRESETS[name].get("optimiser", {}).get("blur") or asked.optimiser.blur or 0.0
    assert found.optimiser == dataclasses.replace(asked.optimiser, blur=wanted)
    assert "frames are white on black" in why


LOOKS = look_at(square(200, 80, 3))


@pytest.mark.parametrize(
    ("changes", "view", "blur"),
    [
        ({}, "silhouette", 0.0),
        ({"level": 0.0}, "silhouette", 0.0),
        ({"level": 0.0, "peak": 0.95}, "plain", 0.0),
        ({"moving": rules.SMALL - 1e-3}, "silhouette", H / 6),
        ({"moving": rules.CROWDED + 1e-3}, "plain", 0.0),
        ({"peak": rules.FAINT - 1e-3}, "plain", 0.0),
    ],
)
def test_the_rules(changes: dict[str, Any], view: str, blur: float) -> None:
    config, why = choose(Config(), dataclasses.replace(LOOKS, **changes))
    assert config.model.view == view
    assert config.optimiser.blur == blur
    assert f"{view} view, since" in why
    assert "\n" not in why


def test_what_the_user_says_is_left_as_it_is() -> None:
    model = dataclasses.replace(Config().model, view="plain")
    optimiser = dataclasses.replace(Config().optimiser, blur=3.0)
    asked = dataclasses.replace(Config(), model=model, optimiser=optimiser)
    assert choose(asked, LOOKS) == (asked, "")
    again, _ = choose(choose(Config(), LOOKS)[0], dataclasses.replace(LOOKS, level=0.0, peak=1.0))
    assert again == choose(Config(), LOOKS)[0], "what was chosen once stays"


@pytest.mark.parametrize("colour", [False, True])
def test_the_box_holds_what_stands_out_and_nothing_else(colour: bool) -> None:
    """Of all frames given, also of one that was not looked at."""
    data = square(200, 80, 3, colour)
    looks, K = look_at(data), 3 if colour else 1
    frames = np.full((2, K, H, W), 200, np.uint8)
    assert box_of(frames, looks) is None
    frames[0, -1, 4, 7:9] = 100
    frames[1, 0, 6, 2] = 200 - 13  # less than a tenth of what stands out
    assert box_of(frames, looks) == (4, 5, 7, 9)
    frames[1, 0, 10, 2] = 255
    assert box_of(frames, looks) == (4, 11, 2, 9)


PICTURE = (10 * H, 5 * W)
"""A picture that the frames of `LOOKS` show whole, 10 px to a row and 5 to a column."""


@pytest.mark.parametrize(
    ("box", "frame", "crop"),
    [
        ((4, 6, 10, 14), (24, 24), (38, 62, 48, 72)),  # 20 px by 20 about (50, 60), and 2 around
        ((4, 6, 10, 12), (24, 24), (38, 62, 43, 67)),  # a high thing gets as much width
        ((4, 6, 10, 12), (48, 12), (26, 74, 49, 61)),  # as high for its width as a frame
        ((0, 2, 16, 20), (24, 24), (0, 22, 78, 100)),  # no further than the picture
        ((0, 12, 0, 20), (24, 24), None),
        (None, (24, 24), None),
    ],
)
def test_a_crop_shows_what_moves_with_a_margin(
    box: Crop | None,
    frame: tuple[int, int],
    crop: Crop | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "MARGIN", 0.1)
    assert aim(LOOKS, box, PICTURE, frame)[0] == crop


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"moving": rules.CROWDED + 1e-3}, "the background moved"),
        ({"peak": rules.FAINT - 1e-3}, "nothing stood out"),
    ],
)
def test_where_nothing_can_be_told_all_is_seen(changes: dict[str, Any], told: str) -> None:
    crop, why = aim(dataclasses.replace(LOOKS, **changes), (4, 6, 10, 14), PICTURE, (24, 24))
    assert crop is None
    assert why.startswith(told)


def silhouette_of(planes: tuple[int, int, int], looks: Looks) -> Silhouette:
    made = Silhouette(planes)
    made.take(looks)
    return made


@pytest.mark.parametrize(("background", "brightness"), [(200, 80), (80, 200), (0, 90), (255, 0)])
@pytest.mark.parametrize("colour", [False, True])
def test_a_silhouette_is_white_on_black_and_leads_back(
    background: int, brightness: int, colour: bool
) -> None:
    data = square(background, brightness, 3, colour)
    x = torch.from_numpy(data.planes())
    made = silhouette_of(data.layout.planes, look_at(data))
    seen = made(x)
    assert seen.dtype == torch.uint8
    assert torch.equal(seen, (x != background) * torch.tensor(255, dtype=torch.uint8))
    np.testing.assert_allclose(made.inverse(seen).float(), x.float(), atol=1)


def test_what_stands_out_is_drawn_as_bright_as_it_was_there() -> None:
    """A bright rod above, its faint shadow below: the contrast of all is the shadow's."""
    frames = np.full((COUNT, H, W), 100, np.uint8)
    for t, frame in enumerate(frames):
        frame[1, t % W], frame[5:7, t % W] = 220, 70
    data = Episodes(frames, np.zeros((COUNT - 2, 1), np.float32), np.array([COUNT - 2]))
    looks = look_at(data)
    assert looks.contrast == pytest.approx(30 / 255)
    assert looks.away[0, [1, 5, 6, 3], 2].tolist() == [120, -30, -30, -30]
    made, x = silhouette_of(data.layout.planes, looks), torch.from_numpy(data.planes())
    assert torch.equal(made.inverse(made(x)), x)


def test_one_frame_of_several_looks_the_same() -> None:
    """Windows turn frames, agents turn observations of two."""
    data = square(200, 80, 3, colour=True)
    made = silhouette_of(data.layout.planes, look_at(data))
    observation = torch.from_numpy(data.planes()[0])
    frames = torch.stack([made(observation[:3]), made(observation[3:])])
    assert torch.equal(frames.flatten(0, 1), made(observation))


@pytest.mark.parametrize("colour", [False, True])
def test_windows_show_silhouettes_and_their_mean(colour: bool) -> None:
    data = square(200, 80, 3, colour)
    made = silhouette_of(data.layout.planes, look_at(data))
    windows = Windows([data], 2, 0.0, torch.device("cpu"), made)
    x, _ = windows.sample(5, [0, 2], generator(3))
    plain, _ = Windows([data], 2, 0.0, torch.device("cpu")).sample(5, [0, 2], generator(3))
    assert torch.equal((x * 255).round(), made((plain * 255).round().to(torch.uint8)).float())
    seen = made(torch.from_numpy(data.planes())).float()
    assert windows.mean_observation.shape == seen.shape[1:]
    assert windows.mean_observation.mean() == pytest.approx(9 / (H * W))
    assert set(windows.frames.unique().tolist()) == {0, 255}


def test_contrasts_are_stretched_and_cut() -> None:
    looks = dataclasses.replace(LOOKS, contrast=0.4)
    made = silhouette_of((1, H, W), looks)
    x = torch.full((1, H, W), 200, dtype=torch.uint8)
    x[0, 0, :5] = torch.tensor([200, 149, 251, 98, 0], dtype=torch.uint8)
    assert made(x)[0, 0, :5].tolist() == [0, 128, 128, 255, 255]


def test_a_model_sees_silhouettes_wherever_it_looks() -> None:
    """Its encodings of frames are those of a plain model of their silhouettes."""
    observations = images(30)
    config = dataclasses.replace(MODEL, view="silhouette")
    goal: NDArray[np.uint8] = observations[0]
    model, plain = (build_model(c, SPEC, goal, 3).eval() for c in (config, MODEL))
    C = SPEC.observation_shape[0]
    frames = observations.reshape(-1, *SPEC.observation_shape[1:])
    data = Episodes(frames, np.zeros((len(frames) - C, 2), np.float32), np.array([90 - C]))
    looks = look_at(data)
    assert model.silhouette is not None
    model.silhouette.take(looks)
    for each in (model, plain):
        each.measure(observations)
    seen = model.silhouette(torch.from_numpy(observations))
    expected = plain.encode(seen).mean
    torch.testing.assert_close(model.encode(observations).mean, expected)
    drawn = model.decode(expected)
    assert drawn.shape == observations.shape
    assert not np.array_equal(drawn, plain.decode(expected))
    agent = Agent(model, SPEC, CONFIG.planner)
    assert agent.act(observations[:4]).shape == (4, 2)


def test_a_run_chooses_and_its_model_keeps_what_it_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The background is kept with the weights, and what was chosen with the recipe."""
    shorten_runs(monkeypatch, 9)
    leave_undrawn(monkeypatch)
    data = collect_transitions(ENV, 48, 8, 3)
    grey = dataclasses.replace(data, frames=(200 - data.frames // 2).astype(np.uint8))
    grey.save(tmp_path / "grey.npz")
    left_open = dataclasses.replace(
        CONFIG,
        model=dataclasses.replace(CONFIG.model, view="auto"),
        optimiser=dataclasses.replace(CONFIG.optimiser, blur=None),
        data=dataclasses.replace(CONFIG.data, rounds=0),
        evaluation=dataclasses.replace(CONFIG.evaluation, episodes=0),
    )
    recipe = Recipe(left_open, data=(str(tmp_path / "grey.npz"),))
    run = train(recipe, tmp_path / "run")
    assert "silhouette view, since what stands out differs by 0.50" in capsys.readouterr().err
    assert run.config.model.view == "silhouette"
    assert runs.read_recipe(tmp_path / "run" / runs.CONFIG) == run.recipe
    model, config, _ = checkpoint.load(tmp_path / "run")
    assert config.model.view == "silhouette"
    assert model.silhouette is not None
    assert (model.silhouette.background == 200).float().mean() > 0.9
    assert model.silhouette.contrast == pytest.approx(127, abs=1)
    assert_older_is_read(tmp_path / "run", model.silhouette)


def assert_older_is_read(run: Path, silhouette: Silhouette) -> None:
    """An older file tells where what stands out is darker, and one contrast for all of it."""
    tensors, about = read_tensors(run / checkpoint.NAME, checkpoint.SCHEMA, "")
    darker = tensors.pop("silhouette.away") < 0
    tensors["silhouette.darker"] = darker.to(torch.uint8)
    write_tensors(run / checkpoint.NAME, tensors, about, checkpoint.SCHEMA)
    older = checkpoint.load(run)[0].silhouette
    assert older is not None
    contrast = silhouette.contrast
    assert torch.equal(older.away, torch.where(darker, -contrast, contrast))


@pytest.mark.parametrize("colour", [False, True])
def test_a_picture_is_unlike_as_far_as_it_was_not_seen(colour: bool) -> None:
    episodes = square(0, 255, 3, colour)
    seen = episodes.planes(slice(7, 8))[0]
    assert unlikeness(episodes, seen) == 0
    planes = episodes.planes().astype(np.float64)
    elsewhere = np.zeros_like(seen)
    elsewhere[..., :2, :2] = 255
    by_hand = np.square(planes - elsewhere).sum((1, 2, 3)).min()
    by_hand /= np.square(planes - planes.mean(0)).sum((1, 2, 3)).mean()
    assert unlikeness(episodes, elsewhere) == pytest.approx(by_hand, rel=1e-5)
    assert by_hand > SEEN


def test_frames_that_are_all_equal_are_no_reason_to_divide_by_zero() -> None:
    still = square(90, 90, 3)
    assert unlikeness(still, still.planes(slice(0, 1))[0]) == 0


def test_where_nothing_stood_out_a_single_grey_level_is_white() -> None:
    """Of frames that were all equal: no difference is divided by a contrast of none."""
    looks = look_at(square(90, 90, 3))
    silhouette = Silhouette(looks.background.shape)
    silhouette.take(looks)
    assert silhouette.contrast == 1
    x = silhouette.background.clone()
    x[..., 0, 0] += 1
    seen = silhouette(x)
    assert seen[..., 0, 0].tolist() == [255] * len(seen)
    assert int(seen.sum()) == 255 * len(seen)
