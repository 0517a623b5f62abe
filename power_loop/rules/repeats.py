"""Watchers of a model that goes round in circles. What they remember is of one turn: a new input begins anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llm_client.service import Json
from power_loop.rules.checks import Then, matches, patterns, texts, then, verdict, whole
from power_loop.rules.seen import CallSeen, RoundSeen
from power_loop.rules.watchers import CONTINUE, Abort, Verdict, Watched

_MOST: Final = 1000
"""Calls, or results, that are remembered: some 20 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedCall:
    """The same call again: the same tool with the same argument values, however they are written.

    `{"a": 1, "b": 2}` and `{ "b":2.0, "a":1 }` are the same; five different files are five calls. Each round with a
    repeat is told, not only the first.

    Raises:
        ValueError: a setting cannot work.
    """

    name: str = "repeated_call"
    limit: int = 3
    """The call that is one too many."""
    within: int | None = None
    """Among how many of the last calls; None: in a row, with no other call between."""
    then: Then = "nudge"
    abort_at: int | None = None
    """How often, for an abort in place of what `then` says; None: never."""
    ignore: Sequence[str] = ()
    """Patterns of tools that may be repeated, such as one that waits. They are not counted, and interrupt no row."""
    say: str | None = None
    """Told to the model in place of the usual text."""

    def __post_init__(self) -> None:
        texts(self, name=self.name, say=self.say)
        then(self, self.then)
        whole(self, "limit", self.limit, 2)
        if self.within is not None:
            whole(self, "within", self.within, self.limit, _MOST)
        _abort_at(self, self.abort_at, self.limit, self.then, self.within)
        object.__setattr__(self, "ignore", patterns(self, "ignore", self.ignore))

    def watch(self, seen: RoundSeen, memory: Json) -> Watched:
        recent, times, most, who = list(_remembered(memory, seen.turn, "calls")), _times(memory, seen.turn), 0, ""
        for call in seen.calls:
            if matches(call.name, self.ignore):
                continue
            mark = _fingerprint(call)
            if self.within is None:
                times = times + 1 if recent == [mark] else 1
                recent = [mark]
            else:
                recent = [*recent, mark][-self.within :]
                times = recent.count(mark)
            if times > most:
                most, who = times, call.name
        return Watched(
            self._verdict(who, most) if most >= self.limit else CONTINUE,
            {"turn": seen.turn, "calls": list(recent), "times": times},
        )

    def _verdict(self, tool: str, times: int) -> Verdict:
        row = "in a row" if self.within is None else f"within {self.within} calls"
        reason = f"{tool} was called {times} times {row} with the same arguments"
        if self.abort_at is not None and times >= self.abort_at:
            return Abort(reason)
        return verdict(
            self.then,
            reason,
            self.say
            or f"You called {tool} {times} times {row} with the same arguments. Calling it again so will not help: use "
            "the results you have, try something else, or say what keeps you from going on.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stagnation:
    """Nothing new: in so many rounds in a row, each call failed or gave a result that its tool gave before in the turn.

    Rounds without calls do not count. Tools whose result says nothing of what they did, such as one that only ever
    answers `ok`, belong into `ignore`.

    Raises:
        ValueError: a setting cannot work.
    """

    name: str = "stagnation"
    rounds: int = 5
    then: Then = "nudge"
    abort_at: int | None = None
    """After how many rounds, for an abort in place of what `then` says; None: never."""
    ignore: Sequence[str] = ()
    """Patterns of tools whose success always counts as something new."""
    say: str | None = None
    """Told to the model in place of the usual text."""

    def __post_init__(self) -> None:
        texts(self, name=self.name, say=self.say)
        then(self, self.then)
        whole(self, "rounds", self.rounds, 1)
        _abort_at(self, self.abort_at, self.rounds, self.then, None)
        object.__setattr__(self, "ignore", patterns(self, "ignore", self.ignore))

    def watch(self, seen: RoundSeen, memory: Json) -> Verdict | Watched:
        if not seen.calls:
            return CONTINUE
        known, new = list(_remembered(memory, seen.turn, "results")), False
        for call in seen.calls:
            if not call.succeeded:
                continue
            mark = _hashed(f"{call.name}\n{call.result}")
            if mark in known:
                known.remove(mark)
                new = new or matches(call.name, self.ignore)
            else:
                new = True
            known.append(mark)
        stale = 0 if new else _times(memory, seen.turn) + 1
        return Watched(
            self._verdict(stale) if stale >= self.rounds else CONTINUE,
            {"turn": seen.turn, "results": list(known[-_MOST:]), "times": stale},
        )

    def _verdict(self, stale: int) -> Verdict:
        rounds = "the last round" if stale == 1 else f"the last {stale} rounds"
        reason = f"nothing new in {rounds}: each call failed or gave a result seen before"
        if self.abort_at is not None and stale >= self.abort_at:
            return Abort(reason)
        return verdict(
            self.then,
            reason,
            self.say or f"There was {reason}. Try another way, or say what is missing.",
        )


def _abort_at(of: object, abort_at: object, limit: int, word: Then, within: int | None) -> None:
    if abort_at is None:
        return
    whole(of, "abort_at", abort_at, limit + 1, within)
    if word == "abort":
        raise ValueError(f"{type(of).__name__}(abort_at={abort_at}): then='abort' comes first; leave one of them out")


def _remembered(memory: Json, turn: int, what: str) -> Sequence[str]:
    """The fingerprints in it; none if it is of another turn, or of other code."""
    if isinstance(memory, dict) and memory.get("turn") == turn and isinstance(marks := memory.get(what), list):
        return [mark for mark in marks if isinstance(mark, str)]
    return []


def _times(memory: Json, turn: int) -> int:
    times = memory.get("times") if isinstance(memory, dict) and memory.get("turn") == turn else 0
    return times if isinstance(times, int) else 0


def _fingerprint(call: CallSeen) -> str:
    if call.values is None:
        return _hashed(f"{call.name}\n{call.arguments.strip()}")
    return _hashed(f"{call.name}\n{json.dumps(_plain(dict(call.values)), sort_keys=True)}")


def _plain(value: Json) -> Json:
    """With whole numbers written one way: to JSON, 2.0 is 2."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
