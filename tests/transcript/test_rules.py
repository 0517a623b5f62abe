"""The provider's rules as code, against a table, against each other's words, and against the strict server's."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.messages import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage, wire
from power_loop.testing.protocol import ApiError, check_request
from power_loop.transcript.rules import violations


def asks(*ids: str) -> AssistantMessage:
    return AssistantMessage(tool_calls=tuple(ToolCall(id=id, name="t", arguments="{}") for id in ids))


def result(id: str) -> ToolMessage:
    return ToolMessage(content="r", tool_call_id=id)


UNANSWERED = "call a of message 1 has no result"
USER, SAYS, SYSTEM = UserMessage(content="u"), AssistantMessage(content="a"), SystemMessage(content="s")

TABLE: list[tuple[list[Message], list[str]]] = [
    ([], []),
    ([SYSTEM, USER, SAYS, USER], []),
    ([USER, asks("a"), result("a"), SAYS], []),
    ([USER, asks("a", "b", "c"), result("c"), result("a"), result("b")], []),
    ([USER, asks("a"), result("a"), asks("a"), result("a")], []),
    ([USER, asks("a")], [UNANSWERED]),
    ([USER, asks("a"), USER], [UNANSWERED]),
    ([USER, asks("a", "b"), result("b"), SAYS], [UNANSWERED]),
    ([USER, asks("a"), USER, result("a")], [UNANSWERED, "message 3 answers no call before it (a)"]),
    ([USER, result("a")], ["message 1 answers no call before it (a)"]),
    ([USER, asks("a"), result("a"), result("a")], ["message 3 answers call a again"]),
    ([USER, asks("a"), result("a"), SAYS, result("a")], ["message 4 answers no call before it (a)"]),
    ([USER, asks("a", "a"), result("a")], ["message 1 has two calls 'a'"]),
    ([USER, asks(""), result("")], ["message 1 has a call without id"]),
]  # fmt: skip


@pytest.mark.parametrize(("history", "found"), TABLE)
def test_what_is_wrong_with_a_history(history: list[Message], found: list[str]) -> None:
    assert violations(history) == found


MESSAGES = st.one_of(
    st.just(USER),
    st.just(SAYS),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=2).map(lambda ids: asks(*ids)),
    st.sampled_from("ab").map(result),
)


def accepted(history: list[Message]) -> bool:
    """Whether the strict server, which was written without looking at our rules, takes it."""
    try:
        check_request({"model": "m", "messages": [json.loads(wire(message)) for message in history]})
    except ApiError:
        return False
    return True


@given(st.lists(MESSAGES, min_size=1, max_size=7))
def test_the_rules_and_the_strict_server_agree(history: list[Message]) -> None:
    assert (violations(history) == []) is accepted(history)
