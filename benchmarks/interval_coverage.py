"""How often the benchmark's 95 % intervals hold the truth, by simulation. Bar: at least 0.93 in every row.

    python benchmarks/interval_coverage.py [--trials 400] [--replicates 300] [--clusters 60 200 700] [--keep FILE]
    python benchmarks/interval_coverage.py --metric category_f1 --trials 2000 --clusters 200 --graded   # one, quickly

Samples of a large made-up population are scored as `deeptrace bench score` does; half of the clusters are single
videos, the others two or three copies. The truth is the metric over the population. Last, people's mean grade corrected
by a judge. Where an interval is not given, the row says in how many samples it was, and why.

The least over three models is shown: a good one, a weak one and one that is nearly perfect. With ``--keep`` each sample
is a line in FILE, and those that are there are not drawn again: a run that was broken off goes on, and more trials or
sizes add to it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from deeptrace.answer import FIELDS
from deeptrace.bench.judge import Judgement
from deeptrace.bench.judge.humans import correct_mean
from deeptrace.bench.judge.rubric import GRADES
from deeptrace.bench.score.compare import differences
from deeptrace.bench.score.dataset import Dataset, dataset_of
from deeptrace.bench.score.grades import GradeBook
from deeptrace.bench.score.measure import HITS, Measured, Setting, metrics_of
from deeptrace.bench.score.result import Protocol
from deeptrace.bench.score.run_table import RunTable
from deeptrace.bench.score.runs import score_outcomes
from deeptrace.bench.score.statistics import draw, replicate_sums
from deeptrace.bench.score.totals import LOWER_IS_BETTER
from deeptrace.categories import CATEGORIES
from deeptrace.records import Annotation, Origin, Outcome, Record, Trace, Verdict, VideoInfo

BAR = 0.93
SHOWN: tuple[tuple[Protocol, str], ...] = (
    ("fair", "accuracy"), ("fair", "fake_accuracy"), ("fair", "real_accuracy"), ("fair", "informedness"),
    ("fair", "balanced_accuracy"), ("fair", "viou_f1"), ("fair", "category_f1"), ("fair", "auroc"),
    ("fair", "tpr_at_1_fpr"), ("fair", "tpr_at_10_fpr"), ("fair", "fair_overall"), ("fair", "explanation"),
    ("fair", "brier"), ("fair", "calibration_error"), ("paper", "accuracy"), ("paper", "bbox_iou"),
    ("paper", "time_distance"), ("paper", "overall"),
)  # fmt: skip
COMPARED: tuple[tuple[Protocol, str], ...] = (
    ("fair", "accuracy"), ("fair", "viou_f1"), ("fair", "category_f1"), ("fair", "auroc"), ("fair", "fair_overall"),
    ("paper", "overall"),
)  # fmt: skip
SHARES = (0.4, 0.3, 0.2, 0.1)
"""How often each of the categories occurs."""

Trial: TypeAlias = dict[str, tuple[bool, float] | str]
"""Of each interval: whether it held the truth, and its width; or why it is not given."""


@dataclass(frozen=True)
class Skill:
    """A model by how far its log odds of fakes and reals lie from 0 (spread 1.5), and how far its boxes are off."""

    odds: float
    off: float
    right_category: float

    def answer(self, truth: Trace, label: str, rng: np.random.Generator) -> Verdict:
        """Its answer on a video whose trace, were it fake, is this one."""
        p = float(1 / (1 + np.exp(-rng.normal(self.odds if label == "fake" else -self.odds, 1.5))))
        assert truth.bbox_xyxy is not None
        assert truth.onset_seconds is not None
        assert truth.categories
        x = float(np.clip(truth.bbox_xyxy[0] + rng.normal(0, self.off), 0, 0.7))
        start = float(np.clip(truth.onset_seconds + rng.normal(0, 8 * self.off), 0, 3.9))
        right = rng.random() < self.right_category
        category = truth.categories[0] if right else CATEGORIES[int(rng.integers(len(SHARES)))]
        claim = Trace((x, x, x + 0.3, x + 0.3), start, start + 2, (category,), explanation="a hand melts")
        return Verdict("fake", p_fake=p, traces=(claim,)) if p >= 0.5 else Verdict("real", p_fake=p)


MODELS = {"good": Skill(2.2, 0.08, 0.7), "weak": Skill(0.6, 0.25, 0.3), "nearly perfect": Skill(3.6, 0.02, 0.95)}


def population(count: int, rng: np.random.Generator) -> tuple[Dataset, dict[str, RunTable]]:
    """So many fakes and as many reals, and the answers of each model, graded."""
    records, answers = [], defaultdict[str, dict[str, Outcome]](dict)
    book = GradeBook()
    for i in range(2 * count):
        name, label = f"v{i}", "fake" if i < count else "real"
        x, onset = float(rng.uniform(0, 0.5)), float(rng.uniform(0, 3))
        category = CATEGORIES[int(rng.choice(len(SHARES), p=SHARES))]
        truth = Trace((x, x, x + 0.3, x + 0.3), onset, onset + 2, (category,), explanation="the hand melts away")
        annotations = (Annotation((truth,)),) if label == "fake" else ()
        info = VideoInfo(200, 100, 24.0, 144, 6.0)
        records.append(Record(name, f"{name}.mp4", label, info, annotations=annotations))  # type: ignore[arg-type]
        for model, skill in MODELS.items():
            answers[model][name] = replace(skill.answer(truth, label, rng), origin=Origin(name))
            grade = float(rng.choice(GRADES, p=(0.3, 0.3, 0.4)))
            book.add({"video_id": name, "row": 0, "grade": grade, "model": model})
    of = dataset_of(records, "all")
    fields = frozenset(FIELDS)
    return of, {m: score_outcomes(of, outcomes, m, fields=fields, grades=book) for m, outcomes in answers.items()}


class World:
    """The population, and the truth of it."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    @cached_property
    def whole(self) -> tuple[Dataset, dict[str, RunTable]]:
        """The videos and each model's run over them."""
        return population(1500, self.rng)

    @cached_property
    def truth(self) -> dict[str, Measured]:
        """Each model's metrics over the population."""
        of, runs = self.whole
        setting = Setting(of, draw(range(len(of.truths)), replicates=0), range(len(of.truths)), 0, 0)
        return {model: setting.measure(run) for model, run in runs.items()}

    def sample(self, clusters: int, rng: np.random.Generator, replicates: int) -> tuple[Setting, list[RunTable]]:
        """So many clusters: half of one video, the others of two or three copies."""
        of, runs = self.whole
        chosen = rng.integers(0, len(of.truths), clusters)
        sizes = np.where(rng.random(clusters) < 0.5, 1, rng.integers(2, 4, clusters))
        places, cluster = np.repeat(chosen, sizes), np.repeat(np.arange(clusters), sizes).tolist()
        part = replace(of, records=tuple(of.records[i] for i in places), truths=tuple(of.truths[i] for i in places))
        draws = draw(cluster, replicates=replicates, seed=int(rng.integers(1 << 30)))
        setting = Setting(part, draws, cluster, 0, 0)
        return setting, [replace(run, rows=run.rows[places], p=run.p[places]) for run in runs.values()]

    def trial(self, clusters: int, number: int, replicates: int, metric: str | None) -> Trial:
        """One sample of so many clusters, scored; one metric of the fair protocol, or all."""
        setting, runs = self.sample(clusters, np.random.default_rng((clusters, number)), replicates)
        if metric is not None:
            return self._of_one(setting, runs, metric)
        measured = [setting.measure(run) for run in runs]
        found: Trial = {}
        for row in measured:
            for protocol, key in SHOWN:
                span = setting.interval(row, protocol, key)
                truth = float(self.truth[row.run.name].of(protocol)[key][0])
                found[f"{protocol} {key}|{row.run.name}"] = _held(truth, span.low, span.high, span.reason)
        good, weak = measured[:2]
        [apart] = differences([good], weak, setting)
        for protocol, key in COMPARED:
            truth = self.truth[good.run.name].of(protocol)[key][0] - self.truth[weak.run.name].of(protocol)[key][0]
            sign = -1.0 if key in LOWER_IS_BETTER else 1.0
            one = apart[protocol][key]
            found[f"{protocol} {key}, difference|good - weak"] = _held(sign * float(truth), one.low, one.high, None)
        return found

    def _of_one(self, setting: Setting, runs: list[RunTable], key: str) -> Trial:
        spans: Trial = {}
        for run in runs:
            measured = Measured(run, {}, metrics_of(run, "fair")(replicate_sums(run.rows, setting.draws)))
            span = setting.interval(measured, "fair", key)
            truth = float(self.truth[run.name].fair[key][0])
            spans[f"fair {key}|{run.name}"] = _held(truth, span.low, span.high, span.reason)
        return spans


