"""The first pass: one annotator's own word on a video, saved as it grows and frozen when it is handed in.

A body is JSON: ``label`` (fake, real, unsure = "cannot tell", or null while undecided), ``traces`` (as in our rows:
fractions and seconds), ``note``, ``prelabel`` (the model whose verdict it began with) and ``guideline`` (the version
that was read). Agreement is computed on what was handed in, before anybody saw another's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

from deeptrace.errors import RecordError
from deeptrace.explorer.guideline import GUIDELINE_VERSION
from deeptrace.explorer.store import Document, Event, Store, StoreError
from deeptrace.records import Annotation, Outcome, Record, RecordLabel, Trace, Verdict
from deeptrace.rows import trace_from_json, trace_to_json

__all__ = ["FirstPass", "annotation_of", "body_of", "check_body", "missing_words"]

MAX_TRACES: Final = 50
MAX_KEYS: Final = 2_000
MAX_TEXT: Final = 20_000
SUBMITTED: Final = "submit"
IMPORTED: Final = "import"
FIRST: Final = "first:"
_FIELDS: Final = ("label", "traces", "note", "prelabel", "guideline")

Body: TypeAlias = dict[str, Any]
Kind = Literal["draft", "prelabel", "submit", "import"]


def first_pass(collection: str, video_id: str, who: str) -> Document:
    """Where one annotator's word on a video is kept."""
    return Document(collection, video_id, f"{FIRST}{who}")


def is_frozen(event: Event | None) -> bool:
    """Whether a first pass was handed in; it stays as it is from then on."""
    return event is not None and event.kind in (SUBMITTED, IMPORTED)


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_body(value: object) -> Body:
    """A body as it is kept, when it is one.

    Raises:
        StoreError: ``REFUSED``: an unknown field, a value that no trace may hold, or more of it than anyone draws.
    """
    if not isinstance(value, Mapping) or any(key not in _FIELDS for key in value):
        raise StoreError("REFUSED", f"an annotation has the fields {', '.join(_FIELDS)}, and no others")
    label, traces, note = value.get("label"), value.get("traces") or [], value.get("note") or ""
    if label is not None and label not in get_args(RecordLabel):
        raise StoreError("REFUSED", f"label: {label!r} is not one of {', '.join(get_args(RecordLabel))}")
    if not isinstance(traces, list) or len(traces) > MAX_TRACES:
        raise StoreError("REFUSED", f"traces: a list of at most {MAX_TRACES} is needed")
    if not isinstance(note, str) or len(note) > MAX_TEXT:
        raise StoreError("REFUSED", f"note: a text of at most {MAX_TEXT:,} characters is needed")
    prelabel = value.get("prelabel")
    if prelabel is not None and not (isinstance(prelabel, str) and len(prelabel) <= MAX_TEXT):
        raise StoreError("REFUSED", "prelabel: the name of a model is needed")
    return {
        "label": label,
        "traces": [_checked_trace(number, trace) for number, trace in enumerate(traces, 1)],
        "note": note,
        "prelabel": prelabel,
        "guideline": str(value.get("guideline") or GUIDELINE_VERSION)[:40],
    }


def _checked_trace(number: int, value: object) -> dict[str, Any]:
    try:
        trace = trace_from_json(value)
    except RecordError as error:
        raise StoreError("REFUSED", f"trace {number}: {error}") from None
    if len(trace.track or ()) > MAX_KEYS or len(trace.explanation or "") > MAX_TEXT:
        raise StoreError("REFUSED", f"trace {number}: at most {MAX_KEYS} key boxes and {MAX_TEXT:,} characters")
    return trace_to_json(trace)


def body_of(annotation: Annotation, *, prelabel: str | None = None) -> Body:
    """The body that says what an annotation says."""
    label = annotation.label if annotation.label is not None else "fake" if annotation.traces else None
    return check_body(
        {"label": label, "traces": [trace_to_json(trace) for trace in annotation.traces], "prelabel": prelabel}
    )


def annotation_of(body: Mapping[str, Any], who: str) -> Annotation:
    """A body as an annotation by ``who``. What is no field of an annotation is in ``extra``."""
    extra = {name: body[name] for name in ("note", "prelabel", "guideline") if body.get(name)}
    return Annotation(traces_of(body), body.get("label"), who, extra)


def traces_of(body: Mapping[str, Any]) -> tuple[Trace, ...]:
    """The traces in a body."""
    return tuple(trace_from_json(trace) for trace in body.get("traces", ()))


def missing_words(body: Mapping[str, Any]) -> list[str]:
    """What is still missing before it can be handed in, in words for the annotator; nothing: it is whole."""
    label, traces = body.get("label"), traces_of(body)
    if label is None:
        return ["Say what it is: fake, real, or cannot tell."]
    if label != "fake":
        return (
            [f"{len(traces)} traces are marked, but the label is {label}. Remove them, or say fake."] if traces else []
        )
    if not traces:
        return ["Fake: mark at least one trace, or say that you cannot tell."]
    missing = []
    for number, trace in enumerate(traces, 1):
        if trace.bbox_xyxy is None:
            missing.append(f"Trace {number}: draw its box at the onset.")
        if trace.onset_seconds is None:
            missing.append(f"Trace {number}: set the onset (key I).")
        if trace.categories is None and not (trace.explanation or "").strip():
            missing.append(f"Trace {number}: choose a category, or say in words what is wrong.")
    return missing


