"""One driver a session: epochs, owners, locks and gates."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

ZOMBIE: Final = "tests/store/test_owners.py::test_d1_the_late_write_of_a_zombie_is_refused_and_changes_nothing"

GUARDS: Final = (
    Guard(
        name="epoch-of-every-write",
        keeps="A write under a stale epoch changes nothing.",
        of="7, D1",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=" WHERE key = :session AND epoch = :epoch AND owner IS NOT NULL",
        new=" WHERE key = :session AND owner IS NOT NULL",
        test=ZOMBIE,
    ),
    Guard(
        name="epoch-of-an-ended-turn",
        keeps="A turn that has ended takes no more facts.",
        of="2 7, D1",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=" WHERE key = :session AND epoch = :epoch AND owner IS NOT NULL",
        new=" WHERE key = :session AND epoch = :epoch",
        test="tests/store/test_owners.py::test_d1_a_turn_that_has_ended_takes_no_more_facts",
    ),
    Guard(
        name="epoch-of-the-last-write",
        keeps="A stale epoch ends no turn.",
        of="7, D1",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=" WHERE key = :session AND owner IS NOT NULL AND epoch = :epoch",
        new=" WHERE key = :session AND owner IS NOT NULL",
        test=ZOMBIE,
    ),
    Guard(
        name="epoch-ends-once",
        keeps="A turn that has ended does not end again.",
        of="2 7, D1",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=" WHERE key = :session AND owner IS NOT NULL AND epoch = :epoch",
        new=" WHERE key = :session AND epoch = :epoch",
        test="tests/store/test_owners.py::test_d1_a_turn_that_has_ended_takes_no_more_facts",
    ),
    Guard(
        name="epoch-is-raised-by-a-claim",
        keeps="Every claim outdates the driver before it.",
        of="7, D1",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old="SET epoch = epoch + 1, owner = :owner,",
        new="SET epoch = max(epoch, 1), owner = :owner,",
        test=ZOMBIE,
    ),
    Guard(
        name="epoch-is-raised-by-a-change-from-outside",
        keeps="An abort or a resolve outdates what others remember of the session.",
        of="7, B3",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=(
            "-- A change by nobody's turn (abort, resolve, close): it outdates whoever drove the session before.\n"
            "UPDATE sessions\n"
            "   SET epoch = epoch + 1,"
        ),
        new="UPDATE sessions\n   SET",
        test="tests/loop/test_guards_found.py::test_what_others_gave_up_is_seen_by_a_loop_that_remembers_the_session",
    ),
    Guard(
        name="epoch-lost-is-raised",
        keeps="A driver that lost its session is told, and nothing of it is recorded.",
        of="7, D1",
        file="power_loop/store/transactions/record.py",
        old=(
            "    if ours is None:\n"
            "        raise lost(db, claim)\n"
            '    step.usage_rows = ours["usage_rows"] - step.more_usage\n'
        ),
        new='    step.usage_rows = 1_000 if ours is None else ours["usage_rows"] - step.more_usage\n',
        test=ZOMBIE,
    ),
    Guard(
        name="epoch-of-taking-input-in",
        keeps="A driver that lost its session takes no input out of the inbox.",
        of="7, D1 D2",
        file="power_loop/store/transactions/taking.py",
        old="    if ours is None:\n        raise lost(db, claim)\n    if turn_state",
        new="    if turn_state",
        test="tests/store/test_guards_found.py::test_a_driver_that_lost_its_session_takes_no_input_in",
    ),
    Guard(
        name="epoch-of-what-is-kept-warm",
        keeps="What a loop remembers of a session counts only if nobody else has touched it.",
        of="7 8",
        file="power_loop/stateful_loop/runner.py",
        old="if warm is not None and (warm.key, warm.epoch) == (claim.key, begun.was):",
        new="if warm is not None and warm.key == claim.key:",
        test="tests/ownership/test_warm.py::test_another_loops_turns_are_seen",
    ),
    Guard(
        name="epoch-session-of-what-is-kept-warm",
        keeps="A session made again under the same id has no memory of its former self.",
        of="7 8",
        file="power_loop/stateful_loop/runner.py",
        old="if warm is not None and (warm.key, warm.epoch) == (claim.key, begun.was):",
        new="if warm is not None and warm.epoch == begun.was:",
        test="tests/ownership/test_warm.py::test_a_session_deleted_and_made_again_elsewhere_has_no_memory_of_its_former_self",
    ),
    Guard(
        name="driven-sessions-are-refused",
        keeps="What somebody alive drives is neither claimed, aborted, closed nor deleted by others.",
        of="7, B3 D1",
        file="power_loop/store/transactions/begin.py",
        old="    if not robbed and owner.drives(session.key, session.owner):\n",
        new="    if not robbed and owner.drives(session.key, None):\n",
        test="tests/loop/test_open_calls.py::test_abort_of_a_driven_session_changes_nothing",
    ),
    Guard(
        name="driven-by-ourselves-is-not-robbed",
        keeps="Force takes a session from another process, never from a turn that runs in this one.",
        of="7, D1",
        file="power_loop/store/transactions/begin.py",
        old="robbed = force and session.owner != owner.name",
        new="robbed = force",
        test="tests/loop/test_guards_found.py::test_force_robs_no_turn_of_this_process",
    ),
    Guard(
        name="driven-family-is-not-deleted",
        keeps="A session is not deleted while a descendant is driven.",
        of="7, D1",
        file="power_loop/store/transactions/settle.py",
        old="    for member in members:\n        undriven(owner, member)\n",
        new="    undriven(owner, session)\n",
        test="tests/store/test_owners.py::test_d1_nobody_deletes_a_session_whose_child_is_driven",
    ),
    Guard(
        name="driven-by-a-turn-that-runs",
        keeps="Of this process, only a turn that really runs drives a session: one whose end was lost can be taken up.",
        of="6 7",
        file="power_loop/store/sqlite/store.py",
        old="return key in self._driving if owner == self._owners.name else self._owners.alive(owner)",
        new="return self._owners.alive(owner)",
        test="tests/loop/test_store_failures.py::test_a_result_that_cannot_be_recorded_leaves_the_call_in_doubt",
    ),
    Guard(
        name="driven-until-the-claim-failed",
        keeps="A claim whose commit failed leaves the session free.",
        of="6 7, A6",
        file="power_loop/store/sqlite/store.py",
        old="        for lost in claimed:\n            self.release(lost)\n",
        new="        return\n",
        test="tests/store/test_group_commit.py::test_a6_a_claim_whose_commit_failed_leaves_the_session_free",
    ),
    Guard(
        name="driven-under-which-epoch",
        keeps="A robbed turn that ends late does not free the session under the turn that came after it.",
        of="7, D1",
        file="power_loop/store/sqlite/store.py",
        old="if self._driving.get(claim.key) == claim.epoch:",
        new="if claim.key in self._driving:",
        test="tests/store/test_guards_found.py::test_a_robbed_turn_that_ends_late_frees_nothing",
    ),
    Guard(
        name="driven-to-the-end",
        keeps="A turn holds its session until its end is on disk.",
        of="7, D1",
        file="power_loop/stateful_loop/runner.py",
        old="            ending = await drive(turn)\n",
        new="            self._store.release(claim)\n            ending = await drive(turn)\n",
        test="tests/loop/test_exclusive.py::test_two_loops_and_a_shared_store_on_one_file",
    ),
    Guard(
        name="driven-no-longer-than-that",
        keeps="A turn that is over, however it ended, drives its session no more.",
        of="6 7",
        file="power_loop/stateful_loop/runner.py",
        old="            self._store.release(claim)\n",
        new="",
        test="tests/loop/test_store_failures.py::test_a_result_that_cannot_be_recorded_leaves_the_call_in_doubt",
    ),
    Guard(
        name="driven-before-it-is-committed",
        keeps="At no instant does the file say that a turn of ours runs while nothing here says so too.",
        of="7, D1",
        file="power_loop/store/sqlite/store.py",
        old=(
            "                self._driving[begun.claim.key] = begun.claim.epoch\n"
            "            return begun\n"
            "\n"
            "        return change\n"
        ),
        new=(
            "                later = lambda: self._driving.update({begun.claim.key: begun.claim.epoch})  # noqa: E731\n"
            "                self._loop.call_soon_threadsafe(self._loop.call_later, 0.01, later)\n"
            "            return begun\n"
            "\n"
            "        return change\n"
        ),
        test="tests/loop/test_exclusive.py::test_two_loops_and_a_shared_store_on_one_file",
    ),
    Guard(
        name="gate-one-coroutine-at-a-time",
        keeps="One coroutine of a loop is in a session at a time, in the order they came.",
        of="7, D1",
        file="power_loop/stateful_loop/gates.py",
        old="            async with lock:\n                yield\n",
        new="            yield\n",
        test="tests/loop/test_exclusive.py::test_gates_let_in_one_by_one_in_order_and_keep_nothing",
    ),
    Guard(
        name="gate-handed-over-is-not-free",
        keeps="A session that somebody waits for is busy, also in the instant between two who are in it.",
        of="7, D1",
        file="power_loop/stateful_loop/gates.py",
        old="        if users and not wait:\n",
        new="        if lock.locked() and not wait:\n",
        test="tests/loop/test_exclusive.py::test_a_gate_that_is_being_handed_over_is_not_free",
    ),
    Guard(
        name="stop-is-of-one-turn",
        keeps="A request to stop that came too late does not stop the next turn.",
        of="6, C6",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=(
            "       stop_requested_at = NULL, stop_reason = NULL, stop_crc = NULL,\n"
            "       events = events + :more_events, recoveries = iif(:recovers, recoveries + 1, 0)"
        ),
        new="       events = events + :more_events, recoveries = iif(:recovers, recoveries + 1, 0)",
        test="tests/store/test_guards_found.py::test_a_request_to_stop_dies_with_the_turn_it_was_for",
    ),
    Guard(
        name="stop-needs-a-listener",
        keeps="A request to stop is taken only where somebody alive will hear it.",
        of="6, C6",
        file="power_loop/store/transactions/manage.py",
        old="    if not drives(session.key, session.owner):\n        return False\n",
        new="",
        test="tests/store/test_owners.py::test_d1_a_request_to_stop_says_whether_anybody_will_hear_it",
    ),
    Guard(
        name="stop-first-reason-counts",
        keeps="Who asks to stop what was asked to stop already is told so.",
        of="6, C6",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old=" WHERE key = :session AND owner IS NOT NULL AND stop_requested_at IS NULL;",
        new=" WHERE key = :session AND owner IS NOT NULL;",
        test="tests/store/test_owners.py::test_d1_a_request_to_stop_says_whether_anybody_will_hear_it",
    ),
    Guard(
        name="owner-locked-before-it-is-seen",
        keeps="At no instant does an owner's file stand without its lock: nobody takes the living for dead.",
        of="7, D1",
        file="power_loop/store/sqlite/owners.py",
        old=(
            "                fcntl.flock(lock, fcntl.LOCK_EX)\n"
            "                os.rename(new, self.folder / self._token)\n"
        ),
        new=(
            "                os.rename(new, self.folder / self._token)\n"
            "                fcntl.flock(lock, fcntl.LOCK_EX)\n"
        ),
        test="tests/store/test_guards_of_files.py::test_an_owner_is_never_seen_without_its_lock",
    ),
    Guard(
        name="owner-is-dead-though-its-fork-lives",
        keeps="A fork does not keep its dead parent looking alive.",
        of="7, D1",
        file="power_loop/store/sqlite/owners.py",
        old="        os.register_at_fork(after_in_child=_Forked(weakref.ref(self)))\n",
        new="",
        test="tests/store/test_owners.py::test_d1_a_fork_that_outlives_its_parent_keeps_no_lock_alive",
    ),
    Guard(
        name="owner-is-no-fork",
        keeps="A fork of the process that opened the store claims nothing.",
        of="7, D1",
        file="power_loop/store/sqlite/owners.py",
        old="        if os.getpid() != self._pid:\n",
        new="        if os.getpid() == 0:\n",
        test="tests/store/test_owners.py::test_d1_a_fork_is_nobody",
    ),
    Guard(
        name="owner-is-not-given-up-by-a-fork",
        keeps="A fork that closes the store does not take the lock file of its parent away.",
        of="7, D1",
        file="power_loop/store/sqlite/owners.py",
        old="        if self._lock is not None and os.getpid() == self._pid:\n",
        new="        if self._lock is not None:\n",
        test="tests/store/test_owners.py::test_d1_a_fork_is_nobody",
        redundant="the fork handler has already taken the lock away from the copy",
    ),
    Guard(
        name="owner-swept-only-if-dead",
        keeps="Only the lock files of the dead are swept.",
        of="7, D1",
        file="power_loop/store/sqlite/owners.py",
        old="                    if _free(lock):\n                        file.unlink()\n",
        new="                    file.unlink()\n",
        test="tests/store/test_owners.py::test_d1_the_files_of_the_dead_are_swept_and_those_of_the_living_stay",
    ),
    Guard(
        name="owner-looked-at-by-many",
        keeps="Those who look at a dead owner's lock at once never take one another for it.",
        of="7, D1",
        file="power_loop/store/sqlite/owners.py",
        old="fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        new="fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        test="tests/store/test_owners.py::test_d1_looking_at_an_owner_takes_nothing_from_those_who_look",
    ),
    Guard(
        name="owner-name-has-its-check",
        keeps="A damaged owner's name is damage, not a dead owner.",
        of="7, A9",
        file="power_loop/store/sqlite/owners.py",
        old="        if check != _check(bare):\n",
        new="        if check is None:\n",
        test="tests/store/test_owners.py::test_d1_a_damaged_name_is_no_dead_owner",
    ),
    Guard(
        name="stop-is-heard-though-it-came-early",
        keeps="A request to stop that came before anybody watched is heard.",
        of="6, C6",
        file="power_loop/stateful_loop/watch.py",
        old="        self._version = -1  # a request may have come since",
        new="        pass  # a request may have come since",
        test="tests/loop/test_stopping.py::test_a_stop_that_came_before_anybody_watched_is_heard",
    ),
    Guard(
        name="stop-event-that-cannot-be-asked",
        keeps="One stop event that raises keeps no other turn from being stopped.",
        of="6, C6",
        file="power_loop/stateful_loop/watch.py",
        old="    except Exception:  # an event of the app's",
        new="    except LookupError:  # an event of the app's",
        test="tests/loop/test_stopping.py::test_a_stop_event_that_cannot_be_asked_keeps_no_other_turn_from_stopping",
    ),
    Guard(
        name="stop-refuses-who-waits-while-closing",
        keeps="Whoever waits for a session while the loop is closing is refused, and nothing of theirs is written.",
        of="6, L6",
        file="power_loop/stateful_loop/conductor.py",
        old="        if self._closing:\n            raise LoopClosedError(",
        new="        if self._closing is None:\n            raise LoopClosedError(",
        test="tests/loop/test_stopping.py::test_closing_stops_what_runs_and_refuses_what_waits",
    ),
    Guard(
        name="stop-keeps-a-result-that-is-there",
        keeps="A result that is there when the turn is stopped is recorded, not thrown away.",
        of="1 9, C6",
        file="power_loop/loop/stop.py",
        old="        if not done:\n            self.check()\n        return done",
        new="        self.check()\n        return done",
        test="tests/loop/test_stop_signal.py::test_what_is_done_counts_also_when_somebody_wants_to_stop_by_now",
    ),
    Guard(
        name="epoch-session-keys-are-never-used-again",
        keeps="What a deleted session has left behind never fits a new one.",
        of="7 8, A4",
        file="power_loop/store/sql/sqlite/sessions.sql",
        old="SELECT coalesce(max(seq), 0) + 1 AS key FROM sqlite_sequence WHERE name = 'sessions';",
        new="SELECT coalesce(max(key), 0) + 1 AS key FROM sessions;",
        test="tests/ownership/test_warm.py::test_a_session_deleted_and_made_again_elsewhere_has_no_memory_of_its_former_self",
    ),
    Guard(
        name="driven-family-is-not-closed",
        keeps="A family of sessions is not closed while one of them is driven.",
        of="7, D1",
        file="power_loop/store/transactions/settle.py",
        old='_give_up(db, at, undriven(owner, member), "the session was closed")',
        new='_give_up(db, at, member, "the session was closed")',
        test="tests/loop/test_sessions.py::test_a_driven_child_keeps_the_whole_family_open",
    ),
)