JUDGES = {
    "too kind in a third": ((0.4, 0.3, 0.3), 1 / 3),
    "mostly zeros": ((0.8, 0.1, 0.1), 0.2),
    "hardly ever off": ((0.05, 0.1, 0.85), 0.1),
}


def judge_trial(graded: int, number: int) -> Trial:
    """People grade some of 300 rows, the judge all of them."""
    rng, found = np.random.default_rng((graded, number, 1)), Trial()
    for name, (shares, kind) in JUDGES.items():
        human = rng.choice(GRADES, 300, p=shares)
        judge = np.where(rng.random(300) < kind, np.minimum(human + 0.5, 1.0), human)
        judged = [Judgement(f"v{i}", 0, "scored", float(grade), "j") for i, grade in enumerate(judge)]
        span = correct_mean(judged, {(f"v{i}", 0): float(human[i]) for i in range(graded)})
        low, high = (None, None) if span is None else (span.low, span.high)
        found[f"corrected grade|judge {name}"] = _held(float(np.dot(shares, GRADES)), low, high, "too few")
    return found


def _held(truth: float, low: float | None, high: float | None, reason: str | None) -> tuple[bool, float] | str:
    if low is None or high is None:
        return reason or "a mean of nothing"
    return low - 1e-9 <= truth <= high + 1e-9, high - low


