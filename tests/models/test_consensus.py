"""What several answers agree on: votes, medians, the nearest answer; and what that is worth on a model that errs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.consensus_gain import Figures, measure
from deeptrace.bench.run.verdicts import worth_another_try
from deeptrace.cli import cli
from deeptrace.errors import ModelError
from deeptrace.models.consensus import Consensus, Draw, consensus, likeness
from deeptrace.models.motion.model import MotionModel
from deeptrace.models.scripted import ScriptedModel
from deeptrace.records import Failed, Frames, Trace, Unparsed, Verdict
from tests.clips import make_clip

BOX = (0.1, 0.1, 0.5, 0.5)


def fake(onset: float, box: tuple[float, float, float, float] = BOX, words: str = "It melts.") -> Verdict:
    return Verdict("fake", traces=(Trace(box, onset, explanation=words),), text=f"{words} at {onset}")


def notes(outcome: Any) -> dict[str, Any]:
    row: dict[str, Any] = outcome.origin.sampling["samples"]
    return row


# ── votes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fakes", "reals", "p_fake", "label"),
    [(5, 0, 6 / 7, "fake"), (0, 5, 1 / 7, "real"), (2, 3, 3 / 7, "real"), (2, 2, 0.5, "fake"), (1, 0, 2 / 3, "fake")],
)
def test_the_votes_make_the_probability_by_laplaces_rule(fakes: int, reals: int, p_fake: float, label: str) -> None:
    outcome = consensus([*[fake(1.0)] * fakes, *[Verdict("real")] * reals])
    assert isinstance(outcome, Verdict)
    assert (outcome.label, outcome.p_fake, outcome.p_fake_raw) == (label, pytest.approx(p_fake), pytest.approx(p_fake))
    assert len(outcome.traces) == (label == "fake")
    assert (notes(outcome)["fake"], notes(outcome)["real"]) == (fakes, reals)


def test_what_was_not_understood_does_not_vote_and_is_counted() -> None:
    outcome = consensus([fake(1.0), Unparsed("no label", "hm"), Failed("TIMEOUT", "late")])
    assert isinstance(outcome, Verdict)
    assert outcome.p_fake == pytest.approx(2 / 3)
    assert (notes(outcome)["unparsed"], notes(outcome)["failed"]) == (1, 1)
    assert isinstance(consensus([Failed("TIMEOUT", "late"), Unparsed("no label", "hm")]), Unparsed)
    assert isinstance(consensus([Failed("TIMEOUT", "late")]), Failed)
    with pytest.raises(ModelError, match="no answers"):
        consensus([])


def test_few_answers_among_failures_are_a_failure_to_ask_about_again() -> None:
    late, filtered = Failed("TIMEOUT", "late"), Failed("CONTENT_FILTER", "no")
    outcome = consensus([fake(1.0), late, filtered])
    assert isinstance(outcome, Failed)
    assert outcome.code == "TOO_FEW_ANSWERS"
    assert outcome.reason == "2 of 3 calls brought no answer (CONTENT_FILTER, TIMEOUT); the first: late. Run again"
    assert notes(outcome)["fake"] == 1
    assert worth_another_try(outcome)
    assert isinstance(consensus([fake(1.0), late]), Verdict)  # half of them
    assert consensus([Unparsed("no label", "hm"), late, late]).code == "TOO_FEW_ANSWERS"  # type: ignore[union-attr]
    assert consensus([filtered, filtered]).code == "CONTENT_FILTER"  # type: ignore[union-attr]  # it lasts


# ── where and when ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wild_answer_does_not_move_the_median() -> None:
    answers = [fake(1.0), fake(1.2, (0.12, 0.1, 0.5, 0.5), "nearest"), fake(1.3, (0.14, 0.1, 0.5, 0.5))]
    outcome = consensus([*answers, fake(9.0, (0.8, 0.8, 0.9, 0.9), "wild")])
    assert isinstance(outcome, Verdict)
    [trace] = outcome.traces
    assert trace.onset_seconds == 1.2
    assert trace.bbox_xyxy == (0.12, 0.1, 0.5, 0.5)
    assert trace.confidence == 0.75
    assert trace.explanation == "nearest"
    assert outcome.text == "nearest at 1.2"
    assert notes(outcome)["nearest"] == 1
    [spread] = notes(outcome)["spread"]
    assert spread["support"] == 3
    assert spread["onset_seconds"] == pytest.approx(0.1)  # (0.2 + 0 + 0.1) / 3
    assert 0.9 < spread["bbox_iou"] < 1.0


def test_two_traces_stay_two_and_one_that_few_saw_goes() -> None:
    left, right, rare = Trace(BOX, 1.0), Trace((0.6, 0.6, 0.9, 0.9), 3.0), Trace((0.6, 0.0, 0.9, 0.2), 2.0)
    answers = [Verdict("fake", traces=traces) for traces in ((left, right), (right, left, rare), (left, right))]
    outcome = consensus(answers)
    assert isinstance(outcome, Verdict)
    assert [(trace.bbox_xyxy, trace.onset_seconds) for trace in outcome.traces] == [
        (left.bbox_xyxy, 1.0),
        (right.bbox_xyxy, 3.0),
    ]


def test_answers_that_name_no_place_still_agree() -> None:
    outcome = consensus([Verdict("fake", traces=(Trace(explanation=f"{i}"),)) for i in range(3)])
    assert isinstance(outcome, Verdict)
    assert [trace.explanation for trace in outcome.traces] == ["0"]
    assert consensus([Verdict("fake")] * 3).origin.sampling["samples"]["spread"] == []  # type: ignore[index]


def test_a_trace_without_a_place_holds_no_others_together() -> None:
    left, right, nowhere = Trace(BOX, 1.0), Trace((0.6, 0.6, 0.9, 0.9), 3.0), Trace(explanation="somewhere")
    assert (likeness(nowhere, left), likeness(Trace(BOX), Trace(None, 1.0)), likeness(nowhere, nowhere)) == (0, 0, 1)
    outcome = consensus([Verdict("fake", traces=(one,)) for one in (nowhere, left, left, right)])
    assert isinstance(outcome, Verdict)
    assert [(trace.bbox_xyxy, trace.confidence) for trace in outcome.traces] == [(BOX, 0.5)]


unit = st.floats(0, 1, allow_nan=False)
traces = st.builds(
    lambda x, y, w, h, onset: Trace((x * 0.5, y * 0.5, x * 0.5 + 0.05 + w * 0.4, y * 0.5 + 0.05 + h * 0.4), onset),
    unit, unit, unit, unit, st.floats(0, 20) | st.none(),
)  # fmt: skip


@given(st.lists(st.lists(traces, max_size=3), min_size=1, max_size=5))
def test_any_answers_make_a_verdict_within_them(answers: Sequence[Sequence[Trace]]) -> None:
    outcome = consensus([Verdict("fake", traces=tuple(one)) for one in answers])
    assert isinstance(outcome, Verdict)
    claims = [trace for one in answers for trace in one]
    assert len(outcome.traces) <= len(claims)
    for trace in outcome.traces:
        assert trace.confidence is not None
        assert 0.5 <= trace.confidence <= 1.0
        boxes = np.array([claim.bbox_xyxy for claim in claims])
        assert trace.bbox_xyxy is not None
        assert (boxes.min(0) - 1e-9 <= trace.bbox_xyxy).all()
        assert (trace.bbox_xyxy <= boxes.max(0) + 1e-9).all()
        assert likeness(trace, trace) == pytest.approx(1.0)


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_script_of_several_answers_is_asked_so_often(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    sure = "FAKE. The video is AI-generated. The unnatural part is at [10, 10, 40, 40] starting 0.5 seconds."
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"video_id": "a", "text": [sure, "REAL.", sure, "who knows"]}) + "\n")
    model = Consensus(ScriptedModel.from_file(script), 4, temperature=1.0, seed=3)
    [outcome] = model.inspect([tmp_path / "a.mp4"])
    assert isinstance(outcome, Verdict)
    assert (outcome.label, outcome.p_fake) == ("fake", pytest.approx(3 / 5))
    assert outcome.origin.model == "scripted+4-samples"
    assert {key: notes(outcome)[key] for key in ("samples", "temperature", "seed", "unparsed")} == {
        "samples": 4, "temperature": 1.0, "seed": 3, "unparsed": 1,
    }  # fmt: skip
    assert model.score([tmp_path / "a.mp4"])[0].p_fake == pytest.approx(3 / 5)  # type: ignore[union-attr]
    [once] = ScriptedModel.from_file(script).inspect([tmp_path / "a.mp4"])
    assert isinstance(once, Verdict)
    assert once.label == "fake"
    [short] = Consensus(ScriptedModel.from_file(script), 5).inspect([tmp_path / "a.mp4"])
    assert notes(short)["failed"] == 1
    make_clip(tmp_path / "b.mp4")
    [unknown] = ScriptedModel.from_file(script).inspect([tmp_path / "b.mp4"])
    assert isinstance(unknown, Failed)
    assert unknown.reason == "the script 'script.jsonl' holds no answer for 'b'"
    [broken] = model.inspect([tmp_path / "nothing.mp4"])
    assert isinstance(broken, Failed)


def test_the_commands_take_samples(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"video_id": "a", "text": ["REAL.", "REAL.", "FAKE. The video is AI-generated."]}))
    command = ["inspect", str(tmp_path / "a.mp4"), "--model", f"scripted:{script}", "--json"]
    row = json.loads(CliRunner().invoke(cli, [*command, "--samples", "3", "--temperature", "0.9"]).stdout)
    assert (row["label"], row["model"], row["p_fake"]) == ("real", "scripted+3-samples", pytest.approx(2 / 5))
    assert row["sampling"]["samples"]["temperature"] == 0.9
    assert "goes with --samples" in CliRunner().invoke(cli, [*command, "--temperature", "0.9"]).stderr
    assert "one process asks" in CliRunner().invoke(cli, [*command, "--samples", "3", "--jobs", "2"]).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samples", "3", "--two-pass"], "--two-pass and --samples: choose one"),
        (["--samples", "3", "--jobs", "2"], "--jobs: an hf: model is loaded once"),
        (["--temperature", "0.9"], "--temperature goes with --samples"),
        (["--samples", "65"], "65 is not in the range 2<=x<=64"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_model_is_loaded(
    options: list[str], words: str, tmp_path: Path
) -> None:
    make_clip(tmp_path / "a.mp4")
    missing = f"hf:{tmp_path / 'no such model'}"
    run = CliRunner().invoke(cli, ["inspect", str(tmp_path / "a.mp4"), "--model", missing, *options])
    assert run.exit_code == 2
    assert words in run.stderr


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ModelError, match="'motion' gives one answer, always the same"):
        Consensus(MotionModel(), 3)
    with pytest.raises(ModelError, match="samples: 1 is not from 2 to 64"):
        Consensus(ScriptedModel([]), 1)
    with pytest.raises(ModelError, match="temperature: 0 is not above 0"):
        Consensus(ScriptedModel([]), 3, temperature=0.0)


def test_seeds_are_of_the_video_and_of_the_answer() -> None:
    seeds = {Draw(1.0, seed, index).seed_for(video) for seed in (0, 1) for index in (0, 1) for video in ("a", "b")}
    assert len(seeds) == 8
    assert Draw(1.0, 0, 0).seed_for("a") == Draw(0.5, 0, 0).seed_for("a")


def test_drawn_answers_of_a_real_model_differ_and_come_again(tmp_path: Path) -> None:
    """Untaught weights say anything; the same seed says it again, in whatever batch."""
    pytest.importorskip("transformers")
    from deeptrace.models.hf.model import HfModel
    from deeptrace.testing import tiny_model

    folder = tiny_model("videollama3", tmp_path / "m", hidden_size=64, num_layers=1)
    clip = Frames.from_array(np.random.default_rng(0).integers(0, 255, (2, 56, 56, 3), dtype=np.uint8), 1.0)
    draws = [Draw(1.0, 0, index) for index in range(3)]

    def texts(batch_size: int) -> list[str | None]:
        model = HfModel(folder, device="cpu", max_new_tokens=3, batch_size=batch_size)
        [outcomes] = model.sample_iter([clip], draws)
        return [outcome.text for outcome in outcomes if isinstance(outcome, Unparsed)]

    together = texts(3)
    assert len(set(together)) == 3
    assert texts(1) == together


def test_a_temperature_draws_from_the_models_own_distribution() -> None:
    torch = pytest.importorskip("torch")
    from deeptrace.models.hf.families.generating import _Logits

    logits = torch.tensor([[2.0, 1.0, 0.0]])
    for temperature in (0.5, 2.0):
        wanted = torch.softmax(logits[0] / temperature, -1)
        counts = torch.zeros(3)
        step = _Logits(None, [(temperature, 7)])
        for _ in range(4000):
            counts[int(step(torch.zeros(1, 1), logits).argmax())] += 1
        assert torch.allclose(counts / 4000, wanted, atol=0.03)


# ── what it is worth ────────────────────────────────────────────────────────────────────────────────────────────────


def test_on_a_model_that_errs_eight_answers_are_better_than_one() -> None:
    """The model of the benchmark: each clip has a share of answers that are right, boxes and onsets scatter."""
    figures: dict[int, Figures] = {count: measure(clips=300, samples=count, seed=1) for count in (1, 8)}
    assert figures[8].brier < figures[1].brier - 0.05
    assert figures[8].calibration_error < figures[1].calibration_error - 0.03
    assert figures[8].viou_f1 > figures[1].viou_f1 + 0.05
    assert figures[8].accuracy > figures[1].accuracy
