"""Files of rewards, their order, pairs and filters, the comparison of generators: through the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import deeptrace.reward.score as scoring
from deeptrace.cli import cli
from deeptrace.errors import JsonError, VideoError
from deeptrace.reward.compare import compare_generators, mean_interval, measures
from deeptrace.reward.kinds import REWARD_KINDS, REWARDS
from deeptrace.reward.rank import preference_pairs, rank
from deeptrace.reward.rows import RewardRow, content_digest, prompt_of, read_rows
from deeptrace.reward.wire import HEADLINE, NAMES
from tests.reward.clips import folder_of_clips


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["reward", *map(str, arguments)], standalone_mode=False)


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with three clips, a copy of one, a broken one; and their rows."""
    folder = tmp_path_factory.mktemp("rank") / "clips"
    folder_of_clips(folder)
    shutil.copy(folder / "c0.mp4", folder / "copy.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    out = folder.parent / "rewards.jsonl"
    result = run("score", folder, "--out", out, "--json")
    assert result.return_value == 1
    assert len(lines(result)) == 5
    return folder, out


def test_every_reward_of_the_table_is_offered_everywhere(scored: tuple[Path, Path]) -> None:
    assert set(NAMES) == {HEADLINE, *REWARDS}
    assert set(REWARDS) <= set(measures())
    for row in read_rows(scored[1]):
        assert set(REWARDS) <= set(row.row)
        assert {name for name, _ in row.values} in (set(), set(REWARDS))
    told = " ".join(run("rank", "--help").stdout.split())
    assert all(f"{kind.name}: {kind.about}" in told for kind in REWARD_KINDS.values())


def test_a_run_goes_on_and_no_content_is_scored_twice(
    scored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = scored
    rows = read_rows(out)
    assert sorted(Path(row.path).name for row in rows) == ["broken.mp4", "c0.mp4", "c1.mp4", "c2.mp4"]
    asked: list[object] = []

    def iter_nothing(self: object, videos: list[str], **options: object) -> object:
        asked.extend(videos)
        return iter([scoring.NotRewarded("NOT_A_VIDEO", "still broken")])

    monkeypatch.setattr(scoring.Reward, "iter", iter_nothing)
    again = run("score", folder, "--out", out, "--json")
    assert [Path(str(name)).name for name in asked] == ["broken.mp4"]
    values = {Path(str(row["path"])).name: row["trace_free"] for row in lines(again)}
    assert values["copy.mp4"] == values["c0.mp4"] is not None
    assert values["broken.mp4"] is None
    assert "broken.mp4: NOT_A_VIDEO" in again.stderr


def test_videos_are_ranked_paired_and_filtered_from_their_rows(scored: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = scored
    prompts = tmp_path / "prompts.jsonl"
    table = [{"video": f"{name}.mp4", "prompt": "p" if name != "c2" else "q"} for name in ("c0", "c1", "c2", "broken")]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in table))
    ranked = lines(run("rank", out, "--prompts", prompts, "--json", "--form", "logit"))
    assert [(row["place"], row["prompt"]) for row in ranked if row["prompt"] == "q"] == [(1, "q")]
    best = lines(run("rank", out, "--prompts", prompts, "--best", "1", "--json"))
    assert len(best) == 2
    result = run("pairs", out, "--prompts", prompts, "--margin", "1e-9", "--form", "logit")
    assert result.return_value == 1  # broken.mp4 has no reward, and is in no pair
    [pair] = lines(result)
    assert pair["chosen_reward"] > pair["rejected_reward"]
    assert {Path(str(pair[key])).name for key in ("chosen", "rejected")} == {"c0.mp4", "c1.mp4"}
    through = run("filter", out, "--best-share", "0.67", "--copy-to", tmp_path / "good").stdout.splitlines()
    assert len(through) == 2
    assert {path.name for path in (tmp_path / "good").iterdir()} == {Path(name).name for name in through}
    assert not run("filter", out, "--at-least", "1.5").stdout
    assert [row["path"] for row in lines(run("filter", out, "--best-share", "0.67", "--json"))] == through
    assert isinstance(run("filter", out).exception, Exception)
    prompts.write_text('{"video": "c0.mp4", "prompt": "p"}\n')
    assert "no prompt" in str(run("rank", out, "--prompts", prompts).exception)


def test_generators_are_compared_in_one_form(scored: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = scored
    other = tmp_path / "other"
    folder_of_clips(other, 2)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"video": f"c{k}.mp4", "prompt": f"p{k}"}) + "\n" for k in range(3)))
    result = run(
        "compare", f"<b>first={folder}", f"second={other}", "--prompts", prompts, "--out",
        tmp_path / "out", "--short-side", "48", "--seconds", "0.75", "--json",
    )  # fmt: skip
    assert result.exception is None, result.exception
    figures = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert lines(result) == [figures]
    assert figures["normalised"] is True
    assert [generator["videos"] for generator in figures["generators"]] == [4, 2]
    paired = {row["figure"]: row["difference"] for row in figures["differences"]}
    assert paired["trace_free"]["groups"] == 2
    assert math.isclose(paired["looks_real"]["value"], 0, abs_tol=1e-9)  # the same clips, in the same form
    page = (tmp_path / "out" / "index.html").read_text()
    assert "&lt;b&gt;first" in page
    assert "unsafe" not in page


