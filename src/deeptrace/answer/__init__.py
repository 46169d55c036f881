"""Questions to a model and answers from it: the only room that knows what either looks like.

`question` says what a model is asked, `render` writes the answer that a record deserves (for training), `parse` reads
what a model said (at inference), and
``parse(render(record, format, space), format, space).traces == project(record.traces, format, space)``.

Generous about form, strict about meaning: "0:02", "2s", fences and a missing bracket are read; "REAL or FAKE" chooses
nothing and is `Unparsed`. A value that is not valid is dropped and flagged; a contradiction is kept and flagged.
"""

from __future__ import annotations

from deeptrace.answer.formats import FIELDS, FORMAT_VERSIONS, FORMATS, AnswerFormat, Field, Format, check_format
from deeptrace.answer.labels import label_offset
from deeptrace.answer.questions import QUESTIONS, ShownFrames, question
from deeptrace.answer.reading import CUT_OFF, MAX_ANSWER_CHARACTERS, parse
from deeptrace.answer.space import Space
from deeptrace.answer.times import read_seconds
from deeptrace.answer.values import (
    BBOX_CUT,
    BBOX_INVALID,
    BBOX_TOO_THIN,
    BBOX_Y_FIRST,
    CATEGORY_UNKNOWN,
    CONFIDENCE_INVALID,
    EXPLANATION_DISAGREES,
    EXPLANATION_INVALID,
    FAKE_WITHOUT_PLACE,
    KEYS_UNREAD,
    OFFSET_INVALID,
    ONSET_INVALID,
    P_FAKE_DISAGREES,
    P_FAKE_INVALID,
    REAL_WITH_TRACE,
    TEXT_UNREAD,
    TRACE_EMPTY,
)
from deeptrace.answer.writing import MAX_EXPLANATION_CHARACTERS, MAX_ONSET_SECONDS, Labelled, project, render

__all__ = [
    "BBOX_CUT",
    "BBOX_INVALID",
    "BBOX_TOO_THIN",
    "BBOX_Y_FIRST",
    "CATEGORY_UNKNOWN",
    "CONFIDENCE_INVALID",
    "CUT_OFF",
    "EXPLANATION_DISAGREES",
    "EXPLANATION_INVALID",
    "FAKE_WITHOUT_PLACE",
    "FIELDS",
    "FORMATS",
    "FORMAT_VERSIONS",
    "KEYS_UNREAD",
    "MAX_ANSWER_CHARACTERS",
    "MAX_EXPLANATION_CHARACTERS",
    "MAX_ONSET_SECONDS",
    "OFFSET_INVALID",
    "ONSET_INVALID",
    "P_FAKE_DISAGREES",
    "P_FAKE_INVALID",
    "QUESTIONS",
    "REAL_WITH_TRACE",
    "TEXT_UNREAD",
    "TRACE_EMPTY",
    "AnswerFormat",
    "Field",
    "Format",
    "Labelled",
    "ShownFrames",
    "Space",
    "check_format",
    "label_offset",
    "parse",
    "project",
    "question",
    "read_seconds",
    "render",
]
