"""A small dataset whose truths are plain, and answers on it whose scores can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from deeptrace.bench.score.dataset import Dataset, dataset_of
from deeptrace.data import write_records
from deeptrace.files import write_jsonl
from deeptrace.records import Annotation, Box, Origin, Outcome, Record, Trace, Unparsed, Verdict, VideoInfo
from deeptrace.rows import outcome_to_row

LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)

FORMAT = {"format": "trained", "format_version": 1}
JSON_FORMAT = {"format": "json-with-category", "format_version": 1}


def fake(name: str, *rows: Trace, split: str = "test", source: str = "Sora", seconds: float = 10.0) -> Record:
    info = VideoInfo(200, 100, fps=24.0, duration_seconds=seconds)
    annotations = tuple(Annotation((row,)) for row in rows)
    return Record(name, f"videos/{name}.mp4", "fake", info, source, split, annotations=annotations)


def real(name: str, *, split: str = "test", seconds: float = 10.0) -> Record:
    info = VideoInfo(100, 100, fps=30.0, duration_seconds=seconds)
    return Record(name, f"real_videos/{name}.mp4", "real", info, "camera", split, annotations=(Annotation(),))


def records() -> list[Record]:
    """Test: a fake with two annotation rows, a fake with one, two reals. Train: two of each."""
    melting = Trace(LEFT, 2.0, 6.0, ("Object Merging",), "the kettle melts")
    growing = Trace(RIGHT, 4.0, 8.0, ("Redundant Object",), "an arm grows")
    return [
        fake("f1", melting, growing),
        fake("f2", Trace(RIGHT, 1.0, 3.0, ("Object Merging",)), source="Pika 1.5"),
        real("r1"),
        real("r2"),
        fake("t1", melting, split="train"),
        fake("t2", Trace(LEFT, 4.0, 8.0, ("Object Merging",), "the kettle melts"), split="train"),
        real("t3", split="train"),
        real("t4", split="train"),
        Record("u1", "videos/u1.mp4", "unsure", split="test"),
    ]


def dataset() -> Dataset:
    return dataset_of(records(), "test")


def origin(video_id: str, model: str = "m", sampling: Mapping[str, object] | None = FORMAT) -> Origin:
    asked = None if sampling is None else str(sampling["format"])
    return Origin(video_id, model=model, question=asked, sampling=sampling)


def answers(model: str = "m") -> list[Outcome]:
    """f1 right (first row exactly, onset 1 s off), f2 unparsed, r1 right, r2 called fake with one trace."""
    return [
        Verdict("fake", traces=(Trace(LEFT, 3.0, explanation="it melts"),), origin=origin("f1", model)),
        Unparsed("no verdict in it", "a kettle", origin("f2", model)),
        Verdict("real", origin=origin("r1", model)),
        Verdict("fake", traces=(Trace(LEFT, 0.0),), origin=origin("r2", model)),
    ]


def write(folder: Path, name: str, outcomes: Iterable[Outcome]) -> Path:
    write_jsonl(folder / name, (outcome_to_row(outcome) for outcome in outcomes))
    return folder / name


def write_data(folder: Path) -> Path:
    write_records(folder / "records.jsonl", records())
    return folder / "records.jsonl"
