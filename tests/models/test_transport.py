"""How a video travels, against a server process that decodes what it gets: frames, sizes and times arrive as meant."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pytest

from deeptrace.chat import ChatStopped, Prices, Timeouts
from deeptrace.errors import ModelError
from deeptrace.models import Sampling, load, registry
from deeptrace.models.base import Look, Transport
from deeptrace.models.openai import OpenAIModel
from deeptrace.models.transport import mp4, send
from deeptrace.models.two_pass import TwoPass
from deeptrace.records import Failed, Frames, Origin, Outcome, Verdict
from deeptrace.video import iter_frames, sample_frames, write_video
from tests.decoding_server import DecodingServer
from tests.test_cli import deeptrace

TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
Make = Callable[..., OpenAIModel]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with DecodingServer() as url:
        yield url


@pytest.fixture
def make(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setenv("DEEPTRACE_API_KEY", "k-test-key")
    made: list[OpenAIModel] = []

    def model(transport: Transport, *, url: str = address, **options: Any) -> OpenAIModel:
        options.setdefault("timeouts", Timeouts(connect=2, read=20, attempt=20, total=20, max_attempts=1))
        options.setdefault("sampling", Sampling(fps=4.0, short_side=96))
        made.append(OpenAIModel("m", base_url=url, transport=transport, **options))
        return made[-1]

    yield model
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of 192 x 130 at 12 a second, dark until 2.0 s, bright from there on."""
    path = tmp_path_factory.mktemp("clip") / "turns bright.mp4"
    images = np.full((48, 130, 192, 3), 40, np.uint8)
    images[24:] = 220
    write_video(path, Frames.from_array(images, 12.0))
    return path


def seen(outcome: Outcome) -> list[dict[str, Any]]:
    """What the server says that it saw."""
    assert isinstance(outcome, Verdict), outcome
    assert outcome.text is not None
    found: list[dict[str, Any]] = json.loads(outcome.text)["seen"]
    return found


def facts(outcome: Outcome) -> Mapping[str, Any]:
    assert outcome.origin.sampling is not None
    return outcome.origin.sampling


@pytest.mark.parametrize(
    ("transport", "parts", "kind", "frames", "hw"),
    [
        ("images", 16, "image/jpeg", 1, [96, 142]),
        ("video", 1, "video/mp4", 16, [96, 142]),
        ("video-frames", 1, "video/jpeg", 16, [96, 142]),
        ("video-in-image", 1, "video/mp4", 16, [96, 142]),
        ("file", 1, "video/mp4", 48, [130, 192]),
    ],
)
def test_frames_arrive_as_meant(  # noqa: PLR0917
    transport: Transport, parts: int, kind: str, frames: int, hw: list[int], make: Make, clip: Path
) -> None:
    [outcome] = make(transport).inspect([clip])
    shown = seen(outcome)
    assert [(one["kind"], one["frames"], one["hw"]) for one in shown] == [(kind, frames, hw)] * parts
    expected = "image_url" if transport in ("images", "video-in-image") else "video_url"
    assert {one["part"] for one in shown} == {expected}
    assert facts(outcome)["transport"] == transport
    if transport != "file":
        assert facts(outcome)["frames_sent"] == 16
        assert facts(outcome)["frame_hw"] == hw


@pytest.mark.parametrize("transport", ["video", "video-in-image", "file"])
def test_the_server_s_clock_is_the_video_s(transport: Transport, make: Make, clip: Path) -> None:
    """The server says when the picture turns bright by the times that it decodes."""
    [outcome] = make(transport).inspect([clip])
    assert isinstance(outcome, Verdict)
    [trace] = outcome.traces
    assert trace.onset_seconds == pytest.approx(2.0, abs=1 / 12 + 1e-6)
    times = seen(outcome)[0]["times"]
    assert np.diff(times) == pytest.approx(np.full(len(times) - 1, 1 / 12 if transport == "file" else 0.25), abs=2e-3)


def test_frames_between_pictures_keep_the_mean_rate(tmp_path: Path) -> None:
    """Two a second of 25: steps of 0.48 and 0.52 s are sent as 0.5, which is what servers count by."""
    path = tmp_path / "25.mp4"
    write_video(path, Frames.from_array(np.zeros((100, 64, 64, 3), np.uint8), 25.0))
    frames = sample_frames(path, fps=2.0)
    assert len(set(np.diff(frames.pts_seconds).round(3))) > 1
    data, fps = mp4(frames)
    assert fps == pytest.approx(2.0, abs=0.02)
    with iter_frames(data) as stream:
        times = np.concatenate([part.pts_seconds for part in stream])
    assert len(times) == len(frames)
    assert np.abs(times - frames.pts_seconds).max() < 0.03


