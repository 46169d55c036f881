"""Second looks to learn from: what is shown, when, and what the right answer is, as `TwoPass` will ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.answer import FORMATS, Space, parse
from deeptrace.data import load_records
from deeptrace.errors import RecipeError
from deeptrace.models.base import Sampling
from deeptrace.models.text import Answer, ModelReply, PosedQuestion, TextModel
from deeptrace.models.two_pass import TwoPass
from deeptrace.records import Annotation, Frames, KeyBox, Record, Trace, Verdict, VideoInfo
from deeptrace.testing import tiny_model
from deeptrace.train.vlm.balance import By, Order
from deeptrace.train.vlm.example_sets import ExampleSets
from deeptrace.train.vlm.examples import Example, Examples
from deeptrace.train.vlm.measure import BlindAnswer
from deeptrace.train.vlm.second_look import SecondLookTable, in_window, second_look, with_second_looks
from deeptrace.video import write_video
from tests.train.clips import sft_recipe

INFO = VideoInfo(64, 64, fps=8.0, num_frames=64, duration_seconds=8.0)
BOX = (0.1, 0.1, 0.4, 0.4)


def record(*traces: Trace, name: str = "v") -> Record:
    annotations = (Annotation(traces),) if traces else ()
    return Record(name, f"{name}.mp4", "fake" if traces else "real", INFO, annotations=annotations)


def example(*traces: Trace, name: str = "v") -> Example:
    return Example(Path(f"{name}.mp4"), record(*traces, name=name))


def test_a_window_speaks_of_what_it_shows() -> None:
    early, late = Trace(BOX, 1.0, 2.0), Trace((0.5, 0.5, 0.9, 0.9), 5.0)
    both = record(early, late)
    assert in_window(both, (0.5, 1.5)).traces == (Trace(BOX, 1.0, 1.5),)
    assert in_window(both, (4.0, 6.0)).traces == (late,)
    assert in_window(both, (1.5, 5.5)).traces == (Trace(BOX, 1.5, 2.0), late)
    between = in_window(both, (2.5, 4.5))
    assert (between.label, between.traces) == ("real", ())
    assert in_window(both, (1.9, 3.0)).label == "real"  # a tenth of a second of it may fall between two frames
    assert in_window(record(), (0.0, 2.0)).label == "real"


def test_of_a_trace_that_had_begun_the_box_is_where_it_is_by_then() -> None:
    moving = Trace(BOX, 1.0, track=(KeyBox(1.0, BOX), KeyBox(3.0, (0.3, 0.1, 0.6, 0.4))))
    [seen] = in_window(record(moving), (2.0, 4.0)).traces
    assert seen.onset_seconds == 2.0
    assert seen.bbox_xyxy == pytest.approx((0.2, 0.1, 0.5, 0.4))


def test_a_trace_that_is_hidden_begins_when_it_is_seen_again() -> None:
    keys = KeyBox(1.0, BOX), KeyBox(3.0, BOX, visible=False), KeyBox(5.0, (0.5, 0.1, 0.8, 0.4))
    away = record(Trace(BOX, 1.0, track=keys))
    assert in_window(away, (3.2, 4.8)).label == "real"
    [again] = in_window(away, (3.5, 5.5)).traces
    assert again.onset_seconds == 5.0
    assert again.bbox_xyxy == pytest.approx((0.5, 0.1, 0.8, 0.4))


@pytest.mark.parametrize("by", [("label",), ("label", "source", "length")])
def test_neither_look_tells_the_label(by: tuple[By, ...]) -> None:
    """Half of what is shown is fake, of first looks and of second looks; blind answers know of first looks alone."""
    examples = [example(*([Trace(BOX, 5.0)] if i % 2 else []), name=f"v{i}") for i in range(100)]
    mixed = with_second_looks(examples, SecondLookTable(0.5), seed=0)
    order = Order(mixed, by=by)
    shown = [mixed[i] for epoch in range(4) for i in order.indices(epoch)]
    for looks in ([one for one in shown if one.window is None], [one for one in shown if one.window is not None]):
        assert len(looks) == pytest.approx(len(shown) / 2, abs=4)
        assert sum(one.record.label == "fake" for one in looks) == pytest.approx(len(looks) / 2, abs=4)
    assert ExampleSets(Examples(mixed), ()).blind() == BlindAnswer.fit([one.record for one in examples])


@given(
    onset=st.floats(0, 7.9), error=st.floats(0, 1), elsewhere=st.floats(0, 1), seed=st.integers(0, 10_000),
    window=st.floats(0.5, 4),
)  # fmt: skip
def test_windows_are_those_of_the_second_turn(
    onset: float, error: float, elsewhere: float, seed: int, window: float
) -> None:
    table = SecondLookTable(0.5, window_seconds=window, error=error, elsewhere=elsewhere)
    look = second_look(example(Trace(BOX, onset)), table, seed=str(seed))
    assert look.window is not None
    start, end = look.window
    assert 0 <= start < end <= 8 + window / 2
    assert end - start <= window + 1e-9  # less only at the beginning, where TwoPass cuts it too
    assert start == 0 or end - start == pytest.approx(window)
    if elsewhere == 0:
        assert abs((end - window / 2) - onset) <= error * window / 2 + 1e-6
    for trace in look.record.traces:
        assert trace.onset_seconds is not None
        assert start <= trace.onset_seconds < end
    assert (look.record.label == "fake") is bool(look.record.traces)


@given(share=st.floats(0, 0.9), count=st.integers(1, 40), seed=st.integers(0, 99))
def test_their_share_is_what_was_asked_for(share: float, count: int, seed: int) -> None:
    examples = [example(*([Trace(BOX, 2.0)] if i % 2 else []), name=f"v{i}") for i in range(count)]
    table = SecondLookTable(share)
    mixed = with_second_looks(examples, table, seed=seed)
    looks = [one for one in mixed if one.window is not None]
    assert mixed[:count] == tuple(examples)
    assert len(looks) == pytest.approx(share * len(mixed), abs=1)
    assert mixed == with_second_looks(examples, table, seed=seed)


def test_a_video_without_a_length_or_a_time_gets_none(caplog: pytest.LogCaptureFixture) -> None:
    unknown = Example(Path("u.mp4"), Record("u", "u.mp4", "real"))
    timeless = example(Trace(BOX), name="t")
    mixed = with_second_looks([unknown, timeless, example(name="r")], SecondLookTable(0.5), seed=0)
    assert {one.record.video_id for one in mixed if one.window is not None} == {"r"}
    assert "2 videos get no second look" in caplog.text
    partly = example(Trace(BOX, 1.0, 2.0), Trace(BOX), name="p")  # any window may show the second trace
    assert with_second_looks([partly], SecondLookTable(0.5), seed=0) == (partly,)
    assert with_second_looks([unknown], SecondLookTable(0.5), seed=0) == (unknown,)


class Teller(TextModel):
    """Says FAKE at a time, and keeps what it is shown."""

    name, format, sampling = "teller", "informed", Sampling(fps=2.0, max_frames=8, short_side=32)

    def __init__(self) -> None:
        self.asked: list[PosedQuestion] = []

    def space(self, frames: Frames) -> Space:
        return Space("per-mille")

    def ask(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        self.asked += batch
        text = "FAKE. The video is AI-generated. The unnatural part is at [100, 100, 400, 400] starting 2.0 seconds."
        return [ModelReply(text) for _ in batch]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four seconds of 96 x 96, 16 frames a second; a red square from 2 s on."""
    path = tmp_path_factory.mktemp("clip") / "v.mp4"
    images = np.full((64, 96, 96, 3), 60, np.uint8)
    images[:, 5] = 200
    images[32:, 10:40, 10:40] = (230, 20, 20)
    write_video(path, Frames.from_array(images, 16.0))
    return path


