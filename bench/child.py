"""What is measured from a process of its own. Prints one JSON object.

`open DB SESSION [URL]`: a fresh process opens a database and runs a turn in a session.
`run SESSIONS TURNS`: turns between two marks that strace sees, for counting flushes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

MARK = "/power-loop-bench-mark"


async def _open(db: str, session: str, url: str | None) -> dict[str, float]:
    begun = perf_counter()
    from bench import conversation as c
    from bench.subjects import CONFIG, model
    from power_loop import AgentLoopConfig, StatefulAgentLoop

    llm = model(url)
    imported = perf_counter()
    loop = StatefulAgentLoop(llm=llm, db_path=db, tools=c.tools(), config=AgentLoopConfig(**CONFIG))  # type: ignore[arg-type]
    async with loop:
        await loop.get_session(session)
        opened = perf_counter()
        await loop.send(c.question(1), session)
        first, client = perf_counter(), llm.spent
        await loop.send(c.question(2), session)
        second = perf_counter()
    await llm.aclose()
    return {
        "import": imported - begun,
        "open": opened - imported,
        "first_turn": first - opened,
        "first_turn_client": client,
        "second_turn": second - first,
        "second_turn_client": llm.spent - client,
    }


async def _run(sessions: int, turns: int) -> dict[str, float]:
    from bench.measure import interleaved
    from bench.subjects import Ours

    with tempfile.TemporaryDirectory(prefix="power-loop-bench-") as folder:
        async with Ours(Path(folder), None) as subject:
            await interleaved([subject], turns=2, repetitions=1, sessions=sessions)
            before = subject.commits or 0
            os.access(MARK, os.F_OK)

            async def one(session: int) -> None:
                for _ in range(turns):
                    await subject.turn(session)

            await asyncio.gather(*map(one, range(sessions)))
            os.access(MARK, os.F_OK)
            return {"commits": ((subject.commits or 0) - before) / (sessions * turns)}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["open", db, session, *url]:
            said = asyncio.run(_open(db, session, url[0] if url else None))
        case ["run", sessions, turns]:
            said = asyncio.run(_run(int(sessions), int(turns)))
        case _:
            sys.exit(__doc__)
    print(json.dumps(said))
