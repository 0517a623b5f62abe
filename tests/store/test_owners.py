"""Who lives: a lock that the kernel holds for exactly as long as the process does."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import EpochLostError, SessionBusyError, SessionState, StatefulAgentLoop, open_store
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.errors import LoopClosedError, StateError, StoreDamagedError, StoreOpenError
from power_loop.store.contract import Begun, Input, NewSession, SessionStore
from power_loop.store.sqlite.owners import Owners
from power_loop.values import CallKey, Effect, SessionId
from tests.store.kit import child, dump, in_fork, says, tell

pytestmark = pytest.mark.acceptance("D1")

OWNER = """
from pathlib import Path
from power_loop.store.sqlite.owners import Owners
owners = Owners(Path(sys.argv[1]), sys.argv[2])
print(owners.enlist(), flush=True)
sys.stdin.readline()
owners.leave()
"""


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def stopped(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_d1_an_owner_lives_until_it_is_killed(tmp_path: Path) -> None:
    us = Owners(tmp_path / "agent.db", "us")
    with child(OWNER, tmp_path / "agent.db", "them") as process:
        name = heard(process)
        assert us.alive(name)
        process.kill()
        process.wait()
        assert not us.alive(name)


def test_d1_a_stopped_owner_lives(tmp_path: Path) -> None:
    us = Owners(tmp_path / "agent.db", "us")
    with child(OWNER, tmp_path / "agent.db", "them") as process:
        name = heard(process)
        stopped(process)
        assert us.alive(name)
        process.send_signal(signal.SIGCONT)
        tell(process)
        assert process.wait() == 0
        assert not us.alive(name)
    assert list(tmp_path.iterdir()) == []


def test_d1_a_fork_that_outlives_its_parent_keeps_no_lock_alive(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from power_loop.store.sqlite.owners import Owners
owners = Owners(Path(sys.argv[1]), "parent")
print(owners.enlist(), flush=True)
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.readline()  # until the test is over
    os._exit(0)
signal.pause()
"""
    us = Owners(tmp_path / "agent.db", "us")
    with child(code, tmp_path / "agent.db") as process:
        name = heard(process)
        says(process, "forked")
        assert us.alive(name)
        process.kill()
        process.wait()
        assert not us.alive(name)
        tell(process)


def test_d1_a_fork_is_nobody(tmp_path: Path) -> None:
    us = Owners(tmp_path / "agent.db", "us")
    name = us.enlist()

    def claims() -> None:
        with pytest.raises(LoopClosedError):
            us.enlist()
        us.leave()

    assert in_fork(claims) == 0
    assert Owners(tmp_path / "agent.db", "eye").alive(name)
    us.leave()


