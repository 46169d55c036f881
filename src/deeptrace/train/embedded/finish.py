"""The end of a run: weights to ONNX, the whole-clip head, calibration and thresholds on clips that did not train.

A checkpoint goes in; the ONNX files and ``embedded.json`` come out in ``final``, which `EmbeddedModel` loads.
"""

from __future__ import annotations

import hashlib
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
from deeptrace.models.embedded.calibration import VERSION, digest_of, distance
from deeptrace.models.embedded.windows import LOOK, Network
from deeptrace.models.hf.staging import staged
from deeptrace.train import FINAL
from deeptrace.train.embedded.draw import Drawn, PairMaterial, draw_pair, size_of
from deeptrace.train.embedded.export import export
from deeptrace.train.embedded.footage import PoolClip, load_pool, validation_clips
from deeptrace.train.embedded.generated import HeldOutScore, Looks, by_clip, collect, families_of, fit, folds_of
from deeptrace.train.embedded.loop import read_checkpoint
from deeptrace.train.embedded.network import TraceNet
from deeptrace.train.embedded.recipe import EmbeddedRecipe
from deeptrace.train.embedded.recorded import RELEASE_NAME, Recorded
from deeptrace.train.embedded.refit import fit_kind
from deeptrace.train.embedded.scenes import scene_maker
from deeptrace.train.embedded.thresholds import ClipOutputs, above, fit_thresholds, platt, run_clip

Floats = npt.NDArray[np.float64]

# All chosen.
_FOLDINGS: Final = 5
"""Ways in which families are dealt into folds; out-of-fold scores are means over them."""
_FEWEST_FAMILIES: Final = 2
"""Of generated clips, for a head: with one, no fold holds what the others did not see."""
_FIRST_VALIDATION_SEED: Final = 9_000_000
"""Of the validation pairs; those of training count from 0, and no recipe makes so many."""
_JOIN_C: Final = 1.0
"""Inverse strength of the L2 penalty on how the two heads' evidence joins."""
FAR_SHARE: Final = 0.03
"""Of the clips of a new family: how many may be taken for unlike all that the head was fitted on. Chosen."""
_DECIMALS: Final = 6
"""Of the whole-clip head's numbers in ``embedded.json``."""
_REVISION_DIGITS: Final = 12
"""Of a revision: hexadecimal, 48 bits."""


@dataclass(frozen=True)
class Head:
    """The whole-clip head with its calibration folded in, and those of the folds, for clips that it saw."""

    mean: Floats
    spread: Floats  # of each number, over the clips
    weights: Floats
    bias: float
    auroc: float | None  # out of fold
    foldings: tuple[tuple[HeldOutScore, ...], ...] = ()
    scale: float = 1.0  # of the folds' scores
    shift: float = 0.0

    def unseen(self, seen: Floats, family: str) -> float:
        """The evidence of a generated clip, seen as ``(D,)``, by heads that saw no clip of its family.

        The mean over the foldings; a log likelihood ratio.
        """
        scores = [float(fold.score(seen)) for folds in self.foldings for fold in folds if family in fold.families]
        return self.scale * float(np.mean(scores)) + self.shift if scores else self.bias

    def to_json(self) -> dict[str, Any]:
        """The part of ``embedded.json`` that is called ``generated``."""
        return {
            "mean": [round(float(number), _DECIMALS) for number in self.mean],
            "scale": [float(f"{number:.6g}") for number in self.spread],
            "weights": [round(float(number), _DECIMALS) for number in self.weights],
            "bias": self.bias,
            "auroc_out_of_fold": self.auroc,
        }


@dataclass(frozen=True)
class Heads:
    """The heads for the whole picture and for crops at its own size, and how their evidence joins."""

    whole: Head
    detail: Head | None = None
    counts: tuple[float, float, float] = (1.0, 0.0, 0.0)  # of the whole's evidence, of the crops', and a bias
    auroc: float | None = None  # of both together, out of fold, over the clips that have crops

    @property
    def knows(self) -> bool:
        """Whether there was anything to fit the head for the whole picture on."""
        return self.whole.auroc is not None

    def unseen_evidence(self, clip: ClipOutputs) -> float:
        """The evidence of a generated clip by heads that saw no clip of its family."""
        whole = self.whole.unseen(clip.look, clip.family)
        if self.detail is None or clip.detail is None:
            return whole
        of_whole, of_detail, bias = self.counts
        return of_whole * whole + of_detail * self.detail.unseen(clip.detail, clip.family) + bias

    def to_json(self) -> dict[str, Any]:
        """The parts of ``embedded.json`` that are called ``generated`` and ``detail``."""
        if self.detail is None:
            return {"generated": self.whole.to_json(), "detail": None}
        of_whole, of_detail, bias = self.counts
        return {
            "generated": self.whole.to_json(),
            "detail": {
                "mean": [round(float(number), _DECIMALS) for number in self.detail.mean],
                "weights": [round(of_detail * float(number), _DECIMALS) for number in self.detail.weights],
                "whole": of_whole,
                "bias": bias + of_detail * self.detail.bias,
                "auroc_out_of_fold": self.auroc,
            },
        }


