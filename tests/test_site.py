"""What builds the site (docs/_hooks): pages that run, links, formulas, and no need of a network."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from tiny import ROOT

PluginError = pytest.importorskip("mkdocs.exceptions", reason="make .venv/docs").PluginError
PAGE = """# %% [markdown]
# # A page
#
# It says $x$.

# %%
import sys

from matplotlib import pyplot

value = 3
print("printed")
print("half done", file=sys.stderr)
_ = pyplot.plot([value, 1])

# %%
value + 1
"""
"""A page of the lecture: text, a cell that prints and draws, and one that ends in a value."""


def hook(name: str) -> dict[str, Any]:
    """Read one of the modules that the site is built by."""
    return runpy.run_path(str(ROOT / "docs" / "_hooks" / f"{name}.py"))


def test_a_page_of_the_lecture_runs_and_shows_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "01_page.py").write_text(PAGE, "utf-8")
    lecture = hook("lecture")
    notebook = lecture["executed"](tmp_path / "01_page.py")
    text, pictures = lecture["markdown"](notebook, "lecture/01_page")
    assert text.startswith("# A page\n\nIt says $x$.\n\n```python\nimport sys\n\nfrom")
    shown = "```text\nprinted\n```\n\n![what this cell draws](01_page_0.png)"
    assert f"pyplot.plot([value, 1])\n```\n\n{shown}" in text
    assert "```text\nhalf done" not in text, "progress is not shown"
    assert text.endswith("```python\nvalue + 1\n```\n\n```text\n4\n```\n")
    assert [*pictures] == ["lecture/01_page_0.png"]
    assert pictures["lecture/01_page_0.png"].startswith(b"\x89PNG")


def test_a_page_that_fails_ends_the_build_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "02_page.py").write_text(PAGE + "\n# %%\nassert value == 4\n", "utf-8")
    with pytest.raises(
        PluginError, match=r"02_page\.py(.|\n)*assert value == 4(.|\n)*AssertionError"
    ):
        hook("lecture")["executed"](tmp_path / "02_page.py")


def test_links_lead_to_the_pages_that_show_the_repository() -> None:
    text = (
        "[a](../use.md#goal) [b](../../e2c/models/base.py) [c](01_x.py) [d](../../README.md)"
        " [e](https://example.org/a.md) [f](#here) ![g](../report.png) [h](../../examples)"
    )
    led, linked = hook("repository")["led_into_the_site"](
        text, "lecture/index.md", "docs/lecture/index.md"
    )
    assert led == (
        "[a](../use.md#goal) [b](../source/e2c/models/base.py.md) [c](01_x.md) [d](../index.md)"
        " [e](https://example.org/a.md) [f](#here) ![g](../report.png) [h](../source/examples.md)"
    )
    assert linked == {"e2c/models/base.py", "examples"}


def test_the_readme_becomes_the_first_page() -> None:
    led, linked = hook("repository")["led_into_the_site"](
        "![](docs/film.webp) [](docs/lab-notes/index.md) [](LICENSE)", "index.md", "README.md"
    )
    assert led == "![](film.webp) [](lab-notes/index.md) [](source/LICENSE.md)"
    assert linked == {"LICENSE"}


@pytest.mark.parametrize(
    ("marked", "display"),
    [
        (r'<span class="arithmatex">\(a &lt; b\)</span>', "inline"),
        (r'<div class="arithmatex">\[a &lt; b\]</div>', "block"),
    ],
)
def test_formulas_become_mathml(marked: str, display: str) -> None:
    drawn = hook("mathematics")["on_page_content"](f"<p>{marked}</p>")
    assert re.fullmatch(r"<p><math .*</math></p>", drawn, re.DOTALL)
    assert f'display="{display}"' in drawn
    assert "<mo>&#x0003C;</mo>" in drawn


@pytest.mark.parametrize("formula", [r"\nosuchcommand x", r"\begin{cases} a &amp; b \end{nothing}"])
def test_a_formula_that_is_not_understood_ends_the_build(formula: str) -> None:
    marked = rf'<span class="arithmatex">\({formula}\)</span>'
    with pytest.raises(PluginError, match="formula"):
        hook("mathematics")["on_page_content"](marked)


@pytest.mark.parametrize(
    "loaded",
    [
        '<script src="https://example.org/a.js">',
        '<img alt="" src="//example.org/a.png">',
        '<link rel="stylesheet" href="https://example.org/a.css">',
    ],
)
def test_what_is_loaded_by_network_ends_the_build(loaded: str) -> None:
    with pytest.raises(PluginError, match="by network"):
        hook("offline")["on_post_page"](f"<html>{loaded}</html>")
    html = '<a href="https://example.org"></a><script src="assets/a.js"></script>'
    assert hook("offline")["on_post_page"](html) == html
