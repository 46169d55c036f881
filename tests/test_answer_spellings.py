"""One answer in the spellings that models give it: the same fields come out of each, or a flag says why not."""

from __future__ import annotations

import json

import pytest

from deeptrace.answer import Space, parse, question, read_seconds, render
from deeptrace.records import Trace, Verdict

PER_MILLE = Space("per-mille")
BOX = (0.1, 0.2, 0.3, 0.4)

# ── boxes, in the trained answer's sentence ─────────────────────────────────────────────────────────────────────────

BOXES = """
[100, 200, 300, 400]
[100,200,300,400]
[ 100 , 200 , 300 , 400 ]
[100 200 300 400]
[100; 200; 300; 400]
[100.0, 200.0, 300.0, 400.0]
(100, 200, 300, 400)
{100, 200, 300, 400}
[[100, 200, 300, 400]]
[[100, 200], [300, 400]]
[(100, 200), (300, 400)]
((100, 200), (300, 400))
(100, 200), (300, 400)
(100,200),(300,400)
(100, 200) to (300, 400)
(100, 200) - (300, 400)
(100, 200) and (300, 400)
(100,200)(300,400)
100, 200, 300, 400
100,200,300,400
100 200 300 400
**[100, 200, 300, 400]**
**100, 200, 300, 400**
*[100, 200, 300, 400]*
`[100, 200, 300, 400]`
`100, 200, 300, 400`
[**100**, **200**, **300**, **400**]
<|box_start|>(100,200),(300,400)<|box_end|>
<|box_start|>[100, 200, 300, 400]<|box_end|>
<box>[100, 200, 300, 400]</box>
<box>100, 200, 300, 400</box>
<bbox>100 200 300 400</bbox>
<|begin_of_box|>[100, 200, 300, 400]<|end_of_box|>
the box [100, 200, 300, 400]
the left hand [100, 200, 300, 400]
the man's left arm, [100, 200, 300, 400],
the region [100, 200, 300, 400]
coordinates [100, 200, 300, 400]
coordinates: [100, 200, 300, 400]
bounding box = [100, 200, 300, 400]
bbox: [100, 200, 300, 400]
position (100, 200, 300, 400) in the frame
the lower part of the dog's tail (100, 200, 300, 400)
x0=100, y0=200, x1=300, y1=400
x0 = 100, y0 = 200, x1 = 300, y1 = 400
x1: 100, y1: 200, x2: 300, y2: 400
[x0=100, y0=200, x1=300, y1=400]
[x0: 100, y0: 200, x1: 300, y1: 400]
{x0: 100, y0: 200, x1: 300, y1: 400}
{"x0": 100, "y0": 200, "x1": 300, "y1": 400}
{"x1": 100, "y1": 200, "x2": 300, "y2": 400}
{"left": 100, "top": 200, "right": 300, "bottom": 400}
{"left": 100, "top": 200, "width": 200, "height": 200}
(xmin=100, ymin=200, xmax=300, ymax=400)
(x_min: 100, y_min: 200, x_max: 300, y_max: 400)
left 100, top 200, right 300, bottom 400
left: 100, top: 200, width: 200, height: 200
top=200, left=100, bottom=400, right=300
y0=200, x0=100, y1=400, x1=300
[100px, 200px, 300px, 400px]
[10%, 20%, 30%, 40%]
[10.0 %, 20.0 %, 30.0 %, 40.0 %]
x from 100 to 300 and y from 200 to 400
x: 100-300, y: 200-400
x 100 to 300, y 200 to 400
""".strip().split("\n")


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    "sentence",
    [
        "FAKE. The video is AI-generated. The unnatural part is at {} starting 1.5 seconds. "
        "The reason is because the arm bends.",
        "FAKE. The unnatural part is {}, starting at 1.5 seconds, because the arm bends.",
        "**FAKE**\n\nBox: {}\nStart time: 1.5 s\nReason: the arm bends.",
        "FAKE <coordinates>{}</coordinates> <start_time>1.5</start_time> <explanation>the arm bends.</explanation>",
    ],
    ids=["trained", "because", "lines", "tags"],
)
def test_a_box_is_read_in_every_spelling(box: str, sentence: str) -> None:
    if sentence.startswith("FAKE <") and "<b" in box:
        pytest.skip("a box tag in a box tag")
    verdict = parse(sentence.format(box), "trained", PER_MILLE)
    assert isinstance(verdict, Verdict)
    [trace] = verdict.traces
    assert trace.bbox_xyxy is not None
    assert trace.bbox_xyxy == pytest.approx(BOX)
    assert (trace.onset_seconds, trace.offset_seconds, trace.explanation) == (1.5, None, "the arm bends.")
    assert verdict.flags == ()


