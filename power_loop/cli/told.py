"""What every command was told: which database, and whether to answer in JSON. Said before or after its name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Final

import click

DEFAULT_DB: Final = "power-loop.db"
DB_VARIABLE: Final = "POWER_LOOP_DB"


@dataclass(frozen=True, slots=True)
class Told:
    db: str | None = None
    """As given on the command line; None: the environment's, or the default."""
    json: bool = False

    @property
    def path(self) -> str:
        if self.db is not None:
            return self.db
        return os.environ.get(DB_VARIABLE) or DEFAULT_DB

    def line(self, *words: str) -> str:
        """A command of ours for the same database, to copy and paste."""
        db = [] if self.db is None else ["--db", self.db]
        return shlex.join(["power-loop", *words, *db])


def told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--db` and `--json`, and hand it a `Told` as its first argument."""

    def wrapped(db: str | None, as_json: bool, **options: Any) -> Any:
        context = click.get_current_context()
        above = context.obj if isinstance(context.obj, Told) else Told()
        context.obj = Told(db=above.db if db is None else db, json=as_json or above.json)
        context.find_root().obj = context.obj  # for whoever words an error after the command is gone
        return command(context.obj, **options)

    update_wrapper(wrapped, command)
    as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    db = click.option("--db", metavar="PATH", help=f"The database; else ${DB_VARIABLE}, else ./{DEFAULT_DB}.")
    return db(as_json(wrapped))
