"""The sink that an app builds; the package it needs is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from power_loop.engine.facts import Fact
from power_loop.errors import ConfigError
from power_loop.values import World

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class OpenTelemetrySink:
    """Facts as spans: `invoke_agent` a turn, in it `chat` a request to the model and `execute_tool` a run of a tool.

    All turns that work on one input are one trace. A turn that goes on with one that was cut off links to its span,
    also where that was in a process that died: the ids come from session and turn, so they are known. A span is sent
    once it has ended, so that of a turn whose process died never is; what had ended in it has been, and names it as its
    parent. docs/observability.md says what a backend shows of that.

    No message, argument or result is in a span. Ending a span calls the provider's processors in the event loop: use a
    `BatchSpanProcessor`. The provider is the app's, to flush and to shut down.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        namespace: str = "",
        agent: str | None = None,
        provider: str = "openai",
        open_turns: int = 10_000,
        world: World | None = None,
    ) -> None:
        """`tracer_provider`: None is the global one, as it is when the first fact comes.

        `namespace` goes into the ids; give each database one of its own where sessions of one id send to one backend.
        `agent` is the `gen_ai.agent.name`, `provider` the `gen_ai.provider.name`. Of more than `open_turns` turns that
        have not ended, the oldest are ended as `power_loop.end_unknown`.

        Raises:
            ConfigError: opentelemetry-api is not installed.
        """
        try:
            from power_loop.sink.otel.spans import Spans
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "opentelemetry":
                raise
            raise ConfigError(
                ["OpenTelemetrySink needs the package opentelemetry-api: pip install 'power-loop[otel]'"]
            ) from None
        self._spans = Spans(
            tracer_provider,
            namespace=namespace,
            agent=agent,
            provider=provider,
            open_turns=open_turns,
            world=world or World(),
        )
        self._closed = False

    async def record(self, facts: Sequence[Fact]) -> None:
        if not self._closed:
            for fact in facts:
                self._spans.take_in(fact)

    async def aclose(self) -> None:
        """End what is open. The provider stays the app's."""
        self._closed = True
        self._spans.end_all()
