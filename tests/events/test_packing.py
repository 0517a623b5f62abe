"""The text of an event's row: everything a fact says, but what stands in other rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.engine import facts as f
from power_loop.engine.calls import WaitKind
from power_loop.engine.outputs import Output
from power_loop.store.events import packed, parts, unpacked
from power_loop.testing.conformance import every_fact as making
from power_loop.testing.conformance.kit import UNICODE
from power_loop.values import CallKey, SessionId


def every_fact(text: str = "text") -> list[f.Fact]:
    """One of each kind that is stored; other tests may have made kinds of their own."""
    return [fact for fact in making.every_fact(text=text) if type(fact).__module__ == f.__name__]


FIRST = 5
"""The number of the first usage row that a fact brings."""


@dataclass
class Beside:
    """The rows beside one fact, as it was recorded."""

    fact: Any

    def message(self, seq: int) -> f.NewMessage:
        whole = [getattr(self.fact, name, None) for name in ("message", "note")]
        several = [one for name in ("input", "messages", "notes") for one in getattr(self.fact, name, ())]
        found = next(one for one in (*whole, *several) if one is not None and one.seq == seq)
        place = None if found.place == seq else found.place  # as a row says it
        return f.NewMessage(
            seq=seq, role=found.role, body=found.body, provider=found.provider, place=place, pinned=found.pinned
        )

    def call(self, key: CallKey) -> f.RequestedCall:
        calls = self.fact.open_calls if isinstance(self.fact, f.TurnBegan) else self.fact.calls
        return next(call for call in calls if call.key == key)

    def usage(self, number: int) -> f.ModelCall:
        one = getattr(self.fact, "model_call", None)
        calls = self.fact.model_calls if one is None else (one,)
        return replace(calls[number - FIRST], context=None)

    def output(self, seq: int) -> Output:
        assert self.fact.message.seq == seq
        output: Output = self.fact.output
        return output

    def wait(self, key: CallKey, kind: WaitKind) -> f.Wait:
        assert kind == ("approval" if isinstance(self.fact, f.ApprovalsRequested) else "result")
        return next(wait for wait in self.fact.calls if wait.key == key)

    @property
    def decided_by(self) -> str | None:
        by: str | None = self.fact.by
        return by

    @property
    def said(self) -> str | None:
        reason: str | None = self.fact.reason
        return reason

    @property
    def changed(self) -> str | None:
        arguments: str | None = self.fact.arguments
        return arguments

    def decision(self, key: CallKey) -> Beside:
        assert key == self.fact.key
        return self


def again(fact: f.Fact) -> f.Fact:
    (part,) = parts(packed([fact], FIRST))
    assert part["fact"] == type(fact).__name__
    assert part["turn"] == fact.turn
    return unpacked(part, fact.session, Beside(fact))


@pytest.mark.parametrize("fact", every_fact(text=UNICODE), ids=lambda fact: f"{type(fact).__name__}-{fact.turn}")
def test_every_kind_of_fact_comes_back_equal(fact: f.Fact) -> None:
    found = again(fact)
    assert found == fact
    assert type(found) is type(fact)


@given(st.text(st.characters(codec=None)), st.text())
def test_whatever_text_a_fact_holds_comes_back(reason: str, name: str) -> None:
    for fact in (
        f.TurnFailed(session=SessionId("s"), turn=1, error_code=name, error=reason),
        f.RulesRemembered(session=SessionId("s"), turn=1, memories=(f.Memory(name=name, memory=json.dumps(reason)),)),
        f.CallsAborted(session=SessionId("s"), turn=1, calls=(), reason=reason),
    ):
        assert again(fact) == fact
        packed([fact]).encode("ascii")  # whatever is in it, the row can hold it


@given(st.lists(st.integers(1, 40), unique=True))
def test_the_numbers_of_folded_messages_come_back_in_their_order(folded: list[int]) -> None:
    fact = next(fact for fact in every_fact() if isinstance(fact, f.HistoryCompacted))
    fact = f.HistoryCompacted(
        **{name: getattr(fact, name) for name in fact.__dataclass_fields__} | {"folded": tuple(folded)}
    )
    assert again(fact) == fact


def test_texts_that_stand_in_other_rows_are_not_written_again() -> None:
    secret = "a text that has a row of its own"
    for fact in every_fact(text=secret):
        text = packed([fact])
        held = f"{type(fact).__name__}: {text}"
        for name in ("body", "provider", "arguments", "schema_hash", "data", "model_call"):
            assert f'"{name}"' not in text, held
    long = next(fact for fact in every_fact(text="x" * 100_000) if isinstance(fact, f.CallsRequested) and fact.calls)
    assert len(packed([long]).replace("x" * 100_000, "")) < 300
    settled = next(fact for fact in every_fact(text="x" * 100_000) if isinstance(fact, f.CallSettled))
    assert len(packed([settled])) < 200


def test_a_thousand_folded_messages_are_a_few_bytes() -> None:
    fact = next(fact for fact in every_fact() if isinstance(fact, f.HistoryCompacted))
    values = {name: getattr(fact, name) for name in fact.__dataclass_fields__}
    many = f.HistoryCompacted(**values | {"folded": tuple(range(2, 1_002))})
    assert len(packed([many])) < 600
    assert again(many) == many
