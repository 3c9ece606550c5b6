"""Configuration: ranges, types, names, round trips and presets."""

import dataclasses
import inspect
import json
from typing import Any

import numpy as np
import pytest
import yaml

import envs
from e2c.config import Config, Recipe, check, check_recipe, with_method
from e2c.errors import E2CError
from e2c.models.methods import METHODS
from e2c.options import from_dict, leaves, to_dict
from e2c.presets import EXCEPTIONS, HEADLINE, PRESETS, TASKS, preset


def with_value(name: str, value: Any) -> Config:
    """The default configuration with one field, called by its dotted name, changed."""
    section, _, field = name.rpartition(".")
    if not section:
        return dataclasses.replace(Config(), **{field: value})
    part = dataclasses.replace(getattr(Config(), section), **{field: value})
    return dataclasses.replace(Config(), **{section: part})


@pytest.mark.parametrize("env", envs.ENVIRONMENTS)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_files(name: str, env: str) -> None:
    config = preset(name, env)
    assert check(config) is config
    assert from_dict(to_dict(config), Config) == config
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config))), Config) == config
    assert from_dict(json.loads(json.dumps(to_dict(config))), Config) == config


def test_exceptions_are_of_presets_on_tasks_that_there_are() -> None:
    for name, env in EXCEPTIONS:
        assert name in PRESETS
        assert env in (HEADLINE, *TASKS)


@pytest.mark.parametrize("env", envs.ENVIRONMENTS)
def test_ordinary_is_the_default_without_states_that_are_set(env: str) -> None:
    default, ordinary = preset("default", env), preset("ordinary", env)
    assert not ordinary.data.restarts
    if default.data.restarts:
        data = dataclasses.replace(default.data, restarts=False, episode_length=None)
        default = dataclasses.replace(default, data=data)
    assert ordinary == default


def test_the_papers_preset_has_the_published_values() -> None:
    """Watter et al. 2015, supplement 2.6.2, the column of the pendulum."""
    paper = dict(leaves(preset("paper")))
    published = {
        "model.latent_dim": 3,
        "model.encoder_hidden": (800, 800),
        "model.decoder_hidden": (800, 800),
        "model.transition_hidden": (100, 100),
        "model.activation": "relu",
        "model.pool": 1,
        "model.lattices": 1,
        "model.transition_bound": 0,
        "objective.horizon": 1,
        "objective.targets": 1,
        "objective.latent_weight": 0.25,
        "objective.latent_weight_start": 0.25,
        "optimiser.batch_size": 128,
        "optimiser.learning_rate": 3e-4,
        "optimiser.beta2": 0.9,  # 0.1 in the convention of the first Adam preprint
        "optimiser.decay": 1,
        "optimiser.clip": 0,
        "data.transitions": 15_000,
        "data.rounds": 0,
    }
    assert {name: paper[name] for name in published} == published


def test_fields_left_out_keep_their_defaults() -> None:
    assert from_dict({}, Config) == Config()
    config = from_dict({"model": {"latent_dim": 7}}, Config)
    assert config == with_value("model.latent_dim", 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "Unknown configuration key modle; did you mean model?"),
        ({"model": {"latent_dims": 3}}, "model.latent_dims; did you mean model.latent_dim?"),
        ({"planner": {"zzz": 3}}, "planner.zzz; known: name, horizon, iterations"),
        ({3: {}}, "Unknown configuration key 3; known: env, env_args"),
        (None, "The configuration must be a mapping; got None."),
        ([], "The configuration must be a mapping"),
        ({"model": 3}, "model must be a mapping; got 3."),
        ({"env": 3}, "env is 3; it must be a text."),
        ({"model": {"latent_dim": 3.5}}, "model.latent_dim is 3.5; it must be a whole number."),
        ({"model": {"latent_dim": True}}, "model.latent_dim is True; it must be a whole number."),
        ({"model": {"latent_dim": "3"}}, "model.latent_dim is '3'; it must be a whole number."),
        ({"model": {"encoder_hidden": 3}}, "it must be a list of whole numbers."),
        ({"model": {"encoder_hidden": [3.0]}}, "it must be a list of whole numbers."),
        ({"model": {"encoder_hidden": "ab"}}, "it must be a list of whole numbers."),
        ({"model": {"activation": "tanh"}}, "it must be 'relu' or 'silu'."),
        ({"model": {"activation": []}}, "it must be 'relu' or 'silu'."),
        ({"optimiser": {"clip": "1e3"}}, "optimiser.clip is '1e3'; it must be a number."),
        ({"optimiser": {"clip": None}}, "it must be a number."),
        ({"planner": {"jacobian": "B"}}, "it must be 'true' or 'A'."),
    ],
)
def test_what_is_wrong_is_named(values: Any, message: str) -> None:
    with pytest.raises(E2CError) as caught:
        from_dict(values, Config)
    assert message in str(caught.value)


