"""``deeptrace data`` on sources of any kind: where their videos are, what was wrong in them, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deeptrace.cli import _run
from deeptrace.data import describe, load_records, write_records
from deeptrace.data.example import make_example
from deeptrace.records import Annotation, Record, VideoInfo
from tests.data.interop.samples import INFO, cvat, labelbox, lines, put

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``deeptrace data ...`` in this process."""

    def call(*arguments: str | Path) -> SimpleNamespace:
        capsys.readouterr()
        code = _run(["data", *map(str, arguments)])
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return call


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "example"
    make_example(folder, n=2, seed=0)
    rows = json.loads((folder / "all_data.json").read_text())
    flawed = next(row for row in rows if row.get("faketrace_duration"))
    flawed["faketrace_duration"] += 1.0  # longer than from its first frame to its last
    (folder / "all_data.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A release with one bad value."""
    rows = [{"video_id": f"v{i}", "video_path": f"videos/v{i}.mp4", "video_type": "fake_video"} for i in range(12)]
    (tmp_path / "src").mkdir()
    return put(tmp_path / "src" / "all_data.json", [{**rows[0], "video_width": "wide"}, *rows[1:]])


# ── where the videos are ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["cvat", "labelbox"])
def test_an_export_without_a_frame_rate_needs_the_videos(run: Run, example: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(next((example / "videos").glob("*.mp4")), tmp_path / "videos" / "cups.mp4")
    if name == "cvat":
        source = put(tmp_path / "annotations.xml", cvat())
    else:
        source = lines(tmp_path / "export.ndjson", {**labelbox(), "media_attributes": {}})
    without = run("stats", source)
    assert without.code == 1
    assert "no frame rate for 'cups'" in without.err
    assert "Say where the videos are: --root DIR" in without.err
    assert "infos" not in without.err

    found = run("stats", source, "--root", tmp_path / "videos", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["videos"] == 1

    absent = run("stats", source, "--root", example)
    assert absent.code == 1
    assert "cannot be read under --root" in absent.err


def test_probing_reads_a_header_only_where_nobody_says(example: Path, tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[Path] = []

    def probe(path: Path) -> VideoInfo:
        seen.append(path)
        return INFO

    monkeypatch.setattr("deeptrace.video.probe", probe)
    source = put(tmp_path / "annotations.xml", cvat())
    [record] = load_records(source, root=example, probe=True)
    assert record.info == INFO
    assert [path.name for path in seen] == ["cups.mp4"]
    said = {**labelbox()["media_attributes"], "frame_rate": 25.0, "width": 1280, "height": 720, "frame_count": 125}
    load_records(lines(tmp_path / "e.ndjson", {**labelbox(), "media_attributes": said}), root=example, probe=True)
    load_records(source, infos={"cups": INFO}, probe=True)
    assert len(seen) == 1


def test_records_written_elsewhere_find_their_videos_by_root(run: Run, example: Path, tmp_path: Path) -> None:
    written = run("split", example, tmp_path / "elsewhere.jsonl")
    assert f"note: paths are relative to {example}; pass --root {example}" in written.err
    missing = json.loads(run("audit", tmp_path / "elsewhere.jsonl", "--json").out)
    assert "file_missing" in {finding["code"] for finding in missing["findings"]}
    found = json.loads(run("audit", tmp_path / "elsewhere.jsonl", "--root", example, "--json").out)
    assert "file_missing" not in {finding["code"] for finding in found["findings"]}
    beside = run("split", example, example / "again.jsonl")
    assert "--root" not in beside.err


def test_a_conversion_reads_rates_under_root(run: Run, example: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    write_records(tmp_path / "bare.jsonl", [replace(record, info=None) for record in load_records(example)])
    without = run("convert", tmp_path / "bare.jsonl", tmp_path / "out.json", "--to", "label-studio")
    assert without.code == 1
    assert "--root DIR" in without.err
    done = run("convert", tmp_path / "bare.jsonl", tmp_path / "out.json", "--to", "label-studio", "--root", example)
    assert done.code == 0, done.err


# ── what was wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_problems_are_still_counted_after_writing(run: Run, broken: Path, tmp_path: Path) -> None:
    counts = {"video_width: emptied": 1}
    assert load_records(broken).counts == counts
    assert run("split", broken, tmp_path / "one.jsonl").code == 0
    assert run("convert", tmp_path / "one.jsonl", tmp_path / "two.jsonl", "--to", "records").code == 0
    again = load_records(tmp_path / "two.jsonl")
    assert again.counts == again.earlier == describe(again).problems == counts
    assert again.problems == ()
    assert len(again) == 12
    assert "video_width: emptied" in run("stats", tmp_path / "two.jsonl").err
    assert "video_width: emptied" in run("check", tmp_path / "two.jsonl").out


@pytest.mark.parametrize("command", ["check", "stats", "audit", "split", "convert", "folds", "agreement", "merge"])
def test_strict_on_every_command(run: Run, broken: Path, tmp_path: Path, command: str) -> None:
    targets = {"split": ["o.jsonl"], "convert": ["o.jsonl", "--to", "records"], "merge": ["o.jsonl"]}.get(command, [])
    stopped = run(command, broken, *[tmp_path / t if t == "o.jsonl" else t for t in targets], "--strict")
    assert stopped.code == 1
    assert "video_width 'wide' is not a number [emptied]" in stopped.err
    assert not (tmp_path / "o.jsonl").exists()


def test_the_audit_counts_earlier_problems(run: Run, broken: Path, tmp_path: Path) -> None:
    assert run("split", broken, tmp_path / "one.jsonl").code == 0
    assert json.loads(run("audit", tmp_path / "one.jsonl", "--json").out)["problems"] == {"video_width: emptied": 1}


def test_a_video_without_annotators_stops_no_merge(run: Run, tmp_path: Path) -> None:
    said = Record("a", annotations=(Annotation((), "real", "ann"),))
    write_records(tmp_path / "records.jsonl", [said, Record("b", label="real")], counts={"fps: emptied": 2})
    done = run("merge", tmp_path / "records.jsonl", tmp_path / "merged.jsonl")
    assert done.code == 0, done.err
    assert "note: 1 x annotations: not merged, nobody is named" in done.err
    merged = load_records(tmp_path / "merged.jsonl")
    assert [record.video_id for record in merged] == ["a", "b"]
    assert merged.counts == {"fps: emptied": 2}


# ── convert ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("labelbox", "shape=inport", "Known: export, import"),
        ("labelbox", "interpolated_frames=yes", "Known: true, false"),
        ("label-studio", "text=note", "Known: meta, textarea"),
        ("cvat", "density=thick", "Known: dense, sparse"),
        ("hf", "layout=csv", "Known: jsonl, parquet"),
        ("coco", "every=0", "a whole number from 1"),
        ("coco", "every=two", "a whole number from 1"),
        ("cvat", "shape=import", "has no option 'shape'. Known: density, zipped"),
        ("fiftyone", "x", "Known: none"),
    ],
)
def test_options_that_are_none(run: Run, example: Path, tmp_path: Path, *, name: str, option: str, words: str) -> None:
    refused = run("convert", example, tmp_path / "out", "--to", name, "--option", option)
    assert refused.code == 1
    assert words in refused.err
    assert not (tmp_path / "out").exists()


def test_options_reach_the_writer(run: Run, example: Path, tmp_path: Path) -> None:
    options = ["--option", "layout=parquet", "--option", f"videos={example}"]
    done = run("convert", example, tmp_path / "hf", "--to", "hf", *options)
    assert done.code == 0, done.err
    assert list((tmp_path / "hf").glob("*/metadata.parquet"))
    assert list((tmp_path / "hf").rglob("*.mp4"))
    assert "not copied" not in done.err
    assert "x `faketrace_duration: repaired`" in (tmp_path / "hf/README.md").read_text()
    assert run("convert", example, tmp_path / "n", "--to", "labelbox", "--option", "shape=import").code == 0
    assert "globalKey" in (tmp_path / "n").read_text()


def test_a_conversion_counts_what_was_written(run: Run, tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", [Record("a", "a.mp4", label="real"), Record("b", label="real")])
    said = run("convert", tmp_path / "records.jsonl", tmp_path / "hf", "--to", "hf")
    assert "1 of 2 videos written" in said.out
    assert "note: the videos were not copied" in said.err
    found = json.loads(run("convert", tmp_path / "records.jsonl", tmp_path / "hf", "--to", "hf", "--json").out)
    assert found == {"format": "hf", "videos": 1, "set_aside": 1, "lost": {"path: set_aside": 1}}


# ── split, folds, extract ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    ['{"clusters": [[{"a": 1}]]}', '{"clusters": [[["a"]]]}', '{"clusters": {"a": 1}}', "[]", '{"clusters": [1]}', "{"],
)
def test_clusters_that_are_none(run: Run, broken: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "clusters.json").write_text(text)
    refused = run("split", broken, tmp_path / "o.jsonl", "--clusters", tmp_path / "clusters.json")
    assert refused.code == 1
    assert "clusters.json" in refused.err
    assert [line[:7] for line in refused.err.splitlines()] == ["note: 1", "error: "]


def test_split_as_json(run: Run, broken: Path, tmp_path: Path) -> None:
    found = json.loads(run("split", broken, tmp_path / "o.jsonl", "--json").out)
    assert found["schema"] == "deeptrace.split"
    assert len(found["splits"]) == 12


def test_folds(run: Run, tmp_path: Path) -> None:
    known = [Record(f"{source}{i}", label="fake", source=source) for source in "ab" for i in range(3)]
    write_records(tmp_path / "records.jsonl", [*known, Record("r", label="real")])
    found = json.loads(run("folds", tmp_path / "records.jsonl").out)
    assert [fold["source"] for fold in found["folds"]] == ["a", "b"]
    assert found["folds"][1]["test"] == ["b0", "b1", "b2"]


def test_extract_says_what_is_damaged(run: Run, tmp_path: Path) -> None:
    import zipfile

    for name in ("videos", "real_videos"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/a.mp4", b"picture " * 100)
    whole = run("extract", tmp_path, "--to", tmp_path / "out")
    assert whole.code == 0, whole.err
    assert "1 written" in whole.out
    content = (tmp_path / "videos.zip").read_bytes().replace(b"picture picture", b"picture PICTURE", 1)
    (tmp_path / "videos.zip").write_bytes(content)
    damaged = run("extract", tmp_path, "--to", tmp_path / "other")
    assert damaged.code == 1
    assert "damaged: " in damaged.err


def test_download_fails_with_damaged_entries(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = SimpleNamespace(files=(), repo_id="x/y", commit="0" * 40)
    damaged = {"videos.zip": SimpleNamespace(written=(), skipped=(), damaged=("a.mp4: checksum",))}
    monkeypatch.setattr("deeptrace.data.hub.download.download", lambda *a, **k: got)
    monkeypatch.setattr("deeptrace.data.hub.extract.extract_release", lambda *a, **k: damaged)
    assert run("download", tmp_path).code == 1


def test_normalise_to_nothing_fails_and_says_why(run: Run, example: Path, tmp_path: Path) -> None:
    none = run("normalise", example, tmp_path / "none", "--short-side", "2000")
    assert none.code == 1
    assert "too_small" in none.err


def test_normalise_says_what_became_of_the_videos(
    run: Run, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deeptrace.data.normalise import Normalised
    from deeptrace.data.normalise.video import Form

    made = Normalised(
        records=(),
        root=tmp_path,
        form=Form((360, 640), 8.0, None, 23, 16, "spread", 0, 0.5),
        excluded={"too_small": 3},
        excluded_by_label={"fake": 2, "real": 1},
        traces_kept=0,
        traces_dropped={},
        fakes_without_trace=4,
        shifted_onsets=0,
        problems=(("v1", "cannot be decoded"),),
    )
    monkeypatch.setattr("deeptrace.data.normalise.normalise", lambda *a, **k: made)
    said = run("normalise", example, tmp_path / "out", "--json")
    assert said.code == 1
    for line in ("left out, by label: 2 x fake", "fake without any trace left: 4", "problem: v1: cannot be decoded"):
        assert line in said.err
    found = json.loads(said.out)
    assert (found["videos"], found["fakes_without_trace"]) == (0, 4)


def test_normalising_keeps_the_counts(run: Run, example: Path, tmp_path: Path) -> None:
    done = run("normalise", example, tmp_path / "out", "--short-side", "96")
    assert done.code == 0, done.err
    counts = load_records(example).counts
    assert counts
    assert load_records(tmp_path / "out").counts == counts
