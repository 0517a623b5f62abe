"""`OpenAIChatService`: any endpoint that speaks Chat Completions, through the official client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Self, cast

from llm_client.body import check_capabilities
from llm_client.service import Answer, ChatRequest, StreamEvent
from llm_client.settings import Capabilities, MaxTokensField, Transport, from_environment, settings

if TYPE_CHECKING:
    from llm_client.requests import Requests


class OpenAIChatService:
    """A model behind a Chat Completions endpoint. One instance serves many sessions, and many event loops, at once.

    Failed attempts are repeated here and nowhere else: broken connections, cut streams, 408, 409, 429 and 5xx, up to
    `attempts` in all, after the time the endpoint asks for (Retry-After), else after a growing backoff. Everything
    together ends within `total_timeout`. Nothing is read from the environment but by `from_env`.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 180.0,
        connect_timeout: float = 10.0,
        total_timeout: float = 600.0,
        attempts: int = 5,
        backoff: float = 0.5,
        max_backoff: float = 20.0,
        replay_reasoning: bool = False,
        stream_usage: bool = True,
        max_tokens_field: MaxTokensField | None = None,
        images: bool = True,
        files: bool = True,
        audio: bool = True,
        transport: Transport = "httpx",
    ) -> None:
        """Check the settings and load the client; nothing is sent.

        Args:
            model: The model asked when a request names none.
            base_url: The address below which `/chat/completions` stands; OpenAI's own when absent.
            api_key: The key; shown nowhere. An endpoint without keys takes any text.
            timeout: Seconds without a byte from the endpoint after which an attempt is given up.
            connect_timeout: Seconds to connect.
            total_timeout: Seconds for a request with all its retries and the waits between them.
            attempts: How often a request is tried at most; 1 never repeats.
            backoff: Seconds before the second attempt; doubled before each further one, up to `max_backoff`.
            replay_reasoning: Whether the endpoint wants its own reasoning back in later requests.
            stream_usage: Whether to ask for usage in streams (`stream_options`), which a few endpoints refuse.
            max_tokens_field: How the endpoint calls the limit of an answer; by default OpenAI's newer name for OpenAI
                and `max_tokens` for everybody else.
            images, files, audio: Whether the endpoint takes such parts.
            transport: "aiohttp" carries the requests over aiohttp (`pip install "power-loop[aiohttp]"`), at half the
                client's CPU time with many sessions at once. It promises what "httpx" promises. Where the environment
                names proxies, both use the client's own transport, which knows them.

        Raises:
            ModelSettingsError: something is missing or cannot work; the message names all of it.
        """
        self._settings = settings(
            model=model,
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            connect_timeout=connect_timeout,
            total_timeout=total_timeout,
            attempts=attempts,
            backoff=backoff,
            max_backoff=max_backoff,
            replay_reasoning=replay_reasoning,
            stream_usage=stream_usage,
            max_tokens_field=max_tokens_field,
            capabilities=Capabilities(images=images, files=files, audio=audio),
            transport=transport,
        )
        # The client costs a second to import: whoever only looks at sessions does not pay for it.
        from llm_client.requests import Requests

        self._requests: Requests = Requests(self._settings)

    @classmethod
    def from_env(
        cls,
        *,
        model: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 180.0,
        connect_timeout: float = 10.0,
        total_timeout: float = 600.0,
        attempts: int = 5,
        replay_reasoning: bool = False,
        images: bool = True,
        files: bool = True,
        audio: bool = True,
        transport: Transport | None = None,
    ) -> Self:
        """A service with what is not given here taken from the environment, each from the first that is set:
        POWER_LOOP_MODEL, OPENAI_MODEL; POWER_LOOP_BASE_URL, OPENAI_BASE_URL; POWER_LOOP_API_KEY, OPENAI_API_KEY;
        POWER_LOOP_TRANSPORT.

        Raises:
            ModelSettingsError: as the constructor does.
        """
        return cls(
            model=model or from_environment("MODEL"),
            base_url=base_url or from_environment("BASE_URL"),
            api_key=api_key or from_environment("API_KEY"),
            timeout=timeout,
            connect_timeout=connect_timeout,
            total_timeout=total_timeout,
            attempts=attempts,
            replay_reasoning=replay_reasoning,
            images=images,
            files=files,
            audio=audio,
            transport=transport or cast("Transport", from_environment("TRANSPORT") or "httpx"),
        )

    def __repr__(self) -> str:
        return f"OpenAIChatService(model={self.model!r}, base_url={self._settings.endpoint!r})"

    @property
    def model(self) -> str:
        return self._settings.model

    @property
    def replay_reasoning(self) -> bool:
        return self._settings.replay_reasoning

    def check_message(self, message: str) -> None:
        """Whether the endpoint takes this message at all; `message` is its JSON text. Nothing is sent.

        Raises:
            ModelCapabilityError: it holds a part that the endpoint was said to lack.
        """
        check_capabilities((message,), self._settings.capabilities, self._settings.endpoint)

    async def complete(self, request: ChatRequest) -> Answer:
        """The answer, asked for in one piece: cheaper than a stream when nobody listens.

        Raises:
            ModelError: there is none; the class says who must act.
        """
        async with aclosing(self._requests.events(request, stream=False)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("every attempt ends in an answer or an error")

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """Deltas as they come, then the answer. `AttemptVoided` takes the deltas of a failed attempt back.

        Raises:
            ModelError: there is no answer; no delta counts.
        """
        async with aclosing(self._requests.events(request, stream=True)) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Close the connections. A later request opens new ones."""
        await self._requests.aclose()
