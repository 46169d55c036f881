"""What the server refuses, and that no text of a stranger becomes markup, script or an attribute on any page."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import html5lib
import pytest

from deeptrace.data import load_records, write_records
from deeptrace.explorer.annotate import MAX_TRACES, FirstPass, body_of
from deeptrace.explorer.app import make_app, make_site
from deeptrace.explorer.outcomes import NamedRun
from deeptrace.explorer.review import Reviews
from deeptrace.explorer.store import Store
from deeptrace.explorer.study.app import make_study, study_app
from deeptrace.files import write_jsonl
from deeptrace.records import Annotation, Origin, Record, Trace, Verdict
from deeptrace.rows import outcome_to_row
from tests.browser import chromium
from tests.explorer.world import BOX, INFO, make_dataset, person, run_cli, serving
from tests.report.payloads import PAYLOADS

TOKEN = "a-token-of-the-tests"
ATTACKER = "<img src=x onerror=window.__xss=1>"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("web") / "data")


@pytest.fixture(scope="module")
def server(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    work = tmp_path_factory.mktemp("web") / "work"
    with serving(data, data / "one.jsonl", "--work", work, "--token", TOKEN) as running:
        yield running


def ask(server: Any, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def routes(data: Path, folder: Path) -> list[tuple[str, str]]:
    site = make_site(load_records(data), [], folder)
    pairs = [
        (sorted(route.methods - {"HEAD"})[0], route.path.replace("{name}", "site.js"))
        for route in make_app(site).routes
    ]
    site.store.close()
    return pairs


def test_every_route_but_health_needs_the_token_and_every_write_its_page(
    server: Any, data: Path, tmp_path: Path
) -> None:
    listed = routes(data, tmp_path)
    assert len(listed) == 20
    for method, path in listed:
        for bad in (
            {},
            {"authorization": "Bearer wrong-token"},
            {"authorization": f"Basic {TOKEN}"},
            {"cookie": "x=y"},
        ):
            status, _, _ = ask(server, method, path, **bad)
            assert status == (200 if path == "/health" else 401), (path, bad)
        if method == "POST":
            good = {"authorization": f"Bearer {TOKEN}", "content_type": "application/json"}
            for more in ({}, {"x_csrf": "guess"}, {"x_csrf": "guess", "origin": "http://evil.example"}):
                status, _, _ = ask(server, method, path, b"{}", **good, **more)
                assert status == 403, (path, more)


def test_a_page_may_load_from_its_own_server_alone(server: Any) -> None:
    _, headers, _ = ask(server, "GET", "/", authorization=f"Bearer {TOKEN}")
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["../annotations.sqlite", "/etc/passwd", "media/../../annotations.sqlite", "..%2f..", "clip0.mp4", "", "a\0.mp4",
     "x.json", "media/x.mp4/../../annotations.sqlite", "//etc/passwd", "file:///etc/passwd", "media/.mp4"],
)  # fmt: skip
def test_files_are_given_out_of_the_folder_of_copies_alone(server: Any, name: str) -> None:
    status, _, content = ask(server, "GET", f"/media?{urlencode({'name': name})}", authorization=f"Bearer {TOKEN}")
    assert status == 403
    assert json.loads(content)["error"]["code"] == "PATH_NOT_ALLOWED"


def test_one_range_of_bytes_at_a_time(server: Any) -> None:
    auth = {"authorization": f"Bearer {TOKEN}"}
    status, headers, content = ask(server, "GET", "/preview?n=0", **auth)
    assert (status, headers["content-type"]) == (200, "video/mp4")
    status, _, part = ask(server, "GET", "/preview?n=0", range="bytes=0-9", **auth)
    assert (status, part) == (206, content[:10])
    for bad in ("bytes=0-1,3-4", "bytes=0-,0-", "bytes=99999999-"):
        assert ask(server, "GET", "/preview?n=0", range=bad, **auth)[0] == 416
    for bad in ("n=99", "n=-1", "n=x", "n=1e3", "n=", "n=0&in=other"):
        assert ask(server, "GET", f"/preview?{bad}", **auth)[0] == 404


def test_a_public_address_needs_a_token(data: Path, tmp_path: Path) -> None:
    done = run_cli("explore", data, "--work", tmp_path, "--host", "0.0.0.0", "--port", "0", "--no-open")
    assert done.returncode == 1
    assert "token" in done.stderr


# ── texts of strangers ──────────────────────────────────────────────────────────────────────────────────────────────


def hostile_records() -> list[Record]:
    """Every payload in every field that a text can stand in."""
    records = []
    for number, payload in enumerate(PAYLOADS):
        text = payload.replace("\ud800", "").replace("\udcff", "")  # a file cannot hold lone surrogates
        trace = Trace(BOX, 0.5, 1.5, ("Object Distortion",), text)
        annotation = Annotation((trace,), "fake", text[:150] or "x", {"note": text, "unknown_tags": [text]})
        extra = {text[:50] or "x": text}
        records.append(
            Record(f"{number} {text}"[:900], "clip0.mp4", "fake", INFO, text, text, text, (annotation,), (text,), extra)
        )
    everything = tuple(a for record in records for a in record.annotations)
    records.append(Record("everything", "clip0.mp4", "fake", INFO, annotations=everything))
    fake = f"fake {ATTACKER}"
    facts = {"inject_twin": f"real {ATTACKER}", "inject_original": f"originals/{ATTACKER}.mp4"}
    trace = Trace(BOX, 0.5, 1.5, ("Object Distortion",), ATTACKER)
    records.append(
        Record(fake, "clip0.mp4", "fake", INFO, annotations=(Annotation((trace,), "fake", ATTACKER, facts),))
    )
    records.append(Record(facts["inject_twin"], "clip1.mp4", "real", INFO, extra={"inject_twin": fake, "sham": True}))
    return records


@pytest.fixture(scope="module")
def hostile(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of these records, with annotations and reviews that hold the same texts."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    make_dataset(folder)
    for name in ("records.jsonl", "one.jsonl", "two.jsonl"):
        (folder / name).unlink()
    records = hostile_records()
    write_records(folder / "hostile.jsonl", records)
    write_jsonl(folder / "said.jsonl", [outcome_to_row(_verdict(record)) for record in records])
    with Store(folder / "deeptrace-explorer") as store:
        first = FirstPass(store)
        for record in records:
            if not record.annotations:
                continue
            who = (record.annotations[0].annotator or "x").replace("\0", "")
            body = body_of(record.annotations[0]) | {"note": record.prompt}
            first.save(record.video_id, body, who=who, base=0, key=f"k{record.video_id}"[:190], kind="submit")
        all_traces = next(record for record in records if record.video_id == "everything").traces
        many = body_of(Annotation(all_traces[:MAX_TRACES], "fake"))
        first.save("everything", many, who=ATTACKER, base=0, key="everything", kind="submit")
        reviews = Reviews(store)
        for record in records:
            reviews.open_if_ready(record.video_id)
        for base, payload in enumerate(PAYLOADS, 1):  # everybody disputes it, with a reason, under a name of their own
            text = payload.replace("\ud800", "").replace("\udcff", "")
            own = body_of(Annotation((Trace(BOX, 0.5, 1.5, ("Object Distortion",), text),), "fake"))
            sent = {"annotation": own, "reason": text.strip() or "x"}
            name = f"{base} {text}".replace("\0", "")[:150].strip()
            reviews.step("everything", "dispute", sent, who=name, base=base, key=f"dispute {base}")
    return folder


def test_no_text_becomes_markup(hostile: Path, tmp_path: Path) -> None:
    """Each page holds the same elements and attributes as a page of plain texts: none more, none of another kind."""
    from starlette.testclient import TestClient

    records = load_records(hostile / "hostile.jsonl")
    runs = [NamedRun(f"m{PAYLOADS[0]}", {r.video_id: _verdict(r) for r in records})]
    site = make_site(records, runs, hostile / "deeptrace-explorer")
    client = TestClient(make_app(site), cookies={"deeptrace_name": quote(ATTACKER, safe="")})
    paths = ["/", "/?page=2", "/?page=3", "/compare", "/annotate?show=all", "/review", "/review?show=all", "/name"]
    paths += ["/guideline", f"/name?{urlencode({'next': '/' + ATTACKER})}"]
    paths += [f"/beside?{urlencode({'of': f'fake {ATTACKER}', 'changes': '1'})}"]
    paths += [f"/beside?{urlencode([('id', record.video_id) for record in records[:4]])}"]
    for record in (*records[:: len(records) // 8], *records[-3:]):
        one = urlencode({"id": record.video_id}, errors="replace")
        paths += [f"/video?{one}", f"/annotate/video?{one}", f"/review/video?{one}"]
        paths.append(
            f"/?{urlencode({'q': record.prompt, 'source': record.source, 'sort': record.prompt}, errors='replace')}"
        )
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        _check_markup(answer.text, path)
    for page in ("/video", "/annotate/video", "/review/video", "/beside", f"/{quote(ATTACKER)}", "/media"):
        path = f"{page}?{urlencode({'id': ATTACKER, 'of': ATTACKER, 'in': ATTACKER, 'name': ATTACKER})}"
        answer = client.get(path, headers={"accept": "text/html"})
        assert answer.status_code in (403, 404), path
        _check_markup(answer.text, path)
    site.store.close()


def test_no_text_becomes_markup_in_a_study(hostile: Path, tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    site = make_study(load_records(hostile / "hostile.jsonl"), tmp_path / "study", trials=2, checks=1)
    client = TestClient(study_app(site))
    sent = {"headers": {"x-csrf": site.csrf, "content-type": "application/json"}}
    code = client.post("/api/begin", content=json.dumps({"key": ATTACKER}), **sent).json()["code"]
    shown = client.post("/api/show", content=json.dumps({"code": code, "trial": 1}), **sent)
    assert not {"<", "fake", "real"} & set(re.findall(r"<|fake|real", shown.text))  # nor a word of what the clip is
    for path, status in (("/", 200), (f"/s/{code}", 200), (f"/s/{quote(ATTACKER)}", 404), (f"/{quote(ATTACKER)}", 404)):
        answer = client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == status, path
        _check_markup(answer.text, path)
    site.store.close()


def _verdict(record: Record) -> Verdict:
    text = record.prompt or ""
    origin = Origin(video_id=record.video_id, model=ATTACKER, sha256="0")
    return Verdict(
        "fake",
        False,
        0.9,
        flags=(text,),
        traces=record.traces,
        text=text,
        origin=origin,
    )


_ALLOWED = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "header",
        "div",
        "svg",
        "path",
        "circle",
        "span",
        "nav",
        "b",
        "bdi",
        "button",
        "main",
        "form",
        "aside",
        "p",
        "fieldset",
        "legend",
        "label",
        "input",
        "section",
        "h1",
        "h2",
        "h3",
        "select",
        "option",
        "ol",
        "ul",
        "li",
        "img",
        "dl",
        "dt",
        "dd",
        "details",
        "summary",
        "pre",
        "video",
        "kbd",
        "textarea",
        "dialog",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "caption",
        "code",
        "line",
        "text",
        "datalist",
        "article",
        "br",
        "canvas",
    ]
)


def _check_markup(text: str, path: str) -> None:
    document = html5lib.parse(text, namespaceHTMLElements=False)
    for element in document.iter():
        if not isinstance(element.tag, str):
            continue
        tag = re.sub(r"^\{.*\}", "", element.tag)
        assert tag in _ALLOWED, (path, tag)
        for name, value in element.attrib.items():
            plain = re.sub(r"^\{.*\}", "", name)
            assert not plain.startswith("on"), (path, tag, name)
            assert plain not in ("style", "srcdoc"), (path, tag, name)
            if plain in ("href", "src", "action"):
                assert value.startswith(("/", "#", "?")), (path, tag, value)
                assert not value.startswith("//"), (path, tag, value)
        if tag == "script":
            assert element.attrib.get("type") in ("module", "application/json")
            assert element.attrib.get("type") == "application/json" or not (element.text or "").strip()


@pytest.mark.browser
def test_no_text_runs_in_a_browser(hostile: Path, tmp_path: Path) -> None:
    """Every page of both servers, with its scripts: none of a stranger's runs, and no element of theirs is there."""
    records = load_records(hostile / "hostile.jsonl")
    (hostile / "records.jsonl").write_bytes((hostile / "hostile.jsonl").read_bytes())
    one = urlencode({"id": records[0].video_id})
    paths = ["/", "/compare", "/annotate?show=all", "/annotate?in=gold", "/review?show=all", "/guideline", "/name"]
    paths += ["/video?id=everything", "/annotate/video?id=everything", f"/annotate/video?{one}"]
    paths += ["/review/video?id=everything", f"/review/video?{one}", f"/video?id={quote(ATTACKER)}"]
    paths += [f"/beside?of={quote(f'fake {ATTACKER}')}&changes=1", f"/beside?{one}&id=everything&changes=1"]
    with chromium(tmp_path) as browser:
        with (
            serving(hostile, hostile / "said.jsonl") as server,
            person(browser, server.address, ATTACKER) as page,
        ):
            page.allowed = ["404"]
            for path in paths:
                _open_safely(page, f"{server.address}{path}")
                for summary in page.locator("details > summary").all():  # the history, and answers word for word
                    summary.click()
                _look_for_strangers(page, path)
        line = ("run", hostile / "hostile.jsonl", tmp_path / "study", "--trials", "2", "--checks", "0")
        with serving(*line, command=("study",)) as server, person(browser, server.address) as page:
            page.allowed = ["404"]
            _open_safely(page, f"{server.address}/s/{quote(ATTACKER)}")
            _open_safely(page, server.address)
            page.click("#begin")
            for number in (1, 2):
                page.wait_for_selector(f"#ready-head:has-text('Clip {number}')")
                page.click("#play")
                page.wait_for_selector("#question:not([hidden])", timeout=60_000)
                _look_for_strangers(page, f"trial {number}")
                page.click("#unwatched")
            page.wait_for_selector("#end:not([hidden])")
            _look_for_strangers(page, "the end")


def _open_safely(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_load_state("load")
    _look_for_strangers(page, address)


def _look_for_strangers(page: Any, where: str) -> None:
    assert page.evaluate("window.__xss") is None, where
    assert page.evaluate("document.querySelectorAll('iframe, object, embed, base, plaintext, xmp').length") == 0, where
    inline = "[...document.scripts].filter((s) => s.type !== 'application/json' && s.textContent.trim()).length"
    assert page.evaluate(inline) == 0, where
