"""The head for ``p_generated``: a linear model over what the network's backbone sees of whole clips.

Clips of the pool, camera and generated, go in, all brought to one size, rate and coding; weights and an honest estimate
(cross-validated over families) come out. A family is all that shares a source, a generator's kind or a scene. Where an
edit stands beside the clip that it was made from, the head also learns to put the edit above it: on their difference,
in which what the scene shows cancels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.models.embedded.detail import recode
from deeptrace.models.embedded.inputs import FPS, Bytes
from deeptrace.models.embedded.windows import WINDOW, Network
from deeptrace.train.embedded.footage import PoolClip

# All chosen; what others give over families that were not seen is measured by `benchmarks/generated_heads.py`.
_HW: Final = (144, 256)  # pixels to which every clip is brought
_CRF: Final = 23  # and x264's quality for it, its default
_WINDOWS: Final = 3  # at most, of a clip, spread over it
_C: Final = 0.003  # inverse strength of the head's L2 penalty, as in scikit-learn
_PAIRS: Final = 0.6  # what all pairs of an edit and its source weigh, as a share of what all clips do
_FARTHEST: Final = 6.0  # deviations from the mean at which a number is cut off in fitting
_MOST_STEPS: Final = 3000  # of the solver
_FOLDS: Final = 8  # into which families are dealt
_NEVER: Final = 1e6  # the deviation that is put down for a number that hardly varies: none is far from its mean
_LEAST_DEVIATION: Final = 1e-4
"""Of a number over windows, for it to have a weight. The medians of the flow beside the camera's own median are 0 but
for rounding: brought to deviation 1, that rounding would rule."""

FAMILIES: Final[Mapping[str, str]] = {
    "v-iashin/SpecVQGAN": "vggsound",
    "v-iashin/SparseSync": "vggsound",
    "v-iashin/video_features": "vggsound",
    "luosiallen/Diff-Foley": "vggsound",
    "DAMO-NLP-SG/Video-LLaMA": "video-llm demos",
    "DAMO-NLP-SG/VideoLLaMA2": "video-llm demos",
    "OpenGVLab/Ask-Anything": "video-llm demos",
    "PKU-YuanGroup/Video-LLaVA": "video-llm demos",
    "facebookresearch/sam2": "segmentation demos",
    "hkchengrex/Cutie": "segmentation demos",
    "gaomingqi/Track-Anything": "segmentation demos",
    "z-x-yang/Segment-and-Track-Anything": "segmentation demos",
    "DepthAnything/Video-Depth-Anything": "depth demos",
    "LiheYoung/Depth-Anything": "depth demos",
    "hao-ai-lab/FastVideo": "wan",
    "NVlabs/LongLive": "wan",
    "Yaofang-Liu/Pusa-VidGen": "wan",
    "ali-vilab/VACE": "wan",
    "nvidia-cosmos/cosmos-predict1": "cosmos",
    "nv-tlabs/vipe": "cosmos",
}
"""Sources that may share footage or a generator count as one; others stand for themselves."""

GENERATORS: Final[Mapping[str, str]] = {
    "wan": "wan|fastvideo|longlive|turbodiffusion|pusa|riflex|vace",
    "vldm": "vldm|noise rect",
    "videocrafter": "dynamicrafter|videocrafter",
    "zeroscope": "zeroscope|motiondirector|modelscope",
    "ltx": "turbot2av|ltx",
    "cosmos": "cosmos|gen3c",
    "animatediff": "animatelcm|animatediff",
    "cogvideo": "cogvideo",
}
"""Generators of one kind, by words in their names; others go by the first word of theirs."""


def families_of(clips: Iterable[tuple[str, str | None, str | None]]) -> list[str]:
    """A name for each clip of (source, generator, scene): the same for all that share one of the three, or are linked.

    The name is that of the first clip's source among them.
    """
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    firsts = []
    for source, generator, scene in clips:
        own = f"source {FAMILIES.get(source, source)}"
        shared = [own] if scene is None else [own, f"scene {scene}"]
        if generator is not None:
            lower = generator.lower()
            known = [name for name, words in GENERATORS.items() if re.search(words, lower)]
            shared.append(f"generator {(known or lower.split() or [''])[0]}")
        for name in shared:
            root[find(name)] = find(own)
        firsts.append(own)
    named: dict[str, str] = {}
    return [named.setdefault(find(own), own.removeprefix("source ")) for own in firsts]


@dataclass(frozen=True)
class Looks:
    """What a head sees of windows of clips (or of crops), and of which clip each is."""

    values: npt.NDArray[np.float64]  # (N, D): 510 numbers of windows, or 768 of crops
    clip: npt.NDArray[np.str_]
    family: npt.NDArray[np.str_]
    fake: npt.NDArray[np.int64]
    scene: npt.NDArray[np.str_]  # the same for an edit and its source; "" where it is not known

    def edits(self) -> list[tuple[str, str]]:
        """Pairs of a generated clip and a camera clip of one scene: an edit and what it was made from."""
        clips = {name: (bool(fake), scene) for name, fake, scene in zip(self.clip, self.fake, self.scene, strict=True)}
        return [
            (str(edit), str(source))
            for edit, (made, scene) in clips.items()
            for source, (other, same) in clips.items()
            if made and not other and scene and scene == same
        ]


def collect(clips: Sequence[PoolClip], network: Network) -> Looks:
    """The looks of up to three windows a clip, normalised: centre crop to 16:9, 256 x 144, x264 at CRF 23."""
    values, names, families, fakes, scenes = [], [], [], [], []
    for clip, family in zip(clips, families_of((c.source, c.generator, c.scene) for c in clips), strict=True):
        pool = clip.frames()
        step = max(1, round(clip.fps / FPS))
        count = len(pool) // step
        starts = (
            [0] if count <= WINDOW else np.linspace(0, count - WINDOW, min(_WINDOWS, 1 + count // WINDOW)).astype(int)
        )
        for start in starts:
            images = recode(_normal(pool[np.arange(start, min(start + WINDOW, count)) * step]), _CRF)
            values.append(network(images).look)
            names.append(clip.clip_id)
            families.append(family)
            fakes.append(int(clip.label == "fake"))
            scenes.append(clip.scene or "")
    return Looks(
        np.array(values, np.float64),
        np.array(names),
        np.array(families),
        np.array(fakes),
        np.array(scenes),
    )


def _normal(images: Bytes) -> Bytes:
    height, width = images.shape[1:3]
    high = min(height, width * _HW[0] / _HW[1])
    wide = high * _HW[1] / _HW[0]
    y, x = int((height - high) / 2), int((width - wide) / 2)
    cut = images[:, y : y + int(high), x : x + int(wide)]
    return np.stack(
        [cv2.resize(np.ascontiguousarray(picture), _HW[::-1], interpolation=cv2.INTER_AREA) for picture in cut]
    )


def fit(values: npt.NDArray[np.float64], looks: Looks, rows: npt.NDArray[np.bool_]) -> tuple[Any, Any, Any, float]:
    """``(mean, scale, weights, bias)`` of a linear score of looks ``(N, D)``, from the ``rows`` ``(N,)`` that count.

    Logistic regression over standardised numbers. Numbers that hardly vary (`_LEAST_DEVIATION`) get no weight. Windows
    of a family weigh ``1 / sqrt(n)``, the classes alike, so that one repository cannot rule. An edit minus its source
    is asked to score above 0, its negative below.
    """
    from sklearn.linear_model import LogisticRegression

    inside, fake = values[rows], looks.fake[rows]
    mean, scale = spread_of(inside)
    varies = scale < _NEVER

    def standard(apart: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.clip(apart / scale, -_FARTHEST, _FARTHEST))

    family = looks.family[rows]
    names, counts = np.unique(family, return_counts=True)
    size = dict(zip(names, counts, strict=True))
    weight = np.array([1 / np.sqrt(size[name]) for name in family])
    for label in (0, 1):
        weight[fake == label] *= 0.5 * len(fake) / weight[fake == label].sum()
    means = {name: values[rows & (looks.clip == name)].mean(axis=0) for name in np.unique(looks.clip[rows])}
    edits = [means[edit] - means[source] for edit, source in looks.edits() if edit in means and source in means]
    features, labels = standard(inside - mean), fake
    if edits:
        apart = standard(np.array(edits))
        features = np.concatenate([features, apart, -apart])
        labels = np.r_[labels, np.ones(len(apart), np.int64), np.zeros(len(apart), np.int64)]
        weight = np.r_[weight, np.full(2 * len(apart), _PAIRS * len(fake) / (2 * len(apart)))]
    head = LogisticRegression(C=_C, max_iter=_MOST_STEPS).fit(features, labels, sample_weight=weight)
    return mean, scale, np.where(varies, head.coef_[0] / scale, 0.0), float(head.intercept_[0])


def spread_of(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation ``(D,)`` of looks ``(N, D)``; `_NEVER` for the deviation of what hardly varies."""
    deviation = values.std(axis=0)
    return values.mean(axis=0), np.where(deviation >= _LEAST_DEVIATION, deviation, _NEVER)


