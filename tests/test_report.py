"""The page about a run: it tells what the folder holds, stands alone, and runs nobody's script."""

import hashlib
import json
import math
import os
import re
import shlex
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright
from tiny import ENV, ROOT

from e2c.config import Config
from e2c.errors import E2CError
from e2c.files import arrays, runs
from e2c.options import to_dict
from e2c.report import MAX_EMBEDDED_BYTES, charts, style, write_report
from e2c.report.episodes import MOST_EPISODES, phase_plane
from e2c.report.folder import Episodes, Run, task
from e2c.report.video import write_video
from e2c.report.views import loss_charts, own_charts

RNG = np.random.default_rng(5)
STATES = np.cumsum(RNG.normal(0, 0.2, (5, 31, 2)), 1) + np.array([math.pi, 0])
HEADER: dict[str, Any] = {
    "schema": "e2c-episodes-1",
    "env": ENV,
    "task": "Swing up and stay",
    "components": [
        {"name": "angle", "unit": "rad", "goal_half_width": 0.2},
        {"name": "velocity", "unit": "rad/s", "goal_half_width": None},
    ],
    "plotted": 0,
    "goals": [[0.0, 0.0]],
}
HOSTILE = (
    """</script></style><script>window.hacked=1</script><img src=x onerror="hacked=1">"' {{7*7}}"""
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def summary() -> dict[str, Any]:
    return {
        "seed": 11,
        "config": to_dict(Config()),
        "data": [{"sha256": "ab" * 32, "transitions": 5000}],
        "versions": {"python": "3.12.1", "torch": "2.7.0"},
        "commit": "0123456789ab",
        "machine": {"system": "Linux", "cores": 3, "cuda": None},
        "terms": TERMS,
        "transitions": 6250,
        "steps": 450,
        "skipped_steps": 2,
        "recoveries": [{"step": 200, "learning_rate": 5e-4, "reason": "the loss was not finite"}],
        "resumed": 1,
        "began_anew_in_round": 7,
        "seconds": {"collect": 1.5, "train": 120.0, "own": 8.25, "total": 131.0},
        "open_loop_error": np.geomspace(1e-3, 0.7, 17).tolist(),
    }


def evaluation(states: NDArray[np.float64], success: NDArray[np.bool_]) -> dict[str, Any]:
    rows = [
        {"start": s[0].tolist(), "success": bool(ok), "time_in_goal": 0.6 if ok else 0.125}
        for s, ok in zip(states, success, strict=True)
    ]
    return {
        "success_rate": float(success.mean()),
        "time_in_goal": 0.505,
        "oracle_success_rate": 1.0,
        "oracle_time_in_goal": 0.61,
        "episodes": rows,
        "faults": {"blind": 13, "lost": 2, "not_finite": 0},
        "plan_ms_median": 5.25,
        "plan_ms_p99": 6.5,
        "start_seed": 1000,
        "disturbance": {"mass": None, "kick": 0.0},
    }


TERMS = {"reconstruction": "Reconstruction [nats]", "prediction": "Prediction [nats]", "vae": "VAE"}


def metrics() -> list[dict[str, float | None]]:
    terms = dict.fromkeys(TERMS, 3.0)
    rows: list[dict[str, float | None]] = [
        {"step": step, **terms, "reconstruction": 900.0 * 0.7**k}
        for k, step in enumerate([50, 150, 250, 150, 250, 350, 450])
    ]
    rows[2]["prediction"] = None
    return [*rows, {"round": 1, "own_success_rate": 0.2, "own_time_in_goal": 0.31}]


def nothing(about: dict[str, Any], results: dict[str, Any]) -> None:
    """Change nothing."""


def make_run(
    folder: Path,
    change: Change = nothing,
    states: NDArray[np.float64] = STATES,
    film: bool = False,
) -> Path:
    """A run folder, as training leaves it; all but one in four episodes succeed."""
    (folder / "pictures").mkdir(parents=True)
    about, results = summary(), evaluation(states, np.arange(len(states)) % 4 != 2)
    change(about, results)
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "evaluation.json").write_text(json.dumps(results))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics()))
    write_episodes(folder, states, states + 0.1)
    for name in ("latent_space", "rollouts", "reconstructions"):
        png = cv2.imencode(".png", np.full((24, 36), 200, np.uint8))[1]
        (folder / "pictures" / f"{name}.png").write_bytes(png.tobytes())
    if film:
        frames = RNG.integers(0, 256, (60, 48, 64, 3), np.uint8)
        write_video(folder / runs.VIDEO, iter(frames), 20)
    return folder


