"""Extraction, the long way: 200 kills at random moments, ten points of a full disk, and the speed.

    python benchmarks/soak/extract.py [--kills 200] [--megabytes 512]

Prints one line per part; any failed check raises.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deeptrace.data.hub.extract import extract
from deeptrace.data.hub.parts import ExtractError

RUN = "import sys; from deeptrace.data.hub.extract import extract; extract(sys.argv[1], sys.argv[2])"


def make(folder: Path, count: int, size: int, seed: int) -> dict[str, bytes]:
    """Four parts of an archive with ``count`` files of about ``size`` bytes."""
    rng = random.Random(seed)
    files = {f"videos/{n:05d}.mp4": rng.randbytes(rng.randint(size // 2, size)) for n in range(count)}
    whole = folder / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    piece = -(-whole.stat().st_size // 4)
    with open(whole, "rb") as file:
        for number in range(1, 5):
            (folder / f"videos.zip.{number:03d}").write_bytes(file.read(piece))
    whole.unlink()
    return files


def right(out: Path, files: dict[str, bytes], *, whole: bool) -> None:
    there = {str(p.relative_to(out)): p for p in out.rglob("*.mp4")}
    assert not whole or set(there) == set(files), "files are missing"
    for name, path in there.items():
        assert path.read_bytes() == files[name], f"{name} has wrong bytes"


def kills(folder: Path, count: int) -> None:
    files = make(folder, 80, 60_000, 1)
    archive, done, finished, rng = folder / "videos.zip", 0, 0, random.Random(2)
    while done < count:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", RUN, str(archive), str(out)])
            while not (out / ".deeptrace.lock").exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                done += 1
            else:
                finished += 1
            process.wait()
            right(out, files, whole=False)
        extract(archive, out)
        right(out, files, whole=True)
        left = [p.name for p in out.rglob("*") if p.is_file() and p.suffix != ".mp4" and p.name != ".deeptrace.lock"]
        assert not left, f"left behind: {left}"
    print(json.dumps({"part": "kill -9", "kills": done, "ended_before_the_kill": finished, "bad_files": 0}))


def full_disk(folder: Path) -> None:
    files = make(folder, 60, 60_000, 3)
    total = sum(map(len, files.values()))
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        print(json.dumps({"part": "full disk", "skipped": "a tmpfs cannot be mounted here"}))
        return
    usage = shutil.disk_usage
    try:
        room = total // 12  # more each time: after ten times it is still not enough
        for _ in range(10):
            (disk / "filler").write_bytes(bytes(max(usage(disk).free - room, 0)))
            shutil.disk_usage = lambda path: usage(path)._replace(free=10**12)  # so that writing is tried
            try:
                extract(folder / "videos.zip", disk / "out")
            except ExtractError as error:
                if error.code != "DISK_FULL":
                    raise
            else:
                raise AssertionError(f"{room} bytes were enough for {total}")
            finally:
                shutil.disk_usage = usage
            right(disk / "out", files, whole=False)
            (disk / "filler").unlink()
        extract(folder / "videos.zip", disk / "out")
        right(disk / "out", files, whole=True)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    print(json.dumps({"part": "full disk", "fill_points": 10, "bad_files": 0}))


def speed(folder: Path, megabytes: int) -> None:
    files = make(folder, max(megabytes // 4, 1), 5_000_000, 5)
    total, started = sum(map(len, files.values())), time.perf_counter()
    extract(folder / "videos.zip", folder / "out")
    first = time.perf_counter() - started
    started = time.perf_counter()
    extract(folder / "videos.zip", folder / "out")
    row = {
        "part": "speed",
        "files": len(files),
        "megabytes": round(total / 1e6),
        "write_mb_s": round(total / 1e6 / first),
        "check_again_mb_s": round(total / 1e6 / (time.perf_counter() - started)),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "rss_holds_the_test_data": True,
    }
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=512)
    options = parser.parse_args()
    for part in (lambda f: kills(f, options.kills), full_disk, lambda f: speed(f, options.megabytes)):
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder))


if __name__ == "__main__":
    os.umask(0o077)
    main()
