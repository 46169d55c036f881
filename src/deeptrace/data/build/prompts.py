"""Prompts for video generators: written by a language model, de-duplicated, filtered, each dropped one with its reason.

A number and a seed in; ``prompts.jsonl`` and ``dropped.jsonl`` out. The same seed asks the same questions, and the same
replies give the same files. What a person decides is read from a file of decisions. Needs the extra ``api``.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from deeptrace.chat import Call, ChatClient, ChatFailed, ChatStopped, Outcome
from deeptrace.errors import JsonError
from deeptrace.files import loads, read_jsonl, write_jsonl
from deeptrace.journal import Journal

QUESTION_VERSION: Final = "1"
"""Version of the question below; part of the journal's settings and of the cache key."""

Reason = Literal["not_text", "too_short", "too_long", "control", "preamble", "blocked", "duplicate", "near", "by_hand"]

_SUBJECTS: Final = (
    "a person and an everyday object", "two people together", "hands at work", "a child at play", "a wild animal",
    "a pet", "a vehicle", "a machine with moving parts", "food being prepared", "a crowd", "water or another liquid",
    "plants in wind", "a musician", "an athlete", "a shop or a market",
)  # fmt: skip
_MOTIONS: Final = (
    "fast, with quick turns", "slow and continuous", "two things that touch or pass each other",
    "something is thrown or falls", "something is opened, poured or taken apart",
    "walking or running across the picture", "spinning or rolling", "small movements of fingers or a face",
)  # fmt: skip
_PLACES: Final = (
    "indoors by day", "indoors by lamp light", "a street", "a park or garden", "a beach or lake",
    "mountains or a forest", "a workshop or kitchen", "a station or an airport", "a sports ground", "at night outdoors",
)  # fmt: skip
_CAMERAS: Final = (
    "a fixed camera",
    "a slow pan",
    "a hand-held camera",
    "a camera that follows",
    "a close-up",
    "from above",
)

_SYSTEM: Final = (
    "You write prompts for a text-to-video model. Each prompt is one or two plain sentences in English that describe a"
    " single realistic shot of five seconds with visible motion, as a camera could record it. No text on screen, no"
    " named people, no brands, no violence, nothing sexual, no cuts. Reply with a JSON list of strings, nothing else."
)
_WORD: Final = re.compile(r"\w+", re.UNICODE)
_PREAMBLE: Final = re.compile(r"(?i)^(sure|here (is|are)|of course|certainly|okay|prompt\s*\d*\s*:|as an ai)\b")


@dataclass(frozen=True)
class GeneratorPrompt:
    """A kept prompt. ``prompt_id`` depends on its words only; ``request`` and ``place`` say where it stood."""

    prompt_id: str
    text: str
    request: int
    place: int


@dataclass(frozen=True)
class Dropped:
    """A prompt that was not kept. ``of`` is the prompt it repeats, ``similarity`` how much, in [0, 1]."""

    text: str
    reason: Reason
    detail: str
    request: int
    place: int
    of: str | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class PromptSet:
    """What came out. ``failed`` counts requests without usable reply by code; ``short_by`` prompts are missing.

    ``stopped`` is what ended the run early: quota, key or budget.
    """

    prompts: tuple[GeneratorPrompt, ...]
    dropped: tuple[Dropped, ...]
    failed: Mapping[str, int]
    short_by: int
    stopped: ChatStopped | None = None


# ── filtering ───────────────────────────────────────────────────────────────────────────────────────────────────────


