"""Data, tiny models and finished runs, made once for all tests of the room."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.train.clips import make_data

pytest.importorskip("transformers")
pytest.importorskip("peft")

logging.getLogger("deeptrace").setLevel(logging.INFO)


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of data, weights and order; another by ``--train-seed``, see benchmarks/learning_margin.py."""
    return int(request.config.getoption("--train-seed"))


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    """Sixteen clips, nine of them fake."""
    return make_data(tmp_path_factory.mktemp("clips"), seed=seed)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory, seed: int) -> dict[str, Path]:
    """A tiny model of each family that the paper fine-tuned."""
    from deeptrace.testing import tiny_model

    folder = tmp_path_factory.mktemp("bases")
    return {
        "videollama3": tiny_model("videollama3", folder / "videollama3", seed=seed),
        "qwen2.5-vl": tiny_model("qwen2.5-vl", folder / "qwen", seed=seed),
    }
