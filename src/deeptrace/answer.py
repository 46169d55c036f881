"""Questions to a model and answers from it: the only file that knows what either looks like.

`render` writes the answer that a record deserves (for training), `parse` reads what a model said (at inference), and
``parse(render(record, format, space), format, space).traces == project(record.traces, format, space)``.

Generous about form, strict about meaning: "0:02", "2s" and a missing bracket are read; "REAL or FAKE" chooses nothing
and is `Unparsed`. A value that is not valid is dropped and flagged; a contradiction is kept and flagged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from deeptrace.errors import AnswerError, RecordError
from deeptrace.records import Box, Label, RecordLabel, Trace, Unparsed, Verdict, check_bbox, check_number

Format: TypeAlias = Literal["trained", "zero-shot"]

FORMAT_VERSIONS: Final[dict[str, int]] = {"trained": 1, "zero-shot": 1}
"""Name and version of an answer format are stored wherever answers are; see `check_format`."""

QUESTIONS: Final[dict[Format, str]] = {
    "trained": (
        "<video> Decide whether the video is AI-generated or real by detecting unnatural parts. If you don't detect "
        "any unnatural parts and think the video is real, reply with REAL. Otherwise, if you detect any, reply with "
        "FAKE, and provide the coordinates of the unnatural parts in [x0, y0, x1, y1] format, the starting time of "
        "them, and an explanation."
    ),
    "zero-shot": (
        "Decide whether the video is AI-generated or real. If you think it is real, reply 'REAL'. Otherwise, reply "
        "'FAKE' and provide the area coordinates in [x0, y0, x1, y1] format, the starting time of when you think it "
        "becomes fake, and an explanation. Encapsulate your answers using <coordinates> </coordinates>, <start_time> "
        "</start_time>, and <explanation> </explanation>."
    ),
}
"""The paper's two questions, word for word (arXiv 2509.22646). ``<video>`` stands where the frames go."""

MAX_ANSWER_CHARACTERS: Final = 1_000_000
"""Longer answers are Unparsed. The paper's answers stay under a thousand characters."""

MAX_EXPLANATION_CHARACTERS: Final = 4_000
MAX_ONSET_SECONDS: Final = 1e9
"""What `project` keeps of an explanation and of an onset, so that two hundred traces can be read back."""

# Flags of a parsed answer.
BBOX_INVALID: Final = "bbox_invalid"
ONSET_INVALID: Final = "onset_invalid"
REAL_WITH_TRACE: Final = "real_with_trace"


def check_format(name: str, version: int) -> None:
    """Make sure that answers stored under this format name and version are read by this code.

    Raises:
        AnswerError: an unknown format, or another version of it; names both.
    """
    if name not in FORMAT_VERSIONS:
        raise AnswerError(f"{name!r} is not an answer format. Known: {', '.join(FORMAT_VERSIONS)}")
    if version != FORMAT_VERSIONS[name]:
        raise AnswerError(f"answer format {name!r} version {version} is stored, this code has {FORMAT_VERSIONS[name]}")


