"""Which calls need an approval, and what a turn that waits for one holds: nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from power_loop import (
    ConfigError,
    InputInvalidError,
    SessionPendingError,
    SessionState,
    StatefulAgentLoop,
    Status,
    ToolDefinitionError,
)
from power_loop.engine.calls import arguments_hash
from power_loop.testing import Reply
from power_loop.testing.clock import ManualClock, world
from tests.people.kit import Desk, S, service, states, texts, waiting

pytestmark = pytest.mark.acceptance("B8")


def much(arguments: dict[str, Any]) -> str | None:
    return "that is a lot" if arguments["what"] == "much" else None


async def much_later(arguments: dict[str, Any]) -> bool:
    await asyncio.sleep(0)
    return arguments["what"] == "much"


def broken(arguments: dict[str, Any]) -> bool:
    raise KeyError(arguments["what"])


@pytest.mark.parametrize(
    ("approval", "what", "needed", "reason"),
    [
        (True, "x", True, None),
        (False, "x", False, None),
        ("it costs money", "x", True, "it costs money"),
        (much, "much", True, "that is a lot"),
        (much, "little", False, None),
        (much_later, "much", True, None),
        (much_later, "little", False, None),
        (broken, "x", True, "whether pay needs an approval could not be told: KeyError: 'x'"),
    ],
)
async def test_a_tool_asks_for_all_its_calls_or_by_a_function_of_the_arguments(
    desk: Desk, approval: Any, what: str, needed: bool, reason: str | None
) -> None:
    desk.server.use([Reply.calling(("pay", {"what": what})), Reply(text="done")])
    async with desk.loop(desk.tool("pay", approval=approval)) as loop:
        await loop.create_session(S)
        result = await loop.send("go", S)
        assert result.status == (Status.AWAITING_APPROVAL if needed else Status.COMPLETED)
        assert desk.ledger == ([] if needed else [f"pay {what}"])
        waits = await loop.get_approvals(S)
        assert [(wait.name, wait.reason, wait.expires_at) for wait in waits] == (
            [("pay", reason, None)] if needed else []
        )
        for wait in waits:
            assert wait.arguments_hash == arguments_hash(wait.arguments)


WORDS = [
    # config, session, tool's own word, asks
    ({}, None, True, True),
    ({"pay": "never"}, None, True, False),
    ({"pay": "always"}, None, False, True),
    ({"p*": "always"}, None, False, True),
    ({"*": "always", "pay": "never"}, None, False, False),
    ({"*": "never", "pa*": "always"}, None, False, True),
    ({"pay": "always"}, {"pay": "never"}, True, False),
    ({"pay": "always"}, {"*": "never"}, True, False),
    ({"pay": "never"}, {"p?y": "always"}, False, True),
    ({"pay": "never"}, {"look": "always"}, True, False),
    ({}, {"look": "always"}, True, True),
]


@pytest.mark.parametrize(("config", "session", "own", "asks"), WORDS)
async def test_the_sessions_word_goes_before_the_configurations_and_that_before_the_tools(
    desk: Desk, config: dict[str, str], session: dict[str, str] | None, own: bool, asks: bool
) -> None:
    desk.server.use([Reply.calling(("pay", {"what": "x"})), Reply(text="done")])
    async with desk.loop(desk.tool("pay", approval=own), approvals=config) as loop:
        await loop.create_session(S, approvals=session)
        result = await loop.send("go", S)
    assert result.status == (Status.AWAITING_APPROVAL if asks else Status.COMPLETED)


async def test_a_sessions_policy_is_the_sessions_also_after_a_restart(desk: Desk) -> None:
    tools = [desk.tool("pay"), desk.tool("look", effect="read")]
    async with desk.loop(*tools, model=False) as loop:
        await loop.create_session(S, approvals={"pay": "always"})
    desk.server.use([Reply.calling(("look", {}), ("pay", {"what": "x"}))])
    async with desk.loop(*tools) as loop:
        assert waiting(await loop.send("go", S)) == [("pay", "awaiting_approval")]
    assert desk.ledger == ["look nothing"]


async def test_what_is_no_policy_is_refused(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="approvals"):
        async with desk.loop(approvals={"pay": "perhaps"}):
            pass
    async with desk.loop(model=False) as loop:
        for wrong in ({"pay": "perhaps"}, ["pay"], {"": "always"}):
            with pytest.raises(InputInvalidError, match="approvals"):
                await loop.create_session(S, approvals=wrong)  # type: ignore[arg-type]
    for approval in (7, "  ", None, lambda: True):
        with pytest.raises(ToolDefinitionError, match="approval"):
            desk.tool("pay", approval=approval)


async def test_a_turn_that_waits_holds_nothing(desk: Desk) -> None:
    desk.server.use([Reply.calling(("pay", {"what": "x"}))])
    async with desk.loop(desk.tool("pay", approval=True), warm_sessions=0) as loop:
        await loop.create_session(S)
        tasks = asyncio.all_tasks()
        result = await loop.send("go", S)
        assert result.status is Status.AWAITING_APPROVAL
        assert (await loop.get_session(S)).state is SessionState.AWAITING_APPROVAL
        assert asyncio.all_tasks() == tasks
        assert loop._opening is not None
        assert len(loop._opening.result()) == 0
        assert desk.held() == {"owner": None, "since": None, "live turns": 0}
        async with desk.loop(model=False) as other:  # nobody is busy: another process may do as it likes
            await other.archive_session(S)
            await other.archive_session(S, archived=False)
            assert (await other.get_turns(S))[-1].status == "awaiting_approval"


async def test_what_waits_is_listed_by_whoever_opens_the_file(desk: Desk) -> None:
    tools = [desk.tool("pay", approval="money leaves"), desk.tool("look", effect="read")]
    result = await desk.asked(("look", {"what": "a"}), ("pay", {"what": "b"}), ("look", {"what": "c"}), tools=tools)
    assert (result.status, result.final_text) == (Status.AWAITING_APPROVAL, "")
    assert waiting(result) == [("pay", "awaiting_approval"), ("look", "requested")], "pay runs alone: none passes it"
    assert result.stop_reason == "1 call(s) wait for an approval; approve() or deny() them, then resume()"
    async with desk.loop(model=False) as loop:
        assert await loop.get_pending(S) == list(result.pending_tool_calls)
        (wait,) = await loop.get_approvals()
        assert (wait.session_id, wait.name, wait.arguments, wait.reason) == (S, "pay", '{"what": "b"}', "money leaves")
        assert (wait.decision, wait.decided_by, wait.decided_at, wait.turn) == (None, None, None, 1)
        assert await loop.get_approvals(S) == [wait]
        info = await loop.get_session(S)
        assert (info.state, info.needs_attention) == (SessionState.AWAITING_APPROVAL, True)
        assert [one.session_id for one in await loop.list_sessions() if one.needs_attention] == [S]
    async with desk.loop(*tools) as loop:
        async with desk.unchanged(SessionPendingError) as refused:
            await loop.send("and now?", S)
        assert refused.value.calls == result.pending_tool_calls  # type: ignore[attr-defined]
        assert "approve('s', call_id) or deny('s', call_id)" in str(refused.value)
    assert desk.ledger == ["look a"]


async def test_a_resume_of_what_nobody_decided_asks_no_model_and_begins_no_turn(desk: Desk) -> None:
    pay = desk.tool("pay", approval=True)
    asked = await desk.asked(("pay", {"what": "x"}), tools=[pay])
    before, requests = desk.dump(), len(desk.server.requests)
    async with desk.loop(pay) as loop:
        for _ in range(2):
            result = await loop.resume(S)
            assert (result.status, result.turn, result.stop_reason) == (Status.AWAITING_APPROVAL, 1, "idle")
            assert result.pending_tool_calls == asked.pending_tool_calls
        assert await loop.recover("resume") == []
        with pytest.raises(SessionPendingError):
            await loop.send("more", S, on_pending="resume")
    assert desk.dump() == before
    assert (len(desk.server.requests), desk.ledger) == (requests, [])


async def test_calls_that_cannot_run_anyway_need_nobody(desk: Desk) -> None:
    desk.server.use([Reply.calling(("pay", '{"what": 7}'), ("pay", "{"), ("vanished", {})), Reply(text="I see")])
    async with desk.loop(desk.tool("pay", approval=True), approvals={"vanished": "always"}) as loop:
        await loop.create_session(S)
        assert (await loop.send("go", S)).status is Status.COMPLETED
        assert await states(loop) == ["failed"] * 3
        assert all(text.startswith("Error: ") for text in await texts(loop))
    assert desk.ledger == []


def test_a_script_without_an_event_loop_of_its_own_waits_too(tmp_path: Path, desk: Desk) -> None:
    desk.server.use([Reply.calling(("pay", {"what": "x"}))])
    loop = StatefulAgentLoop(
        llm=service(desk.server), db_path=tmp_path / "agent.db", tools=[desk.tool("pay", approval=True)]
    )
    result = loop.send_sync("go")
    assert result.status is Status.AWAITING_APPROVAL
    assert waiting(result) == [("pay", "awaiting_approval")]


async def test_how_long_an_approval_stands_is_counted_from_when_it_was_asked_for(desk: Desk) -> None:
    clock = ManualClock()
    desk.server.use([Reply.calling(("pay", {"what": "x"}))])
    async with desk.loop(desk.tool("pay", approval=True), world=world(clock), approval_timeout=90) as loop:
        await loop.create_session(S)
        await loop.send("go", S)
        (wait,) = await loop.get_approvals(S)
        assert wait.expires_at is not None
        assert (wait.expires_at - wait.asked_at).total_seconds() == 90
