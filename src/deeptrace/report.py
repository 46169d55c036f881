"""The page of ``deeptrace inspect``: videos and their outcomes go in, a folder with ``index.html`` comes out.

The folder can be opened from disk, moved and shared: links are relative, and nothing is loaded from a network. A
browser never gets the original bytes; every clip is decoded by our reader and written anew. One clip whose pictures
cannot be read or written does not stop the page: it is shown with its error.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace import __version__, files, html, overlay
from deeptrace.categories import MEANINGS
from deeptrace.errors import FileError, VideoCode, VideoError
from deeptrace.overlay import chip_text, time_words
from deeptrace.records import Failed, Frames, Outcome, Trace, Unparsed, Verdict
from deeptrace.words import place_words

__all__ = ["ReportItem", "sentence", "write_report"]

SHORT_SIDE: Final = 720
"""Copies in a report have at most this many pixels on their short side."""

MAX_TRACES: Final = 60
"""Traces shown per clip; a model that says more is cut off, and the page says so."""

THUMB_SHORT_SIDE: Final = 270
_MAX_TEXT: Final = 20_000
_MAX_EXPLANATION: Final = 3_000

Image: TypeAlias = npt.NDArray[np.uint8]
Status = Literal["fake", "real", "unparsed", "failed"]


@dataclass(frozen=True)
class ReportItem:
    """One clip of a report: the video (path, bytes or frames) and what the model said of it."""

    source: str | os.PathLike[str] | bytes | Frames
    outcome: Outcome


@dataclass(frozen=True)
class _Media:
    """What was written for one clip; names are relative to the page. ``error`` is set where there is no picture.

    ``pts_seconds`` are the times of the frames of the copy, ``still_seconds`` that of the still picture.
    """

    video: str | None = None
    overlay: str | None = None
    poster: str | None = None
    thumb: str | None = None
    width: int = 16
    height: int = 9
    source_hw: tuple[int, int] | None = None
    duration_seconds: float = 0.0
    pts_seconds: tuple[float, ...] = ()
    still_seconds: float = 0.0
    error: str | None = None

    @property
    def shrunk(self) -> bool:
        return self.source_hw is not None and self.source_hw != (self.height, self.width)


@dataclass(frozen=True)
class _Clip:
    """One clip as the template reads it."""

    number: int
    name: str
    outcome: Outcome
    media: _Media
    traces: tuple[Trace, ...] = ()
    colors: tuple[int, ...] = ()

    @property
    def status(self) -> Status:
        match self.outcome:
            case Verdict(label=label):
                return label
            case Unparsed():
                return "unparsed"
            case Failed():
                return "failed"

    @property
    def uncertain(self) -> bool:
        return isinstance(self.outcome, Verdict) and self.outcome.uncertain

    @property
    def chip(self) -> str:
        return chip_text(self.outcome) if isinstance(self.outcome, Verdict) else self.status.upper()

    @property
    def lanes(self) -> tuple[int, ...]:
        """The row of each trace in the timeline: the first one that is free at its onset."""
        ends: list[float] = []
        rows: list[int] = []
        for trace in self.traces:
            start, end = _span(trace, self.media.duration_seconds)
            row = next((i for i, taken in enumerate(ends) if taken <= start), len(ends))
            ends[row : row + 1] = [end]
            rows.append(row)
        return tuple(rows)


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _clause(text: str, limit: int = 180) -> str:
    """An explanation as the end of a sentence: one line, not too long, no capital at its start, no full stop."""
    line = " ".join(text.split())
    if len(line) > limit:
        end = line.find(". ", 0, limit)
        line = line[:end] if end > 0 else line[:limit].rstrip() + "…"
    line = line.rstrip(".")
    capital = len(line) > 1 and line[0].isupper() and line[1:2].islower()
    return line[0].lower() + line[1:] if capital or line[:2] in ("A ",) else line


def sentence(outcome: Outcome) -> str:
    """The outcome in one sentence, for example "Looks fake: from 2.0 s to 4.0 s, centre left, a red ball vanishes."."""
    match outcome:
        case Failed(code=code):
            what = "the video could not be read" if code in get_args(VideoCode) else "the model could not be run"
            return f"Not inspected: {what}."
        case Unparsed():
            return "The model answered, but its answer could not be understood."
        case Verdict(label="real", uncertain=uncertain, traces=traces):
            if traces:
                return f"Called real, although {_count(len(traces), 'trace')} of fakery came with the answer."
            return (
                "Leans real, but the evidence supports neither answer."
                if uncertain
                else "Looks real: no fake trace found."
            )
        case Verdict(uncertain=uncertain, traces=traces):
            start = "Leans fake, but the evidence supports neither answer" if uncertain else "Looks fake"
            if not traces:
                whole = outcome.p_generated is not None and outcome.p_generated >= 0.5
                return (
                    f"{start}: the clip as a whole looks generated." if whole else f"{start}; no trace was pointed out."
                )
            lead = max(traces, key=lambda trace: trace.confidence or 0.0)
            box = lead.bbox_xyxy or (lead.track[0].bbox_xyxy if lead.track else None)
            why = lead.explanation if lead.explanation and lead.explanation.strip() else None
            meaning = MEANINGS[lead.categories[0]] if lead.categories else ""
            # An explanation names the place itself, as far as its writer thought it worth saying.
            parts = (
                (time_words(lead), _clause(why))
                if why
                else (time_words(lead), place_words(box) if box else "", meaning)
            )
            said = ", ".join(part for part in parts if part)
            more = f" And {_count(len(traces) - 1, 'more trace')}." if len(traces) > 1 else ""
            return (f"{start}: {said}." if said else f"{start}.") + more


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _sampling_words(sampling: Mapping[str, Any]) -> str:
    known = {"fps": "{:g} frames per second", "max_frames": "at most {} frames", "short_side": "short side {} px"}
    sampling = {key: value for key, value in sampling.items() if key != "sampled_fps"}  # differs from clip to clip
    space = sampling.get("space")
    if isinstance(space, Mapping):
        size = "" if space.get("width") is None else f" of {space['width']} x {space['height']}"
        sampling["space"] = f"{space.get('kind')}{size}"
    said = ((key, value) for key, value in sampling.items() if value is not None)
    return ", ".join(
        known[key].format(value) if key in known and isinstance(value, (int, float)) else f"{key} {value}"
        for key, value in said
    )


# ── media ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _span(trace: Trace, duration: float) -> tuple[float, float]:
    """Onset and offset with what is not said filled by the ends of the video."""
    onset = 0.0 if trace.onset_seconds is None else trace.onset_seconds
    offset = max(duration, onset) if trace.offset_seconds is None else trace.offset_seconds
    return onset, offset


def _safe_name(number: int, name: str) -> str:
    """A file name of ASCII letters, digits and dashes that no system minds; the number makes it the only one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    return f"{number:03d}-{slug}" if slug else f"{number:03d}"


