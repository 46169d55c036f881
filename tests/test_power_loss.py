"""After a loss of power at any moment: a file is the old or the new one, acknowledged rows are there, a rerun heals."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deeptrace.data.hub.download import download
from deeptrace.data.hub.extract import extract
from deeptrace.files import make_folder, write_text
from deeptrace.journal import Journal
from tests.fault_server import HubServer
from tests.power_loss import disks_after_power_loss

Mark = Callable[[str], None]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")


def test_the_replay_finds_what_is_not_synced(tmp_path: Path) -> None:
    """The tool itself: a writer that renames without syncing is caught with an empty and with a zeroed file."""

    def flow(folder: Path, mark: Mark) -> None:
        (folder / "x.tmp").write_bytes(b"new")
        os.replace(folder / "x.tmp", folder / "x")
        mark("done")

    found = {
        (disk.folder / "x").read_bytes()
        for disk in disks_after_power_loss(tmp_path, flow, before=lambda f: (f / "x").write_bytes(b"old"))
    }
    assert found == {b"old", b"", b"\0\0\0", b"n", b"new"}


def test_a_whole_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    def flow(folder: Path, mark: Mark) -> None:
        write_text(folder / "x", "new" * 4000)
        mark("done")

    states = set()
    for disk in disks_after_power_loss(tmp_path, flow, before=lambda f: (f / "x").write_text("old")):
        content = (disk.folder / "x").read_text()
        assert content in ("old", "new" * 4000), disk.words
        assert "done" not in disk.marks or content != "old", disk.words
        states.add(content)
    assert len(states) == 2


def test_a_file_in_a_new_folder_is_there_once_it_is_promised(tmp_path: Path) -> None:
    def flow(folder: Path, mark: Mark) -> None:
        make_folder(folder / "a" / "b")
        write_text(folder / "a" / "b" / "x", "new")
        mark("done")

    for disk in disks_after_power_loss(tmp_path, flow):
        if "done" in disk.marks:
            assert (disk.folder / "a" / "b" / "x").read_text() == "new", disk.words


@pytest.mark.parametrize("sync_seconds", [0.0, 1e9])
def test_a_journal_holds_every_acknowledged_row(tmp_path: Path, sync_seconds: float) -> None:
    def flow(folder: Path, mark: Mark) -> None:
        with Journal(folder / "new" / "j.jsonl", {"seed": 1}, lock=True, sync_seconds=sync_seconds) as journal:
            for key in "abc":
                journal.add(key, {"text": "x" * 40})
                if not sync_seconds:
                    mark(key)
        for key in "abc":
            mark(key)

    for disk in disks_after_power_loss(tmp_path, flow):
        with Journal(disk.folder / "new" / "j.jsonl", {"seed": 1}) as journal:
            assert set(disk.marks) <= set(journal.rows), disk.words
            for key in "abc":
                if key not in journal.rows:
                    journal.add(key, {"text": "x" * 40})
        with Journal(disk.folder / "new" / "j.jsonl", {"seed": 1}) as journal:
            assert sorted(journal.rows) == ["a", "b", "c"], disk.words


def test_an_extraction_trusts_no_file_that_is_not_whole(tmp_path: Path) -> None:
    files = {f"videos/sub{n}/{n}.mp4": bytes(range(256)) * (20 + n) for n in range(2)}
    archive = tmp_path / "videos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)

    def flow(folder: Path, mark: Mark) -> None:
        extract(archive, folder / "to")
        mark("done")

    for disk in disks_after_power_loss(tmp_path / "w", flow):
        for name, data in files.items():
            there = disk.folder / "to" / name
            assert not there.exists() or there.read_bytes() == data, disk.words
            assert "done" not in disk.marks or there.exists(), disk.words
        extract(archive, disk.folder / "to")
        assert all((disk.folder / "to" / name).read_bytes() == data for name, data in files.items()), disk.words


def test_a_download_trusts_no_file_that_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    files = {"README.md": b"# hello", "folder/videos.zip.001": bytes(range(256)) * 30}
    with HubServer(files) as hub:

        def flow(folder: Path, mark: Mark) -> None:
            download(folder / "to", endpoint=hub.root, sleep=lambda seconds: None)
            mark("done")

        seen: set[tuple[tuple[str, bytes], ...]] = set()
        for disk in disks_after_power_loss(tmp_path, flow):
            for name, data in files.items():
                there = disk.folder / "to" / name
                assert not there.exists() or there.read_bytes() == data, disk.words
                assert "done" not in disk.marks or there.exists(), disk.words
            state = tuple(sorted((str(p), p.read_bytes()) for p in disk.folder.rglob("*") if p.is_file()))
            if state in seen:  # another disk has healed from the same bytes
                continue
            seen.add(state)
            download(disk.folder / "to", endpoint=hub.root, sleep=lambda seconds: None)
            assert all((disk.folder / "to" / name).read_bytes() == data for name, data in files.items()), disk.words
