"""Hostile input, row by row: what must happen to the caller, how fast, in how much memory, and without any opens."""

from __future__ import annotations

import hashlib
import http.server
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from deeptrace.records import Frames
from tests.video import hostile
from tests.video.fuzz import clip, make_seeds, mutation
from tests.video.hostile import OK, Specimen

pytestmark = [pytest.mark.linux, pytest.mark.skipif(sys.platform != "linux", reason="uses what only Linux offers")]
SOURCE = Path(video.__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def worker() -> Iterator[None]:
    """A warm worker, so that limits on time measure the answer and not the start."""
    video.sample_frames(clip(num_frames=4), fps=2)
    yield
    video.close()


def check_message(error: VideoError) -> None:
    text = str(error)
    assert text
    assert len(text) < 1000
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", text), repr(text)
    assert not re.search(r"(?<![\w.:/])/(?:tmp|home|root|work|usr|var|proc|dev|etc|private)\b", text), text


def attempt(source: Path | str | bytes, *, fps: float = 2.0, **options: float) -> tuple[str, Frames | None]:
    """("ok" | "partial" | code of the VideoError, frames); any other exception is the test's failure."""
    try:
        frames = video.sample_frames(source, fps=fps, **options)  # type: ignore[arg-type]
    except VideoError as error:
        check_message(error)
        return error.code, None
    assert frames.reading is not None
    assert np.isfinite(frames.pts_seconds).all()
    assert (np.diff(frames.pts_seconds) > 0).all()
    assert frames.pts_seconds[0] >= 0
    if frames.duration_seconds is not None:
        assert frames.pts_seconds[-1] <= frames.duration_seconds
    return "partial" if frames.reading.partial else OK, frames


def children_peak_mb() -> float:
    """The highest peak of resident memory among the reader's processes, as the kernel counts it.

    One that is forked and does not yet run its program has our own memory, and our command line; it does not count.
    """
    peak = 0.0
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # threads and children come and go
            for child in (task / "children").read_text().split():
                if b"deeptrace.video._worker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                    continue  # asked before its memory is
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child}/status").read_text())
                peak = max(peak, int(found[1]) / 1024 if found else 0.0)
    return peak


