"""History folded outside a turn, and unfolded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_client.messages import UserMessage, wire
from power_loop.engine import facts as f
from power_loop.errors import (
    CompactionNotFoundError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    StateError,
)
from power_loop.store.contract import SessionStore
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import OpenStore, S, answered, begun, made, opened, spent, unchanged
from power_loop.values import SessionId


def folding(*seqs: int, next_seq: int, text: str = "what was said") -> f.HistoryCompacted:
    note = f.NewMessage(seq=next_seq, role="user", body=wire(UserMessage(content=text)), place=min(seqs))
    return f.HistoryCompacted(
        session=S,
        turn=0,
        folded=seqs,
        notes=(note,),
        strategy="summary",
        before_tokens=900,
        after_tokens=90,
        window=1000,
        model=spent().model,
        model_calls=(replace(spent(), purpose="summary"),),
    )


async def seen(store: SessionStore) -> list[tuple[int, str]]:
    """What the model sees: number and text of each message, in order."""
    return [(one.seq, one.text) for one in (await store.history(S)).messages]


async def grown(store: SessionStore, turns: int = 3) -> int:
    """A session of so many turns of a message and an answer each; its epoch."""
    await made(store)
    for _ in range(turns):
        await answered(store)
    return (await store.history(S)).epoch


class FoldingRules(StoreRules):
    async def test_history_is_folded_as_it_was_read(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            epoch = await grown(store)
            before = await seen(store)
            done = await store.compact_session(S, epoch, folding(1, 2, 3, next_seq=7))
            assert (done.number, done.first_seq, done.last_seq, done.folded) == (1, 1, 3, 3)
            assert (done.note_seq, done.notes, done.undone_at, done.model) == (7, 1, None, spent().model)
            assert await seen(store) == [(7, "what was said"), *before[3:]]
            assert await store.compactions(S) == [done]
            assert [row.purpose for row in await store.usage(S, None)][-1] == "summary"
            info = await store.session_info(S)
            assert (info.active_messages, info.messages) == (4, 7)
            assert (info.context_tokens, info.context_window) == (90, 1000)
            assert (await store.history(S)).epoch > epoch
            history = await store.history(S)
            assert (history.counted, history.folded_since) == (90, True)
            turn = await begun(store, text="next")
            await turn.record(turn.answers("on"))
            assert [text for _, text in await seen(store)][-2:] == ["next", "on"]

    async def test_undone_every_row_is_back_and_what_stood_for_them_is_out(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            epoch = await grown(store)
            before = await seen(store)
            await store.compact_session(S, epoch, folding(1, 2, next_seq=7, text="first"))
            between = await seen(store)
            epoch = (await store.history(S)).epoch
            await store.compact_session(S, epoch, folding(7, 3, next_seq=8, text="second"))
            for left, number in ((between, 2), (before, 1)):
                undone = await store.undo_compaction(S)
                assert undone.number == number
                assert undone.undone_at is not None
                assert await seen(store) == left
            async with unchanged(store):
                with pytest.raises(CompactionNotFoundError):
                    await store.undo_compaction(S)
            every = await store.messages(S, include_compacted=True, mark_damage=False)
            assert sorted(one.seq for one in every) == list(range(1, 9))
            assert {one.text for one in every if one.state == "compacted_out"} == {"first", "second"}
            assert (await store.history(S)).folded_since

    async def test_a_turn_after_it_counts_and_the_count_is_what_a_load_says(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            epoch = await grown(store)
            await store.compact_session(S, epoch, folding(1, 2, next_seq=7))
            await answered(store)
            history = await store.history(S)
            assert (history.counted, history.folded_since) == (18, False), "the provider has counted since"
            await store.undo_compaction(S)
            history = await store.history(S)
            assert (history.counted, history.folded_since) == (18 + 900 - 90, True)

    async def test_whoever_had_the_session_since_goes_first(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            epoch = await grown(store)
            turn = await begun(other, text="meanwhile")
            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await store.compact_session(S, epoch, folding(1, 2, next_seq=7))
                with pytest.raises(SessionBusyError):
                    await store.undo_compaction(S)
            await turn.record(turn.answers("done"))
            turn.ends()
            async with unchanged(store):
                for late in (epoch, epoch + 1):
                    with pytest.raises(SessionBusyError):
                        await store.compact_session(S, late, folding(1, 2, next_seq=7))

    async def test_what_is_not_there_is_not_folded(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            epoch = await grown(store)
            async with unchanged(store):
                for wrong in (folding(1, 77, next_seq=7), folding(1, 1, next_seq=7)):
                    with pytest.raises(StateError):
                        await store.compact_session(S, epoch, wrong)
            with pytest.raises(SessionNotFoundError):
                await store.compact_session(SessionId("nobody"), 0, folding(1, next_seq=2))
            await store.archive_session(S, True)
            async with unchanged(store):
                with pytest.raises(SessionArchivedError):
                    await store.compact_session(S, epoch, folding(1, 2, next_seq=7))
            await store.archive_session(S, False)
            await store.close_session(S, False)
            async with unchanged(store):
                with pytest.raises(SessionClosedError):
                    await store.undo_compaction(S)

    async def test_a_driver_that_was_robbed_by_it_records_nothing_more(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await grown(store)
            turn = await begun(other, text="and then it died")
            await self.abandon(other)
            epoch = (await store.history(S)).epoch
            await store.compact_session(S, epoch, folding(1, 2, next_seq=8))
            assert (await store.turns(S))[-1].status == "interrupted"
            assert turn.claim.epoch < (await store.history(S)).epoch

    async def test_what_a_failure_outside_a_turn_cost_is_on_the_bill(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await grown(store)
            before = await seen(store)
            paid = (replace(spent(), purpose="summary"),) * 2
            failed = f.CompactionFailed(session=S, turn=0, strategy="summary", reason="no", model_calls=paid)
            await store.count_failed_compaction(S, failed)
            assert await seen(store) == before
            assert (await store.session_info(S)).failed_compactions == 1
            assert [row.purpose for row in await store.usage(S, None)][-2:] == ["summary", "summary"]
            await begun(other, text="meanwhile")
            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await store.count_failed_compaction(S, failed)

    async def test_failures_are_counted_until_one_succeeds(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await grown(store)
            turn = await begun(store, text="on")
            failed = f.CompactionFailed(
                session=S,
                turn=turn.claim.turn,
                strategy="summary",
                reason="no",
                model_calls=(replace(spent(), purpose="summary"),),
            )
            for count in (1, 2):
                await turn.record(failed)
                assert (await store.session_info(S)).failed_compactions == count
            refused = replace(spent(2000, 0), purpose="overflow")
            await turn.record(
                f.ContextOverflowed(session=S, turn=turn.claim.turn, limit=1000, requested=2000, model_call=refused)
            )
            purposes = [row.purpose for row in await store.usage(S, turn.claim.turn)]
            assert purposes == ["summary", "summary", "overflow"]
            await turn.record(turn.folds(1, 2))
            assert (await store.session_info(S)).failed_compactions == 0
