"""Statistics against arithmetic by hand and against the counts of the paper."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deeptrace.categories import CATEGORIES
from deeptrace.data import describe, load_records, write_plots
from deeptrace.errors import MissingExtra
from deeptrace.files import dumps
from deeptrace.records import Annotation, Record, Trace, VideoInfo
from tests.data.release import SOURCES, SPLITS, make_release, make_row


def fake(video_id: str, info: VideoInfo, *traces: Trace, source: str = "S") -> Record:
    return Record(
        video_id,
        f"{video_id}.mp4",
        "fake",
        info,
        source,
        "train",
        annotations=[Annotation((t,), "fake") for t in traces],
    )


SMALL = [
    fake(
        "a",
        VideoInfo(100, 60, fps=10.0, num_frames=40, duration_seconds=4.0),
        Trace((0.0, 0.0, 0.5, 0.5), 0.0, 1.0, ("Object Merging", "Sudden Blurring"), "x"),
        Trace((0.0, 0.0, 0.25, 1.0), 1.0, 3.0, ("Object Merging",)),
    ),
    fake("b", VideoInfo(400, 300, fps=10.0, num_frames=100), Trace(onset_seconds=5.0, explanation="y")),
    Record(
        "r", "r.mp4", "real", VideoInfo(10, 20, duration_seconds=7.0), "R", "test", annotations=[Annotation((), "real")]
    ),
    Record("u", "u.mp4", "unsure", None, "R"),
]


def test_table_1_by_hand() -> None:
    stats = describe(SMALL)
    row, *_ = stats.sources
    assert (row.source, row.label, row.annotations, row.videos) == ("S", "fake", 3, 2)
    assert (row.explained, row.explained_share) == (2, pytest.approx(2 / 3))
    assert (row.width.value, row.width.n) == (pytest.approx((100 + 100 + 400) / 3), 3)  # rows weigh, not videos
    assert row.height.value == pytest.approx((60 + 60 + 300) / 3)
    assert row.video_seconds.value == pytest.approx((4 + 4 + 10) / 3)  # b: 100 frames at 10 fps
    assert (row.trace_seconds.value, row.trace_seconds.n) == (pytest.approx(1.5), 2)  # b does not say when it ends
    assert [(r.label, r.annotations, r.videos) for r in stats.totals] == [
        ("fake", 3, 2),
        ("real", 1, 1),
        ("unsure", 0, 1),
    ]
    unsure = stats.totals[2]
    assert (unsure.explained_share, unsure.width.value, unsure.width.n) == (None, None, 0)


def test_figure_4_by_hand() -> None:
    stats = describe(SMALL)
    shares = {row.category: (row.mentions, row.share) for row in stats.categories if row.mentions}
    assert shares == {"Object Merging": (2, pytest.approx(2 / 3)), "Sudden Blurring": (1, pytest.approx(1 / 3))}
    assert [row.category for row in stats.categories] == list(CATEGORIES)
    assert stats.categorised == 2
    merging, blurring = CATEGORIES.index("Object Merging"), CATEGORIES.index("Sudden Blurring")
    assert stats.co_occurrence[merging][merging] == 2
    assert stats.co_occurrence[merging][blurring] == stats.co_occurrence[blurring][merging] == 1
    assert sum(map(sum, stats.co_occurrence)) == 5


def test_distributions_by_hand() -> None:
    stats = describe(SMALL)
    assert (stats.box_area.n, stats.box_area.mean) == (2, 0.25)
    assert stats.position is not None
    assert stats.position[0][0] == 1.0  # both boxes cover the upper left corner
    assert stats.position[0][7] == 0.5  # only the quarter
    assert stats.position[15][0] == 0.5  # only the column
    assert stats.position[15][15] == 0.0
    assert stats.onset_seconds.n == 3
    assert stats.onset_seconds.mean == 2.0
    assert stats.onset_share.mean == pytest.approx((0 + 1 / 4 + 5 / 10) / 3)
    assert sum(stats.onset_seconds.counts) == 3
    assert stats.onset_seconds.edges[0] == 0.0
    assert stats.onset_seconds.edges[-1] >= 5.0
    assert [(r.split, r.label, r.videos, r.annotations) for r in stats.splits] == [
        ("test", "real", 1, 1),
        ("train", "fake", 2, 3),
        (None, "unsure", 1, 0),
    ]


def test_nothing_gives_none() -> None:
    stats = describe([])
    assert (stats.videos, stats.position, stats.box_area.mean, stats.box_area.quantiles) == (0, None, None, None)
    assert stats.categories[0].share is None
    assert json.loads(dumps(stats.to_json()))["position"] is None


def test_the_order_of_records_does_not_matter() -> None:
    assert describe(SMALL[::-1]).sources == describe(SMALL).sources


def test_problems_and_unknown_tags_are_counted(tmp_path: Path) -> None:
    rows = [make_row(faketrace_check_applies=["light", "merging"], video_duration=-1)]
    (tmp_path / "all_data.json").write_text(json.dumps(rows))
    stats = describe(load_records(tmp_path))
    assert stats.problems == {"video_duration: emptied": 1, "faketrace_check_applies: kept": 1}
    assert stats.unknown_tags == {"light": 1}


def test_the_release_has_the_papers_counts(tmp_path: Path) -> None:
    stats = describe(load_records(make_release(tmp_path), strict=True))
    assert {r.source: (r.annotations, r.videos) for r in stats.sources if r.label == "fake"} == {
        name: (source.rows, source.videos) for name, source in SOURCES.items()
    }
    fakes, reals = stats.totals
    assert (fakes.annotations, fakes.videos, fakes.explained) == (4334, 3318, 2716)
    assert (reals.annotations, reals.videos) == (3318, 3318)
    # Rows weigh: with Table 1's size of each source the mean over rows is the paper's 739 x 1313 and 5.7 s.
    assert (round(fakes.height.value or 0), round(fakes.width.value or 0)) == (739, 1313)
    assert round(fakes.video_seconds.value or 0, 1) == 5.7
    splits = {(r.split, r.label): (r.videos, r.annotations) for r in stats.splits}
    assert {name: splits[name, "fake"] for name in SPLITS} == SPLITS
    assert {name: splits[name, "real"] for name in SPLITS} == {n: (v, v) for n, (v, _) in SPLITS.items()}
    assert stats.categorised == 2639


def test_plots_are_written_and_repeatable(tmp_path: Path) -> None:
    strange = replace(SMALL[0], video_id="z", source="$\\frac{\n\x1b[31m日本 <b>" + "x" * 80)
    stats = describe([*SMALL, strange])
    (tmp_path / "again").mkdir()
    written = write_plots(stats, tmp_path)
    again = write_plots(stats, tmp_path / "again", formats=["svg"])
    assert {path.suffix for path in written} == {".png", ".svg"}
    assert len(written) == 12
    assert all(path.read_bytes().startswith((b"\x89PNG", b"<?xml")) for path in written)
    for path in again:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_plots_of_nothing(tmp_path: Path) -> None:
    assert len(write_plots(describe([]), tmp_path, formats=["png"])) == 6


def test_plots_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"deeptrace\[data\]"):
        write_plots(describe([]), tmp_path)


def test_blank_explanations_explain_nothing() -> None:
    blank, said = (Annotation((Trace(explanation=text),), "fake") for text in (" \n\t", "It bends."))
    found = describe([Record("v", label="fake", annotations=(blank, said))])
    assert (found.sources[0].explained, found.sources[0].explained_share) == (1, 0.5)