def trials(args: argparse.Namespace, known: Mapping[str, Trial]) -> Iterator[tuple[str, Trial]]:
    """Each sample that is not known, by its size, number and draws, and what came out."""
    world, draws = World(), args.replicates
    for number in range(args.trials):
        for kind, sizes in (("clusters", args.clusters), ("graded", args.graded)):
            for size in sizes:
                key = f"{size} {kind}, {number}, {draws}"
                if key not in known:
                    yield (
                        key,
                        judge_trial(size, number)
                        if kind == "graded"
                        else world.trial(size, number, draws, args.metric),
                    )


def read_kept(path: Path | None) -> dict[str, Trial]:
    """The samples in a file; a last line that was broken off is not one."""
    if path is None or not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    whole, _, broken = text.rpartition("\n")
    if broken:
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    return dict(map(json.loads, whole.splitlines()))


@dataclass(frozen=True)
class Cell:
    """Of one interval and size of the sample: in how many samples it was given, and how often it held the truth."""

    metric: str
    model: str
    size: str
    samples: int
    given: int
    held: float | None
    reason: str | None

    def __str__(self) -> str:
        held = "not given" if self.held is None else f"{self.held:.3f}"
        return held if self.given in (0, self.samples) else f"{held} (given in {self.given / self.samples:.0%})"


def cells_of(rows: Mapping[str, Trial]) -> list[Cell]:
    """A cell a metric, model and size."""
    values = defaultdict[tuple[str, str, str], list[tuple[bool, float] | str]](list)
    for key, found in rows.items():
        for name, value in found.items():
            metric, _, model = name.partition("|")
            values[metric, model, key.partition(",")[0]].append(value)
    return [Cell(*key, *_counted(listed)) for key, listed in values.items()]


def _counted(listed: list[tuple[bool, float] | str]) -> tuple[int, int, float | None, str | None]:
    held = [value[0] for value in listed if not isinstance(value, str)]
    reason = next((value for value in listed if isinstance(value, str)), None)
    return len(listed), len(held), float(np.mean(held)) if held else None, reason


def print_table(cells: list[Cell]) -> None:
    """Of each metric and size the least over the models, and what is under the bar or not given."""
    sizes = list(dict.fromkeys(cell.size for cell in cells))
    samples = {cell.size: cell.samples for cell in cells}
    print("| interval of | " + " | ".join(f"{size}, {samples[size]} samples" for size in sizes) + " |")
    print("|---" * (1 + len(sizes)) + "|")
    for metric in dict.fromkeys(cell.metric for cell in cells):
        least = []
        for size in sizes:
            among = [cell for cell in cells if (cell.metric, cell.size) == (metric, size)]
            least.append(str(min(among, key=lambda cell: 2.0 if cell.held is None else cell.held)) if among else "")
        print(f"| {metric} | " + " | ".join(least) + " |")
    for cell in cells:
        if cell.held is not None and cell.held < BAR:
            print(f"under {BAR}: {cell.metric}, {cell.model}, {cell.size}: {cell}")
    for metric, reason in {cell.metric: cell.reason for cell in cells if cell.held is None}.items():
        print(f"not given: {metric}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--clusters", type=int, nargs="*", default=[60, 200, 700])
    parser.add_argument("--graded", type=int, nargs="*", default=[20, 30, 60])
    parser.add_argument("--metric", help="only this one of the fair protocol; it must not rest on ranks")
    parser.add_argument("--keep", type=Path, metavar="FILE")
    args = parser.parse_args()
    known = read_kept(args.keep)
    rows = dict(known)
    for key, found in trials(args, known):
        rows[key] = found
        if args.keep is not None and key not in known:
            with args.keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, found]) + "\n")
    cells = cells_of(rows)
    print_table(cells)
    assert set(HITS) <= {key for _, key in SHOWN}
    raise SystemExit(any(cell.held is not None and cell.held < BAR for cell in cells))


if __name__ == "__main__":
    main()
