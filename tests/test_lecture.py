"""Every page of the lecture explains, asserts and names what is there; `make docs` runs them."""

import re
from pathlib import Path

import pytest
from tiny import ROOT

PAGES = sorted((ROOT / "docs" / "lecture").glob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_explained_and_asserts_its_claim(page: Path) -> None:
    text = page.read_text("utf-8")
    number = int(page.stem[:2])
    assert re.match(rf"# %% \[markdown\]\n# # {number}\. \w", text)
    assert "\n# $$" in text
    assert "\nassert " in text
    assert "# ## What it means for the pendulum" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:e2c|envs|planners)/[\w/]+\.py)`", page.read_text("utf-8"))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
