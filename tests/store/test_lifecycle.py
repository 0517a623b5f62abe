"""Opening, closing and not closing: nothing is left behind, nothing hangs, and a store in the wrong hands says so."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from power_loop import StatefulAgentLoop, open_store
from power_loop.engine.facts import CompactionFailed, HistoryCompacted, NewMessage
from power_loop.errors import LoopClosedError
from power_loop.store.contract import Claim, HostResult, Input, Listing, NewSession, Resolution, Said, SessionStore
from power_loop.store.sqlite.store import SqliteStore
from power_loop.values import SessionId
from tests.store.kit import a_loop, beside, dump, run

pytestmark = pytest.mark.acceptance("A8")

S = SessionId("s")


async def test_a8_opening_and_closing_leaves_no_log_no_thread_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    threads = threading.active_count()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(10):
            async with a_loop(path, ["hello"]) as loop:
                await loop.send(f"hi {number}")
                assert beside(path) == ["agent.db", "agent.db-shm", "agent.db-wal", "agent.db.owners"]
            assert beside(path) == ["agent.db"]
            assert threading.active_count() == threads
        gc.collect()
    assert caught == []
    assert len(dump(path)["sessions"]) == 10


async def test_a8_a_store_that_nobody_closes_gives_everything_back_when_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    threads = threading.active_count()
    store: SessionStore | None = await open_store(path)
    assert store is not None
    await store.create_session(NewSession(id=S))
    await store.begin_turn(Input(session=S, body='{"role":"user","content":"hi"}'))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del store
        gc.collect()
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(20)
    assert threading.active_count() == threads
    assert beside(path) == ["agent.db"]
    async with a_loop(path, ["taken up"]) as loop:
        assert (await loop.send("again", "s", if_busy="raise")).final_text == "taken up"


FAILED = CompactionFailed(session=S, turn=0, strategy="summary", reason="no")
FOLDED = HistoryCompacted(
    session=S,
    turn=0,
    folded=(1,),
    notes=(NewMessage(seq=2, role="user", body="{}", place=1),),
    strategy="summary",
    before_tokens=9,
    after_tokens=4,
    window=9,
)

USES: dict[str, Callable[[SessionStore], Awaitable[Any]]] = {
    "create_session": lambda store: store.create_session(NewSession(id=SessionId("t"))),
    "begin_turn": lambda store: store.begin_turn(Input(session=S, body='{"role":"user"}')),
    "resume_turn": lambda store: store.resume_turn(S, {}),
    "abort_pending": lambda store: store.abort_pending(S, "why"),
    "resolve_call": lambda store: store.resolve_call(S, "c", Resolution(content="x")),
    "interrupt_session": lambda store: store.interrupt_session(S),
    "archive_session": lambda store: store.archive_session(S, True),
    "close_session": lambda store: store.close_session(S, True),
    "delete_session": lambda store: store.delete_session(S),
    "request_stop": lambda store: store.request_stop(S, "why"),
    "session_info": lambda store: store.session_info(S),
    "list_sessions": lambda store: store.list_sessions(Listing(limit=1)),
    "find_session": lambda store: store.find_session("s"),
    "history": lambda store: store.history(S),
    "messages": lambda store: store.messages(S, include_compacted=True, mark_damage=False),
    "message": lambda store: store.message(S, 1),
    "output": lambda store: store.output(S, "1.1"),
    "pending": lambda store: store.pending(S),
    "calls": lambda store: store.calls(S),
    "turns": lambda store: store.turns(S),
    "compactions": lambda store: store.compactions(S),
    "undo_compaction": lambda store: store.undo_compaction(S),
    "count_failed_compaction": lambda store: store.count_failed_compaction(S, FAILED),
    "compact_session": lambda store: store.compact_session(S, 0, FOLDED),
    "usage": lambda store: store.usage(S, None),
    "decide_approval": lambda store: store.decide_approval(S, "c", Said(approved=True)),
    "submit_results": lambda store: store.submit_results(S, {"c": HostResult(content="x")}),
    "waits": lambda store: store.waits(S, decided=True),
    "calls_of_answer": lambda store: store.calls_of_answer(S, 1),
    "spending": lambda store: store.spending(S, 1, 1, tree=True),
    "events": lambda store: store.events(S, 0, 10),
    "memories": lambda store: store.memories(S),
    "queue_input": lambda store: store.queue_input(Input(session=S, body='{"role":"user"}')),
    "begin_next": lambda store: store.begin_next(S, 1),
    "take_inputs": lambda store: store.take_inputs(Claim(key=1, session=S, epoch=1, turn=1)),
    "withdraw_input": lambda store: store.withdraw_input(S, 1),
    "queued_inputs": lambda store: store.queued_inputs(S),
    "unattended": lambda store: store.unattended(),
    "steered": lambda store: store.steered(),
    "free_session": lambda store: store.free_session(S),
    "orphans": lambda store: store.orphans(),
    "changed": lambda store: store.changed(),
    "stops_requested": lambda store: store.stops_requested(),
}


def test_every_method_of_a_store_is_tried_below() -> None:
    methods = {name for name in vars(SessionStore) if not name.startswith("_")} - {
        "path",
        "aclose",
        "record",
        "release",
    }
    assert methods == set(USES)


@pytest.mark.parametrize("name", USES)
async def test_a8_a_closed_store_says_so(tmp_path: Path, name: str) -> None:
    store = await open_store(tmp_path / "agent.db")
    await store.create_session(NewSession(id=S))
    await store.aclose()
    await store.aclose()
    before = dump(tmp_path / "agent.db")
    with pytest.raises(LoopClosedError) as caught:
        await USES[name](store)
    assert caught.value.code == "loop.closed"
    assert "agent.db" in str(caught.value)
    assert dump(tmp_path / "agent.db") == before


def test_a8_a_store_of_another_event_loop_says_so_and_can_still_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"

    async def made() -> SessionStore:
        store = await open_store(path)
        await store.create_session(NewSession(id=S))
        return store

    async def used(store: SessionStore) -> None:
        for name, use in USES.items():
            with pytest.raises(LoopClosedError) as caught:
                await use(store)
            assert "another event loop" in str(caught.value), name
        await store.aclose()

    store = asyncio.run(made())
    asyncio.run(used(store))
    assert beside(path) == ["agent.db"]


async def test_a8_closing_commits_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    assert isinstance(store, SqliteStore)
    making = [asyncio.create_task(store.create_session(NewSession(id=SessionId(f"s{n}")))) for n in range(50)]
    await asyncio.sleep(0)  # each has handed its change in
    await store.aclose()
    assert all(task.done() and task.exception() is None for task in making)
    assert len(dump(path)["sessions"]) == 50


SHUTDOWN = """
async def main():
    store = await open_store(sys.argv[1])
    making = [asyncio.create_task(store.create_session(NewSession(id=f"s{n}"))) for n in range(5)]
    turn = asyncio.create_task(store.begin_turn(Input(session="s0", body='{"role":"user"}')))
    reading = asyncio.create_task(store.orphans())
    for _ in range(int(sys.argv[2])):
        await asyncio.sleep(0)
