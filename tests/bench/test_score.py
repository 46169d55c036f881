"""Scores end to end: rows in, tables out, with everything that must stand beside a number."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from deeptrace.bench.judge.rubric import judge_messages, prompt_sha256
from deeptrace.bench.score.blind_rows import blind_rows
from deeptrace.bench.score.conclusion import _place, conclusion
from deeptrace.bench.score.dataset import dataset_of
from deeptrace.bench.score.grades import GradeBook
from deeptrace.bench.score.result import Difference, Scores
from deeptrace.bench.score.runs import read_runs, settings_of
from deeptrace.bench.score.score import score
from deeptrace.bench.score.tables import markdown, tables, terminal_tables
from deeptrace.bench.score.totals import PAPER_KEYS
from deeptrace.errors import RecordError
from deeptrace.files import dumps, write_jsonl, write_text
from deeptrace.measures.calibration import Calibration
from deeptrace.records import Annotation, Failed, Origin, Outcome, Trace, Unparsed, Verdict

from .world import JSON_FORMAT, LEFT, RIGHT, answers, dataset, fake, origin, real, records, write

pytest.importorskip("sklearn")


def scores(*paths: Path, grades: GradeBook | None = None, split: str = "test", **options: object) -> Scores:
    of = dataset_of(records(), split)
    blind, note = blind_rows(of, records(), grades=grades)
    runs = read_runs(paths, of, grades=grades)
    return score(runs, of, blind, blind_note=note, **({"replicates": 100, "permutations": 50} | options))  # type: ignore[arg-type]


def perfect(model: str = "perfect") -> list[Outcome]:
    said = []
    for record in records():
        if record.split == "test" and record.label in ("fake", "real"):
            about = origin(record.video_id, model, JSON_FORMAT)
            p = 0.9 if record.label == "fake" else 0.1
            said.append(Verdict(record.label, p_fake=p, traces=record.traces, origin=about))  # type: ignore[arg-type]
    return list(said)


def test_the_truth_itself_is_perfect(tmp_path: Path) -> None:
    (run,) = scores(write(tmp_path, "p.jsonl", perfect())).runs
    for key in ("accuracy", "fake_accuracy", "real_accuracy"):
        assert run.paper[key].value == 1
    # Two rows of one video are scored against the first trace: the paper's protocol has no perfect score here.
    assert run.paper["bbox_iou"].value == pytest.approx(2 / 3)
    for key in ("viou_f1", "category_f1", "tiou", "auroc", "fair_overall_without_judge"):
        assert run.fair[key].value == pytest.approx(1), key
    assert run.fair["tpr_at_1_fpr"].value is None  # two reals cannot tell
    assert run.fair["tpr_at_1_fpr"].reason == "needs 331 independent real videos; there are 2"
    assert run.fair["onset_error"].value == 0
    assert run.fair_fields == ("box", "category", "explanation")
    assert run.fair["fair_overall"].value is None  # nobody judged


def test_json_has_the_papers_keys_and_scale(tmp_path: Path) -> None:
    found = scores(write(tmp_path, "v.jsonl", answers())).to_json()
    assert found["paper"]["unit"] == "0-100"
    assert found["paper"]["accuracy"] == pytest.approx(60)
    assert found["paper"]["bbox_iou"] == pytest.approx(100 / 3)
    assert set(PAPER_KEYS) | {"model", "kind", "unit"} <= set(found["paper"])
    assert (found["fair"]["name"], found["fair"]["version"]) == ("deeptrace-fair", 2)
    assert all(value is None or 0 <= value <= 1 for key, value in found["fair"].items()
               if key.endswith(("f1", "accuracy", "overall", "recall", "precision")))  # fmt: skip
    assert found["runs"][0]["paper"] == found["paper"]
    assert found["conclusion"]
    low, high = found["fair"]["intervals"]["balanced_accuracy"]
    assert 0 <= low < found["fair"]["balanced_accuracy"] < high <= 1
    assert found["published"]["same_videos"] is False
    assert len(found["published"]["rows"]) == 21
    assert [row["name"] for row in found["blind"]] == ["blind", "always FAKE", "always REAL", "whole frame"]
    dumps(found)


def test_every_number_has_its_denominator(tmp_path: Path) -> None:
    (run,) = scores(write(tmp_path, "v.jsonl", answers())).runs
    assert run.n["paper"] | {} == {
        "overall": 5, "accuracy": 5, "fake_accuracy": 3, "real_accuracy": 2, "explanation": 0, "bbox_iou": 3,
        "bbox_distance": 3, "time_distance": 3, "overall_without_judge": 5,
    }  # fmt: skip
    assert set(run.n["fair"]) == set(run.fair)
    assert set(run.n["paper"]) == set(run.paper)
    assert run.n["fair"]["viou_f1"] == 3  # two fakes, and a real of which a trace is claimed
    assert run.n["fair"]["viou_f1_if_fake"] == 1
    assert run.counts["unparsed"] == run.counts["unparsed_fake"] == 1
    assert (run.counts["videos"], run.counts["annotation_rows"]) == (4, 3)
    assert (run.counts["explained_rows"], run.counts["graded_rows"], run.counts["ungraded_rows"]) == (2, 0, 2)


def test_what_failed_or_is_missing_makes_a_run_incomplete_and_counts_as_the_worst(tmp_path: Path) -> None:
    said = answers()
    whole = scores(write(tmp_path, "v.jsonl", said)).runs[0]
    failed = [*said[:3], Failed("RATE_LIMITED", "later", origin("r2"))]
    for name, rows in (("failed", failed), ("missing", said[:3])):
        found = scores(write(tmp_path, f"{name}.jsonl", rows))
        run = found.runs[0]
        assert not whole.run.incomplete
        assert run.run.incomplete
        assert run.counts[name] == 1
        assert run.paper["real_accuracy"].value == 0.5
        assert any("Incomplete" in note for table in tables(found) for note in table.notes)


def test_grades_of_a_judge(tmp_path: Path) -> None:
    lines = [
        {"video_id": "f1", "row": 0, "grade": 1, "model": "m", "judge": "one", "prompt_hash": "x"},
        {"video_id": "f1", "row": 1, "grade": None, "model": "m", "judge": "one"},
        {"video_id": "f1", "row": 0, "grade": 0.5, "model": "m", "judge": "two"},
    ]
    write_jsonl(tmp_path / "grades.jsonl", lines)
    book = GradeBook.from_file(tmp_path / "grades.jsonl")
    found = scores(write(tmp_path, "v.jsonl", answers()), grades=book)
    (run,) = found.runs
    assert run.paper["explanation"].value == 1
    assert run.n["paper"]["explanation"] == 1
    assert run.counts["ungraded_rows"] == 1
    expected = (0.6 + 1 + 1 / 3 + 1 - 0.4) / 4
    assert run.paper["overall"].value == pytest.approx(expected, abs=1e-6)
    assert found.variance["m"]["judges"]["paper.explanation"].sd == pytest.approx(0.5 / 2**0.5)
    assert found.blind[0].paper["overall"].value is None  # nobody graded the blind row's constant explanation


def test_a_grade_of_another_explanation_is_none(tmp_path: Path) -> None:
    """The model said something else when the judge looked: its grade says nothing of what it says now."""
    for candidate, grade in (("it melts", 1.0), ("it flies", None)):
        asked = prompt_sha256(judge_messages("the kettle melts", candidate))
        line = {"video_id": "f1", "row": 0, "grade": 1, "model": "m", "judge": "one", "prompt_sha256": asked}
        write_jsonl(tmp_path / "grades.jsonl", [line])
        book = GradeBook.from_file(tmp_path / "grades.jsonl")
        (run,) = scores(write(tmp_path, "v.jsonl", answers()), grades=book).runs
        assert run.paper["explanation"].value == grade
        assert run.counts["stale_grades"] == (0 if grade else 1)


@pytest.mark.parametrize(
    "line",
    [[], {"row": 0, "grade": 1}, {"video_id": "f1", "row": -1, "grade": 1}, {"video_id": "f1", "row": 0},
     {"video_id": "f1", "row": 0, "grade": 2}, {"video_id": "f1", "row": True, "grade": 1}],
)  # fmt: skip
def test_what_is_no_grade_is_refused(tmp_path: Path, line: object) -> None:
    write_text(tmp_path / "g.jsonl", dumps(line) + "\n")
    with pytest.raises(RecordError, match=r"g\.jsonl line 1"):
        GradeBook.from_file(tmp_path / "g.jsonl")


def test_the_same_scores_in_any_order_and_in_pieces(tmp_path: Path) -> None:
    said = answers()
    once = dumps(scores(write(tmp_path, "v.jsonl", said)).to_json())
    random.Random(1).shuffle(said)
    assert dumps(scores(write(tmp_path, "v.jsonl", said)).to_json()) == once


def test_skill_is_what_a_row_has_over_the_blind_one(tmp_path: Path) -> None:
    found = scores(write(tmp_path, "p.jsonl", perfect()))
    (run,) = found.runs
    blind = found.blind[0]
    skill = run.skill["paper"]["bbox_iou"]
    assert blind.paper["bbox_iou"].value is not None
    assert run.paper["bbox_iou"].value is not None
    assert skill.value == pytest.approx(run.paper["bbox_iou"].value - blind.paper["bbox_iou"].value)
    distance = run.skill["paper"]["time_distance"]  # turned: nearer is better
    assert distance.value == pytest.approx(blind.paper["time_distance"].value - run.paper["time_distance"].value)  # type: ignore[operator]
    assert run.skill["fair"]["fair_overall_without_judge"].value is not None
    assert run.skill["paper"]["accuracy"].p is not None
    assert not any(row.skill for row in found.blind)


def test_fair_overall_is_compared_among_rows_of_equal_fields_only(tmp_path: Path) -> None:
    paths = write(tmp_path, "p.jsonl", perfect()), write(tmp_path, "v.jsonl", answers())
    found = scores(*paths)
    (comparison,) = found.comparisons
    assert (comparison.name, comparison.against) == ("m", "perfect")
    assert comparison.differences["fair"]["fair_overall_without_judge"].value is None
    assert comparison.differences["paper"]["accuracy"].value == pytest.approx(-0.4)
    # The blind row answers everything, so that it is compared on what each row was asked for.
    assert found.runs[1].skill["fair"]["fair_overall_without_judge"].value is not None
    assert scores(*paths, against="m").comparisons[0].name == "perfect"
    with pytest.raises(RecordError, match="'nobody' is not one of perfect, m"):
        scores(*paths, against="nobody")


def test_runs_that_differ_in_their_seed_show_how_far_seeds_lie_apart(tmp_path: Path) -> None:
    other = answers()
    other[2] = Verdict("fake", origin=origin("r1"))
    for name, said, seed in (("a", answers(), 0), ("b", other, 1)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "verdicts.jsonl", said)
        write_text(tmp_path / name / "run.json", dumps({"settings": {"seed": seed, "view": "in-order"}}))
    found = scores(tmp_path / "a", tmp_path / "b")
    assert [run.name for run in found.runs] == ["m, a", "m, b"]
    assert found.variance["m"]["seeds"]["paper.real_accuracy"].sd == pytest.approx(0.5 / 2**0.5)
    write_text(tmp_path / "b" / "run.json", dumps({"settings": {"seed": 1, "view": "shuffled"}}))
    assert not scores(tmp_path / "a", tmp_path / "b").variance  # not the same run but for the seed


def test_near_duplicates_are_drawn_together(tmp_path: Path) -> None:
    path = write(tmp_path, "v.jsonl", answers())
    assert scores(path).clusters == 4
    found = scores(path, clusters={"f1": 0, "f2": 0, "r1": 1})
    assert found.clusters == 3


def test_groups(tmp_path: Path) -> None:
    (run,) = scores(write(tmp_path, "p.jsonl", perfect())).runs
    assert {name: part.videos for name, part in run.groups["generator"].items()} == {"Pika 1.5": 1, "Sora": 1}
    assert {name: part.videos for name, part in run.groups["real_source"].items()} == {"camera": 2}
    assert {name: part.videos for name, part in run.groups["category"].items()} == {
        "Redundant Object": 1,
        "Object Merging": 2,
    }
    assert list(run.groups["length"]) == ["10 and more s"]
    assert list(run.groups["trace_size"]) == ["0.3 and more of the frame"]
    assert run.groups["generator"]["Sora"].metrics["fair"]["viou_f1"].value == pytest.approx(1)


def test_false_alarms_on_sham_and_on_untouched_clips(tmp_path: Path) -> None:
    """Of three shams one is called fake and one cannot be read; of two untouched clips none is called fake."""
    edits = {"s1": True, "s2": True, "s3": True, "c1": False, "c2": False}
    known = [
        replace(real(name), annotations=(Annotation((), "real", extra={"sham": is_sham}),))
        for name, is_sham in edits.items()
    ]
    of = dataset_of([*known, real("elsewhere"), fake("f", Trace(LEFT, 1.0, 2.0))], "test")
    said: list[Outcome] = [Verdict("real", origin=origin(name)) for name in ("s3", "c1", "c2", "elsewhere", "f")]
    said += [Verdict("fake", traces=(Trace(LEFT, 0.0),), origin=origin("s1")), Unparsed("?", "?", origin("s2"))]
    found = score(read_runs([write(tmp_path, "v.jsonl", said)], of), of, replicates=0, permutations=0)
    groups = found.runs[0].groups["edit"]
    assert {name: part.videos for name, part in groups.items()} == {"sham": 3, "untouched": 2, "unknown": 1}
    alarms = {name: part.metrics["fair"]["false_alarms"].value for name, part in groups.items()}
    assert alarms == {"sham": pytest.approx(1 / 3), "untouched": 0.0, "unknown": 0.0}
    assert groups["sham"].metrics["fair"]["real_accuracy"].value == pytest.approx(1 / 3)
    (table,) = (table for table in tables(found) if table.title.startswith("Real clips"))
    assert table.heads == ("model", "group", "videos", "Real acc.", "False alarms ↓")
    assert [row[1:] for row in table.rows][:2] == [("sham", "3", "33.3", "33.3"), ("untouched", "2", "100.0", "0.0")]


def test_without_the_word_sham_there_is_no_such_table(tmp_path: Path) -> None:
    found = scores(write(tmp_path, "p.jsonl", perfect()))
    assert found.runs[0].groups["edit"] == {}
    assert not any(table.title.startswith("Real clips") for table in tables(found))


def test_length_groups_are_in_their_order() -> None:
    of = dataset_of([fake("a", Trace(LEFT), seconds=12), real("b", seconds=5), real("c", seconds=4.9)], "test")
    blind, _ = blind_rows(of, records())
    run = score([], of, blind, replicates=0, permutations=0).blind[0]
    assert list(run.groups["length"]) == ["0 to 5 s", "5 to 10 s", "10 and more s"]


def test_a_calibration_is_of_one_model_and_track(tmp_path: Path) -> None:
    path = write(tmp_path, "p.jsonl", perfect())
    flat = Calibration("perfect", None, "val", "original", 0.5, 0.0, 10)
    (run,) = read_runs([path], dataset(), calibration=flat)
    assert run.p[0] == pytest.approx(flat(0.9))
    assert run.calibrations[flat.name] == 4
    with pytest.raises(RecordError, match="is of the model 'other'"):
        read_runs([path], dataset(), calibration=Calibration("other", None, "val", "original", 1.0, 0.0, 10))
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder, "verdicts.jsonl", perfect())
    write_text(folder / "run.json", dumps({"settings": {"track": "platform"}}))
    with pytest.raises(RecordError, match="fitted on the track 'original', these answers are 'platform'"):
        read_runs([folder], dataset(), calibration=flat)


def test_without_train_there_is_no_blind_row_and_the_table_says_so(tmp_path: Path) -> None:
    of = dataset()
    blind, note = blind_rows(of, of.records)
    assert [run.name for run in blind] == ["always FAKE", "always REAL", "whole frame"]
    found = score(read_runs([write(tmp_path, "v.jsonl", answers())], of), of, blind, blind_note=note, replicates=9)
    assert sum("There is no blind row" in sentence for sentence in conclusion(found)) == 1
    assert found.runs[0].skill == {}


def test_scoring_train_says_that_the_blind_row_has_seen_it(tmp_path: Path) -> None:
    said = [*answers(), Verdict("fake", origin=origin("t1"))]
    found = scores(write(tmp_path, "v.jsonl", said), split="all")
    assert found.blind_note == "The blind row learned from 4 of the videos that are scored here."
    with pytest.raises(RecordError, match=r"no record is in 'val'\. Splits here: test, train"):
        dataset_of(records(), "val")


def test_names_from_files_open_no_cell(tmp_path: Path) -> None:
    model = "a|b<script>\n# x"
    said: list[Outcome] = [Verdict("fake", traces=(Trace(RIGHT),), origin=Origin("f1", model=model))]
    text = markdown(tables(scores(write(tmp_path, "v.jsonl", said))))
    assert "a\\|b&lt;script&gt; # x (incomplete)" in text
    widths = {line.count("|") - line.count("\\|") for line in text.split("\n## ")[0].splitlines() if line[:1] == "|"}
    assert len(widths) == 1


def test_ablations_show_only_what_each_was_asked_for(tmp_path: Path) -> None:
    about = {"format": "trained-no-time", "format_version": 1}
    short: list[Outcome] = [Verdict("fake", traces=(Trace(LEFT),), origin=origin("f1", "short", about))]
    paths = write(tmp_path, "v.jsonl", answers()), write(tmp_path, "s.jsonl", short)
    (table,) = (table for table in tables(scores(*paths)) if table.title.startswith("What was asked for"))
    full, without = (dict(zip(table.heads, row, strict=True)) for row in table.rows)
    assert (full["asked for"], without["asked for"]) == ("box onset explanation", "box explanation")
    assert full["Time dist. ↓"] is not None
    assert without["Time dist. ↓"] is None
    assert without["IoU"] is not None
    assert not any(table.title.startswith("What was") for table in tables(scores(paths[0])))


def test_a_model_that_never_says_fake_stays_in_the_table_beside_the_constant_row(tmp_path: Path) -> None:
    """It declares what it is able to say; one that declares nothing is taken as able to say everything."""
    for model in ("motion", "somebody"):
        said: list[Outcome] = [Verdict("real", origin=Origin(name, model=model)) for name in ("f1", "f2", "r1", "r2")]
        found = scores(write(tmp_path, "v.jsonl", said))
        (run,) = found.runs
        constant = next(row for row in found.blind if row.name == "always REAL")
        for key in ("fair_overall", "viou_f1", "category_f1"):
            assert run.fair[key].value == constant.fair[key].value == 0, key
        assert run.fair_fields == constant.fair_fields
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", "verdicts.jsonl", said)
    write_text(tmp_path / "run" / "run.json", dumps({"settings": {"fields": ["box", "onset"]}}))
    (run,) = scores(tmp_path / "run").runs
    assert (run.fair_fields, run.fair["viou_f1"].value, run.fair["category_f1"].value) == (("box",), 0, None)


def test_rows_of_unequal_fields_are_not_ranked_among_each_other(tmp_path: Path) -> None:
    """A row that was not asked for onsets stands behind those that were, whatever the paper's Overall gives it."""
    about = {"format": "trained-no-time", "format_version": 1}
    short: list[Outcome] = [Verdict(o.label, traces=o.traces, origin=origin(str(o.origin.video_id), "short", about))  # type: ignore[union-attr]
                            for o in perfect()]  # fmt: skip
    silent: list[Outcome] = [Verdict("real", origin=origin(o.origin.video_id or "", "silent")) for o in perfect()]
    found = scores(write(tmp_path, "s.jsonl", short), write(tmp_path, "r.jsonl", silent))
    paper = next(table for table in tables(found) if table.title.startswith("The paper's"))
    assert [row[0] for row in paper.rows[:2]] == ["silent", "short"]
    assert [dict(zip(paper.heads, row, strict=True))["asked for"] for row in paper.rows[:2]] == [
        "box onset explanation",
        "box explanation",
    ]


