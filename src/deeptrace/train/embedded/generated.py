"""The head for ``p_generated``: a linear model over what the network's backbone sees of whole clips.

Clips of the pool, camera and generated, go in, all brought to one size, rate and coding; weights and an honest estimate
(cross-validated over families of sources and generators) come out. A single middle frame is judged on the same folds:
what the head knows beyond content is the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.models.embedded.inputs import FPS, Bytes
from deeptrace.models.embedded.windows import WINDOW, Network
from deeptrace.train.embedded.draw import encode
from deeptrace.train.embedded.footage import PoolClip

# All chosen; what they give over families that were not seen is measured by `benchmarks/embedded_choices.py generated`.
_HW: Final = (144, 256)  # pixels to which every clip is brought
_CRF: Final = 23  # and x264's quality for it, its default
_WINDOWS: Final = 3  # at most, of a clip, spread over it
_COMPONENTS: Final = 20  # principal components that the head weighs
_C: Final = 0.1  # inverse strength of its L2 penalty, as in scikit-learn
_MOST_STEPS: Final = 2000  # of its solver
_FOLDS: Final = 5  # into which families are dealt
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


@dataclass(frozen=True)
class Looks:
    """What the head sees of windows of clips, and of which clip each is."""

    values: npt.NDArray[np.float64]  # (N, 342)
    middle: npt.NDArray[np.float64]  # (N, 224): one frame
    clip: npt.NDArray[np.str_]
    family: npt.NDArray[np.str_]
    fake: npt.NDArray[np.int64]


def collect(clips: Sequence[PoolClip], network: Network, middle_of: Any) -> Looks:
    """The looks of up to three windows a clip, normalised: centre crop to 16:9, 256 x 144, x264 at CRF 23.

    ``middle_of`` gives ``(224,)`` numbers of one frame ``(H, W, 3)``.
    """
    values, middles, names, families, fakes = [], [], [], [], []
    for clip in clips:
        pool = clip.frames()
        step = max(1, round(clip.fps / FPS))
        count = len(pool) // step
        starts = (
            [0] if count <= WINDOW else np.linspace(0, count - WINDOW, min(_WINDOWS, 1 + count // WINDOW)).astype(int)
        )
        for start in starts:
            images = encode(_normal(pool[np.arange(start, min(start + WINDOW, count)) * step]), _CRF)
            values.append(network(images).look)
            middles.append(middle_of(images[len(images) // 2]))
            names.append(clip.clip_id)
            families.append(FAMILIES.get(clip.source, clip.source))
            fakes.append(int(clip.label == "fake"))
    return Looks(
        np.array(values, np.float64),
        np.array(middles, np.float64),
        np.array(names),
        np.array(families),
        np.array(fakes),
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


def fit(values: npt.NDArray[np.float64], looks: Looks, rows: npt.NDArray[np.bool_]) -> tuple[Any, Any, float]:
    """``(mean, weights, bias)`` of a linear score: standardised, 20 whitened components, logistic regression (C 0.1).

    Numbers that hardly vary (`_LEAST_DEVIATION`) get no weight. Windows of a family weigh ``1 / sqrt(n)`` together with
    the classes' balance, so that one repository cannot rule.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    family = looks.family[rows]
    weight = np.array([1 / np.sqrt((family == name).sum()) for name in family])
    scaler = StandardScaler()
    components = PCA(min(_COMPONENTS, int(rows.sum()) - 1), whiten=True, random_state=0)
    head = LogisticRegression(C=_C, class_weight="balanced", max_iter=_MOST_STEPS)
    model = make_pipeline(scaler, components, head)
    varies = values[rows].std(axis=0) >= _LEAST_DEVIATION
    model.fit(np.where(varies, values[rows], 0.0), looks.fake[rows], logisticregression__sample_weight=weight)
    inner = head.coef_[0] / np.sqrt(components.explained_variance_)
    weights = np.where(varies, (inner @ components.components_) / scaler.scale_, 0.0)
    mean = scaler.mean_ + components.mean_ * scaler.scale_
    return mean, weights, float(head.intercept_[0])


@dataclass(frozen=True)
class HeldOutScore:
    """A linear score that saw no window of some families."""

    families: frozenset[str]
    held: npt.NDArray[np.bool_]  # (N,): the windows of these families
    mean: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    bias: float

    def score(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scores (logits of "generated") ``(...,)`` of what the head sees, ``(..., 342)``."""
        return np.asarray((values - self.mean) @ self.weights + self.bias)


def folds_of(
    values: npt.NDArray[np.float64], looks: Looks, *, folds: int = _FOLDS, seed: int = 0
) -> list[HeldOutScore]:
    """Models that each saw all families but those of their fold; sources and generators of one family stay together.

    ``values`` are the windows' numbers ``(N, 342)``, or ``(N, 224)`` of one frame each.
    """
    fake_families = {name for name in looks.family if looks.fake[looks.family == name].any()}
    folds = min(folds, len(fake_families))
    order = np.random.default_rng(seed).permutation(sorted(set(looks.family)))
    with_fakes = [name for name in order if name in fake_families]
    without = [name for name in order if name not in with_fakes]
    fold = {name: i % folds for names in (with_fakes, without) for i, name in enumerate(names)}
    held = np.array([fold[name] for name in looks.family])
    return [
        HeldOutScore(frozenset(name for name in fold if fold[name] == i), held == i, *fit(values, looks, held != i))
        for i in range(folds)
    ]


def out_of_fold(values: npt.NDArray[np.float64], looks: Looks, *, folds: int = _FOLDS, seed: int = 0) -> Any:
    """Scores of windows ``(N,)`` by models that saw neither their source's nor their generator's family."""
    scores = np.zeros(len(values))
    for fold in folds_of(values, looks, folds=folds, seed=seed):
        scores[fold.held] = fold.score(values[fold.held])
    return scores


def by_clip(scores: npt.NDArray[np.float64], looks: Looks) -> tuple[Any, Any, Any]:
    """Mean score, label (1 fake, 0 real) and family of C clips, ``(C,)`` each, from ``scores`` of windows ``(N,)``."""
    names = sorted(set(looks.clip))
    picked = [np.flatnonzero(looks.clip == name) for name in names]
    return (
        np.array([scores[rows].mean() for rows in picked]),
        np.array([looks.fake[rows[0]] for rows in picked]),
        np.array([looks.family[rows[0]] for rows in picked]),
    )
