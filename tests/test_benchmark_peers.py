"""Ours and peers do the same work, their times are compared truly, and who is missing is told."""

import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import python
from tiny import ROOT
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.peer_planners import Problem, WorldModelSolver
from benchmarks.peers import WARM_UP, WORKS, Peers, Side, Work, compare
from benchmarks.plain_e2c import PlainE2C
from benchmarks.store import read
from e2c.control.base import make_world, problem_spec
from e2c.control.latent import LatentDynamics
from e2c.errors import E2CError
from e2c.models.draws import Generators
from e2c.models.methods import build_model
from e2c.models.objectives import Batch
from e2c.presets import HEADLINE, preset
from planners import GoalCost

HORIZON = 7
PLANNED = sorted({*WORKS} - {"train", "frames"})


class Clock:
    """A clock that moves only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.worked: list[str] = []

    def __call__(self) -> float:
        return self.now

    def side(self, name: str, *seconds: float) -> Callable[[], Side]:
        """Work that takes so many seconds at the first time, at the second, ..., over and over."""

        def work(number: int) -> None:
            self.worked.append(name)
            self.now += seconds[number % len(seconds)]

        return lambda: work


def work(ours: Callable[[], Side], theirs: Callable[[], Side], **more: Any) -> Work:
    return Work("a nap", "a sleeper", "torch", ours, theirs, **more)


# ---------------------------------------------------------------------------------------- compare


def test_ratios_are_those_of_neighbours_in_time() -> None:
    clock = Clock()
    first = [99.0] * WARM_UP
    naps = work(
        clock.side("ours", *first, 1, 2, 4, 8, 16), clock.side("peer", *first, 2, 6, 20, 8, 160)
    )
    found = compare(naps, 5, clock)
    assert clock.worked == ["ours", "peer"] * (WARM_UP + 5)
    assert found["ratio"] == {"median": 3, "quartiles": [2, 5]}  # of 2, 3, 5, 1, 10
    assert (found["ours_ms"], found["peer_ms"]) == (4000, 8000)
    assert found["repetitions"] == 5
    assert "ours_cost" not in found


def test_long_work_is_repeated_less_often() -> None:
    clock = Clock()
    naps = work(clock.side("ours", 1.0), clock.side("peer", 0.5), repetitions=2)
    found = compare(naps, 5, clock)
    assert (found["repetitions"], found["ratio"]["median"]) == (2, 0.5)


def test_plans_are_priced_outside_of_the_time_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def cost_of(number: int, controls: Tensor) -> float:
        clock.now += 1000
        return float(controls.sum()) * number

    monkeypatch.setattr(peers, "cost_of", cost_of)
    plans = [lambda number, u=u: torch.full((3, 2), u) for u in (1.0, 2.0)]
    timed = [clock.side("", 1.0)(), clock.side("", 3.0)()]

    def side(which: int) -> Side:
        def plan(number: int) -> Tensor:
            timed[which](number)
            return plans[which](number)

        return plan

    found = compare(work(lambda: side(0), lambda: side(1)), 3, clock)
    numbers = [WARM_UP, WARM_UP + 1, WARM_UP + 2]
    assert found["ours_cost"] == pytest.approx(6 * sum(numbers) / 3)
    assert found["peer_cost"] == pytest.approx(12 * sum(numbers) / 3)
    assert (found["ours_ms"], found["peer_ms"], found["ratio"]["median"]) == (1000, 3000, 3)


# ----------------------------------------------------------------------------------------- command


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Works of no time; one needs a module that there is not. Memory is not measured."""
    clock = Clock()
    nap = work(clock.side("ours", 1.0), clock.side("peer", 1.0), flops=lambda: 4e9)
    lost = [dataclasses.replace(nap, needs="not_there") for _ in range(2)]
    works = {"nap": nap, "lost": lost[0], "gone": lost[1]}
    monkeypatch.setattr(peers, "WORKS", works)
    monkeypatch.setattr(peers, "INSTALL", {"not_there": "pip install not-there"})
    monkeypatch.setattr(peers, "memory_of", lambda name, side: {"before": 1.0, "peak": 3.0})
    monkeypatch.setattr(peers, "matmul_rate", lambda: 2e9)


@pytest.mark.usefixtures("naps")
def test_a_missing_peer_is_one_sentence_and_the_others_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Peers(repetitions=2, results=tmp_path)()
    found = read(tmp_path / "peers.json")
    told = capsys.readouterr()
    assert told.err == (
        "not_there is not installed, so these are left out: lost, gone; "
        "to install: pip install not-there\n"
    )
    assert found["missing"] == {"not_there": "pip install not-there"}
    assert list(found["works"]) == ["nap"]
    assert found["works"]["nap"]["peer_memory"] == {"before": 1, "peak": 3}
    assert found["arithmetic"] == {
        "matmul_flops_per_second": 2e9,
        "floors": {"nap": {"flops": 4e9, "floor_ms": 2000}},
    }
    assert {"commit", "versions", "machine"} <= set(found)
    assert found["machine"]["torch_threads"] == 1
    row = next(line for line in told.out.splitlines() if "a nap" in line)
    assert row.endswith("| 3, 3 | 2e+03 |")


