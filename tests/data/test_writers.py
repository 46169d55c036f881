"""Every writer of a dataset while the system refuses: each write, open, fsync, rename and mkdir of it fails in turn."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeptrace import stamps
from deeptrace.chat import ChatClient
from deeptrace.data import load_records, write_records
from deeptrace.data.audit import audit
from deeptrace.data.audit.page import write_audit
from deeptrace.data.build.filters import filter_motion, write_filter_log
from deeptrace.data.build.filters.cut import cut_clips
from deeptrace.data.build.filters.lengths import match_lengths
from deeptrace.data.build.filters.measure import Meter
from deeptrace.data.build.prompts import write_prompts
from deeptrace.data.build.standardise import standardise
from deeptrace.data.convert import write as convert
from deeptrace.data.example import make_example
from deeptrace.data.hub.download import download
from deeptrace.data.hub.extract import extract_release
from deeptrace.data.normalise import normalise
from deeptrace.data.read.infos import fill_infos, fill_lengths
from deeptrace.files import write_jsonl, write_text
from deeptrace.journal import Journal
from deeptrace.records import Annotation, Record, Trace
from tests.clips import make_clip
from tests.data.test_prompts import writer
from tests.data.test_standardise import editor
from tests.failing_os import EVERY_CALL, FEW, attack, contents
from tests.fault_server import FaultServer, HubServer

MOST = 10_000 if EVERY_CALL else 2

Flow = Callable[[Path], object]

# ── files and lines ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_whole_files_and_lines(tmp_path: Path) -> None:
    def flow(folder: Path) -> None:
        write_text(folder / "run.json", "new" * 5000)
        write_jsonl(folder / "rows.jsonl", ({"n": n, "text": "x" * 3000} for n in range(5)))

    def before(folder: Path) -> None:
        (folder / "run.json").write_text("old")
        (folder / "rows.jsonl").write_text('{"n": "old"}\n')

    def kept(folder: Path) -> None:
        assert (folder / "run.json").read_text() in ("old", "new" * 5000)
        assert (folder / "rows.jsonl").read_text().count("\n") in (1, 5)

    found = attack(tmp_path / "w", flow, before=before, kept=kept)
    assert found.tries["fsync: EIO"] == 4


def test_a_journal_keeps_every_row_it_has_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []

    def flow(folder: Path) -> None:
        acknowledged.clear()
        with Journal(folder / "deep" / "journal.jsonl", {"seed": 1}, lock=True) as journal:
            for n in range(4):
                if str(n) not in journal.rows:
                    journal.add(str(n), {"text": "x" * 50})
                    acknowledged.append(str(n))

    def kept(folder: Path) -> None:
        if acknowledged:
            with Journal(folder / "deep" / "journal.jsonl", {"seed": 1}) as journal:
                assert set(acknowledged) <= set(journal.rows)

    def done(folder: Path) -> None:
        with Journal(folder / "deep" / "journal.jsonl", {"seed": 1}) as journal:
            assert sorted(journal.rows) == ["0", "1", "2", "3"]
            assert journal.dropped == 0

    found = attack(tmp_path / "w", flow, kept=kept, done=done)
    assert found.tries["write: ENOSPC from then on"] == 5


# ── the release ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    files = {"README.md": b"# hello", "folder/all_data.json": b"[]" * 900, "videos.zip.001": bytes(range(256)) * 300}
    with HubServer(files) as hub:

        def flow(folder: Path) -> None:
            download(folder / "to", endpoint=hub.root, sleep=lambda seconds: None)

        def kept(folder: Path) -> None:
            for name, data in contents(folder).items():
                if name.removeprefix("to/") in files:
                    assert data == files[name.removeprefix("to/")], name

        def done(folder: Path) -> None:
            there = contents(folder / "to")
            there.pop("deeptrace-download.json")
            assert there == files

        attack(tmp_path / "w", flow, kept=kept, done=done, most=MOST * 2)


def test_extract(tmp_path: Path) -> None:
    def before(folder: Path) -> None:
        for name in ("videos", "real_videos"):
            with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for n in range(2):
                    archive.writestr(f"{name}/sub{n}/{n}.mp4", bytes(range(256)) * (n + 1) * 40)

    attack(tmp_path / "w", lambda folder: extract_release(folder, folder / "to"), before=before)


# ── datasets ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos, one of them unsure, and their records."""
    root = tmp_path_factory.mktemp("footage")
    (root / "videos").mkdir()
    for name, frames in (("fake", 8), ("real", 14), ("unsure", 8)):
        make_clip(root / "videos" / f"{name}.mp4", num_frames=frames, hw=(36, 64), fps=8)
    note = Annotation((Trace(explanation="arm bends like rubber"),))
    listed = [
        Record("f", "videos/fake.mp4", "fake", annotations=(note,)),
        Record("r", "videos/real.mp4", "real"),
        Record("u", "videos/unsure.mp4", "unsure"),
    ]
    write_records(root / "records.jsonl", listed)
    return root


