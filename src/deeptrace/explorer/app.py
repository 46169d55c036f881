"""The explorer as a web application: which address leads to which page, picture or write.

    app = make_app(records, runs, work_folder, options)
    serve(app, host="127.0.0.1", port=0, token=None)

Knows requests; the pages are `browse`, `beside`, `compare` and `work`, the writes `api`. Needs the extra ``serve``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deeptrace.data.read.load import Records
from deeptrace.errors import DeepTraceError, MissingExtra, WebError
from deeptrace.explorer import api, beside, browse, compare, work
from deeptrace.explorer.gold import GoldSet
from deeptrace.explorer.index import DatasetIndex
from deeptrace.explorer.outcomes import NamedRun
from deeptrace.explorer.pictures import ClipPictures
from deeptrace.explorer.review import Reviews
from deeptrace.explorer.site import Collection, ExplorerOptions, Site, asset_text, prepare_templates, template_page
from deeptrace.explorer.store import Store, StoreError

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError:
    raise MissingExtra("the explorer", "serve") from None

from deeptrace.pages.web import Roots, WebRules, guard, serve_video

__all__ = ["MAX_BODY_BYTES", "guarded", "make_app", "make_site", "page_error", "rules_for"]

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 2 << 20
"""A body larger than one annotation may be is none of ours."""

_NO_PICTURE: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 90" width="160" height="90">'
    b'<rect width="160" height="90" fill="#20242c"/><text x="80" y="49" fill="#a3abb8" font-family="sans-serif"'
    b' font-size="11" text-anchor="middle">no picture</text></svg>'
)
_KEPT: Final = {"cache-control": "private, max-age=3600"}

PageHandler = Callable[[Site, Request], Response]
WriteHandler = Callable[[Site, Request, Mapping[str, Any]], JSONResponse]


def rules_for(token: str | None, hosts: Sequence[str] = ()) -> WebRules:
    """What the guard demands of the explorer's requests: cookies for browsers, small bodies."""
    return WebRules(
        token=token, cookie=True, hosts=tuple(hosts), max_body_bytes=MAX_BODY_BYTES, max_held_bytes=64 << 20,
        request_seconds=300.0,
    )  # fmt: skip


def make_site(
    records: Records, runs: Sequence[NamedRun], work_folder: Path, options: ExplorerOptions | None = None
) -> Site:
    """The dataset, its runs and the work on it. The work folder is made.

    Raises:
        FileError: the folder cannot be made.
        StoreError: what is kept in it cannot be used.
        MissingExtra: scipy is not installed, and there are traces to match.
    """
    options = options or ExplorerOptions()
    store = Store(work_folder)
    index = DatasetIndex(records, runs)
    prepare_templates()
    pictures = ClipPictures(work_folder / "pictures", records.root)
    reviews = Reviews(store, passes=options.passes, reviewers=options.reviewers)
    return Site(Collection("data", index, pictures, reviews), store, options, GoldSet(work_folder / "gold"))


