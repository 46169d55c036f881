"""Models behind an endpoint, against a real server on 127.0.0.1: what is sent, what comes back, what goes wrong."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deeptrace.answer import QUESTIONS
from deeptrace.chat import ChatStopped, Prices, Timeouts
from deeptrace.cli.inspect.command import settings_of
from deeptrace.errors import AnswerError, ModelError
from deeptrace.models import Model, Sampling, load
from deeptrace.models.consensus import Consensus
from deeptrace.models.openai import OpenAIModel, label_logprobs
from deeptrace.models.two_pass import SECOND_LOOK_DISAGREES, TwoPass
from deeptrace.records import Failed, Frames, Outcome, Score, Unparsed, Verdict
from deeptrace.rows import outcome_from_row, outcome_to_row
from deeptrace.video import write_video
from tests.clips import make_clip
from tests.fault_server import FaultServer, Handler, completion, html, ok, reset, send_json, status

Make = Callable[..., OpenAIModel]

REAL = '{"label": "REAL", "fake_probability": 0.1, "traces": []}'
FAKE = '{"label": "FAKE", "fake_probability": 0.9, "traces": [{"box": [250, 250, 500, 500], "start_seconds": 1.0}]}'


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(default=ok(REAL)) as running:
        yield running


@pytest.fixture
def make(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Models at the server, closed at the end; waits are short."""
    monkeypatch.setenv("DEEPTRACE_API_KEY", "k-test-key")
    made: list[OpenAIModel] = []

    def model(name: str = "m", **options: Any) -> OpenAIModel:
        options.setdefault("timeouts", Timeouts(connect=2, read=2, attempt=5, total=20, max_attempts=1))
        made.append(OpenAIModel(name, base_url=server.url, **options))
        return made[-1]

    yield model
    for each in made:
        each.close()


def clip(seconds: float = 2.0, brightness: int = 40, hw: tuple[int, int] = (48, 64)) -> Frames:
    return Frames.from_array(np.full((int(8 * seconds), *hw, 3), brightness, np.uint8), 8)


def pictures(request: Any) -> list[np.ndarray]:
    """The pictures in a request, decoded."""
    urls = [part["image_url"]["url"] for part in request["messages"][0]["content"] if part["type"] == "image_url"]
    data = [base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) for url in urls]
    return [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in data]


def words(request: Any) -> list[str]:
    return [part["text"] for part in request["messages"][0]["content"] if part["type"] == "text"]


def until_stopped(outcomes: Iterator[Outcome]) -> tuple[list[Outcome], ChatStopped]:
    """The outcomes that came, and what ended the run."""
    said: list[Outcome] = []
    try:
        for outcome in outcomes:
            said.append(outcome)
    except ChatStopped as error:
        return said, error
    pytest.fail("the run was not stopped")


# ── what is sent ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_informed_question_has_a_time_beside_each_frame(server: FaultServer, make: Make) -> None:
    frames = Frames.from_array(np.full((16, 96, 128, 3), (200, 30, 30), np.uint8), 8)
    model = make(sampling=Sampling(fps=2.0, short_side=48), detail="low")
    assert isinstance(model, Model)
    [said] = model.inspect([frames])
    request = server.requests[0].json
    shown = pictures(request)
    assert [picture.shape for picture in shown] == [(48, 64, 3)] * 4
    blue, _, red = shown[0][20, 20].tolist()
    assert (abs(red - 200) < 8, abs(blue - 30) < 8) == (True, True)  # OpenCV reads BGR
    *times, question = words(request)
    assert times == ["0.0 s:", "0.5 s:", "1.0 s:", "1.5 s:"]
    assert question.startswith(
        "The video is 128 x 96 pixels and 2.0 seconds long. You see 4 of its frames, each with its"
    )
    assert "thousandths" in question
    assert request["messages"][0]["content"][1]["image_url"]["detail"] == "low"
    assert (request["max_tokens"], request["temperature"], request["logprobs"]) == (1024, 0, True)
    assert isinstance(said, Verdict)
    origin = said.origin
    assert (origin.model, origin.revision) == ("openai:m", "model-2026-01-01")
    assert origin.question == QUESTIONS["informed-json-with-probability"]
    assert origin.sampling is not None
    sent = {key: origin.sampling[key] for key in ("frames_sent", "frame_hw", "times_beside_frames", "detail", "space")}
    assert sent == {
        "frames_sent": 4,
        "frame_hw": [48, 64],
        "times_beside_frames": True,
        "detail": "low",
        "space": {"kind": "per-mille", "width": None, "height": None},
    }
    assert (origin.sampling["prompt_tokens"], origin.sampling["answer_tokens"]) == (10, 5)
    assert outcome_from_row(outcome_to_row(said)) == said


