"""The page of ``deeptrace inspect``: videos and their outcomes go in, a folder with ``index.html`` comes out.

The folder can be opened from disk, moved and shared: links are relative, and nothing is loaded from a network. What is
shown of a clip is written by `deeptrace.pages.media`; this file writes the page around it. The page's script makes a
clip's row when it is scrolled to and its player when it is opened, so that ten thousand clips open as fast as ten.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from deeptrace import __version__, files
from deeptrace.categories import MEANINGS
from deeptrace.characters import visible
from deeptrace.pages import html, overlay
from deeptrace.pages.media import Media, MediaFolder, ReportItem, span
from deeptrace.pages.sentences import (
    STATUSES,
    Status,
    chip_text,
    conclusion_words,
    distinct_names,
    doubt,
    highlight_words,
    prior_words,
    sentence,
    status_of,
    threshold_words,
    time_words,
    trace_name,
)
from deeptrace.pages.words import place_words
from deeptrace.records import Failed, Highlight, Origin, Outcome, Trace, Unparsed, Verdict
from deeptrace.video import ReadLimits

__all__ = ["ReportItem", "ReportWriter", "sentence", "write_report"]

MAX_TRACES: Final = 60
"""Traces shown per clip; a model that says more is cut off, and the page says so."""

CHUNK: Final = 50
"""Clips whose details stand in one element; the script reads one such element at a time."""

MAX_HIGHLIGHTS: Final = 12

MAX_PLAIN: Final = 500
"""Clips in the plain list that a browser without script shows."""

_MAX_TEXT: Final = 20_000
_MAX_EXPLANATION: Final = 3_000
_MAX_FLAGS: Final = 40
_NOT_YET: Final = "The run was interrupted before its pictures were written; the same command goes on."


@dataclass(frozen=True)
class _Clip:
    """One clip as the page shows it."""

    number: int
    name: str
    outcome: Outcome
    media: Media
    traces: tuple[Trace, ...] = ()
    colors: tuple[int, ...] = ()

    @property
    def status(self) -> Status:
        return status_of(self.outcome)

    @property
    def chip(self) -> str:
        return chip_text(self.outcome) if isinstance(self.outcome, Verdict) else self.status.upper()

    @property
    def lanes(self) -> tuple[int, ...]:
        """The row of each trace in the timeline: the first one that is free at its onset."""
        ends: list[float] = []
        rows: list[int] = []
        for trace in self.traces:
            start, end = span(trace, self.media.duration_seconds)
            row = next((i for i, lane_end in enumerate(ends) if lane_end <= start), len(ends))
            ends[row : row + 1] = [end]
            rows.append(row)
        return tuple(rows)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_report(
    items: Sequence[ReportItem],
    out_dir: str | os.PathLike[str],
    *,
    title: str = "Inspection report",
    command: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    limits: ReadLimits | None = None,
) -> Path:
    """Write the report of a run into ``out_dir`` (made where it is missing) and return the path of its page.

    ``media/`` gets per clip a copy that any browser plays (H.264, without sound, at most 720 pixels on the short
    side), for a verdict with traces also the copy with its boxes drawn, and two still pictures; what an earlier report
    left there goes. ``command`` is shown on the page. ``progress(done, total)`` is called after each clip. ``limits``
    bound the reading of each clip. A file that is no longer the one that was judged (by its SHA-256) is not shown, and
    the page says so; see `ReportWriter.changed`.

    Raises:
        FileError: the folder cannot be made or the page not written. A clip that cannot be read is no error: the
            page shows why.
    """
    with ReportWriter(out_dir, title=title, command=command, limits=limits) as report:
        for item in items:
            report.add(item)
        for done in report.wait():
            if progress:
                progress(done, len(items))
        return report.write_page(sweep=True)


class ReportWriter:
    """A report that grows: `add` a clip as soon as its outcome is there, `write_page` whenever the page is wanted.

    The pictures of ``threads`` clips are written at once, in threads of this process. A context manager; leaving it
    ends what is still being written.

    Raises:
        FileError: the folder cannot be made.
    """

    def __init__(
        self,
        out_dir: str | os.PathLike[str],
        *,
        title: str = "Inspection report",
        command: str | None = None,
        limits: ReadLimits | None = None,
        threads: int = 1,
    ) -> None:
        self._folder, self._title, self._command = Path(out_dir), title, command
        self._media = MediaFolder(self._folder / html.MEDIA_NAME, limits=limits)
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="deeptrace-report")
        self._items: list[tuple[ReportItem, Future[Media]]] = []

    def __enter__(self) -> ReportWriter:
        return self

    def __exit__(self, *_: object) -> None:
        # Not waited for: when the run was interrupted, a copy under way must not hold it up.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def add(self, item: ReportItem) -> None:
        """One more clip. Its pictures are written from now on."""
        self._items.append((item, self._pool.submit(self._media.write, item, len(self._items) + 1)))

    def wait(self) -> Iterator[int]:
        """How many clips have their pictures, from 1 on, each number as soon as it is reached."""
        for done, (_, future) in enumerate(self._items, 1):
            future.result()
            yield done

    @property
    def changed(self) -> list[str]:
        """The clips, by name, whose file was another one when it was to be shown than when it was judged."""
        return [clip.name for clip in self._clips() if clip.media.changed]

    def write_page(self, *, sweep: bool = False) -> Path:
        """Write ``index.html`` of the clips added so far, and return its path.

        A clip whose pictures are not there yet is shown without. ``sweep``: take the pictures of clips that are not on
        the page out of the folder.

        Raises:
            FileError: the page cannot be written.
        """
        clips = self._clips()
        page = self._folder / html.PAGE_NAME
        files.write_text(page, _page(clips, self._title, self._command))
        if sweep:
            self._media.sweep(clip.media for clip in clips)
        return page

    def _clips(self) -> list[_Clip]:
        items = [item for item, _ in self._items]
        names = _clip_names(items)
        clips = []
        for number, (item, future) in enumerate(self._items, 1):
            ready = future.done() and not future.cancelled()
            media = future.result() if ready else Media(error=_NOT_YET)
            traces = item.outcome.traces[:MAX_TRACES] if isinstance(item.outcome, Verdict) else ()
            colors = overlay.trace_colors(traces)
            clips.append(_Clip(number, names[number - 1], item.outcome, media, traces, colors))
        return clips


def _clip_names(items: Sequence[ReportItem]) -> list[str]:
    """What to call the clips: the last part of the path, with folders only as far as they tell two files apart."""
    paths = [item.path.replace("\\", "/") for item in items]
    return [
        name or item.outcome.origin.video_id or f"clip {number}"
        for number, (item, name) in enumerate(zip(items, distinct_names(paths), strict=True), 1)
    ]


# ── page ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _page(clips: Sequence[_Clip], title: str, command: str | None) -> str:
    counts = Counter(dict.fromkeys(STATUSES, 0))
    counts.update(clip.status for clip in clips)
    leaning = Counter(
        clip.outcome.label for clip in clips if isinstance(clip.outcome, Verdict) and clip.outcome.uncertain
    )
    return html.render(
        "report.html.j2",
        style=_palette_css() + html.asset("report.css"),
        script='"use strict";\n' + html.asset("timing.js") + html.asset("report.js"),
        data={"meanings": MEANINGS, "clips": [_row_data(clip) for clip in clips]},
        details=[
            html.json_for_script([_detail_data(clip) for clip in clips[start : start + CHUNK]])
            for start in range(0, len(clips), CHUNK)
        ],
        title=title,
        command=command,
        clips=clips,
        plain=clips[:MAX_PLAIN],
        counts=counts,
        leaning=leaning,
        partial=sum(clip.outcome.origin.partial for clip in clips),
        changed=sum(clip.media.changed for clip in clips),
        facts=_facts(clips),
        statuses=STATUSES,
        conclusion_words=conclusion_words,
        sentence=sentence,
        doubt=doubt,
        time_words=time_words,
        place_words=place_words,
        trace_name=trace_name,
        max_explanation=_MAX_EXPLANATION,
    )


def _palette_css() -> str:
    rules = (f".c{i}{{--c:#{r:02x}{g:02x}{b:02x}}}" for i, (r, g, b) in enumerate(overlay.PALETTE))
    return "".join(rules) + "\n"


def _facts(clips: Sequence[_Clip]) -> list[tuple[str, str]]:
    """What made the run, once: each fact with its values over all clips, joined where they differ."""
    outcomes = [clip.outcome for clip in clips]
    origins = [outcome.origin for outcome in outcomes]
    columns = {
        "Model": [origin.model for origin in origins],
        "Revision": [origin.revision for origin in origins],
        "Question": [origin.question for origin in origins],
        "Sampling": [_sampling_words(origin.sampling) if origin.sampling else None for origin in origins],
        "Outcome": [threshold_words(outcomes)],
        "Prior": [prior_words(outcomes)],
    }
    facts = [(name, " · ".join(dict.fromkeys(value for value in values if value))) for name, values in columns.items()]
    made_by = (
        f"deeptrace {__version__}, PyAV {metadata.version('av')}, OpenCV {cv2.__version__}, NumPy {np.__version__}"
    )
    facts.append(("Versions", f"{made_by}, Python {platform.python_version()}"))
    return [(name, html.shorten(value, 600)) for name, value in facts if value]


_OF_ONE_CLIP: Final = frozenset(
    {"answer_tokens", "crop_problems", "crops", "frame_bytes", "frame_hw", "frames_sent", "grid_thw",
     "label_logprobs", "label_token_p_fake", "media_type", "no_p_fake", "prompt_tokens", "resized_hw", "sampled_fps",
     "second_look", "video_bytes", "video_fps"}
)  # fmt: skip
"""Of a row's ``sampling``: what differs from clip to clip, and is no setting."""


