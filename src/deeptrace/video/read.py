"""Reading video: what a file says of itself, frames at chosen moments, and frames one chunk after another.

In goes a path, the bytes of a file, or `Frames`; out come `VideoInfo` and `Frames` with true times. Files are decoded
in another process with limits (see `ReadLimits`), never in the caller's. Knows nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.errors import RecordError, VideoError
from deeptrace.records import Frames, Reading, VideoInfo, check_number
from deeptrace.video._job import Job
from deeptrace.video._limits import DEFAULT_LIMITS, ReadLimits
from deeptrace.video._open import open_source
from deeptrace.video._plan import TimeWindow, choose, shrink
from deeptrace.video._pool import Pool, default_pool
from deeptrace.video._protocol import Header

_STOP_SECONDS = 0.5

VideoSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Frames
"""A path, the bytes of a video file in any buffer, or frames that are already there."""


def probe(source: VideoSource, *, limits: ReadLimits = DEFAULT_LIMITS) -> VideoInfo:
    """What a video says of itself, from its header alone: nothing is decoded.

    Raises:
        VideoError: the file cannot be opened, or is not a video that we read.
    """
    if isinstance(source, Frames):
        return _info_of_frames(source)
    pool = default_pool()
    with open_source(source, limits) as opened, Job(pool, opened, {"op": "probe"}, limits) as job:
        info = job.info(job.receive("info"))
        job.done()
    return info


def sample_frames(
    source: VideoSource,
    *,
    fps: float,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    max_frames: int | None = None,
    short_side: int | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Frames:
    """The frames on screen at ``start``, ``start + 1/fps``, ``start + 2/fps``, ... before ``end``.

    On screen at t is the last frame with a time <= t (to within half a tick of the file's clock, at most 0.5 ms). A
    frame that is on screen at two of these moments is returned once. When there would be more than ``max_frames``
    moments, the frames at ``max_frames`` evenly spread ones are returned instead:
    ``start + i * (end - start) / max_frames``. Without ``end_seconds`` the window ends with the video.

    ``short_side`` shrinks frames so that their shorter side has that many pixels; it never enlarges. Times in
    ``pts_seconds`` are the frames' own, from the first frame of the video, not the moments asked for. ``reading``
    tells whether all of the video could be read; frames that cannot be decoded are left out and make it ``partial``.

    Raises:
        VideoError: the file cannot be read, nothing of the window can be decoded, or the options make no sense.
    """
    window = _check_window(fps, start_seconds, end_seconds, max_frames, short_side)
    if isinstance(source, Frames):
        return _sample_of_frames(source, window, short_side)
    request = _request(window, short_side, chunk=None)
    with open_source(source, limits) as opened, Job(default_pool(), opened, request, limits) as job:
        head = _Head(job, job.receive("head"), limits, chunk=None)
        images = _room(head.count, head.image_hw)
        times, end = _receive_frames(job, images, head, after=-1.0)
        if end is None:
            end = job.receive("end")
        if not times:
            job.nonsense()
        reading = job.reading(end, head.info)
        job.done()
    return Frames(
        images=images[: len(times)],
        pts_seconds=np.array(times, np.float64),
        source_hw=head.source_hw,
        duration_seconds=head.duration_seconds,
        reading=reading,
    )


def iter_frames(
    source: VideoSource,
    *,
    fps: float | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    short_side: int | None = None,
    chunk: int = 16,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> FrameStream:
    """The frames of the window, ``chunk`` at a time: all of them, or those that `sample_frames` gives at ``fps``.

    The first frame is the one on screen at ``start_seconds``. At the video's own rate divided by a whole number k, that
    is every k-th frame. Memory stays bounded however long the video is: a chunk here, the next one in the decoder's
    process, and there 25 bytes a frame of the video. Nothing is read twice from one chunk to the next. The result is an
    iterator and a context manager; see `FrameStream`.

    Raises:
        VideoError: as `sample_frames`, here or while iterating.
    """
    window = _check_window(fps, start_seconds, end_seconds, None, short_side)
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise VideoError("BAD_WINDOW", f"chunk {chunk!r} is not a count of frames.")
    return FrameStream(source, window, short_side, chunk, limits)


class FrameStream:
    """Frames of a video, one chunk after another; made by `iter_frames`.

    Iterate to get `Frames` of up to ``chunk`` frames. ``reading`` is the `Reading` of the whole and None until the
    iteration has ended: only then is it known whether all of the video could be read. The last chunk carries it too,
    unless it was full and what followed could not be decoded. Stop early by leaving the ``with`` block or calling
    `close`. Belongs to one thread at a time.
    """

    def __init__(
        self, source: VideoSource, window: TimeWindow, short_side: int | None, chunk: int, limits: ReadLimits
    ) -> None:
        self.reading: Reading | None = None
        self._limits = limits
        self._chunk = chunk
        self._window = window
        self._short_side = short_side
        self._chunks = self._of_frames(source) if isinstance(source, Frames) else self._of_file(source)
        self._first: Frames | None = next(self._chunks)  # errors of opening come out here, not later

    def __iter__(self) -> Iterator[Frames]:
        return self

    def __next__(self) -> Frames:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._chunks)

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and free the decoder."""
        self._first = None
        self._chunks.close()

    def _of_frames(self, source: Frames) -> Generator[Frames, None, None]:
        duration = _end_of_frames(source)
        chosen = choose(source.pts_seconds, duration, self._window, 0.0 if self._window.fps is None else 1e-6)
        if not len(chosen):
            raise _no_frames(duration)
        for at in range(0, len(chosen), self._chunk):
            last = at + self._chunk >= len(chosen)
            self.reading = source.reading if last else None
            chunk = _pick(source, chosen[at : at + self._chunk], self._short_side)
            yield chunk if last else replace(chunk, reading=None)

    def _of_file(
        self, source: str | os.PathLike[str] | bytes | bytearray | memoryview
    ) -> Generator[Frames, None, None]:
        limits, size = self._limits, self._chunk
        request = _request(self._window, self._short_side, chunk=size)
        with open_source(source, limits) as opened, Job(default_pool(), opened, request, limits) as job:
            head = _Head(job, job.receive("head"), limits, chunk=size)
            left, after = head.count, -1.0
            while left > 0 and self.reading is None:
                images = _room(min(size, left), head.image_hw)
                times, end = _receive_frames(job, images, head, after=after)
                if not times and left == head.count:
                    job.nonsense()  # an error would have been said
                left -= len(times)
                if end is None and left == 0:
                    end = job.receive("end")
                if end is not None:
                    self.reading = job.reading(end, head.info)
                    job.done()
                else:
                    # The decoder works on the next chunk while the consumer works on this one.
                    job.reset_clock()
                    job.send({"op": "more"})
                if not times:
                    return
                after = times[-1]
                try:
                    yield Frames(
                        images=images[: len(times)],
                        pts_seconds=np.array(times, np.float64),
                        source_hw=head.source_hw,
                        duration_seconds=head.duration_seconds,
                        reading=self.reading,
                    )
                except GeneratorExit:
                    if self.reading is None:
                        _stop(job, head, left, size)
                    raise


def _stop(job: Job, head: _Head, left: int, size: int) -> None:
    """End a stream early. The chunk under way is waited for a moment, else the decoder is ended."""
    job.hurry(_STOP_SECONDS)
    try:
        unwanted = _room(1, head.image_hw)
        for _ in range(min(size, left)):
            if _receive_frames(job, unwanted, head, after=-1.0)[1] is not None:
                break
        else:
            if left > size:
                job.send({"op": "stop"})
            job.receive("stopped", "end")
        job.done()
    except VideoError:
        return  # the job ends its worker


# ── what the worker sends ──


class _Head:
    """The first answer of a reading: how many frames will come and of which size. Checked."""

    def __init__(self, job: Job, header: Header, limits: ReadLimits, *, chunk: int | None) -> None:
        side = limits.max_pixels
        self.count = job.whole(header, "count", 1, limits.max_frames)
        self.image_hw = (job.whole(header, "height", 1, side), job.whole(header, "width", 1, side))
        self.source_hw = (job.whole(header, "source_height", 1, side), job.whole(header, "source_width", 1, side))
        self.duration_seconds = job.real(header, "duration_seconds")
        self.info = job.info(header)
        held = self.count if chunk is None else min(chunk, self.count)
        if held * self.image_hw[0] * self.image_hw[1] * 3 > limits.max_result_bytes:
            job.nonsense()  # the worker checks this too, and says so


def _room(count: int, hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """``(count, H, W, 3)``, not yet filled."""
    try:
        return np.empty((count, *hw, 3), np.uint8)
    except MemoryError:
        raise VideoError(
            "OUT_OF_MEMORY",
            f"{count} pictures of {hw[1]} x {hw[0]} take {count * hw[0] * hw[1] * 3} bytes, which this process cannot "
            "get. Ask for fewer (fps, max_frames), smaller (short_side), or a stream.",
        ) from None


def _receive_frames(
    job: Job, images: npt.NDArray[np.uint8], head: _Head, *, after: float
) -> tuple[list[float], Header | None]:
    """Fill ``images`` with the next frames; their times, and the last answer when that came before all were there."""
    times: list[float] = []
    for image in images:
        header = job.receive("frame", "end")
        if header["kind"] == "end":
            return times, header
        time = job.real(header, "pts_seconds", 0.0)
        if time <= after:
            job.nonsense()
        after = time
        job.receive_into(memoryview(image).cast("B"))
        times.append(time)
    return times, None


def _request(window: TimeWindow, short_side: int | None, *, chunk: int | None) -> dict[str, Any]:
    return {
        "op": "frames",
        "window": {
            "fps": window.fps,
            "start_seconds": window.start_seconds,
            "end_seconds": window.end_seconds,
            "max_frames": window.max_frames,
        },
        "short_side": short_side,
        "chunk": chunk,
    }


# ── options ──


def _check_window(
    fps: float | None, start: float, end: float | None, max_frames: int | None, short_side: int | None
) -> TimeWindow:
    try:
        rate = None if fps is None else check_number(fps, "fps", above=0.0)
        start = check_number(start, "start_seconds", low=0.0)
        end = None if end is None else check_number(end, "end_seconds", above=start)
    except RecordError as error:
        raise VideoError("BAD_WINDOW", f"{error}.") from None
    for name, value in (("max_frames", max_frames), ("short_side", short_side)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise VideoError("BAD_WINDOW", f"{name}: {value!r} is not a whole number of at least 1.")
    return TimeWindow(rate, start, end, max_frames)


# ── frames that are already there ──


def _end_of_frames(source: Frames) -> float:
    times = source.pts_seconds
    step = float(times[-1] - times[-2]) if len(times) > 1 else 1e-3
    end = float(times[-1]) + step
    return end if source.duration_seconds is None else max(source.duration_seconds, float(times[-1]) + 1e-6)


def _no_frames(end_seconds: float) -> VideoError:
    return VideoError("NO_FRAMES", f"the window asked for holds no picture; the video ends at {end_seconds:.3f} s.")


def _sample_of_frames(source: Frames, window: TimeWindow, short_side: int | None) -> Frames:
    end = _end_of_frames(source)
    chosen = choose(source.pts_seconds, end, window, 1e-6)
    if not len(chosen):
        raise _no_frames(end)
    return _pick(source, chosen, short_side)


def _pick(source: Frames, chosen: npt.NDArray[np.intp], short_side: int | None) -> Frames:
    images = source.images[chosen]
    height, width = images.shape[1:3]
    small = shrink(height, width, short_side)
    if small != (height, width):
        import cv2

        images = np.stack([cv2.resize(i, small[::-1], interpolation=cv2.INTER_AREA) for i in images]).astype(np.uint8)
    return replace(source, images=images, pts_seconds=source.pts_seconds[chosen])


def _info_of_frames(source: Frames) -> VideoInfo:
    if source.reading is not None:
        return source.reading.info
    height, width = source.source_hw
    times = source.pts_seconds
    steps = np.diff(times)
    return VideoInfo(
        width=width,
        height=height,
        fps=float(1.0 / steps.mean()) if len(steps) else None,
        num_frames=len(times),
        duration_seconds=source.duration_seconds,
        has_audio=None,
        variable_frame_rate=bool(np.ptp(steps) > 1e-3) if len(steps) else None,
    )


def limits(pool: Pool | None = None) -> dict[str, str]:
    """Which protections are at work on this system when a video is read: name to ``"active"`` or what instead.

    Starts a decoder process when none is idle.

    Raises:
        VideoError: ``DECODER_CRASHED`` when it cannot be started.
    """
    answer = (pool or default_pool()).hello().get("limits")
    if not isinstance(answer, dict):
        raise VideoError("DECODER_CRASHED", "the decoder process did not say which limits are active.")
    return {str(name): str(state) for name, state in answer.items()}