def test_what_is_learned_is_what_will_be_asked(clip: Path, tmp_path: Path) -> None:
    """Frames, their times and the question of a second look, beside those of `TwoPass` at the same window."""
    pytest.importorskip("torch")
    from deeptrace.models.hf.families import family_of
    from deeptrace.train.vlm.dataset import AnswerDataset, Asking, Weights
    from deeptrace.train.vlm.frames import FrameStore

    family = family_of(tiny_model("qwen3-vl", tmp_path / "model"))
    model = Teller()
    family.sampling = model.sampling
    [outcome] = TwoPass(model, window_seconds=1.0).inspect([clip])
    assert isinstance(outcome, Verdict)
    second = model.asked[1]

    table = SecondLookTable(0.5, window_seconds=1.0, error=0.0, elsewhere=0.0)
    truth = Record("v", "v.mp4", "fake", VideoInfo(96, 96, 16.0, 64, duration_seconds=4.0),
                   annotations=(Annotation((Trace(BOX, 2.0),)),))  # fmt: skip
    look = second_look(Example(clip, truth), table, seed="0")
    assert look.window == (1.5, 2.5)
    store = FrameStore(model.sampling, tmp_path / "cache", second=table.sampling(model.sampling))
    for _ in range(2):  # read, and from the cache
        frames = store.frames(clip, look.window)
        assert np.array_equal(frames.images, second.frames.images)
        assert np.array_equal(frames.pts_seconds, second.frames.pts_seconds)
    data = AnswerDataset([look], family, store, Asking("informed", "per-mille"), Weights())
    item = data[0]
    said = parse(item.answer, "informed", Space("per-mille"))
    assert isinstance(said, Verdict)
    assert said.traces[0].onset_seconds == 2.0
    assert said.traces[0].bbox_xyxy == pytest.approx(BOX, abs=1e-3)
    text = family.text_of(item.encoded)
    written = [float(time) for time in re.findall(r"<([0-9.]+) seconds>", text)]  # the mean of each pair of frames
    assert written == pytest.approx([1.6, 1.8, 2.1, 2.3], abs=0.051)
    asked = data.asking.question(second.frames, Space("per-mille"), family)
    assert asked.partition("<video>")[2] in text or asked in text


