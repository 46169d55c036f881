"""The decoder is another process: it may crash, hang or lie, and the next video is read all the same."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from deeptrace.video import _pool, read
from deeptrace.video._limits import DEFAULT_LIMITS
from deeptrace.video._pool import Pool
from tests.clips import make_clip, number_of

QUICK = replace(DEFAULT_LIMITS, silence_seconds=1.0)  # only where silence is the point: a busy machine is silent too
PATIENT = replace(DEFAULT_LIMITS, silence_seconds=30.0)


@pytest.fixture(params=["socket", "pipe"])
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool of our own in the place of the default one; over pipes it is what systems without passing files use."""
    pool = Pool(transport=request.param, test_hooks=True)
    monkeypatch.setattr(_pool, "_default", pool)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def clip() -> bytes:
    return make_clip(num_frames=50)


def codes(call: object, *args: object, **options: object) -> str:
    with pytest.raises(VideoError) as caught:
        call(*args, **options)  # type: ignore[operator]
    return str(caught.value.code)


def test_importing_loads_no_media_library() -> None:
    code = "import sys, deeptrace.video; sys.exit('av' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_both_transports_read_the_same(pool: Pool, clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    for source in (path, str(path), clip):
        assert video.probe(source).num_frames == 50
        frames = video.sample_frames(source, fps=5, short_side=32)
        assert [number_of(image) for image in frames.images] == list(range(0, 50, 5))
        with video.iter_frames(source, chunk=8) as stream:
            assert sum(len(chunk) for chunk in stream) == 50


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("segv", "DECODER_CRASHED"),
        ("abort", "DECODER_CRASHED"),
        ("exit", "DECODER_CRASHED"),
        ("garbage", "DECODER_CRASHED"),
        ("half", "DECODER_CRASHED"),
        ("lie", "DECODER_CRASHED"),
        ("hang", "DECODER_TIMEOUT"),
        pytest.param("memory", "OUT_OF_MEMORY", marks=pytest.mark.linux),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_broken_decoder_costs_one_answer(pool: Pool, clip: bytes, fault: str, code: str) -> None:
    assert len(video.sample_frames(clip, fps=5)) == 10
    pool.fault = fault
    limits = QUICK if fault == "hang" else PATIENT
    assert codes(video.sample_frames, clip, fps=5, limits=limits) == code
    assert len(video.sample_frames(clip, fps=5)) == 10