def _sampling_words(sampling: Mapping[str, Any]) -> str:
    wordings = {"fps": "{:g} frames per second", "max_frames": "at most {} frames", "short_side": "short side {} px"}
    sampling = {key: value for key, value in sampling.items() if key not in _OF_ONE_CLIP}
    samples = sampling.get("samples")
    if isinstance(samples, Mapping):  # how often it was asked, and how; the votes are the clip's
        sampling |= {key: samples.get(key) for key in ("samples", "temperature", "seed")}
    space = sampling.get("space")
    if isinstance(space, Mapping):
        size = "" if space.get("width") is None else f" of {space['width']} x {space['height']}"
        sampling["space"] = f"{space.get('kind')}{size}"
    pairs = ((key, value) for key, value in sampling.items() if value is not None)
    return ", ".join(
        wordings[key].format(value) if key in wordings and isinstance(value, (int, float)) else f"{key} {value}"
        for key, value in pairs
    )


# ── what the script reads ───────────────────────────────────────────────────────────────────────────────────────────


def _text(value: str, limit: int) -> str:
    """Text from outside for the script, which sets it as text: every character that acts is shown by its name."""
    return visible(html.shorten(value, limit))


def _row_data(clip: _Clip) -> dict[str, Any]:
    """What a clip's row in the list needs, and what the filters and the search look at."""
    outcome, media = clip.outcome, clip.media
    row = {
        "name": _text(clip.name, 160),
        "status": clip.status,
        "chip": clip.chip,
        "sentence": _text(sentence(outcome), 1000),
        "p": outcome.p_fake if isinstance(outcome, Verdict) else None,
        "thumb": media.thumb,
        "size": [media.width, media.height],
        "partial": outcome.origin.partial,
        "changed": media.changed,
    }
    return {key: value for key, value in row.items() if value not in (None, False)}


