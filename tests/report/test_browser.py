"""The page in a real browser, from disk: it plays, its boxes are right in time and place, and nothing else happens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np
import pytest

from deeptrace.pages.report import ReportItem, write_report
from deeptrace.records import Failed, Frames, Highlight, Origin, Trace, Unparsed, Verdict
from tests.browser import chromium
from tests.report.clips import FPS, MOVING_BOX, STILL_BOX, fake, grey_clip, origin
from tests.report.payloads import PAYLOADS
from tests.report.test_page import page_of

pytestmark = pytest.mark.browser

WINDOW: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}}
PORTRAIT = Trace((0.2, 0.4, 0.6, 0.5), None, None, ("Object Distortion",), "The whole time.", None, None)


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uneven = grey_clip(1.0)
    times = np.array([0.0, 0.04, 0.1, 0.11, 0.3, 0.5, 0.52, 0.9, 1.4, 1.5])
    items = [
        ReportItem(grey_clip(), fake(STILL_BOX, MOVING_BOX)),
        ReportItem(grey_clip(1.0, (161, 91)), fake(PORTRAIT, name="portrait.mov")),
        ReportItem(Frames(uneven.images, times, uneven.source_hw), fake(STILL_BOX, name="uneven.mkv")),
        ReportItem(grey_clip(0.5), Verdict("real", True, 0.4, origin=origin("calm.mp4"))),
        ReportItem(grey_clip(0.5), Unparsed("no label", "Who knows?", origin("odd.mp4"))),
        ReportItem("lost.mp4", Failed("NOT_FOUND", "no such file", origin("lost.mp4"))),
    ]
    return write_report(items, tmp_path_factory.mktemp("report"), title="Six clips")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as made:
        made.new_context(**WINDOW)  # of all pages without options of their own: a new one takes longer than the page
        yield made


@pytest.fixture
def page(browser: Any, report_page: Path) -> Iterator[Any]:
    """The report, opened from disk; afterwards: no error, no breach of its policy, no request but of files."""
    yield from opened(browser, report_page)


def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    context = browser.new_context(**WINDOW | options) if options else browser.contexts[0]
    tab = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: said.append("a dialog"))
    tab.on("request", lambda request: asked.append(request.url))
    tab.add_init_script(
        "window.breaches = []; addEventListener('securitypolicyviolation', (e) => breaches.push(e.violatedDirective))"
    )
    tab.goto(path.as_uri())
    yield tab
    assert said == []
    assert tab.evaluate("breaches") == []
    assert tab.evaluate("window.__xss") is None
    assert asked
    assert [url for url in asked if not url.startswith("file:")] == []
    if options:
        context.close()
    else:
        tab.evaluate("try { localStorage.clear(); sessionStorage.clear(); } catch {}")
        tab.close()


def visible_boxes(page: Any, clip: int = 0) -> dict[int, list[float]]:
    """The box of each trace that is shown now, in fractions of the picture, measured on screen."""
    page.locator(".stage").nth(clip).scroll_into_view_if_needed()
    page.wait_for_function("(clip) => document.querySelectorAll('.boxes')[clip].style.width !== ''", arg=clip)
    return {
        int(key): value
        for key, value in page.evaluate(
            """(clip) => {
                const player = document.querySelectorAll(".player")[clip];
                const video = player.querySelector("video");
                const area = video.getBoundingClientRect();
                const scale = Math.min(area.width / video.width, area.height / video.height);
                const width = video.width * scale, height = video.height * scale;
                const left = area.left + (area.width - width) / 2, top = area.top + (area.height - height) / 2;
                const found = {};
                player.querySelectorAll(".box").forEach((box, i) => {
                    const b = box.getBoundingClientRect();
                    if (b.width) found[i] = [(b.left - left) / width, (b.top - top) / height,
                                             (b.right - left) / width, (b.bottom - top) / height];
                });
                return found;
            }""",
            clip,
        ).items()
    }


def expected_boxes(traces: list[Trace], time: float) -> dict[int, Any]:
    return {i: pytest.approx(box, abs=0.012) for i, trace in enumerate(traces) if (box := trace.box_at(time))}


def settle(page: Any, clip: int = 0) -> None:
    page.wait_for_function(
        """(clip) => {
            const video = document.querySelectorAll("video")[clip];
            return video.readyState >= 2 && !video.seeking;
        }""",
        arg=clip,
    )


def test_it_plays_and_the_boxes_follow_the_frames_on_screen(page: Any) -> None:
    seen = page.evaluate(
        """() => new Promise((resolve) => {
            const player = document.querySelector(".player");
            const video = player.querySelector("video");
            const seen = [];
            const note = (_, meta) => {
                seen.push([meta.mediaTime, ...[...player.querySelectorAll(".box")].map((box) => !box.hidden)]);
                video.requestVideoFrameCallback(note);
            };
            video.requestVideoFrameCallback(note);
            video.addEventListener("ended", () => resolve({ seen, state: video.readyState, at: video.currentTime }));
            player.querySelector(".play").click();
        })"""
    )
    assert seen["state"] >= 2
    assert seen["at"] == pytest.approx(3.0, abs=0.11)
    assert len(seen["seen"]) > 5
    for media_time, *shown in seen["seen"]:
        time = round(media_time * FPS) / FPS
        assert shown == [STILL_BOX.box_at(time) is not None, MOVING_BOX.box_at(time) is not None], media_time
    # A busy machine shows fewer frames, each with its own boxes; every frame is looked at in the test below.
    states = {tuple(shown) for _, *shown in seen["seen"]}
    assert len(states) >= 2


def test_every_frame_has_its_boxes_at_their_place(page: Any) -> None:
    slider = page.locator(".track").first
    slider.focus()
    page.keyboard.press("Home")
    settle(page)
    for k in range(30):
        assert visible_boxes(page) == expected_boxes([STILL_BOX, MOVING_BOX], k / FPS), k
        assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(k / FPS)
        page.keyboard.press("ArrowRight")
    settle(page)
    # Fast keys lose no step.
    page.keyboard.press("Home")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    settle(page)
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(0.75)
    # And the picture is that frame: the square moves by one pixel a frame (a canvas may not read a file's pixels, so
    # the screen is asked).
    page.locator(".toggle").first.click()
    # A seek is over before its frame is painted, on a busy machine long before.
    deadline = monotonic() + 20
    while square_on_screen(page) != pytest.approx((7, 17), abs=0.5) and monotonic() < deadline:
        page.wait_for_timeout(100)
    assert square_on_screen(page) == pytest.approx((7, 17), abs=0.5)


def square_on_screen(page: Any) -> tuple[float, float]:
    """Left and right of the bright square in the first player, in pixels of the clip; NaN where none is painted."""
    picture = page.locator("video").first.screenshot()
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    scale = image.shape[1] / 160
    bright = np.nonzero(image[round(25 * scale), :-9] > 200)[0] / scale
    return (float(bright.min()), float(bright.max())) if len(bright) else (math.nan, math.nan)


def test_before_it_plays_the_still_picture_has_its_own_boxes(page: Any) -> None:
    assert page.evaluate("document.querySelector('video').readyState") == 0  # nothing is loaded until wanted
    assert visible_boxes(page) == expected_boxes([STILL_BOX, MOVING_BOX], 1.5)
    assert page.locator(".still-note").first.inner_text() == "still at 1.50 s"


def test_portrait_and_odd_sizes(page: Any) -> None:
    assert visible_boxes(page, 1) == {0: pytest.approx(PORTRAIT.bbox_xyxy, abs=0.02)}


def test_uneven_times(page: Any) -> None:
    page.locator(".player").nth(2).locator(".bar").click()
    settle(page, 2)
    assert page.locator(".player").nth(2).locator(".now").inner_text() == "1.40"  # the first frame after onset 1.0
    assert list(visible_boxes(page, 2)) == [0]
    page.locator(".player").nth(2).locator(".back").click()
    assert page.locator(".player").nth(2).locator(".now").inner_text() == "0.90"
    assert visible_boxes(page, 2) == {}


@pytest.mark.parametrize("way", ["click", "Enter", " ", "words"])
def test_a_bar_of_the_timeline_seeks(page: Any, way: str) -> None:
    bar = page.locator(".bar").nth(1)
    if way == "click":
        bar.click()
    elif way == "words":
        page.locator(".jump").nth(1).click()
    else:
        bar.focus()
        page.keyboard.press(way)
    settle(page)
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(0.55, abs=0.01)
    assert list(visible_boxes(page)) == [1]


def test_the_bars_stand_where_their_times_are(page: Any) -> None:
    lanes = page.locator(".lanes").first.bounding_box()
    for i, (onset, offset) in enumerate(((1.0, 2.0), (0.5, 2.5))):
        bar = page.locator(".bar").nth(i).bounding_box()
        assert (bar["x"] - lanes["x"]) / lanes["width"] == pytest.approx(onset / 3, abs=0.005)
        assert bar["width"] / lanes["width"] == pytest.approx((offset - onset) / 3, abs=0.005)


def test_a_click_on_the_track_seeks(page: Any) -> None:
    track = page.locator(".track").first
    area = track.bounding_box()
    track.click(position={"x": area["width"] * 0.4, "y": area["height"] / 2})
    settle(page)
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(1.25, abs=0.06)


def test_boxes_can_be_hidden(page: Any) -> None:
    button = page.locator(".toggle").first
    button.click()
    assert visible_boxes(page) == {}
    assert button.get_attribute("aria-pressed") == "false"
    page.locator(".stage").first.focus()
    page.keyboard.press("b")
    assert sorted(visible_boxes(page)) == [0, 1]


def test_space_on_the_stage_plays(page: Any) -> None:
    page.locator(".stage").first.focus()
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.2")
    page.keyboard.press(" ")
    assert page.evaluate("document.querySelector('video').paused")


def shown_clips(page: Any) -> list[int]:
    return [
        int(i.removeprefix("clip-"))
        for i in page.evaluate("[...document.querySelectorAll('article')].map((a) => a.id)")
    ]


@pytest.mark.parametrize(
    ("name", "numbers"), [("all", [1, 2, 3, 4, 5, 6]), ("fake", [1, 2, 3]), ("uncertain", [4]), ("failed", [5, 6])]
)
def test_filters(page: Any, name: str, numbers: list[int]) -> None:
    page.locator(f"[data-filter={name}]").click()
    assert shown_clips(page) == numbers
    counted = page.locator(f"[data-filter={name}] .n").inner_text()
    assert int(counted) == len(numbers)


def test_search_and_sort(page: Any) -> None:
    page.locator("#search").fill("SQUARE clip")
    assert shown_clips(page) == [1]
    assert page.locator("#shown").inner_text() == "1 of 6 clips shown"
    page.locator("#search").fill("")
    page.locator("#sort").select_option("real")
    assert shown_clips(page) == [4, 1, 2, 3, 5, 6]  # P(fake) 0.4, 0.87 three times, none twice
    page.locator("#sort").select_option("name")
    assert shown_clips(page) == [4, 1, 6, 5, 2, 3]  # calm, clip, lost, odd, portrait, uneven


def test_a_clip_closes_and_opens_and_has_an_address(browser: Any, report_page: Path) -> None:
    for tab in opened(browser, report_page):
        opener = tab.locator("#clip-1 .opener")
        opener.click()
        assert not tab.locator("#clip-1 .player").is_visible()
        assert opener.get_attribute("aria-expanded") == "false"
        opener.press("Enter")
        assert tab.locator("#clip-1 .player").is_visible()
        tab.locator("[data-filter=failed]").click()
        tab.evaluate("location.hash = '#clip-3'")
        tab.wait_for_function("() => document.querySelector('#clip-3.open')")
        assert shown_clips(tab) == [1, 2, 3, 4, 5, 6]


def test_rows_are_made_when_they_are_seen(browser: Any, tmp_path: Path) -> None:
    verdict = Verdict("fake", p_fake=0.9, traces=(STILL_BOX,), origin=origin("many.mp4"))
    absent = [ReportItem(f"{k}.mp4", replace(verdict, origin=Origin(path=f"{k}.mp4"))) for k in range(2000)]
    path = write_report(absent, tmp_path)
    for tab in opened(browser, path):
        tab.wait_for_function("() => document.querySelector('#clip-1 .row')")
        assert tab.evaluate("document.querySelectorAll('*').length") < 3000
        assert tab.locator(".row").count() <= 100
        tab.evaluate("location.hash = '#clip-1999'")
        tab.wait_for_function("() => document.querySelector('#clip-1999.open')")
        assert tab.locator("#clip-1999 h4").inner_text() == "Object Disappearance"
        assert tab.locator("#clip-1999").is_visible()
        assert tab.locator(".row").count() < 300


def test_parts_that_speak_for_generated(browser: Any, tmp_path: Path) -> None:
    part = Highlight(1.0, 2.0, (0.2, 0.2, 0.6, 0.6))
    whole = Verdict("fake", p_fake=0.9, p_generated=0.9, thresholds=(0.3, 0.7), highlights=(part,))
    for tab in opened(browser, write_report([ReportItem(grey_clip(), whole)], tmp_path)):
        assert tab.locator(".box.part:visible").count() == 1  # the still picture is of 1.0 s
        tab.locator(".parts .jump").click()
        settle(tab)
        assert tab.locator(".now").inner_text() == "1.00"
        assert tab.locator(".gauge-words").inner_text() == "uncertain between 0.30 and 0.70"


def test_light_and_dark(browser: Any, report_page: Path, tmp_path: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        for tab in opened(browser, report_page, color_scheme=scheme):
            for pressed in (False, True):
                picture = tmp_path / f"{scheme}-{pressed}.png"
                # Pictures load late and look the same in both: covered, so that it does not matter when they come.
                tab.screenshot(path=picture, mask=[tab.locator("img, video")], animations="disabled")
                brightness[scheme, pressed] = cv2.imread(str(picture)).mean()
                tab.locator("#theme").click()
    assert brightness["light", False] > brightness["dark", False] + 80
    assert brightness["light", True] == pytest.approx(brightness["dark", False], abs=6)
    assert brightness["dark", True] == pytest.approx(brightness["light", False], abs=6)


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_nothing_is_wider_than_the_window(browser: Any, report_page: Path, width: int) -> None:
    for tab in opened(browser, report_page, viewport={"width": width, "height": 800}):
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_without_script_the_browser_s_own_controls_remain(browser: Any, report_page: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(report_page.as_uri())
    assert tab.locator("video[controls]").count() == 5
    assert tab.locator(".tools:visible, .controls:visible").count() == 0
    assert "from 1.0 s to 2.0 s" in tab.locator("article.plain .sentence").first.inner_text()
    context.close()


def test_hostile_texts_do_nothing(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(page_of(PAYLOADS), encoding="utf-8")
    (tmp_path / "media").mkdir()
    for name in ("x.jpg", "x.thumb.jpg"):
        cv2.imwrite(str(tmp_path / "media" / name), np.zeros((9, 16, 3), np.uint8))
    for tab in opened(browser, path):
        tab.wait_for_timeout(300)
        tab.evaluate("openAll()")  # every row and every panel, built from these texts
        tab.wait_for_timeout(300)
        assert tab.locator("article .panel").count() == 4 * len(PAYLOADS)
        assert tab.url == path.as_uri()