def test_what_travels_holds_nothing_of_the_file(clip: Path, tmp_path: Path) -> None:
    """Neither a name nor metadata; the file itself travels only where that was asked for."""
    named = tmp_path / "somebody at home.mp4"
    with av.open(str(clip)) as source, av.open(str(named), "w") as target:
        target.metadata.update({"title": "somebody at home", "location": "+52.5200+013.4050/"})
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    frames = sample_frames(named, fps=4.0)
    origin = Origin(path=str(named), sha256=hashlib.sha256(named.read_bytes()).hexdigest())
    for transport in TRANSPORTS:
        urls = [part[part["type"]]["url"] for part in send(frames, origin, transport).parts]
        pieces = [piece for url in urls for piece in url.partition(";base64,")[2].split(",")]
        travels = b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
        assert (b"somebody at home" in travels) is (transport == "file")
        assert not any("somebody" in url for url in urls)


@pytest.mark.parametrize(
    ("ending", "kind"), [("mp4", "mp4"), ("MOV", "quicktime"), ("mkv", "x-matroska"), ("ts", "mp4"), ("webm", "webm")]
)
def test_a_file_is_named_by_its_ending_on_every_system(clip: Path, tmp_path: Path, ending: str, kind: str) -> None:
    path = tmp_path / f"clip.{ending}"
    path.write_bytes(clip.read_bytes())
    sent = send(sample_frames(clip, fps=1.0), Origin(path=str(path)), "file")
    assert sent.facts["media_type"] == f"video/{kind}"


@pytest.mark.parametrize("transport", ["video", "video-in-image", "video-frames"])
def test_the_size_in_the_row_is_the_size_that_arrives(transport: Transport, make: Make) -> None:
    """H.264 takes even sides; JPEG takes any."""
    [outcome] = make(transport).inspect([Frames.from_array(np.zeros((8, 65, 91, 3), np.uint8), 4.0)])
    assert [one["hw"] for one in seen(outcome)] == [facts(outcome)["frame_hw"]]


def test_an_informed_question_lists_the_times_of_a_video(make: Make, clip: Path) -> None:
    [outcome] = make("video").inspect([clip])
    assert isinstance(outcome, Verdict)
    words = json.loads(outcome.text or "")["words"]
    assert "0.0, 0.2" in " ".join(words) or "0.00, 0.25" in " ".join(words)


def test_too_large_a_video_is_not_sent(make: Make, clip: Path) -> None:
    for transport in ("video", "video-frames", "file"):
        [outcome] = make(transport, max_media_bytes=100).inspect([clip])
        assert isinstance(outcome, Failed)
        assert outcome.code == "TRANSPORT"
        assert "100" in outcome.reason
        assert transport in outcome.reason


def test_a_server_that_takes_no_such_part_is_not_asked_another_way(make: Make, clip: Path) -> None:
    with DecodingServer("--refuse", "video_url") as url:
        [outcome] = make("video", url=url).inspect([clip])
        assert isinstance(outcome, Failed)
        assert outcome.code == "BAD_REQUEST"
        assert "asked by transport 'video'" in outcome.reason
        [other] = make("images", url=url).inspect([clip])
        assert isinstance(other, Verdict)