def test_d1_looking_at_an_owner_takes_nothing_from_those_who_look(tmp_path: Path) -> None:
    """Two who look at a dead owner's lock at once, one of them sweeping, never take each other for it."""
    with child(OWNER, tmp_path / "agent.db", "them") as process:
        name = heard(process)
        process.kill()
    eye = Owners(tmp_path / "agent.db", "eye")
    lock = os.open(eye.folder / "them", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert not eye.alive(name)
        sweeper = Owners(tmp_path / "agent.db", "sweeper")
        sweeper.enlist()
        assert [file.name for file in eye.folder.iterdir()] == ["sweeper"]
        assert not eye.alive(name)
        sweeper.leave()
    finally:
        os.close(lock)
    assert not eye.folder.exists()


def test_d1_the_files_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with child(OWNER, path, "dead") as dead, child(OWNER, path, "living") as living:
        heard(dead)
        name = heard(living)
        dead.kill()
        dead.wait()
        us = Owners(path, "us")
        us.enlist()
        assert {file.name for file in us.folder.iterdir()} == {"living", "us"}
        assert us.alive(name)
        us.leave()


def test_d1_a_damaged_name_is_no_dead_owner(tmp_path: Path) -> None:
    us = Owners(tmp_path / "agent.db", "us")
    name = us.enlist()
    for wrong in ("", ":", "host:1:us:00000000", name[:-1], name.replace("us", "ut"), "\udcff" + name):
        with pytest.raises(StoreDamagedError):
            us.alive(wrong)
    us.leave()


def test_d1_a_lock_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    us = Owners(tmp_path / "agent.db", "us")
    name = us.enlist()
    us.leave()
    us.folder.write_text("in the way")
    with pytest.raises(StoreOpenError):
        Owners(tmp_path / "agent.db", "eye").alive(name)
    with pytest.raises(StoreOpenError) as caught:
        us.enlist()
    assert "owners" in str(caught.value)


HELLO = '{"role":"user","content":"hello"}'
S = SessionId("s")


async def begun(store: SessionStore, **how: bool) -> Begun:
    turn = await (store.resume_turn(S, {}, **how) if how else store.begin_turn(Input(session=S, body=HELLO)))
    assert isinstance(turn, Begun)
    return turn


async def test_d1_two_stores_in_one_process_are_two_owners(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    one, two = await open_store(path), await open_store(path)
    await one.create_session(NewSession(id=S))
    turn = await begun(one)
    assert (await two.session_info(S)).state is SessionState.RUNNING
    with pytest.raises(SessionBusyError) as caught:
        await begun(two)
    assert str(os.getpid()) in caught.value.owner
    with pytest.raises(SessionBusyError):
        await two.delete_session(S)
    assert await two.orphans() == []
    await one.aclose()
    assert await two.orphans() == [S]
    assert (await begun(two)).claim.epoch == turn.claim.epoch + 1
    await two.aclose()


async def test_d1_the_late_write_of_a_zombie_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    zombie, heir = await open_store(path), await open_store(path)
    await zombie.create_session(NewSession(id=S))
    old = await begun(zombie)
    new = await begun(heir, force=True)
    before = dump(path)
    spent = f.ModelCall(purpose="dropped", model="m", usage=None, milliseconds=1)
    late: tuple[f.Fact, ...] = (
        f.TurnCancelled(session=S, turn=1, status="cancelled", stop_reason="late"),
        f.AnswerDropped(session=S, turn=2, model_call=spent),
    )
    for fact in late:
        with pytest.raises(EpochLostError) as caught:
            await zombie.record(old.claim if fact.turn == 1 else replace(old.claim, turn=2), [fact])
        assert (caught.value.ours, caught.value.current) == (old.claim.epoch, new.claim.epoch)
        assert dump(path) == before
    await zombie.aclose()
    await heir.aclose()


async def test_d1_a_turn_that_has_ended_takes_no_more_facts(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    turn = await begun(store)
    spent = f.ModelCall(purpose="answer", model="m", usage=None, milliseconds=1)
    key = CallKey(turn.next_seq, 0)
    asked = f.NewMessage(seq=key.seq, role="assistant", body='{"role":"assistant","content":null}')
    call = f.RequestedCall(key=key, id="c", name="t", arguments="{}", effect=Effect.READ, schema_hash=None)
    requested = f.CallsRequested(session=S, turn=1, round=1, message=asked, model_call=spent, calls=(call,))
    end = f.TurnCancelled(session=S, turn=1, status="cancelled", stop_reason="stopped")
    await store.record(turn.claim, [requested, f.CallsStarted(session=S, turn=1, calls=(key,)), end])
    before = dump(path)
    settled = f.CallSettled(
        session=S,
        turn=1,
        key=key,
        state=CallState.SUCCEEDED,
        settled_by=SettledBy.RUN,
        message=f.NewMessage(seq=key.seq + 1, role="tool", body='{"role":"tool","tool_call_id":"c","content":"x"}'),
    )
    for late in (end, settled):
        with pytest.raises(StateError):
            await store.record(turn.claim, [late])
    assert dump(path) == before
    await store.aclose()


@pytest.mark.parametrize("ends", [False, True])
async def test_progress_begins_the_count_of_recoveries_anew_in_its_own_commit(tmp_path: Path, ends: bool) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    turn = await begun(store)
    key = CallKey(turn.next_seq, 0)
    asked = f.NewMessage(seq=key.seq, role="assistant", body='{"role":"assistant","content":"x"}')
    spent = f.ModelCall(purpose="answer", model="m", usage=None, milliseconds=1)
    call = f.RequestedCall(key=key, id="c", name="t", arguments="{}", effect=Effect.READ, schema_hash=None)
    requested = f.CallsRequested(session=S, turn=1, round=1, message=asked, model_call=spent, calls=(call,))
    result = f.NewMessage(seq=key.seq + 1, role="tool", body='{"role":"tool","tool_call_id":"c","content":"x"}')
    steps: list[list[f.Fact]] = [
        [requested, f.CallsStarted(session=S, turn=1, calls=(key,))],
        [
            f.CallSettled(
                session=S, turn=1, key=key, state=CallState.SUCCEEDED, settled_by=SettledBy.RUN, message=result
            )
        ],
    ]
    if ends:
        steps = [[f.AnswerReceived(session=S, turn=1, round=1, message=asked, model_call=spent, status="completed",
                                   stop_reason="stop")]]  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET recoveries = 2")
        connection.commit()
    for step in steps:
        assert (await store.session_info(S)).recoveries == 2
        await store.record(turn.claim, step)
    assert (await store.session_info(S)).recoveries == 0
    await store.aclose()


async def test_d1_nobody_deletes_a_session_whose_child_is_driven(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    one, two = await open_store(path), await open_store(path)
    await one.create_session(NewSession(id=SessionId("above")))
    await one.create_session(NewSession(id=S, parent=SessionId("above")))
    await begun(one)
    before = dump(path)
    with pytest.raises(SessionBusyError):
        await two.delete_session(SessionId("above"))
    assert dump(path) == before
    await one.aclose()
    assert await two.delete_session(SessionId("above")) == ["above", "s"]
    await two.aclose()


async def test_d1_a_request_to_stop_says_whether_anybody_will_hear_it(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    one, two = await open_store(path), await open_store(path)
    await one.create_session(NewSession(id=S))
    assert not await two.request_stop(S, "nobody is there")
    await begun(one)
    await one.aclose()
    assert not await two.request_stop(S, "it is dead")
    await begun(two)
    assert await two.request_stop(S, "stop")
    assert not await two.request_stop(S, "stop again")
    await two.aclose()


async def test_d1_kill_9_of_the_owner_and_another_takes_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    code = """
@tool
def work() -> str:
    "Works for ever."
    print("working", flush=True)
    sys.stdin.readline()
    return "done"
async def main():
    async with StatefulAgentLoop(llm=ScriptedLLM([calls(("work", {}))]), db_path=sys.argv[1], tools=[work]) as loop:
        await loop.create_session("s")
        await loop.send("go", "s")
asyncio.run(main())
"""
    async with StatefulAgentLoop(llm=ScriptedLLM(["taken over"]), db_path=path) as loop:
        with child(code, path) as owner:
            says(owner, "working")
            with pytest.raises(SessionBusyError):
                await loop.send("hi", "s", if_busy="raise")
            stopped(owner)
            with pytest.raises(SessionBusyError):
                await loop.abort_pending("s")
            killed(owner)
            result = await loop.send("hi", "s", if_busy="raise", on_pending="abort")
        assert result.final_text == "taken over"
