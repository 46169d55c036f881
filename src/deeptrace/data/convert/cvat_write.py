"""Records to CVAT for video 1.1, one XML file a video.

Dense files hold every frame, as CVAT itself exports them: readers that do not interpolate need them. Sparse files hold
key frames only; CVAT's own import reads both.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal
from xml.sax.saxutils import escape, quoteattr

from deeptrace.categories import CATEGORIES
from deeptrace.data.convert._common import NO_CATEGORY, TRACE_NAME, record_texts, safe_name, tags_of
from deeptrace.data.convert._frames import FrameBox
from deeptrace.data.convert._write import FrameTrace, Ready, prepare
from deeptrace.data.read.problems import Problem
from deeptrace.errors import RecordError
from deeptrace.files import atomic_write, make_folder
from deeptrace.records import Record, VideoInfo

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT_ATTRIBUTES: Final = ("explanation", "other_categories", "annotator")


def write(
    path: Path,
    records: Sequence[Record],
    *,
    density: Literal["dense", "sparse"] = "dense",
    zipped: bool = False,
) -> list[Problem]:
    """Write one file for one record when ``path`` ends in .xml or .zip, else a folder with a file for each record.

    ``zipped`` puts each document into a zip as ``annotations.xml``, the layout of CVAT's own exports.

    Raises:
        RecordError: several records for one file, or two records whose files would have one name.
    """
    log, ready = prepare(records, path, "CVAT")
    ready = [item for item in ready if _has_usable_names(item)]
    single = path.suffix.lower() in {".xml", ".zip"}
    if single and len(records) != 1:
        raise RecordError("path", f"{path.name!r} is one file and holds one video, got {len(records)}: name a folder")
    if single and not ready:
        raise RecordError("path", log.problems[-1].problem)
    if single:
        _put(path, "".join(_document(ready[0], density)), zipped or path.suffix.lower() == ".zip")
        return log.problems
    names = [safe_name(item.record.video_id) for item in ready]
    double = next((name for name in names if [other.lower() for other in names].count(name.lower()) > 1), None)
    if double is not None:
        raise RecordError("video_id", f"two videos would be written to {double!r}")
    documents = ["".join(_document(item, density)) for item in ready]
    make_folder(path)
    for name, document in zip(names, documents, strict=True):
        _put(path / f"{name}.{'zip' if zipped else 'xml'}", document, zipped)
    return log.problems


def _has_usable_names(item: Ready) -> bool:
    """Whether XML can hold the video's id and path as they are; a changed name would be another video's."""
    for name in ("path", "video_id"):
        if _NOT_XML.search(getattr(item.record, name) or ""):
            item.where.add(name, "holds characters that XML cannot: the video is not written", "set_aside")
            return False
    return True


def _put(path: Path, document: str, zipped: bool) -> None:
    with atomic_write(path) as file:
        if zipped:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(zipfile.ZipInfo("annotations.xml", (1980, 1, 1, 0, 0, 0)), document.encode())
        else:
            file.write(document.encode())


def _clean(value: str, item: Ready) -> str:
    """The text without the control characters that XML cannot hold."""
    cleaned = _NOT_XML.sub("\ufffd", value)
    if cleaned != value:
        item.where.add("text", "holds control characters, which XML cannot: replaced by U+FFFD", "repaired")
    return cleaned


def _text(value: str) -> str:
    return escape(value, {"\r": "&#13;"})


def _quoted(value: str) -> str:
    return quoteattr(value, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


# ── the document ────────────────────────────────────────────────────────────────────────────────────────────────────


def _document(item: Ready, density: str) -> Iterator[str]:
    record, info = item.record, item.record.info
    name = record.path or record.video_id
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
    yield f"      <id>1</id>\n      <name>{_text(_clean(record.video_id, item))}</name>\n"
    if item.num_frames is not None:
        yield f"      <size>{item.num_frames}</size>\n"
    yield "      <mode>interpolation</mode>\n      <overlap>0</overlap>\n      <start_frame>0</start_frame>\n"
    if item.num_frames is not None:
        yield f"      <stop_frame>{max(0, item.num_frames - 1)}</stop_frame>\n"
    yield "      <frame_filter></frame_filter>\n      <labels>\n"
    for label in (*CATEGORIES, TRACE_NAME, NO_CATEGORY):
        yield f"        <label>\n          <name>{_text(label)}</name>\n          <type>rectangle</type>\n"
        yield "          <attributes>\n"
        for attribute in _TEXT_ATTRIBUTES:
            yield f"            <attribute><name>{attribute}</name><mutable>False</mutable>"
            yield "<input_type>text</input_type><default_value></default_value><values></values></attribute>\n"
        yield "          </attributes>\n        </label>\n"
    yield "      </labels>\n"
    if info is not None:
        size = f"<width>{info.width}</width><height>{info.height}</height>"
        yield f"      <original_size>{size}</original_size>\n"
    yield f"      <source>{_text(_clean(name, item))}</source>\n    </task>\n"
    yield from _own(item, info)
    yield "  </meta>\n"
    yield from _tracks(item, density)
    yield "</annotations>\n"


def _own(item: Ready, info: VideoInfo | None) -> Iterator[str]:
    """What CVAT has no place for: the frame rate, labels, who said what."""
    values: dict[str, object] = dict(record_texts(item.record))
    if item.record.path is not None:
        values["path"] = item.record.path
    if info is not None:
        rates = {"fps": info.fps, "num_frames": info.num_frames, "duration": info.duration_seconds}
        values.update({key: value for key, value in rates.items() if value is not None})
    attributes = "".join(f" {key}={_quoted(_clean(str(value), item))}" for key, value in values.items())
    yield f"    <deeptrace{attributes}>\n"
    annotators: set[str | None] = set()
    for annotation in item.record.annotations:
        if annotation.annotator in annotators:
            item.where.add("annotations", f"two by {annotation.annotator!r} become one", "repaired")
        annotators.add(annotation.annotator)
        both = {"annotator": annotation.annotator, "label": annotation.label}
        annotator_attributes = "".join(
            f" {key}={_quoted(_clean(value, item))}" for key, value in both.items() if value is not None
        )
        yield f"      <annotation{annotator_attributes}/>\n"
    yield "    </deeptrace>\n"


def _tracks(item: Ready, density: str) -> Iterator[str]:
    number = 0
    for annotation in item.record.annotations:
        for placed in item.place(annotation):
            first, *others = tags_of(placed.trace) or [TRACE_NAME]
            attributes = {
                "explanation": placed.trace.explanation,
                "other_categories": "; ".join(others),
                "annotator": annotation.annotator,
            }
            values = "".join(
                f'      <attribute name="{name}">{_text(_clean(value, item))}</attribute>\n'
                for name, value in attributes.items()
                if value
            )
            yield f'  <track id="{number}" label={quoteattr(first)} source="manual">\n'
            yield from _boxes(item, placed, density, values)
            yield "  </track>\n"
            number += 1


def _boxes(item: Ready, placed: FrameTrace, density: str, values: str) -> Iterator[str]:
    for index, segment in enumerate(placed.segments):
        keys = segment.closed()
        marked = {key.frame for key in keys}
        for box in segment.boxes() if density == "dense" else keys:
            yield _box(item, box, key=box.frame in marked, outside=False, values=values)
        after = segment.last + 1
        follows = index + 1 < len(placed.segments) and placed.segments[index + 1].first == after
        if not follows and (item.num_frames is None or after < item.num_frames):
            yield _box(item, FrameBox(after, keys[-1].bbox_xyxy), key=True, outside=True, values=values)


def _box(item: Ready, at: FrameBox, *, key: bool, outside: bool, values: str) -> str:
    x0, y0, x1, y1 = at.bbox_xyxy
    px = [f"{value:.2f}" for value in (x0 * item.width, y0 * item.height, x1 * item.width, y1 * item.height)]
    if px[0] == px[2] or px[1] == px[3]:
        item.where.add("bbox_xyxy", "is smaller than 0.01 pixels, the precision of CVAT", "emptied")
    return (
        f'    <box frame="{at.frame}" keyframe="{int(key)}" outside="{int(outside)}" occluded="0" xtl="{px[0]}" '
        f'ytl="{px[1]}" xbr="{px[2]}" ybr="{px[3]}" z_order="0">\n{values}    </box>\n'
    )
