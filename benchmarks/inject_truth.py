"""Are injected labels true? Pairs from footage, coded and read back, measured by category; with sheets to look at.

    python benchmarks/inject_truth.py CLIP ... --pairs 200 [--each 20] [--sheets FOLDER]

Small pairs (224 px, 8 fps, 3 s), planned in rounds and made as `deeptrace inject` makes them. A change is the largest
difference of a pixel's three channels, blurred by one pixel. "Inside" is the share of all changed pixels, in all
frames, that lies in the track's box of its frame.

- before coding: fake and clean differ by more than 8 grey levels.
- after coding (the bar, 0.95): the coded fake and the coded sham differ by more than 8 grey levels and by more than the
  codec errs there. The two went through the same editor, so that what is left between them is the trace and the codec.
  Each coding errs by itself, so that two codings of one picture differ by up to the sum of their errors. What that is
  at a place is seen on the two twins without a trace: the largest difference of the coded from the uncoded sham within
  a macroblock's width (17 x 17 pixels of that frame, since H.264 predicts from moved blocks and filters their edges),
  plus the same of the clean twin. The fake's own error is not used: it would excuse every change outside the track.
- the stricter line: the same over the larger of the two errors instead of their sum.
- the control: the same after coding, with every box of the track shrunk to three quarters of its sides round its
  centre. A measure that overlooked change would not tell the two apart.

"Counted" is the share of the pixels that differ by more than 8 grey levels before coding and are over the codec's error
after it: how much of the change the second line speaks of.

"Visible" is the root mean square change inside the box, in just-noticeable differences of CIELAB over the local
contrast, less what the codec alone changes there.

With --each N the sheets show up to N further pairs of each category, one of each from a clip, whatever its share; else
those that were measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import psutil
from tqdm import tqdm

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import DeepTraceError, InjectionError
from deeptrace.inject import Injection
from deeptrace.inject.engine import EDITS, VISIBLE_LEVELS
from deeptrace.inject.pairs import (
    SMALL,
    PairRefusal,
    Source,
    boxed,
    find_injection,
    footage_of,
    footage_sources,
    inject_planned,
)
from deeptrace.inject.plan import PairPlan, Prior, plan_pair, share_of
from deeptrace.inject.quota import ROUND, assign
from deeptrace.inject.visibility import noticed
from deeptrace.video import VideoWriter, sample_frames

BAR_INSIDE = 0.95
_ROUNDS_TO_LOOK = 3
SHARES = ("inside", "inside_before", "inside_stricter", "inside_shrunk", "counted")
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One pair as it was coded: what was put in, how much of the change its track holds, and how plain it is."""

    category: Category
    source: str
    words: str
    inside: float  # after coding, over the codec's error near by
    inside_before: float
    inside_stricter: float  # over the larger of the two twins' errors, not their sum
    inside_shrunk: float  # after coding, with boxes too small
    counted: float
    noise: float
    visible: float
    picture: Pictures  # its strip for the sheets
    prior: Prior = "paper"


@dataclass
class Tally:
    """All tries."""

    pairs: list[Pair] = field(default_factory=list)
    refusals: list[PairRefusal] = field(default_factory=list)
    unread: int = 0
    cpu: float = 0.0

    def add(self, other: Tally) -> None:
        """Count those of another one too."""
        self.pairs += other.pairs
        self.refusals += other.refusals
        self.unread += other.unread
        self.cpu += other.cpu


def cpu_seconds() -> float:
    """Of this process and of its living children: the decoder stays alive between clips."""
    children = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
    return time.process_time() + children


def coded(images: Pictures, plan: PairPlan, folder: Path, name: str) -> Pictures:
    """The frames after the encoder and our reader."""
    path = folder / f"{name}.mp4"
    with VideoWriter(path, fps=SMALL.fps, crf=plan.crf, preset=SMALL.preset) as writer:
        writer.add(images)
    return sample_frames(path, fps=SMALL.fps).images


def difference(a: Pictures, b: Pictures) -> npt.NDArray[np.float32]:
    """How far two clips are apart, (T, H, W) grey levels, each frame blurred by one pixel."""
    change = np.abs(a.astype(np.int16) - b).max(-1).astype(np.float32)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in change])


