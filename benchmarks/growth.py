"""How time and memory grow with the problem: frames, pixels, latent dimension, horizon, batch.

python -m benchmarks.growth                                  # what is missing; then the pictures
python -m benchmarks.growth --axes latent horizon batch      # the planner's
python -m benchmarks.growth --committed                      # what the repository holds

A cell (axis, size) is measured in a process of its own, on one thread, and leaves one JSON file in
``growth``; a benchmark that was stopped goes on where it was. Times are the
least of several, and are those of the processor, since the machine may do other work meanwhile.
Memory is what the process took beyond what it had when its modules were imported.

A slope is an exponent: work that is linear in the size has slope 1. That of the last two sizes says
how it goes on, and above 1 + `TOLERANCE` it is called worse than linear.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator
from torch import Tensor

from benchmarks import peer_planners
from benchmarks.cells import complain, compute, peak_memory
from benchmarks.figures import grid
from benchmarks.peers import scenario
from benchmarks.speed import threads
from benchmarks.store import Benchmark, Cell, Result, missing
from e2c.config import Config
from e2c.control.agent import goal_cost
from e2c.control.base import make_world, problem_spec
from e2c.control.latent import LatentDynamics
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes
from e2c.data.windows import Windows
from e2c.errors import E2CError, run_command
from e2c.learning.collect import collect_transitions
from e2c.learning.schedule import Phase
from e2c.learning.trainer import Trainer
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.methods import build_model
from e2c.report.plots import save_figure
from e2c.report.style import AMBER, BLUE, GREEN, MUTED, ROSE, VIOLET, style
from planners import GoalCost, RecedingHorizon, RecedingOptions

TOLERANCE = 0.1
BUDGET, LEAST, MOST = 0.5, 5, 50
"""Work is repeated for so many seconds, but so often at least and at most. Plans are made `MOST`
times at every size: from some states they take longer."""
LENGTH = 25
"""Steps of an episode."""
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
"""Where a legend hides no curve."""

Parts = Iterator[tuple[str, float]]
"""Names of pieces of work, and the seconds that each takes."""


@dataclass(frozen=True)
class Axis:
    """What grows.

    Attributes:
        title: its name, with its unit.
        sizes: that are measured, ascending.
        measure: does the work at a size.
        power: what counts is the size to this power: a picture has side ** 2 pixels.
        linear: whether nothing may grow faster than that.
    """

    title: str
    sizes: tuple[int, ...]
    measure: Callable[[int], Parts]
    power: int = 1
    linear: bool = True


@dataclass(frozen=True)
class Growth(Benchmark):
    """Measure how time and memory grow, cell by cell; write the table and draw the pictures."""

    axes: tuple[str, ...] = ("all",)
    """Axes to measure: names, or all."""
    cell: str = ""
    """Measure this one cell here, AXIS:SIZE, and nothing else."""

    def __call__(self) -> None:
        """Measure what is missing, then draw."""
        if self.cell:
            figures = measure(*named(self.cell))
            self.cells()[self.cell].keep(figures)
            return
        failed = list[str]()
        if not self.committed:
            asked = {name: cell for name, cell in self.cells().items() if self.asked(name)}
            place = ("--results", str(self.folder))
            failed = compute("benchmarks.growth", missing(asked), 1, *place)
        found = curves(self.found(self.cells()))
        self.tell("growth", table(found))
        for name, axis in found.items():
            save_figure(draw(AXES[name], axis), self.pictures / f"growth_{name}.png")
        complain(failed)

    def cells(self) -> dict[str, Cell]:
        """Return all cells, by their names."""
        return {
            f"{name}:{size}": Cell(
                self.folder / "growth" / name / f"{size}.json",
                {
                    "axis": name,
                    "size": size,
                    "budget": BUDGET,
                    "most": MOST,
                    "plans": MOST,
                    "length": LENGTH,
                },
            )
            for name, axis in AXES.items()
            for size in axis.sizes
        }

    def asked(self, cell: str) -> bool:
        """Whether a cell is of the axes asked for.

        Raises:
            E2CError: for an axis that there is not.
        """
        names = tuple(AXES) if self.axes == ("all",) else self.axes
        for name in names:
            if name not in AXES:
                raise E2CError(f"There is no axis {name!r}; choose among: {', '.join(AXES)}, all.")
        return cell.split(":")[0] in names


def named(cell: str) -> tuple[str, int]:
    """Return axis and size of the cell called ``AXIS:SIZE``.

    Raises:
        E2CError: when there is no such cell.
    """
    cells = {f"{name}:{size}": (name, size) for name, axis in AXES.items() for size in axis.sizes}
    if cell not in cells:
        raise E2CError(f"There is no cell {cell!r}; choose AXIS:SIZE, like {next(iter(cells))}.")
    return cells[cell]


# ---------------------------------------------------------------------------------------- measure


def measure(axis: str, size: int) -> Result:
    """Measure a cell."""
    before = peak_memory()
    with threads(1):
        seconds = dict(AXES[axis].measure(size))
        more = max(0.0, peak_memory() - before)  # the system counts in pages, and not at once
    found = {"seconds": seconds, "MiB": more, "MiB_before": before}
    return {"axis": axis, "size": size, **found}


def seconds_of(
    work: Callable[[], object],
    budget: float = BUDGET,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Return the least time [s] of ``work``, which is done `LEAST` times, or as often as may be.

    Args:
        work: to be done.
        budget: seconds after which it is not done again; it is done at most `MOST` times.
        clock: gives seconds.
    """
    begun, taken = clock(), list[float]()
    while len(taken) < LEAST or (clock() - begun < budget and len(taken) < MOST):
        started = clock()
        work()
        taken.append(clock() - started)
    return min(taken)


