"""What goes over the wire, on both sides: the JSON of ``POST /score``. Server and client both import this file.

    {"requests": [{"history": [{"text": "a dog runs", "video_path": "a.mp4"}], "required_rewards": ["trace_free"]}]}
    {"results": [{"trace_free": {"reward": 0.98}}], "errors": [{}], "codes": [{}], "dense": [null]}

The four lists of an answer are as long as ``requests`` and in its order. A reward that could not be given is left out
of ``results[i]`` and stands in ``errors[i]`` (a sentence) and ``codes[i]`` (a stable code). The first number of a
reward is the one to use. No NaN: JSON has none.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from deeptrace.errors import JsonError, MissingExtra, VideoError, WebError
from deeptrace.files import loads
from deeptrace.reward.kinds import REWARDS, RewardName
from deeptrace.reward.score import NotRewarded, RewardForms, RewardOutcome, RewardResult

try:
    from pydantic import BaseModel, ConfigDict, Field, ValidationError
except ImportError:
    raise MissingExtra("the reward server and its client", "serve") from None

HEADLINE: Final = "deeptrace"
"""The name under which the server gives the reward it was started for, with P(real) and the count of traces."""
NAMES: Final[tuple[str, ...]] = (HEADLINE, *REWARDS)


class ScoreTurn(BaseModel):
    """One turn. Exactly one of the two video fields is needed; ``text`` is the prompt."""

    model_config = ConfigDict(extra="ignore")

    text: str | None = Field(None, max_length=100_000)
    video_path: str | None = Field(None, max_length=4096, description="under one of the server's roots")
    video_b64: str | None = Field(None, description="the file's bytes in base64")
    image_b64: str | None = Field(None, description="refused: nothing moves in an image")


class ScoreItem(BaseModel):
    """One video to score: the video of the last turn that has one."""

    model_config = ConfigDict(extra="ignore")

    history: list[ScoreTurn] = Field(min_length=1, max_length=64)
    required_rewards: list[str] = Field(default=[HEADLINE], min_length=1, max_length=8)
    metadata: dict[str, Any] = Field(default={}, description='{"dense": true} asks for the map')


class ScoreRequest(BaseModel):
    """The body of ``POST /score``."""

    requests: list[ScoreItem]


class MapOverTime(BaseModel):
    """Trace confidence by time and region: ``values[s][row][column]`` in [0, 1] from ``times_seconds[s]`` on."""

    times_seconds: list[float]
    values: list[list[list[float]]]


class ScoreResponse(BaseModel):
    """The answer of ``POST /score``; four lists in the order of the requests."""

    results: list[dict[str, dict[str, float]]]
    errors: list[dict[str, str]]
    codes: list[dict[str, str]]
    dense: list[MapOverTime | None]


class ErrorBody(BaseModel):
    """What is said of a request as a whole that is refused."""

    code: str
    message: str


class ErrorResponse(BaseModel):
    """Every answer that is not 200."""

    error: ErrorBody


def parse_items(body: bytes, *, most: int) -> list[ScoreItem | NotRewarded]:
    """The items of a body; what is wrong with one item is that item's own failure.

    Raises:
        WebError: 400, not JSON; 422, not an object with a list ``requests``, or more than ``most`` of them.
    """
    try:
        value = loads(body)
    except JsonError as error:
        raise WebError(400, "INVALID_REQUEST", f"the body is not JSON that is taken: {error}") from None
    requests = value.get("requests") if isinstance(value, dict) else None
    if not isinstance(requests, list):
        raise WebError(422, "INVALID_REQUEST", 'expected {"requests": [...]}')
    if len(requests) > most:
        raise WebError(422, "INVALID_REQUEST", f"{len(requests):,} requests at once; at most {most:,} are taken")
    return [_item(request) for request in requests]


def _item(request: object) -> ScoreItem | NotRewarded:
    try:
        item = ScoreItem.model_validate(request, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return NotRewarded("INVALID_REQUEST", f"{where or 'request'}: {first['msg']}")
    if unknown := [name for name in item.required_rewards if name not in NAMES]:
        return NotRewarded("INVALID_REQUEST", f"no such reward: {unknown[0]!r}; offered: {', '.join(NAMES)}")
    if any(turn.image_b64 is not None for turn in item.history):
        return NotRewarded("INVALID_REQUEST", "an image is not scored: nothing moves in it")
    if any(turn.video_path is not None and turn.video_b64 is not None for turn in item.history):
        return NotRewarded("INVALID_REQUEST", "give video_path or video_b64, one of them")
    if video_turn(item) is None:
        return NotRewarded("INVALID_REQUEST", "no video: text alone is not scored")
    return item


def video_turn(item: ScoreItem) -> ScoreTurn | None:
    """The last turn with a video."""
    turns = [turn for turn in item.history if turn.video_path is not None or turn.video_b64 is not None]
    return turns[-1] if turns else None


def decode_video(text: str, *, max_bytes: int) -> bytes:
    """The bytes in base64.

    Raises:
        VideoError: ``NOT_A_VIDEO``, it is not base64; ``TOO_LARGE``.
    """
    if len(text) * 3 // 4 > max_bytes + 2:
        raise VideoError("TOO_LARGE", f"a video may have at most {max_bytes:,} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VideoError("NOT_A_VIDEO", "video_b64 is not base64") from None


def numbers_of(result: RewardResult, name: str, kind: RewardName) -> dict[str, float] | None:
    """The numbers of one reward as they are sent, the one to use first; None where it is not offered."""
    by_name: dict[str, RewardForms] = {str(key): forms for key, forms in result.rewards.items()}
    forms = by_name.get(kind if name == HEADLINE else name)
    if forms is None:
        return None
    numbers: dict[str, float | None] = {"reward": forms.calibrated}
    if name == HEADLINE:
        real = result.looks_real
        numbers |= {"real_prob": None if real is None else real.calibrated}
    else:
        numbers |= {"raw": forms.raw, "logit": forms.logit, "normalised": forms.normalised}
    traces = None if result.n_traces is None else float(result.n_traces)
    return {key: value for key, value in {**numbers, "n_traces": traces}.items() if value is not None}


def answer(
    items: list[ScoreItem | NotRewarded], outcomes: list[RewardOutcome], kind: RewardName
) -> dict[str, list[Any]]:
    """The answer to items, given the outcome of each: what `ScoreResponse` describes."""
    results: list[dict[str, dict[str, float]]] = []
    errors: list[dict[str, str]] = []
    codes: list[dict[str, str]] = []
    dense: list[dict[str, Any] | None] = []
    for item, outcome in zip(items, outcomes, strict=True):
        names = [HEADLINE] if isinstance(item, NotRewarded) else list(dict.fromkeys(item.required_rewards))
        given: dict[str, dict[str, float]] = {}
        wrong: dict[str, NotRewarded] = {}
        for name in names:
            numbers = numbers_of(outcome, name, kind) if isinstance(outcome, RewardResult) else None
            if numbers is not None:
                given[name] = numbers
            elif isinstance(outcome, NotRewarded):
                wrong[name] = outcome
            else:
                wrong[name] = NotRewarded("NOT_OFFERED", f"the model does not tell {name}")
        results.append(given)
        errors.append({name: missing.reason for name, missing in wrong.items()})
        codes.append({name: missing.code for name, missing in wrong.items()})
        wanted = isinstance(item, ScoreItem) and item.metadata.get("dense") is True
        dense.append(_dense(outcome) if wanted and isinstance(outcome, RewardResult) else None)
    return {"results": results, "errors": errors, "codes": codes, "dense": dense}


def _dense(result: RewardResult) -> dict[str, Any] | None:
    if result.dense is None:
        return None
    return {"times_seconds": result.dense.times_seconds.tolist(), "values": result.dense.values.round(4).tolist()}