def codec_error(coded_images: Pictures, images: Pictures) -> npt.NDArray[np.float32]:
    """What the codec did to each pixel's neighbourhood (17 x 17) at most, (T, H, W) grey levels."""
    return np.stack([cv2.dilate(frame, np.ones((17, 17), np.uint8)) for frame in difference(coded_images, images)])


def box_px(injection: Injection, index: int, scale: float = 1.0) -> tuple[int, int, int, int] | None:
    """The track's box in a frame, whole pixels; its sides times ``scale`` round its centre."""
    box = injection.trace.box_at(float(injection.clean.pts_seconds[index]) + 1e-6)
    if box is None:
        return None
    height, width = injection.clean.images.shape[1:3]
    x0, y0, x1, y1 = (v * side for v, side in zip(box, (width, height) * 2, strict=True))
    cut_x, cut_y = (1 - scale) / 2 * (x1 - x0), (1 - scale) / 2 * (y1 - y0)
    x0, y0, x1, y1 = x0 + cut_x, y0 + cut_y, x1 - cut_x, y1 - cut_y
    return int(np.floor(x0 + 1e-6)), int(np.floor(y0 + 1e-6)), int(np.ceil(x1 - 1e-6)), int(np.ceil(y1 - 1e-6))


def measure(injection: Injection, plan: PairPlan, source: str, folder: Path) -> tuple[Pair, float]:
    """The pair after coding, and the processor time that coding its two files took."""
    begin = cpu_seconds()
    fake = coded(injection.fake.images, plan, folder, "fake")
    clean = coded(injection.clean.images, plan, folder, "clean")
    seconds = cpu_seconds() - begin
    sham = coded(injection.sham.images, plan, folder, "sham")
    errors = codec_error(sham, injection.sham.images), codec_error(clean, injection.clean.images)
    near, change = errors[0] + errors[1], difference(fake, sham)
    changed = change > np.maximum(VISIBLE_LEVELS, near)
    before = difference(injection.fake.images, injection.clean.images) > VISIBLE_LEVELS
    held = (
        inside_share(injection, changed),
        inside_share(injection, before),
        inside_share(injection, change > np.maximum(VISIBLE_LEVELS, np.maximum(*errors))),
        inside_share(injection, changed, scale=0.75),
        float(changed[before].mean()) if before.any() else 0.0,
    )
    looks = []
    for t in range(len(clean)):
        box = box_px(injection, t)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        part, raw = clean[t, y0:y1, x0:x1], injection.clean.images[t, y0:y1, x0:x1]
        own = float((noticed(part, fake[t, y0:y1, x0:x1]) ** 2).mean())
        codec = float((noticed(raw, part) ** 2).mean())
        looks.append(np.sqrt(max(0.0, own - codec)))
    return pair_of(injection, source, held, float(np.median(near)), float(np.median(looks))), seconds


def pair_of(injection: Injection, source: str, inside: tuple[float, ...], noise: float, visible: float) -> Pair:
    words = f"{injection.trace.explanation} [{visible:.1f} JND, {inside[0]:.2f}] {source[:24]}"
    shares = dict(zip(SHARES, inside, strict=True))
    return Pair(
        injection.category, source, words, **shares, noise=noise, visible=visible, picture=strip(injection, words)
    )


def inside_share(injection: Injection, changed: npt.NDArray[np.bool_], scale: float = 1.0) -> float:
    """The share of the changed pixels (T, H, W) that lies in the track's box of its frame; 1 where none changed."""
    inside = 0
    for t in range(len(changed)):
        box = box_px(injection, t, scale)
        if box is not None:
            inside += int(changed[t, box[1] : box[3], box[0] : box[2]].sum())
    return inside / int(changed.sum()) if changed.any() else 1.0


