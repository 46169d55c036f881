"""What a call can end in: `Reply`, `ChatFailed`, or an error that stops the run. Prices, timeouts, attempts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from deeptrace.errors import DeepTraceError

FailCode = Literal[
    "RATE_LIMITED",  # 429 to the end
    "OVERLOADED",  # 503 or 529 to the end
    "SERVER_ERROR",  # any other 5xx, or an error object inside a 200, to the end
    "SERVER_TIMEOUT",  # 408, 504 or 524 to the end
    "CONNECT_FAILED",  # nothing listens there, or no route
    "DNS_FAILED",  # the host's name has no address
    "TLS_FAILED",  # the other side does not speak TLS, or its certificate is not trusted
    "CONNECT_TIMEOUT",  # no connection in time
    "READ_TIMEOUT",  # no byte in time
    "DEADLINE",  # bytes came, too slowly to finish in time
    "CONNECTION_LOST",  # reset, closed without an answer, or cut in the middle of one
    "HTML_REPLY",  # 200 with a web page: a proxy or a sign-in form answered
    "NOT_JSON",  # 200 with something that is not the JSON we accept
    "BAD_REPLY",  # JSON, but not a chat completion
    "REPLY_TOO_LARGE",  # more bytes than allowed
    "REDIRECTED",  # 3xx: never followed, a key must not travel
    "BAD_REQUEST",  # 400, 422 and every other 4xx
    "CONTEXT_TOO_LONG",  # the request is longer than the model's context, or than the server's limit (413)
    "FORBIDDEN",  # 403
    "NOT_FOUND",  # 404: no such model or address
    "EMPTY",  # an answer without text
    "CONTENT_FILTER",  # the provider's filter held the answer or the question back
    "TOOL_CALL",  # the model called a tool where text was expected
    "MANY_CHOICES",  # not exactly one choice
]

StopCode = Literal[
    "QUOTA",  # the account is out of credit (402, or 429 with insufficient_quota)
    "AUTH",  # 401, or 400 and 403 that speak of the key: it is missing or wrong
    "MAX_COST",  # the next call could pass the allowed cost
    "MAX_REQUESTS",  # the allowed number of requests is used up
    "CLOSED",  # the client was closed while work was waiting
]

ReplyFlag = Literal[
    "truncated",  # the token limit ended it ("length", "MAX_TOKENS"): the text stops in the middle
    "refused",  # the provider marked the text as a refusal
    "think_tags",  # the text holds <think> tags
    "usage_missing",  # the server did not say how many tokens; the cost is the upper bound
    "no_finish_reason",  # the server did not say why the text ends
]


class ChatError(DeepTraceError):
    """A call that makes no sense: messages, parameters or settings that cannot be sent. Nothing was sent."""

    code = "BAD_CHAT_CALL"


class ChatStopped(DeepTraceError):
    """The run must stop: every further call would fail, or could cost more than allowed. ``code`` is a `StopCode`.

    ``finished`` holds the outcomes of a `ChatClient.map` that were ready behind the place where it stopped, by index.
    """

    def __init__(self, code: StopCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code
        self.finished: dict[int, Outcome] = {}


@dataclass(frozen=True)
class Usage:
    """Tokens that the server counted; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Attempt:
    """One HTTP request. ``cost`` is in the currency of `Prices`; ``code`` is None where it brought the reply.

    A request whose answer got lost may have been charged: then ``cost`` is its upper bound.
    """

    number: int
    code: str | None
    status: int | None
    cost: float
    seconds: float


@dataclass(frozen=True)
class Reply:
    """What the model said. ``ok`` is False for a text that is cut off or a refusal: count it, do not grade it.

    ``cost`` is of all attempts, in the currency of `Prices` (0.0 from the cache; None without prices); ``logprobs`` is
    the choice's own object, passed through. ``seconds`` is the time from call to answer, waits included.
    """

    text: str
    finish_reason: str | None = None
    usage: Usage = Usage()
    cost: float | None = None
    model: str | None = None
    cached: bool = False
    attempts: tuple[Attempt, ...] = ()
    flags: tuple[ReplyFlag, ...] = ()
    reasoning: str | None = None
    logprobs: Any = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the text is whole and is not a refusal."""
        return not {"truncated", "refused"}.intersection(self.flags)


@dataclass(frozen=True)
class ChatFailed:
    """The model did not speak. ``code`` is a `FailCode`; ``reason`` is for people and holds no secret."""

    code: FailCode
    reason: str
    attempts: tuple[Attempt, ...] = ()
    cost: float | None = None
    seconds: float = 0.0


Outcome: TypeAlias = Reply | ChatFailed


def _positive(value: float, name: str, *, zero: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ChatError(f"{name} must be a number, got {value!r}")
    if value < 0 or (value == 0 and not zero):
        raise ChatError(f"{name} must be {'at least' if zero else 'more than'} 0, got {value!r}")


@dataclass(frozen=True)
class Prices:
    """Price per million tokens, in any one currency. ``media_tokens`` is the most that one image can count,
    ``video_tokens`` one video.

    Before a call its upper bound is taken: one token per UTF-8 byte of text, those per image and video, and all of
    ``max_tokens``. After it, what the server counted.
    """

    input_per_million: float
    output_per_million: float
    media_tokens: int = 4096
    video_tokens: int = 65536

    def __post_init__(self) -> None:
        _positive(self.input_per_million, "input_per_million", zero=True)
        _positive(self.output_per_million, "output_per_million", zero=True)
        _positive(self.media_tokens, "media_tokens", zero=True)
        _positive(self.video_tokens, "video_tokens", zero=True)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of so many tokens."""
        return (prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million) / 1e6


@dataclass(frozen=True)
class Timeouts:
    """Seconds. ``attempt`` bounds one request from connect to last byte, ``total`` a call with all its waits."""

    connect: float = 10.0
    read: float = 120.0
    attempt: float = 300.0
    total: float = 900.0
    max_attempts: int = 6

    def __post_init__(self) -> None:
        for name in ("connect", "read", "attempt", "total", "max_attempts"):
            _positive(getattr(self, name), name)


@dataclass(frozen=True)
class Spent:
    """What a client has sent so far. ``cost`` counts requests whose answer got lost at their upper bound."""

    requests: int = 0
    cost: float = 0.0
    by_code: Mapping[str, int] = field(default_factory=dict)
