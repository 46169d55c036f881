"""The reward in the shapes that trainers call: VideoAlign's, flow_grpo's, TRL's.

Each takes a `Reward` and says what stands for a video without one (``on_error``); none turns a failure into a number
on its own. Failures are logged either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from deeptrace.errors import RecordError
from deeptrace.reward.score import Reward, RewardOutcome, RewardResult
from deeptrace.reward.videos import Videos

OnError: TypeAlias = Literal["raise"] | float | None


class VideoAlignReward:
    """`reward(video_paths, prompts, ...)` as VideoAlign's ``VideoVLMRewardInference`` has it; serves DanceGRPO.

    One dict a video, of Python floats. ``Overall``, ``MQ`` and ``VQ`` are all the one reward that the `Reward` was made
    for; text alignment is not judged, so ``TA`` is not there. ``real_prob`` is P(real), ``n_traces`` the traces listed,
    ``worst_category`` the category of the surest (None: none). ``fps``, ``num_frames`` and ``max_pixels`` are
    VideoAlign's way to say which frames are seen; a model here has a sampling of its own, and another is an error.

    With ``on_error`` None a video without a reward gives NaN; there is no default, since DanceGRPO reads any
    failure that it catches as -1.
    """

    def __init__(self, reward: Reward, *, on_error: OnError) -> None:
        self._reward = reward
        self._on_error = on_error

    def reward(  # noqa: PLR0917 - the order that its callers know
        self,
        video_paths: Sequence[str],
        prompts: Sequence[str],
        fps: float | None = None,
        num_frames: int | None = None,
        max_pixels: int | None = None,
        use_norm: bool = True,
    ) -> list[dict[str, Any]]:
        """The rewards. ``use_norm`` takes the normalised form where the model has reference clips; else the logit.

        Raises:
            RecordError: lists of different length, or a sampling that this model does not have.
            DeepTraceError: with ``on_error="raise"``, a video without a reward.
        """
        if len(video_paths) != len(prompts):
            raise RecordError("prompts", f"{len(prompts)} for {len(video_paths)} videos")
        for name, value in (("fps", fps), ("num_frames", num_frames), ("max_pixels", max_pixels)):
            if value is not None:
                raise RecordError(name, f"{self._reward.model.name} samples frames by its own rules; leave it None")
        paths = [path.removeprefix("file://") for path in video_paths]
        outcomes = self._reward(paths, groups=list(prompts))
        return [self._row(outcome, use_norm=use_norm) for outcome in outcomes]

    def _row(self, outcome: RewardOutcome, *, use_norm: bool) -> dict[str, Any]:
        value: float | None = None
        if isinstance(outcome, RewardResult):
            value = outcome.form(self._reward.kind, "normalised") if use_norm else None
            if value is None:
                value = outcome.form(self._reward.kind, "logit")
        if value is None:
            value = self._reward.value(outcome, on_error=self._on_error)
        number = float("nan") if value is None else float(value)
        real = outcome.form("looks_real", "calibrated") if isinstance(outcome, RewardResult) else None
        traces = outcome.n_traces if isinstance(outcome, RewardResult) else None
        return {
            "VQ": number,
            "MQ": number,
            "Overall": number,
            "real_prob": float("nan") if real is None else float(real),
            "n_traces": float("nan") if traces is None else float(traces),
            "worst_category": outcome.worst_category if isinstance(outcome, RewardResult) else None,
        }


ScoreFunction: TypeAlias = Callable[..., tuple[list[float | None], dict[str, Any]]]


def flow_grpo_entry(reward: Reward, *, fps: float, on_error: OnError) -> Callable[[Any], ScoreFunction]:
    """The entry for flow_grpo's ``score_functions``: a factory that is given a ``device``.

    ``score_functions["deeptrace"] = flow_grpo_entry(reward, fps=16, on_error="raise")``. Videos come as
    ``(N, F, C, H, W)`` float in [0, 1], at ``fps``. Single images ``(N, C, H, W)`` are refused: nothing moves in them.
    """

    def deeptrace_score(device: Any) -> ScoreFunction:
        def score(images: Any, prompts: Sequence[str], metadata: Any) -> tuple[list[float | None], dict[str, Any]]:
            if getattr(images, "ndim", 0) != 5:
                raise RecordError("images", "videos (N, F, C, H, W) are needed, got single images")
            return reward.values(images, fps=fps, on_error=on_error, groups=list(prompts)), {}

        return score

    return deeptrace_score


def trl_function(
    reward: Reward,
    *,
    video: str = "video",
    fps: float | None = None,
    on_error: OnError = None,
    name: str = "deeptrace_reward",
) -> Callable[..., list[float | None]]:
    """A reward function as TRL calls it: everything by keyword, None for a row without a reward.

    The videos are the column ``video``, a path, bytes or frames a row; where there is none, the completions are.
    ``name`` is what the trainer's logs call it.
    """

    def function(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        videos = columns.get(video, completions)
        if len(videos) != len(completions):
            raise RecordError(video, f"{len(videos)} videos for {len(completions)} completions")
        groups = [str(prompt) for prompt in prompts] if len(prompts) == len(completions) else None
        values = reward.values([_text(item) for item in videos], fps=fps, on_error=on_error, groups=groups)
        log = columns.get("log_metric")
        if callable(log):
            log(f"{name}/without_reward", float(np.mean([value is None for value in values])) if values else 0.0)
        return values

    function.__name__ = name
    return function


def _text(completion: Videos) -> Videos:
    """The text of a chat completion, which is a list of messages; anything else as it is."""
    if isinstance(completion, list) and completion and isinstance(completion[0], Mapping):
        return completion[0].get("content")
    return completion
