"""One contestant in a process of its own: `python -m bench.host NAME`.

Commands come as lines of JSON on standard input, answers go as lines of JSON to what was standard output when it began;
whatever a contestant prints goes to standard error. It ends with its standard input.

`open` makes and opens the contestant (its `import` and `open` seconds apart), `run` runs turns, `watch` asks the
process behind a pair of pipes what is on disk (`bench.watching`), `close` closes it and says what its files hold.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from bench import conversation as c
from bench import counting
from bench.peers import peer

MARK: Final = "/power-loop-bench-mark"
"""A path that is looked for before and after a batch, for whoever traces us."""


class Host:
    def __init__(self, name: str) -> None:
        self._peer = peer(name)()
        self._folder = Path()
        self._counted = counting.installed() if os.environ.get("BENCH_COUNT_COMMITS") else None

    async def open(self, *, folder: str, url: str | None, histories: list[int]) -> dict[str, Any]:
        self._folder = Path(folder)
        begun = perf_counter()
        self._peer.load()
        loaded = perf_counter()
        await self._peer.open(self._folder, url, histories)
        times = {"import": loaded - begun, "open": perf_counter() - loaded}
        return {**times, "versions": _versions(self._peer.packages)}

    async def run(self, *, sessions: list[int], turns: int) -> dict[str, Any]:
        """`turns` turns in each of the sessions at once; seconds in all, and of each turn if there is one session."""
        each: list[float] = []

        async def one(session: int) -> None:
            for _ in range(turns):
                begun = perf_counter()
                await self._peer.turn(session)
                each.append(perf_counter() - begun)

        gc.collect()
        entered = c.entered
        client, commits, written = self._peer.client_seconds, self._commits(), _written()
        os.access(MARK, os.F_OK)
        wall, cpu = perf_counter(), process_time()
        if len(sessions) == 1:
            await one(sessions[0])
        else:
            await asyncio.gather(*map(one, sessions))
        wall, cpu = perf_counter() - wall, process_time() - cpu
        os.access(MARK, os.F_OK)
        if (ran := c.entered - entered) != len(c.CITIES) * turns * len(sessions):
            raise RuntimeError(f"{ran} tools ran in {turns * len(sessions)} turns")
        return {
            "wall": wall,
            "cpu": cpu,
            "client": _since(self._peer.client_seconds, client),
            "commits": _since(self._commits(), commits),
            "written": _written() - written,
            "each": each if len(sessions) == 1 else [],
        }

    async def watch(self, *, turns: int, asking: int, answers: int) -> dict[str, Any]:
        """What is on disk whenever a tool is entered, and when a request carries results."""
        from bench.watching import watched

        return await watched(lambda: self._peer.turn(0), turns, asking, answers)

    async def close(self) -> dict[str, Any]:
        begun = perf_counter()
        pragmas = _pragmas(self._folder)
        await self._peer.close()
        files = [file.stat().st_size for file in self._folder.rglob("*") if file.is_file()]
        return {"close": perf_counter() - begun, "bytes": sum(files), "pragmas": pragmas}

    def _commits(self) -> int | None:
        return self._peer.commits if self._counted is None else self._counted.commits


def _since(now: Any, before: Any) -> Any:
    return None if now is None or before is None else now - before


def _written() -> int:
    """Bytes this process has handed to `write` so far; sockets are not among them."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    return 0


def _pragmas(folder: Path) -> dict[str, str]:
    """How each database keeps its journal; `synchronous` belongs to connections, and is in the contestant's words."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and file.stat().st_size and file.suffix in ("", ".db", ".sqlite"):
            with suppress(sqlite3.DatabaseError):
                db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
                found[file.name] = str(db.execute("PRAGMA journal_mode").fetchone()[0])
                db.close()
    return found


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    names = [name.partition("==")[0].partition("[")[0] for name in packages]
    found = {"python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    for name in [*names, "openai", "pydantic"]:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


async def _serve(name: str, say: Callable[[dict[str, Any]], None]) -> None:
    loop = asyncio.get_running_loop()
    host = Host(name)
    say({"ready": True})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        try:
            say(await getattr(host, command.pop("do"))(**command))
        except Exception as error:  # noqa: BLE001 - whatever a contestant raises is its result
            import traceback

            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"[:300]})


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    asyncio.run(_serve(sys.argv[1], lambda said: print(json.dumps(said), file=answers, flush=True)))
