"""What a driver records while it holds a session: one function a fact, all facts of one call in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, WaitKind, arguments_hash, check_move
from power_loop.engine.turns import TurnState, after
from power_loop.errors import StateError
from power_loop.store import seals
from power_loop.store.port import Port
from power_loop.store.transactions import rows, waits
from power_loop.store.transactions.begin import Claim
from power_loop.store.transactions.compact import fold_rows
from power_loop.store.transactions.held import lost, turn_state
from power_loop.store.transactions.step import Step
from power_loop.values import CallKey, Micros, Status


def record(db: Port, at: Micros, claim: Claim, facts: Sequence[f.Fact]) -> int:
    """Commit the facts of our turn together; the number of the last event.

    Raises:
        EpochLostError: another process took the session over; nothing is recorded.
        StateError: a fact does not follow from what is stored; nothing is recorded.
    """
    step = Step.of(claim, facts)
    ours = db.one(
        "leave_session" if step.ended else "advance_session",
        session=claim.key,
        epoch=claim.epoch,
        at=at,
        next_seq=step.next_seq,
        more_active=step.more_active,
        more_usage=step.more_usage,
        progress=int(step.progress),
        context_tokens=None if step.context is None else step.context.tokens,
        context_window=None if step.context is None else step.context.window,
        compacted=int(step.compacted),
        failed_compactions=step.failed_compactions,
        more_events=len(facts),
    )
    if ours is None:
        raise lost(db, claim)
    step.usage_rows = ours["usage_rows"] - step.more_usage
    if step.goes_on:
        raise StateError(f"turn {claim.turn} of session {claim.session} would go on after its end")
    for fact in facts:
        recorder = RECORD.get(type(fact))
        if recorder is None:
            raise StateError(f"{type(fact).__name__} is not for the driver of a turn to record")
        recorder(db, at, step, fact)
    last: int = ours["events"]
    rows.report(db, at, claim.key, last, facts, usage=ours["usage_rows"] - step.more_usage + 1)
    return last


def record_answer(db: Port, at: Micros, step: Step, fact: f.AnswerReceived) -> None:
    claim = step.claim
    rows.insert_message(db, at, claim.key, claim.turn, fact.message)
    step.spend(db, at, fact.model_call)
    rows.end_turn(
        db,
        at,
        claim.key,
        claim.turn,
        (TurnState.ASKING, TurnState.DONE),
        fact.status,
        fact.stop_reason,
        answer_seq=fact.message.seq,
        rounds=int(fact.status != Status.HIT_ROUND_LIMIT),
    )


def request_calls(db: Port, at: Micros, step: Step, fact: f.CallsRequested) -> None:
    """The message and its calls; those whose start is part of this commit are started from the first."""
    claim = step.claim
    rows.insert_message(db, at, claim.key, claim.turn, fact.message)
    for call in fact.calls:
        hashes = (arguments_hash(call.arguments), call.schema_hash)
        db.run(
            "insert_call",
            session=claim.key,
            seq=call.key.seq,
            ordinal=call.key.ordinal,
            turn=claim.turn,
            id=call.id,
            name=call.name,
            arguments=call.arguments,
            arguments_hash=hashes[0],
            schema_hash=hashes[1],
            effect=call.effect,
            started=int(call.key in step.started),
            epoch=claim.epoch,
            at=at,
            crc=seals.call_seal(
                claim.key, call.key, (call.id, call.name, call.arguments), hashes, call.effect, claim.turn, at
            ),
        )
    step.started -= {call.key for call in fact.calls}
    step.spend(db, at, fact.model_call)
    _move(db, claim, TurnState.ASKING, TurnState.ACTING, rounds=1, tool_calls=len(fact.calls))


def continue_turn(db: Port, at: Micros, step: Step, fact: f.AnswerContinued) -> None:
    """The answer, and behind it the note that says what is missing."""
    claim = step.claim
    rows.insert_message(db, at, claim.key, claim.turn, fact.message)
    rows.insert_message(db, at, claim.key, claim.turn, fact.note)
    step.spend(db, at, fact.model_call)
    _move(db, claim, TurnState.ASKING, after(TurnState.ASKING, fact), rounds=1)


def note(db: Port, at: Micros, step: Step, fact: f.Noted) -> None:
    after(turn_state(db, step.claim), fact)
    rows.insert_message(db, at, step.claim.key, step.claim.turn, fact.message)


def remember(db: Port, at: Micros, step: Step, fact: f.RulesRemembered) -> None:
    claim = step.claim
    after(turn_state(db, claim), fact)
    for one in fact.memories:
        crc = seals.rule_seal(claim.key, one.name, one.memory, claim.turn, at)
        db.run("remember", session=claim.key, name=one.name, memory=one.memory, turn=claim.turn, at=at, crc=crc)
    db.run("count_rules", session=claim.key)


def complete_turn(db: Port, at: Micros, step: Step, fact: f.TurnCompleted) -> None:
    claim = step.claim
    move = (TurnState.ASKING, TurnState.DONE)
    status, answer = Status.COMPLETED, fact.answer_seq
    rows.end_turn(db, at, claim.key, claim.turn, move, status, fact.stop_reason, answer_seq=answer)


def request_approvals(db: Port, at: Micros, step: Step, fact: f.ApprovalsRequested) -> None:
    claim = step.claim
    after(turn_state(db, claim), fact)
    for wait in fact.calls:
        key = wait.key
        if db.run("await_approval", session=claim.key, seq=key.seq, ordinal=key.ordinal) != 1:
            raise StateError(f"call {key.ordinal} of message {key.seq} cannot wait for an approval any more")
        waits.ask(db, at, claim.key, WaitKind.APPROVAL, wait)


def await_results(db: Port, at: Micros, step: Step, fact: f.ResultsAwaited) -> None:
    _start(db, at, step, [wait.key for wait in fact.calls])
    for wait in fact.calls:
        waits.ask(db, at, step.claim.key, WaitKind.RESULT, wait)


def drop_answer(db: Port, at: Micros, step: Step, fact: f.AnswerDropped | f.ContextOverflowed) -> None:
    """What an answer of no use cost, or what the endpoint counted of a request that it refused."""
    after(turn_state(db, step.claim), fact)
    step.spend(db, at, fact.model_call)


def record_failed_compaction(db: Port, at: Micros, step: Step, fact: f.CompactionFailed) -> None:
    after(turn_state(db, step.claim), fact)
    for call in fact.model_calls:
        step.spend(db, at, call)


def start_calls(db: Port, at: Micros, step: Step, fact: f.CallsStarted) -> None:
    _start(db, at, step, fact.calls)


def _start(db: Port, at: Micros, step: Step, keys: Sequence[CallKey]) -> None:
    claim = step.claim
    for key in keys:
        if key not in step.started:
            continue  # it was requested by this very commit
        changed = db.run("start_call", session=claim.key, seq=key.seq, ordinal=key.ordinal, epoch=claim.epoch, at=at)
        if changed != 1:
            raise StateError(f"call {key.ordinal} of message {key.seq} cannot start: it is settled")


def settle_call(db: Port, at: Micros, step: Step, fact: f.CallSettled) -> None:
    """The result as the model is shown it and, where that is a part, the whole of it."""
    claim = step.claim
    before = _state_of(db, claim, fact.key)
    check_move(before, fact.state)
    rows.insert_message(db, at, claim.key, claim.turn, fact.message)
    if fact.output is not None:
        rows.insert_output(db, claim.key, fact.message.seq, fact.output)
    rows.settle(db, at, claim.key, fact.key, (before, fact.state), fact.settled_by, fact.message.seq)


def close_round(db: Port, at: Micros, step: Step, fact: f.RoundClosed) -> None:
    claim = step.claim
    moved = db.run(
        "close_round",
        session=claim.key,
        turn=claim.turn,
        from_state=TurnState.ACTING,
        state=after(TurnState.ACTING, fact),
    )
    if moved != 1:
        raise StateError(f"round {fact.round} of turn {claim.turn} has open calls, or is not one any more")


def record_compaction(db: Port, at: Micros, step: Step, fact: f.HistoryCompacted) -> None:
    """Mark exactly the folded rows and put what stands for them in their place."""
    after(turn_state(db, step.claim), fact)
    for call in fact.model_calls:
        step.spend(db, at, call)
    fold_rows(db, at, step.claim.key, fact, turn=step.claim.turn, usage_rows=step.usage_rows)


def park_turn(db: Port, at: Micros, step: Step, fact: f.TurnParked) -> None:
    claim = step.claim
    rows.end_turn(db, at, claim.key, claim.turn, (TurnState.ACTING, TurnState.WAITING), fact.status, fact.stop_reason)


def fail_turn(db: Port, at: Micros, step: Step, fact: f.TurnFailed) -> None:
    claim = step.claim
    move = (turn_state(db, claim), TurnState.FAILED)
    error = (fact.error_code, fact.error)
    rows.end_turn(db, at, claim.key, claim.turn, move, Status.FAILED, fact.error_code, error=error)


def cancel_turn(db: Port, at: Micros, step: Step, fact: f.TurnCancelled) -> None:
    claim = step.claim
    move = (turn_state(db, claim), TurnState.CANCELLED)
    rows.end_turn(db, at, claim.key, claim.turn, move, fact.status, fact.stop_reason)


Recorder = Callable[[Port, Micros, Step, Any], None]

RECORD: Final[Mapping[type[f.Fact], Recorder]] = {
    f.AnswerReceived: record_answer,
    f.CallsRequested: request_calls,
    f.AnswerDropped: drop_answer,
    f.AnswerContinued: continue_turn,
    f.Noted: note,
    f.RulesRemembered: remember,
    f.TurnCompleted: complete_turn,
    f.ApprovalsRequested: request_approvals,
    f.ResultsAwaited: await_results,
    f.CallsStarted: start_calls,
    f.CallSettled: settle_call,
    f.RoundClosed: close_round,
    f.HistoryCompacted: record_compaction,
    f.CompactionFailed: record_failed_compaction,
    f.ContextOverflowed: drop_answer,
    f.TurnParked: park_turn,
    f.TurnFailed: fail_turn,
    f.TurnCancelled: cancel_turn,
}


def _move(db: Port, claim: Claim, before: TurnState, state: TurnState, *, rounds: int = 0, tool_calls: int = 0) -> None:
    moved = db.run(
        "move_turn",
        session=claim.key,
        turn=claim.turn,
        from_state=before,
        state=state,
        rounds=rounds,
        tool_calls=tool_calls,
    )
    if moved != 1:
        raise StateError(f"turn {claim.turn} is not {before} any more")


def _state_of(db: Port, claim: Claim, key: CallKey) -> CallState:
    row = db.one("call_state", session=claim.key, seq=key.seq, ordinal=key.ordinal)
    if row is None:
        raise StateError(f"there is no call {key.ordinal} of message {key.seq}")
    return CallState(row["state"])
