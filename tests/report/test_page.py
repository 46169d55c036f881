"""The page: what it says, and that no text in it can become anything else than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import pytest

from deeptrace.characters import visible
from deeptrace.errors import FileError
from deeptrace.pages import html, media, report
from deeptrace.pages.report import ReportItem, ReportWriter, sentence, write_report
from deeptrace.pages.sentences import STATUSES, conclusion_words, count_words, distinct_names, doubt, status_of
from deeptrace.records import Failed, Frames, Highlight, Origin, Outcome, Trace, Unparsed, Verdict
from deeptrace.video import write_video
from tests.report.clips import MOVING_BOX, STILL_BOX, fake, grey_clip, origin
from tests.report.payloads import PAYLOADS

XHTML = "{http://www.w3.org/1999/xhtml}"


def parse(page: str) -> Any:
    return html5lib.parse(page, namespaceHTMLElements=True)


def text_of(root: Any) -> str:
    parts = []
    for element in root.iter():
        name = str(element.tag).removeprefix(XHTML)
        if name not in ("script", "style"):
            parts.append(element.text or "")
        parts.append(element.tail or "")
    return " ".join(" ".join(parts).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with one clip of every kind."""
    clip = grey_clip(1.0)
    items = [
        ReportItem(grey_clip(), fake(STILL_BOX, MOVING_BOX)),
        ReportItem(clip, Verdict("real", True, 0.48, origin=origin("bad (1).MP4", partial=True))),
        ReportItem(clip, Unparsed("two labels", "REAL or FAKE", origin("déjà vu.mov"))),
        ReportItem(
            "/nowhere/lost.mp4", Failed("NOT_FOUND", "cannot read 'lost.mp4': no such file", origin("lost.mp4"))
        ),
        ReportItem("/nowhere/other.mp4", Verdict("real", False, 0.1, origin=Origin(path="/nowhere/other.mp4"))),
    ]
    done: list[tuple[int, int]] = []
    folder = tmp_path_factory.mktemp("run") / "out"
    page = write_report(items, folder, command="deeptrace inspect *.mp4", progress=lambda k, n: done.append((k, n)))
    assert page == folder / "index.html"
    assert done == [(k, 5) for k in range(1, 6)]
    return folder


@pytest.mark.parametrize(
    "of_a_clip",
    [
        lambda k: {"crops": k, "sampled_fps": 8.0 - k / 10},
        lambda k: {"frame_hw": [96, 100 + k], "media_type": f"video/{k}"},
        lambda k: {
            "resized_hw": [96, 100 + k],
            "grid_thw": [k, 2, 2],
            "no_p_fake": f"{k}",
            "label_token_p_fake": k / 9,
        },
        lambda k: {"second_look": {"window_seconds": [k, k + 1], "text": f"REAL {k}"}},
    ],
)
def test_what_differs_from_clip_to_clip_is_no_setting(tmp_path: Path, of_a_clip: Any) -> None:
    """How many crops or bytes a clip took says nothing of how the run was made."""
    assert sampling_shown(tmp_path, of_a_clip) == "Sampling 8 frames per second "


def test_how_often_a_model_was_asked_is_a_setting_and_its_votes_are_not(tmp_path: Path) -> None:
    shown = sampling_shown(
        tmp_path, lambda k: {"samples": {"samples": 5, "temperature": 0.7, "seed": 0, "fake": k, "real": 5 - k}}
    )
    assert shown == "Sampling 8 frames per second, samples 5, temperature 0.7, seed 0 "


def sampling_shown(folder: Path, of_a_clip: Any) -> str:
    """What the page of three clips says of how they were sampled."""
    items = [
        ReportItem(
            f"/nowhere/{k}.mp4",
            Verdict("real", False, 0.1, origin=Origin(path=f"/nowhere/{k}.mp4", sampling={"fps": 8.0, **of_a_clip(k)})),
        )
        for k in range(3)
    ]
    text = text_of(parse(write_report(items, folder / "out", command="x").read_text(encoding="utf-8")))
    return text[text.index("Sampling") : text.index("Versions")]


