"""Every pair: `python -m tests.interleaving.sweep`; a part of them with `--share 0.1 --seed 3`; one of them with
`--first`, `--at` and `--second`."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from power_loop.testing.crash import Point
from tests.interleaving.pairs import FIRST, SECOND, Court, Pair, Verdict

CHUNK = 60


def all_pairs(firsts: Sequence[str] = tuple(FIRST), seconds: Sequence[str] = SECOND) -> list[Pair]:
    with Court() as court:
        return [Pair(first, point, second) for first in firsts for point in court.points(first) for second in seconds]


def judge_all(pairs: Sequence[Pair]) -> list[Verdict]:
    """In a process of its own, which forks: a verdict for each."""
    logging.disable(logging.CRITICAL)
    with Court() as court:
        return [court.judge(pair) for pair in pairs]


def judged(pairs: Sequence[Pair], jobs: int) -> Iterator[Verdict]:
    chunks = [pairs[at : at + CHUNK] for at in range(0, len(pairs), CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for verdicts in pool.map(judge_all, chunks):
            yield from verdicts


def told(verdict: Verdict) -> str:
    problems = "\n    ".join(verdict.problems)
    return f"{verdict.pair.command()}\n    found it {verdict.found}: {verdict.first} / {verdict.second}\n    {problems}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interleaving.sweep", description=__doc__)
    parser.add_argument("--first", action="append", choices=list(FIRST))
    parser.add_argument("--second", action="append", choices=list(SECOND))
    parser.add_argument("--at", metavar="POINT:N")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    begun = time.monotonic()
    pairs = all_pairs(options.first or tuple(FIRST), options.second or SECOND)
    if options.at:
        name, _, nth = options.at.rpartition(":")
        pairs = [pair for pair in pairs if pair.point == Point(name, int(nth))]
    elif options.share < 1:
        pairs = random.Random(options.seed).sample(pairs, round(options.share * len(pairs)))
    found: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    failed = 0
    for verdict in judged(pairs, options.jobs):
        found["missed" if verdict.missed else verdict.found] += 1
        ends[f"{verdict.found}, {verdict.pair.second}: {verdict.second}"] += not verdict.missed
        failed += bool(verdict.problems)
        if verdict.problems and failed <= 10:
            print(told(verdict), flush=True)
    print(", ".join(f"{name} {ends[name]}" for name in sorted(ends)))
    took = time.monotonic() - begun
    print(f"{'FAILED' if failed else 'ok'}: {len(pairs)} pairs, {failed} failures; {dict(found)}; {took:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
