"""Writing answers: what a format can carry of traces, and the text that a record deserves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final, Protocol

from deeptrace.answer.formats import AnswerFormat, Format, known_format
from deeptrace.answer.in_text import TAG
from deeptrace.answer.space import Space
from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import AnswerError
from deeptrace.records import Box, RecordLabel, Trace

MAX_EXPLANATION_CHARACTERS: Final = 4_000
MAX_ONSET_SECONDS: Final = 1e9
"""What `project` keeps of an explanation and of a time, so that two hundred traces can be read back."""

# What a reader takes for the end of reasoning, the frame of an answer, or a field of it.
_CONTROL: Final = re.compile(
    r"</?(?:think|thinking|(?:final_)?(?:answer|output|response)|label|verdict|result|s)>|<\|[a-z_]{1,40}\|>"
    r"|\\(?=(?:boxed|fbox)\s?\{)",
    re.IGNORECASE | re.ASCII,
)
_CONTROL_AND_TAGS: Final = re.compile(f"{_CONTROL.pattern}|{TAG.pattern}", re.IGNORECASE | re.ASCII)


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


# ── what is left of a trace ─────────────────────────────────────────────────────────────────────────────────────────


def project(traces: Iterable[Trace], format: Format, space: Space) -> tuple[Trace, ...]:
    """What is left of traces after a round trip through text: the fields that the format carries.

    Boxes are rounded to whole units of the space, times to 0.1 s, explanations to one line without the readers' own
    tags of at most `MAX_EXPLANATION_CHARACTERS`; categories come in the order of `CATEGORIES`, each once. A time from
    `MAX_ONSET_SECONDS` on is dropped, and an offset that is not after its onset any more. A trace of which nothing is
    left is dropped. Ordered by onset; traces without one come last.

    Raises:
        AnswerError: the format does not exist.
    """
    answer_format = known_format(format)
    projections = (_project_one(trace, answer_format, space) for trace in traces)
    nonempty = [trace for trace in projections if trace != Trace()]
    return tuple(
        sorted(nonempty, key=lambda trace: float("inf") if trace.onset_seconds is None else trace.onset_seconds)
    )


def _project_one(trace: Trace, format: AnswerFormat, space: Space) -> Trace:
    fields = format.fields
    onset = _rounded(trace.onset_seconds) if "onset" in fields else None
    offset = _rounded(trace.offset_seconds) if "offset" in fields else None
    if offset is not None and offset <= (onset or 0.0):
        offset = None
    box = trace.bbox_xyxy if "box" in fields else None
    return Trace(
        bbox_xyxy=None if box is None else space.decode(space.encode(box)),
        onset_seconds=onset,
        offset_seconds=offset,
        categories=_ordered(trace.categories) if "category" in fields else None,
        explanation=_one_line(trace.explanation, format) if "explanation" in fields else None,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None or seconds >= MAX_ONSET_SECONDS else float(_seconds(seconds))


def _seconds(value: float) -> str:
    return f"{value:.1f}"


def _ordered(categories: tuple[Category, ...] | None) -> tuple[Category, ...] | None:
    return tuple(name for name in CATEGORIES if name in (categories or ())) or None


def _one_line(text: str | None, format: AnswerFormat) -> str | None:
    if text is None:
        return None
    marks = _CONTROL if format.is_json or format.form == "trained" else _CONTROL_AND_TAGS
    # Cut first: a tag taken out can leave another one, and a long text of them must not take long.
    line = " ".join(text.split())[: 2 * MAX_EXPLANATION_CHARACTERS]
    while (stripped := marks.sub(" ", line)) != line:
        line = stripped
    return " ".join(line.split())[:MAX_EXPLANATION_CHARACTERS].rstrip() or None


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def render(item: Labelled, format: Format, space: Space) -> str:
    """The answer that this record or verdict stands for.

    A fake's traces follow each other, ordered by onset; with one trace, `trained` is the paper's answer word for word.
    What a trace does not say is left out. The probability of a verdict is written where the format asks for it.

    Raises:
        AnswerError: no such format, the label is neither fake nor real, or a video labelled real has traces.
    """
    answer_format = known_format(format)
    if item.label not in ("fake", "real"):
        raise AnswerError(f"label {item.label!r} cannot be rendered: an answer says fake or real")
    if item.label == "real" and item.traces:
        raise AnswerError("a video labelled real has traces: there is no answer that says both")
    traces = project(item.traces, format, space)
    if answer_format.is_json:
        return _as_json(item, traces, answer_format, space)
    if answer_format.form == "trained":
        return _in_sentences(item, traces, space)
    if item.label == "real":
        return "REAL"
    return "\n".join(["FAKE", *(_in_tags(trace, answer_format, space) for trace in traces)])


def _box_text(bbox: Box, space: Space) -> str:
    return "[" + ", ".join(map(str, space.encode(bbox))) + "]"


def _in_sentences(item: Labelled, traces: tuple[Trace, ...], space: Space) -> str:
    if item.label == "real":
        return "REAL. The video is real. There is no unnatural part."
    lines = "\n".join(_sentence(trace, space, after) for trace, after in zip(traces, [None, *traces], strict=False))
    return f"FAKE. The video is AI-generated. {lines}".rstrip()


def _has_place(trace: Trace) -> bool:
    return trace.bbox_xyxy is not None or trace.onset_seconds is not None


def _sentence(trace: Trace, space: Space, after: Trace | None) -> str:
    where = "" if trace.bbox_xyxy is None else f" at {_box_text(trace.bbox_xyxy, space)}"
    when = "" if trace.onset_seconds is None else f" starting {_seconds(trace.onset_seconds)} seconds"
    parts = [f"The unnatural part is{where}{when}."] if where or when else []
    if trace.categories:
        parts.append(f"The category is {', '.join(trace.categories)}.")
    if trace.explanation is not None:
        parts.append(f"The reason is because {trace.explanation}")
    # A reason on a line of its own is read as that of the trace before it.
    another = "Another unnatural part: " if after is not None and _has_place(after) and not _has_place(trace) else ""
    return another + " ".join(parts)


def _in_tags(trace: Trace, format: AnswerFormat, space: Space) -> str:
    box = "" if trace.bbox_xyxy is None else _box_text(trace.bbox_xyxy, space)
    onset = "" if trace.onset_seconds is None else _seconds(trace.onset_seconds)
    parts = {
        "box": f"<coordinates>{box}</coordinates>",
        "onset": f"<start_time>{onset}</start_time>",
        "category": f"<category>{', '.join(trace.categories or ())}</category>",
        "explanation": f"<explanation>{trace.explanation or ''}</explanation>",
    }
    return " ".join(part for field, part in parts.items() if field in format.fields)


def _as_json(item: Labelled, traces: tuple[Trace, ...], format: AnswerFormat, space: Space) -> str:
    answer: dict[str, Any] = {"label": "FAKE" if item.label == "fake" else "REAL"}
    p_fake = getattr(item, "p_fake", None)
    if format.probability and p_fake is not None:
        answer["fake_probability"] = round(p_fake, 3)
    # A fake without any trace leaves the list out: an empty one would say that there is none.
    if format.fields and (traces or item.label == "real"):
        answer["traces"] = [_trace_object(trace, space) for trace in traces]
    return json.dumps(answer, ensure_ascii=False, allow_nan=False)


def _trace_object(trace: Trace, space: Space) -> dict[str, Any]:
    several = trace.categories is not None and len(trace.categories) > 1
    values = {
        "box": None if trace.bbox_xyxy is None else list(space.encode(trace.bbox_xyxy)),
        "start_seconds": trace.onset_seconds,
        "end_seconds": trace.offset_seconds,
        "category": (list(trace.categories) if several else trace.categories[0]) if trace.categories else None,
        "explanation": trace.explanation,
    }
    return {name: value for name, value in values.items() if value is not None}
