"""Input sent while a turn runs is durable at once: it steers that turn, or becomes the next one; in order, once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls, says
from power_loop import (
    InputInvalidError,
    LoopClosedError,
    SessionBusyError,
    SessionNotFoundError,
    SessionPendingError,
    SessionState,
    StatefulAgentLoop,
    StatefulResult,
    Status,
    tool,
)
from power_loop.engine import facts as f
from power_loop.errors import SessionArchivedError, SessionClosedError
from tests.loop.kit import dump, history_is_valid, open_loop, shown, stuck_in, until_true, valid

pytestmark = pytest.mark.acceptance("D2")


class Held:
    """A model or tool that is entered and goes on when told."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self) -> None:
        self.entered.set()
        await self.release.wait()

    def model(self, answer: Any) -> Any:
        async def hold(request: object) -> Any:
            await self()
            return says(answer) if isinstance(answer, str) else answer

        return hold

    def tool(self) -> Any:
        @tool(effect="read")
        async def look() -> str:
            """Looks."""
            await self()
            return "seen"

        return look


async def queued(loop: StatefulAgentLoop, count: int) -> list[str]:
    """The texts that wait, once there are so many."""

    async def there() -> bool:
        return len(await loop.get_queued("s")) == count

    await until_true(there)
    return [waiting.text for waiting in await loop.get_queued("s")]


def send(loop: StatefulAgentLoop, text: str, if_busy: Any = "wait", **more: Any) -> asyncio.Task[StatefulResult]:
    return asyncio.create_task(loop.send(text, "s", if_busy=if_busy, **more))


async def texts(loop: StatefulAgentLoop) -> list[str]:
    return [f"{message.turn} {message.role}: {message.text}" for message in await loop.get_messages("s")]


async def test_what_waits_is_stored_at_once_and_becomes_the_next_turn(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("one"), "two"]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(loop, "second", request_id="r2", metadata={"from": "ann"})
            async with open_loop(tmp_path) as other:  # another process would see the same
                assert await queued(other, 1) == ["second"]
                [waiting] = await other.get_queued("s")
                assert (waiting.mode, waiting.request_id, waiting.metadata) == ("wait", "r2", {"from": "ann"})
                assert (await other.get_session("s")).queued == 1
            assert not second.done()
            held.release.set()
        assert [(await first).turn, (await second).turn] == [1, 2]
        assert (await second).final_text == "two"
        assert await texts(loop) == ["1 user: first", "1 assistant: one", "2 user: second", "2 assistant: two"]
        turn = (await loop.get_turns("s"))[1]
        assert (turn.request_id, turn.metadata) == ("r2", {"from": "ann"})
        assert await loop.get_queued("s") == []
        assert (await loop.get_session("s")).needs_attention is False
        assert (await loop.send("second", "s", request_id="r2")).turn == 2


async def test_what_steers_is_taken_in_before_the_next_request(tmp_path: Path) -> None:
    held = Held()
    llm = ScriptedLLM([calls(("look", {}), ("look", {})), "all seen"])
    async with open_loop(tmp_path, llm, tools=[held.tool()]) as loop:
        await loop.create_session("s")
        first = send(loop, "look around")
        async with stuck_in(first, held.entered):
            second, third = send(loop, "and be brief", "steer"), send(loop, "and kind", "steer", request_id="kind")
            assert await queued(loop, 2) == ["and be brief", "and kind"]
            held.release.set()
        results = await asyncio.gather(first, second, third)
        assert [(result.turn, result.final_text) for result in results] == [(1, "all seen")] * 3
        assert shown(llm.requests[1])[-4:] == ["tool: seen", "tool: seen", "user: and be brief", "user: and kind"]
        assert valid(*llm.requests)
        assert len(await loop.get_turns("s")) == 1
        assert await history_is_valid(loop, "s")
        again = await loop.send("and kind", "s", request_id="kind")
        assert (again.turn, again.final_text) == (1, "all seen")
        assert len(llm.requests) == 2


