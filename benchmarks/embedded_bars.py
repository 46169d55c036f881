"""The embedded model on injected pairs and on whole clips of sources that it never saw.

    python benchmarks/embedded_bars.py make CLIPS SET --cutouts DIR     # 640 pairs, frozen by hash
    python benchmarks/embedded_bars.py paint SET --first 150            # pairs in painted rooms: pictures ours to show
    python benchmarks/embedded_bars.py score SET --out figures.json     # the table of docs/embedded.md
    python benchmarks/embedded_bars.py state RUN DIR                    # a run that is not over, for score --model DIR
    python benchmarks/embedded_bars.py pictures SET --figures figures.json --out docs/images
    python benchmarks/embedded_bars.py speed DIR                        # processor seconds per second of 720p
    python benchmarks/embedded_bars.py clips CLIPS --out clips.json     # camera and AI clips; --keep FILE goes on
    python benchmarks/embedded_bars.py hide CLIPS                       # is the part that is named the one that counts?

Intervals are 95% by bootstrap over sources; every rendered scene counts as a source of its own. Constants are fitted on
pairs of training sources (``make --split train``). Needs the extra ``embedded``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import numpy as np

from deeptrace.categories import CATEGORIES
from deeptrace.files import read_jsonl
from deeptrace.measures.overlap import box_iou
from deeptrace.models.embedded import EmbeddedModel
from deeptrace.models.embedded.attribution import influence, look_without, mask_without, parts_of
from deeptrace.models.embedded.finding import find
from deeptrace.models.embedded.reading import read_parts
from deeptrace.models.embedded.windows import windows_of
from deeptrace.records import Conclusion
from deeptrace.train import load_recipe
from deeptrace.train.checkpoints import checkpoints
from deeptrace.train.embedded.bars import BarsPlan, Row, constants, figures, freeze, make_set, read_truth
from deeptrace.train.embedded.draw import COUNT, PairMaterial
from deeptrace.train.embedded.export import export
from deeptrace.train.embedded.finish import write_numbers
from deeptrace.train.embedded.footage import load_pool, read_manifest
from deeptrace.train.embedded.loop import read_checkpoint
from deeptrace.train.embedded.network import TraceNet
from deeptrace.train.embedded.refit import fit_kind
from deeptrace.train.embedded.scenes import scene_maker
from deeptrace.video import sample_frames

CONCLUSIONS = get_args(Conclusion)


def make(clips: Path, folder: Path, cutouts: str, *, split: str, first: int, second: int, cache: Path) -> None:
    _, recipe = load_recipe("embedded")
    pool = [clip for clip in load_pool(clips, cache) if split_of(clip.source, recipe) == split]
    material = PairMaterial(pool, scene_maker(pool, cutouts, test=split != "train"), 0.5)
    make_set(folder, material, BarsPlan(first=first, second=second))
    print(f"{first + second} pairs, sha256 {freeze(folder)}")


def paint(folder: Path, *, first: int) -> None:
    """Pairs in painted rooms with painted things: nobody's footage."""
    plan = BarsPlan(first=first, second=0, seed=30_000, rendered=True)
    make_set(folder, PairMaterial((), scene_maker((), None), 1.0), plan)
    print(f"{first} pairs, sha256 {freeze(folder)}")


def state(run: Path, out: Path) -> None:
    """The moving average of a run's newest checkpoint as a model, to be scored: the calibration is that of what ships,
    and the category head is fitted on the newest 1,000 pairs.
    """
    _, recipe = load_recipe(run / "recipe.toml")
    recipe = replace(recipe, refit_pairs=min(recipe.refit_pairs, 1000))
    newest = checkpoints(run)[-1]
    net = TraceNet(recipe.width)
    net.load_state_dict(read_checkpoint(newest)["average"])
    out.mkdir(parents=True)
    export(net, fit_kind(net.eval(), recipe, run / "spool"), out)
    shipped = json.loads((files("deeptrace.models.embedded") / "weights" / "embedded.json").read_text(encoding="utf-8"))
    write_numbers(out, {k: v for k, v in shipped.items() if k not in ("format", "version", "revision", "sha256")})
    print(f"{newest.name} of {run}")


def split_of(source: str, recipe: Any) -> str:
    """``"test"``, ``"validation"`` or ``"train"``."""
    if source in recipe.test_sources:
        return "test"
    return "validation" if source in recipe.validation_sources else "train"


