"""D1, B4: owners that are stopped, robbed and brought back, that die by the hundred, that fork, that share a pid."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionState, StatefulAgentLoop
from power_loop.store.sqlite.owners import Owners
from tests.ownership.nursery import CONFIG, SESSION
from tests.store.kit import ROOT, child, says

DEATHS = 100
RACERS = 3
ORPHANS = 40


class Nursery:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.ownership.nursery", str(tmp_path / "a.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield Nursery(process)


@pytest.mark.acceptance("D1")
async def test_owners_die_by_the_hundred_and_of_those_who_race_exactly_one_takes_over(
    nursery: Nursery, tmp_path: Path
) -> None:
    chance = random.Random(7)
    owners = tmp_path / "a.db.owners"
    ((pid, said),) = nursery.ask({"race": ["send"]})
    won: Counter[str] = Counter()
    for _ in range(DEATHS):
        assert said == "won"
        assert nursery.ask({"kill": pid}) == -signal.SIGKILL
        ways = chance.choices(["resume", "send", "abort", "recover"], k=RACERS)
        answers = nursery.ask({"race": ways})
        assert sorted(word for _, word in answers if word != "won") in (
            sorted("[]" if way == "recover" else "session.busy" for way in rest)
            for rest in (ways[:at] + ways[at + 1 :] for at in range(RACERS))
        )
        (winner,) = [at for at, (_, word) in enumerate(answers) if word == "won"]
        pid, said = answers[winner]
        won[ways[winner]] += 1
        assert len(list(owners.iterdir())) == 1, "the files of the dead are swept, and those who left took theirs"
    assert min(won[way] for way in ("resume", "send", "abort", "recover")) > 0
    assert nursery.ask({"kill": pid}) == -signal.SIGKILL
    async with StatefulAgentLoop(llm=ScriptedLLM(["at last"]), db_path=tmp_path / "a.db", config=CONFIG) as loop:
        (taken,) = await loop.recover("resume")
        assert taken.result is not None
        assert taken.result.final_text == "at last"
        turns = await loop.get_turns(SESSION)
        assert [turn.state for turn in turns] == ["done", *["interrupted"] * (DEATHS + 1), "done"]
        assert [message.role for message in await loop.get_messages(SESSION)].count("assistant") == 2
    assert not owners.exists()


ALL_AT_ONCE = """
waiting = 0
async def hang(request):
    global waiting
    waiting += 1
    if waiting == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()

async def main():
    loop = StatefulAgentLoop(llm=ScriptedLLM([hang] * int(sys.argv[2])), db_path=sys.argv[1])
    ids = [await loop.create_session(f"s{n}") for n in range(int(sys.argv[2]))]
    await asyncio.gather(*(loop.send("hi", one) for one in ids))
