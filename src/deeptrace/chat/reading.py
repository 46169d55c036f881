"""HTTP answer in, `Reply` or fault out: the one table that says what each kind of answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deeptrace.chat.replies import ChatStopped, FailCode, Prices, Reply, ReplyFlag, Usage
from deeptrace.errors import JsonError
from deeptrace.files import loads


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """Why a request brought no reply. ``charged``: the provider may have charged for it.

    ``retry_after`` is the server's header as it came; ``slow_down``: fewer requests at once would help.
    """

    code: FailCode
    reason: str
    retry: bool = False
    slow_down: bool = False
    charged: bool = False
    retry_after: str | None = None
    status: int | None = None


_QUOTA: Final = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credit_balance_too_low")
_FILTER: Final = ("content_filter", "content_policy_violation", "moderation_blocked", "responsibleaipolicyviolation")
_TOO_LONG: Final = ("context_length_exceeded", "string_above_max_length", "request_too_large")
_KEY: Final = (
    "invalid_api_key", "api_key_invalid", "api_key_expired", "incorrect_api_key", "invalid_authentication",
    "authentication_error", "unauthenticated", "unauthorized", "account_deactivated",
)  # fmt: skip
# What servers say without a word for machines: vLLM, SGLang, TGI, llama.cpp, Gemini, Cohere, OpenAI.
_TOO_LONG_TEXT: Final = re.compile(
    r"maximum context length|maximum model length|max(?:imum)?[ _]model[ _]len|context length|context window"
    r"|exceeds? the (?:available |model'?s? )?context|prompt is too long|prompt.{0,40}too long|too many tokens"
    r"|input token count.{0,60}exceeds|inputs? (?:tokens )?must have less than"
    r"|`?inputs`? tokens? \+ `?max_new_tokens`? must be|longer than the m(?:aximum|odel)",
    re.IGNORECASE,
)
_KEY_TEXT: Final = re.compile(
    r"api[ _-]?key.{0,20}(?:not valid|is invalid|invalid|expired|incorrect|not found|missing|required)"
    r"|(?:invalid|incorrect|expired|wrong|missing|no) (?:api[ _-]?(?:key|token)|authentication|credentials)",
    re.IGNORECASE,
)
_BY_STATUS: Final[Mapping[int, FailCode]] = {
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    408: "SERVER_TIMEOUT",
    413: "CONTEXT_TOO_LONG",
    429: "RATE_LIMITED",
    503: "OVERLOADED",
    504: "SERVER_TIMEOUT",
    524: "SERVER_TIMEOUT",
    529: "OVERLOADED",
}
_RETRIED: Final = (408, 409, 425, 429)
# Reasons to finish, in lower case without a dotted or "FINISH_REASON_" prefix, by what they mean. Sources: OpenAI
# (stop, length, content_filter, tool_calls), TGI (eos_token, stop_sequence, length), Gemini and Vertex (STOP,
# MAX_TOKENS, SAFETY, RECITATION), Cohere (COMPLETE, STOP_SEQUENCE, MAX_TOKENS, ERROR_TOXIC, ERROR_LIMIT), Anthropic
# (end_turn, max_tokens, refusal), vLLM (stop, length, abort), Mistral (model_length), llama.cpp (eos, word, limit).
_ENDED: Final = frozenset({
    "stop", "eos", "eos_token", "end_turn", "end", "stop_sequence", "stop_token", "complete", "completed", "finished",
    "word", "done", "matched_stop",
})  # fmt: skip
_CUT: Final = frozenset({
    "length", "max_tokens", "max_token", "max_new_tokens", "max_output_tokens", "max_completion_tokens", "model_length",
    "token_limit", "limit", "model_context_window_exceeded", "error_limit", "incomplete",
})  # fmt: skip
_FILTERED: Final = frozenset({
    "content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii", "language",
    "image_safety", "error_toxic", "sensitive", "moderation", "guardrail_intervened",
})  # fmt: skip
_REFUSED: Final = frozenset({"refusal"})
_CALLED: Final = frozenset({"tool_calls", "tool_call", "tool_use", "function_call", "malformed_function_call"})
_BROKEN: Final = frozenset(
    {
        "abort",
        "aborted",
        "error",
        "user_cancel",
        "cancelled",
        "timeout",
        "error_timeout",
        "insufficient_system_resource",
    }
)
_UNSAID: Final = frozenset({"", "null", "none", "unspecified", "unknown", "other"})


def _short(text: object, limit: int = 300) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def _error_of(value: object) -> tuple[set[str], str]:
    """The machine words and the message of an error object, in the shapes that servers use."""
    if isinstance(value, list):  # Gemini wraps the error object in a list
        value = next((item for item in value if isinstance(item, Mapping)), None)
    error = value.get("error", value) if isinstance(value, Mapping) else value
    if isinstance(error, list):
        error = next((item for item in error if isinstance(item, Mapping)), None)
    if not isinstance(error, Mapping):
        also = (
            value.get("error_type") if isinstance(value, Mapping) else None
        )  # TGI: {"error": "text", "error_type": "..."}
        return ({str(also).lower()} if also else set()), _short(error) if isinstance(error, str) else ""
    words = {str(error[name]).lower() for name in ("code", "type", "status") if error.get(name) is not None}
    inner = error.get("innererror")
    if isinstance(inner, Mapping) and inner.get("code"):
        words.add(str(inner["code"]).lower())
    for detail in details if isinstance(details := error.get("details"), list) else ():
        if isinstance(detail, Mapping) and isinstance(detail.get("reason"), str):
            words.add(detail["reason"].lower())
    message = error.get("message") or error.get("detail") or error.get("error") or ""
    return words, _short(message)


def _json(body: bytes) -> Any:
    try:
        return loads(body)
    except JsonError:
        return None


def read_error(status: int, value: object, headers: Mapping[str, str]) -> Fault:
    """What an error answer means; ``value`` is its JSON, or None.

    Raises:
        ChatStopped: ``AUTH`` or ``QUOTA``: no later request would do better.
    """
    words, message = _error_of(value)
    summary = f"{status}: {message}" if message else f"{status}"
    if status == 402 or (status in (400, 403, 429) and words.intersection(_QUOTA)):
        raise ChatStopped(
            "QUOTA", f"the provider says that the account is out of credit ({summary}). Top it up, then resume"
        )
    refused_key = words.intersection(_KEY) or _KEY_TEXT.search(message)
    if status == 401 or (status in (400, 403, 407, 498) and refused_key):
        raise ChatStopped("AUTH", f"the provider does not accept the API key ({summary}). Set DEEPTRACE_API_KEY")
    code: FailCode
    if status < 500 and words.intersection(_FILTER):
        code = "CONTENT_FILTER"
    elif words.intersection(_TOO_LONG) or (status not in (404, 429) and _TOO_LONG_TEXT.search(message)):
        code = "CONTEXT_TOO_LONG"
    elif 300 <= status < 400:
        code, summary = "REDIRECTED", f"{status}: the address answers with a redirect, which is not followed"
    else:
        code = _BY_STATUS.get(status, "SERVER_ERROR" if status >= 500 else "BAD_REQUEST")
    retry = status in _RETRIED or status >= 500
    return Fault(
        code,
        f"the server answered {summary}",
        retry=retry and code not in ("CONTENT_FILTER", "CONTEXT_TOO_LONG"),
        slow_down=status in (429, 503, 529),
        retry_after=headers.get("retry-after"),
        status=status,
    )


def read_answer(answer: HttpAnswer, prices: Prices | None, bound: float) -> Reply | Fault:
    """The reply in an HTTP answer, or what is wrong with it. ``bound`` is the cost where the server does not say.

    Raises:
        ChatStopped: see `read_error`.
    """
    if answer.status != 200:
        return read_error(answer.status, _json(answer.body), answer.headers)
    head = answer.body[:200].lstrip().lower()
    if "html" in answer.headers.get("content-type", "") or head.startswith((b"<!doctype", b"<html")):
        return Fault(
            "HTML_REPLY", "200 with a web page instead of JSON: a proxy or a sign-in page", retry=True, status=200
        )
    try:
        value = loads(answer.body)
    except JsonError as error:
        return Fault("NOT_JSON", _short(f"200 with a body that is {error}"), retry=True, charged=True, status=200)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]
    if not isinstance(value, Mapping):
        return _bad("the JSON is not an object")
    if value.get("object") == "error" and "error" not in value:
        value = {"error": value}
    if value.get("error"):
        inner = value["error"]
        if isinstance(inner, list) and inner:
            inner = inner[0]
        number = inner.get("code") if isinstance(inner, Mapping) else None
        status = number if isinstance(number, int) and 400 <= number < 600 else 500
        return read_error(status, value, answer.headers)
    return _read_completion(value, prices, bound)


def _bad(reason: str) -> Fault:
    return Fault("BAD_REPLY", f"not a chat completion: {reason}", charged=True, status=200)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text_of(content: object) -> str | None:
    """Text of a content field: text itself, or a list of text parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return None


