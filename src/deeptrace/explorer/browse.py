"""The pages to look with: the grid, and one video with everything that was said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deeptrace.data.paths import resolve
from deeptrace.errors import DeepTraceError, RecordError, WebError
from deeptrace.explorer.annotate import annotation_of
from deeptrace.explorer.index import (
    SORTS,
    SORTS_ABOUT_RUNS,
    DatasetIndex,
    Entry,
    ViewQuery,
    box_iou_at_onset,
    onset_error,
    overlap_in_time,
)  # fmt: skip
from deeptrace.explorer.pictures import ShownClip
from deeptrace.explorer.site import Collection, Site, link_to, shown_json, template_page
from deeptrace.measures.video import VideoScore
from deeptrace.pages.sentences import conclusion_words, status_of, time_words, trace_name
from deeptrace.pages.words import place_words
from deeptrace.records import Annotation, Failed, Outcome, Record, Trace, Unparsed, Verdict

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = [
    "Speaker", "clip_json", "entry_of", "extra_text", "grid_page", "load_clip", "picture_link", "speakers_of",
    "trace_json", "video_page",
]  # fmt: skip

SHOWN_VALUES: Final = 12
COLORS: Final = 10
_LABELS: Final = {"fake": "Fake", "real": "Real", "unsure": "Cannot tell", None: "No label"}


def query_of(request: Request, index: DatasetIndex) -> ViewQuery:
    """The view that an address asks for."""
    return ViewQuery.from_pairs(request.query_params.multi_items(), index.names)


def entry_of(request: Request, index: DatasetIndex, video_id: str | None = None) -> Entry:
    """The video that an address names.

    Raises:
        WebError: 404.
    """
    entry = index.by_id.get(request.query_params.get("id", "") if video_id is None else video_id)
    if entry is None:
        raise WebError(404, "NOT_FOUND", "no video of this dataset has this id")
    return entry


# ── the grid ────────────────────────────────────────────────────────────────────────────────────────────────────────


def grid_page(site: Site, request: Request) -> Response:
    """The grid of a view."""
    index = site.data.index
    query = query_of(request, index)
    result = index.view(query)
    values = list(query.chosen.values())
    return template_page(
        site,
        "grid.html.j2",
        request,
        title=site.options.title,
        query=query,
        result=result,
        all=len(index.entries),
        problems=sum(index.records.counts.values()),
        runs=index.names,
        sorts=_sorts(index),
        limit=SHOWN_VALUES,
        chosen_count=sum(len(own) for own in values),
        clear=f"/?{ViewQuery({}, query.words, query.sort, query.run).address()}",
        cards=[_card(site.data, entry, query) for entry in result.entries],
        before=f"/?{query.address(page=result.page - 1)}" if result.page > 1 else None,
        after=f"/?{query.address(page=result.page + 1)}" if result.page < result.pages else None,
    )


def _sorts(index: DatasetIndex) -> list[tuple[str, str]]:
    return [(name, words) for name, words in SORTS.items() if index.runs or name not in SORTS_ABOUT_RUNS]


def _card(collection: Collection, entry: Entry, query: ViewQuery) -> dict[str, Any]:
    outcome = entry.outcomes.get(query.run or "")
    score = entry.scores.get(query.run or "")
    record = entry.record
    info = record.info
    size = (16, 9) if info is None else (info.width, info.height)
    overlap = None if score is None else score.viou_f1
    parts = [record.source, ", ".join(entry.categories), None if overlap is None else f"overlap {overlap:.2f}"]
    return {
        "id": entry.video_id,
        "href": link_to("/video", ("id", entry.video_id), *query.pairs(page=None)),
        "poster": picture_link("poster", collection, entry),
        "preview": picture_link("preview", collection, entry),
        "size": size,
        "seconds": entry.seconds,
        "label": record.label,
        "outcome": None if outcome is None else status_of(outcome),
        "outcome_words": "" if outcome is None else _chip_words(outcome),
        "more": " · ".join(part for part in parts if part) or (record.path or ""),
    }


def picture_link(kind: str, collection: Collection, entry: Entry) -> str:
    """The address of a poster or preview."""
    return link_to(f"/{kind}", ("in", collection.name), ("n", str(entry.number)))


def _chip_words(outcome: Outcome) -> str:
    if not isinstance(outcome, Verdict):
        return conclusion_words(outcome)
    return f"says {outcome.conclusion}" + ("" if outcome.p_fake is None else f" {outcome.p_fake:.2f}")


# ── one video ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Speaker:
    """Somebody who says something of a video: a person or a model. ``first`` is the place of its first trace in all."""

    name: str
    kind: str
    color: int
    status: str
    words: str
    traces: list[dict[str, Any]]
    drawn: tuple[Trace, ...]
    notice: str = ""
    text: str = ""
    first: int = 0
    metrics: list[tuple[str, str]] = field(default_factory=list)


def speakers_of(site: Site, entry: Entry, sha256: str | None = None) -> list[Speaker]:
    """Everybody: the dataset's annotators, those who annotated here and handed it in, then the models."""
    people = [*_named(entry.record.annotations)]
    for who, event in site.data.reviews.first.handed_in(entry.video_id).items():
        people.append((f"{who} (here)", annotation_of(event.body, who)))
    speakers = [_person(name, annotation, entry) for name, annotation in people]
    for name, outcome in entry.outcomes.items():
        speakers.append(_model(name, outcome, entry.scores.get(name), sha256))
    first = 0
    for number, speaker in enumerate(speakers):
        speaker.color, speaker.first = number % COLORS, first
        first += len(speaker.drawn)
    return speakers


