"""dm_control's pendulum as it is measured: no run sees more frames than it says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import dmc_pendulum
from benchmarks.dmc_pendulum import ROUNDS, STEPS, DmcPendulum
from e2c.errors import E2CError
from e2c.learning.begin import Run
from e2c.learning.own import round_steps
from e2c.learning.probe import TRANSITIONS as PROBED


def rounds(config: Any, first: int) -> int:
    """The own rounds of a run whose first data have so many transitions."""
    told: Any = SimpleNamespace(
        config=config,
        data=[SimpleNamespace(transitions=first)],
        recipe=SimpleNamespace(data=()),
        spec=SimpleNamespace(episode_steps=STEPS),
    )
    found: int = Run.rounds.fget(told)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("frames", ROUNDS)
def test_no_run_sees_more_frames_whenever_it_sees_the_goal(frames: int) -> None:
    """First data come in whole episodes, until one shows the goal or enough rounds are replaced."""
    config: Any = dmc_pendulum.config(frames)
    a_round = round_steps(config.data, SimpleNamespace(episode_steps=STEPS))  # type: ignore[arg-type]
    most = config.data.transitions + config.data.rounds // 2 * a_round
    lengths = range(config.data.transitions, most + STEPS, STEPS)
    assert len(lengths) > 2
    for first in lengths:
        transitions = PROBED + first + rounds(config, first) * a_round
        assert 0.9 * frames < config.camera.repeat * transitions <= frames


def test_cells_of_other_numbers_of_frames_have_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dmc_pendulum, "_measure", lambda cell, **_: {"returns": [1.0, 3.0]})
    for frames in ROUNDS:
        DmcPendulum(cell="3", frames=(frames,), results=tmp_path)()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert found == {f"dmc_pendulum/{place}3.json" for place in ("10000/", "", "40000/")}


def test_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(E2CError, match=r"--frames is 5; choose among: 10000, 20000, 40000\."):
        DmcPendulum(frames=(10_000, 5), results=tmp_path)()
