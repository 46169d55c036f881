"""What a model is asked, format by format. The paper's two questions stand here word for word (arXiv 2509.22646)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deeptrace.answer.formats import FORMATS, AnswerFormat, Field, Format, known_format
from deeptrace.answer.space import Space
from deeptrace.categories import CATEGORIES
from deeptrace.errors import AnswerError
from deeptrace.records import Frames

FACTS: Final = "{facts}"
COORDINATES: Final = "{coordinates}"
"""Where a question says what is shown, and in which coordinates the answer is wanted; see `question`."""

_CATEGORY_NAMES: Final = ", ".join(CATEGORIES)


@dataclass(frozen=True)
class ShownFrames:
    """What an informed question says of what is shown.

    ``width`` and ``height``: pixels of the displayed video. ``times_seconds``: of the frames, in order.
    ``times_beside_frames``: the prompt itself has a time beside each frame; else the question lists them.
    """

    width: int
    height: int
    times_seconds: tuple[float, ...]
    duration_seconds: float | None = None
    times_beside_frames: bool = False

    @classmethod
    def of(cls, frames: Frames, *, times_beside_frames: bool = False) -> ShownFrames:
        """What there is to say of these frames: width and height in source pixels, times and length in seconds."""
        height, width = frames.source_hw
        times = tuple(frames.pts_seconds.tolist())
        return cls(width, height, times, frames.duration_seconds, times_beside_frames)

    def in_words(self) -> str:
        """One or two sentences."""
        long = "" if self.duration_seconds is None else f" and {self.duration_seconds:.1f} seconds long"
        count = len(self.times_seconds)
        what = "1 of its frames" if count == 1 else f"{count} of its frames"
        if self.times_beside_frames:
            when = ", each with its time in seconds beside it"
        else:
            when = f", shown at {', '.join(f'{time:.1f}' for time in self.times_seconds)} seconds"
        return f"The video is {self.width} x {self.height} pixels{long}. You see {what}{when}."


def question(format: Format, space: Space, shown_frames: ShownFrames | None = None, *, words: str | None = None) -> str:
    """The words to put to a model. ``<video>`` in them stands where the frames go; without it they come first.

    ``words`` takes the place of the format's own (``{facts}`` and ``{coordinates}`` in it are filled in). Only the
    paper's own questions say neither what is shown nor what the coordinates are.

    Raises:
        AnswerError: no such format, or a question that says what is shown, without ``shown_frames``.
    """
    known_format(format)
    text = (QUESTIONS[format] if words is None else words).replace(COORDINATES, space.in_words())
    if space.is_y_first:
        text = text.replace("[x0, y0, x1, y1]", "[y0, x0, y1, x1]")
    if shown_frames is not None:
        return text.replace(FACTS, shown_frames.in_words())
    if FACTS in text:
        raise AnswerError(f"the question {format!r} says what is shown: it needs the frames' size and times")
    return text


def _listed(items: Sequence[str]) -> str:
    """Items as the paper's questions list them: "a", "a and b", "a, b, and c"."""
    if len(items) < 3:
        return " and ".join(items)
    return f"{', '.join(items[:-1])}, and {items[-1]}"


def _chosen(format: AnswerFormat, words: dict[Field, str]) -> list[str]:
    return [text for field, text in words.items() if field in format.fields]


def _trained(format: AnswerFormat) -> str:
    them = "them" if "box" in format.fields else "the unnatural parts"
    items = _chosen(
        format,
        {
            "box": "the coordinates of the unnatural parts in [x0, y0, x1, y1] format",
            "onset": f"the starting time of {them}",
            "category": f"the category of {them} (one of {_CATEGORY_NAMES})",
            "explanation": "an explanation",
        },
    )
    provide = f", and provide {_listed(items)}" if items else ""
    return (
        "<video> Decide whether the video is AI-generated or real by detecting unnatural parts. If you don't detect "
        "any unnatural parts and think the video is real, reply with REAL. Otherwise, if you detect any, reply with "
        f"FAKE{provide}."
    )


def _zero_shot(format: AnswerFormat) -> str:
    items = _chosen(
        format,
        {
            "box": "the area coordinates in [x0, y0, x1, y1] format",
            "onset": "the starting time of when you think it becomes fake",
            "category": f"the category of the fake part (one of {_CATEGORY_NAMES})",
            "explanation": "an explanation",
        },
    )
    tags = _chosen(
        format,
        {
            "box": "<coordinates> </coordinates>",
            "onset": "<start_time> </start_time>",
            "category": "<category> </category>",
            "explanation": "<explanation> </explanation>",
        },
    )
    provide = f" and provide {_listed(items)}. Encapsulate your answers using {_listed(tags)}" if items else ""
    return (
        "Decide whether the video is AI-generated or real. If you think it is real, reply 'REAL'. Otherwise, reply "
        f"'FAKE'{provide}."
    )


_TASK: Final = (
    "Decide whether the video was filmed by a camera or generated by AI, by looking for fake traces: things that a "
    "person would notice as unnatural, such as a body that bends wrongly, something that vanishes, appears, melts into "
    "something else or divides, a path that nothing could take, or a part that smears."
)


def _informed(format: AnswerFormat) -> str:
    items = _chosen(
        format,
        {
            "box": f"<coordinates>[x0, y0, x1, y1]</coordinates>, its box when it first shows ({COORDINATES})",
            "onset": "<start_time>S</start_time>, the second from the start of the video at which it first shows",
            "category": f"<category>C</category>, which is one of {_CATEGORY_NAMES}",
            "explanation": "<explanation>E</explanation>, what is unnatural about it, in one sentence",
        },
    )
    items_text = f" and then, for each fake trace in the order of time: {'; '.join(items)}" if items else ""
    return f"{FACTS} {_TASK} If there is none, reply with REAL. Otherwise, reply with FAKE{items_text}."


def _json(format: AnswerFormat) -> str:
    keys = _chosen(
        format,
        {
            "box": '"box": [x0, y0, x1, y1]',
            "onset": '"start_seconds": S',
            "offset": '"end_seconds": E',
            "category": '"category": C',
            "explanation": '"explanation": T',
        },
    )
    meanings = _chosen(
        format,
        {
            "box": f'"box" is the box of the trace when it first shows ({COORDINATES})',
            "onset": "S is the second from the start of the video at which it first shows",
            "offset": "E is the second at which it is gone",
            "category": f"C is one of {_CATEGORY_NAMES}",
            "explanation": "T is what is unnatural about it, in one sentence",
        },
    )
    probability = '"fake_probability": P, ' if format.probability else ""
    traces = f', {probability}"traces": [{{{", ".join(keys)}}}]' if keys else f", {probability}".removesuffix(", ")
    if format.probability:
        meanings.append("P is the probability from 0 to 1 that the video is generated")
    where = f", where {'; '.join(meanings)}" if meanings else ""
    several = ' List every fake trace in the order of time; for a real video "traces" is [].' if keys else ""
    facts = f"{FACTS} " if format.is_informed else ""
    return (
        f'{facts}{_TASK} Answer with one JSON object and nothing else: {{"label": "REAL" or "FAKE"{traces}}}{where}.'
        f"{several}"
    )


_WRITERS: Final = {
    "trained": _trained,
    "zero-shot": _zero_shot,
    "informed": _informed,
    "json": _json,
    "informed-json": _json,
}

QUESTIONS: Final[dict[Format, str]] = {name: _WRITERS[format.form](format) for name, format in FORMATS.items()}
"""The words of each format's question, as they stand in rows. `question` fills in what differs from video to video."""
