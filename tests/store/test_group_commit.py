"""Whatever waits is committed together; each caller hears of a commit that is on disk; one failure stays alone."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from power_loop import InputInvalidError, SessionExistsError, SessionNotFoundError, World, open_store
from power_loop.store.contract import Input, NewSession
from power_loop.store.sqlite.store import SqliteStore
from power_loop.values import SessionId
from tests.store.kit import a_loop, assert_free, dump

pytestmark = pytest.mark.acceptance("A6")


async def opened(path: Path, world: World | None = None) -> SqliteStore:
    store = await open_store(path, world=world)
    assert isinstance(store, SqliteStore)
    return store


def new(name: str) -> NewSession:
    return NewSession(id=SessionId(name))


async def test_a6_a_hundred_sessions_at_once_take_far_fewer_commits_than_changes(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        async def one(number: int) -> None:
            session = SessionId(f"s{number}")
            await store.create_session(new(session))
            assert seen(other, "sessions WHERE id = ?", session) == 1
            await store.begin_turn(Input(session=session, body='{"role":"user","content":"hi"}'))
            assert seen(other, "messages m JOIN sessions s ON s.key = m.session WHERE s.id = ?", session) == 1

        await asyncio.gather(*map(one, range(100)))
    assert store.changes == 200
    assert store.commits <= 20
    await store.aclose()


def seen(other: sqlite3.Connection, where: str, session: str) -> int:
    """What a second connection sees, the moment the await of the change has returned."""
    found: int = other.execute(f"SELECT count(*) FROM {where}", (session,)).fetchone()[0]
    return found


async def test_a6_a_hundred_turns_at_once(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await opened(path)
    async with a_loop(path, ["hi"] * 100) as loop:
        loop = type(loop)(llm=loop._llm, store=store)
        results = await asyncio.gather(*(loop.send(f"hello {number}") for number in range(100)))
        assert len({result.session_id for result in results}) == 100
        await loop.aclose()
    assert store.changes == 200
    assert store.commits <= 40
    await store.aclose()


async def test_a6_one_failing_change_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await opened(path)
    await store.create_session(new("taken"))
    commits = store.commits
    outcomes = await asyncio.gather(
        store.create_session(new("a")),
        store.create_session(new("taken")),
        store.create_session(new("\ud800")),
        store.delete_session(SessionId("nobody")),
        store.create_session(NewSession(id=SessionId("b"), metadata="{no json")),
        store.begin_turn(Input(session=SessionId("half"), body="{no json", create=new("half"))),
        store.create_session(new("c")),
        return_exceptions=True,
    )
    kinds = [None if outcome is None else type(outcome).__name__ for outcome in outcomes]
    assert kinds == [None, "SessionExistsError", "InputInvalidError", "SessionNotFoundError", *["StoreError"] * 2, None]
    assert isinstance(outcomes[1], SessionExistsError)
    assert isinstance(outcomes[2], InputInvalidError)
    assert isinstance(outcomes[3], SessionNotFoundError)
    assert isinstance(outcomes[4], Exception)
    assert isinstance(outcomes[4].__cause__, sqlite3.IntegrityError)
    assert store.commits == commits + 1
    assert [row[1] for row in dump(path)["sessions"]] == ["taken", "a", "c"]
    assert_free(path)
    await store.aclose()


async def test_a6_when_the_commit_itself_fails_each_stands_or_falls_alone(tmp_path: Path) -> None:
    """A transaction that fails as a whole is undone as a whole and its changes are tried one by one."""
    path = tmp_path / "agent.db"
    failures: list[bool] = []

    def reached(point: str) -> None:
        if point == "sql.commit" and failures and failures.pop(0):
            raise sqlite3.OperationalError("disk I/O error")

    store = await opened(path, World(reached=reached))
    failures += [True, False, True, False]  # all of them; then a, b, c
    outcomes = await asyncio.gather(*(store.create_session(new(name)) for name in "abc"), return_exceptions=True)
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert [row[1] for row in dump(path)["sessions"]] == ["a", "c"]
    assert_free(path)
    await store.aclose()


async def test_a6_a_claim_whose_commit_failed_leaves_the_session_free(tmp_path: Path) -> None:
    """The disk fails while a turn runs and again while the next one begins; once it works, so does the session."""
    path = tmp_path / "agent.db"
    broken = False

    def reached(point: str) -> None:
        if broken and point == "sql.commit":
            raise sqlite3.OperationalError("disk I/O error")

    store = await opened(path, World(reached=reached))
    await store.create_session(new("s"))
    wanted = Input(session=SessionId("s"), body='{"role":"user","content":"hi"}')
    begun = await store.begin_turn(wanted)
    broken = True
    assert hasattr(begun, "claim")
    store.release(begun.claim)  # its turn could not be recorded any more
    with pytest.raises(Exception, match="disk"):
        await store.begin_turn(wanted)
    broken = False
    again = await store.begin_turn(wanted)
    assert hasattr(again, "claim")
    assert again.claim.turn == 2
    await store.aclose()
