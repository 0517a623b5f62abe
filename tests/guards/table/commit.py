"""One step, one transaction; answered when it is on disk; never torn by a cancellation."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

ALONE: Final = "tests/store/test_group_commit.py::test_a6_one_failing_change_fails_alone"
CUT: Final = "tests/power/test_cuts.py::test_with_full_everything_acknowledged_is_there_wherever_the_power_goes"

GUARDS: Final = (
    Guard(
        name="commit-begins-as-the-only-writer",
        keeps="What a change reads stays true until it has written: nobody else commits in between.",
        of="2 7, A1",
        file="power_loop/store/sqlite/writer.py",
        old='self._connection.execute("BEGIN IMMEDIATE")',
        new='self._connection.execute("BEGIN")',
        test="tests/store/test_guards_of_files.py::test_what_a_change_has_read_nobody_changes_before_it_has_written",
    ),
    Guard(
        name="commit-before-the-answer",
        keeps="A caller hears of a change once it is on disk, not before.",
        of="1, A6",
        file="power_loop/store/sqlite/writer.py",
        old='            self._connection.execute("COMMIT")\n',
        new='            self._thread._inside._tx.put_nowait((None, partial(self._connection.execute, "COMMIT")))\n',
        test="tests/store/test_group_commit.py::test_a6_a_hundred_sessions_at_once_take_far_fewer_commits_than_changes",
    ),
    Guard(
        name="commit-a-savepoint-a-change",
        keeps="A change that raises half-way is undone, though its neighbours are committed.",
        of="2 11, A6",
        file="power_loop/store/sqlite/writer.py",
        old='            execute("ROLLBACK TO change")\n',
        new="",
        test=ALONE,
    ),
    Guard(
        name="commit-undone-if-it-fails",
        keeps="A transaction that fails is rolled back: none is left open.",
        of="2, A1 A6",
        file="power_loop/store/sqlite/writer.py",
        old=(
            "        if self._connection.in_transaction:\n"
            '            self._connection.execute("ROLLBACK")\n'
            "        if not"
        ),
        new="        if not",
        test="tests/store/test_group_commit.py::test_a6_when_the_commit_itself_fails_each_stands_or_falls_alone",
    ),
    Guard(
        name="commit-batch-falls-apart",
        keeps="Where a batch fails as a whole, each change stands or falls alone.",
        of="11, A6",
        file="power_loop/store/sqlite/writer.py",
        old=(
            "        if len(batch.waiting) == 1:\n"
            "            assert isinstance(batch.failure, Exception)\n"
            "            batch.outcomes = [_translated(self._port.path, batch.failure)]\n"
            "            return\n"
        ),
        new=(
            "        assert isinstance(batch.failure, Exception)\n"
            "        batch.outcomes = [_translated(self._port.path, batch.failure)] * len(batch.waiting)\n"
            "        if batch.outcomes:\n"
            "            return\n"
        ),
        test="tests/store/test_group_commit.py::test_a6_when_the_commit_itself_fails_each_stands_or_falls_alone",
    ),
    Guard(
        name="commit-into-the-file-that-is-there",
        keeps="A database that was deleted or replaced under a running loop takes no more writes.",
        of="1 11, A7",
        file="power_loop/store/sqlite/writer.py",
        old="        if identity(self._port.path) != self._file:\n",
        new="        if not self._file:\n",
        test="tests/ownership/test_gone.py::test_a_file_that_goes_away_takes_no_more_writes",
    ),
    Guard(
        name="commit-all-facts-of-a-step",
        keeps="Facts that belong together are one transaction.",
        of="2, A1",
        file="power_loop/sink/store_sink.py",
        old="        if news:\n            self._events = await self._store.record(self._claim, news)\n",
        new="        for fact in news:\n            self._events = await self._store.record(self._claim, [fact])\n",
        test="tests/store/test_guards_found.py::test_of_facts_that_belong_together_none_is_stored_if_one_is_refused",
    ),
    Guard(
        name="commit-is-not-cancelled",
        keeps="A caller's cancellation never reaches a commit that is under way.",
        of="9, A1",
        file="power_loop/shielding.py",
        old="            await asyncio.shield(future)\n",
        new="            await future\n",
        test="tests/store/test_cancelling.py::test_a1_cancelled_at_any_await_a_write_leaves_nothing_open[send]",
    ),
    Guard(
        name="commit-cancellation-is-not-swallowed",
        keeps="A cancellation that had to wait for a commit goes through after it.",
        of="9, A1",
        file="power_loop/shielding.py",
        old="    task.cancel(*came.args)\n",
        new="",
        test="tests/store/test_cancelling.py::test_a1_a_cancelled_write_is_done_or_undone_and_its_task_ends_cancelled",
    ),
    Guard(
        name="commit-a-cancelled-write-ends-there",
        keeps="A cancelled write ends cancelled at its own await, not at a later one.",
        of="9, A1",
        file="power_loop/store/sqlite/store.py",
        old="                await asyncio.sleep(0)  # a cancellation that had to wait",
        new="                pass  # a cancellation that had to wait",
        test="tests/store/test_cancelling.py::test_a1_a_cancellation_that_waited_goes_through_at_that_very_await",
    ),
    Guard(
        name="commit-a-claim-reaches-the-cancelled",
        keeps="A claim that was committed reaches even a cancelled caller, who has to end it.",
        of="9, A1",
        file="power_loop/store/sqlite/store.py",
        old="            return await self._writing.submit(self._noting(claim, claimed))\n",
        new="            return await self._write(self._noting(claim, claimed))\n",
        test="tests/store/test_cancelling.py::test_a1_a_claim_reaches_even_a_cancelled_caller",
    ),
    Guard(
        name="commit-a-cancelled-caller-tears-no-turn",
        keeps="A cancelled caller stops its turn, and waits until its end is recorded.",
        of="9, A1 C6",
        file="power_loop/stateful_loop/runner.py",
        old="            return await asyncio.shield(task)\n",
        new="            return await task\n",
        test="tests/loop/test_cancel_anywhere.py::test_cancelling_at_every_await_point[fresh-send-12]",
    ),
    Guard(
        name="commit-then-the-event",
        keeps="No event of a fact goes out before the fact is on disk.",
        of="1, G2",
        file="power_loop/loop/turn.py",
        old="        await self._sink.record(facts)\n        for fact in facts:\n            self.publish(fact)\n",
        new="        for fact in facts:\n            self.publish(fact)\n        await self._sink.record(facts)\n",
        test="tests/loop/test_stream.py::test_a_fact_goes_out_once_it_is_on_disk",
    ),
    Guard(
        name="commit-then-the-listeners",
        keeps="What the store refuses no other sink ever hears.",
        of="1, G3",
        file="power_loop/sink/tee.py",
        old=(
            "        await self._first.record(facts)\n"
            "        for sink in tuple(self._others):\n"
            "            try:\n"
            "                await sink.record(facts)\n"
        ),
        new=(
            "        for sink in (*self._others, self._first):\n"
            "            try:\n"
            "                await sink.record(facts)\n"
        ),
        also=(
            (
                "            except Exception:  # a listener's fault stays the listener's\n",
                "            except Exception:\n                if sink is self._first:\n                    raise\n",
            ),
        ),
        test="tests/sink/test_sinks.py::test_g3_what_the_first_sink_refuses_the_others_never_hear",
    ),
    Guard(
        name="commit-a-listeners-fault-is-its-own",
        keeps="A sink behind another that raises takes nothing back that the other has.",
        of="G3",
        file="power_loop/sink/tee.py",
        old="            except Exception:  # a listener's fault stays the listener's\n",
        new="            except LookupError:\n",
        test="tests/sink/test_sinks.py::test_g3_a_sink_that_fails_for_two_sessions_at_once_is_dropped_once",
    ),
    Guard(
        name="commit-a-listener-that-raises-is-dropped",
        keeps="A listener that raises is logged and hears no more; no turn hears of it.",
        of="4, G3",
        file="power_loop/sink/listeners.py",
        old="        except Exception as error:  # noqa: BLE001 - a listener's fault stays the listener's\n",
        new="        except LookupError as error:\n",
        test="tests/sink/test_sinks.py::test_g3_a_second_sink_that_fails_is_logged_and_dropped_and_changes_nothing",
    ),
    Guard(
        name="commit-a-listener-is-not-waited-for-again-and-again",
        keeps="A sink that hangs delays one turn at most, not every one after it.",
        of="G3",
        file="power_loop/sink/listeners.py",
        old="            line.behind = True\n",
        new="            line.behind = False\n",
        test="tests/sink/test_listeners.py::test_g3_a_hanging_sink_is_waited_for_once_and_not_by_the_turns_after",
    ),
    Guard(
        name="commit-is-flushed",
        keeps="What was acknowledged survives a power cut: synchronous=FULL.",
        of="1",
        file="power_loop/store/sqlite/opening.py",
        old='if how.synchronous == "NORMAL" else "PRAGMA synchronous = FULL"',
        new='if how.synchronous == "NORMAL" else "PRAGMA synchronous = NORMAL"',
        test=CUT,
        needs="strace",
    ),
    Guard(
        name="commit-a-new-file-is-flushed",
        keeps="A database that was just made is still there after a power cut.",
        of="1",
        file="power_loop/store/sqlite/placing.py",
        old="        sync_folder(path.parent)\n",
        new="",
        test=CUT,
        needs="strace",
        redundant=(
            "SQLite flushes the folder itself with the first commit to a new log, before anything is acknowledged; "
            "whoever restores a backup has nothing else"
        ),
    ),
    Guard(
        name="commit-foreign-keys-are-on",
        keeps="A deleted session leaves no row in any table, and no row points nowhere.",
        of="2, A4",
        file="power_loop/store/sqlite/opening.py",
        old='            connection.execute("PRAGMA foreign_keys = ON")\n',
        new="",
        test="tests/store/test_lossless.py::test_a4_a_deleted_session_leaves_no_row_in_any_table_and_takes_none_of_others",
    ),
    Guard(
        name="commit-the-schema-refuses-a-live-turn-with-an-end",
        keeps="CHECKs tie a state to its evidence (one for all: test_schema breaks each rule of the schema in turn).",
        of="2, A1",
        file="migrations/sqlite/0001_sessions.sql",
        old="    CHECK ((state IN ('asking', 'acting')) = (ended_at IS NULL)),\n",
        new="",
        test="tests/store/test_schema.py::test_a1_the_schema_refuses",
    ),
    Guard(
        name="commit-the-schema-refuses-two-live-turns",
        keeps="One live turn a session (one for all unique indexes, as above).",
        of="2 7, A1",
        file="migrations/sqlite/0001_sessions.sql",
        old="CREATE UNIQUE INDEX one_live_turn ON turns (session)",
        new="CREATE INDEX one_live_turn ON turns (session)",
        test="tests/store/test_schema.py::test_a1_the_schema_refuses",
    ),
    Guard(
        name="commit-a-round-limit-is-not-reset",
        keeps="Rounds count on over the turns that go on from one another: a restart resets no limit.",
        of="10, C2",
        file="power_loop/store/transactions/resume.py",
        old='        rounds=spent["rounds"],\n',
        new="        rounds=0,\n",
        test="tests/loop/test_outcomes.py::test_rounds_count_on_over_a_resume",
    ),
    Guard(
        name="commit-nothing-unstorable",
        keeps="What no file can carry is refused before anything is written.",
        of="11, A4",
        file="power_loop/values.py",
        old=(
            "    try:\n"
            "        text.encode()\n"
            "    except UnicodeEncodeError as error:\n"
            "        raise InputInvalidError(\n"
            "            what,"
        ),
        new=(
            "    try:\n"
            "        text.encode(errors='replace')\n"
            "    except UnicodeEncodeError as error:\n"
            "        raise InputInvalidError(\n"
            "            what,"
        ),
        test="tests/store/test_lossless.py::test_a4_a_lone_surrogate_is_refused_and_nothing_is_written",
    ),
    Guard(
        name="commit-half-written-is-not-kept",
        keeps="What a change wrote before it raised does not go into its neighbours' commit.",
        of="2 11, A6",
        file="power_loop/store/sqlite/writer.py",
        old=(
            "            if self._connection.total_changes != written:\n"
            "                raise _HalfWrittenError from error\n"
        ),
        new="",
        test=ALONE,
    ),
    Guard(
        name="commit-told-ahead-is-what-is-stored",
        keeps="A claim told ahead of its commit that came out otherwise when that was tried again does not count.",
        of="7, A6",
        file="power_loop/store/sqlite/writer.py",
        old="                outcome = _otherwise(self._port.path)\n",
        new="                pass\n",
        test="tests/store/test_ahead.py::test_a_claim_that_came_out_otherwise_when_it_was_tried_again_does_not_count",
    ),
    Guard(
        name="overlap-in-order",
        keeps="What is recorded comes after what is under way, and hears why that failed.",
        of="1 3, A1",
        file="power_loop/loop/turn.py",
        old="        await self.arrived()\n        if self._held:\n",
        new="        if self._held:\n",
        test="tests/loop/test_overlap.py::test_an_input_that_cannot_be_stored_ends_the_question_and_leaves_nothing",
    ),
    Guard(
        name="overlap-a-failed-record-stops-the-question",
        keeps="A sink that refuses what is under way is heard of at once, not when the model has answered.",
        of="1, A7",
        file="power_loop/loop/turn.py",
        old='            self.stop.request(Status.STOPPED, "what happened could not be recorded")\n',
        new="            return\n",
        test="tests/loop/test_overlap.py::test_results_that_cannot_be_stored_end_the_question_and_leave_the_call_in_doubt",
    ),
    Guard(
        name="overlap-facts-before-deltas",
        keeps="Listeners hear of what was recorded before the deltas of the answer to it.",
        of="2, G2",
        file="power_loop/loop/model.py",
        old="    await turn.arrived()  # listeners hear of what was before the answer first\n",
        new="",
        test="tests/loop/test_overlap.py::test_listeners_hear_of_results_before_what_the_model_says_of_them",
    ),
)