_MEANINGS: Final[Mapping[str, str]] = {
    word: meaning
    for meaning, words in (
        ("ended", _ENDED), ("cut", _CUT), ("filtered", _FILTERED), ("refused", _REFUSED), ("called", _CALLED),
        ("broken", _BROKEN), ("unsaid", _UNSAID),
    )
    for word in words
}  # fmt: skip


def _meaning(finish: str | None) -> str | None:
    """What a reason to finish means: ended, cut, filtered, refused, called, broken, unsaid; None: not known."""
    plain = (finish or "").strip().lower().replace("-", "_").replace(" ", "_").rpartition(".")[2]
    return _MEANINGS.get(plain.removeprefix("finish_reason_").removeprefix("finishreason_"))


def _read_completion(value: Mapping[str, Any], prices: Prices | None, bound: float) -> Reply | Fault:
    choices = value.get("choices")
    if not isinstance(choices, list):
        return _bad("no list of choices")
    if len(choices) != 1:
        return Fault("MANY_CHOICES", f"{len(choices)} choices where one was asked for", charged=True, status=200)
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return _bad("the choice holds no message")
    finish = choice.get("finish_reason")
    if finish is not None and not isinstance(finish, str):
        return _bad("finish_reason is not text")

    def failed(code: FailCode, reason: str) -> Fault:
        return Fault(code, reason, charged=True, status=200)

    meaning = _meaning(finish)
    if meaning == "filtered":
        return failed("CONTENT_FILTER", "the provider's filter held the answer back")
    if message.get("tool_calls") or message.get("function_call") or meaning == "called":
        return failed("TOOL_CALL", "the model called a tool where text was expected")
    text = _text_of(message.get("content"))
    refusal = message.get("refusal")
    flags: list[ReplyFlag] = []
    if (isinstance(refusal, str) and refusal) or meaning == "refused":
        flags.append("refused")
        text = text or (refusal if isinstance(refusal, str) else None)
    if meaning == "broken":
        reason = f"the server broke the answer off (finish_reason {_short(finish, 40)!r})"
        return Fault("SERVER_ERROR", reason, retry=True, charged=True, status=200)
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not text or not text.strip():
        why = "all tokens went before the answer began" if meaning == "cut" else "the answer holds no text"
        return failed("EMPTY", why)
    if meaning == "cut":
        flags.append("truncated")
    elif meaning == "unsaid":
        flags.append("no_finish_reason")
    elif meaning is None:
        return _bad(f"finish_reason {_short(finish, 40)!r} is not known")
    if "<think>" in text or "</think>" in text:
        flags.append("think_tags")
    counted = value.get("usage")
    counts: Mapping[str, Any] = counted if isinstance(counted, Mapping) else {}
    usage = Usage(_count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))
    cost: float | None = None
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        flags.append("usage_missing")
        cost = bound if prices is not None else None
    elif prices is not None:
        cost = prices.cost(usage.prompt_tokens, usage.completion_tokens)
    model = value.get("model")
    return Reply(
        text=text,
        finish_reason=finish,
        usage=usage,
        cost=cost,
        model=model if isinstance(model, str) else None,
        flags=tuple(flags),
        reasoning=reasoning if isinstance(reasoning, str) else None,
        logprobs=choice.get("logprobs"),
    )
