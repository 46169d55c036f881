"""A reward server whose model does as its videos say: ``python -m tests.reward.server_app ROOT [option=value ...]``.

``slow:0.5 ...`` takes half a second, ``hang`` for ever, ``die`` ends the process, ``broken`` cannot be loaded any more
from then on until the file ``mended`` is there; anything else is scored by its length.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from deeptrace.records import Origin
from deeptrace.reward import NotRewarded, RewardForms, RewardResult
from deeptrace.reward.serve import RewardServerOptions, serve_rewards

FOLDER = Path(sys.argv[1])


def told(connection: Connection, model: str, options: Any) -> None:
    if (FOLDER / "broken").exists():
        os._exit(3)
    connection.send(("told", "1"))
    while True:
        try:
            video, _dense = connection.recv()
        except EOFError:
            return
        text = video.decode("latin-1")
        if text.startswith("slow:"):
            time.sleep(float(text.split()[0][5:]))
        if text.startswith("hang"):
            time.sleep(3600)
        if text.startswith("broken"):
            (FOLDER / "broken").touch()
        if text.startswith(("die", "broken")):
            os._exit(9)
        if text.startswith("unreadable"):
            connection.send(NotRewarded("NOT_A_VIDEO", "not a video"))
            continue
        value = len(video) / 1000
        forms = RewardForms(value, value, value)
        connection.send(RewardResult({"trace_free": forms}, Origin(), n_traces=0))


def main() -> None:
    options: dict[str, Any] = dict(option.split("=") for option in sys.argv[2:])
    token = options.pop("token", None)
    numbers = {name: float(value) if "." in value else int(value) for name, value in options.items()}
    serve_rewards(
        RewardServerOptions(model="told", roots=(FOLDER / "clips",), token=token, **numbers),
        on_ready=lambda address: print(address, flush=True),
        main=told,
    )


if __name__ == "__main__":
    main()