def finish(recipe: EmbeddedRecipe, out: Path, checkpoint: Path) -> Path:
    """Export and calibrate; the folder of the result.

    Raises:
        TrainError: no camera clip is held out for validation, or the checkpoint is damaged.
        FileError: the system refused; nothing is left of the result.
    """
    final = out / FINAL
    with staged(final, "finishing") as work:
        net = TraceNet(recipe.width)
        net.load_state_dict(read_checkpoint(checkpoint)["average"])
        kind = fit_kind(net.eval(), recipe, out / "spool")
        export(net, kind, work)
        network = Network(work)
        if (Path(recipe.footage) / RELEASE_NAME).exists():
            numbers = _of_release(recipe, out, network)
        else:
            numbers = _of_footage(recipe, out, network)
        write_numbers(work, numbers | {"recipe": asdict(recipe)})
    return final


def write_numbers(folder: Path, numbers: dict[str, Any]) -> None:
    """Write ``embedded.json`` beside the ONNX files. The revision stands for all: other thresholds, another one."""
    digest = digest_of(folder)
    revision = hashlib.sha256((digest + dumps(numbers)).encode()).hexdigest()[:_REVISION_DIGITS]
    table = {"format": "deeptrace.embedded", "version": VERSION, "revision": revision, "sha256": digest} | numbers
    write_text(folder / "embedded.json", dumps(table, indent=1) + "\n")


def _of_footage(recipe: EmbeddedRecipe, out: Path, network: Network) -> dict[str, Any]:
    pool = load_pool(Path(recipe.footage), out / "pool", labels=("real", "fake"), licenses=recipe.licenses)
    clips = [clip for clip in pool if clip.source not in recipe.test_sources]
    footage = validation_clips(pool, recipe)
    scene = scene_maker(footage, recipe.cutouts, test=True) if recipe.scene_share > 0 else None
    logits = _pair_logits(PairMaterial(footage, scene, recipe.scene_share), recipe, network)
    scale, bias = platt(logits["fake"], np.r_[logits["sham"], logits["clean"]])
    outputs = run_clips(clips, network)
    return numbers_of(outputs, (scale, bias), heads_of(fit_head(clips, network), clips, outputs))


def run_clips(clips: Sequence[PoolClip], network: Network) -> list[ClipOutputs]:
    """What the network says of clips as the model reads them."""
    families = families_of((clip.source, clip.generator, clip.scene) for clip in clips)
    return [
        run_clip(clip, family, network)
        for clip, family in zip(tqdm(clips, desc="clips as they are read", unit="clip"), families, strict=True)
    ]


def numbers_of(clips: Sequence[ClipOutputs], trace: tuple[float, float], heads: Heads) -> dict[str, Any]:
    """The numbers of ``embedded.json``.

    Thresholds are of untouched clips: those held out from training are too few for a quantile, so all that are no test
    count. p_generated is out of fold for each.
    """
    fitted = fit_thresholds(clips, trace=trace, generated=heads.unseen_evidence if heads.knows else None)
    threshold = fitted.pop("trace_threshold")
    far = None
    if heads.knows:
        distances = np.array([distance(clip.look, heads.whole.mean, heads.whole.spread) for clip in clips])
        far = above(distances, [clip.family for clip in clips], FAR_SHARE)
    numbers = heads.to_json()
    return {
        "trace": {"scale": trace[0], "bias": trace[1], "threshold": threshold},
        "generated": numbers["generated"] | {"far": far},
        "detail": numbers["detail"],
        **fitted,
    }


def _of_release(recipe: EmbeddedRecipe, out: Path, network: Network) -> dict[str, Any]:
    """Of a dataset's own traces: calibrated on its val split, without a whole-clip head (its labels say the same).

    Each clip stands for itself: which of them share a source, a dataset does not say.
    """
    recorded = Recorded.load(Path(recipe.footage), out / "pool", split="val")
    logits = _pair_logits(PairMaterial(recorded=recorded), recipe, network)
    nothing = np.zeros(LOOK)
    clips = [
        ClipOutputs(f"{name} {i}", f"{name} {i}", name == "fake", np.array([value]), nothing)
        for name in ("fake", "clean")
        for i, value in enumerate(logits[name])
    ]
    heads = Heads(Head(nothing, np.ones(LOOK), nothing, 0.0, None))
    return numbers_of(clips, platt(logits["fake"], logits["clean"]), heads)


