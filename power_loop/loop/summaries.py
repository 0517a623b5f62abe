"""Summaries by the session's model, for strategies that want one: bounded in input and time, without tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llm_client.service import ChatRequest
from power_loop.compaction.notes import note_message
from power_loop.compaction.summary import summary_request, summary_text, without_oldest_results
from power_loop.compaction.window import NotFolded
from power_loop.engine import facts as f
from power_loop.errors import ContextOverflowError, ModelError, NotConfiguredError
from power_loop.loop.gear import Gear
from power_loop.loop.model import answered
from power_loop.loop.stop import Stopped, StopSignal
from power_loop.transcript.view import Entry

TRIES: Final = 5
"""Requests for one summary, if the endpoint finds them too long; each is a little shorter than it said."""

CHARS: Final = 2.0
"""Characters of a summary's input for each token of the window: careful, so that the first request fits."""

SAFE: Final = 0.8
"""Of the characters that an endpoint's figures allow."""


class Summaries:
    """Asks outside any transaction; `spent` holds what each answer cost, of use or not."""

    def __init__(self, gear: Gear, stop: StopSignal, *, model: str | None, window: int) -> None:
        self._gear = gear
        self._stop = stop
        self._model = model
        self._window = window
        self.spent: list[f.ModelCall] = []
        self._written: dict[str, str] = {}
        """Who wrote which note."""

    def writer_of(self, note: str) -> str | None:
        """The model that wrote a note, by the note's wire text; None if it was not written here."""
        return self._written.get(note)

    async def __call__(self, entries: Sequence[Entry], max_tokens: int) -> str:
        """A summary of these messages. Where they are too long for a request, the oldest results go with their calls.

        Raises:
            NotFolded: none could be had: the model failed, took too long, said nothing, called tools; or somebody
                stopped the turn.
        """
        left, characters = entries, round(CHARS * self._window)
        for _ in range(TRIES):
            left = without_oldest_results(left, characters=characters)
            request = summary_request(
                left, model=self._model, max_chars=characters, max_tokens=max_tokens, extra=self._gear.config.extra
            )
            try:
                return await self._asked(request)
            except ContextOverflowError as error:
                refused = error
            length = len(request.messages[-1])
            share = refused.limit / refused.requested if refused.limit and refused.requested else 0.5
            characters = round(length * min(0.9, share) * SAFE)
        raise NotFolded(f"the summary request itself was too long: {refused}") from refused

    async def _asked(self, request: ChatRequest) -> str:
        clock, limit = self._gear.world.monotonic, self._gear.config.summary_timeout
        begun = clock()
        try:
            heard = await self._stop.run(answered(self._gear, request), limit)
        except Stopped as stopped:
            raise NotFolded("the turn was stopped") from stopped
        except TimeoutError:
            raise NotFolded(f"the summary took more than {limit:g} s") from None
        except ContextOverflowError:
            raise
        except (ModelError, NotConfiguredError) as error:
            raise NotFolded(f"the summary failed: {error}") from error
        answer, milliseconds = heard.answer, round((clock() - begun) * 1000)
        self.spent.append(
            f.ModelCall(
                purpose="summary",
                model=answer.model,
                usage=answer.usage,
                milliseconds=milliseconds,
                cost=self._gear.cost(answer.model, answer.usage),
            )
        )
        text = summary_text(answer.message)
        self._written[note_message(text)] = answer.model
        return text
