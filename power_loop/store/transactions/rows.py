"""The small writes that several transactions share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from llm_client.messages import ToolMessage, wire
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy, WaitKind, check_move
from power_loop.engine.outputs import Output
from power_loop.engine.turns import TurnState, after
from power_loop.errors import SessionNotFoundError, StateError, StoreDamagedError
from power_loop.store import parsing, records, seals
from power_loop.store.events import packed
from power_loop.store.port import Port, Row
from power_loop.values import CallKey, Micros, SessionId, Status


def session_by_key(db: Port, key: int) -> records.SessionRow:
    row = db.one("session_by_key", key=key)
    if row is None:
        raise parsing.damaged(db, f"number {key}", "the row")
    return parsing.session_of(db, row)


def session_row(db: Port, session: SessionId) -> records.SessionRow:
    """Raises `SessionNotFoundError`."""
    row = db.one("session_by_id", id=session)
    if row is None:
        if db.one("session_by_scan", id=session) is not None:
            raise parsing.damaged(db, session, "the index entry")
        raise SessionNotFoundError(session)
    return parsing.session_of(db, row)


def last_turn(db: Port, session: records.SessionRow) -> records.TurnInfo | None:
    row = db.one("last_turn", session=session.key)
    if row is None:
        if session.next_turn > 1:
            raise parsing.damaged(db, session.id, "the list of turns")
        return None
    turn = parsing.turn_of(db, session, row)
    if turn.number != session.next_turn - 1:
        raise parsing.damaged(db, session.id, "the list of turns")
    return turn


def open_calls(db: Port, session: records.SessionRow) -> list[records.CallInfo]:
    calls = [parsing.call_of(db, session, row) for row in db.all("open_calls", session=session.key)]
    for call in calls:
        if not call.state.open:
            raise parsing.damaged(db, session.id, f"call {call.id}", call.key.seq)
    if calls:
        calls = with_waits(db, session, calls)
    kept = db.one("results_awaited", session=session.key, next_seq=session.next_seq)
    awaited = 0 if kept is None else kept["awaited"]
    if len(calls) != awaited:
        raise missing_calls(db, session, len(calls), awaited)
    return calls


def waits_of(
    db: Port, session: records.SessionRow, calls: Iterable[records.CallInfo]
) -> dict[tuple[CallKey, WaitKind], records.WaitInfo]:
    """What these calls wait for, or waited for.

    Raises:
        StoreDamagedError: some of what the session has waited for is not there, or not what was written.
    """
    all_waits(db, session)
    by_key = {call.key: call for call in calls}
    waits = [
        parsing.wait_of(db, session, call, row)
        for seq in dict.fromkeys(key.seq for key in by_key)
        for row in db.all("waits_of_answer", session=session.key, seq=seq)
        if (call := by_key.get(CallKey(row["seq"], row["ordinal"]))) is not None
    ]
    return {(wait.key, wait.kind): wait for wait in waits}


def all_waits(db: Port, session: records.SessionRow) -> None:
    """Raises `StoreDamagedError` unless the session has as many rows of waits as it counts."""
    row = db.one("how_many_wait", session=session.key)
    if row is None or row["waits"] != session.waits:
        raise parsing.damaged(db, session.id, "the list of what its calls wait for")


def with_waits(db: Port, session: records.SessionRow, calls: Sequence[records.CallInfo]) -> list[records.CallInfo]:
    """The same, each with what it waits for."""
    waits = waits_of(db, session, calls)
    waiting = [call.key for call in calls if call.state is CallState.AWAITING_APPROVAL]
    if any((key, WaitKind.APPROVAL) not in waits for key in waiting):
        raise parsing.damaged(db, session.id, "the list of what its calls wait for")
    if not waits:
        return list(calls)
    return [
        replace(call, approval=waits.get((call.key, WaitKind.APPROVAL)), awaited=waits.get((call.key, WaitKind.RESULT)))
        for call in calls
    ]


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in the way of a new turn."""

    open_calls: bool
    live: bool
    """A turn that nobody drives any more has not been ended."""
    inputs: bool
    """Inputs wait in the inbox."""
    answered: int
    """Where the last answer stands; 0 if there is none."""


