"""What is written for people: short, with links that lead somewhere and blocks that run."""

import re

import pytest
from tiny import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
)


def prose(text: str) -> str:
    """What a reader reads: no code, and of links and pictures only their words."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", " ", text)
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 900
    assert len(re.findall(r"\d[\d.,]*", prose(text))) <= 60


def test_the_readme_has_one_block_of_commands_and_one_of_python() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^```(\w+)$", text, re.MULTILINE) == ["sh", "python", "text"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:e2c|envs|planners|benchmarks|tests|examples)/[\w/]+\.py)`", text))
    assert not [name for name in named if not (ROOT / name).exists()]
