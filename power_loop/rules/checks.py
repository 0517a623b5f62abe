"""What settings of rules are held against when they are made, and the verdicts that settings name."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias, get_args

from power_loop.rules.watchers import Abort, Nudge, Pause, Verdict
from power_loop.values import shown

Then: TypeAlias = Literal["nudge", "pause", "abort"]
_THEN: Final = get_args(Then)


def whole(of: object, name: str, value: object, least: int, most: int | None = None) -> None:
    """
    Raises:
        ValueError: the setting is no whole number from `least` to `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{type(of).__name__}({name}={shown(value)}): give a whole number {limits}")


def patterns(of: object, name: str, value: object) -> tuple[str, ...]:
    """The patterns of a setting.

    Raises:
        ValueError: they are no texts; or one text, of which each letter would be a pattern.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        many = tuple(value)
        if all(isinstance(one, str) and one for one in many):
            return many
    raise ValueError(f'{type(of).__name__}({name}={shown(value)}): give texts in a tuple: ("read_*", "search")')


def texts(of: object, *, say: object = None, **settings: object) -> None:
    """
    Raises:
        ValueError: a setting is no text that says something; `say` may be absent.
    """
    for name, value in (settings if say is None else {**settings, "say": say}).items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{type(of).__name__}({name}={shown(value)}): give a text{' or None' * (name == 'say')}")


def then(of: object, value: object) -> None:
    """
    Raises:
        ValueError: it is no word for a verdict.
    """
    if value not in _THEN:
        raise ValueError(f"{type(of).__name__}(then={shown(value)}): give one of {', '.join(_THEN)}")


def verdict(word: Then, reason: str, advice: str) -> Verdict:
    """The verdict a word stands for: advice is for the model, a reason for people."""
    if word == "nudge":
        return Nudge(advice)
    return Pause(reason) if word == "pause" else Abort(reason)


def matches(text: str, named: Iterable[str]) -> bool:
    """Whether one of the patterns is meant for this name."""
    return any(fnmatchcase(text, pattern) for pattern in named)
