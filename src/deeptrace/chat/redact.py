"""Secrets never leave: not in logs, errors, reprs or files. A secret is replaced by ``[secret]``."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from typing import Final

from typing_extensions import override

MASK: Final = "[secret]"

_MIN_LENGTH: Final = 6  # anything shorter would blank out ordinary words

_MIN_IN_REPLIES: Final = 16  # what a model writes is changed for nothing that it could have written by itself

_SHAPES: Final = (
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"(?i)(\b(?:api[-_]?key|access[-_]?token|authorization|x-api-key|password|secret)\b[\"']?\s*[:=]\s*[\"']?)"
               r"(?!\[secret\])(?!bearer\b|basic\b)[^\s\"'&,;}\])]{4,}"),
    re.compile(r"()\b(?:sk|pk|rk|hf|gsk|xai)[-_][A-Za-z0-9_-]{12,}"),
    re.compile(r"()\bAIza[A-Za-z0-9_-]{20,}"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),
)  # fmt: skip
_NAMES: Final = re.compile(r"(?i)(key|token|secret|password|passwd|credential)s?$")


def secrets_of_environment() -> set[str]:
    """Values of environment variables whose names end like a secret's (``..._KEY``, ``..._TOKEN``, ...)."""
    return {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= 8}


class Redactor:
    """Takes known secrets, and whatever is shaped like one, out of texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, so that a secret that holds another one is not left in pieces.
        parts = {part for secret in secrets for part in (secret, secret.strip()) if len(part) >= _MIN_LENGTH}
        self._secrets = tuple(sorted(parts, key=len, reverse=True))

    @override
    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def scrub(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        for shape in _SHAPES:
            text = shape.sub(lambda match: f"{match.group(1)}{MASK}", text)
        return text

    def scrub_reply(self, text: str) -> str:
        """``text`` of a model without known secrets of 16 characters or more; nothing else in it is touched."""
        for secret in self._secrets:
            if len(secret) >= _MIN_IN_REPLIES:
                text = text.replace(secret, MASK)
        return text


class RedactingFilter(logging.Filter):
    """A logging filter that takes secrets out of message, arguments and traceback. It never drops a record.

    Put on a handler it covers everything that the handler writes; `ChatClient` puts one on the loggers it causes to
    speak (its own, httpx's and httpcore's).
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; always True."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = self._redactor.scrub(message), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None  # the exception object holds the request and its headers
        if record.exc_text:
            record.exc_text = self._redactor.scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.scrub(record.stack_info)
        return True


LOGGERS: Final = (
    "deeptrace.chat",
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
    "httpcore.socks",
)


def attach(log_filter: RedactingFilter) -> None:
    """Put the filter on every logger of `LOGGERS`."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(log_filter)


def detach(log_filter: RedactingFilter) -> None:
    """Take it off again."""
    for name in LOGGERS:
        logging.getLogger(name).removeFilter(log_filter)
