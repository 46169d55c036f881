"""How good a model in training is, by the benchmark's own metrics, beside what the best constant answer gets.

Answers are generated greedily from examples that training does not show, parsed and scored as everywhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from deeptrace.answer import parse
from deeptrace.measures.blind import best_box
from deeptrace.measures.video import VideoScore, score_video, truth_of
from deeptrace.records import Outcome, Record, Trace, Verdict
from deeptrace.train.vlm.dataset import AnswerDataset
from deeptrace.train.vlm.decisive import answer_loss
from deeptrace.train.vlm.positions import last_positions


@dataclass(frozen=True)
class BlindAnswer:
    """The best answer that looks at nothing, fitted on training records: a label, and one trace for all fakes."""

    label: str
    trace: Trace

    @classmethod
    def fit(cls, records: Sequence[Record]) -> BlindAnswer:
        """The more frequent label; the median onset; the box of the largest mean IoU."""
        labels = Counter(record.label for record in records)
        traces = [trace for record in records if record.label == "fake" for trace in record.traces]
        boxes = [trace.bbox_xyxy for trace in traces if trace.bbox_xyxy is not None]
        onsets = [trace.onset_seconds for trace in traces if trace.onset_seconds is not None]
        return cls(
            label="fake" if labels["fake"] >= labels["real"] else "real",
            trace=Trace(bbox_xyxy=best_box(boxes), onset_seconds=median(onsets) if onsets else None),
        )


def summarise(scores: Sequence[VideoScore]) -> dict[str, float]:
    """Means in [0, 1] over videos (verdict) and over annotation rows of fakes (place and time); counts beside them.

    A row that the answer says nothing about has IoU 0 and time distance 1, as in the paper.
    """
    fakes = [score for score in scores if score.label == "fake"]
    reals = [score for score in scores if score.label == "real"]
    rows = [row for score in fakes for row in score.rows]
    f1s = [score.viou_f1 for score in fakes if score.viou_f1 is not None]
    values: dict[str, list[float]] = {
        "accuracy": [float(score.verdict_label == score.label) for score in scores],
        "fake_accuracy": [float(score.verdict_label == "fake") for score in fakes],
        "real_accuracy": [float(score.verdict_label == "real") for score in reals],
        "box_iou": [row.bbox_iou for row in rows if row.bbox_iou is not None],
        "time_distance": [row.time_distance for row in rows if row.time_distance is not None],
        "viou_f1": f1s,
        "unparsed": [float(score.status == "unparsed") for score in scores],
    }
    means = {name: fmean(numbers) for name, numbers in values.items() if numbers}
    return {**means, "videos": float(len(scores))}


def blind_scores(records: Sequence[Record], blind: BlindAnswer) -> dict[str, float]:
    """What the blind answer gets on these records. Place and time are those of one who says FAKE of every fake."""
    scores = [_score(record, Verdict("fake", traces=(blind.trace,))) for record in records]
    values = summarise([score for score in scores if score is not None])
    right = [float(record.label == blind.label) for record in records]
    return {name: values[name] for name in ("box_iou", "time_distance", "viou_f1") if name in values} | {
        "accuracy": fmean(right)
    }


def _score(record: Record, outcome: Outcome) -> VideoScore | None:
    truth = truth_of(record)
    return None if truth is None else score_video(truth, outcome)


@dataclass(frozen=True)
class MeasuredAnswers:
    """What a model said of examples: scores, mean loss of the right answers in nats a token, the answers themselves."""

    scores: tuple[VideoScore, ...]
    loss: float
    answers: Mapping[str, str]


def ask(
    model: Any, dataset: AnswerDataset, indices: Sequence[int], *, batch_size: int, max_new_tokens: int, device: Any
) -> MeasuredAnswers:
    """Generate an answer to each of the examples, and weigh the right one."""
    import torch

    scores: list[VideoScore] = []
    answers: dict[str, str] = {}
    loss_sum, tokens = 0.0, 0
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        prompts = [dataset.prompt(i) for i in chosen]
        batch = _to(dataset.family.collate([encoded for encoded, _ in prompts], pad_left=True), device)
        generated = dataset.family.answer(model, batch, max_new_tokens=max_new_tokens)
        for i, (_, space), generation in zip(chosen, prompts, generated, strict=True):
            record = dataset.examples[i].record
            answers[record.video_id] = generation.text
            score = _score(record, parse(generation.text, dataset.asking.format, space, ended=generation.ended))
            if score is not None:
                scores.append(score)
        right = _to(dataset.family.collate([dataset[i].encoded for i in chosen]), device)
        labels = right.pop("labels")
        first = int((labels != -100).int().argmax(dim=1).min())
        with torch.inference_mode(), last_positions(model, labels.shape[1] - first + 1):
            logits = model(**right, use_cache=False).logits
        count = int((labels != -100).sum())
        loss_sum += float(answer_loss(logits, labels)) * count
        tokens += count
    return MeasuredAnswers(tuple(scores), loss_sum / max(1, tokens), answers)


def _to(batch: Mapping[str, Any], device: Any) -> dict[str, Any]:
    return {name: value.to(device) for name, value in batch.items()}
