"""hf: models from video to outcome: a tiny model says what it learned of two clips, and what fails costs little."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptrace.answer import CUT_OFF, QUESTIONS
from deeptrace.errors import AnswerError, ModelError
from deeptrace.measures.calibration import Calibration, write_calibration
from deeptrace.models import load
from deeptrace.models.base import Look, Sampling
from deeptrace.models.hf.checkpoint import CARD_NAME, CheckpointCard, read_card, write_card
from deeptrace.records import Failed, Frames, Score, Unparsed, Verdict
from deeptrace.testing import tiny_model
from deeptrace.video import sample_frames, write_video
from tests.clips import make_clip, number_of

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from deeptrace.models.hf.families import family_of  # noqa: E402
from deeptrace.models.hf.families.generating import LabelMass  # noqa: E402
from deeptrace.models.hf.model import NOT_FINITE, OUT_OF_MEMORY, HfModel, relabel, shift_look  # noqa: E402
from tests.models.by_heart import learn_by_heart  # noqa: E402

FAKE = "FAKE. The video is AI-generated. The unnatural part is at [14, 28, 56, 70] starting 0.5 seconds."
REAL = "REAL. The video is real. There is no unnatural part."


def clip(fake: bool, seed: int = 0) -> Frames:
    """2 s at 2 a second, 112 x 112; in a fake one a white square appears at 0.5 s."""
    images = np.random.default_rng(seed).integers(60, 120, (4, 112, 112, 3), dtype=np.uint8)
    if fake:
        images[1:, 28:70, 14:56] = 255
    return Frames.from_array(images, 2.0)


def teach(folder: Path, steps: int) -> None:
    """Let a tiny checkpoint learn one fake and one real clip by heart."""
    family = family_of(folder)
    model = family.load_model(folder, device="cpu").train()
    card = CheckpointCard(format="trained", question=QUESTIONS["trained"], sampling=Sampling(2.0, 16))
    examples = [family.encode(clip(fake), QUESTIONS["trained"], FAKE if fake else REAL) for fake in (True, False)]
    batch = family.collate(examples)
    learn_by_heart(model, batch, steps, folder)
    write_card(folder, card)


@pytest.fixture(scope="module", params=["videollama3", "qwen2.5-vl"])
def taught(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model(request.param, tmp_path_factory.mktemp("taught") / "m", hidden_size=64, num_layers=2)
    teach(folder, steps=90)
    return folder


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("videollama3", tmp_path_factory.mktemp("untaught") / "tiny", hidden_size=64, num_layers=1)


def test_it_says_where_and_when_in_fractions_and_seconds(taught: Path) -> None:
    model = load(f"hf:{taught}", device="cpu", batch_size=2)
    fake, real = model.inspect([clip(True), clip(False)])
    assert isinstance(fake, Verdict)
    assert isinstance(real, Verdict)
    assert (fake.label, real.label) == ("fake", "real")
    [trace] = fake.traces
    scale = 1000 if model.family.space_kind == "per-mille" else 112
    assert trace.bbox_xyxy == pytest.approx((14 / scale, 28 / scale, 56 / scale, 70 / scale))
    assert trace.onset_seconds == 0.5
    assert fake.text == FAKE
    assert fake.p_fake is not None
    assert real.p_fake is not None
    assert fake.p_fake > 0.9
    assert real.p_fake < 0.1
    made = fake.origin.sampling
    assert made is not None
    assert (made["format"], made["dtype"], made["p_fake_from"]) == ("trained", "float32", "label token")
    assert (made["resized_hw"], made["fps"], made["max_frames"]) == ([112, 112], 2.0, 16)
    assert fake.origin.model == "hf:m"
    assert fake.origin.question == QUESTIONS["trained"]


def test_a_score_is_the_probability_of_the_whole_answer(taught: Path) -> None:
    model = load(f"hf:{taught}", device="cpu", batch_size=3)
    clips = [clip(True), clip(False), clip(True, seed=5)]
    scores, outcomes = model.score(clips), model.inspect(clips)
    for score, outcome in zip(scores, outcomes, strict=True):
        assert isinstance(score, Score)
        assert isinstance(outcome, Verdict)
        assert score.p_fake == pytest.approx(outcome.p_fake, abs=1e-5)
        assert score.p_fake == score.p_fake_raw


def test_answers_do_not_depend_on_the_batch(taught: Path) -> None:
    clips = [clip(True), clip(False), Frames.from_array(clip(True).images[:2], 2.0), clip(False, seed=9)]
    together, alone = (load(f"hf:{taught}", device="cpu", batch_size=size).inspect(clips) for size in (4, 1))
    assert [one.text for one in together] == [one.text for one in alone]  # type: ignore[union-attr]


def test_one_bad_video_costs_itself(untaught: Path, tmp_path: Path) -> None:
    model = load(f"hf:{untaught}", device="cpu", batch_size=2, max_new_tokens=3)
    narrow = Frames.from_array(np.zeros((2, 2, 900, 3), np.uint8), 2.0)
    outcomes = model.inspect([clip(True), tmp_path / "absent.mp4", narrow, clip(False)])
    assert [type(outcome).__name__ for outcome in outcomes] == ["Unparsed", "Failed", "Failed", "Unparsed"]
    assert [one.code for one in outcomes if isinstance(one, Failed)] == ["NOT_FOUND", "MODEL_ERROR"]
    assert isinstance(outcomes[0], Unparsed)
    assert outcomes[0].reason == CUT_OFF
    model.label_share = 0.0
    scores = model.score([clip(True), tmp_path / "absent.mp4", clip(False)])
    assert [type(score).__name__ for score in scores] == ["Score", "Failed", "Score"]


def test_another_training_step_is_another_revision(untaught: Path, tmp_path: Path) -> None:
    again = tiny_model("videollama3", tmp_path / "again", hidden_size=64, num_layers=1)
    other = tiny_model("videollama3", tmp_path / "other", hidden_size=64, num_layers=1, seed=1)
    first, second, third = (HfModel(folder, device="cpu").revision for folder in (untaught, again, other))
    assert first == second != third


def test_a_calibration_beside_the_weights_makes_the_probability(untaught: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untaught, tmp_path / "calibrated"))
    before = HfModel(folder, device="cpu")
    before.label_share = 0.0
    [raw] = before.score(clip(True))
    assert isinstance(raw, Score)
    calibration = Calibration(before.name, before.revision, "val", "original", 2.0, -1.0, 50)
    write_calibration(folder / "calibration.json", calibration)
    after = HfModel(folder, device="cpu")
    after.label_share = 0.0
    [score] = after.score(clip(True))
    assert isinstance(score, Score)
    assert score == Score(calibration(raw.p_fake_raw), raw.p_fake_raw)


def test_options_take_the_place_of_the_card(taught: Path) -> None:
    model = load(f"hf:{taught}", device="cpu", question="zero-shot", space="source", sampling=Sampling(4.0, 3))
    assert model.question == QUESTIONS["zero-shot"]
    assert model.sampling == Sampling(4.0, 3)
    assert model.space(clip(True)).kind == "source"
    asked = load(f"hf:{taught}", device="cpu", words="<video> Is it?")
    assert (asked.question, asked.format) == ("<video> Is it?", "trained")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "must be positive"),
        ({"device": "tpu"}, "is not one of auto, cpu, cuda"),
        ({"device": "cuda:99"}, "is not there"),
        ({"dtype": "float8"}, "is not one of auto, float32"),
        ({"device": "cpu", "quantization": "nf4"}, "needs a CUDA GPU"),
        ({"words": "<video> and <|im_end|>"}, "control token"),
        ({"size": {"shortest_edge": 0, "longest_edge": 10}}, "size: "),
    ],
)
def test_options_that_do_not_fit_are_named(untaught: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load(f"hf:{untaught}", **options)


def test_a_format_that_is_none_is_named(untaught: Path) -> None:
    with pytest.raises(AnswerError, match="'essay' is not an answer format"):
        load(f"hf:{untaught}", question="essay")


@pytest.mark.parametrize("format", ["json", "informed", "informed-json-with-category", "trained-no-box"])
def test_every_format_has_a_score(untaught: Path, format: str) -> None:
    """By the label's first token, behind what stands before it in JSON."""
    model = load(f"hf:{untaught}", device="cpu", question=format, max_new_tokens=1)
    model.label_share = 0.0  # it knows nothing of labels
    [score] = model.score([clip(True)])
    assert isinstance(score, Score)
    [outcome] = model.inspect([clip(True)])
    assert outcome.origin.sampling is not None
    assert outcome.origin.sampling["format"] == format


