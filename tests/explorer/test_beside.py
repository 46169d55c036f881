"""An injected pair side by side: what was there, what the sham left, what the fake changed, for any two of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deeptrace.explorer.beside import pair_of
from tests.browser import chromium
from tests.explorer.world import person, run_cli, serving

TOGETHER = "() => new Set([...document.querySelectorAll('.now')].map((node) => node.textContent)).size === 1"


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", None),
        ("0", None),
        ("1", (0, 2)),
        ("1,2", (0, 1)),
        ("3,2", (2, 1)),
        ("2,2", (0, 2)),
        ("0,4", (0, 2)),
        ("²,1", (0, 2)),
    ],
)
def test_an_address_says_which_two_are_compared(text: str, chosen: tuple[int, int] | None) -> None:
    assert pair_of(text, 3, otherwise=(0, 2)) == chosen


def changed(page: Any, first: str, second: str) -> float:
    """The share of pixels that differ between two of the videos at the moment that is shown."""
    page.select_option("#changes-a", label=first)
    page.evaluate("delete document.getElementById('changes').dataset.share")
    page.select_option("#changes-b", label=second)
    page.wait_for_selector("#changes[data-share]")
    return float(page.locator("#changes").get_attribute("data-share"))


@pytest.mark.browser
def test_the_line_that_inject_prints_opens_fake_sham_and_original(tmp_path: Path) -> None:
    data = tmp_path / "twins"
    done = run_cli("inject", data, "--scenes", "1", "--small")
    assert done.returncode == 0, done.stderr
    printed = re.search(r"look: deeptrace explore \S+ --at '(/beside\?[^']+)'", done.stderr)
    assert printed is not None, done.stderr
    with chromium(tmp_path) as browser, serving(data) as server, person(browser, server.address) as page:
        page.goto(f"{server.address}{printed[1]}")
        page.wait_for_selector("#changes[data-share]")
        assert page.locator(".beside-head > .chip").all_inner_texts()[:3] == ["1 · Original", "2 · Sham", "3 · Fake"]
        assert page.locator("#changed").inner_text().endswith(" s")
        page.keyboard.press("ArrowRight")  # all of them go on by a frame
        page.wait_for_function(
            "() => new Set([...document.querySelectorAll('.now')].map((n) => n.textContent)).size === 1"
        )
        fake = changed(page, "1 · Original", "3 · Fake")
        sham = changed(page, "1 · Original", "2 · Sham")
        assert fake > 0.005
        assert sham < fake / 3  # it went through the same hands, and shows nothing
        address = page.url
        assert parse_qs(urlsplit(address).query)["changes"] == ["1,2"]
        page.goto(address)
        page.wait_for_selector("#changes[data-share]")
        assert page.locator("#changes-b").input_value() == "1"
        assert page.goto(f"{server.address}/beside?of=nobody").status == 404
        page.allowed = ["404"]
