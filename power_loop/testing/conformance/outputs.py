"""Whole results: kept with what the model is shown of them, read letter for letter, within one tree of sessions."""

from __future__ import annotations

import pytest

from power_loop.errors import OutputNotFoundError, SessionNotFoundError, StateError
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import UNICODE, OpenStore, S, answered, begun, made, opened, texts, unchanged
from power_loop.values import SessionId


class OutputRules(StoreRules):
    @pytest.mark.parametrize("size", [1, 1_000, 3_000_000])
    async def test_a_result_kept_whole_is_read_letter_for_letter(self, open_store: OpenStore, size: int) -> None:
        whole = (UNICODE * (size // len(UNICODE) + 1))[:size]
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look", "look"), turn.starts(0, 1))
            await turn.record(turn.settles(0, "a part", output=whole))
            await turn.record(turn.settles(1, "another", output="other"), turn.closes())
            await turn.record(turn.answers())
            turn.ends()
        async with opened(open_store) as store:
            assert await store.output(S, turn.handle(0)) == whole
            assert await store.output(S, turn.handle(1)) == "other"
            assert [text for text in await texts(store) if text.startswith("tool")] == ["tool a part", "tool another"]

    async def test_a_result_that_is_shown_whole_is_read_from_its_message_folded_or_not(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look", "look"), turn.starts(0, 1))
            await turn.record(turn.settles(0, UNICODE), turn.settles(1, "part", output="whole"), turn.closes())
            assert [await store.output(S, turn.handle(n)) for n in (0, 1)] == [UNICODE, "whole"]
            await turn.record(turn.folds(2, 3, 4))
            assert [await store.output(S, turn.handle(n)) for n in (0, 1)] == [UNICODE, "whole"]

    async def test_a_part_and_its_whole_are_recorded_together_or_not_at_all(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look", "look"), turn.starts(0, 1))
            async with unchanged(store):
                for refused in ([turn.closes()], [turn.settles(0, "part", output="again")], [turn.answers()]):
                    with pytest.raises(StateError):
                        await turn.record(turn.settles(0, "part", output="whole"), *refused)
                with pytest.raises(OutputNotFoundError):
                    await store.output(S, turn.handle(0))
            await turn.record(turn.settles(0, "part", output="whole"))
            assert await store.output(S, turn.handle(0)) == "whole"

    async def test_only_sessions_of_one_tree_read_each_others_results(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, "top")
            await made(store, parent=SessionId("top"))
            await made(store, "sibling", parent=SessionId("top"))
            await made(store, "child", parent=S)
            await made(store, "stranger")
            await made(store, "strangers child", parent=SessionId("stranger"))
            turn = await begun(store)
            await turn.record(turn.asks("look", "look"), turn.starts(0, 1))
            await turn.record(turn.settles(0, "part", output="whole"), turn.settles(1, "small"), turn.closes())
            for relative in ("top", S, "sibling", "child"):
                assert await store.output(SessionId(relative), turn.handle(0)) == "whole"
                assert await store.output(SessionId(relative), turn.handle(1)) == "small"
            async with unchanged(store):
                for other in ("stranger", "strangers child"):
                    for number in (0, 1):
                        with pytest.raises(OutputNotFoundError) as caught:
                            await store.output(SessionId(other), turn.handle(number))
                        assert (caught.value.session_id, caught.value.handle) == (other, turn.handle(number))
                with pytest.raises(SessionNotFoundError):
                    await store.output(SessionId("nobody"), turn.handle(0))

    async def test_what_is_no_handle_of_a_result_is_not_found(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look", "look"), turn.starts(0))
            await turn.record(turn.settles(0, "part", output="whole"))
            key = turn.claim.key
            async with unchanged(store):
                for handle in (
                    f"{key}.1",
                    f"{key}.2",
                    turn.handle(1),
                    f"{key}.99",
                    f"{key + 1}.3",
                    f"{key}",
                    "",
                    "a.b",
                    f" {turn.handle(0)}",
                    f"{turn.handle(0)}.1",
                    f"-{turn.handle(0)}",
                    f"{key}.{'9' * 40}",
                ):
                    with pytest.raises(OutputNotFoundError):
                        await store.output(S, handle)  # fmt: skip

    async def test_a_deleted_session_leaves_none_and_one_made_anew_has_none(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look"), turn.starts(0))
            await turn.record(turn.settles(0, "part", output="whole"), turn.closes())
            await turn.record(turn.answers())
            turn.ends()
            await store.delete_session(S)
            await made(store)
            await answered(store)
            with pytest.raises(OutputNotFoundError):
                await store.output(S, turn.handle(0))
