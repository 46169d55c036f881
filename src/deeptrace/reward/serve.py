"""The reward server: ``POST /score``, ``GET /rewards``, ``/health``, ``/ready``. See docs/serve.md.

The web process reads requests and holds the queue; models live in processes of their own (`deeptrace.reward.workers`).
Behind `deeptrace.pages.web.guard`, which refuses what must not be looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deeptrace import __version__
from deeptrace.errors import MissingExtra, WebError
from deeptrace.pages.web import BoundedQueue, Roots, WebRules, error_handlers, error_response, guard, serve
from deeptrace.reward.kinds import REWARD_KINDS, REWARDS, RewardName
from deeptrace.reward.score import TIMEOUT, NotRewarded, RewardOutcome
from deeptrace.reward.wire import (
    HEADLINE,
    ErrorResponse,
    ScoreItem,
    ScoreRequest,
    ScoreResponse,
    answer,
    decode_video,
    parse_items,
    video_turn,
)
from deeptrace.reward.workers import RewardWorkers, Source, worker_main

try:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
except ImportError:
    raise MissingExtra("the reward server", "serve") from None

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_ABOUT: Final[Mapping[str, str]] = {
    HEADLINE: "the reward that the server was started for, with P(real) and the count of traces",
    **{kind.name: kind.about for kind in REWARD_KINDS.values()},
}
_SCHEMAS: Final = "#/components/schemas/{model}"


def _describe_body(app: FastAPI) -> None:
    """Add the schema of the body, which the route reads itself, so that a bad item costs no other its score."""
    body = ScoreRequest.model_json_schema(ref_template=_SCHEMAS)
    table = app.openapi()  # kept by the app from here on
    table["components"]["schemas"] |= {**body.pop("$defs"), ScoreRequest.__name__: body}


@dataclass(frozen=True)
class RewardServerOptions:
    """How a server is run. ``roots`` are the folders whose files ``video_path`` may name; none: no paths.

    ``queue`` bounds the videos inside, at work or waiting, and ``per_client`` those of one address. ``batch`` bounds
    the videos of one request. ``item_seconds`` bounds the work at one video, ``request_seconds`` the whole
    request. Sizes are bytes.
    """

    model: str = "embedded"
    kind: RewardName = "trace_free"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    roots: tuple[Path, ...] = ()
    token: str | None = None
    hosts: tuple[str, ...] = ()
    workers: int = 1
    queue: int = 256
    per_client: int = 128
    batch: int = 64
    max_body_bytes: int = 64 << 20
    max_video_bytes: int = 256 << 20
    item_seconds: float = 60.0
    request_seconds: float = 120.0


class RewardApp:
    """The server's state and routes. ``app`` is what `serve` runs."""

    def __init__(self, options: RewardServerOptions, main: Callable[..., None] = worker_main) -> None:
        self.options = options
        self.roots = Roots(options.roots)
        self.queue = BoundedQueue(options.workers, options.queue - options.workers, per_client=options.per_client)
        self.workers = RewardWorkers(
            options.model,
            {"kind": options.kind, **options.model_options},
            count=options.workers,
            item_seconds=options.item_seconds,
            main=main,
        )
        self.workers.on_done = self.queue.note
        rules = WebRules(
            token=options.token,
            hosts=options.hosts,
            max_body_bytes=options.max_body_bytes,
            request_seconds=options.request_seconds + 5,
            admit=self._admit,
        )
        self.app: ASGIApp = guard(self._fastapi(), rules)

    def drain(self) -> None:
        """Take nothing new; what is inside is still answered."""
        self.queue.closed = True

    def _admit(self) -> None:
        self.queue.check()
        if not self.workers.ready:
            raise WebError(503, "SERVER_BUSY", "no model is ready", retry_seconds=5)

    def _fastapi(self) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
            self.workers.start()
            yield
            await self.workers.stop()

        app = FastAPI(
            title="deeptrace rewards",
            version=__version__,
            lifespan=lifespan,
            docs_url=None,
            redoc_url=None,
            exception_handlers=error_handlers(),
        )
        refusals: dict[int | str, dict[str, Any]] = {
            status: {"model": ErrorResponse} for status in (400, 401, 403, 408, 413, 422, 429, 503, 504)
        }
        schema = {"$ref": _SCHEMAS.format(model=ScoreRequest.__name__)}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        app.post("/score", response_model=ScoreResponse, responses=refusals, openapi_extra={"requestBody": body})(
            self._score
        )
        app.get("/rewards")(self._rewards)
        app.get("/health")(self._health)
        app.get("/ready", responses={503: {"model": ErrorResponse}})(self._ready)
        _describe_body(app)
        return app

    # ── routes ──

    async def _health(self) -> Response:
        """Live as long as the web process is, whatever the model does."""
        return JSONResponse({"status": "ok", "rewards": dict(_ABOUT)})

    async def _ready(self) -> Response:
        if self.queue.closed or not self.workers.ready:
            reason = "the server is about to end" if self.queue.closed else "no model is ready"
            return error_response(WebError(503, "SERVER_BUSY", reason, retry_seconds=5))
        name, revision = self.workers.identity or (None, None)
        return JSONResponse({"status": "ready", "model": name, "revision": revision, "inside": self.queue.inside})

    async def _rewards(self) -> Response:
        kinds: dict[str, str] = {HEADLINE: self.options.kind, **{name: name for name in REWARDS}}
        rows = [{"name": name, "reward": kinds[name], "about": about} for name, about in _ABOUT.items()]
        return JSONResponse(rows)

    async def _score(self, request: Request) -> Response:
        items = parse_items(await request.body(), most=self.options.batch)
        wanted = sum(isinstance(item, ScoreItem) for item in items)
        client = request.client.host if request.client else "unknown"
        with self.queue.places(client, wanted):
            outcomes = await self._outcomes(items)
        late = sum(isinstance(o, NotRewarded) and o.code == TIMEOUT for o in outcomes)
        if wanted and late == wanted:
            raise WebError(504, "REQUEST_TIMEOUT", "no video was scored in time", retry_seconds=1)
        return JSONResponse(answer(items, outcomes, self.options.kind))

    async def _outcomes(self, items: list[ScoreItem | NotRewarded]) -> list[RewardOutcome]:
        waiting: dict[int, asyncio.Future[RewardOutcome]] = {
            index: self.workers.submit(self._source(item), dense=item.metadata.get("dense") is True)
            for index, item in enumerate(items)
            if isinstance(item, ScoreItem)
        }
        try:
            if waiting:
                await asyncio.wait(waiting.values(), timeout=self.options.request_seconds)
            late = NotRewarded(TIMEOUT, f"not scored within {self.options.request_seconds:g} s")
            outcomes: list[RewardOutcome] = []
            for index, item in enumerate(items):
                if isinstance(item, NotRewarded):
                    outcomes.append(item)
                else:
                    outcomes.append(waiting[index].result() if waiting[index].done() else late)
            return outcomes
        finally:
            for future in waiting.values():
                future.cancel()

    def _source(self, item: ScoreItem) -> Source:
        turn = video_turn(item)
        assert turn is not None, "an item without a video was refused"
        most = self.options.max_video_bytes
        if turn.video_b64 is not None:
            text = turn.video_b64
            return lambda: decode_video(text, max_bytes=most)
        path = turn.video_path or ""
        return lambda: self.roots.read(path, max_bytes=most)


def serve_rewards(
    options: RewardServerOptions,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] | None = None,
    drain_seconds: float = 30.0,
    main: Callable[..., None] = worker_main,
) -> None:
    """Run the server until it is told to end; then answer what is inside, for ``drain_seconds``.

    ``on_ready`` is called with the address once it listens; the model may still be loading then, see ``/ready``.

    Raises:
        WebError: an address that others reach without a token, or one that cannot be listened on.
        FileError: a root is not a folder.
    """
    rewards = RewardApp(options, main)
    serve(
        rewards.app,
        host=host,
        port=port,
        token=options.token,
        on_ready=on_ready,
        on_drain=rewards.drain,
        drain_seconds=drain_seconds,
    )
