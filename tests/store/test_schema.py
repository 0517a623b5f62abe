"""The schema: readable in one file, equal to the migrations and to the enums, and strict with whoever writes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from typing import Final

import pytest

from power_loop.engine.calls import OPEN, CallState, Decision, SettledBy, WaitKind
from power_loop.engine.turns import LIVE, TurnState
from power_loop.values import Effect, InputMode, Status
from tests.store import schema_text
from tests.store.kit import MIGRATIONS, migrated, schema_of


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """A database with one session, a turn that runs, a message that asks for three calls, and what goes with them."""
    with closing(migrated(MIGRATIONS)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(ROWS)
        yield connection


ROWS: Final = """
INSERT INTO sessions (key, id, created_at, updated_at, crc) VALUES (1, 's', 0, 0, 0), (2, 't', 0, 0, 0);
INSERT INTO turns (session, number, origin, request_id, state, status, epoch, owner, answer_seq, started_at, ended_at,
                   crc, end_crc)
VALUES (1, 1, 1, 'r', 'done', 'completed', 1, 'o', 2, 0, 1, 0, 0),
       (1, 2, 2, NULL, 'acting', NULL, 2, 'o', NULL, 2, NULL, 0, NULL);
INSERT INTO messages (session, seq, turn, place, role, body, created_at, crc)
VALUES (1, 1, 1, 1, 'user', '{}', 0, 0), (1, 2, 1, 2, 'assistant', '{}', 0, 0), (1, 3, 2, 3, 'assistant', '{}', 0, 0),
       (1, 4, 2, 4, 'tool', '{}', 0, 0);
INSERT INTO calls (session, seq, ordinal, turn, id, name, arguments, arguments_hash, effect, state, settled_by, attempt,
                   epoch, requested_at, started_at, settled_at, result_seq, crc)
VALUES (1, 3, 0, 2, 'a', 'n', '', '', 'once', 'succeeded', 'run', 1, 2, 0, 0, 0, 4, 0),
       (1, 3, 1, 2, 'b', 'n', '', '', 'once', 'started', NULL, 1, 2, 0, 0, NULL, NULL, 0),
       (1, 3, 2, 2, 'c', 'n', '', '', 'once', 'requested', NULL, 0, 2, 0, NULL, NULL, NULL, 0);
INSERT INTO usage (session, number, turn, purpose, model, milliseconds, at, crc)
VALUES (1, 1, 1, 'answer', 'm', 0, 0, 0);
INSERT INTO compactions (session, number, turn, strategy, first_seq, last_seq, folded, note_seq, before_tokens,
                         after_tokens, at, crc)
VALUES (1, 1, 1, 'summary', 1, 2, 2, 3, 9, 1, 0, 0);
INSERT INTO inputs (number, session, mode, request_id, body, sender, arrived_at, turn, seq, taken_at, crc)
VALUES (1, 1, 'wait', 'i', NULL, 'o', 0, 1, 1, 0, 0), (2, 1, 'steer', 'j', '{}', 'o', 0, NULL, NULL, NULL, 0),
       (3, 1, 'wait', NULL, NULL, 'o', 0, 2, 3, 0, 0);
INSERT INTO waits (session, seq, ordinal, kind, arguments, arguments_hash, asked_at, decision, said, decided_at, crc,
                   decision_crc)
VALUES (1, 3, 1, 'result', '{}', '', 0, 'answered', 'x', 0, 0, 0),
       (1, 3, 1, 'approval', '{}', '', 0, NULL, NULL, NULL, 0, NULL);
