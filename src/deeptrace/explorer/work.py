"""The pages to work with: what is to be annotated or reviewed, the editor, the guideline, the name one works under."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deeptrace.categories import CATEGORIES, MEANINGS
from deeptrace.explorer.annotate import FirstPass, is_frozen
from deeptrace.explorer.api import event_json, review_json
from deeptrace.explorer.browse import clip_json, entry_of, load_clip, picture_link, trace_json
from deeptrace.explorer.gold import compare_with_gold
from deeptrace.explorer.guideline import CATEGORY_RULES, GUIDELINE_VERSION, RULES, TREE
from deeptrace.explorer.index import Entry
from deeptrace.explorer.review import count_statuses
from deeptrace.explorer.site import Collection, Site, link_to, shown_json, template_page
from deeptrace.explorer.store import Event
from deeptrace.files import dumps
from deeptrace.records import Record
from deeptrace.rows import record_to_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = [
    "annotate_list_page", "annotate_page", "export_lines", "export_records", "guideline_page", "name_page",
    "review_list_page", "review_page",
]  # fmt: skip

SHOWN_ROWS = 200


def name_page(site: Site, request: Request) -> Response:
    """Where one says under which name one works."""
    target = request.query_params.get("next", "/annotate")
    if not target.startswith("/") or target.startswith(("//", "/\\")):
        target = "/annotate"
    return template_page(
        site, "name.html.j2", request, data={"next": target}, names=site.options.annotators, taken=_names(site)
    )


def _names(site: Site) -> list[str]:
    """The names that somebody worked under already, so that one person does not become two by a typo."""
    progress = FirstPass(site.store).progress()
    return sorted({who for own in progress.values() for who in own})


def guideline_page(site: Site, request: Request) -> Response:
    """The guideline, and the way to the gold clips."""
    return template_page(
        site, "guideline.html.j2", request,
        version=GUIDELINE_VERSION, rules=RULES, tree=TREE,
        categories=[(name, MEANINGS[name], CATEGORY_RULES[name]) for name in CATEGORIES],
        gold_there=site.gold_set.is_there,
    )  # fmt: skip


# ── first passes ────────────────────────────────────────────────────────────────────────────────────────────────────


def annotate_list_page(site: Site, request: Request) -> Response:
    """What is to be annotated by this person, and how far it is."""
    who = site.who(request)
    if who is None:
        return _to_name(request)
    if request.query_params.get("in") == "gold" and not site.gold_set.is_ready and site.gold_set.begin():
        return _making_gold(site, request)
    collection = site.collection(request.query_params.get("in", "data"))
    progress = FirstPass(site.store, collection.name).progress()
    show = request.query_params.get("show", "todo")
    states = {entry.video_id: _state(progress.get(entry.video_id, {}), who) for entry in collection.index.entries}
    todo = [entry for entry in collection.index.entries if _is_shown(states[entry.video_id], show)]
    rows = [_work_row(collection, entry, states[entry.video_id], progress) for entry in todo[:SHOWN_ROWS]]
    counts = {name: sum(state == name for state in states.values()) for name in ("new", "begun", "done")}
    following = next((entry for entry in collection.index.entries if states[entry.video_id] != "done"), None)
    return template_page(
        site, "worklist.html.j2", request,
        rows=rows, counts=counts, all=len(states), more=max(0, len(todo) - SHOWN_ROWS), show=show, kind="annotate",
        collection=collection.name, passes=site.options.passes,
        following=None if following is None else _editor_link(collection, following),
    )  # fmt: skip


def _making_gold(site: Site, request: Request) -> Response:
    """Says that the gold clips are being made, and comes back by itself."""
    page = template_page(
        site, "message.html.j2", request, heading="The gold clips are being made",
        words="Twelve short clips with known traces are rendered now, once. This page goes on by itself.",
        href="/guideline", link="Read the guideline meanwhile",
    )  # fmt: skip
    page.headers["refresh"] = "2"
    return page


def _state(own: Mapping[str, Event], who: str) -> str:
    event = own.get(who)
    return "new" if event is None else "done" if is_frozen(event) else "begun"


def _is_shown(state: str, show: str) -> bool:
    return show == "all" or (state == "done") == (show == "done")


def _editor_link(collection: Collection, entry: Entry) -> str:
    return link_to("/annotate/video", *_in(collection), ("id", entry.video_id))


def _in(collection: Collection) -> list[tuple[str, str]]:
    return [] if collection.name == "data" else [("in", collection.name)]


def _work_row(
    collection: Collection, entry: Entry, state: str, progress: Mapping[str, Mapping[str, Event]]
) -> dict[str, Any]:
    others = progress.get(entry.video_id, {})
    done = sum(is_frozen(event) for event in others.values())
    return {
        "id": entry.video_id,
        "href": _editor_link(collection, entry),
        "poster": picture_link("poster", collection, entry),
        "preview": picture_link("preview", collection, entry),
        "state": state,
        "words": {"new": "To do", "begun": "Begun", "done": "Handed in"}[state],
        "more": f"{done} handed in" if done else "",
    }


def annotate_page(site: Site, request: Request) -> Response:
    """The editor of one person's first pass. What others marked is not shown before it is handed in."""
    who = site.who(request)
    if who is None:
        return _to_name(request)
    collection = site.collection(request.query_params.get("in", "data"))
    entry = entry_of(request, collection.index)
    shown, problem = load_clip(collection, entry.record)
    first = FirstPass(site.store, collection.name)
    event = first.of(entry.video_id, who)
    handed_in = is_frozen(event)
    data = {
        "mode": "first",
        "in": collection.name,
        "id": entry.video_id,
        "who": who,
        "clip": None if shown is None else clip_json(shown, collection),
        "event": event_json(event),
        "frozen": handed_in,
        "categories": list(CATEGORIES),
        "runs": [] if handed_in else list(entry.outcomes),
        "guideline": GUIDELINE_VERSION,
        "following": _following(collection, entry, first, who),
        "truth": _truth(collection, entry) if handed_in else [],
    }
    if handed_in and event is not None and collection.name == "gold":
        feedback = compare_with_gold(entry.record, event.body)
        data["feedback"] = {"passed": feedback.passed, "words": list(feedback.words)}
    return template_page(
        site, "editor.html.j2", request, body_class="editing",
        data=_kept_as_text(data), id=entry.video_id, problem=problem, mode="first", collection=collection.name,
        categories=[(name, MEANINGS[name]) for name in CATEGORIES], runs=data["runs"],
        prompt=entry.record.prompt, back=link_to("/annotate", *_in(collection)), version=GUIDELINE_VERSION,
    )  # fmt: skip


