"""Errors in, answers out: every error of a web server of ours has the one shape ``{"error": {"code", "message"}}``."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deeptrace.errors import DeepTraceError, WebError


def error_response(error: WebError) -> JSONResponse:
    """The error as ``{"error": {"code", "message"}}``, with Retry-After where it says when to come again."""
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_seconds)))
    return JSONResponse({"error": {"code": error.code, "message": str(error)}}, error.status, headers=headers)


def error_handlers() -> dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """Handlers for Starlette's and FastAPI's ``exception_handlers``, so that every error has the one shape."""

    async def refused(_request: Request, error: WebError) -> Response:
        return error_response(error)

    async def ours(_request: Request, error: DeepTraceError) -> Response:
        return JSONResponse({"error": {"code": error.code, "message": str(error)}}, 400)

    async def by_status(_request: Request, error: HTTPException) -> Response:
        code = "NOT_FOUND" if error.status_code == 404 else "BAD_REQUEST"
        body = {"error": {"code": code, "message": error.detail}}
        return JSONResponse(body, error.status_code, headers=error.headers)

    async def fault(_request: Request, _error: Exception) -> Response:
        return error_response(own_fault())

    return {WebError: refused, DeepTraceError: ours, HTTPException: by_status, Exception: fault}


def own_fault() -> WebError:
    """What a client is told of an exception that nobody expected."""
    return WebError(500, "INTERNAL_ERROR", "the server met a fault of its own; its log tells more")


def unauthorized() -> WebError:
    """What a client is told that has no token, or a wrong one."""
    return WebError(401, "UNAUTHORIZED", "a token is needed: Authorization: Bearer <token>")
