"""The fields of one row of the RewardData release: from what is written to a value with a unit, or a `RecordError`.

Every reader takes the value and the field's name. Null and empty mean "not said" and give None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from deeptrace.data.read.tolerant import MAX_ID_CHARS, count_or_none, number_or_none, refuse_bad, show, text_or_none
from deeptrace.errors import RecordError
from deeptrace.records import KeyBox, RecordLabel
from deeptrace.rows import trace_from_json

MAX_SIDE_PX: Final = 65_536
MAX_FPS: Final = 1_000.0
MAX_SECONDS: Final = 1e6

SPLITS: Final = ("train", "val", "test")
_LABELS: Final[Mapping[str, RecordLabel]] = {
    "fake_video": "fake",
    "real_video": "real",
    "unsure_video": "unsure",
    "fake": "fake",
    "real": "real",
    "unsure": "unsure",
}


def label(value: object, field_name: str) -> RecordLabel:
    """fake, real or unsure; a row without is at fault."""
    text = text_or_none(value, field_name)
    if text is None:
        raise RecordError(field_name, "is missing; the label is not known")
    if text not in _LABELS:
        raise RecordError(field_name, f"{show(text)} is not fake_video or real_video")
    return _LABELS[text]


def _split(value: object, field_name: str) -> str | None:
    text = text_or_none(value, field_name)
    if text is not None and text not in SPLITS:
        raise RecordError(field_name, f"{show(text)} is not one of {', '.join(SPLITS)}")
    return text


def _side(value: object, field_name: str) -> int | None:
    return count_or_none(value, field_name, low=1, high=MAX_SIDE_PX)


def _fps(value: object, field_name: str) -> float | None:
    return number_or_none(value, field_name, above=0.0, high=MAX_FPS)


def _num_frames(value: object, field_name: str) -> int | None:
    return count_or_none(value, field_name, low=1)


def seconds(value: object, field_name: str) -> float | None:
    """A length in seconds, above 0 and at most `MAX_SECONDS`."""
    return number_or_none(value, field_name, above=0.0, high=MAX_SECONDS)


VIDEO_FIELDS: Final[Mapping[str, Callable[[object, str], Any]]] = {
    "video_source": text_or_none,
    "split": _split,
    "video_prompt": text_or_none,
    "video_width": _side,
    "video_height": _side,
    "video_frame_rate": _fps,
    "video_frame_count": _num_frames,
    "video_duration": seconds,
}
TRACE_FIELDS: Final = (
    "faketrace_bbox",
    "faketrace_first_frame",
    "faketrace_duration",
    "faketrace_explanations",
    "faketrace_check_applies",
)
KNOWN_FIELDS: Final = frozenset(("video_id", "video_path", "video_type", *VIDEO_FIELDS, *TRACE_FIELDS))
"""Fields with a meaning here. Of the others, those beginning with ``video_`` are kept with the record, if all its rows
agree on them, and the rest with the annotation."""

TRACK_FIELD: Final = "inject_track"
"""Boxes over time, in fractions and seconds: `deeptrace inject` writes it, the release has none."""


def bbox_px(value: object, field_name: str) -> tuple[float, float, float, float] | None:
    """``(x0, y0, x1, y1)`` of an object of left, top, width and height, in pixels, not clipped."""
    refuse_bad(value, field_name)
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        raise RecordError(field_name, f"{show(value)} is not an object of left, top, width, height")
    numbers = []
    for key in ("left", "top", "width", "height"):
        number = number_or_none(value.get(key), field_name)
        if number is None:
            raise RecordError(field_name, f"has no {key}")
        numbers.append(number)
    left, top, width, height = numbers
    if not (width > 0 and height > 0):
        raise RecordError(field_name, f"is empty: {width:g} x {height:g} pixels")
    return (left, top, left + width, top + height)


def track_keys(value: object, field_name: str) -> tuple[KeyBox, ...] | None:
    """The keys of a list of ``time_seconds``, ``bbox_xyxy`` and ``visible``, their times increasing."""
    try:
        return trace_from_json({"track": value}).track
    except RecordError as error:
        raise RecordError(field_name, f"is no track: {error}") from None


def tags(value: object, field_name: str) -> list[str] | None:
    """The raw tags as they were written, or None where there are none."""
    refuse_bad(value, field_name)
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise RecordError(field_name, f"{show(value)} is not a list of tags")
    texts = [text_or_none(tag, field_name) for tag in value]
    return [text for text in texts if text is not None] or None


def frame_index(value: object, field_name: str) -> int | None:
    """The number of a frame, from 0."""
    return count_or_none(value, field_name)


def video_id(value: object, field_name: str) -> str:
    """The id as it is written; any text with something in it is one, up to `MAX_ID_CHARS`."""
    text = text_or_none(value, field_name)
    if text is None:
        raise RecordError(field_name, "is missing or empty")
    if len(text) > MAX_ID_CHARS:
        raise RecordError(field_name, f"is longer than {MAX_ID_CHARS} characters")
    return text
