"""The examples run as they are, but for the pixels of pictures, and are as short as they say."""

import ast
import runpy
from pathlib import Path
from unittest.mock import patch

import pytest
from processes import Script
from tiny import ROOT, leave_undrawn

from e2c.files import runs
from e2c.models.encoders import ENCODERS
from e2c.models.likelihoods import LIKELIHOODS
from e2c.models.methods import METHODS

LINES = {"own_encoder": 30, "own_likelihood": 30, "own_objective": 60}
"""The most lines of each that are neither imports nor docstrings nor blank."""
ADAPTED = 10
"""The most of them that it takes to learn in an own environment, besides the environment itself."""


def lines_of_code(text: str) -> int:
    """Count the lines of a program that are neither imports nor docstrings nor blank."""
    idle: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        told = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if told or isinstance(node, ast.Import | ast.ImportFrom):
            idle |= set(range(node.lineno, (node.end_lineno or 0) + 1))  # type: ignore[attr-defined]
    lines = enumerate(text.splitlines(), start=1)
    return sum(bool(line.strip()) and number not in idle for number, line in lines)


@pytest.mark.parametrize(("name", "most"), LINES.items())
def test_an_example_is_as_short_as_is_said(name: str, most: int) -> None:
    assert lines_of_code((ROOT / "examples" / f"{name}.py").read_text("utf-8")) <= most


def test_an_own_environment_takes_few_lines_besides_itself() -> None:
    text = (ROOT / "examples" / "own_environment.py").read_text("utf-8")
    (rail,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    environment = "\n".join(text.splitlines()[rail.lineno - 1 : rail.end_lineno])
    assert lines_of_code(text) - lines_of_code(environment) <= ADAPTED


@pytest.mark.parametrize("name", [*LINES, "own_videos"])
def test_an_example_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, whose registries forget afterwards what the example adds to them."""
    monkeypatch.chdir(tmp_path)
    leave_undrawn(monkeypatch)
    with patch.dict(ENCODERS), patch.dict(LIKELIHOODS), patch.dict(METHODS):
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert runs.finished(tmp_path / "runs" / name)


def test_the_example_of_an_own_environment_trains_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = Script("examples/own_environment.py", cwd=tmp_path).wait()
    assert done.returncode == 0, done.stderr
    assert runs.finished(tmp_path / "runs" / "own_environment")