async def test_all_come_in_their_order(tmp_path: Path) -> None:
    held = Held()
    llm = ScriptedLLM([calls(("look", {})), "one", "two", "three"])
    async with open_loop(tmp_path, llm, tools=[held.tool()]) as loop:
        await loop.create_session("s")
        first = send(loop, "begin")
        async with stuck_in(first, held.entered):
            rest = [
                send(loop, "wait 1"),
                send(loop, "steer 1", "steer"),
                send(loop, "wait 2"),
                send(loop, "steer 2", "steer"),
            ]
            assert await queued(loop, 4) == ["wait 1", "steer 1", "wait 2", "steer 2"]
            held.release.set()
        assert [result.turn for result in await asyncio.gather(first, *rest)] == [1, 2, 1, 3, 1]
        users = [line for line in await texts(loop) if " user: " in line]
        assert users == ["1 user: begin", "1 user: steer 1", "1 user: steer 2", "2 user: wait 1", "3 user: wait 2"]


async def test_what_comes_too_late_to_steer_becomes_the_next_turn(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("the last word"), "heard"]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            late = send(loop, "one thing more", "steer")
            await queued(loop, 1)
            held.release.set()
        assert [(await first).turn, (await late).turn] == [1, 2]
        assert (await late).final_text == "heard"


async def test_on_an_idle_session_it_is_a_turn_like_any_other(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["hello", "again"]) as loop:
        result = await loop.send("hi", if_busy="steer")
        assert (result.turn, result.final_text) == (1, "hello")
        assert (await loop.send("hi", result.session_id, if_busy="steer")).turn == 2
        assert dump(tmp_path)["inputs"] == []


async def test_another_process_steers_a_turn_here(tmp_path: Path) -> None:
    held = Held()
    llm = ScriptedLLM([calls(("look", {})), "all seen"])
    async with open_loop(tmp_path, llm, tools=[held.tool()]) as loop, open_loop(tmp_path, ["never"]) as other:
        await loop.create_session("s")
        first = send(loop, "look around")
        async with stuck_in(first, held.entered):
            second = send(other, "be brief", "steer")
            await queued(loop, 1)
            heard = loop._opening.result().runner._turns  # type: ignore[union-attr]

            async def noticed() -> bool:
                return any(turn.snapshot.inputs_wait for turn in heard.values())

            await until_true(noticed)
            held.release.set()
        assert (await second).turn == (await first).turn == 1
        assert shown(llm.requests[1])[-1] == "user: be brief"


async def test_listeners_hear_what_steered(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [calls(("look", {})), "done"], tools=[held.tool()]) as loop:
        await loop.create_session("s")
        heard: list[object] = []

        async def listen() -> StatefulResult:
            async for event in loop.stream("look", "s"):
                heard.append(event)
            assert isinstance(event, StatefulResult)
            return event

        first = asyncio.create_task(listen())
        async with stuck_in(first, held.entered):
            second = send(loop, "brief", "steer")
            await queued(loop, 1)
            held.release.set()
        await asyncio.gather(first, second)
        [steered] = [event for event in heard if isinstance(event, f.InputSteered)]
        assert [message.body for message in steered.messages] == ['{"role":"user","content":"brief"}']
        assert heard.index(steered) > max(i for i, event in enumerate(heard) if isinstance(event, f.RoundClosed))


@pytest.mark.parametrize("mode", ["wait", "steer"])
async def test_a_sender_that_is_cancelled_takes_its_input_out_again(tmp_path: Path, mode: str) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("one")]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(loop, "second", mode)
            await queued(loop, 1)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert await loop.get_queued("s") == []
            held.release.set()
        await first
        assert [line for line in await texts(loop) if " user: " in line] == ["1 user: first"]


