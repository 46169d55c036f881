"""`grounded_reward` in the shapes that RL trainers call: TRL, ms-swift, verl. Thin: none of them is imported here.

Each row of a trainer's data set carries what the reward needs as one text, see `reward_columns`. Only here a failure
becomes None (TRL and ms-swift leave that rollout out); everywhere else it is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from deeptrace.answer import FORMAT_VERSIONS, Format, Space, check_format
from deeptrace.errors import DeepTraceError
from deeptrace.files import dumps, loads
from deeptrace.records import Record, Trace
from deeptrace.rows import record_from_json, record_to_json
from deeptrace.train.vlm.reward import WHOLE_CLIP, GroundedReward, grounded_reward

logger = logging.getLogger(__name__)

COLUMN = "deeptrace"
"""The column of a data set that `trl_reward` and `swift_reward` read."""


def reward_columns(record: Record, format: Format, space: Space) -> dict[str, str]:
    """The column to put beside a prompt: record, answer format with its version, and coordinate space, as one text."""
    truth = {
        "record": record_to_json(record),
        "format": format,
        "format_version": FORMAT_VERSIONS[format],
        "space": space.to_json(),
    }
    return {COLUMN: dumps(truth)}


def reward_of(text: str, truth: str, *, blind: Trace = WHOLE_CLIP) -> GroundedReward:
    """The reward of a completion against what `reward_columns` wrote.

    Raises:
        DeepTraceError: the text is not that, or the record cannot verify anything.
    """
    row = cast(Mapping[str, Any], loads(truth))
    check_format(row["format"], row["format_version"])
    space = Space.from_json(row["space"])
    return grounded_reward(text, record_from_json(row["record"]), row["format"], space, blind=blind)


def trl_reward(*, blind: Trace = WHOLE_CLIP) -> Callable[..., list[float | None]]:
    """A reward function for `trl.GRPOTrainer(reward_funcs=[...])`; rows need the column of `reward_columns`.

    TRL itself puts no video into a prompt: use it with a trainer that does, or ours.
    """

    def deeptrace_reward(completions: Sequence[Any], deeptrace: Sequence[str], **_: Any) -> list[float | None]:
        return [
            _or_none(_text(completion), truth, blind) for completion, truth in zip(completions, deeptrace, strict=True)
        ]

    return deeptrace_reward


class SwiftReward:
    """A reward for ms-swift: ``orms["deeptrace"] = SwiftReward`` in the file given as ``--external_plugins``.

    ms-swift makes it with its own arguments, and hands over completions and the data set's columns.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        self._reward = trl_reward()

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One number a completion; None where the row cannot verify it."""
        return self._reward(completions, **columns)


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """A reward for verl (``custom_reward_function.path`` and ``.name``); ``ground_truth`` is the text of the column.

    verl has no way to leave a rollout out, so a row that cannot verify anything raises.
    """
    reward = reward_of(solution_str, ground_truth)
    return {
        "score": reward.total,
        "verdict": reward.verdict,
        "clean": reward.clean,
        "overlap": reward.overlap,
        "category": reward.category,
    }


def _or_none(text: str, truth: str, blind: Trace) -> float | None:
    try:
        return reward_of(text, truth, blind=blind).total
    except DeepTraceError as error:
        logger.warning("a rollout is left out: %s", error)
        return None


def _text(completion: Any) -> str:
    """The text of a completion: plain, or the content of a conversation's last message."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
