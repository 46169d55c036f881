"""A study from its first page to its results, and the statistics against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeptrace.bench.score.runs import dataset_of, read_runs
from deeptrace.data import write_records
from deeptrace.data.read.load import Records
from deeptrace.errors import RecordError
from deeptrace.explorer.study.app import load_study, make_study, participants_of
from deeptrace.explorer.study.design import StudyClip, StudyDesign, StudyTrial, clips_of, plan_trials
from deeptrace.explorer.study.statistics import (
    Answer,
    Participant,
    dprime,
    dprime_of_pairs,
    human_verdicts,
    results_of,
    wilson,
)
from deeptrace.files import dumps, loads, write_jsonl
from deeptrace.records import Annotation, Record, Trace
from deeptrace.rows import outcome_to_row
from tests.browser import chromium
from tests.explorer.world import BOX, INFO, make_dataset, person, run_cli, serving

TRACE = Trace(BOX, 0.5, 1.5, ("Object Distortion",), "It bends.")


WAITING_FOR_THE_HAND = """
    const play = HTMLMediaElement.prototype.play;
    HTMLMediaElement.prototype.play = function () {
        [this.currentTime, this.playbackRate] = [0.8, 0];
        addEventListener("click", () => { this.playbackRate = 1; }, { once: true });
        return play.call(this);
    };
"""
"""A clip that plays, and stands at 0.8 s until it was clicked: a busy machine's hand may take as long as it takes."""
IT_STANDS = "() => [...document.querySelectorAll('video')].some((video) => !video.paused && video.currentTime === 0.8)"


def injected(pairs: int) -> list[Record]:
    """Records as `deeptrace inject` gives them: a fake and its twin, every other twin a sham, two strengths."""
    records = []
    for n in range(pairs):
        facts = {
            "inject_category": "Object Distortion",
            "inject_params": {"strength": 0.4 + 0.4 * (n % 2)},
            "inject_twin": f"p{n}_real",
        }
        records.append(
            Record(f"p{n}", "clip0.mp4", "fake", INFO, annotations=(Annotation((TRACE,), "fake", None, facts),))
        )
        twin = {"sham": n % 2 == 0, "inject_twin": f"p{n}"}
        records.append(
            Record(f"p{n}_real", "clip1.mp4", "real", INFO, annotations=(Annotation((), "real", None, twin),))
        )
    return records


def test_the_formulas_give_what_is_worked_out_by_hand() -> None:
    measured = dprime(8, 10, 2, 10)
    assert measured is not None
    assert measured.value == pytest.approx(2 * 0.7478586, abs=1e-6)
    assert measured.criterion == pytest.approx(0.0, abs=1e-9)
    assert measured.standard_error == pytest.approx(0.6211, abs=2e-3)
    assert dprime(10, 10, 0, 10).value == pytest.approx(2 * 1.6906216, abs=1e-5)  # type: ignore[union-attr]
    assert dprime(0, 0, 1, 10) is None
    assert dprime_of_pairs(0, 0) is None
    assert dprime_of_pairs(50, 100).value == pytest.approx(0.0, abs=1e-9)  # type: ignore[union-attr]
    low_high = wilson(0, 10)
    assert (low_high.low, low_high.high) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.2775, abs=1e-3))
    assert wilson(0, 0).share is None


def test_nobody_sees_both_twins_and_everybody_has_an_order_of_their_own() -> None:
    design = StudyDesign(tuple(clips_of(injected(20))), trials=20, checks=2)
    plans = [plan_trials(design, f"person {n}") for n in range(30)]
    assert plan_trials(design, "person 0") == plans[0]
    assert len({tuple(trial.clips for trial in plan) for plan in plans}) == 30
    known = design.by_id
    for plan in plans:
        shown = [trial.clips[0] for trial in plan if trial.kind == "single"]
        assert len(shown) == 20
        assert sum(known[name].kind == "fake" for name in shown) == 10
        assert not any(known[name].twin in shown for name in shown)
        assert [trial.kind for trial in plan].count("check") == 2
        assert plan[0].kind != "check"


def test_pairs_put_the_fake_on_either_side() -> None:
    design = StudyDesign(tuple(clips_of(injected(40))), mode="pairs", trials=40, checks=0)
    plan = plan_trials(design, "somebody")
    left = sum(design.by_id[trial.clips[0]].kind == "fake" for trial in plan)
    assert len(plan) == 40
    assert 10 <= left <= 30


@pytest.mark.parametrize("records", [[], injected(1)[:1], injected(1)[1:]])
def test_a_dataset_of_one_kind_cannot_be_studied(records: list[Record]) -> None:
    with pytest.raises(RecordError, match="with a trace"):
        StudyDesign(tuple(clips_of(records)))


def answer(clip: str, says_fake: bool, number: int = 1, **more: Any) -> Answer:
    return Answer(StudyTrial(number, "single", (clip,)), says_fake, 4, **more)