# ── coordinates ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Space:
    """The coordinates that a model speaks.

    ``source``: pixels of the video as displayed. ``resized``: pixels of the model's resized input. ``per-mille``:
    0 to 1000 in both directions. ``width`` and ``height`` are needed for the first two and refused for the third.
    """

    kind: Literal["source", "resized", "per-mille"]
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("source", "resized", "per-mille"):
            raise AnswerError(f"{self.kind!r} is not a coordinate space. Known: source, resized, per-mille")
        sized = self.width is not None and self.height is not None
        if self.kind == "per-mille" and (self.width is not None or self.height is not None):
            raise AnswerError("the space 'per-mille' has no width and height")
        if self.kind != "per-mille" and not (sized and self._scale[0] > 0 and self._scale[1] > 0):
            raise AnswerError(f"the space {self.kind!r} needs a positive width and height")

    @property
    def _scale(self) -> tuple[int, int]:
        return (self.width or 0, self.height or 0) if self.kind != "per-mille" else (1000, 1000)

    def encode(self, bbox_xyxy: Box) -> tuple[int, int, int, int]:
        """The box in whole units of this space, at least one unit wide and high."""
        width, height = self._scale
        x0, x1 = _round_span(bbox_xyxy[0] * width, bbox_xyxy[2] * width, width)
        y0, y1 = _round_span(bbox_xyxy[1] * height, bbox_xyxy[3] * height, height)
        return (x0, y0, x1, y1)

    def decode(self, values: tuple[float, float, float, float]) -> Box:
        """The box in fractions of the frame.

        Raises:
            RecordError: the box is empty or leaves the frame.
        """
        width, height = self._scale
        x0, y0, x1, y1 = values
        return check_bbox((x0 / width, y0 / height, x1 / width, y1 / height))

    def to_json(self) -> dict[str, Any]:
        """The space as it is stored in rows and beside weights."""
        return {"kind": self.kind, "width": self.width, "height": self.height}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote.

        Raises:
            AnswerError: a missing or unknown kind, or sizes that do not fit it.
        """
        unknown = set(value) - {"kind", "width", "height"}
        if unknown or "kind" not in value:
            raise AnswerError(f"a coordinate space has kind, width and height, got {', '.join(sorted(value))}")
        for name in ("width", "height"):
            if value.get(name) is not None and (isinstance(value[name], bool) or not isinstance(value[name], int)):
                raise AnswerError(f"{name} of a coordinate space is a whole number, got {value[name]!r}")
        return cls(value["kind"], value.get("width"), value.get("height"))


def _round_span(low: float, high: float, limit: int) -> tuple[int, int]:
    start, end = round(low), round(high)
    if start < end:
        return start, end
    start = min(start, limit - 1)
    return start, start + 1


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Labelled(Protocol):
    """What can be rendered: a `Record` or a `Verdict`."""

    @property
    def label(self) -> RecordLabel | None:
        """fake or real; nothing else can be rendered."""
        ...

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The traces to speak of."""
        ...


def project(traces: Iterable[Trace], format: Format, space: Space) -> tuple[Trace, ...]:
    """What is left of traces after a round trip through text: the paper's formats carry box, onset and explanation.

    Boxes are rounded to whole units of the space, onsets to 0.1 s, explanations to one line without the format's own
    tags of at most `MAX_EXPLANATION_CHARACTERS`; an onset from `MAX_ONSET_SECONDS` on is dropped. A trace of which
    nothing is left is dropped. Ordered by onset; traces without one come last.
    """
    _check_known(format)
    left = (_project_one(trace, format, space) for trace in traces)
    said = [trace for trace in left if trace != Trace()]
    return tuple(sorted(said, key=lambda t: float("inf") if t.onset_seconds is None else t.onset_seconds))


def _project_one(trace: Trace, format: Format, space: Space) -> Trace:
    onset = trace.onset_seconds
    return Trace(
        bbox_xyxy=None if trace.bbox_xyxy is None else space.decode(space.encode(trace.bbox_xyxy)),
        onset_seconds=None if onset is None or onset >= MAX_ONSET_SECONDS else float(_seconds(onset)),
        explanation=_one_line(trace.explanation, format),
    )


def _seconds(value: float) -> str:
    return f"{value:.1f}"


def _one_line(text: str | None, format: Format) -> str | None:
    if text is None:
        return None
    if format == "zero-shot":
        while (stripped := _TAG.sub(" ", text)) != text:
            text = stripped
    return " ".join(text.split())[:MAX_EXPLANATION_CHARACTERS].rstrip() or None


def render(item: Labelled, format: Format, space: Space) -> str:
    """The answer that this record or verdict stands for.

    A fake's traces follow each other on lines of their own, ordered by onset; with one trace the text is the paper's,
    word for word. What a trace does not say is left out of its sentence.

    Raises:
        AnswerError: the label is neither fake nor real, or a video labelled real has traces.
    """
    traces = project(item.traces, format, space)
    match item.label:
        case "real":
            if traces:
                raise AnswerError("a video labelled real has traces: there is no answer that says both")
            return "REAL. The video is real. There is no unnatural part." if format == "trained" else "REAL"
        case "fake":
            if format == "trained":
                lines = [_sentence(trace, space) for trace in traces]
                return " ".join(["FAKE. The video is AI-generated.", "\n".join(lines)]).rstrip()
            return "\n".join(["FAKE", *(_tagged(trace, space) for trace in traces)])
        case label:
            raise AnswerError(f"label {label!r} cannot be rendered: an answer says fake or real")


