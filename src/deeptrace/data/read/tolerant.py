"""JSON from strangers, read so that one bad value costs that value and not the file.

`loads` puts a `Bad` where a value cannot be taken (NaN, 1e999, a key given twice); the readers below turn it, or any
other value of the wrong kind, into a `RecordError` whose ``problem`` says what is wrong. They accept what is loose in
form ("1280", "29.97", "30000/1001", 121.0 for a count) and refuse what is loose in meaning (true, "1_0", "nan").
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from typing_extensions import override

from deeptrace.errors import JsonError, RecordError
from deeptrace.files import MAX_DEPTH, MAX_INT_DIGITS

MAX_ID_CHARS: Final = 1024

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_RATIO: Final = re.compile(r"([0-9]{1,12})/([0-9]{1,12})")
_SURROGATE: Final = re.compile("[\\ud800-\\udfff]")


class Bad:
    """Stands where a JSON value could not be taken; ``reason`` completes the sentence "the field ...".

    ``is_reported``: a `RecordError` has said so.
    """

    __slots__ = ("is_reported", "reason")

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.is_reported = False

    @override
    def __repr__(self) -> str:
        return f"Bad({self.reason!r})"


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                result[key] = Bad("stands twice in one object")
            keys.add(key)
    return result


def _float(text: str) -> float | Bad:
    value = float(text)
    return value if math.isfinite(value) else Bad(f"{text[:20]} is beyond the range of a number")


def _int(text: str) -> int | Bad:
    if len(text) > MAX_INT_DIGITS + 1:
        return Bad(f"{text[:20]}... has more than {MAX_INT_DIGITS} digits")
    return int(text)


def _constant(text: str) -> Bad:
    return Bad(f"{text} is not a number")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_float, parse_int=_int, parse_constant=_constant
)


def loads(data: bytes) -> Any:
    """The JSON value in ``data``, with a `Bad` in place of each value that cannot be taken. A BOM is skipped.

    Raises:
        JsonError: not JSON, not UTF-8, or nested too deeply to be read.
    """
    try:
        return _DECODER.decode(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise JsonError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from None
    except RecursionError:
        raise JsonError("nested too deeply") from None


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def show(value: object) -> str:
    """A value for a message: at most about 60 characters, control characters escaped."""
    text = ascii(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def show_name(name: str) -> str:
    """A field's name for a problem: as it is, but at most 80 characters and without control characters."""
    text = ascii(name)[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."


def refuse_bad(value: object, field: str) -> None:
    """Raise the `RecordError` of a `Bad`; any other value passes."""
    if isinstance(value, Bad):
        value.is_reported = True
        raise RecordError(field, value.reason)


def has_text(value: str | None) -> bool:
    """Whether a text says anything: None and nothing but white space do not."""
    return value is not None and bool(value.strip())


def is_text(value: object) -> bool:
    """Whether the value is a string that can be written as UTF-8."""
    return isinstance(value, str) and (value.isascii() or not _SURROGATE.search(value))


def text_or_none(value: object, field: str) -> str | None:
    """The text, or None for null and for nothing but white space.

    Raises:
        RecordError: not a text, or one with a lone surrogate.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        refuse_bad(value, field)
        raise RecordError(field, f"{show(value)} is not text")
    if not is_text(value):
        raise RecordError(field, f"{show(value)} holds a lone surrogate")
    return value if has_text(value) else None


def number_or_none(
    value: object, field: str, *, low: float = -math.inf, high: float = math.inf, above: float | None = None
) -> float | None:
    """The number, or None for null and "". Texts like "29.97" and "30000/1001" count as numbers.

    Raises:
        RecordError: not a number (true is none), not finite, outside ``[low, high]`` or not greater than ``above``.
    """
    if value is None:
        return None
    number = _from_text(value, field) if isinstance(value, str) else value
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        refuse_bad(value, field)
        raise RecordError(field, f"{show(value)} is not a number")
    if not low <= number <= high or (above is not None and not number > above):
        least = f"above {above:g}" if above is not None else f"at least {low:g}"
        most = "" if high == math.inf else f" and at most {high:g}"
        raise RecordError(field, f"{show(value)} is not {least}{most}")
    return float(number)


def _from_text(text: str, field: str) -> float | None:
    stripped = text.strip(" \t\r\n")
    if not stripped:
        return None
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    ratio = _RATIO.fullmatch(stripped)
    if ratio and int(ratio[2]):
        return int(ratio[1]) / int(ratio[2])
    raise RecordError(field, f"{show(text)} is not a number")


def count_or_none(value: object, field: str, *, low: int = 0, high: int = 10**9) -> int | None:
    """The whole number, or None for null and "". 121.0 and "121" are whole; 121.5 is not.

    Raises:
        RecordError: not a whole number, or outside ``[low, high]``.
    """
    number = number_or_none(value, field, low=low, high=high)
    if number is None:
        return None
    if number != int(number):
        raise RecordError(field, f"{show(value)} is not a whole number")
    return int(number)


def json_problem(value: object) -> str | None:
    """What keeps a value of an unknown field from being written again as JSON, or None: it can be.

    Looks for a `Bad`, a lone surrogate, and nesting deeper than 64.
    """
    if not value:
        return None
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            if not is_text(item):
                return "holds a lone surrogate"
        elif isinstance(item, Bad):
            return item.reason if depth == 1 else f"holds a value that {item.reason}"
        elif isinstance(item, (dict, list)):
            if depth > MAX_DEPTH:
                return f"is nested deeper than {MAX_DEPTH}"
            stack.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))
            if isinstance(item, dict):
                stack.extend((key, depth + 1) for key in item)
    return None
