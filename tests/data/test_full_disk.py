"""Real full disks: a memory file system of a few kilobytes, and one of a few names. Needs the right to mount."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deeptrace.data import write_records
from deeptrace.data.hub.extract import extract
from deeptrace.data.hub.parts import ExtractError
from deeptrace.errors import FileError
from deeptrace.files import make_folder, write_text
from deeptrace.journal import Journal
from deeptrace.records import Record

pytestmark = pytest.mark.linux


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with the options that the test asks for."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "none", str(place)]
    try:
        refused = os.geteuid() != 0 or subprocess.run(mount, capture_output=True, timeout=30).returncode != 0
    except OSError:
        refused = True
    if refused:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=30)


def fill(journal: Journal) -> None:
    for n in range(3000):
        journal.add(str(n), {"text": "x" * 100})


@pytest.mark.parametrize("small", ["size=64k"], indirect=True)
def test_no_room(small: Path) -> None:
    write_text(small / "run.json", "old")
    with pytest.raises(FileError, match=r"'run\.json': No space left on device\. The file that was there is kept"):
        write_text(small / "run.json", "x" * 200_000)
    assert (small / "run.json").read_text() == "old"
    with pytest.raises(FileError, match="No space left"):
        write_records(small / "to" / "records.jsonl", (Record(f"v{n}") for n in range(3000)))
    with Journal(small / "journal.jsonl", {"seed": 1}) as journal:
        with pytest.raises(FileError, match=r"No space left on device\. The \d+ rows in it are kept"):
            fill(journal)
        count = len(journal.rows)
    with Journal(small / "journal.jsonl", {"seed": 1}) as journal:
        assert len(journal.rows) == count > 0
        assert journal.dropped == 0


@pytest.mark.parametrize("small", ["size=4m,nr_inodes=6"], indirect=True)
def test_no_names_left(small: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No space left"):
        make_folder(small / "/".join("abcdefgh"))
    archive = tmp_path / "videos.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for n in range(9):
            packed.writestr(f"{n}.mp4", b"x")
    with pytest.raises(ExtractError) as caught:
        extract(archive, small)
    assert caught.value.code in ("DISK_FULL", "WRITE_FAILED")
    assert "No space left" in str(caught.value) or "free" in str(caught.value)
