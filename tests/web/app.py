"""A small guarded app: ``python -m tests.web.app ROOT TOKEN [option=value ...]``. An empty token: none."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from deeptrace.pages.web import BoundedQueue, Roots, WebRules, error_handlers, guard, serve, serve_video


def main(root: str, token: str, *options: str) -> None:
    given = dict(option.split("=") for option in options)
    roots = Roots([Path(root)])
    queue = BoundedQueue(1, 2, per_client=2)
    ended: list[str] = []

    async def health(_request: Request) -> Response:
        return JSONResponse(
            {"inside": queue.inside, "ended": len(ended), "tasks": len(asyncio.all_tasks()), "held": guarded.held_bytes}
        )  # type: ignore[attr-defined]

    async def echo(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    async def work(request: Request) -> Response:
        async with queue.enter(request.headers.get("x-client", "one")):
            try:
                await asyncio.sleep(float(request.query_params["seconds"]))
            finally:
                ended.append("work")
        return PlainTextResponse("done")

    async def fail(_request: Request) -> Response:
        raise RuntimeError("a secret of the server")

    async def flood(_request: Request) -> Response:
        async def pieces():  # type: ignore[no-untyped-def]
            while True:
                yield b"x" * 65536

        return StreamingResponse(pieces())

    async def video(request: Request) -> Response:
        return serve_video(roots, request.path_params["path"], request)

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/echo", echo, methods=["POST"]),
            Route("/work", work, methods=["POST"]),
            Route("/fail", fail),
            Route("/flood", flood),
            Route("/video/{path:path}", video),
        ],
        exception_handlers=error_handlers(),
    )
    rules = WebRules(
        token=token or None,
        cookie=True,
        max_body_bytes=100_000,
        max_held_bytes=250_000,
        body_seconds=float(given.get("body", 1.0)),
        request_seconds=float(given.get("request", 4.0)),
        reply_seconds=1.0,
        admit=queue.check,
    )
    guarded = guard(app, rules)
    serve(
        guarded,
        host=given.get("host", "127.0.0.1"),
        token=rules.token,
        on_ready=lambda address: print(address, flush=True),
        header_seconds=1.0,
    )


main(*sys.argv[1:])
