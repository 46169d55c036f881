"""What is done to videos before a model sees them: truth carried along, one run a rung, and what the command says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deeptrace.bench.run.platform import KEPT, LADDER, SPEED, _draw, carry, climb
from deeptrace.bench.run.tracks import run_track, select
from deeptrace.bench.run.views import keep_middle, shuffle
from deeptrace.cli import cli
from deeptrace.data import Records, load_records, write_records
from deeptrace.errors import FileError, RecordError
from deeptrace.models import load
from deeptrace.records import Annotation, Frames, Record, Trace
from deeptrace.video import probe, sample_frames, write_video

HW = (120, 160)
BOX = (0.4, 0.4, 0.6, 0.6)


def _frames(square: bool) -> Frames:
    """Grey with, for a fake, a white square in the middle from 0.5 s on."""
    images = np.full((16, *HW, 3), 90, np.uint8)
    if square:
        y0, y1, x0, x1 = (round(v * s) for v, s in zip((0.4, 0.6, 0.4, 0.6), (*HW[:1] * 2, *HW[1:] * 2), strict=True))
        images[4:, y0:y1, x0:x1] = 255
    return Frames.from_array(images, 8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Records:
    root = tmp_path_factory.mktemp("data")
    (root / "videos").mkdir()
    records = []
    for i in range(4):
        fake = i % 2 == 0
        write_video(root / f"videos/clip{i}.mp4", _frames(fake), 8)
        trace = Trace(BOX, 0.5, 2.0, explanation="A square appears.")
        annotations = (Annotation((trace,), "fake"),) if fake else ()
        label = "fake" if fake else "real"
        records.append(Record(f"id {i}", f"videos/clip{i}.mp4", label, split="test", annotations=annotations))
    records.append(Record("broken", "videos/broken.mp4", "real", split="test"))
    (root / "videos/broken.mp4").write_bytes(b"not a video")
    write_records(root / "records.jsonl", records)
    return load_records(root)


def _white_box(path: Path) -> tuple[float, float, float, float]:
    """Where the square is, in fractions, from the pixels."""
    image = sample_frames(path, fps=1000.0).images[-1].astype(int)
    height, width = image.shape[:2]
    # Only a large block counts: a logo is white too.
    ys, xs = np.nonzero((image[..., 0] > 220) & (np.roll(image[..., 0], 10, 0) > 200) | (image[..., 0] > 235))
    return (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)


@pytest.mark.parametrize("name", ["480p", "twice", "crop", "border", "speed"])
def test_a_rung_carries_box_and_times_to_where_they_are_seen(dataset: Records, tmp_path: Path, name: str) -> None:
    climbed = climb(dataset, dataset.root, tmp_path / name, LADDER[name], seed=3)
    record = climbed.records[0]
    [trace] = record.traces
    assert trace.bbox_xyxy is not None
    assert record.path is not None
    seen = _white_box(tmp_path / name / record.path)
    np.testing.assert_allclose(trace.bbox_xyxy, seen, atol=0.03)
    faster = SPEED if name == "speed" else 1.0
    assert trace.onset_seconds == pytest.approx(0.5 / faster)
    assert probe(tmp_path / name / record.path).duration_seconds == pytest.approx(2.0 / faster, abs=0.05)
    assert [r.video_id for r in climbed.records] == [r.video_id for r in dataset]


def test_a_logo_changes_a_corner_and_nothing_else(dataset: Records, tmp_path: Path) -> None:
    climbed = climb(dataset, dataset.root, tmp_path / "logo", LADDER["logo"], seed=1)
    [before, after] = (
        sample_frames(path, fps=1.0).images[0].astype(int)
        for path in (dataset.root / "videos/clip1.mp4", tmp_path / "logo" / str(climbed.records[1].path))
    )
    changed = np.argwhere(np.abs(after - before).max(axis=2) > 30)
    assert len(changed) > 20
    assert np.ptp(changed[:, 0]) < HW[0] / 4
    assert np.ptp(changed[:, 1]) < HW[1] / 3


def test_what_cannot_be_read_stays_in_the_count(dataset: Records, tmp_path: Path) -> None:
    climbed = climb(dataset, dataset.root, tmp_path / "crop", LADDER["crop"])
    assert [who for who, _ in climbed.unreadable] == ["broken"]
    assert climbed.records[-1].path is None
    again = climb(dataset, dataset.root, tmp_path / "crop", LADDER["crop"])
    assert again == climbed


def test_the_source_is_never_written_over(dataset: Records) -> None:
    with pytest.raises(FileError):
        climb(dataset, dataset.root, dataset.root, LADDER["crop"])


def test_places_depend_on_seed_and_id_alone() -> None:
    assert _draw("a", 0) == _draw("a", 0)
    assert len({_draw("a", 0), _draw("a", 1), _draw("b", 0)}) == 3


def test_a_trace_outside_of_the_crop_is_dropped() -> None:
    corner = Trace((0.0, 0.0, 0.01, 0.01), 0.0)
    assert carry(corner, "crop", (0.99, 0.99)) is None
    assert carry(corner, "border", (0.5, 0.5)) == Trace(
        ((1 - KEPT) / 2, (1 - KEPT) / 2, (1 - KEPT) / 2 + 0.01 * KEPT, (1 - KEPT) / 2 + 0.01 * KEPT), 0.0
    )


def test_shuffled_frames_are_the_same_pictures_at_the_same_times() -> None:
    frames = Frames.from_array(np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(3, 3) * 20, 4)
    mixed = shuffle(frames, "v", 0)
    assert sorted(mixed.images[:, 0, 0, 0]) == sorted(frames.images[:, 0, 0, 0])
    assert list(mixed.images[:, 0, 0, 0]) != list(frames.images[:, 0, 0, 0])
    np.testing.assert_array_equal(mixed.pts_seconds, frames.pts_seconds)
    np.testing.assert_array_equal(mixed.images, shuffle(frames, "v", 0).images)
    alone = keep_middle(frames)
    assert (len(alone), alone.pts_seconds[0], alone.duration_seconds) == (1, 0.0, 3.0)


@pytest.mark.parametrize("view", ["shuffled", "single"])
def test_a_model_looks_at_rearranged_frames(dataset: Records, tmp_path: Path, view: str) -> None:
    [variant] = run_track(load("motion"), dataset, tmp_path / "run", "original", split="test", view=view)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (tmp_path / "run" / "verdicts.jsonl").read_text().splitlines()]
    assert {row["video_id"]: row["code"] for row in rows if row["code"]} == {"broken": "NOT_A_VIDEO"}
    good = [row for row in rows if row["status"] == "verdict"]
    assert len(good) == 4
    assert all(row["path"].startswith("videos/") for row in good)
    assert {len(row["sha256"]) for row in good} == {64}
    assert not variant.run.complete


def test_the_platform_track_runs_each_rung_against_its_own_truth(dataset: Records, tmp_path: Path) -> None:
    variants = run_track(load("motion"), dataset, tmp_path / "run", "platform", split="test")
    assert [variant.name for variant in variants] == ["original", *LADDER]
    for variant in variants:
        assert (tmp_path / "run" / variant.name / "verdicts.jsonl").exists()
        assert variant.run.to_json()["videos"] == 5
    crop = load_records(tmp_path / "run" / "crop" / "data")
    assert crop[0].traces[0].bbox_xyxy != BOX


def test_the_normalised_track_shows_all_videos_in_one_form(dataset: Records, tmp_path: Path) -> None:
    [variant] = run_track(load("motion"), dataset, tmp_path / "run", "normalised", split="test", short_side=72)
    assert {(r.info.width, r.info.height, r.info.fps) for r in variant.records if r.info} == {(128, 72, 8.0)}
    assert variant.notes == {"left out: unreadable: NOT_A_VIDEO": 1}
    assert variant.run.complete
    assert len(variant.run.outcomes) == 4
    assert variant.records[0].traces


def test_a_split_that_is_not_there_is_an_error(dataset: Records) -> None:
    with pytest.raises(RecordError, match="Splits here: test"):
        select(dataset, "val")
    assert len(select(dataset, "all", limit=2)) == 2


def test_the_command_runs_scripted_answers_by_the_records_ids(dataset: Records, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        "".join(json.dumps({"video_id": f"id {i}", "text": text}) + "\n"
                for i, text in enumerate(["FAKE. The video is AI-generated.", "REAL. The video is real.", "hm"]))
    )  # fmt: skip
    command = ["bench", "run", str(dataset.root), "--model", f"scripted:{answers}", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, [*command, "--json"], standalone_mode=False)
    summary = json.loads(done.stdout)["runs"][0]
    assert (summary["verdict"], summary["unparsed"], summary["failed"]) == (2, 1, 2)
    assert summary["codes"] == {"NOT_A_VIDEO": 1, "NO_ANSWER": 1}
    assert done.return_value == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["split"] == "test"


def test_a_cap_without_prices_is_wrong_usage(dataset: Records) -> None:
    done = CliRunner().invoke(cli, ["bench", "run", str(dataset.root), "--model", "motion", "--max-cost", "1"])
    assert done.exit_code == 2
    assert "--prices" in done.output
