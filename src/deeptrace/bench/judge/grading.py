"""A run of grades: explanations beside what people wrote go to a judge, grades come back, each kept at once.

One row a written explanation. Where there is nothing to grade (no verdict, REAL, no words) the grade is 0 without
asking. A reply that cannot be read is asked for once more, then counted as unscored; it is never a zero. Planted
questions whose grade is known tell whether the judge can be trusted at all.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Literal

from deeptrace.bench.judge.rubric import (
    RUBRIC_SHA256,
    RUBRIC_VERSION,
    NoGrade,
    judge_messages,
    prompt_sha256,
    read_grade,
)
from deeptrace.chat import Call, ChatClient, ChatFailed, ChatStopped, Prices
from deeptrace.chat import Outcome as ChatOutcome
from deeptrace.chat.messages import upper_bound
from deeptrace.errors import RecordError
from deeptrace.files import dumps, read_jsonl, write_jsonl, write_text
from deeptrace.journal import Journal
from deeptrace.measures.video import Fields, is_explained, needs_grade, truth_of
from deeptrace.records import Outcome, Record

JUDGEMENTS_NAME: Final = "judgements.jsonl"
SUMMARY_NAME: Final = "judge.json"
JOURNAL_NAME: Final = "judge-journal.jsonl"
SCHEMA: Final = "deeptrace.judgement"
SCHEMA_VERSION: Final = 1

DEFAULT_PARAMS: Final[Mapping[str, Any]] = {"temperature": 0.0, "max_tokens": 256}
TRIES: Final = 2

SHUFFLED_AT_MOST: Final = 0.15
IDENTICAL_AT_LEAST: Final = 0.9
"""A judge is trusted while what people wrote of other videos earns at most the first, and of this one the second."""

Status = Literal["scored", "absent", "unscored", "failed"]
Control = Literal["shuffled", "identical"]


@dataclass(frozen=True)
class GradingItem:
    """One written explanation (``row`` counts the video's annotation rows) and what the model wrote, if anything."""

    video_id: str
    row: int
    reference: str
    candidate: str | None
    model: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Judgement:
    """What became of one item. ``grade``: 0, 0.5 or 1; None where nobody knows (``unscored``, ``failed``).

    ``absent``: there was nothing to grade, which is 0. ``judge`` is the judge's name as it was asked for,
    ``judge_model`` as the server gave it, ``reply`` the judge's own words. ``model`` and ``revision`` are whose
    explanation it is.
    """

    video_id: str
    row: int
    status: Status
    grade: float | None
    judge: str
    judge_model: str | None = None
    model: str | None = None
    revision: str | None = None
    prompt_sha256: str | None = None
    reply: str | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Judged:
    """All judgements and what they come to. ``controls``: mean grade and count of each kind of planted question."""

    judgements: tuple[Judgement, ...]
    controls: Mapping[Control, tuple[float | None, int]]
    requests: int
    cost: float | None
    stopped: ChatStopped | None

    @property
    def counts(self) -> dict[str, int]:
        """How many of each status."""
        statuses = Counter(judgement.status for judgement in self.judgements)
        return {status: statuses.get(status, 0) for status in ("scored", "absent", "unscored", "failed")}

    @property
    def mean(self) -> float | None:
        """Mean grade over scored and absent rows; unscored and failed ones stand beside it, never in it."""
        known = [judgement.grade for judgement in self.judgements if judgement.grade is not None]
        return fmean(known) if known else None

    @property
    def valid(self) -> bool | None:
        """Whether the planted questions were graded as they must be; None where too few were asked."""
        (shuffled, n), (identical, m) = self.controls["shuffled"], self.controls["identical"]
        if shuffled is None or identical is None or min(n, m) < 5:
            return None
        return shuffled <= SHUFFLED_AT_MOST and identical >= IDENTICAL_AT_LEAST

    def to_json(self) -> dict[str, Any]:
        """The summary."""
        return {
            "schema": "deeptrace.judge",
            "schema_version": 1,
            "rubric_version": RUBRIC_VERSION,
            "rubric_sha256": RUBRIC_SHA256,
            "judge": sorted({judgement.judge for judgement in self.judgements}),
            "judge_model": sorted(
                {judgement.judge_model for judgement in self.judgements if judgement.judge_model is not None}
            ),
            "rows": len(self.judgements),
            **self.counts,
            "mean": self.mean,
            "controls": {name: {"mean": mean, "n": n} for name, (mean, n) in self.controls.items()},
            "valid": self.valid,
            "requests": self.requests,
            "cost": self.cost,
            "stopped": None if self.stopped is None else {"code": self.stopped.code, "reason": str(self.stopped)},
        }


# ── what is to be graded ────────────────────────────────────────────────────────────────────────────────────────────


def items_of(
    records: Iterable[Record], outcomes: Mapping[str, Outcome], fields: Callable[[Outcome], Fields | None]
) -> list[GradingItem]:
    """An item for every annotation row of a fake video with a written explanation, by video and row.

    ``fields`` tells what the question behind an outcome asked for; an explanation that was not asked for is absent.
    """
    items = []
    # A video without an outcome belongs to the same model as the others.
    model, revision = next(
        ((outcome.origin.model, outcome.origin.revision) for outcome in outcomes.values()), (None, None)
    )
    for record in sorted(records, key=lambda record: record.video_id):
        truth = truth_of(record)
        if truth is None:
            continue
        outcome = outcomes.get(record.video_id)
        to_grade = needs_grade(truth, outcome, None if outcome is None else fields(outcome))
        candidates = {row: candidate for row, _, candidate in to_grade}
        made_by = (model, revision) if outcome is None else (outcome.origin.model, outcome.origin.revision)
        items += [
            GradingItem(truth.video_id, i, str(row.explanation), candidates.get(i), *made_by)
            for i, row in enumerate(truth.rows)
            if is_explained(row)
        ]
    return items


def control_items(items: Sequence[GradingItem], count: int, seed: int) -> list[tuple[Control, GradingItem]]:
    """Planted questions: what a person wrote of another video (must be graded 0), and of this one (must be 1)."""
    draw = random.Random(seed)
    chosen = draw.sample(list(items), min(count, len(items)))
    planted: list[tuple[Control, GradingItem]] = [
        ("identical", replace(item, candidate=item.reference)) for item in chosen
    ]
    for item in chosen:
        others = [
            other.reference for other in items if other.video_id != item.video_id and other.reference != item.reference
        ]
        if others:
            planted.append(("shuffled", replace(item, candidate=draw.choice(others))))
    return planted


def estimate(
    items: Sequence[GradingItem],
    *,
    controls: int = 0,
    prices: Prices | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """How many questions there are, and the most that they can cost (None without prices)."""
    params = {**DEFAULT_PARAMS, **(params or {})}
    planted = [item for _, item in control_items(items, controls, 0)]
    prompts = {
        prompt_sha256(messages): messages for item in (*items, *planted) if (messages := _messages(item)) is not None
    }
    most = None if prices is None else sum(upper_bound(messages, params, prices) for messages in prompts.values())
    return {"rows": len(items), "questions": len(prompts), "cost_at_most": most}


def _messages(item: GradingItem) -> list[dict[str, Any]] | None:
    return None if item.candidate is None else judge_messages(item.reference, item.candidate)


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def grade(
    items: Sequence[GradingItem],
    client: ChatClient,
    folder: str | os.PathLike[str],
    *,
    controls: int = 0,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Judged:
    """Have every item graded; ``folder`` gets ``judgements.jsonl`` and ``judge.json``.

    Called again it asks only for what has no grade yet. The same question is asked once, however many rows it stands
    for. ``controls`` plants so many questions of each kind, chosen by ``seed``. ``params`` travel with each request
    (default: temperature 0). When quota, key or budget end the run, what was not asked about is ``failed``
    (``NOT_ASKED``), and ``stopped`` says why.

    Raises:
        FileError: the folder belongs to a judge with other settings, or another process is at work in it.
    """
    root = Path(folder)
    params = {**DEFAULT_PARAMS, **(params or {})}
    planted = control_items(items, controls, seed)
    settings = {"judge": client.model, "base_url": client.base_url, "rubric": RUBRIC_SHA256, **params}
    spent_before = client.spent
    with Journal(root / JOURNAL_NAME, settings, lock=True) as journal:
        calls = _JudgeCalls(client, journal, params)
        stopped = calls.ask([*items, *(item for _, item in planted)], progress)
        judgements = tuple(
            sorted((calls.judgement(item) for item in items), key=lambda judgement: (judgement.video_id, judgement.row))
        )
        done = Judged(
            judgements,
            {name: _control(calls, planted, name) for name in ("shuffled", "identical")},
            client.spent.requests - spent_before.requests,
            calls.cost,
            stopped,
        )
        write_judgements(root / JUDGEMENTS_NAME, judgements)
        write_text(root / SUMMARY_NAME, dumps(done.to_json(), indent=1) + "\n")
    return done


def _control(calls: _JudgeCalls, planted: Sequence[tuple[Control, GradingItem]], name: str) -> tuple[float | None, int]:
    grades = [grade for kind, item in planted if kind == name and (grade := calls.judgement(item).grade) is not None]
    return (fmean(grades) if grades else None), len(grades)


class _JudgeCalls:
    """The questions of a run, by the hash of what the judge is shown."""

    def __init__(self, client: ChatClient, journal: Journal, params: Mapping[str, Any]) -> None:
        self._client, self._journal, self._params = client, journal, params

    @property
    def cost(self) -> float | None:
        """Of all questions in the journal; None where no prices were given."""
        costs = [row["cost"] for row in self._journal.rows.values() if row.get("cost") is not None]
        return sum(costs) if costs else None

    def ask(self, items: Iterable[GradingItem], progress: Callable[[int, int], None] | None) -> ChatStopped | None:
        """Ask what has no answer yet, and once more what cannot be read; what stopped the run, if anything did."""
        prompts = {prompt_sha256(messages): messages for item in items if (messages := _messages(item)) is not None}
        for attempt in range(1, TRIES + 1):
            todo = {key: messages for key, messages in prompts.items() if self._is_open(key, attempt)}
            try:
                self._round(todo, attempt, progress)
            except ChatStopped as error:
                keys = list(todo)
                for index, outcome in error.finished.items():
                    self._note(keys[index], outcome, attempt)
                return error
        return None

    def _is_open(self, key: str, attempt: int) -> bool:
        """Not asked, failed, or unreadable with a try left."""
        row = self._journal.rows.get(key)
        if row is None or (row["status"] == "failed" and attempt == 1):
            return True
        return bool(row["status"] == "unscored" and row["attempt"] < attempt)

    def _round(
        self,
        todo: Mapping[str, list[dict[str, Any]]],
        attempt: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        calls = (Call(messages, about={"rubric": RUBRIC_VERSION, "attempt": attempt}) for messages in todo.values())
        outcomes = self._client.map(calls, **self._params)
        for done, (key, outcome) in enumerate(zip(todo, outcomes, strict=False), 1):
            self._note(key, outcome, attempt)
            if progress is not None:
                progress(done, len(todo))

    def _note(self, key: str, outcome: ChatOutcome, attempt: int) -> None:
        before = self._journal.rows.get(key, {}).get("cost")
        cost = None if outcome.cost is None and before is None else (outcome.cost or 0.0) + (before or 0.0)
        self._journal.add(key, {"attempt": attempt, "cost": cost, **_read(outcome)})

    def judgement(self, item: GradingItem) -> Judgement:
        """What became of an item."""
        about = Judgement(
            item.video_id, item.row, "absent", 0.0, self._client.model, model=item.model, revision=item.revision
        )
        messages = _messages(item)
        if messages is None:
            return about
        key = prompt_sha256(messages)
        row = self._journal.rows.get(key) or {"status": "failed", "code": "NOT_ASKED", "reason": "the run was stopped"}
        names = ("status", "grade", "judge_model", "reply", "code", "reason")
        fields: dict[str, Any] = {name: row.get(name) for name in names}
        return replace(about, prompt_sha256=key, **fields)


def _read(outcome: ChatOutcome) -> dict[str, Any]:
    if isinstance(outcome, ChatFailed):
        return {"status": "failed", "grade": None, "code": outcome.code, "reason": outcome.reason}
    reply = {"judge_model": outcome.model, "reply": outcome.text}
    if not outcome.ok:
        code = "TRUNCATED" if "truncated" in outcome.flags else "REFUSED"
        return {"status": "unscored", "grade": None, "code": code, "reason": "the reply is not whole", **reply}
    match read_grade(outcome.text):
        case NoGrade(reason=reason):
            return {"status": "unscored", "grade": None, "code": "JUDGE_UNPARSABLE", "reason": reason, **reply}
        case grade:
            return {"status": "scored", "grade": grade, **reply}


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_judgements(path: Path, judgements: Iterable[Judgement]) -> None:
    """One row a judgement, atomically."""
    write_jsonl(
        path, ({"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(judgement)} for judgement in judgements)
    )


def read_judgements(path: str | os.PathLike[str]) -> Iterator[Judgement]:
    """The judgements in a file, or in a folder that holds a ``judgements.jsonl``.

    Raises:
        FileError: it cannot be read.
        RecordError: a line is no judgement; names it.
    """
    file = Path(path) / JUDGEMENTS_NAME if Path(path).is_dir() else Path(path)
    for number, row in read_jsonl(file):
        fields = dict(row) if isinstance(row, dict) else {}
        schema = (fields.pop("schema", None), fields.pop("schema_version", None))
        grade = fields.get("grade")
        fine = (
            schema == (SCHEMA, SCHEMA_VERSION)
            and set(fields) == set(Judgement.__dataclass_fields__)
            and isinstance(fields["video_id"], str)
            and isinstance(fields["row"], int)
            and fields["status"] in ("scored", "absent", "unscored", "failed")
            and (grade is None) == (fields["status"] in ("unscored", "failed"))
            and (grade is None or (isinstance(grade, int | float) and 0 <= grade <= 1))
        )
        if not fine:
            raise RecordError("judgement", f"{file.name} line {number} is not {SCHEMA} {SCHEMA_VERSION}")
        yield Judgement(**fields)
