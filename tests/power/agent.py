"""The process under test: `python -m tests.power.agent KIND SEED FOLDER ACKNOWLEDGEMENTS [SYNCHRONOUS]`.

Each acknowledgement is written to the inherited descriptor as soon as the call has returned. Exit code 3: a typed error
ended it, whose code is on its output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from power_loop import PowerLoopError, StatefulAgentLoop
from tests.power.scenario import Place, Scenario, a_loop, acknowledgement, create, scenario, split

TYPED = 3


async def live(of: Scenario, place: Place, acknowledgements: int, synchronous: str) -> None:
    def say(line: dict[str, Any]) -> None:
        os.write(acknowledgements, json.dumps(line).encode() + b"\n")

    async def talk(loop: StatefulAgentLoop, session: str, requests: list[tuple[str, str]]) -> None:
        for step, text in requests:
            say(acknowledgement(step, await loop.send(text, session, request_id=step)))

    for life in range(of.lives):
        async with a_loop(place, of, synchronous=synchronous) as loop:
            if life == 0:
                for session in of.inputs:
                    say(await create(loop, session))
            parts = {session: split(of.requests(session), of.lives)[life] for session in of.inputs}
            await asyncio.gather(*(talk(loop, session, part) for session, part in parts.items()))


def main(kind: str, seed: str, folder: str, acknowledgements: str, synchronous: str = "FULL") -> int:
    try:
        asyncio.run(live(scenario(kind, int(seed)), Place(Path(folder)), int(acknowledgements), synchronous))
    except PowerLoopError as error:
        print(json.dumps({"code": error.code, "type": type(error).__name__, "words": str(error)[:300]}))
        return TYPED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
