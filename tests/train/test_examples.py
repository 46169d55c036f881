"""Records become examples; frames and answers become what a model takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeptrace.answer import Space, parse, render
from deeptrace.data import Records
from deeptrace.errors import TrainError, VideoError
from deeptrace.models.base import Sampling
from deeptrace.records import Annotation, Record, Trace, Verdict
from deeptrace.train.vlm import frames
from deeptrace.train.vlm.examples import make_examples
from deeptrace.train.vlm.frames import FrameStore
from deeptrace.train.vlm.licences import kind_of, strictest

LATE, EARLY = Trace((0.1, 0.1, 0.2, 0.2), 2.0), Trace((0.5, 0.5, 0.9, 0.9), 1.0)


def records_of(*records: Record) -> Records:
    return Records(records, root=Path("."))


def record(i: int, label: str | None, *traces: Trace, split: str = "train", path: str | None = "v.mp4") -> Record:
    annotations = tuple(Annotation((trace,)) for trace in traces)
    return Record(f"v{i}", path, label, split=split, annotations=annotations)  # type: ignore[arg-type]


def test_all_traces_of_a_video_stand_in_one_answer_by_onset() -> None:
    [example] = make_examples(records_of(record(0, "fake", LATE, EARLY)), split="train").examples
    answer = render(example.record, "trained", Space("per-mille"))
    verdict = parse(answer, "trained", Space("per-mille"))
    assert isinstance(verdict, Verdict)
    assert [trace.onset_seconds for trace in verdict.traces] == [1.0, 2.0]


def test_or_each_in_one_of_its_own_as_in_the_paper() -> None:
    found = make_examples(
        records_of(record(0, "fake", LATE, EARLY), record(1, "real")), split="train", answers="per-trace"
    )
    assert [example.record.traces for example in found.examples] == [(LATE,), (EARLY,), ()]


def test_what_has_no_right_answer_is_left_out_and_counted() -> None:
    found = make_examples(
        records_of(
            record(0, "real"),
            record(1, "unsure"),
            record(2, None),
            record(3, "real", EARLY),
            record(4, "fake", path=None),
            record(5, "fake", split="val"),
        ),
        split="train",
    )
    assert [example.record.video_id for example in found.examples] == ["v0"]
    assert found.left_out == {
        "label unsure": 1,
        "label not said": 1,
        "labelled real, with traces": 1,
        "no path": 1,
    }


def test_a_split_that_gives_nothing_is_an_error_that_says_which_there_are() -> None:
    with pytest.raises(TrainError, match=r"'train' gives no example \(splits of the records: val\)"):
        make_examples(records_of(record(0, "fake", split="val")), split="train")


def test_frames_are_kept_by_content_and_sampling(records: Path, tmp_path: Path) -> None:
    clip = records.parent / "train00.mp4"
    store = FrameStore(Sampling(fps=2.0), tmp_path)
    first = store.frames(clip)
    [entry] = tmp_path.iterdir()
    again = store.frames(clip)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.pts_seconds, again.pts_seconds)
    assert (first.source_hw, first.duration_seconds) == (again.source_hw, again.duration_seconds)
    # The same bytes under another name are the same entry; another sampling or other bytes are not.
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    assert store.key(copy) == store.key(clip) == entry.stem
    assert FrameStore(Sampling(fps=1.0), tmp_path).key(clip) != entry.stem
    copy.write_bytes(clip.read_bytes() + b"\0")
    assert store.key(copy) != entry.stem


def test_a_broken_entry_is_read_anew(records: Path, tmp_path: Path) -> None:
    store = FrameStore(Sampling(fps=2.0), tmp_path)
    clip = records.parent / "train01.mp4"
    first = store.frames(clip)
    [entry] = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:1000])
    assert np.array_equal(store.frames(clip).images, first.images)
    assert entry.stat().st_size > 1000


def test_a_video_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "nowhere.mp4"):
        with pytest.raises(VideoError):
            FrameStore(Sampling(fps=2.0), tmp_path / "cache").frames(tmp_path / name)


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("Apache-2.0", "permissive"),
        ("CC BY 4.0", "permissive"),
        ("cc-by-sa-4.0", "share alike"),
        ("cc-by-nc-4.0", "non-commercial"),
        ("CC-BY-NC-SA-4.0", "non-commercial"),
        ("qwen-research", "restricted use"),
    ],
)
def test_kinds_of_licences(licence: str, kind: str) -> None:
    assert kind_of(licence) == kind


def test_the_strictest_licence_binds_and_an_unknown_one_most() -> None:
    assert strictest(["apache-2.0", "cc-by-nc-4.0", "cc-by-4.0"]) == ("cc-by-nc-4.0", "non-commercial")
    name, kind = strictest(["apache-2.0", "my-own", "cc-by-nc-4.0"])
    assert name == "my-own"
    assert kind.startswith("unknown")


def test_an_example_knows_its_length(records: Path) -> None:
    from deeptrace.data import load_records

    examples = make_examples(load_records(records), split="train").examples
    assert {example.seconds for example in examples} == {2.0}
    assert replace(examples[0], record=Record("x")).seconds is None


def test_a_link_that_leads_elsewhere_is_not_called_absent(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "else.mp4").touch()
    (root / "link.mp4").symlink_to(tmp_path / "else.mp4")
    rows = (record(0, "real"), record(1, "fake", path="link.mp4"), record(2, "fake", path="link.mp4"))
    found = make_examples(Records(rows, root=root), split="train")
    assert found.left_out == {"its path leads out of the data's root by a symbolic link": 2}


def test_frames_are_of_the_code_that_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v.mp4"
    file.write_bytes(b"video")
    store = FrameStore(Sampling(2.0), tmp_path)
    before = store.key(file)
    assert store.key(file) == before
    monkeypatch.setattr(frames, "code_version", lambda: "another")
    assert store.key(file) != before
