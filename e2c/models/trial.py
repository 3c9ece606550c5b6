"""Trying a model out before it is trained: what would fail later is told now, in a sentence.

The parts may be the user's own. A copy of the model does once, on a few numbers, what training and
the agent ask of it. Then it is loaded as from a checkpoint. The random numbers of training stay the
same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from e2c.config import Config
from e2c.errors import E2CError
from e2c.files.untrusted import brief, shown
from e2c.models import checkpoint
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.decoders import Decoder
from e2c.models.draws import Generators, seeded
from e2c.models.objectives import Batch, draw_times
from e2c.models.parts import check_learns, check_tensor
from e2c.models.transitions import LocalLinearisation, Transition

B = 2
"""Windows in the batch."""


def try_out(model: LatentModel[Any], config: Config, spec: ProblemSpec) -> None:
    """Try a copy of an untrained model out.

    Args:
        model: as `build_model` returns it.
        config: what it was built from.
        spec: the task.

    Raises:
        E2CError: when its transition, its decoder's start, its objective or loading it does not do
            what it must.
    """
    place, tried = model.goal.device, _copied(model)
    with seeded(0), torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        with torch.enable_grad():
            check_transition(tried.eval().transition)
            _check_start(tried, spec)
            check_objective(tried.train(), _batch(tried, config, spec), config)
        _check_loading(tried.eval(), config, spec)


def _copied(model: LatentModel[Any]) -> LatentModel[Any]:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # a tensor that was computed from weights
        raise _not_loaded(error) from None


def check_transition(f: Transition) -> None:
    """Raise an E2CError unless a transition's methods return what they must, and are consistent."""
    n, m, scale = f.n, f.m, f.control_scale
    for lead in ((), (B,), (1, B)):
        z, u = scale.new_full((*lead, n), 0.1), 0.5 * scale.expand(*lead, m)
        after = f.step(z, u)
        check_tensor(f, "step()", after, z.shape)
        check_learns(f, "step()", after)
        local, slopes, phi = f(z, u), f.jacobian(z, u), f.features(z, u)
        if not isinstance(local, LocalLinearisation):
            raise _unlike(f, "forward", local, "a LocalLinearisation")
        if not (isinstance(slopes, tuple) and len(slopes) == 2):
            raise _unlike(f, "jacobian", slopes, "two tensors, df/dz and df/du")
        for method, found, shape in (
            ("forward().A", local.A, (n, n)),
            ("forward().B", local.B, (n, m)),
            ("forward().o", local.o, (n,)),
            ("jacobian()[0]", slopes[0], (n, n)),
            ("jacobian()[1]", slopes[1], (n, m)),
        ):
            check_tensor(f, method, found, (*lead, *shape))
        width = _width(f)
        check_tensor(f, "features()", phi, (*lead, width))
    if not torch.is_inference_mode_enabled():  # in this mode nothing has a derivative
        _check_agreement(f)


def _check_agreement(f: Transition) -> None:
    """Raise an E2CError unless linearisation, Jacobian and features are those of `step`."""
    z, u = torch.linspace(-0.2, 0.3, f.n).to(f.control_scale), 0.5 * f.control_scale
    after, slopes, phi = f.step(z, u), f.jacobian(z, u), f.features(z, u)
    dW = torch.linspace(-0.1, 0.1, f.n * len(phi)).to(phi).view(f.n, -1)
    gained = f.moved(dW).step(z, u) - after
    claims = [
        ("forward()", f(z, u).step(z, u), "step()", after),
        ("features()", dW @ phi, "what step() gains with last_weights() + dW", gained),
    ]
    if f.exact:
        by_z, by_u = torch.autograd.functional.jacobian(f.step, (z, u))
        claims.append(("jacobian()[0]", slopes[0], "the derivative of step() by z", by_z))
        claims.append(("jacobian()[1]", slopes[1], "the derivative of step() by u", by_u))
    for method, found, said, right in claims:
        off = (found - right).abs()
        if bool((off > 1e-2 * right.abs() + 1e-3).any()):
            at = [int(i) for i in torch.unravel_index(off.argmax(), off.shape)]
            raise E2CError(
                f"{type(f).__name__}.{method} gives {found[*at]:.3g} at {at}, where {said} is "
                f"{right[*at]:.3g}; let all methods be of one function f(z, u), as its base class "
                "says."
            )


def _width(f: Transition) -> int:
    """Return d, the number of columns of the last weights, or raise an E2CError for their shape."""
    weights = f.last_weights()
    if not all(isinstance(W, Tensor) and W.ndim == 2 and len(W) == f.n for W in weights):
        told = [list(W.shape) if isinstance(W, Tensor) else type(W).__name__ for W in weights]
        raise _unlike(f, "last_weights", told, f"tensors of shape [{f.n}, ...]")
    return sum(W.shape[1] for W in weights)


def _unlike(part: object, method: str, found: object, wanted: str) -> E2CError:
    return E2CError(
        f"{type(part).__name__}.{method}() returned {brief(found)}; let it return {wanted}."
    )


