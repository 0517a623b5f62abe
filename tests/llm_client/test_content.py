"""F4: content passes through as it is stored; what an endpoint lacks is told before the request."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import OpenAIChatService
from llm_client.body import request_body
from llm_client.errors import ModelCapabilityError, ModelRequestError
from llm_client.messages import (
    AssistantMessage,
    AudioPart,
    FilePart,
    ImagePart,
    ImageUrl,
    Message,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    parse,
    provider,
    wire,
)
from llm_client.service import ChatRequest
from llm_client.settings import Settings
from power_loop.testing import ScriptedServer

PARTS = {
    "images": ImagePart(image_url=ImageUrl.model_validate({"url": "data:image/png;base64,AA==", "detail": "low"})),
    "files": FilePart(file={"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}),
    "audio": AudioPart(input_audio={"data": "AA==", "format": "wav"}),
}
TOOL = '{"type":"function","function":{"name":"one","parameters":{"type":"object"}}}'


def service(url: str, **settings: Any) -> OpenAIChatService:
    return OpenAIChatService(model="m", base_url=url, api_key="k", **settings)


@pytest.mark.acceptance("F4")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_parts_pass_through_unchanged(stream: bool) -> None:
    message = UserMessage(content=(TextPart(text="look: 中😀"), *PARTS.values()))
    request = ChatRequest(messages=(wire(SystemMessage(content="be brief")), wire(message)))
    async with ScriptedServer(["seen"]) as server:
        client = service(server.url)
        if stream:
            [event async for event in client.stream(request)]
        else:
            await client.complete(request)
        await client.aclose()
    sent = server.requests[0].messages[1]
    assert sent["content"] == [
        {"type": "text", "text": "look: 中😀"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    assert parse(json.dumps(sent)) == message


@pytest.mark.acceptance("F4")
@pytest.mark.parametrize("capability", list(PARTS))
@pytest.mark.parametrize("spaced", [False, True])
async def test_a_part_the_endpoint_lacks_is_an_error_before_the_request(capability: str, spaced: bool) -> None:
    text = wire(UserMessage(content=(PARTS[capability],)))
    if spaced:
        text = json.dumps(json.loads(text))
    async with ScriptedServer(["never"]) as server:
        client = service(server.url, **{capability: False})
        with pytest.raises(ModelCapabilityError, match=f"{capability}=True"):
            await client.complete(ChatRequest(messages=(text,)))
        with pytest.raises(ModelCapabilityError):
            [event async for event in client.stream(ChatRequest(messages=(text,)))]
        await client.aclose()
    assert server.requests == []


@pytest.mark.acceptance("F4")
async def test_words_about_parts_are_no_parts() -> None:
    told = 'send {"type":"image_url"} or "file" or "input_audio" parts'
    messages = (wire(UserMessage(content=told)), wire(UserMessage(content=(TextPart(text='"file"'),))))
    async with ScriptedServer(["fine"]) as server:
        client = service(server.url, images=False, files=False, audio=False)
        assert (await client.complete(ChatRequest(messages=messages))).message.text == "fine"
        await client.aclose()


@pytest.mark.acceptance("F4")
async def test_every_field_of_a_request_arrives() -> None:
    request = ChatRequest(
        messages=(wire(UserMessage(content="hi")),),
        tools=(TOOL, TOOL.replace("one", "two")),
        tool_choice="required",
        model="other",
        max_tokens=7,
        temperature=0.5,
        response_format='{"type":"json_object"}',
        extra={"seed": 1, "user": "中", "metadata": {"a": [None, True]}},
    )
    async with ScriptedServer([[["one", {}]], "plain"]) as server:
        client = service(server.url)
        [event async for event in client.stream(request)]
        await client.complete(ChatRequest(messages=request.messages, tool_choice="none"))
        await client.aclose()
    first, second = (record.body for record in server.requests)
    assert first == {
        "model": "other",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [json.loads(TOOL), json.loads(TOOL.replace("one", "two"))],
        "tool_choice": "required",
        "max_tokens": 7,
        "temperature": 0.5,
        "response_format": {"type": "json_object"},
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": 1,
        "user": "中",
        "metadata": {"a": [None, True]},
    }
    # Without tools the API takes no choice among them.
    assert second == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_openai_itself_gets_the_newer_name_of_the_token_limit() -> None:
    request = ChatRequest(messages=("{}",), max_tokens=5)
    for url, name in ((None, "max_completion_tokens"), ("http://127.0.0.1:1/v1", "max_tokens")):
        client = OpenAIChatService(model="m", api_key="k", base_url=url)
        assert json.loads(request_body(request, client._settings, stream=False))[name] == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": ('{"role":"user","content":"\ud800"}',)},
        {"temperature": math.nan},
        {"extra": {"x": math.inf}},
        {"extra": {"messages": []}},
        {"extra": {"x": object()}},
    ],
)
async def test_a_request_that_cannot_be_written_is_refused_before_it_is_sent(wrong: dict[str, Any]) -> None:
    request = ChatRequest(**{"messages": (wire(UserMessage(content="hi")),)} | wrong)
    async with ScriptedServer(["never"]) as server:
        client = service(server.url)
        with pytest.raises(ModelRequestError):
            await client.complete(request)
        await client.aclose()
    assert server.requests == []


@pytest.fixture(scope="module")
def settings() -> Settings:
    return OpenAIChatService(model="m", api_key="k")._settings


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
PART = st.one_of(
    st.builds(TextPart, text=TEXT),
    st.builds(lambda url, more: ImagePart(image_url=ImageUrl.model_validate({"url": url, **more})), TEXT, OBJECT),
    st.builds(AudioPart, input_audio=OBJECT),
    st.builds(FilePart, file=OBJECT),
    st.builds(RefusalPart, refusal=TEXT),
)
CONTENT = TEXT | st.lists(PART, max_size=3).map(tuple)
CALL = st.builds(ToolCall, id=TEXT, name=TEXT, arguments=TEXT)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(SystemMessage, content=CONTENT, name=st.none() | TEXT),
    st.builds(UserMessage, content=CONTENT, name=st.none() | TEXT),
    st.builds(
        AssistantMessage,
        content=st.none() | CONTENT,
        tool_calls=st.lists(CALL, max_size=3).map(tuple),
        refusal=st.none() | TEXT,
        name=st.none() | TEXT,
        provider=OBJECT,
    ),
    st.builds(ToolMessage, content=CONTENT, tool_call_id=TEXT),
)


@given(message=MESSAGES)
def test_a_message_is_what_its_stored_texts_say(message: Message) -> None:
    assert parse(wire(message), provider(message)) == message


@given(messages=st.lists(MESSAGES, min_size=1, max_size=4))
def test_a_body_is_its_messages_joined(messages: list[Message], settings: Settings) -> None:
    texts = tuple(map(wire, messages))
    body = request_body(ChatRequest(messages=texts), settings, stream=False)
    assert json.loads(body)["messages"] == [json.loads(text) for text in texts]


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{}", '{"role":"robot","content":"x"}', '{"role":"user"}', '{"role":"user","content":1}']
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