def test_a_file_that_is_not_there_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for name, code in (("absent.mp4", "NOT_FOUND"), ("folder.mp4", "NOT_READABLE"), ("a\0b.mp4", "NOT_FOUND")):
        with pytest.raises(VideoError) as caught:
            content_digest(str(tmp_path / name))
        assert caught.value.code == code


def test_rows_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"schema": "deeptrace.verdict", "path": "a.mp4"}\n')
    with pytest.raises(JsonError, match=r"deeptrace\.verdict"):
        read_rows(tmp_path / "other.jsonl")


def row(path: str, value: float | None, **facts: object) -> RewardRow:
    values = {} if value is None else {("trace_free", "logit"): value, ("trace_free", "calibrated"): value}
    return RewardRow(path, values, {"model": "m", "revision": "1", "code": "X", **facts})  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float)), max_size=12), st.floats(0.1, 4))
def test_places_and_pairs_follow_the_values(values: list[float | None], margin: float) -> None:
    rows = [row(f"v{index}", value) for index, value in enumerate(values)]
    ranking = rank(rows, "trace_free", "logit")
    assert len(ranking.ranked) + len(ranking.without) == len(rows)
    ordered = [video.value for video in ranking.ranked]
    assert ordered == sorted(ordered, reverse=True)
    assert all(video.place == 1 + sum(v > video.value for v in ordered) for video in ranking.ranked)
    pairs = preference_pairs(ranking, margin=margin)
    held = [value for value in values if value is not None]
    assert len(pairs) == sum(a - b >= margin for a in held for b in held)
    assert all(pair.margin >= margin for pair in pairs)


def test_a_comparison_is_of_the_figures_by_hand() -> None:
    trace = {"categories": ["Object Merging"], "onset_seconds": 0.0, "offset_seconds": 1.0}
    later = {"categories": ["Sudden Blurring"], "onset_seconds": 0.5, "offset_seconds": 2.0}
    rows = {
        "a": [row("a0", 0.5, traces=[trace, later], conclusion="fake"), row("a1", 0.7, traces=[]), row("a2", None)],
        "b": [row("b0", 0.4, traces=[]), row("b1", 0.4, traces=[])],
    }
    prompts = {"a0": "p", "a1": "q", "b0": "p", "b1": "q"}
    comparison = compare_generators(rows, prompts=prompts)
    first = comparison.generators[0]
    assert (first.videos, dict(first.failed)) == (3, {"X": 1})
    assert math.isclose(first.figures["trace_free"].value or 0, 0.6)
    assert first.figures["trace_seconds"].value == 1.0  # 2 s in one clip, overlap counted once; none in the other
    assert first.figures["trace: Object Merging"].value == 0.5
    assert first.figures["called_fake"].value == 0.5
    [paired] = [d.difference for d in comparison.differences if d.figure == "trace_free"]
    assert math.isclose(paired.value or 0, 0.2)
    assert paired.groups == 2


def test_intervals_cover_the_mean_they_are_of() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(120):
        groups = [list(rng.normal(rng.normal(0, 1), 0.5, 3)) for _ in range(25)]
        mean = mean_interval(groups, seed)
        assert mean.low is not None
        assert mean.high is not None
        hits += mean.low <= 0 <= mean.high
    assert hits >= 104  # 95 %, less what 120 draws allow


def test_a_prompt_belongs_to_the_longest_end_of_a_path() -> None:
    table = {"a.mp4": "any", "first/a.mp4": "of the first", "b": "by stem"}
    assert prompt_of("/x/first/a.mp4", table) == "of the first"
    assert prompt_of("/x/second/a.mp4", table) == "any"
    assert prompt_of("/x/b.mp4", table) == "by stem"
    assert prompt_of("/x/c.mp4", table) is None
