"""Annotating in a real browser: what is drawn is there again, to the pixel and the frame, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import load_records
from tests.browser import chromium
from tests.explorer.world import FPS, HW, boxes_on_screen, drag, make_dataset, person, run_cli, serving

pytestmark = pytest.mark.browser

PIXEL = 1.5 / HW[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("explorer") / "data")


def saved(page: Any) -> None:
    page.wait_for_selector("#status.good")


def annotate(page: Any) -> None:
    """A box at frame 4, moved at frame 9, gone at frame 14; with a kind and a reason. By keys, but for the boxes."""
    page.locator(".stage").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    drag(page, (0.2, 0.2), (0.5, 0.6))
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    drag(page, (0.35, 0.4), (0.55, 0.5))
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    for key in ("o", "1", "e"):
        page.keyboard.press(key)
    page.keyboard.type("The ball bends.")
    page.keyboard.press("Escape")


def test_what_is_drawn_is_there_again_and_can_be_exported(browser: Any, data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with serving(data, "--work", work) as server, person(browser, server.address, "ann") as page:
        page.goto(f"{server.address}/annotate/video?id=fake-1")
        annotate(page)
        page.keyboard.press("2")
        page.keyboard.press("Control+z")  # the second kind was a slip
        saved(page)
        page.reload()
        page.wait_for_selector(".trace-list li")
        assert page.locator("#onset").inner_text() == "0.40 s"
        assert page.locator("#offset").inner_text() == "1.40 s"
        assert page.locator("#keys").inner_text().split() == ["0.40", "s", "0.90", "s"]
        assert page.locator("#explanation").input_value() == "The ball bends."
        assert page.locator("[name=category]:checked").evaluate_all("(all) => all.map((box) => box.value)") == [
            "Object Distortion"
        ]
        assert boxes_on_screen(page) == [pytest.approx([0.2, 0.2, 0.5, 0.6], abs=PIXEL)]
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        assert page.locator(".now").inner_text() == "0.90"
        assert boxes_on_screen(page) == [pytest.approx([0.4, 0.3, 0.7, 0.7], abs=PIXEL)]
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        assert boxes_on_screen(page) == []  # the offset is the first frame on which it is gone
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("text=Handed in. It stays as it is.")
        page.reload()
        page.wait_for_selector("body.frozen")
    target = tmp_path / "out.jsonl"
    assert run_cli("explore", data, "--work", work, "--export", target).returncode == 0
    (record,) = load_records(target)
    (annotation,) = record.annotations
    (trace,) = annotation.traces
    assert (record.video_id, annotation.annotator, annotation.label) == ("fake-1", "ann", "fake")
    assert (trace.onset_seconds, trace.offset_seconds) == (4 / FPS, 14 / FPS)
    assert trace.box_at(0.65) == pytest.approx((0.3, 0.25, 0.6, 0.65), abs=PIXEL)


def test_work_that_was_acknowledged_outlives_a_kill_and_the_rest_is_sent_again(
    browser: Any, data: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with serving(data, "--work", work) as server, person(browser, server.address, "ann") as page:
        page.allowed = ["ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"]
        page.goto(f"{server.address}/annotate/video?id=fake-1")
        annotate(page)
        saved(page)
        server.kill()
        page.keyboard.press("3")  # while nobody is there
        page.wait_for_selector("text=Your work is kept in this browser")
        with serving(data, "--work", work, port=server.port):
            saved(page)
            page.reload()
            page.wait_for_selector(".trace-list li")
            assert page.locator("[name=category]:checked").count() == 2
            assert page.locator("#explanation").input_value() == "The ball bends."


def test_the_same_person_in_two_windows_is_shown_both_versions(browser: Any, data: Path, tmp_path: Path) -> None:
    with serving(data, "--work", tmp_path / "work") as server, person(browser, server.address, "ann") as page:
        page.allowed = ["409"]
        page.goto(f"{server.address}/annotate/video?id=fake-2")
        page.wait_for_selector(".stage")
        other = page.context.new_page()
        other.goto(f"{server.address}/annotate/video?id=fake-2")
        other.locator(".stage").focus()
        other.keyboard.press("r")
        saved(other)
        page.locator(".stage").focus()
        page.keyboard.press("u")
        page.wait_for_selector("dialog#conflict[open]")
        assert page.locator("#yours").inner_text() == "Cannot tell"
        assert page.locator("#theirs").inner_text() == "Real"
        page.click("#keep-mine")
        saved(page)
        other.reload()
        other.wait_for_selector("[name=label][value=unsure]:checked")


def test_two_reviewers_meet_and_a_majority_ends_the_dispute(browser: Any, data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with serving(data, "--work", work, "--reviewers", "2") as server:
        with person(browser, server.address, "ann") as page:
            page.goto(f"{server.address}/annotate/video?id=fake-1")
            annotate(page)
            saved(page)
            page.keyboard.press("Control+Enter")
            page.wait_for_selector("text=Handed in")
        with (
            person(browser, server.address, "ben") as ben,
            person(browser, server.address, "cem") as cem,
            person(browser, server.address, "dua") as dua,
        ):
            cem.allowed = ["409"]
            for page in (ben, cem, dua):
                page.goto(f"{server.address}/review")
                page.click("#start")
                page.wait_for_selector("#candidates li")
            ben.click("#correct")
            ben.locator(".stage").focus()
            ben.keyboard.press("2")
            ben.keyboard.press("Control+Enter")
            ben.wait_for_selector("text=Kept.")
            cem.click("#dispute")
            cem.fill("#reason", "Nothing is wrong here.")
            cem.click("#trace-delete")
            cem.check("[name=label][value=real]")
            cem.click("#submit")
            cem.wait_for_selector("dialog#conflict[open]")  # ben was there meanwhile: both are shown
            assert "Real" in cem.locator("#yours").inner_text()
            assert "Object Distortion, Sudden Blurring" in cem.locator("#theirs").inner_text()
            cem.click("#keep-mine")
            cem.wait_for_selector("text=Kept.")
            assert cem.locator("#candidates > li").count() == 3
            assert (
                "majority" in cem.locator("#review-words").inner_text()
                or "No candidate" in cem.locator("#review-words").inner_text()
            )
            dua.reload()
            dua.wait_for_selector("#candidates li")
            dua.locator("#candidates > li").nth(1).get_by_text("I am for this one").click()
            dua.wait_for_selector("text=Kept.")
            assert "more than half" in dua.locator("#review-words").inner_text()  # two of four are no majority
            with person(browser, server.address, "eve") as eve:
                eve.allowed = ["422"]
                eve.goto(f"{server.address}/review/video?id=fake-1")
                eve.locator("#candidates > li").nth(1).get_by_text("I am for this one").click()
                eve.wait_for_selector("text=Settled.")
                eve.locator("#candidates > li").nth(0).get_by_role("button").first.click()
                assert boxes_on_screen(eve) == [pytest.approx([0.2, 0.2, 0.5, 0.6], abs=PIXEL)]
                eve.check("#show-others")  # the correction has the same box: it lies over it
                eve.wait_for_function("() => document.querySelectorAll('.boxes .box.model').length === 1")
                eve.click("#reopen")
                eve.click("#reopen-send")
                eve.wait_for_selector("#missing:has-text('say why')")
                eve.fill("#reason", "Look at the arm.")
                eve.click("#reopen-send")
                eve.wait_for_selector("text=A majority of at least three people decides; 0 have said")
                assert eve.locator("#candidates > li").count() == 3
                eve.click("#history > summary")
                assert "eve, reopen: Look at the arm." in eve.locator("#steps li").last.inner_text()
            for page in (ben, dua, cem):
                page.goto(f"{server.address}/review/video?id=fake-1")
                page.locator("#candidates > li").nth(1).get_by_text("I am for this one").click()
                page.wait_for_selector("text=Kept.")
            assert "Settled." in cem.locator("#review-words").inner_text()
    target = tmp_path / "out.jsonl"
    assert run_cli("explore", data, "--work", work, "--export", target, "--final").returncode == 0
    (record,) = load_records(target)
    assert record.label == "fake"
    assert record.annotations[0].traces[0].categories == ("Object Distortion", "Sudden Blurring")
    assert record.annotations[0].extra["behind"] == ["ben", "dua", "cem"]