def make_app(site: Site) -> Starlette:
    """The application, not yet behind its guard (see `rules_for`). Closing it closes the store."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        site.store.close()

    routes = [
        _page("/", browse.grid_page),
        _page("/video", browse.video_page),
        _page("/beside", beside.beside_page),
        _page("/compare", compare.compare_page),
        _page("/annotate", work.annotate_list_page),
        _page("/annotate/video", work.annotate_page),
        _page("/review", work.review_list_page),
        _page("/review/video", work.review_page),
        _page("/guideline", work.guideline_page),
        _page("/name", work.name_page),
        _page("/export.jsonl", _export),
        _page("/poster", _poster),
        _page("/preview", _preview),
        _page("/media", _media),
        _page("/assets/{name}", _asset),
        _page("/health", _health),
        _write("/api/save", api.save),
        _write("/api/prelabel", api.take_prelabel),
        _write("/api/review", api.step_review),
        _write("/api/name", lambda site, _request, sent: api.set_name(site, sent)),
    ]
    app = Starlette(routes=routes, exception_handlers=_handlers(site), lifespan=lifespan)
    app.state.site = site
    return app


def guarded(site: Site, *, token: str | None, hosts: Sequence[str] = ()) -> Any:
    """The application behind its guard."""
    return guard(make_app(site), rules_for(token, hosts))


# ── routes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _page(path: str, handler: PageHandler) -> Route:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(handler, request.app.state.site, request)

    return Route(path, endpoint, methods=["GET"])


def _write(path: str, handler: WriteHandler) -> Route:
    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        sent = await api.read_write(request, site.csrf)
        return await run_in_threadpool(handler, site, request, sent)

    return Route(path, endpoint, methods=["POST"])


def _handlers(site: Site) -> dict[Any, Callable[[Request, Any], Awaitable[Response]]]:
    async def refused(request: Request, error: WebError) -> Response:
        return page_error(site, request, error.status, error.code, str(error))

    async def stored(_request: Request, error: StoreError) -> Response:
        return api.refused_response(error)

    async def ours(request: Request, error: DeepTraceError) -> Response:
        return page_error(site, request, 422, error.code, str(error))

    async def by_status(request: Request, error: HTTPException) -> Response:
        code = "NOT_FOUND" if error.status_code == 404 else "BAD_REQUEST"
        return page_error(site, request, error.status_code, code, error.detail)

    return {WebError: refused, StoreError: stored, DeepTraceError: ours, HTTPException: by_status}


def page_error(site: Any, request: Request, status: int, code: str, message: str) -> Response:
    """An error for whoever asks: a page for a browser that opens one, else JSON."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        heading = {404: "Not here", 400: "Not a whole address"}.get(status, "This did not work")
        page = template_page(
            site, "message.html.j2", request, heading=heading, words=message, href="/", link="To the dataset"
        )
        page.status_code = status
        return page
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def _asset(_site: Site, request: Request) -> Response:
    content, kind = asset_text(request.path_params["name"])
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def _health(_site: Site, _request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _export(site: Site, request: Request) -> Response:
    final = request.query_params.get("final") == "1"
    headers = {"content-disposition": f'attachment; filename="{"settled" if final else "first-passes"}.jsonl"'}
    return Response(work.export_lines(site, final=final), media_type="application/x-ndjson", headers=headers)


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _numbered(site: Site, request: Request) -> tuple[Collection, Any]:
    collection = site.collection(request.query_params.get("in", "data"))
    number = request.query_params.get("n", "")
    entries = collection.index.entries
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) < len(entries)):
        raise WebError(404, "NOT_FOUND", "there is no such picture")
    return collection, entries[int(number)].record


def _poster(site: Site, request: Request) -> Response:
    collection, record = _numbered(site, request)
    try:
        name = collection.pictures.poster(record)
    except DeepTraceError as error:  # the page of the video says why
        logger.info("no poster of %r: %s", record.video_id, error)
        return Response(_NO_PICTURE, media_type="image/svg+xml", headers=dict(_KEPT))
    content = Roots([collection.pictures.folder]).read(name, max_bytes=4 << 20)
    return Response(content, media_type="image/jpeg", headers=dict(_KEPT))


def _preview(site: Site, request: Request) -> Response:
    collection, record = _numbered(site, request)
    return serve_video(Roots([collection.pictures.folder]), collection.pictures.preview(record), request)


def _media(site: Site, request: Request) -> Response:
    """A copy or its poster, from the folder of copies and from nowhere else."""
    collection = site.collection(request.query_params.get("in", "data"))
    roots, name = Roots([collection.pictures.folder / "media"]), request.query_params.get("name", "")
    inner = name.removeprefix("media/")
    if inner.endswith(".jpg"):
        return Response(roots.read(inner, max_bytes=16 << 20), media_type="image/jpeg", headers=dict(_KEPT))
    if not inner.endswith(".mp4"):
        raise WebError(403, "PATH_NOT_ALLOWED", "no readable file under the allowed folders has this path")
    return serve_video(roots, inner, request)