@pytest.fixture(autouse=True)
def _any_file_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal's stamp of a file says more once the file is some time old: runs are compared whose footage is new."""
    monkeypatch.setattr(stamps, "_SETTLED_NS", -(10**12))


def records_of(footage: Path) -> Any:
    return load_records(footage / "records.jsonl")


def test_records(tmp_path: Path, footage: Path) -> None:
    records = records_of(footage)
    attack(tmp_path / "w", lambda folder: write_records(folder / "records.jsonl", records))


def test_an_audit_and_its_page(tmp_path: Path, footage: Path) -> None:
    found = audit(records_of(footage))
    attack(tmp_path / "w", lambda folder: write_audit(folder / "new" / "page", found))


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_convert_to_a_hub_dataset(tmp_path: Path, footage: Path, layout: str) -> None:
    records = records_of(footage)

    def flow(folder: Path) -> None:
        convert(folder / "to", records, "hf", layout=layout, videos=footage)

    attack(tmp_path / "w", flow, most=MOST * 2, refusals=FEW)


@pytest.mark.parametrize("name", ["labelbox", "label-studio", "cvat", "coco", "fiftyone"])
def test_convert_to_a_tool(tmp_path: Path, footage: Path, name: str) -> None:
    records = fill_infos(records_of(footage), footage)

    def flow(folder: Path) -> None:
        convert(folder / "to" / "deep.json", records, name)

    attack(tmp_path / "w", flow, most=MOST, refusals=FEW, done=lambda folder: None)


def test_normalise(tmp_path: Path, footage: Path) -> None:
    records = records_of(footage)

    def flow(folder: Path) -> None:
        normalise(records, footage, folder / "to", short_side=36, duration_seconds=0.5)

    attack(tmp_path / "w", flow, most=MOST, refusals=FEW)


def test_lengths_are_matched(tmp_path: Path, footage: Path) -> None:
    matched = match_lengths(fill_lengths(records_of(footage), footage))

    def flow(folder: Path) -> None:
        cut_clips(matched, footage, folder / "to")

    attack(tmp_path / "w", flow, most=MOST, refusals=FEW)


def test_what_a_filter_measured(tmp_path: Path, footage: Path) -> None:
    records = records_of(footage)

    def flow(folder: Path) -> None:
        with Journal(folder / "log.measures", Meter.settings) as journal:
            steps = [filter_motion(records, footage, meter=Meter(footage, journal))]
        write_filter_log(folder / "log.jsonl", *steps)

    attack(tmp_path / "w", flow, most=MOST, refusals=FEW)


def test_an_example(tmp_path: Path) -> None:
    attack(tmp_path / "w", lambda folder: make_example(folder / "to", n=1), most=1, refusals=FEW[:1] + FEW[-1:])


# ── what a language model wrote ─────────────────────────────────────────────────────────────────────────────────────


def test_prompts(tmp_path: Path) -> None:
    with FaultServer(default=writer) as server:

        def flow(folder: Path) -> None:
            with ChatClient(server.url, "m", "k", sleep=lambda seconds: None) as client:
                write_prompts(client, folder / "to", count=10)

        attack(tmp_path / "w", flow, most=MOST, refusals=FEW)


def test_rewordings(tmp_path: Path, footage: Path) -> None:
    records = records_of(footage)
    with FaultServer(default=editor) as server:

        def flow(folder: Path) -> None:
            with ChatClient(server.url, "m", "k", sleep=lambda seconds: None) as client:
                standardise(records, client, folder / "to")

        attack(tmp_path / "w", flow, most=MOST, refusals=FEW)
