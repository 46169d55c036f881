"""Where the embedded model's boxes lie on real generators' clips: at a local edit, and judged blind by a person.

    python benchmarks/embedded_boxes.py local CLIPS [--model DIR] [--pictures DIR]
    python benchmarks/embedded_boxes.py sheets CLIPS ... --out DIR [--count 60] [--model DIR]
    python benchmarks/embedded_boxes.py count DIR

``local``: CLIPS has a ``manifest.jsonl`` in which an edit and the camera clip that it was made from share a ``pair``.
The aligned, blurred, thresholded difference of the two is a weak box of what was made; pairs whose box is local are
kept. The model's strongest box is compared with it, whatever its evidence, beside the best box of a map of the
whole-clip heads' evidence, a box in the centre, and one of the same size at a random place.

``sheets``: of ``count`` AI and as many camera clips, no two of one family before all families had one, the strongest
box beside a random box of the same size at the same moment, in an order that tells neither. Open ``index.html``, say of
each box whether it lies on something wrong (y), on nothing wrong (n), or that one cannot tell (u), and save
``answers.json`` there. ``count`` opens the key and counts. Sheets and answers stay outside of the package.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from deeptrace.measures.overlap import box_iou
from deeptrace.models.embedded.attribution import influence
from deeptrace.models.embedded.calibration import EmbeddedCalibration, read_calibration
from deeptrace.models.embedded.finding import find
from deeptrace.models.embedded.reading import read_parts
from deeptrace.models.embedded.windows import Network, Window, windows_of
from deeptrace.records import Box
from deeptrace.train.embedded.generated import families_of
from deeptrace.video import iter_frames

Doubles = npt.NDArray[np.float64]

SHORT_SIDE: Final = 128  # of the difference, as all below by the description of the clips
SIGMA: Final = 2.0
LEAST_PART: Final = 0.004  # of the frame
MOST_OF_FRAME: Final = 0.5  # a box that is larger is no local edit
STEADY: Final = 0.9  # a part of the map that a box takes in
SHEET_SIDE: Final = 360


# ── local edits ─────────────────────────────────────────────────────────────────────────────────────────────────────


def frames_of(path: Path) -> npt.NDArray[np.uint8]:
    """All pictures, short side 128."""
    with iter_frames(path, short_side=SHORT_SIDE, chunk=64) as stream:
        return np.concatenate([part.images for part in stream])


def difference_box(edit: Path, source: Path) -> Box | None:
    """The box of what an edit changed; None where it is not local, or nothing stands out."""
    one, two = frames_of(edit), frames_of(source)
    count = min(len(one), len(two))
    if one.shape[1:] != two.shape[1:]:
        two = np.stack([cv2.resize(image, one.shape[2:0:-1], interpolation=cv2.INTER_AREA) for image in two])
    apart = np.abs(one[:count].astype(np.float32) - two[:count].astype(np.float32)).mean(axis=(0, 3))
    apart = cv2.GaussianBlur(apart, (0, 0), SIGMA)
    middle = float(np.median(apart))
    threshold = middle + max(8.0, 0.35 * (float(np.quantile(apart, 0.99)) - middle))
    mask = (apart > threshold).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    labels, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
    del labels
    kept = [i for i in range(1, len(statistics)) if statistics[i, cv2.CC_STAT_AREA] >= LEAST_PART * mask.size]
    if not kept:
        return None
    ys, xs = np.nonzero(np.isin(parts, kept))
    height, width = mask.shape
    box = (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return tuple(map(float, box)) if area <= MOST_OF_FRAME else None  # type: ignore[return-value]


def strongest(path: Path, network: Network) -> tuple[float, Window, Any]:
    """The logit of the window that looks most like a trace, the window, and what was found in it."""
    best: tuple[float, Window, Any] | None = None
    for window in windows_of(read_parts(path, crops=False)):
        outputs = network(window.images, window.first)
        if best is None or outputs.clip > best[0]:
            best = outputs.clip, window, find(outputs)
    assert best is not None
    return best


def box_of(finding: Any) -> Box:
    """One box for a trace: the median of each edge over its frames."""
    x0, y0, x1, y1 = np.median(np.array(list(finding.boxes.values())), axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def evidence_box(window: Window, network: Network, calibration: EmbeddedCalibration, area: float) -> Box:
    """The box of this area with most of the whole-picture head's evidence, summed over the window's frames."""
    brought = influence(network.stages(window.images), calibration.generated_weights).sum(axis=0)
    rows, columns = brought.shape
    side = np.sqrt(area)
    high, wide = max(1, round(side * rows)), max(1, round(side * columns))
    sums = cv2.boxFilter(brought.astype(np.float32), -1, (wide, high), normalize=False, borderType=cv2.BORDER_CONSTANT)
    inside = sums[high // 2 : rows - (high - 1) // 2, wide // 2 : columns - (wide - 1) // 2]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(x / columns), float(y / rows), float((x + wide) / columns), float((y + high) / rows)


def centred(area: float) -> Box:
    """A box in the middle, of the shape of the frame."""
    half = float(np.sqrt(area)) / 2
    return 0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half


def moved(box: Box, rng: np.random.Generator) -> Box:
    """A box of the same size anywhere."""
    wide, high = box[2] - box[0], box[3] - box[1]
    x, y = rng.uniform(0, max(1e-9, 1 - wide)), rng.uniform(0, max(1e-9, 1 - high))
    return float(x), float(y), float(x + wide), float(y + high)


def local(root: Path, model: Path, pictures: Path | None) -> None:
    """Print the table of local edits."""
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    sources = {row["pair"]: row for row in rows if row["class"] == "real" and row["pair"]}
    network, calibration = Network(model), read_calibration(model)
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ("model", "evidence", "centre", "random")}
    above, kept, areas = [], [], []
    for row in tqdm([row for row in rows if row["class"] == "fake" and row["pair"] in sources and row.get("aligned")]):
        source = sources[row["pair"]]
        truth = difference_box(root / row["path"], root / source["path"])
        if truth is None:
            continue
        area = (truth[2] - truth[0]) * (truth[3] - truth[1])
        areas.append(area)
        kept.append((row, truth))
    typical = float(np.median(areas)) if areas else 0.1
    for row, truth in tqdm(kept):
        logit, window, finding = strongest(root / row["path"], network)
        of_source = strongest(root / sources[row["pair"]]["path"], network)[0]
        above.append(logit > of_source)
        mine = box_of(finding)
        boxes = {
            "model": mine,
            "evidence": evidence_box(window, network, calibration, typical),
            "centre": centred(typical),
            "random": moved(mine, rng),
        }
        for name, box in boxes.items():
            found[name].append(box_iou(box, truth))
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            image = window.images[len(window.images) // 2].copy()
            for box, colour in ((truth, (255, 255, 255)), (mine, (255, 0, 0)), (boxes["evidence"], (0, 160, 255))):
                draw(image, box, colour)
            cv2.imwrite(str(pictures / f"{Path(row['path']).stem}.png"), image[:, :, ::-1])
    editors = sorted({row["generator"] for row, _ in kept})
    print(f"{len(kept)} local edits of {', '.join(editors)}; their boxes take {typical:.2f} of the frame (median)")
    print("| box | mean IoU | with 95 % by bootstrap | at least 0.3 |\n|---|---|---|---|")
    for name, values in found.items():
        ious = np.array(values)
        drawn = [rng.choice(ious, len(ious)).mean() for _ in range(1000)]
        low, high = np.quantile(drawn, [0.025, 0.975])
        print(f"| {name} | {ious.mean():.2f} | [{low:.2f}, {high:.2f}] | {(ious >= 0.3).mean():.0%} |")
    print(f"the edit's trace evidence is above its source's in {np.mean(above):.0%}")


def draw(image: npt.NDArray[np.uint8], box: Box, colour: tuple[int, int, int]) -> None:
    """A box into a picture, in place."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (round(value * side) for value, side in zip(box, (width, height, width, height), strict=True))
    cv2.rectangle(image, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), colour, 1)


