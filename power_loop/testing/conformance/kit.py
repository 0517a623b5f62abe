"""What the rules share: a turn that makes its own facts, and all that can be read of a store, as one value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

from llm_client.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage, provider, wire
from llm_client.service import Usage
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.engine.outputs import Output
from power_loop.store.contract import Begun, Claim, Input, Listing, NewSession, SessionStore
from power_loop.values import CallKey, Effect, Micros, SessionId

OpenStore: TypeAlias = Callable[[], Awaitable[SessionStore]]
"""Opens the storage of one test; called again it opens the same storage once more, as another owner."""

S: Final = SessionId("s")
ALL: Final = Listing(limit=10_000, archived=True)
UNICODE: Final = "g\u00f6teborg \N{GRINNING FACE} \u2028 \u0000 \u202eabc \N{FAMILY}\u200d\N{WOMAN} \\\"'"


class Driven:
    """A turn of the suite: its methods make facts that follow from one another, `record` commits them."""

    def __init__(self, store: SessionStore, begun: Begun) -> None:
        self.store = store
        self.begun = begun
        self.claim: Claim = begun.claim
        self.rounds = begun.rounds
        self._next = begun.next_seq
        self._ids: dict[CallKey, str] = {call.key: call.id for call in begun.calls}
        self.keys: list[CallKey] = list(self._ids)

    async def record(self, *facts: f.Fact) -> None:
        await self.store.record(self.claim, facts)

    async def takes(self) -> tuple[f.NewMessage, ...]:
        """Take in the inputs that wait to steer it."""
        taken = await self.store.take_inputs(self.claim)
        self._next += len(taken.messages)
        return taken.messages

    def asks(self, *names: str, effect: Effect = Effect.ONCE, ids: Sequence[str] = (), text: str = "") -> f.Fact:
        """An answer that asks for calls, `call_0` and so on; they are what `starts` and `settles` speak of."""
        seq = self._next
        named = list(ids) or [f"call_{number}" for number in range(len(names))]
        arguments = [f'{{"n": {number}}}' for number in range(len(names))]
        calls = [
            f.RequestedCall(key=CallKey(seq, n), id=id, name=name, arguments=given, effect=effect, schema_hash="hash")
            for n, (name, id, given) in enumerate(zip(names, named, arguments, strict=True))
        ]
        message = AssistantMessage(
            content=text or None,
            tool_calls=tuple(ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in calls),
        )
        self.keys = [call.key for call in calls]
        self._ids |= {call.key: call.id for call in calls}
        self._next += 1 + len(calls)
        self.rounds += 1
        return f.CallsRequested(
            **self._stamp(),
            round=self.rounds,
            message=f.NewMessage(seq=seq, role="assistant", body=wire(message)),
            model_call=spent(),
            calls=tuple(calls),
        )

    def starts(self, *ordinals: int) -> f.Fact:
        return f.CallsStarted(**self._stamp(), calls=tuple(self.keys[n] for n in ordinals))

    def settles(
        self,
        ordinal: int,
        text: str = "done",
        state: CallState = CallState.SUCCEEDED,
        by: SettledBy = SettledBy.RUN,
        output: str | None = None,
    ) -> f.CallSettled:
        """`output`: the whole text, of which `text` is a part."""
        key = self.keys[ordinal]
        body = wire(ToolMessage(content=text, tool_call_id=self._ids[key]))
        message = f.NewMessage(seq=key.seq + 1 + key.ordinal, role="tool", body=body)
        whole = None if output is None else Output.of(output)
        return f.CallSettled(**self._stamp(), key=key, state=state, settled_by=by, message=message, output=whole)

    def handle(self, ordinal: int) -> str:
        """By which the result of a call is read."""
        key = self.keys[ordinal]
        return f"{self.claim.key}.{key.seq + 1 + key.ordinal}"

    def closes(self) -> f.Fact:
        return f.RoundClosed(**self._stamp(), round=self.rounds)

    def answers(self, message: AssistantMessage | str = "hello") -> f.Fact:
        said = AssistantMessage(content=message) if isinstance(message, str) else message
        seq, self._next = self._next, self._next + 1
        return f.AnswerReceived(
            **self._stamp(),
            round=self.rounds + 1,
            message=f.NewMessage(seq=seq, role="assistant", body=wire(said), provider=provider(said)),
            model_call=spent(),
            status="completed",
            stop_reason="stop",
        )

    def drops(self) -> f.Fact:
        return f.AnswerDropped(**self._stamp(), model_call=replace(spent(), purpose="dropped"))

    def folds(self, *seqs: int, text: str = "what was said") -> f.Fact:
        seq, self._next = self._next, self._next + 1
        note = f.NewMessage(seq=seq, role="user", body=wire(UserMessage(content=text)), place=min(seqs))
        return f.HistoryCompacted(
            **self._stamp(), folded=seqs, notes=(note,), strategy="summary", before_tokens=900, after_tokens=90,
            window=1000,
            model=spent().model,
            model_calls=(replace(spent(), purpose="summary"),),
        )  # fmt: skip

    def waits(self, *ordinals: int, expires_at: int | None = None) -> f.Fact:
        """These calls wait for an approval of what the model wrote."""
        at = None if expires_at is None else Micros(expires_at)
        return f.ApprovalsRequested(**self._stamp(), calls=self._waits(ordinals, at))

    def hands(self, *ordinals: int) -> f.Fact:
        """These calls are the host's to answer."""
        return f.ResultsAwaited(**self._stamp(), calls=self._waits(ordinals, None))

    def _waits(self, ordinals: Sequence[int], expires_at: Micros | None) -> tuple[f.Wait, ...]:
        return tuple(
            f.Wait(key=self.keys[n], arguments=f'{{"n": {n}}}', reason=f"reason {n}", expires_at=expires_at)
            for n in ordinals
        )

    def notes(self, text: str = "look again") -> f.Fact:
        seq, self._next = self._next, self._next + 1
        message = f.NewMessage(seq=seq, role="user", body=wire(UserMessage(content=text)))
        return f.Noted(**self._stamp(), message=message, by="a rule")

    def continues(self, text: str = "I am done", note: str = "you are not") -> f.Fact:
        seq, self._next = self._next, self._next + 2
        self.rounds += 1
        return f.AnswerContinued(
            **self._stamp(),
            round=self.rounds,
            message=f.NewMessage(seq=seq, role="assistant", body=wire(AssistantMessage(content=text))),
            model_call=spent(),
            note=f.NewMessage(seq=seq + 1, role="user", body=wire(UserMessage(content=note))),
            by="a rule",
        )

    def remembers(self, **memories: str) -> f.Fact:
        kept = tuple(f.Memory(name=name, memory=memory) for name, memory in memories.items())
        return f.RulesRemembered(**self._stamp(), memories=kept)

    def completes(self, answer_seq: int) -> f.Fact:
        return f.TurnCompleted(**self._stamp(), answer_seq=answer_seq, stop_reason="complete was called")

    def parks(self, status: str = "pending_tools") -> f.Fact:
        return f.TurnParked(**self._stamp(), status=status, stop_reason="a person decides")

    def fails(self) -> f.Fact:
        return f.TurnFailed(**self._stamp(), error_code="model.server", error="the model is down")

    def cancels(self) -> f.Fact:
        return f.TurnCancelled(**self._stamp(), status="cancelled", stop_reason="enough")

    def ends(self) -> None:
        """Say that nobody drives it any more."""
        self.store.release(self.claim)

    def _stamp(self) -> dict[str, Any]:
        return {"session": self.claim.session, "turn": self.claim.turn}