def test_a_probability_is_of_the_label_and_of_nothing_else(untaught: Path) -> None:
    """Where a label's token stands, what FAKE and REAL hold there counts; elsewhere there is no number but a reason."""
    model = load(f"hf:{untaught}", device="cpu", max_new_tokens=4)
    family = model.family
    fake, real = family.label_ids
    assert family.tokenize("FAKE")[0] in fake
    assert family.tokenize("REAL")[0] in real
    assert not set(fake) & set(real)
    for text in ("FAKE. It is.", "**FAKE** it is", '{"label": "fake"}', "<think>It is real?</think>\nFAKE"):
        ids = family.tokenize(text)
        masses = [LabelMass(float(at), 0.0) for at in range(len(ids))]
        label = family._at_label(ids, masses)
        assert label is not None, text
        at = int(label.fake)
        assert family.decode(ids[: at + 1]).upper().rstrip("AKE").endswith("F")
    assert family._at_label(family.tokenize("The video is fine"), [LabelMass(1.0, 0.0)] * 9) is None
    vague, reason = model._p_fake(LabelMass(0.3, 0.1))
    assert (vague, reason) == (None, "FAKE and REAL hold 0.4 of the probability at the label, under 0.5")
    assert model._p_fake(LabelMass(0.6, 0.2)) == (pytest.approx(0.75), None)
    assert model._p_fake(None)[0] is None
    [score] = model.score([clip(True)])
    assert isinstance(score, Unparsed)
    assert score.reason == CUT_OFF


