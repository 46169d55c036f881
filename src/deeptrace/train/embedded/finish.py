"""The end of a run: weights to ONNX, the whole-clip head, calibration and thresholds on clips that did not train.

A checkpoint goes in; ``final/embedded.onnx`` and ``final/embedded.json`` come out, which `EmbeddedModel` loads.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from deeptrace.errors import DeepTraceError, TrainError
from deeptrace.files import dumps, write_text
from deeptrace.models.embedded.inputs import FPS
from deeptrace.models.embedded.model import join, pooled
from deeptrace.models.embedded.windows import LOOK, Network
from deeptrace.train.embedded.draw import COUNT, Drawn, Material, draw_pair, size_of
from deeptrace.train.embedded.export import export
from deeptrace.train.embedded.footage import Clip, load_pool, validation_clips
from deeptrace.train.embedded.generated import FAMILIES, by_clip, collect, fit, out_of_fold
from deeptrace.train.embedded.loop import read_checkpoint
from deeptrace.train.embedded.network import Backbone, TraceNet
from deeptrace.train.embedded.recipe import EmbeddedRecipe
from deeptrace.train.embedded.recorded import RELEASE_NAME, Recorded
from deeptrace.train.embedded.refit import fit_kind
from deeptrace.train.embedded.scenes import scene_maker
from deeptrace.train.embedded.spool import FeatureMaker

FALSE_ALARMS: Final = 0.05
"""Share of camera clips that the label's threshold may call fake. What is promised of unseen sources is twice as much:
most of the clips that fit the threshold also trained, and get less of p_trace than others would."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """The whole-clip head with its calibration folded in, and its out-of-fold evidence for each clip."""

    mean: Floats
    weights: Floats
    bias: float
    evidence: dict[str, float]
    auroc: float | None


def finish(recipe: EmbeddedRecipe, out: Path, checkpoint: Path) -> Path:
    """Export and calibrate; the folder of the result.

    Raises:
        TrainError: no camera clip is held out for validation.
    """
    work, final = out / "finishing", out / "final"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    net = TraceNet(recipe.width)
    net.load_state_dict(read_checkpoint(checkpoint)["average"])
    kind = fit_kind(net.eval(), recipe, out / "spool")
    export(Backbone(), net, kind, work / "embedded.onnx")
    network = Network(work / "embedded.onnx")
    if (Path(recipe.footage) / RELEASE_NAME).exists():
        numbers = _of_release(recipe, out, network)
    else:
        numbers = _of_footage(recipe, out, network)
    digest = hashlib.sha256((work / "embedded.onnx").read_bytes()).hexdigest()
    table = {"format": "deeptrace.embedded", "version": 1, "revision": digest[:12], "sha256": digest} | numbers
    write_text(work / "embedded.json", dumps(table | {"recipe": asdict(recipe)}, indent=1) + "\n")
    work.replace(final)
    return final


def _of_footage(recipe: EmbeddedRecipe, out: Path, network: Network) -> dict[str, Any]:
    pool = load_pool(Path(recipe.footage), out / "pool", labels=("real", "fake"), licenses=recipe.licenses)
    seen = [clip for clip in pool if clip.source not in recipe.test_sources]
    camera = [clip for clip in seen if clip.label == "real"]
    footage = validation_clips(pool, recipe)
    scene = scene_maker(footage, recipe.cutouts, test=True) if recipe.scene_share > 0 else None
    logits = _pair_logits(Material(footage, scene, recipe.scene_share), recipe, network)
    scale, bias = platt(logits["fake"], np.r_[logits["sham"], logits["clean"]])
    head = fit_head(seen, network, FeatureMaker(out / "backbone.onnx"))
    windows = {clip.clip_id: _windows(clip, network) for clip in tqdm(camera, desc="camera clips", unit="clip")}
    p_fake = [join(pooled(scale * w + bias), head.evidence[name], 0.5)[0] for name, w in windows.items()]
    best = [scale * float(w.max()) + bias for w in windows.values()]
    return _numbers(scale, bias, head, np.array(p_fake), np.array(best))


def _of_release(recipe: EmbeddedRecipe, out: Path, network: Network) -> dict[str, Any]:
    """Of a dataset's own traces: calibrated on its val split, without a whole-clip head (its labels say the same)."""
    recorded = Recorded.load(Path(recipe.footage), out / "pool", split="val")
    logits = _pair_logits(Material(recorded=recorded), recipe, network)
    scale, bias = platt(logits["fake"], logits["clean"])
    head = Head(np.zeros(LOOK), np.zeros(LOOK), 0.0, {}, None)
    evidence = scale * logits["clean"] + bias
    p_fake = np.array([join(float(value), 0.0, 0.5)[0] for value in evidence])
    return _numbers(scale, bias, head, p_fake, evidence)