def _detail_data(clip: _Clip) -> dict[str, Any]:
    """What an opened clip needs besides its row."""
    outcome, media, origin = clip.outcome, clip.media, clip.outcome.origin
    detail: dict[str, Any] = {
        "doubt": doubt(outcome),
        "video": media.video,
        "overlay": media.overlay,
        "poster": media.poster,
        "picture": None if media.error is None else _text(media.error, 600),
        "note": _size_words(media),
        "partial": _partial_words(origin) if origin.partial else None,
        "traces": [_trace_data(clip, index) for index in range(len(clip.traces))],
        "about": [[name, _text(value, 300)] for name, value in _about(clip) if value],
    }
    if media.video is not None:
        detail |= _timing(media)
    match outcome:
        case Verdict():
            detail["thresholds"] = outcome.thresholds
            detail["highlights"] = [_highlight_data(part) for part in outcome.highlights[:MAX_HIGHLIGHTS]]
            detail["flags"] = [_text(flag, 200) for flag in outcome.flags[:_MAX_FLAGS]]
            detail["more"] = f"Only the first {MAX_TRACES} are shown." if len(outcome.traces) > MAX_TRACES else None
            detail["text"] = _text(outcome.text, _MAX_TEXT) if outcome.text else None
        case Unparsed():
            detail |= {"reason": _text(outcome.reason, 600), "text": _text(outcome.text, _MAX_TEXT)}
        case Failed():
            detail |= {"code": _text(outcome.code, 60), "reason": _text(outcome.reason, 600)}
    return {key: value for key, value in detail.items() if value is not None}


