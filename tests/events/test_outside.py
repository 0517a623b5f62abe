"""G2: what is not done by the driver of a turn is an event too, in its own commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from power_loop import SessionStore, open_store
from power_loop.engine import facts as f
from power_loop.store.contract import Said
from power_loop.testing.conformance.kit import S, begun, made, resumed
from tests.events.kit import database


async def kinds(store: SessionStore, after: int = 0) -> list[str]:
    page = await store.events(S, after, 100)
    assert [event.number for event in page.events] == list(range(after + 1, page.last + 1))
    return [type(event.fact).__name__ for event in page.events]


@pytest.mark.acceptance("G2", "B4")
async def test_that_an_owner_died_is_an_event_before_the_turn_that_goes_on(tmp_path: Path) -> None:
    store = await open_store(database(tmp_path))
    await made(store)
    turn = await begun(store)
    await turn.record(turn.asks("pay"), turn.starts(0))
    await store.aclose()
    store = await open_store(database(tmp_path))
    await resumed(store, decisions={"call_0": "abort"})
    assert await kinds(store, 3) == ["TurnInterrupted", "CallsAborted", "TurnBegan"]
    await store.aclose()


@pytest.mark.acceptance("G2", "B8")
async def test_an_approval_is_an_event_at_once_also_while_a_turn_runs(tmp_path: Path) -> None:
    store = await open_store(database(tmp_path))
    await made(store)
    turn = await begun(store)
    await turn.record(turn.asks("pay"))
    wait = f.Wait(key=turn.keys[0], arguments="{}")
    await turn.record(f.ApprovalsRequested(session=S, turn=1, calls=(wait,)))
    await store.decide_approval(S, "call_0", Said(approved=True, by="ann"))
    assert await kinds(store, 2) == ["ApprovalsRequested", "ApprovalDecided"]
    await turn.record(turn.parks())
    assert await kinds(store, 4) == ["TurnParked"]
    await store.aclose()
