"""Exploration by information gain against noise on the controls.

python -m benchmarks.exploration                 # seeds 0 to 4
python -m benchmarks.exploration --seeds 100 101
python -m benchmarks.exploration --committed     # print the table of the repository

The first 400 transitions on the headline task are played by white noise, which shows little more
than the hanging rod, or by a telegraph signal. Then 1,200 more are played: by noise of a colour, or
by the explorer of `e2c.lecture.exploration`, whose model is trained on what there is so far. All
begin with the same 400 transitions of their kind, and all episodes are ordinary. Told are the share
of the states seen, and when an observation first looked like the goal. States are read to score
only. A seed leaves one JSON file in ``exploration``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from benchmarks.cells import Seeds
from benchmarks.store import Result
from e2c.config import Config
from e2c.control.base import make_world, problem_spec, rollout
from e2c.control.simple import random_controls
from e2c.data.episodes import Episodes, join
from e2c.data.looks import SEEN, look_at, unlikenesses
from e2c.data.windows import Windows
from e2c.errors import run_command
from e2c.evaluation.intervals import interval
from e2c.learning.looks import choose
from e2c.learning.schedule import Phase
from e2c.learning.trainer import Trainer
from e2c.lecture.exploration import Explorer, ExplorerOptions, know
from e2c.models.methods import build_model
from e2c.options import to_dict
from e2c.presets import HEADLINE, preset

FIRST, TRANSITIONS = 400, 1600
"""Transitions of white noise at first, and all in all."""
EPISODE = 200
"""Steps of an episode of noise: those of the task."""
OWN = 100
"""Steps of an episode that the explorer plays."""
BINS = (24, 16)
"""Equal parts of the angle, all around, and of the velocity within `FASTEST`."""
FASTEST = 8.0
"""Velocities are counted up to this [rad/s], as far as random restarts go. Noise reaches every bin:
2,000 episodes of a telegraph signal visit all of them."""
TOLD_AT = (400, 800, 1200, 1600)
"""Transitions after which the share of the states seen is told."""
STEPS, STEPS_PER_EPISODE = 1500, 150
"""Training steps on the first transitions, and after each episode of the explorer."""

GAIN = "information gain"
WAYS: Mapping[str, tuple[str, str, int]] = {
    "white": ("white", "white", EPISODE),
    "pink": ("white", "pink", EPISODE),
    "red": ("white", "red", EPISODE),
    "telegraph": ("white", "telegraph", EPISODE),
    "telegraph, 100 steps": ("white", "telegraph", OWN),
    GAIN: ("white", GAIN, OWN),
    "telegraph from the first": ("telegraph", "telegraph", EPISODE),
    "telegraph, then information gain": ("telegraph", GAIN, OWN),
}
"""What plays first, what plays then, and the steps of its episodes."""


def _config() -> Config:
    """The default."""
    return preset("default", HEADLINE)


@dataclass(frozen=True)
class Exploration(Seeds):
    """Measure over seeds, one by one, and draw the table."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the table."""
        options = {
            "config": to_dict(_config()),
            "explorer": asdict(ExplorerOptions()),
            "transitions": [FIRST, TRANSITIONS],
            "steps": [STEPS, STEPS_PER_EPISODE],
            "ways": WAYS,
            "bins": BINS,
        }
        self.measure_and_tell("benchmarks.exploration", (), options, _measure, table)


