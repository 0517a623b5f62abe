"""One plain function a question, over a consistent read. Nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import lt

from power_loop.engine.calls import CallState, OpenCall
from power_loop.errors import OutputNotFoundError, SessionAmbiguousError, SessionNotFoundError
from power_loop.store import parsing, records
from power_loop.store.port import Port
from power_loop.store.transactions import manage, rows
from power_loop.store.transactions.begin import Drives
from power_loop.transcript.recall import Handle, says_in_short
from power_loop.values import CallKey, InputMode, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The active messages in the model's order, and how many tokens they were when last counted."""

    key: int
    epoch: int
    """Of the session, as it was read: a driver that finds another than its own has lost it."""
    messages: list[records.ActiveMessage]
    counted: int | None
    """Tokens up to and including message `counted_seq`, as the provider reported them or a compaction left them."""
    counted_seq: int
    """0 if nobody has counted."""
    folded_since: bool
    """A compaction came after the last report, or one was undone."""
    answered: int = 0
    """Where the last answer to a turn stands; 0: there is none."""


def history(db: Port, session_id: SessionId) -> History:
    """All active messages, and none but what was written.

    Raises:
        StoreDamagedError: one is damaged, or missing.
    """
    session = rows.session_row(db, session_id)
    found = parsing.active_of(db, session, db.all("active_messages", session=session.key))
    _whole(db, session, [message.place for message in found])
    tail = db.all("latest_usage", session=session.key)
    usage = [parsing.usage_of(db, session, row) for row in tail]
    first = usage[0].number if usage else 1
    if [row.number for row in usage] != list(range(first, session.usage_rows + 1)):
        raise parsing.damaged(db, session.id, "the list of usage rows")
    if not usage or usage[0].purpose != "answer" or usage[0].prompt_tokens is None:
        return History(
            key=session.key, epoch=session.epoch, messages=found, counted=None, counted_seq=0, folded_since=False,
            answered=rows.last_answer(db, session),
        )  # fmt: skip
    folded_to, restored = tail[0]["folded_to"], tail[0]["restored"]
    tokens = usage[0].prompt_tokens + (usage[0].completion_tokens or 0) + (restored or 0)
    answers = (message.seq for message in reversed(found) if message.role == "assistant")
    return History(
        key=session.key,
        epoch=session.epoch,
        messages=found,
        counted=tokens if folded_to is None else folded_to,
        counted_seq=next(answers, 0) if folded_to is None else tail[0]["folded_up_to"],
        folded_since=bool(tail[0]["folded_since"]),
        answered=rows.last_answer(db, session),
    )


def _active(db: Port, session: records.SessionRow) -> list[records.StoredMessage]:
    found = [parsing.message_of(db, session, row) for row in db.all("active_messages", session=session.key)]
    if any(message.state != "active" for message in found):
        raise parsing.damaged(db, session.id, "the order of messages")
    _whole(db, session, [message.place for message in found])
    return found


def _whole(db: Port, session: records.SessionRow, places: Sequence[int]) -> None:
    """A damaged index gives sound rows in the wrong order, twice, or those that do not belong here; or not all."""
    _all_there(db, session, "messages", len(places), session.active)
    if any(type(place) is not int for place in places) or not all(map(lt, places, places[1:])):
        raise parsing.damaged(db, session.id, "the order of messages")


def _all_there(db: Port, session: records.SessionRow, things: str, found: int, written: int) -> None:
    """A row that went missing is as bad as one that lies."""
    if found != written:
        raise parsing.damaged(db, session.id, f"the list of {things} ({found} of {written} are there)")


def _in_order(db: Port, session: records.SessionRow, things: str, keys: Sequence[tuple[int | str, ...]]) -> None:
    """Every row once, in its place: a damaged index gives one twice for another."""
    if not all(map(lt, keys, keys[1:])):
        raise parsing.damaged(db, session.id, f"the order of {things}")


