"""Shortcut probes: can fake and real, and generators, be told apart by what a detector of traces must not use?

Tables of features go in (`features`), `Shortcuts` come out. All probes share the same folds. Whatever
stands above chance here, a trained model may use instead of traces, and its accuracy counts for less.

Classifier: extremely randomised trees (scikit-learn). Shortcuts are often exact values ("every fake is 1280 wide",
"every real has audio") and their combinations, which trees find and a linear model does not; trees need no scaling,
work with a hundred clips as with seven thousand, do not depend on the number of threads, and have nothing to tune.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from deeptrace.data.audit.features import FeatureTable, Floats
from deeptrace.errors import MissingExtra, RecordError
from deeptrace.measures.probabilities import weighted_auroc
from deeptrace.records import RecordLabel

Task = Literal["fake_or_real", "generator"]
Ints = npt.NDArray[np.intp]

FOLDS: Final = 5
TREES: Final = 60
RESAMPLES: Final = 1000
MIN_PER_GENERATOR: Final = 5
CLOSE: Final = 0.1
_RESAMPLE_BLOCK: Final = 100


@dataclass(frozen=True)
class ProbeScore:
    """A score with its 95 % interval (percentiles of a bootstrap over groups), and what guessing gives; in [0, 1]."""

    value: float
    low: float
    high: float
    chance: float

    @property
    def at_chance(self) -> bool:
        """Whether the interval holds what guessing gives."""
        return self.low <= self.chance <= self.high

    @property
    def verdict(self) -> Literal["above chance", "below chance", "at chance", "unclear"]:
        """In words. "at chance" says that more than 0.1 above guessing is excluded; "unclear", that nothing is."""
        if self.low > self.chance:
            return "above chance"
        if self.high < self.chance:
            return "below chance"
        return "at chance" if self.high <= self.chance + CLOSE else "unclear"


@dataclass(frozen=True)
class ProbeResult:
    """What one probe reached on one task, predicted for clips of groups that it was not trained on.

    ``auroc``: for generators the mean over one-against-the-rest. ``balanced_accuracy``: mean recall of the classes.
    ``accuracy`` is given for generators, where guessing gives the largest one's share. ``reason`` is set, and the
    scores are None, where the probe could not be run. ``classes`` counts clips by class.
    """

    probe: str
    task: Task
    n: int
    groups: int
    folds: int
    classes: Mapping[str, int]
    features: int
    auroc: ProbeScore | None = None
    balanced_accuracy: ProbeScore | None = None
    accuracy: ProbeScore | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Shortcuts:
    """All probes of one dataset. ``left_out`` counts clips that take no part, by reason; ``unsure`` is one of them."""

    results: tuple[ProbeResult, ...]
    left_out: Mapping[str, int]
    seed: int

    def get(self, probe: str, task: Task = "fake_or_real") -> ProbeResult:
        """The result of one probe.

        Raises:
            KeyError: no such probe was run.
        """
        for result in self.results:
            if (result.probe, result.task) == (probe, task):
                return result
        raise KeyError(f"no probe {probe!r} for {task}")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"results": [asdict(result) for result in self.results]}


def run_probes(
    tables: Mapping[str, FeatureTable],
    labels: Sequence[RecordLabel | None],
    *,
    sources: Sequence[str | None] | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    folds: int = FOLDS,
    resamples: int = RESAMPLES,
) -> Shortcuts:
    """Run each table's probe on both tasks, on the same folds.

    ``labels``: unsure and None take no part. ``sources`` name the generators. ``groups``: clips of one group are never
    on both sides of a fold, and the bootstrap draws groups; None: every clip is its own group. A generator whose clips
    are all of one group cannot be learned and tested, and is left out. The same seed gives the same numbers.

    Raises:
        RecordError: the lengths differ, or ``folds`` is below 2.
        MissingExtra: scikit-learn is not installed.
    """
    _need_sklearn()
    n = len(labels)
    sources = [None] * n if sources is None else sources
    keys: Sequence[Hashable] = range(n) if groups is None else groups
    if len(sources) != n or len(keys) != n or any(len(table.values) != n for table in tables.values()):
        raise RecordError("probes", f"{n} labels need as many sources, groups and rows of every table")
    if folds < 2:
        raise RecordError("folds", f"{folds} is below 2")
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    group = np.array([number[key] for key in keys], np.intp)
    binary = np.array([{"fake": 1, "real": 0}.get(label or "", -1) for label in labels], np.intp)
    use = np.flatnonzero(binary >= 0)
    strata = [f"{label} {source}" for label, source in zip(labels, sources, strict=True)]
    fold = np.full(n, -1, np.intp)
    fold[use] = assign_folds([strata[i] for i in use.tolist()], group[use], folds=folds, seed=seed)
    left_out = Counter("unsure" if labels[i] == "unsure" else "no label" for i in np.flatnonzero(binary < 0).tolist())

    results = []
    makers, why = _generators(labels, sources, fold)
    by_maker = [i for i in use.tolist() if binary[i] == 1 and sources[i] in makers]
    fake_rows = np.array(by_maker, np.intp)
    truth = np.array([makers.index(str(sources[i])) for i in by_maker], np.intp)
    for name, table in tables.items():
        settings = _Settings(name, table, group, fold, seed, resamples)
        results.append(_probe(settings, "fake_or_real", use, binary[use], ("real", "fake"), None))
        results.append(_probe(settings, "generator", fake_rows, truth, makers, why))
    return Shortcuts(tuple(results), dict(left_out), seed)


def assign_folds(strata: Sequence[Hashable], groups: Sequence[int] | Ints, *, folds: int, seed: int) -> Ints:
    """The fold of each item, ``(N,)``: groups stay whole, and every stratum is spread as evenly as its groups allow.

    Groups are taken largest first (equal ones in an order of the seed), each into the fold that holds least of what it
    brings, then into the smallest.
    """
    group = np.asarray(groups, np.intp)
    names = {stratum: i for i, stratum in enumerate(dict.fromkeys(strata))}
    stratum = np.array([names[name] for name in strata], np.intp)
    fold_of = np.empty(len(group), np.intp)
    fold_counts = np.zeros((folds, max(len(names), 1)), np.intp)
    rows: dict[int, list[int]] = {}
    for i, key in enumerate(group.tolist()):
        rows.setdefault(key, []).append(i)
    order = np.random.default_rng(seed).permutation(len(rows))
    ranked = sorted(zip(order.tolist(), rows.values(), strict=True), key=lambda item: (-len(item[1]), item[0]))
    for _, items in ranked:
        brings = np.bincount(stratum[items], minlength=fold_counts.shape[1])
        fold = int(np.lexsort((fold_counts.sum(1), fold_counts @ brings))[0])
        fold_counts[fold] += brings
        fold_of[items] = fold
    return fold_of


# ── one probe ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Settings:
    name: str
    table: FeatureTable
    group: Ints
    fold: Ints
    seed: int
    resamples: int


def _generators(
    labels: Sequence[RecordLabel | None], sources: Sequence[str | None], fold: Ints
) -> tuple[tuple[str, ...], str | None]:
    """Generators that can be learned on some folds and tested on another, and why there are not two of them."""
    folds_by_source: dict[str, list[int]] = {}
    for i, (label, source) in enumerate(zip(labels, sources, strict=True)):
        if label == "fake" and source is not None:
            folds_by_source.setdefault(source, []).append(int(fold[i]))
    enough = {
        name: source_folds for name, source_folds in folds_by_source.items() if len(source_folds) >= MIN_PER_GENERATOR
    }
    spread = sorted(name for name, source_folds in enough.items() if len(set(source_folds)) >= 2)
    if len(spread) >= 2:
        return tuple(spread), None
    if len(enough) >= 2:
        return (), "the clips of each generator are all of one group"
    return (), f"fewer than two generators have {MIN_PER_GENERATOR} clips"


def _probe(  # noqa: PLR0917
    settings: _Settings, task: Task, rows: Ints, truth: Ints, classes: Sequence[str], reason: str | None
) -> ProbeResult:
    fold, group = settings.fold[rows], settings.group[rows]
    counts = {name: int((truth == i).sum()) for i, name in enumerate(classes)}
    used = sorted(set(fold.tolist()))
    features = settings.table.values[rows]
    if reason is None and any(len(set(fold[truth == i].tolist())) < 2 for i in range(len(classes))):
        reason = "fewer than two groups of a class"
    if reason is None and (features.shape[1] == 0 or np.isnan(features).all()):
        reason = "no feature is known"
    result = ProbeResult(
        probe=settings.name,
        task=task,
        n=len(rows),
        groups=len(set(group.tolist())),
        folds=len(used),
        classes=counts,
        features=features.shape[1],
        reason=reason,
    )
    if reason is not None:
        return result
    guess = np.full((len(rows), len(classes)), 1.0 / len(classes))
    for held_out in used:
        train, test = fold != held_out, fold == held_out
        guess[test] = _fit_predict(features[train], truth[train], features[test], len(classes), settings.seed)
    # Sums of equal votes differ in the last bit from fold to fold; such ties must stay ties.
    guess = guess.round(6)
    answers = _answers(guess, list(counts.values()))
    scores = _scores(guess, answers, truth, _weights(group, settings.resamples, settings.seed))
    share = max(counts.values()) / len(rows)
    return replace(
        result,
        auroc=_estimate(scores["auroc"], 0.5),
        balanced_accuracy=_estimate(scores["balanced_accuracy"], 1 / len(classes)),
        accuracy=_estimate(scores["accuracy"], share) if task == "generator" else None,
    )


def _answers(guess: Floats, counts: Sequence[int]) -> Ints:
    """The class that is said of each row; a tie goes to the class with most clips, and among such to the last.

    So where the features say nothing, the answer is right exactly as often as the largest class is large. The most
    frequent class of the other folds would not do: where classes are alike in size it is the rarer one of this fold.
    """
    ranked = np.where(guess == guess.max(1, keepdims=True), np.asarray(counts, float), -1.0)
    return np.asarray(guess.shape[1] - 1 - np.argmax(ranked[:, ::-1], axis=1), np.intp)


def _fit_predict(train: Floats, truth: Ints, test: Floats, classes: int, seed: int) -> Floats:
    """P(class) of the test rows, ``(N, classes)``. Classes count alike however many clips they have."""
    from sklearn.ensemble import ExtraTreesClassifier

    train, test = _fill(train, test)
    model = ExtraTreesClassifier(
        TREES, min_samples_leaf=2, max_features="sqrt", class_weight="balanced", random_state=seed, n_jobs=1
    ).fit(train, truth)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities


def _fill(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Medians of the training rows in place of NaN, and for each column with NaN one that says where it was."""
    holes = np.isnan(train)
    has_values = ~holes.all(0)
    train, test, holes = train[:, has_values], test[:, has_values], holes[:, has_values]
    middle = np.nanmedian(train, axis=0) if train.shape[1] else np.empty(0)
    some = holes.any(0)
    filled = [
        np.hstack([np.where(np.isnan(part), middle, part), np.isnan(part)[:, some].astype(float)])
        for part in (train, test)
    ]
    if filled[0].shape[1] == 0:  # nothing is known of the training clips: all are alike
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    return filled[0], filled[1]


