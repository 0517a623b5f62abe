"""The estimate for what no provider has counted: careful, not fooled by pictures, and better with every count."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.messages import (
    AssistantMessage,
    AudioPart,
    FilePart,
    ImagePart,
    ImageUrl,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    wire,
)
from power_loop.transcript.measure import CAREFUL, LEAST, MOST, TOKENS_PER_IMAGE, tokens

BLOB = base64.b64encode(random.Random(1).randbytes(3000)).decode()
PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds. " * 50
ROWS = json.dumps([{"id": number, "name": f"n{number}", "ok": True} for number in range(150)])
WIDE = "我们昨天在北京看见了一只很大的猫。" * 60


def said(text: str) -> str:
    return wire(UserMessage(content=text))


def result(text: str) -> str:
    return wire(ToolMessage(content=text, tool_call_id="call_0"))


CONTENTS = {
    "prose": (said, PROSE, 4.0),
    "a result of prose": (result, PROSE, 4.0),
    "JSON": (result, ROWS, 2.3),
    "base64": (result, BLOB, 1.5),
    "base64 by a user": (said, BLOB, 1.5),
    "Chinese": (said, WIDE, 1.2),
    "a Chinese result": (result, WIDE, 1.2),
}
"""How it is sent, the text, and its characters a token as measured."""


@pytest.mark.parametrize("name", CONTENTS)
def test_the_estimate_begins_careful(name: str) -> None:
    sent, text, per_token = CONTENTS[name]
    counted = len(text) / per_token
    assert counted <= tokens(sent(text)) < 1.6 * counted


@pytest.mark.parametrize("name", CONTENTS)
def test_counts_teach_what_a_token_is(name: str) -> None:
    sent, text, per_token = CONTENTS[name]
    measure, counted = CAREFUL, round(len(text) / per_token)
    wires = [sent(text)]
    errors = []
    for _ in range(30):
        measure = measure.learned(wires, counted)
        errors.append(abs(measure.tokens(wires[0]) / counted - 1))
    assert errors[-1] < 0.02
    assert errors == sorted(errors, reverse=True), "each is better than the one before"
    short = sent(text[: len(text) // 3])
    assert measure.tokens(short) == pytest.approx(counted / 3, rel=0.1), "other texts of its kind are told as well"


def test_one_kind_teaches_nothing_of_another() -> None:
    measure = CAREFUL
    for _ in range(10):
        measure = measure.learned([said(PROSE)], round(len(PROSE) / 4.0))
    assert measure.tokens(result(ROWS)) == CAREFUL.tokens(result(ROWS))
    assert measure.tokens(said(WIDE)) == CAREFUL.tokens(said(WIDE))


def test_what_is_counted_together_is_told_apart_by_what_was_counted_alone() -> None:
    """As in a session: results of several kinds in one round, and now and then one kind for itself."""
    prose, rows = round(len(PROSE) / 4.0), round(len(ROWS) / 2.3)
    measure = CAREFUL
    for number in range(60):
        if number % 3:
            measure = measure.learned([result(PROSE), result(ROWS)], prose + rows)
        else:
            measure = measure.learned([result(PROSE)], prose)
    assert measure.tokens(result(PROSE)) == pytest.approx(prose, rel=0.08)
    assert measure.tokens(result(ROWS)) == pytest.approx(rows, rel=0.08)


def test_a_change_of_habit_is_followed() -> None:
    """Listings after prose: what was learned long ago fades."""
    measure = CAREFUL
    for _ in range(500):
        measure = measure.learned([result(PROSE)], round(len(PROSE) / 4.0))
    for _ in range(150):
        measure = measure.learned([result(PROSE)], round(len(PROSE) / 2.1))
    assert measure.tokens(result(PROSE)) == pytest.approx(len(PROSE) / 2.1, rel=0.1)


TEXTS = st.one_of(
    st.text(max_size=300),
    st.sampled_from([PROSE, ROWS, BLOB, WIDE, "", "x" * 1000, '{"a": 1}', '"data:image/png;base64,AAAA"']),
)


@st.composite
def messages(draw: st.DrawFn) -> str:
    text = draw(TEXTS)
    match draw(st.integers(0, 3)):
        case 0:
            return said(text)
        case 1:
            return result(text)
        case 2:
            return wire(AssistantMessage(content=text))
        case _:
            return wire(AssistantMessage(tool_calls=(ToolCall(id="c", name="t", arguments=text),)))


@given(
    st.lists(st.tuples(st.lists(messages(), max_size=4), st.one_of(st.integers(-5, 5000), st.just(10**12)))),
    st.lists(messages(), min_size=1, max_size=4),
)
def test_no_provider_fools_it_further_than_so_far(
    counts: Sequence[tuple[Sequence[str], int]], asked: Sequence[str]
) -> None:
    measure = CAREFUL
    for wires, counted in counts:
        measure = measure.learned(wires, counted)
    for text in asked:
        careful = CAREFUL.tokens(text)
        assert LEAST * careful - 1 <= measure.tokens(text) <= MOST * careful + 1
        assert measure.tokens(text) >= 1


@pytest.mark.parametrize("counted", [-1, 0, 1, 10**12], ids=str)
def test_nonsense_teaches_nothing(counted: int) -> None:
    """Other tools than before, a context that somebody else changed: no text is so far off."""
    taught = CAREFUL.learned([said(PROSE)], 900)
    assert taught.learned([said(PROSE)], counted) is taught
    assert taught.learned([], 100) is taught


@given(st.lists(messages(), max_size=5), st.integers(1, 5000))
def test_a_measure_is_a_value_and_more_is_more(wires: Sequence[str], counted: int) -> None:
    before = CAREFUL.learned([said(PROSE)], 900)
    figures = [before.tokens(text) for text in wires]
    after = before.learned(wires, counted)
    assert [before.tokens(text) for text in wires] == figures, "what was learned makes another one"
    more = before.learned(wires, 2 * counted)
    assert before in (after, more) or all(after.tokens(text) <= more.tokens(text) for text in wires)


def test_more_text_is_more_tokens() -> None:
    sizes = [tokens("word" * length) for length in range(60)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] > 0, "a message costs something even if it is empty"


PICTURE = ImagePart(image_url=ImageUrl(url=f"data:image/png;base64,{BLOB * 300}"))
LINKED = ImagePart(image_url=ImageUrl(url="https://example.org/cat.png"))
SOUND = AudioPart(input_audio={"data": BLOB * 300, "format": "wav"})
PAPER = FilePart(file={"filename": "paper.pdf", "file_data": f"data:application/pdf;base64,{BLOB * 300}"})


def shows(*parts: object) -> str:
    return wire(UserMessage(content=(TextPart(text=PROSE), *parts)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "least", "most"),
    [
        ((PICTURE,), TOKENS_PER_IMAGE, TOKENS_PER_IMAGE),
        ((PICTURE, PICTURE, LINKED), 3 * TOKENS_PER_IMAGE, 3 * TOKENS_PER_IMAGE),
        ((SOUND,), 10_000, 50_000),
        ((PAPER,), 10_000, 50_000),
    ],
    ids=["a picture", "three, one by its address", "a sound", "a file"],
)
def test_media_count_by_what_they_are_and_not_by_their_base64(parts: tuple[object, ...], least: int, most: int) -> None:
    words = tokens(shows())
    assert words + least <= tokens(shows(*parts)) <= words + most + 100
    taught = CAREFUL.learned([said(PROSE)], 600)
    assert taught.learned([said(PROSE), shows(*parts)], 40_000) is taught, "they teach nothing about text"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BLOB}"}}),
        f'<img src="data:image/png;base64,{BLOB}">',
        BLOB,
    ],
    ids=["a part", "a page", "bare"],
)
def test_a_picture_in_a_text_is_text(text: str) -> None:
    """A tool that gives a picture's base64 as a result has it billed letter for letter."""
    assert tokens(result(text)) > len(text) / 1.6
    assert tokens(said(text)) > len(text) / 1.6
