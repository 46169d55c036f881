"""Seed clips, mutators and the oracle of the fuzz tests: bytes go in, a verdict on the reader comes out.

Called by `test_fuzz.py` (a seeded slice) and `benchmarks/soak/fuzz_reader.py` (the long run). Every mutant is a pure
function of (seed clips, seed, case number), so a case that fails can be made again from two numbers.

The oracle shares no code with the reader: a plain decode of everything with PyAV, in a process of its own that may die.
"""

from __future__ import annotations

import io
import json
import os
import random
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from tests.priority import usual_priority

FPS, NUM_FRAMES = 12, 24  # of every seed clip
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,asf,flv,ogg"
HANG_SECONDS = 10.0

# ── seed clips ──────────────────────────────────────────────────────────────────────────────────────────────────────


def picture(index: int, *, width: int = 96, height: int = 64) -> np.ndarray:
    """A moving gradient with a bright square that walks: (height, width, 3) uint8, different for every index."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(x * 2 + index * 7) % 256, (y * 3 + index * 5) % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    image[height // 4 : height // 2, (index * 3) % width : (index * 3) % width + 12] = 255
    return image


@usual_priority()
def clip(
    codec: str = "libx264",
    container: str = "mp4",
    *,
    num_frames: int = NUM_FRAMES,
    size: tuple[int, int] = (96, 64),
    fps: int = FPS,
    pix_fmt: str = "yuv420p",
    pts: list[int] | None = None,
    audio: bool = False,
    title: str | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> bytes:
    """A small video file. ``pts`` are in milliseconds; without them the rate is constant."""
    quiet = {"libx265": {"x265-params": "log-level=none:pools=1"}, "libsvtav1": {"preset": "12"}}
    os.environ.setdefault("SVT_LOG", "0")
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed below; a named file because "faststart" reads it again
    with file, av.open(file.name, "w", format=container, options=container_options or {}) as output:
        if title is not None:
            output.metadata["title"] = title
        stream = output.add_stream(codec, rate=fps, options=quiet.get(codec, {}) | (codec_options or {}))
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.thread_count = 1
        if codec != "mjpeg":
            stream.codec_context.gop_size = 8
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index, width=size[0], height=size[1]), format="rgb24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, fps) if pts is None else Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            write_tone(output, sound, seconds=num_frames / fps)
        output.close()
        return Path(file.name).read_bytes()


def write_tone(output: av.container.OutputContainer, stream: av.AudioStream, *, seconds: float) -> None:
    """A 440 Hz tone into an audio stream of 16 kHz."""
    total = int(16000 * seconds)
    for start in range(0, total, 1024):
        times = np.arange(start, start + 1024) / 16000
        tone = (np.sin(times * 2 * np.pi * 440) * 0.3).astype(np.float32)[None, :]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


FASTSTART = {"movflags": "+faststart"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx"}
SEED_CLIPS: dict[str, Callable[[], bytes]] = {
    "h264.mp4": clip,
    "h264_aac.mp4": lambda: clip(audio=True),
    "h264_faststart.mp4": lambda: clip(container_options=FASTSTART),
    "mpeg4.mp4": lambda: clip("mpeg4"),
    "hevc.mp4": lambda: clip("libx265"),
    "av1.mp4": lambda: clip("libsvtav1"),
    "vp9.webm": lambda: clip("libvpx-vp9", "webm", codec_options={"cpu-used": "8", "deadline": "realtime"}),
    "h264.mkv": lambda: clip(container="matroska"),
    "mjpeg.avi": lambda: clip("mjpeg", "avi", pix_fmt="yuvj420p"),
    "gif.gif": lambda: clip("gif", "gif", pix_fmt="gray", size=(48, 32)),
    "webp.webp": lambda: clip("libwebp_anim", "webp", codec_options={"lossless": "0"}),
    "lossless.webp": lambda: clip(
        "libwebp_anim", "webp", size=(48, 32), pix_fmt="bgra", codec_options={"lossless": "1"}
    ),
    "h264.ts": lambda: clip(container="mpegts"),
    "h264_aac.ts": lambda: clip(container="mpegts", audio=True),
    "mpeg2.mpg": lambda: clip("mpeg2video", "mpeg", fps=24),
    "wmv2.wmv": lambda: clip("wmv2", "asf"),
    "flv1.flv": lambda: clip("flv", "flv"),
    "h264.flv": lambda: clip(container="flv"),
    "vp8.ogv": lambda: clip("libvpx", "ogg", codec_options={"cpu-used": "8", "deadline": "realtime"}),
    "theora.ogv": (Path(__file__).parent / "theora.ogv").read_bytes,
}
MORE_FASTSTART: dict[str, Callable[[], bytes]] = {
    "h264_aac_faststart.mp4": lambda: clip(audio=True, container_options=FASTSTART),
    "mpeg4_faststart.mp4": lambda: clip("mpeg4", container_options=FASTSTART),
    "hevc_faststart.mp4": lambda: clip("libx265", container_options=FASTSTART),
    "av1_faststart.mp4": lambda: clip("libsvtav1", container_options=FASTSTART),
    "h264_fragments.mp4": lambda: clip(container_options=FRAGMENTS),
    "h264_aac_fragments.mp4": lambda: clip(audio=True, container_options=FRAGMENTS),
}
"""With these a truncation is tried on 15 files: a cut-off index at the end is easily seen, one at the start is not."""


def make_seeds(builders: dict[str, Callable[[], bytes]] = SEED_CLIPS) -> dict[str, bytes]:
    """The seed clips by name; a codec that this build of FFmpeg cannot encode is left out."""
    absent = [
        prefix
        for prefix, codec in {"hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}.items()
        if codec not in av.codecs_available
    ]
    return {name: _made_once(make) for name, make in builders.items() if not name.startswith(tuple(absent))}


@cache
def _made_once(make: Callable[[], bytes]) -> bytes:
    return make()


# ── mutators ────────────────────────────────────────────────────────────────────────────────────────────────────────

BOXES = (
    b"ftyp moov mvhd trak tkhd edts elst mdia mdhd hdlr minf dinf dref stbl stsd stts ctts stsc stsz stco stss mdat "
    b"udta meta"
).split()  # 24 types
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def _truncate(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def _flip(rng: random.Random, data: bytearray, bits: int) -> bytes:
    for _ in range(bits):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _some_bytes(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    for _ in range(rng.randint(1, 200)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _put_extreme(rng: random.Random, data: bytearray, offset: int) -> bytes:
    value = struct.pack(">I", rng.choice(EXTREMES))
    data[offset : offset + 4] = value if rng.random() < 0.8 else value[::-1]
    return bytes(data)


def _box_field(rng: random.Random, data: bytearray, other: bytes) -> bytes:
    """The size or one of the first fields of a box becomes extreme."""
    places = [at for kind in BOXES if (at := bytes(data).find(kind)) >= 4]
    if not places:
        return _extreme_anywhere(rng, data, other)
    return _put_extreme(rng, data, rng.choice(places) + rng.choice((-4, *range(4, 52, 4))))


def _extreme_anywhere(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    return _put_extreme(rng, data, rng.randrange(len(data) - 4))


def _run(rng: random.Random, data: bytearray) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.randint(1, max(1, min(len(data) - start, 2048))))


def _splice(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    taken = data[_run(rng, data)]
    at = rng.randrange(len(data))
    data[at : at + len(taken)] = taken
    return bytes(data)


def _delete(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    del data[_run(rng, data)]
    return bytes(data)


def _duplicate(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    run = _run(rng, data)
    data[run.stop : run.stop] = data[run]
    return bytes(data)


def _zero_run(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    run = _run(rng, data)
    data[run] = bytes(len(data[run]))
    return bytes(data)


def _header_havoc(rng: random.Random, data: bytearray, _other: bytes) -> bytes:
    """Many changes in the first or last two kilobytes, where indexes and headers live."""
    low = 0 if rng.random() < 0.5 else max(0, len(data) - 2048)
    for _ in range(rng.randint(1, 24)):
        data[rng.randrange(low, min(low + 2048, len(data)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(data)


def _cross(rng: random.Random, data: bytearray, other: bytes) -> bytes:
    taken = other[_run(rng, bytearray(other))]
    at = rng.randrange(len(data))
    data[at : at + (len(taken) if rng.random() < 0.5 else 0)] = taken
    return bytes(data)


MUTATORS: dict[str, Callable[[random.Random, bytearray, bytes], bytes]] = {
    "truncate": _truncate,
    "one_bit": lambda rng, data, _: _flip(rng, data, 1),
    "many_bits": lambda rng, data, _: _flip(rng, data, rng.randint(2, 64)),
    "some_bytes": _some_bytes,
    "box_field": _box_field,
    "extreme_anywhere": _extreme_anywhere,
    "splice": _splice,
    "delete": _delete,
    "duplicate": _duplicate,
    "zero_run": _zero_run,
    "header_havoc": _header_havoc,
    "cross": _cross,
}


@dataclass(frozen=True)
class Case:
    """One input of the fuzz run. ``known_frames``: how many pictures it would show if it were whole, where known."""

    name: str
    data: bytes
    known_frames: int | None = None


def mutation(seeds: dict[str, bytes], seed: int, number: int) -> Case:
    """Mutant ``number`` of a run: seed clip and mutator take turns, the rest is drawn."""
    rng = random.Random(f"{seed}:{number}")
    names = sorted(seeds)
    name, other = names[number % len(names)], seeds[rng.choice(names)]
    mutator = list(MUTATORS)[number // len(names) % len(MUTATORS)]
    return Case(f"{number:06d}-{mutator}-{name}", MUTATORS[mutator](rng, bytearray(seeds[name]), other))


def truncation(seeds: dict[str, bytes], seed: int, number: int) -> Case:
    """Cut ``number``: the files take turns, the cut points spread over the whole length with a little jitter.

    Every other cut of a fragmented file is between two fragments, where what is left is a well-formed file.
    """
    names = sorted(seeds)
    name, step = names[number % len(names)], number // len(names)
    share = (step % 100 + random.Random(f"{seed}:{number}").random()) / 100
    data = seeds[name]
    at = min(len(data) - 1, int(len(data) * share))
    fragments = _fragments(data) if step % 2 else []
    if fragments:
        at = fragments[step // 2 % len(fragments)]
    return Case(f"{number:06d}-cut-{name}", data[:at], None if _is_well_formed(name, data, at) else NUM_FRAMES)


def _is_well_formed(name: str, data: bytes, at: int) -> bool:
    """Whether what is left is like a recording that was stopped there: MPEG streams declare no count and no length."""
    if name.endswith(".ts"):
        return at % 188 == 0
    return name.endswith(".mpg") and data[at : at + 3] == b"\0\0\1"


def _fragments(data: bytes) -> list[int]:
    """Where the fragments of an mp4 begin; none in other files."""
    found, at = [], 0
    while at + 8 <= len(data) and data[4:8] == b"ftyp":
        if data[at + 4 : at + 8] == b"moof":
            found.append(at)
        at += max(8, int.from_bytes(data[at : at + 4], "big"))
    return found


# ── the oracle ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Count:
    """What a plain decode of everything finds.

    An edit list may hide pictures: ``hidden`` are read and not shown; ``trimmed`` says that more were not even read.
    ``moments`` are the displayed pictures with a time of their own.
    """

    displayed: int
    moments: int
    hidden: int
    trimmed: bool
    declared: int  # 0: the container does not say
    last_seconds: float
    step_seconds: float
    duration_seconds: float  # 0.0: the container does not say

    @property
    def short(self) -> bool:
        """The container promises more than could be shown: by its count, or where it has none by its length."""
        if self.declared:
            return self.displayed + self.hidden < self.declared and not self.trimmed
        return self.last_seconds + 1.5 * self.step_seconds < self.duration_seconds


def count_animation(data: bytes) -> Count | None:
    """As `count_everything`, of a WebP by Pillow, which takes a whole file or none. None: it cannot be read."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            count = image.n_frames
            for index in range(count):
                image.seek(index)
                image.load()
    except Exception:  # noqa: BLE001 - whatever it raises, the oracle has nothing to say
        return None
    return Count(count, count, 0, False, count, 0.0, 0.0, 0.0)


