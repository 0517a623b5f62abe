"""G5: what may be used, read from the database; the request that would pass a limit is not made."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import calls, says
from llm_client.service import Usage
from power_loop import ConfigError, SessionState, Status, TurnState
from power_loop.rules import Budget, Budgets, Price, PriceTable
from power_loop.testing import CountingIds, ManualClock, ScriptedServer, world
from tests.governance.kit import a_loop, counting, die, in_a_child, look, pay
from tests.loop.kit import history_is_valid, open_loop, service

pytestmark = pytest.mark.acceptance("G5")

LOOKS = [calls(("look", {"what": str(number)})) for number in range(9)]


@pytest.mark.parametrize(
    ("budget", "rounds", "words"),
    [
        (Budget(rounds=2), 2, "turn budget of 2 rounds: 2 spent"),
        (Budget(tokens=300), 2, "turn budget of 300 tokens: 220 spent"),
        (Budget(cost=0.3), 2, "in cost: 0.22 spent"),
    ],
)
async def test_the_request_that_would_pass_a_limit_is_not_made(
    tmp_path: Path, budget: Budget, rounds: int, words: str
) -> None:
    prices = PriceTable({"*": Price(input=1, output=1)}, per=1000)
    async with a_loop(tmp_path, LOOKS, budgets=Budgets(turn=budget), prices=prices) as loop:
        result = await loop.send("look")
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, rounds)
        assert words in result.stop_reason
        assert result.pending_tool_calls == ()
        assert len(loop._llm.requests) == rounds
        assert await history_is_valid(loop, result.session_id)
        [turn] = await loop.get_turns(result.session_id)
        assert (turn.state, turn.status, turn.rounds) == (TurnState.CANCELLED, "budget_exceeded", rounds)
        assert (await loop.get_session(result.session_id)).state is SessionState.STOPPED


async def test_what_reaches_a_limit_exactly_is_within_it(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [LOOKS[0], says("done")], budgets=Budgets(turn=Budget(rounds=2))) as loop:
        assert (await loop.send("look")).status is Status.COMPLETED


async def test_a_budget_of_a_session_lasts_over_turns_and_restarts_and_more_of_it_goes_on(tmp_path: Path) -> None:
    session = Budgets(session=Budget(rounds=3))
    async with a_loop(tmp_path, [LOOKS[0], says("one")], budgets=session) as loop:
        name = (await loop.send("look")).session_id
    async with a_loop(tmp_path, [LOOKS[1], says("two")], budgets=session) as loop:
        result = await loop.send("look again", name)
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, 1)
        assert "session budget of 3 rounds" in result.stop_reason
        again = await loop.resume(name)
        assert (again.status, again.rounds) == (Status.BUDGET_EXCEEDED, 0)
        other = await loop.send("somewhere else")
        assert other.status is Status.COMPLETED, "another session has its own"
    async with a_loop(tmp_path, [says("two")], budgets=Budgets(session=Budget(rounds=4))) as loop:
        assert (await loop.resume(name)).final_text == "two"


async def test_a_turn_counts_on_over_its_resumes_and_begins_anew_with_the_next_input(tmp_path: Path) -> None:
    budget = Budgets(turn=Budget(rounds=2))

    async def killed() -> None:
        def dies(request: Any) -> Any:
            die()

        async with a_loop(tmp_path, [LOOKS[0], LOOKS[1], dies], budgets=Budgets(turn=Budget(rounds=9))) as loop:
            await loop.create_session("s")
            await loop.send("look", "s")

    assert in_a_child(killed) == signal.SIGKILL
    async with a_loop(tmp_path, [says("fresh")], budgets=budget) as loop:
        result = await loop.resume("s")
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, 0)
        assert (await loop.send("and now", "s")).final_text == "fresh"
        assert await history_is_valid(loop, "s")


async def test_a_tree_shares_one_budget_however_deep(tmp_path: Path) -> None:
    script = [says("a"), says("b"), says("c"), says("d")]
    async with a_loop(tmp_path, script, budgets=Budgets(tree=Budget(rounds=3))) as loop:
        await loop.create_session("root")
        await loop.create_session("child", parent="root")
        await loop.create_session("grandchild", parent="child")
        await loop.create_session("stranger")
        for name in ("grandchild", "root", "child"):
            assert (await loop.send("go", name)).status is Status.COMPLETED
        result = await loop.send("go", "root")
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, 0)
        assert "session tree budget of 3 rounds" in result.stop_reason
        assert (await loop.send("go", "stranger")).status is Status.COMPLETED


async def test_what_others_of_the_tree_spend_meanwhile_counts(tmp_path: Path) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def waits(request: Any) -> Any:
        asked.set()
        await go_on.wait()
        return LOOKS[0]

    async with a_loop(tmp_path, [waits, says("b"), says("c")], budgets=Budgets(tree=Budget(rounds=2))) as loop:
        await loop.create_session("root")
        await loop.create_session("child", parent="root")
        running = asyncio.create_task(loop.send("go", "root"))
        await asked.wait()
        assert (await loop.send("go", "child")).status is Status.COMPLETED
        go_on.set()
        result = await running
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, 1)


async def test_wall_time_counts_while_turns_run_and_not_between_them(tmp_path: Path) -> None:
    clock, ids = ManualClock(), CountingIds()

    def slow(request: Any) -> Any:
        clock.advance(40)
        return LOOKS[0]

    async with a_loop(
        tmp_path, [slow, slow, slow], world=world(clock, ids), budgets=Budgets(session=Budget(seconds=60))
    ) as loop:
        result = await loop.send("look")
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, 2)
        assert "80 have passed" in (result.stop_reason or "")
    clock.advance(10_000)
    async with a_loop(
        tmp_path, [says("in time")], world=world(clock, ids), budgets=Budgets(session=Budget(seconds=100))
    ) as again:
        assert (await again.resume(result.session_id)).final_text == "in time"


async def test_an_unknown_price_is_no_price_of_nothing(tmp_path: Path) -> None:
    table = PriceTable({"known": Price(input=1, output=1)})
    async with a_loop(tmp_path, [says("never")], budgets=Budgets(turn=Budget(cost=5)), prices=table) as loop:
        result = await loop.send("go")
        assert (result.status, result.rounds) == (Status.BUDGET_EXCEEDED, 0)
        assert "there is no price for the model scripted" in result.stop_reason
        assert loop._llm.requests == []


async def test_costs_are_stored_with_each_request_and_unknown_ones_as_unknown(tmp_path: Path) -> None:
    prices = PriceTable({"scripted": Price(input=2, output=4, cached_input=1)}, per=100)
    used = Usage(prompt_tokens=100, completion_tokens=50, cached_tokens=20)
    loop = open_loop(tmp_path, counting([LOOKS[0], says("done")], used), tools=[look], prices=prices)
    async with loop:
        session = (await loop.send("go")).session_id
        usage = await loop.get_usage(session)
        assert [row.cost for row in usage] == pytest.approx([3.8, 3.8])
        assert usage.cost == pytest.approx(7.6)
    async with a_loop(tmp_path, [says("free?")]) as loop:
        await loop.send("go", session)
        usage = await loop.get_usage(session)
        assert [row.cost for row in usage][-1] is None
        assert usage.cost is None


async def test_a_summary_is_not_asked_for_either(tmp_path: Path) -> None:
    big = Usage(prompt_tokens=900, completion_tokens=10)
    llm = counting([says("one"), says("two"), says("note"), says("three")], big)
    budgets = Budgets(session=Budget(tokens=1900))
    async with open_loop(tmp_path, llm, context_window=1200, compact_at=0.7, budgets=budgets) as loop:
        await loop.create_session("s")
        assert (await loop.send("word " * 200, "s")).status is Status.COMPLETED
        assert (await loop.send("word " * 200, "s")).status is Status.BUDGET_EXCEEDED
        assert [row.purpose for row in await loop.get_usage("s")] == ["answer"]
        assert await loop.get_compactions("s") == []


async def test_budgets_over_a_real_endpoint(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([*LOOKS[:3]])
    loop = open_loop(tmp_path, service(server), tools=[look, pay], budgets=Budgets(turn=Budget(rounds=2)))
    async with loop:
        result = await loop.send("look")
        assert result.status is Status.BUDGET_EXCEEDED
        assert len(server.requests) == 2


@pytest.mark.parametrize("budgets", [{"turn": 3}, Budget(rounds=1), None, "much"])
def test_what_is_no_budget_is_refused(tmp_path: Path, budgets: Any) -> None:
    with pytest.raises(ConfigError, match="budgets"):
        a_loop(tmp_path, [], budgets=budgets)