# ── the work ────────────────────────────────────────────────────────────────────────────────────────────────────────


class FirstPass:
    """First passes over one collection of videos, in a store."""

    def __init__(self, store: Store, collection: str = "data") -> None:
        self.store, self.collection = store, collection

    def of(self, video_id: str, who: str) -> Event | None:
        """The annotator's newest version."""
        return self.store.current(first_pass(self.collection, video_id, who))

    def save(self, video_id: str, body: object, *, who: str, base: int, key: str, kind: Kind = "draft") -> Event:
        """Keep a version; on the disk when this returns. See `Store.append`.

        Raises:
            StoreError: ``FROZEN``: it was handed in. ``REFUSED``: not a body, or handed in while something is missing.
        """
        document = first_pass(self.collection, video_id, who)
        earlier = self.store.current(document)
        if is_frozen(earlier) and earlier is not None and earlier.key != key:
            raise StoreError(
                "FROZEN", "it was handed in and stays as it is; changes belong into the review", current=earlier
            )
        whole = check_body(body)
        if kind == SUBMITTED and (missing := missing_words(whole)):
            raise StoreError("REFUSED", " ".join(missing))
        return self.store.append(document, kind, whole, who=who, base=base, key=key)

    def prelabel(self, video_id: str, outcome: Outcome, *, who: str, base: int, key: str) -> Event:
        """Begin with what a model says; that it did is part of the annotation from then on.

        Raises:
            StoreError: ``REFUSED``: the model gave no verdict. See `save`.
        """
        if not isinstance(outcome, Verdict):
            raise StoreError("REFUSED", "the model has no verdict on this video")
        label: RecordLabel = "unsure" if outcome.uncertain else outcome.label
        traces = tuple(Trace(**{**vars(trace), "confidence": None}) for trace in outcome.traces)
        annotation = Annotation(traces if label == "fake" else (), label)
        model = " ".join(part for part in (outcome.origin.model or "a model", outcome.origin.revision) if part)
        return self.save(video_id, body_of(annotation, prelabel=model), who=who, base=base, key=key, kind="prelabel")

    def handed_in(self, video_id: str) -> dict[str, Event]:
        """The frozen first passes of a video, by annotator."""
        events = self.store.of_video(self.collection, video_id)
        return {_whose(event): event for event in events if event.document.name.startswith(FIRST) and is_frozen(event)}

    def progress(self) -> dict[str, dict[str, Event]]:
        """The newest version of every first pass, by video and annotator."""
        progress: dict[str, dict[str, Event]] = {}
        for event in self.store.newest(self.collection):
            if event.document.name.startswith(FIRST):
                progress.setdefault(event.document.video_id, {})[_whose(event)] = event
        return progress

    def take_over(self, records: Iterable[Record]) -> int:
        """Keep work that was begun elsewhere (an export of Labelbox, Label Studio or CVAT) as frozen first passes.

        Annotations without an annotator's name are by "imported". Taken over twice, nothing changes. How many there
        are that were not here before.
        """
        count = 0
        for record in records:
            by_name: dict[str, list[Annotation]] = {}
            for annotation in record.annotations:
                by_name.setdefault(annotation.annotator or "imported", []).append(annotation)
            for who, own in by_name.items():
                if self.of(record.video_id, who) is None:
                    labels = [a.label for a in own if a.label is not None]
                    joined = Annotation(
                        tuple(trace for a in own for trace in a.traces), labels[0] if labels else record.label
                    )
                    key = f"import {self.collection} {record.video_id} {who}"[:200]
                    self.save(record.video_id, body_of(joined), who=who, base=0, key=key, kind="import")
                    count += 1
        return count

    def records(self, records: Sequence[Record], final: Mapping[str, Annotation] | None = None) -> list[Record]:
        """The records with what was handed in as their annotations; those of which nothing was are left out.

        With ``final`` (see `Reviews.final`) only settled videos, each with its one annotation and label.
        """
        from dataclasses import replace

        progress = self.progress()
        listed = []
        for record in records:
            own = {who: event for who, event in progress.get(record.video_id, {}).items() if is_frozen(event)}
            if final is not None:
                if (settled := final.get(record.video_id)) is not None:
                    listed.append(replace(record, label=settled.label, annotations=(settled,)))
            elif own:
                annotations = tuple(annotation_of(event.body, who) for who, event in own.items())
                listed.append(replace(record, annotations=annotations))
        return listed


def _whose(event: Event) -> str:
    return event.document.name.removeprefix(FIRST)