@pytest.mark.linux
def test_cpu_time_is_limited(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(test_hooks=True)
    monkeypatch.setattr(_pool, "_default", pool)
    pool.fault = "spin"
    start = time.monotonic()
    assert codes(video.probe, clip, limits=replace(DEFAULT_LIMITS, cpu_seconds=0.1)) == "DECODER_TIMEOUT"
    assert time.monotonic() - start < 20
    pool.close()


def test_faults_need_the_switch(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(test_hooks=False)
    monkeypatch.setattr(_pool, "_default", pool)
    pool.fault = "exit"
    assert len(video.sample_frames(clip, fps=5)) == 10
    pool.close()


def test_a_batch_keeps_its_order_through_crashes(pool: Pool, clip: bytes) -> None:
    answers: list[object] = []
    for number in range(24):
        pool.fault = "exit" if number % 7 == 3 else None
        try:
            answers.append(len(video.sample_frames(clip, fps=5)))
        except VideoError as error:
            answers.append(error.code)
    assert answers == ["DECODER_CRASHED" if number % 7 == 3 else 10 for number in range(24)]


FAKE = """
import json, os, socket, struct, sys
sock = socket.socket(fileno=int(sys.argv[-1].split(":")[1]))
def say(data): sock.sendall(struct.pack("<I", len(data)) + data)
say(json.dumps({"kind": "hello", "limits": {}}).encode())
request, *_ = socket.recv_fds(sock, 65536, 4)
ANSWER
"""
HEAD = {
    "kind": "head",
    "count": 2,
    "height": 4,
    "width": 4,
    "source_height": 4,
    "source_width": 4,
    "duration_seconds": 1.0,
    "info": {"width": 4, "height": 4},
}
FRAME = {"kind": "frame", "pts_seconds": 0.0}
END = {
    "kind": "end",
    "sha256": "0" * 64,
    "frames_declared": None,
    "frames_decoded": 2,
    "corrupt_frames": 0,
    "partial": False,
    "color_tagged": True,
}


def lies() -> Iterator[str]:
    """Answers that no honest worker gives."""
    yield from (
        'say(b"")',
        'say(b"{")',
        'say(b"[]")',
        'say(b"NaN")',
        'say(b"null")',
        'sock.sendall(b"\\xff\\xff\\xff\\xff")',
        'sock.sendall(b"\\x10\\x00")',
        'sock.sendall(b"\\x10\\x00\\x00\\x00{")',
        'say(b"x" * 70000)',
        'say(b"[" * 50000)',
        "pass",
    )
    changes: list[dict[str, object]] = [
        {"kind": kind} for kind in ("", None, 3, "end", "frame", "stopped", "read", "hello")
    ]
    for name in ("count", "height", "width", "source_height", "source_width"):
        changes += [{name: value} for value in (0, -1, 2**40, 1.5, True, "4", None)]
    changes += [{"duration_seconds": value} for value in (-1, "1", None, True)]
    changes += [{"info": value} for value in (None, [], {}, {"width": 4, "height": 0})]
    changes += [{"info": {"width": 4, "height": 4, "fps": "x"}}, {"info": {"width": 4, "height": 4, "codec": 5}}]
    for change in changes:
        yield f"say(json.dumps({HEAD | change!r}).encode())"
    head = f"say(json.dumps({HEAD!r}).encode()); "
    frame = f"say(json.dumps({FRAME!r}).encode() ); sock.sendall(bytes(48)); "
    for change in ({"pts_seconds": -1.0}, {"pts_seconds": None}, {"pts_seconds": "0"}, {"kind": "head"}):
        yield head + f"say(json.dumps({FRAME | change!r}).encode()); sock.sendall(bytes(48))"
    yield head + 'say(b\'{"kind": "frame", "pts_seconds": 1e999}\'); sock.sendall(bytes(48))'
    yield head + frame + frame  # time does not move on
    yield head + frame[:-30] + "sock.sendall(bytes(20))"
    end_changes: list[dict[str, object]] = [
        {"sha256": "0"},
        {"sha256": None},
        {"frames_decoded": -1},
        {"corrupt_frames": "1"},
        {"partial": 1},
        {"color_tagged": None},
        {"frames_declared": -5},
    ]
    for change in end_changes:
        yield head + frame + f"say(json.dumps({END | change!r}).encode())"
    yield head + f"say(json.dumps({END!r}).encode())"  # no frame at all
    yield 'say(b\'{"kind": "error", "code": "MADE_UP", "reason": "x"}\')'
    yield 'say(b\'{"kind": "error", "code": "NOT_A_VIDEO", "reason": 5}\')'


@pytest.mark.skipif(not hasattr(socket, "recv_fds"), reason="sockets that pass files")
def test_a_lying_worker_is_a_crash(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = list(lies())
    assert len(cases) >= 50

    def attempt(answer: str, read_it: Callable[[], object]) -> str | None:
        pool = Pool(command=[sys.executable, "-I", "-S", "-c", FAKE.replace("ANSWER", answer)])
        monkeypatch.setattr(read, "default_pool", lambda: pool)
        try:
            read_it()
        except VideoError as error:
            return str(error.code)
        except Exception as error:  # noqa: BLE001 - this is what is being looked for
            return repr(error)
        finally:
            pool.close()
        return "answered"

    ways = (
        lambda: video.sample_frames(clip, fps=5, limits=PATIENT),
        lambda: list(video.iter_frames(clip, chunk=1, limits=PATIENT)),
    )
    results = {(number, answer): attempt(answer, way) for number, way in enumerate(ways) for answer in cases}
    wrong = {case: code for case, code in results.items() if code != "DECODER_CRASHED"}
    assert not wrong


@pytest.mark.skipif(not hasattr(socket, "recv_fds"), reason="sockets that pass files")
def test_a_silent_worker_is_a_timeout(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(command=[sys.executable, "-I", "-S", "-c", FAKE.replace("ANSWER", "import time; time.sleep(60)")])
    monkeypatch.setattr(read, "default_pool", lambda: pool)
    start = time.monotonic()
    assert codes(video.probe, clip, limits=replace(DEFAULT_LIMITS, silence_seconds=0.5)) == "DECODER_TIMEOUT"
    assert time.monotonic() - start < 20  # it would be silent for 60


def test_closing_ends_reads_under_way(pool: Pool, clip: bytes) -> None:
    """As after Ctrl-C: the thread that waits for the decoder gets its error now, not after the limit of silence."""
    errors: list[VideoError] = []

    def read_one() -> None:
        try:
            video.sample_frames(clip, fps=5)
        except VideoError as error:
            errors.append(error)

    video.probe(clip)
    pool.fault = "hang"
    thread = threading.Thread(target=read_one)
    thread.start()
    end = time.monotonic() + 30
    while pool.fault is not None and time.monotonic() < end:  # until the read has taken it up
        time.sleep(0.01)
    assert thread.is_alive()
    start = time.monotonic()
    video.close()
    thread.join(30)
    assert time.monotonic() - start < DEFAULT_LIMITS.silence_seconds / 3
    assert [error.code for error in errors] == ["DECODER_CRASHED"]
    assert "reading was ended" in str(errors[0])
    assert len(video.sample_frames(clip, fps=5)) == 10


def test_closing_ends_a_stream_between_its_chunks(pool: Pool, clip: bytes) -> None:
    with video.iter_frames(clip, chunk=2) as stream:
        next(stream)
        video.close()
        with pytest.raises(VideoError) as caught:
            list(stream)
    assert caught.value.code == "DECODER_CRASHED"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_death_between_the_chunks_of_a_stream_is_the_streams_own(pool: Pool, clip: bytes) -> None:
    video.probe(clip)
    with video.iter_frames(clip, chunk=2) as stream:
        next(stream)
        for worker in workers_of(pool):
            worker.process.kill()
        assert codes(list, stream) == "DECODER_CRASHED"
    assert len(video.sample_frames(clip, fps=5)) == 10


# ── a worker that ends while it waits in the pool ──


def workers_of(pool: Pool) -> list[_pool.Worker]:
    """Its workers, idle or at work: this process may have other children."""
    return [*pool._idle, *pool._lent]


@contextmanager
def reading_from_a_stopped_worker(pool: Pool, clip: bytes) -> Iterator[tuple[list[object], list[_pool.Worker]]]:
    """In the block a thread waits for an idle worker that looked alive and is stopped. Its answer, when all is over."""
    video.probe(clip)
    workers = workers_of(pool)
    processes = [psutil.Process(worker.process.pid) for worker in workers]
    assert processes
    for process in processes:
        process.suspend()
    end = time.monotonic() + 30
    while any(process.status() != psutil.STATUS_STOPPED for process in processes) and time.monotonic() < end:
        time.sleep(0.01)
    answers: list[object] = []

    def read_one() -> None:
        try:
            answers.append(len(video.sample_frames(clip, fps=5, limits=PATIENT)))
        except VideoError as error:
            answers.append(error)

    pool.fault = "none"
    thread = threading.Thread(target=read_one)
    thread.start()
    while pool.fault is not None and time.monotonic() < end:  # until the read has its worker
        time.sleep(0.01)
    try:
        yield answers, workers
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.linux
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT"])
def test_a_worker_that_ends_before_its_first_word_costs_nothing(pool: Pool, clip: bytes, name: str) -> None:
    """The signal waits for the stopped process to go on, and comes before it can look at the request."""
    with reading_from_a_stopped_worker(pool, clip) as (answers, workers):
        for worker in workers:
            worker.process.send_signal(getattr(signal, name))
    assert answers == [10]
    assert all(worker.process.poll() is not None for worker in workers)


@pytest.mark.linux
def test_closing_ends_a_read_before_the_first_word(pool: Pool, clip: bytes) -> None:
    """A worker that `close` ends is not replaced."""
    with reading_from_a_stopped_worker(pool, clip) as (answers, _):
        video.close()
    assert [getattr(answer, "code", answer) for answer in answers] == ["DECODER_CRASHED"]
    assert "reading was ended" in str(answers[0])


@pytest.mark.linux
def test_closing_catches_a_replacement_that_is_just_starting(
    pool: Pool, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = _pool.Worker.__init__, []

    def start_and_close(worker: _pool.Worker, *args: object) -> None:
        start(worker, *args)  # type: ignore[arg-type]
        started.append(worker)
        pool.close()

    with reading_from_a_stopped_worker(pool, clip) as (answers, workers):
        monkeypatch.setattr(_pool.Worker, "__init__", start_and_close)
        for worker in workers:
            worker.process.kill()
    assert [getattr(answer, "code", answer) for answer in answers] == ["DECODER_CRASHED"]
    assert "reading was ended" in str(answers[0])
    assert [worker.is_alive() for worker in started] == [False]


# A worker that answers its first request, late if told so, and does something else on its second.
FICKLE = """
import json, os, socket, struct, sys, time
open(PIDS, "a").write(f"{os.getpid()}\\n")
sock = socket.socket(fileno=int(sys.argv[-1].split(":")[1]))
def say(header):
    data = json.dumps(header).encode()
    sock.sendall(struct.pack("<I", len(data)) + data)
say({"kind": "hello", "limits": {}})
socket.recv_fds(sock, 65536, 4)
time.sleep(LATE)
say({"kind": "info", "info": {"width": 4, "height": 4}})
ENDING
"""
TAKES = "socket.recv_fds(sock, 65536, 4); "


@pytest.fixture
def fickle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Callable[[], int]]]:
    """Put a pool of such workers in the place of the default one; the result counts those that were started."""
    pids, pools = tmp_path / "pids", []

    def use(ending: str, *, late: float = 0.0) -> Callable[[], int]:
        code = FICKLE.replace("PIDS", repr(str(pids))).replace("LATE", str(late)).replace("ENDING", ending)
        pools.append(Pool(command=[sys.executable, "-I", "-S", "-c", code]))
        monkeypatch.setattr(_pool, "_default", pools[-1])
        return lambda: len(pids.read_text().split())

    yield use
    for pool in pools:
        pool.close()
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split())


@pytest.mark.linux
@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(TAKES + "os._exit(9)", id="exit"),
        pytest.param(TAKES + "os.kill(os.getpid(), 11)", id="signal"),
        pytest.param(TAKES + "sock.sendall(bytes([16, 0])); os._exit(0)", id="half a first word"),
        pytest.param("sock.close(); time.sleep(60)", id="hung up but alive"),
    ],
)
def test_a_request_that_nobody_took_is_put_once_more(
    fickle: Callable[..., Callable[[], int]], clip: bytes, ending: str
) -> None:
    started = fickle(ending)
    for number in range(1, 4):
        assert video.probe(clip, limits=PATIENT).width == 4
        assert started() == number


