"""``openai:`` models: any model behind an OpenAI-compatible endpoint that looks at images or videos.

Frames travel as JPEG pictures inside the question, each with its time beside it where the question is informed, or by
another transport (`deeptrace.models.transport`); the answer is text. Several videos are asked about at once. Talks
through `deeptrace.chat`, which knows about retries, limits, costs and the cache. Needs the extra ``api``.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from typing_extensions import override

from deeptrace.answer import CUT_OFF, FORMAT_VERSIONS, FORMATS, Format, Space, check_format, label_offset
from deeptrace.answer.space import Kind
from deeptrace.chat import (
    ChatClient,
    ChatError,
    ChatFailed,
    ChatStopped,
    Prices,
    Reply,
    Spent,
    Timeouts,
    text_part,
)
from deeptrace.errors import ModelError
from deeptrace.models.base import Sampling, Transport
from deeptrace.models.text import Answer, ModelReply, NoAnswer, NotAnAnswer, PosedQuestion, TextModel
from deeptrace.models.transport import MAX_MEDIA_BYTES, TransportError, is_of_a_part, mislead_its_clock, send
from deeptrace.records import Frames

SpaceKind: TypeAlias = Kind
Detail: TypeAlias = Literal["low", "high", "auto"]

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_QUESTION: Final = "informed-json-with-probability"
DEFAULT_SAMPLING: Final = Sampling(fps=2.0, max_frames=40, short_side=448)

_log = logging.getLogger(__name__)

_VIDEO: Final = "<video>"
# OpenAI's reasoning models take neither max_tokens nor a temperature, and give no log-probabilities.
_REASONS: Final = re.compile(r"(?:o\d|gpt-5)(?![a-z\d])")
_PARAMS: Final = {"max_tokens": 1024, "temperature": 0}
_PARAMS_OF_REASONING: Final = {"max_completion_tokens": 8192}
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_ALTERNATIVES: Final = 20
"""How many tokens an endpoint is asked to rank at each place: the most that OpenAI and vLLM give."""
_TOKENS_TO_THE_LABEL: Final = 16


class OpenAIModel(TextModel):
    """A model behind an endpoint, by the name that it has there.

    ``question`` is the name of a format in `deeptrace.answer.FORMATS`. ``sampling``: which frames, and how small.
    ``space``: the coordinates to ask for; None is 0 to 1000 where the question says so, else pixels of the video.
    ``transport`` is how a video travels (`deeptrace.models.base.Transport`), ``max_media_bytes`` the most that one may
    take that does not travel as images. ``detail`` is passed on with every picture. ``logprobs``: None asks for
    log-probabilities and goes without where the endpoint refuses them. ``params`` join the request, in the place of
    ours (``max_tokens``, ``temperature``); None takes one of ours out, ``temperature`` also of answers that are drawn.
    The rest is `ChatClient`'s; ``base_url`` may be several, of servers of one model; None: the
    environment's ``DEEPTRACE_BASE_URL``, else OpenAI's own.

    The methods may be called from many threads at once. Close it, or use ``with``.

    Raises:
        ModelError: options that make no sense.
        AnswerError: no such question.
        MissingExtra: httpx or tenacity is not installed.
    """

    ends_the_run = (ChatStopped,)

    def __init__(
        self,
        model: str,
        *,
        question: Format = DEFAULT_QUESTION,
        sampling: Sampling = DEFAULT_SAMPLING,
        space: SpaceKind | None = None,
        transport: Transport = "images",
        max_media_bytes: int = MAX_MEDIA_BYTES,
        detail: Detail | None = None,
        logprobs: bool | None = None,
        params: Mapping[str, Any] | None = None,
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        prices: Prices | None = None,
        max_cost: float | None = None,
        max_requests: int | None = None,
        timeouts: Timeouts | None = None,
        concurrency: int = 8,
    ) -> None:
        check_format(question, FORMAT_VERSIONS.get(question, 0))
        for name, value, kinds in (
            ("space", space, SpaceKind),
            ("detail", detail, Detail),
            ("transport", transport, Transport),
        ):
            if value is not None and value not in get_args(kinds):
                raise ModelError(f"{name}: {value!r} is not one of {', '.join(get_args(kinds))}.")
        if detail is not None and transport != "images":
            raise ModelError(f"detail: goes with pictures; {transport!r} sends none.")
        if space == "resized" and transport == "file":
            raise ModelError("space: with transport 'file' it is not known what the frames are resized to.")
        reasons = _REASONS.match(model) is not None
        papers = FORMATS[question].form in ("trained", "zero-shot")
        self.name = f"openai:{model}"
        self.format = question
        self.sampling = sampling
        self.transport: Transport = transport
        self.times_beside_frames = FORMATS[question].is_informed and transport == "images"
        self._max_media_bytes = max_media_bytes
        self.space_kind: SpaceKind = space or ("source" if papers else "per-mille")
        self._detail: Detail | None = detail
        self._takes_temperature = not reasons and (params or {}).get("temperature", 0) is not None
        all_params = {**(_PARAMS_OF_REASONING if reasons else _PARAMS), **(params or {})}
        self._params = {name: value for name, value in all_params.items() if value is not None}
        self._wants_logprobs = logprobs
        self._offers_logprobs = False if reasons and logprobs is None else logprobs is not False
        self._streams = 0
        self._lock = threading.Lock()
        try:
            self.client = ChatClient(
                base_url or os.environ.get("DEEPTRACE_BASE_URL") or DEFAULT_BASE_URL,
                model,
                api_key,
                cache_dir=cache_dir,
                max_cost=max_cost,
                max_requests=max_requests,
                prices=prices,
                timeouts=timeouts,
                concurrency=concurrency,
            )
        except ChatError as error:
            raise ModelError(f"{self.name}: {error}") from None

    def __enter__(self) -> OpenAIModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let waiting calls end and close the connections."""
        self.client.close()

    @property
    def spent(self) -> Spent:
        """Requests and cost so far."""
        return self.client.spent

    @property
    def concurrency(self) -> int:
        """How many videos it is asked about at once."""
        return self.client.concurrency

    @override
    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on besides name, revision, question and sampling."""
        return {
            **super().settings,
            "space_kind": self.space_kind,
            "transport": self.transport,
            "detail": self._detail,
            "params": self._params,
            "logprobs": self._wants_logprobs,
        }

    @override
    def sent_temperature(self, wanted: float) -> float | None:
        """The temperature that a drawn answer is asked for at.

        A model that reasons takes none, and one whose ``params`` take it out is sent none: then what ``params`` say,
        else None, and its answers differ by themselves.
        """
        return wanted if self._takes_temperature else self._params.get("temperature")

    @override
    def space(self, frames: Frames) -> Space:
        """The coordinates that the question asks for."""
        height, width = frames.source_hw if self.space_kind == "source" else frames.images.shape[1:3]
        return Space.of(self.space_kind, width, height)

    # ── many videos at once ──

    @override
    def answers(self, questions: Iterator[PosedQuestion], *, rate: bool) -> Generator[Answer, None, None]:
        """One answer a question, in order, with `concurrency` questions at once, shared by all who iterate."""
        waiting: deque[Future[Sequence[Answer]]] = deque()
        pool = ThreadPoolExecutor(max_workers=self.concurrency, thread_name_prefix="deeptrace-openai")
        try:
            with self._stream():
                for question in questions:
                    waiting.append(pool.submit(self._batch, [question], rate=rate))
                    while waiting and (len(waiting) >= self._room() or waiting[0].done()):
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
        finally:
            # Not waited for: when the caller leaves early, requests under way must not hold it up.
            pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _stream(self) -> Iterator[None]:
        with self._lock:
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1

    def _room(self) -> int:
        """How many questions one of those who iterate may have under way."""
        return max(1, self.concurrency // max(1, self._streams))

    # ── one video ──

    @override
    def ask(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        """The answers, one after another; `answers` asks for several at once."""
        return [self._ask(question, self._params_of(question)) for question in batch]

    def _params_of(self, question: PosedQuestion) -> dict[str, Any]:
        """The request's parameters; of an answer that is drawn with its temperature and its seed."""
        if question.draw is None or question.seed is None:
            return self._params
        seed = question.seed & 0x7FFFFFFF  # as large as endpoints take
        heat = self.sent_temperature(question.draw.temperature)
        return {**self._params, **({} if heat is None else {"temperature": heat}), "seed": seed}

    @override
    def rate(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        """P(fake) from the first tokens, where log-probabilities are offered; else from whole answers."""
        return [self._rate(question) for question in batch]

    def _rate(self, question: PosedQuestion) -> Answer:
        if self._offers_logprobs:
            answer = self._ask(question, self._with_limit(_TOKENS_TO_THE_LABEL), whole=False)
            if isinstance(answer, NoAnswer) or (isinstance(answer, ModelReply) and answer.p_fake is not None):
                return answer
        return self._ask(question, self._params)  # the label does not come first, or its probability is not told

    def _with_limit(self, tokens: int) -> dict[str, Any]:
        name = next((name for name in _LIMITS if name in self._params), "max_tokens")
        return {**self._params, name: tokens}

    def _ask(self, question: PosedQuestion, params: Mapping[str, Any], *, whole: bool = True) -> Answer:
        try:
            messages, facts = self._messages(question)
        except TransportError as error:
            return NoAnswer(error.code, str(error), {"transport": self.transport})
        outcome, with_logprobs = self._complete(messages, params)
        facts |= {"base_url": self.client.base_url, "params": dict(params), "logprobs": with_logprobs}
        if isinstance(outcome, ChatFailed):
            return NoAnswer(outcome.code, f"{outcome.reason}{self._hint(outcome)}", facts)
        facts |= {"prompt_tokens": outcome.usage.prompt_tokens, "answer_tokens": outcome.usage.completion_tokens}
        if "refused" in outcome.flags:
            return NotAnAnswer("the model refused to answer", outcome.text, facts, outcome.model)
        if whole and "truncated" in outcome.flags:
            return NotAnAnswer(CUT_OFF, outcome.text, facts, outcome.model)
        label = label_logprobs(outcome.logprobs) if with_logprobs else None
        p_fake = None if label is None else label.p_fake
        if label is not None:
            facts["label_logprobs"] = {"fake": label.fake, "real": label.real}
        return ModelReply(outcome.text, p_fake, facts, outcome.model)

    def _hint(self, failed: ChatFailed) -> str:
        if failed.code != "BAD_REQUEST" or self.transport == "images":
            return ""
        return f" (asked by transport {self.transport!r}; if the server takes no such part, choose another)"

    def _complete(self, messages: list[dict[str, Any]], params: Mapping[str, Any]) -> tuple[Reply | ChatFailed, bool]:
        """The outcome of one call, and whether log-probabilities were asked for in it."""
        if not self._offers_logprobs:
            return self.client.complete(messages, **params), False
        asking = {**params, "logprobs": True, "top_logprobs": _ALTERNATIVES}
        outcome = self.client.complete(messages, **asking)
        if self._wants_logprobs or not isinstance(outcome, ChatFailed) or outcome.code != "BAD_REQUEST":
            return outcome, True
        # It may be the log-probabilities that the endpoint refuses: then the same call goes through without them.
        plain = self.client.complete(messages, **params)
        if isinstance(plain, Reply):
            self._offers_logprobs = False
            _log.warning("%s is asked without log-probabilities from now on: %s", self.name, outcome.reason)
        return plain, False

    def _messages(self, question: PosedQuestion) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The question as it is sent, and what the row says of the frames in it."""
        if self.transport == "file" and is_of_a_part(question.origin):
            raise TransportError("transport 'file' sends the whole video, and a part of it is to be looked at")
        if (
            self.transport not in ("images", "file")
            and not FORMATS[self.format].is_informed
            and mislead_its_clock(question.frames)
        ):
            raise TransportError(
                f"transport {self.transport!r}: the server would count times from 0, evenly, which are not those of "
                f"these frames, and the question {self.format!r} says none. Choose an informed question, or "
                "transport 'images'"
            )
        before, placeholder, after = question.text.partition(_VIDEO)
        if not placeholder:
            before, after = "", question.text
        sent = send(
            question.frames,
            question.origin,
            self.transport,
            times_beside=self.times_beside_frames,
            detail=self._detail,
            max_bytes=self._max_media_bytes,
        )
        parts = [text_part(before.strip())] if before.strip() else []
        return [{"role": "user", "content": [*parts, *sent.parts, text_part(after.strip())]}], sent.facts


# ── the label's probability ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LabelLogprobs:
    """Log-probabilities of FAKE and REAL at the label's first token; None: not among the tokens that were ranked.

    ``floor`` is the lowest that was ranked: a label that is missing has at most this.
    """

    fake: float | None
    real: float | None
    floor: float

    @property
    def p_fake(self) -> float:
        """P(FAKE) / (P(FAKE) + P(REAL)); a label that is missing counts with the most that it can have."""
        fake = self.floor if self.fake is None else self.fake
        real = self.floor if self.real is None else self.real
        return 1.0 / (1.0 + math.exp(max(-700.0, min(700.0, real - fake))))


def label_logprobs(logprobs: object) -> LabelLogprobs | None:
    """What the log-probabilities of a reply (its choice's ``logprobs``) say of its label; None where they do not."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    entries = [entry for entry in content if isinstance(entry, Mapping)] if isinstance(content, list) else []
    tokens = [str(entry.get("token")) for entry in entries]
    offset = label_offset("".join(tokens))
    if offset is None:
        return None
    at = 0
    for token, entry in zip(tokens, entries, strict=True):
        if at <= offset < at + len(token):
            return _of_alternatives(entry, token[: offset - at])
        at += len(token)
    return None


def _of_alternatives(entry: Mapping[str, Any], before: str) -> LabelLogprobs | None:
    """The labels among a token's alternatives; ``before`` is what the token has in front of the label."""
    listed = entry.get("top_logprobs")
    ranked = [*(listed if isinstance(listed, list) else []), entry]
    sums: dict[str, dict[str, float]] = {"FAKE": {}, "REAL": {}}
    floor = math.inf
    for alternative in ranked:
        token, logprob = (
            (alternative.get("token"), alternative.get("logprob")) if isinstance(alternative, Mapping) else (None, None)
        )
        if not isinstance(token, str) or not isinstance(logprob, int | float) or not logprob <= 0.0:
            continue
        floor = min(floor, max(float(logprob), -700.0))
        rest = (token.removeprefix(before) if before else token).lstrip(" \"'").upper()
        for label, probabilities in sums.items():
            if rest and (label.startswith(rest) or rest.startswith(label)):
                probabilities[token] = math.exp(logprob)
    fake, real = (
        math.log(total) if (total := sum(probabilities.values())) > 0 else None for probabilities in sums.values()
    )
    return None if fake is None and real is None else LabelLogprobs(fake, real, floor)
