"""`ChatClient`: messages in, one outcome out, with retries, limits, costs and a cache around the request."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from typing_extensions import override

import deeptrace
from deeptrace.characters import visible
from deeptrace.chat.cache import Cache
from deeptrace.chat.messages import body, cache_key, check_messages, check_params, upper_bound
from deeptrace.chat.pace import Budget, Gate, Servers, backoff_seconds, retry_after_seconds
from deeptrace.chat.reading import Fault, read_answer
from deeptrace.chat.redact import RedactingFilter, Redactor, attach, detach, secrets_of_environment
from deeptrace.chat.replies import (
    Attempt,
    ChatError,
    ChatFailed,
    ChatStopped,
    Outcome,
    Prices,
    Reply,
    Spent,
    Timeouts,
)
from deeptrace.chat.wire import Secret, Wire, check_base_urls
from deeptrace.errors import MissingExtra

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger("deeptrace.chat")


@dataclass(frozen=True)
class Call:
    """One item of a `ChatClient.map`: what `ChatClient.complete` takes."""

    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] | None = None


_UNREACHED: Final = ("CONNECT_FAILED", "DNS_FAILED", "TLS_FAILED", "CONNECT_TIMEOUT", "CONNECTION_LOST")
_OF_THE_SERVER: Final = ("NOT_FOUND", "FORBIDDEN", "REDIRECTED")
"""Faults that no other try mends, and that another server of the same model need not have."""


class _FaultError(Exception):
    """A fault on its way through tenacity."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


def _key_from_environment(base_urls: Sequence[str]) -> str | None:
    """DEEPTRACE_API_KEY, or OPENAI_API_KEY for OpenAI's own host only: a key is not shown to another provider."""
    if key := os.environ.get("DEEPTRACE_API_KEY"):
        return key
    hosts = {urlsplit(base_url).hostname for base_url in base_urls}
    return os.environ.get("OPENAI_API_KEY") if hosts == {"api.openai.com"} else None


