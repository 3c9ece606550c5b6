"""Does a fault of arithmetic end a run? Strikes 200 times and says what became of each.

python -m benchmarks.faults

Small runs are spoilt: training in its batches, gradients, moments, weights or step size, an
evaluation in its frames, encodings, dynamics, derivatives or costs; at one step, for a few, for
many, or from some step on for ever. A fault is met if the run ends, whatever it leaves is
finite and within its limits, and its own record tells of the fault: skipped steps and recoveries of
training, counts of the agent's faults. Where it strikes for ever and nothing can be done, a run may
end with one sentence. Derivatives that are finite, but wrong, need not be told of: a plan is kept
until a roll-out shows a cheaper one.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.store import Benchmark, Result
from e2c.config import Config, DataConfig, EvaluationConfig, Recipe
from e2c.control.agent import Agent, PlannerConfig
from e2c.control.base import make_world_of, rollout
from e2c.data.windows import Windows
from e2c.errors import E2CError, run_command
from e2c.learning import begin
from e2c.learning import run as learning
from e2c.learning.schedule import OptimiserConfig, Schedule
from e2c.learning.trainer import Trainer
from e2c.models.base import ProblemSpec
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig
from planners import Cost, Dynamics, QuadraticCost, RecedingHorizon

SMALL = Config(
    model=ModelConfig(
        latent_dim=3,
        encoder_hidden=(32,),
        decoder_hidden=(32,),
        transition_hidden=(16,),
        pool=4,
        lattices=4,
    ),
    objective=ObjectiveConfig(horizon=3, targets=2),
    optimiser=OptimiserConfig(steps=150, batch_size=8, dynamics_steps=0, sight_steps=0),
    data=DataConfig(transitions=400, episode_length=10, rounds=0),
    planner=PlannerConfig(horizon=12, first_iterations=8, restarts=3),
    evaluation=EvaluationConfig(episodes=0),
)
"""A training run of a second."""
KEEP_EVERY = 25
"""Its steps between the states that a divergence goes back to."""
EPISODES, STEPS = 2, 40
"""Size of an evaluation."""
LENGTHS = (1, 5, 25, 10**9)
"""Steps that are struck, one after the other; the last is for ever."""


@dataclass(frozen=True)
class Fault:
    """What is spoilt, and when.

    Attributes:
        kind: a name in `TRAINING` or `CLOSED_LOOP`.
        first: the first step that is struck.
        length: how many are, one after the other.
    """

    kind: str
    first: int
    length: int

    def strikes(self, step: int) -> bool:
        """Whether ``step`` is struck."""
        return self.first <= step < self.first + self.length


@dataclass(frozen=True)
class Outcome:
    """What became of a run that was struck.

    Attributes:
        sound: it ended, and whatever it left is finite and within its limits.
        told: its own record, or the sentence it ended with, says that something went wrong.
        record: what its record counts.
        end: the sentence it ended with where nothing could be done, or the error that ended it.
    """

    sound: bool
    told: bool
    record: Mapping[str, int]
    end: str = ""


def outcome(fault: Fault, run: Callable[[Fault], Outcome]) -> Outcome:
    """Judge a run: it must not break, and may give up on what lasts for ever, in one sentence."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return run(fault)
    except E2CError as refusal:
        end = str(refusal)
        single = end.endswith(".") and ". " not in end and "\n" not in end
        return Outcome(fault.length == LENGTHS[-1], single, {"refused": 1}, end)
    except Exception as error:
        return Outcome(False, False, {"broken": 1}, repr(error))


# ---------------------------------------------------------------------------------------- training


def nan_batch(trainer: Struck) -> None:
    """Let the next batch hold NaN."""
    trainer.spoil_batch = True


def gradients(factor: float) -> Callable[[Struck], None]:
    """Multiply the gradients of the next step."""

    def strike(trainer: Struck) -> None:
        trainer.gradient_factor = factor

    return strike


def moments(name: str, value: float) -> Callable[[Struck], None]:
    """Overwrite a moment of Adam's, of every parameter."""

    def strike(trainer: Struck) -> None:
        for state in trainer.adam.state.values():
            state[name].fill_(value)

    return strike


