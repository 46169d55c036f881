"""Annotations of other tools to `Record` and back. The caller names a file; what could not be read or written is said.

| format | read | written | unit of time |
|---|---|---|---|
| ``labelbox`` | export v2 (NDJSON) | in the export's shape, or to import | frames from 1 |
| ``label-studio`` | JSON export | tasks, and the labelling configuration | frames from 1 |
| ``cvat`` | CVAT for video 1.1: XML, zip, a folder of them | dense or sparse | frames from 0 |
| ``hf`` | videofolder: metadata.jsonl or .parquet | the same, and a card | seconds |
| ``coco`` | - | a picture for each frame | frames from 0 |
| ``fiftyone`` | - | dictionaries of samples | frames from 1 |

Frame numbers need the video's frame rate: from the file, else from ``infos``. A video with a variable frame rate is
refused, for its frame numbers are no times. No value is dropped without a `Problem`; only what a video file says of
itself beyond size, rate and length (codec, audio) is not written.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from deeptrace.data.read.problems import Problem
from deeptrace.errors import FileError, RecordError
from deeptrace.files import make_folder, open_regular
from deeptrace.records import Record, VideoInfo

__all__ = ["FORMATS", "READABLE", "Format", "read", "read_options", "sniff", "write"]

Format = Literal["labelbox", "label-studio", "cvat", "hf", "coco", "fiftyone"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
"""Every format that `write` knows."""

_READERS: Final[dict[Format, str]] = {
    "labelbox": "labelbox",
    "label-studio": "label_studio",
    "cvat": "cvat",
    "hf": "hf",
}
READABLE: Final[tuple[Format, ...]] = tuple(_READERS)
"""Every format that `read` knows."""

_WRITERS: Final[dict[str, str]] = {
    "labelbox": "labelbox_write",
    "label-studio": "label_studio_write",
    "cvat": "cvat_write",
    "hf": "hf_write",
    "coco": "coco",
    "fiftyone": "fiftyone",
}
_HEAD_BYTES: Final = 1 << 16


def read(
    path: str | os.PathLike[str],
    format: Format | None = None,
    *,
    infos: Mapping[str, VideoInfo] | None = None,
) -> tuple[list[Record], list[Problem]]:
    """The records of an annotation export, and every value that was emptied, repaired or set aside.

    ``format`` is recognised from the content when it is None (see `sniff`). ``infos`` says what is known of the videos,
    by video id, path or file name; it wins over what the file says. A video's annotators become its annotations, in the
    file's order. Tags that are none of the nine categories are in ``Annotation.extra["unknown_tags"]``.

    Raises:
        RecordError: frame numbers cannot become seconds or pixels fractions (all videos are named), or the format is
            unknown or only written.
        FileError: the file cannot be opened, is not what it should be, or holds XML entities.
        JsonError: a line is not JSON; names file and line.
        MissingExtra: a package of ``deeptrace[data]`` is not installed.
    """
    source = Path(path)
    file_format = format if format is not None else sniff(source)
    if file_format is None:
        names = ", ".join(READABLE)
        raise RecordError("format", f"{source.name!r} is in no format that is read here. Known: {names}")
    if file_format not in _READERS:
        why = "is only written, not read" if file_format in FORMATS else "is not a format"
        raise RecordError("format", f"{file_format!r} {why}. Read are: {', '.join(READABLE)}")
    module = import_module(f"deeptrace.data.convert.{_READERS[file_format]}")
    records: list[Record]
    problems: list[Problem]
    records, problems = module.read(source, infos)
    return records, problems


def write(
    path: str | os.PathLike[str],
    records: Sequence[Record],
    format: Format,
    **options: Any,
) -> list[Problem]:
    """Write records, each file whole or not at all; returns what the format cannot carry. A missing folder is made.

    ``emptied`` was not written, ``repaired`` was written differently. Options, by format:

    - ``labelbox``: ``shape`` "export" (default) or "import"; ``interpolated_frames``
    - ``label-studio``: ``url_prefix``; ``text`` "textarea" (default) or "meta"
    - ``cvat``: ``density`` "dense" (default) or "sparse"; ``zipped``
    - ``hf``: ``layout`` "jsonl" (default) or "parquet"; ``videos``; ``title``; ``license``
    - ``coco``: ``file_name``; ``every``, from 1

    Raises:
        RecordError: the format, an option or its value is unknown, or a video's rate is variable, or needed and not
            known.
        FileError: the system refused; the old file is intact.
    """
    if format not in _WRITERS:
        raise RecordError("format", f"{format!r} is not a format. Known: {', '.join(FORMATS)}")
    module = import_module(f"deeptrace.data.convert.{_WRITERS[format]}")
    for name, value in options.items():
        _check_option(name, value, _option_type(format, name))
    make_folder(Path(path).parent)
    problems: list[Problem] = module.write(Path(path), records, **options)
    return problems


def read_options(format: str, texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The options of `write` in pairs of name and text, as a command line gives them.

    Raises:
        RecordError: the format or an option is unknown, stands twice, or its text is no value of it.
    """
    options: dict[str, Any] = {}
    for name, text in texts:
        kind = _option_type(format, name)
        value: Any = text
        if kind is bool:
            value = {"true": True, "false": False}.get(text.lower(), text)
        elif kind is int and text.isascii() and text.isdigit() and len(text) < 10:
            value = int(text)
        _check_option(name, value, kind)
        if name in options:
            raise RecordError("options", f"{name!r} is given twice")
        options[name] = value
    return options


