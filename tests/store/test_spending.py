"""G5: what was spent, by the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls, says
from llm_client.service import Usage
from power_loop import AgentLoopConfig, StatefulAgentLoop, StoreDamagedError, open_store, tool
from power_loop.rules import Price, PriceTable, Spent
from power_loop.store.contract import Spending
from power_loop.testing import CountingIds, ManualClock, world
from power_loop.values import SessionId
from tests.damaged.damage import run

pytestmark = pytest.mark.acceptance("G5")

USED = Usage(prompt_tokens=100, completion_tokens=10)
PRICES = PriceTable({"*": Price(input=1, output=1)}, per=100)


@tool(effect="read")
def look() -> str:
    """Looks."""
    return "seen"


async def filled(folder: Path, *, prices: PriceTable | None = PRICES) -> ManualClock:
    """`root` with a turn of two rounds and one of one, `child` and `grandchild` with one each, `other` with one."""
    clock = ManualClock()

    def slow(request: object) -> object:
        clock.advance(5)
        return says("done")

    script = [calls(("look", {})), slow, slow, slow, slow, slow]
    llm = ScriptedLLM(script, usage=lambda request, answer: USED)
    config = AgentLoopConfig(prices=prices)
    loop = StatefulAgentLoop(
        llm=llm, db_path=folder / "agent.db", tools=[look], config=config, world=world(clock, CountingIds())
    )
    async with loop:
        await loop.create_session("root")
        await loop.create_session("child", parent="root")
        await loop.create_session("grandchild", parent="child")
        await loop.create_session("other")
        for name in ("root", "root", "child", "grandchild", "other"):
            await loop.send("go", name)
    return clock


async def spent(folder: Path, session: str, origin: int, besides: int = 0) -> Spending:
    store = await open_store(folder / "agent.db")
    try:
        return await store.spending(SessionId(session), origin, besides, tree=True)
    finally:
        await store.aclose()


async def test_a_turn_its_session_and_its_tree_are_told_apart(tmp_path: Path) -> None:
    await filled(tmp_path)
    found = await spent(tmp_path, "root", 1)
    assert found.turn == Spent(rounds=2, tokens=220, cost=pytest.approx(2.2), seconds=5)
    assert found.session == Spent(rounds=3, tokens=330, cost=pytest.approx(3.3), seconds=10)
    assert found.tree == Spent(rounds=5, tokens=550, cost=pytest.approx(5.5), seconds=20)
    assert (await spent(tmp_path, "grandchild", 1)).tree == found.tree, "from wherever in the tree"
    assert (await spent(tmp_path, "other", 1)).tree == Spent(rounds=1, tokens=110, cost=pytest.approx(1.1), seconds=5)


async def test_the_turn_that_asks_is_left_out(tmp_path: Path) -> None:
    await filled(tmp_path)
    found = await spent(tmp_path, "root", 2, besides=2)
    assert (found.turn, found.session.rounds, found.tree.rounds) == (Spent(), 2, 4)


async def test_a_cost_that_is_not_known_makes_the_sum_unknown(tmp_path: Path) -> None:
    await filled(tmp_path, prices=None)
    found = await spent(tmp_path, "root", 1)
    assert (found.turn.cost, found.session.cost, found.tree.cost) == (None, None, None)
    assert found.tree.tokens == 550


@pytest.mark.acceptance("A9")
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE usage SET prompt_tokens = 1 WHERE session = 2",
        "DELETE FROM usage WHERE session = 2",
        "UPDATE turns SET started_at = 0 WHERE session = 3",
        "DELETE FROM turns WHERE session = 3",
    ],
)
async def test_a_row_that_was_touched_is_no_reason_to_spend_more(tmp_path: Path, damage: str) -> None:
    await filled(tmp_path)
    run(tmp_path / "agent.db", damage)
    with pytest.raises(StoreDamagedError):
        await spent(tmp_path, "root", 1)
