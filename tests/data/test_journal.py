"""The journal and the folder's lock: what a kill leaves, what a hand spoiled, what the system refuses."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from deeptrace.errors import FileError, JsonError
from deeptrace.journal import Journal
from deeptrace.lock import LockError, folder_lock

SETTINGS = {"seed": 1, "model": "m"}


def write(path: Path, *keys: str) -> None:
    with Journal(path, SETTINGS) as journal:
        for key in keys:
            journal.add(key, {"n": len(key)})


def test_rows_come_back_and_the_last_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    write(path, "a", "b")
    with Journal(path, SETTINGS) as journal:
        journal.add("a", {"n": 7, "key": "not this"})
    with Journal(path, SETTINGS) as journal:
        assert journal.rows == {"a": {"key": "a", "n": 7}, "b": {"key": "b", "n": 1}}
        assert journal.dropped == 0
    assert len(path.read_bytes().splitlines()) == 4


def test_each_row_is_on_the_disk_when_add_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "j.jsonl", SETTINGS) as journal:
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
        journal.add("a", {})
        assert synced == [(tmp_path / "j.jsonl").stat().st_size]


def test_a_file_cut_at_any_byte_is_gone_on_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "j.jsonl"
    write(path, "a", "b")
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        caplog.clear()
        with Journal(path, SETTINGS) as journal:
            finished = [key for key, end in zip("ab", ends[1:], strict=True) if end <= cut]
            assert sorted(journal.rows) == finished
            broken = cut not in (0, *ends)
            assert journal.dropped == broken
            assert ("unfinished" in caplog.text) == broken
            for key in "ab":
                journal.add(key, {"n": 1})
        with Journal(path, SETTINGS) as journal:
            assert sorted(journal.rows) == ["a", "b"]
            assert journal.dropped == 0


@pytest.mark.parametrize("line", ["{broken", "[1]", "7", '{"n": 1}', '{"key": 5}', '{"settings": {}}', '{"key": NaN}'])
def test_a_line_that_is_no_row_is_named_and_nothing_is_lost(tmp_path: Path, line: str) -> None:
    path = tmp_path / "j.jsonl"
    write(path, "a", "b")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1], line, lines[2]]) + "\n")
    before = path.read_bytes()
    with pytest.raises(JsonError, match=r"j\.jsonl line 3: "):
        Journal(path, SETTINGS)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [({"seed": 1}, {"seed": 2}, "seed"), ({"seed": 1}, None, "seed"), (None, {"seed": 1}, "seed")],
)
def test_two_runs_do_not_mix(tmp_path: Path, first: Any, second: Any, names: str) -> None:
    with Journal(tmp_path / "j.jsonl", first) as journal:
        journal.add("a", {})
    with pytest.raises(FileError, match=rf"other settings \({names}\)"):
        Journal(tmp_path / "j.jsonl", second)


def test_a_locked_folder_is_another_ones(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", SETTINGS, lock=True):
        with pytest.raises(LockError, match="another process") as caught:
            Journal(tmp_path / "j.jsonl", SETTINGS, lock=True)
        assert caught.value.code == "BUSY"
    with pytest.raises(FileError, match="other settings"):
        Journal(tmp_path / "j.jsonl", {}, lock=True)
    Journal(tmp_path / "j.jsonl", SETTINGS, lock=True).close()  # the refused one holds nothing


def test_half_a_row_does_not_stand_in_front_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.jsonl"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(path, SETTINGS) as journal:
        journal.add("a", {})
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(FileError, match="No space left"):
                journal.add("b", {})
        assert "b" not in journal.rows
        journal.add("c", {})
    with Journal(path, SETTINGS) as journal:
        assert sorted(journal.rows) == ["a", "c"]


# ── the lock ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def refuse(descriptor: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LockError, match=os.strerror(number)) as caught, folder_lock(tmp_path, wait_seconds=5):
        pass
    assert caught.value.code == "WRITE_FAILED"


def test_waiting_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with folder_lock(tmp_path):
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with pytest.raises(LockError), folder_lock(tmp_path, wait_seconds=0.2):
        pass
    assert len([r for r in caplog.records if "waiting" in r.getMessage()]) == 1
    done.set()
    thread.join()