def _named(annotations: Sequence[Annotation]) -> Iterable[tuple[str, Annotation]]:
    for number, annotation in enumerate(annotations, 1):
        name = annotation.annotator or ("people" if len(annotations) == 1 else f"annotation {number}")
        yield name, annotation


def _person(name: str, annotation: Annotation, entry: Entry) -> Speaker:
    label = annotation.label or ("fake" if annotation.traces else entry.record.label)
    tags = annotation.extra.get("unknown_tags")
    notice = f"Tags that are none of the nine: {', '.join(map(str, tags))}" if isinstance(tags, list) and tags else ""
    note = annotation.extra.get("note")
    return Speaker(
        name, "person", 0, label or "unknown", _LABELS.get(label, "No label"), _lines(annotation.traces),
        annotation.traces, notice=notice, text=note if isinstance(note, str) else "",
    )  # fmt: skip


def _model(name: str, outcome: Outcome, score: VideoScore | None, sha256: str | None) -> Speaker:
    speaker = Speaker(name, "model", 0, status_of(outcome), _chip_words(outcome), [], ())
    judged = outcome.origin.sha256
    if sha256 is not None and judged is not None and judged != sha256:
        speaker.notice = "The file is not the one that was judged: it was replaced or changed since."
    match outcome:
        case Verdict():
            speaker.drawn, speaker.traces, speaker.text = outcome.traces, _lines(outcome.traces), outcome.text or ""
            if outcome.flags:
                speaker.notice = " ".join([speaker.notice, f"Flags: {', '.join(outcome.flags)}."]).strip()
        case Unparsed():
            speaker.notice, speaker.text = f"Not understood: {outcome.reason}", outcome.text
        case Failed():
            speaker.notice = f"{outcome.code}: {outcome.reason}"
    speaker.metrics = _metrics(score)
    return speaker


def _metrics(score: VideoScore | None) -> list[tuple[str, str]]:
    """The scores of this video in words; what cannot be measured is left out."""
    if score is None:
        return []
    metrics: list[tuple[str, str]] = []
    if score.verdict_label is not None:
        metrics.append(("Label", "right" if score.verdict_label == score.label else "wrong"))
    if score.viou_f1 is not None:
        metrics.append(("Overlap (vIoU F1)", f"{score.viou_f1:.2f}"))
    if (box := box_iou_at_onset(score)) is not None:
        metrics.append(("Box IoU at onset", f"{box:.2f}"))
    if (time := overlap_in_time(score)) is not None:
        metrics.append(("Overlap in time", f"{time:.2f}"))
    if (error := onset_error(score)) is not None:
        metrics.append(("Onset error", f"{error:.2f} s"))
    return metrics


def _lines(traces: Sequence[Trace]) -> list[dict[str, Any]]:
    return [
        {
            "name": trace_name(trace),
            "when": time_words(trace),
            "where": "" if trace.bbox_xyxy is None else place_words(trace.bbox_xyxy),
            "why": trace.explanation or "",
        }
        for trace in traces
    ]


