"""The example dataset: read as the release is read, true in every box, with the flaws that it promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeptrace import video
from deeptrace.data import load_records
from deeptrace.data.example import GENERATORS, Example, make_example
from deeptrace.errors import FileError, RecordError


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_example(tmp_path_factory.mktemp("example"), n=6)


def test_it_is_the_releases_layout(example: Example) -> None:
    assert sorted(p.name for p in example.root.iterdir()) == ["all_data.json", "real_videos", "videos"]
    rows = json.loads((example.root / "all_data.json").read_text())
    assert len(rows) == example.rows == 6 + 2 + 7  # two fakes have two rows, one real video a copy
    kinds = [row["video_type"] for row in rows]
    assert kinds == sorted(kinds)  # fakes first
    assert all((example.root / row["video_path"]).is_file() for row in rows)
    assert set(rows[0]["faketrace_bbox"]) == {"left", "top", "width", "height"}


def test_it_loads_with_the_problems_that_were_put_in(example: Example) -> None:
    records = load_records(example.root)
    assert [record.label for record in records].count("fake") == 6
    assert [record.label for record in records].count("real") == 7
    assert {record.source for record in records if record.label == "fake"} == set(GENERATORS)
    assert all("set_aside" not in name for name in records.counts)
    assert len(records.by_id["cm2demo0000"].annotations) == 2


def test_declared_is_what_the_files_say(example: Example) -> None:
    for record in load_records(example.root):
        assert record.path is not None
        assert record.info is not None
        info = video.probe(example.root / record.path)
        assert (info.width, info.height) == (record.info.width, record.info.height)
        assert info.fps == pytest.approx(record.info.fps)
        assert info.has_audio is False


def test_fake_and_twin_differ_in_the_box_and_nowhere_before_it(example: Example) -> None:
    """The trace lies where the pictures of the two twins part, read from the files."""
    record = load_records(example.root).by_id["cm2demo0000"]
    trace = record.annotations[0].traces[0]
    assert trace.onset_seconds is not None
    assert trace.bbox_xyxy is not None
    assert trace.categories == ("Object Disappearance",)
    frames = video.sample_frames(example.root / str(record.path), fps=24)
    k = round(trace.onset_seconds * 24)
    height, width = frames.source_hw
    x0, y0, x1, y1 = (round(v * s) for v, s in zip(trace.bbox_xyxy, (width, height) * 2, strict=True))
    change = abs(frames.images[k].astype(int) - frames.images[k - 1]).mean(-1)
    inside = change[y0:y1, x0:x1].mean()
    assert inside > 4 * change.mean()


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
