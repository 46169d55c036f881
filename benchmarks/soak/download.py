"""The download, the long way, over real HTTP on this machine: 22 faults x 20 seeds, 200 kills, and 8 processes x 20.

    python benchmarks/soak/download.py [--seeds 20] [--kills 200] [--megabytes 200] [--rounds 20]

Prints one line per part; any failed check raises. The real hub is not asked.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deeptrace.data.hub.download import download
from deeptrace.data.hub.fetch import DownloadError

# What comes from the tests is imported where it is used: each forked process runs the lines above again.


def faults(seeds: int) -> None:
    """Random runs of faults; the file is right, or there is a typed error and no file."""
    from tests.data.test_download import BIG, FAULTS, RULES, visible
    from tests.fault_server import HubServer

    outcomes: Counter[str] = Counter()
    for seed in range(seeds):
        for name, make in FAULTS:
            rng = random.Random(f"{seed}{name}")
            with HubServer({"videos.zip.001": BIG}) as hub, tempfile.TemporaryDirectory() as folder:
                others = [rng.choice(FAULTS)[1](hub) for _ in range(rng.randint(0, 4))]
                start = [hub.bytes_of(BIG, keep=rng.randrange(len(BIG)))] if rng.random() < 0.5 else []
                hub.file_script = [*start, make(hub), *others]
                try:
                    download(folder, endpoint=hub.root, rules=RULES, sleep=lambda seconds: None)
                except DownloadError as error:
                    assert visible(Path(folder)) == {}, "a bad file has its final name"
                    outcomes[error.code] += 1
                else:
                    assert visible(Path(folder)) == hub.files, "wrong bytes"
                    outcomes["ok"] += 1
    print(json.dumps({"part": "faults", "runs": sum(outcomes.values()), "outcomes": dict(outcomes), "bad_files": 0}))


def kills(count: int, megabytes: int) -> None:
    """One folder; killed again and again until all kills are used; bytes that came twice are counted.

    Two kills of three come when the server has sent a number of bytes that chance chose among those still to come, and
    holds still; the third at any moment, from the start of the run on. A download is forked from a process that has
    everything loaded, so that a kill costs a fraction of a second, on a busy machine too.
    """
    from tests.data.test_download import visible
    from tests.fault_server import HubServer

    rng = random.Random(1)
    size = megabytes * 1_000_000
    files = {f"videos.zip.{n:03d}": rng.randbytes(size // 4) for n in range(1, 5)}
    done, worst, rounds = 0, 0, 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deeptrace.data.hub.download", "huggingface_hub.hf_api"])
    while done < count:
        with HubServer(files) as hub, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            began = time.monotonic()
            while done < count and visible(folder) != files:
                before, held = hub.sent, on_disk(folder)
                hub.stop_at = before + rng.randint(1, max(1, size - held)) if rng.random() < 2 / 3 else math.inf
                process = context.Process(target=download, args=(name,), kwargs={"endpoint": hub.root})
                process.start()
                late = time.monotonic() + rng.random() * 0.3
                while (
                    process.is_alive()
                    and hub.sent < hub.stop_at
                    and (hub.stop_at < math.inf or time.monotonic() < late)
                ):
                    time.sleep(0.002)
                time.sleep(rng.random() * 0.01)
                process.kill()
                process.join()
                assert process.exitcode in (0, -signal.SIGKILL), "a download ended with an error"
                time.sleep(0.02)  # the server notices
                done += process.exitcode != 0
                worst = max(worst, (hub.sent - before) - (on_disk(folder) - held))
                for file, data in visible(folder).items():
                    assert data == files[file], f"{file} has wrong bytes"
            hub.stop_at = math.inf
            download(folder, endpoint=hub.root)
            assert visible(folder) == files
            rounds += 1
            print(f"round {rounds}: {done} kills, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    row = {"part": "kill -9", "kills": done, "rounds": rounds, "most_bytes_lost_by_one_kill": worst, "bad_files": 0}
    print(json.dumps(row))


def on_disk(folder: Path) -> int:
    """Bytes of whole and of partial files."""
    names = (p for p in folder.rglob("*") if p.is_file())
    return sum(p.stat().st_size for p in names if p.name.startswith("videos.zip") or p.suffix == ".part")


def processes(rounds: int) -> None:
    from tests.data.test_download import RUN, visible
    from tests.fault_server import HubServer

    rng = random.Random(2)
    files = {f"videos.zip.{n:03d}": rng.randbytes(2_000_000) for n in range(1, 4)}
    total, twice = sum(map(len, files.values())), 0
    for _ in range(rounds):
        with HubServer(files) as hub:
            folder = Path(tempfile.mkdtemp())
            started = [subprocess.Popen([sys.executable, "-c", RUN, str(folder), hub.root]) for _ in range(8)]
            assert [process.wait() for process in started] == [0] * 8
            assert visible(folder) == files
            twice += hub.sent - total
            shutil.rmtree(folder)
    print(json.dumps({"part": "8 processes", "rounds": rounds, "bytes_fetched_twice": twice, "bad_files": 0}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    faults(options.seeds)
    kills(options.kills, options.megabytes)
    processes(options.rounds)


if __name__ == "__main__":
    main()
