"""What all pages of the explorer share: who is asking, the links between pages, templates, files of style and script.

Templates escape everything (`deeptrace.pages.html`); a page loads style and script from this server alone, and nothing
inline runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader

from deeptrace.characters import visible
from deeptrace.errors import WebError
from deeptrace.explorer.gold import GoldSet
from deeptrace.explorer.index import DatasetIndex
from deeptrace.explorer.pictures import ClipPictures
from deeptrace.explorer.review import Reviews
from deeptrace.explorer.store import MAX_NAME_CHARS, Store
from deeptrace.pages import html

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = [
    "PAGE_HEADERS",
    "Collection",
    "ExplorerOptions",
    "Site",
    "asset_text",
    "link_to",
    "prepare_templates",
    "shown_json",
    "template_page",
]

NAME_COOKIE: Final = "deeptrace_name"
PAGE_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}
_SHARED: Final = ("report.css",)
_TIMING: Final = "export { timeOf, frameAt, firstFrameFrom, isOn, boxAt };\n"
ASSETS: Final[Mapping[str, str]] = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class ExplorerOptions:
    """How people work together. ``annotators`` empty: any name may be typed. See `Reviews` for the two counts."""

    title: str = "Dataset"
    annotators: tuple[str, ...] = ()
    passes: int = 1
    reviewers: int = 1


@dataclass
class Collection:
    """Videos to work on: what is known of them, and their pictures."""

    name: str
    index: DatasetIndex
    pictures: ClipPictures
    reviews: Reviews


@dataclass
class Site:
    """Everything that the pages look at."""

    data: Collection
    store: Store
    options: ExplorerOptions
    gold_set: GoldSet
    csrf: str = ""
    links: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Kept in the store, so that a page that was open while the server was killed can go on saving.
        self.csrf = self.store.note("csrf", secrets.token_urlsafe(24))
        self.links = [{"href": "/", "name": "Browse"}, {"href": "/compare", "name": "Compare"}]
        self.links += [{"href": "/annotate", "name": "Annotate"}, {"href": "/review", "name": "Review"}]
        self.links += [{"href": "/guideline", "name": "Guideline"}]

    @property
    def gold(self) -> Collection:
        """The gold clips, made when they are first asked for."""
        index, pictures = self.gold_set.ready()
        return Collection("gold", index, pictures, Reviews(self.store, collection="gold"))

    def collection(self, name: str) -> Collection:
        """The collection of that name.

        Raises:
            WebError: 404.
        """
        if name == "data":
            return self.data
        if name == "gold":
            return self.gold
        raise WebError(404, "NOT_FOUND", "there is no such collection")

    def who(self, request: Request) -> str | None:
        """The name somebody works under; None where none was chosen, or one that is not allowed."""
        name = _unquoted(request.cookies.get(NAME_COOKIE, ""))
        return name if self.is_name(name) else None

    def is_name(self, name: str) -> bool:
        """Whether one may work under this name."""
        if not name.strip() or len(name) > MAX_NAME_CHARS or name != name.strip() or name == "consensus":
            return False
        return not self.options.annotators or name in self.options.annotators


def _unquoted(value: str) -> str:
    from urllib.parse import unquote

    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        return ""


# ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _environment() -> Environment:
    overlay = html.environment().overlay(loader=PackageLoader("deeptrace.explorer", "templates"))
    overlay.filters["shorten"] = html.shorten
    return overlay


def prepare_templates() -> None:
    """Read and compile what the first page needs, so that nobody waits for it."""
    _environment().get_template("grid.html.j2")


def template_page(site: Any, template: str, request: Request, *, data: object = None, **values: Any) -> Response:
    """A whole page. ``data`` is what its script reads, as JSON in the element ``#data``."""
    from starlette.responses import HTMLResponse

    where = request.url.path
    query = f"?{request.url.query}" if request.url.query else ""
    text = (
        _environment()
        .get_template(template)
        .render(
            site=site,
            who=site.who(request) if hasattr(site, "who") else None,
            here=where,
            next=f"{where}{query}",
            data=html.json_for_script(data),
            **values,
        )
    )
    # A lone surrogate cannot be written as UTF-8; what a template prints has none left.
    return HTMLResponse(text.encode("utf-8", "replace"), headers=dict(PAGE_HEADERS))


@cache
def asset_text(name: str) -> tuple[bytes, str]:
    """A file of style or script and its media type.

    Raises:
        WebError: 404.
    """
    kind = ASSETS.get(Path(name).suffix)
    if kind is None or "/" in name or "\\" in name:
        raise WebError(404, "NOT_FOUND", "there is no such file")
    if name in _SHARED:
        return html.asset(name).encode(), kind
    if name == "timing.js":
        return (html.asset(name) + _TIMING).encode(), kind
    file = resources.files("deeptrace.explorer").joinpath("assets", name)
    if not file.is_file():
        raise WebError(404, "NOT_FOUND", "there is no such file")
    return file.read_bytes(), kind


def link_to(path: str, *pairs: tuple[str, str]) -> str:
    """An address on this server. A text that is not UTF-8 cannot be in one; it is spelled as it is shown."""
    safe = [(name, visible(value) if _is_broken(value) else value) for name, value in pairs]
    return f"{path}?{urlencode(safe, quote_via=quote)}" if safe else path


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def shown_json(value: Any) -> Any:
    """The value with every text in it made visible (see `deeptrace.characters`), for a script that shows it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): shown_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [shown_json(item) for item in value]
    return value


Handler = Callable[["Request"], Any]
