"""The process under test: `python -m tests.power.agent KIND SEED FOLDER ACKNOWLEDGEMENTS [SYNCHRONOUS]`.

Each acknowledgement is written to the inherited descriptor as soon as the call has returned. An app that does not give
up: what the store refused it asks for again, under the same request id, a few times. Exit code 3: it gave up over a
typed error. Its output says each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from power_loop import PowerLoopError, StatefulAgentLoop, StoreError
from tests.power.scenario import Place, Scenario, a_loop, acknowledgement, create, scenario, split

T = TypeVar("T")
TYPED: Final = 3
_TRIES: Final = 4


async def live(of: Scenario, place: Place, acknowledgements: int, synchronous: str) -> None:
    def say(line: dict[str, Any]) -> None:
        os.write(acknowledgements, json.dumps(line).encode() + b"\n")

    async def talk(loop: StatefulAgentLoop, session: str, requests: list[tuple[str, str]]) -> None:
        for step, text in requests:
            result = await asked(lambda: loop.send(text, session, request_id=step, on_pending="resume"))  # noqa: B023
            say(acknowledgement(step, result))

    for life in range(of.lives):
        loop = a_loop(place, of, synchronous=synchronous)
        try:
            if life == 0:
                for session in of.inputs:
                    say(await asked(lambda: create(loop, session)))  # noqa: B023
            parts = {session: split(of.requests(session), of.lives)[life] for session in of.inputs}
            await asyncio.gather(*(talk(loop, session, part) for session, part in parts.items()))
        finally:
            await loop.aclose()


async def asked(question: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_TRIES - 1):
        try:
            return await question()
        except StoreError as error:
            _tell(error)
    return await question()


def _tell(error: PowerLoopError) -> None:
    told = {"code": error.code, "type": type(error).__name__, "words": str(error)[:300], "cause": repr(error.__cause__)}
    print(json.dumps(told), flush=True)


def main(kind: str, seed: str, folder: str, acknowledgements: str, synchronous: str = "FULL") -> int:
    try:
        asyncio.run(live(scenario(kind, int(seed)), Place(Path(folder)), int(acknowledgements), synchronous))
    except PowerLoopError as error:
        _tell(error)
        return TYPED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
