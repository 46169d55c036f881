"""The annotation guideline, with its version: what each category is, what only looks like it, and how boxes are drawn.

Every annotation keeps the version that was read. A change of meaning is a new version, never a quiet edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deeptrace.categories import Category

__all__ = ["CATEGORY_RULES", "GUIDELINE_VERSION", "RULES", "TREE", "CategoryRule", "Question"]

GUIDELINE_VERSION: Final = "1"


@dataclass(frozen=True)
class CategoryRule:
    """One category: what to tag with it, what to box, and what is honest though it looks like it."""

    tag: str
    box: str
    honest: str


@dataclass(frozen=True)
class Question:
    """One question of the decision tree, and where each answer leads."""

    ask: str
    yes: str
    no: str


CATEGORY_RULES: Final[Mapping[Category, CategoryRule]] = {
    "Object Distortion": CategoryRule(
        "A thing's shape changes as that thing never does: an arm bends like rubber, a kettle melts.",
        "The whole thing that deforms, not only the bent part.",
        "Cloth, water, a lens at the edge of the frame, motion blur.",
    ),
    "Sudden Blurring": CategoryRule(
        "A part of the picture loses definition from one frame to the next while its surroundings stay sharp.",
        "The blurred part.",
        "The camera refocuses, or the whole frame blurs with a fast pan or hard compression.",
    ),
    "Object Trajectory": CategoryRule(
        "A thing keeps its shape and takes a path that nothing explains: a ball curves in mid-air, a barrier slides.",
        "The thing, at the first frame of the wrong path.",
        "Something outside the picture pushes it; the camera itself moves.",
    ),
    "Redundant Object": CategoryRule(
        "Something is there that was not there and did not come in: a third arm, a tree behind a runner.",
        "What is too much, when it is first seen.",
        "It comes from behind something or from the edge of the frame; it is a reflection.",
    ),
    "Object Merging": CategoryRule(
        "Two things that were apart become one and share their outline.",
        "Both things together, at the first frame on which they share an outline.",
        "One only passes behind the other and comes out again.",
    ),
    "Object Splitting": CategoryRule(
        "One thing becomes two or more, each of which goes on by itself.",
        "The thing that divides, at the first frame on which a gap or a second outline is seen.",
        "There were two from the start, one behind the other; something real breaks.",
    ),
    "Background Distortion": CategoryRule(
        "Something that stands still and belongs to the scene bends or stretches, often as a person walks by.",
        "The part of the background that warps.",
        "Hot air, a stabiliser, the lens.",
    ),
    "Object Disappearance": CategoryRule(
        "Something visible is gone and did not leave: a ball vanishes mid-kick.",
        "Where it was last seen, at the first frame on which it fades or is gone.",
        "It goes behind something or out of the frame; a cut falls on that moment.",
    ),
    "Unexpected Move": CategoryRule(
        "A thing at rest begins to move and nothing moves it: a glass slides over a table.",
        "The thing, at the first frame on which it moves.",
        "Wind, a hand, a slope, the camera.",
    ),
}

TREE: Final[Sequence[Question]] = (
    Question(
        "Are there fewer things after the moment than before it?",
        "Go to 2.",
        "Are there more? Go to 4. Neither: it is none of merging, disappearance, splitting.",
    ),
    Question(
        "Did the outline of the missing thing flow into another thing?",
        "Object Merging. One box around both.",
        "Go to 3.",
    ),
    Question(
        "Could it be behind something, out of the frame, or behind a cut?",
        "No trace. Look on: does it come back as it should?",
        "Object Disappearance. Box where it was last seen.",
    ),
    Question(
        "Did the new thing come out of the outline of a thing that was there?",
        "Object Splitting. Box the thing that divides.",
        "Redundant Object. Box what is too much.",
    ),
)

RULES: Final[Sequence[tuple[str, str]]] = (
    (
        "Watch first",
        "Watch the whole video once at full speed before you draw. You look for what a person sees, not for what only "
        "a single frame at triple size shows.",
    ),
    (
        "The box at onset",
        "The onset is the first frame on which you can see that something is wrong. Draw the box on that frame, around "
        "all that is wrong there, as tightly as the eye can. Boxes at other moments are key boxes of the same trace.",
    ),
    (
        "Key boxes",
        "Between two key boxes the box moves in a straight line. Add one wherever it would miss the thing by more than "
        "a tenth of its size, and one where the trace ends.",
    ),
    (
        "Onset and offset",
        "The offset is the first frame on which the trace is gone. If it lasts to the end of the video, leave it out. "
        "If it goes and comes back as the same thing, mark one trace and hide it in between.",
    ),
    (
        "One trace, or two",
        "Two places or two causes are two traces. One place with two kinds is one trace with two categories.",
    ),
    (
        "In words",
        "Say what happens to which thing, and where: 'The left arm of the man in red bends like rubber.' Not why the "
        "model did it, and not 'looks fake'.",
    ),
    (
        "Cannot tell",
        "If you have watched it three times and are not sure, say 'cannot tell'. It is an answer of its own: it is "
        "counted, and never taken for real.",
    ),
    (
        "By yourself",
        "Do not talk about a video before both of you have handed it in. What you handed in stays as it is; what you "
        "see differently afterwards belongs into the review.",
    ),
)
