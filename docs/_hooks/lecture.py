"""The pages of docs/lecture are notebooks: they run while the site is built.

A page is a Python program in jupytext's percent format: cells begin with ``# %%`` (code) or
``# %% [markdown]`` (text in comments). Below a cell of code stands what it printed and displayed. A
page that fails ends the build.
"""

import base64
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Pages run side by side, one on each core."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Run all pages, as many at once as there are cores, and add them and their pictures."""
    programs = [file for file in files if re.fullmatch(r"lecture/\w+\.py", file.src_uri)]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        notebooks = workers.map(executed, [Path(file.abs_src_path or "") for file in programs])
        for program, notebook in zip(programs, notebooks, strict=True):
            name = program.src_uri.removesuffix(".py")
            text, pictures = markdown(notebook, name)
            files.append(File.generated(config, f"{name}.md", content=text))
            for uri, picture in pictures.items():
                files.append(File.generated(config, uri, content=picture))
    return files


def executed(path: Path) -> Any:
    """Run the page at `path`, in an empty folder; return its notebook.

    Raises:
        PluginError: a cell failed; the message shows it, and how it failed.
    """
    notebook = jupytext.read(path)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=None,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        try:
            return client.execute(env=os.environ | ONE_THREAD)
        except CellExecutionError as error:
            raise PluginError(f"{path} fails: {error}") from error


def markdown(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook that has run as Markdown, and its pictures by their places on the site.

    Args:
        notebook: of the page.
        name: the page's place on the site, without a suffix.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                continue  # how far something is
            data = output.get("data", {})
            if "image/png" in data:
                uri = f"{name}_{len(pictures)}.png"
                pictures[uri] = base64.b64decode(data["image/png"])
                parts.append(f"![what this cell draws]({Path(uri).name})")
            elif printed := output.get("text", data.get("text/plain", "")):
                parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures
