"""What the worker raises when a file cannot be read: a stable code and a reason for people."""

from __future__ import annotations

from deeptrace.errors import VideoCode


class Refusal(Exception):
    """The file cannot be read. ``reason`` ends with a full stop and names no path."""

    def __init__(self, code: VideoCode, reason: str) -> None:
        super().__init__(reason)
        self.code: VideoCode = code
        self.reason = reason
