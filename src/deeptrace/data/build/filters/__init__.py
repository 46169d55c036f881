"""Curation: leave out videos that show no motion, are of poor quality or of the wrong length, and say which and why.

Records go in, `Filtered` comes out: what is kept, and one `Decision` for every video. "unsure" is a stratum of its own
everywhere: it is filtered by the same rules, counted apart, and never stands in for fake or real.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from deeptrace import files
from deeptrace.data.build.filters.measure import Measures, Meter
from deeptrace.data.stats import video_seconds
from deeptrace.errors import RecordError
from deeptrace.records import Record, check_number

Progress = Callable[[int, int], None]

STRATA: Final = ("fake", "real", "unsure", "unlabelled")


@dataclass(frozen=True)
class Decision:
    """One video and one filter: kept or not, and why. ``measured`` and ``limit`` are in the unit of the filter."""

    video_id: str
    stratum: str
    filter: str
    kept: bool
    reason: str
    measured: Mapping[str, float | None]
    limit: Mapping[str, float | None]


@dataclass(frozen=True)
class Filtered:
    """What is kept, in order, and a decision for every video that came in."""

    records: tuple[Record, ...]
    decisions: tuple[Decision, ...]

    @property
    def dropped(self) -> tuple[Decision, ...]:
        """The decisions against a video."""
        return tuple(decision for decision in self.decisions if not decision.kept)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many videos of each stratum were kept, or dropped for which reason: ``{stratum: {reason: n}}``."""
        by_stratum: dict[str, Counter[str]] = {}
        for decision in self.decisions:
            by_stratum.setdefault(decision.stratum, Counter())["kept" if decision.kept else decision.reason] += 1
        return {stratum: dict(by_stratum[stratum].most_common()) for stratum in STRATA if stratum in by_stratum}


def stratum_of(record: Record) -> str:
    """fake, real, unsure or unlabelled."""
    return record.label or "unlabelled"


def write_filter_log(path: str | os.PathLike[str], *filtered: Filtered) -> None:
    """One JSON line for every decision, in order, written as a whole. Its folder is made.

    Raises:
        FileError: the file cannot be written.
    """
    files.make_folder(Path(path).parent)
    files.write_jsonl(path, (asdict(decision) for step in filtered for decision in step.decisions))


# ── filters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def filter_length(records: Sequence[Record], *, min_seconds: float = 0.0, max_seconds: float | None = None) -> Filtered:
    """Keep videos whose declared length lies within the bounds, in seconds, both included; None: no upper one.

    A video without a length is dropped.

    Raises:
        RecordError: bounds that are not numbers, or the wrong way round.
    """
    low = check_number(min_seconds, "min_seconds", low=0.0)
    high = None if max_seconds is None else check_number(max_seconds, "max_seconds", low=low)
    limit = {"min_seconds": low, "max_seconds": high}

    def judge(record: Record) -> tuple[str, Mapping[str, float | None]]:
        seconds = video_seconds(record)
        reason = ""
        if seconds is None:
            reason = "length_unknown"
        elif seconds < low:
            reason = "too_short"
        elif high is not None and seconds > high:
            reason = "too_long"
        return reason, {"seconds": seconds}

    return _filter(records, "length", limit, judge)


def filter_motion(
    records: Sequence[Record],
    root: str | os.PathLike[str],
    *,
    min_motion: float = 0.005,
    meter: Meter | None = None,
    progress: Progress | None = None,
) -> Filtered:
    """Keep videos in which something moves: the median over frame pairs of the length of optical flow.

    ``min_motion`` is in diagonals of the frame a second, so it means the same at every size and rate; the default is
    about 4 pixels a second at 640 x 360. Coding noise and flicker of light do not count as motion. A ``meter`` that is
    given to several filters reads each video once for all of them.

    Raises:
        RecordError: ``min_motion`` is not a number from 0 up.
    """
    least = check_number(min_motion, "min_motion", low=0.0)

    def judge(measures: Measures) -> tuple[str, Mapping[str, float | None]]:
        reason = ""
        if measures.motion is None:
            reason = "single_frame"
        elif measures.motion < least:
            reason = "no_motion"
        return reason, {"motion": measures.motion}

    return _filter(
        records, "motion", {"min_motion": least}, _reading(meter or Meter(root), judge, len(records), progress)
    )


