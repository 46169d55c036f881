"""What a question asks for: which fields of a trace its answers can carry, told from what a row says of its making."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeptrace.answer import FIELDS, FORMAT_VERSIONS, FORMATS, QUESTIONS, check_format
from deeptrace.errors import RecordError
from deeptrace.measures.video import Fields
from deeptrace.models import DECLARED_FIELDS
from deeptrace.records import Origin


def format_of(origin: Origin) -> str | None:
    """The answer format that a row names, or that its question belongs to; None where the model is asked nothing.

    Raises:
        AnswerError: a format, or a version of it, that this code does not read.
        RecordError: the row has a question, and neither it nor its sampling says which format answers it.
    """
    sampling = origin.sampling or {}
    name = sampling.get("format")
    if name is not None:
        check_format(str(name), sampling.get("format_version", FORMAT_VERSIONS.get(str(name), 0)))
        return str(name)
    if origin.question is None:
        return None
    if origin.question in FORMATS:
        return origin.question
    for known, question in QUESTIONS.items():
        if origin.question == question:
            return known
    raise RecordError("question", f"{origin.question[:60]!r} is not one of ours, and sampling.format is missing")


def fields_of(origin: Origin) -> Fields | None:
    """The fields that the question behind a row asks for; None where the model is asked nothing.

    Raises:
        AnswerError, RecordError: see `format_of`.
    """
    name = format_of(origin)
    return None if name is None else FORMATS[name].fields


def declared_fields(model: str | None, settings: Mapping[str, Any]) -> Fields | None:
    """The fields that a model which is asked nothing says it is able to give; None where nobody says.

    From its ``run.json``, or for a model of ours by its name.
    """
    listed = settings.get("fields")
    if isinstance(listed, list):
        return frozenset(field for field in FIELDS if field in listed)
    own = DECLARED_FIELDS.get(model or "")
    return None if own is None else frozenset(own)
