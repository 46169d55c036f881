"""The tool that lets the system refuse must itself be right: it sees every call, and a fault in a flow shows."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from deeptrace.errors import FileError
from tests.failing_os import Refusal, attack, refused
from tests.os_calls import Observer, OsCall, observed


class Notes(Observer):
    def __init__(self) -> None:
        self.calls: list[OsCall] = []

    def after(self, call: OsCall) -> None:
        self.calls.append(call)


def test_every_way_to_change_a_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"abc" * 100)
    with observed(tmp_path, notes := Notes()):
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "text").write_text("zwölf", encoding="utf-8")
        with open(tmp_path / "more", "ab", buffering=0) as file:
            file.write(b"1")
            os.fsync(file.fileno())
            file.truncate(0)
        descriptor = os.open(tmp_path / "raw", os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "w+b") as file:
            file.write(b"22")
        shutil.copyfile(tmp_path / "source", tmp_path / "copy")
        os.replace(tmp_path / "copy", tmp_path / "moved")
        (tmp_path / "moved").unlink()
        shutil.rmtree(tmp_path / "a")
        list(tmp_path.iterdir())
    seen = {(call.kind, Path(call.path).name) for call in notes.calls}
    root = tmp_path.name
    assert {
        ("mkdir", "a"), ("mkdir", "b"), ("open", "text"), ("write", "text"), ("open", "more"), ("write", "more"),
        ("fsync", "more"), ("truncate", "more"), ("open", "raw"), ("write", "raw"), ("write", "copy"),
        ("rename", "copy"), ("remove", "moved"), ("remove", "a"), ("list", root),
    } <= seen  # fmt: skip
    written = b"".join(call.data for call in notes.calls if call.path.endswith("copy"))
    assert written == b"abc" * 100
    assert (tmp_path / "text").read_text(encoding="utf-8") == "zwölf"


def test_a_full_disk_takes_half_and_then_nothing(tmp_path: Path) -> None:
    with (
        refused(tmp_path, "write", errno.ENOSPC, k=2, stays=True),
        open(tmp_path / "x", "wb", buffering=0) as file,
    ):
        assert file.write(b"1234") == 4
        assert file.write(b"5678") == 2
        with pytest.raises(OSError, match="No space left"):
            file.write(b"78")
    assert (tmp_path / "x").read_bytes() == b"123456"


def fine(folder: Path) -> None:
    """A flow as it should be."""
    try:
        (folder / "x.tmp").write_bytes(b"new")
        os.replace(folder / "x.tmp", folder / "x")
    except OSError as error:
        raise FileError(f"cannot write 'x': {error.strerror}") from None


def lets_out(folder: Path) -> None:
    (folder / "x").write_bytes(b"new")


def spoils(folder: Path) -> None:
    try:
        (folder / "x").write_bytes(b"new")
    except OSError as error:
        raise FileError(f"cannot write 'x': {error.strerror}") from None


def swallows(folder: Path) -> None:
    try:
        fine(folder)
    except FileError:
        return


def old(folder: Path) -> None:
    (folder / "x").write_bytes(b"old")


def old_or_new(folder: Path) -> None:
    assert (folder / "x").read_bytes() in (b"old", b"new")


def test_a_flow_that_is_right_passes_and_is_tried_at_every_call(tmp_path: Path) -> None:
    found = attack(tmp_path / "w", fine, before=old, kept=old_or_new)
    assert found.tries == {
        "write: ENOSPC from then on": 1, "write: EIO": 1, "open: EMFILE": 1, "open: EROFS from then on": 1,
        "rename: EROFS": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flow", "words"),
    [(lets_out, "OSError came out"), (spoils, "the old data"), (swallows, "the result: AssertionError: other")],
)
def test_a_flow_that_is_wrong_does_not(tmp_path: Path, flow: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        attack(
            tmp_path / "w", flow, before=old, kept=old_or_new,  # type: ignore[arg-type]
            refusals=[Refusal("write", errno.ENOSPC, stays=True)],
        )  # fmt: skip
