"""A claim that is told ahead of its commit: the same as what is stored, or it does not count."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from power_loop import StoreError, World, open_store
from power_loop.store.contract import Begun, Input, Known, NewSession, Waiting
from power_loop.store.sqlite.store import SqliteStore
from power_loop.values import InputMode, SessionId
from tests.store.kit import assert_free

pytestmark = pytest.mark.acceptance("A6")

S = SessionId("s")
HI = Input(session=S, body='{"role":"user","content":"hi"}', request_id="r")


def seen(path: Path, what: str) -> int:
    """What another program sees."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        found: int = other.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
        return found


async def test_it_is_on_disk_once_it_says_so_and_what_is_no_claim_is_at_once(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    begun = await store.begin_turn(HI, ahead=True)
    assert isinstance(begun, Begun)
    assert begun.stored is not None
    await begun.stored()
    assert seen(path, "turns") == seen(path, "messages") == 1
    waiting = Input(session=S, body=HI.body, queue=InputMode.WAIT)
    assert isinstance(await store.begin_turn(waiting, ahead=True), Waiting)
    assert seen(path, "inputs") == 1
    store.release(begun.claim)
    known = await store.begin_turn(HI, ahead=True)
    assert isinstance(known, Known)
    await store.aclose()


async def test_one_whose_commit_failed_says_why_and_leaves_the_session_free(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    fails, told = False, threading.Event()

    def reached(point: str) -> None:
        if fails and point == "sql.commit":
            assert told.wait(10)
            raise sqlite3.OperationalError("disk I/O error")

    store = await open_store(path, world=World(reached=reached))
    assert isinstance(store, SqliteStore)
    await store.create_session(NewSession(id=S))
    fails = True
    begun = await store.begin_turn(HI, ahead=True)
    told.set()
    assert isinstance(begun, Begun)
    assert begun.stored is not None
    for _ in range(2):  # whoever asks, and as often as anybody does
        with pytest.raises(StoreError, match="disk"):
            await begun.stored()
    assert store._driving == {}
    fails = False
    assert seen(path, "turns") == 0
    assert_free(path)
    assert isinstance(await store.begin_turn(HI), Begun)
    await store.aclose()


async def test_a_claim_that_came_out_otherwise_when_it_was_tried_again_does_not_count(tmp_path: Path) -> None:
    """Its batch failed as a whole; before it was tried alone, another program claimed the session and left it."""
    path = tmp_path / "agent.db"
    failures, told = 0, threading.Event()

    def reached(point: str) -> None:
        nonlocal failures
        if point == "sql.commit" and failures == 1:
            failures = 2
            assert told.wait(10)
            raise sqlite3.OperationalError("disk I/O error")
        if point == "sql.begin" and failures == 2:
            failures = 3
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("UPDATE sessions SET epoch = epoch + 1")

    store = await open_store(path, world=World(reached=reached))
    assert isinstance(store, SqliteStore)
    await store.create_session(NewSession(id=S))
    failures = 1

    async def claim() -> object:
        begun = await store.begin_turn(HI, ahead=True)
        told.set()
        return begun

    begun, _ = await asyncio.gather(claim(), store.create_session(NewSession(id=SessionId("other"))))  # one batch
    assert failures == 3
    assert isinstance(begun, Begun)
    assert begun.stored is not None
    with pytest.raises(StoreError, match="meanwhile"):
        await begun.stored()
    assert store._driving == {}
    assert seen(path, "sessions") == 2
    await store.aclose()