def _kept_as_text(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Checked to be JSON: texts are edited and sent back, so they stay as they are; the page sets them as text."""
    return dict(json.loads(dumps(dict(data))))


def _truth(collection: Collection, entry: Entry) -> list[dict[str, Any]]:
    """What was put into a gold clip, shown when the learner has handed in."""
    if collection.name != "gold":
        return []
    return [dict(shown_json(trace_json(trace))) for trace in entry.record.traces[:1]]


def _following(collection: Collection, entry: Entry, first: FirstPass, who: str) -> str:
    """The next video that this person has not handed in; the list where there is none."""
    progress = first.progress()
    entries = collection.index.entries
    for other in (*entries[entry.number + 1 :], *entries[: entry.number]):
        own = progress.get(other.video_id, {}).get(who)
        if not is_frozen(own) and other.video_id != entry.video_id:
            return _editor_link(collection, other)
    return link_to("/annotate", *_in(collection))


def _to_name(request: Request) -> Response:
    from starlette.responses import RedirectResponse

    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(link_to("/name", ("next", f"{request.url.path}{query}")), 303)


# ── reviews ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def review_list_page(site: Site, request: Request) -> Response:
    """The reviews that wait for this person first, then the others."""
    who = site.who(request)
    if who is None:
        return _to_name(request)
    reviews = site.data.reviews.all()
    show = request.query_params.get("show", "mine")
    rows = []
    for video_id, review in reviews.items():
        entry = site.data.index.by_id.get(video_id)
        mine = review.waits_for(who)
        wanted = {"mine": mine, "disputed": review.status == "disputed", "settled": review.status == "settled"}
        if entry is None or not wanted.get(show, True):
            continue
        words = {"waiting": "To review", "disputed": "Disputed", "settled": "Settled"}[review.status]
        rows.append(
            {
                "id": video_id,
                "href": link_to("/review/video", ("id", video_id)),
                "poster": picture_link("poster", site.data, entry),
                "preview": picture_link("preview", site.data, entry),
                "state": review.status,
                "words": words,
                "more": f"by {', '.join(review.authors)}"
                + (f" · {len(review.behind)} people" if review.disputed else ""),
            }
        )
    following = next((row["href"] for row in rows if show == "mine"), None)
    return template_page(
        site, "worklist.html.j2", request,
        rows=rows[:SHOWN_ROWS], counts=count_statuses(list(reviews.values())), all=len(reviews),
        more=max(0, len(rows) - SHOWN_ROWS), show=show, kind="review", collection="data", passes=site.options.passes,
        following=following,
    )  # fmt: skip


def review_page(site: Site, request: Request) -> Response:
    """The candidates of one review, the first pass beside what others made of it, and what can be done."""
    who = site.who(request)
    if who is None:
        return _to_name(request)
    entry = entry_of(request, site.data.index)
    review = site.data.reviews.of(entry.video_id)
    if review is None:
        return template_page(
            site, "message.html.j2", request, heading="Not handed in yet",
            words="Nobody has handed in this video. A review begins when the first pass is done.",
            href=link_to("/annotate/video", ("id", entry.video_id)), link="Annotate it",
        )  # fmt: skip
    shown, problem = load_clip(site.data, entry.record)
    passes = site.data.reviews.first.handed_in(entry.video_id) if len(review.authors) > 1 else {}
    data = {
        "mode": "review",
        "in": "data",
        "id": entry.video_id,
        "who": who,
        "clip": None if shown is None else clip_json(shown, site.data),
        "review": review_json(review),
        "passes": [{"who": name, "body": dict(event.body)} for name, event in passes.items()],
        "frozen": True,
        "categories": list(CATEGORIES),
        "runs": [],
        "guideline": GUIDELINE_VERSION,
        "following": link_to("/review"),
    }
    return template_page(
        site, "editor.html.j2", request, body_class="editing",
        data=_kept_as_text(data), id=entry.video_id, problem=problem, mode="review", collection="data",
        categories=[(name, MEANINGS[name]) for name in CATEGORIES], runs=[],
        prompt=entry.record.prompt, back="/review", version=GUIDELINE_VERSION, review=review,
    )  # fmt: skip


# ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def export_records(site: Site, *, final: bool) -> list[Record]:
    """What was handed in, one annotation a person; with ``final`` the settled videos, one annotation each."""
    first = site.data.reviews.first
    return first.records(list(site.data.index.records), site.data.reviews.final() if final else None)


def export_lines(site: Site, *, final: bool) -> bytes:
    """The same as ``records.jsonl``."""
    return b"".join(dumps(record_to_json(record)).encode() + b"\n" for record in export_records(site, final=final))