def _box_text(bbox: Box, space: Space) -> str:
    return "[" + ", ".join(map(str, space.encode(bbox))) + "]"


def _sentence(trace: Trace, space: Space) -> str:
    where = "" if trace.bbox_xyxy is None else f" at {_box_text(trace.bbox_xyxy, space)}"
    when = "" if trace.onset_seconds is None else f" starting {_seconds(trace.onset_seconds)} seconds"
    parts = [f"The unnatural part is{where}{when}."] if where or when else []
    if trace.explanation is not None:
        parts.append(f"The reason is because {trace.explanation}")
    return " ".join(parts)


def _tagged(trace: Trace, space: Space) -> str:
    box = "" if trace.bbox_xyxy is None else _box_text(trace.bbox_xyxy, space)
    onset = "" if trace.onset_seconds is None else _seconds(trace.onset_seconds)
    return (
        f"<coordinates>{box}</coordinates> <start_time>{onset}</start_time> "
        f"<explanation>{trace.explanation or ''}</explanation>"
    )


# ── reading: the label ──────────────────────────────────────────────────────────────────────────────────────────────

# What may stand before a label without saying anything: quotes, brackets, markdown, "Answer:", "The answer is".
# Possessive quantifiers (`*+`) keep matching linear in whatever a model repeats.
_LEAD = r"[\s*_#>\"'`(\[]*+"
_PREFIX = r"(?:(?:the\s++|my\s++)?(?:final\s++)?(?:answer|verdict|label|conclusion|decision)\s*+(?:is|:)\s*+:?)?"
_STARTS_WITH_LABEL: Final = re.compile(
    rf"{_LEAD}(?i:{_PREFIX}){_LEAD}"
    r"(?P<label>FAKE|REAL|(?i:fake|real)(?=[*_\"'`)\]]*+(?:\s*+(?:[.,:;!<-]|\Z)|[ \t]*+\n)))\b",
)
# After a label these words offer a choice or state a condition, so that nothing was chosen.
_OFFERS: Final = re.compile(
    r"-\w|[\s*_\"'`)\]]*+(?:[/|?]|,?\s*+\b(?:or|and|for|if|when|vs|versus|is not|isn't|would)\b)", re.IGNORECASE
)
_OTHER_LABEL_NEXT: Final = re.compile(r"[\s*_\"'`)\],]*+\b(?:FAKE|REAL)\b")

# "I do not think that ...", "it is unlikely that ...": in the same clause before it, these words take a statement back.
_TAKEN_BACK: Final = re.compile(
    r"(?:\b(?:not|no|never|nothing|none|neither|nor|cannot|unlikely|doubt\w*|without|whether|if)\b|n't\b)",
    re.IGNORECASE,
)
_CLAUSE_CHARACTERS: Final = 200  # how far back a clause is looked at, which bounds the work
_CLAUSE_END: Final = re.compile(r"[.,;:!?]|\b(?:so|and|but|therefore|hence|thus|because|since)\b", re.IGNORECASE)
# "The video is (not) real", searched in text whose white space has been made single blanks.
_SAYS: Final = re.compile(
    r"\b(?:video|clip|footage|it) (?:is|was|appears|seems|looks)(?: to (?:be|have been))? "
    r"(?P<not>not )?(?:(?:most )?(?:likely|probably|definitely|clearly) )?(?:an? )?"
    r"(?:(?P<fake>fake|(?:AI|artificially|computer)[ -]generated|generated by (?:an )?AI|synthetic)"
    r"|(?P<real>real|authentic|genuine))\b(?! or\b| ?/)",
    re.IGNORECASE,
)