def count_everything(data: bytes) -> Count | None:
    """Decode all there is, packet by packet, past errors. None: nothing can be opened or shown."""
    if data[8:12] == b"WEBP":
        return count_animation(data)
    try:
        with av.open(io.BytesIO(data), options={"format_whitelist": FORMATS}, metadata_errors="replace") as file:
            stream = file.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": "16777216"}
            times, hidden, read = [], 0, 0
            start, duration = (file.start_time or 0) / av.time_base, (file.duration or 0) / av.time_base
            if file.format.name == "flv":  # the end of the file, counted from zero
                start = 0.0
            if file.format.name == "mpegts":  # the library measures how long each stream is
                start, duration = (float((t or 0) * stream.time_base) for t in (stream.start_time, stream.duration))
            if file.format.name == "mpeg":  # says no length; the library's is an estimate
                duration = 0.0
            if "mp4" in file.format.name and not stream.frames:  # fragments: the stream's own end, counted from zero
                start, duration = 0.0, float((stream.duration or 0) * stream.time_base)
            packets = file.demux(stream)
            while len(times) < 4 * NUM_FRAMES + 1000:
                try:
                    packet = next(packets)
                    hidden, read = hidden + packet.is_discard, read + (packet.size > 0)
                    times += [frame.time or 0.0 for frame in packet.decode()]
                except StopIteration:
                    break
                except (av.FFmpegError, OSError, ValueError):
                    continue  # one damaged packet; the next may be whole
            times.sort()
            steps = sorted(b - a for a, b in pairwise(times))
            return Count(
                displayed=len(times),
                moments=len(set(times)),
                hidden=hidden,
                trimmed=read < _count_packets(data),
                declared=stream.frames,
                last_seconds=times[-1] - start if times else 0.0,
                step_seconds=max(steps[len(steps) // 2] if steps else 0.0, float(1 / (stream.average_rate or FPS))),
                duration_seconds=duration,
            )
    except Exception:  # noqa: BLE001 - whatever a plain decoder raises, the oracle has nothing to say
        return None


def _count_packets(data: bytes) -> int:
    """How many packets there are when no edit list hides any."""
    options = {"format_whitelist": FORMATS, "ignore_editlist": "1"}
    count = 0
    with (
        suppress(av.FFmpegError, OSError, ValueError),
        av.open(io.BytesIO(data), container_options=options, metadata_errors="replace") as file,
    ):
        for packet in file.demux(file.streams.video[0]):
            count += packet.size > 0
    return count


class Oracle:
    """`count_everything` in a process of its own, replaced when it dies or hangs. Use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def count(self, data: bytes) -> Count | None:
        if self._process is None:
            command = [sys.executable, "-m", "tests.video.fuzz", "--oracle"]
            pipe = subprocess.PIPE
            root = Path(__file__).parents[2]
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=root)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(struct.pack(">I", len(data)) + data)
            self._process.stdin.flush()
            ready = select.select([self._process.stdout], [], [], HANG_SECONDS)[0]
            line = self._process.stdout.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if not line:
            self.__exit__()
            return None
        found = json.loads(line)
        return Count(**found) if found else None


def serve_oracle(source: BinaryIO) -> None:
    while size := source.read(4):
        count = count_everything(source.read(struct.unpack(">I", size)[0]))
        print(json.dumps(asdict(count) if count else None), flush=True)


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outcome:
    """How the reader answered one case. ``verdict``: ok, partial, the code of a `VideoError`, or untyped."""

    case: str
    verdict: str
    seconds: float
    silent_short: bool = False
    detail: str = ""

    @property
    def hung(self) -> bool:
        return self.seconds > HANG_SECONDS


def read(case: Case, oracle: Oracle, *, folder: Path | None = None, fps: float | None = None) -> Outcome:
    """Give one case to the reader, as bytes or (with a folder) as a file, and judge the answer.

    Without ``fps`` every picture is asked for, in chunks.

    A silent short read is an answer that calls itself whole (``partial`` is False) while it holds fewer pictures than
    the clip is known to show or than a plain decode finds, or while the plain decode finds fewer than are declared. The
    plain decode is asked only where the reader was asked for every picture: of pictures that a reader rightly skips it
    cannot know whether they would decode.
    """
    from deeptrace.errors import VideoError
    from deeptrace.video import iter_frames, sample_frames

    source: bytes | Path = case.data
    if folder is not None:
        source = folder / "case.mp4"
        source.write_bytes(case.data)
    start = time.perf_counter()
    try:
        if fps is None:
            stream = iter_frames(source)
            got, reading = sum(map(len, stream)), stream.reading
        else:
            reading = sample_frames(source, fps=fps).reading
            got = reading.frames_decoded if reading else 0
    except VideoError as error:
        # The worker's own catch-all: typed for the caller, but nobody thought of it.
        verdict = "untyped" if "reading it failed (" in str(error) else error.code
        return Outcome(case.name, verdict, time.perf_counter() - start, detail=str(error))
    except Exception as error:  # noqa: BLE001 - this is what is being counted
        return Outcome(case.name, "untyped", time.perf_counter() - start, detail=repr(error)[:200])
    seconds = time.perf_counter() - start
    if reading is None:
        return Outcome(case.name, "untyped", seconds, detail="nothing is said of the reading")
    if reading.partial:
        return Outcome(case.name, "partial", seconds)
    if case.known_frames is not None:
        return Outcome(case.name, "ok", seconds, got < case.known_frames, f"{got} of {case.known_frames}")
    if fps is not None:
        return Outcome(case.name, "ok", seconds)
    count = oracle.count(case.data)
    short = count is not None and (count.short or min(got, reading.frames_decoded) < count.moments)
    return Outcome(case.name, "ok", seconds, short, f"{got} read, {reading.frames_decoded} decoded; {count}")


if __name__ == "__main__":
    assert sys.argv[1:] == ["--oracle"]
    serve_oracle(sys.stdin.buffer)
