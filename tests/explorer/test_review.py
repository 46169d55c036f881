"""First passes and reviews: what is frozen, who may do what, and when something is settled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data.build.annotators import agreement
from deeptrace.explorer.annotate import FirstPass, body_of
from deeptrace.explorer.review import Reviews
from deeptrace.explorer.store import Store, StoreError
from deeptrace.records import Annotation, Origin, Record, Trace, Unparsed, Verdict

TRACE = Trace((0.1, 0.1, 0.4, 0.4), 0.5, 1.5, ("Sudden Blurring",), "The face smears.")
ELSEWHERE = Trace((0.6, 0.6, 0.9, 0.9), 0.5, 1.5, ("Object Merging",), "Two cups become one.")
FAKE = body_of(Annotation((TRACE,), "fake"))
REAL = body_of(Annotation((), "real"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        yield opened


def hand_in(store: Store, who: str, body: dict[str, Any] = FAKE, video_id: str = "v") -> None:
    FirstPass(store).save(video_id, body, who=who, base=0, key=f"{who} {video_id}", kind="submit")


def test_what_was_handed_in_stays_as_it_is(store: Store) -> None:
    hand_in(store, "ann")
    with pytest.raises(StoreError) as error:
        FirstPass(store).save("v", REAL, who="ann", base=1, key="later")
    assert error.value.code == "FROZEN"


@pytest.mark.parametrize(
    "body",
    [
        body_of(Annotation((), None)),
        body_of(Annotation((), "fake")),
        body_of(Annotation((TRACE,), "real")),
        body_of(Annotation((Trace(None, 0.5, None, ("Sudden Blurring",)),), "fake")),
        body_of(Annotation((Trace((0.1, 0.1, 0.4, 0.4), None, None, ("Sudden Blurring",)),), "fake")),
        body_of(Annotation((Trace((0.1, 0.1, 0.4, 0.4), 0.5),), "fake")),
    ],
)
def test_half_of_an_annotation_is_a_draft_and_cannot_be_handed_in(store: Store, body: dict[str, Any]) -> None:
    first = FirstPass(store)
    assert first.save("v", body, who="ann", base=0, key="draft").version == 1
    with pytest.raises(StoreError) as error:
        first.save("v", body, who="ann", base=1, key="whole", kind="submit")
    assert error.value.code == "REFUSED"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"label": "perhaps"},
        {"traces": [{"bbox_xyxy": [0.5, 0.5, 0.1, 0.1]}]},
        {"traces": [{"onset_seconds": -1}]},
        {"traces": [{"colour": "red"}]},
        {"traces": [{}] * 51},
        {"note": 7},
        {"by": "somebody else"},
    ],
)
def test_what_no_annotation_may_hold_is_refused(store: Store, body: object) -> None:
    with pytest.raises(StoreError) as error:
        FirstPass(store).save("v", body, who="ann", base=0, key="a key")
    assert error.value.code == "REFUSED"


def test_a_verdict_to_begin_with_is_recorded_as_such(store: Store) -> None:
    first = FirstPass(store)
    verdict = Verdict("fake", False, 0.9, traces=(TRACE,), origin=Origin(model="m", revision="r1"))
    first.prelabel("v", verdict, who="ann", base=0, key="a key")
    hand_in_body = {**first.of("v", "ann").body, "note": "checked"}  # type: ignore[union-attr]
    first.save("v", hand_in_body, who="ann", base=1, key="done", kind="submit")
    (record,) = first.records([Record("v"), Record("untouched")])
    assert record.annotations[0].extra["prelabel"] == "m r1"
    with pytest.raises(StoreError, match="no verdict"):
        first.prelabel("w", Unparsed("no label", "?"), who="ann", base=0, key="other")


def test_agreement_is_of_what_was_said_before_the_review(store: Store) -> None:
    reviews = Reviews(store, passes=2)
    hand_in(store, "ann")
    assert reviews.open_if_ready("v") is None
    hand_in(store, "ben", REAL)
    assert reviews.open_if_ready("v") is not None
    reviews.step("v", "accept", {"candidate": 1}, who="cem", base=1, key="accept")
    measured = agreement(FirstPass(store).records([Record("v")]))
    assert (measured.videos, measured.label.raw) == (1, 0.0)


def test_a_review_is_settled_when_enough_accept_the_newest(store: Store) -> None:
    reviews = Reviews(store, reviewers=2)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    with pytest.raises(StoreError, match="own first pass"):
        reviews.step("v", "accept", {"candidate": 1}, who="ann", base=1, key="own")
    assert reviews.step("v", "accept", {"candidate": 1}, who="ben", base=1, key="ben").status == "waiting"
    corrected = body_of(Annotation((ELSEWHERE,), "fake"))
    review = reviews.step("v", "edit", {"annotation": corrected}, who="cem", base=2, key="cem")
    assert review.status == "waiting"  # ben accepted another one
    assert review.waits_for("ben")
    review = reviews.step("v", "accept", {"candidate": 2}, who="ben", base=3, key="ben again")
    assert review.settled is not None
    assert review.settled.by == "cem"
    with pytest.raises(StoreError) as error:
        reviews.step("v", "edit", {"annotation": FAKE}, who="dua", base=4, key="late")
    assert error.value.code == "FROZEN"
    assert reviews.final()["v"].traces == (ELSEWHERE,)


def test_two_reviewers_at_once_are_a_conflict_and_both_versions_are_there(store: Store) -> None:
    reviews = Reviews(store, reviewers=2)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    reviews.step("v", "edit", {"annotation": body_of(Annotation((ELSEWHERE,), "fake"))}, who="ben", base=1, key="ben")
    with pytest.raises(StoreError) as error:
        reviews.step("v", "accept", {"candidate": 1}, who="cem", base=1, key="cem")
    assert error.value.code == "CONFLICT"
    assert error.value.current is not None
    assert error.value.current.who == "ben"


def test_a_majority_of_three_ends_a_dispute(store: Store) -> None:
    reviews = Reviews(store)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    with pytest.raises(StoreError, match="say why"):
        reviews.step("v", "dispute", {"annotation": REAL}, who="ben", base=1, key="mute")
    review = reviews.step(
        "v", "dispute", {"annotation": REAL, "reason": "It is motion blur."}, who="ben", base=1, key="b"
    )
    assert review.status == "disputed"
    assert review.waits_for("cem")
    with pytest.raises(StoreError, match="vote"):
        reviews.step("v", "accept", {"candidate": 1}, who="cem", base=2, key="accept")
    for number in (0, 3, True, None):
        with pytest.raises(StoreError):
            reviews.step("v", "vote", {"candidate": number}, who="cem", base=2, key=f"{number}")
    review = reviews.step("v", "vote", {"candidate": 2}, who="cem", base=2, key="c")
    assert review.settled is not None
    assert reviews.final()["v"].label == "real"


def test_first_passes_that_disagree_open_with_what_they_share(store: Store) -> None:
    reviews = Reviews(store, passes=3)
    for who, body in (("ann", FAKE), ("ben", FAKE), ("cem", REAL)):
        hand_in(store, who, body)
        review = reviews.open_if_ready("v")
    assert review is not None
    assert review.newest.body["label"] == "fake"
    assert len(review.newest.body["traces"]) == 1
    hand_in(store, "ann", body_of(Annotation((), "unsure")), "w")
    assert Reviews(store).open_if_ready("w").newest.body["label"] == "unsure"  # type: ignore[union-attr]


def test_without_reviewers_the_first_pass_stands(store: Store) -> None:
    reviews = Reviews(store, reviewers=0)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    assert reviews.final()["v"].label == "fake"


def test_work_from_elsewhere_is_taken_over_once(store: Store) -> None:
    first = FirstPass(store)
    records = [Record("v", annotations=(Annotation((TRACE,), "fake", "pat"), Annotation((), "unsure", "kim")))]
    assert first.take_over(records) == 2
    assert first.take_over(records) == 0
    assert {a.annotator: a.label for a in first.records([Record("v")])[0].annotations} == {
        "pat": "fake",
        "kim": "unsure",
    }


def test_what_is_settled_can_be_opened_again_and_nothing_of_it_is_lost(store: Store) -> None:
    reviews = Reviews(store)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    with pytest.raises(StoreError, match="open already"):
        reviews.step("v", "reopen", {"reason": "Look again."}, who="ben", base=1, key="early")
    assert reviews.step("v", "accept", {"candidate": 1}, who="ben", base=1, key="ben").status == "settled"
    with pytest.raises(StoreError, match="say why"):
        reviews.step("v", "reopen", {}, who="cem", base=2, key="mute")
    review = reviews.step("v", "reopen", {"reason": "The cup moves too."}, who="cem", base=2, key="again")
    assert (review.status, review.behind, reviews.final()) == ("waiting", {}, {})
    assert review.waits_for("ben")
    assert not review.waits_for("ann")
    corrected = body_of(Annotation((ELSEWHERE,), "fake"))
    review = reviews.step("v", "edit", {"annotation": corrected}, who="cem", base=3, key="edit")
    assert review.status == "settled"
    assert reviews.final()["v"].traces == (ELSEWHERE,)
    assert [event.kind for event in review.steps] == ["open", "accept", "reopen", "edit"]
    assert [candidate.by for candidate in review.candidates] == ["ann", "cem"]


def test_a_dispute_that_was_decided_is_decided_anew(store: Store) -> None:
    reviews = Reviews(store)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    reviews.step("v", "dispute", {"annotation": REAL, "reason": "Motion blur."}, who="ben", base=1, key="b")
    assert reviews.step("v", "vote", {"candidate": 2}, who="cem", base=2, key="c").status == "settled"
    review = reviews.step("v", "reopen", {"reason": "Slowed down it is seen."}, who="ann", base=3, key="a")
    assert review.status == "disputed"
    for base, who in enumerate(("ann", "ben", "cem"), 4):
        assert review.settled is None
        review = reviews.step("v", "vote", {"candidate": 1}, who=who, base=base, key=f"{who} again")
    assert review.settled is not None
    assert reviews.final()["v"].label == "fake"


def test_without_reviewers_what_is_opened_again_waits_for_one(store: Store) -> None:
    reviews = Reviews(store, reviewers=0)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    assert reviews.step("v", "reopen", {"reason": "A slip."}, who="ann", base=1, key="a").status == "waiting"
    assert reviews.step("v", "accept", {"candidate": 1}, who="ben", base=2, key="b").status == "settled"


def test_what_is_agreed_to_is_what_was_looked_at(store: Store) -> None:
    reviews = Reviews(store, reviewers=2)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    reviews.step("v", "edit", {"annotation": body_of(Annotation((), "unsure"))}, who="cem", base=1, key="edit")
    with pytest.raises(StoreError, match="look at 2, the newest"):
        reviews.step("v", "accept", {"candidate": 1}, who="ben", base=2, key="old")
    for number in (0, 3, True, None):
        with pytest.raises(StoreError, match="a number from 1 to 2"):
            reviews.step("v", "accept", {"candidate": number}, who="ben", base=2, key=f"none {number}")
    assert reviews.step("v", "accept", {"candidate": 2}, who="ben", base=2, key="new").status == "settled"
    # Opened again, each of them can be agreed to.
    reviews.step("v", "reopen", {"reason": "The first was right."}, who="ben", base=3, key="again")
    reviews.step("v", "accept", {"candidate": 1}, who="ben", base=4, key="first")
    assert reviews.step("v", "accept", {"candidate": 1}, who="cem", base=5, key="too").settled.number == 1  # type: ignore[union-attr]


def test_alone_what_was_opened_again_is_closed_again(store: Store) -> None:
    reviews = Reviews(store, reviewers=0)
    hand_in(store, "ann")
    reviews.open_if_ready("v")
    reviews.step("v", "reopen", {"reason": "A slip."}, who="ann", base=1, key="a")
    body = {"annotation": body_of(Annotation((), "unsure"))}
    assert reviews.step("v", "edit", body, who="ann", base=2, key="b").status == "settled"
    assert reviews.final()["v"].label == "unsure"