@dataclass(frozen=True)
class HeldOutScore:
    """A linear score that saw no window of some families."""

    families: frozenset[str]
    held: npt.NDArray[np.bool_]  # (N,): the windows of these families
    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    bias: float

    def score(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scores (logits of "generated") ``(...,)`` of what the head sees, ``(..., D)``."""
        return np.asarray((values - self.mean) @ self.weights + self.bias)


def folds_of(
    values: npt.NDArray[np.float64], looks: Looks, *, folds: int = _FOLDS, seed: int = 0
) -> list[HeldOutScore]:
    """Models that each saw all families but those of their fold.

    ``values`` are the windows' numbers ``(N, D)``. Families are dealt whole, the
    largest first, each to where clips of its classes are fewest. A fold without which a class would be missing is left
    out: its families have no score of their own.
    """
    rng = np.random.default_rng(seed)
    sizes = {
        str(name): np.bincount(looks.fake[looks.family == name], minlength=2).astype(np.float64)
        for name in np.unique(looks.family)
    }
    total = np.maximum(np.bincount(looks.fake, minlength=2), 1).astype(np.float64)
    folds = max(2, min(folds, sum(bool(counts[1]) for counts in sizes.values())))
    held, fold = np.zeros((folds, 2)), {}
    for name in sorted(sizes, key=lambda name: (-sizes[name].sum(), rng.random())):
        grown = (((held + sizes[name]) / total) ** 2 - (held / total) ** 2).sum(axis=1)
        fold[name] = int(np.argmin(grown + 1e-6 * rng.random(folds)))
        held[fold[name]] += sizes[name]
    of = np.array([fold[str(name)] for name in looks.family])
    return [
        HeldOutScore(frozenset(name for name in fold if fold[name] == i), of == i, *fit(values, looks, of != i))
        for i in range(folds)
        if len(set(looks.fake[of != i])) == 2
    ]


def by_clip(scores: npt.NDArray[np.float64], looks: Looks) -> tuple[Any, Any, Any]:
    """Mean score, label (1 fake, 0 real) and family of C clips, ``(C,)`` each, from ``scores`` of windows ``(N,)``."""
    names = sorted(set(looks.clip))
    picked = [np.flatnonzero(looks.clip == name) for name in names]
    return (
        np.array([scores[rows].mean() for rows in picked]),
        np.array([looks.fake[rows[0]] for rows in picked]),
        np.array([looks.family[rows[0]] for rows in picked]),
    )
