"""A new process opens a session of 5,000 messages and runs its first turn.

Those who store nothing have the history in memory before the clock starts: as dicts, or as JSON texts (post).
"""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from bench.contestants import Contestant, FailedError, scratch
from bench.figures import BASE, about, filled, lay, ratio, rotated, titled
from bench.plan import Plan
from bench.report import Found, Table

MESSAGES: Final = 5_000
PEERS: Final = ("ours", "ours_aiohttp", "sockets", "openai_post", "openai_typed")


OURS: Final = ("ours", "ours_aiohttp")
"""They begin with a database; the others have the history in memory."""


async def measure(plan: Plan) -> Found:
    messages = 300 if plan.quick else MESSAGES
    repetitions = 2 if plan.quick else max(3, min(plan.repetitions, 7))
    data: dict[str, Any] = {"messages": messages}
    tables = []
    async with scratch(plan) as folder:
        template = await filled(folder, [messages]) if {*OURS} & {*plan.peers} else None
        for where, url, names in (("in process", None, PEERS[:1]), ("over HTTP", plan.url, PEERS)):
            taking = [name for name in names if name in plan.peers and name not in plan.absent]
            found: dict[str, Any] = {name: about(name) | {"first": [], "import": [], "open": []} for name in taking}
            for repetition in range(-1, repetitions):
                for name in rotated(taking, repetition):
                    contestant = Contestant(name, folder / f"{name}-{repetition + 1}")
                    if name in OURS and template is not None:
                        lay(template, contestant.folder)
                    try:
                        await contestant.start(url, [messages])
                        said = await contestant.run([0], 1)
                    except FailedError as error:
                        plan.absent[name] = f"failed in a fresh process: {error}"
                        taking.remove(name)
                        continue
                    finally:
                        await contestant.end()
                    if repetition >= 0:  # the first round fills the file cache
                        found[name]["first"].append(1000 * said["wall"])
                        found[name]["import"].append(1000 * contestant.opened["import"])
                        found[name]["open"].append(1000 * contestant.opened["open"])
            data[where] = {name: figures for name, figures in found.items() if figures["first"]}
            tables.append(
                _table(f"First turn of a new process in a session of {messages:,} messages, {where}", data[where])
            )
    return Found(tables=tables, data=data)


def _table(title: str, found: dict[str, Any]) -> Table:
    rows = []
    for name, figures in found.items():
        faster = ratio(figures["first"], found[BASE]["first"]) if BASE in found and name != BASE else None
        stores = name in OURS
        rows.append(
            [
                titled(name),
                median(figures["first"]),
                None if faster is None else f"{faster:.3g}x",
                median(figures["import"]) if name != "sockets" else None,
                median(figures["open"]) if stores else None,
            ]
        )
    head = ["", "first turn ms", "power-loop is faster", "import ms", "open ms"]
    return Table(
        title=title, head=head, rows=rows, note="Import and opening come before the first turn, not within it."
    )
