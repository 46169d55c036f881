"""A made-up ``all_data.json`` with the counts of the RewardData release. No text in it is from the release.

Counts that hold exactly: rows and videos by source, by split and by label (paper, Table 1 and section 4), 2,716 written
explanations, 277 of them on 212 videos of the test split, 2,639 tagged rows.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

REAL_SOURCE = "LLaVA-Video-178K_0_30_s_academic_v0_1"


class Source(NamedTuple):
    rows: int
    videos: int
    width: int
    height: int
    fps: float
    seconds: float
    trace_seconds: float


SOURCES = {
    "Kling 1.0": Source(1264, 829, 1280, 720, 30.0, 5.1, 3.5),
    "Sora": Source(38, 28, 1433, 853, 30.0, 16.3, 7.3),
    "Pika 1.5": Source(2215, 1742, 1296, 720, 24.0, 5.0, 3.7),
    "Kling 1.5": Source(226, 171, 1920, 1080, 30.0, 5.1, 4.1),
    "MiniMax-Video-01": Source(78, 75, 1280, 720, 25.0, 5.6, 4.9),
    "Mochi 1": Source(102, 94, 848, 480, 30.0, 5.4, 3.8),
    "Gen-3": Source(411, 379, 1280, 768, 24.0, 10.7, 6.6),
}
SPLITS = {"train": (2654, 3460), "val": (332, 434), "test": (332, 440)}  # fake videos, fake rows
EXPLAINED = {"train": 2165, "val": 274, "test": 277}
TAGGED_ROWS = 2639
TAGS = {
    "Shape distortion (e.g. human arm bending as rubbery)": 20.9,
    "Blurring (e.g. sudden blurring)": 18.8,
    "weird motion (e.g. unnatural movement paths / patterns)": 18.3,
    "sudden appearance (e.g. something comes from nowhere)": 17.6,
    "merging (e.g. two objects merge into one.)": 11.2,
    "splitting (e.g. one object splits into two)": 4.5,
    "overlap background distortion (e.g. because of object movement)": 4.1,
    "sudden disappearance (e.g. something vanishes)": 2.5,
    "unexpected move for still things (e.g. trail moves)": 2.1,
}
_WORDS = ("a", "the", "slow", "camera", "follows", "red", "kite", "over", "river", "while", "people", "talk", "beside")


def make_row(**changes: Any) -> dict[str, Any]:
    """One right fake row of a 1280 x 720 video of 5 s at 24 fps: box 128, 72, 256 x 144, from 1 s for 2 s."""
    return {
        "video_id": "cm2p0z6r111at0709f1l5ubdb",
        "video_path": "videos/cm2p0z6r111at0709f1l5ubdb.mp4",
        "video_type": "fake_video",
        "video_source": "Pika 1.5",
        "split": "train",
        "video_prompt": "a red kite over a river",
        "video_mime_type": "video/mp4",
        "video_width": 1280,
        "video_height": 720,
        "video_frame_rate": 24.0,
        "video_frame_count": 120,
        "video_duration": 5.0,
        "faketrace_bbox": {"left": 128.0, "top": 72.0, "width": 256.0, "height": 144.0},
        "faketrace_first_frame": 24,
        "faketrace_duration": 2.0,
        "faketrace_explanations": "The tail of the kite bends like rubber.",
        "faketrace_check_applies": ["Shape distortion (e.g. human arm bending as rubbery)"],
        **changes,
    }


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words)).capitalize() + "."


def _fakes(rng: random.Random) -> list[tuple[str, str, int]]:
    """(source, split, rows) of each fake video: one row, or two for as many videos as the counts ask for."""
    sizes = [
        (source, 2 if i < counts.rows - counts.videos else 1)
        for source, counts in SOURCES.items()
        for i in range(counts.videos)
    ]
    rng.shuffle(sizes)
    pool = {n: [source for source, rows in sizes if rows == n] for n in (1, 2)}
    result = []
    for split, (videos, rows) in SPLITS.items():
        twice = rows - videos
        for n, count in ((2, twice), (1, videos - twice)):
            result += [(pool[n].pop(), split, n) for _ in range(count)]
    return result


def make_release_rows(seed: int = 0) -> list[dict[str, Any]]:
    """7,652 rows: 4,334 fake ones on 3,318 videos, then 3,318 real ones."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number, (source, split, count) in enumerate(_fakes(rng)):
        video_id = f"cm{number:04d}{rng.getrandbits(95):019x}"[:25]
        shape = SOURCES[source]
        frames = round(shape.seconds * shape.fps)
        common = make_row(
            video_id=video_id,
            video_path=f"videos/{video_id}.mp4",
            video_source=source,
            split=split,
            video_prompt=_text(rng, 190),
            video_width=shape.width,
            video_height=shape.height,
            video_frame_rate=shape.fps,
            video_frame_count=frames,
            video_duration=frames / shape.fps,
        )
        for _ in range(count):
            width, height = rng.uniform(40, shape.width / 2), rng.uniform(40, shape.height / 2)
            left, top = rng.uniform(0, shape.width - width), rng.uniform(0, shape.height - height)
            first = rng.randrange(frames // 2)
            length = min(rng.uniform(0.6, 1.4) * shape.trace_seconds, (frames - first) / shape.fps)
            box = {"left": left, "top": top, "width": width, "height": height}
            rows.append(
                {**common, "faketrace_bbox": box, "faketrace_first_frame": first, "faketrace_duration": length}
                | {"faketrace_explanations": "", "faketrace_check_applies": []}
            )
    _explain(rows, rng)
    for row in rng.sample(rows, TAGGED_ROWS):
        row["faketrace_check_applies"] = rng.choices(list(TAGS), list(TAGS.values()))
    return rows + _reals(rng)


def _explain(rows: list[dict[str, Any]], rng: random.Random) -> None:
    """In test: 65 videos of two rows and 147 of one, together 277 rows on 212 videos. Elsewhere: the first rows."""
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_video.setdefault(row["video_id"], []).append(row)
    test = [group for group in by_video.values() if group[0]["split"] == "test"]
    twice, once = ([group for group in test if len(group) == n] for n in (2, 1))
    chosen = [row for group in twice[:65] + once[:147] for row in group]
    for split in ("train", "val"):
        chosen += rng.sample([row for row in rows if row["split"] == split], EXPLAINED[split])
    for row in chosen:
        row["faketrace_explanations"] = _text(rng, 40)


def _reals(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for split, (videos, _) in SPLITS.items():
        for number in range(videos):
            video_id = f"0_30_s_academic_v0_1_{split}_{number:05d}"
            row = make_row(
                video_id=video_id,
                video_path=f"real_videos/{video_id}.mp4",
                video_type="real_video",
                video_source=REAL_SOURCE,
                split=split,
                video_prompt=None,
                video_width=1055,
                video_height=623,
                video_frame_rate=30.0,
                video_frame_count=173,
                video_duration=5.78,
            )
            real = {name: value for name, value in row.items() if not name.startswith("faketrace_")}
            rows.append(real if rng.random() < 0.5 else real | {n: None for n in row if n.startswith("faketrace_")})
    return rows


def make_release(folder: Path, seed: int = 0) -> Path:
    """Write ``all_data.json`` into ``folder``; the path."""
    path = folder / "all_data.json"
    path.write_text(json.dumps(make_release_rows(seed), indent=4), encoding="utf-8")
    return path
