"""The sinks for logs and spans keep the contract of a sink."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from power_loop import LoggingSink, MessageSink, OpenTelemetrySink
from power_loop.testing.conformance.sink import MessageSinkConformance, OpenSink


class Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class TestLoggingSink(MessageSinkConformance):
    kept: Keeping

    @pytest.fixture
    def open_sink(self) -> OpenSink:
        self.kept = Keeping()
        logger = logging.Logger("conformance")
        logger.addHandler(self.kept)

        async def opening() -> MessageSink:
            return LoggingSink(logger)

        return opening

    async def recorded(self) -> Sequence[Mapping[str, Any]] | None:
        told = []
        for line in self.kept.lines:
            kind, *words = line.split(" ")
            fields = dict(word.split("=", 1) for word in words if "=" in word)
            told.append({"fact": kind, "session": fields["session"], "turn": int(fields["turn"])})
        return told


class TestOpenTelemetrySink(MessageSinkConformance):
    @pytest.fixture
    def open_sink(self) -> OpenSink:
        async def opening() -> MessageSink:
            return OpenTelemetrySink(TracerProvider())

        return opening
