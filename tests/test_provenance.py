"""What made a result is named as it was, or not at all."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from e2c.files import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit that holds the module; nothing of the user's git decides."""
    folder = tmp_path / "checkout"
    (folder / "e2c").mkdir(parents=True)
    shutil.copy(provenance.__file__, folder / "e2c")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.org")
    git(folder, "init", "-q")
    git(folder, "add", "e2c")
    git(folder, "commit", "-q", "-m", "the first")
    use(folder, monkeypatch)
    return folder


def git(folder: Path, *arguments: str) -> str:
    git = ["git", "-C", str(folder), *arguments]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the module take itself for the one in ``folder``."""
    monkeypatch.setattr(provenance, "__file__", str(folder / "e2c" / "provenance.py"))


def test_the_commit_is_named(checkout: Path) -> None:
    assert provenance.commit() == git(checkout, "rev-parse", "--short=12", "HEAD")


def test_a_tag_does_not_hide_it(checkout: Path) -> None:
    git(checkout, "tag", "-a", "v1", "-m", "release")
    assert re.fullmatch("[0-9a-f]{12}", provenance.commit())


def test_a_change_is_marked(checkout: Path) -> None:
    with (checkout / "e2c" / "provenance.py").open("a") as file:
        file.write("\n")
    assert provenance.commit() == git(checkout, "rev-parse", "--short=12", "HEAD") + "+"


def test_a_commit_that_is_made_meanwhile_is_not_of_what_runs(checkout: Path) -> None:
    first = provenance.commit()
    git(checkout, "commit", "-q", "--allow-empty", "-m", "the second")
    assert provenance.commit() == first


def test_a_shallow_clone_names_it_too(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(checkout, "commit", "-q", "--allow-empty", "-m", "the second")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{checkout}", "shallow")
    use(tmp_path / "shallow", monkeypatch)
    assert provenance.commit() == git(checkout, "rev-parse", "--short=12", "HEAD")


def test_a_package_installed_in_another_checkout_is_not_of_its_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / ".venv" / "site-packages"
    shutil.copytree(checkout / "e2c", installed / "e2c")
    use(installed, monkeypatch)
    assert provenance.commit() == "not a git checkout"


def test_outside_of_a_checkout_or_without_git_there_is_none(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    shutil.copytree(checkout / "e2c", tmp_path / "wheel" / "e2c")
    use(tmp_path / "wheel", monkeypatch)
    assert provenance.commit() == "not a git checkout"
    use(checkout, monkeypatch)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert provenance.commit() == "not a git checkout"


def test_every_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    found = provenance.versions()
    assert set(found) == {"python", "numpy", "no-such-package"}
    assert re.match(r"\d+\.\d+", found["numpy"])
    assert found["no-such-package"] == "not installed"
