"""A result belongs to a file's bytes: replaced ones show whatever their name, size and time; copies stay the same."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from deeptrace import stamps
from deeptrace.stamps import file_stamp, is_stamped


def through_json(path: Path) -> object:
    return json.loads(json.dumps(file_stamp(path)))


def test_a_file_replaced_by_one_of_its_size_and_time_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    stamp = through_json(path)
    assert is_stamped(stamp, path)
    path.write_bytes(b"two")
    os.utime(path, (1e9, 1e9))
    assert not is_stamped(stamp, path)
    path.unlink()
    assert not is_stamped(stamp, path)


def test_a_copy_or_a_touched_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    stamp = through_json(path)
    shutil.copyfile(path, tmp_path / "b.mp4")
    os.utime(path, (1e9, 1e9))
    assert is_stamped(stamp, path)
    assert is_stamped(stamp, tmp_path / "b.mp4")


def test_a_file_that_has_settled_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    fresh = through_json(path)
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    settled = through_json(path)
    monkeypatch.setattr(stamps, "file_stamp", lambda _: pytest.fail("the bytes are read again"))
    assert is_stamped(settled, path)
    with pytest.raises(pytest.fail.Exception):
        is_stamped(fresh, path)


@pytest.mark.parametrize("stamp", [None, "1 2", 7, {}, {"sha256": None}, {"sha256": 5, "stat": "x"}, []])
def test_what_is_no_stamp_fits_nothing(tmp_path: Path, stamp: object) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert not is_stamped(stamp, tmp_path / "a")
    assert file_stamp(tmp_path) is None
    assert file_stamp(tmp_path / "absent") is None