def run_pairs(folder: Path, model: EmbeddedModel, part: Sequence[int]) -> list[Row]:
    """Each pair through the shipped path: reader, network, finding."""
    from tqdm import tqdm

    rows = []
    for truth in tqdm(read_truth(folder)[part[0] :: part[1]], unit="pair"):
        home = folder / f"{truth['index']:04d}"
        said = {
            name: model.network(next(windows_of(model.read_frames(home / f"{name}.mp4"))).images)
            for name in ("fake", "sham", "clean")
        }
        found = find(said["fake"])
        box = found.boxes.get(found.onset)
        true_box = truth["boxes"][truth["onset"]]
        rows.append(
            Row(
                truth,
                *(said[name].clip for name in ("fake", "sham", "clean")),
                iou=0.0 if box is None else box_iou(box, tuple(true_box)),
                onset_error=abs(found.onset - truth["onset"]) / COUNT,
                category=max(found.categories, key=lambda name: found.categories[name]),
            )
        )
    return rows


def with_intervals(rows: Sequence[Row], *, replicates: int = 1000) -> dict[str, list[float]]:
    """``measure -> [value, low, high]``; the bootstrap draws sources, and pairs of a scene as they come."""
    groups: dict[str, list[int]] = {}
    for k, row in enumerate(rows):
        name = row.truth["source"]
        groups.setdefault(name if name != "scene" else f"scene {k}", []).append(k)
    names = sorted(groups)
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {}
    for _ in range(replicates):
        picked = [rows[k] for i in rng.integers(len(names), size=len(names)) for k in groups[names[i]]]
        for name, value in figures(picked).items():
            drawn.setdefault(name, []).append(value)
    return {
        name: [round(v, 3) for v in (value, *np.percentile(drawn[name], [2.5, 97.5]))]
        for name, value in figures(rows).items()
    }


def _part(arguments: tuple[Path, str | None, int, int]) -> list[Row]:
    folder, path, part, parts = arguments
    return run_pairs(folder, EmbeddedModel(path), (part, parts))


def score(folder: Path, train_folder: Path | None, model: EmbeddedModel, path: str | None, jobs: int) -> dict[str, Any]:
    with ProcessPoolExecutor(jobs) as pool:
        parts = list(pool.map(_part, [(folder, path, k, jobs) for k in range(jobs)]))
    rows = sorted((row for part in parts for row in part), key=lambda row: row.truth["index"])
    groups: dict[str, Callable[[Row], bool]] = {
        "all, first implementation": lambda row: row.truth["implementation"] == "first",
        "real footage, first implementation": lambda row: (
            row.truth["implementation"] == "first" and row.truth["footage"]
        ),
        "scenes, first implementation": lambda row: row.truth["implementation"] == "first" and not row.truth["footage"],
        "all, second implementation": lambda row: row.truth["implementation"] == "second",
        "real footage, second implementation": lambda row: (
            row.truth["implementation"] == "second" and row.truth["footage"]
        ),
        "uniform prior": lambda row: not row.truth["paper_prior"],
        "paper prior": lambda row: row.truth["paper_prior"],
    }
    groups = {name: keep for name, keep in groups.items() if any(map(keep, rows))}
    table = {name: with_intervals([row for row in rows if keep(row)]) for name, keep in groups.items()}
    by_category = {
        category: with_intervals([row for row in rows if row.truth["category"] == category], replicates=200)
        for category in CATEGORIES
        if any(row.truth["category"] == category for row in rows)
    }
    found: dict[str, Any] = {
        "sha256": (folder / "sha256").read_text().strip(),
        "revision": model.revision,
        "pairs": len(rows),
        "groups": table,
        "categories": by_category,
    }
    train = read_truth(train_folder or folder)
    for prior in (False, True):
        fitted = [truth for truth in train if truth["paper_prior"] == prior]
        tested = [row.truth for row in rows if row.truth["paper_prior"] == prior]
        found[f"constants, {'paper' if prior else 'uniform'} prior"] = constants(fitted, tested)
    found["rows"] = [
        {
            "index": row.truth["index"],
            "fake": round(row.fake, 3),
            "sham": round(row.sham, 3),
            "clean": round(row.clean, 3),
            "iou": round(row.iou, 3),
            "onset_error": round(row.onset_error, 3),
            "category": row.category,
        }
        for row in rows
    ]
    return found