@pytest.mark.linux
@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(TAKES + 'say({"kind": "busy"}); os._exit(9)', id="exit"),
        pytest.param(TAKES + 'say({"kind": "busy"}); sock.close(); time.sleep(60)', id="hung up but alive"),
        pytest.param(TAKES + 'say({"kind": "nonsense"}); os._exit(0)', id="unknown word"),
        pytest.param(TAKES + 'say(["busy"]); os._exit(0)', id="a list"),
        pytest.param(TAKES + "sock.sendall(bytes([255] * 64)); os._exit(0)", id="impossible length"),
        pytest.param("sock.sendall(bytes([255] * 64)); time.sleep(60)", id="before there was a request"),
        pytest.param(TAKES + 'say({"kind": "error", "code": "FINE"}); time.sleep(60)', id="unknown code"),
    ],
)
def test_a_worker_that_has_spoken_costs_the_answer(
    fickle: Callable[..., Callable[[], int]], clip: bytes, ending: str
) -> None:
    started = fickle(ending)
    assert video.probe(clip, limits=PATIENT).width == 4
    assert codes(video.probe, clip, limits=PATIENT) == "DECODER_CRASHED"
    assert started() == 1
    assert video.probe(clip, limits=PATIENT).width == 4
    assert started() == 2


@pytest.mark.linux
def test_a_new_worker_that_ends_before_its_first_word_is_not_replaced(
    fickle: Callable[..., Callable[[], int]], clip: bytes
) -> None:
    started = fickle("", late=-1.0)  # not a time: it ends when it has taken its first request
    assert codes(video.probe, clip, limits=PATIENT) == "DECODER_CRASHED"
    assert started() == 1