def test_the_papers_question_is_put_as_it_is(server: FaultServer, make: Make) -> None:
    server.default = ok("FAKE <coordinates>[16, 12, 32, 24]</coordinates> <start_time>1</start_time>")
    [said] = make(question="zero-shot").inspect([clip()])
    assert words(server.requests[0].json) == [QUESTIONS["zero-shot"]]
    assert isinstance(said, Verdict)
    assert said.traces[0].bbox_xyxy == (0.25, 0.25, 0.5, 0.5)  # pixels of the video
    make(question="trained").inspect([clip()])
    content = server.requests[1].json["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url"] * 4 + ["text"]
    assert "<video>" not in content[-1]["text"]


def test_coordinates_may_be_those_of_the_frames_sent(server: FaultServer, make: Make) -> None:
    server.default = ok('{"label": "FAKE", "traces": [{"box": [8, 6, 16, 12]}]}')
    model = make(space="resized", sampling=Sampling(fps=2.0, short_side=24))
    [said] = model.inspect([clip(hw=(96, 128))])
    assert "x from 0 to 32 and y from 0 to 24" in words(server.requests[0].json)[-1]
    assert isinstance(said, Verdict)
    assert said.traces[0].bbox_xyxy == (0.25, 0.25, 0.5, 0.5)


def test_parameters_take_the_place_of_ours(server: FaultServer, make: Make) -> None:
    make(params={"temperature": None, "max_tokens": None, "max_completion_tokens": 99}).inspect([clip()])
    make("gpt-5.1").inspect([clip()])
    first, reasoning = (seen.json for seen in server.requests)
    assert first["max_completion_tokens"] == 99
    assert not {"temperature", "max_tokens"} & set(first)
    assert reasoning["max_completion_tokens"] == 8192
    assert not {"temperature", "max_tokens", "logprobs"} & set(reasoning)


def test_options_that_make_no_sense(server: FaultServer) -> None:
    with pytest.raises(AnswerError, match="'haiku' is not an answer format"):
        OpenAIModel("m", question="haiku", base_url=server.url)
    with pytest.raises(ModelError, match="space: 'percent' is not one of"):
        OpenAIModel("m", space="percent", base_url=server.url)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="openai:m: base_url must be like"):
        load("openai:m", base_url="ftp://x")
    with pytest.raises(ModelError, match="needs the name"):
        load("openai:")


