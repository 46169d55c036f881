"""Strict JSON and writes that leave either the old file or the new one."""

from __future__ import annotations

import csv
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import FileError, JsonError
from deeptrace.files import (
    csv_line,
    csv_text,
    dumps,
    in_memory_folder,
    loads,
    open_regular,
    read_bytes,
    read_jsonl,
    write_csv,
    write_jsonl,
    write_text,
)
from deeptrace.lock import folder_lock

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5).filter(str.isascii), inner),
    max_leaves=8,
)  # fmt: skip


@given(value=values)
def test_json_gives_back_the_same(value: object) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "Infinity"),
        ("1e999", "beyond the range"),
        ("9" * 5000, "more than 18 digits"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 100_000, "nested|not JSON"),
        ("[" * 100 + "]" * 100, "nested deeper"),
        ("", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('"\\ud800"', "surrogate"),
        ("1_0", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'"caf\xe9"', "not UTF-8"),
    ],
)
def test_json_that_others_would_guess_at_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(JsonError, match=words):
        loads(text)


def test_a_byte_order_mark_is_skipped() -> None:
    assert loads(b"\xef\xbb\xbf[1]") == loads("\ufeff[1]") == [1]


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, {"a": [math.nan]}, object()])
def test_json_that_nobody_could_read_is_not_written(value: object) -> None:
    with pytest.raises(JsonError):
        dumps(value)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    write_text(target, "old")

    def lines():
        yield "half of the new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_jsonl(target, lines())
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    write_text(target, "new")
    assert target.read_text() == "new"


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot write 'run\.json': No such file") as caught:
        write_text(tmp_path / "absent" / "run.json", "")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="permissions are of another kind")
def test_a_written_file_follows_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_lines_are_numbered_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": 1}, {"a": 2}])
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (2, {"a": 2})]
    path.write_text('{"a": 1}\n\n{"a": NaN}\n')
    with pytest.raises(JsonError, match=r"rows\.jsonl line 3: NaN"):
        list(read_jsonl(path))
    with pytest.raises(FileError, match=r"cannot read 'absent\.jsonl': No such file"):
        list(read_jsonl(tmp_path / "absent.jsonl"))


def test_names_of_files_may_hold_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    row = {"path": "caf\udce9.mp4"}
    with pytest.raises(JsonError, match="surrogate"):
        loads(dumps(row))
    assert loads(dumps(row), surrogates=True) == row
    write_jsonl(tmp_path / "rows.jsonl", [row])
    assert list(read_jsonl(tmp_path / "rows.jsonl", surrogates=True)) == [(1, row)]
    with pytest.raises(JsonError, match="surrogate"):  # no byte of any name
        loads('"\\ud800"', surrogates=True)


@pytest.mark.skipif(os.name == "nt", reason="has no named pipes in folders")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    for read in (open_regular, read_bytes, lambda path: list(read_jsonl(path))):
        for path in (pipe, tmp_path, Path(os.devnull)):
            with pytest.raises(FileError, match="is not a regular file"):
                read(path)


CELLS = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"]))


@given(cells=st.lists(CELLS, min_size=1))
def test_no_cell_of_a_csv_is_a_formula_and_nothing_of_it_is_lost(cells: list[object]) -> None:
    [back] = csv.reader(io.StringIO(csv_line(cells), newline=""))
    for cell, text in zip(cells, back, strict=True):
        if isinstance(cell, str):
            assert text in (cell, f"'{cell}")
            assert not text.strip().startswith(("=", "+", "-", "@"))
            assert csv_text(text) == cell
        else:
            assert text == ("" if cell is None else str(cell))


def test_formulas_names_of_bytes_and_numbers_in_a_csv(tmp_path: Path) -> None:
    assert csv_text(csv_line(["'=1"]).strip()) == "'=1"
    write_csv(tmp_path / "t.csv", [["path", "p_fake"], ["=HYPERLINK(1)", -0.5], [" @SUM(1)", True], ["é\udcff", None]])
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").split("\n")
    assert lines == ["path,p_fake", "'=HYPERLINK(1),-0.5", "' @SUM(1),true", "é\\udcff,", ""]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_what_a_killed_process_left_is_swept_by_the_next_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys, time; from deeptrace.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); print('x', flush=True); time.sleep(60)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / name], stdout=subprocess.PIPE) for name in ("a", "b")
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.read(1)
    (tmp_path / ".mine.tmp").touch()
    started[0].kill()
    started[0].wait()
    time.sleep(1.1)
    with folder_lock(tmp_path):
        left = sorted(path.name for path in tmp_path.iterdir())
    started[1].kill()
    for process in started:
        process.communicate()
    assert [name.split(".")[1] for name in left] == ["b", "deeptrace", "mine"]


def test_a_place_in_memory_that_refuses_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full, or of somebody else: the folder then lies where TMPDIR says, as the error's advice supposes."""
    real = tempfile.TemporaryDirectory

    def refuse(*, dir: str | None = None, **options: Any) -> tempfile.TemporaryDirectory[str]:
        if dir is not None:
            raise OSError(28, "No space left on device")
        return real(dir=tmp_path, **options)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with in_memory_folder() as folder:
        assert folder.parent == tmp_path
        (folder / "a").write_text("a")
    assert not list(tmp_path.iterdir())
