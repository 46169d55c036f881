"""The runner: every video once, the same bytes however the work is cut up, and nothing lost by a kill."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deeptrace.bench.run.runner import RunProgress, run
from deeptrace.bench.run.tracks import run_track
from deeptrace.bench.run.verdicts import read_verdicts
from deeptrace.chat import ChatStopped, Spent
from deeptrace.data import Records, load_records, write_records
from deeptrace.errors import FileError, ModelError, RecordError
from deeptrace.lock import LockError
from deeptrace.models import VideoSource
from deeptrace.records import Failed, Outcome, Record, Verdict
from tests.bench.counting import CountingModel, answer, made_records
from tests.commands import Command, start_command


def _bytes(folder: Path) -> bytes:
    return (folder / "verdicts.jsonl").read_bytes()


def test_an_answer_stands_under_the_records_own_id_and_path(tmp_path: Path) -> None:
    run(CountingModel(tmp_path / "calls"), made_records(3), tmp_path, tmp_path / "run")
    rows = [json.loads(line) for line in _bytes(tmp_path / "run").splitlines()]
    assert [(row["video_id"], row["path"]) for row in rows] == [(f"v{i:04d}", f"videos/v{i:04d}.mp4") for i in range(3)]
    assert str(tmp_path) not in _bytes(tmp_path / "run").decode()


@pytest.mark.parametrize("workers", [1, 8])
def test_the_same_bytes_at_once_in_pieces_or_shuffled(tmp_path: Path, workers: int) -> None:
    records = made_records(60)
    run(CountingModel(tmp_path / "calls"), records, tmp_path, tmp_path / "once")

    pieces = CountingModel(tmp_path / "calls-of-pieces")
    for end in (20, 40, 60):
        run(pieces, records[:end], tmp_path, tmp_path / "pieces", workers=workers)

    mixed = random.Random(0).sample(records, len(records))
    run(CountingModel(tmp_path / "calls"), mixed, tmp_path, tmp_path / "mixed", workers=workers)
    assert _bytes(tmp_path / "once") == _bytes(tmp_path / "pieces") == _bytes(tmp_path / "mixed")
    assert set(Counter((tmp_path / "calls-of-pieces").read_text().split()).values()) == {1}


def test_what_was_answered_is_not_asked_again_and_lasting_failures_stay(tmp_path: Path) -> None:
    records, calls = made_records(40), tmp_path / "calls"
    first = run(CountingModel(calls), records, tmp_path, tmp_path / "run")
    again = run(CountingModel(calls), records, tmp_path, tmp_path / "run")
    assert (first.num_asked, again.num_asked) == (40, 0)
    assert first.outcomes == again.outcomes
    assert any(isinstance(outcome, Failed) for outcome in first.outcomes.values())
    assert not again.complete


class Moody(CountingModel):
    """Fails for a reason that passes, the first ``times`` times it sees a video."""

    def __init__(self, calls: Path, times: int) -> None:
        super().__init__(calls)
        self._left: Counter[str] = Counter()
        self._times = times

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        for video in videos:
            name = Path(os.fspath(video)).stem  # type: ignore[arg-type]
            self._left[name] += 1
            [outcome] = super().inspect_iter([video])
            early = self._left[name] <= self._times
            yield Failed("RATE_LIMITED", "later", outcome.origin) if early else outcome


def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    records = [record for record in made_records(12) if isinstance(answer(record.video_id), Verdict)]
    once = run(Moody(tmp_path / "calls", 1), records, tmp_path, tmp_path / "one")
    assert once.complete
    assert once.num_asked == 2 * len(records)
    model = Moody(tmp_path / "calls", 2)
    twice = run(model, records, tmp_path, tmp_path / "two")
    assert twice.to_json()["codes"] == {"RATE_LIMITED": len(records)}
    assert run(model, records, tmp_path, tmp_path / "two").complete
    line = json.loads((tmp_path / "two" / "journal.jsonl").read_text().splitlines()[-1])
    assert line["attempt"] == 3


def test_verdicts_are_rows_of_ours_and_nothing_else(tmp_path: Path) -> None:
    run(CountingModel(tmp_path / "calls"), made_records(3), tmp_path, tmp_path / "run")
    with open(tmp_path / "run" / "verdicts.jsonl", "a") as file:
        file.write('{"video_id": "v9", "text": "REAL"}\n')
    with pytest.raises(RecordError, match=r"verdicts\.jsonl line 4: is no row of"):
        read_verdicts(tmp_path / "run")
    with open(tmp_path / "run" / "verdicts.jsonl", "a") as file:
        file.truncate(0)
        file.write("7\n")
    with pytest.raises(RecordError, match=r"verdicts\.jsonl line 1"):
        read_verdicts(tmp_path / "run")


def test_two_runs_do_not_mix(tmp_path: Path) -> None:
    model = CountingModel(tmp_path / "calls")
    run(model, made_records(2), tmp_path, tmp_path / "run", about={"track": "original"})
    with pytest.raises(FileError, match="track"):
        run(model, made_records(2), tmp_path, tmp_path / "run", about={"track": "platform"})
    with pytest.raises(FileError, match="seed"):
        run(model, made_records(2), tmp_path, tmp_path / "run", about={"track": "original"}, seed=1)


def test_an_answer_about_another_file_is_not_taken(tmp_path: Path) -> None:
    calls, [record] = tmp_path / "calls", made_records(1)
    run(CountingModel(calls), [record], tmp_path, tmp_path / "run")
    moved = replace(record, path="videos/other.mp4")
    assert run(CountingModel(calls), [moved], tmp_path, tmp_path / "run").num_asked == 1


def videos(root: Path, count: int, mark: str) -> Records:
    """A dataset whose ids and paths are those of any other one; only the files differ."""
    (root / "videos").mkdir(parents=True)
    records = made_records(count)
    for record in records:
        (root / str(record.path)).write_bytes(f"{mark} {record.video_id}".encode())
    write_records(root / "records.jsonl", records)
    return load_records(root)


def test_answers_of_another_dataset_with_the_same_ids_are_not_taken(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    ours, theirs = videos(tmp_path / "ours", 4, "a"), videos(tmp_path / "theirs", 4, "b")
    out = tmp_path / "run"
    run_track(CountingModel(calls), ours, out, "original", split="test")
    with pytest.raises(FileError, match="dataset"):
        run_track(CountingModel(calls), theirs, out, "original", split="test")
    # Even where the folders are called alike, the files are told apart, and what was paid for stays.
    alike = videos(tmp_path / "elsewhere" / "ours", 4, "b")
    [other] = run_track(CountingModel(calls), alike, out, "original", split="test")
    assert other.run.num_asked == 4
    assert {o.origin.sha256 for o in read_verdicts(out)} == {
        hashlib.sha256(f"b v{i:04d}".encode()).hexdigest() for i in range(4)
    }
    [again] = run_track(CountingModel(calls), ours, out, "original", split="test")
    assert again.run.num_asked == 0


def test_a_video_replaced_in_place_is_asked_about_again(tmp_path: Path) -> None:
    """Of the same size and with its old time put back."""
    calls, records = tmp_path / "calls", videos(tmp_path / "data", 3, "a")
    first = run(CountingModel(calls), records, records.root, tmp_path / "run")
    path = records.root / str(records[1].path)
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"a", b"z"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = run(CountingModel(calls), records, records.root, tmp_path / "run")
    assert (first.num_asked, again.num_asked) == (3, 1)
    assert calls.read_text().split().count(records[1].video_id) == 2
    moved = tmp_path / "elsewhere"
    (records.root).rename(moved)
    assert run(CountingModel(calls), records, moved, tmp_path / "run").num_asked == 0


class Replacing(CountingModel):
    """Somebody replaces the video while the model is at it, once."""

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        for video in videos:
            [outcome] = super().inspect_iter([video])
            if self._calls.read_text().count("\n") == 1:
                Path(os.fspath(video)).write_bytes(b"another")  # type: ignore[arg-type]
            yield outcome


def test_a_video_replaced_while_it_is_asked_about_is_asked_about_again(tmp_path: Path) -> None:
    records = videos(tmp_path / "data", 1, "a")
    done = run(Replacing(tmp_path / "calls"), records, records.root, tmp_path / "run")
    assert done.num_asked == 2
    [outcome] = read_verdicts(tmp_path / "run")
    assert outcome.origin.sha256 == hashlib.sha256(b"another").hexdigest()
    once = run(Replacing(tmp_path / "more"), videos(tmp_path / "d", 1, "a"), tmp_path / "d", tmp_path / "r", tries=1)
    assert once.to_json()["codes"] == {"FILE_CHANGED": 1}


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    model = CountingModel(tmp_path / "calls", seconds=0.5)
    thread = threading.Thread(target=lambda: run(model, made_records(2), tmp_path, tmp_path / "run"))
    thread.start()
    while not (tmp_path / "calls").exists():
        time.sleep(0.01)
    with pytest.raises(LockError):
        run(model, made_records(2), tmp_path, tmp_path / "run")
    thread.join()


class Paid(CountingModel):
    """Costs one a video, and has money for ``money`` of them."""

    def __init__(self, calls: Path, money: int) -> None:
        super().__init__(calls)
        self._money, self.spent, self._lock = money, Spent(), threading.Lock()

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        for video in videos:
            with self._lock:
                if self.spent.cost >= self._money:
                    raise ChatStopped("MAX_COST", "nothing left")
                self.spent = Spent(self.spent.requests + 1, self.spent.cost + 1.0)
            yield from super().inspect_iter([video])


@pytest.mark.parametrize("workers", [1, 4])
def test_a_run_out_of_money_keeps_what_it_paid_for_and_goes_on(tmp_path: Path, workers: int) -> None:
    records = made_records(20)
    seen: list[RunProgress] = []
    first = run(Paid(tmp_path / "calls", 8), records, tmp_path, tmp_path / "run", workers=workers, progress=seen.append)
    assert first.stopped is not None
    assert first.stopped.code == "MAX_COST"
    assert len(first.outcomes) == len(read_verdicts(tmp_path / "run")) == 8
    assert seen[-1].cost == first.cost == 8.0
    rest = run(Paid(tmp_path / "calls", 100), records, tmp_path, tmp_path / "run", workers=workers)
    assert rest.stopped is None
    assert (rest.num_asked, rest.cost) == (12, 20.0)
    assert set(Counter((tmp_path / "calls").read_text().split()).values()) == {1}


def test_progress_tells_how_far_and_how_long(tmp_path: Path) -> None:
    seen: list[RunProgress] = []
    run(CountingModel(tmp_path / "calls", 0.001), made_records(10), tmp_path, tmp_path / "run", progress=seen.append)
    assert [now.done for now in seen] == list(range(11))
    assert seen[0].seconds_left is None
    assert all(now.seconds_left is not None for now in seen[1:])
    assert seen[-1].seconds_left == 0.0


class Miscounting(CountingModel):
    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        for video in videos:
            if "v0002" not in str(video):
                yield from super().inspect_iter([video])


def test_a_model_that_loses_a_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="1 outcomes fewer"):
        run(Miscounting(tmp_path / "calls"), made_records(4), tmp_path, tmp_path / "run")


def test_a_record_without_a_usable_path_fails_and_counts(tmp_path: Path) -> None:
    done = run(CountingModel(tmp_path / "calls"), [Record("a", None, "fake")], tmp_path, tmp_path / "run")
    assert done.to_json()["codes"] == {"NO_USABLE_PATH": 1}


def test_one_id_on_two_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="two records"):
        run(CountingModel(tmp_path / "calls"), [*made_records(1)] * 2, tmp_path, tmp_path / "run")


# ── kill -9 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _piece(root: Path, folder: Path, calls: Path, workers: int, seconds: float) -> Command:
    words = (root, folder, calls, str(workers), str(seconds))
    return start_command(*words, module="tests.bench.counting", preload=("deeptrace.bench.run.runner",))


@pytest.mark.linux
@pytest.mark.parametrize("workers", [1, 8])
def test_killed_at_any_moment_every_video_stands_there_once(tmp_path: Path, workers: int) -> None:
    """At the end the bytes of an unbroken run, and at most the videos under way at a kill asked about twice."""
    records, draw, kills = made_records(120), random.Random(workers), 0
    write_records(tmp_path / "records.jsonl", records)
    folder, calls = tmp_path / "run", tmp_path / "calls"
    for _ in range(6):
        asked = len(calls.read_text().split()) if calls.exists() else 0
        piece = _piece(tmp_path, folder, calls, workers, 0.01)
        target = asked + draw.randint(3, 18)
        while piece.poll() is None and (not calls.exists() or len(calls.read_text().split()) < target):
            time.sleep(0.001)
        time.sleep(draw.random() * 0.01)
        if piece.poll() is None:
            piece.send_signal(signal.SIGKILL)
            kills += 1
        piece.wait()
    assert kills == 6
    assert _piece(tmp_path, folder, calls, workers, 0.0).wait() == 0
    run(CountingModel(tmp_path / "unbroken-calls"), records, tmp_path, tmp_path / "unbroken")
    assert _bytes(folder) == _bytes(tmp_path / "unbroken")
    counted = Counter(calls.read_text().split())
    assert set(counted) == {record.video_id for record in records}
    assert sum(counted.values()) - len(records) <= 6 * workers


def test_half_a_line_at_the_end_is_dropped_and_asked_again(tmp_path: Path) -> None:
    records, calls = made_records(5), tmp_path / "calls"
    run(CountingModel(calls), records, tmp_path, tmp_path / "run")
    whole, journal = _bytes(tmp_path / "run"), tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines[-1]), 97):
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
        (tmp_path / "run" / "verdicts.jsonl").unlink()
        assert run(CountingModel(calls), records, tmp_path, tmp_path / "run").num_asked == 1
        assert _bytes(tmp_path / "run") == whole
