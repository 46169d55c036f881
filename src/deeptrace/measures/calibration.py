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
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import RecordError
from deeptrace.files import dumps, loads, read_bytes, write_text
from deeptrace.records import Outcome, Verdict, check_number

FILE_NAME: Final = "calibration.json"
SCHEMA: Final = "deeptrace.calibration"
SCHEMA_VERSION: Final = 1

_EDGE: Final = 1e-6  # a raw 0 or 1 has no finite logit
_ROUNDS: Final = 100


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
    slope: float
    intercept: float
    n: int

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
        return float(_sigmoid(np.asarray(self.slope * _logit(np.asarray(p_fake_raw)) + self.intercept)))

    def apply(self, outcome: Outcome) -> Outcome:
        """The outcome with its ``p_fake`` made from its ``p_fake_raw``; what has none stays as it is."""
        if not isinstance(outcome, Verdict) or outcome.p_fake is None:
            return outcome
        raw = outcome.p_fake if outcome.p_fake_raw is None else outcome.p_fake_raw
        return replace(outcome, p_fake=self(raw), p_fake_raw=raw, calibration=self.name)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(self)}


def _refuse_test(split: str) -> None:
    if split == "test":
        raise RecordError("split", "a calibration is never fitted on test: the test would no longer be one. Use val")


def _logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)), np.float64)


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)), np.float64)


def fit_calibration(
    p_raw: Sequence[float],
    is_fake: Sequence[bool],
    *,
    split: str,
    track: str = "original",
    model: str | None = None,
    revision: str | None = None,
) -> Calibration:
    """The scaling of the largest likelihood of these labels, by Newton's method.

    With Platt's soft labels ((n + 1) / (n + 2) and 1 / (n + 2) of n fakes and n reals), so that a model that is always
    right does not become certain.

    Raises:
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
    x = _logit(np.array([check_number(p, "p_fake_raw", low=0.0, high=1.0) for p in p_raw]))
    target = np.where(truth, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)  # (N, 2)
    weights = np.array([1.0, 0.0])
    loss = _loss(design @ weights, target)
    for _ in range(_ROUNDS):
        p = _sigmoid(design @ weights)
        gradient = design.T @ (p - target)
        curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        shrink = 1.0
        while (found := _loss(design @ (weights - shrink * step), target)) > loss and shrink > 1e-10:
            shrink /= 2
        if loss - found < 1e-12:
            break
        weights, loss = weights - shrink * step, found
    slope, intercept = (float(w) for w in weights)
    if slope <= 0:
        raise RecordError(
            "slope", f"{slope:.3g}: on {split!r} higher probabilities do not go with fakes; nothing to fit"
        )
    return Calibration(model, revision, split, track, slope, intercept, len(truth))


def _loss(x: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, x) - target * x).sum())


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
    known = set(Calibration.__dataclass_fields__)
    if set(row) - {"schema", "schema_version"} != known:
        raise RecordError("calibration", f"{name!r} must hold exactly {', '.join(sorted(known))}")
    return Calibration(**{key: row[key] for key in known})
