"""What is committed before the next effect: looked for by another process while the contestant's stands still."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from bench.contestants import Contestant, FailedError, scratch
from bench.figures import about, titled
from bench.peers import ORDER, peer
from bench.plan import Plan
from bench.report import Found, Table
from bench.watching import answer_looks

TURNS: Final = 12


async def measure(plan: Plan) -> Found:
    data: dict[str, Any] = {}
    async with scratch(plan) as folder:
        for name in ORDER:
            if name not in plan.peers or name in plan.absent or not peer(name).in_process or not peer(name).stores:
                continue
            contestant = Contestant(name, folder / name)
            try:
                data[name] = about(name) | await _watched(contestant, 4 if plan.quick else TURNS)
            except FailedError as error:
                plan.absent[name] = f"failed while it was watched: {error}"
            finally:
                await contestant.end()
    rows = [
        [
            titled(name),
            f"{found['input']} of {found['calls']}",
            f"{found['call']} of {found['calls']}",
            f"{found['result']} of {found['requests']}",
            found["setting"],
        ]
        for name, found in data.items()
    ]
    head = [
        "",
        "input, when a tool is entered",
        "the call, when it is entered",
        "results, at the next request",
        "setting",
    ]
    note = "The star is what each claims; this is what a reader of its database finds, while its process is stopped."
    return Found(tables=[Table(title="On disk before the next effect", head=head, rows=rows, note=note)], data=data)


async def _watched(contestant: Contestant, turns: int) -> dict[str, int]:
    asked, asking = os.pipe()
    answers, answering = os.pipe()
    try:
        await contestant.start(None, fds=(asking, answers))
    except FailedError:
        os.close(asked)
        os.close(answering)
        raise
    finally:
        os.close(asking)  # the contestant has its own
        os.close(answers)
    looks = asyncio.create_task(asyncio.to_thread(answer_looks, contestant.pid, contestant.folder, asked, answering))
    try:
        found: dict[str, int] = await contestant.tell("watch", turns=turns, asking=asking, answers=answers)
    except FailedError:
        await contestant.end()  # which ends the looks
        raise
    finally:
        await looks
    return found