def _after_reasoning(text: str) -> str | None:
    """The text behind ``</think>``; None when the reasoning never ended."""
    before, closed, after = text.rpartition("</think>")
    if closed:
        return after
    return None if "<think>" in before + after else text


def _without_fence(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith("```"):
        return text
    first_line, _, body = stripped.partition("\n")
    return (body or first_line.strip("`")).removesuffix("```")


def _read_label(text: str) -> tuple[Label, str] | str:
    """The label that was chosen and the text behind it, or the reason why none was."""
    start = _STARTS_WITH_LABEL.match(text)
    if start is not None:
        rest = text[start.end() :]
        if _OFFERS.match(rest) or _OTHER_LABEL_NEXT.match(rest):
            return "it repeats the options and chooses none"
        return ("fake" if start["label"].lower() == "fake" else "real"), rest
    said: set[Label] = set()
    plain = " ".join(text.split())
    for match in _SAYS.finditer(plain):
        clause = _CLAUSE_END.split(plain[max(0, match.start() - _CLAUSE_CHARACTERS) : match.start()])[-1]
        if _TAKEN_BACK.search(clause):
            continue
        fake = match["fake"] is not None
        said.add("fake" if fake != (match["not"] is not None) else "real")
    if len(said) == 1:
        return said.pop(), text
    return "it says both fake and real" if said else "no verdict in it"


def parse(text: str, format: Format, space: Space) -> Verdict | Unparsed:
    """What an answer says: a `Verdict` with its traces in fractions and seconds, or `Unparsed` with the reason.

    The space is the one that the question asked for. ``flags`` of the verdict tell what was dropped (`BBOX_INVALID`,
    `ONSET_INVALID`) and what contradicts itself (`REAL_WITH_TRACE`). An answer that ignores its format but keeps the
    other's is read all the same. Time is linear in the length; no text raises.

    Raises:
        AnswerError: the format does not exist.
    """
    _check_known(format)
    if len(text) > MAX_ANSWER_CHARACTERS:
        return Unparsed(f"longer than {MAX_ANSWER_CHARACTERS} characters", text[:MAX_ANSWER_CHARACTERS])
    if not text.strip():
        return Unparsed("empty", text)
    body = text
    if _STARTS_WITH_LABEL.match(text) is None:
        answer = _after_reasoning(text)
        if answer is None:
            return Unparsed("the reasoning was cut off before an answer", text)
        body = _without_fence(answer)
    read = _read_label(body)
    if isinstance(read, str):
        return Unparsed(read, text)
    label, rest = read
    readers = (_read_sentences, _read_tags) if format == "trained" else (_read_tags, _read_sentences)
    raw = readers[0](rest) or readers[1](rest)
    flags: list[str] = []
    traces = tuple(trace for trace in (one.check(space, flags) for one in raw) if trace != Trace())
    if label == "real" and traces:
        flags.append(REAL_WITH_TRACE)
    return Verdict(label, traces=traces, flags=tuple(dict.fromkeys(flags)), text=text)


def _check_known(format: str) -> None:
    if format not in get_args(Format):
        raise AnswerError(f"{format!r} is not an answer format. Known: {', '.join(get_args(Format))}")


# ── reading: the traces ─────────────────────────────────────────────────────────────────────────────────────────────

_NUMBER: Final = re.compile(r"[-+]?\d{1,12}(?:\.\d{0,12})?")
_CLOCK: Final = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d{0,9})?)")
_PLAIN_SECONDS: Final = re.compile(r"([-+]?\d{1,10}(?:\.\d{0,9})?)\s*(?:s|sec|secs|seconds?)?")
_ABSENT: Final = frozenset({"", "none", "null", "n/a", "na", "unknown"})


@dataclass
class _RawTrace:
    """The words of one trace, before anything is believed."""

    box: str | None = None
    onset: str | None = None
    explanation: str | None = None

    def check(self, space: Space, flags: list[str]) -> Trace:
        bbox = onset = None
        if self.box is not None and self.box.strip().lower() not in _ABSENT:
            bbox = _read_box(self.box, space)
            if bbox is None:
                flags.append(BBOX_INVALID)
        if self.onset is not None and self.onset.strip().lower() not in _ABSENT:
            onset = read_seconds(self.onset)
            if onset is None:
                flags.append(ONSET_INVALID)
        words = " ".join((self.explanation or "").split()) or None
        return Trace(bbox_xyxy=bbox, onset_seconds=onset, explanation=words)


