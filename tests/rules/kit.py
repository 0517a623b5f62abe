"""Rounds to show to watchers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from llm_client.json_text import read_json
from llm_client.service import Json
from power_loop.rules import CallSeen, Outcome, RoundSeen, Share, Verdict, Watched, Watcher, watch_round
from power_loop.values import compact_json

ROUND = RoundSeen("s", 1, 1, (), "")


def call(name: str, arguments: str = "{}", result: str = "ok", state: str = "succeeded") -> CallSeen:
    try:
        values = json.loads(arguments)
    except ValueError:
        values = None
    return CallSeen(name, arguments, values if isinstance(values, dict) else None, result, state)


def seen(*calls: CallSeen, turn: int = 1, text: str = "", spent: Sequence[Share] = ()) -> RoundSeen:
    return RoundSeen("s", turn, 1, calls, text, tuple(spent))


def ask(*watchers: Watcher, memories: dict[str, Json] | None = None, timeout: float = 30) -> Outcome:
    """What watchers say of a round without calls."""
    return asyncio.run(watch_round(watchers, ROUND, memories or {}, timeout=timeout))


def watched(watcher: Watcher, *rounds: RoundSeen) -> list[Verdict]:
    """What a sync watcher says of rounds, one after the other; its memory goes through JSON, as in a store."""
    verdicts: list[Verdict] = []
    memory: Json = None
    for one in rounds:
        said = watcher.watch(one, memory)
        if isinstance(said, Watched):
            text = compact_json(said.memory)
            assert len(text) <= 65_536
            assert read_json(text) == said.memory, "what is remembered is what was meant"
            memory, said = read_json(text), said.verdict
        assert isinstance(said, Verdict)
        verdicts.append(said)
    return verdicts