def above(values: Floats, share: float) -> float:
    """The least threshold that a new value of the same kind reaches with a chance of at most ``share``.

    Split conformal prediction (Vovk et al. 2005): of n values, just above the ceil((n + 1)(1 - share))-th smallest;
    with too few for that, above all of them, and the chance is 1 / (n + 1).
    """
    rank = min(len(values), math.ceil((len(values) + 1) * (1 - share)))
    return float(np.nextafter(np.sort(values)[rank - 1], np.inf))


def _numbers(scale: float, bias: float, head: Head, p_fake: Floats, best: Floats) -> dict[str, Any]:
    """The numbers of ``embedded.json``.

    ``p_fake`` and the best window's trace evidence are of untouched camera clips: those held out from training are too
    few for a quantile, so all count. p_generated is out of fold for each.
    """
    threshold = max(0.5, above(p_fake, FALSE_ALARMS))
    return {
        "trace": {
            "scale": scale,
            "bias": bias,
            "threshold": max(0.0, above(best, FALSE_ALARMS)),
        },
        "generated": {
            "mean": [round(float(v), 6) for v in head.mean],
            "weights": [round(float(v), 6) for v in head.weights],
            "bias": head.bias,
            "auroc_out_of_fold": head.auroc,
        },
        "threshold": threshold,
        "uncertain": [
            min(threshold, max(0.35, float(np.quantile(p_fake, 0.75)))),
            max(threshold, min(0.995, max(threshold, float(np.quantile(p_fake, 0.97))) + 0.02)),
        ],
        "camera_clips": len(p_fake),
    }


def _pair_logits(material: Material, recipe: EmbeddedRecipe, network: Network) -> dict[str, Floats]:
    """The clip logits of validation pairs: of the fakes, of the shams and of the untouched."""
    found: dict[str, list[float]] = {"fake": [], "sham": [], "clean": []}
    lost = 0
    for i in tqdm(range(recipe.validation_pairs), desc="validation pairs", unit="pair"):
        try:
            drawn: Drawn = draw_pair((recipe.seed, 9_000_000 + i), material, size_of(i, 1))
        except DeepTraceError:
            lost += 1
            continue
        for name, values in found.items():
            values.append(network(getattr(drawn, name)).clip)
    if not found["fake"]:
        raise TrainError("no validation pair could be made; thresholds need some")
    if lost:
        warnings.warn(f"{lost} of {recipe.validation_pairs} validation pairs could not be made", stacklevel=2)
    return {name: np.array(values) for name, values in found.items()}


def platt(positive: Floats, negative: Floats) -> tuple[float, float]:
    """Scale and bias that turn logits into log likelihood ratios (Platt 1999, classes weighed alike)."""
    from sklearn.linear_model import LogisticRegression

    values = np.r_[positive, negative][:, None]
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    model = LogisticRegression(C=10.0, class_weight="balanced").fit(values, labels)
    return max(1e-3, float(model.coef_[0, 0])), float(model.intercept_[0])


def fit_head(clips: Sequence[Clip], network: Network, maker: FeatureMaker) -> Head:
    """The whole-clip head on these clips, calibrated on its own out-of-fold scores (mean of five foldings).

    With generated clips of fewer than two families there is nothing to judge it by: the head then says nothing (0).
    """
    from sklearn.metrics import roc_auc_score

    families = {FAMILIES.get(clip.source, clip.source) for clip in clips if clip.label == "fake"}
    if len(families) < 2:
        return Head(np.zeros(LOOK), np.zeros(LOOK), 0.0, {clip.clip_id: 0.0 for clip in clips}, None)

    looks = collect(clips, network, maker.middle)
    scores, labels, names = [], None, sorted(set(looks.clip))
    for seed in range(5):
        score, labels, _ = by_clip(out_of_fold(looks.values, looks, seed=seed), looks)
        scores.append(score)
    assert labels is not None
    mean_score = np.mean(scores, axis=0)
    scale, bias = platt(mean_score[labels == 1], mean_score[labels == 0])
    mean, weights, raw_bias = fit(looks.values, looks, np.ones(len(looks.fake), bool))
    return Head(
        mean,
        weights * scale,
        raw_bias * scale + bias,
        {str(name): float(scale * value + bias) for name, value in zip(names, mean_score, strict=True)},
        float(roc_auc_score(labels, mean_score)),
    )


def _windows(clip: Clip, network: Network) -> Floats:
    """The clip logits of each window of a stored clip."""
    frames = clip.frames()[:: max(1, round(clip.fps / FPS))]
    return np.array([said.clip for said in network.over(np.ascontiguousarray(frames[: 8 * COUNT]))])
