"""The shape of the package: who imports whom, one name a class, the README's tree."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house_script", ROOT / "scripts" / "house.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


house_script = _script()


@pytest.fixture(scope="module")
def house() -> object:
    return house_script.count()


def test_no_module_waits_for_itself(house) -> None:  # type: ignore[no-untyped-def]
    assert house.circles == []


def test_every_arrow_is_allowed(house) -> None:  # type: ignore[no-untyped-def]
    assert house.forbidden == []


def test_no_class_name_stands_twice(house) -> None:  # type: ignore[no-untyped-def]
    assert house.twice == {}


def test_docstrings_of_arrays_boxes_and_times_give_units(house) -> None:  # type: ignore[no-untyped-def]
    assert house.doc_share >= 0.85, house.undocumented


def test_a_circle_an_arrow_and_a_twin_are_seen(tmp_path: Path) -> None:
    source = tmp_path / "src" / "deeptrace"
    (tmp_path / "tests").mkdir()
    for room in ("models", "bench"):
        (source / room).mkdir(parents=True)
        (source / room / "__init__.py").write_text("")
    (source / "__init__.py").write_text("")
    (source / "models" / "a.py").write_text("from deeptrace.bench import b\nclass Twin: ...\n")
    (source / "bench" / "b.py").write_text("from deeptrace.models.a import Twin as One\nclass Twin: ...\n")
    seen = house_script.count(tmp_path)
    assert seen.circles == [["deeptrace.bench.b", "deeptrace.models.a"]]
    assert seen.forbidden == ["deeptrace.models.a -> deeptrace.bench.b"]
    assert seen.twice == {"Twin": ["deeptrace.bench.b", "deeptrace.models.a"]}


@pytest.mark.parametrize(
    ("docstring", "says_units"),
    [
        ("The features ``(N, D)`` of each window.", True),
        ("Frames (T, H, W, 3), of which T is at least 1.", True),
        ("The heads' outputs, (batch, 2 * D).", True),
        ("One value each, (N,).", True),
        ("The mask, (h, w) of 0 and 1.", True),
        ("Every k-th picture, as near to 8 fps as that comes.", True),
        ("The length in seconds.", True),
        ("P(fake) in [0, 1].", True),
        ("The tensor in bfloat16.", True),
        ("The table (of all runs, the best first).", False),
        ("The scaling (Platt, Newton).", False),
        ("The second one (optional).", False),
        ("The way (x, y) of a thing.", False),
        ("Runs that share a boolean.", False),
        ("A floating tag beside the box.", False),
    ],
)
def test_a_docstring_gives_units_where_it_names_one(docstring: str, says_units: bool, tmp_path: Path) -> None:
    source = tmp_path / "src" / "deeptrace"
    source.mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (source / "__init__.py").write_text(f'def blend(mask):\n    """{docstring}"""\n')
    assert house_script.count(tmp_path).documented == says_units


def test_the_readme_shows_every_room() -> None:
    """Each folder and each file of the ground floor stands in the tree, and nothing that is not there."""
    tree = re.search(r"```\nsrc/deeptrace/\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert tree
    shown = {word for line in tree[1].splitlines() for word in re.split(r"\s{2,}", line.strip())[0].split()}
    source = ROOT / "src" / "deeptrace"
    files = {path.stem for path in source.glob("*.py")} - {"__init__", "__main__"}
    wings = {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    assert shown == files | wings