def test_the_conclusion_says_who_is_ahead_and_with_what_doubt(tmp_path: Path) -> None:
    truth, blind_like = perfect(), [Verdict("real", origin=origin(o.origin.video_id or "", "poor")) for o in perfect()]
    found = scores(write(tmp_path, "p.jsonl", truth), write(tmp_path, "q.jsonl", blind_like), permutations=200)
    first, second, pair, *rest = conclusion(found)
    assert first.startswith("perfect ")
    assert "blind" in first
    assert "100.0 of 100 in the fair overall of box and category" in first
    assert "p " in first
    assert second.startswith("poor ")
    assert pair == "poor and perfect have no overall of the same fields: they do not compare."
    assert len({*rest}) == len(rest)
    assert "header of the files alone tells fake from real in 100 %" in " ".join(rest)


def test_four_videos_tell_no_two_runs_apart(tmp_path: Path) -> None:
    """Every draw of so few says the same, so that their interval is narrow; the test has too few coins to agree."""
    wrong: list[Outcome] = [
        Verdict(
            "real" if record.label == "fake" else "fake",
            traces=() if record.label == "fake" else (Trace(LEFT),),
            origin=origin(record.video_id, "wrong", JSON_FORMAT),
        )
        for record in records()
        if record.split == "test" and record.label != "unsure"
    ]
    found = scores(write(tmp_path, "p.jsonl", perfect()), write(tmp_path, "w.jsonl", wrong), permutations=200)
    apart = found.comparisons[0].differences["fair"]["fair_overall_without_judge"]
    assert apart.value is not None
    assert apart.high is not None
    assert apart.high < 0
    assert apart.p_holm is not None
    assert apart.p_holm > 0.05
    ahead = Difference(0.2, 0.1, 0.3, None, None, None)
    assert _place(ahead, "x").startswith("is ahead of x")
    assert _place(replace(ahead, p_holm=0.01), "x").startswith("is ahead of x")
    assert _place(replace(ahead, p_holm=0.2), "x").startswith("is not told apart from x")
    assert not any("ahead of" in sentence or "behind" in sentence for sentence in conclusion(found))


