"""What somebody outside says of calls that wait: an approval, or a result. Bound to what is to run, and kept.

A decision is a row of its own, which needs no ownership: anybody may decide at any time. What follows from it (the call
may run, is denied, has its result) is done in the same commit where nobody drives the session, else by the next turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, Decision, SettledBy, WaitKind, arguments_hash, edited
from power_loop.engine.outputs import Output
from power_loop.errors import (
    ApprovalChangedError,
    ApprovalDecidedError,
    ApprovalExpiredError,
    CallNotFoundError,
    CallSettledError,
    SessionClosedError,
)
from power_loop.store import parsing, records, seals
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import Owner
from power_loop.transcript.recall import Handle, says_in_short, shown_in_short
from power_loop.values import Micros, SessionId, to_micros

SPENT: Final = "its approval is spent; it is for one call only"
NO_APPROVAL: Final = "it waits for nobody's approval"
NO_RESULT: Final = "it waits for no result of the host's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A person's word about a call that waits for it."""

    approved: bool
    by: str | None = None
    reason: str | None = None
    arguments: str | None = None
    """JSON text of what is to run in place of what was asked about."""
    seen: str | None = None
    """The hash of the arguments whoever decides has seen; None: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """What the host gives as the result of a call."""

    content: str
    part: str | None = None
    """What the model is shown of a long one; None: all of it."""
    failed: bool = False


def ask(db: Port, at: Micros, key: int, kind: WaitKind, wait: f.Wait) -> None:
    """Store what a call waits for."""
    db.run(
        "insert_wait",
        session=key,
        seq=wait.key.seq,
        ordinal=wait.key.ordinal,
        kind=kind,
        arguments=wait.arguments,
        arguments_hash=arguments_hash(wait.arguments),
        reason=wait.reason,
        expires_at=wait.expires_at,
        at=at,
        crc=seals.wait_seal(key, kind, wait, at),
    )
    db.run("count_wait", session=key)


def decide_approval(
    db: Port, at: Micros, owner: Owner, session_id: SessionId, call_id: str, said: Said
) -> records.WaitInfo:
    """Record whether a call may run; the same decision once more changes nothing.

    Raises:
        CallNotFoundError: no such call.
        CallSettledError: it has run, was given up, or waits for nobody's approval.
        ApprovalDecidedError: it was decided otherwise.
        ApprovalExpiredError: nobody decided in time.
        ApprovalChangedError: what was seen is not what would run.
        SessionClosedError, SessionNotFoundError: as they say. Nothing is changed by any of these.
    """
    session = rows.session_row(db, session_id)
    call, wait = _call(db, session, call_id, WaitKind.APPROVAL)
    decision = Decision.APPROVED if said.approved else Decision.DENIED
    if wait is not None and said.seen is not None and said.seen != wait.arguments_hash:
        raise ApprovalChangedError(session.id, call_id, said.seen, wait.arguments_hash)
    if wait is not None and wait.decision is decision and wait.changed == said.arguments:
        if call.state in (CallState.AWAITING_APPROVAL, CallState.REQUESTED, CallState.DENIED):
            return wait
        raise CallSettledError(session.id, call_id, str(call.state), SPENT)
    if session.closed:
        raise SessionClosedError(session.id)
    if wait is None or not (call.state.open or call.state is CallState.DENIED):
        raise CallSettledError(session.id, call_id, str(call.state), NO_APPROVAL)
    if wait.decision is not None:
        raise ApprovalDecidedError(session.id, call_id, wait.decision, wait.decided_by)
    if wait.expires_at is not None and to_micros(wait.expires_at) <= at:
        raise ApprovalExpiredError(session.id, call_id, wait.expires_at)
    fact = _decide(db, at, session, wait, decision, (said.arguments, said.reason, None, said.by))
    _follow(db, at, session, [fact])
    return _call(db, session, call_id, WaitKind.APPROVAL)[1] or wait


def submit_results(
    db: Port, at: Micros, owner: Owner, session_id: SessionId, results: Mapping[str, HostResult]
) -> None:
    """Record the results of calls that are the host's, all of them or none; a result that is there already stays.

    Raises:
        CallNotFoundError: one of them is none.
        CallSettledError: one has another result already, or is not the host's.
        SessionClosedError, SessionNotFoundError: as they say. Nothing is changed by any of these.
    """
    session = rows.session_row(db, session_id)
    news = False
    for call_id, result in results.items():
        call, wait = _call(db, session, call_id, WaitKind.RESULT)
        if wait is not None and wait.decision is Decision.ANSWERED and wait.said == result.content:
            continue
        if session.closed:
            raise SessionClosedError(session.id)
        if wait is None or not call.state.open or wait.decision is not None:
            raise CallSettledError(session.id, call_id, str(call.state), NO_RESULT)
        texts = (None, result.content, result.part, None)
        _decide(db, at, session, wait, Decision.ANSWERED, texts, failed=result.failed)
        news = True
    if news:
        _follow(db, at, session, [])


def follow_decisions(
    db: Port, at: Micros, session: records.SessionRow, calls: Iterable[records.CallInfo]
) -> list[f.Fact]:
    """Do what was decided about open calls, and deny those whose approval expired; what happened by that."""
    facts: list[f.Fact] = []
    for call in calls:
        if call.state is CallState.AWAITING_APPROVAL and call.approval is not None:
            wait = call.approval
            if wait.decision is None:
                if not is_expired(call, at):
                    continue
                facts.append(_decide(db, at, session, wait, Decision.EXPIRED, (None, None, None, None)))
            if wait.decision is Decision.APPROVED:
                db.run("let_call_run", session=session.key, seq=call.key.seq, ordinal=call.key.ordinal)
            else:
                by = SettledBy.GATE if wait.decision is None else SettledBy.PERSON
                facts.append(rows.answer_call(db, at, session, call, _denial(wait), (CallState.DENIED, by)))
        elif call.awaited is not None and call.awaited.said is not None:
            state = CallState.FAILED if call.awaited.failed else CallState.SUCCEEDED
            content, output = _shown(session, call, call.awaited.said, call.awaited.part)
            outcome = (state, SettledBy.PERSON)
            facts.append(rows.answer_call(db, at, session, call, content, outcome, output=output))
    return facts


def results(facts: Iterable[f.Fact]) -> list[f.NewMessage]:
    """The results that these facts brought."""
    return [fact.message for fact in facts if isinstance(fact, f.CallSettled)]


def is_expired(call: records.CallInfo, at: Micros) -> bool:
    """Whether it waits for an approval that nobody gave or refused in time."""
    wait = call.approval
    if wait is None or call.state is not CallState.AWAITING_APPROVAL or wait.decision is not None:
        return False
    return wait.expires_at is not None and to_micros(wait.expires_at) <= at


def _follow(db: Port, at: Micros, session: records.SessionRow, said: Sequence[f.Fact]) -> None:
    """Do at once what follows, unless a turn has the session: it runs, or was cut off and is somebody's to recover.

    Then what was `said` is an event all the same, and the next turn does what follows.
    """
    turn = rows.last_turn(db, session)
    if turn is not None and turn.state.live:
        db.run("touch_session", session=session.key, more_events=len(said), at=at)
        rows.report(db, at, session.key, session.events + len(said), said)
        return
    facts = [*said, *follow_decisions(db, at, session, rows.open_calls(db, session))]
    rows.change(db, at, session, facts, more_active=len(results(facts)))


def _call(
    db: Port, session: records.SessionRow, call_id: str, kind: WaitKind
) -> tuple[records.CallInfo, records.WaitInfo | None]:
    """The latest call of that id, and what it waits or waited for."""
    row = db.one("call_by_id", session=session.key, id=call_id)
    if row is None:
        raise CallNotFoundError(session.id, call_id, [call.id for call in rows.open_calls(db, session)])
    call = parsing.call_of(db, session, row)
    waits = rows.waits_of(db, session, [call])
    return call, waits.get((call.key, kind))


def _decide(
    db: Port,
    at: Micros,
    session: records.SessionRow,
    wait: records.WaitInfo,
    decision: Decision,
    texts: tuple[str | None, str | None, str | None, str | None],
    *,
    failed: bool = False,
) -> f.ApprovalDecided:
    """`texts`: the arguments it changed, what was said, the part of it to show, by whom. The fact is one of approvals
    only."""
    changed, said, part, by = texts
    decided = db.run(
        "decide_wait",
        session=session.key,
        seq=wait.key.seq,
        ordinal=wait.key.ordinal,
        kind=wait.kind,
        decision=decision,
        changed=changed,
        said=said,
        part=part,
        failed=int(failed),
        by=by,
        at=at,
        crc=seals.decision_seal(decision, texts, int(failed), at),
    )
    assert decided == 1, "it was read in this transaction as undecided"
    return f.ApprovalDecided(
        session=session.id,
        turn=session.next_turn - 1,
        key=wait.key,
        decision=decision,
        by=by,
        reason=said,
        arguments=changed,
    )


def _shown(
    session: records.SessionRow, call: records.CallInfo, result: str, part: str | None
) -> tuple[str, Output | None]:
    """What the model is shown of a host's result, and the whole where that is a part, or could be taken for one."""
    handle = str(Handle(session.key, call.key.seq + 1 + call.key.ordinal))
    content, output = result, None
    if part is not None or says_in_short(result, handle):
        content = shown_in_short(result if part is None else part, len(result), handle, recalled=True)
        output = Output.of(result)
    changed = None if call.approval is None else call.approval.changed
    return (content if changed is None else edited(content, changed)), output


def _denial(wait: records.WaitInfo) -> str:
    """What the model is told of a call that may not run."""
    if wait.decision is None:
        return "[denied] Nobody approved this call in time. It did not run."
    who = wait.decided_by or "A person"
    reason = "" if wait.said is None else f" The reason: {wait.said}"
    return f"[denied] {who} did not approve this call. It did not run.{reason}"


def waiting_only(calls: Sequence[records.CallInfo], at: Micros) -> bool:
    """Whether nobody outside has said anything yet about any of them."""
    return not any(call.decided or is_expired(call, at) for call in calls)
