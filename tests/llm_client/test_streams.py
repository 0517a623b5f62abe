"""F1: streams in every shape that endpoints are known to send come together exactly, or are an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import AssistantMessage, OpenAIChatService, ToolCall, Usage
from llm_client.errors import ModelError
from llm_client.messages import parse, provider, replayed, wire
from llm_client.service import Answer, AttemptVoided, ChatRequest, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from llm_client.sse import EventReader
from power_loop.testing import Asked, Call, Reply, ScriptedServer

pytestmark = pytest.mark.acceptance("F1")

STREAMS = {
    path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__, "../streams").resolve().glob("*.json"))
}
TOOL = json.dumps({"type": "function", "function": {"name": "one", "parameters": {"type": "object"}}})


def asking(text: str = "hi") -> ChatRequest:
    return ChatRequest(messages=(json.dumps({"role": "user", "content": text}),), tools=(TOOL,))


def service(server: ScriptedServer) -> OpenAIChatService:
    return OpenAIChatService(model="asked", base_url=server.url, api_key="sk-test", attempts=1)


async def streamed(server: ScriptedServer) -> list[StreamEvent]:
    client = service(server)
    try:
        return [event async for event in client.stream(asking())]
    finally:
        await client.aclose()


def expected(stream: dict[str, Any]) -> Answer:
    told = stream["answer"]
    usage = None
    if told["usage"] is not None:
        prompt, completion, cached, reasoning = told["usage"]
        usage = Usage(
            prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, reasoning_tokens=reasoning
        )
    return Answer(
        message=AssistantMessage(
            content=told["content"],
            tool_calls=tuple(ToolCall(id=i, name=n, arguments=a) for i, n, a in told["calls"]),
            refusal=told["refusal"],
            provider=told["provider"],
        ),
        finish_reason=told["finish_reason"],
        usage=usage,
        model=told["model"],
    )


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if "answer" in stream])
async def test_a_stream_assembles_exactly(name: str) -> None:
    stream = STREAMS[name]
    async with ScriptedServer([Reply(chunks=tuple(stream["chunks"]), done=stream["done"])]) as server:
        *deltas, answer = await streamed(server)
    assert answer == expected(stream)
    assert parse(wire(answer.message), provider(answer.message)) == answer.message
    said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    if name != "halves_of_an_emoji":  # its deltas cannot hold the half that came
        assert said == answer.message.text
    if "deltas" in stream:
        assert [[d.index, d.id, d.name, d.arguments] for d in deltas if isinstance(d, ToolCallDelta)] == stream[
            "deltas"
        ]


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if "error" in stream])
async def test_a_stream_without_its_end_is_an_error(name: str) -> None:
    stream = STREAMS[name]
    async with ScriptedServer([Reply(chunks=tuple(stream["chunks"]), done=stream["done"])]) as server:
        with pytest.raises(ModelError) as caught:
            await streamed(server)
    assert caught.value.code == stream["error"]
    assert caught.value.__cause__ is None
    assert server.url in str(caught.value)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed", "error"])
@pytest.mark.parametrize("after", range(7))
async def test_a_stream_broken_after_any_chunk_is_never_an_answer(kind: Any, after: int) -> None:
    whole = Reply(text="abcdefgh", piece=2)  # head, four pieces, finish, usage
    async with ScriptedServer([whole.with_fault(kind, after=after)]) as server:
        client = service(server)
        events: list[StreamEvent] = []
        try:
            if kind == "truncate" and after == 6:
                # Cut between the finish reason and the usage: the answer is whole, only its bill is unknown.
                events = [event async for event in client.stream(asking())]
                assert isinstance(events[-1], Answer)
                assert events[-1].usage is None
                return
            with pytest.raises(ModelError) as caught:  # noqa: PT012 - what came before the error matters too
                async for event in client.stream(asking()):
                    events.append(event)
        finally:
            await client.aclose()
    assert caught.value.code == ("model.server" if kind == "error" else "model.stream_cut")
    assert not any(isinstance(event, Answer | AttemptVoided) for event in events)


async def test_reasoning_is_shown_as_it_comes_and_kept_for_the_endpoint_that_wants_it_back() -> None:
    async with ScriptedServer([Reply(text="42", reasoning="six by seven", piece=4)]) as server:
        *deltas, answer = await streamed(server)
    assert "".join(d.text for d in deltas if isinstance(d, ReasoningDelta)) == "six by seven"
    message = answer.message
    assert message.provider == {"reasoning_content": "six by seven"}
    assert "reasoning" not in wire(message)
    assert json.loads(replayed(wire(message), provider(message))) == {
        "role": "assistant",
        "content": "42",
        "reasoning_content": "six by seven",
    }


async def test_what_an_endpoint_added_to_a_call_goes_back_into_it() -> None:
    stream = STREAMS["calls_signatures"]
    async with ScriptedServer([Reply(chunks=tuple(stream["chunks"]))]) as server:
        message = (await streamed(server))[-1].message
    one, two = json.loads(replayed(wire(message), provider(message)))["tool_calls"]
    assert one["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert set(two) == {"id", "type", "function"}


@pytest.mark.usefixtures("transport")
async def test_an_endpoint_that_ignores_the_wish_to_stream_still_answers() -> None:
    async with ScriptedServer(["unused"]) as server:
        whole = {"choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}]}
        server.use(lambda asked: Reply.fails(200).with_fault("status", status=200, body=whole))
        events = await streamed(server)
    assert [event.message.text for event in events] == ["all at once"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
REPLIES = st.builds(
    Reply,
    text=st.none() | TEXTS,
    reasoning=st.none() | TEXTS,
    refusal=st.none() | TEXTS.filter(bool),
    piece=st.integers(1, 9),
    calls=st.lists(st.builds(Call, name=st.sampled_from(["one", "two"]), arguments=TEXTS), max_size=3).map(tuple),
    finish_reason=st.sampled_from(["stop", "tool_calls", "length", "content_filter"]),
)


@given(reply=REPLIES)
async def test_a_streamed_answer_equals_the_same_answer_in_one_piece(
    reply: Reply, shared_server: ScriptedServer
) -> None:
    shared_server.use(lambda asked: reply)
    client = service(shared_server)
    try:
        whole = await client.complete(asking())
        *_, last = [event async for event in client.stream(asking())]
    finally:
        await client.aclose()
    # A stream that never names a field cannot be told from one that names it empty.
    fields = {"reasoning_content": reply.reasoning} if reply.reasoning else {}
    assert last.message.model_copy(update={"provider": fields}) == whole.message.model_copy(update={"provider": fields})
    assert last.message.provider == fields
    assert last.finish_reason == whole.finish_reason


@pytest.fixture(scope="module")
def shared_server() -> Any:
    def unused(asked: Asked) -> Reply:
        raise AssertionError("every example brings its own reply")

    with ScriptedServer(unused) as server:
        yield server


@given(
    events=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), max_size=5),
    data=st.data(),
)
def test_events_are_found_however_their_bytes_are_cut(events: list[str], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    noise = data.draw(st.sampled_from(["", f": keep-alive{end}{end}", f"event: x{end}id: 7{end}"]))
    raw = "".join(f"{noise}data: {event}{end}{end}" for event in events).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    reader = EventReader()
    found: list[bytes] = []
    for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += reader.feed(raw[start:stop])
    found += reader.finish()
    assert [event.decode() for event in found] == events


def test_an_event_of_several_lines_is_one_text_and_half_an_event_is_none() -> None:
    reader = EventReader()
    assert list(reader.feed(b"data: a\ndata:b\n\ndata: half")) == [b"a\nb"]
    assert list(reader.finish()) == []
