"""Sessions made, archived, closed and deleted; stores closed."""

from __future__ import annotations

import pytest

from power_loop.engine.turns import SessionState
from power_loop.errors import (
    LoopClosedError,
    SessionBusyError,
    SessionClosedError,
    SessionExistsError,
    SessionNotFoundError,
)
from power_loop.store.contract import SessionStore
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
    pending,
    settled,
    texts,
    unchanged,
)
from power_loop.values import SessionId

TOP, CHILD, GRANDCHILD = (SessionId(name) for name in ("top", "child", "grandchild"))


class LifecycleRules(StoreRules):
    async def test_a_new_session_is_idle_and_empty(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            info = await store.session_info(S)
            assert (info.state, info.status, info.turns, info.messages) == (SessionState.IDLE, None, 0, 0)
            assert (info.owner, info.parent, info.model, info.metadata) == (None, None, None, {})
            assert (info.archived, info.closed, info.pending) == (False, False, ())
            assert info.created_at == info.updated_at

    async def test_an_id_is_taken_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, metadata='{"n":1}')
            async with unchanged(store):
                with pytest.raises(SessionExistsError):
                    await made(store, metadata='{"n":2}')
                with pytest.raises(SessionExistsError):
                    await made(store, system='{"role":"system","content":"x"}')

    async def test_a_parent_must_be_there_and_open(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, TOP)
            await store.close_session(TOP, True)
            async with unchanged(store):
                with pytest.raises(SessionNotFoundError):
                    await made(store, CHILD, parent=SessionId("nobody"))
                with pytest.raises(SessionClosedError):
                    await made(store, CHILD, parent=TOP)

    async def test_archiving_hides_and_brings_back(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await answered(store)
            for archived in (True, True, False, False):
                await store.archive_session(S, archived)
                assert (await store.session_info(S)).archived is archived
            assert await texts(store) == ["user hi", "assistant hello"]
            await answered(store, "more")

    async def test_closing_ends_a_session_and_its_descendants_for_good(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await _family(store)
            await pending(store, GRANDCHILD)
            assert set(await store.close_session(TOP, True)) == {TOP, CHILD, GRANDCHILD}
            for member in (TOP, CHILD, GRANDCHILD):
                assert (await store.session_info(member)).closed
                with pytest.raises(SessionClosedError):
                    await store.begin_turn(input_of(session=member))
            assert await settled(store, GRANDCHILD) == [("call_0", "aborted"), ("call_1", "aborted")]
            assert (await texts(store, CHILD))[-1] == "assistant hello"

    async def test_closing_without_cascade_leaves_the_children_open(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await _family(store)
            assert await store.close_session(TOP, False) == [TOP]
            await answered(store, session=CHILD)

    @pytest.mark.parametrize("how", ["close", "delete"])
    async def test_a_driven_descendant_keeps_the_whole_family_as_it_is(self, open_store: OpenStore, how: str) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await _family(store)
            await pending(store, CHILD)
            await begun(other, GRANDCHILD)
            async with unchanged(store):
                with pytest.raises(SessionBusyError) as busy:
                    await (store.close_session(TOP, True) if how == "close" else store.delete_session(TOP))
                assert busy.value.session_id == GRANDCHILD

    async def test_deleting_leaves_nothing_of_a_session_and_its_descendants(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            await answered(store)
            before = await everything(store)
            await _family(store)
            turn = await begun(store, CHILD)
            await turn.record(turn.folds(1, 2))
            turn.ends()
            await pending(store, GRANDCHILD)
            assert set(await store.delete_session(TOP)) == {TOP, CHILD, GRANDCHILD}
            for reader in (store, other):
                assert await everything(reader) == before
                for gone in (TOP, CHILD, GRANDCHILD):
                    for read in (reader.session_info, reader.history, reader.calls, reader.turns, reader.pending):
                        with pytest.raises(SessionNotFoundError):
                            await read(gone)
                    with pytest.raises(SessionNotFoundError):
                        await reader.usage(gone, None)
                    with pytest.raises(SessionNotFoundError):
                        await reader.messages(gone, include_compacted=True, mark_damage=True)
                    with pytest.raises(SessionNotFoundError):
                        await reader.message(gone, 1)
                    with pytest.raises(SessionNotFoundError):
                        await reader.find_session(gone)

    async def test_a_session_made_again_has_nothing_of_the_one_before(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await answered(store, request_id="r1")
            await pending(store)
            (old, _) = await store.calls(S)
            await store.delete_session(S)
            await made(store)
            assert await texts(store) == []
            assert await store.usage(S, None) == []
            turn = await begun(store, request_id="r1")
            assert turn.claim.turn == 1
            await turn.record(turn.answers())
            turn.ends()
            await pending(store)
            assert (await store.calls(S))[0].idempotency_key != old.idempotency_key

    async def test_closing_a_store_twice_does_nothing(self, open_store: OpenStore) -> None:
        store = await open_store()
        await made(store)
        await store.aclose()
        await store.aclose()
        async with opened(open_store) as again:
            assert [info.session_id for info in await again.list_sessions(ALL)] == [S]

    async def test_a_closed_store_says_so_and_changes_nothing(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            store = await open_store()
            await made(store)
            turn = await begun(store)
            await store.aclose()
            before = await everything(other)
            for use in (
                lambda: made(store, "late"),
                lambda: store.begin_turn(input_of()),
                lambda: turn.record(turn.answers()),
                lambda: store.abort_pending(S, "no"),
                lambda: store.session_info(S),
                lambda: store.changed(),
            ):
                with pytest.raises(LoopClosedError):
                    await use()
            turn.ends()
            assert await everything(other) == before


async def _family(store: SessionStore) -> None:
    await made(store, TOP)
    await made(store, CHILD, parent=TOP)
    await made(store, GRANDCHILD, parent=CHILD)
    await answered(store, session=CHILD)
