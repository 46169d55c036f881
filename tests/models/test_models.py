"""Models by name, and what they all share: order, failures, provenance."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from deeptrace.answer import Space
from deeptrace.errors import ModelError
from deeptrace.models import HOMES, SUMMARIES, FrameModel, Model, Sampling, load
from deeptrace.models.scripted import NO_ANSWER, ScriptedModel
from deeptrace.records import LABEL_AGAINST_WORDS, Failed, Frames, Origin, Score, Trace, Unparsed, Verdict
from deeptrace.video import write_video

FAKE = "FAKE. The video is AI-generated. The unnatural part is at [16, 12, 32, 24] starting 0.5 seconds."
REAL = "REAL. The video is real. There is no unnatural part."


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, Frames.from_array(np.zeros((8, 48, 64, 3), np.uint8), 8))
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("motoin", r"'motoin' is not a model\. Known: .*motion.* Did you mean 'motion'\?"),
        ("", "is not a model"),
        ("scripted", "needs a file"),
        ("scripted:", "needs a file"),
        ("motion:x", "takes nothing behind the colon"),
    ],
)
def test_a_model_that_is_not_there_is_named(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load(name)


def test_every_home_has_a_summary() -> None:
    assert set(HOMES) == set(SUMMARIES)


def test_scripted_answers_are_parsed_and_say_what_made_them(clip: Path) -> None:
    model = ScriptedModel([FAKE, REAL, "REAL or FAKE"])
    assert isinstance(model, Model)
    fake, real, neither, absent = model.inspect([clip, str(clip), clip.read_bytes(), clip])
    assert isinstance(fake, Verdict)
    assert fake.traces == (Trace((0.25, 0.25, 0.5, 0.5), 0.5),)
    assert fake.origin.video_id == "clip"
    assert fake.origin.path == str(clip)
    assert fake.origin.model == "scripted"
    assert fake.origin.sha256 is not None
    assert (fake.origin.frames_declared, fake.origin.frames_decoded, fake.origin.partial) == (8, 8, False)
    assert fake.origin.sampling is not None
    assert fake.origin.sampling["space"] == Space("source", 64, 48).to_json()
    assert isinstance(real, Verdict)
    assert real.label == "real"
    assert isinstance(neither, Unparsed)
    assert neither.origin.path is None
    assert neither.origin.video_id == fake.origin.sha256[:16]
    assert isinstance(absent, Failed)
    assert absent.code == NO_ANSWER


def test_scripted_from_a_file(clip: Path, tmp_path: Path) -> None:
    script = tmp_path / "answers.jsonl"
    script.write_text(f'{{"video_id": "clip", "text": "{FAKE}"}}\n')
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    fake, absent = load(f"scripted:{script}").inspect([clip, other])
    assert isinstance(fake, Verdict)
    assert isinstance(absent, Failed)
    assert absent.reason == "the script 'answers.jsonl' holds no answer for 'other'"


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        ('{"video_id": "a"}', ModelError, "line 1: expected"),
        ("[1]", ModelError, "line 1: expected"),
        ('{"video_id": "a", "text": "REAL"}\n{"video_id": "a", "text": "FAKE"}', ModelError, "line 2: .* already"),
        ("{", ModelError, "line 1: not JSON"),
        (None, ModelError, "cannot read 'answers.jsonl'"),
    ],
)
def test_a_bad_script_is_named(tmp_path: Path, lines: str | None, error: type, words: str) -> None:
    path = tmp_path / "answers.jsonl"
    if lines is not None:
        path.write_text(lines)
    with pytest.raises(error, match=words):
        load(f"scripted:{path}")


def test_order_and_length_are_kept_whatever_happens(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:200])
    model = load("motion")
    frames = Frames.from_array(np.zeros((8, 48, 64, 3), np.uint8), 8)
    outcomes = model.inspect([clip, broken, tmp_path / "absent.mp4", b"no video", frames, clip])
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Verdict", "Failed", "Failed", "Failed", "Verdict", "Verdict",
    ]  # fmt: skip
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, Failed)]
    assert codes[1:] == ["NOT_FOUND", "NOT_A_VIDEO"]
    assert outcomes[0] == outcomes[5]
    scores = model.score([clip, broken])
    assert isinstance(scores[0], Score)
    assert isinstance(scores[1], Failed)
    assert model.inspect([]) == []


def test_one_video_is_a_list_of_it(clip: Path) -> None:
    model = load("motion")
    frames = Frames.from_array(np.zeros((8, 48, 64, 3), np.uint8), 8)
    for video in (clip, str(clip), clip.read_bytes(), frames):
        assert [type(outcome).__name__ for outcome in model.inspect(video)] == ["Verdict"]
        assert len(model.score(video)) == 1
        assert len(list(model.inspect_iter(video))) == 1


def test_what_is_no_video_costs_itself_alone(clip: Path) -> None:
    array = np.zeros((8, 48, 64, 3), np.uint8)
    with clip.open("rb") as file:
        outcomes = load("motion").inspect([clip, array, None, file, 7, clip])  # type: ignore[list-item]
    assert [type(outcome).__name__ for outcome in outcomes] == ["Verdict", *["Failed"] * 4, "Verdict"]
    assert {outcome.code for outcome in outcomes if isinstance(outcome, Failed)} == {"NOT_A_VIDEO"}
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)]
    assert all(reason.startswith("a video is a path, the bytes of a file, or Frames, got ") for reason in reasons)
    assert "ndarray. Frames.from_array(array, fps) makes frames of it" in reasons[0]
    assert "BufferedReader. Give its path, or what its read() gives" in reasons[2]


def test_the_label_follows_a_stated_probability_and_the_words_are_flagged(clip: Path) -> None:
    text = '{"label": "real", "p_fake": 0.8, "traces": []}'
    [verdict] = ScriptedModel([text], format="json-with-probability").inspect(clip)
    assert isinstance(verdict, Verdict)
    assert verdict.label == "fake"
    assert LABEL_AGAINST_WORDS in verdict.flags
    assert verdict.text == text


def test_a_verdict_without_a_probability_has_no_score(clip: Path) -> None:
    [score] = ScriptedModel([REAL]).score([clip])
    assert score == Unparsed("the answer holds no probability", REAL, score.origin)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_utf8_becomes_text(clip: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    with open(path, "wb") as file:
        file.write(clip.read_bytes())
    [outcome] = load("motion").inspect([os.fsdecode(path)])
    assert isinstance(outcome, Verdict)
    assert outcome.origin.video_id == "caf\\xe9"


def test_a_model_of_your_own_needs_one_method(clip: Path) -> None:
    class Bright(FrameModel):
        name = "bright"
        sampling = Sampling(fps=2, short_side=16)

        def verdict(self, frames: Frames, origin: Origin) -> Verdict:
            return Verdict("fake" if frames.images.mean() > 128 else "real", p_fake=float(frames.images.mean() / 255))

    [outcome] = Bright().inspect([clip])
    assert isinstance(outcome, Verdict)
    assert outcome.label == "real"
    assert outcome.origin.sampling == {"fps": 2, "max_frames": None, "short_side": 16, "sampled_fps": 2.0}


def test_a_model_that_raises_costs_one_outcome(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Fragile(FrameModel):
        name = "fragile"
        sampling = Sampling(fps=2)

        def verdict(self, frames: Frames, origin: Origin) -> Verdict:
            if origin.path is None:
                raise ZeroDivisionError("no path")
            return Verdict("real")

    first, second, third = Fragile().inspect([clip, clip.read_bytes(), clip])
    assert isinstance(first, Verdict)
    assert isinstance(second, Failed)
    assert (second.code, second.reason) == ("MODEL_CRASHED", "the model raised ZeroDivisionError: no path")
    assert isinstance(third, Verdict)
    assert "fragile" in caplog.text


def test_outcomes_come_before_the_next_video_is_there(clip: Path) -> None:
    """A source that waits for the outcome before it gives the next video is served, not deadlocked."""
    seen: list[str] = []
    released = threading.Event()

    def videos():
        yield clip
        assert released.wait(20)
        yield clip

    for outcome in ScriptedModel([REAL, FAKE]).inspect_iter(videos()):
        assert isinstance(outcome, Verdict)
        seen.append(outcome.label)
        released.set()
    assert seen == ["real", "fake"]


def test_a_name_that_no_file_can_have_costs_one_outcome(clip: Path) -> None:
    absent, there = load("motion").inspect(["\ud800.mp4", clip])
    assert isinstance(absent, Failed)
    assert absent.code == "NOT_FOUND"
    assert isinstance(there, Verdict)
