"""transformers, imported when needed and kept quiet. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deeptrace.errors import DeepTraceError, MissingExtra


def load_transformers(feature: str) -> Any:
    """The transformers package, with torch and torchvision there too.

    Raises:
        MissingExtra: one of them is not installed; ``feature`` says what needed it.
    """
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401 - the video processors of transformers need it, and say so late
        import transformers
    except ImportError:
        raise MissingExtra(feature, "hf") from None
    return transformers


def load_errors() -> tuple[type[Exception], ...]:
    """What the library raises for a folder that it cannot make sense of."""
    from huggingface_hub.errors import StrictDataclassError

    return (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, StrictDataclassError)


def refusal(error: BaseException) -> str | None:
    """Why the system refused a write or a read, when that is what an error says; None for any other.

    Weights are written by safetensors and states by torch, which have errors of their own for a full disk.
    """
    if isinstance(error, DeepTraceError):
        return None
    if isinstance(error, OSError):
        return error.strerror or one_line(error)
    kind, words = type(error).__name__, one_line(error) if isinstance(error, Exception) else ""
    if kind == "SafetensorError" and "I/O error" in words:
        return words.partition("I/O error: ")[2] or words
    writing = ("PytorchStreamWriter", "inline_container", "iostream error", "unexpected pos", "file write failed")
    if isinstance(error, RuntimeError) and any(part in words for part in writing):
        cause = error.__context__
        return (isinstance(cause, OSError) and cause.strerror) or "the write failed, as on a full disk"
    return None


def one_line(error: Exception) -> str:
    """The library's words on one line, cut short: they may hold anything."""
    return " ".join(str(error).split())[:300]


@contextmanager
def no_bars() -> Iterator[None]:
    """Reading and writing weights without the library's own progress bars."""
    from transformers.utils import logging

    were_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_enabled:
            logging.enable_progress_bar()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's warnings, where what they say is reported in another way."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
