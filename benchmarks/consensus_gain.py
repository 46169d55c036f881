"""What several answers are worth beside one, on a scripted model that errs in a known way.

Each clip is fake or real, and has a share of answers that get its label right, drawn once from Beta(3, 1): some clips
are hard. An answer that says FAKE of a fake places the true box with edges off by a normal error (0.05 of the frame)
and its onset by one of 0.3 s, but with probability 0.15 points anywhere; of a real it points anywhere. P(fake) of one
answer is 1 or 0, as a model that states nothing is read. The verdict of several is `deeptrace.models.consensus`.

Run: python benchmarks/consensus_gain.py [--clips 2000] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass

import numpy as np

from deeptrace.measures.probabilities import bin_of, calibration_error
from deeptrace.measures.video import score_video, truth_of
from deeptrace.models.consensus import consensus
from deeptrace.records import Annotation, Outcome, Record, Trace, Verdict, VideoInfo

SECONDS = 6.0
JITTER, ONSET_JITTER, ASTRAY = 0.05, 0.3, 0.15
COUNTS = (1, 3, 5, 8, 16)


@dataclass(frozen=True)
class Figures:
    """Means over clips, all in [0, 1]: lower Brier score and calibration error, higher accuracy and vIoU-F1 are better.

    ``viou_f1`` is of fake clips and of reals that a trace is claimed of, as in the benchmark.
    """

    samples: int
    accuracy: float
    brier: float
    calibration_error: float
    viou_f1: float


def anywhere(rng: np.random.Generator) -> Trace:
    """A box and an onset that have nothing to do with the clip."""
    x, y = rng.uniform(0, 0.7, 2)
    return Trace((x, y, x + 0.3, y + 0.3), float(rng.uniform(0, SECONDS - 1)), SECONDS)


def near(truth: Trace, rng: np.random.Generator) -> Trace:
    """The truth with an error at each edge and at its onset."""
    assert truth.bbox_xyxy is not None
    assert truth.onset_seconds is not None
    x0, y0, x1, y1 = np.clip(np.array(truth.bbox_xyxy) + rng.normal(0, JITTER, 4), 0, 1)
    box = (min(x0, x1 - 0.01), min(y0, y1 - 0.01), x1, y1)
    if not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
        return anywhere(rng)
    onset = float(np.clip(truth.onset_seconds + rng.normal(0, ONSET_JITTER), 0, SECONDS - 0.5))
    return Trace(tuple(map(float, box)), onset, SECONDS)  # type: ignore[arg-type]  # four of them


def answer(truth: Trace | None, right: float, rng: np.random.Generator) -> Verdict:
    """One answer of the model that errs."""
    is_right = rng.random() < right
    if (truth is not None) != is_right:
        return Verdict("real", p_fake=0.0, p_fake_raw=0.0)
    astray = truth is None or rng.random() < ASTRAY
    trace = anywhere(rng) if astray or truth is None else near(truth, rng)
    return Verdict("fake", p_fake=1.0, p_fake_raw=1.0, traces=(trace,))


def measure(*, clips: int, samples: int, seed: int = 0) -> Figures:
    """The figures of so many answers a clip; 1: the answer itself."""
    rng = np.random.default_rng(seed)
    info = VideoInfo(width=640, height=360, fps=24.0, num_frames=144, duration_seconds=SECONDS)
    p, fakes, right_labels, f1 = [], [], [], []
    for number in range(clips):
        truth = anywhere(rng) if number % 2 else None
        right = float(rng.beta(3, 1))
        answers: list[Outcome] = [answer(truth, right, rng) for _ in range(samples)]
        outcome = answers[0] if samples == 1 else consensus(answers)
        assert isinstance(outcome, Verdict)
        label = "fake" if truth else "real"
        annotations = (Annotation(traces=(truth,)),) if truth else ()
        record = Record(f"{number}", f"{number}.mp4", info=info, label=label, annotations=annotations)
        known = truth_of(record)
        assert known is not None
        assert outcome.p_fake is not None
        p.append(outcome.p_fake)
        fakes.append(float(truth is not None))
        right_labels.append(outcome.label == label)
        score = score_video(known, outcome).viou_f1
        if score is not None:
            f1.append(score)
    chances, truths = np.array(p), np.array(fakes)
    bins = bin_of(chances)
    sums = [np.bincount(bins, weights, 10)[None] for weights in (np.ones(clips), chances, truths)]
    return Figures(
        samples,
        float(np.mean(right_labels)),
        float(np.mean((chances - truths) ** 2)),
        float(calibration_error(*sums)[0]),
        float(np.mean(f1)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(clips=options.clips, samples=count, seed=options.seed) for count in COUNTS]
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print("samples  accuracy  Brier  calibration error  vIoU-F1")
        for row in rows:
            first = f"{row.samples:7d}  {row.accuracy:8.3f}  {row.brier:5.3f}"
            print(f"{first}  {row.calibration_error:17.3f}  {row.viou_f1:7.3f}")
    better = rows[-2].brier < rows[0].brier and rows[-2].viou_f1 > rows[0].viou_f1
    sys.exit(0 if better else 1)


if __name__ == "__main__":
    main()