def test_nowhere_to_code_a_video_is_said(make: Make, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    [outcome] = make("video").inspect([clip])
    assert isinstance(outcome, Failed)
    assert outcome.code == "TRANSPORT"
    assert "No space left on device" in outcome.reason
    [other] = make("images").inspect([clip])
    assert isinstance(other, Verdict)


def test_a_file_needs_a_file(make: Make, clip: Path) -> None:
    frames = Frames.from_array(np.zeros((8, 64, 64, 3), np.uint8), 8.0)
    for video in (frames, clip.read_bytes()):
        [outcome] = make("file").inspect([video])
        assert isinstance(outcome, Failed)
        assert "lies in a file" in outcome.reason
    changed = Origin(path=str(clip), sha256="0" * 64)
    with pytest.raises(ModelError, match="has changed since it was read"):
        send(frames, changed, "file")


def test_a_closer_look_needs_times_in_words(make: Make, clip: Path) -> None:
    """Of a part of a video a server counts from 0; an informed question says when its frames were."""
    informed = TwoPass(make("video"), window_seconds=1.0)
    [outcome] = informed.inspect([clip])
    second = facts(outcome)["second_look"]
    assert second["status"] == "verdict"
    assert second["sampling"]["frames_sent"] > 8
    bare = TwoPass(make("video", question="zero-shot"), window_seconds=1.0)
    [outcome] = bare.inspect([clip])
    assert isinstance(outcome, Verdict)
    assert "count times from 0" in (facts(outcome)["second_look"] or {}).get("reason", "")
    with pytest.raises(ModelError, match="'file' sends the whole video at each"):
        TwoPass(make("file"))
    model = make("file")
    for start in (0.0, 1.5):
        [outcome] = model.look_iter([Look(clip, model.sampling, start, start + 1.0)])
        assert isinstance(outcome, Failed)
        assert "a part of it is to be looked at" in outcome.reason


def test_a_closer_look_at_the_beginning(make: Make, tmp_path: Path) -> None:
    """Bright from 0.25 s on: the window begins with the video, and a server counts right."""
    path = tmp_path / "early.mp4"
    images = np.full((48, 66, 96, 3), 220, np.uint8)
    images[:3] = 40
    write_video(path, Frames.from_array(images, 12.0))
    [outcome] = TwoPass(make("video", question="json"), window_seconds=1.0).inspect([path])
    assert facts(outcome)["second_look"]["status"] == "verdict"
    images[:10] = 40  # bright from 0.83 s on: the window begins a third of a second late
    write_video(path, Frames.from_array(images, 12.0))
    [outcome] = TwoPass(make("video", question="json"), window_seconds=1.0).inspect([path])
    assert "count times from 0" in facts(outcome)["second_look"]["reason"]
    assert isinstance(outcome, Verdict)
    assert outcome.traces[0].onset_seconds == pytest.approx(0.83, abs=0.25)


def test_frames_that_come_unevenly_need_times_in_words(make: Make, tmp_path: Path) -> None:
    """A picture that stands still for six seconds is one frame; by the mean rate the bright one would come at 5.3 s."""
    times = np.concatenate([np.arange(9) * 0.25, 8 + np.arange(9) * 0.25])
    images = np.full((18, 66, 96, 3), 40, np.uint8)
    images[9:] = 220
    path = tmp_path / "stands still.mp4"
    write_video(path, Frames(images, times, (66, 96), 10.25))
    for transport in ("video", "video-frames", "video-in-image"):
        [outcome] = make(transport, question="json").inspect([path])
        assert isinstance(outcome, Failed)
        assert "count times from 0, evenly" in outcome.reason
        [outcome] = make(transport, question="informed-json").inspect([path])
        assert isinstance(outcome, Verdict)
        assert "8.0" in " ".join(json.loads(outcome.text or "")["words"])
    [outcome] = make("file", question="json").inspect([path])
    assert isinstance(outcome, Verdict)
    assert outcome.traces[0].onset_seconds == pytest.approx(8.0, abs=0.01)


def test_options_that_do_not_fit(make: Make) -> None:
    with pytest.raises(ModelError, match="transport: 'pigeon' is not one of images, video"):
        make("pigeon")
    with pytest.raises(ModelError, match="detail: goes with pictures; 'video' sends none"):
        make("video", detail="low")
    with pytest.raises(ModelError, match="not known what the frames are resized to"):
        make("file", space="resized")


def test_answers_by_another_transport_do_not_count(make: Make) -> None:
    assert make("images").settings != make("video").settings


def test_a_video_counts_more_than_a_picture_before_it_is_paid(make: Make, clip: Path) -> None:
    prices = Prices(1.0, 1.0, media_tokens=10, video_tokens=10_000_000)
    [outcome] = make("images", prices=prices, max_cost=1.0).inspect([clip])
    assert isinstance(outcome, Verdict)
    with pytest.raises(ChatStopped, match="the next request can cost 10"):
        make("video", prices=prices, max_cost=1.0).inspect([clip])


def test_the_registry_and_the_command_line_choose(
    address: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = (
        '[mine]\ntitle = "Mine"\nhome = "openai:m"\nsampling = { fps = 4.0 }\nspace = "per-mille"\nlicence = "MIT"\n'
        'question = "informed-json"\ntransport = "video-frames"\n'
    )
    path = tmp_path / "models.toml"
    path.write_text(entry)
    monkeypatch.setenv("DEEPTRACE_API_KEY", "k-test-key")
    with registry.using(path):
        model = load("mine", base_url=address)
        [outcome] = model.inspect([clip])
    assert isinstance(model, OpenAIModel)
    model.close()
    assert facts(outcome)["transport"] == "video-frames"
    arguments = ["--registry", str(path), "inspect", str(clip), "--model", "mine", "--base-url", address, "--json"]
    for more, expected in (([], "video-frames"), (["--transport", "video"], "video")):
        run = deeptrace(*arguments, *more, DEEPTRACE_API_KEY="k-test-key")
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout)["sampling"]["transport"] == expected
    with pytest.raises(ModelError, match="transport: goes with a home that begins with openai:"):
        registry.parse(entry.replace("openai:m", "hf:m"))
