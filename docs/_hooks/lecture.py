"""The pages of docs/lecture are programs: they run while the site is built, and show what they did.

A page is a Python program whose cells begin with ``# %%`` (code) or ``# %% [markdown]`` (text in
comments): jupytext's percent format. Below a cell stands what it printed and drew: pyplot's open
figures, and a figure that is the value of the cell's last line. A page that fails ends the build.

    python docs/_hooks/lecture.py docs/lecture/01_name.py FOLDER

runs one page in FOLDER, and writes the Markdown and the pictures there.
"""

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)
PUBLISHED = {".png", ".svg", ".webp", ".mp4"}
"""What a page leaves in its folder and may show: ``![the film](swing_up.webp)``."""


class Cell(NamedTuple):
    """A part of a page; `line` is the number of lines before its content."""

    is_text: bool
    content: str
    line: int


def cells(program: str) -> list[Cell]:
    """Take a page apart; what stands before its first cell is for jupytext and is left out."""
    starts = [*CELL.finditer(program)]
    ends = [start.start() for start in starts[1:]] + [len(program)]
    found = []
    for start, end in zip(starts, ends, strict=False):
        line = program.count("\n", 0, start.end())
        found.append(Cell("[markdown]" in start[1], program[start.end() : end], line))
    return found


def run_cell(cell: Cell, names: dict[str, Any], path: str) -> tuple[str, Any]:
    """Run code; return what it printed, and the value of its last line (None if it has none)."""
    tree = ast.parse("\n" * cell.line + cell.content, path)
    last = tree.body[-1] if tree.body else None
    value = None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(tree.body[:-1], []), path, "exec"), names)
            value = eval(compile(ast.Expression(last.value), path, "eval"), names)
        else:
            exec(compile(tree, path, "exec"), names)
    return printed.getvalue(), value


def markdown(path: Path, folder: Path) -> str:
    """Run the page at `path`; return its Markdown, whose pictures are written to `folder`."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    parts = []
    for number, cell in enumerate(cells(path.read_text("utf-8"))):
        if cell.is_text:
            parts.append(re.sub(r"^# ?", "", cell.content, flags=re.MULTILINE).strip())
            continue
        printed, value = run_cell(cell, names, str(path))
        parts.append(f"```python\n{cell.content.strip()}\n```")
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
        figures = [pyplot.figure(open_) for open_ in pyplot.get_fignums()]
        if isinstance(value, Figure) and value not in figures:
            figures.append(value)
        for which, figure in enumerate(figures):
            picture = f"{path.stem}_{number}_{which}.png"
            figure.savefig(folder / picture, dpi=120, bbox_inches="tight")
            parts.append(f"![what this cell draws]({picture})")
        pyplot.close("all")
    return "\n\n".join(parts) + "\n"


def run(path: Path, folder: Path) -> None:
    """Run a page in a process of its own.

    Raises:
        PluginError: the page failed; the message is what it said.
    """
    from mkdocs.exceptions import PluginError

    folder.mkdir()
    alone = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, __file__, str(path), str(folder)]
    done = subprocess.run(command, env=os.environ | alone, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise PluginError(f"{path} fails:\n{done.stderr}")


def on_files(files: Any, config: Any) -> Any:
    """Run all pages, as many at once as there are cores, and add what they made to the site."""
    from mkdocs.structure.files import File

    programs = [file for file in files if re.fullmatch(r"lecture/\w+\.py", file.src_uri)]
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(os.cpu_count()) as workers:
        folders = [Path(made, Path(program.src_uri).stem) for program in programs]
        paths = [Path(program.abs_src_path) for program in programs]
        list(workers.map(run, paths, folders))
        for program, folder in zip(programs, folders, strict=True):
            uri = program.src_uri.removesuffix(".py") + ".md"
            text = (folder / "page.md").read_text("utf-8")
            files.append(File.generated(config, uri, content=text))
            for picture in sorted(folder.iterdir()):
                if picture.suffix in PUBLISHED:
                    shown = File.generated(
                        config, f"lecture/{picture.name}", content=picture.read_bytes()
                    )
                    files.append(shown)
    return files


if __name__ == "__main__":
    page, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    os.chdir(out)
    Path("page.md").write_text(markdown(page, out), "utf-8")
