"""`power-loop backup` and `restore`: a copy of a live database, and a copy put in the place of one."""

from __future__ import annotations

import click

from power_loop.cli import output
from power_loop.cli.told import Told, told
from power_loop.store import backup as copy_database
from power_loop.store import restore as put_back


@click.command(short_help="Copy the database, also while it is written.")
@click.argument("target", type=click.Path())
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@told
def backup(told: Told, target: str, force: bool) -> None:
    """Copy one moment of the database to TARGET, a plain file of its own, which is examined before it gets its name.

    Whoever writes meanwhile is not kept waiting.
    """
    copied = copy_database(told.path, target, force=force)
    if told.json:
        output.show_json({"backup": copied})
        return
    counts = f"{output.count(copied.sessions, 'session')}, {output.count(copied.messages, 'message')}"
    output.show(f"{output.line(copied.target)}: {counts}, {copied.bytes:,} bytes; examined, nothing is bad")
    output.show(f"to go back to it: power-loop restore {output.line(copied.target)} --db {output.line(copied.source)}")


@click.command(short_help="Put a backup in the place of the database.")
@click.argument("backup", type=click.Path())
@click.option("--force", is_flag=True, help="Replace the database; it is kept as FILE.before-restore.")
@click.option("--dry-run", is_flag=True, help="Only examine the backup, and say what would happen.")
@told
def restore(told: Told, backup: str, force: bool, dry_run: bool) -> None:
    """Examine BACKUP and put a copy of it where the database is (--db), which no living process may have open."""
    copied = put_back(backup, told.path, force=force, dry_run=dry_run)
    if told.json:
        output.show_json({"restored": copied, "dry_run": dry_run})
        return
    counts = f"{output.count(copied.sessions, 'session')}, {output.count(copied.messages, 'message')}"
    would = "would be" if dry_run else "is"
    output.show(f"{output.line(told.path)} {would} as in {output.line(copied.source)}: {counts}")
    if copied.kept is not None:
        output.show(f"what was there {would} kept as {output.line(copied.kept)}")
    if not dry_run:
        output.show(f"sessions that were running then wait now: {told.line('sessions', '--attention')}")
