"""History folded and unfolded: rows move between what the model sees and what it does not; nothing is deleted."""

from __future__ import annotations

from power_loop.engine import facts as f
from power_loop.errors import (
    CompactionNotFoundError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    StateError,
)
from power_loop.store import parsing, records, seals
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import Owner, undriven
from power_loop.values import Micros, SessionId


def fold_rows(db: Port, at: Micros, key: int, fact: f.HistoryCompacted, *, turn: int, usage_rows: int) -> int:
    """Mark exactly the folded rows, put the notes in their place, and write the audit row; its number.

    `usage_rows`: how many the session has, those of this compaction included. The caller counts the rest.

    Raises:
        StateError: a message to fold is not what the model sees.
    """
    numbered = db.one("next_compaction", session=key)
    assert numbered is not None
    number: int = numbered["number"]
    for seq in fact.folded:
        if db.run("fold_message", session=key, seq=seq, compaction=number) != 1:
            raise StateError(f"message {seq} is not active and cannot be folded")
    for note in fact.notes:
        rows.insert_message(db, at, key, turn, note, note_of=number)
    db.run(
        "insert_compaction",
        session=key,
        number=number,
        turn=turn,
        strategy=fact.strategy,
        first_seq=min(fact.folded),
        last_seq=max(fact.folded),
        folded=len(fact.folded),
        note_seq=fact.notes[0].seq,
        notes=len(fact.notes),
        before_tokens=fact.before_tokens,
        after_tokens=fact.after_tokens,
        model=fact.model,
        usage_rows=usage_rows,
        at=at,
        crc=seals.compaction_seal(key, number, fact.strategy, fact.model),
    )
    return number


def compact_session(
    db: Port, at: Micros, owner: Owner, session_id: SessionId, epoch: int, fact: f.HistoryCompacted
) -> records.CompactionInfo:
    """Fold history outside a turn, as it was read under that epoch. A live turn whose owner died is written down.

    Raises:
        SessionBusyError: somebody drives the session, or had it since; nothing is changed.
        SessionNotFoundError, SessionArchivedError, SessionClosedError: nothing is changed.
    """
    session = _open(owner, rows.session_row(db, session_id))
    if session.epoch != epoch or session.next_seq != fact.notes[0].seq:
        raise SessionBusyError(session.id, "somebody else", None)
    facts = [*rows.interrupt_dead(db, at, session), fact]
    turn = session.next_turn - 1
    for more, call in enumerate(fact.model_calls, 1):
        rows.insert_usage(db, at, session.key, turn, session.usage_rows + more, call)
    usage_rows = session.usage_rows + len(fact.model_calls)
    number = fold_rows(db, at, session.key, fact, turn=turn, usage_rows=usage_rows)
    db.run(
        "fold_session",
        session=session.key,
        epoch=epoch,
        at=at,
        more_seq=len(fact.notes),
        more_active=len(fact.notes) - len(fact.folded),
        more_usage=len(fact.model_calls),
        context_tokens=fact.after_tokens,
        context_window=fact.window,
        more_events=len(facts),
    )
    rows.report(db, at, session.key, session.events + len(facts), facts, usage=session.usage_rows + 1)
    return _compaction(db, session, number)


def count_failed_compaction(
    db: Port, at: Micros, owner: Owner, session_id: SessionId, fact: f.CompactionFailed
) -> None:
    """Write down that a compaction outside a turn failed, and what it cost for nothing; history stays as it is.

    Raises:
        SessionBusyError, SessionNotFoundError, SessionArchivedError, SessionClosedError: nothing is changed.
    """
    session = _open(owner, rows.session_row(db, session_id))
    for more, call in enumerate(fact.model_calls, 1):
        rows.insert_usage(db, at, session.key, session.next_turn - 1, session.usage_rows + more, call)
    db.run("count_failed_compaction", session=session.key, more_usage=len(fact.model_calls), more_events=1, at=at)
    rows.report(db, at, session.key, session.events + 1, [fact], usage=session.usage_rows + 1)


def undo_compaction(db: Port, at: Micros, owner: Owner, session_id: SessionId) -> records.CompactionInfo:
    """Put the messages of the latest compaction that stands back in their places, and what stood for them out.

    Raises:
        CompactionNotFoundError: none stands; nothing is changed.
        SessionBusyError, SessionNotFoundError, SessionArchivedError, SessionClosedError: nothing is changed.
    """
    session = _open(owner, rows.session_row(db, session_id))
    row = db.one("last_compaction", session=session.key)
    if row is None:
        raise CompactionNotFoundError(session.id)
    done = parsing.compaction_of(db, session, row)
    undone = f.CompactionUndone(session=session.id, turn=session.next_turn - 1, compaction=done.number)
    facts = [*rows.interrupt_dead(db, at, session), undone]
    put_out = db.run("put_notes_out", session=session.key, number=done.number, note_seq=done.note_seq)
    restored = db.run(
        "restore_messages", session=session.key, number=done.number, first_seq=done.first_seq, last_seq=done.last_seq
    )
    if (put_out, restored) != (done.notes, done.folded):
        raise parsing.damaged(db, session.id, f"the list of messages that compaction {done.number} folded")
    db.run("undo_compaction", session=session.key, number=done.number, usage_rows=session.usage_rows, at=at)
    tokens = max(0, (session.context_tokens or done.after_tokens) + done.before_tokens - done.after_tokens)
    db.run(
        "fold_session",
        session=session.key,
        epoch=session.epoch,
        at=at,
        more_seq=0,
        more_active=restored - put_out,
        more_usage=0,
        context_tokens=tokens,
        context_window=None,
        more_events=len(facts),
    )
    rows.report(db, at, session.key, session.events + len(facts), facts)
    return _compaction(db, session, done.number)


def _compaction(db: Port, session: records.SessionRow, number: int) -> records.CompactionInfo:
    row = db.one("compaction_by_number", session=session.key, number=number)
    assert row is not None
    return parsing.compaction_of(db, session, row)


def _open(owner: Owner, session: records.SessionRow) -> records.SessionRow:
    if session.closed:
        raise SessionClosedError(session.id)
    if session.archived:
        raise SessionArchivedError(session.id)
    return undriven(owner, session)
