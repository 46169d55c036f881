"""A job cut into parts: every video in one of them, asked about once, and the whole as if it had not been cut."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.bench.run.runner import run
from deeptrace.data import write_records
from deeptrace.errors import FileError
from deeptrace.journal import Journal
from deeptrace.lock import LockError
from deeptrace.records import Frames, Record, VideoInfo
from deeptrace.shards import Shard, ShardError, parse_shard, shards_in
from deeptrace.video import write_video
from tests.bench.counting import CountingModel, made_records
from tests.commands import run_command, start_command

TORCH = {"RANK": "2", "WORLD_SIZE": "8", "LOCAL_RANK": "0"}


@given(st.lists(st.text(), unique=True, max_size=40), st.integers(1, 12))
def test_each_name_falls_in_one_part(names: list[str], count: int) -> None:
    parts = [Shard(number, count) for number in range(1, count + 1)]
    assert all(sum(part.holds(name) for part in parts) == 1 for name in names)


def test_parts_are_of_a_size() -> None:
    sizes = Counter(number for i in range(3318) for number in range(1, 9) if Shard(number, 8).holds(f"video-{i}"))
    assert max(sizes.values()) - min(sizes.values()) < 120  # of 415 each


@pytest.mark.parametrize(
    "text", ["", "3", "0/2", "3/2", "-1/2", "1/0", "1/2/3", "a/b", "1/99999", "²/3", "1/", "9" * 5000]
)
def test_what_names_no_part(text: str) -> None:
    with pytest.raises(ShardError, match="shard"):
        parse_shard(text, {})


def test_torchrun_says_which_part() -> None:
    assert parse_shard("torchrun", TORCH) == Shard(3, 8, device=0)
    for name in TORCH:
        with pytest.raises(ShardError, match=name):
            parse_shard("torchrun", {**TORCH, name: "x"})
        with pytest.raises(ShardError, match=f"{name} is not set"):
            parse_shard("torchrun", {key: value for key, value in TORCH.items() if key != name})


def test_folders_of_parts(tmp_path: Path) -> None:
    for name in ("shard-10-of-12", "shard-2-of-12", "shard-1-of-3", "shard-x-of-3", "shard-0-of-3", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "shard-3-of-3").write_text("a file")
    (tmp_path / "shard-2-of-3").symlink_to(tmp_path / "other")
    assert [path.name for path in shards_in(tmp_path)] == ["shard-1-of-3", "shard-2-of-12", "shard-10-of-12"]
    assert list(shards_in(tmp_path / "nothing")) == []


def test_parts_of_a_run_come_together_once(tmp_path: Path) -> None:
    records, calls, out = made_records(60), tmp_path / "calls", tmp_path / "run"
    for number in (1, 2, 3):
        done = run(CountingModel(calls), records, tmp_path, out, shard=Shard(number, 3))
        assert 0 < len(done.outcomes) == done.total < 60
    assert not (out / "verdicts.jsonl").exists()
    for _ in range(2):
        whole = run(CountingModel(calls), records, tmp_path, out)
        assert (len(whole.outcomes), whole.total, whole.num_asked) == (60, 60, 0)
    run(CountingModel(tmp_path / "other-calls"), records, tmp_path, tmp_path / "unbroken")
    assert (out / "verdicts.jsonl").read_bytes() == (tmp_path / "unbroken/verdicts.jsonl").read_bytes()
    assert set(Counter(calls.read_text().split()).values()) == {1}
    assert len((out / "journal.jsonl").read_text().splitlines()) == 61  # the settings, and a row a video


def test_what_no_part_has_answered_is_asked_about(tmp_path: Path) -> None:
    records, calls, out = made_records(30), tmp_path / "calls", tmp_path / "run"
    first = run(CountingModel(calls), records, tmp_path, out, shard=Shard(1, 3))
    # Cut anew, with two parts: what the first cut answered stays answered.
    run(CountingModel(calls), records, tmp_path, out, shard=Shard(2, 2))
    whole = run(CountingModel(calls), records, tmp_path, out)
    assert len(whole.outcomes) == 30
    assert whole.num_asked == 30 - len(
        {
            record.video_id
            for record in records
            if Shard(1, 3).holds(record.video_id) or Shard(2, 2).holds(record.video_id)
        }
    )
    assert 0 < whole.num_asked < 30 - first.total


def test_parts_that_do_not_belong_or_are_at_work_are_refused(tmp_path: Path) -> None:
    records, calls, out = made_records(6), tmp_path / "calls", tmp_path / "run"
    run(CountingModel(calls), records, tmp_path, out, shard=Shard(1, 2), seed=1)
    with pytest.raises(FileError, match="other settings \\(seed\\)"):
        run(CountingModel(calls), records, tmp_path, out)
    with (
        Journal(out / "shard-1-of-2/journal.jsonl", _settings(out), lock=True),
        pytest.raises(LockError, match="shard-1-of-2"),
    ):
        run(CountingModel(calls), records, tmp_path, out, seed=1)


def _settings(out: Path) -> dict[str, object]:
    line = json.loads((out / "shard-1-of-2/journal.jsonl").read_text().splitlines()[0])
    assert isinstance(line["settings"], dict)
    return line["settings"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight short clips with their records, and an answer to each."""
    folder = tmp_path / "data"
    folder.mkdir()
    records = []
    for k in range(8):
        write_video(folder / f"{k}.mp4", Frames.from_array(np.full((24, 128, 256, 3), 20 * k, np.uint8), 8))
        records.append(
            Record(f"{k}", f"{k}.mp4", ("fake", "real")[k % 2], VideoInfo(256, 128, 8.0, 24, 3.0), split="test")
        )
    write_records(folder / "records.jsonl", records)
    text = "<answer>\\nREAL\\n</answer>"
    (tmp_path / "answers.jsonl").write_text("".join(f'{{"video_id": "{k}", "text": "{text}"}}\n' for k in range(8)))
    return folder


