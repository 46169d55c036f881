"""One pair of a dataset: footage or a rendered scene in, two coded videos and their rows out.

Both twins come from the same frames (one decode, one resize) and go through the same encoder with the same settings.
Knows one pair; the dataset's journal and the order of work are the caller's.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.categories import Category
from deeptrace.errors import FileError, InjectionError, VideoError
from deeptrace.inject.blend import Implementation
from deeptrace.inject.engine import Injection, inject
from deeptrace.inject.footage import Motion
from deeptrace.inject.plan import PairPlan, split_of
from deeptrace.inject.rendered import render_scene
from deeptrace.inject.things import Things, TrackedThing, find_things
from deeptrace.records import Frames
from deeptrace.video import VideoWriter, probe, sample_frames

# Shortest clip worth a trace: its onset, and something after it to see.
_FEWEST_FRAMES = 8
_TRIES_PER_CATEGORY = 2

WINDOWS: Final = 16
"""Windows of footage that are looked at for one pair, at most.

About one window in ten takes a path that is left, a merging or a move; most of the others are known to be empty."""

# Windows whose things are remembered, the last ones used: about 60 kB each, small; 300 kB at full size.
_REMEMBERED = 512


@dataclass(frozen=True)
class Size:
    """What clips are made of: frames a second, seconds, and pixels of one side."""

    fps: float
    seconds: float
    long_side: int | None = None
    short_side: int | None = None
    preset: str = "medium"

    def of(self, width: int, height: int) -> int:
        """The shorter side for footage of that size; it is never enlarged."""
        short = self.short_side or round((self.long_side or 0) * min(width, height) / max(width, height))
        return max(2, min(short, width, height) // 2 * 2)


FULL = Size(fps=24.0, seconds=5.0, short_side=480)
SMALL = Size(fps=8.0, seconds=3.0, long_side=224, preset="veryfast")


@dataclass(frozen=True)
class Source:
    """Where a pair's footage comes from: a video file, or None for a scene rendered from assets."""

    name: str
    path: str | None = None
    photos: Sequence[str] = ()
    cutouts: Sequence[str] = ()
    facts: Mapping[str, str] | None = None  # of a manifest: source, licence
    split: str | None = None  # None: by its name

    @property
    def in_split(self) -> str:
        """train, val or test."""
        return self.split or split_of(self.name)


@dataclass(frozen=True)
class PairRefusal:
    """A category that some footage did not take, or None for all of them, and why: a code of `InjectionError`."""

    category: Category | None
    code: str


def make_pair(
    root: Path,
    plan: PairPlan,
    sources: Sequence[Source],
    *,
    size: Size,
    strength: float,
    implementation: Implementation,
    look: bool = False,
    original: bool = False,
) -> dict[str, Any]:
    """Write ``videos/ID.mp4`` and ``real_videos/ID_real.mp4`` below ``root``; their rows, under "fake" and "real".

    With ``look`` there are also ``look/ID.mp4`` (clean beside fake, with the box) and ``look/ID.jpg`` (a strip). With
    ``original``, where the twin is a sham, ``originals/ID.mp4`` is the clip before both edits, coded as they are.

    Raises:
        InjectionError: none of the sources offers anything for any of the planned categories.
        VideoError: the first source cannot be read, or a file cannot be written.
        FileError: an asset cannot be read.
    """
    refusals: list[PairRefusal] = []
    injection, source, made_of = find_injection(
        plan, sources, refusals, size=size, strength=strength, implementation=implementation
    )
    frames = injection.clean
    real = injection.sham if plan.sham else injection.clean
    paths = {"fake": f"videos/{plan.pair_id}.mp4", "real": f"real_videos/{plan.pair_id}_real.mp4"}
    for path, twin in ((paths["fake"], injection.fake), (paths["real"], real)):
        _write(root / path, twin, size, plan.crf)
    kept = f"originals/{plan.pair_id}.mp4" if original and plan.sham else None
    if kept is not None:
        _write(root / kept, injection.clean, size, plan.crf)
    if look:
        _write(root / "look" / f"{plan.pair_id}.mp4", _side_by_side(injection), size, 20)
        strip = cv2.cvtColor(_strip(injection), cv2.COLOR_RGB2BGR)
        ok, data = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 88])
        assert ok
        _replace(root / "look" / f"{plan.pair_id}.jpg", data.tobytes())
    facts = {"inject_source": source.name, **({"inject_source_facts": dict(source.facts)} if source.facts else {})}
    shared = facts | {"inject_prior": plan.prior, "inject_crf": plan.crf, "inject_footage": made_of}
    shared |= {} if kept is None else {"inject_original": kept}
    return {
        "fake": _video_fields(plan.pair_id, paths["fake"], frames, size.fps)
        | {"video_type": "fake_video", "video_source": f"injected ({implementation})", "split": source.in_split}
        | _trace_fields(injection, size.fps)
        | shared
        | {"inject_twin": f"{plan.pair_id}_real", "inject_tries": len(refusals) + 1},
        "real": _video_fields(f"{plan.pair_id}_real", paths["real"], frames, size.fps)
        | {"video_type": "real_video", "video_source": "footage" if source.path else "rendered scene"}
        | {"split": source.in_split, "sham": plan.sham}
        | shared
        | {"inject_twin": plan.pair_id},
    }


