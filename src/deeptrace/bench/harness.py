"""The benchmark for other people's harnesses: a dataset as their rows, a question, and what one answer is worth.

Thin on purpose: questions and answers are `deeptrace.answer`'s, metrics `deeptrace.measures.video`'s. Imports no
decoder, so it works beside any version of PyAV that a harness wants. Called by the files in ``integrations/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deeptrace.answer import FORMAT_VERSIONS, FORMATS, QUESTIONS, Space, parse, question
from deeptrace.bench.score import catalogue
from deeptrace.data.paths import resolve
from deeptrace.errors import AnswerError, RecordError
from deeptrace.files import dumps, loads, write_text
from deeptrace.measures.video import VideoScore, score_video, truth_of
from deeptrace.records import Record
from deeptrace.rows import record_from_json, record_to_json

DEFAULT_FORMAT: Final = "zero-shot"
METRICS: Final[tuple[str, ...]] = (
    "accuracy", "fake_accuracy", "real_accuracy", "bbox_iou", "bbox_distance", "time_distance", "viou_f1", "unparsed",
)  # fmt: skip
"""What an answer is measured on, all in [0, 1]. The first six are the paper's, and weigh annotation rows."""

LOWER_IS_BETTER: Final = catalogue.LOWER_IS_BETTER.intersection(METRICS) | {"unparsed"}

TSV_COLUMNS: Final = (
    "index", "video", "question", "answer", "generator", "category", "start", "end", "x0", "y0", "x1", "y1",
    "explanation", "width", "height", "duration", "record",
)  # fmt: skip


@dataclass(frozen=True)
class Worth:
    """One metric of one answer: its mean over ``weight`` rows of the video."""

    value: float
    weight: float


def words_for(record: Record, format: str = DEFAULT_FORMAT, space: Space | None = None) -> str:
    """The question, without the mark where frames go: a harness puts the video in front.

    Raises:
        AnswerError: no such format, or one that must be told which frames are shown.
    """
    if format not in FORMATS or FORMATS[format].is_informed:
        raise AnswerError(f"{format!r} does not fit a harness; use one of {', '.join(QUESTIONS)} that is not informed")
    return question(format, space or source_space(record)).replace("<video>", "").strip()


def source_space(record: Record) -> Space:
    """Pixels of the video as displayed.

    Raises:
        RecordError: the record does not say its size.
    """
    if record.info is None:
        raise RecordError("info", f"{record.video_id!r} has no width and height; read them with `data audit --probe`")
    return Space("source", record.info.width, record.info.height)


def worth(record: Record, text: str, format: str = DEFAULT_FORMAT, space: Space | None = None) -> dict[str, Worth]:
    """What an answer is worth on each of `METRICS` that the video has a say in.

    An answer that cannot be parsed is wrong and worst.

    Raises:
        RecordError: the record is labelled neither fake nor real.
    """
    truth = truth_of(record)
    if truth is None:
        raise RecordError("label", f"{record.video_id!r} is labelled neither fake nor real")
    outcome = parse(text, format, space or source_space(record))
    return _worth(score_video(truth, outcome, fields=FORMATS[format].fields))


def _worth(score: VideoScore) -> dict[str, Worth]:
    right = float(score.verdict_label == score.label)
    rows = float(len(score.rows)) if score.label == "fake" else 1.0
    worths = {
        "accuracy": Worth(right, rows),
        f"{score.label}_accuracy": Worth(right, rows),
        "unparsed": Worth(float(score.status == "unparsed"), 1.0),
    }
    for name in ("bbox_iou", "bbox_distance", "time_distance"):
        values = [value for row in score.rows if (value := getattr(row, name)) is not None]
        if values:
            worths[name] = Worth(sum(values) / len(values), float(len(values)))
    if score.viou_f1 is not None:
        worths["viou_f1"] = Worth(score.viou_f1, 1.0)
    return worths


def mean(worths: Iterable[Worth]) -> float | None:
    """The weighted mean; None of nothing."""
    listed = list(worths)
    total = sum(worth.weight for worth in listed)
    return sum(worth.value * worth.weight for worth in listed) / total if total else None


# ── rows of a harness ───────────────────────────────────────────────────────────────────────────────────────────────


def docs(records: Iterable[Record], root: Path, format: str = DEFAULT_FORMAT) -> Iterator[dict[str, Any]]:
    """A row a video: id, absolute path, question, label, and the whole record as JSON text.

    Raises:
        RecordError: a record without a usable path or size.
    """
    for record in records:
        if record.label in ("fake", "real"):
            yield {
                "video_id": record.video_id,
                "video": str(resolve(root, record)),
                "question": words_for(record, format),
                "answer": record.label.upper(),
                "format": format,
                "format_version": FORMAT_VERSIONS[format],
                "record": dumps(record_to_json(record)),
            }


def record_of(doc: Mapping[str, Any]) -> Record:
    """The record in a row that `docs` made."""
    return record_from_json(loads(doc["record"]))


def write_docs(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """JSON lines for lmms-eval; how many."""
    lines = [dumps(dict(row)) for row in rows]
    write_text(path, "\n".join(lines) + "\n")
    return len(lines)


def write_tsv(path: Path, rows: Iterable[Mapping[str, Any]], root: Path) -> int:
    """A TSV for VLMEvalKit, whose video is ``ROOT/{video}.mp4``; how many rows.

    Raises:
        RecordError: a video that is no .mp4 under ``root``: the kit could not find it.
    """
    lines = ["\t".join(TSV_COLUMNS)]
    for index, row in enumerate(rows):
        relative = Path(row["video"]).relative_to(Path(root).resolve())
        if relative.suffix != ".mp4":
            raise RecordError("path", f"{relative.as_posix()!r} is no .mp4; bring the videos into one form first")
        cells = {"index": index, "video": relative.with_suffix("").as_posix(), **_truth_cells(record_of(row)), **{
            name: row[name] for name in ("question", "answer", "record")}}  # fmt: skip
        lines.append("\t".join(_cell(cells.get(name)) for name in TSV_COLUMNS))
    write_text(path, "\n".join(lines) + "\n")
    return len(lines) - 1


def _truth_cells(record: Record) -> dict[str, Any]:
    """The first trace, for people who look into the file; metrics read the whole record."""
    trace = record.traces[0] if record.traces else None
    box = trace.bbox_xyxy if trace is not None and trace.bbox_xyxy is not None else (None,) * 4
    cells: dict[str, Any] = {"generator": record.source, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
    if trace is not None:
        cells |= {"category": ", ".join(trace.categories or ()), "explanation": trace.explanation}
        cells |= {"start": trace.onset_seconds, "end": trace.offset_seconds}
    if record.info is not None:
        cells |= {"width": record.info.width, "height": record.info.height, "duration": record.info.length_seconds}
    return cells


def _cell(value: object) -> str:
    """One cell: no tab or line end; quoted as CSV readers expect, since the record is JSON."""
    text = "" if value is None else " ".join(str(value).split()) if not isinstance(value, float) else f"{value:g}"
    return '"' + text.replace('"', '""') + '"' if '"' in text else text
