"""What the scores come to, in sentences: who is ahead of a row that sees no pixels, by how much, with what doubt.

`Scores` in, sentences out; every number in them stands in a table below. Used by ``bench score`` and the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deeptrace.bench.score.result import Difference, RunScore, Scores

GIVEN_AWAY: Final = 0.75
"""From this balanced accuracy of the blind row on, labels can be told so well without a look that it must be said."""

OVERALLS: Final = ("fair_overall", "fair_overall_without_judge")
"""What a run is told apart by: the first of them that both sides have."""

SURE: Final = 0.05
"""From this adjusted p-value on two rows are not told apart, whatever the interval: few clusters make it narrow."""

MOSTLY_WHOLE: Final = 0.5
"""From this share of whole-frame boxes on it is said."""


def conclusion(scores: Scores) -> tuple[str, ...]:
    """A sentence or two about each run, the best first, then what makes all of them doubtful.

    Scores in [0, 1] and their differences are written as points of 100. A run is ahead or behind only where the
    interval of the difference does not hold 0 and the test, where there is one, agrees.
    """
    blind = next((run for run in scores.blind if run.name == "blind"), None)
    sentences = [sentence for run in scores.runs for sentence in _of_run(run, blind)]
    sentences += [
        _of_pair(comparison.name, comparison.against, _overall(comparison.differences["fair"]))
        for comparison in scores.comparisons
    ]
    if scores.blind_note is not None:
        sentences.append(scores.blind_note)
    if blind is not None and (share := blind.fair["balanced_accuracy"].value) is not None and share >= GIVEN_AWAY:
        sentences.append(
            f"The header of the files alone tells fake from real in {100 * share:.0f} % of both:"
            " on these videos accuracy says little about seeing."
        )
    return tuple(sentences)


def _of_run(run: RunScore, blind: RunScore | None) -> list[str]:
    sentences = []
    name = f"{run.name} (incomplete)" if run.run.incomplete else run.name
    skills = run.skill.get("fair", {})
    keys = [key for key in OVERALLS if run.fair[key].value is not None]
    compared = next((key for key in keys if key in skills and skills[key].value is not None), None)
    if blind is not None and compared is not None:
        fields = [field for field in run.fair_fields if compared == "fair_overall" or field != "explanation"]
        value = run.fair[compared].value or 0.0
        sentences.append(_beside_blind(name, value, skills[compared], " and ".join(fields)))
    elif keys:
        sentences.append(f"{name} has {100 * (run.fair[keys[0]].value or 0.0):.1f} of 100 in the fair overall.")
    else:
        sentences.append(f"{name} has no fair overall: {_why_none(run)}.")
    whole = run.fair["whole_frame_share"].value
    if whole is not None and whole >= MOSTLY_WHOLE:
        sentences.append(f"{100 * whole:.0f} % of the boxes of {run.name} are the whole frame.")
    return sentences


def _why_none(run: RunScore) -> str:
    if not run.fair_fields:
        return "it is not asked where, which or why"
    if run.fair["real_accuracy"].value is None:
        return "there is no real video, so FAKE would cost nothing"
    if run.fair["fake_accuracy"].value is None:
        return "there is no fake video"
    return "there is nothing that it could be measured on"


def _beside_blind(name: str, value: float, difference: Difference, fields: str) -> str:
    score = f"It has {100 * value:.1f} of 100 in the fair overall of {fields}"
    return f"{name} {_place(difference, 'blind')}{_span(difference)}{_doubt(difference)}. {score}."


def _place(difference: Difference, other: str) -> str:
    apart = 100 * (difference.value or 0.0)
    told = difference.p_holm is None or difference.p_holm < SURE
    if told and difference.low is not None and difference.low > 0:
        return f"is ahead of {other}: {apart:+.1f} points"
    if told and difference.high is not None and difference.high < 0:
        return f"is behind {other}: {apart:+.1f} points"
    return f"is not told apart from {other}: {apart:+.1f} points"


def _span(difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return " (no interval: no replicates, or too few independent videos"
    return f" (95 %: {100 * difference.low:+.1f} to {100 * difference.high:+.1f}"


def _doubt(difference: Difference) -> str:
    words = []
    if difference.p_holm is not None:
        words.append("p < 0.001" if difference.p_holm < 0.001 else f"p {difference.p_holm:.3f}")
    if difference.smallest_detectable is not None:
        words.append(f"differences below {100 * difference.smallest_detectable:.1f} points would hardly show here")
    return "".join(f"; {word}" for word in words) + ")"


def _overall(differences: Mapping[str, Difference]) -> Difference | None:
    """The difference of fair overalls, with a judge where there is one; None where the fields are unequal."""
    known = (differences[key] for key in OVERALLS if key in differences)
    return next((one for one in known if one.value is not None), None)


def _of_pair(name: str, against: str, difference: Difference | None) -> str:
    if difference is None or difference.value is None:
        return f"{name} and {against} have no overall of the same fields: they do not compare."
    return f"{name} {_place(difference, against)}{_span(difference)}{_doubt(difference)}."
