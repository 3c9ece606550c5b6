"""dm_control's tasks as they are measured: no run sees more frames than it says."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import dmc
from benchmarks.dmc import Dmc
from benchmarks.dmc_tasks import FRAMES, SIMULATED, TASKS, config, register
from e2c.errors import E2CError
from e2c.learning.begin import Run
from e2c.learning.own import round_steps
from e2c.learning.probe import TRANSITIONS as PROBED

CASES = [(task, frames) for task in TASKS for frames in TASKS[task].rounds]


def rounds(options: Any, first: int) -> int:
    """The own rounds of a run whose first data have so many transitions."""
    told: Any = SimpleNamespace(
        config=options,
        data=[SimpleNamespace(transitions=first)],
        recipe=SimpleNamespace(data=()),
        spec=SimpleNamespace(episode_steps=SIMULATED // options.camera.repeat),
    )
    found: int = Run.rounds.fget(told)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(("task", "frames"), CASES)
def test_no_run_sees_more_frames_whenever_it_sees_the_goal(task: str, frames: int) -> None:
    """First data come in whole episodes, until one shows the goal or enough rounds are replaced."""
    options: Any = config(task, frames)
    steps = SIMULATED // options.camera.repeat
    a_round = round_steps(options.data, SimpleNamespace(episode_steps=steps))  # type: ignore[arg-type]
    most = options.data.transitions + options.data.rounds // 2 * a_round
    length = options.data.episode_length or steps
    alone = TASKS[task].own_goals  # then there is no probe, and no goal that first data show
    lengths = range(options.data.transitions, most + length, length)[: 1 if alone else None]
    assert alone or len(lengths) > 2
    for first in lengths:
        transitions = (0 if alone else PROBED) + first + rounds(options, first) * a_round
        least = 0.6 if task == "cartpole-balance" else 0.9  # which is learned from fewer
        assert least * frames < options.camera.repeat * transitions <= frames


def test_every_task_and_number_of_frames_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dmc, "_measure", lambda cell, **_: {"returns": [1.0, 3.0]})
    for task, frames in CASES:
        Dmc(cell="3", tasks=(task,), frames=(frames,), results=tmp_path)()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    places = (task if frames == FRAMES else f"{task}/{frames}" for task, frames in CASES)
    assert found == {f"dmc/{place}/3.json" for place in places}


def test_what_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dm_control.suite", None)
    with pytest.raises(E2CError, match=r"needs dm_control, .*: pip install \"e2c\[dmc\]\"\.$"):
        register()


def test_another_task_and_another_number_of_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(E2CError, match=r"--frames is 5; choose among: 10000, 20000, 40000\."):
        Dmc(frames=(10_000, 5), results=tmp_path)()
    with pytest.raises(E2CError, match=r"--tasks is 'walker'; choose among: pendulum-swingup, "):
        Dmc(tasks=("walker",), results=tmp_path)()