# ── footage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class FootageWindow:
    """A few seconds of a source, with what was found in them."""

    source: Source
    frames: Frames
    things: Things
    made_of: Mapping[str, Any]
    plan: PairPlan  # with this window's own seed


def find_injection(
    plan: PairPlan,
    sources: Sequence[Source],
    refusals: list[PairRefusal],
    *,
    size: Size,
    strength: float,
    implementation: Implementation = "first",
) -> tuple[Injection, Source, Mapping[str, Any]]:
    """A trace of one of the plan's categories in the first source that takes one; where it is, and what it is made of.

    Where no source does, a spare category in the first one that offers an object. One source after the other is read;
    what was refused is appended to ``refusals``.

    Raises:
        InjectionError: no source takes any; the first refusal is named.
        VideoError: the first source cannot be read. A later one is passed over: its own pair tells.
        FileError: an asset cannot be read.
    """
    usable: FootageWindow | None = None
    problem: InjectionError | None = None
    for number, source in enumerate(sources):
        own = plan if number == 0 else _another_window(plan, number)
        try:
            frames, things, made_of = footage_of(own, source, size)
            if not any(thing.whole for thing in things):
                raise InjectionError("NO_OBJECT", "no whole object was found in the footage")
        except InjectionError as error:
            refusals.append(PairRefusal(None, error.code))
            problem = problem or error
            continue
        except VideoError:
            if number == 0:
                raise
            continue
        usable = usable or FootageWindow(source, frames, things, made_of, own)
        with contextlib.suppress(InjectionError):
            args = frames, things, own, refusals
            return inject_planned(*args, strength=strength, implementation=implementation), source, made_of
    if usable is not None:
        spare = replace(usable.plan, categories=plan.spare or plan.categories)
        args = usable.frames, usable.things, spare, refusals
        return (
            inject_planned(*args, strength=strength, implementation=implementation),
            usable.source,
            usable.made_of,
        )
    assert problem is not None
    raise problem


def _another_window(plan: PairPlan, number: int) -> PairPlan:
    """The plan with another seed and another place in the video: golden-ratio steps keep the places apart."""
    seed = int(np.random.default_rng((plan.seed, number, 37)).integers(2**31))
    return replace(plan, seed=seed, start_share=(plan.start_share + 0.618 * number) % 1.0)