def test_second_looks_are_trained_and_rewarded(clip: Path, tmp_path: Path) -> None:
    """An SFT step and an RL step over first and second looks; the answer to an empty window is REAL."""
    pytest.importorskip("torch")
    from deeptrace.data import write_records
    from deeptrace.train.recipe import build
    from deeptrace.train.vlm.grpo import GrpoRecipe
    from deeptrace.train.vlm.grpo import run as run_grpo
    from deeptrace.train.vlm.sft import run

    records = clip.parent / "records.jsonl"
    info = VideoInfo(96, 96, 16.0, 64, duration_seconds=4.0)
    write_records(
        records,
        [
            Record("v", clip.name, "fake", info, split="train", annotations=(Annotation((Trace(BOX, 2.0),)),)),
            Record("w", clip.name, "real", info, split="train"),
        ],
    )
    base = tiny_model("videollama3", tmp_path / "model", hidden_size=64, num_layers=1, vision_layers=1)
    tables: dict[str, Any] = {
        "second_look": {"share": 0.5, "window_seconds": 1.0},
        "optim": {"max_steps": 2, "batch_size": 4},
        "data": {"cache": ""},
        "sampling": {"fps": 2.0, "max_frames": 4, "short_side": 48},
    }
    tables["data"] = {"cache": str(tmp_path / "cache")}
    for name in ("sft", "grpo"):
        (tmp_path / name).mkdir()
    final = run(sft_recipe(base, records, **tables), tmp_path / "sft")
    assert json.loads((final / "deeptrace.json").read_text())["sampling"]["fps"] == 2.0
    table = {
        "kind": "grpo",
        "model": {"base": str(base)},
        "data": {"records": str(records), "workers": 0, "balance": [], "cache": str(tmp_path / "cache")},
        "sampling": tables["sampling"],
        "second_look": tables["second_look"],
        "grpo": {"group": 2, "max_new_tokens": 8},
        "optim": {"batch_size": 4, "max_steps": 1},
        "eval": {"videos": 0},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }
    run_grpo(build(GrpoRecipe, table, "grpo"), tmp_path / "grpo")
    assert len(list((tmp_path / "cache").glob("*.npz"))) >= 2  # the whole video, and windows of it
    assert len(list(load_records(records))) == 2


def test_recipes_that_do_not_fit(tmp_path: Path) -> None:
    timeless = next(name for name, format in FORMATS.items() if "onset" not in format.fields)
    with pytest.raises(RecipeError, match="asks for no time"):
        sft_recipe(tmp_path, tmp_path / "r.jsonl", second_look={"share": 0.5}, question={"format": timeless})
    with pytest.raises(RecipeError, match="leaves no first look"):
        sft_recipe(tmp_path, tmp_path / "r.jsonl", second_look={"share": 1.0})
