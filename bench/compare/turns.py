"""One session of 300 turns, the model in process and over HTTP: what a turn costs at its start and at its end."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from bench.contestants import Contestant, FailedError, entered
from bench.figures import BASE, DURABLE_NOTE, about, ratio, rotated, titled
from bench.peers import ORDER, peer
from bench.plan import Plan
from bench.report import Found, Table

TURNS: Final = 300
BATCH: Final = 30
AGAIN_WITHIN: Final = 10.0
"""Whoever took longer for a whole session runs it once only."""
LEFT_OUT: Final = {"over HTTP": ("langgraph_sync", "power_loop_020_full")}
"""There the client takes nearly all of the time: these would say what their siblings say, a minute later."""


async def measure(plan: Plan) -> Found:
    turns, batch = (30, 15) if plan.quick else (TURNS, BATCH)
    points = (10, turns // 3, turns)
    passes = 2 if plan.quick else min(plan.repetitions, 5)
    tables: list[Table] = []
    data: dict[str, Any] = {}
    for where, url in (("in process", None), ("over HTTP", plan.url)):
        names = [
            name
            for name in ORDER
            if (peer(name).in_process if url is None else peer(name).over_http) and name not in LEFT_OUT.get(where, ())
        ]
        async with entered(plan, names, url) as present:
            print(f"  model {where}: {len(present)} contestants", flush=True)
            found = await _sessions(plan, present, turns, batch, passes)
        data[where] = {name: about(name) | figures for name, figures in found.items()}
        tables.append(_table(f"One session, {turns} turns, model {where}", data[where], points))
    return Found(tables=tables, data={"turns": turns, **data})


async def _sessions(
    plan: Plan, present: list[Contestant], turns: int, batch: int, passes: int
) -> dict[str, dict[str, Any]]:
    """Each pass is a session of its own; contestants alternate after each batch of it."""
    found: dict[str, dict[str, Any]] = {one.name: {"passes": []} for one in present}
    for number in range(passes):
        taking = [one for one in present if not number or _wall(found[one.name]["passes"][0]) < AGAIN_WITHIN]
        for one in taking:
            found[one.name]["passes"].append([])
        for round_ in range(turns // batch):
            for one in rotated(taking, round_):
                try:
                    found[one.name]["passes"][number].append(await one.run([number], batch))
                except FailedError as error:
                    plan.absent[one.name] = f"failed at turn {round_ * batch}: {error}"
                    taking.remove(one)
                    present.remove(one)
                    found.pop(one.name)
    for one in present:
        figures = found[one.name]
        count = sum(len(batches) for batches in figures["passes"]) * batch
        batches = [one_batch for batches in figures["passes"] for one_batch in batches]
        figures["seconds"] = [_wall(batches) for batches in figures["passes"]]
        figures["turns_a_second"] = turns / median(figures["seconds"])
        for part in ("cpu", "client", "commits", "written"):
            values = [one_batch[part] for one_batch in batches]
            figures[part] = None if None in values else sum(values) / count
        figures["each"] = [[s for one_batch in batches for s in one_batch["each"]] for batches in figures["passes"]]
        del figures["passes"]
        try:
            figures["bytes"] = (await one.close())["bytes"] * turns / count
        except FailedError as error:
            print(f"  {one.name} did not close: {error}")
            figures["bytes"] = None
    return found


def _wall(batches: list[dict[str, Any]]) -> float:
    return float(sum(batch["wall"] for batch in batches))


def at(figures: dict[str, Any], turn: int) -> float:
    """Milliseconds of a turn about there: the median of the nine around it, of all sessions."""
    near = [one for each in figures["each"] for one in each[max(0, turn - 5) : turn + 4]]
    return float(1000 * median(near))


def _table(title: str, found: dict[str, dict[str, Any]], points: tuple[int, ...]) -> Table:
    head = ["", "turns/s", "power-loop is", *(f"ms at turn {point}" for point in points)]
    head += ["CPU ms a turn", "of it client ms", "commits a turn", "KB written a turn", "MB after"]
    rows = []
    for name, figures in found.items():
        faster = ratio(figures["seconds"], found[BASE]["seconds"]) if BASE in found else None
        client, written, size = figures["client"], figures["written"], figures["bytes"]
        rows.append(
            [
                titled(name),
                figures["turns_a_second"],
                None if faster is None or name == BASE else f"{faster:.3g}x",
                *(at(figures, point) for point in points),
                1000 * figures["cpu"],
                None if client is None else 1000 * client,
                figures["commits"],
                written / 1000,
                size / 1e6 if size else None,
            ]
        )
    note = f'{DURABLE_NOTE} "power-loop is": how many times as many turns a second, median of interleaved sessions.'
    return Table(title=title, head=head, rows=rows, note=note)
