"""Language models on the command line: what is asked, what it costs, what is said when it ends early."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deeptrace.records import Frames
from deeptrace.video import write_video
from tests.fault_server import FaultServer, ok, status
from tests.test_cli import deeptrace

FAKE = '{"label": "FAKE", "fake_probability": 0.9, "traces": [{"start_seconds": 1.0, "explanation": "The cup melts."}]}'


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(default=ok(FAKE)) as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    write_video(path, Frames.from_array(np.zeros((16, 48, 64, 3), np.uint8), 8))
    return path


def test_a_model_behind_an_endpoint(server: FaultServer, clip: Path) -> None:
    run = deeptrace(
        "inspect", clip, "--model", "openai:m", "--base-url", server.url, "--prices", "1", "2",
        DEEPTRACE_API_KEY="k-test-key",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "FAKE" in run.stdout
    assert "From 1.0 s on, the cup melts." in run.stdout
    assert run.stderr == "1 requests, cost 0.000020\n"
    assert server.requests[0].headers["authorization"] == "Bearer k-test-key"


def test_another_question_and_a_second_look(server: FaultServer, clip: Path) -> None:
    run = deeptrace(
        "inspect", clip, "--model", "openai:m", "--question", "zero-shot-no-box", "--two-pass", "--json",
        DEEPTRACE_BASE_URL=server.url,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    row = json.loads(run.stdout)
    assert row["sampling"]["format"] == "zero-shot-no-box"
    assert row["sampling"]["second_look"]["window_seconds"] == [0.0, 2.0]
    assert "2 requests, cost unknown without --prices" in run.stderr


def test_what_came_before_the_end_is_told(server: FaultServer, clip: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "b.mp4", Frames.from_array(np.zeros((40, 48, 64, 3), np.uint8), 8))
    server.default = lambda handler, body: (status(401) if b"5.0 seconds" in body else ok(FAKE))(handler, body)
    run = deeptrace("inspect", clip, tmp_path / "b.mp4", "--model", "openai:m", "--base-url", server.url)
    assert run.returncode == 1
    assert "1 video: 1 fake" in run.stdout
    assert "error: the provider does not accept the API key" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "openai"], "needs the name that the model has"),
        (["--model", "openai:m", "--question", "trianed"], "Did you mean 'trained'?"),
        (["--model", "openai:m", "--max-cost", "1"], "--max-cost needs --prices"),
        (["--model", "openai:m", "--base-url", "localhost"], "base_url must be like"),
        (["--question", "trained"], "'embedded' takes no option 'question'"),
        (["--two-pass"], "--two-pass is for models that are asked a question"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_so(clip: Path, arguments: list[str], words: str) -> None:
    run = deeptrace("inspect", clip, *arguments)
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr
