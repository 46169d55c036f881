"""How a video travels to an endpoint: as pictures, as one video, or as the file that it is.

Frames that our reader chose go in, parts of a message come out. What a server then shows its model is the server's
choice: it may take fewer frames of a video than it was sent, and it counts their times from the video's beginning.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.chat import image_part, text_part, video_part
from deeptrace.errors import DeepTraceError, FileError, ModelError
from deeptrace.files import in_memory_folder, read_bytes
from deeptrace.models.base import Transport
from deeptrace.records import Frames, Origin
from deeptrace.video import VideoWriter

JPEG_QUALITY: Final = 90
VIDEO_CRF: Final = 18
"""Of x264, for the mp4: hardly to be told from the frames."""
MAX_MEDIA_BYTES: Final = 20 << 20
"""Of one video, before base64 makes it a third larger: what hosted endpoints take inside a request."""

_TYPES: Final = {
    ".webm": "video/webm", ".mov": "video/quicktime", ".mkv": "video/x-matroska", ".avi": "video/x-msvideo",
}  # fmt: skip
"""By the end of a file's name; all else is sent as mp4. A table of ours: the system's differs from one to the other."""
_CLOCK_SECONDS: Final = 0.25  # how far off a server may count the time of a frame. Chosen


class TransportError(ModelError):
    """A video that cannot travel this way; says why, and what to do."""

    code = "TRANSPORT"


@dataclass(frozen=True)
class Sent:
    """The parts of a message that carry a video, and what the row says of them."""

    parts: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)


def send(
    frames: Frames,
    origin: Origin,
    transport: Transport,
    *,
    times_beside: bool = False,
    detail: str | None = None,
    max_bytes: int = MAX_MEDIA_BYTES,
) -> Sent:
    """The parts that carry these frames, and facts for the row's ``sampling``.

    ``times_beside`` puts a time in seconds before each picture, and goes with ``images`` alone.

    Raises:
        TransportError: the video is larger than ``max_bytes``, cannot be coded, or is not a file where its file is to
            travel.
    """
    facts: dict[str, Any] = {"transport": transport}
    if transport == "file":
        return _send_file(origin, facts, max_bytes)
    height, width = frames.images.shape[1:3]
    facts |= {"frames_sent": len(frames), "frame_hw": [height, width]}
    if transport in ("images", "video-frames"):
        pictures = [jpeg(image) for image in frames.images]
        total = sum(map(len, pictures))
        facts |= {"frame_bytes": total, "jpeg_quality": JPEG_QUALITY}
        if transport == "images":
            facts |= {"detail": detail, "times_beside_frames": times_beside}
            return Sent(_beside(frames, pictures, detail, times_beside=times_beside), facts)
        _check_bytes(total, max_bytes, transport)
        return Sent([video_part(pictures, "video/jpeg")], facts)
    try:
        data, fps = mp4(frames)
    except DeepTraceError as error:
        raise TransportError(
            f"transport {transport!r}: {str(error).rstrip('.')}. Choose 'images' or smaller frames, or make room where "
            "temporary files lie (/dev/shm where there is one)"
        ) from None
    _check_bytes(len(data), max_bytes, transport)
    facts["frame_hw"] = [height + height % 2, width + width % 2]  # H.264 takes even sides: one more, a copy of the last
    facts |= {"video_bytes": len(data), "video_fps": fps, "video_crf": VIDEO_CRF}
    part = video_part([data], "video/mp4") if transport == "video" else image_part(data, "video/mp4")
    return Sent([part], facts)


def is_of_a_part(origin: Origin) -> bool:
    """Whether a window of the video was looked at, and not all of it."""
    return "window_seconds" in (origin.sampling or {})


def mislead_its_clock(frames: Frames) -> bool:
    """Whether a server that counts these frames from 0, at their mean rate, gives one a time a quarter second off.

    So it does with a later part of a video, and with frames that do not come evenly: of a picture that stands still in
    a file of variable rate, or where some could not be decoded.
    """
    times = frames.pts_seconds
    return bool(np.abs(np.arange(len(times)) / _mean_fps(frames) - times).max() > _CLOCK_SECONDS)


def _mean_fps(frames: Frames) -> float:
    times = frames.pts_seconds
    fps = 1.0 if len(times) < 2 else (len(times) - 1) / float(times[-1] - times[0])
    return round(min(max(fps, 0.01), 1000.0), 3)


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """A frame ``(H, W, 3)`` RGB as JPEG.

    Raises:
        TransportError: it cannot be coded.
    """
    import cv2

    done, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise TransportError(f"a frame of {image.shape[1]} x {image.shape[0]} pixels could not be coded as JPEG")
    return coded.tobytes()


def mp4(frames: Frames) -> tuple[bytes, float]:
    """Frames ``(T, H, W, 3)`` as H.264 in an mp4, and its rate in frames a second: constant, the mean of theirs.

    Servers read times by it.

    Raises:
        VideoError: it cannot be coded.
        FileError: there is no room to write it in.
    """
    fps = _mean_fps(frames)
    with in_memory_folder() as folder:
        path = folder / "frames.mp4"
        with VideoWriter(path, fps=fps, crf=VIDEO_CRF, preset="veryfast") as writer:
            writer.add(frames.images)
        return path.read_bytes(), fps


def _beside(
    frames: Frames, pictures: Sequence[bytes], detail: str | None, *, times_beside: bool
) -> list[dict[str, Any]]:
    parts = []
    for picture, time in zip(pictures, frames.pts_seconds.tolist(), strict=True):
        if times_beside:
            parts.append(text_part(f"{time:.1f} s:"))
        parts.append(image_part(picture, "image/jpeg", detail=detail))
    return parts


def _send_file(origin: Origin, facts: dict[str, Any], max_bytes: int) -> Sent:
    if origin.path is None:
        raise TransportError("transport 'file' needs a video that lies in a file; choose another transport")
    try:
        data = read_bytes(origin.path, limit=max_bytes)
    except FileError as error:
        raise TransportError(
            f"transport 'file': {error}. Choose another transport, or, where it is too large, a larger max_media_bytes"
        ) from None
    kind = _TYPES.get(os.path.splitext(origin.path)[1].lower(), "video/mp4")
    if origin.sha256 is not None and hashlib.sha256(data).hexdigest() != origin.sha256:
        raise TransportError("transport 'file': the file has changed since it was read. Ask again")
    return Sent([video_part([data], kind)], facts | {"video_bytes": len(data), "media_type": kind})


def _check_bytes(size: int, most: int, transport: Transport) -> None:
    if size > most:
        raise TransportError(
            f"the video takes {size} bytes by transport {transport!r}, more than {most}. Choose fewer or smaller "
            "frames (sampling), transport 'images', or a larger max_media_bytes"
        )
