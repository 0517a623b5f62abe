"""Database files: made whole, upgraded once after a backup, refused before the first write."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

BAD: Final = "tests/store/test_bad_files.py::test_a7_a_bad_file_is_refused_and_left_as_it_is"

GUARDS: Final = (
    Guard(
        name="file-linked-in-its-place",
        keeps="Of two who make one database at once, the second uses the first's and does not replace it.",
        of="1 11, A7",
        file="power_loop/store/sqlite/opening.py",
        old="                    os.link(new, how.path)\n",
        new="                    os.replace(new, how.path)\n",
        test="tests/store/test_guards_found.py::test_who_comes_second_uses_the_database_of_the_first",
    ),
    Guard(
        name="file-empty-one-is-refused",
        keeps="A file of 0 bytes is a database that is gone; no new one is begun in its place unasked.",
        of="11, A7",
        file="power_loop/store/sqlite/opening.py",
        old="    if found.st_size == 0:\n        if how.create is True and not how.read_only:",
        new="    if found.st_size == 0:\n        if not how.read_only:",
        test=BAD,
    ),
    Guard(
        name="file-whose-log-is-left",
        keeps="The log of a database that is gone is not read into a new one.",
        of="1 11, A7",
        file="power_loop/store/sqlite/opening.py",
        old="        if log.exists() and log.stat().st_size > 0:\n",
        new="        if log.exists() and log.stat().st_size < 0:\n",
        test=BAD,
    ),
    Guard(
        name="file-of-another-application",
        keeps="Another application's database is not touched.",
        of="11, A7",
        file="power_loop/store/sqlite/opening.py",
        old="    if application != migrating.APPLICATION_ID:\n",
        new="    if application is None:\n",
        test=BAD,
    ),
    Guard(
        name="file-is-looked-at-before-it-is-written",
        keeps="Every check comes before the first write.",
        of="11, A3 A7",
        file="power_loop/store/sqlite/opening.py",
        old=(
            "        with closing(_connect(how, _looking(how.path))) as looked:\n"
            "            _check_ours(looked, how.path, migrations)\n"
        ),
        new="",
        test="tests/store/test_bad_files.py::test_a7_a_bad_file_is_refused_and_left_as_it_is",
    ),
    Guard(
        name="file-that-may-not-be-written",
        keeps="A read-only file is found out at once, not at the first send.",
        of="11, A7",
        file="power_loop/store/sqlite/opening.py",
        old="            raise _read_only()\n",
        new="            pass\n",
        test="tests/store/test_bad_files.py::test_a7_without_permission_nothing_is_touched",
    ),
    Guard(
        name="file-reader-cannot-write",
        keeps="A connection that only reads writes nothing.",
        of="11",
        file="power_loop/store/sqlite/opening.py",
        old='            connection.execute("PRAGMA query_only = ON")\n',
        new="",
        test="tests/store/test_bad_files.py::test_a7_a_store_opened_for_reading_refuses_to_write",
        redundant="the connection is opened with mode=ro",
    ),
    Guard(
        name="file-newer-schema",
        keeps="A file of a newer release is refused without a write.",
        of="11, A3",
        file="power_loop/store/sqlite/migrating.py",
        old="    if at > len(migrations):\n",
        new="    if at > len(migrations) + 99:\n",
        test="tests/store/test_migrations.py::test_a3_a_newer_file_is_refused_without_a_write",
    ),
    Guard(
        name="file-changed-schema",
        keeps="A schema that these migrations did not make is refused without a write.",
        of="11, A3",
        file="power_loop/store/sqlite/migrating.py",
        old="    if at < 1 or applied != expected:\n",
        new="    if at < 1:\n",
        test="tests/store/test_migrations.py::test_a3_a_schema_that_is_not_of_these_migrations_is_refused_without_a_write",
    ),
    Guard(
        name="file-backed-up-before-an-upgrade",
        keeps="An older file is copied before it is upgraded.",
        of="11, A3",
        file="power_loop/store/sqlite/migrating.py",
        old="        _back_up(connection, path, before)\n",
        new="        pass\n",
        test="tests/store/test_migrations.py::test_a3_an_older_file_is_upgraded_once_after_a_backup_and_keeps_every_row",
    ),
    Guard(
        name="file-backup-is-of-the-old-version",
        keeps="A process that comes late to an upgrade does not put a copy of the new file in the backup's place.",
        of="11, A3",
        file="power_loop/store/sqlite/migrating.py",
        old="        if copied == at:  # else",
        new="        if copied:  # else",
        test="tests/store/test_guards_found.py::test_a_backup_is_of_the_version_it_says",
    ),
    Guard(
        name="file-upgraded-once",
        keeps="Of several processes that upgrade one file, each migration is made by one.",
        of="A3",
        file="power_loop/store/sqlite/migrating.py",
        old="            if version(connection) == migration.version - 1:  # nobody else was faster\n",
        new="            if version(connection) < 99:\n",
        test="tests/store/test_migrations.py::test_a3_processes_that_open_at_once_upgrade_once",
    ),
    Guard(
        name="file-upgraded-in-one-transaction",
        keeps="A kill during an upgrade leaves the old schema or the new one, never a mix.",
        of="A3",
        file="power_loop/store/sqlite/migrating.py",
        old='        connection.execute("BEGIN IMMEDIATE")\n',
        new="",
        also=(('            connection.execute("COMMIT")\n', ""),),
        test="tests/store/test_migrations.py::test_a3_a_kill_at_any_statement_of_an_upgrade_leaves_old_or_new",
    ),
    Guard(
        name="file-statement-by-statement",
        keeps="A migration that fails changes nothing: its script does not commit what came before.",
        of="A3",
        file="power_loop/store/sqlite/migrating.py",
        old="                    connection.execute(statement)\n",
        new="                    connection.executescript(statement)\n",
        test="tests/store/test_migrations.py::test_a3_a_migration_that_fails_changes_nothing",
    ),
)
