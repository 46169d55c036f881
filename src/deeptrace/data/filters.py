"""Curation: leave out videos that show no motion, are of poor quality or of the wrong length, and say which and why.

Records go in, `Filtered` comes out: what is kept, and one `Decision` for every video. Also footage cut so that real
videos are as long as fake ones (`match_lengths`). "unsure" is a stratum of its own everywhere: it is filtered by the
same rules, counted apart, and never stands in for fake or real.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace import files
from deeptrace.data.filters_measure import Measures, measure
from deeptrace.data.paths import resolve
from deeptrace.errors import RecordError, VideoError
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

    kept: tuple[Record, ...]
    decisions: tuple[Decision, ...]

    @property
    def dropped(self) -> tuple[Decision, ...]:
        """The decisions against a video."""
        return tuple(decision for decision in self.decisions if not decision.kept)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many videos of each stratum were kept, or dropped for which reason: ``{stratum: {reason: n}}``."""
        found: dict[str, Counter[str]] = {}
        for decision in self.decisions:
            found.setdefault(decision.stratum, Counter())["kept" if decision.kept else decision.reason] += 1
        return {stratum: dict(found[stratum].most_common()) for stratum in STRATA if stratum in found}


def stratum_of(record: Record) -> str:
    """fake, real, unsure or unlabelled."""
    return record.label or "unlabelled"


def write_filter_log(path: str | os.PathLike[str], *filtered: Filtered) -> None:
    """One JSON line for every decision, in order, written as a whole.

    Raises:
        FileError: the file cannot be written.
    """
    files.write_jsonl(path, (asdict(decision) for found in filtered for decision in found.decisions))


# ── filters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def filter_length(records: Sequence[Record], *, min_seconds: float = 0.0, max_seconds: float | None = None) -> Filtered:
    """Keep videos whose declared length lies within the bounds (both included). One without a length is dropped.

    Raises:
        RecordError: bounds that are not numbers, or the wrong way round.
    """
    low = check_number(min_seconds, "min_seconds", low=0.0)
    high = None if max_seconds is None else check_number(max_seconds, "max_seconds", low=low)
    limit = {"min_seconds": low, "max_seconds": high}

    def judge(record: Record) -> tuple[str, Mapping[str, float | None]]:
        seconds = record.info.duration_seconds if record.info is not None else None
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
    progress: Progress | None = None,
) -> Filtered:
    """Keep videos in which something moves: the median over frame pairs of the length of optical flow.

    ``min_motion`` is in diagonals of the frame a second, so it means the same at every size and rate; the default is
    about 4 pixels a second at 640 x 360. Coding noise and flicker of light do not count as motion.

    Raises:
        RecordError: ``min_motion`` is not a number from 0 up.
    """
    least = check_number(min_motion, "min_motion", low=0.0)

    def judge(found: Measures) -> tuple[str, Mapping[str, float | None]]:
        reason = ""
        if found.motion is None:
            reason = "single_frame"
        elif found.motion < least:
            reason = "no_motion"
        return reason, {"motion": found.motion}

    return _filter(records, "motion", {"min_motion": least}, _reading(root, judge, len(records), progress))


def filter_quality(
    records: Sequence[Record],
    root: str | os.PathLike[str],
    *,
    min_sharpness: float = 20.0,
    exposure: tuple[float, float] = (20.0, 235.0),
    max_clipped: float = 0.6,
    max_blockiness: float = 2.0,
    progress: Progress | None = None,
) -> Filtered:
    """Keep videos that are neither blurred throughout, nor too dark or bright, nor full of coding blocks.

    ``min_sharpness``: variance of the Laplacian at a short side of 256 pixels, of the sharpest frame looked at, so a
    blur that comes and goes (which may be the trace) drops nothing. ``exposure``: mean grey level in 0..255.
    ``max_clipped``: share of pixels at black or white. ``max_blockiness``: steps over borders of 8 x 8 blocks by steps
    elsewhere, at native size. Means over the frames looked at.

    Raises:
        RecordError: a bound that makes no sense.
    """
    dark, bright = (check_number(v, "exposure", low=0.0, high=255.0) for v in exposure)
    if dark >= bright:
        raise RecordError("exposure", f"{dark:g} is not below {bright:g}")
    limit: dict[str, float | None] = {
        "min_sharpness": check_number(min_sharpness, "min_sharpness", low=0.0),
        "min_exposure": dark,
        "max_exposure": bright,
        "max_clipped": check_number(max_clipped, "max_clipped", low=0.0, high=1.0),
        "max_blockiness": check_number(max_blockiness, "max_blockiness", low=0.0),
    }

    def judge(found: Measures) -> tuple[str, Mapping[str, float | None]]:
        checks = {
            "too_dark": found.exposure < dark,
            "too_bright": found.exposure > bright,
            "clipped": found.clipped > max_clipped,
            "blurred": found.sharpness < min_sharpness,
            "blocky": found.blockiness > max_blockiness,
        }
        measured = {
            "sharpness": found.sharpness,
            "exposure": found.exposure,
            "clipped": found.clipped,
            "blockiness": found.blockiness,
        }
        return next((reason for reason, bad in checks.items() if bad), ""), measured

    return _filter(records, "quality", limit, _reading(root, judge, len(records), progress))


# ── how a filter runs ───────────────────────────────────────────────────────────────────────────────────────────────


def _filter(
    records: Sequence[Record],
    name: str,
    limit: Mapping[str, float | None],
    judge: Callable[[Record], tuple[str, Mapping[str, float | None]]],
) -> Filtered:
    kept, decisions = [], []
    for record in records:
        reason, measured = judge(record)
        decisions.append(
            Decision(record.video_id, stratum_of(record), name, not reason, reason or "kept", measured, limit)
        )
        if not reason:
            kept.append(record)
    return Filtered(tuple(kept), tuple(decisions))


