"""The report of runs: what stands on the page and in Markdown, that nothing of it is markup, and that it fits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import html5lib
import pytest
from click.testing import CliRunner, Result

from deeptrace.bench.report.charts import radar, reliability
from deeptrace.bench.report.confusion import confusion
from deeptrace.bench.score.drops import platform_drops
from deeptrace.cli import cli
from deeptrace.data import Records, write_records
from deeptrace.records import Annotation, Failed, Origin, Outcome, Record, Trace, Unparsed, Verdict, VideoInfo
from deeptrace.rows import outcome_to_row
from tests.bench.payloads import MARKUP
from tests.browser import chromium


def _run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False, catch_exceptions=False)


@pytest.fixture(scope="module")
def runs(squares: Records, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    _run("bench", "run", squares.root, "--model", "motion", "--out", root / "motion")
    _run("bench", "run", squares.root, "--model", f"scripted:{answers}", "--out", root / "scripted")
    return root


@pytest.fixture(scope="module")
def report(runs: Path, squares: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    few = ("--replicates", 50, "--permutations", 20)
    done = _run("bench", "report", runs / "motion", runs / "scripted", squares.root, "--out", out, "--cases", 2, *few)
    assert done.return_value == 0
    return out


def test_yours_stand_beside_the_blind_and_the_published_rows(report: Path) -> None:
    page, text = (report / "index.html").read_text(), (report / "report.md").read_text()
    for document in (page, text):
        for row in ("motion", "scripted", "blind", "always FAKE", "whole frame", "GPT 4.1 (published)"):
            assert row in document
        assert document.index("blind") < document.index("GPT 4.1 (published)")
        for head in ("videos", "unparsed", "failed", "missing"):
            assert head in document
        assert document.count("Geometry probe: ") == 1  # in the conclusion
        assert "Container probe" in document
    assert text.index("blind") < text.index("## In short") < text.index("## The paper's protocol")  # words come first
    assert page.index("<h2>Conclusion") < page.index("<h2>Balanced accuracy")


def test_the_counts_are_those_of_the_answers(report: Path) -> None:
    scores = json.loads((report / "scores.json").read_text())
    [motion, scripted] = scores["runs"]
    assert (scripted["counts"]["unparsed"], scripted["counts"]["failed"]) == (1, 1)
    assert motion["counts"]["failed"] == 1
    assert motion["incomplete"]
    assert scripted["incomplete"]
    page = (report / "index.html").read_text()
    assert "16 videos: 14 verdicts, 1 unparsed, 1 failed, 0 missing" in page
    assert page.count("incomplete, not ranked") == 2


def test_no_text_becomes_markup(report: Path) -> None:
    page = (report / "index.html").read_text()
    parser = html5lib.HTMLParser(strict=False, namespaceHTMLElements=False)
    tree = parser.parse(page)
    assert parser.errors == []
    scripts = tree.findall(".//script")
    assert len(scripts) == 2  # the data and ours
    assert tree.findall(".//*[@onerror]") == []
    assert "\u202e" not in page
    assert "<script>alert" not in (report / "report.md").read_text()
    assert "<img" not in (report / "report.md").read_text()


def test_the_gallery_shows_both_sides_at_one_moment(report: Path) -> None:
    page = (report / "index.html").read_text()
    shown = re.findall(r'<img src="(media/[^"]+)"', page)
    assert len(shown) == len(set(shown)) >= 6
    for name in shown:
        picture = cv2.imread(str(report / name))
        assert picture is not None
        height, width = picture.shape[:2]
        assert width == pytest.approx(2 * height * 160 / 120 + 6, abs=4)
    for kind in ("best", "worst", "missed", "false alarm"):
        assert f">{kind}</span>" in page


def test_markdown_tables_are_whole(report: Path) -> None:
    lines = (report / "report.md").read_text().splitlines()
    widths: set[int] = set()
    for line in lines:
        if line.startswith("|"):
            widths.add(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(widths) <= 1
            widths = set()


def test_a_report_without_videos_and_probes_says_so(runs: Path, squares: Records, tmp_path: Path) -> None:
    few = ("--replicates", 10, "--permutations", 0, "--cases", 0, "--no-probes")
    _run("bench", "report", runs / "scripted", squares.root, "--out", tmp_path, *few)
    page = (tmp_path / "index.html").read_text()
    assert "probes were not run: --no-probes was given" in page
    assert "Best and worst" not in page
    assert list((tmp_path / "media").iterdir()) == []


def test_rows_without_a_dated_name_belong_to_their_run(squares: Records, tmp_path: Path) -> None:
    from deeptrace.bench.report import gather
    from deeptrace.bench.score.runs import dataset_of, read_runs
    from deeptrace.records import Origin
    from deeptrace.rows import outcome_to_row

    dataset = dataset_of(squares, "test")
    paths = []
    for folder in ("a", "b"):
        rows = []
        for i, record in enumerate(dataset.records):
            made = Origin(record.video_id, model="m", revision=None if i % 4 == 0 else "m-2026-01-01")
            rows.append(outcome_to_row(Failed("EMPTY", "x", made) if i % 4 == 0 else Verdict("fake", origin=made)))
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(tmp_path / folder)
    runs = read_runs(paths, dataset)
    found = gather(paths, runs, dataset)
    assert [len(outcomes) for outcomes in found] == [16] * len(runs) == [16, 16]


def test_confusion_counts_every_video_once() -> None:
    records = [Record(f"v{i}", None, "fake" if i < 4 else "real", source="G" if i < 4 else None) for i in range(6)]
    outcomes = {"v0": Verdict("fake"), "v1": Verdict("real"), "v2": Unparsed("x", "x"), "v4": Failed("EMPTY", "x")}
    fakes, reals = confusion(records, outcomes)
    assert (fakes.source, fakes.videos, fakes.right) == ("G", 4, 1)
    assert fakes.counts == {"fake": 1, "real": 1, "unparsed": 1, "missing": 1}
    assert (reals.source, reals.counts) == ("unknown", {"failed": 1, "missing": 1})


def test_a_radar_by_hand() -> None:
    """Four axes, radius 10, values up to 0.5: the outer ring is 0.5, so 0.25 lies half way."""
    drawn = radar(["up", "right", "down", "left"], [("a", [0.5, 0.25, None, 0.0])], radius=10)
    assert drawn.top == 0.5
    [(_, points, dots)] = drawn.series
    assert [float(n) for n in re.split("[ ,]", points)] == [0, -10, 5, 0, 0, 0, 0, 0]
    assert len(dots) == 3


def test_a_reliability_dot_by_hand() -> None:
    rows: list[dict[str, float | None]] = [
        {"n": 0, "mean_p": None, "share_fake": None},
        {"n": 4, "mean_p": 0.25, "share_fake": 0.5},
    ]
    [(x, y, radius, n)] = reliability("m", rows, size=100).dots
    assert (x, y, radius, n) == (25.0, 50.0, 11.0, 4)


def test_a_drop_is_the_difference_on_the_same_videos(squares: Records, tmp_path: Path) -> None:
    """Scripted answers stay the same while a crop and a border move the truth: boxes lose, labels do not."""
    answers = tmp_path / "answers.jsonl"
    rows = []
    for record in squares:
        x0, y0, x1, y1 = record.traces[0].bbox_xyxy or (0, 0, 1, 1) if record.traces else (0, 0, 1, 1)
        box = [round(x0 * 160), round(y0 * 120), round(x1 * 160), round(y1 * 120)]
        fake = f"FAKE. The video is AI-generated. The unnatural part is at {box} starting 0.5 seconds."
        real = "REAL. The video is real. There is no unnatural part."
        rows.append({"video_id": record.video_id, "text": fake if record.label == "fake" else real})
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("bench", "run", squares.root, "--model", f"scripted:{answers}", "--track", "platform")
    _run(*command, "--limit", 6, "--out", tmp_path / "run")
    rungs = {r.name: r for r in platform_drops(tmp_path / "run", list(squares[:6]), "test", replicates=20)}
    assert list(rungs) == ["original", "480p", "twice", "crop", "border", "logo", "speed"]
    assert rungs["original"].drops == {}
    assert rungs["original"].values["bbox_iou"].value == pytest.approx(1.0, abs=0.05)
    for name, rung in rungs.items():
        assert rung.videos == 6
        assert name == "original" or rung.drops["accuracy"].value == 0.0
    for name in ("480p", "twice", "logo"):
        assert rungs[name].drops["bbox_iou"].value == pytest.approx(0.0, abs=1e-9)
    border = rungs["border"]
    assert border.drops["bbox_iou"].value == pytest.approx(
        rungs["original"].values["bbox_iou"].value - border.values["bbox_iou"].value  # type: ignore[operator]
    )
    assert (border.drops["bbox_iou"].value or 0) > 0.1
    assert (rungs["speed"].drops["time_distance"].value or 0) > 0.03  # said 0.5 s, true 0.4 s of 1.6 s


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome


@pytest.mark.browser
def test_in_a_browser_nothing_overflows_and_nothing_is_asked_of_a_network(report: Path, browser: Any) -> None:
    for width, scheme in ((1280, "light"), (420, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto((report / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert said == []
        assert all(url.startswith("file:") for url in asked)
        assert page.locator("#categories svg polygon").count() >= 2
        page.locator("#theme").click()
        page.close()


def _hostile(folder: Path) -> Path:
    """Records and answers whose every text is a payload; the videos are not there."""
    records, rows = [], []
    for i, text in enumerate(MARKUP):
        fake, trace = i % 3 != 2, Trace((0.1, 0.1, 0.4, 0.4), 0.5, 1.5, ("Sudden Blurring",), text)
        annotations = (Annotation((trace,), "fake"),) if fake else ()
        label = "fake" if fake else "real"
        info = VideoInfo(160, 120, 8.0, 16, 2.0)
        records.append(Record(f"{i} {text}", f"v{i}.mp4", label, info, text, "test", annotations=annotations))
        made = Origin(f"{i} {text}", model=f"m {MARKUP[i % 2]}", revision=MARKUP[5])
        said = Trace((0.2, 0.1, 0.5, 0.4), 0.6, 1.4, ("Object Merging",), text)
        outcomes: tuple[Outcome, ...] = (
            Verdict("fake", p_fake=0.7, traces=(said,), text=text, origin=made),
            Verdict("real", p_fake=0.2, text=text, origin=made),
            Unparsed(text, text, made),
            Failed("EMPTY", text, made),
        )
        rows.append(outcome_to_row(outcomes[0 if i % 5 < 2 else i % 4]))
    write_records(folder / "records.jsonl", records)
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.browser
def test_no_payload_runs_loads_or_changes_anything(browser: Any, tmp_path: Path) -> None:
    """120 texts of markup as ids, sources, models, explanations, reasons and the title, in a real browser."""
    assert len(MARKUP) >= 120
    data = _hostile(tmp_path)
    few = ("--replicates", 5, "--permutations", 0, "--cases", 40, "--no-probes", "--title", MARKUP[0])
    _run("bench", "report", data / "verdicts.jsonl", data, "--out", tmp_path / "report", *few)
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto((tmp_path / "report" / "index.html").as_uri())
    page.wait_for_timeout(300)
    assert page.evaluate("window.hits") is None
    assert said == []
    assert asked == [(tmp_path / "report" / "index.html").as_uri()]
    strange = "iframe, object, embed, form, base, link, video, math, marquee, template, input, body img, details"
    assert page.locator(strange).count() == 0
    assert page.locator("script").count() == 2
    handlers = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => "
    handlers += "/^on/i.test(a.name) || /^\\s*javascript:/i.test(a.value)).length"
    assert page.evaluate(handlers) == 0
    shown = page.locator(".case").all_inner_texts()
    assert len(shown) >= 40
    assert any("<script>" in text for text in shown)  # it is there, as text
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    page.close()
    text = (tmp_path / "report" / "report.md").read_text()
    assert not re.search(r"(?<!\\)<(?:script|img|svg|iframe|base|link|style)\b", text)


@pytest.mark.browser
def test_the_columns_of_every_table_fit(report: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto((report / "index.html").as_uri())
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    titles = page.evaluate(f"{wide}.map(e => e.closest('section').querySelector('h2').innerText)")
    page.close()
    assert titles == []
