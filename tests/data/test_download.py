"""Downloading from a hub that misbehaves, over real HTTP. The real hub is never asked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data.hub.download import MANIFEST, download
from deeptrace.data.hub.fetch import DownloadError, Rules, Wanted
from tests.fault_server import FaultServer, Handler, HubServer, Step, cut, drip, hang, hang_up, html, raw, reset, status

REPO = Path(__file__).resolve().parents[2]


def release(seed: int = 0, size: int = 300_000) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {
        "README.md": b"# RewardData\n",
        "all_data.json": b"[]" + b" " * 5000,
        "empty.txt": b"",
        "videos.zip.001": rng.randbytes(size),
        "videos.zip.002": rng.randbytes(size // 3),
    }


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(release()) as server:
        server.small = {"README.md", "empty.txt"}
        yield server


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here and takes most of the time; processes that are killed do wait."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


RULES = Rules(timeout_seconds=1.0, stall_seconds=0.3, min_bytes_per_second=2000, max_attempts=4)


def get(hub: HubServer, dest: Path, **options: Any) -> Any:
    options = {"endpoint": hub.root, "rules": RULES, "sleep": lambda seconds: None, **options}
    return download(dest, **options)


def visible(dest: Path) -> dict[str, bytes]:
    files = (p for p in dest.rglob("*") if p.is_file())
    return {
        str(p.relative_to(dest)): p.read_bytes()
        for p in files
        if not p.relative_to(dest).parts[0].startswith(".deeptrace") and p.name != MANIFEST
    }


# ── what must work ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_file_comes_once_and_is_written_down(hub: HubServer, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    result = get(hub, tmp_path, progress=lambda *step: steps.append(step))
    total = sum(map(len, hub.files.values()))
    assert visible(tmp_path) == hub.files
    assert (result.commit, result.bytes_fetched, result.offline) == (hub.commit, total, False)
    assert sorted(result.files) == sorted(result.fetched) == sorted(hub.files)
    assert steps[-1][1:] == (total, total)
    assert not (tmp_path / ".deeptrace-partial").exists()
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    assert (manifest["repo_id"], manifest["commit"], manifest["complete"]) == (hub.repo_id, hub.commit, True)
    row = manifest["files"]["videos.zip.001"]
    assert row["sha256"] == hashlib.sha256(hub.files["videos.zip.001"]).hexdigest()
    asked = len(hub.requests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wanted, "matches", lambda *_: pytest.fail("a file that was checked is read again"))
        again = get(hub, tmp_path)
    assert (again.fetched, again.bytes_fetched) == ((), 0)
    assert len(hub.requests) == asked + 1  # the list only


def test_part_of_it_and_a_revision(hub: HubServer, tmp_path: Path) -> None:
    result = get(hub, tmp_path, only=["*.json", "README.md"], revision=hub.commit)
    assert set(visible(tmp_path)) == {"all_data.json", "README.md"} == set(result.files)
    with pytest.raises(DownloadError) as caught:
        get(hub, tmp_path, only=["nothing"])
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(DownloadError) as caught:
        get(hub, tmp_path, revision="v9")
    assert caught.value.code == "NOT_FOUND"


def test_the_commit_stays_pinned_until_a_revision_is_asked_for(hub: HubServer, tmp_path: Path) -> None:
    get(hub, tmp_path)
    first, old = hub.commit, dict(hub.files)
    hub.commit = "b" * 40
    hub.files["all_data.json"] = b'[{"new": 1}]'
    with pytest.raises(DownloadError) as caught:  # our server forgets old commits; the hub does not
        get(hub, tmp_path)
    assert caught.value.code == "NOT_FOUND"
    assert hub.requests[-1].path.split("/revision/")[1].startswith(first)
    assert visible(tmp_path) == old
    result = get(hub, tmp_path, revision="main")
    assert result.fetched == ("all_data.json",)
    assert json.loads((tmp_path / MANIFEST).read_bytes())["commit"] == "b" * 40
    assert visible(tmp_path) == hub.files


def test_a_file_changed_on_disk_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    get(hub, tmp_path)
    (tmp_path / "videos.zip.002").write_bytes(bytes(len(hub.files["videos.zip.002"])))
    (tmp_path / "README.md").unlink()
    assert sorted(get(hub, tmp_path).fetched) == ["README.md", "videos.zip.002"]
    assert visible(tmp_path) == hub.files


def test_another_repository_does_not_mix_in(hub: HubServer, tmp_path: Path) -> None:
    get(hub, tmp_path)
    with pytest.raises(DownloadError) as caught:
        get(hub, tmp_path, repo_id="someone/else")
    assert caught.value.code == "CHANGED"


def test_without_a_hub_a_complete_folder_is_enough(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    get(hub, tmp_path)
    dead = "http://127.0.0.1:9"
    with caplog.at_level(logging.WARNING):
        result = get(hub, tmp_path, endpoint=dead)
    assert result.offline
    assert result.commit == hub.commit
    assert "complete at commit" in caplog.text
    assert get(hub, tmp_path, endpoint=dead, only=["README.md"]).files == ("README.md",)
    for spoil in ((tmp_path / "README.md").unlink, lambda: shutil.rmtree(tmp_path)):
        spoil()
        with pytest.raises(DownloadError) as caught:
            get(hub, tmp_path, endpoint=dead)
        assert caught.value.code == "OFFLINE"


def test_the_token_goes_to_the_hub_only(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as cdn:
        data = hub.files["all_data.json"]
        digest = hashlib.sha256(data).hexdigest()
        cdn.default = hub.bytes_of(data)
        hub.files = {"all_data.json": data}
        hub.small = {"all_data.json"}
        hub.file_script = [lambda handler, body: handler.answer(302, b"", {"Location": f"{cdn.root}/{digest}"})]
        get(hub, tmp_path, token="hf_secret")
        assert all(request.headers["authorization"] == "Bearer hf_secret" for request in hub.requests)
        assert "authorization" not in cdn.requests[0].headers
    monkeypatch.setenv("HF_TOKEN", "hf_from_the_environment")
    hub.requests.clear()
    get(hub, tmp_path / "b")
    assert all("authorization" not in request.headers for request in hub.requests)


def test_bytes_that_the_hubs_tools_brought_are_used(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    held = tmp_path / "cache"
    held.mkdir()
    (held / "good").write_bytes(hub.files["videos.zip.001"])
    (held / "bad").write_bytes(bytes(len(hub.files["videos.zip.002"])))
    names = {"videos.zip.001": str(held / "good"), "videos.zip.002": str(held / "bad")}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name, **options: names.get(name))
    result = get(hub, tmp_path / "out")
    assert visible(tmp_path / "out") == hub.files
    assert result.bytes_fetched == sum(map(len, hub.files.values())) - len(hub.files["videos.zip.001"])


# ── faults of a file ──────────────────────────────────────────────────────────────────────────────────────────────────

BIG = release()["videos.zip.001"]
OTHER = bytes(reversed(BIG))


def range_ignored(hub: HubServer) -> Step:
    return lambda handler, body: handler.answer(200, BIG, {"Content-Type": "application/octet-stream"})


def wrong_piece(hub: HubServer) -> Step:
    def step(handler: Handler, body: bytes) -> None:
        headers = {"Content-Range": f"bytes 7-{len(BIG) - 1}/{len(BIG)}"}
        handler.answer(206, BIG, headers)

    return step


def flipped(hub: HubServer) -> Step:
    data = bytearray(BIG)
    data[len(data) // 2] ^= 1
    return raw(bytes(data), content_type="application/octet-stream")


FAULTS: list[tuple[str, Callable[[HubServer], Step]]] = [
    ("cut", lambda hub: hub.bytes_of(BIG, keep=100_000)),
    ("cut at once", lambda hub: cut(BIG, 0)),
    ("hangs up", lambda hub: hang_up()),
    ("reset", lambda hub: reset()),
    ("range ignored", range_ignored),
    ("wrong piece", wrong_piece),
    ("too short", lambda hub: raw(BIG[:-1], content_type="application/octet-stream")),
    ("too long", lambda hub: raw(BIG + b"x", content_type="application/octet-stream")),
    ("too long, unsaid", lambda hub: lambda handler, body: handler.answer(200, BIG + b"x", length=None)),
    ("short, unsaid", lambda hub: lambda handler, body: handler.answer(200, BIG[:999], length=None)),
    ("changed, by its tag", lambda hub: hub.bytes_of(OTHER)),
    ("changed, same tag", lambda hub: hub.bytes_of(OTHER, etag="x")),
    ("a web page", lambda hub: html()),
    ("a web page of the right length", lambda hub: raw(b"<html>".ljust(len(BIG)), content_type="text/html")),
    ("slow drip", lambda hub: drip(BIG, 0.02)),
    ("silence", lambda hub: hang(3)),
    ("416", lambda hub: status(416)),
    ("packed", lambda hub: raw(BIG, content_type="application/octet-stream", Content_Encoding="gzip")),
    ("500", lambda hub: status(500)),
    ("429", lambda hub: status(429, retry_after="5")),
    ("503", lambda hub: html(503)),
    ("a flipped bit", flipped),
]


@pytest.mark.parametrize("make", [fault[1] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
@pytest.mark.parametrize("halfway", [False, True])
def test_one_fault_is_overcome(tmp_path: Path, make: Callable[[HubServer], Step], halfway: bool) -> None:
    with HubServer({"videos.zip.001": BIG}) as hub:
        hub.file_script = [*([hub.bytes_of(BIG, keep=200_000)] if halfway else []), make(hub)]
        get(hub, tmp_path)
        assert visible(tmp_path) == hub.files
        assert hub.file_script == []


LASTING: list[tuple[str, Callable[[HubServer], Step], str]] = [
    ("cut at once", lambda hub: cut(BIG, 0), "CONNECTION_LOST"),
    ("reset", lambda hub: reset(), "CONNECTION_LOST"),
    ("wrong piece", wrong_piece, "WRONG_RANGE"),
    ("too long", lambda hub: raw(BIG + b"x"), "WRONG_LENGTH"),
    ("changed, by its tag", lambda hub: hub.bytes_of(OTHER), "CHANGED"),
    ("changed, same tag", lambda hub: hub.bytes_of(OTHER, etag="x"), "CHECKSUM"),
    ("a web page", lambda hub: html(), "WRONG_LENGTH"),
    ("slow drip", lambda hub: drip(BIG, 0.05), "TOO_SLOW"),
    ("416", lambda hub: status(416), "WRONG_RANGE"),
    ("500", lambda hub: status(500), "SERVER_ERROR"),
    ("403", lambda hub: status(403), "FORBIDDEN"),
    ("404", lambda hub: status(404), "NOT_FOUND"),
    ("418", lambda hub: status(418), "HTTP_ERROR"),
    ("loop", lambda hub: lambda handler, body: handler.answer(302, b"", {"Location": handler.path}), "REDIRECT_LOOP"),
    ("to a file", lambda hub: lambda h, body: h.answer(302, b"", {"Location": "file:///etc/passwd"}), "REDIRECT_LOOP"),
]


@pytest.mark.parametrize(("make", "code"), [f[1:] for f in LASTING], ids=[f[0] for f in LASTING])
def test_a_lasting_fault_is_a_typed_error_and_no_file(
    tmp_path: Path, make: Callable[[HubServer], Step], code: str
) -> None:
    with HubServer({"all_data.json": b"[]", "videos.zip.001": BIG}) as hub:
        hub.small = {"all_data.json"}
        hub.file_script = [hub.bytes_of(b"[]"), *[make(hub) for _ in range(40)]]
        with pytest.raises(DownloadError) as caught:
            get(hub, tmp_path)
        assert caught.value.code == code
        assert "videos.zip.001" in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
        assert set(visible(tmp_path)) == {"all_data.json"}
        assert json.loads((tmp_path / MANIFEST).read_bytes())["complete"] is False
        hub.file_script = []
        get(hub, tmp_path)
        assert visible(tmp_path) == hub.files


def test_headers_that_drip_do_not_hold_the_download(tmp_path: Path) -> None:
    with HubServer({"videos.zip.001": BIG}) as hub:
        hub.file_script = [drip(BIG, 0.05, headers_too=True)]
        started = time.monotonic()
        get(hub, tmp_path, rules=Rules(timeout_seconds=0.4, stall_seconds=0.3))
        assert visible(tmp_path) == hub.files
        assert time.monotonic() - started < 5


def test_what_came_is_kept(tmp_path: Path) -> None:
    with HubServer({"videos.zip.001": BIG}) as hub:
        hub.file_script = [hub.bytes_of(BIG, keep=70_000) for _ in range(3)]
        result = get(hub, tmp_path)
        assert hub.sent == result.bytes_fetched == len(BIG)
        assert [r.headers.get("range") for r in hub.requests if r.path.startswith("/cdn/")] == [
            None, "bytes=70000-", "bytes=140000-", "bytes=210000-",
        ]  # fmt: skip


# ── faults of the list ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step", [status(500), status(429), reset(), html(), raw(b"{"), raw(b"[]"), raw(b"{}"), status(503, retry_after="1")]
)
def test_the_list_is_asked_for_again(hub: HubServer, tmp_path: Path, step: Step) -> None:
    hub.list_script = [step]
    get(hub, tmp_path, only=["README.md"])
    assert set(visible(tmp_path)) == {"README.md"}


@pytest.mark.parametrize(("code", "expected"), [(401, "FORBIDDEN"), (403, "FORBIDDEN"), (404, "NOT_FOUND")])
def test_a_list_that_is_refused(hub: HubServer, tmp_path: Path, code: int, expected: str) -> None:
    hub.list_script = [status(code)]
    with pytest.raises(DownloadError) as caught:
        get(hub, tmp_path)
    assert caught.value.code == expected


def _listed(name: str, **changes: Any) -> dict[str, Any]:
    return {"rfilename": name, "size": 3, "blobId": "a" * 40, **changes}


@pytest.mark.parametrize(
    ("siblings", "code"),
    [
        ([_listed("../evil")], "HOSTILE_NAME"),
        ([_listed("/etc/evil")], "HOSTILE_NAME"),
        ([_listed("C:/evil")], "HOSTILE_NAME"),
        ([_listed("a\\b")], "HOSTILE_NAME"),
        ([_listed("a"), _listed("A")], "HOSTILE_NAME"),
        ([_listed(MANIFEST)], "HOSTILE_NAME"),
        ([_listed(".deeptrace-partial/x")], "HOSTILE_NAME"),
        ([_listed("a", size=None)], "BAD_LIST"),
        ([_listed("a", size=-1)], "BAD_LIST"),
        ([_listed("a", blobId=None)], "BAD_LIST"),
        ([_listed("a", lfs={"sha256": "zz", "size": 3, "pointerSize": 1}, blobId="")], "BAD_LIST"),
    ],
)
def test_a_list_that_makes_no_sense(hub: HubServer, tmp_path: Path, siblings: list[dict[str, Any]], code: str) -> None:
    hub.siblings = siblings
    with pytest.raises(DownloadError) as caught:
        get(hub, tmp_path / "out")
    assert caught.value.code == code
    assert visible(tmp_path / "out") == {}


@pytest.mark.parametrize("text", ["", "null", "[]", '{"schema": "x"}', "{", '{"schema": "deeptrace.download/1"}'])
def test_a_damaged_manifest_costs_a_check_and_nothing_else(hub: HubServer, tmp_path: Path, text: str) -> None:
    get(hub, tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    assert get(hub, tmp_path).fetched == ()
    assert json.loads((tmp_path / MANIFEST).read_bytes())["complete"] is True


# ── kill -9, two at once, disk full ───────────────────────────────────────────────────────────────────────────────────

RUN = "import sys; from deeptrace.data.hub.download import download; download(sys.argv[1], endpoint=sys.argv[2])"


def start(hub: HubServer, dest: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(dest), hub.root]
    return subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "0"})


@pytest.mark.linux
def test_kill_9_costs_less_than_one_chunk(tmp_path: Path) -> None:
    rng = random.Random(4)
    with HubServer({"videos.zip.001": rng.randbytes(12_000_000)}) as hub:
        hub.chunk_pause = 0.002
        kills = 0
        while kills < 3:
            before = hub.sent
            process = start(hub, tmp_path)
            while hub.sent < before + 200_000 and process.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert visible(tmp_path) in ({}, hub.files)
        hub.chunk_pause = 0.0
        get(hub, tmp_path)
        assert visible(tmp_path) == hub.files
        # What was under way in the sockets when it died comes again: a few MB at most, never the file.
        assert hub.sent - 12_000_000 <= 3 * 8 * 1024 * 1024
        assert hub.sent < 2 * 12_000_000


@pytest.mark.linux
def test_processes_share_the_work_of_one(hub: HubServer, tmp_path: Path) -> None:
    processes = [start(hub, tmp_path) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert visible(tmp_path) == hub.files
    assert hub.sent == sum(map(len, hub.files.values()))


def test_room_is_checked_before(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DownloadError) as caught:
        get(hub, tmp_path)
    assert caught.value.code == "DISK_FULL"
    assert f"{sum(map(len, hub.files.values())):,} more bytes are needed" in str(caught.value)
    assert hub.sent == 0


@pytest.mark.linux
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with HubServer(release(size=600_000)) as hub:
            (place / "filler").write_bytes(bytes(400_000))
            usage = shutil.disk_usage(place)
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**12))
            with pytest.raises(DownloadError) as caught:
                get(hub, place / "out")
            assert caught.value.code == "DISK_FULL"
            assert "more bytes are needed for videos.zip" in str(caught.value)
            (place / "filler").unlink()
            sent = hub.sent
            get(hub, place / "out")
            assert visible(place / "out") == hub.files
            assert hub.sent - sent < 600_000
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_importing_does_not_load_the_hub() -> None:
    code = "import sys, deeptrace.data.hub.download; raise SystemExit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