def test_files(run: Path) -> None:
    endings = {".mp4", ".jpg", ".thumb.jpg", ".json"}
    names = {path.name for path in (run / "media").iterdir()}
    by_clip: dict[str, set[str]] = {}
    for name in names:
        slug, ending = re.fullmatch(r"(.+)-[0-9a-f]{12}(\..+)", name).groups()  # type: ignore[union-attr]
        by_clip.setdefault(slug, set()).add(ending)
    # A copy with boxes only for what has a trace.
    assert by_clip == {"clip": endings | {".overlay.mp4"}, "bad-1": endings, "deja-vu": endings}
    assert sorted(path.name for path in run.iterdir()) == ["index.html", "media"]


def test_links_are_relative_and_lead_somewhere(run: Path) -> None:
    root = parse((run / "index.html").read_text(encoding="utf-8"))
    targets = [element.get(name) for element in root.iter() for name in ("href", "src", "poster") if element.get(name)]
    ids = {element.get("id") for element in root.iter()}
    for element in root.iter():
        if element.get("type") == "application/json":
            targets += re.findall(r'"(media/[^"]+)"', element.text)
    assert len(targets) > 10
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in ids
        else:
            assert target.startswith("media/")
            assert (run / target).is_file()


def data_of(page: str) -> list[dict[str, Any]]:
    """Each clip as the script reads it: its row and its detail."""
    texts = {e.get("id"): e.text for e in parse(page).iter(f"{XHTML}script") if e.get("type") == "application/json"}
    rows = json.loads(texts["data"])["clips"]
    details = [detail for k in range((len(rows) + 49) // 50) for detail in json.loads(texts[f"details-{k}"])]
    return [{**row, "detail": detail} for row, detail in zip(rows, details, strict=True)]


def test_what_it_says(run: Path) -> None:
    text = text_of(parse((run / "index.html").read_text(encoding="utf-8")))
    for said in (
        "Clips 5 Fake 1 Uncertain 1 Real 1 Unparsed 1 Failed 1",  # they add up
        "Of the uncertain ones, 0 lean fake and 1 leans real.",
        "1 clip could be read only in part.",
        "Looks fake: from 1.0 s to 2.0 s, a square vanishes. And 1 more trace.",
        "Wrong if it goes behind something there, or a cut falls on that moment.",
        "Leans real, but the evidence supports neither answer.",
        "UNCERTAIN (leans real) 0.48",
        "two labels",
        "NOT_FOUND",
        "no such file",
        "FAKE 0.87",
        "8 frames per second, at most 64 frames",
        "deeptrace inspect *.mp4",
        "other.mp4",
    ):
        assert said in text, said
    assert "/nowhere" not in text  # folders are not for the page
    page = (run / "index.html").read_text(encoding="utf-8")
    first, second, third, *_ = (clip["detail"] for clip in data_of(page))
    assert ["SHA-256", "ab" * 32] in first["about"]
    assert ["P(fake) before calibration", "0.90"] in first["about"]
    assert first["flags"] == ["confidence-dropped"]
    assert second["partial"].startswith("20 of 30 frames could be read")
    assert third["text"] == "REAL or FAKE"


def test_thresholds_and_prior_are_said_once(tmp_path: Path) -> None:
    sure = replace(fake(STILL_BOX), thresholds=(0.3, 0.7), prior=0.01)
    page = write_report([ReportItem(grey_clip(0.2), sure)] * 3, tmp_path).read_text()
    assert page.count("fake from P(fake) 0.70 on, real below 0.30") == 1
    assert page.count("supposing that 1 % of the clips are fake") == 1


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.mp4", "b/x.mp4", "a/y.mp4"], ["a/x.mp4", "b/x.mp4", "y.mp4"]),
        (["r/a/k/x.mp4", "r/b/k/x.mp4"], ["a/k/x.mp4", "b/k/x.mp4"]),
        (["x.mp4", "a/x.mp4"], ["x.mp4", "a/x.mp4"]),
        (["a/x.mp4", "a/x.mp4"], ["x.mp4", "x.mp4"]),
        ([""], [""]),
    ],
)
def test_two_files_of_one_name_keep_as_many_folders_as_tell_them_apart(paths: list[str], names: list[str]) -> None:
    assert distinct_names(paths) == names