def messages(
    db: Port, session_id: SessionId, *, include_compacted: bool, mark_damage: bool
) -> list[records.StoredMessage]:
    session = rows.session_row(db, session_id)
    if not include_compacted and not mark_damage:
        return _active(db, session)
    name = "all_messages" if include_compacted else "active_messages"
    found = [parsing.message_of(db, session, row, mark_damage=mark_damage) for row in db.all(name, session=session.key)]
    if not mark_damage:
        _all_there(db, session, "messages", sum(message.state == "active" for message in found), session.active)
        # Every number up to the next is a message, but for those kept for the results of open calls.
        _all_there(db, session, "messages", len(found), session.next_seq - 1 - len(rows.open_calls(db, session)))
        _in_order(db, session, "messages", [(message.place, message.seq) for message in found])
    return found


def pending(db: Port, drives: Drives, session_id: SessionId) -> list[OpenCall]:
    session = rows.session_row(db, session_id)
    driven = drives(session.key, session.owner)
    return [call.shown_open(driven=driven) for call in rows.open_calls(db, session)]


def calls(db: Port, session_id: SessionId) -> list[records.CallInfo]:
    session = rows.session_row(db, session_id)
    found = [parsing.call_of(db, session, row) for row in db.all("list_calls", session=session.key)]
    asked = db.one("calls_asked", session=session.key)
    assert asked is not None
    _all_there(db, session, "calls", len(found), asked["calls"])
    _in_order(db, session, "calls", [call.key for call in found])
    return found


def calls_of_answer(db: Port, session_id: SessionId, seq: int) -> list[records.CallInfo]:
    """The calls that one answer asks for."""
    session = rows.session_row(db, session_id)
    return [parsing.call_of(db, session, row) for row in db.all("calls_of_answer", session=session.key, seq=seq)]


def waits(db: Port, session_id: SessionId | None, *, decided: bool) -> list[records.WaitInfo]:
    """What open calls wait for and nobody has decided, of one session or of all; with `decided` all that ever was."""
    if session_id is not None:
        sessions = [rows.session_row(db, session_id)]
    else:
        asked = db.all("sessions_with_waits" if decided else "sessions_that_wait")
        sessions = [rows.session_row(db, SessionId(row["id"])) for row in asked]
    found: list[records.WaitInfo] = []
    for session in sessions:
        if decided:
            asked_for = {call.key: call for call in calls(db, session.id)}
            listed = [
                parsing.wait_of(db, session, call, row)
                for row in db.all("list_waits", session=session.key)
                if (call := asked_for.get(CallKey(row["seq"], row["ordinal"]))) is not None
            ]
            _all_there(db, session, "what its calls wait for", len(listed), session.waits)
            _in_order(db, session, "what its calls wait for", [(*wait.key, wait.kind) for wait in listed])
            found += listed
            continue
        for call in rows.open_calls(db, session):
            approval = call.approval if call.state is CallState.AWAITING_APPROVAL else None
            found += [wait for wait in (approval, call.awaited) if wait is not None and wait.decision is None]
    return found


def memories(db: Port, session_id: SessionId) -> dict[str, str]:
    session = rows.session_row(db, session_id)
    found = {row["name"]: parsing.memory_of(db, session, row) for row in db.all("memories", session=session.key)}
    _all_there(db, session, "what its rules remember", len(found), session.rules)
    return found


def output(db: Port, session_id: SessionId, handle: str) -> str:
    """The exact text of a result, by its handle: as it was kept whole, else as its message has it, folded or not.

    Raises:
        OutputNotFoundError: there is none, or it is of a session of another tree; which of the two is not told.
        StoreDamagedError: it is not what was written, or is gone.
    """
    session = rows.session_row(db, session_id)
    place = Handle.parsed(handle)
    of = None if place is None else _relative(db, session, place.session)
    if place is None or of is None:
        raise OutputNotFoundError(session.id, handle)
    whole = db.one("output_by_seq", session=of.key, seq=place.seq)
    if whole is not None:
        return parsing.output_of(db, of, whole)
    row = db.one("message_by_seq", session=of.key, seq=place.seq)
    shown = None if row is None else parsing.message_of(db, of, row)
    if shown is None and place.seq < of.next_seq:
        open_calls = rows.open_calls(db, of)  # whose results have their numbers already
        if all(call.key.seq + 1 + call.key.ordinal != place.seq for call in open_calls):
            raise parsing.damaged(db, of.id, f"message {place.seq}", place.seq)
    if shown is None or shown.role != "tool":
        raise OutputNotFoundError(session.id, handle)
    if says_in_short(shown.text, handle):
        raise parsing.damaged(db, of.id, f"the whole text of message {place.seq}", place.seq)
    return shown.text


