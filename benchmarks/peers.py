"""How fast beside what users would pick instead: the same work side by side, in one run.

python -m benchmarks.peers                       # all
python -m benchmarks.peers --works train --repetitions 2

Ours and a peer work in turn, on one thread, and a ratio is that of two neighbours in time. The
processor time is taken, since the machine may do other work meanwhile. A peer that is not installed
is named with the command that installs it, and the others are measured. Where the work is a plan,
its cost on the latent model tells whether the two are equally good. Memory is that of a process of
its own for each side.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.wrappers import AddRenderObservation, ResizeObservation
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import peer_planners
from benchmarks.cells import peak_memory
from benchmarks.peer_planners import Plans, Problem
from benchmarks.plain_e2c import PlainE2C
from benchmarks.speed import starts_of, threads
from benchmarks.store import ROOT, Benchmark, Result
from e2c.control.base import make_world, make_world_of, problem_spec, rollout
from e2c.control.latent import LatentDynamics
from e2c.data.windows import Windows
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.files.runs import TRAINED
from e2c.learning.collect import collect, collect_transitions
from e2c.learning.schedule import Phase
from e2c.learning.trainer import Trainer
from e2c.models.methods import build_model
from e2c.presets import HEADLINE, preset
from envs.world import simulated
from planners import CEMOptions, RecedingOptions

SIDES = ("ours", "peer")
WARM_UP = 3
"""Repetitions that are left out of the figures; the first plan is one from scratch."""
PLANS = 60
"""Plans that are timed: at so many states of one swing-up."""
PAIRS = 2000
"""Pairs of images that batches are drawn from."""
WORLDS, LENGTH = 20, 25
"""Environments side by side, and steps of their episodes, where frames are counted."""
INSTALL = {
    "pytorch_mppi": "pip install pytorch-mppi",
    "mpc": "pip install --no-deps mpc",
    "stable_worldmodel": "pip install --no-deps stable-worldmodel loguru",
    "pygame": "pip install pygame",
}
"""What installs the modules that peers need. The metadata of mpc are not valid, and what
stable-worldmodel depends on would replace a torch that was built for the CPU."""

Side = Callable[[int], Tensor | None]
"""Does the work once, given the number of the repetition; where the work is a plan, it returns the
controls ``[T, m]``."""


@dataclass(frozen=True)
class Work:
    """A piece of work that we do, and a peer too.

    Attributes:
        what: is done.
        peer: who does it too.
        needs: the module that the peer needs.
        ours: prepares our side.
        theirs: prepares the peer's.
        repetitions: how often it is timed.
        flops: counts the operations that our way of doing it cannot do without.
    """

    what: str
    peer: str
    needs: str
    ours: Callable[[], Side]
    theirs: Callable[[], Side]
    repetitions: int = PLANS
    flops: Callable[[], float] | None = None

    def side(self, name: str) -> Side:
        """Prepare one of `SIDES`."""
        return self.ours() if name == SIDES[0] else self.theirs()


@dataclass(frozen=True)
class Peers(Benchmark):
    """Do the same work as peers do, side by side, and compare."""

    works: tuple[str, ...] = ("all",)
    """Works to compare: names, or all."""
    repetitions: int = PLANS
    """Time each work at most so many times."""
    alone: str = ""
    """Measure the memory of one side here, WORK:ours or WORK:peer, and nothing else."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        with threads(1):
            if self.alone:
                print(json.dumps(memory_here(*side_of(self.alone))))
                return
            found = self.result("peers", self.measured)
        print(table(found["works"], found["arithmetic"]))

    def measured(self) -> Result:
        """Compare all that is asked for and installed."""
        names = self.chosen()
        missing = tell_missing(names)
        present = [name for name in names if WORKS[name].needs not in missing]
        found = {name: self.compared(name) for name in present}
        return {"works": found, "missing": missing, "arithmetic": arithmetic(found)}

    def compared(self, name: str) -> dict[str, Any]:
        """Compare the times and the memory of a work."""
        memory = {f"{side}_memory": memory_of(name, side) for side in SIDES}
        return {**compare(WORKS[name], self.repetitions), **memory}

    def chosen(self) -> tuple[str, ...]:
        """Return the works asked for.

        Raises:
            E2CError: for a work that there is not, or no repetitions.
        """
        if self.repetitions < 1:
            raise E2CError(f"--repetitions is {self.repetitions}; it must be at least 1.")
        names = tuple(WORKS) if self.works == ("all",) else self.works
        for name in names:
            if name not in WORKS:
                raise E2CError(f"There is no work {name!r}; choose among: {', '.join(WORKS)}, all.")
        return names


