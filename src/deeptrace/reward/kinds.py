"""The table of rewards: what each is made of, and what is said of it. A reward is added here.

A look at a video goes in, a number in [0, 1] comes out. Loads nothing that is slow: the command line reads the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from deeptrace.reward.looking import VideoLook

RewardName = Literal["trace_free", "looks_real"]
RewardFormName = Literal["raw", "calibrated", "logit", "normalised"]
FORMS: Final[tuple[RewardFormName, ...]] = get_args(RewardFormName)

FromLook: TypeAlias = "Callable[[VideoLook], float | None]"


@dataclass(frozen=True)
class RewardKind:
    """One reward. ``raw`` and ``calibrated`` give it in [0, 1], higher = better; None: the model does not tell it.

    ``in_fast_look`` says whether a language model tells it after one prefill, without an answer.
    """

    name: RewardName
    about: str
    raw: FromLook
    calibrated: FromLook
    in_fast_look: bool


def _p_real(look: VideoLook, *, raw: bool) -> float | None:
    told = getattr(look.outcome, "p_fake", None)
    raw_told = getattr(look.outcome, "p_fake_raw", None)
    p_fake = raw_told if raw and told is not None and raw_told is not None else told
    return None if p_fake is None else 1 - p_fake


REWARD_KINDS: Final[Mapping[RewardName, RewardKind]] = {
    kind.name: kind
    for kind in (
        RewardKind(
            "trace_free",
            "1 - visible trace mass (confidence x area x time): how little is visibly wrong",
            raw=lambda look: None if look.raw_traces is None else 1 - look.raw_traces.mass,
            calibrated=lambda look: None if look.traces is None else 1 - look.traces.mass,
            in_fast_look=False,
        ),
        RewardKind(
            "looks_real",
            "P(real)",
            raw=lambda look: _p_real(look, raw=True),
            calibrated=lambda look: _p_real(look, raw=False),
            in_fast_look=True,
        ),
    )
}
REWARDS: Final[tuple[RewardName, ...]] = tuple(REWARD_KINDS)
FAST_REWARD: Final[RewardName] = next(kind.name for kind in REWARD_KINDS.values() if kind.in_fast_look)
"""The reward of a fast look where none is asked for."""
