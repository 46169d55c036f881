"""The bounded queue before work that is expensive: clients in, places or refusals out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from deeptrace.errors import WebError


class BoundedQueue:
    """A bounded queue: so many at work, so many waiting, the rest is refused at once and told when to come again.

    ``per_client`` bounds what one client has inside (429 beyond it); the queue as a whole answers 503.
    """

    def __init__(self, slots: int, queue: int, *, per_client: int | None = None) -> None:
        self.slots = slots
        self.queue = queue
        self.per_client = per_client
        self.inside = 0
        self.closed = False
        self._of_client: Counter[str] = Counter()
        self._working = asyncio.Semaphore(slots)
        self._seconds_each = 1.0

    def check(self) -> None:
        """Refuse before the body is read, where the queue is full already.

        Raises:
            WebError: 503, ``SERVER_BUSY``.
        """
        if self.closed:
            raise WebError(503, "SERVER_BUSY", "the server is about to end", retry_seconds=5)
        if self.inside >= self.slots + self.queue:
            raise WebError(503, "SERVER_BUSY", "the queue is full", retry_seconds=self.wait_seconds)

    @property
    def wait_seconds(self) -> float:
        """How long what is inside will take, from what a piece of work took lately."""
        return self.inside * self._seconds_each / self.slots

    def note(self, seconds: float) -> None:
        """A piece of work took so long."""
        self._seconds_each += 0.2 * (seconds - self._seconds_each)

    @contextmanager
    def places(self, client: str, count: int = 1) -> Iterator[None]:
        """Hold so many places for a client, at work or waiting.

        Raises:
            WebError: 503, the queue has not so many left; 429, this client has its share of it.
        """
        self.check()
        if self.inside + count > self.slots + self.queue:
            raise WebError(503, "SERVER_BUSY", "the queue is full", retry_seconds=self.wait_seconds)
        if self.per_client is not None and self._of_client[client] + count > self.per_client:
            raise WebError(
                429, "TOO_MANY_REQUESTS", "this client has its share of the queue", retry_seconds=self.wait_seconds
            )
        self.inside += count
        self._of_client[client] += count
        try:
            yield
        finally:
            self.inside -= count
            self._of_client[client] -= count
            if not self._of_client[client]:
                del self._of_client[client]

    @asynccontextmanager
    async def enter(self, client: str) -> AsyncIterator[None]:
        """Hold a place, wait for a slot and hold it.

        Raises:
            WebError: see `places`.
        """
        with self.places(client):
            async with self._working:
                began = time.monotonic()
                yield
                self.note(time.monotonic() - began)
