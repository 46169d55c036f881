"""The bytes near a place in a file, kept at hand: heads of parts lie close together. Worker side."""

from __future__ import annotations

from collections.abc import Callable

ReadAt = Callable[[int, int], bytes]

_BYTES_AT_HAND = 8 * 1024


class Nearby:
    """Reads a few bytes here and there, mostly forward, without asking the file each time."""

    def __init__(self, read_at: ReadAt) -> None:
        self._read_at = read_at
        self._start = 0
        self._data = b""

    def at(self, position: int, count: int) -> bytes:
        """``count`` bytes from ``position`` on; fewer only at the end of the file."""
        offset = position - self._start
        if not 0 <= offset <= len(self._data) - count:
            self._start, self._data = position, self._read_at(position, max(count, _BYTES_AT_HAND))
            offset = 0
        return self._data[offset : offset + count]
