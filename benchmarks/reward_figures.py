#!/usr/bin/env python3
"""The tables of docs/reward.md, made from the rows that reward_fitness.py wrote.

    python benchmarks/reward_figures.py tables ROWS                      # print them
    python benchmarks/reward_figures.py tables ROWS --into docs/reward.md  # between the two marks there
    python benchmarks/reward_figures.py reference ROWS --model embedded    # src/deeptrace/reward/reference.json

Intervals are 95 %, by bootstrap over clips, or over groups of one prompt or scene.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from reward_fitness import FILE_TRICKS, TRICKS, has_ladder
from scipy.stats import kendalltau, spearmanr

from deeptrace.categories import CATEGORIES
from deeptrace.models import load
from deeptrace.reward import REWARDS
from deeptrace.reward.kinds import RewardName

BEGIN: Final = "<!-- figures: made by benchmarks/reward_figures.py -->"
END: Final = "<!-- end of figures -->"
MARGIN: Final = 0.5
"""In standard deviations of the logit over clips as they are: what counts as earning more."""
FEWEST: Final = 5
"""Of fewer ladders or groups nothing is concluded."""
BASELINES: Final = ("motion", "sharpness", "bytes")
FASTER: Final = ("FastVideo", "TurboDiffusion", "student", "SageAttention")
"""Words in the label of a generator that is another one made faster: distilled, sparser, fewer steps."""
QUESTIONS: Final = ("source above edit", "original above accelerated")
REPLICATES: Final = 2000

Row: TypeAlias = dict[str, Any]
Scorer: TypeAlias = Callable[[Row], float | None]
Interval: TypeAlias = tuple[float, float, float]


# ── numbers ──


def kinds_of(path: Path) -> dict[str, list[Row]]:
    """The rows of a journal by kind; of several with one key the last."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in {row["key"]: row for row in rows if "key" in row}.values():
        kinds[row["kind"]].append(row)
    return kinds


def logit_of(row: Row, name: RewardName) -> float | None:
    """The logit of one reward; None where there is none."""
    forms = row.get(name)
    return None if forms is None else float(forms[2])


def kendall(levels: list[float], values: list[float]) -> float:
    """Kendall's tau-b of how a reward falls with severity, in [-1, 1]: 1 = falls at every step, 0 = never changes."""
    if len(set(values)) == 1:
        return 0.0
    return float(kendalltau(levels, [-value for value in values]).statistic)


def interval(values: Iterable[float], clusters: Iterable[str] | None = None) -> Interval:
    """Mean and its interval, whole clusters drawn. All NaN: a mean of nothing."""
    values = list(values)
    keys = [str(k) for k in range(len(values))] if clusters is None else list(clusters)
    by: dict[str, list[float]] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        by[key].append(value)
    if not by:
        return float("nan"), float("nan"), float("nan")
    sums = np.array([[sum(pool), len(pool)] for pool in by.values()])
    drawn = np.random.default_rng(0).integers(0, len(sums), (REPLICATES, len(sums)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)


def percent(share: Interval) -> str:
    """A share with its interval, as per cent."""
    return f"{100 * share[0]:.0f} % [{100 * share[1]:.0f}, {100 * share[2]:.0f}]"


def number(mean: Interval, sign: str = "") -> str:
    """A mean with its interval."""
    return f"{mean[0]:{sign}.2f} [{mean[1]:{sign}.2f}, {mean[2]:{sign}.2f}]"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    head = list(head)
    yield "| " + " | ".join(head) + " |"
    yield "|" + "--|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def listed(names: Iterable[str]) -> str:
    """Names in one line, or "none"."""
    return ", ".join(names) or "none"


# ── real generators ──


def share_right(members: list[Row], score: Scorer, question: str) -> float | None:
    """The share of pairs in a group in which the better one scores higher; ties count as half."""
    better, worse = (
        [v for row in members if better_and_worse(row, question) is side and (v := score(row)) is not None]
        for side in (True, False)
    )
    if not better or not worse:
        return None
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in better for b in worse]))


def better_and_worse(row: Row, question: str) -> bool | None:
    """Whether the row is the better of its group by construction (True), the worse (False), or not asked about."""
    if question == "source above edit":
        return bool(row["class"] == "real")
    if not str(row["pair"]).startswith(("turbo:", "sage:")):
        return None
    return not any(word in row["generator"] for word in FASTER)


def scorers() -> dict[str, Scorer]:
    """The rewards, and what needs no model."""
    return {
        **{name: lambda row, name=name: logit_of(row["row"], name) for name in REWARDS},  # type: ignore[misc]
        **{what: lambda row, what=what: row["looks"][what] for what in BASELINES},  # type: ignore[misc]
    }


