"""Commands import the modules that they are told, and know the parts which these register."""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import pytest
from tiny import CONFIG, TYPED, leave_undrawn, shorten_runs

from e2c import commands
from e2c.config import Recipe, with_method
from e2c.errors import E2CError
from e2c.files import runs
from e2c.files.own_modules import import_all, import_asked
from e2c.models.decoders import DECODERS
from e2c.models.encoders import ENCODERS
from e2c.models.likelihoods import LIKELIHOODS
from e2c.models.methods import METHODS
from e2c.sweep import cell
from planners import PLANNERS

OWN = """
import dataclasses
from e2c.models.e2c import E2C
from e2c.models.encoders import ENCODERS, MLPEncoder
from e2c.models.methods import METHODS
from e2c.models.objectives import ObjectiveConfig
from e2c.options import option
from planners import PLANNERS

@dataclasses.dataclass(frozen=True)
class Objective(ObjectiveConfig):
    weight: float = option(1.0, 0, 9)

class Method(E2C):
    objective = Objective

class Encoder(MLPEncoder):
    pass

METHODS["mine"], ENCODERS["mine"], PLANNERS["mine"] = Method, Encoder, PLANNERS["cem"]
"""
ASKED = ["--model.method", "mine", "--model.encoder", "mine", "--objective.weight", "0.5"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that registers parts, which are forgotten afterwards."""
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shorten_runs(monkeypatch, 6)
    leave_undrawn(monkeypatch)
    with patch.dict(METHODS), patch.dict(ENCODERS), patch.dict(PLANNERS):
        yield "own_parts"
    sys.modules.pop("own_parts", None)


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str]]:
    """Give a command line; return its status and what it said."""

    def call(command: Callable[[], NoReturn], *words: str) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["x", *words])
        with pytest.raises(SystemExit) as caught:
            command()
        return caught.value.code, "".join(capfd.readouterr())

    return call


def forget(module: str) -> None:
    """Be as a process that has not imported it."""
    for registry in (METHODS, ENCODERS, PLANNERS):
        registry.pop("mine", None)
    sys.modules.pop(module, None)


def test_a_command_knows_the_parts_of_the_modules_that_it_is_told(
    own: str, typed: Callable[..., tuple[object, str]]
) -> None:
    status, said = typed(commands.train_command, "--out", "run", *TYPED, *ASKED, "--import", own)
    assert status == 0, said
    assert f"next: e2c-evaluate run --import {own}" in said
    assert "weight: 0.5" in (Path("run") / runs.CONFIG).read_text("utf-8")
    played = ["run", "--episodes", "1", "--oracle", "False", "--planner", "mine"]
    for command, *words in (
        (commands.evaluate_command, *played),
        (commands.collect_command, "--out", "d.npz", "--transitions", "5", "--agent", "run"),
        (commands.train_command, "--out", "again", "--config", "run/config.yaml"),
    ):
        forget(own)
        status, said = typed(command, *words)
        assert status == 2
        assert "--import" in said
        status, said = typed(command, *words, "--import", own)
        assert status == 0, said


def test_a_cell_of_a_sweep_knows_them(own: str) -> None:
    import_all([own])
    config = with_method(CONFIG, "mine")
    (folder := Path("sweep/default/cell")).mkdir(parents=True)
    runs.write_recipe(folder, Recipe(config))
    forget(own)
    with pytest.raises(E2CError, match=r"There is no method 'mine'.*--import"):
        cell._train(folder, "off", [])
    cell._train(folder, "off", [own])
    assert runs.finished(folder)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("mine.py", None, "--import is 'mine.py'; give the name of a module, as Python imports it"),
        ("a/mine", None, "--import is 'a/mine'; give the name of a module"),
        ("", None, "--import is ''; give the name of a module"),
        (".mine", None, "--import is '.mine'; give the name of a module"),
        ("mine", None, "There is no module mine (--import mine); correct the name, or add its f"),
        ("broken.part", "", "There is no module broken.part (--import broken.part); correct"),
        ("broken", "import nowhere_at_all", "broken (--import) needs the module nowhere_at_all"),
        (
            "broken",
            "\n1 / 0",
            "cannot be imported (ZeroDivisionError: division by zero; broken.py, "
            "line 2); correct it.",
        ),
        (
            "broken",
            "import numpy\n\nnumpy.nowhere",
            "(AttributeError: module 'numpy' has no attribute 'nowhere'; broken.py, line 3); corr",
        ),
        (
            "broken",
            "\n\nx = (",
            "cannot be imported (SyntaxError: '(' was never closed; broken.py, "
            "line 3); correct it.",
        ),
        ("broken", "raise E2CError", "cannot be imported (NameError: name 'E2CError' is not defi"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, told: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    if text is not None:
        (tmp_path / "broken.py").write_text(text)
    with pytest.raises(E2CError, match=re.escape(told)) as caught:
        import_all([name])
    assert "\n" not in str(caught.value)
    sys.modules.pop("broken", None)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--import", "own_parts"], True),
        (["--import=own_parts", "--out", "run"], True),
        (["--out", "run", "--env", "E2C/Planar-v0", "own_parts:Mine-v0"], True),
        (["--env", "E2C/Planar-v0"], False),
        (["run", "--video", "a:b.mp4"], False),
    ],
)
def test_a_command_looks_in_the_current_folder_only_when_its_words_name_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], found: bool
) -> None:
    """A console script has the folder of scripts in its path, and not the current one."""
    (tmp_path / "own_parts.py").write_text("")
    (tmp_path / "wave.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    sys.modules.pop("own_parts", None)
    import_asked(words)
    assert (importlib.util.find_spec("own_parts") is not None) == found
    installed = importlib.util.find_spec("wave")
    assert installed is not None
    assert not str(installed.origin).startswith(str(tmp_path)), "no module is hidden by one here"
    import_asked(words)
    assert sys.path.count(str(tmp_path)) == found
    sys.modules.pop("own_parts", None)


@pytest.mark.parametrize("names", [METHODS, ENCODERS, DECODERS, LIKELIHOODS, PLANNERS])
def test_the_name_of_a_built_in_part_is_given_to_no_other(names: dict[str, Any]) -> None:
    """A run folder keeps names alone: it would be loaded with the built-in part."""
    name, part = next(iter(names.items()))
    with patch.dict(names):
        for mine in (type("Mine", (), {}), type("Mine", (), {})):  # as a cell that is run again
            names["mine"] = mine
            assert names["mine"] is mine
            with pytest.raises(ValueError, match=f"There is a built-in .* '{name}' already; choo"):
                names[name] = mine
        names[name] = part
        del names[name]
        with pytest.raises(ValueError, match="choose another name for yours"):
            names[name] = mine
    assert names[name] is part
    assert "mine" not in names


def test_a_module_that_takes_a_built_in_name_is_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    text = 'from e2c.models.encoders import ENCODERS\nENCODERS["mlp"] = int\n'
    (tmp_path / "own_mlp.py").write_text(text)
    told = r"ValueError: There is a built-in encoder 'mlp' .* for yours; own_mlp.py, line 2\)"
    with pytest.raises(E2CError, match=told):
        import_all(["own_mlp"])
