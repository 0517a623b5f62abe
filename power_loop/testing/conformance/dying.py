"""`python -m power_loop.testing.conformance.dying NAME FOLDER`: claims a session and waits to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from power_loop.testing.conformance.kit import begun, made
from power_loop.testing.conformance.named import named


async def main(name: str, folder: Path) -> None:
    store = await named(name)(folder)
    await made(store)
    turn = await begun(store)
    await turn.record(turn.asks("pay", "look"), turn.starts(0))
    sys.stdout.write("driving\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