def filter_quality(
    records: Sequence[Record],
    root: str | os.PathLike[str],
    *,
    min_sharpness: float = 20.0,
    exposure: tuple[float, float] = (20.0, 235.0),
    max_clipped: float = 0.6,
    max_blockiness: float = 2.0,
    meter: Meter | None = None,
    progress: Progress | None = None,
) -> Filtered:
    """Keep videos that are neither blurred throughout, nor too dark or bright, nor full of coding blocks.

    ``min_sharpness``: variance of the Laplacian at a short side of 256 pixels, of the sharpest frame looked at, so a
    blur that comes and goes (which may be the trace) drops nothing. ``exposure``: mean grey level in 0..255.
    ``max_clipped``: share of pixels at black or white. ``max_blockiness``: steps over borders of 8 x 8 blocks by steps
    elsewhere, at native size. Means over the frames looked at. ``meter`` as in `filter_motion`.

    Raises:
        RecordError: a bound that makes no sense.
    """
    dark, bright = (check_number(level, "exposure", low=0.0, high=255.0) for level in exposure)
    if dark >= bright:
        raise RecordError("exposure", f"{dark:g} is not below {bright:g}")
    limit: dict[str, float | None] = {
        "min_sharpness": check_number(min_sharpness, "min_sharpness", low=0.0),
        "min_exposure": dark,
        "max_exposure": bright,
        "max_clipped": check_number(max_clipped, "max_clipped", low=0.0, high=1.0),
        "max_blockiness": check_number(max_blockiness, "max_blockiness", low=0.0),
    }

    def judge(measures: Measures) -> tuple[str, Mapping[str, float | None]]:
        checks = {
            "too_dark": measures.exposure < dark,
            "too_bright": measures.exposure > bright,
            "clipped": measures.clipped > max_clipped,
            "blurred": measures.sharpness < min_sharpness,
            "blocky": measures.blockiness > max_blockiness,
        }
        measured = {
            "sharpness": measures.sharpness,
            "exposure": measures.exposure,
            "clipped": measures.clipped,
            "blockiness": measures.blockiness,
        }
        return next((reason for reason, bad in checks.items() if bad), ""), measured

    return _filter(records, "quality", limit, _reading(meter or Meter(root), judge, len(records), progress))


# ── how a filter runs ───────────────────────────────────────────────────────────────────────────────────────────────


def _filter(
    records: Sequence[Record],
    name: str,
    limit: Mapping[str, float | None],
    judge: Callable[[Record], tuple[str, Mapping[str, float | None]]],
) -> Filtered:
    passing, decisions = [], []
    for record in records:
        reason, measured = judge(record)
        decisions.append(
            Decision(record.video_id, stratum_of(record), name, not reason, reason or "kept", measured, limit)
        )
        if not reason:
            passing.append(record)
    return Filtered(tuple(passing), tuple(decisions))


def _reading(
    meter: Meter,
    judge: Callable[[Measures], tuple[str, Mapping[str, float | None]]],
    count: int,
    progress: Progress | None,
) -> Callable[[Record], tuple[str, Mapping[str, float | None]]]:
    """A judge of records from one of measures; a file that cannot be read is dropped with the code of why."""
    done = 0

    def read(record: Record) -> tuple[str, Mapping[str, float | None]]:
        nonlocal done
        measures = meter(record)
        done += 1
        if progress is not None:
            progress(done, count)
        return (measures, {}) if isinstance(measures, str) else judge(measures)

    return read
