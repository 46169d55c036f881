"""The embedded model through its public face: what it says of clips whose truth is known, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.errors import ModelError, RecordError
from deeptrace.inject import make_demo_pair
from deeptrace.models import load
from deeptrace.models.base import Progress
from deeptrace.models.embedded import EmbeddedModel, join, pool_evidence
from deeptrace.models.embedded.attribution import influence, look_without, mask_without, parts_of
from deeptrace.models.embedded.calibration import at_prior, read_calibration
from deeptrace.models.embedded.detail import COUNT, LEAST_SIDE, SIDE, crop_hw, read_crop
from deeptrace.models.embedded.inputs import network_hw, prepare
from deeptrace.models.embedded.model import UNLIKE
from deeptrace.models.embedded.reading import read_crops
from deeptrace.models.embedded.windows import (
    BACKBONE_NAME,
    DETAIL,
    LOOK,
    STRIDE,
    TRACES_NAME,
    WINDOW,
    WindowOutputs,
    window_starts,
    windows_of,
)
from deeptrace.records import Frames, Origin, Verdict
from deeptrace.rows import outcome_to_row
from deeptrace.video import ReadLimits, write_video

WEIGHTS = Path(str(files("deeptrace.models.embedded") / "weights"))
CALIBRATION = read_calibration(WEIGHTS)


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
    assert first.p_fake == first.p_fake_raw
    assert first.calibration is None
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
        assert f"At {trace.onset_seconds:.1f} s" in (trace.explanation or "")
        assert (trace.explanation or "").count("%") == 1
        assert "would look the same" in (trace.explanation or "")


def test_no_box_without_evidence(model: EmbeddedModel) -> None:
    """A still picture holds no trace in time."""
    still = np.broadcast_to(make_demo_pair(1, size_hw=(144, 256), fps=8.0).clean.images[:1], (24, 144, 256, 3))
    (verdict,) = model.inspect([Frames.from_array(still.copy(), 8.0)])
    assert isinstance(verdict, Verdict)
    assert verdict.traces == ()


@given(st.floats(0.01, 0.99), st.floats(-6, 6), st.floats(-6, 6))
def test_prior_label_and_conclusion_hang_together(prior: float, trace: float, generated: float) -> None:
    calibration = CALIBRATION
    low, high = calibration.thresholds
    at_half = calibration.p_fake(trace, generated)
    p_fake = at_prior(at_half, prior)
    assert at_prior(p_fake, 1 - prior) == pytest.approx(at_half)  # Bayes, and back
    moved = at_prior(low, prior), at_prior(high, prior)
    assert (moved[0] <= p_fake < moved[1]) == (low <= at_half < high)


def test_the_prior_moves_probability_label_and_thresholds_together(moving: Frames) -> None:
    verdicts = [EmbeddedModel(prior=prior).inspect(moving)[0] for prior in (0.01, 0.5, 0.9)]
    probabilities = []
    for verdict, prior in zip(verdicts, (0.01, 0.5, 0.9), strict=True):
        assert isinstance(verdict, Verdict)
        assert verdict.prior == prior
        assert verdict.p_fake is not None
        assert verdict.thresholds is not None
        low, high = verdict.thresholds
        assert low <= 0.5 <= high
        assert verdict.label == ("fake" if verdict.p_fake >= 0.5 else "real")
        expected = "fake" if verdict.p_fake >= high else "real" if verdict.p_fake < low else "uncertain"
        assert verdict.conclusion == expected
        probabilities.append(verdict.p_fake)
    assert probabilities == sorted(probabilities)
    assert len({verdict.p_fake_raw for verdict in verdicts if isinstance(verdict, Verdict)}) == 1
    with pytest.raises(RecordError, match="prior"):
        EmbeddedModel(prior=1.5)


def test_a_threshold_of_one_s_own_takes_the_place_of_the_fitted_ones(moving: Frames) -> None:
    (decided,) = EmbeddedModel(threshold=0.5).inspect(moving)
    assert isinstance(decided, Verdict)
    assert decided.thresholds == (0.5, 0.5)
    assert not decided.uncertain
    (careful,) = EmbeddedModel(threshold=1.0).inspect(moving)
    assert isinstance(careful, Verdict)
    assert careful.conclusion == "uncertain"
    with pytest.raises(RecordError, match="threshold"):
        EmbeddedModel(threshold=0.3)


class Listening(EmbeddedModel):
    """Remembers the times of the frames that it is given."""

    def verdict_of_parts(self, parts: Iterator[Frames], origin: Origin) -> Verdict:
        taken = list(parts)
        self.times = np.concatenate([part.pts_seconds for part in taken])
        return super().verdict_of_parts(iter(taken), origin)


@pytest.mark.parametrize(("fps", "steps"), [(30.0, 4), (30000 / 1001, 4), (24.0, 3), (25.0, 3), (10.0, 1), (6.0, 1)])
def test_frames_come_at_whole_steps(tmp_path: Path, fps: float, steps: int) -> None:
    path = tmp_path / "clip.mp4"
    images = np.random.default_rng(0).integers(0, 255, (round(fps * 1.5), 32, 32, 3), np.uint8)
    write_video(path, Frames.from_array(images, fps))
    model = Listening()
    (verdict,) = model.inspect(path)
    assert np.diff(model.times) == pytest.approx(steps / fps, abs=1e-3)
    assert model.times[0] == 0.0
    assert verdict.origin.sampling is not None
    assert verdict.origin.sampling["sampled_fps"] == pytest.approx(fps / steps, rel=1e-3)
    assert verdict.origin.frames_decoded is not None
    assert verdict.origin.sha256 is not None


# ── long videos ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(1, 70), min_size=1, max_size=9))
def test_windows_of_parts_are_those_of_the_whole(sizes: list[int]) -> None:
    count = sum(sizes)
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 1, 3), np.uint8)
    whole = Frames.from_array(images, 8.0)
    edges = np.cumsum([0, *sizes])
    parts = [
        replace(whole, images=whole.images[a:b], pts_seconds=whole.pts_seconds[a:b])
        for a, b in itertools.pairwise(edges.tolist())
    ]
    windows = list(windows_of(iter(parts)))
    assert [window.first for window in windows] == window_starts(count)
    for window in windows:
        last = min(window.first + WINDOW, count)
        assert (window.images == whole.images[window.first : last]).all()
        assert (window.pts_seconds == whole.pts_seconds[window.first : last]).all()


class Bright:
    """A network that sees a trace where a picture is bright, and remembers how much it was given at once."""

    def __call__(self, images: np.ndarray, first: int = 0) -> WindowOutputs:
        count = len(images)
        cells = np.full((count, 2, 2), -9.0, np.float32)
        bright = images.mean(axis=(1, 2, 3)) > 128
        cells[bright] = 9.0
        onset = np.where(bright, 0.0, -9.0).astype(np.float32)
        box = np.full((count, 4, 2, 2), 0.4, np.float32)
        clip = 30.0 if bright.any() else -9.0
        return WindowOutputs(first, cells, cells, box, np.zeros(9, np.float32), clip, onset, np.zeros(LOOK, np.float32))


def test_a_long_video_is_looked_at_as_a_whole_and_its_most_suspicious_windows_are_named() -> None:
    """Twenty minutes in parts that exist one at a time; a bright half second at 700 s."""
    model = EmbeddedModel()
    model.network = Bright()  # type: ignore[assignment]
    told: list[Progress] = []
    model.on_progress = told.append

    def parts() -> Iterator[Frames]:
        for k in range(150):
            images = np.zeros((64, 8, 8, 3), np.uint8)
            images[(np.arange(64) + 64 * k >= 5600) & (np.arange(64) + 64 * k < 5604)] = 255
            yield Frames(images, (np.arange(64) + 64.0 * k) / 8, (8, 8), duration_seconds=1200.0)

    verdict = model.verdict_of_parts(parts(), Origin(video_id="long"))
    assert isinstance(verdict, Verdict)
    assert verdict.origin.frames_decoded == 9600
    assert verdict.flags == ()
    assert verdict.highlights[0].p_fake == max(part.p_fake or 0 for part in verdict.highlights)
    assert verdict.highlights[0].start_seconds <= 700.0 < verdict.highlights[0].end_seconds
    spans = sorted((part.start_seconds, part.end_seconds) for part in verdict.highlights)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert verdict.traces[0].onset_seconds == pytest.approx(700.0, abs=0.3)
    assert [progress.done_seconds for progress in told] == sorted(progress.done_seconds for progress in told)
    assert told[-1].total_seconds == 1200.0
    assert told[-1].done_seconds > 1190


class Shades(Bright):
    """As sure of a trace as the picture is bright."""

    def __call__(self, images: np.ndarray, first: int = 0) -> WindowOutputs:
        brightest = float(images.mean(axis=(1, 2, 3)).max())
        return replace(super().__call__(images, first), clip=brightest / 10 if brightest > 128 else -9.0)


@given(st.permutations(range(12)))
@settings(max_examples=10, deadline=None)
def test_the_strongest_traces_of_a_long_video_are_listed_wherever_they_are(order: list[int]) -> None:
    """Twelve bright moments, 20 s apart, of which what is weak and over is forgotten."""
    model = EmbeddedModel()
    model.network = Shades()  # type: ignore[assignment]
    images = np.zeros((12 * 160, 8, 8, 3), np.uint8)
    for k, shade in enumerate(order):
        images[160 * k + 80 : 160 * k + 84] = 140 + 10 * shade
    (verdict,) = model.inspect(Frames.from_array(images, 8.0))
    assert isinstance(verdict, Verdict)
    expected = [20.0 * order.index(shade) + 10.0 for shade in (11, 10, 9)]
    assert [trace.onset_seconds for trace in verdict.traces] == pytest.approx(expected, abs=0.3)


# ── a clip that looks generated as a whole ──────────────────────────────────────────────────────────────────────────


def test_hiding_the_part_that_is_named_takes_more_evidence_than_hiding_others(model: EmbeddedModel) -> None:
    weights = model.calibration.generated_weights
    ranks = []
    for seed in range(4):
        images = make_demo_pair(seed, duration_seconds=3.0, fps=8.0, size_hw=(144, 256)).clean.images
        stages = model.network.stages(images)
        brought = influence(stages, weights)
        everything = np.ones(brought.shape, np.bool_)
        whole = look_without(stages, everything)
        assert whole == pytest.approx(model.network(images).look, abs=1e-4)
        for parts in parts_of(brought.shape):  # type: ignore[arg-type]
            lost = [float((whole - look_without(stages, mask_without(brought.shape, p))) @ weights) for p in parts]  # type: ignore[arg-type]
            named = int(np.argmax([brought[p.frames, p.rows, p.columns].sum() for p in parts]))
            assert lost[named] > np.mean(lost)
            ranks.append(sorted(lost, reverse=True).index(lost[named]))
    assert np.mean(np.array(ranks) == 0) >= 0.75


def test_no_weight_lies_on_a_number_that_does_not_vary(model: EmbeddedModel) -> None:
    """Such weights are huge, and rounding would rule: the medians of the flow beside the camera's own median are 0."""
    assert np.abs(model.calibration.generated_weights).max() < 1000


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