@pytest.mark.usefixtures("naps")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"repetitions": 0}, r"--repetitions is 0; it must be at least 1[.]"),
        ({"works": ("sleep",)}, r"There is no work 'sleep'; choose among: nap, lost, gone, all[.]"),
        ({"alone": "nap"}, r"--alone is 'nap'; it must be WORK:ours or WORK:peer"),
        ({"alone": "sleep:ours"}, r"--alone is 'sleep:ours'; it must be"),
    ],
)
def test_what_there_is_not_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(E2CError, match=sentence):
        Peers(**options)()


def test_every_module_that_a_peer_needs_can_be_installed_or_is_ours() -> None:
    assert {item.needs for item in WORKS.values()} == {*peers.INSTALL, "torch"}


# ------------------------------------------------------------------------------------------ memory


def test_memory_is_what_a_side_takes_in_a_process_that_has_the_modules_already() -> None:
    program = (
        "from benchmarks import peers\n"
        "def side():\n"
        "    held = bytearray(64 << 20); held[::4096] = b'x' * len(held[::4096])\n"
        "    return lambda number: held and None\n"
        "peers.WORKS['nap'] = peers.Work('a nap', 'a sleeper', 'torch', side, side)\n"
        "print(*peers.memory_here('nap', 'ours').values())"
    )
    done = python("-c", program, PYTHONPATH=str(ROOT))
    before, peak = map(float, done.stdout.split())
    assert 100 < before < before + 60 < peak < before + 80, done.stderr


def test_a_process_does_not_begin_with_the_memory_of_who_started_it() -> None:
    program = (
        "import subprocess, sys\n"
        "held = bytearray(300 << 20); held[::4096] = b'x' * len(held[::4096])\n"
        "code = 'from benchmarks.cells import peak_memory; print(peak_memory())'\n"
        "print(subprocess.run([sys.executable, '-c', code], capture_output=True).stdout.decode())"
    )
    done = python("-c", program, PYTHONPATH=str(ROOT))
    assert 0 < float(done.stdout) < 300, done.stderr


def test_a_side_works_alone_in_a_process_of_its_own() -> None:
    found = peers.memory_of("train", "peer")
    assert 0 < found["before"] < found["peak"]


def test_a_side_that_fails_alone_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(E2CError, match=r"--alone is"):
        Peers(alone="sleep:ours")()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho e2c: No. >&2\nexit 2\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(E2CError, match=r"sleep:ours ended with status 2: e2c: No."):
        peers.memory_of("sleep", "ours")


