"""Normalising: one form for all, traces at their true new place and time, nothing invented, resumable."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace import video
from deeptrace.data import Records, load_records
from deeptrace.data.audit import audit
from deeptrace.data.audit.features import container_table, geometry_table, read_facts
from deeptrace.data.normalise import Normalised, normalise
from deeptrace.data.normalise.geometry import View, carry_trace, center_crop, crop_box
from deeptrace.data.normalise.video import FrameMissing, thin
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.records import Annotation, Frames, KeyBox, Record, Trace

ASPECT, SHORT, FPS = (16, 9), 36, 8.0  # 64 x 36


def clip(
    path: Path, *, size: tuple[int, int] = (128, 72), fps: float = 16.0, seconds: float = 2.0, onset: float = 1.0
) -> None:
    """A grey clip in which a red square is seen at (.25, .25)-(.5, .75) of the frame from ``onset`` on."""
    width, height = size
    count = round(fps * seconds)
    images = np.full((count, height, width, 3), 90, np.uint8)
    # A bar that moves by the frame's number makes every frame its own.
    for k in range(count):
        images[k, :, (k * 3) % width] = 200
        if k / fps >= onset:
            images[k, height // 4 : height * 3 // 4, width // 4 : width // 2] = (220, 20, 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write_video(path, Frames.from_array(images, fps))


def red_box(image: np.ndarray) -> tuple[float, float, float, float] | None:
    """The box of what is red, in fractions."""
    red = (image[..., 0].astype(int) - image[..., 1]) > 100
    if red.sum() < 4:
        return None
    ys, xs = np.nonzero(red)
    height, width = red.shape
    return (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)


def fake(name: str, *traces: Trace) -> Record:
    return Record(name, f"videos/{name}.mp4", "fake", source="g", annotations=tuple(Annotation((t,)) for t in traces))


def real(name: str) -> Record:
    return Record(name, f"real_videos/{name}.mp4", "real")


TRACE = Trace(bbox_xyxy=(0.25, 0.25, 0.5, 0.75), onset_seconds=1.0, offset_seconds=2.0, explanation="red")


def run(records: list[Record], root: Path, dst: Path, **options: object) -> Normalised:
    chosen: dict[str, object] = {"aspect": ASPECT, "short_side": SHORT, "fps": FPS, **options}
    return normalise(records, root, dst, **chosen)  # type: ignore[arg-type]


def test_the_trace_is_where_the_picture_shows_it(tmp_path: Path) -> None:
    """4:3 at 25 fps, cropped to 16:9 at 8 fps: the truth is read from the new pixels."""
    clip(tmp_path / "src/videos/a.mp4", size=(160, 120), fps=25.0, seconds=3.0, onset=1.2)
    trace = replace(TRACE, onset_seconds=1.2, offset_seconds=3.0)
    found = run([fake("a", trace)], tmp_path / "src", tmp_path / "dst", duration_seconds=2.0, window="middle")
    (record,) = found.records
    assert record.path == "videos/a.mp4"
    frames = video.sample_frames(tmp_path / "dst" / record.path, fps=FPS)
    assert frames.images.shape == (16, 36, 64, 3)
    seen = [red_box(image) for image in frames.images]
    first = next(k for k, box in enumerate(seen) if box is not None)
    (carried,) = record.traces
    assert carried.onset_seconds == pytest.approx(0.7)  # the window is [0.5, 2.5)
    assert carried.offset_seconds == pytest.approx(2.0)
    assert abs(first / FPS - carried.onset_seconds) <= 1 / FPS
    assert carried.bbox_xyxy == pytest.approx(seen[-1], abs=0.04)
    assert carried.bbox_xyxy == pytest.approx((0.25, 1 / 6, 0.5, 5 / 6))


def test_all_come_out_alike_whatever_they_were(tmp_path: Path) -> None:
    root = tmp_path / "src"
    clip(root / "videos/a.mp4", size=(128, 72), fps=24.0, seconds=2.5)
    clip(root / "videos/b.mp4", size=(100, 200), fps=30.0, seconds=3.0)
    clip(root / "real_videos/c.mp4", size=(90, 60), fps=10.0, seconds=2.2)
    records = [fake("a", TRACE), fake("b", TRACE), real("c")]
    found = run(records, root, tmp_path / "dst", match_duration=True)
    assert found.excluded == {}
    assert found.form.length_seconds == pytest.approx(17 / 8)  # 2.2 s hold 17 whole frames at 8 fps
    facts = [read_facts(tmp_path / "dst" / str(record.path)) for record in found.records]
    for table in (
        geometry_table([f.info for f in facts]),
        container_table(facts).without(("log_size", "log_bitrate", "bits_per_pixel")),
    ):
        known = table.values[:, ~np.isnan(table.values).all(0)]
        assert (known == known[0]).all()
    assert [f.info for f in facts] == [
        replace(r.info, duration_seconds=f.info.duration_seconds)
        for r, f in zip(found.records, facts, strict=True)
        if r.info
    ]
    assert all(not f.info.has_audio for f in facts)


def test_what_would_need_invention_is_left_out_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "src"
    clip(root / "videos/small.mp4", size=(60, 34))
    clip(root / "videos/slow.mp4", fps=6.0)
    clip(root / "videos/short.mp4", seconds=1.0)
    clip(root / "real_videos/good.mp4")
    (root / "videos/broken.mp4").write_bytes(b"not a video" * 20)
    records = [*(fake(n, TRACE) for n in ("small", "slow", "short", "broken", "gone")), real("good")]
    found = run(records, root, tmp_path / "dst", duration_seconds=1.5)
    assert found.excluded == {
        "too_small": 1,
        "too_slow": 1,
        "too_short": 1,
        "unreadable: NOT_A_VIDEO": 1,
        "unreadable: NOT_FOUND": 1,
    }
    assert found.excluded_by_label == {"fake": 5}
    assert [record.video_id for record in found.records] == ["good"]


def test_traces_outside_are_dropped_counted_and_flagged(tmp_path: Path) -> None:
    clip(tmp_path / "src/videos/a.mp4", size=(144, 36), seconds=2.0)  # 4:1, the crop keeps the middle 4/9
    left = replace(TRACE, bbox_xyxy=(0.0, 0.2, 0.28, 0.8), onset_seconds=0.1)
    late = replace(TRACE, bbox_xyxy=(0.4, 0.2, 0.6, 0.8), onset_seconds=1.5)
    found = run([fake("a", left, late)], tmp_path / "src", tmp_path / "dst", duration_seconds=1.0, window="start")
    assert found.traces_dropped == {"cropped_away": 1, "outside_window": 1}
    assert found.traces_kept == 0
    assert found.fakes_without_trace == 1
    (record,) = found.records
    assert record.label == "fake"
    assert len(record.annotations) == 2
    assert "normalise: no trace is left" in record.flags


def test_a_run_goes_on_where_it_ended_and_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "src"
    records = [fake(f"f{i}", TRACE) for i in range(3)]
    for record in records:
        clip(root / str(record.path))
    run(records, root, tmp_path / "whole", match_duration=True)

    written = []
    real_writer = video.VideoWriter

    class Failing(real_writer):  # type: ignore[misc,valid-type]
        def add(self, *args: object) -> None:
            if len(written) == 2:
                raise KeyboardInterrupt
            super().add(*args)

        def close(self) -> None:
            written.append(self)
            super().close()

    monkeypatch.setattr(video, "VideoWriter", Failing)
    with pytest.raises(KeyboardInterrupt):
        run(records, root, tmp_path / "pieces", match_duration=True)
    assert not (tmp_path / "pieces/records.jsonl").exists()
    assert sorted(p.name for p in (tmp_path / "pieces/videos").iterdir()) == ["f0.mp4", "f1.mp4"]
    with open(tmp_path / "pieces/journal.jsonl", "ab") as file:  # a row that was cut off by a crash
        file.write(b'{"video_id": "f2", "exc')
    (tmp_path / "pieces/videos/.f2.mp4.123.part").write_bytes(b"half")  # what a killed run leaves
    written.clear()
    calls: list[tuple[int, int]] = []
    run(records, root, tmp_path / "pieces", match_duration=True, progress=lambda done, n: calls.append((done, n)))
    assert len(written) == 1  # only the third was made
    assert calls[-1] == (3, 3)
    assert sorted(p.name for p in (tmp_path / "pieces/videos").iterdir()) == ["f0.mp4", "f1.mp4", "f2.mp4"]
    for name in ("records.jsonl", "run.json", "videos/f0.mp4", "videos/f2.mp4"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_folder_in_another_form_is_refused(tmp_path: Path) -> None:
    clip(tmp_path / "src/videos/a.mp4")
    run([fake("a", TRACE)], tmp_path / "src", tmp_path / "dst")
    with pytest.raises(FileError, match="another form"):
        run([fake("a", TRACE)], tmp_path / "src", tmp_path / "dst", crf=30)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(FileError, match="not empty"):
        run([fake("a", TRACE)], tmp_path / "src", tmp_path / "full")
    with pytest.raises(FileError, match="folder of their own"):
        run([fake("a", TRACE)], tmp_path / "src", tmp_path / "src")


def test_a_path_once_given_stays_with_its_video(tmp_path: Path) -> None:
    """First A alone takes a.mp4; then a newcomer B of that name must not, in any order of runs, be shown as A."""
    root, dst = tmp_path / "src", tmp_path / "dst"
    clip(root / "videos/b.mp4", onset=9.0)
    (root / "videos/b.mp4").rename(root / "videos/b.mov")
    clip(root / "videos/b.mp4", onset=0.0)
    a = replace(fake("A", TRACE), path="videos/b.mov")
    b = Record("B", "videos/b.mp4", "real")
    for records in ([a], [b, a], [a], [b, a], [b]):
        found = run(records, root, dst)
        for record in found.records:
            red = red_box(video.sample_frames(dst / str(record.path), fps=FPS).images[0])
            assert (red is None) == (record.video_id == "A")
    assert sorted(p.name for p in (dst / "videos").iterdir()) == ["b-2.mp4", "b.mp4"]


@pytest.mark.linux
def test_names_that_are_not_utf_8_can_be_resumed(tmp_path: Path) -> None:
    root, name = tmp_path / "src", os.fsdecode(b"videos/caf\xe9.mp4")
    clip(root / "videos/a.mp4")
    (root / "videos/a.mp4").rename(root / name)
    record = Record("a", name, "real")
    first = run([record], root, tmp_path / "dst")
    assert run([record], root, tmp_path / "dst") == first
    loaded = load_records(tmp_path / "dst")
    assert loaded.problems == ()
    assert loaded[0].path == name
    assert loaded[0].extra["normalised_from"]["path"] == "videos/caf\\xe9.mp4"


def test_a_journal_that_was_touched_is_named_by_line(tmp_path: Path) -> None:
    clip(tmp_path / "src/videos/a.mp4")
    run([fake("a", TRACE)], tmp_path / "src", tmp_path / "dst")
    journal = tmp_path / "dst/journal.jsonl"
    whole = journal.read_text()
    for line in ("[1, 2]\n", "not json\n"):
        journal.write_text(whole + line)
        with pytest.raises(JsonError, match=r"journal\.jsonl line 3"):
            run([fake("a", TRACE)], tmp_path / "src", tmp_path / "dst")
    journal.write_text(whole + '{"key": "a", "stamp": "x"}\n')
    with pytest.raises(FileError, match=r"journal\.jsonl"):
        run([fake("a", TRACE)], tmp_path / "src", tmp_path / "dst")


def test_no_video_left_is_no_success(tmp_path: Path) -> None:
    clip(tmp_path / "src/videos/a.mp4")
    (tmp_path / "src/videos/b.mp4").write_bytes(b"no video" * 50)
    with pytest.raises(RecordError, match="1 too_short, 1 unreadable"):
        run([fake("a", TRACE), real("b")], tmp_path / "src", tmp_path / "dst", duration_seconds=9.0)


def test_run_json_says_what_was_left_out(tmp_path: Path) -> None:
    clip(tmp_path / "src/videos/a.mp4")
    clip(tmp_path / "src/real_videos/r.mp4", seconds=1.0)
    whole = (tmp_path / "src/videos/a.mp4").read_bytes()
    (tmp_path / "src/videos/b.mp4").write_bytes(whole[: len(whole) // 3])
    late = replace(TRACE, onset_seconds=1.9)
    found = run([fake("a", late), fake("b", TRACE), real("r")], tmp_path / "src", tmp_path / "dst",
                duration_seconds=1.5, window="start")  # fmt: skip
    result = json.loads((tmp_path / "dst/run.json").read_text())["result"]
    assert result["excluded_by_label"] == {"fake": 1, "real": 1}
    assert result["fakes_without_trace"] == 1
    assert len(result["problems"]) == len(found.problems)


def test_the_result_can_be_loaded_and_run_json_tells_how(tmp_path: Path) -> None:
    clip(tmp_path / "src/videos/a.avi.mp4")
    record = replace(fake("a", TRACE), path="videos/a.avi.mp4", label="unsure", extra={"note": 1})
    found = run([record], tmp_path / "src", tmp_path / "dst", crf=25, gop=4)
    loaded = load_records(tmp_path / "dst")
    assert loaded.problems == ()
    assert tuple(loaded) == found.records
    assert loaded[0].label == "unsure"
    assert loaded[0].extra["note"] == 1
    assert loaded[0].extra["normalised_from"]["path"] == "videos/a.avi.mp4"
    run_json = json.loads((tmp_path / "dst/run.json").read_text())
    assert run_json["form"]["crf"] == 25
    assert run_json["result"]["videos"] == 1


def test_groups_of_pictures_are_fixed(tmp_path: Path) -> None:
    import av

    clip(tmp_path / "src/videos/a.mp4", seconds=3.0)
    run([fake("a", TRACE)], tmp_path / "src", tmp_path / "dst", gop=6)
    with av.open(str(tmp_path / "dst/videos/a.mp4")) as container:
        keys = [i for i, p in enumerate(p for p in container.demux(video=0) if p.size) if p.is_keyframe]
    assert keys == [0, 6, 12, 18]


@pytest.mark.parametrize(
    "options",
    [{"fps": 0}, {"crf": 99}, {"gop": 0}, {"min_share": 2}, {"window": "end"}, {"aspect": (0, 9)}, {"short_side": 2},
     {"duration_seconds": 0.01}, {"duration_seconds": 1.0, "match_duration": True}],
)  # fmt: skip
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        run([], tmp_path, tmp_path / "dst", **options)


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────


def frames_at(times: list[float]) -> list[int]:
    """Which of the frames are taken at 4 fps from 0.5 s on, three of them."""
    images = np.arange(len(times), dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 1, 3), np.uint8)
    chunks = ((images[k : k + 2], np.array(times[k : k + 2])) for k in range(0, len(times), 2))
    return [int(image[0, 0, 0]) for image in thin(chunks, start_seconds=0.5, fps=4.0, count=3)]


def test_frames_are_dropped_never_repeated() -> None:
    assert frames_at([k / 8 for k in range(12)]) == [4, 6, 8]
    assert frames_at([0.45, 0.6, 0.74, 0.9, 1.1]) == [0, 2, 3]
    with pytest.raises(FrameMissing):
        frames_at([0.5, 1.1, 1.2])  # at 0.75 the first is still on screen
    with pytest.raises(FrameMissing):
        frames_at([0.5, 0.75])
    with pytest.raises(FrameMissing):
        frames_at([0.6, 0.75, 1.0])  # nothing is on screen at 0.5


def test_crops_by_hand() -> None:
    assert center_crop(160, 90, 16 / 9) == pytest.approx((0, 0, 1, 1))
    assert center_crop(120, 120, 2.0) == pytest.approx((0, 0.25, 1, 0.75))
    assert center_crop(200, 100, 1.0) == pytest.approx((0.25, 0, 0.75, 1))
    box, share = crop_box((0.2, 0.2, 0.4, 0.6), (0.25, 0.0, 0.75, 1.0))
    assert box == pytest.approx((0.0, 0.2, 0.3, 0.6))
    assert share == pytest.approx(0.75)
    assert crop_box((0.0, 0.0, 0.2, 1.0), (0.25, 0.0, 0.75, 1.0)) == (None, 0.0)


def test_a_track_begins_with_the_window_where_it_is_then() -> None:
    """From x = 0 to x = .8 in 4 s: at the window's start, 1 s, it has come to .2, at its end, 3 s, to .6."""
    track = (KeyBox(0.0, (0.0, 0.4, 0.1, 0.6)), KeyBox(4.0, (0.8, 0.4, 0.9, 0.6)))
    trace = Trace(bbox_xyxy=(0.0, 0.4, 0.1, 0.6), onset_seconds=0.0, offset_seconds=4.0, track=track)
    seen = carry_trace(trace, View((0.0, 0.0, 1.0, 1.0), 1.0, 2.0), min_share=0.5)
    assert isinstance(seen, Trace)
    assert (seen.onset_seconds, seen.offset_seconds) == (0.0, 2.0)
    assert seen.bbox_xyxy == pytest.approx((0.2, 0.4, 0.3, 0.6))
    assert seen.box_at(1.0) == pytest.approx((0.4, 0.4, 0.5, 0.6))
    assert seen.box_at(1.999) == pytest.approx((0.6, 0.4, 0.7, 0.6), abs=1e-3)


