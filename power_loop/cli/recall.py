"""`power-loop recall`: the whole text of a result of which a model was shown a part."""

from __future__ import annotations

import asyncio
import sys

import click

from power_loop.cli import output
from power_loop.cli.opening import reading
from power_loop.cli.told import Told, told


@click.command(short_help="Print a large result whole.")
@click.argument("session")
@click.argument("handle")
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True, help="Characters to skip.")
@click.option("--limit", type=click.IntRange(min=0), help="Characters to print; all that follow if left out.")
@told
def recall(told: Told, session: str, handle: str, offset: int, limit: int | None) -> None:
    """Print the exact text of the result that HANDLE names, of SESSION or of one of its tree, as UTF-8.

    The handle stands in the text of a result that is shown in short, such as 3.17. On a terminal control characters
    are made visible; into a file or a pipe goes the text as it is, and not a character more.
    """
    asyncio.run(_recall(told, session, handle, offset, limit))


async def _recall(told: Told, session: str, handle: str, offset: int, limit: int | None) -> None:
    async with reading(told) as there:
        found = await there.loop.find_session(session)
        text = await there.loop.recall_output(found, handle, offset=offset, limit=limit)
    if told.json:
        output.show_json({"session_id": found, "handle": handle, "offset": offset, "text": text})
    elif sys.stdout.isatty():
        output.show(output.plain(text))
    else:
        click.echo(text.encode(), nl=False)
