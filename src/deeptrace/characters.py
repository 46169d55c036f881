"""Text from strangers made visible: what would act (on a terminal, in a page) is replaced by its name."""

from __future__ import annotations

import re
from typing import Final

# What must reach neither a page nor a terminal as it is: controls but tab and newline, bidirectional controls,
# invisible separators and fillers, tag characters (they smuggle text), lone surrogates, noncharacters. Joiners (200C,
# 200D) stay: emoji and Persian need them.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # ␀ ␛ ...: the pictures of the control characters
    if code == 0x7F:
        return "\u2421"
    if 0xDC80 <= code <= 0xDCFF:  # how Python writes a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"[U+{code:04X}]"


def visible(text: str) -> str:
    """The text with every character that acts instead of showing replaced by its name, for example ``[U+202E]``.

    Line ends become ``\\n``. Tabs, newlines and all letters of all scripts stay.
    """
    return _UNSAFE.sub(_name, text.replace("\r\n", "\n"))
