"""No input costs more than it weighs: a slice of `benchmarks/soak/cost.py`, which goes up to the limits."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from deeptrace import video
from deeptrace.answer import FORMATS
from tests.cost import GROWTH, Cost, Parser, Shape, is_quick, measure, parsers, repeat

LARGEST = 64_000  # bytes
PARSERS = {parser.name: parser for parser in parsers()}
# The answer formats with fewer fields or more than these are read by the same code: each gets a few of the shapes, by
# turns, so that all of them get each several times. The soak gives every format every shape.
PLAIN = {f"answer ({name})" for name in FORMATS if "-no-" not in name and "-with-" not in name}
ABLATED = [name for name in PARSERS if name.startswith("answer (") and name not in PLAIN]
FEW_SHAPES = 4


@pytest.fixture(scope="module", autouse=True)
def decoders() -> Iterator[None]:
    yield
    video.close()


def shapes_of(parser: Parser) -> list[str]:
    shapes = list(parser.shapes)
    if parser.name not in ABLATED:
        return shapes
    first = ABLATED.index(parser.name) * FEW_SHAPES
    return [shapes[(first + k) % len(shapes)] for k in range(FEW_SHAPES)]


@pytest.mark.parametrize("name", PARSERS)
def test_a_byte_costs_as_much_in_a_large_input_as_in_a_small_one(name: str) -> None:
    parser = PARSERS[name]
    slow = [shape for shape in shapes_of(parser) if not is_quick(parser, shape, LARGEST)]
    bad = [cost for shape in slow if (cost := measure(parser, shape, LARGEST)).is_bad]
    # Other work on the machine can make one measurement long, not two.
    bad = [cost for first in bad if (cost := measure(parser, first.shape, LARGEST)).is_bad]
    assert not bad, "\n".join(map(str, bad))


def test_a_parser_whose_time_is_a_square_is_noticed() -> None:
    """The test of the test."""

    def compare_all(data: bytes) -> int:
        return sum(data.count(data[i : i + 1]) for i in range(len(data)))

    square = Parser("square", compare_all, {"a": repeat("a")}, LARGEST // 2)
    assert not is_quick(square, "a", LARGEST // 2)
    assert measure(square, "a", LARGEST // 2).is_bad
    assert not Cost("flat", "a", tuple((100_000 * factor, 0.1 * factor) for factor in GROWTH)).is_bad
    assert Cost("crash", "a", ((1, 0.0),), "RecursionError").is_bad


def test_a_shape_has_about_the_size_that_was_asked_for() -> None:
    shape: Shape
    for parser in (parser for name, parser in PARSERS.items() if name not in ABLATED):  # theirs are the same table
        for name, shape in parser.shapes.items():
            sizes = [len(shape(size, random.Random(1))) for size in (20_000, 40_000)]
            assert 10_000 < sizes[0] < sizes[1] < 80_000, (parser.name, name, sizes)
            assert shape(3000, random.Random(1)) == shape(3000, random.Random(1))
