"""Every error that deeptrace raises. Each has a stable ``code`` for programs and a message for people.

A message says what went wrong, what was found, what was expected and what to do next. It names a file by its last
part only: an absolute path or a secret never enters a message.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Literal

VideoCode = Literal[
    "NOT_FOUND",  # no such file
    "NOT_A_REGULAR_FILE",  # folder, device, pipe, socket or symbolic link
    "NOT_READABLE",  # the system refused to open it
    "TOO_LARGE",  # more bytes than the reader takes
    "NOT_A_VIDEO",  # no container that we read
    "NO_VIDEO_STREAM",  # a container without pictures: audio only, subtitles only, cover art only
    "UNSUPPORTED_CODEC",  # pictures in a codec that is not built in
    "VIDEO_TRUNCATED",  # cut off so early that nothing can be shown
    "VIDEO_DAMAGED",  # whole in length, but no picture decodes
    "FRAME_TOO_LARGE",  # a picture of more pixels than the reader takes
    "TOO_MANY_FRAMES",  # more pictures than declared or than the reader takes
    "RESULT_TOO_LARGE",  # the frames asked for do not fit into the memory allowed
    "NO_FRAMES",  # the window asked for holds no picture
    "OUT_OF_MEMORY",  # the decoder reached its memory limit
    "DECODER_TIMEOUT",  # no answer within the wall clock or CPU limit
    "DECODER_CRASHED",  # the worker died, or answered with nonsense
    "BAD_FRAMES",  # an array that is not frames
    "BAD_WINDOW",  # sampling options that make no sense
    "WRITE_FAILED",  # a video could not be written
]

InjectionCode = Literal[
    "NO_OBJECT",  # nothing in the footage that this category could act on (at the onset asked for)
    "NO_ROOM",  # too few frames after the onset, or no place in the frame for what is to appear
    "TOO_FAINT",  # the change would be too small to see
    "NO_BACKGROUND",  # what lies behind the object is not seen, and what was made up in its place is not like it
]

WebCode = Literal[
    "UNAUTHORIZED",  # no token, a wrong one, or two
    "HOST_NOT_ALLOWED",  # the Host header names a server that this is not
    "ORIGIN_NOT_ALLOWED",  # a page of another site sends the request
    "NOT_FOUND",  # no such route
    "BAD_REQUEST",  # a request that makes no sense
    "INVALID_REQUEST",  # JSON that is not what the route takes
    "BODY_TOO_LARGE",  # more bytes than the server takes
    "BODY_TOO_SLOW",  # the body did not come in time
    "TOO_MANY_REQUESTS",  # this client has its share of the queue already
    "SERVER_BUSY",  # the queue is full, or the server is about to end
    "REQUEST_TIMEOUT",  # no answer within the server's limit
    "PATH_NOT_ALLOWED",  # no readable file under the allowed roots has this path
    "RANGE_NOT_ALLOWED",  # more than one range of bytes
    "UNSAFE_SERVER",  # options under which a server must not start
    "INTERNAL_ERROR",  # a fault of the server's
]


class DeepTraceError(Exception):
    """Base of every error raised by deeptrace. ``code`` is stable across releases; the text is not."""

    code: str = "ERROR"


class RecordError(DeepTraceError, ValueError):
    """A value that no record, trace or verdict may hold. ``field`` names it."""

    code = "INVALID_VALUE"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class JsonError(DeepTraceError, ValueError):
    """Text that is not the JSON we accept: malformed, or with NaN, infinity, duplicate keys, endless nesting."""

    code = "INVALID_JSON"


class AnswerError(DeepTraceError, ValueError):
    """A question, answer format or coordinate space that does not exist, does not fit, or cannot be rendered."""

    code = "INVALID_ANSWER_FORMAT"


class VideoError(DeepTraceError):
    """A video that could not be read or written. ``code`` is one of `VideoCode`."""

    def __init__(self, code: VideoCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code


class ModelError(DeepTraceError):
    """A model that does not exist or cannot be loaded."""

    code = "MODEL_ERROR"


class FileError(DeepTraceError):
    """A file of ours (not a video) that cannot be read or written."""

    code = "FILE_ERROR"


class InjectionError(DeepTraceError):
    """A trace that cannot be put into this footage. ``code`` is one of `InjectionCode`."""

    def __init__(self, code: InjectionCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code


class RecipeError(DeepTraceError, ValueError):
    """A recipe that cannot be used. ``problems`` lists everything that is wrong in it."""

    code = "INVALID_RECIPE"

    def __init__(self, name: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{name}: " + "\n  ".join(["cannot be used:", *self.problems]))


class TrainError(DeepTraceError):
    """A training that cannot start or go on."""

    code = "TRAIN_ERROR"


class WebError(DeepTraceError):
    """A request that a web server of ours refuses.

    ``code`` is one of `WebCode`, ``status`` the HTTP status, ``retry_seconds`` when to come again; None: never.
    """

    def __init__(self, status: int, code: WebCode, message: str, *, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code: str = code
        self.retry_seconds = retry_seconds


class MissingExtra(DeepTraceError, ImportError):
    """A feature whose optional dependencies are not installed, or are installed and cannot be loaded.

    Which of the two, it sees from the exception that is being handled where it is made.
    """

    code = "MISSING_EXTRA"

    def __init__(self, feature: str, extra: str) -> None:
        cause = sys.exc_info()[1]
        if _is_broken(cause):
            why = _FOLDERS.sub("", str(cause))
            text = f"{feature} needs a package that is installed and cannot be loaded: {why}. Reinstall that package."
        else:
            text = f"{feature} needs packages that are not installed. Run: pip install 'deeptrace[{extra}]'"
        super().__init__(text)
        self.extra = extra


# Of a path, all but its last part.
_FOLDERS = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][^\\/\s()':]+)*[\\/](?=[^\\/\s()':]+)")


def _is_broken(cause: BaseException | None) -> bool:
    """Whether an import failed for another reason than that the package is not there."""
    if not isinstance(cause, ImportError) or isinstance(cause, MissingExtra):
        return False
    return not isinstance(cause, ModuleNotFoundError) or (cause.name or "").startswith("deeptrace")