def side_of(alone: str) -> tuple[str, str]:
    """Return work and side of ``WORK:SIDE``.

    Raises:
        E2CError: when there is no such side.
    """
    name, _, side = alone.partition(":")
    if name not in WORKS or side not in SIDES:
        raise E2CError(f"--alone is {alone!r}; it must be WORK:ours or WORK:peer, like train:ours.")
    return name, side


def tell_missing(names: Sequence[str]) -> dict[str, str]:
    """Say which peers are not installed; return their modules, with what installs each."""
    needed = dict.fromkeys(WORKS[name].needs for name in names)
    missing = {module: INSTALL[module] for module in needed if not importlib.util.find_spec(module)}
    for module, command in missing.items():
        out = ", ".join(name for name in names if WORKS[name].needs == module)
        sentence = f"{module} is not installed, so these are left out: {out}; to install: {command}"
        print(sentence, file=sys.stderr)
    return missing


# ---------------------------------------------------------------------------------------- measure


def compare(
    work: Work, repetitions: int, clock: Callable[[], float] = time.process_time
) -> dict[str, Any]:
    """Let both sides work in turn; return their times, ratios and costs of plans.

    Args:
        work: to be done.
        repetitions: at most so many are timed.
        clock: gives seconds.
    """
    sides = [work.side(name) for name in SIDES]
    taken, costs = [], []
    for number in range(WARM_UP + min(repetitions, work.repetitions)):
        times, prices = [], []
        for side in sides:
            started = clock()
            controls = side(number)
            times.append(clock() - started)
            prices += [] if controls is None else [cost_of(number, controls)]
        taken.append(times)
        costs.append(prices)
    milliseconds = 1e3 * np.array(taken[WARM_UP:])
    low, ratio, high = np.percentile(milliseconds[:, 1] / milliseconds[:, 0], (25, 50, 75))
    return {
        **{"what": work.what, "peer": work.peer, "repetitions": len(milliseconds)},
        **dict(zip(("ours_ms", "peer_ms"), np.median(milliseconds, 0).tolist(), strict=True)),
        "ratio": {"median": float(ratio), "quartiles": [float(low), float(high)]},
        **dict(zip(("ours_cost", "peer_cost"), np.mean(costs[WARM_UP:], 0).tolist(), strict=False)),
    }


