"""One database for each invariant, whose rows do not fit together though every checksum is right; and damaged rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.damaged.damage import Damage, reseal, run

# The sound database: alpha (1) has turns, calls and a compaction of messages 2 to 7, its note is message 10; beta (2),
# its child, a failed turn and two inputs that wait; gamma (3) an open call of message 3; delta (4) a live turn of a
# dead owner.
# epsilon (5) calls of message 3 that were decided, and two of message 7 that wait.
ALPHA, BETA, GAMMA, DELTA, EPSILON = "alpha", "beta", "gamma", "delta", "epsilon"


def _broken(
    rule: str,
    *statements: str,
    session: str | None = ALPHA,
    seq: int | None = None,
    also: tuple[str, ...] = (),
    unique: tuple[str, str] | None = None,
    words: str = "",
) -> Damage:
    """`unique`: a table and the rule it is to lose first."""

    def do(path: Path) -> None:
        if unique is not None:
            _without(path, *unique)
        run(path, *statements)
        reseal(path)

    if unique is not None or any(statement.startswith("DROP INDEX") for statement in statements):
        also = (*also, "schema")
    return Damage(name=rule, rule=rule, do=do, session=session, seq=seq, also=also, words=words)


def _without(path: Path, table: str, rule: str) -> None:
    """Take a UNIQUE rule out of a table's definition, with its index."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        index = f"sqlite_autoindex_{table}_{1 if table == 'sessions' else 2}"
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, '') WHERE name = ? AND instr(sql, ?)", (rule, table, rule)
        )
        assert changed.rowcount == 1
        assert connection.execute("DELETE FROM sqlite_master WHERE name = ?", (index,)).rowcount == 1
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("VACUUM")


_MESSAGE: Final = """INSERT INTO messages (session, seq, turn, place, role, body, created_at, crc)
    VALUES ({0}, {1}, {2}, {1}, '{3}', '{4}', 0, 0)"""
_TURN: Final = """INSERT INTO turns SELECT session, number + 1, origin, request_id, metadata, {0}, status, stop_reason,
    error_code, error, epoch + 1, owner, rounds, tool_calls, answer_seq, started_at, {1}, crc, end_crc
    FROM turns WHERE session = 4"""

