"""Who may ask: the Host, the token or its cookie, and the Origin of a request in, a refusal or nothing out."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import RedirectResponse

from deeptrace.errors import WebError
from deeptrace.pages.web.errors import unauthorized
from deeptrace.pages.web.rules import WebRules

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import Scope

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing: no Origin is asked for, nothing is queued."""
_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
"""What this machine calls itself in a Host header."""


class Access:
    """The checks of `WebRules` that need the headers alone. Each raises `WebError`."""

    def __init__(self, rules: WebRules) -> None:
        self.rules = rules
        self._digest = None if rules.token is None else _digest(rules.token.encode())
        self._session = "" if rules.token is None else _session_of(rules.token)
        self._cookie = f"deeptrace_{_digest(self._session.encode()).hex()[:8]}"

    def check_host(self, headers: Headers) -> None:
        """That the request names this server, once."""
        hosts = headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        rules = self.rules
        # Whoever names hosts still opens the address that is printed: this machine's own names stay allowed.
        allowed = None if rules.token is not None and not rules.hosts else (*rules.hosts, *_LOOPBACK_NAMES)
        if name is None or (allowed is not None and name not in allowed):
            raise WebError(403, "HOST_NOT_ALLOWED", "this server does not go by that name; see --allow-host")

    def check_token(self, scope: Scope, headers: Headers) -> Response | None:
        """None where the request may pass; a response that sends a browser on with its cookie."""
        if self._digest is None or scope["path"] in self.rules.open_paths:
            return None
        given = headers.getlist("authorization")
        if given:
            scheme, _, token = given[0].partition(" ")
            right = hmac.compare_digest(_digest(token.strip().encode("latin-1", "replace")), self._digest)
            if len(given) == 1 and scheme.lower() == "bearer" and right:
                return None
        elif self.rules.cookie:
            if self._has_cookie(headers):
                if scope["method"] not in SAFE_METHODS and not _from_own_page(headers):
                    raise WebError(403, "ORIGIN_NOT_ALLOWED", "a page of another site may not send this request")
                return None
            if scope["method"] == "GET":
                return self._redirect(scope)
        raise unauthorized()

    def _has_cookie(self, headers: Headers) -> bool:
        right = False
        for line in headers.getlist("cookie"):
            for item in line.split(";")[:100]:
                name, _, value = item.strip().partition("=")
                if name == self._cookie:
                    given = _digest(value.encode("latin-1", "replace"))
                    right |= hmac.compare_digest(given, _digest(self._session.encode()))
        return right

    def _redirect(self, scope: Scope) -> Response:
        assert self._digest is not None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=None)
        tokens = [value for name, value in query if name == "token"]
        if len(tokens) != 1 or not hmac.compare_digest(_digest(tokens[0].encode("utf-8", "replace")), self._digest):
            raise unauthorized()
        rest = urlencode([item for item in query if item[0] != "token"])
        # One leading slash: "//elsewhere" would be another server.
        target = "/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else "")
        response = RedirectResponse(target, 303)
        secure = scope.get("scheme") == "https"
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    def check_origin(self, headers: Headers) -> None:
        """That no page of another site sends the request."""
        if headers.get("origin") is not None and not _from_own_page(headers):
            raise WebError(403, "ORIGIN_NOT_ALLOWED", "a page of another site may not send this request")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise WebError(403, "ORIGIN_NOT_ALLOWED", "a page of another site may not send this request")


def _digest(secret: bytes) -> bytes:
    """Compared instead of the secret: of one length, and bytes whatever characters were sent."""
    return hashlib.sha256(secret).digest()


def _session_of(token: str) -> str:
    return hmac.new(token.encode(), b"deeptrace session", hashlib.sha256).hexdigest()


def _host_name(host: str) -> str | None:
    """The name in a Host header, lower case, an IPv6 address in brackets; None for what is not one."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.netloc != host or parts.path or "@" in host:
        return None
    return f"[{name}]" if ":" in name else name


def _from_own_page(headers: Headers) -> bool:
    """Whether a page of this very server sends the request, by what the browser says."""
    origins = headers.getlist("origin")
    if origins:
        return len(origins) == 1 and urlsplit(origins[0]).netloc.lower() == headers.get("host", "").lower() != ""
    return headers.get("sec-fetch-site") == "same-origin"