def frames(count: int) -> Parts:
    """From nothing to the first training step, with ``count`` frames of the headline task."""
    started = time.process_time()
    data = _collected(count * LENGTH // (LENGTH + 2))
    yield "collect", time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        yield "save", seconds_of(lambda: data.save(file))
        yield "load", seconds_of(lambda: recorded.load(file))
    yield "cut into windows", seconds_of(lambda: _windows(data))
    yield "training step", seconds_of(_training(data, Config(), _spec()))


def pixels(side: int) -> Parts:
    """Encode and train on pictures of ``side`` x ``side`` pixels, of noise."""
    spec = replace(_spec(), observation_shape=(2, side, side))
    data = _noise(spec, 200)
    model, seen = _model(Config(), spec), data.planes()[:100]
    with torch.no_grad():
        yield "encode 100 observations", seconds_of(lambda: model.encode(seen))
    yield "training step", seconds_of(_training(data, Config(), spec))


def latent(n: int) -> Parts:
    """Train a model of latent dimension n, and plan with one that is not trained."""
    config, spec = Config(), _spec()
    config = replace(config, model=replace(config.model, latent_dim=n))
    data = _collected(1000)
    yield "training step", seconds_of(_training(data, config, spec))
    model = _model(config, spec)
    with torch.no_grad():
        states = model.encode(data.planes()[:1]).mean
    holding = torch.zeros(len(spec.control_low))
    cost = goal_cost(states[0] + 1, torch.tensor(float(n)), spec, config.planner, holding)
    replan = _replanning(LatentDynamics(model.transition), states, cost)
    yield "plan: iLQG", seconds_of(replan, math.inf)


def horizon(T: int) -> Parts:
    """Plan T steps ahead with the model that comes with the project."""
    problem, states = scenario()
    for name, title in {"ilqg": "iLQG", "cem": "CEM", "mppi": "MPPI"}.items():
        plans = map(peer_planners.ours(name)(replace(problem, horizon=T)), itertools.cycle(states))
        next(plans)
        yield f"plan: {title}", seconds_of(plans.__next__, math.inf)


def batch(B: int) -> Parts:
    """Plan for B problems at once, with the model that comes with the project."""
    problem, states = scenario()
    rows = torch.arange(B) % len(states)
    replan = _replanning(problem.dynamics, states[rows], problem.cost)
    yield "plan: iLQG", seconds_of(replan, math.inf)


def _replanning(dynamics: LatentDynamics, states: Tensor, cost: GoalCost) -> Callable[[], None]:
    """Return what plans from where the first step of the last plan led; ``states [B, n]`` began."""
    low, high = (torch.tensor(limit) for limit in (_spec().control_low, _spec().control_high))
    options = RecedingOptions(first_iterations=1, restarts=1)
    planner = RecedingHorizon(dynamics, low, high, options, torch.Generator().manual_seed(0))
    x = states

    def replan() -> None:
        nonlocal x
        x = planner.plan(x, cost).states[:, 1]

    replan()
    return replan


def _training(data: Episodes, config: Config, spec: ProblemSpec) -> Callable[[], object]:
    """Return what takes one step of training; the first step is taken."""
    trainer = Trainer(_model(config, spec), config.objective, config.optimiser, 0)
    steps = trainer.run(_windows(data), Phase(10 * MOST, config.optimiser.learning_rate, True))
    next(steps)
    return lambda: next(steps)


def _model(config: Config, spec: ProblemSpec) -> LatentModel[Any]:
    return build_model(config.model, spec, np.zeros(spec.observation_shape, np.uint8), 0)


def _spec() -> ProblemSpec:
    return problem_spec(make_world(Config().env))


def _collected(transitions: int) -> Episodes:
    return collect_transitions(Config().env, transitions, LENGTH, 0)


def _windows(data: Episodes) -> Windows:
    return Windows([data], Config().objective.horizon, 0.0, torch.device("cpu"))


def _noise(spec: ProblemSpec, transitions: int) -> Episodes:
    """Return episodes of noise with as many frames an observation as ``spec`` has."""
    rng, count = np.random.default_rng(0), transitions // LENGTH
    F, H, W = spec.observation_shape
    return Episodes(
        frames=rng.integers(0, 256, (transitions + F * count, H, W), np.uint8),
        actions=rng.uniform(-1, 1, (transitions, len(spec.control_low))).astype(np.float32),
        lengths=np.full(count, LENGTH),
    )


AXES = {
    "frames": Axis("frames in the data", (10_000, 30_000, 100_000, 300_000, 1_000_000), frames),
    "pixels": Axis("pixels in a frame", (32, 48, 64, 96, 128), pixels, power=2),
    "latent": Axis("latent dimension n", (2, 4, 8, 16, 32, 64), latent, linear=False),
    "horizon": Axis("horizon T [steps]", (10, 25, 50, 100, 200), horizon),
    "batch": Axis("problems planned at once", (1, 4, 16, 64, 256, 1024, 4096), batch),
}
"""The axes, by the names that the command takes."""


# ------------------------------------------------------------------------------------------- tell


@dataclass(frozen=True)
class Curve:
    """How one quantity grows along an axis.

    Attributes:
        x: what counts of the sizes, ascending.
        y: the quantity at each, positive.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    @property
    def slope(self) -> float:
        """The exponent of all sizes, by least squares."""
        return float(np.polyfit(np.log(self.x), np.log(self.y), 1)[0])

    @property
    def last_slope(self) -> float:
        """The exponent between the last two sizes."""
        return Curve(self.x[-2:], self.y[-2:]).slope


Curves = Mapping[str, Mapping[str, Curve]]
"""Axis -> ``memory [MiB]`` or a piece of work [s] -> how it grows."""
MEMORY = "memory"


def curves(results: Mapping[str, Result]) -> Curves:
    """Return the curves of all axes of which at least two cells are finished."""
    found = {}
    for name, axis in AXES.items():
        cells = [result for cell, result in results.items() if cell.startswith(f"{name}:")]
        if len(cells) > 1:
            x = tuple(float(cell["size"] ** axis.power) for cell in cells)
            parts = {p: tuple(cell["seconds"][p] for cell in cells) for p in cells[0]["seconds"]}
            parts[MEMORY] = tuple(cell["MiB"] for cell in cells)
            found[name] = {part: Curve(x, y) for part, y in parts.items()}
    return found


def table(curves: Curves) -> str:
    """Return the slopes as Markdown, and what grows faster than linearly."""
    lines = [
        "| grows | from, to | what | at the first | at the last | slope | of the last two |",
        "|---|---|---|---|---|---|---|",
    ]
    worse = []
    for name, found in curves.items():
        for part, curve in found.items():
            first, last = (_quantity(part, curve.y[place]) for place in (0, -1))
            lines.append(
                f"| {AXES[name].title} | {curve.x[0]:,.0f}, {curve.x[-1]:,.0f} | {part} | {first} "
                f"| {last} | {curve.slope:.2f} | {curve.last_slope:.2f} |"
            )
            if AXES[name].linear and curve.last_slope > 1 + TOLERANCE:
                worse.append(f"{part} by {AXES[name].title}")
    return "\n".join(
        [*lines, "", f"Worse than linear, but for n: {', '.join(worse) or 'nothing'}."]
    )


def _quantity(part: str, value: float) -> str:
    return f"{value:.0f} MiB" if part == MEMORY else f"{1e3 * value:.3g} ms"


def draw(axis: Axis, curves: Mapping[str, Curve]) -> Figure:
    """Draw time and memory over the size, with slopes; the dashed line is linear.

    Time is on a scale by logarithm; memory is on one from 0, since some of it hardly grows.
    """
    figure, (time_axes, memory_axes) = grid(2, 2, 4.4, 3.3)
    colours = itertools.cycle((BLUE, AMBER, GREEN, ROSE, VIOLET))
    style(time_axes, "Time [s]", axis.title)
    style(memory_axes, "Memory beyond the modules [MiB]", axis.title)
    for part, curve in curves.items():
        panel = memory_axes if part == MEMORY else time_axes
        look: dict[str, Any] = {
            "color": next(colours),
            "marker": "o",
            "markersize": 4,
            "linewidth": 1.6,
        }
        panel.plot(curve.x, curve.y, label=f"{part}: {curve.slope:.2f}", **look)
    time_axes.set_yscale("log")
    memory_axes.set_ylim(0.0, 1.1 * memory_axes.get_ylim()[1])
    for panel in (time_axes, memory_axes):
        _finish(panel)
    return figure


def _finish(axes: Axes) -> None:
    """Scale sizes by logarithm and mark them, draw a linear line, name curves with slopes."""
    axes.set_xscale("log")
    x = np.array(axes.get_lines()[0].get_xdata(), dtype=np.float64)
    y = max(float(np.max(line.get_ydata())) for line in axes.get_lines())
    bottom, top = axes.get_ylim()
    axes.set_xticks(x)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep="", places=0))
    axes.plot(
        x, y * x / x[-1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), label="linear: 1"
    )
    axes.set_ylim(bottom, top)
    axes.legend(frameon=False, fontsize=8, title="slope", title_fontsize=8, **BESIDE)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Growth)())
