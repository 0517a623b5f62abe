"""The inbox: input that waits is durable, comes in its order, and is taken in once."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard
from tests.guards.table.ledger import ONE_TRANSACTION

GUARDS: Final = (
    Guard(
        name="inbox-first-come-first-served",
        keeps="A new input goes behind those that wait.",
        of="D2",
        file="power_loop/store/transactions/begin.py",
        old="    if standing.inputs:\n        return _enqueue(db, at, owner, session, wanted)\n",
        new="",
        test="tests/inbox/test_killed.py::test_a_new_input_comes_after_what_the_dead_left",
    ),
    Guard(
        name="inbox-order-of-arrival",
        keeps="What waits is taken in the order it came.",
        of="D2",
        file="power_loop/store/sql/sqlite/inputs.sql",
        old="turn IS NULL ORDER BY number LIMIT 1;",
        new="turn IS NULL ORDER BY number DESC LIMIT 1;",
        test="tests/inbox/test_inbox.py::test_all_come_in_their_order",
    ),
    Guard(
        name="inbox-what-was-taken-does-not-wait",
        keeps="An input that a turn took in is not taken in again.",
        of="D2",
        file="power_loop/store/sql/sqlite/inputs.sql",
        old="session = :session AND turn IS NULL ORDER BY number LIMIT 1;",
        new="session = :session ORDER BY number LIMIT 1;",
        test="tests/inbox/test_inbox.py::test_all_come_in_their_order",
    ),
    Guard(
        name="inbox-sql-taken-once",
        keeps="An input is taken in once.",
        of="D2",
        file="power_loop/store/sql/sqlite/inputs.sql",
        old=" WHERE number = :number AND turn IS NULL;",
        new=" WHERE number = :number;",
        test="tests/inbox/test_inbox.py::test_what_waits_is_stored_at_once_and_becomes_the_next_turn",
        redundant=ONE_TRANSACTION,
    ),
    Guard(
        name="inbox-sql-withdrawn-only-while-it-waits",
        keeps="What was taken in is history; it cannot be withdrawn.",
        of="1, D2",
        file="power_loop/store/sql/sqlite/inputs.sql",
        old="DELETE FROM inputs WHERE number = :number AND session = :session AND turn IS NULL;",
        new="DELETE FROM inputs WHERE number = :number AND session = :session;",
        test="tests/store/test_guards_found.py::test_an_input_is_taken_out_only_while_it_waits_and_only_by_its_session",
    ),
    Guard(
        name="inbox-sql-withdrawn-by-its-session",
        keeps="A session's input is withdrawn only by naming that session.",
        of="11, D2",
        file="power_loop/store/sql/sqlite/inputs.sql",
        old="DELETE FROM inputs WHERE number = :number AND session = :session AND turn IS NULL;",
        new="DELETE FROM inputs WHERE number = :number AND turn IS NULL AND :session;",
        test="tests/store/test_guards_found.py::test_an_input_is_taken_out_only_while_it_waits_and_only_by_its_session",
    ),
    Guard(
        name="inbox-one-request-waits-once",
        keeps="A request that waits already is not stored again.",
        of="B5 D2",
        file="power_loop/store/transactions/begin.py",
        old='    return Waiting(number=row["number"], ours=False) if row["turn"] is None else',
        new='    return None if row["turn"] is None else',
        test="tests/inbox/test_inbox.py::test_one_request_waits_once_however_often_it_is_sent",
    ),
    Guard(
        name="inbox-one-request-is-one-turn",
        keeps="A request that a turn took in already is not stored again.",
        of="B5",
        file="power_loop/store/transactions/begin.py",
        old="    if row is not None:\n        return last_of(db, session, parsing.turn_of(db, session, row).number)\n",
        new="",
        test="tests/loop/test_requests.py::test_the_same_request_again_returns_what_is_stored",
    ),
    Guard(
        name="inbox-one-session-a-request",
        keeps="A request without a session makes one session, however often it is sent.",
        of="B5",
        file="power_loop/store/transactions/begin.py",
        old='(wanted.request_id is None or db.one("session_by_id", id=wanted.session) is None)',
        new="(wanted.request_id is None or wanted.session)",
        test="tests/ownership/test_identity.py::test_a_request_without_a_session_is_stored_once_too",
    ),
    Guard(
        name="inbox-the-last-turn-of-a-request-counts",
        keeps="A request that a resume has answered is not asked again.",
        of="B5",
        file="power_loop/store/sql/sqlite/turns.sql",
        old="number >= :origin AND origin = :origin ORDER BY number DESC LIMIT 1;",
        new="number >= :origin AND origin = :origin ORDER BY number LIMIT 1;",
        test="tests/loop/test_guards_found.py::test_a_request_answered_by_a_resume_is_not_confused_with_what_came_later",
    ),
    Guard(
        name="inbox-the-living-begin-their-own",
        keeps="An input whose sender lives is left to its sender.",
        of="D2",
        file="power_loop/store/transactions/begin.py",
        old='    if row is None or (number is None and (session.quarantined or owner.alive(row["sender"]))):\n',
        new="    if row is None or (number is None and session.quarantined):\n",
        test="tests/store/test_guards_found.py::test_an_input_whose_sender_lives_is_left_to_its_sender",
    ),
    Guard(
        name="inbox-quarantine-holds",
        keeps="What a dead sender left does not free a quarantined session.",
        of="B9",
        file="power_loop/store/transactions/begin.py",
        old='(number is None and (session.quarantined or owner.alive(row["sender"]))):\n',
        new='(number is None and owner.alive(row["sender"])):\n',
        test="tests/ownership/test_quarantine.py::test_input_that_a_dead_sender_left_does_not_free_it",
    ),
    Guard(
        name="inbox-only-its-sender-withdraws",
        keeps="A retry that is refused leaves in its place what was sent before.",
        of="D2, 1",
        file="power_loop/stateful_loop/conductor.py",
        old="        if place.ours:\n            return await self.store.withdraw_input(session, place.number)\n",
        new="        if place:\n            return await self.store.withdraw_input(session, place.number)\n",
        test="tests/inbox/test_killed.py::test_a_retry_that_is_refused_leaves_what_was_sent_before_in_its_place",
    ),
    Guard(
        name="inbox-a-request-keeps-its-outcome",
        keeps="A request that others came after is never answered with their outcome.",
        of="B5",
        file="power_loop/store/transactions/resume.py",
        old="    if origin is not None and last is not None and last.origin != origin:\n",
        new="    if False:\n",
        test="tests/loop/test_requests.py::test_a_request_that_a_later_turn_has_answered_is_not_asked_again",
    ),
    Guard(
        name="inbox-taken-by-another-turn",
        keeps="A sender whose input steered somebody's turn hears of that turn, and begins none.",
        of="D2",
        file="power_loop/store/transactions/begin.py",
        old=(
            '        if own["turn"] is not None:\n'
            "            undriven(owner, session)\n"
            '            return last_of(db, session, own["turn"])\n'
        ),
        new="",
        test="tests/inbox/test_inbox.py::test_what_steers_is_taken_in_before_the_next_request",
    ),
    Guard(
        name="inbox-only-what-steers-is-taken-in",
        keeps="Input that waits for its own turn is not taken into a running one.",
        of="D2",
        file="power_loop/store/transactions/taking.py",
        old=' if row["mode"] == InputMode.STEER]\n    if not waiting:',
        new="]\n    if not waiting:",
        test="tests/inbox/test_inbox.py::test_all_come_in_their_order",
    ),
    Guard(
        name="inbox-store-takes-in-at-a-boundary",
        keeps="The store takes no input into a round: no message between an answer and its results.",
        of="5, D2",
        file="power_loop/store/transactions/taking.py",
        old="    if turn_state(db, claim) is not TurnState.ASKING:\n",
        new="    if turn_state(db, claim) is None:\n",
        test="tests/store/test_guards_found.py::test_nothing_is_taken_in_within_a_round",
    ),
    Guard(
        name="inbox-takes-in-at-a-boundary",
        keeps="A turn takes input in at a round boundary and nowhere else.",
        of="5, D2",
        file="power_loop/engine/decide.py",
        old="    if now.state is TurnState.ACTING:\n        return _act(now, limits)\n",
        new=(
            "    if now.state is TurnState.ACTING:\n"
            "        return TakeInputs() if now.inputs_wait else _act(now, limits)\n"
        ),
        test="tests/engine/test_guards_found.py::test_input_that_waits_is_taken_in_between_rounds_and_not_between_calls",
    ),
    Guard(
        name="inbox-flushed-before-taking-in",
        keeps="All that was said is recorded before input is taken in behind it.",
        of="2, D2",
        file="power_loop/loop/steer.py",
        old="    await turn.flush()\n",
        new="",
        test="tests/inbox/test_inbox.py::test_what_steers_is_taken_in_before_the_next_request",
        redundant="nothing is held at a round boundary: the last result is committed with the end of its round",
    ),
    Guard(
        name="inbox-a-cancelled-sender-takes-it-out",
        keeps="A sender that is cancelled leaves nothing behind that would be done without it.",
        of="9, D2",
        file="power_loop/stateful_loop/conductor.py",
        old=(
            "            if place is not None:\n"
            "                await self._withdraw(session, place)\n"
            "            raise\n"
        ),
        new="            raise\n",
        test="tests/inbox/test_inbox.py::test_a_sender_that_is_cancelled_takes_its_input_out_again",
    ),
    Guard(
        name="inbox-of-a-closed-session",
        keeps="What waits for a session that is closed is withdrawn.",
        of="D2",
        file="power_loop/store/transactions/settle.py",
        old='        db.run("withdraw_inputs", session=member.key)\n',
        new="",
        test="tests/store/test_guards_found.py::test_what_the_dead_left_in_the_inbox_of_a_session_goes_when_it_is_closed",
    ),
    Guard(
        name="inbox-closed-sessions-take-nothing",
        keeps="A closed session takes no input.",
        of="11",
        file="power_loop/store/transactions/begin.py",
        old="    if session.closed:\n",
        new="    if session.closed is None:\n",
        test="tests/loop/test_bad_input.py::test_bad_input_is_refused_and_changes_nothing",
    ),
)
