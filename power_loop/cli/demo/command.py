"""`power-loop demo`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from power_loop.cli import output
from power_loop.cli.demo import words
from power_loop.cli.demo.story import DemoFailed, Story
from power_loop.cli.exits import Exit, Interrupted
from power_loop.cli.told import Told, told
from power_loop.store import open_store


@click.command(short_help="See it survive kill -9: offline, in seconds.")
@told
def demo(told: Told) -> int:
    """Kill an agent in the middle of a payment and see that nothing is lost. Offline, in seconds.

    The database is a new temporary file, unless --db names one. Exits with 0 only if everything it says was checked.
    """
    if told.db is not None:
        asyncio.run(_usable(told.db))
    folder = Path(tempfile.mkdtemp(prefix="power-loop-demo-"))
    db = folder / "agent.db" if told.db is None else Path(told.db).absolute()
    try:
        return _tell(Story(db, folder / "ledger.jsonl"), told)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped by Ctrl-C; what was written is in {db}") from None


async def _usable(db: str) -> None:
    """Refuse a bad file here, in words, and not in a process that is to be killed."""
    store = await open_store(db)
    await store.aclose()


def _tell(story: Story, told: Told) -> int:
    def tell(part: Callable[[Story], None]) -> None:
        if not told.json:
            part(story)

    with story:
        tell(words.opening)
        story.crash()
        tell(words.crashed)
        story.recover()
        tell(words.found)
        tell(words.resumed)
        claims = list(story.claims())
    tell(lambda _: words.checked(story, claims))
    if wrong := [claim.words for claim in claims if not claim.true]:
        raise DemoFailed(f"this was not so: {'; '.join(wrong)}; look at {story.db} and {story.ledger.path}")
    tell(words.look)
    if told.json:
        output.show_json(
            {
                "db": str(story.db),
                "ledger": str(story.ledger.path),
                "session_id": story.session,
                "killed": story.victim,
                "found": story.found,
                "settled": story.settled,
                "answer": story.answer,
                "checked": claims,
            }
        )
    return Exit.OK
