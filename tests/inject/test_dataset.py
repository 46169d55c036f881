"""`deeptrace inject`: the dataset it writes, resuming, bad inputs, and that nothing depends on the run."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from deeptrace.categories import CATEGORIES
from deeptrace.cli import cli
from deeptrace.data import load_records
from deeptrace.inject import render_scene
from deeptrace.inject.plan import plan_pair, split_of
from deeptrace.video import sample_frames, write_video


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["inject", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout, result.stderr


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("footage") / "clip.mp4"
    write_video(path, render_scene(4, size_hw=(90, 160), seconds=2.5).frames, 8.0)
    return path


@pytest.fixture(scope="module")
def dataset(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs from a clip, two from scenes."""
    target = tmp_path_factory.mktemp("data") / "set"
    code, out, _ = run(clip, target, "--n", 2, "--scenes", 2, "--small", "--json")
    assert code == 0
    assert json.loads(out)["pairs"] == 4
    return target


def test_the_dataset_loads_and_both_twins_are_coded_alike(dataset: Path) -> None:
    records = load_records(dataset)
    assert not records.problems
    by_id = {record.video_id: record for record in records}
    assert len(by_id) == 8
    for record in records:
        if record.label != "fake":
            continue
        [annotation] = record.annotations
        [trace] = annotation.traces
        assert trace.bbox_xyxy is not None
        assert trace.categories == (annotation.extra["inject_category"],)
        assert trace.track is not None
        assert trace.track[0].bbox_xyxy == pytest.approx(trace.bbox_xyxy, abs=2 / 90)  # whole pixels of a small frame
        twin = by_id[annotation.extra["inject_twin"]]
        assert twin.label == "real"
        assert twin.split == record.split
        assert twin.info == record.info
        fake, real = (sample_frames(dataset / one.path, fps=8.0) for one in (record, twin))
        assert fake.images.shape == real.images.shape
        onset = trace.onset_seconds or 0.0
        after = fake.pts_seconds >= onset
        difference = np.abs(fake.images.astype(np.int16) - real.images).mean((1, 2, 3))
        assert difference[after].max() > 2 * difference[~after].max(initial=0.0)


def test_the_card_says_what_is_not_known_and_the_sheet_is_there(dataset: Path) -> None:
    words = (dataset / "README.md").read_text()
    assert "not calibrated on people" in words
    assert "clip.mp4" in words
    assert "not stated" in words
    assert (dataset / "sheet.jpg").stat().st_size > 1000
    assert len(list((dataset / "look").glob("*.mp4"))) == 4


def test_what_a_sham_was_made_from_is_kept_for_people_and_is_no_record(dataset: Path) -> None:
    by_id = {record.video_id: record for record in load_records(dataset)}
    kept = {
        name: record.annotations[0].extra["inject_original"]
        for name, record in by_id.items()
        if record.label == "fake" and "inject_original" in record.annotations[0].extra
    }
    shams = {plan.pair_id for plan in (plan_pair(0, number) for number in range(4)) if plan.sham}
    assert kept == {name: f"originals/{name}.mp4" for name in shams}
    assert shams
    assert sorted(path.stem for path in (dataset / "originals").iterdir()) == sorted(shams)
    for name in shams:
        paths = (kept[name], by_id[name].path, by_id[f"{name}_real"].path)
        original, fake, sham = (sample_frames(dataset / str(path), fps=8.0).images.astype(np.int16) for path in paths)
        assert original.shape == fake.shape
        assert np.abs(original - sham).mean() < np.abs(original - fake).mean()


def test_originals_of_all_shams_are_kept_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("deeptrace.cli.inject"), "_LOOK", 0)  # none is among the first ones
    assert plan_pair(0, 0).sham
    assert run(tmp_path / "plain", "--scenes", 1, "--small")[0] == 0
    assert not (tmp_path / "plain/originals").exists()
    assert run(tmp_path / "all", "--scenes", 1, "--small", "--originals")[0] == 0
    assert [path.name for path in (tmp_path / "all/originals").iterdir()] == ["inj000000.mp4"]
    with pytest.raises(Exception, match="other settings"):  # half of the pairs would have theirs
        run(tmp_path / "all", "--scenes", 1, "--small")


def test_a_run_that_was_cut_off_goes_on_to_the_same_dataset(clip: Path, dataset: Path, tmp_path: Path) -> None:
    lines = (dataset / "journal.jsonl").read_text().splitlines(keepends=True)
    target = tmp_path / "set"
    target.mkdir()
    # As a kill leaves it: two pairs done, half a row behind them.
    (target / "journal.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    code, _, _ = run(clip, target, "--n", 2, "--scenes", 2, "--small")
    assert code == 0
    assert (target / "all_data.json").read_text() == (dataset / "all_data.json").read_text()
    for kind in ("videos", "real_videos"):
        names = sorted(path.name for path in (target / kind).iterdir())
        assert len(names) == 2  # those that were done are not made again
        for name in names:
            assert (target / kind / name).read_bytes() == (dataset / kind / name).read_bytes(), name


def test_one_bad_input_costs_one_clip(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    code, out, err = run(clip, broken, tmp_path / "set", "--small", "--json")
    assert code == 1
    assert json.loads(out)["failed"] == {"NOT_A_VIDEO": 1}
    assert json.loads(out)["pairs"] == 1
    assert "broken.mp4" in err


def test_other_settings_in_the_same_folder_are_refused(dataset: Path, clip: Path) -> None:
    with pytest.raises(Exception, match="other settings"):
        run(clip, dataset, "--n", 2, "--scenes", 2, "--small", "--seed", 1)


def test_pictures_of_the_user_are_used_and_those_that_cannot_be_are_passed_over(tmp_path: Path) -> None:
    cutouts = tmp_path / "cutouts"
    cutouts.mkdir()
    picture = np.zeros((40, 30, 4), np.uint8)
    picture[5:35, 5:25] = (30, 60, 220, 255)
    for k in range(3):
        cv2.imwrite(str(cutouts / f"thing{k}.png"), picture)
    cv2.imwrite(str(cutouts / "opaque.png"), picture[..., :3])
    code, _, _ = run(tmp_path / "set", "--scenes", 2, "--small", "--cutouts", cutouts)
    assert code == 0
    rows = json.loads((tmp_path / "set/all_data.json").read_text())
    used = {name for row in rows for name in row["inject_footage"]["cutouts"]}
    assert used
    assert used <= {"thing0.png", "thing1.png", "thing2.png"}


def test_plans_follow_the_two_priors() -> None:
    plans = [plan_pair(0, number) for number in range(2000)]
    paper = [plan for plan in plans if plan.prior == "paper"]
    uniform = [plan for plan in plans if plan.prior == "uniform"]
    assert 0.45 < len(paper) / len(plans) < 0.55
    assert 0.45 < np.mean([plan.sham for plan in plans]) < 0.55
    first = [plan.categories[0] for plan in paper]
    assert first.count("Object Distortion") > 4 * first.count("Unexpected Move")
    for category in CATEGORIES:
        assert 0.06 < [plan.categories[0] for plan in uniform].count(category) / len(uniform) < 0.17
    assert np.median([plan.onset_share for plan in paper]) < 0.15
    assert plan_pair(3, 7) == plan_pair(3, 7)
    assert split_of("a.mp4") in ("train", "val", "test")