def _timing(media: Media) -> dict[str, Any]:
    """The times of the copy's frames: one rate for a steady clip, else all of them, in seconds."""
    times = media.pts_seconds
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 25.0
    steady = all(abs(time - k / rate) < 5e-4 for k, time in enumerate(times))
    return {
        "duration": round(media.duration_seconds, 6),
        "count": len(times),
        "times": round(rate, 6) if steady else [round(time, 4) for time in times],
        "still": media.still_seconds,
    }


def _trace_data(clip: _Clip, index: int) -> dict[str, Any]:
    trace = clip.traces[index]
    box = trace.bbox_xyxy
    where = place_words(box) if box else "moving box" if trace.track else "no place given"
    return {
        "name": trace_name(trace),
        "categories": trace.categories or (),
        "color": clip.colors[index],
        "lane": clip.lanes[index],
        "confidence": trace.confidence,
        "onset": trace.onset_seconds,
        "offset": trace.offset_seconds,
        "box": None if box is None else [round(side, 4) for side in box],
        "track": trace.track
        and [
            (round(key.time_seconds, 4), key.bbox_xyxy and [round(side, 4) for side in key.bbox_xyxy], key.visible)
            for key in trace.track
        ],
        "when": time_words(trace),
        "where": where,
        "why": _text(trace.explanation, _MAX_EXPLANATION) if trace.explanation else None,
    }


def _highlight_data(part: Highlight) -> dict[str, Any]:
    box = part.bbox_xyxy
    return {
        "from": part.start_seconds,
        "to": part.end_seconds,
        "box": None if box is None else [round(side, 4) for side in box],
        "words": highlight_words(part),
    }


def _size_words(media: Media) -> str:
    size = f"{media.width}×{media.height}"
    if media.source_hw is not None and media.source_hw != (media.height, media.width):
        size = f"Shown at {size}; the original is {media.source_hw[1]}×{media.source_hw[0]}"
    return f"{size}. A copy without sound."


def _partial_words(origin: Origin) -> str:
    if origin.frames_decoded is None or origin.frames_declared is None:
        return "part of the video could not be read."
    return f"{origin.frames_decoded} of {origin.frames_declared} frames could be read, or some are damaged."


def _about(clip: _Clip) -> list[tuple[str, str | None]]:
    origin, outcome = clip.outcome.origin, clip.outcome
    decoded, declared = origin.frames_decoded, origin.frames_declared
    frames = None if decoded is None else f"{decoded}" + ("" if declared is None else f" of {declared} declared")
    parts = [("P(fake) before calibration", "p_fake_raw"), ("P(a trace is there)", "p_trace")]
    parts += [("P(the whole clip is generated)", "p_generated")]
    numbers = [(name, getattr(outcome, key, None)) for name, key in parts]
    return [
        ("File", clip.name),
        ("Id", origin.video_id),
        ("SHA-256", origin.sha256),
        ("Frames read", frames),
        ("Model", origin.model and (f"{origin.model} at {origin.revision}" if origin.revision else origin.model)),
        *((name, None if number is None else f"{number:.2f}") for name, number in numbers),
        ("Calibration", outcome.calibration if isinstance(outcome, Verdict) else None),
    ]