# ── scores and their intervals ──────────────────────────────────────────────────────────────────────────────────────


def _weights(group: Ints, resamples: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each item is drawn: ``(1 + resamples, N)``; the first row is the data as it is."""
    _, index = np.unique(group, return_inverse=True)
    count = int(index.max()) + 1
    draws = np.random.default_rng((seed, 1)).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.vstack([np.ones((1, count), draws.dtype), draws]).astype(np.float32)[:, index]


def _scores(guess: Floats, answers: Ints, truth: Ints, weights: npt.NDArray[np.float32]) -> dict[str, Floats]:
    """Each score for each row of weights; NaN where a class was not drawn."""
    scores: dict[str, list[Floats]] = {"auroc": [], "balanced_accuracy": [], "accuracy": []}
    classes = guess.shape[1]
    right = (answers == truth).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        for at in range(0, len(weights), _RESAMPLE_BLOCK):
            part = weights[at : at + _RESAMPLE_BLOCK].astype(float)
            of_class = [(truth == i).astype(float) for i in range(classes)]
            recalls = [part @ (right * mine) / (part @ mine) for mine in of_class]
            ranked = range(1, 2) if classes == 2 else range(classes)
            areas = [weighted_auroc(guess[:, i], of_class[i] > 0, part) for i in ranked]
            scores["auroc"].append(np.mean(areas, axis=0))
            scores["balanced_accuracy"].append(np.mean(recalls, axis=0))
            scores["accuracy"].append(part @ right / part.sum(1))
    return {name: np.concatenate(values) for name, values in scores.items()}


def _estimate(values: Floats, chance: float) -> ProbeScore:
    replicates = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(replicates, (2.5, 97.5)) if len(replicates) else (values[0], values[0])
    return ProbeScore(float(values[0]), float(low), float(high), chance)


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the shortcut probes", "data") from error