def footage_of(plan: PairPlan, source: Source, size: Size) -> tuple[Frames, Things, dict[str, Any]]:
    """The frames of a planned pair, the things in them, and what they were made of (JSON values).

    Raises:
        InjectionError: ``NO_ROOM``: the footage is too short.
        VideoError: it cannot be read.
        FileError: an asset cannot be read.
    """
    if source.path is None:
        long = size.long_side or round((size.short_side or 0) * 16 / 9)
        hw = (round(long * 9 / 16) // 2 * 2, long // 2 * 2)
        scene = render_scene(
            plan.seed, photos=source.photos, cutouts=source.cutouts, size_hw=hw, fps=size.fps, seconds=size.seconds
        )
        return scene.frames, scene.things, scene.params
    info = probe(source.path)
    length = info.duration_seconds or size.seconds
    # Windows lie side by side, at places that are the same for all pairs: what was found in one serves the next.
    places = max(1, round(length / size.seconds))
    place = min(places - 1, int(plan.start_share * places))
    start = max(0.0, length - size.seconds) * (place / (places - 1) if places > 1 else 0.5)
    frames = sample_frames(
        source.path,
        fps=size.fps,
        start_seconds=start,
        end_seconds=start + size.seconds,
        short_side=size.of(info.width, info.height),
    )
    images = frames.images[:, : frames.images.shape[1] // 2 * 2, : frames.images.shape[2] // 2 * 2]
    if len(images) < _FEWEST_FRAMES:
        raise InjectionError("NO_ROOM", f"{len(images)} frames are too few, {_FEWEST_FRAMES} needed")
    # At the grid's own times: both twins are written at one constant rate.
    times = np.arange(len(images), dtype=np.float64) / size.fps
    even = Frames(np.ascontiguousarray(images), times, (images.shape[1], images.shape[2]), len(images) / size.fps)
    return even, _things_of(even, place), {"start_seconds": round(start, 3)}


@dataclass(frozen=True)
class _RememberedThings:
    """Things without the frames they were found in, and with their masks packed."""

    found: tuple[TrackedThing, ...]  # with masks of no frames
    masks: tuple[bytes, ...]
    motion: Motion

    @classmethod
    def of(cls, things: Things) -> _RememberedThings:
        packed = tuple(zlib.compress(thing.masks.tobytes(), 1) for thing in things)
        bare = tuple(replace(thing, masks=thing.masks[:0]) for thing in things)
        return cls(bare, packed, things.motion.without_pictures())

    def in_frames(self, images: npt.NDArray[np.uint8]) -> Things:
        motion = self.motion.with_pictures(images)
        shape = motion.small.shape[:3]
        masks = [np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape) for data in self.masks]
        return Things(tuple(replace(t, masks=m) for t, m in zip(self.found, masks, strict=True)), motion)


_remembered: OrderedDict[tuple[bytes, int], _RememberedThings] = OrderedDict()


def _things_of(frames: Frames, seed: int) -> Things:
    """The things in a window. Found once in a process: they are remembered by the window's pixels."""
    key = hashlib.sha256(frames.images.tobytes() + repr(frames.images.shape).encode()).digest(), seed
    if key not in _remembered:
        _remembered[key] = _RememberedThings.of(find_things(frames, seed))
        if len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    _remembered.move_to_end(key)
    return _remembered[key].in_frames(frames.images)


def inject_planned(
    frames: Frames,
    things: Things,
    plan: PairPlan,
    refusals: list[PairRefusal],
    *,
    strength: float,
    implementation: Implementation = "first",
) -> Injection:
    """The first category of the plan that this footage takes, at the planned share of its length or (second try) any.

    What was refused before it is appended to ``refusals``.

    Raises:
        InjectionError: the footage takes none of them.
    """
    length = frames.duration_seconds or float(frames.pts_seconds[-1])
    last: InjectionError | None = None
    for category in plan.categories:
        for attempt in range(_TRIES_PER_CATEGORY):
            planned = attempt == 0
            try:
                return inject(
                    frames,
                    category,
                    seed=plan.seed + attempt,
                    strength=strength,
                    implementation=implementation,
                    onset_seconds=plan.onset_share * length if planned else None,
                    offset_seconds=plan.offset_share * length if planned and plan.offset_share < 1 else None,
                    things=things,
                )
            except InjectionError as error:
                refusals.append(PairRefusal(category, error.code))
                last = error
    assert last is not None
    raise last


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _video_fields(video_id: str, path: str, frames: Frames, fps: float) -> dict[str, Any]:
    height, width = frames.images.shape[1:3]
    return {
        "video_id": video_id,
        "video_path": path,
        "video_prompt": None,
        "video_mime_type": "video/mp4",
        "video_width": width,
        "video_height": height,
        "video_frame_rate": fps,
        "video_frame_count": len(frames),
        "video_duration": round(len(frames) / fps, 3),
    }


def _trace_fields(injection: Injection, fps: float) -> dict[str, Any]:
    trace = injection.trace
    assert trace.bbox_xyxy is not None
    assert trace.onset_seconds is not None
    assert trace.offset_seconds is not None
    height, width = injection.clean.images.shape[1:3]
    x0, y0, x1, y1 = trace.bbox_xyxy
    left, top = math.floor(x0 * width), math.floor(y0 * height)
    first = round(trace.onset_seconds * fps)
    return {
        "faketrace_bbox": {
            "left": left,
            "top": top,
            "width": math.ceil(x1 * width) - left,
            "height": math.ceil(y1 * height) - top,
        },
        "faketrace_first_frame": first,
        "faketrace_duration": round(trace.offset_seconds - first / fps, 3),
        "faketrace_explanations": trace.explanation,
        "faketrace_check_applies": list(trace.categories or ()),
        "inject_category": injection.category,
        "inject_params": dict(injection.params),
        "inject_track": [
            {
                "time_seconds": round(key.time_seconds, 4),
                "bbox_xyxy": None if key.bbox_xyxy is None else [round(v, 5) for v in key.bbox_xyxy],
                "visible": key.visible,
            }
            for key in trace.track or ()
        ],
    }


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write(path: Path, frames: Frames, size: Size, crf: int) -> None:
    with _writing(path, "a video of the pair"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(path, frames, size, crf)


@contextlib.contextmanager
def _writing(path: Path, what: str) -> Iterator[None]:
    """A refusal of the system while ``path`` is written becomes an error of ours that names it."""
    try:
        yield
    except OSError as error:
        name = f"{path.parent.name}/{path.name}"
        raise FileError(f"cannot write {name!r} ({what}): {error.strerror or error}") from None
    except VideoError as error:
        if error.code != "WRITE_FAILED":
            raise
        raise FileError(f"{str(error).rstrip('.')}, in {path.parent.name!r} ({what})") from None


def _encode(path: Path, frames: Frames, size: Size, crf: int) -> None:
    with VideoWriter(path, fps=size.fps, crf=crf, preset=size.preset) as writer:
        writer.add(frames.images)


def _replace(path: Path, data: bytes) -> None:
    from deeptrace.files import atomic_write

    with _writing(path, "a picture to look at"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(data)


def boxed(injection: Injection, index: int) -> npt.NDArray[np.uint8]:
    """The fake frame ``(H, W, 3)`` uint8 RGB, a copy, with the trace's box drawn where it is visible."""
    image: npt.NDArray[np.uint8] = injection.fake.images[index].copy()
    box = injection.trace.box_at(float(injection.clean.pts_seconds[index]) + 1e-6)
    if box is not None:
        height, width = image.shape[:2]
        line = max(1, round(height / 240))
        start, end = (round(box[0] * width), round(box[1] * height)), (round(box[2] * width), round(box[3] * height))
        cv2.rectangle(image, start, end, (255, 40, 40), line)
    return image


def _side_by_side(injection: Injection) -> Frames:
    clean = injection.clean
    images = np.concatenate([clean.images, np.stack([boxed(injection, t) for t in range(len(clean))])], axis=2)
    return replace(clean, images=images, source_hw=(images.shape[1], images.shape[2]))


def _strip(injection: Injection) -> npt.NDArray[np.uint8]:
    """Onset, middle and end of the fake with its box; below, the same frames of the clean twin and of the sham."""
    first, end = injection.params["onset_frame"], injection.params["offset_frame"]
    rows = []
    chosen = (first, (first + end) // 2, end - 1)
    for images in (
        [boxed(injection, t) for t in chosen],
        [injection.clean.images[t] for t in chosen],
        [injection.sham.images[t] for t in chosen],
    ):
        width = 224
        height = round(images[0].shape[0] * width / images[0].shape[1])
        rows.append(np.hstack([cv2.resize(i, (width, height), interpolation=cv2.INTER_AREA) for i in images]))
    strip = np.vstack(rows)
    cv2.putText(strip, str(injection.category), (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1, cv2.LINE_AA)
    return np.asarray(strip, dtype=np.uint8)


def contact_sheet(root: Path, ids: Sequence[str], columns: int = 3) -> bool:
    """``sheet.jpg`` of the strips in ``look/``; False where there are none."""
    strips = []
    for pair_id in ids:
        path = root / "look" / f"{pair_id}.jpg"
        if path.is_file():
            image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                strips.append(image)
    if not strips:
        return False
    width = max(s.shape[1] for s in strips) + 6
    lines = []
    for at in range(0, len(strips), columns):
        line = strips[at : at + columns]
        height = max(s.shape[0] for s in line) + 6
        line = [np.pad(s, ((0, height - s.shape[0]), (0, width - s.shape[1]), (0, 0))) for s in line]
        blank = np.zeros((height, width, 3), np.uint8)
        lines.append(np.hstack(line + [blank] * (columns - len(line))))
    ok, data = cv2.imencode(".jpg", np.vstack(lines), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert ok
    _replace(root / "sheet.jpg", data.tobytes())
    return True


def footage_sources(seed: int, number: int, first: Source, others: Sequence[Source]) -> list[Source]:
    """Where pair ``number`` may come from: its own clip first, then others drawn from the seed, `WINDOWS` in all.

    Of fewer clips, some are looked at again, elsewhere.
    """
    rng = np.random.default_rng((seed, number, 41))
    drawn = [others[int(k)] for k in rng.permutation(len(others))[: WINDOWS - 1]]
    again = [first, *drawn]
    return (again * WINDOWS)[:WINDOWS]


def scene_source(number: int, photos: Sequence[str], cutouts: Sequence[str]) -> Source:
    """Scene ``number``, made of assets of its own split only: a picture seen in training is never seen in a test.

    A split that has none of the given assets gets no scenes; they go to train.
    """
    name = f"scene {number:06d}"
    split = split_of(name)
    kept = [[a for a in assets if split_of(os.path.basename(a)) == split] for assets in (photos, cutouts)]
    if any(assets and not own for assets, own in zip((photos, cutouts), kept, strict=True)):
        split = "train"
        kept = [
            [a for a in assets if split_of(os.path.basename(a)) == split] or list(assets)
            for assets in (photos, cutouts)
        ]
    return Source(name, None, kept[0], kept[1], split=split)
