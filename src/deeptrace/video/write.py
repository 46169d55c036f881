"""Writing video that every browser plays: H.264, 4:2:0, BT.709 tagged, index in front, complete or not there at all.

In go RGB frames with their times; out comes an mp4. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deeptrace.errors import RecordError, VideoError
from deeptrace.files import mark_alive, sync_folder
from deeptrace.records import Frames, check_number
from deeptrace.video._open import printable

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_BT709 = 1
_LIMITED_RANGE = 1
_TICKS_PER_SECOND = 90_000
_SAME_STEP_SECONDS = 0.002  # times rounded to milliseconds still count as one rate
_MAX_SIDE = 8192
_THREADS = 4  # by default x264 takes as many as there are processors, and the coded bytes follow
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


def write_video(path: str | os.PathLike[str], frames: Frames, fps: float | None = None, *, crf: int = 18) -> None:
    """Write frames as an H.264 mp4.

    With ``fps`` the frames are shown at that constant rate. Without, they are shown at their own times: at one constant
    rate where their steps are equal (to 2 ms), else each at its true time. See `VideoWriter` for sizes, colours and
    what happens on failure.

    Raises:
        VideoError: ``WRITE_FAILED``.
    """
    times: npt.NDArray[np.float64] | None = None
    last_seconds: float | None = None
    if fps is None:
        fps, regular = _rate_of(frames)
        if not regular:
            times = frames.pts_seconds - frames.pts_seconds[0]
            if frames.duration_seconds is not None and frames.duration_seconds > frames.pts_seconds[-1]:
                last_seconds = min(frames.duration_seconds - float(frames.pts_seconds[-1]), 10.0)
    with VideoWriter(path, fps=fps, crf=crf) as writer:
        for at, image in enumerate(frames.images):
            writer.add(image[None], None if times is None else times[at : at + 1])
        writer.last_seconds = last_seconds


def _rate_of(frames: Frames) -> tuple[float, bool]:
    """The mean rate of the frames, and whether it is constant."""
    times = frames.pts_seconds
    if len(times) < 2:
        duration = frames.duration_seconds
        return (1.0 / duration if duration and 0.01 <= duration <= 10 else 1.0), True
    steps = np.diff(times)
    mean = float(times[-1] - times[0]) / (len(times) - 1)
    # Against the ideal times rather than step by step, so that rounding does not add up.
    ideal = times[0] + np.arange(len(times)) * mean
    regular = bool(np.abs(times - ideal).max() <= _SAME_STEP_SECONDS and steps.min() > mean / 2)
    return 1.0 / mean, regular


class VideoWriter:
    """Writes an mp4 frame by frame, holding only one frame at a time. A context manager.

    ``fps`` is the constant rate; with times given to `add`, each frame is shown at its own time instead. Colours are
    coded as BT.709 limited range and tagged so. 4:2:0 needs even sides: an odd width or height gets one more column or
    row, a copy of the last one. The file appears under its name only when all is written (also when it replaces
    another); after an exception nothing is left behind.

    With ``gop`` every group of pictures has exactly that many, whatever they show; without, the encoder decides.
    ``preset`` is x264's, from ``"ultrafast"`` (larger files) to ``"veryslow"``. The same frames give the same bytes,
    on one kind of processor.

    Raises:
        VideoError: ``WRITE_FAILED`` from every method, with the file's name and the reason.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float,
        crf: int = 18,
        gop: int | None = None,
        preset: str = "medium",
    ) -> None:
        self._path = os.path.abspath(os.fsdecode(path))
        self._name = printable(os.path.basename(self._path))
        self._file: IO[bytes] | None = None
        try:
            self._rate = Fraction(check_number(fps, "fps", above=0.0)).limit_denominator(1001)
            crf = int(check_number(crf, "crf", low=0, high=51))
            gop = None if gop is None else int(check_number(gop, "gop", low=1, high=1000))
        except RecordError as error:
            raise self._error(f"{error}") from None
        if self._rate <= 0 or self._rate > 1000:
            raise self._error(f"fps: {fps:g} is not a rate between 0.001 and 1000")
        if preset not in _PRESETS:
            raise self._error(f"preset: {printable(str(preset), 40)!r} is not one of {', '.join(_PRESETS)}")
        self._options = {"crf": str(crf), "preset": preset, "threads": str(_THREADS)} | _without_avx512()
        if gop is not None:
            self._options |= {"g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"}
        self._hw: tuple[int, int] | None = None
        self._timed: bool | None = None
        self._count = 0
        self._first_tick: int | None = None
        self._last_tick = -1
        self._last_step = 1
        self._first_dts: int | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self.last_seconds: float | None = None  # how long the last frame is shown; None: like the one before
        # Not made of the name: with anything added, a long one would be too long.
        self._temporary = os.path.join(os.path.dirname(self._path), f".{secrets.token_hex(8)}.part")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add(self, images: npt.NDArray[np.uint8], pts_seconds: npt.ArrayLike | None = None) -> None:
        """Append frames.

        ``images`` are ``(T, H, W, 3)`` uint8 RGB, all of one size; ``pts_seconds`` (T,) their times, strictly
        increasing over all calls, given for all frames or for none.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
            raise self._error(f"frames must be uint8 of shape (T, H, W, 3), got {images.dtype} {images.shape}")
        times = None if pts_seconds is None else np.asarray(pts_seconds, np.float64)
        if times is not None and (times.shape != (len(images),) or not np.isfinite(times).all()):
            raise self._error(f"{len(images)} frames need as many finite times")
        if self._timed is None:
            self._timed = times is not None
        if self._timed != (times is not None):
            raise self._error("either all frames have times or none")
        hw = (images.shape[1], images.shape[2])
        if self._hw is None:
            self._hw = hw
        if hw != self._hw:
            raise self._error(f"frames must keep their size {self._hw[1]} x {self._hw[0]}, got {hw[1]} x {hw[0]}")
        with self._failing():
            if self._container is None:
                self._start(hw)
            for at, image in enumerate(images):
                self._encode(image, self._count if times is None else round(float(times[at]) * _TICKS_PER_SECOND))

    def close(self) -> None:
        """Finish the file and put it under its name. Nothing was written when no frame was added."""
        if self._container is None:
            raise self._error("there is no frame to write")
        with self._failing():
            assert self._stream is not None
            assert self._file is not None
            self._finish_stream(self._stream)
            self._container.close()
            self._container = None
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
            os.replace(self._temporary, self._path)
            with contextlib.suppress(OSError):  # the video is there; a folder that cannot be synced is no failure
                sync_folder(os.path.dirname(self._path))

    def abort(self) -> None:
        """Leave nothing behind."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(Exception):
                container.close()
        file, self._file = self._file, None
        if file is not None:
            file.close()
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    # ── inside ──

    def _error(self, problem: str) -> VideoError:
        return VideoError("WRITE_FAILED", f"cannot write '{self._name}': {problem}.")

    @contextlib.contextmanager
    def _failing(self) -> Any:
        """Turn what goes wrong with the file or the encoder into `VideoError`, and clean up."""
        import av

        try:
            yield
        except VideoError:
            self.abort()
            raise
        except av.error.FFmpegError as error:
            self.abort()
            raise self._error(f"the encoder failed: {printable(error.strerror or 'unknown error')}") from error
        except OSError as error:
            self.abort()
            raise self._error(os.strerror(error.errno) if error.errno else "the system refused") from error
        except (ValueError, MemoryError) as error:
            self.abort()
            raise self._error(printable(str(error)) or type(error).__name__) from error

    def _start(self, hw: tuple[int, int]) -> None:
        import av

        if max(hw) > _MAX_SIDE:
            raise self._error(f"frames of {hw[1]} x {hw[0]} are too large; at most {_MAX_SIDE} on a side")
        descriptor = os.open(
            self._temporary,
            os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0),
            0o666,
        )
        self._file = os.fdopen(descriptor, "w+b")
        mark_alive(descriptor)

        # To move the index to the front the library opens its output once more; it gets our file, never a name.
        self._container = av.open(
            _Part(descriptor),
            "w",
            format="mp4",
            io_open=lambda *_: _Part(descriptor),
            options={"movflags": "+faststart+write_colr"},
        )
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.width, stream.height = hw[1] + hw[1] % 2, hw[0] + hw[0] % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, _TICKS_PER_SECOND) if self._timed else 1 / self._rate
        context = stream.codec_context
        context.time_base = stream.time_base
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._stream = stream

    def _encode(self, image: npt.NDArray[np.uint8], tick: int) -> None:
        import av

        assert self._stream is not None
        if tick <= self._last_tick:
            raise self._error("times must increase from frame to frame")
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation="AREA")
        frame.pts = tick
        frame.time_base = self._stream.codec_context.time_base
        if self._first_tick is None:
            self._first_tick = tick
        else:
            self._last_step = tick - self._last_tick
        self._last_tick = tick
        self._count += 1
        self._mux(self._stream.encode(frame))

    def _finish_stream(self, stream: VideoStream) -> None:
        packets = stream.encode(None)
        self._mux(packets[:-1])
        for packet in packets[-1:]:
            # The file's length is the sum of its packets' durations, and only the last one's is ours to say.
            if self.last_seconds is not None and stream.time_base:
                self._last_step = max(1, round(self.last_seconds / stream.time_base))
            assert self._first_tick is not None
            length = self._last_tick + self._last_step - self._first_tick
            spent = 0 if packet.dts is None or self._first_dts is None else packet.dts - self._first_dts
            packet.duration = max(1, length - spent)
            self._mux([packet])

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        assert self._container is not None
        for packet in packets:
            if self._first_dts is None:
                self._first_dts = packet.dts
            self._container.mux(packet)


def _without_avx512() -> dict[str, str]:
    """Options that keep x264 from its AVX-512 code, where the processor has it.

    That code (x264 core 165) codes the same frames to other bytes from run to run; without it they are always the same.
    """
    import cv2

    avx512 = getattr(cv2, "CPU_AVX512_SKX", 256)  # the set of extensions that x264 asks for: F, CD, BW, DQ, VL
    return {"x264-params": "asm=SSE2Fast,AVX2"} if cv2.checkHardwareSupport(avx512) else {}


class _Part:
    """The temporary file as the library sees it: one more view of it, with a position of its own and no name."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._position = 0

    def read(self, count: int) -> bytes:
        os.lseek(self._fd, self._position, os.SEEK_SET)
        data = os.read(self._fd, count)
        self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        os.lseek(self._fd, self._position, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._fd).st_size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position
