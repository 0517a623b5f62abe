"""The guards, by what they guard. A row whose text is gone from the source fails the run: the table cannot rot."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard
from tests.guards.table import (
    claims,
    commit,
    compaction,
    damage,
    events,
    files,
    inbox,
    ledger,
    outputs,
    people,
    recovery,
    rules,
)

GUARDS: Final[tuple[Guard, ...]] = (
    *ledger.GUARDS,
    *claims.GUARDS,
    *commit.GUARDS,
    *files.GUARDS,
    *inbox.GUARDS,
    *recovery.GUARDS,
    *compaction.GUARDS,
    *damage.GUARDS,
    *outputs.GUARDS,
    *events.GUARDS,
    *people.GUARDS,
    *rules.GUARDS,
)
