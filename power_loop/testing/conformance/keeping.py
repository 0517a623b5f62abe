"""What is kept: durable once acknowledged, letter for letter, folded exactly, counted completely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_client.messages import AssistantMessage, ImagePart, ImageUrl, TextPart, UserMessage, parse, wire
from power_loop.engine.calls import CallState
from power_loop.errors import PowerLoopError
from power_loop.store.contract import Input, Resolution
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    UNICODE,
    OpenStore,
    S,
    answered,
    begun,
    everything,
    made,
    opened,
    pending,
    seen,
    spent,
    texts,
    unchanged,
)


class KeepingRules(StoreRules):
    async def test_what_was_acknowledged_is_there_after_reopening(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, system='{"role":"system","content":"be kind"}', metadata='{"team":"blue"}')
            await answered(store, request_id="r1")
            await pending(store)
            await store.resolve_call(S, "call_0", Resolution(content="paid"))
            await made(store, "child", parent=S)
            await store.archive_session(await made(store, "old"), True)
            before = await everything(store)
        async with opened(open_store) as store:
            assert await everything(store) == before

    async def test_what_one_owner_was_told_another_can_read_at_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            assert await seen(other, S) == await seen(store, S)
            turn = await begun(store)
            for facts in (
                [turn.asks("pay", "look")],
                [turn.starts(0, 1)],
                [turn.settles(1)],
                [turn.settles(0), turn.closes()],
                [turn.drops()],
                [turn.answers()],
            ):
                await turn.record(*facts)
                assert await seen(other, S) == await seen(store, S)
            turn.ends()

    @pytest.mark.parametrize("size", [0, 1, 100_000, 2_000_000])
    async def test_texts_of_any_size_come_back_letter_for_letter(self, open_store: OpenStore, size: int) -> None:
        async with opened(open_store) as store:
            await made(store)
            text = (UNICODE * (size // len(UNICODE) + 1))[:size]
            turn = await begun(store, text=text)
            await turn.record(turn.asks("look", text=text), turn.starts(0))
            await turn.record(turn.settles(0, text), turn.closes())
            await turn.record(turn.answers(text))
            turn.ends()
        async with opened(open_store) as store:
            found = await store.messages(S, include_compacted=False, mark_damage=False)
            assert [message.text == text for message in found] == [True] * 4

    async def test_bodies_are_stored_as_they_were_written(self, open_store: OpenStore) -> None:
        parts = (
            TextPart(text=UNICODE),
            ImagePart(image_url=ImageUrl.model_validate({"url": "data:image/png;base64,AAAA", "detail": "high"})),
        )
        odd = '{ "role": "user",\n  "content": [ {"type":"text","text":"spaces \\u00e9 1.0 stay"} ] }'
        async with opened(open_store) as store:
            await made(store)
            for body in (wire(UserMessage(content=parts, name="ann")), odd):
                begin = await store.begin_turn(Input(session=S, body=body, abort_reason="next"))
                store.release(begin.claim)  # type: ignore[union-attr]
            found = await store.messages(S, include_compacted=False, mark_damage=False)
            assert found[0].message == UserMessage(content=parts, name="ann")
            assert found[1].body == odd
            assert await store.message(S, 2) == found[1]
            assert await store.message(S, 3) is None

    async def test_what_the_endpoint_added_is_kept_beside_the_answer(self, open_store: OpenStore) -> None:
        added = {"reasoning_content": UNICODE, "signature": [1, 2.5, None, {"deep": [True]}], "": ""}
        said = AssistantMessage(content=None, refusal="I would rather not", provider=added)
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.answers(said))
            turn.ends()
        async with opened(open_store) as store:
            message = (await store.history(S)).messages[-1]
            assert message.message == said
            assert parse(message.body) == said.model_copy(update={"provider": {}})

    async def test_names_reasons_and_metadata_come_back_as_they_were_given(self, open_store: OpenStore) -> None:
        name = UNICODE.replace("\x00", "")
        async with opened(open_store) as store:
            await made(store, name, metadata='{"k":["\\u00e9",1.5,null,{"a":{}}]}', model=name)
            turn = await begun(store, name, request_id=name, metadata='{"from":"\\u00e5sa"}')
            await turn.record(turn.asks("pay", ids=[name]), turn.starts(0))
            turn.ends()
            await store.abort_pending(turn.claim.session, name)
        async with opened(open_store) as store:
            info = await store.session_info(turn.claim.session)
            assert (info.session_id, info.model, info.stop_reason) == (name, name, name)
            assert info.metadata == {"k": ["\u00e9", 1.5, None, {"a": {}}]}
            (row,) = await store.turns(turn.claim.session)
            assert (row.request_id, row.metadata) == (name, {"from": "\u00e5sa"})
            assert [call.id for call in await store.calls(turn.claim.session)] == [name]

    async def test_what_cannot_be_stored_raises_an_error_of_ours_and_changes_nothing(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0))
            settles = turn.settles(0, "x")
            half = replace(settles.message, body='{"role":"tool","content":"half an emoji: \ud83d"}')
            async with unchanged(store):
                for broken in (replace(settles, message=half), replace(settles, state=CallState.STARTED)):
                    with pytest.raises(PowerLoopError):
                        await turn.record(broken)
            await turn.record(settles)

    async def test_a_compaction_marks_exactly_what_it_folds_and_its_note_stands_in_place(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store, system='{"role":"system","content":"be kind"}')
            for number in range(3):
                await answered(store, f"question {number}")
            turn = await begun(store, text="now")
            before = await store.messages(S, include_compacted=True, mark_damage=False)
            await turn.record(turn.folds(2, 3, 4, 5))
            await turn.record(turn.answers())
            assert await texts(store) == [
                "system be kind",
                "user what was said",
                "user question 2",
                "assistant hello",
                "user now",
                "assistant hello",
            ]
            whole = await store.messages(S, include_compacted=True, mark_damage=False)
            assert [m.seq for m in whole if m.state == "compacted_out"] == [2, 3, 4, 5]
            (note,) = [message for message in whole if message.note]
            assert (note.seq, note.place, note.state) == (9, 2, "active")
            assert {m.folded_by for m in whole if m.state == "compacted_out"} == {1}
            kept = {message.seq: (message.body, message.place) for message in whole}
            assert all(kept[message.seq] == (message.body, message.place) for message in before)
            assert (await store.session_info(S)).active_messages == 6
            assert [m.text for m in (await store.history(S)).messages] == [
                t.partition(" ")[2] for t in await texts(store)
            ]

    async def test_a_note_can_be_folded_like_any_message(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            for number in range(2):
                await answered(store, f"question {number}")
            turn = await begun(store, text="now")
            await turn.record(turn.folds(1, 2, text="note 1"))
            await turn.record(turn.folds(6, 3, 4, text="note 2"))
            found = await texts(store)
            assert sorted(found) == ["user note 2", "user now"]
            whole = await store.messages(S, include_compacted=True, mark_damage=False)
            assert {m.seq: m.folded_by for m in whole} == {1: 1, 2: 1, 3: 2, 4: 2, 5: None, 6: 2, 7: None}

    async def test_every_model_call_is_one_numbered_row(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.drops())
            await turn.record(turn.folds(1))
            await turn.record(turn.asks("look"), turn.starts(0))
            await turn.record(turn.settles(0), turn.closes())
            await turn.record(turn.answers())
            turn.ends()
            await answered(store, "more")
            rows = await store.usage(S, None)
            assert [(row.number, row.turn, row.purpose) for row in rows] == [
                (1, 1, "dropped"),
                (2, 1, "summary"),
                (3, 1, "answer"),
                (4, 1, "answer"),
                (5, 2, "answer"),
            ]
            told = spent()
            assert told.usage is not None
            for row in rows:
                assert (row.prompt_tokens, row.completion_tokens) == (
                    told.usage.prompt_tokens,
                    told.usage.completion_tokens,
                )
                assert (row.cached_tokens, row.reasoning_tokens, row.cost, row.milliseconds) == (5, 3, None, 12)
                assert row.model == "scripted"
            assert await store.usage(S, 2) == rows[4:]
            assert await store.usage(S, 9) == []

    async def test_history_says_how_large_the_context_was_when_last_counted(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            assert (await store.history(S)).counted is None
            await answered(store)
            told = spent().usage
            assert told is not None
            history = await store.history(S)
            assert (history.counted, history.folded_since) == (
                (told.prompt_tokens or 0) + (told.completion_tokens or 0),
                False,
            )
            turn = await begun(store, text="next")
            await turn.record(turn.folds(1, 2))
            history = await store.history(S)
            assert (history.counted, history.folded_since) == (90, True)
            await turn.record(turn.answers())
            assert (await store.history(S)).folded_since is False