def whole_clips(root: Path, model: EmbeddedModel, keep: Path | None) -> dict[str, Any]:
    """Verdicts on the untouched clips of the test sources (and, apart, of the validation sources).

    Each is a line in ``keep``; clips that have one of this model's revision there are not run again.
    """
    from sklearn.metrics import roc_auc_score
    from tqdm import tqdm

    _, recipe = load_recipe("embedded")
    known = {} if keep is None or not keep.exists() else {row["path"]: row for _, row in read_jsonl(keep)}
    rows = []
    for entry in tqdm(read_manifest(root), unit="clip"):
        row = known.get(entry["path"])
        if row is None or row["revision"] != model.revision:
            row = clip_row(root, entry, model) | {"split": split_of(entry["source_repo"], recipe)}
            if keep is not None:
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        rows.append(row)
    found: dict[str, Any] = {"revision": model.revision, "splits": {}, "rows": rows}
    for split in ("test", "validation", "train"):
        some = [row for row in rows if row["split"] == split and row["p_fake"] is not None]
        camera, fake = ([row for row in some if row["class"] == name] for name in ("real", "fake"))
        entry = {
            "camera": len(camera),
            **{f"camera {name}": sum(row["conclusion"] == name for row in camera) for name in CONCLUSIONS},
            "camera with a box": sum(row["traces"] > 0 for row in camera),
            "generated": len(fake),
            **{f"generated {name}": sum(row["conclusion"] == name for row in fake) for name in CONCLUSIONS},
        }
        if camera and fake:
            labels = [0] * len(camera) + [1] * len(fake)
            for name in ("p_fake", "p_trace", "p_generated"):
                entry[f"AUROC {name}"] = float(roc_auc_score(labels, [row[name] for row in camera + fake]))
        found["splits"][split] = entry
    return found


def clip_row(root: Path, entry: dict[str, Any], model: EmbeddedModel) -> dict[str, Any]:
    """What the model says of one clip, and the processor time that it takes, the decoder's included."""
    import psutil
    from measuring import cpu_seconds, workers

    def spent() -> float:
        return cpu_seconds(psutil.Process()) + sum(map(cpu_seconds, workers()))

    before = spent()
    (verdict,) = model.inspect(root / entry["path"])
    given = ("label", "conclusion", "p_fake", "p_trace", "p_generated")
    return {
        "path": entry["path"],
        "class": entry["class"],
        "generator": entry["generator"],
        "source": entry["source_repo"],
        "revision": model.revision,
        "cpu_seconds": round(spent() - before, 2),
        **{name: getattr(verdict, name, None) for name in given},
        "traces": len(getattr(verdict, "traces", ())),
    }


def hide(root: Path, model: EmbeddedModel) -> dict[str, Any]:
    """Of the regions and moments of generated clips: how often hiding the named one takes most evidence, and how much.

    Means are in nats of evidence, of the first window of each clip.
    """
    from tqdm import tqdm

    found: dict[str, list[float]] = {}
    bar = tqdm([entry for entry in read_manifest(root) if entry["class"] == "fake"], unit="clip")
    for entry in bar:
        window = next(windows_of(read_parts(root / entry["path"], crops=False)))
        stages, weights = model.network.stages(window.images), model.calibration.generated_weights
        brought = influence(stages, weights)
        shape = brought.shape
        whole = look_without(stages, np.ones(shape, np.bool_))
        for what, parts in zip(("region", "moments"), parts_of(shape), strict=True):
            lost = [float((whole - look_without(stages, mask_without(shape, part))) @ weights) for part in parts]
            named = int(np.argmax([brought[part.frames, part.rows, part.columns].sum() for part in parts]))
            found.setdefault(f"{what}: named first", []).append(float(lost[named] == max(lost)))
            found.setdefault(f"{what}: named", []).append(lost[named])
            found.setdefault(f"{what}: others", []).append(float(np.mean(np.delete(lost, named))))
        bar.set_postfix({name: f"{np.mean(values):.3f}" for name, values in found.items()})
    return {name: round(float(np.mean(values)), 3) for name, values in found.items()}


def speed(folder: Path, model: EmbeddedModel, *, runs: int = 5) -> dict[str, Any]:
    """Processor seconds, the decoder's included, per second of a 5 s clip of 720p24; the process is warm."""
    import psutil
    from clips import make_clip
    from measuring import cpu_seconds, median, workers

    clip = make_clip(folder, "720p24", 250)
    model.inspect([clip])
    taken = []
    for _ in range(runs):
        before = cpu_seconds(psutil.Process()) + sum(map(cpu_seconds, workers()))
        model.inspect([clip])
        taken.append((cpu_seconds(psutil.Process()) + sum(map(cpu_seconds, workers())) - before) / 5.0)
    return {"cpu seconds a second": [round(value, 3) for value in taken], "median": round(median(taken), 3)}


