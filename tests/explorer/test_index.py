"""Filters, search, order and pages over a dataset, and addresses that give the same view again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from deeptrace.data import load_records
from deeptrace.data.read.load import Records
from deeptrace.errors import RecordError
from deeptrace.explorer.compare import confusion_of, points_of, summaries
from deeptrace.explorer.index import DatasetIndex, ViewQuery
from deeptrace.explorer.outcomes import read_named_runs
from deeptrace.records import Annotation
from tests.explorer.world import SEEN, make_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="module")
def index(folder: Path) -> DatasetIndex:
    records = load_records(folder)
    return DatasetIndex(records, read_named_runs([folder / "one.jsonl", folder / "two.jsonl"], records))


def ids(index: DatasetIndex, query: str) -> list[str]:
    return [entry.video_id for entry in index.view(ViewQuery.from_pairs(parse_qsl(query), index.names)).entries]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ["fake-0", "fake-1", "fake-2", "real-3", "real-4", "lost-5"]),
        ("label=real", ["real-3", "real-4"]),
        ("source=gen-b&split=test", ["fake-1", "fake-2"]),
        ("source=gen-a&source=camera&label=fake", ["fake-0", "lost-5"]),
        ("category=Object+Distortion&q=rubber+GEN-A", ["fake-0", "lost-5"]),
        ("explained=not+explained", ["real-3", "real-4"]),
        ("right=missed", ["fake-1"]),
        ("right=false+alarm", ["real-3"]),
        ("right=no+verdict", ["fake-2", "lost-5"]),
        ("verdict=unparsed", ["fake-2"]),
        ("annotators=differ+a+little", ["fake-0"]),
        ("sort=p_fake&label=fake", ["fake-0", "fake-1", "fake-2", "lost-5"]),
        ("sort=p_fake_low&run=model-two", ["fake-1", "fake-0", "fake-2", "real-3", "real-4", "lost-5"]),
        ("sort=overlap_low&label=fake", ["fake-1", "fake-2", "fake-0", "lost-5"]),
        ("sort=box&label=fake", ["fake-0", "fake-1", "fake-2", "lost-5"]),
        ("sort=box_low&label=fake", ["fake-1", "fake-2", "fake-0", "lost-5"]),
        ("sort=time&q=clip0&label=fake", ["fake-0"]),
        ("sort=onset_low", ["fake-0", "fake-1", "fake-2", "real-3", "real-4", "lost-5"]),
        ("sort=name", ["fake-0", "fake-1", "fake-2", "lost-5", "real-3", "real-4"]),
        ("label=nonsense", []),
        (
            "sort=nonsense&page=99999999&unknown=1&run=none",
            ["fake-0", "fake-1", "fake-2", "real-3", "real-4", "lost-5"],
        ),
    ],
)
def test_a_view_holds_what_its_address_asks_for(index: DatasetIndex, query: str, wanted: list[str]) -> None:
    assert ids(index, query) == wanted


def test_an_address_gives_the_same_view_again(index: DatasetIndex) -> None:
    query = ViewQuery.from_pairs(parse_qsl("label=fake&label=real&q=a b&sort=name&page=2&run=model-two"), index.names)
    assert ViewQuery.from_pairs(parse_qsl(query.address()), index.names) == query


def test_counts_say_what_choosing_a_value_would_leave(index: DatasetIndex) -> None:
    result = index.view(ViewQuery.from_pairs([("label", "real")], index.names))
    facets = {facet.name: {value: n for value, n, _ in facet.values} for facet in result.facets}
    assert facets["label"] == {"fake": 4, "real": 2}  # as if this filter were not set
    assert facets["source"] == {"camera": 2}


def test_seven_thousand_videos_are_looked_at_in_no_time(index: DatasetIndex) -> None:
    records = [replace(record, video_id=f"{record.video_id}-{k}") for k in range(1167) for record in index.records]
    large = DatasetIndex(Records(records, root=index.records.root))
    began = time.process_time()
    large.view(ViewQuery())
    first = time.process_time() - began
    assert len(large.entries) > 7000
    assert first < 0.6  # a page has 300 ms on a processor of its own; the tests' are shared


def test_rows_find_their_videos_by_id_path_or_name_and_the_rest_is_counted(index: DatasetIndex) -> None:
    one = index.runs[0]
    assert sorted(one.outcomes) == ["fake-0", "fake-1", "fake-2", "real-3", "real-4"]
    assert one.elsewhere == 1


def test_a_file_without_any_of_the_videos_is_an_error(folder: Path) -> None:
    records = load_records(folder)
    with pytest.raises(RecordError, match="no row on any"):
        read_named_runs([folder / "one.jsonl"], Records([replace(records[0], video_id="x", path="y.mp4")], root=folder))


def test_compare_counts_every_video_once(index: DatasetIndex) -> None:
    counts = {label: [n for n, _ in cells] for label, cells in confusion_of(index, "model-one")}
    assert counts == {"fake": [1, 1, 2], "real": [1, 1, 0]}
    one = summaries(index)[0]
    assert (one.answered, one.elsewhere) == (5, 1)
    assert one.accuracy == pytest.approx(2 / 6)
    points, longest = points_of(index)
    assert [(p.video_id, p.color) for p in points] == [("fake-0", 0), ("fake-0", 1)]
    assert points[0].onset_error_seconds == pytest.approx(0.15, abs=0.06)
    assert longest == 0.5


def test_disagreement_is_one_minus_the_overlap_and_whole_for_another_label(index: DatasetIndex) -> None:
    by_id = index.by_id
    assert by_id["fake-1"].disagreement is None
    assert by_id["fake-0"].disagreement == pytest.approx(1 - (0.8 + 0.8) / 2)
    apart = (Annotation((SEEN,), "fake", "pat"), Annotation((), "real", "kim"))
    record = replace(by_id["fake-1"].record, annotations=apart)
    assert DatasetIndex(Records([record], root=Path())).entries[0].disagreement == 1.0
