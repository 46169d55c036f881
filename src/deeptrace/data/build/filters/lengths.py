"""Which part of which real video is as long as which fake: plans that `cut` carries out. Opens no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeptrace.data.build.filters.measure import scipy_stats
from deeptrace.data.stats import video_seconds
from deeptrace.errors import RecordError
from deeptrace.records import Record


@dataclass(frozen=True)
class MatchedCut:
    """A part of a real video, as long as the fake ``like``; ``start_seconds`` and ``length_seconds`` in the source."""

    record: Record
    start_seconds: float
    length_seconds: float
    like: str


@dataclass(frozen=True)
class LengthMatch:
    """Parts of real footage as long as the fakes; what they measure once they are cut, `cut.cut_clips` tells.

    ``unmatched`` lists fakes for which no real video was long enough. ``unsure`` videos are passed on as a stratum of
    their own. ``fake_seconds`` and ``real_seconds`` are the lengths of all whole videos that took part.
    """

    clips: tuple[MatchedCut, ...]
    unmatched: tuple[str, ...]
    unsure: tuple[Record, ...]
    fake_seconds: tuple[float, ...]
    real_seconds: tuple[float, ...]
    seed: int


def match_lengths(records: Sequence[Record], *, seed: int = 0) -> LengthMatch:
    """For every fake video a part of a real one that is as long; each real video is used at most once.

    The longest fakes choose first, each at random among real videos that are long enough, and the part is cut at
    random: so real videos need not be long for others' sake. By declared lengths; a video without one takes no part.
    The same seed gives the same clips.

    Raises:
        RecordError: no fake or no real video has a length.
    """
    rng = np.random.default_rng(seed)
    of: dict[str, list[tuple[float, Record]]] = {"fake": [], "real": []}
    for record in records:
        seconds = video_seconds(record)
        if record.label in of and seconds:
            of[str(record.label)].append((seconds, record))
    if not of["fake"] or not of["real"]:
        raise RecordError("match_lengths", "needs fake and real videos whose length is known")
    fakes = sorted(of["fake"], key=lambda item: (-item[0], item[1].video_id))
    reals = sorted(of["real"], key=lambda item: (-item[0], item[1].video_id))
    free: list[tuple[float, Record]] = []
    clips, unmatched, at = [], [], 0
    for length, fake in fakes:
        while at < len(reals) and reals[at][0] >= length:
            free.append(reals[at])
            at += 1
        if not free:
            unmatched.append(fake.video_id)
            continue
        seconds, real = free.pop(int(rng.integers(len(free))))
        start = float(rng.uniform(0.0, seconds - length)) if seconds > length else 0.0
        clips.append(MatchedCut(real, start, length, fake.video_id))
    return LengthMatch(
        clips=tuple(clips),
        unmatched=tuple(unmatched),
        unsure=tuple(record for record in records if record.label == "unsure"),
        fake_seconds=tuple(seconds for seconds, _ in fakes),
        real_seconds=tuple(seconds for seconds, _ in reals),
        seed=seed,
    )


@dataclass(frozen=True)
class Distance:
    """How far two samples of lengths are apart.

    ``ks`` is the Kolmogorov-Smirnov statistic, the largest difference of the two distribution functions, in [0, 1];
    ``wasserstein_seconds`` the mean by which lengths would have to change.
    """

    ks: float
    wasserstein_seconds: float


def distance(a: Sequence[float], b: Sequence[float]) -> Distance:
    """The distance of two samples that are not empty.

    Raises:
        MissingExtra: SciPy is not installed.
    """
    stats = scipy_stats("matching lengths")
    return Distance(float(stats.ks_2samp(a, b).statistic), float(stats.wasserstein_distance(a, b)))
