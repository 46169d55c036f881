"""The study as a web application: one page for a participant, who is a random code and nothing else.

Every trial is shown once: from the moment its clip was asked for it is either answered or lost. Answers are events in
the same store as annotations, so a closed laptop or a killed server loses none that was acknowledged.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deeptrace.data.read.load import Records
from deeptrace.errors import DeepTraceError, FileError, MissingExtra, RecordError, WebError
from deeptrace.explorer.api import read_write, refused_response
from deeptrace.explorer.app import page_error, rules_for
from deeptrace.explorer.pictures import ClipPictures
from deeptrace.explorer.site import asset_text, template_page
from deeptrace.explorer.store import Document, Store, StoreError
from deeptrace.explorer.study.design import (
    CHECK,
    StudyDesign,
    StudyTrial,
    clips_of,
    plan_trials,
    write_check_clip,
)
from deeptrace.explorer.study.statistics import Answer, Participant
from deeptrace.files import dumps, loads, make_folder, read_bytes, write_text
from deeptrace.pages.web import Roots, guard, serve_video
from deeptrace.records import Record, check_bbox, check_number

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError:
    raise MissingExtra("a study", "serve") from None

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["StudySite", "guarded_study", "load_study", "make_study", "participants_of", "study_app"]

DESIGN_NAME: Final = "study.json"
SCHEMA: Final = "deeptrace.study.design"
SCHEMA_VERSION: Final = 1
COLLECTION: Final = "study"
PLAN: Final = "plan"
WITHDRAWN: Final = "withdrawn"
_CODE_BYTES: Final = 12
_MOST_MS: Final = 3_600_000


@dataclass
class StudySite:
    """A study that runs: what is shown, the clips, and where answers go."""

    design: StudyDesign
    records: Mapping[str, Record]
    pictures: ClipPictures
    store: Store
    folder: Path
    csrf: str = ""
    links: tuple[dict[str, str], ...] = ()

    def __post_init__(self) -> None:
        self.csrf = self.store.note("csrf", secrets.token_urlsafe(24))


# ── the study's folder ──────────────────────────────────────────────────────────────────────────────────────────────


def make_study(
    records: Records, folder: Path, *, mode: str = "single", trials: int = 20, checks: int = 2, seed: int = 0
) -> StudySite:
    """Begin a study in a folder, or go on with the one that is there.

    Raises:
        RecordError: the dataset cannot be studied so, or the folder holds another study.
        FileError, VideoError: something cannot be written.
    """
    make_folder(folder)
    wanted: Any = mode
    design = StudyDesign(tuple(clips_of(list(records))), wanted, trials, checks, seed)
    path = folder / DESIGN_NAME
    if path.exists():
        if load_study(folder) != design:
            raise RecordError(
                "study", f"{folder.name!r} holds a study of other clips or settings; choose another folder"
            )
    else:
        write_text(
            path, dumps({"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **design.to_json()}, indent=1) + "\n"
        )
    check = make_folder(folder / "checks") / "check.mp4"
    if checks and not check.is_file():
        write_check_clip(check)
    by_id = {record.video_id: record for record in records}
    return StudySite(design, by_id, ClipPictures(folder / "pictures", records.root), Store(folder), folder)


def load_study(folder: Path) -> StudyDesign:
    """The design of the study in a folder.

    Raises:
        FileError: there is none.
        JsonError, RecordError: the file is damaged.
    """
    path = folder / DESIGN_NAME
    if not path.is_file():
        raise FileError(f"{folder.name!r} holds no study: there is no {DESIGN_NAME}. `deeptrace study run` begins one")
    row = loads(read_bytes(path))
    if (
        not isinstance(row, dict)
        or row.pop("schema", None) != SCHEMA
        or row.pop("schema_version", None) != SCHEMA_VERSION
    ):
        raise RecordError("study", f"{DESIGN_NAME} is no {SCHEMA} {SCHEMA_VERSION}")
    try:
        return StudyDesign.from_json(row)
    except (TypeError, KeyError, ValueError) as error:
        raise RecordError("study", f"{DESIGN_NAME} is damaged: {error}") from None


def participants_of(folder: Path) -> list[Participant]:
    """Everybody who began, with what they answered.

    Raises:
        StoreError: the answers cannot be read.
    """
    with Store(folder) as store:
        events = store.all_events(COLLECTION)
    plans: dict[str, list[StudyTrial]] = {}
    answers: dict[str, list[Answer]] = {}
    unwatched: dict[str, int] = {}
    withdrawn = set()
    for event in events:
        code = event.document.name
        match event.kind:
            case "begin":
                plans[code] = [StudyTrial.from_json(row) for row in event.body["trials"]]
            case "answer":
                trial = plans[code][int(event.document.video_id) - 1]
                if event.body.get("unwatched"):
                    unwatched[code] = unwatched.get(code, 0) + 1
                else:
                    answers.setdefault(code, []).append(_answer_from_body(trial, event.body))
            case "withdraw":
                withdrawn.add(code)
    return [
        Participant(code, len(trials), tuple(answers.get(code, ())), unwatched.get(code, 0), code in withdrawn)
        for code, trials in plans.items()
    ]


def _answer_from_body(trial: StudyTrial, body: Mapping[str, Any]) -> Answer:
    click = body.get("click")
    box = body.get("box")
    return Answer(
        trial,
        bool(body["says_fake"]),
        int(body["confidence"]),
        None if click is None or click["x"] is None else (float(click["x"]), float(click["y"])),
        None if click is None else float(click["seconds"]),
        None if box is None else check_bbox(box),
        None if click is None else click.get("clip"),
    )


# ── one participant ─────────────────────────────────────────────────────────────────────────────────────────────────


def _plan(site: StudySite, code: str) -> list[StudyTrial]:
    event = site.store.current(Document(COLLECTION, PLAN, code))
    if event is None:
        raise WebError(404, "NOT_FOUND", "nobody began a study under this address")
    return [StudyTrial.from_json(row) for row in event.body["trials"]]


def _trial_document(code: str, number: int) -> Document:
    return Document(COLLECTION, str(number), code)


def _state(site: StudySite, code: str) -> dict[str, Any]:
    """Which trial is next, and whether its clip was asked for already."""
    trials = _plan(site, code)
    withdrawn = site.store.current(Document(COLLECTION, WITHDRAWN, code)) is not None
    for trial in trials:
        event = site.store.current(_trial_document(code, trial.number))
        if event is None or event.kind != "answer":
            kind = "pair" if trial.kind == "pair" else "single"
            return {
                "code": code, "next": trial.number, "of": len(trials), "kind": kind, "shown": event is not None,
                "withdrawn": withdrawn,
            }  # fmt: skip
    return {"code": code, "next": None, "of": len(trials), "kind": "single", "shown": False, "withdrawn": withdrawn}


def _begin(site: StudySite, _request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    code = secrets.token_urlsafe(_CODE_BYTES)
    trials = [trial.to_json() for trial in plan_trials(site.design, code)]
    key = sent.get("key")
    if not isinstance(key, str):
        raise WebError(400, "INVALID_REQUEST", "key: a text is needed")
    event = site.store.append(Document(COLLECTION, PLAN, code), "begin", {"trials": trials}, who=code, base=0, key=key)
    return JSONResponse({"code": event.document.name})


def _number(site: StudySite, code: str, value: object) -> StudyTrial:
    trials = _plan(site, code)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= len(trials):
        raise WebError(404, "NOT_FOUND", "there is no such trial")
    return trials[value - 1]


def _code(sent: Mapping[str, Any]) -> str:
    code = sent.get("code")
    if not isinstance(code, str) or not code:
        raise WebError(400, "INVALID_REQUEST", "code: a text is needed")
    return code


def _show(site: StudySite, _request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    """Note that a trial's clip is going to be shown; a second time there is nothing to show."""
    code = _code(sent)
    trial = _number(site, code, sent.get("trial"))
    if _state(site, code)["next"] != trial.number:
        raise WebError(409, "BAD_REQUEST", "another trial is next")
    clips = [_shown_clip(site, trial, side) for side in range(max(1, len(trial.clips)))]
    site.store.append(
        _trial_document(code, trial.number), "shown", {}, who=code, base=0, key=f"shown {code} {trial.number}"
    )
    return JSONResponse({"clips": clips})


