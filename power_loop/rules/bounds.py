"""Watchers of bounds: a budget that runs out, words that should not occur, tools and paths outside a scope.

They look at a round that has ended: what they find has happened. What must not happen needs a guard before the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

from llm_client.service import Json
from power_loop.rules.budget import SCOPES, Share
from power_loop.rules.checks import Then, matches, patterns, texts, then, verdict
from power_loop.rules.seen import CallSeen, RoundSeen
from power_loop.rules.watchers import CONTINUE, Nudge, Verdict, Watched
from power_loop.values import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetShare:
    """Nudges once for each budget of which this share is used: for the turn's once a turn. Again if it is raised.

    Raises:
        ValueError: a setting cannot work.
    """

    name: str = "budget_share"
    at: float = 0.8
    say: str | None = None
    """Told to the model in place of the usual text, before the figures."""

    def __post_init__(self) -> None:
        texts(self, name=self.name, say=self.say)
        if isinstance(self.at, bool) or not isinstance(self.at, int | float) or not 0 < self.at < 1:
            raise ValueError(f"BudgetShare(at={self.at!r}): give a share between 0 and 1")

    def watch(self, seen: RoundSeen, memory: Json) -> Watched:
        told = memory if isinstance(memory, dict) else {}
        over = [share for share in seen.spent if share.share >= self.at]
        now: dict[str, Json] = {share.scope: seen.turn if share.scope == "turn" else 0 for share in over}
        new = [share for share in over if told.get(share.scope) != now[share.scope]]
        return Watched(
            Nudge("\n".join([self.say or _COME_TO_AN_END, *map(_figures, new)])) if new else CONTINUE,
            {scope: now[scope] for scope in SCOPES if scope in now},
        )


_COME_TO_AN_END: Final = "Little of a budget is left: do what matters most, and come to an end."


def _figures(share: Share) -> str:
    return f"{share} ({share.share:.0%})"


Where: TypeAlias = Literal["text", "arguments", "results"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that occurs in what the model says, in the arguments of its calls, or in their results.

    Of arguments, what the model wrote and each text among their values are searched: an escape hides nothing. All of
    it is searched, and no other code of the process runs meanwhile: write expressions that do not backtrack for long.

    Raises:
        ValueError: the expression is none, or a setting cannot work.
    """

    regex: str | re.Pattern[str]
    where: Where = "text"
    then: Then = "nudge"
    name: str = "pattern"
    tools: Sequence[str] = ("*",)
    """Patterns of the tools whose arguments or results are searched."""
    say: str | None = None
    """Told to the model in place of the usual text, which names the expression."""
    compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts(self, name=self.name, say=self.say)
        then(self, self.then)
        if self.where not in ("text", "arguments", "results"):
            raise ValueError(f"Pattern(where={shown(self.where)}): give one of text, arguments, results")
        object.__setattr__(self, "tools", patterns(self, "tools", self.tools))
        try:
            compiled: re.Pattern[str] = re.compile(self.regex)
        except (re.error, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"Pattern({shown(self.regex)}): give a regular expression ({error})") from None
        written: object = compiled.pattern
        if not isinstance(written, str):
            raise ValueError(f"Pattern({shown(self.regex)}): give an expression for text, not for bytes")
        object.__setattr__(self, "compiled", compiled)

    def watch(self, seen: RoundSeen, memory: Json) -> Verdict:
        for what, text in self._searched(seen):
            if self.compiled.search(text):
                reason = f"{what} match {shown(self.compiled.pattern)}"
                return verdict(
                    self.then, reason, self.say or f"{reason[0].upper()}{reason[1:]}: that is not wanted here."
                )
        return CONTINUE

    def _searched(self, seen: RoundSeen) -> Iterator[tuple[str, str]]:
        if self.where == "text":
            yield "the model's words", seen.text
            return
        for call in seen.calls:
            if not matches(call.name, self.tools):
                continue
            if self.where == "results":
                yield f"the results of {call.name}", call.result
                continue
            yield f"the arguments of {call.name}", call.arguments
            for text in _texts(call.values or {}):
                yield f"the arguments of {call.name}", text


