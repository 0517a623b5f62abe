"""`power-loop compact`: fold a session's history, or take the last fold back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import click

from power_loop.cli import output
from power_loop.cli.loading import model_service
from power_loop.cli.opening import reading
from power_loop.cli.told import Told, told
from power_loop.compaction.summary import Summary
from power_loop.compaction.words import STRATEGIES
from power_loop.config import AgentLoopConfig
from power_loop.stateful_loop import StatefulAgentLoop
from power_loop.store.records import CompactionInfo

WINDOW = AgentLoopConfig().context_window


@click.command(short_help="Fold a session's history, or take that back.")
@click.argument("session")
@click.option("--strategy", "words", multiple=True, type=click.Choice(list(STRATEGIES)),
              help="How; several are tried in order. Without one, the model sums up.")  # fmt: skip
@click.option("--context-window", type=click.IntRange(min=256), default=WINDOW, show_default=True,
              help="Tokens the model can take.")  # fmt: skip
@click.option("--undo", is_flag=True, help="Put back what the last compaction that stands has folded.")
@click.option("--dry-run", is_flag=True, help="Only show what was folded so far.")
@click.option("--model", help="Else $POWER_LOOP_MODEL or $OPENAI_MODEL.")
@click.option("--base-url", help="Else $POWER_LOOP_BASE_URL or $OPENAI_BASE_URL, else OpenAI's.")
@told
def compact(
    told: Told,
    session: str,
    words: tuple[str, ...],
    context_window: int,
    undo: bool,
    dry_run: bool,
    model: str | None,
    base_url: str | None,
) -> None:
    """Fold the history of SESSION: a note, or short results, stand for older messages. Nothing is deleted.

    Only the summary asks a model. The system prompt, pinned messages, an input without its answer, open calls and the
    newest round stay. `power-loop show SESSION --compacted` shows what was folded.
    """
    if undo and words:
        raise click.UsageError("--undo takes back what was folded; it takes no --strategy")
    if dry_run:
        asyncio.run(_look(told, session))
        return
    chosen = words or (Summary.name,)
    needs_model = not undo and Summary.name in chosen
    asyncio.run(_compact(told, session, chosen, context_window, undo, (model, base_url) if needs_model else None))


async def _look(told: Told, prefix: str) -> None:
    async with reading(told) as there:
        found = await there.loop.find_session(prefix)
        done = await there.loop.get_compactions(found)
    if told.json:
        output.show_json({"session_id": found, "compactions": done, "dry_run": True})
    elif done:
        show_compactions(done)
    else:
        output.show(f"nothing of session {found} was ever folded")


async def _compact(
    told: Told,
    prefix: str,
    words: tuple[str, ...],
    window: int,
    undo: bool,
    model: tuple[str | None, str | None] | None,
) -> None:
    async with AsyncExitStack() as closing:
        llm = None
        if model is not None:
            llm = model_service(*model)
            closing.push_async_callback(llm.aclose)
        loop = await closing.enter_async_context(
            StatefulAgentLoop(llm=llm, db_path=told.path, create=False, config=AgentLoopConfig(context_window=window))
        )
        found = await loop.find_session(prefix)
        if undo:
            done: CompactionInfo | None = await loop.undo_compaction(found, if_busy="raise")
        else:
            done = await loop.compact(found, strategy=words, if_busy="raise")
    if told.json:
        output.show_json({"session_id": found, "compaction": done})
    elif done is None:
        output.show(f"there is nothing to fold in session {found}")
    elif undo:
        output.show(f"compaction {done.number} of session {found} is undone: {done.folded} messages are back")
    else:
        output.show(
            f"{output.count(done.folded, 'message')} of session {found} folded by {done.strategy}: "
            f"{done.before_tokens:,} to {done.after_tokens:,} tokens"
        )
        output.show(f"see {told.line('show', found, '--compacted')}; take it back with "
                    f"{told.line('compact', found, '--undo')}")  # fmt: skip


def show_compactions(done: list[CompactionInfo]) -> None:
    """Every compaction in a line."""
    rows = [
        [
            str(one.number), str(one.turn), one.strategy, f"{one.folded} of {one.first_seq} to {one.last_seq}",
            f"{one.before_tokens:,}", f"{one.after_tokens:,}", output.line(one.model or ""), output.moment(one.at),
            "" if one.undone_at is None else f"undone {output.moment(one.undone_at)}",
        ]
        for one in done
    ]  # fmt: skip
    output.table(["NUMBER", "TURN", "STRATEGY", "FOLDED", "BEFORE", "AFTER", "MODEL", "AT (UTC)", ""], rows)