# ── times, in the trained answer's sentence ─────────────────────────────────────────────────────────────────────────

STARTS = """
starting 1.5 seconds
starting 1.5 second
starting 1.5s
starting 1.5 s
starting 1.5 sec
starting 1.5 secs
starting 1.5 sec.
starting 1.50
starting 1.5
starting at 1.5 seconds
starting at 1.5s
starting from 1.5 seconds
starting around 1.5 seconds
starting about 1.5 seconds
starting at around 1.5 seconds
starting at approximately 1.5 seconds
starting at roughly 1.5s
starting ~1.5 seconds
starting at ~1.5s
starting at ≈ 1.5 s
starting approx. 1.5 seconds
starting **1.5** seconds
starting **1.5 seconds**
starting `1.5` seconds
starting *1.5s*
starting at 0:01.5
starting at 00:01.5
starting at 00:00:01.5
starting at [00:01.500]
starting at (0:01.5)
starting at 1500 ms
starting at 1500ms
starting at 1500 milliseconds
starting at 1,5 s
starting at second 1.5
starting at the 1.5 second mark
starting at the 1.5-second mark
starting 1.5 seconds into the video
starting at t=1.5s
starting at t = 1.5 s
starting at time 1.5
starting at timestamp 1.5
, starting 1.5 seconds
, starting at 1.5 seconds,
and starts at 1.5 seconds
and begins at 1.5 seconds
beginning 1.5 seconds
beginning at 1.5s
with onset 1.5 s
from 1.5 seconds
from 1.5s
from second 1.5
from about 1.5 seconds
at 1.5 seconds
at 1.5s
at around 1.5 seconds
around 1.5 seconds
around 1.5s
about 1.5 seconds
@1.5s
(1.5 s)
(starting at 1.5 s)
since 1.5 seconds
after 1.5 seconds
""".strip().split("\n")

SPANS = """
from 1.5 to 3.0 seconds
from 1.5 to 3 seconds
from 1.5s to 3.0s
from 1.5 s to 3 s
from 1.5 until 3.0 seconds
from 1.5 seconds until 3.0 seconds
from 1.5 seconds to 3.0 seconds
from 1.5 seconds through 3.0 seconds
from 1.5-3.0 seconds
from 1.5 - 3.0 seconds
from 1.5–3.0 seconds
from 1.5 — 3.0 seconds
from 0:01.5 to 0:03
from 00:01.5 to 00:03.0
0:01.5-0:03
0:01.5 - 0:03
[0:01.5 - 0:03]
[00:01.500 --> 00:03.000]
from **1.5** to **3.0** seconds
from `1.5` to `3.0` seconds
from about 1.5 to 3.0 seconds
from about 1.5 to about 3.0 seconds
from around 1.5s to around 3s
from ~1.5s to ~3.0s
from 1500 ms to 3000 ms
from 1500ms to 3s
between 1.5 and 3.0 seconds
between 1.5s and 3.0s
between 0:01.5 and 0:03
between about 1.5 and 3.0 seconds
starting 1.5 seconds to 3.0 seconds
starting 1.5 seconds until 3.0 seconds
starting 1.5 seconds and ending 3.0 seconds
starting at 1.5 seconds and ending at 3.0 seconds
starting at 1.5 seconds, ending at 3.0 seconds
starting at 1.5s, ends at 3.0s
starting 1.5 seconds, until 3.0 seconds
starting 1.5 seconds for 1.5 seconds
starting at 1.5 seconds and lasting 1.5 seconds
starting at 1.5 seconds, lasting about 1.5 seconds
starting 1.5 - 3.0 seconds
starting 1.5-3.0s
1.5 - 3.0 seconds
1.5-3.0 s
1.5s - 3.0s
1.5s-3s
1.5 to 3.0 seconds
1.5s to 3.0s
1.5s → 3.0s
(1.5 s - 3.0 s)
(from 1.5 to 3.0 seconds)
at 1.5-3.0 seconds
at 1.5 to 3.0 seconds
at 1.5s until 3.0s
starting 1.5 seconds. It ends at 3.0 seconds
starting 1.5 seconds. It stops at 3 s
starting 1.5 seconds till 3.0 seconds
from second 1.5 to second 3
from the 1.5 second mark to the 3.0 second mark
since 1.5 seconds till 3.0 seconds
""".strip().split("\n")


