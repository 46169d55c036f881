"""The state of embedded training: the checkpoint before, half written files, a log cut at the checkpoint, refusals."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from deeptrace.errors import FileError, TrainError

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("onnx")

from deeptrace.train import checkpoints  # noqa: E402
from deeptrace.train.embedded.footage import read_manifest  # noqa: E402
from deeptrace.train.embedded.loop import (  # noqa: E402
    LOG_NAME,
    STATE_NAME,
    _cut_log,
    _State,
    read_checkpoint,
    sweep,
    train,
    writing,
)
from deeptrace.train.embedded.recipe import EmbeddedRecipe  # noqa: E402
from deeptrace.train.embedded.spool import load_pair  # noqa: E402
from deeptrace.train.recipe import build  # noqa: E402

RECIPE = build(EmbeddedRecipe, {"kind": "embedded", "footage": "nowhere", "width": 32}, "test")


def test_a_checkpoint_has_a_manifest_and_the_one_before_it_stays(tmp_path: Path) -> None:
    state = _State.new(RECIPE)
    for step in (1, 2, 3):
        state.save(tmp_path, step, RECIPE)
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    newest = tmp_path / "checkpoint-3"
    assert _State.new(RECIPE).load(newest) == 3
    content = (newest / STATE_NAME).read_bytes()
    (newest / STATE_NAME).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # which torch would not notice
    with pytest.raises(TrainError, match=r"state\.pt is not what was written .*'checkpoint-2': --resume previous"):
        read_checkpoint(newest)
    checkpoints.put_aside(tmp_path)
    assert _State.new(RECIPE).load(tmp_path / "checkpoint-2") == 2


def test_a_state_file_by_itself_can_be_started_from(tmp_path: Path) -> None:
    torch.save({"step": 2}, tmp_path / "start.pt")
    assert read_checkpoint(tmp_path / "start.pt") == {"step": 2}
    (tmp_path / "start.pt").write_bytes((tmp_path / "start.pt").read_bytes()[:300])
    with pytest.raises(TrainError, match=r"start\.pt: cannot be read as a checkpoint \(\w+\)$"):
        read_checkpoint(tmp_path / "start.pt")
    with pytest.raises(TrainError, match=r"no checkpoint .other\.pt."):
        read_checkpoint(tmp_path / "other.pt")


def test_a_folder_of_an_earlier_version_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(TrainError, match=r"holds 'checkpoint\.pt'.*start_from of a run in another folder"):
        train(RECIPE, tmp_path)


def test_what_a_kill_leaves_is_swept_and_the_log_is_cut(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    for name in (".backbone.onnx.0123.tmp", "spool/.0000001.npz.77.tmp", "spool/0000001.npz", "backbone.onnx"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["backbone.onnx", "spool/0000001.npz"]
    log = tmp_path / LOG_NAME
    log.write_text("".join(json.dumps({"step": step}) + "\n" for step in (25, 50, 75)) + '{"step": 100, "tr')
    _cut_log(log, 50)
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"step": 25}, {"step": 50}]


def test_what_the_system_refuses_says_what_is_kept(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "spool/cursor"))
    with (
        pytest.raises(FileError, match=r"cannot write 'cursor' .*No space left.*There is no checkpoint yet"),
        writing(tmp_path),
    ):
        raise full
    (tmp_path / "checkpoint-7").mkdir()
    with pytest.raises(FileError, match=r"checkpoint-7 is kept"), writing(tmp_path):
        raise RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 128 vs 22")
    with pytest.raises(RuntimeError, match="shape"), writing(tmp_path):
        raise RuntimeError("size mismatch in shape")


def test_a_damaged_pair_and_a_row_without_a_source_are_named(tmp_path: Path) -> None:
    (tmp_path / "0000001.npz").write_bytes(b"PK" + bytes(40))
    with pytest.raises(TrainError, match=r"spool/0000001\.npz: damaged .* it is made anew"):
        load_pair(tmp_path / "0000001.npz")
    (tmp_path / "manifest.jsonl").write_text('{"path": "a.mp4", "class": "real"}\n')
    with pytest.raises(TrainError, match=r"manifest\.jsonl line 1: lacks source_repo, license, generator, sha256"):
        read_manifest(tmp_path)
