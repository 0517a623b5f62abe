"""A turn told while it runs, in lines: what the model asks for, what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import click

from llm_client.messages import parse, text_of
from llm_client.service import AttemptVoided, TextDelta
from power_loop.cli import output
from power_loop.engine import facts as f
from power_loop.engine.calls import OpenCall
from power_loop.events import Event, ToolProgress
from power_loop.values import CallKey

LONGEST: Final = 100


class Narrator:
    """Turns events into text. A `MessageSink` too, for turns that no stream is listened to."""

    def __init__(self, open_calls: Iterable[OpenCall] = ()) -> None:
        self._names: dict[CallKey, str] = {call.key: call.name for call in open_calls}
        self._within_line = False
        self._said = False

    def tell(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._speak(text)
            case AttemptVoided(error=error):
                self._note(f"(that attempt failed and does not count: {output.line(error, LONGEST)})")
            case ToolProgress(name=name, progress=progress):
                self._note(f"   {name}: {output.line(str(progress), LONGEST)}")
            case f.CallsRequested(calls=calls):
                for call in calls:
                    self._names[call.key] = call.name
                    self._note(f"-> {call.name}({output.line(call.arguments, LONGEST)})")
            case f.CallSettled(key=key, state=state, message=message):
                text = output.line(text_of(parse(message.body).content), LONGEST)
                self._note(f"   {self._names.get(key, 'call')} {state}: {text}")
            case f.ApprovalsRequested(calls=waits):
                for wait in waits:
                    why = "" if wait.reason is None else f": {output.line(wait.reason, LONGEST)}"
                    self._note(f"   {self._names.get(wait.key, 'call')} waits for an approval{why}")
            case f.ResultsAwaited(calls=waits):
                for wait in waits:
                    self._note(f"   {self._names.get(wait.key, 'call')} waits for its result")
            case f.HistoryCompacted(folded=folded, before_tokens=before, after_tokens=after):
                self._note(f"({len(folded)} messages folded: {before:,} to {after:,} tokens)")
            case f.CompactionFailed(strategy=strategy, reason=reason):
                self._note(f"(history could not be folded by {strategy}: {output.line(reason, LONGEST)})")
            case f.ContextOverflowed():
                self._note("(the endpoint found the history too long; it is folded, and the model asked once more)")
            case _:
                pass

    def answer(self, text: str) -> None:
        """The model's last word, unless it was streamed already."""
        if not self._said and text:
            self._speak(text)
        self.end_line()
        self._said = False

    def end_line(self) -> None:
        if self._within_line:
            output.show()
        self._within_line = False

    async def record(self, facts: Sequence[f.Fact]) -> None:
        for fact in facts:
            self.tell(fact)

    async def aclose(self) -> None:
        self.end_line()

    def _speak(self, text: str) -> None:
        if text:
            click.echo(output.plain(text), nl=False)
            self._within_line = not text.endswith("\n")
            self._said = True

    def _note(self, text: str) -> None:
        self.end_line()
        self._said = False
        output.show(output.dim(output.plain(text)))
