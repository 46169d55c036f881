"""One training pair from a seed: a window of footage or a rendered scene, a trace put into it, and its twin.

The window is cut, zoomed, sped up and mirrored; the injector makes the fake and the sham; what happens to a camera
(a cut, an exposure jump, a defocus) happens to both twins; both go through the same encoder and our reader. The same
seed gives the same pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import DeepTraceError, InjectionError
from deeptrace.inject import Things, find_things, inject
from deeptrace.inject.plan import PAPER_SHARES
from deeptrace.models.embedded.detail import recode
from deeptrace.models.embedded.inputs import FPS, Bytes
from deeptrace.records import Frames
from deeptrace.train.embedded.footage import PoolClip
from deeptrace.train.embedded.recipe import GROUP
from deeptrace.train.embedded.recorded import Recorded
from deeptrace.train.embedded.scenes import SceneMaker

COUNT: Final = 24
"""Frames of a training window: 3 s."""

SIZES_HW: Final = ((144, 256), (144, 256), (144, 192))
"""Sizes of training windows; pairs of one group (see `size_of`) share one, so that they can be stacked."""

Twin = Literal["sham", "clean"]

_PATIENCE: Final = 16
"""Windows in which the category that was drawn is tried, as many as `deeptrace inject` tries for a pair. Chosen."""


@dataclass(frozen=True)
class Drawn:
    """A pair of windows and the truth of the fake."""

    fake: Bytes  # (T, H, W, 3)
    sham: Bytes  # (T, H, W, 3); made by the same code with no visible trace
    clean: Bytes  # (T, H, W, 3)
    mask: Bytes  # (T, H, W) 0..255
    boxes: npt.NDArray[np.float64]  # (T, 4) fractions, NaN where there is no trace
    onset: int
    category: Category
    source: str
    footage: bool  # real footage, not a scene
    params: dict[str, Any]


@dataclass(frozen=True)
class PairMaterial:
    """What pairs are made of: clips of the pool, and the share of pairs that are rendered scenes."""

    clips: Sequence[PoolClip] = ()
    scene: SceneMaker | None = None
    scene_share: float = 0.5
    recorded: Recorded | None = None  # a dataset's own traces; then nothing is injected


def size_of(index: int, group: int = GROUP) -> tuple[int, int]:
    """The size of the pair of that index: the same for all pairs of a group of neighbours."""
    return SIZES_HW[(index // group) % len(SIZES_HW)]


def draw_pair(
    seed: Sequence[int],
    material: PairMaterial,
    size_hw: tuple[int, int],
    *,
    implementation: Literal["first", "second"] = "first",
    footage: bool | None = None,
    paper_prior: bool | None = None,
    strength: tuple[float, float] = (0.35, 1.0),
    augment: bool = True,
    tries: int = 40,
    keep: Path | None = None,
    twins: tuple[Twin, ...] = ("sham", "clean"),
) -> Drawn:
    """The pair of that seed; tries other windows where the footage offers nothing for the category.

    After ``_PATIENCE`` windows the other categories are tried in turn; ``params["wanted"]`` says which one was drawn.

    Only the ``twins`` asked for are coded; the other stays as it was drawn. With ``keep`` the coded clips are left
    there as ``fake.mp4``, ``sham.mp4`` and ``clean.mp4``.

    Raises:
        DeepTraceError: nothing came of ``tries`` windows.
    """
    rng = np.random.default_rng(seed)
    if material.recorded is not None:
        return _draw_recorded(rng, material.recorded, size_hw)
    paper = bool(rng.random() < 0.5) if paper_prior is None else paper_prior
    shares = np.array([PAPER_SHARES[kind] if paper else 1.0 for kind in CATEGORIES])
    wanted = CATEGORIES[int(rng.choice(len(CATEGORIES), p=shares / shares.sum()))]
    others = [kind for kind in CATEGORIES if kind != wanted]
    for attempt in range(tries):
        # Footage seldom takes some categories: after so many windows another one is as good as none.
        category = wanted if attempt < _PATIENCE else others[(attempt - _PATIENCE) % len(others)]
        real = footage if footage is not None else bool(material.scene is None or rng.random() >= material.scene_share)
        frames, things, source = _material(rng, material, size_hw, real)
        # Paper: early onset, about 70% of the clip; else uniform.
        share = float(rng.beta(1.2, 3.2)) if paper else float(rng.uniform(0.08, 0.8))
        onset = min(max(1, round(share * COUNT)), COUNT - 4)
        lasts = float(rng.uniform(0.55, 1.3)) * COUNT if paper else float(rng.uniform(0.25, 1.0)) * COUNT
        offset = min(COUNT, onset + max(4, round(lasts)))
        number = int(rng.integers(2**31))
        try:
            things = things or find_things(frames, seed=number)
            pair = inject(
                frames,
                category,
                seed=number,
                strength=float(rng.uniform(*strength)),
                implementation=implementation,
                onset_seconds=onset / FPS,
                offset_seconds=offset / FPS,
                things=things,
            )
        except InjectionError:
            continue
        boxes = np.full((COUNT, 4), np.nan)
        for t in range(COUNT):
            box = pair.trace.box_at(t / FPS + 1e-6)
            if box is not None:
                boxes[t] = box
        visible_frames = np.flatnonzero(~np.isnan(boxes[:, 0]))
        if not len(visible_frames):
            continue
        three = (pair.fake.images, pair.sham.images, pair.clean.images)
        mask = pair.mask
        if augment:
            other = _material(rng, material, size_hw, real)[0].images if rng.random() < 0.1 else None
            three, mask, boxes = _camera_events(rng, three, mask, boxes, other)
            visible_frames = np.flatnonzero(~np.isnan(boxes[:, 0]))
            if not len(visible_frames):
                continue
        crf = int(rng.integers(16, 31))
        fake, sham, clean = (
            recode(clip, crf, keep and keep / f"{name}.mp4") if name in ("fake", *twins) else clip
            for name, clip in zip(("fake", "sham", "clean"), three, strict=True)
        )
        return Drawn(
            fake, sham, clean, mask, boxes, int(visible_frames[0]), category, source, real,
            {**pair.params, "attempt": attempt, "crf": crf, "paper_prior": paper, "wanted": wanted},
        )  # fmt: skip
    raise DeepTraceError(f"no pair of {wanted!r}, nor of another category, came of {tries} windows")


def _draw_recorded(rng: np.random.Generator, recorded: Recorded, size_hw: tuple[int, int]) -> Drawn:
    """A window of an annotated fake and one of a real video, coded alike; the boxes' insides are the mask."""
    window = recorded.window(rng, size_hw, COUNT)
    crf = int(rng.integers(16, 31))
    fake, real = recode(window.fake, crf), recode(window.real, crf)
    mask = np.zeros(fake.shape[:3], np.uint8)
    boxes = np.full((COUNT, 4), np.nan)
    height, width = size_hw
    for t in range(COUNT):
        box = window.trace.box_at(window.start_seconds + (t + 0.5) / FPS)
        if box is not None:
            boxes[t] = box
            x0, y0, x1, y1 = np.array(box) * [width, height, width, height]
            mask[t, int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = 255
    visible_frames = np.flatnonzero(~np.isnan(boxes[:, 0]))
    onset = int(visible_frames[0]) if len(visible_frames) else COUNT - 1
    assert window.trace.categories
    return Drawn(
        fake,
        real,
        real,
        mask,
        boxes,
        onset,
        window.trace.categories[0],
        window.source,
        True,
        {"crf": crf, "recorded": True},
    )


def _material(
    rng: np.random.Generator, material: PairMaterial, size_hw: tuple[int, int], real: bool
) -> tuple[Frames, Things | None, str]:
    """A window of ``COUNT`` frames of that size, the things in it where they are known, and its source."""
    if real:
        images, source = _window(rng, material.clips, size_hw)
        return Frames.from_array(images, FPS), None, source
    assert material.scene is not None
    scene = material.scene(rng, size_hw, COUNT)
    return scene.frames, scene.things, "scene"


def _window(rng: np.random.Generator, all_clips: Sequence[PoolClip], size_hw: tuple[int, int]) -> tuple[Bytes, str]:
    """A window of footage, cut, zoomed, sped up and mirrored, and its source."""
    # By source first: a repository of twenty clips of one camera counts no more than others... but not for nothing.
    sources = sorted({clip.source for clip in all_clips})
    counts = np.array([sum(clip.source == source for clip in all_clips) for source in sources], np.float64)
    source = sources[int(rng.choice(len(sources), p=np.sqrt(counts) / np.sqrt(counts).sum()))]
    clips = [clip for clip in all_clips if clip.source == source]
    clip = clips[int(rng.integers(len(clips)))]
    pool = clip.frames()
    # Whole steps only: motion must not judder. Now and then slower or faster than life.
    step = max(1, round(clip.fps / FPS * float(rng.choice([1.0, 1.0, 1.0, 0.7, 1.4]))))
    need = step * (COUNT - 1)
    start = int(rng.integers(0, max(1, len(pool) - need)))
    at = start + step * np.arange(COUNT)
    if need > len(pool) - 1:  # a short clip: there and back again
        span = len(pool) - 1
        at = np.abs((at + span) % (2 * span) - span) if span > 0 else at * 0
    picked = pool[np.clip(at, 0, len(pool) - 1).astype(int)]
    height, width = picked.shape[1:3]
    ratio = size_hw[1] / size_hw[0]
    zoom = float(rng.uniform(0.72, 1.0)) if rng.random() < 0.7 else 1.0
    high = min(height, width / ratio) * zoom
    wide = high * ratio
    y, x = float(rng.uniform(0, height - high)), float(rng.uniform(0, width - wide))
    crop = picked[:, int(y) : int(y) + max(1, int(high)), int(x) : int(x) + max(1, int(wide))]
    if rng.random() < 0.5:
        crop = crop[:, :, ::-1]
    if rng.random() < 0.15:
        crop = crop[::-1]
    images = np.stack(
        [cv2.resize(np.ascontiguousarray(frame), size_hw[::-1], interpolation=cv2.INTER_AREA) for frame in crop]
    )
    if rng.random() < 0.4:
        gamma, gain = float(rng.uniform(0.75, 1.3)), float(rng.uniform(0.85, 1.12))
        table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
        images = table[images]
    return images.astype(np.uint8, copy=False), clip.source


def _camera_events(
    rng: np.random.Generator,
    clips: tuple[Bytes, Bytes, Bytes],
    mask: Bytes,
    boxes: npt.NDArray[np.float64],
    other: Bytes | None,
) -> tuple[tuple[Bytes, Bytes, Bytes], Bytes, npt.NDArray[np.float64]]:
    """What a camera or an editor does, to all twins alike: a cut, an exposure jump, a defocus, a flash, noise."""
    copies = [clip.copy() for clip in clips]
    if other is not None:
        at = int(rng.integers(6, COUNT - 2))
        for clip in copies:
            clip[at:] = other[at:]
        mask, boxes = mask.copy(), boxes.copy()
        mask[at:] = 0
        boxes[at:] = np.nan
    kind = rng.random()
    at = int(rng.integers(2, COUNT - 2))
    if kind < 0.07:  # exposure
        gain = float(rng.choice([rng.uniform(0.6, 0.85), rng.uniform(1.15, 1.5)]))
        for clip in copies:
            clip[at:] = np.clip(clip[at:].astype(np.float32) * gain, 0, 255).astype(np.uint8)
    elif kind < 0.14:  # defocus, and back again
        sigma = float(rng.uniform(0.8, 2.5))
        for clip in copies:
            for t in range(at, COUNT):
                now = sigma * min(1.0, (t - at + 1) / 4) * (1.0 if t < at + 10 else max(0.0, 1 - (t - at - 10) / 4))
                if now > 0.1:
                    clip[t] = cv2.GaussianBlur(clip[t], (0, 0), now)
    elif kind < 0.17:  # a flash
        for clip in copies:
            clip[at] = np.clip(clip[at].astype(np.float32) * 1.6 + 20, 0, 255).astype(np.uint8)
    elif kind < 0.21:  # a frozen frame
        for clip in copies:
            clip[at] = clip[at - 1]
    if rng.random() < 0.2:
        noise = rng.normal(0, float(rng.uniform(1, 5)), (4, *copies[0].shape[1:3], 1)).astype(np.float32)
        for clip in copies:
            for t in range(COUNT):
                clip[t] = np.clip(clip[t] + np.roll(noise[t % 4], 7 * t, axis=1), 0, 255).astype(np.uint8)
    return (copies[0], copies[1], copies[2]), mask, boxes
