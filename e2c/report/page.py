"""One page that shows the results of a run, or of several side by side.

The page is a single HTML file that needs no network and runs nothing but its own script: all text
from run folders is escaped, and the content security policy names the hashes of script and style.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from e2c.files import runs as folders
from e2c.files.whole import write_whole
from e2c.report import views
from e2c.report.episodes import MOST_EPISODES, phase_plane, start_map
from e2c.report.folder import Run, read_run, task

MAX_EMBEDDED_BYTES = 3_000_000
"""Size of all films and pictures in a page; those that do not fit are named, not shown."""
MOST_LETTERS = 1000
"""Most letters of a single text from a run folder."""


def write_report(runs: Sequence[Path], path: Path) -> None:
    """Write a page about one run, or one that compares several.

    Args:
        runs: folders that training wrote, at least one.
        path: the page to write; its folder is made if need be.

    Raises:
        E2CError: when a folder holds no run that has ended, or one of its files is damaged.
    """
    found = [read_run(folder) for folder in runs]
    page = _run_page(found[0], path) if len(found) == 1 else _comparison_page(found, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda aside: aside.write_text(page, "utf-8"))


def _run_page(run: Run, path: Path) -> str:
    """Lay out the page of a single run, which is written to ``path``."""
    names = _names([run.folder])
    pngs = [("image/png", content) for content in run.pictures.values()]
    film, *pictures = _embedded([("video/mp4", run.film), *pngs])
    return render(
        "run.html",
        run=run,
        name=names[0],
        film=film,
        film_path=run.folder / folders.VIDEO,
        pictures=dict(zip(run.pictures, pictures, strict=True)),
        commands=_commands(run.folder, path),
        faults=views.faults(run),
        phases=views.phases(run),
        settings=views.settings(run),
        losses=views.loss_charts([run], names),
        own=views.own_charts([run], names),
        own_told=views.own_told(run),
        errors=views.error_charts([run], names),
        **_evaluated(run),
    )


def _evaluated(run: Run) -> dict[str, Any]:
    """Lay out the episodes of a run's evaluation."""
    rows = (run.evaluation or {"episodes": []})["episodes"]
    if run.evaluation is None or not rows:
        return {"evaluation": None, "scored": False}
    told = run.episodes.task if run.episodes else task({}, 1)
    scored = all("success" in row and "time_in_goal" in row for row in rows)
    same = run.episodes is not None and run.episodes.begin_at([row.get("start") for row in rows])
    failed = [k for k, row in enumerate(rows[:MOST_EPISODES]) if not row.get("success", True)]
    return {
        "evaluation": run.evaluation,
        "scored": scored and "success_rate" in run.evaluation,
        "rows": rows[:MOST_EPISODES],
        "disturbances": views.disturbances(run.evaluation),
        "columns": views.extra_columns(rows),
        "kept": same,
        "sentence": told.sentence,
        "starts": start_map(run.evaluation, told) if scored else None,
        "plane": phase_plane(run.episodes) if run.episodes and same else None,
        "chosen": failed[0] if failed else 0,
    }


def _comparison_page(found: Sequence[Run], path: Path) -> str:
    """Lay out the page that compares runs, which is written to ``path``."""
    names = _names([run.folder for run in found])
    return render(
        "comparison.html",
        names=names,
        films=_embedded([("video/mp4", run.film) for run in found]),
        figures=views.compare_figures(found),
        settings=views.compare_settings(found),
        losses=views.loss_charts(found, names),
        own=views.own_charts(found, names),
        errors=views.error_charts(found, names),
        command=_report_command([run.folder for run in found], path),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Name runs by their folders: by the last part of each path, or by whole paths if two agree."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _report_command(runs: Sequence[Path], path: Path) -> str:
    """Return the command line that writes the page of ``runs`` to ``path``."""
    out = [] if [path] == [run / folders.REPORT for run in runs] else ["--out", str(path)]
    return shlex.join(["python", "-m", "e2c.report", *map(str, runs), *out])


def _commands(folder: Path, page: Path) -> dict[str, str]:
    """Return command lines for a run whose page is ``page``, by their purposes."""
    there, again = str(folder), f"{folder}-again"
    evaluate = ["python", "evaluate.py", there, "--json", str(folder / folders.EVALUATION)]
    config = str(folder / folders.CONFIG)
    return {
        "repeat": shlex.join(["python", "train.py", "--config", config, "--out", again]),
        "evaluate": shlex.join([*evaluate, "--trajectories", str(folder / folders.EPISODES)]),
        "film": shlex.join(["python", "evaluate.py", there, "--video", f"{there}/{folders.VIDEO}"]),
        "report": _report_command([folder], page),
    }


def _embedded(media: Sequence[tuple[str, bytes | None]]) -> list[Markup | None]:
    """Return data URIs of ``(type, content)``; None without content, or room for it in the page."""
    addresses: list[Markup | None] = []
    left = MAX_EMBEDDED_BYTES
    for kind, content in media:
        if content is None or len(content) > left:
            addresses.append(None)
        else:
            addresses.append(_data_uri(kind, content))
            left -= len(content)
    return addresses


def _data_uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


@functools.cache
def _templates() -> Environment:
    """Return the templates of this package, each compiled at its first use."""
    return Environment(
        loader=PackageLoader("e2c.report"),
        autoescape=True,
        finalize=_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **context: Any) -> str:
    """Fill in a template of this package; all values but `Markup` are shown as plain text."""
    files = resources.files("e2c.report") / "templates"
    style, script = ((files / name).read_text("utf-8") for name in ("style.css", "script.js"))
    policy = {"style": _hash(style), "script": _hash(script)}
    return (
        _templates()
        .get_template(template)
        .render(**context, style=Markup(style), script=Markup(script), policy=policy)
    )


def _hash(content: str) -> Markup:
    """Return the hash of a script or style, as the content security policy names it."""
    digest = hashlib.sha256(content.encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")


def _text(value: Any) -> Any:
    """Return the text that the page shows for a value from JSON: one line of limited length."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, Mapping):
        named = ((_word(name).replace("_", " "), _word(item)) for name, item in value.items())
        return ", ".join(f"{name} {item}" for name, item in named) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value)) or "none"
    return _word(value)


def _word(value: Any) -> str:
    """Return the text that the page shows for a value that holds no other values."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | dict):
        return "…"
    return "".join(c if c.isprintable() else "�" for c in str(value)[:MOST_LETTERS])
