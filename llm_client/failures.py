"""What an endpoint says when it refuses or fails, read into the tree of `llm_client.errors`. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from llm_client.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelServerError,
)
from llm_client.json_text import read_json
from llm_client.service import Json

_LONGEST: Final = 1000
"""Characters of an endpoint's words that an error repeats; some answer with whole web pages."""

_AUTH: Final = frozenset({401, 402, 403})
_OVERFLOW_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERFLOW_STATUSES: Final = frozenset({None, 400, 413, 422, 500})
_OVERFLOW_WORDS: Final = re.compile(
    r"maximum context length|context[ _-]?(?:window|length|size|limit)\b.{0,40}exceed"
    r"|exceed\w*.{0,60}context[ _-]?(?:window|length|size|limit)|prompt is too long|maximum prompt length"
    r"|input is too long|too many (?:input )?tokens|token count.{0,40}exceeds"
    r"|max_new_tokens` must be <=|reduce the length of the (?:messages|prompt)",
    re.IGNORECASE | re.DOTALL,
)
_N: Final = r"(\d[\d,_]*)"
_LIMIT_WORDS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:maximum|max) (?:context|prompt|model) length(?: is|:| of)? {_N}",
        rf"> {_N} maximum",
        rf"exceeds? (?:the )?(?:maximum|limit)[^.\d]*{_N}",
        rf"must be <= {_N}",
        rf"{_N} maximum context length",
        rf"context (?:size|window|limit|length)[^.\d]*{_N}",
        rf"exceed context limit: .* > {_N}",
    )
)
_ASKED_WORDS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"resulted in {_N} tokens",
        rf"requested (?:about |a total of )?{_N} tokens",
        rf"(?:too long|too large): {_N}",
        rf"token count (?:\(|of ){_N}",
        rf"request contains {_N}",
        rf"contains (?:about )?{_N} tokens",
        rf"Given: {_N}",
        rf"request \({_N} tokens\)",
    )
)
_NO_MONEY: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error body says, in whichever of the usual shapes it stands."""

    message: str
    code: str = ""
    kind: str = ""
    limit: int | None = None
    requested: int | None = None
    status: int | None = None
    """A status inside the body: gateways answer 200 and put the upstream's status there."""


def error_in(value: Json) -> Refusal | None:
    """The error a 200 body or a stream chunk holds instead of an answer, or None."""
    if not isinstance(value, dict):
        return None
    if value.get("error") or value.get("object") == "error" or value.get("type") == "error":
        return _refusal(value)
    return None


def refusal_in(body: bytes) -> Refusal:
    """What the body of a refused request says."""
    try:
        value = read_json(body)
    except ValueError:
        return Refusal(body.decode(errors="replace").strip())
    return _refusal(value if isinstance(value, dict) else {"error": value})


def failure(refusal: Refusal, *, status: int | None, retry_after: float | None, endpoint: str) -> ModelError:
    """The error to raise for what the endpoint said. `status` is None inside a stream."""
    if status is None or status < 400:
        status = refusal.status or _STATUS_OF_TYPE.get(refusal.kind) or _STATUS_OF_TYPE.get(refusal.code) or status
    said = _said(refusal, status, endpoint)
    if _is_overflow(refusal, status):
        limit, requested = _figures(refusal)
        figures = f" ({requested} tokens asked of a window of {limit})" if limit and requested else ""
        return ContextOverflowError(
            f"the history does not fit the model's context window{figures}: compact the session, or use a model with a "
            f"larger window; {said}",
            status=status,
            limit=limit,
            requested=requested,
        )
    if refusal.code in _NO_MONEY or refusal.kind in _NO_MONEY:
        return ModelAuthError(
            f"the quota of this key is used up: check the plan and billing of the account; {said}", status=status
        )
    if status in _AUTH:
        return ModelAuthError(f"{said}; check the API key and what it may use", status=status)
    if status == 429:
        return ModelRateLimitedError(f"{said}; send less, or later", status=status, retry_after=retry_after)
    if status == 404:
        return ModelRequestError(f"{said}; check the model's name and the base URL", status=status)
    if status is None or status < 300 or status >= 500 or status in (408, 409):
        return ModelServerError(f"{said}; try again later", status=status, retry_after=retry_after)
    return ModelRequestError(f"{said}; the same request will fail again", status=status)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the endpoint asks us to wait, from Retry-After-Ms or Retry-After (seconds or a date), or None.

    A date counts from the answer's own Date header where there is one, so that a wrong clock here does no harm; else
    from `now` (seconds since 1970).
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if not math.isnan(seconds):
            return max(0.0, seconds)
    until = _date(headers.get("retry-after"))
    if until is None:
        return None
    since = _date(headers.get("date"))
    return max(0.0, until - (now if since is None else since))


def _date(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _refusal(value: dict[str, Json]) -> Refusal:
    inner = value.get("error")
    if isinstance(inner, str):
        return Refusal(inner, code=_text(value.get("code")), status=_status(value.get("code") or value.get("status")))
    error = inner if isinstance(inner, dict) else value
    message = error.get("message") or error.get("detail") or error.get("msg") or value.get("message")
    return Refusal(
        message if isinstance(message, str) else ("" if message is None else str(message)),
        code=_text(error.get("code")),
        kind=_text(error.get("type")),
        limit=_count(error.get("n_ctx")),
        requested=_count(error.get("n_prompt_tokens")),
        status=_status(error.get("code")) or _status(error.get("status")),
    )


def _said(refusal: Refusal, status: int | None, endpoint: str) -> str:
    words = " ".join(refusal.message.split())
    if len(words) > _LONGEST:
        words = words[:_LONGEST] + "..."
    answer = "an error inside its answer" if status is None or status < 400 else f"HTTP {status}"
    names = ", ".join(name for name in (refusal.code, refusal.kind) if name and not name.isdigit())
    return f"{endpoint} answered {answer}{f' ({names})' if names else ''}: {words or 'no explanation'}"


def _is_overflow(refusal: Refusal, status: int | None) -> bool:
    if refusal.code in _OVERFLOW_CODES or refusal.kind in _OVERFLOW_CODES:
        return True
    # Only where endpoints report it so: "context length" also stands in the words of rate limits.
    return status in _OVERFLOW_STATUSES and _OVERFLOW_WORDS.search(refusal.message) is not None


def _figures(refusal: Refusal) -> tuple[int | None, int | None]:
    return (
        refusal.limit or _first(_LIMIT_WORDS, refusal.message),
        refusal.requested or _first(_ASKED_WORDS, refusal.message),
    )


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    for pattern in patterns:
        if found := pattern.search(text):
            return int(re.sub(r"\D", "", found[1]))
    return None


def _text(value: Json) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _status(value: Json) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else None
