"""How the explorer is served: to a newcomer who types one word, and to a team that shares one server."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import load_records
from tests.browser import chromium
from tests.explorer.world import drag, make_dataset, person, run_cli, serving

TOKEN = "a-word-that-the-team-shares"


def status_for(port: int, host: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/", headers={"host": host, **headers})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.browser
def test_a_newcomer_sees_the_example_in_one_command(tmp_path: Path) -> None:
    with (
        chromium(tmp_path) as browser,
        serving(folder=tmp_path) as server,
        person(browser, server.address, color_scheme="dark") as page,
    ):
        page.goto(server.address)
        records = load_records(tmp_path / "deeptrace-example")
        assert page.locator(".card").count() == len(records) == 25
        assert page.locator("text=says").count() > 12  # what the model that ships says of them
        page.select_option("select[name=sort]", "overlap_low")
        page.wait_for_url("**sort=overlap_low*")
        page.locator(".card a").first.click()
        page.wait_for_selector(".speaker")
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        assert page.locator(".speaker-head", has_text="embedded").count() == 1
        page.click("text=Compare")
        page.wait_for_selector("text=By category")


@pytest.mark.browser
def test_a_team_shares_a_server_by_a_token_and_its_names(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    work = tmp_path / "work"
    people = ("--annotator", "ann", "--annotator", "ben")
    line = (data, "--work", work, "--token", TOKEN, "--allow-host", "team.example", *people)
    with chromium(tmp_path) as browser, serving(*line) as server:
        secret = {"authorization": f"Bearer {TOKEN}"}
        assert status_for(server.port, "team.example", **secret) == 200
        assert status_for(server.port, "team.example") == 401
        assert status_for(server.port, "evil.example", **secret) == 403
        with person(browser, server.address) as stranger:
            stranger.allowed = ["401"]
            assert stranger.goto(f"{server.address}/annotate").status == 401
        with person(browser, server.address) as ann, person(browser, server.address) as ben:
            for page, name in ((ann, "ann"), (ben, "ben")):
                page.goto(f"{server.address}/?token={TOKEN}")
                assert TOKEN not in page.url  # it is not left in the address, to be sent on by mistake
                with page.expect_navigation():
                    page.click("text=Annotate")
                assert page.locator("#name-form button").all_inner_texts() == ["ann", "ben"]
                page.click(f"#name-form button:has-text('{name}')")
                page.wait_for_selector("#start")
            annotate(ann, f"{server.address}/annotate/video?id=fake-1")
            ben.allowed = ["422"]
            refused = ben.evaluate(AS_SOMEBODY_ELSE)
            assert refused == 422  # a name that is not on the list
            with ben.expect_navigation():
                ben.click("nav >> text=Review")
            with ben.expect_navigation():
                ben.click("#start")
            ben.click("#accept")
            ben.wait_for_selector("text=Settled.")
    target = tmp_path / "out.jsonl"
    assert run_cli("explore", data, "--work", work, "--export", target, "--final").returncode == 0
    (record,) = load_records(target)
    assert record.annotations[0].extra["authors"] == ["ann"]
    assert record.annotations[0].extra["behind"] == ["ann", "ben"]


AS_SOMEBODY_ELSE = """
    async () => (await fetch("/api/name", {
        method: "POST", body: JSON.stringify({ name: "eve" }),
        headers: { "content-type": "application/json", "x-csrf": document.querySelector("meta[name=csrf]").content },
    })).status
"""


def annotate(page: Any, address: str) -> None:
    page.goto(address)
    page.locator(".stage").focus()
    drag(page, (0.2, 0.2), (0.5, 0.6))
    page.keyboard.press("1")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Handed in.")
