"""Rewards as JSON rows, and a file of them that grows: what is in it is not scored again.

A row is keyed by the file's SHA-256, the model, its revision and how it looked, never by a name: a copy under another
name has its reward already. Rows of failures are tried again by the next run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import DeepTraceError, FileError, JsonError, VideoCode, VideoError
from deeptrace.files import open_regular, read_jsonl
from deeptrace.journal import Journal
from deeptrace.records import Origin
from deeptrace.reward.kinds import FORMS, REWARDS, RewardFormName, RewardName
from deeptrace.reward.score import NotRewarded, Reward, RewardForms, RewardOutcome
from deeptrace.rows import trace_to_json

SCHEMA: Final = "deeptrace.reward"
SCHEMA_VERSION: Final = 1


def row_of(outcome: RewardOutcome, reward: Reward, *, path: str | None = None) -> dict[str, Any]:
    """The outcome as JSON values; every key is always there, absent = null. No wall times, no NaN."""
    origin = outcome.origin
    row: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "status": "failed" if isinstance(outcome, NotRewarded) else "rewarded",
        "video_id": origin.video_id,
        "path": origin.path if path is None else path,
        "sha256": origin.sha256,
        "model": reward.model.name,
        "revision": reward.model.revision,
        "look": reward.look,
        **dict.fromkeys(REWARDS),
        "conclusion": None,
        "p_fake": None,
        "n_traces": None,
        "worst_category": None,
        "traces": None,
        "code": None,
        "reason": None,
    }
    if isinstance(outcome, NotRewarded):
        return row | {"code": outcome.code, "reason": outcome.reason}
    row |= {name: _forms(forms) for name, forms in outcome.rewards.items()}
    row |= {"n_traces": outcome.n_traces, "worst_category": outcome.worst_category}
    if (verdict := outcome.verdict) is not None:
        traces = [{**trace_to_json(trace), "track": None} for trace in verdict.traces]
        row |= {"conclusion": verdict.conclusion, "p_fake": verdict.p_fake, "traces": traces}
    return row


def _forms(forms: RewardForms) -> dict[str, float | None]:
    return asdict(forms)


@dataclass(frozen=True)
class RewardRow:
    """A row that was read: ``values`` by reward and form; empty for a video without a reward."""

    path: str
    values: Mapping[tuple[RewardName, RewardFormName], float]
    row: Mapping[str, Any]

    def value(self, name: RewardName, form: RewardFormName) -> float | None:
        """One form of one reward; None where it is not there."""
        return self.values.get((name, form))


def read_row(row: Mapping[str, Any], *, path: str | None = None) -> RewardRow:
    """The row as what can be ranked.

    Raises:
        JsonError: it is no row of rewards.
    """
    if row.get("schema") != SCHEMA or not isinstance(row.get("path"), str):
        raise JsonError(f"not a row of {SCHEMA}: schema {row.get('schema')!r}")
    values: dict[tuple[RewardName, RewardFormName], float] = {}
    for name in REWARDS:
        forms = row.get(name)
        for form in FORMS:
            value = forms.get(form) if isinstance(forms, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                values[name, form] = float(value)
    return RewardRow(str(row["path"]) if path is None else path, values, row)


def read_rows(path: str | os.PathLike[str]) -> list[RewardRow]:
    """The rows of a file that `score_files` wrote; of several with one key the last.

    Raises:
        FileError: the file cannot be read.
        JsonError: a line is no row of rewards.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for number, row in read_jsonl(path):
        if not isinstance(row, dict):
            raise JsonError(f"{Path(path).name} line {number}: is no row of rewards")
        rows[str(row.get("key", number))] = row
    return [read_row(row) for row in rows.values()]


def content_digest(path: str) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        VideoError: it cannot be read, or is no regular file.
    """
    digest = hashlib.sha256()
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except (FileError, OSError, ValueError) as error:
        code: VideoCode = "NOT_READABLE" if os.path.lexists(path) else "NOT_FOUND"
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(code, f"{Path(path).name!r}: {reason}") from None
    return digest.hexdigest()


def key_of(digest: str, reward: Reward) -> str:
    """What a row is filed under."""
    return f"{digest}:{reward.model.name}:{reward.model.revision}:{reward.look}"


def score_files(
    reward: Reward,
    paths: Sequence[str],
    journal: Journal | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[RewardRow]:
    """The row of each file, in order. Each content is scored once, whatever its names, and not if it has a row already.

    With a ``journal`` each row is on the disk before it is given out.
    """
    held: dict[str, dict[str, Any]] = {} if journal is None else dict(journal.rows)
    pending = _Pending(reward, held)
    for done, path in enumerate(paths, 1):
        row = pending.row(path)
        if journal is not None and journal.rows.get(str(row["key"])) != row:
            journal.add(str(row["key"]), row)
        progress(done, len(paths))
        yield read_row(row, path=path)


class _Pending:
    def __init__(self, reward: Reward, held: dict[str, dict[str, Any]]) -> None:
        self.reward = reward
        self.held = held
        self.tried: set[str] = set()

    def row(self, path: str) -> dict[str, Any]:
        try:
            key = key_of(content_digest(path), self.reward)
        except VideoError as error:
            missing = NotRewarded(error.code, str(error), Origin(video_id=Path(path).stem, path=path))
            return {"key": f"path:{path}", **row_of(missing, self.reward, path=path)}
        known = self.held.get(key)
        if known is not None and (known["status"] == "rewarded" or key in self.tried):
            return known
        self.tried.add(key)
        row = {"key": key, **row_of(next(self.reward.iter([path])), self.reward, path=path)}
        self.held[key] = row
        return row


def read_prompts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Prompts by file name: lines ``{"video": "a.mp4", "prompt": "a dog runs"}``, ``video`` a name or a path's end.

    Raises:
        FileError: the file cannot be read.
        JsonError: a line is not that, or names a video twice.
    """
    prompts: dict[str, str] = {}
    for number, row in read_jsonl(path):
        video, prompt = (row.get("video"), row.get("prompt")) if isinstance(row, dict) else (None, None)
        if not isinstance(video, str) or not isinstance(prompt, str) or not video:
            raise JsonError(f'{Path(path).name} line {number}: expected {{"video": "...", "prompt": "..."}}')
        if video in prompts:
            raise JsonError(f"{Path(path).name} line {number}: {video!r} has a prompt already")
        prompts[video] = prompt
    return prompts


def prompt_of(path: str, prompts: Mapping[str, str]) -> str | None:
    """The prompt of a video: of the longest end of its path that has one. None where none has."""
    parts = Path(path).as_posix().split("/")
    for first in range(len(parts)):
        if (prompt := prompts.get("/".join(parts[first:]))) is not None:
            return prompt
    return prompts.get(Path(path).stem)


def require_prompts(paths: Iterable[str], prompts: Mapping[str, str]) -> dict[str, str]:
    """The prompt of every video.

    Raises:
        DeepTraceError: videos without a prompt; names the first few.
    """
    by_path = {path: prompt_of(path, prompts) for path in paths}
    without = [Path(path).name for path, prompt in by_path.items() if prompt is None]
    if without:
        raise DeepTraceError(f"{len(without)} videos have no prompt: {', '.join(without[:3])}")
    return {path: prompt for path, prompt in by_path.items() if prompt is not None}
