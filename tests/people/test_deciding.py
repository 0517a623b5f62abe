"""Approvals decided: from anywhere, partly, in any order, twice; what runs is what was approved, once."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any

import pytest

from power_loop import (
    ApprovalChangedError,
    ApprovalDecidedError,
    ApprovalExpiredError,
    CallNotFoundError,
    CallSettledError,
    InputInvalidError,
    SessionNotFoundError,
    Status,
)
from power_loop.errors import SessionClosedError
from power_loop.testing import Reply
from power_loop.testing.clock import ManualClock, world
from power_loop.testing.script import Call
from tests.people.kit import Desk, S, seen_by_the_model, states, texts, waiting

pytestmark = pytest.mark.acceptance("B8")

THREE: Any = [("pay", {"what": "a"}), ("pay", {"what": "b"}), ("pay", {"what": "c"})]


async def test_an_approved_call_runs_with_what_was_asked_about(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    (call,) = (await desk.asked(("pay", {"what": "7"}), tools=[pay])).pending_tool_calls
    async with desk.loop(model=False) as loop:
        wait = await loop.approve(S, call.id, by="ann")
        assert (wait.decision, wait.decided_by, wait.approved) == ("approved", "ann", '{"what": "7"}')
        assert desk.ledger == [], "a decision runs nothing"
        assert [(one.state, one.decision) for one in await loop.get_pending(S)] == [("requested", "approved")]
        assert await loop.get_approvals(S) == []
        assert await loop.get_approvals(S, decided=True) == [wait]
    desk.server.use([Reply(text="paid")])
    async with desk.loop(pay) as loop:
        result = await loop.resume(S)
        assert (result.status, result.final_text) == (Status.COMPLETED, "paid")
        assert await texts(loop) == ["pay did 7"]
        assert (await loop.resume(S)).stop_reason == "idle"
    assert desk.ledger == ["pay 7"]


async def test_a_denied_call_never_runs_and_the_model_hears_why_and_from_whom(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    result = await desk.asked(*THREE, tools=[pay])
    first, second, third = (call.id for call in result.pending_tool_calls)
    async with desk.loop(model=False) as loop:
        await loop.deny(S, first, "too much", by="bob")
        await loop.deny(S, second)
        await loop.deny(S, third, "no.")
        assert await states(loop) == ["denied"] * 3, "what follows needs no turn where none runs"
    desk.server.use([Reply(text="as you like")])
    async with desk.loop(pay) as loop:
        assert (await loop.resume(S)).status is Status.COMPLETED
        said = [m["content"] for m in seen_by_the_model(desk.server) if m["role"] == "tool"]
        assert said == [
            "[denied] bob did not approve this call. It did not run. The reason: too much",
            "[denied] A person did not approve this call. It did not run.",
            "[denied] A person did not approve this call. It did not run. The reason: no.",
        ]
    assert desk.ledger == []


async def test_edited_arguments_run_and_the_model_is_told(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    (call,) = (await desk.asked(("pay", {"what": "1000"}), tools=[pay])).pending_tool_calls
    async with desk.loop(model=False) as loop:
        wait = await loop.approve(S, call.id, arguments={"what": "10"})
        assert (wait.arguments, wait.changed, wait.approved) == ('{"what": "1000"}', '{"what":"10"}', '{"what":"10"}')
    desk.server.use([Reply(text="ten, then")])
    async with desk.loop(pay) as loop:
        await loop.resume(S)
        assert await texts(loop) == ['[A person approved this call with other arguments: {"what":"10"}]\npay did 10']
        (ledger,) = await loop.get_calls(S)
        assert ledger.arguments == '{"what": "1000"}', "the ledger keeps what the model wrote"
    assert desk.ledger == ["pay 10"]


async def test_edited_arguments_that_the_tool_refuses_are_refused_at_once_or_never_run(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    (call,) = (await desk.asked(("pay", {"what": "x"}), tools=[pay])).pending_tool_calls
    async with desk.loop(pay) as loop:
        for wrong in ({"what": 7}, {"who": "x"}, {"what": object()}, {7: "x"}, "what"):
            async with desk.unchanged(InputInvalidError) as refused:
                await loop.approve(S, call.id, arguments=wrong)  # type: ignore[arg-type]
            assert "arguments" in str(refused.value)
    async with desk.loop(model=False) as loop:  # a process without the tool cannot tell
        await loop.approve(S, call.id, arguments={"what": 7})
    desk.server.use([Reply(text="oh")])
    async with desk.loop(pay) as loop:
        await loop.resume(S)
        assert await states(loop) == ["failed"]
        (text,) = await texts(loop)
        assert text.startswith('[A person approved this call with other arguments: {"what":7}]\nError: ')
    assert desk.ledger == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_what_is_decided_goes_on_and_the_rest_waits_on(desk: Desk, order: tuple[int, ...]) -> None:
    """One approved, one edited, one denied, in any order, with a resume after each."""
    pay = desk.tool("pay", approval=True)
    ids = [call.id for call in (await desk.asked(*THREE, tools=[pay])).pending_tool_calls]
    ran: list[str] = []
    for step, place in enumerate(order):
        async with desk.loop(model=False) as loop:
            if place == 0:
                await loop.approve(S, ids[0])
                ran.append("pay a")
            elif place == 1:
                await loop.approve(S, ids[1], arguments={"what": "B"})
                ran.append("pay B")
            else:
                await loop.deny(S, ids[2], "not c")
        desk.server.use([Reply(text="all said")] if step == 2 else [])
        async with desk.loop(pay) as loop:
            result = await loop.resume(S)
            left = [ids[other] for other in sorted(order[step + 1 :])]
            assert [call.id for call in result.pending_tool_calls] == left
            assert result.status == (Status.AWAITING_APPROVAL if left else Status.COMPLETED)
            assert desk.ledger == ran, "an approved call passes one that waits; nothing runs twice"
    async with desk.loop(model=False) as loop:
        assert await states(loop) == ["succeeded", "succeeded", "denied"]
        one, two, three = await texts(loop)
        assert (one, two.partition("\n")[2]) == ("pay did a", "pay did B")
        assert three.endswith("The reason: not c")


async def test_three_processes_decide_in_another_order_after_two_restarts(desk: Desk) -> None:
    """Exactly the approved calls run, with exactly the approved arguments, once."""
    desk.server.use([Reply.calling(*THREE), Reply(text="all paid")])
    first = desk.ran("send", "go")
    assert first["status"] == "awaiting_approval"
    a, b, c = (call for call, _, _ in first["pending"])
    assert [row[0] for row in desk.ran("list")] == [a, b, c]
    assert desk.ran("resume")["stop_reason"] == "idle", "a restart in between changes nothing"
    deciders = [desk.process("approve", c), desk.process("approve", a, '{"what": "A"}'), desk.process("approve", b)]
    said = [await asyncio.to_thread(process.communicate, None, 60) for process in deciders]
    assert said == [('"approved"\n', "")] * 3
    assert desk.ledger == []
    last = desk.ran("resume")
    assert (last["status"], last["text"], last["pending"]) == ("completed", "all paid", [])
    assert desk.ledger == ["pay A", "pay b", "pay c"]
    assert desk.ran("resume")["stop_reason"] == "idle"
    assert desk.ran("approve", c) == {"error": "call.settled"}
    assert desk.ledger == ["pay A", "pay b", "pay c"]
    async with desk.loop(model=False) as loop:
        deciders_told = {wait.decided_by for wait in await loop.get_approvals(decided=True)}
        assert len(deciders_told) == 3, "who decided is told"


async def test_of_many_who_decide_at_once_one_is_first_and_that_stands(desk: Desk) -> None:
    (call,) = (await desk.asked(("pay", {"what": "x"}), tools=[desk.tool("pay", approval=True)])).pending_tool_calls
    processes = [desk.process("approve", call.id) for _ in range(3)] + [desk.process("deny", call.id, "no")]
    said = [(await asyncio.to_thread(one.communicate, None, 60))[0].strip() for one in processes]
    async with desk.loop(model=False) as loop:
        (wait,) = await loop.get_approvals(S, decided=True)
    refused = '{"error": "approval.decided"}'
    agreed = {'"approved"'} if wait.decision == "approved" else {'"denied"'}
    assert set(said) == {refused} | agreed


async def test_the_same_decision_once_more_changes_nothing(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    ids = [call.id for call in (await desk.asked(*THREE, tools=[pay])).pending_tool_calls]
    async with desk.loop(model=False) as loop:
        once = [
            await loop.approve(S, ids[0], by="ann"),
            await loop.approve(S, ids[1], arguments={"what": "B"}),
            await loop.deny(S, ids[2], "no"),
        ]
        before = desk.dump()
        twice = [
            await loop.approve(S, ids[0], by="ben", arguments_hash=once[0].arguments_hash),
            await loop.approve(S, ids[1], arguments={"what": "B"}),
            await loop.deny(S, ids[2], "never"),
        ]
        assert twice == once
        assert desk.dump() == before


async def test_bad_decisions_change_nothing_and_say_what_is_wrong(desk: Desk) -> None:
    clock = ManualClock()
    pay = desk.tool("pay", approval=True)
    host = desk.tool("ask", external=True)
    calls = [*THREE, ("ask", {"what": "d"})]
    made = await desk.asked(*calls, tools=[pay, host], world=world(clock), approval_timeout=60)
    a, b, c, d = (call.id for call in made.pending_tool_calls)
    async with desk.loop(model=False, world=world(clock)) as loop:
        for said in (
            loop.approve("nobody", a),
            loop.deny("nobody", a),
        ):
            async with desk.unchanged(SessionNotFoundError):
                await said
        async with desk.unchanged(CallNotFoundError) as unknown:
            await loop.approve(S, "call_99")
        assert unknown.value.open_ids == (a, b, c, d)  # type: ignore[attr-defined]
        async with desk.unchanged(CallSettledError):
            await loop.approve(S, d)  # nobody asked about it
        for given in ({"arguments_hash": "0" * 16}, {"arguments_hash": "0" * 16, "arguments": {}}):
            async with desk.unchanged(ApprovalChangedError):
                await loop.approve(S, a, **given)  # type: ignore[arg-type]
        for wrong in ({"by": ""}, {"by": 7}, {"arguments_hash": ""}, {"arguments_hash": "x" * 999}):
            async with desk.unchanged(InputInvalidError):
                await loop.approve(S, a, **wrong)  # type: ignore[arg-type]
        for reason in ("  ", 7, "\ud800"):
            async with desk.unchanged(InputInvalidError):
                await loop.deny(S, a, reason)  # type: ignore[arg-type]
        for call in ("", 7, "x" * 999):
            async with desk.unchanged(InputInvalidError):
                await loop.approve(S, call)  # type: ignore[arg-type]
        await loop.approve(S, a, by="ann")
        await loop.deny(S, b)
        for contrary in (loop.deny(S, a), loop.approve(S, a, arguments={"what": "other"}), loop.approve(S, b)):
            async with desk.unchanged(ApprovalDecidedError) as decided:
                await contrary
            assert "the first decision stands" in str(decided.value)
        async with desk.unchanged(ApprovalChangedError):
            await loop.approve(S, a, arguments_hash="0" * 16)
        clock.advance(60)
        for late in (loop.approve(S, c), loop.deny(S, c)):
            async with desk.unchanged(ApprovalExpiredError):
                await late
        await loop.abort_pending(S)
        for over in (loop.approve(S, a), loop.approve(S, c), loop.deny(S, c)):
            async with desk.unchanged(CallSettledError):
                await over
        await loop.close_session(S)
        async with desk.unchanged(SessionClosedError):
            await loop.deny(S, c)
    assert desk.ledger == []


async def test_an_approval_is_for_one_call_also_where_its_id_comes_again(desk: Desk) -> None:
    """Providers reuse ids: what was approved for the first says nothing of the second, nor does its hash."""
    pay = desk.tool("pay", approval=True)
    same = [Reply(calls=(Call(name="pay", arguments={"what": what}, id="call_1"),)) for what in ("little", "much")]
    desk.server.use([*same, Reply(text="done")])
    async with desk.loop(pay) as loop:
        await loop.create_session(S)
        await loop.send("go", S)
        (first,) = await loop.get_approvals(S)
        await loop.approve(S, "call_1", arguments_hash=first.arguments_hash)
        result = await loop.resume(S)
        assert waiting(result) == [("pay", "awaiting_approval")]
        assert desk.ledger == ["pay little"]
        async with desk.unchanged(ApprovalChangedError):
            await loop.approve(S, "call_1", arguments_hash=first.arguments_hash)
        (second,) = await loop.get_approvals(S)
        await loop.approve(S, "call_1", arguments_hash=second.arguments_hash)
        assert (await loop.resume(S)).status is Status.COMPLETED
    assert desk.ledger == ["pay little", "pay much"]


async def test_nobody_in_time_means_no(desk: Desk) -> None:
    clock = ManualClock()
    pay = desk.tool("pay", approval=True)
    made = await desk.asked(*THREE, tools=[pay], world=world(clock), approval_timeout=60)
    a, b, c = (call.id for call in made.pending_tool_calls)
    clock.advance(59.5)
    async with desk.loop(pay, world=world(clock)) as loop:
        assert (await loop.resume(S)).stop_reason == "idle"
        await loop.approve(S, b)
    clock.advance(0.5)
    desk.server.use([Reply(text="I see")])
    async with desk.loop(pay, world=world(clock)) as loop:
        async with desk.unchanged(ApprovalExpiredError) as late:
            await loop.approve(S, a)
        assert "resume('s')" in str(late.value)
        result = await loop.resume(S)
        assert result.status is Status.COMPLETED
        assert await states(loop) == ["denied", "succeeded", "denied"]
        expired = "[denied] Nobody approved this call in time. It did not run."
        assert await texts(loop) == [expired, "pay did b", expired]
        assert [wait.decision for wait in await loop.get_approvals(S, decided=True)] == [
            "expired",
            "approved",
            "expired",
        ]
        async with desk.unchanged(CallSettledError, ApprovalDecidedError):
            await loop.approve(S, c)
    assert desk.ledger == ["pay b"]