def weights(factor: float) -> Callable[[Struck], None]:
    """Multiply all weights, as a run that diverges does."""

    def strike(trainer: Struck) -> None:
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.mul_(factor)

    return strike


def step_size(factor: float) -> Callable[[Struck], None]:
    """Multiply the step size of the next step."""

    def strike(trainer: Struck) -> None:
        trainer.rate_factor = factor

    return strike


TRAINING: dict[str, Callable[[Struck], None]] = {
    "a batch is NaN": nan_batch,
    "gradients are inf": gradients(torch.inf),
    "gradients are NaN": gradients(torch.nan),
    "gradients are zero": gradients(0.0),
    "Adam's mean is NaN": moments("exp_avg", torch.nan),
    "Adam's mean is huge": moments("exp_avg", 1e30),
    "Adam's square is negative": moments("exp_avg_sq", -1.0),
    "Adam's square is inf": moments("exp_avg_sq", torch.inf),
    "weights times 1,000": weights(1e3),
    "weights are inf": weights(torch.inf),
    "step size times 10,000": step_size(1e4),
}
"""What can be struck in training."""


class Struck(Trainer):
    """Training of which some updates are struck; a step taken again counts again."""

    def __init__(self, fault: Fault, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fault, self.updates = fault, 0
        self.spoil_batch, self.gradient_factor, self.rate_factor = False, 1.0, 1.0
        for parameter in self.model.parameters():
            parameter.register_hook(lambda gradient: gradient * self.gradient_factor)

    def _update(self, windows: Windows, schedule: Schedule) -> dict[str, float]:
        self.spoil_batch, self.gradient_factor, self.rate_factor = False, 1.0, 1.0
        if self.fault.strikes(self.updates):
            TRAINING[self.fault.kind](self)
        self.updates += 1
        with (
            mock.patch.object(windows, "sample", self._spoilt(windows)),
            mock.patch.object(self, "scale", self.rate_factor * self.scale),
        ):
            return super()._update(windows, schedule)

    def _spoilt(self, windows: Windows) -> Callable[..., tuple[Tensor, Tensor]]:
        sample = windows.sample

        def spoilt(*arguments: Any) -> tuple[Tensor, Tensor]:
            x, u = sample(*arguments)
            return (x * torch.nan if self.spoil_batch else x), u

        return spoilt


def train_struck(seed: int, fault: Fault) -> Outcome:
    """Train a small model, struck by ``fault``."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(begin, "Trainer", partial(Struck, fault)),
        mock.patch.object(learning, "KEEP_EVERY", KEEP_EVERY),
    ):
        run = learning.train(Recipe(SMALL, seed=seed), Path(folder) / "run")
        told = json.loads((run.folder / "run.json").read_text())
    record = {"skipped_steps": told["skipped_steps"], "recoveries": len(told["recoveries"])}
    sound = all(bool(value.isfinite().all()) for value in run.model.state_dict().values())
    return Outcome(sound, any(record.values()), record)


# ------------------------------------------------------------------------------------- closed loop


@dataclass
class StruckDynamics:
    """Dynamics that are spoilt while ``kind`` says so."""

    sound: Dynamics
    kind: str = ""

    def __post_init__(self) -> None:
        self.state_dim, self.control_dim = self.sound.state_dim, self.sound.control_dim

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next state, perhaps spoilt."""
        spoilt = {"dynamics are NaN": torch.nan, "dynamics are inf": torch.inf}
        return self.sound.step(x, u) + spoilt.get(self.kind, 0.0)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Jacobians, perhaps spoilt."""
        fx, fu = self.sound.linearize(x, u)
        factors = {
            "Jacobians are NaN": (torch.nan, torch.nan),
            "Jacobians are inf": (1.0, torch.inf),
            "Jacobians are huge": (1e30, 1e30),
            "Jacobians are zero": (0.0, 0.0),
            "Jacobians are wrong": (1.0, -1.0),
        }
        by_x, by_u = factors.get(self.kind, (1.0, 1.0))
        return by_x * fx, by_u * fu


@dataclass
class StruckCost:
    """A cost that is spoilt as ``kind`` says."""

    sound: Cost
    kind: str

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        """Return the cost, perhaps spoilt."""
        spoilt = {"cost is inf": torch.inf, "cost is NaN": torch.nan}
        return self.sound.total(X, U) + spoilt.get(self.kind, 0.0)

    def quadratize(self, X: Tensor, U: Tensor) -> QuadraticCost:
        """Return the derivatives, perhaps spoilt."""
        exact = self.sound.quadratize(X, U)
        factors = {"Hessian is NaN": torch.nan, "Hessian is indefinite": -1e15}
        if self.kind == "Hessian is singular":
            return QuadraticCost(exact.cx, 0 * exact.cu, 0 * exact.cxx, 0 * exact.cuu, exact.cux)
        return exact._replace(cuu=factors.get(self.kind, 1.0) * exact.cuu)

    def select(self, rows: Tensor) -> StruckCost:
        """Return the cost of the problems ``rows`` alone."""
        return StruckCost(self.sound.select(rows), self.kind)


VIEW, PLAN, NOTHING = {"blind"}, {"not_finite", "not_positive_definite"}, set[str]()
CLOSED_LOOP = {
    "a frame is black": VIEW,
    "the encoding is NaN": VIEW,
    "dynamics are NaN": PLAN,
    "dynamics are inf": PLAN,
    "Jacobians are NaN": PLAN,
    "Jacobians are inf": PLAN,
    "Jacobians are huge": PLAN,
    "Jacobians are zero": NOTHING,
    "Jacobians are wrong": NOTHING,
    "cost is inf": PLAN,
    "cost is NaN": PLAN,
    "Hessian is NaN": PLAN,
    "Hessian is indefinite": PLAN,
    "Hessian is singular": NOTHING,
}
"""What can be struck in the closed loop, and which counts of the agent's must tell of it."""


@contextlib.contextmanager
def struck(agent: Agent, fault: Fault) -> Iterator[None]:
    """Let ``fault`` strike an agent at the steps of its next episodes."""
    planner = agent.planner
    assert isinstance(planner, RecedingHorizon)  # the small agent's
    steps, dynamics = itertools.count(), StruckDynamics(planner.dynamics)
    act, plan, read = agent.act, planner.plan, agent.model.read
    C, now = agent.spec.planes[0], 0

    def act_struck(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal now
        now, seen = next(steps), frames.copy()
        for age in range(C if fault.kind == "a frame is black" else 0):
            seen[:, C - 1 - age] *= not fault.strikes(now - age)
        return within_limits(act(seen), agent.spec)

    def read_struck(images: Tensor) -> Any:
        q = read(images)
        spoilt = fault.kind == "the encoding is NaN" and fault.strikes(now)
        return replace(q, mean=q.mean * torch.nan) if spoilt else q

    def plan_struck(x0: Tensor, cost: Cost) -> Any:
        dynamics.kind = fault.kind if fault.strikes(now) else ""
        return plan(x0, StruckCost(cost, dynamics.kind))

    agent.reset()
    with contextlib.ExitStack() as patches:
        for owner, name, value in (
            (agent, "act", act_struck),
            (agent, "reset", lambda goal: None),
            (agent.model, "read", read_struck),
            (planner, "plan", plan_struck),
            (planner, "dynamics", dynamics),
        ):
            patches.enter_context(mock.patch.object(owner, name, value))
        yield


def within_limits(actions: NDArray[np.float32], spec: ProblemSpec) -> NDArray[np.float32]:
    """Return what an agent asks for; the loop would cut it to the limits before it acts.

    Raises:
        ValueError: when it is not within the limits, or not finite.
    """
    if not ((actions >= spec.control_low) & (actions <= spec.control_high)).all():
        raise ValueError(f"The agent asked for {actions.tolist()}.")
    return actions


def evaluate_struck(agent: Agent, seed: int, fault: Fault) -> Outcome:
    """Evaluate ``agent``, struck by ``fault``."""
    world, rng = make_world_of(agent.spec, EPISODES), np.random.default_rng(seed)
    with struck(agent, fault):
        played = rollout(world, agent, STEPS, rng)
    assert played.states is not None
    sound = bool(np.isfinite(played.states).all())
    record = {kind: int(counts.sum()) for kind, counts in agent.faults.items()}
    signs = CLOSED_LOOP[fault.kind]
    return Outcome(sound, not signs or any(record[sign] for sign in signs), record)


# ------------------------------------------------------------------------------------------- count


def small_agent() -> Agent:
    """Train a small agent that nothing strikes, for short episodes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        agent = learning.train(Recipe(SMALL), Path(folder) / "run").agent
    return Agent(agent.model, replace(agent.spec, episode_steps=STEPS), agent.options)


def drawn(kinds: Iterable[str], steps: int, count: int, seed: int) -> list[Fault]:
    """Draw ``count`` faults, evenly spread over kinds and lengths.

    They begin at any of ``steps``; every other one where it hurts most, just before a state of
    training is kept or a run ends.
    """
    rng, faults = np.random.default_rng(seed), []
    pairs = itertools.cycle(itertools.product(LENGTHS, kinds))
    for i, (length, kind) in enumerate(itertools.islice(pairs, count)):
        first = int(rng.integers(steps))
        worst = min(steps, (first // KEEP_EVERY + 1) * KEEP_EVERY) - 1
        faults.append(Fault(kind, worst if i % 2 else first, length))
    return faults


def strike(training: int, closed_loop: int, seed: int) -> list[tuple[Fault, Outcome]]:
    """Strike ``training`` runs and ``closed_loop`` evaluations."""
    agent, found = small_agent(), []
    for i, fault in enumerate(drawn(TRAINING, SMALL.optimiser.steps, training, seed)):
        found.append((fault, outcome(fault, partial(train_struck, i))))
    for i, fault in enumerate(drawn(CLOSED_LOOP, STEPS, closed_loop, seed)):
        found.append((fault, outcome(fault, partial(evaluate_struck, agent, i))))
    return found


def row(kind: str, found: Sequence[tuple[Fault, Outcome]]) -> dict[str, Any]:
    """Summarise what became of one kind of fault."""
    own = [(fault, end) for fault, end in found if fault.kind == kind]
    unmet = [(fault, end) for fault, end in own if not (end.sound and end.told)]
    record: Counter[str] = Counter()
    for _, end in own:
        record.update({name: count for name, count in end.record.items() if count})
    return {
        "kind": kind,
        "struck": len(own),
        "met": len(own) - len(unmet),
        "record": record,
        "unmet": [{**vars(fault), **vars(end)} for fault, end in unmet],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the rows for a reader."""
    lines = ["| fault | struck | met | its runs' records |", "|---|---|---|---|"]
    for r in rows:
        record = ", ".join(f"{name} {count:,}" for name, count in r["record"].items())
        lines.append(f"| {r['kind']} | {r['struck']} | {r['met']} | {record} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Faults(Benchmark):
    """Strike training and closed loop, and count what is met."""

    training: int = 44
    """Training runs that are struck."""
    closed_loop: int = 156
    """Evaluations that are struck."""
    seed: int = 0
    """Of what strikes when."""

    def __call__(self) -> None:
        """Strike or read, tell.

        Raises:
            E2CError: when a fault is not met.
        """
        torch.set_num_threads(1)
        found = self.result("faults", self.measured)
        print(table(found["rows"]))
        if found["met"] < found["struck"]:
            kinds = ", ".join(r["kind"] for r in found["rows"] if r["unmet"])
            raise E2CError(
                f"Of {found['struck']} faults {found['met']} were met; look at: {kinds}."
            )

    def measured(self) -> Result:
        """Strike, and count what is met."""
        started = time.perf_counter()
        found = strike(self.training, self.closed_loop, self.seed)
        rows = [row(kind, found) for kind in (*TRAINING, *CLOSED_LOOP)]
        totals = {name: sum(r[name] for r in rows) for name in ("struck", "met")}
        seconds = time.perf_counter() - started
        return {**totals, "seed": self.seed, "seconds": seconds, "rows": rows}


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Faults)())
