"""A8: processes that end without closing their loop."""

from __future__ import annotations

import signal

import pytest

from tests.crash.agent import SESSION, app, entered, tools
from tests.crash.conftest import Bench

pytestmark = pytest.mark.acceptance("A8")

FRESH = "still there?"


@pytest.mark.parametrize("mode", ["run", "bare loop", "global", "leave"])
async def test_a_script_that_never_closes_its_loop_exits(mode: str, bench: Bench) -> None:
    code, out, err = bench.run(mode)
    assert (code, err) == (0, "")
    assert out.startswith("Heard: hello\n")
    assert bench.sound()
    async with app(bench.database, bench.server.url) as loop:
        answered = (await loop.get_turns(SESSION))[0]
        assert answered.status == "completed"
        assert [m.text for m in await loop.get_messages(SESSION)][:2] == ["hello", "Heard: hello"]
        await loop.abort_pending(SESSION)
        assert (await loop.send(FRESH, SESSION)).final_text == f"Heard: {FRESH}"


async def test_a_turn_left_running_is_recoverable(bench: Bench) -> None:
    assert bench.run("leave")[0] == 0
    async with app(bench.database, bench.server.url, tools(bench.ledger)) as loop:
        pending = await loop.get_pending(SESSION)
        assert [(call.name, call.state) for call in pending] == [("second", "in_doubt"), ("third", "requested")]
        result = await loop.resume(SESSION)
        assert (result.status, result.final_text) == ("completed", "All done.")
        assert entered(bench.ledger) == ["first", "second", "third"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_during_a_model_call(how: signal.Signals, bench: Bench) -> None:
    process = bench.start("in the model")
    await bench.server.received(1)
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert bench.sound()
    async with app(bench.database, bench.server.url) as loop:
        session = await loop.get_session(SESSION)
        assert session.state == ("stopped" if how is signal.SIGINT else "interrupted_before_model")
        assert [m.text for m in await loop.get_messages(SESSION)] == ["hang"]
        bench.server.use(["Here I am.", f"Heard: {FRESH}"])
        assert (await loop.resume(SESSION)).final_text == "Here I am."
        assert (await loop.send(FRESH, SESSION)).final_text == f"Heard: {FRESH}"


@pytest.mark.parametrize("mode", ["in a tool", "in a thread"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_during_a_tool(how: signal.Signals, mode: str, bench: Bench) -> None:
    code, err = bench.killed_in_second(how, mode)
    assert code != 0
    assert ("KeyboardInterrupt" in err) == (how is signal.SIGINT)
    assert "Exception ignored" not in err
    assert bench.sound()
    async with app(bench.database, bench.server.url, tools(bench.ledger)) as loop:
        pending = await loop.get_pending(SESSION)
        assert [(call.name, call.state) for call in pending] == [("second", "in_doubt"), ("third", "requested")]
        result = await loop.resume(SESSION)
        assert (result.status, result.final_text) == ("completed", "All done.")
    assert entered(bench.ledger) == ["first", "second", "third"]


async def test_an_open_that_fails_says_so_and_nothing_else(bench: Bench) -> None:
    bench.database.mkdir()
    code, out, err = bench.run("run")
    assert (code, out) == (1, "")
    assert "StoreOpenError" in err
    assert "Exception in thread" not in err
