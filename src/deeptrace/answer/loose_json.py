"""JSON as language models write it: strict JSON at once, else whatever of it can be understood. Knows no answers.

Read are single quotes, bare words, comments, missing and extra commas, quotes inside texts, and a text that was cut off
anywhere. Time is linear in what is read, whatever stands there.

By hand, although json-repair (0.64) reads 58 of the 66 frozen answers in JSON alike: it forgets that a key stood twice
(an answer that says FAKE and REAL would be REAL), takes a number that was cut off for a whole one, does not say where a
value ends, takes the square of the length (4.6 s for 320 KB), and overflows on 20,000 brackets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

MAX_DEPTH: Final = 32


@dataclass(frozen=True)
class Repeated:
    """The values of a key that stands more than once in an object, with values that differ."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class CutOff:
    """A number that the end of the text may have cut: "1" of "1.5"."""

    text: str


def read_value(text: str, start: int) -> tuple[Any, int]:
    """The object or list that begins at ``text[start]``, and where it ends (always behind ``start``).

    Objects are dicts; a key with two values that differ holds `Repeated`. What cannot be understood is left out.
    """
    try:
        value, end = _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError):
        return _Loose(text).value(start, 0)
    if _nests_deeper(text[start:end]):  # those who walk through a value may be recursive
        return _Loose(text).value(start, 0)
    return value, end


def _nests_deeper(text: str) -> bool:
    """Whether brackets in a text may stand deeper than `MAX_DEPTH`; those inside of texts count as well."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        values: dict[str, list[Any]] = {}
        for key, value in pairs:
            values.setdefault(key, []).append(value)
        for key, several in values.items():
            if any(value != several[0] for value in several):
                result[key] = Repeated(tuple(several))
    return result


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_to_object)

# White space, commas and comments; possessive, so that no text makes it start over.
_SKIP: Final = re.compile(r"(?:[\s,]|//[^\n]*+|#[^\n]*+)*+")
_COLON: Final = re.compile(r"\s*+[:=]\s*+")
_WORD: Final = re.compile(r"[^\s,:={}\[\]\"']++(?:[ \t]++[^\s,:={}\[\]\"']++)*+")
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "‘": "’"}
# A quote that ends a text is followed by what may follow a value or a key, or by the end of everything.
_AFTER_TEXT: Final = re.compile(r"\s*+(?:[,:}\]]|\Z)")
_BRACKETS: Final = re.compile(r"[\[\]{}]")
_NUMBER: Final = re.compile(r"[-+]?\d{1,15}(?:\.\d{0,15})?(?:[eE][-+]?\d{1,2})?")
_CONSTANTS: Final = {"true": True, "false": False, "null": None, "none": None, "nan": None}


class _Loose:
    """Reads one text; every method takes a place and gives a value with the place behind it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """Any value. At a place where none begins: None, one character on."""
        if depth > MAX_DEPTH:
            return None, len(self.text)  # nobody means this: nothing more is read
        first = self.text[at : at + 1]
        if first == "{":
            return self._object(at + 1, depth)
        if first == "[":
            return self._list(at + 1, depth)
        if first in _QUOTES:
            return self._quoted(at, _QUOTES[first])
        return self._bare(at)

    def _skip(self, at: int) -> int:
        match = _SKIP.match(self.text, at)
        return match.end() if match else at

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        pairs: list[tuple[str, Any]] = []
        while True:
            at = self._skip(at)
            if at >= len(self.text):
                break
            if self.text[at] in "}]":
                at += 1
                break
            key, at = self.value(at, depth + 1) if self.text[at] not in "{[" else (None, at)
            colon = _COLON.match(self.text, at)
            if colon is None:
                if key is None and at < len(self.text) and self.text[at] in "{[":
                    _, at = self.value(at, depth + 1)  # a value without a key says nothing
                continue
            at = colon.end()
            if at < len(self.text) and self.text[at] not in ",}]":
                value, at = self.value(at, depth + 1)
                pairs.append((str(key), value))
        return _to_object(pairs), at

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while True:
            at = self._skip(at)
            if at >= len(self.text):
                break
            if self.text[at] in "]}":
                # A list that was not closed before its object ends leaves the brace to the object.
                at += self.text[at] == "]"
                break
            value, at = self.value(at, depth + 1)
            values.append(value)
        return values, at

    def _quoted(self, at: int, closing: str) -> tuple[str, int]:
        """A text in quotes; quotes inside it that nothing of JSON follows belong to it."""
        text, start, at = self.text, at + 1, at + 1
        while True:
            end = text.find(closing, at)
            if end < 0:
                return _unescaped(text[start:]), len(text)
            escaped = False
            before = end - 1
            while before >= start and text[before] == "\\":
                escaped, before = not escaped, before - 1
            if not escaped and _AFTER_TEXT.match(text, end + 1):
                return _unescaped(text[start:end]), end + 1
            at = end + 1

    def _bare(self, at: int) -> tuple[Any, int]:
        match = _WORD.match(self.text, at)
        if match is None:
            return None, at + 1
        word, end = match[0], match.end()
        if word.lower() in _CONSTANTS:
            return _CONSTANTS[word.lower()], end
        if _NUMBER.fullmatch(word):
            return (CutOff(word) if end >= len(self.text) else float(word)), end
        return word, end


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        value: str = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"').replace("\\'", "'")
    return value
