"""The audit's page: whole, escaped, with the audit's numbers; the terminal's rows say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import html5lib
import pytest

from deeptrace.data.audit import Audit, audit
from deeptrace.data.audit.checks import RELEASE_SOURCE
from deeptrace.data.audit.page import audit_html, audit_tables, score_words, write_audit_page
from deeptrace.data.audit.probes import ProbeScore
from deeptrace.records import Annotation, Record, Trace, VideoInfo

EVIL = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def result() -> Audit:
    trace = Trace((0.1, 0.1, 0.4, 0.4), 1.0, 9.0, None, None)
    fakes = [
        Record(f"f{i} {EVIL}", f"v/{i}.mp4", "fake", VideoInfo(640, 360, 8.0, 32, 4.0), f"g{i % 2} {EVIL}",
               annotations=(Annotation((trace,)),))
        for i in range(12)
    ]  # fmt: skip
    reals = [
        Record(f"r{i}", f"r/{i}.mp4", "real", VideoInfo(320, 240, 30.0, 90, 3.0), RELEASE_SOURCE) for i in range(12)
    ]
    return audit([*fakes, *reals, Record("u", "r/u.mp4", "unsure")])


def test_the_page_parses_and_runs_nothing_of_others(result: Audit) -> None:
    text = audit_html(result, title=EVIL, command=EVIL)
    document = html5lib.HTMLParser(strict=False, namespaceHTMLElements=False).parse(text)
    assert document.findall(".//img") == []
    assert "\u202e" not in text
    assert "[U+202E]" in text
    assert not re.search(r"\son\w+=", re.sub(r"&[#\w]+;[^<]*", "", text))
    assert re.search(r"default-src 'none'", text.replace("&#39;", "'"))
    assert "https://" not in text.replace("http://www.w3.org", "")
    ids = [e.get("id") for e in document.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert document.find(".//h1") is not None


def test_its_numbers_are_the_audits(result: Audit) -> None:
    text = audit_html(result)
    for finding in result.findings:
        assert finding.code in text
        assert f"{finding.count:,} of {finding.of:,}" in text
    assert result.shortcuts is not None
    estimate = result.shortcuts.get("geometry").auroc
    assert estimate is not None
    assert f"<b>{100 * estimate.value:.1f}</b>" in text
    assert "above chance" in text
    assert "6,636" in text
    assert text.count("<polygon") == 8  # four numbers, fake and real


def test_an_audit_of_nothing_and_one_without_probes_are_pages_too(result: Audit) -> None:
    assert "there is not one record" in audit_html(audit([]))
    text = audit_html(replace(result, shortcuts=None, shortcuts_reason="pip install it", findings=(), distributions=()))
    assert "pip install it" in text
    assert "Nothing was found" in text


def test_it_is_written_whole(result: Audit, tmp_path: Path) -> None:
    path = write_audit_page(tmp_path / "audit.html", result, title="Mine")
    assert path.read_text() == audit_html(result, title="Mine")
    assert [p.name for p in tmp_path.iterdir()] == ["audit.html"]


def test_the_terminal_says_the_same(result: Audit) -> None:
    tables = {table.title: table for table in audit_tables(result)}
    fakes, makers = list(tables)[3:]
    assert list(tables)[:3] == ["Counts", "Beside the published counts", "Findings"]
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    assert [row[1] for row in tables["Findings"].rows] == [finding.code for finding in result.findings]
    assert ("videos", "6,636", "25", "differs") in tables["Beside the published counts"].rows
    assert result.shortcuts is not None
    said = {task: result.shortcuts.get("geometry", task) for task in ("fake_or_real", "generator")}
    accuracy = said["generator"].accuracy
    assert accuracy is not None
    assert (
        f"fake or real? {said['fake_or_real'].n} clips in {said['fake_or_real'].groups} groups; guessing gives 50.0"
        in fakes
    )
    assert makers.endswith("; guessing gives 50.0, the largest generator 50.0")
    row = {row[0]: row for row in tables[fakes].rows}["Visible geometry"]
    assert row[1:3] == (score_words(said["fake_or_real"].auroc), score_words(said["fake_or_real"].balanced_accuracy))
    row = {row[0]: row for row in tables[makers].rows}["Visible geometry"]
    assert row[1:3] == (score_words(said["generator"].auroc), score_words(accuracy))
    assert f"accuracy {score_words(accuracy)}, majority 50.0" in audit_html(result)
    assert score_words(ProbeScore(0.8312, 0.7061, 0.937, 0.5)) == "83.1 [70.6, 93.7]"
    assert score_words(None) == "–"


def test_the_terminal_says_why_there_are_no_shortcuts(result: Audit) -> None:
    without = replace(result, shortcuts=None, shortcuts_reason="pip install it")
    tables = {table.title: table for table in audit_tables(without)}
    assert tables["Shortcuts"].rows == (("pip install it",),)