@pytest.mark.parametrize(("time", "offset"), [(t, None) for t in STARTS] + [(t, 3.0) for t in SPANS])
def test_a_time_is_read_in_every_spelling(time: str, offset: float | None) -> None:
    text = f"FAKE. The unnatural part is at [100, 200, 300, 400] {time}. The reason is because the arm bends."
    verdict = parse(text, "trained", PER_MILLE)
    assert isinstance(verdict, Verdict)
    [trace] = verdict.traces
    assert (trace.bbox_xyxy, trace.onset_seconds, trace.offset_seconds) == (BOX, pytest.approx(1.5), offset)
    assert trace.explanation == "the arm bends."
    assert verdict.flags == ()


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────────────────────

LABELS = (
    r"""
FAKE
FAKE.
FAKE!
fake
Fake.
**FAKE**
**FAKE.**
*FAKE*
__FAKE__
`FAKE`
"FAKE"
'FAKE'
(FAKE)
[FAKE]
【FAKE】
{FAKE}
# FAKE
## **FAKE**
> FAKE
- FAKE
Answer: FAKE
Answer: **FAKE**
**Answer:** FAKE
**Answer**: FAKE
Answer = FAKE
Answer - FAKE
answer is FAKE
The answer is FAKE.
The answer is: FAKE
The answer is **FAKE**.
The answer is "FAKE".
My answer is FAKE
Final answer: FAKE
**Final Answer:** **FAKE**
The final answer is FAKE.
Verdict: FAKE
**Verdict: FAKE**
Verdict — FAKE
Label: FAKE
Label: fake
Classification: FAKE
Prediction: FAKE
Conclusion: FAKE.
Decision: FAKE
Result: FAKE
\boxed{FAKE}
$\boxed{FAKE}$
$$\boxed{FAKE}$$
\(\boxed{FAKE}\)
\[\boxed{FAKE}\]
\boxed{\text{FAKE}}
$\boxed{\text{FAKE}}$
\boxed{\textbf{FAKE}}
\boxed{\mathrm{FAKE}}
\boxed{ FAKE }
\boxed{"FAKE"}
\boxed{fake}
\fbox{FAKE}
**\boxed{FAKE}**
Answer: \boxed{FAKE}
The final answer is $\boxed{FAKE}$.
Therefore, the answer is \boxed{FAKE}
<|begin_of_box|>FAKE<|end_of_box|>
<|begin_of_box|>FAKE
<|begin_of_box|> FAKE <|end_of_box|>
<|begin_of_box|>**FAKE**<|end_of_box|>
<think>REAL?</think><|begin_of_box|>FAKE<|end_of_box|>
<think>REAL or FAKE</think>\boxed{FAKE}
<answer>FAKE</answer>
<answer>\boxed{FAKE}</answer>
<answer><|begin_of_box|>FAKE<|end_of_box|></answer>
<final_answer>FAKE</final_answer>
<label>FAKE</label>
<verdict>FAKE</verdict>
FAKE<|im_end|>
FAKE</s>
<|assistant|>FAKE
```
FAKE
```
The video is fake.
This video is AI-generated.
It is a fake video.
The clip is **AI-generated**.
{"label": "FAKE"}
{"verdict": "fake"}
{'label': 'FAKE'}
{label: FAKE}
```json {"label": "FAKE"} ```
[{"label": "FAKE"}]
<|begin_of_box|>{"label": "FAKE"}<|end_of_box|>
\boxed{{"label": "FAKE"}}
""".strip()
    .replace("```\nFAKE\n```", "```~FAKE~```")
    .split("\n")
)


@pytest.mark.parametrize("text", [text.replace("~", "\n") for text in LABELS])
def test_a_label_is_read_in_every_spelling(text: str) -> None:
    verdict = parse(text, "trained", PER_MILLE)
    assert isinstance(verdict, Verdict), verdict
    assert (verdict.label, verdict.traces, verdict.flags) == ("fake", (), ())
    swapped = text.replace("REAL", "~").replace("FAKE", "REAL").replace("~", "FAKE")
    swapped = swapped.replace("Fake", "Real").replace("fake", "real").replace("AI-generated", "real")
    other = parse(swapped, "trained", PER_MILLE)
    assert isinstance(other, Verdict), other
    assert (other.label, other.traces, other.flags) == ("real", (), ())


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{REAL or FAKE}",
        r"\boxed{FAKE} \boxed{REAL}",
        r"\boxed{FAKE/REAL}",
        "<|begin_of_box|>REAL or FAKE<|end_of_box|>",
    ],
)
def test_a_box_that_chooses_nothing_is_unparsed(text: str) -> None:
    assert not isinstance(parse(text, "trained", PER_MILLE), Verdict)


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────