def normalise(text: str) -> str:
    """The text's words alone: compatibility form, no case, no punctuation, single spaces."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """The runs of ``size`` words of a text, and those at its ends that are shorter; empty only for no words."""
    words = normalise(text).split()
    if len(words) <= size:
        return frozenset({tuple(words)} if words else ())
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def jaccard(a: frozenset[Any], b: frozenset[Any]) -> float:
    """Shared / all, in [0, 1]; two empty sets are alike (1.0)."""
    return len(a & b) / len(a | b) if a or b else 1.0


def filter_prompts(
    candidates: Iterable[tuple[int, int, object]],
    *,
    existing: Iterable[str] = (),
    blocked: Sequence[str] = (),
    decisions: Mapping[str, str] | None = None,
    min_words: int = 5,
    max_words: int = 80,
    near: float = 0.6,
) -> tuple[list[GeneratorPrompt], list[Dropped]]:
    """Keep the first of each kind. ``candidates`` are (request, place, text), taken in the order of the two numbers.

    ``existing`` prompts are not to be repeated; ``blocked`` words and phrases may not occur (whole words, any case);
    ``decisions`` maps ids that a person dropped to the reason; ``near`` is the Jaccard similarity of three-word runs
    from which on a prompt repeats another.
    """
    prompts: list[GeneratorPrompt] = []
    dropped: list[Dropped] = []
    ids_by_words: dict[str, str] = {}
    sets: dict[str, frozenset[tuple[str, ...]]] = {}
    index: dict[tuple[str, ...], list[str]] = defaultdict(list)
    stops = [f" {normalise(word)} " for word in blocked if normalise(word)]

    def remember(identifier: str, text: str) -> None:
        ids_by_words[normalise(text)] = identifier
        sets[identifier] = shingles(text)
        for shingle in sorted(sets[identifier]):
            index[shingle].append(identifier)

    def closest(text: str) -> tuple[float, str | None]:
        mine = shingles(text)
        others = {other for shingle in mine for other in index.get(shingle, ())}
        return max(((jaccard(mine, sets[other]), other) for other in sorted(others)), default=(0.0, None))

    for text in existing:
        remember(prompt_id(text), text)
    for request, place, raw in sorted(candidates, key=lambda candidate: candidate[:2]):
        text = " ".join(raw.split()) if isinstance(raw, str) else ""
        words = normalise(text)
        count = len(words.split())

        def drop(
            reason: Reason, detail: str, *more: Any, text: str = text, at: tuple[int, int] = (request, place)
        ) -> None:
            dropped.append(Dropped(text, reason, detail, *at, *more))

        if not isinstance(raw, str):
            drop("not_text", f"it is a {type(raw).__name__}")
        elif any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") for character in text):
            drop("control", "it holds characters that are not text")
        elif count < min_words:
            drop("too_short", f"{count} words, at least {min_words}")
        elif count > max_words:
            drop("too_long", f"{count} words, at most {max_words}")
        elif _PREAMBLE.match(text):
            drop("preamble", "it speaks of the task")
        elif hits := [stop.strip() for stop in stops if stop in f" {words} "]:
            drop("blocked", ", ".join(hits))
        elif words in ids_by_words:
            drop("duplicate", "the same words", ids_by_words[words], 1.0)
        elif (best := closest(text))[0] >= near:
            drop("near", "nearly the same words", best[1], round(best[0], 4))
        elif decisions and prompt_id(text) in decisions:
            drop("by_hand", decisions[prompt_id(text)])
            remember(prompt_id(text), text)
        else:
            prompts.append(GeneratorPrompt(prompt_id(text), text, request, place))
            remember(prompt_id(text), text)
    return prompts, dropped


def prompt_id(text: str) -> str:
    """A short name for a prompt, the same for all texts of the same words."""
    return "p" + hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def read_decisions(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a person decided: JSON lines ``{"prompt_id", "keep", "reason"}``. Gives the dropped ids with the reasons.

    Raises:
        FileError: the file cannot be read.
        JsonError: a line without id, or without ``keep`` as true or false, or a dropped one without a reason.
    """
    dropped: dict[str, str] = {}
    for number, row in read_jsonl(path):
        fine = isinstance(row, dict) and isinstance(row.get("prompt_id"), str) and isinstance(row.get("keep"), bool)
        if not fine or (not row["keep"] and not (isinstance(row.get("reason"), str) and row["reason"].strip())):
            raise JsonError(f"{Path(path).name} line {number}: prompt_id, keep and (where false) a reason are needed")
        if row["keep"]:
            dropped.pop(row["prompt_id"], None)
        else:
            dropped[row["prompt_id"]] = row["reason"].strip()
    return dropped