def memory_of(name: str, side: str) -> dict[str, float]:
    """Let one side of a work work alone, in a process of its own; return `memory_here` of it.

    Raises:
        E2CError: when the process ends otherwise.
    """
    command = [sys.executable, "-m", "benchmarks.peers", "--alone", f"{name}:{side}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise E2CError(f"{name}:{side} ended with status {done.returncode}: {done.stderr[-300:]}.")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory_here(name: str, side: str) -> dict[str, float]:
    """Return the most memory [MiB] that this process held: before a side was prepared, and in all.

    Both sides have the same modules of ours in memory before.
    """
    before = peak_memory()
    run = WORKS[name].side(side)
    for number in range(WARM_UP):
        run(number)
    return {"before": before, "peak": peak_memory()}


def arithmetic(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the machine's rate of multiplying matrices, and the time that our works need at it."""
    rate = matmul_rate()
    counted = {name: flops() for name in found if (flops := WORKS[name].flops)}
    floors = {name: {"flops": n, "floor_ms": 1e3 * n / rate} for name, n in counted.items()}
    return {"matmul_flops_per_second": rate, "floors": floors}


def matmul_rate(size: int = 1024, times: int = 10) -> float:
    """Return operations a second of multiplying float32 matrices, the best of several times."""
    a, seconds = torch.ones(size, size), []
    for _ in range(times):
        started = time.process_time()
        a @ a
        seconds.append(time.process_time() - started)
    return 2 * size**3 / min(seconds)


# ------------------------------------------------------------------------------------------ train


def train_ours() -> Side:
    """Train with the preset ``paper``, as a run does."""
    config, world = preset("paper"), make_world(HEADLINE)
    goal = simulated(world, "This benchmark").task.goal_observation()
    model = build_model(config.model, problem_spec(world), goal, 0)
    trainer = Trainer(model, config.objective, config.optimiser, 0)
    phase = Phase(config.optimiser.steps, config.optimiser.learning_rate, True)
    steps = trainer.run(_windows(), phase)

    def step(number: int) -> None:
        next(steps)

    return step


def train_plainly() -> Side:
    """Train `PlainE2C` on the same pairs, with the same batches and step size."""
    options, windows = preset("paper").optimiser, _windows()
    frames, u = windows.frames.flatten(1), windows.actions
    pairs = windows.starts.all
    model = PlainE2C(2 * frames.shape[1], preset("paper").model.latent_dim, u.shape[1])
    adam = torch.optim.Adam(model.parameters(), options.learning_rate, (0.9, options.beta2))

    def step(number: int) -> None:
        frame, action = pairs[torch.randint(len(pairs), (options.batch_size,))].T
        seen = [frames[frame + k].float() / 255 for k in range(3)]
        x, x_next = torch.cat(seen[:2], 1), torch.cat(seen[1:], 1)
        loss = model.loss(x, u[action], x_next)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def training_flops() -> float:
    """Count the operations of a step: two images a pair, forward and twice that backward.

    The transition is left out, and so is the derivative by the images, which nobody needs.
    """
    config = preset("paper")
    pixels = 2 * _windows().frames[0].numel()
    widths = [pixels, *config.model.encoder_hidden, 2 * config.model.latent_dim]
    drawn = [config.model.latent_dim, *config.model.decoder_hidden, pixels]
    macs = 3 * (_macs(widths) + _macs(drawn)) - widths[0] * widths[1]
    return 2.0 * 2 * config.optimiser.batch_size * macs


@functools.cache
def _windows() -> Windows:
    """Collect pairs of images of the headline task."""
    data = collect_transitions(HEADLINE, PAIRS, LENGTH, 0)
    return Windows([data], 1, 0.0, torch.device("cpu"))


# ------------------------------------------------------------------------------------------- plan


@functools.cache
def scenario() -> tuple[Problem, Tensor]:
    """Return what is planned, and the encodings ``[N, n]`` of one swing-up with our agent."""
    agent = load_agent(TRAINED)
    agent.model.requires_grad_(False)
    start = starts_of(agent, 1)
    played = rollout(
        make_world_of(agent.spec), agent, WARM_UP + PLANS, np.random.default_rng(0), states=start
    )
    agent.reset()
    with torch.no_grad():
        states = agent.model.encode(played.planes()).mean
    problem = Problem(
        LatentDynamics(agent.model.transition),
        agent.cost,
        torch.tensor(agent.spec.control_low),
        torch.tensor(agent.spec.control_high),
        agent.options.horizon,
    )
    return problem, states


def planning(build: Callable[[Problem], Plans]) -> Side:
    """Plan at one state of `scenario` after the other."""
    problem, states = scenario()
    plans = build(problem)
    return lambda number: plans(states[number])


def cost_of(number: int, controls: Tensor) -> float:
    """Return the cost of the controls ``[T, m]`` that were planned at a state of `scenario`."""
    problem, states = scenario()
    return float(problem.price(states[number], controls[None]))


def plan_flops(roll_outs: int, linearised: bool = False) -> float:
    """Count the operations of the transition's network in a plan; nothing else weighs much.

    Args:
        roll_outs: of the whole horizon.
        linearised: whether its derivatives along the horizon are needed, n tangents at each time.
    """
    problem, _ = scenario()
    net = problem.dynamics.transition.get_submodule("net")
    macs = sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Linear))
    passes = roll_outs + linearised * (1 + problem.dynamics.state_dim)
    return 2.0 * macs * problem.horizon * passes


# ----------------------------------------------------------------------------------------- frames


def frames_ours() -> Side:
    """Collect episodes of the headline task."""
    world = make_world(HEADLINE, WORLDS)

    def run(number: int) -> None:
        collect(world, LENGTH, np.random.default_rng(number))

    return run


def frames_of_gymnasium() -> Side:
    """Collect as many frames of Gymnasium's ``Pendulum-v1``, drawn by it and resized to 48x48."""
    worlds = gymnasium.make_vec(
        "Pendulum-v1",
        num_envs=WORLDS,
        vectorization_mode="sync",
        render_mode="rgb_array",
        wrappers=[AddRenderObservation, partial(ResizeObservation, shape=(48, 48))],
    )
    worlds.action_space.seed(0)

    def run(number: int) -> None:
        record(worlds, number)

    return run


