"""The checksums of rows: what was written is what is read, or it is noticed.

A row's `crc` seals every column of it that never changes, a turn's `end_crc` those that are written at its end.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from power_loop.engine.facts import NewMessage, Wait
from power_loop.engine.outputs import Output
from power_loop.store.port import seal
from power_loop.values import CallKey


def session_seal(
    key: int,
    id: str,
    parent: int | None,
    model: str | None,
    metadata: str | None,
    created_at: int,
    approvals: str | None = None,
) -> int:
    """`approvals` counts where there are any: the sessions of older schemas have none."""
    return seal(key, id, parent, model, metadata, created_at, *(() if approvals is None else (approvals,)))


def message_seal(session: int, message: NewMessage, turn: int, note_of: int | None, created_at: int) -> int:
    place = message.seq if message.place is None else message.place
    where = (session, message.seq, turn, place, note_of, int(message.pinned), created_at)
    return seal(*where, message.role, message.body, message.provider)


def turn_seal(
    session: int, numbers: tuple[int, int, int], request_id: str | None, metadata: str | None, owner: str, started: int
) -> int:
    """`numbers`: its own, its origin, its epoch."""
    return seal(session, *numbers, request_id, metadata, owner, started)


def end_seal(
    status: str, stop_reason: str | None, error_code: str | None, error: str | None, answer_seq: int | None
) -> int:
    return seal(status, stop_reason, error_code, error, answer_seq)


def call_seal(
    session: int,
    key: CallKey,
    texts: tuple[str, str, str],
    hashes: tuple[str, str | None],
    effect: str,
    turn: int,
    requested_at: int,
) -> int:
    """`texts`: id, name, arguments; `hashes`: of the arguments, of the tool's schema."""
    return seal(session, key.seq, key.ordinal, *texts, *hashes, effect, turn, requested_at)


def usage_seal(
    session: int,
    turn: int,
    purpose: str,
    model: str,
    tokens: Sequence[int | None],
    spent: tuple[float | None, int, int],
) -> int:
    """`spent`: cost, milliseconds, when."""
    return seal(session, turn, purpose, model, *tokens, *spent)


def compaction_seal(session: int, number: int, strategy: str, model: str | None) -> int:
    return seal(session, number, strategy, model)


def input_seal(
    session: int,
    said: tuple[str, str | None, str | None, str | None],
    sender: str,
    arrived_at: int,
    taken: tuple[int, int] | None = None,
    *,
    pinned: bool = False,
) -> int:
    """`said`: mode, request id, metadata, body; `taken`: the turn and the message that has the body by now."""
    return seal(session, *said, sender, arrived_at, *(taken or ()), *(("pinned",) if pinned else ()))


def output_seal(session: int, seq: int, output: Output) -> int:
    return zlib.crc32(output.data, seal(session, seq, output.characters))


def wait_seal(session: int, kind: str, wait: Wait, asked_at: int) -> int:
    return seal(session, wait.key.seq, wait.key.ordinal, kind, wait.arguments, wait.reason, asked_at, wait.expires_at)


def decision_seal(decision: str, texts: tuple[str | None, ...], failed: int, decided_at: int) -> int:
    """`texts`: the arguments it changed, what was said, the part of it to show, by whom."""
    return seal(decision, *texts, failed, decided_at)


def event_seal(session: int, number: int, facts: int, body: str, at: int) -> int:
    return seal(session, number, facts, body, at)


def rule_seal(session: int, name: str, memory: str, turn: int, at: int) -> int:
    return seal(session, name, memory, turn, at)
