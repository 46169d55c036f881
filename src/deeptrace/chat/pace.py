"""When to send: the wait before a retry, how many requests at once, and how much may still be spent."""

from __future__ import annotations

import contextlib
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from deeptrace.chat.replies import Attempt, ChatStopped, Spent

MAX_WAIT_SECONDS: Final = 120.0
"""However long a server asks to wait, and however often it failed, no single wait is longer."""


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """What a Retry-After header asks for, in seconds within [0, 120]; None where it says nothing usable.

    Takes seconds or an HTTP date; a negative number or a date in the past is 0.
    """
    if header is None:
        return None
    text = header.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except (TypeError, ValueError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - now).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def backoff_seconds(attempt: int, rng: random.Random) -> float:
    """Wait after failed attempt number ``attempt`` (from 1): up to 1, 2, 4 ... 60 s, at random over its upper half."""
    top = min(2.0 ** (attempt - 1), 60.0)
    return top * (0.5 + 0.5 * rng.random())


REST_SECONDS: Final = 30.0
"""How long a server that fails is passed over, where there are others. Chosen."""
FAULTS_TO_REST: Final = 3
"""Faults in a row after which a server that can be reached is passed over too. Chosen: one alone may be a request's."""


class Servers:
    """Which of several servers of one model is asked next: the one with the fewest requests under way.

    One that could not be reached, or failed several times in a row, is passed over for `REST_SECONDS`, unless all of
    them are: one that fails at once would look idle, and draw all requests to itself.
    """

    def __init__(self, addresses: Sequence[str], clock: Callable[[], float]) -> None:
        self._under_way = dict.fromkeys(addresses, 0)
        self._asked = dict.fromkeys(addresses, 0)
        self._resting_until = dict.fromkeys(addresses, -math.inf)
        self._faults = dict.fromkeys(addresses, 0)
        self._clock = clock
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        """The address of one, which is busy with a request more within the block."""
        with self._lock:
            now = self._clock()
            awake = [name for name, until in self._resting_until.items() if until <= now]
            address = min(awake or self._under_way, key=lambda name: (self._under_way[name], self._asked[name]))
            self._under_way[address] += 1
            self._asked[address] += 1
        try:
            yield address
        finally:
            with self._lock:
                self._under_way[address] -= 1

    def answered(self, address: str) -> None:
        """This one works."""
        with self._lock:
            self._faults[address] = 0

    def failed(self, address: str, *, reached: bool) -> None:
        """This one had a fault that may be its own: pass it over for a while where it has many, or is gone."""
        with self._lock:
            self._faults[address] += 1
            if not reached or self._faults[address] >= FAULTS_TO_REST:
                self._resting_until[address] = self._clock() + REST_SECONDS


class Gate:
    """How many requests at once: one more for each round that goes well, half as many when the server says slow down.

    ``limit`` never leaves [1, most]. All requests of one round hear the same complaint: those sent before the limit was
    last halved do not halve it again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(most, 4))
        self._busy = 0
        self._round = 0
        self._free = threading.Condition()

    @property
    def limit(self) -> int:
        """Requests allowed at once, now."""
        return int(self._limit)

    @contextlib.contextmanager
    def slot(self, alive: Callable[[], bool]) -> Iterator[int]:
        """Wait for a free place, and hold it. Gives the round, for `slow_down`.

        Raises:
            ChatStopped: ``CLOSED``: ``alive`` turned False while waiting.
        """
        with self._free:
            while self._busy >= int(self._limit):
                self._free.wait(0.2)
                _must_live(alive)
            self._busy += 1
            this_round = self._round
        try:
            yield this_round
        finally:
            with self._free:
                self._busy -= 1
                self._free.notify_all()

    def went_well(self) -> None:
        """A request was answered."""
        with self._free:
            self._limit = min(self._limit + 1.0 / self._limit, float(self._most))
            self._free.notify_all()

    def slow_down(self, sent_in_round: int) -> None:
        """The server is rate limiting or overloaded, says a request that was sent in this round."""
        with self._free:
            if sent_in_round == self._round:
                self._limit = max(self._limit / 2.0, 1.0)
                self._round += 1


def _must_live(alive: Callable[[], bool]) -> None:
    if not alive():
        raise ChatStopped("CLOSED", "the client was closed")


class Budget:
    """What was spent, and the stop before it passes ``max_cost`` or ``max_requests``.

    Each request first reserves its upper bound. While requests under way could use up the rest, a new one waits for
    them; when the money that is really spent leaves no room for it, it is refused.
    """

    def __init__(self, max_cost: float | None, max_requests: int | None) -> None:
        self._max_cost, self._max_requests = max_cost, max_requests
        self._requests, self._cost, self._reserved = 0, 0.0, 0.0
        self._codes: Counter[str] = Counter()
        self._changed = threading.Condition()

    @property
    def spent(self) -> Spent:
        """All requests so far."""
        with self._changed:
            return Spent(self._requests, self._cost, dict(self._codes))

    def reserve(self, bound: float, alive: Callable[[], bool]) -> None:
        """Take one request and ``bound`` of cost out of what is left; every reserve needs one `settle`.

        Raises:
            ChatStopped: ``MAX_REQUESTS`` or ``MAX_COST``; nothing is taken.
        """
        with self._changed:
            while True:
                if self._max_requests is not None and self._requests >= self._max_requests:
                    raise ChatStopped("MAX_REQUESTS", f"all {self._max_requests} requests allowed are used up")
                if self._max_cost is None or self._cost + self._reserved + bound <= self._max_cost:
                    break
                if self._cost + bound > self._max_cost:
                    raise ChatStopped(
                        "MAX_COST",
                        f"the next request can cost {bound:.6f}, and {self._cost:.6f} of {self._max_cost:.6f} is spent",
                    )
                self._changed.wait(0.2)
                _must_live(alive)
            self._requests += 1
            self._reserved += bound

    def settle(self, bound: float, attempt: Attempt) -> None:
        """Give a reservation back and note what the request really cost."""
        with self._changed:
            self._reserved = max(self._reserved - bound, 0.0)
            self._cost += attempt.cost
            self._codes[attempt.code or "OK"] += 1
            self._changed.notify_all()
