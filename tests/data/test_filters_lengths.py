"""Real footage as long as the fakes: planned by length, cut in whole frames, measured as written, never in place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeptrace import video
from deeptrace.data import load_records
from deeptrace.data.build.filters.cut import cut_clips
from deeptrace.data.build.filters.lengths import MatchedCut, distance, match_lengths
from deeptrace.errors import FileError, RecordError
from deeptrace.records import Annotation, Frames, Record, RecordLabel, Trace, VideoInfo


def of_length(name: str, seconds: float | None, label: RecordLabel | None) -> Record:
    return Record(name, f"{name}.mp4", label, VideoInfo(64, 48, 8.0, None, seconds))


def save(
    root: Path, path: str, *, frames: int = 20, fps: float = 8.0, label: RecordLabel = "real", base: int = 40
) -> Record:
    """Frame k is of grey base + 8 k."""
    images = np.stack([np.full((48, 64, 3), base + 8 * k, np.uint8) for k in range(frames)])
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    video.write_video(root / f"{path}.mp4", Frames.from_array(images, fps), crf=12)
    (root / f"{path}.mp4").rename(root / path)
    return Record(path, path, label, video.probe(root / path))


def grays(path: Path) -> list[int]:
    return [round(image.mean()) for image in video.sample_frames(path, fps=1000.0).images]


def pool(seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    fakes = [of_length(f"f{i}", float(rng.normal(5.0, 0.5)), "fake") for i in range(200)]
    reals = [of_length(f"r{i}", float(rng.uniform(3.0, 30.0)), "real") for i in range(300)]
    return [*fakes, *reals, of_length("u", 4.0, "unsure"), of_length("x", 4.0, None)]


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lengths_match_those_of_the_fakes() -> None:
    records = pool()
    found = match_lengths(records)
    assert found.unmatched == ()
    assert len(found.clips) == 200
    planned = distance(found.fake_seconds, [clip.length_seconds for clip in found.clips])
    assert planned.ks == 0.0
    assert planned.wasserstein_seconds == pytest.approx(0.0, abs=1e-12)
    before = distance(found.fake_seconds, found.real_seconds)
    assert before.ks > 0.7
    assert before.wasserstein_seconds > 8
    assert len({clip.record.video_id for clip in found.clips}) == 200
    for clip in found.clips:
        assert clip.record.label == "real"
        assert clip.record.info is not None
        assert clip.record.info.duration_seconds is not None
        assert 0 <= clip.start_seconds <= clip.record.info.duration_seconds - clip.length_seconds + 1e-9
    assert [r.video_id for r in found.unsure] == ["u"]
    assert match_lengths(records) == found
    assert match_lengths(records, seed=1).clips != found.clips


def test_fakes_longer_than_all_footage_are_named() -> None:
    records = [of_length("long", 60.0, "fake"), of_length("f", 4.0, "fake"), of_length("r", 5.0, "real")]
    found = match_lengths(records)
    assert found.unmatched == ("long",)
    assert [(clip.record.video_id, clip.length_seconds, clip.like) for clip in found.clips] == [("r", 4.0, "f")]
    with pytest.raises(RecordError):
        match_lengths(records[:2])


def test_a_match_is_found_where_there_is_one() -> None:
    """Each real video is just long enough for one fake."""
    records = [of_length(f"f{i}", float(i), "fake") for i in range(1, 30)]
    records += [of_length(f"r{i}", float(i), "real") for i in range(1, 30)]
    assert match_lengths(records).unmatched == ()


def test_frames_by_rate_are_a_length_too() -> None:
    counted = Record("r", "r.mp4", "real", VideoInfo(64, 48, 8.0, 24, None))
    assert match_lengths([of_length("f", 2.0, "fake"), counted]).real_seconds == (3.0,)


def test_distance_by_hand() -> None:
    found = distance([1.0, 2.0], [2.0, 3.0])
    assert (found.ks, found.wasserstein_seconds) == pytest.approx((0.5, 1.0))


# ── the clips ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_clips_are_cut_where_they_should_be(tmp_path: Path) -> None:
    """From 0.5 s to 1.5 s at 8 fps these are frames 4 to 11."""
    real = save(tmp_path, "r.mp4")
    trace = Trace((0.1, 0.1, 0.5, 0.5), 0.75, 2.4)
    real = replace(real, annotations=(Annotation((trace, Trace(onset_seconds=1.8))),))
    found = match_lengths([of_length("f", 1.0, "fake"), real])
    found = replace(found, clips=(replace(found.clips[0], start_seconds=0.5),))
    steps: list[tuple[int, int]] = []
    cut = cut_clips(found, tmp_path, tmp_path / "cut", progress=lambda *step: steps.append(step))
    assert steps == [(0, 1), (1, 1)]
    (record,) = cut.clips
    assert record.path == "r.mp4"
    assert record.info is not None
    assert record.info.num_frames == 8
    assert record.info.duration_seconds == pytest.approx(1.0)
    assert grays(tmp_path / "cut/r.mp4") == pytest.approx([40 + 8 * k for k in range(4, 12)], abs=2)
    (kept,) = record.traces
    assert (kept.onset_seconds, kept.offset_seconds) == (0.25, 1.0)
    assert cut.after is not None
    assert cut.after.ks == 0.0


def test_distances_are_of_the_files_written(tmp_path: Path) -> None:
    """24 frames at 25 fps are 0.96 s; whole frames at 8 fps make 1.0 s of it, wherever the plan begins."""
    fakes = [of_length(f"f{i}", 24 / 25, "fake") for i in range(3)]
    reals = [save(tmp_path, f"r{i}.mp4", frames=20) for i in range(2)] + [save(tmp_path, "exact.mp4", frames=8)]
    plan = match_lengths([*fakes, *reals])
    starts = {"r0.mp4": 0.55, "r1.mp4": 1.54, "exact.mp4": 0.03}
    plan = replace(plan, clips=tuple(replace(clip, start_seconds=starts[clip.record.video_id]) for clip in plan.clips))
    cut = cut_clips(plan, tmp_path, tmp_path / "cut")
    assert {r.video_id: r.info.num_frames for r in cut.clips if r.info} == dict.fromkeys(starts, 8)
    assert cut.after is not None
    assert cut.after.ks == 1.0
    assert cut.after.wasserstein_seconds == pytest.approx(0.04)
    assert grays(tmp_path / "cut/r1.mp4") == pytest.approx([40 + 8 * k for k in range(12, 20)], abs=2)
    report = json.loads((tmp_path / "cut/match.json").read_text())
    assert report["after"]["wasserstein_seconds"] == pytest.approx(0.04)
    assert report["seed"] == 0
    assert {row["like"] for row in report["clips"]} == {"f0", "f1", "f2"}


def test_an_odd_rate_loses_no_frame(tmp_path: Path) -> None:
    """At 24000/1001 the times in a file are rounded: 12 frames are asked for, 12 come, from every place."""
    real = save(tmp_path, "r.mp4", frames=26, fps=24000 / 1001, base=20)
    for first in (0, 5, 11, 14):
        seconds = first * 1001 / 24000
        plan = match_lengths([of_length("f", 12 * 1001 / 24000, "fake"), real])
        plan = replace(plan, clips=(replace(plan.clips[0], start_seconds=seconds),))
        cut_clips(plan, tmp_path, tmp_path / f"cut{first}")
        got = grays(tmp_path / f"cut{first}/r.mp4")
        assert got == pytest.approx([20 + 8 * k for k in range(first, first + 12)], abs=2)


def test_the_source_is_never_written(tmp_path: Path) -> None:
    """Into its own folder, through a link, or into a folder with something else: refused, and every byte stays."""
    src = tmp_path / "src"
    plan = match_lengths([of_length("f", 1.0, "fake"), save(src, "r.mp4")])
    (src / "records.jsonl").write_text("mine")
    (tmp_path / "link").symlink_to(src)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/r.mp4").write_bytes(b"mine too")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for dst in (src, tmp_path / "link", tmp_path / "full", tmp_path):
        with pytest.raises(FileError, match="folder"):
            cut_clips(plan, src, dst)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_one_stem_two_clips(tmp_path: Path) -> None:
    reals = [save(tmp_path, "r/x.mp4", base=10), save(tmp_path, "r/x.mov", base=90), save(tmp_path, "r/X.mp4", base=50)]
    plan = match_lengths([*(of_length(f"f{i}", 1.0, "fake") for i in range(3)), *reals])
    cut = cut_clips(plan, tmp_path, tmp_path / "cut")
    assert len({str(record.path).casefold() for record in cut.clips}) == 3
    for record in cut.clips:
        base = {"r/x.mp4": 10, "r/x.mov": 90, "r/X.mp4": 50}[record.video_id]
        start = record.extra["cut_from"]["start_seconds"]
        assert grays(tmp_path / "cut" / str(record.path))[0] == pytest.approx(base + 8 * round(start * 8), abs=2)


def test_unsure_videos_are_passed_on_and_broken_ones_counted(tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "cut"
    unsure = save(src, "u.mov", label="unsure")
    broken = Record("b", "b.mp4", "real", VideoInfo(64, 48, 8.0, 20, 2.5))
    (src / "b.mp4").write_bytes(b"not a video" * 40)
    short = replace(save(src, "s.mp4", frames=8), info=VideoInfo(64, 48, 8.0, 20, 2.5))  # declared too long
    fakes = [of_length(f"f{i}", 2.0, "fake") for i in range(4)]
    records = [*fakes, save(src, "r.mp4"), broken, short, unsure, Record("lost", "lost.mp4", "unsure")]
    cut = cut_clips(match_lengths(records), src, dst)
    assert cut.excluded == {"unreadable: NOT_A_VIDEO": 1, "too_short": 1, "unreadable: NOT_FOUND": 1}
    assert len(cut.unserved) == 2
    loaded = load_records(dst)
    assert loaded.problems == ()
    assert [(r.video_id, r.label) for r in loaded] == [("r.mp4", "real"), ("u.mov", "unsure")]
    assert (dst / "u.mov").read_bytes() == (src / "u.mov").read_bytes()


def test_a_run_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deeptrace.data.build.filters import cut as filters_cut

    src, dst = tmp_path / "src", tmp_path / "cut"
    fakes = [of_length(f"f{i}", 1.0, "fake") for i in range(3)]
    plan = match_lengths([*fakes, *(save(src, f"r{i}.mp4") for i in range(3))])
    made: list[MatchedCut] = []
    real_cut = filters_cut._cut

    def counting(clip: MatchedCut, *rest: object) -> Record:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(clip)
        return real_cut(clip, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(filters_cut, "_cut", counting)
    with pytest.raises(KeyboardInterrupt):
        cut_clips(plan, src, dst)
    (dst / ".half.mp4.part").write_bytes(b"x")
    made.clear()
    again = cut_clips(plan, src, dst)
    assert len(made) == 1
    assert [r.video_id for r in again.clips] == [clip.record.video_id for clip in plan.clips]
    assert not (dst / ".half.mp4.part").exists()
    with pytest.raises(FileError, match="other settings"):
        cut_clips(plan, src, dst, crf=30)
