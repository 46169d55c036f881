"""Random core types for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from deeptrace.answer import Space
from deeptrace.categories import CATEGORIES
from deeptrace.records import Box, Failed, Highlight, KeyBox, Origin, Outcome, Trace, Unparsed, Verdict

fractions = st.floats(0, 1, allow_subnormal=False)
seconds = st.floats(0, 1e5, allow_subnormal=False) | st.floats(0, 1e300)
probabilities = st.none() | fractions


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1 = sorted(draw(st.lists(fractions, min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(draw(st.lists(fractions, min_size=2, max_size=2, unique=True)))
    return (x0, y0, x1, y1)


@st.composite
def tracks(draw: st.DrawFn) -> tuple[KeyBox, ...]:
    times = sorted(draw(st.lists(seconds, min_size=1, max_size=4, unique=True)))
    keys = []
    for time in times:
        visible = draw(st.booleans())
        keys.append(KeyBox(time, draw(boxes() if visible else st.none() | boxes()), visible))
    return tuple(keys)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    onset = draw(st.none() | seconds)
    offset = draw(st.none() | st.floats(0.05, 1e3).map(lambda length: (onset or 0.0) * 1.01 + length))
    return Trace(
        bbox_xyxy=draw(st.none() | boxes()),
        onset_seconds=onset,
        offset_seconds=offset,
        categories=draw(st.none() | st.lists(st.sampled_from(CATEGORIES), unique=True).map(tuple)),
        explanation=draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=80)),
        track=draw(st.none() | tracks()),
        confidence=draw(probabilities),
    )


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    kind = draw(st.sampled_from(["source", "resized", "per-mille", "per-mille-yx"]))
    if kind.startswith("per-mille"):
        return Space.of(kind, None, None)
    return Space(kind, draw(st.integers(1, 8000)), draw(st.integers(1, 8000)))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
counts = st.none() | st.integers(0, 10**9)


@st.composite
def origins(draw: st.DrawFn) -> Origin:
    return Origin(
        *(draw(st.none() | texts) for _ in range(6)),
        sampling=draw(st.none() | st.dictionaries(texts, st.integers(-9, 9) | fractions | texts, max_size=3)),
        frames_declared=draw(counts),
        frames_decoded=draw(counts),
        partial=draw(st.booleans()),
    )


@st.composite
def highlights(draw: st.DrawFn) -> Highlight:
    start = draw(st.floats(0, 1e5, allow_subnormal=False))
    box = draw(st.none() | boxes())
    return Highlight(start, start + draw(st.floats(0.125, 60.0)), box, draw(probabilities), draw(probabilities))


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    p_fake, calibration = draw(probabilities), draw(st.none() | texts)
    return Verdict(
        label=draw(st.sampled_from(["fake", "real"])),
        uncertain=draw(st.booleans()),
        p_fake=p_fake,
        p_fake_raw=draw(probabilities) if calibration is not None else p_fake,
        calibration=calibration,
        p_trace=draw(probabilities),
        p_generated=draw(probabilities),
        thresholds=draw(st.none() | st.tuples(fractions, fractions).map(lambda pair: (min(pair), max(pair)))),
        prior=draw(probabilities),
        traces=tuple(draw(st.lists(traces(), max_size=3))),
        highlights=tuple(draw(st.lists(highlights(), max_size=2))),
        flags=tuple(draw(st.lists(texts, max_size=3))),
        text=draw(st.none() | texts),
        origin=draw(origins()),
    )


outcomes: st.SearchStrategy[Outcome] = (
    verdicts() | st.builds(Unparsed, texts, texts, origins()) | st.builds(Failed, texts, texts, origins())
)
