"""The commit in a row is that of our own source, or none; never that of the repository around an installation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import deeptrace
from deeptrace.provenance import git_commit, versions

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "theirs.txt").write_text("theirs")
    git(tmp_path, "add", "theirs.txt")
    git(tmp_path, "commit", "-qm", "theirs")
    return tmp_path


def install(folder: Path) -> Path:
    package = folder / "deeptrace"
    package.mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        shutil.copy(Path(deeptrace.__file__).parent / name, package)
    return package


def test_inside_a_virtual_environment_of_another_repository_there_is_no_commit(repository: Path) -> None:
    package = install(repository / ".venv" / "lib" / "site-packages")
    assert git_commit(package) is None
    (repository / ".gitignore").write_text(".venv")
    assert git_commit(package) is None


def test_where_our_files_are_tracked_it_is_their_commit_and_says_whether_they_changed(repository: Path) -> None:
    package = install(repository / "src")
    git(repository, "add", "src")
    git(repository, "commit", "-qm", "ours")
    commit = git(repository, "rev-parse", "HEAD")
    assert git_commit(package) == commit
    (repository / "theirs.txt").write_text("changed, but not ours")
    assert git_commit(package) == commit
    (package / "provenance.py").write_text("changed")
    assert git_commit(package) == f"{commit}-dirty"


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    assert git_commit(install(tmp_path)) is None


def test_versions_name_what_is_installed() -> None:
    found = versions()
    assert found["deeptrace"] == deeptrace.__version__
    assert {"python", "numpy", "av"} <= set(found)
    assert all(found.values())
