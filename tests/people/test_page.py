"""docs/people.md: its code runs as pasted, in order, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls

pytestmark = pytest.mark.acceptance("B6", "B8")

PAGE = (Path(__file__).parents[2] / "docs/people.md").read_text()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All that the page defines."""
    monkeypatch.chdir(tmp_path)
    there: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, there)
    return there


def bill(customer: str, amount: int) -> tuple[str, Any]:
    return "pay", {"customer": customer, "amount": amount}


async def test_three_payments_are_asked_about_decided_and_gone_on_with(
    page: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await page["ask"](ScriptedLLM([calls(bill("Smith", 20), bill("ACME", 1000), bill("Nobody", 5))]))
    assert capsys.readouterr().out.splitlines() == [
        "awaiting_approval",
        'call_0 pay {"customer": "Smith", "amount": 20} awaiting_approval',
        'call_1 pay {"customer": "ACME", "amount": 1000} awaiting_approval',
        'call_2 pay {"customer": "Nobody", "amount": 5} awaiting_approval',
    ]
    await page["decide"]()
    assert "money leaves the house" in capsys.readouterr().out
    model = ScriptedLLM(["Two were paid."])
    await page["go_on"](model)
    assert capsys.readouterr().out == "completed Two were paid.\n"
    assert (tmp_path / "payments.txt").read_text() == "Smith 20\nACME 100\n"
    told = "".join(model.requests[-1].messages)
    assert "bob did not approve this call. It did not run. The reason: we never ordered that" in told
    assert "[A person approved this call with other arguments: " in told


async def test_which_calls_ask(page: dict[str, Any]) -> None:
    await page["careful"](ScriptedLLM([]))
    assert (page["large"]({"amount": 501}), page["large"]({"amount": 500})) == ("more than usual", False)


async def test_the_host_answers(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    await page["answer"](ScriptedLLM([calls(("fetch_invoice", {"number": 7})), "120 EUR are due."]))
    assert capsys.readouterr().out.splitlines() == [
        'waiting_for_input fetch_invoice {"number": 7}',
        "completed 120 EUR are due.",
    ]


async def test_a_person_answers(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"question": "Which colour?", "choices": ["red", "green"], "free_text": False}
    await page["question"](ScriptedLLM([calls(("ask_human", asked)), "Red it is."]))
    assert capsys.readouterr().out.splitlines()[-1] == "Red it is."
