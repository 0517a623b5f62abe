"""Hooks within turns: order, stops while one hangs, approvals, repeated runs, and what a loop without them does."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import Hooks, StatefulAgentLoop, Status, ToolContext, World, tool
from power_loop import hooks as h
from power_loop.testing import Asked, Reply
from power_loop.testing.crash import crash_everywhere
from tests.hooks.stage import PLACED, Stage, staged
from tests.loop.kit import history_is_valid, output_of, python, stuck_in

pytestmark = pytest.mark.acceptance("G1")


async def test_a_turn_passes_its_points_in_the_order_in_which_they_are_listed(tmp_path: Path) -> None:
    hooks, passed = Hooks(), []
    for point in h.POINTS:
        hooks.observe(point, lambda view, point=point: passed.append((point.name, view.round)))
    async with staged(tmp_path, hooks) as stage:
        await stage.loop.create_session("s")
        await stage.loop.send("hello", "s")
    call = [("CALL_END", 1), ("MESSAGE_APPEND", 1)]
    assert passed[:11] == [
        ("MESSAGE_APPEND", 0),
        ("TURN_START", 0),
        ("MEMORY_RECALL", 0),
        ("ROUND_START", 1),
        ("MODEL_REQUEST", 1),
        ("MODEL_ANSWER", 1),
        ("MESSAGE_APPEND", 1),
        ("BATCH_START", 1),
        ("CALL_START", 1),
        ("CALL_START", 1),
        passed[10],
    ]
    assert sorted(passed[10:15]) == sorted([*call, *call, ("CALL_ERROR", 1)])
    assert passed[15:] == [
        ("BATCH_END", 1),
        ("ROUND_END", 1),
        ("ROUND_START", 2),
        ("COMPACTION_START", 2),
        ("MODEL_REQUEST", 2),
        ("MODEL_ANSWER", 2),
        ("MESSAGE_APPEND", 2),
        ("TURN_END", 2),
    ]


async def test_guards_behind_see_what_those_before_replaced(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({"where": call.values["where"] + "3"}), order=3)
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({"where": "1"}), order=1)
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({"where": call.values["where"] + "2"}), order=2)
    async with staged(tmp_path, hooks, script=[Reply.calling(("look", {})), "done"]) as stage:
        await stage.loop.create_session("s")
        await stage.loop.send("hello", "s")
        assert stage.looked == ["123"]


STOPPED = {
    **dict.fromkeys(PLACED, Status.STOPPED),
    "TURN_END": Status.COMPLETED,  # the last word was there
}


@pytest.mark.parametrize("kind", ["guard", "observe"])
@pytest.mark.parametrize("place", PLACED)
async def test_a_stop_while_a_hook_hangs_ends_the_turn_at_once_and_truthfully(
    tmp_path: Path, place: str, kind: str
) -> None:
    point, role = PLACED[place]
    hooks, entered = Hooks(), asyncio.Event()
    hangs = True

    async def hook(view: Any) -> None:
        if hangs and (role is None or (view.role == role and view.turn)):
            entered.set()
            await asyncio.Event().wait()

    getattr(hooks, kind)(point, hook)
    if role == "user":
        hooks.guard(h.MEMORY_RECALL, lambda view: h.ReplaceText("remembered") if view.text == "hello" else None)
    stop = asyncio.Event()
    async with staged(tmp_path, hooks) as stage:
        await stage.loop.create_session("s")
        hangs = False
        await stage.loop.send("a long story about nothing much, told twice. " * 10, "s")
        hangs = True
        sending = asyncio.create_task(stage.loop.send("hello", "s", stop_event=stop))
        async with stuck_in(sending, entered):
            begun = time.monotonic()
            stop.set()
            result = await sending
            assert time.monotonic() - begun < 2
        assert result.status == STOPPED[place]
        hangs = False
        assert (await stage.loop.get_turns("s"))[-1].status == result.status
        results = await stage.results()
        if point in (h.CALL_END, h.MESSAGE_APPEND) and (role or "tool") == "tool":
            withheld = sum("was withheld: the turn was stopped before its guards had decided" in t for _, t in results)
            states = [state for state, _ in results]
            assert states == ["succeeded", "failed"], "what ran has its result"
            assert withheld == (2 if kind == "guard" else 0)
        if point is h.CALL_ERROR:
            assert results[0] == ("succeeded", "seen here")
            assert results[1][0] == "failed"
        await stage.goes_on()


async def test_a_sync_hook_that_blocks_holds_nobody_else_up(tmp_path: Path) -> None:
    hooks, beats = Hooks(), 0
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def blocks(view: h.RoundStart) -> None:
        loop.call_soon_threadsafe(entered.set)
        time.sleep(0.2)

    hooks.guard(h.ROUND_START, blocks)
    async with staged(tmp_path, hooks, script=["done"]) as stage:
        await stage.loop.create_session("s")
        sending = asyncio.create_task(stage.loop.send("hello", "s"))
        async with stuck_in(sending, entered):
            while not sending.done():
                beats += 1
                await asyncio.sleep(0.005)
        assert beats > 5
        assert (await sending).status == Status.COMPLETED


@tool(effect="once", approval=True)
async def pay(amount: int, currency: str = "USD") -> str:
    """Pays."""
    return f"paid {amount} {currency}"


def pays(asked: Asked) -> Reply:
    if asked.last_user_text == "hello" and asked.last == "user":
        return Reply.calling(("pay", {"amount": 5}))
    return Reply(text="done" if asked.last == "tool" else "heard")


async def asked_to_pay(stage: Stage) -> Any:
    await stage.loop.create_session("s")
    result = await stage.loop.send("hello", "s")
    assert result.status == Status.AWAITING_APPROVAL
    (wait,) = await stage.loop.get_approvals("s")
    return wait


async def test_a_person_is_asked_about_what_guards_left_of_the_arguments_and_that_runs(tmp_path: Path) -> None:
    hooks, starts = Hooks(), []
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({**call.values, "currency": "EUR"}))
    hooks.observe(h.CALL_START, starts.append)
    async with staged(tmp_path, hooks, script=pays, more=(pay,)) as stage:
        wait = await asked_to_pay(stage)
        assert wait.arguments == '{"amount":5,"currency":"EUR"}'
        await stage.loop.approve("s", wait.call_id, arguments_hash=wait.arguments_hash)
        assert (await stage.loop.resume("s")).status == Status.COMPLETED
        ((state, text),) = await stage.results()
        assert state == "succeeded"
        assert text.endswith("paid 5 EUR")
        assert [(start.arguments, start.attempt) for start in starts] == [(wait.arguments, 1)] * 2
        await stage.goes_on()


async def test_a_call_that_a_guard_denies_is_nobodys_to_approve(tmp_path: Path) -> None:
    hooks, starts = Hooks(), []
    hooks.guard(h.CALL_START, lambda call: h.Deny("no payments"))
    hooks.observe(h.CALL_START, starts.append)
    async with staged(tmp_path, hooks, script=pays, more=(pay,)) as stage:
        await stage.loop.create_session("s")
        assert (await stage.loop.send("hello", "s")).status == Status.COMPLETED
        assert await stage.results() == [("denied", "[denied] This call did not run. The reason: no payments")]
        assert await stage.loop.get_approvals("s", decided=True) == []
        assert len(starts) == 1, "it is asked once"
        await stage.goes_on()


async def test_a_guard_cannot_change_what_a_person_approved(tmp_path: Path) -> None:
    hooks, amounts = Hooks(), [5, 50]
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({"amount": amounts.pop(0)}))
    async with staged(tmp_path, hooks, script=pays, more=(pay,)) as stage:
        wait = await asked_to_pay(stage)
        await stage.loop.approve("s", wait.call_id)
        assert (await stage.loop.resume("s")).status == Status.COMPLETED
        ((state, text),) = await stage.results()
        assert state == "denied"
        assert "a guard wanted other arguments than those that a person approved" in text
        await stage.goes_on()


async def test_the_same_arguments_in_another_order_are_what_was_approved(tmp_path: Path) -> None:
    hooks = Hooks()
    orders = [{"amount": 5, "currency": "EUR"}, {"currency": "EUR", "amount": 5}]
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments(orders.pop(0)))
    async with staged(tmp_path, hooks, script=pays, more=(pay,)) as stage:
        wait = await asked_to_pay(stage)
        await stage.loop.approve("s", wait.call_id)
        await stage.loop.resume("s")
        assert (await stage.results())[0][1].endswith("paid 5 EUR")


async def test_arguments_that_the_tool_does_not_take_fail_the_call_and_say_whose_they_are(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({"whither": 1}))
    async with staged(tmp_path, hooks, script=[Reply.calling(("look", {})), "done"]) as stage:
        await stage.loop.create_session("s")
        await stage.loop.send("hello", "s")
        ((state, text),) = await stage.results()
        assert state == "failed"
        assert text.startswith('Error: a guard changed the arguments of this call to {"whither":1}. The arguments of')
        assert stage.looked == []


async def test_a_call_is_run_again_at_most_so_often_and_each_run_is_in_the_ledger(tmp_path: Path) -> None:
    hooks, starts, errors = Hooks(), [], []
    hooks.guard(h.CALL_ERROR, lambda error: errors.append(error.retries) or h.Retry("again"))
    hooks.observe(h.CALL_START, lambda call: starts.append(call.attempt))
    async with staged(tmp_path, hooks, script=[Reply.calling(("breaks", {})), "done"]) as stage:
        await stage.loop.create_session("s")
        await stage.loop.send("hello", "s")
        assert errors == list(range(h.MAX_RETRIES + 1))
        assert starts == list(range(1, h.MAX_RETRIES + 2))
        assert [call.attempt for call in await stage.loop.get_calls("s")] == [h.MAX_RETRIES + 1]
        assert (await stage.results())[0][1].startswith("[This result was withheld: guard <lambda> failed")


DIES_RETRYING = """
import asyncio, os, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import Hooks, StatefulAgentLoop, ToolContext, tool
from power_loop.hooks import CALL_ERROR, Retry

