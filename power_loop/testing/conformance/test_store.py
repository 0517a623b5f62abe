"""The rules over the store that `--session-store` names; without it, over the SQLite store in a temporary folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from power_loop.engine.turns import SessionState, TurnState
from power_loop.store.contract import SessionStore
from power_loop.testing.conformance.kit import OpenStore, S, opened, resumed, settled
from power_loop.testing.conformance.named import StoreFactory, named
from power_loop.testing.conformance.store import SessionStoreConformance

OWN = "power_loop.testing.conformance.named:sqlite"


class TestSessionStore(SessionStoreConformance):
    @pytest.fixture
    def factory(self, pytestconfig: pytest.Config) -> str:
        return pytestconfig.getoption("--session-store") or OWN

    @pytest.fixture
    def open_store(self, factory: str, tmp_path: Path) -> OpenStore:
        open_named: StoreFactory = named(factory)

        async def opening() -> SessionStore:
            return await open_named(tmp_path)

        return opening

    async def test_a_killed_process_is_replaced_at_once(
        self, factory: str, open_store: OpenStore, tmp_path: Path
    ) -> None:
        async with opened(open_store) as store:
            command = [sys.executable, "-m", f"{__package__}.dying", factory, str(tmp_path)]
            with subprocess.Popen(  # noqa: ASYNC220
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                try:
                    assert process.stdout is not None
                    assert process.stdout.readline() == "driving\n"
                    assert (await store.session_info(S)).state is SessionState.RUNNING
                    assert await store.orphans() == []
                finally:
                    process.kill()
            assert await store.orphans() == [S]
            assert [call.state for call in await store.pending(S)] == ["in_doubt", "requested"]
            turn = await resumed(store, only_orphan=True)
            await turn.record(turn.starts(1), turn.settles(1))
            assert await settled(store) == [("call_0", "started"), ("call_1", "succeeded")]
            assert (await store.turns(S))[0].state is TurnState.INTERRUPTED
