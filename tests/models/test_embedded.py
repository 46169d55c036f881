"""The embedded model through its public face: what it says of clips whose truth is known, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import ModelError, RecordError
from deeptrace.inject import make_demo_pair
from deeptrace.models import load
from deeptrace.models.embedded import EmbeddedModel, join, pooled
from deeptrace.models.embedded.inputs import network_hw, prepare
from deeptrace.models.embedded.windows import STRIDE, WINDOW, window_starts
from deeptrace.records import Frames, Verdict
from deeptrace.rows import outcome_to_row

WEIGHTS = Path(str(files("deeptrace.models.embedded") / "weights"))


@pytest.fixture(scope="module")
def model() -> EmbeddedModel:
    return EmbeddedModel()


@pytest.fixture(scope="module")
def moving() -> Frames:
    return make_demo_pair(3, duration_seconds=3.0, fps=8.0, size_hw=(144, 256)).fake


def test_a_verdict_is_whole_and_the_same_every_time(model: EmbeddedModel, moving: Frames) -> None:
    first, second = model.inspect([moving, moving])
    assert isinstance(first, Verdict)
    assert first == second
    assert None not in (first.p_fake, first.p_trace, first.p_generated)
    assert first.p_fake == pytest.approx(1 - (1 - first.p_trace) * (1 - first.p_generated))  # type: ignore[operator]
    row = outcome_to_row(first)
    assert row["model"] == "embedded"
    assert row["revision"] == model.revision


def test_traces_lie_in_the_clip_and_say_where_when_and_why(model: EmbeddedModel) -> None:
    pairs = [make_demo_pair(seed, duration_seconds=3.0, fps=8.0, size_hw=(144, 256)) for seed in range(6)]
    verdicts = model.inspect([pair.fake for pair in pairs])
    traces = [trace for verdict in verdicts if isinstance(verdict, Verdict) for trace in verdict.traces]
    for trace in traces:
        assert trace.onset_seconds is not None
        assert trace.offset_seconds is not None
        assert 0 <= trace.onset_seconds < trace.offset_seconds <= 3.0 + 1e-6
        assert trace.box_at(trace.onset_seconds) is not None
        assert trace.categories
        assert len(trace.categories) == 1
        assert "resembles" in (trace.explanation or "")


def test_no_box_without_evidence(model: EmbeddedModel) -> None:
    """A still picture holds no trace in time."""
    still = np.broadcast_to(make_demo_pair(1, size_hw=(144, 256), fps=8.0).clean.images[:1], (24, 144, 256, 3))
    (verdict,) = model.inspect([Frames.from_array(still.copy(), 8.0)])
    assert isinstance(verdict, Verdict)
    assert verdict.traces == ()


def test_the_prior_shifts_the_probability_and_not_the_label(moving: Frames) -> None:
    verdicts = [EmbeddedModel(prior=prior).inspect([moving])[0] for prior in (0.01, 0.5, 0.9)]
    probabilities = [verdict.p_fake for verdict in verdicts if isinstance(verdict, Verdict)]
    assert probabilities == sorted(probabilities)
    assert len({verdict.label for verdict in verdicts if isinstance(verdict, Verdict)}) == 1
    with pytest.raises(RecordError, match="prior"):
        EmbeddedModel(prior=1.5)


@pytest.mark.parametrize("size", [(144, 256), (256, 144), (90, 400), (64, 64), (1080, 608)])
def test_any_shape_of_frame(model: EmbeddedModel, size: tuple[int, int]) -> None:
    frames = Frames.from_array(np.random.default_rng(0).integers(0, 255, (9, *size, 3), np.uint8), 8.0)
    (verdict,) = model.inspect([frames])
    assert isinstance(verdict, Verdict)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_frames_are_uncertain(model: EmbeddedModel, count: int) -> None:
    frames = Frames.from_array(np.full((count, 144, 256, 3), 90, np.uint8), 8.0)
    (verdict,) = model.inspect([frames])
    assert isinstance(verdict, Verdict)
    assert verdict.uncertain


@given(st.integers(1, 600))
def test_windows_cover_every_frame(count: int) -> None:
    starts = window_starts(count)
    seen = set()
    for start in starts:
        seen |= set(range(start, min(start + WINDOW, count)))
    assert seen == set(range(count))
    assert all(b - a <= STRIDE for a, b in itertools.pairwise(starts))


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_the_network_s_size(height: int, width: int) -> None:
    rows, columns = network_hw(height, width)
    assert rows % 16 == 0
    assert columns % 16 == 0
    assert min(rows, columns) == 144
    assert max(rows, columns) <= 320
    assert (rows > columns) == (height > width) or rows == columns
    ratio = max(height, width) / min(height, width)
    if ratio <= 320 / 144:
        assert max(rows, columns) / min(rows, columns) == pytest.approx(ratio, rel=0.057)


@given(st.floats(0.001, 0.999))
def test_without_evidence_the_prior_stands(prior: float) -> None:
    assert join(0.0, 0.0, prior)[0] == pytest.approx(prior)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=9), st.floats(-20, 20), st.floats(0.01, 0.99))
def test_more_evidence_is_never_less_fake(evidence: list[float], generated: float, prior: float) -> None:
    low = join(pooled(evidence), generated, prior)[0]
    assert join(pooled([value + 1 for value in evidence]), generated, prior)[0] >= low
    assert join(pooled(evidence), generated + 1, prior)[0] >= low
    assert min(evidence) - 1e-9 <= pooled(evidence) <= max(evidence) + 1e-9


def test_motion_maps_are_quiet_where_nothing_moves() -> None:
    still = np.broadcast_to(np.random.default_rng(0).integers(0, 255, (1, 144, 256, 3), np.uint8), (4, 144, 256, 3))
    inputs = prepare(still.copy())
    assert inputs.aux.shape == (4, 13, 36, 64)
    assert np.abs(inputs.aux[1:, :6]).max() == 0
    assert np.abs(inputs.flow).max() == pytest.approx(0, abs=1e-3)


def test_a_thing_that_vanishes_stands_out_in_the_maps() -> None:
    pair = make_demo_pair(2, duration_seconds=3.0, fps=8.0, size_hw=(144, 256))
    maps = prepare(pair.fake.images).aux
    assert pair.trace.onset_seconds is not None
    assert pair.trace.bbox_xyxy is not None
    onset = round(pair.trace.onset_seconds * 8)
    x0, y0, x1, y1 = np.array(pair.trace.bbox_xyxy) * [64, 36, 64, 36]
    inside = maps[onset, 3, int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)].mean()
    assert inside > 3 * maps[onset, 3].mean()


# ── files of strangers ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS, tmp_path / "weights"))


def test_weights_from_a_folder(copy: Path, moving: Frames) -> None:
    assert load(f"embedded:{copy}").inspect([moving])[0] == EmbeddedModel().inspect([moving])[0]


def test_other_weights_than_it_was_calibrated_for(copy: Path) -> None:
    weights = bytearray((copy / "embedded.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "embedded.onnx").write_bytes(weights)
    with pytest.raises(ModelError, match=r"embedded\.onnx is not the file"):
        EmbeddedModel(str(copy))


@pytest.mark.parametrize("damage", ["{", "[]", '{"revision": 1}', '{"trace": NaN}'])
def test_a_damaged_calibration(copy: Path, damage: str) -> None:
    (copy / "embedded.json").write_text(damage)
    with pytest.raises(ModelError, match="embedded"):
        EmbeddedModel(str(copy))


def test_numbers_that_do_not_fit(copy: Path) -> None:
    table = json.loads((copy / "embedded.json").read_text())
    table["generated"]["weights"] = [1.0]
    (copy / "embedded.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="generated"):
        EmbeddedModel(str(copy))


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        EmbeddedModel(str(tmp_path))
