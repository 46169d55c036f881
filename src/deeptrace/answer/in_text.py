"""Traces in the words of an answer: the trained answer's sentences, the zero-shot answer's tags, names with a colon.

Each reader gives the traces and what it did not read, so that nothing is lost without a flag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from deeptrace.answer.fields import MILLISECONDS, Y_FIRST_NAMES, field_named, plain_name, words_of
from deeptrace.answer.times import find_times, is_filled
from deeptrace.answer.values import NOT_SAID, RANGES, RawTrace


@dataclass
class InText:
    """The traces in a text, and the pieces of it that became no field."""

    traces: list[RawTrace] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


# ── the trained answer's sentences ──────────────────────────────────────────────────────────────────────────────────

# Between words: blanks and marks of emphasis. Every gap is bounded, so that matching stays linear.
_GAP: Final = r"[\s*_`]{1,8}"
_PART: Final = (
    rf"(?:There{_GAP}(?:is|are){_GAP}(?:an?{_GAP})?|(?:The|An|One|Another){_GAP})?"
    rf"(?:unnatural|fake|suspicious|abnormal|AI-generated){_GAP}(?:parts?|regions?|areas?|traces?|objects?)"
    rf"(?:{_GAP}(?:is|are|appears?|begins?|starts?|can{_GAP}be{_GAP}seen)\b|[*_`]{{0,3}}\s?:|(?={_GAP}(?:at|in|from)\b))"
)
_CATEGORY: Final = rf"(?:The{_GAP})?category(?:{_GAP}is\b|[*_`]{{0,3}}\s?:)"
_REASON: Final = rf"(?:The{_GAP})?(?:reason|explanation)(?:{_GAP}(?:is{_GAP}(?:because|that)|is)\b|[*_`]{{0,3}}\s?:)"
_OPENING: Final = re.compile(rf"(?P<part>{_PART})|(?P<category>{_CATEGORY})|(?P<reason>{_REASON})", re.IGNORECASE)
_SENTENCE: Final = re.compile(rf"{_PART}|The{_GAP}category{_GAP}is\b|The{_GAP}reason{_GAP}is\b", re.IGNORECASE)
"""Without one of these a text has no sentences of this kind: "Reason:" alone is a name with a colon."""

_IN_PART: Final = re.compile(
    rf"(?P<category>{_CATEGORY})|(?P<reason>{_REASON}|\b(?:because|since)\b(?!{_GAP}(?:\d|the{_GAP}start)))",
    re.IGNORECASE,
)
_MARKS_BEFORE: Final = re.compile(r"[\s*_`>#•-]{0,10}(?:\d{1,2}[.)]\s{1,3})?[*_`]{0,3}")
_LONGEST_PLACE: Final = 1_000
_LONGEST_CATEGORY: Final = 300


def read_sentences(text: str) -> InText:
    """Traces in the trained answer's sentences. A line that opens no trace continues the explanation before it."""
    if _SENTENCE.search(text) is None:
        return InText(unread=[text])
    result = InText()
    continued: list[list[str]] = []  # the lines of each trace's explanation
    for number, line in enumerate(text.split("\n")):
        # Only the first line has words before its trace ("The video is AI-generated."); elsewhere a trace begins one,
        # so that an explanation may quote the sentence without opening a trace.
        start = 0 if number == 0 else _start_of(line)
        opening = _OPENING.search(line) if number == 0 else _OPENING.match(line, start)
        if opening is None:
            if line.strip() and continued and (continued[-1] or not line.strip(" `")):
                continued[-1].append(line)
            elif line.strip():
                result.unread.append(line)
            continue
        if number == 0:
            result.unread.append(line[: opening.start()])
        trace, words = _read_line(line, opening, result.unread)
        # "The reason is ..." on a line of its own belongs to the trace before it, where that has none.
        before = result.traces[-1] if result.traces else None
        if opening["part"] is None and before is not None and _completes(before, continued[-1], trace, words):
            continued[-1] += words
            continue
        result.traces.append(trace)
        continued.append(words)
    for trace, lines in zip(result.traces, continued, strict=True):
        trace.explanation = " ".join(lines) if lines else NOT_SAID
    return result


def _start_of(line: str) -> int:
    marks = _MARKS_BEFORE.match(line)
    return marks.end() if marks else 0


def _completes(before: RawTrace, explained: list[str], trace: RawTrace, words: list[str]) -> bool:
    """Give a trace the category that stands behind it; whether all that the later line says fits into it."""
    if trace.category is NOT_SAID and not words:
        return False
    if (words and explained) or (trace.category is not NOT_SAID and before.category is not NOT_SAID):
        return False
    if before.box is NOT_SAID and before.onset is NOT_SAID:
        return False
    if trace.category is not NOT_SAID:
        before.category = trace.category
    return True