def test_the_key_is_shown_nowhere(server: FaultServer, make: Make, caplog: Any) -> None:
    server.default = status(400, "k-test-key is not allowed to do this")
    model = make()
    [said] = model.inspect([clip()])
    assert server.requests[0].headers["authorization"] == "Bearer k-test-key"
    assert "k-test-key" not in repr(said) + repr(model) + caplog.text


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (status(429), ("Failed", "RATE_LIMITED")),
        (status(503), ("Failed", "OVERLOADED")),
        (status(400), ("Failed", "BAD_REQUEST")),
        (status(404), ("Failed", "NOT_FOUND")),
        (status(413), ("Failed", "CONTEXT_TOO_LONG")),
        (html(), ("Failed", "HTML_REPLY")),
        (reset(), ("Failed", "CONNECTION_LOST")),
        (ok(""), ("Failed", "EMPTY")),
        (ok(FAKE, finish="content_filter"), ("Failed", "CONTENT_FILTER")),
        (ok(FAKE, finish="length"), ("Unparsed", "the answer was cut off at the limit of its length")),
        (ok(None, refusal="I cannot help with that."), ("Unparsed", "the model refused to answer")),
        (ok("I'm sorry, I can't assist with that."), ("Unparsed", "no verdict in it")),
        (ok('{"label": "REAL or FAKE"}'), ("Unparsed", "it repeats the options and chooses none")),
    ],
)
def test_one_bad_answer_costs_one_video(server: FaultServer, make: Make, step: Any, expected: tuple[str, str]) -> None:
    server.default = lambda handler, body: (step if b"5.0 seconds" in body else ok(FAKE))(handler, body)
    before, bad, after = make(sampling=Sampling(fps=0.5)).inspect([clip(), clip(5.0), clip()])
    assert isinstance(before, Verdict)
    assert isinstance(after, Verdict)
    kind = (type(bad).__name__, bad.code if isinstance(bad, Failed) else getattr(bad, "reason", ""))
    assert kind == expected
    assert bad.origin.sampling is not None
    assert bad.origin.sampling["frames_sent"] == 3