INSERT INTO events VALUES (1, 1, 1, '[]', 0, 0);
INSERT INTO rules VALUES (1, 'w', '{}', 1, 0, 0);
"""

REFUSED: Final = {
    # One of each "only one" rule.
    "two sessions of one id": "UPDATE sessions SET id = 's' WHERE key = 2",
    "two live turns": "UPDATE turns SET state = 'asking', status = NULL, ended_at = NULL, end_crc = NULL, "
    "answer_seq = NULL WHERE number = 1",
    "two inputs of one request": "UPDATE turns SET request_id = 'r' WHERE number = 2",
    "two active messages in a place": "UPDATE messages SET place = 1, note_of = 1 WHERE seq = 2",
    "two messages of a number": "UPDATE messages SET seq = 1, place = 1 WHERE seq = 2",
    "one result for two calls": "UPDATE calls SET state = 'failed', settled_by = 'run', settled_at = 0, result_seq = 4 "
    "WHERE ordinal = 1",
    "two calls of one id in one message": "UPDATE calls SET id = 'a' WHERE ordinal = 1",
    "two calls in one place": "UPDATE calls SET ordinal = 0 WHERE ordinal = 1",
    "two waiting inputs of one request": "UPDATE inputs SET request_id = 'i' WHERE number = 2",
    "one message of two inputs": "UPDATE inputs SET seq = 1 WHERE number = 3",
    # A state and its evidence.
    "an input taken by a turn without a message": "UPDATE inputs SET seq = NULL WHERE number = 1",
    "an input taken at no time": "UPDATE inputs SET taken_at = NULL WHERE number = 1",
    "a waiting input without its text": "UPDATE inputs SET body = NULL WHERE number = 2",
    "a settled call without a result": "UPDATE calls SET result_seq = NULL WHERE ordinal = 0",
    "an open call with a result": "UPDATE calls SET result_seq = 2 WHERE ordinal = 1",
    "a call settled without saying so": "UPDATE calls SET state = 'started' WHERE ordinal = 0",
    "a settled call without a time": "UPDATE calls SET settled_at = NULL WHERE ordinal = 0",
    "an open call with a time of its end": "UPDATE calls SET settled_at = 0 WHERE ordinal = 1",
    "a settled call by nobody": "UPDATE calls SET settled_by = NULL WHERE ordinal = 0",
    "an open call settled by somebody": "UPDATE calls SET settled_by = 'run' WHERE ordinal = 1",
    "a started call without a time": "UPDATE calls SET started_at = NULL WHERE ordinal = 1",
    "a started call without an attempt": "UPDATE calls SET attempt = 0, started_at = NULL WHERE ordinal = 1",
    "a requested call with an attempt": "UPDATE calls SET attempt = 1, started_at = 0 WHERE ordinal = 2",
    "an attempt without a start": "UPDATE calls SET attempt = 1 WHERE ordinal = 2",
    "a negative attempt": "UPDATE calls SET state = 'failed', attempt = -1 WHERE ordinal = 0",
    "a decision on a call that never ran": "UPDATE calls SET decision = 'retry' WHERE ordinal = 2",
    "a call without an id": "UPDATE calls SET id = '' WHERE ordinal = 2",
    "a live turn with an end": "UPDATE turns SET ended_at = 5 WHERE number = 2",
    "a live turn with a whole end": "UPDATE turns SET ended_at = 5, status = 'failed', end_crc = 0 WHERE number = 2",
    "an ended turn without an end": "UPDATE turns SET ended_at = NULL WHERE number = 1",
    "an ended turn without a status": "UPDATE turns SET status = NULL WHERE number = 1",
    "a live turn with a status": "UPDATE turns SET status = 'completed' WHERE number = 2",
    "an ended turn without a seal": "UPDATE turns SET end_crc = NULL WHERE number = 1",
    "a done turn without an answer": "UPDATE turns SET answer_seq = NULL WHERE number = 1",
    "an answer to a turn that runs": "UPDATE turns SET answer_seq = 2 WHERE number = 2",
    "a failed turn without a code": "UPDATE turns SET state = 'failed', answer_seq = NULL WHERE number = 1",
    "an error of a turn that did not fail": "UPDATE turns SET error_code = 'x' WHERE number = 1",
    "a request id of a turn that goes on": "UPDATE turns SET request_id = 'q', origin = 1 WHERE number = 2",
    "a turn that goes on from a later one": "UPDATE turns SET origin = 3 WHERE number = 2",
    "a folded message without its compaction": "UPDATE messages SET state = 'compacted_out' WHERE seq = 2",
    "an active message with a compaction": "UPDATE messages SET folded_by = 1 WHERE seq = 2",
    "a message that stands elsewhere": "UPDATE messages SET place = 9 WHERE seq = 2",
    "an owner without a time": "UPDATE sessions SET owner = 'o' WHERE key = 1",
    "a request to stop without a reason": "UPDATE sessions SET stop_requested_at = 0, stop_crc = 0 WHERE key = 1",
    "a reason to stop without a seal": "UPDATE sessions SET stop_requested_at = 0, stop_reason = 'r' WHERE key = 1",
    # Words and numbers out of range.
    "an unknown turn state": "UPDATE turns SET state = 'resting', answer_seq = NULL WHERE number = 1",
    "an unknown status": "UPDATE turns SET status = 'fine' WHERE number = 1",
    "an unknown call state": "UPDATE calls SET state = 'pending' WHERE ordinal = 0",
    "an unknown effect": "UPDATE calls SET effect = 'twice' WHERE ordinal = 1",
    "an unknown hand": "UPDATE calls SET settled_by = 'chance' WHERE ordinal = 0",
    "an unknown decision": "UPDATE calls SET decision = 'maybe' WHERE ordinal = 1",
    "an unknown role": "UPDATE messages SET role = 'developer' WHERE seq = 1",
    "an unknown message state": "UPDATE messages SET state = 'gone', folded_by = NULL WHERE seq = 1",
    "an unknown purpose": "UPDATE usage SET purpose = 'fun'",
    "a session without an id": "UPDATE sessions SET id = '' WHERE key = 1",
    "an id of 201 characters": "UPDATE sessions SET id = printf('%.201c', 'x') WHERE key = 1",
    "metadata that is no JSON": "UPDATE sessions SET metadata = '{' WHERE key = 1",
    "metadata of a turn that is no JSON": "UPDATE turns SET metadata = '{' WHERE number = 1",
    "a body that is no JSON": "UPDATE messages SET body = 'hello' WHERE seq = 1",
    "provider data that is no JSON": "UPDATE messages SET provider = 'hello' WHERE seq = 1",
    "a pin that is no yes or no": "UPDATE messages SET pinned = 2 WHERE seq = 1",
    "call -1 of a message": "UPDATE calls SET ordinal = -1 WHERE ordinal = 2",
    "a call of turn 0": "UPDATE calls SET turn = 0 WHERE ordinal = 2",
    "usage 0": "UPDATE usage SET number = 0",
    "usage of turn -1": "UPDATE usage SET turn = -1",
    "compaction 0": "UPDATE compactions SET number = 0",
    "a compaction of turn -1": "UPDATE compactions SET turn = -1",
    "less than no tokens before": "UPDATE compactions SET before_tokens = -1",
    "less than no tokens after": "UPDATE compactions SET after_tokens = -1",
    "message 0": "UPDATE messages SET seq = 0, place = 0 WHERE seq = 2",
    "a message of turn -1": "UPDATE messages SET turn = -1 WHERE seq = 1",
    "turn 0": "UPDATE turns SET number = 0, origin = 0 WHERE number = 1",
    "epoch -1": "UPDATE sessions SET epoch = -1 WHERE key = 1",
    "epoch 0 of a turn": "UPDATE turns SET epoch = 0 WHERE number = 1",
    "epoch 0 of a call": "UPDATE calls SET epoch = 0 WHERE ordinal = 0",
    "less than no active messages": "UPDATE sessions SET active = -1 WHERE key = 1",
    "less than no usage rows": "UPDATE sessions SET usage_rows = -1 WHERE key = 1",
    "a next message 0": "UPDATE sessions SET next_seq = 0 WHERE key = 1",
    "a next turn 0": "UPDATE sessions SET next_turn = 0 WHERE key = 1",
    "less than no rounds": "UPDATE turns SET rounds = -1 WHERE number = 1",
    "less than no calls": "UPDATE turns SET tool_calls = -1 WHERE number = 1",
    "less than no tokens": "UPDATE usage SET prompt_tokens = -1",
    "less than no cached tokens": "UPDATE usage SET cached_tokens = -1",
    "less than no reasoning": "UPDATE usage SET reasoning_tokens = -1",
    "less than no answer": "UPDATE usage SET completion_tokens = -1",
    "less than no cost": "UPDATE usage SET cost = -0.01",
    "less than no time": "UPDATE usage SET milliseconds = -1",
    "a compaction of nothing": "UPDATE compactions SET folded = 0",
    "a compaction without a note": "UPDATE compactions SET notes = 0",
    "a compaction after less than no usage": "UPDATE compactions SET usage_rows = -1",
    "an undoing at no time": "UPDATE compactions SET undone_usage_rows = 1",
    "less than no failed compactions": "UPDATE sessions SET failed_compactions = -1 WHERE key = 1",
    "less than no context": "UPDATE sessions SET context_tokens = -1 WHERE key = 1",
    "a window of nothing": "UPDATE sessions SET context_window = 0 WHERE key = 1",
    "an input pinned neither yes nor no": "UPDATE inputs SET pinned = 2 WHERE number = 1",
    "a whole result of nothing": "INSERT INTO outputs VALUES (1, 1, 0, x'00', 0)",
    "a whole result of no message": "INSERT INTO outputs VALUES (1, 99, 1, x'00', 0)",
    "less than no recoveries": "UPDATE sessions SET recoveries = -1 WHERE key = 1",
    "an unknown mode": "UPDATE inputs SET mode = 'jump' WHERE number = 2",
    "metadata of an input that is no JSON": "UPDATE inputs SET metadata = '{' WHERE number = 1",
    "an input that is no JSON": "UPDATE inputs SET body = 'hello' WHERE number = 2",
    "an unknown kind of wait": "UPDATE waits SET kind = 'money' WHERE kind = 'approval'",
    "an unknown word of a person": "UPDATE waits SET decision = 'maybe', decided_at = 0, decision_crc = 0 "
    "WHERE kind = 'approval'",
    "a person's word at no time": "UPDATE waits SET decision = 'denied', decision_crc = 0 WHERE kind = 'approval'",
    "a person's word without a seal": "UPDATE waits SET decision = 'denied', decided_at = 0 WHERE kind = 'approval'",
    "a reason for no word": "UPDATE waits SET said = 'x' WHERE kind = 'approval'",
    "a result that is approved": "UPDATE waits SET decision = 'approved' WHERE kind = 'result'",
    "an answer of nothing": "UPDATE waits SET said = NULL WHERE kind = 'result'",
    "other arguments that nobody approved": "UPDATE waits SET changed = '{}', decision = 'denied', decided_at = 0, "
    "decision_crc = 0 WHERE kind = 'approval'",
    "a refusal that failed": "UPDATE waits SET failed = 1, decision = 'denied', decided_at = 0, decision_crc = 0 "
    "WHERE kind = 'approval'",
    "a part of no result": "UPDATE waits SET part = 'x' WHERE kind = 'approval'",
    "a part of a refusal": "UPDATE waits SET part = 'x', decision = 'denied', decided_at = 0, decision_crc = 0 "
    "WHERE kind = 'approval'",
    "a result neither right nor wrong": "UPDATE waits SET failed = 2 WHERE kind = 'result'",
    "less than nobody waited for": "UPDATE sessions SET waits = -1 WHERE key = 1",
    "less than no rules": "UPDATE sessions SET rules = -1 WHERE key = 1",
    "less than no events": "UPDATE sessions SET events = -1 WHERE key = 1",
    "rules of approvals that are no JSON": "UPDATE sessions SET approvals = '{' WHERE key = 1",
    "event 0": "UPDATE events SET number = 0",
    "no facts": "UPDATE events SET facts = 0",
    "facts that are no JSON": "UPDATE events SET body = 'x'",
    "a rule without a name": "UPDATE rules SET name = ''",
    "a memory that is no JSON": "UPDATE rules SET memory = 'x'",
    "a memory of turn 0": "UPDATE rules SET turn = 0",
    # Types (STRICT) and what must be there.
    "text for a number": "UPDATE sessions SET epoch = 'many' WHERE key = 1",
    "bytes for a text": "UPDATE messages SET body = x'7b7d' WHERE seq = 1",
    "a message without a body": "UPDATE messages SET body = NULL WHERE seq = 1",
    "a row without its seal": "UPDATE messages SET crc = NULL WHERE seq = 1",
    # Whose it is.
    "an input of no session": "UPDATE inputs SET session = 9 WHERE number = 2",
    "an input of a turn that is not there": "UPDATE inputs SET turn = 9 WHERE number = 1",
    "an input in a message that is not there": "UPDATE inputs SET seq = 9 WHERE number = 1",
    "a message of no session": "UPDATE messages SET session = 9 WHERE seq = 1",
    "a turn of no session": "UPDATE turns SET session = 9 WHERE number = 1",
    "usage of no session": "UPDATE usage SET session = 9",
    "a call of no message": "UPDATE calls SET seq = 9 WHERE ordinal = 2",
    "what no call waits for": "UPDATE waits SET ordinal = 9 WHERE kind = 'approval'",
    "an event of no session": "UPDATE events SET session = 9",
    "a memory of no session": "UPDATE rules SET session = 9",
    "a result that is not there": "UPDATE calls SET result_seq = 9 WHERE ordinal = 0",
    "a note that is not there": "UPDATE compactions SET note_seq = 9",
    "a parent that is not there": "UPDATE sessions SET parent = 9 WHERE key = 1",
    "a result taken away": "DELETE FROM messages WHERE seq = 4",
}


@pytest.mark.acceptance("A1")
@pytest.mark.parametrize("what", REFUSED)
def test_a1_the_schema_refuses(db: sqlite3.Connection, what: str) -> None:
    before = list(db.iterdump())
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(REFUSED[what])
    assert list(db.iterdump()) == before


@pytest.mark.acceptance("A1")
def test_a1_every_check_and_unique_rule_of_the_schema_is_in_the_table_above(db: sqlite3.Connection) -> None:
    """Each rule, dropped from the schema, lets one of the refused statements through."""
    needless, rules = [], 0
    for name, sql in schema_of(db).items():
        for start, end in rules_of(sql):
            rules += 1
            weaker = re.sub(r",\s*(?=[,)])", "", sql[:start] + sql[end:])
            if not passes_without(name, weaker):
                needless.append(f"{name}: {sql[start:end]}")
    assert rules > 60
    assert needless == ["turns: CHECK (number >= 1)"]  # which the origin's rule says too


def rules_of(sql: str) -> Iterator[tuple[int, int]]:
    """Where each CHECK (...) of a table is."""
    if not sql.startswith("CREATE TABLE"):
        return
    for found in re.finditer(r"\bCHECK \(", sql):
        depth, at = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[at], 0)
            at += 1
        yield found.start(), at


def passes_without(name: str, weaker: str) -> bool:
    """Whether something of REFUSED goes through once the object `name` is as in `weaker`."""
    for statement in REFUSED.values():
        if not re.search(rf"(UPDATE|FROM|INTO) {name}\b", statement):
            continue
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            with closing(migrated(MIGRATIONS)) as model:
                for other, sql in schema_of(model).items():
                    connection.execute(weaker if other == name else sql)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(ROWS)
            try:
                connection.execute(statement)
            except sqlite3.IntegrityError:
                continue
            return True
    return False


@pytest.mark.acceptance("A3")
def test_a3_schema_sql_is_what_the_migrations_give() -> None:
    with closing(sqlite3.connect(":memory:")) as written, closing(migrated(MIGRATIONS)) as made:
        written.executescript(schema_text.FILE.read_text(encoding="utf-8"))
        assert schema_of(written) == schema_of(made)
        for pragma in ("user_version", "application_id"):
            assert written.execute(f"PRAGMA {pragma}").fetchone() == made.execute(f"PRAGMA {pragma}").fetchone()
    assert schema_text.FILE.read_text(encoding="utf-8") == schema_text.text()


def words(db: sqlite3.Connection, table: str, column: str) -> set[str]:
    """The words that a CHECK lets into a column."""
    sql = schema_of(db)[table]
    [listed] = re.findall(rf"\b{column} TEXT[^,]*? CHECK \({column} IN \(([^)]*)\)\)", sql)
    return set(re.findall(r"'(\w+)'", listed))


ENUMS: Final = [
    ("turns", "state", TurnState),
    ("turns", "status", Status),
    ("calls", "state", CallState),
    ("calls", "effect", Effect),
    ("calls", "settled_by", SettledBy),
    ("inputs", "mode", InputMode),
    ("waits", "kind", WaitKind),
    ("waits", "decision", Decision),
]


@pytest.mark.acceptance("A3")
@pytest.mark.parametrize(("table", "column", "enum"), ENUMS)
def test_a3_enums_and_checks_are_equal(
    db: sqlite3.Connection,
    table: str,
    column: str,
    enum: type[TurnState | Status | CallState | Effect | SettledBy | InputMode | WaitKind | Decision],
) -> None:
    assert words(db, table, column) == {str(member) for member in enum}


@pytest.mark.acceptance("A3")
def test_a3_what_is_open_and_what_is_live_is_the_same_in_code_and_schema(db: sqlite3.Connection) -> None:
    calls, turns = schema_of(db)["calls"], schema_of(db)["turns"]
    [opened] = re.findall(r"CHECK \(\(state IN \(([^)]*)\)\) = \(result_seq IS NULL\)\)", calls)
    assert set(re.findall(r"'(\w+)'", opened)) == {str(state) for state in OPEN}
    [live] = re.findall(r"CHECK \(\(state IN \(([^)]*)\)\) = \(ended_at IS NULL\)\)", turns)
    assert set(re.findall(r"'(\w+)'", live)) == {str(state) for state in LIVE}


@pytest.mark.acceptance("A9")
def test_a9_no_flipped_bit_turns_one_word_of_the_schema_into_another(db: sqlite3.Connection) -> None:
    lists = [
        re.findall(r"'(\w+)'", listed)
        for sql in schema_of(db).values()
        for listed in re.findall(r"IN \(([^)]*)\)", sql)
    ]
    pairs = [pair for listed in lists for pair in combinations(set(listed), 2)]
    assert len(pairs) > 100
    for one, other in pairs:
        a, b = one.encode(), other.encode()
        distance = sum((x ^ y).bit_count() for x, y in zip(a, b, strict=False)) + 8 * abs(len(a) - len(b))
        assert distance > 1, f"{one} and {other} are one bit apart"
