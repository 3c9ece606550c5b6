"""The examples run as they are, in seconds, and are as short as they say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

from e2c.files import runs

LINES = {"own_encoder": 30, "own_objective": 60}
"""The most lines of each that are neither imports nor docstrings nor blank."""


def lines_of_code(path: Path) -> int:
    tree = ast.parse(path.read_text())
    idle: set[int] = set()
    for node in ast.walk(tree):
        told = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if told or isinstance(node, ast.Import | ast.ImportFrom):
            idle |= set(range(node.lineno, (node.end_lineno or 0) + 1))  # type: ignore[attr-defined]
    lines = enumerate(path.read_text().splitlines(), start=1)
    return sum(bool(line.strip()) and number not in idle for number, line in lines)


@pytest.mark.parametrize("name", LINES)
def test_an_example_trains_in_seconds(name: str, tmp_path: Path) -> None:
    example = ROOT / "examples" / f"{name}.py"
    assert lines_of_code(example) <= LINES[name]
    done = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert runs.finished(tmp_path / "runs" / name)