def test_the_policy_allows_exactly_its_own_style_and_script(run: Path) -> None:
    root = parse((run / "index.html").read_text(encoding="utf-8"))
    policy = next(e.get("content") for e in root.iter(f"{XHTML}meta") if e.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy

    def hashed(element: Any) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()}'"

    styles = list(root.iter(f"{XHTML}style"))
    scripts = [e for e in root.iter(f"{XHTML}script") if e.get("type") != "application/json"]
    assert [hashed(style) for style in styles] == [rules["style-src"]]
    assert [hashed(script) for script in scripts] == [rules["script-src"]]
    assert not [e for e in root.iter() for name in e.keys() if name == "style" or name.startswith("on")]  # noqa: SIM118


def test_the_script_s_data(run: Path) -> None:
    clip, *_ = data_of((run / "index.html").read_text(encoding="utf-8"))
    detail = clip["detail"]
    assert (clip["size"], detail["count"]) == ([160, 120], 30)
    assert detail["times"] == pytest.approx(10)
    assert detail["duration"] == pytest.approx(3.0)
    assert detail["traces"][0]["box"] == [0.25, 0.25, 0.5, 0.75]
    assert [trace["lane"] for trace in detail["traces"]] == [0, 1]


# ── text stays text ─────────────────────────────────────────────────────────────────────────────────────────────


def outcomes(text: str) -> list[Outcome]:
    made = Origin(
        video_id=text,
        path=f"folder/{text}/{text.replace('/', '_')}",
        sha256=text,
        model=text,
        revision=text,
        question=text,
        sampling={"fps": text, text: text},
        frames_declared=9,
        frames_decoded=8,
        partial=True,
    )
    trace = Trace((0.1, 0.1, 0.2, 0.2), 1.0, 2.0, ("Object Merging",), text, None, 0.5)
    verdict = Verdict(
        "fake", True, 0.7, 0.6, text, 0.5, 0.4, traces=(trace, trace), flags=(text, text), text=text, origin=made
    )
    return [verdict, replace(verdict, label="real"), Unparsed(text, text, made), Failed(text, text, made)]


def page_of(texts: Sequence[str]) -> str:
    shown = media.Media("x", "media/x.mp4", "media/x.overlay.mp4", "media/x.jpg", "media/x.thumb.jpg", 16, 9)
    shown = replace(shown, pts_seconds=(0.0, 1.0), duration_seconds=2.0)
    items = [ReportItem(b"", outcome) for text in texts for outcome in outcomes(text)]
    clips = []
    for number, (item, name) in enumerate(zip(items, report._clip_names(items), strict=True), 1):
        outcome = item.outcome
        traces = outcome.traces if isinstance(outcome, Verdict) else ()
        written = media.Media(error=outcome.reason) if isinstance(outcome, Failed) else shown
        clips.append(report._Clip(number, name, outcome, written, traces, tuple(range(len(traces)))))
    return report._page(clips, texts[0], texts[0])


def skeleton(page: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every element with its attributes' names, and the values of those that can act."""
    acting = ("href", "src", "poster", "type", "id", "class", "http-equiv", "data-filter", "role")
    return [
        (str(e.tag), sorted((name, value if name in acting else "") for name, value in e.attrib.items()))
        for e in parse(page).iter()
    ]


def test_there_are_enough_payloads() -> None:
    assert len(set(PAYLOADS)) >= 120


@pytest.mark.parametrize("part", range(4))
def test_no_text_becomes_markup(part: int) -> None:
    payloads = PAYLOADS[part::4]
    hostile, benign = page_of(payloads), page_of([f"word {k}" for k in range(len(payloads))])
    assert skeleton(hostile) == skeleton(benign)
    hostile.encode("utf-8")  # a lone surrogate would raise
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ufeff]", hostile)


