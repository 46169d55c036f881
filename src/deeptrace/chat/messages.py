"""Messages in, checked; the bytes of the request out. Knows what may be sent, and nothing of how."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from deeptrace.chat.replies import ChatError, Prices
from deeptrace.files import dumps

CODE_VERSION: Final = "1"
"""Part of every cache key: raise it when the request or the reading of a reply changes its meaning."""

_ROLES: Final = ("system", "developer", "user", "assistant")
_MEDIA: Final = ("image_url", "video_url")
_OURS: Final = ("messages", "model", "stream", "stream_options", "n", "tools", "functions", "best_of")
_LIMITS: Final = ("max_completion_tokens", "max_tokens")


def image_part(data: bytes, mime_type: str = "image/png", *, detail: str | None = None) -> dict[str, Any]:
    """A message part that carries an image inside itself, as a data URL."""
    url = f"data:{mime_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url} if detail is None else {"url": url, "detail": detail}}


def video_part(pieces: Sequence[bytes], mime_type: str = "video/mp4") -> dict[str, Any]:
    """A message part that carries a video inside itself: one file, or its frames as pictures (``video/jpeg``)."""
    data = ",".join(base64.b64encode(piece).decode() for piece in pieces)
    return {"type": "video_url", "video_url": {"url": f"data:{mime_type};base64,{data}"}}


def text_part(text: str) -> dict[str, Any]:
    """A message part that carries text."""
    return {"type": "text", "text": text}


def _check_part(part: object, where: str) -> None:
    if not isinstance(part, Mapping):
        raise ChatError(f"{where}: a part must be an object, got {type(part).__name__}")
    kind = part.get("type")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise ChatError(f"{where}: a text part needs 'text'")
        return
    if kind not in _MEDIA:
        raise ChatError(f"{where}: type {kind!r} is not one of text, {', '.join(_MEDIA)}")
    holder = part.get(kind)
    url = holder.get("url") if isinstance(holder, Mapping) else None
    if not isinstance(url, str) or not url.startswith("data:") or ";base64," not in url[:100]:
        raise ChatError(f"{where}: media travels inside the message as a base64 data URL, never as an address")


def check_messages(messages: object) -> list[Mapping[str, Any]]:
    """The messages, when they can be sent.

    Raises:
        ChatError: names the message and the part.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise ChatError("messages must be a list of at least one {'role', 'content'} object")
    for number, message in enumerate(messages):
        where = f"message {number}"
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            raise ChatError(f"{where}: role must be one of {', '.join(_ROLES)}")
        content = message.get("content")
        if isinstance(content, str):
            continue
        if not isinstance(content, Sequence) or isinstance(content, bytes) or not content:
            raise ChatError(f"{where}: content must be text or a list of parts")
        for index, part in enumerate(content):
            _check_part(part, f"{where}, part {index}")
    return list(messages)


def check_params(params: Mapping[str, Any]) -> None:
    """Refuse what would change the shape of the answer.

    Raises:
        ChatError: a parameter that this client sets itself or cannot read the answer to.
    """
    if reserved := [name for name in _OURS if name in params]:
        raise ChatError(f"{', '.join(reserved)} cannot be passed: one whole text answer is asked for, without tools")


def token_limit(params: Mapping[str, Any]) -> int | None:
    """The most tokens that the answer may have, where the parameters say it."""
    for name in _LIMITS:
        value = params.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ChatError(f"{name} must be a positive whole number, got {value!r}")
            return int(value)
    return None


def upper_bound(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any], prices: Prices) -> float:
    """The most that one request can cost (see `Prices`).

    Raises:
        ChatError: the parameters set no limit to the answer's length.
    """
    limit = token_limit(params)
    if limit is None:
        raise ChatError("with max_cost every call must pass max_tokens (or max_completion_tokens)")
    tokens = 64
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        tokens += 16 + sum(
            len(part["text"].encode("utf-8", "surrogatepass"))
            if part["type"] == "text"
            else (prices.video_tokens if _is_video(part) else prices.media_tokens)
            for part in parts
        )
    # What travels beside the messages (a schema of the answer, say) may be counted as input as well.
    tokens += len(dumps(dict(params)).encode())
    return prices.cost(tokens, limit)


def _is_video(part: Mapping[str, Any]) -> bool:
    return part["type"] == "video_url" or str(part[part["type"]]["url"]).startswith("data:video/")


def body(model: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> bytes:
    """The request's JSON, in one byte form only.

    Raises:
        ChatError: NaN, infinity, or something that JSON cannot hold.
    """
    try:
        return dumps({"model": model, "messages": [dict(message) for message in messages], **params}).encode()
    except ValueError as error:
        raise ChatError(f"the request {error}") from None


def cache_key(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    params: Mapping[str, Any],
    *,
    about: Mapping[str, Any] | None,
    code_version: str,
) -> str:
    """SHA-256 over everything that can change the answer.

    ``about`` says what the messages do not show in full: a video's sha256, the frame numbers, a prompt's version.
    """
    everything = {
        "client": CODE_VERSION,
        "code": code_version,
        "provider": base_url,
        "model": model,
        "messages": [dict(message) for message in messages],
        "params": dict(sorted(params.items())),
        "about": None if about is None else dict(sorted(about.items())),
    }
    try:
        return hashlib.sha256(dumps(everything).encode()).hexdigest()
    except ValueError as error:
        raise ChatError(f"the request {error}") from None