@pytest.mark.linux
def test_the_time_waited_for_the_last_worker_counts(fickle: Callable[..., Callable[[], int]], clip: bytes) -> None:
    """3 s until the worker ends and 3 s until the next one answers are more than the 5.5 s that the call has."""
    fickle(TAKES + "time.sleep(3); os._exit(9)", late=3.0)
    limits = replace(DEFAULT_LIMITS, wall_seconds=5.5)
    assert video.probe(clip, limits=limits).width == 4
    assert codes(video.probe, clip, limits=limits) == "DECODER_TIMEOUT"


def test_closing_catches_a_worker_that_is_just_starting(monkeypatch: pytest.MonkeyPatch, clip: bytes) -> None:
    pool = Pool()
    monkeypatch.setattr(_pool, "_default", pool)
    start = _pool.Worker.__init__

    def start_and_close(*args: object) -> None:
        start(*args)  # type: ignore[arg-type]
        pool.close()

    monkeypatch.setattr(_pool.Worker, "__init__", start_and_close)
    assert codes(video.probe, clip) == "DECODER_CRASHED"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_program_does_not_wait_for_a_read(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    code = f"""
        import os, signal, threading, time
        from concurrent.futures import ThreadPoolExecutor
        from deeptrace import video
        from deeptrace.video import _pool
        _pool._default = pool = _pool.Pool(test_hooks=True)
        pool.fault = "hang"
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        threads = ThreadPoolExecutor(1)
        future = threads.submit(video.sample_frames, {str(path)!r}, fps=5)
        try:
            future.result()
        except KeyboardInterrupt:
            pool.close()
    """
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 15


def test_threads_read_side_by_side(clip: bytes) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda fps: len(video.sample_frames(clip, fps=fps)), [5, 10, 25, 5, 10, 25]))
    assert results == [10, 20, 50, 10, 20, 50]


