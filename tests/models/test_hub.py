"""A checkpoint from a hub on loopback: the commit of a branch that moves, and only what can be read safely."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

OLD, NEW = "a" * 40, "b" * 40
FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "modeling_x.py", "chat_template.jinja", "merges.txt")


class Hub:
    """``org/tiny`` with two commits; ``main`` moves from the old to the new one once it has been asked for."""

    def __init__(self) -> None:
        self.main = OLD
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        headers: dict[str, str] = {}
        status, content = 404, b"{}"
        info = re.fullmatch(r"/api/models/org/tiny(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(rf"/org/tiny/resolve/({OLD}|{NEW})/(.+)", path)
        if info is not None and info[2] in (None, "main", OLD, NEW):
            commit = self.main if info[2] in (None, "main") else info[2]
            if info[2] in (None, "main"):
                self.main = NEW
            rows: Any = [{"type": "file", "path": name, "size": 44, "oid": "0" * 40} for name in FILES]
            if info[1] != "tree":
                rows = {"id": "org/tiny", "sha": commit, "siblings": [{"rfilename": name} for name in FILES]}
            status, content = 200, json.dumps(rows).encode()
        elif file is not None and file[2] in FILES:
            status, content = 200, f"{file[1]} {file[2]}".encode()
            headers = {"ETag": f'"{file[1][:8]}{file[2]}"', "X-Repo-Commit": file[1]}
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(content)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.close()


def fetch(endpoint: str, home: Path, revision: str | None) -> dict[str, Any]:
    """Fetch in a process of its own: the library reads its settings when it is imported."""
    code = (
        "import json, sys\n"
        "from deeptrace.errors import ModelError\n"
        "from deeptrace.models.hf.hub import fetch\n"
        "try:\n"
        "    got = fetch('org/tiny', json.loads(sys.argv[1]))\n"
        "    print(json.dumps({'folder': str(got.folder), 'commit': got.commit}))\n"
        "except ModelError as error:\n"
        "    print(json.dumps({'error': str(error)}))\n"
    )
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(revision)], env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def test_a_branch_that_moves_is_fetched_at_the_commit_it_was_asked_at(hub: Hub, tmp_path: Path) -> None:
    got = fetch(hub.endpoint, tmp_path, None)
    assert hub.main == NEW
    assert got["commit"] == OLD
    folder = Path(got["folder"])
    assert (folder / "config.json").read_text() == f"{OLD} config.json"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "merges.txt", "model.safetensors"]
    assert not [path for path in hub.asked if path.endswith((".bin", ".py", ".jinja"))]
    # The same commit again: the hub is not asked, and need not be there.
    asked = len(hub.asked)
    assert fetch("http://127.0.0.1:9", tmp_path, OLD) == got
    assert len(hub.asked) == asked
    assert "cannot be fetched from the hub" in fetch("http://127.0.0.1:9", tmp_path, "main")["error"]


def test_a_revision_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    assert "'org/tiny' at 'v9' cannot be fetched" in fetch(hub.endpoint, tmp_path, "v9")["error"]
