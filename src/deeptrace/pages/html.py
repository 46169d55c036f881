"""Pages from templates: text goes in, HTML comes out in which no text can become markup. All our pages are made here.

One Jinja2 environment escapes everything that a template prints. Assets (style, script) are package data under
``pages/``; each page carries one style and one script, and a content security policy that allows exactly these two by
their hashes. Text from strangers (file names, model answers) is made visible first: control and bidirectional
characters, lone surrogates and the like appear as what they are instead of acting.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deeptrace.characters import visible

__all__ = [
    "EXPLORER_ADDRESS",
    "MEDIA_NAME",
    "PAGE_NAME",
    "PAGE_POLICY",
    "asset",
    "content_policy",
    "environment",
    "explorer_link",
    "json_for_script",
    "render",
    "shorten",
]

PAGE_NAME: Final = "index.html"
"""The page in the folder of a report."""

MEDIA_NAME: Final = "media"
"""The folder beside it with what the page plays."""

EXPLORER_ADDRESS: Final = "http://127.0.0.1:8765"
"""Where `deeptrace explore` serves when it is not told otherwise; pages on disk link there."""

PAGE_POLICY: Final[Mapping[str, str]] = {
    # A page opened from disk has an opaque origin that 'self' does not cover in every browser, hence file:.
    "img-src": "'self' data: file:",
    "media-src": "'self' file:",
    "base-uri": "'none'",
    "form-action": "'none'",
}
"""The sources that a page may load from, besides its own style and script. All other kinds are forbidden."""


def shorten(text: str, limit: int) -> str:
    """The text cut after ``limit`` characters, with a note of how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def explorer_link(path: str, **names: str | Sequence[str]) -> str:
    """The address of a page of the explorer on this machine, for example ``explorer_link("/video", id="a")``.

    A page from disk can only link to it: it opens while `deeptrace explore` runs on the dataset.
    """
    return f"{EXPLORER_ADDRESS}{path}?{urlencode(names, doseq=True, errors='replace')}"


def _finalize(value: object) -> object:
    # Markup is ours (macros, assets); everything else is text that a stranger may have written.
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


@cache
def environment() -> Environment:
    """The one environment: autoescape for every template, and a missing value is an error, not an empty string."""
    jinja = Environment(
        loader=PackageLoader("deeptrace", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.globals["explorer_link"] = explorer_link
    jinja.filters["shorten"] = shorten
    jinja.filters["visible"] = visible
    return jinja


@cache
def asset(name: str) -> str:
    """The text of a file under ``pages/``, with ``\\n`` line ends: its hash must match what a browser parses."""
    text = resources.files("deeptrace").joinpath("pages", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def json_for_script(data: object) -> Markup:
    """The data as JSON that may stand inside a ``<script type="application/json">`` element.

    ASCII only, and without ``<``, ``>`` and ``&``, so that nothing in it can close the element.

    Raises:
        ValueError: NaN or infinity.
        TypeError: something that JSON does not hold.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def content_policy(*, style: str = "", script: str = "", sources: Mapping[str, str] = PAGE_POLICY) -> str:
    """The content security policy for a page with this inline style and script: all else is forbidden.

    Fits a ``<meta http-equiv>`` element and an HTTP header alike. ``sources`` maps directives to what they allow.
    """
    rules = {"default-src": "'none'"}
    if style:
        rules["style-src"] = _hash_source(style)
    if script:
        rules["script-src"] = _hash_source(script)
    return "; ".join(f"{directive} {allowed}" for directive, allowed in {**rules, **sources}.items())


def _hash_source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def render(
    template: str,
    *,
    style: str = "",
    script: str = "",
    data: object = None,
    sources: Mapping[str, str] = PAGE_POLICY,
    **values: Any,
) -> str:
    """A whole page. The template extends ``base.html.j2`` and gets ``values``, all of them escaped where printed.

    ``style`` and ``script`` are ours (from `asset`), never text from outside; ``data`` is what the script reads, as
    JSON in the element ``#data``.

    Raises:
        ValueError: the style or the script would close its own element, or the data holds NaN.
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    for ours in (style, script):
        if "</" in ours or "<!--" in ours or "\r" in ours:
            raise ValueError("an inline style or script must not hold '</', '<!--' or a carriage return")
    return (
        environment()
        .get_template(template)
        .render(
            policy=content_policy(style=style, script=script, sources=sources),
            style=Markup(style),
            script=Markup(script),
            data=json_for_script(data),
            **values,
        )
    )