def write_episodes(
    folder: Path,
    states: NDArray[np.float64],
    oracle: NDArray[np.float64],
    header: dict[str, Any] = HEADER,
) -> None:
    """Write episodes; without a header's components where the states are of another number."""
    actions = np.zeros((len(states), states.shape[1] - 1, 1), np.float32)
    kept = {"states": states, "actions": actions, "oracle_states": oracle}
    arrays.write(folder / "episodes.npz", kept, header if states.shape[2] == 2 else {})


class Parsed(HTMLParser):
    """The elements of a page, its attributes and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def with_class(self, name: str) -> list[dict[str, str]]:
        return [a for _, a in self.elements if name in a.get("class", "").split()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(folder: Path, *others: Path) -> Parsed:
    out = folder.parent / "page.html"
    write_report([folder, *others], out)
    return Parsed(out.read_text())


# ----------------------------------------------------------------------------- what it tells


def test_the_head_says_what_was_reached(tmp_path: Path) -> None:
    text = page(make_run(tmp_path / "run")).text
    head = text[: text.index("The film")]
    assert "4 of 5 episodes succeed" in head
    for told in (
        ENV,
        "Swing up and stay",
        "80.0%",
        "50.5%",
        "oracle 61.0%",
        "6,250",
        "131 s",
        "120 s",
        "0123456789ab",
    ):
        assert told in head.replace("\u202f", " "), told


def test_what_happened_on_the_way_is_told(tmp_path: Path) -> None:
    def faulty(about: dict[str, Any], results: dict[str, Any]) -> None:
        results["episodes"][1]["faults"] = {"blind": 6}
        results["episodes"][3]["faults"] = {"blind": 7, "lost": 2}
        results["disturbance"]["kick"] = 2.5
        results["faults"]["no_improvement"] = 15

    text = page(make_run(tmp_path / "run", faulty)).text
    for told in (
        "2 of 450 optimiser steps skipped",
        "1 divergence that",
        "Round 7 began anew",
        "200 0.0005 the loss was not finite",
        "1 time interrupted",
        "15 control steps of the evaluation: no improvement",
        "13 control steps of the evaluation: blind",
        "2 control steps of the evaluation: lost",
        "disturbed: kick 2.5",
        "Own episodes have 100 steps, and noise on the controls.",
        "training 120.0",
        "ab" * 32,
        "torch 2.7.0",
    ):
        assert told in text.replace("\u202f", " "), told


def test_settings_that_were_changed_are_marked(tmp_path: Path) -> None:
    def change(about: dict[str, Any], results: dict[str, Any]) -> None:
        about["config"]["planner"]["horizon"] = 37
        about["config"]["model"]["width"] = "unknown here"

    def choose(about: dict[str, Any], results: dict[str, Any]) -> None:
        about["config"]["model"]["view"] = "silhouette"

    assert len(page(make_run(tmp_path / "same")).with_class("changed")) == 1  # how they look
    left_open = page(make_run(tmp_path / "open", choose))
    assert len(left_open.with_class("changed")) == 1
    assert "model.view silhouette from the data" in left_open.text
    changed = page(make_run(tmp_path / "run", change))
    assert len(changed.with_class("changed")) == 3
    assert "planner.horizon 37 default 60" in changed.text
    assert "model.width unknown here default –" in changed.text


def test_commands_are_ready_to_be_copied(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "my run")
    found = page(folder)
    again = f"python train.py --config '{folder}/config.yaml' --out '{folder}-again'"
    assert again in found.texts
    assert f"python -m e2c.report '{folder}' --out {tmp_path / 'page.html'}" in found.texts
    write_report([folder], folder / "report.html")
    there = Parsed((folder / "report.html").read_text())
    assert f"python -m e2c.report '{folder}'" in there.texts


@pytest.mark.parametrize("count", [1, 7, MOST_EPISODES, MOST_EPISODES + 13])
def test_every_episode_has_a_row_a_start_and_a_way(tmp_path: Path, count: int) -> None:
    states = np.cumsum(RNG.normal(0, 0.2, (count, 201, 2)), 1)
    found, shown = page(make_run(tmp_path / "run", states=states)), min(count, MOST_EPISODES)
    numbers = [a["data-episode"] for _, a in found.elements if "data-episode" in a]
    assert numbers == [str(k) for k in range(shown)] * 3
    assert len(found.all("input")) == shown
    assert len(found.with_class("chosen")) == 3
    assert (tmp_path / "page.html").stat().st_size < 2_000_000
    assert ("episodes are shown" in found.text) == (count > MOST_EPISODES)


def test_the_first_episode_that_failed_is_chosen(tmp_path: Path) -> None:
    found = page(make_run(tmp_path / "run"))
    assert {a["data-episode"] for a in found.with_class("chosen")} == {"2"}


@pytest.mark.parametrize("n", [1, 2, 4])
def test_states_of_another_task_have_neutral_names(tmp_path: Path, n: int) -> None:
    def elsewhere(about: dict[str, Any], results: dict[str, Any]) -> None:
        about["config"]["env"] = "Test/Other-v3"

    folder, states = tmp_path / "run", RNG.normal(size=(3, 9, n))
    make_run(folder, elsewhere, states)
    write_episodes(folder, states, states, {})
    found = page(folder)
    assert "2 of 3 episodes succeed" in found.text
    assert "angle" not in found.text
    assert len(found.with_class("plane")) == (n > 1)
    assert ("state component 2" in found.text) == (n > 1)
    assert "were not kept" not in found.text
    assert not found.with_class("goal")


def test_states_have_the_names_that_came_with_them(tmp_path: Path) -> None:
    """A plane whose goals are corners, and whose starts are told by their second component."""
    components = [
        {"name": name, "unit": "px", "goal_half_width": 2.0} for name in ("row", "column")
    ]
    folder, states = make_run(tmp_path / "run"), 3.0 * STATES
    told = {"components": components, "plotted": 1, "goals": [[3.0, 20.0], [30.0, 4.0]]}
    write_episodes(folder, STATES, states, told)
    found = page(folder)
    for label in ("row [px]", "column [px]", "column [px] at the start"):
        assert label in found.texts
    regions = [a for name, a in found.elements if name == "rect" and a.get("class") == "goal"]
    assert len(regions) == 2
    assert len({(a["width"], a["height"]) for a in regions}) == 1


MISLED: dict[str, dict[str, Any]] = {
    "too few components": {"components": HEADER["components"][:1]},
    "a goal of another task": {"goals": [[0.0, 0.0], [0.0, 0.0, 0.0]]},
    "no such component": {"plotted": 2},
    "not an index": {"plotted": -1},
    "no unit": {"components": [{"name": "angle"}, {"name": "velocity"}]},
    "a text for a width": {"components": [{"name": "a", "unit": "m", "goal_half_width": "1"}] * 2},
    "no list": {"goals": 3},
}


@pytest.mark.parametrize("name", MISLED)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run")
    write_episodes(folder, STATES, STATES, {**HEADER, **MISLED[name]})
    with pytest.raises(E2CError, match=r"episodes\.npz cannot be shown: .*its (header|content)"):
        page(folder)


def test_names_of_components_are_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    named = [{"name": HOSTILE, "unit": HOSTILE, "goal_half_width": 1e99}] * 2
    header = {"task": HOSTILE, "components": named, "goals": [[1e99, -1e99]]}
    write_episodes(folder, STATES, STATES, header)
    found = page(folder)
    assert len(found.all("script")) == 1
    assert not [a for _, a in found.elements if any(map(EVENTS.fullmatch, a))]
    assert f"{HOSTILE} [{HOSTILE}]" in " ".join(found.texts)


def test_a_way_is_interrupted_where_an_angle_is_wrapped() -> None:
    states = np.array([[[3.0, 1.0], [3.1, 9.0], [-3.1, 1.0], [-3.0, 1.0]]])
    plane = phase_plane(Episodes(states, states[:0], task(HEADER, 2)))
    assert plane is not None
    assert [len(piece) for piece in decoded(plane.agent[0])] == [2, 2]


def test_ways_of_another_evaluation_are_not_shown_as_of_this_one(tmp_path: Path) -> None:
    def another(about: dict[str, Any], results: dict[str, Any]) -> None:
        results["episodes"][1]["start"][0] += 0.25

    found = page(make_run(tmp_path / "run", another))
    assert not found.with_class("plane")
    assert "were not kept" in found.text


def test_an_evaluation_without_the_oracle_is_shown_alone(tmp_path: Path) -> None:
    def alone(about: dict[str, Any], results: dict[str, Any]) -> None:
        results["oracle_success_rate"] = None
        del results["oracle_time_in_goal"]

    folder = make_run(tmp_path / "run", alone)
    write_episodes(folder, STATES, STATES[:0])
    found = page(folder)
    assert len(found.with_class("agent")) == 2 + len(STATES)  # and how they look, and failures
    assert {tag for tag, a in found.elements if a.get("class") == "oracle"} == set()


# ----------------------------------------------------------------------------- files

PARTS = {
    "episode.mp4": "python evaluate.py",
    "evaluation.json": "python evaluate.py",
    "episodes.npz": "were not kept",
    "metrics.jsonl": "",
    "pictures/latent_space.png": "",
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_not_there_is_left_out_or_named(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run", film=True)
    whole = page(folder)
    (folder / name).unlink()
    found = page(folder)
    assert len(found.elements) < len(whole.elements) or PARTS[name]
    assert PARTS[name] in found.text


def test_a_bare_run_has_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    optional = ("recoveries", "resumed", "began_anew_in_round", "open_loop_error")
    bare = {name: value for name, value in summary().items() if name not in optional}
    (folder / "run.json").write_text(json.dumps(bare))
    assert "trained, not evaluated yet" in page(folder).text
    assert "2 runs side by side" in page(folder, folder).text


DAMAGED: dict[str, tuple[str, bytes]] = {
    "not JSON": ("run.json", b"{"),
    "not UTF-8": ("run.json", b"\xff\xfe"),
    "nested JSON": ("run.json", b"[" * 200_000),
    "a list": ("evaluation.json", b"[]"),
    "lacks a key": ("evaluation.json", b'{"success_rate": 1.0, "time_in_goal": 0.5}'),
    "a huge number": ("metrics.jsonl", b'{"step": 1' + b"0" * 400 + b"}"),
    "infinite": ("metrics.jsonl", b'{"step": 1, "loss": 1e999}'),
    "a text for a number": ("metrics.jsonl", b'{"step": "one"}'),
    "no row": ("metrics.jsonl", b"3"),
    "no archive": ("episodes.npz", b"states"),
    "no film": ("episode.mp4", b"<svg onload='alert(1)'>"),
    "no picture": ("pictures/rollouts.png", b"<svg onload='alert(1)'>"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    folder, (file, content) = make_run(tmp_path / "run"), DAMAGED[name]
    (folder / file).write_bytes(content)
    with pytest.raises(E2CError) as caught:
        write_report([folder], tmp_path / "page.html")
    assert str(folder / file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not (tmp_path / "page.html").exists()


WRONG: dict[str, Change] = {
    "its content / seconds / train is long": lambda about, _: about["seconds"].update(train="long"),
    "its content / seconds has no 'total'": lambda about, _: about["seconds"].pop("total"),
    "its content / config has no 'env'": lambda about, _: about["config"].pop("env"),
    "its content / data / 0 is 7": lambda about, _: about["data"].insert(0, 7),
    "its content / steps is True": lambda about, _: about.update(steps=True),
    "its content / recoveries / 0 has no 'step'": lambda a, _: a.update(recoveries=[{}]),
    "its content / open_loop_error / 1 is x": lambda a, _: a.update(open_loop_error=[1, "x"]),
    "its content / episodes / 1 / start / 0 is a": (
        lambda _, results: results["episodes"][1].update(start=["a"])
    ),
    "its content / episodes / 0 / faults / blind is many": (
        lambda _, results: results["episodes"][0].update(faults={"blind": "many"})
    ),
    "its content / time_in_goal is a number above 1e+100": (
        lambda _, results: results.update(time_in_goal=-(10**101))
    ),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_value_of_a_wrong_type_is_named(tmp_path: Path, sentence: str) -> None:
    folder = make_run(tmp_path / "run", WRONG[sentence])
    with pytest.raises(E2CError, match=re.escape(sentence)):
        write_report([folder], tmp_path / "page.html")


@pytest.mark.parametrize("shape", [(4, 31, 2), (5, 30, 2), (5, 31, 3)])
def test_an_oracle_of_other_episodes_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = make_run(tmp_path / "run")
    write_episodes(folder, STATES, np.zeros(shape))
    with pytest.raises(E2CError, match=re.escape(str(shape))):
        write_report([folder], tmp_path / "page.html")


def test_episodes_of_no_state_are_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_episodes(folder, STATES[..., :0], STATES[..., :0])
    with pytest.raises(E2CError, match=r"\(5, 31, 0\)"):
        write_report([folder], tmp_path / "page.html")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(E2CError, match=r"no run that has ended.*python train\.py"):
        write_report([tmp_path / name], tmp_path / "page.html")


def test_a_film_too_large_for_the_page_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", film=True)
    with (folder / runs.VIDEO).open("ab") as file:
        file.truncate(MAX_EMBEDDED_BYTES + 1)
    found = page(folder)
    assert not found.all("video")
    assert str(folder / runs.VIDEO) in found.text
    assert len(found.all("img")) == 3
    assert (tmp_path / "page.html").stat().st_size < 1_000_000


def test_the_folder_of_the_page_is_made(tmp_path: Path) -> None:
    write_report([make_run(tmp_path / "run")], tmp_path / "a" / "b" / "page.html")
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["page.html"]


# ----------------------------------------------------------------------------- comparison


def test_a_comparison_begins_with_what_differs(tmp_path: Path) -> None:
    def another(about: dict[str, Any], results: dict[str, Any]) -> None:
        about["config"]["objective"]["horizon"] = 5
        about["seed"] = 12
        results["success_rate"] = 0.25

    both = make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "run", another)
    found = page(*both)
    text = found.text
    differing = text[text.index("Where they differ") : text.index("What they reached")]
    names = [str(folder) for folder in both]
    assert all(name in differing for name in names), "told apart, though both are called run"
    assert "seed 11 12" in differing
    assert "objective.horizon 8 5" in differing
    assert "data" not in differing
    assert (
        f"python -m e2c.report {shlex.join(names)} --out {tmp_path / 'a/page.html'}" in found.texts
    )
    assert "steps" not in differing
    assert "Success 80.0% 25.0%" in text
    lines = [a for a in found.all("path") if "line" in a.get("class", "")]
    assert len([a for a in lines if "colour-1" in a["class"]]) >= len(TERMS)


def test_many_runs_look_different(tmp_path: Path) -> None:
    found = page(*[make_run(tmp_path / str(number)) for number in range(9)])
    legend = [a["class"] for a in found.all("path") if a["d"] == "M2 4H26"][:9]
    assert len(set(legend)) == 9


def test_films_are_shown_side_by_side(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", film=True)
    found = page(first, make_run(tmp_path / "second"), make_run(tmp_path / "third", film=True))
    assert len(found.all("video")) == 2
    assert "No film" in found.text


def test_films_beyond_what_a_page_can_hold_are_left_out(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, film=True) for name in ("first", "second", "third")]
    for folder in folders[:2]:
        with (folder / runs.VIDEO).open("ab") as file:
            file.truncate(2 * MAX_EMBEDDED_BYTES // 3)
    assert len(page(*folders).all("video")) == 2
    assert (tmp_path / "page.html").stat().st_size < 1.4 * MAX_EMBEDDED_BYTES


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    found = page(make_run(tmp_path / "first"), make_run(tmp_path / "second"))
    assert "In nothing that is recorded" in found.text


# ----------------------------------------------------------------------------- charts


def decoded(path: str) -> list[NDArray[np.float64]]:
    """The lines that an SVG path made by `charts.trace` draws, in units of the drawing."""
    lines = []
    for piece in re.findall(r"M([^M]+)", path):
        numbers = np.array(re.findall(r"-?\d+", piece), np.float64).reshape(-1, 2)
        lines.append(numbers.cumsum(0) / charts.FINEST)
    return lines


def test_a_line_goes_through_its_points_and_leaves_gaps() -> None:
    x, y = np.arange(9.0) * 7.3, RNG.normal(size=9) * 100
    y[3] = np.nan
    first, second = decoded(charts.trace(x, y))
    np.testing.assert_allclose(first, np.stack([x, y], -1)[:3], atol=0.051)
    np.testing.assert_allclose(second, np.stack([x, y], -1)[4:], atol=0.051)


def test_a_line_that_goes_back_begins_anew() -> None:
    drawn = charts.chart("t", "step", [charts.Line("a", [1, 2, 3, 2, 3], [5, 6, 7, 8, 9], 0)])
    assert [len(line) for line in decoded(drawn.lines[0].path)] == [3, 2]


def test_a_single_point_is_a_dot() -> None:
    drawn = charts.chart("t", "round", [charts.Line("a", [1], [0.5], 0)])
    (line,) = decoded(drawn.lines[0].path)
    assert line.tolist() == [line[0].tolist()] * 2


def test_lines_of_one_chart_share_their_axes() -> None:
    lines = [charts.Line("a", [0, 10], [0, 1], 0), charts.Line("b", [0, 20], [1, 2], 1)]
    a, b = (decoded(line.path)[0] for line in charts.chart("t", "step", lines).lines)
    assert a[1].tolist() == pytest.approx([(a[0, 0] + b[1, 0]) / 2, b[0, 1]], abs=0.06)
    assert charts.LEFT < a[0, 0] < b[1, 0] < charts.RIGHT
    assert charts.TOP < b[1, 1] < a[0, 1] < charts.BOTTOM


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        ([0, 100], "linear", {"0", "25", "50", "75", "100"}),
        ([-2, 3], "linear", {"−2", "0", "2"}),
        ([1, 4], "whole", {"1", "2", "3", "4"}),
        ([1, 20], "log", {"1", "2", "5", "10", "20"}),
        ([1e-6, 1e2], "log", {"1e−4", "0.01", "1", "100"}),
        ([-4, 7], "turns", {"−π", "0", "π", "2π"}),
    ],
)
def test_ticks_are_round_and_in_their_places(
    values: list[float], kind: str, labels: set[str]
) -> None:
    axis = charts.axis(values, 10, 110, kind)
    ticks = axis.ticks()
    assert labels <= {tick.label for tick in ticks}
    assert all(10 <= tick.at <= 110 for tick in ticks)
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [math.nan], [-1e100, 1e100]])
@pytest.mark.parametrize("kind", ["linear", "log"])
def test_any_values_have_an_axis(values: list[float], kind: str) -> None:
    axis = charts.axis(values, 10, 110, kind)
    assert math.isfinite(axis.low)
    assert axis.low < axis.high
    assert len(axis.ticks()) < 20


def test_a_log_axis_does_not_reach_down_to_nothing() -> None:
    assert 1e-14 < charts.axis([1e-300, 1e-6, 1.0], 10, 110, "log").low < 1e-6


def test_a_log_axis_is_for_more_than_a_decade_above_zero() -> None:
    def labels(*values: float) -> set[str]:
        line = charts.Line("a", range(len(values)), values, 0)
        return {tick.label for tick in charts.chart("t", "step", [line]).y_ticks}

    assert "100" in labels(1.0, 1e4)
    assert "2500" in labels(-1.0, 1.0, 1e4)
    assert "100" in labels(0.0, 1.0, 1e4), "what is zero has no place there"
    small = labels(1e-4, 1e-2, 1.0)
    assert {"1e−4", "0.01"} <= small
    assert max(map(len, small)) <= 5, "what is longer leaves its card"


def test_rounds_are_whole_and_their_shares_keep_their_axis() -> None:
    rows = [{"round": k, "own_success_rate": 0.0} for k in (1, 2, 3)]
    (drawn,) = own_charts([Run(Path("run"), {}, rows, None, None, None, {})], ["run"])
    assert {"0", "1"} < {tick.label for tick in drawn.y_ticks}
    assert {tick.label for tick in drawn.x_ticks} == {"1", "2", "3"}


def test_long_lines_are_thinned() -> None:
    line = charts.Line("a", range(20 * charts.MOST_POINTS), [1.0] * 20 * charts.MOST_POINTS, 0)
    (drawn,) = decoded(charts.chart("t", "step", [line]).lines[0].path)
    assert len(drawn) == charts.MOST_POINTS


def test_episodes_begin_in_the_same_turn_of_the_phase_plane() -> None:
    states = STATES[:2].copy()
    states[1] = states[0] - [4 * math.pi, 0]
    plane = phase_plane(Episodes(states, states, task(HEADER, 2)))
    assert plane is not None
    assert plane.agent[0] == plane.agent[1] == plane.oracle[0]


def test_rows_run_down_and_columns_to_the_right_as_in_the_pictures() -> None:
    row, column = ({"name": n, "unit": "px", "goal_half_width": 2.0} for n in ("row", "column"))
    states = np.array([[[5.0, 5.0], [5.0, 30.0], [37.0, 30.0]]])
    header = {**HEADER, "components": [row, column], "goals": [[37.0, 30.0]]}
    plane = phase_plane(Episodes(states, states, task(header, 2)))
    assert plane is not None
    assert plane.title == "Row against column"
    assert plane.axes == ("column [px]", "row [px]")
    ((way,),) = (decoded(path) for path in plane.agent)
    (right, down), (still, end) = np.diff(way, axis=0)
    assert right > 0 == down
    assert end > 0 == still
    ((left, top, width, height),) = plane.goals
    assert (left + width / 2, top + height / 2) == pytest.approx(tuple(way[-1]), abs=0.1)


def test_it_is_marked_where_own_episodes_begin(tmp_path: Path) -> None:
    def recorded(step: float) -> dict[str, float]:
        return {"step": step, "lr": 1.0}

    rows = [recorded(50.0), recorded(150.0), {"round": 1.0}, recorded(250.0)]
    runs_of = [Run(Path("run"), {}, kept, None, None, None, {}) for kept in (rows, rows[:2])]
    marked, plain = (loss_charts([run], ["run"])[0] for run in runs_of)
    assert plain.mark is None
    assert marked.mark is not None
    assert marked.mark.at == pytest.approx(
        (marked.x_ticks[0].at + marked.x_ticks[-1].at) / 2, abs=90
    )
    assert loss_charts(runs_of, ["a", "b"])[0].mark is None
    assert charts.own_rounds(rows) == 200.0


def test_goal_regions_stand_at_full_turns() -> None:
    states = np.array([[[3.1, -3.0], [-0.5, 0.0], [7.0, 3.0]]])
    plane = phase_plane(Episodes(states, states, task(HEADER, 2)))
    assert plane is not None
    at = {tick.label: tick.at for tick in plane.x_ticks}
    middles = [left + width / 2 for left, _, width, _ in plane.goals]
    assert {(top, height) for _, top, _, height in plane.goals} == {(10, 252)}
    assert middles == pytest.approx([at["0"], at["2π"]])
    assert plane.goals[0][2] / (at["2π"] - at["0"]) == pytest.approx(0.4 / (2 * math.pi))


# ----------------------------------------------------------------------------- safety

EVENTS = re.compile(r"on\w+")


def hostile(about: dict[str, Any], results: dict[str, Any]) -> None:
    """Put markup wherever a text can be."""
    about["config"] |= {"env": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}, "items": [HOSTILE, "\ud800"]}
    about["commit"] = HOSTILE
    about["data"][0]["sha256"] = HOSTILE
    about["recoveries"][0]["reason"] = HOSTILE
    about["seconds"][HOSTILE] = 3.0
    for part in ("versions", "machine"):
        about[part] |= {HOSTILE: HOSTILE, "items": {HOSTILE: HOSTILE}}
    results["disturbance"][HOSTILE] = HOSTILE
    results["episodes"][0] |= {HOSTILE: HOSTILE, "faults": {HOSTILE: 3}}


def hostile_runs(folder: Path) -> tuple[Path, Path]:
    """Two runs that differ, in a folder with a name as bad as a file system allows."""
    bad = folder / (HOSTILE.replace("/", "\\") + os.fsdecode(b"\xff"))
    return make_run(bad / "a", hostile, film=True), make_run(bad / "b")


def test_what_stands_in_files_is_text(tmp_path: Path) -> None:
    first, second = hostile_runs(tmp_path)
    for found in (page(first), page(first, second)):
        assert len(found.all("script")) == len(found.all("style")) == 1
        assert {a.get("src", "data:")[:5] for _, a in found.elements} == {"data:"}
        assert not [a for _, a in found.elements if any(map(EVENTS.fullmatch, a))]
        assert HOSTILE in " ".join(found.texts)
        assert "49" not in [text for text in found.texts if "window" in text]


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    page(make_run(tmp_path / "run", film=True))
    html = (tmp_path / "page.html").read_text()
    assert not re.search(r"https?:|@import|url\(|<link rel=.(?!icon)", html)
    assert len(html) < 1_500_000


def test_the_policy_allows_the_page_s_own_script_alone(tmp_path: Path) -> None:
    found = page(make_run(tmp_path / "run"))
    (policy,) = [a["content"] for a in found.all("meta") if "http-equiv" in a]
    html = (tmp_path / "page.html").read_text()
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not [a for _, a in found.elements if "style" in a], "the policy would not let it pass"


def test_films_and_pictures_arrive_as_they_were(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", film=True)
    found = page(folder)
    (film,) = found.all("video")
    assert b64decode(film["src"].split(",")[1]) == (folder / runs.VIDEO).read_bytes()
    assert {"muted", "loop", "autoplay", "playsinline", "controls", "aria-label"} <= set(film)
    assert all(picture["alt"] for picture in found.all("img"))
    assert all(drawing.get("aria-label") for drawing in found.all("svg") if "role" in drawing)


# ----------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def launched() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of these browsers is on the PATH: {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=QUIET)


@pytest.fixture
def browser(launched: Browser) -> Iterator[Browser]:
    """A browser whose pages are closed again: their films would play on and on."""
    yield launched
    for context in launched.contexts:
        context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, with a film, and made of hostile texts."""
    folder = tmp_path_factory.mktemp("pages")
    a, b = make_run(folder / "a", film=True), make_run(folder / "b", film=True)
    wanted = {"run": [a], "comparison": [a, b]}
    first, second = hostile_runs(folder)
    wanted |= {"hostile run": [first], "hostile comparison": [first, second]}
    for name, folders in wanted.items():
        write_report(folders, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in wanted}