def test_each_note_is_said_once(tmp_path: Path) -> None:
    found = scores(write(tmp_path, "v.jsonl", answers()[:3]))
    for shown in (tables(found), terminal_tables(found)):
        notes = [note for table in shown for note in table.notes]
        assert len(notes) == len(set(notes))


def test_whole_frames_are_counted(tmp_path: Path) -> None:
    whole = Trace((0.0, 0.0, 1.0, 0.96), 1.0)
    said: list[Outcome] = [Verdict("fake", traces=(trace,), origin=origin(name)) for name, trace in
                           (("f1", whole), ("f2", Trace(LEFT)), ("r1", whole), ("r2", Trace(RIGHT)))]  # fmt: skip
    found = scores(write(tmp_path, "v.jsonl", said))
    assert found.runs[0].fair["whole_frame_share"].value == 0.5
    assert "50 % of the boxes of m are the whole frame." in conclusion(found)
    short = tables(found)[0]
    (row,) = (row for row in short.rows if row[0] == "m")
    assert dict(zip(short.heads, row, strict=True))["Whole frame ↓"] == "50.0"


def test_a_run_file_that_says_something_else_is_refused_by_key(tmp_path: Path) -> None:
    write_text(tmp_path / "run.json", dumps({"settings": {"seed": "7", "view": 3}}))
    with pytest.raises(RecordError, match=rf"{tmp_path.name}/run\.json\.settings\.view: 3 is not text; .*seed: '7'"):
        settings_of(tmp_path)
