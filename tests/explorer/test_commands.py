"""The command lines without a server: what they read, take over and write; and how close a learner is to the gold."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deeptrace.cli import cli
from deeptrace.cli.explore import load_any
from deeptrace.cli.inspect.videos import find_videos
from deeptrace.data import convert, load_records, write_records
from deeptrace.errors import FileError
from deeptrace.explorer.annotate import body_of
from deeptrace.explorer.gold import compare_with_gold
from deeptrace.records import Annotation, Record, Trace, VideoInfo
from tests.clips import make_clip

TRUTH = Trace((0.2, 0.2, 0.6, 0.6), 1.0, 2.0, ("Object Splitting",), "A ball becomes two.")
INFO = VideoInfo(96, 64, 25.0, 24, 0.96)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=True)


def test_a_folder_of_plain_videos_is_a_dataset_without_what_the_explorer_keeps_there(tmp_path: Path) -> None:
    for name in ("a.mp4", "sub/b.mp4", "deeptrace-explorer/pictures/media/copy.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(tmp_path / name, num_frames=4)
    (tmp_path / "deeptrace-explorer" / "annotations.sqlite").write_bytes(b"")
    records = load_any(tmp_path, None)
    assert [(record.video_id, record.path, record.label) for record in records] == [
        ("a.mp4", "a.mp4", None),
        ("sub/b.mp4", "sub/b.mp4", None),
    ]
    assert len(list(find_videos([str(tmp_path)]))) == 2


def test_a_folder_with_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no videos"):
        load_any(tmp_path, None)


@pytest.mark.parametrize(
    ("tool", "name"), [("label-studio", "tasks.json"), ("labelbox", "x.ndjson"), ("cvat", "x.xml")]
)
def test_work_of_another_tool_is_taken_over_and_given_out_again(tool: str, name: str, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", num_frames=24)
    trace = Trace((0.25, 0.25, 0.5, 0.5), 0.2, 0.6, ("Sudden Blurring",), "It smears.")
    begun = Record("clip", "clip.mp4", "fake", INFO, annotations=(Annotation((trace,), "fake", "pat"),))
    assert convert.write(tmp_path / name, [begun], tool) == []
    data = tmp_path / "records.jsonl"

    write_records(data, [Record("clip", "clip.mp4", info=INFO)])
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    done = run("explore", data, "--import", tmp_path / name, "--export", first, "--reviewers", "0")
    assert done.exit_code == 0, done.output
    done = run("explore", data, "--import", tmp_path / name, "--export", again, "--final", "--reviewers", "0")
    assert "0 first passes taken over" in done.output
    for path in (first, again):
        (record,) = load_records(path)
        (annotation,) = record.annotations
        assert (annotation.annotator, annotation.label, annotation.traces[0].categories) == (
            "pat",
            "fake",
            trace.categories,
        )
        assert annotation.traces[0].onset_seconds == pytest.approx(0.2)


def test_wrong_usage_is_said(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", num_frames=4)
    assert run("explore", tmp_path, "--final").exit_code == 2
    assert run("study", "results", tmp_path).exit_code == 1


@pytest.mark.parametrize(
    ("traces", "label", "passed", "words"),
    [
        ((TRUTH,), "fake", True, "The onset is exact"),
        ((Trace((0.2, 0.2, 0.6, 0.5), 1.2, 2.0, ("Object Splitting",)),), "fake", True, "0.20 s late: close enough"),
        ((Trace((0.7, 0.7, 0.9, 0.9), 1.0, 2.0, ("Object Splitting",)),), "fake", False, "overlap by 0.00"),
        ((Trace((0.2, 0.2, 0.6, 0.6), 0.4, 2.0, ("Object Splitting",)),), "fake", False, "0.60 s early"),
        ((Trace((0.2, 0.2, 0.6, 0.6), 1.0, 2.0, ("Object Merging",)),), "fake", False, "It is Object Splitting"),
        ((), "real", False, "A trace was put here: Object Splitting, from 1.00 s"),
    ],
)
def test_a_learner_is_told_how_close(traces: tuple[Trace, ...], label: str, passed: bool, words: str) -> None:
    gold = Record("g", "g.mp4", "fake", annotations=(Annotation((TRUTH,), "fake"),))
    feedback = compare_with_gold(gold, body_of(Annotation(traces, label)))  # type: ignore[arg-type]
    assert feedback.passed is passed
    assert words in " ".join(feedback.words)


def test_a_clip_without_a_trace_is_real() -> None:
    gold = Record("g", "g.mp4", "real")
    assert compare_with_gold(gold, body_of(Annotation((), "real"))).passed
    assert not compare_with_gold(gold, body_of(Annotation((), "unsure"))).passed
