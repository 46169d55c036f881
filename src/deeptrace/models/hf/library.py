"""transformers, imported when needed and kept quiet. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deeptrace.errors import MissingExtra


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


def one_line(error: Exception) -> str:
    """The library's words on one line, cut short: they may hold anything."""
    return " ".join(str(error).split())[:300]


@contextmanager
def no_bars() -> Iterator[None]:
    """Reading and writing weights without the library's own progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
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
