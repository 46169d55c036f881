"""Rewards through the public door: what counts as a video, what a value is, and when there is none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.errors import DeepTraceError, RecordError
from deeptrace.models import FrameModel, Sampling
from deeptrace.models.scripted import ScriptedModel
from deeptrace.records import Frames, Origin, Trace, Verdict
from deeptrace.reward import DenseMap, NotRewarded, Reward, RewardAlarm, RewardResult
from deeptrace.reward.mass import GRID, coverage, map_of_traces
from deeptrace.reward.videos import as_videos
from tests.clips import make_clip
from tests.reward.clips import folder_of_clips, images


@pytest.fixture(scope="module")
def reward() -> Reward:
    return Reward("embedded")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return folder_of_clips(tmp_path_factory.mktemp("clips"))


def forms_of(outcome: object) -> tuple[object, object]:
    assert isinstance(outcome, RewardResult), outcome
    return outcome.trace_free, outcome.looks_real


# ── values ──


def test_a_video_gets_the_same_rewards_alone_and_in_any_batch(reward: Reward, paths: list[str]) -> None:
    alone = [forms_of(reward(path)[0]) for path in paths]
    together = reward([*reversed(paths), "absent.mp4", paths[0]])
    assert [forms_of(o) for o in together[:3]] == alone[::-1]
    assert forms_of(together[4]) == alone[0]
    assert isinstance(together[3], NotRewarded)
    assert together[3].code == "NOT_FOUND"
    assert len(set(alone)) == 3
    for trace_free, looks_real in alone:
        for forms in (trace_free, looks_real):
            assert 0 <= forms.raw <= 1
            assert math.isclose(forms.logit, math.log(forms.calibrated / (1 - forms.calibrated)), rel_tol=1e-6)


def test_the_two_rewards_are_what_their_definitions_say(reward: Reward, paths: list[str]) -> None:
    [outcome] = reward(paths[0], dense=True)
    assert isinstance(outcome, RewardResult)
    assert outcome.verdict is not None
    assert outcome.looks_real.calibrated == 1 - outcome.verdict.p_fake  # type: ignore[union-attr, operator]
    dense = outcome.dense
    assert isinstance(dense, DenseMap)
    assert dense.values.shape == (24, *GRID)  # one for each frame of the input
    assert math.isclose(1 - outcome.trace_free.calibrated, dense.mass, abs_tol=0.05)  # type: ignore[union-attr]
    plain = reward.model.inspect(paths[0])[0]
    assert isinstance(plain, Verdict)
    assert replace(plain, highlights=()) == replace(outcome.verdict, highlights=())  # a reward asks for no highlights


def test_arrays_and_tensors_are_the_same_video(reward: Reward) -> None:
    array = images()
    floats = array.astype(np.float32) / 255
    batch = torch.from_numpy(floats).permute(0, 3, 1, 2)[None]  # (N, F, C, H, W)
    outcomes = reward([Frames.from_array(array, 25), floats, batch, array[::-1][::-1]], fps=25)
    assert len({forms_of(outcome) for outcome in outcomes}) == 1
    as_videos_do = {
        "uint8 tensor": torch.from_numpy(array),
        "a batch of it": array[None],
        "Fortran order": np.asfortranarray(array),
    }
    for video in as_videos_do.values():
        [frames] = as_videos(video, fps=25)
        assert isinstance(frames, Frames)
        assert np.array_equal(frames.images, array)
    pair = as_videos(torch.cat([batch, batch]).half(), fps=25)
    assert [type(frames) for frames in pair] == [Frames, Frames]


BAD_ARRAYS = {
    "no rate": (images(8), None),
    "rate of NaN": (images(8), math.nan),
    "no frames": (images(8)[:0], 8),
    "NaN": (np.full((8, 32, 32, 3), np.nan), 8),
    "0 to 255 in floats": (images(8).astype(float), 8),
    "negative": (images(8).astype(float) / -255, 8),
    "four channels": (np.zeros((8, 32, 32, 4), np.uint8), 8),
    "signed": (np.zeros((8, 32, 32, 3), np.int32), 8),
    "no pixels": (np.zeros((8, 0, 32, 3), np.uint8), 8),
    "a batch of images": (np.zeros((2, 8, 4, 32, 32), np.float32), 8),
    "ambiguous": (np.zeros((2, 8, 3, 32, 3), np.uint8), 8),
    "text": (np.full((8, 32, 32, 3), "a"), 8),
    "six dimensions": (np.zeros((1, 2, 8, 3, 32, 32), np.uint8), 8),
    "one picture": (np.zeros((32, 32, 3), np.uint8), 8),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_a_bad_array_is_refused_before_the_model(reward: Reward, name: str) -> None:
    array, fps = BAD_ARRAYS[name]
    outcomes = reward(array, fps=fps)
    assert {o.code for o in outcomes if isinstance(o, NotRewarded)} == {"BAD_FRAMES"}
    assert not any(isinstance(o, RewardResult) for o in outcomes)


class _Told(FrameModel):
    """Says p_fake = the mean brightness of the first frame."""

    name = "told"
    sampling = Sampling(fps=8.0, max_frames=8)

    def verdict(self, frames: Frames, origin: Origin) -> Verdict:
        p = float(frames.images[0].mean() / 255)
        trace = Trace((0.0, 0.0, 0.5, 0.5), 0.0, 0.5, ("Object Merging",), confidence=p)
        return Verdict("fake" if p >= 0.5 else "real", p_fake=p, p_fake_raw=p, traces=(trace,))


KINDS = ("good", "good", "absent", "junk", "bytes", "array", "nan", "dull", "number")


@settings(max_examples=25)
@given(st.lists(st.sampled_from(KINDS), max_size=9))
def test_any_batch_keeps_order_and_count(paths: list[str], kinds: list[str]) -> None:
    things = {
        "good": paths[1],
        "absent": "absent.mp4",
        "junk": b"no video at all",
        "bytes": Path(paths[1]).read_bytes(),
        "array": images(),
        "nan": np.full((8, 32, 32, 3), np.nan),
        "dull": np.zeros((32, 32, 32, 3), np.uint8),
        "number": 7,
    }
    codes = {
        "absent": "NOT_FOUND",
        "junk": "NOT_A_VIDEO",
        "nan": "BAD_FRAMES",
        "dull": "BLANK_VIDEO",
        "number": "NOT_A_VIDEO",
    }
    outcomes = Reward(_Told())([things[kind] for kind in kinds], fps=25)
    assert [getattr(o, "code", None) for o in outcomes] == [codes.get(kind) for kind in kinds]
    good = {forms_of(o) for o, kind in zip(outcomes, kinds, strict=True) if kind in ("good", "bytes")}
    assert len(good) <= 1


# ── what gets no reward ──


def test_a_video_that_shows_nothing_has_no_reward(reward: Reward, tmp_path: Path, paths: list[str]) -> None:
    array = images(48)
    make_clip(tmp_path / "whole.mkv", images=list(array), container="matroska", gop=4)
    whole = (tmp_path / "whole.mkv").read_bytes()
    cases = {
        "TOO_FEW_FRAMES": Frames.from_array(array[:1], 25),
        "BLANK_VIDEO": Frames.from_array(np.full_like(array, 90), 25),
        "FROZEN_VIDEO": Frames.from_array(np.repeat(array[:1], 48, axis=0), 25),
        "PARTIAL_VIDEO": whole[: len(whole) * 3 // 4],
    }
    for model in (reward, Reward(_Told())):
        assert {o.code for o in model(list(cases.values())) if isinstance(o, NotRewarded)} == set(cases)


def test_what_stands_for_a_failure_is_the_callers_choice(reward: Reward, paths: list[str]) -> None:
    both = [paths[0], "absent.mp4"]
    value = reward.values(paths[:1], on_error="raise")[0]
    assert reward.values(both, on_error=None) == [value, None]
    assert reward.values(both, on_error=-2.5) == [value, -2.5]
    with pytest.raises(DeepTraceError, match="no reward") as caught:
        reward.values(both, on_error="raise")
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(TypeError):
        reward.values(both)  # type: ignore[call-arg]


def test_an_answer_that_cannot_be_read_is_no_reward(paths: list[str]) -> None:
    model = ScriptedModel(["FAKE. From 0 s to 0.5 s", "I cannot say.", "REAL."], format="trained")
    outcomes = Reward(model)(paths)
    assert isinstance(outcomes[1], NotRewarded)
    assert outcomes[1].code == "UNPARSED"
    assert isinstance(outcomes[2], RewardResult)
    assert outcomes[2].looks_real is None  # the answer holds no probability
    assert outcomes[2].trace_free is not None
    assert outcomes[2].trace_free.calibrated == 1
    with pytest.raises(DeepTraceError) as caught:
        Reward(ScriptedModel(["REAL."]), kind="looks_real").values(paths[:1], on_error="raise")
    assert caught.value.code == "NOT_OFFERED"


def test_options_that_do_not_go_together_are_refused_at_once() -> None:
    for options in ({"look": "fast"}, {"kind": "both"}, {"form": "best"}, {"form": "normalised"}):
        with pytest.raises(RecordError):
            Reward(_Told(), **options)  # type: ignore[arg-type]


def test_a_fast_look_takes_the_probability_alone(paths: list[str]) -> None:
    outcomes = Reward(_Told(), kind="looks_real", look="fast")(paths[:1])
    assert isinstance(outcomes[0], RewardResult)
    assert outcomes[0].trace_free is None
    assert outcomes[0].looks_real is not None


# ── alarms ──


class _Flat(_Told):
    name = "flat"

    def verdict(self, frames: Frames, origin: Origin) -> Verdict:
        return Verdict("real", p_fake=0.25, p_fake_raw=0.25)


def test_alarms_are_raised_once(paths: list[str]) -> None:
    reward = Reward(_Flat(), kind="looks_real", constant_after=4)
    reward(paths)
    with pytest.warns(RewardAlarm, match="CONSTANT_OUTPUT"):
        reward(paths)
    reward(paths)
    assert [alarm.code for alarm in reward.alarms] == ["CONSTANT_OUTPUT"]
    with pytest.warns(RewardAlarm, match="GROUPS_COLLAPSED"):
        Reward(_Flat(), kind="looks_real")(paths, groups=["a", "a", "b"])
    Reward(_Told(), kind="looks_real")(paths, groups=["a", "a", "b"])
    fresh = _Flat()
    fresh.newly_initialised = ("head.weight",)  # type: ignore[attr-defined]
    with pytest.warns(RewardAlarm, match=r"NEW_HEAD.*head\.weight"):
        Reward(fresh)
    with pytest.raises(RecordError, match="groups"):
        Reward(_Told())(paths, groups=["a"])


# ── the mass ──


def test_the_mass_is_confidence_times_area_times_time() -> None:
    box, clip = (0.25, 0.1, 0.75, 0.9), 4.0
    assert math.isclose(coverage(box).mean(), 0.5 * 0.8)
    trace = Trace(box, 1.0, 2.0, confidence=0.6)
    assert math.isclose(map_of_traces([trace], clip, confidence=1.0).mass, 0.6 * 0.4 * 0.25)
    unsure = Trace(box, 1.0, 2.0)
    assert math.isclose(map_of_traces([unsure], clip, confidence=0.5).mass, 0.5 * 0.4 * 0.25)
    everywhere = Trace(categories=("Object Merging",))  # no place, no time: all of it
    assert math.isclose(map_of_traces([everywhere], clip, confidence=0.5).mass, 0.5)
    assert math.isclose(map_of_traces([trace, trace], clip, confidence=1.0).mass, 0.6 * 0.4 * 0.25)
    dense = map_of_traces([trace], clip, confidence=1.0)
    assert dense.at([0.5, 1.5, 2.0]).sum(axis=(1, 2)).astype(bool).tolist() == [False, True, False]


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_smaller_shorter_or_less_certain_trace_never_costs_more(
    size: float, sure: float, part: float, less: float
) -> None:
    def mass(size: float, sure: float, part: float) -> float:
        trace = Trace((0.0, 0.0, size, size), 0.0, 4.0 * part, confidence=sure)
        return map_of_traces([trace], 4.0, confidence=1.0).mass

    whole = mass(size, sure, part)
    assert mass(size * less, sure, part) <= whole + 1e-9
    assert mass(size, sure * less, part) <= whole + 1e-9
    assert mass(size, sure, part * less) <= whole + 1e-9
