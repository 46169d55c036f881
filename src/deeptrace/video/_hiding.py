"""Parts of a file that the media library shall not see, since it would pay more for them than they weigh. Worker side.

Bytes are replaced on the way to the library, never in the file: a box becomes a free one, an element a void one.
"""

from __future__ import annotations

from bisect import bisect_left

from deeptrace.video._nearby import ReadAt

LARGE_BYTES = 16 * 2**20
"""A part with nothing to show (attachments, tags, covers) beyond this size is not given to the library, which would
hold it in memory."""


def hide(read_at: ReadAt, replaced: dict[int, bytes]) -> ReadAt:
    """``read_at`` with other bytes at some offsets. The replacements do not overlap."""
    if not replaced:
        return read_at
    places = sorted(replaced)
    longest = max(map(len, replaced.values()))

    def read(offset: int, count: int) -> bytes:
        data = read_at(offset, count)
        stop = offset + len(data)
        changed: bytearray | None = None
        for place in places[bisect_left(places, offset - longest + 1) : bisect_left(places, stop)]:
            first, last = max(place, offset), min(place + len(replaced[place]), stop)
            if first < last:
                changed = bytearray(data) if changed is None else changed
                changed[first - offset : last - offset] = replaced[place][first - place : last - place]
        return data if changed is None else bytes(changed)

    return read
