"""Videos under the roots as answers, whole or one range of bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from typing_extensions import override

from deeptrace.errors import WebError
from deeptrace.pages.roots import Roots

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_VIDEO_TYPES: Final = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime"}


def serve_video(roots: Roots, path: str, request: Request) -> Response:
    """The video at ``path`` under the roots, or the one range of bytes that is asked for.

    Raises:
        WebError: ``PATH_NOT_ALLOWED``; ``RANGE_NOT_ALLOWED``, 416, for several ranges.
    """
    ranges = request.headers.getlist("range")
    if len(ranges) > 1 or any("," in item for item in ranges):
        raise WebError(416, "RANGE_NOT_ALLOWED", "one range of bytes at a time")
    with roots.open(path) as descriptor:
        return _VideoResponse(os.dup(descriptor), _VIDEO_TYPES.get(os.path.splitext(path)[1].lower()))


class _VideoResponse(FileResponse):
    """A file by its open descriptor, so that what is sent is what was checked. Closes it."""

    def __init__(self, descriptor: int, media_type: str | None) -> None:
        self._descriptor = descriptor
        headers = {"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, no-cache"}
        super().__init__(
            f"/dev/fd/{descriptor}",
            headers=headers,
            media_type=media_type or "application/octet-stream",
            stat_result=os.fstat(descriptor),
        )

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)
