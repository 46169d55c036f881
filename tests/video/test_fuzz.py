"""A seeded slice of the fuzz run; `benchmarks/soak/fuzz_reader.py` is the whole of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deeptrace import video
from tests.video.fuzz import (
    MORE_FASTSTART,
    MUTATORS,
    NUM_FRAMES,
    SEED_CLIPS,
    Case,
    Count,
    Oracle,
    Outcome,
    count_everything,
    make_seeds,
    mutation,
    read,
    truncation,
)

MUTATIONS = 150


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as oracle:
        yield oracle
    video.close()


def judge(outcomes: list[Outcome]) -> None:
    bad = [outcome for outcome in outcomes if outcome.hung or outcome.silent_short or outcome.verdict == "untyped"]
    assert not bad, "\n".join(map(str, bad[:10]))


def test_the_seed_clips_are_whole(oracle: Oracle) -> None:
    for name, data in make_seeds(SEED_CLIPS | MORE_FASTSTART).items():
        count = count_everything(data)
        assert count is not None, name
        assert (count.displayed, count.short) == (NUM_FRAMES, False), name
        assert oracle.count(data) == count, name
        for fps in (2.0, 60.0, None):
            outcome = read(Case(name, data, NUM_FRAMES), oracle, fps=fps)
            assert (outcome.verdict, outcome.silent_short) == ("ok", False), outcome


def test_the_oracle_sees_what_is_missing(oracle: Oracle) -> None:
    """The test of the test: a short clip is called short, by count or by length, and nonsense says nothing."""
    seeds = make_seeds()
    for name in ("h264_faststart.mp4", "h264.mkv", "vp9.webm"):
        if name in seeds:
            count = oracle.count(seeds[name][: len(seeds[name]) * 3 // 4])
            assert count is not None
            assert count.short, name
    assert oracle.count(b"nonsense") is None
    assert not Count(24, 24, 0, False, 24, 1.9, 0.1, 2.0).short
    assert Count(20, 20, 3, False, 24, 1.9, 0.1, 2.0).short
    assert not Count(20, 20, 3, True, 24, 1.9, 0.1, 2.0).short


def test_no_truncation_is_read_short_in_silence(oracle: Oracle) -> None:
    seeds, outcomes = make_seeds(SEED_CLIPS | MORE_FASTSTART), []
    # Every 11th of the cases, in which the files take turns: every file, cuts all over its length.
    for number in range(0, len(seeds) * 100, 11):
        outcomes.append(read(truncation(seeds, 1, number), oracle, fps=2.0 if number % 2 else None))
    judge(outcomes)
    assert Counter(outcome.verdict for outcome in outcomes)["ok"] < len(outcomes) / 5


@pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
def test_no_mutation_hurts_the_caller(as_file: bool, oracle: Oracle, tmp_path: Path) -> None:
    seeds, outcomes = make_seeds(), []
    for number in range(MUTATIONS):
        case = mutation(seeds, 1 + as_file, number * 7)  # coprime to both counts: each a clip and a mutator of its own
        outcomes.append(read(case, oracle, folder=tmp_path if as_file else None))
    judge(outcomes)


def test_a_case_can_be_made_again() -> None:
    seeds = make_seeds({name: SEED_CLIPS[name] for name in ("h264.mp4", "mjpeg.avi")})
    cases = [mutation(seeds, 3, number) for number in range(2 * len(MUTATORS))]
    assert cases == [mutation(seeds, 3, number) for number in range(2 * len(MUTATORS))]
    assert {case.name.split("-")[1] for case in cases} == set(MUTATORS)