def standing(db: Port, session: records.SessionRow) -> Standing:
    row = db.one("what_stands_in_the_way", session=session.key, next_seq=session.next_seq)
    assert row is not None
    if (row["last_turn"] or 0) != session.next_turn - 1:
        raise parsing.damaged(db, session.id, "the list of turns")
    if row["open_calls"] != (row["awaited"] or 0):
        raise missing_calls(db, session, row["open_calls"], row["awaited"] or 0)
    return Standing(bool(row["open_calls"]), bool(row["live"]), bool(row["inputs"]), row["answered"] or 0)


def last_answer(db: Port, session: records.SessionRow) -> int:
    """Where the last turn that was answered has its answer; 0 if there is none."""
    row = db.one("last_answer", session=session.key)
    return 0 if row is None else int(row["answer_seq"])


def missing_calls(db: Port, session: records.SessionRow, found: int, awaited: int) -> StoreDamagedError:
    """A damaged index: not to see an open call is as bad as to forget it."""
    return parsing.damaged(db, session.id, f"the list of open calls ({found} of {awaited} are there)")


def report(db: Port, at: Micros, key: int, last: int, facts: Sequence[f.Fact], *, usage: int = 0) -> None:
    """Store the facts of this commit as its event; the caller counts them, up to `last`.

    `usage`: the number of the first usage row that they bring.
    """
    if facts:
        number, body = last - len(facts) + 1, packed(facts, usage)
        crc = seals.event_seal(key, number, len(facts), body, at)
        db.run("insert_event", session=key, number=number, facts=len(facts), body=body, at=at, crc=crc)


def change(
    db: Port,
    at: Micros,
    session: records.SessionRow,
    facts: Sequence[f.Fact],
    *,
    more_active: int = 0,
    freed: bool = False,
) -> None:
    """Note that somebody outside any turn changed the session, and store what happened to it as the commit's event."""
    db.run(
        "change_session",
        session=session.key,
        more_active=more_active,
        more_events=len(facts),
        at=at,
        freed=int(freed),
    )
    report(db, at, session.key, session.events + len(facts), facts)


def insert_message(
    db: Port, at: Micros, key: int, turn: int, message: f.NewMessage, *, note_of: int | None = None
) -> None:
    db.run(
        "insert_message",
        session=key,
        seq=message.seq,
        turn=turn,
        place=message.seq if message.place is None else message.place,
        role=message.role,
        note_of=note_of,
        pinned=int(message.pinned),
        body=message.body,
        provider=message.provider,
        at=at,
        crc=seals.message_seal(key, message, turn, note_of, at),
    )


def insert_output(db: Port, key: int, seq: int, output: Output) -> None:
    db.run(
        "insert_output",
        session=key,
        seq=seq,
        characters=output.characters,
        data=output.data,
        crc=seals.output_seal(key, seq, output),
    )


def take_input(db: Port, at: Micros, session: records.SessionRow, row: Row, turn: int, seq: int) -> f.NewMessage:
    """Make a waiting input a message of a turn; the caller counts it.

    Raises:
        StateError: it does not wait any more.
    """
    waiting = parsing.input_of(db, session, row)
    message = f.NewMessage(seq=seq, role="user", body=waiting.body, pinned=waiting.pinned)
    insert_message(db, at, session.key, turn, message)
    said = (row["mode"], row["request_id"], row["metadata"], None)
    crc = seals.input_seal(session.key, said, row["sender"], row["arrived_at"], (turn, seq), pinned=waiting.pinned)
    if db.run("take_input", number=row["number"], turn=turn, seq=seq, at=at, crc=crc) != 1:
        raise StateError(f"input {row['number']} of session {session.id} does not wait any more")
    return message


def settle(
    db: Port,
    at: Micros,
    key: int,
    call: CallKey,
    move: tuple[CallState, CallState],
    settled_by: SettledBy,
    result_seq: int,
) -> None:
    """Raises `StateError` if the call is not in the state it is believed in."""
    before, state = move
    check_move(before, state)
    changed = db.run(
        "settle_call",
        session=key,
        seq=call.seq,
        ordinal=call.ordinal,
        from_state=before,
        state=state,
        settled_by=settled_by,
        result_seq=result_seq,
        at=at,
    )
    if changed != 1:
        raise StateError(f"call {call.ordinal} of message {call.seq} is not {before} any more")