def test_payloads_can_be_read_as_text() -> None:
    page = page_of(["<script>window.__xss=1</script>", "a\u202eb \udce9"])
    assert data_of(page)[0]["detail"]["text"] == "<script>window.__xss=1</script>"
    assert data_of(page)[-1]["detail"]["reason"] == "a[U+202E]b \\xe9"
    text = text_of(parse(page))
    assert "<script>window.__xss=1</script>" in text
    assert "a[U+202E]b \\xe9" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\tc", "a\nb\tc"),
        ("\x00\x1b\x7f\x85", "\u2400\u241b\u2421[U+0085]"),
        ("caf\udce9 \ud800", "caf\\xe9 [U+D800]"),
        ("\u202e\u2028\ufeff\U000e0041", "[U+202E][U+2028][U+FEFF][U+E0041]"),
        ("日本 👩‍🚀 سلام می‌خواهم", "日本 👩‍🚀 سلام می‌خواهم"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_json_cannot_close_its_element() -> None:
    text = "</script><!-- & \u2028 \ud800"
    coded = html.json_for_script({"a": text})
    assert not set("<>&\u2028") & set(coded)
    assert json.loads(coded) == {"a": text}
    with pytest.raises(ValueError, match="JSON compliant"):
        html.json_for_script(float("nan"))


@pytest.mark.parametrize("style", ["</style>", "<!--", "a\r\nb"])
def test_a_style_that_would_end_itself_is_refused(style: str) -> None:
    with pytest.raises(ValueError, match="must not hold"):
        html.render("base.html.j2", style=style)


def test_long_texts_are_cut() -> None:
    long = fake(replace(STILL_BOX, explanation="long " * 10_000), *[MOVING_BOX] * 200)
    page = page_of(["x"])
    shown = media.Media("x", "media/x.mp4", None, "media/x.jpg", "media/x.thumb.jpg", pts_seconds=(0.0,))
    huge = replace(long, text="word " * 2_000_000, flags=("flag",) * 1000)
    clip = report._Clip(1, "n" * 5000, huge, shown, huge.traces[:60], (0,) * 60)
    cut = report._page([clip], "t", None)
    assert len(cut) < len(page) + 250_000
    assert "more characters" in cut
    assert "Only the first 60 are shown." in cut


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            Verdict("fake", traces=(Trace((0, 0.4, 0.2, 0.6), 2, 4, None, "A red ball vanishes."),)),
            "Looks fake: from 2.0 s to 4.0 s, a red ball vanishes.",
        ),
        (
            Verdict("fake", traces=(Trace(categories=("Sudden Blurring",)),)),
            "Looks fake: a part of the picture loses definition abruptly.",
        ),
        (Verdict("fake", traces=(Trace(),)), "Looks fake."),
        (Verdict("fake"), "Looks fake; no trace was pointed out."),
        (Verdict("fake", p_generated=0.8), "Looks fake: the clip as a whole looks generated."),
        (
            Verdict("fake", p_generated=0.8, highlights=(Highlight(2.0, 3.5, (0.4, 0.4, 0.6, 0.6)),)),
            "Looks fake: the clip as a whole looks generated, most from 2.0 s to 3.5 s, at the centre.",
        ),
        (Verdict("fake", True), "Leans fake, but the evidence supports neither answer; no trace was pointed out."),
        (Verdict("real"), "Looks real: no fake trace found."),
        (Verdict("real", True), "Leans real, but the evidence supports neither answer."),
        (Verdict("real", traces=(STILL_BOX,)), "Called real, although 1 trace of fakery came with the answer."),
        (Unparsed("x", "y"), "The model answered, but its answer could not be understood."),
        (Failed("NOT_A_VIDEO", "x"), "Not inspected: the video could not be read."),
        (Failed("MODEL_ERROR", "x"), "Not inspected: the model could not be run."),
    ],
)
def test_sentence(outcome: Outcome, expected: str) -> None:
    assert sentence(outcome) == expected


