"""A small client of the reward server: videos in, numbers or reasons out. Needs the extra ``serve``.

    with RewardClient("http://127.0.0.1:8000", token=token) as client:
        for answer in client.score(["a.mp4", "b.mp4"], reward="trace_free"):
            value = answer.value  # a number, or None with answer.code and answer.reason

A path is read by the server, below its roots; bytes are sent. A server that is busy is asked again after what it says,
with jitter and a budget; anything else that is wrong is raised.
"""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from deeptrace.errors import MissingExtra, WebError
from deeptrace.reward.wire import HEADLINE, MapOverTime, ScoreResponse

try:
    import httpx
    from pydantic import ValidationError
except ImportError:
    raise MissingExtra("the client of the reward server", "serve") from None

_BUSY: Final = frozenset({429, 503})


@dataclass(frozen=True)
class RewardAnswer:
    """``value`` is the number to use, or None with ``code`` and ``reason``; ``numbers`` holds all that was sent."""

    value: float | None
    numbers: Mapping[str, float]
    code: str | None = None
    reason: str | None = None
    dense: MapOverTime | None = None


class RewardClient:
    """Asks a server. ``wait_seconds`` is the budget for waiting on a busy server, over one call."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = 180.0,
        wait_seconds: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        # Without the environment's proxies: the server is ours, and the token is not for others.
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_seconds, trust_env=False, transport=transport
        )
        self._wait_seconds = wait_seconds
        self._sleep = sleep

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def score(
        self,
        videos: Sequence[str | os.PathLike[str] | bytes],
        *,
        prompts: Sequence[str] | None = None,
        reward: str = HEADLINE,
        dense: bool = False,
    ) -> list[RewardAnswer]:
        """One answer a video, in order.

        Raises:
            WebError: the server refuses the request as a whole, is busy for longer than the budget, or does not answer
                as it should.
        """
        if not videos:
            return []
        texts = [None] * len(videos) if prompts is None else list(prompts)
        requests = [
            {
                "history": [{"text": text, **_video(video)}],
                "required_rewards": [reward],
                "metadata": {"dense": True} if dense else {},
            }
            for video, text in zip(videos, texts, strict=True)
        ]
        answered = self._post({"requests": requests})
        try:
            response = ScoreResponse.model_validate_json(answered.content)
        except ValidationError as error:
            raise WebError(502, "INVALID_REQUEST", f"the server's answer cannot be read: {error}") from None
        if len(response.results) != len(videos):
            raise WebError(502, "INVALID_REQUEST", f"{len(response.results)} results for {len(videos)} videos")
        return [_answer(response, index, reward) for index in range(len(videos))]

    def rewards(self) -> list[dict[str, str]]:
        """The rewards that the server offers."""
        response = self._http.get("/rewards")
        _raise_for(response)
        rows: list[dict[str, str]] = response.json()
        return rows

    def ready(self) -> bool:
        """Whether the server has a model and takes requests."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def _post(self, body: Any) -> httpx.Response:
        left = self._wait_seconds
        pause = 0.5
        while True:
            wait = pause
            try:
                response = self._http.post("/score", json=body)
            except httpx.TransportError as error:
                reason = f"the server does not answer: {type(error).__name__}"
                # A read that timed out may still be worked on: asking again would only add to it.
                if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout) or left <= 0:
                    raise WebError(503, "SERVER_BUSY", reason) from None
            else:
                if response.status_code not in _BUSY or left <= 0:
                    _raise_for(response)
                    return response
                wait = _retry_after(response, pause)
            # Jitter keeps clients that were refused together from coming back together.
            seconds = min(left, wait * random.uniform(1.0, 1.5))
            self._sleep(seconds)
            left -= max(seconds, 0.01)
            pause = min(2 * pause, 15.0)


def _video(video: str | os.PathLike[str] | bytes) -> dict[str, str]:
    if isinstance(video, bytes):
        return {"video_b64": base64.b64encode(video).decode("ascii")}
    return {"video_path": os.fspath(video)}


def _retry_after(response: httpx.Response, otherwise: float) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else otherwise


def _raise_for(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "BAD_REQUEST", f"status {response.status_code}"
    raised = WebError(response.status_code, "BAD_REQUEST", message)
    raised.code = code
    raise raised


def _answer(response: ScoreResponse, index: int, reward: str) -> RewardAnswer:
    numbers = response.results[index].get(reward)
    if numbers is None:
        code, reason = (
            next(iter(table[index].values()), "no reason given") for table in (response.codes, response.errors)
        )
        return RewardAnswer(None, {}, code, reason)
    return RewardAnswer(next(iter(numbers.values()), None), numbers, dense=response.dense[index])
