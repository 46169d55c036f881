"""Recipes: TOML in, one frozen dataclass out, everything that is wrong said at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import FileError, RecipeError
from deeptrace.schema import Count, Positive, Share, check
from deeptrace.train import load_recipe
from deeptrace.train.recipe import build, merge, override, to_toml


@dataclass(frozen=True)
class Optim:
    learning_rate: Positive
    steps: Count = 10
    warmup: Share = 0.0


@dataclass(frozen=True)
class Recipe:
    kind: str
    optim: Optim
    name: str = ""
    mode: Literal["a", "b"] = "a"
    flag: bool = False
    parts: tuple[str, ...] = ()
    seed: int | None = None
    extra: Optim | None = None
    more: Optim = field(default_factory=lambda: Optim(1.0))

    def problems(self) -> Iterator[str]:
        if self.mode == "b" and not self.flag:
            yield "mode: b needs flag = true"


def test_a_table_becomes_a_recipe() -> None:
    recipe = build(Recipe, {"kind": "x", "optim": {"learning_rate": 1, "steps": 3}, "parts": ["p"]}, "r.toml")
    assert recipe == Recipe("x", Optim(1.0, 3), parts=("p",))
    assert isinstance(recipe.optim.learning_rate, float)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    table = {
        "kind": 3,
        "optim": {"learning_rate": -1.0, "steps": 0, "warmup": 2.0, "learnin_rate": 1.0},
        "mode": "c",
        "flag": 1,
        "parts": "p",
        "seed": 1.5,
        "extra": 4,
        "colour": "red",
    }
    with pytest.raises(RecipeError) as caught:
        build(Recipe, table, "r.toml")
    for words in (
        "kind: 3 is not text",
        "optim.learning_rate: -1 is not greater than 0",
        "optim.steps: 0 is not at least 1",
        "optim.warmup: 2 is not in [0, 1]",
        "optim.learnin_rate: is not a setting. Did you mean 'learning_rate'?",
        "mode: 'c' is not one of a, b",
        "flag: 1 is not true or false",
        "parts: 'p' is not a list",
        "seed: 1.5 is not a whole number",
        "extra: 4 is not a table",
        "colour: is not a setting",
    ):
        assert any(problem.startswith(words) for problem in caught.value.problems), words
    assert len(caught.value.problems) == 11


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecipeError, match=r"optim\.learning_rate: is missing"):
        build(Recipe, {"kind": "x", "optim": {}}, "r.toml")


def test_fields_are_looked_at_together() -> None:
    with pytest.raises(RecipeError, match="mode: b needs flag"):
        build(Recipe, {"kind": "x", "optim": {"learning_rate": 1.0}, "mode": "b"}, "r.toml")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1"])
def test_a_number_is_a_finite_number(value: object) -> None:
    with pytest.raises(RecipeError, match=r"optim\.learning_rate"):
        build(Recipe, {"kind": "x", "optim": {"learning_rate": value}}, "r.toml")


def test_settings_are_put_in() -> None:
    table = override({"kind": "x", "optim": {"learning_rate": 1.0}}, ["optim.steps=5", "name=a b", "flag=true"], "r")
    assert table == {"kind": "x", "optim": {"learning_rate": 1.0, "steps": 5}, "name": "a b", "flag": True}
    with pytest.raises(RecipeError, match="kind is no table"):
        override({"kind": "x"}, ["kind.a=1"], "r")
    with pytest.raises(RecipeError, match="is no setting"):
        override({"kind": "x"}, ["kind"], "r")


def test_empty_text_is_none_where_a_field_may_be_none() -> None:
    table = {"kind": "x", "optim": {"learning_rate": 1.0}, "name": "", "seed": "", "extra": ""}
    recipe = build(Recipe, table, "r.toml")
    assert (recipe.name, recipe.seed, recipe.extra) == ("", None, None)
    with pytest.raises(RecipeError, match="flag: '' is not true or false"):
        build(Recipe, table | {"flag": ""}, "r.toml")


def test_tables_are_merged_and_lists_are_replaced() -> None:
    below = {"a": {"b": {"c": 1, "d": 2}, "e": 3}, "parts": ["p", "q"], "f": 4, "g": {"h": 5}}
    above = {"a": {"b": {"d": 6}}, "parts": ["r"], "f": {"i": 7}, "g": 8}
    assert merge(below, above) == {"a": {"b": {"c": 1, "d": 6}, "e": 3}, "parts": ["r"], "f": {"i": 7}, "g": 8}
    assert below["a"] == {"b": {"c": 1, "d": 2}, "e": 3}


def test_a_recipe_extends_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file extends one in another folder, which extends one that ships; settings come last."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # a run's folder is no recipe
    (tmp_path / "far").mkdir()
    (tmp_path / "far/middle.toml").write_text('extends = "tiny"\n[optim]\nmax_steps = 7\nbatch_size = 2\n')
    (tmp_path / "top.toml").write_text(
        'extends = "far/middle.toml"\n[optim]\nbatch_size = 3\nmax_steps = ""\n[data]\nbalance = ["label"]\n'
    )
    settings = ["optim.batch_size=3", 'optim.max_steps=""', 'data.balance=["label"]']
    assert load_recipe("top.toml") == load_recipe("tiny", settings)
    _, recipe = load_recipe("top.toml", ["optim.batch_size=5", "optim.max_steps=9"])
    assert (recipe.optim.batch_size, recipe.optim.max_steps) == (5, 9)
    assert "extends" not in to_toml(recipe)


def test_what_cannot_be_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "a.toml": 'extends = "b.toml"',
        "b.toml": 'extends = "./c.toml"',
        "c.toml": 'extends = "b.toml"',
        "self.toml": 'extends = "self.toml"',
        "misspelt.toml": 'extends = "tinny"',
        "number.toml": "extends = 3",
        "below.toml": 'extends = "tiny"\ncolour = "red"',
        "above.toml": 'extends = "below.toml"',
    }.items():
        (tmp_path / name).write_text(text + "\n")
    with pytest.raises(RecipeError, match=r"extends: a\.toml -> b\.toml -> c\.toml -> b\.toml is a loop"):
        load_recipe("a.toml")
    with pytest.raises(RecipeError, match=r"extends: self\.toml -> self\.toml is a loop"):
        load_recipe("self.toml")
    with pytest.raises(FileError, match=r"no recipe 'tinny': .* Did you mean 'tiny'"):
        load_recipe("misspelt.toml")
    with pytest.raises(RecipeError, match="extends: 3 is not text"):
        load_recipe("number.toml")
    with pytest.raises(
        RecipeError, match=r"above\.toml, which extends below\.toml, which extends tiny\.toml: [^:]*:\s+colour"
    ):
        load_recipe("above.toml")


@given(
    st.text(st.characters(codec="utf-8")),
    st.lists(st.text(st.characters(codec="utf-8"))),
    st.floats(min_value=1e-300, allow_infinity=False),
)
def test_written_and_read_back_it_is_the_same(name: str, parts: list[str], rate: float) -> None:
    import tomllib

    recipe = Recipe("x", Optim(rate), name=name, parts=tuple(parts), extra=Optim(2.0))
    assert build(Recipe, tomllib.loads(to_toml(recipe)), "r.toml") == recipe


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 20_000, "[" + "a." * 20_000 + "b]\nc = 1", "x = " + "[" * 20 + "]" * 20, "x = " + "9" * 5000],
    ids=["brackets", "tables", "lists", "digits"],
)
def test_a_recipe_without_a_floor_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=r"nested deeper than 16|is not a recipe|is not TOML"):
        load_recipe(file)
    assert override({}, ["x=" + "[" * 20_000], "name")["x"].startswith("[[")
    with pytest.raises(RecipeError, match="nested deeper than 16"):
        override({}, ["a." * 20_000 + "b=1"], "name")


@pytest.mark.parametrize("value", [10**400, -(10**400), 2**63, int("f" * 5000, 16)], ids=["huge", "less", "64", "hex"])
def test_a_number_that_nothing_can_compute_with_is_refused(value: int) -> None:
    _, problems = check(Recipe, {"kind": value, "optim": {"learning_rate": 1, "steps": value}, "seed": value})
    assert [problem.partition(":")[0] for problem in problems] == ["kind", "optim.steps", "seed"]
    assert all(problem.endswith("is not a number of usual size") for problem in problems[1:])
