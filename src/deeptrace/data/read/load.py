"""A file of anyone's annotations -> `Records`. Decides which reader fits; the readers know the formats.

Called by the command line, the trainer, the benchmark and the explorer. Opens no video unless asked to probe.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, overload

from typing_extensions import override

from deeptrace.data.paths import check_path
from deeptrace.data.read.infos import ProbedInfos
from deeptrace.data.read.jsonl import COUNTS_SCHEMA, FILE_NAME, iter_records
from deeptrace.data.read.problems import Problem, count_problems
from deeptrace.data.read.release import read_release
from deeptrace.errors import FileError, RecordError
from deeptrace.files import open_regular
from deeptrace.records import Record, VideoInfo
from deeptrace.rows import RECORD_SCHEMA

RELEASE_NAME: Final = "all_data.json"
SHOWN_PROBLEMS: Final = 20
_HEAD_BYTES: Final = 1 << 16


class Records(Sequence[Record]):
    """Records of one file, in its order, with what was wrong in it.

    ``root`` is the folder that the records' paths are relative to. ``problems`` lists every bad value, ``earlier``
    counts those that were noticed before this file was written; ``counts`` says how many there are of both by
    ``field: action``, most frequent first.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        root: Path,
        problems: Iterable[Problem] = (),
        earlier: Mapping[str, int] | None = None,
    ) -> None:
        self._records = tuple(records)
        self.root = root
        self.problems = tuple(problems)
        self.earlier: Mapping[str, int] = dict(earlier or {})

    @override
    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Record, ...]: ...
    def __getitem__(self, index: int | slice) -> Record | tuple[Record, ...]:
        return self._records[index]

    @override
    def __len__(self) -> int:
        return len(self._records)

    @override
    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    @override
    def __repr__(self) -> str:
        return f"<Records: {len(self)} videos in {self.root.name!r}, {len(self.problems)} problems>"

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many problems there are by ``field: action``, those of earlier readings included."""
        return dict((Counter(self.earlier) + Counter(count_problems(self.problems))).most_common())

    @cached_property
    def by_id(self) -> Mapping[str, Record]:
        """The records by ``video_id``."""
        return {record.video_id: record for record in self._records}


def load_records(
    path: str | os.PathLike[str],
    *,
    strict: bool = False,
    root: str | os.PathLike[str] | None = None,
    probe: bool = False,
    infos: Mapping[str, VideoInfo] | None = None,
) -> Records:
    """The records in a file, or in a folder that holds ``all_data.json`` or ``records.jsonl``.

    Reads the RewardData release, our own ``records.jsonl``, and what `deeptrace.data.convert` reads: exports of
    Labelbox (v2 NDJSON), Label Studio (JSON) and CVAT (XML), and the video folders of Hugging Face. Which one it is
    shows in the content. A bad value empties its field and is listed in ``problems``; a row without usable id or path
    is set aside and listed. With ``strict``, anything emptied, repaired or set aside is an error that lists the first
    20.

    ``root`` is the folder that the videos' paths are relative to; None: the folder of the file. ``infos`` says what is
    known of the videos, by video id, path or file name, to exports that lack it: frame numbers need a frame rate. With
    ``probe``, the headers of videos under ``root`` are read where neither an export nor ``infos`` says rate and size.

    Raises:
        FileError: no such file, or a folder without records.
        JsonError: the file is not JSON (or XML) at all.
        RecordError: ``strict``, and there are problems; or an export whose frame numbers cannot become seconds.
    """
    source = Path(path)
    folder = Path(root) if root is not None else source if source.is_dir() else source.parent
    if source.is_dir():
        source = _own_file(source) or source
    earlier: Counter[str] = Counter()
    records, problems = _read(source, ProbedInfos(folder, infos) if probe else infos, earlier)
    records = _one_per_id(records, source.name, problems)
    if strict:
        _refuse(source.name, problems)
    return Records(records, root=folder, problems=problems, earlier=earlier)


def iter_checked(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    probe: bool = False,
    on_problem: Callable[[Problem], None],
    on_counts: Callable[[Mapping[str, int]], None],
) -> Iterator[Record]:
    """The records and problems of `load_records`, in its order, without all of them in memory at once.

    A ``records.jsonl`` is streamed: of each record only 16 bytes of its id's hash stay. Other formats need the whole
    file to know a video's rows, and are loaded. Problems are handed over as they come, those of ids that stand on two
    records last.

    Raises:
        FileError, JsonError, RecordError: see `load_records`.
    """
    source = Path(path)
    if source.is_dir():
        source = _own_file(source) or source
    if source.is_dir() or not _is_streamed(source):
        records = load_records(path, root=root, probe=probe)
        if records.earlier:
            on_counts(records.earlier)
        for problem in records.problems:
            on_problem(problem)
        yield from records
        return
    id_hashes: set[bytes] = set()
    twice: list[str] = []
    for record in iter_records(source, on_problem=on_problem, on_counts=on_counts):
        key = hashlib.blake2b(record.video_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in id_hashes:
            twice.append(record.video_id)
            continue
        id_hashes.add(key)
        yield record
    for video_id in twice:
        on_problem(_on_two_records(source.name, video_id))


def _is_streamed(source: Path) -> bool:
    """Whether a file is our own, line by line; see `_read`."""
    head = _head(source).split(b"\n", 1)[0]
    return any(f'"{schema}"'.encode() in head for schema in (RECORD_SCHEMA, COUNTS_SCHEMA))


def _on_two_records(name: str, video_id: str) -> Problem:
    return Problem(name, None, video_id, "video_id", "stands on two records", "set_aside")


def _refuse(name: str, problems: Sequence[Problem]) -> None:
    bad = [problem for problem in problems if problem.action != "kept"]
    if bad:
        raise refusal(name, bad[:SHOWN_PROBLEMS], len(bad))


def refusal(name: str, first: Sequence[Problem], total: int) -> RecordError:
    """The error of a strict reading: the first problems of so many."""
    more = [f"and {total - len(first)} more"] if total > len(first) else []
    count = "1 problem" if total == 1 else f"{total} problems"
    return RecordError(name, "\n  ".join([f"{count}:", *map(str, first), *more]))


def _own_file(folder: Path) -> Path | None:
    names = [name for name in (FILE_NAME, RELEASE_NAME) if (folder / name).exists()]
    if len(names) > 1:
        raise FileError(f"{folder.name!r} holds both {FILE_NAME} and {RELEASE_NAME}; name the one to read")
    return folder / names[0] if names else None


def _read(
    source: Path, infos: Mapping[str, VideoInfo] | None, earlier: Counter[str]
) -> tuple[list[Record], list[Problem]]:
    problems: list[Problem] = []
    head = b"" if source.is_dir() else _head(source).split(b"\n", 1)[0]
    if any(f'"{schema}"'.encode() in head for schema in (RECORD_SCHEMA, COUNTS_SCHEMA)):
        return list(iter_records(source, on_problem=problems.append, on_counts=earlier.update)), problems
    lines = source.suffix.lower() in (".jsonl", ".ndjson")
    if source.name == RELEASE_NAME:
        return read_release(source)

    from deeptrace.data import convert

    format_name = convert.sniff(source)
    if format_name is not None:
        records, problems = convert.read(source, format_name, infos=infos)
        return _usable_paths(records, source.name, problems)
    if source.is_dir():
        what = f"{source.name!r} holds neither {RELEASE_NAME} nor {FILE_NAME}"
        if (source / "verdicts.jsonl").exists():
            raise FileError(f"{what}: it holds verdicts. Name the dataset where records are read; a run goes before it")
        raise FileError(f"{what}; name the file to read")
    if lines:
        return list(iter_records(source, on_problem=problems.append, on_counts=earlier.update)), problems
    return read_release(source)


def _head(file: Path) -> bytes:
    with open(open_regular(file), "rb") as stream:
        return stream.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()


def _usable_paths(records: Iterable[Record], name: str, problems: list[Problem]) -> tuple[list[Record], list[Problem]]:
    """Records of an annotation tool's export, without those whose path leads elsewhere."""
    usable, problems = [], list(problems)
    for record in records:
        try:
            usable.append(record if record.path is None else replace(record, path=check_path(record.path)))
        except RecordError as error:
            problems.append(Problem(name, None, record.video_id, "path", error.problem, "set_aside"))
    return usable, problems


def _one_per_id(records: Iterable[Record], name: str, problems: list[Problem]) -> list[Record]:
    """The first record of each id; the second one is another video under the same name, or a copy."""
    by_id: dict[str, Record] = {}
    for record in records:
        if record.video_id in by_id:
            problems.append(_on_two_records(name, record.video_id))
        else:
            by_id[record.video_id] = record
    return list(by_id.values())