# ------------------------------------------------------------------------------------------- train


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-five pairs of images, five of them in a batch."""
    config = preset("paper")
    small = dataclasses.replace(config.optimiser, batch_size=5)
    monkeypatch.setattr(peers, "PAIRS", 25)
    monkeypatch.setattr(peers, "preset", lambda name: dataclasses.replace(config, optimiser=small))
    monkeypatch.setattr(peers, "_windows", functools.cache(peers._windows.__wrapped__))


def test_the_plain_loss_is_ours() -> None:
    spec = dataclasses.replace(problem_spec(make_world(HEADLINE)), observation_shape=(2, 6, 4))
    config = preset("paper").model
    model = build_model(config, spec, torch.zeros(2, 6, 4, dtype=torch.uint8).numpy(), 3)
    plain = PlainE2C(48, 3, 1)
    ours = [
        *model.encoder.parameters(),
        *model.decoder.parameters(),
        *model.transition.parameters(),
    ]
    with torch.no_grad():
        for mine, theirs in zip(ours, plain.parameters(), strict=True):
            theirs.copy_(mine + 0.01 * torch.randn_like(mine))
            mine.copy_(theirs)
        for kind in plain.transition[4].parameters():
            kind[9:] /= spec.control_scale  # B, in the unit of the controls
    x, u = torch.rand(5, 2, 2, 6, 4), torch.randn(5, 1, 1)
    batch = Batch(x, u, torch.arange(2))
    terms = model.terms(batch, Generators(7), preset("paper").objective)
    weights = model.weights(preset("paper").objective, 0.25)
    torch.manual_seed(7)
    loss = plain.loss(x[:, 0].flatten(1), u[:, 0], x[:, 1].flatten(1))
    torch.testing.assert_close(loss, sum(weights[name] * terms[name] for name in terms))


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize("side", ["ours", "peer"])
def test_both_sides_train_on_the_pairs_and_count_the_same_operations(side: str) -> None:
    step = WORKS["train"].side(side)
    step(0)
    with FlopCounterMode(display=False) as counter:
        step(1)
    assert counter.get_total_flops() == pytest.approx(peers.training_flops(), rel=0.02)


# -------------------------------------------------------------------------------------------- plan


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> tuple[Problem, Tensor]:
    """The scenario of few states and a short horizon, whose goal a constant torque reaches."""
    monkeypatch.setattr(peers, "PLANS", 2)
    problem, states = peers.scenario.__wrapped__()
    goal = states[0]
    for _ in range(HORIZON):
        goal = problem.dynamics.step(goal, torch.tensor([1.5]))
    cost = GoalCost(goal, problem.cost.Q, 0.01 * problem.cost.R)
    problem = dataclasses.replace(problem, horizon=HORIZON, cost=cost)
    monkeypatch.setattr(peers, "scenario", lambda: (problem, states))
    return problem, states


def test_a_price_is_the_cost_of_a_plan_and_the_sum_of_its_stages(
    short: tuple[Problem, Tensor],
) -> None:
    problem, states = short
    x, U = states[1], torch.rand(3, HORIZON, 1) * 6 - 3
    stages, at = torch.zeros(3), x.expand(3, -1)
    for u in U.clamp(problem.low, problem.high).unbind(1):
        at = problem.dynamics.step(at, u)
        stages = stages + problem.stage(at, u)
    first = problem.stage(x[None], torch.zeros(1, 1))
    torch.testing.assert_close(problem.price(x, U), first + stages)
    torch.testing.assert_close(problem.price_in_torch(x, U), first + stages)


@pytest.mark.parametrize("lent", [True, False])
def test_a_peer_rolls_out_in_torch_unless_it_is_lent_compiled_code(
    lent: bool, short: tuple[Problem, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, states = short
    calls, step = list[Tensor](), LatentDynamics.step

    def counted(dynamics: LatentDynamics, x: Tensor, u: Tensor) -> Tensor:
        calls.append(x)
        return step(dynamics, x, u)

    monkeypatch.setattr(LatentDynamics, "step", counted)
    monkeypatch.setattr(WorldModelSolver, "__post_init__", lambda _: None)
    solver = WorldModelSolver(problem, "CEMSolver", 0.35, lent, {})
    info, U = {"x": states[None, :1]}, torch.rand(1, 3, HORIZON, 1)
    found = solver.get_cost(info, U)
    assert len(calls) == (0 if lent else HORIZON)
    torch.testing.assert_close(found[0], problem.price(states[0], U[0]))


@pytest.mark.parametrize("side", ["ours", "peer"])
@pytest.mark.parametrize("name", PLANNED)
def test_all_planners_plan_the_same_problem(
    name: str, side: str, short: tuple[Problem, Tensor]
) -> None:
    _need(WORKS[name].needs if side == "peer" else "torch")
    problem, states = short
    torch.manual_seed(0)
    plan, idle = WORKS[name].side(side), torch.zeros(1, HORIZON, 1)
    for number in range(3):
        U = plan(number)
        assert U is not None
        assert U.shape == (HORIZON, 1)
        assert peers.cost_of(number, U) < 0.9 * float(problem.price(states[number], idle))


def _need(module: str) -> None:
    """Skip where a peer is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


@pytest.mark.parametrize("name", ["ilqg", "cem", "mppi"])
@pytest.mark.usefixtures("short")
def test_the_operations_of_a_plan_are_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In torch, which counts them; compiled code takes as many."""
    monkeypatch.setattr(LatentDynamics, "compiled", lambda _: None)
    plan = WORKS[name].side("ours")
    for number in range(2):
        plan(number)
    with FlopCounterMode(display=False) as counter:
        plan(2)
    counted = WORKS[name].flops
    assert counted is not None
    assert 1 <= counter.get_total_flops() / counted() < 1.25


# ------------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize(("side", "recorder"), [("ours", "collect"), ("peer", "record")])
def test_both_sides_draw_as_many_frames(
    side: str, recorder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need(WORKS["frames"].needs if side == "peer" else "torch")
    monkeypatch.setattr(peers, "WORLDS", 3)
    monkeypatch.setattr(peers, "LENGTH", 4)
    made, record = [], getattr(peers, recorder)
    monkeypatch.setattr(peers, recorder, lambda *given: made.append(record(*given)))
    WORKS["frames"].side(side)(0)
    frames = made[0].frames if side == "ours" else made[0].reshape(-1, *made[0].shape[2:])
    assert frames.shape[:3] == (3 * 6, 48, 48)
    assert len({frame.tobytes() for frame in frames}) > 3 * 5
