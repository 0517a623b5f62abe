"""The scripted server refuses what the provider refuses, in its words, and takes everything else."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import OpenAIChatService
from llm_client.errors import ContextOverflowError, ModelAuthError, ModelRequestError
from llm_client.service import ChatRequest
from power_loop.testing import ScriptedServer
from power_loop.testing.protocol import ApiError, check_request

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}
FIELDS = ("model", "messages", "role", "content", "tools", "tool_calls", "function", "id", "type", "name")
MUST_FOLLOW = "must be followed by tool messages responding to each 'tool_call_id'"
NO_CALL = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"


def call(id: str, name: str = "read", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asks(*ids: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call(id) for id in ids], **more}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "done"}


INVALID: dict[str, tuple[list[Any], str]] = {
    "calls without answers": ([USER, asks("a", "b")], f"{MUST_FOLLOW}.*did not have response messages: a, b"),
    "one of two answers": ([USER, asks("a", "b"), result("b")], "response messages: a$"),
    "answers after a user message": ([USER, asks("a"), USER, result("a")], MUST_FOLLOW),
    "answers after the next answer": ([USER, asks("a"), asks("b"), result("a"), result("b")], "messages: a$"),
    "a result at the start": ([result("a"), USER], NO_CALL),
    "a result after a user message": ([USER, result("a")], NO_CALL),
    "a result after words": ([USER, {"role": "assistant", "content": "x"}, result("a")], NO_CALL),
    "a result of another call": ([USER, asks("a"), result("a"), result("b")], "'tool_call_id' of 'b' not found"),
    "a result of an earlier turn": ([USER, asks("a"), result("a"), asks("b"), result("a")], "'a' not found"),
    "two results of one call": ([USER, asks("a"), result("a"), result("a")], "duplicate tool message.*'a'"),
    "one id twice": ([USER, asks("a", "a"), result("a")], "duplicate value 'a'"),
    "an empty id": ([USER, asks("")], "too short"),
    "a long id": ([USER, asks("x" * 41)], "too long"),
    "no messages": ([], "empty array"),
    "no calls in the list": ([USER, asks()], r"messages\[1\].tool_calls': empty array"),
    "calls of a user": ([{**USER, "tool_calls": [call("a")]}], "Unknown parameter"),
    "an unknown role": ([{"role": "robot", "content": "x"}], "Invalid value: 'robot'"),
    "no role": ([{"content": "x"}], "Missing required parameter: 'messages.0..role'"),
    "no content": ([{"role": "user"}], "Missing required parameter: 'messages.0..content'"),
    "null content of a user": ([{"role": "user", "content": None}], "expected one of a string or array of objects"),
    "null content without calls": ([USER, {"role": "assistant", "content": None}], "but got null"),
    "null content of a result": ([USER, asks("a"), {**result("a"), "content": None}], "but got null"),
    "a number as content": ([{"role": "user", "content": 5}], "but got an integer"),
    "an object as content": ([{"role": "user", "content": {"a": 1}}], "but got an object"),
    "no parts": ([{"role": "user", "content": []}], "empty array"),
    "an unknown part": ([{"role": "user", "content": [{"type": "smell"}]}], "Invalid value: 'smell'"),
    "a part without text": ([{"role": "user", "content": [{"type": "text"}]}], "content.0..text"),
    "an image of the system": (
        [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}],
        "Supported values are: 'text'",
    ),
    "an image from the disk": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "/tmp/a.png"}}]}],
        "Expected a valid URL",
    ),
    "an image without address": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        "image_url.url",
    ),
    "a message that is text": (["hi"], "expected an object, but got a string"),
    "a name with spaces": ([{**USER, "name": "Jo Doe"}], "pattern"),
    "a call without a name": ([USER, asks("a", tool_calls=[call("a", "")])], "pattern"),
    "a call with a dotted name": ([USER, asks("a", tool_calls=[call("a", "files.read")])], "pattern"),
    "arguments as an object": (
        [USER, asks(tool_calls=[{"id": "a", "type": "function", "function": {"name": "x", "arguments": {}}}])],
        "expected a string, but got an object",
    ),
    "a call without a type": (
        [USER, asks(tool_calls=[{"id": "a", "function": {"name": "x", "arguments": "{}"}}])],
        "type",
    ),
    "a result without an id": ([USER, asks("a"), {"role": "tool", "content": "x"}], "tool_call_id"),
}

VALID: dict[str, list[Any]] = {
    "a question": [USER],
    "system alone": [{"role": "system", "content": "x"}],
    "developer": [{"role": "developer", "content": "x"}, USER],
    "answers in order": [USER, asks("a", "b"), result("a"), result("b")],
    "answers in another order": [USER, asks("a", "b"), result("b"), result("a"), USER],
    "ids used again later": [USER, asks("a"), result("a"), asks("a"), result("a")],
    "words with calls": [USER, asks("a", content="Let me see."), result("a")],
    "calls without a content field": [USER, {k: v for k, v in asks("a").items() if k != "content"}, result("a")],
    "arguments that are no JSON": [USER, asks("a", tool_calls=[call("a", arguments="{tru")]), result("a")],
    "empty texts": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}],
    "a refusal": [USER, {"role": "assistant", "content": None, "refusal": "no"}, USER],
    "two users in a row": [USER, USER],
    "parts": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}],
        },
        asks("a"),
        {**result("a"), "content": [{"type": "text", "text": "done"}]},
    ],
    "fields an endpoint added": [USER, {"role": "assistant", "content": "a", "reasoning_content": "b"}, USER],
}

WRONG_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "you must provide a model parameter"),
    "messages that are text": ({"messages": "hi"}, "expected an array of objects, but got a string"),
    "no tools in the list": ({"tools": []}, "'tools': empty array"),
    "tools that are no list": ({"tools": {"a": 1}}, "expected an array of objects"),
    "a tool without a function": ({"tools": [{"type": "function"}]}, "tools.0..function"),
    "a bare function": ({"tools": [{"name": "x", "parameters": {}}]}, "tools.0..type"),
    "a tool with a bad name": ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "pattern"),
    "parameters that are no object": (
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
        "Invalid schema for function 'a'",
    ),
    "a choice without tools": ({"tool_choice": "auto"}, "only allowed when 'tools' are specified"),
    "an unknown choice": ({"tools": [TOOL], "tool_choice": "maybe"}, "Invalid value: 'maybe'"),
    "a choice that is not offered": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "'x' is not among 'tools'",
    ),
    "stream as text": ({"stream": "yes"}, "expected a boolean"),
    "stream options without stream": ({"stream_options": {}}, "only allowed when 'stream' is enabled"),
    "no room for an answer": ({"max_tokens": 0}, "integer below minimum value"),
    "half a token": ({"max_completion_tokens": 1.5}, "expected an integer"),
    "too hot": ({"temperature": 3}, "decimal out of range"),
    "an unknown format": ({"response_format": {"type": "xml"}}, "Invalid value: 'xml'"),
    "a schema without a name": ({"response_format": {"type": "json_schema", "json_schema": {}}}, "json_schema.name"),
}


@pytest.mark.parametrize("name", list(INVALID))
async def test_an_invalid_history_is_refused_with_400(name: str) -> None:
    messages, words = INVALID[name]
    request = ChatRequest(messages=tuple(map(json.dumps, messages)), tools=(json.dumps(TOOL),))
    async with ScriptedServer(["never"]) as server:
        client = OpenAIChatService(model="m", base_url=server.url, api_key="k")
        with pytest.raises(ModelRequestError, match=f"(?s){words.rstrip('$')}") as caught:
            await client.complete(request)
        await client.aclose()
    assert caught.value.status == 400
    [record] = server.requests
    assert (record.status, record.outcome) == (400, "refused")
    assert record.refusal is not None
    with pytest.raises(ApiError, match=words):
        raise ApiError(record.refusal)


@pytest.mark.parametrize("name", list(VALID))
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_valid_history_passes(name: str, stream: bool) -> None:
    request = ChatRequest(messages=tuple(map(json.dumps, VALID[name])), tools=(json.dumps(TOOL),))
    async with ScriptedServer(["fine"]) as server:
        client = OpenAIChatService(model="m", base_url=server.url, api_key="k")
        answer = [event async for event in client.stream(request)][-1] if stream else await client.complete(request)
        await client.aclose()
    assert answer.message.text == "fine"
    assert server.refusals == []


@pytest.mark.parametrize("name", list(WRONG_OPTIONS))
def test_other_fields_are_checked_too(name: str) -> None:
    fields, words = WRONG_OPTIONS[name]
    with pytest.raises(ApiError, match=words):
        check_request({"model": "m", "messages": [USER]} | fields)


def test_errors_have_the_shape_of_the_api() -> None:
    with pytest.raises(ApiError) as caught:
        check_request({"model": "m", "messages": [USER, asks("a")]})
    assert caught.value.body() == {
        "error": {
            "message": f"An assistant message with 'tool_calls' {MUST_FOLLOW}. The following tool_call_ids did not "
            "have response messages: a",
            "type": "invalid_request_error",
            "param": "messages.[2].role",
            "code": None,
        }
    }


async def test_keys_and_windows_are_enforced() -> None:
    ask = ChatRequest(messages=(json.dumps({"role": "user", "content": "x" * 2000}),))
    async with ScriptedServer(["never"], api_key="right", context_window=100) as server:
        for key, kind in (("wrong", ModelAuthError), ("right", ContextOverflowError)):
            client = OpenAIChatService(model="m", base_url=server.url, api_key=key)
            with pytest.raises(kind) as caught:
                await client.complete(ask)
            await client.aclose()
    assert isinstance(caught.value, ContextOverflowError)
    assert caught.value.limit == 100
    assert caught.value.requested is not None
    assert caught.value.requested > 500
    assert [record.status for record in server.requests] == [401, 400]


# A valid history, built turn by turn, and every way to break its pairs.

TURN = st.tuples(st.lists(st.integers(0, 3), max_size=3), st.randoms(use_true_random=False))


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [USER]
    for number, (calls, order) in enumerate(draw(st.lists(TURN, min_size=1, max_size=4))):
        if not calls:
            messages += [{"role": "assistant", "content": "ok"}, USER]
            continue
        ids = [f"call_{number}_{place}" for place in range(len(calls))]
        messages.append(asks(*ids))
        order.shuffle(ids)
        messages += [result(id) for id in ids]
    return messages


@given(messages=histories())
def test_any_history_built_by_the_rules_passes(messages: list[dict[str, Any]]) -> None:
    check_request({"model": "m", "messages": messages})


@given(messages=histories(), data=st.data())
def test_any_history_with_a_pair_broken_is_refused(messages: list[dict[str, Any]], data: st.DataObject) -> None:
    results = [number for number, message in enumerate(messages) if message["role"] == "tool"]
    if not results:
        messages += [asks("z"), result("z")]
        results = [len(messages) - 1]
    at = data.draw(st.sampled_from(results))
    broken = copy.deepcopy(messages)
    match data.draw(st.sampled_from(["drop", "repeat", "rename", "part", "no call"])):
        case "drop":
            del broken[at]
        case "repeat":
            broken.insert(at, dict(broken[at]))
        case "rename":
            broken[at]["tool_call_id"] = "nobody"
        case "part":
            broken.insert(at, USER)
        case "no call":
            asker = max(n for n in range(at) if broken[n]["role"] == "assistant")
            broken[asker] = {"role": "assistant", "content": "ok"}
    with pytest.raises(ApiError):
        check_request({"model": "m", "messages": broken})


@given(body=st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(FIELDS),
        inner,
        max_size=5,
    ),
    max_leaves=25,
))  # fmt: skip
def test_no_shape_of_body_breaks_the_check(body: Any) -> None:
    with contextlib.suppress(ApiError):  # a refusal, never another exception
        check_request(body)
