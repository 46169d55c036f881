"""A real OpenAI-compatible server process on 127.0.0.1 that serves a tiny model of a real class through our own code.

    with TinyServer(tmp_path / "tiny") as server:
        load("openai:tiny", base_url=server.url)

Run as a program (``python -m tests.tiny_server FOLDER``) it builds `deeptrace.testing.tiny_model` in FOLDER, loads it
as ``hf:`` does, prints its address, and ends with its standard input. Pictures come as data URLs of JPEG, each with its
time in the text before it (``0.5 s:``) or two a second. ``asked.jsonl`` gets a line an answer.

Random weights say nothing that can be read. So the model named ``tiny`` answers with a choice, as under guided
decoding: FAKE or REAL, whichever is likelier as the next token, with the log-probabilities of both. ``tiny-free``
answers with what the model writes of itself, cut off at the limit, and refuses log-probabilities, as servers without
them do.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.commands import TRAINING, start_command

LOG = "asked.jsonl"
REVISION = "tiny-2025-01-01"
_TIME = re.compile(r"([\d.]+) s:")


class TinyServer:
    """The process; ``url`` ends in ``/v1``. ``asked`` are the questions it has answered, in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> TinyServer:
        from_us, self._end = os.pipe()
        told, to_us = os.pipe()
        self._process = start_command(
            self._folder,
            stdin=from_us,
            stdout=to_us,
            stderr=2,
            cwd=Path(__file__).parents[1],
            preload=TRAINING,  # torch and transformers are loaded once
            module="tests.tiny_server",
        )
        os.close(from_us)
        os.close(to_us)
        with open(told) as words:
            self.url = words.readline().strip()  # once the model is loaded
        assert self.url, "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)  # its standard input
        self._process.wait(60)

    @property
    def asked(self) -> list[dict[str, Any]]:
        lines = (self._folder / LOG).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Refused(Exception):
    """What the client is told with status 400."""


class Tiny:
    """The model behind the server: messages in, a choice of the reply out. One question at a time."""

    def __init__(self, folder: Path) -> None:
        from deeptrace.models.hf.model import HfModel
        from deeptrace.testing import tiny_model

        sizes = {"hidden_size": 96, "num_layers": 2, "vision_layers": 1}
        self._model = HfModel(
            tiny_model("qwen2.5-vl", folder / "model", **sizes), question="zero-shot", max_new_tokens=4, device="cpu"
        )
        self._model.label_share = 0.0  # its labels hold next to nothing: it was never trained
        self._log, self._lock = folder / LOG, threading.Lock()
        self._log.touch()

    def complete(self, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        """The choice and the usage of a chat completion."""
        from deeptrace.models.text import ModelReply, NoAnswer

        is_free = request["model"] == "tiny-free"
        if is_free and request.get("logprobs"):
            raise Refused("this server gives no logprobs")
        asked = _asked(request["messages"], self._model)
        with self._lock:
            [said] = self._model.ask([asked]) if is_free else self._model.rate([asked])
            assert not isinstance(said, NoAnswer), said.reason
            text, logprobs = said.text, None
            if not is_free:
                assert isinstance(said, ModelReply)
                assert said.p_fake is not None
                text, logprobs = _choose(said.p_fake)
            with open(self._log, "a") as file:
                p_fake = None if is_free else said.p_fake
                file.write(json.dumps({"pictures": len(asked.frames), "text": text, "p_fake": p_fake}) + "\n")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if isinstance(said, ModelReply) else "length",
            "logprobs": logprobs if request.get("logprobs") else None,
        }
        made = int(said.facts.get("answer_tokens", 1))
        return choice, {"prompt_tokens": int(said.facts["prompt_tokens"]), "completion_tokens": made}


def _choose(p_fake: float) -> tuple[str, dict[str, Any]]:
    ranked = [
        {"token": label, "logprob": math.log(max(p, 1e-300)), "bytes": list(label.encode())}
        for label, p in sorted({"FAKE": p_fake, "REAL": 1 - p_fake}.items(), key=lambda item: -item[1])
    ]
    return str(ranked[0]["token"]), {"content": [{**ranked[0], "top_logprobs": ranked}]}


def _asked(messages: list[dict[str, Any]], model: Any) -> Any:
    """The question and frames in messages, as our own models are asked them."""
    import cv2
    import numpy as np

    from deeptrace.models.text import PosedQuestion
    from deeptrace.records import Frames, Origin

    pictures, times, texts = [], [], []
    for part in (part for message in messages for part in _parts(message)):
        if part["type"] == "text":
            if found := _TIME.fullmatch(part["text"]):
                times.append(float(found[1]))
            else:
                texts.append(part["text"] if not pictures else f"<video>{part['text']}")
            continue
        kind, _, data = part["image_url"]["url"].partition(";base64,")
        if kind != "data:image/jpeg":
            raise Refused("pictures are taken as data URLs of JPEG")
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise Refused("a picture is no JPEG")
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    if not pictures or not texts:
        raise Refused("a question needs pictures and words")
    shown = np.stack(pictures)
    when = np.array(times or [k / 2 for k in range(len(pictures))], np.float64)
    frames = Frames(shown, when, (shown.shape[1], shown.shape[2]), float(when[-1]) + 0.5)
    return PosedQuestion(frames, "".join(texts), model.space(frames), Origin())


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tiny: Tiny

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self._answer(404, {"error": {"message": f"there is no {self.path}"}})
        try:
            choice, usage = self.tiny.complete(request)
        except Refused as refused:
            return self._answer(400, {"error": {"message": str(refused), "type": "invalid_request_error"}})
        usage["total_tokens"] = sum(usage.values())
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": REVISION, "choices": [choice]}
        return self._answer(200, reply | {"usage": usage})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # a client that was killed

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)  # type: ignore[arg-type]


if __name__ == "__main__":
    Handler.tiny = Tiny(Path(sys.argv[1]))
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    sys.stdin.read()
    os._exit(0)  # nothing is left to be put in order, and torch takes its time
