"""`python -m bench.profile [SESSIONS TURNS]`: where the time of a turn goes, model in process, synchronous=FULL.

The event loop's thread and the writer's, one profile each. A profiler makes calls dearer than they are: read the order
of the lines and not their sums. The last line is the same run without one.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Final

from bench.scale.turn import STANDARD, loop_over
from power_loop.store.sqlite.store import SqliteStore

LINES: Final = 25


async def run(sessions: int, turns: int, profiles: tuple[cProfile.Profile, cProfile.Profile] | None = None) -> str:
    """Run the turns, the first of each session apart; what one took."""
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-") as folder:
        async with loop_over(Path(folder) / "agent.db", warm=10_000) as loop:

            async def one(session: int, count: int) -> None:
                for _ in range(count):
                    await loop.send(STANDARD.question, f"s{session}")

            for session in range(sessions):
                await loop.create_session(f"s{session}")
            await asyncio.gather(*(one(session, 1) for session in range(sessions)))
            store = (await loop._open()).store
            assert isinstance(store, SqliteStore)
            thread = store._threads[0]
            if profiles is not None:
                await thread.call(profiles[1].enable)
                profiles[0].enable()
            wall, cpu, own = perf_counter(), process_time(), thread_time()
            await asyncio.gather(*(one(session, turns) for session in range(sessions)))
            wall, cpu, own = perf_counter() - wall, process_time() - cpu, thread_time() - own
            if profiles is not None:
                profiles[0].disable()
                await thread.call(profiles[1].disable)
    each = 1000 / (sessions * turns)
    return (
        f"{sessions} session(s): {wall * each:.2f} ms a turn; CPU {cpu * each:.2f} ms, of it {own * each:.2f} on the "
        f"event loop's thread and {(cpu - own) * each:.2f} on the writer's"
    )


def main() -> None:
    sessions, turns = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (100, 10)
    loop, writer = cProfile.Profile(), cProfile.Profile()
    asyncio.run(run(sessions, turns, (loop, writer)))
    for title, profile in (("The event loop's thread", loop), ("The writer's thread", writer)):
        print(f"\n{title}")
        pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)
    print(asyncio.run(run(sessions, turns)))


if __name__ == "__main__":
    main()
