"""deeptrace: find what looks fake in a video, where, when, which kind, and why.

Everything a user imports stands here; each name is brought in from its room when it is first used, so that
``import deeptrace`` itself loads no decoder, no numeric library and no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from deeptrace.errors import DeepTraceError

if TYPE_CHECKING:
    from deeptrace.categories import CATEGORIES
    from deeptrace.data import load_records
    from deeptrace.errors import FileError, JsonError, MissingExtra, ModelError, RecordError, VideoError
    from deeptrace.models import Model, VideoSource, load
    from deeptrace.pages.overlay import write_overlay
    from deeptrace.pages.report import ReportItem, write_report
    from deeptrace.records import (
        Annotation,
        Failed,
        Frames,
        KeyBox,
        Origin,
        Outcome,
        Record,
        Score,
        Trace,
        Unparsed,
        Verdict,
        VideoInfo,
    )
    from deeptrace.reward import Reward
    from deeptrace.rows import outcome_from_row, outcome_to_row
    from deeptrace.video import iter_frames, probe, sample_frames, write_video

__version__ = "0.1.0"

_HOMES: Final[dict[str, str]] = {
    "CATEGORIES": "categories",
    "Annotation": "records",
    "Failed": "records",
    "FileError": "errors",
    "Frames": "records",
    "JsonError": "errors",
    "KeyBox": "records",
    "MissingExtra": "errors",
    "Model": "models",
    "ModelError": "errors",
    "Origin": "records",
    "Outcome": "records",
    "Record": "records",
    "RecordError": "errors",
    "ReportItem": "pages.media",
    "Reward": "reward",
    "Score": "records",
    "Trace": "records",
    "Unparsed": "records",
    "Verdict": "records",
    "VideoError": "errors",
    "VideoInfo": "records",
    "iter_frames": "video",
    "load": "models",
    "load_records": "data",
    "outcome_from_row": "rows",
    "outcome_to_row": "rows",
    "probe": "video",
    "sample_frames": "video",
    "write_overlay": "pages.overlay",
    "write_report": "pages.report",
    "write_video": "video",
}
"""Public name -> the module of this package that it comes from."""

__all__ = [
    "CATEGORIES",
    "Annotation",
    "DeepTraceError",
    "Failed",
    "FileError",
    "Frames",
    "JsonError",
    "KeyBox",
    "MissingExtra",
    "Model",
    "ModelError",
    "Origin",
    "Outcome",
    "Record",
    "RecordError",
    "ReportItem",
    "Reward",
    "Score",
    "Trace",
    "Unparsed",
    "Verdict",
    "VideoError",
    "VideoInfo",
    "__version__",
    "inspect",
    "iter_frames",
    "load",
    "load_records",
    "outcome_from_row",
    "outcome_to_row",
    "probe",
    "sample_frames",
    "write_overlay",
    "write_report",
    "write_video",
]


def inspect(
    videos: VideoSource | Iterable[VideoSource], model: str | Model = "embedded", **options: Any
) -> list[Outcome]:
    """What the model says of each video, in order: a `Verdict`, or an `Unparsed` or `Failed` with its reason.

    One path, one file's bytes and one `Frames` are one video; anything else is taken as several. ``model`` is a name,
    loaded with ``options`` (``prior=``, ``threshold=``, see `load`), or a model that is there already. A video that
    cannot be read costs its own outcome only.

    Raises:
        ModelError: there is no such model, or it takes no such option.
        MissingExtra: its optional packages are not installed.
    """
    from deeptrace.models import load

    loaded = load(model, **options) if isinstance(model, str) else model
    return loaded.inspect(videos)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deeptrace' has no attribute {name!r}")
    value = getattr(import_module(f"deeptrace.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