ONSET_KEYS = [
    "start_seconds",
    "start_time",
    "start",
    "startTime",
    "StartTime",
    "start-time",
    "start_sec",
    "start_timestamp",
    "starting_time",
    "onset",
    "onset_seconds",
    "onset_time",
    "time",
    "timestamp",
    "time_seconds",
    "begin",
    "begin_time",
    "begins_at",
    "time_start",
    "appears_from",
    "first_visible_time",
    "t_start_seconds",
    "event_start_time",
    "start_time_seconds",
    "when",
    "from_second",
]
SPAN_KEYS = [
    "timestamps",
    "times",
    "time",
    "time_range",
    "timerange",
    "timeRange",
    "time_span",
    "time_interval",
    "interval",
    "timestamp",
    "span",
    "when",
    "start_end_times",
    "start_end_seconds",
    "visible_from",
]
SPAN_VALUES = ([1.5, 3.0], ["1.5", "3.0"], ["1.5s", "3.0s"], ["0:01.5", "0:03"], "1.5-3.0", "1.5 - 3.0 s",
               "0:01.5-0:03", "1.5 to 3.0 seconds", "from 1.5 to 3.0", {"start": 1.5, "end": 3.0},
               {"from": "1.5s", "to": "3s"})  # fmt: skip
BOX_KEYS = [
    "box",
    "bbox",
    "bounding_box",
    "boundingBox",
    "bbox_2d",
    "bbox_xyxy",
    "box_xyxy",
    "coordinates",
    "coordinate",
    "coords",
    "area_coordinates",
    "box_coordinates",
    "bbox_coordinates",
    "region",
    "location",
    "area",
    "position",
    "rect",
    "roi",
    "object_box",
    "box_xyxy_norm",
    "fake_region",
    "affected_area",
]
BOX_VALUES = (
    [100, 200, 300, 400], ["100", "200", "300", "400"], [[100, 200, 300, 400]], [[100, 200], [300, 400]],
    "[100, 200, 300, 400]", "100, 200, 300, 400", "(100,200),(300,400)", "<|box_start|>(100,200),(300,400)<|box_end|>",
    {"x0": 100, "y0": 200, "x1": 300, "y1": 400}, {"x1": 100, "y1": 200, "x2": 300, "y2": 400},
    {"x_min": 100, "y_min": 200, "x_max": 300, "y_max": 400}, {"xmin": 100, "ymin": 200, "xmax": 300, "ymax": 400},
    {"left": 100, "top": 200, "right": 300, "bottom": 400}, {"left": 100, "top": 200, "width": 200, "height": 200},
    {"x": 100, "y": 200, "width": 200, "height": 200}, {"x": 100, "y": 200, "w": 200, "h": 200},
    {"cx": 200, "cy": 300, "w": 200, "h": 200}, {"x_center": 200, "y_center": 300, "width": 200, "height": 200},
    {"top_left": [100, 200], "bottom_right": [300, 400]},
    {"topLeft": {"x": 100, "y": 200}, "bottomRight": {"x": 300, "y": 400}}, {"x": [100, 300], "y": [200, 400]},
    {"coordinates": [100, 200, 300, 400]}, {"xyxy": [100, 200, 300, 400]}, ["10%", "20%", "30%", "40%"],
    [{"x": 100, "y": 200}, {"x": 300, "y": 400}], ["100px", "200px", "300px", "400px"],
)  # fmt: skip
WHY_KEYS = "explanation reason reasoning rationale description why justification details issue anomaly evidence comment"


def _json(**trace: object) -> str:
    return json.dumps({"label": "FAKE", "traces": [trace]})


@pytest.mark.parametrize("key", ONSET_KEYS)
@pytest.mark.parametrize("value", [1.5, "1.5", "1.5s", "0:01.5", "about 1.5 seconds"])
def test_an_onset_is_read_under_every_name(key: str, value: object) -> None:
    verdict = parse(_json(**{key: value}), "json", PER_MILLE)
    assert isinstance(verdict, Verdict)
    assert (verdict.traces, verdict.flags) == ((Trace(onset_seconds=1.5),), ())