def _clip_name(item: ReportItem, number: int) -> str:
    """What to call the clip: the last part of its path (never more: folders are nobody's business), or its id."""
    origin = item.outcome.origin
    path = origin.path
    if path is None and not isinstance(item.source, (bytes, Frames)):
        path = os.fspath(item.source)
    name = PureWindowsPath(path).name if path and "\\" in path else PurePosixPath(path).name if path else ""
    return name or origin.video_id or f"clip {number}"


def _still_time(verdict: Verdict | None, duration: float) -> float:
    """The moment that says most: the middle of the first trace with a box, else a third into the clip."""
    for trace in verdict.traces if verdict else ():
        if trace.bbox_xyxy or trace.track:
            onset, offset = _span(trace, duration)
            middle = (onset + offset) / 2
            return middle if trace.box_at(middle) else onset
    return duration / 3


def _write_media(item: ReportItem, folder: Path, name: str) -> _Media:
    """Write copy, overlay, poster and thumbnail of one clip, in one pass over its frames."""
    from deeptrace.video import iter_frames

    verdict = item.outcome if isinstance(item.outcome, Verdict) else None
    drawn = verdict if verdict and verdict.label == "fake" and verdict.traces else None
    times: list[float] = []
    still: tuple[float, Image] | None = None
    last: Frames | None = None
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(overlay.FrameSink(folder / f"{name}.mp4"))
        marked = stack.enter_context(overlay.FrameSink(folder / f"{name}.overlay.mp4")) if drawn else None
        for frames in stack.enter_context(iter_frames(item.source, short_side=SHORT_SIDE)):
            copy.write(frames)
            if marked and drawn:
                marked.write(overlay.draw_frames(frames, drawn))
            target = _still_time(verdict, frames.duration_seconds or 0.0)
            for time, image in zip(frames.pts_seconds, frames.images, strict=True):
                if still is None or time <= target:
                    still = (float(time), image)
            times.extend(float(time) for time in frames.pts_seconds)
            last = frames
    if still is None or last is None:
        raise VideoError("NO_FRAMES", "the video holds no picture")
    time, image = still
    height, width = last.images.shape[1:3]
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.04
    overlay.write_jpeg(folder / f"{name}.jpg", image)
    size = [max(1, round(n * min(1.0, THUMB_SHORT_SIDE / min(height, width)))) for n in (width, height)]
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    boxed = overlay.draw(small, verdict.traces if verdict else (), time, tags=False)
    overlay.write_jpeg(folder / f"{name}.thumb.jpg", boxed)
    return _Media(
        video=f"media/{name}.mp4",
        overlay=f"media/{name}.overlay.mp4" if drawn else None,
        poster=f"media/{name}.jpg",
        thumb=f"media/{name}.thumb.jpg",
        width=width,
        height=height,
        source_hw=last.source_hw,
        duration_seconds=max(times[-1] + step, last.duration_seconds or 0.0),
        pts_seconds=tuple(times),
        still_seconds=time,
    )