def _read_box(text: str, space: Space) -> Box | None:
    numbers = [float(number) for number in _NUMBER.findall(text[:400])]
    if len(numbers) != 4:
        return None
    try:
        return space.decode((numbers[0], numbers[1], numbers[2], numbers[3]))
    except RecordError:
        return None


def read_seconds(text: str) -> float | None:
    """A time that a person or a model would write: ``1.2``, ``2s``, ``1.2 seconds``, ``0:02``, ``0:00:02.5``.

    Seconds, finite and not negative; None for anything else.
    """
    cleaned = text.strip().strip("[]()\"'`").strip().removesuffix(".").lower()
    clock = _CLOCK.fullmatch(cleaned)
    plain = _PLAIN_SECONDS.fullmatch(cleaned)
    if clock is not None:
        hours, minutes, seconds = clock.groups()
        value = 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds)
    elif plain is not None:
        value = float(plain[1])
    else:
        return None
    try:
        return check_number(value, "onset_seconds", low=0.0)
    except RecordError:
        return None


# One trace in the trained answer's words. Every gap is bounded, so that matching stays linear.
_PART: Final = re.compile(
    r"The unnatural part is"
    r"(?:\s{1,3}at\s{0,3}(?P<box>[\[(][^\])\n]{0,200}[\])]))?"
    r"(?:,?\s{0,3}starting(?:\s{1,3}at)?\s{1,3}(?P<onset>[\d:.+-]{1,20})\s{0,3}(?:seconds?|s)?)?"
    r"\s{0,3}\.?",
    re.IGNORECASE,
)
_REASON: Final = re.compile(r"\s{0,3}The reason is (?:because|that)[ \t]?", re.IGNORECASE)
_OPENING: Final = re.compile(r"The unnatural part is|The reason is (?:because|that)", re.IGNORECASE)


def _read_sentences(text: str) -> list[_RawTrace]:
    """Traces in the trained answer's sentences. A line that opens no trace continues the explanation before it."""
    traces: list[_RawTrace] = []
    for number, line in enumerate(text.split("\n")):
        # Only the first line has words before its trace ("The video is AI-generated."); elsewhere a trace begins one,
        # so that an explanation may quote the sentence without opening a trace.
        opening = _OPENING.search(line) if number == 0 else _OPENING.match(line.lstrip())
        if opening is None:
            if traces and line.strip():
                traces[-1].explanation = f"{traces[-1].explanation or ''} {line}"
            continue
        here = line[opening.start() :] if number == 0 else line.lstrip()
        trace = _RawTrace()
        part = _PART.match(here)
        if part is not None:
            trace.box, trace.onset = part["box"], part["onset"]
            here = here[part.end() :]
        reason = _REASON.match(here)
        if reason is not None:
            trace.explanation = here[reason.end() :]
        traces.append(trace)
    return traces


_TAG: Final = re.compile(r"<(/?)(coordinates|start_time|explanation)>", re.IGNORECASE | re.ASCII)
_FIELD: Final = {"coordinates": "box", "start_time": "onset", "explanation": "explanation"}


def _read_tags(text: str) -> list[_RawTrace]:
    """Traces in the zero-shot answer's tags. A tag seen before opens the next trace; a tag cut off runs to the end."""
    traces: list[_RawTrace] = []
    tags = list(_TAG.finditer(text))
    for index, tag in enumerate(tags):
        if tag[1]:
            continue
        end = tags[index + 1].start() if index + 1 < len(tags) else len(text)
        name = _FIELD[tag[2].lower()]
        if not traces or getattr(traces[-1], name) is not None:
            traces.append(_RawTrace())
        setattr(traces[-1], name, text[tag.end() : end])
    return traces
