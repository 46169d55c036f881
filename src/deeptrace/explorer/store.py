"""Who did what, and when: every change of an annotation as an event in one SQLite file that only grows.

A *document* is one annotator's first pass over a video, the review of a video, or one person's study session. Each
event is the next version of its document: whoever writes says which version they saw, and where another was written
meanwhile both are shown instead of one being lost. An event that was acknowledged is on the disk (WAL, synchronous
FULL); the same key sent twice is one event. Knows documents and versions; knows nothing of what stands in them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from deeptrace.errors import DeepTraceError, JsonError
from deeptrace.files import dumps, loads, make_folder

__all__ = ["FILE_NAME", "SCHEMA_VERSION", "Code", "Document", "Event", "Store", "StoreError"]

FILE_NAME: Final = "annotations.sqlite"
SCHEMA_VERSION: Final = 1
MAX_BODY_BYTES: Final = 1 << 20
MAX_NAME_CHARS: Final = 200
_BUSY_MS: Final = 20_000
_AGAIN_SECONDS: Final = 0.02
_NO_VERSION: Final = 0

Code = Literal[
    "CONFLICT",  # somebody wrote a newer version meanwhile; ``current`` is it
    "FROZEN",  # a first pass that was handed in, or a review that is settled
    "REFUSED",  # a body, a name or a step that the work does not allow
    "STORE_FAILED",  # the file cannot be read or written
]


class StoreError(DeepTraceError):
    """A change that was not taken. ``code`` is one of `Code`; nothing of it was written."""

    def __init__(self, code: Code, message: str, *, current: Event | None = None) -> None:
        super().__init__(message)
        self.code: str = code
        self.current = current


@dataclass(frozen=True)
class Document:
    """Which document: the collection of videos ("data", "gold", "study"), the video's id, and its name there."""

    collection: str
    video_id: str
    name: str


@dataclass(frozen=True)
class Event:
    """One version of a document. ``at`` is UTC in ISO 8601; ``version`` counts from 1."""

    seq: int
    at: str
    who: str
    document: Document
    kind: str
    version: int
    key: str
    body: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The event as JSON, for a page or an export."""
        return {
            "at": self.at,
            "who": self.who,
            "video_id": self.document.video_id,
            "document": self.document.name,
            "kind": self.kind,
            "version": self.version,
            "body": dict(self.body),
        }


_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    collection TEXT NOT NULL,
    video_id TEXT NOT NULL,
    document TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    key TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    UNIQUE (collection, video_id, document, version)
) STRICT;
CREATE INDEX IF NOT EXISTS by_document ON events (document, collection);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events only grow'); END;
CREATE TRIGGER IF NOT EXISTS events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events only grow'); END;
"""
_COLUMNS: Final = "seq, at, who, collection, video_id, document, kind, version, key, body"


