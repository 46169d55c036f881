"""Rewards for trainers and users of video generators: scores, a map, a ranking, a comparison, a server.

`Reward` is the way in. Two rewards, never merged: `trace_free` and `looks_real`, see `deeptrace.reward.score`. Names
are brought in when they are first used: the command line reads the table of rewards and must not load a model for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from deeptrace.reward.kinds import REWARDS, RewardName
    from deeptrace.reward.mass import DenseMap
    from deeptrace.reward.score import (
        Alarm,
        NotRewarded,
        Reward,
        RewardAlarm,
        RewardForms,
        RewardOutcome,
        RewardResult,
    )

__all__ = [
    "REWARDS",
    "Alarm",
    "DenseMap",
    "NotRewarded",
    "Reward",
    "RewardAlarm",
    "RewardForms",
    "RewardName",
    "RewardOutcome",
    "RewardResult",
]

_ELSEWHERE: Final = {"REWARDS": "kinds", "RewardName": "kinds", "DenseMap": "mass"}
"""Public names that do not come from `deeptrace.reward.score`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'score')}"), name)
    globals()[name] = value
    return value