def _check_start(model: LatentModel[Any], spec: ProblemSpec) -> None:
    """Let the decoder start at a grey ramp: it must keep its weights, and change their numbers."""
    before = {id(weight) for weight in model.parameters()}
    grey = torch.linspace(0, 1, model.goal.numel(), device=model.goal.device)
    model.decoder.start_at(grey.view(spec.planes))
    if {id(weight) for weight in model.parameters()} != before:
        raise E2CError(
            f"{type(model.decoder).__name__}.start_at() put other weights in place of its own, "
            "which would not be trained; change their numbers: with torch.no_grad(): bias.copy_(y)."
        )


def _batch(model: LatentModel[Any], config: Config, spec: ProblemSpec) -> Batch:
    """Return windows whose images are parts of a ramp from black to white."""
    place, objective = model.goal.device, config.objective
    times = draw_times(objective.horizon, objective.targets, Generators(0))
    x = torch.linspace(0, 1, B * len(times) * model.goal.numel(), device=place)
    u = torch.linspace(-1, 1, B * times[-1], device=place).view(B, -1, 1)
    return Batch(
        x.view(B, len(times), *spec.planes),
        u * model.transition.control_scale,
        torch.tensor(times, device=place),
    )


def check_objective(model: LatentModel[Any], batch: Batch, config: Config) -> None:
    """Raise an E2CError unless a method's terms, weights and titles are what the trainer needs."""
    objective, name = config.objective, type(model).__name__
    terms = model.terms(batch, Generators(0), objective)
    if not isinstance(terms, Mapping):
        raise _unlike(model, "terms", terms, "a dictionary of terms, by their names")
    for term, value in terms.items():
        if not (isinstance(value, Tensor) and value.shape == () and value.is_floating_point()):
            told = f"shape {list(value.shape)}" if isinstance(value, Tensor) else brief(value)
            raise E2CError(
                f"{name}.terms() returned {told} as {term!r}; let every term be a tensor that is "
                "a scalar, such as a mean."
            )
    weights = model.weights(objective, objective.latent_weight)
    if not isinstance(weights, Mapping):
        raise _unlike(model, "weights", weights, "a dictionary of weights, by the names of terms")
    _check_names(name, "weights()", weights, terms)
    _check_names(name, "tracked", model.tracked, terms)
    titles = getattr(model, "term_titles", {})
    _check_names(name, "term_titles", titles, terms)
    if untitled := [term for term in terms if term not in titles]:
        raise E2CError(
            f"{name}.term_titles lacks {', '.join(untitled)}; say there what every term is called "
            "in plots."
        )
    loss = torch.stack([share * terms[term] for term, share in weights.items()]).sum()
    check_learns(model, "terms()", loss)
    loss.backward()


def _check_names(method: str, said: str, names: Any, terms: Mapping[str, Tensor]) -> None:
    """Raise an E2CError unless there are ``names``, and each names a term."""
    unknown = [repr(name) for name in names if name not in terms]
    if unknown or not names:
        raise E2CError(
            f"{method}.{said} names {', '.join(unknown) or 'no term'}; let it name some of what "
            f"terms() returned: {', '.join(map(str, terms))}."
        )


def _check_loading(model: LatentModel[Any], config: Config, spec: ProblemSpec) -> None:
    """Raise an E2CError unless a model does the same once it is loaded again."""
    try:
        again = checkpoint.reloaded(model, config, spec)
        reason = _without_numbers(again) or _difference(model, again.to(model.goal.device))
    except (E2CError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise _not_loaded(error) from None
    if reason:
        raise _not_loaded(reason)


def _without_numbers(model: LatentModel[Any]) -> str:
    """Say which tensor of a model is still without numbers; an empty text where none is."""
    for module in model.modules():
        for name, value in [*vars(module).items(), *module.named_buffers(recurse=False)]:
            if isinstance(value, Tensor) and value.is_meta:
                return f"{type(module).__name__}.{name} then has no numbers"
    return ""


def _difference(model: LatentModel[Any], again: LatentModel[Any]) -> str:
    """Say which part of a loaded model returns other numbers; an empty text where none does."""
    for (part, right), (_, found) in zip(_answers(model), _answers(again), strict=True):
        if not torch.allclose(found, right, rtol=1e-3, atol=1e-4):
            return f"{part} then returned other numbers"
    return ""


def _not_loaded(reason: object) -> E2CError:
    return E2CError(
        f"This model could not be loaded once it is trained ({shown(reason)}): loading builds the "
        "parts on torch's device meta, without numbers, and then takes weights and buffers from a "
        "file; compute constants in forward, or keep them by register_buffer(..., "
        "persistent=True), and give layers their sizes."
    )


@torch.no_grad()
def _answers(model: LatentModel[Any]) -> list[tuple[str, Tensor]]:
    """Return the outputs of each part for fixed inputs, with the name of its class."""
    f, goal = model.transition, model.goal
    x = torch.linspace(0, 1, B * goal.numel(), device=goal.device).view(B, *goal.shape)
    z, u = f.control_scale.new_full((B, f.n), 0.1), 0.5 * f.control_scale.expand(B, f.m)
    q = model.encoder(x)
    drawn = model.decoder(z) if isinstance(model.decoder, Decoder) else model.decoder.draw(z)
    encoder, decoder = type(model.encoder).__name__, type(model.decoder).__name__
    return [
        (encoder, q.mean),
        (encoder, q.log_variance),
        (decoder, drawn),
        (type(f).__name__, f.step(z, u)),
    ]