@given(
    x=st.floats(0.0, 0.8), y=st.floats(0.0, 0.8), vx=st.floats(-0.2, 0.2), onset=st.floats(0.0, 3.0),
    length=st.floats(0.2, 3.0), start=st.floats(0.0, 3.0), window=st.floats(0.3, 3.0), at=st.floats(0.0, 1.0),
    hide=st.booleans(),
)  # fmt: skip
def test_what_is_carried_is_what_the_source_shows(  # noqa: PLR0917
    x: float, y: float, vx: float, onset: float, length: float, start: float, window: float, at: float, hide: bool
) -> None:
    """Without a crop, the carried trace at t is the trace at start + t, for boxes and tracks, whatever the window."""
    box = (x, y, x + 0.2, y + 0.2)
    end = min(0.8, max(0.0, x + vx))
    keys = [KeyBox(onset, box), KeyBox(onset + length, (end, y, end + 0.2, y + 0.2))]
    if hide:
        keys.insert(1, KeyBox(onset + length / 2, None, False))
    trace = Trace(bbox_xyxy=box, onset_seconds=onset, offset_seconds=onset + length, track=tuple(keys))
    view = View((0.0, 0.0, 1.0, 1.0), start, window)
    seen = carry_trace(trace, view, min_share=0.5)
    time = at * window * 0.999
    expected = trace.box_at(start + time)
    near_a_change = any(abs(start + time - t) < 1e-6 for t in (onset, onset + length / 2, onset + length))
    if isinstance(seen, str):
        assert near_a_change or expected is None
    elif not near_a_change:
        got = seen.box_at(time)
        assert (got is None) == (expected is None)
        assert expected is None or got == pytest.approx(expected, abs=1e-6)


