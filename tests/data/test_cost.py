"""What an input costs grows with its size and no faster, whoever wrote it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeptrace import files
from deeptrace.answer import Space, parse
from deeptrace.data import convert
from deeptrace.data.read import tolerant
from deeptrace.data.read.load import load_records
from deeptrace.errors import DeepTraceError
from deeptrace.records import VideoInfo

SMALL, LARGE = 40_000, 160_000  # bytes
INFOS = {"clip": VideoInfo(1280, 720, fps=25.0, num_frames=600)}


def _fill(before: str, piece: str, after: str) -> Callable[[int], str]:
    return lambda size: before + "".join(piece.replace("#", str(n)) for n in range(size // len(piece))) + after


def _task(results: str) -> tuple[str, str]:
    head = '[{"data": {"video": "clip.mp4", "video_id": "clip"}, "annotations": [{"result": ['
    value = (
        '{"id": "b", "type": "videorectangle", "value": {"framesCount": 600, "duration": 24, "sequence": [' + results
    )
    return head + value, "]}}]}]}]"


def _results(piece: str) -> Callable[[int], str]:
    return _fill('[{"data": {"video": "clip.mp4"}, "annotations": [{"result": [null', piece, "]}]}]")


KEY = ',{"frame": #1, "enabled": false, "x": 1, "y": 1, "width": 9, "height": 9}'
SEQUENCE = _task('{"frame": 1, "x": 1, "y": 1, "width": 9, "height": 9}')
FRAME = '"#1": {"objects": {"f": {"bounding_box": {"top": 1, "left": #, "height": 9, "width": 9}}}},'
LABELBOX = '{"data_row": {"external_id": "clip.mp4"}, "projects": {"p": {"labels": [{"annotations": {'
TRACK = "<annotations><meta><task><size>600</size></task><source>clip.mp4</source></meta><track label='x'>"
BOX = "<box frame='#' keyframe='0' xtl='{0}' ytl='1' xbr='300' ybr='200'/>"


def _zigzag(size: int) -> str:
    """Boxes on which the farthest from the line is always the next one, the worst case of thinning."""
    count = size // 70
    boxes = (BOX.format(100 + (-1) ** n * 90 * (count - n) / count).replace("#", str(n)) for n in range(count))
    return TRACK + "".join(boxes) + "</track></annotations>"


INPUTS: dict[str, tuple[str, Callable[[int], str]]] = {
    "one key many times": ("any.json", _fill("{", '"a":#,', '"a":0}')),
    "one key many times, release": ("all_data.json", _fill('[{"video_id":"v",', '"a":#,', '"a":0}]')),
    "one key many times, lines": ("records.jsonl", _fill('{"schema":"deeptrace.record",', '"a":#,', '"a":0}\n')),
    "open brackets": ("any.json", _fill("", "[", "")),
    "many problems": ("all_data.json", _fill("[0", ',{"video_id":#}', "]")),
    "one video many times, release": ("all_data.json", _fill(
        "[0", ',{"video_id":"v","video_path":"v.mp4","a":#}', "]")),
    "one video many times": ("ls.json", _fill('[{"data":{"video":"clip.mp4"},"annotations":[]}',
                                              ',{"data":{"video":"clip.mp4"},"annotations":[{"result":[]}]}', "]")),
    "many stretches": ("ls.json", _fill(SEQUENCE[0], KEY, SEQUENCE[1])),
    "many labels without a rate": ("ls.json", _results(
        ',{"id":"#","type":"timelinelabels","value":{"ranges":[{"start":1,"end":9}]}}')),
    "many notes": ("ls.json", _results(',{"id":"1","type":"videorectangle","meta":{"text":["#"]},"value":{}}')),
    "many unknown results": ("ls.json", _results(',{"id":"#","type":"brush","value":{"a":1}}')),
    "many ranges": ("lb.ndjson", lambda size: LABELBOX + '"frames": {' + _fill("", FRAME, "")(size // 2).rstrip(",")
                    + '}, "segments": {"f": [' + _fill("", "[#1,#1],", "[1,1]")(size // 2) + "]}}}]}}}\n"),
    "many rows": ("lb.ndjson", _fill("", '{"data_row":{"external_id":"clip.mp4"}}\n', "")),
    "a jagged track": ("a.xml", _zigzag),
    "deep elements": ("a.xml", _fill("<annotations>", "<a>", "")),
    "many attributes": ("a.xml", _fill(TRACK + "<box frame='1' xtl='1' ytl='1' xbr='9' ybr='9'>",
                                       "<attribute name='a#'>1</attribute>", "</box></track></annotations>")),
}  # fmt: skip


def _read(path: Path) -> Any:
    for read in (
        lambda: files.loads(path.read_bytes()),
        lambda: tolerant.loads(path.read_bytes()),
        lambda: convert.read(path, infos=INFOS),
        lambda: load_records(path, infos=INFOS),
    ):
        try:
            read()
        except DeepTraceError:
            continue


def _seconds(path: Path, text: str) -> float:
    path.write_text(text)
    begin = time.process_time()
    _read(path)
    return time.process_time() - begin


@pytest.mark.parametrize("name", INPUTS)
def test_four_times_the_bytes_cost_four_times_the_time(tmp_path: Path, name: str) -> None:
    file, text = INPUTS[name]
    _seconds(tmp_path / file, text(2_000))  # imports
    small, large = [], []
    for _ in range(6):  # other work beside it can make a measurement long, none short: the least of each counts
        small.append(max(_seconds(tmp_path / file, text(SMALL)), 0.02))
        large.append(_seconds(tmp_path / file, text(LARGE)))
        if min(large) < 9 * min(small):  # 16 times, were it the square
            return
    raise AssertionError((small, large))


@pytest.mark.parametrize("piece", ['"a":#,', '"a":#,"b":#,', '{"box":#},', '"label":"FAKE",'])
def test_an_answer_with_one_key_many_times_is_read_at_once(piece: str) -> None:
    text = _fill('{"label": "FAKE", "traces": [', piece, "")(LARGE)
    begin = time.process_time()
    parse(text, "json", Space("per-mille"))
    parse("{" + _fill("", piece, '"label": "FAKE"}')(LARGE), "json", Space("per-mille"))
    assert time.process_time() - begin < 10.0