def shares_right(clips: list[Row]) -> dict[tuple[str, str], list[float]]:
    """By scorer and question: the share of each group of one scene or prompt that is in the right order."""
    by: dict[str, list[Row]] = defaultdict(list)
    for row in clips:
        if row["pair"]:
            by[row["pair"]].append(row)
    return {
        (name, question): [s for members in by.values() if (s := share_right(members, score, question)) is not None]
        for name, score in scorers().items()
        for question in QUESTIONS
    }


def tell_generators(clips: list[Row]) -> Iterator[str]:
    """On real generators: how often is what is better by construction above?"""
    shares = shares_right(clips)

    def cell(name: str, question: str) -> str:
        found = shares[name, question]
        return f"{percent(interval(found))} of {len(found)}" if len(found) >= FEWEST else f"too few ({len(found)})"

    yield "### Does it order real generators?"
    yield ""
    yield "The share of pairs in the right order, each group of one scene or prompt counting once; 50 % is chance."
    yield ""
    yield from table(["by", *QUESTIONS], ([name, *(cell(name, q) for q in QUESTIONS)] for name in scorers()))
    chance: dict[str, list[str]] = {"chance": [], "worse than chance": []}
    for (name, question), found in shares.items():
        _, low, high = interval(found)
        if name in REWARDS and len(found) >= FEWEST and low <= 0.5:
            chance["worse than chance" if high < 0.5 else "chance"].append(f"{name} ({question})")
    yield ""
    yield " ".join(f"At {what}: {listed(names)}." for what, names in chance.items())


# ── ladders ──


def tell_ladders(rows: list[Row], footage: str) -> Iterator[str]:
    """Does the reward fall as a trace gets stronger? One table for all rewards."""
    rows = [row for row in rows if row.get("footage", "camera") == footage and has_ladder(row["levels"])]
    groups = {**{c: [row for row in rows if row["category"] == c] for c in CATEGORIES}, "all": rows}
    taus = {name: {group: _taus(members, name) for group, members in groups.items()} for name in REWARDS}
    yield f"### Does it fall with severity? {footage} footage: {len(rows)} ladders"
    yield ""
    clips = len({row["clip"] for row in rows})
    yield f"In {clips} clips. Kendall's tau, 1: falls at every step; the share of monotone."
    yield ""
    head = ["category", "ladders", *(f"{name}: {what}" for name in REWARDS for what in ("tau", "monotone"))]

    def cells(group: str) -> Iterator[object]:
        members = groups[group]
        yield group
        yield len(members)
        for name in REWARDS:
            tau, monotone, count = taus[name][group]
            note = "" if count == len(members) else f" of {count}"
            few = count < FEWEST  # no interval then
            yield f"{tau[0]:.2f}{note}" if few and count else number(tau) + note if count else "-"
            yield f"{100 * monotone[0]:.0f} %{note}" if few and count else percent(monotone) + note if count else "-"

    yield from table(head, (cells(group) for group in groups))
    yield ""
    for name in REWARDS:
        enough = [category for category in CATEGORIES if taus[name][category][2] >= FEWEST]
        flat = [category for category in enough if taus[name][category][0][1] <= 0]
        said = listed(flat) if enough else "cannot be told"
        few = listed(category for category in CATEGORIES if category not in enough)
        yield f"- At chance by `{name}`: {said}. Fewer than {FEWEST} ladders: {few}."


def _taus(rows: list[Row], name: RewardName) -> tuple[Interval, Interval, int]:
    """Kendall's tau, the share of monotone ladders, and how many there are."""
    taus, monotone, clips = [], [], []
    for row in rows:
        levels = {float(level): logit_of(value, name) for level, value in row["levels"].items()}
        points = sorted((level, value) for level, value in levels.items() if value is not None)
        if len(points) < 3:
            continue
        taus.append(kendall([level for level, _ in points], [value for _, value in points]))
        monotone.append(float(all(b < a for (_, a), (_, b) in pairwise(points))))
        clips.append(row["clip"])
    return interval(taus, clips), interval(monotone, clips), len(taus)


# ── tricks ──


def changes_by(rows: list[Row], trick: str, name: RewardName, unit: float) -> list[float]:
    """How much a trick changes the logit of each clip that has a reward before and after, in deviations."""
    both = [(logit_of(row["rows"]["clean"], name), logit_of(row["rows"][trick], name)) for row in rows]
    return [(after - before) / unit for before, after in both if before is not None and after is not None]


