"""That pages can be read and used: at a tablet's width, in dark and light, by eye, by keyboard and by ear."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import chromium
from tests.explorer.test_served import annotate
from tests.explorer.world import make_dataset, person, serving

PAGES = (
    "/", "/?q=nothing-has-this-word", "/video?id=fake-0", "/beside?id=fake-0&id=real-3&changes=1", "/compare",
    "/annotate", "/annotate/video?id=fake-2", "/review?show=all", "/review/video?id=fake-1", "/guideline", "/name",
)  # fmt: skip

TOO_FAINT = """
    () => {
        const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const rgba = (color) => {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
            return [r, g, b, a / 255];
        };
        const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
        const light = ([r, g, b]) => {
            const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
            return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
        };
        const behind = (node) => {
            const layers = [];
            for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
            return layers.reverse().reduce((below, top) => over(top, below), rgba("Canvas"));
        };
        const faint = [];
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const node = texts.currentNode.parentElement;
            const text = texts.currentNode.textContent.trim();
            if (!text || !node.checkVisibility()) continue;
            if (node.closest("script, svg, option, :disabled, .skip, .boxes")) continue;
            const style = getComputedStyle(node);
            const ground = behind(node);
            const [a, b] = [light(over(rgba(style.color), ground)), light(ground)].sort((x, y) => y - x);
            const size = parseFloat(style.fontSize);
            const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
            const contrast = (a + 0.05) / (b + 0.05);
            if (contrast < least) faint.push(`${text}: ${contrast.toFixed(2)}`);
        }
        return faint;
    }
"""
"""Texts with less contrast to what lies behind them than WCAG 2 asks for (AA: 4.5, large ones 3)."""

NAMELESS = """
    () => [...document.querySelectorAll("a[href], button, input, select, textarea, video, [role=slider]")]
        .filter((node) => node.checkVisibility() && node.type !== "hidden")
        .filter((node) => !(node.ariaLabel || node.getAttribute("aria-labelledby") || node.innerText?.trim()
            || node.title || [...(node.labels ?? [])].some((label) => label.innerText.trim())
            || node.querySelector("img[alt]") || node.closest("[aria-label]")))
        .map((node) => node.outerHTML.slice(0, 120))
"""
OUT_OF_ORDER = "() => [...document.querySelectorAll('[tabindex]')].filter((node) => node.tabIndex > 0).length"
TOO_WIDE = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.mark.browser
def test_pages_can_be_read_and_used_on_a_tablet_in_dark_and_light(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    line = (data, data / "one.jsonl", data / "two.jsonl", "--work", tmp_path / "work")
    tablet = {"viewport": {"width": 768, "height": 1024}}
    with chromium(tmp_path) as browser, serving(*line) as server:
        with person(browser, server.address, "ann") as page:
            annotate(page, f"{server.address}/annotate/video?id=fake-1")
        for scheme in ("light", "dark"):
            with person(browser, server.address, "ben", color_scheme=scheme, **tablet) as page:
                for path in PAGES:
                    page.goto(f"{server.address}{path}")
                    page.wait_for_load_state("load")
                    assert page.evaluate(TOO_WIDE) <= 0, (scheme, path)
                    assert page.evaluate(TOO_FAINT) == [], (scheme, path)
                    assert page.evaluate(NAMELESS) == [], (scheme, path)
                    assert page.evaluate(OUT_OF_ORDER) == 0, path
                page.goto(f"{server.address}/")
                page.evaluate("document.querySelector('h1').style.color = 'rgb(128 128 128 / 0.5)'")
                assert len(page.evaluate(TOO_FAINT)) == 1  # it would be seen
                page.keyboard.press("Tab")
                assert page.evaluate("document.activeElement.className") == "skip"
                page.keyboard.press("Enter")
                assert page.evaluate("document.activeElement.id") == "main"
