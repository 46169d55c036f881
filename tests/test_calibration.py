"""Calibration: it finds what was bent, keeps the order, and refuses test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import JsonError, ModelError, RecordError
from deeptrace.files import dumps, write_text
from deeptrace.measures.calibration import (
    FILE_NAME,
    Calibration,
    calibration_beside,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from deeptrace.records import LABEL_AGAINST_WORDS, Failed, Trace, Verdict


def bent(n: int, *, slope: float, intercept: float) -> tuple[list[float], list[bool]]:
    """Raw scores whose true probability is sigmoid(slope * logit + intercept)."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-(slope * logit + intercept)))
    return (1 / (1 + np.exp(-logit))).tolist(), truth.tolist()


def test_it_finds_what_was_bent() -> None:
    found = fit_calibration(*bent(20_000, slope=0.5, intercept=1.0), split="val", track="platform", model="m")
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.intercept == pytest.approx(1.0, abs=0.06)
    assert (found.n, found.name) == (20_000, "platt, val, platform")


def test_it_is_scikit_learns_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    p, truth = bent(5_000, slope=1.5, intercept=-0.5)
    logit = np.log(np.array(p) / (1 - np.array(p)))[:, None]
    theirs = linear_model.LogisticRegression(C=1e9, max_iter=1000).fit(logit, truth)
    found = fit_calibration(p, truth, split="val")
    assert found.slope == pytest.approx(float(theirs.coef_[0, 0]), abs=0.02)
    assert found.intercept == pytest.approx(float(theirs.intercept_[0]), abs=0.02)


def test_a_model_that_is_always_right_does_not_become_certain() -> None:
    found = fit_calibration([1.0] * 10 + [0.0] * 10, [True] * 10 + [False] * 10, split="val")
    assert 0.9 < found(1.0) < 0.95
    assert 0.05 < found(0.0) < 0.1


@given(st.floats(1e-3, 20), st.floats(-20, 20), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_order_stays(slope: float, intercept: float, scores: list[float]) -> None:
    calibration = Calibration(None, None, "val", "original", slope, intercept, 1)
    said = [calibration(p) for p in sorted(scores)]
    assert said == sorted(said)
    assert all(0 <= p <= 1 for p in said)


@pytest.mark.parametrize(
    ("p", "truth", "split", "words"),
    [
        ([0.1, 0.9], [False, True], "test", "never fitted on test"),
        ([0.1, 0.9], [False], "val", "2 probabilities and 1 labels"),
        ([0.1, 0.9], [True, True], "val", "2 fake and 0 real"),
        ([0.9, 0.8, 0.1, 0.2], [False, False, True, True], "val", "do not go with fakes"),
        ([0.1, 1.5], [False, True], "val", "p_fake_raw"),
    ],
)
def test_what_cannot_be_fitted_is_refused(p: list[float], truth: list[bool], split: str, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        fit_calibration(p, truth, split=split)


def test_it_is_applied_to_the_raw_probability() -> None:
    calibration = Calibration("m", None, "val", "original", 0.5, 0.0, 100)
    once = calibration.apply(Verdict("fake", p_fake=0.9, traces=(Trace(),)))
    assert isinstance(once, Verdict)
    assert (once.p_fake, once.p_fake_raw, once.calibration) == (calibration(0.9), 0.9, calibration.name)
    assert calibration.apply(once) == once
    for outcome in (Verdict("fake"), Failed("X", "y")):
        assert calibration.apply(outcome) == outcome


def test_it_is_kept_exactly(tmp_path: Path) -> None:
    calibration = fit_calibration(*bent(50, slope=1.0, intercept=0.1), split="val", model="m", revision="r")
    write_calibration(tmp_path / "calibration.json", calibration)
    assert read_calibration(tmp_path / "calibration.json") == calibration


@pytest.mark.parametrize(
    "change", [{"schema_version": 2}, {"extra": 1}, {"slope": -1}, {"slope": "1"}, {"split": "test"}, None]
)
def test_another_file_is_refused(tmp_path: Path, change: dict[str, object] | None) -> None:
    row = Calibration(None, None, "val", "original", 1.0, 0.0, 4).to_json()
    write_text(tmp_path / "c.json", "{" if change is None else dumps(row | change))
    with pytest.raises((RecordError, JsonError)):
        read_calibration(tmp_path / "c.json")


def test_the_label_follows_the_calibrated_probability_and_what_the_words_said_is_flagged() -> None:
    halving = Calibration("m", None, "val", "original", 1.0, -2.0, 10)
    verdict = halving.apply(Verdict("fake", p_fake=0.8, traces=(Trace(onset_seconds=1.0),), text="FAKE"))
    assert isinstance(verdict, Verdict)
    assert (verdict.label, verdict.p_fake_raw, verdict.flags) == ("real", 0.8, (LABEL_AGAINST_WORDS,))
    assert verdict.traces
    sure = halving.apply(Verdict("fake", p_fake=0.99))
    assert isinstance(sure, Verdict)
    assert (sure.label, sure.flags) == ("fake", ())


def test_the_calibration_beside_a_checkpoint_is_of_that_checkpoint(tmp_path: Path) -> None:
    assert calibration_beside(tmp_path, model="hf:a", revision="1") is None
    fitted = Calibration("hf:a", "1", "val", "original", 2.0, 0.5, 10)
    write_calibration(tmp_path / FILE_NAME, fitted)
    assert calibration_beside(tmp_path, model="hf:a", revision="1") == fitted
    assert calibration_beside(tmp_path, model="hf:renamed", revision="1") == fitted
    with pytest.raises(ModelError, match="was fitted on revision '1', this is '2'"):
        calibration_beside(tmp_path, model="hf:a", revision="2")
    write_text(tmp_path / FILE_NAME, "{}")
    with pytest.raises(ModelError, match=r"calibration\.json"):
        calibration_beside(tmp_path, model="hf:a", revision="1")
