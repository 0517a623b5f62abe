"""Events: each fact once, in order, in the commit it reports; and nobody waits for a reader."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

REPLAY: Final = "tests/events/test_replay.py::"
OUTSIDE: Final = "tests/events/test_outside.py::"
ORDERS: Final = "tests/events/test_orders.py::test_in_any_order_each_fact_comes_once"

GUARDS: Final = (
    Guard(
        name="events-of-a-driver",
        keeps="What a turn records is an event of the same commit.",
        of="G2",
        file="power_loop/store/transactions/record.py",
        old='    rows.report(db, at, claim.key, last, facts, usage=ours["usage_rows"] - step.more_usage + 1)\n',
        new="",
        test=f"{REPLAY}test_replayed_facts_are_the_live_ones_in_their_order_from_every_cursor",
    ),
    Guard(
        name="events-of-a-claim",
        keeps="That a turn began, and what its claim found, are events of the claim's commit.",
        of="G2",
        file="power_loop/store/transactions/resume.py",
        old="    rows.report(db, at, session.key, begun.events, [*facts, begun.fact])\n",
        new="    rows.report(db, at, session.key, begun.events, [begun.fact])\n",
        test=f"{OUTSIDE}test_that_an_owner_died_is_an_event_before_the_turn_that_goes_on",
    ),
    Guard(
        name="events-of-a-decision",
        keeps="An approval is an event at once, also while a turn runs.",
        of="G2",
        file="power_loop/store/transactions/waits.py",
        old="        rows.report(db, at, session.key, session.events + len(said), said)\n",
        new="",
        test=f"{OUTSIDE}test_an_approval_is_an_event_at_once_also_while_a_turn_runs",
    ),
    Guard(
        name="events-sealed",
        keeps="An event with a flipped bit is never read as truth.",
        of="A9, G2",
        file="power_loop/store/replaying.py",
        old="        if crc == seals.event_seal(session.key, number, facts, body, at):\n            return",
        new="        if True:\n            return",
        test="tests/events/test_replay.py::test_what_is_damaged_is_said_in_its_place_and_the_rest_is_read[crc]",
    ),
    Guard(
        name="events-that-are-missing",
        keeps="Events that went missing are said, not passed over.",
        of="A9, G2",
        file="power_loop/store/replaying.py",
        old='        if row["number"] > cursor + 1:\n',
        new="        if False:\n",
        test="tests/events/test_replay.py::test_what_is_damaged_is_said_in_its_place_and_the_rest_is_read[middle]",
    ),
    Guard(
        name="events-heard-meanwhile-come-first",
        keeps="What was heard live while facts were read goes out before them.",
        of="G2",
        file="power_loop/events/following.py",
        old="        if len(subscription):\n",
        new="        if False:\n",
        test=ORDERS,
    ),
    Guard(
        name="events-up-to-the-mark",
        keeps="Facts are read up to the mark, not past it: a delta never comes behind its fact.",
        of="G2",
        file="power_loop/events/following.py",
        old="min(PAGE, self._up_to - self._read)",
        new="PAGE",
        test=ORDERS,
    ),
    Guard(
        name="events-a-slow-reader-is-dropped",
        keeps="What a reader leaves unread is bounded.",
        of="G3",
        file="power_loop/events/hub.py",
        old="        if len(self._queue) >= self._room:\n",
        new="        if False:\n",
        test="tests/events/test_following.py::test_a_reader_that_does_not_read_is_dropped_and_nobody_waits_for_it",
    ),
    Guard(
        name="events-of-another-session",
        keeps="A reader never hears of a session that was made again under the same id.",
        of="G2",
        file="power_loop/events/following.py",
        old="        if page is None or page.key != self._key:\n",
        new="        if page is None:\n",
        test="tests/events/test_following.py::"
        "test_it_ends_when_the_session_is_deleted_also_if_one_of_its_id_is_made_again",
    ),
    Guard(
        name="events-leave-nothing",
        keeps="A reader that is gone leaves nothing behind.",
        of="D3, G3",
        file="power_loop/events/following.py",
        old="            self._leave = weakref.finalize(self, hub.leave, self._subscription)\n",
        new="",
        test="tests/events/test_following.py::"
        "test_whoever_leaves_or_raises_ends_its_own_reading_only_and_leaves_nothing_behind",
    ),
)
