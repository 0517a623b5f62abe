"""The one retry layer: which failures are tried again, after how long, and when there is no time left for it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import stamina

from llm_client.errors import ModelError, ModelTimeoutError
from llm_client.settings import Settings


class Attempts:
    """The attempts of one request. Ask `wait_after` once for every failure, then hand it to `pause`.

    Seconds; `deadline` is a time on the event loop's clock.
    """

    def __init__(self, settings: Settings, deadline: float) -> None:
        self._settings = settings
        self._deadline = deadline
        self._wait: float | None = None
        self.number = 0
        self._attempts: AsyncIterator[stamina.Attempt] | None = None
        """Made with the first failure: most requests have none."""

    async def begin(self) -> None:
        """Wait out the backoff, if one is due, and begin the next attempt.

        Raises:
            ModelError: the last failure, when it is not to be tried again.
        """
        if self._attempts is not None:
            self._attempt = await anext(self._attempts)
        self.number += 1

    def wait_after(self, error: ModelError, now: float) -> float | None:
        """Seconds until the next attempt, or None if this failure is final: it would be the same again, it was the last
        attempt, or the endpoint asks for more time than is left.

        Raises:
            ModelTimeoutError: the backoff alone would outlast the time that is left.
        """
        self._wait = None
        if error.retryable and self.number < self._settings.attempts:
            wait = self._seconds(error)
            if now + wait < self._deadline:
                self._wait = wait
            elif error.retry_after is None:
                raise out_of_time(self._settings, error, self.number)
        return self._wait

    async def fail(self, error: ModelError) -> None:
        """Record how the attempt failed; `begin` goes on from there."""
        if self._attempts is None:
            self._attempts = aiter(
                stamina.retry_context(on=self._decide, attempts=self._settings.attempts, timeout=None, wait_jitter=0)
            )
            self._attempt = await anext(self._attempts)
        with self._attempt:
            raise error

    def _decide(self, error: Exception) -> bool | float:
        return False if self._wait is None else self._wait

    def _seconds(self, error: ModelError) -> float:
        if error.retry_after is not None:
            # A little later than asked, so that many clients told the same do not come back as one.
            return error.retry_after + random.uniform(0.0, min(1.0, error.retry_after / 10))
        grown = self._settings.backoff * 2.0 ** min(self.number - 1, 30)
        return min(self._settings.max_backoff, grown) * random.uniform(0.75, 1.25)


def out_of_time(settings: Settings, last: ModelError | None, attempts: int) -> ModelTimeoutError:
    """The error for a request whose total time is up, during or before a further attempt."""
    told = f"; the last failure: {last}" if last is not None else ""
    return ModelTimeoutError(
        f"{settings.endpoint} gave no answer within the {settings.total_timeout:g} s allowed for a request and its "
        f"retries (it was tried {attempts} times); allow more with total_timeout=...{told}"
    )
