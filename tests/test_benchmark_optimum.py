"""The dynamic program: its steps, its values and its command."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from benchmarks import optimum as benchmark
from benchmarks.optimum import Floats, Optimum, Pendulum, Program, SuitePendulum, back_up, play
from benchmarks.store import read
from e2c.control.agent import PlannerConfig
from e2c.errors import E2CError

SUITE = """
<mujoco>
  <option timestep="0.02"><flag contact="disable"/></option>
  <worldbody><body>
    <joint name="hinge" axis="0 1 0" damping="0.1"/>
    <geom type="sphere" pos="0 0 0.5" size="0.05" mass="1"/>
  </body></worldbody>
  <actuator><motor joint="hinge" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""
"""What dm_control's model says of the motion of its pendulum."""


def test_the_suites_pendulum_moves_as_in_mujoco() -> None:
    model, rng = mujoco.MjModel.from_xml_string(SUITE), np.random.default_rng(0)
    data, pendulum = mujoco.MjData(model), SuitePendulum()
    data.qpos[:], data.qvel[:] = 1.5, 0.5
    state, turned = np.array([[1.5, 0.5]]), 0.0
    for _ in range(150):
        u = rng.uniform(-1, 1)
        for predicted in pendulum.path(state, np.array([[u]])):
            data.ctrl[:] = u
            mujoco.mj_step(model, data)
            assert predicted[0] == pytest.approx([data.qpos[0], data.qvel[0]], abs=1e-11)
        state = predicted
        turned = max(turned, abs(state[0, 1]))
    assert turned > 2, "it swings"


def test_derivatives_of_two_steps_are_those_of_their_chain() -> None:
    pendulum, states, u = SuitePendulum(), np.array([[0.3, -1.0], [2.0, 4.0]]), np.full((2, 1), 0.4)
    once = SuitePendulum()
    once.repeat = 1
    first = [once.linearize(states, u), once.linearize(once.predict(states, u), u)]
    fx, fu = pendulum.linearize(states, u)
    np.testing.assert_allclose(fx, first[1][0] @ first[0][0], atol=1e-5)
    np.testing.assert_allclose(fu, first[1][0] @ first[0][1] + first[1][1], atol=1e-5)


def test_backing_up_is_linear_between_points_and_goes_around() -> None:
    later = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    places = np.array([[[2.0, 1.0], [2.25, 0.5]], [[0.0, 2.0], [1.0, 2.999]]])
    scores = np.array([[0.0, 0.0], [5.0, -5.0]])
    now = np.empty(2, np.float32)
    back_up(later, places, scores, now)
    around = 0.75 * (later[2, 0] + later[2, 1]) / 2 + 0.25 * (later[0, 0] + later[0, 1]) / 2
    np.testing.assert_allclose(now, [5 + later[0, 2], around], rtol=1e-6)


class Short(Pendulum):
    """A pendulum whose episodes are short."""

    control_steps = 12


def test_the_program_is_as_good_as_the_best_of_all_sequences() -> None:
    """Bang-bang and none, held for three steps each; the program may switch at any."""
    pendulum = Short()
    start = np.array([[0.35, -0.6]])
    program = Program(pendulum, 200)
    played = play(pendulum, program.policy, start)["in_goal"]
    held = np.array(np.meshgrid(*[[-2.0, 0.0, 2.0]] * 4)).reshape(4, -1)

    def sequences(t: int, states: Floats) -> Floats:
        return held[t // 3][:, None]

    states, total = np.repeat(start, held.shape[1], 0), np.zeros(held.shape[1])
    for t in range(pendulum.control_steps):
        path = pendulum.path(states, sequences(t, states))
        states, total = path[-1], total + pendulum.score(path)
    assert 0 < total.max() / 12 <= played
    assert program.value(0, start)[0] / 12 == pytest.approx(played, abs=0.1)


def near_the_top(_: Pendulum, rng: np.random.Generator, n: int) -> Floats:
    return rng.uniform(-0.3, 0.3, (n, 2))


def test_both_pendulums_are_measured_told_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(E2CError, match=r"--starts is 0 and --resolutions \[40\]; give at least"):
        Optimum(starts=0, resolutions=(40,))()
    with pytest.raises(E2CError, match=r"resolutions of at least 3[.]"):
        Optimum(resolutions=())()
    quick = PlannerConfig(horizon=5, first_iterations=2, restarts=2)
    cases = {name: (pendulum, quick) for name, (pendulum, _) in benchmark.CASES.items()}
    for pendulum, _ in cases.values():
        monkeypatch.setattr(type(pendulum), "control_steps", 7)
        monkeypatch.setattr(type(pendulum), "sample_starts", near_the_top)
    monkeypatch.setattr(benchmark, "CASES", cases)
    monkeypatch.setattr(benchmark, "SETTLED", 3)
    Optimum(starts=5, resolutions=(20, 40), results=tmp_path)()
    found = read(tmp_path / "optimum.json")
    assert (found["starts"], found["settled_steps"]) == (5, 3)
    assert list(found["pendulums"]) == ["headline", "dm_control"]
    for row in found["pendulums"].values():
        assert [program["resolution"] for program in row["programs"]] == [20, 40]
        assert row["planner"]["horizon"] == 5
        assert 0 <= row["oracle"]["worst_in_goal"] <= row["oracle"]["in_goal"] <= 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| pendulum | program, by resolution | oracle | share |"
    assert len(lines) == 4
