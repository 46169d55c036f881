"""Models that answer in words: batches, failures one by one, probabilities, and what stands in the row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deeptrace.answer import QUESTIONS, Space
from deeptrace.errors import ModelError
from deeptrace.models import Model, Sampling
from deeptrace.models.text import Answer, ModelReply, NoAnswer, NotAnAnswer, PosedQuestion, TextModel
from deeptrace.models.two_pass import TwoPass
from deeptrace.records import LABEL_AGAINST_WORDS, Failed, Frames, Score, Unparsed, Verdict

FAKE = "FAKE. The video is AI-generated. The unnatural part is at [250, 250, 500, 500] starting 0.5 seconds."
REAL = "REAL. The video is real. There is no unnatural part."


def clip(brightness: int = 0) -> Frames:
    return Frames.from_array(np.full((16, 48, 64, 3), brightness, np.uint8), 8)


class Lookup(TextModel):
    """Answers by how bright the first frame is; remembers the batches."""

    name = "lookup"
    revision = "r1"
    format = "trained"
    sampling = Sampling(fps=2.0)
    batch_size = 3

    def __init__(self, by_brightness: dict[int, Answer | Exception]) -> None:
        self.answers_by = by_brightness
        self.batches: list[int] = []

    def space(self, frames: Frames) -> Space:
        if frames.images[0, 0, 0, 0] == 99:
            raise ModelError("frames of 64 x 48 do not fit")
        return Space("per-mille")

    def ask(self, batch: Sequence[PosedQuestion]) -> list[Answer]:
        self.batches.append(len(batch))
        answers = [self.answers_by[int(asked.frames.images[0, 0, 0, 0])] for asked in batch]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers if not isinstance(answer, Exception)]


def test_a_text_model_is_a_model() -> None:
    assert isinstance(Lookup({}), Model)


def test_the_row_says_what_was_asked_and_what_made_the_answer() -> None:
    [said] = Lookup({1: ModelReply(FAKE, p_fake=0.9, facts={"tokens": 7}, revision="r1-2026")}).inspect([clip(1)])
    assert isinstance(said, Verdict)
    assert (said.label, said.p_fake, said.p_fake_raw, said.text) == ("fake", 0.9, 0.9, FAKE)
    assert said.traces[0].bbox_xyxy == (0.25, 0.25, 0.5, 0.5)
    assert (said.origin.model, said.origin.revision) == ("lookup", "r1-2026")
    assert said.origin.question == QUESTIONS["trained"]
    assert said.origin.sampling == {
        "fps": 2.0,
        "max_frames": None,
        "short_side": None,
        "sampled_fps": 2.0,
        "format": "trained",
        "format_version": 1,
        "space": {"kind": "per-mille", "width": None, "height": None},
        "tokens": 7,
        "p_fake_from": "label token",
    }


def test_order_and_length_are_kept_and_one_bad_video_costs_itself(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    model = Lookup({
        1: ModelReply(FAKE),
        2: ModelReply(REAL),
        3: NoAnswer("CONTENT_FILTER", "held back"),
        4: NotAnAnswer("the model refused", "I cannot help with that.", facts={"tokens": 6}),
        5: ModelError("too long"),
        6: ZeroDivisionError(),
        7: ModelReply("REAL or FAKE"),
    })  # fmt: skip
    videos = [broken, clip(1), clip(5), clip(2), clip(99), broken, clip(3), clip(4), clip(6), clip(7), broken]
    said = model.inspect(videos)
    codes = [outcome.code if isinstance(outcome, Failed) else type(outcome).__name__ for outcome in said]
    assert codes == [
        "NOT_A_VIDEO", "Verdict", "MODEL_ERROR", "Verdict", "MODEL_ERROR", "NOT_A_VIDEO", "CONTENT_FILTER", "Unparsed",
        "MODEL_CRASHED", "Unparsed", "NOT_A_VIDEO",
    ]  # fmt: skip
    assert model.batches == [3, 1, 1, 1, 3, 1, 1, 1, 1]
    refused = said[7]
    assert isinstance(refused, Unparsed)
    assert (refused.reason, refused.text) == ("the model refused", "I cannot help with that.")
    assert refused.origin.sampling is not None
    assert refused.origin.sampling["tokens"] == 6
    assert model.inspect([]) == []


def test_scores_are_the_labels_probability_calibrated() -> None:
    class Halved:
        name = "halved"

        def __call__(self, p_fake_raw: float) -> float:
            return p_fake_raw / 2

    model = Lookup(
        {1: ModelReply("", p_fake=0.8), 2: ModelReply(""), 3: ModelReply(REAL), 4: NoAnswer("EMPTY", "nothing")}
    )
    model.calibration = Halved()
    high, none, words, failed = model.score([clip(k) for k in (1, 2, 3, 4)])
    assert high == Score(0.4, 0.8)
    assert isinstance(none, Unparsed)
    assert none.reason == "the model gives no probability of its label"
    assert isinstance(words, Unparsed)
    assert words.reason == "the answer holds no probability"
    assert isinstance(failed, Failed)
    [verdict] = Lookup({1: ModelReply(FAKE, p_fake=0.25)}).inspect([clip(1)])
    assert isinstance(verdict, Verdict)
    assert (verdict.p_fake, verdict.calibration) == (0.25, None)
    # The label follows the probability; what the words claim is kept, and the disagreement is flagged.
    assert (verdict.label, verdict.flags) == ("real", (LABEL_AGAINST_WORDS,))
    assert verdict.traces
    model.answers_by = {1: ModelReply(FAKE, p_fake=0.8), 2: ModelReply(FAKE, p_fake=1.0)}
    low, high = model.inspect([clip(1), clip(2)])
    assert isinstance(low, Verdict)
    assert (low.label, low.p_fake, low.p_fake_raw, low.calibration) == ("real", 0.4, 0.8, "halved")
    assert isinstance(high, Verdict)
    assert (high.label, high.p_fake, high.flags) == ("fake", 0.5, ())


def test_leaving_early_reads_no_further() -> None:
    taken: list[int] = []

    def videos():
        for number in range(100):
            taken.append(number)
            yield clip(1)

    model = Lookup({1: ModelReply(REAL)})
    answers = model.inspect_iter(videos())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(taken) <= 2 * model.batch_size + 1


@pytest.mark.parametrize("size", [1, 4])
def test_a_batch_is_never_larger_than_asked_for(size: int) -> None:
    model = Lookup({1: ModelReply(REAL)})
    model.batch_size = size
    assert len(model.inspect([clip(1)] * 9)) == 9
    assert max(model.batches) == size


def test_two_looks_of_a_model_that_works_in_batches() -> None:
    """First looks of a batch together, then the second looks of those that need one; everything in order."""

    class Twice(Lookup):
        def ask(self, batch: Sequence[PosedQuestion]) -> list[Answer]:
            self.batches.append(len(batch))
            return [self.say(asked) for asked in batch]

        def say(self, asked: PosedQuestion) -> Answer:
            is_fake = asked.frames.images[0, 0, 0, 0] < 5
            closely = asked.frames.pts_seconds[0] > 0
            onset = 1.2 if closely else 1.0
            return ModelReply(
                f"FAKE. The unnatural part is at [1, 2, 3, 4] starting {onset} seconds." if is_fake else REAL
            )

    model = Twice({})
    said = TwoPass(model, window_seconds=1.0).inspect([clip(1), clip(9), clip(2), clip(8), clip(3)])
    assert model.batches == [3, 2, 2, 1]
    onsets = [outcome.traces[0].onset_seconds for outcome in said if isinstance(outcome, Verdict) and outcome.traces]
    assert onsets == [1.2, 1.2, 1.2]
    notes = [(outcome.origin.sampling or {})["second_look"] for outcome in said]
    assert [note and note["window_seconds"] for note in notes] == [[0.5, 1.5], None, [0.5, 1.5], None, [0.5, 1.5]]


def test_traces_outside_of_the_second_look_stay() -> None:
    class Two(Lookup):
        def ask(self, batch: Sequence[PosedQuestion]) -> list[Answer]:
            sentence = "The unnatural part is at [1, 2, 3, 4] starting {} seconds."
            close = batch[0].frames.pts_seconds[0] > 0
            times = [0.8] if close else [1.0, 1.9]
            return [ModelReply("FAKE. " + "\n".join(sentence.format(time) for time in times))]

    [said] = TwoPass(Two({}), window_seconds=1.0).inspect([clip(1)])
    assert isinstance(said, Verdict)
    assert [trace.onset_seconds for trace in said.traces] == [0.8, 1.9]