def test_results_count_by_category_and_strength_and_leave_out_the_inattentive() -> None:
    design = StudyDesign(tuple(clips_of(injected(4))), trials=8, checks=0)
    click = {"click_xy": (0.3, 0.5), "click_seconds": 0.8, "box": (0.25, 0.25, 0.5, 0.5)}
    good = Participant(
        "a", 4, (answer("p0", True, **click), answer("p1", True), answer("p1_real", False), answer("p2_real", True))
    )
    check = Answer(StudyTrial(9, "check"), False, 1)
    asleep = Participant("b", 2, (answer("p0", False), check))
    gone = Participant("c", 1, (answer("p0", False),), withdrawn=True)
    summary = results_of(design, [good, asleep, gone])
    assert (summary.participants, dict(summary.left_out), summary.trials) == (1, {"attention": 1, "withdrawn": 1}, 4)
    assert {key: (part.k, part.n) for key, part in summary.detection.items()} == {
        ("Object Distortion", "0.40"): (1, 1),
        ("Object Distortion", "0.80"): (1, 1),
    }
    assert {kind: (part.k, part.n) for kind, part in summary.false_alarms.items()} == {"clean": (0, 1), "sham": (1, 1)}
    assert summary.box_iou == (1, pytest.approx(0.5))
    assert (summary.pointing.k, summary.pointing.n) == (1, 1)
    assert summary.onset_error_seconds == (1, pytest.approx(0.3), pytest.approx(0.3))
    assert summary.sensitivity is not None
    assert loads(dumps(summary.to_json()))["schema"] == "deeptrace.study"


def test_people_are_one_more_run_of_the_benchmark(tmp_path: Path) -> None:
    records = Records(injected(3), root=tmp_path)
    design = StudyDesign(tuple(clips_of(list(records))), trials=6, checks=0)
    people = [
        Participant("a", 2, (answer("p0", True, box=BOX, click_seconds=0.6), answer("p1_real", False))),
        Participant("b", 2, (answer("p0", True, box=BOX, click_seconds=0.8), answer("p1_real", True))),
    ]
    verdicts = human_verdicts(design, people)
    assert [(v.origin.video_id, v.label, v.p_fake) for v in verdicts] == [("p0", "fake", 1.0), ("p1_real", "fake", 0.5)]
    assert verdicts[0].traces[0].onset_seconds == pytest.approx(0.7)
    write_jsonl(tmp_path / "people.jsonl", [outcome_to_row(verdict) for verdict in verdicts])
    (run,) = read_runs([tmp_path / "people.jsonl"], dataset_of(records, "all"))
    assert run.name == "people (study)"


def test_a_folder_belongs_to_its_study(tmp_path: Path) -> None:
    records = Records(injected(3), root=tmp_path)
    make_study(records, tmp_path / "study", trials=4, checks=0).store.close()
    assert load_study(tmp_path / "study").trials == 4
    make_study(records, tmp_path / "study", trials=4, checks=0).store.close()
    with pytest.raises(RecordError, match="other clips or settings"):
        make_study(records, tmp_path / "study", trials=6, checks=0)


def test_clips_without_injection_have_neither_strength_nor_twin() -> None:
    assert clips_of([Record("r", "r.mp4", "real"), Record("u", "u.mp4", "unsure"), Record("n", None, "fake")]) == [
        StudyClip("r", "clean")
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome


@pytest.mark.browser
def test_a_participant_goes_from_the_first_page_to_the_results(browser: Any, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    (data / "records.jsonl").unlink()
    write_records(data / "records.jsonl", injected(2))
    out = tmp_path / "study"
    options = ("run", data / "records.jsonl", out, "--trials", "2", "--checks", "1")
    with serving(*options, command=("study",)) as server, person(browser, server.address) as page:
        page.add_init_script(WAITING_FOR_THE_HAND)
        page.goto(server.address)
        page.click("#begin")
        page.wait_for_selector("#ready:not([hidden])")
        session = page.url
        for number in (1, 2, 3):
            page.wait_for_selector(f"#ready-head:has-text('Clip {number}')")
            if number == 2:
                page.reload()  # a closed laptop: it goes on where it was
                page.wait_for_selector(f"#ready-head:has-text('Clip {number}')")
            page.click("#play")
            page.wait_for_function(
                "() => { const v = document.querySelector('video'); return v && !v.paused && v.currentTime === 0.8; }"
            )
            area = page.locator(".study-stage").bounding_box()
            page.mouse.click(area["x"] + area["width"] * 0.4, area["y"] + area["height"] * 0.5)
            page.wait_for_selector("#question:not([hidden])", timeout=60_000)
            if number == 1:
                page.reload()  # it was shown: it is not shown again
                page.wait_for_selector("text=This clip was shown to you already")
                assert page.locator("video").count() == 0
            page.keyboard.press("f")
            page.keyboard.press("3")
            if number != 1:
                stage = page.locator(".study-stage").bounding_box()
                x, y, w, h = stage["x"], stage["y"], stage["width"], stage["height"]
                page.mouse.move(x + w * BOX[0], y + h * BOX[1])
                page.mouse.down()
                page.mouse.move(x + w * BOX[2], y + h * BOX[3])
                page.mouse.up()
            page.click("#next")
        page.wait_for_selector("#end:not([hidden])")
        assert page.url == session
    (one,) = participants_of(out)
    assert len(one.answers) == 3
    assert one.attention == 1.0
    drawn = [a for a in one.answers if a.trial.number != 1]
    assert all(a.box == pytest.approx(BOX, abs=0.02) for a in drawn)
    assert all(a.click_xy == pytest.approx((0.4, 0.5), abs=0.02) for a in drawn)
    assert all(a.click_seconds == pytest.approx(0.8) for a in drawn)
    assert one.answers[0].click_xy is None  # the reload lost it, and nothing was made up for it
    done = run_cli("study", "results", out, "--json", "--verdicts", tmp_path / "people.jsonl")
    assert done.returncode == 0, done.stderr
    summary = loads(done.stdout)
    assert (summary["participants"], summary["trials"]) == (1, 2)
    assert summary["sensitivity"]["hits"] == {
        "k": 1,
        "n": 1,
        "share": 1.0,
        "low": pytest.approx(0.2065, abs=1e-3),
        "high": 1.0,
    }
