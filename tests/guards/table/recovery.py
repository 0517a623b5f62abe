"""Recovery: each session once, counted before it is tried, given up when it gets nowhere."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

ONCE: Final = "tests/loop/test_open_calls.py::test_recover_handles_each_interrupted_session_exactly_once"
KILLS: Final = (
    "tests/ownership/test_quarantine.py::test_a_tool_that_kills_every_recovery_is_left_alone_after_so_many[read]"
)

GUARDS: Final = (
    Guard(
        name="recovery-is-counted",
        keeps="A recovery is counted in the commit that claims the session: before it is made.",
        of="B9",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old="recoveries = iif(:recovers, recoveries + 1, 0), quarantined_at = NULL",
        new="recoveries = iif(:recovers, recoveries, 0), quarantined_at = NULL",
        test=KILLS,
    ),
    Guard(
        name="recovery-is-given-up",
        keeps="After so many recoveries without progress the session is quarantined.",
        of="B9",
        file="power_loop/store/transactions/resume.py",
        old="session.recoveries >= max_recoveries:",
        new="session.recoveries < 0:",
        test=KILLS,
    ),
    Guard(
        name="recovery-progress-resets-the-count",
        keeps="A recovery that gets somewhere begins the count anew.",
        of="B9",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old="recoveries = iif(:progress, 0, recoveries)\n",
        new="recoveries = iif(:progress, recoveries, recoveries)\n",
        test="tests/store/test_owners.py::test_progress_begins_the_count_of_recoveries_anew_in_its_own_commit",
    ),
    Guard(
        name="recovery-an-end-resets-the-count",
        keeps="As above, where a turn comes to its end.",
        of="B9",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old="recoveries = iif(:progress, 0, recoveries),\n",
        new="recoveries = iif(:progress, recoveries, recoveries),\n",
        test="tests/store/test_owners.py::test_progress_begins_the_count_of_recoveries_anew_in_its_own_commit",
    ),
    Guard(
        name="recovery-reports-are-no-progress",
        keeps="That a call in doubt was reported is no progress: each recovery that dies would do so.",
        of="B9",
        file="power_loop/engine/recover.py",
        old="        return fact.settled_by in (SettledBy.RUN, SettledBy.RECONCILE)\n",
        new="        return True\n",
        test="tests/ownership/test_quarantine.py::test_a_tool_that_kills_every_recovery_is_left_alone_after_so_many[once]",
    ),
    Guard(
        name="recovery-of-the-quarantined-is-refused",
        keeps="A quarantined session is taken up by nobody until a person frees it.",
        of="6, B9",
        file="power_loop/store/transactions/resume.py",
        old="    if session.quarantined:\n        raise pending(session, tuple(calls.values()))\n",
        new="",
        test=KILLS,
    ),
    Guard(
        name="recovery-suspects-alone",
        keeps="A session that recoveries died over is taken up alone: it drags no other into quarantine.",
        of="B9",
        file="power_loop/stateful_loop/recovery.py",
        old="fresh = [session for session, count in tries.items() if not count]",
        new="fresh = list(tries)",
        also=(("in tries.items() if count), key", "in tries.items() if count < 0), key"),),
        test="tests/ownership/test_quarantine.py::test_a_poisoned_session_drags_no_other_into_quarantine",
    ),
    Guard(
        name="recovery-not-all-at-once",
        keeps="A deploy that cut thousands off does not ask for all of them at once.",
        of="B4",
        file="power_loop/stateful_loop/recovery.py",
        old="asyncio.Semaphore(AT_ONCE)",
        new="asyncio.Semaphore(AT_ONCE * 99)",
        test="tests/ownership/test_recover.py::test_many_are_resumed_but_not_all_at_once",
    ),
    Guard(
        name="recovery-the-most-careful-word-counts",
        keeps="Where the tools of open calls have different policies, the most careful one counts.",
        of="B4",
        file="power_loop/stateful_loop/recovery.py",
        old="        return max(asked, key=CAUTION.index)\n",
        new="        return min(asked, key=CAUTION.index)\n",
        test="tests/ownership/test_recover.py::test_the_policy_may_differ_by_tool_and_the_most_careful_counts",
    ),
    Guard(
        name="recovery-only-of-orphans",
        keeps="A session that somebody else has taken up meanwhile is not taken up again.",
        of="7, B4",
        file="power_loop/store/transactions/resume.py",
        old="    if last is None or answered or (only_orphan and not last.state.live):\n",
        new="    if last is None or answered:\n",
        test="tests/store/test_guards_found.py::test_what_somebody_has_written_down_as_interrupted_is_no_orphan_any_more",
    ),
    Guard(
        name="recovery-written-down-once",
        keeps="Of several processes that find a dead owner, one writes it down.",
        of="7, B4",
        file="power_loop/store/transactions/settle.py",
        old="    if session.owner is None or owner.drives(session.key, session.owner):\n        return None\n",
        new="",
        test=ONCE,
    ),
    Guard(
        name="recovery-of-what-is-idle",
        keeps="A resume of a session that was answered asks no model and writes nothing.",
        of="B4",
        file="power_loop/store/transactions/resume.py",
        old="    answered = last is None or (last.state is TurnState.DONE and not calls)\n",
        new="    answered = last is None\n",
        test="tests/loop/test_open_calls.py::test_resume_of_an_idle_session_asks_no_model_and_says_so",
    ),
    Guard(
        name="recovery-refused-before-it-is-written",
        keeps="Where changed tools are to be refused, that is told before anything is written.",
        of="10 11, B10",
        file="power_loop/store/transactions/resume.py",
        old="    if accept is not None:\n",
        new="    if accept is None:\n        raise AssertionError\n    if not calls:\n",
        test="tests/loop/test_drift.py::test_refuse_raises_before_anything_is_written",
    ),
    Guard(
        name="recovery-the-dead-turn-is-ended",
        keeps="A turn whose owner died is written down as interrupted by whoever comes next.",
        of="6 7, B4",
        file="power_loop/store/transactions/rows.py",
        old="    if turn is None or not turn.state.live:\n        return []\n    fact",
        new="    return []\n    fact",
        test="tests/loop/test_open_calls.py::test_on_pending_abort_puts_the_input_behind_the_aborted_results",
    ),
    Guard(
        name="recovery-of-the-closed",
        keeps="A closed session is not taken up again.",
        of="11",
        file="power_loop/store/transactions/resume.py",
        old="    if session.closed:\n        raise SessionClosedError(session.id)\n",
        new="",
        test="tests/loop/test_guards_found.py::test_what_was_cut_off_in_a_session_that_is_closed_stays_so",
    ),
    Guard(
        name="recovery-of-the-archived",
        keeps="An archived session is not taken up; that it was cut off is written down once.",
        of="11, B4",
        file="power_loop/store/transactions/resume.py",
        old="    if session.archived:\n        raise SessionArchivedError(session.id)\n",
        new="",
        test="tests/ownership/test_recover.py::test_an_archived_session_is_written_down_once_and_not_resumed",
    ),
    Guard(
        name="recovery-an-abort-ends-the-turn",
        keeps="After an abort nothing of the turn waits any more.",
        of="6, B3",
        file="power_loop/store/transactions/settle.py",
        old=(
            "        rows.end_turn(db, at, session.key, turn.number, (turn.state, state), Status.CANCELLED, reason)\n"
            "    elif"
        ),
        new="        pass\n    elif",
        test="tests/loop/test_open_calls.py::test_abort_answers_each_open_call_once_offline",
    ),
    Guard(
        name="recovery-sql-end-from-state",
        keeps="A turn ends from the state it is believed in.",
        of="2",
        file="power_loop/store/sql/sqlite/turns.sql",
        old="ended_at = :at, end_crc = :end_crc\n WHERE session = :session AND number = :turn AND state = :from_state;",
        new="ended_at = :at, end_crc = :end_crc\n WHERE session = :session AND number = :turn;",
        test="tests/store/test_guards_found.py::test_an_answer_within_a_round_is_refused",
    ),
    Guard(
        name="recovery-sql-move-from-state",
        keeps="A turn moves from the state it is believed in.",
        of="2",
        file="power_loop/store/sql/sqlite/turns.sql",
        old=(
            "tool_calls = tool_calls + :tool_calls\n"
            " WHERE session = :session AND number = :turn AND state = :from_state;"
        ),
        new="tool_calls = tool_calls + :tool_calls\n WHERE session = :session AND number = :turn;",
        test="tests/store/test_guards_found.py::test_an_answer_within_a_round_is_refused",
    ),
    Guard(
        name="recovery-of-one-that-fails",
        keeps="One session that cannot be resumed keeps no other from being recovered.",
        of="B4",
        file="power_loop/stateful_loop/recovery.py",
        old="            except PowerLoopError as error:\n                return Recovered(",
        new="            except LookupError as error:\n                return Recovered(",
        test="tests/loop/test_open_calls.py::test_one_session_that_fails_keeps_no_other_from_being_recovered",
    ),
    Guard(
        name="recovery-freed-by-a-persons-word",
        keeps="What a person says of a quarantined session's calls frees it.",
        of="6, B9",
        file="power_loop/store/transactions/settle.py",
        old="more_active=int(answered), freed=answered)",
        new="more_active=int(answered))",
        test="tests/ownership/test_quarantine.py::test_what_a_person_says_of_its_calls_frees_it_too[resolve]",
    ),
)
