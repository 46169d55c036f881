"""The reward: what it pays for, and what cannot be gained by tricks."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.answer import Space, render
from deeptrace.errors import RecordError
from deeptrace.measures.video import truth_of
from deeptrace.records import Annotation, Box, Record, Trace, Verdict, VideoInfo
from deeptrace.train.vlm.adapters import COLUMN, SwiftReward, compute_score, reward_columns, trl_reward
from deeptrace.train.vlm.reward import (
    CLEAN,
    UNPARSED,
    VERDICT,
    WHOLE_CLIP,
    WRONG,
    blind_trace,
    grounded_reward,
    nearness,
)

SPACE = Space("per-mille")
INFO = VideoInfo(1280, 720, fps=25.0, num_frames=125, duration_seconds=5.0)
BOX: Box = (0.25, 0.25, 0.5, 0.5)


def fake(*traces: Trace, i: int = 0) -> Record:
    return Record(f"f{i}", f"f{i}.mp4", "fake", INFO, annotations=(Annotation(traces),))


REAL = Record("r", "r.mp4", "real", INFO)
ONE = fake(Trace(BOX, 1.0, explanation="it melts"))


def answer(*traces: Trace) -> str:
    return render(Verdict("fake", traces=traces), "trained", SPACE)


def total(text: str, record: Record, **options: Any) -> float:
    return grounded_reward(text, record, "trained", SPACE, **options).total


REAL_ANSWER = render(Verdict("real"), "trained", SPACE)


def test_by_hand() -> None:
    # The truth shown for 4 of 5 seconds in 1/16 of the frame: the whole clip overlaps it by 1/16 * 4/5 = 0.05.
    reward = grounded_reward(answer(Trace(BOX, 1.0)), ONE, "trained", SPACE)
    assert reward.total == pytest.approx(0.4 + 0.1 + 0.4 * (1.0 - 0.05))
    assert total(answer(Trace((0, 0, 1, 1), 0.0)), ONE) == pytest.approx(0.5)
    assert total(REAL_ANSWER, REAL) == pytest.approx(0.5)


def test_an_answer_that_is_none_earns_least_and_both_wrong_verdicts_cost_the_same() -> None:
    assert total("REAL or FAKE", ONE) == total("", REAL) == UNPARSED
    assert total(REAL_ANSWER, ONE) == total(answer(Trace(BOX, 1.0)), REAL) == WRONG
    assert UNPARSED < WRONG < 0


def test_a_wrong_verdict_earns_nothing_for_the_right_place() -> None:
    assert total("REAL. The unnatural part is at [250, 250, 500, 500] starting 1.0 seconds.", ONE) == WRONG


def test_what_had_to_be_dropped_costs() -> None:
    broken = "FAKE. The video is AI-generated. The unnatural part is at [500, 500, 250, 250] starting 1.0 seconds."
    assert grounded_reward(broken, ONE, "trained", SPACE).clean == 0.0
    assert grounded_reward(answer(Trace(BOX, 1.0)), ONE, "trained", SPACE).clean == CLEAN
    contradiction = "REAL. The unnatural part is at [250, 250, 500, 500] starting 1.0 seconds."
    assert total(contradiction, REAL) == VERDICT


def test_a_trace_too_many_costs_and_the_same_one_twice_earns_no_more() -> None:
    right, elsewhere = Trace(BOX, 1.0), Trace((0.7, 0.7, 0.9, 0.9), 2.0)
    assert total(answer(right, elsewhere), ONE) < total(answer(right), ONE)
    assert total(answer(right, right), ONE) < total(answer(right), ONE)
    both = fake(right, elsewhere)
    assert total(answer(right, elsewhere), both) > total(answer(right), both)


def test_partial_credit_grows_as_a_claim_comes_nearer_and_never_beats_the_truth() -> None:
    near, far = Trace((0.55, 0.25, 0.8, 0.5), 1.0), Trace((0.75, 0.75, 1.0, 1.0), 4.0)
    said = [answer(trace) for trace in (far, near, Trace(BOX, 1.0))]
    plain = [grounded_reward(text, ONE, "trained", SPACE).total for text in said]
    partial = [grounded_reward(text, ONE, "trained", SPACE, credit="partial").total for text in said]
    assert plain[0] == plain[1] < plain[2]
    assert partial[0] < partial[1] < partial[2]
    # Half of 0.4 x vIoU-F1 and half of 0.4 x nearness, both above what the whole frame gets.
    truth = truth_of(ONE)
    assert truth is not None
    assert partial[2] == pytest.approx(plain[2] - 0.2 + 0.2 * (0.05 + 1 - nearness(truth, (WHOLE_CLIP,))))


def test_the_right_category_earns_more() -> None:
    truth = fake(Trace(BOX, 1.0, categories=("Object Merging",)))
    assert total(answer(Trace(BOX, 1.0)), truth) > total(answer(Trace(BOX, 3.0)), truth) > VERDICT


boxes = st.tuples(*[st.integers(0, 900)] * 2, *[st.integers(50, 1000)] * 2).map(
    lambda v: (v[0] / 1000, v[1] / 1000, min(1.0, (v[0] + v[2]) / 1000), min(1.0, (v[1] + v[3]) / 1000))
)
traces = st.builds(lambda box, tenths: Trace(box, tenths / 10), boxes, st.integers(0, 45))


@given(st.text(max_size=300), st.lists(traces, max_size=3))
def test_any_text_earns_a_number_between_minus_one_and_one(text: str, truth: list[Trace]) -> None:
    for record in (fake(*truth), REAL):
        for said in (text, f"FAKE {text}", f"REAL {text}"):
            assert -1.0 <= total(said, record) <= 1.0


@given(st.lists(traces, max_size=3), st.lists(traces, min_size=1, max_size=3))
def test_the_truth_itself_is_never_beaten(claimed: list[Trace], truth: list[Trace]) -> None:
    assert total(answer(*claimed), fake(*truth)) <= total(answer(*truth), fake(*truth)) + 1e-9


@settings(max_examples=20)
@given(st.lists(traces, min_size=2, max_size=12), traces, st.integers(0, 9))
def test_constant_and_whole_frame_answers_earn_no_more_than_blind(truth: list[Trace], guess: Trace, seed: int) -> None:
    """Half fake, half real: the best that can be had without looking is what a bare guess of the label gives."""
    fakes = [fake(trace, i=i) for i, trace in enumerate(truth)]
    reals = [REAL] * len(fakes)
    blind = blind_trace(fakes)

    def mean(text: str) -> float:
        return sum(total(text, record, blind=blind) for record in [*fakes, *reals]) / (2 * len(fakes))

    bar = mean(answer(blind))
    assert bar == pytest.approx((VERDICT + CLEAN + WRONG) / 2, abs=0.01)  # rounding of the box in the answer
    for text in (answer(Trace((0, 0, 1, 1), 0.0)), answer(random.Random(seed).choice(truth)), REAL_ANSWER):
        assert mean(text) <= bar + 0.01


def test_always_fake_with_the_blind_trace_is_no_better_a_guess_than_always_real() -> None:
    records = [fake(Trace(BOX, 1.0), i=i) for i in range(4)] + [REAL] * 4
    blind = blind_trace(records)
    always = {
        text: sum(total(text, record, blind=blind) for record in records) for text in (answer(blind), REAL_ANSWER)
    }
    assert always[answer(blind)] == pytest.approx(always[REAL_ANSWER])


def test_an_unsure_record_verifies_nothing() -> None:
    with pytest.raises(RecordError, match="nothing can be verified"):
        total(REAL_ANSWER, Record("u", "u.mp4", "unsure", INFO))


@pytest.mark.parametrize(
    "call",
    [trl_reward(), SwiftReward(None)],
    ids=["trl", "ms-swift"],
)
def test_adapters_give_the_same_number_and_leave_out_what_cannot_be_verified(
    call: Callable[..., list[float | None]],
) -> None:
    said = [answer(Trace(BOX, 1.0)), [{"role": "assistant", "content": REAL_ANSWER}], REAL_ANSWER]
    unsure = Record("u", "u.mp4", "unsure", INFO)
    columns = [reward_columns(record, "trained", SPACE)[COLUMN] for record in (ONE, REAL, unsure)]
    rewards = call(
        completions=said, prompts=["?"] * 3, completion_ids=[[1]] * 3, trainer_state=None, **{COLUMN: columns}
    )
    assert rewards == [total(said[0], ONE), total(REAL_ANSWER, REAL), None]  # type: ignore[arg-type]


def test_verl_gets_the_parts_too() -> None:
    truth = reward_columns(ONE, "trained", SPACE)[COLUMN]
    score = compute_score("deeptrace", answer(Trace(BOX, 1.0)), truth, {"index": 3})
    assert score["score"] == pytest.approx(sum(value for name, value in score.items() if name != "score"))
    with pytest.raises(RecordError):
        compute_score("deeptrace", REAL_ANSWER, reward_columns(Record("u", label="unsure"), "trained", SPACE)[COLUMN])


def test_matching_does_not_depend_on_the_order_of_what_is_said() -> None:
    three = [Trace(BOX, 1.0), Trace((0.6, 0.1, 0.9, 0.4), 2.0), Trace((0.1, 0.6, 0.4, 0.9), 3.0)]
    truth = fake(*three)
    lines = answer(*three).removeprefix("FAKE. The video is AI-generated. ").split("\n")
    totals = {
        round(total("FAKE. The video is AI-generated. " + "\n".join(order), truth), 9)
        for order in itertools.permutations(lines)
    }
    assert len(totals) == 1


def test_what_the_token_limit_cut_off_is_no_answer() -> None:
    """As in inference: whatever stands in it."""
    record = Record("v", label="real")
    text = "REAL. The video is real. There is no unnatural part."
    space = Space("per-mille")
    assert grounded_reward(text, record, "trained", space).total > 0
    assert grounded_reward(text, record, "trained", space, ended=False).total == UNPARSED
