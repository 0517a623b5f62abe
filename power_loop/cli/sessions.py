"""`power-loop sessions`: what there is, and what needs somebody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import click

from power_loop.cli import output
from power_loop.cli.opening import Reading, reading
from power_loop.cli.shapes import shape
from power_loop.cli.told import Told, told
from power_loop.engine.turns import SessionState
from power_loop.errors import StoreDamagedError
from power_loop.store.records import SessionInfo
from power_loop.store.sqlite import doctor
from power_loop.values import SessionId

PREVIEW: Final = 60
_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    state: str | None
    attention: bool
    archived: bool
    limit: int

    def takes(self, info: SessionInfo) -> bool:
        return (
            (self.archived or not info.archived)
            and (self.state is None or info.state == self.state)
            and (info.needs_attention or not self.attention)
        )


@click.command(short_help="List sessions, and which need somebody.")
@click.option("--state", type=click.Choice([str(state) for state in SessionState]), help="Only those in this state.")
@click.option("--attention", is_flag=True, help="Only those that wait for somebody.")
@click.option("--all", "archived", is_flag=True, help="Archived ones too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@told
def sessions(told: Told, state: str | None, attention: bool, archived: bool, limit: int) -> None:
    """List sessions, the one changed last first."""
    which = Which(state=state, attention=attention, archived=archived, limit=limit)
    asyncio.run(_sessions(told, which))


async def _sessions(told: Told, which: Which) -> None:
    damaged: list[StoreDamagedError] = []
    async with reading(told) as there:
        try:
            found = await _listed(there, which)
        except StoreDamagedError:
            found, damaged = await asyncio.to_thread(_one_by_one, told, which)
        previews = [await _preview(there, info.session_id) for info in found]
    if told.json:
        listed = [shape(info) | {"preview": text} for info, text in zip(found, previews, strict=True)]
        output.show_json({"sessions": listed, "damaged": [_as_json(error) for error in damaged]})
        return
    if not found and not damaged:
        output.show(f"no session to show in {told.path}")
        return
    rows = [_row(info, text) for info, text in zip(found, previews, strict=True)]
    rows += [[error.session_id or "?", "damaged", "yes", "", "", "", error.problem] for error in damaged]
    output.table(["SESSION", "STATE", "LOOK", "TURNS", "MSGS", "UPDATED (UTC)", "BEGINS WITH"], rows)
    if any(info.needs_attention for info in found):
        output.show()
        output.show(f"LOOK: `{told.line('pending', 'SESSION')}` shows what is open and the ways out")
    if damaged:
        output.show(f"damaged: `{told.line('doctor')}` lists what is not as it was written")


async def _listed(there: Reading, which: Which) -> list[SessionInfo]:
    found: list[SessionInfo] = []
    last: SessionInfo | None = None
    while True:
        page = await there.loop.list_sessions(limit=_PAGE, archived=which.archived, before=last)
        found += [info for info in page if which.takes(info)]
        if len(found) >= which.limit or len(page) < _PAGE:
            return found[: which.limit]
        last = page[-1]


def _one_by_one(told: Told, which: Which) -> tuple[list[SessionInfo], list[StoreDamagedError]]:
    """What is left when the list as a whole cannot be believed."""
    each = doctor.each_session(told.path)
    sound = [info for info in each if isinstance(info, SessionInfo) and which.takes(info)]
    return sound[: which.limit], [error for error in each if isinstance(error, StoreDamagedError)]


async def _preview(there: Reading, session: SessionId) -> str:
    """How a session begins: its first words of a user."""
    try:
        for seq in (1, 2):
            message = await there.store.message(session, seq)
            if message is not None and message.role == "user":
                return output.line(message.text, PREVIEW)
    except StoreDamagedError:
        return "(damaged)"
    return ""


def _row(info: SessionInfo, preview: str) -> list[str]:
    state = f"{info.state}, archived" if info.archived else str(info.state)
    look = "yes" if info.needs_attention else ""
    counts = [str(info.turns), str(info.messages)]
    return [output.line(info.session_id), state, look, *counts, output.moment(info.updated_at), preview]


def _as_json(error: StoreDamagedError) -> dict[str, object]:
    return {"session_id": error.session_id, "code": error.code, "message": str(error)}
