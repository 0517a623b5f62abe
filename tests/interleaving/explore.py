"""Run schedules: `python -m tests.interleaving.explore --seeds 20000 --jobs 2`, or `--seed N` to repeat one."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from power_loop import open_store
from tests.interleaving import oracle
from tests.interleaving.scenario import Play, told
from tests.interleaving.shuffled import ShuffledLoop, stepped_threads

_MEMORY: Final = Path("/dev/shm")


@dataclass
class Verdict:
    seed: int
    problems: list[str] = field(default_factory=list)
    steps: int = 0
    commits: int = 0
    struck: int = 0
    trace: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """What came of the calls, by its name."""
    story: str = ""

    def __str__(self) -> str:
        lines = "\n    ".join(self.problems)
        return f"python -m tests.interleaving.explore --seed {self.seed}\n    {lines}\n{self.story}"


class Stage:
    """A place for schedules, with an empty database to copy. Use it as a context."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="schedules-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self._empty = self._folder / "empty.db"
        loop = ShuffledLoop(0)
        with stepped_threads():
            loop.run_until_complete(self._make())
        loop.close()
        gc.collect()
        gc.freeze()

    async def _make(self) -> None:
        await (await open_store(self._empty)).aclose()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    @contextmanager
    def database(self, seed: int) -> Iterator[Path]:
        folder = self._folder / str(seed)
        folder.mkdir()
        shutil.copyfile(self._empty, folder / "agent.db")
        try:
            yield folder / "agent.db"
        finally:
            shutil.rmtree(folder)

    def judge(self, seed: int) -> Verdict:
        """Run the schedule of a seed from its beginning to its end, and look at what it left."""
        verdict = Verdict(seed)
        with self.database(seed) as path, stepped_threads():
            loop = ShuffledLoop(seed)
            loop.set_exception_handler(lambda _, context: verdict.problems.extend(_unheard(context)))
            play = Play(seed, path, loop)
            try:
                loop.run_until_complete(_played(play, path, loop, verdict))
            except Exception:  # noqa: BLE001 - a verdict like any other
                verdict.problems.append(traceback.format_exc())
            loop.close()
            gc.collect()  # now, so that what nobody heard is told with its schedule
        verdict.steps, verdict.trace, verdict.struck = loop.steps, loop.trace, len(play.struck)
        for it in play.attempts:
            if it.what == "recover" and it.result:
                verdict.seen[f"{it.what}: {it.how['policy']}, took {len(it.result)}"] += 1
            came = type(it.error).__name__ if it.error else str(getattr(it.result, "status", "done"))
            verdict.seen[f"{it.what}: {came}"] += 1
        if verdict.problems:
            verdict.story = told(play.attempts)
        return verdict


def _unheard(context: dict[str, Any]) -> Iterator[str]:
    """What asyncio would log: nobody heard of it."""
    yield f"nobody heard of {context}"


async def _played(play: Play, path: Path, loop: ShuffledLoop, verdict: Verdict) -> None:
    witness = oracle.Witness(path)
    try:
        await play.begin()
        loop.after_thread = witness
        await play.act()
        await loop.settled()
        verdict.problems += oracle.quiet(play)
        await play.end()
        verdict.problems += oracle.free(path)
        rows = oracle.rows_of(path)
        verdict.problems += [*oracle.answered(play.attempts), *oracle.inputs(play, rows), *oracle.histories(rows)]
        verdict.problems += oracle.recovered(play)
        store = await open_store(path, synchronous="NORMAL", world=play.world())
        judge = play.a_loop(store)
        verdict.problems += await oracle.liveness(play, judge)
        await judge.aclose()
        await store.aclose()
        await loop.settled()
        rows = oracle.rows_of(path)
        forced = any(it.how.get("force") for it in play.attempts)
        died = any(it.what == "die" for it in play.attempts)
        verdict.problems += [*oracle.histories(rows), *oracle.effects(play.account, rows, forced=forced, died=died)]
        verdict.problems += [*witness.problems, *oracle.free(path), *oracle.shown(play, rows)]
        verdict.commits = witness.commits
    finally:
        witness.close()


def judge_all(seeds: range) -> list[Verdict]:
    """In a process of its own: a verdict for each."""
    logging.disable(logging.CRITICAL)
    with Stage() as stage:
        return [stage.judge(seed) for seed in seeds]


def explored(first: int, seeds: int, jobs: int, chunk: int = 250) -> Iterator[Verdict]:
    chunks = [range(at, min(at + chunk, first + seeds)) for at in range(first, first + seeds, chunk)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for verdicts in pool.map(judge_all, chunks):
            yield from verdicts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interleaving.explore", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone, and tell its story")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    begun = time.monotonic()
    if options.seed is not None:
        with Stage() as stage:
            verdict = stage.judge(options.seed)
        print(verdict, verdict.steps, verdict.commits, hex(verdict.trace), dict(verdict.seen))
        return int(bool(verdict.problems))
    steps = commits = struck = failed = 0
    seen: Counter[str] = Counter()
    for verdict in explored(options.first, options.seeds, options.jobs):
        steps, commits, struck = steps + verdict.steps, commits + verdict.commits, struck + verdict.struck
        seen += verdict.seen
        failed += bool(verdict.problems)
        if verdict.problems and failed <= 10:
            print(verdict, flush=True)
    print(", ".join(f"{name} {seen[name]}" for name in sorted(seen)))
    took = time.monotonic() - begun
    print(
        f"{'FAILED' if failed else 'ok'}: {options.seeds} schedules, {failed} failures; {steps} steps, "
        f"{commits} commits, {struck} callers cancelled; {took:.0f} s"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