@pytest.mark.parametrize("track", ["original", "normalised"])
def test_bench_run_in_parts_at_once_by_torchrun(data: Path, tmp_path: Path, track: str) -> None:
    """The changed videos of a track are made once; the parts wait for each other there."""
    model = f"scripted:{tmp_path / 'answers.jsonl'}"
    options = ("bench", "run", data, "--model", model, "--track", track, "--short-side", "128")
    parts = [
        start_command(
            *options, "--out", tmp_path / "run", "--shard", "torchrun",
            env={"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [part.wait() for part in parts] == [0, 0]
    whole = run_command(*options, "--out", tmp_path / "run", "--json")
    assert whole.returncode == 0, whole.stderr
    (summary,) = json.loads(whole.stdout)["runs"]
    assert (summary["status"], summary["verdict"], summary["asked"]) == ("complete", 8, 0)
    alone = run_command(*options, "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "run/verdicts.jsonl").read_bytes() == (tmp_path / "alone/verdicts.jsonl").read_bytes()


def test_inspect_in_parts(data: Path, tmp_path: Path) -> None:
    options = ("inspect", data, "--model", f"scripted:{tmp_path / 'answers.jsonl'}", "--jobs", "1", "--json")
    sizes = []
    for number in (1, 2):
        part = run_command(*options, "--out", tmp_path / "out", "--shard", f"{number}/2")
        assert part.returncode == 0, part.stderr
        sizes.append(len(part.stdout.splitlines()))
    assert min(sizes) > 0
    assert sum(sizes) == 8
    whole = run_command(*options, "--out", tmp_path / "out")
    assert "8 of 8 have a row already" in whole.stderr
    alone = run_command(*options, "--out", tmp_path / "alone")
    assert whole.stdout == alone.stdout
    assert (tmp_path / "out/index.html").exists()


def test_a_part_may_hold_no_video(data: Path, tmp_path: Path) -> None:
    """As with more processes than videos."""
    model = f"scripted:{tmp_path / 'answers.jsonl'}"
    number = next(
        n for n in range(1, 51) if not any(Shard(n, 50).holds(name) for k in range(8) for name in (f"{k}", f"{k}.mp4"))
    )
    for options in (("inspect", data), ("bench", "run", data)):
        part = run_command(
            *options, "--model", model, "--out", tmp_path / "out" / options[0], "--shard", f"{number}/50"
        )
        assert part.returncode == 0, part.stderr
        assert "Traceback" not in part.stderr


def test_a_part_needs_a_folder_to_come_together_in(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    refused = run_command("inspect", tmp_path / "a.mp4", "--shard", "1/2")
    assert refused.returncode == 2
    assert "--shard needs --out" in refused.stderr
    refused = run_command("inspect", tmp_path / "a.mp4", "--shard", "3/2", "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "K from 1 to N" in refused.stderr