INVARIANTS: Final = [
    _broken("session_ids_unique", "UPDATE sessions SET id = 'alpha' WHERE key = 2", unique=("sessions", " UNIQUE"),
            words="2 sessions"),
    _broken("parent_exists", "UPDATE sessions SET parent = 99 WHERE key = 2", session="beta", also=("foreign_keys",)),
    _broken("parent_is_older", "UPDATE sessions SET parent = 2 WHERE key = 1"),
    _broken("session_keys_counted", "UPDATE sqlite_sequence SET seq = 4", session=EPSILON),
    _broken("active_count", "UPDATE sessions SET active = 6 WHERE key = 1", words="6 active messages were written, 5"),
    _broken("next_seq_free", "UPDATE sessions SET next_seq = 11 WHERE key = 1", seq=11),
    _broken("no_seq_gaps", "UPDATE sessions SET next_seq = 14 WHERE key = 1", seq=12,
            words="messages 12 to 13 are gone"),
    _broken("turns_numbered", "UPDATE sessions SET next_turn = 5 WHERE key = 1", words="4 turns were written, 3"),
    _broken("usage_numbered", "UPDATE sessions SET usage_rows = 6 WHERE key = 1"),
    _broken("events_numbered", "DELETE FROM events WHERE session = 1 AND number = 1",
            words="events 1 to 1 are not there"),
    _broken("rows_have_a_session", "UPDATE compactions SET session = 99", session=None,
            also=("foreign_keys", "folded_by_a_compaction", "note_of_its_compaction"),
            words="number 99, which is gone"),
    _broken("rows_have_a_turn", "UPDATE usage SET turn = 9 WHERE purpose = 'summary'", words="turn 9"),
    _broken("quarantined_is_at_rest", "UPDATE sessions SET recoveries = 3, quarantined_at = 1 WHERE key = 4",
            session=DELTA),
    _broken("input_is_waiting_or_taken", "UPDATE inputs SET taken_at = 1 WHERE number = 1", session=BETA,
            words="input 1 waits"),
    _broken("input_in_its_message", "UPDATE inputs SET turn = 1, seq = 1, taken_at = 1, body = NULL WHERE number = 1",
            session=BETA, seq=1),
    _broken("one_input_a_message", "DROP INDEX one_input_a_message",
            "UPDATE inputs SET turn = 1, seq = 2, taken_at = 1, body = NULL", session=BETA, seq=2),
    _broken("request_waits_once", "UPDATE inputs SET session = 1 WHERE request_id = 'first'"),
    _broken("closed_has_no_inputs", "UPDATE sessions SET closed_at = 1 WHERE key = 2", session=BETA),
    _broken("closed_is_at_rest", "UPDATE sessions SET closed_at = 1 WHERE key = 3", session=GAMMA, seq=3),
    _broken("owner_has_a_live_turn", """UPDATE sessions SET owner_since = 1,
            owner = (SELECT d.owner FROM sessions d WHERE d.key = 4) WHERE key = 1"""),
    _broken("live_turn_has_an_owner", """UPDATE sessions SET owner = NULL, owner_since = NULL, stop_requested_at = NULL,
            stop_reason = NULL WHERE key = 4""", session=DELTA),
    _broken("live_turn_is_its_owners", "UPDATE sessions SET epoch = 2 WHERE key = 4", session=DELTA),
    _broken("one_live_turn", "DROP INDEX one_live_turn", _TURN.format("state", "ended_at"),
            "UPDATE sessions SET next_turn = 3, epoch = 2 WHERE key = 4", session=DELTA,
            also=("live_turn_is_the_last", "live_turn_is_its_owners")),
    _broken("live_turn_is_the_last", _TURN.format("'interrupted'", "1"),
            "UPDATE turns SET status = 'interrupted' WHERE session = 4 AND number = 2",
            "UPDATE sessions SET next_turn = 3, epoch = 2 WHERE key = 4", session=DELTA,
            also=("live_turn_is_its_owners",)),
    _broken("owner_since_when", "UPDATE sessions SET owner_since = NULL WHERE key = 4", session=DELTA),
    _broken("stop_request_is_whole", "UPDATE sessions SET stop_requested_at = 1, stop_reason = 'x' WHERE key = 1"),
    _broken("epoch_is_the_highest", "UPDATE sessions SET epoch = 2 WHERE key = 1"),
    _broken("turn_epochs_rise", "UPDATE turns SET epoch = 1 WHERE session = 1 AND number = 2"),
    _broken("ended_turn_says_how", "UPDATE turns SET ended_at = NULL WHERE session = 1 AND number = 1",
            also=("checksums",), words="turn 1 is done and has no end"),
    _broken("status_fits_the_state", "UPDATE turns SET status = 'failed' WHERE session = 1 AND number = 1"),
    _broken("answer_of_a_done_turn", "UPDATE turns SET answer_seq = 2 WHERE session = 1 AND number = 1", seq=2),
    _broken("failed_turn_has_its_error", "UPDATE turns SET error_code = NULL WHERE session = 2", session="beta"),
    _broken("origin_is_an_input", "UPDATE turns SET origin = 1 WHERE session = 1 AND number = 2"),
    _broken("input_of_a_turn", "UPDATE turns SET origin = 2 WHERE session = 3 AND number = 2", session=GAMMA),
    _broken("request_ids_unique", "DROP INDEX one_input_a_request",
            "UPDATE turns SET request_id = 'first' WHERE number = 2"
            " AND session = 1", words="2 inputs have the request id first"),
    _broken("tool_calls_counted", "UPDATE turns SET tool_calls = 3 WHERE session = 1 AND number = 2"),
    _broken("rounds_counted", "UPDATE turns SET rounds = 3 WHERE session = 1 AND number = 2"),
    _broken("usage_of_answers", "UPDATE usage SET purpose = 'dropped' WHERE session = 1 AND number = 1"),
    _broken("folded_says_by_what", "UPDATE messages SET folded_by = NULL WHERE session = 1 AND seq = 2", seq=2,
            also=("checksums", "compaction_counts")),
    _broken("folded_by_a_compaction", "UPDATE messages SET folded_by = 2 WHERE folded_by = 1", seq=2,
            also=("compaction_counts",)),
    _broken("note_of_its_compaction", "UPDATE messages SET note_of = 1 WHERE session = 1 AND seq = 11", seq=11),
    _broken("compaction_has_its_note", "UPDATE messages SET note_of = NULL, place = 10 WHERE session = 1 AND seq = 10",
            seq=10),
    _broken("compaction_counts", "UPDATE compactions SET folded = 7", seq=10),
    _broken("undone_holds_its_notes", "UPDATE compactions SET undone_at = 0", seq=10),
    _broken("pinned_stays", "UPDATE messages SET pinned = 1 WHERE session = 1 AND seq = 2", seq=2),
    _broken("place_is_where_written", "UPDATE messages SET place = 20 WHERE session = 1 AND seq = 11", seq=11),
    _broken("one_message_a_place", "DROP INDEX active_messages",
            "UPDATE messages SET place = 9 WHERE session = 1 AND seq = 10",
            seq=9),
    _broken("calls_of_answers", "UPDATE calls SET name = 'other' WHERE session = 3 AND ordinal = 1",
            session=GAMMA, seq=3),
    _broken("call_was_asked_for", "UPDATE calls SET turn = 2 WHERE session = 3",
            "UPDATE turns SET tool_calls = 2 * (number = 2) WHERE session = 3", session=GAMMA, seq=3),
    _broken("call_ids_distinct", "UPDATE calls SET id = 'call_0' WHERE session = 3", """UPDATE messages
            SET body = replace(body, 'call_1', 'call_0') WHERE session = 3""", session=GAMMA, seq=3,
            unique=("calls", "UNIQUE (session, seq, id),")),
    _broken("result_answers_a_call", _MESSAGE.format(1, 12, 3,
            "tool", '{"role":"tool","tool_call_id":"c9","content":""}'),
            "UPDATE sessions SET next_seq = 13, active = 6 WHERE key = 1", seq=12),
    _broken("result_is_of_its_call",
            "UPDATE messages SET body = replace(body, 'call_0', 'call_9') WHERE session = 3 AND seq = 4",
            session=GAMMA, seq=3),
    _broken("one_result_a_call", "DROP INDEX one_result_a_call", "UPDATE calls SET result_seq = 6 WHERE session = 1",
            seq=6,
            also=("checksums", "result_answers_a_call", "result_is_of_its_call", "result_in_its_place")),
    _broken("result_in_its_place", "UPDATE calls SET result_seq = -result_seq WHERE session = 1",
            "UPDATE calls SET result_seq = 13 + result_seq WHERE session = 1", """UPDATE messages
            SET body = replace(body, iif(seq = 6, '"c1"', '"c2"'), iif(seq = 6, '"c2"', '"c1"'))
            WHERE session = 1 AND seq IN (6, 7)""", seq=5, also=("checksums",)),
    _broken("short_result_is_kept_whole", "DELETE FROM outputs", seq=6, words="message 6 shows a part"),
    _broken("output_of_a_short_result", "INSERT INTO outputs SELECT session, 7, characters, data, crc FROM outputs",
            seq=7, words="message 7, which does not say"),
    _broken("pairs_fold_together",
            "UPDATE messages SET state = 'active', folded_by = NULL WHERE session = 1 AND seq = 7",
            "UPDATE sessions SET active = 6 WHERE key = 1", "UPDATE compactions SET folded = 5, last_seq = 6", seq=5),
    _broken("protocol", "UPDATE messages SET place = 0 WHERE session = 3 AND seq = 4", session=GAMMA, seq=3,
            also=("place_is_where_written",)),
    _broken("open_calls_at_the_end", _MESSAGE.format(3, 6, 2, "user", '{"role":"user","content":"well?"}'),
            "UPDATE sessions SET next_seq = 7, active = 5 WHERE key = 3", session=GAMMA, seq=3),
    _broken("open_calls_fit_the_turn", """UPDATE turns SET state = 'asking', ended_at = NULL, status = NULL, epoch = 3
            WHERE session = 3 AND number = 2""", """UPDATE sessions SET owner_since = 1,
            owner = (SELECT owner FROM turns WHERE session = 3 AND number = 2) WHERE key = 3""", session=GAMMA, seq=3),
    _broken("settled_call_has_its_evidence", "UPDATE calls SET settled_at = NULL WHERE session = 1 AND ordinal = 0",
            seq=5),
    _broken("started_call_has_its_evidence", "UPDATE calls SET started_at = NULL WHERE session = 1 AND ordinal = 0",
            seq=5, also=("checksums",)),
    _broken("settled_by_fits_the_state", "UPDATE calls SET settled_by = 'abort' WHERE session = 1 AND ordinal = 0",
            seq=5),
    _broken("wait_of_a_call", "UPDATE waits SET ordinal = 9 WHERE seq = 3 AND ordinal = 2", session=EPSILON, seq=3,
            also=("foreign_keys",)),
    _broken("waits_counted", "DELETE FROM waits WHERE seq = 3 AND ordinal = 2", session=EPSILON, words="5 times"),
    _broken("rules_counted", "UPDATE sessions SET rules = 1 WHERE key = 5", session=EPSILON),
    _broken("approval_asked_for", "DELETE FROM waits WHERE seq = 7 AND ordinal = 1", session=EPSILON, seq=7,
            also=("waits_counted",)),
    _broken("ran_as_approved", "UPDATE waits SET decision = 'denied', changed = NULL WHERE seq = 3 AND ordinal = 1",
            session=EPSILON, seq=3, words="its approval was denied"),
    _broken("awaited_was_handed_over", """UPDATE calls SET state = 'requested', attempt = 0, started_at = NULL
            WHERE session = 5 AND seq = 7 AND ordinal = 0""", session=EPSILON, seq=7),
]  # fmt: skip


