"""An LLM judge of explanations: what is to be graded, the rubric and its replies, a run of grades, people beside it.

Records and outcomes go in, ``judgements.jsonl`` comes out; `deeptrace.bench.score.score` takes its grades. Needs the
extra ``api`` to ask, and ``humans`` to compare with people.
"""

from __future__ import annotations

from deeptrace.bench.judge.grading import (
    JUDGEMENTS_NAME,
    GradingItem,
    Judged,
    Judgement,
    estimate,
    grade,
    items_of,
    read_judgements,
)
from deeptrace.bench.judge.rubric import GRADES, RUBRIC_SHA256, RUBRIC_VERSION, judge_messages, read_grade

__all__ = [
    "GRADES",
    "JUDGEMENTS_NAME",
    "RUBRIC_SHA256",
    "RUBRIC_VERSION",
    "GradingItem",
    "Judged",
    "Judgement",
    "estimate",
    "grade",
    "items_of",
    "judge_messages",
    "read_grade",
    "read_judgements",
]
