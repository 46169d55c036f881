"""Which category each pair is to have, so that a dataset comes to its shares though a clip cannot give every one.

In go the plans of one round and what the rounds before it came to, out come the plans with their categories in order.
Nothing depends on the order in which the pairs of a round are finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from deeptrace.categories import Category
from deeptrace.inject.plan import PairPlan, Prior, share_of

ROUND: Final = 16
"""Pairs that are planned at once. A round sees what those before it came to."""

# Tried before other clips are looked at: what is behind its share, and by no less than this part of what the first one
# is behind, less a pair. In simulation (tests/inject/test_shares.py) every category comes within 30 % of its share, for
# 1.35 windows a pair.
_NEAR_FIRST = 0.6

Counts = Mapping[tuple[Prior, Category], int]


def assign(plans: Sequence[PairPlan], counts: Counts) -> list[PairPlan]:
    """The plans of a round, each with the categories that are furthest behind their share (of its prior) first.

    ``counts`` are the pairs there are, by prior and category. Those that are not behind go to ``PairPlan.spare``.
    """
    sums = Counter(counts)
    assigned = []
    for plan in plans:
        total = sum(number for (prior, _), number in sums.items() if prior == plan.prior) + 1
        shares = {c: share_of(c, plan.prior, plan.categories) for c in plan.categories}
        behind = {c: shares[c] * total - sums[plan.prior, c] for c in plan.categories}
        order = sorted(plan.categories, key=lambda c: -behind[c])
        least = max(0.0, _NEAR_FIRST * behind[order[0]] - 1)
        spare = tuple(c for c in order[1:] if behind[c] < least)
        assigned.append(replace(plan, categories=tuple(c for c in order if c not in spare), spare=spare))
        sums[plan.prior, order[0]] += 1
    return assigned