def trace_json(trace: Trace, speaker: int = 0, color: int = 0) -> dict[str, Any]:
    """A trace as the player needs it: seconds and fractions; keys of a track as ``[time, box, visible]``."""
    return {
        "speaker": speaker,
        "color": color,
        "name": trace_name(trace),
        "onset": trace.onset_seconds,
        "offset": trace.offset_seconds,
        "box": trace.bbox_xyxy,
        "track": [[key.time_seconds, key.bbox_xyxy, key.visible] for key in trace.track or ()] or None,
        "confidence": trace.confidence,
    }


def clip_json(shown: ShownClip, collection: Collection) -> dict[str, Any]:
    """A copy as the player needs it: its address, size in pixels, and the times of its frames in seconds."""
    media = shown.media
    return {
        "src": link_to("/media", ("in", collection.name), ("name", media.video or "")),
        "poster": link_to("/media", ("in", collection.name), ("name", media.poster or "")),
        "size": [media.width, media.height],
        "duration": media.duration_seconds,
        "times": list(media.pts_seconds),
        "count": len(media.pts_seconds),
    }


def load_clip(collection: Collection, record: Record) -> tuple[ShownClip | None, str | None]:
    """The copy to play, or why there is none."""
    try:
        return collection.pictures.clip(record), None
    except DeepTraceError as error:
        return None, str(error)


def video_page(site: Site, request: Request) -> Response:
    """One video with its player, and everything that was said of it."""
    index = site.data.index
    entry = entry_of(request, index)
    query = query_of(request, index)
    shown, problem = load_clip(site.data, entry.record)
    speakers = speakers_of(site, entry, None if shown is None else shown.sha256)
    order = index.view(query).order
    place = order.index(entry.number) if entry.number in order else None

    def at(n: int) -> str | None:
        if place is None or not 0 <= n < len(order):
            return None
        return link_to("/video", ("id", index.entries[order[n]].video_id), *query.pairs(page=None))

    traces = [
        trace_json(trace, number, speaker.color) for number, speaker in enumerate(speakers) for trace in speaker.drawn
    ]
    kinds = [{"name": speaker.name, "kind": speaker.kind, "color": speaker.color} for speaker in speakers]
    clip = None if shown is None else clip_json(shown, site.data)
    return template_page(
        site,
        "video.html.j2",
        request,
        data={"clip": clip, "traces": shown_json(traces), "speakers": shown_json(kinds)},
        id=entry.video_id,
        record=entry.record,
        flags=entry.record.flags,
        problem=problem,
        speakers=speakers,
        about=_about(site.data, entry),
        annotate=link_to("/annotate/video", ("id", entry.video_id)),
        twin=_twin_link(site, entry),
        back=f"/?{query.address()}",
        before=at(place - 1) if place is not None else None,
        after=at(place + 1) if place is not None else None,
        place=None if place is None else place + 1,
        total=len(order),
    )


def _twin_link(site: Site, entry: Entry) -> str | None:
    """Where the video that this one was made of, or with, stands beside it."""
    twin = extra_text(entry, "inject_twin")
    if twin is None or twin not in site.data.index.by_id:
        return None
    return link_to("/beside", ("of", entry.video_id), ("changes", "1"))


def extra_text(entry: Entry, name: str) -> str | None:
    """A text that the record, or one of its annotations, has under a name of its own; None where none has."""
    for extra in (entry.record.extra, *(annotation.extra for annotation in entry.record.annotations)):
        if isinstance(extra.get(name), str):
            return str(extra[name])
    return None


def _about(collection: Collection, entry: Entry) -> list[tuple[str, str]]:
    record, info = entry.record, entry.record.info
    rows: list[tuple[str, str | None]] = [("Id", record.video_id), ("File", record.path), ("Source", record.source)]
    rows += [("Split", record.split), ("Prompt", record.prompt)]
    if info is not None:
        rows.append(("Size", f"{info.width} × {info.height} pixels"))
        rows.append(("Frames a second", None if info.fps is None else f"{info.fps:g}"))
        rows.append(("Length", None if info.length_seconds is None else f"{info.length_seconds:.2f} s"))
    extra: Mapping[str, Any] = record.extra
    rows += [(str(name), str(value)) for name, value in list(extra.items())[:40]]
    try:
        if record.path is not None and not resolve(collection.index.records.root, record).is_file():
            rows.append(("Note", "there is no such file"))
    except RecordError as error:
        rows.append(("Note", str(error)))
    return [(name, value) for name, value in rows if value]
