"""docs/hooks.md: its example works, and its table of points is the one there is."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from power_loop import hooks as h
from power_loop.hooks import Hooks
from power_loop.hooks.verdicts import Verdict
from tests.hooks.kit import VIEWS

pytestmark = pytest.mark.acceptance("G1")

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text()
ROW = re.compile(r"^\| `([A-Z_]+)` \| [^|]+ \| `(\w+)`(?:: ([^|]+))? \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_every_point_is_in_the_table_with_its_view_its_verdicts_and_what_a_failure_means() -> None:
    rows = ROW.findall(PAGE)
    assert [row[0] for row in rows] == [point.name for point in h.POINTS]
    for point, (_, view, told, verdicts, closed) in zip(h.POINTS, rows, strict=True):
        assert view == point.view.__name__
        own = [one.name for one in fields(point.view) if one.name not in ("session_id", "turn", "round")]
        assert [word for word in words(told) if word != "values"] == own
        assert ("values" in words(told)) == hasattr(point.view, "values")
        assert words(verdicts) == [one.__name__ for one in point.verdicts]
        assert words(closed)[0] == type(point.closed(VIEWS[point], "x")).__name__


def test_every_verdict_is_explained() -> None:
    section = PAGE.split("## Verdicts")[1].split("##")[0]
    explained = set(re.findall(r"`(\w+)\([^`]*\)`", section.split("\n\n")[1]))
    assert explained == {one.__name__ for one in Verdict.__args__}  # type: ignore[attr-defined]


def test_every_point_of_the_sixteen_has_a_counterpart() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \| `([A-Z_]+)`", PAGE.split("## Counterparts")[1], re.MULTILINE)
    there = {
        *("session.start", "session.end", "round.start", "round.end", "llm.before", "llm.after", "tools.batch.before"),
        *("tools.batch.after", "tool.before", "tool.after", "tool.error", "round.decide", "compact.before"),
        *("compact.after", "message.append", "memory.recalled"),
    }
    assert {theirs for theirs, _ in rows} == there
    assert {ours for _, ours in rows} == {point.name for point in h.POINTS}


async def test_the_example_works_as_the_page_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], "docs/hooks.md", "exec"), names)
    hooks = names["hooks"]
    assert isinstance(hooks, Hooks)
    call, ended = VIEWS[h.CALL_START], VIEWS[h.CALL_END]
    assert isinstance(call, h.CallStart)
    assert isinstance(ended, h.CallEnd)
    ruling = await hooks.run(h.CALL_START, call)
    assert ruling.verdict == h.ReplaceArguments({"amount": 5, "currency": "EUR"})
    assert isinstance((await hooks.run(h.CALL_START, replace(call, arguments='{"amount":5000}'))).verdict, h.Deny)
    assert (await hooks.run(h.CALL_START, replace(call, name="look"))).verdict == h.Proceed()
    await hooks.run(h.CALL_END, ended)
    assert capsys.readouterr().out == "s pay succeeded\n"
