"""What is written for people: short, with links that lead somewhere and blocks that run."""

import re
import subprocess
import sys

import pytest
import yaml
from tiny import ROOT

import e2c

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
README = (ROOT / "README.md").read_text("utf-8")
NOTES = sorted((ROOT / "docs" / "lab-notes").glob("*.md"))
QUESTIONS = {path.name: path.read_text("utf-8") for path in NOTES if path.name != "index.md"}
"""The pages of the lab notes."""


def without_blocks_and_targets(text: str) -> str:
    """Leave out blocks of code, pictures, and where links lead."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 900
    assert len(re.findall(r"\d[\d.,]*", without_blocks_and_targets(README))) <= 60


def test_the_readme_has_one_block_of_commands_and_one_of_python() -> None:
    assert re.findall(r"^```(\w+)$", README, re.MULTILINE) == ["sh", "python", "text"]


def test_ci_runs_the_blocks_of_the_readme_but_the_tests_themselves() -> None:
    written = [sys.executable, ".ci/readme_commands.py", "README.md"]
    done = subprocess.run(written, cwd=ROOT, capture_output=True, check=True, encoding="utf-8")
    script = done.stdout
    commands, python = re.findall(r"^```(?:sh|python)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert python in script
    assert [line for line in commands.splitlines() if line not in script.splitlines()] == [
        "make test"
    ]


@pytest.mark.parametrize("page", PAGES)
def test_no_block_hides_from_ci_behind_another_name(page: str) -> None:
    fences = re.findall(r"^ *```(\w*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= {"sh", "python", "text", ""}
    assert set(fences[1::2]) <= {""}


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


def test_every_example_has_a_recipe() -> None:
    recipes = (ROOT / "docs" / "bring-your-own.md").read_text("utf-8")
    examples = [path.name for path in (ROOT / "examples").glob("*.py")]
    assert not [name for name in examples if f"](../examples/{name})" not in recipes]


def test_the_index_of_the_lab_notes_has_a_row_for_every_question() -> None:
    index = (ROOT / "docs" / "lab-notes" / "index.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(.+)\]\((.+)\) \| .+ \| .+ \|$", index, re.MULTILINE)
    titles = {name: text.partition("\n")[0].removeprefix("# ") for name, text in QUESTIONS.items()}
    assert {name: question for question, name in rows} == titles
    assert len(rows) == len(titles)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_lab_note_is_short_and_answers_first(name: str) -> None:
    text = QUESTIONS[name]
    assert len(text.split()) <= 600
    assert re.match(r"# .+\?\n\n\*\*Answer\.\*\* ", text)
    assert "\n**In the default?** " in text
    assert re.search(r"\b[Cc]ommits? [0-9a-f]{7}\b", text)


def test_the_index_of_the_lecture_names_every_page() -> None:
    lecture = ROOT / "docs" / "lecture"
    index = (lecture / "index.md").read_text("utf-8")
    assert not [page.name for page in lecture.glob("*.py") if f"]({page.name})" not in index]


def test_the_version_is_the_same_everywhere() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"]
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert e2c.__version__ == cited == changes[0]