def test_without_evidence_the_prior_stands() -> None:
    assert join(0.0, 0.0) == pytest.approx(0.5)
    assert at_prior(0.5, 0.03) == pytest.approx(0.03)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=9), st.floats(-20, 20))
def test_more_evidence_is_never_less_fake(evidence: list[float], generated: float) -> None:
    low = join(pool_evidence(evidence), generated)
    assert join(pool_evidence([value + 1 for value in evidence]), generated) >= low
    assert join(pool_evidence(evidence), generated + 1) >= low
    assert min(evidence) - 1e-9 <= pool_evidence(evidence) <= max(evidence) + 1e-9


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


@pytest.mark.parametrize("name", [BACKBONE_NAME, TRACES_NAME])
def test_other_weights_than_it_was_calibrated_for(copy: Path, name: str) -> None:
    weights = bytearray((copy / name).read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / name).write_bytes(weights)
    with pytest.raises(ModelError, match=r"onnx is not the file"):
        EmbeddedModel(str(copy))


@pytest.mark.parametrize("damage", ["{", "[]", '{"revision": 1}', '{"trace": NaN}'])
def test_a_damaged_calibration(copy: Path, damage: str) -> None:
    (copy / "embedded.json").write_text(damage)
    with pytest.raises(ModelError, match="embedded"):
        EmbeddedModel(str(copy))


