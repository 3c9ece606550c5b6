"""Several seeds of one recipe trained together: they take each step at the same time.

The weights of the models are stacked, and `torch.func.vmap` evaluates the loss of all. Each seed
keeps its own data, random numbers, Adam and counts, so it is trained as it would be alone, up to
rounding. The CPU draws the random numbers of a chunk of steps ahead. A GPU then takes these steps
without the CPU: they are CUDA graphs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from e2c.data.coarse import SHARP, Lens
from e2c.data.windows import Windows, observations
from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.learning.graphs import Graphs
from e2c.learning.schedule import Phase, Schedule
from e2c.learning.trainer import Trainer, clip
from e2c.models.base import LatentModel
from e2c.models.draws import Ahead, Asked
from e2c.models.objectives import Batch, draw_times

CHUNK = 50
"""Most steps of a chunk; a chunk ends where a multiple of this is reached."""

Rows = list[dict[str, float]]
"""A row of metrics for each trainer; it is empty if the trainer took no step, or skipped it."""


def optimise(
    trainers: Sequence[Trainer], windows: Sequence[Windows], phase: Phase
) -> Iterator[Rows]:
    """Optimise all ``trainers`` to the end of a phase, as suits their device.

    On a CPU they are trained one after another, since a step of all takes as long as their single
    steps. Elsewhere `train_together` trains them; it describes arguments and rows.
    """
    if trainers[0].device.type != "cpu":
        yield from train_together(trainers, windows, phase)
        return
    for e, (trainer, mine) in enumerate(zip(trainers, windows, strict=True)):
        for row in trainer.run(mine, phase):
            yield [row if other == e else {} for other in range(len(trainers))]


def train_together(
    trainers: Sequence[Trainer], windows: Sequence[Windows], phase: Phase
) -> Iterator[Rows]:
    """Optimise all ``trainers`` to the end of a phase, as `Trainer.run` does with one.

    A trainer that diverges goes back. It is then trained without the others until it has taken as
    many steps as they have.

    Args:
        trainers: E of them, with equal options.
        windows: what each of them learns from.
        phase: the stretch of optimisation.

    Yields:
        A row for each trainer.

    Raises:
        E2CError: when training diverges too often; see `Trainer.run`.
    """
    schedule, *_ = [trainer.begin(phase) for trainer in trainers]
    while any(trainer.done < phase.steps for trainer in trainers):
        least = min(trainer.done for trainer in trainers)
        group = [e for e, trainer in enumerate(trainers) if trainer.done == least]
        stack = Stack([trainers[e] for e in group], [windows[e] for e in group], schedule)
        for rows in stack.run():
            told: Rows = [{} for _ in trainers]
            for e, row in zip(group, rows, strict=True):
                told[e] = row
            yield told
        for e in group:
            if reason := trainers[e].divergence(windows[e], phase):
                trainers[e].recover(reason, phase)
    for trainer in trainers:
        trainer.done = 0


Tensors = dict[str, Tensor]
"""Tensors by their names."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """The random numbers and the scheduled values of K steps of E trainers."""

    choices: list[tuple[int, ...]]
    """The choices of each step; see `e2c.models.draws.Draws.choice`."""
    frames: Tensor
    """``[K, E, B, S, F] int64``: rows of the windows' frames in `Stack.frames`."""
    actions: Tensor
    """``[K, E, B, T] int64``: rows of their actions in `Stack.actions`."""
    times: Tensor
    """``[K, S] int64``: the times compared."""
    normals: Tensor
    """``[K, E, N]``: the normal numbers that the objective asks for."""
    latent_weight: Tensor
    """``[K]``: lambda."""
    rate: Tensor
    """``[K, E]``: Adam's step size."""
    sigma: Tensor
    """``[K]``: the blur [px]."""
    generators: list[Tensors]
    """The states of each trainer's generators after these draws."""

    def tensors(self) -> Tensors:
        """Return what the device needs, by name."""
        named = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}


