"""Label Studio's JSON export (a list of tasks) to records. The writer is in `label_studio_write`.

Frames count from 1, boxes are x, y, width, height in percent. A key frame with ``enabled: false`` is the last visible
frame of its stretch; a later enabled one opens the track again. ``time`` is not read: the editor writes it one frame
late, other programs do not. ``framesCount / duration`` is the rate with which the tool numbered the frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deeptrace.data.convert._common import (
    ConvertLog,
    Fields,
    VideoFacts,
    Where,
    clean_path,
    find_clip,
    finish,
    flags_of,
    items,
    make_trace,
    number,
    obj,
    rate_or_refuse,
    read_box,
    read_categories,
    read_json,
    read_label,
    record_fields,
    report_bad,
    stem,
    text,
    turned,
)
from deeptrace.data.convert._frames import MAX_FRAME, FrameBox, Segment, cover
from deeptrace.data.read.infos import ProbedInfos
from deeptrace.data.read.problems import Problem
from deeptrace.data.read.tolerant import Bad, count_or_none, number_or_none, show
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import read_bytes
from deeptrace.records import Annotation, Record, RecordLabel, Trace, VideoInfo

_DATA_FIELDS: Final = ("video", "video_id", "fps", "width", "height", "num_frames", "duration", "annotators")
_RATE_SLACK_FRAMES: Final = 1.5
# What the tool keeps for itself: who did what when, and how often.
_BOOK_KEEPING: Final = (
    "id", "created_at", "updated_at", "project", "inner_id", "total_annotations", "cancelled_annotations",
    "total_predictions", "comment_count", "unresolved_comment_count", "last_comment_updated_at", "updated_by",
    "comment_authors", "file_upload", "is_labeled", "overlap", "annotators", "allow_skip", "state", "meta", "agreement",
)  # fmt: skip
_BOOK_KEEPING_OF_AN_ANNOTATION: Final = (
    "id", "created_at", "updated_at", "draft_created_at", "created_ago", "created_username", "completed_by",
    "unique_id", "task", "project", "import_id", "last_action", "last_created_by", "updated_by", "parent_prediction",
    "parent_annotation", "prediction", "result_count", "lead_time", "ground_truth", "was_cancelled",
    "bulk_created", "state",
)  # fmt: skip
_BOOK_KEEPING_OF_A_RESULT: Final = (
    "id", "type", "from_name", "to_name", "origin", "original_length", "original_width", "original_height",
    "image_rotation", "readonly", "hidden", "locked", "score",
)  # fmt: skip
_GEOMETRY: Final = ("videorectangle", "timelinelabels")


def read(path: Path, infos: Mapping[str, VideoInfo] | None) -> tuple[list[Record], list[Problem]]:
    """The records of an export; one annotation per annotation of a task. See `deeptrace.data.convert.read`."""
    log = ConvertLog(path.name)
    try:
        tasks = read_json(read_bytes(path))
    except JsonError as error:
        raise JsonError(f"{path.name}: {error}") from None
    if not isinstance(tasks, list):
        raise JsonError(f"{path.name}: is not a list of tasks. Export as 'JSON', not 'JSON-MIN'")
    return finish(_tasks(tasks, infos, log), log), log.problems


def _tasks(tasks: list[Any], infos: Mapping[str, VideoInfo] | None, log: ConvertLog) -> Iterator[tuple[Record, bool]]:
    for row, task in enumerate(tasks):
        task = Fields(task)  # noqa: PLW2901
        data = obj(task.get("data"))
        own_id = text(data.get("video_id"))
        start = len(log.problems)
        where = log.at(row, own_id)
        key = _video_key(data)
        name = None if key is None else text(data.get(key))
        clean = None if name is None else clean_path(name, where, "data.video")
        if clean is None and own_id is None:
            where.add("data.video", "is missing: the task names no video", "set_aside")
            continue
        upload = None if clean is None else _UPLOAD.fullmatch(clean)
        video_id = own_id or stem(upload["name"] if upload else clean or "")
        where = log.at(row, video_id)
        if upload is not None:
            clean = _matched(clean or "", upload["name"], infos, where)
        clip = find_clip(infos, video_id, clean, data, where)
        if items(task.get("predictions")):
            problem = f"{len(task['predictions'])} of a model are no annotations: not imported"
            where.add("predictions", problem, "kept")
        names = items(data.get("annotators"))
        annotations = []
        # A release before 1.0 calls annotations completions.
        for index, annotation in enumerate([*items(task.get("annotations")), *items(task.get("completions"))]):
            if obj(annotation).get("was_cancelled") is True:
                where.add("was_cancelled", "the annotator skipped the task", "set_aside")
                continue
            fallback = names[index] if index < len(names) else None
            annotations.append(_annotation(Fields(annotation), fallback, clip, where))
        fields = record_fields(data, where)
        extra = {
            name: value
            for name, value in data.items()
            if name != key and name not in _DATA_FIELDS and name not in fields
        }
        task.skip(*_BOOK_KEEPING)
        task.report(where, "task.")
        report_bad(dict(task), where)
        yield (
            Record(
                video_id,
                clean,
                info=clip.info,
                annotations=tuple(annotations),
                flags=flags_of(log.problems[start:]),
                extra=extra,
                **fields,
            ),
            own_id is not None,
        )


_VIDEO_FILE: Final = re.compile(
    r"[^\n]{1,2000}\.(?:mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|wmv|flv|ogv|gif|webp|3gp)(?:[?#][^\s]*)?", re.IGNORECASE
)
_UPLOAD: Final = re.compile(r"(?:.*/)?(?:data/)?upload/\d{1,9}/[0-9a-f]{8}-(?P<name>[^/]+)")


def _video_key(data: Mapping[str, Any]) -> str | None:
    """The key of a task's data under which its video stands, by the one rule: the key ``video``, else the key whose
    text ends like a video file, else the key whose name speaks of a video. A prompt with a dot in it is none of these.
    """
    if text(data.get("video")):
        return "video"
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value}
    files = [key for key, value in texts.items() if _VIDEO_FILE.fullmatch(value)]
    video_keys = [key for key in texts if "video" in key.lower() and key != "video_id"]
    return next(iter([key for key in files if key in video_keys] or files or video_keys), None)


def _matched(path: str, name: str, infos: Mapping[str, VideoInfo] | None, where: Where) -> str:
    """The path of an uploaded file, whose name the tool puts eight digits before: the file that is known by its own
    name, where there is one, else the path as it is. Both are said.
    """
    is_known = (
        infos is not None
        and path not in infos
        and (
            name in infos
            or (isinstance(infos, ProbedInfos) and infos.look(path) is None and infos.look(name) is not None)
        )
    )
    if is_known:
        where.add("data.video", f"{path!r} is an upload of {name!r}, which is taken", "repaired")
        return name
    where.add("data.video", f"{path!r} is an upload of {name!r}, which is not known here: the path is kept", "kept")
    return path


# ── one annotation ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Region:
    """All results with one id: the geometry, and what hangs on it."""

    kind: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    score: object = None


def _annotation(row: Fields, fallback: object, clip: VideoFacts, where: Where) -> Annotation:
    regions, others = _regions(items(row.get("result")), where)
    label: RecordLabel | None = None
    leftovers: list[Any] = []
    for result in others:
        choices = obj(result.get("value")).get("choices")
        choice_label = next((own_label for choice in items(choices) if (own_label := read_label(choice))), None)
        if choice_label is not None and label is None:
            label = choice_label
        else:
            leftovers.append(result)
            what = show(result.get("type"))
            where.add("result", f"{what} (from {show(result.get('from_name'))}) is no field: it is in extra", "kept")
    row.skip(*_BOOK_KEEPING_OF_AN_ANNOTATION)
    row.report(where, "annotation.")
    traces: list[Trace] = []
    unknown: list[dict[str, Any]] = []
    beside = _rate_beside(regions, clip, where)
    drawings = [_drawn(region, beside, clip, where) for region in regions]
    boxes = [one for one in drawings if one is not None and one.region.kind == "videorectangle"]
    for one in drawings:
        if one is None or (one.region.kind == "timelinelabels" and _repeats(one, boxes)):
            continue
        trace, tags = _trace(one, where)
        if tags:
            unknown.append({"trace": len(traces), "tags": list(tags)})
        traces.append(trace)
    heard, unheard = _heard(row, where)
    unknown += [{**tags, "trace": tags["trace"] + len(traces)} for tags in unheard]
    traces += heard
    extra: dict[str, Any] = {}
    book_keeping = {key: row[key] for key in ("id", "ground_truth", "lead_time", "created_at") if key in row}
    if book_keeping:
        extra["label_studio"] = book_keeping
    if leftovers:
        extra["results"] = leftovers
    if unknown:
        extra["unknown_tags"] = unknown
    return Annotation(tuple(traces), label, _annotator(row.get("completed_by"), fallback), extra)


def _annotator(completed_by: object, fallback: object) -> str | None:
    if isinstance(completed_by, Mapping):
        completed_by = completed_by.get("email") or completed_by.get("username") or completed_by.get("id")
    if completed_by is None:
        completed_by = fallback
    return str(completed_by) if isinstance(completed_by, (str, int, float)) and completed_by != "" else None


def _regions(results: list[Any], where: Where) -> tuple[list[_Region], list[Mapping[str, Any]]]:
    """The regions in order, and the results that belong to the whole video."""
    regions: dict[str, _Region] = {}
    for index, result in enumerate(results):
        kind, value = obj(result).get("type"), obj(obj(result).get("value"))
        if kind not in _GEOMETRY:
            continue
        # A rectangle that hangs on timeline labels is exported a second time as timeline labels without ranges: the
        # rectangle has the place, in whichever order they stand.
        region = regions.setdefault(_region_id(result, index), _Region())
        if region.kind and kind == "timelinelabels":
            if value.get("ranges"):
                where.add("ranges", "of a region that has boxes too are not read: the boxes say when", "kept")
            continue
        if region.kind == "timelinelabels" and region.value.get("ranges"):
            where.add("ranges", "of a region that has boxes too are not read: the boxes say when", "kept")
        region.kind, region.value, region.score = str(kind), value, result.get("score")
    others = []
    for index, result in enumerate(results):
        if not isinstance(result, Mapping):
            where.add("result", f"{result!r} is not an object", "emptied")
            continue
        own = regions.get(_region_id(result, index))
        if own is None:
            if not _is_heard(result):
                others.append(result)
            continue
        result = Fields(result)  # noqa: PLW2901
        value = Fields(result.get("value"))
        for key in ("labels", "timelinelabels", "choices"):
            own.tags.update(dict.fromkeys(tag for tag in items(value.get(key)) if isinstance(tag, str)))
        own.texts += _texts(value.get("text"))
        meta = Fields(result.get("meta"))
        own.notes += [note for note in _texts(meta.get("text")) if note not in own.notes][:_MOST_NOTES]
        value.skip("framesCount", "duration", "sequence", "ranges")
        result.skip(*_BOOK_KEEPING_OF_A_RESULT)
        for fields, name in ((result, "result."), (value, "value."), (meta, "meta.")):
            fields.report(where, name)
    return list(regions.values()), others


_MOST_NOTES: Final = 100


def _is_heard(result: Mapping[str, Any]) -> bool:
    """Whether a result is a stretch of the sound or of a paragraph player: from a second to a second, with labels."""
    value = obj(result.get("value"))
    return "labels" in value and "start" in value and "end" in value and "sequence" not in value and "text" not in value


def _heard(row: Mapping[str, Any], where: Where) -> tuple[list[Trace], list[dict[str, Any]]]:
    """Stretches in seconds as traces without a box, and their tags that are none of ours."""
    traces: list[Trace] = []
    unknown: list[dict[str, Any]] = []
    for result in items(row.get("result")):
        if not isinstance(result, Mapping) or not _is_heard(result):
            continue
        value = Fields(result["value"])
        value.skip("channel")
        tags = [tag for tag in items(value.get("labels")) if isinstance(tag, str)]
        categories, strange = read_categories(tags, where, "labels")
        try:
            onset, offset = number(value, "start", low=0.0), number(value, "end", low=0.0)
            trace = Trace(onset_seconds=onset, offset_seconds=offset, categories=categories)
            where.add("value.start", "is in seconds, without a box: read as onset and offset", "kept")
        except RecordError as error:
            where.add(f"value.{error.field}", error.problem, "emptied")
            trace = Trace(categories=categories)
        value.report(where, "value.")
        if strange:
            unknown.append({"trace": len(traces), "tags": list(strange)})
        traces.append(trace)
    return traces, unknown


def _region_id(result: Mapping[str, Any], index: int) -> str:
    own_id = result.get("id")
    return f"#{index}" if own_id is None or isinstance(own_id, Bad) else str(own_id)


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [line for line in items(value) if isinstance(line, str)]


def _rate(value: Mapping[str, Any], clip: VideoFacts, where: Where) -> tuple[float | None, int | None]:
    """Frames a second as the tool counted them, and how many there are."""
    try:
        count = number_or_none(value.get("framesCount"), "framesCount", above=0.0, high=MAX_FRAME)
        seconds = number_or_none(value.get("duration"), "duration", above=0.0)
    except RecordError as error:
        where.add(error.field, error.problem, "emptied")
        return clip.fps, clip.num_frames
    if count is None or seconds is None:
        return clip.fps, clip.num_frames
    if clip.fps is None:
        return count / seconds, int(count)
    if abs(count - seconds * clip.fps) > _RATE_SLACK_FRAMES:
        problem = (
            f"{count:g} in {seconds:g} s is {count / seconds:g} a second, not {clip.fps:g}: the tool's count is used"
        )
        where.add("framesCount", problem, "repaired")
        return count / seconds, int(count)
    return clip.fps, clip.num_frames or int(count)


_MOST_COMPARED: Final = 200
"""With so many boxes in one annotation a timeline label is compared; behind them it is a trace of its own."""


@dataclass(frozen=True)
class _Drawn:
    """A region on its frames (from 0), which the tool counted at ``fps`` a second."""

    region: _Region
    segments: tuple[Segment, ...]
    fps: float
    count: int | None

    def times(self) -> list[tuple[int, int]]:
        return [(segment.first, segment.last) for segment in self.segments]


def _rate_beside(regions: list[_Region], clip: VideoFacts, where: Where) -> tuple[float | None, int | None]:
    """The rate that the first region with one says: a timeline label does not, the boxes beside it do."""
    if all("framesCount" in region.value for region in regions) or clip.fps is not None:
        return clip.fps, clip.num_frames
    quiet = ConvertLog(where.log.file).at(where.row, where.video_id)
    rates = (_rate(region.value, clip, quiet) for region in regions)
    return next((rate for rate in rates if rate[0] is not None), (None, None))


def _drawn(region: _Region, beside: tuple[float | None, int | None], clip: VideoFacts, where: Where) -> _Drawn | None:
    fps, count = _rate(region.value, clip, where)
    if fps is None:
        fps, count = beside
    if not rate_or_refuse(VideoFacts(fps=fps, info=clip.info), where, needs_size=False) or fps is None:
        return None
    is_box = region.kind == "videorectangle"
    segments = _boxes(region.value, count, clip, where) if is_box else _times(region.value, where)
    return _Drawn(region, segments, fps, count)


def _repeats(label: _Drawn, boxes: list[_Drawn]) -> bool:
    """Whether a timeline label only repeats when a box with the same labels is visible."""
    own, times = label.region, label.times()
    return not (own.texts or own.notes) and any(
        times == box.times() and set(own.tags) <= set(box.region.tags) for box in boxes[:_MOST_COMPARED]
    )


def _trace(drawing: _Drawn, where: Where) -> tuple[Trace, tuple[str, ...]]:
    region = drawing.region
    categories, unknown = read_categories(list(region.tags), where, "labels")
    if region.texts and region.notes and region.texts != region.notes:
        where.add("meta.text", f"{region.notes!r} differs from the text area, which is used", "repaired")
    lines = region.texts or region.notes
    confidence = None
    try:
        confidence = number_or_none(region.score, "score", low=0.0, high=1.0)
    except RecordError as error:
        where.add("score", error.problem, "emptied")
    explanation = "\n".join(lines) if lines else None
    fields = {"categories": categories, "explanation": explanation, "confidence": confidence}
    return make_trace(drawing.segments, drawing.fps, drawing.count, where, "sequence", **fields), unknown


def _boxes(value: Mapping[str, Any], count: int | None, clip: VideoFacts, where: Where) -> tuple[Segment, ...]:
    keys: dict[int, FrameBox] = {}
    closing: set[int] = set()
    for index, item in enumerate(items(value.get("sequence"))):
        row, name = Fields(item), f"sequence[{index}]"
        row.skip("time", "enabled", "auto")
        try:
            frame = int(number(row, "frame", low=1, high=MAX_FRAME))
            x, y, wide, high = (number(row, part) for part in ("x", "y", "width", "height"))
            rotation = number_or_none(row.get("rotation"), "rotation")
        except RecordError as error:
            where.add(f"{name}.{error.field}", error.problem, "emptied")
            continue
        row.report(where, f"{name}.")
        corners = (x, y, x + wide, y + high)
        if rotation and rotation % 360:
            corners = _upright(corners, rotation, clip, where, name)
        if row.get("enabled") is False:
            closing.add(frame - 1)
        x0, y0, x1, y1 = (side / 100 for side in corners)
        box = read_box((x0, y0, x1, y1), where, name)
        if box is not None:
            keys[frame - 1] = FrameBox(frame - 1, box)
    ordered = [keys[frame] for frame in sorted(keys)]
    if not ordered:
        where.add("sequence", "holds no usable key frame", "emptied")
        return ()
    ranges, first = [], None
    for frame in sorted(keys.keys() | closing):
        first = frame if first is None else first
        if frame in closing:
            ranges.append((first, frame))
            first = None
    if first is not None:  # never closed: visible to the end of the video
        ranges.append((first, max(ordered[-1].frame, (count or 0) - 1)))
    return cover(ranges, ordered)[0]


def _upright(
    corners: tuple[float, float, float, float], degrees: float, clip: VideoFacts, where: Where, name: str
) -> tuple[float, float, float, float]:
    """The upright box (percent) round one that is turned clockwise about its top left corner, on square pixels."""
    if clip.width is None or clip.height is None:
        problem = f"{degrees:g} degrees are not applied, for the frame's size is not known: the box is taken as upright"
        where.add(f"{name}.rotation", problem, "repaired")
        return corners
    wide, high = clip.width, clip.height
    x0, y0, x1, y1 = corners
    left, top, right, bottom = turned((x0 * wide, y0 * high, x1 * wide, y1 * high), degrees, (x0 * wide, y0 * high))
    where.add(f"{name}.rotation", f"{degrees:g} degrees: the upright box around it is taken", "repaired")
    return left / wide, top / high, right / wide, bottom / high


def _times(value: Mapping[str, Any], where: Where) -> tuple[Segment, ...]:
    ranges = []
    for span in items(value.get("ranges")):
        try:
            start, end = (
                count_or_none(obj(span).get(part), "ranges", low=1, high=MAX_FRAME) for part in ("start", "end")
            )
        except RecordError as error:
            where.add("ranges", error.problem, "emptied")
            continue
        if start is not None and end is not None and start <= end:
            ranges.append((start - 1, end - 1))
        else:
            where.add("ranges", f"{show(start)} to {show(end)} is not a range of frames from 1", "emptied")
    if not ranges:
        where.add("ranges", "holds no range of frames: the label has no time", "emptied")
    return cover(ranges, ())[0]