async def test_cancelling_whoever_steered_does_not_stop_the_turn(tmp_path: Path) -> None:
    held, last = Held(), Held()
    async with open_loop(tmp_path, [calls(("look", {})), last.model("done")], tools=[held.tool()]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(loop, "second", "steer")
            await queued(loop, 1)
            held.release.set()
            await last.entered.wait()
            second.cancel()
            with suppress(asyncio.CancelledError):
                await second
            last.release.set()
        assert (await first).status is Status.COMPLETED
        assert "1 user: second" in await texts(loop)


async def test_a_turn_that_leaves_calls_open_refuses_who_waits_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [calls(("look", {})), "resumed"], tools=[held.tool()]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            waiting = [send(loop, "second"), send(loop, "third", "steer")]
            await queued(loop, 2)
            await loop.request_stop("s")
        assert (await first).status is Status.STOPPED
        for one in waiting:
            with pytest.raises(SessionPendingError):
                await one
        assert await loop.get_queued("s") == []
        assert [line for line in await texts(loop) if " user: " in line] == ["1 user: first"]


@pytest.mark.parametrize(("way", "turns"), [("abort", 2), ("resume", 3)])
async def test_who_waits_may_clear_the_way(tmp_path: Path, way: str, turns: int) -> None:
    held = Held()
    script = [calls(("look", {})), *(["resumed"] if way == "resume" else []), "heard"]
    async with open_loop(tmp_path, script, tools=[held.tool()]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(loop, "second", on_pending=way)
            await queued(loop, 1)
            await loop.request_stop("s")
            await first
            held.release.set()
        assert ((await second).final_text, len(await loop.get_turns("s"))) == ("heard", turns)
        assert await history_is_valid(loop, "s")


async def test_one_request_waits_once_however_often_it_is_sent(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("one"), "two"]) as loop, open_loop(tmp_path, ["two"]) as other:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            twins = [send(loop, "second", request_id="r"), send(other, "second", request_id="r")]
            twins.append(send(loop, "second", "steer", request_id="r"))
            await queued(loop, 1)
            held.release.set()
        results = await asyncio.gather(*twins)
        assert {(result.turn, result.final_text) for result in results} == {(2, "two")}
        assert [line for line in await texts(loop) if " user: " in line] == ["1 user: first", "2 user: second"]


async def test_one_of_two_that_wait_for_a_request_is_cancelled(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("one"), "two"]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            one, other = send(loop, "second", request_id="r"), send(loop, "second", request_id="r")
            await queued(loop, 1)
            await asyncio.sleep(0)
            one.cancel()
            with suppress(asyncio.CancelledError):
                await one
            held.release.set()
        assert (await other).final_text == "two"
        assert [line for line in await texts(loop) if " user: " in line] == ["1 user: first", "2 user: second"]


async def test_closing_the_loop_refuses_who_waits_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    held = Held()
    loop = open_loop(tmp_path, [held.model("one")])
    await loop.create_session("s")
    first = send(loop, "first")
    async with stuck_in(first, held.entered):
        waiting = [send(loop, "second"), send(loop, "third", "steer")]
        await queued(loop, 2)
        await loop.aclose()
    for one in waiting:
        with pytest.raises(LoopClosedError):
            await one
    await first
    assert dump(tmp_path)["inputs"] == []


async def test_an_operator_sees_what_waits_and_takes_it_out(tmp_path: Path) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("one"), "sent anew"]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(loop, "second")
            await queued(loop, 1)
            [waiting] = await loop.get_queued("s")
            assert await loop.withdraw_input("s", waiting.number + 1) is False
            assert await loop.withdraw_input("s", waiting.number) is True
            assert await loop.withdraw_input("s", waiting.number) is False
            held.release.set()
        await first
        assert (await second).final_text == "sent anew", "its sender is still there and wants it"
        with pytest.raises(SessionNotFoundError):
            await loop.get_queued("gone")
        for number in (True, -1, "1", 2**63):
            with pytest.raises(InputInvalidError):
                await loop.withdraw_input("s", number)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "error"), [("close_session", SessionClosedError), ("archive_session", SessionArchivedError)]
)
async def test_a_session_that_takes_no_input_any_more_refuses_who_waits(tmp_path: Path, end: str, error: Any) -> None:
    held = Held()
    async with open_loop(tmp_path, [held.model("one")]) as loop, open_loop(tmp_path, ["never"]) as other:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(other, "second")
            await queued(loop, 1)
            with pytest.raises(SessionBusyError):
                await getattr(loop, end)("s")
            # The end comes in the instant between the turn and the next look of who waits.
            first.add_done_callback(lambda _: ending.append(asyncio.ensure_future(getattr(loop, end)("s"))))
            ending: list[asyncio.Future[Any]] = []
            held.release.set()
            await first
            await asyncio.sleep(0)
        with suppress(SessionBusyError):
            await ending[0]
            with pytest.raises(error):
                await second
            assert dump(tmp_path)["inputs"] == []
            return
        assert (await second).turn == 2  # who waited was faster


async def test_nothing_is_kept_of_those_who_waited(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["fine"] * 20, warm_sessions=0) as loop:
        await loop.create_session("s")
        await asyncio.gather(*(loop.send(f"{n}", "s", if_busy="wait") for n in range(20)))
        conductor = loop._opening.result()  # type: ignore[union-attr]
        assert len(conductor) == 0
        assert conductor.runner._turns == {}
        info = await loop.get_session("s")
        assert (info.state, info.queued, info.turns) == (SessionState.IDLE, 0, 20)
