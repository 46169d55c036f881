"""Recipes: TOML in, one frozen dataclass out, everything that is wrong said at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import RecipeError
from deeptrace.train.recipe import Count, Positive, Share, build, override, to_toml


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


@given(
    st.text(st.characters(codec="utf-8")),
    st.lists(st.text(st.characters(codec="utf-8"))),
    st.floats(min_value=1e-300, allow_infinity=False),
)
def test_written_and_read_back_it_is_the_same(name: str, parts: list[str], rate: float) -> None:
    import tomllib

    recipe = Recipe("x", Optim(rate), name=name, parts=tuple(parts), extra=Optim(2.0))
    assert build(Recipe, tomllib.loads(to_toml(recipe)), "r.toml") == recipe