class ChatClient:
    """An OpenAI-compatible chat endpoint: OpenAI, vLLM, llama.cpp, and whatever else speaks ``/chat/completions``.

    ``base_url`` ends before ``/chat/completions`` (``http://127.0.0.1:8000/v1``). Several of them, in a list or with
    spaces between, are servers of one model: each request goes to the one that is least busy. The key comes from
    ``api_key``, else from the environment; it is shown nowhere. ``max_cost`` (in the currency of ``prices``) and
    ``max_requests`` stop the run before the request that could pass them, retries included. ``concurrency`` is the most
    requests at once. ``clock`` (monotonic seconds), ``sleep`` and ``today`` are for tests of long waits. Safe to use
    from many threads; close it, or use ``with``.

    Raises:
        ChatError: a setting that makes no sense.
        MissingExtra: httpx or tenacity is not installed.
    """

    def __init__(
        self,
        base_url: str | Sequence[str],
        model: str,
        api_key: str | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
        max_requests: int | None = None,
        prices: Prices | None = None,
        timeouts: Timeouts | None = None,
        concurrency: int = 8,
        max_reply_bytes: int = 4 * 1024 * 1024,
        code_version: str | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int | None = None,
    ) -> None:
        try:
            import tenacity
        except ImportError:
            raise MissingExtra("talking to a model behind an API", "api") from None
        if not isinstance(model, str) or not model:
            raise ChatError("model must be a name")
        if max_cost is not None and prices is None:
            raise ChatError("max_cost needs prices: without them no cost is known")
        for name, value in (("max_requests", max_requests), ("concurrency", concurrency)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ChatError(f"{name} must be a positive whole number, got {value!r}")
        if max_cost is not None and not 0 <= max_cost < float("inf"):
            raise ChatError(f"max_cost must be a number of at least 0, got {max_cost!r}")
        base_urls = check_base_urls(base_url)
        self.base_url, self.model = " ".join(sorted(base_urls)), model
        self._tenacity = tenacity
        key = (api_key if api_key is not None else _key_from_environment(base_urls)) or None
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ChatError("the API key holds characters that no key has (a space, a line break?)")
        self._redactor = Redactor({*secrets_of_environment(), *([key] if key else ())})
        self._prices, self._timeouts, self.concurrency = prices, timeouts or Timeouts(), concurrency
        self._budget = Budget(max_cost, max_requests)
        self._bounded = max_cost is not None
        self._gate = Gate(concurrency)
        self._servers = Servers(base_urls, clock)
        self._cache = None if cache_dir is None else Cache(cache_dir)
        self._code_version = code_version or deeptrace.__version__
        self._on_attempt, self._clock, self._today = on_attempt, clock, today
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._rng = random.Random(seed)
        self._wire = Wire(Secret(key), self._timeouts, max_reply_bytes)
        self._filter = RedactingFilter(self._redactor)
        attach(self._filter)

    @override
    def __repr__(self) -> str:
        return f"ChatClient(base_url={self.base_url!r}, model={self.model!r})"

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let waiting calls end with ``CLOSED`` and close the connections."""
        self._closing.set()
        self._wire.close()
        detach(self._filter)

    @property
    def spent(self) -> Spent:
        """Requests and cost so far."""
        return self._budget.spent

    @property
    def concurrency_now(self) -> int:
        """Requests allowed at once at the moment (see `deeptrace.chat.pace.Gate`)."""
        return self._gate.limit

    @property
    def cache_ignored(self) -> int:
        """Cache entries that were damaged and therefore not used."""
        return 0 if self._cache is None else self._cache.ignored

    # ── one call ────────────────────────────────────────────────────────────────────────────────────────────────────

    def complete(
        self, messages: Sequence[Mapping[str, Any]], *, about: Mapping[str, Any] | None = None, **params: Any
    ) -> Outcome:
        """Ask for one answer. ``params`` travel in the request (``temperature``, ``max_tokens``, ``seed``, ...).

        ``about`` does not travel; it is part of the cache key, for what the messages do not show in full.

        Raises:
            ChatError: the call cannot be sent as it is.
            ChatStopped: the run must end: quota, key, cost, requests, or closed.
        """
        started = self._clock()
        checked = check_messages(messages)
        check_params(params)
        bound = 0.0
        if self._prices is not None and (self._bounded or {"max_tokens", "max_completion_tokens"} & set(params)):
            bound = upper_bound(checked, params, self._prices)
        key = cache_key(self.base_url, self.model, checked, params, about=about, code_version=self._code_version)
        if self._cache is not None and (cached_reply := self._cache.get(key)) is not None:
            return cached_reply
        attempts: list[Attempt] = []
        try:
            reply = self._retrying(started)(self._attempt, body(self.model, checked, params), bound, started, attempts)
        except _FaultError as error:
            fault = error.fault
        else:
            cost = None if self._prices is None else sum(attempt.cost for attempt in attempts)
            reply = self._without_secrets(reply)
            reply = replace(reply, attempts=tuple(attempts), cost=cost, seconds=self._clock() - started)
            if self._cache is not None:
                self._cache.put(key, reply)
            return reply
        return ChatFailed(
            code=fault.code,
            reason=self._redactor.scrub(fault.reason) + f" (attempt {len(attempts)})",
            attempts=tuple(attempts),
            cost=None if self._prices is None else sum(attempt.cost for attempt in attempts),
            seconds=self._clock() - started,
        )

    def _without_secrets(self, reply: Reply) -> Reply:
        """The reply as it may be kept and published: some endpoints for tests echo the request with its headers."""
        scrub = self._redactor.scrub_reply
        return replace(
            reply,
            text=scrub(reply.text),
            reasoning=None if reply.reasoning is None else scrub(reply.reasoning),
            model=None if reply.model is None else scrub(reply.model),
        )

    def _retrying(self, started: float) -> Callable[..., Reply]:
        tenacity, limits = self._tenacity, self._timeouts

        def wait(state: RetryCallState) -> float:
            fault = state.outcome.exception().fault if state.outcome else None  # type: ignore[union-attr]
            server_seconds = retry_after_seconds(fault.retry_after, self._today()) if fault else None
            own = backoff_seconds(state.attempt_number, self._rng)
            # Never sooner than asked, and a little later: all that were turned away would come back at once.
            return own if server_seconds is None else min(server_seconds + 0.1 * own, 120.0)

        def stop(state: RetryCallState) -> bool:
            over = self._clock() - started + state.upcoming_sleep >= limits.total
            return over or state.attempt_number >= limits.max_attempts or self._closing.is_set()

        def again(error: BaseException) -> bool:
            return isinstance(error, _FaultError) and error.fault.retry

        retrying: Callable[..., Reply] = tenacity.Retrying(
            sleep=self._sleep, wait=wait, stop=stop, retry=tenacity.retry_if_exception(again), reraise=True
        )
        return retrying

    def _alive(self) -> bool:
        return not self._closing.is_set()

    def _attempt(self, request: bytes, bound: float, started: float, attempts: list[Attempt]) -> Reply:
        """One request. Raises `_FaultError`, or `ChatStopped`."""
        if not self._alive():
            raise ChatStopped("CLOSED", "the client was closed")
        with self._gate.slot(self._alive) as this_round:
            self._budget.reserve(bound, self._alive)
            sent = self._clock()
            cost, code, status = bound, "UNKNOWN", None
            stopped: ChatStopped | None = None
            result: Reply | Fault | None = None
            try:
                seconds_left = self._timeouts.total - (sent - started)
                with self._servers.one() as address:
                    answer = self._wire.post(f"{address}/chat/completions", request, seconds_left)
                try:
                    result = answer if isinstance(answer, Fault) else read_answer(answer, self._prices, bound)
                except ChatStopped as error:
                    stopped = ChatStopped(error.code, self._redactor.scrub(str(error)))  # type: ignore[arg-type]
                    cost, code = 0.0, error.code
                if isinstance(result, Fault) and (result.retry or result.code in _OF_THE_SERVER):
                    self._servers.failed(address, reached=result.code not in _UNREACHED)
                else:
                    self._servers.answered(address)
                if isinstance(result, Reply):
                    cost, code, status = result.cost or 0.0, "", 200
                elif isinstance(result, Fault):
                    cost, code, status = bound if result.charged else 0.0, result.code, result.status
            finally:
                attempt = Attempt(len(attempts) + 1, code or None, status, cost, self._clock() - sent)
                self._budget.settle(bound, attempt)
                attempts.append(attempt)
        if self._on_attempt is not None:
            self._on_attempt(attempt)
        if stopped is not None:
            raise stopped
        if isinstance(result, Reply):
            self._gate.went_well()
            return result
        assert isinstance(result, Fault)
        if not self._alive():
            raise ChatStopped("CLOSED", "the client was closed")
        if result.slow_down:
            self._gate.slow_down(this_round)
        logger.info("attempt %d: %s: %s", attempt.number, result.code, visible(result.reason))
        raise _FaultError(result)

    # ── many calls ──────────────────────────────────────────────────────────────────────────────────────────────────

    def map(self, calls: Iterable[Call | Sequence[Mapping[str, Any]]], **params: Any) -> Iterator[Outcome]:
        """The outcome of each call, in order, each as soon as it and those before it are there.

        An item is a `Call` or its messages; ``params`` hold for all, a call's own params win. At most
        ``2 * concurrency`` calls are read ahead.

        Raises:
            ChatStopped: at the place of the first call that got no outcome; no new request is sent after it, those
                under way are awaited, and their outcomes stand in ``finished``.
            ChatError: at the place of a call that cannot be sent.
        """
        stop = threading.Event()

        def run(item: Call | Sequence[Mapping[str, Any]]) -> Outcome:
            call = item if isinstance(item, Call) else Call(item)
            if stop.is_set():
                raise ChatStopped("CLOSED", "an earlier call stopped the run")
            try:
                return self.complete(call.messages, about=call.about, **{**params, **call.params})
            except ChatStopped:
                stop.set()
                raise

        first: ChatStopped | None = None
        waiting: deque[tuple[int, Future[Outcome]]] = deque()
        with ThreadPoolExecutor(max_workers=self.concurrency, thread_name_prefix="deeptrace-chat") as pool:
            try:
                for index, item in enumerate(calls):
                    waiting.append((index, pool.submit(run, item)))
                    if len(waiting) >= 2 * self.concurrency:
                        yield waiting.popleft()[1].result()
                while waiting:
                    yield waiting.popleft()[1].result()
            except ChatStopped as error:
                first = error
            finally:
                stop.set()
                for _, future in waiting:
                    future.cancel()
        if first is None:
            return
        cause = first
        for index, future in waiting:
            if future.cancelled():
                continue
            problem = future.exception()
            if problem is None:
                first.finished[index] = future.result()
            elif isinstance(problem, ChatStopped) and cause.code == "CLOSED" and problem.code != "CLOSED":
                cause = problem  # the reason why the run stopped, rather than its echo
        if cause is not first:
            cause.finished = first.finished
        raise cause
