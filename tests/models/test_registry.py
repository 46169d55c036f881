"""Models known by name: every entry is whole, the paper's baselines are there, and mistakes are told all at once."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deeptrace.cli import cli
from deeptrace.cli.inspect.command import inspect
from deeptrace.errors import ModelError
from deeptrace.models import HOMES, Sampling, load, registry

ENTRY = """
[small-1]
home = "hf:someone/small-1"
sampling = { fps = 2.0, max_frames = 16 }
space = "per-mille"
licence = "MIT"
title = "Small 1"
"""


def test_the_papers_thirteen_baselines_have_an_entry_each() -> None:
    shared = Path(__file__).parents[2] / "src/deeptrace/bench/published_results.json"
    published = [e.published for e in registry.entries().values() if e.published is not None]
    assert len(published) == len(set(published)) == 13
    rows = {row["model"] for row in json.loads(shared.read_text())["test"] if row["kind"] == "zero-shot"}
    assert set(published) == rows


def test_not_one_is_said_to_have_been_run() -> None:
    """Whoever runs one with its real weights changes its entry and this test."""
    assert [e.name for e in registry.entries().values() if e.tried] == []


def test_an_entry_of_five_lines_is_enough() -> None:
    entry = registry.parse(ENTRY)["small-1"]
    assert entry.options() == {"question": "zero-shot", "sampling": Sampling(2.0, 16), "space": "per-mille"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('home = "motion"', "does not begin with hf: or openai:"),
        ('space = "pixels"', "not one of source, resized, per-mille"),
        ("sampling = { max_frames = 16 }", "sampling.fps: is missing"),
        ("sampling = { fps = 2.0, frames = 16 }", "sampling.frames"),
        ("sampling = { fps = 2.0, max_frames = 1.5 }", "a whole number"),
        ("licence = 3", "3 is not text"),
        ('license = "MIT"', "license: is not a setting. Did you mean 'licence'"),
        ('tried = "yes"', "true or false"),
        ('convert = "mine"', "convert"),
        ("system_prompt = 3", "3 is not text"),
    ],
)
def test_a_wrong_entry_is_refused(line: str, problem: str) -> None:
    key = line.partition(" ")[0]
    lines = [row for row in ENTRY.splitlines() if not row.startswith(f"{key} ")]
    with pytest.raises(ModelError, match=problem):
        registry.parse("\n".join([*lines, line]))


def test_a_system_prompt_is_for_models_that_run_here() -> None:
    entry = registry.parse(f'{ENTRY}system_prompt = ""\n')["small-1"]
    assert entry.options()["system_prompt"] == ""
    with pytest.raises(ModelError, match=r"small-1\.system_prompt: goes with a home that begins with hf:"):
        registry.parse(f'{ENTRY}system_prompt = "x"\n'.replace("hf:", "openai:"))


def test_what_must_be_converted_comes_with_its_one_command() -> None:
    entries = registry.entries()
    command = "deeptrace models convert DAMO-NLP-SG/VideoLLaMA3-7B videollama3-7b --trained-for general"
    assert entries["videollama3-7b"].converted == ("hf:videollama3-7b", command)
    assert entries["qwen3-vl-8b"].converted is None
    words = CliRunner().invoke(cli, ["models"]).stdout
    assert command in words.replace(" \\\n   ", "")
    assert "--trained-for rewarddata" in words  # the paper's own


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ModelError, match="10 mistakes"):
        registry.parse("[a]\nhome = 'x'\n[b.c]\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"a = {'[' * 5000}{']' * 5000}", "user.toml is nested too deeply"),
        (f"a = {'9' * 5000}", "user.toml holds a value that cannot be read"),
    ],
)
def test_a_hostile_file_is_refused_and_completion_goes_on(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user.toml").write_text(text)
    monkeypatch.setenv("DEEPTRACE_REGISTRY", str(tmp_path / "user.toml"))
    with pytest.raises(ModelError, match=words):
        registry.entries()
    context = click.Context(inspect)
    [model] = [option for option in inspect.params if option.name == "model_name"]
    assert [item.value for item in model.shell_complete(context, "mo")] == ["motion"]


def test_strangers_names_are_shown_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRY.replace("[small-1]", '["a; rm -r x --y \\u202e"]').replace("someone/small-1", "s/$(id)")
    (tmp_path / "user.toml").write_text(entry + 'convert = "general"\n')
    monkeypatch.setenv("DEEPTRACE_REGISTRY", str(tmp_path / "user.toml"))
    shown = CliRunner().invoke(cli, ["models"]).stdout
    assert "\u202e" not in shown
    assert "a; rm -r x --y [U+202E] is run as hf:a; rm -r x --y [U+202E], made once by:" in shown
    command = "  deeptrace models convert 's/$(id)' 'a; rm -r x --y [U+202E]' \\\n    --trained-for general\n"
    assert command in shown


def test_a_near_miss_is_pointed_out() -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'qwen2\.5-vl-7b'"):
        load("qwen25-vl-7b")


def test_the_command_lists_homes_and_names() -> None:
    rows = json.loads(CliRunner().invoke(cli, ["models", "--json"]).stdout)
    assert [row["model"] for row in rows] == [*HOMES, *registry.entries()]
    table = CliRunner().invoke(cli, ["models"], env={"COLUMNS": "80"}).stdout
    assert max(len(line) for line in table.splitlines()) <= 80
    for entry in registry.entries().values():  # nothing is broken: each name and its home stand on one line
        assert any(line.split()[:2] == [entry.name, entry.home] for line in table.splitlines())
    assert "not run" in table
    assert "video-llava-7b" in table


# ── a file of the user's ────────────────────────────────────────────────────────────────────────────────────────────


def write_entry(path: Path, name: str = "small-1", **changes: str) -> Path:
    rows = [row for row in ENTRY.strip().splitlines()[1:] if row.partition(" ")[0] not in changes]
    path.write_text("\n".join([f'["{name}"]', *rows, *(f"{key} = {value}" for key, value in changes.items())]))
    return path


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_users_entries_join_ours(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_entry(tmp_path / "mine.toml", home='"openai:small"')
    arguments = ["--registry", str(file)] if way == "option" else []
    if way == "environment":
        monkeypatch.setenv(registry.VARIABLE, str(file))
    rows = {row["model"]: row for row in json.loads(CliRunner().invoke(cli, [*arguments, "models", "--json"]).stdout)}
    assert rows["small-1"]["source"] == "mine.toml"
    assert rows["small-1"]["overrides"] is False
    assert rows["gpt-4.1"]["source"] == ""
    with registry.using(file):
        assert load("small-1", base_url="http://127.0.0.1:9/v1").name == "openai:small"
    if way == "option":
        assert "small-1" not in registry.entries()  # it lasted as long as the command


def test_an_entry_in_the_place_of_ours_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_entry(tmp_path / "mine.toml", "gpt-4.1", home='"openai:elsewhere"')
    table = CliRunner().invoke(cli, ["--registry", str(file), "models"]).stdout
    assert "gpt-4.1 stands in mine.toml, in the place of ours" in table
    with registry.using(file):
        assert load("gpt-4.1", base_url="http://127.0.0.1:9/v1").name == "openai:elsewhere"
    assert "gpt-4.1 is what mine.toml says, in the place of" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a", "mine.toml is not TOML"),
        ('[a]\nhome = "motion:x"\nspase = 1\n', r"mine.toml: \d mistakes:(.|\n)*a.spase: is not a setting"),
        (f'["a:b"]\n{ENTRY.strip().partition(chr(10))[2]}', "'a:b' is no name of a model"),
        ("[a]\nsource = 'x'\n", "a.home: is missing"),
        (None, "the registry: .*mine.toml"),
    ],
)
def test_what_is_wrong_with_a_users_file_is_said(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ModelError, match=words), registry.using(tmp_path / "mine.toml"):
        pass
    assert registry.entries()  # ours are there again