@pytest.mark.parametrize("key", SPAN_KEYS)
@pytest.mark.parametrize("value", SPAN_VALUES, ids=str)
def test_a_span_is_read_under_every_name(key: str, value: object) -> None:
    verdict = parse(_json(**{key: value}), "json", PER_MILLE)
    assert isinstance(verdict, Verdict)
    if key in ("start_end_times", "start_end_seconds"):  # "end" in the name: one moment was expected
        assert verdict.traces or verdict.flags
        return
    assert (verdict.traces, verdict.flags) == ((Trace(onset_seconds=1.5, offset_seconds=3.0),), ())


@pytest.mark.parametrize("key", BOX_KEYS)
@pytest.mark.parametrize("value", BOX_VALUES, ids=str)
def test_a_box_is_read_under_every_name(key: str, value: object) -> None:
    verdict = parse(_json(**{key: value}), "json", PER_MILLE)
    assert isinstance(verdict, Verdict)
    [trace] = verdict.traces
    assert trace.bbox_xyxy is not None
    assert trace.bbox_xyxy == pytest.approx(BOX)
    assert verdict.flags == ()


@pytest.mark.parametrize("key", WHY_KEYS.split())
def test_an_explanation_is_read_under_every_name(key: str) -> None:
    verdict = parse(_json(**{key: "the arm bends"}), "json", PER_MILLE)
    assert isinstance(verdict, Verdict)
    assert (verdict.traces, verdict.flags) == ((Trace(explanation="the arm bends"),), ())


# ── what cannot be read costs its part, and says so ─────────────────────────────────────────────────────────────────

FLAGGED = [
    ({"box": [100, 200, 300]}, "bbox_invalid"),
    ({"box": [100, 200, 300, 400, 500]}, "bbox_invalid"),
    ({"box": [300, 400, 100, 200]}, "bbox_invalid"),
    ({"box": [100, 200, 100, 400]}, "bbox_invalid"),
    ({"box": "the left hand"}, "bbox_invalid"),
    ({"box": [100, 200, 1900, 400]}, "bbox_invalid"),
    ({"box": [1100, 200, 1300, 400]}, "bbox_invalid"),
    ({"box": [-500, 200, 300, 400]}, "bbox_invalid"),
    ({"box": [10, "20%", 30, 40]}, "bbox_invalid"),
    ({"box": [900, 200, 1003, 400]}, "bbox_cut"),
    ({"box": [-3, 200, 300, 400]}, "bbox_cut"),
    ({"box": [100, 900, 300, 1050]}, "bbox_cut"),
    ({"box": [0.1, 0.2, 0.3, 0.4]}, "bbox_too_thin"),
    ({"box": [100, 200, 100.5, 400]}, "bbox_too_thin"),
    ({"box_2d": [200, 100, 400, 300]}, "bbox_y_first"),
    ({"box": {"x0": 100, "y0": 200, "x1": 300, "y1": 400, "track": 7}}, "keys_unread"),
    ({"start_seconds": "soon"}, "onset_invalid"),
    ({"start_seconds": -1}, "onset_invalid"),
    ({"start_seconds": [1, 2, 3]}, "onset_invalid"),
    ({"start_seconds": {"frame": 3}}, "onset_invalid"),
    ({"start_seconds": "frame 30"}, "onset_invalid"),
    ({"start_seconds": "three"}, "onset_invalid"),
    ({"time": [3.0, 1.5]}, "offset_invalid"),
    ({"time": "3.0 - 1.5 s"}, "offset_invalid"),
    ({"time": [1.5, "later"]}, "offset_invalid"),
    ({"start": 2, "end": 1}, "offset_invalid"),
    ({"start_frame": 30}, "keys_unread"),
    ({"frame_index": 30}, "keys_unread"),
    ({"duration": 3}, "keys_unread"),
    ({"severity": "high"}, "keys_unread"),
    ({"id": 1}, "keys_unread"),
    ({"region": "the left hand"}, "keys_unread"),
    ({"start": 1, "start_time": 2}, "keys_unread"),
    ({"bbox": [100, 200, 300, 400], "box": [1, 2, 3, 4]}, "keys_unread"),
    ({"category": "weather"}, "category_unknown"),
    ({"category": 7}, "category_unknown"),
    ({"explanation": 7}, "explanation_invalid"),
    ({"explanation": {"text": "bends"}}, "explanation_invalid"),
    ({"explanation": ["bends", 7]}, "explanation_invalid"),
    ({"confidence": "high"}, "confidence_invalid"),
    ({"confidence": 7}, "confidence_invalid"),
]


