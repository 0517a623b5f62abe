"""A turn at message 10, 1,000, 10,000 and 50,000 of a warm session: what is the store's and loop's, what the client's.

Lengths alternate in small batches within one process of a contestant, so that whatever else the machine does hits all
of them alike. At message 10 each batch has a session of its own: it would not stay that short.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.contestants import Contestant, FailedError, scratch
from bench.figures import BASE, about, filled, lay, middle, ratio, titled
from bench.peers import ORDER
from bench.plan import Plan
from bench.report import Found, Table

LENGTHS: Final = (10, 1_000, 10_000, 50_000)
TYPED_UP_TO: Final = 1_000
BATCH: Final = 3
PEERS: Final = ("ours", "sockets", "openai_post", "openai_typed")
ROUNDS: Final = {"ours": 16, "sockets": 4, "openai_post": 4, "openai_typed": 2}


async def measure(plan: Plan) -> Found:
    lengths = (10, 300) if plan.quick else LENGTHS
    data: dict[str, Any] = {}
    async with scratch(plan) as folder:
        rounds = {name: 3 if plan.quick else ROUNDS[name] for name in PEERS}
        histories = [*lengths[1:], *[lengths[0]] * (max(rounds.values()) + 1)]
        template = await filled(folder, histories) if BASE in plan.peers else None
        for where, url, names in (("in process", None, PEERS[:1]), ("over HTTP", plan.url, PEERS)):
            data[where] = {}
            for name in names:
                if name not in plan.peers or name in plan.absent:
                    continue
                short = [long for long in lengths if name != "openai_typed" or long <= TYPED_UP_TO]
                try:
                    data[where][name] = about(name) | {
                        "at": await _grown(folder, template, name, url, short, rounds[name])
                    }
                except FailedError as error:
                    plan.absent[name] = f"failed in a long session: {error}"
    tables = [_ours(where, found[BASE], lengths) for where, found in data.items() if BASE in found]
    tables.append(_others(data["over HTTP"], lengths))
    return Found(tables=tables, data={"lengths": list(lengths), **data})


async def _grown(
    folder: Path, template: Path | None, name: str, url: str | None, lengths: Sequence[int], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds a turn at each length, one entry a round: in all, and the client's share where it is known."""
    histories = [*lengths[1:], *[lengths[0]] * (rounds + 1)]
    found: dict[str, dict[str, list[float]]] = {str(length): {"wall": [], "client": []} for length in lengths}
    contestant = Contestant(name, folder / name)
    if name == BASE and template is not None:
        lay(template, contestant.folder)
    try:
        await contestant.start(url, histories)
        for round_ in range(-1, rounds):
            for place, length in enumerate(lengths):
                # Session 0, 1, ... are the long ones; a short one is new in each round.
                session = place - 1 if place else len(lengths) - 1 + round_ + 1
                await contestant.run([session], 1)
                said = await contestant.run([session], BATCH)
                if round_ >= 0:
                    found[str(length)]["wall"].append(1000 * said["wall"] / BATCH)
                    found[str(length)]["client"] += [] if said["client"] is None else [1000 * said["client"] / BATCH]
    finally:
        await contestant.end()
    return found


def own(figures: dict[str, list[float]]) -> list[float]:
    """What is not the client's."""
    return [wall - client for wall, client in zip(figures["wall"], figures["client"], strict=True)]


def _ours(where: str, found: dict[str, Any], lengths: Sequence[int]) -> Table:
    short = own(found["at"][str(lengths[0])])
    rows = []
    for length in lengths:
        figures = found["at"][str(length)]
        mine = own(figures)
        rows.append([f"{length:,}", median(mine), ratio(mine, short), median(figures["client"])])
    return Table(
        title=f"A turn in a warm session of so many messages, model {where}",
        head=["at message", "store and loop ms", f"at {lengths[0]} = 1", "client ms"],
        rows=rows,
        note=f"{BATCH} turns a round, after one that is not measured; medians over rounds.",
    )


def _others(found: dict[str, Any], lengths: Sequence[int]) -> Table:
    rows = [
        [titled(name), *(middle(found[name]["at"].get(str(length), {}).get("wall", [])) for length in lengths)]
        for name in ORDER
        if name in found
    ]
    return Table(
        title="The same over HTTP, in all, against those who store nothing: ms a turn",
        head=["", *(f"at message {length:,}" for length in lengths)],
        rows=rows,
        note=f"The typed method is left out beyond {TYPED_UP_TO:,} messages.",
    )
