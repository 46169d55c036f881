"""The decoder process: reads one file at a time for its caller, and answers in the words of `_protocol`.

Started by `_pool`. It opens nothing by name; files come to it open, or byte by byte from the caller.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import av
import numpy as np

from deeptrace.video._confine import confine_job, confine_process, end_with_caller
from deeptrace.video._container import Video, open_video
from deeptrace.video._decode import Decoder, Selection, nothing_decoded, select
from deeptrace.video._describe import describe
from deeptrace.video._limits import ReadLimits
from deeptrace.video._open import SNIFF_BYTES, container_kind
from deeptrace.video._picture import Converter, is_color_tagged
from deeptrace.video._plan import TimeWindow
from deeptrace.video._pool import TEST_HOOKS
from deeptrace.video._protocol import Channel, Closed, Header, PipeChannel, ProtocolError, SocketChannel
from deeptrace.video._refusal import Refusal
from deeptrace.video._table import SHOWN, PacketTable, is_short, read_table
from deeptrace.video._webp import AnimationDecoder, open_animation

_MAX_READ_BYTES = 1 << 20
_HASH_BYTES = 1 << 20
_SIGN_OF_LIFE_SECONDS = 2.0

ReadAt = Callable[[int, int], bytes]


def main(arguments: list[str]) -> None:
    """Serve until the caller hangs up. The argument is ``socket:<descriptor>`` or ``pipe``."""
    active: dict[str, str]
    how, _, number = arguments[0].partition(":")
    channel: Channel
    if how == "socket":
        sock = socket.socket(fileno=int(number))
        channel = SocketChannel(sock)
        ends = end_with_caller(sock.fileno())
    else:
        channel = _take_over_pipes()
        ends = "at the next message"
    av.logging.set_level(None)
    _import_what_the_library_imports_late()
    active = {
        "separate process": "active",
        "file passed as": "an open descriptor" if how == "socket" else "bytes through a pipe",
        "ends with its caller": ends,
        **confine_process(),
    }
    channel.send({"kind": "hello", "pid": os.getpid(), "limits": active, "av": av.__version__})
    desk = _Desk(channel, how == "socket", os.environ.get(TEST_HOOKS) == "1")
    try:
        while True:
            desk.serve_one()
    except Closed:
        return


def _take_over_pipes() -> PipeChannel:
    """Move the pipes away from standard input and output, where a stray print would break the conversation."""
    read_fd, write_fd = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        for fd in (read_fd, write_fd):
            msvcrt.setmode(fd, os.O_BINARY)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return PipeChannel(read_fd, write_fd)


def _import_what_the_library_imports_late() -> None:
    """Some modules are imported on the first stream of their kind; do it before limits apply."""
    for name in (
        "audio.codeccontext",
        "subtitles.codeccontext",
        "subtitles.stream",
        "video.codeccontext",
        "data.stream",
    ):
        try:
            __import__(f"av.{name}")
        except ImportError:  # other versions have other modules
            continue


class _Desk:
    """Takes requests and answers them."""

    def __init__(self, channel: Channel, passes_files: bool, test_hooks: bool) -> None:
        self.channel = channel
        self.passes_files = passes_files
        self.test_hooks = test_hooks
        self.waiting: list[Header] = []  # requests that came while a part of the file was asked for
        self.last_word = time.monotonic()

    def serve_one(self) -> None:
        """Answer one request, whatever the file does. The first word says only that the request was taken."""
        request = self._next_request()
        fd = self.channel.take_fd() if self.passes_files else -1
        try:
            try:
                # Before the file is touched: the caller blames the file only for a death after this word.
                self._say_busy()
                self._serve(request, fd)
            except Refusal as refusal:
                self._say_error(refusal.code, refusal.reason)
            except (Closed, ProtocolError):
                raise
            except MemoryError:
                self._say_error("OUT_OF_MEMORY", "the decoder reached its memory limit.")
            except av.error.FFmpegError:
                self._say_error("VIDEO_DAMAGED", "the decoder cannot make sense of it.")
            except Exception as error:  # noqa: BLE001 - a stranger's file may raise anything; the caller gets a code
                self._say_error("VIDEO_DAMAGED", f"reading it failed ({type(error).__name__}).")
        finally:
            if fd >= 0:
                os.close(fd)

    def _next_request(self) -> Header:
        if self.waiting:
            return self.waiting.pop(0)
        return self.channel.receive()

    def _say_error(self, code: str, reason: str) -> None:
        # Over a pipe a request may still be on its way that belongs to the failed job; the process is not used again.
        self.channel.send({"kind": "error", "code": code, "reason": reason, "reusable": self.passes_files})

    def _serve(self, request: Header, fd: int) -> None:
        limits = ReadLimits(**request["limits"])
        size = int(request["size"])
        confine_job(limits.allowed_memory_bytes(), limits.cpu_seconds)
        if self.test_hooks and "fault" in request:
            _misbehave(request["fault"], self.channel)
        read_at = self._reader(fd)
        if request["op"] == "probe":
            self.channel.send({"kind": "info", "info": _info(read_at, size, limits)})
        elif request["op"] == "frames":
            _FramesJob(self, request, read_at, size, limits).run()
        else:
            raise ProtocolError("an unknown request")

    def _reader(self, fd: int) -> ReadAt:
        if fd < 0:
            return self._read_from_caller
        if hasattr(os, "pread"):
            return lambda offset, count: os.pread(fd, count, offset)

        def read_at(offset: int, count: int) -> bytes:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, count)

        return read_at

    def _read_from_caller(self, offset: int, count: int) -> bytes:
        self.channel.send({"kind": "read", "offset": offset, "count": min(count, _MAX_READ_BYTES)})
        while True:
            header = self.channel.receive()
            if header.get("op") == "data":
                break
            self.waiting.append(header)
        data = bytearray(int(header["bytes"]))
        self.channel.receive_into(memoryview(data))
        return bytes(data)

    def busy(self) -> None:
        """Tell the caller that work goes on, now and then."""
        if time.monotonic() - self.last_word > _SIGN_OF_LIFE_SECONDS:
            self._say_busy()

    def _say_busy(self) -> None:
        self.last_word = time.monotonic()
        self.channel.send({"kind": "busy"})

    def next_word(self) -> str:
        """What the caller says in the middle of a stream: ``"more"`` or ``"stop"``."""
        return str(self._next_request().get("op"))


class _FramesJob:
    """One request for pictures: open, list the packets, decode, convert, send."""

    def __init__(self, desk: _Desk, request: Header, read_at: ReadAt, size: int, limits: ReadLimits) -> None:
        self.desk = desk
        self.request = request
        self.read_at = read_at
        self.size = size
        self.limits = limits

    def run(self) -> None:
        """Answer with a head, the pictures, and how the reading went."""
        if _is_webp(self.read_at):
            animation = open_animation(self.read_at, self.size, self.limits)
            player = AnimationDecoder(animation, self.limits, self.desk.busy)
            self._answer(player, animation.table(), animation.partial, asdict(animation.info()))
            return
        video = self._open()
        try:
            info = describe(video, self._open)
            table = read_table(video, self.desk.busy)
            short = is_short(table, video, self._open, self.desk.busy)
            self._answer(Decoder(video, table, self._open, self.desk.busy), table, short, info)
        finally:
            video.close()

    def _answer(
        self, decoder: Decoder | AnimationDecoder, table: PacketTable, short: bool, info: Mapping[str, Any]
    ) -> None:
        if not any(table.flag(SHOWN)):
            raise nothing_decoded(table, decoder.tally, short)
        selection = select(table, TimeWindow(**self.request["window"]))
        if not len(selection.chosen):
            raise Refusal(
                "NO_FRAMES",
                f"the window asked for holds no picture; the video ends at {selection.end_seconds:.3f} s.",
            )
        if self._send_pictures(decoder, selection, info):
            self._send_end(decoder, table, short, len(selection.ticks), info)

    def _open(self, *, ignore_edits: bool = False) -> Video:
        return open_video(self.read_at, self.size, self.limits, ignore_edits=ignore_edits)

    def _send_pictures(
        self, decoder: Decoder | AnimationDecoder, selection: Selection, info: Mapping[str, Any]
    ) -> bool:
        """Send all pictures; False when the caller said to stop."""
        channel = self.desk.channel
        chunk = self.request["chunk"]
        converter = Converter(decoder.aspect, self.request["short_side"], self.limits.max_pixels)
        sent = 0
        self.color_tagged = True
        for seconds, frame in decoder.pictures(selection):
            if sent == 0:
                self.color_tagged = is_color_tagged(frame)
                converter.set_up(frame)
                self._send_head(converter, selection, chunk, info)
            channel.send({"kind": "frame", "pts_seconds": seconds}, converter.convert(frame).data.cast("B"))
            sent += 1
            # After a full chunk the caller always speaks, and never at another time.
            if chunk is not None and sent % chunk == 0 and sent < len(selection.chosen):
                if self.desk.next_word() != "more":
                    channel.send({"kind": "stopped"})
                    return False
                confine_job(self.limits.allowed_memory_bytes(), self.limits.cpu_seconds)
        self.sent = sent
        return True

    def _send_head(
        self, converter: Converter, selection: Selection, chunk: int | None, info: Mapping[str, Any]
    ) -> None:
        assert converter.source_hw is not None
        height, width = converter.image_hw
        count = len(selection.chosen)
        held = count if chunk is None else min(count, chunk)
        if held * height * width * 3 > self.limits.max_result_bytes:
            raise Refusal(
                "RESULT_TOO_LARGE",
                f"{held} pictures of {width} x {height} do not fit into {self.limits.max_result_bytes} bytes. "
                "Ask for fewer (fps, max_frames), smaller (short_side), or a stream.",
            )
        self.desk.channel.send(
            {
                "kind": "head",
                "count": count,
                "height": height,
                "width": width,
                "source_height": converter.source_hw[0],
                "source_width": converter.source_hw[1],
                "duration_seconds": selection.end_seconds,
                "info": info,
            }
        )

    def _send_end(
        self,
        decoder: Decoder | AnimationDecoder,
        table: PacketTable,
        short: bool,
        num_shown: int,
        info: Mapping[str, Any],
    ) -> None:
        tally = decoder.tally
        if self.sent == 0:
            raise nothing_decoded(table, tally, short)
        declared = info["num_frames"]
        # What was not decoded on purpose counts as readable; what was tried and failed does not.
        decoded = max(self.sent, num_shown - tally.lost) + table.empty
        missing = declared is not None and decoded < declared and not decoder.is_indexed
        self.desk.channel.send(
            {
                "kind": "end",
                "sha256": self._hash(),
                "frames_declared": declared if declared is not None else None,
                "frames_decoded": decoded,
                "corrupt_frames": tally.corrupt,
                "partial": bool(short or missing or tally.errors or tally.lost or tally.corrupt),
                "color_tagged": self.color_tagged,
            }
        )

    def _hash(self) -> str:
        digest = hashlib.sha256()
        position = 0
        while data := self.read_at(position, _HASH_BYTES):
            digest.update(data)
            position += len(data)
            self.desk.busy()
        return digest.hexdigest()


def _is_webp(read_at: ReadAt) -> bool:
    return container_kind(read_at(0, SNIFF_BYTES)) == "webp"


def _info(read_at: ReadAt, size: int, limits: ReadLimits) -> dict[str, Any]:
    """The fields of `VideoInfo`."""
    if _is_webp(read_at):
        return asdict(open_animation(read_at, size, limits).info())
    video = open_video(read_at, size, limits)
    try:
        return describe(video, lambda: open_video(read_at, size, limits))
    finally:
        video.close()


def _misbehave(fault: str, channel: Channel) -> None:
    """Do what a decoder hit by a hostile file might do. Only for tests that enabled it at the worker's start."""
    if fault == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "abort":
        os.abort()
    elif fault == "exit":
        os._exit(9)
    elif fault == "memory":
        np.ones(2**33, np.uint8)
    elif fault == "hang":
        time.sleep(3600)
    elif fault == "spin":
        while True:
            pass
    elif fault == "garbage":
        channel.write(os.urandom(64), None)
    elif fault == "half":
        channel.write(b"\x40\0\0\0{", None)
        os._exit(0)
    elif fault == "lie":
        channel.send({"kind": "head", "count": -1, "height": 10**9, "width": True})
