"""The review: others look at a first pass; they accept it, correct it, or dispute it, and a majority ends a dispute.

A review is one document a video. Its first version holds the first candidate: the first pass, or what several first
passes have in common. Everybody stands behind one candidate: authors behind theirs, reviewers behind the one they
accepted, wrote or voted for. Without a dispute it is settled when enough reviewers stand behind the newest candidate;
with one, when more than half of at least three people stand behind the same. What is settled can be opened again: all
candidates stay, nobody stands behind any of them, and at least one person has to agree anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from deeptrace.data.build.annotators import merge
from deeptrace.explorer.annotate import FirstPass, annotation_of, body_of, check_body, missing_words
from deeptrace.explorer.store import Document, Event, Store, StoreError
from deeptrace.records import Annotation, Record

__all__ = ["Candidate", "Review", "ReviewStatus", "Reviews", "Step"]

REVIEW: Final = "review"
VOTERS: Final = 3
"""The fewest people whose majority ends a dispute: with two there is none unless they agree."""

Step = Literal["open", "accept", "edit", "dispute", "vote", "reopen"]
ReviewStatus = Literal["waiting", "disputed", "settled"]


@dataclass(frozen=True)
class Candidate:
    """One annotation that people can stand behind. ``number`` counts from 1; ``reason``: why it was written."""

    number: int
    by: str
    body: Mapping[str, Any]
    disputes: bool = False
    reason: str = ""


@dataclass
class Review:
    """Where the review of a video stands; ``version`` is the document's. ``behind``: whom each person is for.

    ``settled`` is the candidate that stands; None while it is open.
    """

    video_id: str
    reviewers: int
    version: int = 0
    authors: tuple[str, ...] = ()
    candidates: list[Candidate] = field(default_factory=list)
    behind: dict[str, int] = field(default_factory=dict)
    disputed: bool = False
    reopened: bool = False
    settled: Candidate | None = None
    steps: list[Event] = field(default_factory=list)

    @property
    def newest(self) -> Candidate:
        """The candidate that is looked at."""
        return self.candidates[-1]

    @property
    def status(self) -> ReviewStatus:
        """What it waits for."""
        return "settled" if self.settled is not None else "disputed" if self.disputed else "waiting"

    def waits_for(self, who: str) -> bool:
        """Whether this person can bring it forward."""
        if self.settled is not None or not self.candidates:
            return False
        if self.disputed:
            return who not in self.behind
        return self.may_review(who) and (who not in self.behind or self.behind[who] != self.newest.number)

    def may_review(self, who: str) -> bool:
        """Whether this person may accept or correct: no author, but where nobody else is needed to close it again."""
        return who not in self.authors or (self.reopened and self.reviewers == 0)

    def may_accept(self, number: int) -> bool:
        """Whether this candidate can be accepted: the newest; of a review that was opened again each of them."""
        return self.reopened or number == self.newest.number

    def take(self, event: Event) -> None:
        """Go on by one step."""
        body = event.body
        self.version = event.version
        self.steps.append(event)
        match event.kind:
            case "open":
                self.authors = tuple(body["authors"])
                self._add(str(body["by"]), body["annotation"])
                self.behind = dict.fromkeys(body["agreeing"], 1)
            case "accept":
                self.behind[event.who] = int(body["candidate"])
            case "edit" | "dispute":
                self._add(event.who, body["annotation"], event.kind == "dispute", str(body.get("reason", "")))
                self.disputed = self.disputed or event.kind == "dispute"
                self.behind[event.who] = self.newest.number
            case "vote":
                self.behind[event.who] = int(body["candidate"])
            case "reopen":
                self.behind, self.reopened = {}, True
        self.settled = self._settled()

    def _add(self, by: str, body: Mapping[str, Any], disputes: bool = False, reason: str = "") -> None:
        self.candidates.append(Candidate(len(self.candidates) + 1, by, body, disputes, reason))

    def _settled(self) -> Candidate | None:
        counts = Counter(self.behind.values())
        if self.disputed:
            if len(self.behind) < VOTERS:
                return None
            number, votes = counts.most_common(1)[0]
            return self.candidates[number - 1] if 2 * votes > len(self.behind) else None
        counts = Counter(number for who, number in self.behind.items() if self.may_review(who))
        if not self.reopened:
            return self.newest if counts[self.newest.number] >= self.reviewers else None
        number, votes = max(counts.items(), key=lambda pair: (pair[1], pair[0]), default=(0, 0))
        return self.candidates[number - 1] if votes >= max(1, self.reviewers) else None

    def to_json(self) -> dict[str, Any]:
        """The review as a page needs it."""
        return {
            "version": self.version,
            "status": self.status,
            "authors": list(self.authors),
            "reopened": self.reopened,
            "alone": self.reopened and self.reviewers == 0,
            "candidates": [vars(candidate) | {"body": dict(candidate.body)} for candidate in self.candidates],
            "behind": self.behind,
            "settled": None if self.settled is None else self.settled.number,
            "steps": [
                {"at": e.at, "who": e.who, "kind": e.kind, "reason": e.body.get("reason", "")} for e in self.steps
            ],
        }


class Reviews:
    """The reviews of a collection. ``passes``: first passes that a video needs; ``reviewers``: who must agree."""

    def __init__(self, store: Store, *, passes: int = 1, reviewers: int = 1, collection: str = "data") -> None:
        self.store, self.collection = store, collection
        self.passes, self.reviewers = passes, reviewers
        self.first = FirstPass(store, collection)

    def _document(self, video_id: str) -> Document:
        return Document(self.collection, video_id, REVIEW)

    def of(self, video_id: str) -> Review | None:
        """The review of a video; None where it is not open yet."""
        history = self.store.history(self._document(video_id))
        if not history:
            return None
        review = Review(video_id, self.reviewers)
        for event in history:
            review.take(event)
        return review

    def all(self) -> dict[str, Review]:
        """Every review that is open or settled, by video."""
        reviews: dict[str, Review] = {}
        for event in self.store.all_events(self.collection):
            if event.document.name == REVIEW:
                video_id = event.document.video_id
                reviews.setdefault(video_id, Review(video_id, self.reviewers)).take(event)
        return reviews

    def final(self) -> dict[str, Annotation]:
        """The annotation that each settled video ended with; its ``extra`` names authors and who stands behind it."""
        final = {}
        for video_id, review in self.all().items():
            if review.settled is not None:
                plain = annotation_of(
                    review.settled.body, "consensus" if len(review.authors) > 1 else review.settled.by
                )
                people = [who for who, number in review.behind.items() if number == review.settled.number]
                extra = {**plain.extra, "authors": list(review.authors), "behind": people, "disputed": review.disputed}
                final[video_id] = Annotation(plain.traces, plain.label, plain.annotator, extra)
        return final

    def open_if_ready(self, video_id: str) -> Review | None:
        """Open the review when enough first passes are in; whoever comes second finds it open."""
        if (review := self.of(video_id)) is not None:
            return review
        passes = self.first.handed_in(video_id)
        if len(passes) < self.passes:
            return None
        body, by, agreeing = _proposal(video_id, passes)
        opening = {"authors": sorted(passes), "by": by, "annotation": body, "agreeing": agreeing}
        key = f"open {self.collection} {video_id}"[:180]
        try:
            self.store.append(self._document(video_id), "open", opening, who=by, base=0, key=key)
        except StoreError as error:
            if error.code not in ("CONFLICT", "REFUSED"):
                raise
        return self.of(video_id)

    def step(self, video_id: str, step: Step, body: Mapping[str, Any], *, who: str, base: int, key: str) -> Review:
        """Accept, edit, dispute, vote, or reopen what is settled; where the review stands after it.

        Raises:
            StoreError: ``CONFLICT``: somebody took a step meanwhile. ``FROZEN``: it is settled. ``REFUSED``: an
                author's own work, an annotation that is not whole, a dispute or reopening without a reason, no such
                candidate, reopening what is open.
        """
        review = self.of(video_id)
        if review is None:
            raise StoreError("REFUSED", "the first pass over this video was not handed in yet")
        if not any(event.key == key for event in review.steps):
            _refuse_step(review, step, body, who, base)
        event_body = _step_body(step, body)
        self.store.append(self._document(video_id), step, event_body, who=who, base=base, key=key)
        after = self.of(video_id)
        assert after is not None
        return after


def _refuse_step(review: Review, step: Step, body: Mapping[str, Any], who: str, base: int) -> None:
    if base != review.version:
        newest = review.steps[-1]
        raise StoreError(
            "CONFLICT", f"version {review.version} is there, by {newest.who}; yours was {base}", current=newest
        )
    if step == "reopen":
        if review.settled is None:
            raise StoreError("REFUSED", "this review is open already")
        return
    if review.settled is not None:
        raise StoreError("FROZEN", "this review is settled; open it again first", current=review.steps[-1])
    if not review.may_review(who) and step != "vote" and not review.disputed:
        raise StoreError("REFUSED", "authors do not review their own first pass")
    if step in ("vote", "accept"):
        number = body.get("candidate")
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(review.candidates):
            raise StoreError("REFUSED", f"candidate: a number from 1 to {len(review.candidates)} is needed")
        if step == "vote" and not review.disputed:
            raise StoreError("REFUSED", "nobody disputes it: accept it, correct it, or dispute it")
        if step == "accept" and review.disputed:
            raise StoreError("REFUSED", "it is disputed: vote for one of the candidates")
        if step == "accept" and not review.may_accept(number):
            raise StoreError("REFUSED", f"candidate {number} was corrected; look at {review.newest.number}, the newest")


def _step_body(step: Step, body: Mapping[str, Any]) -> dict[str, Any]:
    reason = body.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > 20_000:
        raise StoreError("REFUSED", "reason: a text of at most 20,000 characters is needed")
    if step == "reopen" and not reason.strip():
        raise StoreError("REFUSED", "reason: say why it is opened again; the others read it")
    if step in ("vote", "accept"):
        return {"candidate": body.get("candidate"), "reason": reason}
    if step in ("edit", "dispute"):
        annotation = check_body(body.get("annotation"))
        if missing := missing_words(annotation):
            raise StoreError("REFUSED", " ".join(missing))
        if step == "dispute" and not reason.strip():
            raise StoreError("REFUSED", "reason: say why you dispute it; the others vote on it")
        return {"annotation": annotation, "reason": reason}
    return {"reason": reason}


def _proposal(video_id: str, passes: Mapping[str, Event]) -> tuple[dict[str, Any], str, list[str]]:
    """The first candidate, whose it is, and which authors stand behind it from the start."""
    if len(passes) == 1:
        ((who, event),) = passes.items()
        return dict(event.body), who, [who]
    annotations = [annotation_of(event.body, who) for who, event in passes.items()]
    merged = merge(Record(video_id, annotations=tuple(annotations)))
    label = merged.label if merged.label is not None else "unsure"
    traces = merged.annotations[0].traces if label == "fake" else ()
    if label == "fake" and not traces:  # all say fake, and none marked the same place: all places are looked at
        traces = tuple(trace for annotation in annotations for trace in annotation.traces)[:50]
    body = body_of(Annotation(traces, label))
    agreeing = (
        [a.annotator for a in annotations if a.annotator is not None and a.label == label] if label != "fake" else []
    )
    return body, "consensus", agreeing


def count_statuses(reviews: Sequence[Review]) -> dict[ReviewStatus, int]:
    """How many reviews wait, are disputed, are settled."""
    counts = Counter(review.status for review in reviews)
    return {status: counts[status] for status in ("waiting", "disputed", "settled")}
