"""The audit's page in a real browser, with 120 hostile texts in every place that a stranger's text can reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import Records
from deeptrace.data.audit import Audit, audit
from deeptrace.data.audit.page import write_audit_page
from deeptrace.records import Annotation, Record, Trace, VideoInfo
from tests.browser import chromium
from tests.report.payloads import PAYLOADS

pytestmark = pytest.mark.browser

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


def audit_of(texts: list[str]) -> Audit:
    """An audit in which each text is an id, a source, a split, an explanation, a problem and a cluster's name."""
    trace = Trace((0.1, 0.1, 0.4, 0.4), 1.0, 9.0, None, None)
    records = [
        Record(
            f"{n} {text}", None, ("fake", "real")[n % 2], VideoInfo(640, 360, 8.0, 32, 4.0, text), text, text, text,
            annotations=(Annotation((replace(trace, explanation=text),), annotator=text),) if n % 2 == 0 else (),
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    found = audit(Records(records, root=Path("absent"), earlier={f"{text}: emptied": 1 for text in texts}))
    names = tuple(record.video_id for record in records)
    return replace(
        found,
        clusters=tuple(names[at : at + 3] for at in range(0, len(names), 3)),
        thumbnails=dict.fromkeys(names[::2], JPEG),
        shortcuts_reason=texts[0],
        grouped_by=tuple(texts),
    )


def elements(tab: Any) -> list[str]:
    return [str(name) for name in tab.evaluate("[...document.querySelectorAll('*')].map(e => e.localName)")]


def opened(browser: Any, path: Path) -> tuple[list[str], str]:
    """The elements and the text of the page; nothing else may have happened."""
    tab = browser.new_page()
    spoken: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: spoken.append(message.text))
    tab.on("pageerror", lambda error: spoken.append(str(error)))
    tab.on("dialog", lambda dialog: spoken.append("a dialog"))
    tab.on("request", lambda request: requests.append(request.url))
    tab.add_init_script("window.breaches = []; addEventListener('securitypolicyviolation', (e) => breaches.push(1))")
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.mouse.move(300, 300)
    tab.keyboard.press("Tab")
    names, text = elements(tab), str(tab.inner_text("body"))
    assert spoken == []
    assert tab.evaluate("[breaches.length, window.__xss, location.href]") == [0, None, path.as_uri()]
    assert [url for url in requests if not url.startswith(("file:", "data:image/jpeg"))] == []
    tab.close()
    return names, text


def test_a_stranger_s_texts_are_shown_and_do_nothing(browser: Any, tmp_path: Path) -> None:
    assert len(PAYLOADS) >= 120
    hostile, benign = list(PAYLOADS), [f"word {n}" for n in range(len(PAYLOADS))]
    pages = [
        write_audit_page(tmp_path / f"{n}.html", audit_of(texts), title=texts[1], command=texts[2])
        for n, texts in enumerate((hostile, benign))
    ]
    names, text = opened(browser, pages[0])
    assert names == opened(browser, pages[1])[0], "a text became an element"
    assert "<script>window.__xss=1</script>" in text
