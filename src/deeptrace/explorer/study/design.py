"""What a study shows: clips of a dataset with what is known of them, and for each participant an order of their own.

Nobody sees a clip twice, or both twins of a pair one after the other: the second would give the first away. Attention
checks are clips that say themselves what to answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np

from deeptrace.errors import RecordError
from deeptrace.pages.overlay import FrameSink
from deeptrace.records import Frames, Record, Trace
from deeptrace.rows import trace_from_json, trace_to_json

__all__ = ["StudyClip", "StudyDesign", "StudyTrial", "clips_of", "plan_trials", "write_check_clip"]

StudyMode = Literal["single", "pairs"]
ClipKind = Literal["fake", "sham", "clean"]
CHECK: Final = "check"
_CHECK_SECONDS: Final = 3.0
_CHECK_FPS: Final = 12
_CHECK_HW: Final = (360, 640)
CHECK_BOX: Final = (0.4, 0.55, 0.6, 0.9)
"""Where the square of an attention check is, in fractions of the frame."""

CHECK_ONSET_SECONDS: Final = 1.0


@dataclass(frozen=True)
class StudyClip:
    """A clip that may be shown. ``kind``: a trace is in it, a sham edit that shows nothing, or neither.

    ``category`` and ``strength`` (in (0, 1]) are what was put in; ``twin`` is the id of the clip made of the same
    footage, where there is one.
    """

    video_id: str
    kind: ClipKind
    category: str | None = None
    strength: float | None = None
    twin: str | None = None
    trace: Trace | None = None

    def to_json(self) -> dict[str, Any]:
        """The clip as it stands in ``study.json``."""
        return {**vars(self), "trace": None if self.trace is None else trace_to_json(self.trace)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StudyClip:
        """The clip in a row of ``study.json``."""
        trace = row.get("trace")
        return cls(**{**row, "trace": None if trace is None else trace_from_json(trace)})


@dataclass(frozen=True)
class StudyTrial:
    """One thing that is shown: one clip, two side by side (left, right), or an attention check (no clip)."""

    number: int
    kind: Literal["single", "pair", "check"]
    clips: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StudyTrial:
        """The trial in JSON of ours."""
        return cls(int(row["number"]), row["kind"], tuple(row["clips"]))


@dataclass(frozen=True)
class StudyDesign:
    """Everything that decides what is shown. ``trials`` a participant, ``checks`` of them on top."""

    clips: tuple[StudyClip, ...]
    mode: StudyMode = "single"
    trials: int = 20
    checks: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        kinds = {clip.kind for clip in self.clips}
        if "fake" not in kinds or not kinds - {"fake"}:
            raise RecordError("study", "needs clips with a trace and clips without one; `deeptrace inject` makes both")
        if self.mode == "pairs" and not self._pairs():
            raise RecordError("study", "pairs need twins, as `deeptrace inject` makes them")
        for name, low in (("trials", 1), ("checks", 0)):
            if not low <= getattr(self, name) <= 500:
                raise RecordError(name, f"{getattr(self, name)} is not between {low} and 500")

    @property
    def by_id(self) -> dict[str, StudyClip]:
        """The clips by id."""
        return {clip.video_id: clip for clip in self.clips}

    def _pairs(self) -> list[tuple[StudyClip, StudyClip]]:
        known = self.by_id
        fakes = [clip for clip in self.clips if clip.kind == "fake" and clip.twin in known]
        return [(clip, known[clip.twin]) for clip in fakes if clip.twin is not None and known[clip.twin].kind != "fake"]

    def to_json(self) -> dict[str, Any]:
        """The design as it stands in ``study.json``."""
        return {**vars(self), "clips": [clip.to_json() for clip in self.clips]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StudyDesign:
        """The design in ``study.json``."""
        return cls(**{**row, "clips": tuple(StudyClip.from_json(clip) for clip in row["clips"])})


def clips_of(records: Sequence[Record]) -> list[StudyClip]:
    """The clips of a dataset that a study can show: those with a file, and a label of fake or real."""
    clips = []
    for record in records:
        if record.path is None or record.label not in ("fake", "real"):
            continue
        facts = _facts(record)
        params = facts.get("inject_params")
        strength = params.get("strength") if isinstance(params, Mapping) else None
        trace = record.traces[0] if record.label == "fake" and record.traces else None
        category = facts.get("inject_category") or (trace.categories[0] if trace and trace.categories else None)
        kind: ClipKind = "fake" if record.label == "fake" else "sham" if facts.get("sham") is True else "clean"
        twin = facts.get("inject_twin")
        clips.append(
            StudyClip(
                record.video_id,
                kind,
                str(category) if kind == "fake" and category else None,
                float(strength) if kind == "fake" and isinstance(strength, int | float) else None,
                twin if isinstance(twin, str) else None,
                trace,
            )
        )
    return clips


def _facts(record: Record) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for annotation in record.annotations:
        facts |= annotation.extra
    return facts | dict(record.extra)


def plan_trials(design: StudyDesign, participant: str) -> tuple[StudyTrial, ...]:
    """What one participant sees, in order: half with a trace, half without, and checks in between.

    The same participant gets the same plan. Of each pair of twins at most one is shown singly.
    """
    digest = hashlib.sha256(f"{design.seed}\0{participant}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    shown = _drawn_pairs(design, rng) if design.mode == "pairs" else _drawn_singles(design, rng)
    rows: list[tuple[Literal["single", "pair", "check"], tuple[str, ...]]] = list(shown)
    for _ in range(design.checks):
        rows.insert(int(rng.integers(1, len(rows) + 1)), ("check", ()))
    return tuple(StudyTrial(number, kind, clips) for number, (kind, clips) in enumerate(rows, 1))


def _drawn_pairs(
    design: StudyDesign, rng: np.random.Generator
) -> list[tuple[Literal["single", "pair", "check"], tuple[str, ...]]]:
    pairs = design._pairs()
    order = rng.permutation(len(pairs))[: design.trials]
    chosen = [pairs[int(k)] for k in order]
    sides = rng.random(len(chosen)) < 0.5
    return [
        ("pair", (fake.video_id, twin.video_id) if left else (twin.video_id, fake.video_id))
        for (fake, twin), left in zip(chosen, sides, strict=True)
    ]


def _drawn_singles(
    design: StudyDesign, rng: np.random.Generator
) -> list[tuple[Literal["single", "pair", "check"], tuple[str, ...]]]:
    wanted = {"fake": (design.trials + 1) // 2, "real": design.trials // 2}
    taken: set[str] = set()
    chosen: list[str] = []
    for k in rng.permutation(len(design.clips)):
        clip = design.clips[int(k)]
        side = "fake" if clip.kind == "fake" else "real"
        if wanted[side] and clip.twin not in taken:
            wanted[side] -= 1
            taken.add(clip.video_id)
            chosen.append(clip.video_id)
    return [("single", (chosen[int(k)],)) for k in rng.permutation(len(chosen))]


def write_check_clip(path: Path) -> None:
    """A clip that says what to answer: FAKE, and where to click.

    Raises:
        VideoError: it cannot be written.
    """
    height, width = _CHECK_HW
    noise = np.random.default_rng(5).integers(70, 100, (height // 8, width // 8, 3), np.uint8)
    ground = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    times = np.arange(int(_CHECK_SECONDS * _CHECK_FPS)) / _CHECK_FPS
    images = []
    for time in times:
        image = ground.copy()
        for row, words in enumerate(("Are you with us? Answer FAKE here,", "and click the white square.")):
            place = (60, 80 + 50 * row)
            cv2.putText(image, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.95, (255, 255, 255), 2, cv2.LINE_AA)
        if time >= CHECK_ONSET_SECONDS:
            x0, y0, x1, y1 = CHECK_BOX
            corners = (int(x0 * width), int(y0 * height)), (int(x1 * width), int(y1 * height))
            cv2.rectangle(image, *corners, (255, 255, 255), -1)
        images.append(image)
    with FrameSink(path) as sink:
        sink.write(Frames(np.stack(images).astype(np.uint8), times.astype(np.float64), _CHECK_HW, _CHECK_SECONDS))