@pytest.mark.parametrize("name", ["hf:", "hf", "hf:/no/such/place", "hf:one two", "hf:org/name/more"])
def test_a_checkpoint_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ModelError, match=r"needs a checkpoint|neither a folder nor a hub id"):
        load(name)


def test_missing_weights_are_not_made_up(untaught: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_model("videollama3", tmp_path / "m", hidden_size=64, num_layers=1)
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.projector.readout.0.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 tensors missing.*projector\.readout\.0\.weight.*models check"):
        load(f"hf:{folder}", device="cpu")


def test_a_model_that_computes_nan_says_no_number(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_model("videollama3", tmp_path / "m", hidden_size=64, num_layers=1)
    weights = load_file(folder / "model.safetensors")
    weights["model.language_model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = load(f"hf:{folder}", device="cpu", max_new_tokens=2)
    for outcome in (*model.inspect([clip(True)]), *model.score([clip(True)])):
        assert isinstance(outcome, Failed)
        assert outcome.code == NOT_FINITE


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.linux
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
def test_what_does_not_fit_into_memory_is_halved_until_it_does(untaught: Path) -> None:
    """A real limit on the process: eight clips at once do not fit, fewer do, and the answers are the same."""
    code = f"""
        import json, logging, resource
        import numpy as np
        from deeptrace.answer import Space
        from deeptrace.models import load
        from deeptrace.models.text import PosedQuestion
        from deeptrace.records import Frames, Origin

        def used():
            return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        rng = np.random.default_rng(0)
        images = rng.integers(0, 255, (8, 2, 448, 448, 3), dtype=np.uint8)
        batch = [PosedQuestion(Frames.from_array(clip, 1.0), "Is it?", Space("per-mille"), Origin()) for clip in images]
        model = load("hf:{untaught}", device="cpu", batch_size=8)
        model.label_share = 0.0
        free = model.rate(batch)
        alone = model.encode(batch[0])
        resource.setrlimit(resource.RLIMIT_AS, (used() + (80 << 20), resource.RLIM_INFINITY))
        tight = model.rate(batch)
        resource.setrlimit(resource.RLIMIT_AS, (used() + (2 << 20), resource.RLIM_INFINITY))
        [none] = model._in_memory([alone], model._rate)
        said = [[one.p_fake for one in answers] for answers in (free, tight)]
        print(json.dumps([*said, model.batch_size, none.code]))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        # Every large block of its own from the system and back to it, so that what is free is what the limit says.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    free, tight, size, code = json.loads(run.stdout)
    assert tight == pytest.approx(free, abs=1e-5)
    assert size < 8
    assert "8 videos do not fit into memory at once, trying 4" in run.stderr
    assert code == OUT_OF_MEMORY


# ── frame times as trained ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("fps", "first"), [(1.0, 24), (2.0, 12)])
def test_frames_are_shown_and_told_as_the_original_code_did(tmp_path: Path, fps: float, first: int) -> None:
    """At one a second of 25, the label 0.0 stands on frame 24, shown at 0.96 s: (k+1)/fps - 1/25."""
    path = tmp_path / "clip.mp4"
    make_clip(path, num_frames=125, fps=25)
    look = shift_look(Look(path, Sampling(fps, 180)))
    frames = sample_frames(path, fps=fps, max_frames=180, start_seconds=look.start_seconds)
    shown = [number_of(image) for image in frames.images]
    count = int(5 * fps)
    # (k+1)/fps - 1/25 falls between two frames at 2 a second: the one on screen.
    assert shown == [int((k + 1) * 25 / fps - 1 + 1e-6) for k in range(count)]
    assert shown[0] == (first if fps == 1.0 else 11)
    assert relabel(frames, fps).pts_seconds.tolist() == [k / fps for k in range(count)]
    assert len(relabel(frames, fps)) == count


def test_clips_that_cannot_be_shifted_stay(tmp_path: Path) -> None:
    slow = tmp_path / "slow.mp4"
    make_clip(slow, num_frames=10, fps=1)
    for look in (
        Look(slow, Sampling(2.0)),
        Look(tmp_path / "absent.mp4", Sampling(2.0)),
        Look(slow, Sampling(0.5), start_seconds=3.0),
    ):
        assert shift_look(look) == look
    short = tmp_path / "short.mp4"
    write_video(short, Frames.from_array(np.zeros((5, 48, 64, 3), np.uint8), 25.0))
    look = shift_look(Look(short, Sampling(1.0)))
    assert len(sample_frames(short, fps=1.0, start_seconds=look.start_seconds)) == 1


def test_the_switch_changes_frames_and_is_in_the_row(untaught: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    make_clip(path, num_frames=75, fps=25)
    rows = []
    for times in ("true", "as-trained"):
        model = load(f"hf:{untaught}", device="cpu", frame_times=times, sampling=Sampling(1.0, 180), max_new_tokens=1)
        model.label_share = 0.0
        [outcome] = model.inspect([path])
        [score] = model.score([path])
        assert outcome.origin.sampling is not None
        assert isinstance(score, Score)
        rows.append((outcome.origin.sampling, score.p_fake))
    assert [row["frame_times"] for row, _ in rows] == ["true", "as-trained"]
    assert "window_seconds" not in rows[0][0]
    assert rows[1][0]["window_seconds"] == [pytest.approx(0.96), None]
    assert [row["grid_thw"][0] for row, _ in rows] == [3, 3]
    assert rows[0][1] != rows[1][1]


# ── deeptrace.json ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    card = CheckpointCard(
        format="trained",
        question="<video> Is it?",
        space="resized",
        sampling=Sampling(2.0, 180, 224),
        size={"shortest_edge": 784, "longest_edge": 78400},
        system_prompt="",
        frame_times="as-trained",
        extra={"base": "org/name", "metrics": {"accuracy": 0.5}},
    )
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "of version 1"),
        ({"schema": "other"}, "is not a 'deeptrace.checkpoint'"),
        ({"colour": "red"}, "colour: is not a setting"),
        ({"format": "essay"}, "'essay' is not an answer format"),
        ({"format_version": 99}, "version 99 is stored"),
        ({"format_version": "1"}, "format_version: '1' is not a whole number"),
        ({"question": 5}, "question: 5 is not text"),
        ({"space": "inches"}, "'inches' is not one of"),
        ({"frame_times": "late"}, "'late' is not one of"),
        ({"size": {"shortest_edge": 5}}, "size: "),
        ({"size": {"shortest_edge": 9, "longest_edge": 8}}, "size: "),
        ({"sampling": {"fps": 0}}, "sampling.fps: 0 is not greater than 0"),
        ({"sampling": {"fps": 2, "max_frames": -1}}, "max_frames: -1 is not at least 1"),
        ({"sampling": {"fps": 2, "speed": 1}}, "sampling.speed: is not a setting"),
        ({"sampling": 5}, "sampling: 5 is not a table"),
    ],
)
def test_a_card_that_says_something_else_is_an_error_that_names_it(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    write_card(tmp_path, CheckpointCard())
    row = json.loads((tmp_path / CARD_NAME).read_text())
    (tmp_path / CARD_NAME).write_text(json.dumps({**row, **change}))
    with pytest.raises(Exception, match=words) as error:
        read_card(tmp_path)
    assert type(error.value).__name__ in ("ModelError", "AnswerError")
