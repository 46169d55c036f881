#!/usr/bin/env python3
"""The reward server under load: throughput beside the library's, and what more load than it can bear does to it.

    python benchmarks/reward_load.py throughput CLIPS [--count 40] [--clients 8] [--rounds 3]
    python benchmarks/reward_load.py overload CLIPS [--seconds 60] [--times 10]
    python benchmarks/reward_load.py ray CLIPS [--count 40]

CLIPS is a folder of videos. `throughput` scores the same videos in this process and through the server, by path, from
so many clients, and gives processor seconds a video for both (on a machine that is busy with other things, only those
can be compared) and wall time. `overload` measures the rate that one worker bears, then asks at so many times
that rate, whatever is answered: accepted requests must all be answered, refusals must be quick, memory must stay flat.
`ray` scores the same files here and by Ray Data.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil

from deeptrace.reward import Reward, RewardResult
from deeptrace.reward.client import RewardClient
from deeptrace.video import VIDEO_SUFFIXES


def videos_in(folder: Path, count: int) -> list[str]:
    paths = sorted(str(path) for path in folder.rglob("*") if path.suffix in VIDEO_SUFFIXES)
    return [paths[k % len(paths)] for k in range(count)]


class Served:
    """A server process with the embedded model, and what it has used."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "deeptrace", "reward", "serve", "--port", "0", "--root", str(folder), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        with RewardClient(self.url) as client:
            while not client.ready():
                time.sleep(0.1)

    def _all(self) -> list[psutil.Process]:
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor seconds of the server and all its children so far."""
        return sum(times.user + times.system for times in (p.cpu_times() for p in self._all()))

    def memory(self) -> float:
        """Megabytes of the web process alone, which holds queue and bodies."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def stop(self) -> None:
        """End it as an operator would."""
        self.process.terminate()
        self.process.wait(60)


def cpu_of_self() -> float:
    """Processor seconds of this process and its children so far."""
    me = psutil.Process()
    return sum(t.user + t.system for t in (p.cpu_times() for p in [me, *me.children(recursive=True)]))


class Watch:
    """Processor seconds of this process and all below it since the start, also of those that end meanwhile unseen.

    Looks at every process four times a second: a parent that never asks for its children loses what they used.
    """

    def __init__(self) -> None:
        self._used: dict[tuple[int, float], float] = {}
        self._before = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._before = sum(self._used.values())
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.25):
            self._look()

    def _look(self) -> None:
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._used[process.pid, process.create_time()] = times.user + times.system

    def seconds(self) -> float:
        """What was used until now."""
        self._look()
        return sum(self._used.values()) - self._before