KINDS = ("run", "comparison", "hostile run", "hostile comparison")


class Opened:
    """A page in a browser, what it asked for and what it complained of."""

    def __init__(self, browser: Browser, path: Path, width: int = 1440, **options: Any) -> None:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page: Page = context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def chosen(self) -> set[str]:
        """The episodes that are marked anywhere, or told."""
        found = self.page.locator(".chosen").evaluate_all("all => all.map(e => e.dataset.episode)")
        told = self.page.locator("#told").inner_text()
        row = self.page.locator("input:checked").get_attribute("value")
        number = re.match(r"episode (\d+)", told)
        assert number is not None
        return {*found, str(row), str(int(number[1]) - 1)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_opens_without_a_network_or_a_complaint(
    browser: Browser, pages: dict[str, Path], kind: str
) -> None:
    opened = Opened(browser, pages[kind])
    opened.page.wait_for_function("document.querySelector('video').readyState >= 2")
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [pages[kind].as_uri()]
    assert opened.page.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_as_wide_as_its_window(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    opened = Opened(browser, pages[kind], width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_film_plays(browser: Browser, pages: dict[str, Path]) -> None:
    film = Opened(browser, pages["run"]).page.locator("video")
    film.scroll_into_view_if_needed()
    handle = film.element_handle()
    film.page.wait_for_function("film => film.currentTime > 0.2", arg=handle)
    assert film.evaluate("film => [film.videoWidth, film.videoHeight]") == [64, 48]
    assert film.evaluate("film => film.muted && film.loop && !film.paused")


def test_the_film_stands_still_for_who_wants_less_motion(
    browser: Browser, pages: dict[str, Path]
) -> None:
    film = Opened(browser, pages["run"], reduced_motion="reduce").page.locator("video")
    film.scroll_into_view_if_needed()
    film.page.wait_for_function("film => film.readyState >= 3", arg=film.element_handle())
    assert film.evaluate("film => film.paused && film.currentTime == 0")


def test_an_episode_is_chosen_by_pointer_and_by_keyboard(
    browser: Browser, pages: dict[str, Path]
) -> None:
    opened = Opened(browser, pages["run"])
    assert opened.chosen() == {"2"}
    opened.page.locator("tr[data-episode='4'] td").first.click()
    assert opened.chosen() == {"4"}
    opened.page.keyboard.press("Tab")
    opened.page.locator("input[value='4']").focus()
    opened.page.keyboard.press("ArrowUp")
    assert opened.chosen() == {"3"}
    opened.page.locator(".map [data-episode='1']").click()
    assert opened.chosen() == {"1"}
    opened.page.locator(".plane [data-episode='0'] .agent").dispatch_event("click")
    assert opened.chosen() == {"0"}
    oracles = opened.page.locator(".plane svg .oracle")
    seen = oracles.evaluate_all("all => all.map(e => getComputedStyle(e).visibility)")
    assert seen.count("visible") == 1
    assert opened.complaints == []


def test_a_command_is_copied_with_one_press(browser: Browser, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["run"], permissions=["clipboard-read", "clipboard-write"])
    command = opened.page.locator("pre").first
    command.get_by_role("button", name="Copy").click()
    command.get_by_role("button", name="Copied").wait_for()
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == command.locator("code").inner_text()
    assert opened.complaints == []


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``; WCAG 2.2."""
    rgb = np.array(re.findall(r"[\d.]+", colour)[:3], np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_in_both_themes(
    browser: Browser, pages: dict[str, Path], scheme: Any
) -> None:
    opened = Opened(browser, pages["run"], color_scheme=scheme)

    def colour(name: str) -> float:
        script = """name => {
            document.body.style.color = `var(--${name})`;
            return getComputedStyle(document.body).color;
        }"""
        return luminance(opened.page.evaluate(script, name))

    paper = colour("paper")
    assert (paper > 0.5) == (scheme == "light")
    least = dict.fromkeys(("ink", "muted", "accent", "failure"), 4.5)
    least |= {f"colour-{k}": 3.0 for k in range(4)}
    for name, ratio in least.items():
        low, high = sorted((paper, colour(name)))
        assert (high + 0.05) / (low + 0.05) >= ratio, name


def test_a_run_in_a_world_that_tells_no_states_has_a_page(tmp_path: Path) -> None:
    """What is not known is left out; the film and the training are shown all the same."""

    def untold(about: dict[str, Any], results: dict[str, Any]) -> None:
        results.clear()
        rows = [
            {"steps": 40, "distance_at_start": 0.9, "distance_at_end": 0.125},
            {"steps": 12, "distance_at_start": 0.7, "distance_at_end": 0.25},
        ]
        results |= {"distance_at_start": 0.8, "distance_at_end": 0.19, "return_mean": -3.5}
        results |= {"episodes": rows}

    folder = make_run(tmp_path / "run", untold, film=True)
    (folder / "episodes.npz").unlink()
    text = page(folder).text
    assert "2 episodes were played" in text
    assert "mean return -3.5" in text
    assert "distance to the goal 0.19 0.8 at the start" in text
    assert "Whether an episode reached the goal is not told" in text
    assert "where 1 is as far as the data spread" in text
    assert "distance at start distance at end" in text
    assert "coloured by what the model never saw" not in text
    assert "✕ failure" not in text
    assert "outcome" not in text
    both = page(folder, make_run(tmp_path / "other")).text
    assert "Where they differ" in both


def test_the_terms_of_an_older_run_are_called_by_their_names(tmp_path: Path) -> None:
    def older(about: dict[str, Any], results: dict[str, Any]) -> None:
        del about["terms"]

    text = page(make_run(tmp_path / "run", older)).text
    assert "Reconstruction [nats]" not in text
    assert "reconstruction" in text


def test_the_page_and_the_plots_have_the_same_colours() -> None:
    css = (ROOT / "e2c" / "report" / "templates" / "style.css").read_text("utf-8").lower()
    light = css[: css.index("prefers-color-scheme")]
    for name in ("PAPER", "INK", "MUTED", "LINE", "GRID"):
        assert f"--{name.lower()}: {getattr(style, name)}" in light