def _read_line(line: str, opening: re.Match[str], unread: list[str]) -> tuple[RawTrace, list[str]]:
    """The trace that a line opens, and the words of its explanation."""
    trace = RawTrace()
    at, kind = opening.end(), opening.lastgroup
    if kind == "part":
        inner = _IN_PART.search(line, at, at + _LONGEST_PLACE)
        end = len(line) if inner is None else inner.start()
        unread += _read_place(line[at:end], trace)
        if inner is None:
            return trace, []
        at, kind = inner.end(), inner.lastgroup
    if kind == "category":
        reason = re.compile(_REASON, re.IGNORECASE).search(line, at, at + _LONGEST_PLACE)
        stop = re.compile(r"[.\n]").search(line, at)
        end = min(reason.start() if reason else len(line), stop.start() if stop else len(line), at + _LONGEST_CATEGORY)
        trace.category = line[at:end].strip(" *_`:\"'")
        if reason is None:
            unread.append(line[end:])
            return trace, []
        unread.append(line[end : reason.start()])
        at = reason.end()
    return trace, [_behind_marks(line[at:])]


def _behind_marks(text: str) -> str:
    """A text without the blank or the marks that close the opening before it ("**The reason is** the arm bends")."""
    return (
        re.sub(r"\A[*_`]{0,3}[ \t]?:?[ \t]?(?=\S)|\A[*_`]{1,3}", "", text, count=1) if text[:1] in "*_`: \t" else text
    )


# ── a place in words: a box and a time ──────────────────────────────────────────────────────────────────────────────

# Possessive, so that what almost is a box is given up at once: each number has one way to be read, and so has each gap.
_N: Final = r"[-+]?\d{1,7}+(?:\.\d{0,9}+)?+(?:px|\s?%)?+"
_S: Final = r"\s{0,3}+"
_BETWEEN: Final = r"(?>\s{0,3}+[,;]\s{0,3}+|\s{1,7}+)"
_BOXES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # (100, 200), (300, 400); (100, 200) to (300, 400)
        rf"[\[(]?{_S}[\[(]{_S}{_N}{_BETWEEN}{_N}{_S}[\])]{_S}(?:,|;|to|and|-|–|→)?{_S}"
        rf"[\[(]{_S}{_N}{_BETWEEN}{_N}{_S}[\])](?:{_S}[\])])?",
        # [100, 200, 300, 400], also with names in it
        r"[\[({][^\[\](){}\n\d]{0,40}(?:\d[^\[\](){}\n\d]{0,52}){4,}[\])}]",
        # x0=100, y0=200, x1=300, y1=400; left 100, top 200, width 200, height 200
        rf"\b(?>[a-z]{{1,6}}_?[a-z]{{0,6}}\d?{_S}[=:]?{_S}{_N}{_S}(?:[,;]|and)?{_S}){{4}}",
        # 100, 200, 300, 400
        rf"(?<![\w.]){_N}{_S}[,;]{_S}{_N}{_S}[,;]{_S}{_N}{_S}[,;]{_S}{_N}(?![\w]|\.\d|{_S}[,;]{_S}\d)",
        rf"(?<![\w.]){_N}\s{{1,3}}+{_N}\s{{1,3}}+{_N}\s{{1,3}}+{_N}(?![\w]|\.\d|\s{{0,3}}\d)",
    )
)
_BRACKETS: Final = re.compile(r"\[(?P<inside>[^\[\]\n]{0,200})\]|[({](?P<round>[^(){}\n:]{1,200})[)}]")
_AT_NOTHING: Final = re.compile(r"\A\W{0,4}(?:at\s{1,3})?[\[(]?(none|null|n/a|unknown)\b[\])]?", re.IGNORECASE)
_START_WORD: Final = re.compile(r"\b(?:start\w*|begin\w*|onset)\b(?P<what>[^.\n]{1,60})", re.IGNORECASE)
_UNITS_IN: Final = re.compile(r"\d\s?(?:s|sec|seconds?|ms)\b", re.IGNORECASE)
_CLOCK_IN: Final = re.compile(r"\d:\d")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


def _read_place(text: str, trace: RawTrace, *, phrases: bool = True) -> list[str]:
    """Fill a trace with the box and the times of a sentence; gives what else it says.

    A few words beside the box ("at the left hand [1, 2, 3, 4]") say again where it is (``phrases``).
    """
    rest = text[:_LONGEST_PLACE].translate(_EMPHASIS)
    beyond = [text[_LONGEST_PLACE:]] if len(text) > _LONGEST_PLACE else []
    trace.box, rest = _find_box(rest)
    times = find_times(rest)
    if times.onset is not None or times.flawed:
        trace.onset = "-" if times.onset is None else times.onset
        if times.offset is not None:
            trace.offset = times.offset
        elif times.flawed and times.onset is not None:
            trace.offset = "-"
        rest = times.rest
    elif (start := _START_WORD.search(rest)) is not None:
        trace.onset = start["what"].strip(" :*")
        rest = rest[: start.start()] + rest[start.end() :]
    first, *more = _SENTENCE_END.split(rest.strip())
    if phrases and trace.box is not NOT_SAID and _is_phrase(first):
        first = ""
    return [part for part in (first, *more) if not is_filled(part)] + beyond


_EMPHASIS: Final = str.maketrans(dict.fromkeys("*`", " "))
_MOST_WORDS_OF_A_PLACE: Final = 12


