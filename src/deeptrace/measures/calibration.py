"""Probabilities that mean what they say: fitted on a model's verdicts on val, kept beside it, applied to all others.

Platt scaling: ``p = sigmoid(slope * logit(p_raw) + intercept)``. Two numbers, so that a few hundred videos are enough,
and the order of the scores stays, so that AUROC does not change. One for each track (the form the videos were shown
in), since what a platform does to videos moves probabilities. Never fitted on test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import DeepTraceError, MissingExtra, ModelError, RecordError
from deeptrace.files import dumps, loads, read_bytes, write_text
from deeptrace.measures.probabilities import logit, sigmoid
from deeptrace.records import Outcome, Verdict, check_number
from deeptrace.schema import Positive, Range, WholeNumber, check

FILE_NAME: Final = "calibration.json"
SCHEMA: Final = "deeptrace.calibration"
SCHEMA_VERSION: Final = 1

_EDGE: Final = 1e-6  # a raw 0 or 1 has no finite logit


@dataclass(frozen=True)
class Calibration:
    """The two numbers, and what they were fitted on. ``n`` counts fake and real videos together.

    Raises:
        RecordError: a slope that is not above 0, a number that is not finite, or the split test.
    """

    model: str | None
    revision: str | None
    split: str
    track: str
    slope: Positive
    intercept: Annotated[float, Range()]
    n: WholeNumber

    def __post_init__(self) -> None:
        _refuse_test(self.split)
        check_number(self.slope, "slope", above=0.0)
        check_number(self.intercept, "intercept")

    @property
    def name(self) -> str:
        """What stands in a row's ``calibration``: method, split and track."""
        return f"platt, {self.split}, {self.track}"

    def __call__(self, p_fake_raw: float) -> float:
        """The calibrated probability, in [0, 1]."""
        return float(sigmoid(self.slope * logit(p_fake_raw, _EDGE) + self.intercept))

    def apply(self, outcome: Outcome) -> Outcome:
        """The outcome with its ``p_fake`` made from its ``p_fake_raw``, and its label from that; else as it is."""
        if not isinstance(outcome, Verdict) or outcome.p_fake is None:
            return outcome
        raw = outcome.p_fake if outcome.p_fake_raw is None else outcome.p_fake_raw
        return replace(outcome, p_fake=self(raw), p_fake_raw=raw, calibration=self.name).following_probability()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(self)}


def _refuse_test(split: str) -> None:
    if split == "test":
        raise RecordError("split", "a calibration is never fitted on test: the test would no longer be one. Use val")


def fit_calibration(
    p_raw: Sequence[float],
    is_fake: Sequence[bool],
    *,
    split: str,
    track: str = "original",
    model: str | None = None,
    revision: str | None = None,
) -> Calibration:
    """The scaling of the largest likelihood of these labels.

    With Platt's soft labels ((n + 1) / (n + 2) and 1 / (n + 2) of n fakes and n reals), so that a model that is always
    right does not become certain.

    Raises:
        MissingExtra: scikit-learn is not installed.
        RecordError: the split is test; the lengths differ; a class is missing; or the probabilities do not rise with
            the truth, and no positive slope fits.
    """
    _refuse_test(split)
    truth = np.array(is_fake, np.bool_)
    fakes, reals = int(truth.sum()), int((~truth).sum())
    if len(truth) != len(p_raw):
        raise RecordError("p_fake", f"{len(p_raw)} probabilities and {len(truth)} labels are not of the same videos")
    if not fakes or not reals:
        raise RecordError("label", f"{fakes} fake and {reals} real videos: a calibration needs both")
    x = logit(np.array([check_number(p, "p_fake_raw", low=0.0, high=1.0) for p in p_raw]), _EDGE)
    targets = np.where(truth, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    slope, intercept = fit_platt(x, targets)
    if slope <= 0:
        raise RecordError(
            "slope", f"{slope:.3g}: on {split!r} higher probabilities do not go with fakes; nothing to fit"
        )
    return Calibration(model, revision, split, track, slope, intercept, len(truth))


def fit_platt(
    logits: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64] | None = None,
    *,
    spread: float | None = None,
) -> tuple[float, float]:
    """Slope and intercept of the logistic curve of the largest likelihood (Platt 1999), by scikit-learn.

    ``logits`` (N,) any finite numbers; ``targets`` (N,) probabilities in [0, 1]: a target between 0 and 1 counts as a
    one and a zero that share its weight. ``weights`` (N,) are positive, 1 without. ``spread``: a prior on the slope,
    normal around 0 with this variance (scikit-learn's ``C``); None: no prior.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("fitting a calibration", "bench") from None
    each = np.ones_like(logits) if weights is None else weights
    rows = np.concatenate([logits, logits])[:, None]
    labels = np.repeat([1, 0], len(logits))
    shares = np.concatenate([each * targets, each * (1 - targets)])
    drawn = shares > 0
    model = LogisticRegression(C=np.inf if spread is None else spread, solver="newton-cholesky", tol=1e-8, max_iter=200)
    model.fit(rows[drawn], labels[drawn], sample_weight=shares[drawn])
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write a ``calibration.json``, atomically.

    Raises:
        FileError: the system refused.
    """
    write_text(path, dumps(calibration.to_json(), indent=1) + "\n")


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """The calibration in a file.

    Raises:
        FileError: it cannot be read.
        JsonError: it is not JSON.
        RecordError: it is not a calibration of this version; names the file.
    """
    name, row = Path(path).name, loads(read_bytes(path))
    if not isinstance(row, Mapping) or (row.get("schema"), row.get("schema_version")) != (SCHEMA, SCHEMA_VERSION):
        raise RecordError("schema", f"{name!r} is not {SCHEMA!r} {SCHEMA_VERSION}")
    table = {key: value for key, value in row.items() if key not in ("schema", "schema_version")}
    calibration, problems = check(Calibration, table, name=name)
    if calibration is None:
        raise RecordError("calibration", "; ".join(problems))
    return calibration


def calibration_beside(folder: Path, *, model: str, revision: str | None) -> Calibration | None:
    """The ``calibration.json`` in a checkpoint's folder; None where there is none.

    Raises:
        ModelError: it cannot be read, or was fitted on another model or revision.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        calibration = read_calibration(path)
    except DeepTraceError as error:
        raise ModelError(f"{folder.name}/{FILE_NAME}: {error}") from None
    # Weights tell more than a folder's name: a copy of them is the same model.
    what, fitted, here = ("revision", calibration.revision, revision)
    if fitted is None:
        what, fitted, here = ("model", calibration.model, model)
    if fitted is not None and fitted != here:
        raise ModelError(
            f"{folder.name}/{FILE_NAME} was fitted on {what} {fitted!r}, this is {here!r}. "
            "Fit it again with `deeptrace bench calibrate`, or remove it."
        )
    return calibration