@pytest.mark.parametrize("change", [{"version": 1}, {"thresholds": [0.8, 0.2]}, {"thresholds": [0.1]}, {"clip": {}}])
def test_a_calibration_that_is_none_of_ours(copy: Path, change: dict[str, object]) -> None:
    table = json.loads((copy / "embedded.json").read_text()) | change
    (copy / "embedded.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"embedded\.json"):
        EmbeddedModel(str(copy))


def test_a_clip_unlike_all_that_the_model_was_fitted_on_is_uncertain(copy: Path, moving: Frames) -> None:
    """Whatever it says of it; the distance from which on that is so stands in the file."""
    (before,) = EmbeddedModel().inspect([moving])
    table = json.loads((copy / "embedded.json").read_text())
    table["generated"]["far"] = 1e-6
    (copy / "embedded.json").write_text(json.dumps(table))
    (verdict,) = load(f"embedded:{copy}").inspect([moving])
    assert isinstance(before, Verdict)
    assert isinstance(verdict, Verdict)
    assert UNLIKE not in before.flags
    assert UNLIKE in verdict.flags
    assert verdict.conclusion == "uncertain"
    assert verdict.p_fake == before.p_fake


def test_weak_evidence_of_a_trace_counts_where_nothing_else_is_known(copy: Path) -> None:
    table = json.loads((copy / "embedded.json").read_text())
    table["generated"]["auroc_out_of_fold"] = None
    (copy / "embedded.json").write_text(json.dumps(table))
    alone = read_calibration(copy)
    evidence = [-4.0, -2.0, 0.0, CALIBRATION.trace_threshold]
    assert len({CALIBRATION.p_fake(value, 0.3) for value in evidence}) == 1
    values = [alone.p_fake(value, 0.3) for value in evidence]
    assert values == sorted(set(values))
    assert alone.p_fake(-4.0, 0.3) == alone.p_fake(-4.0, 5.0)


def test_numbers_that_do_not_fit(copy: Path) -> None:
    table = json.loads((copy / "embedded.json").read_text())
    table["generated"]["weights"] = [1.0]
    (copy / "embedded.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="generated"):
        EmbeddedModel(str(copy))


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        EmbeddedModel(str(tmp_path))


# ── crops at their own size ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of 640 x 360: red in the middle, 272 pixels each way, with a dark frame around; noise outside."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 360, 640, 3), np.uint8)
    images[:, 44:316, 184:456] = 0
    images[:, 60:300, 200:440] = (220, 30, 30)
    write_video(path, Frames.from_array(images, 12.0), crf=14)
    return path


def with_detail(copy: Path, *, sees: float, whole: float = 1.0) -> Path:
    """The model in ``copy`` with a head for crops: every number counts ``sees``."""
    table = json.loads((copy / "embedded.json").read_text())
    table["detail"] = {
        "mean": [0.0] * DETAIL,
        "weights": [sees] * DETAIL,
        "whole": whole,
        "bias": 0.25,
        "auroc_out_of_fold": 0.8,
    }
    (copy / "embedded.json").write_text(json.dumps(table))
    return copy


def test_a_crop_is_the_middle_at_its_own_size(large: Path) -> None:
    crop = read_crop(large, fps=6.0)
    assert crop is not None
    assert crop.shape == (COUNT, SIDE, SIDE, 3)
    assert np.abs(crop[:, 12:-12, 12:-12].astype(int) - (220, 30, 30)).max() < 40  # 240 of its 256 pixels are red
    assert crop[:, :6].max() < 90
    frames = Frames.from_array(np.full((4, 360, 640, 3), 90, np.uint8), 8.0)
    assert read_crop(frames, fps=8.0) is None  # too few pictures


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_a_crop_fits_into_the_picture(height: int, width: int) -> None:
    side = crop_hw(height, width)
    if min(height, width) < LEAST_SIDE:
        assert side is None
    else:
        assert side is not None
        assert LEAST_SIDE <= side <= min(height, width, SIDE)
        assert side % 16 == 0


def test_what_crops_show_joins_what_the_whole_picture_shows(copy: Path, large: Path, moving: Frames) -> None:
    model = EmbeddedModel(str(with_detail(copy, sees=0.01, whole=0.5)))
    (verdict,) = model.inspect([large])
    assert isinstance(verdict, Verdict)
    assert verdict.origin.sampling is not None
    assert verdict.origin.sampling["crops"] == 1
    crop = read_crop(large, fps=6.0, start_seconds=0.5 / 12)
    assert crop is not None
    shown = 0.01 * float(model.network.detail(crop).sum(dtype=np.float64))
    alone = EmbeddedModel(str(with_detail(copy, sees=0.0)))  # what the whole picture shows, and the bias
    (other,) = alone.inspect([large])
    assert isinstance(other, Verdict)
    assert verdict.p_generated is not None
    assert other.p_generated is not None
    q = 1 - math.sqrt(0.5)  # of either kind at a prior of a half
    odds = math.log(q / (1 - q))
    whole = math.log(other.p_generated / (1 - other.p_generated)) - odds - 0.25
    assert math.log(verdict.p_generated / (1 - verdict.p_generated)) - odds == pytest.approx(
        0.5 * whole + shown + 0.25, abs=1e-6
    )
    (small,) = model.inspect([moving])  # 256 x 144: no crop, and the whole picture's evidence counts whole
    (as_before,) = alone.inspect([moving])
    assert isinstance(small, Verdict)
    assert isinstance(as_before, Verdict)
    assert small.origin.sampling is not None
    assert small.origin.sampling["crops"] == 0
    assert small.p_generated == as_before.p_generated


@pytest.mark.parametrize(("seconds", "crops"), [(3, 1), (40, 1), (70, 2), (7200, 8)])
def test_a_long_video_has_a_crop_every_half_minute_and_eight_at_most(seconds: int, crops: int) -> None:
    """From all over it; of the frames of an array that are as far apart as they like."""
    images = np.zeros((48, 192, 192, 3), np.uint8)
    images += (np.arange(48, dtype=np.uint8) * 5)[:, None, None, None]
    times = np.concatenate([np.arange(6) / 8.0 + place for place in np.arange(8) * max(8, seconds) / 8])
    frames = Frames(images, times, (192, 192), float(seconds))
    found, problems = read_crops(frames, 8.0, float(seconds), ReadLimits())
    assert not problems
    assert len(found) == crops
    levels = [int(crop[0].mean()) for crop in found]
    assert levels == sorted(set(levels))  # each from another place


def test_a_crop_that_cannot_be_read_is_said_and_costs_no_verdict(copy: Path, tmp_path: Path) -> None:
    """Two pictures of 640 x 360 are more than the limit allows at once; eight of 256 x 144 are not."""
    path = tmp_path / "short.mp4"
    write_video(path, Frames.from_array(np.random.default_rng(0).integers(0, 255, (8, 360, 640, 3), np.uint8), 8.0))
    model = EmbeddedModel(str(with_detail(copy, sees=0.01)))
    for most, crops in ((2 * 640 * 360 * 3, 1), (2 * 640 * 360 * 3 - 1, 0)):
        model.limits = ReadLimits(max_result_bytes=most)
        (verdict,) = model.inspect([path])
        assert isinstance(verdict, Verdict)
        assert verdict.origin.sampling is not None
        assert verdict.origin.sampling["crops"] == crops
        assert bool(verdict.origin.sampling.get("crop_problems")) is not bool(crops)


def test_without_a_head_for_crops_none_is_read(copy: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take time, and the row would speak of crops that count for nothing."""
    table = json.loads((copy / "embedded.json").read_text())
    (copy / "embedded.json").write_text(json.dumps(table | {"detail": None}))
    model = EmbeddedModel(str(copy))
    monkeypatch.setattr(model.network, "detail", lambda crop: pytest.fail("a crop was looked at"))
    (verdict,) = model.inspect([large])
    assert isinstance(verdict, Verdict)
    assert verdict.origin.sampling is not None
    assert verdict.origin.sampling["crops"] == 0
    assert isinstance(model.verdict(Frames.from_array(np.zeros((8, 192, 192, 3), np.uint8), 8.0), Origin()), Verdict)


def test_one_picture_of_a_long_file_has_a_verdict() -> None:
    """A minute and more names its most suspicious windows, also where all of it is one picture."""
    frames = Frames(np.full((1, 90, 160, 3), 90, np.uint8), np.zeros(1), (90, 160), 100.0)
    (verdict,) = EmbeddedModel().inspect([frames])
    assert isinstance(verdict, Verdict), verdict
    assert verdict.uncertain
    [named] = verdict.highlights
    assert named.start_seconds == 0.0
    assert 0.0 < named.end_seconds <= 100.0


@pytest.mark.parametrize("change", [{"mean": [0.0]}, {"whole": -1.0}, {"bias": None}])
def test_a_head_for_crops_that_is_none_of_ours(copy: Path, change: dict[str, object]) -> None:
    with_detail(copy, sees=0.0)
    table = json.loads((copy / "embedded.json").read_text())
    table["detail"] |= change
    (copy / "embedded.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"embedded\.json.*detail"):
        EmbeddedModel(str(copy))


def test_nowhere_to_code_a_crop_costs_no_verdict(copy: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without a place for temporary files: the row says so, and the whole picture is judged."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    model = EmbeddedModel(str(with_detail(copy, sees=0.01)))
    (verdict,) = model.inspect([large])
    assert isinstance(verdict, Verdict)
    assert verdict.origin.sampling is not None
    assert verdict.origin.sampling["crops"] == 0
    [problem] = verdict.origin.sampling["crop_problems"]
    assert "Read-only file system" in problem
    assert "TMPDIR" in problem