def _reading(
    root: str | os.PathLike[str],
    judge: Callable[[Measures], tuple[str, Mapping[str, float | None]]],
    count: int,
    progress: Progress | None,
) -> Callable[[Record], tuple[str, Mapping[str, float | None]]]:
    """A judge of records from one of measures; a file that cannot be read is dropped with the code of why."""
    done = 0

    def read(record: Record) -> tuple[str, Mapping[str, float | None]]:
        nonlocal done
        try:
            return judge(measure(resolve(root, record)))
        except VideoError as error:
            return f"unreadable: {error.code}", {}
        except RecordError:
            return "no_usable_path", {}
        finally:
            done += 1
            if progress is not None:
                progress(done, count)

    return read


# ── lengths ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Clip:
    """A part of a real video, as long as the fake ``like``; ``start_seconds`` and ``length_seconds`` in the source."""

    record: Record
    start_seconds: float
    length_seconds: float
    like: str


@dataclass(frozen=True)
class LengthMatch:
    """Clips of real footage whose lengths are distributed as those of the fakes.

    ``ks`` is the Kolmogorov-Smirnov statistic (largest difference of the two distribution functions, in [0, 1]) and
    ``wasserstein_seconds`` the mean by which lengths would have to move; each with its value ``before``, of whole
    videos. ``unmatched`` lists fakes for which no real video was long enough. ``unsure`` are passed on untouched.
    """

    clips: tuple[Clip, ...]
    unmatched: tuple[str, ...]
    unsure: tuple[Record, ...]
    ks: float
    ks_before: float
    wasserstein_seconds: float
    wasserstein_seconds_before: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values; records by their ids."""
        row = {name: getattr(self, name) for name in ("ks", "ks_before", "wasserstein_seconds")}
        row["wasserstein_seconds_before"] = self.wasserstein_seconds_before
        row["unmatched"], row["unsure"] = list(self.unmatched), [record.video_id for record in self.unsure]
        row["clips"] = [
            {
                "video_id": clip.record.video_id,
                "start_seconds": clip.start_seconds,
                "length_seconds": clip.length_seconds,
                "like": clip.like,
            }
            for clip in self.clips
        ]
        return row


def match_lengths(records: Sequence[Record], *, seed: int = 0) -> LengthMatch:
    """For every fake video a part of a real one that is as long; each real video is used at most once.

    The longest fakes choose first, each at random among real videos that are long enough, and the part is cut at
    random: so real videos need not be long for others' sake. By declared lengths; a video without one takes no part.
    The same seed gives the same clips.

    Raises:
        RecordError: no fake or no real video has a length.
        MissingExtra: SciPy is not installed.
    """
    rng = np.random.default_rng(seed)
    of: dict[str, list[tuple[float, Record]]] = {"fake": [], "real": []}
    for record in records:
        seconds = record.info.duration_seconds if record.info is not None else None
        if record.label in of and seconds:
            of[str(record.label)].append((seconds, record))
    if not of["fake"] or not of["real"]:
        raise RecordError("match_lengths", "needs fake and real videos whose length is known")
    fakes = sorted(of["fake"], key=lambda item: (-item[0], item[1].video_id))
    reals = sorted(of["real"], key=lambda item: (-item[0], item[1].video_id))
    free: list[tuple[float, Record]] = []
    clips, unmatched, at = [], [], 0
    for wanted, fake in fakes:
        while at < len(reals) and reals[at][0] >= wanted:
            free.append(reals[at])
            at += 1
        if not free:
            unmatched.append(fake.video_id)
            continue
        seconds, real = free.pop(int(rng.integers(len(free))))
        start = float(rng.uniform(0.0, seconds - wanted)) if seconds > wanted else 0.0
        clips.append(Clip(real, start, wanted, fake.video_id))
    target = [seconds for seconds, _ in fakes]
    before = distance(target, [seconds for seconds, _ in reals])
    after = distance(target, [clip.length_seconds for clip in clips]) if clips else before
    return LengthMatch(
        clips=tuple(clips),
        unmatched=tuple(unmatched),
        unsure=tuple(record for record in records if record.label == "unsure"),
        ks=after[0],
        ks_before=before[0],
        wasserstein_seconds=after[1],
        wasserstein_seconds_before=before[1],
    )


def distance(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic and Wasserstein-1 distance of two samples.

    Raises:
        MissingExtra: SciPy is not installed.
    """
    from deeptrace.data.filters_measure import scipy_stats

    stats = scipy_stats("matching lengths")
    return float(stats.ks_2samp(a, b).statistic), float(stats.wasserstein_distance(a, b))


def cut_clips(
    clips: Sequence[Clip],
    src_root: str | os.PathLike[str],
    dst_root: str | os.PathLike[str],
    *,
    crf: int = 18,
    progress: Progress | None = None,
) -> tuple[Record, ...]:
    """Write each clip as a video of its own under ``dst_root``, at its own size and rate; records of the new videos.

    The new file has the source's path with ``.mp4``. Traces are carried along, those outside are dropped. ``info`` is
    read from the new file.

    Raises:
        VideoError: a video cannot be read or written.
        FileError: a folder cannot be made.
    """
    from deeptrace.data.filters_measure import cut_clip

    made = []
    for done, clip in enumerate(clips):
        if progress is not None:
            progress(done, len(clips))
        made.append(cut_clip(clip.record, clip.start_seconds, clip.length_seconds, Path(src_root), Path(dst_root), crf))
    if progress is not None:
        progress(len(clips), len(clips))
    return tuple(made)