def _media_or_error(item: ReportItem, folder: Path, name: str) -> _Media:
    outcome = item.outcome
    if isinstance(outcome, Failed) and outcome.code in get_args(VideoCode):
        return _Media(error=outcome.reason)  # reading it failed once already
    try:
        return _write_media(item, folder, name)
    except (VideoError, FileError) as error:
        for ending in (".mp4", ".overlay.mp4", ".jpg", ".thumb.jpg"):
            with contextlib.suppress(OSError):
                (folder / f"{name}{ending}").unlink()
        return _Media(error=str(error))


# ── page ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_report(
    items: Sequence[ReportItem],
    out_dir: str | os.PathLike[str],
    *,
    title: str = "Inspection report",
    command: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of a run into ``out_dir`` (made where it is missing) and return the path of its page.

    ``media/`` gets per clip a copy that any browser plays (H.264, without sound, at most 720 pixels on the short
    side), for a fake verdict with traces also the copy with its boxes drawn, and two still pictures. ``command`` is
    shown on the page. ``progress(done, total)`` is called after each clip.

    Raises:
        FileError: the folder cannot be made or the page not written. A clip that cannot be read is no error: the
            page shows why.
    """
    folder = Path(out_dir)
    try:
        (folder / "media").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {folder.name!r}: {error.strerror or error}") from None
    clips: list[_Clip] = []
    for number, item in enumerate(items, 1):
        name = _clip_name(item, number)
        media = _media_or_error(item, folder / "media", _safe_name(number, PurePosixPath(name).stem))
        traces = item.outcome.traces[:MAX_TRACES] if isinstance(item.outcome, Verdict) else ()
        clips.append(_Clip(number, name, item.outcome, media, traces, overlay.trace_colors(traces)))
        if progress:
            progress(number, len(items))
    page = folder / "index.html"
    files.write_text(page, _page(clips, title, command))
    return page


def _page(clips: Sequence[_Clip], title: str, command: str | None) -> str:
    counts = {status: sum(clip.status == status for clip in clips) for status in get_args(Status)}
    counts["uncertain"] = sum(clip.uncertain for clip in clips)
    counts["partial"] = sum(clip.outcome.origin.partial for clip in clips)
    return html.render(
        "report.html.j2",
        style=_palette_css() + html.asset("report.css"),
        script=html.asset("report.js"),
        data={"clips": [_clip_data(clip) for clip in clips]},
        title=title,
        command=command,
        clips=clips,
        counts=counts,
        facts=_facts(clips),
        meanings=MEANINGS,
        sentence=sentence,
        time_words=time_words,
        place_words=place_words,
        max_text=_MAX_TEXT,
        max_explanation=_MAX_EXPLANATION,
        short_side=SHORT_SIDE,
    )


def _palette_css() -> str:
    rules = (f".c{i}{{--c:#{r:02x}{g:02x}{b:02x}}}" for i, (r, g, b) in enumerate(overlay.PALETTE))
    return "".join(rules) + "\n"


def _facts(clips: Sequence[_Clip]) -> list[tuple[str, str]]:
    """What made the run, once: each fact with its values over all clips, joined where they differ."""
    origins = [clip.outcome.origin for clip in clips]
    columns = {
        "Model": [origin.model for origin in origins],
        "Revision": [origin.revision for origin in origins],
        "Question": [origin.question for origin in origins],
        "Sampling": [_sampling_words(origin.sampling) if origin.sampling else None for origin in origins],
    }
    facts = [(name, " · ".join(dict.fromkeys(v for v in values if v))) for name, values in columns.items()]
    made_by = (
        f"deeptrace {__version__}, PyAV {metadata.version('av')}, OpenCV {cv2.__version__}, NumPy {np.__version__}"
    )
    facts.append(("Versions", f"{made_by}, Python {platform.python_version()}"))
    return [(name, html.shorten(value, 600)) for name, value in facts if value]


def _clip_data(clip: _Clip) -> dict[str, Any]:
    """What the script needs to know of a clip: numbers and category names only, no text from outside."""
    times, media = clip.media.pts_seconds, clip.media
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 25.0
    steady = all(abs(time - k / rate) < 5e-4 for k, time in enumerate(times))
    return {
        "number": clip.number,
        "width": media.width,
        "height": media.height,
        "duration": round(media.duration_seconds, 6),
        "count": len(times),
        "times": round(rate, 6) if steady else [round(time, 4) for time in times],
        "still": media.still_seconds,
        "traces": [
            {
                "name": overlay.trace_name(trace),
                "color": color,
                "lane": lane,
                "confidence": trace.confidence,
                "onset": trace.onset_seconds,
                "offset": trace.offset_seconds,
                "box": trace.bbox_xyxy,
                "track": trace.track and [(key.time_seconds, key.bbox_xyxy, key.visible) for key in trace.track],
            }
            for trace, color, lane in zip(clip.traces, clip.colors, clip.lanes, strict=True)
        ],
    }
