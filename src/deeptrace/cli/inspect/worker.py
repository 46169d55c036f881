"""A process that inspects: paths come in on stdin, rows go out on stdout, one JSON line each, and between them
``{"progress": ...}`` of a long video. Started by `processes`.

The first line says which model, with which options; the answer is ``{"ready": true}`` or an error. The process ends
when its stdin does, so that it cannot outlive its parent by more than one video.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any

from deeptrace.errors import DeepTraceError
from deeptrace.files import dumps, loads
from deeptrace.models.base import FrameModel
from deeptrace.rows import outcome_to_row


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends us
    with open(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what a library prints must not end up among the rows
        try:
            model = _load(loads(sys.stdin.readline()))
        except DeepTraceError as error:
            _say(answers, {"error": error.code, "message": str(error)})
            return
        _say(answers, {"ready": True})
        if isinstance(model, FrameModel):
            model.on_progress = lambda progress: _say(answers, {"progress": asdict(progress)})
        try:
            for outcome in model.inspect_iter(_paths()):
                _say(answers, outcome_to_row(outcome))
        except BrokenPipeError:
            os._exit(1)  # the parent is gone; closing the file would only say so again


def _load(task: dict[str, Any]) -> Any:
    import cv2

    from deeptrace.models import load
    from deeptrace.video import ReadLimits

    cv2.setNumThreads(1)  # there is a process for each core already
    return load(task["model"], limits=ReadLimits(**task["limits"]), **task["options"])


def _paths() -> Iterator[str]:
    for line in sys.stdin:
        yield loads(line, surrogates=True)


def _say(answers: IO[str], value: dict[str, Any]) -> None:
    answers.write(dumps(value) + "\n")
    answers.flush()
