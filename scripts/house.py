#!/usr/bin/env python3
"""The house in numbers: rooms, arrows, circles, names used twice, docstrings that give units, lines of test per line.

    python scripts/house.py [--json] [--missing]

Reads the sources alone, nothing is imported. `tests/test_house.py` holds the package to what is printed here.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "deeptrace"
GROUND: Final = "ground floor"

ALLOWED: Final[dict[str, frozenset[str]]] = {
    "answer": frozenset(),
    "chat": frozenset(),
    "video": frozenset(),
    "measures": frozenset({"answer"}),
    "pages": frozenset({"answer", "video"}),
    "inject": frozenset({"answer", "video", "measures", "pages"}),
    "models": frozenset({"answer", "chat", "video", "measures", "pages", "inject"}),
    "data": frozenset({"answer", "chat", "video", "measures", "pages", "inject"}),
    "train": frozenset({"answer", "video", "measures", "pages", "models", "data", "inject"}),
    "bench": frozenset({"answer", "chat", "video", "measures", "pages", "models", "data"}),
    "reward": frozenset({"answer", "video", "measures", "pages", "models", "data"}),
    "explorer": frozenset({"answer", "video", "measures", "pages", "models", "data"}),
}
"""What a wing may import beside the ground floor and itself; the doors (`cli`, the package's own two files) may import
all, and `testing` makes the tiny checkpoints of `models`, when asked."""

_DOORS: Final = frozenset({"deeptrace", "deeptrace.__main__", "deeptrace.testing"})

_ARRAYS: Final = re.compile(r"\b(NDArray|ndarray|Floats|Bools|Ints|Image|Images|Tensor|Box|Frames|ArrayLike|Mask)\b")
_TIMES: Final = re.compile(r"seconds|fps|bbox|\bpts|onset|offset|score|p_fake|weights|mask")
_TERM: Final = r"(?:\d+|\d*[A-Z][a-z]?\d?)"
_SIZE: Final = rf"(?:{_TERM}(?: ?[-+*/] ?{_TERM}(?: [a-z]+)?)*|\.\.\.)"
_AXIS: Final = rf"(?:{_SIZE}|[a-z]+(?: [a-z]+)?)"
_UNITS: Final = re.compile(
    # A shape: one size and a comma, or several axes of which one at least is a size. Other words in brackets are none.
    rf"\({_SIZE},\)|\((?=[^()]*(?:\b{_TERM}\b|\.\.\.)){_AXIS}(?:, ?{_AXIS})+\)"
    r"|\(height, width\)|\(width, height\)|\(h, w\)|\(out, in\)"
    r"|\bu?int(?:8|16|32|64)\b|\bb?float(?:16|32|64)?s?\b|\bbool\b"
    r"|seconds|\b\d (?:s|ms|fps|%)(?!\w)|\bframes (?:a|per) second|\bhertz\b|\bdegrees\b|\bradians\b"
    r"|xyxy|\bfractions?\b|\bpixels\b|_px\b|\bgrey levels\b"
    r"|[\[(]-?\d+, \d+[\])]|\bbetween 0 and 1\b|\b[01] (?:and|or) [01]\b|\b0(?: to |\.\.|-)(?:1|100|255|1000)\b"
    r"|\bprobabilit(?:y|ies)\b|\bchance of\b|\bshares? (?:of|in)\b|\blogits?\b|\blog odds\b|\blikelihood ratios?\b"
)


@dataclass(frozen=True)
class SourceModule:
    """One file: its dotted name, whether it is a package's own file, its tree and its text."""

    name: str
    package: bool
    tree: ast.Module
    text: str


@dataclass
class House:
    """What was counted."""

    rooms: list[str] = field(default_factory=list)
    lines: int = 0
    test_lines: int = 0
    arrows: Counter[tuple[str, str]] = field(default_factory=Counter)
    forbidden: list[str] = field(default_factory=list)
    circles: list[list[str]] = field(default_factory=list)
    twice: dict[str, list[str]] = field(default_factory=dict)
    documented: int = 0
    undocumented: list[str] = field(default_factory=list)

    @property
    def doc_share(self) -> float:
        """The share in [0, 1] of the public functions on arrays, boxes, times or probabilities that give units."""
        return self.documented / max(1, self.documented + len(self.undocumented))


def modules(source: Path = SOURCE) -> dict[str, SourceModule]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = ("deeptrace", *path.relative_to(source).with_suffix("").parts)
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = SourceModule(name, package, ast.parse(text), text)
    return found


def imports(module: SourceModule, known: dict[str, SourceModule]) -> Iterator[tuple[str, bool]]:
    """Modules of ours that ``module`` imports, and whether while it is itself being imported."""

    def walk(node: ast.AST, early: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                yield from walk(child, False)
            elif isinstance(child, ast.ImportFrom) and child.module and child.module.startswith("deeptrace"):
                for alias in child.names:
                    name = f"{child.module}.{alias.name}"
                    yield (name if name in known else child.module), early
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    if alias.name in known:
                        yield alias.name, early
            else:
                yield from walk(
                    child, early and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                )

    yield from walk(module.tree, True)


def room_of(name: str, known: dict[str, SourceModule]) -> str:
    """The folder that a module lies in, or the ground floor."""
    package = name if known[name].package else name.rpartition(".")[0]
    return package.removeprefix("deeptrace").lstrip(".").replace(".", "/") or GROUND


def wing_of(name: str, known: dict[str, SourceModule]) -> str:
    """The first folder below the package."""
    return room_of(name, known).partition("/")[0]


def count(root: Path = ROOT) -> House:
    """Everything that is printed, of the project at ``root``."""
    known = modules(root / "src" / "deeptrace")
    house = House(rooms=sorted({room_of(name, known) for name in known} - {GROUND}))
    house.lines = sum(module.text.count("\n") for module in known.values())
    house.test_lines = sum(path.read_text("utf-8").count("\n") for path in (root / "tests").rglob("*.py"))
    edges: dict[str, set[str]] = defaultdict(set)
    for name, module in known.items():
        here, wing = room_of(name, known), wing_of(name, known)
        for target, early in imports(module, known):
            there = room_of(target, known)
            other, inside = wing_of(target, known), wing != "cli" and name not in _DOORS
            if inside and there not in {here, GROUND}:
                house.arrows[here, there] += 1
            if inside and other not in {GROUND, wing} | ALLOWED.get(wing, frozenset()):
                house.forbidden.append(f"{name} -> {target}")
            if early:
                edges[name].add(target)
    house.circles = _circles(edges)
    _names(known, house)
    _docstrings(known, house)
    return house


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                circles.append(sorted(members))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return circles


def _names(known: dict[str, SourceModule], house: House) -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for name, module in known.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    house.twice = {name: where for name, where in sorted(homes.items()) if len(where) > 1}


def _docstrings(known: dict[str, SourceModule], house: House) -> None:
    for name, module in known.items():
        if any(part.startswith("_") for part in name.split(".")):
            continue
        for owner, node in _public(module.tree):
            signature = ast.unparse(node.args) + " -> " + (ast.unparse(node.returns) if node.returns else "")
            if not (_ARRAYS.search(signature) or _TIMES.search(ast.unparse(node.args))):
                continue
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if any(word in decorators for word in ("override", "overload", ".command(")):
                continue  # another docstring says it: of the method replaced, of the function itself, of the options
            if _UNITS.search(ast.get_docstring(node) or ""):
                house.documented += 1
            else:
                house.undocumented.append(f"{name}.{owner}{node.name}")


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield "", node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.", inner


def main() -> None:
    """Print the count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--missing", action="store_true", help="name the docstrings without units")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    options = parser.parse_args()
    house = count(options.root)
    facts = {
        "rooms": len(house.rooms),
        "arrows between rooms": len(house.arrows),
        "arrows that are not allowed": len(house.forbidden),
        "circles": len(house.circles),
        "class names used twice": len(house.twice),
        "lines": house.lines,
        "test lines per line": round(house.test_lines / house.lines, 3),
        "docstrings with units": round(house.doc_share, 3),
    }
    if options.json:
        print(json.dumps(facts))
        return
    for key, value in facts.items():
        print(f"{key:30} {value}")
    for title, names in (("not allowed", house.forbidden), ("circle", [" ".join(c) for c in house.circles])):
        for name in names:
            print(f"{title}: {name}")
    for name, where in house.twice.items():
        print(f"twice: {name}: {', '.join(where)}")
    if options.missing:
        for name in house.undocumented:
            print(f"no unit: {name}")


if __name__ == "__main__":
    main()
