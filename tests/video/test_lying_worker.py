"""A decoder process that a hostile file took over: whatever it says, the caller gets frames or a typed error."""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from deeptrace.video import ReadLimits, _pool
from deeptrace.video._limits import DEFAULT_LIMITS
from tests.video.fuzz import clip
from tests.video.test_hostile import check_message

pytestmark = [pytest.mark.linux, pytest.mark.skipif(sys.platform != "linux", reason="uses what only Linux offers")]

HASTY = ReadLimits(silence_seconds=0.3, wall_seconds=1.0)

LIAR = """
import os, socket, struct, sys, time
line = socket.socket(fileno=int(sys.argv[2].partition(":")[2]))
hello = b'{"kind": "hello", "pid": 1, "limits": {}}'
line.sendall(struct.pack("<I", len(hello)) + hello)
line.recv(65536)
mode, answer = sys.argv[1].split("|", 1)
line.sendall(open(answer, "rb").read())
while mode == "flood":
    line.sendall(struct.pack("<I", 16) + b'{"kind": "busy"}')
if mode == "exit":
    os._exit(0)
time.sleep(60)
"""

INFO = {
    "width": 8,
    "height": 4,
    "fps": 12.0,
    "num_frames": 2,
    "duration_seconds": 0.2,
    "codec": "h264",
    "has_audio": False,
}
HEAD = {"kind": "head", "count": 2, "height": 4, "width": 8, "source_height": 4, "source_width": 8}
HEAD |= {"duration_seconds": 0.2, "info": INFO}
END = {"kind": "end", "sha256": "0" * 64, "frames_declared": 2, "frames_decoded": 2, "corrupt_frames": 0}
END |= {"partial": False, "color_tagged": True}
PIXELS = bytes(4 * 8 * 3)


def say(header: object) -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(data)) + data


def frame(seconds: object) -> bytes:
    return say({"kind": "frame", "pts_seconds": seconds}) + PIXELS


def truth() -> bytes:
    return say(HEAD) + frame(0.0) + frame(0.1) + say(END)


def lies() -> dict[str, bytes]:
    head_lies = [
        {"count": 0},
        {"count": -1},
        {"count": 2**40},
        {"count": True},
        {"count": 2.0},
        {"count": "2"},
        {"count": None},
        {"height": 0},
        {"height": 10**9, "width": 10**9},
        {"height": 4096, "width": 4096, "count": 400_000},
        {"source_width": -8},
        {"duration_seconds": -1.0},
        {"duration_seconds": "long"},
        {"duration_seconds": 10**400},
        {"info": None},
        {"info": []},
        {"info": INFO | {"width": 0}},
        {"info": INFO | {"fps": -1}},
        {"info": INFO | {"fps": "fast"}},
        {"info": INFO | {"num_frames": -1}},
        {"info": INFO | {"num_frames": 1.5}},
        {"info": INFO | {"codec": 5}},
        {"info": INFO | {"has_audio": 1}},
        {"kind": "tail"},
        {"kind": None},
    ]
    end_lies = [
        {"sha256": "x" * 64},
        {"sha256": "0" * 63},
        {"sha256": 5},
        {"frames_decoded": -1},
        {"frames_decoded": 2**60},
        {"frames_declared": "2"},
        {"corrupt_frames": -1},
        {"partial": "no"},
        {"partial": 0},
        {"color_tagged": None},
    ]
    raw = {
        "nothing": b"",
        "half a length": b"\x10\0",
        "half a header": say(HEAD)[:20],
        "length 0": bytes(4),
        "length 2^32-1": b"\xff" * 4 + b"{}",
        "no json": say(b"\xff\xfe{]"),
        "a list": say([HEAD]),
        "NaN": say(json.dumps(HEAD | {"duration_seconds": float("nan")}).encode()),
        "1e999": say(json.dumps(HEAD).replace("0.2", "1e999").encode()),
        "deep": say(b'{"kind":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
        "frame first": frame(0.0),
        "end first": say(END),
        "info instead": say({"kind": "info", "info": INFO}),
        "half a picture": say(HEAD) + frame(0.0)[:-1],
        "no end": say(HEAD) + frame(0.0) + frame(0.1),
        "end at once": say(HEAD) + say(END),
        "asks to read": say({"kind": "read", "offset": 0, "count": 100}),
        "unknown code": say({"kind": "error", "code": "FINE", "reason": "x", "reusable": True}),
        "reason is a number": say({"kind": "error", "code": "NOT_A_VIDEO", "reason": 5, "reusable": True}),
    }
    wrong_times = [(0.1, 0.0), (0.0, 0.0), (-1.0, 0.0), (None, 0.1), ("0", "1"), (True, 2), (0.0, 10**400)]
    for number, times in enumerate(wrong_times):
        raw[f"times {number}"] = say(HEAD) + b"".join(map(frame, times)) + say(END)
    raw |= {f"head {lie}": truth().replace(say(HEAD), say(HEAD | lie)) for lie in head_lies}
    raw |= {f"end {lie}": truth().replace(say(END), say(END | lie)) for lie in end_lies}
    return raw


def listen(
    answer: bytes,
    mode: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: ReadLimits = DEFAULT_LIMITS,
    *,
    stream: bool = False,
) -> str:
    """What the caller makes of a worker that says this: "ok" or the code of the error."""
    (folder / "answer").write_bytes(answer)
    pool = _pool.Pool(command=[sys.executable, "-I", "-S", "-c", LIAR, f"{mode}|{folder / 'answer'}"])
    monkeypatch.setattr(_pool, "_default", pool)
    try:
        if stream:
            list(video.iter_frames(CLIP, limits=limits))
        else:
            video.sample_frames(CLIP, fps=2, limits=limits)
    except VideoError as error:
        check_message(error)
        return error.code
    finally:
        pool.close()
    return "ok"


CLIP = clip(num_frames=2)


@pytest.mark.parametrize("stream", [False, True])
def test_the_truth_is_taken(stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listen(truth(), "stay", tmp_path, monkeypatch, stream=stream) == "ok"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("part", range(4))
def test_lies_are_a_crash(part: int, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for name, answer in list(lies().items())[part::4]:
        start = time.monotonic()
        code = listen(answer, "exit", tmp_path, monkeypatch, stream=stream)
        if code != "DECODER_CRASHED" or time.monotonic() - start > 30:
            wrong.append(f"{name}: {code} after {time.monotonic() - start:.1f} s")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["nothing", "half a header", "half a picture", "no end"])
def test_silence_has_an_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    assert listen(lies()[name], "stay", tmp_path, monkeypatch, HASTY) == "DECODER_TIMEOUT"
    assert time.monotonic() - start < 20  # the worker would stay for 60


def test_chatter_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    assert listen(b"", "flood", tmp_path, monkeypatch, HASTY) == "DECODER_TIMEOUT"
    assert time.monotonic() - start < 20


def test_a_reason_is_made_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "\x1b[31m\n\u202e" + "x" * 5000
    answer = say({"kind": "error", "code": "NOT_A_VIDEO", "reason": reason, "reusable": True})
    assert listen(answer, "exit", tmp_path, monkeypatch) == "NOT_A_VIDEO"
