"""A process of the demo: `python -m power_loop.cli.demo.worker run|recover --db ... --ledger ... --url ...`.

It tells what it sees in JSON lines on its output, and ends when its input does, so that it never outlives the story.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

from llm_client import OpenAIChatService
from power_loop.cli.demo.agent import REQUEST, Ledger, tools
from power_loop.cli.output import show_json
from power_loop.errors import SessionPendingError
from power_loop.stateful_loop import StatefulAgentLoop

ORPHANED = 3


def main() -> None:
    options = _options()
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(_run(options) if options.action == "run" else _recover(options))


async def _run(options: argparse.Namespace) -> None:
    """Run a turn that does not come back from `send_payment`: whoever started this process kills it there."""

    def money_left() -> None:
        _tell("money_left")
        threading.Event().wait()

    async with _loop(options, Ledger(options.ledger), money_left) as loop:
        session = await loop.create_session()
        _tell("session", session_id=session)
        await loop.send(REQUEST, session)


async def _recover(options: argparse.Namespace) -> None:
    """What a fresh process does: try to send, look at the ledger of calls, resume."""
    session: str = options.session
    async with _loop(options, Ledger(options.ledger), lambda: None) as loop:
        before = await loop.get_session(session)
        try:
            await loop.send("Are you there?", session)
        except SessionPendingError as refusal:
            after = await loop.get_session(session)
            _tell("refused", code=refusal.code, calls=refusal.calls, untouched=before == after)
        _tell("calls", calls=await loop.get_calls(session), pending=await loop.get_pending(session))
        result = await loop.resume(session)
        _tell("resumed", status=result.status, final_text=result.final_text)
        messages = {message.seq: message.text for message in await loop.get_messages(session)}
        calls = await loop.get_calls(session)
        results = {call.result_seq: messages[call.result_seq] for call in calls if call.result_seq is not None}
        _tell("settled", calls=calls, results=results, pending=await loop.get_pending(session))


def _loop(options: argparse.Namespace, ledger: Ledger, money_left: Any) -> StatefulAgentLoop:
    return StatefulAgentLoop(
        llm=OpenAIChatService(model="scripted", base_url=options.url, api_key="no-key-needed"),
        db_path=options.db,
        tools=tools(ledger, money_left),
    )


def _tell(event: str, **facts: object) -> None:
    show_json({"event": event} | facts)
    sys.stdout.flush()


def _end_with_input() -> None:
    # Not through sys.stdin: its lock would be held while the interpreter shuts down.
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m power_loop.cli.demo.worker", description=__doc__)
    parser.add_argument("action", choices=["run", "recover"])
    parser.add_argument("--db", required=True)
    parser.add_argument("--ledger", required=True, type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--session")
    return parser.parse_args()


if __name__ == "__main__":
    main()