def _changed(
    table: str, change: str, words: str, session: str, seq: int | None = None, also: tuple[str, ...] = ()
) -> Damage:
    def do(path: Path) -> None:
        run(path, f"UPDATE {table} SET {change}")

    name = f"checksum_{table}_{change.split()[0]}"
    return Damage(name=name, rule="checksums", do=do, words=words, session=session, seq=seq, also=also)


CHECKSUMS: Final = [
    _changed("sessions", "metadata = '{}' WHERE key = 1", "the row of session 'alpha'", ALPHA),
    _changed("sessions", "stop_reason = 'no' WHERE key = 4", "the request to stop session 'delta'", DELTA),
    _changed("turns", "request_id = 'third' WHERE session = 1 AND number = 1", "turn 1", ALPHA),
    _changed("turns", "stop_reason = 'stopp' WHERE session = 1 AND number = 1", "turn 1", ALPHA),
    _changed("messages", "body = replace(body, 'hello', 'hallo') WHERE session = 1 AND seq = 2", "message 2", ALPHA, 2),
    _changed("messages", "provider = '{}' WHERE session = 1 AND seq = 5", "message 5", ALPHA, 5),
    _changed("messages", "role = 'nobody' WHERE session = 1 AND seq = 9", "message 9", ALPHA, 9, ("input_of_a_turn",)),
    _changed("messages", "created_at = 1 << 62 WHERE session = 1 AND seq = 9", "message 9", ALPHA, 9),
    _changed(
        "calls", "arguments = '{}' WHERE session = 3 AND ordinal = 1", "call call_1", GAMMA, 3, ("calls_of_answers",)
    ),
    _changed("calls", "effect = 'read' WHERE session = 3 AND ordinal = 1", "call call_1", GAMMA, 3),
    _changed("calls", "effect = 'odd' WHERE session = 3 AND ordinal = 1", "call call_1", GAMMA, 3),
    _changed("calls", "settled_by = 'odd' WHERE session = 1 AND ordinal = 0", "call c1", ALPHA, 5),
    _changed(
        "waits",
        "arguments = '{}' WHERE seq = 7 AND kind = 'approval'",
        "what call 1 of message 7 waits for",
        EPSILON,
        7,
    ),
    _changed("waits", "said = 'fine' WHERE seq = 3 AND ordinal = 2", "what call 2 of message 3 waits for", EPSILON, 3),
    _changed("usage", "prompt_tokens = 1 WHERE session = 1 AND number = 1", "usage row 1", ALPHA),
    _changed("inputs", "body = replace(body, 'more', 'less')", "input 2", BETA),
    _changed("inputs", "mode = 'jump' WHERE number = 1", "input 1", BETA),
    _changed("outputs", "data = zeroblob(length(data))", "the whole text of message 6", ALPHA, 6),
    _changed("outputs", "crc = crc + 1", "the whole text of message 6", ALPHA, 6),
    _changed("outputs", "characters = characters + 1", "the whole text of message 6", ALPHA, 6),
    _changed("compactions", "strategy = 'other'", "compaction 1", ALPHA, 10),
]
