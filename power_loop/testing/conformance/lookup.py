"""Finding sessions, and hearing that something changed."""

from __future__ import annotations

import pytest

from power_loop.engine.turns import SessionState
from power_loop.errors import SessionAmbiguousError, SessionNotFoundError
from power_loop.store.contract import Listing
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import OpenStore, S, answered, begun, made, opened, unchanged
from power_loop.values import SessionId


class LookupRules(StoreRules):
    async def test_sessions_are_listed_by_their_last_change(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            for name in ("a", "b", "c"):
                await made(store, name)
            await answered(store, session="a")
            listed = await store.list_sessions(Listing(limit=10))
            assert [info.session_id for info in listed] == ["a", "c", "b"]
            assert listed == [await store.session_info(info.session_id) for info in listed]

    async def test_pages_put_together_are_the_whole_list(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            for number in range(23):
                await made(store, f"s{number:02}")
            whole = [info.session_id for info in await store.list_sessions(Listing(limit=100))]
            assert sorted(whole) == [f"s{number:02}" for number in range(23)]
            paged: list[str] = []
            before = None
            for _ in range(5):
                page = await store.list_sessions(Listing(limit=5, before=before))
                paged += [info.session_id for info in page]
                before = (page[-1].updated_at, SessionId(page[-1].session_id))
            assert paged == whole
            assert await store.list_sessions(Listing(limit=5, before=before)) == []

    async def test_archived_sessions_are_listed_where_asked_for(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            for name in ("a", "b"):
                await made(store, name)
            await store.archive_session(SessionId("a"), True)
            assert [info.session_id for info in await store.list_sessions(Listing(limit=10))] == ["b"]
            both = await store.list_sessions(Listing(limit=10, archived=True))
            assert {info.session_id: info.archived for info in both} == {"a": True, "b": False}
            await store.archive_session(SessionId("a"), False)
            assert len(await store.list_sessions(Listing(limit=10))) == 2

    async def test_children_are_listed_under_their_parent(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, "top")
            await made(store, "child", parent=SessionId("top"))
            await made(store, "grandchild", parent=SessionId("child"))
            listed = await store.list_sessions(Listing(limit=10, parent=SessionId("top")))
            assert [(info.session_id, info.parent) for info in listed] == [("child", "top")]

    async def test_a_session_is_found_by_the_beginning_of_its_id(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            for name in ("alpha", "alphabet", "beta_1", "beta%1", "\N{GRINNING FACE}x"):
                await made(store, name)
            assert await store.find_session("alphab") == "alphabet"
            assert await store.find_session("alpha") == "alpha"  # whole ids come first
            assert await store.find_session("beta_") == "beta_1"
            assert await store.find_session("\N{GRINNING FACE}") == "\N{GRINNING FACE}x"
            with pytest.raises(SessionAmbiguousError) as many:
                await store.find_session("alp")
            assert set(many.value.matches) == {"alpha", "alphabet"}
            for nobody in ("gamma", "Alpha", "%", "_", ""):
                with pytest.raises(SessionNotFoundError):
                    await store.find_session(nobody)

    async def test_reading_changes_nothing(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await answered(store)
            async with unchanged(store):
                await store.changed()
                await store.message(S, 1)
                await store.messages(S, include_compacted=False, mark_damage=True)

    async def test_changed_differs_after_every_commit_of_another_owner(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            seen = {await other.changed()}
            turn = await begun(store)
            for facts in ([turn.asks("pay")], [turn.starts(0)], [turn.settles(0), turn.closes()], [turn.answers()]):
                now = await other.changed()
                assert now not in seen
                assert await other.changed() == now
                seen.add(now)
                await turn.record(*facts)
            assert await other.changed() not in seen

    async def test_whoever_drives_hears_that_somebody_asked_it_to_stop(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            async with unchanged(store):
                assert await other.request_stop(S, "nobody drives it") is False
            turn = await begun(store)
            before = await store.changed()
            assert await other.request_stop(S, "the building closes \N{BELL}") is True
            assert await store.changed() != before
            async with unchanged(store):
                assert await other.request_stop(S, "again") is False
            asked = [(S, turn.claim.epoch, "the building closes \N{BELL}")]
            assert await store.stops_requested() == asked == await other.stops_requested()
            await turn.record(turn.cancels())
            turn.ends()
            assert await store.stops_requested() == []
            assert (await store.session_info(S)).state is SessionState.STOPPED

    async def test_a_new_turn_is_not_stopped_by_a_request_for_an_old_one(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            assert await store.request_stop(S, "stop")
            turn.ends()
            await begun(store, text="next")
            assert await store.stops_requested() == []
