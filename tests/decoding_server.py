"""A server process that decodes what it is sent, as an OpenAI-compatible endpoint would, and says what it saw.

    with DecodingServer() as url: ...            # tests
    python -m tests.decoding_server --blind      # prints its address; answers at once, without a look

Its answer is the JSON format's, FAKE from where the picture turns bright, with ``seen`` beside: the kind of each part,
and frames, size and times of the media in it. It knows nothing of this package.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

BRIGHT = 128
"""Of 255, in the mean over a picture: from here on it is "bright"."""


def decode(data: bytes, kind: str) -> list[tuple[float | None, Any]]:
    """``(seconds, picture)`` of each frame; None: the medium has no clock."""
    import av

    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
        timed = kind.startswith("video/")
        return [(float(frame.time) if timed else None, frame.to_ndarray(format="gray")) for frame in frames]


def look(part: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[float | None, Any]]]:
    """What one part holds, and its frames."""
    url = part[part["type"]]["url"]
    head, _, rest = url.partition(";base64,")
    kind = head.removeprefix("data:")
    pieces = [base64.b64decode(piece, validate=True) for piece in rest.split(",")]
    if kind == "video/jpeg":  # the frames of a video, chosen by who asks
        frames = [frame for piece in pieces for frame in decode(piece, "image/jpeg")]
    else:
        frames = [frame for piece in pieces for frame in decode(piece, kind)]
    times = [time for time, _ in frames]
    return {
        "part": part["type"],
        "kind": kind,
        "frames": len(frames),
        "hw": list(frames[0][1].shape),
        "times": times,
    }, frames


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question."""
    seen, frames, words = [], [], []
    for part in message["content"]:
        if part["type"] == "text":
            words.append(part["text"])
            continue
        what, shown = look(part)
        seen.append(what)
        frames += shown
    bright = [(place, time) for place, (time, picture) in enumerate(frames) if picture.mean() >= BRIGHT]
    said: dict[str, Any] = {"label": "FAKE" if bright else "REAL", "traces": []}
    if bright:
        place, time = bright[0]
        said["traces"] = [{"box": [0, 0, 500, 500], "start_seconds": place if time is None else time}]
    return said | {"seen": seen, "words": words}


class Endpoint(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    blind = False
    refused: str | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.blind:
            self._send(200, completion({"label": "REAL", "traces": []}))
            return
        [message] = json.loads(body)["messages"]
        if any(part["type"] == self.refused for part in message["content"]):
            self._send(400, {"error": {"message": f"no part of type {self.refused} is taken here"}})
            return
        self._send(200, completion(answer(message)))

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def completion(said: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": json.dumps(said)}
    usage = {"prompt_tokens": 900, "completion_tokens": 20}
    return {"model": "decoding", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


class DecodingServer:
    """The process, for as long as the block lasts; its address up to ``/v1``."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "tests.decoding_server", *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blind", action="store_true", help="Answer at once.")
    parser.add_argument("--refuse", help="A type of part that is answered with 400.")
    given = parser.parse_args()
    Endpoint.blind, Endpoint.refused = given.blind, given.refuse
    server = Server(("127.0.0.1", 0), Endpoint)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