def answer_call(
    db: Port,
    at: Micros,
    session: records.SessionRow,
    call: records.CallInfo,
    content: str,
    outcome: tuple[CallState, SettledBy],
    *,
    output: Output | None = None,
) -> f.CallSettled:
    """Store a result for an open call, at the place its answer reserved for it, and settle it; the fact that it is.

    `output`: the whole result, where `content` is a part of it.
    """
    state, settled_by = outcome
    seq = call.key.seq + 1 + call.key.ordinal
    body = wire(ToolMessage(content=content, tool_call_id=call.id))
    message = f.NewMessage(seq=seq, role="tool", body=body)
    insert_message(db, at, session.key, call.turn, message)
    if output is not None:
        insert_output(db, session.key, seq, output)
    settle(db, at, session.key, call.key, (call.state, state), settled_by, seq)
    turn = session.next_turn - 1
    return f.CallSettled(
        session=session.id,
        turn=turn,
        key=call.key,
        state=state,
        settled_by=settled_by,
        message=message,
        output=output,
    )


def abort_calls(
    db: Port, at: Micros, session: records.SessionRow, calls: Iterable[records.CallInfo], reason: str
) -> list[f.NewMessage]:
    """Answer each open call with the reason; those answers."""
    answers = []
    for call in calls:
        ran = "It was started; it may have happened fully, partly or not at all." if call.attempt else "It did not run."
        text = f"[aborted: {reason}] {ran}"
        answered = answer_call(db, at, session, call, text, (CallState.ABORTED, SettledBy.ABORT))
        answers.append(answered.message)
    return answers


def aborted(session: records.SessionRow, calls: Iterable[records.CallInfo], reason: str) -> list[f.Fact]:
    """The fact that these calls were given up, if there are any."""
    keys = tuple(call.key for call in calls)
    return [f.CallsAborted(session=session.id, turn=session.next_turn - 1, calls=keys, reason=reason)] if keys else []


def interrupt_dead(db: Port, at: Micros, session: records.SessionRow) -> list[f.Fact]:
    """Write down that the owner of the session's live turn is gone, if it has one: that fact."""
    turn = last_turn(db, session)
    if turn is None or not turn.state.live:
        return []
    fact = f.TurnInterrupted(session=session.id, turn=turn.number)
    move = (turn.state, after(turn.state, fact))
    end_turn(db, at, session.key, turn.number, move, Status.INTERRUPTED, fact.stop_reason)
    return [fact]


def end_turn(
    db: Port,
    at: Micros,
    key: int,
    number: int,
    move: tuple[TurnState, TurnState],
    status: str,
    stop_reason: str | None,
    *,
    error: tuple[str, str] | None = None,
    answer_seq: int | None = None,
    rounds: int = 0,
) -> None:
    """Raises `StateError` if the turn is not where it is believed to be."""
    before, state = move
    error_code, text = error or (None, None)
    changed = db.run(
        "end_turn",
        session=key,
        turn=number,
        from_state=before,
        state=state,
        status=status,
        stop_reason=stop_reason,
        error_code=error_code,
        error=text,
        answer_seq=answer_seq,
        rounds=rounds,
        at=at,
        end_crc=seals.end_seal(status, stop_reason, error_code, text, answer_seq),
    )
    if changed != 1:
        raise StateError(f"turn {number} is not {before} any more")


def insert_usage(db: Port, at: Micros, key: int, turn: int, number: int, call: f.ModelCall) -> None:
    """`number`: counted in the session already."""
    usage = call.usage
    tokens = (
        (None, None, None, None)
        if usage is None
        else (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
    )
    cost = None if call.cost is None else float(call.cost)
    db.run(
        "insert_usage",
        session=key,
        number=number,
        turn=turn,
        purpose=call.purpose,
        model=call.model,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        cached_tokens=tokens[2],
        reasoning_tokens=tokens[3],
        cost=cost,
        milliseconds=call.milliseconds,
        at=at,
        crc=seals.usage_seal(key, turn, call.purpose, call.model, tokens, (cost, call.milliseconds, at)),
    )
