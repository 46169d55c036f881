"""Filters drop what they should and say why; matched lengths are distributed as the fakes' are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from deeptrace import video
from deeptrace.data.build.filters import filter_length, filter_motion, filter_quality, write_filter_log
from deeptrace.data.build.filters.measure import Measures, Meter, measure
from deeptrace.errors import RecordError
from deeptrace.journal import Journal
from deeptrace.records import Frames, Record, RecordLabel, VideoInfo

HW = (120, 160)


def texture(seed: int = 0, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(30, 225, (24, 32, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def moving(speed_px: float, count: int = 16) -> np.ndarray:
    """A texture that pans by ``speed_px`` a frame."""
    at = [round(k * speed_px) for k in range(count)]
    return np.stack([texture()[: HW[0], x : x + HW[1]] for x in at])


def save(root: Path, name: str, images: np.ndarray, *, fps: float = 8.0, label: RecordLabel | None = "real") -> Record:
    video.write_video(root / f"{name}.mp4", Frames.from_array(images, fps), crf=12)
    return Record(name, f"{name}.mp4", label, video.probe(root / f"{name}.mp4"))


def of_length(name: str, seconds: float | None, label: RecordLabel | None) -> Record:
    return Record(name, f"{name}.mp4", label, VideoInfo(64, 48, 8.0, None, seconds))


def test_length() -> None:
    records = [of_length(n, s, "real") for n, s in (("a", 1.0), ("b", 2.0), ("c", 9.0), ("d", None))]
    found = filter_length([*records, Record("e")], min_seconds=2.0, max_seconds=5.0)
    assert [r.video_id for r in found.records] == ["b"]
    assert {d.video_id: d.reason for d in found.dropped} == {
        "a": "too_short",
        "c": "too_long",
        "d": "length_unknown",
        "e": "length_unknown",
    }
    with pytest.raises(RecordError):
        filter_length(records, min_seconds=3.0, max_seconds=2.0)


def test_motion_is_measured_in_diagonals_a_second(tmp_path: Path) -> None:
    """A pan by 2 px a frame at 8 fps over a frame of 200 px diagonal: 0.08 diagonals a second, at either size."""
    save(tmp_path, "pan", moving(2.0))
    assert measure(tmp_path / "pan.mp4").motion == pytest.approx(0.08, rel=0.2)
    save(tmp_path, "large", np.stack([cv2.resize(i, (480, 360), interpolation=cv2.INTER_CUBIC) for i in moving(2.0)]))
    assert measure(tmp_path / "large.mp4").motion == pytest.approx(0.08, rel=0.2)


def test_still_videos_are_dropped_and_noise_is_no_motion(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 3, (16, *HW, 3))
    still = moving(0.0)
    records = [
        save(tmp_path, "pan", moving(1.0)),
        save(tmp_path, "still", still),
        save(tmp_path, "noisy", np.clip(still + noise, 0, 255).astype(np.uint8), label="unsure"),
        save(tmp_path, "single", still[:1], fps=1.0),
        Record("gone", "gone.mp4", "fake"),
        Record("pathless"),
    ]
    done: list[int] = []
    found = filter_motion(records, tmp_path, progress=lambda at, n: done.append(at * 100 + n))
    assert [r.video_id for r in found.records] == ["pan"]
    assert {d.video_id: d.reason for d in found.dropped} == {
        "still": "no_motion",
        "noisy": "no_motion",
        "single": "single_frame",
        "gone": "unreadable: NOT_FOUND",
        "pathless": "no_usable_path",
    }
    assert found.counts()["unsure"] == {"no_motion": 1}
    assert done == [106, 206, 306, 406, 506, 606]


def test_quality(tmp_path: Path) -> None:
    good = moving(2.0)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 12) for image in good])
    tiles = np.random.default_rng(0).integers(60, 190, (15, 20, 3)).repeat(8, 0).repeat(8, 1)
    stripes = np.where(np.arange(HW[1])[:, None] % 40 < 20, 0, 255 * np.ones_like(good))
    half = good.copy()
    half[:8] = blurred[:8]
    records = [
        save(tmp_path, "good", good),
        save(tmp_path, "dark", (good * 0.05).astype(np.uint8)),
        save(tmp_path, "bright", np.clip(good * 0.05 + 243, 0, 255).astype(np.uint8)),
        save(tmp_path, "blurred", blurred),
        save(tmp_path, "blocky", np.repeat(tiles[None], 8, 0).astype(np.uint8)),
        save(tmp_path, "clipped", stripes.astype(np.uint8)),
        save(tmp_path, "blurs_for_a_while", half),
    ]
    found = filter_quality(records, tmp_path)
    assert {d.video_id: d.reason for d in found.decisions} == {
        "good": "kept",
        "dark": "too_dark",
        "bright": "too_bright",
        "blurred": "blurred",
        "blocky": "blocky",
        "clipped": "clipped",
        "blurs_for_a_while": "kept",
    }
    with pytest.raises(RecordError):
        filter_quality(records, tmp_path, exposure=(200.0, 100.0))


def test_the_log_has_a_line_for_every_decision(tmp_path: Path) -> None:
    records = [of_length("a", 1.0, "fake"), of_length("b", 3.0, "unsure")]
    first = filter_length(records, min_seconds=2.0)
    second = filter_length(first.records, max_seconds=2.5)
    write_filter_log(tmp_path / "filter.jsonl", first, second)
    rows = [json.loads(line) for line in (tmp_path / "filter.jsonl").read_text().splitlines()]
    assert [(r["video_id"], r["kept"], r["reason"]) for r in rows] == [
        ("a", False, "too_short"),
        ("b", True, "kept"),
        ("b", False, "too_long"),
    ]
    assert rows[0]["measured"] == {"seconds": 1.0}
    assert rows[0]["limit"] == {"min_seconds": 2.0, "max_seconds": None}
    assert rows[1]["stratum"] == "unsure"


def test_frames_by_rate_are_a_length_too() -> None:
    """A row without a length, but with 24 frames at 8 a second: 3 s, as in the statistics."""
    counted = Record("c", "c.mp4", "real", VideoInfo(64, 48, 8.0, 24, None))
    (decision,) = filter_length([counted], min_seconds=2.0, max_seconds=4.0).decisions
    assert decision.kept
    assert decision.measured == {"seconds": 3.0}


def test_a_meter_reads_each_video_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deeptrace.data.build.filters import measure as filters_measure

    records = [save(tmp_path, "pan", moving(2.0)), save(tmp_path, "still", moving(0.0))]
    records.append(Record("gone", "gone.mp4", "fake"))
    read: list[str] = []

    def counting(path: Path) -> Measures:
        read.append(path.name)
        return measure(path)

    monkeypatch.setattr(filters_measure, "measure", counting)
    for _ in range(2):  # the second run finds all in the journal, but for what could not be read
        with Journal(tmp_path / "log.measures", Meter.settings) as journal:
            meter = Meter(tmp_path, journal)
            moved = filter_motion(records, tmp_path, meter=meter)
            sharp = filter_quality(records, tmp_path, meter=meter)
        assert [d.reason for d in moved.decisions] == ["kept", "no_motion", "unreadable: NOT_FOUND"]
        assert [d.reason for d in sharp.decisions] == ["kept", "kept", "unreadable: NOT_FOUND"]
    assert read == ["pan.mp4", "still.mp4", "gone.mp4", "gone.mp4"]
    save(tmp_path, "still", moving(2.0, count=9))  # another file under the same name is measured anew
    with Journal(tmp_path / "log.measures", Meter.settings) as journal:
        found = filter_motion(records, tmp_path, meter=Meter(tmp_path, journal))
    assert [r.video_id for r in found.records] == ["pan", "still"]