def test_whole_numbers_are_numbers() -> None:
    clip = from_dict({"optimiser": {"clip": 3}}, Config).optimiser.clip
    assert (clip, type(clip)) == (3.0, float)


NUMBERS = [
    (name, value)
    for name, value in leaves(Config())
    if not isinstance(value, str | bool) and value is not None
]


@pytest.mark.parametrize(("name", "value"), NUMBERS)
def test_no_number_may_be_negative(name: str, value: Any) -> None:
    low = (16, -1) if isinstance(value, tuple) else type(value)(-1)
    with pytest.raises(E2CError, match=rf"^{name} is -1(\.0)?; it must be at least "):
        check(with_value(name, low))


@pytest.mark.parametrize("name", [name for name, value in NUMBERS if isinstance(value, float)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_every_number_is_finite(name: str, value: float) -> None:
    with pytest.raises(E2CError, match=f"^{name} is .*; it must be a finite number"):
        check(with_value(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.latent_dim", 0),
        ("model.pool", 0),
        ("model.lattices", 0),
        ("model.decoder_hidden", (16, 0)),
        ("model.transition_bound", 1.0),
        ("objective.horizon", 0),
        ("objective.targets", 0),
        ("objective.latent_weight", 0.0),
        ("objective.latent_weight_start", 0.0),
        ("objective.ramp", 1.01),
        ("optimiser.steps", 0),
        ("optimiser.batch_size", 0),
        ("optimiser.learning_rate", 0.0),
        ("optimiser.beta2", 1.0),
        ("data.transitions", 0),
        ("data.episode_length", 0),
        ("data.own_share", 1.5),
        ("planner.horizon", 0),
        ("planner.restarts", 0),
        ("planner.iterations", 0),
        ("planner.control_weight", 0.0),
        ("model.latent_dim", 257),
        ("model.encoder_hidden", (8, 4097)),
        ("model.lattices", 65),
        ("optimiser.batch_size", 10**30),
        ("optimiser.clip", 1e10),
        ("data.transitions", 10**8),
        ("evaluation.seed", 2**63),
    ],
)
def test_values_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(E2CError, match=f"^{name} is .*; it must be at (least|most) "):
        check(with_value(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.transition_bound", 0.0),
        ("objective.ramp", 0.0),
        ("objective.ramp", 1.0),
        ("optimiser.clip", 0.0),
        ("optimiser.steps_per_round", 0),
        ("data.rounds", 0),
        ("data.exploration", 0.0),
        ("data.own_share", 1.0),
        ("planner.terminal_weight", 0.0),
    ],
)
def test_the_ends_of_ranges_are_allowed(name: str, value: Any) -> None:
    check(with_value(name, value))


def test_a_network_of_very_many_layers_is_refused() -> None:
    with pytest.raises(E2CError, match=r"^model\.encoder_hidden has 17 layers; .* at most 16\.$"):
        check(with_value("model.encoder_hidden", (3,) * 17))


@pytest.mark.parametrize("recipe", [Recipe(seed=2**63), Recipe(threads=257), Recipe(threads=0)])
def test_a_recipe_out_of_range_is_refused(recipe: Recipe) -> None:
    with pytest.raises(E2CError, match=r"^(seed|threads) is .*; it must be at (least|most) "):
        check_recipe(recipe)


def bomb() -> list[Any]:
    """A list of 9 ** 30 items in the memory of 270."""
    items: list[Any] = ["lol"]
    for _ in range(30):
        items = [items] * 9
    return items


@pytest.mark.parametrize(
    "values",
    [
        bomb(),
        {"seed": bomb()},
        {"seed": "x" * 10**6},
        {"y" * 10**6: 1},
        {"a\nb": 1},
        {"": 1},
        {3: 1},
        {"config": {"optimiser": {"clip": 10**400}}},
        {"config": {"optimiser": {"clip": -(10**400)}}},
        {"seed": float("nan")},
    ],
    ids=range(10),
)
def test_junk_of_any_size_is_refused_in_a_short_line(values: Any) -> None:
    with pytest.raises(E2CError) as caught:
        from_dict(values, Recipe)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_fields_that_contradict_one_another_are_named() -> None:
    with pytest.raises(E2CError, match=r"objective\.targets is 9; .*horizon = 8"):
        check(with_value("objective.targets", 9))
    with pytest.raises(E2CError, match=r"data\.episode_length is 7; .*horizon = 8"):
        check(with_value("data.episode_length", 7))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"fresh": 0.5}}, "Unknown configuration key data.fresh; known: transitions, "),
        (
            {"objective": {"curvature_weight": 8.0}},
            "Unknown configuration key objective.curvature_weight; known: horizon, ",
        ),
        (
            {"model": {"method": "pcc"}, "objective": {"prior_weight": 0.1}},
            "Unknown configuration key objective.prior_weight; known: horizon, ",
        ),
        ({"model": {"method": "pc"}}, "no method 'pc' (model.method); did you mean pcc?"),
        ({"model": 3, "objective": {"horizon": 1}}, "model must be a mapping; got 3."),
    ],
)
def test_knobs_of_other_versions_and_methods_are_refused(values: Any, message: str) -> None:
    with pytest.raises(E2CError) as caught:
        from_dict(values, Config)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_brings_its_options(method: str) -> None:
    """Whatever is changed with the method, and from whatever method, one file says it all."""
    for start in (Config(), preset("pc3"), preset("rce")):
        config = with_method(start, method)
        assert config.model.method == method
        assert type(config.objective) is METHODS[method].objective
        assert config.objective.latent_weight == start.objective.latent_weight
        assert from_dict(to_dict(config), Config) == check(config)
    assert with_method(config, method) == config