def test_an_unreadable_video_asks_nothing(server: FaultServer, make: Make, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    write_video(tmp_path / "clip.mp4", clip())
    failed, said = make().inspect([broken, tmp_path / "clip.mp4"])
    assert isinstance(failed, Failed)
    assert failed.code == "NOT_A_VIDEO"
    assert isinstance(said, Verdict)
    assert (said.origin.video_id, said.origin.frames_declared) == ("clip", 16)
    assert len(server.requests) == 1


def test_no_key_ends_the_run_behind_what_was_answered(server: FaultServer, make: Make) -> None:
    server.default = lambda handler, body: (status(401) if b"5.0 seconds" in body else ok(FAKE))(handler, body)
    said, stopped = until_stopped(make(concurrency=1).inspect_iter([clip(), clip(), clip(5.0), clip()]))
    assert stopped.code == "AUTH"
    assert [type(outcome) for outcome in said] == [Verdict, Verdict]


def test_money_is_counted_and_bounded(server: FaultServer, make: Make) -> None:
    model = make(prices=Prices(1e6, 1e6), concurrency=1)  # 1 a token: 10 in, 5 out
    model.inspect([clip(), clip()])
    assert (model.spent.requests, model.spent.cost) == (2, 30.0)
    said, stopped = until_stopped(make(max_requests=1, concurrency=1).inspect_iter([clip(), clip()]))
    assert (len(said), stopped.code) == (1, "MAX_REQUESTS")


def test_answers_are_kept_on_disk(server: FaultServer, make: Make, tmp_path: Path) -> None:
    first = make(cache_dir=tmp_path).inspect([clip()])
    assert make(cache_dir=tmp_path).inspect([clip()]) == first
    assert len(server.requests) == 1
    make(cache_dir=tmp_path).inspect([clip(brightness=80)])  # other frames, another question
    assert len(server.requests) == 2


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


class Busy:
    """Answers after a moment and remembers how many were under way at once."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.now, self.most, self.seconds = 0, 0, seconds
        self._lock = threading.Lock()

    def __call__(self, handler: Handler, body: bytes) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self._lock:
            self.now -= 1
        brightness = 100 + round(pictures_brightness(body))
        send_json(completion(f'{{"label": "FAKE", "traces": [{{"start_seconds": {brightness}}}]}}'))(handler, body)


def pictures_brightness(body: bytes) -> float:
    return float(pictures(json.loads(body))[0].mean())


def onsets(outcomes: list[Outcome]) -> list[int]:
    return [round((o.traces[0].onset_seconds or 0) - 100) for o in outcomes if isinstance(o, Verdict)]


def test_several_videos_at_once_in_order(server: FaultServer, make: Make) -> None:
    busy = Busy()
    server.default = busy
    model = make(concurrency=4, sampling=Sampling(fps=1.0))
    levels = list(range(0, 120, 10))
    assert onsets(model.inspect([clip(1, level) for level in levels])) == levels
    assert 1 < busy.most <= 4


def test_many_threads_may_ask_one_model(server: FaultServer, make: Make) -> None:
    busy = Busy(0.02)
    server.default = busy
    model = make(concurrency=3, sampling=Sampling(fps=1.0))
    with ThreadPoolExecutor(5) as pool:
        runs = list(pool.map(lambda k: onsets(model.inspect([clip(1, k * 10 + i) for i in range(4)])), range(5)))
    assert runs == [[k * 10 + i for i in range(4)] for k in range(5)]
    assert busy.most <= 3


# ── probabilities ───────────────────────────────────────────────────────────────────────────────────────────────────


def ranked(*tokens: tuple[str, dict[str, float]]) -> Any:
    return completion("".join(token for token, _ in tokens), tokens=list(tokens))["choices"][0]["logprobs"]


@pytest.mark.parametrize(
    ("tokens", "p_fake"),
    [
        ([("FAKE", {"FAKE": math.log(0.6), "REAL": math.log(0.2)})], 0.75),
        ([("F", {"F": math.log(0.6), "RE": math.log(0.15), "R": math.log(0.05)}), ("AKE", {})], 0.75),
        ([(" REAL", {" REAL": math.log(0.3), " FAKE": math.log(0.1)}), (".", {})], 0.25),
        ([('```json\n{"label', {}), ('": "', {}), ("REAL", {"REAL": math.log(0.9), "FAKE": math.log(0.1)})], 0.1),
        ([('{"label":', {}), (' "FA', {' "FA': math.log(0.5), ' "REAL': math.log(0.5)}), ('KE"}', {})], 0.5),
        ([("<think>REAL?", {}), ("</think>", {}), ("FAKE", {"FAKE": math.log(0.8), "REAL": math.log(0.2)})], 0.8),
        # REAL is not ranked: it has at most what the last one has.
        ([("FAKE", {"FAKE": math.log(0.9), "Fake": math.log(0.06), "The": math.log(0.04)})], 0.96),
        ([("The", {"The": 0.0}), (" video is real", {})], None),
        ([("FAKE", {})], None),
        ([("FAKE", {"Maybe": -0.1})], None),
    ],
)  # fmt: skip
def test_the_labels_first_token(tokens: list[tuple[str, dict[str, float]]], p_fake: float | None) -> None:
    logprobs = ranked(*tokens)
    if p_fake is None:  # the token that was written has no probability of its own either
        for entry in logprobs["content"]:
            entry["logprob"] = None
    found = label_logprobs(logprobs)
    assert (None if found is None else found.p_fake) == (None if p_fake is None else pytest.approx(p_fake))


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": [1, {"token": None}]}, [], "x"])
def test_log_probabilities_that_are_none(logprobs: Any) -> None:
    assert label_logprobs(logprobs) is None


def test_the_tokens_probability_comes_before_the_stated_one(server: FaultServer, make: Make) -> None:
    tokens = [('{"label": "', {}), ("FAKE", {"FAKE": math.log(0.75), "REAL": math.log(0.25)})]
    server.default = send_json(completion(FAKE, tokens=tokens))
    [said] = make().inspect([clip()])
    assert isinstance(said, Verdict)
    assert said.p_fake == pytest.approx(0.75)
    assert said.origin.sampling is not None
    assert said.origin.sampling["p_fake_from"] == "label token"
    server.default = ok(FAKE)
    [stated] = make().inspect([clip()])
    assert isinstance(stated, Verdict)
    assert (stated.p_fake, (stated.origin.sampling or {})["p_fake_from"]) == (0.9, "stated")


def test_a_score_takes_a_few_tokens(server: FaultServer, make: Make) -> None:
    tokens = [("FAKE", {"FAKE": math.log(0.6), "REAL": math.log(0.2)})]
    server.default = send_json(completion("FAKE. The video", finish="length", tokens=tokens))
    [score] = make(question="trained").score([clip()])
    assert isinstance(score, Score)
    assert score.p_fake == pytest.approx(0.75)
    assert [seen.json["max_tokens"] for seen in server.requests] == [16]


def test_without_log_probabilities_the_whole_answer_is_asked_for(
    server: FaultServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(handler: Handler, body: bytes) -> None:
        (status(400, "logprobs are not supported") if b"logprobs" in body else ok(FAKE))(handler, body)

    server.default = refuses
    model = make(concurrency=1)
    assert model.score([clip(), clip()]) == [Score(0.9, 0.9)] * 2
    asked = [("logprobs" in seen.json, seen.json["max_tokens"]) for seen in server.requests]
    # Once with them; without them the few tokens say nothing; from then on whole answers.
    assert asked == [(True, 16), (False, 16), (False, 1024), (False, 1024)]
    assert caplog.text.count("without log-probabilities from now on") == 1
    [failed] = make(logprobs=True).score([clip()])
    assert isinstance(failed, Failed)
    assert failed.code == "BAD_REQUEST"
    server.default = ok("REAL")
    [unparsed] = make(question="zero-shot", logprobs=False).score([clip()])
    assert isinstance(unparsed, Unparsed)
    assert unparsed.reason == "the answer holds no probability"


# ── two looks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def looks(second: str) -> Callable[[Handler, bytes], None]:
    """Says that something begins at 3 s; of pictures with a short side of 96 pixels it says ``second``."""

    def step(handler: Handler, body: bytes) -> None:
        close = min(pictures(json.loads(body))[0].shape[:2]) == 96
        ok(second if close else FAKE.replace("1.0}", "3.0}"))(handler, body)

    return step


def two_pass(model: OpenAIModel) -> TwoPass:
    return TwoPass(model, window_seconds=1.0)


COARSE = Sampling(fps=1.0, max_frames=10, short_side=48)


def test_the_second_look_sees_the_moment_closely(server: FaultServer, make: Make) -> None:
    server.default = looks(
        '{"label": "FAKE", "fake_probability": 0.99, "traces": [{"box": [100, 100, 200, 200], "start_seconds": 3.2}]}'
    )
    model = two_pass(make(sampling=COARSE))
    assert isinstance(model, Model)
    [said] = model.inspect([clip(6.0, hw=(192, 256))])
    coarse, close = (seen.json for seen in server.requests)
    assert words(coarse)[:-1] == [f"{k}.0 s:" for k in range(6)]
    assert words(close)[:-1] == ["2.5 s:", "2.8 s:", "3.0 s:", "3.2 s:"]
    assert [picture.shape[:2] for picture in pictures(close)] == [(96, 128)] * 4
    assert isinstance(said, Verdict)
    assert (said.label, said.p_fake) == ("fake", 0.9)
    assert [(trace.bbox_xyxy, trace.onset_seconds) for trace in said.traces] == [((0.1, 0.1, 0.2, 0.2), 3.2)]
    assert said.text == FAKE.replace("1.0}", "3.0}")
    assert said.origin.model == "openai:m+two-pass"
    note = (said.origin.sampling or {})["second_look"]
    assert note["window_seconds"] == [2.5, 3.5]
    assert (note["status"], note["p_fake"], note["sampling"]["frame_hw"]) == ("verdict", 0.99, [96, 128])
    assert outcome_from_row(outcome_to_row(said)) == said


@pytest.mark.parametrize(
    ("second", "flags", "status_of_it"),
    [(REAL, (SECOND_LOOK_DISAGREES,), "verdict"), ("Hm.", (), "unparsed"), ("", (), "failed")],
)
def test_a_second_look_that_finds_nothing_keeps_the_first(
    server: FaultServer, make: Make, second: str, flags: tuple[str, ...], status_of_it: str
) -> None:
    server.default = looks(second)
    [said] = two_pass(make(sampling=COARSE)).inspect([clip(6.0, hw=(192, 256))])
    assert isinstance(said, Verdict)
    assert (said.label, said.traces[0].onset_seconds, said.flags) == ("fake", 3.0, flags)
    assert (said.origin.sampling or {})["second_look"]["status"] == status_of_it


def test_nothing_to_look_at_again(server: FaultServer, make: Make) -> None:
    server.play(ok(REAL), ok('{"label": "FAKE"}'), ok("True"), status(404))
    model = two_pass(make(sampling=COARSE, concurrency=1))
    said = model.inspect([clip()] * 4)
    assert [type(outcome) for outcome in said] == [Verdict, Verdict, Unparsed, Failed]
    assert all((outcome.origin.sampling or {})["second_look"] is None for outcome in said)
    assert len(server.requests) == 4
    assert model.spent.requests == 4


def test_out_of_money_between_two_looks(server: FaultServer, make: Make) -> None:
    server.default = looks(FAKE)
    model = two_pass(make(sampling=COARSE, max_requests=3, concurrency=1))
    said, stopped = until_stopped(model.inspect_iter([clip(6.0, hw=(192, 256))] * 3))
    assert stopped.code == "MAX_REQUESTS"
    assert len(said) == 1
    assert (said[0].origin.sampling or {})["second_look"]["status"] == "verdict"


def test_a_window_is_longer_than_nothing(make: Make) -> None:
    with pytest.raises(ModelError, match="window_seconds"):
        TwoPass(make(), window_seconds=0.0)


# ── several answers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_drawn_answer_is_a_request_of_its_own_with_a_seed(server: FaultServer, make: Make) -> None:
    server.play(ok(FAKE), ok(FAKE), ok(REAL))
    model = Consensus(make(concurrency=1), 3, temperature=0.8)
    [said] = model.inspect([clip()])
    assert isinstance(said, Verdict)
    assert (said.label, said.p_fake) == ("fake", pytest.approx(3 / 5))
    requests = [request.json for request in server.requests]
    assert {request["temperature"] for request in requests} == {0.8}
    assert len({request["seed"] for request in requests}) == 3
    assert [pictures(request)[0].tolist() for request in requests[1:]] == [pictures(requests[0])[0].tolist()] * 2
    assert said.origin.sampling is not None
    assert said.origin.sampling["samples"]["spread"][0]["support"] == 2
    assert outcome_from_row(outcome_to_row(said)) == said


def test_a_temperature_that_is_not_sent_is_not_said(server: FaultServer, make: Make) -> None:
    server.default = ok(REAL)
    for model in (make("gpt-5", concurrency=1), make(params={"temperature": None}, concurrency=1)):
        drawn = Consensus(model, 2, temperature=0.8)
        [said] = drawn.inspect([clip()])
        assert "temperature" not in server.requests[-1].json
        assert "seed" in server.requests[-1].json
        assert said.origin.sampling is not None
        assert said.origin.sampling["samples"]["temperature"] is None
        assert drawn.settings["temperature"] is None


def test_two_videos_of_one_name_do_not_share_their_seeds(server: FaultServer, make: Make, tmp_path: Path) -> None:
    server.default = ok(REAL)
    for folder, images in (("one", None), ("two", [np.full((64, 96, 3), 90, np.uint8)] * 24)):
        (tmp_path / folder).mkdir()
        make_clip(tmp_path / folder / "clip.mp4", images=images)
    videos = [tmp_path / "one" / "clip.mp4", tmp_path / "two" / "clip.mp4", clip(), clip(brightness=90), clip()]
    Consensus(make(concurrency=1), 2).inspect(videos)
    seeds = [tuple(request.json["seed"] for request in server.requests[at : at + 2]) for at in range(0, 10, 2)]
    assert len(set(seeds)) == 4
    assert seeds[2] == seeds[4]


def test_answers_in_other_coordinates_do_not_count(make: Make) -> None:
    one, other = (settings_of(make(space=space), "openai:m", {}) for space in ("source", "resized"))
    assert {name for name in one if one[name] != other[name]} == {"space_kind"}
    near, far = (settings_of(TwoPass(make(), window_seconds=seconds), "openai:m", {}) for seconds in (1.0, 2.0))
    assert near != far
