"""Training: records -> examples -> checkpoint, from one TOML recipe. Knows which kinds there are, none in particular.

A kind is a recipe (a frozen dataclass whose fields are the TOML file's) and a function that trains by it. A run lives
in one folder: the resolved ``recipe.toml``, checkpoints, logs and, when it is done, ``final/``. Running the same
recipe again goes on where the folder stands.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Final, Literal

from deeptrace.errors import FileError, RecipeError, TrainError
from deeptrace.files import read_bytes, write_text
from deeptrace.lock import LOCK, folder_lock
from deeptrace.train.checkpoints import put_aside
from deeptrace.train.recipe import build, merge, override, read_toml, to_toml

KINDS: Final[dict[str, str]] = {
    "sft": "deeptrace.train.vlm.sft:KIND",
    "dpo": "deeptrace.train.vlm.dpo:KIND",
    "rejection": "deeptrace.train.vlm.rejection:KIND",
    "grpo": "deeptrace.train.vlm.grpo:KIND",
    "embedded": "deeptrace.train.embedded:KIND",
}
"""The ``kind`` of a recipe -> ``module:attribute`` of its `Kind`, imported when asked for."""

RECIPE_NAME: Final = "recipe.toml"
FINAL: Final = "final"

Resume = Literal["newest", "previous"]


@dataclass(frozen=True)
class Kind:
    """``recipe``: a frozen dataclass with at least ``kind``; ``run(recipe, out)`` trains into the folder.

    ``run`` goes on where the folder stands, and returns the folder of the result. ``put_aside(out)`` gives the newest
    state another name, so that the one before it is the newest.
    """

    recipe: type[Any]
    run: Callable[[Any, Path], Path]
    put_aside: Callable[[Path], object] = put_aside


def find_recipe(name: str | os.PathLike[str]) -> Path:
    """The file of that path, or the recipe of that name which comes with the package (see `shipped`).

    Raises:
        FileError: there is neither.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():  # the folder of a run may have the name of its recipe
        return path
    known = shipped()
    if os.fspath(name) in known:
        return known[os.fspath(name)]
    close = difflib.get_close_matches(path.stem, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise FileError(f"no recipe {path.name!r}: neither a file nor one of {', '.join(known)}.{hint}")


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(resources.files("deeptrace.train") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(file: str | os.PathLike[str], settings: Iterable[str] = ()) -> tuple[Kind, Any]:
    """The kind and the recipe in a TOML file, with ``table.key=value`` settings put in.

    With ``extends = "RECIPE"`` (a name or a path, see `find_recipe`) a file says only what differs from another recipe:
    its keys are put over that one's, table by table.

    Raises:
        FileError: no such file.
        RecipeError: lists everything that is wrong in it.
        MissingExtra: the kind's optional packages are not installed.
    """
    chain = _chain(file)
    where = ", which extends ".join(path.name for path in chain)
    table = override(reduce(merge, reversed(chain.values())), settings, where)
    name = table.get("kind")
    if name not in KINDS:
        raise RecipeError(where, [f"kind: {name!r} is not one of {', '.join(KINDS)}"])
    module, _, attribute = KINDS[name].partition(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind, build(kind.recipe, table, where)


def _chain(file: str | os.PathLike[str]) -> dict[Path, dict[str, Any]]:
    """The tables of a recipe and of those that it extends, one after another, without the key ``extends``."""
    chain: dict[Path, dict[str, Any]] = {}
    wanted: Any = file
    while wanted is not None:
        path = find_recipe(wanted)
        if any(path.samefile(earlier) for earlier in chain):
            names = " -> ".join(each.name for each in (*chain, path))
            raise RecipeError(next(iter(chain)).name, [f"extends: {names} is a loop"])
        chain[path] = read_toml(path)
        wanted = chain[path].pop("extends", None)
        if not isinstance(wanted, str | None):
            raise RecipeError(path.name, [f"extends: {wanted!r} is not text"])
        wanted = wanted or None
    return chain


def train(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: Sequence[str] = (),
    *,
    resume: Resume = "newest",
) -> Path:
    """Train by a recipe into the folder ``out``; the folder of the result.

    A folder that was begun with the same recipe is gone on with, from its newest checkpoint or, where that is damaged,
    from the ``previous`` one. In several processes (torchrun, accelerate) all call this with the same arguments.

    Raises:
        RecipeError: see `load_recipe`.
        TrainError: the folder was begun with another recipe, other data or other files, or is done; or its newest
            checkpoint is damaged.
        LockError: another process trains into this folder (``BUSY``).
        FileError: the system refused to write; says what is kept.
    """
    kind, recipe = load_recipe(file, settings)
    folder = Path(out)
    first = int(os.environ.get("RANK", "0")) == 0
    if not first:  # one lock for all processes of a run
        return kind.run(recipe, folder)
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder.name!r} is not a folder")
    with folder_lock(folder, wait_seconds=0):
        _open_folder(kind, recipe, folder)
        if resume == "previous":
            kind.put_aside(folder)
        return kind.run(recipe, folder)


def _open_folder(kind: Kind, recipe: Any, folder: Path) -> None:
    """Make sure that a folder is this recipe's and not done; write the recipe into a new one."""
    text = to_toml(recipe)
    written = folder / RECIPE_NAME
    if (folder / FINAL).exists():
        raise TrainError(f"{folder.name!r} is done: its result is in {FINAL!r}. Take another folder to train anew")
    if written.exists():
        _check_same(kind, recipe, written)
    else:
        if any(path.name != LOCK for path in folder.iterdir()):
            raise TrainError(f"{folder.name!r} is not empty and holds no {RECIPE_NAME}: take a folder of its own")
        write_text(written, text)


def _check_same(kind: Kind, recipe: Any, written: Path) -> None:
    before = to_toml(build(kind.recipe, read_toml(written), written.name)).splitlines()
    changed = [line for line in to_toml(recipe).splitlines() if line not in before]
    changed += [line for line in before if line not in to_toml(recipe).splitlines()]
    if changed:
        raise TrainError(
            f"{written.parent.name!r} was begun with another recipe ({'; '.join(changed[:6])}). "
            "Use the same, or another folder"
        )


def recipe_text(file: str | os.PathLike[str]) -> str:
    """The TOML of a recipe as it was written, comments and all."""
    return read_bytes(find_recipe(file)).decode("utf-8-sig")
