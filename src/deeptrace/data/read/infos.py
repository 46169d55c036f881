"""What is known of videos beside their annotations: from the caller, else from the headers of the files themselves.

`load_records` makes it, the readers of exports ask it: frame numbers become seconds only with the video's frame rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from typing_extensions import override

from deeptrace.data.paths import resolve
from deeptrace.errors import RecordError, VideoError
from deeptrace.records import Record, VideoInfo


class InfoMissing(RecordError):
    """Frame numbers without frame rate, or pixels without frame size. ``what`` says so without saying what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__("infos", f"{what}. {advice}")
        self.what = what


def info_seconds(info: VideoInfo | None) -> float | None:
    """The length that a header or a row declares, else frames / rate; None where neither is known."""
    return None if info is None else info.length_seconds


class ProbedInfos(Mapping[str, VideoInfo]):
    """``infos`` of the caller, which can also read a video's header; each file is read at most once."""

    def __init__(self, root: Path, infos: Mapping[str, VideoInfo] | None = None) -> None:
        self._root = root
        self._infos = infos or {}
        self._probed_infos: dict[str, VideoInfo | None] = {}

    @override
    def __getitem__(self, name: str) -> VideoInfo:
        return self._infos[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    @override
    def __len__(self) -> int:
        return len(self._infos)

    def look(self, path: str) -> VideoInfo | None:
        """The header of the file at a path relative to the root; None where it cannot be read."""
        if path not in self._probed_infos:
            self._probed_infos[path] = _probe(self._root, path)
        return self._probed_infos[path]


def fill_infos(records: Iterable[Record], root: Path) -> list[Record]:
    """The records; those whose rate or size is not known and whose file can be read have it from the file's header."""
    probed_infos = ProbedInfos(root)
    return [
        record
        if record.path is None
        or (record.info is not None and record.info.fps is not None)
        or (info := probed_infos.look(record.path)) is None
        else replace(record, info=info)
        for record in records
    ]


def fill_lengths(records: Iterable[Record], root: Path) -> list[Record]:
    """The records; where no length is known it is read from the file's header. What annotations declare stays."""
    filled = []
    for record in records:
        info = None if record.path is None or info_seconds(record.info) is not None else _probe(root, record.path)
        if info is not None and record.info is not None:
            info = replace(record.info, num_frames=info.num_frames, duration_seconds=info.duration_seconds)
        filled.append(record if info is None else replace(record, info=info))
    return filled


def _probe(root: Path, path: str) -> VideoInfo | None:
    from deeptrace.video import probe

    try:
        return probe(resolve(root, Record("video", path)))
    except (RecordError, VideoError):
        return None
