"""`deeptrace inject` where the system refuses, where two runs meet, and where the inputs changed in between."""

from __future__ import annotations

import builtins
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deeptrace.cli import cli
from deeptrace.errors import FileError
from deeptrace.inject import render_scene
from deeptrace.lock import LockError, folder_lock
from deeptrace.video import write_video
from tests.failing_os import EVERY_CALL, spread


def run(*arguments: object) -> int:
    result = CliRunner().invoke(cli, ["inject", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return int(result.return_value)


class Refusal:
    """Lets calls that write below ``root`` through, but the ``k``-th, which fails as on a full disk."""

    def __init__(self, root: Path, k: int, code: int) -> None:
        self.root, self.k, self.code, self.calls = str(root), k, code, 0

    def wrap(self, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._counts(real, arguments):
                self.calls += 1
                if self.calls == self.k:
                    raise OSError(self.code, os.strerror(self.code), str(arguments[0]))
            return real(*arguments, **options)

        return call

    def _counts(self, real: Any, arguments: tuple[Any, ...]) -> bool:
        if real is os.fsync:
            return True
        if not arguments or isinstance(arguments[0], int) or not str(arguments[0]).startswith(self.root):
            return False
        return real is not builtins.open or (len(arguments) > 1 and arguments[1] not in ("r", "rb"))


def attempt(target: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", refusal.wrap(builtins.open))
        for name in ("mkdir", "replace", "fsync"):
            patch.setattr(os, name, refusal.wrap(getattr(os, name)))
        assert run(target, "--scenes", 1, "--small") == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_whichever_write_fails_the_error_is_ours_and_the_next_run_ends_the_work(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Refusal(tmp_path / "whole", 0, code)
    attempt(tmp_path / "whole", counted, monkeypatch)
    assert counted.calls >= 10
    refused = 0
    chosen = spread(counted.calls, 10_000 if EVERY_CALL else 5)
    for nth, k in enumerate(chosen):
        target = tmp_path / f"set{k}"
        try:
            attempt(target, Refusal(target, k, code), monkeypatch)
        except FileError as error:
            refused += 1
            text = str(error)
            assert os.strerror(code) in text, (k, text)
            assert "cannot" in text, (k, text)
        if nth % 2 == 0:  # every run could be tried again; some are
            assert run(target, "--scenes", 1, "--small") == 0
            assert (target / "all_data.json").is_file()
            assert not list(target.rglob("*.tmp"))
    assert refused > len(chosen) / 2


def test_a_refused_video_names_its_path_and_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "set"
    assert run(target, "--scenes", 1, "--small") == 0
    real = os.mkdir
    (target / "journal.jsonl").write_text((target / "journal.jsonl").read_text().splitlines(keepends=True)[0])
    for path in target.glob("videos/*"):
        path.unlink()
    (target / "videos").rmdir()

    def full(path: Any, *rest: Any, **options: Any) -> None:
        if str(path).endswith("videos"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *rest, **options)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(FileError) as caught:
        run(target, "--scenes", 1, "--small")
    text = str(caught.value)
    assert "videos/inj000000.mp4" in text
    assert "a video of the pair" in text
    assert "0 finished pairs are kept" in text


def test_a_second_run_in_the_same_folder_is_busy(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with folder_lock(target), pytest.raises(LockError) as caught:
        run(target, "--scenes", 1, "--small")
    assert caught.value.code == "BUSY"


def test_going_on_with_a_replaced_clip_is_refused_by_its_name(tmp_path: Path) -> None:
    footage, target = tmp_path / "footage", tmp_path / "set"
    footage.mkdir()
    for name, seed in (("a.mp4", 4), ("b.mp4", 6)):
        write_video(footage / name, render_scene(seed, size_hw=(90, 160), seconds=2.5).frames, 8.0)
    run(footage, target, "--small")
    write_video(footage / "b.mp4", render_scene(8, size_hw=(90, 160), seconds=2.5).frames, 8.0)
    with pytest.raises(FileError, match=r"b\.mp4 is another file now"):
        run(footage, target, "--small")
    (footage / "b.mp4").rename(footage / "c.mp4")
    with pytest.raises(FileError, match=r"c\.mp4 is new; b\.mp4 is no longer named"):
        run(footage, target, "--small")