def record(worlds: gymnasium.vector.VectorEnv[Any, Any, Any], seed: int) -> NDArray[np.uint8]:
    """Act at random; return as many frames as our episodes have, ``[T + 2, B, 48, 48, 3]``."""
    frames = [worlds.reset(seed=seed)[0]]
    for _ in range(LENGTH + 1):
        frames.append(worlds.step(worlds.action_space.sample())[0].copy())
    return np.stack(frames)


# ------------------------------------------------------------------------------------------ table


def table(found: Mapping[str, Mapping[str, Any]], counted: Mapping[str, Any]) -> str:
    """Return the figures as Markdown; ratios are the peer's over ours."""
    lines = [
        "| work | peer | ours [ms] | peer [ms] | peer / ours (quartiles) | cost of the plans: "
        "ours, peer | memory [MiB]: ours, peer | floor [ms] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        low, high = row["ratio"]["quartiles"]
        costs = f"{row['ours_cost']:.2f}, {row['peer_cost']:.2f}" if "ours_cost" in row else ""
        memory = ", ".join(f"{row[f'{side}_memory']['peak']:.0f}" for side in SIDES)
        floor = counted["floors"].get(name, {}).get("floor_ms")
        lines.append(
            f"| {row['what']} | {row['peer']} | {row['ours_ms']:.3g} | {row['peer_ms']:.3g} "
            f"| {row['ratio']['median']:.2f} ({low:.2f} to {high:.2f}) | {costs} | {memory} "
            f"| {f'{floor:.3g}' if floor else ''} |"
        )
    rate = counted["matmul_flops_per_second"] / 1e9
    return "\n".join([*lines, "", f"float32 matrices are multiplied at {rate:.1f} GFLOP/s"])


def _macs(widths: Sequence[int]) -> int:
    """Count the multiplications of fully connected layers of these widths."""
    return sum(a * b for a, b in itertools.pairwise(widths))


def sampled_flops() -> float:
    """Count the operations of a planner that samples."""
    return plan_flops(CEMOptions().samples * CEMOptions().iterations + 1)


def beside_worldmodel(name: str, solver: str, std: float, lent: bool, **settings: Any) -> Work:
    """Return the work of a planner of ours beside stable-worldmodel's.

    Args:
        name: of ours, in `PLANNERS`.
        solver: the peer's.
        std: of the peer's first samples.
        lent: whether the peer is lent our compiled roll-outs.
        settings: of the peer.
    """
    return Work(
        f"a plan by {name.upper()}",
        "stable-worldmodel" + ", lent our compiled roll-outs" * lent,
        "stable_worldmodel",
        partial(planning, peer_planners.ours(name)),
        partial(planning, peer_planners.stable_worldmodel(solver, std, lent, **settings)),
        flops=sampled_flops,
    )


_ILQG = RecedingOptions()

WORKS = {
    "train": Work(
        "a training step of the preset `paper`",
        "plain PyTorch, our own stand-in",
        "torch",
        train_ours,
        train_plainly,
        repetitions=15,
        flops=training_flops,
    ),
    "ilqg": Work(
        "a plan by one iteration of iLQG",
        "mpc.pytorch",
        "mpc",
        partial(planning, peer_planners.ours("ilqg")),
        partial(planning, peer_planners.MPCPytorch),
        flops=partial(plan_flops, _ILQG.optimiser.step_sizes + 1, linearised=True),
    ),
    "cem": beside_worldmodel("cem", "CEMSolver", 0.35, lent=False, topk=26),
    "cem_lent": beside_worldmodel("cem", "CEMSolver", 0.35, lent=True, topk=26),
    "mppi": Work(
        "a plan by MPPI",
        "pytorch-mppi",
        "pytorch_mppi",
        partial(planning, peer_planners.ours("mppi")),
        partial(planning, peer_planners.PytorchMPPI),
        flops=sampled_flops,
    ),
    "mppi_worldmodel": beside_worldmodel("mppi", "MPPISolver", 0.25, lent=False),
    "mppi_lent": beside_worldmodel("mppi", "MPPISolver", 0.25, lent=True),
    "frames": Work(
        f"{WORLDS * (LENGTH + 2)} frames of a pendulum, simulated and drawn",
        "Gymnasium's Pendulum-v1, resized",
        "pygame",
        frames_ours,
        frames_of_gymnasium,
        repetitions=5,
    ),
}
"""The works, by the names that the command takes."""


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Peers)())