def spent(prompt: int = 11, completion: int = 7) -> f.ModelCall:
    return f.ModelCall(
        purpose="answer",
        model="scripted",
        usage=Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=5, reasoning_tokens=3),
        milliseconds=12,
    )


def input_of(text: str = "hi", session: str = S, **more: Any) -> Input:
    return Input(session=SessionId(session), body=wire(UserMessage(content=text)), **more)


async def made(store: SessionStore, session: str = S, **more: Any) -> SessionId:
    await store.create_session(NewSession(id=SessionId(session), **more))
    return SessionId(session)


async def begun(store: SessionStore, session: str = S, text: str = "hi", **more: Any) -> Driven:
    """A turn of ours on a new input."""
    got = await store.begin_turn(input_of(text, session, **more))
    assert isinstance(got, Begun), f"begin_turn gave {got}"
    return Driven(store, got)


async def resumed(
    store: SessionStore, session: str = S, decisions: dict[str, str] | None = None, **more: Any
) -> Driven:
    got = await store.resume_turn(SessionId(session), decisions or {}, **more)
    assert isinstance(got, Begun), f"resume_turn gave {got}"
    return Driven(store, got)


async def answered(store: SessionStore, text: str = "hi", session: str = S, **more: Any) -> None:
    """A whole turn without calls."""
    turn = await begun(store, session, text, **more)
    await turn.record(turn.answers())
    turn.ends()


async def pending(store: SessionStore, session: str = S) -> Driven:
    """A turn that was cancelled: `call_0` was started and is in doubt, `call_1` never ran."""
    turn = await begun(store, session)
    await turn.record(turn.asks("pay", "look"), turn.starts(0))
    await turn.record(turn.cancels())
    turn.ends()
    return turn


async def seen(store: SessionStore, session: str) -> dict[str, object]:
    """All that can be read of one session."""
    of = SessionId(session)
    history = await store.history(of)
    messages = await store.messages(of, include_compacted=True, mark_damage=False)
    return {
        "info": await store.session_info(of),
        "history": history,
        "messages": messages,
        "outputs": [await store.output(of, f"{history.key}.{m.seq}") for m in messages if m.role == "tool"],
        "pending": await store.pending(of),
        "calls": await store.calls(of),
        "turns": await store.turns(of),
        "usage": await store.usage(of, None),
        "inbox": await store.queued_inputs(of),
        "events": await store.events(of, 0, 10_000),
        "waits": await store.waits(of, decided=True),
        "memories": await store.memories(of),
    }


async def everything(store: SessionStore) -> dict[str, object]:
    """All that can be read of a store."""
    sessions = [info.session_id for info in await store.list_sessions(ALL)]
    return {
        "sessions": sessions,
        "orphans": await store.orphans(),
        "stops": await store.stops_requested(),
        "steered": await store.steered(),
        "unattended": await store.unattended(),
        **{f"session {session}": await seen(store, session) for session in sessions},
    }


@asynccontextmanager
async def opened(open_store: OpenStore) -> AsyncIterator[SessionStore]:
    """The store of a test, closed at its end."""
    store = await open_store()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def unchanged(store: SessionStore) -> AsyncIterator[None]:
    """Whatever is tried inside leaves every answer of the store as it was."""
    before = await everything(store)
    yield
    assert await everything(store) == before


async def settled(store: SessionStore, session: str = S) -> list[tuple[str, str]]:
    """The ledger in short: id and state of every call."""
    return [(call.id, str(call.state)) for call in await store.calls(SessionId(session))]


async def texts(store: SessionStore, session: str = S) -> list[str]:
    """What the model sees, in short: `role text`."""
    found = await store.messages(SessionId(session), include_compacted=False, mark_damage=False)
    return [f"{message.role} {message.text}".rstrip() for message in found]
