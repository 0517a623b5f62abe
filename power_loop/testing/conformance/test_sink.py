"""The rules over the sink that `--message-sink` names; without it, over the project's own sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from power_loop.sink import MessageSink
from power_loop.testing.conformance.named import Recorded, SinkFactory, jsonl, lines, named, null, tee
from power_loop.testing.conformance.sink import MessageSinkConformance, OpenSink

OWN: dict[str, tuple[SinkFactory, Recorded | None]] = {
    "NullSink": (null, None),
    "JsonlSink": (jsonl, lines),
    "TeeSink": (tee, lines),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        name = metafunc.config.getoption("--message-sink")
        metafunc.parametrize("subject", [name] if name else list(OWN))


class TestMessageSink(MessageSinkConformance):
    folder: Path
    shown: Recorded | None

    @pytest.fixture
    def open_sink(self, subject: str, tmp_path: Path) -> OpenSink:
        factory: SinkFactory
        if subject in OWN:
            factory, self.shown = OWN[subject]
        else:
            factory = named(subject)
            self.shown = getattr(factory, "recorded", None)
        self.folder = tmp_path

        async def opening() -> MessageSink:
            return await factory(tmp_path)

        return opening

    async def recorded(self) -> Sequence[Mapping[str, Any]] | None:
        return None if self.shown is None else self.shown(self.folder)
