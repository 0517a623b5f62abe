"""The settings of one endpoint: given as arguments or read from the environment, checked all at once.

The key is held in a `Secret`: it has no text form, and `redact` takes it out of whatever an endpoint echoes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from llm_client.errors import ModelSettingsError

OPENAI_URL: Final = "https://api.openai.com/v1"
_PREFIXES: Final = ("POWER_LOOP_", "OPENAI_")
_HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 4
"""Shorter keys ("x", "no") are placeholders; hiding them would only tear the words of a message apart."""

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

Transport = Literal["httpx", "aiohttp"]
"""What carries the requests: what comes with the client, or aiohttp, which is optional and faster."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A text that shows itself nowhere but through `reveal`."""

    _text: str

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return _HIDDEN

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not pickled; build the service again where it is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the endpoint takes besides text. A request that needs more fails before it is sent."""

    images: bool = True
    files: bool = True
    audio: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a service needs to talk to one endpoint. Times are seconds."""

    model: str
    endpoint: str
    """The base URL; it holds no secret."""
    api_key: Secret
    timeout: float
    connect_timeout: float
    total_timeout: float
    attempts: int
    backoff: float
    max_backoff: float
    replay_reasoning: bool
    stream_usage: bool
    max_tokens_field: MaxTokensField
    capabilities: Capabilities
    transport: Transport

    def redact(self, text: str) -> str:
        """The text without our key, which some endpoints echo in what they answer."""
        key = self.api_key.reveal()
        return text.replace(key, _HIDDEN) if len(key) >= _SHORTEST_SECRET else text


def settings(
    *,
    model: str | None,
    base_url: str | None,
    api_key: str | None,
    timeout: float,
    connect_timeout: float,
    total_timeout: float,
    attempts: int,
    backoff: float,
    max_backoff: float,
    replay_reasoning: bool,
    stream_usage: bool,
    max_tokens_field: MaxTokensField | None,
    capabilities: Capabilities,
    transport: str,
) -> Settings:
    """Checked settings.

    Raises:
        ModelSettingsError: something is missing or cannot work; the message names all of it, and how to give it.
    """
    model, api_key, url = (model or "").strip(), (api_key or "").strip(), (base_url or "").strip() or OPENAI_URL
    problems = [*_missing(model, api_key), *_unusable_key(api_key), *_unusable_url(url)]
    seconds = {
        "timeout": timeout,
        "connect_timeout": connect_timeout,
        "total_timeout": total_timeout,
        "backoff": backoff,
        "max_backoff": max_backoff,
    }
    for name, value in seconds.items():
        if not (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0):
            problems.append(f"{name}={value!r} is no time: give seconds above 0")
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        problems.append(f"attempts={attempts!r} cannot work: give 1 (no retry) or more")
    problems += _unusable_transport(transport)
    if problems:
        raise ModelSettingsError("the model service cannot be built: " + "; ".join(problems))
    return Settings(
        model=model,
        endpoint=url,
        api_key=Secret(api_key),
        timeout=timeout,
        connect_timeout=connect_timeout,
        total_timeout=total_timeout,
        attempts=attempts,
        backoff=backoff,
        max_backoff=max_backoff,
        replay_reasoning=replay_reasoning,
        stream_usage=stream_usage,
        max_tokens_field=max_tokens_field or _max_tokens_field(urlsplit(url).hostname or ""),
        capabilities=capabilities,
        transport="aiohttp" if transport == "aiohttp" else "httpx",
    )


def from_environment(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The setting MODEL, BASE_URL or API_KEY: POWER_LOOP_<name>, else OPENAI_<name>, else None. Empty is absent.

    TRANSPORT is ours alone: POWER_LOOP_TRANSPORT, else None.
    """
    source = os.environ if environ is None else environ
    for prefix in _PREFIXES[:1] if name == "TRANSPORT" else _PREFIXES:
        if value := source.get(prefix + name, "").strip():
            return value
    return None


def _missing(model: str, api_key: str) -> list[str]:
    given = (
        ("a model", model, "model=...", "MODEL", ""),
        ("an API key", api_key, "api_key=...", "API_KEY", ' (api_key="none" for an endpoint without keys)'),
    )
    return [
        f"{what} is missing: pass {argument}, or set {_PREFIXES[0]}{name} or {_PREFIXES[1]}{name} "
        f"and build it with OpenAIChatService.from_env(){hint}"
        for what, value, argument, name, hint in given
        if not value
    ]


def _unusable_key(api_key: str) -> list[str]:
    if api_key and not re.fullmatch(r"[\x21-\x7e]+", api_key):
        return ["the API key holds a space or a character outside ASCII, which no HTTP header can carry: copy it again"]
    return []


def _unusable_url(url: str) -> list[str]:
    # The address is not repeated: it may hold a password, which is just what is wrong with it.
    problem = "base_url is no http(s) address: give it like https://api.openai.com/v1 or http://127.0.0.1:8080/v1"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return [problem]
    if not usable:
        return [problem]
    if "@" in parts.netloc or parts.query or parts.fragment:
        return ["base_url holds a password, a query or a fragment: give the bare address, and the key as api_key=..."]
    return []


def _unusable_transport(transport: str) -> list[str]:
    if transport not in get_args(Transport):
        return [f"transport={transport!r} is unknown: give {' or '.join(map(repr, get_args(Transport)))}"]
    if transport == "aiohttp" and find_spec("aiohttp") is None:
        return ["transport='aiohttp' needs a package that is not installed: pip install 'power-loop[aiohttp]'"]
    return []


def _max_tokens_field(host: str) -> MaxTokensField:
    """OpenAI's reasoning models refuse `max_tokens`; many other endpoints know nothing else."""
    return "max_completion_tokens" if host == "openai.com" or host.endswith(".openai.com") else "max_tokens"
