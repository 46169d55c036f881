"""The audit: every flaw that is planted is found, by name; nothing else is; and the shortcuts of the example show."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from deeptrace import files, video
from deeptrace.data import load_records
from deeptrace.data.audit import Audit, audit
from deeptrace.data.audit.checks import RELEASE_COUNTS, RELEASE_SOURCE, AuditFinding
from deeptrace.data.audit.features import read_facts
from deeptrace.data.audit.pixels import content_features, lowlevel_features
from deeptrace.data.read.load import Records
from deeptrace.errors import RecordError
from deeptrace.records import Annotation, Frames, Record, Trace, VideoInfo

INFO = VideoInfo(640, 360, 8.0, 32, 4.0)
TRACE = Trace((0.1, 0.1, 0.4, 0.4), 1.0, 2.0, ("Sudden Blurring",), "it blurs")


def fake(name: str, *traces: Trace, **fields: object) -> Record:
    record = Record(name, f"videos/{name}.mp4", "fake", INFO, "kling", "train", annotations=(Annotation(traces),))
    return replace(record, **fields)  # type: ignore[arg-type]


def real(name: str, **fields: object) -> Record:
    return replace(Record(name, f"real_videos/{name}.mp4", "real", INFO, "camera", "train"), **fields)  # type: ignore[arg-type]


def found(result: Audit) -> dict[str, AuditFinding]:
    return {finding.code: finding for finding in result.findings}


# ── annotations alone ───────────────────────────────────────────────────────────────────────────────────────────────


def test_good_records_have_no_findings() -> None:
    result = audit([fake("a", TRACE), real("b")])
    assert result.findings == ()
    assert result.level == "annotations"
    assert result.release is None
    assert result.clusters is None
    assert result.counts["fake videos"] == result.counts["traces"] == result.counts["explained fake rows"] == 1


@pytest.mark.parametrize(
    ("code", "record"),
    [
        ("no_trace", fake("x")),
        ("no_explanation", fake("x", replace(TRACE, explanation="  "))),
        ("no_explanation", fake("x", replace(TRACE, explanation=None))),
        ("no_category", fake("x", replace(TRACE, categories=None))),
        ("no_category", fake("x", replace(TRACE, categories=()))),
        ("no_box", fake("x", replace(TRACE, bbox_xyxy=None))),
        ("no_onset", fake("x", replace(TRACE, onset_seconds=None))),
        ("box_whole_frame", fake("x", replace(TRACE, bbox_xyxy=(0.0, 0.0, 1.0, 0.99)))),
        ("onset_outside", fake("x", replace(TRACE, onset_seconds=4.5, offset_seconds=5.0))),
        ("offset_outside", fake("x", replace(TRACE, offset_seconds=5.0))),
        ("box_outside", fake("x", TRACE, flags=("faketrace_bbox: repaired",))),
        ("box_unusable", fake("x", TRACE, flags=("faketrace_bbox: emptied",))),
        ("label_missing", real("x", label=None)),
        ("label_unsure", real("x", label="unsure")),
        ("label_disputed", fake("x", annotations=(Annotation((TRACE,), "fake"), Annotation((), "real")))),
        ("trace_on_real", real("x", annotations=(Annotation((TRACE,)),))),
    ],
)
def test_each_flaw_is_found_and_no_other(code: str, record: Record) -> None:
    result = audit([fake("a", TRACE), real("b"), record])
    assert [finding.code for finding in result.findings] == [code]
    assert found(result)[code].count == 1
    assert found(result)[code].examples == ("x",)


def test_release_counts_are_compared_only_for_the_release() -> None:
    release = audit([fake("a", TRACE, TRACE), real("b", source=RELEASE_SOURCE)]).release
    assert release is not None
    by_name = {c.name: c for c in release}
    assert by_name["videos"].expected == RELEASE_COUNTS["videos"] == 6636
    assert by_name["videos"].found == 2
    assert by_name["fake rows"].found == 1


def test_the_loaders_problems_are_in_it(tmp_path: Path) -> None:
    row = {"video_id": "a", "video_path": "videos/a.mp4", "video_type": "fake_video", "video_width": -4}
    files.write_text(tmp_path / "all_data.json", files.dumps([row]))
    result = audit(load_records(tmp_path))
    assert result.problems == {"video_width: emptied": 1}
    assert found(result)["file_missing"].examples == ("videos/a.mp4",)


def test_seven_thousand_rows_take_seconds() -> None:
    """The size of the release, with the declared geometry as a shortcut: all of it without opening a file."""
    rng = np.random.default_rng(0)
    records: list[Record] = []
    for i in range(3318):
        annotation = Annotation((replace(TRACE, onset_seconds=float(rng.uniform(0, 2)), offset_seconds=3.0),))
        info = VideoInfo(1280, 720, 24.0, 120, 5.0 + float(rng.integers(0, 3)))
        records.append(fake(f"f{i}", info=info, source=f"g{i % 7}", annotations=(annotation,) * (1 + (i % 3 == 0))))
        size = rng.integers(300, 1300, 2)
        records.append(real(f"r{i}", info=VideoInfo(int(size[0]), int(size[1]), 30.0, 150, 5.0)))
    start = time.process_time()
    result = audit(records)
    assert time.process_time() - start < 10.0  # 3 s on an idle machine
    assert result.shortcuts is not None
    geometry = result.shortcuts.get("geometry").auroc
    assert geometry is not None
    assert geometry.low > 0.99
    which = result.shortcuts.get("geometry", "generator").balanced_accuracy
    assert which is not None
    assert which.at_chance


def test_a_field_to_group_by_must_exist() -> None:
    records = [fake("a", TRACE, extra={"source_repo": "x", "place": "y"}), real("b")]
    assert audit(records, group_by="source_repo").grouped_by == ("source_repo",)
    with pytest.raises(RecordError, match=r"'source_repos'. Known: source, place, source_repo$"):
        audit(records, group_by="source_repos")
    assert audit([], group_by="anything").shortcuts is not None


def test_frames_by_rate_are_a_length_too() -> None:
    """24 frames at 8 a second are 3 s: a trace at 3.5 s is outside, and the plot of lengths knows the video."""
    info = VideoInfo(640, 360, 8.0, 24, None)
    result = audit([fake("a", replace(TRACE, onset_seconds=3.5, offset_seconds=3.8), info=info), real("b", info=info)])
    assert found(result)["onset_outside"].examples == ("a",)
    assert next(d.unknown for d in result.distributions if d.name == "length") == 0


def test_no_records_is_an_error() -> None:
    result = audit([])
    assert found(result)["no_records"].level == "error"
    assert result.shortcuts is not None
    assert files.loads(files.dumps(result.to_json()))["schema"] == "deeptrace.audit"


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def write(path: Path, seed: int, *, frames: int = 24, hw: tuple[int, int] = (48, 64), crf: int = 20) -> None:
    """Moving smooth shapes of the seed."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 255, (6, 12, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, (hw[1] * 2, hw[0]), interpolation=cv2.INTER_CUBIC)
    images = np.stack([np.roll(wide, -k, axis=1)[:, : hw[1]] for k in range(frames)])
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write_video(path, Frames.from_array(images, 8.0), crf=crf)