def attempt(task: tuple[PairPlan, list[Source], float]) -> Tally:
    """One planned pair."""
    plan, sources, strength = task
    cv2.setNumThreads(1)
    tally, begin = Tally(), cpu_seconds()
    try:
        injection, source, _ = find_injection(plan, sources, tally.refusals, size=SMALL, strength=strength)
    except InjectionError:
        return tally
    except DeepTraceError:
        tally.unread += 1
        return tally
    finally:
        tally.cpu += cpu_seconds() - begin
    with tempfile.TemporaryDirectory() as folder:
        pair, seconds = measure(injection, plan, source.name, Path(folder))
    tally.cpu += seconds
    tally.pairs.append(replace(pair, prior=plan.prior))
    return tally


def measured(clips: Sequence[str], pairs: int, seed: int, strength: float, jobs: int) -> Tally:
    """All planned pairs, round by round as `deeptrace inject` plans them."""
    tally = Tally()
    footage = [Source(Path(path).name, path) for path in clips[:pairs]]
    with pool_of(jobs) as pool:
        for low in tqdm(range(0, pairs, ROUND), desc="rounds measured", mininterval=10):
            plans = [plan_pair(seed, number) for number in range(low, min(pairs, low + ROUND))]
            tasks = []
            for plan in assign(plans, Counter((pair.prior, pair.category) for pair in tally.pairs)):
                own = plan.number % len(footage)
                others = footage[:own] + footage[own + 1 :]
                tasks.append((plan, footage_sources(seed, plan.number, footage[own], others), strength))
            if not run(pool, attempt, tasks, tally):
                break
    return tally


def look(task: tuple[int, str, int, float, tuple[Category, ...]]) -> Tally:
    """One pair of every wanted category from one window, where it takes them; not coded, only to be looked at."""
    number, path, seed, strength, wanted = task
    cv2.setNumThreads(1)
    tally = Tally()
    try:
        frames, things, _ = footage_of(plan_pair(seed, number), Source(Path(path).name, path), SMALL)
    except DeepTraceError:
        return tally
    for category in wanted if any(thing.whole for thing in things) else ():
        plan = plan_pair(seed + CATEGORIES.index(category), number, (category,))
        try:
            injection = inject_planned(frames, things, plan, tally.refusals, strength=strength)
        except InjectionError:
            continue
        visible = float(injection.params["noticed_jnd"])
        tally.pairs.append(pair_of(injection, Path(path).name, (1.0,) * 5, 0.0, visible))
    return tally


def to_look_at(measured_pairs: Sequence[Pair], options: argparse.Namespace) -> list[Pair]:
    """Further pairs of the categories that have too few to be looked at: one of each from a window, clip by clip."""
    clips, each, seed, strength = options.clips, options.each, options.seed + 100, options.strength
    shown = Tally()
    with pool_of(options.jobs) as pool:
        for around in range(_ROUNDS_TO_LOOK):
            there = Counter(pair.category for pair in (*measured_pairs, *shown.pairs))
            wanted = tuple(category for category in CATEGORIES if there[category] < each)
            tasks = [(around * len(clips) + k, path, seed, strength, wanted) for k, path in enumerate(clips)]
            if not wanted or not run(pool, look, tasks, shown):
                break
    return shown.pairs


