"""What reading a video may cost and touch: bytes, pixels, pictures, memory, time, links. Knows nothing of files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Final

MiB = 2**20
GiB = 2**30

VIDEO_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".gif", ".webp"),
        *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".flv", ".ogv"),
    }
)
"""Endings (lower case, with the dot) of the files in a folder that count as video. A file that is named is read by its
first bytes, whatever its ending."""

_MEMORY_BYTES = 768 * MiB  # pictures of 4096 x 4096 with their references decode in it


@dataclass(frozen=True)
class ReadLimits:
    """Bounds on reading one video. The defaults read ordinary clips and films and stop what was made to hurt.

    Every limit is enforced per call; pass another instance as ``limits=`` to change one:
    ``ReadLimits(max_pixels=8192 * 4320)`` reads 8K, ``ReadLimits(follow_links=True)`` reads what a symbolic link points
    to. Beyond a bound the call raises `VideoError` with the code named here.
    """

    max_bytes: int = 8 * GiB  # size of the file (TOO_LARGE)
    max_pixels: int = 4096 * 4096  # of one picture, as coded and as displayed (FRAME_TOO_LARGE)
    max_frames: int = 500_000  # pictures in the file: 2.3 hours at 60 fps (TOO_MANY_FRAMES)
    max_edits: int = 64  # entries of an mp4 edit list: each may repeat the whole video (TOO_MANY_FRAMES)
    max_result_bytes: int = 2 * GiB  # all frames that one call returns, or one chunk of a stream (RESULT_TOO_LARGE)
    # Address space of the decoder process, where the system has the limit (OUT_OF_MEMORY). None: 768 MiB, and in
    # proportion more where max_pixels is above its default.
    memory_bytes: int | None = None
    cpu_seconds: float = 600.0  # of one call, or of one chunk of a stream, where the system has it (DECODER_TIMEOUT)
    silence_seconds: float = 60.0  # without a word from the decoder (DECODER_TIMEOUT)
    wall_seconds: float = (
        600.0  # of waiting for the decoder, in one call (DECODER_TIMEOUT); not for a stream as a whole
    )

    # A symbolic link is refused (NOT_A_REGULAR_FILE) unless this is set. Its target must be a regular file. It is
    # opened once: what was checked is what is read.
    follow_links: bool = False

    def allowed_memory_bytes(self) -> int:
        """The address space of the decoder process: ``memory_bytes``, or what its None stands for."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        return round(_MEMORY_BYTES * max(1.0, self.max_pixels / DEFAULT_LIMITS.max_pixels))

    def to_json(self) -> dict[str, float]:
        """The limits as the worker receives them."""
        return asdict(replace(self, memory_bytes=self.allowed_memory_bytes()))


DEFAULT_LIMITS = ReadLimits()
