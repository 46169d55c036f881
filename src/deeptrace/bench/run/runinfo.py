"""``run.json``: everything needed to do a run again, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deeptrace.files import dumps, write_text
from deeptrace.provenance import git_commit, versions

RUN_NAME: Final = "run.json"
SCHEMA: Final = "deeptrace.bench.run"
SCHEMA_VERSION: Final = 1


def write_run(
    folder: Path, settings: Mapping[str, Any], result: Mapping[str, Any] | None, *, command: str | None = None
) -> None:
    """Write ``run.json``; ``result`` is None while the run goes on.

    Raises:
        FileError: the system refused.
    """
    row = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": dict(settings),
        "versions": versions(),
        "git_commit": git_commit(),
        "result": None if result is None else dict(result),
    }
    write_text(folder / RUN_NAME, dumps(row, indent=2) + "\n")