def _option_type(format: str, name: str) -> Any:
    """The type of an option: a Literal, bool, int or something that a text can be."""
    if format not in _WRITERS:
        raise RecordError("format", f"{format!r} is not a format. Known: {', '.join(FORMATS)}")
    writer = import_module(f"deeptrace.data.convert.{_WRITERS[format]}").write
    defaults = writer.__kwdefaults__ or {}
    if name not in defaults:
        raise RecordError("options", f"{format!r} has no option {name!r}. Known: {', '.join(defaults) or 'none'}")
    return get_type_hints(writer)[name]


def _check_option(name: str, value: object, kind: Any) -> None:
    problem = f"{value!r} is not a value of {name!r}"
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise RecordError("options", f"{problem}. Known: {', '.join(get_args(kind))}")
    elif kind is bool:
        if not isinstance(value, bool):
            raise RecordError("options", f"{problem}. Known: true, false")
    elif kind is int and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise RecordError("options", f"{problem}, a whole number from 1")


def sniff(path: str | os.PathLike[str]) -> Format | None:
    """The readable format of a file or folder, by its content; None where it is none of them.

    Raises:
        FileError: it cannot be opened.
    """
    source = Path(path)
    try:
        if source.is_dir():
            return _sniff_folder(source)
        with open(open_regular(source), "rb") as file:
            head = file.read(_HEAD_BYTES)
            if head.startswith(b"PK\x03\x04"):
                with zipfile.ZipFile(file) as archive:
                    return "cvat" if "annotations.xml" in archive.namelist() else None
    except zipfile.BadZipFile:
        return None
    except OSError as error:
        raise FileError(f"cannot read {source.name!r}: {error.strerror}") from None
    return _sniff_head(head)


def _sniff_folder(folder: Path) -> Format | None:
    from deeptrace.data.convert.hf import metadata_files

    if metadata_files(folder):
        return "hf"
    files = sorted(child for child in folder.iterdir() if child.suffix.lower() in {".xml", ".zip"})
    return "cvat" if files and all(sniff(file) == "cvat" for file in files) else None


def _sniff_head(head: bytes) -> Format | None:
    if head.startswith(b"PAR1"):
        return "hf"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return "cvat" if b"<annotations" in start else None
    if start.startswith(b"["):
        if b'"data_row"' in start:
            return "labelbox"
        words = (b'"annotations"', b'"data"', b'"predictions"', b'"completions"', b'"result"', b'"completed_by"')
        tasks = sum(word in start for word in words) >= 2
        return "label-studio" if tasks or start[1:].strip() == b"]" else None
    if start.startswith(b"{"):
        line = start.split(b"\n", 1)[0]
        if b'"data_row"' in line:
            return "labelbox"
        return "hf" if b'"file_name"' in line and b'"images"' not in line else None
    return None