@tool(effect="read")
async def breaks(context: ToolContext) -> str:
    "Breaks."
    if context.attempt == 2:
        os._exit(0)
    raise LookupError("broken")

async def main():
    hooks = Hooks()
    hooks.guard(CALL_ERROR, lambda error: Retry("again"))
    llm = ScriptedLLM([calls(("breaks", {}))])
    loop = StatefulAgentLoop(llm=llm, db_path=sys.argv[1] + "/agent.db", tools=[breaks], hooks=hooks)
    await loop.create_session("s")
    await loop.send("hello", "s")

asyncio.run(main())
"""


async def test_a_kill_in_a_repeated_run_leaves_a_call_in_doubt_that_the_ledger_counts(tmp_path: Path) -> None:
    assert await output_of(python(DIES_RETRYING, tmp_path)) == ""
    hooks, starts = Hooks(), []
    hooks.observe(h.CALL_START, lambda call: starts.append(call.attempt))

    @tool(effect="read")
    async def breaks(context: ToolContext) -> str:
        """Breaks."""
        return f"whole at attempt {context.attempt}"

    loop = StatefulAgentLoop(llm=ScriptedLLM(["done"]), db_path=tmp_path / "agent.db", tools=[breaks], hooks=hooks)
    async with loop:
        (pending,) = await loop.get_pending("s")
        assert (pending.state, pending.attempt) == ("in_doubt", 2)
        assert (await loop.resume("s")).status == Status.COMPLETED
        assert starts == [3]
        assert [call.attempt for call in await loop.get_calls("s")] == [3]
        assert await history_is_valid(loop, "s")


async def test_a_turn_goes_on_at_most_so_often(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.guard(h.TURN_END, lambda end: h.Retry("look again"))
    async with staged(tmp_path, hooks, script=lambda asked: Reply(text="done")) as stage:
        await stage.loop.create_session("s")
        assert (await stage.loop.send("hello", "s")).rounds == h.MAX_RETRIES + 1
    async with staged(tmp_path, hooks, script=lambda asked: Reply(text="done"), max_rounds=3) as stage:
        result = await stage.loop.send("hello", "s")
        assert (result.rounds, result.status) == (3, Status.HIT_ROUND_LIMIT)
        assert await history_is_valid(stage.loop, "s")


async def test_what_is_remembered_is_asked_once_an_input_also_over_a_resume(tmp_path: Path) -> None:
    hooks, asked = Hooks(), []
    stop = True
    hooks.guard(h.MEMORY_RECALL, lambda view: asked.append(view.text) or h.ReplaceText("remembered"))
    hooks.guard(h.ROUND_START, lambda view: h.Stop("not yet") if stop else None)
    async with staged(tmp_path, hooks) as stage:
        await stage.loop.create_session("s")
        assert (await stage.loop.send("hello", "s")).status == Status.STOPPED
        stop = False
        assert (await stage.loop.resume("s")).status == Status.COMPLETED
        assert asked == ["hello"]
        assert (await stage.texts()).count("user: [From memory]\nremembered") == 1


async def test_faults_of_observers_change_nothing(tmp_path: Path) -> None:
    hooks = Hooks()

    async def raises(view: Any) -> None:
        raise LookupError("no such thing")

    async def hangs(view: Any) -> None:
        await asyncio.Event().wait()

    for point in h.POINTS:
        hooks.observe(point, raises)
        hooks.observe(point, hangs, timeout=0.01)
    told = {}
    for name, given in (("with", hooks), ("without", Hooks())):
        (tmp_path / name).mkdir()
        async with staged(tmp_path / name, given) as stage:
            await stage.loop.create_session("s")
            result = await stage.loop.send("hello", "s")
            told[name] = (result.status, result.final_text, await stage.texts(), await stage.results())
    assert told["with"] == told["without"]


async def test_a_loop_without_hooks_commits_and_asks_as_often_as_ever(tmp_path: Path) -> None:
    commits: list[str] = []
    world = World(reached=lambda point: commits.append(point) if point == "sql.commit" else None)
    from_script = [Reply.calling(("look", {})), "done"]
    async with staged(tmp_path, Hooks(), script=from_script, world=world) as stage:
        await stage.loop.create_session("s")
        before = len(commits)
        await stage.loop.send("hello", "s")
        assert len(commits) - before == 4, "the input; the answer with its start; the result; the last word"


def test_a_loop_takes_hooks_and_nothing_else_for_them(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="hooks"):
        StatefulAgentLoop(db_path=tmp_path / "a.db", hooks=print)  # type: ignore[arg-type]


def test_guards_at_every_point_of_a_call_survive_a_kill_anywhere(tmp_path: Path) -> None:
    report = crash_everywhere("tests.hooks.guarded:scenario", ways=("resume", "recover_resume"), share=0.2, again=False)
    report.check()
