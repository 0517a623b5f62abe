"""G4: watchers look at each round; abort beats pause beats nudge; what they remember survives a kill."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import calls, says
from power_loop import ConfigError, SessionState, Status
from power_loop.rules import (
    CONTINUE,
    Abort,
    Budget,
    Budgets,
    BudgetShare,
    Nudge,
    Pattern,
    Pause,
    RepeatedCall,
    RoundSeen,
    Scope,
    Stagnation,
    Watched,
)
from power_loop.testing import ScriptedServer
from tests.governance.kit import a_loop, counting, die, in_a_child, look, pay, remembered, said
from tests.loop.kit import FOREVER, history_is_valid, open_loop, service, valid

pytestmark = pytest.mark.acceptance("G4")

SAME = [calls(("look", {"what": "x"}))] * 9


class Says:
    """A watcher that says one thing after a round, and counts its rounds."""

    def __init__(self, verdict: Any, *, name: str = "says", after: int = 1) -> None:
        self.name, self.verdict, self.after = name, verdict, after
        self.seen: list[RoundSeen] = []

    async def watch(self, seen: RoundSeen, memory: Any) -> Any:
        self.seen.append(seen)
        count = (memory or 0) + 1
        return Watched(self.verdict if count == self.after else CONTINUE, count)


async def test_it_sees_the_round_as_it_ended(tmp_path: Path) -> None:
    watcher = Says(CONTINUE)
    first = calls(("look", {"what": "a"}), ("pay", {"amount": "much"}), ("gone", {}), text="let me see")
    async with a_loop(tmp_path, [first, says("done")], watchers=[watcher]) as loop:
        result = await loop.send("go")
        [seen] = watcher.seen
        assert (seen.session_id, seen.turn, seen.round, seen.text) == (result.session_id, 1, 1, "let me see")
        assert [(call.name, call.values, call.state) for call in seen.calls] == [
            ("look", {"what": "a"}, "succeeded"),
            ("pay", {"amount": "much"}, "failed"),
            ("gone", {}, "failed"),
        ]
        assert seen.calls[0].result == "saw a"


async def test_a_nudge_is_told_and_stored_before_the_next_request(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [SAME[0], says("done")], watchers=[Says(Nudge("look elsewhere"))]) as loop:
        result = await loop.send("go")
        assert result.status is Status.COMPLETED
        wanted = ["user: go", "assistant: (look)", "tool: saw x", "user: look elsewhere", "assistant: done"]
        assert await said(loop, result.session_id) == wanted
        assert [line for line in map(str, loop._llm.requests[-1].messages) if "look elsewhere" in line]
        assert valid(*loop._llm.requests)


async def test_a_pause_leaves_a_session_that_can_be_resumed(tmp_path: Path) -> None:
    watchers = [Says(Pause("have a look at this"), name="guard"), Says(Nudge("slower"), name="kind")]
    async with a_loop(tmp_path, [SAME[0], SAME[1], says("done")], watchers=watchers) as loop:
        result = await loop.send("go")
        assert (result.status, result.rounds, result.pending_tool_calls) == (Status.STOPPED, 1, ())
        assert result.stop_reason == "paused by guard: have a look at this"
        assert (await loop.get_session(result.session_id)).state is SessionState.STOPPED
        again = await loop.resume(result.session_id)
        assert (again.status, again.final_text) == (Status.COMPLETED, "done")
        lines = await said(loop, result.session_id)
        assert lines.count("user: slower") == 1, "a nudge that a pause beat is told when the turn goes on"
        assert [seen.round for seen in watchers[0].seen] == [1, 2], "no round is seen twice"
        assert await history_is_valid(loop, result.session_id)


async def test_an_abort_ends_the_turn(tmp_path: Path) -> None:
    watchers = [
        Says(Nudge("n"), name="one"),
        Says(Pause("p"), name="two"),
        Says(Abort("enough"), name="three"),
        Says(Abort("no more"), name="four"),
    ]
    async with a_loop(tmp_path, SAME, watchers=watchers) as loop:
        result = await loop.send("go")
        assert (result.status, result.rounds) == (Status.CANCELLED, 1)
        assert result.stop_reason == "aborted by three, four: enough; no more"
        assert await history_is_valid(loop, result.session_id)
        assert "user: n" not in await said(loop, result.session_id)


async def test_one_that_raises_hangs_or_says_nonsense_is_reported_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = threading.Event()

    class Raises:
        name = "raises"

        def watch(self, seen: RoundSeen, memory: Any) -> Any:
            raise ValueError("I cannot see")

    class Hangs:
        name = "hangs"

        def watch(self, seen: RoundSeen, memory: Any) -> Any:
            gone.wait(FOREVER)

    class Nonsense:
        name = "nonsense"

        def watch(self, seen: RoundSeen, memory: Any) -> Any:
            return "stop"

    watchers = [Raises(), Hangs(), Nonsense(), Says(Nudge("I can"))]
    try:
        with caplog.at_level(logging.WARNING, "power_loop.watchers"):
            async with a_loop(tmp_path, [SAME[0], says("done")], watchers=watchers, watch_timeout=0.2) as loop:
                result = await loop.send("go")
                assert result.status is Status.COMPLETED
                assert "user: I can" in await said(loop, result.session_id)
    finally:
        gone.set()
    told = "\n".join(caplog.messages)
    assert all(name in told for name in ("watcher raises", "watcher hangs", "watcher nonsense"))
    assert "watcher says" not in told


async def test_a_stop_does_not_wait_for_a_watcher(tmp_path: Path) -> None:
    looking, stop = asyncio.Event(), asyncio.Event()

    class Hangs:
        name = "hangs"

        async def watch(self, seen: RoundSeen, memory: Any) -> Any:
            looking.set()
            await asyncio.sleep(FOREVER)

    async with a_loop(tmp_path, SAME, watchers=[Hangs()], watch_timeout=FOREVER) as loop:
        sending = asyncio.create_task(loop.send("go", stop_event=stop))
        await looking.wait()
        stop.set()
        result = await sending
        assert result.status is Status.STOPPED


async def test_the_same_call_again_and_again_is_noticed_and_five_files_are_not(tmp_path: Path) -> None:
    different = [calls(("look", {"what": str(number)})) for number in range(5)]
    watcher = RepeatedCall(limit=3, then="pause")
    async with a_loop(tmp_path, [*different, says("done"), *SAME], watchers=[watcher]) as loop:
        result = await loop.send("look at five files")
        assert result.status is Status.COMPLETED
        result = await loop.send("and again", result.session_id)
        assert (result.status, result.rounds) == (Status.STOPPED, 3)
        assert "paused by" in result.stop_reason


async def test_what_was_seen_before_a_kill_counts_after_it(tmp_path: Path) -> None:
    def watchers() -> list[Any]:
        return [RepeatedCall(limit=3, then="abort")]

    async def killed() -> None:
        async with a_loop(tmp_path, [SAME[0], SAME[1], lambda request: die()], watchers=watchers()) as loop:
            await loop.create_session("s")
            await loop.send("go", "s")

    assert in_a_child(killed) == signal.SIGKILL
    async with a_loop(tmp_path, SAME, watchers=watchers()) as loop:
        result = await loop.resume("s")
        assert (result.status, result.rounds) == (Status.CANCELLED, 1), "the third of three"
        assert await history_is_valid(loop, "s")


async def test_a_round_whose_watching_was_killed_is_seen_by_whoever_resumes(tmp_path: Path) -> None:
    class Dies:
        name = "says"

        def watch(self, seen: RoundSeen, memory: Any) -> Any:
            die()

    async def killed() -> None:
        async with a_loop(tmp_path, SAME, watchers=[Dies()]) as loop:
            await loop.create_session("s")
            await loop.send("go", "s")

    assert in_a_child(killed) == signal.SIGKILL
    watcher = Says(Nudge("after all"))
    async with a_loop(tmp_path, [says("done")], watchers=[watcher]) as loop:
        assert (await loop.resume("s")).status is Status.COMPLETED
        assert [(seen.turn, seen.round, seen.calls[0].result) for seen in watcher.seen] == [(1, 1, "saw x")]
        assert "user: after all" in await said(loop, "s")
        assert (await remembered(loop, "s"))["watcher says"] == 1


async def test_what_a_watcher_forgets_is_forgotten(tmp_path: Path) -> None:
    class Forgets:
        name = "forgets"

        def watch(self, seen: RoundSeen, memory: Any) -> Any:
            return Watched(CONTINUE, None if memory else {"round": seen.round})

    async with a_loop(tmp_path, [SAME[0], SAME[1], says("done")], watchers=[Forgets()]) as loop:
        session = (await loop.send("go")).session_id
        assert (await remembered(loop, session))["watcher forgets"] is None


@pytest.mark.parametrize(
    ("watcher", "script", "settings"),
    [
        (Stagnation(rounds=2, then="pause"), [calls(("look", {"what": "x"})), *SAME], {}),
        (Pattern("saw x", where="results", then="pause"), SAME, {}),
        (Scope(tools=["look"], then="pause"), [calls(("pay", {"amount": 1}))], {}),
        (Scope(paths=["/data"], arguments=["what"], then="pause"), [calls(("look", {"what": "/data/../etc"}))], {}),
    ],
    ids=["stagnation", "pattern", "tools", "paths"],
)
async def test_those_that_come_along_work_in_a_turn(
    tmp_path: Path, watcher: Any, script: list[Any], settings: dict[str, Any]
) -> None:
    async with a_loop(tmp_path, script, watchers=[watcher], **settings) as loop:
        result = await loop.send("go")
        assert result.status is Status.STOPPED, result
        assert result.stop_reason.startswith(f"paused by {watcher.name}: ")


async def test_the_model_hears_when_half_of_a_budget_is_gone_and_once(tmp_path: Path) -> None:
    different = [calls(("look", {"what": str(number)})) for number in range(5)]
    budgets = Budgets(turn=Budget(rounds=6))
    async with a_loop(tmp_path, [*different, says("done")], watchers=[BudgetShare(at=0.5)], budgets=budgets) as loop:
        lines = await said(loop, (await loop.send("go")).session_id)
        told = [at for at, line in enumerate(lines) if "turn budget of 6 rounds" in line]
        assert told == [7], lines
        assert lines[6:9] == ["tool: saw 2", lines[7], "assistant: (look)"]


async def test_watchers_over_a_real_endpoint(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([SAME[0], SAME[1], says("done")])
    loop = open_loop(tmp_path, service(server), tools=[look, pay], watchers=[Says(Nudge("\N{SNOWMAN} elsewhere"))])
    async with loop:
        assert (await loop.send("look")).status is Status.COMPLETED


def test_what_is_no_watcher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="watchers"):
        open_loop(tmp_path, counting([]), watchers=[object()])
    with pytest.raises(ConfigError, match="watchers"):
        open_loop(tmp_path, counting([]), watchers=[Says(CONTINUE), Says(CONTINUE)])