def test_knobs_that_two_methods_share_are_kept() -> None:
    assert with_method(preset("pc3"), "pcc").objective == preset("pc3").objective


def test_the_options_of_another_method_are_refused() -> None:
    pcc = dataclasses.replace(Config().model, method="pcc")
    with pytest.raises(E2CError, match="objective holds ObjectiveConfig, and the method 'pcc' tak"):
        check(dataclasses.replace(Config(), model=pcc))


PARTS = [Recipe(), Config(), *(v for v in vars(Config()).values() if dataclasses.is_dataclass(v))]
PARTS += [kind() for kind in {method.objective: None for method in METHODS.values()}]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_every_field_has_its_sentence_and_every_number_its_range(part: Any) -> None:
    """The command line's help is made of the sentences."""
    sources = [inspect.getsource(base) for base in type(part).__mro__[:-1]]
    lines = "\n".join(sources).splitlines()
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        places = [i for i, line in enumerate(lines) if line.startswith(f"    {item.name}: ")]
        nested = dataclasses.is_dataclass(value)
        assert nested or any(lines[i + 1].startswith('    """') for i in places), item.name
        switch = isinstance(value, bool)
        number = not switch and (
            isinstance(value, int | float) or (isinstance(value, tuple) and value)
        )
        assert not number or "range" in item.metadata, item.name


def test_the_crop_of_a_task_is_inside_the_pictures_that_it_asks_for() -> None:
    found = preset("default", "dm_control/cartpole-balance-v0")
    drawn = json.loads(found.env_args)["render_kwargs"]
    camera = found.camera
    assert camera.frame(np.zeros((drawn["height"], drawn["width"], 3), np.uint8)).shape == (48, 64)
    assert preset("default").env_args == "{}"
