"""A run over a real class with random weights: whatever it says is kept, and a second run asks nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deeptrace.bench.run.runner import run
from deeptrace.bench.run.tracks import select
from deeptrace.bench.run.verdicts import read_verdicts
from deeptrace.data import Records
from deeptrace.errors import FileError
from deeptrace.models import load

pytest.importorskip("transformers")


def test_a_tiny_model_is_asked_about_every_video_once(squares: Records, tmp_path: Path) -> None:
    from deeptrace.testing import tiny_model

    folder = tiny_model("qwen2.5-vl", tmp_path / "tiny")
    model = load(f"hf:{folder}", max_new_tokens=4, device="cpu", question="zero-shot")
    chosen = select(squares, "test", limit=4)
    done = run(model, chosen, chosen.root, tmp_path / "run")
    assert done.to_json()["answered"] == 4
    assert done.to_json()["failed"] == 0
    assert run(model, chosen, chosen.root, tmp_path / "run").num_asked == 0
    size = {"shortest_edge": 3136, "longest_edge": 6272}
    others: dict[str, dict[str, Any]] = {
        "space_kind": {"space": "per-mille"},
        "frame_times": {"frame_times": "as-trained"},
        "size": {"size": size},
    }
    for name, other in others.items():  # answers of another do not count
        again = load(f"hf:{folder}", max_new_tokens=4, device="cpu", question="zero-shot", **other)
        with pytest.raises(FileError, match=rf"other settings \({name}\)"):
            run(again, chosen, chosen.root, tmp_path / "run")
    [first, *_] = read_verdicts(tmp_path / "run")
    assert first.origin.sampling is not None
    assert first.origin.sampling["format"] == "zero-shot"
    assert first.origin.sampling["space"]["kind"] == "resized"
