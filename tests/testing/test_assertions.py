"""What a session said and did, stated in a few lines; and what is shown where it is not so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llm_client import ScriptedLLM
from llm_client.messages import (
    AssistantMessage,
    ImagePart,
    ImageUrl,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from llm_client.scripted import calls
from llm_client.service import Usage
from power_loop import AgentLoopConfig, StatefulAgentLoop, tool
from power_loop.testing import assert_ledger, assert_transcript, ledger_text, transcript_text


@tool
def pay(amount: int, to: str = "ACME") -> str:
    """Pays."""
    return "paid"


@tool(effect="read")
def look(what: str) -> str:
    """Looks."""
    raise OSError(f"no {what} here")


async def test_a_session_is_stated_in_the_words_of_a_test(tmp_path: Path) -> None:
    llm = ScriptedLLM(
        [
            calls(("pay", {"amount": 120}), ("look", {"what": "sky \N{GRINNING FACE}"}), text="On it."),
            calls(("look", {"wat": 1}), ("gone", "{broken")),
            "Done.\n\nAnything else?",
        ]
    )
    config = AgentLoopConfig(system_prompt="Be kind.")
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[pay, look], config=config) as loop:
        session = (await loop.send("pay invoice 7")).session_id
        assert_transcript(
            await loop.get_messages(session),
            """
            system: Be kind.
            user: pay invoice 7
            assistant: On it. -> pay(amount=120)#1, look(what="sky \N{GRINNING FACE}")#2
            tool #1: paid
            tool #2: Error: OSError: no sky \N{GRINNING FACE} here

            assistant: -> look(wat=1)#3, gone({broken)#4
            tool #3: Error: The arguments of look are not valid...
                | ...
            tool #4: Error: there is no tool named gone. There are: ...
            assistant: Done.
                |
                | Anything else?
            """,
        )
        assert_ledger(
            await loop.get_calls(session),
            """
            pay(amount=120) once succeeded x1
            look(what="sky \N{GRINNING FACE}") read failed x1
            look(wat=1) read failed x0 by gate
            gone({broken) once failed x0 by gate
            """,
        )
        assert_transcript(llm.requests[0].messages, "system: Be kind.\nuser: pay invoice 7")


async def test_folded_messages_and_notes_say_so(tmp_path: Path) -> None:
    story = "a long story about nothing much, told twice. " * 20
    llm = ScriptedLLM(
        [story, story, "what was said", "three"],
        usage=lambda request, _: Usage(prompt_tokens=900 if len(request.messages) == 3 else 90, completion_tokens=10),
    )
    config = AgentLoopConfig(context_window=1000)
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", config=config) as loop:
        session = (await loop.send("first")).session_id
        await loop.send("second", session)
        await loop.send("third", session)
        assert_transcript(
            await loop.get_messages(session, include_compacted=True),
            """
            (folded) user: first
            note: ...
                | ...
            (folded) assistant: a long ...
            (folded) user: second
            (folded) assistant: a long ...
            user: third
            assistant: three
            """,
        )


def failure(messages: list[Message], expected: str, **how: int) -> str:
    with pytest.raises(AssertionError) as raised:
        assert_transcript(messages, expected, **how)
    return str(raised.value)


def test_a_difference_is_pointed_out_and_shown_as_a_diff() -> None:
    messages: list[Message] = [
        UserMessage(content="hi"),
        AssistantMessage(content="hello"),
        UserMessage(content="and now?"),
    ]
    said = failure(messages, "user: hi\nassistant: good day\nuser: and now?")
    assert said == (
        "the transcript is not as expected; the first difference is in line 2:\n"
        "  expected: assistant: good day\n"
        "  actual:   assistant: hello\n"
        "\n"
        "--- expected\n+++ actual\n@@ -1,3 +1,3 @@\n user: hi\n-assistant: good day\n+assistant: hello\n user: and now?"
    )


def test_a_message_too_many_and_one_too_few_are_differences() -> None:
    one: list[Message] = [UserMessage(content="hi")]
    assert "expected: (nothing more)\n  actual:   user: hi" in failure([*one, *one], "user: hi")
    assert "expected: user: more\n  actual:   (nothing more)" in failure(one, "user: hi\nuser: more")
    assert "expected: (nothing more)\n  actual:   user: hi" in failure(one, "")
    assert "expected: user: hi\n  actual:   (nothing more)" in failure([], "user: hi")
    assert_transcript([], "")


def test_dots_stand_for_any_text_within_one_line_and_for_no_other_line() -> None:
    messages: list[Message] = [UserMessage(content="id 7f3a of (a+b)"), AssistantMessage(content="ok")]
    assert_transcript(messages, "user: id ... of (a+b)\nassistant: ok")
    assert_transcript(messages, "user: ...\n...: ok")
    said = failure(messages, "user: id ... of (a+b)\nassistant: no")
    assert " user: id 7f3a of (a+b)\n" in said  # as context, not as a difference
    failure(messages, "...")
    failure(messages, "user: ...\n| ...")
    failure(messages, "user: id ... of (aab)\nassistant: ok")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "user:"),
        (" two  spaces", "user:  two  spaces"),
        ("at the end ", "user: at the end\\x20"),
        ("a\tb\x00c\r\u2028d", "user: a\\tb\\x00c\\r\\u2028d"),
        ("\u202eevil", "user: \\u202eevil"),
        ("half \ud83d", "user: half \\ud83d"),
        ("g\u00f6 \N{FAMILY}\u200d\N{WOMAN}", "user: g\u00f6 \N{FAMILY}\u200d\N{WOMAN}"),
        ("one\n\n  two\n", "user: one\n    |\n    |   two\n    |"),
    ],
)
def test_texts_are_shown_as_they_are_and_what_nobody_sees_is_written_out(text: str, shown: str) -> None:
    message = UserMessage.model_construct(role="user", content=text, name=None)
    assert transcript_text([message]) == shown
    assert_transcript([message], shown)
    shown.encode()


def test_a_line_of_dots_stands_for_the_rest_of_a_text_and_for_no_other_message() -> None:
    messages: list[Message] = [UserMessage(content="one\ntwo\nthree"), AssistantMessage(content="ok")]
    assert_transcript(messages, "user: one\n| ...\nassistant: ok\n| ...")
    assert_transcript(messages, "user: one\n| two\n| ...\nassistant: ok")
    assert "line 4" in failure(messages, "user: one\n| ...")
    assert "line 2" in failure(messages, "user: one\n| too\n| ...\nassistant: ok")


def test_what_is_expected_may_hold_the_very_characters() -> None:
    assert_transcript([UserMessage(content="a\x00b\u2028c")], "user: a\x00b\u2028c")


def test_hello_with_a_space_at_its_end_is_not_hello() -> None:
    assert "actual:   user: hello\\x20" in failure([UserMessage(content="hello ")], "user: hello")


def test_long_texts_are_shortened_where_asked_for() -> None:
    long = "x" * 1_000
    message = AssistantMessage(content=long, tool_calls=(ToolCall(id="a", name="pay", arguments=f'{{"to":"{long}"}}'),))
    assert long in transcript_text([message])
    assert transcript_text([message], longest=5) == 'assistant: xxxxx[+995] -> pay(to="xxxx[+997])#1'
    assert_transcript([message], 'assistant: xxxxx[+995] -> pay(to="xxxx[+997])#1', longest=5)


def test_calls_are_numbered_as_they_come_though_ids_come_again() -> None:
    asks = AssistantMessage(tool_calls=(ToolCall(id="same", name="look", arguments=""),))
    result = ToolMessage(content="seen", tool_call_id="same")
    assert transcript_text([asks, result, asks, result, ToolMessage(content="?", tool_call_id="other")]) == (
        "assistant: -> look()#1\ntool #1: seen\nassistant: -> look()#2\ntool #2: seen\ntool #?: ?"
    )


def test_parts_and_refusals_are_named() -> None:
    image = ImagePart(image_url=ImageUrl(url="data:image/png;base64,AAAA"))
    messages: list[Message] = [
        SystemMessage(content=(TextPart(text="a"), TextPart(text="b"))),
        UserMessage(content=(TextPart(text="look: "), image)),
        AssistantMessage(refusal="I would rather not"),
    ]
    assert_transcript(messages, "system: ab\nuser: look: <image_url>\nassistant: (refuses) I would rather not")


async def test_open_calls_and_decisions_stand_in_the_ledger(tmp_path: Path) -> None:
    stop = asyncio.Event()

    @tool
    async def stuck() -> None:
        """Never comes back."""
        stop.set()
        await asyncio.Event().wait()

    llm = ScriptedLLM([calls(("stuck", {}))])
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[stuck]) as loop:
        await loop.create_session("s")
        await loop.send("go", "s", stop_event=stop)
        assert_ledger(await loop.get_pending("s"), "stuck() once in_doubt x1")
        await loop.resolve("s", "call_0", retry=True)
        assert_ledger(await loop.get_calls("s"), "stuck() once started x1, to retry")
        await loop.resolve("s", "call_0", "it was done")
        assert_ledger(await loop.get_calls("s"), "stuck() once succeeded x1 by person")
        with pytest.raises(AssertionError, match=r"the ledger is not as expected; the first difference is in line 1"):
            assert_ledger(await loop.get_calls("s"), "stuck() once succeeded x1")
        assert ledger_text([]) == ""