def _is_phrase(text: str) -> bool:
    return len(text.split()) <= _MOST_WORDS_OF_A_PLACE and not any(char.isdigit() for char in text)


def _find_box(text: str) -> tuple[Any, str]:
    """The first box in a text, as words or numbers, and the text without it."""
    across = RANGES.search(text)
    if across is not None:
        return across[0], text[: across.start()] + " " + text[across.end() :]
    matches = [match for pattern in _BOXES if (match := pattern.search(text)) is not None]
    matches = [match for match in matches if not _UNITS_IN.search(match[0]) and not _CLOCK_IN.search(match[0])]
    if matches:
        first = min(matches, key=lambda match: (match.start(), -match.end()))
        return first[0], text[: first.start()] + " " + text[first.end() :]
    for match in _BRACKETS.finditer(text):
        inside = match["inside"] if match["inside"] is not None else match["round"]
        if _UNITS_IN.search(inside) or _CLOCK_IN.search(inside):
            continue
        if match["inside"] is not None or (inside.count(",") >= 1 and any(char.isdigit() for char in inside)):
            return match[0], text[: match.start()] + " " + text[match.end() :]
    nothing = _AT_NOTHING.match(text)
    if nothing is not None:
        return nothing[1], text[nothing.end() :]
    return NOT_SAID, text


def read_place(text: str) -> InText:
    """A box in words that open no trace ("FAKE [1, 2, 3, 4] from 1 to 2 s, because the arm bends"), if there is one."""
    trace = RawTrace()
    reason = _IN_PART.search(text, 0, _LONGEST_PLACE)
    end = len(text) if reason is None else reason.start()
    unread = _read_place(text[:end], trace, phrases=False)
    if trace.box is NOT_SAID:
        return InText(unread=[text])
    if reason is not None and reason.lastgroup == "reason":
        trace.explanation = _behind_marks(text[reason.end() :])
    elif reason is not None:
        unread.append(text[reason.start() :])
    return InText([trace], unread)


# ── tags ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TAG: Final = re.compile(
    r"<(?P<closing>/?)(?P<name>coordinates?|area_?coordinates|b?box|bounding_?box|box_?2d|bbox_?2d"
    r"|start(?:ing)?[_ ]?time|start|time|timestamps?|onset|end(?:ing)?[_ ]?time|end|offset|category|explanation"
    r"|reason|description)>",
    re.IGNORECASE | re.ASCII,
)
"""The tags that are read; `writing` keeps them out of what it writes between its own."""


def read_tags(text: str) -> InText:
    """Traces in the zero-shot answer's tags. A tag seen before opens the next trace; a tag cut off runs to the end."""
    result = InText()
    tags = list(TAG.finditer(text)) if "<" in text else []
    position = 0
    for index, tag in enumerate(tags):
        name = field_named(tag["name"])
        if tag["closing"] or name is None:
            continue
        result.unread.append(text[position : tag.start()])
        last = index + 1 == len(tags)
        end = len(text) if last else tags[index + 1].start()
        position = end if last or not tags[index + 1]["closing"] else tags[index + 1].end()
        if not result.traces or getattr(result.traces[-1], name) is not NOT_SAID:
            result.traces.append(RawTrace())
        setattr(result.traces[-1], name, text[tag.end() : end])
        if name == "box":
            result.traces[-1].y_first = plain_name(tag["name"]) in Y_FIRST_NAMES
    result.unread.append(text[position:])
    return result


# ── names with a colon ──────────────────────────────────────────────────────────────────────────────────────────────

_NAMED: Final = re.compile(
    r"(?:^|[\n,;|(])[\s*_`>#•-]{0,10}(?:\d{1,2}[.)]\s{1,3})?[*_`\"']{0,3}"
    r"(?P<name>[A-Za-z][A-Za-z_0-9 ]{1,30})[*_`\"']{0,3}\s?[:=]"
)


def read_named(text: str) -> InText:
    """Traces in lines such as ``Box: [1, 2, 3, 4]``. A name that was there already opens the next trace."""
    result = InText()
    names = [match for match in _NAMED.finditer(text) if field_named(match["name"]) is not None]
    if not names:
        return InText(unread=[text])
    result.unread.append(text[: names[0].start()])
    for index, match in enumerate(names):
        name = str(field_named(match["name"]))
        end = names[index + 1].start() if index + 1 < len(names) else len(text)
        value: Any = text[match.end() : end].strip().strip("*_`,;|").strip()
        if not result.traces or getattr(result.traces[-1], name) is not NOT_SAID:
            result.traces.append(RawTrace())
        if name in ("box", "onset", "offset"):
            value, _, behind = value.partition("\n")
            result.unread.append(behind)
        if words_of(match["name"]) & MILLISECONDS:
            value = f"{value} ms"
        setattr(result.traces[-1], name, value)
        if name == "box":
            result.traces[-1].y_first = plain_name(match["name"]) in Y_FIRST_NAMES
    return result


def readers(*, trained: bool) -> Iterator[Callable[[str], InText]]:
    """The readers of a text behind a label, in the order in which they are tried; see also `read_place`."""
    yield from (read_sentences, read_tags) if trained else (read_tags, read_sentences)
    yield read_named
