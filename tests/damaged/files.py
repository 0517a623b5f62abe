"""Faults of the file itself, and of what lies beside it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.damaged.damage import Damage, run


def _bytes(change: Callable[[bytearray], object]) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        change(raw)
        path.write_bytes(raw)

    return do


def _sql(*statements: str) -> Callable[[Path], None]:
    return lambda path: run(path, *statements)


def _page(name: str, at: int, new: bytes) -> Callable[[Path], None]:
    """Overwrite something in the first page of a table or an index."""

    def do(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        start = (page - 1) * 4096 + at
        _bytes(lambda raw: raw.__setitem__(slice(start, start + len(new)), new))(path)

    return do


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name)")


def _with_log(change: Callable[[bytearray], object]) -> Callable[[Path], None]:
    """Leave the log of a process that died after four commits, changed."""

    def do(path: Path) -> None:
        copy = path.with_name("copy")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for number in range(1, 5):
                connection.execute("UPDATE sessions SET updated_at = updated_at + 1 WHERE key = ?", (number,))
            raw = bytearray(path.with_name(path.name + "-wal").read_bytes())
            shutil.copyfile(path, copy)
        change(raw)
        os.replace(copy, path)
        path.with_name(path.name + "-wal").write_bytes(raw)

    return do


def _flip(at: int) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[at] ^= 1

    return change


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _gone_but_for_its_log(path: Path) -> None:
    path.unlink()
    path.with_name(path.name + "-wal").write_bytes(b"what is left")


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _noise(raw: bytearray) -> None:
    raw[:] = random.Random(1).randbytes(len(raw))


def _log_of(raw: bytearray, keep: int) -> None:
    del raw[keep:]


FILES: Final = [
    Damage(name="not_a_database", rule="opens", do=lambda path: path.write_text("Dear diary, " * 900),
            code="store.open"),
    Damage(name="empty_file", rule="opens", do=lambda path: path.write_bytes(b""), code="store.empty_file"),
    Damage(name="missing_file", rule="opens", do=lambda path: path.unlink(), code="store.not_found"),
    Damage(name="missing_file_with_log", rule="opens", do=_gone_but_for_its_log, also=("wal",), code="store.not_found"),
    Damage(name="directory", rule="opens", do=_directory, code="store.open"),
    Damage(name="link_in_a_circle", rule="opens", do=_circle, code="store.open"),
    Damage(name="truncated", rule="opens", do=_bytes(lambda raw: _log_of(raw, len(raw) - 9000)), code="store.damaged"),
    Damage(name="truncated_to_a_page", rule="opens", do=_bytes(lambda raw: _log_of(raw, 4096)), code="store.damaged"),
    Damage(name="truncated_in_its_header", rule="opens", do=_bytes(lambda raw: _log_of(raw, 50)), code="store.damaged"),
    Damage(name="header_overwritten", rule="opens", do=_bytes(lambda raw: raw.__setitem__(slice(0, 16), b"x" * 16)),
           code="store.open"),
    Damage(name="another_applications", rule="opens", do=_foreign, code="store.foreign"),
    Damage(name="wrong_application_id", rule="opens", do=_sql("PRAGMA application_id = 7"), code="store.foreign"),
    Damage(name="newer_schema", rule="opens", do=_sql("PRAGMA user_version = 9999"), code="store.schema_newer"),
    Damage(name="changed_migrations", rule="opens", do=_sql("UPDATE schema_migrations SET checksum = 'x'"),
           code="store.schema_changed"),
    Damage(name="journal_mode", rule="journal", do=_sql("PRAGMA journal_mode = DELETE"), words="is delete", warns=True),
    Damage(name="missing_index", rule="schema", do=_sql("DROP INDEX sessions_by_update"),
           words="index sessions_by_update is missing"),
    Damage(name="missing_index_of_open_calls", rule="schema", do=_sql("DROP INDEX open_calls"), also=("attention",),
           words="index open_calls is missing"),
    Damage(name="missing_view", rule="schema", do=_sql("DROP VIEW v_usage"), words="view v_usage is missing"),
    Damage(name="foreign_table", rule="schema", do=_sql("CREATE TABLE notes (text)"),
            words="table notes is not of ours"),
    Damage(name="foreign_trigger", rule="schema", do=_sql("CREATE TRIGGER t AFTER INSERT ON usage BEGIN SELECT 1; END"),
           words="trigger t is not of ours"),
    Damage(name="rows_of_nobody", rule="foreign_keys", do=_sql("DELETE FROM sessions WHERE key = 3"),
           also=("rows_have_a_session",), words="whose sessions row is gone"),
    Damage(name="damaged_page", rule="integrity", do=_page("usage", 0, b"\xa5" * 4096),
           also=("checksums", "consistency", "foreign_keys"),
           words="table usage or an index"),
    Damage(name="damaged_index", rule="integrity", do=_page("sessions_by_update", 0, b"\xa5" * 4096),
           words="table sessions or an index"),
    Damage(name="lying_index", rule="integrity", do=_page("sessions_by_update", 4095, b"\x7f")),
    Damage(name="log_of_noise", rule="wal", do=_with_log(_noise), words="is no write-ahead log"),
    Damage(name="log_cut_in_its_header", rule="wal", do=_with_log(lambda raw: _log_of(raw, 20)),
            words="is no write-ahead"),
    Damage(name="log_with_a_damaged_header", rule="wal", do=_with_log(_flip(20)), words="is no write-ahead log"),
    Damage(name="log_with_a_damaged_frame", rule="wal", do=_with_log(_flip(32 + 24 + 100)), words="will not be read"),
    Damage(name="log_with_a_damaged_end", rule="wal", do=_with_log(_flip(-100)), words="1 commit(s)", warns=True),
    Damage(name="others_may_read", rule="permissions", do=lambda path: path.chmod(0o644), words="agent.db 0644",
           warns=True),
]  # fmt: skip