class Stack:
    """The models of E trainers, stacked, and what their steps need on the device.

    Args:
        trainers: with equal options; all have taken the same number of steps of the phase.
        windows: of each.
        schedule: of the phase.
    """

    def __init__(
        self, trainers: Sequence[Trainer], windows: Sequence[Windows], schedule: Schedule
    ) -> None:
        self.trainers, self.windows, self.schedule = trainers, windows, schedule
        self.device, self.model = trainers[0].device, copy.deepcopy(trainers[0].model)
        self.weights = _stacked([dict(t.model.named_parameters()) for t in trainers])
        self.buffers = _stacked([dict(t.model.named_buffers()) for t in trainers])
        self.frames = torch.cat([w.frames for w in windows]).to(self.device)
        self.actions = torch.cat([w.actions for w in windows]).to(self.device)
        self.asked = _asked(self.model, trainers[0], windows[0])
        self.generators = [trainer.generators.copy() for trainer in trainers]
        self.graphs = Graphs(self.device)
        self.chunk: dict[str, Tensor] = {}
        """The tensors of the present `Chunk`, which all steps read from the same place."""
        self.number = torch.zeros(1, dtype=torch.int64, device=self.device)
        """The next step of the chunk."""
        terms = len(self.model.term_titles)
        self.told = torch.zeros(CHUNK, len(trainers), terms + 2, device=self.device)
        """Loss, terms and norm of the gradient of each step of the chunk."""

    def run(self) -> Iterator[Rows]:
        """Take steps to the end of the phase, or until a trainer diverges; yield their rows.

        While the device takes a chunk, the next chunk is drawn from copies of the generators. A
        trainer's own generators go on only when its steps are counted.
        """
        first, steps = self.trainers[0], self.schedule.phase.steps
        self._lend()
        try:
            chunk = self._draw(first.done)
            while first.done < steps and not self._has_diverged():
                self._take(chunk)
                following = self._draw(first.done + len(chunk.choices))
                yield from self._count(chunk)
                chunk = following
        finally:
            self._give_back()

    def _has_diverged(self) -> bool:
        pairs = zip(self.trainers, self.windows, strict=True)
        return any(trainer.divergence(w, self.schedule.phase) for trainer, w in pairs)

    def _lend(self) -> None:
        """Make the weights of the models views of the stacked ones, which Adam then changes.

        The same is done with their buffers, which a layer may change, such as batch norm.
        """
        stacked = self.weights | self.buffers
        for e, trainer in enumerate(self.trainers):
            for name, tensor in _tensors(trainer.model):
                tensor.data = stacked[name].data[e]

    def _give_back(self) -> None:
        """Give the models weights and buffers of their own again."""
        for trainer in self.trainers:
            for _, tensor in _tensors(trainer.model):
                tensor.data, tensor.grad = tensor.data.clone(), None

    def _draw(self, done: int) -> Chunk:
        """Draw the chunk that begins after ``done`` steps; at the end of the phase it is empty."""
        schedule, steps = self.schedule, self.schedule.phase.steps
        at = range(done, min(steps, done + CHUNK - done % CHUNK))
        choices, drawn = [], []
        for _ in at:
            chosen, *tensors = self._draw_step()
            choices.append(chosen)
            drawn.append(tensors)
        parts = zip(*drawn, strict=True) if drawn else [[torch.empty(0)]] * 4
        frames, actions, times, normals = (torch.stack(list(part)) for part in parts)
        rates = [[t.scale * schedule.learning_rate(k) for t in self.trainers] for k in at]
        return Chunk(
            choices=choices,
            frames=frames,
            actions=actions,
            times=times,
            normals=normals,
            latent_weight=torch.tensor([schedule.latent_weight(k) for k in at]),
            rate=torch.tensor(rates),
            sigma=torch.tensor([schedule.blur(k) for k in at]),
            generators=[generators.states() for generators in self.generators],
        )

    def _draw_step(self) -> tuple[tuple[int, ...], Tensor, Tensor, Tensor, Tensor]:
        """Draw a step of every trainer, in the order in which `Trainer` draws."""
        drawn, frame, action = [], 0, 0
        for trainer, windows, generators in zip(
            self.trainers, self.windows, self.generators, strict=True
        ):
            objective = trainer.objective
            times = draw_times(objective.horizon, objective.targets, generators)
            index = windows.starts.draw(trainer.options.batch_size, generators.batches)
            frames, actions = windows.rows(index, times)
            normals, choices = self.asked.drawn(generators)
            drawn.append((frames + frame, actions + action, normals))
            frame, action = frame + len(windows.frames), action + len(windows.actions)
        frames, actions, normals = (torch.stack(part) for part in zip(*drawn, strict=True))
        return choices, frames, actions, torch.tensor(times), normals

    def _take(self, chunk: Chunk) -> None:
        """Let the device take the steps of a chunk."""
        for trainer, windows in zip(self.trainers, self.windows, strict=True):
            trainer.focus(windows, float(chunk.sigma[0]))
        for name, value in chunk.tensors().items():
            if name not in self.chunk:
                self.chunk[name] = value.new_zeros(CHUNK, *value.shape[1:], device=self.device)
            self.chunk[name][: len(value)].copy_(value)
        self.number.zero_()
        for choices, sigma in zip(chunk.choices, chunk.sigma.tolist(), strict=True):
            self._play(choices, sigma < SHARP)

    def _play(self, choices: tuple[int, ...], is_sharp: bool) -> None:
        self.graphs.play((choices, is_sharp), lambda: self._step(choices, is_sharp))

    def _step(self, choices: tuple[int, ...], is_sharp: bool) -> None:
        """Take the next step of the chunk, on the device alone."""
        now = {name: t.index_select(0, self.number)[0] for name, t in self.chunk.items()}
        x = observations(self.frames, now["frames"]).float() / 255
        if not is_sharp:
            x = torch.stack(
                [
                    Lens(w.mean_observation, now["sigma"]).blur(part)
                    for w, part in zip(self.windows, x, strict=True)
                ]
            )
        u = self.actions.index_select(0, now["actions"].flatten()).unflatten(
            0, now["actions"].shape
        )
        for weight in self.weights.values():
            weight.grad = None
        losses, terms = self._losses(choices, now, x, u)
        losses.sum().backward()
        norms = [self._move(e, losses[e].detach(), now["rate"][e]) for e in range(len(losses))]
        told = torch.cat((losses[:, None], terms, torch.stack(norms)[:, None]), 1).detach()
        self.told.index_copy_(0, self.number, told[None])
        self.number += 1

    def _losses(
        self, choices: tuple[int, ...], now: dict[str, Tensor], x: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the losses ``[E]`` and their terms ``[E, R]``.

        Raises:
            E2CError: when a part of the model cannot be evaluated for all seeds at once.
        """
        trainer = self.trainers[0]

        def of_one(weights: Tensors, buffers: Tensors, *drawn: Tensor) -> tuple[Tensor, Tensor]:
            x, u, normals = drawn
            draws = Ahead(self.asked.shapes, normals, choices)
            batch = Batch(x, u, now["times"])
            loss, terms = functional_call(
                self.model,
                (weights, buffers),
                (batch, draws, trainer.objective, now["latent_weight"]),
            )
            return loss, torch.stack([terms[name] for name in self.model.term_titles])

        try:
            found: tuple[Tensor, Tensor] = vmap(of_one)(
                self.weights, self.buffers, x, u, now["normals"]
            )
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise E2CError(
                "A part of the model cannot be trained on a GPU, where seeds are trained together "
                f"by torch.func.vmap ({shown(error)}); leave out what draws random numbers by "
                "itself, such as dropout, or looks at the numbers in a tensor; or train on the CPU "
                "(device = cpu)."
            ) from None
        return found

    def _move(self, e: int, loss: Tensor, rate: Tensor) -> Tensor:
        """Let trainer e take its step of Adam, if it may; return the norm of its gradient."""
        trainer = self.trainers[e]
        for name, parameter in trainer.model.named_parameters():
            gradient = self.weights[name].grad
            parameter.grad = None if gradient is None else gradient[e]
        norm = clip(trainer.model, trainer.options)
        trainer.adam.set_rate(rate)
        trainer.adam.step((loss + norm).isfinite() & (norm > 0))
        return norm

    def _count(self, chunk: Chunk) -> Iterator[Rows]:
        """Count the steps of a chunk that were taken, and yield their rows."""
        told = self.told[: len(chunk.choices)].cpu()
        for trainer, states in zip(self.trainers, chunk.generators, strict=True):
            trainer.generators.set_states(states)
        for step in told.tolist():
            pairs = zip(self.trainers, self.windows, step, strict=True)
            yield [self._count_one(trainer, w, values) for trainer, w, values in pairs]

    def _count_one(
        self, trainer: Trainer, windows: Windows, told: Sequence[float]
    ) -> dict[str, float]:
        """Count a step of a trainer; return its row."""
        done, (loss, *terms, norm) = trainer.done, told
        trainer.focus(windows, self.schedule.blur(done))
        return trainer.count(
            {
                "loss": loss,
                **dict(zip(self.model.term_titles, terms, strict=True)),
                "lambda": self.schedule.latent_weight(done),
                "lr": trainer.scale * self.schedule.learning_rate(done),
                "gradient_norm": norm,
            }
        )


def _tensors(model: LatentModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and the buffers of a model, with their names."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _stacked(same: Sequence[Tensors]) -> Tensors:
    """Stack tensors of the same name; a stack requires a gradient if its tensors do."""
    return {
        name: torch.stack([part[name].detach() for part in same]).requires_grad_(
            first.requires_grad
        )
        for name, first in same[0].items()
    }


@torch.no_grad()
def _asked(model: LatentModel, trainer: Trainer, windows: Windows) -> Asked:
    """Note which random numbers a trainer's step asks for; ``model`` is a copy of its model."""
    asked, objective = Asked(), trainer.objective
    times = draw_times(objective.horizon, objective.targets, Asked())
    x, u = windows.sample(trainer.options.batch_size, times, torch.Generator())
    batch = Batch(x, u, torch.tensor(times, device=trainer.device))
    model.terms(batch, asked, objective)
    return asked