def throughput(folder: Path, count: int, clients: int, rounds: int) -> None:
    """The two ways in turn, ``rounds`` times, so that what else the machine does falls on both."""
    paths = videos_in(folder, count)
    reward = Reward("embedded")
    reward(paths[:1])
    server = Served(folder)

    def ask(index: int) -> list[float | None]:
        with RewardClient(server.url) as client:
            return [client.score([path], reward="trace_free")[0].value for path in paths[index::clients]]

    here, there = np.zeros(2), np.zeros(2)  # seconds of wall time and of processors
    try:
        ask(clients - 1)
        for _ in range(rounds):
            began, cpu = time.monotonic(), cpu_of_self()
            outcomes = reward(paths)
            here += (time.monotonic() - began, cpu_of_self() - cpu)
            began, cpu = time.monotonic(), server.cpu_seconds()
            with ThreadPoolExecutor(clients) as pool:
                answers = list(pool.map(ask, range(clients)))
            there += (time.monotonic() - began, server.cpu_seconds() - cpu)
            forms = [o.trace_free if isinstance(o, RewardResult) else None for o in outcomes]
            expected = [None if form is None else form.calibrated for form in forms]
            assert all(answers[k % clients][k // clients] == v for k, v in enumerate(expected)), "the values differ"
    finally:
        server.stop()
    each = count * rounds
    print(f"{count} videos of {folder.name}, {clients} clients, {rounds} rounds")
    for what, (wall, cpu) in (("in this process", here), ("through the server", there)):
        print(f"{what}: {cpu / each:.3f} processor seconds a video, {each / wall:.3f} videos/s of wall time")
    by_wall, by_cpu = here / there
    print(f"rate through the server / in process: {by_cpu:.3f} by processor time, {by_wall:.3f} by the wall")


def with_ray(folder: Path, count: int) -> None:
    """Files scored here and by Ray Data with one actor: few, then many, so that the start can be told apart."""
    import ray

    from deeptrace.journal import Journal
    from deeptrace.reward.ray import score_with_ray
    from deeptrace.reward.rows import RewardRow, score_files

    paths = sorted(set(videos_in(folder, count)))
    few, many = paths[: len(paths) // 5], paths[len(paths) // 5 :]

    def here(paths: list[str], out: Path) -> list[RewardRow]:
        with Journal(out) as journal:
            return list(score_files(Reward("embedded"), paths, journal))

    def there(paths: list[str], out: Path) -> list[RewardRow]:
        return score_with_ray(paths, out, actors=1)

    def used(score: Callable[[list[str], Path], list[RewardRow]], some: list[str]) -> tuple[float, list[object]]:
        with tempfile.TemporaryDirectory() as out, Watch() as watch:
            rows = score(some, Path(out) / "rows.jsonl")
            return watch.seconds(), [row.values for row in rows]

    local = [used(here, some) for some in (few, many)]
    with Watch() as watch:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        start = watch.seconds()
    by_ray = [used(there, some) for some in (few, many)]
    ray.shutdown()
    assert [values for _, values in local] == [values for _, values in by_ray], "the values differ"
    print(f"{len(few)} and {len(many)} videos of {folder.name}, processor seconds; Ray itself starts in {start:.1f}")
    for what, ((a, _), (b, _)) in (("local", local), ("Ray, one actor", by_ray)):
        each = (b - a) / (len(many) - len(few))
        print(f"{what}: {a:.1f} and {b:.1f}: {each:.3f} a video, {a - each * len(few):.1f} once")


def overload(folder: Path, seconds: float, times: float) -> None:
    paths = videos_in(folder, 16)
    server = Served(folder, "--queue", "16", "--per-client", "16", "--request-seconds", "300")
    try:
        with RewardClient(server.url) as client:
            client.score(paths[:1])
            began = time.monotonic()
            client.score(paths[:4])
            rate = 4 / (time.monotonic() - began)
        answers: list[tuple[int, float]] = []
        lost: list[str] = []
        memory: list[tuple[float, float]] = []
        lock = threading.Lock()
        http = httpx.Client(
            base_url=server.url, timeout=400, limits=httpx.Limits(max_connections=2000), trust_env=False
        )

        def ask(path: str) -> None:
            body = {"requests": [{"history": [{"video_path": path}], "required_rewards": ["trace_free"]}]}
            at = time.monotonic()
            try:
                response = http.post("/score", json=body)
                whole = response.status_code != 200 or "trace_free" in response.json()["results"][0]
                with lock:
                    answers.append((response.status_code, time.monotonic() - at))
                    if not whole:
                        lost.append(response.text[:100])
            except httpx.HTTPError as error:
                with lock:
                    lost.append(type(error).__name__)

        threads = []
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate * times:
                thread = threading.Thread(target=ask, args=(paths[sent % len(paths)],))
                thread.start()
                threads.append(thread)
                sent += 1
            memory.append((passed, server.memory()))
            time.sleep(0.02)
        for thread in threads:
            thread.join()
        http.close()
    finally:
        server.stop()
    tell(answers, lost, memory, (rate, sent, seconds))


def tell(
    answers: list[tuple[int, float]],
    lost: list[str],
    memory: list[tuple[float, float]],
    load: tuple[float, int, float],
) -> None:
    """Print what came of it. ``load``: the rate that one worker bears, requests sent, seconds."""
    rate, sent, seconds = load
    refused = np.array([took for status, took in answers if status in (429, 503)]) * 1000
    slope = 60 * np.polyfit(*np.array(memory[len(memory) // 3 :]).T, 1)[0]
    taken = sum(status == 200 for status, _ in answers)
    other = len(answers) - taken - len(refused)
    times = sent / seconds / rate
    print(f"one worker bears {rate:.2f} videos/s; asked {sent} times in {seconds:g} s, {times:.1f} times that")
    print(f"answered 200: {taken}; refused 429 or 503: {len(refused)}; other: {other}; lost: {len(lost)} {set(lost)}")
    if len(refused):
        p99 = np.percentile(refused, 99)
        print(f"refusals: median {np.median(refused):.1f} ms, p99 {p99:.1f} ms, slowest {refused.max():.1f} ms")
    first, last = memory[0][1], memory[-1][1]
    print(f"memory of the web process: {first:.1f} MB at first, {last:.1f} MB at the end, {slope:+.2f} MB a minute")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["throughput", "overload", "ray"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=10)
    options = parser.parse_args()
    if options.what == "throughput":
        throughput(options.folder, options.count, options.clients, options.rounds)
    elif options.what == "ray":
        with_ray(options.folder, options.count)
    else:
        overload(options.folder, options.seconds, options.times)


if __name__ == "__main__":
    main()
