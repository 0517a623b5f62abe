"""Shorteners keep their limit and say what they leave out, whatever the text; handles and the line that names one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from power_loop.engine.outputs import Output
from power_loop.transcript.recall import Handle, handle_of, says_in_short, shown_in_short
from power_loop.transcript.shorten import (
    SHORTENERS,
    HeadAndTail,
    Shortener,
    Structured,
    Tail,
    Whole,
    shortened,
    shortener_of,
)

pytestmark = pytest.mark.acceptance("E7")

texts = st.text(max_size=400) | st.text(alphabet="ab\n\N{GRINNING FACE}", min_size=200, max_size=3_000)
limits = st.integers(1, 700)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=12), inner, max_size=30),
    max_leaves=60,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(text=texts, limit=limits, shortener=st.sampled_from([Tail(), HeadAndTail(), HeadAndTail(head=0), Structured()]))
def test_no_shortener_exceeds_its_limit_or_touches_what_fits(text: str, limit: int, shortener: Shortener) -> None:
    short = shortener.shorten(text, limit)
    assert len(short) <= limit or short == text
    assert (short == text) == (len(text) <= limit)
    assert shortened(shortener, text, limit) == short
    short.encode()


@settings(max_examples=300, deadline=None)
@given(text=texts, limit=limits)
def test_head_and_tail_are_of_the_text_and_the_mark_says_where_the_rest_is(text: str, limit: int) -> None:
    short = HeadAndTail().shorten(text, limit)
    mark = re.search(r"\n\[\.\.\. ([\d,]+) characters from offset (\d+) on are left out \.\.\.\]\n", short)
    if len(text) <= limit:
        return
    if mark is None:
        assert limit < 70
        assert text.startswith(short)
        return
    count, offset = int(mark[1].replace(",", "")), int(mark[2])
    assert short[: mark.start()] + text[offset : offset + count] + short[mark.end() :] == text


@settings(max_examples=300, deadline=None)
@given(text=texts, limit=limits)
def test_the_tail_is_of_the_text_and_says_how_much_came_before(text: str, limit: int) -> None:
    short = Tail().shorten(text, limit)
    mark = re.match(r"\[\.\.\. the first ([\d,]+) characters are left out \.\.\.\]\n", short)
    if len(text) > limit and mark is not None:
        assert text[int(mark[1].replace(",", "")) :] == short[mark.end() :]
    else:
        assert text.endswith(short)


@settings(max_examples=300, deadline=None)
@given(value=values, limit=st.integers(20, 3_000))
def test_structured_json_stays_json_of_the_same_kind(value: Any, limit: int) -> None:
    text = json.dumps(value)
    short = Structured().shorten(text, limit)
    assert len(short) <= limit or short == text
    if not isinstance(value, dict | list) or len(text) <= limit or "characters from offset" in short:
        return
    try:
        kept = json.loads(short)
    except ValueError:
        assert text.startswith(short)  # too little room even for a mark
        return
    assert type(kept) is type(value)
    if isinstance(value, dict) and isinstance(kept, dict):
        assert {key for key in kept if not key.startswith("...")} <= {*value, *kept}
        assert sum(key in value for key in kept) >= len(kept) - 1


def test_structured_keeps_names_first_items_and_beginnings_and_says_what_is_left_out() -> None:
    rows = [{"id": number, "text": "x" * 500, "inner": {"list": list(range(900))}} for number in range(300)]
    text = json.dumps({"rows": rows, "total": 300, "next": None, "ratio": 1.5})
    short = Structured().shorten(text, 2_000)
    assert 500 < len(short) <= 2_000
    kept = json.loads(short)
    assert list(kept) == ["rows", "total", "next", "ratio"]
    assert (kept["total"], kept["next"], kept["ratio"]) == (300, None, 1.5)
    assert kept["rows"][0]["id"] == 0
    assert re.fullmatch(r"x+ \[\.\.\. \d+ more characters\]", kept["rows"][0]["text"])
    assert re.fullmatch(r"\[\.\.\. \d+ more items\]", kept["rows"][-1])
    assert kept["rows"][0]["inner"]["list"] == "[... 900 items]"
    wide = json.loads(Structured().shorten(json.dumps({f"key {n}": n for n in range(5_000)} | {"...": 1}), 2_000))
    assert re.fullmatch(r"\[\.\.\. [\d,]+ more keys\]", wide["...."])


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5_000,
        '{"a": ' * 100_000 + "1" + "}" * 100_000,
        "[" * 5_000 + "]" * 5_000,
        '"' + "x" * 5_000 + '"',
        "1" * 5_000,
        "[" + "1" * 5_000 + "]",
        "[NaN" + ", 1" * 5_000 + "]",
        "[1e999" + ", 1" * 5_000 + "]",
        json.dumps({"k" * 3_000: 1, "l" * 3_000: 2}),
        '{"a": 1, ' + "x" * 5_000,
        '["\\ud800' + "x" * 5_000 + '"]',
    ],
    ids=lambda text: text[:12],
)
def test_structured_shows_by_head_and_tail_what_it_cannot_go_through(text: str) -> None:
    short = Structured().shorten(text, 500)
    assert len(short) <= 500
    short.encode()


def test_words_stand_for_shorteners_and_apps_bring_their_own() -> None:
    assert list(SHORTENERS) == ["none", "tail", "head_and_tail", "structured"]
    assert shortener_of("none") == Whole()
    assert Whole().shorten("x" * 99, 3) == "x" * 99

    class Own:
        def shorten(self, text: str, limit: int) -> str:
            return text[:limit]

    own = Own()
    assert shortener_of(own) is own
    for wrong in ("middle", Own, None, 3, "HEAD_AND_TAIL"):
        with pytest.raises(ValueError, match="shortener"):
            shortener_of(wrong)
    for share in (-0.1, 1.1, True, "half"):
        with pytest.raises(ValueError, match="share"):
            HeadAndTail(head=share)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(part=texts, session=st.integers(1, 10**17), seq=st.integers(1, 10**17), characters=st.integers(1, 10**9))
def test_the_line_says_whose_it_is_and_handles_come_back(part: str, session: int, seq: int, characters: int) -> None:
    handle = str(Handle(session, seq))
    assert Handle.parsed(handle) == (session, seq)
    for recalled in (True, False):
        shown = shown_in_short(part, characters, handle, recalled=recalled)
        assert shown.startswith(part)
        assert "\n" not in shown[len(part) + 1 :]
        assert says_in_short(shown, handle)
        assert handle_of(shown, seq) == handle
        assert not says_in_short(shown, f"{session}.{seq}1")
        assert (f'recall_output(handle="{handle}", offset=..., limit=...)' in shown) == recalled


@settings(max_examples=100, deadline=None)
@given(text=st.text() | st.text(alphabet="ab", min_size=5_000, max_size=9_000))
def test_an_output_is_its_text(text: str) -> None:
    output = Output.of(text)
    assert (output.text, output.characters) == (text, len(text))
    assert "data" not in repr(output)


@pytest.mark.parametrize("data", [b"", b"no zlib", Output.of("other").data, Output.of("text").data[:-1]])
def test_an_output_that_is_none_is_not_read(data: bytes) -> None:
    with pytest.raises(ValueError):
        _ = Output(characters=4, data=data).text