def pictures(folder: Path, figures_file: Path, model: EmbeddedModel, out: Path) -> None:
    """``embedded-cases.jpg`` (a good and a bad case of each category) and ``embedded-reliability.png``."""
    import cv2
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = json.loads(figures_file.read_text(encoding="utf-8"))["rows"]
    truths = {truth["index"]: truth for truth in read_truth(folder)}
    strips = []
    for category in CATEGORIES:
        some = [row for row in rows if truths[row["index"]]["category"] == category]
        ranked = sorted(some, key=lambda row: (row["fake"] - row["sham"]) / 4 + 2 * row["iou"])
        strips.append(
            np.hstack([_case(folder, truths[row["index"]], model) for row in (ranked[-1], ranked[len(ranked) // 20])])
        )
    cv2.imwrite(str(out / "embedded-cases.jpg"), np.vstack(strips), [cv2.IMWRITE_JPEG_QUALITY, 82])

    scale, bias = model.calibration.trace_scale, model.calibration.trace_bias
    logits = np.array([[row["fake"], row["sham"], row["clean"]] for row in rows])
    chance = 1 / (1 + np.exp(-(scale * logits + bias)))
    labels = np.repeat([[1.0, 0.0, 0.0]], len(rows), axis=0)
    weight = np.repeat([[1.0, 0.5, 0.5]], len(rows), axis=0)  # as many without a trace as with one
    edges = np.linspace(0, 1, 11)
    figure, axes = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7")
    points = []
    for low, high in itertools.pairwise(edges):
        inside = (chance >= low) & ((chance < high) | (high == 1))
        if weight[inside].sum() >= 5:
            share = float((labels * weight)[inside].sum() / weight[inside].sum())
            points.append((float((chance * weight)[inside].sum() / weight[inside].sum()), share, weight[inside].sum()))
    axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", color="#c62a2f")
    for x, y, n in points:
        axes.annotate(f"{n:.0f}", (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axes.set(xlabel="trace probability of a window (prior 0.5)", ylabel="share with a trace", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(out / "embedded-reliability.png", dpi=130)


def _case(folder: Path, truth: dict[str, Any], model: EmbeddedModel) -> np.ndarray:
    """Four frames of a fake: white is the truth's box, red the model's. BGR, 96 pixels high."""
    import cv2

    images = sample_frames(folder / f"{truth['index']:04d}" / "fake.mp4", fps=8.0).images
    found = find(model.network(images))
    tiles = []
    onset = truth["onset"]
    for t in (onset - 1, onset, min(onset + 3, COUNT - 1), min(onset + 7, COUNT - 1)):
        tile = cv2.resize(images[t], (170, 96), interpolation=cv2.INTER_AREA)
        for box, colour in ((truth["boxes"][t], (255, 255, 255)), (found.boxes.get(t), (255, 40, 40))):
            if box is not None:
                x0, y0, x1, y1 = (np.array(box) * [169, 95, 169, 95]).astype(int)
                cv2.rectangle(tile, (int(x0), int(y0)), (int(x1), int(y1)), colour, 1)
        tiles.append(tile)
    strip = cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR)
    words = f"{truth['category']}  onset {onset} found {found.onset}"
    cv2.putText(strip, words, (4, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(strip, words, (4, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "paint", "state", "score", "clips", "pictures", "speed", "hide"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--cutouts", default="/usr/share/tuxpaint/stamps")
    parser.add_argument("--cache", type=Path, default=Path("out/pool"))
    parser.add_argument("--split", choices=["test", "validation", "train"], default="test")
    parser.add_argument("--first", type=int, default=420)
    parser.add_argument("--second", type=int, default=220)
    parser.add_argument("--constants", type=Path, help="A set made with --split train; its truths fit the constants.")
    parser.add_argument("--figures", type=Path, help="What score wrote, for pictures.")
    parser.add_argument("--jobs", type=int, default=1, help="Processes that score.")
    parser.add_argument("--model", help="A model's folder; default: the shipped one.")
    parser.add_argument("--keep", type=Path, help="Lines of clips, to go on with after a break.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "make":
        clips, folder = given.paths
        make(
            clips,
            folder,
            given.cutouts,
            split=given.split,
            first=given.first,
            second=given.second,
            cache=given.cache,
        )
        return
    if given.what == "paint":
        paint(given.paths[0], first=given.first)
        return
    if given.what == "state":
        state(*given.paths)
        return
    model = EmbeddedModel(given.model)
    if given.what in ("speed", "hide"):
        print(json.dumps({"speed": speed, "hide": hide}[given.what](given.paths[0], model)))
        return
    if given.what == "pictures":
        pictures(given.paths[0], given.figures, model, given.out)
        return
    found = (
        score(given.paths[0], given.constants, model, given.model, given.jobs)
        if given.what == "score"
        else whole_clips(given.paths[0], model, given.keep)
    )
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key != "rows"}, indent=1))


if __name__ == "__main__":
    main()
