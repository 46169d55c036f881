"""The script for a machine with a GPU: it says what it checks, and the recipes that need one are among it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deeptrace.train import load_recipe, shipped
from deeptrace.train.vlm.tables import LanguageRecipe

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"
FOR_A_CPU = {"tiny", "injected-small"}


def test_it_lists_its_checks_without_a_gpu() -> None:
    run = subprocess.run([sys.executable, SCRIPT, "--list"], capture_output=True, text=True, check=True, timeout=60)
    lines = run.stdout.splitlines()
    assert len(lines) >= 18
    assert all(len(line.split("  ", 1)) == 2 and line.endswith(".") for line in lines)


@pytest.mark.parametrize("name", sorted(name for name in shipped() if name.removesuffix("-stage2") not in FOR_A_CPU))
def test_every_recipe_of_a_language_model_is_run(name: str) -> None:
    _, recipe = load_recipe(name)
    if isinstance(recipe, LanguageRecipe):
        assert f'"{name.removesuffix("-stage2")}"' in SCRIPT.read_text(encoding="utf-8")
