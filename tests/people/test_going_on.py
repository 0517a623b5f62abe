"""What becomes of calls that wait when processes die, turns are stopped, tools change, history is folded."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from power_loop import CallSettledError, SessionPendingError, SessionState, Status, Tool, ToolChangedError, tool
from power_loop.testing import Reply
from tests.loop.kit import until
from tests.people.kit import STAY, Desk, S, seen_by_the_model, states, texts, waiting

pytestmark = pytest.mark.acceptance("B8")


def inside(desk: Desk, *arguments: str) -> Any:
    """A process that is inside a tool, which it stays in."""
    process = desk.process(*arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n", process.communicate()
    return process


def killed(process: Any) -> None:
    process.kill()
    process.communicate()


async def test_killed_between_the_decision_and_the_resume(desk: Desk) -> None:
    desk.server.use([Reply.calling(("pay", {"what": "x"})), Reply(text="paid")])
    (call, _, _) = desk.ran("send", "go")["pending"][0]
    assert desk.ran("approve", call) == "approved"
    async with desk.loop(model=False) as loop:
        info = await loop.get_session(S)
        assert (info.needs_attention, info.owner) == (True, None)
        assert await loop.recover("report") == [], "no process died in it"
    assert desk.ran("resume")["status"] == "completed"
    assert desk.ledger == ["pay x"]


async def test_an_approved_once_call_that_was_cut_off_is_reported_and_neither_asked_about_nor_run_again(
    desk: Desk,
) -> None:
    desk.server.use([Reply.calling(("risky", {"what": STAY}))])
    (call, _, _) = desk.ran("send", "go")["pending"][0]
    desk.ran("approve", call)
    killed(inside(desk, "resume"))
    async with desk.loop(model=False) as loop:
        assert [(one.state, one.attempt) for one in await loop.get_pending(S)] == [("in_doubt", 1)]
        assert await loop.get_approvals() == []
        async with desk.unchanged(CallSettledError) as spent:
            await loop.approve(S, call)
        assert "spent" in str(spent.value)
    desk.server.use([Reply(text="I will look")])
    assert desk.ran("resume")["text"] == "I will look"
    async with desk.loop(model=False) as loop:
        assert await states(loop) == ["reported"]
        (text,) = await texts(loop)
        assert text.startswith("[outcome unknown] risky")
    assert desk.ledger == [f"risky {STAY}"]


async def test_an_approved_idempotent_call_that_was_cut_off_runs_again_with_the_approved_arguments(desk: Desk) -> None:
    desk.server.use([Reply.calling(("safe", {"what": "a lot"}))])
    (call, _, _) = desk.ran("send", "go")["pending"][0]
    desk.ran("approve", call, f'{{"what": "{STAY}"}}')
    killed(inside(desk, "resume"))
    (desk.folder / "go on").touch()
    desk.server.use([Reply(text="done")])
    assert desk.ran("resume")["status"] == "completed", "nobody is asked a second time"
    assert desk.ledger == [f"safe {STAY}"] * 2
    async with desk.loop(model=False) as loop:
        (ledger,) = await loop.get_calls(S)
        assert (ledger.state, ledger.attempt) == ("succeeded", 2)
        (text,) = await texts(loop)
        assert text.endswith(f"\nsafe did {STAY}")
        assert len(await loop.get_approvals(S, decided=True)) == 1


@pytest.mark.parametrize("way", ["approve", "deny"])
async def test_decided_while_a_call_of_the_same_round_runs_it_is_the_next_turns_to_take_up(
    desk: Desk, way: str
) -> None:
    desk.server.use([Reply.calling(("slow", {"what": STAY}), ("pay", {"what": "x"}))])
    process = inside(desk, "send", "go")
    async with desk.loop(model=False) as loop:
        (wait,) = await loop.get_approvals(S)
        assert (await loop.get_session(S)).state is SessionState.RUNNING
    assert desk.ran(way, wait.call_id, *(["no"] if way == "deny" else [])) in ("approved", "denied")
    async with desk.loop(model=False) as loop:
        assert await states(loop) == ["started", "awaiting_approval"], "the running turn is not disturbed"
    out, err = await asyncio.to_thread(process.communicate, "go on\n", 60)
    assert not err
    assert '"status": "awaiting_approval"' in out
    async with desk.loop(model=False) as loop:
        (left,) = await loop.get_pending(S)
        assert left.decision == ("approved" if way == "approve" else "denied")
        assert await loop.get_approvals(S) == []
    desk.server.use([Reply(text="done")])
    assert desk.ran("resume")["status"] == "completed"
    assert desk.ledger == [f"slow {STAY}"] + (["pay x"] if way == "approve" else [])


@pytest.mark.parametrize("way", ["approve", "deny"])
async def test_a_decision_about_a_turn_that_was_cut_off_leaves_it_to_be_recovered(desk: Desk, way: str) -> None:
    desk.server.use([Reply.calling(("slow", {"what": STAY}), ("pay", {"what": "x"}))])
    killed(inside(desk, "send", "go"))
    async with desk.loop(model=False) as loop:
        (wait,) = await loop.get_approvals(S)
    desk.ran(way, wait.call_id, *(["no"] if way == "deny" else []))
    (desk.folder / "go on").touch()
    desk.server.use([Reply(text="done")])
    pay, slow = desk.tool("pay", approval=True), desk.tool("slow", effect="read")
    async with desk.loop(pay, slow) as loop:
        (taken,) = await loop.recover("resume")
        assert (taken.action, taken.error) == ("resume", None)
        assert taken.result is not None
        assert taken.result.status is Status.COMPLETED
        assert await loop.recover("resume") == []
    assert desk.ledger == [f"slow {STAY}"] * 2 + (["pay x"] if way == "approve" else [])


async def test_open_calls_that_wait_are_given_up_like_any(desk: Desk) -> None:
    pay, fetch = desk.tool("pay", approval=True), desk.tool("fetch", external=True)
    made = await desk.asked(("fetch", {"what": "a"}), ("pay", {"what": "b"}), tools=[pay, fetch])
    assert waiting(made) == [("fetch", "waiting_for_input"), ("pay", "awaiting_approval")]
    async with desk.loop(model=False) as loop:
        assert await loop.abort_pending(S, reason="we moved on") == [call.id for call in made.pending_tool_calls]
        assert await loop.get_approvals() == []
        assert await states(loop) == ["aborted", "aborted"]
        assert (await loop.get_session(S)).state is SessionState.STOPPED
    desk.server.use([Reply(text="fine")])
    async with desk.loop(pay, fetch) as loop:
        assert (await loop.send("next", S)).final_text == "fine"
        assert all("aborted: we moved on" in text for text in await texts(loop))
    assert desk.ledger == []


async def test_new_input_gives_up_what_waits_or_goes_on_with_it(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    await desk.asked(("pay", {"what": "a"}), tools=[pay])
    desk.server.use([Reply.calling(("pay", {"what": "b"})), Reply(text="paid b"), Reply(text="and next")])
    async with desk.loop(pay) as loop:
        result = await loop.send("forget that", S, on_pending="abort")
        assert waiting(result) == [("pay", "awaiting_approval")]
        async with desk.unchanged(SessionPendingError):
            await loop.send("next", S, on_pending="resume")
        await loop.approve(S, result.pending_tool_calls[0].id)
        result = await loop.send("next", S, on_pending="resume")
        assert (result.status, result.final_text) == (Status.COMPLETED, "and next")
        assert [turn.status for turn in await loop.get_turns(S)][1:] == ["awaiting_approval", "completed", "completed"]
    assert desk.ledger == ["pay b"]


async def test_the_same_request_again_says_that_it_waits_then_goes_on(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    desk.server.use([Reply.calling(("pay", {"what": "a"})), Reply(text="paid")])
    async with desk.loop(pay) as loop:
        await loop.create_session(S)
        first = await loop.send("go", S, request_id="r")
        again = await loop.send("go", S, request_id="r")
        assert (again.status, again.pending_tool_calls) == (first.status, first.pending_tool_calls)
        await loop.approve(S, first.pending_tool_calls[0].id)
        assert (await loop.send("go", S, request_id="r")).final_text == "paid"
        assert [m.text for m in await loop.get_messages(S) if m.role == "user"] == ["go"]


async def test_a_stopped_turn_leaves_what_waits_to_be_decided(desk: Desk) -> None:
    entered = asyncio.Event()

    @tool(effect="read", name="slow")
    async def slow() -> str:
        """Takes its time."""
        entered.set()
        await asyncio.Event().wait()
        return "never"

    pay = desk.tool("pay", approval=True)
    desk.server.use([Reply.calling(("slow", {}), ("pay", {"what": "x"}))])
    async with desk.loop(pay, slow) as loop, desk.loop(model=False) as other:
        await loop.create_session(S)
        sending = asyncio.create_task(loop.send("go", S))
        await until(entered)
        assert await other.request_stop(S)
        result = await sending
        assert result.status is Status.STOPPED
        assert waiting(result) == [("slow", "in_doubt"), ("pay", "awaiting_approval")]
        info = await other.get_session(S)
        assert (info.state, info.needs_attention) == (SessionState.STOPPED, True)
        await other.approve(S, result.pending_tool_calls[1].id)
    desk.server.use([Reply(text="done")])
    async with desk.loop(pay, desk.tool("slow", effect="read")) as loop:
        # The new `slow` takes an argument that the old did not: that call is not run, the approved one is.
        assert (await loop.resume(S)).status is Status.COMPLETED
    assert desk.ledger == ["pay x"]


async def test_a_cancelled_caller_leaves_an_approval_that_is_still_being_asked_about_to_the_next(desk: Desk) -> None:
    asking = asyncio.Event()

    async def never(arguments: dict[str, Any]) -> bool:
        asking.set()
        await asyncio.Event().wait()
        return False

    desk.server.use([Reply.calling(("pay", {"what": "x"}))])
    async with desk.loop(desk.tool("pay", approval=never)) as loop:
        await loop.create_session(S)
        sending = asyncio.create_task(loop.send("go", S))
        await until(asking)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await states(loop) == ["requested"]
    async with desk.loop(desk.tool("pay", approval=True)) as loop:
        assert waiting(await loop.resume(S)) == [("pay", "awaiting_approval")]
    assert desk.ledger == []


def other_pay(desk: Desk) -> Tool:
    """A tool of that name that takes something else."""

    @tool(name="pay", approval=True)
    def pay(amount: int = 1) -> str:
        """Pays an amount."""
        raise AssertionError("it must not run")

    return pay


@pytest.mark.parametrize("edited", [False, True])
async def test_a_tool_that_changed_or_went_since_the_approval_never_runs_another(desk: Desk, edited: bool) -> None:
    pay = desk.tool("pay", approval=True)
    made = await desk.asked(("pay", {"what": "a"}), ("pay", {"what": "b"}), tools=[pay])
    arguments = {"what": "less"} if edited else None
    async with desk.loop(model=False) as loop:
        await loop.approve(S, made.pending_tool_calls[0].id, arguments=arguments)
    for tools in ([other_pay(desk)], []):
        async with desk.loop(*tools, tool_drift="refuse") as loop, desk.unchanged(ToolChangedError):
            await loop.resume(S)
    async with desk.loop(other_pay(desk)) as loop:
        assert waiting(await loop.resume(S)) == [("pay", "awaiting_approval")], "the other one still waits"
        await loop.approve(S, made.pending_tool_calls[1].id)
    desk.server.use([Reply(text="I see")])
    async with desk.loop() as loop:
        assert (await loop.resume(S)).status is Status.COMPLETED
        changed, gone = await texts(loop)
        assert "takes other arguments by now" in changed
        assert changed.startswith("[A person approved this call with other arguments") is edited
        assert gone == "Error: there is no tool named pay. There are: none."
    assert desk.ledger == []


async def test_history_is_folded_around_calls_that_wait(desk: Desk) -> None:
    pay, fetch = desk.tool("pay", approval=True), desk.tool("fetch", external=True)
    long = "word " * 300
    desk.server.use(
        [Reply(text=long), Reply(text=long), Reply.calling(("pay", {"what": "a"}), ("fetch", {"what": "b"}))]
    )
    async with desk.loop(pay, fetch, approvals={}) as loop:
        await loop.create_session(S)
        await loop.send(long, S)
        await loop.send("more", S)
        result = await loop.send("now pay", S)
        assert waiting(result) == [("pay", "awaiting_approval"), ("fetch", "requested")]
    desk.server.use([Reply(text="what was said")])
    async with desk.loop(pay, fetch) as loop:
        assert await loop.compact(S) is not None
        assert await loop.get_pending(S) == list(result.pending_tool_calls)
        await loop.deny(S, result.pending_tool_calls[0].id, "no")
        assert waiting(await loop.resume(S)) == [("fetch", "waiting_for_input")]
        desk.server.use([Reply(text="done")])
        assert (await loop.submit_results(S, {result.pending_tool_calls[1].id: "fetched"})).final_text == "done"
        before = seen_by_the_model(desk.server)
    desk.server.use([Reply(text="on")])
    async with desk.loop(pay, fetch) as loop:
        await loop.undo_compaction(S)
        await loop.send("go on", S)
        assert len(seen_by_the_model(desk.server)) > len(before)
        assert (await texts(loop))[0].startswith("[denied]")


async def test_a_loop_that_remembers_the_session_sees_what_others_denied(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    desk.server.use([Reply.calling(("pay", {"what": "a"})), Reply(text="I see")])
    async with desk.loop(pay) as loop, desk.loop(model=False) as other:
        await loop.create_session(S)
        (call,) = (await loop.send("go", S)).pending_tool_calls
        await other.deny(S, call.id, "not today")
        assert (await loop.resume(S)).final_text == "I see"
        assert seen_by_the_model(desk.server)[-1]["content"].endswith("not today")


async def test_a_decision_whose_row_was_touched_is_damage_and_nothing_runs(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    (call,) = (await desk.asked(("pay", {"what": "little"}), tools=[pay])).pending_tool_calls
    async with desk.loop(model=False) as loop:
        await loop.approve(S, call.id)
    for change in ("arguments = replace(arguments, 'little', 'much')", 'changed = \'{"what":"much"}\''):
        copy = Desk(Path(str(desk.folder) + change[:4]), desk.server)
        copy.folder.mkdir()
        with sqlite3.connect(desk.folder / "agent.db") as source, sqlite3.connect(copy.folder / "agent.db") as target:
            source.backup(target)
            target.execute(f"UPDATE waits SET {change}")
        source.close()
        target.close()
        async with copy.loop(pay) as loop:
            with pytest.raises(Exception, match="is not what was written") as caught:
                await loop.resume(S)
            assert getattr(caught.value, "code", "") == "store.damaged"
        assert copy.ledger == []


async def test_a_call_without_approval_never_passes_one_that_waits_and_runs_alone(desk: Desk) -> None:
    pay, ship = desk.tool("pay", approval=True), desk.tool("ship")
    calls: Any = [("ship", {"what": "1"}), ("pay", {"what": "2"}), ("ship", {"what": "3"}), ("pay", {"what": "4"})]
    made = await desk.asked(*calls, tools=[pay, ship])
    assert desk.ledger == ["ship 1"]
    first, _, last = (call.id for call in made.pending_tool_calls)
    async with desk.loop(pay, ship) as loop:
        await loop.approve(S, last)
        assert waiting(await loop.resume(S)) == [("pay", "awaiting_approval"), ("ship", "requested")]
        assert desk.ledger == ["ship 1", "pay 4"], "a person saw what waited when they approved it"
        await loop.deny(S, first)
        desk.server.use([Reply(text="done")])
        assert (await loop.resume(S)).status is Status.COMPLETED
    assert desk.ledger == ["ship 1", "pay 4", "ship 3"]


async def test_calls_that_may_run_together_pass_those_that_wait(desk: Desk) -> None:
    look, read = desk.tool("look", effect="read", approval=True), desk.tool("read", effect="read")
    made = await desk.asked(("look", {"what": "1"}), ("read", {"what": "2"}), tools=[look, read])
    assert waiting(made) == [("look", "awaiting_approval")]
    assert desk.ledger == ["read 2"]


async def test_many_resume_at_once_and_an_approved_call_runs_once(desk: Desk) -> None:
    desk.server.use([Reply.calling(("pay", {"what": "x"})), Reply(text="paid")])
    (call, _, _) = desk.ran("send", "go")["pending"][0]
    desk.ran("approve", call)
    processes = [desk.process("resume") for _ in range(3)]
    said = [await asyncio.to_thread(one.communicate, None, 60) for one in processes]
    assert all('"status": "completed"' in out for out, _ in said), said
    assert desk.ledger == ["pay x"]


async def test_a_session_that_waits_is_closed_and_deleted_like_any(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    await desk.asked(("pay", {"what": "x"}), tools=[pay])
    async with desk.loop(model=False) as loop:
        await loop.close_session(S)
        assert await loop.get_approvals() == []
        assert await states(loop) == ["aborted"]
        await loop.delete_session(S)
        assert await loop.get_approvals(decided=True) == []
        assert desk.dump()["waits"] == []