class Store:
    """The file ``annotations.sqlite`` in a folder; safe to use from several threads, and from several processes.

    Raises:
        StoreError: ``STORE_FAILED`` from every method: the file is no store of ours, or the system refused.
        FileError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = make_folder(folder) / FILE_NAME
        self._lock = threading.RLock()
        with self._failing():
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            _set_up(self._db)
        version = self.note("schema_version", str(SCHEMA_VERSION))
        if version != str(SCHEMA_VERSION):
            self.close()
            raise StoreError("STORE_FAILED", f"{FILE_NAME} is of version {version}; this one reads {SCHEMA_VERSION}")

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError("STORE_FAILED", f"cannot use {FILE_NAME}: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk when the block has ended, or nothing is."""
        with self._lock, self._failing():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # ── writing ──

    def note(self, name: str, value: str) -> str:
        """The value kept under a name; the one given where there is none yet."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
            return str(db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])

    def append(self, document: Document, kind: str, body: Mapping[str, Any], *, who: str, base: int, key: str) -> Event:
        """Write the version after ``base``; the event, which is on the disk now.

        ``key`` is the writer's own name for this change: sent again, after an answer was lost, it gives the same event.

        Raises:
            StoreError: ``CONFLICT`` where the document's version is not ``base``; ``REFUSED`` for a body that is too
                large or no JSON, an unusable name, or a key that stands for another change.
        """
        text = _checked(document, body, who=who, key=key)
        with self._writing() as db:
            earlier = self._one(f"SELECT {_COLUMNS} FROM events WHERE key = ?", (key,))
            if earlier is not None:
                if (earlier.document, earlier.who, earlier.kind, dumps(dict(earlier.body))) != (
                    document,
                    who,
                    kind,
                    text,
                ):
                    raise StoreError("REFUSED", "this key stands for another change already")
                return earlier
            current = self.current(document)
            version = current.version if current else _NO_VERSION
            if version != base:
                by = f", by {current.who}" if current else ""
                raise StoreError("CONFLICT", f"version {version} is there{by}; yours was {base}", current=current)
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            place = (document.collection, document.video_id, document.name)
            cursor = db.execute(
                "INSERT INTO events (at, who, collection, video_id, document, kind, version, key, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (at, who, *place, kind, base + 1, key, text),
            )
            return Event(int(cursor.lastrowid or 0), at, who, document, kind, base + 1, key, loads(text))

    # ── reading ──

    def current(self, document: Document) -> Event | None:
        """The newest version; None where there is none."""
        return self._one(
            f"SELECT {_COLUMNS} FROM events WHERE collection = ? AND video_id = ? AND document = ?"
            " ORDER BY version DESC LIMIT 1",
            (document.collection, document.video_id, document.name),
        )

    def history(self, document: Document) -> list[Event]:
        """All versions, the first one first."""
        return self._many(
            f"SELECT {_COLUMNS} FROM events WHERE collection = ? AND video_id = ? AND document = ? ORDER BY version",
            (document.collection, document.video_id, document.name),
        )

    def of_video(self, collection: str, video_id: str) -> list[Event]:
        """The newest version of every document of a video."""
        return self._many(
            f"SELECT {_COLUMNS} FROM events AS e WHERE collection = ? AND video_id = ? AND version = (SELECT"
            " max(version) FROM events WHERE collection = e.collection AND video_id = e.video_id"
            " AND document = e.document) ORDER BY document",
            (collection, video_id),
        )

    def newest(self, collection: str) -> list[Event]:
        """The newest version of every document of a collection, in the order in which they were first written."""
        return self._many(
            f"SELECT {_COLUMNS} FROM events WHERE seq IN (SELECT max(seq) FROM events WHERE collection = ?"
            " GROUP BY video_id, document) ORDER BY seq",
            (collection,),
        )

    def all_events(self, collection: str) -> list[Event]:
        """Everything that happened in a collection, in its order."""
        return self._many(f"SELECT {_COLUMNS} FROM events WHERE collection = ? ORDER BY seq", (collection,))

    def _one(self, query: str, values: tuple[str, ...]) -> Event | None:
        events = self._many(query, values)
        return events[0] if events else None

    def _many(self, query: str, values: tuple[str, ...]) -> list[Event]:
        with self._lock, self._failing():
            rows = self._db.execute(query, values).fetchall()
        return [_event(row) for row in rows]


def _set_up(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing. Several processes may begin at once, or after one was killed.

    Turning WAL on needs the file alone for a moment, and SQLite does not wait for that by itself.
    """
    db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    give_up = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(_SCHEMA)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(_AGAIN_SECONDS)


def _event(row: tuple[Any, ...]) -> Event:
    seq, at, who, collection, video_id, name, kind, version, key, body = row
    return Event(seq, at, who, Document(collection, video_id, name), kind, version, key, loads(body))


def _checked(document: Document, body: Mapping[str, Any], *, who: str, key: str) -> str:
    """The body as it is written.

    Raises:
        StoreError: ``REFUSED``.
    """
    for name, value in (("name", who), ("key", key)):
        if not value.strip() or len(value) > MAX_NAME_CHARS:
            raise StoreError("REFUSED", f"the {name} is empty or longer than {MAX_NAME_CHARS} characters")
    try:
        text = dumps(dict(body))
        loads(text)
        for part in (who, key, document.collection, document.video_id, document.name):
            part.encode()
    except (JsonError, UnicodeEncodeError) as error:
        raise StoreError("REFUSED", f"cannot be kept: {error}") from None
    if len(text) > MAX_BODY_BYTES:
        raise StoreError(
            "REFUSED", f"{len(text):,} bytes are more than the {MAX_BODY_BYTES:,} that one version may have"
        )
    return text