# ── blind sheets ────────────────────────────────────────────────────────────────────────────────────────────────────


def spread_over_families(rows: Sequence[dict[str, Any]], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """``count`` rows, one of each family before any family has two."""
    names = families_of((row["source_repo"], row["generator"], row.get("pair")) for row in rows)
    groups: dict[str, list[dict[str, Any]]] = {}
    for index in rng.permutation(len(rows)):
        groups.setdefault(names[index], []).append(rows[index])
    chosen: list[dict[str, Any]] = []
    while len(chosen) < count and any(groups.values()):
        for group in groups.values():
            if group and len(chosen) < count:
                chosen.append(group.pop())
    return chosen


def sheets(roots: Sequence[Path], model: Path, out: Path, count: int) -> None:
    """Write pictures, the page, and the key."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = [
        json.loads(line) | {"root": root}
        for root in roots
        for line in (root / "manifest.jsonl").read_text().splitlines()
    ]
    network, key = Network(model), []
    for kind in ("fake", "real"):
        chosen = spread_over_families([row for row in rows if row["class"] == kind], count, rng)
        for row in tqdm(chosen, desc=kind):
            _, window, finding = strongest(row["root"] / row["path"], network)
            mine = box_of(finding)
            for box, whose in ((mine, "model"), (moved(mine, rng), "random")):
                key.append({"clip": Path(row["path"]).stem, "class": kind, "box": whose, "place": list(box),
                            "strip": strip(window, finding, box)})  # fmt: skip
    order = rng.permutation(len(key))
    for place, index in enumerate(order):
        cv2.imwrite(str(out / f"{place:03d}.jpg"), key[index].pop("strip")[:, :, ::-1])
    (out / "key.json").write_text(json.dumps([key[index] for index in order], indent=1))
    (out / "index.html").write_text(PAGE.replace("COUNT", str(len(key))), encoding="utf-8")
    print(f"{len(key)} sheets; open {out / 'index.html'}")


def strip(window: Window, finding: Any, box: Box) -> npt.NDArray[np.uint8]:
    """Four moments side by side, from before the onset to the end of what was found, with the box drawn in."""
    last = len(window.images) - 1
    onset, end = finding.onset - window.first, finding.end - window.first
    moments = [max(0, onset - 1), onset, (onset + end) // 2, end - 1]
    pictures = []
    for moment in (min(max(0, one), last) for one in moments):
        image = window.images[moment]
        scale = SHEET_SIDE / min(image.shape[:2])
        image = np.ascontiguousarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
        draw(image, box, (255, 40, 40))
        pictures.append(image)
    return np.concatenate(pictures, axis=1)


PAGE: Final = """<!doctype html><meta charset="utf-8"><title>Boxes</title>
<style>body{font:16px system-ui;margin:1em;background:#222;color:#eee}img{max-width:100%}</style>
<p id="where"></p><img id="sheet"><p>Is the box on something wrong? <b>y</b> yes, <b>n</b> no, <b>u</b> cannot tell,
<b>b</b> back. <button id="save">Save answers.json</button></p>
<script>
const answers = {}; let at = 0;
const show = () => {
  document.getElementById("where").textContent = `${at + 1} of COUNT`;
  document.getElementById("sheet").src = String(at).padStart(3, "0") + ".jpg";
};
document.addEventListener("keydown", (event) => {
  if ("ynu".includes(event.key)) { answers[at] = event.key; at = Math.min(COUNT - 1, at + 1); show(); }
  if (event.key === "b") { at = Math.max(0, at - 1); show(); }
});
document.getElementById("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(answers)]));
  link.download = "answers.json"; link.click();
};
show();
</script>
"""


def count_answers(folder: Path) -> None:
    """Print what was said of each kind of box on each kind of clip."""
    key = json.loads((folder / "key.json").read_text())
    answers = json.loads((folder / "answers.json").read_text())
    print(f"{len(answers)} of {len(key)} sheets were judged\n")
    print("| clips | box | on something wrong | not | cannot tell |\n|---|---|---|---|---|")
    for kind in ("fake", "real"):
        for whose in ("model", "random"):
            said = [
                answers[str(place)]
                for place, row in enumerate(key)
                if (row["class"], row["box"]) == (kind, whose) and str(place) in answers
            ]
            cells = " | ".join(str(said.count(letter)) for letter in "ynu")
            print(f"| {'AI' if kind == 'fake' else 'camera'} | {whose} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["local", "sheets", "count"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, help="A model's folder; default: the shipped one.")
    parser.add_argument("--pictures", type=Path, help="Write a picture of each local edit here.")
    parser.add_argument("--out", type=Path, help="The folder of the sheets.")
    parser.add_argument("--count", type=int, default=60, help="AI clips, and camera clips, of the sheets.")
    given = parser.parse_args()
    model = given.model or Path(str(package_files("deeptrace.models.embedded") / "weights"))
    if given.what == "local":
        local(given.paths[0], model, given.pictures)
    elif given.what == "sheets":
        if given.out is None:
            parser.error("sheets are written: name their folder, --out DIR")
        sheets(given.paths, model, given.out, given.count)
    else:
        count_answers(given.paths[0])


if __name__ == "__main__":
    main()