@contextmanager
def pool_of(jobs: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def run(pool: ProcessPoolExecutor, work: Callable[[Any], Tally], tasks: Sequence[Any], tally: Tally) -> bool:
    """Do the tasks and count them; False where the user stopped it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
    try:
        for one in pool.map(work, tasks):
            tally.add(one)
    except KeyboardInterrupt:
        tqdm.write("stopped: what follows is of the pairs that are done")
        return False
    return True


def meant() -> dict[Category, float]:
    """The share each category should have: half as in the paper, half the same for all."""
    return {c: 0.5 * share_of(c, "paper") + 0.5 * share_of(c, "uniform") for c in CATEGORIES}


def table(tally: Tally, shares: bool) -> Iterator[str]:
    yield (
        "| category | tried | refused | made | changed inside, mean (least) | visible, JND, median (least; floor) "
        "| share, meant |"
    )
    yield "|---|---|---|---|---|---|---|"
    targets = meant()
    for category in CATEGORIES:
        mine = [pair for pair in tally.pairs if pair.category == category]
        refused = Counter(one.code for one in tally.refusals if one.category == category)
        why = ", ".join(f"{n} {code}" for code, n in refused.most_common()) or "none"
        tried = len(mine) + refused.total()
        held, seen = "–", "–"
        if mine:
            held = f"{np.mean([p.inside for p in mine]):.3f} ({min(p.inside for p in mine):.2f})"
            visible = [p.visible for p in mine]
            seen = f"{np.median(visible):.1f} ({min(visible):.1f}; {EDITS[category].least_noticed:g})"
        share = f"{len(mine) / max(1, len(tally.pairs)):.1%}, {targets[category]:.1%}" if shares else "–"
        yield f"| {category} | {tried} | {why} | {len(mine)} | {held} | {seen} | {share} |"
    noise = float(np.median([pair.noise for pair in tally.pairs] or [0.0]))
    whole = np.array([pair.inside for pair in tally.pairs] or [0.0])
    before = float(np.mean([pair.inside_before for pair in tally.pairs] or [0.0]))
    stricter = float(np.mean([pair.inside_stricter for pair in tally.pairs] or [0.0]))
    shrunk = float(np.mean([pair.inside_shrunk for pair in tally.pairs] or [0.0]))
    counted = float(np.mean([pair.counted for pair in tally.pairs] or [0.0]))
    yield ""
    yield (
        f"{len(tally.pairs)} pairs; inside on average {whole.mean():.4f} (before coding {before:.4f},"
        f" stricter {stricter:.4f},"
        f" in boxes too small {shrunk:.4f}; counted {counted:.2f}), at least"
        f" {BAR_INSIDE} in {np.mean(whole >= BAR_INSIDE):.1%} of them; codec's error {noise:.1f}"
        f" grey levels (median); {tally.cpu / max(1, len(tally.pairs)):.2f} CPU-s a pair, refused ones included"
    )
    windows = Counter(refusal.code for refusal in tally.refusals if refusal.category is None)
    yield f"windows refused as a whole: {dict(windows)}; {tally.unread} clips could not be read"


# ── sheets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def strip(injection: Injection, words: str) -> Pictures:
    """Before the onset, at it, a third and most of the way: the fake with its box, the clean twin below."""
    first, end = injection.params["onset_frame"], injection.params["offset_frame"]
    times = [max(0, first - 1), first, *(first + round((end - 1 - first) * p) for p in (0.3, 0.8))]
    width = 240
    height = min(180, round(injection.clean.images.shape[1] * width / injection.clean.images.shape[2]))
    rows = [
        np.hstack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])
        for images in ([boxed(injection, t) for t in times], [injection.clean.images[t] for t in times])
    ]
    sham = cv2.resize(injection.sham.images[times[2]], (width, height), interpolation=cv2.INTER_AREA)
    rows = [np.hstack([rows[0], sham]), np.hstack([rows[1], np.zeros_like(sham)])]
    title = np.zeros((14, rows[0].shape[1], 3), np.uint8)
    cv2.putText(title, words, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 0), 1, cv2.LINE_AA)
    return np.vstack([title, *rows])


def write_sheets(pairs: Sequence[Pair], folder: Path, each: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for category in CATEGORIES:
        strips = [pair.picture for pair in pairs if pair.category == category][:each]
        for part in range(0, len(strips), 6):
            chosen = strips[part : part + 6]
            chosen += [np.zeros_like(chosen[0])] * (len(chosen) % 2)
            lines = []
            for left, right in zip(chosen[::2], chosen[1::2], strict=True):
                tall = max(left.shape[0], right.shape[0])
                lines.append(np.hstack([np.pad(s, ((0, tall - s.shape[0]), (0, 6), (0, 0))) for s in (left, right)]))
            name = f"{category.lower().replace(' ', '_')}_{part // 6}.jpg"
            sheet = cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / name), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--each", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=0.7)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    tally = measured(options.clips, options.pairs, options.seed, options.strength, options.jobs)
    print("\n".join(table(tally, shares=True)), flush=True)
    pairs = list(tally.pairs)
    if options.each:
        pairs += to_look_at(pairs, options)
    if options.sheets:
        write_sheets(pairs, options.sheets, options.each or 20)
    return int(float(np.mean([pair.inside for pair in tally.pairs] or [0.0])) < BAR_INSIDE)


if __name__ == "__main__":
    sys.exit(main())
