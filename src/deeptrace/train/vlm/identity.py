"""What a run is made of, so that it does not go on as another: its processes, its rows, its files.

Facts go into the manifest of every checkpoint; the files' SHA-256 lie in ``data.jsonl`` of the run's folder, and are
computed again only for a file whose size or time of change is another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import DeepTraceError, TrainError
from deeptrace.files import dumps, read_jsonl, write_jsonl
from deeptrace.rows import record_to_json
from deeptrace.train.checkpoints import sha256_of
from deeptrace.train.vlm.examples import Example

DATA_NAME: Final = "data.jsonl"


def facts_of(examples: Sequence[Example], *, processes: int, batch_size: int, accumulate: int) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(dumps(record_to_json(example.record)).encode() + b"\n")
    return {
        "processes": processes,
        "global_batch": processes * batch_size * accumulate,
        "examples": len(examples),
        "records_sha256": digest.hexdigest(),
    }


def check_facts(before: Mapping[str, Any], now: Mapping[str, Any], checkpoint: str) -> None:
    """Make sure that a run goes on as what it was.

    Raises:
        TrainError: says what would change.
    """
    if before.get("processes") != now["processes"]:
        raise TrainError(
            f"{checkpoint!r} is of a run in {before.get('processes')} processes (global batch "
            f"{before.get('global_batch')}), and this is one in {now['processes']} (global batch "
            f"{now['global_batch']}): its steps would be others. Go on with as many processes as before, or take "
            "another folder"
        )
    if before.get("examples") != now["examples"]:
        raise TrainError(
            f"{checkpoint!r} is of a run on {before.get('examples')} examples, and the records now give "
            f"{now['examples']}. Go on with the records as they were, or take another folder"
        )
    if before.get("records_sha256") != now["records_sha256"]:
        raise TrainError(
            f"{checkpoint!r} is of a run on other records: as many examples ({now['examples']}), but not the same. "
            "Go on with the records as they were, or take another folder"
        )


def check_files(examples: Sequence[Example], out: Path) -> None:
    """Make sure that the videos are those that the run began with; at its first start, write down which they are.

    Raises:
        TrainError: a video was replaced, or cannot be read.
        FileError: the list cannot be written.
    """
    paths = {example.record.video_id: example.path for example in examples}
    listing = out / DATA_NAME
    if not listing.exists():
        with ThreadPoolExecutor(4) as pool:
            write_jsonl(listing, pool.map(_row, paths.items()))
        return
    try:
        before = {str(row["video_id"]): row for _, row in read_jsonl(listing, surrogates=True)}
    except (DeepTraceError, KeyError, TypeError) as error:
        words = f"{DATA_NAME} of {out.name!r} is damaged: {error}"
        raise TrainError(f"{words}. Take another folder to begin anew") from None
    changed = [name for name, path in paths.items() if not _is_same(before.get(name), name, path)]
    if changed:
        named = ", ".join(map(repr, changed[:5]))
        raise TrainError(
            f"{len(changed)} of {len(paths)} videos are not what the run began with ({named}): go on with the files as "
            "they were, or take another folder"
        )


def _row(item: tuple[str, Path]) -> dict[str, Any]:
    name, path = item
    try:
        stat = os.stat(path)
        return {"video_id": name, "size": stat.st_size, "mtime_ns": str(stat.st_mtime_ns), "sha256": sha256_of(path)}
    except OSError as error:
        raise TrainError(f"video {name!r}: cannot read {path.name!r}: {error.strerror}") from None


def _is_same(before: Mapping[str, Any] | None, name: str, path: Path) -> bool:
    if before is None:
        return False
    try:
        stat = os.stat(path)
    except OSError as error:
        raise TrainError(f"video {name!r}: cannot read {path.name!r}: {error.strerror}") from None
    if (before.get("size"), before.get("mtime_ns")) == (stat.st_size, str(stat.st_mtime_ns)):
        return True
    return before.get("size") == stat.st_size and before.get("sha256") == _row((name, path))["sha256"]