def _shown_clip(site: StudySite, trial: StudyTrial, side: int) -> dict[str, Any]:
    """Size and length of a clip; its address names nothing that tells what it is."""
    if trial.kind == CHECK:
        return {"size": [640, 360], "seconds": 3.0}
    media = site.pictures.clip(site.records[trial.clips[side]]).media
    return {"size": [media.width, media.height], "seconds": media.duration_seconds}


def _clip(site: StudySite, request: Request) -> Response:
    code, side = request.path_params["code"], request.path_params["side"]
    trial = _number(site, code, request.path_params["trial"])
    event = site.store.current(_trial_document(code, trial.number))
    if event is None or event.kind != "shown" or not 0 <= side < max(1, len(trial.clips)):
        raise WebError(403, "PATH_NOT_ALLOWED", "this clip is not shown now")
    if trial.kind == CHECK:
        return serve_video(Roots([site.folder / "checks"]), "check.mp4", request)
    name = site.pictures.clip(site.records[trial.clips[side]]).media.video or ""
    return serve_video(Roots([site.pictures.folder]), name, request)


def _take_answer(site: StudySite, _request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    code = _code(sent)
    trial = _number(site, code, sent.get("trial"))
    key = sent.get("key")
    if not isinstance(key, str):
        raise WebError(400, "INVALID_REQUEST", "key: a text is needed")
    body = _answer_body(site, trial, sent)
    site.store.append(_trial_document(code, trial.number), "answer", body, who=code, base=1, key=key)
    return JSONResponse(_state(site, code))


def _answer_body(site: StudySite, trial: StudyTrial, sent: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an answer.

    Raises:
        WebError: 422, a value that is no answer.
    """
    if sent.get("unwatched") is True:
        return {"unwatched": True}
    try:
        answer, confidence = sent.get("answer"), int(check_number(sent.get("confidence"), "confidence", low=1, high=4))
        known = ("left", "right") if trial.kind == "pair" else ("fake", "real")
        if answer not in known:
            raise RecordError("answer", f"{answer!r} is not one of {', '.join(known)}")
        side = 0 if answer == "left" else 1
        fake = site.design.by_id[trial.clips[side]].kind == "fake" if trial.kind == "pair" else answer == "fake"
        box = sent.get("box")
        return {
            "answer": answer,
            "says_fake": fake,
            "confidence": confidence,
            "click": _click(trial, sent.get("click")),
            "box": None if box is None else list(check_bbox(box)),
            "after_ms": check_number(sent.get("after_ms", 0), "after_ms", low=0, high=_MOST_MS),
        }
    except RecordError as error:
        raise WebError(422, "INVALID_REQUEST", str(error)) from None


def _click(trial: StudyTrial, click: object) -> dict[str, Any] | None:
    if click is None:
        return None
    if not isinstance(click, Mapping):
        raise RecordError("click", "is not an object of x, y and seconds")
    x, y = click.get("x"), click.get("y")
    side = click.get("side", 0)
    if isinstance(side, bool) or not isinstance(side, int) or not 0 <= side < max(1, len(trial.clips)):
        raise RecordError("click.side", f"{side!r} is no side of this trial")
    return {
        "x": None if x is None else check_number(x, "click.x", low=0, high=1),
        "y": None if y is None else check_number(y, "click.y", low=0, high=1),
        "seconds": check_number(click.get("seconds"), "click.seconds", low=0, high=1e6),
        "clip": trial.clips[side] if trial.clips else None,
    }


def _withdraw(site: StudySite, _request: Request, sent: Mapping[str, Any]) -> JSONResponse:
    code = _code(sent)
    _plan(site, code)
    site.store.append(Document(COLLECTION, WITHDRAWN, code), "withdraw", {}, who=code, base=0, key=f"withdraw {code}")
    return JSONResponse({"withdrawn": True})


# ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _welcome(site: StudySite, request: Request) -> Response:
    count = site.design.trials + site.design.checks
    return template_page(
        site, "study.html.j2", request, data={"begin": True}, begin=True, trials=count, mode=site.design.mode,
        minutes=max(1, round(count * 15 / 60)), checks=site.design.checks,
    )  # fmt: skip


def _session(site: StudySite, request: Request) -> Response:
    state = _state(site, request.path_params["code"])
    return template_page(
        site, "study.html.j2", request, data=state, begin=False, trials=state["of"], mode=site.design.mode, minutes=0
    )


def study_app(site: StudySite) -> Starlette:
    """The application, not yet behind its guard."""

    def page(path: str, handler: Any) -> Route:
        async def endpoint(request: Request) -> Response:
            answer: Response = await run_in_threadpool(handler, site, request)
            return answer

        return Route(path, endpoint, methods=["GET"])

    def write(path: str, handler: Any) -> Route:
        async def endpoint(request: Request) -> Response:
            sent = await read_write(request, site.csrf)
            answer: Response = await run_in_threadpool(handler, site, request, sent)
            return answer

        return Route(path, endpoint, methods=["POST"])

    async def refused(request: Request, error: WebError) -> Response:
        return page_error(site, request, error.status, error.code, str(error))

    async def stored(_request: Request, error: StoreError) -> Response:
        return refused_response(error)

    async def ours(request: Request, error: DeepTraceError) -> Response:
        return page_error(site, request, 422, error.code, str(error))

    async def by_status(request: Request, error: HTTPException) -> Response:
        return page_error(site, request, error.status_code, "NOT_FOUND", error.detail)

    routes = [
        page("/", _welcome),
        page("/s/{code}", _session),
        page("/s/{code}/{trial:int}/{side:int}", _clip),
        page("/assets/{name}", _asset),
        page("/health", lambda _site, _request: JSONResponse({"status": "ok"})),
        write("/api/begin", _begin),
        write("/api/show", _show),
        write("/api/answer", _take_answer),
        write("/api/withdraw", _withdraw),
    ]
    handlers: Any = {WebError: refused, StoreError: stored, DeepTraceError: ours, HTTPException: by_status}
    return Starlette(routes=routes, exception_handlers=handlers)


def _asset(_site: StudySite, request: Request) -> Response:
    content, kind = asset_text(request.path_params["name"])
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def guarded_study(site: StudySite, *, token: str | None, hosts: Sequence[str] = ()) -> Any:
    """The application behind its guard."""
    return guard(study_app(site), rules_for(token, hosts))
