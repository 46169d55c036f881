"""A result belongs to a file's bytes, a question and a server; what differs is done again, or refused by name."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from deeptrace import video
from deeptrace.chat import ChatClient
from deeptrace.data.build.filters.measure import Meter
from deeptrace.data.build.prompts import write_prompts
from deeptrace.data.build.standardise import standardise
from deeptrace.data.normalise import normalise
from deeptrace.errors import FileError
from deeptrace.journal import Journal
from deeptrace.records import Annotation, Record, Trace
from tests.clips import make_clip, numbered
from tests.data.test_prompts import writer
from tests.data.test_standardise import editor
from tests.fault_server import FaultServer

SIZE = 40_000


def put(path: Path, first: int) -> None:
    """A clip of that number, always of the same size and date, as `rsync --times` would leave it."""
    make_clip(path, num_frames=8, hw=(36, 64), fps=8, images=[numbered(first + n, (36, 64)) for n in range(8)])
    data = path.read_bytes()
    path.write_bytes(data + struct.pack(">I4s", SIZE - len(data), b"free") + bytes(SIZE - len(data) - 8))
    os.utime(path, (1e9, 1e9))


def test_a_video_replaced_under_its_name_is_normalised_anew(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    record = Record("a", "a.mp4", "real")
    results = []
    for first in (0, 0, 500):
        put(source / "a.mp4", first)
        normalise([record], source, target, short_side=36)
        results.append((target / "a.mp4").stat().st_mtime_ns)
    assert results[0] == results[1] != results[2]
    assert video.sample_frames(target / "a.mp4", fps=8).images.shape[0] == 8
    (target / "a.mp4").write_bytes(b"damaged")
    normalise([record], source, target, short_side=36)
    assert (target / "a.mp4").stat().st_size > 100


def test_a_video_replaced_under_its_name_is_measured_anew(tmp_path: Path) -> None:
    measured = []
    for first in (0, 0, 500):
        put(tmp_path / "a.mp4", first)
        with Journal(tmp_path / "log.measures", Meter.settings) as journal:
            measured.append(Meter(tmp_path, journal)(Record("a", "a.mp4", "real")))
            rows = (tmp_path / "log.measures").read_text().count('"measures"')
    assert measured[0] == measured[1] != measured[2]
    assert rows == 2


@pytest.mark.parametrize("work", ["prompts", "standardise"])
def test_another_server_does_not_go_on_with_the_first_ones_answers(tmp_path: Path, work: str) -> None:
    records = [Record("a", annotations=(Annotation((Trace(explanation="arm bends like rubber"),)),))]
    for number in range(2):
        with (
            FaultServer(default=writer if work == "prompts" else editor) as server,
            ChatClient(server.url, "m", "k", sleep=lambda seconds: None) as client,
        ):
            try:
                if work == "prompts":
                    write_prompts(client, tmp_path, count=5)
                else:
                    standardise(records, client, tmp_path)
                words = ""
            except FileError as error:
                words = str(error)
            assert ("base_url" in words, bool(server.requests)) == (number == 1, number == 0)
