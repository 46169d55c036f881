"""What reading a video may cost: bytes, pixels, pictures, memory, time. Plain numbers; knows nothing of files."""

from __future__ import annotations

from dataclasses import asdict, dataclass

MiB = 2**20
GiB = 2**30


@dataclass(frozen=True)
class ReadLimits:
    """Bounds on reading one video. The defaults read ordinary clips and films and stop what was made to hurt.

    Every limit is enforced per call; pass another instance as ``limits=`` to change one. Beyond a bound the call raises
    `VideoError` with the code named here.
    """

    max_bytes: int = 8 * GiB  # size of the file (TOO_LARGE)
    max_pixels: int = 4096 * 4096  # of one picture, as coded and as displayed (FRAME_TOO_LARGE)
    max_frames: int = 500_000  # pictures in the file: 2.3 hours at 60 fps (TOO_MANY_FRAMES)
    max_edits: int = 64  # entries of an mp4 edit list: each may repeat the whole video (TOO_MANY_FRAMES)
    max_result_bytes: int = 2 * GiB  # all frames that one call returns, or one chunk of a stream (RESULT_TOO_LARGE)
    memory_bytes: int = (
        768 * MiB
    )  # address space of the decoder process, where the system has the limit (OUT_OF_MEMORY)
    cpu_seconds: float = 600.0  # of one call, or of one chunk of a stream, where the system has it (DECODER_TIMEOUT)
    silence_seconds: float = 60.0  # without a word from the decoder (DECODER_TIMEOUT)
    wall_seconds: float = (
        600.0  # of waiting for the decoder, in one call (DECODER_TIMEOUT); not for a stream as a whole
    )

    def to_json(self) -> dict[str, float]:
        """The limits as the worker receives them."""
        return asdict(self)


DEFAULT_LIMITS = ReadLimits()
