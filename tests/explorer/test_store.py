"""What was acknowledged is kept: by many writers at once, through kills, and never one version over another."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deeptrace.explorer.store import FILE_NAME, Document, Store, StoreError

DOCUMENT = Document("data", "video", "first:ann")

WRITER = """
import sys, time
from pathlib import Path
from deeptrace.explorer.store import Document, Store, StoreError
store, who = Store(Path(sys.argv[1])), sys.argv[2]
document = Document("data", "video", f"first:{who}")
current = store.current(document)
base = current.version if current else 0
for number in range(base, base + 100000):
    event = store.append(document, "draft", {"n": number}, who=who, base=number, key=f"{who}-{number}")
    print(event.version, flush=True)
    time.sleep(0.005)  # people pause, too; SQLite's lock is not fair
"""


def test_eight_writers_of_one_document_lose_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        accepted: list[int] = []
        conflicts: list[tuple[str, int]] = []

        def write(who: str) -> None:
            for number in range(25):
                current = store.current(DOCUMENT)
                base = current.version if current else 0
                try:
                    store.append(DOCUMENT, "draft", {"by": who}, who=who, base=base, key=f"{who} {number}")
                    accepted.append(1)
                except StoreError as error:
                    conflicts.append((error.code, error.current.version - base if error.current else 0))

        threads = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        history = store.history(DOCUMENT)
        assert len(accepted) == len(history)
        assert len(accepted) + len(conflicts) == 200
        assert all(code == "CONFLICT" and ahead > 0 for code, ahead in conflicts)
        assert [event.version for event in history] == list(range(1, len(history) + 1))


def kill_rounds(folder: Path, rounds: int, writers: int) -> int:
    """Acknowledged versions over so many kills, each of which is there afterwards."""
    random.seed(4)
    most = dict.fromkeys(range(writers), 0)
    for _ in range(rounds):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(folder), str(n)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ},
            )
            for n in range(writers)
        ]
        for n, process in enumerate(processes):
            assert process.stdout is not None
            most[n] = max(most[n], int(process.stdout.readline()))  # it is at work now
        time.sleep(random.random() * 0.2)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for n, process in enumerate(processes):
            rest, _ = process.communicate(timeout=60)
            lines = rest.splitlines() if rest.endswith("\n") else rest.splitlines()[:-1]
            most[n] = max([most[n], *map(int, lines)])
        with Store(folder) as store:
            for n in range(writers):
                history = store.history(Document("data", "video", f"first:{n}"))
                assert len(history) >= most[n]
                assert [event.body["n"] for event in history] == list(range(len(history)))
        with sqlite3.connect(folder / FILE_NAME) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    return sum(most.values())


def test_what_was_acknowledged_outlives_kills(tmp_path: Path) -> None:
    assert kill_rounds(tmp_path, rounds=2, writers=2) >= 4


@pytest.mark.slow
def test_what_was_acknowledged_outlives_many_kills(tmp_path: Path) -> None:
    assert kill_rounds(tmp_path, rounds=60, writers=4) > 240


def test_a_change_that_is_sent_twice_is_one(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        first = store.append(DOCUMENT, "draft", {"n": 1}, who="ann", base=0, key="a key")
        assert store.append(DOCUMENT, "draft", {"n": 1}, who="ann", base=0, key="a key") == first
        assert len(store.history(DOCUMENT)) == 1
        with pytest.raises(StoreError) as other:
            store.append(DOCUMENT, "draft", {"n": 2}, who="ann", base=1, key="a key")
        assert other.value.code == "REFUSED"


def test_events_cannot_be_changed_or_taken_away(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.append(DOCUMENT, "draft", {}, who="ann", base=0, key="a key")
    db = sqlite3.connect(tmp_path / FILE_NAME)
    for statement in ("DELETE FROM events", "UPDATE events SET who = 'ben'"):
        with pytest.raises(sqlite3.IntegrityError, match="only grow"):
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("who", "body"),
    [
        ("", {}),
        ("n" * 300, {}),
        ("ann", {"x": float("nan")}),
        ("ann", {"x": "\ud800"}),
        ("ann", {"x": "y" * (2 << 20)}),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, who: str, body: dict[str, object]) -> None:
    with Store(tmp_path) as store:
        with pytest.raises(StoreError) as refusal:
            store.append(DOCUMENT, "draft", body, who=who, base=0, key="a key")
        assert refusal.value.code == "REFUSED"
        assert store.current(DOCUMENT) is None


def test_a_file_that_is_no_store_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreError) as error:
        Store(tmp_path)
    assert error.value.code == "STORE_FAILED"


def test_a_store_of_another_version_is_not_written_to(tmp_path: Path) -> None:
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / FILE_NAME)
    db.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="version 99"):
        Store(tmp_path)
