"""Many changes at once, and callers that are cancelled: each change stands or falls alone, and whole."""

from __future__ import annotations

import asyncio

import pytest

from power_loop.engine.turns import SessionState
from power_loop.errors import EpochLostError, PowerLoopError, SessionBusyError, SessionExistsError, StateError
from power_loop.store.contract import Begun, Known, Listing, NewSession, Waiting
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    ALL,
    OpenStore,
    S,
    answered,
    begun,
    everything,
    input_of,
    made,
    opened,
    settled,
    texts,
)
from power_loop.values import SessionId

MANY = 100


class ConcurrencyRules(StoreRules):
    async def test_of_a_hundred_changes_at_once_each_is_acknowledged_or_fails_alone(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store, "s000")
            wanted = [NewSession(id=SessionId(f"s{number // 2:03}")) for number in range(2 * MANY)]
            got = await asyncio.gather(*(store.create_session(new) for new in wanted), return_exceptions=True)
            assert {type(one) for one in got} == {type(None), SessionExistsError}
            assert sum(one is None for one in got) == MANY - 1
            before = await everything(store)
        async with opened(open_store) as store:
            assert await everything(store) == before
            assert len(await store.list_sessions(ALL)) == MANY

    async def test_a_hundred_turns_at_once_keep_to_their_sessions(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:

            async def one(number: int) -> None:
                session = await made(store, f"s{number}")
                turn = await begun(store, session, f"question {number}")
                await turn.record(turn.asks("look"), turn.starts(0))
                if number % 3 == 0:
                    with pytest.raises(StateError):
                        await turn.record(turn.settles(0, "lost"), turn.parks(), turn.closes())
                await turn.record(turn.settles(0, f"result {number}"), turn.closes())
                await turn.record(turn.answers(f"answer {number}"))
                turn.ends()

            await asyncio.gather(*(one(number) for number in range(MANY)))
            for number in range(MANY):
                assert await texts(store, f"s{number}") == [
                    f"user question {number}",
                    "assistant",
                    f"tool result {number}",
                    f"assistant answer {number}",
                ]
                assert [row.number for row in await store.usage(SessionId(f"s{number}"), None)] == [1, 2]
            assert await store.orphans() == []

    async def test_results_that_come_at_once_are_each_recorded_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks(*["look"] * 50), turn.starts(*range(50)))
            got = await asyncio.gather(
                *(turn.record(turn.settles(n % 50, f"{n % 50}")) for n in range(MANY)), return_exceptions=True
            )
            assert [type(one) for one in got if one is not None] == [StateError] * 50
            assert {state for _, state in await settled(store)} == {"succeeded"}
            assert (await texts(store))[2:] == [f"tool {n}" for n in range(50)]
            await turn.record(turn.closes())

    async def test_readers_see_whole_changes_only(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)

            async def drive() -> None:
                for _ in range(20):
                    await turn.record(turn.asks("a", "b"), turn.starts(0, 1))
                    await turn.record(turn.settles(0), turn.settles(1), turn.closes())
                await turn.record(turn.answers())

            driving = asyncio.create_task(drive())
            looks = 0
            while not driving.done():
                looks += 1
                calls = await other.calls(S)
                assert len(calls) % 2 == 0
                assert {call.state for call in calls[-2:]} in ({"started"}, {"succeeded"}, set())
                info = (await other.list_sessions(Listing(limit=1)))[0]
                assert len(info.pending) in (0, 2)
            await driving
            assert looks

    @pytest.mark.parametrize("steps", range(8))
    async def test_a_cancelled_caller_never_tears_a_change(self, open_store: OpenStore, steps: int) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0, 1))
            task = asyncio.create_task(turn.record(turn.settles(0), turn.settles(1), turn.closes(), turn.cancels()))
            await _cancelled_after(steps, task)
            states = {state for _, state in await settled(store)}
            info = await store.session_info(S)
            assert (states, info.state) in (
                ({"started"}, SessionState.RUNNING),
                ({"succeeded"}, SessionState.STOPPED),
            )
            turn.ends()
            await store.abort_pending(S, "next")
            await answered(store, "next")

    @pytest.mark.parametrize("steps", range(8))
    async def test_a_cancelled_begin_leaves_a_session_that_can_be_used(self, open_store: OpenStore, steps: int) -> None:
        async with opened(open_store) as store:
            await made(store)
            got: list[Begun | Known | Waiting] = []

            async def begin() -> None:
                got.append(await store.begin_turn(input_of("first")))

            await _cancelled_after(steps, asyncio.create_task(begin()))
            assert len(await store.turns(S)) == len(await texts(store)) <= 1
            # A claim that was made reaches even a cancelled caller: somebody has to end the turn.
            for one in got:
                assert isinstance(one, Begun)
                with pytest.raises(SessionBusyError):
                    await store.begin_turn(input_of("second"))
                store.release(one.claim)
            await answered(store, "second")
            assert (await texts(store))[-2:] == ["user second", "assistant hello"]

    async def test_a_store_closed_amid_changes_keeps_what_it_acknowledged(self, open_store: OpenStore) -> None:
        store = await open_store()
        writes = [asyncio.create_task(store.create_session(NewSession(id=SessionId(f"s{n}")))) for n in range(MANY)]
        await asyncio.sleep(0)
        await store.aclose()
        got = await asyncio.gather(*writes, return_exceptions=True)
        assert all(one is None or isinstance(one, PowerLoopError) for one in got)
        acknowledged = {f"s{n}" for n, one in enumerate(got) if one is None}
        async with opened(open_store) as again:
            assert {info.session_id for info in await again.list_sessions(ALL)} == acknowledged

    async def test_a_takeover_amid_writes_cuts_them_off_cleanly(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks(*["look"] * 40), turn.starts(*range(40)))
            writes = [asyncio.create_task(turn.record(turn.settles(n))) for n in range(40)]
            taken = asyncio.create_task(other.resume_turn(S, {}, force=True))
            got = await asyncio.gather(*writes, return_exceptions=True)
            begun_by = await taken
            assert isinstance(begun_by, Begun)
            assert all(one is None or isinstance(one, EpochLostError) for one in got)
            done = [f"call_{n}" for n, one in enumerate(got) if one is None]
            assert [call for call, state in await settled(other) if state == "succeeded"] == done
            assert len(begun_by.calls) == 40 - len(done)


async def _cancelled_after(steps: int, task: asyncio.Task[object]) -> None:
    """Cancel a task after so many turns of the event loop, and wait until it has ended."""
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
