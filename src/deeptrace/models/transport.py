"""How a video travels to an endpoint: as pictures, as one video, or as the file that it is.

Frames that our reader chose go in, parts of a message come out. What a server then shows its model is the server's
choice: it may take fewer frames of a video than it was sent, and it counts their times from the video's beginning.
"""

from __future__ import annotations

import hashlib
import mimetypes
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

_TYPES: Final = frozenset({"video/mp4", "video/webm", "video/quicktime", "video/x-matroska", "video/x-msvideo"})
_WHOLE_SECONDS: Final = 0.5  # a look that begins later shows a part of its video


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
    facts |= {"frames_sent": len(frames), "frame_hw": list(frames.images.shape[1:3])}
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
        raise TransportError(f"transport {transport!r}: {error}. Choose 'images', or make room") from None
    _check_bytes(len(data), max_bytes, transport)
    facts |= {"video_bytes": len(data), "video_fps": fps, "video_crf": VIDEO_CRF}
    part = video_part([data], "video/mp4") if transport == "video" else image_part(data, "video/mp4")
    return Sent([part], facts)


def shows_a_part(frames: Frames) -> bool:
    """Whether the frames begin later than half a second into their video: a server would count their times from 0."""
    return float(frames.pts_seconds[0]) > _WHOLE_SECONDS


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
    times = frames.pts_seconds
    fps = 1.0 if len(times) < 2 else (len(times) - 1) / float(times[-1] - times[0])
    fps = round(min(max(fps, 0.01), 1000.0), 3)
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
        raise TransportError(f"transport 'file': {error}. Choose another transport, or a larger limit") from None
    guessed = mimetypes.guess_type(origin.path)[0]
    kind = guessed if guessed in _TYPES else "video/mp4"
    if origin.sha256 is not None and hashlib.sha256(data).hexdigest() != origin.sha256:
        raise TransportError("transport 'file': the file has changed since it was read. Ask again")
    return Sent([video_part([data], kind)], facts | {"video_bytes": len(data), "media_type": kind})


def _check_bytes(size: int, most: int, transport: Transport) -> None:
    if size > most:
        raise TransportError(
            f"the video takes {size} bytes by transport {transport!r}, more than {most}. Choose fewer or smaller "
            "frames (sampling), transport 'images', or a larger limit"
        )
