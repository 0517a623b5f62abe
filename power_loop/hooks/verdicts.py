"""What a guard can say. Which of these a point takes stands in `points`. Values are checked when they are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from llm_client.service import ChatRequest
from power_loop.errors import InputInvalidError
from power_loop.values import shown, storable


@dataclass(frozen=True, slots=True)
class Proceed:
    """Go on as if nobody had been asked. Returning None says the same."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the turn here, as `stopped`, with this reason. What was recorded stands."""

    reason: str

    def __post_init__(self) -> None:
        _says_something("Stop(reason)", self.reason)


@dataclass(frozen=True, slots=True)
class Deny:
    """The call, or each call of the batch, does not run; the reason is its result, which the model reads."""

    reason: str

    def __post_init__(self) -> None:
        _says_something("Deny(reason)", self.reason)


@dataclass(frozen=True, slots=True)
class Skip:
    """It is not done, and the turn goes on. The text stands in its place: the answer, the call's result, or, where
    nothing is needed in its place, the reason."""

    text: str

    def __post_init__(self) -> None:
        _says_something("Skip(text)", self.text)


@dataclass(frozen=True, slots=True)
class Retry:
    """Once more. The reason is for the record; at the end of a turn it is the guidance that the model reads."""

    reason: str

    def __post_init__(self) -> None:
        _says_something("Retry(reason)", self.reason)


@dataclass(frozen=True, slots=True)
class ReplaceText:
    """Another text in the place of the view's. It may be empty where the point takes that."""

    text: str

    def __post_init__(self) -> None:
        _is_text("ReplaceText(text)", self.text)


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """Another request in the place of the view's; make it with `dataclasses.replace(view.request, ...)`."""

    request: ChatRequest

    def __post_init__(self) -> None:
        if not isinstance(self.request, ChatRequest):
            raise InputInvalidError(
                "ReplaceRequest(request)", f"is {shown(self.request)}", "give a ChatRequest of llm_client"
            )


@dataclass(frozen=True, slots=True, init=False)
class ReplaceArguments:
    """Other arguments in the place of the model's: all of them, by name, as JSON values."""

    text: str
    """Their JSON text."""

    def __init__(self, arguments: Mapping[str, object]) -> None:
        what, way_out = "ReplaceArguments(arguments)", "give a mapping of names to JSON values"
        if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
            raise InputInvalidError(what, f"is {shown(arguments)}", way_out)
        try:
            text = json.dumps(dict(arguments), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputInvalidError(what, f"has no JSON form ({error})", way_out) from None
        object.__setattr__(self, "text", storable(what, text))


Verdict: TypeAlias = Proceed | Stop | Deny | Skip | Retry | ReplaceText | ReplaceRequest | ReplaceArguments
Replacement: TypeAlias = ReplaceText | ReplaceRequest | ReplaceArguments
"""Those after which the guards behind are asked, about the view as it is then. All others but `Proceed` are final."""


def _is_text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise InputInvalidError(what, f"is {shown(text)}", "give text")
    return storable(what, text)


def _says_something(what: str, text: object) -> None:
    if not _is_text(what, text).strip():
        raise InputInvalidError(what, "says nothing", "give a text; a model or a person reads it")
