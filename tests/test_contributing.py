"""Where a change goes, as CONTRIBUTING.md says: the files are there, and what is looked up by rule is looked up."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import pytest

from deeptrace import answer
from deeptrace.bench.score.catalogue import METRICS
from deeptrace.categories import CATEGORIES
from deeptrace.data import convert
from deeptrace.inject.engine import EDITS
from deeptrace.models.hf import families
from deeptrace.models.hf.vetted import vet_config
from deeptrace.models.registry import entries
from deeptrace.train import KINDS, shipped
from deeptrace.video._boxes import scan
from deeptrace.video._container import _FORMATS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "deeptrace"
SECTION = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where a change goes\n")[2].partition("\n## ")[0]
NO_FAMILIES = {"__init__", "base", "block", "generating", "placement"}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def bare(text: str) -> str:
    """The text without case, spaces and punctuation: "Qwen 2.5 VL" is qwen2.5-vl."""
    return re.sub(r"[\W_]", "", text).lower()


def not_described(words: Collection[str], name: str) -> list[str]:
    return [word for word in words if f"`{word}`" not in page(name)]


def test_every_path_of_the_table_is_there() -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    for row in rows:
        paths = [path for path in re.findall(r"`([^`]+)`", row) if path.startswith(("src/", "docs/", "tests/"))]
        assert len(paths) >= 3, row
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_category_is_the_file_that_is_called_after_it() -> None:
    with_edit = {file.stem for file in (SOURCE / "inject").glob("*.py") if "\nCATEGORY_EDIT: " in file.read_text()}
    assert with_edit == {category.lower().replace(" ", "_") for category in CATEGORIES}
    assert tuple(EDITS) == CATEGORIES
    assert [category for category in CATEGORIES if category not in page("glossary.md")] == []


def test_a_family_is_found_by_its_file() -> None:
    files = {file.stem for file in (SOURCE / "models" / "hf" / "families").glob("*.py")} - NO_FAMILIES
    assert {cls.__module__.rpartition(".")[2] for cls in families.families().values()} == files
    described = bare(page("hf-models.md"))
    assert [cls.name for cls in families.families().values() if bare(cls.name) not in described] == []
    assert [entry.home for entry in entries().values() if entry.home.startswith("hf:")]


def test_a_family_names_the_settings_that_no_other_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    vision = {"model_type": "newcomer_vision", "depth": 2, "embed_dim": 48}
    config = {"model_type": "newcomer", "text_config": {}, "vision_config": vision}
    for part_keys, dropped in ((frozenset(), ("vision_config.embed_dim",)), (frozenset({"embed_dim"}), ())):
        classes = families.base.KnownClasses(
            frozenset(), frozenset({"newcomer_vision"}), frozenset(), frozenset(), frozenset(), part_keys=part_keys
        )
        monkeypatch.setattr(families, "family_class", lambda _, known=classes: SimpleNamespace(classes=known))
        vetted, left = vet_config(config)
        assert left == dropped
        assert ("embed_dim" in vetted["vision_config"]) == (not dropped)


def test_every_metric_flag_and_recipe_is_described() -> None:
    metrics = {name for protocol in METRICS.values() for name in protocol}
    assert not_described(metrics, "scoring.md") == []
    names = [name for name in answer.__all__ if name.isupper()]
    flags = [flag for name in names if isinstance(flag := getattr(answer, name), str) and flag == name.lower()]
    assert len(flags) >= 17
    assert not_described(flags, "answers.md") == []
    assert set(shipped()) == {file.stem for file in (SOURCE / "train" / "recipes").glob("*.toml")}
    assert not_described(list(shipped()), "train.md") == []
    assert [name for name in KINDS if name not in page("train.md")] == []


def test_every_format_of_annotations_has_a_reader_or_a_writer() -> None:
    for name in convert.FORMATS:
        assert name in convert._READERS or name in convert._WRITERS, name
        assert f"`{name}`" in page("convert.md")
    for table, function in ((convert._READERS, "def read("), (convert._WRITERS, "def write(")):
        for module in table.values():
            assert function in (SOURCE / "data" / "convert" / f"{module}.py").read_text()


@pytest.mark.parametrize("kind", _FORMATS)
def test_every_container_is_walked(kind: str) -> None:
    assert scan(kind, lambda at, count: b"", 0).kind == kind


def test_a_container_without_a_walk_is_not_taken_for_another() -> None:
    with pytest.raises(AssertionError, match="nut has no walk"):
        scan("nut", lambda at, count: b"", 0)
