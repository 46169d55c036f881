"""One conversation with a decoder process about one file, and the checks of everything it says.

The worker is not trusted: it runs a media library on a stranger's file. Counts, shapes, sizes and times are checked
here; nonsense, half a message, silence and death all end the worker and become a `VideoError`. One death does not: a
worker that waited in the pool may have died there, and then its first word about the request never comes. The request
is put once more, to a new worker.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, get_args

from deeptrace.errors import DeepTraceError, VideoCode, VideoError
from deeptrace.records import Reading, VideoInfo
from deeptrace.video._limits import ReadLimits
from deeptrace.video._open import OpenedSource, printable
from deeptrace.video._pool import ENDED, Pool, Worker
from deeptrace.video._protocol import Closed, Header, ProtocolError, Silence

_MAX_READ_BYTES = 1 << 20
_CODES: dict[object, VideoCode] = {code: code for code in get_args(VideoCode)}
_Number = TypeVar("_Number", int, float)


class Job:
    """A request to a worker and its answers. Use as a context manager; `done` marks a clean end.

    Without `done` the worker is ended on exit, since nobody knows what it would say next.
    """

    def __init__(self, pool: Pool, source: OpenedSource, request: Mapping[str, Any], limits: ReadLimits) -> None:
        self._pool = pool
        self._source = source
        self._limits = limits
        self._waited = 0.0
        self._process = os.getpid()
        self._worker: Worker | None = pool.take()
        self._heard = False  # a word of the worker about this request
        self._clean = False
        self._request = {**request, "size": source.size_bytes, "limits": limits.to_json()}
        fault = pool.take_fault()
        if fault is not None:
            self._request["fault"] = fault
        self._ask()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def _lent(self) -> Worker:
        if os.getpid() != self._process:
            raise VideoError(
                "DECODER_CRASHED",
                f"cannot go on with '{self._source.name}': it was opened by the process that this one was forked from. "
                "Open it again here.",
            )
        assert self._worker is not None, "the job is over"
        return self._worker

    def close(self) -> None:
        """Give the worker back when the conversation ended well, else end it."""
        worker, self._worker = self._worker, None
        if worker is None or os.getpid() != self._process:
            return  # a forked child leaves the worker to its parent
        if self._clean:
            self._pool.give_back(worker)
        else:
            self._pool.discard(worker)

    def done(self) -> None:
        """The conversation ended as it should; the worker can take another file."""
        self._clean = True
        self.close()

    def reset_clock(self) -> None:
        """Start the wall clock anew: for a stream, each chunk has its own."""
        self._waited = 0.0

    def hurry(self, seconds: float) -> None:
        """From now on wait for this long at most."""
        self._waited = self._limits.wall_seconds - seconds

    # ── talking ──

    def _ask(self) -> None:
        self.send(self._request, fd=self._source.fd if self._lent.transport == "socket" else None)

    def _ask_another(self, error: ProtocolError) -> None:
        """Put the request to a new worker when the last one ended while it waited for work; else raise `VideoError`.

        At most once, since a new worker did not wait. Starting it takes no longer than in a call that found none idle,
        and the time waited for the last one still counts.
        """
        worker = self._lent
        if self._heard or worker.ended or not worker.has_waited or not isinstance(error, Closed):
            self._fail(error)
        self._worker = None  # `replace` ends it, also when it raises
        self._worker = self._pool.replace(worker)
        self._ask()

    def send(self, header: Mapping[str, Any], payload: bytes | None = None, *, fd: int | None = None) -> None:
        """Say something to the worker."""
        started = self._start_waiting()
        try:
            self._lent.channel.send(header, payload, fd=fd)
        except ProtocolError as error:
            self._waited += time.monotonic() - started
            self._ask_another(error)
        else:
            self._waited += time.monotonic() - started

    def receive(self, *kinds: str) -> Header:
        """The worker's next answer, of one of these kinds.

        Requests of the worker to read a part of the file, and signs of life, are dealt with on the way.

        Raises:
            VideoError: what the worker found wrong with the file, or ``DECODER_CRASHED`` / ``DECODER_TIMEOUT``.
        """
        while True:
            started = self._start_waiting()
            try:
                header = self._lent.channel.receive()
            except ProtocolError as error:
                self._waited += time.monotonic() - started
                self._ask_another(error)
                continue
            self._waited += time.monotonic() - started
            self._heard = True
            kind = header.get("kind")
            if kind == "busy":
                continue
            if kind == "read" and self._lent.transport == "pipe":
                self._answer_read(header)
            elif kind == "error":
                self._raise(header)
            elif kind in kinds:
                return header
            else:
                self.nonsense()

    def receive_into(self, view: memoryview) -> None:
        """Fill ``view`` with the bytes that follow the last header."""
        started = self._start_waiting()
        try:
            self._lent.channel.receive_into(view)
        except ProtocolError as error:
            self._fail(error)
        self._waited += time.monotonic() - started

    def _start_waiting(self) -> float:
        now = time.monotonic()
        left = min(self._limits.silence_seconds, self._limits.wall_seconds - self._waited)
        self._lent.channel.deadline = now + max(left, 0.0)
        return now

    def _answer_read(self, header: Header) -> None:
        offset = self.whole(header, "offset", 0, self._source.size_bytes)
        count = self.whole(header, "count", 0, _MAX_READ_BYTES)
        try:
            data = self._source.read_at(offset, count)
        except OSError as error:
            self.close()
            raise VideoError("NOT_READABLE", f"cannot read '{self._source.name}' any further.") from error
        self.send({"op": "data", "bytes": len(data)}, data)

    # ── checking ──

    def whole(self, header: Header, name: str, low: int, high: int) -> int:
        """A whole number of an answer, within bounds."""
        return self._number(header, name, int, low, high)

    def real(self, header: Header, name: str, low: float = 0.0, high: float = math.inf) -> float:
        """A finite number of an answer, within bounds."""
        value = header.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            header[name] = float(value) if abs(value) < 2**63 else None
        return self._number(header, name, float, low, high)

    def flag(self, header: Header, name: str) -> bool:
        """A truth value of an answer."""
        value = header.get(name)
        if not isinstance(value, bool):
            self.nonsense()
        return value

    def _number(self, header: Header, name: str, kind: type[_Number], low: _Number, high: _Number) -> _Number:
        value = header.get(name)
        if type(value) is not kind or not math.isfinite(value) or not low <= value <= high:
            self.nonsense()
        return value

    def info(self, header: Header) -> VideoInfo:
        """The `VideoInfo` of an answer."""
        fields = header.get("info")
        if not isinstance(fields, dict):
            self.nonsense()
        text, audio, variable = fields.get("codec"), fields.get("has_audio"), fields.get("variable_frame_rate")
        for value, kind in ((text, str), (audio, bool), (variable, bool)):
            if value is not None and not isinstance(value, kind):
                self.nonsense()
        try:
            return VideoInfo(
                width=self.whole(fields, "width", 1, self._limits.max_pixels),
                height=self.whole(fields, "height", 1, self._limits.max_pixels),
                fps=fields.get("fps"),
                num_frames=fields.get("num_frames"),
                duration_seconds=fields.get("duration_seconds"),
                codec=printable(text, 40) if text is not None else None,
                has_audio=audio,
                variable_frame_rate=variable,
            )
        except VideoError:
            raise
        except DeepTraceError:
            self.nonsense()

    def reading(self, header: Header, info: VideoInfo) -> Reading:
        """The `Reading` of the last answer, after a look whether the file stayed as it was."""
        sha256 = header.get("sha256")
        if not isinstance(sha256, str) or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            self.nonsense()
        declared = None
        if header.get("frames_declared") is not None:
            declared = self.whole(header, "frames_declared", 0, 2**31)
        decoded = self.whole(header, "frames_decoded", 0, 2**31)
        reading = Reading(
            info=info,
            sha256=sha256,
            frames_declared=declared,
            frames_decoded=decoded,
            corrupt_frames=self.whole(header, "corrupt_frames", 0, 2**31),
            partial=self.flag(header, "partial") or (declared is not None and decoded < declared),
            color_tagged=self.flag(header, "color_tagged"),
        )
        if self._source.has_changed():
            self.close()
            raise VideoError("VIDEO_DAMAGED", f"'{self._source.name}' was changed while it was being read.")
        return reading

    # ── failing ──

    def nonsense(self) -> NoReturn:
        """End a worker that said what it must not say."""
        self.close()
        raise VideoError("DECODER_CRASHED", f"cannot decode '{self._source.name}': the decoder answered with nonsense.")

    def _raise(self, header: Header) -> NoReturn:
        name, reason = header.get("code"), header.get("reason")
        code = _CODES.get(name) if isinstance(name, str) else None
        if code is None or not isinstance(reason, str):
            self.nonsense()
        # After running out of memory a process is not what it was.
        self._clean = header.get("reusable") is True and code != "OUT_OF_MEMORY"
        self.close()
        raise VideoError(code, f"cannot decode '{self._source.name}': {printable(reason, 300)}")

    def _fail(self, error: ProtocolError) -> NoReturn:
        worker, self._worker = self._lent, None
        status = self._pool.discard(worker)
        name = self._source.name
        if worker.ended:
            raise VideoError("DECODER_CRASHED", f"cannot decode '{name}': {ENDED}") from None
        if isinstance(error, Silence):
            raise VideoError(
                "DECODER_TIMEOUT", f"cannot decode '{name}': the decoder did not answer in time."
            ) from None
        if status == -getattr(signal, "SIGXCPU", 0) != 0:
            raise VideoError("DECODER_TIMEOUT", f"cannot decode '{name}': the decoder used up its CPU time.") from None
        how = f"was ended by signal {-status}" if status < 0 else "ended unexpectedly"
        raise VideoError("DECODER_CRASHED", f"cannot decode '{name}': the decoder process {how}.") from error