def tell_tricks(rows: list[Row]) -> Iterator[str]:
    """Does damage earn more? One table for all rewards."""
    clean = {name: [v for row in rows if (v := logit_of(row["rows"]["clean"], name)) is not None] for name in REWARDS}
    units = {name: float(np.std(values)) if values else float("nan") for name, values in clean.items()}
    tricks = [*TRICKS, *FILE_TRICKS]
    changes = {(t, name): changes_by(rows, t, name, units[name]) for t in tricks for name in REWARDS}
    yield f"### Does damage earn more? {len(rows)} clips"
    yield ""
    said = ", ".join(f"{unit:.2f} of the logit of `{name}`" for name, unit in units.items())
    yield f"The change in deviations over clips as they are ({said}); the share that earns more than {MARGIN:g} of it."
    yield ""

    def cells(trick: str) -> Iterator[object]:
        yield trick
        yield sum("code" not in row["rows"]["clean"] and "code" in row["rows"][trick] for row in rows)
        for name in REWARDS:
            change = changes[trick, name]
            more = 100 * float(np.mean(np.array(change) > MARGIN)) if change else 0.0
            note = "" if len(change) == len(rows) else f" of {len(change)}"
            yield f"{number(interval(change), '+')}, {more:.0f} %{note}" if change else "-"

    yield from table(["trick", "refused", *REWARDS], (cells(trick) for trick in tricks))
    yield ""
    for name in REWARDS:
        means = {trick: interval(changes[trick, name]) for trick in tricks if len(changes[trick, name]) >= FEWEST}
        pays = sorted((t for t, m in means.items() if m[1] > 0 and m[0] > 0.1), key=lambda t: -means[t][0])
        yield f"- Pays by `{name}`: {listed(pays)}."


def noise_of(rows: list[Row], name: RewardName) -> float:
    """The median over clips of how much encoding again changes the logit."""
    changes = changes_by(rows, "encoded again", name, 1.0)
    return float(np.median(np.abs(changes))) if changes else 0.0


# ── resolution, and what it goes along with ──


def tell_resolution(clips: list[Row], tricks: list[Row]) -> Iterator[str]:
    """Among fakes: does it tell clips of one prompt apart, and what else does it follow?"""
    fakes = [row for row in clips if row["class"] == "fake"]
    yield f"### Does it tell fakes apart, and what does it follow? {len(fakes)} generated clips"
    yield ""
    yield "Groups of one prompt or scene whose spread exceeds what encoding again changes; Spearman's correlations."
    yield ""
    rows: dict[str, list[object]] = defaultdict(list)
    for name in REWARDS:
        known = [(row, value) for row in fakes if (value := logit_of(row["row"], name)) is not None]
        values = [value for _, value in known]
        noise = noise_of(tricks, name)
        by: dict[str, list[float]] = defaultdict(list)
        for row, value in known:
            if row["pair"]:
                by[row["pair"]].append(value)
        wider = [float(max(v) - min(v) > noise) for v in by.values() if len(v) > 1]
        rows["clips without a reward"].append(len(fakes) - len(known))
        rows["logit: mean, deviation"].append(f"{np.mean(values):.2f}, {np.std(values):.2f}")
        rows["encoding again changes the logit by"].append(f"{noise:.2f}")
        rows["groups with a wider spread"].append(f"{percent(interval(wider))} of {len(wider)}")
        for what in fakes[0]["looks"]:
            along = spearmanr(values, [row["looks"][what] for row, _ in known]).statistic
            rows[f"goes along with {what}"].append(f"{along:+.2f}")
    yield from table(["", *REWARDS], ([what, *cells] for what, cells in rows.items()))


# ── what is printed ──


def tables(path: Path) -> str:
    """Every table for which there are rows."""
    kinds = kinds_of(path)
    parts: list[Iterator[str]] = []
    if kinds["clip"]:
        parts.append(tell_generators(kinds["clip"]))
    for footage in ("camera", "rendered"):
        if any(row.get("footage", "camera") == footage for row in kinds["ladder"]):
            parts.append(tell_ladders(kinds["ladder"], footage))
    if kinds["tricks"]:
        parts.append(tell_tricks(kinds["tricks"]))
    if kinds["clip"]:
        parts.append(tell_resolution(kinds["clip"], kinds["tricks"]))
    return "\n\n".join("\n".join(part) for part in parts)


def write_into(page: Path, text: str) -> None:
    """Put the tables between the two marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page.name} has no place for figures: {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def reference(path: Path, name: str) -> str:
    """The mean, deviation and noise that `Reward` normalises by, as JSON."""
    kinds = kinds_of(path)
    fakes = [row for row in kinds["clip"] if row["class"] == "fake"]
    rewards = {}
    for reward in REWARDS:
        values = [v for row in fakes if (v := logit_of(row["row"], reward)) is not None]
        rewards[reward] = {
            "mean": round(float(np.mean(values)), 4),
            "deviation": round(float(np.std(values)), 4),
            "noise": round(noise_of(kinds["tricks"], reward), 4),
        }
    model = load(name)
    facts = {"revision": model.revision, "measured_on": f"{len(fakes)} generated clips", "rewards": rewards}
    return json.dumps({model.name: facts}, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["tables", "reference"])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--model", default="embedded")
    options = parser.parse_args()
    text = tables(options.rows) if options.what == "tables" else reference(options.rows, options.model)
    if options.into is not None:
        write_into(options.into, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
