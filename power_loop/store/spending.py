"""What was spent, by the rows: no restart resets it, and none is believed that is not what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from power_loop.engine.turns import TurnState
from power_loop.rules import Spent
from power_loop.store import reads, records
from power_loop.store.port import Port
from power_loop.store.transactions import manage, rows
from power_loop.values import Micros, SessionId, from_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What others than the turn that asks have spent."""

    turn: Spent
    """The turns that it goes on from."""
    session: Spent
    tree: Spent


def spending(db: Port, at: Micros, session_id: SessionId, origin: int, besides: int, *, tree: bool) -> Spending:
    """What was spent on an input, in its session and, where asked for, in its session's tree, `besides` one turn.

    Raises:
        StoreDamagedError: a row is not what was written, or is missing.
    """
    session = rows.session_row(db, session_id)
    own = [turn for turn in reads.turns(db, session.id) if turn.number != besides]
    of_origin = {turn.number for turn in own if turn.origin == origin}
    total = _spent(db, at, session, own, lambda number: number != besides)
    others = Spent()
    if tree:
        root = rows.session_by_key(db, reads.root_of(db, session))
        for member in manage.family(db, root):
            if member.key != session.key:
                others += _spent(db, at, member, reads.turns(db, member.id), lambda number: True)
    return Spending(
        turn=_spent(db, at, session, [turn for turn in own if turn.number in of_origin], of_origin.__contains__),
        session=total,
        tree=total + others,
    )


def _spent(
    db: Port,
    at: Micros,
    session: records.SessionRow,
    turns: list[records.TurnInfo],
    counts: Callable[[int], bool],
) -> Spent:
    paid = [row for row in reads.usage(db, session.id, None) if row.purpose != "overflow" and counts(row.turn)]
    costs = [row.cost for row in paid]
    return Spent(
        rounds=sum(turn.rounds for turn in turns),
        tokens=sum((row.prompt_tokens or 0) + (row.completion_tokens or 0) for row in paid),
        cost=sum(cost for cost in costs if cost is not None) if None not in costs else None,
        seconds=sum(_seconds(db, at, session, turn) for turn in turns),
    )


def _seconds(db: Port, at: Micros, session: records.SessionRow, turn: records.TurnInfo) -> float:
    """How long a turn ran. Of one whose process died that is until its last message: when it was found says nothing."""
    ended = turn.ended_at or from_micros(at)
    if turn.state is TurnState.INTERRUPTED:
        row = db.one("last_message_of_turn", session=session.key, turn=turn.number)
        at_last = None if row is None else row["at"]
        ended = turn.started_at if at_last is None else min(ended, from_micros(at_last))
    return max(0.0, (ended - turn.started_at).total_seconds())
