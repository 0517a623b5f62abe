"""One request with all its attempts. Imports the openai client: loaded when a service is built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llm_client.body import check_capabilities, request_body
from llm_client.errors import ModelError
from llm_client.exchange import Exchange
from llm_client.retry import Attempts, out_of_time
from llm_client.service import Answer, AttemptVoided, ChatRequest, StreamEvent
from llm_client.settings import Settings


class Requests:
    """The requests of one service. Nothing but `ModelError`s and `CancelledError` leaves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exchange = Exchange(settings)

    async def events(self, request: ChatRequest, *, stream: bool) -> AsyncGenerator[StreamEvent, None]:
        """What the attempts give, in order, up to the answer; without `stream`, no deltas.

        Cancelled at any await, it closes the attempt's connection or ends the backoff at once.
        """
        check_capabilities(request.messages, self._settings.capabilities, self._settings.endpoint)
        body = request_body(request, self._settings, stream=stream)
        model = request.model or self._settings.model
        send = self._exchange.stream if stream else self._exchange.complete
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.total_timeout
        attempts = Attempts(self._settings, deadline)
        failed: ModelError | None = None
        while True:
            await attempts.begin()
            try:
                async with aclosing(send(body, model)) as events:
                    while True:
                        # No `yield` inside: the timer may interrupt this attempt only, never whoever listens.
                        async with asyncio.timeout_at(deadline):
                            event = await anext(events)
                        yield event
                        if isinstance(event, Answer):
                            return
            except TimeoutError:
                raise out_of_time(self._settings, failed, attempts.number) from None
            except ModelError as error:
                failed = error
            wait = attempts.wait_after(failed, loop.time())
            if wait is not None:
                yield AttemptVoided(attempts.number, str(failed), wait)
            await attempts.fail(failed)

    async def aclose(self) -> None:
        await self._exchange.aclose()
