"""Random records for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from deeptrace.records import Annotation, Record, VideoInfo
from tests.strategies import texts, traces

labels = st.sampled_from(["fake", "real", "unsure", None])
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
extras = st.dictionaries(texts, json_values, max_size=3)
ids = texts.filter(bool)
path_parts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0:"), min_size=1, max_size=20
).filter(lambda part: part not in (".", "..") and part.strip())
paths = st.lists(path_parts, min_size=1, max_size=3).map("/".join)


@st.composite
def infos(draw: st.DrawFn) -> VideoInfo:
    return VideoInfo(
        width=draw(st.integers(1, 8000)),
        height=draw(st.integers(1, 8000)),
        fps=draw(st.none() | st.floats(0.01, 1000)),
        num_frames=draw(st.none() | st.integers(0, 10**6)),
        duration_seconds=draw(st.none() | st.floats(0, 1e5)),
        codec=draw(st.none() | texts),
        has_audio=draw(st.none() | st.booleans()),
        variable_frame_rate=draw(st.none() | st.booleans()),
    )


annotations = st.builds(
    Annotation,
    traces=st.lists(traces(), max_size=2).map(tuple),
    label=labels,
    annotator=st.none() | texts,
    extra=extras,
)

records = st.builds(
    Record,
    video_id=ids,
    path=st.none() | paths,
    label=labels,
    info=st.none() | infos(),
    source=st.none() | texts,
    split=st.none() | texts,
    prompt=st.none() | texts,
    annotations=st.lists(annotations, max_size=2).map(tuple),
    flags=st.lists(texts, max_size=2).map(tuple),
    extra=extras,
)
