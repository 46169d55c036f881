"""The guards that every web server of ours stands behind, and how it is run. Needs the extra ``serve``.

    app = guard(Starlette(routes=..., exception_handlers=error_handlers()), WebRules(token=token))
    serve(app, host="127.0.0.1", port=0, rules=..., on_ready=print)

`guard` refuses a request before the app sees it: a Host or an Origin that is not ours, a missing token, a body that is
too large or too slow. What it lets through has a whole body in memory, an answer within a time limit, and is
cancelled when its client goes away. `BoundedQueue` is the bounded queue before work that is expensive. Every error is
``{"error": {"code", "message"}}``.
"""

from __future__ import annotations

from deeptrace.errors import MissingExtra

try:
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError:
    raise MissingExtra("a web server", "serve") from None

from deeptrace.pages.roots import Roots
from deeptrace.pages.web.errors import error_handlers, error_response
from deeptrace.pages.web.guard import guard
from deeptrace.pages.web.queue import BoundedQueue
from deeptrace.pages.web.rules import WebRules
from deeptrace.pages.web.serving import is_loopback, serve
from deeptrace.pages.web.videos import serve_video

__all__ = [
    "BoundedQueue",
    "Roots",
    "WebRules",
    "error_handlers",
    "error_response",
    "guard",
    "is_loopback",
    "serve",
    "serve_video",
]
