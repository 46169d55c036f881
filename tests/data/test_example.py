"""The example dataset: read as the release is read, true in every box, with the flaws that it promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeptrace import video
from deeptrace.categories import CATEGORIES
from deeptrace.data import Records, load_records
from deeptrace.data.build.annotators import agreement
from deeptrace.data.example import ANNOTATORS_NAME, GENERATORS, ExampleDataset, make_example
from deeptrace.data.normalise import normalise
from deeptrace.errors import FileError, RecordError
from tests.failing_os import contents


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleDataset:
    return make_example(tmp_path_factory.mktemp("example"), n=9)


def test_it_is_the_releases_layout(example: ExampleDataset) -> None:
    assert sorted(p.name for p in example.root.iterdir()) == [
        "all_data.json", "real_videos", "two_annotators.jsonl", "videos",
    ]  # fmt: skip
    rows = json.loads((example.root / "all_data.json").read_text())
    assert len(rows) == example.rows == 9 + 3 + 10  # three fakes have two rows, one real video a copy
    kinds = [row["video_type"] for row in rows]
    assert kinds == sorted(kinds)  # fakes first
    assert all((example.root / row["video_path"]).is_file() for row in rows)
    assert set(rows[0]["faketrace_bbox"]) == {"left", "top", "width", "height"}


def test_it_loads_with_the_problems_that_were_put_in(example: ExampleDataset) -> None:
    records = load_records(example.root)
    assert [record.label for record in records].count("fake") == 9
    assert [record.label for record in records].count("real") == 10
    assert {record.source for record in records if record.label == "fake"} == set(GENERATORS)
    assert all("set_aside" not in name for name in records.counts)
    assert len(records.by_id["cm2demo0000"].annotations) == 2


def test_declared_is_what_the_files_say(example: ExampleDataset) -> None:
    for record in load_records(example.root):
        assert record.path is not None
        assert record.info is not None
        info = video.probe(example.root / record.path)
        assert (info.width, info.height) == (record.info.width, record.info.height)
        assert info.fps == pytest.approx(record.info.fps)
        assert info.has_audio is False


def test_every_category_is_there_with_its_tag_and_words(example: ExampleDataset) -> None:
    fakes = [record for record in load_records(example.root) if record.label == "fake"]
    first = [record.annotations[0].traces[0] for record in fakes]
    assert all(name in (trace.categories or ()) for name, trace in zip(CATEGORIES, first, strict=True))
    assert sum(len(trace.categories or ()) > 1 for trace in first) == 2
    assert all(trace.explanation and trace.bbox_xyxy and trace.onset_seconds is not None for trace in first)


def test_the_pictures_change_in_the_box_and_not_before_it(example: ExampleDataset) -> None:
    """A thing that vanishes: read from the file, the frame at the onset parts from the one before inside the box."""
    records = load_records(example.root)
    record = next(r for r in records if "Object Disappearance" in {c for t in r.traces for c in t.categories or ()})
    trace = record.annotations[0].traces[0]
    assert trace.onset_seconds is not None
    assert trace.bbox_xyxy is not None
    frames = video.sample_frames(example.root / str(record.path), fps=10)
    k = round(trace.onset_seconds * 10)
    height, width = frames.source_hw
    x0, y0, x1, y1 = (round(v * s) for v, s in zip(trace.bbox_xyxy, (width, height) * 2, strict=True))
    change = abs(frames.images[k].astype(int) - frames.images[k - 1]).mean(-1)
    assert change[y0:y1, x0:x1].mean() > 2 * change.mean()


def test_all_of_it_can_be_normalised_with_the_defaults(example: ExampleDataset, tmp_path: Path) -> None:
    records = load_records(example.root)
    some = Records(records[:2] + records[-4:], root=records.root)
    found = normalise(some, records.root, tmp_path / "to")
    assert found.excluded == {}
    assert found.traces_dropped == {}


def test_two_people_disagree_in_every_way(example: ExampleDataset) -> None:
    found = agreement(load_records(example.root / ANNOTATORS_NAME))
    assert found.annotators == ("ann", "ben")
    assert found.label.alpha is not None
    assert 0 < found.label.alpha < 1
    assert found.label_decided.units < found.label.units
    assert any(kappa.raw is not None and kappa.raw < 1 for kappa in found.tags.values())
    for spread in (found.box_iou, found.tiou, found.onset_difference_seconds):
        assert spread.n > 2
        assert spread.mean is not None
        assert spread.mean != round(spread.mean)


def test_one_that_was_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    make_example(tmp_path / "whole", n=1)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / ".deeptrace-example").write_text("1 0\n")
    (tmp_path / "cut" / "videos").mkdir()
    (tmp_path / "cut" / "videos" / "cm2demo0000.mp4").write_bytes(b"half")
    with pytest.raises(FileError, match="not empty"):
        make_example(tmp_path / "cut", n=2)
    make_example(tmp_path / "cut", n=1)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_example(tmp_path / name, n=1, seed=4)
    assert (tmp_path / "a/all_data.json").read_bytes() == (tmp_path / "b/all_data.json").read_bytes()
    assert (tmp_path / "a/videos/cm2demo0000.mp4").stat().st_size > 1000


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FileError, match="not empty"):
        make_example(tmp_path, n=1)
    with pytest.raises(RecordError):
        make_example(tmp_path / "new", n=0)