@pytest.mark.parametrize(
    ("explanation", "expected"),
    [
        ("USB stick melts.", "USB stick melts"),
        ("A  hand\nmelts...", "a hand melts"),
        ("First. " + "more " * 60, "first"),
        ("x" * 500, "x" * 180 + "…"),
        ("É", "É"),
    ],
)
def test_the_reason_at_the_end_of_the_sentence(explanation: str, expected: str) -> None:
    assert sentence(fake(Trace(explanation=explanation))) == f"Looks fake: {expected}."


def test_the_outcomes_add_up() -> None:
    outcomes_ = [
        Verdict("fake"), Verdict("fake", True), Verdict("real", True), Verdict("real"), Unparsed("x", "y"),
        Failed("NOT_FOUND", "x"), Verdict("fake", origin=Origin(partial=True)),
    ]  # fmt: skip
    assert sum(status_of(outcome) == status for outcome in outcomes_ for status in STATUSES) == len(outcomes_)
    assert count_words(outcomes_) == (
        "7 videos: 2 fake, 2 uncertain, 1 real, 1 unparsed, 1 failed; 1 read only in part"
    )
    assert [conclusion_words(outcome) for outcome in outcomes_[:4]] == [
        "fake", "uncertain (leans fake)", "uncertain (leans real)", "real",
    ]  # fmt: skip
    assert all(doubt(outcome).endswith(".") == isinstance(outcome, Verdict) for outcome in outcomes_)


# ── trouble ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clip_that_cannot_be_written_does_not_stop_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileError("the disk is full <b>")

    monkeypatch.setattr(media.overlay, "write_jpeg", refuse)
    page = write_report([ReportItem(grey_clip(0.5), fake(STILL_BOX))] * 2, tmp_path)
    assert "the disk is full &lt;b&gt;" in page.read_text()
    assert "Looks fake: from 1.0 s" in page.read_text()
    assert list((tmp_path / "media").iterdir()) == []


def judged(path: Path, images: Any, label: Any = "fake") -> ReportItem:
    """A clip in a file, and a verdict on exactly these bytes."""
    write_video(path, Frames.from_array(images, 10))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return ReportItem(path, Verdict(label, p_fake=0.9, origin=Origin(path=str(path), sha256=sha256)))


def test_the_page_shows_the_clip_that_was_judged(tmp_path: Path) -> None:
    images = grey_clip(0.5).images
    first, second = judged(tmp_path / "a.mp4", images), judged(tmp_path / "b.mp4", images)
    write_video(tmp_path / "b.mp4", Frames.from_array(255 - images, 10))  # replaced after its row came
    with ReportWriter(tmp_path / "out") as writer:
        for item in (first, second):
            writer.add(item)
        list(writer.wait())
        page = writer.write_page(sweep=True).read_text()
        assert writer.changed == ["b.mp4"]
    kept, lost = data_of(page)
    assert kept["detail"]["video"].startswith("media/a-")
    assert "video" not in lost["detail"]
    assert lost["changed"] is True
    assert "not the one that was judged" in lost["detail"]["picture"]
    assert "1 clip is not shown" in text_of(parse(page))
    assert [path.name for path in (tmp_path / "out" / "media").iterdir() if path.name.startswith("b")] == []