@contextmanager
def peak_memory(limit_mb: float) -> Iterator[None]:
    """Start with a fresh worker; fail where any child's memory ever passes the limit, dead ones included."""
    video.close()
    peaks, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peaks.append(children_peak_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        peaks.append(children_peak_mb())
        done.set()
        watcher.join()
    assert 0 < max(peaks) < limit_mb


def check_family(specimens: Iterator[Specimen], *, seconds: float, fps: float = 2.0) -> None:
    """Every specimen gets a wanted answer in time; all that do not are listed together."""
    wrong = []
    for specimen in specimens:
        for _ in range(3):  # the best of three: other work on this machine is no fault of the reader
            start = time.perf_counter()
            verdict, frames = attempt(specimen.data, fps=fps)
            took = time.perf_counter() - start
            if took <= seconds:
                break
        if verdict not in specimen.want or took > seconds:
            wrong.append(f"{specimen.name}: {verdict} in {took:.2f} s, wanted {sorted(specimen.want)}")
        elif frames is not None and specimen.size not in (None, frames.images.shape[2:0:-1]):
            wrong.append(f"{specimen.name}: {frames.images.shape}, wanted (width, height) {specimen.size}")
    assert not wrong, "\n".join(wrong)


# ── A3, A4: no video at all ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    for name, path, code in hostile.not_files(tmp_path):
        for read in (video.probe, lambda source: video.sample_frames(source, fps=2)):
            times = []
            for _ in range(100):  # the best of many: other work on this machine is no fault of the reader
                start = time.perf_counter()
                with pytest.raises(VideoError) as caught:
                    read(path)
                times.append(time.perf_counter() - start)
                assert caught.value.code == code, name
                check_message(caught.value)
                if times[-1] < 0.05:
                    break
            assert min(times) < 0.05, f"{name}: {min(times):.3f} s"


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    check_family(hostile.not_videos(), seconds=1.0)
    path = tmp_path / "named.mp4"
    for specimen in hostile.not_videos():
        path.write_bytes(specimen.data)
        assert attempt(path)[0] in specimen.want, specimen.name
        with pytest.raises(VideoError) as caught:
            video.probe(path)
        assert caught.value.code in specimen.want, specimen.name


# ── A5, A6: too much ────────────────────────────────────────────────────────────────────────────────────────────────


def test_huge_pictures_are_refused_in_little_memory() -> None:
    with peak_memory(300):
        check_family(hostile.huge_pictures(), seconds=2.0, fps=60.0)


def test_too_many_frames_are_refused_in_time() -> None:
    with peak_memory(800):
        check_family(hostile.too_many_frames(), seconds=2.0)


def test_a_result_is_bounded_before_it_is_made() -> None:
    """A valid clip that asks for gigabytes of frames: 1,200 still pictures of 1280x720 in 60 KB."""
    data = hostile.mux_h264(hostile.grey_h264(1280, 720, 1200))
    with peak_memory(800):
        start = time.perf_counter()
        assert attempt(data, fps=25.0)[0] == "RESULT_TOO_LARGE"
        assert time.perf_counter() - start < 10
        verdict, frames = attempt(data, fps=25.0, max_frames=4)
        assert verdict == OK
        assert frames is not None
        assert len(frames) == 4


# ── A7, A11: odd clips and odd words ────────────────────────────────────────────────────────────────────────────────


def test_odd_clips_give_right_frames_or_a_typed_error() -> None:
    check_family(hostile.odd_clips(), seconds=3.0, fps=60.0)


def test_fewer_pictures_than_declared_are_said() -> None:
    whole, stbl = clip(container_options={"movflags": "+faststart"}), hostile.STBL
    sizes = hostile.put(8 + 4 * 24, hostile.u32(0))
    for name, data in {
        "the index places 12 of 24": hostile.patch(clip(), f"{stbl}/stsz", hostile.put(8, hostile.u32(12))),
        "the last has no bytes": hostile.patch(clip(), f"{stbl}/stsz", sizes),
        "cut in the last third": whole[: len(whole) * 2 // 3],
        "cut in the tables": clip()[:-400],
    }.items():
        assert attempt(data)[0] in ("partial", "VIDEO_TRUNCATED"), name
    # An edit list that shows the first half only is no damage.
    trimmed = hostile.patch(clip(), "moov/trak/edts/elst", hostile.put(8, hostile.u32(1000)))
    verdict, frames = attempt(trimmed, fps=60.0)
    assert verdict == OK
    assert frames is not None
    assert len(frames) == 12


def test_every_codec_can_be_read_from_the_middle() -> None:
    for name, data in make_seeds().items():
        verdict, frames = attempt(data, fps=60.0, start_seconds=0.5)
        assert verdict == OK, name
        assert frames is not None
        assert len(frames) == (12 if name.endswith(".mpg") else 18), name  # that one is twice as fast


TITLES = {
    "1 MB": "x" * (1 << 20),
    "script": "<script>alert(1)</script>",
    "escape": "\x1b[2J\x1b[31mred\x07",
    "right to left": "\u202egpj.exe",
    "percent": "%s%n{0}",
}


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_words_in_the_file_do_no_harm(container: str) -> None:
    clips = {name: clip(container=container, num_frames=4, title=title) for name, title in TITLES.items()}
    plain = clip(container=container, num_frames=4, title="TITLE" * 8)
    for body in (b"\xff\xfe\x80\x81" * 10, b"A\0B\0" * 10, b"\xed\xa0\x80\xc0" * 10):
        clips[repr(body[:4])] = plain.replace(b"TITLE" * 8, body)
    for name, data in clips.items():
        assert attempt(data)[0] == OK, name
        assert video.probe(data).num_frames in (4, None), name


# ── A8, A9, A10: files that point elsewhere ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def canary() -> Iterator[tuple[int, list[str]]]:
    """A loopback HTTP server: its port, and the requests that it saw, which must be none."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, seen
        server.shutdown()
        thread.join()


def make_secret(folder: Path) -> Path:
    (folder / "secret").mkdir()
    (folder / "given").mkdir()
    secret = folder / "secret" / "secret.ts"
    secret.write_bytes(clip(container="mpegts"))
    return secret


def test_pointers_to_elsewhere_are_not_videos(tmp_path: Path, canary: tuple[int, list[str]]) -> None:
    port, seen = canary
    for name, data in hostile.pointers(make_secret(tmp_path), port):
        path = tmp_path / "given" / name
        path.write_bytes(data)
        assert attempt(path)[0] == "NOT_A_VIDEO", name
        assert attempt(data)[0] == "NOT_A_VIDEO", name
    assert seen == []


def test_protocols_are_file_names(
    tmp_path: Path, canary: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, seen = canary
    secret = make_secret(tmp_path)
    monkeypatch.chdir(secret.parent)
    strings = hostile.protocol_strings(secret, port)
    assert len(strings) == 20
    for text in (*strings, "file:secret.ts", "\x1b[31m\n\u202e.mp4", "x" * 5000, "-i", ""):
        assert attempt(text)[0] in ("NOT_FOUND", "NOT_READABLE", "NOT_A_REGULAR_FILE"), text[:80]
        with pytest.raises(VideoError):
            video.probe(text)
    assert seen == []


def test_references_to_other_files_are_ignored(tmp_path: Path, canary: tuple[int, list[str]]) -> None:
    port, seen = canary
    secret = make_secret(tmp_path)
    check_family(hostile.foreign_references(secret, port), seconds=1.0)
    assert seen == []


SCRIPT = """
import sys
from pathlib import Path
from deeptrace import video
from deeptrace.errors import VideoError

folder = Path(sys.argv[1])
video.sample_frames((folder / "00-good.mp4").read_bytes(), fps=2)
sources = [(path, path.read_bytes()) for path in sorted(folder.iterdir())]
try:
    open("/from-here-on")
except OSError:
    pass
for pair in sources:
    for source in pair:
        try:
            video.sample_frames(source, fps=2)
        except VideoError:
            pass
"""


def test_nothing_else_is_opened_or_called(tmp_path: Path, canary: tuple[int, list[str]]) -> None:
    """The system calls of caller and worker: no foreign file, no connection, no bound port."""
    if shutil.which("strace") is None:
        assert "strace" not in os.environ.get("DEEPTRACE_REQUIRE", ""), "strace is required and absent"
        pytest.skip("strace is not installed")
    port, seen = canary
    secret, given, log = make_secret(tmp_path), tmp_path / "given", tmp_path / "log"
    (given / "00-good.mp4").write_bytes(clip())
    for name, data in hostile.pointers(secret, port):
        (given / name).write_bytes(data)
    for specimen in hostile.foreign_references(secret, port):
        (given / specimen.name).write_bytes(specimen.data)
    seeds = make_seeds()
    for number in range(108):
        case = mutation(seeds, 8, number)
        (given / case.name).write_bytes(case.data)
    calls = "trace=open,openat,openat2,socket,connect,bind,sendto,execve"
    trace = f"strace -f -qq -s 4096 -e {calls} -o {log}".split()
    subprocess.run([*trace, sys.executable, "-c", SCRIPT, str(given)], check=True, timeout=120)
    lines = log.read_text().partition('openat(AT_FDCWD, "/from-here-on"')[2].splitlines()[1:]
    # The call itself: what is sent to the caller may hold any word.
    opened = [path for line in lines if (path := re.match(r'(?:\d+ +)?open(?:at2?)?\([^"]*"([^"]*)"', line))]
    assert len(opened) >= 150  # the trace saw the caller open what it was given
    system = (
        *filter(None, sys.path),
        sys.prefix,
        sys.base_prefix,
        "/usr/",
        "/lib",
        "/etc/",
        "/proc/",
        "/sys/",
        "/dev/",
    )
    allowed = (str(given), os.path.realpath(given), os.path.realpath(SOURCE), *system)
    assert [path[1] for path in opened if path[1].startswith("/") and not path[1].startswith(allowed)] == []
    assert [line for line in lines if "AF_INET" in line] == []
    assert seen == []


# ── A12, A13: the worker dies or lies ───────────────────────────────────────────────────────────────────────────────


def workers() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_a_dying_worker_costs_one_answer() -> None:
    """Signals at random moments of 40 readings: an answer to each, about the right bytes, and none left hanging."""
    rng, stop = random.Random(12), threading.Event()
    clips = [clip(num_frames=4 + index) for index in range(6)]
    video.sample_frames(clips[0], fps=2)

    def murder() -> None:
        while not stop.wait(rng.uniform(0.0, 0.05)):
            for process in workers():
                with suppress(psutil.Error):
                    process.send_signal(rng.choice([signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL]))

    killer = threading.Thread(target=murder)
    killer.start()
    try:
        answers = [attempt(clips[index % 6]) for index in range(40)]
    finally:
        stop.set()
        killer.join()
    assert {verdict for verdict, _ in answers} <= {OK, "DECODER_CRASHED"}
    assert "DECODER_CRASHED" in {verdict for verdict, _ in answers}
    for index, (_, frames) in enumerate(answers):
        if frames is not None and frames.reading is not None:
            assert frames.reading.sha256 == hashlib.sha256(clips[index % 6]).hexdigest()
    assert attempt(clips[0])[0] == OK


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT"])
def test_a_death_between_readings_costs_nothing(name: str) -> None:
    """The idle worker is on its way out, and nobody waits for that: the next file is read all the same."""
    data = clip(num_frames=4)

    def stream() -> int:
        with video.iter_frames(data, chunk=2) as chunks:
            return sum(map(len, chunks))

    ways = [lambda: video.probe(data).num_frames, lambda: len(video.sample_frames(data, fps=60)), stream]
    ways[0]()
    for way in ways:
        for process in workers():
            process.send_signal(getattr(signal, name))
        assert way() == 4


def test_deaths_between_readings_in_threads_cost_nothing() -> None:
    data = clip(num_frames=4)
    with ThreadPoolExecutor(3) as threads:
        for _ in range(2):
            assert [verdict for verdict, _ in threads.map(attempt, [data] * 3)] == [OK] * 3
            for process in workers():
                process.send_signal(signal.SIGKILL)


# ── A15: the file changes while it is read ──────────────────────────────────────────────────────────────────────────


def test_a_file_that_changes_under_the_reader(tmp_path: Path) -> None:
    """A thread cuts, overwrites and replaces the file: a typed error or frames, and "whole" means whole."""
    whole = [clip(num_frames=24), clip(num_frames=48, container_options={"movflags": "+faststart"})]
    counts = {hashlib.sha256(data).hexdigest(): count for data, count in zip(whole, (24, 48), strict=True)}
    path, stop, rng = tmp_path / "clip.mp4", threading.Event(), random.Random(15)
    path.write_bytes(whole[0])

    def change() -> None:
        while not stop.wait(rng.uniform(0, 0.004)):
            data = rng.choice(whole)
            match rng.randrange(4):
                case 0:
                    os.truncate(path, rng.randrange(len(data)))
                case 1:
                    with path.open("r+b") as file:
                        file.seek(rng.randrange(len(data)))
                        file.write(rng.randbytes(500))
                case 2:
                    path.write_bytes(data)
                case 3:
                    other = path.with_name("new")
                    other.write_bytes(data)
                    other.replace(path)

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(60):
            verdict, frames = attempt(path, fps=60.0)
            if verdict == OK and frames is not None and frames.reading is not None:
                assert frames.reading.sha256 not in counts or len(frames) == counts[frames.reading.sha256]
                assert len(frames) == (frames.reading.frames_declared or len(frames))
    finally:
        stop.set()
        writer.join()