def _measure(cell: str) -> Result:
    """Explore in all ways from the same first transitions."""
    torch.set_num_threads(1)
    seed, found = int(cell), dict[str, Result]()
    for number, (name, (first, then, length)) in enumerate(WAYS.items()):
        started = time.perf_counter()
        begun = noisy(first, FIRST // EPISODE, EPISODE, np.random.default_rng(seed))
        rng, more = np.random.default_rng([seed, number]), (TRANSITIONS - FIRST) // length
        if then == GAIN:
            played = join([begun, *explored(begun, more, seed, rng)])
        else:
            played = join([begun, noisy(then, more, length, rng)])
        found[name] = {**figures(played), "seconds": time.perf_counter() - started}
    return {"seed": seed, "ways": found}


def noisy(noise: str, episodes: int, steps: int, rng: np.random.Generator) -> Episodes:
    """Play ordinary episodes under noise."""
    world = make_world(HEADLINE, episodes)
    return rollout(world, random_controls(world, rng, steps, noise), steps, rng)


def explored(
    first: Episodes, episodes: int, seed: int, rng: np.random.Generator
) -> Iterator[Episodes]:
    """Train on the first data; then play by information gain and train on, episode by episode."""
    world, data = make_world(HEADLINE, 1), [first]
    spec, goals = problem_spec(world), first.goal_planes()
    assert goals is not None
    config, _ = choose(_config(), look_at(first))
    model = build_model(config.model, spec, goals[0], seed)
    trainer = Trainer(model, config.objective, config.optimiser, seed)
    phase = Phase(STEPS, config.optimiser.learning_rate, True)
    for number in range(episodes):
        windows = Windows(
            data, config.objective.horizon, config.data.own_share, trainer.device, model.see
        )
        if number == 0:
            model.decoder.start_at(windows.mean_observation)
        model.train()
        for _ in trainer.run(windows, phase):
            pass
        phase = Phase(STEPS_PER_EPISODE, config.optimiser.learning_rate_own, False)
        explorer = Explorer(model.eval(), spec, know(model, data), ExplorerOptions(seed=seed))
        data.append(rollout(world, explorer, OWN, rng))
        yield data[-1]


def figures(played: Episodes) -> Result:
    """Return the share of the states seen after so many transitions, and when the goal was seen."""
    states, goals = played.states, played.goal_planes()
    assert states is not None
    assert goals is not None
    moments = {
        int(count): played.moment_rows(e).stop
        for e, count in enumerate(played.lengths.cumsum().tolist())
    }
    return {
        "share": {str(count): float(seen(states[: moments[count]]).mean()) for count in TOLD_AT},
        "goal_after": shown_after(played, goals[0]),
        "above_horizontal": float((np.cos(states[:, 0]) > 0).mean()),
    }


def seen(states: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say of each bin, ``[24, 16]`` of angle and velocity, whether ``states [N, 2]`` are in it."""
    around = np.floor(states[:, 0] / (2 * np.pi) * BINS[0]).astype(int) % BINS[0]
    speed = np.floor((states[:, 1] / FASTEST + 1) / 2 * BINS[1]).astype(int)
    counted = (speed >= 0) & (speed < BINS[1])
    found = np.zeros(BINS, np.bool_)
    found[around[counted], speed[counted]] = True
    return found


def shown_after(played: Episodes, goal: NDArray[np.uint8]) -> int | None:
    """Return after how many transitions an observation first looked like the goal ``[C, H, W]``."""
    hits = np.flatnonzero(unlikenesses(played, goal) < SEEN).tolist()
    if not hits:
        return None
    ended = sum(played.moment_rows(e).stop <= hits[0] for e in range(len(played)))
    return int(hits[0] - ended)


def table(results: Mapping[str, Result]) -> str:
    """Return the figures as Markdown: means over the seeds, with 95% intervals."""
    shown = " | ".join(f"at {count:,}" for count in TOLD_AT[1:])
    lines = [f"| controls | seeds | states seen {shown} | goal seen after, seed by seed |"]
    lines.append("|---" * (3 + len(TOLD_AT[1:])) + "|")
    for name in WAYS if results else ():
        found = [result["ways"][name] for result in results.values()]
        shares = [_told([way["share"][str(count)] for way in found]) for count in TOLD_AT[1:]]
        goals = ", ".join(
            "never" if way["goal_after"] is None else f"{way['goal_after']:,}" for way in found
        )
        lines.append(f"| {name} | {len(found)} | {' | '.join(shares)} | {goals} |")
    return "\n".join(lines)


def _told(shares: Sequence[float]) -> str:
    """Write a mean with its interval, in percent."""
    low, high = interval({HEADLINE: shares}, lambda drawn: float(drawn.mean()))
    return f"{100 * np.mean(shares):.0f} ({100 * low:.0f} to {100 * high:.0f})%"


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Exploration)())
