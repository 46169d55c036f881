"""Conversion and merging while the system refuses: each write, open, fsync, rename and mkdir of them fails in turn.

Weights are written by C code, whose writes cannot be refused one by one: there a limit on the size of files stands for
a full disk.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from deeptrace.errors import FileError
from deeptrace.models.hf.adapter import merge
from deeptrace.models.hf.check import check
from deeptrace.models.hf.convert import convert
from deeptrace.models.hf.families import family_of
from deeptrace.testing import tiny_model
from tests.failing_os import EVERY_CALL, FEW, REFUSALS, Flow, attack
from tests.models.source_checkpoint import make_source

MOST = 10_000 if EVERY_CALL else 1
REMOVALS = tuple(refusal for refusal in REFUSALS if refusal.kind == "remove")
OTHERS = tuple(refusal for refusal in FEW if refusal not in REMOVALS)


def check_nothing(folder: Path) -> None:
    assert not list(folder.iterdir()), "what was begun is left"


def check_no_result(folder: Path) -> None:
    assert not (folder / "dst").exists(), "a half of it has the name of the whole"


def check_result(folder: Path) -> None:
    assert check(folder / "dst").ok
    assert [path.name for path in folder.iterdir()] == ["dst"]


def attack_all(work: Path, flow: Flow) -> None:
    """Where nothing can be removed, what was begun stays until the next run; else it is gone at once."""
    attack(work / "others", flow, kept=check_nothing, done=check_result, refusals=OTHERS, most=MOST)
    attack(work / "removals", flow, kept=check_no_result, done=check_result, refusals=REMOVALS, most=MOST)


def test_a_converted_model_is_whole_or_not_there(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")

    def flow(folder: Path) -> None:
        convert(source, folder / "dst", trained_for="rewarddata")

    attack_all(tmp_path / "w", flow)


@contextmanager
def files_of_at_most(nbytes: int) -> Iterator[None]:
    """No file grows beyond it: EFBIG, in C code too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.linux
def test_a_merged_model_is_whole_or_not_there(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny_model("videollama3", tmp_path / "base", hidden_size=64, num_layers=1)
    model = family_of(base).load_model(base, device="cpu")
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")

    def flow(folder: Path) -> None:
        merge(tmp_path / "adapter", base, folder / "dst")

    attack_all(tmp_path / "w", flow)
    (tmp_path / "small").mkdir()
    size = (base / "model.safetensors").stat().st_size  # by far the largest file
    for nbytes in (size // 2, size - 1):
        with pytest.raises(FileError, match=r"cannot write 'dst': .* Nothing is left of it"), files_of_at_most(nbytes):
            flow(tmp_path / "small")
        check_nothing(tmp_path / "small")
