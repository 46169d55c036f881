"""What the system refuses to the command line: a sentence, exit code 1, never a traceback; a reader gone is 141."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

import deeptrace.cli
from deeptrace.cli import _run
from deeptrace.data import write_records
from deeptrace.files import atomic_write
from deeptrace.records import Record
from tests.commands import start_command

linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    write_records(path, [Record(f"v{n}", f"videos/v{n}.mp4", "fake") for n in range(2000)])
    return path


@linux
@pytest.mark.parametrize("arguments", [["data", "stats", "{}"], ["--help"]])
def test_a_full_output_is_a_sentence(records: Path, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full, tempfile.TemporaryFile() as errors:
        process = start_command(*(text.format(records) for text in arguments), stdout=full, stderr=errors)
        assert process.wait(120) == 1
        errors.seek(0)
        assert errors.read() == b"error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("filename", [None, "/somewhere/deep/file.bin", b"/somewhere/file.bin", 7])
def test_an_error_of_the_system_that_nobody_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], filename: object
) -> None:
    def fail(*_: object) -> int:
        error = OSError(errno.EIO, "Input/output error")
        error.filename = filename
        raise error

    monkeypatch.setattr(deeptrace.cli, "_invoke", fail)
    assert _run([]) == 1
    said = capsys.readouterr().err
    name = "cannot use 'file.bin'" if isinstance(filename, (str, bytes)) else "the system refused"
    assert said == f"error: {name}: Input/output error\n"


def test_a_broken_pipe_is_not_blamed_on_the_file_being_written(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), atomic_write(tmp_path / "x"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(PermissionError, match="other"), atomic_write(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "other"))
    assert os.listdir(tmp_path) == []