def read_existing(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The texts of a ``prompts.jsonl``: JSON lines with ``text``.

    Raises:
        FileError: the file cannot be read.
        JsonError: a line without a text.
    """
    texts = []
    for number, row in read_jsonl(path):
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise JsonError(f"{Path(path).name} line {number}: an object with a text is needed")
        texts.append(row["text"])
    return tuple(texts)


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def question(number: int, *, seed: int, per_request: int) -> str:
    """The text of request ``number``: it depends on the numbers given and on nothing else."""
    rng = random.Random(f"{seed}:{number}")
    lines = [
        f"{k + 1}. {rng.choice(_SUBJECTS)}; motion: {rng.choice(_MOTIONS)}; place: {rng.choice(_PLACES)};"
        f" {rng.choice(_CAMERAS)}"
        for k in range(per_request)
    ]
    return f"Write {per_request} prompts, one for each line:\n" + "\n".join(lines)


def parse_list(text: str) -> list[Any] | None:
    """The JSON list in a reply, bare or in a fence; None where there is none."""
    fenced = re.search(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    body = (fenced[1] if fenced else text).strip()
    try:
        value = loads(body)
    except JsonError:
        return None
    return value if isinstance(value, list) else None


def write_prompts(
    client: ChatClient,
    folder: str | os.PathLike[str],
    *,
    count: int,
    seed: int = 0,
    per_request: int = 10,
    max_requests: int | None = None,
    existing: Iterable[str] = (),
    blocked: Sequence[str] = (),
    decisions: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **params: Any,
) -> PromptSet:
    """Ask until ``count`` prompts are kept, at most ``max_requests`` times (default: three times what is needed).

    Every reply is noted in ``journal.jsonl`` at once, so the run can be stopped and started again: a reply that is
    there is not asked for again, a failed request is. ``params`` go into each request (default temperature 1). When
    quota, key or budget end the run, what came is filtered and written all the same, and ``stopped`` says why.

    Raises:
        FileError: the folder belongs to a run with other settings, or another process is at work in it.
    """
    root, existing_texts = Path(folder), tuple(existing)
    params = {"temperature": 1.0, "max_tokens": 120 * per_request, **params}
    server = {"base_url": client.base_url, "model": client.model}
    settings = {"seed": seed, "per_request": per_request, **server, "version": QUESTION_VERSION, **params}
    most = max_requests if max_requests is not None else 3 * -(-count // per_request)
    stopped: ChatStopped | None = None
    tried: set[int] = set()
    with Journal(root / "journal.jsonl", settings, lock=True) as journal:
        while True:
            prompts, dropped = _read(
                journal, per_request, existing=existing_texts, blocked=blocked, decisions=decisions
            )
            if progress is not None:
                progress(min(len(prompts), count), count)
            ready = {int(key) for key, row in journal.rows.items() if row["status"] == "ok"}
            rest = [number for number in range(most) if number not in ready and number not in tried]
            need = -(-(count - len(prompts)) // per_request)
            if need <= 0 or not rest or stopped is not None:
                break
            questions = {number: question(number, seed=seed, per_request=per_request) for number in rest[:need]}
            stopped = _ask(client, journal, questions, params)
            tried.update(rest[:need])
        prompts = prompts[:count]
        failed = Counter(row["code"] for row in journal.rows.values() if row["status"] != "ok")
        write_jsonl(root / "prompts.jsonl", (asdict(prompt) for prompt in prompts))
        write_jsonl(root / "dropped.jsonl", (asdict(prompt) for prompt in dropped))
    return PromptSet(tuple(prompts), tuple(dropped), dict(failed), max(count - len(prompts), 0), stopped)


def _read(journal: Journal, per_request: int, **rules: Any) -> tuple[list[GeneratorPrompt], list[Dropped]]:
    candidates = (
        (int(key), place, text)
        for key, row in journal.rows.items()
        if row["status"] == "ok"
        for place, text in enumerate(row["texts"][:per_request])
    )
    return filter_prompts(candidates, **rules)


def _ask(
    client: ChatClient, journal: Journal, questions: Mapping[int, str], params: Mapping[str, Any]
) -> ChatStopped | None:
    """Ask and note; what stopped the run, if anything did."""
    numbers = list(questions)
    calls = [
        Call(
            [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": questions[number]},
            ],
            about={"request": number, "question": QUESTION_VERSION},
        )
        for number in numbers
    ]
    at = 0
    try:
        for outcome in client.map(calls, **params):
            _note(journal, numbers[at], outcome)
            at += 1
    except ChatStopped as error:
        for index, outcome in error.finished.items():
            _note(journal, numbers[index], outcome)
        return error
    return None


def _note(journal: Journal, number: int, outcome: Outcome) -> None:
    row: dict[str, Any]
    if isinstance(outcome, ChatFailed):
        row = {"status": "failed", "code": outcome.code, "reason": outcome.reason}
    else:
        texts = parse_list(outcome.text) if outcome.ok else None
        row = (
            {"status": "ok", "texts": texts}
            if texts
            else {"status": "failed", "code": "UNPARSED", "text": outcome.text}
        )
        row["model"] = outcome.model
    journal.add(str(number), {**row, "cost": outcome.cost})


def count_reasons(dropped: Iterable[Dropped]) -> dict[str, int]:
    """How many prompts were dropped for which reason, most frequent first."""
    return dict(Counter(prompt.reason for prompt in dropped).most_common())