asyncio.run(main())
print("over")
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
def test_a8_an_event_loop_that_ends_amid_commits_ends(tmp_path: Path, steps: int) -> None:
    """Shutting down cancels every task, also those that wait for a commit: none may wait for ever."""
    assert run(SHUTDOWN, tmp_path / "agent.db", steps) == (0, "over\n")


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "del loop", "asyncio.get_running_loop().stop"])
def test_a8_a_script_that_never_closes_the_loop_exits_with_everything_committed(tmp_path: Path, end: str) -> None:
    code = f"""
async def main():
    loop = StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=sys.argv[1])
    await loop.create_session("s")
    print((await loop.send("hi", "s")).final_text)
    {end}
asyncio.run(main())
"""
    path = tmp_path / "agent.db"
    assert run(code, path) == (0, "hello\n")
    assert len(dump(path)["messages"]) == 2


FORK = """
async def main():
    store = await open_store(sys.argv[1])
    await store.create_session(NewSession(id="s"))
    return store

store = asyncio.run(main())
pid = os.fork()
if pid == 0:
    async def use():
        for use in (store.create_session(NewSession(id="t")), store.orphans()):
            try:
                await use
            except PowerLoopError as error:
                print(error.code, flush=True)
    asyncio.run(use())
    sys.exit(0)
os.waitpid(pid, 0)

async def close():
    await store.aclose()
    again = await open_store(sys.argv[1])
    print(len(await again.list_sessions(Listing(limit=9))))
    await again.aclose()
asyncio.run(close())
"""


def test_a8_a_store_in_a_forked_child_says_so_and_the_parent_keeps_it(tmp_path: Path) -> None:
    assert run(FORK, tmp_path / "agent.db") == (0, "loop.closed\nloop.closed\n1\n")


async def test_a8_a_loop_over_a_file_that_could_not_be_opened_can_try_again(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    os.mkfifo(path)
    loop = StatefulAgentLoop(db_path=path)
    with pytest.raises(Exception, match="not a regular file"):
        await loop.list_sessions()
    os.unlink(path)
    assert await loop.list_sessions() == []
    await loop.aclose()
