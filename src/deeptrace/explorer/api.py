"""What pages send: saves, pre-labels, steps of a review, names. JSON in, JSON out; every write is checked the same way.

Beside the guards of every server (`deeptrace.pages.web`) a write carries this store's own word in ``X-CSRF``, which
only a page of ours knows, and is JSON, which no form of another site can send.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from deeptrace.errors import JsonError, WebError
from deeptrace.explorer.annotate import FirstPass, Kind
from deeptrace.explorer.browse import entry_of
from deeptrace.explorer.gold import compare_with_gold
from deeptrace.explorer.review import Review, Step
from deeptrace.explorer.site import NAME_COOKIE, Site, shown_json
from deeptrace.explorer.store import Event, StoreError
from deeptrace.files import loads

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import JSONResponse

__all__ = [
    "event_json",
    "read_write",
    "refused_response",
    "review_json",
    "save",
    "set_name",
    "step_review",
    "take_prelabel",
]

_STATUS: Final = {"CONFLICT": 409, "FROZEN": 409, "REFUSED": 422, "STORE_FAILED": 503}
_STEPS: Final[Mapping[str, Step]] = {
    "accept": "accept", "edit": "edit", "dispute": "dispute", "vote": "vote", "reopen": "reopen",
}  # fmt: skip
_NAME_SECONDS: Final = 400 * 24 * 3600


async def read_write(request: Request, csrf: str) -> dict[str, Any]:
    """The JSON of a write.

    Raises:
        WebError: 403 without the right ``X-CSRF``; 415 for another media type; 400 for what is no JSON object.
    """
    given = request.headers.get("x-csrf", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), csrf.encode()):
        raise WebError(
            403, "ORIGIN_NOT_ALLOWED", "this request does not come from a page of this server; reload the page"
        )
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise WebError(415, "BAD_REQUEST", "the body must be application/json")
    try:
        value = loads(await request.body())
    except JsonError as error:
        raise WebError(400, "BAD_REQUEST", str(error)) from None
    if not isinstance(value, dict):
        raise WebError(400, "BAD_REQUEST", "the body must be a JSON object")
    return value


def refused_response(error: StoreError) -> JSONResponse:
    """A change that was not taken, with the version that is there where somebody else wrote one."""
    from starlette.responses import JSONResponse

    body: dict[str, Any] = {"error": {"code": error.code, "message": str(error)}}
    if error.current is not None:
        body["current"] = event_json(error.current)
    return JSONResponse(body, _STATUS[error.code])


def event_json(event: Event | None) -> dict[str, Any] | None:
    """An event for a script that shows and edits it: texts of its body as they are, names made visible."""
    if event is None:
        return None
    return {
        "version": event.version,
        "kind": event.kind,
        "at": event.at,
        "who": shown_json(event.who),
        "body": dict(event.body),
    }


def _answer(value: Mapping[str, Any]) -> JSONResponse:
    from starlette.responses import JSONResponse

    return JSONResponse(dict(value))


class _Write:
    """The fields that every write has."""

    def __init__(self, site: Site, request: Request, sent: Mapping[str, Any]) -> None:
        who = site.who(request)
        if who is None:
            raise WebError(403, "UNAUTHORIZED", "choose the name you work under first")
        self.who = who
        self.collection = site.collection(_text(sent, "in", default="data"))
        self.entry = entry_of(request, self.collection.index, _text(sent, "id"))
        self.key = _text(sent, "key")
        base = sent.get("base")
        if isinstance(base, bool) or not isinstance(base, int) or base < 0:
            raise WebError(400, "INVALID_REQUEST", "base: the version that was seen is needed, 0 for none")
        self.base = base
        self.first = FirstPass(site.store, self.collection.name)


def _text(sent: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    value = sent.get(name, default)
    if not isinstance(value, str):
        raise WebError(400, "INVALID_REQUEST", f"{name}: a text is needed")
    return value


def save(site: Site, request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    """Keep a first pass; with ``submit`` hand it in, which opens its review, or tells a learner how right it is."""
    write = _Write(site, request, sent)
    submit = sent.get("submit") is True
    kind: Kind = "submit" if submit else "draft"
    event = write.first.save(
        write.entry.video_id, sent.get("body"), who=write.who, base=write.base, key=write.key, kind=kind
    )
    answer: dict[str, Any] = {"event": event_json(event)}
    if submit and write.collection.name == "gold":
        feedback = compare_with_gold(write.entry.record, event.body)
        answer["feedback"] = {"passed": feedback.passed, "words": list(feedback.words)}
    elif submit:
        write.collection.reviews.open_if_ready(write.entry.video_id)
    return _answer(answer)


def take_prelabel(site: Site, request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    """Begin with what a model says; recorded as such."""
    write = _Write(site, request, sent)
    outcome = write.entry.outcomes.get(_text(sent, "run"))
    if outcome is None:
        raise StoreError("REFUSED", "this model has no row on this video")
    event = write.first.prelabel(write.entry.video_id, outcome, who=write.who, base=write.base, key=write.key)
    return _answer({"event": event_json(event)})


def step_review(site: Site, request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    """Accept, edit, dispute or vote."""
    write = _Write(site, request, sent)
    step = _STEPS.get(_text(sent, "step"))
    if step is None:
        raise WebError(400, "INVALID_REQUEST", f"step: {', '.join(_STEPS)} is needed")
    body = sent.get("body")
    review = write.collection.reviews.step(
        write.entry.video_id,
        step,
        body if isinstance(body, dict) else {},
        who=write.who,
        base=write.base,
        key=write.key,
    )
    return _answer({"review": review_json(review)})


def review_json(review: Review) -> dict[str, Any]:
    """A review for its page: bodies as they are (they are edited there), all else made visible."""
    row = review.to_json()
    bodies = [candidate.pop("body") for candidate in row["candidates"]]
    shown: dict[str, Any] = shown_json(row)
    for candidate, body in zip(shown["candidates"], bodies, strict=True):
        candidate["body"] = body
    return shown


def set_name(site: Site, sent: Mapping[str, Any]) -> JSONResponse:
    """Choose the name to work under."""
    name = _text(sent, "name").strip()
    if not site.is_name(name):
        known = f" Known: {', '.join(site.options.annotators)}" if site.options.annotators else ""
        raise WebError(422, "INVALID_REQUEST", f"nobody works here under this name.{known}")
    try:
        value = quote(name, safe="")
    except UnicodeEncodeError:
        raise WebError(422, "INVALID_REQUEST", "this name cannot be written") from None
    response = _answer({"name": name})
    response.set_cookie(NAME_COOKIE, value, httponly=True, samesite="strict", path="/", max_age=_NAME_SECONDS)
    return response
