"""Label Studio's JSON export (a list of tasks) to records. The writer is in `label_studio_write`.

Frames count from 1, boxes are x, y, width, height in percent. A key frame with ``enabled: false`` is the last visible
frame of its stretch; a later enabled one opens the track again. ``time`` is not read: the editor writes it one frame
late, other programs do not. ``framesCount / duration`` is the rate with which the tool numbered the frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deeptrace.data.convert._common import (
    Clip,
    Log,
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
)
from deeptrace.data.convert._frames import MAX_FRAME, FrameBox, Segment, cover
from deeptrace.data.problems import Problem
from deeptrace.data.tolerant import Bad, count_or_none, number_or_none, read_bytes, show
from deeptrace.errors import JsonError, RecordError
from deeptrace.records import Annotation, Record, RecordLabel, Trace, VideoInfo

_DATA_FIELDS: Final = ("video", "video_id", "fps", "width", "height", "num_frames", "duration", "annotators")
_RATE_SLACK_FRAMES: Final = 1.5


def read(path: Path, infos: Mapping[str, VideoInfo] | None) -> tuple[list[Record], list[Problem]]:
    """The records of an export; one annotation per annotation of a task. See `deeptrace.data.convert.read`."""
    log = Log(path.name)
    try:
        tasks = read_json(read_bytes(path))
    except JsonError as error:
        raise JsonError(f"{path.name}: {error}") from None
    if not isinstance(tasks, list):
        raise JsonError(f"{path.name}: is not a list of tasks. Export as 'JSON', not 'JSON-MIN'")
    return finish(_tasks(tasks, infos, log), log), log.problems


def _tasks(tasks: list[Any], infos: Mapping[str, VideoInfo] | None, log: Log) -> Iterator[tuple[Record, bool]]:
    for row, task in enumerate(tasks):
        data = obj(obj(task).get("data"))
        said = text(data.get("video_id"))
        start = len(log.problems)
        where = log.at(row, said)
        name = text(data.get("video")) or next((v for v in data.values() if isinstance(v, str) and "." in v), None)
        clean = None if name is None else clean_path(name, where, "data.video")
        if clean is None and said is None:
            where.add("data.video", "is missing: the task names no video", "set_aside")
            continue
        video_id = said or stem(clean or "")
        where = log.at(row, video_id)
        clip = find_clip(infos, video_id, clean, data, where)
        if items(task.get("predictions")):
            problem = f"{len(task['predictions'])} of a model are no annotations: not imported"
            where.add("predictions", problem, "kept")
        names = items(data.get("annotators"))
        annotations = []
        for index, given in enumerate(items(task.get("annotations"))):
            if obj(given).get("was_cancelled") is True:
                where.add("was_cancelled", "the annotator skipped the task", "set_aside")
                continue
            fallback = names[index] if index < len(names) else None
            annotations.append(_annotation(obj(given), fallback, clip, where))
        fields = record_fields(data, where)
        extra = {key: value for key, value in data.items() if key not in _DATA_FIELDS and key not in fields}
        report_bad(task, where)
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
            said is not None,
        )


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


def _annotation(given: Mapping[str, Any], fallback: object, clip: Clip, where: Where) -> Annotation:
    regions, others = _regions(items(given.get("result")), where)
    label: RecordLabel | None = None
    kept: list[Any] = []
    for result in others:
        choices = obj(result.get("value")).get("choices")
        found = next((read for choice in items(choices) if (read := read_label(choice))), None)
        if found is not None and label is None:
            label = found
        else:
            kept.append(result)
    traces: list[Trace] = []
    unknown: list[dict[str, Any]] = []
    drawn = [_drawn(region, regions, clip, where) for region in regions]
    boxes = [one for one in drawn if one is not None and one.region.kind == "videorectangle"]
    for one in drawn:
        if one is None or (one.region.kind == "timelinelabels" and _repeats(one, boxes)):
            continue
        trace, tags = _trace(one, where)
        if tags:
            unknown.append({"trace": len(traces), "tags": list(tags)})
        traces.append(trace)
    extra: dict[str, Any] = {}
    known = {key: given[key] for key in ("id", "ground_truth", "lead_time", "created_at") if key in given}
    if known:
        extra["label_studio"] = known
    if kept:
        extra["results"] = kept
    if unknown:
        extra["unknown_tags"] = unknown
    return Annotation(tuple(traces), label, _annotator(given.get("completed_by"), fallback), extra)


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
        if obj(result).get("type") in ("videorectangle", "timelinelabels"):
            region = regions.setdefault(_region_id(result, index), _Region())
            region.kind, region.value, region.score = result["type"], obj(result.get("value")), result.get("score")
    others = []
    for index, result in enumerate(results):
        if not isinstance(result, Mapping):
            where.add("result", f"{result!r} is not an object", "emptied")
            continue
        own = regions.get(_region_id(result, index))
        if own is None:
            others.append(result)
            continue
        value = obj(result.get("value"))
        for key in ("labels", "timelinelabels", "choices"):
            own.tags.update(dict.fromkeys(tag for tag in items(value.get(key)) if isinstance(tag, str)))
        own.texts += _texts(value.get("text"))
        own.notes += [note for note in _texts(obj(result.get("meta")).get("text")) if note not in own.notes]
    return list(regions.values()), others


def _region_id(result: Mapping[str, Any], index: int) -> str:
    said = result.get("id")
    return f"#{index}" if said is None or isinstance(said, Bad) else str(said)


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [line for line in items(value) if isinstance(line, str)]


def _rate(value: Mapping[str, Any], clip: Clip, where: Where) -> tuple[float | None, int | None]:
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


@dataclass(frozen=True)
class _Drawn:
    """A region on its frames (from 0), which the tool counted at ``fps`` a second."""

    region: _Region
    segments: tuple[Segment, ...]
    fps: float
    count: int | None

    def times(self) -> list[tuple[int, int]]:
        return [(segment.first, segment.last) for segment in self.segments]


def _drawn(region: _Region, regions: list[_Region], clip: Clip, where: Where) -> _Drawn | None:
    fps, count = _rate(region.value, clip, where)
    if fps is None:  # a timeline label does not say; the boxes beside it do
        beside = (_rate(other.value, clip, where) for other in regions)
        fps, count = next((rate for rate in beside if rate[0] is not None), (None, None))
    if not rate_or_refuse(Clip(fps=fps, info=clip.info), where, needs_size=False) or fps is None:
        return None
    boxed = region.kind == "videorectangle"
    segments = _boxes(region.value, count, where) if boxed else _times(region.value, where)
    return _Drawn(region, segments, fps, count)


def _repeats(label: _Drawn, boxes: list[_Drawn]) -> bool:
    """Whether a timeline label only repeats when a box with the same labels is visible."""
    own = label.region
    return not (own.texts or own.notes) and any(
        label.times() == box.times() and set(own.tags) <= set(box.region.tags) for box in boxes
    )


def _trace(drawn: _Drawn, where: Where) -> tuple[Trace, tuple[str, ...]]:
    region = drawn.region
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
    said = {"categories": categories, "explanation": explanation, "confidence": confidence}
    return make_trace(drawn.segments, drawn.fps, drawn.count, where, "sequence", **said), unknown


def _boxes(value: Mapping[str, Any], count: int | None, where: Where) -> tuple[Segment, ...]:
    keys: dict[int, FrameBox] = {}
    closing: set[int] = set()
    for index, given in enumerate(items(value.get("sequence"))):
        said, name = obj(given), f"sequence[{index}]"
        try:
            frame = int(number(said, "frame", low=1, high=MAX_FRAME))
            x, y, wide, high = (number(said, part) for part in ("x", "y", "width", "height"))
            rotation = number_or_none(said.get("rotation"), "rotation")
        except RecordError as error:
            where.add(f"{name}.{error.field}", error.problem, "emptied")
            continue
        if rotation:
            where.add(f"{name}.rotation", f"{rotation:g} is ignored: boxes are upright here", "repaired")
        if said.get("enabled") is False:
            closing.add(frame - 1)
        box = read_box((x / 100, y / 100, (x + wide) / 100, (y + high) / 100), where, name)
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


def _times(value: Mapping[str, Any], where: Where) -> tuple[Segment, ...]:
    ranges = []
    for given in items(value.get("ranges")):
        try:
            start, end = (
                count_or_none(obj(given).get(part), "ranges", low=1, high=MAX_FRAME) for part in ("start", "end")
            )
        except RecordError as error:
            where.add("ranges", error.problem, "emptied")
            continue
        if start is not None and end is not None and start <= end:
            ranges.append((start - 1, end - 1))
        else:
            where.add("ranges", f"{show(start)} to {show(end)} is not a range of frames from 1", "emptied")
    return cover(ranges, ())[0]