@pytest.mark.parametrize(("part", "flag"), FLAGGED, ids=str)
def test_a_part_that_cannot_be_read_is_flagged_and_costs_that_part_only(part: dict[str, object], flag: str) -> None:
    whole = {"category": "Object Distortion", **part}
    others = {
        name: value for name, value in (("explanation", "the arm bends"), ("start_seconds", 1.5))
        if not any(word in key for key in part for word in ("start", "time", "end", name))
    }  # fmt: skip
    verdict = parse(_json(**whole, **others), "json", PER_MILLE)
    assert isinstance(verdict, Verdict)
    assert flag in verdict.flags
    [trace] = verdict.traces
    for name, value in others.items():
        assert getattr(trace, {"start_seconds": "onset_seconds"}.get(name, name)) == value
    alone = parse(_json(**part), "json", PER_MILLE)
    assert isinstance(alone, Verdict)
    assert alone.flags


UNREAD = [
    ('{"label": "FAKE", "note": "see the hand"}', "keys_unread"),
    ('{"label": "FAKE", "traces": [{"note": "see the hand"}]}', "keys_unread"),
    ('{"label": "FAKE", "traces": [{"foo": 1}]}', "trace_empty"),
    ('{"label": "FAKE", "traces": [{}, 7]}', "keys_unread"),
    ('{"label": "FAKE", "traces": [{"explanation": " "}]}', "trace_empty"),
    ('{"label": "FAKE", "analysis": {"hands": "bad"}}', "keys_unread"),
    ('{"label": "FAKE"} The hand has six fingers.', "text_unread"),
    ('The hand has six fingers. {"label": "FAKE"}', "text_unread"),
    ("FAKE. The hand has six fingers.", "text_unread"),
    ("FAKE. The hand is odd. The unnatural part is at [1, 2, 30, 40] starting 1.0 seconds.", "text_unread"),
    ("FAKE. The unnatural part is at [1, 2, 30, 40] starting 1.0 seconds. It has six fingers.", "text_unread"),
    ("FAKE <coordinates>[1, 2, 30, 40]</coordinates> It has six fingers.", "text_unread"),
    ("FAKE <coordinates>[1, 2, 30, 40]</coordinates> <place>the hand</place>", "text_unread"),
    ("FAKE\nBox: [1, 2, 30, 40]\nThe hand has six fingers.", "text_unread"),
    ("FAKE. The unnatural part is at [1, 2, 30, 40] starting at frame 30.", "onset_invalid"),
    ("FAKE. The unnatural part is at [1, 2, 30, 40] starting soon.", "onset_invalid"),
    ("FAKE. The unnatural part is at [1, 2, 30] starting 1.0 seconds.", "bbox_invalid"),
    ("FAKE. The unnatural part is at [1, 2, 30, 40] from 3 to 1 seconds.", "offset_invalid"),
]


@pytest.mark.parametrize(("text", "flag"), UNREAD)
def test_words_and_keys_that_became_no_field_are_flagged(text: str, flag: str) -> None:
    verdict = parse(text, "trained", PER_MILLE)
    assert isinstance(verdict, Verdict)
    assert verdict.label == "fake"
    assert flag in verdict.flags


def test_boxes_with_y_first_are_a_property_of_the_space() -> None:
    space = Space("per-mille-yx")
    text = '{"label": "FAKE", "traces": [{"box": [200, 100, 400, 300]}]}'
    verdict = parse(text, "json", space)
    assert isinstance(verdict, Verdict)
    assert (verdict.traces, verdict.flags) == ((Trace(BOX),), ())
    assert render(verdict, "json", space) == text
    named = '{"label": "FAKE", "traces": [{"box": {"x0": 100, "y0": 200, "x1": 300, "y1": 400}}]}'
    assert parse(named, "json", space).traces == (Trace(BOX),)  # type: ignore[union-attr]
    asked = question("zero-shot", space)
    assert "[y0, x0, y1, x1]" in asked
    assert "[x0" not in asked
    assert Space.from_json(space.to_json()) == space == Space.of("per-mille-yx", 1280, 720)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1:30", 90.0), ("1m30s", 90.0), ("2 min", 120.0), ("250 ms", 0.25), ("1:00:00", 3600.0), ("1.5-3", None),
     ("frame 30", None), ("1.2.3", None), ("3 fingers", None), ("-1", None), ("", None), ("soon", None)],
)  # fmt: skip
def test_a_time_alone_is_seconds(text: str, seconds: float | None) -> None:
    assert read_seconds(text) == seconds