def test_a_call_inside_a_stream_has_its_own_decoder(clip: bytes) -> None:
    with video.iter_frames(clip, chunk=10) as stream:
        for chunk in stream:
            assert len(chunk) == 10
            assert video.probe(clip).num_frames == 50


def test_a_worker_started_by_a_thread_outlives_it(clip: bytes) -> None:
    video.close()
    thread = threading.Thread(target=video.probe, args=(clip,))
    thread.start()
    thread.join()
    pool = _pool.default_pool()
    worker = pool.take()
    pool.give_back(worker)
    time.sleep(0.2)
    assert worker.is_alive()


def test_workers_are_recycled(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(files_per_worker=3)
    monkeypatch.setattr(_pool, "_default", pool)
    pids = []
    for _ in range(7):
        worker = pool.take()
        worker.files -= 1
        pids.append(worker.process.pid)
        pool.give_back(worker)
        video.probe(clip)
    assert len(set(pids)) == 3
    pool.close()


@pytest.mark.skipif(sys.platform == "win32", reason="kill")
def test_no_worker_outlives_its_caller(tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    code = f"""
        import os, signal, sys
        from deeptrace import video
        from deeptrace.video import _pool
        video.probe({str(path)!r})
        print(_pool.default_pool().take().process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    pid = int(done.stdout)
    end = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.linux
def test_a_forked_child_has_its_own_workers(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    code = f"""
        import os
        from deeptrace import video
        video.probe({str(path)!r})
        child = os.fork()
        if child == 0:
            os._exit(0 if len(video.sample_frames({str(path)!r}, fps=5)) == 10 else 1)
        ours = len(video.sample_frames({str(path)!r}, fps=5))
        assert os.waitpid(child, 0)[1] == 0
        assert ours == 10
        assert len(video.sample_frames({str(path)!r}, fps=5)) == 10
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_current_folder_is_not_imported_from(tmp_path: Path, clip: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip)
    for name in ("av", "numpy", "json", "socket"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(77)")
    code = "import sys; sys.path.pop(0); from deeptrace import video; print(video.probe('clip.mp4').num_frames)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "50", done.stderr


@pytest.mark.parametrize("read_it", [lambda clip: video.sample_frames(clip, fps=25), video.iter_frames])
def test_a_result_that_the_caller_has_no_room_for(
    read_it: Callable[[bytes], object], clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    video.probe(clip)
    with monkeypatch.context() as patch:
        patch.setattr(read.np, "empty", refuse)
        assert codes(read_it, clip) == "OUT_OF_MEMORY"
    assert len(video.sample_frames(clip, fps=5)) == 10


def test_any_buffer_is_a_source(clip: bytes) -> None:
    apart = memoryview(np.repeat(np.frombuffer(clip, np.uint8), 2))[::2]  # every other byte of a larger buffer
    for source in (bytearray(clip), memoryview(clip), apart):
        assert video.probe(source).num_frames == 50
        assert len(video.sample_frames(source, fps=5)) == 10
        with video.iter_frames(source) as stream:
            assert sum(map(len, stream)) == 50
    for empty in (bytearray(), memoryview(b""), memoryview(np.zeros((0, 3)))):
        assert codes(video.probe, empty) == "NOT_A_VIDEO"


def test_limits_are_named() -> None:
    active = video.limits()
    assert active["separate process"] == "active"
    if sys.platform == "linux":
        assert active["memory limit"] == active["CPU time limit"] == active["ends with its caller"] == "active"


def test_results_and_files_are_bounded(clip: bytes) -> None:
    assert (
        codes(video.sample_frames, clip, fps=25, limits=replace(DEFAULT_LIMITS, max_result_bytes=10_000))
        == "RESULT_TOO_LARGE"
    )
    assert codes(video.sample_frames, clip, fps=25, limits=replace(DEFAULT_LIMITS, max_bytes=1000)) == "TOO_LARGE"
    assert codes(video.probe, clip, limits=replace(DEFAULT_LIMITS, max_frames=49)) == "TOO_MANY_FRAMES"
    assert codes(video.probe, clip, limits=replace(DEFAULT_LIMITS, max_pixels=96 * 63)) == "FRAME_TOO_LARGE"


@pytest.mark.linux
def test_memory_of_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 s of 1080p: at most 150 MB in the decoder's process."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (68, 120, 3)).astype(np.uint8)
    images = [np.kron(np.roll(base, k, axis=1), np.ones((16, 16, 1), np.uint8))[:1080] for k in range(10)]
    data = make_clip(images=images * 5, fps=10, gop=250, b_frames=0, options={"preset": "ultrafast", "threads": "2"})
    pool = Pool()
    monkeypatch.setattr(_pool, "_default", pool)
    frames = video.sample_frames(data, fps=2, short_side=448)
    assert len(frames) == 10
    worker = pool.take()
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    pool.discard(worker)
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert peak <= 150, peak


def test_tests_that_need_linux_skip_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.video import conftest

    request.node.add_marker(pytest.mark.linux)
    monkeypatch.setattr(conftest, "PLATFORM", "darwin")
    with pytest.raises(pytest.skip.Exception):
        conftest.pytest_runtest_setup(request.node)