_PATHS: Final = (
    "path", "*_path", "paths", "*_paths", "file", "files", "filename", "filenames", "file_name", "filepath", "dir",
    "*_dir", "directory", "*_directory", "folder", "*_folder", "cwd",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Calls of tools that are not meant for this, or with paths that leave the folders that are.

    Paths are compared by their names alone, `.` and `..` worked out; no link is followed, no disk is read, `~` is a
    place of its own. It is an alarm, not a fence.

    Raises:
        ValueError: it has neither tools nor paths, or a setting cannot work.
    """

    name: str = "scope"
    tools: Sequence[str] | None = None
    """Patterns of the tools that may be called; None: all."""
    paths: Sequence[str] | None = None
    """The folders (or files) that paths must lie in; None: anywhere."""
    base: str = "."
    """Where relative paths begin, of calls and of `paths`. Unless said nobody knows: then they lie in no absolute one.
    """
    arguments: Sequence[str] = _PATHS
    """Patterns of the names of arguments that are paths, or lists of them, at any depth."""
    then: Then = "nudge"
    say: str | None = None
    """Told to the model in place of the usual text."""

    def __post_init__(self) -> None:
        texts(self, name=self.name, say=self.say, base=self.base)
        then(self, self.then)
        if self.tools is None and self.paths is None:
            raise ValueError("Scope() bounds nothing: give tools, paths or both")
        for setting in ("tools", "paths", "arguments"):
            if (given := getattr(self, setting)) is not None:
                object.__setattr__(self, setting, patterns(self, setting, given))

    def watch(self, seen: RoundSeen, memory: Json) -> Verdict:
        left = [reason for call in seen.calls if (reason := self._left(call))]
        if not left:
            return CONTINUE
        reason = "; ".join(left[:_TOLD]) + (f"; and {len(left) - _TOLD} more" if len(left) > _TOLD else "")
        return verdict(self.then, reason, self.say or f"Stay within what you may use: {reason}.")

    def _left(self, call: CallSeen) -> str | None:
        if self.tools is not None and not matches(call.name, self.tools):
            return f"{call.name} is none of {', '.join(self.tools)}"
        if self.paths is None or call.values is None:
            return None
        for argument, path in _named(call.values, self.arguments):
            place = _place(self.base, path)
            if not any(_within(place, _place(self.base, root)) for root in self.paths):
                return f"{call.name}({argument}={shown(path)}) lies outside of {', '.join(self.paths)}"
        return None


_TOLD: Final = 5
_HOMES: Final = "~/"
"""Where `~` and `~name` lie; no part of a path is named so."""


def _texts(value: Json | Mapping[str, Json]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)


def _named(value: Json | Mapping[str, Json], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each text that an argument of one of these names holds, itself or in a list, with the name."""
    if isinstance(value, list):
        for item in value:
            yield from _named(item, names)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if matches(key, names):
                for path in item if isinstance(item, list) else [item]:
                    if isinstance(path, str):
                        yield key, path
            yield from _named(item, names)


def _place(base: str, path: str) -> tuple[str, ...]:
    """The parts of a path, with `.` and `..` worked out."""
    whole = path if path.startswith("~") else str(PurePosixPath(base) / path)
    parts: list[str] = [_HOMES] if whole.startswith("~") else []
    for part in PurePosixPath(whole).parts:
        if part.startswith("/"):
            parts = ["/"]  # POSIX lets two slashes mean something else; nobody does
        elif part != "..":
            parts.append(part)
        elif not parts or parts[-1] in ("..", _HOMES):
            parts.append("..")
        elif parts != ["/"]:
            parts.pop()
    return tuple(parts)


def _within(place: tuple[str, ...], root: tuple[str, ...]) -> bool:
    return place[: len(root)] == root and place[len(root) : len(root) + 1] not in (("..",), ("/",), (_HOMES,))