def _pair_logits(material: PairMaterial, recipe: EmbeddedRecipe, network: Network) -> dict[str, Floats]:
    """The clip logits of validation pairs: of the fakes, of the shams and of the untouched."""
    logits: dict[str, list[float]] = {"fake": [], "sham": [], "clean": []}
    lost = 0
    for i in tqdm(range(recipe.validation_pairs), desc="validation pairs", unit="pair"):
        try:
            drawn: Drawn = draw_pair((recipe.seed, _FIRST_VALIDATION_SEED + i), material, size_of(i, 1))
        except DeepTraceError:
            lost += 1
            continue
        for name, values in logits.items():
            values.append(network(getattr(drawn, name)).clip)
    if not logits["fake"]:
        raise TrainError("no validation pair could be made; thresholds need some")
    if lost:
        warnings.warn(f"{lost} of {recipe.validation_pairs} validation pairs could not be made", stacklevel=2)
    return {name: np.array(values) for name, values in logits.items()}


def fit_head(clips: Sequence[PoolClip], network: Network) -> Head:
    """The whole-clip head on these clips, calibrated on its own out-of-fold scores (mean of `_FOLDINGS`).

    With generated clips of fewer than `_FEWEST_FAMILIES` families there is nothing to judge it by: the head then says
    nothing (0).
    """
    families = families_of((clip.source, clip.generator, clip.scene) for clip in clips)
    made = {family for clip, family in zip(clips, families, strict=True) if clip.label == "fake"}
    if len(made) < _FEWEST_FAMILIES:
        return Head(np.zeros(LOOK), np.ones(LOOK), np.zeros(LOOK), 0.0, None)
    return head_of(collect(clips, network))


def head_of(looks: Looks) -> Head:
    """The head on what it sees of clips."""
    from sklearn.metrics import roc_auc_score

    foldings = tuple(tuple(folds_of(looks.values, looks, seed=seed)) for seed in range(_FOLDINGS))
    scores, times = np.zeros(len(looks.fake)), np.zeros(len(looks.fake))
    for fold in (fold for folds in foldings for fold in folds):
        scores[fold.held] += fold.score(looks.values[fold.held])
        times += fold.held
    if not times.all():
        raise TrainError(
            "camera and generated clips lie in so few families that a head cannot leave each of them out; add sources"
        )
    score, labels, _ = by_clip(scores / times, looks)
    scale, shift = platt(score[labels == 1], score[labels == 0])
    mean, scale_of, weights, bias = fit(looks.values, looks, np.ones(len(looks.fake), bool))
    auroc = float(roc_auc_score(labels, score))
    return Head(mean, scale_of, weights * scale, bias * scale + shift, auroc, foldings, scale, shift)


def heads_of(whole: Head, clips: Sequence[PoolClip], outputs: Sequence[ClipOutputs]) -> Heads:
    """Both heads: that for crops on what the network says of the clips, and how the two join.

    Without a head for the whole picture, or with crops of too few families to judge one by, there is none for crops.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    seen = [(clip, said) for clip, said in zip(clips, outputs, strict=True) if said.detail is not None]
    families = [{said.family for _, said in seen if said.is_fake is kind} for kind in (False, True)]
    if whole.auroc is None or min(map(len, families)) < _FEWEST_FAMILIES:
        return Heads(whole)
    details = Looks(
        np.array([said.detail for _, said in seen]),
        np.array([said.clip_id for _, said in seen]),
        np.array([said.family for _, said in seen]),
        np.array([int(said.is_fake) for _, said in seen]),
        np.array([clip.scene or "" for clip, _ in seen]),
    )
    detail = head_of(details)
    evidence = np.array(
        [
            (whole.unseen(said.look, said.family), detail.unseen(said.detail, said.family))
            for _, said in seen
            if said.detail is not None
        ]
    )
    fitted = LogisticRegression(C=_JOIN_C, class_weight="balanced").fit(evidence, details.fake)
    of_whole, of_detail = (float(value) for value in fitted.coef_[0])
    if min(of_whole, of_detail) < 0:
        warnings.warn(
            f"crops at their own size are left out: joined with the whole picture they would count {of_detail:.2f}, "
            f"and the whole picture {of_whole:.2f}",
            stacklevel=2,
        )
        return Heads(whole)
    auroc = float(roc_auc_score(details.fake, evidence @ fitted.coef_[0]))
    return Heads(whole, detail, (of_whole, of_detail, float(fitted.intercept_[0])), auroc)