asyncio.run(main())
"""


@pytest.mark.acceptance("B4", "D1")
async def test_several_processes_recover_each_of_many_orphans_once(nursery: Nursery, tmp_path: Path) -> None:
    with child(ALL_AT_ONCE, tmp_path / "a.db", ORPHANS) as process:
        assert process.wait() == -signal.SIGKILL
    told = nursery.ask({"recover": 4})
    taken = [session for one in told for session in one["taken"]]
    assert sorted(taken) == sorted(f"s{number}" for number in range(ORPHANS))
    assert [one["errors"] for one in told] == [[]] * 4
    assert sum(one["asked"] for one in told) == ORPHANS
    async with StatefulAgentLoop(llm=ScriptedLLM(), db_path=tmp_path / "a.db") as loop:
        assert await loop.recover("resume") == []
        for number in range(ORPHANS):
            assert [turn.state for turn in await loop.get_turns(f"s{number}")] == ["interrupted", "done"]


OWNER = """
@tool
async def work() -> str:
    "Works until told to go on."
    print("working", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return "done"

async def main():
    llm = ScriptedLLM([calls(("work", {})), "end"])
    async with StatefulAgentLoop(llm=llm, db_path=sys.argv[1], tools=[work]) as loop:
        await loop.create_session("s")
        await loop.send("go", "s")
asyncio.run(main())
"""


def stopped(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.mark.acceptance("D1")
async def test_an_owner_that_comes_back_says_in_its_last_words_that_it_was_robbed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with child(OWNER, path, stderr=subprocess.PIPE) as owner:
        says(owner, "working")
        stopped(owner)
        async with StatefulAgentLoop(llm=ScriptedLLM(["mine now"]), db_path=path) as loop:
            assert (await loop.resume("s", force=True)).final_text == "mine now"
            before = await loop.get_messages("s")
            owner.send_signal(signal.SIGCONT)
            _, words = owner.communicate("go on\n", timeout=60)
            assert owner.returncode == 1
            assert words.splitlines()[-1].startswith(
                "power_loop.errors.EpochLostError: session 's' was taken over (our epoch 1, now 2)"
            )
            assert await loop.get_messages("s") == before


FORKS = """
from multiprocessing import get_context

def be_a_child(loop):
    try:
        asyncio.run(loop.send("from the child", "s"))
    except PowerLoopError as error:
        print(error.code, flush=True)
    try:
        asyncio.run(loop.abort_pending("s"))
    except PowerLoopError as error:
        print(error.code, flush=True)
    os.read(int(sys.argv[2]), 1)  # until the test is over

async def main():
    async def forks(request):
        get_context("fork").Process(target=be_a_child, args=(loop,)).start()
        await asyncio.Event().wait()
    loop = StatefulAgentLoop(llm=ScriptedLLM([forks]), db_path=sys.argv[1])
    await loop.create_session("s")
    await loop.send("go", "s")
asyncio.run(main())
"""


@pytest.mark.acceptance("D1")
async def test_a_fork_of_an_owner_neither_drives_nor_keeps_its_dead_parent_alive(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    path = tmp_path / "a.db"
    with child(FORKS, path, reading, pass_fds=[reading], stderr=subprocess.DEVNULL) as process:
        os.close(reading)
        says(process, "loop.closed")
        says(process, "loop.closed")
        async with StatefulAgentLoop(llm=ScriptedLLM(["mine now"]), db_path=path) as loop:
            assert (await loop.get_session("s")).state is SessionState.RUNNING
            process.kill()
            process.wait()
            (taken,) = await loop.recover("resume")
            assert taken.result is not None
            assert taken.result.final_text == "mine now"
            texts = [message.text for message in await loop.get_messages("s")]
            assert texts == ["go", "mine now"]
        os.close(writing)


@pytest.mark.acceptance("D1")
async def test_a_pid_that_is_used_again_is_no_living_owner(tmp_path: Path) -> None:
    """The dead one's pid is ours now, and its lock file is still there: only its name tells it from us."""
    path = tmp_path / "a.db"
    with child(OWNER, path) as owner:
        says(owner, "working")
        owner.kill()
        owner.wait()
    async with (
        StatefulAgentLoop(llm=ScriptedLLM(["mine now"]), db_path=path) as loop,
        StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=path) as another,
    ):
        await another.send("we live, under this very pid")
        with closing(sqlite3.connect(path)) as db, db:
            ((dead,),) = db.execute("SELECT owner FROM sessions WHERE id = 's'").fetchall()
            reborn = Owners(path, dead.split(":")[2]).name
            assert f":{os.getpid()}:" in reborn
            db.execute("UPDATE sessions SET owner = ? WHERE id = 's'", [reborn])
        assert (await loop.get_session("s")).state is SessionState.INTERRUPTED_IN_TOOLS
        (taken,) = await loop.recover("resume")
        assert taken.result is not None
        assert taken.result.final_text == "mine now"


@pytest.mark.acceptance("D1")
def test_a_hundred_files_of_the_dead_are_swept_by_the_next_owner(tmp_path: Path) -> None:
    owners = Owners(tmp_path / "a.db", "us")
    owners.enlist()
    for number in range(DEATHS):
        (owners.folder / f"dead-{number}").touch()
    another = Owners(tmp_path / "a.db", "another")
    another.enlist()
    assert sorted(file.name for file in owners.folder.iterdir()) == ["another", "us"]
    another.leave()
    owners.leave()
    assert list(tmp_path.iterdir()) == []