def _relative(db: Port, session: records.SessionRow, key: int) -> records.SessionRow | None:
    """The session of that number, if it is of the same tree."""
    if key == session.key:
        return session
    root = root_of(db, session)
    row = db.one("session_by_key", key=key)
    other = None if row is None else parsing.session_of(db, row)
    return other if other is not None and root_of(db, other) == root else None


def root_of(db: Port, session: records.SessionRow) -> int:
    """The number of the session at the top of the tree; each on the way is believed only as it was written."""
    while session.parent is not None:
        above = rows.session_by_key(db, session.parent)
        if above.key >= session.key:
            raise parsing.damaged(db, session.id, "the row")  # parents are older: there is no end to this
        session = above
    return session.key


def turns(db: Port, session_id: SessionId) -> list[records.TurnInfo]:
    session = rows.session_row(db, session_id)
    found = [parsing.turn_of(db, session, row) for row in db.all("list_turns", session=session.key)]
    _all_there(db, session, "turns", len(found), session.next_turn - 1)
    _in_order(db, session, "turns", [(turn.number,) for turn in found])
    return found


def usage(db: Port, session_id: SessionId, turn: int | None) -> list[records.UsageInfo]:
    session = rows.session_row(db, session_id)
    found = [parsing.usage_of(db, session, row) for row in db.all("list_usage", session=session.key)]
    if [row.number for row in found] != list(range(1, session.usage_rows + 1)):
        raise parsing.damaged(
            db, session.id, f"the list of usage rows ({len(found)} of {session.usage_rows} are there)"
        )
    return found if turn is None else [row for row in found if row.turn == turn]


def compactions(db: Port, session_id: SessionId) -> list[records.CompactionInfo]:
    session = rows.session_row(db, session_id)
    found = [parsing.compaction_of(db, session, row) for row in db.all("list_compactions", session=session.key)]
    if [row.number for row in found] != list(range(1, len(found) + 1)):
        raise parsing.damaged(db, session.id, "the list of compactions")
    return found


def message(db: Port, session_id: SessionId, seq: int) -> records.StoredMessage | None:
    session = rows.session_row(db, session_id)
    row = db.one("message_by_seq", session=session.key, seq=seq)
    return None if row is None else parsing.message_of(db, session, row)


def find_session(db: Port, prefix: str) -> SessionId:
    """The one session whose id is, or begins with, this.

    Raises:
        SessionNotFoundError, SessionAmbiguousError: none does, or several do.
    """
    if db.one("session_by_id", id=prefix) is not None:
        return SessionId(prefix)
    found: Sequence[str] = [row["id"] for row in db.all("session_ids_by_prefix", prefix=prefix)]
    if not found or not prefix:
        raise SessionNotFoundError(prefix)
    if len(found) > 1:
        raise SessionAmbiguousError(prefix, found)
    return SessionId(found[0])


def orphans(db: Port, drives: Drives) -> list[SessionId]:
    """Sessions with a live turn whose owner is dead."""
    return [SessionId(row["id"]) for row in db.all("owned_sessions") if not drives(row["key"], row["owner"])]


def unattended(db: Port, drives: Drives, alive: Callable[[str], bool]) -> list[SessionId]:
    """Sessions that nobody drives, in which input waits whose sender is dead, and nothing stands in its way."""
    found = {
        row["id"]: None
        for row in db.all("sessions_with_inputs")
        if row["ready"] and not drives(row["key"], row["owner"]) and not alive(row["sender"])
    }
    return [SessionId(id) for id in found]


def steered(db: Port) -> list[SessionId]:
    """Sessions whose running turn is to take input in."""
    return [SessionId(row["id"]) for row in db.all("sessions_with_inputs") if row["mode"] == InputMode.STEER]


def queued(db: Port, session_id: SessionId) -> list[records.QueuedInput]:
    session = rows.session_row(db, session_id)
    return [parsing.input_of(db, session, row) for row in db.all("waiting_inputs", session=session.key)]


def stops_requested(db: Port) -> list[tuple[SessionId, int, str]]:
    """Sessions somebody asked to stop: id, epoch, reason."""
    return [(SessionId(row["id"]), row["epoch"], manage.reason_of(row)) for row in db.all("stops_requested")]
