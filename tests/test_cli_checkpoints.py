"""``deeptrace models``: the list, and its commands on checkpoint folders."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deeptrace.cli import main
from deeptrace.models import HOMES

pytest.importorskip("torch")
pytest.importorskip("transformers")

from deeptrace.testing import tiny_model
from tests.models.source_checkpoint import make_source


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a command; in this process, for torch is slow to import."""
    monkeypatch.setattr(sys, "argv", ["deeptrace", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "140")
    with pytest.raises(SystemExit) as leave:
        main()
    out, err = capsys.readouterr()
    return int(leave.value.code or 0), out, err


def test_bare_models_lists_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(monkeypatch, capsys, "models")
    assert code == 0
    assert all(home in out for home in HOMES)
    code, out, _ = run(monkeypatch, capsys, "models", "--json")
    assert {row["model"] for row in json.loads(out)} >= set(HOMES)


def test_convert_check_estimate_and_inspect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = make_source(tmp_path / "src")
    convert = ("models", "convert", source, tmp_path / "dst")
    code, _, err = run(monkeypatch, capsys, *convert)  # nothing in the weights tells
    assert (code, "--trained-for" in err, (tmp_path / "dst").exists()) == (2, True, False)
    code, out, err = run(monkeypatch, capsys, *convert, "--trained-for", "rewarddata", "--fps", "1")
    assert (code, "67 tensors" in out, "frames: 1 a second, 180 at most, times as-trained" in out) == (0, True, True)
    assert "mm_attn_implementation" in err
    code, out, _ = run(monkeypatch, capsys, "models", "check", tmp_path / "dst")
    assert (code, "nothing is wrong with it" in out) == (0, True)
    code, out, _ = run(monkeypatch, capsys, "models", "check", tmp_path / "dst", "--json", "--no-numbers")
    assert json.loads(out)["ok"] is True
    code, out, _ = run(monkeypatch, capsys, "models", "estimate", tmp_path / "dst", "--seconds", "10")
    assert (code, "1288 x 728" in out, "11,960" in out) == (0, True, True)
    code, out, _ = run(monkeypatch, capsys, "models", "estimate", tmp_path / "dst", "--json")
    assert json.loads(out)["total"] > 0
    code, _, err = run(monkeypatch, capsys, *convert, "--trained-for", "rewarddata")
    assert (code, "is there already" in err) == (2, True)


def test_what_is_wrong_is_named_with_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_model("videollama3", tmp_path / "m", hidden_size=64, num_layers=1)
    weights = load_file(folder / "model.safetensors")
    weights["left.over"] = weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, out, _ = run(monkeypatch, capsys, "models", "check", folder)
    assert code == 1
    assert "missing: lm_head.weight" in out
    assert "left over: left.over" in out
    (folder / "weights.bin").write_bytes(b"\x80\x04")
    code, _, err = run(monkeypatch, capsys, "models", "check", folder)
    assert (code, "could run code" in err) == (2, True)
