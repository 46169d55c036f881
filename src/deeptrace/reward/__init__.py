"""Rewards for trainers and users of video generators: scores, a map, a ranking, a comparison, a server.

`Reward` is the way in. Two rewards, never merged: `trace_free` and `looks_real`, see `deeptrace.reward.score`.
"""

from __future__ import annotations

from deeptrace.reward.mass import DenseMap
from deeptrace.reward.score import (
    REWARDS,
    Alarm,
    NotRewarded,
    Reward,
    RewardAlarm,
    RewardForms,
    RewardName,
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