def with_sound(path: Path, seed: int) -> None:
    """An MPEG-4 part 2 file with a title, an artist and a tone, as another tool would leave it."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        container.metadata.update(title="Clip", artist="Somebody")
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 192, 144, "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        rng = np.random.default_rng(seed)
        for _ in range(60):
            image = av.VideoFrame.from_ndarray(rng.integers(0, 255, (144, 192, 3), dtype=np.uint8), format="rgb24")
            container.mux(picture.encode(image))
        container.mux(picture.encode(None))
        for k in range(100):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 44100, 1024 * k
            container.mux(sound.encode(tone))
        container.mux(sound.encode(None))


def test_shortcuts_before_are_at_chance_after(tmp_path: Path) -> None:
    """Reals have sound, another codec, size and rate: told without fail before, not at all after."""
    root = tmp_path / "src"
    records = [fake(f"f{i}", TRACE) for i in range(6)] + [real(f"r{i}") for i in range(6)]
    for i, record in enumerate(records):
        if record.label == "real":
            with_sound(root / str(record.path), i)
        else:
            clip(root / str(record.path), seconds=2.5)
    before = audit(Records(records, root=root), probe=True).shortcuts
    run(records, root, tmp_path / "dst", match_duration=True)
    after = audit(load_records(tmp_path / "dst"), probe=True).shortcuts
    assert before is not None
    assert after is not None
    for probe in ("container_without_rate", "geometry"):
        was, now = before.get(probe).auroc, after.get(probe).auroc
        assert was is not None
        assert now is not None
        assert was.value == 1.0
        assert (now.value, now.low, now.high) == (0.5, 0.5, 0.5)
        assert now.verdict == "at chance"
    data = (tmp_path / "dst/real_videos/r0.mp4").read_bytes()
    assert b"Somebody" in (root / "real_videos/r0.mp4").read_bytes()
    assert b"Somebody" not in data


def test_generators_before_are_at_the_majority_after(tmp_path: Path) -> None:
    """Three generators of 5, 6 and 9 clips, each with its own size and rate: told before, 9 / 20 after."""
    root = tmp_path / "src"
    forms = {"a": ((128, 72), 16.0, 5), "b": ((144, 96), 24.0, 9), "c": ((100, 180), 30.0, 6)}
    records = []
    for source, (size, fps, count) in forms.items():
        for i in range(count):
            clip(root / f"videos/{source}{i}.mp4", size=size, fps=fps, seconds=1.0)
            records.append(replace(fake(f"{source}{i}", TRACE), source=source))
    before = audit(Records(records, root=root), probe=True).shortcuts
    run(records, root, tmp_path / "dst", match_duration=True)
    after = audit(load_records(tmp_path / "dst"), probe=True).shortcuts
    assert before is not None
    assert after is not None
    was = before.get("geometry", "generator").accuracy
    assert was is not None
    assert was.value == 1.0
    assert was.low > was.chance
    for probe in ("geometry", "container_without_rate"):
        now = after.get(probe, "generator").accuracy
        assert now is not None
        assert now.at_chance
        assert now.value == now.chance == pytest.approx(9 / 20)
