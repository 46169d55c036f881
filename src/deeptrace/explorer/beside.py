"""Several videos side by side that move together, and the pixels in which any two of them differ.

An address names them, ``/beside?id=A&id=B``, or one video of an injected pair, ``/beside?of=A``: then what it was made
of (where `deeptrace inject` kept it), its twin and the fake stand there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deeptrace.errors import WebError
from deeptrace.explorer.browse import clip_json, entry_of, extra_text, load_clip, trace_json
from deeptrace.explorer.index import DatasetIndex, Entry
from deeptrace.explorer.site import Site, link_to, shown_json, template_page
from deeptrace.records import Record

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["BesideVideo", "beside_page", "injected_videos", "pair_of"]

MOST_BESIDE: Final = 4
_LABELS: Final = {"fake": "Fake", "real": "Real", "unsure": "Cannot tell", None: "No label"}


@dataclass(frozen=True)
class BesideVideo:
    """One of the videos. ``role``: what it is among them, in words; ``href`` None: it is no record of the dataset."""

    record: Record
    role: str
    href: str | None


def _plain(entry: Entry) -> BesideVideo:
    return BesideVideo(entry.record, _LABELS[entry.record.label], link_to("/video", ("id", entry.video_id)))


def injected_videos(index: DatasetIndex, entry: Entry) -> list[BesideVideo]:
    """The original (where it was kept), the twin and the fake of the pair that a video belongs to.

    Raises:
        WebError: 404: it is of no pair, the other one is not in this dataset, or the two are not a fake and its twin.
    """
    twin = index.by_id.get(extra_text(entry, "inject_twin") or "")
    if twin is None:
        raise WebError(404, "NOT_FOUND", "this video has no injected twin in this dataset")
    if {entry.record.label, twin.record.label} != {"fake", "real"}:
        raise WebError(404, "NOT_FOUND", "by their labels these two are not a fake and its twin")
    fake, real = (entry, twin) if entry.record.label == "fake" else (twin, entry)
    is_sham = real.record.extra.get("sham") is True or any(
        annotation.extra.get("sham") is True for annotation in real.record.annotations
    )
    videos = [
        BesideVideo(real.record, "Sham" if is_sham else "Original", _plain(real).href),
        BesideVideo(fake.record, "Fake", _plain(fake).href),
    ]
    kept = extra_text(fake, "inject_original")
    if kept is not None and is_sham:
        videos.insert(0, BesideVideo(Record(f"{fake.video_id} before both edits", kept), "Original", None))
    return videos


def pair_of(text: str, count: int, *, otherwise: tuple[int, int]) -> tuple[int, int] | None:
    """Which two of ``count`` videos are compared, from 0: "2,3" is (1, 2), "" and "0" none, other ``otherwise``."""
    if text in ("", "0"):
        return None
    first, _, second = text.partition(",")
    numbers = [int(part) for part in (first, second) if part.isascii() and part.isdigit() and len(part) == 1]
    if len(numbers) == 2 and numbers[0] != numbers[1] and all(1 <= number <= count for number in numbers):
        return numbers[0] - 1, numbers[1] - 1
    return otherwise


def beside_page(site: Site, request: Request) -> Response:
    """Up to four videos that move together: near-duplicates, or a fake with its sham, its original and what changed."""
    index = site.data.index
    if (of := request.query_params.get("of")) is not None:
        videos = injected_videos(index, entry_of(request, index, of))
    else:
        ids = list(dict.fromkeys(request.query_params.getlist("id")))[:MOST_BESIDE]
        videos = [_plain(entry_of(request, index, video_id)) for video_id in ids]
    if len(videos) < 2:
        raise WebError(400, "BAD_REQUEST", "name two videos or more: /beside?id=...&id=...")
    clips, problems = [], []
    for video in videos:
        shown, problem = load_clip(site.data, video.record)
        clips.append(None if shown is None else clip_json(shown, site.data))
        problems.append(problem)
    traces = [[trace_json(trace, 0, n) for trace in video.record.traces] for n, video in enumerate(videos)]
    pair = pair_of(
        request.query_params.get("changes", ""), len(videos), otherwise=(0, 1 if of is None else len(videos) - 1)
    )
    return template_page(
        site,
        "beside.html.j2",
        request,
        data={"clips": clips, "traces": shown_json(traces), "pair": pair},
        columns=list(zip(videos, problems, strict=True)),
        pair=pair,
    )