def planted(root: Path) -> Records:
    """Six videos with one flaw each, and one good one."""
    info = VideoInfo(64, 48, 8.0, 24, 3.0)
    for i, name in enumerate(("good", "size", "rate", "cut", "leak", "late")):
        write(root / f"videos/{name}.mp4", i, frames=240 if name == "cut" else 24)
    whole = (root / "videos/cut.mp4").read_bytes()
    (root / "videos/cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (root / "videos/junk.mp4").write_bytes(b"\0" * 500)
    write(root / "real_videos/leaked.mp4", 4, hw=(96, 128), crf=30)
    write(root / "real_videos/stranger.mp4", 9)
    late = replace(TRACE, onset_seconds=3.5, offset_seconds=3.9)
    records = [
        fake("good", TRACE, info=info),
        fake("size", TRACE, info=replace(info, width=640)),
        fake("rate", TRACE, info=replace(info, fps=30.0)),
        fake("cut", TRACE, info=None),
        fake("junk", TRACE, info=None),
        fake("late", late, info=replace(info, duration_seconds=None, num_frames=None)),
        fake("gone", TRACE, info=None),
        fake("leak", TRACE, info=info),
        real("leaked", info=replace(info, width=128, height=96), split="test"),
    ]
    return Records(records, root=root)


def test_headers_tell_of_sizes_rates_and_missing_files(tmp_path: Path) -> None:
    result = audit(planted(tmp_path), probe=True)
    seen = {code: set(finding.examples) for code, finding in found(result).items()}
    assert seen == {
        "size_differs": {"size"},
        "rate_differs": {"rate"},
        "onset_outside": {"late"},
        "unreadable_not_a_video": {"junk"},
        "file_missing": {"videos/gone.mp4"},
        "file_unmatched": {"real_videos/stranger.mp4"},
    }
    assert result.geometry_from == "files"
    assert result.level == "headers"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("depth", ["probe", "deep"])
def test_nothing_behind_a_link_gets_a_clean_bill(tmp_path: Path, depth: str) -> None:
    root, away = tmp_path / "data", tmp_path / "elsewhere"
    for name in ("good", "cut"):
        write(root / f"blobs/{name}.mp4", 1, frames=240)
        write(away / f"{name}.mp4", 1)
    (root / "blobs/junk.mp4").write_bytes(b"\0" * 500)
    whole = (root / "blobs/cut.mp4").read_bytes()
    (root / "blobs/cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (root / "videos").mkdir()
    for name, target in {
        "good": root / "blobs/good.mp4", "cut": root / "blobs/cut.mp4", "junk": root / "blobs/junk.mp4",
        "nowhere": root / "blobs/none.mp4", "outside": away / "good.mp4", "folder": root / "blobs",
    }.items():  # fmt: skip
        (root / f"videos/{name}.mp4").symlink_to(target)
    records = Records(
        [fake(name, TRACE) for name in ("good", "cut", "junk", "nowhere", "outside", "folder")], root=root
    )
    seen = found(audit(records, **{depth: True}))
    assert seen["unreadable_not_a_video"].examples == ("junk",)
    assert seen["file_missing"].examples == ("videos/nowhere.mp4", "videos/folder.mp4")
    assert seen["path_unusable"].examples == ("outside",)
    if depth == "deep":
        assert {text.split()[0] for text in seen["partial"].examples} == {"cut"}


def test_a_flat_folder_is_walked_too(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 1)
    write(tmp_path / "stranger.mp4", 2)
    write(tmp_path / "real_videos/b.mp4", 3)
    records = [fake("a", TRACE, path="a.mp4"), real("b")]
    result = audit(Records(records, root=tmp_path))
    assert found(result)["file_unmatched"].examples == ("stranger.mp4",)
    assert "file_missing" not in found(result)


def test_pictures_tell_of_damage_and_leaks(tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    result = audit(planted(tmp_path), deep=True, jobs=2, progress=lambda *step: stages.append(step))
    seen = found(result)
    assert result.clusters == (("leak", "leaked"),)
    assert seen["split_leak"].examples == ("leak = leaked",)
    assert seen["near_duplicate"].count == 1
    assert seen["near_duplicate_labels"].count == 1
    assert "same_file" not in seen
    assert {w.split()[0] for w in (*seen["partial"].examples,)} == {"cut"}
    assert stages[-1] == ("pictures", 9, 9)
    assert result.errors == sum(f.level == "error" for f in result.findings)


def test_a_file_that_stands_twice_is_the_same_file(tmp_path: Path) -> None:
    write(tmp_path / "videos/a.mp4", 1)
    (tmp_path / "videos/b.mp4").write_bytes((tmp_path / "videos/a.mp4").read_bytes())
    result = audit(Records([fake("a", TRACE), fake("b", TRACE)], root=tmp_path), deep=True)
    assert found(result)["same_file"].examples == ("a = b",)
    assert "split_leak" not in found(result)


def test_a_backbone_takes_the_place_of_content(tmp_path: Path) -> None:
    records = Records([fake(f"f{i}", TRACE) for i in range(4)] + [real(f"r{i}") for i in range(4)], root=tmp_path)
    for i, record in enumerate(records):
        write(tmp_path / str(record.path), i, frames=4)

    def backbone(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        assert images.shape[1:] == (224, 224, 3)
        return images.reshape(len(images), -1)[:, :5].astype(float)

    result = audit(records, deep=True, backbone=backbone)
    assert result.shortcuts is not None
    assert result.shortcuts.get("content").features == 5
    with pytest.raises(RecordError, match="backbone"):
        audit(records, deep=True, backbone=lambda images: np.zeros(3))


def test_the_example_has_its_flaws_and_its_shortcut(six_pairs: Path) -> None:
    result = audit(load_records(six_pairs), deep=True)
    seen = found(result)
    assert "demo_camera_0000 = demo_camera_again" in seen["split_leak"].examples[0].replace("cm2demo0000 = ", "")
    assert seen["file_unmatched"].examples == ("videos/cm2demo_no_row.mp4",)
    assert seen["no_explanation"].count > 0
    assert seen["offset_cut"].count > 0
    assert result.shortcuts is not None
    geometry = result.shortcuts.get("geometry")
    assert geometry.auroc is not None
    assert geometry.auroc.value == 1.0  # reals have another size and rate
    assert geometry.groups < 13  # twins and the copy are in the group of their fake, but for cropped ones


# ── features ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lowlevel_features_follow_what_was_done() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((3, 96, 128, 3), 120, np.uint8)
    plain = np.clip(flat + rng.normal(0, 5, flat.shape[:3])[..., None], 0, 255).astype(np.uint8)
    low = lowlevel_features(plain)
    assert low["noise"] == pytest.approx(5.0, rel=0.1)
    assert low["block_grid"] == pytest.approx(1.0, abs=0.1)
    blocks = plain.copy()
    blocks[:, :, 64:] = np.clip(blocks[:, :, 64:] + 0.0, 0, 255)
    tiles = rng.integers(60, 180, (12, 16)).repeat(8, 0).repeat(8, 1)
    blocks = np.repeat(tiles[None, :, :, None], 3, 0).repeat(3, 3).astype(np.uint8)
    assert lowlevel_features(blocks)["block_grid"] > 5
    framed = plain.copy()
    framed[:, :12] = framed[:, -24:] = 0
    borders = lowlevel_features(framed)
    assert (borders["border_top"], borders["border_bottom"]) == (12 / 96, 24 / 96)
    assert (borders["border_left"], borders["border_right"]) == (0, 0)
    moving = rng.integers(0, 255, (4, 96, 128, 3), dtype=np.uint8)
    logo = moving.copy()
    logo[:, :12, -20:] = rng.integers(0, 2, (12, 20, 1)) * 255
    assert lowlevel_features(logo)["logo"] > lowlevel_features(moving)["logo"] + 0.3


def test_blur_steepens_the_spectrum() -> None:
    import cv2

    sharp = np.random.default_rng(0).integers(0, 255, (1, 128, 128, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(sharp[0], (0, 0), 2)[None]
    assert lowlevel_features(soft)["spectrum_slope"] < lowlevel_features(sharp)["spectrum_slope"] - 1
    assert content_features(soft[0])["sharpness"] < content_features(sharp[0])["sharpness"]


@pytest.mark.parametrize("hw", [(1, 1), (2, 5), (9, 9), (64, 3)])
def test_tiny_pictures_have_features_too(hw: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (1, *hw, 3), dtype=np.uint8)
    assert np.isfinite(list(lowlevel_features(images).values())).all()
    assert np.isfinite(list(content_features(images[0]).values())).all()


def test_facts_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 1)
    facts = read_facts(tmp_path / "a.mp4")
    assert facts.index_first is True
    assert facts.brand == "isom"
    assert facts.size_bytes == (tmp_path / "a.mp4").stat().st_size
    assert {"lavf", "x264"} <= facts.marks