def test_old_clips_go_and_nobody_else_s_files_do(tmp_path: Path) -> None:
    images = grey_clip(0.5).images
    out = tmp_path / "out"
    (out / "media").mkdir(parents=True)
    others = {"holiday.mp4": b"mine", "holiday.json": b'{"mine": 1}', "notes.json": b"[]", "x.json": b"\xff"}
    for name, content in others.items():
        (out / "media" / name).write_bytes(content)
    write_report([judged(tmp_path / "a.mp4", images)], out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "media").glob("a-*")}
    assert len(before) == 4
    write_report([judged(tmp_path / "b.mp4", images), judged(tmp_path / "a.mp4", images)], out)
    # The same bytes and verdict: not written again.
    assert {path.name: path.stat().st_mtime_ns for path in (out / "media").glob("a-*")} == before
    write_report([judged(tmp_path / "b.mp4", images)], out)
    assert list((out / "media").glob("a-*")) == []
    assert len(list((out / "media").glob("b-*"))) == 4
    assert {name: (out / "media" / name).read_bytes() for name in others} == others


def test_a_half_written_clip_is_written_again(tmp_path: Path) -> None:
    item = judged(tmp_path / "a.mp4", grey_clip(0.5).images)
    write_report([item], tmp_path / "out")
    [copy] = (tmp_path / "out" / "media").glob("a-*[0-9a-f].mp4")
    whole = copy.stat().st_size
    for spoil in (copy.unlink, lambda: copy.with_suffix(".json").write_text('{"schema": "deeptrace.media"}')):
        spoil()
        write_report([item], tmp_path / "out")
        assert copy.stat().st_size == whole


def test_a_page_before_all_pictures_are_there(tmp_path: Path) -> None:
    with ReportWriter(tmp_path) as writer:
        writer.add(judged(tmp_path / "a.mp4", grey_clip(0.5).images))
        for _ in range(50):
            writer.add(ReportItem(grey_clip(2.0), fake(STILL_BOX)))
        page = writer.write_page().read_text()
    assert len(data_of(page)) == 51
    assert "the same command goes on" in data_of(page)[50]["detail"]["picture"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder 'out/media'"):
        write_report([], tmp_path / "file" / "out")


def test_no_clips(tmp_path: Path) -> None:
    assert "This run holds no clips." in write_report([], tmp_path / "deep" / "er").read_text()


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    items = [ReportItem(grey_clip(0.5), fake(STILL_BOX))]
    pages = [write_report(items, tmp_path / name).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_large_clips_are_shrunk_and_the_page_says_so(tmp_path: Path) -> None:
    big = grey_clip(0.3, (810, 1440))
    [clip] = data_of(write_report([ReportItem(big, fake(STILL_BOX))], tmp_path).read_text())
    assert clip["detail"]["note"] == "Shown at 1280×720; the original is 1440×810. A copy without sound."


def test_names_of_files(tmp_path: Path) -> None:
    names = ["", "../../etc/passwd", "CON", "a" * 300, "日本", "-rf", "x\ny", "\udcff"]
    clip = Frames.from_array(grey_clip(0.2).images, 10)
    items = [ReportItem(clip, Verdict("real", origin=Origin(path=name))) for name in names]
    write_report(items, tmp_path / "run")
    written = [path.name for path in (tmp_path / "run" / "media").glob("*.mp4")]
    assert len(written) == len(names)
    assert all(re.fullmatch(r"\d{3}-[a-z0-9-]{1,40}\.mp4", name) for name in written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


# ── colours ─────────────────────────────────────────────────────────────────────────────────────────────────────


def luminance(colour: str) -> float:
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast(theme: int) -> None:
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", html.asset("report.css"))
    colours = {name: values[theme] for name, *values in pairs}
    for text in ("ink", "soft", "link"):
        for ground in ("page", "card", "sunk"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for name in ("fake", "real", "warn"):
        assert contrast(colours[name], colours[f"{name}-bg"]) >= 4.5, name
        assert contrast(colours["ink"], colours[f"{name}-bg"]) >= 4.5, name
        assert contrast(colours[name], colours["page"]) >= 3
