"""1, 10, 100 and 500 sessions at once, the model in process and over HTTP: turns a second of all together."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any, Final

from bench.contestants import Contestant, FailedError, entered
from bench.figures import BASE, DURABLE_NOTE, about, ratio, rotated, titled
from bench.peers import ORDER, peer
from bench.plan import Plan
from bench.report import Found, Table

TURNS: Final = {1: 30, 10: 10, 100: 4, 500: 2}
"""A session and batch; one more before it is not measured."""
ENOUGH: Final = 8.0
"""Seconds after which a contestant runs no further repetition of the same count."""
ONLY: Final = {
    500: (
        *("ours", "ours_aiohttp", "ours_normal", "ours_null"),
        *("sqlite_message", "sqlite_group", "sockets", "sockets_group"),
    ),
}
"""With post too, over HTTP; the others take minutes for it."""


async def measure(plan: Plan) -> Found:
    counts = (1, 10) if plan.quick else tuple(TURNS)
    repetitions = 2 if plan.quick else min(plan.repetitions, 5)
    tables: list[Table] = []
    data: dict[str, Any] = {}
    for where, url in (("in process", None), ("over HTTP", plan.url)):
        names = [name for name in ORDER if (peer(name).in_process if url is None else peer(name).over_http)]
        data[where] = {}
        async with entered(plan, names, url) as present:
            first = 0
            for count in counts:
                taking = [one for one in present if one.name in (*ONLY.get(count, (one.name,)), "openai_post")]
                print(f"  model {where}: {count} at once", flush=True)
                found = await _at_once(plan, taking, count, repetitions, first)
                first += repetitions * count
                data[where][str(count)] = {name: about(name) | figures for name, figures in found.items()}
        tables.append(_table(f"Sessions at once, model {where}: turns a second", data[where]))
    return Found(tables=tables, data=data)


async def _at_once(
    plan: Plan, present: list[Contestant], count: int, repetitions: int, first: int
) -> dict[str, dict[str, Any]]:
    """Each repetition has new sessions, so that those of slow contestants do not grow on."""
    turns, taken = TURNS[count], {one.name: 0.0 for one in present}
    found: dict[str, dict[str, Any]] = {
        one.name: {"turns_a_second": [], "cpu": [], "commits": [], "written": []} for one in present
    }
    for repetition in range(repetitions):
        sessions = range(first + repetition * count, first + (repetition + 1) * count)
        for one in rotated(present, repetition):
            if taken[one.name] > ENOUGH or one.name in plan.absent:
                continue
            begun = perf_counter()
            try:
                await one.run(sessions, 1)
                said = await one.run(sessions, turns)
            except FailedError as error:
                plan.absent[one.name] = f"failed with {count} sessions at once: {error}"
                continue
            taken[one.name] += perf_counter() - begun
            figures, total = found[one.name], turns * count
            figures["turns_a_second"].append(total / said["wall"])
            for part in ("cpu", "commits", "written"):
                figures[part] += [] if said[part] is None else [said[part] / total]
    return {name: figures for name, figures in found.items() if figures["turns_a_second"]}


def _table(title: str, found: dict[str, dict[str, Any]]) -> Table:
    most = list(found)
    names = [name for name in ORDER if any(name in found[count] for count in most)]
    head = ["", *(f"{count}" for count in most), "power-loop is, at " + ", ".join(most)]
    head.append(f"commits a turn at {', '.join(most)}")
    rows = []
    for name in names:
        mine = [found[count].get(name) for count in most]
        base = [found[count].get(BASE) for count in most]
        faster = [
            ratio(ours["turns_a_second"], theirs["turns_a_second"]) if ours and theirs else None
            for ours, theirs in zip(base, mine, strict=True)
        ]
        commits = [median(one["commits"]) if one and one["commits"] else None for one in mine]
        rows.append(
            [
                titled(name),
                *(median(one["turns_a_second"]) if one else None for one in mine),
                None if name == BASE else " / ".join("-" if one is None else f"{one:.3g}x" for one in faster),
                " / ".join("-" if one is None else f"{one:.3g}" for one in commits) if any(commits) else None,
            ]
        )
    return Table(title=title, head=head, rows=rows, note=DURABLE_NOTE)
